"""Aster: form-encoded requests under an agent's EIP-712 signature, refusals by code (docs/venues/aster.md 7 and 10)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from core.types import Side
from executor.outcome import RejectCode, Unknown, Unsent
from executor.signing import aster as signing
from executor.venues import _aster_answers as answers
from tests.conformance.dialect import FIXTURES, Answer, Dialect, Meaning, Vector, page_codes
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_aster import SENT, error, reply

CODE = r"-\d{4}"
FOREIGN_ID = "web_by-hand"
DOUBTFUL = (-1000, -1001, -1006, -1007)  # "status UNKNOWN" in the page's own words


async def vectors() -> Sequence[Vector]:
    cases = json.loads((FIXTURES / "aster" / "signing_vectors.json").read_text())["cases"]
    return [
        Vector(
            case["name"],
            signing.Signer(
                case["inputs"]["agent_private_key"],
                user=case["inputs"]["user"],
                mainnet=case["inputs"]["chain_id"] == signing.MAINNET_CHAIN_ID,
            )
            .signed([(name, value) for name, value in case["inputs"]["params_in_order"]], case["inputs"]["nonce_us"])
            .decode(),
            f"{case['expected']['msg']}&signature={case['expected']['signature']}",
        )
        for case in cases
        if case["inputs"]["scheme"] == "v3"
    ]


def told_answers() -> Sequence[Answer]:
    def by_code(code: int, kind: RejectCode) -> Answer:
        meaning = Meaning.RATE_LIMITED if kind is RejectCode.RATE else Meaning.REJECTED
        return Answer(str(code), lambda: answers.order_outcome(error(code), SENT), meaning, kind)

    def by_status(status: int, meaning: Meaning) -> Answer:
        return Answer(f"HTTP {status}", lambda: answers.order_outcome(reply(b"words", status), SENT), meaning)

    def doubtful(code: int) -> Answer:
        return Answer(str(code), lambda: answers.order_outcome(error(code), SENT), Meaning.UNKNOWN)

    listed = {str(code) for code in (*answers.CODES, *DOUBTFUL)}
    return [
        *(by_code(code, kind) for code, kind in answers.CODES.items() if code not in DOUBTFUL),
        *(by_code(int(code), RejectCode.OTHER) for code in sorted(page_codes("aster", CODE) - listed)),
        *(doubtful(code) for code in DOUBTFUL),
        *(by_status(status, Meaning.RATE_LIMITED) for status in (418, 429)),
        *(by_status(status, Meaning.UNKNOWN) for status in (403, 500, 502, 503, 504)),
        Answer("not sent", lambda: answers.order_outcome(Unsent(detail="x"), SENT), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.order_outcome(Unknown(detail="x"), SENT), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    request = await station.request("ETH", Side.BUY, 120.0)
    return await station.send(msgspec.structs.replace(request, client_order_id=FOREIGN_ID))


DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        b'{"stream":"ethusdt@bookTicker","data":{"e":"bookTicker","s":"ETHUSDT","u":1,"b":"x","B":"1","a":"2","A":"1"}}',
        b'{"stream":"ethusdt@bookTicker","data":{"e":"bookTicker","s":"ETHUSDT","b":"1"}}',
        b'{"stream":"ethusdt@markPrice@1s","data":{"e":"markPriceUpdate","s":"ETHUSDT","p":"1","r":"oops"}}',
    ),
    code=CODE,
)
