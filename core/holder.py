"""Who holds a lock, and ending that process and no other.

A lock is an flock on `<lock_dir>/<venue>-<hash>.lock`; the file's text, written by the holder, says who it is. The text
outlives a killed holder and its pid may belong to somebody else by now, so it is a claim to be checked, never a reason
to signal. `verify` opens a pidfd first and checks afterwards: start time and uid of that process, the same pid
namespace and boot, and the kernel's own list (/proc/locks) that this pid holds this very file. A pidfd cannot be
recycled, so what was verified is what gets the signal. Nothing is ever ended by name.

/proc/<pid>/stat, /proc/<pid>/status and /proc/locks stay readable for a process that made itself non-dumpable, which
the executor does; its fdinfo and the owner of its /proc directory do not.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import signal
import socket
from pathlib import Path

import msgspec

from core.clock import NS_PER_S, Clock
from core.errors import BusyError
from core.log import Log

LOCK_SUFFIX = ".lock"
TERM_WAIT_S = 10.0
KILL_WAIT_S = 10.0
_MAX_TEXT_BYTES = 16 * 1024


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """What a holder writes into its lock file."""

    pid: int
    start_ticks: int  # field 22 of /proc/<pid>/stat: since boot
    uid: int
    host: str
    boot_id: str
    pid_namespace: str
    config: str
    state_dir: str
    since_wire_ns: int

    def __str__(self) -> str:
        since = datetime.datetime.fromtimestamp(self.since_wire_ns // NS_PER_S, tz=datetime.UTC)
        return f"pid {self.pid} on {self.host} (uid {self.uid}, {self.config}, since {since:%Y-%m-%dT%H:%M:%SZ})"


class NotVerified(BusyError):
    """The holder cannot be proven to be who the file says; it must not be signalled. The text says why."""


def myself(config: Path, state_dir: Path, clock: Clock) -> Holder:
    """This process, as it writes itself into its locks."""
    pid = os.getpid()
    return Holder(
        pid=pid,
        start_ticks=start_ticks(pid) or 0,
        uid=os.getuid(),
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid_namespace=os.readlink("/proc/self/ns/pid"),
        config=str(config),
        state_dir=str(state_dir),
        since_wire_ns=clock.wire_ns(),
    )


def read_holder(path: Path) -> Holder | None:
    """The claim in a lock file, or None when there is none (never held, given back, being written, not readable)."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_TEXT_BYTES), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def holders(lock_dir: Path, state_dir: Path) -> list[tuple[Path, Holder]]:
    """Locks whose file names this state directory and whose named process the kernel lists as holding it, now."""
    try:
        paths = sorted(lock_dir.glob(f"*{LOCK_SUFFIX}"))
    except OSError:
        return []
    claims = ((path, read_holder(path)) for path in paths)
    return [
        (path, claim)
        for path, claim in claims
        if claim is not None and claim.state_dir == str(state_dir) and claim.pid in flock_pids(path)
    ]


def flock_pids(path: Path) -> frozenset[int]:
    """Pids that the kernel lists as holding an flock on `path`; pids of other namespaces read as 0."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return frozenset()
    found = set()
    for fields in (line.split() for line in lines):
        # "1: FLOCK ADVISORY WRITE 7493 fe:00:2146522 0 EOF"; waiters have "->" in the second place
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            found.add(int(fields[4]))
    return frozenset(found)


def verify(path: Path, holder: Holder) -> int:
    """A pidfd of the live process that wrote `holder` and holds `path`; the caller closes it. Raises NotVerified."""
    if (holder.boot_id, holder.pid_namespace) != (_boot_id(), os.readlink("/proc/self/ns/pid")):
        raise NotVerified(f"{path} is held from another machine or container ({holder}): end it there")
    if holder.uid != os.getuid():
        raise NotVerified(f"{path} is held by another user ({holder}): that user must end it")
    try:
        pidfd = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        raise NotVerified(f"{path} names a process that has ended ({holder})") from None
    try:
        if start_ticks(holder.pid) != holder.start_ticks:
            raise NotVerified(f"{path} names a pid that belongs to another process by now ({holder})")
        if _uid(holder.pid) != holder.uid:
            raise NotVerified(f"{path} names a process of another user by now ({holder})")
        if holder.pid not in flock_pids(path):
            raise NotVerified(f"{path} names a process that does not hold it ({holder})")
    except NotVerified:
        os.close(pidfd)
        raise
    return pidfd


def end(
    path: Path, holder: Holder, log: Log, *, term_wait_s: float = TERM_WAIT_S, kill_wait_s: float = KILL_WAIT_S
) -> None:
    """End the verified holder: TERM, then KILL after `term_wait_s`; a stopped one cannot obey and is killed at once.

    Raises NotVerified (nothing was signalled) or BusyError (it outlives SIGKILL, which is the kernel's trouble).
    """
    pidfd = verify(path, holder)
    try:
        if not is_stopped(holder.pid):
            log.warning("holder_terminated", path=str(path), holder_pid=holder.pid)
            _signal(pidfd, signal.SIGTERM)
            if _ended(pidfd, term_wait_s):
                return
        log.warning("holder_killed", path=str(path), holder_pid=holder.pid)
        _signal(pidfd, signal.SIGKILL)
        if not _ended(pidfd, kill_wait_s):
            raise BusyError(f"{path}: {holder} does not end on SIGKILL within {kill_wait_s:g} s; look at its disk")
    finally:
        os.close(pidfd)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None = no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_stopped(pid: int) -> bool:
    """Stopped by a signal or a tracer: it answers nothing until it is continued."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in ("T", "t")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the third on (the name before them may hold blanks and brackets)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _uid(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Uid:")), None)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _signal(pidfd: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _ended(pidfd: int, wait_s: float) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(wait_s * 1000))
