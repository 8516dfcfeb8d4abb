"""One connection to Lighter: books on their chains, what is still unanswered, and how far its server is behind.

A ticker frame replaces the whole best bid and offer. The book comes as one snapshot and differences, and each difference
names the number it continues: `begin_nonce` must equal the `nonce` of the frame before. Where it does not, a difference
was lost, and the book is dropped, not patched: unsubscribe, wait for `unsubscribed`, subscribe; a second subscribe alone
is refused and brings no snapshot. A book that crosses itself is dropped in the same way. Differences without a book are
passed over. Refused: `offset`, which has gaps of its own; patching the hole by REST, whose book carries no number to join
on; and forgiving a difference that comes twice, since a number that goes back may as well be another chain.

Only a difference tells how far the API server is behind the matching engine (its `last_updated_at` against `timestamp`;
that of a quiet ticker is merely old). It is taken off the server's time on every other frame: else a server that lags
would stamp old prices as fresh ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf, nan

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import UNDECODABLE, Malformed
from core.types import FundingKind, FundingRate
from feeds.levels import Level, LevelBook
from feeds.venues import _lighter_wire as wire
from feeds.venues._lighter_wire import Market, ask
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FeedEvent,
    FundingEvent,
    GapEvent,
    MarkEvent,
    QuoteEvent,
)

DEPTH_LEVELS = 20
ASKED_AGAIN = 20  # unanswered subscriptions renewed at once
NS_PER_US = 1000
MAX_BEHIND_NS = 60 * NS_PER_S  # as late as any
INTERVAL_S = 3600  # every market, on the hour
HOUR_MS = INTERVAL_S * 1000
PERCENT = 100
RATE_DECIMALS = 12  # a rate is told in steps of 1e-6; what division leaves beyond is not the venue's
STATS = "market_stats"
ALL_STATS = "market_stats/all"

_TOPICS = {b'{"channel":"ticker': "ticker", b'{"channel":"order_': "order_book", b'{"channel":"market': STATS}
_PREFIX = len(b'{"channel":"ticker')
_CONTROL = {"pong": ControlKind.PONG, "shutdown": ControlKind.CLOSING}


class Known:
    """What all connections of a feed share: the markets of the catalogue, and what the stream has told of funding."""

    def __init__(self) -> None:
        self.markets: dict[int, Market] = {}  # by market id
        self.by_channel: dict[str, Market] = {}  # by "ticker:1" and "order_book:1"
        self.estimated: set[str] = set()  # canonical symbols whose running estimate was told
        self.settled_ms: dict[str, int] = {}  # by canonical symbol, the hour of the last payment that was told

    def replace(self, markets: Iterable[Market]) -> None:
        """A new catalogue; what was told of funding stays told."""
        self.markets = {market.number: market for market in markets}
        self.by_channel = {
            f"{topic}:{number}": market for number, market in self.markets.items() for topic in ("ticker", "order_book")
        }


class _Chain:
    """The book of one market on one connection, complete up to `nonce`."""

    __slots__ = ("book", "nonce")

    def __init__(self, nonce: int, book: LevelBook) -> None:
        self.nonce = nonce
        self.book = book


def settled(symbol: str, percent: float, settled_ms: int, source: str) -> FundingEvent:
    """A payment made at `settled_ms`, `percent` of the notional, positive when longs paid."""
    next_ns = (settled_ms + HOUR_MS) * NS_PER_MS
    rate = round(percent / PERCENT, RATE_DECIMALS)
    return FundingEvent(symbol, FundingRate(rate, INTERVAL_S, next_ns, FundingKind.SETTLED, source))


class Connection:
    """A feeds.venues.base.Stream. `names` are the channels subscribed on it, as they are asked for."""

    def __init__(self, known: Known, names: Iterable[str]) -> None:
        self._known = known
        self._chains: dict[str, _Chain] = {}  # by channel
        self._unanswered = dict.fromkeys(names, 0)  # channel as asked for -> how often it was asked for again
        self._behind_ns = 0

    def decode(self, frame: bytes) -> list[FeedEvent]:
        topic = _TOPICS.get(frame[:_PREFIX]) or _topic(frame)
        try:
            if topic == "ticker":
                return self._ticker(frame)
            if topic == "order_book":
                return self._book(wire.books.decode(frame))
            if topic == STATS:
                return self._stats(frame)
        except UNDECODABLE as error:
            return self._control(frame, error)
        return self._control(frame, None)

    def overdue(self) -> list[bytes]:
        """In turns: a channel that is not ours needs asking for, one whose snapshot was lost needs leaving first."""
        frames = []
        for name in list(islice(self._unanswered, ASKED_AGAIN)):
            asked = self._unanswered.pop(name)
            self._unanswered[name] = asked + 1  # to the end of the queue
            frames.append(ask("subscribe" if asked % 2 else "unsubscribe", name))
        return frames

    def _ticker(self, frame: bytes) -> list[FeedEvent]:
        try:
            message = wire.tickers.decode(frame)
            top = message.ticker
            bid_px, bid_qty, ask_px, ask_qty = top.b.price, top.b.size, top.a.price, top.a.size
            name = top.s
        except UNDECODABLE:
            poor = wire.poor_tickers.decode(frame)
            name = poor.ticker.s
            (bid_px, bid_qty), (ask_px, ask_qty) = _side(poor.ticker.b), _side(poor.ticker.a)
            return self._quote(poor.channel, name, bid_px, bid_qty, ask_px, ask_qty, poor.timestamp, poor.nonce)
        return self._quote(message.channel, name, bid_px, bid_qty, ask_px, ask_qty, message.timestamp, message.nonce)

    def _quote(
        self, channel: str, name: str, bid_px: float, bid_qty: float, ask_px: float, ask_qty: float, time_ms: int,
        nonce: int,
    ) -> list[FeedEvent]:  # fmt: skip
        market = self._market(channel)
        if market.name != name:
            raise Malformed(f"lighter {channel} speaks of {name!r}, the catalogue says {market.name!r}")
        if not (
            0.0 <= bid_px < inf and 0.0 <= ask_px < inf and 0.0 <= bid_qty < inf and 0.0 <= ask_qty < inf and nonce >= 0
        ):
            raise Malformed(f"lighter {channel}: {bid_px} x {bid_qty} / {ask_px} x {ask_qty}, nonce {nonce}")
        if self._unanswered:
            self._unanswered.pop(f"ticker/{market.number}", None)
        unit = market.multiplier
        sent_ns = self._sent_ns(time_ms)
        return [QuoteEvent(market.symbol, bid_px / unit, bid_qty * unit, ask_px / unit, ask_qty * unit, sent_ns, nonce)]

    def _book(self, message: wire.WireBook) -> list[FeedEvent]:
        channel, body = message.channel, message.order_book
        market = self._market(channel)
        bids, asks = _levels(body.bids or (), market), _levels(body.asks or (), market)
        if message.type == "subscribed/order_book":
            chain = self._chains[channel] = _Chain(body.nonce, LevelBook(bids, asks))
            self._unanswered.pop(f"order_book/{market.number}", None)
        elif message.type == "update/order_book":
            held = self._chains.get(channel)
            if held is None:
                return []  # before the snapshot
            chain = held
            if body.begin_nonce != chain.nonce:
                return self._gap(market, f"begin_nonce {body.begin_nonce} after nonce {chain.nonce}")
            chain.book.bids.apply(bids)
            chain.book.asks.apply(asks)
            if chain.book.is_crossed:
                return self._gap(market, f"crossed by nonce {body.nonce}")
            chain.nonce = body.nonce
            if body.last_updated_at > 0:  # a snapshot's is no delay: its market may have been quiet
                behind_ns = message.timestamp * NS_PER_MS - body.last_updated_at * NS_PER_US
                self._behind_ns = min(max(0, behind_ns), MAX_BEHIND_NS)
        else:
            return [ControlEvent(ControlKind.OTHER, message.type[:200])]
        book = chain.book
        bid_levels, ask_levels = book.bids.top(DEPTH_LEVELS), book.asks.top(DEPTH_LEVELS)
        return [DepthEvent(market.symbol, bid_levels, ask_levels, self._sent_ns(message.timestamp), chain.nonce)]

    def _sent_ns(self, time_ms: int) -> int:
        """When the matching engine said what the server says at `time_ms`; 0 = it does not say when."""
        return max(0, time_ms * NS_PER_MS - self._behind_ns) if time_ms else 0

    def _gap(self, market: Market, detail: str) -> list[FeedEvent]:
        del self._chains[f"order_book:{market.number}"]
        self._unanswered[f"order_book/{market.number}"] = 0
        return [GapEvent(market.symbol, detail)]

    def _stats(self, frame: bytes) -> list[FeedEvent]:
        """One bad market does not spoil the others of its frame."""
        if frame.startswith(b'{"channel":"market_stats:all"') or _channel(frame) == "market_stats:all":
            whole = wire.all_stats.decode(frame)
            time_ms = whole.timestamp
            raws = [raw for number, raw in whole.market_stats.items() if self._follows(number)]
        else:
            one = wire.one_stat.decode(frame)
            time_ms, raws = one.timestamp, [one.market_stats]
        self._unanswered.pop(ALL_STATS, None)
        sent_ns = self._sent_ns(time_ms)
        events: list[FeedEvent] = []
        fault: Malformed | None = None
        for raw in raws:
            try:
                events += self._stat(raw, time_ms, sent_ns)
            except Malformed as error:
                fault = error
        if fault is not None and not events:
            raise fault
        return events

    def _follows(self, number: str) -> bool:
        return number.isdecimal() and int(number) in self._known.markets

    def _stat(self, raw: msgspec.Raw, time_ms: int, sent_ns: int) -> list[FeedEvent]:
        try:
            stat = wire.stats.decode(raw)
        except UNDECODABLE as error:
            raise Malformed(f"lighter market_stats: {error}") from error
        market = self._known.markets.get(stat.market_id)
        if market is None:
            return []
        mark_px, index_px = stat.mark_price / market.multiplier, stat.index_price / market.multiplier
        if not (0.0 < mark_px < inf and 0.0 < index_px < inf) or stat.symbol not in ("", market.name):
            raise Malformed(f"lighter market_stats of {market.name}: {bytes(raw)[:200].decode(errors='replace')}")
        held = stat.open_interest / mark_px if 0.0 <= stat.open_interest < inf else nan
        volume = stat.daily_quote_token_volume if 0.0 <= stat.daily_quote_token_volume < inf else nan
        events: list[FeedEvent] = [MarkEvent(market.symbol, mark_px, index_px, held, volume, sent_ns)]
        if -inf < stat.current_funding_rate < inf:
            self._known.estimated.add(market.symbol)
            rate = round(stat.current_funding_rate / PERCENT, RATE_DECIMALS)
            estimate = FundingRate(rate, INTERVAL_S, 0, FundingKind.ESTIMATE, "ws.market_stats")
            events.append(FundingEvent(market.symbol, estimate))
        if -inf < stat.funding_rate < inf and 0 < stat.funding_timestamp <= time_ms:  # made, not to come
            settled_ms = stat.funding_timestamp // HOUR_MS * HOUR_MS
            self._known.settled_ms[market.symbol] = settled_ms
            events.append(settled(market.symbol, stat.funding_rate, settled_ms, "ws.market_stats"))
        return events

    def _market(self, channel: str) -> Market:
        try:
            return self._known.by_channel[channel]
        except KeyError:
            raise Malformed(f"lighter: {channel!r} is not of the catalogue") from None

    def _control(self, frame: bytes, error: Exception | None) -> list[FeedEvent]:
        """What is not market data. A channel of ours whose body does not decode is malformed, not control."""
        try:
            envelope = wire.envelopes.decode(frame)
        except UNDECODABLE as reason:
            raise Malformed(f"lighter: {reason}") from reason
        shown = frame[:200].decode(errors="replace")
        kind = envelope.type
        if envelope.error:
            return [ControlEvent(ControlKind.ERROR, shown)]
        if kind == "ping":
            return [ControlEvent(ControlKind.OTHER, kind, (wire.PONG,))]
        if kind == "unsubscribed":
            return self._left(envelope.channel)
        if not kind or kind.endswith(("/ticker", "/order_book", f"/{STATS}")):
            raise Malformed(f"lighter: {error or 'neither a channel, an answer nor an error'}: {shown}") from error
        return [ControlEvent(_CONTROL.get(kind, ControlKind.OTHER), shown)]

    def _left(self, channel: str) -> list[FeedEvent]:
        """We leave a channel only to enter it again."""
        self._chains.pop(channel, None)
        if channel not in self._known.by_channel and channel != "market_stats:all":
            return [ControlEvent(ControlKind.ACK, f"unsubscribed {channel[:100]}")]
        again = ask("subscribe", channel.replace(":", "/"))
        return [ControlEvent(ControlKind.ACK, f"unsubscribed {channel}", (again,))]


def _channel(frame: bytes) -> str:
    return wire.envelopes.decode(frame).channel


def _topic(frame: bytes) -> str:
    """Of a frame whose keys stand in another order than usual; "" where it has none."""
    try:
        return wire.envelopes.decode(frame).type.partition("/")[2]
    except UNDECODABLE as error:
        raise Malformed(f"lighter: {error}") from error


def _side(side: wire.OneSided) -> Level:
    if not side.price:
        return 0.0, 0.0
    try:
        return float(side.price), float(side.size)
    except ValueError as error:
        raise Malformed(f"lighter ticker: {side.price[:40]!r} x {side.size[:40]!r}") from error


def _levels(levels: Iterable[wire.WireLevel], market: Market) -> list[Level]:
    """Canonical, all of them checked before any is applied."""
    unit = market.multiplier
    for level in levels:
        if not (0.0 < level.price < inf and 0.0 <= level.size < inf):
            raise Malformed(f"lighter order_book of {market.name}: level {level.price} x {level.size}")
    return [(level.price / unit, level.size * unit) for level in levels]
