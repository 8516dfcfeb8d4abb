"""Market streams: the best bid and ask at once, everything else at the pace its name says (docs/venues/aster.md 3).

bookTicker frames are built in the market's step, once, and only when the best price or quantity moved. The paced streams
are looked at about ten times a second and cost nothing without a subscriber.

A diff stream tells every price that was touched between two of its own looks, so its `pu` chain holds for each pace by
itself. A level that came and went in between is told too (as gone): it may stand in a snapshot taken meanwhile. The first
look is taken when the first subscriber comes, so a snapshot asked for after the acknowledgement is never older than that.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import orjson

from core.clock import NS_PER_MS, Clock
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Level, Trade
from ops.sandbox.venues._aster_book import BookIds, Look, difference, look, pairs
from ops.sandbox.venues._aster_hub import Hub
from ops.sandbox.venues._aster_listing import Listing
from ops.sandbox.venues._aster_public import Public, agg_row
from ops.sandbox.venues._aster_shapes import money

Event = dict[str, object]

FULL_DEPTH = 1000
AGG_TRADES_KEPT = 1000  # between two looks
DEFAULT_DEPTH_MS = 250
_SYMBOL_STREAM = re.compile(
    r"^(?P<symbol>[a-z0-9]+)@(?:"
    r"(?P<depth>depth)(?P<levels>5|10|20)?(?:@(?P<pace>100|500)ms)?"
    r"|(?P<mark>markPrice)(?P<fast>@1s)?"
    r"|(?P<plain>aggTrade|ticker|miniTicker))$"
)
_ALL_STREAM = re.compile(r"^!(?:(?P<mark>markPrice)@arr(?P<fast>@1s)?|(?P<plain>ticker|miniTicker)@arr)$")
_PLAIN_MS = {"aggTrade": 100, "ticker": 500, "miniTicker": 500}


class _Paced(msgspec.Struct):
    """A paced stream with a subscriber. `push` builds and publishes; `due_ns` is mono."""

    pace_ns: int
    due_ns: int
    push: Callable[[], None]


class MarketStreams:
    """Builds every public frame of one exchange."""

    def __init__(
        self, exchange: Exchange, clock: Clock, listings: dict[str, Listing], ids: BookIds, public: Public, hub: Hub
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listings = listings
        self._by_lower = {name.lower(): listing for name, listing in listings.items()}
        self._ids = ids
        self._public = public
        self._hub = hub
        self._tops: dict[str, tuple[Level | None, Level | None]] = {}
        self._paced: dict[str, _Paced] = {}
        self._looks: dict[str, Look] = {}  # by diff stream
        self._diffs: dict[str, set[str]] = {}  # contract name -> its diff streams
        self._sent: dict[str, int] = {}  # last update id told by a partial-depth stream
        self._prints: dict[str, list[Trade]] = {}  # by aggTrade stream, since the last look

    # -- what the exchange tells ------------------------------------------------------------------------------------

    def book_changed(self, name: str) -> None:
        """Publish the best bid and ask if they moved. Called on every change of the book."""
        update_id = self._ids.advance(name)
        if self._diffs.get(name):
            self._note(name)
        stream = self._listings[name].book_stream
        if not (self._hub.wanted(stream) or self._hub.wanted("!bookTicker")):
            self._tops.pop(name, None)
            return
        top = self._exchange.top(name)
        if self._tops.get(name) == (top.bid, top.ask) or top.bid is None or top.ask is None:
            return
        self._tops[name] = (top.bid, top.ask)
        frame = (
            f'{{"e":"bookTicker","u":{update_id},"s":"{name}","b":"{plain(top.bid.px)}","B":"{plain(top.bid.qty)}",'
            f'"a":"{plain(top.ask.px)}","A":"{plain(top.ask.qty)}","T":{top.time_ns // NS_PER_MS},'
            f'"E":{self._now_ms()}}}'
        ).encode()
        self._hub.publish(stream, frame)
        self._hub.publish("!bookTicker", frame)

    def traded(self, trade: Trade) -> None:
        waiting = self._prints.get(f"{trade.name.lower()}@aggTrade")
        if waiting is not None and len(waiting) < AGG_TRADES_KEPT:
            waiting.append(trade)

    # -- subscriptions and pace -------------------------------------------------------------------------------------

    def subscribed(self, stream: str) -> None:
        """A stream has a (further) subscriber: start pacing it if it is one of ours and not running yet."""
        if stream in self._paced:
            return
        built = self._symbol_stream(stream) or self._all_stream(stream)
        if built is not None:
            pace_ms, push = built
            now = self._clock.mono_ns()
            self._paced[stream] = _Paced(pace_ms * NS_PER_MS, now + pace_ms * NS_PER_MS, push)

    def tick(self) -> None:
        """Push what is due; forget streams without subscribers. About ten times a second."""
        now = self._clock.mono_ns()
        for stream in [name for name in self._paced if not self._hub.wanted(name)]:
            del self._paced[stream]
            for streams in self._diffs.values():
                streams.discard(stream)
            for memory in (self._looks, self._sent, self._prints):
                memory.pop(stream, None)
        for paced in self._paced.values():
            if now >= paced.due_ns:
                missed = (now - paced.due_ns) // paced.pace_ns
                paced.due_ns += (missed + 1) * paced.pace_ns
                paced.push()

    def _symbol_stream(self, stream: str) -> tuple[int, Callable[[], None]] | None:
        found = _SYMBOL_STREAM.match(stream)
        listing = self._by_lower.get(found["symbol"]) if found else None
        if found is None or listing is None:
            return None
        if found["mark"]:
            return 1000 if found["fast"] else 3000, lambda: self._publish(stream, self._mark(listing))
        if found["depth"]:
            pace = int(found["pace"] or DEFAULT_DEPTH_MS)
            if found["levels"]:
                depth = int(found["levels"])
                return pace, lambda: self._push_partial(stream, listing.name, depth)
            self._looks[stream] = look(self._ids.current(listing.name), self._exchange.levels(listing.name, FULL_DEPTH))
            self._diffs.setdefault(listing.name, set()).add(stream)
            return pace, lambda: self._push_diff(stream, listing.name)
        if found["plain"] == "aggTrade":
            self._prints[stream] = []
            return _PLAIN_MS["aggTrade"], lambda: self._push_trades(stream)
        row = self._ticker if found["plain"] == "ticker" else self._mini_ticker
        return _PLAIN_MS[found["plain"]], lambda: self._publish(stream, row(listing))

    def _all_stream(self, stream: str) -> tuple[int, Callable[[], None]] | None:
        found = _ALL_STREAM.match(stream)
        if found is None:
            return None
        if found["mark"]:
            return 1000 if found["fast"] else 3000, lambda: self._push_all(stream, self._mark)
        row = self._ticker if found["plain"] == "ticker" else self._mini_ticker
        return 1000, lambda: self._push_all(stream, row)

    # -- frames -----------------------------------------------------------------------------------------------------

    def _push_all(self, stream: str, row: Callable[[Listing], Event]) -> None:
        self._hub.publish(stream, orjson.dumps([row(listing) for listing in self._listings.values()]))

    def _push_partial(self, stream: str, name: str, depth: int) -> None:
        update_id, before = self._ids.current(name), self._sent.get(stream, 0)
        if update_id == before:
            return
        self._sent[stream] = update_id
        bids, asks = self._exchange.levels(name, depth)
        ids = {"U": before + 1 if before else update_id, "u": update_id, "pu": before or update_id - 1}
        self._publish(stream, {**self._depth_head(name), **ids, "b": pairs(bids), "a": pairs(asks)})

    def _note(self, name: str) -> None:
        """Every diff stream of this book remembers the prices that stand in it now."""
        bids, asks = self._exchange.levels(name, FULL_DEPTH)
        for stream in self._diffs[name]:
            self._looks[stream].note(bids, asks)

    def _push_diff(self, stream: str, name: str) -> None:
        before = self._looks[stream]
        if before.update_id == self._ids.current(name):
            return
        after = self._looks[stream] = look(self._ids.current(name), self._exchange.levels(name, FULL_DEPTH))
        ids = {"U": before.update_id + 1, "u": after.update_id, "pu": before.update_id}
        changes = {
            "b": difference(before.bids, before.touched_bids, after.bids),
            "a": difference(before.asks, before.touched_asks, after.asks),
        }
        self._publish(stream, {**self._depth_head(name), **ids, **changes})

    def _push_trades(self, stream: str) -> None:
        for trade in self._prints[stream]:
            self._publish(stream, {"e": "aggTrade", "E": self._now_ms(), "s": trade.name, **agg_row(trade)})
        self._prints[stream].clear()

    def _depth_head(self, name: str) -> Event:
        time_ms = self._exchange.top(name).time_ns // NS_PER_MS
        return {"e": "depthUpdate", "E": self._now_ms(), "T": time_ms, "s": name}

    def _mark(self, listing: Listing) -> Event:
        name, estimate = listing.name, self._exchange.funding_estimate(listing.name)
        index = money(self._exchange.oracle(name))
        return {
            "e": "markPriceUpdate",
            "E": self._now_ms(),
            "s": name,
            "p": money(self._exchange.mark(name)),
            "i": index,
            "P": index,
            "r": f"{estimate.rate:.8f}",
            "T": estimate.time_ns // NS_PER_MS,
        }

    def _ticker(self, listing: Listing) -> Event:
        row = self._public.day_row(listing)
        return {"e": "24hrTicker", "E": self._now_ms()} | {short: row[long] for short, long in _TICKER_KEYS.items()}

    def _mini_ticker(self, listing: Listing) -> Event:
        row = self._public.day_row(listing)
        return {"e": "24hrMiniTicker", "E": self._now_ms()} | {short: row[long] for short, long in _MINI_KEYS.items()}

    def _publish(self, stream: str, event: Event) -> None:
        self._hub.publish(stream, orjson.dumps(event))

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


_MINI_KEYS = {
    "s": "symbol",
    "c": "lastPrice",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
}
_TICKER_KEYS = {
    **_MINI_KEYS,
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "Q": "lastQty",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}
