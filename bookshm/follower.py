"""Following every quote of a book in order, across restarts of its writer and replacements of its segment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bookshm import layout as at
from bookshm.ring import RingReader
from bookshm.segment import HEARTBEAT_STALE_NS, Segment, attach
from core.types import Lapped, Quote


class Follower:
    """Made by BookReader.follow. Starts behind the newest record; if the book does not exist yet, at its first."""

    __slots__ = ("_mono_ns", "_path", "_ring", "_segment")

    def __init__(self, path: Path, mono_ns: Callable[[], int]) -> None:
        self._path = path
        self._mono_ns = mono_ns
        self._segment: Segment | None = None
        self._ring: RingReader | None = None
        self._attach(following=0)

    def poll(self, limit: int) -> list[tuple[int, Quote]] | Lapped:
        """At most `limit` quotes as (slot, quote), oldest first; [] if there is none; Lapped(n) once when exactly n records
        were overwritten before they could be read. `age_ns` is that of the quote's own frame."""
        if self._ring is None:
            self._attach(following=1)
            if self._ring is None:
                return []
        got = self._ring.poll(limit)
        if isinstance(got, Lapped):
            return got
        if not got:
            self._look_for_successor()
            return []
        now_ns = self._mono_ns()
        unpack = at.QUOTE.unpack
        out: list[tuple[int, Quote]] = []
        for _, record in got:
            stamp, bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_ns, _, slot, flags = unpack(record)
            sequence, age_ns = stamp & at.COUNT_MASK, now_ns - local_ns
            out.append((slot, Quote(bid_px, bid_qty, ask_px, ask_qty, exch_ts_ns, local_ns, sequence, flags, age_ns)))
        return out

    def _look_for_successor(self) -> None:
        """With the old ring read to its end, move to the file that replaced it, if its writer is gone."""
        segment = self._segment
        if segment is None:
            return
        words = segment.words
        is_silent = self._mono_ns() - words[at.W_HEARTBEAT] > HEARTBEAT_STALE_NS
        if (words[at.W_STATE] in (at.RETIRED, at.STOPPED) or is_silent) and not segment.is_current():
            self._attach(following=1)

    def _attach(self, following: int) -> None:
        segment = attach(self._path, at.BOOK_HASH)
        if segment is None:
            return
        layout = at.BookLayout(segment.words[at.W_CAPACITY], segment.words[at.W_RECORDS])
        self._segment = segment
        self._ring = RingReader(segment, layout.ring, following)
