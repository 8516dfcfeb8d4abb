"""Timing: medians and 99th percentiles of single calls or of messages between processes, and rows to show them in.

Machines are noisy and have two cores, so what counts are medians, and ratios between things measured in the same run.
Nothing here asserts: these are figures, not tests.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One hop. Microseconds; goals are those of the design (median, p99), None where there is none."""

    hop: str
    median_us: float
    p99_us: float
    goal_median_us: float | None = None
    goal_p99_us: float | None = None
    peer: str = ""  # what the same hop is compared with
    peer_median_us: float | None = None

    @property
    def times_goal(self) -> float | None:
        return None if self.goal_median_us is None else self.median_us / self.goal_median_us

    @property
    def peer_ratio(self) -> float | None:
        """How many times slower the peer is."""
        return None if self.peer_median_us is None else self.peer_median_us / self.median_us


def calls(function: Callable[[], object], *, rounds: int = 3000, batch: int = 1) -> tuple[float, float]:
    """(median, p99) in microseconds of one call. `batch` calls share one pair of clock reads where a call is so short
    that the clock would count; p99 is then that of a batch's mean."""
    clock = time.perf_counter_ns
    for _ in range(200):
        function()
    gc.collect()
    gc.disable()
    try:
        samples = []
        for _ in range(rounds):
            began = clock()
            for _ in range(batch):
                function()
            samples.append((clock() - began) / batch)
    finally:
        gc.enable()
    return percentiles(samples)


def percentiles(samples_ns: Sequence[float]) -> tuple[float, float]:
    """(median, p99) in microseconds."""
    ordered = sorted(samples_ns)
    return ordered[len(ordered) // 2] / 1e3, ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1e3
