"""A recorded market as the strategies' view sees it, and what an order would have got in it.

The judge of a fill (TRAPS T28): an order that leaves at t reaches the venue at t + delay and meets the row in force then.
It fills only if its limit reaches that row's touch AND the next row's, at the worse of the two prices, and at most the
smaller of the two recorded sizes, each of which can be taken once. A price that was already gone one quote later was
never there to be taken: half of what looks like an edge between two venues is the age of the slower one's quote.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from core.clock import NS_PER_MS, Clock
from core.numeric import floor_to
from core.recordings import Row, Track
from core.types import Instrument, Quote, QuoteFlag, ReadResult, Side, Stale

ZERO = Decimal(0)
EXECUTABLE = int(QuoteFlag.EXECUTABLE)


class Got(NamedTuple):
    """What an order got; qty 0 = nothing."""

    px: Decimal
    qty: Decimal


NOTHING = Got(ZERO, ZERO)


class Tape:
    """One track in the order of its time. Rows are read as time goes on; a few are held ahead, never the whole file."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._ahead: deque[Row] = deque()
        self.now: Row | None = None
        self.count = 0

    def advance(self, wire_ns: int) -> bool:
        """Go to `wire_ns`; whether a new row came."""
        before = self.now
        self._read_beyond(wire_ns)
        while self._ahead and self._ahead[0].time_ns <= wire_ns:
            self.now = self._ahead.popleft()
            self.count += 1
        return self.now is not before

    @property
    def first_ns(self) -> int:
        """When the tape begins; 0 if it is empty."""
        self._read_beyond(0)
        return self._ahead[0].time_ns if self._ahead else 0

    @property
    def is_over(self) -> bool:
        self._read_beyond(self.now.time_ns if self.now else 0)
        return not self._ahead

    def around(self, wire_ns: int) -> tuple[Row | None, Row | None]:
        """The row in force at `wire_ns` (not before `now`), and the first one after it; None past an end."""
        self._read_beyond(wire_ns)
        force = self.now
        for row in self._ahead:
            if row.time_ns > wire_ns:
                return force, row
            force = row
        return force, None

    def _read_beyond(self, wire_ns: int) -> None:
        while not self._ahead or self._ahead[-1].time_ns <= wire_ns:
            row = next(self._rows, None)
            if row is None:
                return
            self._ahead.append(row)


class RecordedVenue:
    """One venue's tracks behind the MarketReader protocol, with the venue's delay for orders.

    A quote is as old as its row and Stale beyond `max_age_ns`: the recording does not say whether a silent second still
    had that price, so it is believed only as long as a venue's own proof would be (RULES 2).
    """

    def __init__(
        self, tracks: Iterable[tuple[Track, Iterator[Row]]], delay_ms: float, max_age_ns: int, clock: Clock
    ) -> None:
        self._clock = clock
        self._delay_ns = int(delay_ms * NS_PER_MS)
        self._max_age_ns = max_age_ns
        self._rows: list[Instrument] = []
        self.tapes: list[Tape] = []
        self._slots: dict[str, int] = {}
        self._changed: set[int] = set()
        self._used: dict[tuple[int, Side], tuple[int, Decimal]] = {}  # row's time and what was taken of its size
        for track, rows in tracks:
            self._slots[track.symbol] = len(self._rows)
            self._rows.append(_instrument(track))
            self.tapes.append(Tape(rows))

    def instruments(self) -> dict[str, tuple[int, Instrument]]:
        return {row.symbol: (slot, row) for slot, row in enumerate(self._rows)}

    def quote(self, slot: int) -> ReadResult:
        tape = self.tapes[slot]
        row = tape.now
        if row is None:
            return Stale(-1)
        age_ns = self._clock.wire_ns() - row.time_ns
        if age_ns > self._max_age_ns:
            return Stale(age_ns)
        local_ns = self._clock.mono_ns() - age_ns
        return Quote(
            float(row.bid_px), float(row.bid_qty), float(row.ask_px), float(row.ask_qty), row.time_ns, local_ns, tape.count,
            EXECUTABLE, age_ns,
        )  # fmt: skip

    def changed(self) -> Iterable[int]:
        changed, self._changed = self._changed, set()
        return changed

    def advance(self) -> None:
        """Every tape to the clock's time."""
        wire_ns = self._clock.wire_ns()
        self._changed |= {slot for slot, tape in enumerate(self.tapes) if tape.advance(wire_ns)}

    def take(self, symbol: str, side: Side, qty: Decimal, limit: Decimal | None) -> Got:
        """An IOC order sent now; see the module. `limit` None = at any price."""
        slot = self._slots[symbol]
        force, following = self.tapes[slot].around(self._clock.wire_ns() + self._delay_ns)
        if force is None or following is None:
            return NOTHING
        if side is Side.BUY:
            px, size = max(force.ask_px, following.ask_px), min(force.ask_qty, following.ask_qty)
        else:
            px, size = min(force.bid_px, following.bid_px), min(force.bid_qty, following.bid_qty)
        if limit is not None and (px - limit) * side.sign > 0:
            return NOTHING
        used_ns, used = self._used.get((slot, side), (0, ZERO))
        used = used if used_ns == force.time_ns else ZERO
        lot = self._rows[slot].lot_size
        got = floor_to(max(ZERO, min(qty, size - used)), lot) * lot
        self._used[slot, side] = (force.time_ns, used + got)
        return Got(px, got) if got else NOTHING

    def touch(self, symbol: str, side: Side) -> Decimal | None:
        """The last recorded price that an order of `side` would meet, however old."""
        row = self.tapes[self._slots[symbol]].now
        if row is None:
            return None
        return row.ask_px if side is Side.BUY else row.bid_px


def _instrument(track: Track) -> Instrument:
    return Instrument(
        venue=track.venue, symbol=track.symbol, venue_symbol=track.symbol, tick_size=track.tick, lot_size=track.lot,
        min_notional_usd=track.min_notional_usd, max_leverage=20,
    )  # fmt: skip
