"""Run directories of this test session's own, and proof that none of them stays in shared memory."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bookshm.run import RunDir
from core.clock import SystemClock
from tests.bookshm.desk import Desk
from tests.bookshm.samples import instrument

ROOT = Path(__file__).resolve().parents[2]
Actor = subprocess.Popen[str]
Spawn = Callable[..., Actor]


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A path for a run that does not exist yet; whoever uses it has to leave nothing behind."""
    path = Path(f"/dev/shm/tandem-t{os.getpid()}-{secrets.token_hex(4)}")
    yield path
    assert not path.exists(), f"left behind: {sorted(str(p) for p in path.rglob('*'))}"


@pytest.fixture
def run(run_dir: Path, clock: SystemClock) -> Iterator[RunDir]:
    run = RunDir.join(run_dir, 1.0, clock)
    yield run
    run.leave()


@pytest.fixture
def desk(run: RunDir) -> Iterator[Desk]:
    desk = Desk(run)
    desk.writer.set_status(True, "connected")
    yield desk
    desk.writer.close()


@pytest.fixture
def btc(desk: Desk) -> int:
    return desk.writer.add(instrument("BTC"))


@pytest.fixture
def spawn(run_dir: Path) -> Iterator[Spawn]:
    """Start `tests.bookshm.actors ROLE RUN_DIR ARGS` as a process of its own; what still runs at the end is killed, by pid,
    and a run that only killed processes were in is cleaned by entering and leaving it."""
    started: list[Actor] = []

    def start(role: str, *args: object) -> Actor:
        command = [sys.executable, "-m", "tests.bookshm.actors", role, str(run_dir), *map(str, args)]
        actor = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None
        )
        started.append(actor)
        return actor

    yield start
    for actor in started:
        if actor.poll() is None:
            actor.kill()
        actor.communicate(timeout=10)


def line(actor: Actor) -> str:
    """The actor's next line; fails if it ended instead."""
    assert actor.stdout is not None
    text = actor.stdout.readline().strip()
    assert text, f"actor ended with {actor.wait(10)}"
    return text


def tell(actor: Actor, text: str) -> None:
    assert actor.stdin is not None
    actor.stdin.write(text + "\n")
    actor.stdin.flush()


def finish(actor: Actor) -> int:
    """Ask the actor to close cleanly; its exit code."""
    tell(actor, "stop")
    return actor.wait(20)
