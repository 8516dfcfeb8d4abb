"""Lighter's public stream: `ticker` for quotes, `market_stats/all` for mark and funding, `order_book` for depth.

Every fact is from docs/venues/lighter.md 2 to 5. Tickers and books carry the same running number, by which the publisher
orders them; how a book hangs together is told in feeds.venues._lighter_stream.

Funding comes in three units: percent per hour on the stream and in `fundings` (there without a sign, which is a word of
its own), and a fraction per 8 h in `funding-rates`. The calm 0.0012 %, 0.0012 % and 0.000096 are all 10.512 % a year. REST
is read only for what the stream has not told: 60 requests a minute are all that the Standard tier has, orders included.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf

from core.clock import NS_PER_MS
from core.errors import UNDECODABLE, Malformed
from core.specs import lighter as specs
from core.types import FundingKind, FundingRate, Instrument
from feeds.venues import _lighter_wire as wire
from feeds.venues._lighter_stream import ALL_STATS, HOUR_MS, INTERVAL_S, RATE_DECIMALS, Connection, Known, settled
from feeds.venues._lighter_wire import Market, ask
from feeds.venues.base import FundingEvent, MarketEvent, QuoteEvent, RestRequest, SocketPlan, Stream

SYMBOLS_PER_SOCKET = 240  # two channels each and the statistics of all, at most 500 subscriptions a connection
HISTORIES_PER_ROUND = 12  # of 15 reads a minute that a feed may spend on the Standard tier
HISTORY_ROWS = 3
EIGHT_HOURS = 8


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 30.0  # the server drops a connection to which nothing was sent for 2 min
    max_connection_s = 23.0 * 3600  # 24 h by an older text of the venue
    client_burst = 35  # 50 unanswered messages by the venue
    client_frames_per_s = 2.5  # 200 messages a minute and IP, the executor's included
    funding_on_whole_intervals = True

    def __init__(self) -> None:
        self._known = Known()
        self._live: dict[str, Market] = {}  # by canonical symbol

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/api/v1/orderBookDetails?filter=perp", None)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        rows = [row for row in specs.instruments(answers[0]) if not chosen or row.symbol in chosen]
        markets = [Market(row.symbol, row.venue_symbol, row.venue_index, float(row.multiplier)) for row in rows]
        self._known.replace(markets)
        self._live = {row.symbol: market for row, market in zip(rows, markets, strict=True) if not row.delisted}
        return rows

    def ws_path(self) -> str:
        return ""

    def sockets(self) -> list[SocketPlan]:
        markets = iter(self._live.items())
        plans = []
        while part := dict(islice(markets, SYMBOLS_PER_SOCKET)):
            plans.append(SocketPlan(tuple(part), tuple(ask("subscribe", name) for name in self._names(part))))
        return plans

    def stream(self, plan: SocketPlan) -> Stream:
        return Connection(self._known, self._names(plan.symbols))

    def resubscribe(self, symbol: str) -> list[bytes]:
        """The rest follows upon `unsubscribed`."""
        market = self._live.get(symbol)
        return [] if market is None else [ask("unsubscribe", f"order_book/{market.number}")]

    def ping(self) -> bytes:
        return b'{"type":"ping"}'

    def seed_requests(self) -> list[RestRequest]:
        return []  # every subscription is answered with a snapshot

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        raise Malformed("lighter: no seeds are asked for")

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        """What the stream has not told: settled rates older than the last full hour, and estimates if any is missing."""
        hour_ms = calendar_ns // NS_PER_MS // HOUR_MS * HOUR_MS
        start_s, end_s = hour_ms // 1000 - HISTORY_ROWS * INTERVAL_S, calendar_ns // NS_PER_MS // 1000
        history = "/api/v1/fundings?market_id={}&resolution=1h&start_timestamp={}&end_timestamp={}&count_back={}"
        requests = []
        if self._live.keys() - self._known.estimated:
            requests.append(RestRequest("/api/v1/funding-rates", None))
        untold = (each for each in self._live.values() if self._known.settled_ms.get(each.symbol, 0) < hour_ms)
        for market in islice(untold, HISTORIES_PER_ROUND):
            path = history.format(market.number, start_s, end_s, HISTORY_ROWS)
            requests.append(RestRequest(path, None, about=market.symbol))
        return requests

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        try:
            figures = wire.figures.decode(answer)
        except UNDECODABLE as error:
            raise Malformed(f"lighter figures: {error}") from error
        if figures.code != specs.OK or (figures.fundings is None) == (figures.funding_rates is None):
            raise Malformed(f"lighter figures: code {figures.code}: {figures.message[:200]}")
        if figures.funding_rates is not None:
            return self._estimates(figures.funding_rates)
        if figures.resolution != "1h" or about not in self._live:
            raise Malformed(f"lighter fundings of {about!r}: resolution {figures.resolution!r}")
        return self._settled(about, figures.fundings or [])

    def _names(self, symbols: Iterable[str]) -> list[str]:
        """Channels as they are asked for, quotes first, so that they live first."""
        numbers = [self._live[symbol].number for symbol in symbols if symbol in self._live]
        return [*(f"ticker/{n}" for n in numbers), ALL_STATS, *(f"order_book/{n}" for n in numbers)]

    def _settled(self, symbol: str, rows: list[wire.Payment]) -> list[MarketEvent]:
        if not rows:
            return []
        last = max(rows, key=lambda row: row.timestamp)
        if not (0.0 <= last.rate < inf) or last.timestamp <= 0:
            raise Malformed(f"lighter fundings of {symbol}: rate {last.rate} at {last.timestamp}")
        settled_ms = last.timestamp * 1000 // HOUR_MS * HOUR_MS
        self._known.settled_ms[symbol] = settled_ms
        sign = 1 if last.direction is wire.Direction.LONG else -1
        return [settled(symbol, sign * last.rate, settled_ms, "rest.fundings")]

    def _estimates(self, rows: list[wire.Estimate]) -> list[MarketEvent]:
        """Of this venue's own rows, those of which the stream has said nothing yet: it is the newer one."""
        events: list[MarketEvent] = []
        for row in rows:
            market = self._known.markets.get(row.market_id)
            if row.exchange != specs.VENUE or market is None or market.symbol in self._known.estimated:
                continue
            if not -inf < row.rate < inf:
                raise Malformed(f"lighter funding-rates of {market.name}: {row.rate}")
            hourly = round(row.rate / EIGHT_HOURS, RATE_DECIMALS)
            rate = FundingRate(hourly, INTERVAL_S, 0, FundingKind.ESTIMATE, "rest.funding-rates")
            events.append(FundingEvent(market.symbol, rate))
        return events
