"""A spot venue of the sandbox: wallets instead of positions, orders that hold what they would pay, and no way to owe."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from core.errors import InvariantError
from core.types import Side, TimeInForce
from core.venue_spec import VenueKind
from ops.sandbox.model import AccountState, MinNotionalExempt, OrderState, Position, Refused, Reject
from ops.sandbox.wallets import exchange_assets
from tests.ops.sandbox.small_exchange import ALICE, BOB, HOUR_NS, D, Small

GTC, IOC, POST = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.POST_ONLY


def spot(**how: object) -> Small:
    return Small(kind=VenueKind.SPOT, exempt=MinNotionalExempt.NONE, **how)  # type: ignore[arg-type]


def test_a_buy_pays_the_whole_price_and_its_fee_at_once() -> None:
    small = spot()
    small.buy("10", "100.01")
    assert small.held() == 10
    assert small.cash() == D(10_000) - D("1000.1") - D("0.50005")
    margin = small.exchange.margin(ALICE)
    assert (margin.equity, margin.free) == (small.cash() + 1000, small.cash())
    assert (margin.initial, margin.maintenance, margin.orders) == (0, 0, 0)


def test_what_was_bought_is_what_the_wallet_holds_fees_are_quote() -> None:
    small = spot()
    small.buy("10", "100.01")
    assert small.sell("10", "99").order.state is OrderState.FILLED
    assert small.held() == 0
    fees = sum((fill.fee for fill in small.exchange.fills(ALICE)), Decimal(0))
    flow = sum((fill.side.sign * fill.qty * fill.px for fill in small.exchange.fills(ALICE)), Decimal(0))
    assert fees > 0
    assert small.cash() == 10_000 - flow - fees


def test_nobody_sells_what_the_wallet_does_not_hold() -> None:
    small = spot()
    assert small.sell("1").order.reject is Reject.MARGIN
    small.buy("2", "100.01")
    assert small.sell("2.01").order.reject is Reject.MARGIN
    assert small.sell("2").order.state is OrderState.FILLED
    assert small.held() == 0


def test_open_sells_hold_the_wallet() -> None:
    small = spot()
    small.buy("2", "100.01")
    resting = small.place(Side.SELL, "1.5", "110", GTC)
    assert resting.order.is_open
    assert small.sell("0.6").order.reject is Reject.MARGIN
    assert small.sell("0.5").order.state is OrderState.FILLED
    assert small.place(Side.SELL, "0.1", "111", GTC).order.reject is Reject.MARGIN
    small.exchange.cancel(ALICE, resting.order.order_id)
    assert small.sell("1.5").order.state is OrderState.FILLED


def test_open_buys_hold_the_quote_with_their_fee() -> None:
    small = spot()
    assert small.place(Side.BUY, "60", "99", GTC).order.is_open
    assert small.exchange.margin(ALICE).free == D(10_000) - 60 * 99 * D("1.0005")
    assert small.place(Side.BUY, "60", "99", GTC).order.reject is Reject.MARGIN
    small.exchange.cancel_all(ALICE)
    assert small.place(Side.BUY, "100", "99", GTC).order.is_open
    assert small.place(Side.BUY, "1", "99", GTC).order.reject is Reject.MARGIN


def test_the_whole_cash_can_be_spent_and_not_a_cent_more() -> None:
    small = spot()
    small.quote(100.0, touch_usd=50_000.0)
    assert small.buy("99.95", "100.01").order.reject is Reject.MARGIN  # 9996 and the fee are over 10,000
    assert small.buy("99.94", "100.01").order.state is OrderState.FILLED
    assert 0 <= small.cash() < D("0.5")


def test_coins_below_their_cost_are_nobodys_business() -> None:
    small = spot()
    small.quote(100.0, touch_usd=50_000.0)
    small.buy("99", "100.01")
    small.quote(1.0)
    small.exchange.housekeep()
    assert small.held() == 99
    assert small.exchange.liquidation_px(ALICE, "ABC") is None
    assert not [fill for fill in small.exchange.fills(ALICE) if fill.liquidation]


def test_the_same_fall_liquidates_a_perpetual() -> None:
    small = Small()
    small.quote(100.0, touch_usd=50_000.0)
    small.exchange.set_leverage(ALICE, "ABC", 2, cross=True)
    small.buy("150", "100.01")
    small.quote(1.0)
    small.exchange.housekeep()
    assert [fill for fill in small.exchange.fills(ALICE) if fill.liquidation]


def test_there_is_no_funding_and_no_leverage() -> None:
    small, perp = spot(), Small()
    for each in (small, perp):
        each.exchange.housekeep()
        each.buy("10", "100.01")
        each.clock.advance_ns(3 * HOUR_NS)
        each.exchange.housekeep()
    assert small.exchange.payments(ALICE) == []
    assert perp.exchange.payments(ALICE) != []
    assert small.exchange.set_leverage(ALICE, "ABC", 1, cross=True) == Refused(Reject.LEVERAGE)


def test_the_average_cost_follows_the_buys() -> None:
    account, wallet = AccountState(address=ALICE, cash=D(1000)), Position(name="ABC")
    exchange_assets(account, wallet, Side.BUY, D(1), D(100), D(0))
    exchange_assets(account, wallet, Side.BUY, D(3), D(104), D(2))
    assert (wallet.entry_px, account.cash) == (103, 1000 - 100 - 312 - 2)
    assert exchange_assets(account, wallet, Side.SELL, D(1), D(110), D(1)) == 7
    assert (wallet.qty, wallet.entry_px, account.cash) == (3, 103, 586 + 109)
    with pytest.raises(InvariantError, match="fall to -1"):
        exchange_assets(account, wallet, Side.SELL, D(4), D(110), D(0))


def test_an_amended_order_holds_its_new_size() -> None:
    small = spot()
    small.buy("2", "100.01")
    order = small.place(Side.SELL, "1", "110", GTC).order
    assert small.exchange.amend(ALICE, order.order_id, D("2.5"), D(110)) == Refused(Reject.MARGIN)
    assert small.exchange.order(ALICE, order.order_id) is not None
    assert small.sell("1").order.state is OrderState.FILLED


def one_day(seed: int) -> Small:
    """Two users who trade with the book and each other; after every step the wallets cover what orders hold."""
    rng = random.Random(seed)
    small = spot()
    mid = 100.0
    for step in range(300):
        who = rng.choice((ALICE, BOB))
        match rng.randrange(6):
            case 0 | 1 | 2:
                side = rng.choice(list(Side))
                px = D(round(mid * (1 + side.sign * rng.uniform(-0.01, 0.004)), 2))
                small.place(
                    side, str(D(rng.randint(10, 4_000)) / 100), None if rng.random() < 0.1 else str(px),
                    rng.choice((GTC, IOC, POST)), who=who, client_id=f"c{step}",
                )  # fmt: skip
            case 3:
                for order in small.exchange.open_orders(who)[:1]:
                    small.exchange.cancel(who, order.order_id)
            case 4:
                for order in small.exchange.open_orders(who)[:1]:
                    small.exchange.amend(who, order.order_id, order.qty + D(rng.randint(-50, 50)) / 100, order.px)
            case 5:
                mid *= rng.uniform(0.97, 1.03)
                small.quote(round(mid, 3), print_usd=rng.choice((0.0, 900.0, -900.0)))
                small.clock.advance_ns(rng.randrange(HOUR_NS))
                small.exchange.housekeep()
        for each in (ALICE, BOB):
            live = small.exchange.open_orders(each)
            sells = sum((order.remaining for order in live if order.side is Side.SELL), Decimal(0))
            buys = sum((order.remaining * order.px for order in live if order.side is Side.BUY), Decimal(0))
            assert 0 <= sells <= small.held(each)
            assert small.cash(each) - buys > D("-0.00001")
    return small


@pytest.mark.parametrize("seed", range(8))
def test_random_days_conserve_money_and_coins_and_the_log_rebuilds_them(seed: int) -> None:
    small = one_day(seed)
    for who in (ALICE, BOB):
        fills = small.exchange.fills(who)
        flow = sum((fill.side.sign * fill.qty * fill.px + fill.fee for fill in fills), Decimal(0))
        assert sum((fill.side.sign * fill.qty for fill in fills), Decimal(0)) == small.held(who)
        assert small.cash(who) == 10_000 - flow
        assert fills
    for log in (small.transactions, list(small.exchange.ledger.snapshot())):
        again = spot(log=tuple(log), clock=small.clock, mid=None)
        for who in (ALICE, BOB):
            assert again.exchange.account(who) == small.exchange.account(who)
            assert again.exchange.open_orders(who) == small.exchange.open_orders(who)
            assert again.exchange.fills(who) == small.exchange.fills(who)
