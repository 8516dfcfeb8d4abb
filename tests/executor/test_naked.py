"""Lots of ours that no pair owns: alarmed, shown, closed; and everything that only looks like them left alone."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.types import Side, TimeInForce
from executor.orders import Draft
from executor.page import snapshot
from executor.venues.base import Traits
from tests.executor.fake_gateway import Plan, Told
from tests.executor.rig import LONG, SHORT, settle
from tests.executor.test_reconcile import BTC, Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


async def stray(bench: Bench, lots: int = 10, side: Side = Side.SELL, purpose: str = "unwind") -> None:
    """One order too many: it fills, and belongs to no pair."""
    draft = Draft(
        instrument=bench.long.instruments()["BTC"],
        side=side,
        lots=lots,
        limit_ticks=1_000_000,
        time_in_force=TimeInForce.IOC,
        reduce_only=False,
        purpose=purpose,
        strategy="manual" if purpose == "manual" else "",
    )
    bench.rig.engine.send([draft])
    await settle()


async def test_lots_that_no_pair_owns_are_alarmed_shown_and_closed(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.rig.close(pair)
    await stray(bench)
    bench.long.plans.append(Plan(fill_lots=0))
    await bench.turns(6, 500.0)
    assert len(bench.events("naked_position")) == 1
    page = snapshot(bench.rig.engine)
    assert page.unhedged_usd == pytest.approx(Decimal(1000), rel=Decimal("0.001"))
    assert page.unhedged_age_ns > 0
    assert "PARTIAL_HEDGE" in next(each for each in page.positions if each.venue == LONG).flags
    await bench.turns(12, 500.0)
    assert bench.rig.truth(BTC) == 0
    assert snapshot(bench.rig.engine).unhedged_usd == 0
    assert len(bench.events("naked_position_gone")) == 1
    last = list(bench.rig.state.orders.values())[-1].prepared
    assert (last.reduce_only, last.side, last.lots) == (True, Side.BUY, 10)
    bench.rig.check()


async def test_it_is_closed_in_halted_too_and_beside_a_live_pair_only_by_the_excess(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await stray(bench, 4, Side.BUY)
    await bench.turns(20, 500.0)
    assert bench.rig.truth(BTC) == 10
    assert (pair.long.lots, pair.short.lots) == (10, -5)
    bench.rig.check()


async def test_nothing_happens_at_first_sight(bench: Bench) -> None:
    await stray(bench)
    bench.rig.pass_ms(1)
    await bench.reconciler.read(LONG, full=True)
    assert bench.events("naked_position") == []
    assert len(bench.long.wire) == 1


async def test_the_ladder_is_walked_and_then_paced(bench: Bench) -> None:
    await stray(bench)
    bench.long.default = Plan(fill_lots=0)
    await bench.turns(100, 500.0)
    closes = [o.prepared for o in list(bench.rig.state.orders.values())[1:]]
    assert [order.limit_ticks for order in closes] == sorted(order.limit_ticks for order in closes)
    assert len(closes) == 3
    await bench.turns(40, 500.0)
    closes = [o.prepared for o in list(bench.rig.state.orders.values())[1:]]
    assert len(closes) == 4, "after the ladder one attempt a minute"
    readings = bench.long.readings
    await bench.turns(60, 500.0)
    assert bench.long.readings - readings <= 8, "and no storm of readings meanwhile"


async def test_a_position_by_hand_is_nobodys_mistake(bench: Bench) -> None:
    await stray(bench, 10, Side.BUY, "manual")
    await bench.turns(20, 500.0)
    assert bench.events("naked_position") == []
    assert bench.rig.truth(BTC) == 10
    await stray(bench, 3, Side.BUY)
    await bench.turns(20, 500.0)
    assert bench.rig.truth(BTC) == 10, "only what is beyond the hand's is closed"


async def test_what_is_by_hand_against_nobodys_lots_is_settled_with_them(bench: Bench) -> None:
    """The position is the pair's again: a claim by hand that stayed would make the rest look naked for ever."""
    await bench.rig.open("0.01")
    await stray(bench, 8, Side.BUY)
    await stray(bench, 3, Side.SELL, "manual")
    assert bench.rig.state.sub_ledgers(BTC) == {"scalp": 10, "by hand": -3, "": 8}
    await bench.turns(20, 500.0)
    assert bench.rig.truth(BTC) == 10
    assert bench.rig.state.sub_ledgers(BTC) == {"scalp": 10}
    bench.rig.check()


async def test_hedged_pairs_foreign_positions_dust_and_flatten_are_left_alone(bench: Bench) -> None:
    await bench.rig.open("0.01")
    await bench.turns(20, 500.0)
    bench.rig.engine.adopt((SHORT, "ETH"), 5, foreign=True, why="test")
    bench.short.position_lots["ETH"] = 5
    await bench.turns(20, 500.0, SHORT)
    assert bench.events("naked_position") == []
    contracts = bench.long.instruments()
    contracts["BTC"] = msgspec.structs.replace(contracts["BTC"], min_notional_usd=Decimal(500))
    await stray(bench, 2, Side.BUY)
    await bench.turns(20, 500.0)
    assert bench.events("naked_position") == [], "dust is shown, not chased"
    await stray(bench, 10, Side.BUY)
    bench.rig.engine.flattening.add(BTC)
    await bench.turns(20, 500.0)
    assert bench.events("naked_position") == []
    bench.rig.engine.flattening.clear()
    await bench.turns(20, 500.0)
    assert len(bench.events("naked_position")) == 1


async def test_a_pair_being_opened_leg_by_leg_is_not_naked(bench: Bench) -> None:
    bench.short.plans.append(Plan(held=True))
    bench.rig.commands.take(bench.rig.open_command("0.01"), bench.rig.client)
    await settle()
    await bench.turns(4, 400.0)
    assert bench.events("naked_position") == []
    bench.short.release()
    await settle()
    bench.rig.check()


async def test_two_looks_in_a_hurry_are_one(bench: Bench) -> None:
    await stray(bench)
    for _ in range(3):
        bench.rig.pass_ms(100)
        await bench.reconciler.read(LONG, full=False)
    assert bench.events("naked_position") == []
    bench.rig.pass_ms(400)
    await bench.reconciler.read(LONG, full=False)
    assert len(bench.events("naked_position")) == 1


async def test_one_attempt_at_a_time(bench: Bench) -> None:
    await stray(bench)
    bench.long.default = Plan(held=True)
    for _ in range(20):
        bench.rig.pass_ms(400)
        await bench.reconciler.read(LONG, full=False)
    assert len(bench.long.wire) == 2, "the second waits for the first one's outcome"


async def test_what_reduces_a_leg_is_the_pairs_business_and_not_bought_back(bench: Bench) -> None:
    """An order outside the pair has sold part of its long leg, and its fill is not booked yet."""
    await bench.rig.open("0.01")
    bench.long.silent_fills = True
    bench.long.plans.append(Plan(told=Told.NEVER))
    await stray(bench, 4, Side.SELL)
    await bench.turns(20, 500.0)
    bought = [o for o in bench.rig.state.orders.values() if o.prepared.side is Side.BUY and o.prepared.venue == LONG]
    assert len(bought) == 1, "the opening leg and nothing else"


async def test_a_venue_that_holds_nothing_there_is_not_sent_an_order(bench: Bench) -> None:
    await stray(bench)
    bench.long.positions_said = {}
    await bench.turns(10, 300.0)
    assert len(bench.long.wire) == 1


async def test_a_resting_order_of_ours_in_the_way_goes_first(bench: Bench) -> None:
    draft = Draft(
        instrument=bench.long.instruments()["BTC"], side=Side.SELL, lots=3, limit_ticks=1_000_010,
        time_in_force=TimeInForce.GTC, reduce_only=False, purpose="manual", strategy="manual",
    )  # fmt: skip
    bench.rig.engine.send([draft])
    await settle()
    (resting,) = bench.long.resting
    await stray(bench)
    await bench.turns(12, 500.0)
    assert bench.long.cancels[0] == resting
    assert bench.rig.truth(BTC) == 0


async def test_on_a_venue_that_quotes_first_it_goes_by_a_quote(bench: Bench) -> None:
    bench.long.traits = Traits(quotes_first=True, reduce_only=False)
    bench.long.quote_px = Decimal("100000.0")
    await stray(bench)
    bench.long.mark_px = Decimal("100000.0")
    await bench.turns(12, 500.0)
    assert bench.rig.truth(BTC) == 0
    last = list(bench.rig.state.orders.values())[-1].prepared
    assert last.quote_id
    assert not last.reduce_only
