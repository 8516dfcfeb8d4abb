"""Nonces never repeat: not in a burst, not when the clock steps back, not across a crash."""

from __future__ import annotations

import random

import pytest

from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US, SimClock
from executor.nonces import AHEAD_NS, BLOCK_NS, NonceSource


class Journal:
    """What survives a crash: the reserved high-water mark."""

    def __init__(self) -> None:
        self.blocks: list[tuple[str, int]] = []

    def reserve(self, signer_id: str, high: int) -> None:
        self.blocks.append((signer_id, high))

    @property
    def high(self) -> int:
        return self.blocks[-1][1] if self.blocks else 0


def source(clock: SimClock, journal: Journal, unit_ns: int = NS_PER_MS) -> NonceSource:
    return NonceSource("0xabc", unit_ns=unit_ns, clock=clock, high_water=journal.high, reserve=journal.reserve)


def test_follows_the_clock_in_the_unit_of_the_venue() -> None:
    clock, journal = SimClock(), Journal()
    assert source(clock, journal).next() == clock.wire_ns() // NS_PER_MS
    assert source(clock, Journal(), NS_PER_US).next() == clock.wire_ns() // NS_PER_US


def test_burst_within_one_tick_counts_up() -> None:
    clock, journal = SimClock(), Journal()
    nonces = source(clock, journal)
    got = [nonces.next() for _ in range(1000)]
    assert got == list(range(got[0], got[0] + 1000))


def test_reserved_before_use() -> None:
    clock, journal = SimClock(), Journal()
    nonces = source(clock, journal)
    for _ in range(50):
        assert nonces.next() < journal.high
        clock.advance_ns(NS_PER_S)


def test_a_reserve_that_fails_gives_no_nonce() -> None:
    def full(signer_id: str, high: int) -> None:
        raise OSError(28, "no space left on device")

    nonces = NonceSource("0xabc", unit_ns=NS_PER_MS, clock=SimClock(), high_water=0, reserve=full)
    with pytest.raises(OSError, match="no space"):
        nonces.next()
    with pytest.raises(OSError, match="no space"):
        nonces.next()


def test_renew_keeps_reserving_off_the_hot_path() -> None:
    clock, journal = SimClock(), Journal()
    nonces = source(clock, journal)
    nonces.renew()
    for _ in range(100):
        clock.advance_ns(NS_PER_S)
        nonces.renew()
        before = len(journal.blocks)
        nonces.next()
        assert len(journal.blocks) == before
    assert len(journal.blocks) <= 30  # about one block in five seconds, not one a call


def test_never_repeats_over_crashes_and_clock_steps() -> None:
    rng = random.Random(11)
    clock, journal, seen = SimClock(), Journal(), set()
    for _ in range(200):  # each turn is one life of the process
        nonces = source(clock, journal)
        for _ in range(rng.randrange(1, 30)):
            nonce = nonces.next()
            assert nonce not in seen
            seen.add(nonce)
            assert nonce * NS_PER_MS <= clock.wire_ns() + 5 * 60 * NS_PER_S
            clock.advance_ns(rng.choice([0, 1, NS_PER_MS, 5 * NS_PER_S, -NS_PER_S]))
            if rng.random() < 0.2:
                nonces.renew()
        clock.advance_ns(BLOCK_NS // 2)


def test_instant_restart_stays_within_the_venue_window() -> None:
    clock, journal = SimClock(), Journal()
    for _ in range(5):
        source(clock, journal).next()
        clock.advance_ns(2 * BLOCK_NS)
    ahead_ns = source(clock, journal).next() * NS_PER_MS - clock.wire_ns()
    assert ahead_ns <= BLOCK_NS


def test_a_crash_loop_does_not_drift_out_of_the_venue_window() -> None:
    clock, journal = SimClock(), Journal()
    for _ in range(100):
        nonces = source(clock, journal)
        for _ in range(20):
            ahead_ns = nonces.next() * NS_PER_MS - clock.wire_ns()
            assert ahead_ns <= BLOCK_NS + AHEAD_NS
        nonces.renew()
        clock.advance_ns(3 * NS_PER_S // 10)


def test_without_the_mark_a_restart_would_repeat() -> None:
    clock = SimClock()
    first = source(clock, Journal()).next()
    assert source(clock, Journal()).next() == first
