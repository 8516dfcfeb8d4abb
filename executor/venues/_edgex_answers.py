"""What EdgeX's answers mean: by HTTP status and the word in `code`, never by message (docs/venues/edgex.md 1, 7, 10).

A word may come on HTTP 200 as well as on a 4xx. There is no complete list of them: an unknown one is a refusal, as the page
has it, unless it is of those that speak of the venue's own state and not of the request (IN_DOUBT), 5xx, or no word at all.
`msg` and `errorParam` echo keys, so nothing of a body but its word goes into a detail, and that only in the form of a word.

SUCCESS is an order id and no more. Whether the order was taken, and what became of it, the private stream tells or a lookup;
a refusal for margin, reduce-only or post-only comes that way, as an order that ends CANCELED.
"""

from __future__ import annotations

import re

import msgspec

from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS

LaneResult = HttpReply | Unsent | Unknown

SUCCESS = "SUCCESS"
ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
SIGNATURE_ERROR = "SIGNATURE_ERROR"
RATE_STATUS = 429

IN_DOUBT = frozenset(
    {"SYSTEM_ERROR", "SYSTEM_BUSY", "INTERNAL_ERROR", "INTERNAL_FAILED", "TIMEOUT", "UNKNOWN", "FAILED"}
)
"""Words of this kind are not recorded [unsure]; if one comes for an order it proves nothing about it, so it is asked for."""

CODES: dict[str, RejectCode] = {
    "INVALID_API_KEY": RejectCode.AUTH,
    "GATEWAY_HEADER_REQUIRED": RejectCode.AUTH,
    SIGNATURE_ERROR: RejectCode.AUTH,
    "GATEWAY_PARAM_INVALID": RejectCode.OTHER,
    "INVALID_PARAMETER": RejectCode.OTHER,
    "INSUFFICIENT_BALANCE": RejectCode.MARGIN,
    ORDER_NOT_FOUND: RejectCode.UNKNOWN_ORDER,
    "ACCOUNT_UPDATE_LEVERAGE_FAILED_ORDER": RejectCode.LEVERAGE,
    "INVALID_GET_PAGE_SIZE": RejectCode.OTHER,
    "INVALID_DEPTH_LEVEL": RejectCode.OTHER,
    "RATE_LIMIT_EXCEEDED": RejectCode.RATE,
    "INVALID_L2_NONCE": RejectCode.NONCE,  # not recorded [unsure]
    "DUPLICATE_CLIENT_ORDER_ID": RejectCode.DUPLICATE_ID,  # not recorded [unsure]
}

_WORD = re.compile(r"^[A-Z][A-Z0-9_]{2,63}$")


class _Created(msgspec.Struct):
    orderId: str


class _Canceled(msgspec.Struct):
    cancelResultMap: dict[str, str]


class _Envelope(msgspec.Struct):
    code: str
    data: msgspec.Raw = msgspec.Raw(b"null")


_envelope = msgspec.json.Decoder(_Envelope)
_created = msgspec.json.Decoder(_Created)
_canceled = msgspec.json.Decoder(_Canceled)


def order_outcome(result: LaneResult) -> Outcome:
    """The outcome of createOrder."""
    data = answered(result)
    if not isinstance(data, bytes):
        return data
    try:
        order_id = _created.decode(data).orderId
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    if not order_id:
        return Unknown(detail="the answer names no order")
    return Accepted(venue_order_id=order_id, status=OrderStatus.ACCEPTED, filled_lots=0)


def cancel_outcome(result: LaneResult, name: str) -> Outcome:
    """The outcome of cancelling `name`. The venue has taken the wish; the order's end and what it filled are told apart."""
    data = answered(result)
    if not isinstance(data, bytes):
        return data
    try:
        word = _canceled.decode(data).cancelResultMap.get(name)
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    if word is None:
        return Unknown(detail="the answer says nothing of this order")
    return (
        Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0) if word == SUCCESS else _refused(word)
    )


def answered(result: LaneResult) -> bytes | Rejected | Unsent | Unknown:
    """The data of a successful answer, or what any other one proves."""
    if not isinstance(result, HttpReply):
        return result
    envelope = decoded(result)
    if result.status == RATE_STATUS:
        return Rejected(code=RejectCode.RATE, detail=detail_of(result, envelope))
    if envelope is None or not (result.status == 200 or 400 <= result.status < 500):
        return Unknown(detail=detail_of(result, envelope))
    if envelope.code != SUCCESS:
        return _refused(envelope.code, detail_of(result, envelope))
    if result.status != 200:
        return Unknown(detail=detail_of(result, envelope))
    return bytes(envelope.data)


def decoded(reply: HttpReply) -> _Envelope | None:
    try:
        return _envelope.decode(reply.body)
    except DECODE_ERRORS:
        return None


def detail_of(reply: HttpReply, envelope: _Envelope | None) -> str:
    """For logs: nothing that could hold a key."""
    return f"HTTP {reply.status}: {'no answer that decodes' if envelope is None else shown(envelope.code)}"


def shown(word: str) -> str:
    return word if _WORD.match(word) else "a code that is no word"


def _refused(word: str, detail: str = "") -> Rejected | Unknown:
    if word in IN_DOUBT or not word:
        return Unknown(detail=detail or shown(word))
    return Rejected(code=CODES.get(word, RejectCode.OTHER), detail=detail or shown(word))
