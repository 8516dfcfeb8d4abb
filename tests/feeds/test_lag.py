"""The rolling median of the exchange lag and what stands out from it."""

from __future__ import annotations

import pytest

from core.clock import NS_PER_MS, NS_PER_S
from feeds.lag import SAMPLE_NS, WINDOW_NS, LagMeter

MS = NS_PER_MS


@pytest.mark.parametrize("skew_ms", [-1270, 0, 250, 86_400_000])
def test_only_the_rise_above_the_median_counts(skew_ms: int) -> None:
    meter = LagMeter(500 * MS)
    for number in range(100):
        assert not meter.is_late((skew_ms + number % 7) * MS, number * SAMPLE_NS)
    now_ns = 100 * SAMPLE_NS
    assert not meter.is_late((skew_ms + 500) * MS, now_ns)
    assert meter.is_late((skew_ms + 504) * MS, now_ns + 1)
    assert not meter.is_late((skew_ms - 5000) * MS, now_ns + 2)


def test_a_burst_of_late_frames_does_not_move_the_median() -> None:
    meter = LagMeter(500 * MS)
    for number in range(20):
        meter.is_late(10 * MS, number * SAMPLE_NS)
    for number in range(10_000):
        assert meter.is_late(900 * MS, 20 * SAMPLE_NS + number)
    assert meter.median_ns == 10 * MS


def test_a_stepped_clock_heals_within_the_window() -> None:
    meter = LagMeter(500 * MS)
    samples = WINDOW_NS // SAMPLE_NS
    for number in range(samples):
        meter.is_late(10 * MS, number * SAMPLE_NS)
    late = [meter.is_late(2010 * MS, (samples + number) * SAMPLE_NS) for number in range(samples)]
    assert late[0]
    assert late[samples // 2 - 2]
    assert not late[-1]
    assert late == sorted(late, reverse=True)  # once healed it stays so


def test_memory_is_bounded_by_the_window() -> None:
    meter = LagMeter(MS)
    for number in range(3 * WINDOW_NS // SAMPLE_NS):
        meter.is_late(number, number * SAMPLE_NS)
    assert len(meter._sorted) == len(meter._by_age) == WINDOW_NS // SAMPLE_NS
    assert meter._sorted == sorted(meter._by_age)
    assert NS_PER_S > SAMPLE_NS
