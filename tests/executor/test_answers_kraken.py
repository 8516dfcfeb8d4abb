"""What Kraken's words prove: one fixture per text of the list, and what stays in doubt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _kraken_answers as answers

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kraken" / "refusals.json"
TEXTS: dict[str, str] = json.loads(FIXTURES.read_text())["texts"]
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "payloads" / "kraken"
CLIENT = "7a6d" + "0" * 28


def reply(body: Any, status: int = 200) -> HttpReply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status=status, headers={}, body=data)


def by_socket(frame: bytes) -> answers.Answer:
    return answers.socket_answer(msgspec.json.decode(frame, type=answers.AnswerRow))


def test_every_text_of_the_list_has_its_fixture_and_no_other() -> None:
    assert {answers.stem(text) for text in TEXTS} == set(answers.REFUSALS)


@pytest.mark.parametrize(("text", "code"), TEXTS.items())
def test_each_refusal_is_told_by_both_ways(text: str, code: str) -> None:
    wanted = RejectCode(code)
    by_rest = answers.http_answer(reply({"error": [text]}))
    assert isinstance(by_rest, Rejected)
    assert (by_rest.code, by_rest.detail) == (wanted, text)
    frame = {"method": "add_order", "req_id": 9, "success": False, "error": text}
    told = by_socket(json.dumps(frame).encode())
    assert isinstance(told, Rejected)
    assert told.code is wanted
    assert answers.order_outcome(told, CLIENT) == told
    assert answers.cancel_outcome(told) == told


@pytest.mark.parametrize(
    "text",
    ["EGeneral:Internal error", "EService:Unavailable", "EService:Busy", "EOrder:Something new", "", "EOrder",
     "insufficient funds", "EORDER:INSUFFICIENT FUNDS", "EOrder: Insufficient funds", "xEOrder:Insufficient funds",
     "EService:Market in new mode", "Unsupported field: 'x'"],
)  # fmt: skip
def test_a_text_that_is_not_on_the_list_proves_nothing(text: str) -> None:
    assert isinstance(answers.http_answer(reply({"error": [text]})), Unknown)
    frame = {"method": "add_order", "req_id": 9, "success": False, "error": text}
    assert isinstance(by_socket(json.dumps(frame).encode()), Unknown)


def test_one_unknown_text_among_known_ones_is_doubt() -> None:
    both = ["EOrder:Insufficient funds", "EGeneral:Internal error"]
    assert isinstance(answers.http_answer(reply({"error": both})), Unknown)
    assert isinstance(answers.http_answer(reply({"error": both[:1] * 2})), Rejected)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 403, 404, 301])
def test_http_statuses_prove_nothing_but_429(status: int) -> None:
    assert isinstance(answers.http_answer(reply({"error": ["EOrder:Insufficient funds"]}, status)), Unknown)
    limited = answers.http_answer(reply(b"slow down", 429))
    assert isinstance(limited, Rejected)
    assert limited.code is RejectCode.RATE


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"error":[]}', b'{"error":"x"}', b'{"result":{"txid":"x"}}', b"\xff", b"<html>"],
)
def test_an_answer_that_cannot_be_read_is_doubt(body: bytes) -> None:
    assert isinstance(answers.order_outcome(answers.http_answer(reply(body)), CLIENT), Unknown)


def test_accepted_orders() -> None:
    placed = answers.http_answer(
        reply({"error": [], "result": {"descr": {"order": "buy"}, "txid": ["OUF4EM-FRGI2-MQMWZD"]}})
    )
    accepted = Accepted(venue_order_id="OUF4EM-FRGI2-MQMWZD", status=OrderStatus.ACCEPTED, filled_lots=0)
    assert answers.order_outcome(placed, CLIENT) == accepted
    warned = reply({"error": ["WGeneral:Note"], "result": {"txid": ["OUF4EM-FRGI2-MQMWZD"]}})
    assert answers.order_outcome(answers.http_answer(warned), CLIENT) == accepted
    for txids in ([], ["A", "B"]):  # which of them is ours?
        assert isinstance(
            answers.order_outcome(answers.http_answer(reply({"error": [], "result": {"txid": txids}})), CLIENT), Unknown
        )


def test_an_answer_about_another_order_is_doubt() -> None:
    frame = {"method": "add_order", "req_id": 3, "success": True, "result": {"order_id": "OX", "cl_ord_id": "somebody"}}
    assert isinstance(answers.order_outcome(by_socket(json.dumps(frame).encode()), CLIENT), Unknown)


def test_a_cancel_says_nothing_of_fills() -> None:
    done = answers.http_answer(reply({"error": [], "result": {"count": 1}}))
    assert answers.cancel_outcome(done) == Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)


def test_what_the_lane_says_goes_through() -> None:
    for result in (Unsent(detail="no warm connection"), Unknown(detail="broken")):
        assert answers.http_answer(result) == result
        assert answers.order_outcome(result, CLIENT) == result
        assert answers.cancel_outcome(result) == result


def test_recorded_answers() -> None:
    good, bad = (SHARED / f"ws_add_order_response_{name}.json" for name in ("success", "failure"))
    if not good.exists():
        pytest.skip(f"no recordings: {good} is missing")
    row = by_socket(good.read_bytes())
    assert isinstance(row, answers.AnswerRow)
    assert (row.req_id, row.result) == (
        42,
        answers.Result(order_id="OABCDE-12345-FGHIJ", cl_ord_id="O-20260505-000001"),
    )
    refused = by_socket(bad.read_bytes())
    assert isinstance(refused, Rejected)
    assert refused.code is RejectCode.MARGIN
