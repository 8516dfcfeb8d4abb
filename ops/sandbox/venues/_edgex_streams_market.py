"""The public WebSocket: channels, books as snapshot and differences, samples of all contracts (docs/venues/edgex.md 3).

A book channel tells every change at once, as a difference against what was told last, so its chain is one for all who
listen; a new listener gets the snapshot of exactly that. Versions go on across restarts. A quiet book sends an empty
difference once a second. `bookTicker.<id>` sends its snapshot and nothing more, as was recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import orjson

from core.clock import NS_PER_MS, NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Trade
from ops.sandbox.venues._edgex_hub import Hub, Refused
from ops.sandbox.venues._edgex_listing import Listing
from ops.sandbox.venues._edgex_public import DEPTHS, Public, depth_row, pairs
from ops.sandbox.venues._edgex_rows import Row

SAMPLE_NS = NS_PER_S
TICKER_NS = NS_PER_S * 2 // 5
QUIET_NS = NS_PER_S
RATE_NS = 60 * NS_PER_S
TRADES_KEPT = 50

Sides = tuple[dict[str, str], dict[str, str]]


class _Book(msgspec.Struct):
    """What a book channel has told so far. `told_ns` is mono."""

    listing: Listing
    level: int
    version: int
    sides: Sides
    told_ns: int


class _Paced(msgspec.Struct):
    pace_ns: int
    due_ns: int  # mono
    rows: Callable[[], list[Row]]


class MarketStreams:
    def __init__(self, exchange: Exchange, clock: Clock, listed: dict[str, Listing], public: Public, hub: Hub) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listed = listed
        self._by_name = {listing.name: listing for listing in listed.values()}
        self._public = public
        self._hub = hub
        self._books: dict[str, _Book] = {}  # by channel
        self._paced: dict[str, _Paced] = {}
        self._version = clock.wire_ns() // NS_PER_MS
        self._trades: dict[str, list[Row]] = {listing.contract_id: [] for listing in listed.values()}

    # -- what the exchange tells ------------------------------------------------------------------------------------

    def book_changed(self, name: str) -> None:
        listing = self._by_name[name]
        for level in DEPTHS:
            channel = f"depth.{listing.contract_id}.{level}"
            book = self._books.get(channel)
            if book is None:
                continue
            if not self._hub.wanted(channel):
                del self._books[channel]
                continue
            self._tell(channel, book)

    def traded(self, trade: Trade) -> None:
        listing = self._by_name[trade.name]
        row = self._public.trade_row(trade, listing)
        kept = self._trades[listing.contract_id]
        kept.append(row)
        del kept[:-TRADES_KEPT]
        self._publish(f"trades.{listing.contract_id}", [row])

    def tick(self) -> None:
        """Samples that are due, and books that were quiet. About ten times a second."""
        now = self._clock.mono_ns()
        for channel in [name for name in self._paced if not self._hub.wanted(name)]:
            del self._paced[channel]
        for channel, paced in self._paced.items():
            if now >= paced.due_ns:
                paced.due_ns += ((now - paced.due_ns) // paced.pace_ns + 1) * paced.pace_ns
                self._publish(channel, paced.rows())
        for channel, book in self._books.items():
            if now - book.told_ns >= QUIET_NS and self._hub.wanted(channel):
                book.told_ns = now
                self._publish(channel, [self._row(book, book.version, ([], []), "CHANGED")])

    # -- subscriptions ----------------------------------------------------------------------------------------------

    def welcome(self, channel: str) -> Callable[[], bytes]:
        """What builds the first frame of a new listener of `channel`. Raises Refused."""
        rows = self._channel(channel)
        return lambda: quote_event(channel, "Snapshot", rows())

    def _channel(self, channel: str) -> Callable[[], list[Row]]:
        kind, _, rest = channel.partition(".")
        if kind == "metadata" and not rest:
            return lambda: [self._public.all_metadata()]
        if kind == "depth":
            return self._depth_channel(channel, rest)
        if kind in ("ticker", "bookTicker", "fundingRate"):
            return self._row_channel(channel, kind, rest)
        if kind == "trades":
            listing = self._listing(rest)
            return lambda: self._trades[listing.contract_id][::-1]
        raise Refused("GATEWAY_INVALID_CHANNEL", f"invalid channel : {channel}")

    def _depth_channel(self, channel: str, rest: str) -> Callable[[], list[Row]]:
        contract_id, _, level = rest.partition(".")
        listing = self._listing(contract_id)
        if level not in [str(each) for each in DEPTHS]:
            raise Refused("GATEWAY_INVALID_BOOK_DEPTH", f"invalid depth : {level}")

        def snapshot() -> list[Row]:
            book = self._books.get(channel)
            if book is None:
                sides = self._sides(listing, int(level))
                self._version += 1
                book = _Book(listing, int(level), self._version, sides, self._clock.mono_ns())
                self._books[channel] = book
            else:
                self._tell(channel, book)
            bids, asks = book.sides
            return [self._row(book, max(0, book.version - 90), (list(bids.items()), list(asks.items())), "SNAPSHOT")]

        return snapshot

    def _row_channel(self, channel: str, kind: str, rest: str) -> Callable[[], list[Row]]:
        build = {
            "ticker": self._public.ticker_row,
            "bookTicker": self._public.book_ticker_row,
            "fundingRate": self._public.rate_row,
        }[kind]
        every = rest in ("all", "all.1s") and (kind != "fundingRate" or rest == "all")
        listings = list(self._listed.values()) if every else [self._listing(rest)]

        def rows() -> list[Row]:
            return [build(listing) for listing in listings]

        if every or kind != "bookTicker":
            pace_ns = RATE_NS if kind == "fundingRate" else SAMPLE_NS if every else TICKER_NS
            if channel not in self._paced:
                self._paced[channel] = _Paced(pace_ns, self._clock.mono_ns() + pace_ns, rows)
        return rows

    def _listing(self, contract_id: str) -> Listing:
        listing = self._listed.get(contract_id)
        if listing is None:
            raise Refused("GATEWAY_INVALID_CONTRACT_ID", f"invalid contractId : {contract_id}")
        return listing

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _tell(self, channel: str, book: _Book) -> None:
        """The difference to what was told last, if there is one."""
        now = self._sides(book.listing, book.level)
        changes = [_difference(before, after) for before, after in zip(book.sides, now, strict=True)]
        if not any(changes):
            return
        start, book.version = book.version, book.version + sum(map(len, changes))
        self._version = max(self._version, book.version)
        book.sides, book.told_ns = now, self._clock.mono_ns()
        self._publish(channel, [self._row(book, start, (changes[0], changes[1]), "CHANGED")])

    def _sides(self, listing: Listing, level: int) -> Sides:
        bids, asks = self._exchange.levels(listing.name, level)
        return dict(pairs(bids)), dict(pairs(asks))

    def _row(
        self, book: _Book, start: int, levels: tuple[list[tuple[str, str]], list[tuple[str, str]]], kind: str
    ) -> Row:
        return depth_row(book.listing, book.level, start, book.version, *levels, kind)

    def _publish(self, channel: str, rows: list[Row]) -> None:
        if self._hub.wanted(channel):
            self._hub.publish(channel, quote_event(channel, "changed", rows))


def quote_event(channel: str, kind: str, rows: list[Row]) -> bytes:
    content = {"channel": channel, "dataType": kind, "data": rows}
    return orjson.dumps({"type": "quote-event", "channel": channel, "content": content})


def _difference(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str]]:
    """Absolute sizes of what changed; a level that left is told with size 0."""
    gone = [(px, "0") for px in before if px not in after]
    return gone + [(px, qty) for px, qty in after.items() if before.get(px) != qty]
