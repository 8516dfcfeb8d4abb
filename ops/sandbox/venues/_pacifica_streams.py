"""`/ws` of the simulated Pacifica: market data, account channels and signed operations on one socket (docs/venues/pacifica.md
3, 7 and 8).

A subscription that the venue does not like gets no answer, as on the real one. A frame is built once per event and handed
to every connection that subscribed to it. Books and prices are sampled from `tick`; `bbo` goes out on every change.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.log import Log
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Traffic
from ops.sandbox.model import AccountState, Contract, Fill, FundingPayment, Order, Trade
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues import _pacifica_rows as rows
from ops.sandbox.venues._pacifica_actions import CANCELS, Actions, Done
from ops.sandbox.venues._pacifica_errors import BAD_REQUEST, ApiError, over_socket
from ops.sandbox.venues._pacifica_limits import CANCEL, REQUEST, Limits
from ops.sandbox.venues._pacifica_reads import Reads

KEY_HEADER = "PF-API-KEY"
IDLE_NS = 60 * NS_PER_S
LIFE_NS = 24 * 3600 * NS_PER_S
BOOK_NS, PRICES_NS = 300 * NS_PER_MS, NS_PER_S
MAX_IN_FLIGHT = 100
SUBSCRIPTIONS_PER_CHANNEL = 20
AGG_LEVELS = frozenset({1, 10, 100, 1000, 10_000})
PONG = b'{"channel":"pong"}'
BATCH = "batch_orders"
_BY_SYMBOL = frozenset({"bbo", "book", "trades"})
_BY_ACCOUNT = frozenset(
    {"account_positions", "account_orders", "account_order_updates", "account_trades", "account_info", "account_margin",
     "account_leverage"}
)  # fmt: skip
OPERATIONS = frozenset({"create_order", "create_market_order", "edit_order", "cancel_order", "cancel_all_orders"})
Row = dict[str, Any]
Key = tuple[str, str]
"""(source, symbol or account or nothing)."""


class Streams:
    """The connections of one venue and what each listens to. Is the Listener of the exchange."""

    def __init__(
        self, exchange: Exchange, reads: Reads, limits: Limits, li: Callable[[], int], next_li: Callable[[], int],
        clock: Clock, log: Log,
    ) -> None:  # fmt: skip
        self._exchange = exchange
        self._reads = reads
        self._limits = limits
        self._li = li
        self._next_li = next_li
        self._clock = clock
        self._log = log
        self.actions: Actions | None = None  # whose answers go over these sockets; set before the first connection
        self._subscribers: dict[Key, set[Connection]] = defaultdict(set)
        self._subscriptions: dict[Connection, set[Key]] = {}
        self._heard_ns: dict[Connection, int] = {}
        self._opened_ns: dict[Connection, int] = {}
        self._last_bbo: dict[str, object] = {}
        self._due_ns: dict[str, int] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One client, from upgrade to close."""
        connection = await open_connection(request)
        who, key = request.remote or "", request.headers.get(KEY_HEADER, "")
        self._subscriptions[connection] = set()
        self._opened_ns[connection] = self._heard_ns[connection] = self._clock.mono_ns()
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for message in connection.socket:
                self._heard_ns[connection] = self._clock.mono_ns()
                if message.type is WSMsgType.TEXT:
                    self._on_text(connection, message.data, who, key, tasks)
        finally:
            for subscription in self._subscriptions.pop(connection, set()):
                self._forget(subscription, connection)
            del self._opened_ns[connection], self._heard_ns[connection]
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for connection in list(self._subscriptions):
            connection.drop()

    def tick(self) -> None:
        """Sampled channels that are due, then connections that are idle or too old."""
        now_ns = self._clock.mono_ns()
        if self._is_due("book", now_ns, BOOK_NS):
            for source, name in self._keys("book"):
                data = rows.book_levels(self._exchange, name, self._li(), self._clock.wire_ns())
                self._publish((source, name), "book", data)
        if ("prices", "") in self._subscribers and self._is_due("prices", now_ns, PRICES_NS):
            self._publish(("prices", ""), "prices", self._reads.price_rows())
        for connection in list(self._subscriptions):
            idle_ns = now_ns - self._heard_ns[connection]
            if idle_ns > IDLE_NS or now_ns - self._opened_ns[connection] > LIFE_NS:
                connection.drop()

    # -- listener ---------------------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        self._next_li()
        key = ("bbo", contract.name)
        if key in self._subscribers:
            top = self._exchange.top(contract.name)
            shown = (top.bid, top.ask)
            if self._last_bbo.get(contract.name) != shown:
                self._last_bbo[contract.name] = shown
                self._publish(key, "bbo", self._bbo(contract.name))

    def traded(self, trade: Trade) -> None:
        row = rows.trade_row(trade, self._li())
        self._reads.note_trade(trade.name, row)
        self._publish(("trades", trade.name), "trades", [row])

    def order_changed(self, order: Order) -> None:
        if rows.is_visible(order):
            row = rows.update_row(order, self._next_li())
            self._publish(("account_order_updates", order.account), "account_order_updates", [row])

    def filled(self, order: Order, fill: Fill) -> None:
        row = rows.fill_update(fill, self._li())
        self._publish(("account_trades", fill.account), "account_trades", [row])

    def funding_paid(self, payment: FundingPayment) -> None:
        """No channel of this venue tells of it."""

    def account_changed(self, account: AccountState) -> None:
        for source in ("account_positions", "account_orders", "account_info"):
            self._publish_state((source, account.address))

    def settings_changed(self, account: str, name: str) -> None:
        position = self._exchange.position(account, name)
        time_ms = rows.ms(self._clock.wire_ns())
        margin = {"u": account, "s": name, "i": not position.cross, "t": time_ms}
        self._publish(("account_margin", account), "account_margin", margin)
        leverage = {"u": account, "s": name, "l": str(position.leverage), "t": time_ms}
        self._publish(("account_leverage", account), "account_leverage", leverage)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_text(self, connection: Connection, text: str, who: str, key: str, tasks: set[asyncio.Task[None]]) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict):
            self._refuse(connection, "", "", BAD_REQUEST, "Failed to parse the request")
            return
        method, params = frame.get("method"), frame.get("params")
        if method == "ping":
            connection.send(PONG)
        elif method in ("subscribe", "unsubscribe") and isinstance(params, dict):
            self._on_subscription(connection, method, params)
        elif method is None and isinstance(params, dict) and len(params) == 1 and isinstance(frame.get("id"), str):
            if len(tasks) >= MAX_IN_FLIGHT:
                self._refuse(connection, frame["id"], "", BAD_REQUEST, "Too many requests in flight")
                return
            ((kind, body),) = params.items()
            task = asyncio.create_task(self._operate(connection, frame["id"], kind, body, who, key))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        else:
            self._refuse(connection, "", "", BAD_REQUEST, "Invalid request")

    async def _operate(self, connection: Connection, number: str, kind: str, body: Any, who: str, key: str) -> None:
        """One signed operation; `number` is echoed."""

        async def perform() -> tuple[int, bytes]:
            try:
                self._limits.charge(who, key, CANCEL if kind in CANCELS else REQUEST, self._clock.mono_ns())
                done = await self._perform(kind, orjson.dumps(body))
            except ApiError as error:
                return error.status, error.body()
            return 200, orjson.dumps(done.frame)

        answer = await connection.act(Traffic.ORDERS, perform)
        if answer is None:
            return
        status, data = answer
        refused = over_socket(status, data) if status != 200 else None
        if refused is not None:
            self._refuse(connection, number, kind, *refused)
            return
        try:
            told = orjson.loads(data)
        except orjson.JSONDecodeError:
            connection.send(data)  # what a fault made of it
            return
        frame = {"code": 200, "data": told, "id": number, "t": self._now_ms(), "type": kind}
        if key:
            frame["rl"] = self._limits.report(who, key, self._clock.mono_ns())
        connection.send(orjson.dumps(frame))

    async def _perform(self, kind: str, body: bytes) -> Done:
        if self.actions is None or (kind not in OPERATIONS and kind != BATCH):
            raise ApiError(BAD_REQUEST, "Invalid request: unknown operation", bare=True)
        return await (self.actions.batch(body) if kind == BATCH else self.actions.perform(kind, body))

    def _refuse(self, connection: Connection, number: str, kind: str, code: int, text: str) -> None:
        frame: Row = {"code": code, "err": text, "t": self._now_ms()}
        if number:
            frame |= {"id": number, "type": kind}
        connection.send(orjson.dumps(frame))

    def _on_subscription(self, connection: Connection, method: str, params: Row) -> None:
        """Acknowledged with the params echoed, or not at all."""
        key = self._key(params)
        held = self._subscriptions[connection]
        if key is None:
            return
        if method == "subscribe":
            same = sum(source == key[0] for source, _ in held)
            if key not in held and same >= SUBSCRIPTIONS_PER_CHANNEL:
                return
            held.add(key)
            self._subscribers[key].add(connection)
        else:
            held.discard(key)
            self._forget(key, connection)
        connection.send(orjson.dumps({"channel": method, "data": params}))
        if method == "subscribe":
            self._send_first(connection, key)

    def _key(self, params: Row) -> Key | None:
        source, symbol, account = params.get("source"), params.get("symbol"), params.get("account")
        if source == "prices":
            return "prices", ""
        if source in _BY_SYMBOL and symbol in self._exchange.contracts:
            if source == "book" and params.get("agg_level", 1) not in AGG_LEVELS:
                return None
            return str(source), str(symbol)
        if source in _BY_ACCOUNT and isinstance(account, str) and account:
            return str(source), account
        return None

    def _send_first(self, connection: Connection, key: Key) -> None:
        """What a channel says at once: its snapshot or present value, where it has one."""
        source, name = key
        data: Any
        if source == "bbo" and self._exchange.pricing.known(name):
            data = self._bbo(name)
        elif source == "prices":
            data = self._reads.price_rows()
        elif source in ("account_positions", "account_orders", "account_info"):
            data = self._state(key)
        else:
            return
        connection.send(orjson.dumps({"channel": source, "data": data, **self._stamp(source)}))

    # -- frames -----------------------------------------------------------------------------------------------------

    def _bbo(self, name: str) -> Row:
        top = self._exchange.top(name)
        li = self._li()
        data: Row = {"s": name, "i": li, "li": li, "t": rows.ms(top.time_ns)}
        for side, level in (("b", top.bid), ("a", top.ask)):
            data[side] = "0" if level is None else plain(level.px)
            data[side.upper()] = "0" if level is None else plain(level.qty)
        return data

    def _state(self, key: Key) -> Any:
        source, account = key
        if source == "account_positions":
            held = rows.held(self._exchange, account)
            return [rows.position_update(self._exchange, account, each) for each in held]
        if source == "account_orders":
            return [_short(rows.open_order_row(order)) for order in self._exchange.open_orders(account)]
        return rows.account_update(rows.account_row(self._exchange, account, self._clock.wire_ns()))

    def _publish_state(self, key: Key) -> None:
        if key in self._subscribers:
            self._publish(key, key[0], self._state(key), **self._stamp(key[0]))

    def _stamp(self, source: str) -> Row:
        return {"li": self._li()} if source in ("account_positions", "account_orders") else {}

    def _publish(self, key: Key, channel: str, data: Any, **more: Any) -> None:
        if key in self._subscribers:
            frame = orjson.dumps({"channel": channel, "data": data, **more})
            for connection in self._subscribers[key]:
                connection.send(frame)

    def _forget(self, key: Key, connection: Connection) -> None:
        listeners = self._subscribers.get(key)
        if listeners is not None:
            listeners.discard(connection)
            if not listeners:
                del self._subscribers[key]

    def _keys(self, source: str) -> list[Key]:
        return [key for key in self._subscribers if key[0] == source]

    def _is_due(self, name: str, now_ns: int, every_ns: int) -> bool:
        if now_ns < self._due_ns.get(name, 0):
            return False
        self._due_ns[name] = now_ns + every_ns
        return True

    def _now_ms(self) -> int:
        return rows.ms(self._clock.wire_ns())


def _short(row: Row) -> Row:
    """A row of account_orders."""
    return {"i": row["order_id"], "I": row["client_order_id"], "s": row["symbol"], "d": row["side"], "p": row["price"],
            "a": row["initial_amount"], "f": row["filled_amount"], "c": row["cancelled_amount"], "t": row["created_at"],
            "st": None, "ot": row["order_type"], "sp": None, "ro": row["reduce_only"]}  # fmt: skip
