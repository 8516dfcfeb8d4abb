"""What Pacifica's answers to signed operations mean: the only place that turns its words into outcomes.

By REST the HTTP status says how far a request came: 400 is shape, signature or price grid, before the engine; 422 is the
engine's refusal; 429 never arrived. Over the socket one code each says the same (docs/venues/pacifica.md 10). Which refusal
of the engine it is stands only in a text (the numbers were renumbered in 2026), and some of its words leave the outcome
open (CHANNEL_CLOSED, RESPONSE_DROPPED, INTERNAL). So an engine's refusal counts as one only by an exact allow-list, with a
fixture for each entry; any other text of it is Unknown, and so is everything with a 5xx.

An acknowledgement names the order and never shows a fill: how it ended is told by the channels.
"""

from __future__ import annotations

import re

import msgspec

from core.errors import NotSent, OutcomeUnknown, VenueError
from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._pacifica_rows import Envelope

Answer = bytes | Rejected | Unsent | Unknown
"""The `data` of a success as JSON, or what became of the request instead."""

NAMES: dict[str, RejectCode] = {
    "ACCOUNT_NOT_FOUND": RejectCode.AUTH,
    "BOOK_NOT_FOUND": RejectCode.INSTRUMENT,
    "INVALID_TICK_LEVEL": RejectCode.TICK,
    "INVALID_TICK_SIZE": RejectCode.TICK,
    "INSUFFICIENT_BALANCE": RejectCode.MARGIN,
    "IMMEDIATE_LIQUIDATION": RejectCode.MARGIN,
    "ORDER_NOT_FOUND": RejectCode.UNKNOWN_ORDER,
    "ORDER_AMOUNT_TOO_LOW": RejectCode.MIN_NOTIONAL,
    "ORDER_AMOUNT_TOO_HIGH": RejectCode.SIZE,
    "INVALID_AMOUNT": RejectCode.SIZE,
    "OPEN_ORDER_LIMIT_REACHED": RejectCode.OTHER,
    "INVALID_LEVERAGE": RejectCode.LEVERAGE,
    "CANNOT_UPDATE_MARGIN": RejectCode.LEVERAGE,
    "POSITION_NOT_FOUND": RejectCode.REDUCE_ONLY,
    "INVALID_REDUCE_ONLY_ORDER_SIDE": RejectCode.REDUCE_ONLY,
    "INVALID_REDUCE_ONLY_ORDER_AMOUNT": RejectCode.REDUCE_ONLY,
    "NO_POSITION_FOR_REDUCE_ONLY_ORDER": RejectCode.REDUCE_ONLY,
    "NO_REASONABLE_PRICE": RejectCode.NO_MATCH,
    "PRICE_TOO_FAR_FROM_MARK": RejectCode.PRICE_BAND,
    "DUPLICATE_CLIENT_ORDER_ID": RejectCode.DUPLICATE_ID,
    "TRADING_DISABLED": RejectCode.VENUE_MODE,
    "MISSING_MARK_PRICE": RejectCode.VENUE_MODE,
    "ORACLE_NOT_AVAILABLE": RejectCode.VENUE_MODE,
    "OPEN_INTEREST_LIMIT_EXCEEDED": RejectCode.OPEN_INTEREST,
    "UNSUPPORTED_OPERATION": RejectCode.OTHER,
}
"""The documented names: as the whole text, or in small letters as `error_id`. Names that leave the outcome open are absent."""

TEXTS: tuple[tuple[re.Pattern[str], RejectCode], ...] = (
    (re.compile(r"Order amount too low for \w+: [0-9.]+ < [0-9.]+"), RejectCode.MIN_NOTIONAL),
    (re.compile(r"Failed to cancel order"), RejectCode.UNKNOWN_ORDER),
    (re.compile(r"No reasonable price found"), RejectCode.NO_MATCH),
    (re.compile(r"(Price \S+ is )?not a multiple of tick size [0-9.]+"), RejectCode.TICK),
    (re.compile(r"(Amount \S+ is )?not a multiple of lot size [0-9.]+"), RejectCode.SIZE),
    (re.compile(r"Verification failed.*", re.DOTALL), RejectCode.AUTH),
    (re.compile(r"Invalid signature|Invalid public key"), RejectCode.AUTH),
    (re.compile(r"Unauthorized|Agent not authorized for account"), RejectCode.AUTH),
    (re.compile(r"Invalid message"), RejectCode.EXPIRED),
)
"""Texts seen on the wire, whole."""

_BEFORE_ENGINE = {
    400: RejectCode.OTHER,
    401: RejectCode.AUTH,
    402: RejectCode.AUTH,
    403: RejectCode.AUTH,
    429: RejectCode.RATE,
}
"""Refused before matching, by HTTP status or socket code, whatever the text; the text may say it more exactly."""

HTTP_BUSINESS, SOCKET_ENGINE, OK = 422, 420, 200


class SocketAnswer(msgspec.Struct):
    """A frame that answers an operation."""

    code: int
    id: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    err: str = ""


class _Order(msgspec.Struct):
    """An acknowledgement: by REST `order_id`, over the socket `i`."""

    order_id: int = 0
    i: int = 0


_envelope = msgspec.json.Decoder(Envelope)
_order = msgspec.json.Decoder(_Order)


def refusal_code(text: str, error_id: str | None = None) -> RejectCode | None:
    """The code of a listed refusal, None for any other."""
    for pattern, code in TEXTS:
        if pattern.fullmatch(text):
            return code
    return NAMES.get(text) or NAMES.get((error_id or "").upper())


def http_answer(result: HttpReply | Unsent | Unknown) -> Answer:
    if not isinstance(result, HttpReply):
        return result
    try:
        envelope = _envelope.decode(result.body)
    except DECODE_ERRORS:
        envelope = None
    if envelope is not None and envelope.success:
        if result.status == OK:
            return bytes(envelope.data)
        return Unknown(detail=f"HTTP {result.status} with a success in its body")
    bare = result.body[:300].decode("utf-8", "replace").strip()
    text = bare if envelope is None else envelope.error or ""
    return _refused(result.status, HTTP_BUSINESS, text, None if envelope is None else envelope.error_id, "HTTP ")


def socket_answer(answer: SocketAnswer) -> Answer:
    if answer.code == OK:
        return bytes(answer.data)
    return _refused(answer.code, SOCKET_ENGINE, answer.err, None, "code ")


def order_outcome(answer: Answer) -> Outcome:
    """Of a create: taken, with its id; what becomes of it is told elsewhere."""
    if not isinstance(answer, bytes):
        return answer
    try:
        told = _order.decode(answer)
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    number = told.order_id or told.i
    if number <= 0:
        return Unknown(detail="the answer names no order")
    return Accepted(venue_order_id=str(number), status=OrderStatus.ACCEPTED, filled_lots=0)


def cancel_outcome(answer: Answer) -> Outcome:
    """Of a cancel: Accepted(CANCELED), or Rejected(UNKNOWN_ORDER) when it is gone already (perhaps filled)."""
    if not isinstance(answer, bytes):
        return answer
    return Accepted(venue_order_id="", status=OrderStatus.CANCELED, filled_lots=0)


def require_done(answer: Answer, what: str) -> None:
    """Raise a VenueError unless the operation was taken; for settings, which are read back anyway."""
    if isinstance(answer, Unsent):
        raise NotSent(f"pacifica {what} was not sent: {answer.detail}")
    if isinstance(answer, Rejected):
        raise VenueError(f"pacifica {what} was refused: {answer.detail}")
    if isinstance(answer, Unknown):
        raise OutcomeUnknown(f"pacifica {what}: {answer.detail}")


def _refused(status: int, business: int, text: str, error_id: str | None, word: str) -> Rejected | Unknown:
    detail = f"{word}{status}: {text[:200]}"
    listed = refusal_code(text, error_id)
    if status in _BEFORE_ENGINE:
        return Rejected(code=listed or _BEFORE_ENGINE[status], detail=detail)
    if status == business and listed is not None:
        return Rejected(code=listed, detail=detail)
    return Unknown(detail=detail)
