"""Kraken's public WebSocket v2 (docs/venues/kraken.md 3): status, ticker, book, trade and instrument, acknowledgements one
per symbol, a heartbeat a second where nothing else flows, and the end of connections that subscribe to nothing.

A ticker asked for without `event_trigger` speaks only when somebody trades, as the real one does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_S, Clock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Contract, Trade
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues._kraken_book import DEPTHS, PublicBook
from ops.sandbox.venues._kraken_listing import Listing, Pair, instrument_row
from ops.sandbox.venues._kraken_public import Public
from ops.sandbox.venues._kraken_rows import dumps, stamp

Row = dict[str, Any]
Channel = tuple[str, str, str]
"""(channel, symbol, variant): the ticker's trigger, the book's depth."""

HEARTBEAT_NS = NS_PER_S
UNUSED_NS = 60 * NS_PER_S
CHANNELS = frozenset({"ticker", "book", "trade", "instrument"})
TRIGGERS = ("bbo", "trades")
ALL = "*"


class Client:
    """What is remembered of one connection."""

    __slots__ = ("channels", "opened_ns")

    def __init__(self, now_ns: int) -> None:
        self.channels: set[Channel] = set()
        self.opened_ns = now_ns


class PublicStreams:
    """The public connections of the venue."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing, public: Public, log: Log) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._public = public
        self._log = log
        self._clients: dict[Connection, Client] = {}
        self._listeners: dict[Channel, set[Connection]] = defaultdict(set)
        self._books: dict[tuple[str, int], PublicBook] = {}
        self._touches: dict[str, tuple[Decimal, Decimal]] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        connection = await open_connection(request)
        client = self._clients[connection] = Client(self._clock.mono_ns())
        self._send(connection, status_frame(self._clock.mono_ns()))
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    self._on_text(connection, client, message.data)
        finally:
            del self._clients[connection]
            for channel in client.channels:
                self._forget(channel, connection)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for connection in list(self._clients):
            connection.drop()

    def tick(self) -> None:
        """Heartbeats, and the end of connections that nobody uses."""
        now_ns = self._clock.mono_ns()
        for connection, client in list(self._clients.items()):
            if not client.channels and now_ns - client.opened_ns > UNUSED_NS:
                self._log.info("socket_dropped", venue=self._exchange.name, detail="subscribed to nothing for a minute")
                connection.drop()
            elif client.channels and now_ns - connection.last_sent_ns >= HEARTBEAT_NS:
                self._send(connection, b'{"channel":"heartbeat"}')

    # -- market -----------------------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        pair = self._listing.by_name[contract.name]
        for depth in DEPTHS:
            listeners = self._listeners.get(("book", pair.name, str(depth)))
            if listeners:
                self._publish_book(pair, depth, listeners)
        listeners = self._listeners.get(("ticker", pair.name, "bbo"))
        if listeners:
            top = self._exchange.top(pair.name)
            touch = (top.bid.px if top.bid else Decimal(0), top.ask.px if top.ask else Decimal(0))
            if self._touches.get(pair.name) != touch:
                self._touches[pair.name] = touch
                self._publish(listeners, self._ticker("update", pair))

    def traded(self, trade: Trade) -> None:
        pair = self._listing.by_name[trade.name]
        listeners = self._listeners.get(("ticker", pair.name, "trades"))
        if listeners:
            self._publish(listeners, self._ticker("update", pair))
        listeners = self._listeners.get(("trade", pair.name, ""))
        if listeners:
            self._publish(listeners, _frame("trade", "update", [_trade_row(trade)]))

    # -- requests ---------------------------------------------------------------------------------------------------

    def _on_text(self, connection: Connection, client: Client, text: str) -> None:
        time_in = stamp(self._clock.wire_ns())
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict) or not isinstance(frame.get("method"), str):
            self._send(connection, b'{"error":"Malformed request"}')
            return
        answer = Answer(frame, time_in, lambda: stamp(self._clock.wire_ns()))
        method = frame["method"]
        if method == "ping":
            self._send(connection, answer.pong())
        elif method in ("subscribe", "unsubscribe"):
            for reply in self._subscriptions(connection, client, method, frame.get("params"), answer):
                self._send(connection, reply)
        else:
            self._send(connection, answer.failed(f"Method not supported: '{method[:40]}'"))

    def _subscriptions(
        self, connection: Connection, client: Client, method: str, params: Any, answer: Answer
    ) -> Iterable[bytes]:
        """Acknowledgements and snapshots, symbol by symbol."""
        if not isinstance(params, dict) or str(params.get("channel")) not in CHANNELS:
            yield answer.failed("Channel not supported")
            return
        name, variant = params["channel"], _variant(params)
        if variant is None:
            yield answer.failed(f"Invalid {'depth' if name == 'book' else 'event_trigger'}")
            return
        symbols = [ALL] if name == "instrument" else params.get("symbol")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(each, str) for each in symbols):
            yield answer.failed("Symbol(s) not found")
            return
        for symbol in symbols:
            if symbol != ALL and symbol not in self._listing.by_name:
                yield answer.failed(f"Currency pair not supported {symbol[:40]}", symbol)
                continue
            channel = (name, symbol, variant)
            result: Row = {"channel": name} if symbol == ALL else {"channel": name, "symbol": symbol}
            if name == "book":
                result["depth"] = int(variant)
            wants = method == "subscribe"
            if wants is (channel in client.channels):
                yield answer.failed("Already subscribed" if wants else "Subscription Not Found", symbol)
                continue
            if not wants:
                client.channels.discard(channel)
                self._forget(channel, connection)
                yield answer.done(result)
                continue
            snapshot = bool(params.get("snapshot", name != "trade"))
            yield answer.done(result | {"snapshot": snapshot})
            client.channels.add(channel)
            if name == "book":
                self._publish_book(self._listing.by_name[symbol], int(variant), self._listeners[channel])
            self._listeners[channel].add(connection)  # after the changes that lead up to its snapshot
            if snapshot or name == "book":
                yield self._snapshot(channel)

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _snapshot(self, channel: Channel) -> bytes:
        name, symbol, variant = channel
        if name == "instrument":
            rows = [instrument_row(pair) for pair in self._listing.pairs]
            return dumps({"channel": name, "type": "snapshot", "data": {"assets": [], "pairs": rows}})
        pair = self._listing.by_name[symbol]
        if name == "ticker":
            return self._ticker("snapshot", pair)
        if name == "trade":
            rows = [_trade_row(trade) for trade in self._public.prints(symbol)[-50:]]
            return _frame(name, "snapshot", rows)
        held = self._books[pair.name, int(variant)].snapshot()
        return self._book_frame("snapshot", pair, held.bids, held.asks, held.checksum)

    def _publish_book(self, pair: Pair, depth: int, listeners: Iterable[Connection]) -> None:
        book = self._books.setdefault((pair.name, depth), PublicBook(self._exchange, pair, depth))
        change = book.difference()
        if change is not None:
            self._publish(listeners, self._book_frame("update", pair, change.bids, change.asks, change.checksum))

    def _book_frame(self, kind: str, pair: Pair, bids: list[Row], asks: list[Row], checksum: int) -> bytes:
        row = {"symbol": pair.name, "bids": bids, "asks": asks, "checksum": checksum,
               "timestamp": stamp(self._clock.wire_ns())}  # fmt: skip
        return _frame("book", kind, [row])

    def _ticker(self, kind: str, pair: Pair) -> bytes:
        top, stats = self._exchange.top(pair.name), self._exchange.stats(pair.name)
        change = stats.last_px - stats.open_px
        row = {
            "symbol": pair.name, "bid": top.bid.px if top.bid else 0, "bid_qty": top.bid.qty if top.bid else 0,
            "ask": top.ask.px if top.ask else 0, "ask_qty": top.ask.qty if top.ask else 0, "last": stats.last_px,
            "volume": stats.volume_base, "vwap": stats.volume_usd / (stats.volume_base or 1), "low": stats.low_px,
            "high": stats.high_px, "change": change, "change_pct": round(change / stats.open_px * 100, 2),
            "timestamp": stamp(self._clock.wire_ns()),
        }  # fmt: skip
        return _frame("ticker", kind, [row])

    def _publish(self, listeners: Iterable[Connection], frame: bytes) -> None:
        for connection in listeners:
            self._send(connection, frame)

    def _send(self, connection: Connection, frame: bytes) -> None:
        connection.last_sent_ns = self._clock.mono_ns()
        connection.send(frame)

    def _forget(self, channel: Channel, connection: Connection) -> None:
        listeners = self._listeners.get(channel)
        if listeners is not None:
            listeners.discard(connection)
            if not listeners:
                del self._listeners[channel]
                if channel[0] == "book":
                    self._books.pop((channel[1], int(channel[2])), None)


class Answer:
    """The words of an answer to one request, with its id and times."""

    def __init__(self, frame: Row, time_in: str, now: Callable[[], str]) -> None:
        self._method = frame["method"]
        self._tail: Row = {"req_id": frame["req_id"]} if isinstance(frame.get("req_id"), int) else {}
        self._time_in = time_in
        self._now = now

    def done(self, result: Row) -> bytes:
        return dumps({"method": self._method, "result": result, "success": True} | self._times())

    def failed(self, error: str, symbol: str = "") -> bytes:
        row: Row = {"method": self._method, "success": False, "error": error}
        return dumps(row | ({"symbol": symbol} if symbol else {}) | self._times())

    def pong(self) -> bytes:
        return dumps({"method": "pong"} | self._times())

    def _times(self) -> Row:
        return {"time_in": self._time_in, "time_out": self._now()} | self._tail


def status_frame(number: int) -> bytes:
    data = {"system": "online", "version": "2.0.10", "api_version": "v2", "connection_id": (1 << 63) + number}
    return _frame("status", "update", [data])


def _variant(params: Row) -> str | None:
    """What tells two subscriptions of one channel apart; None for what does not exist."""
    if params["channel"] == "ticker":
        trigger = str(params.get("event_trigger", "trades"))
        return trigger if trigger in TRIGGERS else None
    if params["channel"] == "book":
        depth = params.get("depth", 10)
        return str(depth) if type(depth) is int and depth in DEPTHS else None
    return ""


def _trade_row(trade: Trade) -> Row:
    return {
        "symbol": trade.name, "side": trade.side.value, "price": trade.px, "qty": trade.qty, "ord_type": "limit",
        "trade_id": trade.trade_id, "timestamp": stamp(trade.time_ns),
    }  # fmt: skip


def _frame(channel: str, kind: str, data: list[Row]) -> bytes:
    return dumps({"channel": channel, "type": kind, "data": data})
