"""What Kraken's answers to orders and cancels mean (docs/venues/kraken.md 7, 10).

The venue has no codes: errors are texts of the form ECategory:Message[:detail], the same by REST (in an array, with HTTP
status 200) and by socket. So REFUSALS is an exact list, with one fixture per entry in tests/executor/test_answers_kraken.py;
a text that is not on it proves nothing and leaves the request in doubt. Not on it on purpose: `EGeneral:Internal error`, and
`EService:Unavailable` and `EService:Busy`, which the page calls a pause and others have seen on orders that were placed.
"""

from __future__ import annotations

import msgspec

from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS

RATE_STATUSES = frozenset({429})

REFUSALS: dict[str, RejectCode] = {
    "EAPI:Invalid nonce": RejectCode.NONCE,
    "EAPI:Invalid key": RejectCode.AUTH,
    "EAPI:Invalid signature": RejectCode.AUTH,
    "EAPI:Invalid token": RejectCode.AUTH,
    "ESession:Invalid session": RejectCode.AUTH,
    "EGeneral:Permission denied": RejectCode.AUTH,
    "EOrder:Insufficient funds": RejectCode.MARGIN,
    "EOrder:Insufficient margin": RejectCode.MARGIN,
    "EOrder:Order minimum not met": RejectCode.SIZE,
    "EOrder:Cost minimum not met": RejectCode.MIN_NOTIONAL,
    "EOrder:Tick size check failed": RejectCode.TICK,
    "EOrder:Invalid price": RejectCode.PRICE_BAND,
    "EGeneral:Invalid arguments": RejectCode.OTHER,
    "EOrder:Duplicate client order id": RejectCode.DUPLICATE_ID,
    "EOrder:Post only order": RejectCode.POST_ONLY,
    "EOrder:Unknown order": RejectCode.UNKNOWN_ORDER,
    "EOrder:Invalid order": RejectCode.UNKNOWN_ORDER,
    "EOrder:Orders limit exceeded": RejectCode.OTHER,
    "EService:Deadline elapsed": RejectCode.EXPIRED,
    "EAPI:Rate limit exceeded": RejectCode.RATE,
    "EOrder:Rate limit exceeded": RejectCode.RATE,
    "EOrder:Domain rate limit exceeded": RejectCode.RATE,
    "EGeneral:Too many requests": RejectCode.RATE,
    "EGeneral:Temporary lockout": RejectCode.RATE,
    "EService:Throttled": RejectCode.RATE,
    "Exceeded msg rate": RejectCode.RATE,
    "EService:Market in cancel_only mode": RejectCode.VENUE_MODE,
    "EService:Market in post_only mode": RejectCode.VENUE_MODE,
    "EService:Market in limit_only mode": RejectCode.VENUE_MODE,
    "EQuery:Unknown asset pair": RejectCode.INSTRUMENT,
    "Currency pair not supported": RejectCode.INSTRUMENT,
}
NOT_SUPPORTED = "Currency pair not supported"  # followed by the pair, without a colon
NONCE_TEXT = "EAPI:Invalid nonce"
LOCKOUT_TEXT = "EGeneral:Temporary lockout"
TOKEN_TEXTS = frozenset({"EAPI:Invalid token", "ESession:Invalid session"})


class Result(msgspec.Struct):
    """Of a socket's order answers."""

    order_id: str = ""
    cl_ord_id: str = ""


class AnswerRow(msgspec.Struct):
    """A frame that answers one of our requests."""

    method: str
    req_id: int
    success: bool = False
    error: str = ""
    result: Result | None = None


class _Placed(msgspec.Struct):
    txid: list[str] = []
    count: int = 0


class _Reply(msgspec.Struct):
    error: list[str] = []
    result: _Placed | None = None


_reply = msgspec.json.Decoder(_Reply)

Answer = AnswerRow | Rejected | Unsent | Unknown
"""What became of a request, whichever way it went: an AnswerRow is a success."""


def socket_answer(row: AnswerRow) -> Answer:
    """By socket."""
    return row if row.success else refusal([row.error])


def http_answer(result: HttpReply | Unsent | Unknown) -> Answer:
    """By REST, as if it had come by socket."""
    if not isinstance(result, HttpReply):
        return result
    if result.status in RATE_STATUSES:
        return Rejected(code=RejectCode.RATE, detail=f"HTTP {result.status}")
    if result.status != 200:
        return Unknown(detail=f"HTTP {result.status}: {result.body[:200].decode('utf-8', 'replace')}")
    try:
        reply = _reply.decode(result.body)
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")
    errors = [text for text in reply.error if not text.startswith("W")]
    if errors:
        return refusal(errors)
    if reply.result is None:
        return Unknown(detail="the answer holds neither an error nor a result")
    name = reply.result.txid[0] if len(reply.result.txid) == 1 else ""
    return AnswerRow(method="", req_id=0, success=True, result=Result(order_id=name))


def refusal(errors: list[str]) -> Rejected | Unknown:
    """What error texts prove: all of them must be on the list; the first one names the reason."""
    codes = [REFUSALS.get(stem(text)) for text in errors]
    detail = ", ".join(errors)[:300]
    if not codes or codes[0] is None or None in codes:
        return Unknown(detail=f"the venue says {detail!r}")
    return Rejected(code=codes[0], detail=detail)


def stem(text: str) -> str:
    """Category and message, without the detail."""
    if text.startswith(NOT_SUPPORTED):
        return NOT_SUPPORTED
    return ":".join(text.split(":")[:2])


def order_outcome(answer: Answer, client_order_id: str) -> Outcome:
    """Accepted means that the order is in: whether and how it filled is never told here."""
    if not isinstance(answer, AnswerRow):
        return answer
    told = answer.result or Result()
    if not told.order_id:
        return Unknown(detail="the answer names no order")
    if told.cl_ord_id and told.cl_ord_id != client_order_id:
        return Unknown(detail=f"the answer is about the order {told.cl_ord_id!r}")
    return Accepted(venue_order_id=told.order_id, status=OrderStatus.ACCEPTED, filled_lots=0)


def cancel_outcome(answer: Answer) -> Outcome:
    """The order's end, with what was filled before, is the stream's to tell."""
    if not isinstance(answer, AnswerRow):
        return answer
    told = answer.result or Result()
    return Accepted(venue_order_id=told.order_id, status=OrderStatus.ACCEPTED, filled_lots=0)
