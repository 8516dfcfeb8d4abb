"""The Variational gateway against the real sandbox process: quoted, accepted, cleared; and every way to be left in doubt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS
from core.errors import ConfigError, VenueError
from core.types import OrderStatus, Side
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues.base import FillSeen, NotFound, OrderRequest, VenueOrder
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE, SYMBOL = "variational", "HYPE"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp(VENUE), venues=(VENUE,), order_delay_ms=30.0) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box) as ready:
        await flat(ready)
        ready.events.clear()
        yield ready
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
        await flat(ready)


async def flat(station: Station) -> None:
    for position in await station.gateway.positions():
        side = Side.SELL if position.lots > 0 else Side.BUY
        await trade(station, side, lots=abs(position.lots), reduce_only=True)


async def quoted(station: Station, side: Side = Side.BUY, **options: Any) -> OrderRequest:
    request = await station.request(SYMBOL, side, 120.0, **options)
    quote = await station.gateway.request_quote(request.instrument, request.side, request.lots)
    return msgspec.structs.replace(request, quote_id=quote.quote_id)


async def trade(station: Station, side: Side = Side.BUY, **options: Any) -> OrderRequest:
    """Taken, and ended by what the gateway tells."""
    request = await quoted(station, side, **options)
    assert isinstance(await station.send(request), Accepted)
    await ended(station, request)
    return request


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    await eventually(lambda: [o for o in station.orders(request.client_order_id) if o.status.is_final])
    order: VenueOrder = station.orders(request.client_order_id)[-1]
    return order


def true_orders(box: SandboxProcess, station: Station) -> list[dict[str, Any]]:
    orders: list[dict[str, Any]] = box.account(VENUE, station.gateway.account_id)["orders"]
    return orders


# ---- orders -------------------------------------------------------------------------------------------------------------


async def test_a_quote_is_taken_whole_at_its_price(station: Station) -> None:
    gateway = station.gateway
    instrument = station.instrument(SYMBOL)
    quote = await gateway.request_quote(instrument, Side.BUY, 200)
    assert (quote.side, quote.lots) == (Side.BUY, 200)
    assert 0 < quote.valid_until_mono_ns - station.clock.mono_ns() <= 900 * NS_PER_MS
    request = await station.request(SYMBOL, Side.BUY, lots=200, cross_bps=50.0)
    request = msgspec.structs.replace(request, quote_id=quote.quote_id)
    taken = await station.send(request)
    assert isinstance(taken, Accepted)
    assert (taken.status, taken.filled_lots) == (OrderStatus.ACCEPTED, 0)  # accepted is not filled
    order = await ended(station, request)
    assert (order.status, order.filled_lots, order.avg_px) == (OrderStatus.FILLED, 200, quote.px)
    assert order.venue_order_id == taken.venue_order_id
    (fill,) = station.fills(request.client_order_id)
    assert (fill.lots, fill.px, fill.fee_usd, fill.venue_order_id) == (200, quote.px, 0, taken.venue_order_id)
    assert await gateway.lookup(instrument, request.client_order_id) == order


async def test_nothing_leaves_without_a_quote_of_ours_for_exactly_it(box: SandboxProcess, station: Station) -> None:
    before = len(true_orders(box, station))
    good = await quoted(station)
    for wrong in (
        msgspec.structs.replace(good, quote_id=""),
        msgspec.structs.replace(good, quote_id="12121212-1212-4212-8212-121212121212"),
        msgspec.structs.replace(good, lots=good.lots + 1),
        msgspec.structs.replace(good, side=Side.SELL),
        msgspec.structs.replace(good, instrument=station.instrument("BTC")),
        msgspec.structs.replace(good, limit_ticks=good.limit_ticks // 2),  # the quote lies beyond the limit
    ):
        outcome = await station.send(msgspec.structs.replace(wrong, client_order_id=station.client_order_id()))
        assert outcome == Unsent(detail="no live quote of ours for exactly this order")
    assert len(true_orders(box, station)) == before
    assert isinstance(await station.send(good), Accepted)
    await ended(station, good)


async def test_a_quote_is_accepted_once_whatever_came_of_it(box: SandboxProcess, station: Station) -> None:
    request = await quoted(station)
    prepared = [station.gateway.prepare(request, 1) for _ in range(2)]
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "lost_answer", "way": "broken"})
    before = len(true_orders(box, station))
    assert isinstance(await station.gateway.submit(prepared[0]), Unknown)
    again = await station.gateway.submit(prepared[1])
    assert isinstance(again, Unsent)
    await ended(station, request)
    later = await station.gateway.submit(prepared[1])
    assert later == Unsent(detail="its quote was accepted before")
    assert len(true_orders(box, station)) == before + 1


async def test_one_order_per_instrument_is_under_way(box: SandboxProcess, station: Station) -> None:
    first, second = await quoted(station), await quoted(station)
    futures = [station.gateway.submit(station.gateway.prepare(each, 1)) for each in (first, second)]
    assert await futures[1] == Unsent(detail="another order of this instrument is under way")
    assert isinstance(await futures[0], Accepted)
    await ended(station, first)
    assert isinstance(await station.send(msgspec.structs.replace(await quoted(station))), Accepted)
    await eventually(lambda: sum(isinstance(e, FillSeen) for e in station.events) == 2)


async def test_the_slippage_never_reaches_beyond_the_limit(station: Station) -> None:
    request = await quoted(station)
    quote_px = station.gateway._quotes[request.quote_id].quote.px  # type: ignore[attr-defined]
    body = json.loads(station.gateway.prepare(request, 1).payload)
    worst = quote_px * (1 + Decimal(repr(body["max_slippage"])))
    limit = request.instrument.ticks_to_px(request.limit_ticks)
    assert limit * (1 - Decimal("0.000002")) < worst <= limit
    assert isinstance(body["max_slippage"], float)
    assert (body["side"], body["is_reduce_only"]) == ("buy", False)


async def test_a_late_refusal_ends_the_order_and_frees_its_instrument(station: Station) -> None:
    request = await quoted(station, Side.SELL, reduce_only=True)
    assert isinstance(await station.send(request), Accepted)
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.REJECTED, 0)
    assert not station.fills(request.client_order_id)
    await trade(station)


async def test_a_refused_acceptance_frees_the_instrument_at_once(box: SandboxProcess, station: Station) -> None:
    request = await quoted(station)
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "rejected_nonce"})
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.EXPIRED
    await trade(station)


async def test_quotes_that_cannot_be_had_raise(box: SandboxProcess, station: Station) -> None:
    instrument = station.instrument(SYMBOL)
    with pytest.raises(VenueError, match="olp_risk_checks"):
        await station.gateway.request_quote(instrument, Side.BUY, 10**9)
    fault = {"venue": VENUE, "kind": "garbage", "traffic": ["reads"], "way": "truncated", "times": 1}
    await asyncio.to_thread(box.control, "fault", fault)
    with pytest.raises(VenueError):
        await station.gateway.request_quote(instrument, Side.BUY, 10)


# ---- doubt --------------------------------------------------------------------------------------------------------------


async def test_an_order_of_an_earlier_process_is_found_by_what_it_looks_like(
    box: SandboxProcess, station: Station
) -> None:
    request = await quoted(station)
    assert isinstance(await station.send(request), Accepted)
    prepared_ns = station.clock.wire_ns()
    await ended(station, request)
    async with Station(VENUE, box) as later:
        gateway = later.gateway
        assert await gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=False)
        gateway.recall(request, 1, prepared_ns)
        found = await gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)


async def test_a_silent_answer_is_not_waited_for(box: SandboxProcess) -> None:
    """The fill is told long before the request is given up."""
    async with Station(VENUE, box, request_timeout_ms=2500.0) as station:
        await flat(station)
        request = await quoted(station)
        await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "lost_answer", "way": "silent"})
        answer = station.gateway.submit(station.gateway.prepare(request, 1))
        await eventually(lambda: station.fills(request.client_order_id))
        assert not answer.done()
        assert station.fills(None) == []
        assert isinstance(await answer, Unknown)
        assert sum(fill.lots for fill in station.fills(request.client_order_id)) == request.lots
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})


async def test_a_session_that_ended_is_opened_again(box: SandboxProcess, station: Station) -> None:
    """A stamped 401: reads go on in a new session, orders are refused and not sent again."""
    before = len(true_orders(box, station))
    request = await quoted(station)
    fault = {"venue": VENUE, "kind": "expired_auth", "traffic": ["orders"], "times": 1}
    await asyncio.to_thread(box.control, "fault", fault)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.AUTH
    assert await station.gateway.positions() == []
    await eventually(lambda: station.gateway.entry_ready)
    await trade(station)
    assert len(true_orders(box, station)) == before + 1
    for _ in range(2):
        fault = {"venue": VENUE, "kind": "expired_auth", "traffic": ["reads"], "times": 1}
        await asyncio.to_thread(box.control, "fault", fault)
        assert len(await station.gateway.positions()) == 1
        assert len(await station.gateway.fills_since(0)) >= 1


async def test_it_is_off_until_somebody_says_otherwise(box: SandboxProcess) -> None:
    extra = {**box.settings(VENUE).extra, "unofficial_interface": False}
    with pytest.raises(ConfigError, match=r"extra\.unofficial_interface"):
        Station(VENUE, box, extra=extra)
