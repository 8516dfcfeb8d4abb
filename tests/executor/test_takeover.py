"""`--takeover`, and locks that cannot be taken, with real executors: who is ended and how, what the successor finds and says."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core import holder as holders
from core.config import load
from tests.configuration import sandbox_port
from tests.executor.sandbox_process import ROOT, SandboxProcess, sandbox

VENUES = ("aster", "hyperliquid")
BOUND_S = 30.0


class Fleet:
    """Executors of one account, each with its own state or a shared one; ended by pid."""

    def __init__(self, box: SandboxProcess, directory: Path) -> None:
        self.directory = directory
        self.shm = Path(tempfile.mkdtemp(prefix="tandem-"))  # short: a unix socket's path has at most 107 bytes
        self.processes: list[subprocess.Popen[bytes]] = []
        text = box.config_file.read_text()
        for venue in VENUES:
            text = text.replace(f"127.0.0.1:{sandbox_port(venue)}", box.url(venue))
        self._text = text.replace("[risk]\n", "[execution]\nlock_wait_s = 0.2\nrehearse_ms = 0.0\n\n[risk]\n", 1)
        self._secrets = box.loaded.secrets_file

    def config(self, name: str, **run: str) -> Path:
        """A checkout of its own: own state, own run in shared memory, the same lock directory and keys."""
        values = {
            "name": f"t{os.getpid()}-{name}",
            "state_dir": str(self.directory / name / "state"),
            "lock_dir": str(self.directory / "locks"),
            "secrets_file": str(self._secrets),
            "shm_dir": str(self.shm),
            **run,
        }
        text = self._text
        for key, value in values.items():
            text = _set(text, key, value)
        file = self.directory / name / "config" / "sandbox.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def start(self, config: Path, *words: str) -> Executor:
        output = config.parent.parent / f"log-{len(self.processes)}"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "executor.main", "--config", str(config), *words],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return Executor(process, output)


class Executor:
    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def events(self, name: str = "") -> list[dict[str, Any]]:
        lines = [line for line in self._output.read_text().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if name in ("", line["event"])]

    def ready(self) -> dict[str, Any]:
        """Wait until commands are accepted; what it replayed."""
        until(lambda: self.events("ready") or self.process.poll() is not None, self._output.read_text)
        assert self.process.poll() is None, self._output.read_text()
        (replayed,) = self.events("replayed")
        return replayed

    def ended(self) -> int:
        return self.process.wait(BOUND_S)

    def text(self) -> str:
        return self._output.read_text()


def until(reached: Callable[[], object], tell: Callable[[], str]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not reached():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)


def _set(text: str, key: str, value: str) -> str:
    lines = text.split("[run]\n", 1)
    head, tail = lines[1].split("\n[", 1)
    rows = [row for row in head.splitlines() if not row.startswith(f"{key} ")]
    return f'{lines[0]}[run]\n{key} = "{value}"\n' + "\n".join(rows) + "\n[" + tail


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("box"), venues=VENUES) as running:
        yield running


@pytest.fixture
def fleet(box: SandboxProcess, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(box, tmp_path)
    yield made
    for process in made.processes:
        with process:
            process.kill()
    shutil.rmtree(made.shm)


def test_a_live_executor_ends_in_order_and_its_successor_goes_on(fleet: Fleet) -> None:
    config = fleet.config("one")
    first = fleet.start(config)
    epoch = first.ready()["epoch"]
    second = fleet.start(config, "--takeover")
    replayed = second.ready()
    assert first.ended() == 0
    assert first.events("stopped"), "it was asked, and left in order"
    assert (replayed["clean_stop"], replayed["epoch"]) == (True, epoch + 1)
    assert [line["holder_pid"] for line in second.events("holder_terminated")] == [first.process.pid]
    assert second.events("holder_killed") == []


def test_a_stopped_executor_is_killed_and_its_successor_recovers(fleet: Fleet) -> None:
    config = fleet.config("one")
    first = fleet.start(config)
    first.ready()
    first.process.send_signal(signal.SIGSTOP)
    until(lambda: holders.is_stopped(first.process.pid), first.text)
    second = fleet.start(config, "--takeover")
    replayed = second.ready()
    assert first.ended() == -signal.SIGKILL
    assert replayed["clean_stop"] is False
    assert second.events("holder_terminated") == []
    assert {line["holder_pid"] for line in second.events("holder_killed")} == {first.process.pid}


def test_an_executor_of_another_checkout_is_taken_over_with_its_locks(fleet: Fleet) -> None:
    """Its own state stays its own: the successor finds positions as a stranger's, not as its own."""
    first = fleet.start(fleet.config("one"))
    first.ready()
    second = fleet.start(fleet.config("two"), "--takeover")
    assert second.ready()["epoch"] == 1
    assert first.ended() == 0
    (claim,) = {holders.read_holder(path) for path in (fleet.directory / "locks").glob("*.lock")}
    assert claim is not None
    assert (claim.pid, claim.state_dir) == (second.process.pid, str(fleet.directory / "two" / "state"))


def test_a_recycled_pid_is_not_touched(fleet: Fleet) -> None:
    """The holder was killed and its number now belongs to somebody else: the locks are free, nobody is signalled."""
    config = fleet.config("one")
    first = fleet.start(config)
    first.ready()
    first.process.kill()
    first.ended()
    bystander = subprocess.Popen(["sleep", "600"])
    fleet.processes.append(bystander)
    for path in (fleet.directory / "locks").glob("*.lock"):
        claim = holders.read_holder(path)
        assert claim is not None
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(claim, pid=bystander.pid)))
    second = fleet.start(config, "--takeover")
    second.ready()
    assert bystander.poll() is None
    assert second.events("holder_terminated") == second.events("holder_killed") == []


def test_a_lock_that_names_somebody_else_is_not_a_reason_to_signal_him(fleet: Fleet) -> None:
    """A live holder, and a file that was made to name a bystander: neither is touched, and it says why."""
    config = fleet.config("one")
    first = fleet.start(config)
    first.ready()
    bystander = subprocess.Popen(["sleep", "600"])
    fleet.processes.append(bystander)
    ticks = holders.start_ticks(bystander.pid)
    for path in (fleet.directory / "locks").glob("*.lock"):
        claim = holders.read_holder(path)
        assert claim is not None
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(claim, pid=bystander.pid, start_ticks=ticks)))
    second = fleet.start(config, "--takeover")
    assert second.ended() == 75
    assert "does not hold it" in second.text()
    assert (first.process.poll(), bystander.poll()) == (None, None)


def test_without_takeover_the_second_waits_names_the_first_and_leaves(fleet: Fleet) -> None:
    config = fleet.config("one")
    first = fleet.start(config)
    first.ready()
    second = fleet.start(config)
    assert second.ended() == 75
    assert f"pid {first.process.pid}" in second.text()
    assert "--takeover" in second.text()
    assert first.process.poll() is None


ON_A_DISK = """
import os, subprocess, sys
disk, kind, *command = sys.argv[1:]
options = "ro" if kind == "readonly" else "size=4k,nr_inodes=10"
subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
if kind == "full":
    open(os.path.join(disk, "filler"), "wb").write(bytes(4096))
os.execv(command[0], command)
"""


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("readonly", 78, ("Read-only file system", "check run.lock_dir")),
        ("full", 75, ("no space left on the disk for the lock", "free some")),
    ],
)
def test_a_lock_directory_that_takes_no_lock_is_said_so_and_nothing_is_traded(
    fleet: Fleet, kind: str, code: int, words: tuple[str, ...]
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no private mounts on this machine: such a disk cannot be made")
    disk = fleet.directory / "disk"
    disk.mkdir()
    config = fleet.config("one", lock_dir=str(disk))
    executor = [sys.executable, "-m", "executor.main", "--config", str(config)]
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", ON_A_DISK, str(disk), kind, *executor],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stdout + done.stderr
    for word in words:
        assert word in done.stdout + done.stderr
    assert not (load(config).state_dir / "journal").exists(), "nothing is opened without its locks"
