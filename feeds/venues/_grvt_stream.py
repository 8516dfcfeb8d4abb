"""One connection to GRVT: the held state of each market, and what is still unanswered (docs/venues/grvt.md 3).

`v1.mini.d` brings a snapshot and then only the fields that changed, so a quote is what was merged since the snapshot. The
chain: a snapshot has number 0, the first difference the number that the acknowledgement named, and each further one names
the number it follows. Where that is not the one held, a difference was lost, and the state is dropped, not patched: the
market is subscribed again, which brings a new snapshot, and until then its differences are passed over. The same number
twice is a duplicate and says nothing. A message that cannot be read is a lost one, and a snapshot may be lost too: while a
market has no state, its books, which come every second, are counted, and the market is subscribed again at the latest after
SNAPSHOT_BOOKS of them.

The numbers belong to the connection, and a rotating stream has two of them. So quotes get numbers of our own, which all
connections of a feed share (`Order`): what a connection says after its own last word is newer, whatever its time; between
two connections `event_time` decides. Refused: `event_time` itself as the order number, which would hold a quote up for as
long as the venue's clock was set back. Books come whole on a stream of their own; they are no quotes beside it, since two
streams of one moment arrive in any order, and therefore carry the smallest number.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf, nan

from msgspec import UNSET

from core.clock import NS_PER_S
from core.errors import UNDECODABLE, Malformed
from core.types import FundingKind, FundingRate
from feeds.venues import _grvt_wire as wire
from feeds.venues._grvt_wire import Market
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

MINI, TICKER, BOOK = "v1.mini.d", "v1.ticker.s", "v1.book.s"
RATES = {MINI: "50", TICKER: "1000", BOOK: "1000-10"}  # ms; of the book also the levels a side
LAG_NS = 10_000_000_000  # no connection of a rotation is that far behind the other
OLDEST = 1  # an order number that no quote has: all of theirs are above
PERCENT = 100
RATE_DECIMALS = 12  # a rate is told in steps of 1e-4 percent; what division leaves beyond is not the venue's
CAP_SLACK = 2.0  # the cap moves with the market, and the catalogue is minutes old
HOUR_S = 3600
SNAPSHOT_BOOKS = 3
ASKED_AGAIN = 50  # unanswered selectors renewed at once
ASK_AGAIN_ID = 900

_TOPICS = {name.encode(): name for name in RATES}
_HEAD = b'{"stream":"'
_SELECTOR = b'"selector":"'


class Order:
    """Who last told a market's quote, the venue's time of that, and its number."""

    __slots__ = ("number", "source", "time_ns")

    def __init__(self) -> None:
        self.number = OLDEST
        self.source: Connection | None = None
        self.time_ns = 0

    def next(self, source: Connection, time_ns: int, went_back: bool) -> int:
        """The number of what `source` says now; the last one again where another connection has said it, or newer, already.
        `went_back`: the source's own time did, so the venue's clock was set back; so it was where the source is further
        behind than connections ever are to each other."""
        if source is self.source or went_back or time_ns > self.time_ns or time_ns < self.time_ns - LAG_NS:
            self.source, self.time_ns = source, time_ns
            self.number += 1
        return self.number


class Held:
    """One market's merged state on one connection. `sequence` is the number held; -1 = no snapshot yet."""

    __slots__ = (
        "ask_px",
        "ask_qty",
        "bid_px",
        "bid_qty",
        "books",
        "first",
        "index_px",
        "mark_px",
        "sequence",
        "time_ns",
    )

    def __init__(self, books: int = 0) -> None:
        self.books = books  # that came while there was no snapshot
        self.bid_px = self.bid_qty = self.ask_px = self.ask_qty = 0.0
        self.mark_px = self.index_px = 0.0
        self.sequence = -1
        self.time_ns = 0
        self.first = 0  # number of the first difference, as acknowledged; 0 = not told


def fraction(market: Market, percent: float, what: str) -> float:
    """A rate in percent per interval as a fraction per interval. One beyond the market's own cap is not in the unit that we
    take it for: it raises Malformed."""
    if not -inf < percent < inf:
        raise Malformed(f"grvt {what} of {market.name}: {percent}")
    rate = round(percent / PERCENT, RATE_DECIMALS)
    if market.rate_cap and abs(rate) > market.rate_cap * CAP_SLACK:
        raise Malformed(
            f"grvt {what} of {market.name}: {percent} percent is beyond the cap of {market.rate_cap * PERCENT:g}"
        )
    return rate


class Connection:
    """A feeds.venues.base.Stream. `markets` and `orders` (by venue name) are shared by all of a decoder; `names` are those
    subscribed here."""

    def __init__(self, markets: dict[str, Market], orders: dict[str, Order], names: Iterable[str]) -> None:
        self._markets = markets
        self._orders = orders
        self._held: dict[str, Held] = {}
        chosen = list(names)
        self._unanswered = dict.fromkeys((stream, f"{name}@{RATES[stream]}") for stream in RATES for name in chosen)

    def decode(self, frame: bytes) -> list[FeedEvent]:
        topic = _topic(frame)
        try:
            if topic == MINI:
                return self._mini(frame)
            if topic == BOOK:
                return self._book(wire.books.decode(frame).feed)
            if topic == TICKER:
                return self._ticker(wire.tickers.decode(frame).feed)
            return self._control(frame)
        except UNDECODABLE as error:
            if topic in (MINI, None):
                self._drop(_name(frame))
            raise Malformed(f"grvt {topic or 'frame'}: {error}") from error
        except Malformed:
            if topic == MINI:
                self._drop(_name(frame))
            raise

    def overdue(self) -> list[bytes]:
        frames = []
        waiting = list(islice(self._unanswered, ASKED_AGAIN))
        for stream in RATES:
            selectors = [selector for name, selector in waiting if name == stream]
            if selectors:
                frames.append(wire.ask("subscribe", stream, selectors, ASK_AGAIN_ID))
        return frames

    def _mini(self, data: bytes) -> list[FeedEvent]:
        try:
            frame = wire.minis.decode(data)
        except UNDECODABLE:
            frame = wire.rich(wire.poor_minis.decode(data))
        feed = frame.feed
        market = self._market(feed.instrument)
        held = self._held.get(market.name)
        if held is None:
            held = self._held[market.name] = Held()
        sequence = frame.sequence_number
        if not sequence:
            first = held.first
            held = self._held[market.name] = Held()
            held.first, held.sequence = first, 0
        elif held.sequence < 0 or sequence == held.sequence:
            return []
        elif not _follows(held, sequence, frame.prev_sequence_number):
            detail = f"{sequence} continues {frame.prev_sequence_number}, not {held.sequence or held.first - 1}"
            self._held[market.name] = Held()
            return [GapEvent(market.symbol, detail)]
        else:
            held.sequence = sequence
        return self._merge(market, held, feed, whole=not sequence)

    def _merge(self, market: Market, held: Held, feed: wire.Mini, whole: bool) -> list[FeedEvent]:
        quoted = marked = whole
        if feed.best_bid_price is not UNSET:
            held.bid_px, quoted = feed.best_bid_price, True
        if feed.best_bid_size is not UNSET:
            held.bid_qty, quoted = feed.best_bid_size, True
        if feed.best_ask_price is not UNSET:
            held.ask_px, quoted = feed.best_ask_price, True
        if feed.best_ask_size is not UNSET:
            held.ask_qty, quoted = feed.best_ask_size, True
        if feed.mark_price is not UNSET:
            held.mark_px, marked = feed.mark_price, True
        if feed.index_price is not UNSET:
            held.index_px, marked = feed.index_price, True
        events: list[FeedEvent] = []
        multiplier, time_ns = market.multiplier, feed.event_time
        told_ns = 0 if whole else time_ns  # a snapshot's is that of the last change, however long ago
        if quoted:
            bid_px, bid_qty, ask_px, ask_qty = held.bid_px, held.bid_qty, held.ask_px, held.ask_qty
            if not (0.0 <= bid_px < inf and 0.0 <= bid_qty < inf and 0.0 <= ask_px < inf and 0.0 <= ask_qty < inf):
                raise Malformed(f"grvt quote of {market.name}: {bid_px} x {bid_qty} / {ask_px} x {ask_qty}")
            order = self._orders.setdefault(market.name, Order())
            number = order.next(self, time_ns, time_ns < held.time_ns)
            held.time_ns = time_ns
            events.append(
                QuoteEvent(
                    market.symbol,
                    bid_px / multiplier,
                    bid_qty * multiplier,
                    ask_px / multiplier,
                    ask_qty * multiplier,
                    told_ns,
                    number,
                )
            )
        if marked and 0.0 < held.mark_px < inf and 0.0 < held.index_px < inf:
            mark_px, index_px = held.mark_px / multiplier, held.index_px / multiplier
            events.append(MarkEvent(market.symbol, mark_px, index_px, nan, nan, told_ns))
        return events

    def _book(self, feed: wire.Book) -> list[FeedEvent]:
        market = self._market(feed.instrument)
        held = self._held.setdefault(market.name, Held())
        if held.sequence < 0:
            held.books += 1
            if held.books >= SNAPSHOT_BOOKS:
                held.books = 0
                return [GapEvent(market.symbol, "no snapshot came, or what followed it could not be read")]
        multiplier = market.multiplier
        for level in (*feed.bids, *feed.asks):
            if not (0.0 < level.price < inf and 0.0 < level.size < inf):
                raise Malformed(f"grvt book of {market.name}: level {level.price} x {level.size}")
        bids = tuple([(level.price / multiplier, level.size * multiplier) for level in feed.bids])
        asks = tuple([(level.price / multiplier, level.size * multiplier) for level in feed.asks])
        return [DepthEvent(market.symbol, bids, asks, feed.event_time, OLDEST)]

    def _ticker(self, feed: wire.Ticker) -> list[FeedEvent]:
        market = self._market(feed.instrument)
        mark_px = wire.number(feed.mark_price, "mark_price")
        index_px = wire.number(feed.index_price, "index_price")
        open_interest = wire.number(feed.open_interest, "open_interest")
        volume_usd = wire.number(feed.buy_volume_24h_q, "volume") + wire.number(feed.sell_volume_24h_q, "volume")
        if mark_px <= 0 or index_px <= 0 or open_interest < 0 or volume_usd < 0:
            raise Malformed(f"grvt ticker of {market.name}: {mark_px}, {index_px}, {open_interest}, {volume_usd}")
        multiplier = market.multiplier
        events: list[FeedEvent] = [
            MarkEvent(
                market.symbol,
                mark_px / multiplier,
                index_px / multiplier,
                open_interest * multiplier,
                volume_usd,
                0,  # its event is the market's last one, however long ago: it says nothing about delay
            )
        ]
        if feed.funding_rate and feed.funding_interval_hours and feed.next_funding_time:
            rate = fraction(market, wire.number(feed.funding_rate, "funding_rate"), "funding_rate")
            interval_s = feed.funding_interval_hours * HOUR_S
            estimate = FundingRate(rate, interval_s, feed.next_funding_time, FundingKind.ESTIMATE, "ws.ticker")
            events.append(FundingEvent(market.symbol, estimate))
        return events

    def _control(self, frame: bytes) -> list[FeedEvent]:
        control = wire.controls.decode(frame)
        if control.error is not None:
            return [ControlEvent(ControlKind.ERROR, f"{control.error.code}: {control.error.message[:200]}")]
        if control.result is not None:
            self._acknowledged(control.result)
            return [ControlEvent(ControlKind.ACK, f"{control.method} {control.result.stream}")]
        if control.stream:
            if control.stream in RATES:
                raise Malformed(f"grvt {control.stream}: not in the form that we know")
            return [ControlEvent(ControlKind.OTHER, control.stream)]
        if control.jsonrpc:
            return [ControlEvent(ControlKind.OTHER, control.method)]
        raise Malformed("grvt: neither a stream, an answer nor an error")

    def _acknowledged(self, said: wire.Subscribed) -> None:
        for position, selector in enumerate(said.subs):
            self._unanswered.pop((said.stream, selector), None)
            name = selector.partition("@")[0]
            if said.stream == MINI and name in self._markets:
                held = self._held.setdefault(name, Held())
                held.first = said.first_sequence_number[position] if position < len(said.first_sequence_number) else 0

    def _drop(self, name: str) -> None:
        """A message about this market was lost: its next book asks for a new snapshot."""
        if name in self._markets:
            self._held[name] = Held(SNAPSHOT_BOOKS - 1)

    def _market(self, name: str) -> Market:
        try:
            return self._markets[name]
        except KeyError:
            raise Malformed(f"grvt: {name[:40]!r} is not in the catalogue") from None


def _follows(held: Held, sequence: int, previous: int) -> bool:
    """Whether a difference continues what is held. After a snapshot it is the first one that was acknowledged, or, where
    the acknowledgement named none, any."""
    if held.sequence:
        return previous == held.sequence
    return not held.first or sequence == held.first


def _topic(frame: bytes) -> str | None:
    """The stream that a frame names first, where it is one of ours."""
    start = len(_HEAD)
    return _TOPICS.get(frame[start : frame.find(b'"', start)]) if frame.startswith(_HEAD) else None


def _name(frame: bytes) -> str:
    """The market that a frame's selector names, as far as the frame can be read; "" = none."""
    start = frame.find(_SELECTOR) + len(_SELECTOR)
    end = frame.find(b"@", start)
    return frame[start:end].decode(errors="replace") if start >= len(_SELECTOR) and 0 < end < start + 64 else ""


def due_ns(rate: wire.Rate) -> int:
    """When the settlement after this one falls due (UTC ns)."""
    return rate.funding_time + rate.funding_interval_hours * HOUR_S * NS_PER_S
