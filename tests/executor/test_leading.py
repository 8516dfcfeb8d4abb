"""A first leg and the hedge that follows it: thin first, maker first, quote first; every way to end; a crash anywhere."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.messages import (
    ClosePair,
    DenyReason,
    Fallback,
    LegOrder,
    OpenPair,
    PairState,
    PairStatus,
    Sending,
)
from core.types import OrderStatus, Quote, Side, Stale, TimeInForce, TradingState
from executor.outcome import RejectCode
from executor.state import PairBook
from executor.venues.base import Traits
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, instrument, settle

MAKER = Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=60.0)
MAKER_TAKER = msgspec.structs.replace(MAKER, fallback=Fallback.TAKER)
THIN = Sending(order=LegOrder.THIN_FIRST, first=SHORT)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def thin_side(rig: Rig, qty: float) -> None:
    """Aster shows only `qty` where a short leg would sell."""
    book = rig.books[SHORT].quotes["BTC"]
    assert isinstance(book, Quote)
    rig.books[SHORT].quotes["BTC"] = book._replace(bid_qty=qty)


def maker_command(rig: Rig, sending: Sending = MAKER, qty: str = "0.01") -> OpenPair:
    return rig.open_command(qty, sending=sending)


async def led(rig: Rig, sending: Sending = MAKER, qty: str = "0.01") -> PairBook:
    """A pair whose first leg rests at Hyperliquid's bid."""
    return await rig.open(qty, sending=sending)


async def close_led(rig: Rig, pair: PairBook, sending: Sending) -> None:
    command = ClosePair(
        command_id=rig.next_id(), valid_until_mono_ns=0, pair_id=pair.pair_id, reason="event", sending=sending
    )
    rig.commands.take(command, rig.client)
    await settle()


def resting(rig: Rig) -> str:
    (name,) = rig.gateways[LONG].resting
    return name


def purposes(rig: Rig, pair: PairBook) -> list[str]:
    return [order.prepared.purpose for order in rig.orders(pair)]


# ---- thin leg first ---------------------------------------------------------------------------------------------------


async def test_depths_far_apart_send_the_thin_leg_first_and_size_the_other_to_what_it_filled(rig: Rig) -> None:
    thin_side(rig, 0.012)
    rig.gateways[SHORT].plans.append(Plan(fill_lots=3))
    pair = await rig.open("0.01")
    assert rig.trace[:2] == [f"sign {SHORT}", f"wire {SHORT}"]
    assert pair.plan.sending == Sending(order=LegOrder.THIN_FIRST, first=SHORT)
    assert purposes(rig, pair) == ["open", "hedge"]
    assert rig.orders(pair)[1].prepared.lots == 6
    assert pair.status is PairStatus.OPEN
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    rig.check()


@pytest.mark.parametrize("depth", [0.03, 4.0, 10.0])
async def test_depths_that_are_ample_or_alike_send_both_legs_at_once(rig: Rig, depth: float) -> None:
    thin_side(rig, depth)
    await rig.open("0.01")
    assert rig.trace == [f"sign {LONG}", f"sign {SHORT}", f"wire {LONG}", f"wire {SHORT}"]


async def test_a_thin_leg_that_fills_nothing_aborts_the_pair_with_nothing_else_sent(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.REJECT, code=RejectCode.NO_MATCH))
    pair = await rig.open("0.01", sending=THIN)
    assert pair.status is PairStatus.ABORTED
    assert rig.gateways[LONG].wire == []
    assert all(desk.reserved_usd == 0 for desk in rig.engine.desks.values())
    rig.check()


async def test_a_thin_leg_of_unknown_outcome_is_waited_for_and_then_hedged(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, fill_lots=3, told=Told.NEVER))
    pair = await rig.open("0.01", sending=THIN)
    assert pair.status is PairStatus.UNKNOWN
    for _ in range(10):
        await rig.turn(200.0)
    assert rig.gateways[LONG].wire == []
    rig.resolve()
    await settle()
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    assert pair.status is PairStatus.OPEN


async def test_what_an_unknown_first_leg_is_known_to_have_filled_is_hedged_at_once(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, fill_lots=3, told=Told.BEFORE))
    pair = await rig.open("0.01", sending=THIN)
    await rig.turn()
    assert pair.long.qty == Decimal("0.006")
    assert len(rig.gateways[SHORT].wire) == 1, "nothing unknown is sent again"
    rig.resolve()
    await settle()
    await rig.turn()
    assert pair.status is PairStatus.OPEN
    assert pair.imbalance_qty == 0


async def test_a_hedge_that_costs_more_than_the_way_back_unwinds_the_first_leg(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.commands.take(rig.open_command("0.01", sending=THIN), rig.client)
    long = rig.books[LONG].quotes["BTC"]
    assert isinstance(long, Quote)
    rig.books[LONG].quotes["BTC"] = long._replace(bid_px=100_400.0, ask_px=100_401.0)
    rig.gateways[SHORT].release()
    await settle()
    (pair,) = rig.state.pairs.values()
    await rig.until_final(pair)
    assert rig.truth((SHORT, "BTC")) == rig.truth((LONG, "BTC")) == 0
    assert "hedge" not in purposes(rig, pair)
    rig.check()


@pytest.mark.parametrize("sending", [THIN, MAKER])
async def test_the_planned_hedge_is_sent_though_the_way_back_would_cost_less(rig: Rig, sending: Sending) -> None:
    """The first venue takes no fee: going back is nearly free, but the second leg's cost was part of the decision."""
    for desk in rig.engine.desks.values():
        fee_bps = 0.0 if desk.venue == sending.first else 4.5
        desk.settings = msgspec.structs.replace(desk.settings, taker_fee_bps=fee_bps)
    pair = await rig.open("0.01", sending=sending)
    if sending is MAKER:
        rig.gateways[LONG].match(resting(rig), 10)
        await settle()
    assert pair.status is PairStatus.OPEN
    assert purposes(rig, pair) == ["open", "hedge"]
    rig.check()


async def test_what_a_hedge_takes_is_set_aside_after_a_restart_too(rig: Rig) -> None:
    """The plan's own reservation ends with the process; the next command must not spend what the hedge is taking."""
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.commands.take(rig.open_command("0.01", sending=THIN), rig.client)
    rig.boot(rig.journal.replayed())
    rig.gateways[SHORT].release(answered=False)
    rig.gateways[LONG].plans.append(Plan(held=True))
    rig.resolve()
    await settle()
    assert rig.engine.desks[LONG].reserved_usd > Decimal(300)
    rig.gateways[LONG].release()
    await settle()
    rig.pass_ms(1)
    rig.read_accounts()
    assert rig.engine.desks[LONG].reserved_usd == 0


async def test_a_hedge_that_cannot_be_sent_for_a_moment_is_waited_for(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[SHORT].entry_ready = False
    rig.gateways[LONG].match(resting(rig), 4)
    for _ in range(4):
        await rig.turn(300.0)
    assert rig.truth((LONG, "BTC")) == 4, "not given back yet"
    rig.gateways[SHORT].entry_ready = True
    await rig.turn(300.0)
    assert pair.imbalance_qty == 0
    assert pair.long.lots == 4


async def test_a_hedge_that_cannot_be_sent_for_long_is_given_up(rig: Rig) -> None:
    await led(rig)
    rig.gateways[SHORT].entry_ready = False
    rig.gateways[LONG].match(resting(rig), 4)
    for _ in range(12):
        await rig.turn(300.0)
    assert rig.truth((LONG, "BTC")) == 0


async def test_a_close_can_lead_with_its_thin_leg_too(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.trace.clear()
    rig.gateways[SHORT].plans.append(Plan(fill_lots=2))
    await close_led(rig, pair, THIN)
    assert rig.trace[:4] == [f"sign {SHORT}", f"wire {SHORT}", f"sign {LONG}", f"wire {LONG}"]
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    assert rig.truth((SHORT, "BTC")) == rig.truth((LONG, "BTC")) == 0
    rig.check()


# ---- maker first: opening ---------------------------------------------------------------------------------------------


async def test_the_first_leg_rests_at_its_own_touch_and_each_fill_is_hedged_in_the_same_turn(rig: Rig) -> None:
    pair = await led(rig)
    lead = rig.orders(pair)[0].prepared
    assert (lead.time_in_force, lead.side, lead.lots) == (TimeInForce.POST_ONLY, Side.BUY, 10)
    assert lead.limit_ticks == 999_995
    assert rig.gateways[SHORT].wire == []
    rig.gateways[LONG].match(resting(rig), 4)
    assert len(rig.gateways[SHORT].wire) == 1, "on the wire before the event returned"
    await settle()
    assert pair.short.qty == Decimal("-0.004")
    assert pair.status is PairStatus.OPENING
    rig.gateways[LONG].match(resting(rig), 6)
    await settle()
    assert pair.status is PairStatus.OPEN
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.010"), Decimal("-0.010"))
    assert purposes(rig, pair) == ["open", "hedge", "hedge"]
    assert rig.meter.count("repair") == 0
    rig.check()


async def test_a_fill_below_the_hedge_minimum_is_dust_until_more_comes(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 1)
    await settle()
    for _ in range(3):
        await rig.turn(900.0)
    assert rig.gateways[SHORT].wire == [], "half a lot of the other venue cannot be hedged, nor is it rounded up"
    assert pair.off_qty == 0
    assert pair.imbalance_qty == Decimal("0.001")
    assert resting(rig)
    rig.gateways[LONG].match(resting(rig), 1)
    await settle()
    assert pair.short.qty == Decimal("-0.002"), "all of it, the dust too"
    assert pair.imbalance_qty == 0
    rig.check()


async def test_the_first_leg_moves_with_its_touch_at_most_once_a_second(rig: Rig) -> None:
    pair = await led(rig)
    rig.market(100_010.0, 60.0)
    await rig.turn(300.0)
    assert len(rig.gateways[LONG].wire) == 1
    await rig.turn(800.0)
    await rig.turn(50.0)
    assert len(rig.gateways[LONG].cancels) == 1
    assert [order.prepared.limit_ticks for order in rig.orders(pair)] == [999_995, 1_000_095]
    await rig.turn(1500.0)
    assert len(rig.gateways[LONG].wire) == 2, "at the touch it stays"
    rig.check()


async def test_the_first_leg_never_rests_beyond_the_limit_of_the_pair(rig: Rig) -> None:
    command = maker_command(rig)
    limit = msgspec.structs.replace(command.long, limit_px=Decimal("99990.0"))
    rig.commands.take(msgspec.structs.replace(command, long=limit), rig.client)
    await settle()
    (order,) = rig.state.orders.values()
    assert order.prepared.limit_ticks == 999_900


async def test_nothing_rests_while_the_other_leg_could_not_be_hedged_within_its_limit(rig: Rig) -> None:
    pair = await led(rig)
    rig.market(100_000.0, 20.0)
    await rig.turn()
    assert rig.gateways[LONG].resting == []
    rig.market(100_000.0, 60.0)
    await rig.turn(1100.0)
    assert len(rig.gateways[LONG].resting) == 1
    assert pair.status is PairStatus.OPENING


async def test_the_deadline_keeps_what_is_filled_and_hedged(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    for _ in range(62):
        await rig.turn(1000.0)
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.OPEN
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.004"), Decimal("-0.004"))
    assert all(desk.reserved_usd >= 0 for desk in rig.engine.desks.values())
    rig.check()


async def test_the_deadline_without_any_fill_aborts(rig: Rig) -> None:
    pair = await led(rig)
    assert any(desk.reserved_usd for desk in rig.engine.desks.values())
    for _ in range(62):
        rig.read_accounts()
        await rig.turn(1000.0)
    assert pair.status is PairStatus.ABORTED
    assert pair.reason.startswith("the deadline")
    assert all(desk.reserved_usd == 0 for desk in rig.engine.desks.values())


async def test_the_fallback_taker_sends_the_rest_by_ioc(rig: Rig) -> None:
    pair = await led(rig, MAKER_TAKER)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    for _ in range(59):
        rig.read_accounts()
        await rig.turn(1000.0)
    rig.gateways[LONG].default = Plan(held=True)
    for _ in range(3):
        await rig.turn(1000.0)
    rig.read_accounts()
    assert rig.engine.desks[LONG].reserved_usd > 0, "what is on its way is set aside all along"
    rig.gateways[LONG].default = Plan()
    rig.gateways[LONG].release()
    await settle()
    assert pair.status is PairStatus.OPEN
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.010"), Decimal("-0.010"))
    assert rig.orders(pair)[-2].prepared.time_in_force is TimeInForce.IOC
    rig.check()


async def test_a_hedge_that_is_not_to_be_had_withdraws_the_first_leg_and_unwinds_it(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[SHORT].default = Plan(answer=Answer.REJECT, code=RejectCode.MARGIN)
    rig.gateways[LONG].match(resting(rig), 4)
    for _ in range(40):
        await rig.turn(300.0)
    assert rig.gateways[LONG].resting == []
    assert rig.truth((LONG, "BTC")) == 0
    assert pair.status is PairStatus.CLOSED
    assert rig.state.unhedged_max_ns < 7 * 10**9
    rig.check()


async def test_a_dark_hedge_venue_withdraws_the_first_leg_at_once(rig: Rig) -> None:
    await led(rig)
    rig.gateways[SHORT].entry_ready = False
    await rig.turn()
    assert rig.gateways[LONG].resting == []
    await rig.turn(3000.0)
    assert rig.gateways[LONG].resting == [], "and places no other"


async def test_a_fill_while_the_cancel_is_on_its_way_is_hedged(rig: Rig) -> None:
    pair = await led(rig)
    name = resting(rig)
    rig.market(100_010.0, 60.0)
    rig.gateways[LONG].match(name, 10)  # gone before the cancel arrives
    rig.pass_ms(1200.0)
    rig.pairs.tick()
    await settle()
    assert pair.status is PairStatus.OPEN
    rig.check()


async def test_halting_ends_an_opening_and_keeps_its_hedge(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    rig.engine.set_trading_state(TradingState.HALTED, "test")
    await rig.turn()
    await rig.turn()
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.OPEN
    assert pair.imbalance_qty == 0


async def test_an_owner_that_leaves_takes_its_resting_leg_along(rig: Rig) -> None:
    pair = await led(rig, MAKER_TAKER)
    rig.engine.sessions = {rig.operator}
    rig.commands.client_left("scalp")
    await settle()
    await rig.turn(2000.0)
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.ABORTED


async def test_a_refused_post_only_order_is_placed_again_a_second_later(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(answer=Answer.REJECT, code=RejectCode.POST_ONLY))
    pair = await led(rig)
    await rig.turn(300.0)
    assert len(rig.orders(pair)) == 1
    await rig.turn(900.0)
    assert len(rig.gateways[LONG].resting) == 1
    assert pair.status is PairStatus.OPENING


async def test_an_opening_is_not_led_on_after_a_restart(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    rig.boot(rig.journal.replayed())
    pair = rig.state.pairs[pair.pair_id]
    for _ in range(5):
        await rig.turn(1100.0)
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.OPEN
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.004"), Decimal("-0.004"))
    rig.check()


async def test_a_stop_places_nothing_more(rig: Rig) -> None:
    await led(rig)
    rig.engine.ready = False
    await rig.turn()
    assert rig.gateways[LONG].resting == []
    await rig.turn(2000.0)
    assert len(rig.gateways[LONG].wire) == 1


# ---- maker first: closing ---------------------------------------------------------------------------------------------


async def test_a_maker_close_rests_reduce_only_and_ends_flat(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER)
    lead = rig.orders(pair)[-1].prepared
    assert (lead.time_in_force, lead.side, lead.reduce_only) == (TimeInForce.POST_ONLY, Side.SELL, True)
    assert lead.limit_ticks == 1_000_005
    rig.gateways[LONG].match(resting(rig), 6)
    await settle()
    assert pair.short.qty == Decimal("-0.004")
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    assert pair.status is PairStatus.CLOSED
    assert rig.truth((SHORT, "BTC")) == rig.truth((LONG, "BTC")) == 0
    rig.check()


@pytest.mark.parametrize(("fallback", "left"), [(Fallback.STAY, "0.004"), (Fallback.TAKER, "0")])
async def test_the_deadline_of_a_close_leaves_the_rest_or_takes_it(rig: Rig, fallback: Fallback, left: str) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, msgspec.structs.replace(MAKER, fallback=fallback))
    rig.gateways[LONG].match(resting(rig), 6)
    await settle()
    for _ in range(63):
        await rig.turn(1000.0)
    assert rig.gateways[LONG].resting == []
    assert (pair.long.qty, pair.short.qty) == (Decimal(left), -Decimal(left))
    assert pair.status is (PairStatus.CLOSED if fallback is Fallback.TAKER else PairStatus.OPEN)
    assert not pair.is_led
    answered = [report for report in rig.client.of(PairState) if isinstance(report, PairState) and report.command_id]
    assert answered[-1].status is pair.status
    if fallback is Fallback.STAY:
        await rig.close(pair)
        await rig.until_final(pair)
    assert rig.truth((SHORT, "BTC")) == rig.truth((LONG, "BTC")) == 0
    rig.check()


async def test_a_maker_close_down_to_dust_is_closed_whatever_was_to_stay(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        contract = gateway.instruments()["BTC"]
        gateway.instruments()["BTC"] = msgspec.structs.replace(contract, min_notional_usd=Decimal(350))
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER)
    rig.gateways[LONG].match(resting(rig), 8)
    await settle()
    for _ in range(4):
        await rig.turn(1100.0)
    assert pair.status is PairStatus.CLOSED
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.002"), Decimal("-0.002"))
    rig.check()


async def test_a_maker_close_goes_on_after_a_restart(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER)
    rig.gateways[LONG].match(resting(rig), 6)
    await settle()
    rig.gateways[LONG].end_resting(resting(rig))
    await settle()
    rig.boot(rig.journal.replayed())
    pair = rig.state.pairs[pair.pair_id]
    for _ in range(3):
        await rig.turn(1100.0)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    assert pair.status is PairStatus.CLOSED
    rig.check()


async def test_a_guard_ends_a_resting_close_and_takes_both_legs(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER)
    rig.pairs.request_close(pair, "stop")
    for _ in range(4):
        await rig.turn(200.0)
    assert pair.status is PairStatus.CLOSED
    assert rig.gateways[LONG].resting == []
    rig.check()


async def test_a_strategy_may_hurry_its_own_resting_close_but_not_ask_for_it_twice(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER)
    await close_led(rig, pair, MAKER)
    assert rig.client.denied is DenyReason.PAIR_BUSY
    await close_led(rig, pair, Sending())
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED


async def test_an_operators_cancel_ends_the_resting_leg_for_good(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER)
    rig.pairs.end_leads("its resting leg was cancelled", pair_id=pair.pair_id)
    for _ in range(4):
        await rig.turn(1100.0)
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.OPEN
    assert pair.long.lots == 10


# ---- quote first ------------------------------------------------------------------------------------------------------


@pytest.fixture
def quoted(tmp_path: Path) -> Rig:
    """Aster quotes before it trades: no book, one price for the exact size."""
    rig = Rig(tmp_path)
    rig.gateways[SHORT].traits = Traits(quotes_first=True, client_ids=False, partial_fills=False, post_only=False)
    rig.gateways[SHORT].quote_px = Decimal("100600.0")
    return rig


async def open_quoted(rig: Rig) -> PairBook:
    command = rig.open_command("0.01")
    rig.books[SHORT].quotes["BTC"] = Stale(60 * 10**9)
    rig.commands.take(command, rig.client)
    await settle()
    return next(iter(rig.state.pairs.values()))


async def test_a_quote_is_asked_for_the_exact_size_accepted_and_hedged(quoted: Rig) -> None:
    pair = await open_quoted(quoted)
    assert quoted.gateways[SHORT].quotes_asked == [(Side.SELL, 5)]
    first, second = quoted.orders(pair)
    assert (first.prepared.venue, first.prepared.quote_id, first.prepared.limit_ticks) == (SHORT, "q1", 1_006_000)
    assert (second.prepared.venue, second.prepared.purpose) == (LONG, "hedge")
    assert pair.status is PairStatus.OPEN
    assert quoted.trace == [f"sign {SHORT}", f"wire {SHORT}", f"sign {LONG}", f"wire {LONG}"]
    quoted.check()


async def test_a_quote_beyond_the_limit_is_not_accepted(quoted: Rig) -> None:
    quoted.gateways[SHORT].quote_px = Decimal("100500.0")
    pair = await open_quoted(quoted)
    assert pair.status is PairStatus.ABORTED
    assert quoted.gateways[SHORT].wire == quoted.gateways[LONG].wire == []


async def test_an_edge_that_went_while_the_quote_was_asked_for_is_not_traded(quoted: Rig) -> None:
    command = quoted.open_command("0.01")
    quoted.books[SHORT].quotes["BTC"] = Stale(60 * 10**9)
    quoted.commands.take(command, quoted.client)
    long = quoted.books[LONG].quotes["BTC"]
    assert isinstance(long, Quote)
    quoted.books[LONG].quotes["BTC"] = long._replace(bid_px=100_200.0, ask_px=100_201.0)
    await settle()
    for _ in range(8):
        await quoted.turn(500.0)
    (pair,) = quoted.state.pairs.values()
    assert pair.status is PairStatus.ABORTED
    assert quoted.gateways[SHORT].wire == []


async def test_no_quote_in_time_aborts(quoted: Rig) -> None:
    quoted.gateways[SHORT].quote_px = None
    pair = await open_quoted(quoted)
    assert pair.status is PairStatus.OPENING
    for _ in range(8):
        await quoted.turn(500.0)
    assert pair.status is PairStatus.ABORTED
    assert 1 < len(quoted.gateways[SHORT].quotes_asked) < 6, "paced"


async def test_a_quote_that_has_run_out_is_never_accepted(quoted: Rig) -> None:
    quoted.gateways[SHORT].quote_life_ns = 50_000_000
    pair = await open_quoted(quoted)
    for _ in range(8):
        await quoted.turn(500.0)
    assert pair.status is PairStatus.ABORTED
    assert quoted.gateways[SHORT].wire == []


async def test_a_lost_acceptance_is_neither_repeated_nor_quoted_again(quoted: Rig) -> None:
    quoted.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    pair = await open_quoted(quoted)
    for _ in range(20):
        await quoted.turn(500.0)
    assert len(quoted.gateways[SHORT].wire) == len(quoted.gateways[SHORT].quotes_asked) == 1
    assert quoted.gateways[LONG].wire == []
    quoted.resolve()
    await settle()
    assert pair.status is PairStatus.OPEN
    assert pair.imbalance_qty == 0


async def test_a_close_is_quoted_first_whoever_asks_for_it(quoted: Rig) -> None:
    pair = await open_quoted(quoted)
    quoted.trace.clear()
    quoted.pairs.request_close(pair, "stop")
    await settle()
    await quoted.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    assert quoted.trace[:4] == [f"sign {SHORT}", f"wire {SHORT}", f"sign {LONG}", f"wire {LONG}"]
    assert quoted.truth((SHORT, "BTC")) == quoted.truth((LONG, "BTC")) == 0
    quoted.check()


async def test_a_repair_on_a_venue_that_quotes_goes_by_a_quote_too(quoted: Rig) -> None:
    pair = await open_quoted(quoted)
    quoted.gateways[LONG].foreign_fill("BTC", Side.SELL, 4, Decimal(100_000))
    for _ in range(4):
        await quoted.turn(300.0)
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    assert quoted.gateways[SHORT].quotes_asked[-1] == (Side.BUY, 2)
    assert quoted.orders(pair)[-1].prepared.quote_id
    quoted.check()


async def test_the_bound_of_a_quoted_pair_is_eight_seconds(quoted: Rig, rig: Rig) -> None:
    for each, overdue_at in ((rig, 5.0), (quoted, 8.0)):
        pair = await (each.open("0.01") if each is rig else open_quoted(each))
        each.gateways[LONG].entry_ready = each.gateways[SHORT].entry_ready = False
        each.gateways[LONG].foreign_fill("BTC", Side.SELL, 4, Decimal(100_000))
        seconds = 0.0
        while not any('"event": "unhedged_overdue"' in line for line in each.lines):
            await each.turn(100.0)
            seconds += 0.1
            assert seconds < 10
        assert overdue_at < seconds < overdue_at + 0.4
        assert pair.status is PairStatus.REPAIRING


# ---- refused orders of legs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sending",
    [
        Sending(order=LegOrder.MAKER_FIRST),
        Sending(order=LegOrder.QUOTE_FIRST),
        Sending(order=LegOrder.THIN_FIRST, first="kraken"),  # type: ignore[arg-type]
        msgspec.structs.replace(MAKER, deadline_s=0.0),
        msgspec.structs.replace(MAKER, deadline_s=1e9),
    ],
)
async def test_an_order_of_legs_that_makes_no_sense_is_denied(rig: Rig, sending: Sending) -> None:
    rig.commands.take(rig.open_command("0.01", sending=sending), rig.client)
    assert rig.client.denied is DenyReason.LEG_ORDER
    assert rig.state.pairs == {}


async def test_a_venue_without_post_only_orders_cannot_rest_a_leg(rig: Rig) -> None:
    rig.gateways[LONG].traits = Traits(post_only=False)
    rig.commands.take(maker_command(rig), rig.client)
    assert rig.client.denied is DenyReason.LEG_ORDER


async def test_two_venues_that_quote_first_make_no_pair(quoted: Rig) -> None:
    quoted.gateways[LONG].traits = Traits(quotes_first=True)
    quoted.commands.take(quoted.open_command("0.01"), quoted.client)
    assert quoted.client.denied is DenyReason.LEG_ORDER
    await settle()


# ---- a crash anywhere -------------------------------------------------------------------------------------------------


async def _maker_life(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    rig.market(100_010.0, 60.0)
    await rig.turn(1100.0)
    await rig.turn(100.0)
    rig.gateways[LONG].match(resting(rig), 6)
    await settle()
    await close_led(rig, pair, MAKER)
    rig.gateways[LONG].match(resting(rig), 7)
    await settle()
    return rig


async def _quote_life(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.gateways[SHORT].traits = Traits(quotes_first=True)
    rig.gateways[SHORT].quote_px = Decimal("100600.0")
    pair = await open_quoted(rig)
    await close_led(rig, pair, Sending())
    await rig.turn(300.0)
    return rig


@pytest.mark.parametrize("life", [_maker_life, _quote_life])
async def test_a_led_life_cut_at_any_record_ends_hedged_and_sends_nothing_twice(life: object, tmp_path: Path) -> None:
    assert callable(life)
    length = len((await life(tmp_path)).journal.entries)
    assert length > 20
    for cut in range(2, length + 1):
        rig: Rig = await life(tmp_path)
        del rig.journal.entries[cut:]
        rig.boot(rig.journal.replayed())
        for gateway in rig.gateways.values():
            gateway.entry_ready = True
            for name in gateway.resting:  # reconciliation cancels what a dead epoch left
                gateway.end_resting(name)
            for fill in gateway.fills:
                rig.engine.on_fill(fill)
        for _ in range(60):
            rig.market(100_000.0, 60.0)
            rig.resolve()
            for order in list(rig.state.orders.values()):
                gateway = rig.gateways[order.prepared.venue]
                if order.client_order_id in gateway.placed:
                    gateway.tell_missing(order.client_order_id)
            await rig.turn(1100.0)
        for pair in rig.state.pairs.values():
            assert pair.off_qty == 0, cut
            assert pair.status in (PairStatus.OPEN, PairStatus.CLOSED, PairStatus.ABORTED, PairStatus.CLOSING), cut
        for venue, gateway in rig.gateways.items():
            assert len(gateway.wire) == len(set(gateway.wire))
            ours = sum(leg.lots for p in rig.state.pairs.values() for leg in p.legs if leg.venue == venue)
            lost = any(
                o.prepared.purpose == "adopted" for o in rig.state.orders.values()
            )  # then executor.naked has the rest
            assert lost or ours == rig.truth((venue, "BTC")) or rig.state.positions[(venue, "BTC")].foreign, cut
            assert sum(rig.state.sub_ledgers((venue, "BTC")).values()) == rig.truth((venue, "BTC")), cut
        assert rig.journal.replayed() == rig.state


def test_contracts_of_the_rig_have_different_lots() -> None:
    """What the dust tests rest on."""
    assert instrument(LONG).lot_size * 2 == instrument(SHORT).lot_size
    assert OrderStatus.ACCEPTED.is_final is False


# ---- struck from outside ----------------------------------------------------------------------------------------------


async def test_a_leg_that_a_liquidation_and_our_own_close_both_closed_is_brought_back(quoted: Rig) -> None:
    """The venue knows no reduce-only: the close that was on its way when the liquidation came turns the leg round. What
    stands on the wrong side is reduced towards nothing, not doubled."""
    quoted.gateways[SHORT].traits = msgspec.structs.replace(quoted.gateways[SHORT].traits, reduce_only=False)
    pair = await open_quoted(quoted)
    quoted.gateways[SHORT].plans.append(Plan(held=True))
    await close_led(quoted, pair, Sending())
    quoted.gateways[SHORT].foreign_fill("BTC", Side.BUY, 5, Decimal(100_600))
    quoted.gateways[SHORT].release()
    await settle()
    assert quoted.truth((SHORT, "BTC")) in (0, 5)
    for _ in range(20):
        await quoted.turn(500.0)
        assert abs(quoted.truth((SHORT, "BTC"))) <= 5
    assert quoted.truth((SHORT, "BTC")) == quoted.truth((LONG, "BTC")) == 0
    assert pair.status is PairStatus.CLOSED
    quoted.check()


async def test_a_close_whose_second_leg_was_taken_goes_on_without_waiting_for_a_fill(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await close_led(rig, pair, MAKER_TAKER)
    rig.gateways[SHORT].foreign_fill("BTC", Side.BUY, 5, Decimal(100_600))
    for _ in range(4):
        await rig.turn(300.0)
    assert rig.gateways[LONG].resting == []
    assert rig.truth((LONG, "BTC")) == 0
    assert pair.status is PairStatus.CLOSED
    rig.check()


async def test_an_opening_whose_first_leg_was_taken_is_not_bought_again(rig: Rig) -> None:
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 6)
    await settle()
    rig.gateways[LONG].foreign_fill("BTC", Side.SELL, 4, Decimal(100_000))
    for _ in range(5):
        await rig.turn(1100.0)
    assert rig.gateways[LONG].resting == []
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.002"), Decimal("-0.002"))
    assert pair.status is PairStatus.OPEN
    rig.check()


async def test_a_first_leg_stops_where_a_limit_has_come_to_be_exceeded(rig: Rig) -> None:
    """The limits were kept when the pair was allowed; then somebody trades by hand on the same account."""
    pair = await led(rig)
    rig.gateways[LONG].match(resting(rig), 4)
    await settle()
    config = rig.engine.desks[LONG].settings
    rig.engine.desks[LONG].settings = msgspec.structs.replace(config, max_notional_usd=999.0)
    await rig.turn()
    await rig.turn()
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.OPEN
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.004"), Decimal("-0.004"))
    rig.check()


async def test_what_rests_goes_at_a_halt_even_while_a_hedge_is_on_its_way(rig: Rig) -> None:
    await led(rig)
    rig.gateways[SHORT].default = Plan(held=True)
    rig.gateways[LONG].match(resting(rig), 4)
    assert len(rig.gateways[SHORT].wire) == 1
    rig.engine.set_trading_state(TradingState.HALTED, "test")
    await rig.turn()
    assert rig.gateways[LONG].resting == []
    rig.gateways[SHORT].release()
    await settle()


async def test_a_clock_that_was_set_back_does_not_keep_a_first_leg_at_an_old_price(rig: Rig) -> None:
    pair = await led(rig)
    order = rig.orders(pair)[0]
    order.prepared = msgspec.structs.replace(order.prepared, wire_ns=rig.clock.wire_ns() + 3600 * 10**9)
    rig.market(100_010.0, 60.0)
    await rig.turn()
    assert rig.gateways[LONG].cancels == [order.client_order_id]
