"""Which leg of a pair goes first (RULES 5). Pure: what was asked, what the venues can, what their books show; a decision out.

    a leg on a venue that quotes first      QUOTE_FIRST, that leg first: nothing else can trade there
    MAKER_FIRST                             as asked, where that venue takes post-only orders
    depths far apart, the thin one not ample   THIN_FIRST: what the thin leg fills is what the liquid one is sized to
    otherwise                               BOTH

Depth is what stands at the touch a leg would hit; a depth that nobody knows decides nothing.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.messages import AT_ONCE, DenyReason, LegOrder, Sending
from core.settings import ExecutionConfig
from core.types import Quote, ReadResult, Side, Venue
from executor.venues.base import Traits
from risk.context import Denied

DEADLINE_MAX_S = 3600.0


class LegView(msgspec.Struct, frozen=True, kw_only=True):
    """One leg: where, what orders can do there, and the canonical size at the touch it would trade on (0 = not known)."""

    venue: Venue
    traits: Traits
    depth_qty: float


def depth_at_touch(quote: ReadResult, side: Side) -> float:
    """Canonical size that an order of `side` meets first; 0 = not known."""
    if not isinstance(quote, Quote):
        return 0.0
    return quote.ask_qty if side is Side.BUY else quote.bid_qty


def in_order(
    asked: Sending, qty: Decimal, first: LegView, second: LegView, execution: ExecutionConfig
) -> Sending | Denied:
    """How `qty` of both legs is sent; never AUTO, and with `first` set unless both go at once."""
    quotes_first = first.traits.quotes_first or second.traits.quotes_first
    if asked.order is LegOrder.AUTO and asked.first is None and not quotes_first:
        return _by_depth(qty, first, second, execution)  # nearly always, and on the way to the wire
    legs = {leg.venue: leg for leg in (first, second)}
    quoting = [leg.venue for leg in legs.values() if leg.traits.quotes_first]
    if asked.first is not None and asked.first not in legs:
        return _refused(f"{asked.first} is not a leg of this pair")
    if quoting:
        return _quoted(asked, quoting)
    match asked.order:
        case LegOrder.QUOTE_FIRST:
            return _refused("neither venue quotes before it trades")
        case LegOrder.MAKER_FIRST:
            return _maker(asked, legs)
        case LegOrder.BOTH:
            return AT_ONCE
        case LegOrder.THIN_FIRST:
            thin = asked.first or min(legs.values(), key=lambda leg: leg.depth_qty).venue
            return msgspec.structs.replace(asked, first=thin)
        case LegOrder.AUTO:
            return _by_depth(qty, first, second, execution)


def _quoted(asked: Sending, quoting: list[Venue]) -> Sending | Denied:
    if len(quoting) > 1:
        return _refused("both venues quote before they trade: one leg would be open while the other is asked for")
    if asked.order not in (LegOrder.AUTO, LegOrder.QUOTE_FIRST) or asked.first not in (None, quoting[0]):
        return _refused(f"{quoting[0]} quotes before it trades: that leg goes first")
    return Sending(order=LegOrder.QUOTE_FIRST, first=quoting[0])


def _maker(asked: Sending, legs: dict[Venue, LegView]) -> Sending | Denied:
    if asked.first is None:
        return _refused("maker_first must name the leg that rests")
    if not legs[asked.first].traits.post_only:
        return _refused(f"{asked.first} takes no post-only orders")
    if not 0 < asked.deadline_s <= DEADLINE_MAX_S:
        return _refused(f"a resting leg needs a deadline within {DEADLINE_MAX_S:.0f} s", deadline_s=asked.deadline_s)
    return asked


def _by_depth(qty: Decimal, first: LegView, second: LegView, execution: ExecutionConfig) -> Sending:
    thin, deep = (first, second) if first.depth_qty <= second.depth_qty else (second, first)
    ample = thin.depth_qty >= float(qty) * execution.thin_first_cover
    alike = deep.depth_qty < thin.depth_qty * execution.thin_first_ratio
    if thin.depth_qty <= 0 or ample or alike:
        return AT_ONCE
    return Sending(order=LegOrder.THIN_FIRST, first=thin.venue)


def _refused(detail: str, **numbers: float) -> Denied:
    return Denied(reason=DenyReason.LEG_ORDER, detail=detail, numbers=numbers)
