"""When a difference between the venue's position and ours may be believed. Pure bookkeeping over successive readings.

A reading may be older than a fill we already know, or newer than one we do not. So a difference counts only

  - from a reading during which our own belief did not move and no order of ours was in flight on that instrument, and
  - when a second reading, begun at least CONFIRM_NS after the first, shows the very same two figures.

Anything else starts the count again. Agreement needs one reading. Bounded by the instruments ever held.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from core.clock import NS_PER_MS
from executor.state import Key

CONFIRM_NS = 400 * NS_PER_MS


class Judgement(enum.Enum):
    AGREES = "agrees"
    PENDING = "pending"  # seen once, or not judged: look again
    DIFFERS = "differs"  # seen twice


class _Sighting(NamedTuple):
    venue_lots: int
    our_lots: int
    first_mono_ns: int


class Differences:
    """One per venue; `asked_mono_ns` is when the request of a reading was sent."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Sighting] = {}

    @property
    def pending(self) -> bool:
        """Whether some difference waits for its second sighting."""
        return bool(self._seen)

    def judge(self, key: Key, venue_lots: int, our_lots: int, asked_mono_ns: int, *, quiet: bool) -> Judgement:
        """`quiet`: nothing of ours moved or was in flight on this instrument during the reading."""
        if not quiet:
            self._seen.pop(key, None)
            return Judgement.PENDING
        if venue_lots == our_lots:
            self._seen.pop(key, None)
            return Judgement.AGREES
        last = self._seen.get(key)
        if last is None or (last.venue_lots, last.our_lots) != (venue_lots, our_lots):
            self._seen[key] = _Sighting(venue_lots, our_lots, asked_mono_ns)
            return Judgement.PENDING
        if asked_mono_ns - last.first_mono_ns < CONFIRM_NS:
            return Judgement.PENDING
        del self._seen[key]
        return Judgement.DIFFERS
