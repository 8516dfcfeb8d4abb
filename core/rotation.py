"""Gzipped files of one writer, rotated by size and bounded in sum: the oldest go first.

    <directory>/<stem>-<UTC start>-<number>.gz       number counts up, so that names sort in the order of writing

What was given to `write` is on disk after the next `flush` up to a whole block, so a killed writer leaves a file whose
readable part ends there (`read_whole` reads exactly that part). One writer per stem and directory; nothing is locked.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from core.clock import NS_PER_S, Clock
from core.errors import ConfigError

LEVEL = 1  # market data shrinks to an eighth at the cheapest level; better ones cost four times the time
SUFFIX = ".gz"
CHUNK = 1 << 16


class RotatingFiles:
    """Not thread-safe: one thread opens, writes and closes. A file is made at the first write."""

    def __init__(self, directory: Path, stem: str, max_file_bytes: int, max_total_bytes: int, clock: Clock) -> None:
        self._directory = directory
        self._stem = stem
        self._max_file = max_file_bytes
        self._max_total = max_total_bytes
        self._clock = clock
        self._file: gzip.GzipFile | None = None
        self._path = directory
        self._number = 0
        self._raw = 0

    @property
    def is_full(self) -> bool:
        """Whether the next write should go to a new file: none is open, or this one has reached its size."""
        return self._file is None or self._size(self._path) >= self._max_file

    def open(self) -> None:
        """Begin a new file; the oldest ones go as far as the sum demands. Raises ConfigError if it cannot be made."""
        self.close()
        at = datetime.fromtimestamp(self._clock.wire_ns() // NS_PER_S, tz=UTC).strftime("%Y%m%dT%H%M%S")
        self._number += 1
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._drop_oldest()
            self._path = self._directory / f"{self._stem}-{at}-{self._number:06d}{SUFFIX}"
            while self._path.exists():  # a process of this second's, just replaced by this one
                self._number += 1
                self._path = self._directory / f"{self._stem}-{at}-{self._number:06d}{SUFFIX}"
            self._file = gzip.GzipFile(self._path, "xb", compresslevel=LEVEL)
        except OSError as error:
            raise ConfigError(
                f"{self._directory}: cannot record there ({error.strerror}); see recorder.directory"
            ) from error

    def write(self, data: bytes) -> None:
        """Into the open file. Raises OSError when the disk refuses."""
        if self._file is None:
            self.open()
        if self._file is not None:
            self._file.write(data)

    def flush(self) -> None:
        """Everything written so far becomes readable."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def total_bytes(self) -> int:
        """Of all files of this stem."""
        return sum(map(self._size, self._files()))

    def _drop_oldest(self) -> None:
        files = self._files()
        total = sum(map(self._size, files))
        while files and total + self._max_file > self._max_total:
            oldest = files.pop(0)
            total -= self._size(oldest)
            oldest.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return recorded(self._directory, self._stem)

    @staticmethod
    def _size(path: Path) -> int:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0


def recorded(directory: Path, stem: str) -> list[Path]:
    """The files of one stem, oldest first."""
    return sorted(directory.glob(f"{stem}-[0-9]*T[0-9]*-[0-9]*{SUFFIX}"))


def read_whole(path: Path) -> Iterator[bytes]:
    """The readable content in pieces; a file that was cut off ends where its last flush did. Raises ConfigError."""
    try:
        with gzip.open(path, "rb") as file:
            while True:
                try:
                    piece = file.read1(CHUNK)
                except EOFError:
                    return
                if not piece:
                    return
                yield piece
    except (OSError, zlib.error) as error:
        raise ConfigError(f"{path}: not a readable recording: {error}") from error
