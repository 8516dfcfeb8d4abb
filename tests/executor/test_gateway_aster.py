"""The Aster gateway against the real sandbox process."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.errors import NotSent, VenueError
from core.types import OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, RejectCode, Rejected, Unsent
from executor.venues import _aster_reads
from executor.venues.base import NotFound, VenueOrder
from tests.executor.local_servers import free_port
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE = "aster"


@pytest.fixture
def box(tmp_path: pathlib.Path) -> Iterator[SandboxProcess]:
    """A fresh one per test: the venue counts request weight per IP and minute, and all tests are one IP."""
    with sandbox(tmp_path) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box) as ready:
        await ready.flat()
        yield ready
        await ready.flat()


async def test_an_order_that_an_earlier_process_never_sent_is_burned_by_the_next(box: SandboxProcess) -> None:
    """Journaled, then killed before the wire: without the journal's word the nonce window of a minute would have to pass."""
    async with Station(VENUE, box) as former:
        request = await former.request("ETH", Side.BUY, 100.0)
        nonce = former.gateway.nonces.next()
        prepared = former.gateway.prepare(request, nonce)
    async with Station(VENUE, box) as station:
        assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=False)
        burn = station.gateway.burn_nonce(nonce)
        assert burn is not None
        assert not await burn, "it does not know which order that was"
        station.gateway.recall(request, nonce, SystemClock().wire_ns())
        burn = station.gateway.burn_nonce(nonce)
        assert burn is not None
        assert await burn
        late = await station.gateway.submit(prepared)
        assert isinstance(late, Rejected)
        assert late.code is RejectCode.NONCE
        assert await station.gateway.positions() == []


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    assert gateway.instruments()["PEPE"].venue_symbol == "1000PEPEUSDT"
    assert gateway.instruments()["PEPE"].multiplier == 1000
    assert gateway.instruments()["BTC"].max_leverage > 1
    assert gateway.fees.taker > gateway.fees.maker > 0
    assert abs(gateway.clock_offset_ns) < 500 * NS_PER_MS
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert 0.5 < gateway.rate_budget_ratio <= 1.0
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.signer_id != gateway.account_id


async def test_fills_of_an_earlier_process_are_told_by_order_id(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place("ETH", Side.BUY, 100.0)
    assert isinstance(outcome, Accepted)
    async with Station(VENUE, box) as later:
        read = {f.client_order_id: f for f in await later.gateway.fills_since(0)}
        assert read[request.client_order_id].venue_order_id == outcome.venue_order_id
        gateway: Any = later.gateway
        assert gateway._memory.sent(request.client_order_id) is None


async def test_ioc_without_match_ends_expired_with_nothing_filled(station: Station) -> None:
    request, outcome = await station.place("BTC", Side.BUY, 300.0, cross_bps=-50.0)
    assert isinstance(outcome, Accepted)
    assert (outcome.status, outcome.filled_lots, outcome.avg_px) == (OrderStatus.EXPIRED, 0, None)
    assert await station.gateway.positions() == []
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.EXPIRED, 0)


async def test_ioc_larger_than_the_book_ends_partly_filled(station: Station) -> None:
    for _ in range(30):  # the touch may move away between reading it and arriving
        request, outcome = await station.place("PAXG", Side.BUY, 8000.0, cross_bps=0.5)
        if isinstance(outcome, Accepted) and outcome.status is OrderStatus.EXPIRED and outcome.filled_lots:
            break
        await station.flat()
    assert isinstance(outcome, Accepted), outcome
    assert outcome.status is OrderStatus.EXPIRED
    assert 0 < outcome.filled_lots < request.lots
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == outcome.filled_lots)
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.EXPIRED, outcome.filled_lots)


async def test_post_only(station: Station) -> None:
    _, crossing = await station.place("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=20.0)
    assert isinstance(crossing, Rejected)
    assert crossing.code is RejectCode.POST_ONLY
    request, resting = await station.place("SOL", Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-100.0)
    assert isinstance(resting, Accepted)
    assert resting.status is OrderStatus.ACCEPTED
    listed = await station.gateway.open_orders()
    assert [(o.client_order_id, o.venue_order_id) for o in listed] == [
        (request.client_order_id, resting.venue_order_id)
    ]
    canceled = await station.cancel(request, resting.venue_order_id)
    assert isinstance(canceled, Accepted)
    assert canceled.status is OrderStatus.CANCELED
    assert await station.gateway.open_orders() == []
    again = await station.cancel(request)
    assert isinstance(again, Rejected)
    assert again.code is RejectCode.UNKNOWN_ORDER
    await eventually(lambda: [o.status for o in station.orders(request.client_order_id)][-1:] == [OrderStatus.CANCELED])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lots": 10**6}, RejectCode.MARGIN),
        ({"limit_ticks": 10_000_000}, RejectCode.PRICE_BAND),
        ({"client_order_id": "x y"}, RejectCode.OTHER),
    ],
)
async def test_refusals_of_an_order(station: Station, change: dict[str, Any], code: RejectCode) -> None:
    request = msgspec.structs.replace(await station.request("BTC", Side.BUY, 300.0), **change)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code in (code, RejectCode.LEVERAGE if code is RejectCode.MARGIN else code)


async def test_min_notional(station: Station) -> None:
    outcome = await station.send(await station.request("PEPE", Side.BUY, lots=1))
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.MIN_NOTIONAL


async def test_isolated_margin_is_turned_to_cross_before_leverage(station: Station) -> None:
    gateway: Any = station.gateway
    instrument = station.instrument("HYPE")
    await gateway._reads.act(
        "POST", "/fapi/v3/marginType", (("symbol", instrument.venue_symbol), ("marginType", "ISOLATED"))
    )
    assert (await gateway._reads.leverage(instrument)).marginType == "isolated"
    await gateway.set_leverage(instrument, 3, gateway.nonces.next())
    row = await gateway._reads.leverage(instrument)
    assert (row.marginType, row.leverage) == ("cross", 3)


async def test_hedge_mode_is_refused_at_start(box: SandboxProcess) -> None:
    async with Station(VENUE, box) as station:
        gateway: Any = station.gateway
        await gateway._reads.act("POST", "/fapi/v3/positionSide/dual", (("dualSidePosition", "true"),))
        other = Station(VENUE, box)
        with pytest.raises(VenueError, match="hedge mode"):
            await other.gateway.start(other.events.append)
        await gateway._reads.act("POST", "/fapi/v3/positionSide/dual", (("dualSidePosition", "false"),))


async def test_absence_is_definitive_once_the_nonce_window_is_over(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await station.request("BTC", Side.BUY, 300.0)
    station.gateway.prepare(request, station.gateway.nonces.next())
    assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=False)
    monkeypatch.setattr(_aster_reads, "NONCE_WINDOW_NS", -10 * NS_PER_S)
    assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=True)
    assert await station.gateway.lookup(request.instrument, "7a6d" + "0" * 28) == NotFound(definitive=False)


async def test_orders_and_reads_carry_old_nonces_alike(station: Station) -> None:
    gateway: Any = station.gateway
    now_us = SystemClock().wire_ns() // 1000
    request = await station.request("BTC", Side.BUY, 300.0)
    order = gateway.prepare(request, gateway.nonces.next()).payload
    for signed in (order, gateway._reads._sign(())):
        ((nonce,),) = [value for name, value in parse_qs(signed.decode()).items() if name == "nonce"]
        assert int(nonce) == pytest.approx(now_us - 45_000_000, abs=2_000_000)


async def test_where_old_nonces_are_refused_they_are_fresh_and_doubt_lasts_as_long(
    box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_aster_reads, "NONCE_AGE_US", 70_000_000)
    async with Station(VENUE, box) as station:
        assert station.out.has("nonces_fresh")
        request, outcome = await station.place("BTC", Side.BUY, 300.0)
        assert isinstance(outcome, Accepted)
        assert station.gateway.unknown_bound_ns(request) > SystemClock().wire_ns() + 55 * NS_PER_S
        former = msgspec.structs.replace(request, client_order_id="7a6d" + "2" * 28)
        station.gateway.recall(former, station.gateway.nonces.next(), SystemClock().wire_ns())
        burn = station.gateway.burn_nonce(station.gateway.nonces.next())
        assert burn is not None
        assert not await burn, "nobody knows what an earlier process put on the wire"
        await station.flat()


async def test_bound_of_doubt_is_the_nonce_window(station: Station) -> None:
    request = await station.request("BTC", Side.BUY, ttl_ns=60 * NS_PER_S)
    nonce = station.gateway.nonces.next()
    station.gateway.prepare(request, nonce)
    bound_ns = station.gateway.unknown_bound_ns(request) - nonce * 1000
    assert bound_ns == pytest.approx(17 * NS_PER_S, abs=NS_PER_S), "of the window's minute 45 s were over when it left"
    stranger = msgspec.structs.replace(request, client_order_id="7a6d" + "1" * 28)
    assert station.gateway.unknown_bound_ns(stranger) == request.expires_wire_ns + 10 * NS_PER_S


async def test_noop_kills_an_order_in_flight_and_proves_nothing_after_it(station: Station) -> None:
    request = await station.request("ETH", Side.BUY)
    nonce = station.gateway.nonces.next()
    order = station.gateway.submit(station.gateway.prepare(request, nonce))
    burn = station.gateway.burn_nonce(nonce)
    assert burn is not None
    outcome = await order
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.NONCE
    assert await burn is True
    assert await station.gateway.positions() == []
    other = await station.request("ETH", Side.BUY)
    done = station.gateway.nonces.next()
    assert isinstance(await station.gateway.submit(station.gateway.prepare(other, done)), Accepted)
    for nonce in (done, station.gateway.nonces.next()):  # executed already; never ours
        late = station.gateway.burn_nonce(nonce)
        assert late is not None
        assert await late is False


async def test_connection_refused_is_unsent_and_start_raises(box: SandboxProcess) -> None:
    port = free_port()
    station = Station(VENUE, box, rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}")
    with pytest.raises(NotSent):
        await station.gateway.start(station.events.append)
    assert not station.gateway.entry_ready
    async with Station(VENUE, box) as warm:
        request = await warm.request("BTC", Side.BUY)
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent), outcome
    await station.gateway.close()


class Shifted(SystemClock):
    """A machine whose UTC is off."""

    def __init__(self, off_ns: int) -> None:
        super().__init__()
        self.wire_ns = lambda: SystemClock.wire_ns() + off_ns  # type: ignore[method-assign]


@pytest.mark.parametrize(("off_ms", "allowed"), [(-600, True), (-1400, False), (1400, False)])
async def test_nothing_is_signed_with_a_wrong_clock(box: SandboxProcess, off_ms: int, allowed: bool) -> None:
    station = Station(VENUE, box, clock=Shifted(off_ms * NS_PER_MS))
    if not allowed:
        with pytest.raises(NotSent, match="clock"):
            await station.gateway.start(station.events.append)
        assert station.gateway.clock_offset_ns == pytest.approx(-off_ms * NS_PER_MS, abs=300 * NS_PER_MS)
        return
    async with station:
        assert station.gateway.clock_offset_ns == pytest.approx(-off_ms * NS_PER_MS, abs=300 * NS_PER_MS)
        request, outcome = await station.place("ETH", Side.BUY)
        assert isinstance(outcome, Accepted), outcome
        gateway: Any = station.gateway
        sound = list(gateway._skew._samples)
        for _ in range(5):
            gateway._skew.note(10 * NS_PER_S, 0, 0)
        outcome = await station.send(request)
        assert isinstance(outcome, Unsent)
        assert "clock" in outcome.detail
        for sample_ns in sound * 5:
            gateway._skew.note(sample_ns, 0, 0)
        await station.flat()


async def test_throttle_keeps_its_reserve(box: SandboxProcess) -> None:
    async with Station(VENUE, box, requests_per_min=400, reserve_ratio=0.4) as station:
        gateway: Any = station.gateway
        while gateway._throttle.take():
            pass
        assert not station.gateway.may_send(priority=False)
        assert station.gateway.may_send(priority=True)
        request, outcome = await station.place("ETH", Side.BUY)
        assert isinstance(outcome, Accepted)
        while gateway._throttle.take(priority=True):
            pass
        assert isinstance(await station.send(request), Unsent)
        gateway._throttle._level = 1e6
        await station.flat()
