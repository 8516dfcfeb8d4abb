"""Which nonce goes on Lighter's wire (docs/venues/lighter.md 6; setting `nonce_mode`).

skip        the journal's own nonce (milliseconds, durable, never twice) under the venue's attribute that permits gaps. A
            refused transaction leaves nothing behind, a restart asks nobody. The recommended way.
optimistic  strictly the next number, counted here. The venue keeps the truth, so nothing need be durable: the count is read
            from it at start and after whatever may have left a gap (a lost answer, a refused nonce, a refusal with later
            ones behind it), and only when nothing is in flight. Until then nothing is signed.
api         as optimistic, and read again after every transaction: for keys that somebody else uses too.

Both strict modes live with one hazard: a transaction whose answer was lost may still arrive and take the number that was
given again. Then the newer one is refused by its nonce, which is certain, and the count is read again.
"""

from __future__ import annotations

from core.errors import NotSent
from core.settings import NonceMode

MAX_REMEMBERED = 20_000
FORMER_IN_FLIGHT = 64  # what an earlier process can have had under way, at most


class TxNonces:
    """`floor`: every nonce of an earlier process lies below it (skip) or within FORMER_IN_FLIGHT of it (strict)."""

    def __init__(self, mode: NonceMode) -> None:
        self._mode = mode
        self.skips = mode is NonceMode.SKIP
        self._next = -1
        self._floor = -1
        self._in_flight: dict[int, int] = {}  # wire nonce -> the journal's
        self._must_read = not self.skips
        self._wires: dict[int, int] = {}
        self.resyncs = 0

    @property
    def ready(self) -> bool:
        return not self._must_read

    @property
    def wants_reading(self) -> bool:
        """Whether the venue should be asked now: wanted, and nothing under way."""
        return self._must_read and not self._in_flight

    def begin(self, journal_nonce: int) -> None:
        """At start: the first number of this process's source, above all that earlier ones can have used."""
        if self.skips:
            self._floor = journal_nonce

    def read(self, next_nonce: int) -> None:
        """The venue says which one is next. Ignored if something was sent meanwhile."""
        if self.skips or self._in_flight:
            return
        if self._floor < 0:
            self._floor = next_nonce + FORMER_IN_FLIGHT
        else:
            self.resyncs += 1
        self._next = next_nonce
        self._must_read = False

    def take(self, journal_nonce: int) -> int:
        """The number to sign with. Raises NotSent while the count is not known."""
        if self.skips:
            return journal_nonce
        if self._must_read:
            raise NotSent("lighter: the nonce is being read from the venue")
        wire = self._next
        self._next += 1
        self._in_flight[wire] = journal_nonce
        self._wires[journal_nonce] = wire
        while len(self._wires) > MAX_REMEMBERED:
            del self._wires[next(iter(self._wires))]
        return wire

    def settle(self, journal_nonce: int, spent: bool | None) -> None:
        """What became of it: queued (True), certainly not (False), or nobody knows (None). The first word counts."""
        wire = self._wires.get(journal_nonce, -1)
        if self._in_flight.get(wire) != journal_nonce:
            return
        del self._in_flight[wire]
        if spent is False and wire == self._next - 1:
            self._next = wire
        elif not spent:
            self._must_read = True
        if self._mode is NonceMode.API:
            self._must_read = True

    def doubt(self) -> None:
        """The venue refused a nonce: read it again."""
        self._must_read = not self.skips

    def is_spent(self, journal_nonce: int | None, next_nonce: int) -> bool:
        """Whether the venue has moved past a nonce: then what carried it was executed already, or never will be.
        `journal_nonce` None = of an earlier process."""
        if journal_nonce is None:
            return self._floor >= 0 and next_nonce > self._floor
        wire = journal_nonce if self.skips else self._wires.get(journal_nonce)
        return wire is not None and next_nonce > wire
