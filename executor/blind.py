"""Legs on a venue whose account cannot be read, and the one thing that may be done about them (RULES 5).

A blind leg is believed, not known. Over `blind_stop_s` the limits deny openings there, over `blind_page_s` somebody is
called. By default that is all: closing the other leg would turn a hedged pair into a naked one on the word of a venue that
says nothing. Whoever would rather hold nothing than something unseen sets `flatten_when_blind`: then, from the page on, the
readable leg of each such pair is closed reduce-only by IOC along `flatten_ladder_bps`, and the blind one is repaired as soon
as its venue lets us. A pair with an order in flight or unknown is left to its own rules (`unknown_policy`).
"""

from __future__ import annotations

import msgspec

from core.clock import NS_PER_S
from core.types import TimeInForce, Venue
from executor.engine import Engine
from executor.exit_price import closing_ticks, price_from_book
from executor.orders import Draft
from executor.state import PairBook, PairLeg

AGAIN_NS = 60 * NS_PER_S


class _Attempts(msgspec.Struct, kw_only=True):
    made: int = 0
    next_mono_ns: int = 0


class BlindLegs:
    """One venue that has been blind for longer than `blind_page_s`. Bounded by the live pairs."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._venue = venue
        self._attempts: dict[str, _Attempts] = {}

    def turn(self) -> None:
        """Close what stands against legs of this venue, where the configuration says so."""
        engine = self._engine
        if not engine.config.execution.flatten_when_blind:
            return
        self._attempts = {name: each for name, each in self._attempts.items() if name in engine.state.live}
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
        attempts, now = self._attempts.setdefault(pair.pair_id, _Attempts()), engine.clock.mono_ns()
        instrument, reference = engine.instrument(key), price_from_book(engine.quote(key))
        gateway = engine.desks[leg.venue].gateway
        if now < attempts.next_mono_ns or instrument is None or reference is None or key in engine.flattening:
            return
        if not gateway.entry_ready or not gateway.may_send(True):
            return
        ladder = engine.config.execution.flatten_ladder_bps
        beyond_bps = ladder[min(attempts.made, len(ladder) - 1)]
        attempts.made += 1
        step_ns = int(engine.config.execution.flatten_step_s * NS_PER_S)
        attempts.next_mono_ns = now + (step_ns if attempts.made < len(ladder) else AGAIN_NS)
        engine.log.error(
            "closing_beside_blind_leg", pair_id=pair.pair_id, venue=leg.venue, blind=self._venue, attempt=attempts.made
        )
        side = leg.side.opposite
        engine.send(
            [
                Draft(
                    instrument=instrument,
                    side=side,
                    lots=abs(leg.lots),
                    limit_ticks=closing_ticks(instrument, side, reference.touch(side), beyond_bps),
                    time_in_force=TimeInForce.IOC,
                    reduce_only=True,
                    purpose="unwind",
                    strategy=pair.plan.strategy,
                    pair_id=pair.pair_id,
                )
            ]
        )
