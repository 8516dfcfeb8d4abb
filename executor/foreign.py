"""Positions that are not ours: frozen and alarmed by reconciliation; closed only where `foreign_positions = close` says so.

Closing takes what no pair and no order by hand owns, reduce-only by IOC, after a reading on which venue and journal agree
and nothing of ours was in flight: one step of `flatten_ladder_bps` per attempt, `flatten_step_s` apart, then once in
AGAIN_NS. What cannot be priced or sent now is tried again after the next reading; until then it stays frozen and shown.
"""

from __future__ import annotations

import msgspec

from core.clock import NS_PER_S
from core.types import Side, TimeInForce, Venue
from executor.engine import Engine
from executor.exit_price import closing_ticks, price_from_book
from executor.orders import Draft
from executor.state import Key
from executor.sub_ledgers import REST

AGAIN_NS = 60 * NS_PER_S
CLOSE = "close"


class _Attempts(msgspec.Struct, kw_only=True):
    made: int = 0
    next_mono_ns: int = 0


class ForeignPositions:
    """One venue. Bounded by its instruments."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._venue = venue
        self._attempts: dict[Key, _Attempts] = {}

    def wants_reading(self) -> bool:
        """Whether something foreign is to be closed and its next attempt is due."""
        if self._engine.config.execution.foreign_positions != CLOSE:
            return False
        now = self._engine.clock.mono_ns()
        return any(now >= self._attempts.get(key, _Attempts()).next_mono_ns for key in self._closable())

    def judge(self, agreed: set[Key]) -> None:
        """After one reading; `agreed`: instruments on which venue and journal agree and nothing of ours moved meanwhile."""
        closable = self._closable()
        self._attempts = {key: each for key, each in self._attempts.items() if key in closable}
        if self._engine.config.execution.foreign_positions == CLOSE:
            for key, lots in closable.items():
                if key in agreed:
                    self._close(key, lots)

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

    def _close(self, key: Key, lots: int) -> None:
        engine, execution = self._engine, self._engine.config.execution
        attempts, now = self._attempts.setdefault(key, _Attempts()), engine.clock.mono_ns()
        gateway = engine.desks[key[0]].gateway
        if now < attempts.next_mono_ns or not gateway.entry_ready or not gateway.may_send(True):
            return
        instrument, reference = engine.instrument(key), price_from_book(engine.quote(key))
        if instrument is None or reference is None:
            engine.log.error("foreign_not_closed", venue=key[0], symbol=key[1], detail="no usable book to price it")
            attempts.next_mono_ns = now + AGAIN_NS
            return
        ladder = execution.flatten_ladder_bps
        beyond_bps = ladder[min(attempts.made, len(ladder) - 1)]
        attempts.made += 1
        pause_ns = int(execution.flatten_step_s * NS_PER_S) if attempts.made < len(ladder) else AGAIN_NS
        attempts.next_mono_ns = now + pause_ns
        side = Side.SELL if lots > 0 else Side.BUY
        engine.send(
            [
                Draft(
                    instrument=instrument,
                    side=side,
                    lots=abs(lots),
                    limit_ticks=closing_ticks(instrument, side, reference.touch(side), beyond_bps),
                    time_in_force=TimeInForce.IOC,
                    reduce_only=True,
                    purpose="foreign",
                    strategy="",
                )
            ]
        )
