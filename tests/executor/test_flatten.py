"""Flatten over scripted venues: what it does first, how it prices, when it says flat, and what it says is left."""

from __future__ import annotations

import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.errors import RateLimited, VenueError
from core.messages import FlattenReport, PairStatus
from core.types import Down, OrderStatus, Position, Side, Stale, TimeInForce, TradingState, Venue
from executor import flatten as flatten_module
from executor.flatten import FLAT_READINGS, flatten
from executor.orders import Draft
from executor.outcome import RejectCode
from executor.state import OrderState
from executor.venues.base import NotFound, TopOfBook, VenueOrder
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle
from tests.executor.stubborn import SimSleep, Stubborn

BTC = (LONG, "BTC")
MISS = Plan(fill_lots=0)


class Bench:
    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sections: dict[str, object]) -> None:
        monkeypatch.setattr("tests.executor.rig.FakeGateway", Stubborn)
        self.rig = Rig(tmp_path, **sections)
        self.long: Stubborn = self.rig.gateways[LONG]  # type: ignore[assignment]
        self.short: Stubborn = self.rig.gateways[SHORT]  # type: ignore[assignment]
        for gateway in (self.long, self.short):
            gateway.harden()

    async def flatten(
        self, venue: Venue | None = None, symbol: str | None = None, include_foreign: bool = False
    ) -> FlattenReport:
        report = await flatten(self.rig.engine, venue, symbol, include_foreign, sleep=SimSleep(self.rig))
        await settle()
        return report

    def closes(self, venue: Venue = LONG) -> list[OrderState]:
        """Orders of flatten, oldest first."""
        orders = self.rig.state.orders.values()
        return [o for o in orders if o.prepared.purpose == "flatten" and o.prepared.venue == venue]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.rig.lines]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def listed(name: str | None, venue_order_id: str) -> VenueOrder:
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


# ---- getting out ----------------------------------------------------------------------------------------------------


async def test_an_open_pair_ends_flat_on_both_venues_and_closed_in_the_books(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    report = await bench.flatten()
    assert report == FlattenReport(command_id=None, flat=True, residual=(), unreachable=())
    assert bench.rig.truth(BTC) == bench.rig.truth((SHORT, "BTC")) == 0
    assert all(order.prepared.reduce_only for order in bench.closes())
    assert bench.rig.engine.flattening == set()
    await bench.rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    bench.rig.check()


async def test_the_latch_and_halted_come_before_the_first_order(bench: Bench) -> None:
    await bench.rig.open("0.01")
    seen: list[tuple[bool, TradingState]] = []
    submit = bench.long.submit

    def watched(prepared: Any) -> Any:
        seen.append((bench.rig.latch.read() is not None, bench.rig.state.trading_state))
        return submit(prepared)

    bench.long.submit = watched  # type: ignore[method-assign]
    await bench.flatten()
    assert seen
    assert set(seen) == {(True, TradingState.HALTED)}


async def test_nothing_to_do_is_flat_and_halted(bench: Bench) -> None:
    report = await bench.flatten()
    assert report.flat
    assert bench.rig.state.trading_state is TradingState.HALTED
    assert bench.long.wire == bench.short.wire == []
    assert bench.long.readings == FLAT_READINGS + 1  # and once more before the report


async def test_everything_that_rests_is_cancelled(bench: Bench) -> None:
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
    bench.short.extra_orders.append(listed(None, "55"))
    report = await bench.flatten()
    assert report.flat
    assert bench.long.cancels == [order.client_order_id]
    assert bench.short.cancels == ["55"], "nobody else has business on a dedicated account"


async def test_pairs_keep_their_hands_off_meanwhile(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.short.plans.extend([MISS, MISS])
    original, claimed = bench.short.positions, []

    async def watched() -> list[Position]:
        claimed.append(set(bench.rig.engine.flattening))
        bench.rig.pairs.tick()
        return await original()

    bench.short.positions = watched  # type: ignore[method-assign]
    assert (await bench.flatten()).flat
    assert all({BTC, (SHORT, "BTC")} <= keys for keys in claimed[:-1])  # the last one is for the report
    assert {order.prepared.purpose for order in bench.rig.state.orders.values()} == {"open", "flatten"}


# ---- prices ---------------------------------------------------------------------------------------------------------


async def test_the_ladder_is_walked_two_seconds_apart_and_then_the_residual_is_told(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.default = MISS
    report = await bench.flatten()
    limits = [order.prepared.limit_ticks for order in bench.closes()]
    bid = Decimal("99999.5")
    assert limits == [int(bid * (1 - Decimal(bps) / 10_000) * 10) for bps in (30, 100, 300)]
    times = [order.prepared.wire_ns / 1e9 for order in bench.closes()]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [
        pytest.approx(2.0, abs=0.3),
        pytest.approx(2.0, abs=0.3),
    ]
    assert not report.flat
    (left,) = report.residual
    assert (left.venue, left.symbol, left.qty) == (LONG, "BTC", Decimal("0.010"))
    assert left.notional_usd == pytest.approx(Decimal(1000), rel=Decimal("0.001"))
    assert left.why == "not filled within the price ladder"
    assert bench.rig.truth((SHORT, "BTC")) == 0, "the other venue is flat all the same"


async def test_a_buy_walks_up(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.short.plans.append(MISS)
    assert (await bench.flatten()).flat
    limits = [order.prepared.limit_ticks for order in bench.closes(SHORT)]
    quote = bench.rig.books[SHORT].quotes["BTC"]
    assert limits[0] > quote.ask_px * 10  # type: ignore[union-attr]
    assert limits[1] > limits[0]


async def test_what_still_fills_goes_on_at_the_last_step(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.plans.extend(Plan(fill_lots=2) for _ in range(5))
    report = await bench.flatten()
    assert report.flat
    assert len(bench.closes()) == 5


@pytest.mark.parametrize(
    ("book", "top", "mark", "expected"),
    [
        ("fresh", TopOfBook(Decimal(50_000), Decimal(50_001), Decimal(50_000)), 40_000, "99999.5"),
        ("stale", TopOfBook(Decimal(50_000), Decimal(50_001), Decimal(49_000)), 40_000, "50000"),
        ("down", TopOfBook(Decimal(0), Decimal(50_001), Decimal(49_000)), 40_000, "49000"),
        ("down", None, 40_000, "40000"),
    ],
)
async def test_prices_come_from_the_fresh_quote_else_rest_else_the_mark(
    bench: Bench, book: str, top: TopOfBook | None, mark: int, expected: str
) -> None:
    await bench.rig.open("0.01")
    if book != "fresh":
        bench.rig.books[LONG].quotes["BTC"] = Stale(10**9) if book == "stale" else Down("feed dead")
    bench.long.stated_extra = {"mark_px": Decimal(mark)}

    async def rest(instrument: object) -> TopOfBook:
        if top is None:
            raise VenueError("no book")
        return top

    bench.long.top_of_book = rest  # type: ignore[method-assign]
    assert (await bench.flatten()).flat
    (order,) = bench.closes()
    assert order.prepared.limit_ticks == int(Decimal(expected) * Decimal("0.997") * 10)


async def test_large_positions_go_in_orders_the_venue_takes(bench: Bench) -> None:
    bounded = msgspec.structs.replace(bench.long.instruments()["BTC"], max_qty=Decimal("0.004"))
    await bench.rig.open("0.01")
    bench.long.instruments()["BTC"] = bounded
    assert (await bench.flatten()).flat
    assert [order.prepared.lots for order in bench.closes()] == [4, 4, 2]


# ---- doubt ----------------------------------------------------------------------------------------------------------


async def test_a_close_that_filled_without_an_answer_is_not_doubled(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    report = await bench.flatten()
    assert report.flat
    assert len(bench.closes()) == 1


async def test_a_close_that_was_lost_is_sent_again_only_after_the_position_was_read(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    report = await bench.flatten()
    assert report.flat
    first, second = bench.closes()
    assert second.prepared.wire_ns - first.prepared.wire_ns >= 2 * 10**9
    assert second.prepared.reduce_only
    assert bench.rig.truth(BTC) == 0


async def test_flat_is_not_said_while_an_order_may_still_land(bench: Bench) -> None:
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    await bench.rig.open("0.01")
    (order,) = bench.rig.state.unknown_orders()
    bench.long.lookups.extend([NotFound(definitive=False)] * 100)
    report = await bench.flatten()
    assert report.flat
    assert bench.rig.clock.wire_ns() > order.prepared.expires_wire_ns + 2 * 10**9


async def test_what_lands_late_is_closed_too(bench: Bench) -> None:
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    await bench.rig.open("0.01")
    (order,) = bench.rig.state.unknown_orders()
    original, reads = bench.long.positions, 0

    async def lands() -> list[Position]:
        nonlocal reads
        reads += 1
        if reads == 4:
            bench.long.position_lots["BTC"] = 10
        return await original()

    bench.long.positions = lands  # type: ignore[method-assign]
    report = await bench.flatten()
    assert report.flat
    assert [o.prepared.lots for o in bench.closes()] == [10], "what an order in doubt has added is ours to close"
    assert order.status is OrderStatus.UNKNOWN, "resolving it is reconciliation's business"


async def test_flat_takes_two_readings_in_a_row(bench: Bench) -> None:
    said = [{"BTC": 0}, {"BTC": 5}, {"BTC": 0}, {"BTC": 0}]
    reads = 0

    async def flickers() -> list[Position]:
        nonlocal reads
        lots = said[min(reads, 3)]["BTC"]
        reads += 1
        return [Position(venue=LONG, symbol="BTC", lots=lots, avg_entry_px=Decimal(1))] if lots else []

    bench.long.positions = flickers  # type: ignore[method-assign]
    await bench.flatten(include_foreign=True)
    assert reads >= 4


async def test_a_close_whose_fill_nobody_tells_is_booked_by_rest_and_no_pair_closes_it_again(bench: Bench) -> None:
    """The private stream is away: the answer says FILLED, the fill never comes by itself."""
    pair = await bench.rig.open("0.01")
    bench.long._sink = bench.short._sink = None
    report = await bench.flatten()
    assert report.flat
    assert pair.is_final
    assert not any(order.missing_lots for order in bench.rig.state.orders.values())
    for _ in range(50):
        await bench.rig.turn(400.0)
    assert [len(gateway.wire) for gateway in (bench.long, bench.short)] == [2, 2]
    assert bench.rig.truth(BTC) == bench.rig.truth((SHORT, "BTC")) == 0
    bench.rig.check()


async def test_the_rest_of_a_pair_whose_first_leg_went_earlier_is_closed_once(bench: Bench) -> None:
    """One venue away at the first try; at the second its stream is still down and its pair is being repaired."""
    pair = await bench.rig.open("0.01")
    bench.long.reachable = bench.long.entry_ready = False
    assert not (await bench.flatten()).flat
    await bench.rig.turn(400.0)
    bench.long._sink = None
    bench.long.reachable = bench.long.entry_ready = True
    report = await bench.flatten()
    assert report.flat
    for _ in range(50):
        await bench.rig.turn(400.0)
    assert pair.is_final
    assert bench.rig.truth(BTC) == 0
    bench.rig.check()


async def test_flat_waits_until_every_fill_is_booked(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long._sink = None
    bench.long.silent_fills = True
    original, tries = bench.long.fills_since, 0

    async def late(since_wire_ns: int) -> Any:
        nonlocal tries
        tries += 1
        bench.long.silent_fills = tries < 6
        return await original(since_wire_ns)

    bench.long.fills_since = late  # type: ignore[method-assign]
    assert (await bench.flatten()).flat
    assert tries >= 6
    assert not any(order.missing_lots for order in bench.rig.state.orders.values())


async def test_the_venues_word_replaces_ours_when_it_is_flat_and_nobody_can_say_why(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.long.position_lots["BTC"] = 0  # gone without a fill
    report = await bench.flatten()
    assert report.flat
    assert bench.rig.state.lots(BTC) == 0
    assert pair.is_final
    assert bench.closes() == []


# ---- what is left ---------------------------------------------------------------------------------------------------


async def test_an_unreachable_venue_is_named_with_our_own_figures_and_the_other_one_is_flat(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.rig.open("0.01")
    bench.long.reachable = False
    report = await bench.flatten()
    assert not report.flat
    assert report.unreachable == (LONG,)
    (left,) = report.residual
    assert (left.venue, left.symbol, left.qty) == (LONG, "BTC", Decimal("0.010"))
    assert "unreachable" in left.why
    assert bench.rig.truth((SHORT, "BTC")) == 0


async def test_a_venue_that_comes_back_in_time_is_closed(bench: Bench) -> None:
    await bench.rig.open("0.01")
    original, tries = bench.long.open_orders, 0

    async def hiccup() -> list[VenueOrder]:
        nonlocal tries
        tries += 1
        if tries < 8:
            raise VenueError("bad gateway")
        return await original()

    bench.long.open_orders = hiccup  # type: ignore[method-assign]
    assert (await bench.flatten()).flat


async def test_a_request_budget_that_is_used_up_is_waited_for_and_is_no_silence(bench: Bench) -> None:
    await bench.rig.open("0.01")
    original, tries = bench.long.open_orders, 0

    async def limited() -> list[VenueOrder]:
        nonlocal tries
        tries += 1
        if tries <= 5:
            raise RateLimited("our own request budget is used up", 61.0)
        return await original()

    bench.long.open_orders = limited  # type: ignore[method-assign]
    began_ns = bench.rig.clock.mono_ns()
    assert (await bench.flatten()).flat
    waited_s = (bench.rig.clock.mono_ns() - began_ns) / 1e9
    assert 5 * 10 <= waited_s < 5 * 10 + 15, "ten seconds at a time, longer than a silent venue would be given"


async def test_foreign_positions_are_listed_and_closed_only_when_asked(bench: Bench) -> None:
    bench.long.position_lots["BTC"] = 7
    bench.rig.engine.adopt(BTC, 7, foreign=True, why="test")
    bench.long.extra_orders.append(listed(None, "9"))
    report = await bench.flatten()
    assert not report.flat
    assert [(left.qty, left.why) for left in report.residual] == [(Decimal("0.007"), "foreign")]
    assert bench.long.wire == []
    assert bench.long.cancels == [], "the stop beside a foreign position stays"
    report = await bench.flatten(include_foreign=True)
    assert report.flat
    assert bench.rig.truth(BTC) == 0
    assert "9" in bench.long.cancels


async def test_what_pairs_end_after_the_last_reading_is_no_residual(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ladder gave up; the pair, let loose again, got rid of it: the report says how it is now."""
    await bench.rig.open("0.01")
    bench.long.default = MISS

    async def ended(engine: object, keys: object, sleep: object) -> None:
        bench.long.position_lots["BTC"] = 0

    monkeypatch.setattr(flatten_module, "_pairs_final", ended)
    report = await bench.flatten()
    assert report.residual == ()


async def test_legs_that_stand_against_each_other_end_with_the_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pairs of one strategy, one each way: the net is closed, and nothing may make their legs whole again afterwards."""
    bench = Bench(tmp_path, monkeypatch, risk={"symbol_exclusive": False, "attempt_cooldown_s": 0.0})
    rig = bench.rig
    rig.commands.take(rig.open_command("0.01", name="manual"), rig.operator)
    await settle()
    rig.read_accounts()
    both_ways = rig.open_command(
        "0.006", name="manual", long=rig.leg(SHORT, Side.BUY), short=rig.leg(LONG, Side.SELL), edge_bps=0.0
    )
    rig.commands.take(both_ways, rig.operator)
    await settle()
    assert (rig.truth(BTC), rig.truth((SHORT, "BTC"))) == (4, -2)
    assert len(rig.state.live_pairs()) == 2
    report = await bench.flatten()
    assert report.flat
    assert rig.state.live_pairs() == []
    sent = [len(rig.gateways[venue].wire) for venue in (LONG, SHORT)]
    for _ in range(5):
        await rig.turn(5000.0)
    assert [len(rig.gateways[venue].wire) for venue in (LONG, SHORT)] == sent
    assert (rig.truth(BTC), rig.truth((SHORT, "BTC"))) == (0, 0)


async def test_a_venue_that_is_halted_for_a_while_costs_no_steps(bench: Bench) -> None:
    await bench.rig.open("0.01")
    halted = Plan(answer=Answer.REJECT, code=RejectCode.VENUE_MODE)
    bench.long.plans.extend([halted] * 8)
    report = await bench.flatten()
    assert report.flat
    limits = [order.prepared.limit_ticks for order in bench.closes()]
    assert len(limits) == 9
    assert len(set(limits)) == 1, "at the first step's price"


async def test_what_could_not_be_sent_costs_no_steps(bench: Bench) -> None:
    """Our own clock is wrong, or a budget is used up: the price was not the reason."""
    await bench.rig.open("0.01")
    bench.long.plans.extend([Plan(answer=Answer.UNSENT)] * 8)
    report = await bench.flatten()
    assert report.flat
    limits = [order.prepared.limit_ticks for order in bench.closes()]
    assert len(limits) == 9
    assert len(set(limits)) == 1, "at the first step's price"


async def test_nothing_stays_claimed_once_it_has_ended(bench: Bench) -> None:
    """What is left goes back to its pair, which closes it; the last look before the report claims nothing again."""
    await bench.rig.open("0.01")
    bench.long.default = MISS
    report = await bench.flatten()
    assert [left.venue for left in report.residual] == [LONG]
    assert bench.rig.engine.flattening == set()


async def test_a_position_in_a_contract_that_nobody_lists_is_a_residual(bench: Bench) -> None:
    """Neither --all nor anything else here can close it; calling the account flat over it would be a lie."""
    await bench.rig.open("0.01")
    bench.long.unlisted = {"OLD-PERP": Decimal("-12.5")}
    report = await bench.flatten(include_foreign=True)
    assert not report.flat
    assert [(left.symbol, left.qty, left.why) for left in report.residual] == [
        ("OLD-PERP", Decimal("-12.5"), "unlisted contract")
    ]
    assert bench.rig.truth(BTC) == 0
    assert (await bench.flatten(symbol="BTC")).flat, "it is not what was asked for"
    bench.long.reachable = False
    report = await bench.flatten()
    assert [(left.symbol, left.why) for left in report.residual] == [("OLD-PERP", "unlisted contract")]
    bench.long.reachable, bench.long.unlisted = True, {}
    assert (await bench.flatten()).flat


async def test_a_foreign_position_that_nobody_has_adopted_yet_is_not_touched(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.position_lots["BTC"] += 7
    bench.long.position_lots["ETH"] = -3
    report = await bench.flatten()
    assert {(left.symbol, left.qty) for left in report.residual} == {
        ("BTC", Decimal("0.007")),
        ("ETH", Decimal("-0.003")),
    }
    assert [order.prepared.lots for order in bench.closes()] == [10]


async def test_a_position_the_other_way_round_is_foreign(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.position_lots["BTC"] = -7
    report = await bench.flatten()
    assert [(left.qty, left.why) for left in report.residual] == [(Decimal("-0.007"), "foreign")]
    assert bench.closes() == []


async def test_a_silent_venue_is_not_flat_though_our_books_hold_nothing_there(bench: Bench) -> None:
    bench.long.reachable = False
    report = await bench.flatten()
    assert not report.flat
    assert (report.residual, report.unreachable) == ((), (LONG,))


async def test_dust_is_told_as_dust_after_the_venue_has_refused_it(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.default = Plan(answer=Answer.REJECT, code=RejectCode.MIN_NOTIONAL)
    report = await bench.flatten()
    assert [left.why for left in report.residual] == ["dust: below the venue's smallest order"]
    assert len(bench.closes()) == 1


async def test_no_connection_is_waited_for_and_then_told(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.entry_ready = False
    report = await bench.flatten()
    assert not report.flat
    assert [left.venue for left in report.residual] == [LONG]
    assert bench.closes() == []


async def test_scope_is_kept(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.rig.market(2_000.0, 60.0, "ETH")
    await bench.rig.open("0.1", symbol="ETH")
    report = await bench.flatten(venue=LONG, symbol="ETH")
    assert report.flat
    assert bench.rig.truth((LONG, "ETH")) == 0
    assert bench.rig.truth((SHORT, "ETH")) < 0
    assert bench.rig.truth(BTC) == 10


async def test_what_a_stranger_opens_while_another_venue_is_still_worked_on_is_in_the_report(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.short.plans.extend([MISS, MISS])
    original, calls = bench.short.positions, []

    async def watched() -> list[Position]:
        calls.append(bench.long.readings)
        if len(calls) > 2 and calls[-1] == calls[-2] and "ETH" not in bench.long.position_lots:
            bench.long.foreign_fill("ETH", Side.SELL, 3, Decimal(3000))  # the long venue is done: it reads no more
        return await original()

    bench.short.positions = watched  # type: ignore[method-assign]
    report = await bench.flatten()
    assert [(each.venue, each.symbol, each.why) for each in report.residual] == [(LONG, "ETH", "foreign")]
    assert not report.flat
