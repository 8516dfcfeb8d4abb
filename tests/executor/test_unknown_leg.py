"""One leg filled, the other unknown, its venue gone: each policy does what it says, and nothing before it may."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.messages import PairStatus
from core.types import Down, OrderStatus, Side, TradingState, Venue
from executor.page import snapshot
from executor.reconcile import Reconciler
from executor.state import OrderState, PairBook, State
from executor.venues.base import NotFound, Traits
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, FakeBook, MemoryJournal, instrument, settle
from tests.executor.stubborn import SimSleep, Stubborn
from tests.executor.test_reconcile import Bench, status

THIRD = Venue("lighter")
LOST = Plan(answer=Answer.LOST, told=Told.NEVER)
LOST_UNFILLED = Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0)


class Three(Bench):
    """A third venue that lists the same contracts, at the price between both."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, **execution: Any) -> None:
        super().__init__(tmp_path, monkeypatch, execution={"unknown_policy": policy, **execution})
        rig = self.rig
        contracts = [instrument(THIRD), instrument(THIRD, "ETH")]
        self.third = Stubborn(THIRD, contracts, rig.clock, rig.trace)
        self.third.harden()
        self.third.leverages = {"BTC": 3, "ETH": 3}
        rig.gateways[THIRD] = self.third
        rig.books[THIRD] = FakeBook()
        rig.journal = MemoryJournal()
        rig.boot(State())
        self.market()
        self.build()

    def build(self) -> None:
        super().build()
        self.reconciler = Reconciler(self.rig.engine, lambda *what: self.resolved.append(what), SimSleep(self.rig))

    def market(self) -> None:
        self.rig.books[THIRD].quotes["BTC"] = self.rig.books[LONG].quotes["BTC"]
        self.rig.market(100_000.0, 60.0)

    async def seconds(self, count: int) -> None:
        """All three loops and the pairs, twice a second."""
        for _ in range(2 * count):
            self.rig.pass_ms(500.0)
            self.market()
            for venue in self.rig.gateways:
                await self.reconciler.turn(venue)
            self.rig.pairs.tick()
            await settle()

    async def lose(self, plan: Plan) -> PairBook:
        """Open: the long leg fills, the short one's answer is lost and its venue goes dark at once."""
        self.short.plans.append(plan)
        self.short.reachable = True
        pair = await self.rig.open("0.01")
        self.short.reachable = self.short.entry_ready = False
        assert status(pair) is PairStatus.UNKNOWN
        return pair

    def back(self) -> None:
        self.short.reachable = self.short.entry_ready = True

    def sent(self, purpose: str) -> list[OrderState]:
        return [each for each in self.rig.state.orders.values() if each.prepared.purpose == purpose]

    @property
    def unhedged_usd(self) -> Decimal:
        return snapshot(self.rig.engine).unhedged_usd


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Three:
    return Three(tmp_path, monkeypatch, "hedge_third_venue")


async def test_waiting_sends_nothing_and_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = Three(tmp_path, monkeypatch, "wait_and_page")
    pair = await three.lose(LOST)
    await three.seconds(90)
    assert status(pair) is PairStatus.UNKNOWN
    assert (len(three.long.wire), len(three.short.wire), three.third.wire) == (1, 1, [])
    assert three.events("order_unresolved")


@pytest.mark.parametrize("policy", ["hedge_third_venue", "unwind_filled_leg"])
async def test_nothing_is_done_while_the_venue_may_still_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    three = Three(tmp_path, monkeypatch, policy)
    pair = await three.lose(LOST)
    await three.seconds(24)
    assert (len(three.long.wire), len(three.short.wire), three.third.wire) == (1, 1, [])
    three.back()
    await three.seconds(20)
    assert status(pair) is PairStatus.OPEN
    assert three.third.wire == []


@pytest.mark.parametrize("policy", ["hedge_third_venue", "unwind_filled_leg"])
async def test_an_order_that_stays_unknown_at_a_readable_venue_is_left_to_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    three = Three(tmp_path, monkeypatch, policy)
    pair = await three.lose(LOST)
    three.back()
    three.short.lookups.extend([NotFound(definitive=False)] * 1000)
    three.short.silent_fills = True
    await three.seconds(50)
    assert status(pair) is PairStatus.UNKNOWN
    assert (len(three.long.wire), len(three.short.wire), three.third.wire) == (1, 1, [])
    await three.seconds(25)
    assert status(pair) is PairStatus.OPEN, "the position told"


@pytest.mark.parametrize(("plan", "end"), [(LOST, PairStatus.CLOSED), (LOST_UNFILLED, PairStatus.CLOSED)])
async def test_the_filled_leg_is_unwound_and_the_answer_repaired_when_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan, end: PairStatus
) -> None:
    three = Three(tmp_path, monkeypatch, "unwind_filled_leg")
    pair = await three.lose(plan)
    await three.seconds(40)
    assert three.rig.truth((LONG, "BTC")) == 0
    assert [order.prepared.reduce_only for order in three.sent("unwind")] == [True]
    three.back()
    await three.seconds(10)
    assert status(pair) is end
    assert three.rig.truth((SHORT, "BTC")) == 0
    three.rig.check()


async def test_a_third_venue_takes_the_hedge_and_the_pair_is_not_naked_meanwhile(three: Three) -> None:
    pair = await three.lose(LOST_UNFILLED)
    assert three.unhedged_usd > 900
    await three.seconds(33)
    (hedge,) = three.sent("stand_in")
    assert (hedge.prepared.venue, hedge.prepared.side, hedge.prepared.pair_id) == (THIRD, Side.SELL, pair.pair_id)
    assert not hedge.prepared.reduce_only
    assert three.rig.truth((THIRD, "BTC")) * Decimal("0.002") == Decimal("-0.01")
    assert three.unhedged_usd == 0
    assert status(pair) is PairStatus.UNKNOWN, "hedged, but the order is as unknown as before"
    await three.seconds(60)
    assert len(three.third.wire) == len(three.long.wire) == 1, "once is enough, and nobody takes it for a stray"
    assert three.events("naked_position") == []


async def test_when_the_lost_order_turns_out_filled_only_the_hedge_goes(three: Three) -> None:
    pair = await three.lose(LOST)
    await three.seconds(33)
    assert three.rig.truth((THIRD, "BTC")) == -5
    three.back()
    await three.seconds(6)
    assert status(pair) is PairStatus.OPEN
    assert three.rig.truth((THIRD, "BTC")) == 0
    assert (pair.long.lots, pair.short.lots) == (10, -5)
    assert [(o.prepared.venue, o.prepared.reduce_only) for o in three.sent("stand_down")] == [(THIRD, True)]
    three.rig.check()


async def test_when_it_turns_out_unfilled_leg_and_hedge_go_together(three: Three) -> None:
    pair = await three.lose(LOST_UNFILLED)
    await three.seconds(33)
    three.back()
    await three.seconds(6)
    assert status(pair) is PairStatus.CLOSED
    assert not any(three.rig.truth((venue, "BTC")) for venue in three.rig.gateways)
    undone = three.sent("stand_down")
    assert sorted(order.prepared.venue for order in undone) == sorted((LONG, THIRD))
    assert len({order.prepared.wire_ns for order in undone}) == 1, "in one go"
    three.rig.check()


async def test_when_it_filled_in_part_what_matches_stays(three: Three) -> None:
    pair = await three.lose(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=2))
    await three.seconds(33)
    three.back()
    await three.seconds(6)
    assert status(pair) is PairStatus.OPEN
    assert (pair.long.lots, pair.short.lots) == (4, -2)
    assert three.rig.truth((THIRD, "BTC")) == 0
    three.rig.check()


async def test_a_partly_filled_hedge_is_followed_up_but_not_for_ever(three: Three) -> None:
    three.third.plans.extend([Plan(fill_lots=2), Plan(fill_lots=0)])
    three.third.default = Plan(fill_lots=0)
    await three.lose(LOST_UNFILLED)
    await three.seconds(60)
    assert len(three.sent("stand_in")) == 3
    assert three.rig.truth((THIRD, "BTC")) == -2
    three.third.default = Plan()
    three.back()
    await three.seconds(10)
    assert not any(three.rig.truth((venue, "BTC")) for venue in three.rig.gateways)
    three.rig.check()


async def test_a_restart_finds_the_hedge_in_the_journal_and_undoes_it(three: Three) -> None:
    await three.lose(LOST)
    await three.seconds(33)
    three.rig.boot(three.rig.journal.replayed())
    three.build()
    (pair,) = three.rig.state.live_pairs()
    assert pair.hedge is not None
    assert pair.hedge.lots == -5
    three.back()
    three.rig.engine.desks[SHORT].reconciled = True
    await three.seconds(8)
    assert status(pair) is PairStatus.OPEN
    assert three.rig.truth((THIRD, "BTC")) == 0
    three.rig.check()


async def test_the_end_of_one_is_never_waited_for_by_closing_the_other(three: Three) -> None:
    """The hedge's venue is gone when the doubt is resolved: leg and hedge stand against each other and wait."""
    pair = await three.lose(LOST_UNFILLED)
    await three.seconds(33)
    three.third.entry_ready = False
    three.back()
    await three.seconds(10)
    assert three.rig.truth((LONG, "BTC")) == 10
    assert three.rig.truth((THIRD, "BTC")) == -5
    assert status(pair) is PairStatus.REPAIRING
    three.third.entry_ready = True
    await three.seconds(5)
    assert status(pair) is PairStatus.CLOSED
    three.rig.check()


def frozen(three: Three) -> None:
    three.rig.engine.freeze((THIRD, "BTC"), "overfilled")


def halted(three: Three) -> None:
    three.rig.engine.set_trading_state(TradingState.HALTED, "test")


def other_leverage(three: Three) -> None:
    three.third.leverages["BTC"] = 20
    three.third.leverage_sticks = False
    three.rig.engine.desks[THIRD].leverage["BTC"] = 20


def poor(three: Three) -> None:
    three.third.balance_usd = Decimal(100)


def without_quote(three: Three) -> None:
    three.market = lambda: None  # type: ignore[method-assign]
    three.rig.books[THIRD].quotes["BTC"] = Down("gone")


def on_request_only(three: Three) -> None:
    three.third.traits = Traits(quotes_first=True)


def spot(three: Three) -> None:
    three.third.instruments()["BTC"] = instrument(THIRD, can_short=False)


def foreign(three: Three) -> None:
    three.rig.engine.adopt((THIRD, "BTC"), 3, foreign=True, why="test")
    three.third.position_lots["BTC"] = 3


def dark(three: Three) -> None:
    three.third.reachable = False


@pytest.mark.parametrize(
    "hinder", [frozen, halted, other_leverage, poor, without_quote, on_request_only, spot, foreign, dark]
)
async def test_what_denies_an_opening_there_denies_the_hedge(three: Three, hinder: Any) -> None:
    pair = await three.lose(LOST_UNFILLED)
    hinder(three)
    await three.seconds(50)
    assert three.third.wire == []
    assert status(pair) is PairStatus.UNKNOWN
    assert len(three.events("no_third_venue")) == 1


async def test_a_hedge_of_unknown_outcome_is_not_sent_again(three: Three) -> None:
    three.third.plans.append(LOST)
    pair = await three.lose(LOST_UNFILLED)
    three.third.lookups.extend([])
    await three.seconds(31)
    await three.seconds(5)
    assert len(three.third.wire) == 1
    assert three.rig.state.orders[three.third.wire[0]].status is OrderStatus.FILLED, "found by its id"
    assert pair.hedge is not None
    assert pair.hedge.lots == -5
