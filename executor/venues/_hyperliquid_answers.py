"""What Hyperliquid's answers to signed actions mean: the only place that turns its words into outcomes.

Hyperliquid refuses in text (docs/venues/hyperliquid.md 7 and 10), so the rule is positional first: an `error` in the
status list of our order is a structured refusal of that order, whatever it says, and the text only chooses the code
(unlisted: OTHER). A refusal of the whole action (`status: "err"`) or a transport error carries no position; there only
texts of the exact allow-list below count as refusals, each with a fixture, and everything else is Unknown.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.errors import NotSent, OutcomeUnknown, VenueError
from core.types import OrderStatus, TimeInForce
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS, is_price, whole_lots
from executor.venues._memory import SentOrder

Answer = bytes | Rejected | Unsent | Unknown
"""An action's JSON answer, or what became of the request instead."""

REFUSALS: tuple[tuple[str, RejectCode], ...] = (
    # per order; the venue appends " asset=<id>"
    ("Order could not immediately match against any resting orders.", RejectCode.NO_MATCH),
    ("No liquidity available for market order.", RejectCode.NO_MATCH),
    ("Post only order would have immediately matched", RejectCode.POST_ONLY),
    ("Price must be divisible by tick size.", RejectCode.TICK),
    ("Order has invalid price.", RejectCode.TICK),
    ("Order has invalid size", RejectCode.SIZE),
    ("Order has zero size.", RejectCode.SIZE),
    ("Order must have minimum value of", RejectCode.MIN_NOTIONAL),
    ("Insufficient margin to place order.", RejectCode.MARGIN),
    ("Order has insufficient spot balance to trade", RejectCode.MARGIN),
    ("Insufficient spot balance", RejectCode.MARGIN),
    ("Reduce only order would increase position.", RejectCode.REDUCE_ONLY),
    ("Price too far from oracle", RejectCode.PRICE_BAND),
    ("Order price too far from oracle", RejectCode.PRICE_BAND),
    ("Order price cannot be more than", RejectCode.PRICE_BAND),
    ("Order would increase open interest", RejectCode.OPEN_INTEREST),
    ("Order rejected due to price more aggressive than oracle while at open interest cap", RejectCode.OPEN_INTEREST),
    ("Order would cause position to exceed margin tier limit at current leverage", RejectCode.LEVERAGE),
    ("Order was never placed, already canceled, or filled.", RejectCode.UNKNOWN_ORDER),
    ("Only post-only orders allowed immediately after network upgrade", RejectCode.VENUE_MODE),
    ("Only post-only orders allowed immediately after a network upgrade", RejectCode.VENUE_MODE),
    # whole action
    ("User or API Wallet ", RejectCode.AUTH),
    ("L1 error: User or API Wallet ", RejectCode.AUTH),
    ("Must deposit before performing actions.", RejectCode.AUTH),
    ("Unable to recover signer.", RejectCode.AUTH),
    ("Invalid nonce: duplicate nonce", RejectCode.DUPLICATE_ID),  # somebody sent these bytes twice: the first got in
    ("Invalid nonce: nonce too low", RejectCode.NONCE),
    ("Invalid nonce: nonce too high", RejectCode.NONCE),
    ("Too many cumulative requests sent", RejectCode.RATE),
    ("Signed action over weight limit of 200.", RejectCode.RATE),
    ("Action already expired", RejectCode.EXPIRED),
    ("Cannot set scheduled cancel time until enough volume traded.", RejectCode.NOT_ELIGIBLE),
    ("Scheduled cancel time too early", RejectCode.EXPIRED),
    ("Scheduled cancel triggered too many times today.", RejectCode.RATE),
    ("Builder fee has not been approved", RejectCode.OTHER),
    ("Invalid leverage value", RejectCode.LEVERAGE),
    ("too many pending post requests", RejectCode.RATE),
)

_REFUSED_STATUS = {
    400: RejectCode.OTHER,
    415: RejectCode.OTHER,
    422: RejectCode.OTHER,
    429: RejectCode.RATE,
}


class _Filled(msgspec.Struct):
    totalSz: Decimal
    avgPx: Decimal
    oid: int


class _Resting(msgspec.Struct):
    oid: int


class _Status(msgspec.Struct):
    filled: _Filled | None = None
    resting: _Resting | None = None
    error: str | None = None


class _Data(msgspec.Struct):
    statuses: list[_Status | str]


class _Response(msgspec.Struct):
    type: str
    data: _Data | None = None


class _Envelope(msgspec.Struct):
    status: str
    response: msgspec.Raw


class _PostResponse(msgspec.Struct):
    type: str
    payload: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)
_response = msgspec.json.Decoder(_Response)
_post_response = msgspec.json.Decoder(_PostResponse)
_text = msgspec.json.Decoder(str)


def refusal_code(text: str) -> RejectCode | None:
    """The code of a listed refusal, None for any other text."""
    for prefix, code in REFUSALS:
        if text.startswith(prefix):
            return code
    return None


def order_outcome(answer: Answer, order: SentOrder) -> Outcome:
    """The outcome of a single-order action."""
    status = _only_status(answer)
    if isinstance(status, str):
        return Unknown(detail=f"the answer to an order says {status!r}")
    if not isinstance(status, _Status):
        return status
    if status.error is not None:
        return Rejected(code=refusal_code(status.error) or RejectCode.OTHER, detail=status.error)
    if status.resting is not None:
        return Accepted(venue_order_id=str(status.resting.oid), status=OrderStatus.ACCEPTED, filled_lots=0)
    if status.filled is None:
        return Unknown(detail="the answer states neither resting, filled nor error")
    lots = whole_lots(status.filled.totalSz, order.instrument)
    if lots is None or not 0 <= lots <= order.lots or not is_price(status.filled.avgPx):
        return Unknown(detail=f"filled size {status.filled.totalSz} does not fit the order of {order.lots} lots")
    if lots == order.lots:
        final = OrderStatus.FILLED
    else:
        final = OrderStatus.EXPIRED if order.time_in_force is TimeInForce.IOC else OrderStatus.ACCEPTED
    return Accepted(venue_order_id=str(status.filled.oid), status=final, filled_lots=lots, avg_px=status.filled.avgPx)


def cancel_outcome(answer: Answer) -> Outcome:
    """The outcome of a single cancel: Accepted(CANCELED) or Rejected(UNKNOWN_ORDER) when it is gone already."""
    status = _only_status(answer)
    if isinstance(status, str):
        if status == "success":
            return Accepted(venue_order_id="", status=OrderStatus.CANCELED, filled_lots=0)
        return Unknown(detail=f"the answer to a cancel says {status!r}")
    if isinstance(status, _Status):
        if status.error is None:
            return Unknown(detail="the answer to a cancel states neither success nor error")
        return Rejected(code=refusal_code(status.error) or RejectCode.OTHER, detail=status.error)
    return status


def plain_outcome(answer: Answer) -> bool | Rejected | Unsent | Unknown:
    """True when an action without items (leverage, noop) was taken."""
    if not isinstance(answer, bytes):
        return answer
    decoded = _decoded(answer)
    return True if isinstance(decoded, _Response) else decoded


def http_answer(result: HttpReply | Unsent | Unknown) -> Answer:
    """A REST reply to POST /exchange: 200 carries the answer, listed refusals of the front count, the rest is Unknown."""
    if not isinstance(result, HttpReply):
        return result
    return result.body if result.status == 200 else _refused_status(result.status, result.body[:200].decode("latin-1"))


def post_answer(response: msgspec.Raw) -> Answer:
    """The `response` of a WebSocket post: an action's answer, or "<HTTP status> <text>" of a transport error."""
    try:
        decoded = _post_response.decode(response)
        if decoded.type == "action":
            return bytes(decoded.payload)
        if decoded.type == "error":
            status, _, text = _text.decode(decoded.payload).partition(" ")
            code = int(status) if status.isascii() and status.isdigit() else 0
            return _refused_status(code, text)
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    return Unknown(detail=f"an answer of type {decoded.type!r} to an action")


def is_refused(text: str) -> bool:
    """Whether a bare text of the `error` channel is a listed refusal."""
    return refusal_code(text) is not None


def require_done(answer: Answer, what: str) -> None:
    """Raise a VenueError unless the action was taken; for settings, which are read back anyway."""
    outcome = plain_outcome(answer)
    if isinstance(outcome, Unsent):
        raise NotSent(f"{what} was not sent: {outcome.detail}")
    if isinstance(outcome, Rejected):
        raise VenueError(f"{what} was refused: {outcome.detail}")
    if isinstance(outcome, Unknown):
        raise OutcomeUnknown(f"{what}: {outcome.detail}")


def _refused_status(status: int, text: str) -> Rejected | Unknown:
    code = _REFUSED_STATUS.get(status)
    detail = f"HTTP {status}: {text[:200]}"
    return Unknown(detail=detail) if code is None else Rejected(code=code, detail=detail)


def _only_status(answer: Answer) -> _Status | str | Rejected | Unsent | Unknown:
    if not isinstance(answer, bytes):
        return answer
    decoded = _decoded(answer)
    if not isinstance(decoded, _Response):
        return decoded
    if decoded.data is None or len(decoded.data.statuses) != 1:
        return Unknown(detail="the answer does not hold exactly one status")
    return decoded.data.statuses[0]


def _decoded(answer: bytes) -> _Response | Rejected | Unknown:
    try:
        envelope = _envelope.decode(answer)
        if envelope.status == "ok":
            return _response.decode(envelope.response)
        text = _text.decode(envelope.response)
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    code = refusal_code(text) if envelope.status == "err" else None
    return Unknown(detail=text[:300]) if code is None else Rejected(code=code, detail=text[:300])
