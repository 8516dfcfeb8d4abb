"""The sandbox's memory across SIGKILL: an append-only file of checked lines.

    <crc32 of the rest, 8 hex digits> <JSON>\n

A line reaches the kernel in one `write` before anybody is told of what it says, so a killed process loses nothing; a
power loss may lose the newest lines, which for throw-away books is accepted (no fsync per line). Reading stops at the
first line that does not check, and the file is cut there: it can only be the torn end. The writer holds a lock on the
file, so that a second sandbox on the same directory is refused rather than mixed in.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from core.errors import BusyError, ConfigError, invariant
from ops.sandbox.model import MarketState, Transaction

REWRITE_BYTES = 64 << 20
Record = Transaction | MarketState


class AppendLog:
    """One writer, by lock. `read` everything first, then `append`. Raises BusyError when another one holds the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode
        self._fd = self._open()
        self._bytes = os.fstat(self._fd).st_size

    def read(self) -> Iterator[Record]:
        """Every record, oldest first; cuts a torn end off the file."""
        decode = msgspec.json.Decoder(Record).decode
        good = 0
        with self._path.open("rb") as file:
            for line in file:
                if not _checks(line):
                    break
                try:
                    record = decode(line[9:])
                except msgspec.ValidationError as error:
                    raise ConfigError(
                        f"{self._path}: was written by another version of the sandbox ({error}); remove the file to start afresh"
                    ) from error
                good += len(line)
                yield record
        os.ftruncate(self._fd, good)
        self._bytes = good

    def append(self, record: Record) -> None:
        """One line, handed to the kernel whole. Raises InvariantError when the disk is full."""
        line = _line(self._encode(record))
        written = os.write(self._fd, line)
        invariant(
            written == len(line), f"{self._path}: only {written} of {len(line)} bytes were written; is the disk full?"
        )
        self._bytes += written

    @property
    def is_long(self) -> bool:
        """Whether it is time for `rewrite`."""
        return self._bytes > REWRITE_BYTES

    def rewrite(self, records: Iterable[Record]) -> None:
        """Replace the history by records that rebuild the present state; all or nothing."""
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            for record in records:
                file.write(_line(self._encode(record)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        os.close(self._fd)
        self._fd = self._open()
        self._bytes = os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise BusyError(f"{self._path}: cannot be opened ({error.strerror}); check the state directory") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BusyError(f"{self._path}: another sandbox is writing it; stop that one first") from None
        return descriptor


def _line(body: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _checks(line: bytes) -> bool:
    if len(line) < 10 or not line.endswith(b"\n"):
        return False
    try:
        return int(line[:8], 16) == zlib.crc32(line[9:-1])
    except ValueError:
        return False
