"""The clock of legs that differ: how long, how much, when it is too long, and when the difference is accepted as dust.

An episode begins in State (PairBook.track) with the first lot by which the legs differ beyond accepted dust, and ends when
they agree again or when what is left is too small for any order. It is wire time out of the journal, not mono: it goes on
over a restart. Bounds of RULES 5: a warning, a time to unwind, and a longer one where a leg is quoted before it is traded.
"""

from __future__ import annotations

import msgspec

from core.clock import NS_PER_S
from executor.engine import Engine
from executor.records import UnhedgedMeasured
from executor.state import PairBook


class _Told(msgspec.Struct, kw_only=True):
    warned: bool = False
    overdue: bool = False


class Unhedged:
    """Bounded by the live pairs; what it holds is only what was said already."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._execution = engine.config.execution
        self._told: dict[str, _Told] = {}

    def bound_s(self, pair: PairBook) -> float:
        """From then on the larger leg is unwound."""
        desks = self._engine.desks
        quoted = any(leg.venue in desks and desks[leg.venue].gateway.traits.quotes_first for leg in pair.legs)
        return self._execution.unhedged_unwind_quoted_s if quoted else self._execution.unhedged_unwind_s

    def age_ns(self, pair: PairBook) -> int:
        """0 = hedged."""
        if not pair.diverged_wire_ns or pair.matched_wire_ns:
            return 0
        return self._engine.clock.wire_ns() - pair.diverged_wire_ns

    def is_overdue(self, pair: PairBook) -> bool:
        return self.age_ns(pair) > self.bound_s(pair) * NS_PER_S

    def is_young(self, pair: PairBook) -> bool:
        """Whether the legs have differed for less than it takes to warn."""
        return self.age_ns(pair) <= self._execution.unhedged_warn_s * NS_PER_S

    def watch(self, pair: PairBook) -> None:
        """Warn and page, each once an episode."""
        age_ns, log = self.age_ns(pair), self._engine.log
        if not age_ns:
            return
        told = self._told.setdefault(pair.pair_id, _Told())
        fields = {"pair_id": pair.pair_id, "symbol": pair.symbol, "unhedged_s": age_ns / NS_PER_S}
        if self.is_overdue(pair) and not told.overdue:
            told.overdue = True
            log.error("unhedged_overdue", status=pair.status.value, **fields)
        elif age_ns > self._execution.unhedged_warn_s * NS_PER_S and not told.warned:
            told.warned = True
            log.warning("unhedged", status=pair.status.value, **fields)

    def tolerate(self, pair: PairBook) -> None:
        """What is left is dust: the episode ends here, measured, and the difference is accepted."""
        since_ns = pair.diverged_wire_ns or self._engine.clock.wire_ns()
        self._record(pair, self._engine.clock.wire_ns() - since_ns)

    def measure(self, pair: PairBook) -> bool:
        """Record a finished episode of differing legs; False when there is none."""
        if not pair.diverged_wire_ns or not pair.matched_wire_ns:
            return False
        self._record(pair, pair.matched_wire_ns - pair.diverged_wire_ns)
        return True

    def forget(self) -> None:
        """Drop what concerns pairs that are gone."""
        for name in [name for name in self._told if name not in self._engine.state.live]:
            del self._told[name]

    def _record(self, pair: PairBook, duration_ns: int) -> None:
        notional_usd = pair.diverged_qty * pair.plan.long_ref_px
        self._engine.record(
            UnhedgedMeasured(
                wire_ns=self._engine.clock.wire_ns(),
                pair_id=pair.pair_id,
                duration_ns=duration_ns,
                notional_usd=notional_usd,
            )
        )
        self._engine.meter.unhedged(duration_ns, notional_usd)
        self._told.pop(pair.pair_id, None)
