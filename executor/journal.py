"""The write-ahead journal: what is about to leave and what has happened, on disk before anybody acts on it.

Its files lie in `<state_dir>/journal/` (names and bytes: executor.segments) and have one writer, which holds an flock on
`owner` there.

Protocol. `append` is one pwrite into blocks that are reserved already, so a full disk shows when the *next* segment is
prepared, megabytes ahead: `trouble` then says so, the engine stops opening, and fills, closes and repairs still find
room. A thread runs fdatasync every 10 ms and prepares the next segment; it is not woken by `append`, because a wake-up
takes the interpreter away from the hot path at the worst time. SIGKILL loses nothing (the page cache survives a
process); a power loss loses at most what was not synced, which is why epochs and nonce blocks call `sync` before use.

Start-up is bounded by images: replay reads the newest good image and the records after it. Two images are kept, and
every segment that the older of them or the ledger may still need; what lies before is deleted.

Refused: SQLite on the hot path (stalls of 4.5 ms at a checkpoint), mmap (a full disk is then a SIGBUS), O_APPEND on a
growing file (each fdatasync writes metadata too, and ENOSPC arrives in the middle of a trade).

What would break it: bytes of an older life surviving behind the end (a shorter record written over a torn one could
make the next old one valid again). Hence the tail is overwritten with zeros before the first append, and a record
counts only when its sequence is the successor of the one before. A segment that goes bad *before* the last one is not
a torn tail but damage, and is refused by name instead of silently dropping what came after.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from core.durable import sync_directory
from core.errors import BusyError, ConfigError, TandemError, invariant
from core.log import Log
from executor import segments as files
from executor.records import AnyRecord

SEGMENT_BYTES = 8 * 1024 * 1024
ROOM_BYTES = 1024 * 1024  # left in the last reserved segment when `trouble` begins
SYNC_PERIOD_S = 0.010
PREPARE_RETRY_TURNS = 100  # turns of the sync thread between tries to reserve blocks on a full disk
IMAGES_KEPT = 2

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class JournalError(TandemError):
    """The journal cannot take a record: disk full or failing. Nothing of the record counts; nothing may be sent."""


class Journal:
    """The one writer. Not for use from two threads; its own sync thread is part of it."""

    def __init__(self, directory: Path, owner_fd: int, log: Log, segment_bytes: int) -> None:
        self.directory = directory
        self.image: tuple[int, bytes] | None = None  # newest good (sequence, state) found at opening
        self._owner_fd = owner_fd
        self._log = log
        self._segment_bytes = segment_bytes
        self._room_bytes = min(ROOM_BYTES, segment_bytes // 8)
        self._sequence = 0
        self._synced = 0
        self._fd = -1
        self._offset = 0
        self._retired: list[int] = []  # full segments waiting for their last sync: what 10 ms can fill
        self._swap = threading.Lock()  # guards _fd and _retired against the sync thread; never held during a write
        self._syncing = threading.Lock()  # one round of fdatasync at a time
        self._preparing = threading.Lock()  # one hand at next.seg
        self._next_ready = False
        self._failure: str | None = None
        self._shortage: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def open(
        cls, state_dir: Path, log: Log, *, segment_bytes: int = SEGMENT_BYTES, sync_period_s: float = SYNC_PERIOD_S
    ) -> Journal:
        """Find the end, cut a torn tail off (its bytes are kept in a file), start the sync thread.

        Raises BusyError (another process has it open, or the disk is full), ConfigError (directory not usable, a
        segment missing, damaged or of another version).
        """
        directory = state_dir / "journal"
        journal = cls(directory, _own(directory), log, segment_bytes)
        try:
            journal._find_end()
        except OSError as error:
            journal._release()
            raise _refusal(directory, error) from error
        except TandemError:
            journal._release()
            raise
        journal._thread = threading.Thread(target=journal._run, args=(sync_period_s,), name="journal-sync", daemon=True)
        journal._thread.start()
        return journal

    @property
    def position(self) -> int:
        """Sequence of the last appended record; 0 = none yet."""
        return self._sequence

    @property
    def synced(self) -> int:
        """Sequence up to which the disk itself has confirmed."""
        return self._synced

    @property
    def trouble(self) -> str | None:
        """Why nothing that opens may be accepted now; None = fit. Closing and recording still have room."""
        if self._failure is not None:
            return self._failure
        if self._next_ready or self._segment_bytes - self._offset > self._room_bytes:
            return None
        return self._shortage or f"{self.directory}: the next segment is not prepared yet"

    def replay(self) -> Iterator[tuple[int, AnyRecord]]:
        """Records after the image, oldest first. Raises ConfigError for a record that this version cannot read."""
        after = self.image[0] if self.image is not None else 0
        end = self._sequence
        found = files.segments(self.directory)
        for index, (first, path) in enumerate(found):
            if index + 1 < len(found) and found[index + 1][0] <= after + 1:
                continue
            for sequence, body, _ in files.scan(path, first):
                if after < sequence <= end:
                    yield sequence, files.decode(body, path, sequence)

    def append(self, record: AnyRecord) -> int:
        """Write one record and return its sequence. Raises JournalError; then nothing of it counts."""
        if self._failure is not None:
            raise JournalError(self._failure)
        sequence = self._sequence + 1
        data = files.encode(record, sequence)
        size = len(data)
        if size > files.MAX_RECORD_BYTES:
            invariant(False, f"a journal record has {size} bytes, the bound is {files.MAX_RECORD_BYTES}")
        if self._offset + size > self._segment_bytes:
            self._roll(sequence)
        try:
            written = os.pwrite(self._fd, data, self._offset)
        except OSError as error:
            raise self._cannot_write(error) from error
        if written != size:
            raise self._cannot_write(OSError(errno.ENOSPC, f"only {written} of {size} bytes written"))
        self._offset += size
        self._sequence = sequence
        return sequence

    def sync(self) -> None:
        """Return when everything appended so far is on the disk. Raises JournalError."""
        with self._syncing:
            if self._failure is None and self._synced < self._sequence:
                self._sync_once()
        if self._failure is not None:
            raise JournalError(self._failure)

    def checkpoint(self, body: bytes, keep_after: int | None = None) -> None:
        """Keep `body` as the whole state as of `position`; the next start replays only what came after.

        Segments that neither of the two kept images needs are deleted, unless they hold records after `keep_after`
        (what the ledger has stored). Raises JournalError; the images before it stay good then.
        """
        self.sync()
        if self._sequence == 0:
            return
        try:
            files.write_image(self.directory, self._sequence, body)
            self._prune(self._sequence if keep_after is None else keep_after)
        except OSError as error:
            raise JournalError(f"{self.directory}: the state was not kept ({error.strerror}); free space") from error

    def close(self) -> None:
        """Sync what can be synced, end the thread, give the files free. Idempotent."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        try:
            self.sync()
        except JournalError as error:
            self._log.error("journal_closed_unsynced", detail=str(error))
        self._release()

    # ---- opening ----------------------------------------------------------------------------------------------------

    def _find_end(self) -> None:
        self.image = self._newest_image()
        after = self.image[0] if self.image is not None else 0
        found = files.segments(self.directory)
        if len(found) > 1 and next(files.scan(found[-1][1], found[-1][0]), None) is None:
            found.pop()[1].unlink()  # begun just before the end; the one before may have lost its tail with the power
        if not found:
            self._sequence = self._synced = after
            self._start_segment(after + 1)
            return
        expected = found[0][0]
        if expected > after + 1:
            raise ConfigError(
                f"{found[0][1]}: the journal begins at record {expected}, but record {after + 1} is needed: older "
                "segments or images were removed; restore the directory from a backup"
            )
        end = len(files.MAGIC)
        for first, path in found:
            if first != expected:
                raise ConfigError(
                    f"{path}: the journal jumps from record {expected - 1} to {first}: the segment before is damaged "
                    "or missing; restore it from a backup, or move this and later segments away: the venues tell the rest"
                )
            end = len(files.MAGIC)
            for sequence, _, behind in files.scan(path, first):
                expected, end = sequence + 1, behind
        self._sequence = expected - 1
        if self._sequence < after:
            raise ConfigError(
                f"{found[-1][1]}: the journal ends at record {self._sequence}, before its image of record {after}: "
                "restore the directory from a backup"
            )
        self._resume(found[-1][1], end)

    def _newest_image(self) -> tuple[int, bytes] | None:
        for sequence, path in reversed(files.images(self.directory)):
            body = files.read_image(path, sequence)
            if body is not None:
                return sequence, body
            self._log.warning("journal_image_bad", path=str(path))
        return None

    def _resume(self, path: Path, end: int) -> None:
        """Continue behind the last good record of the last segment."""
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        torn = files.cut_tail(self._fd, self.directory, self._sequence, end)
        if torn is not None:
            self._log.warning("journal_torn_tail", after_sequence=self._sequence, torn_bytes=torn[0], copy=str(torn[1]))
        if os.fstat(self._fd).st_size < self._segment_bytes:
            os.posix_fallocate(self._fd, 0, self._segment_bytes)
        os.fsync(self._fd)
        self._offset = end
        self._synced = self._sequence

    def _start_segment(self, first: int) -> None:
        files.reserve_next(self.directory, self._segment_bytes)
        self._fd = self._take_next(first)
        self._offset = len(files.MAGIC)
        sync_directory(self.directory)

    # ---- rolling over and syncing -----------------------------------------------------------------------------------

    def _roll(self, first: int) -> None:
        """Go on in the next segment: a rename, unless the thread fell behind and blocks must be reserved here."""
        try:
            with self._preparing:
                if not self._next_ready:
                    files.reserve_next(self.directory, self._segment_bytes)
                fd = self._take_next(first)
                self._next_ready = False
        except OSError as error:
            raise self._cannot_write(error) from error
        with self._swap:
            self._retired.append(self._fd)
            self._fd = fd
            self._offset = len(files.MAGIC)

    def _take_next(self, first: int) -> int:
        path = self.directory / f"{first:016x}.seg"
        os.rename(self.directory / files.NEXT_NAME, path)
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def _cannot_write(self, error: OSError) -> JournalError:
        """A full disk may heal (the offset has not moved); after any other error the disk is not to be trusted."""
        if error.errno in _FULL:
            self._shortage = f"{self.directory}: no space left for the journal ({error.strerror}); free space"
            return JournalError(self._shortage)
        self._failure = f"{self.directory}: the journal cannot be written ({error.strerror}); check the disk"
        return JournalError(self._failure)

    def _run(self, period_s: float) -> None:
        pause_turns = 0
        while not self._stop.wait(period_s):
            with self._syncing:
                if self._failure is None and self._synced < self._sequence:
                    self._sync_once()
            if pause_turns > 0:
                pause_turns -= 1
            elif not self._next_ready and not self._prepare():
                pause_turns = PREPARE_RETRY_TURNS

    def _sync_once(self) -> None:
        """Full segments first, so that the disk never holds a later segment without the end of the one before."""
        with self._swap:
            retired, self._retired = self._retired, []
            fd, sequence = self._fd, self._sequence
        try:
            for old in retired:
                os.fdatasync(old)
            os.fdatasync(fd)
            if retired:
                sync_directory(self.directory)
        except OSError as error:
            # The kernel has dropped the dirty pages: trying again would report a success that is none.
            self._failure = f"{self.directory}: the journal cannot be synced ({error.strerror}); check the disk"
            self._log.error("journal_sync_failed", detail=self._failure)
            return
        finally:
            for old in retired:
                os.close(old)
        self._synced = sequence

    def _prepare(self) -> bool:
        with self._preparing:
            try:
                files.reserve_next(self.directory, self._segment_bytes)
            except OSError as error:
                self._shortage = (
                    f"{self.directory}: {self._segment_bytes} bytes for the next segment of the journal cannot be "
                    f"reserved ({error.strerror}); free space"
                )
                self._log.error("journal_disk_full", detail=self._shortage)
                return False
            self._shortage = None
            self._next_ready = True
            return True

    def _prune(self, keep_after: int) -> None:
        images = files.images(self.directory)
        for _, old in images[:-IMAGES_KEPT]:
            old.unlink()
        kept = images[-IMAGES_KEPT:]
        if len(kept) < IMAGES_KEPT:
            return
        unneeded = min(kept[0][0], keep_after)
        for (_, path), (following, _) in itertools.pairwise(files.segments(self.directory)):
            if following <= unneeded + 1:
                path.unlink()

    def _release(self) -> None:
        for fd in (*self._retired, self._fd, self._owner_fd):
            if fd >= 0:
                os.close(fd)
        self._retired, self._fd, self._owner_fd = [], -1, -1


def _own(directory: Path) -> int:
    """Create the directory if missing and hold it as the one writer; the descriptor of the lock."""
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        fd = os.open(directory / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise _refusal(directory, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(
            f"{directory}: another executor has this journal open; stop it, or use another run.state_dir"
        ) from None
    return fd


def _refusal(path: Path, error: OSError) -> TandemError:
    if error.errno in _FULL:
        return BusyError(f"{path}: no space left on the disk for the journal; free some, the supervisor tries again")
    return ConfigError(
        f"{path}: the journal cannot be opened ({error.strerror}); check run.state_dir, its owner and mode"
    )
