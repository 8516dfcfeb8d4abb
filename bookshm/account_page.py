"""The executor's account in shared memory: two whole-page buffers under one stamp, so no reader sees half of a pair.

The protocol is the line's of bookshm/book.py with a page in place of 64 bytes. The page carries the journal position it
belongs to; the writer is the executor alone. An old epoch's page reads as Down until the new executor has written one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bookshm import layout as at
from bookshm.lock import WriterLock
from bookshm.run import RunDir, run_path
from bookshm.segment import TRIES, Segment, attach, open_writer
from core.account import AccountSnapshot, decode_snapshot, encode_snapshot
from core.errors import ConfigError
from core.types import Busy, Down


class AccountPageWriter:
    """Raises BusyError if another executor writes this run's page, ConfigError if shared memory is full."""

    def __init__(self, run: RunDir, kib: int) -> None:
        self._layout = at.AccountLayout(kib)
        self._lock = WriterLock(run.path / ".account.lock", "executor")
        try:
            self._segment = open_writer(run.account, at.ACCOUNT_HASH, self._layout.size, (kib, 0), "executor")
        except BaseException:
            self._lock.close()
            raise
        words = self._segment.words
        self._next = (words[at.W_EPOCH] << at.EPOCH_SHIFT) | ((words[at.W_CURSOR] & at.COUNT_MASK) + 1)

    def write(self, snapshot: AccountSnapshot) -> int:
        """Publish `snapshot`; its stamp. Raises ConfigError when it does not fit a page: the former page then stands."""
        data = encode_snapshot(snapshot)
        room = self._layout.page_bytes - at.WORD
        if len(data) > room:
            raise ConfigError(
                f"books.account_page_kib: the account of {len(data)} bytes does not fit a page of {room}; raise it to "
                f"{-(-(len(data) + at.WORD) // 1024) * 2}"
            )
        stamp = self._next
        page = self._layout.pages[stamp & 1]
        words, view = self._segment.words, self._segment.view
        words[page // at.WORD] = len(data)
        view[page + at.WORD : page + at.WORD + len(data)] = data
        words[at.W_CURSOR] = stamp
        words[at.W_HEARTBEAT] = snapshot.written_mono_ns
        if words[at.W_STATE] != at.UP:
            self._segment.set_state(at.UP, "")
        self._next = stamp + 1
        return stamp

    def close(self) -> None:
        """Mark the page STOPPED: nobody vouches for it any more."""
        self._segment.set_state(at.STOPPED, "executor stopped")
        self._lock.close()


class AccountPageReader:
    """Reads the page; how old it is stands in the snapshot (`written_mono_ns`), and is the caller's to judge."""

    def __init__(self, run: RunDir | Path) -> None:
        self._path = run_path(run) / "account"
        self._segment: Segment | None = None
        self._layout = at.AccountLayout(0)
        self._last: tuple[int, AccountSnapshot] | None = None
        self._attach()

    def stamp(self) -> int:
        """The page's stamp; it moves with every write. 0 = no page."""
        segment = self._segment
        if segment is None or segment.words[at.W_STATE] in (at.STOPPED, at.RETIRED):
            self._attach()
        return self._segment.words[at.W_CURSOR] if self._segment else 0

    def read(self) -> AccountSnapshot | Down | Busy:
        """The latest whole page. The same object again as long as nothing was written."""
        segment = self._segment
        if segment is None or segment.words[at.W_CURSOR] == (self._last[0] if self._last else 0):
            if not self._attach():
                return Down("no executor yet")
            segment = self._segment
        if segment is None:
            return Down("no executor yet")
        words = segment.words
        for _ in range(TRIES):
            stamp, state = words[at.W_CURSOR], words[at.W_STATE]
            if state != at.UP or stamp >> at.EPOCH_SHIFT != words[at.W_EPOCH]:
                return Down(f"executor: {segment.status_text() or 'starting'}")
            if self._last is not None and self._last[0] == stamp:
                return self._last[1]
            page = self._layout.pages[stamp & 1]
            length = min(words[page // at.WORD], self._layout.page_bytes - at.WORD)
            data = bytes(segment.view[page + at.WORD : page + at.WORD + length])
            if words[at.W_CURSOR] == stamp:
                return self._decode(stamp, data)
        return Busy(TRIES)

    def _decode(self, stamp: int, data: bytes) -> AccountSnapshot:
        try:
            snapshot = decode_snapshot(data)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self._path}: {error}; run one version of Tandem for all processes") from error
        self._last = (stamp, snapshot)
        return snapshot

    def _attach(self) -> bool:
        """Map the page that has the path now, unless it is the one already mapped; whether there is one."""
        if self._segment is not None and self._segment.is_current():
            return True
        segment = attach(self._path, at.ACCOUNT_HASH)
        if segment is None:
            return self._segment is not None
        self._layout = at.AccountLayout(segment.words[at.W_CAPACITY])
        self._segment = segment
        self._last = None
        return True
