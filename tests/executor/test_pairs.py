"""Two legs as one: opening, completing, unwinding, unknown answers, foreign fills, closing; every guard fires and does not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from core.messages import PairStatus
from core.types import OrderStatus, Side, Stale
from executor.outcome import RejectCode
from executor.records import UnhedgedMeasured
from executor.venues.base import TopOfBook
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_both_legs_are_signed_and_on_the_wire_before_anything_is_awaited(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        gateway.default = Plan(held=True)
    rig.commands.take(rig.open_command(), rig.client)  # no await in between
    assert rig.trace == [f"sign {LONG}", f"sign {SHORT}", f"wire {LONG}", f"wire {SHORT}"]
    kinds = [type(record).__name__ for record in rig.journal.records()]
    assert kinds.index("OrderPrepared") < kinds.index("OrderMoved")
    assert kinds.count("OrderPrepared") == 2
    for gateway in rig.gateways.values():
        gateway.release()
    await settle()
    rig.check()


async def test_a_pair_opens_with_equal_legs_and_closes_flat(rig: Rig) -> None:
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.OPEN
    assert pair.long.qty == Decimal("0.010")
    assert pair.short.qty == Decimal("-0.010")
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSED
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    reduce_only = [o.prepared.reduce_only for o in rig.orders(pair) if o.prepared.purpose == "close"]
    assert reduce_only == [True, True]
    rig.check()


@pytest.mark.parametrize("told", list(Told))
@pytest.mark.parametrize("answer", [Answer.RESULT, Answer.ACK])
async def test_fills_count_once_whenever_and_however_often_they_are_told(rig: Rig, told: Told, answer: Answer) -> None:
    if answer is Answer.ACK and told is Told.NEVER:
        return  # nothing at all is told: that is a lost answer, tested elsewhere
    for gateway in rig.gateways.values():
        gateway.default = Plan(answer=answer, told=told)
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.OPEN
    assert (pair.long.lots, pair.short.lots) == (10, -5)
    rig.check()


async def test_the_short_leg_is_completed_when_that_is_cheaper(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(fill_lots=3))
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.OPEN
    assert [o.prepared.purpose for o in rig.orders(pair)] == ["open", "open", "complete"]
    assert pair.short.qty == Decimal("-0.010")
    rig.check()


async def test_the_long_leg_is_unwound_when_the_missing_price_has_run_away(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(fill_lots=0, held=True))
    rig.commands.take(rig.open_command("0.01"), rig.client)
    rig.market(100_000.0, 20.0)  # the sell side fell by 40 bps: beyond complete_slippage_bps
    rig.gateways[SHORT].release()
    await settle()
    (pair,) = rig.state.pairs.values()
    assert [o.prepared.purpose for o in rig.orders(pair)] == ["open", "open", "unwind"]
    assert pair.status is PairStatus.CLOSED
    assert rig.truth((LONG, "BTC")) == 0
    rig.check()


async def test_unwinding_is_chosen_within_the_bound_too_when_it_costs_less(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(fill_lots=0, held=True))
    rig.commands.take(rig.open_command("0.01"), rig.client)
    rig.market(100_000.0, 45.0)  # 15 bps away: within the bound of 20, but the way back costs 1
    rig.gateways[SHORT].release()
    await settle()
    (pair,) = rig.state.pairs.values()
    assert [o.prepared.purpose for o in rig.orders(pair)] == ["open", "open", "unwind"]
    rig.check()


async def test_nothing_filled_on_either_leg_is_aborted(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        gateway.plans.append(Plan(answer=Answer.REJECT, code=RejectCode.NO_MATCH))
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.ABORTED
    rig.check()


async def test_unsent_legs_are_aborted_and_free_their_reservation(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        gateway.plans.append(Plan(answer=Answer.UNSENT))
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.ABORTED
    assert [o.status for o in rig.orders(pair)] == [OrderStatus.NOT_SENT] * 2
    assert all(desk.reserved_usd == 0 for desk in rig.engine.desks.values())
    rig.check()


async def test_a_leg_that_cannot_be_signed_sends_neither(rig: Rig) -> None:
    rig.gateways[SHORT].sign_fails = True
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.ABORTED
    assert rig.gateways[LONG].wire == rig.gateways[SHORT].wire == []


@pytest.mark.parametrize("really_filled", [0, 2, 5])
async def test_a_lost_answer_is_never_resent_and_nothing_is_done_before_it_is_resolved(
    rig: Rig, really_filled: int
) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, fill_lots=really_filled, told=Told.NEVER))
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.UNKNOWN
    assert rig.state.frozen == {(SHORT, "BTC"): "unknown_outcome"}
    for _ in range(50):
        await rig.turn(200.0)  # ten seconds: far beyond every bound of a repair
    assert len(rig.gateways[LONG].wire) == len(rig.gateways[SHORT].wire) == 1
    assert any('"event": "unhedged_overdue"' in line for line in rig.lines)
    rig.resolve()
    await settle()
    assert rig.state.frozen == {}
    assert pair.long.qty + pair.short.qty == 0
    assert pair.status is (PairStatus.OPEN if really_filled else PairStatus.CLOSED)
    purposes = [o.prepared.purpose for o in rig.orders(pair)][2:]
    assert purposes == [] if really_filled == 5 else set(purposes) <= {"unwind", "close"}


async def test_fills_of_a_lost_order_that_add_up_resolve_it(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.UNKNOWN
    rig.gateways[SHORT].tell_missing(pair.orders[1])
    await settle()
    assert pair.status is PairStatus.OPEN
    assert rig.state.frozen == {}
    rig.check()


async def test_a_late_fill_after_no_match_reopens_the_pair_and_is_unwound(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        gateway.plans.append(Plan(answer=Answer.REJECT))
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.ABORTED
    rig.gateways[LONG].late_fill(pair.orders[0], 4)
    await settle()
    await rig.until_final(pair)
    assert rig.truth((LONG, "BTC")) == 0 or rig.truth((SHORT, "BTC")) == -2
    assert rig.meter.count("late_fill") == 1
    assert pair.long.qty + pair.short.qty == 0
    rig.check()


async def test_a_late_fill_of_both_legs_of_an_aborted_pair_ends_hedged_or_flat(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        gateway.plans.append(Plan(answer=Answer.REJECT))
    pair = await rig.open("0.01")
    rig.gateways[LONG].late_fill(pair.orders[0], 10)
    rig.gateways[SHORT].late_fill(pair.orders[1], 5)
    for _ in range(20):
        await rig.turn(400.0)
    assert pair.long.qty + pair.short.qty == 0
    rig.check()


async def test_a_foreign_fill_shrinks_the_other_leg_in_the_same_turn(rig: Rig) -> None:
    pair = await rig.open("0.01")
    sent = len(rig.gateways[LONG].wire)
    rig.gateways[SHORT].foreign_fill("BTC", Side.BUY, 2, Decimal(100_000))
    assert len(rig.gateways[LONG].wire) == sent + 1  # on the wire before the event returned
    await settle()
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    assert pair.status is PairStatus.OPEN
    assert rig.orders(pair)[-1].prepared.purpose == "foreign"
    assert any('"event": "foreign_fill"' in line for line in rig.lines)
    rig.check()


async def test_a_liquidated_leg_closes_the_whole_pair(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.gateways[SHORT].foreign_fill("BTC", Side.BUY, 5, Decimal(101_000))
    await settle()
    assert pair.status is PairStatus.CLOSED
    assert rig.truth((LONG, "BTC")) == 0
    rig.check()


async def test_a_foreign_fill_outside_any_pair_freezes_its_instrument(rig: Rig) -> None:
    rig.gateways[LONG].foreign_fill("BTC", Side.BUY, 3, Decimal(100_000))
    assert rig.state.positions[(LONG, "BTC")].foreign
    assert rig.state.frozen == {(LONG, "BTC"): "foreign_position"}
    rig.check()


async def test_a_close_with_partial_fills_goes_on_until_both_legs_are_flat(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.gateways[LONG].plans.extend([Plan(fill_lots=4), Plan(fill_lots=2)])
    rig.gateways[SHORT].plans.extend([Plan(fill_lots=0), Plan(fill_lots=3)])
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSING
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    assert any(isinstance(record, UnhedgedMeasured) for record in rig.journal.records())
    rig.check()


async def test_a_residual_below_the_minimum_is_dust_and_is_never_rounded_up(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for gateway in rig.gateways.values():
        for symbol, contract in list(gateway.instruments().items()):
            gateway.instruments()[symbol] = type(contract)(
                **{f: getattr(contract, f) for f in contract.__struct_fields__} | {"min_notional_usd": Decimal(250)}
            )
    pair = await rig.open("0.01")
    rig.gateways[LONG].plans.append(Plan(fill_lots=8))  # 0.002 BTC = 200 USD stay: less than 250
    await rig.close(pair)
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    assert pair.reason == "dust"
    assert rig.truth((LONG, "BTC")) == 2
    assert rig.state.lots((LONG, "BTC")) == 2
    rig.check()


async def test_neither_leg_is_closed_while_the_other_cannot_be(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.gateways[SHORT].entry_ready = False
    await rig.close(pair)
    for _ in range(10):
        await rig.turn(500.0)
    assert pair.status is PairStatus.CLOSING
    assert len(rig.gateways[LONG].wire) == 1
    rig.gateways[SHORT].entry_ready = True
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    rig.check()


async def test_a_close_without_usable_quotes_prices_itself_from_the_venues_own_book(rig: Rig) -> None:
    pair = await rig.open("0.01")
    for venue, gateway in rig.gateways.items():
        rig.books[venue].quotes["BTC"] = Stale(10**9)
        gateway.tops["BTC"] = TopOfBook(Decimal("100000"), Decimal("100001"), Decimal("100000.5"))
    await rig.close(pair)
    assert len(rig.gateways[LONG].wire) == 1
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    rig.check()


async def test_net_of_a_pair_is_its_price_result_less_all_fees(rig: Rig) -> None:
    pair = await rig.open("0.01")
    bought, sold = rig.orders(pair)[0].avg_px, rig.orders(pair)[1].avg_px
    rig.market(100_000.0, 0.0)
    await rig.close(pair)
    closing = rig.orders(pair)[2:]
    assert bought is not None
    assert sold is not None
    price = Decimal("0.01") * ((closing[0].avg_px or 0) - bought + sold - (closing[1].avg_px or 0))
    fees = sum((order.fee_usd for order in rig.orders(pair)), Decimal(0))
    assert pair.net_usd == price - fees
    assert rig.state.net_usd == pair.net_usd
    assert rig.client.reports[-1].net_usd == pair.net_usd  # type: ignore[union-attr]


async def test_a_restart_in_the_middle_goes_on_from_the_journal_alone(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.commands.take(rig.open_command("0.01"), rig.client)
    await settle()
    rig.boot(rig.journal.replayed())  # SIGKILL: the answer of the short leg never arrives here
    (pair,) = rig.state.pairs.values()
    assert pair.status is PairStatus.UNKNOWN
    assert rig.doubts == [pair.orders[1]]
    rig.gateways[SHORT].release(answered=False)
    rig.resolve()
    await settle()
    assert pair.status is PairStatus.OPEN
    rig.check()


async def test_a_freeze_whose_outcome_became_known_just_before_the_end_is_lifted_at_the_start(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    pair = await rig.open("0.01")
    rig.resolve()
    await settle()
    kinds = [type(record).__name__ for record in rig.journal.records()]
    del rig.journal.entries[kinds.index("Unfrozen") :]
    state = rig.journal.replayed()
    assert state.frozen == {(SHORT, "BTC"): "unknown_outcome"}
    assert state.unknown_orders() == []
    rig.boot(state)
    await rig.turn()
    assert rig.state.frozen == {}
    assert rig.state.pairs[pair.pair_id].status is PairStatus.OPEN


@pytest.mark.parametrize(("held", "left"), [("0.012", "0.006"), ("0.010", "0.006"), ("0.018", "0.010")])
async def test_halving_reduces_both_legs_by_the_same_size(rig: Rig, held: str, left: str) -> None:
    pair = await rig.open(held)
    rig.pairs.halve(pair, "margin")
    await settle()
    assert (pair.long.qty, pair.short.qty) == (Decimal(left), -Decimal(left))
    assert len(rig.orders(pair)) == 4
    assert pair.status is PairStatus.OPEN
    rig.check()


async def test_the_filled_leg_is_unwound_blind_only_when_policy_says_so(tmp_path: Path) -> None:
    for policy, unwound in (("wait_and_page", False), ("unwind_filled_leg", True)):
        rig = Rig(tmp_path, execution={"unknown_policy": policy})
        rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, fill_lots=0, told=Told.NEVER))
        pair = await rig.open("0.01")
        for _ in range(40):
            await rig.turn(1000.0)
        assert (rig.truth((LONG, "BTC")) == 0) is unwound
        assert pair.status is PairStatus.UNKNOWN
