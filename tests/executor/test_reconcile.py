"""Reconciliation against a venue that is hard to ask: doubts, differences, foreign positions, pace and blindness."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import VenueError
from core.ids import client_order_id, tag16
from core.messages import PairStatus
from core.types import Fill, LiquiditySide, OrderStatus, Position, Side, TimeInForce, Venue
from executor.differences import CONFIRM_NS, Differences, Judgement, behind
from executor.fills import LOST_MAX
from executor.orders import Draft
from executor.reconcile import FULL_EVERY, Reconciler
from executor.records import FillRecorded
from executor.state import OrderState, PairBook
from executor.venues.base import FundingPayment, NotFound, VenueOrder
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle
from tests.executor.stubborn import SimSleep, Stubborn, rate_limited

BTC = (LONG, "BTC")
LOST = Plan(answer=Answer.LOST, told=Told.NEVER)
LOST_UNFILLED = Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0)
NOT_YET = NotFound(definitive=False)


class Bench:
    """A rig with stubborn venues and a reconciler that is turned by hand."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sections: dict[str, object]) -> None:
        monkeypatch.setattr("tests.executor.rig.FakeGateway", Stubborn)
        self.rig = Rig(tmp_path, "sandbox.toml", **sections)
        self.long: Stubborn = self.rig.gateways[LONG]  # type: ignore[assignment]
        self.short: Stubborn = self.rig.gateways[SHORT]  # type: ignore[assignment]
        for gateway in (self.long, self.short):
            gateway.harden()
            gateway.leverages = {"BTC": 3, "ETH": 3}
        self.resolved: list[tuple[str, str, float]] = []
        self.build()

    def build(self) -> None:
        self.reconciler = Reconciler(
            self.rig.engine, lambda *what: self.resolved.append(what), sleep=SimSleep(self.rig)
        )
        self.rig.engine.on_doubt = lambda order: self.reconciler.wake(order.prepared.venue)
        self.rig.engine.on_hint = lambda venue, why: self.reconciler.wake(venue)

    async def turns(self, count: int = 1, ms: float = 500.0, venue: Venue = LONG) -> None:
        for _ in range(count):
            self.rig.pass_ms(ms)
            await self.reconciler.turn(venue)
            await settle()

    async def until_resolved(self, venue: Venue = LONG, turns: int = 400) -> None:
        for _ in range(turns):
            if not self.rig.state.unknown_orders():
                return
            await self.turns(1, 200.0, venue)
        raise AssertionError("still in doubt")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.rig.lines]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def status(what: PairBook | OrderState) -> PairStatus | OrderStatus:
    """Read anew: it changes behind the checker's back."""
    return what.status


# ---- orders in doubt ------------------------------------------------------------------------------------------------


async def test_a_lost_answer_is_settled_by_lookup_and_nothing_is_resent(bench: Bench) -> None:
    bench.long.plans.append(LOST)
    pair = await bench.rig.open("0.01")
    assert status(pair) is PairStatus.UNKNOWN
    assert BTC in bench.rig.state.frozen
    await bench.until_resolved()
    assert status(pair) is PairStatus.OPEN
    assert BTC not in bench.rig.state.frozen
    assert len(bench.long.wire) == len(bench.short.wire) == 1
    assert [(venue, source) for venue, source, _ in bench.resolved] == [(LONG, "lookup")]
    assert bench.resolved[0][2] > 0
    await bench.turns(30)
    bench.rig.check()
    assert not bench.rig.state.orders[bench.long.wire[0]].missing_lots, "its fill was read by REST"


async def test_a_reading_of_fills_settles_it_when_lookups_fail(bench: Bench) -> None:
    bench.long.plans.append(LOST)
    pair = await bench.rig.open("0.01")
    bench.long.lookups.extend([VenueError("no")] * 1000)
    await bench.turns(30)
    assert status(pair) is PairStatus.OPEN
    bench.rig.check()


async def test_not_found_before_the_bound_proves_nothing(bench: Bench) -> None:
    bench.long.plans.append(LOST_UNFILLED)
    pair = await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    order = bench.rig.state.unknown_orders()[0]
    while bench.rig.clock.wire_ns() <= order.prepared.expires_wire_ns + 2 * NS_PER_S:
        await bench.turns(1, 100.0)
        if bench.rig.clock.wire_ns() <= order.prepared.expires_wire_ns + 2 * NS_PER_S:
            assert status(pair) is PairStatus.UNKNOWN, "resolved before the bound"
    await bench.until_resolved()
    assert [source for _, source, _ in bench.resolved] == ["bound"]
    await bench.rig.until_final(pair)
    assert status(pair) is PairStatus.ABORTED or pair.status is PairStatus.CLOSED
    bench.rig.check()


async def test_a_burned_nonce_settles_it_long_before_the_bound(bench: Bench) -> None:
    bench.short.plans.append(LOST_UNFILLED)
    await bench.rig.open("0.01")
    bench.short.lookups.extend([NOT_YET] * 1000)
    bench.short.burns = True
    (order,) = bench.rig.state.unknown_orders()
    await bench.turns(1, 100.0, SHORT)
    assert bench.short.burned == [order.prepared.nonce]
    assert status(order) is OrderStatus.EXPIRED
    assert [source for _, source, _ in bench.resolved] == ["burn"]
    assert bench.resolved[0][2] < 1.0


async def test_a_refused_burn_means_that_it_got_in(bench: Bench) -> None:
    bench.short.plans.append(LOST)
    pair = await bench.rig.open("0.01")
    bench.short.lookups.extend([NOT_YET] * 3)
    bench.short.burns = False
    bench.short.silent_fills = True
    await bench.turns(12, 300.0, SHORT)
    assert len(bench.short.burned) == 1
    assert [source for _, source, _ in bench.resolved] == ["lookup"]
    assert status(pair) is PairStatus.OPEN


async def test_the_position_is_the_last_word(bench: Bench) -> None:
    bench.long.plans.append(LOST)
    pair = await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    bench.long.silent_fills = True
    await bench.until_resolved()
    assert [source for _, source, _ in bench.resolved] == ["position"]
    assert status(pair) is PairStatus.OPEN
    assert bench.rig.state.lots(BTC) == 10


async def test_the_position_decides_only_after_the_bound_and_seen_twice(bench: Bench) -> None:
    bench.long.plans.append(LOST)
    await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    bench.long.silent_fills = True
    (order,) = bench.rig.state.unknown_orders()
    bound = order.prepared.expires_wire_ns + 2 * NS_PER_S
    readings_after_bound = 0
    while order.status is OrderStatus.UNKNOWN:
        before = bench.long.readings
        after_bound = bench.rig.clock.wire_ns() + 100 * NS_PER_MS > bound
        await bench.turns(1, 100.0)
        readings_after_bound += (bench.long.readings - before) * after_bound
    assert bench.rig.clock.wire_ns() > bound
    assert readings_after_bound >= 2


async def test_an_unreachable_venue_is_paged_after_the_bound_and_resolves_when_it_is_back(bench: Bench) -> None:
    bench.long.plans.append(LOST)
    pair = await bench.rig.open("0.01")
    bench.long.reachable = False
    await bench.turns(29, 1000.0)
    assert bench.events("order_unresolved") == []
    await bench.turns(3, 1000.0)
    assert len(bench.events("order_unresolved")) == 1
    assert status(pair) is PairStatus.UNKNOWN, "wait_and_page sends nothing"
    assert len(bench.short.wire) == 1
    await bench.turns(61, 1000.0)
    assert len(bench.events("order_unresolved")) == 2, "paged again, once a minute"
    bench.long.reachable = True
    await bench.until_resolved()
    assert status(pair) is PairStatus.OPEN


async def test_a_silent_ioc_that_was_only_acknowledged_is_asked_for(bench: Bench) -> None:
    bench.long.plans.append(Plan(answer=Answer.ACK, told=Told.NEVER))
    bench.long._sink = None  # the stream is away: neither fills nor order updates
    bench.long.silent_fills = True
    pair = await bench.rig.open("0.01")
    (order,) = [o for o in bench.rig.orders(pair) if o.prepared.venue == LONG]
    assert status(order) is OrderStatus.ACCEPTED
    bench.long.extra_orders.append(listed(order.client_order_id))  # even while the venue lists it
    await bench.turns(3, 500.0)
    assert bench.long.looked_up == 0, "not yet silent for long enough"
    await bench.turns(3, 500.0)
    assert status(order) is OrderStatus.FILLED
    assert status(pair) is PairStatus.OPEN


# ---- start ----------------------------------------------------------------------------------------------------------


async def test_recovery_resolves_what_was_on_its_way_when_the_process_died(bench: Bench) -> None:
    bench.long.plans.append(Plan(held=True, told=Told.NEVER))
    bench.rig.commands.take(bench.rig.open_command("0.01"), bench.rig.client)
    await settle()
    bench.long.release()  # it executes, but nobody is there to hear
    replayed = bench.rig.journal.replayed()
    bench.rig.boot(replayed)
    bench.build()
    assert bench.rig.state.unknown_orders()
    assert await bench.reconciler.recover(LONG)
    assert await bench.reconciler.recover(SHORT)
    bench.rig.pairs.tick()
    (pair,) = bench.rig.state.pairs.values()
    assert status(pair) is PairStatus.OPEN
    assert len(bench.long.wire) == len(bench.short.wire) == 1
    bench.rig.check()


async def test_a_position_the_journal_does_not_know_is_frozen_and_nothing_is_closed(bench: Bench) -> None:
    bench.long.position_lots["BTC"] = 7
    assert await bench.reconciler.recover(LONG)
    assert bench.rig.state.positions[BTC].foreign
    assert BTC in bench.rig.state.frozen
    assert len(bench.events("foreign_position")) == 1
    await bench.turns(30)
    assert bench.long.wire == []
    assert len(bench.events("foreign_position")) == 1
    bench.long.position_lots["BTC"] = 0  # the person has closed it by hand
    await bench.turns(30)
    assert BTC not in bench.rig.state.frozen
    assert not bench.rig.state.positions[BTC].foreign


async def test_a_position_in_a_contract_that_nobody_lists_is_told_and_breaks_nothing(bench: Bench) -> None:
    bench.long.positions_said = {"DOGE": 5}
    await bench.turns(10)
    assert bench.events("position_without_contract")
    assert (LONG, "DOGE") not in bench.rig.state.positions


async def test_an_account_without_foreign_positions_raises_no_alarm(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    assert await bench.reconciler.recover(LONG)
    await bench.turns(30)
    assert bench.events("foreign_position") == bench.events("position_smaller") == []
    assert status(pair) is PairStatus.OPEN


async def test_foreign_positions_close_sends_one_reduce_only_order_for_the_excess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch, execution={"foreign_positions": "close"})
    pair = await bench.rig.open("0.01")
    bench.long.position_lots["BTC"] += 7
    await bench.turns(30)
    (order,) = [o for o in bench.rig.state.orders.values() if o.prepared.purpose == "foreign"]
    assert (order.prepared.lots, order.prepared.side, order.prepared.reduce_only) == (7, Side.SELL, True)
    assert bench.long.position_lots["BTC"] == 10
    assert status(pair) is PairStatus.OPEN
    assert (pair.long.lots, pair.short.lots) == (10, -5)
    assert not bench.rig.state.positions[BTC].foreign
    assert BTC not in bench.rig.state.frozen
    bench.rig.check()


async def test_an_unreachable_venue_is_not_reconciled_and_tried_again(bench: Bench) -> None:
    bench.long.reachable = False
    bench.rig.engine.desks[LONG].reconciled = False
    assert not await bench.reconciler.recover(LONG)
    assert not bench.rig.engine.desks[LONG].reconciled
    bench.long.reachable = True
    await bench.turns(20)
    assert bench.rig.engine.desks[LONG].reconciled


async def test_fills_that_happened_while_we_were_away_are_booked_once(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.long._sink = None
    bench.long.foreign_fill("BTC", Side.SELL, 10, Decimal(99_000))  # liquidated while the stream was away
    await bench.turns(2, 3000.0)
    assert [r.fill.lots for r in bench.rig.journal.records() if isinstance(r, FillRecorded)].count(10) == 2
    await bench.rig.until_final(pair)
    assert status(pair) is PairStatus.CLOSED
    bench.rig.check()


@pytest.mark.parametrize("policy", ["ignore", "close"])
async def test_a_trade_by_hand_beside_a_live_pair_is_foreign_and_the_pair_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Somebody buys on the venue's page what our long leg stands on: theirs, unless the configuration says to close it."""
    bench = Bench(tmp_path, monkeypatch, execution={"foreign_positions": policy})
    pair = await bench.rig.open("0.01")
    bench.long.foreign_fill("BTC", Side.BUY, 5, Decimal(100_000))
    await bench.turns(30)
    assert status(pair) is PairStatus.OPEN
    assert (pair.long.lots, pair.short.lots) == (10, -5)
    assert bench.events("naked_position") == []
    sent = [each.prepared.purpose for each in bench.rig.state.orders.values()]
    if policy == "ignore":
        assert bench.rig.truth(BTC) == 15
        assert bench.rig.state.frozen == {BTC: "foreign_position"}
        assert sent == ["open", "open"]
        await bench.rig.close(pair)
        await bench.turns(10)
        assert status(pair) is PairStatus.CLOSED
        assert bench.rig.truth(BTC) == 5, "what is not ours stays"
        assert bench.rig.state.positions[BTC].foreign
    else:
        assert bench.rig.truth(BTC) == 10
        assert sent == ["open", "open", "foreign"]
        assert bench.rig.state.frozen == {}
    bench.rig.check()


@pytest.mark.parametrize("lots", [4, 10])
async def test_a_leg_that_the_venue_took_shrinks_the_other_in_the_same_turn(bench: Bench, lots: int) -> None:
    """Auto-deleveraging and liquidation arrive as fills without an order of ours."""
    pair = await bench.rig.open("0.01")
    bench.long.foreign_fill("BTC", Side.SELL, lots, Decimal(95_000))
    assert len(bench.short.wire) == 2, "on the wire before the event returned"
    await settle()
    assert bench.rig.truth((SHORT, "BTC")) == -(10 - lots) // 2
    await bench.turns(20)
    assert status(pair) is (PairStatus.CLOSED if lots == 10 else PairStatus.OPEN)
    assert bench.rig.state.frozen == {}
    bench.rig.check()


@pytest.mark.parametrize("starts", [1, 2])
async def test_what_the_account_did_before_us_is_not_booked_again(bench: Bench, starts: int) -> None:
    """Somebody traded by hand a moment before the first start: the position of then is adopted, its fills are history."""
    for _ in range(starts - 1):
        bench.rig.boot(bench.rig.journal.replayed())
        bench.build()
    bench.long._sink = None
    bench.long.foreign_fill("BTC", Side.BUY, 7, Decimal(100_000))
    bench.long.foreign_fill("BTC", Side.SELL, 7, Decimal(100_000))
    bench.rig.pass_ms(2000)
    assert await bench.reconciler.recover(LONG)
    bench.rig.market(100_000.0, 60.0)
    bench.rig.read_accounts()
    bench.long.attach(bench.rig.engine.on_event)
    pair = await bench.rig.open("0.01")
    await bench.turns(100)
    assert bench.events("foreign_fill") == []
    assert (pair.long.lots, pair.short.lots) == (10, -5)
    bench.rig.check()


# ---- differences ----------------------------------------------------------------------------------------------------


async def test_a_leg_that_shrank_without_a_fill_is_adopted_when_seen_twice_and_the_other_leg_follows(
    bench: Bench,
) -> None:
    pair = await bench.rig.open("0.01")
    await bench.turns(3, 6000.0)
    bench.long.position_lots["BTC"] = 4
    await bench.turns(1, 6000.0)
    assert bench.rig.state.lots(BTC) == 10, "one sighting is no proof"
    await bench.turns(2, 500.0)
    assert bench.rig.state.lots(BTC) == 4
    await bench.rig.turn()
    assert bench.rig.truth((SHORT, "BTC")) == -2
    assert pair.long.qty == -pair.short.qty == Decimal("0.004")


async def test_a_difference_that_goes_away_is_never_adopted(bench: Bench) -> None:
    await bench.rig.open("0.01")
    for lots in (4, 10, 5, 10, 6, 10):
        bench.long.positions_said = {"BTC": lots}
        await bench.turns(1, 6000.0)
    assert bench.rig.state.lots(BTC) == 10
    assert bench.events("position_smaller") == []


async def test_nothing_is_judged_while_an_order_is_in_flight(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.long.plans.append(Plan(held=True))
    await bench.rig.close(pair)
    bench.long.positions_said = {"BTC": 3}
    for _ in range(4):
        await bench.turns(1, 600.0)
        await bench.reconciler.read(LONG, full=True)
    assert bench.rig.state.lots(BTC) == 10
    assert bench.events("position_smaller") == []


async def test_a_fill_during_the_reading_makes_it_worthless(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    truth = bench.long.positions
    reads = 0

    async def late_answer() -> list[Position]:
        nonlocal reads
        reads += 1
        said = await truth()
        await bench.rig.close(pair) if reads == 1 else None
        return said

    bench.long.positions = late_answer  # type: ignore[method-assign]
    for _ in range(4):
        bench.rig.pass_ms(500)
        await bench.reconciler.read(LONG, full=False)
    assert status(pair) is PairStatus.CLOSED
    assert bench.events("position_smaller") == []
    assert bench.events("foreign_position") == []
    bench.rig.check()


async def test_a_venue_that_lags_behind_its_own_fills_is_not_believed(bench: Bench) -> None:
    """The fill comes during the reading, and the next reading still shows the position before it."""
    pair = await bench.rig.open("0.01")
    reads = 0

    async def lagging() -> list[Position]:
        nonlocal reads
        reads += 1
        if reads == 1:
            await bench.rig.close(pair)
        held = [Position(venue=LONG, symbol="BTC", lots=10, avg_entry_px=Decimal(100_000))]
        return held if reads <= 2 else []

    bench.long.positions = lagging  # type: ignore[method-assign]
    for _ in range(4):
        bench.rig.pass_ms(500)
        await bench.reconciler.read(LONG, full=False)
    assert bench.events("foreign_position") == []
    bench.rig.check()


class Replica:
    """A venue whose REST shows what was `lag_s` ago, while its stream tells at once."""

    def __init__(self, bench: Bench, lag_s: float) -> None:
        self.bench = bench
        self.lag_ns = int(lag_s * NS_PER_S)
        self.history: list[tuple[int, dict[str, int], list[Fill]]] = []
        bench.long.positions, bench.long.fills_since = self.positions, self.fills_since  # type: ignore[method-assign]
        bench.long.open_orders = self.none  # type: ignore[method-assign,assignment]

    def note(self) -> None:
        long = self.bench.long
        self.history.append((self.bench.rig.clock.mono_ns(), dict(long.position_lots), list(long.fills)))

    def then(self) -> tuple[dict[str, int], list[Fill]]:
        until = self.bench.rig.clock.mono_ns() - self.lag_ns
        shown = [(lots, fills) for at, lots, fills in self.history if at <= until]
        return shown[-1] if shown else ({}, [])

    async def none(self) -> list[VenueOrder]:
        return []

    async def positions(self) -> list[Position]:
        lots, _ = self.then()
        return [
            Position(venue=LONG, symbol=name, lots=held, avg_entry_px=Decimal(100_000))
            for name, held in lots.items()
            if held
        ]

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        return [fill for fill in self.then()[1] if fill.ts_ns >= since_wire_ns]


@pytest.mark.parametrize(("lag_s", "fills_too"), [(3.0, False), (3.0, True), (8.0, True)])
async def test_a_replica_that_lags_is_not_the_last_word(bench: Bench, lag_s: float, fills_too: bool) -> None:
    """Short lags are waited out; longer ones show in the fills that the reading lacks."""
    await bench.reconciler.recover(LONG)
    replica = Replica(bench, lag_s)
    if not fills_too:
        bench.long.fills_since = type(bench.long).fills_since.__get__(bench.long)  # type: ignore[method-assign]
    replica.note()
    pair = await bench.rig.open("0.01")
    for _ in range(120):
        bench.reconciler.wake(LONG)
        await bench.turns(1, 100.0)
        replica.note()
    assert bench.events("position_smaller") == bench.events("foreign_position") == []
    await bench.rig.close(pair)
    for _ in range(120):
        bench.reconciler.wake(LONG)
        await bench.turns(1, 100.0)
        replica.note()
    assert bench.events("foreign_position") == []
    assert status(pair) is PairStatus.CLOSED
    bench.rig.check()


async def test_a_restart_does_not_adopt_what_a_replica_has_not_seen_yet(bench: Bench) -> None:
    await bench.reconciler.recover(LONG)
    replica = Replica(bench, 3.0)
    replica.note()
    await bench.rig.open("0.01")
    bench.rig.boot(bench.rig.journal.replayed())
    bench.build()
    bench.rig.pass_ms(500)
    replica.note()
    assert await bench.reconciler.recover(LONG)
    assert bench.rig.state.lots(BTC) == 10
    assert bench.events("position_smaller") == []


async def test_what_was_given_up_and_comes_back_is_ours(bench: Bench) -> None:
    """However it came to be: a position that returns to what our own records had is no stranger's."""
    await bench.rig.open("0.01")
    await bench.turns(3, 6000.0)
    bench.long.positions_said = {"BTC": 4}
    await bench.turns(4, 6000.0)
    assert bench.rig.state.lots(BTC) == 4
    bench.long.positions_said = None
    await bench.turns(20, 1000.0)
    assert len(bench.events("position_back")) == 1
    assert bench.events("foreign_position") == []
    assert bench.rig.truth(BTC) == 4, "nobody's lots of ours are closed; the pair keeps what it is hedged with"
    bench.rig.check()


def test_fills_that_a_list_lacks_say_that_it_is_behind() -> None:
    def fill(number: int, ts_s: float, symbol: str = "BTC") -> Fill:
        return Fill(
            venue=LONG,
            symbol=symbol,
            side=Side.BUY,
            lots=1,
            px=Decimal(1),
            fee_usd=Decimal(0),
            trade_id=f"t{number}",
            venue_order_id="",
            client_order_id=None,
            liquidity=LiquiditySide.TAKER,
            ts_ns=int(ts_s * NS_PER_S),
        )

    now = 100 * NS_PER_S
    one, two, eth = fill(1, 95), fill(2, 99), fill(3, 99, "ETH")
    assert behind([one, two, eth], [one, two, eth], 0, now) == set()
    assert behind([one, two, eth], [one], 0, now) == {BTC, (LONG, "ETH")}
    assert behind([one], [], 96 * NS_PER_S, now) == set(), "older than what was asked for"
    assert behind([fill(4, 60)], [], 0, now) == set(), "it will never be listed"
    assert behind([fill(5, 101)], [], 0, now) == set(), "not yet when it was asked"


def test_a_difference_counts_when_its_sightings_lie_apart() -> None:
    differences = Differences()
    assert differences.judge(BTC, 7, 10, 0, quiet=True) is Judgement.PENDING
    assert differences.judge(BTC, 7, 10, CONFIRM_NS - 1, quiet=True) is Judgement.PENDING
    assert differences.pending
    assert differences.judge(BTC, 7, 10, CONFIRM_NS, quiet=True) is Judgement.DIFFERS
    assert differences.judge(BTC, 10, 10, CONFIRM_NS, quiet=True) is Judgement.AGREES
    assert not differences.pending


# ---- resting orders -------------------------------------------------------------------------------------------------


def listed(name: str | None, venue_order_id: str = "77") -> VenueOrder:
    return VenueOrder(
        symbol="BTC",
        venue_order_id=venue_order_id,
        client_order_id=name,
        side=Side.BUY,
        lots=3,
        filled_lots=0,
        status=OrderStatus.ACCEPTED,
        avg_px=None,
    )


def rest_one(bench: Bench) -> str:
    """A resting order of ours by hand; its client order id."""
    draft = Draft(
        instrument=bench.long.instruments()["BTC"],
        side=Side.BUY,
        lots=3,
        limit_ticks=900_000,
        time_in_force=TimeInForce.GTC,
        reduce_only=False,
        purpose="manual",
        strategy="manual",
    )
    (order,) = bench.rig.engine.send([draft])
    return order.client_order_id


async def test_an_order_of_ours_that_the_journal_lacks_is_adopted_and_cancelled(bench: Bench) -> None:
    name = rest_one(bench)
    lost = name[:-2] + "63"  # same account and epoch, another leg number: the journal never heard of it
    bench.long.extra_orders.append(listed(lost))
    await bench.reconciler.read(LONG, full=True)
    assert bench.rig.state.orders[lost].prepared.purpose == "adopted"
    assert bench.long.cancels == [lost]
    other = name[:-2] + "62"  # and of a contract that was never traded
    bench.long.extra_orders.append(msgspec.structs.replace(listed(other, "78"), symbol="ETH"))
    await bench.reconciler.read(LONG, full=True)
    assert bench.long.cancels == [lost, other]
    assert bench.rig.journal.replayed() == bench.rig.state


def lost_name(bench: Bench, epoch: int, number: int = 7) -> str:
    return client_order_id(tag16(bench.long.account_id), tag16("scalp"), epoch, number, 0)


async def test_a_fill_of_an_order_that_a_power_loss_took_from_the_journal_is_ours(bench: Bench) -> None:
    """Written, sent and filled, and gone from the disk: nobody's lots of ours are closed, not frozen as foreign."""
    await bench.rig.open("0.01")
    bench.rig.boot(bench.rig.journal.replayed())
    bench.build()
    name = lost_name(bench, bench.rig.state.epoch - 1)
    bench.rig.pass_ms(5000)
    bench.long._tell([bench.long._trade("BTC", Side.BUY, 4, Decimal(100_000), name)])
    assert bench.rig.state.orders[name].prepared.purpose == "adopted"
    assert bench.rig.state.orders[name].status is OrderStatus.FILLED
    assert bench.events("foreign_fill") == []
    assert bench.rig.state.frozen == {}
    bench.rig.market(100_000.0, 60.0)
    await bench.turns(40)
    assert bench.rig.truth(BTC) == 10, "naked: closed"
    assert bench.rig.journal.replayed() == bench.rig.state


@pytest.mark.parametrize("epochs_ago", [0, 3])
async def test_ids_like_ours_that_cannot_be_lost_ones_are_foreign(bench: Bench, epochs_ago: int) -> None:
    """Of this very start (it journals before it sends), or of long ago: another executor trades this account."""
    for _ in range(4):
        bench.rig.boot(bench.rig.journal.replayed())
    bench.build()
    name = lost_name(bench, bench.rig.state.epoch - epochs_ago)
    bench.long._tell([bench.long._trade("BTC", Side.BUY, 4, Decimal(100_000), name)])
    assert len(bench.events("foreign_fill")) == 1
    assert bench.rig.state.frozen == {BTC: "foreign_position"}


async def test_more_lost_orders_than_a_power_loss_can_explain_are_foreign(bench: Bench) -> None:
    bench.rig.boot(bench.rig.journal.replayed())
    bench.build()
    for number in range(LOST_MAX + 1):
        name = lost_name(bench, bench.rig.state.epoch - 1, number)
        bench.long._tell([bench.long._trade("BTC", Side.BUY, 1, Decimal(100_000), name)])
    assert len(bench.events("order_adopted")) == LOST_MAX
    assert len(bench.events("foreign_fill")) == 1


async def test_our_own_resting_order_is_left_alone(bench: Bench) -> None:
    name = rest_one(bench)
    await settle()
    await bench.turns(10, 3000.0)
    assert bench.long.cancels == []
    assert bench.rig.state.orders[name].status is OrderStatus.ACCEPTED


async def test_a_resting_order_of_a_dead_epoch_is_cancelled(bench: Bench) -> None:
    name = rest_one(bench)
    await settle()
    bench.rig.boot(bench.rig.journal.replayed())
    bench.build()
    assert await bench.reconciler.recover(LONG)
    assert bench.long.cancels == [name]
    await bench.turns(4, 3000.0)
    assert bench.rig.state.orders[name].status is OrderStatus.CANCELED, "asked about once it was no longer listed"


async def test_an_order_the_journal_holds_for_finished_is_cancelled(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    name = bench.rig.orders(pair)[0].client_order_id
    bench.long.extra_orders.append(listed(name))
    bench.rig.pass_ms(1)
    await bench.reconciler.read(LONG, full=True)
    assert bench.long.cancels == [name]


async def test_foreign_orders_are_counted_and_left_alone(bench: Bench) -> None:
    bench.long.extra_orders.extend([listed(None, "1"), listed("ab" * 16, "2")])
    await bench.reconciler.read(LONG, full=True)
    assert bench.reconciler.foreign_orders(LONG) == 2
    assert bench.long.cancels == []


# ---- pace, money, health --------------------------------------------------------------------------------------------


async def test_readings_keep_the_venues_pace_and_full_ones_are_rare(bench: Bench) -> None:
    await bench.reconciler.recover(LONG)
    began, full = bench.long.readings, bench.long.full_readings
    await bench.turns(120, 500.0)  # a minute at reconcile_interval_s = 5
    assert 10 <= bench.long.readings - began <= 13
    assert (bench.long.full_readings - full) <= 13 / FULL_EVERY + 1


async def test_a_hint_reads_soon_but_not_in_a_storm(bench: Bench) -> None:
    await bench.reconciler.recover(LONG)
    began = bench.long.readings
    for _ in range(40):
        bench.reconciler.wake(LONG)
        await bench.turns(1, 100.0)
    assert 1 <= bench.long.readings - began <= 3


async def test_a_venue_that_says_slow_down_is_given_the_time(bench: Bench) -> None:
    await bench.reconciler.recover(LONG)
    bench.long.fail_with = rate_limited(30.0)
    await bench.turns(12, 500.0)
    tried = bench.long.readings
    await bench.turns(20, 1000.0)
    assert bench.long.readings == tried
    bench.long.fail_with = None
    await bench.turns(12, 1000.0)
    assert bench.long.readings > tried


async def test_balance_and_funding_arrive_once(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    payment = FundingPayment(
        venue=LONG,
        symbol="BTC",
        amount_usd=Decimal("-0.5"),
        rate=None,
        ts_ns=bench.rig.clock.wire_ns(),
        payment_id="f1",
    )
    bench.long.payments.append(payment)
    bench.long.balance_usd = Decimal(9_000)
    for _ in range(5):
        await bench.turns(1, 70_000.0)
    assert bench.rig.engine.desks[LONG].free_margin_usd == 9_000
    assert bench.rig.state.positions[BTC].book.funding_usd == Decimal("-0.5")
    assert pair.long.book.funding_usd == Decimal("-0.5")


async def test_a_blind_venue_is_warned_about_then_paged_once_and_said_to_be_well_again(bench: Bench) -> None:
    await bench.reconciler.recover(LONG)
    bench.long.reachable = False
    await bench.turns(30, 1000.0)
    assert bench.events("venue_blind") == []
    await bench.turns(5, 1000.0)
    assert len(bench.events("venue_blind")) == 1
    assert bench.events("venue_blind_page") == []
    await bench.turns(90, 1000.0)
    assert len(bench.events("venue_blind_page")) == 1
    bench.long.reachable = True
    await bench.turns(6, 1000.0)
    assert len(bench.events("venue_readable")) == 1


async def test_a_venue_that_was_never_read_is_blind_from_the_start_on_and_not_before(bench: Bench) -> None:
    bench.rig.engine.desks[LONG].balance_mono_ns = 0
    bench.long.reachable = False
    await bench.turns(29, 1000.0)
    assert bench.events("venue_blind") == bench.events("venue_blind_page") == []
    await bench.turns(100, 1000.0)
    assert len(bench.events("venue_blind")) == len(bench.events("venue_blind_page")) == 1


async def test_a_clock_that_is_off_is_said_once(bench: Bench) -> None:
    bench.long.clock_offset_ns = 1000 * NS_PER_MS
    await bench.turns(3)
    assert bench.events("clock_skew") == []
    bench.long.clock_offset_ns = -1001 * NS_PER_MS
    await bench.turns(3)
    assert len(bench.events("clock_skew")) == 1


async def test_the_loop_runs_every_venue_and_stops(bench: Bench) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(bench.reconciler.run(stop))
    while not (bench.long.readings and bench.short.readings):
        bench.rig.pass_ms(6000)
        bench.reconciler.wake(LONG)
        bench.reconciler.wake(SHORT)
        await asyncio.sleep(0.01)
    stop.set()
    bench.reconciler.wake(LONG)
    bench.reconciler.wake(SHORT)
    async with asyncio.timeout(5):
        await task


# ---- leverage -------------------------------------------------------------------------------------------------------


async def test_leverage_is_set_and_read_back_while_nothing_stands(bench: Bench) -> None:
    bench.long.leverages = {"BTC": 20, "ETH": 3}
    bench.rig.engine.desks[LONG].leverage.clear()
    await bench.reconciler.recover(LONG)
    assert bench.long.leverages["BTC"] == 3
    assert bench.rig.engine.desks[LONG].leverage == {"BTC": 3, "ETH": 3}


async def test_leverage_is_not_touched_under_a_position_and_stays_unequal(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.leverages["BTC"] = 20
    await bench.reconciler.recover(LONG)
    assert bench.long.leverages["BTC"] == 20
    assert bench.rig.engine.desks[LONG].leverage["BTC"] == 20
    assert bench.events("leverage_differs")


async def test_leverage_that_does_not_stick_or_cannot_be_read_stays_unverified(bench: Bench) -> None:
    bench.long.leverage_sticks = False
    bench.long.leverages["BTC"] = 20
    await bench.reconciler.recover(LONG)
    assert bench.rig.engine.desks[LONG].leverage["BTC"] == 20
    bench.short.leverages.clear()

    async def fails(instrument: object) -> int:
        raise VenueError("no")

    bench.short.leverage = fails  # type: ignore[method-assign]
    await bench.reconciler.recover(SHORT)
    assert bench.rig.engine.desks[SHORT].leverage == {}


async def test_leverage_of_delisted_contracts_is_nobodys_business(bench: Bench) -> None:
    contracts = bench.long.instruments()
    contracts["ETH"] = msgspec.structs.replace(contracts["ETH"], delisted=True)
    bench.rig.engine.desks[LONG].leverage.clear()
    await bench.reconciler.recover(LONG)
    assert bench.rig.engine.desks[LONG].leverage == {"BTC": 3}


async def test_leverage_that_a_position_states_is_believed(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.stated_extra = {"leverage": 7}  # type: ignore[dict-item]
    await bench.reconciler.read(LONG, full=False)
    assert bench.rig.engine.desks[LONG].leverage["BTC"] == 7


async def test_a_fill_of_our_first_order_counts_though_our_clock_was_ahead_when_it_was_prepared(bench: Bench) -> None:
    """The clock has been put right since: by the offset of now the fill lies before the order it belongs to."""
    bench.long.plans.append(Plan(told=Told.NEVER))
    pair = await bench.rig.open("0.01")
    early = [msgspec.structs.replace(fill, ts_ns=fill.ts_ns - 600 * NS_PER_MS) for fill in bench.long.fills]
    bench.long.fills[:] = early
    await bench.turns(3)
    assert pair.long.book.unbooked_lots == 0
    assert bench.rig.state.positions[BTC].book.booked_lots == 10
