"""Legs on a venue whose account cannot be read, and the one thing that may be done about them (RULES 5).

A blind leg is believed, not known. Over `blind_stop_s` the limits deny openings there, over `blind_page_s` somebody is
called. By default that is all: closing the other leg would turn a hedged pair into a naked one on the word of a venue that
says nothing. Whoever would rather hold nothing than something unseen sets `flatten_when_blind`: then, from the page on, the
readable leg of each such pair is closed step by step (executor.closer), and the blind one is repaired as soon as its venue
lets us. A pair with an order in flight or unknown is left to its own rules (`unknown_policy`).
"""

from __future__ import annotations

from core.clock import NS_PER_S
from core.types import Venue
from executor.closer import Closer, Steps
from executor.engine import Engine
from executor.state import PairBook, PairLeg


class BlindLegs:
    """One venue that has been blind for longer than `blind_page_s`. Bounded by the live pairs."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._venue = venue
        self._closers: dict[Venue, Closer] = {}
        self._steps: dict[str, Steps] = {}

    def turn(self) -> None:
        """Close what stands against legs of this venue, where the configuration says so."""
        engine = self._engine
        if not engine.config.execution.flatten_when_blind:
            return
        self._steps = {name: each for name, each in self._steps.items() if name in engine.state.live}
        for pair in engine.state.live_pairs():
            blind = pair.leg(self._venue)
            if blind is None or not blind.lots or any(not o.status.is_final for o in engine.state.pair_orders(pair)):
                continue
            for leg in pair.all_legs:
                if leg.lots and leg is not blind and self._is_readable(leg.venue):
                    self._close(pair, leg)

    def _is_readable(self, venue: Venue) -> bool:
        blind_ns = self._engine.desks[venue].blind_ns(self._engine.clock.mono_ns())
        return blind_ns <= self._engine.config.execution.blind_stop_s * NS_PER_S

    def _close(self, pair: PairBook, leg: PairLeg) -> None:
        engine, key = self._engine, (leg.venue, pair.symbol)
        steps = self._steps.setdefault(pair.pair_id, Steps())
        if key in engine.flattening:
            return
        closer = self._closers.setdefault(leg.venue, Closer(engine, leg.venue))
        strategy = pair.plan.strategy
        if closer.step(key, leg.lots, steps, purpose="unwind", strategy=strategy, pair_id=pair.pair_id):
            fields = {"pair_id": pair.pair_id, "venue": leg.venue, "blind": self._venue, "attempt": steps.made}
            engine.log.error("closing_beside_blind_leg", **fields)
