"""The other processes of these tests: writers that publish, stop in the middle or hammer, readers that check.

Each speaks lines on stdout and obeys lines on stdin. `python -m tests.bookshm.actors ROLE RUN_DIR [ARGS]`
"""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bookshm import layout as at
from bookshm.account_page import AccountPageWriter
from bookshm.bell import Bell
from bookshm.book import BookReader, BookWriter
from bookshm.decisions import DecisionWriter
from bookshm.run import RunDir
from core.clock import NS_PER_S, SystemClock
from tests.bookshm.samples import VENUE, decision, instrument, snapshot

CLOCK = SystemClock()


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def wait_for_stop() -> None:
    for text in sys.stdin:
        if text.strip() == "stop":
            return


def was_told() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


class Tripwire:
    """Stands in for a view of words: the first store to `index` after arming announces itself and never returns."""

    def __init__(self, words: memoryview, index: int) -> None:
        self._words = words
        self._index = index

    def __getitem__(self, index: int) -> int:
        return self._words[index]

    def __setitem__(self, index: int, value: int) -> None:
        if index == self._index and value:
            say("in the middle")
            signal.pause()
        self._words[index] = value


def member(run_dir: Path) -> None:
    """Only be in the run."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    say(run.origin_ns)
    wait_for_stop()
    run.leave()


def churn(run_dir: Path, times: str) -> None:
    """Enter and leave, over and over; each time the directory must be whole while we are in it."""
    for _ in range(int(times)):
        run = RunDir.join(run_dir, 1.0, CLOCK)
        if not all(part.is_dir() for part in (run.books, run.bells, run.counters, run.decisions)):
            sys.exit(3)
        if RunDir.observe(run_dir).origin_ns != run.origin_ns:
            sys.exit(4)
        run.leave()


def hold(run_dir: Path) -> None:
    """Write the book and keep its lock."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = BookWriter(run, VENUE, CLOCK, 8, 64)
    writer.add(instrument("BTC"))
    say("holding")
    wait_for_stop()
    writer.close()
    run.leave()


def publish(run_dir: Path, first: str, count: str) -> None:
    """Publish `count` quotes whose bid counts up from `first`, then stay alive with a heartbeat until told to stop."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = BookWriter(run, VENUE, CLOCK, 8, 64)
    slot = writer.add(instrument("BTC"))
    writer.set_status(True, "connected")
    for n in range(int(first), int(first) + int(count)):
        publish_one(writer, slot, n)
    say(writer.epoch)
    while not was_told():
        writer.heartbeat(CLOCK.mono_ns())
        select.select([sys.stdin], [], [], 0.02)
    writer.close()
    run.leave()


def die_in_book(run_dir: Path, where: str) -> None:
    """Publish one quote, then stop inside the publish of another, before the store that `where` names."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = BookWriter(run, VENUE, CLOCK, 8, 64)
    slot = writer.add(instrument("BTC"))
    writer.set_status(True, "connected")
    publish_one(writer, slot, 1)
    position, index = {
        "stamp": (0, slot),
        "ring stamp": (3, writer._ring_next & writer._ring_mask),
        "cursor": (5, at.W_CURSOR),
    }[where]
    hot: list[Any] = list(writer._hot)
    hot[position] = Tripwire(hot[position], index)
    writer._hot = tuple(hot)
    publish_one(writer, slot, 2)


def die_in_account(run_dir: Path) -> None:
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = AccountPageWriter(run, 16)
    writer.write(snapshot(1))
    writer._segment.words = Tripwire(writer._segment.words, at.W_CURSOR)  # type: ignore[assignment]
    writer.write(snapshot(2))


def die_in_decisions(run_dir: Path) -> None:
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = DecisionWriter(run, "scalp", 64)
    writer.write(decision(1))
    writer._ring._words = Tripwire(writer._ring._words, at.W_CURSOR)  # type: ignore[assignment]
    writer.write(decision(2))


def hammer(run_dir: Path) -> None:
    """Publish as fast as possible until told to stop; every field of a record carries the same number."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = BookWriter(run, VENUE, CLOCK, 8, 1024)
    slot = writer.add(instrument("BTC"))
    writer.set_status(True, "connected")
    say("hammering")
    published = 0
    while not was_told():
        for _ in range(20_000):
            n = CLOCK.mono_ns()
            writer.publish_quote(slot, n, n, n, n, n, n, n & 0xFFFF)
        published += 20_000
    say(published)
    writer.close()
    run.leave()


def check(run_dir: Path, reads: str) -> None:
    """Make `reads` validated reads of the hammered line; say how many were torn and how many different ones were seen."""
    reader = BookReader(run_dir, VENUE, CLOCK, NS_PER_S, NS_PER_S)
    say(" ".join(map(str, check_reads(reader.read_raw, int(reads)))))


def check_reads(read: Callable[[int], tuple[float, ...] | None], reads: int) -> tuple[int, int, int]:
    """(records read, torn ones, changes seen). Torn = two fields of one record disagree."""
    good = torn = changes = 0
    last = 0.0
    for _ in range(reads):
        raw = read(0)
        if raw is None:
            continue
        n = raw[6]
        if raw[1] == raw[2] == raw[3] == raw[4] == raw[5] == n and raw[9] == n & 0xFFFF:  # type: ignore[operator]
            good += 1
            if n != last:
                changes += 1
                last = n
        else:
            torn += 1
    return good, torn, changes


def account_hammer(run_dir: Path) -> None:
    """Write pages of growing and shrinking size, with the same number everywhere, until told to stop."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    writer = AccountPageWriter(run, 64)
    n = 0
    writer.write(snapshot(n))
    say("writing")
    while not was_told():
        for _ in range(200):
            n += 1
            writer.write(snapshot(n))
    say(n)
    writer.close()
    run.leave()


def sleeper(run_dir: Path, timeout_ms: str) -> None:
    """Wait for the bell, say how long it took to ring (or "silence")."""
    run = RunDir.join(run_dir, 1.0, CLOCK)
    bell = Bell(run, "sleeper")
    say("waiting")
    poll = select.epoll()
    poll.register(bell.fileno(), select.EPOLLIN)
    rung = poll.poll(int(timeout_ms) / 1000)
    say(bell.drain() if rung else "silence")
    wait_for_stop()
    bell.close()
    run.leave()


def publish_one(writer: BookWriter, slot: int, n: int) -> None:
    writer.publish_quote(slot, n, 1.0, n + 1, 2.0, n, CLOCK.mono_ns())


ROLES: dict[str, Callable[..., None]] = {
    role.__name__: role
    for role in (
        member,
        churn,
        hold,
        publish,
        die_in_book,
        die_in_account,
        die_in_decisions,
        hammer,
        check,
        account_hammer,
        sleeper,
    )
}

if __name__ == "__main__":
    ROLES[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
