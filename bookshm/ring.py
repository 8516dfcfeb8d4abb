"""A ring of records that followers read in order: one writer, any number of followers, none of whom it knows.

Record n (counted from 1, never restarted) stands at index (n - 1) & mask. The writer stores stamp 0, the payload, stamp
n, then the cursor; a follower reads only up to the cursor, and accepts a record if its stamp was n before and after.
Stamp 0 is what makes that sound: on x86-64 stores become visible in order, so a follower that still reads stamp n after
its copy has copied nothing of record n + size. A writer killed anywhere leaves the cursor on the last whole record, and
the next writer resumes behind it; a record that was stamped but not yet under the cursor is written again, and no
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
    """The append side. `records` is a power of two; payloads are shorter than a record by one word."""

    __slots__ = ("_base", "_bytes", "_mask", "_next", "_view", "_words")

    def __init__(self, segment: Segment, base: int, record_bytes: int, records: int) -> None:
        self._words = segment.words
        self._view = segment.view
        self._base = base
        self._bytes = record_bytes
        self._mask = records - 1
        self._next = segment.words[at.W_CURSOR] + 1

    def append(self, payload: bytes) -> int:
        """Write one record; its number."""
        n = self._next
        offset = self._base + (n - 1 & self._mask) * self._bytes
        word = offset // at.WORD
        self._words[word] = 0
        self._view[offset + at.WORD : offset + at.WORD + len(payload)] = payload
        self._words[word] = n
        self._words[at.W_CURSOR] = n
        self._next = n + 1
        return n


class RingReader:
    """The read side, at a position of its own."""

    __slots__ = ("_base", "_bytes", "_records", "_segment", "next")

    def __init__(self, segment: Segment, base: int, record_bytes: int, records: int, following: int = 0) -> None:
        """`following` is the number of the first record wanted; 0 = the next one to be written."""
        self._segment = segment
        self._base = base
        self._bytes = record_bytes
        self._records = records
        self.next = following or segment.words[at.W_CURSOR] + 1

    @property
    def waiting(self) -> int:
        """Records written and not yet polled, overwritten ones included."""
        return max(0, self._segment.words[at.W_CURSOR] + 1 - self.next)

    def poll(self, limit: int) -> list[tuple[int, bytes]] | Lapped:
        """At most `limit` records in order as (number, payload); Lapped when the next one is gone."""
        words = self._segment.words
        view = self._segment.view
        out: list[tuple[int, bytes]] = []
        n = self.next
        last = min(words[at.W_CURSOR], n + limit - 1)
        while n <= last:
            offset = self._base + ((n - 1) & (self._records - 1)) * self._bytes
            word = offset // at.WORD
            if words[word] != n:
                break
            payload = bytes(view[offset + at.WORD : offset + self._bytes])
            if words[word] != n:
                break
            out.append((n, payload))
            n += 1
        if out or n > last:
            self.next = n
            return out
        oldest = max(words[at.W_CURSOR] - self._records + 1, n + 1)
        self.next = oldest
        return Lapped(oldest - n)
