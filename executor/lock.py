"""One executor per venue account on this machine: an flock held for life, in a directory that every checkout shares.

The kernel frees the lock when its holder dies, however it dies; the file is never unlinked (an unlinked lock file can
be held by one process while another one locks its successor of the same name). The text in it says who holds it
(core.holder) and is emptied when the lock is given back.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
from pathlib import Path

import msgspec

from core import holder as holders
from core.clock import NS_PER_S, Clock
from core.errors import BusyError, ConfigError, TandemError
from core.holder import Holder
from core.log import Log
from core.types import Venue

POLL_S = 0.1
NOTICE_S = 5.0  # how often a waiting executor says for whom it waits


class AccountLock:
    """Held until `release` or the end of the process."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def release(self) -> None:
        """Give it back. Idempotent."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def lock_path(lock_dir: Path, venue: Venue, account: str) -> Path:
    """The lock of one account; addresses differ in spelling only by case, so case does not count."""
    digest = hashlib.sha256(account.strip().lower().encode()).hexdigest()[:16]
    return lock_dir / f"{venue}-{digest}{holders.LOCK_SUFFIX}"


async def acquire(
    lock_dir: Path,
    venue: Venue,
    account: str,
    identity: Holder,
    *,
    wait_s: float,
    takeover: bool,
    log: Log,
    clock: Clock,
) -> AccountLock:
    """Take the account's lock, waiting up to `wait_s` for its holder; with `takeover` the verified holder is ended first.

    Raises BusyError naming the holder (also core.holder.NotVerified: a takeover that would hit the wrong process), or
    ConfigError when the directory cannot be used.
    """
    path = lock_path(lock_dir, venue, account)
    fd = _open(path)
    try:
        deadline_ns = clock.mono_ns() + int(wait_s * NS_PER_S)
        notice_ns = 0
        while not _try_flock(fd):
            claim = holders.read_holder(path)
            if takeover and claim is not None:
                takeover = False  # once: whoever comes next was started on purpose
                await asyncio.to_thread(_end, path, claim, log)
                continue
            now_ns = clock.mono_ns()
            if now_ns >= deadline_ns:
                raise BusyError(_busy_text(path, venue, claim, wait_s))
            if now_ns >= notice_ns:
                log.warning("lock_waiting", venue=venue, path=str(path), holder=str(claim or "not named yet"))
                notice_ns = now_ns + int(NOTICE_S * NS_PER_S)
            await asyncio.sleep(POLL_S)
        _write_identity(path, fd, identity)
    except BaseException:
        os.close(fd)
        raise
    log.info("lock_taken", venue=venue, path=str(path))
    return AccountLock(path, fd)


def _end(path: Path, claim: Holder, log: Log) -> None:
    """End the claimed holder; one that turns out to be gone already is what we wanted."""
    try:
        holders.end(path, claim, log)
    except holders.NotVerified:
        if holders.flock_pids(path):
            raise
        log.info("holder_gone", path=str(path), holder_pid=claim.pid)


def _busy_text(path: Path, venue: Venue, claim: Holder | None, wait_s: float) -> str:
    who = str(claim) if claim is not None else "a process that has not written its name"
    listed = holders.flock_pids(path)
    if claim is not None and listed and claim.pid not in listed:
        who = f"pid {', '.join(map(str, sorted(listed)))} (the file still names {claim})"
    return (
        f"the {venue} account is traded by {who}: waited {wait_s:g} s for {path}; stop that executor, "
        "or start this one with --takeover"
    )


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise _refusal(path, error) from error


def _try_flock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_identity(path: Path, fd: int, identity: Holder) -> None:
    """Without its name in the file an executor could not be ended by `flatten` when it hangs, so no name, no lock."""
    text = msgspec.json.encode(identity)
    try:
        os.ftruncate(fd, 0)
        written = os.pwrite(fd, text, 0)
    except OSError as error:
        raise _refusal(path, error) from error
    if written != len(text):
        raise _refusal(path, OSError(errno.ENOSPC, "No space left on device"))


def _refusal(path: Path, error: OSError) -> TandemError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BusyError(f"{path}: no space left on the disk for the lock; free some, the supervisor tries again")
    return ConfigError(f"{path}: the lock cannot be opened ({error.strerror}); check run.lock_dir, its owner and mode")
