"""Rolling medians against statistics.median over the same window."""

from __future__ import annotations

import random
import statistics

from core.clock import NS_PER_S
from core.rolling import MAX_SAMPLES, RollingMedian
from strategies.offsets import OffsetBoard


def test_equals_the_plain_median_over_the_window() -> None:
    rng = random.Random(7)
    rolling = RollingMedian(30.0, 3)
    seen: list[tuple[int, float]] = []
    for second in range(300):
        now_ns = second * NS_PER_S
        value = rng.choice([rng.gauss(0, 5), 1.0])  # duplicates on purpose
        rolling.add(now_ns, value)
        seen.append((now_ns, value))
        window = [v for t, v in seen if now_ns - t <= 30 * NS_PER_S]
        expected = statistics.median(window) if len(window) >= 3 else None
        assert rolling.median(now_ns) == expected, second


def test_old_history_is_no_history() -> None:
    rolling = RollingMedian(30.0, 1)
    rolling.add(0, 5.0)
    assert rolling.median(30 * NS_PER_S) == 5.0
    assert rolling.median(30 * NS_PER_S + 1) is None


def test_bounded() -> None:
    rolling = RollingMedian(1e9, 1)
    for i in range(MAX_SAMPLES + 10):
        rolling.add(i, float(i))
    assert rolling.count == MAX_SAMPLES


def test_both_directions_agree() -> None:
    board = OffsetBoard(60.0, 2)
    board.add("BTC", "b", "a", 0, 10.0)
    board.add("BTC", "a", "b", NS_PER_S, -14.0)
    assert board.settled_bps("BTC", "b", "a") is None
    board.settle(NS_PER_S)
    assert board.settled_bps("BTC", "b", "a") == 12.0
    assert board.settled_bps("BTC", "a", "b") == -12.0
    assert board.samples("BTC", "a", "b") == 2
