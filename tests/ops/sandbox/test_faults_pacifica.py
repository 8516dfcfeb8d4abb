"""What the real Pacifica gateway and the real feed make of each fault of the real sandbox.

An accepted order has no end yet here: the private channels tell it, or the look-ups that follow when they do not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.types import OrderStatus, Side, TimeInForce, Venue
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _pacifica_reads
from executor.venues._pacifica_rows import client_id
from executor.venues.base import NotFound, OrderRequest, VenueOrder
from ops.sandbox.garbage import SHAPES
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE = Venue("pacifica")
QUICK: dict[str, Any] = {"request_timeout_ms": 300.0, "verify_delay_s": 0.1}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("faulty"), venues=(VENUE,)) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box, **QUICK) as ready:
        yield ready
        box.control("clear", {})
        assert [name for name, count in taken(box, ready).items() if count > 1] == []


def fault(box: SandboxProcess, kind: str, **more: Any) -> int:
    number: int = box.control("fault", {"venue": VENUE, "kind": kind, **more})["fault"]["number"]
    return number


def taken(box: SandboxProcess, station: Station) -> Counter[str | None]:
    """How often the venue took each client id, over everything it ever saw of this account."""
    rows = box.account(VENUE, station.gateway.account_id)["orders"]
    return Counter(client_id(row["client_id"]) for row in rows)


async def found(station: Station, request: OrderRequest) -> VenueOrder:
    """Its end, by asking."""
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
    return next(order for order in station.orders(name) if order.status.is_final)  # type: ignore[no-any-return]


async def fills_told(station: Station, request: OrderRequest, lots: int) -> None:
    """Until the stream has told this much of the order, each fill counted once."""
    name = request.client_order_id
    await eventually(lambda: sum({f.trade_id: f.lots for f in station.fills(name)}.values()) == lots)


@pytest.mark.parametrize("entry", ["ws", "rest"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("lost_answer", {"way": "silent"}),
        ("lost_answer", {"way": "broken"}),
        ("http_error", {"traffic": ["orders"], "value": 503, "way": "executed", "times": 1}),
        ("slow", {"traffic": ["orders"], "value": 600, "times": 1}),
        ("garbage", {"traffic": ["orders"], "way": "truncated", "times": 1}),
        ("garbage", {"traffic": ["orders"], "way": "binary", "times": 1}),
        ("garbage", {"traffic": ["orders"], "way": "types", "times": 1}),
        ("garbage", {"traffic": ["orders"], "way": "deep", "times": 1}),
    ],
)
async def test_an_order_without_a_usable_answer_is_unknown_and_a_lookup_tells(
    box: SandboxProcess, entry: str, kind: str, more: dict[str, Any]
) -> None:
    async with Station(VENUE, box, order_entry=entry, **QUICK) as station:
        request = await station.request("ETH", Side.BUY, 60.0, cross_bps=100.0)
        fault(box, kind, **more)
        outcome = await station.send(request)
        assert isinstance(outcome, Unknown), outcome
        order = await found(station, request)
        assert (order.status, order.filled_lots) == (OrderStatus.FILLED, request.lots)
        read = [f for f in await station.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
        assert sum(f.lots for f in read) == request.lots
        assert taken(box, station)[request.client_order_id] == 1
        await eventually(lambda: station.gateway.entry_ready)
        _, after = await station.place("ETH", Side.SELL, 60.0, cross_bps=100.0)
        assert isinstance(after, Accepted), after
        box.control("clear", {})


async def test_a_server_error_instead_of_the_work_is_unknown_until_the_message_has_expired(
    station: Station, box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no no-op: the message's own time is what ends the doubt."""
    monkeypatch.setattr(_pacifica_reads, "SETTLE_NS", NS_PER_S // 2)
    request = await station.request("ETH", Side.BUY, 60.0, cross_bps=100.0, ttl_ns=NS_PER_S // 5)
    prepared = station.gateway.prepare(request, station.gateway.nonces.next())
    fault(box, "http_error", traffic=["orders"], value=502, times=1)
    assert isinstance(await station.gateway.submit(prepared), Unknown)
    nothing = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert nothing == NotFound(definitive=False)
    async with asyncio.timeout(8.0):
        while nothing == NotFound(definitive=False):
            await asyncio.sleep(0.2)
            nothing = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert nothing == NotFound(definitive=True)
    assert station.clock.wire_ns() <= station.gateway.unknown_bound_ns(request) + NS_PER_S
    again = await station.gateway.submit(prepared)
    assert (type(again), again.code) == (Rejected, RejectCode.EXPIRED), "the same bytes can no longer execute"
    assert taken(box, station)[request.client_order_id] == 0


async def test_refusals_say_why(station: Station, box: SandboxProcess) -> None:
    fault(box, "rejected_nonce")
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.EXPIRED)
    fault(box, "expired_auth", traffic=["orders"])
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.AUTH)
    box.control("clear", {})
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome


async def test_over_the_limit_it_backs_off_and_cancels_keep_their_part(station: Station, box: SandboxProcess) -> None:
    resting, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=-200.0, tif=TimeInForce.GTC)
    assert isinstance(outcome, Accepted), outcome
    fault(box, "http_error", traffic=["orders"], value=429, times=1)
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.RATE)
    assert not station.gateway.may_send(priority=False)
    assert station.gateway.may_send(priority=True)
    assert isinstance(await station.cancel(resting), Accepted)


async def test_a_partial_fill_is_told_as_it_was(station: Station, box: SandboxProcess) -> None:
    fault(box, "partial_fill", value=0.4)
    request, _ = await station.place("ETH", Side.BUY, 100.0, cross_bps=100.0)
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.EXPIRED, int(request.lots * 0.4))
    await fills_told(station, request, order.filled_lots)
    fault(box, "partial_fill", value=0)
    request, _ = await station.place("ETH", Side.BUY, 100.0, cross_bps=100.0)
    assert (await ended(station, request)).filled_lots == 0


async def test_duplicates_and_disorder_change_no_total(station: Station, box: SandboxProcess) -> None:
    fault(box, "duplicate", traffic=["private"])
    fault(box, "reorder", traffic=["private"])
    for side in (Side.BUY, Side.SELL, Side.BUY):
        request, outcome = await station.place("ETH", side, 60.0, cross_bps=100.0)
        assert isinstance(outcome, Accepted), outcome
        order = await ended(station, request)
        await fills_told(station, request, order.filled_lots)


async def test_private_garbage_is_dropped_and_the_stream_goes_on(station: Station, box: SandboxProcess) -> None:
    for way in SHAPES:
        fault(box, "garbage", traffic=["private"], way=way)
        lost, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
        assert isinstance(outcome, Accepted), outcome
        assert (await ended(station, lost)).filled_lots == lost.lots, way  # by looking it up
        assert station.fills(lost.client_order_id) == [], way
        box.control("clear", {})
        request, outcome = await station.place("ETH", Side.SELL, 60.0, cross_bps=100.0)
        assert isinstance(outcome, Accepted), outcome
        await fills_told(station, request, (await ended(station, request)).filled_lots)
        assert station.downs == [], way


async def test_a_broken_private_stream_comes_back_and_names_its_gap(station: Station, box: SandboxProcess) -> None:
    request, outcome = await station.place(
        "ETH", Side.SELL, 60.0, cross_bps=100.0
    )  # a socket is known by what it carried
    assert isinstance(outcome, Accepted), outcome
    await fills_told(station, request, (await ended(station, request)).filled_lots)
    fault(box, "disconnect", traffic=["private"])
    await eventually(lambda: station.downs)
    await eventually(lambda: len(station.ups) >= 2)
    assert station.ups[-1].since_wire_ns > 0
    request, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome
    await fills_told(station, request, (await ended(station, request)).filled_lots)


@pytest.mark.parametrize("skew_s", [6, -6])
async def test_a_clock_that_is_off_is_refused_to_sign_for(station: Station, box: SandboxProcess, skew_s: int) -> None:
    request = await station.request("ETH", Side.BUY, 60.0)
    fault(box, "clock_skew", value=skew_s)
    await station.gateway.positions()
    assert abs(station.gateway.clock_offset_ns - skew_s * NS_PER_S) < NS_PER_S
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent), outcome
    assert "clock" in outcome.detail
    box.control("clear", {})
    await station.gateway.positions()  # every answer brings the venue's Date
    assert abs(station.gateway.clock_offset_ns) < NS_PER_S
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome
