"""EdgeX: HMAC over canonical text, orders under EIP-712 besides, refusals by the word in `code` (docs/venues/edgex.md 6, 7
and 10)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from core.types import Side
from executor.outcome import RejectCode, Unknown, Unsent
from executor.signing import edgex as signing
from executor.venues import _edgex_answers as answers
from tests.conformance.dialect import Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_edgex import CREATED, WORDS, refusal, reply
from tests.executor.test_signing_edgex import CASES, signer, terms


async def vectors() -> Sequence[Vector]:
    orders = [
        Vector(case["name"], signed_order(case).content, case["expected"]["rest_content_string"])
        for case in CASES
        if case["name"].startswith("place")
    ]
    requests = [
        Vector(f"{case['name']}, its request", signed_request(case), case["expected"]["headers"]["X-edgeX-Signature"])
        for case in CASES
        if "method" in case["expected"]
    ]
    return [*orders, *requests]


def signed_order(case: dict[str, Any]) -> signing.SignedOrder:
    inputs = case["inputs"]
    ticket = signing.OrderTicket(
        inputs["price"], inputs["size"], inputs["side"] == "BUY", inputs["timeInForce"], inputs["reduceOnly"],
        inputs["clientOrderId"], int(case["expected"]["body_json"]["expireTime"]),
    )  # fmt: skip
    return signer(inputs).order(ticket, terms(inputs, inputs["contractId"]))


def signed_request(case: dict[str, Any]) -> str:
    inputs, expected = case["inputs"], case["expected"]
    content = expected["query"] or signing.canonical(expected["body_json"])
    return signer(inputs).hmac_hex(expected["method"], expected["path"], content, inputs["now_ms"])


def told_answers() -> Sequence[Answer]:
    def word(code: str, status: int, meaning: Meaning, kind: RejectCode | None = None) -> Answer:
        return Answer(f"HTTP {status} {code}", lambda: answers.order_outcome(refusal(code, status)), meaning, kind)

    def early(kind: RejectCode) -> Meaning:
        return Meaning.RATE_LIMITED if kind is RejectCode.RATE else Meaning.REJECTED

    return [
        Answer("accepted", lambda: answers.order_outcome(reply(CREATED)), Meaning.TAKEN),
        *(word(code, status, early(kind), kind) for (code, status), kind in WORDS.items()),
        *(word(code, 200, Meaning.UNKNOWN) for code in sorted(answers.IN_DOUBT)),
        *(word("INVALID_PARAMETER", status, Meaning.UNKNOWN) for status in (500, 502, 503, 504)),
        Answer("HTTP 403 without a word", lambda: answers.order_outcome(reply(b"<html>", 403)), Meaning.UNKNOWN),
        Answer("not sent", lambda: answers.order_outcome(Unsent(detail="x")), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.order_outcome(Unknown(detail="x")), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    request = await station.request("ETH", Side.BUY, 120.0)
    by_hand = f"by-hand-{random.Random().getrandbits(40)}"  # an id is good once
    return await station.send(msgspec.structs.replace(request, client_order_id=by_hand))


_DEPTH = (
    b'{"type":"quote-event","channel":"depth.30000002.15","content":{"channel":"depth.30000002.15","dataType":"Snapshot",'
    b'"data":[{"startVersion":"1","endVersion":"2","level":15,"contractId":"30000002","contractName":"ETHUSDC","asks":['
    b'{"price":"%b","size":"1"}],"bids":[{"price":"%b","size":"%b"}],"depthType":"%b"}]}}'
)

DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        _DEPTH % (b"2", b"NaN", b"1", b"SNAPSHOT"),
        _DEPTH % (b"2", b"1", b"-1", b"SNAPSHOT"),
        _DEPTH % (b"2", b"1", b"1", b"NEWS"),
        b'{"type":"quote-event","channel":"ticker.all.1s","content":{"data":[{"contractId":"30000002","markPrice":"x"}]}}',
    ),
    used_nonce_refused=False,
)
