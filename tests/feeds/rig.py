"""A publisher with a real book and a reader of it, in a run directory of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from bookshm.book import BookReader, BookWriter
from bookshm.counters import CountersReader, CountersWriter
from bookshm.run import RunDir
from core.clock import Clock
from core.log import Log
from core.settings import FeedsConfig, RecorderConfig
from core.types import Instrument, Quote, Venue
from feeds.meters import SERIES, Meters
from feeds.publisher import Publisher
from feeds.recorder import Recorder

VENUE = Venue("hyperliquid")
SETTINGS = FeedsConfig(symbols=(), backoff_initial_s=0.05, backoff_max_s=0.2, silence_reconnect_s=0.6)


def instrument(symbol: str, **changes: object) -> Instrument:
    fields = {
        "venue": VENUE, "symbol": symbol, "venue_symbol": symbol, "tick_size": Decimal("0.1"), "lot_size": Decimal("0.01"),
    } | changes  # fmt: skip
    return Instrument(**fields)  # type: ignore[arg-type]


class Rig:
    """`symbols` on socket 0. Bells that were asked for wait in `bells` until the test rings them."""

    def __init__(
        self, path: Path, clock: Clock, symbols: tuple[str, ...] = ("BTC", "ETH"), settings: FeedsConfig = SETTINGS,
        venue: Venue = VENUE, whole_intervals: bool = True, capacity: int = 8,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.lines: list[str] = []
        self.run = RunDir.join(path, 1.0, clock)
        self.page = CountersWriter(self.run, f"feed-{venue}", clock, SERIES + capacity)
        self.book = BookWriter(self.run, venue, clock, capacity, 64)
        self.meters = Meters(self.page, venue)
        self.bells: list[Callable[[], None]] = []
        self.log = Log("test", clock, "debug", self.lines.append)
        self.publisher = Publisher(
            self.book, settings, clock, self.meters, self.log, self.bells.append, whole_intervals
        )
        self.recordings = (
            path.parent / f"{path.name}-recordings"
        )  # nothing is recorded until a test throws the switch there
        self.recorder = Recorder(self.recordings, venue, 1, RecorderConfig(), clock, self.meters, self.log)
        self.left_out = self.publisher.install([instrument(symbol) for symbol in symbols])
        self.publisher.assign(0, symbols)
        self.reader = BookReader(self.run, venue, clock, 500_000_000, 3_000_000_000)
        self._counters = CountersReader(self.run.counters / f"feed-{venue}", clock)

    def slot(self, symbol: str) -> int:
        return self.book.slots[symbol]

    def quote(self, symbol: str) -> object:
        """What a reader of the book gets."""
        return self.reader.quote(self.slot(symbol))

    def live_quote(self, symbol: str) -> Quote:
        quote = self.quote(symbol)
        assert isinstance(quote, Quote), quote
        return quote

    def count(self, name: str) -> float:
        return sum(sample.value for sample in self._counters.samples() if sample.name == f"feed_{name}")

    def close(self) -> None:
        self.book.close()
        self.page.close()
        self.run.leave()
