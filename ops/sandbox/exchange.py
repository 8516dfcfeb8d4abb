"""One venue's exchange: books, orders, accounts, margin, funding and liquidation. No sockets, no clock of its own.

A change is made in memory, collected in one transaction, handed to the ledger (durable before anybody hears of it: a
SIGKILL between the two loses the answer, never the truth), and only then told to the listener, in order. Everything
runs on one thread; a listener must not call back into a mutating method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from core.clock import Clock
from core.errors import ConfigError, InvariantError
from core.types import Side, TimeInForce
from ops.sandbox.account import liquidation_px, must_liquidate
from ops.sandbox.checks import Checks
from ops.sandbox.execution import Execution, public_trades
from ops.sandbox.ledger import Change, Ledger, Store
from ops.sandbox.matching import Book, Touch
from ops.sandbox.model import (
    ZERO,
    AccountState,
    CancelReason,
    Contract,
    DayStats,
    Fill,
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
    Transaction,
)
from ops.sandbox.pricing import HourlyRate, Pricing
from ops.sandbox.settlement import Settlements
from ops.sandbox.terms import Terms


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
        self._execution = Execution(terms, self._books, self.ledger, self.pricing, clock)
        self._listed = [contract.name for contract in terms.contracts if contract.listed]
        self._settlements = Settlements(terms, self.ledger, self.pricing, self._execution.money)
        self._checks = Checks(terms, self._books, self.ledger, self.pricing)
        self._listener: Listener | None = None
        self._share: Callable[[], Decimal | None] = lambda: None

    def attach(self, listener: Listener) -> None:
        """Who hears of changes from now on."""
        self._listener = listener

    def ration(self, share: Callable[[], Decimal | None]) -> None:
        """Ask `share` before each order is matched which part of its size may trade at once; None = all of it."""
        self._share = share

    def restore(self, transactions: Iterable[Transaction]) -> None:
        """Rebuild the ledger from its log and rest the orders that were open. Before anything else.

        Raises ConfigError when the log holds positions or open orders in a contract that is no longer listed.
        """
        for transaction in transactions:
            self.ledger.restore(transaction)
        lost = sorted(self.ledger.contracts_in_use() - set(self._listed))
        if lost:
            raise ConfigError(
                f"sandbox.symbols: the books of {self.name} hold {', '.join(lost)}, which is no longer listed; "
                "add it back, or remove sandbox_books.log from the state directory to start afresh"
            )
        for address in self.ledger.accounts:
            for order in self.ledger.open_orders(address):
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
        if self.terms.is_spot or not 1 <= leverage <= contract.max_leverage:
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
        account = self._known(address)
        account.cash += amount
        self._publish(_touch(account))

    def set_extra(self, address: str, key: str, value: str | None) -> None:
        """A durable venue-specific setting of an account; None removes it."""
        account = self._known(address)
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
        return self._checks.margin(account)

    def liquidation_px(self, address: str, name: str) -> Decimal | None:
        account = self.ledger.accounts.get(address)
        if account is None or self.terms.is_spot:
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
        memo: str = "",
    ) -> Placed:
        """Check, match, rest. `px` None = market. A refusal is an order in state REJECTED with its reason, kept in history.

        An IOC order that finds nothing ends CANCELED with reject IOC_NO_MATCH. Raises InvariantError for an unknown account.
        """
        account = self._known(address)
        now = self._clock.wire_ns()
        order = Order(
            order_id=self.ledger.next_order_id(), account=address, name=name, side=side, px=px or ZERO, qty=qty,
            requested_qty=qty, tif=tif, reduce_only=reduce_only, is_market=px is None, client_id=client_id,
            created_ns=now, updated_ns=now, extra_fee=extra_fee, memo=memo,
        )  # fmt: skip
        change = _touch(account)
        change.orders[order.order_id] = order
        top = self._books[name].top() if name in self._books else None
        reason = self._checks.refusal(account, order)
        if reason is None and self_trade is not SelfTrade.EXPIRE_MAKER and self._execution.own_on_the_way(order):
            if self_trade is SelfTrade.EXPIRE_BOTH:
                self._execution.cancel_own_on_the_way(change, order)
            self._execution.end(change, order, CancelReason.SELF_TRADE)
        elif reason is not None:
            order.state, order.reject = OrderState.REJECTED, reason
        else:
            self._execution.cancel_own_on_the_way(change, order)
            crosses = order.is_market or self._books[name].crosses(side, order.px)
            self._execution.match(change, account, order, self._share() if crosses else None)
        self.ledger.add_order(order)
        self._publish(change)
        fills = tuple(fill for owner, fill in change.fills if owner.order_id == order.order_id)
        return Placed(order, fills, top)

    def cancel(
        self, address: str, order_id: int | None = None, client_id: str | None = None,
        reason: CancelReason = CancelReason.USER,
    ) -> Order | Refused:  # fmt: skip
        """Cancel one open order of the account."""
        order = self.ledger.order(address, order_id, client_id)
        if order is None or not order.is_open:
            return Refused(Reject.UNKNOWN_ORDER)
        change = Change()
        self._execution.end(change, order, reason)
        self._publish(change)
        return order

    def cancel_all(
        self, address: str, name: str | None = None, reason: CancelReason = CancelReason.USER
    ) -> list[Order]:
        """Cancel every open order of the account (of one contract if named), as one change."""
        change = Change()
        orders = self.open_orders(address, name)
        for order in orders:
            self._execution.end(change, order, reason)
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
        self._execution.cancel_own_on_the_way(change, order)
        self._execution.match(change, account, order)
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
        """Oldest first, at most 2000, as are `payments`."""
        return self.ledger.fills(address)

    def payments(self, address: str) -> list[FundingPayment]:
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

    def apply(self, symbol: str, sample: Sample, recorded: tuple[Touch, Touch] | None = None) -> None:
        """A step of the market: new book (`recorded`: a quote and its successor) and prices; what it reaches is filled."""
        contract = self._by_symbol.get(symbol)
        if contract is None:
            return
        name, now = contract.name, self._clock.wire_ns()
        book = self._books[name]
        if recorded is None:
            book.follow(sample, now)
        else:
            book.show(*recorded, now)
        self.pricing.follow(name, sample)
        change = Change()
        for match in book.reached():
            self._execution.fill_maker(change, match)
        prints = self._execution.print_trade(change, contract, book, sample, now) if sample.print_usd else []
        if change.orders:
            self._publish(change)
        if self._listener is not None:
            for trade in prints:
                self._listener.traded(trade)
            self._listener.book_changed(contract)

    def stand(self) -> None:
        """Nothing moved: every book is as it was and says so with the present time, as a venue's sampled channels do."""
        for name, book in self._books.items():
            book.stand(self._clock.wire_ns())
            if self._listener is not None and self.pricing.known(name):
                self._listener.book_changed(self.contracts[name])

    def contract_of(self, symbol: str) -> Contract | None:
        """The contract of a canonical symbol, if this venue lists it."""
        return self._by_symbol.get(symbol)

    def housekeep(self) -> None:
        """Settlements that are due, liquidations (a spot venue has neither). Called about ten times a second."""
        if all(map(self.pricing.known, self._listed)):
            for change in self._settlements.due(self._clock.calendar_ns()):
                self._publish(change)
        for account in () if self.terms.is_spot else self.ledger.accounts.values():
            if doomed := must_liquidate(account, self.contracts, self.mark):
                change = Change()
                self._execution.liquidate(change, account, doomed)
                self._publish(change)

    def _known(self, address: str) -> AccountState:
        account = self.ledger.accounts.get(address)
        if account is None:
            raise InvariantError(f"{self.name}: {address} acts, but has no account here")
        return account

    def _publish(self, change: Change) -> None:
        """Durable first, then told."""
        self.ledger.commit(change)
        listener = self._listener
        if listener is None:
            return
        for order in change.orders.values():
            listener.order_changed(order)
        for order, fill in change.fills:
            listener.filled(order, fill)
        for trade in public_trades(change):
            self.pricing.traded(trade.name, trade.px, trade.qty)
            listener.traded(trade)
        for payment in change.payments:
            listener.funding_paid(payment)
        for account in change.accounts.values():
            listener.account_changed(account)
        for name in dict.fromkeys(order.name for order in change.orders.values()):
            if name in self.contracts:
                listener.book_changed(self.contracts[name])


def _touch(account: AccountState) -> Change:
    change = Change()
    change.accounts[account.address] = account
    return change
