"""Who may write: `flock` held for life, shown to onlookers by an open-file-description lock on the same file.

A holder takes both: the `flock` decides, the OFD lock is there to be looked at. A tool that probed with `flock` would
hold it for a moment, and a writer that starts in that moment would fail; F_OFD_GETLK only asks. Both end with the
file's last descriptor, so a SIGKILLed holder leaves nothing behind. Descriptors are close-on-exec, and a holder must
not fork without exec: the child would keep the lock alive.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
from pathlib import Path

from core.errors import BusyError

_FLOCK = struct.Struct("@hhqqi4x")
RETRY_S = 0.02
RETRIES = 100  # 2 s: a restarted process may overlap the last moments of its predecessor


class WriterLock:
    """The exclusive right to write one segment. Raises BusyError naming the holder if it is taken for 2 s."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path, role: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        if not _retry_exclusive(self._fd):
            holder = read_holder(self._fd)
            os.close(self._fd)
            raise BusyError(f"{path}: another writer holds this lock ({holder}); stop it first, one writer per segment")
        show(self._fd, exclusive=True)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{role} pid {os.getpid()}".encode(), 0)

    def close(self) -> None:
        """Give the lock up. The file stays: removing it would let two writers lock two different inodes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def show(fd: int, exclusive: bool) -> None:
    """Add the OFD lock that onlookers see. Never waits; a conflict cannot arise while the flock is held."""
    kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))


def is_held(path: Path) -> bool:
    """Whether any process holds `path`, without taking a lock for even a moment; False if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)


def try_flock(fd: int, operation: int) -> bool:
    """`flock` without waiting; whether it was granted."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def pause(seconds: float) -> None:
    """Wait inside a bounded retry."""
    select.select((), (), (), seconds)


def read_holder(fd: int) -> str:
    return os.pread(fd, 200, 0).decode(errors="replace") or "it has not signed its name yet"


def _retry_exclusive(fd: int) -> bool:
    for _ in range(RETRIES):
        if try_flock(fd, fcntl.LOCK_EX):
            return True
        pause(RETRY_S)
    return False
