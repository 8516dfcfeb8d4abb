"""A private copy of the executor's ledger to read from.

The executor keeps its database open for life and a long read would make its write-ahead log grow, so nothing in `ops`
queries the ledger in place: one short read transaction copies it whole, and questions are asked of the copy.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from core.errors import BusyError, ConfigError

BUSY_S = 5.0


def copy_ledger(source: Path, target: Path) -> None:
    """Copy the ledger as of now to `target` (a new file). Raises ConfigError (none there, not one) or BusyError."""
    if not source.exists():
        raise ConfigError(f"{source}: there is no ledger; the executor of this configuration has not run yet")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=BUSY_S)) as live,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)
    except sqlite3.OperationalError as error:
        raise BusyError(f"{source}: the ledger could not be copied to {target} ({error}); try again") from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{source}: is not a ledger ({error})") from error
