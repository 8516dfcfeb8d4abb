"""Writers that die in the worst places: a real SIGKILL, between payload and stamp, by a stop that waits for it."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path

import pytest

from bookshm.account_page import AccountPageReader, AccountPageWriter
from bookshm.bell import Bell, BellRinger
from bookshm.book import BookReader, BookWriter
from bookshm.decisions import DecisionReader, DecisionWriter
from bookshm.run import RunDir
from core.account import AccountSnapshot
from core.clock import NS_PER_S, SystemClock
from core.types import Down, Lapped, Quote, Stale
from tests.bookshm.conftest import Actor, Spawn, finish, line
from tests.bookshm.samples import VENUE, decision, instrument, snapshot


def kill(actor: Actor) -> None:
    actor.kill()
    assert actor.wait(10) == -9


def read_all(run: RunDir, clock: SystemClock) -> BookReader:
    return BookReader(run, VENUE, clock, 60 * NS_PER_S, 60 * NS_PER_S)


@pytest.mark.parametrize("where", ["stamp", "ring stamp", "cursor"])
def test_a_book_writer_killed_in_the_middle_leaves_nothing_torn(
    run: RunDir, spawn: Spawn, clock: SystemClock, where: str
) -> None:
    follower = read_all(run, clock).follow()
    writer = spawn("die_in_book", where)
    assert line(writer) == "in the middle"
    kill(writer)
    reader = read_all(run, clock)
    last = reader.peek(0)
    assert isinstance(last, Quote)
    whole = 1.0 if where == "stamp" else 2.0  # beyond the line's stamp the second quote is out, only the ring lacks it
    assert (last.bid_px, last.ask_px, last.exch_ts_ns) == (whole, whole + 1, int(whole))
    got = follower.poll(10)
    assert prices(got) == [1.0]

    successor = BookWriter(run, VENUE, clock, 8, 64)
    assert successor.add(instrument("BTC")) == 0
    successor.set_status(True, "connected")
    assert reader.quote(0) == Stale(-1)
    successor.publish_quote(0, 3.0, 1.0, 4.0, 2.0, 3, clock.mono_ns())
    after = reader.quote(0)
    assert isinstance(after, Quote)
    assert (after.bid_px, after.sequence) == (3.0, last.sequence + 1)
    got = follower.poll(10)
    assert prices(got) == [3.0]
    successor.close()


def test_readers_go_on_when_a_killed_writer_returns(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    reader = read_all(run, clock)
    follower = reader.follow()
    first = spawn("publish", 1, 3)
    assert line(first) == "1"
    before = reader.quote(0)
    assert isinstance(before, Quote)
    assert before.bid_px == 3.0
    kill(first)
    inode = (run.books / VENUE).stat().st_ino
    second = spawn("publish", 10, 2)
    assert line(second) == "2"
    after = reader.quote(0)
    assert isinstance(after, Quote)
    assert (after.bid_px, after.sequence) == (11.0, before.sequence + 2)
    assert (run.books / VENUE).stat().st_ino == inode
    assert prices(follower.poll(10)) == [1.0, 2.0, 3.0, 10.0, 11.0]
    assert reader.status()[3:] == (2, second.pid)
    assert finish(second) == 0
    assert reader.quote(0) == Down("writer stopped")


def test_a_killed_writers_heartbeat_goes_silent(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    writer = spawn("publish", 1, 1)
    line(writer)
    reader = BookReader(run, VENUE, clock, NS_PER_S // 2, 3 * NS_PER_S)
    assert reader.status()[0] is True
    kill(writer)
    until(lambda: reader.status()[0] is False)
    answer = reader.quote(0)
    assert isinstance(answer, Down)
    assert answer.reason.startswith("writer silent for ")


def test_an_account_writer_killed_in_the_middle_leaves_the_former_page(run: RunDir, spawn: Spawn) -> None:
    writer = spawn("die_in_account")
    assert line(writer) == "in the middle"
    reader = AccountPageReader(run)
    kill(writer)
    assert reader.read() == snapshot(1)
    successor = AccountPageWriter(run, 16)
    assert reader.read() == Down("executor: starting")
    successor.write(snapshot(3))
    account = reader.read()
    assert isinstance(account, AccountSnapshot)
    assert account.journal_sequence == 3
    successor.close()


def test_a_strategy_killed_in_the_middle_leaves_whole_decisions(run: RunDir, spawn: Spawn) -> None:
    strategy = spawn("die_in_decisions")
    assert line(strategy) == "in the middle"
    kill(strategy)
    reader = DecisionReader(run, "scalp")
    assert reader.latest(10) == [decision(1)]
    successor = DecisionWriter(run, "scalp", 64)
    successor.write(decision(3))
    assert reader.latest(10) == [decision(1), decision(3)]
    successor.close()


def test_a_dead_readers_bell_is_unlinked_at_the_next_ring(run: RunDir, spawn: Spawn) -> None:
    sleeper = spawn("sleeper", 20_000)
    assert line(sleeper) == "waiting"
    ringer = BellRinger(run)
    mine = Bell(run, "mine")
    ringer.rescan()
    assert len(ringer) == 2
    kill(sleeper)
    ringer.ring()
    assert [path.name for path in run.bells.iterdir()] == [f"mine.{os.getpid()}"]
    assert len(ringer) == 1
    assert mine.drain() == 1
    ringer.close()
    mine.close()


def test_a_bell_whose_reader_died_before_any_writer_came_is_unlinked(run: RunDir, spawn: Spawn) -> None:
    sleeper = spawn("sleeper", 20_000)
    assert line(sleeper) == "waiting"
    kill(sleeper)
    assert len(list(run.bells.iterdir())) == 1
    ringer = BellRinger(run)
    assert list(run.bells.iterdir()) == []
    assert len(ringer) == 0
    ringer.close()


def test_a_killed_members_run_is_dead_and_its_lock_free(run_dir: Path, spawn: Spawn, clock: SystemClock) -> None:
    holder = spawn("hold")
    assert line(holder) == "holding"
    assert RunDir.observe(run_dir).is_live()
    kill(holder)
    assert not RunDir.observe(run_dir).is_live()
    run = RunDir.join(run_dir, 1.0, clock)
    BookWriter(run, VENUE, clock, 8, 64).close()
    run.leave()


def prices(got: list[tuple[int, Quote]] | Lapped) -> list[float]:
    assert not isinstance(got, Lapped)
    return [quote.bid_px for _, quote in got]


def until(condition: Callable[[], bool], tries: int = 500) -> None:
    """Poll a condition for at most 10 s."""
    for _ in range(tries):
        if condition():
            return
        select.select([], [], [], 0.02)
    raise AssertionError("did not come true within 10 s")
