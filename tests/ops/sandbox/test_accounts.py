"""Money: realised and unrealised PnL, margin figures, isolated positions, funding at settlements, liquidation."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import SimClock
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.account import apply_fill
from ops.sandbox.model import (
    AccountState,
    CancelReason,
    FundingBasis,
    OrderState,
    Position,
    Refused,
    Reject,
)
from tests.ops.sandbox.small_exchange import ALICE, BOB, HOUR_NS, RATE, D, Small

GTC = TimeInForce.GTC


def test_entry_price_averages_and_realized_pnl_leaves_it_alone() -> None:
    account, position = AccountState(address=ALICE, cash=D(1000)), Position(name="ABC")
    apply_fill(account, position, Side.BUY, D(1), D(100), D(0))
    apply_fill(account, position, Side.BUY, D(3), D(104), D(0))
    assert position.entry_px == 103
    assert apply_fill(account, position, Side.SELL, D(1), D(110), D(1)) == 7
    assert (position.qty, position.entry_px, account.cash) == (D(3), D(103), D(1006))


def test_a_flip_realizes_the_old_side_and_opens_the_new_at_the_fill_price() -> None:
    account, position = AccountState(address=ALICE, cash=D(1000)), Position(name="ABC")
    apply_fill(account, position, Side.SELL, D(2), D(100), D(0))
    assert apply_fill(account, position, Side.BUY, D(5), D(90), D(0)) == 20
    assert (position.qty, position.entry_px, account.cash) == (D(3), D(90), D(1020))


@given(
    st.lists(
        st.tuples(st.sampled_from(Side), st.integers(1, 50), st.integers(50, 150), st.integers(0, 3), st.booleans()),
        max_size=30,
    )
)
@settings(max_examples=150, deadline=None)
def test_equity_is_start_plus_trading_cash_flows_whatever_the_mode(
    trades: list[tuple[Side, int, int, int, bool]],
) -> None:
    """cash + isolated margin + unrealised = start - sum(signed qty * px) - fees + qty * mark, in cross and isolated."""
    for cross in (True, False):
        account, position = AccountState(address=ALICE, cash=D(100_000)), Position(name="ABC", leverage=5, cross=cross)
        flow = Decimal(0)
        for side, qty, px, fee, _ in trades:
            apply_fill(account, position, side, D(qty), D(px), D(fee))
            flow -= side.sign * qty * px + fee
        mark = D(100)
        equity = account.cash + position.isolated_margin + (mark - position.entry_px) * position.qty
        assert abs(equity - (100_000 + flow + position.qty * mark)) < D("1e-15")
        if not position.qty:
            assert position.isolated_margin == 0


def test_margin_figures_add_up() -> None:
    small = Small()
    small.exchange.set_leverage(ALICE, "ABC", 5, cross=True)
    small.buy("10", "100.01")
    small.place(Side.BUY, "2", "99", GTC)
    small.quote(110.0)
    margin = small.exchange.margin(ALICE)
    assert margin.unrealized == D("99.90")  # 10 * (110 - 100.01)
    assert margin.equity == D(10_000) - D("0.50005") + D("99.90")
    assert margin.notional == 1100
    assert margin.initial == 220
    assert margin.maintenance == D("27.5")
    assert margin.orders == D("39.6")
    assert margin.free == margin.equity - 220 - D("39.6")


def test_an_isolated_position_holds_its_own_cash() -> None:
    small = Small()
    small.exchange.set_leverage(ALICE, "ABC", 10, cross=False)
    small.buy("10", "100.01")
    position = small.exchange.position(ALICE, "ABC")
    assert position.isolated_margin == D("100.01")
    assert small.exchange.change_isolated_margin(ALICE, "ABC", D(50)) is None
    assert position.isolated_margin == D("150.01")
    assert small.exchange.change_isolated_margin(ALICE, "ABC", D(-60)) == Refused(Reject.MARGIN)
    assert small.exchange.change_isolated_margin(ALICE, "ABC", D(1_000_000)) == Refused(Reject.MARGIN)
    small.sell("10")
    assert position.isolated_margin == 0
    assert small.exchange.change_isolated_margin(ALICE, "ABC", D(1)) == Refused(Reject.POSITION_MARGIN)


def test_funding_is_paid_once_per_settlement_on_the_oracle_or_the_mark() -> None:
    for basis, px in ((FundingBasis.ORACLE, D(120)), (FundingBasis.MARK, D(100))):
        small = Small(basis=basis)
        small.exchange.housekeep()
        small.buy("10", "100.01")
        small.sell("4", "99.99", who=BOB)
        small.quote(100.0, oracle=120.0, mark=100.0)
        before = small.cash(), small.cash(BOB)
        small.exchange.housekeep()
        assert not small.exchange.payments(ALICE)
        small.clock.advance_ns(HOUR_NS)
        small.exchange.housekeep()
        small.exchange.housekeep()
        (paid,), (received,) = small.exchange.payments(ALICE), small.exchange.payments(BOB)
        assert paid.cash == -10 * px * D("0.0001")  # longs pay a positive rate
        assert received.cash == 4 * px * D("0.0001")
        assert paid.time_ns % HOUR_NS == 0
        assert paid.rate == D(repr(RATE))
        assert (small.cash() - before[0], small.cash(BOB) - before[1]) == (paid.cash, received.cash)
        assert small.memory.of("funding") == [paid, received]


def test_settlements_missed_while_down_are_all_paid_once() -> None:
    small = Small()
    small.exchange.housekeep()
    small.buy("10", "100.01")
    small.clock.advance_ns(5 * HOUR_NS)
    again = Small(log=tuple(small.transactions), clock=small.clock)
    again.exchange.housekeep()
    assert len(again.exchange.payments(ALICE)) == 5
    third = Small(log=(*small.transactions, *again.transactions), clock=small.clock)
    third.exchange.housekeep()
    assert len(third.exchange.payments(ALICE)) == 5
    assert third.cash() == again.cash()


def test_a_calendar_that_was_set_back_starts_with_its_coming_settlement() -> None:
    small = Small()
    small.exchange.housekeep()
    small.buy("10", "100.01")
    ahead = SimClock(wire_ns=small.clock.wire_ns() + 50 * HOUR_NS)
    before = Small(log=tuple(small.transactions), clock=ahead)
    before.exchange.housekeep()
    again = Small(log=(*small.transactions, *before.transactions), clock=small.clock)
    again.exchange.housekeep()
    assert len(again.exchange.payments(ALICE)) == 50
    small.clock.advance_ns(HOUR_NS)
    again.exchange.housekeep()
    assert len(again.exchange.payments(ALICE)) == 51


def test_an_eight_hour_contract_settles_at_its_own_hours_with_eight_hours_rate() -> None:
    small = Small()
    small.exchange.housekeep()
    small.place(Side.BUY, "1000", "1.01", TimeInForce.IOC, name="kDEF")
    for _ in range(16):
        small.clock.advance_ns(HOUR_NS)
        small.exchange.housekeep()
    payments = small.exchange.payments(ALICE)
    assert [payment.time_ns // HOUR_NS % 8 for payment in payments] == [0, 0]
    assert payments[0].cash == D("-0.8")  # 1000 * 1.0 * 8 * 0.0001


def test_funding_history_and_the_estimate_that_meets_it() -> None:
    small = Small()
    now = small.clock.calendar_ns()
    points = small.exchange.funding_history("ABC", 0, now)
    assert len(points) == 720
    assert points[-1].time_ns == now // HOUR_NS * HOUR_NS
    assert len(small.exchange.funding_history("kDEF", 0, now)) == 90
    estimate = small.exchange.funding_estimate("ABC")
    assert estimate.time_ns == points[-1].time_ns + HOUR_NS
    assert abs(estimate.rate / D(repr(RATE)) - 1) < D("0.1")


def test_liquidation_closes_cross_positions_cancels_orders_and_is_marked() -> None:
    small = Small()
    small.exchange.set_leverage(ALICE, "ABC", 20, cross=True)
    small.buy("400", "101")
    small.quote(100.0)
    small.buy("1500", "101")
    resting = small.place(Side.BUY, "1", "80", GTC).order
    held = small.held()
    px = small.exchange.liquidation_px(ALICE, "ABC")
    assert px is not None
    small.quote(float(px) + 0.05)
    small.exchange.housekeep()
    assert small.held() == held  # just above: not yet
    small.quote(float(px) - 0.05)
    small.exchange.housekeep()
    assert small.held() == 0
    assert (resting.state, resting.cancel_reason) == (OrderState.CANCELED, CancelReason.LIQUIDATED)
    last = small.exchange.fills(ALICE)[-1]
    assert (last.liquidation, last.client_id, last.liquidity) == (True, None, LiquiditySide.TAKER)
    assert small.cash() >= 0


def test_isolated_liquidation_spares_the_rest() -> None:
    small = Small()
    small.exchange.set_leverage(ALICE, "ABC", 10, cross=False)
    small.buy("10", "100.01")
    small.place(Side.BUY, "1000", "1.01", TimeInForce.IOC, name="kDEF")
    small.quote(91.0)
    small.exchange.housekeep()
    assert small.held() == 0
    assert small.held(name="kDEF") == 1000
    assert small.cash() > 9_800


def test_strangers_have_nothing_and_agents_act_for_their_master() -> None:
    small = Small()
    margin = small.exchange.margin("0x" + "77" * 20)
    assert (margin.equity, margin.free) == (0, 0)
    assert small.exchange.master_of("0x" + "a9" * 20) == ALICE
    assert small.exchange.master_of(ALICE) == ALICE
    assert small.exchange.master_of("0x" + "77" * 20) is None
