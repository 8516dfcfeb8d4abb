"""What each Hyperliquid answer means, word for word: refusals by position and allow-list, doubt for all else."""

from __future__ import annotations

import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.errors import Malformed, NotSent, OutcomeUnknown, VenueError
from core.types import Instrument, OrderStatus, Side, TimeInForce, Venue
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _hyperliquid_answers as answers
from executor.venues import _hyperliquid_rows as rows
from executor.venues._memory import SentOrder

FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "hyperliquid" / "errors.json"
CASES: list[dict[str, str]] = json.loads(FIXTURE.read_text())["cases"]
BTC = Instrument(
    venue=Venue("hyperliquid"),
    symbol="BTC",
    venue_symbol="BTC",
    venue_index=0,
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.00001"),
)
SENT = SentOrder(
    client_order_id="7a6d" + "0" * 28,
    instrument=BTC,
    side=Side.BUY,
    lots=100,
    time_in_force=TimeInForce.IOC,
    reduce_only=False,
    nonce=1,
    prepared_wire_ns=0,
    expires_wire_ns=0,
)
GARBAGE = (b"", b"{", b"null", b"[]", b'"ok"', b"<html>", b'{"status":"ok"}', b'{"status":"fine","response":"x"}')


def statuses(*each: Any) -> bytes:
    return json.dumps({"status": "ok", "response": {"type": "order", "data": {"statuses": each}}}).encode()


def refused(text: str) -> bytes:
    return json.dumps({"status": "err", "response": text}).encode()


def test_every_listed_text_has_a_fixture_and_every_fixture_its_code() -> None:
    for prefix, code in answers.REFUSALS:
        assert any(c["text"].startswith(prefix) and c["code"] == code.value for c in CASES), prefix
    for case in CASES:
        found = answers.refusal_code(case["text"])
        assert found is not None, case
        assert found.value == case["code"], case


@pytest.mark.parametrize("case", CASES, ids=[c["text"][:40] for c in CASES])
def test_a_listed_text_is_a_refusal_wherever_it_stands(case: dict[str, str]) -> None:
    code = RejectCode(case["code"])
    by_order = answers.order_outcome(statuses({"error": case["text"]}), SENT)
    by_action = answers.order_outcome(refused(case["text"]), SENT)
    assert by_order == Rejected(code=code, detail=case["text"])
    assert by_action == Rejected(code=code, detail=case["text"])


def test_an_unlisted_text_refuses_an_order_but_leaves_an_action_in_doubt() -> None:
    text = "Something nobody has seen before."
    assert answers.order_outcome(statuses({"error": text}), SENT) == Rejected(code=RejectCode.OTHER, detail=text)
    assert answers.cancel_outcome(statuses({"error": text})) == Rejected(code=RejectCode.OTHER, detail=text)
    assert answers.order_outcome(refused(text), SENT) == Unknown(detail=text)
    assert answers.cancel_outcome(refused(text)) == Unknown(detail=text)
    assert answers.plain_outcome(refused(text)) == Unknown(detail=text)
    inside = "oops: Insufficient margin to place order."  # a prefix, not a substring
    assert isinstance(answers.order_outcome(refused(inside), SENT), Unknown)


def test_accepted_orders() -> None:
    filled = {"filled": {"totalSz": "0.00100", "avgPx": "95000.5", "oid": 7}}
    assert answers.order_outcome(statuses(filled), SENT) == Accepted(
        venue_order_id="7", status=OrderStatus.FILLED, filled_lots=100, avg_px=Decimal("95000.5")
    )
    part = {"filled": {"totalSz": "0.0004", "avgPx": "95000.5", "oid": 7}}
    expired = answers.order_outcome(statuses(part), SENT)
    assert isinstance(expired, Accepted)
    assert (expired.status, expired.filled_lots) == (OrderStatus.EXPIRED, 40)
    resting = answers.order_outcome(statuses({"resting": {"oid": 9, "cloid": "0x1"}}), SENT)
    assert resting == Accepted(venue_order_id="9", status=OrderStatus.ACCEPTED, filled_lots=0)
    gtc = msgspec.structs.replace(SENT, time_in_force=TimeInForce.GTC)
    partly = answers.order_outcome(statuses(part), gtc)
    assert isinstance(partly, Accepted)
    assert partly.status is OrderStatus.ACCEPTED


@pytest.mark.parametrize(
    "answer",
    [
        *GARBAGE,
        statuses(),
        statuses({"resting": {"oid": 1}}, {"resting": {"oid": 2}}),
        statuses({}),
        statuses("waitingForFill"),
        statuses({"filled": {"totalSz": "0.00101", "avgPx": "1", "oid": 1}}),
        statuses({"filled": {"totalSz": "0.000001", "avgPx": "1", "oid": 1}}),
        statuses({"filled": {"totalSz": "-0.0001", "avgPx": "1", "oid": 1}}),
        statuses({"filled": {"totalSz": "x", "avgPx": "1", "oid": 1}}),
        b'{"status":"ok","response":{"type":"default"}}',
    ],
)
def test_an_answer_that_does_not_fit_is_unknown(answer: bytes) -> None:
    assert isinstance(answers.order_outcome(answer, SENT), Unknown)


def test_cancels() -> None:
    assert answers.cancel_outcome(statuses("success")) == Accepted(
        venue_order_id="", status=OrderStatus.CANCELED, filled_lots=0
    )
    gone = "Order was never placed, already canceled, or filled. asset=4"
    assert answers.cancel_outcome(statuses({"error": gone})) == Rejected(code=RejectCode.UNKNOWN_ORDER, detail=gone)
    assert isinstance(answers.cancel_outcome(statuses("done")), Unknown)
    assert isinstance(answers.cancel_outcome(statuses({})), Unknown)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, RejectCode.OTHER), (415, RejectCode.OTHER), (422, RejectCode.OTHER), (429, RejectCode.RATE)],
)
def test_the_front_refuses_with_these_statuses_only(status: int, expected: RejectCode) -> None:
    by_rest = answers.http_answer(HttpReply(status, {}, b"text"))
    by_post = answers.post_answer(msgspec.Raw(b'{"type":"error","payload":"%d text"}' % status))
    assert isinstance(by_rest, Rejected)
    assert by_rest.code is expected
    assert by_post == by_rest


@pytest.mark.parametrize("status", [301, 401, 403, 404, 408, 500, 502, 503, 504])
def test_other_statuses_are_unknown(status: int) -> None:
    assert isinstance(answers.http_answer(HttpReply(status, {}, b"")), Unknown)
    assert isinstance(answers.post_answer(msgspec.Raw(b'{"type":"error","payload":"%d x"}' % status)), Unknown)


def test_posts_that_make_no_sense_are_unknown() -> None:
    for raw in (b'{"type":"error","payload":"abc"}', b'{"type":"info","payload":{}}', b'{"type":"error"}', b'{"x":1}'):
        assert isinstance(answers.post_answer(msgspec.Raw(raw)), Unknown)
    action = answers.post_answer(msgspec.Raw(b'{"type":"action","payload":{"status":"ok"}}'))
    assert action == b'{"status":"ok"}'


def test_settings_raise_by_what_is_known() -> None:
    answers.require_done(b'{"status":"ok","response":{"type":"default"}}', "leverage")
    with pytest.raises(NotSent):
        answers.require_done(Unsent(detail="x"), "leverage")
    with pytest.raises(OutcomeUnknown):
        answers.require_done(Unknown(detail="x"), "leverage")
    with pytest.raises(VenueError, match="refused"):
        answers.require_done(refused("Invalid leverage value"), "leverage")


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("open", OrderStatus.ACCEPTED),
        ("triggered", OrderStatus.ACCEPTED),
        ("filled", OrderStatus.FILLED),
        ("canceled", OrderStatus.CANCELED),
        ("scheduledCancel", OrderStatus.CANCELED),
        ("internalCancel", OrderStatus.CANCELED),
        ("liquidatedCanceled", OrderStatus.CANCELED),
        ("reduceOnlyCanceled", OrderStatus.CANCELED),
        ("rejected", OrderStatus.REJECTED),
        ("iocCancelRejected", OrderStatus.REJECTED),
    ],
)
def test_order_words(word: str, status: OrderStatus) -> None:
    assert rows.status_of(word) is status


def test_an_order_word_of_no_family_is_not_guessed() -> None:
    with pytest.raises(Malformed):
        rows.status_of("paused")


def test_recorded_fill_row() -> None:
    """The row of docs/venues/hyperliquid.md 8."""
    text = b"""{"coin":"ARB","px":"0.07482","sz":"8552.3","side":"B","time":1782526679879,"startPosition":"432064.5",
      "dir":"Open Long","closedPnl":"0.0","hash":"0x6c35","oid":481029459465,"crossed":false,"fee":"0.0",
      "tid":17679709382320,"feeToken":"USDC","twapId":null}"""
    arb = msgspec.structs.replace(BTC, symbol="ARB", venue_symbol="ARB", lot_size=Decimal("0.1"))
    row = rows.decode(text, rows.FillRow, "userFills")
    fill = rows.fill(row, {"ARB": arb}, None)
    assert fill is not None
    assert (fill.symbol, fill.lots, fill.px) == ("ARB", 85523, Decimal("0.07482"))
    assert (fill.trade_id, fill.venue_order_id) == ("17679709382320", "481029459465")
    assert fill.ts_ns == 1782526679879_000_000
    assert fill.liquidity.value == "maker"
    assert rows.fill(row, {}, None) is None
    with pytest.raises(Malformed, match="not in lots"):
        rows.fill(row, {"ARB": msgspec.structs.replace(arb, lot_size=Decimal(1))}, None)


def test_a_liquidation_is_foreign_only_to_the_liquidated() -> None:
    base = {
        "coin": "BTC",
        "px": "1",
        "sz": "1",
        "side": "A",
        "time": 1,
        "oid": 1,
        "crossed": True,
        "fee": "0",
        "tid": 1,
    }
    row = rows.decode(json.dumps(base | {"liquidation": {"liquidatedUser": "0xAB"}}).encode(), rows.FillRow, "fill")
    assert rows.is_foreign(row, "0xab")
    assert not rows.is_foreign(row, "0xcd")
    assert not rows.is_foreign(rows.decode(json.dumps(base).encode(), rows.FillRow, "fill"), "0xab")


def test_recorded_clearinghouse_state() -> None:
    """The state of docs/venues/hyperliquid.md 8, with its own arithmetic."""
    text = b"""{"marginSummary":{"accountValue":"38252.7","totalNtlPos":"377667.0","totalRawUsd":"-339414.3",
      "totalMarginUsed":"37766.7"},"crossMarginSummary":{"accountValue":"38252.7","totalNtlPos":"377667.0",
      "totalRawUsd":"-339414.3","totalMarginUsed":"37766.7"},"crossMaintenanceMarginUsed":"4720.8375",
      "withdrawable":"486.0","assetPositions":[{"type":"oneWay","position":{"coin":"BTC","szi":"4.5",
      "leverage":{"type":"cross","value":10},"entryPx":"81285.0","positionValue":"377667.0",
      "unrealizedPnl":"11884.306507","returnOnEquity":"0.32","liquidationPx":"74501.802790436",
      "marginUsed":"37766.7","maxLeverage":40,"cumFunding":{"allTime":"1","sinceOpen":"1","sinceChange":"0.0"}}}],
      "time":1790360864964}"""
    state = rows.decode(text, rows.ClearinghouseState, "clearinghouseState")
    balance = rows.balance(state)
    assert balance.equity_usd == Decimal("38252.7")
    assert balance.free_margin_usd == Decimal("486.0")
    assert balance.margin_used_ratio == pytest.approx(4720.8375 / 38252.7)
    (position,), strange = rows.positions(state, {"BTC": BTC})
    assert not strange
    assert (position.lots, position.leverage, position.mark_px) == (450_000, 10, Decimal(83926))
    assert rows.positions(state, {}) == ([], {"BTC": Decimal("4.5")})


def test_a_damaged_answer_never_raises_and_never_overstates() -> None:
    rng = random.Random(9)
    good = statuses({"filled": {"totalSz": "0.00100", "avgPx": "95000.5", "oid": 7}})
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        outcome = answers.order_outcome(bytes(data), SENT)
        if isinstance(outcome, Accepted):
            assert 0 <= outcome.filled_lots <= SENT.lots


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999999", "0.0000001"])
def test_numbers_that_are_none_are_unknown(number: str) -> None:
    assert isinstance(
        answers.order_outcome(statuses({"filled": {"totalSz": number, "avgPx": "1", "oid": 1}}), SENT), Unknown
    )


def test_nesting_without_end_is_unknown() -> None:
    deep = b"[" * 200_000
    assert isinstance(answers.order_outcome(deep, SENT), Unknown)
