"""When a difference between the venue's position and ours may be believed. Pure bookkeeping over successive readings.

A reading may be older than a fill we already know, or newer than one we do not. So a difference counts only

  - from a reading during which our own belief did not move and no order of ours was in flight on that instrument, and
  - when a second reading, begun at least CONFIRM_NS after the first, shows the very same two figures.

Anything else starts the count again. Agreement needs one reading. Bounded by the instruments ever held.

A venue's readings may also lag behind its own stream, by seconds (a replica): two of them then agree about the past. So a
difference is not judged within SETTLED_NS of the newest fill that we know on the instrument, nor from a reading whose fills
lack one that we know (`behind`). And what was given up all the same and is there again within BACK_NS was ours all along.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from core.clock import NS_PER_MS, NS_PER_S
from core.types import Fill
from executor.state import Key

CONFIRM_NS = 400 * NS_PER_MS
SETTLED_NS = 4 * NS_PER_S
BACK_NS = 60 * NS_PER_S
BEHIND_NS = 30 * NS_PER_S  # what a list of fills still lacks after that, it will never show


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


def behind(known: Iterable[Fill], read: Iterable[Fill], from_ns: int, before_ns: int) -> set[Key]:
    """Instruments of which a list of fills `read` from `from_ns` on lacks some that were `known` when it was asked for, at
    `before_ns` (both by the venue's clock)."""
    from_ns = max(from_ns, before_ns - BEHIND_NS)
    listed = {(fill.venue, fill.trade_id) for fill in read}
    return {
        (fill.venue, fill.symbol)
        for fill in known
        if from_ns <= fill.ts_ns <= before_ns and (fill.venue, fill.trade_id) not in listed
    }


class GivenUp:
    """Lots of ours that a venue's readings made us give up, in case they come back. Bounded by the instruments."""

    def __init__(self) -> None:
        self._lots: dict[Key, tuple[int, int]] = {}

    def note(self, key: Key, lots: int, mono_ns: int) -> None:
        """We held `lots` (signed) until now, and believe the venue that it is less."""
        self._lots[key] = lots, mono_ns

    def is_back(self, key: Key, venue_lots: int, mono_ns: int) -> bool:
        """Whether what the venue shows now is no more than what was given up lately."""
        lots, since_ns = self._lots.get(key, (0, 0))
        return lots * venue_lots > 0 and abs(venue_lots) <= abs(lots) and mono_ns - since_ns <= BACK_NS
