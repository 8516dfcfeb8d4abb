"""The private streams: whose a fill is, what is ignored, and what a bad frame does (nothing)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.errors import NotSent, VenueError
from core.types import Instrument, Side, TimeInForce, Venue
from executor.outcome import RejectCode, Rejected, Unknown
from executor.venues import _aster_stream, _hyperliquid_stream
from executor.venues._hyperliquid_posts import MAX_IN_FLIGHT, Posts
from executor.venues._hyperliquid_stream import decode_frame
from executor.venues._memory import MAX_ORDERS, OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import (
    FeeRates,
    FillSeen,
    FundingPayment,
    FundingSeen,
    OrderRequest,
    OrderSeen,
    PositionSeen,
    PrivateEvent,
    StreamDown,
    StreamUp,
)
from tests.executor.local_servers import LogLines, until
from tests.executor.test_answers_aster import BTC as ASTER_BTC
from tests.executor.test_answers_aster import TRADE_EVENT

USER = "0x" + "ab" * 20
OURS = "7a6d" + "0" * 28
BTC = Instrument(
    venue=Venue("hyperliquid"), symbol="BTC", venue_symbol="BTC", tick_size=Decimal(1), lot_size=Decimal("0.001")
)


class Bench:
    """A Hyperliquid stream whose questions to the venue are answered by the test."""

    def __init__(self) -> None:
        self.out = LogLines()
        self.events: list[PrivateEvent] = []
        self.memory = OrderMemory()
        self.asked: list[str] = []
        self.answer: Callable[[str], str | None] = lambda oid: None
        self.stream = _hyperliquid_stream.PrivateStream(
            USER, self.memory, lambda: {"BTC": BTC}, self.owner, self.events.append, self.out.log
        )

    async def owner(self, order_id: str) -> str | None:
        self.asked.append(order_id)
        client_order_id = self.answer(order_id)
        self.memory.bind(order_id, client_order_id)
        return client_order_id

    def hear(self, channel: str, data: Any) -> None:
        frame = decode_frame(json.dumps({"channel": channel, "data": data}).encode())
        assert frame is not None
        self.stream.on_frame(frame)

    def fill(self, oid: int = 7, tid: int = 1, **more: Any) -> None:
        row = {"coin": "BTC", "px": "95000", "sz": "0.002", "side": "B", "time": 5, "oid": oid, "crossed": True,
               "fee": "0.1", "tid": tid, "feeToken": "USDC"}  # fmt: skip
        self.hear("userFills", {"user": USER, "fills": [row | more]})

    def update(self, status: str, oid: int = 7, sz: str = "0.0", **more: Any) -> None:
        order = {"coin": "BTC", "side": "B", "limitPx": "1", "sz": sz, "oid": oid, "timestamp": 1, "origSz": "0.004"}
        self.hear("orderUpdates", [{"order": order | more, "status": status, "statusTimestamp": 1}])

    @property
    def fills(self) -> list[tuple[str | None, int]]:
        return [(e.fill.client_order_id, e.fill.lots) for e in self.events if isinstance(e, FillSeen)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_hyperliquid_stream, "OWNER_WAIT_S", 0.05)
    monkeypatch.setattr(_hyperliquid_stream, "OWNER_PAUSE_S", 0.02)
    monkeypatch.setattr(_aster_stream, "FUNDING_READS_S", (0.02, 0.02))


async def test_a_fill_with_its_cloid_goes_out_at_once() -> None:
    bench = Bench()
    bench.fill(cloid="0x" + OURS)
    assert bench.fills == [(OURS, 2)]
    bench.fill(tid=2)  # the next one of that order without
    assert bench.fills == [(OURS, 2), (OURS, 2)]
    assert bench.asked == []


async def test_a_fill_without_cloid_waits_for_the_answer_that_names_its_order() -> None:
    bench = Bench()
    bench.fill()
    assert bench.fills == []
    bench.memory.bind("7", OURS)
    bench.stream.owner_known("7")
    assert bench.fills == [(OURS, 2)]
    await bench.stream.close()
    assert bench.asked == []


async def test_a_fill_without_cloid_takes_it_from_the_order_update() -> None:
    bench = Bench()
    bench.fill()
    bench.update("filled", cloid="0x" + OURS)
    assert bench.fills == [(OURS, 2)]
    await bench.stream.close()


async def test_a_fill_that_nothing_names_is_asked_for() -> None:
    bench = Bench()
    bench.answer = lambda oid: OURS
    bench.fill()
    bench.fill(tid=2)
    await until(lambda: bench.fills == [(OURS, 2), (OURS, 2)])
    assert bench.asked == ["7"]
    await bench.stream.close()


async def test_a_fill_that_the_venue_calls_somebody_elses_is_foreign() -> None:
    bench = Bench()
    bench.fill()
    await until(lambda: bench.fills == [(None, 2)])
    bench.fill(tid=2)
    assert bench.fills == [(None, 2), (None, 2)]
    assert bench.asked == ["7"]
    await bench.stream.close()


async def test_a_venue_that_cannot_be_asked_delays_but_does_not_lose_a_fill() -> None:
    bench = Bench()

    def unreachable(oid: str) -> str | None:
        raise VenueError("down")

    bench.answer = unreachable
    bench.fill()
    await until(lambda: bench.fills == [(None, 2)])
    assert len(bench.asked) == _hyperliquid_stream.OWNER_TRIES
    assert bench.out.has("fill_taken_for_foreign")
    await bench.stream.close()


async def test_foreign_cloids_and_own_liquidations_need_no_question() -> None:
    bench = Bench()
    bench.fill(cloid="0x" + "12" * 16)
    bench.fill(tid=2, oid=8, liquidation={"liquidatedUser": USER, "markPx": "1", "method": "market"})
    assert bench.fills == [(None, 2), (None, 2)]
    bench.fill(tid=3, oid=9, liquidation={"liquidatedUser": "0x" + "cd" * 20, "markPx": "1", "method": "market"})
    assert len(bench.fills) == 2  # the other side of somebody's liquidation: whose order it was must be asked
    await bench.stream.close()


async def test_snapshots_and_unknown_coins_bring_no_events_and_garbage_is_dropped() -> None:
    bench = Bench()
    bench.hear("userFills", {"user": USER, "isSnapshot": True, "fills": [{"coin": "BTC", "px": "1", "sz": "1",
               "side": "B", "time": 1, "oid": 1, "crossed": True, "fee": "0", "tid": 1}]})  # fmt: skip
    bench.fill(coin="@107", cloid="0x" + OURS)
    bench.hear("userFundings", {"user": USER, "isSnapshot": True, "fundings": []})
    for data in (None, [], {}, "x", [{"order": 1}], {"fills": [{"coin": 5}]}):
        bench.hear("userFills", data)
        bench.hear("orderUpdates", data)
        bench.hear("userFundings", data)
    bench.update("paused", cloid="0x" + OURS)
    assert bench.events == []
    assert bench.out.has("private_frame_malformed")
    assert decode_frame(b"Websocket connection established.") is None
    assert decode_frame(b'{"no":"channel"}') is None
    await bench.stream.close()


async def test_up_after_all_acknowledgements_and_the_gap_begins_before_the_loss() -> None:
    bench = Bench()
    assert len(bench.stream.subscriptions()) == 3
    for _ in range(3):
        assert bench.events == []
        bench.hear("subscriptionResponse", {"method": "subscribe", "subscription": {}})
    assert bench.events == [StreamUp(venue=Venue("hyperliquid"), since_wire_ns=0)]
    bench.stream.on_down("cut", 100 * NS_PER_S)
    bench.stream.on_down("cut again", 200 * NS_PER_S)
    assert isinstance(bench.events[1], StreamDown)
    bench.stream.subscriptions()
    for _ in range(3):
        bench.hear("subscriptionResponse", {"method": "subscribe", "subscription": {}})
    assert bench.events[2:] == [StreamUp(venue=Venue("hyperliquid"), since_wire_ns=95 * NS_PER_S)]


async def test_a_reduce_only_end_is_believed_only_when_its_fills_agree() -> None:
    bench = Bench()
    request = OrderRequest(
        client_order_id=OURS,
        instrument=BTC,
        side=Side.BUY,
        lots=4,
        limit_ticks=1,
        time_in_force=TimeInForce.IOC,
        reduce_only=True,
        expires_wire_ns=0,
    )
    bench.memory.note(request, 1, 0)
    bench.update("filled", cloid="0x" + OURS)  # says 4 lots; it may have been shrunk to 2
    assert not [e for e in bench.events if isinstance(e, OrderSeen)]
    bench.fill()
    bench.fill(tid=2)
    bench.update("filled", cloid="0x" + OURS)
    assert [e.order.filled_lots for e in bench.events if isinstance(e, OrderSeen)] == [4]


async def test_funding_of_the_stream_and_of_rest_have_one_identity() -> None:
    bench = Bench()
    delta = {"time": 1_700_000_000_000, "coin": "BTC", "usdc": "-0.5", "szi": "1", "fundingRate": "0.0001"}
    bench.hear("userFundings", {"user": USER, "fundings": [delta | {"nSamples": None}]})
    (event,) = bench.events
    assert isinstance(event, FundingSeen)
    assert (event.payment.amount_usd, event.payment.payment_id) == (Decimal("-0.5"), "BTC:1700000000000")


# ---- posts --------------------------------------------------------------------------------------------------------


class Wire:
    """A WsLane that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.down = False

    def send(self, text: bytes) -> None:
        if self.down:
            raise NotSent("down")
        self.sent.append(json.loads(text))


def posts(timeout_s: float = 5.0) -> tuple[Posts, Wire]:
    wire = Wire()
    return Posts(wire, timeout_s), wire  # type: ignore[arg-type]


def post_frame(number: int, response: Any) -> Any:
    frame = decode_frame(json.dumps({"channel": "post", "data": {"id": number, "response": response}}).encode())
    assert frame is not None
    return frame.data


async def test_answers_find_their_posts_in_any_order() -> None:
    desk, wire = posts()
    futures = [desk.send(b'{"n":%d}' % n) for n in range(3)]
    assert [sent["request"]["payload"] for sent in wire.sent] == [{"n": 0}, {"n": 1}, {"n": 2}]
    for index in (2, 0, 1):
        number = wire.sent[index]["id"]
        assert desk.on_post(post_frame(number, {"type": "action", "payload": {"was": index}}))
        assert json.loads(futures[index].result()) == {"was": index}  # type: ignore[arg-type]
    assert not desk.on_post(post_frame(wire.sent[0]["id"], {"type": "action", "payload": {}}))


async def test_posts_without_answer_are_unknown() -> None:
    desk, _ = posts(timeout_s=0.05)
    assert isinstance(await desk.send(b"{}"), Unknown)
    desk, wire = posts()
    waiting = desk.send(b"{}")
    desk.fail_all("cut")
    assert isinstance(waiting.result(), Unknown)
    wire.down = True
    with pytest.raises(NotSent):
        desk.send(b"{}")


async def test_too_many_posts_are_not_sent_and_the_venues_own_word_for_it_is_a_refusal() -> None:
    desk, wire = posts()
    futures = [desk.send(b"{}") for _ in range(MAX_IN_FLIGHT)]
    with pytest.raises(NotSent):
        desk.send(b"{}")
    number = wire.sent[0]["id"]
    assert not desk.on_error(f"something else id={number}")
    assert desk.on_error(f"too many pending post requests id={number}")
    outcome = futures[0].result()
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.RATE
    desk.fail_all("end")


# ---- Aster --------------------------------------------------------------------------------------------------------


def aster_stream(payments: list[FundingPayment]) -> tuple[_aster_stream.PrivateStream, list[PrivateEvent], LogLines]:
    events: list[PrivateEvent] = []
    out = LogLines()

    async def read(since_ns: int) -> list[FundingPayment]:
        return payments

    stream = _aster_stream.PrivateStream(
        OrderMemory(),
        lambda: {"BTCUSDT": ASTER_BTC},
        lambda: FeeRates(0.0, 0.0),
        read,
        lambda: 10**18,
        events.append,
        out.log,
    )
    return stream, events, out


async def test_aster_events() -> None:
    paid = FundingPayment(
        venue=Venue("aster"), symbol="BTC", amount_usd=Decimal(-1), rate=None, ts_ns=1, payment_id="BTCUSDT:1"
    )
    stream, events, out = aster_stream([paid])
    stream.on_up()
    assert stream.on_frame(TRADE_EVENT)
    account = {"m": "ORDER", "B": [], "P": [{"s": "BTCUSDT", "pa": "-0.02", "ep": "1", "up": "2", "ps": "BOTH"}]}
    assert stream.on_frame(json.dumps({"e": "ACCOUNT_UPDATE", "E": 1, "T": 1, "a": account}).encode())
    kinds = [type(event) for event in events]
    assert kinds == [StreamUp, FillSeen, OrderSeen, PositionSeen]
    funding = {"e": "ACCOUNT_UPDATE", "E": 1, "T": 1, "a": {"m": "FUNDING_FEE", "B": []}}
    assert stream.on_frame(json.dumps(funding).encode())
    await until(lambda: len(events) >= 5)
    assert events[4] == FundingSeen(payment=paid)
    for garbage in (b"", b"[]", b'{"e":1}', b'{"e":"ORDER_TRADE_UPDATE","o":{"s":1}}', TRADE_EVENT[:-20]):
        assert stream.on_frame(garbage)
    assert out.has("private_frame_malformed")
    assert stream.on_frame(b'{"e":"ACCOUNT_CONFIG_UPDATE","E":1,"ac":{"s":"BTCUSDT","l":3}}')
    assert not stream.on_frame(b'{"e":"listenKeyExpired","E":1}')
    stream.on_down("expired", 100 * NS_PER_S)
    stream.on_up()
    assert events[-1] == StreamUp(venue=Venue("aster"), since_wire_ns=95 * NS_PER_S)
    await stream.close()


# ---- memory and clock ---------------------------------------------------------------------------------------------


def test_memory_is_bounded() -> None:
    memory = OrderMemory()
    for number in range(MAX_ORDERS + 10):
        memory.bind(str(number), OURS)
        memory.add_fill(str(number), 1)
    assert not memory.knows("0")
    assert memory.knows(str(MAX_ORDERS + 9))
    assert memory.filled("0") == 0


def test_skew_is_the_median_of_exact_samples_and_dates_only_stand_in() -> None:
    skew = ClockSkew(NS_PER_S)
    assert (skew.offset_ns, skew.refusal) == (0, "")
    skew.note_date(0, 5)
    assert skew.offset_ns == 0
    skew.note_date(100 * NS_PER_S, 97 * NS_PER_S)
    assert skew.offset_ns == 3_500_000_000
    assert "3500 ms" in skew.refusal
    for late_ns in (0, 10, 9_000_000_000, 20, 30):  # one answer was delayed
        skew.note(1000 + late_ns, 1000, 1000)
    assert skew.offset_ns == 20
    assert skew.refusal == ""


async def test_a_clock_that_steps_is_followed_after_two_samples_and_a_date_asks_for_them() -> None:
    skew = ClockSkew(NS_PER_S)
    for _ in range(5):
        skew.note(1000, 1000, 1000)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(skew.look_due(30.0), 0.06)
    skew.note_date(60 * NS_PER_S, 60 * NS_PER_S)  # agrees
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(skew.look_due(30.0), 0.06)
    skew.note_date(106 * NS_PER_S, 100 * NS_PER_S)
    assert (skew.offset_ns, skew.refusal) == (0, ""), "a Date alone decides nothing"
    await asyncio.wait_for(skew.look_due(30.0), 1.0)
    skew.note_date(107 * NS_PER_S, 101 * NS_PER_S)  # and asks once in a while only
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(skew.look_due(30.0), 0.06)
    skew.note(106 * NS_PER_S, 100 * NS_PER_S, 100 * NS_PER_S)
    assert skew.refusal == "", "one odd answer is no step"
    await asyncio.wait_for(skew.look_due(30.0), 1.0)
    skew.note(107 * NS_PER_S + 5, 101 * NS_PER_S, 101 * NS_PER_S)
    assert skew.offset_ns == pytest.approx(6 * NS_PER_S, abs=10)
    assert "6000 ms" in skew.refusal
