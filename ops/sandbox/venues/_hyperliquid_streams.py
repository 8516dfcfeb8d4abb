"""`/ws` of the simulated Hyperliquid: subscriptions, their frames, and signed posts (docs/venues/hyperliquid.md 3, 7, 8).

A frame is built once per event and handed to every connection that subscribed to it; a contract nobody listens to costs
nothing. Sampled channels (contexts, fast and default books, all mids) run on their own cadence from `tick`.
"""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Traffic
from ops.sandbox.model import AccountState, CancelReason, Contract, Fill, FundingPayment, Order, Trade
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues import _hyperliquid_rows as rows
from ops.sandbox.venues._hyperliquid_info import Info
from ops.sandbox.venues._hyperliquid_signing import address

MAX_IN_FLIGHT = 100
IDLE_NS = 60 * NS_PER_S
CONTEXT_NS, MIDS_NS = NS_PER_S, 5 * NS_PER_S
FAST_BOOK_NS, BOOK_NS, STATE_NS = 540 * NS_PER_MS, 5_400 * NS_PER_MS, NS_PER_S
FAST_LEVELS, LEVELS = 5, 20
SNAPSHOT_ROWS = 500
PONG = b'{"channel":"pong"}'
Row = dict[str, Any]
Post = Callable[[bytes], Awaitable[tuple[int, bytes]]]
Key = tuple[str, str, str]
"""(channel, coin or user, rest of the subscription)."""

_BY_COIN = frozenset({"bbo", "l2Book", "trades", "activeAssetCtx"})
_BY_USER = frozenset(
    {"orderUpdates", "userFills", "userEvents", "userFundings", "clearinghouseState", "openOrders", "spotState"}
)


class _BadSubscription(Exception):
    """The venue says so and keeps the socket."""


class _DropSocket(Exception):
    """The venue breaks the connection without a word."""


class Streams:
    """The connections of one venue and what each listens to. Is the Listener of the exchange."""

    def __init__(self, exchange: Exchange, info: Info, post: Post, clock: Clock, log: Log) -> None:
        self._exchange = exchange
        self._info = info
        self._post = post
        self._clock = clock
        self._log = log
        self._subscribers: dict[Key, set[Connection]] = defaultdict(set)
        self._subscriptions: dict[Connection, set[Key]] = {}
        self._last_bbo: dict[str, object] = {}
        self._due_ns: dict[str, int] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One client, from upgrade to close."""
        connection = await open_connection(request)
        self._subscriptions[connection] = set()
        self._send(connection, b"Websocket connection established.")
        posts: set[asyncio.Task[None]] = set()
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    self._on_text(connection, message.data, posts)
        except _DropSocket:
            self._log.info("socket_dropped", venue=self._exchange.name, detail="unknown coin or bad book parameters")
            connection.drop()
        finally:
            for key in self._subscriptions.pop(connection, set()):
                self._forget(key, connection)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for connection in list(self._subscriptions):
            connection.drop()

    def tick(self) -> None:
        """Sampled channels that are due, then idle connections."""
        now = self._clock.mono_ns()
        if self._is_due("ctx", now, CONTEXT_NS):
            for key in self._keys("activeAssetCtx"):
                self._publish(
                    key, "activeAssetCtx", {"coin": key[1], "ctx": rows.asset_context(self._exchange, key[1])}
                )
        if self._is_due("fast", now, FAST_BOOK_NS):
            for key in self._keys("l2Book"):
                if key[2] == "fast":
                    self._publish(key, "l2Book", self._book(key))
        if self._is_due("book", now, BOOK_NS):
            for key in self._keys("l2Book"):
                if key[2] != "fast":
                    self._publish(key, "l2Book", self._book(key))
        if self._is_due("mids", now, MIDS_NS):
            for key in self._keys("allMids"):
                self._publish(key, "allMids", {"mids": rows.all_mids(self._exchange)})
        if self._is_due("state", now, STATE_NS):
            for channel in ("clearinghouseState", "openOrders", "activeAssetData"):
                for key in self._keys(channel):
                    self._publish(key, channel, self._state(key))
        for connection in list(self._subscriptions):
            if now - connection.last_sent_ns > IDLE_NS:
                connection.drop()

    # -- listener ---------------------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        key = ("bbo", contract.name, "")
        if key in self._subscribers:
            top = self._exchange.top(contract.name)
            shown = (top.bid, top.ask)
            if self._last_bbo.get(contract.name) != shown:
                self._last_bbo[contract.name] = shown
                self._broadcast(key, self._bbo_frame(contract.name))

    def traded(self, trade: Trade) -> None:
        key = ("trades", trade.name, "")
        if key in self._subscribers:
            row = {"coin": trade.name, "side": rows.side_word(trade.side), "px": rows.num(trade.px),
                   "sz": rows.num(trade.qty), "time": rows.ms(trade.time_ns), "hash": "0x" + f"{trade.trade_id:064x}",
                   "tid": trade.trade_id, "users": [trade.buyer, trade.seller]}  # fmt: skip
            self._publish(key, "trades", [row])

    def order_changed(self, order: Order) -> None:
        key = ("orderUpdates", order.account, "")
        if key in self._subscribers:
            self._publish(key, "orderUpdates", [rows.update_row(order)])
        if order.cancel_reason in (CancelReason.LIQUIDATED, CancelReason.SELF_TRADE):
            cancel = [{"coin": order.name, "oid": order.order_id}]
            self._publish(("userEvents", order.account, ""), "user", {"nonUserCancel": cancel})

    def filled(self, order: Order, fill: Fill) -> None:
        row = rows.fill_row(fill)
        self._publish(("userFills", fill.account, ""), "userFills", {"user": fill.account, "fills": [row]})
        self._publish(("userEvents", fill.account, ""), "user", {"fills": [row]})

    def funding_paid(self, payment: FundingPayment) -> None:
        (row,) = self._info.fundings_of([payment])
        user = payment.account
        self._publish(("userFundings", user, ""), "userFundings", {"user": user, "fundings": [row]})
        self._publish(("userEvents", user, ""), "user", {"funding": row})

    def account_changed(self, account: AccountState) -> None:
        for channel in ("clearinghouseState", "openOrders"):
            key = (channel, account.address, "")
            if key in self._subscribers:
                self._publish(key, channel, self._state(key))

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_text(self, connection: Connection, text: str, posts: set[asyncio.Task[None]]) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        method = frame.get("method") if isinstance(frame, dict) else None
        if method == "ping":
            self._send(connection, PONG)
        elif method == "post" and isinstance(frame.get("id"), int) and isinstance(frame.get("request"), dict):
            if len(posts) >= MAX_IN_FLIGHT:
                self._error(connection, f"too many pending post requests id={frame['id']}")
                return
            task = asyncio.create_task(self._answer_post(connection, frame["id"], frame["request"]))
            posts.add(task)
            task.add_done_callback(posts.discard)
        elif method in ("subscribe", "unsubscribe") and isinstance(frame.get("subscription"), dict):
            self._on_subscription(connection, method, frame["subscription"])
        else:
            self._error(connection, f"Error parsing JSON into valid websocket request: {text[:500]}")

    async def _answer_post(self, connection: Connection, number: int, request: Row) -> None:
        kind, payload = request.get("type"), request.get("payload")
        response: Row
        if kind == "info":
            status, body = self._info.answer(payload)
            name = payload.get("type") if isinstance(payload, dict) else None
            response = {"type": "info", "payload": {"type": name, "data": orjson.Fragment(body)}}
        elif kind == "action":
            answer = await connection.act(Traffic.ORDERS, functools.partial(self._post, orjson.dumps(payload)))
            if answer is None:
                return
            status, body = answer
            response = {"type": "action", "payload": orjson.Fragment(body)}
        else:
            status, body, response = 422, b"unknown request type", {}
        if status != 200:
            response = {"type": "error", "payload": f"{status} {body.decode()}"}
        self._send(connection, orjson.dumps({"channel": "post", "data": {"id": number, "response": response}}))

    def _on_subscription(self, connection: Connection, method: str, subscription: Row) -> None:
        try:
            key, echo = self._read(subscription)
        except _BadSubscription:
            self._error(connection, f"Invalid subscription {orjson.dumps(subscription).decode()}")
            return
        held = self._subscriptions[connection]
        text = orjson.dumps(echo).decode()
        if method == "subscribe":
            if key in held:
                self._error(connection, f"Already subscribed: {text}")
                return
            held.add(key)
            self._subscribers[key].add(connection)
        else:
            if key not in held:
                self._error(connection, f"Already unsubscribed: {text}")
                return
            held.discard(key)
            self._forget(key, connection)
        data = {"method": method, "subscription": echo}
        self._send(connection, orjson.dumps({"channel": "subscriptionResponse", "data": data}))
        if method == "subscribe":
            self._send_first(connection, key)

    def _read(self, subscription: Row) -> tuple[Key, Row]:
        """The key of a subscription and its echo with the defaults filled in."""
        kind = subscription.get("type")
        if kind == "allMids":
            return ("allMids", "", ""), {"type": "allMids", "dex": subscription.get("dex")}
        if kind in _BY_COIN:
            coin = subscription.get("coin")
            if not isinstance(coin, str) or coin not in self._exchange.contracts:
                raise _DropSocket
            if kind == "l2Book":
                return self._read_book(coin, subscription)
            return (kind, coin, ""), {"type": kind, "coin": coin}
        if kind == "activeAssetData":
            coin = subscription.get("coin")
            if not isinstance(coin, str) or coin not in self._exchange.contracts:
                raise _DropSocket
            user = _user(subscription)
            return (kind, user, coin), {"type": kind, "user": user, "coin": coin}
        if kind in _BY_USER:
            user = _user(subscription)
            return (str(kind), user, ""), {"type": kind, "user": user}
        raise _BadSubscription

    def _read_book(self, coin: str, subscription: Row) -> tuple[Key, Row]:
        """Aggregated books are not simulated beyond their checks: nSigFigs 2 to 5, mantissa 2 or 5 with 5."""
        figures, mantissa = subscription.get("nSigFigs"), subscription.get("mantissa")
        fast = bool(subscription.get("fast", False))
        if figures not in (None, 2, 3, 4, 5) or mantissa not in (None, 2, 5) or (mantissa and figures != 5):
            raise _DropSocket
        echo = {"type": "l2Book", "coin": coin, "nSigFigs": figures, "mantissa": mantissa, "fast": fast}
        return ("l2Book", coin, "fast" if fast else ""), echo

    def _send_first(self, connection: Connection, key: Key) -> None:
        """What a channel says at once: its snapshot or present value. orderUpdates has none."""
        channel, name, _ = key
        data: Any
        match channel:
            case "bbo":
                self._send(connection, self._bbo_frame(name))
                return
            case "l2Book":
                data = self._book(key)
            case "activeAssetCtx":
                data = {"coin": name, "ctx": rows.asset_context(self._exchange, name)}
            case "allMids":
                data = {"mids": rows.all_mids(self._exchange)}
            case "userFills":
                fills = self._exchange.fills(name)[-SNAPSHOT_ROWS:]
                data = {"user": name, "isSnapshot": True, "fills": [rows.fill_row(f) for f in reversed(fills)]}
            case "userFundings":
                payments = self._exchange.payments(name)[-SNAPSHOT_ROWS:]
                data = {"user": name, "isSnapshot": True, "fundings": self._info.fundings_of(payments)}
            case "clearinghouseState" | "openOrders" | "activeAssetData" | "spotState":
                data = self._state(key)
            case _:
                return
        self._send(connection, orjson.dumps({"channel": channel, "data": data}))

    # -- frames -----------------------------------------------------------------------------------------------------

    def _bbo_frame(self, coin: str) -> bytes:
        top = self._exchange.top(coin)
        sides = [None if level is None else {"px": rows.num(level.px), "sz": rows.num(level.qty), "n": level.orders}
                 for level in (top.bid, top.ask)]  # fmt: skip
        return orjson.dumps({"channel": "bbo", "data": {"coin": coin, "time": rows.ms(top.time_ns), "bbo": sides}})

    def _book(self, key: Key) -> Row:
        _, coin, speed = key
        depth = FAST_LEVELS if speed == "fast" else LEVELS
        bids, asks = self._exchange.levels(coin, depth)
        data: Row = {"coin": coin, "time": rows.ms(self._exchange.top(coin).time_ns),
                     "levels": [rows.levels_rows(bids), rows.levels_rows(asks)]}  # fmt: skip
        if speed == "fast":
            data["fast"] = True
        return data

    def _state(self, key: Key) -> Row:
        channel, user, coin = key
        if channel == "activeAssetData":
            return self._info.active_asset_data(user, coin)
        if channel == "clearinghouseState":
            value: Any = rows.clearinghouse_state(self._exchange, user, self._clock.wire_ns())
        elif channel == "openOrders":
            orders = [rows.long_order_row(order) for order in self._exchange.open_orders(user)]
            return {"user": user, "dex": "", "orders": orders}
        else:
            _, body = self._info.answer({"type": "spotClearinghouseState", "user": user})
            return {"user": user, "spotState": orjson.Fragment(body)}
        return {"user": user, "dex": "", channel: value}

    def _publish(self, key: Key, channel: str, data: Any) -> None:
        if key in self._subscribers:
            self._broadcast(key, orjson.dumps({"channel": channel, "data": data}))

    def _broadcast(self, key: Key, frame: bytes) -> None:
        for connection in self._subscribers[key]:
            self._send(connection, frame)

    def _send(self, connection: Connection, frame: bytes) -> None:
        connection.last_sent_ns = self._clock.mono_ns()
        connection.send(frame)

    def _error(self, connection: Connection, text: str) -> None:
        self._send(connection, orjson.dumps({"channel": "error", "data": text}))

    def _forget(self, key: Key, connection: Connection) -> None:
        listeners = self._subscribers.get(key)
        if listeners is not None:
            listeners.discard(connection)
            if not listeners:
                del self._subscribers[key]

    def _keys(self, channel: str) -> list[Key]:
        return [key for key in self._subscribers if key[0] == channel]

    def _is_due(self, name: str, now_ns: int, every_ns: int) -> bool:
        if now_ns < self._due_ns.get(name, 0):
            return False
        self._due_ns[name] = now_ns + every_ns
        return True


def _user(subscription: Row) -> str:
    user = subscription.get("user")
    if not isinstance(user, str):
        raise _BadSubscription
    try:
        return address(user)
    except ValueError as error:
        raise _BadSubscription from error
