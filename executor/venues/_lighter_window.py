"""The requests of the last minute, remembered across restarts: a venue that counts rolling minutes counts on.

A file of SLOTS times (UTC ns, 8 bytes each), written round and round, one `pwrite` per request and no sync: a killed process
loses nothing, and a power loss at most a minute of memory. Without it each restart would believe in a full budget, and a few
in a row would spend the share that flatten lives on.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import ConfigError

SLOT_BYTES = 8
SLOTS = 64


class SpentFile:
    """Held open for the life of the one process that has the account's lock."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            data = os.pread(self._fd, SLOT_BYTES * SLOTS, 0)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be opened ({error.strerror}); check run.state_dir, its owner and mode"
            ) from None
        slots = [data[at : at + SLOT_BYTES] for at in range(0, len(data), SLOT_BYTES)]
        times = [int.from_bytes(slot, "little") if len(slot) == SLOT_BYTES else 0 for slot in slots]
        self._times = times + [0] * (SLOTS - len(times))
        self._next = self._times.index(max(self._times)) + 1

    def since(self, wire_ns: int) -> list[int]:
        """Times of requests after `wire_ns`, oldest first."""
        return sorted(time for time in self._times if time > wire_ns)

    def note(self, wire_ns: int) -> None:
        """One request goes out. A disk that is full costs the memory only."""
        slot = self._next % SLOTS
        self._next = slot + 1
        self._times[slot] = wire_ns
        try:
            os.pwrite(self._fd, wire_ns.to_bytes(SLOT_BYTES, "little"), slot * SLOT_BYTES)
        except OSError:
            return
