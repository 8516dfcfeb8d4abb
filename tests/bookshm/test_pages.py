"""Account page, counters page, decision ring."""

from __future__ import annotations

import math
import threading

import pytest

from bookshm.account_page import AccountPageReader, AccountPageWriter
from bookshm.counters import CountersReader, CountersWriter, Kind, Sample, list_counters
from bookshm.decisions import DecisionReader, DecisionWriter, strategies
from bookshm.run import RunDir
from core.clock import NS_PER_MS, SimClock
from core.errors import ConfigError, InvariantError
from core.types import Down, Lapped
from tests.bookshm.samples import Intruder, decision, snapshot

# Account


def test_the_account_is_read_as_written(run: RunDir) -> None:
    reader = AccountPageReader(run)
    assert reader.read() == Down("no executor yet")
    assert reader.stamp() == 0
    writer = AccountPageWriter(run, 64)
    assert reader.read() == Down("executor: starting")
    for n in range(1, 45):
        stamp = writer.write(snapshot(n))
        assert reader.read() == snapshot(n)
        assert reader.stamp() == stamp
    writer.close()
    assert reader.read() == Down("executor: executor stopped")


def test_a_page_overwritten_while_it_is_copied_is_read_again(run: RunDir) -> None:
    writer = AccountPageWriter(run, 16)
    writer.write(snapshot(1))
    reader = AccountPageReader(run)
    segment = reader._segment
    assert segment is not None
    intruder = Intruder(segment.view, lambda: [writer.write(snapshot(n)) for n in (2, 3)])
    segment.view = intruder  # type: ignore[assignment]
    assert reader.read() == snapshot(3)
    writer.close()


def test_an_unchanged_account_is_the_same_object(run: RunDir) -> None:
    writer = AccountPageWriter(run, 16)
    writer.write(snapshot(5))
    reader = AccountPageReader(run.path)
    first = reader.read()
    assert reader.read() is first
    writer.write(snapshot(5))
    assert reader.read() is not first
    writer.close()


def test_an_account_too_large_is_refused_and_the_former_stands(run: RunDir) -> None:
    writer = AccountPageWriter(run, 2)
    writer.write(snapshot(2))
    with pytest.raises(
        ConfigError, match=r"books\.account_page_kib: the account of \d+ bytes does not fit .* raise it"
    ):
        writer.write(snapshot(39))
    reader = AccountPageReader(run)
    assert reader.read() == snapshot(2)
    writer.write(snapshot(3))
    assert reader.read() == snapshot(3)
    writer.close()


def test_a_larger_page_replaces_the_old_one_under_its_readers(run: RunDir) -> None:
    writer = AccountPageWriter(run, 2)
    first = writer.write(snapshot(2))
    reader = AccountPageReader(run)
    assert reader.read() == snapshot(2)
    writer.close()
    writer = AccountPageWriter(run, 64)
    second = writer.write(snapshot(39))
    assert reader.read() == snapshot(39)
    assert second > first
    writer.close()


# Counters


def test_samples_come_back_with_names_and_labels(run: RunDir) -> None:
    clock = SimClock()
    writer = CountersWriter(run, "feed-aster", clock, 16)
    frames = writer.counter("tandem_feed_frames_total", {"venue": "aster", "channel": "quote"})
    gap = writer.gauge("tandem_feed_gap_seconds", {"venue": "aster"})
    frames.add()
    frames.add(4)
    gap.set(0.25)
    gap.set(0.125)
    reader = CountersReader(run.counters / "feed-aster", clock)
    assert reader.samples() == [
        Sample(Kind.COUNTER, "tandem_feed_frames_total", {"venue": "aster", "channel": "quote"}, 5.0),
        Sample(Kind.GAUGE, "tandem_feed_gap_seconds", {"venue": "aster"}, 0.125),
    ]
    late = writer.counter("tandem_late_total", {})
    late.add(2)
    assert reader.samples()[-1] == Sample(Kind.COUNTER, "tandem_late_total", {}, 2.0)
    writer.close()


def test_a_histogram_is_cumulative_and_adds_up(run: RunDir) -> None:
    clock = SimClock()
    writer = CountersWriter(run, "p", clock, 8)
    hop = writer.histogram("hop_seconds", {"hop": "sign"}, (0.01, 0.1, 0.5))
    for seconds in (0.01, 0.02, 0.5, 0.6, 7.0):
        hop.observe(seconds)
    (sample,) = CountersReader(run.counters / "p", clock).samples()
    assert sample.buckets == ((0.01, 1), (0.1, 2), (0.5, 3), (math.inf, 5))
    assert sample.count == 5
    assert sample.value == pytest.approx(8.13)
    writer.close()


def test_the_same_series_is_the_same_cell(run: RunDir) -> None:
    clock = SimClock()
    writer = CountersWriter(run, "p", clock, 8)
    writer.counter("a_total", {"x": "1", "y": "2"}).add()
    writer.counter("a_total", {"y": "2", "x": "1"}).add()
    writer.counter("a_total", {"x": "1", "y": "3"}).add()
    assert [s.value for s in CountersReader(run.counters / "p", clock).samples()] == [2.0, 1.0]
    writer.close()


def test_a_full_page_says_which_series_found_no_room(run: RunDir) -> None:
    writer = CountersWriter(run, "p", SimClock(), 2)
    writer.counter("a_total", {})
    writer.counter("b_total", {})
    with pytest.raises(ConfigError, match="counters page of p is full at c_total: 2 series"):
        writer.counter("c_total", {})
    writer.close()
    writer = CountersWriter(run, "q", SimClock(), 1)
    with pytest.raises(ConfigError, match="full at wide"):
        writer.histogram("wide", {}, range(1, 20))
    writer.close()


def test_nonsense_series_are_our_fault(run: RunDir) -> None:
    writer = CountersWriter(run, "p", SimClock(), 8)
    with pytest.raises(InvariantError, match="must increase"):
        writer.histogram("h", {}, (1.0, 1.0))
    with pytest.raises(InvariantError, match="exceeds"):
        writer.counter("c_total", {"reason": "x" * 600})
    writer.close()


def test_every_process_is_listed_with_pid_and_heartbeat(run: RunDir) -> None:
    clock = SimClock()
    writers = [CountersWriter(run, name, clock, 8) for name in ("executor", "feed-aster")]
    clock.advance_ns(250 * NS_PER_MS)
    writers[1].heartbeat()
    readers = list_counters(run, clock)
    assert [(r.process, r.heartbeat_age_ns // NS_PER_MS) for r in readers] == [("executor", 250), ("feed-aster", 0)]
    assert not any(r.is_stopped for r in readers)
    writers[0].close()
    assert [r.is_stopped for r in readers] == [True, False]
    writers[1].close()


def test_a_new_process_starts_at_zero_on_a_page_of_its_own(run: RunDir) -> None:
    clock = SimClock()
    writer = CountersWriter(run, "p", clock, 8)
    writer.counter("a_total", {}).add(9)
    old = CountersReader(run.counters / "p", clock)
    writer.close()
    writer = CountersWriter(run, "p", clock, 8)
    assert old.is_replaced
    assert old.samples()[0].value == 9.0
    (new,) = list_counters(run.path, clock)
    assert new.samples() == []
    assert not new.is_replaced
    writer.close()


def test_counters_are_exact_next_to_a_reading_thread(run: RunDir) -> None:
    clock = SimClock()
    writer = CountersWriter(run, "p", clock, 8)
    counter = writer.counter("a_total", {})
    reader = CountersReader(run.counters / "p", clock)
    seen: list[float] = []
    thread = threading.Thread(target=lambda: seen.extend(reader.samples()[0].value for _ in range(2000)))
    thread.start()
    for _ in range(20_000):
        counter.add()
    thread.join()
    assert seen == sorted(seen)
    assert all(value == int(value) for value in seen)
    assert reader.samples()[0].value == 20_000
    writer.close()


# Decisions


def test_the_latest_decisions_oldest_first(run: RunDir) -> None:
    reader = DecisionReader(run, "scalp")
    assert reader.latest(5) == []
    writer = DecisionWriter(run, "scalp", 64)
    assert reader.latest(5) == []
    for n in range(1, 100):
        assert writer.write(decision(n)) == n
    assert reader.latest(3) == [decision(97), decision(98), decision(99)]
    assert [d.wire_ns for d in reader.latest(1000)] == list(range(36, 100))
    assert reader.latest(0) == []
    writer.close()
    assert reader.latest(1) == [decision(99)]


def test_a_follower_of_decisions_gets_all_or_an_exact_count(run: RunDir) -> None:
    writer = DecisionWriter(run, "scalp", 64)
    writer.write(decision(1))
    reader = DecisionReader(run.path, "scalp")
    assert reader.poll(10) == [decision(1)]
    for n in range(2, 72):
        writer.write(decision(n))
    assert reader.poll(10) == Lapped(6)
    assert reader.poll(2) == [decision(8), decision(9)]
    assert len(reader.poll(100)) == 62
    assert reader.poll(10) == []
    writer.close()


def test_a_record_overwritten_while_it_is_copied_is_counted_as_missed(run: RunDir) -> None:
    writer = DecisionWriter(run, "scalp", 64)
    for n in range(1, 4):
        writer.write(decision(n))
    reader = DecisionReader(run, "scalp")
    assert reader.poll(1) == [decision(1)]
    ring = reader._follow
    assert ring is not None
    ring._view = Intruder(ring._view, lambda: [writer.write(decision(n)) for n in range(4, 70)])  # type: ignore[assignment]
    assert reader.poll(10) == Lapped(4)
    assert reader.poll(1) == [decision(6)]
    writer.close()


def test_a_restarted_strategy_goes_on_behind_its_last_record(run: RunDir) -> None:
    writer = DecisionWriter(run, "scalp", 64)
    writer.write(decision(1))
    writer.close()
    writer = DecisionWriter(run, "scalp", 64)
    assert writer.write(decision(2)) == 2
    assert DecisionReader(run, "scalp").latest(5) == [decision(1), decision(2)]
    assert strategies(run) == ["scalp"]
    writer.close()


def test_a_larger_ring_replaces_the_old_one_under_its_followers(run: RunDir) -> None:
    writer = DecisionWriter(run, "scalp", 64)
    writer.write(decision(1))
    reader = DecisionReader(run, "scalp")
    assert reader.poll(5) == [decision(1)]
    writer.close()
    writer = DecisionWriter(run, "scalp", 128)
    writer.write(decision(2))
    assert reader.poll(5) == [decision(2)]
    writer.close()
    with pytest.raises(ConfigError, match=r"books\.decision_records: 100 is not a power of two"):
        DecisionWriter(run, "scalp", 100)
