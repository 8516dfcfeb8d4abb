"""What a pair could send now, priced: the bridge between the pure choice (executor.repair) and the engine's world.

A price comes from the shared-memory quote if it is usable; when that has been of no use for QUOTE_WAIT_NS, or the pair is
overdue, from the venue's own book by REST, read in the background and used for REST_TOUCH_NS (RULES 5).
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from core.clock import NS_PER_S
from core.errors import VenueError
from core.types import Side, TimeInForce
from executor.engine import Engine
from executor.orders import Draft
from executor.pricing import ioc_limit_ticks, reach_bps, touch_px
from executor.registrar import UNKNOWN_OUTCOME
from executor.repair import CureLeg
from executor.state import Key, PairBook, PairLeg
from executor.venues.base import TopOfBook

QUOTE_WAIT_NS = 2 * NS_PER_S
REST_TOUCH_NS = 2 * NS_PER_S


class Cures:
    """Prices and drafts of single legs. Reads the engine; its REST reads are one at a time per instrument."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._execution = engine.config.execution
        self._unusable_since: dict[Key, int] = {}  # mono ns
        self._rest: dict[Key, tuple[TopOfBook, int]] = {}  # and when it was asked for, mono ns
        self._reading: dict[Key, asyncio.Task[None]] = {}

    def leg(self, pair: PairBook, leg: PairLeg, qty: Decimal, *, reducing: bool, overdue: bool) -> CureLeg | None:
        """Trading `qty` (canonical, unsigned) of `leg` now, down or up; None while its venue lists no such contract."""
        engine = self._engine
        key = (leg.venue, pair.symbol)
        instrument = engine.instrument(key)
        if instrument is None:
            return None
        side = leg.side.opposite if reducing else leg.side
        lots = instrument.qty_to_lots(qty)
        if reducing:
            lots = min(lots, abs(leg.lots))
        if instrument.max_qty:
            lots = min(lots, int(instrument.max_qty / instrument.lot_size))
        desk = engine.desks[leg.venue]
        ready = desk.reconciled and desk.gateway.entry_ready and desk.gateway.may_send(True)
        if reducing and engine.state.overclaimed(key) * leg.side.sign > 0:
            ready = False  # once more would open the opposite
            engine.on_hint(leg.venue, "position does not cover a leg")
        return CureLeg(
            instrument=instrument,
            side=side,
            lots=lots,
            touch=self.touch(key, side, overdue),
            ref_px=_reference(pair, leg, reducing, instrument.multiplier),
            taker_fee=desk.taker_fee,
            sendable=ready and engine.state.frozen.get(key) != UNKNOWN_OUTCOME,
        )

    def draft(self, pair: PairBook, cure: CureLeg, purpose: str, attempt: int) -> Draft:
        """An IOC order for `cure`. Reduce-only where the venue's net position, as we believe it, is on that leg's side and at
        least its size (RULES 3); else the sub-ledger alone bounds it."""
        key = (cure.instrument.venue, pair.symbol)
        touch = cure.touch if cure.touch is not None else cure.ref_px
        net = self._engine.state.lots(key)
        extra_bps = self._engine.desks[key[0]].settings.extra_cross_bps
        reach = reach_bps(attempt, self._execution)
        if purpose == "complete":
            reach = min(reach, max(0.0, self._execution.complete_slippage_bps - cure.adverse_bps))
        return Draft(
            instrument=cure.instrument,
            side=cure.side,
            lots=cure.lots,
            limit_ticks=ioc_limit_ticks(cure.instrument, cure.side, touch, self._execution, extra_bps, reach),
            time_in_force=TimeInForce.IOC,
            reduce_only=purpose != "complete" and net * cure.side.sign < 0 and abs(net) >= cure.lots,
            purpose=purpose,
            strategy=pair.plan.strategy,
            pair_id=pair.pair_id,
        )

    def touch(self, key: Key, side: Side, overdue: bool) -> float | None:
        """The canonical price `side` trades at now; None = nothing usable yet."""
        now_ns = self._engine.clock.mono_ns()
        quote = self._engine.usable_quote(key)
        if quote is not None:
            self._unusable_since.pop(key, None)
            return touch_px(quote, side)
        since_ns = self._unusable_since.setdefault(key, now_ns)
        if not overdue and now_ns - since_ns < QUOTE_WAIT_NS:
            return None
        read = self._rest.get(key)
        if read is None or now_ns - read[1] > REST_TOUCH_NS:
            self._read(key)
            return None
        return _canonical(read[0], side, self._engine.desks[key[0]].gateway.instruments()[key[1]].multiplier)

    def _read(self, key: Key) -> None:
        running = self._reading.get(key)
        if running is None or running.done():
            task = asyncio.get_running_loop().create_task(self._top_of_book(key))
            task.add_done_callback(_surface)
            self._reading[key] = task

    async def _top_of_book(self, key: Key) -> None:
        instrument = self._engine.instrument(key)
        if instrument is None:
            return
        asked_ns = self._engine.clock.mono_ns()
        try:
            top = await self._engine.desks[key[0]].gateway.top_of_book(instrument)
        except VenueError as error:
            self._engine.log.warning("book_unreadable", venue=key[0], symbol=key[1], detail=str(error))
            return
        self._rest[key] = (top, asked_ns)


def _surface(task: asyncio.Task[None]) -> None:
    """An error of ours must reach the loop's exception handler, which ends the process."""
    if not task.cancelled():
        task.result()


def _canonical(top: TopOfBook, side: Side, multiplier: int) -> float | None:
    """The touch, else the mark (RULES 5), canonical; None when the venue states neither."""
    px = (top.ask_px if side is Side.BUY else top.bid_px) or top.mark_px
    return float(px) / multiplier if px > 0 else None


def _reference(pair: PairBook, leg: PairLeg, reducing: bool, multiplier: int) -> float:
    """What a price is measured against: the leg's entry when reducing, the plan's touch when completing. Canonical."""
    plan = pair.plan.long_ref_px if leg is pair.long else pair.plan.short_ref_px
    if reducing and leg.book.booked_lots:
        return float(leg.book.avg_px) / multiplier
    return float(plan)
