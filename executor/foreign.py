"""Positions that are not ours: frozen and alarmed by reconciliation; closed only where `foreign_positions = close` says so.

Closing takes what no pair and no order by hand owns, step by step (executor.closer), each after a reading on which venue and
journal agree and nothing of ours was in flight. What cannot be priced or sent now is told once and tried again after the next
reading; until then it stays frozen and shown.
"""

from __future__ import annotations

from core.types import Position, Venue
from executor.closer import Closer, Steps
from executor.engine import Engine
from executor.state import Key
from executor.sub_ledgers import REST

CLOSE = "close"


class ForeignPositions:
    """One venue. Bounded by its instruments."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._venue = venue
        self._closer = Closer(engine, venue)
        self._steps: dict[Key, Steps] = {}
        self._told: set[Key] = set()  # that there is no price for them

    def wants_reading(self) -> bool:
        """Whether something foreign is to be closed and its next attempt is due."""
        if self._engine.config.execution.foreign_positions != CLOSE:
            return False
        now = self._engine.clock.mono_ns()
        return any(now >= self._steps.get(key, Steps()).next_mono_ns for key in self._closable())

    def judge(self, positions: list[Position], agreed: set[Key]) -> None:
        """After one reading of `positions`; `agreed`: where venue and journal agree and nothing of ours moved meanwhile."""
        closable, stated = self._closable(), {(each.venue, each.symbol): each for each in positions}
        self._steps = {key: each for key, each in self._steps.items() if key in closable}
        self._told &= closable.keys()
        if self._engine.config.execution.foreign_positions == CLOSE:
            for key, lots in closable.items():
                if key in agreed:
                    self._close(key, lots, stated.get(key))

    def _closable(self) -> dict[Key, int]:
        """Signed lots that nobody here owns, in positions known to be partly or wholly foreign."""
        state = self._engine.state
        found = {}
        for key, position in state.positions.items():
            if key[0] != self._venue or not position.foreign or key in self._engine.flattening:
                continue
            beyond, held = state.sub_ledgers(key).get(REST, 0), position.book.lots
            if beyond * held > 0:
                found[key] = min(abs(beyond), abs(held)) * (1 if held > 0 else -1)
        return found

    def _close(self, key: Key, lots: int, stated: Position | None) -> None:
        if self._closer.reference(key, stated) is None and key not in self._told:
            self._told.add(key)
            self._engine.log.error(
                "foreign_not_closed", venue=key[0], symbol=key[1], detail="no usable book to price it"
            )
        self._closer.step(key, lots, self._steps.setdefault(key, Steps()), purpose="foreign", stated=stated)
