"""How far the venue's clock is from ours, and whether that still allows signing (TRAPS T20).

A wrong clock makes nonces fall out of their window and expiries land before or long after their time, so a gateway sends
nothing while the offset exceeds the venue's bound.

Exact samples are rare, and their median is slow to follow a clock that steps. So a Date header that contradicts them asks
for a sample at once (`look_due`), and two samples in a row that agree with each other and not with the rest end the rest.
A Date alone decides nothing: a slow answer, or a front whose own clock is off, looks just the same.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import deque

from core.clock import NS_PER_MS, NS_PER_S

SAMPLES = 5
HALF_A_SECOND_NS = NS_PER_S // 2
AGREE_NS = 500 * NS_PER_MS  # beyond what the travel time explains
DATE_AGREES_NS = 1_500 * NS_PER_MS  # its half second of doubt, and a second of travel
DOUBT_EVERY_NS = 2 * NS_PER_S
REFUSED_EVERY_S = 2.0


class ClockSkew:
    """Median of the last exact samples; Date headers (whole seconds) count only while there is no exact one."""

    __slots__ = ("_doubt", "_doubted_ns", "_max_ns", "_odd", "_samples", "offset_ns", "refusal")

    def __init__(self, max_ns: int) -> None:
        self._max_ns = max_ns
        self._samples: deque[int] = deque(maxlen=SAMPLES)
        self._odd: int | None = None  # the last sample, when it agreed with none before
        self._doubt = asyncio.Event()
        self._doubted_ns = 0
        self.offset_ns = 0  # venue minus ours; 0 = unknown
        self.refusal = ""  # why nothing may be signed now; "" = all is well. Kept ready: every order asks

    def note(self, venue_ns: int, asked_ns: int, answered_ns: int) -> None:
        """The venue said `venue_ns` in an answer to a question; both times by our wire clock."""
        sample = venue_ns - (asked_ns + answered_ns) // 2
        bound_ns = (answered_ns - asked_ns) // 2 + AGREE_NS
        odd, self._odd = self._odd, None
        if self._samples and abs(sample - self.offset_ns) > bound_ns:
            if odd is not None and abs(sample - odd) <= bound_ns:
                self._samples.clear()
                self._samples.append(odd)
            else:
                self._odd = sample
                self._doubt.set()  # the next sample tells whether the clock or this answer was odd
        self._samples.append(sample)
        self._judge(int(statistics.median(self._samples)))

    def note_date(self, date_ns: int, now_ns: int) -> None:
        """A Date header: the second that had begun."""
        if not date_ns:
            return
        offset_ns = date_ns + HALF_A_SECOND_NS - now_ns
        if not self._samples:
            self._judge(offset_ns)
        elif abs(offset_ns - self.offset_ns) > DATE_AGREES_NS and abs(now_ns - self._doubted_ns) >= DOUBT_EVERY_NS:
            self._doubted_ns = now_ns
            self._doubt.set()

    async def look_due(self, every_s: float) -> None:
        """Return when the next exact sample should be taken: after `every_s`, at once when something contradicts, and
        soon while nothing may be signed, since every read that would bring a Date may wait for just that."""
        try:
            async with asyncio.timeout(min(every_s, REFUSED_EVERY_S) if self.refusal else every_s):
                await self._doubt.wait()
        except TimeoutError:
            return
        finally:
            self._doubt.clear()

    def _judge(self, offset_ns: int) -> None:
        self.offset_ns = offset_ns
        bound_ms = self._max_ns // NS_PER_MS
        self.refusal = (
            ""
            if abs(offset_ns) <= self._max_ns
            else f"the venue's clock is {offset_ns // NS_PER_MS} ms from ours (bound {bound_ms} ms); "
            "correct this machine's clock"
        )
