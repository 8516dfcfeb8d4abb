"""The steps that pairs are worked with: counted and paced attempts, what leaves for a venue, moves and ends.

executor.pairs decides what a pair needs; here is how any of it is done. Nothing here looks at books or legs to decide.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.ids import CommandId
from core.messages import FINAL_PAIR, PairStatus, Sending
from executor import opening
from executor.cures import Cures
from executor.dead_man import Switches
from executor.engine import Engine
from executor.netting import Netting, Wish
from executor.orders import Draft
from executor.quotes import Quotes
from executor.records import PairMoved
from executor.repair import CureLeg
from executor.reports import pair_now
from executor.state import Key, PairBook, PairLeg
from executor.unhedged import Unhedged

PACE_NS = 100 * NS_PER_MS
PACE_MAX_NS = 5 * NS_PER_S
PACE_UNHEDGED_NS = 400 * NS_PER_MS  # while legs differ, for HURRY_NS
HURRY_NS = 20 * NS_PER_S
ATTEMPTS_MAX = 100
FILLS_WAIT_NS = 10 * NS_PER_S
"""How long a flat pair waits for the fills behind its answers before it is closed with its result unknown."""


class Runtime(msgspec.Struct, kw_only=True):
    """What a pair needs between two looks and may lose in a restart. `opening`: both first orders, waiting for an order of ours
    that rests in their way to end; lost in a restart, the pair is aborted."""

    attempts: int = 0
    completes: int = 0
    next_mono_ns: int = 0
    exhausted: bool = False
    flat_mono_ns: int = 0
    close_command: CommandId | None = None
    opening: list[Draft] | None = None
    opening_mono_ns: int = 0


class PairSteps(ABC):
    """Base of executor.pairs.Pairs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._execution = engine.config.execution
        self._runtime: dict[str, Runtime] = {}
        self._quotes = Quotes(engine)
        self._cures = Cures(engine, self._quotes)
        self._unhedged = Unhedged(engine)
        self.switches = Switches(engine)
        self._netting = Netting(engine, self._wish)

    @abstractmethod
    def look(self, pair: PairBook, why: str) -> None:
        """Derive what this pair needs now, and do it."""

    @abstractmethod
    def _wish(self, pair: PairBook, key: Key) -> Wish | None:
        """What this pair would trade on `key` now."""

    def _of(self, pair: PairBook) -> Runtime:
        return self._runtime.setdefault(pair.pair_id, Runtime())

    def _may_try(self, pair: PairBook) -> bool:
        runtime = self._of(pair)
        if runtime.attempts >= ATTEMPTS_MAX:
            if not runtime.exhausted:
                runtime.exhausted = True
                self._engine.log.error("pair_attempts_exhausted", pair_id=pair.pair_id, symbol=pair.symbol)
            return False
        return self._engine.clock.mono_ns() >= runtime.next_mono_ns

    def _attempt(self, pair: PairBook, cures: list[CureLeg], purpose: str) -> None:
        """Counted and paced: while legs differ never so slowly that the bound for unwinding passes between two of them."""
        runtime = self._of(pair)
        if purpose not in ("close", "hedge"):
            self._engine.meter.repair(purpose)
        bound_ns = PACE_UNHEDGED_NS if 0 < self._unhedged.age_ns(pair) < HURRY_NS else PACE_MAX_NS
        pace_ns = min(PACE_NS << min(runtime.attempts, 16), bound_ns)
        if self._send(pair, [self._cures.draft(pair, cure, purpose, runtime.attempts) for cure in cures]):
            runtime.next_mono_ns = self._engine.clock.mono_ns() + pace_ns
            runtime.attempts += 1

    def _send(self, pair: PairBook, drafts: list[Draft]) -> bool:
        """What netting leaves of them, unless an order of ours stands in the way (False): then it has been asked to go."""
        if self._netting.is_blocked(drafts):
            return False
        cleared = self._netting.clear(pair, drafts)
        orders = self._engine.send(cleared.drafts) if cleared.drafts else []
        for order, draft in zip(orders, cleared.drafts, strict=True):
            leg = pair.leg(draft.instrument.venue)
            if (
                leg is not None and draft.side is not leg.way_out and draft.purpose != "open"
            ):  # that is reserved with its plan
                self._engine.reserve(order, draft.instrument)
        for other in cleared.netted:
            self.look(other, "netted")
        return True

    def _cure(
        self, pair: PairBook, leg: PairLeg, qty: Decimal, *, reducing: bool, overdue: bool, quoting: bool = True
    ) -> CureLeg | None:
        return self._cures.leg(pair, leg, qty, reducing=reducing, overdue=overdue, quoting=quoting)

    def _move(self, pair: PairBook, status: PairStatus, reason: str, sending: Sending | None = None) -> None:
        """Journal, report, and answer the commands that waited for this."""
        engine = self._engine
        engine.record(
            PairMoved(
                wire_ns=engine.clock.wire_ns(),
                pair_id=pair.pair_id,
                status=status,
                reason=reason,
                calendar_ns=engine.clock.calendar_ns(),
                sending=sending,
            )
        )
        engine.log.info("pair", pair_id=pair.pair_id, symbol=pair.symbol, status=status.value, reason=reason)
        waiting = []
        if status in FINAL_PAIR or status is PairStatus.OPEN:
            opened = engine.state.commands.get(pair.plan.command_id)
            if opened is not None and not opened.answers:
                waiting.append(pair.plan.command_id)
        runtime = self._runtime.get(pair.pair_id)
        ended = status in FINAL_PAIR or status is PairStatus.OPEN  # a resting close may leave its rest open
        if ended and runtime is not None and runtime.close_command is not None:
            waiting.append(runtime.close_command)
        for command_id in waiting:
            engine.answer(command_id, pair_now(pair, command_id))
        if not any(command_id.strategy == pair.plan.strategy for command_id in waiting):
            engine.report(pair_now(pair), pair.plan.strategy)

    def _finish(self, pair: PairBook, why: str) -> None:
        """CLOSED or ABORTED; a result waits a moment for the fills behind the answers."""
        runtime, now_ns = self._of(pair), self._engine.clock.mono_ns()
        opening.release(self._engine, pair)
        if pair.unbooked:
            runtime.flat_mono_ns = runtime.flat_mono_ns or now_ns
            if now_ns - runtime.flat_mono_ns < FILLS_WAIT_NS:
                for leg in pair.all_legs:
                    if leg.book.unbooked_lots:
                        self._engine.on_hint(leg.venue, "fills missing")
                return
            self._engine.log.error("pair_result_unknown", pair_id=pair.pair_id, symbol=pair.symbol)
        filled = any(order.filled_lots for order in self._engine.state.pair_orders(pair))
        reason = why if not pair.closing or why == "dust" else pair.reason
        self._move(pair, PairStatus.CLOSED if filled or pair.opened_calendar_ns else PairStatus.ABORTED, reason)
        self._runtime.pop(pair.pair_id, None)
