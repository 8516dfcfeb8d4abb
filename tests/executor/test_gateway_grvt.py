"""The GRVT gateway against the real sandbox process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import NotSent, VenueError
from core.types import LiquiditySide, OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _grvt_reads, _grvt_session, _grvt_wire, grvt
from executor.venues.base import DeadManScope, NotFound, OrderRequest, VenueOrder
from executor.venues.grvt import Gateway
from ops.sandbox.garbage import SHAPES
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE = "grvt"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("grvt"), venues=(VENUE,), order_delay_ms=5.0) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box) as ready:
        await ready.flat()
        yield ready
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
        await ready.flat()


def gateway_of(station: Station) -> Gateway:
    assert isinstance(station.gateway, Gateway)
    return station.gateway


async def fault(box: SandboxProcess, **what: Any) -> None:
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, **what})


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    """The last that the stream told of an order, once it is final."""
    await eventually(lambda: [o for o in station.orders(request.client_order_id) if o.status.is_final])
    order: VenueOrder = station.orders(request.client_order_id)[-1]
    return order


async def rests(station: Station, request: OrderRequest) -> VenueOrder:
    await eventually(lambda: station.orders(request.client_order_id))
    order: VenueOrder = station.orders(request.client_order_id)[-1]
    assert order.status is OrderStatus.ACCEPTED
    return order


# ---- start ------------------------------------------------------------------------------------------------------------


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    pepe = gateway.instruments()["PEPE"]
    assert (pepe.venue_symbol, pepe.multiplier, pepe.max_leverage) == ("KPEPE_USDT_Perp", 1000, 20)
    assert pepe.maintenance_margin_ratio == 0.025
    assert (gateway.fees.maker, gateway.fees.taker) == (-0.000001, 0.00045)
    assert abs(gateway.clock_offset_ns) < 1_500 * NS_PER_MS
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert 0.5 < gateway.rate_budget_ratio <= 1.0
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.dead_man is not None
    assert (gateway.dead_man.scope, gateway.dead_man.countdown_s, gateway.dead_man.refresh_s) == (
        DeadManScope.ACCOUNT, 30, 10.0,
    )  # fmt: skip
    gateway.rehearse()


async def test_an_account_that_is_not_the_keys_own_is_refused(
    box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = Station(VENUE, box)
    monkeypatch.setattr(gateway_of(station)._reads, "_sub_account", "12345")
    with pytest.raises(VenueError, match="GRVT_SUB_ACCOUNT_ID"):
        await station.gateway.start(station.events.append)


# ---- orders -----------------------------------------------------------------------------------------------------------


async def test_ioc_fills_and_every_source_agrees(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place("BTC", Side.BUY, 300.0)
    assert outcome == Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)  # it only acknowledges
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.FILLED, request.lots)
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == request.lots)
    fill = station.fills(request.client_order_id)[0]
    assert (fill.venue_order_id, fill.liquidity, fill.side) == (order.venue_order_id, LiquiditySide.TAKER, Side.BUY)
    assert fill.fee_usd == pytest.approx(
        fill.px * fill.lots * request.instrument.lot_size * Decimal("0.00045"), abs=Decimal("2e-6")
    )
    read = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert read == station.fills(request.client_order_id)
    (position,) = await station.gateway.positions()
    assert (position.symbol, position.lots) == ("BTC", request.lots)
    assert position.avg_entry_px == pytest.approx(fill.px, rel=Decimal("1e-3"))
    truth = box.account(VENUE, station.gateway.account_id)["positions"]["BTC_USDT_Perp"]
    assert Decimal(truth["qty"]) == position.lots * request.instrument.lot_size
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots, found.client_order_id) == (
        OrderStatus.FILLED, request.lots, request.client_order_id,
    )  # fmt: skip


async def test_sizes_of_every_scale_are_signed_right(station: Station) -> None:
    """Nine, six and three decimals: a wrong scale is another order, and its signature would not hold."""
    for symbol in ("ETH", "PEPE", "HYPE", "PAXG", "SOL"):
        request, outcome = await station.place(symbol, Side.SELL, 150.0)
        assert isinstance(outcome, Accepted), (symbol, outcome)
        assert (await ended(station, request)).filled_lots == request.lots
    assert {position.symbol for position in await station.gateway.positions()} == {"ETH", "PEPE", "HYPE", "PAXG", "SOL"}


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


async def test_ioc_without_match_ends_empty(station: Station) -> None:
    request, outcome = await station.place("BTC", Side.BUY, 300.0, cross_bps=-50.0)
    assert isinstance(outcome, Accepted)
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.EXPIRED, 0)
    assert await station.gateway.positions() == []


async def test_ioc_partly_filled_ends_with_what_it_found(station: Station, box: SandboxProcess) -> None:
    await fault(box, kind="partial_fill", value=0.5)
    request, _ = await station.place("BTC", Side.BUY, 1000.0)
    order = await ended(station, request)
    assert order.status is OrderStatus.EXPIRED
    assert 0 < order.filled_lots < request.lots
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == order.filled_lots)


async def test_post_only_rests_for_a_minute_or_fails(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place("BTC", Side.BUY, 300.0, cross_bps=-200.0, tif=TimeInForce.POST_ONLY)
    assert isinstance(outcome, Accepted)
    order = await rests(station, request)
    (listed,) = await station.gateway.open_orders()
    assert (listed.client_order_id, listed.venue_order_id) == (request.client_order_id, order.venue_order_id)
    assert _grvt_wire.expiration_ns(request) == request.expires_wire_ns + _grvt_wire.RESTING_NS
    assert isinstance(await station.cancel(request), Accepted)
    assert (await ended(station, request)).status is OrderStatus.CANCELED
    crossing, outcome = await station.place("BTC", Side.BUY, 300.0, cross_bps=50.0, tif=TimeInForce.POST_ONLY)
    assert isinstance(outcome, Accepted)  # refused in matching: it ends without a fill
    order = await ended(station, crossing)
    assert (order.status, order.filled_lots) == (OrderStatus.CANCELED, 0)


async def test_reduce_only_closes_and_never_opens(station: Station) -> None:
    _, outcome = await station.place("BTC", Side.SELL, 300.0, reduce_only=True)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.REDUCE_ONLY
    opened, _ = await station.place("BTC", Side.BUY, 300.0)
    await ended(station, opened)
    closed, _ = await station.place("BTC", Side.SELL, lots=opened.lots, reduce_only=True)
    assert (await ended(station, closed)).filled_lots == opened.lots
    assert await station.gateway.positions() == []


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_refusals_by_code(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        request = await station.request("BTC", Side.BUY, 300.0)
        for change, code in (
            ({"lots": 10_000_000}, RejectCode.MARGIN),
            ({"lots": 1}, RejectCode.MIN_NOTIONAL),
            ({"limit_ticks": request.limit_ticks * 2}, RejectCode.PRICE_BAND),
            ({"expires_wire_ns": station.clock.wire_ns() - NS_PER_S}, RejectCode.EXPIRED),
        ):
            refused = msgspec.structs.replace(request, client_order_id=station.client_order_id(), **change)
            outcome = await station.send(refused)
            assert isinstance(outcome, Rejected), (change, outcome)
            assert outcome.code is code
            found = await station.gateway.lookup(refused.instrument, refused.client_order_id)
            assert isinstance(found, NotFound)
        resting, _ = await station.place("BTC", Side.BUY, 300.0, cross_bps=-200.0, tif=TimeInForce.GTC)
        await rests(station, resting)
        again = await station.send(msgspec.structs.replace(resting, lots=resting.lots + 1))
        assert isinstance(again, Rejected)
        assert again.code is RejectCode.DUPLICATE_ID
        await station.cancel(resting)
        await ended(station, resting)


async def test_orders_go_by_rest_while_the_socket_is_away(station: Station) -> None:
    gateway_of(station)._lane.reset("for the test")
    request, outcome = await station.place("BTC", Side.BUY, 300.0)
    assert isinstance(outcome, Accepted | Unknown)
    assert isinstance(outcome, Accepted), outcome
    await eventually(lambda: len(station.ups) > 1)
    read = await station.gateway.fills_since(station.ups[-1].since_wire_ns)
    assert sum(f.lots for f in read if f.client_order_id == request.client_order_id) == request.lots


async def test_cancel_by_client_id_and_by_order_id(station: Station) -> None:
    for by_id in (False, True):
        request, _ = await station.place("BTC", Side.BUY, 300.0, cross_bps=-200.0, tif=TimeInForce.GTC)
        order = await rests(station, request)
        gateway_of(station)._memory._orders.clear()
        assert isinstance(await station.cancel(request, order.venue_order_id if by_id else ""), Accepted)
        assert (await ended(station, request)).status is OrderStatus.CANCELED


async def test_a_catalogue_that_lost_the_instrument_signs_nothing(station: Station) -> None:
    request = await station.request("BTC", Side.BUY, 300.0)
    strange = msgspec.structs.replace(
        request, instrument=msgspec.structs.replace(request.instrument, venue_symbol="GONE_USDT_Perp")
    )
    with pytest.raises(NotSent, match="no longer in the catalogue"):
        station.gateway.prepare(strange, 1)


# ---- doubt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["silent", "broken"])
async def test_a_lost_answer_is_unknown_and_found(box: SandboxProcess, way: str) -> None:
    async with Station(VENUE, box, request_timeout_ms=300.0) as station:
        await fault(box, kind="lost_answer", way=way)
        request, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Unknown)
        found: VenueOrder | NotFound = NotFound(definitive=False)
        while found == NotFound(definitive=False):  # until the speed bump is over; never definite so early
            found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert found.filled_lots == request.lots
        await station.flat()


async def test_what_never_arrived_is_definite_once_its_signature_is_over(
    box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grvt, "SETTLE_NS", 100 * NS_PER_MS)
    monkeypatch.setattr(_grvt_reads, "SETTLE_NS", 100 * NS_PER_MS)
    async with Station(VENUE, box, request_timeout_ms=400.0) as station:
        await fault(box, kind="disconnect", traffic=["orders"], times=1)
        request = await station.request("BTC", Side.BUY, 300.0, ttl_ns=100 * NS_PER_MS)
        assert isinstance(await station.send(request), Unknown)
        found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert found == NotFound(definitive=False)
        bound_ns = station.gateway.unknown_bound_ns(request)
        assert bound_ns == request.expires_wire_ns + NS_PER_S + 100 * NS_PER_MS
        await eventually(lambda: station.clock.wire_ns() > bound_ns)
        assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=True)


async def test_a_waiting_cancel_burns_what_did_not_arrive(box: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grvt, "BURN_LOOKUP_S", 0.1)
    async with Station(VENUE, box, request_timeout_ms=400.0) as station:
        await fault(box, kind="disconnect", traffic=["orders"], times=1)
        request = await station.request("BTC", Side.BUY, 300.0)
        prepared = station.gateway.prepare(request, station.gateway.nonces.next())
        assert isinstance(await station.gateway.submit(prepared), Unknown)
        await eventually(lambda: gateway_of(station)._lane.warm)
        burned = station.gateway.burn_nonce(prepared.nonce)
        assert burned is not None
        assert await burned
        late = await station.gateway.submit(prepared)  # what a stray packet would do
        assert isinstance(late, Accepted)
        order = await ended(station, request)
        assert (order.status, order.filled_lots) == (OrderStatus.CANCELED, 0)
        assert await station.gateway.positions() == []


async def test_burning_proves_nothing_of_orders_that_are_known(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grvt, "BURN_LOOKUP_S", 0.1)
    request = await station.request("BTC", Side.BUY, 300.0)
    prepared = station.gateway.prepare(request, station.gateway.nonces.next())
    await station.gateway.submit(prepared)
    await ended(station, request)
    for nonce in (prepared.nonce, 5):
        burned = station.gateway.burn_nonce(nonce)
        assert burned is not None
        assert not await burned


async def test_our_own_budget_refuses_before_anything_leaves(box: SandboxProcess) -> None:
    async with Station(VENUE, box) as station:
        request = await station.request("BTC", Side.BUY, 300.0)
        gateway_of(station)._throttle.charge(2000)
        outcome = await station.send(request)
        assert isinstance(outcome, Unsent)
        assert not station.gateway.may_send(priority=True)


# ---- session ----------------------------------------------------------------------------------------------------------


async def test_a_session_that_ended_is_renewed_and_nothing_is_missed(
    box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 0.0)
    async with Station(VENUE, box) as station:
        before = gateway_of(station)._sessions.headers
        await fault(box, kind="expired_auth", traffic=["private"])
        await eventually(lambda: station.downs)
        assert await station.gateway.positions() == []  # refused once, and answered after a login
        assert gateway_of(station)._sessions.headers != before
        await eventually(lambda: len(station.ups) > 1)
        assert station.ups[-1].since_wire_ns > 0
        request, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Accepted)
        assert (await ended(station, request)).filled_lots == request.lots
        await station.flat()


async def test_a_session_is_renewed_before_it_ends(box: SandboxProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day less two seconds ahead of its end, so that it is due at once; the socket follows to the new one."""
    monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 3600.0)
    monkeypatch.setattr(_grvt_session, "AHEAD_S", 24 * 3600.0 - 2.0)
    async with Station(VENUE, box) as station:
        before = gateway_of(station)._socket_headers
        monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 0.0)
        gateway_of(station)._sessions.refused(before)
        await eventually(lambda: gateway_of(station)._sessions.headers != before)
        monkeypatch.setattr(_grvt_session, "AHEAD_S", 600.0)
        await eventually(lambda: len(station.ups) > 1)
        assert gateway_of(station)._socket_headers != before
        request, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Accepted)
        await ended(station, request)
        await station.flat()


async def test_an_order_refused_for_its_session_is_rejected_and_the_next_one_goes(
    box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 0.0)
    async with Station(VENUE, box) as station:
        await fault(box, kind="expired_auth", traffic=["orders"], times=1)
        _, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Rejected)
        assert outcome.code is RejectCode.AUTH
        await eventually(lambda: len(station.ups) > 1)
        request, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Accepted)
        await ended(station, request)
        await station.flat()


# ---- stream -----------------------------------------------------------------------------------------------------------


async def test_fills_during_a_gap_are_found(station: Station, box: SandboxProcess) -> None:
    await fault(box, kind="stall", traffic=["private"])
    request, outcome = await station.place("BTC", Side.BUY, 300.0)
    assert isinstance(outcome, Accepted)
    while not await station.gateway.positions():  # it is filled, and nobody told
        await asyncio.sleep(0.02)
    assert station.fills(request.client_order_id) == []
    await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
    follower, _ = await station.place("ETH", Side.BUY, 100.0)  # its messages show that others are missing
    await eventually(lambda: len(station.ups) > 1)
    read = await station.gateway.fills_since(station.ups[-1].since_wire_ns)
    for sent in (request, follower):
        assert sum(f.lots for f in read if f.client_order_id == sent.client_order_id) == sent.lots


async def test_a_foreign_fill_is_seen_as_foreign(box: SandboxProcess, station: Station) -> None:
    async with Station(VENUE, box) as other:
        request = await other.request("ETH", Side.BUY, 100.0)
        gateway = gateway_of(other)
        body = gateway._sign(request, other.gateway.nonces.next(), 12345, gateway._signed_lots["ETH_USDT_Perp"])
        assert isinstance(await gateway._entry.act("create_order", body), bytes)
        await eventually(lambda: station.fills(None))
        fill = station.fills(None)[0]
        assert (fill.symbol, fill.lots, fill.client_order_id) == ("ETH", request.lots, None)


async def test_the_switch_cancels_what_rests_once_we_fall_silent(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grvt, "SWITCH_S", 2)
    instrument = station.instrument("BTC")
    kept, lost = [
        (await station.place("BTC", Side.BUY, 300.0, cross_bps=-200.0, tif=TimeInForce.POST_ONLY))[0] for _ in range(2)
    ]
    await rests(station, kept)
    await rests(station, lost)
    await station.gateway.arm_dead_man([instrument])
    await station.gateway.disarm_dead_man([instrument])
    await station.cancel(kept)
    assert (await ended(station, kept)).status is OrderStatus.CANCELED
    assert [order.client_order_id for order in await station.gateway.open_orders()] == [lost.client_order_id]
    await station.gateway.arm_dead_man([instrument])
    assert (await ended(station, lost)).status is OrderStatus.CANCELED
    assert await station.gateway.open_orders() == []


# ---- rubbish ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", sorted(SHAPES))
async def test_rubbish_for_an_answer_proves_nothing_and_nothing_is_sent_twice(box: SandboxProcess, way: str) -> None:
    async with Station(VENUE, box, request_timeout_ms=250.0) as station:
        await fault(box, kind="garbage", traffic=["orders"], way=way, times=1)
        request, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Unknown | Accepted), outcome
        found: VenueOrder | NotFound = NotFound(definitive=False)
        while found == NotFound(definitive=False):
            found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        (position,) = await station.gateway.positions()
        assert position.lots == found.filled_lots == request.lots
        await station.flat()


@pytest.mark.parametrize(
    "what", [{"kind": "duplicate"}, {"kind": "reorder", "value": 1}, {"kind": "garbage"}], ids=lambda w: w["kind"]
)
async def test_a_bad_stream_misses_nothing_and_tells_no_fill_twice(box: SandboxProcess, what: dict[str, Any]) -> None:
    async with Station(VENUE, box) as station:
        await fault(box, traffic=["private"], times=6, **what)
        sent = [(await station.place("BTC", Side.BUY, 300.0))[0] for _ in range(4)]
        while len(await station.gateway.positions()) != 1:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
        last, _ = await station.place("ETH", Side.BUY, 100.0)
        names = {each.client_order_id: each.lots for each in (*sent, last)}

        def told(fills: list[Any]) -> dict[str, int]:
            once = {fill.trade_id: fill for fill in fills}.values()
            return {name: sum(fill.lots for fill in once if fill.client_order_id == name) for name in names}

        def seen() -> list[Any]:
            return [fill for name in names for fill in station.fills(name)]

        async with asyncio.timeout(10.0):
            while told(seen() + await station.gateway.fills_since(station.ups[-1].since_wire_ns)) != names:
                await asyncio.sleep(0.05)
        await station.flat()


# ---- reads ------------------------------------------------------------------------------------------------------------


async def test_leverage_is_set_and_read_back(station: Station) -> None:
    instrument = station.instrument("SOL")
    for leverage in (4, 3):
        await station.gateway.set_leverage(instrument, leverage, station.gateway.nonces.next())
        assert await station.gateway.leverage(instrument) == leverage
    with pytest.raises(VenueError, match="2100"):
        await station.gateway.set_leverage(instrument, 99, station.gateway.nonces.next())


async def test_isolated_margin_reads_as_no_leverage_and_is_made_cross(station: Station) -> None:
    instrument, gateway = station.instrument("HYPE"), gateway_of(station)
    body = _grvt_wire.position_config_body(
        gateway._signer, instrument=instrument.venue_symbol, asset_id=instrument.venue_index,
        margin_type=_grvt_wire.MarginType.ISOLATED, leverage=5, nonce=7, expiration_ns=station.clock.wire_ns() + NS_PER_S,
    )  # fmt: skip
    await gateway._reads.send("set_position_config", body, priority=True)
    assert await gateway.leverage(instrument) == 0
    await gateway.set_leverage(instrument, 3, station.gateway.nonces.next())
    assert await gateway.leverage(instrument) == 3


async def test_top_of_book(station: Station) -> None:
    top = await station.gateway.top_of_book(station.instrument("BTC"))
    assert 0 < top.bid_px < top.ask_px
    assert top.mark_px == pytest.approx(top.bid_px, rel=Decimal("0.05"))
