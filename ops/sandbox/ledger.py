"""The durable state of one venue: accounts, orders, fills, payments, nonces. One writer, the venue's Exchange.

State is changed in memory, noted in a `Change`, and made durable by `commit` as one transaction of resulting states.
Restoring is applying transactions again; a snapshot is a list of transactions that rebuild the present. Histories are
bounded (HISTORY rows per account and kind), as they are on the venues.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from core.errors import invariant
from ops.sandbox.model import (
    AccountState,
    Fill,
    FundingPayment,
    NonceVerdict,
    Order,
    Position,
    Transaction,
)

HISTORY = 2000
SNAPSHOT_ROWS = 500
Store = Callable[[Transaction], None]
T = TypeVar("T")


class Change:
    """What one step touched; each order and account once, in the order of first touch."""

    __slots__ = ("accounts", "fills", "nonces", "orders", "payments", "settled_ns")

    def __init__(self) -> None:
        self.accounts: dict[str, AccountState] = {}
        self.orders: dict[int, Order] = {}
        self.fills: list[tuple[Order, Fill]] = []
        self.payments: list[FundingPayment] = []
        self.nonces: list[tuple[str, int]] = []
        self.settled_ns = 0


class Ledger:
    """See the module. Addresses are lower case."""

    def __init__(self, venue: str, store: Store) -> None:
        self.venue = venue
        self.accounts: dict[str, AccountState] = {}
        self.settled_ns = 0
        self._store = store
        self._agents: dict[str, str] = {}
        self._orders: dict[str, dict[int, Order]] = {}
        self._by_client: dict[tuple[str, str], int] = {}
        self._open: dict[str, dict[int, Order]] = {}
        self._fills: dict[str, deque[Fill]] = {}
        self._payments: dict[str, deque[FundingPayment]] = {}
        self._nonces: dict[str, list[int]] = {}
        self._last_order_id = 1_000_000
        self._last_trade_id = 1_000_000

    def next_order_id(self) -> int:
        self._last_order_id += 1
        return self._last_order_id

    def next_trade_id(self) -> int:
        self._last_trade_id += 1
        return self._last_trade_id

    def master_of(self, signer: str) -> str | None:
        return signer if signer in self.accounts else self._agents.get(signer)

    def position(self, account: AccountState, name: str, default_leverage: int) -> Position:
        """The account's row for a contract, made on first use."""
        position = account.positions.get(name)
        if position is None:
            position = account.positions[name] = Position(name=name, leverage=default_leverage)
        return position

    def order(self, address: str, order_id: int | None, client_id: str | None) -> Order | None:
        if order_id is None:
            order_id = self._by_client.get((address, client_id or ""))
        return None if order_id is None else self._orders.get(address, {}).get(order_id)

    def orders(self, address: str) -> list[Order]:
        return list(self._orders.get(address, {}).values())

    def open_orders(self, address: str) -> list[Order]:
        return list(self._open.get(address, {}).values())

    def contracts_in_use(self) -> set[str]:
        """Names with an open position or order of anybody."""
        held = {row.name for account in self.accounts.values() for row in account.positions.values() if row.qty}
        return held | {order.name for live in self._open.values() for order in live.values()}

    def fills(self, address: str) -> list[Fill]:
        return list(self._fills.get(address, ()))

    def payments(self, address: str) -> list[FundingPayment]:
        return list(self._payments.get(address, ()))

    def add_order(self, order: Order) -> None:
        """Make a new order known under both its ids and bound the history."""
        known = self._orders.setdefault(order.account, {})
        known[order.order_id] = order
        if order.client_id is not None:
            self._by_client[order.account, order.client_id] = order.order_id
        self._last_order_id = max(self._last_order_id, order.order_id)
        self.index_open(order)
        if len(known) > HISTORY + len(self._open.get(order.account, ())):
            self._forget_oldest(known)

    def index_open(self, order: Order) -> None:
        """Keep the index of open orders true after an order's state changed."""
        live = self._open.setdefault(order.account, {})
        if order.is_open:
            live[order.order_id] = order
        else:
            live.pop(order.order_id, None)

    def nonce(self, change: Change, signer: str, nonce: int, keep: int) -> NonceVerdict:
        """Judge and mark a nonce against the `keep` highest of this signer."""
        used = self._nonces.setdefault(signer, [])
        at = bisect_left(used, nonce)
        if at < len(used) and used[at] == nonce:
            return NonceVerdict.DUPLICATE
        if len(used) >= keep and nonce < used[0]:
            return NonceVerdict.TOO_LOW
        insort(used, nonce)
        del used[:-keep]
        change.nonces.append((signer, nonce))
        return NonceVerdict.OK

    def lowest_nonce(self, signer: str) -> int:
        """The smallest nonce kept for a signer, 0 if none."""
        used = self._nonces.get(signer)
        return used[0] if used else 0

    def last_nonce(self, signer: str) -> int | None:
        """The highest nonce used by a signer, None if none."""
        used = self._nonces.get(signer)
        return used[-1] if used else None

    def commit(self, change: Change) -> None:
        """Index what changed, then hand it to the store as one transaction; nothing changed, nothing is written."""
        if not (change.accounts or change.orders or change.payments or change.nonces or change.settled_ns):
            return
        for order in change.orders.values():
            self.index_open(order)
        for _, fill in change.fills:
            self._fills.setdefault(fill.account, deque(maxlen=HISTORY)).append(fill)
        for payment in change.payments:
            self._payments.setdefault(payment.account, deque(maxlen=HISTORY)).append(payment)
        if change.settled_ns:
            self.settled_ns = change.settled_ns
        self._store(
            Transaction(
                venue=self.venue,
                accounts=change.accounts,
                orders=list(change.orders.values()),
                fills=[fill for _, fill in change.fills],
                payments=change.payments,
                nonces=change.nonces,
                settled_ns=change.settled_ns,
            )
        )

    def restore(self, transaction: Transaction) -> None:
        """Apply one transaction of the log. Raises InvariantError for another venue's."""
        invariant(transaction.venue == self.venue, f"a transaction of {transaction.venue} in the log of {self.venue}")
        for address, account in transaction.accounts.items():
            self.accounts[address] = account
            self._agents.update((agent, address) for agent in account.agents)
        for order in transaction.orders:
            self.add_order(order)
        for fill in transaction.fills:
            self._fills.setdefault(fill.account, deque(maxlen=HISTORY)).append(fill)
            self._last_trade_id = max(self._last_trade_id, fill.trade_id)
        for payment in transaction.payments:
            self._payments.setdefault(payment.account, deque(maxlen=HISTORY)).append(payment)
            self._last_trade_id = max(self._last_trade_id, payment.payment_id)
        for signer, nonce in transaction.nonces:
            used = self._nonces.setdefault(signer, [])
            insort(used, nonce)
            del used[:-HISTORY]
        self.settled_ns = transaction.settled_ns or self.settled_ns

    def index_agents(self, account: AccountState) -> None:
        """Make the account's agents known as signers for it."""
        self._agents.update((agent, account.address) for agent in account.agents)

    def snapshot(self) -> Iterator[Transaction]:
        """Transactions that rebuild the present state, each of bounded size."""
        yield Transaction(
            venue=self.venue,
            accounts=self.accounts,
            nonces=[(signer, nonce) for signer, used in self._nonces.items() for nonce in used],
            settled_ns=self.settled_ns,
        )
        for known in self._orders.values():
            for rows in _chunks(list(known.values())):
                yield Transaction(venue=self.venue, orders=rows)
        for fills in self._fills.values():
            for some in _chunks(list(fills)):
                yield Transaction(venue=self.venue, fills=some)
        for payments in self._payments.values():
            for part in _chunks(list(payments)):
                yield Transaction(venue=self.venue, payments=part)

    def _forget_oldest(self, known: dict[int, Order]) -> None:
        oldest = next((order for order in known.values() if not order.is_open), None)
        if oldest is None:
            return
        del known[oldest.order_id]
        key = (oldest.account, oldest.client_id or "")
        if self._by_client.get(key) == oldest.order_id:
            del self._by_client[key]


def _chunks(rows: list[T]) -> Iterable[list[T]]:
    return (rows[at : at + SNAPSHOT_ROWS] for at in range(0, len(rows), SNAPSHOT_ROWS))
