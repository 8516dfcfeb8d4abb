"""Every gateway of the roster against its own sandbox: the same promises, whatever the wire.

What a venue cannot do its Traits say; how it answers its dialect says. Outcomes are judged by their effect (what filled,
what rests, what the venue's own books hold), so that a refusal may come at once or later.
"""

from __future__ import annotations

import asyncio
import importlib
import random
from decimal import Decimal

import msgspec
import pytest

from core.clock import NS_PER_S
from core.errors import VenueError
from core.roster import SPEC
from core.types import LiquiditySide, Side, TimeInForce, Venue
from core.venue_spec import VenueKind
from executor.outcome import Accepted, Rejected, Unknown, Unsent
from executor.venues.base import NotFound, VenueOrder
from ops.sandbox.fault_kinds import Traffic
from tests.conformance.bench import Bench
from tests.conformance.dialect import Meaning, meaning_of
from tests.executor.sandbox_process import Station

pytestmark = pytest.mark.asyncio(loop_scope="session")


def needs(bench: Bench, trait: str) -> None:
    if not getattr(bench.gateway.traits, trait):
        pytest.skip(f"{bench.venue} has no {trait} (its Traits)")


def has_book(bench: Bench) -> None:
    if bench.gateway.traits.quotes_first:
        pytest.skip(f"{bench.venue} has no order book (its Traits)")


def filled(ended: VenueOrder | Rejected | NotFound) -> int:
    """Lots."""
    return ended.filled_lots if isinstance(ended, VenueOrder) else 0


# ---- start --------------------------------------------------------------------------------------------------------------


async def test_after_its_start_all_is_known_and_order_entry_is_warm(bench: Bench) -> None:
    gateway, spec = bench.gateway, SPEC[Venue(bench.venue)]
    assert gateway.venue == bench.venue
    assert gateway.entry_ready
    assert gateway.may_send(priority=False)
    assert 0.0 < gateway.rate_budget_ratio <= 1.0
    assert abs(gateway.clock_offset_ns) < NS_PER_S
    assert -0.001 < gateway.fees.maker <= gateway.fees.taker < 0.02
    assert [up.since_wire_ns for up in bench.station.ups][:1] == [0]
    assert set(gateway.instruments()) & {"BTC", "ETH"} == {"BTC", "ETH"}
    for instrument in gateway.instruments().values():
        assert instrument.venue == bench.venue
        assert instrument.tick_size > 0
        assert instrument.lot_size > 0
        assert instrument.can_short is (spec.kind is not VenueKind.SPOT)


async def test_rehearsal_sends_nothing_and_takes_no_nonce(bench: Bench) -> None:
    before = len(bench.true_orders())
    first = bench.gateway.nonces.next()
    for _ in range(50):
        bench.gateway.rehearse()
    unit_ns = 10 * NS_PER_S  # nonces by the clock go on with it; counted ones go on by one
    assert 0 < bench.gateway.nonces.next() - first < unit_ns
    assert len(bench.true_orders()) == before


# ---- prices, lots, minimums ---------------------------------------------------------------------------------------------


async def test_rounding_is_to_the_safe_side_on_an_allowed_price_and_minimums_are_the_least(bench: Bench) -> None:
    """Every listed instrument, generated prices from a hundredth to a hundred times the mark."""
    rng = random.Random(20261121)
    marks = bench.box.control("state")["venues"][bench.venue]["marks"]
    for symbol in bench.station.listed():
        instrument = bench.station.instrument(symbol)
        mark = Decimal(marks[symbol]) * instrument.multiplier
        for _ in range(100):
            px = (mark * Decimal(repr(10 ** rng.uniform(-2, 2)))).quantize(instrument.tick_size / 1000)
            if px <= instrument.tick_size:
                continue
            down, up = (instrument.ticks_to_px(instrument.px_to_ticks(px, side)) for side in (Side.BUY, Side.SELL))
            step = instrument.tick_at(px)
            assert px - step < down <= px <= up < px + max(step, instrument.tick_at(up)), (symbol, px, down, up)
            for allowed, side in ((down, Side.BUY), (up, Side.SELL)):
                if allowed > 0:
                    assert instrument.ticks_to_px(instrument.px_to_ticks(allowed, side)) == allowed, "it stands still"
            lots = instrument.min_lots(px)
            size = lots * instrument.lot_size
            assert size >= instrument.min_qty
            assert size * px >= instrument.min_notional_usd
            less = (lots - 1) * instrument.lot_size
            assert lots == 1 or less < instrument.min_qty or less * px < instrument.min_notional_usd, (symbol, px, lots)


async def test_generated_prices_and_sizes_are_on_the_venues_own_grid(bench: Bench) -> None:
    """What our Instrument calls an allowed price and the fewest lots, the venue takes; resting far from the touch."""
    has_book(bench)
    rng = random.Random(20261120)
    for symbol in bench.station.listed():
        for side in (Side.BUY, Side.SELL) if bench.station.instrument(symbol).can_short else (Side.BUY,):
            behind = -rng.uniform(100.0, 450.0)
            request = await bench.station.request(symbol, side, cross_bps=behind, tif=TimeInForce.POST_ONLY)
            limit = request.instrument.ticks_to_px(request.limit_ticks)
            request = msgspec.structs.replace(request, lots=request.instrument.min_lots(limit))
            outcome = await bench.station.send(request)
            assert isinstance(outcome, Accepted), (symbol, side, limit, outcome)
            await bench.station.cancel(request, outcome.venue_order_id)


async def test_less_than_the_minimum_leaves_no_order(bench: Bench) -> None:
    has_book(bench)
    tried = 0
    for symbol in ("PEPE", "ETH", "BTC"):
        if symbol not in bench.station.listed():
            continue
        request = await bench.station.request(symbol, Side.BUY, cross_bps=-100.0, tif=TimeInForce.POST_ONLY)
        fewest = request.instrument.min_lots(request.instrument.ticks_to_px(request.limit_ticks))
        if fewest < 3:
            continue
        tried += 1
        small = msgspec.structs.replace(request, lots=max(1, fewest // 3))
        ended = await bench.ended(small, await bench.station.send(small))
        assert filled(ended) == 0, ended
        assert await bench.gateway.open_orders() == []
    assert tried, "no instrument here has a minimum of more than two lots"


# ---- orders -------------------------------------------------------------------------------------------------------------


async def test_a_fill_is_the_same_by_every_source(bench: Bench) -> None:
    gateway = bench.gateway
    request = await bench.buy()
    order = await gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(order, VenueOrder)
    assert (order.filled_lots, order.side, order.client_order_id) == (request.lots, Side.BUY, request.client_order_id)
    await bench.until(lambda: bench.told_lots(request) == request.lots)
    told = bench.station.fills(request.client_order_id)
    read = [f for f in await gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert {f.trade_id for f in read} == {f.trade_id for f in told}
    assert sum(f.lots for f in read) == request.lots
    assert {f.liquidity for f in (*told, *read)} == {LiquiditySide.TAKER}
    (position,) = [p for p in await gateway.positions() if p.symbol == bench.dialect.symbol]
    assert position.lots == request.lots
    assert position.mark_px > 0 or gateway.traits.wallet
    if order.avg_px is not None and not gateway.traits.wallet:
        assert position.avg_entry_px == pytest.approx(order.avg_px, rel=Decimal("0.001"))
    rows = [row for row in bench.truth()["fill_rows"] if row["trade_id"] in {f.trade_id for f in read}] or [
        row for row in bench.truth()["fill_rows"] if row["order_id"] == order.venue_order_id
    ]
    if rows:  # as far as the venue names trades or orders on the wire as its books do
        assert sum(Decimal(row["qty"]) for row in rows) == request.lots * request.instrument.lot_size
        fees = sum((Decimal(row["fee"]) for row in rows), Decimal(0))
        assert sum(f.fee_usd for f in read) == pytest.approx(fees, rel=Decimal("0.01"), abs=Decimal("0.0001"))
    rate = Decimal(repr(gateway.fees.taker))
    notional = sum(f.px * f.lots for f in read) * request.instrument.lot_size
    assert sum(f.fee_usd for f in read) == pytest.approx(notional * rate, rel=Decimal("0.02"), abs=Decimal("0.001"))


async def test_positions_and_balance_equal_the_venues_own_books(bench: Bench) -> None:
    request = await bench.buy()
    truth = bench.truth()
    held = {row["symbol"]: Decimal(row["qty"]) for row in truth["positions"].values()}
    assert held[bench.dialect.symbol] == request.lots * request.instrument.lot_size
    balance = await bench.gateway.balance()
    assert balance.equity_usd == pytest.approx(Decimal(truth["equity_usd"]), rel=Decimal("0.002"))
    assert balance.free_margin_usd == pytest.approx(Decimal(truth["free_usd"]), rel=Decimal("0.01"))


async def test_a_short_is_negative(bench: Bench) -> None:
    if not bench.instrument.can_short:
        pytest.skip(f"{bench.venue} is a spot venue")
    request, outcome = await bench.place(Side.SELL, cross_bps=200.0)
    ended = await bench.ended(request, outcome)
    assert isinstance(ended, VenueOrder), ended
    assert await bench.lots() == -ended.filled_lots < 0


async def test_an_order_that_finds_nothing_ends_with_nothing(bench: Bench) -> None:
    has_book(bench)
    request, outcome = await bench.place(Side.BUY, cross_bps=-100.0)
    ended = await bench.ended(request, outcome)
    assert filled(ended) == 0, ended
    assert await bench.lots() == 0
    assert bench.told_lots(request) == 0


async def test_a_part_is_a_part_by_every_source(bench: Bench) -> None:
    needs(bench, "partial_fills")
    bench.fault("partial_fill", value=0.4, times=1)
    request, outcome = await bench.place(Side.BUY, cross_bps=200.0)
    ended = await bench.ended(request, outcome)
    assert isinstance(ended, VenueOrder), ended
    assert 0 < ended.filled_lots < request.lots
    await bench.until(lambda: bench.told_lots(request) == ended.filled_lots)
    assert await bench.lots() == ended.filled_lots


async def test_post_only_never_takes(bench: Bench) -> None:
    needs(bench, "post_only")
    request, outcome = await bench.place(Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=30.0)
    ended = await bench.ended(request, outcome)
    assert filled(ended) == 0, ended
    assert await bench.lots() == 0


async def test_a_resting_order_is_listed_cancelled_once_and_gone(bench: Bench) -> None:
    needs(bench, "post_only")
    request, outcome = await bench.place(Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-150.0)
    assert isinstance(outcome, Accepted), outcome
    rests = None
    for _ in range(50):
        rests = next(
            (o for o in await bench.gateway.open_orders() if o.client_order_id == request.client_order_id), None
        )
        if rests is not None:
            break
    assert rests is not None
    assert (rests.lots, rests.filled_lots, rests.side) == (request.lots, 0, Side.BUY)
    assert isinstance(await bench.station.cancel(request, rests.venue_order_id), Accepted)
    ended = await bench.ended(request, outcome)
    assert isinstance(ended, VenueOrder)
    assert ended.filled_lots == 0
    assert await bench.gateway.open_orders() == []
    again = await bench.station.cancel(request, rests.venue_order_id)
    assert not isinstance(again, Unknown | Unsent), again
    assert await bench.gateway.open_orders() == []


async def test_everything_that_rests_can_be_cancelled_by_our_ids_alone(bench: Bench) -> None:
    needs(bench, "client_ids")
    needs(bench, "post_only")
    requests = []
    for behind in (-120.0, -160.0, -200.0):
        request, outcome = await bench.place(Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=behind)
        assert isinstance(outcome, Accepted), outcome
        requests.append(request)
    for request in requests:
        outcome = await bench.station.cancel(request)
        assert isinstance(outcome, Accepted), outcome
        await bench.ended(request, outcome)
    assert await bench.gateway.open_orders() == []
    assert bench.truth()["open_orders"] == []


async def test_reduce_only_never_opens_and_never_flips(bench: Bench) -> None:
    needs(bench, "reduce_only")
    alone, outcome = await bench.place(Side.SELL, reduce_only=True, cross_bps=100.0)
    if isinstance(outcome, Accepted) and not bench.gateway.traits.late_refusals:
        assert outcome.filled_lots == 0
    if bench.gateway.traits.quotes_first:  # one order under way per instrument
        await bench.ended(alone, outcome)
    assert await bench.lots() == 0
    opened = await bench.buy()
    await bench.place(Side.SELL, lots=opened.lots * 3, reduce_only=True, cross_bps=100.0)
    assert 0 <= await bench.lots() <= opened.lots
    assert bench.told_lots(alone) == 0


async def test_a_second_order_of_one_id_is_refused(bench: Bench) -> None:
    needs(bench, "client_ids")
    needs(bench, "post_only")
    if not bench.dialect.unique_ids:
        pytest.skip(f"{bench.venue} does not refuse a used client id (its dialect)")
    request, first = await bench.place(Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-150.0)
    assert isinstance(first, Accepted), first
    await bench.until(lambda: bench.truth()["open_orders"])
    second = await bench.station.send(request)
    if not isinstance(second, Accepted):  # else it may still fail behind the queue
        assert isinstance(second, Rejected), second
    request, third = await bench.place(Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-160.0)
    assert isinstance(third, Accepted), third
    await bench.until(lambda: len(bench.truth()["open_orders"]) >= 2)
    assert len(bench.truth()["open_orders"]) == 2, "the second order of one id rests too"


async def test_a_nonce_is_good_once(bench: Bench) -> None:
    if not bench.dialect.used_nonce_refused:
        pytest.skip(f"{bench.venue} has no nonces that are used up (its dialect)")
    nonce = bench.gateway.nonces.next()
    outcomes = []
    for _ in range(2):
        prepared = bench.gateway.prepare(await bench.request(Side.BUY, cross_bps=200.0), nonce)
        if prepared.signature is not None:
            await prepared.signature
        outcomes.append(await bench.gateway.submit(prepared))
    assert isinstance(outcomes[0], Accepted), outcomes
    assert isinstance(outcomes[1], Rejected), outcomes


# ---- doubt --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["silent", "broken"])
async def test_a_lost_answer_is_unknown_and_the_lookup_tells(bench: Bench, way: str) -> None:
    request = await bench.quoted(await bench.request(Side.BUY, cross_bps=200.0))
    bench.fault("lost_answer", way=way)
    before = len(bench.true_orders())
    outcome = await bench.station.send(request)
    assert isinstance(outcome, Unknown), outcome
    ended = await bench.ended(request, outcome)
    assert isinstance(ended, VenueOrder), ended
    assert len(bench.true_orders()) == before + 1
    assert await bench.lots() == ended.filled_lots
    assert bench.gateway.unknown_bound_ns(request) >= request.expires_wire_ns
    await bench.until(lambda: bench.gateway.entry_ready)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("http_error", {"value": 502, "way": "executed"}),
        *(("garbage", {"way": way}) for way in ("truncated", "binary", "deep")),
    ],
)
async def test_an_answer_that_proves_nothing_is_unknown(bench: Bench, kind: str, more: dict[str, object]) -> None:
    request = await bench.quoted(await bench.request(Side.BUY, cross_bps=200.0))
    bench.fault(kind, traffic=["orders"], times=1, **more)
    outcome = await bench.station.send(request)
    assert isinstance(outcome, Unknown), outcome
    ended = await bench.ended(request, outcome)
    assert isinstance(ended, VenueOrder)
    assert await bench.lots() == ended.filled_lots
    await bench.until(lambda: bench.gateway.entry_ready)


async def test_an_order_that_was_never_sent_is_not_found_and_not_yet_proven_absent(bench: Bench) -> None:
    request = await bench.quoted(await bench.request(Side.BUY))
    bench.gateway.prepare(request, bench.gateway.nonces.next())
    found = await bench.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(found, NotFound)
    stranger = msgspec.structs.replace(request, client_order_id=bench.station.client_order_id())
    found = await bench.gateway.lookup(stranger.instrument, stranger.client_order_id)
    assert isinstance(found, NotFound)
    assert bench.gateway.unknown_bound_ns(stranger) >= stranger.expires_wire_ns


async def test_a_venue_that_is_away_is_unsent_and_comes_back(bench: Bench) -> None:
    request = await bench.quoted(await bench.request(Side.BUY))
    downs, ups = len(bench.station.downs), len(bench.station.ups)
    bench.box.control("venue", {"venue": bench.venue, "serving": False})
    try:
        await bench.until(lambda: not bench.gateway.entry_ready and len(bench.station.downs) > downs)
        assert isinstance(await bench.station.send(request), Unsent)
        with pytest.raises(VenueError):
            await bench.gateway.positions()
    finally:
        bench.box.control("venue", {"venue": bench.venue, "serving": True})
    bench.gateway.wake()
    await bench.until(lambda: bench.gateway.entry_ready and len(bench.station.ups) > ups, 20.0)
    await bench.reachable()
    await bench.buy()


# ---- nonces and auth ------------------------------------------------------------------------------------------------------


async def test_a_refused_nonce_is_a_refusal_and_the_next_order_goes(bench: Bench) -> None:
    request = await bench.quoted(await bench.request(Side.BUY, cross_bps=200.0))
    bench.fault("rejected_nonce", times=1)
    outcome = await bench.station.send(request)
    assert meaning_of(outcome) in (Meaning.REJECTED, Meaning.RATE_LIMITED), outcome
    assert await bench.lots() == 0
    bench.box.control("clear", {})
    await bench.buy()


async def test_what_streams_stand_on_runs_out_and_is_made_anew(bench: Bench) -> None:
    kind = importlib.import_module(f"ops.sandbox.venues.{bench.venue}").SandboxVenue
    if Traffic.PRIVATE not in kind.dialect.auth:
        pytest.skip(f"{bench.venue}'s private streams stand on nothing that runs out")
    ups = len(bench.station.ups)
    bench.fault("expired_auth", traffic=["private"], times=1)
    await bench.until(lambda: len(bench.station.ups) > ups, 20.0)
    bench.box.control("clear", {})
    request = await bench.buy()
    await bench.until(lambda: bench.told_lots(request) == request.lots)


# ---- the private stream -----------------------------------------------------------------------------------------------------


async def test_a_fill_during_a_gap_of_the_stream_is_found(bench: Bench) -> None:
    """The first frame after an order breaks the stream; whatever got in then and until it is back is read from `since` on."""
    ups = len(bench.station.ups)
    first, second = [await bench.quoted(await bench.request(Side.BUY, cross_bps=200.0)) for _ in range(2)]
    bench.fault("disconnect", traffic=["private"], for_s=0.4)
    outcomes = [await bench.station.send(first)]
    await bench.until(lambda: bench.station.downs)
    outcomes.append(await bench.station.send(await bench.quoted(second)))
    await bench.until(lambda: len(bench.station.ups) > ups and bench.gateway.entry_ready, 20.0)
    await bench.reachable()
    since_ns = bench.station.ups[-1].since_wire_ns
    assert 0 < since_ns <= bench.station.clock.wire_ns()
    for request, outcome in zip((first, second), outcomes, strict=True):
        if not isinstance(outcome, Unsent):
            await bench.ended(request, outcome)
    ours = {first.client_order_id, second.client_order_id}
    read = {f.trade_id: f.lots for f in await bench.gateway.fills_since(since_ns) if f.client_order_id in ours}
    assert sum(read.values()) == await bench.lots()
    if not read:  # neither got in: then no source may say otherwise
        assert not any(Decimal(row["filled"]) for row in bench.true_orders()[-2:])


@pytest.mark.parametrize(("kind", "value"), [("duplicate", 2.0), ("reorder", 1.0)])
async def test_repeated_and_reordered_frames_tell_each_trade_once(bench: Bench, kind: str, value: float) -> None:
    bench.fault(kind, traffic=["private"], value=value)
    request = await bench.buy()
    bench.box.control("clear", {})
    await bench.place(Side.SELL, reduce_only=bench.gateway.traits.reduce_only, lots=request.lots, cross_bps=100.0)
    read = [f for f in await bench.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert sum(f.lots for f in read) == request.lots
    assert {f.trade_id for f in bench.station.fills(request.client_order_id)} <= {f.trade_id for f in read}
    if kind == "duplicate":
        await bench.until(lambda: bench.told_lots(request) == request.lots)


async def test_a_silent_private_stream_loses_nothing_that_is_read_later(bench: Bench) -> None:
    bench.fault("stall", traffic=["private"])
    request, outcome = await bench.place(Side.BUY, cross_bps=200.0)
    ended = await bench.ended(request, outcome)
    assert isinstance(ended, VenueOrder), ended
    read = [f for f in await bench.gateway.fills_since(0) if f.client_order_id == request.client_order_id]
    assert sum(f.lots for f in read) == ended.filled_lots == await bench.lots()


@pytest.mark.parametrize("way", ["hostile", "times", "binary"])
async def test_malformed_frames_are_survived_and_nothing_is_believed_of_them(bench: Bench, way: str) -> None:
    bench.fault("garbage", traffic=["private"], way=way)
    request, outcome = await bench.place(Side.BUY, cross_bps=200.0)
    bench.box.control("clear", {})
    await bench.ended(request, outcome)
    for fill in bench.station.fills(request.client_order_id):
        assert fill.px > 0
        assert 0 < fill.lots <= request.lots
    await bench.until(lambda: bench.gateway.entry_ready, 20.0)
    began_ns = bench.station.clock.wire_ns()
    other = await bench.buy()
    for _ in range(100):  # told; or read, where the stream is being opened anew just then
        read = [f for f in await bench.gateway.fills_since(began_ns) if f.client_order_id == other.client_order_id]
        if other.lots in (bench.told_lots(other), sum(fill.lots for fill in read)):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"nobody told of {other.client_order_id}, and no reading finds it")


async def test_a_foreign_fill_is_foreign(bench: Bench) -> None:
    async with Station(bench.venue, bench.box) as other:
        await bench.dialect.foreign_order(other)
    await bench.until(lambda: bench.station.fills(None))
    lots = sum({f.trade_id: f.lots for f in bench.station.fills(None)}.values())
    read = [f for f in await bench.gateway.fills_since(0) if f.client_order_id is None]
    assert {f.trade_id for f in bench.station.fills(None)} <= {f.trade_id for f in read}
    assert await bench.lots() == lots > 0


# ---- leverage, switch -------------------------------------------------------------------------------------------------------


async def test_leverage_is_set_and_read_back(bench: Bench) -> None:
    if bench.gateway.traits.wallet:
        pytest.skip(f"{bench.venue} has no leverage (its Traits)")
    for times in (2, 3):
        await bench.gateway.set_leverage(bench.instrument, times, bench.gateway.nonces.next())
        assert await bench.gateway.leverage(bench.instrument) == times
    with pytest.raises(VenueError):
        await bench.gateway.set_leverage(bench.instrument, 9999, bench.gateway.nonces.next())
    assert await bench.gateway.leverage(bench.instrument) == 3


async def test_the_dead_mans_switch_is_armed_pushed_out_and_disarmed(bench: Bench) -> None:
    switch = bench.gateway.dead_man
    if switch is None:
        pytest.skip(f"{bench.venue} has no dead-man's switch, or none for this account")
    assert 0 <= switch.refresh_s < switch.countdown_s or switch.countdown_s == 0
    request, outcome = await bench.place(Side.BUY, tif=TimeInForce.POST_ONLY, cross_bps=-150.0)
    assert isinstance(outcome, Accepted), outcome
    try:
        for _ in range(2):
            await bench.gateway.arm_dead_man([bench.instrument])
    except VenueError as error:
        pytest.skip(f"{bench.venue} refuses its switch to this account: {error}")
    await bench.gateway.disarm_dead_man([bench.instrument])
    assert request.client_order_id in {o.client_order_id for o in await bench.gateway.open_orders()}
