"""The SQLite ledger: what people and `ops` read, fed from the journal's files by a thread of the executor.

The thread follows the journal like any reader, from the sequence that the ledger itself stored in the same transaction
as the rows: nothing is queued on the hot path, nothing needs a bound, a record is stored exactly once, and a ledger
that was down, full or deleted catches up by itself. It stores only what the journal has synced: else a power loss could
leave rows of records that the journal lost, and the records that then take their sequences would never get rows. The
journal is the truth; the ledger never decides anything.

WAL with synchronous=FULL, no automatic checkpoints (they stall a commit at the worst time) but passive ones by this
thread once the log has grown. The database stays open here for the executor's life; others read a copy (ops).
Segments of the journal may be deleted only up to `stored`; where they are missing all the same (restored backups), the
hole is written into the table `gaps` and logged, so that a sum over it is known to be incomplete.
"""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from core.errors import BusyError, ConfigError, TandemError
from core.log import Log
from executor import ledger_schema, segments
from executor.journal import Journal
from executor.records import AnyRecord

PERIOD_S = 0.1
RETRY_S = 5.0
BATCH_RECORDS = 500
CHECKPOINT_BYTES = 1024 * 1024  # of write-ahead log
DRAIN_BATCHES = 200  # at most so many at close; the rest is stored after the next start
BUSY_MS = 2000


class Ledger:
    """Opened and closed by the executor's main thread; everything in between happens in its own."""

    def __init__(self, path: Path, journal: Journal, log: Log) -> None:
        self.path = path
        self.stored = 0  # sequence of the last record in the ledger, durable
        self.failure: str | None = None  # why the last turn failed; None = it did not
        self._journal = journal
        self._log = log
        self._db: sqlite3.Connection | None = None
        self._follower = Follower(journal.directory)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open or create the database, start the thread.

        Raises ConfigError for a file that is no ledger of this journal, BusyError on a full disk.
        """
        try:
            self._db = _open(self.path)
            self.stored = _stored(self._db)
        except (sqlite3.Error, OSError) as error:
            raise _refusal(self.path, error) from error
        if self.stored > self._journal.position:
            self._db.close()
            raise ConfigError(
                f"{self.path}: has records up to {self.stored}, the journal {self._journal.directory} only up to "
                f"{self._journal.position}: they do not belong together; restore both from one backup, or move the "
                "ledger away: it is built again from what the journal has"
            )
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log; it grows while a reader keeps a transaction open."""
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Store what the journal has (bounded), end the thread, close. Idempotent."""
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._thread = None
        if self._db is not None:
            self._db.close()
            self._db = None

    def _run(self) -> None:
        wait_s = PERIOD_S
        while not self._stop.wait(wait_s):
            wait_s = PERIOD_S if self._turn() else RETRY_S
        for _ in range(DRAIN_BATCHES):
            before = self.stored
            if not self._turn() or self.stored == before:
                return

    def _turn(self) -> bool:
        """Store one batch. False = it failed and nothing of it is stored."""
        if self._db is None:
            return False
        try:
            batch = list(itertools.islice(self._follower.between(self.stored, self._journal.synced), BATCH_RECORDS))
            if batch:
                self._store(self._db, batch)
            if self.wal_bytes > CHECKPOINT_BYTES:
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (sqlite3.Error, OSError, TandemError) as error:
            self.failure = f"{self.path}: {error}"
            self._log.error("ledger_failed", detail=self.failure, kind=type(error).__name__, stored=self.stored)
            return False
        self.failure = None
        return True

    def _store(self, db: sqlite3.Connection, batch: list[tuple[int, AnyRecord]]) -> None:
        first, last = batch[0][0], batch[-1][0]
        with db:
            db.execute("BEGIN")
            if first > self.stored + 1:
                db.execute("INSERT OR REPLACE INTO gaps VALUES (?, ?)", (self.stored + 1, first - 1))
                self._log.error("ledger_gap", first_sequence=self.stored + 1, last_sequence=first - 1)
            for sequence, record in batch:
                ledger_schema.store(db, sequence, record)
            db.execute("UPDATE meta SET value = ? WHERE key = 'stored'", (last,))
        self.stored = last


class Follower:
    """Reads a journal that somebody else is writing; remembers where it was, so that a turn without news costs one read."""

    def __init__(self, journal_dir: Path) -> None:
        self._journal_dir = journal_dir
        self._path: Path | None = None
        self._offset = 0
        self._expected = 0  # sequence at _offset of _path

    def between(self, stored: int, last: int) -> Iterator[tuple[int, AnyRecord]]:
        """Records with sequences above `stored` up to `last`. Raises OSError (a file is gone) or ConfigError."""
        if self._path is None or self._expected != stored + 1:
            self._seek(stored)
        while self._path is not None:
            path = self._path
            try:
                for sequence, body, behind in segments.scan(path, self._expected, self._offset):
                    if sequence > last:
                        return
                    self._expected, self._offset = sequence + 1, behind
                    if sequence > stored:
                        yield sequence, segments.decode(body, path, sequence)
            except FileNotFoundError:
                self._path = None  # deleted before it was read: the next turn looks at what there is
                raise
            following = path.with_name(f"{self._expected:016x}.seg")
            if following == path or not following.exists():
                return
            self._path, self._offset = following, len(segments.MAGIC)

    def _seek(self, stored: int) -> None:
        """To the segment that has the record after `stored`, or else to the first one there is."""
        self._path = None
        found = segments.segments(self._journal_dir)
        for first, path in found:
            if first <= stored + 1 or self._path is None:
                self._path, self._expected, self._offset = path, first, len(segments.MAGIC)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > ledger_schema.VERSION:
            raise ConfigError(
                f"{path}: is a ledger of version {version}, this program writes {ledger_schema.VERSION}; run the version "
                "that wrote it, or move the file away: it is built again from what the journal still has"
            )
        _upgrade(db, version)
    except BaseException:
        db.close()
        raise
    return db


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    """From nothing (0) or an older version to this one, in one transaction."""
    steps = [] if version else [ledger_schema.SCHEMA, "INSERT INTO meta VALUES ('stored', 0);"]
    steps += [script for before, script in ledger_schema.UPGRADES.items() if before >= version]
    if steps:
        db.executescript(f"BEGIN; {' '.join(steps)} PRAGMA user_version = {ledger_schema.VERSION}; COMMIT;")


def _refusal(path: Path, error: sqlite3.Error | OSError) -> TandemError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return BusyError(f"{path}: no space left on the disk for the ledger; free some, the supervisor tries again")
    return ConfigError(
        f"{path}: the ledger cannot be opened ({error}); check its directory, or move the file away: it is built again "
        "from what the journal still has"
    )


def _stored(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT value FROM meta WHERE key = 'stored'").fetchone()[0])
