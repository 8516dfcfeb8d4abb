"""What Variational's answers mean: the only place that turns them into outcomes (docs/venues/variational.md 7 and 10).

The HTTP status says who speaks: 400 and 422 are the venue's own refusal when their body is one of its objects, 418 and 429 its
limits, 401 its session layer if stamped, 403 its permissions or the front before it. Which refusal it is stands in
`error_code`. Everything else (404, 409, 5xx, a front's page, an answer that does not decode) leaves the order in doubt, and a
200 says no more than that the order is pending.
"""

from __future__ import annotations

import re

import msgspec

from core.clock import NS_PER_S
from core.errors import NotSent, OutcomeUnknown, VenueError
from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS

OK, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, MISSING, UNPROCESSABLE = 200, 400, 401, 403, 404, 422
LIMITED = frozenset({418, 429})
STAMP, FRONT = "x-omni-auth", "cf-mitigated"
RESETS = "x-rate-limit-resets-in-ms"
WAIT_S, WAIT_MAX_S = 10.0, 3600.0
A_TIME_S = 1_000_000_000
"""Whether `wait_until_seconds` is a duration or a time is not recorded [unsure]: beyond this it can only be a time."""

CODES: tuple[tuple[re.Pattern[str], RejectCode], ...] = (
    (re.compile(r"user_(gross|net|instrument)\w*|user_risk_checks"), RejectCode.MARGIN),
    (re.compile(r"olp_(\w+_)?risk_checks?"), RejectCode.OPEN_INTEREST),
    (re.compile(r"skew_limit_exceeded|oi_limit_exceeded|\w+_as_percent_of_fdv_limit"), RejectCode.OPEN_INTEREST),
    (re.compile(r"global_configs_check|is_close_only_mode|close_only|market_delisted"), RejectCode.VENUE_MODE),
    (re.compile(r"min_qty_tick|min_qty|max_qty"), RejectCode.SIZE),
    (re.compile(r"min_order_notional"), RejectCode.MIN_NOTIONAL),
    (re.compile(r"quote_expired|quote_not_found"), RejectCode.EXPIRED),
    (re.compile(r"slippage_exceeded"), RejectCode.PRICE_BAND),
    (re.compile(r"order_not_found"), RejectCode.UNKNOWN_ORDER),
)
"""`error_code`, whole. The words for old quotes and slippage vary [unsure]; what is not listed is refused all the same (the
status says so) and counts as OTHER."""

_TICK = re.compile(r"\bmin_qty_tick \(")


class _Refusal(msgspec.Struct):
    error_code: str = ""
    message: str = ""
    error_message: str = ""


class _Taken(msgspec.Struct):
    rfq_id: str


_refusal = msgspec.json.Decoder(_Refusal)
_taken = msgspec.json.Decoder(_Taken)


def is_stamped(reply: HttpReply) -> bool:
    """Whether the session layer answered, and not something before it."""
    return STAMP in reply.headers or b"No token" in reply.body[:200]


def wait_s(reply: HttpReply, now_s: float = 0.0) -> float:
    """How long a 418 or 429 keeps us out."""
    try:
        told = msgspec.json.decode(reply.body, type=dict[str, object]).get("wait_until_seconds")
    except DECODE_ERRORS:
        told = None
    if isinstance(told, int | float) and not isinstance(told, bool) and told >= 0:
        if told < A_TIME_S:
            return min(WAIT_MAX_S, float(told))
        now_s = now_s or reply.date_ns / NS_PER_S
        return min(WAIT_MAX_S, max(WAIT_S, told - now_s)) if now_s else WAIT_MAX_S
    text = reply.headers.get(RESETS, "")
    return min(WAIT_MAX_S, int(text) / 1000) if text.isascii() and text.isdecimal() else WAIT_S


def take_outcome(result: HttpReply | Unsent | Unknown) -> Outcome:
    """Of the acceptance of a quote: pending, with its rfq id."""
    if not isinstance(result, HttpReply) or result.status != OK:
        return _other(result)
    try:
        rfq_id = _taken.decode(result.body).rfq_id
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    if not rfq_id:
        return Unknown(detail="the answer names no rfq")
    return Accepted(venue_order_id=rfq_id, status=OrderStatus.ACCEPTED, filled_lots=0)


def cancel_outcome(result: HttpReply | Unsent | Unknown) -> Outcome:
    """Of a cancel: taken; the order's own end is told elsewhere, since it may clear all the same."""
    if not isinstance(result, HttpReply) or result.status not in (OK, MISSING):
        return _other(result)
    refusal = _decoded(result)
    if result.status == OK:
        return Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
    if refusal is not None and _code(refusal) is RejectCode.UNKNOWN_ORDER:
        return Rejected(code=RejectCode.UNKNOWN_ORDER, detail=_detail(result))
    return Unknown(detail=_detail(result))


def require_done(result: HttpReply | Unsent | Unknown, what: str) -> None:
    """Raise a VenueError unless a setting was taken; it is read back anyway."""
    if isinstance(result, Unsent):
        raise NotSent(f"variational {what} was not sent: {result.detail}")
    if isinstance(result, Unknown):
        raise OutcomeUnknown(f"variational {what}: {result.detail}")
    if result.status != OK:
        raise VenueError(f"variational {what} was refused: {_detail(result)}")


def _other(result: HttpReply | Unsent | Unknown) -> Outcome:
    """Of everything that is not a success."""
    if not isinstance(result, HttpReply):
        return result
    status, detail, refusal = result.status, _detail(result), _decoded(result)
    if status in LIMITED:
        return Rejected(code=RejectCode.RATE, detail=detail)
    if status == UNAUTHORIZED and is_stamped(result):
        return Rejected(code=RejectCode.AUTH, detail=detail)
    if status == FORBIDDEN and (FRONT in result.headers or refusal is not None):
        return Rejected(code=RejectCode.AUTH, detail=detail)
    if status in (BAD_REQUEST, UNPROCESSABLE) and refusal is not None:
        return Rejected(code=_code(refusal), detail=detail)
    return Unknown(detail=detail)


def _decoded(reply: HttpReply) -> _Refusal | None:
    """An object in the venue's form that says something."""
    try:
        refusal = _refusal.decode(reply.body)
    except DECODE_ERRORS:
        return None
    return refusal if refusal.error_code or refusal.message or refusal.error_message else None


def _code(refusal: _Refusal) -> RejectCode:
    for pattern, code in CODES:
        if pattern.fullmatch(refusal.error_code):
            return code
    if not refusal.error_code and _TICK.search(refusal.message):
        return RejectCode.SIZE  # the one refusal that is recorded without a code
    return RejectCode.OTHER


def _detail(reply: HttpReply) -> str:
    return f"HTTP {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}"
