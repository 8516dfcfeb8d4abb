"""EdgeX's public stream: `depth.<id>.15` for quotes, `ticker.all.1s` for mark and funding, `bookTicker.all.1s` as check.

Every fact is from docs/venues/edgex.md 2 to 5. How a book hangs together is told in feeds.venues._edgex_stream.

Funding is a plain fraction per interval of the contract, 4 h on all that were seen; the interval is read per contract from
the metadata and must agree with the times of each row, else no rate is published. The rate of a ticker was fixed at its
`fundingTime` and is paid at `nextFundingTime`. `predictedFundingRate` is interest only, and is not read. The calm 0.00005
per 4 h is 10.95 % a year.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf

from core.clock import NS_PER_MS
from core.errors import UNDECODABLE, Malformed
from core.specs import edgex as specs
from core.types import FundingKind, FundingRate, Instrument
from feeds.venues import _edgex_wire as wire
from feeds.venues._edgex_stream import ALL_BOOK_TICKERS, ALL_TICKERS, Connection, Market, depth_channel
from feeds.venues._edgex_wire import ask
from feeds.venues.base import FundingEvent, MarketEvent, QuoteEvent, RestRequest, SocketPlan, Stream

HISTORIES_PER_ROUND = 60  # public limits are unpublished; 80 calls in 47 s passed untouched
HISTORY_ROWS = 3

PAID_INTERVALS_LATER = 1
"""A settlement row's rate is paid so many intervals after its `fundingTime` [unsure]. The venue's documents say that a rate
is fixed at the start of a block and paid at its end, and in the recorded minutes it changes at the start; read the other
way round, the history would run one interval ahead of the payments."""


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text."""

    ping_interval_s = 0.0  # the venue pings, and the answer to that is in the protocol
    max_connection_s = 0.0  # no limit is published
    client_burst = 20  # nor one for frames: a whole catalogue is subscribed within 20 s
    client_frames_per_s = 10.0
    funding_on_whole_intervals = False

    def __init__(self) -> None:
        self._markets: dict[int, Market] = {}  # by contract id; replaced as a whole, never changed
        self._live: dict[str, Market] = {}  # by canonical symbol
        self._settled_ms: dict[str, int] = {}  # by canonical symbol, the last payment that was told

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest("/api/v2/public/meta/getMetaData", None)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        catalogue = specs.catalogue(answers[0])
        rows = [row for row in catalogue.instruments if not chosen or row.symbol in chosen]
        intervals = catalogue.funding_interval_s
        markets = [
            Market(
                row.symbol,
                row.venue_symbol,
                row.venue_index,
                float(row.multiplier),
                intervals.get(row.venue_index, 0),
            )
            for row in rows
        ]
        self._markets = {market.number: market for market in markets}
        self._live = {market.symbol: market for row, market in zip(rows, markets, strict=True) if not row.delisted}
        return rows

    def ws_path(self) -> str:
        return "/api/v1/public/ws"  # V2 too

    def sockets(self) -> list[SocketPlan]:
        """One connection for all: the ticker that checks the books must come on the socket that brings them."""
        if not self._live:
            return []
        symbols = tuple(self._live)
        return [SocketPlan(symbols, tuple(ask("subscribe", channel) for channel in self._channels(symbols)))]

    def stream(self, plan: SocketPlan) -> Stream:
        return Connection(self._markets, self._channels(plan.symbols))

    def resubscribe(self, symbol: str) -> list[bytes]:
        market = self._live.get(symbol)
        if market is None:
            return []
        channel = depth_channel(market.number)
        return [ask("unsubscribe", channel), ask("subscribe", channel)]

    def ping(self) -> bytes:
        return b""

    def seed_requests(self) -> list[RestRequest]:
        return []  # every book begins with a snapshot

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        raise Malformed("edgex: no seeds are asked for")

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        """The settled rates that are older than the last settlement, a few at a time."""
        now_ms = calendar_ns // NS_PER_MS
        path = "/api/v2/public/funding/getFundingRatePage?contractId={}&size={}&filterSettlementFundingRate=true"
        untold = (
            market
            for market in self._live.values()
            if market.interval_s
            and self._settled_ms.get(market.symbol, 0) < now_ms // (market.interval_s * 1000) * market.interval_s * 1000
        )
        return [
            RestRequest(path.format(market.number, HISTORY_ROWS), None, about=f"{market.symbol} {now_ms}")
            for market in islice(untold, HISTORIES_PER_ROUND)
        ]

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        """The last rate that was paid by the time named in `about`, of one contract's settlement rows."""
        symbol, _, asked_ms = about.partition(" ")
        market = self._live.get(symbol)
        try:
            decoded = wire.fundings.decode(answer)
        except UNDECODABLE as error:
            raise Malformed(f"edgex getFundingRatePage: {error}") from error
        if decoded.code != wire.SUCCESS or decoded.data is None or market is None or not asked_ms.isdecimal():
            raise Malformed(f"edgex getFundingRatePage of {about!r}: code {decoded.code[:60]!r}")
        paid: dict[int, float] = {}
        for row in decoded.data.dataList:
            if row.contractId != market.number or row.fundingRateIntervalMin * 60 != market.interval_s:
                raise Malformed(
                    f"edgex getFundingRatePage of {market.name}: a row of contract {row.contractId}, "
                    f"every {row.fundingRateIntervalMin} min"
                )
            if not -inf < row.fundingRate < inf:
                raise Malformed(f"edgex getFundingRatePage of {market.name}: rate {row.fundingRate}")
            if row.isSettlement:
                paid[row.fundingTime + PAID_INTERVALS_LATER * market.interval_s * 1000] = row.fundingRate
        times = [time_ms for time_ms in paid if time_ms <= int(asked_ms)]
        if not times:
            return []
        settled_ms = self._settled_ms[symbol] = max(times)
        next_ns = (settled_ms + market.interval_s * 1000) * NS_PER_MS
        rate = FundingRate(paid[settled_ms], market.interval_s, next_ns, FundingKind.SETTLED, "rest.getFundingRatePage")
        return [FundingEvent(symbol, rate)]

    def _channels(self, symbols: Iterable[str]) -> list[str]:
        """Books first, so that they live first."""
        numbers = [self._live[symbol].number for symbol in symbols if symbol in self._live]
        return [*(depth_channel(number) for number in numbers), ALL_BOOK_TICKERS, ALL_TICKERS]
