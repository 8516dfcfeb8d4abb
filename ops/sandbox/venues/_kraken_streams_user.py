"""Kraken's private WebSocket v2 (docs/venues/kraken.md 6 to 8): executions, balances, and orders, all by token.

The executions of an order are told in the venue's order: pending_new and new when it is first heard of, a trade per fill,
then filled or canceled. The exchange tells an order's end before its fills, so ends wait here until the change is through.
Every subscription counts its messages (`sequence`), from its own snapshot on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Traffic
from ops.sandbox.model import ZERO, Fill, Order, OrderState
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues import _kraken_errors as errors
from ops.sandbox.venues import _kraken_rows as rows
from ops.sandbox.venues._kraken_errors import ApiError
from ops.sandbox.venues._kraken_keys import Keys
from ops.sandbox.venues._kraken_listing import QUOTE, Listing
from ops.sandbox.venues._kraken_streams import Answer, status_frame
from ops.sandbox.venues._kraken_trading import Trading

Row = dict[str, Any]

HEARTBEAT_NS = NS_PER_S
SNAPSHOT_TRADES = 50
UNANSWERED_MAX = 200
EXECUTIONS, BALANCES = "executions", "balances"


class Client:
    """What is remembered of one connection: its subscriptions with token and count."""

    __slots__ = ("account", "sequences", "tasks", "tokens")

    def __init__(self) -> None:
        self.account = ""
        self.tokens: dict[str, str] = {}  # by channel
        self.sequences: dict[str, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()


class UserStreams:
    """The private connections of the venue."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing, keys: Keys, trading: Trading) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._keys = keys
        self._trading = trading
        self._clients: dict[Connection, Client] = {}
        self._told: dict[int, Decimal] = {}  # open orders that were announced, and how much of them was told as filled
        self._changed: list[Order] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        connection = await open_connection(request)
        client = self._clients[connection] = Client()
        self._send(connection, status_frame(self._clock.mono_ns()))
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    self._on_text(connection, client, message.data)
        finally:
            del self._clients[connection]
            for token in client.tokens.values():
                self._keys.let_go(token)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for connection in list(self._clients):
            connection.drop()

    def tick(self) -> None:
        now_ns = self._clock.mono_ns()
        for connection, client in list(self._clients.items()):
            if client.tokens and now_ns - connection.last_sent_ns >= HEARTBEAT_NS:
                self._send(connection, b'{"channel":"heartbeat"}')

    # -- account ----------------------------------------------------------------------------------------------------

    def order_changed(self, order: Order) -> None:
        if order.state is OrderState.REJECTED:
            return
        if order.order_id not in self._told:
            self._told[order.order_id] = ZERO
            opened = rows.opened(order, "pending_new", "pending_new", order.created_ns)
            opened |= {"cum_qty": ZERO, "cum_cost": ZERO}
            self._tell(order.account, EXECUTIONS, [opened])
            self._tell(order.account, EXECUTIONS, [_new(order)])
        self._changed.append(order)

    def filled(self, order: Order, fill: Fill) -> None:
        told = self._told[order.order_id] = self._told.get(order.order_id, order.filled - fill.qty) + fill.qty
        self._tell(order.account, EXECUTIONS, [rows.traded(order, fill, is_last=told >= order.qty)])
        base, sign = fill.name.partition("/")[0], fill.side.sign
        told_wallets = (
            (base, self._exchange.position(fill.account, fill.name).qty, sign * fill.qty, ZERO),
            (QUOTE, self._account_cash(fill.account), -sign * fill.qty * fill.px, fill.fee),
        )
        for asset, balance, amount, fee in told_wallets:
            row = {
                "asset": asset, "asset_class": "currency", "balance": balance, "amount": amount, "fee": fee,
                "ledger_id": "L" + rows.trade_txid(fill.trade_id)[1:], "ref_id": rows.trade_txid(fill.trade_id),
                "timestamp": rows.stamp(fill.time_ns), "type": "trade", "subtype": "", "category": "trade",
                "wallet_type": "spot", "wallet_id": "main",
            }  # fmt: skip
            self._tell(fill.account, BALANCES, [row])

    def settle(self) -> None:
        """The change is through: ends may be told."""
        changed, self._changed = self._changed, []
        for order in changed:
            if order.is_open:
                continue
            self._told.pop(order.order_id, None)
            kind = "filled" if order.state is OrderState.FILLED else "canceled"
            self._tell(order.account, EXECUTIONS, [rows.changed(order, kind, kind)])

    def amended(self, order: Order) -> None:
        """Told by itself: the exchange does not tell an amendment from other changes."""
        if order.is_open:
            self._tell(order.account, EXECUTIONS, [rows.changed(order, "amended", _status(order))])

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_text(self, connection: Connection, client: Client, text: str) -> None:
        time_in = rows.stamp(self._clock.wire_ns())
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict) or not isinstance(frame.get("method"), str):
            self._send(connection, b'{"error":"Malformed request"}')
            return
        answer = Answer(frame, time_in, lambda: rows.stamp(self._clock.wire_ns()))
        method, params = frame["method"], frame.get("params")
        if method == "ping":
            self._send(connection, answer.pong())
            return
        if not isinstance(params, dict):
            self._send(connection, answer.failed("EGeneral:Invalid arguments:params"))
            return
        try:
            account = self._keys.token_account(params.get("token"))
        except ApiError as error:
            self._send(connection, answer.failed(error.text))
            return
        if method == "subscribe":
            self._subscribe(connection, client, account, params, answer)
        elif method == "unsubscribe":
            self._unsubscribe(connection, client, params, answer)
        elif method in self._trading.methods:
            self._order(connection, client, self._trading.methods[method](account, params, answer), answer)
        else:
            self._send(connection, answer.failed(f"Method not supported: '{method[:40]}'"))

    def _subscribe(self, connection: Connection, client: Client, account: str, params: Row, answer: Answer) -> None:
        name = str(params.get("channel"))
        if name not in (EXECUTIONS, BALANCES):
            self._send(connection, answer.failed("Channel not supported"))
            return
        if name in client.tokens:
            self._send(connection, answer.failed("Already subscribed"))
            return
        client.account = account
        client.tokens[name] = params["token"]
        client.sequences[name] = 0
        self._keys.hold(params["token"])
        self._send(connection, answer.done({"channel": name, "snapshot": True}))
        wanted = (params.get("snap_orders", True) is True, params.get("snap_trades", False) is True)
        data = self._executions(account, *wanted) if name == EXECUTIONS else self._balances(account)
        self._push(connection, client, name, "snapshot", data)

    def _unsubscribe(self, connection: Connection, client: Client, params: Row, answer: Answer) -> None:
        name = str(params.get("channel"))
        token = client.tokens.pop(name, None)
        if token is None:
            self._send(connection, answer.failed("Subscription Not Found"))
            return
        self._keys.let_go(token)
        self._send(connection, answer.done({"channel": name}))

    def _order(
        self, connection: Connection, client: Client, work: Callable[[], Awaitable[list[bytes]]], answer: Answer
    ) -> None:
        """Done in the order of arrival and answered, as far as faults allow."""
        if len(client.tasks) >= UNANSWERED_MAX:
            self._send(connection, answer.failed("Exceeded msg rate"))
            return
        task = asyncio.create_task(self._act(connection, work, answer))
        client.tasks.add(task)
        task.add_done_callback(client.tasks.discard)

    async def _act(self, connection: Connection, work: Callable[[], Awaitable[list[bytes]]], answer: Answer) -> None:
        more: list[bytes] = []

        async def perform() -> tuple[int, bytes]:
            first, *rest = await work()
            more.extend(rest)
            return 200, first

        result = await connection.act(Traffic.ORDERS, perform)
        if result is None:
            return
        status, body = result
        self._send(connection, body if _is_answer(status, body) else answer.failed(_words(status, body)))
        for frame in more:
            self._send(connection, frame)

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _executions(self, account: str, with_orders: bool, with_trades: bool) -> list[Row]:
        live = self._exchange.open_orders(account) if with_orders else []
        data = [rows.opened(order, "new", _status(order), order.created_ns) for order in live]
        for fill in self._exchange.fills(account)[-SNAPSHOT_TRADES:] if with_trades else []:
            order = self._exchange.order(account, order_id=fill.order_id)
            if order is not None:
                row = rows.traded(order, fill, is_last=order.state is OrderState.FILLED)
                data.append(row | ({"cl_ord_id": order.client_id} if order.client_id else {}))
        for order in live:
            self._told.setdefault(order.order_id, order.filled)
        return data

    def _balances(self, account: str) -> list[Row]:
        wallets = {QUOTE: self._account_cash(account)}
        for pair in self._listing.pairs:
            qty = self._exchange.position(account, pair.name).qty
            if qty:
                wallets[pair.symbol] = qty
        return [
            {"asset": asset, "asset_class": "currency", "balance": balance,
             "wallets": [{"type": "spot", "id": "main", "balance": balance}]}
            for asset, balance in wallets.items()
        ]  # fmt: skip

    def _account_cash(self, address: str) -> Decimal:
        account = self._exchange.account(address)
        return account.cash if account is not None else ZERO

    def _tell(self, account: str, name: str, data: list[Row]) -> None:
        for connection, client in self._clients.items():
            if client.account == account and name in client.tokens:
                self._push(connection, client, name, "update", data)

    def _push(self, connection: Connection, client: Client, name: str, kind: str, data: list[Row]) -> None:
        client.sequences[name] += 1
        frame = {"channel": name, "type": kind, "data": data, "sequence": client.sequences[name]}
        self._send(connection, rows.dumps(frame))

    def _send(self, connection: Connection, frame: bytes) -> None:
        connection.last_sent_ns = self._clock.mono_ns()
        connection.send(frame)


def _new(order: Order) -> Row:
    return rows.changed(order, "new", "new") | {"timestamp": rows.stamp(order.created_ns)}


def _status(order: Order) -> str:
    return "partially_filled" if order.filled else "new"


def _is_answer(status: int, body: bytes) -> bool:
    """Whether the work's own answer may go out: what a fault put in its place is worded below."""
    return status == 200 and not body.startswith(b'{"error"')


def _words(status: int, body: bytes) -> str:
    """What the socket says where REST would have answered with this."""
    if status == 429:
        return errors.ORDER_RATE
    if status >= 500:
        return errors.INTERNAL
    try:
        told = str(orjson.loads(body)["error"][0])
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return errors.UNAVAILABLE
    return errors.INVALID_TOKEN if told == errors.INVALID_KEY else told
