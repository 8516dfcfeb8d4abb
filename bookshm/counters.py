"""One page of named numbers per process: its own writer, read by exporter and dashboard without touching the process.

Every number is one aligned float64 cell stored in one piece, so a reader never sees half of one; integers are exact to
2**53. A histogram is a cell per bucket, one for what lies above the last bound, and one for the sum: its count is the
total of the buckets as read, so count and buckets always agree, while the sum may be one observation ahead or behind.
A series' description (kind, name, labels, bounds) is written whole before the count of series moves, and never changes.

Counters begin at zero with each process, as Prometheus expects; the page of a former process is marked RETIRED and
replaced. A handle belongs to one thread: adding is a read and a store.
"""

from __future__ import annotations

import bisect
import enum
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bookshm import layout as at
from bookshm.lock import WriterLock
from bookshm.run import RunDir, run_path
from bookshm.segment import attach, open_writer
from core.clock import Clock, SystemClock
from core.errors import ConfigError, invariant

CONFIG_SERIES = "process_config"
"""A gauge of 1 on every page, whose label `fingerprint` says which configuration the process runs."""


class Kind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Series(msgspec.Struct, frozen=True):
    """What the page says about one series."""

    kind: Kind
    name: str
    labels: dict[str, str]
    bounds: tuple[float, ...] = ()


class Sample(msgspec.Struct, frozen=True):
    """One series as read. For a histogram `value` is the sum and `buckets` maps each upper bound (seconds or whatever
    the name says; the last one infinite) to the cumulative count; for the others `buckets` is empty."""

    kind: Kind
    name: str
    labels: dict[str, str]
    value: float
    buckets: tuple[tuple[float, int], ...] = ()

    @property
    def count(self) -> int:
        """Observations of a histogram."""
        return self.buckets[-1][1] if self.buckets else 0


class Counter:
    __slots__ = ("_cell", "_cells")

    def __init__(self, cells: memoryview[float], cell: int) -> None:
        self._cells = cells
        self._cell = cell

    def add(self, n: float = 1) -> None:
        self._cells[self._cell] += n


class Gauge:
    __slots__ = ("_cell", "_cells")

    def __init__(self, cells: memoryview[float], cell: int) -> None:
        self._cells = cells
        self._cell = cell

    def set(self, x: float) -> None:
        self._cells[self._cell] = x


class Histogram:
    __slots__ = ("_bounds", "_cell", "_cells", "_sum")

    def __init__(self, cells: memoryview[float], cell: int, bounds: tuple[float, ...]) -> None:
        self._cells = cells
        self._cell = cell
        self._bounds = bounds
        self._sum = cell + len(bounds) + 1

    def observe(self, seconds: float) -> None:
        """Count `seconds` in the first bucket whose upper bound is not below it."""
        cells = self._cells
        cells[self._cell + bisect.bisect_left(self._bounds, seconds)] += 1
        cells[self._sum] += seconds


class CountersWriter:
    """The page of `process`. Raises ConfigError when more than `capacity` series (or 16 x as many cells) are asked for."""

    def __init__(self, run: RunDir, process: str, clock: Clock, capacity: int) -> None:
        self._layout = at.CountersLayout(capacity)
        self._clock = clock
        self._process = process
        self._lock = WriterLock(run.counters / f".{process}.lock", process)
        path = run.counters / process
        size = self._layout.size
        try:
            self._segment = open_writer(path, at.COUNTERS_HASH, size, (capacity, 0), process, reuse=False)
        except BaseException:
            self._lock.close()
            raise
        self._cells = self._segment.view[self._layout.cells : self._layout.series].cast("d")
        self._cells_used = 0
        self._series: dict[str, int] = {}  # key of a series -> its first cell
        self.heartbeat()
        self._segment.set_state(at.UP, "")

    def counter(self, name: str, labels: Mapping[str, str]) -> Counter:
        """A number that only grows; by convention its name ends in _total. The same series gives the same cell."""
        return Counter(self._cells, self._register(Series(Kind.COUNTER, name, dict(labels)), 1))

    def gauge(self, name: str, labels: Mapping[str, str]) -> Gauge:
        return Gauge(self._cells, self._register(Series(Kind.GAUGE, name, dict(labels)), 1))

    def histogram(self, name: str, labels: Mapping[str, str], buckets: Sequence[float]) -> Histogram:
        """`buckets` are the upper bounds, increasing, without the infinite one."""
        bounds = tuple(float(b) for b in buckets)
        invariant(
            bool(bounds) and list(bounds) == sorted(set(bounds)), f"{name}: bucket bounds must increase: {bounds}"
        )
        series = Series(Kind.HISTOGRAM, name, dict(labels), bounds)
        return Histogram(self._cells, self._register(series, len(bounds) + 2), bounds)

    def heartbeat(self) -> None:
        self._segment.words[at.W_HEARTBEAT] = self._clock.mono_ns()

    def close(self) -> None:
        """Mark the page STOPPED; its last values stay readable until the run's directory goes."""
        self._segment.set_state(at.STOPPED, "stopped")
        self._lock.close()

    def _register(self, series: Series, cells: int) -> int:
        key = msgspec.json.encode(series, order="deterministic")
        text = key.decode()
        if text in self._series:
            return self._series[text]
        words, used, first = self._segment.words, len(self._series), self._cells_used
        if used == self._layout.capacity or first + cells > self._layout.cells_total:
            raise ConfigError(
                f"counters page of {self._process} is full at {series.name}: {used} series, {first} cells in use of "
                f"{self._layout.capacity} and {self._layout.cells_total}; open it with a larger capacity"
            )
        prefix = at.SERIES_PREFIX
        room = at.SERIES_BYTES - prefix.size
        invariant(len(key) <= room, f"{series.name}: description of {len(key)} bytes exceeds {room}")
        offset = self._layout.series + used * at.SERIES_BYTES
        data = prefix.pack(first, cells, len(key)) + key
        self._segment.view[offset : offset + len(data)] = data
        words[at.W_USED] = used + 1
        self._series[text] = first
        self._cells_used = first + cells
        return first


class CountersReader:
    """One process's page, read-only. Raises ConfigError if it is of another version, FileNotFoundError if it is gone."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        segment = attach(path, at.COUNTERS_HASH)
        if segment is None:
            raise FileNotFoundError(path)
        self._segment = segment
        self._clock = clock or SystemClock()
        self._layout = at.CountersLayout(segment.words[at.W_CAPACITY])
        self._cells = segment.view[self._layout.cells : self._layout.series].cast("d")
        self._series: list[tuple[Series, int, int]] = []

    @property
    def process(self) -> str:
        return self._segment.name

    @property
    def pid(self) -> int:
        return self._segment.words[at.W_WRITER_PID]

    @property
    def is_stopped(self) -> bool:
        """Whether the process said goodbye; one that was killed only stops its heartbeat."""
        return self._segment.words[at.W_STATE] == at.STOPPED

    @property
    def is_replaced(self) -> bool:
        """Whether a newer process of this name has a page of its own."""
        return self._segment.words[at.W_STATE] == at.RETIRED

    @property
    def heartbeat_age_ns(self) -> int:
        return self._clock.mono_ns() - self._segment.words[at.W_HEARTBEAT]

    def samples(self) -> list[Sample]:
        for index in range(len(self._series), self._segment.words[at.W_USED]):
            self._series.append(self._describe(index))
        return [self._sample(*entry) for entry in self._series]

    def _describe(self, index: int) -> tuple[Series, int, int]:
        offset = self._layout.series + index * at.SERIES_BYTES
        first, cells, length = at.SERIES_PREFIX.unpack_from(self._segment.view, offset)
        start = offset + at.SERIES_PREFIX.size
        series = msgspec.json.decode(bytes(self._segment.view[start : start + length]), type=Series)
        return series, first, cells

    def _sample(self, series: Series, first: int, cells: int) -> Sample:
        values = self._cells[first : first + cells].tolist()
        if series.kind is not Kind.HISTOGRAM:
            return Sample(series.kind, series.name, series.labels, values[0])
        cumulative, buckets = 0, []
        for bound, count in zip((*series.bounds, float("inf")), values, strict=False):
            cumulative += int(count)
            buckets.append((bound, cumulative))
        return Sample(series.kind, series.name, series.labels, values[-1], tuple(buckets))


def list_counters(run: RunDir | Path, clock: Clock | None = None) -> list[CountersReader]:
    """The pages of every process that is or was in this run, by name."""
    directory = run_path(run) / "counters"
    readers = []
    for name in sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith(".")):
        try:
            readers.append(CountersReader(directory / name, clock))
        except FileNotFoundError:
            continue  # went with its run between the listing and the look
    return readers
