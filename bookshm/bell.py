"""How a reader sleeps until a writer has something: one FIFO per reader, `bells/<reader>.<pid>`.

The reader opens its FIFO read-write and non-blocking (so it never sees end-of-file when writers come and go) and drains
it; a writer opens it write-only and non-blocking and writes one byte per batch of frames. EAGAIN means "already rung",
EPIPE and ENXIO mean a dead reader, whose FIFO the writer closes and unlinks. Bells are level-triggered: a reader polls
the descriptor with a timeout of BELL_TIMEOUT_MS, so even a lost bell costs no more than that. Works under epoll, asyncio
and uvloop. A futex was refused: slower to wake, and it serves no other descriptor in the same wait.

The FIFO is made under a name that writers skip and renamed once its reader has it open: a writer that found a FIFO
without a reader would take it for a dead one's.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from bookshm.run import RunDir

BELL_TIMEOUT_MS = 50
_DRAIN_BYTES = 65_536  # the capacity of a FIFO: one read empties it


class Bell:
    """A reader's own bell. `fileno()` becomes readable when a writer rings."""

    __slots__ = ("_fd", "path")

    def __init__(self, run: RunDir, reader_name: str) -> None:
        self.path = run.bells / f"{reader_name}.{os.getpid()}"
        hidden = run.bells / f".{self.path.name}"
        hidden.unlink(missing_ok=True)
        os.mkfifo(hidden)
        hidden.chmod(0o660)
        self._fd = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        self.drain()
        hidden.rename(self.path)

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> int:
        """Silence the bell; how many rings had gathered. Drain first, look at the books after, or a ring can be lost."""
        try:
            return len(os.read(self._fd, _DRAIN_BYTES))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


class BellRinger:
    """A writer's side of all bells of the run. Bounded by the readers that exist; never blocks."""

    __slots__ = ("_bells", "_directory")

    def __init__(self, run: RunDir) -> None:
        self._directory = run.bells
        self._bells: dict[tuple[str, int], int] = {}  # (name, inode) -> descriptor
        self.rescan()

    def __len__(self) -> int:
        return len(self._bells)

    def rescan(self) -> None:
        """Find readers that came since; called at each heartbeat."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                key = (entry.name, entry.inode())
                if key not in self._bells and not entry.name.startswith("."):
                    self._open(key)

    def ring(self) -> None:
        """Wake every reader: once per batch of frames, after the last publish of the batch."""
        dead: list[tuple[str, int]] = []
        for key, fd in self._bells.items():
            try:
                os.write(fd, b"\1")
            except BlockingIOError:
                continue
            except BrokenPipeError:
                dead.append(key)
        for key in dead:
            os.close(self._bells.pop(key))
            self._unlink(key)

    def close(self) -> None:
        while self._bells:
            os.close(self._bells.popitem()[1])

    def _open(self, key: tuple[str, int]) -> None:
        try:
            self._bells[key] = os.open(self._directory / key[0], os.O_WRONLY | os.O_NONBLOCK)
        except (FileNotFoundError, PermissionError):
            return  # gone again, or another user's: such a reader still wakes by its timeout
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            self._unlink(key)

    def _unlink(self, key: tuple[str, int]) -> None:
        """Remove a dead reader's FIFO, unless the name already belongs to a new one."""
        path: Path = self._directory / key[0]
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_ino == key[1]:
                path.unlink()
