"""`/stream` of the simulated Lighter: connections, subscriptions, and transactions (docs/venues/lighter.md 3, 7, 8).

Channels are subscribed with a slash and answer with a colon. Market data goes out as frames built once for all listeners;
account channels carry only what changed, so absence never means flat. Refusals have neither type nor channel.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Traffic
from ops.sandbox.model import AccountState, Contract, Fill, FundingPayment, Order, Trade
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues._lighter_book import PublicBook
from ops.sandbox.venues._lighter_channels import PRIVATE, Channel, Channels, NoChannel
from ops.sandbox.venues._lighter_desk import BATCH_MAX_WS, Desk, Known, Sent
from ops.sandbox.venues._lighter_errors import ApiError, Code, invalid_param
from ops.sandbox.venues._lighter_keys import Keys
from ops.sandbox.venues._lighter_limits import Window
from ops.sandbox.venues._lighter_listing import Listing
from ops.sandbox.venues._lighter_public import Public
from ops.sandbox.venues._lighter_rows import Row, fill_row, order_row, print_row, usd

IDLE_NS = 120 * NS_PER_S
PING_NS = 60 * NS_PER_S
STATS_NS = NS_PER_S
MESSAGES_PER_MIN = 200
SUBSCRIPTIONS_MAX = 500
UNANSWERED_MAX = 200
PING, PONG = b'{"type":"ping"}', b'{"type":"pong"}'


class Client:
    """What is remembered of one connection."""

    __slots__ = ("channels", "heard_ns", "messages", "pinged_ns", "sends")

    def __init__(self, now_ns: int) -> None:
        self.channels: set[Channel] = set()
        self.messages = Window()
        self.heard_ns = self.pinged_ns = now_ns
        self.sends: set[asyncio.Task[None]] = set()  # transactions not answered yet


class Streams:
    """The connections of one venue and what each listens to. Is the Listener of the exchange."""

    def __init__(
        self, exchange: Exchange, clock: Clock, listing: Listing, keys: Keys, desk: Desk, public: Public, log: Log
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._keys = keys
        self._desk = desk
        self._public = public
        self._log = log
        self._books = {market.name: PublicBook(exchange, clock, market) for market in listing.traded}
        self._channels = Channels(exchange, clock, listing, public, self._books)
        self._clients: dict[Connection, Client] = {}
        self._listeners: dict[Channel, set[Connection]] = defaultdict(set)
        self._stats_due_ns = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One client, from upgrade to close."""
        connection = await open_connection(request, autoping=False)
        client = self._clients[connection] = Client(self._clock.mono_ns())
        session = f"{self._clock.mono_ns():016x}"
        connection.send(orjson.dumps({"session_id": session, "type": "connected"}))
        try:
            async for message in connection.socket:
                client.heard_ns = self._clock.mono_ns()
                if message.type is WSMsgType.TEXT:
                    self._on_text(connection, client, message.data)
                elif message.type is WSMsgType.PING:
                    await connection.socket.pong(message.data)
        finally:
            del self._clients[connection]
            for channel in client.channels:
                self._forget(channel, connection)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for connection in list(self._clients):
            connection.drop()

    def drop_private(self) -> None:
        """Break the connections that listen to an account by a token."""
        for connection, client in list(self._clients.items()):
            if any(channel.name in PRIVATE for channel in client.channels):
                connection.drop()

    def tick(self) -> None:
        """Statistics, keep-alives, and the end of those that went silent."""
        now = self._clock.mono_ns()
        if now >= self._stats_due_ns:
            self._stats_due_ns = now + STATS_NS
            for channel in [channel for channel in self._listeners if channel.sampled]:
                self._publish(channel, "update", self._channels.content(channel))
        for connection, client in list(self._clients.items()):
            if now - client.heard_ns > IDLE_NS:
                self._log.info("socket_dropped", venue=self._exchange.name, detail="nothing received for two minutes")
                connection.drop()
            elif now - client.pinged_ns > PING_NS:
                client.pinged_ns = now
                connection.send(PING)

    def publish_books(self) -> None:
        """The batched differences. Called every 50 ms."""
        for market in self._listing.traded:
            channel = Channel("order_book", (market.index,))
            if channel in self._listeners:
                self._publish_book(channel, self._books[market.name])

    def transaction(self, known: Known) -> None:
        """A transaction was executed or failed."""
        channel = Channel("account_tx", (known.tx.account,))
        if channel in self._listeners:
            self._publish(channel, "update", {"txs": [self._desk.row(known)]})

    # -- listener ---------------------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        book = self._books[contract.name]
        book.changed()
        channel = Channel("ticker", (book.market.index,))
        if channel in self._listeners:
            self._publish(channel, "update", self._channels.content(channel))

    def traded(self, trade: Trade) -> None:
        self._public.traded(trade)
        market = self._listing.by_name[trade.name]
        channel = Channel("trade", (market.index,))
        if channel in self._listeners:
            self._publish(channel, "update", {"trades": [print_row(trade, market)], "liquidation_trades": []})

    def order_changed(self, order: Order) -> None:
        market, account = self._listing.by_name.get(order.name), int(order.account)
        if market is None:
            return
        for channel in (Channel("account_all_orders", (account,)), Channel("account_orders", (market.index, account))):
            if channel in self._listeners:
                content: Row = {"orders": {str(market.index): [order_row(order, market)]}}
                if channel.name == "account_orders":
                    content |= {"account": account, "nonce": self._books[market.name].nonce}
                self._publish(channel, "update", content)

    def filled(self, order: Order, fill: Fill) -> None:
        market, account = self._listing.by_name[fill.name], int(fill.account)
        for name in ("account_all_trades", "account_all"):
            channel = Channel(name, (account,))
            if channel in self._listeners:
                content: Row = {"trades": {str(market.index): [fill_row(fill, market, order)]}}
                if name == "account_all":
                    content |= {"account": account, "positions": {}, "assets": {}}
                self._publish(channel, "update", content)

    def funding_paid(self, payment: FundingPayment) -> None:
        channel = Channel("account_all_positions", (int(payment.account),))
        market = self._listing.by_name[payment.name]
        if channel in self._listeners:
            funding = {str(market.index): usd(payment.cash)}
            self._publish(channel, "update", {"positions": {}, "shares": [], "last_funding_round": funding})

    def account_changed(self, account: AccountState) -> None:
        if not account.address.isdecimal():
            return  # somebody's address of another venue: nobody can ask for it here
        index = int(account.address)
        channels = [Channel(name, (index,)) for name in ("account_all_positions", "account_all")]
        listening = [channel for channel in channels if channel in self._listeners]
        if listening:
            changed = self._channels.changed_positions(account)
            for channel in listening if changed else ():
                self._publish(channel, "update", self._channels.account_content(channel, account, changed))
        for name in ("user_stats", "account_all_assets"):
            channel = Channel(name, (index,))
            if channel in self._listeners:
                self._publish(channel, "update", self._channels.content(channel))

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_text(self, connection: Connection, client: Client, text: str) -> None:
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        kind = frame.get("type") if isinstance(frame, dict) else None
        if kind in ("jsonapi/sendtx", "jsonapi/sendtxbatch") and isinstance(frame.get("data"), dict):
            self._on_transaction(connection, client, kind, frame["data"])
            return
        if not client.messages.take(1, MESSAGES_PER_MIN, self._clock.mono_ns()):
            _refuse(connection, ApiError(Code.WS_TOO_MANY_MESSAGES))
        elif kind == "ping":
            connection.send(PONG)
        elif kind in ("subscribe", "unsubscribe"):
            try:
                self._on_subscription(connection, client, kind, frame)
            except ApiError as error:
                _refuse(connection, error)
        elif kind != "pong":
            _refuse(connection, ApiError(Code.WS_INVALID_MESSAGE))

    def _on_subscription(self, connection: Connection, client: Client, kind: str, frame: Row) -> None:
        try:
            channel = self._channels.read(frame.get("channel"))
        except NoChannel as error:
            raise ApiError(Code.WS_INVALID_CHANNEL, f" ({error})") from None
        if kind == "unsubscribe":
            if channel in client.channels:
                client.channels.discard(channel)
                self._forget(channel, connection)
            connection.send(orjson.dumps({"type": "unsubscribed", "channel": channel.label}))
            return
        if channel in client.channels:
            raise ApiError(Code.WS_ALREADY_SUBSCRIBED, f": {channel.label}")
        if len(client.channels) >= SUBSCRIPTIONS_MAX:
            raise ApiError(Code.WS_TOO_MANY_SUBSCRIPTIONS)
        if channel.name in PRIVATE:
            self._check_token(channel, frame.get("auth"))
        if channel.name == "order_book":
            self._publish_book(channel, self._books_of(channel))
        client.channels.add(channel)
        self._listeners[channel].add(connection)
        connection.send(self._frame(channel, "subscribed", self._channels.first(channel)))

    def _check_token(self, channel: Channel, token: object) -> None:
        if not isinstance(token, str) or not token:
            raise invalid_param(f"auth field is required: {channel.label}")
        if self._keys.token_account(token) != channel.arguments[-1]:
            raise ApiError(Code.AUTH, ": couldnt find account")

    def _on_transaction(self, connection: Connection, client: Client, kind: str, data: Row) -> None:
        """Taken in the order of arrival and answered; `id` comes back."""
        identity = str(data.get("id") or self._now_ms())
        if len(client.sends) >= UNANSWERED_MAX:
            connection.send(_error_frame(ApiError(Code.TOO_MANY_PENDING).body(), identity))
            return
        task = asyncio.create_task(self._answer(connection, kind, data, identity))
        client.sends.add(task)
        task.add_done_callback(client.sends.discard)

    async def _answer(self, connection: Connection, kind: str, data: Row, identity: str) -> None:
        async def perform() -> tuple[int, bytes]:
            return self._perform(kind, data, identity)

        answer = await connection.act(Traffic.ORDERS, perform)
        if answer is None:
            return
        status, body = answer
        connection.send(body if status == 200 else _error_frame(_refusal(status, body), identity))

    def _perform(self, kind: str, data: Row, identity: str) -> tuple[int, bytes]:
        """Status and frame, or status and refusal."""
        try:
            accepted = self._desk.submit(_sent(kind, data), BATCH_MAX_WS)
        except ApiError as error:
            return error.status, orjson.dumps(error.body())
        hashes = [known.tx_hash for known in accepted]
        due_ms = accepted[-1].queued_ms + round(accepted[-1].wait_s * 1000)
        answer: Row = {"code": 200, "id": identity, "predicted_execution_time_ms": due_ms}
        answer["tx_hash"] = hashes[0] if kind == "jsonapi/sendtx" else hashes
        return 200, orjson.dumps(answer | {"type": kind})

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _publish_book(self, channel: Channel, book: PublicBook) -> None:
        difference = book.difference()
        if difference is not None:
            self._publish(channel, "update", self._channels.book_content(difference))

    def _books_of(self, channel: Channel) -> PublicBook:
        return self._books[self._listing.by_index[channel.arguments[0]].name]

    def _publish(self, channel: Channel, kind: str, content: Row) -> None:
        listeners = self._listeners.get(channel)
        if listeners:
            frame = self._frame(channel, kind, content)
            for connection in listeners:
                connection.send(frame)

    def _frame(self, channel: Channel, kind: str, content: Row) -> bytes:
        return orjson.dumps(
            {"channel": channel.label, **content, "timestamp": self._now_ms(), "type": f"{kind}/{channel.name}"}
        )

    def _forget(self, channel: Channel, connection: Connection) -> None:
        listeners = self._listeners.get(channel)
        if listeners is not None:
            listeners.discard(connection)
            if not listeners:
                del self._listeners[channel]
                if channel.name == "order_book":
                    self._books_of(channel).forget()

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


def _refuse(connection: Connection, error: ApiError) -> None:
    connection.send(orjson.dumps({"error": error.body()}))


def _error_frame(error: Row, identity: str) -> bytes:
    return orjson.dumps({"error": error, "id": identity})


def _refusal(status: int, body: bytes) -> Row:
    """The error object of an answer that a fault may have spoilt."""
    try:
        error = orjson.loads(body)
    except orjson.JSONDecodeError:
        error = None
    return error if isinstance(error, dict) else {"code": status, "message": "error"}


def _sent(kind: str, data: Row) -> list[Sent]:
    """The transactions of one message: an object, or strings as in the REST batch."""
    if kind == "jsonapi/sendtx":
        number, info = data.get("tx_type"), data.get("tx_info")
        if not isinstance(number, int) or not isinstance(info, dict | str):
            raise invalid_param("tx_info")
        return [(number, info)]
    numbers, infos = (_list(data.get(name)) for name in ("tx_types", "tx_infos"))
    if not infos or len(numbers) != len(infos) or not all(isinstance(number, int) for number in numbers):
        raise invalid_param("tx_infos")
    if not all(isinstance(info, dict | str) for info in infos):
        raise invalid_param("tx_infos")
    return list(zip(numbers, infos, strict=True))


def _list(value: Any) -> list[Any]:
    """A JSON array, as itself or as text."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return []
    return value if isinstance(value, list) else []
