"""Lighter: transactions under Schnorr signatures on ecGFp5, refusals by code (docs/venues/lighter.md 7 and 10).

Signatures are randomised: what must be equal is the hash of what was signed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from core.types import Side
from executor.outcome import RejectCode, Unknown, Unsent
from executor.signing import lighter as signing
from executor.venues import _lighter_answers as answers
from ops.sandbox.venues import _lighter_signing as judge
from tests.conformance.dialect import FIXTURES, Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_lighter import HASH, reply
from tests.executor.test_signing_lighter import begun

DOUBTFUL = (29500, 29501)  # the server says that it does not know
FOREIGN_INDEX = 178_554_256_601  # a client index that no id of ours leads to


async def vectors() -> Sequence[Vector]:
    cases = json.loads((FIXTURES / "lighter" / "signing_vectors.json").read_text())["cases"]
    made = []
    for case in cases:
        inputs = case["inputs"]
        if "call" not in inputs:
            continue
        signer = signing.Signer(
            functools.partial(str, inputs["private_key"]), account=inputs["account_index"], key_index=inputs["api_key_index"],
            chain_id=inputs["chain_id"],
        )  # fmt: skip
        await signer.start()
        signed = await begun(signer, inputs["call"], inputs["args"], inputs["nonce"])
        signer.close()
        info = {**json.loads(signed.info), "ExpiredAt": inputs["expired_at"]}  # the signer stamps its own
        ours = judge.hash_of(judge.digest(judge.parse(signed.kind, json.dumps(info)), inputs["chain_id"]))
        made.append(Vector(case["name"], ours, case["expected"]["tx_hash"]))
    return made


def told_answers() -> Sequence[Answer]:
    def by_code(code: int, kind: RejectCode) -> Answer:
        meaning = Meaning.RATE_LIMITED if kind is RejectCode.RATE else Meaning.REJECTED
        body = {"code": code, "message": "words"}
        return Answer(str(code), lambda: answers.http_answer(reply(400, body), HASH), meaning, kind)

    def answer(name: str, status: int, body: Any, meaning: Meaning) -> Answer:
        return Answer(name, lambda: answers.http_answer(reply(status, body), HASH), meaning)

    return [
        *(by_code(code, kind) for code, kind in answers.CODES.items()),
        *(answer(str(code), 400, {"code": code}, Meaning.UNKNOWN) for code in DOUBTFUL),
        *(answer(f"HTTP {status}", status, b"words", Meaning.RATE_LIMITED) for status in (405, 429)),
        *(answer(f"HTTP {status}", status, b"words", Meaning.UNKNOWN) for status in (403, 500, 502, 503)),
        Answer("not sent", lambda: answers.http_answer(Unsent(detail="x"), HASH), Meaning.NOT_SENT),
        Answer("no answer", lambda: answers.http_answer(Unknown(detail="x"), HASH), Meaning.UNKNOWN),
    ]


async def foreign_order(station: Station) -> object:
    gateway: Any = station.gateway
    request = await station.request("ETH", Side.BUY, 120.0)
    signature = gateway._signer.create_order(
        market=request.instrument.venue_index, client_index=FOREIGN_INDEX, base_amount=request.lots,
        price=request.limit_ticks, is_ask=False, time_in_force=signing.IOC, reduce_only=False, expiry_ms=0,
        nonce=gateway.nonces.next(), skip_nonce=True,
    )  # fmt: skip
    return await gateway._entry._send(await signature)


DIALECT = Dialect(
    vectors=vectors,
    answers=told_answers,
    foreign_order=foreign_order,
    malformed=(
        b'{"type":"update/ticker","channel":"ticker:0","nonce":1,"ticker":{"s":"ETH","a":{"price":"x","size":"1"}}}',
        b'{"type":"update/order_book","channel":"order_book:0","order_book":{"asks":[{"price":"1"}]}}',
        b'{"type":"update/market_stats","channel":"market_stats:0","market_stats":{"market_id":"zero"}}',
    ),
    code=r"[23][0-9]{4}",
)
