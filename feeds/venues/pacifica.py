"""Pacifica's public stream: `bbo` for quotes, `prices` for mark and funding, `book` for depth.

Every fact is from docs/venues/pacifica.md 2 to 4. Each frame replaces what it speaks of. The order of frames is told by
`li`, the venue's last order id: exchange-wide, it only grows, and what is lower than the last one is old. Equal is not: a
cancel changes a book without a new order. So a quote's number here is `li`, then its time, then its place among the frames
of this connection that share both; a book's is `li` alone, and takes the place of a quote only where `li` has moved on.

A subscription that the venue does not like gets no answer at all; what is not acknowledged is asked for again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf, nan
from typing import Annotated

import msgspec
from msgspec import Meta

from core.clock import NS_PER_MS
from core.errors import UNDECODABLE, Malformed
from core.specs import pacifica as specs
from core.types import FundingKind, FundingRate, Instrument
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FeedEvent,
    FundingEvent,
    MarketEvent,
    MarkEvent,
    Millis,
    QuoteEvent,
    RestRequest,
    SocketPlan,
    Stream,
)

SYMBOLS_PER_SOCKET = 20  # subscriptions of one channel on one connection
ASKED_AGAIN = 20  # unanswered subscriptions renewed at once
FUNDING_INTERVAL_S = 3600  # every symbol, on the hour
HOUR_MS = FUNDING_INTERVAL_S * 1000
MAX_RATE = 0.04  # the venue's own cap, a fraction per hour: what is beyond it is no rate
HISTORY_ROWS = 2
HISTORIES_PER_ROUND = 20  # a credit each, of a hundred a minute that all processes of this address share
MAX_LI = 1 << 62
TIME_BITS, TIE_BITS = 42, 8
TIES = (1 << TIE_BITS) - 1

OrderNumber = Annotated[int, Meta(ge=0, le=MAX_LI)]


class _BboData(msgspec.Struct, gc=False):
    s: str
    t: Millis
    li: OrderNumber = 0
    b: float | None = None
    B: float | None = None
    a: float | None = None
    A: float | None = None


class _Level(msgspec.Struct, gc=False):
    p: float
    a: float


class _BookData(msgspec.Struct, gc=False):
    s: str
    t: Millis
    l: tuple[list[_Level], list[_Level]]  # noqa: E741 - the venue's name
    li: OrderNumber = 0


class _Price(msgspec.Struct, gc=False):
    """`timestamp` is when the row was computed, not when it was sent, so it says nothing of the stream's delay."""

    symbol: str
    mark: float | None = None
    oracle: float | None = None
    next_funding: float | None = None
    open_interest: float | None = None
    volume_24h: float | None = None


class _Bbo(msgspec.Struct, tag_field="channel", tag="bbo", gc=False):
    data: _BboData


class _Book(msgspec.Struct, tag_field="channel", tag="book", gc=False):
    data: _BookData


class _Prices(msgspec.Struct, tag_field="channel", tag="prices", gc=False):
    data: list[_Price]


class _Pong(msgspec.Struct, tag_field="channel", tag="pong", gc=False):
    pass


class _Source(msgspec.Struct):
    source: str
    symbol: str = ""


class _Envelope(msgspec.Struct):
    """Whatever else a socket says: acknowledgements have a channel, errors a code."""

    channel: str = ""
    code: int | None = None
    err: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Past(msgspec.Struct):
    funding_rate: float
    created_at: Millis


class _History(msgspec.Struct):
    success: bool
    data: list[_Past] | None = None
    error: str | None = None


_frames = msgspec.json.Decoder(_Bbo | _Book | _Prices | _Pong, strict=False)
_envelopes = msgspec.json.Decoder(_Envelope)
_sources = msgspec.json.Decoder(_Source)
_history = msgspec.json.Decoder(_History, strict=False)
_MARKET = frozenset({"bbo", "book", "prices"})


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 25.0  # a connection without a client message for 60 s is closed
    max_connection_s = 23.0 * 3600  # closed by the venue after 24 h
    client_burst = 45  # one connection's subscriptions at once [unsure: no limit is told]
    client_frames_per_s = 10.0
    funding_on_whole_intervals = True

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}  # venue symbol -> (canonical symbol, multiplier)
        self._names: dict[str, str] = {}  # canonical symbol -> venue symbol, live ones only

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/info", None)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        rows = [row for row in specs.instruments(answers[0]) if not chosen or row.symbol in chosen]
        self._known = {row.venue_symbol: (row.symbol, float(row.multiplier)) for row in rows}
        self._names = {row.symbol: row.venue_symbol for row in rows if not row.delisted}
        return rows

    def ws_path(self) -> str:
        return ""

    def sockets(self) -> list[SocketPlan]:
        symbols = iter(self._names)
        plans = []
        while part := tuple(islice(symbols, SYMBOLS_PER_SOCKET)):
            plans.append(SocketPlan(part, tuple(_ask("subscribe", key) for key in self._keys(part))))
        return plans

    def resubscribe(self, symbol: str) -> list[bytes]:
        name = self._names.get(symbol)
        if name is None:
            return []
        return [_ask(method, (source, name)) for source in ("bbo", "book") for method in ("unsubscribe", "subscribe")]

    def ping(self) -> bytes:
        return b'{"method":"ping"}'

    def stream(self, plan: SocketPlan) -> Stream:
        return _Connection(self._known, self._keys(plan.symbols))

    def seed_requests(self) -> list[RestRequest]:
        return []  # the first book brings every symbol's quote

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        raise Malformed("pacifica: no seeds are asked for")

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        """The last settled rates; a venue with many symbols tells them over several rounds, each beginning where the
        hour says."""
        names = list(self._names.items())
        first = calendar_ns // NS_PER_MS // HOUR_MS * HISTORIES_PER_ROUND % max(1, len(names))
        turned = names[first:] + names[:first]
        return [
            RestRequest(f"/funding_rate/history?symbol={name}&limit={HISTORY_ROWS}", None, about=symbol)
            for symbol, name in turned[:HISTORIES_PER_ROUND]
        ]

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        """The last settled rate of a `funding_rate/history` answer; rows are written up to an hour after their hour."""
        try:
            history = _history.decode(answer)
        except UNDECODABLE as error:
            raise Malformed(f"pacifica funding_rate/history: {error}") from error
        if not history.success or history.data is None or about not in self._names:
            raise Malformed(f"pacifica funding_rate/history of {about!r}: {(history.error or 'no data')[:200]}")
        if not history.data:
            return []
        last = max(history.data, key=lambda row: row.created_at)
        settled_ms = last.created_at // HOUR_MS * HOUR_MS
        rate = FundingRate(
            _rate(last.funding_rate, about),
            FUNDING_INTERVAL_S,
            (settled_ms + HOUR_MS) * NS_PER_MS,
            FundingKind.SETTLED,
            "rest.funding_rate/history",
        )
        return [FundingEvent(about, rate)]

    def _keys(self, symbols: Iterable[str]) -> list[tuple[str, str]]:
        """(source, venue symbol) of one connection, quotes first, so that they live first."""
        names = [self._names[symbol] for symbol in symbols if symbol in self._names]
        return [*(("bbo", name) for name in names), ("prices", ""), *(("book", name) for name in names)]


class _Connection:
    """One connection: what it has not been promised yet, and how many frames shared one number."""

    def __init__(self, known: dict[str, tuple[str, float]], keys: list[tuple[str, str]]) -> None:
        self._known = known
        self._unanswered = dict.fromkeys(keys)
        self._last: dict[str, tuple[int, float, float, float, float]] = {}
        """By venue symbol, the number of its last quote and what it said; bounded by the catalogue."""

    def decode(self, frame: bytes) -> list[FeedEvent]:
        try:
            message = _frames.decode(frame)
        except UNDECODABLE as error:
            return self._control(frame, error)
        kind = type(message)
        if kind is _Bbo:
            return self._bbo(message.data)
        if kind is _Book:
            return self._book(message.data)
        if kind is _Prices:
            return self._prices(message.data)
        return [ControlEvent(ControlKind.PONG, "pong")]

    def overdue(self) -> list[bytes]:
        return [_ask("subscribe", key) for key in islice(self._unanswered, ASKED_AGAIN)]

    def _bbo(self, data: _BboData) -> list[FeedEvent]:
        symbol, multiplier = self._lookup(data.s)
        bid_px, bid_qty, ask_px, ask_qty = data.b or 0.0, data.B or 0.0, data.a or 0.0, data.A or 0.0
        if not (0.0 <= bid_px < inf and 0.0 <= bid_qty < inf and 0.0 <= ask_px < inf and 0.0 <= ask_qty < inf):
            raise Malformed(f"pacifica bbo of {data.s}: {bid_px} x {bid_qty} and {ask_px} x {ask_qty}")
        number = self._number(data, (bid_px, bid_qty, ask_px, ask_qty))
        return [
            QuoteEvent(
                symbol,
                bid_px / multiplier,
                bid_qty * multiplier if bid_px else 0.0,
                ask_px / multiplier,
                ask_qty * multiplier if ask_px else 0.0,
                data.t * NS_PER_MS,
                number,
            )
        ]

    def _number(self, data: _BboData, told: tuple[float, float, float, float]) -> int:
        """See the module text. A frame that comes twice keeps its number."""
        number = ((data.li << TIME_BITS) | data.t) << TIE_BITS
        last, *before = self._last.get(data.s, (0,))
        if last >> TIE_BITS == number >> TIE_BITS:
            number = last if (*before,) == told else last + (last & TIES < TIES)
        if number > last:
            self._last[data.s] = (number, *told)
        return number

    def _book(self, data: _BookData) -> list[FeedEvent]:
        symbol, multiplier = self._lookup(data.s)
        for side in data.l:
            for level in side:
                if not (0.0 < level.p < inf and 0.0 <= level.a < inf):
                    raise Malformed(f"pacifica book of {data.s}: level {level.p} x {level.a}")
        bids = tuple([(level.p / multiplier, level.a * multiplier) for level in data.l[0]])
        asks = tuple([(level.p / multiplier, level.a * multiplier) for level in data.l[1]])
        return [DepthEvent(symbol, bids, asks, data.t * NS_PER_MS, data.li << (TIME_BITS + TIE_BITS))]

    def _prices(self, rows: list[_Price]) -> list[FeedEvent]:
        """Of the symbols we know; the array holds every market of the venue."""
        events: list[FeedEvent] = []
        for row in rows:
            if row.symbol not in self._known:
                continue
            symbol, multiplier = self._known[row.symbol]
            mark, oracle, rate = row.mark or 0.0, row.oracle or 0.0, row.next_funding
            if not (0.0 < mark < inf and 0.0 < oracle < inf) or rate is None:
                raise Malformed(f"pacifica prices of {row.symbol}: mark {mark}, oracle {oracle}, next_funding {rate}")
            interest, volume = row.open_interest, row.volume_24h
            events.append(
                MarkEvent(
                    symbol,
                    mark / multiplier,
                    oracle / multiplier,
                    interest * multiplier if interest is not None and 0.0 <= interest < inf else nan,
                    volume if volume is not None and 0.0 <= volume < inf else nan,
                    0,
                )
            )
            estimate = FundingRate(
                _rate(rate, row.symbol), FUNDING_INTERVAL_S, 0, FundingKind.ESTIMATE, "ws.prices.next_funding"
            )
            events.append(FundingEvent(symbol, estimate))
        return events

    def _lookup(self, name: str) -> tuple[str, float]:
        try:
            return self._known[name]
        except KeyError:
            raise Malformed(f"pacifica: {name!r} is not in the catalogue") from None

    def _control(self, frame: bytes, error: Exception) -> list[FeedEvent]:
        """What is not market data. A channel of ours whose body does not decode is malformed, not control."""
        try:
            envelope = _envelopes.decode(frame)
        except UNDECODABLE:
            raise Malformed(f"pacifica: {error}") from error
        if envelope.channel in _MARKET:
            raise Malformed(f"pacifica {envelope.channel}: {error}") from error
        if envelope.channel in ("subscribe", "unsubscribe"):
            return [self._acknowledged(envelope)]
        if envelope.code is not None:
            return [ControlEvent(ControlKind.ERROR, f"{envelope.code} {envelope.err[:200]}")]
        if not envelope.channel:
            raise Malformed(f"pacifica: neither a channel nor a code: {error}") from error
        return [ControlEvent(ControlKind.OTHER, envelope.channel)]

    def _acknowledged(self, envelope: _Envelope) -> ControlEvent:
        try:
            source = _sources.decode(envelope.data)
        except UNDECODABLE as error:
            raise Malformed(f"pacifica {envelope.channel}: {error}") from error
        if envelope.channel == "subscribe":
            self._unanswered.pop((source.source, source.symbol), None)
        return ControlEvent(ControlKind.ACK, f"{envelope.channel} {source.source} {source.symbol}".rstrip())


def _ask(method: str, key: tuple[str, str]) -> bytes:
    """One subscription frame. Names are those of the live catalogue, plain text."""
    source, name = key
    if source == "prices":
        params = '{"source":"prices"}'
    elif source == "book":
        params = f'{{"source":"book","symbol":"{name}","agg_level":1}}'
    else:
        params = f'{{"source":"{source}","symbol":"{name}"}}'
    return f'{{"method":"{method}","params":{params}}}'.encode()


def _rate(rate: float, name: str) -> float:
    """A fraction per hour within the venue's cap. Raises Malformed: figures of another kind or unit look like that."""
    if not -MAX_RATE <= rate <= MAX_RATE:
        raise Malformed(f"pacifica funding of {name}: {rate} is beyond the venue's cap of {MAX_RATE} an hour")
    return rate
