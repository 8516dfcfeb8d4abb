"""Variational's public statistics as events (docs/venues/variational.md 3 and 4): the feed of a venue without an order book.

One read brings everything: per listing a mark, an annualised funding rate, volume, open interest, and prices for a few
notional sizes with the time at which they were made. Those prices may be ten minutes old and are nobody's offer. They leave
here as IndicationEvent, with that time, and can only become INDICATIVE quotes: they serve scanning, and a live quote from
the gateway is what is traded on. The venue's sockets carry marks rounded for display and no bid or ask, so none is opened.

`funding_rate` is a fraction per YEAR here. It becomes a fraction per interval at once (rate times interval over 365 days).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from math import nan

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs import variational as specs
from core.types import FundingKind, FundingRate, Instrument
from feeds.venues.base import (
    FeedEvent,
    FundingEvent,
    IndicationEvent,
    MarketEvent,
    MarkEvent,
    QuoteEvent,
    RestRequest,
    SocketPlan,
    Stream,
)

PATH = "/metadata/stats"
POLL_S = 3.0  # of ten requests per ten seconds and address
SIZE_USD = 1000.0  # of the prices that are shown
INTERVALS_S = frozenset({3600, 4 * 3600, 8 * 3600})
MAX_YEARLY = 0.04 * 8760
"""Fraction a year: four percent an hour, the widest cap of any venue. What is beyond it is not a rate."""
SOURCE = "metadata/stats"

_sizes = msgspec.json.Decoder(specs.Sizes, strict=False)


class Decoder:
    """See feeds.venues.base.FeedDecoder and the module text. An answer is a frame that stands alone."""

    ping_interval_s = 0.0
    max_connection_s = 0.0
    client_burst = 1
    client_frames_per_s = 1.0
    funding_on_whole_intervals = True

    def __init__(self) -> None:
        self._symbols: dict[str, str] = {}  # ticker -> canonical symbol

    def catalogue_requests(self) -> list[RestRequest]:
        return [RestRequest(PATH, None)]

    def load_catalogue(self, answers: list[bytes], wanted: Iterable[str]) -> list[Instrument]:
        chosen = set(wanted)
        rows = [row for row in specs.instruments(answers[0]) if not chosen or row.symbol in chosen]
        self._symbols = {row.venue_symbol: row.symbol for row in rows}
        return rows

    def ws_path(self) -> str:
        return ""

    def sockets(self) -> list[SocketPlan]:
        """One, and no socket: the statistics are read again and again."""
        return [SocketPlan(tuple(self._symbols.values()), (), RestRequest(PATH, None), POLL_S)]

    def resubscribe(self, symbol: str) -> list[bytes]:
        return []

    def ping(self) -> bytes:
        return b""

    def stream(self, plan: SocketPlan) -> Stream:
        return self

    def seed_requests(self) -> list[RestRequest]:
        return []

    def load_seed(self, answer: bytes) -> list[QuoteEvent]:
        raise Malformed("variational: no seeds are asked for")

    def figures_requests(self, calendar_ns: int) -> list[RestRequest]:
        return []  # the venue tells no settled rates to the public

    def load_figures(self, answer: bytes, about: str = "") -> list[MarketEvent]:
        raise Malformed("variational: no figures are asked for")

    def overdue(self) -> list[bytes]:
        return []

    def decode(self, frame: bytes) -> list[FeedEvent]:
        """Everything one answer says of the wanted symbols. A figure that cannot be one is left out, with all that hangs on
        it; raises Malformed when the answer as a whole cannot be used."""
        events: list[FeedEvent] = []
        for row in specs.listings(frame):
            symbol = self._symbols.get(row.ticker)
            if symbol is None:
                continue
            events.append(_mark(symbol, row))
            events += _indication(symbol, row.quotes)
            rate = funding_of(row.funding_rate, row.funding_interval_s)
            if rate is not None:
                events.append(FundingEvent(symbol, rate))
        if not events:
            raise Malformed("variational stats: nothing of what was asked for")
        return events


def funding_of(yearly: Decimal | None, interval_s: int | None) -> FundingRate | None:
    """An annualised fraction as a fraction per interval; None where either cannot be what it should be."""
    if yearly is None or interval_s not in INTERVALS_S or not yearly.is_finite() or abs(yearly) > MAX_YEARLY:
        return None
    per_interval = float(yearly * interval_s / specs.YEAR_S)
    return FundingRate(per_interval, interval_s, 0, FundingKind.ESTIMATE, SOURCE)


def _mark(symbol: str, row: specs.Listing) -> MarkEvent:
    """The statistics do not say of when the mark is. Open interest is in USD there, both sides; here it is one side's coins."""
    px = float(row.mark_price)
    interest = row.open_interest
    open_usd = nan if interest is None else _amount(max(interest.long_open_interest, interest.short_open_interest))
    volume_usd = nan if row.volume_24h is None else _amount(row.volume_24h)
    return MarkEvent(symbol, px, nan, open_usd / px, volume_usd, 0)


def _amount(value: Decimal) -> float:
    return float(value) if value.is_finite() and 0 <= value < specs.LARGEST else nan


def _indication(symbol: str, raw: msgspec.Raw) -> list[FeedEvent]:
    """Of the smallest size that is told. Nothing where there is no price (closed markets) or no time."""
    try:
        sizes = _sizes.decode(raw)
        as_of_ns = specs.ns_of(sizes.updated_at)
    except (*UNDECODABLE, Malformed):
        return []
    for pair, size_usd in ((sizes.size_1k, SIZE_USD), (sizes.size_100k, 100 * SIZE_USD)):
        if pair is None or pair.bid is None or pair.ask is None:
            continue
        if specs.is_figure(pair.bid) and specs.is_figure(pair.ask) and pair.bid < pair.ask:
            bid, ask = float(pair.bid), float(pair.ask)
            return [IndicationEvent(symbol, bid, size_usd / bid, ask, size_usd / ask, as_of_ns)]
    return []
