"""The Lighter gateway against the real sandbox process: acceptance first, verdicts by the private channels."""

from __future__ import annotations

import asyncio
import json
import pathlib
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.errors import NotSent, RateLimited, VenueError
from core.ids import parse_client_order_id
from core.settings import NonceMode
from core.types import LiquiditySide, OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, RejectCode, Rejected, Unsent
from executor.venues.base import NotFound, OrderRequest, PositionSeen, VenueOrder
from tests.executor.local_servers import free_port
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE = "lighter"
PREMIUM: dict[str, Any] = {"requests_per_min": 4000}
STANDARD: dict[str, Any] = {"requests_per_min": 60, "reconcile_interval_s": 20.0}
CANARY = "c0ffee5a" * 10


@pytest.fixture
def box(tmp_path: pathlib.Path) -> Iterator[SandboxProcess]:
    """A fresh one per test: the venue weighs reads per minute."""
    with sandbox(tmp_path) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box, **PREMIUM) as ready:
        yield ready


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    """How the stream says that an order ended."""
    name = request.client_order_id
    await eventually(lambda: [o for o in station.orders(name) if o.status.is_final])
    order: VenueOrder = station.orders(name)[-1]
    return order


async def accepted(station: Station, symbol: str, side: Side, usd: float = 100.0, **options: Any) -> OrderRequest:
    request, outcome = await station.place(symbol, side, usd, **options)
    assert outcome == Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
    return request


def fault(box: SandboxProcess, kind: str, **values: Any) -> Any:
    return asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": kind, **values})


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    assert gateway.instruments()["PEPE"].multiplier == 1000
    assert list(gateway.instruments())[:2] == ["BTC", "ETH"] or set(list(gateway.instruments())[:6]) >= {"BTC", "ETH"}
    assert gateway.fees.taker == 0.0
    assert abs(gateway.clock_offset_ns) < 500 * NS_PER_MS
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert 0.5 < gateway.rate_budget_ratio <= 1.0
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.signer_id == f"{gateway.account_id}:{gateway.signer_id.partition(':')[2]}"


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_ioc_fills_and_every_source_agrees(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry, **PREMIUM) as station:
        request = await accepted(station, "BTC", Side.BUY, 300.0)
        order = await ended(station, request)
        assert (order.status, order.filled_lots, order.side) == (OrderStatus.FILLED, request.lots, Side.BUY)
        await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == request.lots)
        fill = station.fills(request.client_order_id)[0]
        assert fill.venue_order_id == order.venue_order_id
        assert int(order.venue_order_id) > 1 << 53
        assert (fill.liquidity, fill.side, fill.fee_usd) == (LiquiditySide.TAKER, Side.BUY, 0)
        await eventually(
            lambda: any(isinstance(e, PositionSeen) and e.position.lots == request.lots for e in station.events)
        )
        read = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
        assert {f.trade_id for f in read} == {f.trade_id for f in station.fills(request.client_order_id)}
        (position,) = await station.gateway.positions()
        assert (position.symbol, position.lots) == ("BTC", request.lots)
        assert order.avg_px is not None
        assert position.avg_entry_px == pytest.approx(order.avg_px, rel=Decimal("1e-6"))
        assert position.mark_px == pytest.approx(order.avg_px, rel=Decimal("1e-2"))
        found = await station.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)


async def test_ioc_without_match_ends_expired_with_nothing_filled(station: Station) -> None:
    request = await accepted(station, "BTC", Side.BUY, 300.0, cross_bps=-50.0)
    order = await ended(station, request)
    assert (order.status, order.filled_lots, order.avg_px) == (OrderStatus.EXPIRED, 0, None)
    assert await station.gateway.positions() == []


async def test_ioc_finding_half_its_size_ends_partly_filled(station: Station, box: SandboxProcess) -> None:
    await fault(box, "partial_fill", value=0.5)
    request = await accepted(station, "ETH", Side.BUY, 300.0)
    order = await ended(station, request)
    assert order.status is OrderStatus.EXPIRED
    assert 0 < order.filled_lots < request.lots
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == order.filled_lots)


async def test_post_only_resting_and_cancel(station: Station) -> None:
    crossing = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=20.0)
    assert (await ended(station, crossing)).status is OrderStatus.CANCELED
    request = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
    await eventually(lambda: station.orders(request.client_order_id))
    (listed,) = await station.gateway.open_orders()
    assert (listed.client_order_id, listed.status) == (request.client_order_id, OrderStatus.ACCEPTED)
    canceled = await station.cancel(request, listed.venue_order_id)
    assert isinstance(canceled, Accepted)
    assert canceled.status is OrderStatus.ACCEPTED
    assert (await ended(station, request)).status is OrderStatus.CANCELED
    assert await station.gateway.open_orders() == []
    again = await station.cancel(request)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.UNKNOWN_ORDER
    assert station.gateway.may_send(priority=False)  # that was no refusal to pause for


async def test_cancel_by_client_index_right_behind_the_order(station: Station) -> None:
    request = await station.request("SOL", Side.SELL, tif=TimeInForce.GTC, cross_bps=-100.0)
    placed = station.gateway.submit(station.gateway.prepare(request, station.gateway.nonces.next()))
    canceled = asyncio.ensure_future(station.cancel(request))
    assert isinstance(await placed, Accepted)
    assert isinstance(await canceled, Accepted)
    assert (await ended(station, request)).status is OrderStatus.CANCELED


async def test_reduce_only_never_flips_and_alone_leaves_no_order(station: Station) -> None:
    alone = await accepted(station, "ETH", Side.SELL, reduce_only=True)
    order = await ended(station, alone)  # told by account_tx: no order ever was
    assert (order.status, order.venue_order_id, order.filled_lots) == (OrderStatus.CANCELED, "", 0)
    opened = await accepted(station, "ETH", Side.BUY, 60.0)
    await ended(station, opened)
    closing = await accepted(station, "ETH", Side.SELL, lots=opened.lots * 3, reduce_only=True, cross_bps=50.0)
    assert (await ended(station, closing)).filled_lots == opened.lots
    assert await station.gateway.positions() == []


async def test_refusals(station: Station) -> None:
    price = await station.request("BTC", Side.BUY, 300.0)
    far = msgspec.structs.replace(price, limit_ticks=price.limit_ticks * 3)
    assert isinstance(await station.send(far), Accepted)  # refused by the sequencer, not by the API
    assert (await ended(station, far)).status is OrderStatus.CANCELED
    tiny = await station.request("ETH", Side.BUY, lots=1, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
    refused = await station.send(tiny)
    assert isinstance(refused, Rejected)
    assert refused.code is RejectCode.MIN_NOTIONAL
    assert not station.gateway.may_send(priority=False)
    assert station.gateway.may_send(priority=True)
    twice = await station.send(price)
    assert isinstance(twice, Accepted)
    again = await station.send(price)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.DUPLICATE_ID
    with pytest.raises(NotSent, match="not a client order id"):
        station.gateway.prepare(msgspec.structs.replace(price, client_order_id="x y"), station.gateway.nonces.next())


async def test_orders_of_an_earlier_process_are_told_by_the_journal(station: Station, box: SandboxProcess) -> None:
    request = await accepted(station, "ETH", Side.BUY)
    await ended(station, request)
    resting = await accepted(station, "SOL", Side.BUY, tif=TimeInForce.GTC, cross_bps=-100.0)
    await eventually(lambda: station.orders(resting.client_order_id))
    later = Station(VENUE, box, **PREMIUM)
    later.gateway = type(station.gateway)(  # type: ignore[call-arg]
        msgspec.structs.replace(
            later.equipment, epoch=2, recorded=lambda: {request.client_order_id: SystemClock().wire_ns()}
        )
    )
    async with later:
        assert request.client_order_id in {f.client_order_id for f in await later.gateway.fills_since(0)}
        found = await later.gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert found.status is OrderStatus.FILLED
        (listed,) = await later.gateway.open_orders()  # the journal lost it: ours by its index, its strategy unknown
        assert listed.client_order_id is not None
        mine, told = (parse_client_order_id(name) for name in (resting.client_order_id, listed.client_order_id))
        assert mine is not None
        assert told == mine._replace(strategy=0)
        assert isinstance(
            await later.cancel(msgspec.structs.replace(resting, client_order_id=listed.client_order_id)), Accepted
        )
        assert (await ended(station, resting)).status is OrderStatus.CANCELED


async def test_a_used_nonce_is_refused_and_a_restart_goes_on_above_it(station: Station, box: SandboxProcess) -> None:
    nonce = station.gateway.nonces.next()
    first = await station.gateway.submit(station.gateway.prepare(await station.request("ETH", Side.BUY), nonce))
    assert isinstance(first, Accepted)
    second = await station.gateway.submit(station.gateway.prepare(await station.request("ETH", Side.BUY), nonce))
    assert isinstance(second, Rejected)
    assert second.code is RejectCode.NONCE
    async with Station(VENUE, box, **PREMIUM) as later:
        await ended(later, await accepted(later, "ETH", Side.BUY))


@pytest.mark.parametrize("mode", [NonceMode.OPTIMISTIC, NonceMode.API])
async def test_strict_nonces(box: SandboxProcess, mode: NonceMode) -> None:
    async with Station(VENUE, box, nonce_mode=mode, **PREMIUM) as station:
        gateway: Any = station.gateway
        first, second = await station.request("ETH", Side.BUY), await station.request("BTC", Side.BUY, 300.0)
        pending = [gateway.submit(gateway.prepare(each, gateway.nonces.next())) for each in (first, second)]
        assert [type(await each) for each in pending] == [Accepted, Accepted]
        await ended(station, second)
        await eventually(lambda: gateway.entry_ready)
        tiny = await station.request("ETH", Side.BUY, lots=1, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
        assert isinstance(await station.send(tiny), Rejected)  # keeps its number, which is then given again
        await eventually(lambda: gateway.entry_ready)
        await ended(station, await accepted(station, "ETH", Side.BUY))
        await eventually(lambda: gateway.entry_ready)
        await fault(box, "rejected_nonce")
        refused = await station.send(await station.request("ETH", Side.BUY))
        assert isinstance(refused, Rejected)
        assert refused.code is RejectCode.NONCE
        with pytest.raises(NotSent, match="nonce is being read"):
            gateway.prepare(first, gateway.nonces.next())
        assert not gateway.entry_ready
        await eventually(lambda: gateway.entry_ready)
        await ended(station, await accepted(station, "ETH", Side.BUY))
        async with Station(VENUE, box, nonce_mode=mode, **PREMIUM) as later:
            await ended(later, await accepted(later, "ETH", Side.BUY))


@pytest.mark.parametrize("mode", [NonceMode.SKIP, NonceMode.OPTIMISTIC])
async def test_an_order_that_never_arrived_is_ruled_out_by_the_next_nonce(box: SandboxProcess, mode: NonceMode) -> None:
    async with Station(VENUE, box, nonce_mode=mode, verify_delay_s=0.3, **PREMIUM) as station:
        gateway: Any = station.gateway
        await ended(station, await accepted(station, "BTC", Side.BUY, 300.0))
        request = await station.request("ETH", Side.BUY)
        nonce = gateway.nonces.next()
        prepared = gateway.prepare(request, nonce)
        await prepared.signature
        gateway._entry._settle_nonce(nonce, None)  # as after a lost answer; the bytes never left
        absent = await gateway.lookup(request.instrument, request.client_order_id)
        assert absent == NotFound(definitive=False)
        burn = gateway.burn_nonce(nonce)
        assert await burn is True
        assert await gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=True)
        if mode is NonceMode.SKIP:
            late = gateway.submit(prepared)  # it arrives after all: too late
            outcome = await late
            assert isinstance(outcome, Rejected)
            assert outcome.code is RejectCode.NONCE
        assert [p.symbol for p in await gateway.positions()] == ["BTC"]


async def test_a_burn_proves_nothing_about_an_order_that_got_in(station: Station) -> None:
    request = await station.request("ETH", Side.BUY)
    nonce = station.gateway.nonces.next()
    assert isinstance(await station.gateway.submit(station.gateway.prepare(request, nonce)), Accepted)
    burn = station.gateway.burn_nonce(nonce)
    assert burn is not None
    assert await burn is False


async def test_absence_of_a_former_process_needs_its_age(box: SandboxProcess) -> None:
    """Spent nonces prove nothing about orders older than what the venue lists."""
    day_ns = 24 * 3600 * NS_PER_S
    async with Station(VENUE, box, verify_delay_s=0.1, **PREMIUM) as station:
        gateway: Any = station.gateway
        young, old = station.client_order_id(), station.client_order_id()
        now_ns = SystemClock().wire_ns()
        gateway._index._prepared_ns |= {young: now_ns, old: now_ns - day_ns}
        instrument = station.instrument("BTC")
        assert await gateway.lookup(instrument, young) == NotFound(definitive=False)
        await ended(station, await accepted(station, "BTC", Side.BUY, 300.0))
        assert await gateway.lookup(instrument, young) == NotFound(definitive=True)
        assert await gateway.lookup(instrument, old) == NotFound(definitive=False)


async def test_bound_of_doubt_lies_beyond_the_stamped_expiry(station: Station) -> None:
    request = await station.request("BTC", Side.BUY, ttl_ns=599 * NS_PER_S)
    prepared = station.gateway.prepare(request, station.gateway.nonces.next())
    assert prepared.signature is not None
    stamped_ms = json.loads((await prepared.signature).info)["ExpiredAt"]
    assert station.gateway.unknown_bound_ns(request) > stamped_ms * NS_PER_MS + 2 * NS_PER_S


async def test_an_accepted_order_that_nobody_reports_is_looked_up(box: SandboxProcess) -> None:
    async with Station(VENUE, box, verify_delay_s=0.3, **PREMIUM) as station:
        await fault(box, "stall", traffic=["private"])
        request = await accepted(station, "ETH", Side.BUY)
        assert (await ended(station, request)).status is OrderStatus.FILLED
        assert station.fills(request.client_order_id) == []
        alone = await accepted(station, "BTC", Side.SELL, 300.0, reduce_only=True)
        assert (await ended(station, alone)).status is OrderStatus.CANCELED


async def test_a_lost_answer_beside_a_silent_stream_hides_nothing_for_long(box: SandboxProcess) -> None:
    """The look-ups count from the sending: the end of the order is known long before the request is given up."""
    async with Station(VENUE, box, verify_delay_s=0.3, **PREMIUM) as station:
        await fault(box, "stall", traffic=["private"])
        await fault(box, "lost_answer", traffic=["orders"], way="silent", times=1)
        request = await station.request("ETH", Side.BUY)
        outcome = station.gateway.submit(station.gateway.prepare(request, station.gateway.nonces.next()))
        assert (await ended(station, request)).status is OrderStatus.FILLED
        assert not outcome.done(), "its answer is still being waited for"
        outcome.cancel()


async def test_what_was_refused_is_not_looked_up(station: Station) -> None:
    gateway: Any = station.gateway
    request = await station.request("ETH", Side.BUY, lots=1, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
    assert isinstance(await station.send(request), Rejected)
    await eventually(lambda: not gateway._verifier._cases)
    assert station.orders(request.client_order_id) == []


async def test_expired_tokens_are_made_anew(station: Station, box: SandboxProcess) -> None:
    await fault(box, "expired_auth", traffic=["private"], times=1)
    await eventually(lambda: len(station.ups) == 2)
    assert await station.gateway.open_orders() == []
    await fault(box, "expired_auth", traffic=["reads"], times=1)
    assert await station.gateway.open_orders() == []
    gateway: Any = station.gateway
    broken = gateway._tokens._token = f"{gateway._tokens._token[:-4]}0000"
    assert await station.gateway.open_orders() == []
    assert gateway._tokens._token != broken
    await ended(station, await accepted(station, "ETH", Side.BUY))


async def test_a_token_is_renewed_before_its_end(station: Station) -> None:
    gateway: Any = station.gateway
    tokens = gateway._tokens
    first = await tokens.token()
    assert await tokens.token() == first
    tokens._deadline_s = SystemClock().wire_ns() // NS_PER_S + 60
    second = await tokens.token()
    assert second != first
    assert tokens._deadline_s >= SystemClock().wire_ns() // NS_PER_S + 590


async def test_a_planned_close_sends_by_rest_and_reconnects(station: Station) -> None:
    gateway: Any = station.gateway
    gateway._socket._on_frame(b'{"type":"shutdown","close_in_ms":1000}')
    assert not gateway._socket.takes_orders
    assert gateway.entry_ready
    await ended(station, await accepted(station, "ETH", Side.BUY))
    await eventually(lambda: len(station.ups) == 2 and gateway._socket.takes_orders)


async def test_connection_refused_is_unsent_and_start_raises(box: SandboxProcess) -> None:
    port = free_port()
    station = Station(
        VENUE, box, rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}/stream", **PREMIUM
    )
    with pytest.raises(NotSent):
        await station.gateway.start(station.events.append)
    assert not station.gateway.entry_ready
    async with Station(VENUE, box, **PREMIUM) as warm:
        request = await warm.request("BTC", Side.BUY)
    with pytest.raises(NotSent, match="not started"):
        await station.send(request)
    gateway: Any = station.gateway
    await gateway._signer.start()
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent), outcome
    await station.gateway.close()


async def readable(station: Station) -> None:
    """Reads have a lane of their own, which may be a second behind the socket in trying again."""
    for _ in range(100):
        try:
            await station.gateway.positions()
        except VenueError:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("reads do not work again")


async def test_nothing_is_signed_with_a_wrong_clock(station: Station) -> None:
    gateway: Any = station.gateway
    request = await station.request("ETH", Side.BUY)
    gateway._skew._judge(10 * NS_PER_S)
    with pytest.raises(NotSent, match="clock"):
        station.gateway.prepare(request, station.gateway.nonces.next())


async def test_the_standard_budget_is_kept(tmp_path: pathlib.Path) -> None:
    """The venue's own count never refuses us: reads and orders draw on one bucket, and the reserve is for priority."""
    with sandbox(tmp_path, tier="standard") as box:
        async with Station(VENUE, box, **STANDARD) as station:
            gateway: Any = station.gateway
            request = await station.request("ETH", Side.BUY)
            while station.gateway.may_send(priority=False):
                await gateway.funding_since(0)
            with pytest.raises(VenueError, match="budget"):
                await gateway.set_leverage(request.instrument, 5, gateway.nonces.next())
            assert not station.gateway.may_send(priority=False)
            assert isinstance(await station.send(request), Accepted)
            await ended(station, request)
            assert 10 < await until_limited(gateway, "open_orders") < 18
            assert isinstance(
                await station.send(msgspec.structs.replace(request, client_order_id=station.client_order_id())), Unsent
            )
            assert not [line for line in station.out.lines if "429" in str(line)]
        again = Station(VENUE, box, **STANDARD)
        later = type(again.gateway)(msgspec.structs.replace(again.equipment, state_dir=tmp_path))  # type: ignore[call-arg]
        spent: Any = later
        assert spent._budget.transactions.take()
        for _ in range(3):  # a process that starts again and again knows what the ones before have spent
            spent = type(again.gateway)(msgspec.structs.replace(again.equipment, state_dir=tmp_path))  # type: ignore[call-arg]
            left = round(spent._budget.ratio * 60)
            assert spent._budget.transactions.take(priority=True)
            assert 57 <= left <= 59
        assert (left, round(spent._budget.ratio * 60)) == (57, 56)


async def until_limited(gateway: Any, read: str, *arguments: Any) -> int:
    """How often a read is admitted before our own budget says no."""
    for count in range(100):
        try:
            await getattr(gateway, read)(*arguments)
        except RateLimited:
            return count
    raise AssertionError("never limited")


async def test_a_wrong_key_is_told_at_start_and_stays_hidden(box: SandboxProcess) -> None:
    path = box.loaded.secrets_file
    path.write_text(re.sub(r"(?m)^LIGHTER_PRIVATE_KEY=.*$", f"LIGHTER_PRIVATE_KEY={CANARY}", path.read_text()))
    station = Station(VENUE, box, **PREMIUM)
    with pytest.raises(VenueError) as caught:
        await station.gateway.start(station.events.append)
    gateway: Any = station.gateway
    parts = [gateway, *vars(gateway).values()]
    shown = [repr(each) for each in parts] + [repr(vars(each)) for each in parts[1:] if hasattr(each, "__dict__")]
    hidden = [each for each in shown if "Log object" not in each and CANARY in each and "_secrets" not in each]
    assert not hidden
    assert CANARY not in f"{caught.value!r} {station.out.lines}"
