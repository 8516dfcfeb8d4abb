"""The Kraken gateway against the real sandbox process: orders by socket and by REST, a wallet, and every kind of doubt."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import RateLimited, VenueError
from core.ids import parse_client_order_id
from core.types import LiquiditySide, OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues.base import DeadManScope, NotFound, OrderRequest, PositionSeen, VenueOrder
from executor.venues.kraken import _REHEARSAL
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox
from tests.executor.test_gateway_canary import everything

VENUE = "kraken"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("kraken"), venues=(VENUE,), order_delay_ms=2.0) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    await asyncio.to_thread(box.control, "clear", {})
    async with Station(VENUE, box) as ready:
        yield ready


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    """How the stream says that an order ended."""
    name = request.client_order_id
    await eventually(lambda: [o for o in station.orders(name) if o.status.is_final])
    order: VenueOrder = station.orders(name)[-1]
    return order


async def accepted(station: Station, symbol: str, side: Side, usd: float = 100.0, **options: Any) -> OrderRequest:
    request, outcome = await station.place(symbol, side, usd, **options)
    assert isinstance(outcome, Accepted), outcome
    assert (outcome.status, outcome.filled_lots) == (OrderStatus.ACCEPTED, 0)
    assert outcome.venue_order_id
    return request


async def held(station: Station, symbol: str) -> int:
    return next((p.lots for p in await station.gateway.positions() if p.symbol == symbol), 0)


def fault(box: SandboxProcess, kind: str, **values: Any) -> Any:
    return asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": kind, **values})


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    btc = gateway.instruments()["BTC"]
    assert (btc.venue_symbol, btc.can_short, btc.max_leverage) == ("BTC/USD", False, 1)
    assert {"USDT", "USDC"} <= set(gateway.instruments())
    assert (gateway.fees.taker, gateway.fees.maker) == (0.004, 0.0025)  # 0.4000 and 0.2500 percent on the wire
    assert abs(gateway.clock_offset_ns) < 1500 * NS_PER_MS
    assert gateway.entry_ready
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.traits.wallet
    assert not gateway.traits.reduce_only
    assert gateway.dead_man is not None
    assert gateway.dead_man.scope is DeadManScope.ACCOUNT
    assert await gateway.funding_since(0) == []
    assert gateway.burn_nonce(1) is None


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_ioc_fills_and_every_source_agrees(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        before = await held(station, "BTC")
        request = await accepted(station, "BTC", Side.BUY, 300.0)
        order = await ended(station, request)
        assert (order.status, order.filled_lots, order.side) == (OrderStatus.FILLED, request.lots, Side.BUY)
        await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == request.lots)
        fill = station.fills(request.client_order_id)[0]
        assert (fill.venue_order_id, fill.liquidity, fill.side) == (order.venue_order_id, LiquiditySide.TAKER, Side.BUY)
        qty = fill.lots * request.instrument.lot_size
        assert fill.fee_usd == pytest.approx(qty * fill.px * Decimal("0.004"), rel=Decimal("1e-6"))
        read = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
        told = {f.trade_id: f for f in station.fills(request.client_order_id)}
        assert {f.trade_id for f in read} == set(told)
        for each in read:
            assert msgspec.structs.replace(each, fee_usd=Decimal(0)) == msgspec.structs.replace(
                told[each.trade_id], fee_usd=Decimal(0)
            )
            assert each.fee_usd == pytest.approx(told[each.trade_id].fee_usd)
        assert await held(station, "BTC") == before + request.lots  # fees are quote: the wallet grew by what was bought
        await eventually(
            lambda: any(
                isinstance(e, PositionSeen) and e.position.lots == before + request.lots for e in station.events
            )
        )
        found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.status, found.filled_lots, found.venue_order_id) == (
            OrderStatus.FILLED, request.lots, order.venue_order_id,
        )  # fmt: skip


async def test_the_books_of_the_venue_are_ours(station: Station, box: SandboxProcess) -> None:
    await ended(station, await accepted(station, "ETH", Side.BUY, 200.0))
    await ended(station, await accepted(station, "ETH", Side.SELL, 80.0))
    truth = await asyncio.to_thread(box.account, VENUE, station.gateway.account_id)
    lots = {p.symbol: p.lots * station.instrument(p.symbol).lot_size for p in await station.gateway.positions()}
    assert lots == {row["symbol"]: Decimal(row["qty"]) for row in truth["positions"].values()}
    fills = await station.gateway.fills_since(0)
    assert len(fills) == truth["fills"]
    assert sum((f.fee_usd for f in fills), Decimal(0)) == pytest.approx(Decimal(truth["fees_usd"]))
    balance = await station.gateway.balance()
    assert balance.equity_usd == pytest.approx(Decimal(truth["equity_usd"]), rel=Decimal("1e-4"))
    assert balance.free_margin_usd == pytest.approx(Decimal(truth["free_usd"]))
    assert (balance.maintenance_margin_usd, balance.margin_used_ratio) == (0, 0.0)


async def test_ioc_without_match_ends_expired_with_nothing_filled(station: Station) -> None:
    request = await accepted(station, "BTC", Side.BUY, 300.0, cross_bps=-50.0)
    order = await ended(station, request)
    assert (order.status, order.filled_lots, order.avg_px) == (OrderStatus.EXPIRED, 0, None)
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.EXPIRED, 0)


async def test_ioc_finding_half_its_size_ends_partly_filled(station: Station, box: SandboxProcess) -> None:
    await fault(box, "partial_fill", value=0.5)
    request = await accepted(station, "ETH", Side.BUY, 300.0)
    order = await ended(station, request)
    assert order.status is OrderStatus.EXPIRED
    assert 0 < order.filled_lots < request.lots
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == order.filled_lots)


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_post_only_rests_and_is_canceled(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        _, crossing = await station.place("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=20.0)
        assert isinstance(crossing, Rejected)
        assert crossing.code is RejectCode.POST_ONLY
        request = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
        await eventually(lambda: station.orders(request.client_order_id))
        (listed,) = await station.gateway.open_orders()
        assert (listed.client_order_id, listed.status) == (request.client_order_id, OrderStatus.ACCEPTED)
        assert isinstance(await station.cancel(request, listed.venue_order_id), Accepted)
        assert (await ended(station, request)).status is OrderStatus.CANCELED
        assert await station.gateway.open_orders() == []
        again = await station.cancel(request)  # by our own id
        assert isinstance(again, Rejected)
        assert again.code is RejectCode.UNKNOWN_ORDER


async def test_refusals_are_told_apart(station: Station) -> None:
    good = await station.request("BTC", Side.BUY, 300.0)
    replace = msgspec.structs.replace
    finer = replace(good.instrument, tick_size=Decimal("0.01"))
    cases = (
        (replace(good, lots=10**12), RejectCode.MARGIN),
        (replace(good, side=Side.SELL, lots=10**12), RejectCode.MARGIN),  # there is no short side
        (replace(good, lots=1), RejectCode.SIZE),
        (replace(good, instrument=finer, limit_ticks=good.limit_ticks * 10 + 4), RejectCode.TICK),
        (replace(good, instrument=replace(good.instrument, venue_symbol="NOPE/USD")), RejectCode.INSTRUMENT),
        (replace(good, expires_wire_ns=station.clock.wire_ns() - NS_PER_S), RejectCode.EXPIRED),
    )
    for request, code in cases:
        named = replace(request, client_order_id=station.client_order_id(), limit_ticks=request.limit_ticks + 1)
        outcome = await station.send(named)
        assert isinstance(outcome, Rejected), outcome
        assert outcome.code is code


async def test_an_id_of_an_open_order_is_refused(station: Station) -> None:
    request = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.GTC, cross_bps=-100.0)
    again = await station.send(request)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.DUPLICATE_ID
    await station.cancel(request)
    await ended(station, request)


@pytest.mark.parametrize(
    ("tif", "wire", "post"), [(TimeInForce.IOC, "ioc", False), (TimeInForce.POST_ONLY, "gtc", True)]
)
async def test_what_an_order_says_on_either_way(box: SandboxProcess, tif: TimeInForce, wire: str, post: bool) -> None:
    """Fees in quote, whatever the venue's default is; a deadline; digits as they are, never a binary fraction."""
    said: dict[str, dict[str, Any]] = {}
    for entry in ("ws", "rest"):
        async with Station(VENUE, box, order_entry=entry) as station:
            request = await station.request("PEPE", Side.BUY, tif=tif, lots=123_456_789_012)
            payload = station.gateway.prepare(request, 7).payload
            if entry == "ws":
                said[entry] = json.loads(payload, parse_float=Decimal)["params"]
            else:
                said[entry] = dict(parse_qsl(payload.decode()))
            due = datetime.fromisoformat(said[entry]["deadline"]).timestamp()
            assert abs(due - request.expires_wire_ns / 1e9) < 1.5
            px = request.instrument.ticks_to_px(request.limit_ticks)
            size, limit = ("order_qty", "limit_price") if entry == "ws" else ("volume", "price")
            assert (Decimal(said[entry][size]), Decimal(said[entry][limit])) == (Decimal("1234567.89012"), px)
            assert said[entry]["cl_ord_id"] == request.client_order_id
    assert said["ws"]["fee_preference"] == "quote"
    assert (said["ws"]["time_in_force"], said["ws"].get("post_only", False)) == (wire, post)
    assert said["rest"]["timeinforce"] == wire.upper()
    assert set(said["rest"]["oflags"].split(",")) == ({"fciq", "post"} if post else {"fciq"})
    assert said["rest"]["nonce"] == "7"


async def test_leverage_is_one_without_a_word(station: Station) -> None:
    instrument = station.instrument("SOL")
    assert await station.gateway.leverage(instrument) == 1
    await station.gateway.set_leverage(instrument, 1, 0)
    with pytest.raises(VenueError, match="spot has no leverage"):
        await station.gateway.set_leverage(instrument, 3, 0)


# ---- doubt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["silent", "broken"])
async def test_a_lost_answer_is_resolved_by_asking(box: SandboxProcess, way: str) -> None:
    async with Station(VENUE, box, request_timeout_ms=400.0) as station:
        request = await station.request("ETH", Side.BUY, 60.0)
        await fault(box, "lost_answer", way=way)
        outcome = await station.send(request)
        assert isinstance(outcome, Unknown)
        await eventually(lambda: station.gateway.entry_ready)
        found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)


async def test_never_sent_is_definitive_only_after_the_deadline(station: Station) -> None:
    request = await station.request("ETH", Side.BUY, ttl_ns=-60 * NS_PER_S)
    late = msgspec.structs.replace(request, client_order_id=station.client_order_id())
    fresh = await station.request("ETH", Side.BUY, ttl_ns=30 * NS_PER_S)
    for each in (late, fresh):
        station.gateway.prepare(each, station.gateway.nonces.next())  # signed, never sent
    assert await station.gateway.lookup(late.instrument, late.client_order_id) == NotFound(definitive=True)
    assert await station.gateway.lookup(fresh.instrument, fresh.client_order_id) == NotFound(definitive=False)
    stranger = station.client_order_id()
    assert await station.gateway.lookup(fresh.instrument, stranger) == NotFound(definitive=False)
    bound_ns = station.gateway.unknown_bound_ns(fresh)
    assert fresh.expires_wire_ns < bound_ns < fresh.expires_wire_ns + 10 * NS_PER_S


@pytest.mark.parametrize(
    ("kind", "values", "outcome", "code"),
    [
        ("rejected_nonce", {}, Rejected, RejectCode.NONCE),
        ("http_error", {"traffic": ["orders"], "times": 1}, Unknown, None),
        ("http_error", {"traffic": ["orders"], "times": 1, "value": 429}, Rejected, RejectCode.RATE),
        ("garbage", {"traffic": ["orders"], "times": 1, "way": "text"}, Unknown, None),
    ],
)
@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_faults_of_order_entry(
    box: SandboxProcess, entry: str, kind: str, values: dict[str, Any], outcome: type, code: RejectCode | None
) -> None:
    async with Station(VENUE, box, order_entry=entry, request_timeout_ms=600.0) as station:
        request = await station.request("ETH", Side.BUY, 60.0)
        await fault(box, kind, **values)
        told = await station.send(request)
        assert isinstance(told, outcome), told
        if isinstance(told, Rejected):
            assert told.code is code
    await asyncio.to_thread(box.control, "clear", {})


async def test_a_token_that_ran_out_brings_a_new_one(station: Station, box: SandboxProcess) -> None:
    request = await station.request("ETH", Side.BUY, 60.0)
    await fault(box, "expired_auth", traffic=["orders"], times=1)
    refused = await station.send(request)
    assert isinstance(refused, Rejected)
    assert refused.code is RejectCode.AUTH
    await eventually(lambda: len(station.ups) == 2)
    await accepted(station, "ETH", Side.BUY, 60.0)


async def test_tokens_are_renewed_before_they_run_out(box: SandboxProcess) -> None:
    async with Station(VENUE, box, auth_ttl_s=60.0) as station:
        gateway: Any = station.gateway
        gateway._token_s = 0.05
        task = asyncio.ensure_future(gateway._renew_token())
        first = gateway._token
        await eventually(lambda: gateway._token != first)
        task.cancel()
        await accepted(station, "ETH", Side.BUY, 60.0)


# ---- the private stream -------------------------------------------------------------------------------------------------


async def test_fills_of_a_gap_are_found(station: Station, box: SandboxProcess) -> None:
    await fault(box, "disconnect", traffic=["private"])
    await eventually(lambda: station.downs)
    async with Station(VENUE, box, order_entry="rest") as other:
        elsewhere, outcome = await other.place("ETH", Side.BUY, 60.0)
        assert isinstance(outcome, Accepted)
        await ended(other, elsewhere)
    await eventually(lambda: len(station.ups) == 2, 15.0)
    since_ns = station.ups[1].since_wire_ns
    assert 0 < since_ns < elsewhere.expires_wire_ns
    found = [f for f in await station.gateway.fills_since(since_ns) if f.client_order_id == elsewhere.client_order_id]
    assert sum(f.lots for f in found) == elsewhere.lots


async def test_a_lost_private_frame_is_noticed_by_its_number(station: Station, box: SandboxProcess) -> None:
    await fault(box, "stall", traffic=["private"], times=1)
    await station.place("ETH", Side.BUY, 60.0)
    await eventually(lambda: len(station.ups) == 2, 15.0)
    assert any("lost" in down.reason for down in station.downs)


async def test_frames_twice_change_nothing(station: Station, box: SandboxProcess) -> None:
    await fault(box, "duplicate", traffic=["private"], for_s=30.0)
    request = await accepted(station, "ETH", Side.BUY, 60.0)
    await ended(station, request)
    await asyncio.to_thread(box.control, "clear", {})
    assert sum(f.lots for f in station.fills(request.client_order_id)) == request.lots
    assert station.downs == []


async def test_orders_of_nobody_here_are_foreign(station: Station, box: SandboxProcess) -> None:
    async with Station(VENUE, box) as other:
        request = await other.request("ETH", Side.BUY, 60.0)
        foreign = msgspec.structs.replace(request, client_order_id="a-hand-made-1")
        assert parse_client_order_id(foreign.client_order_id) is None
        assert isinstance(await other.send(foreign), Accepted)
    await eventually(lambda: station.fills(None))
    assert station.fills(None)[-1].client_order_id is None
    strangers = [f for f in await station.gateway.fills_since(0) if f.client_order_id is None]
    assert strangers


async def test_trades_of_orders_from_before_are_asked_for(box: SandboxProcess) -> None:
    """A resting order of an earlier process fills: its trade row does not say whose it is."""
    async with Station(VENUE, box) as first:
        resting = await accepted(first, "PAXG", Side.BUY, 60.0, tif=TimeInForce.GTC, cross_bps=-40.0)
    async with Station(VENUE, box) as second:
        gateway: Any = second.gateway
        gateway._memory._clients.clear()
        await asyncio.to_thread(box.control, "basis", {"venue": VENUE, "symbol": "PAXG", "bps": -300.0})
        await eventually(lambda: second.fills(resting.client_order_id), 15.0)
        assert second.fills(None) == []
        assert (await ended(second, resting)).status is OrderStatus.FILLED


# ---- the account's switch -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_the_switch_is_armed_and_disarmed(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry) as station:
        request = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.GTC, cross_bps=-100.0)
        gateway: Any = station.gateway
        await gateway.arm_dead_man([request.instrument])
        if entry == "rest":
            await gateway.disarm_dead_man([request.instrument])
            await station.cancel(request)
            return
        await gateway._set_switch(1)
        assert (await ended(station, request)).status is OrderStatus.CANCELED
        kept = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.GTC, cross_bps=-100.0)
        await gateway._set_switch(1)
        await gateway.disarm_dead_man([kept.instrument])
        await asyncio.sleep(1.3)
        assert [o.client_order_id for o in await gateway.open_orders()] == [kept.client_order_id]
        await station.cancel(kept)
        await ended(station, kept)


async def test_a_switch_that_is_not_set_is_an_error(station: Station, box: SandboxProcess) -> None:
    await fault(box, "http_error", traffic=["orders"], times=1)
    with pytest.raises(VenueError, match="switch was not set"):
        await station.gateway.arm_dead_man([])


# ---- budgets, clock -------------------------------------------------------------------------------------------------------


async def test_a_skewed_clock_sends_nothing(station: Station, box: SandboxProcess) -> None:
    request = await station.request("ETH", Side.BUY, 60.0)
    await fault(box, "clock_skew", value=30.0)
    gateway: Any = station.gateway
    for _ in range(2):
        gateway._lane.send(b'{"method":"ping","req_id":1}')
    await eventually(lambda: gateway._skew.refusal)
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent)
    assert "clock" in outcome.detail
    await asyncio.to_thread(box.control, "clear", {})


async def test_reads_say_what_refused_them(station: Station, box: SandboxProcess) -> None:
    await fault(box, "rejected_nonce", traffic=["reads"], times=1)
    assert await station.gateway.open_orders() == []  # asked once more
    await fault(box, "rejected_nonce", traffic=["reads"], times=2)
    with pytest.raises(VenueError, match="Invalid nonce"):
        await station.gateway.open_orders()
    await fault(box, "http_error", traffic=["reads"], times=1)
    with pytest.raises(VenueError, match="503"):
        await station.gateway.balance()
    await fault(box, "http_error", traffic=["reads"], times=1, value=429)
    with pytest.raises(RateLimited):
        await station.gateway.open_orders()


# ---- secrets --------------------------------------------------------------------------------------------------------------


async def test_a_wrong_secret_is_refused_and_stays_hidden(box: SandboxProcess) -> None:
    canary = base64.b64encode(b"\xc0\xff\xee\x5a" * 16).decode()
    path = box.loaded.secrets_file
    original = path.read_text()
    path.write_text(re.sub(r"(?m)^KRAKEN_API_SECRET=.*$", f"KRAKEN_API_SECRET={canary}", original))
    try:
        station = Station(VENUE, box)
    finally:
        path.write_text(original)
    with pytest.raises(VenueError, match="Invalid signature") as caught:
        await station.gateway.start(station.events.append)
    request = OrderRequest(
        client_order_id=station.client_order_id(), instrument=_REHEARSAL.instrument, side=Side.BUY, lots=1, limit_ticks=1,
        time_in_force=TimeInForce.IOC, reduce_only=False, expires_wire_ns=station.clock.wire_ns(),
    )  # fmt: skip
    prepared = station.gateway.prepare(request, 1)
    shown = [repr(caught.value), caught.getrepr(style="long"), repr(prepared), *everything(station)]
    assert not [text for text in shown if canary in str(text) or canary[:20] in str(text)]


async def test_the_token_is_in_no_line_and_no_outcome(station: Station, box: SandboxProcess) -> None:
    gateway: Any = station.gateway
    token = gateway._token
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=-50.0)
    await fault(box, "garbage", traffic=["orders"], times=1)
    _, spoilt = await station.place("ETH", Side.BUY, 60.0, cross_bps=-50.0)
    assert len(token) > 20
    assert token not in repr([outcome, spoilt, *station.events, *station.out.lines])
