"""The Pacifica gateway against the real sandbox process."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.errors import NotSent, RateLimited, VenueError
from core.ids import parse_client_order_id
from core.specs import pacifica as specs
from core.types import LiquiditySide, OrderStatus, Side, TimeInForce
from executor import backoff
from executor.http_lane import HttpLane
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.throttle import Throttle
from executor.venues._memory import OrderMemory
from executor.venues._pacifica_reads import Reads
from executor.venues._pacifica_rows import wire_id
from executor.venues._skew import ClockSkew
from executor.venues.base import NotFound, OrderRequest, VenueOrder
from tests.executor.local_servers import LogLines, free_port
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox
from tests.ops.sandbox.pacifica_world import ACCOUNT, World

VENUE = "pacifica"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("pacifica"), venues=(VENUE,)) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box) as ready:
        await ready.flat()
        yield ready
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
        await ready.flat()


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    """The last that the stream told of an order, once it is final."""
    await eventually(lambda: [o for o in station.orders(request.client_order_id) if o.status.is_final])
    order: VenueOrder = station.orders(request.client_order_id)[-1]
    return order


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    pepe = gateway.instruments()["PEPE"]
    assert (pepe.venue_symbol, pepe.multiplier, pepe.min_notional_usd) == ("kPEPE", 1000, 10)
    assert (gateway.fees.maker, gateway.fees.taker) == (0.00015, 0.0004)
    assert abs(gateway.clock_offset_ns) < 1_500 * NS_PER_MS
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert 0.5 < gateway.rate_budget_ratio <= 1.0
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.signer_id != gateway.account_id
    assert (gateway.dead_man, gateway.burn_nonce(1), gateway.traits.late_refusals) == (None, None, True)


async def test_ioc_fills_and_every_source_agrees(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place("BTC", Side.BUY, 100.0)
    assert isinstance(outcome, Accepted), outcome
    assert (outcome.status, outcome.filled_lots) == (OrderStatus.ACCEPTED, 0)  # an acknowledgement never shows a fill
    order = await ended(station, request)
    assert (order.status, order.filled_lots, order.venue_order_id) == (
        OrderStatus.FILLED, request.lots, outcome.venue_order_id,
    )  # fmt: skip
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == request.lots)
    fill = station.fills(request.client_order_id)[0]
    assert (fill.venue_order_id, fill.liquidity, fill.side) == (outcome.venue_order_id, LiquiditySide.TAKER, Side.BUY)
    assert fill.fee_usd == pytest.approx(
        fill.px * fill.lots * request.instrument.lot_size * Decimal("0.0004"), abs=Decimal("1e-6")
    )
    read = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert read == station.fills(request.client_order_id)
    (position,) = await station.gateway.positions()
    assert (position.symbol, position.lots) == ("BTC", request.lots)
    assert position.mark_px > 0
    assert position.avg_entry_px == pytest.approx(fill.px, rel=Decimal("1e-3"))
    truth = box.account(VENUE, station.gateway.account_id)["positions"]["BTC"]
    assert Decimal(truth["qty"]) == position.lots * request.instrument.lot_size
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)


async def test_short_and_balance(station: Station, box: SandboxProcess) -> None:
    request, _ = await station.place("ETH", Side.SELL, 200.0)
    assert (await ended(station, request)).status is OrderStatus.FILLED
    (position,) = await station.gateway.positions()
    assert position.lots == -request.lots
    balance = await station.gateway.balance()
    truth = box.account(VENUE, station.gateway.account_id)
    assert balance.equity_usd == pytest.approx(Decimal(truth["equity_usd"]), rel=Decimal("1e-3"))
    assert balance.free_margin_usd == pytest.approx(Decimal(truth["free_usd"]), rel=Decimal("1e-2"))
    assert balance.maintenance_margin_usd > 0


async def test_ioc_without_match_is_accepted_and_then_ends_empty(station: Station) -> None:
    request, outcome = await station.place("BTC", Side.BUY, cross_bps=-50.0)
    assert isinstance(outcome, Accepted)
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.EXPIRED, 0)
    assert await station.gateway.positions() == []
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.EXPIRED, 0)


async def test_a_partly_filled_ioc_ends_with_what_it_got(station: Station, box: SandboxProcess) -> None:
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "partial_fill", "value": 0.5})
    request, _ = await station.place("SOL", Side.BUY, 200.0)
    order = await ended(station, request)
    assert (order.status, 0 < order.filled_lots < request.lots) == (OrderStatus.EXPIRED, True)
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == order.filled_lots)
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.EXPIRED, order.filled_lots)
    truth = box.account(VENUE, station.gateway.account_id)["positions"]["SOL"]
    assert Decimal(truth["qty"]) == order.filled_lots * request.instrument.lot_size


async def test_post_only(station: Station) -> None:
    crossing, outcome = await station.place("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=20.0)
    assert isinstance(outcome, Accepted)  # the refusal comes later
    assert (await ended(station, crossing)).status is OrderStatus.REJECTED
    request, resting = await station.place("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
    assert isinstance(resting, Accepted)
    await eventually(lambda: station.orders(request.client_order_id))
    assert station.orders(request.client_order_id)[0].status is OrderStatus.ACCEPTED
    listed = await station.gateway.open_orders()
    assert [(o.client_order_id, o.venue_order_id) for o in listed] == [
        (request.client_order_id, resting.venue_order_id)
    ]
    canceled = await station.cancel(request, resting.venue_order_id)
    assert isinstance(canceled, Accepted)
    assert canceled.status is OrderStatus.CANCELED
    assert await station.gateway.open_orders() == []
    assert (await ended(station, request)).status is OrderStatus.CANCELED
    again = await station.cancel(request)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.UNKNOWN_ORDER


async def test_cancel_by_client_id(station: Station, box: SandboxProcess) -> None:
    request, _ = await station.place("SOL", Side.SELL, tif=TimeInForce.GTC, cross_bps=-100.0)
    async with Station(VENUE, box) as other:  # a process that never learned the order id
        assert other.gateway._memory.order_of(request.client_order_id) is None  # type: ignore[attr-defined]
        assert (await other.cancel(request)).status is OrderStatus.CANCELED


async def test_reduce_only_never_flips(station: Station) -> None:
    _, alone = await station.place("ETH", Side.SELL, reduce_only=True)
    assert isinstance(alone, Rejected)
    assert alone.code is RejectCode.REDUCE_ONLY
    opened, _ = await station.place("ETH", Side.BUY, 60.0)
    await ended(station, opened)
    request, _ = await station.place("ETH", Side.SELL, lots=opened.lots * 3, reduce_only=True, cross_bps=50.0)
    order = await ended(station, request)
    assert (order.filled_lots, order.status) == (opened.lots, OrderStatus.EXPIRED)
    assert await station.gateway.positions() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lots": 1}, RejectCode.MIN_NOTIONAL),
        ({"lots": 10**8}, RejectCode.MARGIN),
        ({"limit_ticks": 900_000}, RejectCode.PRICE_BAND),
    ],
)
@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_refusals_of_an_order(box: SandboxProcess, entry: str, change: dict[str, Any], code: RejectCode) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        request = msgspec.structs.replace(await station.request("BTC", Side.BUY), **change)
        outcome = await station.send(request)
        assert isinstance(outcome, Rejected), outcome
        assert outcome.code is code


async def test_a_price_off_the_grid_and_a_used_id_are_refused(station: Station) -> None:
    request = await station.request("BTC", Side.BUY)
    finer = msgspec.structs.replace(request.instrument, tick_size=Decimal("0.1"))
    wrong = msgspec.structs.replace(request, instrument=finer, limit_ticks=request.limit_ticks * 10 + 3)
    outcome = await station.send(wrong)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.TICK)
    assert isinstance(await station.send(request), Accepted)
    again = await station.send(request)
    assert (type(again), again.code) == (Rejected, RejectCode.DUPLICATE_ID)


async def test_leverage_is_set_and_read_back(station: Station) -> None:
    instrument = station.instrument("SOL")
    assert await station.gateway.leverage(station.instrument("PAXG")) == 10  # untouched: the maximum
    for times in (3, 5):
        await station.gateway.set_leverage(instrument, times, station.gateway.nonces.next())
        assert await station.gateway.leverage(instrument) == times
    with pytest.raises(VenueError, match="refused"):
        await station.gateway.set_leverage(instrument, 999, station.gateway.nonces.next())


async def test_isolated_margin_reads_as_no_leverage_and_setting_makes_it_cross(station: Station) -> None:
    gateway: Any = station.gateway
    instrument = station.instrument("HYPE")
    await gateway._set("update_margin_mode", {"symbol": "HYPE", "is_isolated": True}, "isolated margin")
    assert await gateway.leverage(instrument) == 0
    await gateway.set_leverage(instrument, 3, gateway.nonces.next())
    assert await gateway.leverage(instrument) == 3


async def test_an_expired_order_is_refused_and_absence_is_then_definitive(station: Station) -> None:
    request = await station.request("BTC", Side.BUY, ttl_ns=-10 * NS_PER_S)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.EXPIRED
    assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=True)
    fresh = await station.request("BTC", Side.BUY)
    station.gateway.prepare(fresh, station.gateway.nonces.next())
    assert await station.gateway.lookup(fresh.instrument, fresh.client_order_id) == NotFound(definitive=False)
    assert await station.gateway.lookup(fresh.instrument, "7a6d" + "0" * 28) == NotFound(definitive=False)
    bound_ns = station.gateway.unknown_bound_ns(fresh)
    assert fresh.expires_wire_ns < bound_ns < fresh.expires_wire_ns + 6 * NS_PER_S


async def test_an_order_of_an_earlier_process_is_found_by_its_id_alone(station: Station, box: SandboxProcess) -> None:
    request, _ = await station.place("BTC", Side.BUY, 60.0)
    await ended(station, request)
    async with Station(VENUE, box) as other:
        found = await other.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.filled_lots, found.status) == (request.lots, OrderStatus.FILLED)
        lost = await station.request("BTC", Side.BUY, ttl_ns=-10 * NS_PER_S)
        assert await other.gateway.lookup(lost.instrument, lost.client_order_id) == NotFound(definitive=False)
        other.gateway.recall(lost, 1, lost.expires_wire_ns - NS_PER_S)
        assert await other.gateway.lookup(lost.instrument, lost.client_order_id) == NotFound(definitive=True)


async def test_lost_connection_after_sending_is_unknown_and_lookup_tells(station: Station) -> None:
    request = await station.request("BTC", Side.BUY)
    order = station.gateway.submit(station.gateway.prepare(request, station.gateway.nonces.next()))
    gateway: Any = station.gateway
    gateway._lane.reset("cut by the test")
    outcome = await order
    assert isinstance(outcome, Unknown), outcome
    assert "cut by the test" in outcome.detail  # at once, not by the timeout
    await eventually(lambda: len(station.ups) == 2)
    found: Any = None
    async with asyncio.timeout(5):
        while not isinstance(found, VenueOrder) or not found.status.is_final:
            found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)


async def test_an_order_that_the_stream_keeps_to_itself_is_looked_up(box: SandboxProcess) -> None:
    async with Station(VENUE, box, verify_delay_s=0.1) as station:
        silence = {"venue": VENUE, "kind": "stall", "traffic": ["private"]}
        await asyncio.to_thread(box.control, "fault", silence)
        request, outcome = await station.place("ETH", Side.BUY)
        assert isinstance(outcome, Accepted)
        order = await ended(station, request)
        assert (order.status, order.filled_lots) == (OrderStatus.FILLED, request.lots)
        assert station.fills(request.client_order_id) == []
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
        assert request.client_order_id in [f.client_order_id for f in await station.gateway.fills_since(0)]
        await station.flat()


async def test_a_fill_during_a_gap_is_read_after_stream_up(station: Station) -> None:
    gateway: Any = station.gateway
    gateway._lane.reset("cut by the test")
    await eventually(lambda: station.downs)
    request, outcome = await station.place("ETH", Side.BUY, 60.0)  # by REST, as the socket is down or fresh
    assert isinstance(outcome, Accepted), outcome
    await eventually(lambda: len(station.ups) == 2)
    since_ns = station.ups[-1].since_wire_ns
    assert 0 < since_ns <= SystemClock().wire_ns()
    seen = [f.client_order_id for f in await station.gateway.fills_since(since_ns)]
    assert request.client_order_id in seen


async def test_rest_is_the_fallback_when_the_socket_is_not_warm(station: Station) -> None:
    gateway: Any = station.gateway
    gateway._lane._socket.drop("cut by the test")
    assert not gateway._lane.warm
    request = await station.request("BTC", Side.BUY)
    gateway._lane._socket = None
    outcome = await station.send(request)
    assert isinstance(outcome, Accepted), outcome


async def test_fill_of_a_manual_order_is_foreign(station: Station, box: SandboxProcess) -> None:
    async with Station(VENUE, box) as other:
        request = await other.request("BTC", Side.BUY)
        foreign = msgspec.structs.replace(request, client_order_id="ab" * 16)
        assert parse_client_order_id(foreign.client_order_id) is None
        assert isinstance(await other.send(foreign), Accepted)
        await eventually(lambda: station.fills(None))
        assert station.fills(None)[0].lots == request.lots
        assert any(f.client_order_id is None for f in await station.gateway.fills_since(0))


async def test_funding_is_read_back_as_the_sandbox_paid_it() -> None:
    """Over three settlements, of a short that receives; the venue on a clock that the test moves."""
    async with World() as world:
        await world.place("BTC", "ask", "79900", "0.01")
        for _ in range(3):
            world.pass_s(3600 - world.clock.calendar_ns() // NS_PER_S % 3600 + 1)
            world.exchange.housekeep()
        out = LogLines()
        clock = SystemClock()
        lane = HttpLane(f"{world.url}/api/v1", size=1, timeout_s=5, clock=clock, rng=random.Random(1), log=out.log)
        listed = {each.venue_symbol: each for each in specs.instruments(await world_info(world))}
        reads = Reads(
            lane, Throttle(6000, 0.3, clock), ACCOUNT, (), OrderMemory(), ClockSkew(NS_PER_S), lambda: listed,
            lambda found: None, clock,
        )  # fmt: skip
        await lane.start()
        paid = await reads.funding_since(0)
        truth = world.exchange.payments(ACCOUNT)
        assert [(each.payment_id, each.amount_usd, each.ts_ns) for each in paid] == [
            (str(each.payment_id), each.cash, each.time_ns) for each in truth
        ]
        assert [(each.symbol, each.amount_usd, each.rate) for each in paid] == [("BTC", Decimal("0.01"), 0.0000125)] * 3
        assert [each.payment_id for each in await reads.funding_since(paid[1].ts_ns)] == [
            each.payment_id for each in paid[1:]
        ]
        await lane.close()


async def world_info(world: World) -> bytes:
    async with world.session.get(f"{world.url}/api/v1/info") as answer:
        return await answer.read()


@pytest.mark.parametrize(("kind", "code"), [("expired_auth", RejectCode.AUTH), ("rejected_nonce", RejectCode.EXPIRED)])
@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_refused_messages(box: SandboxProcess, kind: str, code: RejectCode, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        request = await station.request("BTC", Side.BUY)
        await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": kind, "times": 1})
        outcome = await station.send(request)
        assert isinstance(outcome, Rejected), outcome
        assert outcome.code is code
        assert await station.gateway.positions() == []


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_a_refusal_for_the_rate_pauses_openings_and_a_5xx_proves_nothing(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        request = await station.request("BTC", Side.BUY)
        limited = {"venue": VENUE, "kind": "http_error", "traffic": ["orders"], "value": 429, "times": 1}
        await asyncio.to_thread(box.control, "fault", limited)
        outcome = await station.send(request)
        assert (type(outcome), outcome.code) == (Rejected, RejectCode.RATE)
        assert not station.gateway.may_send(priority=False)
        executed = {**limited, "value": 503, "way": "executed"}
        async with Station(VENUE, box, order_entry=entry) as fresh:
            await asyncio.to_thread(box.control, "fault", executed)
            request = await fresh.request("BTC", Side.BUY)
            assert isinstance(await fresh.send(request), Unknown)
            found = await fresh.gateway.lookup(request.instrument, request.client_order_id)
            assert isinstance(found, VenueOrder)
            assert found.filled_lots == request.lots
            await fresh.flat()


async def test_reads_that_fail_raise_what_they_are(station: Station, box: SandboxProcess) -> None:
    fault = {"venue": VENUE, "kind": "http_error", "traffic": ["reads"], "times": 1}
    await asyncio.to_thread(box.control, "fault", {**fault, "value": 503})
    with pytest.raises(VenueError, match="HTTP 503"):
        await station.gateway.positions()
    await asyncio.to_thread(box.control, "fault", {**fault, "value": 429})
    with pytest.raises(RateLimited):
        await station.gateway.positions()
    station.gateway._throttle._paused_all_until_ns = 0  # type: ignore[attr-defined]
    station.gateway._throttle._paused_until_ns = 0  # type: ignore[attr-defined]


async def test_no_rows_may_be_told_by_a_504_only_to_an_account_that_never_traded(box: SandboxProcess) -> None:
    slow = {"venue": VENUE, "kind": "http_error", "traffic": ["reads"], "value": 504, "times": 1}
    async with Station(VENUE, box) as station:
        await asyncio.to_thread(box.control, "fault", slow)
        assert await station.gateway.fills_since(0) == []
        request = await station.request("BTC", Side.BUY)
        await station.send(request)
        await asyncio.to_thread(box.control, "fault", slow)
        with pytest.raises(VenueError, match="HTTP 504"):
            await station.gateway.fills_since(0)
        await ended(station, request)
    async with Station(VENUE, box) as other:  # nothing prepared here, but a position stands
        await asyncio.to_thread(box.control, "fault", slow)
        with pytest.raises(VenueError, match="HTTP 504"):
            await other.gateway.fills_since(0)
        await other.flat()


async def test_the_venues_own_count_of_credits_is_believed(station: Station) -> None:
    gateway: Any = station.gateway
    before = gateway.rate_budget_ratio
    gateway._on_frame(b'{"code":200,"data":{},"id":"x","t":1,"type":"create_order","rl":{"r":600,"q":60000,"t":5}}')
    assert gateway.rate_budget_ratio == pytest.approx(0.01, abs=0.01)
    assert before > 0.5
    assert not gateway.may_send(priority=False)
    gateway._throttle._level = 6000.0


async def test_a_wrong_clock_signs_nothing(box: SandboxProcess) -> None:
    skew = {"venue": VENUE, "kind": "clock_skew", "value": -30}
    await asyncio.to_thread(box.control, "fault", skew)
    try:
        async with Station(VENUE, box) as station:
            request = await station.request("BTC", Side.BUY)
            outcome = await station.send(request)
            assert isinstance(outcome, Unsent)
            assert "clock" in outcome.detail
    finally:
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})


async def test_connection_refused_is_unsent_and_start_raises(box: SandboxProcess) -> None:
    port = free_port()
    station = Station(VENUE, box, rest_url=f"http://127.0.0.1:{port}/api/v1", ws_url=f"ws://127.0.0.1:{port}/ws")
    with pytest.raises(NotSent):
        await station.gateway.start(station.events.append)
    assert not station.gateway.entry_ready
    async with Station(VENUE, box) as warm:
        request = await warm.request("BTC", Side.BUY)
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent), outcome
    await station.gateway.close()


async def test_a_venue_that_goes_away_is_unsent_and_is_back_soon_after_it_is(
    station: Station, box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "STEPS_S", (60.0,))  # as after a long outage
    request = await station.request("ETH", Side.BUY)
    await asyncio.to_thread(box.control, "venue", {"venue": VENUE, "serving": False})
    try:
        await eventually(lambda: not station.gateway.entry_ready and station.downs)
        assert isinstance(await station.send(request), Unsent)
        with pytest.raises(VenueError):
            await station.gateway.positions()
    finally:
        await asyncio.to_thread(box.control, "venue", {"venue": VENUE, "serving": True})

    def back() -> bool:
        station.gateway.wake()
        return station.gateway.entry_ready and len(station.ups) == 2

    await eventually(back, 10.0)
    assert isinstance((await station.place("ETH", Side.BUY))[1], Accepted)


async def test_a_key_that_is_nobodys_agent_is_told_at_the_first_order(box: SandboxProcess) -> None:
    """Reads are public and say nothing of who may sign."""
    original = box.loaded.secrets_file.read_text()
    stranger = "2AXDGYSE4f2sz7tvMMzyHvUfcoJmxudvdhBcmiUSo6iuCXagjUCKEQF21awZnUGxmwD4m9vGXuC3qieHXJQHAcT"
    box.loaded.secrets_file.write_text(
        re.sub(r"(?m)^PACIFICA_AGENT_KEY=.*$", f"PACIFICA_AGENT_KEY={stranger}", original)
    )
    try:
        async with Station(VENUE, box) as station:
            request = await station.request("BTC", Side.BUY)
            outcome = await station.send(request)
            assert (type(outcome), outcome.code) == (Rejected, RejectCode.AUTH)
    finally:
        box.loaded.secrets_file.write_text(original)


async def test_the_budget_keeps_a_reserve_for_cancels(box: SandboxProcess) -> None:
    async with Station(VENUE, box) as station:
        gateway: Any = station.gateway
        while gateway._throttle.take(100.0):
            pass
        while gateway._throttle.take():
            pass
        assert not station.gateway.may_send(priority=False)
        assert station.gateway.may_send(priority=True)
        request, outcome = await station.place("BTC", Side.BUY)
        assert isinstance(outcome, Accepted)
        while gateway._throttle.take(0.5, priority=True):
            pass
        outcome = await station.send(request)
        assert isinstance(outcome, Unsent)
        gateway._throttle._level = 6000.0
        await station.flat()


async def test_rehearsal_sends_nothing_and_takes_no_nonce(station: Station) -> None:
    gateway: Any = station.gateway
    before = (list(station.blocks), gateway._throttle.ratio, len(gateway._memory._sent))
    for _ in range(100):
        station.gateway.rehearse()
    assert (list(station.blocks), pytest.approx(gateway._throttle.ratio, abs=0.1), len(gateway._memory._sent)) == before


def test_ids_are_full_uuids_on_the_wire() -> None:
    assert wire_id("7a6d0001000200000001000000000103") == "7a6d0001-0002-0000-0001-000000000103"
