"""The halt latch: a file in the state directory that says HALTED to every executor that starts, until `resume`.

It is the one thing that works with everything else dead, so whoever wants a stop (flatten, halt, a broken invariant)
sets it first and talks to the executor second. A latch that cannot be read counts as set. The first reason stays: the
one that began the halt is the one to explain.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec

from core.durable import replace_file, sync_directory
from core.errors import ConfigError

FILE_NAME = "halt.latch"


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    since_wire_ns: int  # 0 = not known


class HaltLatch:
    """Any process of the run may set it; only `resume` (through the executor) clears it."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / FILE_NAME

    def set(self, reason: str, wire_ns: int) -> bool:
        """Durable when it returns; False = it was set already and keeps its reason. Raises ConfigError if it cannot."""
        if self.read() is not None:
            return False
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            try:
                replace_file(self.path, msgspec.json.encode(Halt(reason=reason, since_wire_ns=wire_ns)))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self._set_empty()
        except OSError as error:
            raise ConfigError(
                f"{self.path}: the halt latch cannot be written ({error.strerror}); check run.state_dir, its owner and mode"
            ) from error
        return True

    def read(self) -> Halt | None:
        """None = not set."""
        try:
            text = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return Halt(reason=f"the halt latch {self.path} cannot be read ({error.strerror})", since_wire_ns=0)
        try:
            return msgspec.json.decode(text, type=Halt)
        except msgspec.DecodeError:
            return Halt(reason=f"the halt latch {self.path} is set without a readable reason", since_wire_ns=0)

    def clear(self) -> bool:
        """Durable when it returns; False = it was not set. Raises ConfigError if it cannot be removed."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ConfigError(f"{self.path}: the halt latch cannot be removed ({error.strerror})") from error
        sync_directory(self.path.parent)
        return True

    def _set_empty(self) -> None:
        """On a full disk a name without content still halts: it needs no block of data."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))
        sync_directory(self.path.parent)
