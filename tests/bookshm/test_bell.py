"""Sleeping until a writer rings."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path

import pytest

from bookshm.bell import Bell, BellRinger
from bookshm.book import BookWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from tests.bookshm.conftest import Spawn, finish, line
from tests.bookshm.samples import VENUE, instrument


def rings(bell: Bell, timeout_s: float = 0.0) -> bool:
    return bool(select.select([bell], [], [], timeout_s)[0])


def test_a_ring_wakes_a_sleeper_in_another_process(run: RunDir, spawn: Spawn) -> None:
    sleeper = spawn("sleeper", 20_000)
    assert line(sleeper) == "waiting"
    ringer = BellRinger(run)
    ringer.ring()
    assert line(sleeper) == "1"
    assert finish(sleeper) == 0
    ringer.close()
    assert list(run.bells.iterdir()) == []


def test_without_a_ring_the_sleeper_sleeps(run: RunDir, spawn: Spawn) -> None:
    sleeper = spawn("sleeper", 100)
    assert line(sleeper) == "waiting"
    assert line(sleeper) == "silence"
    assert finish(sleeper) == 0


def test_rings_gather_and_one_drain_silences_them(run: RunDir) -> None:
    bell = Bell(run, "scalp")
    ringer = BellRinger(run)
    assert not rings(bell)
    for _ in range(3):
        ringer.ring()
    assert rings(bell)
    assert bell.drain() == 3
    assert not rings(bell)
    assert bell.drain() == 0
    ringer.close()
    bell.close()


def test_a_reader_that_never_drains_does_not_block_the_writer(run: RunDir) -> None:
    bell = Bell(run, "asleep")
    ringer = BellRinger(run)
    for _ in range(70_000):  # a FIFO holds 65,536 bytes
        ringer.ring()
    assert len(ringer) == 1
    assert bell.drain() == 65_536
    ringer.close()
    bell.close()


def test_every_reader_has_a_bell_and_every_writer_rings_them_all(run: RunDir) -> None:
    bells = [Bell(run, f"reader{i}") for i in range(4)]
    ringers = [BellRinger(run), BellRinger(run)]
    for ringer in ringers:
        ringer.ring()
    assert [bell.drain() for bell in bells] == [2, 2, 2, 2]
    for ringer in ringers:
        ringer.close()
    for bell in bells:
        bell.close()


def test_a_late_reader_is_found_at_the_next_heartbeat(run: RunDir, clock: SystemClock) -> None:
    writer = BookWriter(run, VENUE, clock, 8, 64)
    writer.add(instrument("BTC"))
    bell = Bell(run, "late")
    writer.ring_bells()
    assert not rings(bell)
    writer.heartbeat(clock.mono_ns())
    writer.ring_bells()
    assert rings(bell)
    bell.drain()
    writer.close()
    assert rings(bell), "a closing book rings once more, so that its readers look"
    bell.close()


def test_a_closed_bell_is_forgotten_and_a_new_one_of_the_same_name_found(run: RunDir) -> None:
    ringer = BellRinger(run)
    first = Bell(run, "scalp")
    ringer.rescan()
    first.close()
    second = Bell(run, "scalp")
    ringer.rescan()
    ringer.ring()
    assert second.drain() == 1
    assert len(ringer) == 1
    assert [path.name for path in run.bells.iterdir()] == [f"scalp.{os.getpid()}"]
    ringer.close()
    second.close()
    second.close()


def test_what_is_left_of_a_reader_killed_while_making_its_bell_is_replaced(run: RunDir) -> None:
    os.mkfifo(run.bells / f".scalp.{os.getpid()}")
    ringer = BellRinger(run)
    assert len(ringer) == 0
    bell = Bell(run, "scalp")
    ringer.rescan()
    ringer.ring()
    assert bell.drain() == 1
    ringer.close()
    bell.close()


async def test_bells_work_under_asyncio(run: RunDir) -> None:
    bell = Bell(run, "dashboard")
    ringer = BellRinger(run)
    rung = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(bell.fileno(), rung.set)
    ringer.ring()
    await asyncio.wait_for(rung.wait(), 5)
    loop.remove_reader(bell.fileno())
    ringer.close()
    bell.close()


def test_a_writer_that_looks_while_a_bell_is_made_leaves_it_alone(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO that its reader has not opened yet looks like a dead one's."""
    ringer = BellRinger(run)
    make = os.mkfifo

    def make_and_look(path: Path) -> None:
        make(path)
        ringer.rescan()

    monkeypatch.setattr(os, "mkfifo", make_and_look)
    bell = Bell(run, "newborn")
    ringer.rescan()
    ringer.ring()
    assert bell.drain() == 1
    ringer.close()
    bell.close()
