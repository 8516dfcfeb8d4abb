"""What an order must obey: ticks, lots, minimums, bands, reduce-only, margin, leverage. Each seen to bind and not to bind."""

from __future__ import annotations

import pytest

from core.errors import InvariantError
from core.types import Side, TimeInForce
from ops.sandbox.model import CancelReason, MinNotionalExempt, OrderState, Refused, Reject
from tests.ops.sandbox.small_exchange import ALICE, BOB, D, Small

GTC, IOC = TimeInForce.GTC, TimeInForce.IOC


@pytest.mark.parametrize(
    ("qty", "px", "reason"),
    [
        ("1", "99.99", None),
        ("1", "99.991", Reject.TICK),  # below the tick and a sixth figure
        ("0.1", "100.05", None),  # five figures
        ("0.1", "100.001", Reject.TICK),
        ("1.005", "99", Reject.LOT),
        ("0", "99", Reject.ZERO_SIZE),
        ("0.11", "99", None),  # 10.89 USD
        ("0.1", "99", Reject.MIN_NOTIONAL),  # 9.90 USD
        ("1", "179", None),
        ("1", "181", Reject.PRICE_BAND),
        ("1", "19", Reject.PRICE_BAND),
        ("1", "21", None),
        ("2000", "99", Reject.MARGIN),
    ],
)
def test_price_size_and_value(qty: str, px: str, reason: Reject | None) -> None:
    order = Small().place(Side.BUY, qty, px, GTC).order
    assert order.reject is reason
    assert (order.state is OrderState.REJECTED) == (reason is not None)


def test_significant_figures_move_the_tick_with_the_price_and_whole_prices_always_pass() -> None:
    small = Small()
    small.quote(123_456.0)
    assert small.place(Side.BUY, "0.01", "123450.5", GTC).order.reject is Reject.TICK
    assert small.place(Side.BUY, "0.01", "123451", GTC).order.reject is None


def test_unknown_and_delisted_contracts_are_refused() -> None:
    small = Small()
    assert small.place(Side.BUY, "1", "99", GTC, name="XYZ").order.reject is Reject.UNKNOWN_SYMBOL
    assert small.place(Side.BUY, "1", "99", GTC, name="OLD").order.reject is Reject.UNKNOWN_SYMBOL
    with pytest.raises(InvariantError):
        small.place(Side.BUY, "1", "99", GTC, who="0x" + "ee" * 20)


def test_a_refused_order_is_kept_in_history_and_is_not_open() -> None:
    small = Small()
    small.place(Side.BUY, "1", "99.991", GTC, client_id="bad")
    order = small.exchange.order(ALICE, client_id="bad")
    assert order is not None
    assert order.reject is Reject.TICK
    assert not small.exchange.open_orders(ALICE)


def test_reduce_only_without_a_position_or_on_its_side_is_refused() -> None:
    small = Small()
    assert small.sell("1", reduce_only=True).order.reject is Reject.REDUCE_ONLY
    small.buy("1")
    assert small.buy("1", reduce_only=True).order.reject is Reject.REDUCE_ONLY
    assert small.sell("0.5", reduce_only=True).order.state is OrderState.FILLED


def test_reduce_only_is_shrunk_to_the_position_and_never_flips() -> None:
    small = Small()
    small.buy("2")
    order = small.sell("5", reduce_only=True).order
    assert (order.qty, order.requested_qty, order.filled) == (D(2), D(5), D(2))
    assert small.held() == 0


def test_resting_reduce_only_orders_follow_the_position_down_and_end_with_it() -> None:
    small = Small()
    small.buy("4")
    order = small.place(Side.SELL, "4", "101", GTC, reduce_only=True).order
    small.sell("3")
    assert order.remaining == 1
    small.sell("1")
    assert (order.state, order.cancel_reason) == (OrderState.CANCELED, CancelReason.REDUCE_ONLY)


def test_two_resting_reduce_only_orders_of_one_account_cannot_fill_beyond_the_position() -> None:
    small = Small()
    small.buy("1")
    small.place(Side.SELL, "1", "100", GTC, reduce_only=True)
    small.place(Side.SELL, "1", "100", GTC, reduce_only=True)
    assert small.buy("5", "100", who=BOB).order.filled == 1
    assert small.held() == 0
    small.buy("1")
    small.place(Side.SELL, "1", "100.5", GTC, reduce_only=True)
    small.place(Side.SELL, "1", "100.6", GTC, reduce_only=True)
    small.quote(102.0)
    assert small.held() == 0


def test_closing_the_whole_position_is_exempt_from_the_minimum() -> None:
    small = Small()
    small.buy("0.15")
    small.sell("0.07")  # 7 USD: a partial close is not exempt
    assert small.held() == D("0.15")
    small.buy("0.15")
    small.sell("0.25")  # 25 USD
    assert small.held() == D("0.05")
    assert small.sell("0.04", reduce_only=True).order.reject is Reject.MIN_NOTIONAL
    assert small.sell("0.05").order.state is OrderState.FILLED  # whole, reduce-only or not
    small.buy("0.15")
    small.sell("0.1")
    assert small.sell("9", reduce_only=True).order.state is OrderState.FILLED  # larger than the whole, shrunk to it


def test_a_venue_may_exempt_every_reduce_only_order() -> None:
    small = Small(exempt=MinNotionalExempt.REDUCE_ONLY)
    small.buy("0.15")
    assert small.sell("0.07").order.reject is Reject.MIN_NOTIONAL
    assert small.sell("0.07", reduce_only=True).order.state is OrderState.FILLED


def test_margin_binds_at_the_chosen_leverage_and_frees_with_the_close() -> None:
    small = Small()
    assert small.exchange.set_leverage(ALICE, "ABC", 2, cross=True) is None
    assert small.buy("250", "110").order.reject is Reject.MARGIN  # 25,000 USD at 2x needs 12,500
    assert small.buy("190", "110").order.state is OrderState.FILLED
    assert small.buy("30", "110").order.reject is Reject.MARGIN
    assert small.sell("300", "90").order.filled > 190  # closes first: the position's margin is freed for the flip
    assert small.held() < 0


def test_resting_orders_reserve_margin() -> None:
    small = Small()
    small.exchange.set_leverage(ALICE, "ABC", 1, cross=True)
    assert small.place(Side.BUY, "60", "99", GTC).order.reject is None
    assert small.place(Side.BUY, "60", "99", GTC).order.reject is Reject.MARGIN
    small.exchange.cancel_all(ALICE)
    assert small.place(Side.BUY, "60", "99", GTC).order.reject is None


def test_leverage_bounds_and_modes() -> None:
    small = Small()
    assert small.exchange.set_leverage(ALICE, "ABC", 21, cross=True) == Refused(Reject.LEVERAGE)
    assert small.exchange.set_leverage(ALICE, "ABC", 0, cross=True) == Refused(Reject.LEVERAGE)
    assert small.exchange.set_leverage(ALICE, "XYZ", 2, cross=True) == Refused(Reject.UNKNOWN_SYMBOL)
    small.buy("500")
    held = small.held()
    assert held > 0
    assert small.exchange.set_leverage(ALICE, "ABC", 5, cross=False) == Refused(Reject.POSITION_MARGIN)
    assert small.exchange.set_leverage(ALICE, "ABC", 20, cross=True) is None


def test_too_many_open_orders() -> None:
    small = Small()
    for _ in range(20):
        assert small.place(Side.BUY, "0.2", "90", GTC).order.reject is None
    assert small.place(Side.BUY, "0.2", "90", GTC).order.reject is Reject.TOO_MANY_ORDERS
    assert small.place(Side.BUY, "0.2", "90", GTC, who=BOB).order.reject is None
