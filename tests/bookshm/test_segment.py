"""Segments: made whole, refused when they are not ours, one writer each, and a clear word when memory is full."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bookshm import layout as at
from bookshm import segment as segments
from bookshm.account_page import AccountPageReader, AccountPageWriter
from bookshm.book import BookReader, BookWriter
from bookshm.counters import CountersReader, CountersWriter
from bookshm.decisions import DecisionReader, DecisionWriter
from bookshm.lock import WriterLock, is_held
from bookshm.run import RunDir
from core.clock import NS_PER_S, SystemClock
from core.errors import BusyError, ConfigError
from core.types import Down
from tests.bookshm.conftest import ROOT, Spawn, finish, line
from tests.bookshm.samples import VENUE, decision, instrument, snapshot


def words_of(path: Path) -> memoryview:
    """A foreign hand on a segment's header."""
    segment = segments._open(path, writable=True)
    assert segment is not None
    return segment.words


def test_readers_refuse_another_layout(run: RunDir, clock: SystemClock) -> None:
    writers = (
        BookWriter(run, VENUE, clock, 8, 64),
        AccountPageWriter(run, 16),
        CountersWriter(run, "feed", clock, 8),
        DecisionWriter(run, "scalp", 64),
    )
    for path in (run.books / VENUE, run.account, run.counters / "feed", run.decisions / "scalp"):
        words = words_of(path)
        words[at.W_LAYOUT] = words[at.W_LAYOUT] ^ 1
    message = r"written by pid \d+ with layout [0-9a-f]{16} \(format 1\), this program reads .* one version of Tandem"
    for read in (
        lambda: BookReader(run, VENUE, clock, 0, 0),
        lambda: AccountPageReader(run),
        lambda: CountersReader(run.counters / "feed", clock),
        lambda: DecisionReader(run, "scalp").latest(1),
    ):
        with pytest.raises(ConfigError, match=message):
            read()
    for writer in writers:
        writer.close()


def test_an_attached_reader_is_refused_once_the_segment_is_replaced_by_another_layout(
    run: RunDir, clock: SystemClock
) -> None:
    writer = BookWriter(run, VENUE, clock, 8, 64)
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    writer.set_status(True, "connected")
    writer.close()
    layout = at.BookLayout(8, 64)
    segments.open_writer(run.books / VENUE, at.BOOK_HASH ^ 1, layout.size, (8, 64), VENUE).set_state(at.UP, "")
    with pytest.raises(ConfigError, match="this program reads"):
        reader.quote(0)


def test_a_writer_with_another_layout_retires_the_old_segment(run: RunDir, clock: SystemClock) -> None:
    writer = BookWriter(run, VENUE, clock, 8, 64)
    writer.add(instrument("BTC"))
    writer.close()
    old = words_of(run.books / VENUE)
    old[at.W_LAYOUT] = old[at.W_LAYOUT] ^ 1
    writer = BookWriter(run, VENUE, clock, 8, 64)
    assert old[at.W_STATE] == at.RETIRED
    assert writer.slots == {}
    assert writer.epoch == 2
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    assert reader.quote(0) == Down("starting")
    writer.close()


@pytest.mark.parametrize("content", [b"hello", b"x" * 8192])
def test_a_file_that_is_no_segment_is_refused_by_both_sides(run: RunDir, clock: SystemClock, content: bytes) -> None:
    path = run.books / VENUE
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"books/aster: is no segment of Tandem .*; remove the file"):
        BookReader(run, VENUE, clock, 0, 0)
    with pytest.raises(ConfigError, match=r"books/aster: is no segment of Tandem .*; remove the file"):
        BookWriter(run, VENUE, clock, 8, 64)
    assert path.read_bytes() == content
    path.unlink()
    BookWriter(run, VENUE, clock, 8, 64).close()


def test_a_segment_of_the_wrong_length_is_refused(run: RunDir, clock: SystemClock) -> None:
    BookWriter(run, VENUE, clock, 8, 64).close()
    with (run.books / VENUE).open("ab") as file:
        file.write(b"\0" * 4096)
    with pytest.raises(ConfigError, match=r"header says \d+ bytes, file has \d+; remove the file"):
        BookReader(run, VENUE, clock, 0, 0)


def test_readers_cannot_write(run: RunDir, clock: SystemClock) -> None:
    writer = BookWriter(run, VENUE, clock, 8, 64)
    reader = BookReader(run, VENUE, clock, 0, 0)
    with pytest.raises(TypeError, match="read-only"):
        reader._words[at.W_HEARTBEAT] = 1
    writer.close()


# One writer


def test_a_second_writer_is_refused_and_told_who_holds_the_lock(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    holder = spawn("hold")
    assert line(holder) == "holding"
    before_ns = clock.mono_ns()
    with pytest.raises(
        BusyError, match=rf"another writer holds this lock \(feed-aster pid {holder.pid}\); stop it first"
    ):
        BookWriter(run, VENUE, clock, 8, 64)
    assert clock.mono_ns() - before_ns > 1.5 * NS_PER_S
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    assert reader.status()[3:] == (1, holder.pid), "the refused writer must not have touched the segment"
    assert finish(holder) == 0
    BookWriter(run, VENUE, clock, 8, 64).close()


def test_a_writer_waits_for_its_predecessors_last_moments(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    first = spawn("hold")
    assert line(first) == "holding"
    second = spawn("hold")
    assert finish(first) == 0
    assert line(second) == "holding"
    assert finish(second) == 0


@pytest.mark.parametrize("kind", ["account", "counters", "decisions"])
def test_every_kind_of_segment_has_one_writer(
    run: RunDir, clock: SystemClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("bookshm.lock.RETRIES", 2)

    def open_one() -> AccountPageWriter | CountersWriter | DecisionWriter:
        if kind == "account":
            return AccountPageWriter(run, 16)
        return CountersWriter(run, "p", clock, 8) if kind == "counters" else DecisionWriter(run, "scalp", 64)

    first = open_one()
    with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
        open_one()
    first.close()
    open_one().close()


def test_looking_at_a_lock_takes_none(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert not is_held(path)
    lock = WriterLock(path, "tester")
    assert is_held(path)
    assert path.read_text() == f"tester pid {os.getpid()}"
    lock.close()
    assert not is_held(path)
    assert path.exists()


def test_a_longer_name_does_not_shine_through_a_shorter_one(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    WriterLock(path, "a-very-long-role-name").close()
    WriterLock(path, "b").close()
    assert path.read_text() == f"b pid {os.getpid()}"


# Full memory

FULL_TMPFS = """
import sys
from pathlib import Path
from bookshm.book import BookWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from core.errors import ConfigError
from core.types import Venue
clock = SystemClock()
run = RunDir.join(Path(sys.argv[1]) / "tandem-full", 1.0, clock)
try:
    BookWriter(run, Venue("aster"), clock, 256, 4096)
except ConfigError as error:
    print(error)
print(sorted(path.name for path in run.books.iterdir()))
BookWriter(run, Venue("aster"), clock, 8, 64).close()
run.leave()
"""


def test_full_shared_memory_is_a_clear_error(tmp_path: Path) -> None:
    """On a real tmpfs of 256 KiB, in a mount namespace of its own."""
    mount = "mount -t tmpfs -o size=256k none {0} && exec {1} -c '{2}' {0}"
    script = mount.format(tmp_path, sys.executable, FULL_TMPFS)
    shell = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    result = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode and not result.stdout:
        pytest.skip(f"no mount namespace here: {result.stderr.strip()[:200]}")
    message, left = result.stdout.strip().splitlines()
    assert "books/aster: shared memory is full: needs " in message
    assert "No space left on device" in message
    assert "lower books.capacity_slots" in message
    assert left == "['.aster.lock']"


def test_a_file_size_limit_is_reported_like_full_memory(run: RunDir, clock: SystemClock) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(
            ConfigError, match=r"shared memory is full: needs \d+ KiB, .* has \d+ KiB free \(File too large\)"
        ):
            BookWriter(run, VENUE, clock, 256, 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in run.books.iterdir()] == [f".{VENUE}.lock"]
    writer = BookWriter(run, VENUE, clock, 256, 4096)
    writer.close()


def test_a_failed_start_gives_the_lock_back(run: RunDir, clock: SystemClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, size: int, path: Path) -> None:
        raise ConfigError(f"{path}: shared memory is full")

    with monkeypatch.context() as patch:
        patch.setattr(segments, "_reserve", full)
        for start in (
            lambda: BookWriter(run, VENUE, clock, 8, 64),
            lambda: AccountPageWriter(run, 16),
            lambda: CountersWriter(run, "p", clock, 8),
            lambda: DecisionWriter(run, "scalp", 64),
        ):
            with pytest.raises(ConfigError, match="full"):
                start()
    BookWriter(run, VENUE, clock, 8, 64).close()
    AccountPageWriter(run, 16).close()
    CountersWriter(run, "p", clock, 8).close()
    DecisionWriter(run, "scalp", 64).close()
    assert not list(run.path.rglob("*.new"))


def test_no_secret_shape_of_memory_is_left_from_another_file(run: RunDir, clock: SystemClock) -> None:
    """A new segment is zeroed whole: no stamp is valid before it was stored."""
    BookWriter(run, VENUE, clock, 8, 64).close()
    layout = at.BookLayout(8, 64)
    body = (run.books / VENUE).read_bytes()[at.HEADER_BYTES :]
    assert len(body) == layout.size - at.HEADER_BYTES
    assert body.strip(b"\0") == b""


def test_samples_of_every_kind_survive_the_round_trip(run: RunDir, clock: SystemClock) -> None:
    account = AccountPageWriter(run, 16)
    account.write(snapshot(7))
    assert AccountPageReader(run).read() == snapshot(7)
    decisions = DecisionWriter(run, "scalp", 64)
    decisions.write(decision(7))
    assert DecisionReader(run, "scalp").latest(1) == [decision(7)]
    account.close()
    decisions.close()
