"""Raw frames to disk, written by the feed that holds them; feeds/replay.py reads them back to the same quotes.

What a feed heard is a sequence of records, each msgpack behind its length: a connection that opened with its plan, a frame
of it, its end, a symbol list of a socket, REST answers that decoding or publishing needed. Every file begins with what is
in force (catalogue, plans, open connections), so the files of one run may be read from any one on, and in order they are
one sequence.

The hot path pays one attribute test while nothing is recorded, and one append to a deque while something is. The queue is
bounded in frames and in bytes; what does not fit is dropped, counted, and marked in the recording at its place. A thread
packs, compresses and writes record by record, and compression lets go of the interpreter lock each time, so the loop never
waits for more than a record. A disk that refuses ends the recording with an error in the log, never the feed. Refused: a
lock or a condition per frame (the thread looks every POLL_S instead), and writing on the loop (a sync stalls by ms).

Recording is on while the switch file stands in the directory (`tandem record start|stop`, ops/record_command.py).
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from pathlib import Path

import msgspec

from core.clock import NS_PER_S, Clock
from core.errors import ConfigError
from core.log import Log
from core.rotation import RotatingFiles
from core.settings import RecorderConfig
from core.types import Venue
from feeds.meters import Meters
from feeds.venues.base import SocketPlan

POLL_S = 0.05
FLUSH_NS = NS_PER_S
MIB = 1 << 20
JOIN_S = 10.0
SWITCH = "recording.on"


class Kind(enum.Enum):
    """What a record is; its body in brackets."""

    HEAD = "head"  # a file begins [venue, process epoch]
    CATALOGUE = "catalogue"  # [answers of catalogue_requests, wanted symbols]
    ASSIGN = "assign"  # a socket carries these symbols from now on [symbols, frames]
    OPEN = "open"  # a connection of a socket is open [connection, symbols, frames]
    FRAME = "frame"  # [connection, bytes]
    CLOSE = "close"  # [connection]
    DOWN = "down"  # the socket's quotes are void [reason]
    SEED = "seed"  # an answer of seed_requests [bytes]
    FIGURES = "figures"  # an answer of figures_requests [bytes, about]
    HOLE = "hole"  # so many records were dropped here [count]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """Times are those of the feed when it happened. `number` is a socket's index, a connection's number, or a count."""

    kind: Kind
    mono_ns: int
    wire_ns: int
    socket: int = 0
    number: int = 0
    body: bytes = b""
    more: tuple[bytes, ...] = ()
    words: tuple[str, ...] = ()


class Recorder:
    """Called on the feed's one thread; its own thread writes. `look` is called about once a second."""

    def __init__(
        self, directory: Path, venue: Venue, epoch: int, config: RecorderConfig, clock: Clock, meters: Meters, log: Log
    ) -> None:
        self.is_on = False
        self._switch = directory / SWITCH
        self._venue = venue
        self._epoch = epoch
        self._config = config
        self._clock = clock
        self._meters = meters
        self._log = log
        self._files = RotatingFiles(
            directory, f"frames-{venue}", int(config.max_file_mib * MIB), int(config.max_total_mib * MIB), clock
        )
        self._queue: deque[Record] = deque()
        self._max_bytes = int(config.queue_mib * MIB)
        self._queued_bytes = 0  # written by the feed's thread only, as the next one by the writer's only
        self._taken_bytes = 0
        self._hole = 0
        self._connections = 0
        self._known: dict[tuple[Kind, int], Record] = {}  # what is in force: catalogue, plans, open connections
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._failed = ""

    # ---- what the feed tells --------------------------------------------------------------------------------------

    def catalogue(self, answers: list[bytes], wanted: tuple[str, ...]) -> None:
        self._keep(Kind.CATALOGUE, 0, self._record(Kind.CATALOGUE, more=tuple(answers), words=wanted))

    def assign(self, socket: int, plan: SocketPlan) -> None:
        self._keep(Kind.ASSIGN, socket, self._record(Kind.ASSIGN, socket, more=plan.frames, words=plan.symbols))

    def opened(self, socket: int, plan: SocketPlan) -> int:
        """A new connection; the number its frames go by."""
        self._connections += 1
        number = self._connections
        record = self._record(Kind.OPEN, socket, number, more=plan.frames, words=plan.symbols)
        self._keep(Kind.OPEN, number, record)
        return number

    def frame(self, socket: int, connection: int, now_ns: int, frame: bytes) -> None:
        """Only while `is_on`: the caller tests, to spare the call."""
        self._put(Record(Kind.FRAME, now_ns, self._clock.wire_ns(), socket, connection, bytes(frame)))

    def closed(self, socket: int, connection: int) -> None:
        self._known.pop((Kind.OPEN, connection), None)
        self._tell(self._record(Kind.CLOSE, socket, connection))

    def down(self, socket: int, reason: str) -> None:
        self._tell(self._record(Kind.DOWN, socket, words=(reason,)))

    def dropped_socket(self, socket: int) -> None:
        """The socket carries nothing any more."""
        self._known.pop((Kind.ASSIGN, socket), None)
        self._tell(self._record(Kind.ASSIGN, socket))

    def seed(self, socket: int, answer: bytes, now_ns: int) -> None:
        self._tell(Record(Kind.SEED, now_ns, self._clock.wire_ns(), socket, body=answer))

    def figures(self, answer: bytes, about: str) -> None:
        self._tell(self._record(Kind.FIGURES, body=answer, words=(about,)))

    def look(self) -> None:
        """Follow the switch."""
        wanted = self._switch.exists()
        if wanted and not self.is_on and not self._failed:
            self._start()
        elif not wanted:
            self._failed = ""
            if self.is_on:
                self.stop()
        elif self.is_on and self._failed:
            self.is_on = False
            self._join()
            self._log.error(
                "recording_failed", detail=self._failed, advice="free the disk, then tandem record stop and start"
            )
        self._meters.recording.set(float(self.is_on))

    def stop(self) -> None:
        """Everything queued is written, then the file is whole."""
        if self.is_on:
            self.is_on = False
            self._join()
            self._meters.recording.set(0.0)
            self._log.info("recording_stopped")

    # ---- the feed's thread ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._queue.clear()
        self._queued_bytes = self._taken_bytes = self._hole = 0
        self._stop.clear()
        self._queue.extend(self._preamble())
        self._thread = threading.Thread(target=self._write_all, name=f"recorder-{self._venue}", daemon=True)
        self._thread.start()
        self.is_on = True
        self._log.info("recording_started", directory=str(self._switch.parent))

    def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
            self._thread = None

    def _record(
        self, kind: Kind, socket: int = 0, number: int = 0, body: bytes = b"", more: tuple[bytes, ...] = (),
        words: tuple[str, ...] = (),
    ) -> Record:  # fmt: skip
        return Record(kind, self._clock.mono_ns(), self._clock.wire_ns(), socket, number, body, more, words)

    def _keep(self, kind: Kind, key: int, record: Record) -> None:
        self._known[kind, key] = record
        self._tell(record)

    def _tell(self, record: Record) -> None:
        if self.is_on:
            self._put(record)

    def _put(self, record: Record) -> None:
        size = len(record.body)
        if len(self._queue) >= self._config.queue_records or self._queued_bytes - self._taken_bytes > self._max_bytes:
            self._hole += 1
            self._meters.recorder_dropped.add()
            return
        if self._hole:
            self._queue.append(Record(Kind.HOLE, record.mono_ns, record.wire_ns, number=self._hole))
            self._hole = 0
        self._queued_bytes += size
        self._queue.append(record)
        self._meters.recorded.add()

    def _preamble(self) -> list[Record]:
        """Catalogue before plans before connections, as they came."""
        order = (Kind.CATALOGUE, Kind.ASSIGN, Kind.OPEN)
        return sorted(self._known.values(), key=lambda record: (order.index(record.kind), record.mono_ns))

    # ---- the writer's thread --------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        """Until asked to stop and the queue is empty. The state in force is followed here too, for the next file's head."""
        state: dict[tuple[Kind, int], Record] = {}
        flush_ns = self._clock.mono_ns()
        try:
            while True:
                is_last = self._stop.wait(POLL_S)
                self._drain(state)
                now_ns = self._clock.mono_ns()
                if now_ns - flush_ns > FLUSH_NS:
                    flush_ns = now_ns
                    self._files.flush()
                if is_last and not self._queue:
                    break
            self._files.close()
        except (OSError, ConfigError) as error:
            self._failed = str(error)

    def _drain(self, state: dict[tuple[Kind, int], Record]) -> None:
        for _ in range(len(self._queue)):
            record = self._queue.popleft()
            self._taken_bytes += len(record.body)
            if self._files.is_full:
                self._files.open()
                head = Record(Kind.HEAD, record.mono_ns, record.wire_ns, number=self._epoch, words=(self._venue,))
                self._files.write(pack(head) + b"".join(map(pack, state.values())))
            _follow(state, record)
            self._files.write(pack(record))


def pack(record: Record) -> bytes:
    """One record behind its length, 4 bytes little-endian."""
    data = msgspec.msgpack.encode(record)
    return len(data).to_bytes(4, "little") + data


def _follow(state: dict[tuple[Kind, int], Record], record: Record) -> None:
    if record.kind is Kind.CATALOGUE:
        state[record.kind, 0] = record
    elif record.kind is Kind.ASSIGN:
        state[record.kind, record.socket] = record
    elif record.kind is Kind.OPEN:
        state[record.kind, record.number] = record
    elif record.kind is Kind.CLOSE:
        state.pop((Kind.OPEN, record.number), None)
