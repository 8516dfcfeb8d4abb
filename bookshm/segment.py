"""One segment: a file on the shared-memory tmpfs, mapped by one writer and any number of readers.

Made complete before anybody can see it (temporary file, posix_fallocate, header, rename), never truncated while it may
be mapped: a mapping beyond a file's end is SIGBUS, and tmpfs memory that is not there when first touched is SIGBUS too.
A writer that returns takes its old file again and bumps the epoch; if its layout or capacity changed, it marks the old
one RETIRED and puts a new file in its place, and readers attach again when they see the mark or a heartbeat that
stopped. `multiprocessing.shared_memory` was refused: before CPython 3.13 its tracker unlinks a segment when a mere
reader exits.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from bookshm import layout as at
from core.clock import NS_PER_S
from core.errors import ConfigError

HEARTBEAT_STALE_NS = NS_PER_S


class Segment:
    """A mapping and its two views. Unmapped when the last view of it is gone."""

    __slots__ = ("inode", "map", "path", "view", "words")

    def __init__(self, path: Path, fd: int, size: int, writable: bool) -> None:
        prot = mmap.PROT_READ | mmap.PROT_WRITE if writable else mmap.PROT_READ
        self.path = path
        self.inode = os.fstat(fd).st_ino
        self.map = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=prot)
        self.view = memoryview(self.map)
        self.words = self.view.cast("Q")

    @property
    def name(self) -> str:
        return self._text(at.NAME_OFFSET)

    def set_name(self, name: str) -> None:
        self._store_text(at.NAME_OFFSET, name, at.NAME_BYTES)

    def status_text(self) -> str:
        """The reason of the last status; "" before there is one."""
        for _ in range(TRIES):
            stamp = self.words[at.W_STATUS_STAMP]
            text = self._text(at.STATUS_OFFSET + (stamp & 1) * at.STATUS_BYTES)
            if self.words[at.W_STATUS_STAMP] == stamp:
                return text if stamp else ""
        return "status changes too fast to read"

    def set_state(self, state: int, reason: str) -> None:
        """Writer only: the reason in full first, then the word that makes readers look at it."""
        stamp = self.words[at.W_STATUS_STAMP] + 1
        self._store_text(at.STATUS_OFFSET + (stamp & 1) * at.STATUS_BYTES, reason, at.STATUS_BYTES)
        self.words[at.W_STATUS_STAMP] = stamp
        self.words[at.W_STATE] = state

    def is_current(self) -> bool:
        """Whether the path still leads to this very file."""
        try:
            return os.stat(self.path).st_ino == self.inode
        except FileNotFoundError:
            return False

    def _text(self, offset: int) -> str:
        length = int.from_bytes(self.view[offset : offset + 2], "little")
        return bytes(self.view[offset + 2 : offset + 2 + length]).decode(errors="replace")

    def _store_text(self, offset: int, text: str, room: int) -> None:
        data = text.encode()[: room - 2]
        self.view[offset : offset + 2] = len(data).to_bytes(2, "little")
        self.view[offset + 2 : offset + 2 + len(data)] = data


TRIES = 64
"""Attempts at a consistent read before `Busy`."""


def attach(path: Path, layout_hash: int) -> Segment | None:
    """Map `path` read-only; None if it is not there. Raises ConfigError if it is of another layout."""
    segment = _open(path, writable=False)
    if segment is not None:
        _check_layout(segment, layout_hash)
    return segment


def open_writer(
    path: Path, layout_hash: int, size: int, params: tuple[int, int], name: str, reuse: bool = True
) -> Segment:
    """Map `path` for its one writer, who holds the lock: the old file with a new epoch if it fits, else a new one.

    `params` are the capacity and record words. The state is DOWN "starting" on return, and lines of former epochs no
    longer count. Raises ConfigError if shared memory is full or `path` is not a segment.
    """
    old = _open(path, writable=True)
    epoch = old.words[at.W_EPOCH] if old is not None else 0
    if reuse and old is not None and _fits(old, layout_hash, size, params):
        segment = old
    else:
        if old is not None:
            old.words[at.W_STATE] = at.RETIRED
        segment = create(path, layout_hash, size, params, name)
    segment.set_state(at.DOWN, "starting")
    segment.words[at.W_EPOCH] = epoch + 1
    segment.words[at.W_WRITER_PID] = os.getpid()
    return segment


def create(path: Path, layout_hash: int, size: int, params: tuple[int, int], name: str) -> Segment:
    """Put a new, zeroed segment of `size` bytes at `path`. Only the holder of the segment's lock calls this."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        os.fchmod(fd, 0o640)
        _reserve(fd, size, path)
        segment = Segment(path, fd, size, writable=True)
        words = segment.words
        words[at.W_FORMAT] = at.FORMAT_VERSION
        words[at.W_LAYOUT] = layout_hash
        words[at.W_STATE] = at.DOWN
        words[at.W_SIZE] = size
        words[at.W_CAPACITY], words[at.W_RECORDS] = params
        segment.set_name(name)
        words[at.W_MAGIC] = at.MAGIC
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return segment


def require_power_of_two(records: int, key: str) -> None:
    """Rings find a record by masking its number."""
    if records < 2 or records & (records - 1):
        raise ConfigError(f"{key}: {records} is not a power of two; use {1 << max(1, (records - 1).bit_length())}")


def _open(path: Path, writable: bool) -> Segment | None:
    try:
        fd = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise ConfigError(
            f"{path}: cannot be opened ({error.strerror}); run as the same user, or as a member of group tandem"
        ) from error
    try:
        size = os.fstat(fd).st_size
        if size < at.HEADER_BYTES:
            raise ConfigError(f"{path}: is no segment of Tandem ({size} bytes); remove the file")
        segment = Segment(path, fd, size, writable)
    finally:
        os.close(fd)
    if segment.words[at.W_MAGIC] != at.MAGIC:
        raise ConfigError(f"{path}: is no segment of Tandem (bad magic); remove the file")
    return segment


def _fits(segment: Segment, layout_hash: int, size: int, params: tuple[int, int]) -> bool:
    words = segment.words
    return (
        words[at.W_STATE] != at.RETIRED
        and words[at.W_FORMAT] == at.FORMAT_VERSION
        and words[at.W_LAYOUT] == layout_hash
        and words[at.W_SIZE] == size == len(segment.view)
        and (words[at.W_CAPACITY], words[at.W_RECORDS]) == params
    )


def _check_layout(segment: Segment, layout_hash: int) -> None:
    words = segment.words
    if words[at.W_FORMAT] != at.FORMAT_VERSION or words[at.W_LAYOUT] != layout_hash:
        raise ConfigError(
            f"{segment.path}: written by pid {words[at.W_WRITER_PID]} with layout {words[at.W_LAYOUT]:016x} (format "
            f"{words[at.W_FORMAT]}), this program reads {layout_hash:016x} (format {at.FORMAT_VERSION}); "
            "run one version of Tandem for all processes and restart them"
        )
    if words[at.W_SIZE] != len(segment.view):
        raise ConfigError(
            f"{segment.path}: header says {words[at.W_SIZE]} bytes, file has {len(segment.view)}; remove the file"
        )


def _reserve(fd: int, size: int, path: Path) -> None:
    """Have the memory now, or say so now: tmpfs would otherwise say it by SIGBUS at the first store."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.ENOMEM, errno.EDQUOT):
            raise
        stat = os.statvfs(path.parent)
        free_kib = stat.f_bavail * stat.f_frsize // 1024
        raise ConfigError(
            f"{path}: shared memory is full: needs {size // 1024} KiB, {path.parent} has {free_kib} KiB free "
            f"({os.strerror(error.errno)}); free some, enlarge it (mount -o remount,size=256M /dev/shm; docker run "
            "--shm-size) or lower books.capacity_slots and books.ring_records"
        ) from error
