"""Three clocks, read nowhere else (DESIGN: time).

`mono`      CLOCK_MONOTONIC in ns: ages, timeouts, latencies. Never scaled; comparable between processes of one box.
`wire`      real UTC in ns: nonces, expiries, exchange times. Never scaled.
`calendar`  UTC in ns that the sandbox may run faster: settlements, holds, waits, equity sampling, history.
            calendar = origin + (wire - origin) * scale, with one origin per run, kept in the run directory.
"""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000


class Clock(Protocol):
    """What every object that needs time is handed."""

    def mono_ns(self) -> int:
        """Monotonic nanoseconds."""

    def wire_ns(self) -> int:
        """Real UTC nanoseconds since 1970."""

    def calendar_ns(self) -> int:
        """Calendar UTC nanoseconds since 1970, scaled in a sandbox run."""


class SystemClock:
    """The machine's clocks. `time_scale` and `origin_ns` come from the run directory, the same for every process."""

    __slots__ = ("origin_ns", "time_scale")

    mono_ns = staticmethod(time.monotonic_ns)
    wire_ns = staticmethod(time.time_ns)

    def __init__(self, time_scale: float = 1.0, origin_ns: int = 0) -> None:
        self.time_scale = time_scale
        self.origin_ns = origin_ns

    def calendar_ns(self) -> int:
        if self.time_scale == 1.0:
            return self.wire_ns()
        return self.origin_ns + int((self.wire_ns() - self.origin_ns) * self.time_scale)


class SimClock:
    """A clock that moves only when told to; all three clocks advance together by `advance_ns`."""

    __slots__ = ("_mono_ns", "_wire_ns")

    def __init__(self, mono_ns: int = NS_PER_S, wire_ns: int = 1_790_000_000 * NS_PER_S) -> None:
        self._mono_ns = mono_ns
        self._wire_ns = wire_ns

    def mono_ns(self) -> int:
        return self._mono_ns

    def wire_ns(self) -> int:
        return self._wire_ns

    def calendar_ns(self) -> int:
        return self._wire_ns

    def advance_ns(self, delta_ns: int) -> None:
        self._mono_ns += delta_ns
        self._wire_ns += delta_ns
