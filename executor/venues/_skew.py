"""How far the venue's clock is from ours, and whether that still allows signing (TRAPS T20).

A wrong clock makes nonces fall out of their window and expiries land before or long after their time, so a gateway sends
nothing while the offset exceeds the venue's bound.
"""

from __future__ import annotations

import statistics
from collections import deque

from core.clock import NS_PER_MS, NS_PER_S

SAMPLES = 5
HALF_A_SECOND_NS = NS_PER_S // 2


class ClockSkew:
    """Median of the last exact samples; Date headers (whole seconds) count only while there is no exact one."""

    __slots__ = ("_max_ns", "_samples", "offset_ns", "refusal")

    def __init__(self, max_ns: int) -> None:
        self._max_ns = max_ns
        self._samples: deque[int] = deque(maxlen=SAMPLES)
        self.offset_ns = 0  # venue minus ours; 0 = unknown
        self.refusal = ""  # why nothing may be signed now; "" = all is well. Kept ready: every order asks

    def note(self, venue_ns: int, asked_ns: int, answered_ns: int) -> None:
        """The venue said `venue_ns` in an answer to a question; both times by our wire clock."""
        self._samples.append(venue_ns - (asked_ns + answered_ns) // 2)
        self._judge(int(statistics.median(self._samples)))

    def note_date(self, date_ns: int, now_ns: int) -> None:
        """A Date header: the second that had begun."""
        if date_ns and not self._samples:
            self._judge(date_ns + HALF_A_SECOND_NS - now_ns)

    def _judge(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns
        bound_ms = self._max_ns // NS_PER_MS
        self.refusal = (
            ""
            if abs(offset_ns) <= self._max_ns
            else f"the venue's clock is {offset_ns // NS_PER_MS} ms from ours (bound {bound_ms} ms); "
            "correct this machine's clock"
        )
