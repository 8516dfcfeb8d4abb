"""Orders against the book: touch, depth, resting orders, priorities, and what each time in force leaves behind."""

from __future__ import annotations

from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.model import CancelReason, OrderState, Refused, Reject, SelfTrade
from tests.ops.sandbox.small_exchange import ABC, ALICE, BOB, D, Small

GTC, IOC, ALO = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.POST_ONLY


def test_the_book_is_a_ladder_around_the_mid() -> None:
    small = Small()
    top = small.exchange.top("ABC")
    assert top.bid is not None
    assert top.ask is not None
    assert (top.bid.px, top.ask.px) == (D("99.99"), D("100.01"))
    assert (top.bid.qty, top.ask.qty) == (D(10), D(10))
    bids, asks = small.exchange.levels("ABC", 20)
    assert len(bids) == len(asks) == 20
    assert [level.px for level in bids] == sorted((level.px for level in bids), reverse=True)
    assert [level.px for level in asks] == sorted(level.px for level in asks)
    assert all(level.px % ABC.tick == 0 and level.qty % ABC.lot == 0 and level.qty > 0 for level in bids + asks)


def test_the_multiplier_scales_prices_and_sizes() -> None:
    top = Small().exchange.top("kDEF")
    assert top.ask is not None
    assert top.ask.px == D("1.000100")
    assert top.ask.qty == D(1000)


def test_an_ioc_buy_takes_the_touch_as_taker() -> None:
    small = Small()
    placed = small.buy("5", "100.01")
    assert placed.order.state is OrderState.FILLED
    (fill,) = placed.fills
    assert (fill.px, fill.qty, fill.liquidity) == (D("100.01"), D(5), LiquiditySide.TAKER)
    assert fill.fee == D("0.250025")  # 5 * 100.01 * 0.0005
    assert small.held() == 5
    assert small.cash() == D(10_000) - D("0.250025")


def test_a_partial_ioc_ends_canceled_with_what_it_got() -> None:
    small = Small()
    order = small.buy("25", "100.01").order
    assert (order.state, order.cancel_reason, order.reject) == (OrderState.CANCELED, CancelReason.IOC_REMAINDER, None)
    assert order.filled == 10
    assert not small.exchange.open_orders(ALICE)


def test_an_ioc_that_finds_nothing_says_so_and_changes_nothing() -> None:
    small = Small()
    order = small.buy("5", "99.5").order
    assert (order.state, order.reject) == (OrderState.CANCELED, Reject.IOC_NO_MATCH)
    assert small.held() == 0
    assert small.cash() == 10_000


def test_a_deeper_limit_trades_through_levels_at_their_own_prices() -> None:
    small = Small()
    placed = small.buy("60", "102")
    assert placed.order.state is OrderState.FILLED
    prices = [fill.px for fill in placed.fills]
    assert len(prices) > 1
    assert prices == sorted(prices)
    assert all(px <= D(102) for px in prices)
    assert sum(fill.qty for fill in placed.fills) == 60


def test_what_was_taken_stays_gone_until_the_next_step() -> None:
    small = Small()
    small.buy("10", "100.01")
    assert small.buy("1", "100.01").order.reject is Reject.IOC_NO_MATCH
    small.quote(100.0)
    assert small.buy("1", "100.01").order.state is OrderState.FILLED


def test_a_market_order_reaches_any_price() -> None:
    assert Small().buy("30", None).order.state is OrderState.FILLED


def test_a_gtc_remainder_rests_and_improves_the_book() -> None:
    small = Small()
    order = small.buy("15", "100.01", GTC).order
    assert (order.state, order.filled, order.remaining) == (OrderState.OPEN, 10, 5)
    top = small.exchange.top("ABC")
    assert top.bid is not None
    assert (top.bid.px, top.bid.qty) == (D("100.01"), D(5))
    assert ("book", "ABC") in small.memory.heard


def test_a_resting_order_fills_at_its_own_price_when_the_market_comes_through() -> None:
    small = Small()
    small.buy("4", "99.90", GTC)
    small.quote(99.95)
    assert small.held() == 0
    small.quote(99.80)
    assert small.held() == 4
    fill = small.exchange.fills(ALICE)[-1]
    assert (fill.px, fill.liquidity) == (D("99.90"), LiquiditySide.MAKER)
    assert fill.fee == D("0.039960")  # 4 * 99.90 * 0.0001
    assert small.exchange.orders(ALICE)[-1].state is OrderState.FILLED


def test_a_public_trade_hits_resting_orders_inside_the_touch() -> None:
    small = Small()
    small.place(Side.BUY, "1", "99.99", GTC)
    small.quote(100.0, half_bps=3.0, print_usd=-500.0)  # the ladder bids 99.97, Alice 99.99: she is hit first
    assert small.held() == 1


def test_users_match_each_other_in_price_then_time() -> None:
    small = Small()
    small.exchange.open_account("0x" + "c0" * 20, D(10_000))
    first = small.place(Side.SELL, "1", "100.00", GTC, who=BOB).order
    second = small.place(Side.SELL, "1", "100.00", GTC, who="0x" + "c0" * 20).order
    placed = small.buy("1.5", "100.00")
    assert [fill.px for fill in placed.fills] == [D("100.00"), D("100.00")]
    assert (first.state, first.filled) == (OrderState.FILLED, 1)
    assert (second.state, second.filled) == (OrderState.OPEN, D("0.5"))
    assert (small.held(), small.held(BOB)) == (D("1.5"), D(-1))


def test_post_only_rests_or_is_refused_never_takes() -> None:
    small = Small()
    assert small.buy("1", "100.01", ALO).order.reject is Reject.POST_ONLY_WOULD_CROSS
    assert small.buy("1", "100.00", ALO).order.state is OrderState.OPEN
    assert not small.exchange.fills(ALICE)


def test_self_trade_prevention() -> None:
    small = Small()
    resting = small.sell("1", "100.00", GTC).order
    taken = small.buy("1", "100.00", self_trade=SelfTrade.EXPIRE_TAKER).order
    assert (taken.cancel_reason, resting.state) == (CancelReason.SELF_TRADE, OrderState.OPEN)
    assert small.buy("1", "100.00", IOC).order.reject is Reject.IOC_NO_MATCH  # the resting side gave way
    assert resting.cancel_reason is CancelReason.SELF_TRADE
    again = small.sell("1", "100.00", GTC).order
    both = small.buy("1", "100.00", self_trade=SelfTrade.EXPIRE_BOTH).order
    assert {again.cancel_reason, both.cancel_reason} == {CancelReason.SELF_TRADE}
    assert not small.exchange.fills(ALICE)


def test_cancel_by_either_id_once() -> None:
    small = Small()
    order = small.buy("1", "99", GTC, client_id="x1").order
    assert small.exchange.cancel(ALICE, client_id="x1") is order
    assert order.cancel_reason is CancelReason.USER
    assert small.exchange.cancel(ALICE, order.order_id) == Refused(Reject.UNKNOWN_ORDER)
    assert small.exchange.cancel(BOB, order.order_id) == Refused(Reject.UNKNOWN_ORDER)
    assert small.exchange.order(ALICE, client_id="x1") is order


def test_cancel_all_takes_one_contract_or_every_one() -> None:
    small = Small()
    small.buy("1", "99", GTC)
    small.place(Side.BUY, "20", "0.9", GTC, name="kDEF")
    assert [order.name for order in small.exchange.cancel_all(ALICE, "ABC")] == ["ABC"]
    assert [order.name for order in small.exchange.cancel_all(ALICE)] == ["kDEF"]


def test_amend_keeps_the_ids_and_a_refusal_keeps_the_order() -> None:
    small = Small()
    order = small.buy("1", "99", GTC, client_id="x1").order
    assert isinstance(small.exchange.amend(ALICE, order.order_id, D("0.001"), D(99)), Refused)
    assert (order.px, order.qty, order.state) == (D(99), D(1), OrderState.OPEN)
    assert small.exchange.amend(ALICE, order.order_id, D(2), D("99.5")) is order
    assert (order.px, order.qty) == (D("99.5"), D(2))
    bids, _ = small.exchange.levels("ABC", 50)
    assert D("99.5") in [level.px for level in bids]
    small.exchange.amend(ALICE, order.order_id, D(2), D("100.01"))
    assert order.state is OrderState.FILLED


def test_answers_come_after_the_log_and_in_order() -> None:
    small = Small()
    before = len(small.transactions)
    order_seen_with = []
    small.memory.order_changed = lambda order: order_seen_with.append(len(small.transactions))  # type: ignore[method-assign]
    small.buy("1", "100.01")
    assert order_seen_with == [before + 1]
    kinds = [kind for kind, _ in small.memory.heard[-4:]]
    assert kinds == ["fill", "trade", "account", "book"]


def test_a_large_resting_order_is_eaten_touch_by_touch_and_the_book_never_crosses() -> None:
    small = Small()
    order = small.buy("25", "99.90", GTC).order
    for filled in (D("10.02"), D("20.04")):
        small.quote(99.80)
        assert order.filled == filled
        top = small.exchange.top("ABC")
        assert top.bid is not None
        assert top.ask is not None
        assert (top.bid.px, top.ask.px) == (D("99.90"), D("99.91"))
    small.quote(99.80)
    assert order.state is OrderState.FILLED
    ask = small.exchange.top("ABC").ask
    assert ask is not None
    assert ask.px == D("99.81")
