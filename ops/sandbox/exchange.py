"""One venue's exchange: books, orders, accounts, margin, funding and liquidation. No sockets, no clock of its own.

A change is made in memory, collected in one transaction, handed to the ledger (durable before anybody hears of it: a
SIGKILL between the two loses the answer, never the truth), and only then told to the listener, in order. Everything
runs on one thread; a listener must not call back into a mutating method.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from core.clock import Clock
from core.errors import InvariantError, invariant
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.account import apply_fill, liquidation_px, margin_of, must_liquidate
from ops.sandbox.checks import Checks
from ops.sandbox.ledger import Change, Ledger, Store
from ops.sandbox.matching import Book, Match
from ops.sandbox.model import (
    ZERO,
    AccountState,
    CancelReason,
    Contract,
    DayStats,
    Fill,
    FundingBasis,
    FundingPayment,
    FundingPoint,
    Level,
    Listener,
    Margin,
    NonceVerdict,
    Order,
    OrderState,
    Placed,
    Position,
    Refused,
    Reject,
    Sample,
    SelfTrade,
    Top,
    Trade,
    Transaction,
)
from ops.sandbox.pricing import NS_PER_H, HourlyRate, Pricing
from ops.sandbox.settlement import pay_funding, settlements_due
from ops.sandbox.terms import Terms

MARKET_ADDRESS = "0x" + "5a" * 20  # stands for everybody else


class Exchange:
    """See the module. Addresses are lower-case 0x strings; `name` is always the contract's wire name."""

    def __init__(self, name: str, terms: Terms, clock: Clock, hourly_rate: HourlyRate, store: Store) -> None:
        self.name = name
        self.terms = terms
        self.contracts: dict[str, Contract] = {contract.name: contract for contract in terms.contracts}
        self.ledger = Ledger(name, store)
        self.pricing = Pricing(self.contracts, hourly_rate)
        self._clock = clock
        self._by_symbol = {contract.symbol: contract for contract in terms.contracts}
        self._books = {name: Book(contract) for name, contract in self.contracts.items()}
        self._checks = Checks(terms, self._books, self.ledger, self.pricing)
        self._listener: Listener | None = None

    def attach(self, listener: Listener) -> None:
        """Who hears of changes from now on."""
        self._listener = listener

    def restore(self, transactions: Iterable[Transaction]) -> None:
        """Rebuild the ledger from its log and rest the orders that were open. Before anything else."""
        for transaction in transactions:
            self.ledger.restore(transaction)
        for address in self.ledger.accounts:
            for order in self.ledger.open_orders(address):
                if order.name in self._books:
                    self._books[order.name].add(order)

    # -- accounts ---------------------------------------------------------------------------------------------------

    def open_account(self, address: str, balance: Decimal, agents: Iterable[str] = ()) -> AccountState:
        """The account of `address`, created with `balance` USD if new; `agents` are added to those it has."""
        change = Change()
        account = self.ledger.accounts.get(address)
        if account is None:
            account = self.ledger.accounts[address] = AccountState(address=address, cash=balance)
            change.accounts[address] = account
        new = [agent for agent in agents if agent not in account.agents]
        if new:
            account.agents = [*account.agents, *new]
            change.accounts[address] = account
        self.ledger.index_agents(account)
        self._publish(change)
        return account

    def account(self, address: str) -> AccountState | None:
        return self.ledger.accounts.get(address)

    def master_of(self, signer: str) -> str | None:
        """The account a signer acts for: itself, the master that approved it, or None for a stranger."""
        return self.ledger.master_of(signer)

    def use_nonce(self, signer: str, nonce: int, keep: int = 100) -> NonceVerdict:
        """Mark `nonce` used (durable) unless it was, or is not above the smallest of the `keep` kept ones."""
        change = Change()
        verdict = self.ledger.nonce(change, signer, nonce, keep)
        self._publish(change)
        return verdict

    def count_request(self, address: str, requests: int) -> None:
        """Add to the account's number of actions; durable with its next change."""
        account = self.ledger.accounts.get(address)
        if account is not None:
            account.requests += requests

    def set_leverage(self, address: str, name: str, leverage: int, cross: bool) -> Refused | None:
        """Set leverage and margin mode of one contract; the mode only while flat."""
        account, contract = self.ledger.accounts.get(address), self.contracts.get(name)
        if account is None or contract is None:
            return Refused(Reject.UNKNOWN_SYMBOL)
        if not 1 <= leverage <= contract.max_leverage:
            return Refused(Reject.LEVERAGE)
        position = self.ledger.position(account, name, contract.default_leverage)
        if position.qty and position.cross != cross:
            return Refused(Reject.POSITION_MARGIN)
        before = position.leverage
        position.leverage, position.cross = leverage, cross
        if leverage < before and position.qty and cross and self._checks.short_of_margin(account):
            position.leverage = before
            return Refused(Reject.MARGIN)
        self._publish(_touch(account))
        return None

    def change_isolated_margin(self, address: str, name: str, delta: Decimal) -> Refused | None:
        """Move cash into (or out of, if negative) an isolated position; what stays must cover its initial margin."""
        account = self.ledger.accounts.get(address)
        position = account.positions.get(name) if account is not None else None
        if account is None or position is None or position.cross or not position.qty:
            return Refused(Reject.POSITION_MARGIN)
        needed = abs(position.qty) * self.mark(name) / position.leverage
        held = position.isolated_margin + (self.mark(name) - position.entry_px) * position.qty
        if delta > self.margin(address).free or (delta < 0 and held + delta < needed):
            return Refused(Reject.MARGIN)
        position.isolated_margin += delta
        account.cash -= delta
        self._publish(_touch(account))
        return None

    def move_cash(self, address: str, amount: Decimal) -> None:
        """Add to (or take from, if negative) an account's cash: deposits and transfers."""
        account = self.ledger.accounts.get(address)
        if account is None:
            raise InvariantError(f"a transfer for the unknown account {address}")
        account.cash += amount
        self._publish(_touch(account))

    def set_extra(self, address: str, key: str, value: str | None) -> None:
        """A durable venue-specific setting of an account; None removes it."""
        account = self.ledger.accounts.get(address)
        if account is None:
            raise InvariantError(f"a setting for the unknown account {address}")
        account.extras = {k: v for k, v in account.extras.items() if k != key}
        if value is not None:
            account.extras[key] = value
        self._publish(_touch(account))

    def position(self, address: str, name: str) -> Position:
        """The account's position and settings in one contract; a flat default row for strangers."""
        account = self.ledger.accounts.get(address)
        row = account.positions.get(name) if account is not None else None
        return row if row is not None else Position(name=name, leverage=self.contracts[name].default_leverage)

    def margin(self, address: str) -> Margin:
        """The account's figures at the current marks; all zero for strangers."""
        account = self.ledger.accounts.get(address) or AccountState(address=address, cash=ZERO)
        return margin_of(account, self.contracts, self.mark, self.ledger.open_orders(address))

    def liquidation_px(self, address: str, name: str) -> Decimal | None:
        account = self.ledger.accounts.get(address)
        if account is None:
            return None
        position = self.position(address, name)
        return liquidation_px(account, position, self.contracts[name], self.margin(address), self.mark(name))

    # -- orders -----------------------------------------------------------------------------------------------------

    def place(
        self,
        address: str,
        name: str,
        side: Side,
        qty: Decimal,
        px: Decimal | None,
        tif: TimeInForce,
        reduce_only: bool = False,
        client_id: str | None = None,
        self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER,
        extra_fee: Decimal = ZERO,
    ) -> Placed:
        """Check, match, rest. `px` None = market. A refusal is an order in state REJECTED with its reason, kept in history.

        An IOC order that finds nothing ends CANCELED with reject IOC_NO_MATCH. Raises InvariantError for an unknown account.
        """
        account = self.ledger.accounts.get(address)
        if account is None:
            raise InvariantError(f"an order for the unknown account {address}")
        now = self._clock.wire_ns()
        order = Order(
            order_id=self.ledger.next_order_id(), account=address, name=name, side=side, px=px or ZERO, qty=qty,
            requested_qty=qty, tif=tif, reduce_only=reduce_only, is_market=px is None, client_id=client_id,
            created_ns=now, updated_ns=now, extra_fee=extra_fee,
        )  # fmt: skip
        change = _touch(account)
        change.orders[order.order_id] = order
        top = self._books[name].top() if name in self._books else None
        reason = self._checks.refusal(account, order)
        if reason is None and self_trade is not SelfTrade.EXPIRE_MAKER and self._own_on_the_way(order):
            if self_trade is SelfTrade.EXPIRE_BOTH:
                self._cancel_own_on_the_way(change, order)
            self._end(change, order, CancelReason.SELF_TRADE)
        elif reason is not None:
            order.state, order.reject = OrderState.REJECTED, reason
        else:
            self._cancel_own_on_the_way(change, order)
            self._match(change, account, order)
        self.ledger.add_order(order)
        self._publish(change)
        fills = tuple(fill for owner, fill in change.fills if owner.order_id == order.order_id)
        return Placed(order, fills, top)

    def cancel(
        self,
        address: str,
        order_id: int | None = None,
        client_id: str | None = None,
        reason: CancelReason = CancelReason.USER,
    ) -> Order | Refused:
        """Cancel one open order of the account."""
        order = self.ledger.order(address, order_id, client_id)
        if order is None or not order.is_open:
            return Refused(Reject.UNKNOWN_ORDER)
        change = Change()
        self._end(change, order, reason)
        self._publish(change)
        return order

    def cancel_all(
        self, address: str, name: str | None = None, reason: CancelReason = CancelReason.USER
    ) -> list[Order]:
        """Cancel every open order of the account (of one contract if named), as one change."""
        change = Change()
        orders = self.open_orders(address, name)
        for order in orders:
            self._end(change, order, reason)
        self._publish(change)
        return orders

    def amend(self, address: str, order_id: int, qty: Decimal, px: Decimal) -> Order | Refused:
        """New total size and price for a resting limit order, under the same ids; it loses its place in the queue.

        A refusal leaves the order as it was.
        """
        order, account = self.ledger.order(address, order_id, None), self.ledger.accounts.get(address)
        if order is None or account is None or not order.is_open:
            return Refused(Reject.UNKNOWN_ORDER)
        probe = msgspec.structs.replace(
            order, px=px, qty=qty - order.filled, requested_qty=qty, filled=ZERO, filled_notional=ZERO
        )
        book = self._books[order.name]
        book.remove(order)
        order.state = OrderState.CANCELED  # while judged, it reserves nothing
        self.ledger.index_open(order)
        reason = self._checks.refusal(account, probe)
        order.state = OrderState.OPEN
        self.ledger.index_open(order)
        if reason is not None:
            book.add(order)
            return Refused(reason)
        order.px, order.requested_qty, order.qty = px, qty, order.filled + probe.qty
        order.updated_ns = self._clock.wire_ns()
        change = _touch(account)
        change.orders[order.order_id] = order
        self._cancel_own_on_the_way(change, order)
        self._match(change, account, order)
        self._publish(change)
        return order

    def open_orders(self, address: str, name: str | None = None) -> list[Order]:
        return [order for order in self.ledger.open_orders(address) if name is None or order.name == name]

    def order(self, address: str, order_id: int | None = None, client_id: str | None = None) -> Order | None:
        """Live or from history (the last 2000 of the account); by client id the latest one."""
        return self.ledger.order(address, order_id, client_id)

    def orders(self, address: str) -> list[Order]:
        """Live and past, oldest first."""
        return self.ledger.orders(address)

    def fills(self, address: str) -> list[Fill]:
        """Oldest first, at most 2000."""
        return self.ledger.fills(address)

    def payments(self, address: str) -> list[FundingPayment]:
        """Oldest first, at most 2000."""
        return self.ledger.payments(address)

    # -- market -----------------------------------------------------------------------------------------------------

    def top(self, name: str) -> Top:
        return self._books[name].top()

    def levels(self, name: str, depth: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first, at most `depth` a side (the ladder has 25)."""
        return self._books[name].levels(depth)

    def mark(self, name: str) -> Decimal:
        return self.pricing.mark(name)

    def oracle(self, name: str) -> Decimal:
        return self.pricing.oracle(name)

    def stats(self, name: str) -> DayStats:
        return self.pricing.stats(name)

    def funding_estimate(self, name: str) -> FundingPoint:
        """Running estimate for the coming settlement; time_ns = that settlement (calendar)."""
        return self.pricing.estimate(name, self._clock.calendar_ns())

    def funding_history(self, name: str, start_ns: int, end_ns: int) -> list[FundingPoint]:
        """Settled rates in [start, end] (calendar), oldest first, at most 30 days back."""
        return self.pricing.history(name, start_ns, end_ns, self._clock.calendar_ns())

    # -- driven by main ---------------------------------------------------------------------------------------------

    def apply(self, symbol: str, sample: Sample) -> None:
        """A step of the market: new synthetic book and prices; resting orders that it reaches are filled."""
        contract = self._by_symbol.get(symbol)
        if contract is None:
            return
        name, now = contract.name, self._clock.wire_ns()
        book = self._books[name]
        book.follow(sample, now)
        self.pricing.follow(name, sample)
        change = Change()
        for match in book.reached():
            self._fill_maker(change, match)
        prints = self._print(change, contract, book, sample, now) if sample.print_usd else []
        if change.orders:
            self._publish(change)
        if self._listener is not None:
            for trade in prints:
                self._listener.traded(trade)
            self._listener.book_changed(contract)

    def housekeep(self) -> None:
        """Settlements that are due, liquidations. Called about ten times a second."""
        self._settle_due(self._clock.calendar_ns())
        for account in self.ledger.accounts.values():
            doomed = must_liquidate(account, self.contracts, self.mark)
            if doomed:
                self._liquidate(account, doomed)

    # -- matching ---------------------------------------------------------------------------------------------------

    def _own_on_the_way(self, order: Order) -> list[Order]:
        """The account's resting orders that this order could trade with."""
        return [
            resting
            for resting in self.ledger.open_orders(order.account)
            if resting.name == order.name
            and resting.side is not order.side
            and (order.is_market or (order.px - resting.px) * order.side.sign >= 0)
        ]

    def _cancel_own_on_the_way(self, change: Change, order: Order) -> None:
        for resting in self._own_on_the_way(order):
            self._end(change, resting, CancelReason.SELF_TRADE)

    def _match(self, change: Change, account: AccountState, order: Order) -> None:
        book = self._books[order.name]
        for match in book.take(order.side, None if order.is_market else order.px, order.remaining):
            if match.maker is not None:
                self._execute(change, self.ledger.accounts[match.maker.account], match.maker, match, LiquiditySide.MAKER)
            self._execute(change, account, order, match, LiquiditySide.TAKER)
        if not order.remaining:
            order.state = OrderState.FILLED
        elif order.is_market or order.tif is TimeInForce.IOC:
            order.state, order.cancel_reason = OrderState.CANCELED, CancelReason.IOC_REMAINDER
            order.reject = None if order.filled else Reject.IOC_NO_MATCH
        else:
            book.add(order)
        self._trim_reduce_only(change, account, order.name)

    def _fill_maker(self, change: Change, match: Match) -> None:
        if match.maker is not None and match.maker.is_open:
            account = self.ledger.accounts[match.maker.account]
            self._execute(change, account, match.maker, match, LiquiditySide.MAKER)
            self._trim_reduce_only(change, account, match.maker.name)

    def _execute(
        self, change: Change, account: AccountState, order: Order, match: Match, liquidity: LiquiditySide,
        liquidation: bool = False,
    ) -> None:  # fmt: skip
        """Book one execution on one side."""
        contract = self.contracts[order.name]
        position = self.ledger.position(account, order.name, contract.default_leverage)
        rate = self.terms.taker_fee if liquidity is LiquiditySide.TAKER else self.terms.maker_fee
        fee = self._money(match.qty * match.px * (rate + order.extra_fee))
        start = position.qty
        realized = apply_fill(account, position, order.side, match.qty, match.px, fee)
        now = self._clock.wire_ns()
        position.updated_ns = order.updated_ns = now
        order.filled += match.qty
        order.filled_notional += match.qty * match.px
        invariant(order.filled <= order.qty, f"order {order.order_id} filled beyond its size")
        if liquidity is LiquiditySide.MAKER and not order.remaining:
            order.state = OrderState.FILLED
            self._books[order.name].remove(order)
        fill = Fill(
            trade_id=self.ledger.next_trade_id(), order_id=order.order_id, account=account.address, name=order.name,
            side=order.side, px=match.px, qty=match.qty, fee=fee, liquidity=liquidity, realized=realized,
            start_qty=start, client_id=order.client_id, time_ns=now, liquidation=liquidation,
            mark_px=self.mark(order.name),
        )  # fmt: skip
        change.accounts[account.address] = account
        change.orders[order.order_id] = order
        change.fills.append((order, fill))

    def _trim_reduce_only(self, change: Change, account: AccountState, name: str) -> None:
        """Resting reduce-only orders never exceed the position: shrink them, or cancel them when nothing is left."""
        held = self.position(account.address, name).qty
        for order in self.open_orders(account.address, name):
            if not order.reduce_only or not order.is_open:
                continue
            if held * order.side.sign >= 0:
                self._end(change, order, CancelReason.REDUCE_ONLY)
            elif order.remaining > abs(held):
                order.qty = order.filled + abs(held)
                change.orders[order.order_id] = order

    def _end(self, change: Change, order: Order, reason: CancelReason) -> None:
        order.state, order.cancel_reason = OrderState.CANCELED, reason
        order.updated_ns = self._clock.wire_ns()
        self._books[order.name].remove(order)
        self.ledger.index_open(order)
        change.orders[order.order_id] = order

    def _print(self, change: Change, contract: Contract, book: Book, sample: Sample, now_ns: int) -> list[Trade]:
        """A public trade at the touch; users' orders inside the ladder's touch are hit first."""
        side = Side.BUY if sample.print_usd > 0 else Side.SELL
        top = book.top()
        level = top.ask if side is Side.BUY else top.bid
        if level is None:
            return []
        usd = Decimal(int(abs(sample.print_usd)))
        qty = max(contract.lot, usd / level.px // contract.lot * contract.lot)
        for match in book.take(side, level.px, qty):
            self._fill_maker(change, match)
        buyer, seller = (MARKET_ADDRESS, MARKET_ADDRESS)
        self.pricing.traded(contract.name, level.px, qty)
        trade_id = self.ledger.next_trade_id()
        return [Trade(trade_id=trade_id, name=contract.name, side=side, px=level.px, qty=qty, time_ns=now_ns,
                      buyer=buyer, seller=seller)]  # fmt: skip

    # -- settlement and liquidation ---------------------------------------------------------------------------------

    def _settle_due(self, now_ns: int) -> None:
        """Pay every settlement since the last one paid, oldest first. A new exchange starts with the coming one."""
        if not self.ledger.settled_ns:
            self.ledger.settled_ns = now_ns // NS_PER_H * NS_PER_H
        if not all(map(self.pricing.known, self._listed())):
            return
        for at_ns in settlements_due(self.ledger.settled_ns, now_ns):
            change = Change()
            change.settled_ns = at_ns
            for contract in self.contracts.values():
                if contract.listed and at_ns // NS_PER_H % contract.funding_interval_h == 0:
                    on_oracle = self.terms.funding_basis is FundingBasis.ORACLE
                    px = self.oracle(contract.name) if on_oracle else self.mark(contract.name)
                    rate = self.pricing.settled(contract.name, at_ns).rate
                    pay_funding(
                        change, self.ledger.accounts.values(), contract.name, rate, px, at_ns, self._money,
                        self.ledger.next_trade_id,
                    )  # fmt: skip
            self._publish(change)

    def _liquidate(self, account: AccountState, doomed: list[Position]) -> None:
        """Cancel everything, then close what is doomed against the book; what the book cannot take goes at the mark."""
        change = _touch(account)
        for order in self.open_orders(account.address):
            self._end(change, order, CancelReason.LIQUIDATED)
        for position in doomed:
            name, qty, now = position.name, abs(position.qty), self._clock.wire_ns()
            side = Side.SELL if position.qty > 0 else Side.BUY
            order = Order(
                order_id=self.ledger.next_order_id(), account=account.address, name=name, side=side, px=ZERO, qty=qty,
                requested_qty=qty, tif=TimeInForce.IOC, reduce_only=True, is_market=True, state=OrderState.FILLED,
                created_ns=now, updated_ns=now,
            )  # fmt: skip
            self.ledger.add_order(order)
            left = qty
            for match in self._books[name].take(side, None, qty):
                if match.maker is not None:
                    self._fill_maker(change, match)
                self._execute(change, account, order, match, LiquiditySide.TAKER, liquidation=True)
                left -= match.qty
            if left:
                self._execute(change, account, order, Match(self.mark(name), left, None), LiquiditySide.TAKER, True)
        if account.cash < 0 and not any(position.qty for position in account.positions.values()):
            account.cash = ZERO  # the insurance fund takes the rest
        self._publish(change)

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _listed(self) -> list[str]:
        return [contract.name for contract in self.contracts.values() if contract.listed]

    def _money(self, amount: Decimal) -> Decimal:
        return amount.quantize(self.terms.money_step, rounding=ROUND_HALF_EVEN)

    def _publish(self, change: Change) -> None:
        """Durable first, then told."""
        self.ledger.commit(change)
        listener = self._listener
        if listener is None:
            return
        for order in change.orders.values():
            listener.order_changed(order)
        for order, fill in change.fills:
            self.pricing.traded(fill.name, fill.px, fill.qty)
            listener.filled(order, fill)
            listener.traded(_as_trade(fill))
        for payment in change.payments:
            listener.funding_paid(payment)
        for account in change.accounts.values():
            listener.account_changed(account)
        for name in {order.name for order in change.orders.values() if order.name in self.contracts}:
            listener.book_changed(self.contracts[name])


def _touch(account: AccountState) -> Change:
    change = Change()
    change.accounts[account.address] = account
    return change


def _as_trade(fill: Fill) -> Trade:
    """The public print of a user's execution; the other side is everybody else."""
    taker = fill.side if fill.liquidity is LiquiditySide.TAKER else fill.side.opposite
    buys = fill.side is Side.BUY
    return Trade(
        trade_id=fill.trade_id, name=fill.name, side=taker, px=fill.px, qty=fill.qty, time_ns=fill.time_ns,
        buyer=fill.account if buys else MARKET_ADDRESS, seller=MARKET_ADDRESS if buys else fill.account,
    )  # fmt: skip
