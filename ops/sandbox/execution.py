"""How orders become executions: matching, resting, cancelling, and the forced closing of a liquidated account.

Every method notes what it touched in the caller's `Change`; publishing is the Exchange's.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from core.clock import Clock
from core.errors import invariant
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.account import apply_fill
from ops.sandbox.ledger import Change, Ledger
from ops.sandbox.matching import Book, Match
from ops.sandbox.model import (
    ZERO,
    AccountState,
    CancelReason,
    Contract,
    Fill,
    Order,
    OrderState,
    Position,
    Reject,
    Sample,
    Trade,
)
from ops.sandbox.pricing import Pricing
from ops.sandbox.terms import Terms
from ops.sandbox.wallets import exchange_assets

MARKET_ADDRESS = "0x" + "5a" * 20  # stands for everybody else


class Execution:
    """One writer with the Exchange: both run on its thread."""

    def __init__(self, terms: Terms, books: dict[str, Book], ledger: Ledger, pricing: Pricing, clock: Clock) -> None:
        self._terms = terms
        self._contracts = {contract.name: contract for contract in terms.contracts}
        self._books = books
        self._ledger = ledger
        self._pricing = pricing
        self._clock = clock

    def own_on_the_way(self, order: Order) -> list[Order]:
        """The account's resting orders that this order could trade with."""
        return [
            resting
            for resting in self._ledger.open_orders(order.account)
            if resting.name == order.name
            and resting.side is not order.side
            and (order.is_market or (order.px - resting.px) * order.side.sign >= 0)
        ]

    def cancel_own_on_the_way(self, change: Change, order: Order) -> None:
        """Self-trade prevention: the resting side gives way."""
        for resting in self.own_on_the_way(order):
            self.end(change, resting, CancelReason.SELF_TRADE)

    def match(self, change: Change, account: AccountState, order: Order, share: Decimal | None = None) -> None:
        """Trade what can be traded, at most `share` of its size in whole lots; the rest ends (IOC, market) or rests."""
        book = self._books[order.name]
        if self._terms.is_quoted:
            self._deal(change, account, order, share)
            return
        limit = None if order.is_market else order.px
        lot = self._contracts[order.name].lot
        most = order.qty if share is None else order.qty * share // lot * lot
        while (wanted := most - order.filled) > 0 and (match := book.take(order.side, limit, wanted)) is not None:
            self.fill_maker(change, match)
            self._execute(change, account, order, match, LiquiditySide.TAKER)
        if not order.remaining:
            order.state = OrderState.FILLED
        elif order.is_market or order.tif is TimeInForce.IOC:
            order.state, order.cancel_reason = OrderState.CANCELED, CancelReason.IOC_REMAINDER
            order.reject = None if order.filled else Reject.IOC_NO_MATCH
        else:
            book.add(order)
        self._trim_reduce_only(change, account, order.name)

    def _deal(self, change: Change, account: AccountState, order: Order, share: Decimal | None) -> None:
        """Where a venue quotes: it takes the whole order at the order's own price, which is the one it quoted (a market order
        at the touch), or nothing of it."""
        top = self._books[order.name].top()
        touch = top.ask if order.side is Side.BUY else top.bid
        px = order.px if not order.is_market else touch.px if touch is not None else self._pricing.mark(order.name)
        if share is None or share >= 1:
            self._execute(change, account, order, Match(px, order.qty, None), LiquiditySide.TAKER)
            order.state = OrderState.FILLED
        else:
            order.state, order.cancel_reason = OrderState.CANCELED, CancelReason.IOC_REMAINDER
            order.reject = Reject.IOC_NO_MATCH

    def fill_maker(self, change: Change, match: Match) -> None:
        """Fill the user's resting order that a match names, as far as it still stands."""
        maker = match.maker
        if maker is not None and maker.is_open:
            account = self._ledger.accounts[maker.account]
            match = match._replace(qty=min(match.qty, maker.remaining))
            self._execute(change, account, maker, match, LiquiditySide.MAKER)
            self._trim_reduce_only(change, account, maker.name)

    def _execute(
        self, change: Change, account: AccountState, order: Order, match: Match, liquidity: LiquiditySide,
        liquidation: bool = False,
    ) -> None:  # fmt: skip
        """Book one execution on one side."""
        contract = self._contracts[order.name]
        position = self._ledger.position(account, order.name, contract.default_leverage)
        rate = self._terms.taker_fee if liquidity is LiquiditySide.TAKER else self._terms.maker_fee
        fee = self.money(match.qty * match.px * (rate + order.extra_fee))
        start = position.qty
        book = exchange_assets if self._terms.is_spot else apply_fill
        realized = book(account, position, order.side, match.qty, match.px, fee)
        now = self._clock.wire_ns()
        position.updated_ns = order.updated_ns = now
        order.filled += match.qty
        order.filled_notional += match.qty * match.px
        invariant(order.filled <= order.qty, f"order {order.order_id} filled beyond its size")
        if liquidity is LiquiditySide.MAKER and not order.remaining:
            order.state = OrderState.FILLED
            self._books[order.name].remove(order)
        fill = Fill(
            trade_id=self._ledger.next_trade_id(), order_id=order.order_id, account=account.address, name=order.name,
            side=order.side, px=match.px, qty=match.qty, fee=fee, liquidity=liquidity, realized=realized,
            start_qty=start, client_id=order.client_id, time_ns=now, liquidation=liquidation,
            mark_px=self._pricing.mark(order.name),
        )  # fmt: skip
        change.accounts[account.address] = account
        change.orders[order.order_id] = order
        change.fills.append((order, fill))

    def _trim_reduce_only(self, change: Change, account: AccountState, name: str) -> None:
        """Resting reduce-only orders never exceed the position: shrink them, or cancel them when nothing is left."""
        held = account.positions[name].qty if name in account.positions else ZERO
        for order in self._ledger.open_orders(account.address):
            if order.name != name or not order.reduce_only or not order.is_open:
                continue
            if held * order.side.sign >= 0:
                self.end(change, order, CancelReason.REDUCE_ONLY)
            elif order.remaining > abs(held):
                order.qty = order.filled + abs(held)
                change.orders[order.order_id] = order

    def end(self, change: Change, order: Order, reason: CancelReason) -> None:
        """Cancel an order, whether it rests or not."""
        order.state, order.cancel_reason = OrderState.CANCELED, reason
        order.updated_ns = self._clock.wire_ns()
        self._books[order.name].remove(order)
        self._ledger.index_open(order)
        change.orders[order.order_id] = order

    def print_trade(self, change: Change, contract: Contract, book: Book, sample: Sample, now_ns: int) -> list[Trade]:
        """A public trade at the touch; users' orders inside the ladder's touch are hit first."""
        side = Side.BUY if sample.print_usd > 0 else Side.SELL
        top = book.top()
        level = top.ask if side is Side.BUY else top.bid
        if level is None:
            return []
        usd = Decimal(int(abs(sample.print_usd)))
        qty = max(contract.lot, usd / level.px // contract.lot * contract.lot)
        left = qty
        while left and (match := book.take(side, level.px, left)) is not None:
            self.fill_maker(change, match)
            left -= match.qty
        self._pricing.traded(contract.name, level.px, qty)
        trade_id = self._ledger.next_trade_id()
        return [Trade(trade_id=trade_id, name=contract.name, side=side, px=level.px, qty=qty, time_ns=now_ns,
                      buyer=MARKET_ADDRESS, seller=MARKET_ADDRESS)]  # fmt: skip

    def liquidate(self, change: Change, account: AccountState, doomed: list[Position]) -> None:
        """Cancel everything, then close what is doomed against the book; what the book cannot take goes at the mark."""
        change.accounts[account.address] = account
        for order in self._ledger.open_orders(account.address):
            self.end(change, order, CancelReason.LIQUIDATED)
        for position in doomed:
            name, qty, now = position.name, abs(position.qty), self._clock.wire_ns()
            side = Side.SELL if position.qty > 0 else Side.BUY
            order = Order(
                order_id=self._ledger.next_order_id(), account=account.address, name=name, side=side, px=ZERO, qty=qty,
                requested_qty=qty, tif=TimeInForce.IOC, reduce_only=True, is_market=True, state=OrderState.FILLED,
                created_ns=now, updated_ns=now,
            )  # fmt: skip
            self._ledger.add_order(order)
            left = qty
            while left and (match := self._books[name].take(side, None, left)) is not None:
                self.fill_maker(change, match)
                self._execute(change, account, order, match, LiquiditySide.TAKER, liquidation=True)
                left -= match.qty
            if left:
                self._execute(
                    change, account, order, Match(self._pricing.mark(name), left, None), LiquiditySide.TAKER, True
                )
        if account.cash < 0 and not any(position.qty for position in account.positions.values()):
            account.cash = ZERO  # the insurance fund takes the rest

    def money(self, amount: Decimal) -> Decimal:
        """Cash rounded to the venue's step."""
        return amount.quantize(self._terms.money_step, rounding=ROUND_HALF_EVEN)


def public_trades(change: Change) -> list[Trade]:
    """The prints of a change: its takers' executions, or, where the market came to resting orders, the makers'."""
    fills = [fill for _, fill in change.fills]
    takers = [fill for fill in fills if fill.liquidity is LiquiditySide.TAKER]
    return [_as_trade(fill) for fill in takers or fills]


def _as_trade(fill: Fill) -> Trade:
    """The public print of a user's execution; the other side is shown as everybody else."""
    taker = fill.side if fill.liquidity is LiquiditySide.TAKER else fill.side.opposite
    buys = fill.side is Side.BUY
    return Trade(
        trade_id=fill.trade_id, name=fill.name, side=taker, px=fill.px, qty=fill.qty, time_ns=fill.time_ns,
        buyer=fill.account if buys else MARKET_ADDRESS, seller=MARKET_ADDRESS if buys else fill.account,
    )  # fmt: skip
