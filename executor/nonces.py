"""Nonces: one source per signer, never the same number twice, not even across crashes.

Both venues take time-like nonces inside a window (Hyperliquid ms, Aster us): not strictly sequential, but each at most
once per signer for ever. So `next = max(now, last + 1)`, and the clock may step back without harm while we live. Across
a restart the memory is a high-water mark in the journal: before any number of a block is used, the block's end is
journaled and synced (`reserve`), and a restarted source begins at the end of the last block, used up or not. What was
refused: syncing every nonce (a disk flush before each order), and trusting the clock alone (a step back, or a restart
within the tick, repeats a number and the venue then rejects a leg).

A block reaches BLOCK_NS ahead of the clock, so after an instant restart the first numbers lie at most that far in the
future: within both venues' windows (Aster 60 s and formerly 10 s, Hyperliquid a day). `renew`, called about once a
second, reserves the next block while nothing waits; `next` reserves by itself only when that was neglected.

Ahead of the clock (after such a restart) a block is used up by count, not by time, and therefore short (AHEAD_NS): a crash
loop must not add BLOCK_NS at every start until the venue refuses everything as too far in the future.

Broken by: two processes on one agent key (the account lock forbids it), a journal restored from an old copy.
"""

from __future__ import annotations

from collections.abc import Callable

from core.clock import NS_PER_S, Clock
from core.errors import invariant

BLOCK_NS = 8 * NS_PER_S
RENEW_BELOW_NS = 4 * NS_PER_S
AHEAD_NS = NS_PER_S // 4

Reserve = Callable[[str, int], None]
"""(signer_id, high): journal that nonces below `high` may have been used, and sync, before returning."""


class NonceSource:
    """The one source of `signer_id`. `unit_ns`: nanoseconds per nonce step (1_000_000 = ms, 1_000 = us).

    `high_water`: exclusive end of the last block that the journal knows, 0 for none.
    """

    __slots__ = ("_clock", "_high", "_last", "_reserve", "_unit_ns", "signer_id")

    def __init__(self, signer_id: str, *, unit_ns: int, clock: Clock, high_water: int, reserve: Reserve) -> None:
        self.signer_id = signer_id
        self._unit_ns = unit_ns
        self._clock = clock
        self._reserve = reserve
        self._high = high_water
        self._last = high_water - 1

    def next(self) -> int:
        """A nonce that was never given before; durable before it is returned."""
        nonce = max(self._clock.wire_ns() // self._unit_ns, self._last + 1)
        if nonce >= self._high:
            self._extend(nonce)
        self._last = nonce
        return nonce

    def renew(self) -> None:
        """Reserve the next block if the present one is about to be overtaken by the clock or by use."""
        position = max(self._clock.wire_ns() // self._unit_ns, self._last + 1)
        low = self._high - position < RENEW_BELOW_NS // self._unit_ns
        if low and self._block_end(position) > self._high:
            self._extend(position)

    def _extend(self, position: int) -> None:
        high = self._block_end(position)
        invariant(high > self._high, f"nonce block of {self.signer_id} would go back from {self._high} to {high}")
        self._reserve(self.signer_id, high)
        self._high = high

    def _block_end(self, position: int) -> int:
        now = self._clock.wire_ns() // self._unit_ns
        return max(now + BLOCK_NS // self._unit_ns, position + AHEAD_NS // self._unit_ns)
