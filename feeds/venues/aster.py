"""Aster's public stream: `@bookTicker` for quotes, `@markPrice@1s` for mark and funding, `@depth20@500ms` for depth.

Every fact is from docs/venues/aster.md 2 to 5. All three channels are stateless; book tickers and depths carry the same
update number `u`, by which they are ordered. The funding interval is per symbol and not on the stream: it is read from
`fundingInfo`, checked against the distance of successive settlement times, and where it is unknown or contradicted no
funding is published at all. `E` (event time) is the exchange time of every frame: a quiet symbol's depth carries an old
`T`, which says nothing about delay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf, nan

import msgspec

from core.clock import NS_PER_MS
from core.errors import UNDECODABLE, Malformed
from core.specs import aster as specs
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

CHANNELS = ("bookTicker", "markPrice@1s", "depth20@500ms")  # quotes first, so that they live first
SYMBOLS_PER_SOCKET = 66  # three streams each, at most 200 streams a connection
STREAMS_PER_FRAME = 50
FIRST_RENEWAL_ID = 1000  # request ids above those of any plan
HISTORY_WINDOW_MS = 26 * 3600 * 1000  # three rows of an 8 h symbol, two of which tell the interval
HISTORY_LIMIT = 100
HOUR_MS = 3600 * 1000


class _Ticker(msgspec.Struct, tag_field="e", tag="bookTicker", gc=False):
    u: int
    E: Millis
    s: str
    b: float
    B: float
    a: float
    A: float


class _Depth(msgspec.Struct, tag_field="e", tag="depthUpdate", gc=False):
    E: Millis
    s: str
    u: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class _Mark(msgspec.Struct, tag_field="e", tag="markPriceUpdate", gc=False):
    E: Millis
    s: str
    p: float
    i: float
    r: float
    T: Millis


_Market = _Ticker | _Depth | _Mark


class _Wrapped(msgspec.Struct, gc=False):
    stream: str
    data: _Market


class _Control(msgspec.Struct):
    """Acknowledgement, error, or a stream that is not ours."""

    stream: str | None = None
    e: str | None = None
    id: int | None = None
    code: int | None = None
    msg: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _Interval(msgspec.Struct):
    symbol: str | None
    fundingIntervalHours: int


class _Seed(msgspec.Struct):
    symbol: str
    bidPrice: float
    bidQty: float
    askPrice: float
    askQty: float
    time: Millis = 0


class _HistoryRow(msgspec.Struct):
    symbol: str
    fundingRate: float
    fundingTime: Millis


class _Day(msgspec.Struct):
    symbol: str
    quoteVolume: float


_raw = msgspec.json.Decoder(_Market, strict=False)
_wrapped = msgspec.json.Decoder(_Wrapped, strict=False)
_controls = msgspec.json.Decoder(_Control)
_intervals = msgspec.json.Decoder(list[msgspec.Raw])
_seeds = msgspec.json.Decoder(list[_Seed], strict=False)
_figures = msgspec.json.Decoder(list[_HistoryRow] | _Day, strict=False)
_INVALID = UNDECODABLE


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 0.0
    max_connection_s = 23.0 * 3600  # 24 h by the venue
    client_burst = 5  # 10 messages a second and connection by the venue, pongs included
    client_frames_per_s = 4.0
    funding_on_whole_intervals = False

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}  # venue symbol -> (canonical symbol, multiplier)
        self._names: dict[str, str] = {}  # canonical symbol -> venue symbol, live ones only
        self._interval_s: dict[str, int] = {}  # by venue symbol, as fundingInfo says
        self._settlement_ms: dict[str, int] = {}  # by venue symbol, the next one as last seen
        self._step_ms: dict[str, int] = {}  # by venue symbol, between the last two settlements seen
        self._request_id = FIRST_RENEWAL_ID

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/fapi/v3/exchangeInfo", None), RestRequest("/fapi/v3/fundingInfo", None)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        rows = [row for row in specs.instruments(answers[0]) if not chosen or row.symbol in chosen]
        intervals = _load_intervals(answers[1])
        self._known = {row.venue_symbol: (row.symbol, float(row.multiplier)) for row in rows}
        self._names = {row.symbol: row.venue_symbol for row in rows if not row.delisted}
        self._interval_s = intervals
        return rows

    def ws_path(self) -> str:
        return "/stream"

    def sockets(self) -> list[SocketPlan]:
        names = iter(self._names.items())
        plans = []
        while part := dict(islice(names, SYMBOLS_PER_SOCKET)):
            streams = [f"{name.lower()}@{channel}" for channel in CHANNELS for name in part.values()]
            plans.append(SocketPlan(tuple(part), tuple(_requests("SUBSCRIBE", streams, 1))))
        return plans

    def resubscribe(self, symbol: str) -> list[bytes]:
        name = self._names.get(symbol)
        if name is None:
            return []
        streams = [f"{name.lower()}@{channel}" for channel in CHANNELS]
        self._request_id += 2
        renewal = self._request_id
        return [*_requests("UNSUBSCRIBE", streams, renewal), *_requests("SUBSCRIBE", streams, renewal + 1)]

    def ping(self) -> bytes:
        return b""  # the venue sends ping frames, which the library answers

    def stream(self, plan: SocketPlan) -> Stream:
        return self  # every frame stands alone

    def overdue(self) -> list[bytes]:
        return []

    def decode(self, frame: bytes) -> list[FeedEvent]:
        try:
            if frame.startswith(b'{"stream"'):
                wrapped = _wrapped.decode(frame)
                if "@depth" in wrapped.stream and not wrapped.stream.endswith(CHANNELS[2]):
                    return [ControlEvent(ControlKind.OTHER, wrapped.stream)]  # a diff, not a book
                message = wrapped.data
            else:
                message = _raw.decode(frame)
        except _INVALID as error:
            return _control(frame, error)
        if isinstance(message, _Ticker):
            return self._ticker(message)
        if isinstance(message, _Depth):
            return self._depth(message)
        return self._mark(message)

    def seed_requests(self) -> list[RestRequest]:
        return [RestRequest("/fapi/v3/ticker/bookTicker", None, 2)]

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        try:
            rows = _seeds.decode(answer)
        except _INVALID as error:
            raise Malformed(f"aster ticker/bookTicker: {error}") from error
        return [
            self._quote(row.symbol, row.bidPrice, row.bidQty, row.askPrice, row.askQty, row.time, 0)
            for row in rows
            if row.symbol in self._known
        ]

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        start_ms = calendar_ns // NS_PER_MS - HISTORY_WINDOW_MS
        history = "/fapi/v3/fundingRate?symbol={}&startTime={}&limit={}"
        requests = []
        for name in self._names.values():
            requests.append(RestRequest(history.format(name, start_ms, HISTORY_LIMIT), None))
            requests.append(RestRequest(f"/fapi/v3/ticker/24hr?symbol={name}", None))
        return requests

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        """A `ticker/24hr` (volume; `quoteVolume` is in USDT) or the last settled rate of a `fundingRate` answer, its
        interval being the distance of the last two rows; fewer than two rows do not tell it, and give nothing."""
        try:
            decoded = _figures.decode(answer)
        except _INVALID as error:
            raise Malformed(f"aster figures: {error}") from error
        if isinstance(decoded, _Day):
            symbol, _ = self._lookup(decoded.symbol)
            volume = decoded.quoteVolume if 0.0 <= decoded.quoteVolume < inf else nan
            return [MarkEvent(symbol, nan, nan, nan, volume, 0)]
        if len(decoded) < 2:
            return []
        before, last = decoded[-2:]
        symbol, _ = self._lookup(last.symbol)
        hours = round((last.fundingTime - before.fundingTime) / HOUR_MS)
        if hours < 1 or not -inf < last.fundingRate < inf:
            raise Malformed(f"aster fundingRate of {last.symbol}: rows {before.fundingTime} and {last.fundingTime}")
        settled_ms = last.fundingTime // HOUR_MS * HOUR_MS  # up to 15 s late
        next_ns = (settled_ms + hours * HOUR_MS) * NS_PER_MS
        rate = FundingRate(last.fundingRate, hours * 3600, next_ns, FundingKind.SETTLED, "rest.fundingRate")
        return [FundingEvent(symbol, rate)]

    def _ticker(self, message: _Ticker) -> list[FeedEvent]:
        return [self._quote(message.s, message.b, message.B, message.a, message.A, message.E, message.u)]

    def _quote(
        self, name: str, bid_px: float, bid_qty: float, ask_px: float, ask_qty: float, time_ms: int, update: int
    ) -> QuoteEvent:
        """A side the venue does not have comes as price 0."""
        symbol, multiplier = self._lookup(name)
        if not (
            0.0 <= bid_px < inf
            and 0.0 <= ask_px < inf
            and 0.0 <= bid_qty < inf
            and 0.0 <= ask_qty < inf
            and update >= 0
        ):
            raise Malformed(f"aster quote of {name}: {bid_px} x {bid_qty} / {ask_px} x {ask_qty}")
        return QuoteEvent(
            symbol,
            bid_px / multiplier,
            bid_qty * multiplier,
            ask_px / multiplier,
            ask_qty * multiplier,
            time_ms * NS_PER_MS,
            update,
        )

    def _depth(self, message: _Depth) -> list[FeedEvent]:
        symbol, multiplier = self._lookup(message.s)
        for px, qty in (*message.b, *message.a):
            if not (0.0 < px < inf and 0.0 < qty < inf):
                raise Malformed(f"aster depth of {message.s}: level {px} x {qty}")
        bids = tuple([(px / multiplier, qty * multiplier) for px, qty in message.b])
        asks = tuple([(px / multiplier, qty * multiplier) for px, qty in message.a])
        return [DepthEvent(symbol, bids, asks, message.E * NS_PER_MS, message.u)]

    def _mark(self, message: _Mark) -> list[FeedEvent]:
        symbol, multiplier = self._lookup(message.s)
        if not (0.0 < message.p < inf and 0.0 < message.i < inf and -inf < message.r < inf):
            raise Malformed(
                f"aster markPriceUpdate of {message.s}: mark {message.p}, index {message.i}, rate {message.r}"
            )
        time_ns = message.E * NS_PER_MS
        events: list[FeedEvent] = [MarkEvent(symbol, message.p / multiplier, message.i / multiplier, nan, nan, time_ns)]
        interval_s = self._agreed_interval_s(message.s, message.T)
        if interval_s:
            rate = FundingRate(message.r, interval_s, message.T * NS_PER_MS, FundingKind.ESTIMATE, "ws.markPrice")
            events.append(FundingEvent(symbol, rate))
        return events

    def _agreed_interval_s(self, name: str, settlement_ms: int) -> int:
        """The interval that fundingInfo tells, unless the settlement times seen contradict it; 0 = unknown."""
        seen_ms = self._settlement_ms.get(name, settlement_ms)
        self._settlement_ms[name] = settlement_ms
        if settlement_ms != seen_ms:
            self._step_ms[name] = settlement_ms - seen_ms
        interval_s = self._interval_s.get(name, 0)
        step_ms = self._step_ms.get(name, interval_s * 1000)
        if not interval_s or settlement_ms <= 0 or step_ms <= 0 or step_ms % (interval_s * 1000):
            return 0
        return interval_s

    def _lookup(self, name: str) -> tuple[str, float]:
        try:
            return self._known[name]
        except KeyError:
            raise Malformed(f"aster: {name!r} is not in the catalogue") from None


def _requests(method: str, streams: list[str], first_id: int) -> Iterator[bytes]:
    """Batches of STREAMS_PER_FRAME; the same streams give the same bytes, so that plans can be compared."""
    for number, first in enumerate(range(0, len(streams), STREAMS_PER_FRAME)):
        params = streams[first : first + STREAMS_PER_FRAME]
        yield msgspec.json.encode({"method": method, "params": params, "id": first_id + number})


def _control(frame: bytes, error: Exception) -> list[FeedEvent]:
    """What is not market data. A channel of ours whose body does not decode is malformed, not control."""
    try:
        control = _controls.decode(frame)
    except _INVALID:
        raise Malformed(f"aster: {error}") from error
    if control.code is not None or control.error:
        return [ControlEvent(ControlKind.ERROR, frame[:200].decode(errors="replace"))]
    if control.stream is not None:
        if control.stream.endswith(CHANNELS):
            raise Malformed(f"aster {control.stream}: {error}") from error
        return [ControlEvent(ControlKind.OTHER, control.stream)]
    if control.e is not None:
        if control.e in ("bookTicker", "depthUpdate", "markPriceUpdate"):
            raise Malformed(f"aster {control.e}: {error}") from error
        return [ControlEvent(ControlKind.OTHER, control.e)]
    if control.id is not None:
        return [ControlEvent(ControlKind.ACK, str(control.id))]
    raise Malformed(f"aster: neither a stream, an answer nor an error: {error}") from error


def _load_intervals(answer: bytes) -> dict[str, int]:
    """Seconds by venue symbol. Rows without a symbol or with an interval that does not divide a day are left out."""
    try:
        raws = _intervals.decode(answer)
    except _INVALID as error:
        raise Malformed(f"aster fundingInfo: {error}") from error
    found = {}
    for raw in raws:
        try:
            row = msgspec.json.decode(raw, type=_Interval)
        except _INVALID:
            continue
        if row.symbol and row.fundingIntervalHours > 0 and 24 % row.fundingIntervalHours == 0:
            found[row.symbol] = row.fundingIntervalHours * 3600
    return found
