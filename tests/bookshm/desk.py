"""One venue's writer and reader under a clock that moves when told."""

from __future__ import annotations

from bookshm.book import BookReader, BookWriter
from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.types import QuoteFlag, Venue
from tests.bookshm.samples import VENUE

MAX_AGE_NS = 500 * NS_PER_MS
PROOF_AGE_NS = 3 * NS_PER_S


class Desk:
    """One venue's writer and reader under a clock that moves when told."""

    def __init__(self, run: RunDir, venue: Venue = VENUE) -> None:
        self.run = run
        self.venue = venue
        self.clock = SimClock(mono_ns=100 * NS_PER_S)
        self.reader = self.new_reader()
        self.writer = self.new_writer()

    def new_reader(self) -> BookReader:
        return BookReader(self.run, self.venue, self.clock, MAX_AGE_NS, PROOF_AGE_NS)

    def new_writer(self, slots: int = 8, records: int = 64) -> BookWriter:
        return BookWriter(self.run, self.venue, self.clock, slots, records)

    def restart_writer(self) -> None:
        self.writer.close()
        self.writer = self.new_writer()
        self.writer.set_status(True, "connected")

    def publish(self, slot: int, px: float = 100.0, flags: int = QuoteFlag.EXECUTABLE) -> None:
        self.writer.publish_quote(slot, px, 2.0, px + 1, 3.0, 7, self.clock.mono_ns(), flags)

    def pass_ms(self, ms: int) -> None:
        """Time goes by under a living writer."""
        self.clock.advance_ns(ms * NS_PER_MS)
        self.writer.heartbeat(self.clock.mono_ns())
