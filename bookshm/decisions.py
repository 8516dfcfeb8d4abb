"""A strategy's decision ring: why it acted and why not, kept in shared memory for `tandem why` and the dashboard.

The ring of bookshm/ring.py with records of 1,024 bytes. A restarted strategy goes on behind its own last record.
"""

from __future__ import annotations

from pathlib import Path

from bookshm import layout as at
from bookshm.lock import WriterLock
from bookshm.ring import RingReader, RingWriter
from bookshm.run import RunDir, run_path
from bookshm.segment import Segment, attach, open_writer, require_power_of_two
from core.decisions import Decision, decode_decision, encode_decision
from core.types import Lapped

_LATEST_TRIES = 4


class DecisionWriter:
    """The ring of `strategy`, its only writer. Raises BusyError if the strategy runs twice."""

    def __init__(self, run: RunDir, strategy: str, records: int) -> None:
        require_power_of_two(records, "books.decision_records")
        layout = at.DecisionLayout(records)
        self._lock = WriterLock(run.decisions / f".{strategy}.lock", f"strategy-{strategy}")
        try:
            path = run.decisions / strategy
            self._segment = open_writer(path, at.DECISIONS_HASH, layout.size, (0, records), strategy)
        except BaseException:
            self._lock.close()
            raise
        self._ring = RingWriter(self._segment, layout.ring)
        self._segment.set_state(at.UP, "")

    def write(self, decision: Decision) -> int:
        """Append; the record's number. Raises ValueError when the record is too long."""
        data = encode_decision(decision)
        return self._ring.append(at.DECISION_PREFIX.pack(len(data)) + data)

    def close(self) -> None:
        self._segment.set_state(at.STOPPED, "strategy stopped")
        self._lock.close()


class DecisionReader:
    """Reads one strategy's ring; before the strategy was ever started there is nothing to read, and it says so with []."""

    def __init__(self, run: RunDir | Path, strategy: str) -> None:
        self._path = run_path(run) / "decisions" / strategy
        self._segment: Segment | None = None
        self._follow: RingReader | None = None

    def latest(self, n: int) -> list[Decision]:
        """The last `n` decisions at most, oldest first."""
        segment = self._current()
        if segment is None or n < 1:
            return []
        for _ in range(_LATEST_TRIES):
            cursor, records = segment.words[at.W_CURSOR], segment.words[at.W_RECORDS]
            first = max(1, cursor - min(n, records) + 1)
            got = self._ring(segment, first).poll(n)
            if not isinstance(got, Lapped):
                return [_decode(payload) for _, payload in got]
        return []  # the strategy overwrote the ring's oldest record at every try; the next call may be luckier

    def poll(self, limit: int) -> list[Decision] | Lapped:
        """Follow: what came since the last poll, from the oldest record there is at the first; Lapped(n) when exactly n
        were overwritten unread."""
        segment = self._current()
        if segment is None:
            return []
        if self._follow is None:
            self._follow = self._ring(segment, max(1, segment.words[at.W_CURSOR] - segment.words[at.W_RECORDS] + 1))
        got = self._follow.poll(limit)
        return got if isinstance(got, Lapped) else [_decode(payload) for _, payload in got]

    def _current(self) -> Segment | None:
        """The ring that has the path now; followed from its beginning if it replaced another."""
        if self._segment is None or not self._segment.is_current():
            segment = attach(self._path, at.DECISIONS_HASH)
            if segment is not None:
                self._segment = segment
                self._follow = None
        return self._segment

    @staticmethod
    def _ring(segment: Segment, following: int) -> RingReader:
        return RingReader(segment, at.DecisionLayout(segment.words[at.W_RECORDS]).ring, following)


def strategies(run: RunDir | Path) -> list[str]:
    """Names of the strategies that have a decision ring in this run."""
    directory = run_path(run) / "decisions"
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith("."))


def _decode(payload: bytes) -> Decision:
    (length,) = at.DECISION_PREFIX.unpack_from(payload)
    start = at.DECISION_PREFIX.size
    return decode_decision(payload[start : start + length])
