"""What the real Lighter gateway makes of each fault of the real sandbox. An accepted order has no end yet here: the private
channels tell it, or the look-ups that follow when they do not; so these tests wait for ends where others read answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.errors import NotSent
from core.settings import NonceMode
from core.types import OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, RejectCode, Rejected, Unknown
from executor.venues.base import NotFound, OrderRequest, VenueOrder
from ops.sandbox.garbage import SHAPES
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE = "lighter"
QUICK: dict[str, Any] = {"requests_per_min": 4000, "request_timeout_ms": 700.0, "verify_delay_s": 0.3}
QUEUED = Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A fresh one per test: the venue weighs reads per minute."""
    with sandbox(tmp_path) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box, **QUICK) as ready:
        yield ready
        box.control("clear", {})
        once(box, ready)


def fault(box: SandboxProcess, kind: str, **more: Any) -> int:
    number: int = box.control("fault", {"venue": VENUE, "kind": kind, **more})["fault"]["number"]
    return number


def taken(box: SandboxProcess, station: Station) -> Counter[int]:
    """How often the venue took each client index, over everything it ever saw of this account."""
    rows = box.account(VENUE, station.gateway.account_id)["orders"]
    return Counter(int(row["client_id"]) for row in rows)


def once(box: SandboxProcess, station: Station) -> None:
    """No client index was taken twice."""
    assert [index for index, count in taken(box, station).items() if count > 1] == []


def count(box: SandboxProcess, station: Station, request: OrderRequest) -> int:
    gateway: Any = station.gateway
    return taken(box, station)[gateway._index.of(request.client_order_id)]


def hits(box: SandboxProcess, number: int) -> int:
    """How often a fault struck, over or not."""
    shown = box.control("faults")["venues"][VENUE]
    return next(int(row["hits"]) for row in (*shown["active"], *shown["finished"]) if row["number"] == number)


def another(station: Station, like: OrderRequest) -> OrderRequest:
    """The same order by another name; asking for prices costs weight."""
    return msgspec.structs.replace(like, client_order_id=station.client_order_id())


async def found(station: Station, request: OrderRequest) -> VenueOrder:
    """Its end, by asking: an order may wait a moment for its turn in the sequencer."""
    async with asyncio.timeout(5.0):
        while True:
            order = await station.gateway.lookup(request.instrument, request.client_order_id)
            if isinstance(order, VenueOrder) and order.status.is_final:
                return order
            await asyncio.sleep(0.05)


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    """Its end, as the gateway tells it by itself."""
    name = request.client_order_id
    await eventually(lambda: [order for order in station.orders(name) if order.status.is_final])
    told: list[VenueOrder] = station.orders(name)
    return next(order for order in told if order.status.is_final)


async def trades_again(station: Station, box: SandboxProcess, like: OrderRequest) -> None:
    """Faults over: an order goes in, ends, and is told."""
    await eventually(lambda: station.gateway.entry_ready)
    request = another(station, like)
    assert await station.send(request) == QUEUED
    assert (await ended(station, request)).filled_lots == request.lots
    assert count(box, station, request) == 1


# ---- answers that do not come, or prove nothing -------------------------------------------------------------------------


UNUSABLE: list[tuple[str, dict[str, Any]]] = [
    ("lost_answer", {"way": "silent"}),
    ("lost_answer", {"way": "broken"}),
    ("http_error", {"traffic": ["orders"], "value": 503, "way": "executed", "times": 1}),
    ("slow", {"traffic": ["orders"], "value": 1200, "times": 1}),
    *(("garbage", {"traffic": ["orders"], "way": way, "times": 1}) for way in SHAPES if way != "times"),
]
WHOLE: dict[str, list[str]] = {
    "ws": [],
    "rest": ["utf8"],
}  # rubbish that leaves what is read of an answer as it was: no letter need begin a hash


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_an_order_without_a_usable_answer_is_unknown_and_never_sent_again(
    box: SandboxProcess, entry: str
) -> None:
    """What was written to the socket is not sent again by REST either."""
    async with Station(VENUE, box, order_entry=entry, **QUICK) as station:
        like = await station.request("ETH", Side.BUY, 60.0)
        lost = []
        for kind, more in [each for each in UNUSABLE if each[1].get("way") not in WHOLE[entry]]:
            await eventually(lambda: station.gateway.entry_ready)
            request = another(station, like)
            number = fault(box, kind, **more)
            outcome = await station.send(request)
            assert isinstance(outcome, Unknown), (kind, more, outcome)
            assert not station.gateway.may_send(priority=False), "openings pause"
            order = await found(station, request)
            assert (order.status, order.filled_lots) == (OrderStatus.FILLED, request.lots)
            assert hits(box, number) == 1
            lost.append(request)
        await trades_again(station, box, like)
        read = Counter(fill.client_order_id for fill in await station.gateway.fills_since(0))
        assert all(read[request.client_order_id] for request in lost)
        assert [count(box, station, request) for request in lost] == [1] * len(lost)
        once(box, station)


@pytest.mark.parametrize("mode", [NonceMode.SKIP, NonceMode.OPTIMISTIC])
async def test_a_server_error_instead_of_the_work_is_unknown_until_its_nonce_is_spent(
    box: SandboxProcess, mode: NonceMode
) -> None:
    async with Station(VENUE, box, nonce_mode=mode, **QUICK) as station:
        request = await station.request("ETH", Side.BUY, 60.0)
        prepared = station.gateway.prepare(request, station.gateway.nonces.next())
        fault(box, "http_error", traffic=["orders"], value=502, times=1)
        assert isinstance(await station.gateway.submit(prepared), Unknown)
        assert await station.gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=False)
        burning = station.gateway.burn_nonce(prepared.nonce)
        assert burning is not None
        assert await burning is True
        late = await station.gateway.submit(prepared)
        assert isinstance(late, Rejected), "the same bytes can no longer execute"
        assert late.code is RejectCode.NONCE
        assert count(box, station, request) == 0
        await trades_again(station, box, request)


async def test_a_lost_answer_stops_a_strict_count_until_it_is_read(box: SandboxProcess) -> None:
    """Nobody knows whether the number was taken, so none is given until the venue has said."""
    async with Station(VENUE, box, nonce_mode=NonceMode.OPTIMISTIC, **QUICK) as station:
        like = await station.request("ETH", Side.BUY, 60.0)
        for resyncs, way in enumerate(("silent", "broken"), start=1):
            request, behind = another(station, like), another(station, like)
            fault(box, "lost_answer", way=way)
            assert isinstance(await station.send(request), Unknown)
            assert not station.gateway.entry_ready
            with pytest.raises(NotSent, match="nonce is being read"):
                station.gateway.prepare(behind, station.gateway.nonces.next())
            await eventually(lambda: station.gateway.entry_ready)
            assert station.gateway.nonce_resyncs == resyncs
            assert await station.send(behind) == QUEUED, "the number after the lost one is the right one"
            assert (await found(station, behind)).filled_lots == behind.lots
            assert (await found(station, request)).filled_lots == request.lots
            assert count(box, station, request) == count(box, station, behind) == 1


async def test_a_disconnect_in_flight_is_unknown_not_refused(station: Station, box: SandboxProcess) -> None:
    request = await station.request("ETH", Side.BUY, 60.0)
    fault(box, "slow", traffic=["orders"], value=400, times=1)
    sending = asyncio.ensure_future(station.send(request))
    await asyncio.sleep(0.15)
    fault(box, "disconnect")
    outcome = await sending
    assert isinstance(outcome, Unknown), outcome  # transactions and private channels share the socket
    assert (await found(station, request)).filled_lots == request.lots
    await eventually(lambda: len(station.ups) == 2)
    assert len(station.downs) == 1
    assert 0 < station.ups[1].since_wire_ns < station.clock.wire_ns() - 4 * NS_PER_S, "the gap is to be read"
    assert count(box, station, request) == 1


# ---- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_refusals_say_why_and_openings_pause(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry, **QUICK) as station:
        for kind, code in (("rejected_nonce", RejectCode.NONCE), ("expired_auth", RejectCode.AUTH)):
            fault(box, kind, traffic=["orders"], times=1)
            request, outcome = await station.place("ETH", Side.BUY, 60.0)
            assert isinstance(outcome, Rejected), outcome
            assert outcome.code is code
            assert not station.gateway.may_send(priority=False)
            assert station.gateway.may_send(priority=True), "closing goes on"
            assert count(box, station, request) == 0
        await trades_again(station, box, request)


@pytest.mark.parametrize("mode", [NonceMode.OPTIMISTIC, NonceMode.API])
async def test_a_refused_nonce_is_read_again_once_and_nothing_is_signed_meanwhile(
    box: SandboxProcess, mode: NonceMode
) -> None:
    async with Station(VENUE, box, nonce_mode=mode, **QUICK) as station:
        request, other = await station.request("ETH", Side.BUY, 60.0), await station.request("BTC", Side.BUY, 300.0)
        fault(box, "rejected_nonce", times=1)
        both = [station.gateway.prepare(each, station.gateway.nonces.next()) for each in (request, other)]
        first, second = [await each for each in [station.gateway.submit(each) for each in both]]
        assert isinstance(first, Rejected)
        assert first.code is RejectCode.NONCE
        assert isinstance(second, Rejected), "it stood on the number before it"
        assert second.code is RejectCode.NONCE
        with pytest.raises(NotSent, match="nonce is being read"):
            station.gateway.prepare(request, station.gateway.nonces.next())
        before = station.gateway.nonce_resyncs
        await eventually(lambda: station.gateway.entry_ready)
        assert station.gateway.nonce_resyncs == before + 1
        assert count(box, station, request) == count(box, station, other) == 0
        await trades_again(station, box, request)


@pytest.mark.parametrize("entry", ["ws", "rest"])
async def test_over_the_limit_openings_pause_and_a_cancel_still_goes(box: SandboxProcess, entry: str) -> None:
    async with Station(VENUE, box, order_entry=entry, **QUICK) as station:
        resting, outcome = await station.place("SOL", Side.BUY, 60.0, cross_bps=-200.0, tif=TimeInForce.GTC)
        assert outcome == QUEUED, outcome
        await eventually(lambda: station.orders(resting.client_order_id))
        request = await station.request("ETH", Side.BUY, 60.0)
        await refused_for_rate(station, box, request, 429)
        assert isinstance(await station.cancel(resting), Accepted)
        assert (await ended(station, resting)).status is OrderStatus.CANCELED
        if entry == "rest":  # the firewall speaks HTTP
            await refused_for_rate(station, box, another(station, request), 405)
            assert not station.gateway.may_send(priority=True), "the firewall bans for a minute whatever is asked"


async def refused_for_rate(station: Station, box: SandboxProcess, request: OrderRequest, status: int) -> None:
    number = fault(box, "http_error", traffic=["orders"], value=status, times=3)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is RejectCode.RATE
    assert not station.gateway.may_send(priority=False)
    assert hits(box, number) == 1, "it does not go on asking"
    box.control("clear", {})
    assert count(box, station, request) == 0


# ---- the private channels ------------------------------------------------------------------------------------------------


async def test_expired_tokens_are_replaced_for_channels_and_reads(station: Station, box: SandboxProcess) -> None:
    fault(box, "expired_auth", traffic=["private"])
    await eventually(lambda: len(station.ups) == 2)
    assert len(station.downs) == 1
    number = fault(box, "expired_auth", traffic=["reads"], times=1)
    await station.gateway.positions()
    finished = box.control("faults")["venues"][VENUE]["finished"]
    assert [row["hits"] for row in finished if row["number"] == number] == [1]
    await trades_again(station, box, await station.request("ETH", Side.BUY, 60.0))


# ---- clocks -------------------------------------------------------------------------------------------------------------


async def offset_is(station: Station, seconds: int) -> None:
    await eventually(lambda: abs(station.gateway.clock_offset_ns - seconds * NS_PER_S) < NS_PER_S, 8.0)


async def test_a_clock_that_is_off_is_refused_to_sign_for(station: Station, box: SandboxProcess) -> None:
    request = await station.request("ETH", Side.BUY, 60.0)
    for skew_s in (6, -6):
        fault(box, "clock_skew", value=skew_s)
        await station.gateway.positions()
        await offset_is(station, skew_s)
        with pytest.raises(NotSent, match="clock"):
            station.gateway.prepare(request, station.gateway.nonces.next())
        box.control("clear", {})
        await station.gateway.positions()
        await offset_is(station, 0)
    assert count(box, station, request) == 0
    await trades_again(station, box, request)
