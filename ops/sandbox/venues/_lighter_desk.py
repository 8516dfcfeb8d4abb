"""The way of a transaction through the simulated Lighter: accepted first, executed later (docs/venues/lighter.md 6, 7).

Accepting checks signature, nonce and what the venue sees at once, answers with the hash, and queues the transaction in
the lane of its API key. A lane is strictly in order; each transaction waits for its delay there, then its nonce is spent
(durably), and only then it is tried. So a refusal on arrival costs no nonce and a refusal later does; a transaction whose
`ExpiredAt` passed while it waited costs none and breaks the chain of those behind it. Transactions still in a lane when
the process is killed are lost with their nonces unspent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from core.clock import NS_PER_MS, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues._lighter_errors import ApiError, Code, invalid_param
from ops.sandbox.venues._lighter_keys import Keys, l1_address, signer
from ops.sandbox.venues._lighter_limits import PREMIUM, Limits
from ops.sandbox.venues._lighter_orders import Event, Orders
from ops.sandbox.venues._lighter_rows import Memo, Row, order_index
from ops.sandbox.venues._lighter_signing import Malformed, Tx, TxType, parse

MAX_IN_LANE = 100
MAX_KNOWN = 5_000
BATCH_MAX_REST, BATCH_MAX_WS = 50, 15
MAKER_SHARE = {PREMIUM: 0.0}  # of the takers' delay; Standard: 200 of 300 ms
STANDARD_MAKER_SHARE = 2 / 3
FAILED, PENDING, EXECUTED = 0, 1, 2
Sent = tuple[int, str | Mapping[str, Any]]
"""(wire type, tx_info)."""


class Known:
    """A transaction that was accepted."""

    __slots__ = ("event", "executed_ms", "queued_ms", "status", "tx", "tx_hash", "wait_s")

    def __init__(self, tx: Tx, tx_hash: str, queued_ms: int, wait_s: float) -> None:
        self.tx = tx
        self.tx_hash = tx_hash
        self.queued_ms = queued_ms
        self.wait_s = wait_s
        self.status = PENDING
        self.executed_ms = 0
        self.event: dict[str, int | str] = {"ae": ""}


class Desk:
    """`heard` is told of every transaction that was executed or failed."""

    def __init__(
        self, exchange: Exchange, clock: Clock, keys: Keys, orders: Orders, limits: Limits, delay_s: float
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._keys = keys
        self._orders = orders
        self._limits = limits
        self._taker_delay_s = delay_s
        self._maker_delay_s = delay_s * MAKER_SHARE.get(limits.tier, STANDARD_MAKER_SHARE)
        self._lanes: dict[str, deque[Known]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, Known] = {}
        self.heard: Callable[[Known], None] | None = None

    def submit(self, sent: list[Sent], most: int) -> list[Known]:
        """Accept one transaction or a batch, all or none. Raises ApiError."""
        try:
            txs = [parse(number, info) for number, info in sent]
        except Malformed as error:
            raise invalid_param(str(error)) from None
        if not txs:
            raise invalid_param("tx_infos")
        if len(txs) > most:
            raise ApiError(Code.BATCH_TOO_LONG)
        if self._keys.account(txs[0].account) is None:
            raise ApiError(Code.ACCOUNT_NOT_FOUND)  # before the budget: it is kept per account
        endpoint = "sendTx" if len(txs) == 1 else "sendTxBatch"
        self._limits.charge(str(txs[0].account), endpoint, self._clock.mono_ns())
        lane = signer(txs[0].account, txs[0].key)
        if any(signer(tx.account, tx.key) != lane for tx in txs):
            raise ApiError(Code.BATCH_NONCES)
        queue = self._lanes.get(lane, deque())
        if len(queue) + len(txs) > MAX_IN_LANE:
            raise ApiError(Code.TOO_MANY_PENDING)
        clients = self._clients_on_their_way(txs[0].account)
        last = queue[-1].tx.nonce if queue else self._keys.last_nonce(txs[0].account, txs[0].key)
        accepted = []
        for tx in txs:
            accepted.append(self._accept(tx, last, clients))
            last = tx.nonce
            clients |= {tx.body.get("ClientOrderIndex", 0)} - {0}
        for known in accepted:
            self._enqueue(lane, known)
        return accepted

    def next_nonce(self, account: int, key: int) -> int:
        """The value to use next, as far as the sequencer has come."""
        return self._keys.last_nonce(account, key) + 1

    def find(self, tx_hash: str) -> Row | None:
        """A transaction by its hash. After a restart of the process those that made orders are still found."""
        known = self._known.get(tx_hash)
        if known is not None:
            return self.row(known)
        for account in self._exchange.ledger.accounts:
            for order in self._exchange.orders(account):
                if order.memo and Memo.of(order).tx_hash == tx_hash:
                    event: Event = {"i": order_index(order.order_id), "u": int(order.client_id or "0")}
                    queued_ms = order.created_ns // NS_PER_MS
                    return _row(tx_hash, TxType.CREATE_ORDER, int(account), queued_ms, event=event | {"ae": ""})
        return None

    def txs_of(self, account: int) -> list[Row]:
        """The account's, newest first."""
        return [self.row(known) for known in reversed(self._known.values()) if known.tx.account == account]

    def row(self, known: Known) -> Row:
        tx = known.tx
        return _row(
            known.tx_hash, tx.kind, tx.account, known.queued_ms, event=known.event, info=tx.info, status=known.status,
            nonce=tx.nonce, expire_at=tx.expired_at_ms, executed_at=known.executed_ms, api_key_index=tx.key,
        )  # fmt: skip

    def _accept(self, tx: Tx, last: int, clients: set[int]) -> Known:
        """Everything that can be said on arrival."""
        tx_hash = self._keys.check(tx)
        now_ms = self._now_ms()
        if tx.expired_at_ms <= now_ms:
            raise ApiError(Code.INVALID_EXPIRY)
        if not _follows(tx, last):
            raise ApiError(Code.INVALID_NONCE)
        self._orders.admit(tx, clients)
        wait_s = self._taker_delay_s if self._orders.takes(tx) else self._maker_delay_s
        return Known(tx, tx_hash, now_ms, wait_s)

    def _enqueue(self, lane: str, known: Known) -> None:
        self._known[known.tx_hash] = known
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        queue = self._lanes.get(lane)
        if queue is not None:
            queue.append(known)
            return
        self._lanes[lane] = deque([known])
        task = asyncio.create_task(self._run_lane(lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_lane(self, lane: str) -> None:
        """Every transaction no sooner than its delay after its arrival, and never before the one ahead of it."""
        queue = self._lanes[lane]
        try:
            while queue:
                waited_s = (self._now_ms() - queue[0].queued_ms) / 1000
                await asyncio.sleep(max(0.0, queue[0].wait_s - waited_s))
                self._execute(queue[0])
                queue.popleft()
        finally:
            del self._lanes[lane]

    def _execute(self, known: Known) -> None:
        tx = known.tx
        known.executed_ms = self._now_ms()
        try:
            if tx.expired_at_ms < known.executed_ms:
                raise ApiError(Code.INVALID_EXPIRY)
            if not _follows(tx, self._keys.last_nonce(tx.account, tx.key)):
                raise ApiError(Code.INVALID_NONCE)
            self._keys.spend(tx)
            self._exchange.count_request(str(tx.account), 1)
            known.event |= self._orders.execute(tx, known.tx_hash)
            known.status = EXECUTED
        except ApiError as error:
            known.status = FAILED
            known.event["ae"] = msgspec.json.encode(error.body()).decode()
        if self.heard is not None:
            self.heard(known)

    def _clients_on_their_way(self, account: int) -> set[int]:
        """Client indices of orders that no book has seen yet, over all keys of the account."""
        return {
            known.tx.body.get("ClientOrderIndex", 0)
            for lane, queue in self._lanes.items()
            if lane.startswith(f"{account}:")
            for known in queue
        } - {0}

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


def _follows(tx: Tx, last: int) -> bool:
    """Exactly the next nonce, or, with the attribute, any higher one."""
    return tx.nonce > last if tx.skips_nonce else tx.nonce == last + 1


def _row(
    tx_hash: str, kind: TxType, account: int, queued_ms: int, *, event: Mapping[str, int | str], info: str = "{}",
    status: int = EXECUTED, nonce: int = 0, expire_at: int = 0, executed_at: int = 0, api_key_index: int = 0,
) -> Row:  # fmt: skip
    return {
        "hash": tx_hash, "type": int(kind), "info": info, "event_info": msgspec.json.encode(event).decode(),
        "status": status, "transaction_index": 0, "l1_address": l1_address(account), "account_index": account,
        "nonce": nonce, "expire_at": expire_at, "block_height": queued_ms // 1000, "queued_at": queued_ms,
        "executed_at": executed_at, "sequence_index": queued_ms, "parent_hash": "", "api_key_index": api_key_index,
        "transaction_time": queued_ms * 1000, "committed_at": 0, "verified_at": 0,
    }  # fmt: skip
