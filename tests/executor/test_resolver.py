"""How orders in doubt are asked about: at once, then ever more rarely, never against the venue's word, and burned again when
the first no-op failed."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from core.clock import NS_PER_S
from core.errors import VenueError
from core.messages import PairStatus
from core.types import Instrument, OrderStatus, Side, TimeInForce
from executor.orders import Draft
from executor.resolver import ASKED_ENOUGH_NS, BURN_AGAIN_NS, BURNS_MAX, RATE_PAUSE_MAX_S, UNANSWERED_NS
from executor.venues.base import Traits
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, settle
from tests.executor.stubborn import rate_limited
from tests.executor.test_reconcile import BTC, LOST, LOST_UNFILLED, NOT_YET, Bench, status


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


async def asked(bench: Bench, seconds: float, step_ms: float = 100.0) -> int:
    """How many lookups `seconds` bring."""
    before = bench.long.looked_up
    await bench.turns(int(seconds * 1000 / step_ms), step_ms)
    return bench.long.looked_up - before


def by_hand(instrument: Instrument) -> Draft:
    return Draft(
        instrument=instrument,
        side=Side.BUY,
        lots=3,
        limit_ticks=1_000_000,
        time_in_force=TimeInForce.IOC,
        reduce_only=False,
        purpose="manual",
        strategy="manual",
    )


async def test_asking_begins_at_once_and_grows_rare(bench: Bench) -> None:
    bench.long.plans.append(LOST_UNFILLED)
    await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    assert await asked(bench, 0.1) == 1
    assert await asked(bench, 0.9) == 3, "after 100, 250 and 500 ms"
    assert await asked(bench, 3.5) == 2, "after 1 s and 2 s more"


async def test_once_asking_cannot_help_it_leaves_the_budget_to_readings(bench: Bench) -> None:
    """Beyond the bound a lookup without an answer adds nothing: only fills and positions decide."""
    bench.long.plans.append(LOST_UNFILLED)
    await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    (order,) = bench.rig.state.unknown_orders()
    bound_ns = order.prepared.expires_wire_ns + 2 * NS_PER_S
    bench.long.fail_with = VenueError("readings fail: nothing can be ruled")
    while bench.rig.clock.wire_ns() <= bound_ns:
        await bench.turns(1, 100.0)
    assert await asked(bench, 0.9 * ASKED_ENOUGH_NS / NS_PER_S) <= 1
    assert status(order) is OrderStatus.UNKNOWN
    bench.long.fail_with = None
    await bench.until_resolved()


async def test_what_was_asked_for_a_former_bound_is_asked_again(bench: Bench) -> None:
    """Taken, asked about and not found; then nobody saw its end and it is UNKNOWN, with the later bound of its expiry."""
    bench.long.plans.append(Plan(answer=Answer.ACK, told=Told.NEVER, fill_lots=0))
    bench.long._sink = None
    bench.long.fail_with = VenueError("nothing can be ruled yet")
    pair = await bench.rig.open("0.01")
    (order,) = [each for each in bench.rig.orders(pair) if each.prepared.venue == LONG]
    bench.long.lookups.extend([NOT_YET] * 1000)
    await bench.turns(25, 100.0)
    assert bench.long.looked_up == 1
    bench.rig.pass_ms(6000)
    bench.rig.engine.watch_orders()
    assert status(order) is OrderStatus.UNKNOWN
    bench.long.fail_with = None
    await bench.turns(50, 100.0)
    assert status(order) is OrderStatus.EXPIRED, "within seconds, not half a minute later"


@pytest.mark.parametrize(("said_s", "kept_s"), [(4.0, 4.0), (600.0, RATE_PAUSE_MAX_S)])
async def test_a_venue_that_says_slow_down_is_not_asked_meanwhile(bench: Bench, said_s: float, kept_s: float) -> None:
    bench.long.plans.append(LOST)
    pair = await bench.rig.open("0.01")
    bench.long.fail_with = VenueError("no readings")
    bench.long.lookups.append(rate_limited(said_s))
    assert await asked(bench, 0.1) == 1
    assert await asked(bench, kept_s - 0.2) == 0
    assert await asked(bench, 0.5) == 1
    assert status(pair) is PairStatus.OPEN


async def test_an_order_that_nobody_answers_is_asked_for_before_its_request_ends(bench: Bench) -> None:
    bench.long.plans.append(Plan(answer=Answer.NEVER, told=Told.NEVER))
    bench.long.silent_fills = True
    pair = await bench.rig.open("0.01")
    (order,) = [each for each in bench.rig.orders(pair) if each.prepared.venue == "hyperliquid"]
    assert status(order) is OrderStatus.SUBMITTED
    assert await asked(bench, UNANSWERED_NS / NS_PER_S) == 0
    assert await asked(bench, 0.2) == 1
    assert status(order) is OrderStatus.FILLED
    assert status(pair) is PairStatus.OPEN
    assert [(source, round(seconds, 1)) for _, source, seconds in bench.resolved] == [("lookup", 1.1)]
    await bench.turns(30)
    assert len(bench.long.wire) == len(bench.short.wire) == 1


async def test_a_no_op_that_failed_is_sent_again(bench: Bench) -> None:
    """The venue was away when it was asked for the first time: that proves nothing and must not be the last try."""
    bench.short.plans.append(LOST_UNFILLED)
    pair = await bench.rig.open("0.01")
    bench.short.lookups.extend([NOT_YET] * 1000)
    bench.short.burns = False
    await bench.turns(1, 100.0, SHORT)
    assert len(bench.short.burned) == 1
    await bench.turns(int(BURN_AGAIN_NS / 1e8) - 2, 100.0, SHORT)
    assert len(bench.short.burned) == 1, "not before its pause"
    bench.short.burns = True
    await bench.turns(3, 100.0, SHORT)
    assert len(bench.short.burned) == 2
    assert [source for _, source, _ in bench.resolved] == ["burn"]
    assert status(pair) is not PairStatus.UNKNOWN


async def test_a_refused_no_op_is_not_sent_for_ever(bench: Bench) -> None:
    bench.short.plans.append(LOST_UNFILLED)
    await bench.rig.open("0.01")
    bench.short.lookups.extend([NOT_YET] * 1000)
    bench.short.burns = False
    await bench.turns(300, 100.0, SHORT)
    assert len(bench.short.burned) <= BURNS_MAX


async def test_a_slow_no_op_keeps_nobody_waiting(bench: Bench) -> None:
    """Two orders in doubt at one venue: the burn of one is on its way while the other is looked up."""
    bench.short.plans.extend([LOST_UNFILLED, LOST])
    bench.short.silent_fills = True
    for symbol in ("BTC", "ETH"):
        bench.rig.engine.send([by_hand(bench.short.instruments()[symbol])])
    await settle()
    first, second = bench.rig.state.unknown_orders()
    pending: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    bench.short.burn_nonce = lambda nonce: pending  # type: ignore[method-assign]
    bench.short.lookups.extend([NOT_YET, VenueError("not now")])
    await bench.turns(1, 100.0, SHORT)
    assert status(first) is status(second) is OrderStatus.UNKNOWN
    bench.short.lookups.append(NOT_YET)
    await bench.turns(3, 100.0, SHORT)
    assert status(second) is OrderStatus.FILLED
    assert status(first) is OrderStatus.UNKNOWN
    pending.set_result(True)
    await bench.turns(1, 100.0, SHORT)
    assert status(first) is OrderStatus.EXPIRED
    await settle()


@pytest.mark.parametrize("late", [False, True])
async def test_being_queued_is_not_being_taken(bench: Bench, late: bool) -> None:
    """An IOC that was taken ended at once; one that was only queued may still run until its own bound, or its no-op."""
    bench.short.traits = Traits(late_refusals=late)
    bench.short.plans.append(Plan(answer=Answer.ACK, told=Told.NEVER, fill_lots=0))
    bench.short._sink = None
    bench.short.burns = False
    pair = await bench.rig.open("0.01")
    (order,) = [each for each in bench.rig.orders(pair) if each.prepared.venue == SHORT]
    bench.short.lookups.extend([NOT_YET] * 1000)
    await bench.turns(25 if late else 60, 100.0, SHORT)
    assert order.status.is_final is not late
    bench.short.burns = True
    await bench.turns(30, 100.0, SHORT)
    assert order.status.is_final
    assert [source for _, source, _ in bench.resolved] == ["burn" if late else "bound"]
    assert bool(bench.short.burned) is late


NAMELESS = Traits(client_ids=False, partial_fills=False, post_only=False)


async def test_a_venue_without_our_ids_is_resolved_by_the_one_fill_that_fits(bench: Bench) -> None:
    """The acceptance of a quote was lost, and with it the venue's own id: its fill has a name that we never heard."""
    bench.long.traits = NAMELESS
    bench.long.plans.append(LOST_UNFILLED)
    bench.long.lookups.extend([NOT_YET] * 1000)
    pair = await bench.rig.open("0.01")
    await bench.turns(2, 100.0)
    bench.long.foreign_fill("BTC", Side.BUY, 10, Decimal(100_000))
    await settle()
    assert status(pair) is PairStatus.OPEN
    assert bench.events("foreign_fill") == []
    assert len(bench.short.wire) == 1, "nothing was shrunk"
    await bench.turns(30)
    bench.rig.check()


async def test_where_our_ids_travel_a_fill_without_one_is_nobodys_order(bench: Bench) -> None:
    """It would fit; but the venue names every order of ours, so this is somebody's hand, and the doubt stands."""
    bench.long.plans.append(LOST_UNFILLED)
    bench.long.lookups.extend([NOT_YET] * 1000)
    pair = await bench.rig.open("0.01")
    await bench.turns(2, 100.0)
    bench.long.foreign_fill("BTC", Side.BUY, 10, Decimal(100_000))
    await settle()
    assert len(bench.events("foreign_fill")) == 1
    assert status(pair) is PairStatus.UNKNOWN


async def test_a_fill_that_fits_no_order_there_is_foreign_as_ever(bench: Bench) -> None:
    bench.long.traits = NAMELESS
    pair = await bench.rig.open("0.01")
    bench.long.foreign_fill("BTC", Side.SELL, 4, Decimal(100_000))
    await settle()
    assert len(bench.events("foreign_fill")) == 1
    assert (pair.long.lots, pair.short.lots) == (6, -3)


@pytest.mark.parametrize("filled", [0, 10])
async def test_a_venue_without_our_ids_has_its_position_as_the_last_word(bench: Bench, filled: int) -> None:
    bench.long.traits = NAMELESS
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=filled))
    bench.long.lookups.extend([NOT_YET] * 1000)
    bench.long.silent_fills = True
    await bench.rig.open("0.01")
    await bench.until_resolved()
    assert [source for _, source, _ in bench.resolved] == ["position" if filled else "bound"]
    assert bench.rig.state.lots(BTC) == filled


async def test_readings_that_fail_are_told_once_a_minute(bench: Bench) -> None:
    await bench.reconciler.recover(SHORT)
    bench.short.fail_with = rate_limited(0.1)
    await bench.turns(50, 1000.0, SHORT)
    assert len(bench.events("reconcile_postponed")) == 1
    bench.short.fail_with = VenueError("no")
    await bench.turns(20, 1000.0, SHORT)
    (failed,) = bench.events("reconcile_failed")
    assert failed["failed"] > 5
    bench.short.fail_with = None
    await bench.turns(10, 1000.0, SHORT)
    bench.short.fail_with = rate_limited(0.1)
    await bench.turns(10, 1000.0, SHORT)
    assert len(bench.events("reconcile_postponed")) == 2, "told anew once it had worked in between"
