"""Lots of ours that no live pair owns: the last line behind pairs, cures and flatten.

A pair may close on a belief that turns out wrong by one order (a fill that nobody told in time, a repair on top of it). The
position is ours by the journal and by the venue, so it is neither foreign nor a difference; it just belongs to nobody, and
nobody would close it. So after each reading of a venue:

    naked = our lots - what live pairs hold - what orders by hand hold on the same side

on instruments that are not foreign, not being flattened, without an order in flight or in doubt, and where the venue agrees
with the journal. Seen in two readings at least CONFIRM_NS apart it is an alarm, it counts as unhedged on the account page,
and it is closed reduce-only, step by step (executor.closer). Lots that stand against a leg of a pair are not naked: that leg
claims too much, and executor.pairs gives it up. What is below the venue's smallest order is dust: shown, not chased.

Refused: closing at first sight (between two legs' answers half a pair looks naked to a careless eye), and adding the lots to
some pair (its result would be a lie).
"""

from __future__ import annotations

import msgspec

from core.types import Position, Venue
from executor.closer import Closer, Steps
from executor.differences import CONFIRM_NS
from executor.engine import Engine
from executor.exit_price import price_from_book
from executor.state import Key


class _Sighting(msgspec.Struct, kw_only=True):
    lots: int
    first_mono_ns: int
    steps: Steps = msgspec.field(default_factory=Steps)


class NakedPositions:
    """One venue. Bounded by its instruments; `desk.naked` holds what is confirmed, for page and metrics."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._venue = venue
        self._desk = engine.desks[venue]
        self._seen: dict[str, _Sighting] = {}
        self._closer = Closer(engine, venue)

    def suspects(self) -> bool:
        """Whether the journal alone shows lots that nobody owns and that wait for a sighting or an attempt: worth a reading
        soon."""
        now = self._engine.clock.mono_ns()
        for key in self._engine.state.positions:
            if key[0] != self._venue or key in self._engine.flattening:
                continue
            lots, seen = self._naked_lots(key), self._seen.get(key[1])
            waits = seen is None or key[1] not in self._desk.naked or now >= seen.steps.next_mono_ns
            if lots and waits and not self._is_dust(key, lots):
                return True
        return False

    def judge(self, positions: list[Position], asked_mono_ns: int, quiet: set[Key]) -> None:
        """After one reading whose request was sent at `asked_mono_ns`. `quiet`: instruments on which nothing of ours moved
        or was in flight meanwhile, and on which venue and journal agree."""
        state = self._engine.state
        stated = {(self._venue, position.symbol): position for position in positions}
        for key in state.positions:
            if key[0] != self._venue:
                continue
            lots = self._naked_lots(key)
            if not lots or self._is_dust(key, lots):
                self._forget(key)
            elif key in quiet:
                self._sighted(key, lots, asked_mono_ns, stated.get(key))

    def _naked_lots(self, key: Key) -> int:
        """Signed lots that belong to nobody."""
        state = self._engine.state
        held = state.positions[key]
        if held.foreign or not held.book.lots:
            return 0
        legs = [pair.leg(key[0]) for pair in state.live_pairs() if pair.symbol == key[1]]
        loose = held.book.lots - sum(leg.lots for leg in legs if leg is not None)
        if loose * held.by_hand_lots <= 0:
            return loose
        return loose - (min(abs(loose), abs(held.by_hand_lots)) * (1 if loose > 0 else -1))

    def _is_dust(self, key: Key, lots: int) -> bool:
        instrument = self._engine.instrument(key)
        reference = price_from_book(self._engine.quote(key))
        if instrument is None or reference is None:
            return False
        return abs(lots) < instrument.min_lots(reference.bid_px * instrument.multiplier)

    def _forget(self, key: Key) -> None:
        self._seen.pop(key[1], None)
        if self._desk.naked.pop(key[1], None) is not None:
            self._engine.log.warning("naked_position_gone", venue=key[0], symbol=key[1])

    def _sighted(self, key: Key, lots: int, asked_mono_ns: int, stated: Position | None) -> None:
        seen = self._seen.get(key[1])
        if seen is None or seen.lots * lots < 0:
            self._seen[key[1]] = _Sighting(lots=lots, first_mono_ns=asked_mono_ns)
            return
        seen.lots = lots
        if asked_mono_ns - seen.first_mono_ns < CONFIRM_NS:
            return
        is_new = key[1] not in self._desk.naked
        self._desk.naked[key[1]] = (lots, seen.first_mono_ns)
        if is_new:
            self._engine.log.error("naked_position", venue=key[0], symbol=key[1], lots=lots)
        self._close(key, seen, stated)

    def _close(self, key: Key, seen: _Sighting, stated: Position | None) -> None:
        if stated is None or stated.lots * seen.lots <= 0:
            return  # nothing there to reduce: the next reading decides
        lots = min(abs(seen.lots), abs(stated.lots)) * (1 if seen.lots > 0 else -1)
        if self._closer.step(key, lots, seen.steps, purpose="unwind", stated=stated):
            made = seen.steps.made
            self._engine.log.error("naked_position_closing", venue=key[0], symbol=key[1], lots=seen.lots, attempt=made)
