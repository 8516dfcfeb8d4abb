"""The whole feed of one venue in this process, against its own sandbox, and a reader of its book."""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bookshm.book import BookReader, BookWriter
from bookshm.counters import CountersReader, CountersWriter
from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.log import Log
from core.roster import SPEC
from core.types import Quote, QuoteFlag, Venue
from core.venue_spec import VenueKind
from feeds.feed import Feed
from feeds.meters import SERIES
from feeds.venues.base import FeedDecoder
from tests.executor.sandbox_process import SandboxProcess, eventually

SILENCE_S = 1.5
SLOTS = 64
WAIT_S = 20.0


class Stand:
    """Use `start` and `end`. `usable` means: a strategy would trade on it (where the venue's prices can be traded)."""

    def __init__(self, venue: str, box: SandboxProcess, directory: Path) -> None:
        self.venue = Venue(venue)
        self.box = box
        self.clock = SystemClock()
        self.lines: list[str] = []
        config = box.loaded.config
        feeds = msgspec.structs.replace(
            config.feeds, silence_reconnect_s=SILENCE_S, backoff_initial_s=0.1, backoff_max_s=0.4, specs_refresh_s=1.0
        )
        self.settings = box.settings(venue)
        changed = msgspec.structs.replace(config, feeds=feeds, venues={venue: self.settings})
        loaded = msgspec.structs.replace(box.loaded, config=changed)
        self.run = RunDir.join(directory / "tandem-conformance", 1.0, self.clock)
        page = CountersWriter(self.run, f"feed-{venue}", self.clock, SERIES + SLOTS)
        book = BookWriter(self.run, self.venue, self.clock, SLOTS, 256)
        age_ns = int(feeds.max_quote_age_ms * NS_PER_MS)
        self.reader = BookReader(self.run, self.venue, self.clock, age_ns, int(feeds.proof_max_age_s * NS_PER_S))
        self._counters = CountersReader(self.run.counters / f"feed-{venue}", self.clock)
        decoder: FeedDecoder = importlib.import_module(f"feeds.venues.{venue}").Decoder()
        log = Log("feed", self.clock, "debug", self.lines.append)
        self._feed = Feed(loaded, self.venue, decoder, book, page, self.clock, random.Random(3), log)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._feed.run(self._stop))

    async def end(self) -> None:
        """Raises what ended the feed before it was asked to."""
        self._stop.set()
        if self._task is not None:
            await self._task
        self.run.leave()

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def quotes_first(self) -> bool:
        return SPEC[self.venue].kind is VenueKind.RFQ

    @property
    def symbols(self) -> list[str]:
        """What the venue lists of this run's symbols."""
        wanted = self.box.loaded.config.feeds.symbols
        rows = self.reader.instruments().items()
        return [symbol for symbol, (_, row) in rows if symbol in wanted and not row.delisted]

    def quote(self, symbol: str) -> object:
        slot = self.reader.slot(symbol)
        return None if slot is None else self.reader.quote(slot)

    def shown(self, symbol: str) -> Quote:
        """The quote whatever its age."""
        quote = self.reader.peek(self.reader.slot(symbol) or 0)
        assert isinstance(quote, Quote), quote
        return quote

    def is_usable(self, symbol: str) -> bool:
        quote = self.quote(symbol)
        return isinstance(quote, Quote) and quote.is_sound and quote.flags == QuoteFlag.EXECUTABLE

    def usable(self) -> list[str]:
        return [symbol for symbol in self.symbols if self.is_usable(symbol)]

    async def back(self, within_s: float = WAIT_S) -> None:
        """Until every quote can be traded on; at a venue without an order book, until every one is shown."""
        await self.until(lambda: self.symbols, within_s)
        if self.quotes_first:
            await self.until(lambda: all(self._is_shown(symbol) for symbol in self.symbols), within_s)
            return
        try:
            await self.until(lambda: len(self.usable()) == len(self.symbols), within_s)
        except TimeoutError:
            missing = {symbol: self.quote(symbol) for symbol in self.symbols if not self.is_usable(symbol)}
            raise AssertionError(f"not back within {within_s} s: {missing}\n" + "".join(self.lines[-8:])) from None

    def _is_shown(self, symbol: str) -> bool:
        quote = self.reader.peek(self.reader.slot(symbol) or 0)
        return isinstance(quote, Quote) and quote.bid_px > 0 and quote.ask_px > 0

    def marks(self) -> dict[str, float]:
        """Canonical symbol -> mark, by the venue's own books."""
        shown = self.box.control("state")["venues"][self.venue]["marks"]
        return {symbol: float(px) for symbol, px in shown.items()}

    def count(self, name: str) -> float:
        return sum(sample.value for sample in self._counters.samples() if sample.name == f"feed_{name}_total")

    def said(self, word: str) -> bool:
        return any(word in line for line in self.lines)

    def fault(self, kind: str, **more: Any) -> int:
        number: int = self.box.control("fault", {"venue": self.venue, "kind": kind, **more})["fault"]["number"]
        return number

    def hits(self, number: int) -> int:
        shown = self.box.control("faults")["venues"][self.venue]
        return int(next(row["hits"] for row in (*shown["active"], *shown["finished"]) if row["number"] == number))

    async def until(self, condition: Callable[[], object], timeout_s: float = WAIT_S) -> None:
        await eventually(condition, timeout_s)
