"""Who is in a run, what a dead one leaves, and that nothing stays after a clean stop."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bookshm import run as run_module
from bookshm.account_page import AccountPageWriter
from bookshm.bell import Bell
from bookshm.book import BookReader, BookWriter
from bookshm.counters import CountersWriter
from bookshm.decisions import DecisionWriter
from bookshm.run import RunDir
from core.clock import NS_PER_S, SimClock, SystemClock
from core.errors import ConfigError
from core.types import Down
from tests.bookshm.conftest import Spawn, finish, line
from tests.bookshm.samples import VENUE, decision, instrument, snapshot


def test_nothing_is_left_after_a_clean_stop(run_dir: Path, clock: SystemClock) -> None:
    run = RunDir.join(run_dir, 1.0, clock)
    book = BookWriter(run, VENUE, clock, 8, 64)
    book.add(instrument("BTC"))
    account = AccountPageWriter(run, 16)
    account.write(snapshot(1))
    counters = CountersWriter(run, "feed-aster", clock, 8)
    decisions = DecisionWriter(run, "scalp", 64)
    decisions.write(decision(1))
    bell = Bell(run, "scalp")
    run.executor_socket.touch()
    assert sorted(p.name for p in run_dir.iterdir()) == sorted(
        ["run.lock", "run.json", "books", "bells", "counters", "decisions", "account", ".account.lock", "executor.sock"]
    )
    for part in (book, account, counters, decisions, bell):
        part.close()
    run.leave()
    assert not run_dir.exists()


def test_last_one_out_removes_the_directory_and_no_one_before(run: RunDir, spawn: Spawn) -> None:
    other = spawn("member")
    line(other)
    assert finish(other) == 0
    assert run.path.exists()
    assert run.is_live()


def test_stale_segments_of_a_dead_run_are_cleaned_at_start(run_dir: Path, spawn: Spawn, clock: SystemClock) -> None:
    dead = spawn("publish", 1, 3)
    line(dead)
    dead.kill()
    dead.wait(10)
    assert (run_dir / "books" / VENUE).exists()
    assert not RunDir.observe(run_dir).is_live()
    run = RunDir.join(run_dir, 1.0, clock)
    assert list(run.books.iterdir()) == []
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    assert reader.quote(0) == Down("no writer yet")
    run.leave()


def test_another_runs_segments_are_never_touched(run_dir: Path, spawn: Spawn, clock: SystemClock) -> None:
    """A dead run whose name extends ours: a pattern over names would take it too."""
    neighbour = run_dir.with_name(run_dir.name + "-2")
    other = RunDir.join(neighbour, 1.0, clock)
    marker = other.books / "kept"
    marker.write_text("kept")
    os.close(other._fd)  # as after SIGKILL: no lock, everything still there
    other._fd = -1
    dead = spawn("publish", 1, 3)
    line(dead)
    dead.kill()
    dead.wait(10)
    RunDir.join(run_dir, 1.0, clock).leave()
    assert marker.read_text() == "kept"
    RunDir.join(neighbour, 1.0, clock).leave()
    assert not neighbour.exists()


def test_a_live_run_is_entered_not_cleaned(run_dir: Path, spawn: Spawn, clock: SystemClock) -> None:
    writer = spawn("publish", 1, 3)
    line(writer)
    run = RunDir.join(run_dir, 1.0, clock)
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    assert reader.slot("BTC") == 0
    run.leave()
    assert run_dir.exists()
    assert finish(writer) == 0


def test_the_calendar_has_one_origin_per_run(run_dir: Path, spawn: Spawn) -> None:
    first = RunDir.join(run_dir, 1.0, SimClock(wire_ns=77 * NS_PER_S))
    second = spawn("member")
    assert int(line(second)) == first.origin_ns == 77 * NS_PER_S
    first.leave()
    third = RunDir.observe(run_dir)
    assert third.origin_ns == 77 * NS_PER_S
    assert finish(second) == 0


def test_calendar_clock_is_scaled_from_that_origin(run_dir: Path, clock: SystemClock) -> None:
    run = RunDir.join(run_dir, 3600.0, clock)
    calendar = run.calendar_clock()
    before_ns = clock.wire_ns()
    ahead_ns = calendar.calendar_ns() - run.origin_ns
    after_ns = clock.wire_ns()
    assert 3600 * (before_ns - run.origin_ns) <= ahead_ns <= 3600 * (after_ns - run.origin_ns)
    run.leave()


def test_another_time_scale_is_refused(run: RunDir, clock: SystemClock) -> None:
    with pytest.raises(ConfigError, match=r"run\.time_scale: 60 here, .* started with 1 by pid \d+"):
        RunDir.join(run.path, 60.0, clock)
    assert run.path.exists()


def test_a_directory_that_is_no_run_is_refused_and_kept(tmp_path: Path, clock: SystemClock) -> None:
    victim = tmp_path / "home"
    victim.mkdir()
    (victim / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is not a run directory of Tandem"):
        RunDir.join(victim, 1.0, clock)
    assert (victim / "thesis.txt").read_text() == "years of work"


def test_cleaning_removes_links_and_never_follows_them(run_dir: Path, tmp_path: Path, clock: SystemClock) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    run = RunDir.join(run_dir, 1.0, clock)
    (run.books / "link").symlink_to(tmp_path, target_is_directory=True)
    run.leave()
    assert kept.read_text() == "kept"


def test_a_run_that_cannot_be_made_says_why(tmp_path: Path, clock: SystemClock) -> None:
    with pytest.raises(ConfigError, match=r"cannot be made \(No such file or directory\); check run\.shm_dir"):
        RunDir.join(tmp_path / "absent" / "tandem-x", 1.0, clock)
    (tmp_path / "tandem-file").write_text("")
    with pytest.raises(ConfigError, match="is not a directory"):
        RunDir.join(tmp_path / "tandem-file", 1.0, clock)
    (tmp_path / "tandem-link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ConfigError, match="is a symbolic link"):
        RunDir.join(tmp_path / "tandem-link", 1.0, clock)


def test_observing_an_absent_run_says_what_to_do(run_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such run; start it \(make run\)"):
        RunDir.observe(run_dir)
    assert not run_dir.exists()


def test_an_observer_neither_locks_nor_removes(run_dir: Path, clock: SystemClock) -> None:
    run = RunDir.join(run_dir, 1.0, clock)
    onlooker = RunDir.observe(run_dir)
    assert onlooker.is_live()
    run.leave()
    assert not run_dir.exists()
    assert not onlooker.is_live()
    onlooker.leave()


def test_a_damaged_manifest_is_named(run_dir: Path, clock: SystemClock) -> None:
    run = RunDir.join(run_dir, 1.0, clock)
    (run_dir / "run.json").write_text('{"run": 3}')
    with pytest.raises(ConfigError, match=r"run\.json"):
        RunDir.observe(run_dir)
    run.leave()


def test_modes_let_the_group_in_and_nobody_else(run: RunDir, clock: SystemClock) -> None:
    writer = BookWriter(run, VENUE, clock, 8, 64)
    assert stat.S_IMODE(run.path.stat().st_mode) & 0o777 == 0o770
    assert stat.S_IMODE(run.books.stat().st_mode) & 0o777 == 0o770
    assert stat.S_IMODE((run.books / VENUE).stat().st_mode) == 0o640
    writer.close()


def test_many_come_and_go_at_once(run_dir: Path, spawn: Spawn) -> None:
    """Joins race with last leaves: each process ends in a run that exists, and the last one leaves nothing."""
    for _ in range(3):
        members = [spawn("member") for _ in range(4)]
        origins = {line(member) for member in members}
        assert len(origins) == 1
        assert [finish(member) for member in members] == [0, 0, 0, 0]
        assert not run_dir.exists()


@pytest.mark.parametrize("somebody_else_is_faster", [False, True])
def test_a_run_that_ends_between_the_look_and_the_lock_is_begun_anew(
    run_dir: Path, clock: SystemClock, monkeypatch: pytest.MonkeyPatch, somebody_else_is_faster: bool
) -> None:
    """We hold the lock file of a directory that is gone; taking its lock must not count as owning the new one."""
    last = RunDir.join(run_dir, 1.0, clock)
    open_lock = run_module._open_lock
    faster: list[RunDir] = []

    def open_and_lose(path: Path) -> int:
        fd = open_lock(path)
        monkeypatch.setattr(run_module, "_open_lock", open_lock)
        last.leave()
        if somebody_else_is_faster:
            faster.append(RunDir.join(run_dir, 1.0, clock))
            (run_dir / "books" / "live").touch()
        return fd

    monkeypatch.setattr(run_module, "_open_lock", open_and_lose)
    run = RunDir.join(run_dir, 1.0, clock)
    assert RunDir.observe(run_dir).is_live()
    assert [path.name for path in run.books.iterdir()] == ["live"] * len(faster)
    for other in faster:
        other.leave()
    run.leave()


def test_join_and_leave_race(run_dir: Path, spawn: Spawn) -> None:
    churners = [spawn("churn", 150) for _ in range(3)]
    assert [churner.wait(60) for churner in churners] == [0, 0, 0]
    assert not run_dir.exists()
