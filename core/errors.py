"""The tree of errors, by whose fault it is and by what is then known.

    TandemError
      ConfigError        the operator's fault    exit 78, nothing opened
        NotBuilt         a scaffold, enabled before it was written
      VenueError         the world's fault
        NotSent          proven not on the wire  safe to retry, bounded
        RateLimited      refused before matching (ours or documented by the venue): back off
        OutcomeUnknown   bytes left, no verdict  never retried; reconciliation rules
        Malformed        a frame does not decode drop, count; in the answer to an order it is OutcomeUnknown
      BusyError          somebody else holds what we need (lock, port): exit 75, supervisor tries again
      InvariantError     our fault               crash, exit 70, never caught

Expected answers are values, not exceptions (Quote | Stale | ..., Allowed | Denied, Accepted | Rejected | Unknown).
"""

from __future__ import annotations

import msgspec

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_RESIDUAL = 2
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
EXIT_INVARIANT = 70
EXIT_BUSY = 75
EXIT_PERMISSION = 77
EXIT_CONFIG = 78

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises on hostile bytes: not JSON or not the shape, not UTF-8, nested too deeply."""


class TandemError(Exception):
    """Root of every error raised on purpose."""


class ConfigError(TandemError):
    """The operator's configuration is wrong. The text names the file, the key and what to do."""


class NotBuilt(ConfigError):
    """A part of a scaffolded venue that nobody has written yet; the text names its file. Enabling the venue was early."""


class VenueError(TandemError):
    """The venue or the path to it failed."""


class NotSent(VenueError):
    """Proven not to have left this machine; a bounded retry is safe."""


class RateLimited(VenueError):
    """Refused before it could reach matching; back off for `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(VenueError):
    """Bytes left and no verdict came back. Never retried."""


class Malformed(VenueError):
    """A frame or answer that does not decode to what the venue documents."""


class BusyError(TandemError):
    """A lock, port or file that this process needs is held by another one, named in the text."""


class InvariantError(TandemError):
    """A state that our own code must never reach. Ends the process with exit code 70."""


def invariant(condition: bool, message: str) -> None:
    """Raise InvariantError(message) unless `condition`; stays on in production, unlike assert."""
    if not condition:
        raise InvariantError(message)
