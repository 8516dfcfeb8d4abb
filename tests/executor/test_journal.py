"""The write-ahead journal: nothing lost, nothing torn, nothing half-applied, bounded start-up, honest on a full disk."""

from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.clock import SimClock
from core.errors import BusyError, ConfigError, InvariantError
from core.ids import CommandId
from core.log import Log
from core.types import TradingState
from executor import segments
from executor.journal import Journal, JournalError
from executor.records import AnyRecord, CommandAnswered, TradingStateSet

SMALL = 16 * 1024


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def log(lines: list[str]) -> Log:
    return Log("test", SimClock(), write=lines.append)


def until(condition: Callable[[], bool], bound_s: float = 10.0) -> None:
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, "the state did not come within its bound"
        time.sleep(0.005)


def fact(number: int, text: str = "x") -> TradingStateSet:
    return TradingStateSet(wire_ns=number, state=TradingState.HALTED, reason=text)


def fill(journal: Journal, count: int, text: str = "x") -> list[tuple[int, AnyRecord]]:
    written: list[tuple[int, AnyRecord]] = []
    for number in range(count):
        record = fact(number, text)
        written.append((journal.append(record), record))
    return written


def test_records_come_back_in_order_with_their_sequences(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log)
    written = fill(journal, 50)
    assert journal.position == 50
    assert list(journal.replay()) == written
    journal.close()
    again = Journal.open(tmp_path, log)
    assert again.position == 50
    assert list(again.replay()) == written
    assert again.append(fact(9)) == 51
    again.close()


def test_an_empty_journal_replays_nothing(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log)
    assert (journal.position, list(journal.replay()), journal.image) == (0, [], None)
    journal.close()


def test_sync_and_the_thread_confirm_what_was_appended(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log)
    fill(journal, 3)
    journal.sync()
    assert journal.synced == 3
    fill(journal, 2)
    until(lambda: journal.synced == 5)
    journal.close()


def test_segments_roll_over_and_replay_as_one(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log, segment_bytes=SMALL)
    written = fill(journal, 1000, "some words to fill the segment")
    assert len(segments.segments(journal.directory)) > 3
    journal.close()
    again = Journal.open(tmp_path, log, segment_bytes=SMALL)
    assert list(again.replay()) == written
    again.close()


def _tail(tmp_path: Path) -> tuple[Path, int]:
    """The last segment and the offset behind its last good record."""
    first, path = segments.segments(tmp_path / "journal")[-1]
    end = len(segments.MAGIC)
    for _, _, end in segments.scan(path, first):  # noqa: B007 - the last offset is the result
        pass
    return path, end


def test_a_torn_tail_is_cut_off_and_its_bytes_are_kept(tmp_path: Path, log: Log, lines: list[str]) -> None:
    journal = Journal.open(tmp_path, log)
    written = fill(journal, 10)
    journal.close()
    path, end = _tail(tmp_path)
    torn = segments.encode(fact(11), 11)[:-3]
    with path.open("r+b") as file:
        file.seek(end)
        file.write(torn)
    again = Journal.open(tmp_path, log)
    assert list(again.replay()) == written
    (copy,) = (tmp_path / "journal").glob("torn-*.bin")
    assert copy.read_bytes() == torn
    assert any("journal_torn_tail" in line for line in lines)
    assert again.append(fact(11)) == 11
    again.close()
    third = Journal.open(tmp_path, log)
    assert third.position == 11
    assert len(list((tmp_path / "journal").glob("torn-*.bin"))) == 1
    third.close()


def test_a_later_record_behind_a_torn_one_never_comes_back(tmp_path: Path, log: Log) -> None:
    """Power loss may keep record 12 and lose 11; a new record 11 of the same length must not revive the old 12."""
    journal = Journal.open(tmp_path, log)
    written = fill(journal, 10)
    journal.append(fact(11, "a"))
    journal.append(fact(12, "old"))
    journal.close()
    path, end = _tail(tmp_path)
    size = len(segments.encode(fact(11, "a"), 11))
    with path.open("r+b") as file:
        file.seek(end - len(segments.encode(fact(12, "old"), 12)) - size)
        file.write(bytes(size))
    again = Journal.open(tmp_path, log)
    assert list(again.replay()) == written
    again.append(fact(11, "b"))
    again.close()
    third = Journal.open(tmp_path, log)
    assert list(third.replay()) == [*written, (11, fact(11, "b"))]
    third.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 900), flip=st.integers(1, 255))
def test_any_flipped_byte_ends_the_replay_at_a_whole_prefix(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    state = tmp_path_factory.mktemp("flip")
    log = Log("test", SimClock(), write=lambda _: None)
    journal = Journal.open(state, log, segment_bytes=SMALL)
    written = fill(journal, 12)
    journal.close()
    path, end = _tail(state)
    at = len(segments.MAGIC) + position % (end - len(segments.MAGIC))
    data = bytearray(path.read_bytes())
    data[at] ^= flip
    path.write_bytes(data)
    again = Journal.open(state, log, segment_bytes=SMALL)
    got = list(again.replay())
    assert got == written[: len(got)]
    assert len(got) < 12
    again.close()


def test_damage_before_the_last_segment_is_refused_by_name(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log, segment_bytes=SMALL)
    fill(journal, 1000)
    journal.close()
    _, first = segments.segments(tmp_path / "journal")[0]
    data = bytearray(first.read_bytes())
    data[200] ^= 0xFF
    first.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged or missing"):
        Journal.open(tmp_path, log, segment_bytes=SMALL)
    Path(segments.segments(tmp_path / "journal")[0][1]).unlink()
    with pytest.raises(ConfigError, match="older segments or images were removed"):
        Journal.open(tmp_path, log, segment_bytes=SMALL)


def test_an_empty_last_segment_after_a_lost_tail_is_dropped(tmp_path: Path, log: Log) -> None:
    """Power loss just after a roll: the new segment's name is durable, the end of the one before is not."""
    journal = Journal.open(tmp_path, log, segment_bytes=SMALL)
    written = fill(journal, 20)
    journal.close()
    later = tmp_path / "journal" / f"{40:016x}.seg"
    later.write_bytes(segments.MAGIC + bytes(SMALL - len(segments.MAGIC)))
    again = Journal.open(tmp_path, log, segment_bytes=SMALL)
    assert list(again.replay()) == written
    assert again.append(fact(21)) == 21
    assert not later.exists()
    again.close()


def test_a_foreign_file_and_an_unknown_record_are_refused_by_name(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log)
    fill(journal, 1)
    journal.close()
    path, end = _tail(tmp_path)
    body = b"\x81\xa4type\xa5later"
    crc_part = struct.pack("<IQ", len(body), 2)
    crc = zlib.crc32(body, zlib.crc32(crc_part))
    with path.open("r+b") as file:
        file.seek(end)
        file.write(struct.pack("<IIQ", len(body), crc, 2) + body)
    again = Journal.open(tmp_path, log)
    with pytest.raises(ConfigError, match="record 2 is not one that this version knows"):
        list(again.replay())
    again.close()
    path.write_bytes(b"something else altogether" + bytes(100))
    with pytest.raises(ConfigError, match="is not a journal segment of this version"):
        Journal.open(tmp_path, log)


def test_a_second_writer_is_refused(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log)
    with pytest.raises(BusyError, match="another executor has this journal open"):
        Journal.open(tmp_path, log)
    journal.close()
    Journal.open(tmp_path, log).close()


def test_an_image_bounds_the_replay_and_old_segments_go(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log, segment_bytes=SMALL)
    fill(journal, 1000)
    journal.checkpoint(b"state 1000")
    before = len(segments.segments(journal.directory))
    fill(journal, 1000)
    journal.checkpoint(b"state 2000", keep_after=500)
    assert segments.segments(journal.directory)[0][0] <= 501, "the ledger still needs record 501"
    journal.checkpoint(b"state 2000")
    after = [(journal.append(fact(1, "later")), fact(1, "later"))]
    assert before > 3
    assert segments.segments(journal.directory)[0][0] <= 1001, "the older of two images still needs record 1001"
    assert segments.segments(journal.directory)[1][0] > 1001
    journal.close()
    again = Journal.open(tmp_path, log, segment_bytes=SMALL)
    assert again.image == (2000, b"state 2000")
    assert list(again.replay()) == after
    again.close()


def test_a_damaged_image_falls_back_to_the_one_before(tmp_path: Path, log: Log, lines: list[str]) -> None:
    journal = Journal.open(tmp_path, log, segment_bytes=SMALL)
    for number in range(3):
        fill(journal, 300)
        journal.checkpoint(b"state %d" % number)
    journal.close()
    newest = segments.images(tmp_path / "journal")[-1][1]
    newest.write_bytes(newest.read_bytes()[:-1])
    again = Journal.open(tmp_path, log, segment_bytes=SMALL)
    assert again.image == (600, b"state 1")
    assert [sequence for sequence, _ in again.replay()] == list(range(601, 901))
    assert any("journal_image_bad" in line for line in lines)
    again.close()


def test_a_record_over_the_bound_is_our_fault_and_leaves_nothing(tmp_path: Path, log: Log) -> None:
    journal = Journal.open(tmp_path, log)
    answer = CommandAnswered(wire_ns=1, command_id=CommandId("s", 1, 1), body=bytes(segments.MAX_RECORD_BYTES))
    with pytest.raises(InvariantError):
        journal.append(answer)
    assert journal.append(fact(1)) == 1
    journal.close()


def test_a_short_write_counts_for_nothing(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal.open(tmp_path, log)
    written = fill(journal, 3)
    real = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:7], offset))
        with pytest.raises(JournalError, match="no space left"):
            journal.append(fact(4))
    assert journal.position == 3
    written.append((journal.append(fact(5, "after")), fact(5, "after")))
    journal.close()
    again = Journal.open(tmp_path, log)
    assert list(again.replay()) == written
    again.close()


def test_a_failing_disk_ends_all_appends(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed fdatasync the kernel has forgotten the pages: a second, successful one would be a lie."""
    journal = Journal.open(tmp_path, log)
    fill(journal, 1)
    journal.sync()

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        journal.append(fact(2))
        with pytest.raises(JournalError, match="cannot be synced"):
            journal.sync()
    assert journal.trouble is not None
    with pytest.raises(JournalError, match="cannot be synced"):
        journal.append(fact(3))
    journal.close()


def test_an_unusable_directory_is_a_clear_error(tmp_path: Path, log: Log) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(ConfigError, match=r"journal.*run\.state_dir"):
        Journal.open(tmp_path, log)


KILLED = """
import os, sys
from pathlib import Path
from core.clock import SimClock
from core.log import Log
from executor.journal import Journal
from executor.records import EpochStarted
journal = Journal.open(Path(sys.argv[1]), Log("t", SimClock(), write=lambda _: None), segment_bytes=64 * 1024)
while True:
    journal.append(EpochStarted(wire_ns=journal.position + 1, epoch=1, config_fingerprint="f"))
    os.write(1, journal.position.to_bytes(8, "little"))
"""


def test_sigkill_loses_nothing_that_append_returned_for(tmp_path: Path, log: Log) -> None:
    for turn in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = process.stdout.read(8 * 2000)
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
        last = int.from_bytes(said[len(said) // 8 * 8 - 8 : len(said) // 8 * 8], "little")
        journal = Journal.open(tmp_path, log, segment_bytes=64 * 1024)
        assert journal.position >= last > turn * 2000
        assert [record.wire_ns for _, record in journal.replay()] == list(range(1, journal.position + 1))
        journal.close()


FULL = """
import sys, time, subprocess, os
from pathlib import Path
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=224k", "none", str(disk)], check=True)
from core.clock import SimClock
from core.errors import BusyError
from core.log import Log
from executor.journal import Journal, JournalError
from executor.records import EpochStarted
log = Log("t", SimClock(), write=lambda _: None)
record = EpochStarted(wire_ns=1, epoch=1, config_fingerprint="f" * 100)
journal = Journal.open(disk, log, segment_bytes=64 * 1024)
room = None
(disk / "journal" / "spare").write_bytes(bytes(70_000))
while True:
    if room is None and journal.trouble and "cannot be reserved" in journal.trouble:
        room = journal.position
    try:
        journal.append(record)
    except JournalError as error:
        print("append:", error)
        break
    time.sleep(0.0002)
last = journal.position
assert room is not None and last - room > 20, (room, last)
journal.close()
journal = Journal.open(disk, log, segment_bytes=64 * 1024)
assert journal.position == last, (journal.position, last)
assert len(list(journal.replay())) == last
try:
    journal.checkpoint(bytes(100_000))
except JournalError as error:
    print("image:", error)
assert not list((disk / "journal").glob(".*")), "a temporary was left"
journal.close()
filler = disk / "filler"
fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
try:
    while True:
        os.write(fd, bytes(4096))
except OSError:
    os.close(fd)
try:
    Journal.open(disk / "other", log)
except BusyError as error:
    print("open:", error)
journal = Journal.open(disk, log, segment_bytes=64 * 1024)
assert journal.position == last
assert journal.trouble is not None
filler.unlink()
deadline = time.monotonic() + 10
while journal.trouble is not None and time.monotonic() < deadline:
    (disk / "journal" / "spare").unlink(missing_ok=True)
    time.sleep(0.01)
assert journal.trouble is None, "it does not heal when space is freed"
assert journal.append(record) == last + 1
journal.close()
print("done")
"""


def test_a_full_disk_warns_ahead_and_applies_nothing_by_half(tmp_path: Path) -> None:
    command = ["unshare", "-rm", sys.executable, "-c", FULL, str(tmp_path)]
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no private mounts on this machine: a full disk cannot be made")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "append:" in done.stdout
    assert "no space left for the journal" in done.stdout
    assert "image:" in done.stdout
    assert "open:" in done.stdout
    assert "done" in done.stdout
