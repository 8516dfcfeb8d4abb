"""Closing outside pairs: naked lots, foreign ones, a leg beside a blind one. One reduce-only order per step of a ladder.

The limit walks `flatten_ladder_bps` away from the touch, `flatten_step_s` apart; after the ladder one attempt every AGAIN_NS. A
resting order of ours in the way is cancelled first, and the step waits. Where a venue quotes first, the order is the
acceptance of a live quote within that limit, and the mark of the position is the reference where its book says nothing. What
cannot be priced or sent now is not counted as a step. (executor.flatten has rounds of its own: it waits for answers.)
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from core.types import Position, Side, TimeInForce, Venue
from executor.background import Background
from executor.engine import Engine
from executor.exit_price import Reference, closing_ticks, price_from_book, price_from_rest
from executor.netting import crossed, withdraw
from executor.orders import Draft
from executor.state import Key
from executor.venues.base import TopOfBook

AGAIN_NS = 60 * NS_PER_S


class Steps(msgspec.Struct, kw_only=True):
    """How far one close has come."""

    made: int = 0
    next_mono_ns: int = 0


class Closer:
    """One venue's. Bounded by the closes under way at venues that quote first: one per instrument (Engine.place)."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._desk = engine.desks[venue]
        self._background = Background()

    def step(
        self,
        key: Key,
        lots: int,
        steps: Steps,
        *,
        purpose: str,
        stated: Position | None = None,
        strategy: str = "",
        pair_id: str | None = None,
    ) -> bool:
        """Send the next step towards closing `lots` (signed, as held) if it is due and can be sent; whether it was. `stated`:
        the position as the venue said it, for its mark."""
        engine, gateway, now = self._engine, self._desk.gateway, self._engine.clock.mono_ns()
        instrument, reference = engine.instrument(key), self.reference(key, stated)
        if now < steps.next_mono_ns or instrument is None or reference is None:
            return False
        if not gateway.entry_ready or not gateway.may_send(True):
            return False
        execution = engine.config.execution
        ladder, side = execution.flatten_ladder_bps, Side.SELL if lots > 0 else Side.BUY
        draft = Draft(
            instrument=instrument,
            side=side,
            lots=abs(lots),
            limit_ticks=closing_ticks(
                instrument, side, reference.touch(side), ladder[min(steps.made, len(ladder) - 1)]
            ),
            time_in_force=TimeInForce.IOC,
            reduce_only=True,
            purpose=purpose,
            strategy=strategy,
            pair_id=pair_id,
        )
        in_the_way = crossed(engine, draft)
        withdraw(engine, in_the_way)
        if in_the_way:
            return False
        steps.made += 1
        in_ladder = steps.made < len(ladder)
        steps.next_mono_ns = now + (int(execution.flatten_step_s * NS_PER_S) if in_ladder else AGAIN_NS)
        if gateway.traits.quotes_first:
            self._background.spawn(self._place(draft))
        else:
            engine.send([draft])
        return True

    def reference(self, key: Key, stated: Position | None) -> Reference | None:
        """The book; where there is none by nature, what the venue marks the position at."""
        book, instrument = price_from_book(self._engine.quote(key)), self._engine.instrument(key)
        if book is not None or instrument is None or not self._desk.gateway.traits.quotes_first:
            return book
        mark_px = stated.mark_px if stated is not None else Decimal(0)
        return price_from_rest(TopOfBook(Decimal(0), Decimal(0), mark_px), instrument)

    async def _place(self, draft: Draft) -> None:
        await self._engine.place(draft)
