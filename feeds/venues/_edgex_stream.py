"""One connection to EdgeX: books on their chains, the ticker that checks them, and what is still unanswered.

`depth.<id>.15` brings one snapshot and then differences in absolute sizes. A difference continues the book when its
`startVersion` is the last `endVersion` (as V2 was recorded) or one more (as the documents of V1 show); one that ends at or
before it has been seen; anything else lost a frame, and the book is dropped until the next snapshot. There is no checksum.

Depth frames carry no time. `bookTicker.all.1s` does, and states every best price once a second, so it serves twice: it
tells how late this socket is, and it catches a book that stands still while the market moves. A row that contradicts a
book which did not move since the row before proves nothing; the second such row in a row is a gap. Its rows are no quotes:
they carry no version, so a sample that was overtaken on its way could not be told from news. The rows of one frame share
its newest time, since it is not known whether a quiet contract's time is the sample's or that of its last change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from math import inf, nan
from typing import NamedTuple

import msgspec

from core.clock import NS_PER_MS
from core.errors import UNDECODABLE, Malformed
from core.types import FundingKind, FundingRate
from feeds.levels import Level, LevelBook
from feeds.venues import _edgex_wire as wire
from feeds.venues._edgex_wire import ask, pong
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FeedEvent,
    FundingEvent,
    GapEvent,
    MarkEvent,
)

DEPTH_LEVELS = 15
ALL_BOOK_TICKERS = "bookTicker.all.1s"
ALL_TICKERS = "ticker.all.1s"
ASKED_AGAIN = 20  # unanswered subscriptions renewed at once
MAX_ORPHANS = 10  # differences without a book; a snapshot comes before the first

_DEPTH_START = b'{"type":"quote-event","channel":"depth.'
_QUOTE = "quote-event"
_CONTROL = {"subscribed": ControlKind.ACK, "unsubscribed": ControlKind.ACK, "pong": ControlKind.PONG}


class Market(NamedTuple):
    """What decoding needs of one contract. `interval_s` 0 = its funding interval is not told."""

    symbol: str
    name: str
    number: int
    multiplier: float
    interval_s: int


class _Chain:
    """The book of one contract, complete up to `version`; how it stood when the ticker last looked."""

    __slots__ = ("book", "contradicted", "looked_at", "version")

    def __init__(self, version: int, book: LevelBook) -> None:
        self.version = version
        self.book = book
        self.looked_at = -1
        self.contradicted = False


class Connection:
    """A feeds.venues.base.Stream. `markets` is the catalogue by contract id, `channels` what is subscribed on it."""

    def __init__(self, markets: Mapping[int, Market], channels: Iterable[str]) -> None:
        self._markets = markets
        self._chains: dict[int, _Chain] = {}
        self._orphans: dict[int, int] = {}  # differences that found no book, by contract id
        self._unanswered = dict.fromkeys(channels)

    def decode(self, frame: bytes) -> list[FeedEvent]:
        if frame.startswith(_DEPTH_START):
            return self._depth_frame(frame)
        try:
            envelope = wire.envelopes.decode(frame)
        except UNDECODABLE as error:
            raise Malformed(f"edgex: {error}") from error
        if envelope.type != _QUOTE:
            return self._control(envelope, frame)
        if envelope.channel.startswith("depth."):
            return self._depth_frame(frame)
        self._unanswered.pop(envelope.channel, None)
        if envelope.channel == ALL_BOOK_TICKERS:
            return self._book_tickers(frame)
        if envelope.channel == ALL_TICKERS:
            return self._tickers(frame)
        return [ControlEvent(ControlKind.OTHER, envelope.channel[:200])]

    def overdue(self) -> list[bytes]:
        """In turns, oldest first. A channel that is ours without our having its snapshot needs leaving first."""
        asked = list(islice(self._unanswered, ASKED_AGAIN))
        for channel in asked:
            self._unanswered[channel] = self._unanswered.pop(channel)
        return [ask(kind, channel) for channel in asked for kind in ("unsubscribe", "subscribe")]

    # ---- books ------------------------------------------------------------------------------------------------------

    def _depth_frame(self, frame: bytes) -> list[FeedEvent]:
        try:
            message = wire.depths.decode(frame)
        except UNDECODABLE as error:
            raise Malformed(f"edgex depth: {error}") from error
        events: list[FeedEvent] = []
        for row in message.content.data:
            market = self._market(row.contractId)
            if message.channel != depth_channel(market.number):
                raise Malformed(f"edgex {message.channel[:60]!r} speaks of contract {row.contractId}")
            events += self._depth(market, row)
        return events

    def _depth(self, market: Market, row: wire.WireDepth) -> list[FeedEvent]:
        kind = row.depthType.upper()
        bids, asks = _levels(row.bids, market), _levels(row.asks, market)
        if kind == "SNAPSHOT":
            chain = self._chains[market.number] = _Chain(row.endVersion, LevelBook(bids, asks))
            self._orphans.pop(market.number, None)
            self._unanswered.pop(depth_channel(market.number), None)
        elif kind == "CHANGED":
            held = self._chains.get(market.number)
            if held is None:
                return self._orphan(market)
            chain = held
            if row.endVersion > chain.version:
                if not chain.version <= row.startVersion <= chain.version + 1:
                    return self._gap(market, f"startVersion {row.startVersion} after endVersion {chain.version}")
                chain.book.bids.apply(bids)
                chain.book.asks.apply(asks)
                chain.version = row.endVersion
            elif row.startVersion < row.endVersion:
                return []  # seen
        else:
            raise Malformed(f"edgex depth of {market.name}: depthType {row.depthType[:40]!r}")
        book = chain.book
        if book.is_crossed:
            return self._gap(market, f"crossed by version {row.endVersion}")
        bid_levels, ask_levels = book.bids.top(DEPTH_LEVELS), book.asks.top(DEPTH_LEVELS)
        return [DepthEvent(market.symbol, bid_levels, ask_levels, 0, chain.version)]

    def _orphan(self, market: Market) -> list[FeedEvent]:
        """A difference without a book: on its way since before the gap, or its snapshot is what was lost."""
        seen = self._orphans[market.number] = self._orphans.get(market.number, 0) + 1
        return [] if seen < MAX_ORPHANS else self._gap(market, f"{seen} differences and no snapshot")

    def _gap(self, market: Market, detail: str) -> list[FeedEvent]:
        self._chains.pop(market.number, None)
        self._orphans.pop(market.number, None)
        self._unanswered[depth_channel(market.number)] = None
        return [GapEvent(market.symbol, detail)]

    # ---- samples of all contracts -------------------------------------------------------------------------------------

    def _book_tickers(self, frame: bytes) -> list[FeedEvent]:
        """One bad row does not spoil the others of its frame."""
        found: list[tuple[Market, wire.BookTicker]] = []
        fault: Malformed | None = None
        newest_ms = 0
        for raw in _raws(frame):
            try:
                row = wire.book_tickers.decode(raw)
                newest_ms = max(newest_ms, row.time)
                market = self._markets.get(row.contractId)
                if market is not None:
                    _check_name(market, row.contractName)
                    if not (0.0 <= row.bestBidPrice < inf and 0.0 <= row.bestAskPrice < inf):
                        raise Malformed(f"edgex bookTicker of {market.name}: {row.bestBidPrice} / {row.bestAskPrice}")
                    found.append((market, row))
            except UNDECODABLE as error:
                fault = Malformed(f"edgex bookTicker: {error}")
            except Malformed as error:
                fault = error
        if fault is not None and not found:
            raise fault
        events: list[FeedEvent] = []
        for market, row in found:
            events += self._checked(market, row, newest_ms * NS_PER_MS)
        return events

    def _checked(self, market: Market, row: wire.BookTicker, sent_ns: int) -> list[FeedEvent]:
        chain = self._chains.get(market.number)
        if chain is None:
            return []
        bid_px, ask_px = row.bestBidPrice / market.multiplier, row.bestAskPrice / market.multiplier
        stood = chain.looked_at == chain.version
        chain.looked_at = chain.version
        if not stood or (bid_px == chain.book.bids.best_px and ask_px == chain.book.asks.best_px):
            chain.contradicted = False
            return [MarkEvent(market.symbol, nan, nan, nan, nan, sent_ns)]
        if not chain.contradicted:
            chain.contradicted = True
            return []
        return self._gap(market, f"the ticker says {bid_px:g} / {ask_px:g}, and the book does not move")

    def _tickers(self, frame: bytes) -> list[FeedEvent]:
        events: list[FeedEvent] = []
        fault: Malformed | None = None
        for raw in _raws(frame):
            try:
                events += self._ticker(wire.tickers.decode(raw))
            except UNDECODABLE as error:
                fault = Malformed(f"edgex ticker: {error}")
            except Malformed as error:
                fault = error
        if fault is not None and not events:
            raise fault
        return events

    def _ticker(self, row: wire.Ticker) -> Iterator[FeedEvent]:
        market = self._markets.get(row.contractId)
        if market is None:
            return
        _check_name(market, row.contractName)
        mark_px, index_px = row.markPrice / market.multiplier, row.indexPrice / market.multiplier
        if not (0.0 < mark_px < inf and 0.0 < index_px < inf and -inf < row.fundingRate < inf):
            raise Malformed(
                f"edgex ticker of {market.name}: mark {row.markPrice}, index {row.indexPrice}, rate {row.fundingRate}"
            )
        held = row.openInterest * market.multiplier if 0.0 <= row.openInterest < inf else nan
        volume = row.value if 0.0 <= row.value < inf else nan
        yield MarkEvent(market.symbol, mark_px, index_px, held, volume, 0)
        if market.interval_s and row.nextFundingTime - row.fundingTime == market.interval_s * 1000:
            rate = FundingRate(
                row.fundingRate, market.interval_s, row.nextFundingTime * NS_PER_MS, FundingKind.ESTIMATE, "ws.ticker"
            )
            yield FundingEvent(market.symbol, rate)

    # ---- the rest -----------------------------------------------------------------------------------------------------

    def _market(self, number: int) -> Market:
        try:
            return self._markets[number]
        except KeyError:
            raise Malformed(f"edgex: contract {number} is not of the catalogue") from None

    def _control(self, envelope: wire.Envelope, frame: bytes) -> list[FeedEvent]:
        kind = envelope.type
        if kind == "ping":
            return [ControlEvent(ControlKind.OTHER, kind, (pong(envelope.time),))]
        if kind == "error":
            return [ControlEvent(ControlKind.ERROR, frame[:200].decode(errors="replace"))]
        if kind == "subscribed" and not envelope.channel.startswith("depth."):
            self._unanswered.pop(envelope.channel, None)  # a book is answered by its snapshot
        if not kind:
            raise Malformed(f"edgex: a frame without type: {frame[:200].decode(errors='replace')}")
        return [ControlEvent(_CONTROL.get(kind, ControlKind.OTHER), f"{kind} {envelope.channel}"[:200])]


def depth_channel(number: int) -> str:
    return f"depth.{number}.{DEPTH_LEVELS}"


def _raws(frame: bytes) -> list[msgspec.Raw]:
    try:
        return wire.rows.decode(frame).content.data
    except UNDECODABLE as error:
        raise Malformed(f"edgex: {error}") from error


def _check_name(market: Market, name: str) -> None:
    if market.name != name:
        raise Malformed(f"edgex contract {market.number} speaks of {name[:40]!r}, the catalogue says {market.name!r}")


def _levels(levels: Iterable[wire.WireLevel], market: Market) -> list[Level]:
    """Canonical, all of them checked before any is applied."""
    unit = market.multiplier
    for level in levels:
        if not (0.0 < level.price < inf and 0.0 <= level.size < inf):
            raise Malformed(f"edgex depth of {market.name}: level {level.price} x {level.size}")
    return [(level.price / unit, level.size * unit) for level in levels]
