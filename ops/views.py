"""What is on, read out of shared memory: plain rows that `tandem`, the exporter and tests show in their own ways.

Nothing here waits for a process: a feed that is down is a row that says so, never an exception.
"""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

from bookshm.account_page import AccountPageReader
from bookshm.book_reader import BookReader
from bookshm.run import RunDir
from core.account import AccountSnapshot, PairView, PositionView
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.config import Loaded
from core.messages import PairStatus
from core.types import Down, FundingKind, MarkPrice, Quote, Stale, Venue

FINAL = frozenset({PairStatus.CLOSED, PairStatus.ABORTED})


class FeedRow(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    up: bool
    reason: str
    heartbeat_age_ms: float
    pid: int
    epoch: int
    instruments: int
    fresh: int  # instruments whose quote is usable now


class QuoteRow(msgspec.Struct, frozen=True, kw_only=True):
    """Canonical units; NaN where there is no figure."""

    venue: Venue
    symbol: str
    state: str  # "ok" | "stale" | "down" | "busy" | "unsound"
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    age_ms: float
    spread_bps: float
    mark_px: float
    funding_apr_pct: float


class Books:
    """One reader per enabled venue, kept for repeated looks."""

    def __init__(self, loaded: Loaded, run: RunDir, clock: Clock) -> None:
        feeds = loaded.config.feeds
        max_age_ns, proof_ns = int(feeds.max_quote_age_ms * NS_PER_MS), int(feeds.proof_max_age_s * NS_PER_S)
        self.readers = {name: BookReader(run, name, clock, max_age_ns, proof_ns) for name in loaded.enabled_venues}

    def feeds(self) -> list[FeedRow]:
        return [self._feed(venue, reader) for venue, reader in self.readers.items()]

    def quotes(self) -> list[QuoteRow]:
        rows = [
            self._quote(venue, reader, symbol, slot)
            for venue, reader in self.readers.items()
            for symbol, (slot, _) in sorted(reader.instruments().items())
        ]
        return sorted(rows, key=lambda row: (row.symbol, row.venue))

    def _feed(self, venue: Venue, reader: BookReader) -> FeedRow:
        instruments = reader.instruments()
        up, reason, heartbeat_age_ns, epoch, pid = reader.status()
        fresh = sum(isinstance(reader.quote(slot), Quote) for slot, _ in instruments.values())
        return FeedRow(
            venue=venue,
            up=up,
            reason=reason,
            heartbeat_age_ms=heartbeat_age_ns / NS_PER_MS,
            pid=pid,
            epoch=epoch,
            instruments=len(instruments),
            fresh=fresh,
        )

    def _quote(self, venue: Venue, reader: BookReader, symbol: str, slot: int) -> QuoteRow:
        verdict = reader.quote(slot)
        shown = verdict if isinstance(verdict, Quote) else reader.peek(slot)
        age_ms = verdict.age_ns / NS_PER_MS if isinstance(verdict, Quote | Stale) else math.nan
        state = type(verdict).__name__.lower()
        if isinstance(verdict, Quote):
            state = "ok" if verdict.is_sound else "unsound"
        quote = shown if isinstance(shown, Quote) else None
        mark = reader.mark(slot)
        funding = reader.funding(slot, FundingKind.ESTIMATE)
        return QuoteRow(
            venue=venue,
            symbol=symbol,
            state=state,
            bid_px=quote.bid_px if quote else math.nan,
            bid_qty=quote.bid_qty if quote else math.nan,
            ask_px=quote.ask_px if quote else math.nan,
            ask_qty=quote.ask_qty if quote else math.nan,
            age_ms=age_ms,
            spread_bps=(quote.ask_px - quote.bid_px) / quote.mid * 1e4 if quote and quote.mid > 0 else math.nan,
            mark_px=mark.mark_px if isinstance(mark, MarkPrice) else math.nan,
            funding_apr_pct=funding[0].apr * 100 if funding else math.nan,
        )


def account(run: RunDir) -> AccountSnapshot | str:
    """The account page, or why there is none."""
    page = AccountPageReader(run).read()
    if isinstance(page, AccountSnapshot):
        return page
    return page.reason if isinstance(page, Down) else "the page is busy; look again"


def open_pairs(page: AccountSnapshot) -> list[PairView]:
    return [pair for pair in page.pairs if pair.status not in FINAL]


def finished_pairs(page: AccountSnapshot) -> list[PairView]:
    return [pair for pair in page.pairs if pair.status in FINAL]


def held(page: AccountSnapshot) -> list[PositionView]:
    return [p for p in page.positions if p.qty or (p.venue_qty or 0)]


def equity_usd(page: AccountSnapshot) -> Decimal:
    return sum((venue.equity_usd for venue in page.venues), Decimal(0))


def net_exposure(page: AccountSnapshot) -> dict[str, Decimal]:
    """Sum of signed canonical sizes per symbol over all venues; zero is what a hedged book shows."""
    net: dict[str, Decimal] = {}
    for position in page.positions:
        net[position.symbol] = net.get(position.symbol, Decimal(0)) + position.qty
    return net
