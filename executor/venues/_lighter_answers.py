"""What Lighter's answers to transactions mean: by HTTP status and code, never by text (docs/venues/lighter.md 6, 7, 10).

Code 200 says that the API has queued the transaction, no more: what became of it is told by the private channels. Every
other code is a refusal with the nonce kept, except those by which a server says that it does not know (UNKNOWN_CODES, 5xx):
these leave the transaction in doubt. An answer under another hash than the one we signed is no answer to it.
"""

from __future__ import annotations

import msgspec

from executor.http_reply import HttpReply
from executor.outcome import RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS

OK = 200
AUTH_CODE = 20013
RATE_STATUSES = frozenset({429, 405})  # 405: the firewall; neither reaches the queue
RATE_CODES = frozenset({23000, 23001, 23002, 23003, 30009, 30010})
UNKNOWN_CODES = frozenset({29500, 29501})

_R = RejectCode
CODES: dict[int, RejectCode] = {
    20001: _R.OTHER,
    20013: _R.AUTH,
    21100: _R.AUTH,
    21101: _R.AUTH,
    21102: _R.AUTH,
    21103: _R.AUTH,
    21104: _R.NONCE,
    21105: _R.NONCE,
    21108: _R.AUTH,
    21109: _R.AUTH,
    21111: _R.MARGIN,
    21112: _R.MARGIN,
    21113: _R.LEVERAGE,
    21120: _R.AUTH,
    21132: _R.LEVERAGE,
    21136: _R.AUTH,
    21149: _R.AUTH,
    21301: _R.MARGIN,
    21304: _R.MARGIN,
    21506: _R.RATE,
    21507: _R.MARGIN,
    21508: _R.MARGIN,
    21600: _R.UNKNOWN_ORDER,
    21601: _R.VENUE_MODE,
    21602: _R.INSTRUMENT,
    21603: _R.SIZE,
    21605: _R.VENUE_MODE,
    21613: _R.LEVERAGE,
    21700: _R.UNKNOWN_ORDER,
    21701: _R.SIZE,
    21702: _R.TICK,
    21706: _R.MIN_NOTIONAL,
    21707: _R.UNKNOWN_ORDER,
    21708: _R.UNKNOWN_ORDER,
    21709: _R.UNKNOWN_ORDER,
    21711: _R.EXPIRED,
    21715: _R.UNKNOWN_ORDER,
    21717: _R.RATE,
    21718: _R.RATE,
    21719: _R.RATE,
    21720: _R.RATE,
    21727: _R.OTHER,
    21728: _R.DUPLICATE_ID,
    21732: _R.REDUCE_ONLY,
    21733: _R.PRICE_BAND,
    21734: _R.PRICE_BAND,
    21735: _R.PRICE_BAND,
    21738: _R.REDUCE_ONLY,
    21739: _R.MARGIN,
    21740: _R.REDUCE_ONLY,
} | dict.fromkeys(RATE_CODES, _R.RATE)


class Queued(msgspec.Struct, frozen=True):
    """The API took the transaction; the sequencer has not tried it yet."""

    tx_hash: str


Answer = Queued | Rejected | Unsent | Unknown


class ErrorRow(msgspec.Struct):
    code: int
    message: str = ""


class PostRow(msgspec.Struct):
    """An answer of `jsonapi/sendtx`; an error carries no type, only the id."""

    id: str = ""
    code: int = 0
    tx_hash: str = ""
    message: str = ""
    error: ErrorRow | None = None


class _Reply(msgspec.Struct):
    code: int
    message: str = ""
    tx_hash: str = ""


_reply = msgspec.json.Decoder(_Reply)


def http_answer(result: HttpReply | Unsent | Unknown, tx_hash: str) -> Answer:
    """The answer of POST /api/v1/sendTx."""
    if not isinstance(result, HttpReply):
        return result
    detail = f"HTTP {result.status}: {result.body[:200].decode('utf-8', 'replace')}"
    if result.status in RATE_STATUSES:
        return Rejected(code=_R.RATE, detail=detail)
    try:
        row = _reply.decode(result.body)
    except DECODE_ERRORS:
        return Unknown(detail=detail)
    if result.status == OK and row.code == OK:
        return _queued(row.tx_hash, tx_hash)
    if result.status != OK and not 400 <= result.status < 500:
        return Unknown(detail=detail)
    return refusal(row.code, detail)


def post_answer(row: PostRow, tx_hash: str) -> Answer:
    """The answer to a transaction sent over the socket."""
    if row.error is not None:
        return refusal(row.error.code, f"{row.error.code}: {row.error.message[:200]}")
    if row.code == OK:
        return _queued(row.tx_hash, tx_hash)
    return refusal(row.code, f"{row.code}: {row.message[:200]}")


def refusal(code: int, detail: str) -> Rejected | Unknown:
    """A code that is none, or by which the server says that it does not know, proves nothing."""
    if code < 10_000 or code in UNKNOWN_CODES:
        return Unknown(detail=detail)
    return Rejected(code=CODES.get(code, _R.OTHER), detail=detail)


def error_code(reply: HttpReply) -> int:
    """The code of an error body, 0 when it has none."""
    try:
        return _reply.decode(reply.body).code
    except DECODE_ERRORS:
        return 0


def _queued(answered: str, signed: str) -> Queued | Unknown:
    if answered.lower() != signed.lower():
        return Unknown(detail=f"the answer is about the transaction {answered[:80]!r}")
    return Queued(answered)
