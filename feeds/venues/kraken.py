"""Kraken's public stream: `ticker` on every change of the best prices, `book` with its checksum for depth.

Every fact is from docs/venues/kraken.md 2 to 5. A spot venue: there is no funding and no mark. The ticker's default trigger
is the trade, so that a quote would move only when somebody trades: "bbo" is asked for by name. It need not come when only
the size at the touch changes; the book shows that, and its touch becomes the quote when it is the newer one. Both come over
one connection and carry the venue's time, by which the publisher orders them.

The book is what makes a lost or misread frame known: there is no sequence number, but every frame carries a checksum of the
ten best levels. Where it differs, the book is dropped, the quote is void, and the pair is subscribed again; changes are
passed over until the snapshot. The dollar pairs of the stablecoins are always read, asked for or not: what other venues'
quote currencies are worth is decided by them (RULES 12).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from math import inf, isfinite, nan

import msgspec

from core.clock import NS_PER_US
from core.errors import UNDECODABLE, Malformed
from core.specs import kraken as specs
from core.types import Instrument
from feeds.venues._kraken_book import ChecksummedBook, units
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FeedEvent,
    GapEvent,
    MarketEvent,
    MarkEvent,
    QuoteEvent,
    RestRequest,
    SocketPlan,
    Stream,
)

DEPTH = 10  # what the checksum covers; more would be frames about levels that nothing here reads
SYMBOLS_PER_SOCKET = 100
ASKED_AGAIN = 20  # unanswered symbols renewed at once
TICKER, BOOK = "ticker", "book"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_TICKER_PREFIX, _BOOK_PREFIX = b'{"channel":"ticker"', b'{"channel":"book"'
_SNAPSHOT, _UPDATE = "snapshot", "update"


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    bid: float
    bid_qty: float
    ask: float
    ask_qty: float
    volume: float
    vwap: float
    timestamp: datetime | None = None  # older recordings have none


class _Level(msgspec.Struct, gc=False):
    price: Decimal
    qty: Decimal


class _Book(msgspec.Struct):
    symbol: str
    checksum: int
    bids: list[_Level] = []
    asks: list[_Level] = []
    timestamp: datetime | None = None


class _Tickers(msgspec.Struct):
    type: str
    data: list[_Ticker]


class _Books(msgspec.Struct):
    type: str
    data: list[_Book]


class _Envelope(msgspec.Struct):
    """A frame by its outside: a channel, or the answer to a request."""

    channel: str = ""
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""


_tickers = msgspec.json.Decoder(_Tickers, strict=False)
_books = msgspec.json.Decoder(_Books)
_envelopes = msgspec.json.Decoder(_Envelope)


def ticker_request(method: str, symbols: Iterable[str], req_id: int) -> bytes:
    """`symbols` are the venue's."""
    params = {"channel": TICKER, "symbol": list(symbols), "event_trigger": "bbo", "snapshot": True}
    return msgspec.json.encode({"method": method, "params": params, "req_id": req_id})


def book_request(method: str, symbols: Iterable[str], req_id: int) -> bytes:
    params = {"channel": BOOK, "symbol": list(symbols), "depth": DEPTH, "snapshot": True}
    return msgspec.json.encode({"method": method, "params": params, "req_id": req_id})


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 30.0
    max_connection_s = 0.0  # no limit is documented
    client_burst = 10
    client_frames_per_s = 2.0
    funding_on_whole_intervals = False

    def __init__(self) -> None:
        self._listed: dict[str, specs.Listing] = {}  # by venue symbol
        self._live: dict[str, str] = {}  # canonical symbol -> venue symbol

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/0/public/AssetPairs", None)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        chosen |= set(specs.STABLECOINS) if chosen else set()
        listed = [each for each in specs.listings(answers[0]) if not chosen or each.instrument.symbol in chosen]
        rows = [each.instrument for each in listed]
        self._listed = {each.instrument.venue_symbol: each for each in listed}
        self._live = {row.symbol: row.venue_symbol for row in rows if not row.delisted}
        return rows

    def ws_path(self) -> str:
        return ""

    def sockets(self) -> list[SocketPlan]:
        live = iter(self._live.items())
        plans = []
        while part := dict(islice(live, SYMBOLS_PER_SOCKET)):
            names = list(part.values())
            frames = (ticker_request("subscribe", names, 1), book_request("subscribe", names, 2))
            plans.append(SocketPlan(tuple(part), frames))
        return plans

    def stream(self, plan: SocketPlan) -> Stream:
        return Connection(self._listed, (self._live[symbol] for symbol in plan.symbols if symbol in self._live))

    def resubscribe(self, symbol: str) -> list[bytes]:
        name = self._live.get(symbol)
        return [] if name is None else list(_renewal([name]))

    def ping(self) -> bytes:
        return b'{"method":"ping","req_id":101}'

    def seed_requests(self) -> list[RestRequest]:
        return []  # every subscription is answered with a snapshot

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        raise Malformed("kraken: no seeds are asked for")

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        return []  # no funding, and the ticker tells the volume

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        raise Malformed("kraken: no figures are asked for")


class Connection:
    """A feeds.venues.base.Stream: the books of one connection. `names` are the venue's symbols subscribed on it."""

    def __init__(self, listed: dict[str, specs.Listing], names: Iterable[str]) -> None:
        self._listed = listed
        self._books: dict[str, ChecksummedBook] = {}
        self._unanswered = dict.fromkeys(names)  # those whose book has not come

    def decode(self, frame: bytes) -> list[FeedEvent]:
        try:
            if frame.startswith(_TICKER_PREFIX):
                return self._on_tickers(_tickers.decode(frame))
            if frame.startswith(_BOOK_PREFIX):
                return self._on_books(_books.decode(frame))
            envelope = _envelopes.decode(frame)
            if envelope.channel == TICKER:
                return self._on_tickers(_tickers.decode(frame))
            if envelope.channel == BOOK:
                return self._on_books(_books.decode(frame))
        except UNDECODABLE as error:
            raise Malformed(f"kraken: {error}") from error
        return [_control(envelope, frame)]

    def overdue(self) -> list[bytes]:
        """Leaving a channel that one is not on is refused and harms nobody; entering one twice brings no snapshot."""
        names = list(islice(self._unanswered, ASKED_AGAIN))
        for name in names:  # to the end of the queue
            del self._unanswered[name]
            self._unanswered[name] = None
        return list(_renewal(names)) if names else []

    def _on_tickers(self, message: _Tickers) -> list[FeedEvent]:
        if message.type not in (_SNAPSHOT, _UPDATE):
            raise Malformed(f"kraken ticker: type {message.type[:40]!r}")
        events: list[FeedEvent] = []
        for row in message.data:
            symbol = self._listing(row.symbol).instrument.symbol
            if not (
                0.0 <= row.bid < inf and 0.0 <= row.ask < inf and 0.0 <= row.bid_qty < inf and 0.0 <= row.ask_qty < inf
            ):
                raise Malformed(f"kraken ticker of {row.symbol}: {row.bid} x {row.bid_qty} / {row.ask} x {row.ask_qty}")
            sent_ns = _time_ns(row.timestamp)
            volume_usd = row.volume * row.vwap
            events.append(QuoteEvent(symbol, row.bid, row.bid_qty, row.ask, row.ask_qty, sent_ns))
            if isfinite(volume_usd) and volume_usd >= 0.0:
                events.append(MarkEvent(symbol, nan, nan, nan, volume_usd, sent_ns))
        return events

    def _on_books(self, message: _Books) -> list[FeedEvent]:
        if message.type not in (_SNAPSHOT, _UPDATE):
            raise Malformed(f"kraken book: type {message.type[:40]!r}")
        events: list[FeedEvent] = []
        for row in message.data:
            events += self._on_book(row, message.type == _SNAPSHOT)
        return events

    def _on_book(self, row: _Book, is_snapshot: bool) -> list[FeedEvent]:
        listing = self._listing(row.symbol)
        bids, asks = _changes(row.bids, listing), _changes(row.asks, listing)  # all of them, before any is applied
        sent_ns = _time_ns(row.timestamp)
        if is_snapshot:
            book = self._books[row.symbol] = ChecksummedBook(DEPTH, listing.price_decimals, listing.qty_decimals)
        else:
            held = self._books.get(row.symbol)
            if held is None:
                return []  # before the snapshot
            book = held
        book.bids.apply(bids)
        book.asks.apply(asks)
        symbol = listing.instrument.symbol
        if book.checksum != row.checksum or book.is_crossed:
            del self._books[row.symbol]
            self._unanswered[row.symbol] = None
            return [GapEvent(symbol, f"checksum {book.checksum}, the venue says {row.checksum}")]
        if is_snapshot:
            self._unanswered.pop(row.symbol, None)
        return [DepthEvent(symbol, book.bids.top(), book.asks.top(), sent_ns)]

    def _listing(self, name: str) -> specs.Listing:
        try:
            return self._listed[name]
        except KeyError:
            raise Malformed(f"kraken: {name[:40]!r} is not in the catalogue") from None


def _renewal(names: list[str]) -> Iterator[bytes]:
    """The venue takes requests in their order, so the snapshot that follows is of the new subscription."""
    yield ticker_request("unsubscribe", names, 3)
    yield book_request("unsubscribe", names, 4)
    yield ticker_request("subscribe", names, 5)
    yield book_request("subscribe", names, 6)


def _changes(levels: list[_Level], listing: specs.Listing) -> list[tuple[int, int]]:
    px, qty = listing.price_decimals, listing.qty_decimals
    return [(units(level.price, px), units(level.qty, qty)) for level in levels]


def _time_ns(told: datetime | None) -> int:
    if told is None:
        return 0
    if told.tzinfo is None or not _EPOCH <= told < _LATEST:
        raise Malformed(f"kraken: {told} is no time")
    return (told - _EPOCH) // _MICROSECOND * NS_PER_US


def _control(envelope: _Envelope, frame: bytes) -> ControlEvent:
    shown = frame[:200].decode(errors="replace")
    if envelope.success is False or envelope.error:
        return ControlEvent(ControlKind.ERROR, shown)
    if envelope.method == "pong":
        return ControlEvent(ControlKind.PONG, "")
    if envelope.method:
        return ControlEvent(ControlKind.ACK, shown)
    if not envelope.channel:
        raise Malformed(f"kraken: neither a channel nor an answer: {shown}")
    return ControlEvent(ControlKind.OTHER, shown)
