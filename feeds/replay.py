"""`python -m feeds.replay --venue NAME FILE...`: recorded frames through the venue's decoder, to the same quotes.

Files of one run in the order of their names (or any one alone). The decoder, the streams and the publisher are the live
ones; only the clock is the recording's. Every quote that the feed published comes out again, in order, with the receive
time it had. Reads nothing but the files and writes nothing but its answer.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bookshm.book import BookWriter
from bookshm.counters import CountersWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from core.errors import EXIT_OK, ConfigError, Malformed
from core.lifecycle import guard
from core.log import Log
from core.roster import SPEC
from core.rotation import read_whole
from core.settings import FeedsConfig
from core.types import QuoteFlag, Venue
from feeds.meters import SERIES, Meters
from feeds.publisher import Publisher
from feeds.recorder import Kind, Record
from feeds.venues.base import FeedDecoder, SocketPlan, Stream

CAPACITY_SLOTS, RING_RECORDS = 4096, 64
MAX_RECORD_BYTES = 1 << 28
PREFIX = 4


class Published(NamedTuple):
    """One quote as the feed published it; both sides 0 = the quote was void from here on."""

    symbol: str
    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    exch_ts_ns: int
    local_mono_ns: int
    flags: int


class Summary(msgspec.Struct, kw_only=True):
    records: int = 0
    frames: int = 0
    malformed: int = 0
    unknown_connection: int = 0  # frames of a connection whose opening is not in these files
    dropped: int = 0  # records that the recorder could not keep
    quotes: int = 0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="feeds.replay", description=__doc__.splitlines()[0])
    parser.add_argument("--venue", required=True, choices=[str(name) for name in SPEC])
    parser.add_argument("--quotes", action="store_true", help="every quote as a line of JSON, before the summary")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    log = Log("replay", SystemClock(), write=sys.stderr.write)

    def show(quote: Published) -> None:
        if args.quotes:
            sys.stdout.write(msgspec.json.encode(quote._asdict()).decode() + "\n")

    def body() -> int:
        summary = replay(Venue(args.venue), records(args.files), show, log)
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
        return EXIT_OK

    return guard(body, log)


def records(files: Iterable[Path]) -> Iterator[Record]:
    """The records of `files` in order. A file that was cut off ends with its last whole record. Raises ConfigError."""
    decoder = msgspec.msgpack.Decoder(Record)
    for file in files:
        held = bytearray()
        for piece in read_whole(file):
            held += piece
            start = 0
            while len(held) - start >= PREFIX:
                size = int.from_bytes(held[start : start + PREFIX], "little")
                if size > MAX_RECORD_BYTES:
                    raise ConfigError(f"{file}: not a recording of frames: a record of {size} bytes")
                end = start + PREFIX + size
                if len(held) < end:
                    break
                try:
                    yield decoder.decode(held[start + PREFIX : end])
                except msgspec.DecodeError as error:
                    raise ConfigError(f"{file}: not a recording of frames: {error}") from error
                start = end
            del held[:start]


def replay(
    venue: Venue,
    recorded: Iterable[Record],
    publish: Callable[[Published], None],
    log: Log,
    settings: FeedsConfig | None = None,
) -> Summary:
    """Feed every record to the decoder; `publish` gets every quote. Raises ConfigError for another venue's recording."""
    with tempfile.TemporaryDirectory(prefix="tandem-replay-") as scratch:
        clock = _RecordedClock()
        run = RunDir.join(Path(scratch) / "tandem-replay", 1.0, clock)
        try:
            page = CountersWriter(run, f"feed-{venue}", clock, SERIES)
            book = _Listening(run, venue, clock, CAPACITY_SLOTS, RING_RECORDS)
            book.publish = publish
            player = _Player(venue, book, Meters(page, venue), clock, log, settings or FeedsConfig(symbols=()))
            for record in recorded:
                player.take(record)
            player.summary.quotes = book.count
            book.close()
            page.close()
            return player.summary
        finally:
            run.leave()


class _RecordedClock:
    """Stands where the last record stood."""

    def __init__(self) -> None:
        self.now = (1, 1)

    def mono_ns(self) -> int:
        return self.now[0]

    def wire_ns(self) -> int:
        return self.now[1]

    def calendar_ns(self) -> int:
        return self.now[1]


class _Listening(BookWriter):
    """A book that tells of every quote."""

    publish: Callable[[Published], None]
    count = 0

    def publish_quote(
        self, slot: int, bid_px: float, bid_qty: float, ask_px: float, ask_qty: float, exch_ts_ns: int, local_mono_ns: int,
        flags: int = int(QuoteFlag.EXECUTABLE),
    ) -> None:  # fmt: skip
        super().publish_quote(slot, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, flags)
        self.count += 1
        symbol = next(name for name, at in self.slots.items() if at == slot)
        self.publish(Published(symbol, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_mono_ns, flags))


class _Player:
    """The life of a feed, told by its records."""

    def __init__(
        self, venue: Venue, book: BookWriter, meters: Meters, clock: _RecordedClock, log: Log, settings: FeedsConfig
    ) -> None:
        self.summary = Summary()
        self._venue = venue
        self._clock = clock
        self._decoder: FeedDecoder = importlib.import_module(f"feeds.venues.{venue}").Decoder()
        self._publisher = Publisher(
            book, settings, clock, meters, log, lambda ring: None, self._decoder.funding_on_whole_intervals
        )
        self._streams: dict[int, Stream] = {}
        self._sockets: set[int] = set()
        self._epoch = 0
        self._answers: tuple[bytes, ...] = ()

    def take(self, record: Record) -> None:
        self._clock.now = (record.mono_ns, record.wire_ns)
        self.summary.records += 1
        match record.kind:
            case Kind.FRAME:
                self._frame(record)
            case Kind.HEAD:
                self._head(record)
            case Kind.CATALOGUE:
                if record.more != self._answers:
                    self._answers = record.more
                    self._publisher.install(self._decoder.load_catalogue(list(record.more), record.words))
            case Kind.ASSIGN:
                self._sockets.add(record.socket)
                self._publisher.assign(record.socket, record.words)
            case Kind.OPEN:
                if record.number not in self._streams:
                    self._streams[record.number] = self._decoder.stream(SocketPlan(record.words, record.more))
            case Kind.CLOSE:
                self._streams.pop(record.number, None)
            case Kind.DOWN:
                self._publisher.socket_down(record.socket, record.words[0])
            case Kind.SEED:
                self._publisher.seed(self._decoder.load_seed(record.body), record.mono_ns)
            case Kind.FIGURES:
                self._publisher.figures(self._decoder.load_figures(record.body, record.words[0]), record.mono_ns)
            case Kind.HOLE:
                self.summary.dropped += record.number

    def _head(self, record: Record) -> None:
        """Another process went on recording: all that the former one had is void."""
        if record.words != (self._venue,):
            raise ConfigError(f"a recording of {', '.join(record.words)}, not of {self._venue}; give the right --venue")
        if self._epoch and record.number != self._epoch:
            for socket in self._sockets:
                self._publisher.socket_down(socket, "another process")
            self._streams.clear()
        self._epoch = record.number

    def _frame(self, record: Record) -> None:
        self.summary.frames += 1
        stream = self._streams.get(record.number)
        if stream is None:
            self.summary.unknown_connection += 1
            return
        try:
            events = stream.decode(record.body)
        except Malformed:
            self.summary.malformed += 1
            return
        self._publisher.take(events, record.socket, record.mono_ns)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
