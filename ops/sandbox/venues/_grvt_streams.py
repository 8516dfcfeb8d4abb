"""The WebSocket of the simulated GRVT: JSON-RPC at /ws/full, the older form at /ws (docs/venues/grvt.md 3, 7, 8).

The real venue has a public and a trading host; here one path serves both: whoever comes with a session may follow its
account and send orders. A session that ends takes its sockets with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Traffic
from ops.sandbox.model import AccountState, Contract, Fill, FundingPayment, Order, Trade
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues import _grvt_channels as channels
from ops.sandbox.venues._grvt_channels import Channel
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_faults import SENDS
from ops.sandbox.venues._grvt_listing import Listing
from ops.sandbox.venues._grvt_public import Public
from ops.sandbox.venues._grvt_rows import order_row, order_state, position_row
from ops.sandbox.venues._grvt_sessions import ACCOUNT_QUERY, Session, Sessions

UNANSWERED_MAX = 200
Rpc = Callable[[str, Row, str], tuple[int, Row]]
"""(endpoint, body, account) -> (status, answer)."""


class Client:
    """What is remembered of one connection."""

    __slots__ = ("channels", "session", "tasks")

    def __init__(self, session: Session | None) -> None:
        self.session = session
        self.channels: dict[tuple[str, str], Channel] = {}  # by stream and primary selector
        self.tasks: set[asyncio.Task[None]] = set()


class Streams:
    """The connections of the venue and what each follows. Is the Listener of the exchange and the Ears of the orders."""

    def __init__(
        self, exchange: Exchange, clock: Clock, listing: Listing, sessions: Sessions, public: Public,
        fill_row: Callable[[Fill], Row],
    ) -> None:  # fmt: skip
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._sessions = sessions
        self._public = public
        self._fill_row = fill_row
        self._clients: dict[Connection, Client] = {}
        self._versions = dict.fromkeys(listing.by_name, 0)
        self._changed_ns = dict.fromkeys(listing.by_name, clock.wire_ns())
        self.rpc: Rpc | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One client, from upgrade to close. A cookie that is no session refuses the handshake."""
        session = None
        if "Cookie" in request.headers:
            try:
                session = self._sessions.of(request.headers, request.query.get(ACCOUNT_QUERY, ""))
            except ApiError as error:
                return web.Response(status=401, body=orjson.dumps(error.body()), content_type="application/json")
        connection = await open_connection(request)
        client = self._clients[connection] = Client(session)
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    self._on_text(connection, client, message.data)
        finally:
            del self._clients[connection]
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for connection in list(self._clients):
            connection.drop()

    def publish(self) -> None:
        """Everything sampled that is due. Called every few hundredths of a second."""
        now_ns = self._clock.mono_ns()
        for connection, client in list(self._clients.items()):
            if client.session is not None and not self._sessions.is_live(client.session):
                connection.drop()
                continue
            for channel in client.channels.values():
                if channel.rate_ms and now_ns >= channel.due_ns and channel.stream != channels.TRADE:
                    channel.due_ns = now_ns + channel.rate_ms * NS_PER_MS
                    self._show(connection, channel)

    # -- the exchange's listener ------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        name = contract.name
        self._versions[name] += 1
        self._changed_ns[name] = self._clock.wire_ns()
        for connection, client in self._clients.items():
            for channel in client.channels.values():
                if channel.instrument == name and channel.stream == channels.MINI_D and not channel.rate_ms:
                    self._show(connection, channel)

    def traded(self, trade: Trade) -> None:
        row = self._public.traded(trade)
        for connection, client in self._clients.items():
            for channel in client.channels.values():
                if channel.stream == channels.TRADE and channel.instrument == trade.name:
                    _send(connection, channel.frame(row))

    def order_changed(self, order: Order) -> None:
        market = self._listing.by_name.get(order.name)
        if market is not None:
            self._tell_order(order.account, order.name, order_row(order, market), order_state(order))

    def filled(self, order: Order, fill: Fill) -> None:
        self._tell(fill.account, fill.name, {channels.FILL: lambda: self._fill_row(fill)})

    def funding_paid(self, payment: FundingPayment) -> None:
        """Told by no stream."""

    def account_changed(self, account: AccountState) -> None:
        """Positions are told when they were traded or their leverage changed."""
        for name in account.positions:
            market = self._listing.by_name.get(name)
            if market is not None:
                row = position_row(self._exchange, account.address, market, self._clock.wire_ns())
                for connection, channel in self._following(account.address, channels.POSITION, name):
                    key = (row["size"], row["entry_price"], row["leverage"], row["margin_type"])
                    if channel.shown.get(name) != key and (name in channel.shown or row["size"] != "0.0"):
                        channel.shown[name] = key
                        _send(connection, channel.frame(row))

    # -- what the orders tell ---------------------------------------------------------------------------------------

    def unplaced(self, row: Row) -> None:
        self._tell_order(row["sub_account_id"], row["legs"][0]["instrument"], row, row["state"])

    def cancel_status(self, address: str, client_id: str, status: str) -> None:
        feed = {
            "sub_account_id": address, "client_order_id": client_id, "order_id": "0x00", "cancel_status": status,
            "update_time": str(self._clock.wire_ns()),
        }  # fmt: skip
        self._tell(address, "", {channels.CANCEL: lambda: feed})

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_text(self, connection: Connection, client: Client, text: str) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict):
            error = {"jsonrpc": "2.0", "error": ApiError(Code.MALFORMED).brief(), "id": 0, "method": ""}
            _send(connection, error)
        elif "jsonrpc" in frame:
            self._on_rpc(connection, client, frame)
        else:
            self._on_legacy(connection, client, frame)

    def _on_rpc(self, connection: Connection, client: Client, frame: Row) -> None:
        method, params, number = frame.get("method"), frame.get("params"), frame.get("id")
        head = {"jsonrpc": "2.0"}
        tail = {"id": number, "method": method}
        if isinstance(method, str) and method.startswith("v1/") and isinstance(params, dict):
            self._on_request(connection, client, method.removeprefix("v1/"), params, tail)
            return
        try:
            if not isinstance(params, dict):
                raise ApiError(Code.MALFORMED)
            result, started = self._subscription(client, method, params.get("stream"), params.get("selectors"))
        except ApiError as error:
            _send(connection, head | {"error": error.brief()} | tail)
            return
        _send(connection, head | {"result": result} | tail)
        self._snapshots(connection, client, started)

    def _on_legacy(self, connection: Connection, client: Client, frame: Row) -> None:
        number = frame.get("request_id", 0)
        try:
            result, started = self._subscription(client, frame.get("method"), frame.get("stream"), frame.get("feed"))
        except ApiError as error:
            _send(connection, error.body() | {"request_id": number})
            return
        _send(connection, {"request_id": number} | result)
        self._snapshots(connection, client, started)

    def _subscription(
        self, client: Client, method: object, stream: object, selectors: object
    ) -> tuple[Row, list[Channel]]:
        """All of the selectors or none; the answer, and the channels that now begin."""
        if method not in ("subscribe", "unsubscribe") or not isinstance(selectors, list) or not selectors:
            raise ApiError(Code.MALFORMED)
        address = client.session.address if client.session is not None else None
        asked = [channels.read(stream, selector, self._listing, address) for selector in selectors]
        gone = [held.selector for each in asked if (held := client.channels.pop(each.primary, None)) is not None]
        if method == "unsubscribe":
            return {"stream": stream, "unsubs": gone}, []
        for channel in asked:
            client.channels[channel.primary] = channel
        asked_for = {channel.selector for channel in asked}
        return {
            "stream": stream, "subs": [channel.selector for channel in asked],
            "unsubs": [selector for selector in gone if selector not in asked_for],
            "num_snapshots": [len(self._first(client, channel)) for channel in asked],
            "first_sequence_number": [str(channel.sequence + 1) for channel in asked],
            "latest_sequence_number": [str(channel.sequence) for channel in asked],
        }, asked  # fmt: skip

    def _snapshots(self, connection: Connection, client: Client, started: list[Channel]) -> None:
        for channel in started:
            for feed in self._first(client, channel):
                _send(connection, channel.frame(feed, snapshot=True))

    def _first(self, client: Client, channel: Channel) -> list[Row]:
        """What a new channel begins with."""
        if channel.stream not in channels.PRIVATE:
            if channel.stream == channels.TRADE:
                return []
            channel.shown = self._whole(channel)
            channel.version = self._versions[channel.instrument]
            return [channel.shown]
        address = client.session.address if client.session is not None else ""
        if channel.stream in (channels.ORDER, channels.STATE):
            orders = self._exchange.open_orders(address, channel.instrument or None)
            rows = [order_row(order, self._listing.by_name[order.name]) for order in orders]
            return rows if channel.stream == channels.ORDER else [_state_feed(row) for row in rows]
        if channel.stream != channels.POSITION:
            return []
        found = []
        for market in self._listing.by_name.values():
            if channel.instrument in ("", market.name) and self._exchange.position(address, market.name).qty:
                row = position_row(self._exchange, address, market, self._clock.wire_ns())
                channel.shown[market.name] = (row["size"], row["entry_price"], row["leverage"], row["margin_type"])
                found.append(row)
        return found

    def _on_request(self, connection: Connection, client: Client, name: str, params: Row, tail: Row) -> None:
        """An order or a read over the socket, answered under its id."""
        if len(client.tasks) >= UNANSWERED_MAX:
            _send(connection, {"jsonrpc": "2.0", "error": ApiError(Code.RATE_LIMIT).brief()} | tail)
            return
        task = asyncio.create_task(self._answer(connection, client, name, params, tail))
        client.tasks.add(task)
        task.add_done_callback(client.tasks.discard)

    async def _answer(self, connection: Connection, client: Client, name: str, params: Row, tail: Row) -> None:
        async def perform() -> tuple[int, bytes]:
            if client.session is None or self.rpc is None:
                error = ApiError(Code.UNAUTHENTICATED)
                return error.status, orjson.dumps(error.body())
            status, answer = self.rpc(name, params, client.session.address)
            return status, orjson.dumps(answer)

        answer = await connection.act(Traffic.ORDERS if name in SENDS else Traffic.READS, perform)
        if answer is None:
            return
        status, body = answer
        row = _json(body)
        head: Row = {"jsonrpc": "2.0"}
        if status == 200:
            spoilt = row is None
            connection.send(body if spoilt else orjson.dumps(head | {"result": row} | tail))
            return
        code, message = (row.get("code", Code.UNKNOWN), row.get("message", "")) if row else (int(Code.UNKNOWN), "")
        _send(connection, head | {"error": {"code": code, "message": message}} | tail)

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _show(self, connection: Connection, channel: Channel) -> None:
        """What the channel has to say now, if anything."""
        if not channel.is_complete and channel.version == self._versions[channel.instrument]:
            return
        channel.version = self._versions[channel.instrument]
        whole = self._whole(channel)
        feed = channels.changes(channel, whole) if channel.stream in channels.CHANGES else whole
        channel.shown = whole
        if feed is not None:
            _send(connection, channel.frame(feed))

    def _whole(self, channel: Channel) -> Row:
        """Snapshot streams say when they were sampled, the others when their market last changed."""
        at_ns = self._clock.wire_ns() if channel.is_complete else self._changed_ns[channel.instrument]
        return channels.content(self._exchange, self._listing.by_name[channel.instrument], channel, at_ns)

    def _tell_order(self, address: str, name: str, row: Row, state: Row) -> None:
        self._tell(address, name, {channels.ORDER: lambda: row, channels.STATE: lambda: _state_feed(row)})

    def _tell(self, address: str, name: str, feeds: dict[str, Callable[[], Row]]) -> None:
        for stream, feed in feeds.items():
            for connection, channel in self._following(address, stream, name):
                _send(connection, channel.frame(feed()))

    def _following(self, address: str, stream: str, name: str) -> list[tuple[Connection, Channel]]:
        """The channels that follow this account's stream, and this instrument of it."""
        return [
            (connection, channel)
            for connection, client in self._clients.items()
            if client.session is not None and client.session.address == address
            for channel in client.channels.values()
            if channel.stream == stream and channel.instrument in ("", name)
        ]


def _state_feed(row: Row) -> Row:
    return {
        "order_id": row["order_id"], "client_order_id": row["metadata"]["client_order_id"], "order_state": row["state"],
    }  # fmt: skip


def _send(connection: Connection, row: Row) -> None:
    connection.send(orjson.dumps(row))


def _json(body: bytes) -> dict[str, Any] | None:
    """The object of an answer that a fault may have spoilt."""
    try:
        row = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None
