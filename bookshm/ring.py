"""A ring of records that followers read in order: one writer, any number of followers, none of whom it knows.

Record n (counted from 1, never restarted) and its stamp stand at index n & mask. The writer stores stamp 0, the record,
stamp n, then the cursor; a follower reads only up to the cursor, and accepts a record if its stamp was n before and
after. Stamp 0 is what makes that sound: on x86-64 stores become visible in order, so a follower that still reads stamp n
after its copy has copied nothing of record n + size. A writer killed anywhere leaves the cursor on the last whole record,
and the next writer resumes behind it; a record that was stamped but not yet under the cursor is written again, and no
follower has seen it.

Followers are told exactly how many records they missed: those between the one they wanted and the oldest that is left.
Refused: an odd/even sequence per record (a writer preempted in the middle would stop followers), and consumer
positions in the ring (a slow or dead reader would become the writer's problem).
"""

from __future__ import annotations

from bookshm import layout as at
from bookshm.segment import Segment
from core.types import Lapped


class RingWriter:
    """The append side. `records` is a power of two; a payload is at most one record long."""

    __slots__ = ("_bytes", "_mask", "_next", "_records_at", "_stamps", "_view", "_words")

    def __init__(self, segment: Segment, layout: at.RingLayout) -> None:
        self._words = segment.words
        self._view = segment.view
        self._stamps = segment.words[layout.stamps_w : layout.stamps_w + layout.records]
        self._records_at = layout.records_at
        self._bytes = layout.record_bytes
        self._mask = layout.records - 1
        self._next = segment.words[at.W_CURSOR] + 1

    def append(self, payload: bytes) -> int:
        """Write one record; its number."""
        n = self._next
        index = n & self._mask
        offset = self._records_at + index * self._bytes
        self._stamps[index] = 0
        self._view[offset : offset + len(payload)] = payload
        self._stamps[index] = n
        self._words[at.W_CURSOR] = n
        self._next = n + 1
        return n


class RingReader:
    """The read side, at a position of its own."""

    __slots__ = ("_bytes", "_mask", "_records_at", "_stamps", "_view", "_words", "next")

    def __init__(self, segment: Segment, layout: at.RingLayout, following: int = 0) -> None:
        """`following` is the number of the first record wanted; 0 = the next one to be written."""
        self._words = segment.words
        self._view = segment.view
        self._stamps = segment.words[layout.stamps_w : layout.stamps_w + layout.records]
        self._records_at = layout.records_at
        self._bytes = layout.record_bytes
        self._mask = layout.records - 1
        self.next = following or segment.words[at.W_CURSOR] + 1

    def poll(self, limit: int) -> list[tuple[int, bytes]] | Lapped:
        """At most `limit` records in order as (number, record); Lapped when the next one is gone."""
        stamps, view, size = self._stamps, self._view, self._bytes
        out: list[tuple[int, bytes]] = []
        n = self.next
        last = min(self._words[at.W_CURSOR], n + limit - 1)
        while n <= last:
            index = n & self._mask
            offset = self._records_at + index * size
            if stamps[index] != n:
                break
            record = bytes(view[offset : offset + size])
            if stamps[index] != n:
                break
            out.append((n, record))
            n += 1
        if out or n > last:
            self.next = n
            return out
        oldest = max(self._words[at.W_CURSOR] - self._mask, n + 1)
        self.next = oldest
        return Lapped(oldest - n)
