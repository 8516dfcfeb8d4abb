"""One executor per account: who waits, who is named, who is ended, and above all who is not. Real processes throughout."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from core import holder as holders
from core.clock import SystemClock
from core.errors import BusyError, ConfigError
from core.holder import Holder, NotVerified
from core.log import Log
from core.types import Venue
from executor.lock import AccountLock, acquire, lock_path

CLOCK = SystemClock()
VENUE = Venue("aster")
ACCOUNT = "0xAbC0000000000000000000000000000000000001"

HOLD = """
import asyncio, ctypes, signal, sys
from pathlib import Path
from core import holder
from core.clock import SystemClock
from core.log import Log
from core.types import Venue
from executor.lock import acquire
directory, account, manner = sys.argv[1:]
if manner == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if manner == "hidden":
    assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0
clock = SystemClock()
identity = holder.myself(Path("/etc/tandem/live.toml"), Path(directory) / "state", clock)
log = Log("t", clock, write=lambda _: None)
lock = asyncio.run(acquire(Path(directory), Venue("aster"), account, identity, wait_s=0, takeover=False, log=log, clock=clock))
print("held", flush=True)
signal.pause()
"""


class Processes:
    """Holders that a test started, ended by pid at its end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: list[subprocess.Popen[str]] = []

    def start(self, manner: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.directory), ACCOUNT, manner], stdout=subprocess.PIPE, text=True
        )
        self.running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    def idle(self) -> subprocess.Popen[str]:
        """A bystander that holds nothing."""
        process = subprocess.Popen(["sleep", "600"], stdout=subprocess.PIPE, text=True)
        self.running.append(process)
        return process


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in made.running:
        with process:
            process.kill()


@pytest.fixture
def lines() -> list[str]:
    return []


async def take(
    directory: Path, lines: list[str], *, wait_s: float = 0.0, takeover: bool = False, account: str = ACCOUNT
) -> AccountLock:
    identity = holders.myself(Path("/srv/b/sandbox.toml"), directory / "state", CLOCK)
    log = Log("test", CLOCK, write=lines.append)
    return await acquire(directory, VENUE, account, identity, wait_s=wait_s, takeover=takeover, log=log, clock=CLOCK)


def until(condition: Callable[[], bool], bound_s: float = 10.0) -> None:
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, "the state did not come within its bound"
        time.sleep(0.01)


def claim_of(directory: Path) -> Holder:
    claim = holders.read_holder(lock_path(directory, VENUE, ACCOUNT))
    assert claim is not None
    return claim


def forge(directory: Path, claim: Holder) -> None:
    """Another text in the same file (the same inode, so that the kernel's lock stays)."""
    lock_path(directory, VENUE, ACCOUNT).write_bytes(msgspec.json.encode(claim))


async def test_the_file_says_who_holds_it(tmp_path: Path, lines: list[str]) -> None:
    lock = await take(tmp_path, lines)
    claim = claim_of(tmp_path)
    assert (claim.pid, claim.uid, claim.config) == (os.getpid(), os.getuid(), "/srv/b/sandbox.toml")
    assert claim.start_ticks == holders.start_ticks(os.getpid())
    assert holders.flock_pids(lock.path) == {os.getpid()}
    assert holders.holders(tmp_path, tmp_path / "state") == [(lock.path, claim)]
    assert holders.holders(tmp_path, tmp_path / "another state") == []
    lock.release()
    lock.release()
    assert holders.read_holder(lock.path) is None
    assert holders.holders(tmp_path, tmp_path / "state") == []
    assert lock.path.exists(), "a lock file is never unlinked"
    (await take(tmp_path, lines)).release()


def test_an_account_has_one_lock_however_it_is_spelled(tmp_path: Path) -> None:
    assert lock_path(tmp_path, VENUE, ACCOUNT) == lock_path(tmp_path, VENUE, " " + ACCOUNT.lower())
    assert lock_path(tmp_path, VENUE, ACCOUNT) != lock_path(tmp_path, VENUE, ACCOUNT[:-1] + "2")
    assert lock_path(tmp_path, VENUE, ACCOUNT) != lock_path(tmp_path, Venue("hyperliquid"), ACCOUNT)


async def test_a_second_executor_waits_then_names_the_holder(
    tmp_path: Path, processes: Processes, lines: list[str]
) -> None:
    held = processes.start()
    with pytest.raises(BusyError) as caught:
        await take(tmp_path, lines, wait_s=0.3)
    text = str(caught.value)
    assert f"pid {held.pid}" in text
    assert "/etc/tandem/live.toml" in text
    assert "--takeover" in text
    assert any("lock_waiting" in line and str(held.pid) in line for line in lines)
    assert held.poll() is None
    other = await take(tmp_path, lines, account=ACCOUNT[:-1] + "2")
    other.release()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_a_dead_holder_gives_way_at_once(
    tmp_path: Path, processes: Processes, lines: list[str], ending: signal.Signals
) -> None:
    held = processes.start()
    waiting = asyncio.create_task(take(tmp_path, lines, wait_s=20))
    await asyncio.sleep(0.15)
    assert not waiting.done()
    held.send_signal(ending)
    lock = await waiting
    assert claim_of(tmp_path).pid == os.getpid()
    lock.release()


async def test_takeover_ends_a_live_holder_by_term(tmp_path: Path, processes: Processes, lines: list[str]) -> None:
    held = processes.start()
    lock = await take(tmp_path, lines, wait_s=5, takeover=True)
    assert held.wait(10) == -signal.SIGTERM
    assert claim_of(tmp_path).pid == os.getpid()
    lock.release()


async def test_takeover_kills_a_stopped_holder(tmp_path: Path, processes: Processes, lines: list[str]) -> None:
    held = processes.start()
    held.send_signal(signal.SIGSTOP)
    until(lambda: holders.is_stopped(held.pid))
    lock = await take(tmp_path, lines, wait_s=5, takeover=True)
    assert held.wait(10) == -signal.SIGKILL
    assert not any("holder_terminated" in line for line in lines)
    lock.release()


def test_a_holder_that_ignores_term_is_killed_after_the_bound(
    tmp_path: Path, processes: Processes, lines: list[str]
) -> None:
    held = processes.start("stubborn")
    path = lock_path(tmp_path, VENUE, ACCOUNT)
    holders.end(path, claim_of(tmp_path), Log("t", CLOCK, write=lines.append), term_wait_s=0.3)
    assert held.wait(10) == -signal.SIGKILL
    assert any("holder_terminated" in line for line in lines)
    assert any("holder_killed" in line for line in lines)


async def test_a_recycled_pid_is_left_alone_and_a_free_lock_is_taken(
    tmp_path: Path, processes: Processes, lines: list[str]
) -> None:
    """The holder was killed and its pid now belongs to a bystander: the lock is free, nobody is signalled."""
    held, bystander = processes.start(), processes.idle()
    claim = claim_of(tmp_path)
    held.kill()
    held.wait(10)
    forge(tmp_path, msgspec.structs.replace(claim, pid=bystander.pid))
    lock = await take(tmp_path, lines, takeover=True)
    assert bystander.poll() is None
    lock.release()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"start_ticks": 1}, "belongs to another process by now"),
        ({"uid": 4_000_000}, "held by another user"),
        ({"boot_id": "another"}, "another machine or container"),
        ({"pid_namespace": "pid:[1]"}, "another machine or container"),
        ({"pid": 1 << 22}, "has ended"),
    ],
)
async def test_a_claim_that_does_not_hold_is_never_signalled(
    tmp_path: Path, processes: Processes, lines: list[str], change: dict[str, object], words: str
) -> None:
    held = processes.start()
    forge(tmp_path, msgspec.structs.replace(claim_of(tmp_path), **change))
    with pytest.raises(NotVerified, match=words):
        await take(tmp_path, lines, takeover=True)
    assert held.poll() is None
    assert not any("holder_terminated" in line or "holder_killed" in line for line in lines)


async def test_a_bystander_named_by_a_held_lock_is_never_signalled(
    tmp_path: Path, processes: Processes, lines: list[str]
) -> None:
    """Everything about the named process is right, except that it does not hold the lock."""
    processes.start()
    bystander = processes.idle()
    ticks = holders.start_ticks(bystander.pid)
    forge(tmp_path, msgspec.structs.replace(claim_of(tmp_path), pid=bystander.pid, start_ticks=ticks))
    with pytest.raises(NotVerified, match="does not hold it"):
        await take(tmp_path, lines, takeover=True)
    assert bystander.poll() is None
    with pytest.raises(BusyError, match="the file still names"):
        await take(tmp_path, lines)


async def test_a_lock_without_a_name_is_waited_for_not_ended(
    tmp_path: Path, processes: Processes, lines: list[str]
) -> None:
    held = processes.start()
    lock_path(tmp_path, VENUE, ACCOUNT).write_bytes(b"")
    with pytest.raises(BusyError, match="has not written its name"):
        await take(tmp_path, lines, wait_s=0.1, takeover=True)
    assert held.poll() is None


async def test_an_unusable_lock_directory_is_a_clear_error(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run\.lock_dir"):
        await take(tmp_path / "file", lines)
    with pytest.raises(ConfigError, match=r"run\.lock_dir"):
        await take(tmp_path / "file" / "below", lines)
    lock_path(tmp_path, VENUE, ACCOUNT).mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        await take(tmp_path, lines)


MOUNTED = """
import asyncio, os, subprocess, sys
from pathlib import Path
disk, kind = Path(sys.argv[1]), sys.argv[2]
options = "ro" if kind == "readonly" else "size=4k,nr_inodes=10"
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], check=True)
from core import holder
from core.clock import SystemClock
from core.errors import TandemError
from core.log import Log
from core.types import Venue
from executor.lock import acquire
if kind == "full":
    (disk / "filler").write_bytes(bytes(4096))
clock = SystemClock()
identity = holder.myself(Path("c.toml"), disk, clock)
log = Log("t", clock, write=lambda _: None)
try:
    asyncio.run(acquire(disk, Venue("aster"), "a", identity, wait_s=0, takeover=False, log=log, clock=clock))
except TandemError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("kind", "words"),
    [("readonly", ("ConfigError", "Read-only file system", "run.lock_dir")), ("full", ("BusyError", "no space left"))],
)
def test_a_read_only_or_full_disk_is_a_clear_error(tmp_path: Path, kind: str, words: tuple[str, ...]) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no private mounts on this machine: such a disk cannot be made")
    command = ["unshare", "-rm", sys.executable, "-c", MOUNTED, str(tmp_path), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words), done.stdout


async def test_a_holder_that_hides_its_memory_is_still_verified_and_ended(
    tmp_path: Path, processes: Processes, lines: list[str]
) -> None:
    """The executor makes itself non-dumpable: what proves who it is must stay readable."""
    held = processes.start("hidden")
    lock = await take(tmp_path, lines, wait_s=5, takeover=True)
    assert held.wait(10) == -signal.SIGTERM
    lock.release()
