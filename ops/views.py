"""What is on, read out of shared memory: plain rows that `tandem`, the exporter and tests show in their own ways.

Nothing here waits for a process: a feed that is down, or a segment of another version, is a row that says so, never an
exception.
"""

from __future__ import annotations

import contextlib
import math
from decimal import Decimal

import msgspec

from bookshm.account_page import AccountPageReader
from bookshm.book_reader import BookReader
from bookshm.run import RunDir
from core.account import AccountSnapshot, PairView, PositionView
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.config import Loaded
from core.errors import ConfigError
from core.messages import FINAL_PAIR
from core.roster import SPEC
from core.types import (
    Down,
    FundingKind,
    FundingRate,
    Instrument,
    MarkPrice,
    Quote,
    QuoteFlag,
    ReadResult,
    Stale,
    Venue,
)
from core.venue_spec import VenueKind

EXECUTOR_SILENT_NS = 3 * NS_PER_S  # it writes its page four times a second


class FeedRow(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    up: bool
    reason: str
    heartbeat_age_ms: float  # NaN without a writer
    pid: int
    epoch: int
    instruments: int
    fresh: int  # instruments whose quote is usable now
    is_ready: (
        bool  # up, with a usable quote; where a venue only indicates prices, with any that this writer has written
    )


class QuoteRow(msgspec.Struct, frozen=True, kw_only=True):
    """Canonical units; NaN where there is no figure. A quote that is not "ok" is the last one there was, to look at only."""

    venue: Venue
    symbol: str
    state: str  # "ok" | "stale" | "down" | "busy" | "unsound" | "indicative"
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    age_ms: float
    spread_bps: float
    mark_px: float
    funding_apr_pct: float


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One contract of one venue as its book has it now. `verdict` is what a strategy would get; `seen` the last quote there
    was, of any age, to look at only."""

    instrument: Instrument
    verdict: ReadResult
    seen: Quote | None
    mark: MarkPrice | None
    funding: FundingRate | None  # the estimate
    settled: FundingRate | None  # the last one

    @property
    def state(self) -> str:
        """As `QuoteRow.state`, with "indicative" for a quote that ranks and never trades."""
        if not isinstance(self.verdict, Quote):
            return type(self.verdict).__name__.lower()
        if self.verdict.flags & QuoteFlag.INDICATIVE:
            return "indicative"
        return "ok" if self.verdict.is_sound else "unsound"


class Books:
    """One reader per enabled venue, kept for repeated looks."""

    def __init__(self, loaded: Loaded, run: RunDir, clock: Clock) -> None:
        self._loaded = loaded
        self._run = run
        self._clock = clock
        self._readers: dict[Venue, BookReader] = {}

    def feeds(self) -> list[FeedRow]:
        return [self._feed(venue) for venue in self._loaded.enabled_venues]

    def quotes(self) -> list[QuoteRow]:
        return [_quote_row(listing) for listing in self.listings()]

    def listings(self, symbol: str | None = None) -> list[Listing]:
        """Every contract that is listed now, or those of one symbol; by symbol, then venue."""
        found: list[Listing] = []
        for venue in self._loaded.enabled_venues:
            with contextlib.suppress(ConfigError):  # `feeds` tells
                reader = self._reader(venue)
                for name, (slot, instrument) in reader.instruments().items():
                    if symbol in (None, name):
                        found.append(_listing(reader, instrument, slot))
        return sorted(found, key=lambda each: (each.instrument.symbol, each.instrument.venue))

    def _reader(self, venue: Venue) -> BookReader:
        """Raises ConfigError for a book of another version."""
        if venue not in self._readers:
            feeds = self._loaded.config.feeds
            max_age_ns, proof_ns = int(feeds.max_quote_age_ms * NS_PER_MS), int(feeds.proof_max_age_s * NS_PER_S)
            self._readers[venue] = BookReader(self._run, venue, self._clock, max_age_ns, proof_ns)
        return self._readers[venue]

    def _feed(self, venue: Venue) -> FeedRow:
        try:
            reader = self._reader(venue)
            instruments = reader.instruments()
            up, reason, heartbeat_age_ns, epoch, pid = reader.status()
        except ConfigError as error:
            instruments = {}
            up, reason, heartbeat_age_ns, epoch, pid = False, str(error), -1, 0, 0
        quotes = [reader.quote(slot) for slot, _ in instruments.values()]
        fresh = sum(isinstance(quote, Quote) for quote in quotes)
        indicated = SPEC[venue].kind is VenueKind.RFQ and any(
            isinstance(quote, Stale) and quote.age_ns >= 0 for quote in quotes
        )
        return FeedRow(
            venue=venue,
            up=up,
            reason=reason,
            heartbeat_age_ms=heartbeat_age_ns / NS_PER_MS if pid else math.nan,
            pid=pid,
            epoch=epoch,
            instruments=len(instruments),
            fresh=fresh,
            is_ready=up and (fresh > 0 or indicated),
        )


def _listing(reader: BookReader, instrument: Instrument, slot: int) -> Listing:
    verdict, mark = reader.quote(slot), reader.mark(slot)
    seen = verdict if isinstance(verdict, Quote) else reader.peek(slot)
    funding, settled = (reader.funding(slot, kind) for kind in (FundingKind.ESTIMATE, FundingKind.SETTLED))
    return Listing(
        instrument=instrument,
        verdict=verdict,
        seen=seen if isinstance(seen, Quote) else None,
        mark=mark if isinstance(mark, MarkPrice) else None,
        funding=funding[0] if funding else None,
        settled=settled[0] if settled else None,
    )


def _quote_row(listing: Listing) -> QuoteRow:
    quote, mark = listing.seen, listing.mark
    return QuoteRow(
        venue=listing.instrument.venue,
        symbol=listing.instrument.symbol,
        state=listing.state,
        bid_px=quote.bid_px if quote else math.nan,
        bid_qty=quote.bid_qty if quote else math.nan,
        ask_px=quote.ask_px if quote else math.nan,
        ask_qty=quote.ask_qty if quote else math.nan,
        age_ms=quote.age_ns / NS_PER_MS if quote else math.nan,
        spread_bps=(quote.ask_px - quote.bid_px) / quote.mid * 1e4 if quote and quote.mid > 0 else math.nan,
        mark_px=mark.mark_px if mark else math.nan,
        funding_apr_pct=listing.funding.apr * 100 if listing.funding else math.nan,
    )


def account(run: RunDir) -> AccountSnapshot | str:
    """The account page, or why there is none."""
    try:
        page = AccountPageReader(run).read()
    except ConfigError as error:
        return str(error)
    if isinstance(page, AccountSnapshot):
        return page
    return page.reason if isinstance(page, Down) else "the page is busy; look again"


def executor_trouble(page: AccountSnapshot | str, clock: Clock) -> str:
    """Why the executor takes no commands now, or "". A killed executor leaves a page that says ready: its age tells."""
    if not isinstance(page, AccountSnapshot):
        return page
    age_ns = clock.mono_ns() - page.written_mono_ns
    if age_ns > EXECUTOR_SILENT_NS:
        return f"silent for {age_ns / NS_PER_S:.1f} s"
    return "" if page.ready else "recovering"


def open_pairs(page: AccountSnapshot) -> list[PairView]:
    return [pair for pair in page.pairs if pair.status not in FINAL_PAIR]


def finished_pairs(page: AccountSnapshot) -> list[PairView]:
    return [pair for pair in page.pairs if pair.status in FINAL_PAIR]


def held(page: AccountSnapshot) -> list[PositionView]:
    return [p for p in page.positions if p.qty or (p.venue_qty or 0)]


def equity_usd(page: AccountSnapshot) -> Decimal | None:
    """Over all venues; None while one of them was never read: a total without it would be a number that lies."""
    if any(not venue.read_mono_ns for venue in page.venues):
        return None
    return sum((venue.equity_usd for venue in page.venues), Decimal(0))


def net_exposure(page: AccountSnapshot) -> dict[str, Decimal]:
    """Sum of signed canonical sizes per symbol over all venues; zero is what a hedged book shows."""
    net: dict[str, Decimal] = {}
    for position in page.positions:
        net[position.symbol] = net.get(position.symbol, Decimal(0)) + position.qty
    return net
