"""One contract's book: a synthetic ladder that follows the market, and the users' resting orders, matched together.

The ladder is rebuilt by every market step. Its two touches come with the step; the levels behind them are a function of
the step's seed and are made only when somebody asks for depth or trades through the touch, since most steps are only
looked at. What a taker removes stays removed until the next step. At one price the ladder stands before the users'
orders (it was there first), and users' orders stand in the order of their arrival.

A recorded market (playback.py) shows touches only, at their recorded sizes, and knows what comes next. There a taker gets
no better than the worse of this quote and the following one, and no more than the smaller of both (TRAPS T28).
"""

from __future__ import annotations

import math
from bisect import insort
from decimal import Decimal
from typing import NamedTuple

from core.types import Side
from ops.sandbox.model import ZERO, Contract, Level, Order, Sample, Top

LADDER_LEVELS = 25
_MULTIPLIER, _INCREMENT, _MASK = 6364136223846793005, 1442695040888963407, (1 << 64) - 1


class Match(NamedTuple):
    """A piece of liquidity taken. `maker` is None for the synthetic ladder."""

    px: Decimal
    qty: Decimal
    maker: Order | None


class Touch(NamedTuple):
    """A recorded best bid and offer in the contract's units, on its grid; size 0 = that side is empty."""

    bid_px: Decimal
    bid_qty: Decimal
    ask_px: Decimal
    ask_qty: Decimal


class Book:
    """Not thread-safe; one per contract. Empty until the first step."""

    __slots__ = ("_asks", "_bids", "_contract", "_sample", "_sure", "_time_ns", "_user_asks", "_user_bids")

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._bids: list[list[Decimal]] = []  # [px, qty], best first
        self._asks: list[list[Decimal]] = []
        self._user_bids: list[Order] = []  # best first, then oldest first
        self._user_asks: list[Order] = []
        self._sample: Sample | None = None
        self._sure: dict[Side, list[Decimal]] | None = None  # [px, qty] a taker of that side gets, while recorded
        self._time_ns = 0

    def follow(self, sample: Sample, time_ns: int) -> None:
        """Replace the ladder's touches by the step's; the levels behind come on demand. Then ask `reached`."""
        contract = self._contract
        mid = sample.mid * contract.multiplier
        half = mid * sample.half_spread_bps * 1e-4
        step = contract.tick_at(_decimal(mid))
        width = float(step)
        bid = max(1, math.floor((mid - half) / width))
        ask = max(bid + 1, math.ceil((mid + half) / width))
        self._bids = [[bid * step, self._size(sample.bid_usd, mid)]]
        self._asks = [[ask * step, self._size(sample.ask_usd, mid)]]
        self._sample = sample
        self._sure = None
        self._time_ns = time_ns

    def show(self, touch: Touch, following: Touch, time_ns: int) -> None:
        """Replace the ladder by a recorded quote, of which a taker gets only what the following one confirms."""
        self._bids = [[touch.bid_px, touch.bid_qty]] if touch.bid_qty else []
        self._asks = [[touch.ask_px, touch.ask_qty]] if touch.ask_qty else []
        self._sample = None
        self._sure = {
            Side.BUY: [max(touch.ask_px, following.ask_px), min(touch.ask_qty, following.ask_qty)],
            Side.SELL: [min(touch.bid_px, following.bid_px), min(touch.bid_qty, following.bid_qty)],
        }
        self._time_ns = time_ns

    def stand(self, time_ns: int) -> None:
        """The book is as it was, and it is so now."""
        self._time_ns = time_ns

    def top(self) -> Top:
        bid, ask = self._best(self._bids, self._user_bids, 1), self._best(self._asks, self._user_asks, -1)
        return Top(bid, ask, self._time_ns)

    def levels(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first, at most `depth` prices a side; ladder and users' orders added up."""
        self._deepen()
        return (
            _merge(self._bids, self._user_bids, depth, highest_first=True),
            _merge(self._asks, self._user_asks, depth, highest_first=False),
        )

    def crosses(self, side: Side, px: Decimal) -> bool:
        """Whether a limit order would trade at once."""
        top = self.top()
        if side is Side.BUY:
            return top.ask is not None and px >= top.ask.px
        return top.bid is not None and px <= top.bid.px

    def take(self, side: Side, limit: Decimal | None, qty: Decimal) -> Match | None:
        """The next piece of liquidity at `limit` or better (None = any price), at most `qty` of it; None = nothing left.

        What the ladder gives is gone from it. A user's order is only named: booking the execution shrinks it.
        """
        self._deepen()
        ladder, users = (self._asks, self._user_asks) if side is Side.BUY else (self._bids, self._user_bids)
        level = ladder[0] if ladder else None
        order = users[0] if users else None
        if level is not None and (order is None or not _better(side.opposite, order.px, level[0])):
            px, held = level if self._sure is None else self._sure[side]
            size = min(qty, held, level[1])
            if not size or (limit is not None and _better(side, px, limit)):
                return None
            if self._sure is not None:
                self._sure[side][1] -= size
            level[1] -= size
            if not level[1]:
                del ladder[0]
            return Match(px, size, None)
        if order is None or (limit is not None and _better(side, order.px, limit)):
            return None
        return Match(order.px, min(qty, order.remaining), order)

    def add(self, order: Order) -> None:
        """Rest an open order."""
        if order.side is Side.BUY:
            insort(self._user_bids, order, key=lambda o: (-o.px, o.order_id))
        else:
            insort(self._user_asks, order, key=lambda o: (o.px, o.order_id))

    def remove(self, order: Order) -> None:
        """Take a resting order out; nothing happens if it does not rest here."""
        users = self._user_bids if order.side is Side.BUY else self._user_asks
        for index, resting in enumerate(users):
            if resting.order_id == order.order_id:
                del users[index]
                return

    def reached(self) -> list[Match]:
        """Users' resting orders that the ladder now meets, each with what its opposite touch can give.

        Where an order is left over, the ladder steps back behind it: a book never stands crossed.
        """
        matches: list[Match] = []
        for users, ladder, sign in ((self._user_bids, self._asks, 1), (self._user_asks, self._bids, -1)):
            if not users or (users[0].px - ladder[0][0]) * sign < 0:
                continue
            px, left = ladder[0]
            for order in users:
                if (order.px - px) * sign < 0:
                    break
                size = min(order.remaining, left)
                if size:
                    matches.append(Match(order.px, size, order))
                    left -= size
                if size < order.remaining:
                    ladder[0][0] = order.px + sign * self._contract.tick_at(order.px)
                    break
            if ladder[0][0] == px:
                ladder[0][1] = left
                if not left:
                    del ladder[0]
        return matches

    def _best(self, ladder: list[list[Decimal]], users: list[Order], sign: int) -> Level | None:
        if not ladder:
            self._deepen()
        level = ladder[0] if ladder else None
        if not users:
            return Level(level[0], level[1]) if level else None
        px = users[0].px
        if level is not None and (level[0] - px) * sign > 0:
            return Level(level[0], level[1])
        same = [order for order in users if order.px == px]
        qty = sum((order.remaining for order in same), ZERO)
        if level is not None and level[0] == px:
            return Level(px, qty + level[1], len(same) + 1)
        return Level(px, qty, len(same))

    def _deepen(self) -> None:
        """Make the levels behind the touches, once per step."""
        sample = self._sample
        if sample is None:
            return
        self._sample = None
        mid = sample.mid * self._contract.multiplier
        step = self._contract.tick_at(_decimal(mid))
        state = sample.seed & _MASK
        half = mid * sample.half_spread_bps * 1e-4
        for ladder, start, sign in ((self._bids, mid - half, -1), (self._asks, mid + half, 1)):
            rounding = math.floor if sign < 0 else math.ceil
            last = max(1, rounding(start / float(step))) * step if not ladder else ladder[-1][0]
            for index in range(1, LADDER_LEVELS):
                state = (state * _MULTIPLIER + _INCREMENT) & _MASK
                draw = (state >> 40) / (1 << 24)
                gap = max(1, round(mid * (0.3 + 0.9 * draw) * 1e-4 / float(step)))
                last += sign * gap * step
                if last <= 0:
                    break
                usd = (1500.0 + 6000.0 * draw) * (1.0 + 0.3 * index)
                ladder.append([last, self._size(usd, mid)])

    def _size(self, usd: float, mid: float) -> Decimal:
        lot = self._contract.lot
        return max(1, int(usd / mid / float(lot))) * lot


def _better(side: Side, px: Decimal, limit: Decimal) -> bool:
    """Whether `px` bids more than `limit` (BUY) or asks less (SELL)."""
    return px > limit if side is Side.BUY else px < limit


def _merge(ladder: list[list[Decimal]], users: list[Order], depth: int, highest_first: bool) -> list[Level]:
    if not users:
        return [Level(px, qty, 1 + index % 5) for index, (px, qty) in enumerate(ladder[:depth])]
    total: dict[Decimal, tuple[Decimal, int]] = {px: (qty, 1) for px, qty in ladder}
    for order in users:
        qty, count = total.get(order.px, (ZERO, 0))
        total[order.px] = (qty + order.remaining, count + 1)
    best = sorted(total.items(), reverse=highest_first)[:depth]
    return [Level(px, qty, count) for px, (qty, count) in best]


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))
