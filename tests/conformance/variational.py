"""Variational: no signatures on orders and no ids of ours; refusals by HTTP status and `error_code` (docs/venues/variational.md
6, 7 and 10)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.types import Side
from executor.outcome import RejectCode, Unknown, Unsent
from executor.venues import _variational_answers as answers
from tests.conformance.dialect import Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_variational import EARLY, OPEN_ENDED, REFUSED, Said
from tests.executor.test_signing_variational import HMAC, LOGIN, hmac_of, login_of

SYMBOL = "HYPE"  # settles every hour in the sandbox


async def vectors() -> Sequence[Vector]:
    made = [Vector(case["name"], hmac_of(case)["X-Variational-Signature"], signature(case)) for case in HMAC]
    return [*made, Vector(LOGIN["name"], login_of(LOGIN), LOGIN["expected"]["login_request"]["body"]["signed_message"])]


def signature(case: dict[str, dict[str, dict[str, str]]]) -> str:
    return case["expected"]["headers"]["X-Variational-Signature"]


def told_answers() -> Sequence[Answer]:
    def early(code: RejectCode) -> Meaning:
        return Meaning.RATE_LIMITED if code is RejectCode.RATE else Meaning.REJECTED

    def made(said: Said, meaning: Meaning, code: RejectCode | None = None) -> Answer:
        return Answer(said.name, lambda: answers.take_outcome(said.reply()), meaning, code)

    return [
        *(made(Said(f"422 {code}", 422, {"error_code": code}), Meaning.REJECTED, means) for code, means in REFUSED),
        *(made(said, early(code), code) for code, said in EARLY),
        *(made(said, Meaning.UNKNOWN) for said in OPEN_ENDED),
        Answer("not sent", lambda: answers.take_outcome(Unsent(detail="x")), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.take_outcome(Unknown(detail="x")), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    """Another process of the same account: no id of ours is on the wire, so what it sends is foreign to everybody else."""
    request = await station.request(SYMBOL, Side.BUY, 70.0)
    quote = await station.gateway.request_quote(request.instrument, request.side, request.lots)
    return await station.send(msgspec.structs.replace(request, quote_id=quote.quote_id))


DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        b'{"listings":[{"ticker":"HYPE","mark_price":"NaN"}]}',
        b'{"listings":[{"ticker":"HYPE","mark_price":"-62"}]}',
        b'{"listings":{"ticker":"HYPE"}}',
    ),
    used_nonce_refused=False,
    symbol=SYMBOL,
)
