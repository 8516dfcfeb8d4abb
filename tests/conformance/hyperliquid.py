"""Hyperliquid: L1 actions over MessagePack and EIP-712, refusals in text (docs/venues/hyperliquid.md 7 and 10)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from core.types import Side
from executor.http_reply import HttpReply
from executor.outcome import RejectCode, Unknown, Unsent
from executor.venues import _hyperliquid_answers as answers
from tests.conformance.dialect import FIXTURES, Answer, Dialect, Meaning, Vector
from tests.executor.sandbox_process import Station
from tests.executor.test_answers_hyperliquid import SENT, refused, statuses
from tests.executor.test_signing_hyperliquid import action_of, signer_of

FOREIGN_ID = "ab" * 16  # no id of ours begins like this


async def vectors() -> Sequence[Vector]:
    cases = json.loads((FIXTURES / "hyperliquid" / "signing_vectors.json").read_text())["cases"]
    return [
        Vector(
            case["name"],
            signer_of(case["inputs"]).l1_digest(
                action_of(case["inputs"]), case["inputs"]["nonce"], case["inputs"]["expires_after"]
            ),
            bytes.fromhex(case["expected"]["eip712_digest"].removeprefix("0x")),
        )
        for case in cases
        if case["inputs"]["scheme"] == "l1"
    ]


def told_answers() -> Sequence[Answer]:
    listed = json.loads((FIXTURES / "hyperliquid" / "errors.json").read_text())["cases"]

    def by_order(text: str) -> Answer:
        code = RejectCode(next(case["code"] for case in listed if case["text"] == text))
        meaning = Meaning.RATE_LIMITED if code is RejectCode.RATE else Meaning.REJECTED
        return Answer(text, lambda: answers.order_outcome(statuses({"error": text}), SENT), meaning, code)

    def by_status(status: int, meaning: Meaning) -> Answer:
        reply = HttpReply(status, {}, b"words")
        return Answer(f"HTTP {status}", lambda: answers.order_outcome(answers.http_answer(reply), SENT), meaning)

    return [
        *(by_order(case["text"]) for case in listed),
        by_status(422, Meaning.REJECTED),
        by_status(429, Meaning.RATE_LIMITED),
        by_status(500, Meaning.UNKNOWN),
        by_status(502, Meaning.UNKNOWN),
        Answer("an action's unlisted text", lambda: answers.order_outcome(refused("new words"), SENT), Meaning.UNKNOWN),
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
        b'{"channel":"bbo","data":{"coin":"ETH","time":1,"bbo":[{"px":"x","sz":"1","n":1},null]}}',
        b'{"channel":"bbo","data":{"coin":"ETH","time":1,"bbo":[]}}',
        b'{"channel":"l2Book","data":{"coin":"ETH","time":1,"levels":[[{"px":"NaN","sz":"1","n":1}],[]]}}',
        b'{"channel":"activeAssetCtx","data":{"coin":"ETH","ctx":{"funding":"oops"}}}',
    ),
    unique_ids=False,
)
