"""The token bucket keeps its reserve for cancels and flatten, and refills evenly."""

from __future__ import annotations

import pytest

from core.clock import NS_PER_S, SimClock
from core.errors import RateLimited
from executor.throttle import Throttle


def test_reserve_is_for_priority_only() -> None:
    throttle = Throttle(100, 0.3, SimClock())
    assert sum(throttle.take() for _ in range(200)) == 70
    assert not throttle.admits()
    assert throttle.admits(priority=True)
    assert throttle.ratio == pytest.approx(0.3)
    assert sum(throttle.take(priority=True) for _ in range(200)) == 30
    assert not throttle.admits(priority=True)
    assert throttle.ratio == 0.0


def test_asking_takes_nothing() -> None:
    throttle = Throttle(10, 0.0, SimClock())
    for _ in range(100):
        assert throttle.admits()
    assert throttle.ratio == 1.0


def test_refills_evenly_and_no_further_than_full() -> None:
    clock = SimClock()
    throttle = Throttle(60, 0.0, clock)
    while throttle.take():
        pass
    clock.advance_ns(5 * NS_PER_S)
    assert sum(throttle.take() for _ in range(60)) == 5
    clock.advance_ns(3600 * NS_PER_S)
    assert throttle.ratio == 1.0


def test_weights_and_the_wait_they_cost() -> None:
    clock = SimClock()
    throttle = Throttle(60, 0.5, clock)
    throttle.require(20, priority=False)
    with pytest.raises(RateLimited) as caught:
        throttle.require(20, priority=False)
    assert caught.value.retry_after_s == pytest.approx(10.0)
    throttle.require(20, priority=True)
    clock.advance_ns(NS_PER_S)


@pytest.mark.parametrize("everything", [True, False])
def test_the_venue_says_stop(everything: bool) -> None:
    clock = SimClock()
    throttle = Throttle(60, 0.0, clock)
    throttle.pause(10.0, everything=everything)
    assert not throttle.admits()
    assert throttle.admits(priority=True) is not everything
    assert throttle.ratio == (0.0 if everything else 1.0)
    with pytest.raises(RateLimited) as caught:
        throttle.require(1, priority=False)
    assert caught.value.retry_after_s == pytest.approx(10.0)
    clock.advance_ns(9 * NS_PER_S)
    throttle.pause(0.5, everything=everything)  # a shorter pause does not end a longer one
    assert not throttle.admits()
    clock.advance_ns(2 * NS_PER_S)
    assert throttle.admits()
    assert throttle.admits(priority=True)


def test_a_charge_for_what_is_spent_may_go_into_debt() -> None:
    clock = SimClock()
    throttle = Throttle(60, 0.0, clock)
    throttle.charge(70)
    assert throttle.ratio == 0.0
    clock.advance_ns(9 * NS_PER_S)
    assert not throttle.admits(priority=True)
    clock.advance_ns(2 * NS_PER_S)
    assert throttle.admits(priority=True)
