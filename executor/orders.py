"""The life of an order: which status may follow which, and what a draft of an order is.

Pure. The table is the law: a move that it does not list is ignored by State (its fills still count), since answers, the
private stream and lookups arrive in any order. A final status changes only towards more filled: a fill after "no match"
or "not sent" is the venue's evidence against ours, and wins.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.ids import CommandId
from core.types import Instrument, OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent

_S = OrderStatus
_SETTLED = frozenset({_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REJECTED, _S.NOT_SENT})

TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.PREPARED: _SETTLED | {_S.SUBMITTED, _S.ACCEPTED, _S.UNKNOWN},
    _S.SUBMITTED: _SETTLED | {_S.ACCEPTED, _S.UNKNOWN},
    _S.ACCEPTED: frozenset({_S.FILLED, _S.CANCELED, _S.EXPIRED, _S.UNKNOWN}),
    _S.UNKNOWN: _SETTLED | {_S.ACCEPTED},
    _S.FILLED: frozenset(),
    _S.CANCELED: frozenset({_S.FILLED}),
    _S.EXPIRED: frozenset({_S.FILLED}),
    _S.REJECTED: frozenset({_S.FILLED, _S.CANCELED, _S.EXPIRED}),
    _S.NOT_SENT: frozenset({_S.FILLED, _S.CANCELED, _S.EXPIRED}),
    _S.DENIED: frozenset(),
}


def may_move(before: OrderStatus, after: OrderStatus) -> bool:
    return after in TRANSITIONS[before]


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An order somebody in the executor wants sent; the engine gives it an id, a nonce and an expiry.

    `purpose`: "open" | "close" for what a pair was asked to do, "hedge" for the leg that follows the fills of the first one,
    "complete" | "unwind" | "foreign" for repairs, "stand_in" | "stand_down" for a hedge on a third venue, "flatten", "manual" for
    orders by hand, "adopted"."""

    instrument: Instrument
    side: Side
    lots: int
    limit_ticks: int
    time_in_force: TimeInForce
    reduce_only: bool
    purpose: str
    strategy: str
    pair_id: str | None = None
    command_id: CommandId | None = None
    quote_id: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """An outcome in the words of the journal."""

    status: OrderStatus
    venue_order_id: str = ""
    filled_lots: int = 0
    avg_px: Decimal | None = None
    code: str = ""
    detail: str = ""


def verdict_of(outcome: Outcome) -> Verdict:
    """What an answer means. A refusal for a duplicate id proves that the first one got in, not that nothing happened."""
    match outcome:
        case Accepted():
            return Verdict(outcome.status, outcome.venue_order_id, outcome.filled_lots, outcome.avg_px)
        case Rejected(code=RejectCode.DUPLICATE_ID):
            return Verdict(_S.UNKNOWN, code=outcome.code.value, detail=outcome.detail)
        case Rejected():
            return Verdict(_S.REJECTED, code=outcome.code.value, detail=outcome.detail)
        case Unsent():
            return Verdict(_S.NOT_SENT, detail=outcome.detail)
        case Unknown():
            return Verdict(_S.UNKNOWN, detail=outcome.detail)
