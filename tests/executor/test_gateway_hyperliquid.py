"""The Hyperliquid gateway against the real sandbox process."""

from __future__ import annotations

import asyncio
import json
import pathlib
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.errors import NotSent, VenueError
from core.types import OrderStatus, Side, TimeInForce
from executor import backoff
from executor.outcome import Accepted, RejectCode, Rejected, Unsent
from executor.venues import _hyperliquid_stream
from executor.venues.base import NotFound, VenueOrder
from tests.executor.local_servers import free_port
from tests.executor.sandbox_process import SandboxProcess, Station, eventually

VENUE = "hyperliquid"


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box) as ready:
        await ready.flat()
        yield ready
        await ready.flat()


async def test_start_reads_catalogue_fees_and_clock(station: Station) -> None:
    gateway = station.gateway
    assert gateway.instruments()["PEPE"].venue_symbol == "kPEPE"
    assert gateway.instruments()["PEPE"].multiplier == 1000
    assert gateway.fees.taker == pytest.approx(0.00045)
    assert abs(gateway.clock_offset_ns) < 500 * NS_PER_MS
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert 0.5 < gateway.rate_budget_ratio <= 1.0
    assert [up.since_wire_ns for up in station.ups] == [0]
    assert gateway.signer_id != gateway.account_id


async def test_ioc_without_match_is_a_certain_rejection(station: Station) -> None:
    request, outcome = await station.place("BTC", Side.BUY, cross_bps=-50.0)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.NO_MATCH
    assert await station.gateway.positions() == []
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert (found.status, found.filled_lots) == (OrderStatus.REJECTED, 0)


async def test_ioc_larger_than_the_book_ends_partly_filled(station: Station) -> None:
    for _ in range(30):  # the touch may move away between reading it and arriving
        request, outcome = await station.place("PAXG", Side.BUY, 8000.0, cross_bps=0.5)
        if isinstance(outcome, Accepted) and outcome.status is OrderStatus.EXPIRED:
            break
        await station.flat()
    assert isinstance(outcome, Accepted), outcome
    assert outcome.status is OrderStatus.EXPIRED
    assert 0 < outcome.filled_lots < request.lots
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == outcome.filled_lots)
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert found.filled_lots == outcome.filled_lots
    assert found.status.is_final


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


async def test_reduce_only_is_shrunk_never_flips(station: Station) -> None:
    _, alone = await station.place("ETH", Side.SELL, reduce_only=True)
    assert isinstance(alone, Rejected)
    assert alone.code is RejectCode.REDUCE_ONLY
    opened, _ = await station.place("ETH", Side.BUY, 60.0)
    request, closed = await station.place("ETH", Side.SELL, lots=opened.lots * 3, reduce_only=True, cross_bps=50.0)
    assert isinstance(closed, Accepted)
    assert closed.filled_lots == opened.lots
    assert closed.status is OrderStatus.EXPIRED
    assert await station.gateway.positions() == []
    found = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, VenueOrder)
    assert found.filled_lots == opened.lots  # by its fills: the remaining size alone would claim three times as much
    await eventually(lambda: sum(f.lots for f in station.fills(request.client_order_id)) == opened.lots)
    assert all(o.filled_lots <= opened.lots for o in station.orders(request.client_order_id))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lots": 1}, RejectCode.MIN_NOTIONAL),
        ({"limit_ticks": 1_000_003}, RejectCode.TICK),
        ({"lots": 10**8}, RejectCode.MARGIN),
        ({"limit_ticks": 10_000_000}, RejectCode.PRICE_BAND),
    ],
)
async def test_refusals_of_an_order(station: Station, change: dict[str, Any], code: RejectCode) -> None:
    request = msgspec.structs.replace(await station.request("BTC", Side.BUY), **change)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is code


async def test_an_expired_order_is_refused_and_absence_is_then_definitive(station: Station) -> None:
    request = await station.request("BTC", Side.BUY, ttl_ns=-5 * NS_PER_S)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.EXPIRED
    assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=True)
    fresh = await station.request("BTC", Side.BUY)
    station.gateway.prepare(fresh, station.gateway.nonces.next())
    assert await station.gateway.lookup(fresh.instrument, fresh.client_order_id) == NotFound(definitive=False)
    assert await station.gateway.lookup(fresh.instrument, "7a6d" + "0" * 28) == NotFound(definitive=False)


async def test_noop_kills_an_order_in_flight_and_fails_after_it(station: Station) -> None:
    request = await station.request("BTC", Side.BUY)
    nonce = station.gateway.nonces.next()
    order = station.gateway.submit(station.gateway.prepare(request, nonce))
    burn = station.gateway.burn_nonce(nonce)
    assert burn is not None
    assert await burn is True
    outcome = await order
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.DUPLICATE_ID
    assert await station.gateway.positions() == []
    done = station.gateway.nonces.next()
    assert isinstance(await station.gateway.submit(station.gateway.prepare(request, done)), Accepted)
    late = station.gateway.burn_nonce(done)
    assert late is not None
    assert await late is False


async def test_rest_is_the_fallback_when_the_socket_is_not_warm(station: Station) -> None:
    gateway: Any = station.gateway
    gateway._lane._socket.drop("cut by the test")
    assert not gateway._lane.warm
    request = await station.request("BTC", Side.BUY)
    gateway._lane._socket = None
    outcome = await station.send(request)
    assert isinstance(outcome, Accepted), outcome


async def test_connection_refused_is_unsent_and_start_raises(box: SandboxProcess) -> None:
    port = free_port()
    station = Station(VENUE, box, rest_url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}/ws")
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
        await asyncio.sleep(1.2)
    finally:
        await asyncio.to_thread(box.control, "venue", {"venue": VENUE, "serving": True})
    station.gateway.wake()
    await eventually(lambda: station.gateway.entry_ready and len(station.ups) == 2, 10.0)
    assert isinstance((await station.place("ETH", Side.BUY))[1], Accepted)


async def test_a_key_that_is_nobodys_agent_does_not_start(box: SandboxProcess) -> None:
    original = box.loaded.secrets_file.read_text()
    box.loaded.secrets_file.write_text(re.sub(r"(?m)^HL_PRIVATE_KEY=.*$", "HL_PRIVATE_KEY=" + "5a" * 32, original))
    try:
        station = Station(VENUE, box)
    finally:
        box.loaded.secrets_file.write_text(original)
    with pytest.raises(VenueError, match="not an approved agent"):
        await station.gateway.start(station.events.append)


async def test_private_channels_that_are_not_acknowledged_end_the_socket(
    box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Station(VENUE, box, request_timeout_ms=300.0) as station:
        gateway: Any = station.gateway
        monkeypatch.setattr(gateway._stream, "_on_ack", lambda: None)
        gateway._lane.reset("cut by the test")
        await eventually(lambda: any("not acknowledged" in line for line in station.out.lines))
        monkeypatch.undo()
        await eventually(lambda: len(station.ups) == 2)
    deaf = Station(VENUE, box, request_timeout_ms=300.0)
    monkeypatch.setattr(_hyperliquid_stream.PrivateStream, "_on_ack", lambda self: None)
    with pytest.raises(VenueError, match="not acknowledged"):
        await deaf.gateway.start(deaf.events.append)


class Shifted(SystemClock):
    """A machine whose UTC is off."""

    def __init__(self, off_ns: int) -> None:
        super().__init__()
        self.wire_ns = lambda: SystemClock.wire_ns() + off_ns  # type: ignore[method-assign]


@pytest.mark.parametrize(("off_ms", "allowed"), [(-1500, True), (-2600, False), (2600, False)])
async def test_nothing_is_sent_with_a_wrong_clock(box: SandboxProcess, off_ms: int, allowed: bool) -> None:
    async with Station(VENUE, box, clock=Shifted(off_ms * NS_PER_MS)) as station:
        assert station.gateway.clock_offset_ns == pytest.approx(-off_ms * NS_PER_MS, abs=400 * NS_PER_MS)
        request, outcome = await station.place("BTC", Side.BUY, ttl_ns=8 * NS_PER_S)
        if allowed:
            assert isinstance(outcome, Accepted), outcome
            await station.flat()
            return
        assert isinstance(outcome, Unsent)
        assert "clock" in outcome.detail
        with pytest.raises(NotSent, match="clock"):
            await station.gateway.set_leverage(request.instrument, 3, station.gateway.nonces.next())


async def test_throttle_keeps_its_reserve(box: SandboxProcess) -> None:
    async with Station(VENUE, box, requests_per_min=300, reserve_ratio=0.4) as station:
        gateway: Any = station.gateway
        while gateway._throttle.take():
            pass
        assert not station.gateway.may_send(priority=False)
        assert station.gateway.may_send(priority=True)
        request, outcome = await station.place("BTC", Side.BUY)
        assert isinstance(outcome, Accepted)
        while gateway._throttle.take(priority=True):
            pass
        outcome = await station.send(request)
        assert isinstance(outcome, Unsent)
        gateway._throttle._level = 1e6
        await station.flat()


def test_post_envelope_vector() -> None:
    vectors = json.loads((pathlib.Path(__file__).parents[1] / "fixtures/hyperliquid/signing_vectors.json").read_text())
    by_name = {case["name"]: case for case in vectors["cases"]}
    body = json.dumps(by_name["place-limit-gtc"]["expected"]["body"]).encode()
    frame = b'{"method":"post","id":%d,"request":{"type":"action","payload":%b}}' % (256, body)
    assert json.loads(frame) == by_name["ws-post-envelope"]["expected"]["frame"]
