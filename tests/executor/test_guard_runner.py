"""Exit guards over the real engine and pairs: who is watched, by which marks, and what a firing does at the venues."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.messages import LegOrder, PairStatus, Sending
from core.types import Down, MarkPrice, Position, ReadResult, TradingState
from executor.guard_runner import GuardRunner
from executor.state import Key, PairBook
from tests.executor.rig import LONG, SHORT, Rig, settle


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.rig = Rig(tmp_path)
        self.heard_ns: dict[str, int] = {}
        self.runner = GuardRunner(
            self.rig.engine, self.rig.pairs, lambda strategy: self.heard_ns.get(strategy, 0), self.rig.meter
        )

    async def seconds(self, count: float, *, alive: bool = False) -> None:
        """Half a second at a time; `alive`: the owner is heard all the while."""
        for _ in range(int(count * 2)):
            self.rig.pass_ms(500)
            if alive:
                self.heard_ns["scalp"] = self.rig.clock.mono_ns()
            self.runner.turn()
            await settle()

    def say(self, liquidation_px: str | None, mark_px: str = "100000", lots: int = 10) -> None:
        position = Position(
            venue=LONG,
            symbol="BTC",
            lots=lots,
            avg_entry_px=Decimal(100_000),
            mark_px=Decimal(mark_px),
            liquidation_px=Decimal(liquidation_px) if liquidation_px else None,
        )
        self.rig.engine.desks[LONG].note_positions([position], self.rig.clock.mono_ns())

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.rig.lines]
        return [line for line in lines if line["event"] == name]


def status(pair: PairBook) -> PairStatus:
    return pair.status


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_silent_owners_pair_is_stopped_by_its_basis(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.rig.market(100_000.0, 170.0)  # entered at 60 bps: 110 against us, the guard's bound is 100
    await bench.seconds(9)
    assert status(pair) is PairStatus.OPEN, "silent for less than owner_silent_s"
    await bench.seconds(3)
    assert status(pair) is PairStatus.CLOSED
    assert pair.reason == "stop_basis"
    assert bench.rig.meter.count("guard_fired") == 1
    assert len(bench.events("guard_fired")) == 1


async def test_a_living_owner_keeps_his_pair_through_the_same_market(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.rig.market(100_000.0, 170.0)
    await bench.seconds(30, alive=True)
    assert status(pair) is PairStatus.OPEN
    await bench.seconds(13)  # he falls silent
    assert status(pair) is PairStatus.CLOSED


async def test_a_calm_market_stops_nothing_though_the_owner_is_silent(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.seconds(60)
    assert status(pair) is PairStatus.OPEN
    assert bench.rig.meter.count("guard_fired") == 0


async def test_max_hold_closes_a_forgotten_pair(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.seconds(595)
    assert status(pair) is PairStatus.OPEN
    await bench.seconds(10)
    assert status(pair) is PairStatus.CLOSED
    assert pair.reason == "max_hold"


async def test_guards_work_in_halted(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.rig.engine.set_trading_state(TradingState.HALTED, "test")
    bench.rig.market(100_000.0, 170.0)
    await bench.seconds(13)
    assert status(pair) is PairStatus.CLOSED


async def test_stop_leg_uses_the_venues_mark_from_shared_memory_while_it_is_fresh(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    mark = MarkPrice(74_000.0, 74_000.0, 0.0, 0.0, 0, bench.rig.clock.mono_ns())
    bench.rig.books[LONG].marks["BTC"] = mark
    await bench.seconds(13)
    assert status(pair) is PairStatus.OPEN, "a mark that old proves nothing"
    for _ in range(4):
        bench.rig.books[LONG].marks["BTC"] = mark._replace(local_mono_ns=bench.rig.clock.mono_ns())
        await bench.seconds(0.5)
    assert status(pair) is PairStatus.CLOSED
    assert pair.reason == "stop_leg"


async def test_stop_leg_falls_back_to_the_mark_that_came_with_the_position(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.seconds(11)
    bench.say(None, mark_px="74000")
    await bench.seconds(2)
    assert status(pair) is PairStatus.CLOSED
    assert pair.reason == "stop_leg"


async def test_margin_closes_a_pair_of_a_living_owner_without_any_quote(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.say("97000")  # 3% away: below move_to_liq_close_pct
    bench.rig.books[LONG].quotes["BTC"] = Down("feed dead")
    await bench.seconds(0.5, alive=True)
    assert not pair.closing, "one evaluation is no proof"
    await bench.seconds(1.5, alive=True)
    assert pair.closing
    assert pair.reason == "margin_close"


async def test_margin_halves_both_legs_first(bench: Bench) -> None:
    pair = await bench.rig.open("0.016")
    bench.say("94000", lots=16)  # 6% away
    await bench.seconds(2, alive=True)
    await bench.rig.turn()
    assert (bench.rig.truth((LONG, "BTC")), bench.rig.truth((SHORT, "BTC"))) == (8, -4)
    assert status(pair) is PairStatus.OPEN
    assert not pair.closing


@pytest.mark.parametrize(("liquidation", "warnings"), [("84000", 0), ("86000", 1), ("91000", 1)])
async def test_margin_warns_once_per_level_and_closes_nothing(bench: Bench, liquidation: str, warnings: int) -> None:
    pair = await bench.rig.open("0.01")
    bench.say(liquidation)
    await bench.seconds(10, alive=True)
    assert status(pair) is PairStatus.OPEN
    assert len(bench.events("margin_near")) == bench.rig.meter.count("margin_warned") == warnings


async def test_margin_used_of_an_account_without_pairs_is_said_once(bench: Bench) -> None:
    balance = bench.rig.gateways[LONG].balance_now()
    desk = bench.rig.engine.desks[LONG]
    desk.note_balance(balance, 1)
    await bench.seconds(3)
    assert bench.events("margin_used") == []
    desk.note_balance(msgspec.structs.replace(balance, maintenance_margin_usd=Decimal(4_000)), 2)
    await bench.seconds(3)
    assert len(bench.events("margin_used")) == 1


async def test_a_pair_that_is_opening_or_closing_is_left_alone(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.rig.books[SHORT].quotes["BTC"] = Down("feed dead")
    await bench.rig.close(pair)
    assert pair.closing
    bench.say("97000")
    await bench.seconds(5)
    assert bench.rig.meter.count("guard_fired") == 0


async def test_turns_are_paced(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.say("97000")
    asked, quote = 0, bench.rig.engine.quote

    def counted(key: Key) -> ReadResult:
        nonlocal asked
        asked += 1
        return quote(key)

    bench.rig.engine.quote = counted  # type: ignore[method-assign]
    for _ in range(200):
        bench.rig.pass_ms(1)
        bench.runner.turn()
    assert bench.rig.meter.count("guard_fired") == 0, "a storm of turns must not count as confirmation"
    assert asked == 2, "one evaluation of one pair"


MAKER = Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=600.0)


@pytest.mark.parametrize("lots", [4, 0])
async def test_a_pair_that_is_being_opened_by_a_resting_leg_is_guarded_for_what_it_holds(
    bench: Bench, lots: int
) -> None:
    pair = await bench.rig.open("0.01", sending=MAKER)
    if lots:
        bench.rig.gateways[LONG].match(bench.rig.gateways[LONG].resting[0], lots)
    await settle()
    assert status(pair) is PairStatus.OPENING
    bench.rig.market(100_000.0, 170.0)
    await bench.seconds(14)
    for _ in range(5):
        await bench.rig.turn()
    assert bench.rig.meter.count("guard_fired") == (1 if lots else 0)
    if lots:
        assert status(pair) is PairStatus.CLOSED
        assert pair.reason == "stop_basis"
        bench.rig.check()


async def test_a_close_that_rests_is_taken_at_once_when_a_guard_fires(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.rig.pairs.request_close(pair, "event", sending=MAKER)
    await settle()
    assert status(pair) is PairStatus.CLOSING
    bench.rig.market(100_000.0, 170.0)
    await bench.seconds(14)
    for _ in range(5):
        await bench.rig.turn()
    assert status(pair) is PairStatus.CLOSED
    assert bench.rig.meter.count("guard_fired") == 1
    bench.rig.check()
