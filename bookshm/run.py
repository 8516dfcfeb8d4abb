"""The directory of one run in shared memory, who is in it, and who cleans up.

    /dev/shm/tandem-<run>/   run.lock  run.json  books/  bells/  counters/  decisions/  account  executor.sock

Every process of a run holds a shared lock on `run.lock` for life. Whoever can take it exclusively knows that the run is
dead: at `join` that is the first process, which empties what a dead run left and fixes the calendar's origin in
`run.json`; at `leave` it is the last one, which removes the directory. Both touch exactly the directory they were given,
never a pattern of names, and only one that is a run's. A conversion of a flock is not atomic, so after every step the
lock's inode and the manifest are read again, in a bounded loop.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
from pathlib import Path
from typing import Self

import msgspec

from bookshm.lock import is_held, pause, show, try_flock
from core.clock import Clock, SystemClock
from core.errors import BusyError, ConfigError

GROUP = "tandem"
SUBDIRECTORIES = ("books", "bells", "counters", "decisions")
_LOCK = "run.lock"
_MANIFEST = "run.json"
_TRIES = 250
_RETRY_S = 0.02
_LOOKS = 5


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json`: what every process of the run must agree on."""

    run: str
    origin_ns: int  # wire time at which calendar and wire agree
    time_scale: float
    first_pid: int


class RunDir:
    """A joined (or only observed) run directory. Use `join` or `observe`."""

    __slots__ = ("_fd", "manifest", "path")

    def __init__(self, path: Path, manifest: Manifest, fd: int = -1) -> None:
        self.path = path
        self.manifest = manifest
        self._fd = fd

    @classmethod
    def join(cls, run_dir: Path, time_scale: float, clock: Clock) -> Self:
        """Create or enter `run_dir` and hold its shared lock. Raises ConfigError if the directory is not a run's, cannot
        be made, or runs at another time scale; BusyError if it cannot be locked for 5 s."""
        for _ in range(_TRIES):
            fd = _open_lock(run_dir)
            if fd >= 0:
                manifest = _enter(run_dir, fd, time_scale, clock)
                if manifest is not None:
                    if manifest.time_scale != time_scale:
                        os.close(fd)
                        raise ConfigError(
                            f"run.time_scale: {time_scale:g} here, but the run in {run_dir} was started with "
                            f"{manifest.time_scale:g} by pid {manifest.first_pid}; stop the whole run to change it"
                        )
                    show(fd, exclusive=False)
                    return cls(run_dir, manifest, fd)
                os.close(fd)
            pause(_RETRY_S)
        raise BusyError(f"{run_dir / _LOCK}: somebody keeps it locked; see who with: fuser {run_dir / _LOCK}")

    @classmethod
    def observe(cls, run_dir: Path) -> Self:
        """Look at a run without being part of it: takes no lock, creates nothing. Raises ConfigError if there is none."""
        try:
            return cls(run_dir, _read_manifest(run_dir))
        except FileNotFoundError:
            raise ConfigError(
                f"{run_dir}: no such run; start it (make run), or give the configuration file it was started with"
            ) from None

    @property
    def origin_ns(self) -> int:
        return self.manifest.origin_ns

    @property
    def books(self) -> Path:
        return self.path / "books"

    @property
    def bells(self) -> Path:
        return self.path / "bells"

    @property
    def counters(self) -> Path:
        return self.path / "counters"

    @property
    def decisions(self) -> Path:
        return self.path / "decisions"

    @property
    def account(self) -> Path:
        return self.path / "account"

    @property
    def executor_socket(self) -> Path:
        return self.path / "executor.sock"

    def calendar_clock(self) -> SystemClock:
        """The clock of this run: calendar time from the run's own origin and scale."""
        return SystemClock(self.manifest.time_scale, self.manifest.origin_ns)

    def is_live(self) -> bool:
        """Whether any process is in the run; asks without locking."""
        return is_held(self.path / _LOCK)

    def leave(self) -> None:
        """Give the shared lock up; the last one out removes the directory. Does nothing for an observer."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if try_flock(fd, fcntl.LOCK_EX) and _is_linked(self.path / _LOCK, fd):
                _empty(self.path)
                (self.path / _LOCK).unlink(missing_ok=True)
                _remove_if_empty(self.path)
        finally:
            os.close(fd)


def run_path(run: RunDir | Path) -> Path:
    """The directory, for what only reads and therefore takes either."""
    return run.path if isinstance(run, RunDir) else run


def _open_lock(run_dir: Path) -> int:
    """A descriptor of the run's lock file, the directory made if need be; -1 if somebody removed it meanwhile."""
    try:
        run_dir.mkdir(mode=0o770)
        _share(run_dir)
    except FileExistsError:
        _require_run(run_dir)
    except OSError as error:
        raise ConfigError(
            f"{run_dir}: cannot be made ({error.strerror}); check run.shm_dir, its mode and owner"
        ) from error
    try:
        return os.open(run_dir / _LOCK, os.O_RDONLY | os.O_CREAT, 0o640)
    except FileNotFoundError:
        return -1
    except PermissionError as error:
        raise ConfigError(
            f"{run_dir}: belongs to another user's run ({error.strerror}); choose another run.name, or share the run "
            f"through group {GROUP}"
        ) from error


def _enter(run_dir: Path, fd: int, time_scale: float, clock: Clock) -> Manifest | None:
    """The manifest, with the shared lock held; None = somebody came between, try again."""
    if try_flock(fd, fcntl.LOCK_EX):
        if not _is_linked(run_dir / _LOCK, fd):
            return None
        _empty(run_dir)
        for name in SUBDIRECTORIES:
            (run_dir / name).mkdir(mode=0o770)
            _share(run_dir / name)
        _write_manifest(
            run_dir, Manifest(run=run_dir.name, origin_ns=clock.wire_ns(), time_scale=time_scale, first_pid=os.getpid())
        )
    if not try_flock(fd, fcntl.LOCK_SH) or not _is_linked(run_dir / _LOCK, fd):
        return None
    try:
        return _read_manifest(run_dir)
    except FileNotFoundError:
        return None


def _require_run(run_dir: Path) -> None:
    """Refuse to ever empty a directory that is not a run's: a mistyped run.shm_dir must not cost a home directory."""
    if run_dir.is_symlink():
        raise ConfigError(f"{run_dir}: is a symbolic link, a run has a directory of its own; remove the link")
    try:
        names: list[str] = []
        for _ in range(_LOOKS):  # a listing is no snapshot: a run that is just beginning or ending may show no lock
            names = os.listdir(run_dir)
            if not names or _LOCK in names:
                return
            pause(_RETRY_S)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ConfigError(f"{run_dir}: exists and is not a directory; remove it or choose another run.name") from None
    except PermissionError as error:
        raise ConfigError(f"{run_dir}: belongs to another user ({error.strerror}); choose another run.name") from error
    raise ConfigError(
        f"{run_dir}: exists and is not a run directory of Tandem (no {_LOCK}, but {len(names)} other entries); "
        "remove it yourself or choose another run.name"
    )


def _is_linked(path: Path, fd: int) -> bool:
    """Whether `path` is still the file behind `fd`; it is not once a last leaver has removed the directory."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _empty(directory: Path) -> None:
    """Remove everything in exactly this directory but its lock file; symbolic links are removed, never followed."""
    for entry in list(os.scandir(directory)):
        if entry.name == _LOCK:
            continue
        if entry.is_dir(follow_symlinks=False):
            _empty(Path(entry.path))
            _remove_if_empty(Path(entry.path))
        else:
            Path(entry.path).unlink(missing_ok=True)


def _remove_if_empty(directory: Path) -> None:
    """Somebody who is just starting may have put a new lock file in; the directory is then theirs."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _share(directory: Path) -> None:
    """2770 and group `tandem` where that group exists and we may give it; a single-user install needs neither."""
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(directory, -1, grp.getgrnam(GROUP).gr_gid)
    directory.chmod(0o2770)


def _read_manifest(run_dir: Path) -> Manifest:
    data = (run_dir / _MANIFEST).read_bytes()
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{run_dir / _MANIFEST}: {error}; stop the run and start it again with one version"
        ) from error


def _write_manifest(run_dir: Path, manifest: Manifest) -> None:
    temporary = run_dir / f".{_MANIFEST}.new"
    temporary.write_bytes(msgspec.json.encode(manifest))
    temporary.chmod(0o640)
    temporary.rename(run_dir / _MANIFEST)
