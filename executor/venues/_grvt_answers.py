"""What GRVT's answers to orders and cancels mean: by code, never by message (docs/venues/grvt.md 7, 10).

An order's answer is an acknowledgement: state PENDING, no id, no fill. What became of it the private stream tells, or a
lookup; a refusal in matching comes that way too. Refusals on arrival carry a code, over HTTP with a 4xx and over the
WebSocket alone. The codes between 2000 and 2999 are all about the request itself, so an unlisted one of them is a refusal.
Every other unlisted code, 5xx, and what does not decode leave the request in doubt.
"""

from __future__ import annotations

import msgspec

from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS

RATE_STATUS = 429
RATE_CODE = 1006
SESSION_CODE = 1000
NOT_FOUND = 1004
UNKNOWN_CODES = frozenset({1002, 1005, 1009})
NO_ID = "0x00"

_R = RejectCode
CODES: dict[int, RejectCode] = {
    SESSION_CODE: _R.AUTH,
    1001: _R.AUTH,
    1003: _R.OTHER,
    NOT_FOUND: _R.UNKNOWN_ORDER,
    RATE_CODE: _R.RATE,
    1008: _R.AUTH,
    1012: _R.AUTH,
    1200: _R.OTHER,
    1400: _R.AUTH,
    2000: _R.AUTH,
    2001: _R.EXPIRED,
    2002: _R.AUTH,
    2003: _R.AUTH,
    2004: _R.AUTH,
    2005: _R.AUTH,
    2006: _R.AUTH,
    2007: _R.AUTH,
    2008: _R.EXPIRED,
    2010: _R.OTHER,
    2011: _R.OTHER,
    2012: _R.DUPLICATE_ID,
    2020: _R.OTHER,
    2021: _R.OTHER,
    2030: _R.OTHER,
    2032: _R.POST_ONLY,
    2060: _R.INSTRUMENT,
    2061: _R.INSTRUMENT,
    2062: _R.SIZE,
    2064: _R.TICK,
    2065: _R.SIZE,
    2066: _R.MIN_NOTIONAL,
    2067: _R.MIN_NOTIONAL,
    2080: _R.MARGIN,
    2081: _R.OPEN_INTEREST,
    2082: _R.OTHER,
    2083: _R.OPEN_INTEREST,
    2084: _R.OTHER,
    2090: _R.RATE,
    2100: _R.LEVERAGE,
    2101: _R.LEVERAGE,
    2102: _R.LEVERAGE,
    2103: _R.LEVERAGE,
    2104: _R.LEVERAGE,
    2105: _R.LEVERAGE,
    2106: _R.LEVERAGE,
    2107: _R.LEVERAGE,
    2108: _R.LEVERAGE,
    2300: _R.OTHER,
    2301: _R.OTHER,
    2400: _R.REDUCE_ONLY,
    2401: _R.REDUCE_ONLY,
    2402: _R.REDUCE_ONLY,
    3000: _R.INSTRUMENT,
    3021: _R.OTHER,
    6000: _R.OTHER,
    7201: _R.PRICE_BAND,
    7304: _R.VENUE_MODE,
}


class State(msgspec.Struct):
    status: str


class Metadata(msgspec.Struct):
    client_order_id: str


class Acknowledged(msgspec.Struct):
    metadata: Metadata
    state: State


class _Created(msgspec.Struct):
    result: Acknowledged


class ErrorRow(msgspec.Struct):
    code: int = 0
    message: str = ""


class Rpc(msgspec.Struct):
    """An answer over the WebSocket: `result` is what REST would answer."""

    id: int = 0
    method: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorRow | None = None


Answer = bytes | Rejected | Unsent | Unknown
"""The body of a success, or what came instead."""

_error = msgspec.json.Decoder(ErrorRow)
_created = msgspec.json.Decoder(_Created)


def http_answer(result: HttpReply | Unsent | Unknown) -> Answer:
    if not isinstance(result, HttpReply):
        return result
    if result.status == 200:
        return result.body
    code = error_of(result)
    detail = f"HTTP {result.status}, code {code}"
    if result.status == RATE_STATUS:
        return Rejected(code=_R.RATE, detail=detail)
    return refusal(code, detail) if 400 <= result.status < 500 else Unknown(detail=detail)


def rpc_answer(rpc: Rpc) -> Answer:
    if rpc.error is not None:
        return refusal(rpc.error.code, f"code {rpc.error.code}: {rpc.error.message[:200]}")
    return bytes(rpc.result)


def refusal(code: int, detail: str) -> Rejected | Unknown:
    """What an error's code proves."""
    known = CODES.get(code)
    if known is None:
        return Rejected(code=_R.OTHER, detail=detail) if 2000 <= code < 3000 else Unknown(detail=detail)
    return Rejected(code=known, detail=detail)


def order_outcome(answer: Answer, client_number: int) -> Outcome:
    """The outcome of create_order."""
    if not isinstance(answer, bytes):
        return answer
    try:
        told = _created.decode(answer).result.metadata.client_order_id
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    if told != str(client_number):
        return Unknown(detail=f"the answer is about the order {told[:40]!r}")
    return Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)


def cancel_outcome(answer: Answer) -> Outcome:
    """The outcome of a cancel: received, no more, even of an order that nobody knows."""
    if not isinstance(answer, bytes):
        return answer
    return Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)


def error_of(reply: HttpReply) -> int:
    """The code of an error's body, 0 when it has none."""
    try:
        return _error.decode(reply.body).code
    except DECODE_ERRORS:
        return 0
