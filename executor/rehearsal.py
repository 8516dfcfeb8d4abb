"""Walking the order path hot: cold code makes the first order after a pause several times slower (DESIGN 7).

Every `rehearse_ms` one made-up OpenPair goes through books, contexts, limits and sizing, and every gateway signs a dummy on
a null transport. No nonce, no journal record, no byte on a wire: `Admission.open` only reads, and its ticket is dropped.
"""

from __future__ import annotations

from decimal import Decimal

from core.clock import NS_PER_S
from core.ids import CommandId
from core.messages import MANUAL, ExitGuard, Leg, OpenPair
from core.types import Instrument, Venue
from executor.admission import Admission
from executor.engine import Engine

_GUARD = ExitGuard(stop_basis_bps=1.0, stop_leg_pct=1.0, max_hold_s=1.0)


class Rehearsal:
    """One symbol after the other that two venues list."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._engine = engine
        self._admission = admission
        self._turn = 0

    def turn(self) -> None:
        """One walk; cheap when there is nothing to walk on."""
        self._turn += 1
        for desk in self._engine.desks.values():
            if desk.started:
                desk.gateway.rehearse()
        listed = [(venue, desk.gateway.instruments()) for venue, desk in self._engine.desks.items() if desk.started]
        if len(listed) < 2:
            return
        first, second = listed[self._turn % len(listed)], listed[(self._turn + 1) % len(listed)]
        shared = [symbol for symbol in first[1] if symbol in second[1]]
        if shared:
            symbol = shared[self._turn % len(shared)]
            self._admission.open(self._command(symbol, first[0], first[1][symbol], second[0], second[1][symbol]))

    def _command(self, symbol: str, long: Venue, buy: Instrument, short: Venue, sell: Instrument) -> OpenPair:
        now_ns = self._engine.clock.mono_ns()
        return OpenPair(
            command_id=CommandId(MANUAL, 0, self._turn),
            valid_until_mono_ns=now_ns + NS_PER_S,
            symbol=symbol,
            long=Leg(venue=long, limit_px=buy.tick_size, quote_sequence=0, quote_age_ns=0),
            short=Leg(venue=short, limit_px=sell.tick_size, quote_sequence=0, quote_age_ns=0),
            qty=Decimal(1),
            decided_mono_ns=now_ns,
            edge_bps=0.0,
            offset_bps=0.0,
            exit_guard=_GUARD,
        )
