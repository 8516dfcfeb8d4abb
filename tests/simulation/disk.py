"""The disk of a simulated executor: the journal's own code on real files in memory, with a plug that can be pulled.

`executor.journal` and `executor.segments` see this object as their `os`, and `threading` as `SimThreads`. Every record that
goes to the file passes here, so this is also where crashes at a commit are staged, and where the simulation learns what is
journaled before anything leaves.

    SIGKILL        the page cache survives: nothing is lost
    power loss     what no fdatasync covered is lost, and the record at the cut may be torn in the middle
    full           blocks of the next segment cannot be reserved; at worst a write of a record fails
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from executor.records import AnyRecord
from tests.simulation.world import Crash, World

_HEAD = struct.Struct("<IIQ")
_decoder = msgspec.msgpack.Decoder(AnyRecord)
SYNC_AFTER_S = 0.010


class Disk:
    """One life's `os`. `on_record(record)` after the bytes are in the file; `before_record`/`after_record` may raise Crash."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.records = 0
        self.before_record: Callable[[AnyRecord], None] = _ignore
        self.on_record: Callable[[AnyRecord], None] = _ignore
        self.after_record: Callable[[AnyRecord], None] = _ignore
        self.after_sync: Callable[[], None] = lambda: None
        self.write_error: int = 0
        self._unsynced: list[tuple[int, int, int]] = []  # fd, offset, size
        self._fds: set[int] = set()
        self._threads: list[SimThread] = []
        self._turn_due = False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    # ---- what the journal calls -------------------------------------------------------------------------------------

    def open(self, *arguments: Any) -> int:
        self._alive()
        fd = os.open(*arguments)
        self._fds.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self._alive()
        self._unsynced = [each for each in self._unsynced if each[0] != fd]
        self._fds.discard(fd)
        os.close(fd)

    def posix_fallocate(self, fd: int, offset: int, size: int) -> None:
        self._alive()
        if self.world.disk_is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.ftruncate(fd, size)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._alive()
        if len(data) < _HEAD.size or data[:7] == b"TANDEMJ" or not any(data[:8]):
            return os.pwrite(fd, data, offset)
        record = _decoder.decode(data[_HEAD.size :])
        if self.write_error:
            code, self.write_error = self.write_error, 0
            raise OSError(code, os.strerror(code))
        self.before_record(record)
        written = os.pwrite(fd, data, offset)
        self._unsynced.append((fd, offset, len(data)))
        self.records += 1
        self.on_record(record)
        self.after_record(record)
        self._wake()
        return written

    def fdatasync(self, fd: int) -> None:
        self._alive()
        self._unsynced = [each for each in self._unsynced if each[0] != fd]
        self.after_sync()

    fsync = fdatasync

    # ---- the plug ---------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """The process is gone: the kernel closes its files."""
        self.dead = True
        for fd in sorted(self._fds):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()

    def lose_power(self, torn_bytes: int) -> int:
        """Before `kill`: drop what was not synced, all but `torn_bytes` of it; how many records that were."""
        lost = len(self._unsynced)
        for fd, offset, size in self._unsynced:
            kept = min(size, torn_bytes)
            torn_bytes -= kept
            os.pwrite(fd, bytes(size - kept), offset + kept)
        self._unsynced.clear()
        return lost

    def _alive(self) -> None:
        if self.dead:
            raise Crash

    # ---- the sync thread --------------------------------------------------------------------------------------------

    def adopt(self, thread: SimThread) -> None:
        self._threads.append(thread)
        self._wake()

    def _wake(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self.world.after(SYNC_AFTER_S, self._turn)

    def _turn(self) -> None:
        self._turn_due = False
        if not self.dead:
            for thread in self._threads:
                thread.turn()


class SimThreads:
    """Stands for the module `threading` inside executor.journal: the thread runs one turn whenever the world lets it."""

    Lock = staticmethod(threading.Lock)

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def Event(self) -> SimEvent:
        return SimEvent()

    def Thread(self, **settings: Any) -> SimThread:
        return SimThread(self._disk, **settings)


class SimEvent:
    """`wait` lets a loop of the form `while not stop.wait(period)` run exactly once per turn."""

    def __init__(self) -> None:
        self._is_set = False
        self._turns = 0

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float | None = None) -> bool:
        self._turns += 1
        return self._is_set or self._turns % 2 == 0


class SimThread:
    """A thread that works only when `turn` is called."""

    def __init__(
        self, disk: Disk, target: Callable[..., None], args: tuple[Any, ...] = (), name: str = "", daemon: bool = True
    ) -> None:
        self._disk = disk
        self._target = target
        self._args = args

    def start(self) -> None:
        self._disk.adopt(self)

    def turn(self) -> None:
        self._target(*self._args)

    def join(self) -> None:
        """It never runs by itself."""


def _ignore(record: AnyRecord) -> None:
    """Nobody listens."""
