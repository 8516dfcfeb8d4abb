"""Kraken spot: orders by socket on a token, signed REST beside it, refusals by an exact list of texts
(docs/venues/kraken.md 6, 7 and 10)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from core.types import Side
from executor.outcome import RejectCode, Unknown, Unsent
from executor.signing import kraken as signing
from executor.venues import _kraken_answers as answers
from tests.conformance.dialect import FIXTURES, Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_kraken import CLIENT, TEXTS, by_socket, reply

FOREIGN_ID = "by-hand-1"
DOUBTFUL = ("EGeneral:Internal error", "EService:Unavailable", "EService:Busy", "EOrder:Something new")


async def vectors() -> Sequence[Vector]:
    """The signatures; the messages of the socket are not signed and are judged in tests/executor/test_signing_kraken.py."""
    made = []
    for case in json.loads((FIXTURES / "kraken" / "signing_vectors.json").read_text())["cases"]:
        inputs = case["inputs"]
        if not inputs["scheme"].startswith("rest_"):
            continue
        nonce = int(inputs["nonce"])
        if inputs["scheme"] == "rest_form":
            body = signing.form(nonce, [(name, value) for name, value in inputs["params_in_order"]])
        elif inputs["scheme"] == "rest_json":
            body = signing.json_body(nonce, inputs["params_in_order"])
        else:
            body = inputs["body"].encode()
        signer = signing.Signer(inputs["api_key"], inputs["api_secret_b64"])
        recorded = case["expected"]["headers"]["API-Sign"]
        made.append(Vector(case["name"], signer.signature(inputs["path"], nonce, body), recorded))
    return made


def told_answers() -> Sequence[Answer]:
    def rest(text: str, meaning: Meaning, code: RejectCode | None = None) -> Answer:
        def made() -> object:
            return answers.order_outcome(answers.http_answer(reply({"error": [text]})), CLIENT)

        return Answer(f"REST {text}", made, meaning, code)

    def socket(text: str, meaning: Meaning, code: RejectCode | None = None) -> Answer:
        frame = json.dumps({"method": "add_order", "req_id": 1, "success": False, "error": text}).encode()
        return Answer(f"socket {text}", lambda: answers.order_outcome(by_socket(frame), CLIENT), meaning, code)

    def status(code: int, meaning: Meaning) -> Answer:
        return Answer(
            f"HTTP {code}", lambda: answers.order_outcome(answers.http_answer(reply(b"x", code)), CLIENT), meaning
        )

    def of(code: str) -> tuple[Meaning, RejectCode]:
        known = RejectCode(code)
        return (Meaning.RATE_LIMITED if known is RejectCode.RATE else Meaning.REJECTED), known

    return [
        *(rest(text, *of(code)) for text, code in TEXTS.items()),
        *(socket(text, *of(code)) for text, code in TEXTS.items()),
        *(way(text, Meaning.UNKNOWN) for text in DOUBTFUL for way in (rest, socket)),
        status(429, Meaning.RATE_LIMITED),
        *(status(code, Meaning.UNKNOWN) for code in (403, 500, 502, 503, 504, 520)),
        Answer("not sent", lambda: answers.order_outcome(Unsent(detail="x"), CLIENT), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.order_outcome(Unknown(detail="x"), CLIENT), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    request = await station.request("ETH", Side.BUY, 120.0)
    return await station.send(msgspec.structs.replace(request, client_order_id=FOREIGN_ID))


DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        b'{"channel":"ticker","type":"update","data":[{"symbol":"ETH/USD","bid":"x","bid_qty":1,"ask":2,"ask_qty":1}]}',
        b'{"channel":"ticker","type":"update","data":[{"symbol":"ETH/USD","bid":-1,"bid_qty":1,"ask":2,"ask_qty":1,'
        b'"volume":1,"vwap":1}]}',
        b'{"channel":"book","type":"update","data":[{"symbol":"ETH/USD","bids":[{"price":"1e999999","qty":1}],"asks":[],'
        b'"checksum":1}]}',
        b'{"channel":"book","type":"update","data":[{"symbol":"ETH/USD","bids":[],"asks":[]}]}',
    ),
    used_nonce_refused=False,  # orders of the socket stand on a token, not on a nonce
)
