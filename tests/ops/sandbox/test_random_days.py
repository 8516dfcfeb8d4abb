"""Random days on one exchange: whatever happens, money is conserved, orders obey, and the log rebuilds the same world."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from core.types import Side, TimeInForce
from ops.sandbox.model import OrderState, SelfTrade
from tests.ops.sandbox.small_exchange import ALICE, BOB, HOUR_NS, D, Small

STEPS = 400


def one_day(seed: int) -> Small:
    """A few hundred random orders, cancels, settings, steps and hours of two users who also meet each other."""
    rng = random.Random(seed)
    small = Small()
    small.exchange.housekeep()
    mid = 100.0
    for step in range(STEPS):
        who = rng.choice((ALICE, BOB))
        match rng.randrange(8):
            case 0 | 1 | 2 | 3:
                side = rng.choice(list(Side))
                tif = rng.choice(list(TimeInForce))
                px = D(round(mid * (1 + side.sign * rng.uniform(-0.01, 0.003)), 2))
                small.place(
                    side, str(D(rng.randint(10, 4_000)) / 100), None if rng.random() < 0.05 else str(px), tif, who=who,
                    reduce_only=rng.random() < 0.3, client_id=f"c{step}", self_trade=rng.choice(list(SelfTrade)),
                )  # fmt: skip
            case 4:
                live = small.exchange.open_orders(who)
                if live:
                    small.exchange.cancel(who, rng.choice(live).order_id)
            case 5:
                live = small.exchange.open_orders(who)
                if live:
                    order = rng.choice(live)
                    small.exchange.amend(who, order.order_id, order.qty + D(rng.randint(-50, 50)) / 100, order.px)
            case 6:
                mid *= rng.uniform(0.985, 1.015)
                small.quote(round(mid, 3), print_usd=rng.choice((0.0, 900.0, -900.0)))
            case 7:
                if rng.random() < 0.2:
                    small.exchange.set_leverage(who, "ABC", rng.randint(1, 20), cross=rng.random() < 0.7)
                small.clock.advance_ns(rng.randrange(HOUR_NS))
                small.exchange.housekeep()
        check(small)
    return small


def check(small: Small) -> None:
    """What holds after every step."""
    for who in (ALICE, BOB):
        held = small.held(who)
        for order in small.exchange.open_orders(who):
            assert 0 <= order.filled < order.qty <= order.requested_qty
            if order.reduce_only:
                assert held * order.side.sign < 0
                assert order.remaining <= abs(held)
    bids, asks = small.exchange.levels("ABC", 30)
    if bids and asks:
        assert bids[0].px < asks[0].px


def cash_by_rows(small: Small, who: str) -> Decimal:
    """Equity at the present mark, out of the public rows alone."""
    flow = Decimal(0)
    for fill in small.exchange.fills(who):
        flow -= fill.side.sign * fill.qty * fill.px + fill.fee
    flow += sum((payment.cash for payment in small.exchange.payments(who)), Decimal(0))
    return 10_000 + flow + small.held(who) * small.exchange.mark("ABC")


@pytest.mark.parametrize("seed", range(12))
def test_money_is_conserved_and_the_log_rebuilds_the_world(seed: int) -> None:
    small = one_day(seed)
    for who in (ALICE, BOB):
        fills = small.exchange.fills(who)
        assert sum((fill.side.sign * fill.qty for fill in fills), Decimal(0)) == small.held(who)
        if not any(fill.liquidation for fill in fills):
            assert abs(small.exchange.margin(who).equity - cash_by_rows(small, who)) < D("1e-12")
        for order in small.exchange.orders(who):
            own = [fill for fill in fills if fill.order_id == order.order_id]
            assert sum((fill.qty for fill in own), Decimal(0)) == order.filled
            if order.state is OrderState.REJECTED:
                assert not own
    for log in (small.transactions, list(small.exchange.ledger.snapshot())):
        again = Small(log=tuple(log), clock=small.clock, mid=None)
        for who in (ALICE, BOB):
            assert again.exchange.account(who) == small.exchange.account(who)
            assert again.exchange.orders(who) == small.exchange.orders(who)
            assert again.exchange.open_orders(who) == small.exchange.open_orders(who)
            assert again.exchange.fills(who) == small.exchange.fills(who)
            assert again.exchange.payments(who) == small.exchange.payments(who)


def test_the_same_seed_is_the_same_day() -> None:
    assert one_day(3).transactions == one_day(3).transactions
