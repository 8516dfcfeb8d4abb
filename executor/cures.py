"""What a pair could send now, priced: the bridge between the pure choice (executor.repair) and the engine's world.

A price comes from the shared-memory quote if it is usable; when that has been of no use for QUOTE_WAIT_NS, or the pair is
overdue, from the venue's own book by REST, read in the background and used for REST_TOUCH_NS (RULES 5). A venue that quotes
before it trades has no other price than its live quote for exactly the size (executor.quotes).

What a leg may sell is what its ledger holds. On a wallet that is not enough: somebody may have moved coins, so it is also what
the wallet was last read to hold, where that reading is newer than our last order there (RULES 3, 11).
"""

from __future__ import annotations

import asyncio
import itertools
from decimal import Decimal

from core.clock import NS_PER_S
from core.errors import VenueError, invariant
from core.numeric import BPS, ceil_to, floor_to, from_float
from core.types import Instrument, Side, TimeInForce
from executor.engine import Engine
from executor.orders import Draft
from executor.pricing import ioc_limit_ticks, reach_bps, touch_px
from executor.quotes import Quotes
from executor.registrar import UNKNOWN_OUTCOME
from executor.repair import CureLeg
from executor.state import Key, PairBook, PairLeg
from executor.venues.base import LiveQuote, TopOfBook

QUOTE_WAIT_NS = 2 * NS_PER_S
REST_TOUCH_NS = 2 * NS_PER_S
RECENT_ORDERS = 64


class Cures:
    """Prices and drafts of single legs. Reads the engine; its REST reads are one at a time per instrument."""

    def __init__(self, engine: Engine, quotes: Quotes) -> None:
        self._engine = engine
        self._execution = engine.config.execution
        self._quotes = quotes
        self._unusable_since: dict[Key, int] = {}  # mono ns
        self._rest: dict[Key, tuple[TopOfBook, int]] = {}  # and when it was asked for, mono ns
        self._reading: dict[Key, asyncio.Task[None]] = {}

    def leg(
        self, pair: PairBook, leg: PairLeg, qty: Decimal, *, reducing: bool, overdue: bool, quoting: bool = True
    ) -> CureLeg | None:
        """Trading `qty` (canonical, unsigned) of `leg` now, down or up; None while its venue lists no such contract. `quoting`:
        whether a venue that quotes first may be asked."""
        engine = self._engine
        key = (leg.venue, pair.symbol)
        instrument = engine.instrument(key)
        if instrument is None:
            return None
        side = leg.way_out if reducing else leg.side
        lots = instrument.qty_to_lots(qty)
        if reducing:
            lots = min(lots, abs(leg.lots))
        if instrument.max_qty:
            lots = min(lots, int(instrument.max_qty / instrument.lot_size))
        desk = engine.desks[leg.venue]
        ready = desk.reconciled and desk.gateway.entry_ready and desk.gateway.may_send(True)
        if reducing and engine.state.overclaimed(key) * leg.lots > 0:
            ready = False  # once more would open the opposite
            engine.on_hint(leg.venue, "position does not cover a leg")
        held = self._wallet_lots(key) if side is Side.SELL else None
        if held is not None and held < lots:
            engine.on_hint(leg.venue, "the wallet holds less than a leg")
            lots, ready = (held, ready) if held >= self._least(instrument, leg) else (lots, False)
        quoting = quoting and desk.gateway.traits.quotes_first and ready
        quote = self._quotes.ask(key, side, lots) if quoting else None
        return CureLeg(
            instrument=instrument,
            side=side,
            lots=lots,
            touch=float(quote.px) / instrument.multiplier if quote is not None else self.touch(key, side, overdue),
            ref_px=_reference(pair, leg, reducing, instrument.multiplier),
            taker_fee=desk.taker_fee,
            extra_bps=desk.settings.extra_cross_bps,
            reducing=reducing,
            quote=quote,
            sendable=ready and engine.state.frozen.get(key) != UNKNOWN_OUTCOME,
        )

    def draft(self, pair: PairBook, cure: CureLeg, purpose: str, attempt: int) -> Draft:
        """An IOC order for `cure`, or the acceptance of its quote. Reduce-only where the venue's net position, as we believe it,
        is on that leg's side and at least its size (RULES 3); else the sub-ledger alone bounds it. What other orders of ours
        are taking from the position meanwhile is left to the venue: it shrinks a reduce-only order, and the next round asks
        for the rest."""
        key = (cure.instrument.venue, pair.symbol)
        leg = pair.leg(key[0])
        invariant(
            not cure.reducing or leg is None or (cure.side.sign * leg.lots < 0 and cure.lots <= abs(leg.lots)),
            f"{cure.side.value} {cure.lots} does not reduce a leg of {leg.lots if leg is not None else 0}",
        )
        if cure.quote is not None:
            self._quotes.take(key)
        return Draft(
            instrument=cure.instrument,
            side=cure.side,
            lots=cure.lots,
            limit_ticks=self._limit_ticks(cure, attempt),
            time_in_force=TimeInForce.IOC,
            reduce_only=cure.reducing and self.is_covered(key, cure.side, cure.lots),
            purpose=purpose,
            strategy=pair.plan.strategy,
            pair_id=pair.pair_id,
            quote_id=cure.quote.quote_id if cure.quote is not None else "",
        )

    def is_covered(self, key: Key, side: Side, lots: int) -> bool:
        """Whether an order of `side` and `lots` only reduces the account's net position."""
        return -self._engine.state.lots(key) * side.sign >= lots

    def _limit_ticks(self, cure: CureLeg, attempt: int) -> int:
        instrument, touch = cure.instrument, cure.touch if cure.touch is not None else cure.ref_px
        if cure.quote is not None:
            return quoted_ticks(cure.quote, instrument)
        extra_bps = self._engine.desks[instrument.venue].settings.extra_cross_bps
        reach = reach_bps(attempt, self._execution)
        bound_bps = self._execution.complete_slippage_bps
        if cure.reducing:
            return ioc_limit_ticks(instrument, cure.side, touch, self._execution, extra_bps, reach)
        reach = min(reach, max(0.0, bound_bps - cure.adverse_bps))
        ticks = ioc_limit_ticks(instrument, cure.side, touch, self._execution, extra_bps, reach)
        if cure.adverse_bps > bound_bps:
            return ticks  # only where nothing else is left (executor.repair)
        worst_px = from_float(cure.ref_px * (1 + cure.side.sign * bound_bps * BPS)) * instrument.multiplier
        worst = instrument.px_to_ticks(worst_px, cure.side)
        return min(ticks, worst) if cure.side is Side.BUY else max(ticks, worst)

    def _wallet_lots(self, key: Key) -> int | None:
        """What the wallet holds, as read after our last order there; None where there is no wallet, or no such reading."""
        engine, desk = self._engine, self._engine.desks[key[0]]
        if not desk.gateway.traits.wallet or not desk.positions_mono_ns:
            return None
        read_wire_ns = desk.positions_mono_ns + engine.clock.wire_ns() - engine.clock.mono_ns()
        newest = itertools.islice(reversed(engine.state.orders.values()), RECENT_ORDERS)
        if any(order.key == key and order.moved_wire_ns >= read_wire_ns for order in newest):
            return None
        stated = desk.positions.get(key[1])
        return max(0, stated.lots) if stated is not None else 0

    def _least(self, instrument: Instrument, leg: PairLeg) -> int:
        quote = self._engine.usable_quote((instrument.venue, instrument.symbol))
        px = from_float(quote.bid_px) * instrument.multiplier if quote is not None else leg.book.avg_px
        return instrument.min_lots(px) if px > 0 else 1

    def touch(self, key: Key, side: Side, overdue: bool) -> float | None:
        """The canonical price `side` trades at now; None = nothing usable yet, or no book."""
        if self._engine.desks[key[0]].gateway.traits.quotes_first:
            return None
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


def quoted_ticks(quote: LiveQuote, instrument: Instrument) -> int:
    """The quoted price as a limit, rounded away from us: it must cover the price that is accepted."""
    rounded = ceil_to if quote.side is Side.BUY else floor_to
    return max(1, rounded(quote.px, instrument.tick_size))


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
