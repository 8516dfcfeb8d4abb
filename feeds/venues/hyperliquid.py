"""Hyperliquid's public stream: `bbo` for quotes, `activeAssetCtx` for mark and funding, `l2Book` fast for depth.

Every fact is from docs/venues/hyperliquid.md 2 to 4. Each frame replaces what it speaks of; there are no sequence
numbers, so frames are ordered by block time. `l2Book` fast comes twice a second whether or not anything changed: it is
the proof of a quiet coin and heals a missed `bbo`. An unknown coin makes the server drop the whole socket without a
word, therefore only names read from the live catalogue are ever subscribed.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, nan

import msgspec

from core.clock import NS_PER_MS
from core.errors import UNDECODABLE, Malformed
from core.specs import hyperliquid as specs
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

GREETING = b"Websocket connection established."
FUNDING_INTERVAL_S = 3600
MAX_SUBSCRIPTIONS = 960  # 1000 per IP, less the executor's user channels
HISTORY_WEIGHT = 21  # 20, and 1 per 20 rows
HISTORY_WINDOW_MS = 4 * 3600 * 1000  # holds at least three hourly rows, two of which tell the interval
HOUR_MS = 3600 * 1000
CHANNELS = ('"bbo"', '"activeAssetCtx"', '"l2Book","fast":true')  # quotes first, so that they live first


class _Level(msgspec.Struct, gc=False):
    px: float
    sz: float


class _BboData(msgspec.Struct, gc=False):
    coin: str
    time: Millis
    bbo: tuple[_Level | None, _Level | None]


class _BookData(msgspec.Struct, gc=False):
    coin: str
    time: Millis
    levels: tuple[list[_Level], list[_Level]]


class _Ctx(msgspec.Struct, gc=False):
    funding: float
    openInterest: float
    markPx: float
    oraclePx: float
    dayNtlVlm: float


class _CtxData(msgspec.Struct, gc=False):
    coin: str
    ctx: _Ctx


class _Bbo(msgspec.Struct, tag_field="channel", tag="bbo", gc=False):
    data: _BboData


class _Book(msgspec.Struct, tag_field="channel", tag="l2Book", gc=False):
    data: _BookData


class _AssetCtx(msgspec.Struct, tag_field="channel", tag="activeAssetCtx", gc=False):
    data: _CtxData


class _Pong(msgspec.Struct, tag_field="channel", tag="pong", gc=False):
    pass


class _Envelope(msgspec.Struct):
    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _HistoryRow(msgspec.Struct):
    coin: str
    fundingRate: float
    time: Millis


_MARKET_CHANNELS = frozenset({"bbo", "l2Book", "activeAssetCtx"})
_CONTROL = {"subscriptionResponse": ControlKind.ACK, "error": ControlKind.ERROR}
_frames = msgspec.json.Decoder(_Bbo | _Book | _AssetCtx | _Pong, strict=False)
_envelopes = msgspec.json.Decoder(_Envelope)
_history = msgspec.json.Decoder(list[_HistoryRow], strict=False)
_INVALID = UNDECODABLE


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 20.0  # the server drops a connection to which it has sent nothing for 60 s
    max_connection_s = 0.0
    client_burst = 200  # of 2000 client messages a minute
    client_frames_per_s = 28.0
    funding_on_whole_intervals = True

    def __init__(self) -> None:
        self._coins: dict[str, tuple[str, float]] = {}  # coin -> (canonical symbol, multiplier)
        self._names: dict[str, str] = {}  # canonical symbol -> coin, live ones only

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/info", b'{"type":"meta"}', 20)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        rows = [row for row in specs.instruments(answers[0]) if not chosen or row.symbol in chosen]
        self._coins = {row.venue_symbol: (row.symbol, float(row.multiplier)) for row in rows}
        self._names = {row.symbol: row.venue_symbol for row in rows if not row.delisted}
        return rows

    def ws_path(self) -> str:
        return ""

    def sockets(self) -> list[SocketPlan]:
        """One connection: 10 per IP are shared by all processes. Beyond the limit the last coins lose depth first."""
        frames = [_subscription("subscribe", channel, coin) for channel in CHANNELS for coin in self._names.values()]
        return [SocketPlan(tuple(self._names), tuple(frames[:MAX_SUBSCRIPTIONS]))] if self._names else []

    def resubscribe(self, symbol: str) -> list[bytes]:
        coin = self._names.get(symbol)
        if coin is None:
            return []
        return [_subscription(method, channel, coin) for channel in CHANNELS for method in ("unsubscribe", "subscribe")]

    def ping(self) -> bytes:
        return b'{"method":"ping"}'

    def stream(self, plan: SocketPlan) -> Stream:
        return self  # every frame stands alone

    def overdue(self) -> list[bytes]:
        return []

    def decode(self, frame: bytes) -> list[FeedEvent]:
        try:
            message = _frames.decode(frame)
        except _INVALID as error:
            return _control(frame, error)
        kind = type(message)
        if kind is _Bbo:
            return self._bbo(message.data)
        if kind is _Book:
            return self._book(message.data)
        if kind is _AssetCtx:
            return self._context(message.data)
        return [ControlEvent(ControlKind.PONG, "pong")]

    def seed_requests(self) -> list[RestRequest]:
        return []  # l2Book fast brings every coin's book within 0.6 s

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        return []

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        start_ms = calendar_ns // NS_PER_MS - HISTORY_WINDOW_MS
        return [
            RestRequest(
                "/info",
                b'{"type":"fundingHistory","coin":"%b","startTime":%d}' % (coin.encode(), start_ms),
                HISTORY_WEIGHT,
            )
            for coin in self._names.values()
        ]

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        """The last settled rate of a `fundingHistory` answer. Its interval is the distance of the last two rows: rows of
        before 2023-06-08 are 8 h apart. Fewer than two rows do not tell it, and give nothing."""
        try:
            rows = _history.decode(answer)
        except _INVALID as error:
            raise Malformed(f"hyperliquid fundingHistory: {error}") from error
        if len(rows) < 2:
            return []
        before, last = rows[-2:]
        symbol, _ = self._known(last.coin)
        hours = round((last.time - before.time) / HOUR_MS)
        if hours < 1 or not -inf < last.fundingRate < inf:
            raise Malformed(
                f"hyperliquid fundingHistory of {last.coin}: rows {before.time} and {last.time}, {last.fundingRate}"
            )
        settled_ms = last.time // HOUR_MS * HOUR_MS  # recorded some ms after the hour
        return [
            FundingEvent(
                symbol,
                FundingRate(
                    last.fundingRate,
                    hours * 3600,
                    (settled_ms + hours * HOUR_MS) * NS_PER_MS,
                    FundingKind.SETTLED,
                    "rest.fundingHistory",
                ),
            )
        ]

    def _bbo(self, data: _BboData) -> list[FeedEvent]:
        symbol, multiplier = self._known(data.coin)
        bid, ask = data.bbo
        bid_px = bid_qty = ask_px = ask_qty = 0.0
        if bid is not None:
            bid_px, bid_qty = bid.px / multiplier, bid.sz * multiplier
            if not (0.0 < bid_px < inf and 0.0 <= bid_qty < inf):
                raise Malformed(f"hyperliquid bbo of {data.coin}: bid {bid.px} x {bid.sz}")
        if ask is not None:
            ask_px, ask_qty = ask.px / multiplier, ask.sz * multiplier
            if not (0.0 < ask_px < inf and 0.0 <= ask_qty < inf):
                raise Malformed(f"hyperliquid bbo of {data.coin}: ask {ask.px} x {ask.sz}")
        return [QuoteEvent(symbol, bid_px, bid_qty, ask_px, ask_qty, data.time * NS_PER_MS)]

    def _book(self, data: _BookData) -> list[FeedEvent]:
        symbol, multiplier = self._known(data.coin)
        bids = tuple([(level.px / multiplier, level.sz * multiplier) for level in data.levels[0]])
        asks = tuple([(level.px / multiplier, level.sz * multiplier) for level in data.levels[1]])
        for px, qty in (*bids, *asks):
            if not (0.0 < px < inf and 0.0 <= qty < inf):
                raise Malformed(f"hyperliquid l2Book of {data.coin}: level {px} x {qty}")
        return [DepthEvent(symbol, bids, asks, data.time * NS_PER_MS)]

    def _context(self, data: _CtxData) -> list[FeedEvent]:
        symbol, multiplier = self._known(data.coin)
        ctx = data.ctx
        if not (0.0 < ctx.markPx < inf and 0.0 < ctx.oraclePx < inf and -inf < ctx.funding < inf):
            raise Malformed(f"hyperliquid activeAssetCtx of {data.coin}: mark {ctx.markPx}, funding {ctx.funding}")
        return [
            MarkEvent(
                symbol,
                ctx.markPx / multiplier,
                ctx.oraclePx / multiplier,
                ctx.openInterest * multiplier if 0.0 <= ctx.openInterest < inf else nan,
                ctx.dayNtlVlm if 0.0 <= ctx.dayNtlVlm < inf else nan,
                0,
            ),
            FundingEvent(
                symbol, FundingRate(ctx.funding, FUNDING_INTERVAL_S, 0, FundingKind.ESTIMATE, "ws.activeAssetCtx")
            ),
        ]

    def _known(self, coin: str) -> tuple[str, float]:
        try:
            return self._coins[coin]
        except KeyError:
            raise Malformed(f"hyperliquid: {coin!r} is not in the catalogue") from None


def _subscription(method: str, channel: str, coin: str) -> bytes:
    """`channel` is already JSON, with its extra fields behind the name."""
    name, _, extra = channel.partition(",")
    tail = f",{extra}" if extra else ""
    return f'{{"method":"{method}","subscription":{{"type":{name},"coin":"{coin}"{tail}}}}}'.encode()


def _control(frame: bytes, error: Exception) -> list[FeedEvent]:
    """What is not market data. A market channel whose body does not decode is malformed, not control."""
    if frame == GREETING:
        return [ControlEvent(ControlKind.OTHER, "greeting")]
    try:
        envelope = _envelopes.decode(frame)
    except _INVALID:
        raise Malformed(f"hyperliquid: {error}") from error
    if envelope.channel in _MARKET_CHANNELS:
        raise Malformed(f"hyperliquid {envelope.channel}: {error}") from error
    kind = _CONTROL.get(envelope.channel, ControlKind.OTHER)
    return [ControlEvent(kind, f"{envelope.channel} {bytes(envelope.data)[:200].decode(errors='replace')}")]
