"""Flatten: get out, whatever else is dead, and say truthfully what is left.

The same routine in the running executor and in `--flatten-and-exit` (no strategies, perhaps no feeds). In order:

  1. the durable halt latch, then HALTED: nothing may open behind our back (only `tandem resume` lifts it)
  2. per venue, all at once, in rounds: cancel every order, read the positions, close each reduce-only by IOC. The limit walks
     `flatten_ladder_bps` away from the touch, one step per attempt, `flatten_step_s` apart; after the last step it goes on
     at that step only as long as something fills
  3. flat is what the venue says: two readings in a row without position and without order, each begun after every order of
     ours in scope either has a known outcome or can no longer execute, and with every fill booked (read by REST where the
     private stream is away); then pairs whose legs are both gone get the time to end
  4. the residual: dust that the venue takes no order for, foreign positions (closed only with `include_foreign`), what the
     ladder did not fill, contracts that no catalogue lists any more, and venues that do not answer

A close whose outcome is unknown is never answered by a second one on trust: the next attempt waits for the step, reads the
position again and sends what is left reduce-only, which the venue shrinks or refuses when the first one did fill.

Prices: shared-memory quote if fresh, else the venue's own REST book, else its mark (RULES 5). What is ours in a position that
is partly foreign is what live pairs hold. Bounds: ROUNDS_MAX rounds and TOTAL_S in all, PATIENCE_S for a silent venue.
Refused: market orders (no bound on the price), stopping at the first venue that fails (the others wait for nothing).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from core.clock import NS_PER_S
from core.errors import RateLimited, VenueError
from core.messages import FlattenReport, ResidualPosition
from core.types import Instrument, OrderStatus, Position, Side, TimeInForce, TradingState, Venue
from executor import flatten_lots, residual
from executor.engine import Engine
from executor.exit_price import Reference, best_reference, closing_ticks
from executor.orders import Draft
from executor.outcome import RejectCode
from executor.resolver import bound_ns
from executor.state import Key, OrderState
from executor.venues.base import CancelRequest, VenueOrder

ROUNDS_MAX = 400
TOTAL_S = 150.0
PATIENCE_S = 15.0
LIMITED_S = 10.0  # at a time, for a request budget that is used up
POLL_S = 0.25
IDLE_S = 1.0
PAIRS_WAIT_S = 15.0
FILLS_OVERLAP_NS = 60 * NS_PER_S
FLAT_READINGS = 2
ORDERS_PER_CLOSE = 5
REASON = "flatten"

Sleep = Callable[[float], Awaitable[None]]

_DUST = frozenset({RejectCode.MIN_NOTIONAL.value, RejectCode.SIZE.value})
_PASSING = frozenset({RejectCode.VENUE_MODE.value, RejectCode.RATE.value, RejectCode.NONCE.value})


async def flatten(
    engine: Engine, venue: Venue | None, symbol: str | None, include_foreign: bool, sleep: Sleep = asyncio.sleep
) -> FlattenReport:
    """Close everything in scope; returns when flat, or when nothing more can be done. Never raises VenueError. `sleep` is
    asyncio's, or a simulation's."""
    engine.latch.set(REASON, engine.clock.wire_ns())
    if engine.state.trading_state is not TradingState.HALTED:
        engine.set_trading_state(TradingState.HALTED, REASON)
    scope = [each for each in engine.desks if venue in (None, each)]
    workers = [_VenueFlatten(engine, each, symbol, include_foreign, sleep) for each in scope]
    try:
        await asyncio.gather(*(worker.run() for worker in workers))
    finally:
        for worker in workers:
            engine.flattening -= worker.keys
    await _pairs_final(engine, {key for worker in workers if worker.answered for key in worker.keys}, sleep)
    # Pairs and strangers went on while other venues were still worked on.
    await asyncio.gather(*(worker.look_again() for worker in workers))
    left = tuple(position for worker in workers for position in worker.residual())
    beyond = residual.out_of_reach(engine.state, engine.desks, venue, symbol)
    left += tuple(residual.by_books(engine.state, key, "venue not enabled: by our own books") for key in beyond)
    unreachable = tuple(worker.venue for worker in workers if not worker.answered)
    unreachable += tuple(sorted({key[0] for key in beyond}))
    report = FlattenReport(command_id=None, flat=not left and not unreachable, residual=left, unreachable=unreachable)
    log = engine.log.info if report.flat else engine.log.error
    log("flatten_done", flat=report.flat, residual=len(left), unreachable=",".join(unreachable))
    return report


async def _pairs_final(engine: Engine, keys: set[Key], sleep: Sleep) -> None:
    """Give pairs whose legs were both flattened the time to end in the books; what they do not manage is on the page."""
    for _ in range(int(PAIRS_WAIT_S / POLL_S)):
        ending = [p for p in engine.state.live_pairs() if all((leg.venue, p.symbol) in keys for leg in p.legs)]
        for pair in ending:
            engine.on_pair(pair, "flattened")
        if not any(not pair.is_final for pair in ending):
            return
        await sleep(POLL_S)


class _Closing(msgspec.Struct, kw_only=True):
    """One instrument being closed."""

    step: int = 0  # on the ladder
    next_mono_ns: int = 0
    why: str = ""  # why it is left, once nothing more can be done
    reference: Reference | None = None


class _VenueFlatten:
    """One venue's rounds. `answered`: the venue has answered the newest reading in time."""

    def __init__(self, engine: Engine, venue: Venue, symbol: str | None, include_foreign: bool, sleep: Sleep) -> None:
        self.venue = venue
        self.keys: set[Key] = set()
        self.answered = False
        self._engine = engine
        self._desk = engine.desks[venue]
        self._is_wallet = self._desk.gateway.traits.wallet
        self._symbol = symbol
        self._include_foreign = include_foreign
        self._sleep = sleep
        self._closing: dict[str, _Closing] = {}
        self._positions: dict[str, Position] = {}
        self._read_ns = engine.clock.mono_ns()  # when their reading began
        self._orders: list[VenueOrder] = []  # in scope, as listed in this round
        self._began_ns = engine.clock.mono_ns()
        self._answered_ns = self._began_ns
        self._limited_s = 0.0  # how long our request budget makes us wait
        self._ladder = engine.config.execution.flatten_ladder_bps
        self._step_ns = int(engine.config.execution.flatten_step_s * NS_PER_S)

    async def run(self) -> None:
        """Rounds until flat, or until what is left cannot be closed."""
        self._claim(self._held())
        flat_readings, listing = 0, True
        for _ in range(ROUNDS_MAX):
            began_wire_ns = self._engine.clock.wire_ns()
            answered = await self._read(listing)
            now = self._engine.clock.mono_ns()
            work: list[Position] = []
            if answered:
                self._claim({(self.venue, name) for name in self._positions})
                self._answered_ns, self.answered = now, True
                await self._cancel()
                work = self._work()
                is_flat = listing and not work and not self._orders and self._nothing_can_land(began_wire_ns)
                is_flat = is_flat and self._all_booked() and not self._undecided()
                flat_readings = flat_readings + 1 if is_flat else 0
                if flat_readings >= FLAT_READINGS:
                    self._take_word()
                    return
                await asyncio.gather(*(self._close(position) for position in work))
                listing = bool(self._orders) or not work
            elif now - self._answered_ns > PATIENCE_S * NS_PER_S:
                self.answered = False
                return
            if now - self._began_ns > TOTAL_S * NS_PER_S:
                self._give_up()
                return
            await self._sleep(self._pause_s(work, hurry=bool(self._orders) or flat_readings > 0))

    def _pause_s(self, work: list[Position], *, hurry: bool) -> float:
        """Reading costs request budget: soon after something was done, else no sooner than the next step of a ladder."""
        if self._limited_s:
            return max(IDLE_S, self._limited_s)
        now = self._engine.clock.mono_ns()
        due_ns = [self._closing[position.symbol].next_mono_ns - now for position in work]
        if hurry or any(due <= 0 for due in due_ns):
            return POLL_S
        return min([IDLE_S, *(max(POLL_S, due / NS_PER_S) for due in due_ns)])

    async def look_again(self) -> None:
        """Read the positions once more, and claim nothing: pairs are at work again. What was read before stands if the venue
        does not answer now."""
        if self.answered:
            await self._read(listing=False)

    def residual(self) -> list[ResidualPosition]:
        """What is left, exactly; from our own books where the venue does not answer."""
        left = residual.unlisted(self.venue, self._desk.gateway.unlisted, self._symbol)
        if not self.answered:
            return [residual.by_books(self._engine.state, key) for key in sorted(self._held())] + left
        every = [each for each in self._positions.values() if each.lots]
        shown = [each for each in every if not self._is_wallet or flatten_lots.in_wallet(self._engine, each)]
        return [self._stated(position) for position in shown] + left

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def _read(self, listing: bool) -> bool:
        """Positions, and with `listing` the open orders in scope; False when the venue did not answer."""
        if not self._desk.started:
            return False
        gateway, asked_ns = self._desk.gateway, self._engine.clock.mono_ns()
        self._limited_s = 0.0
        try:
            orders = await gateway.open_orders() if listing else []
            positions = await gateway.positions()
            if self._differs(positions) or not self._all_booked():
                await self._book_fills()
        except RateLimited as error:  # the venue is there, it is we who must wait: no lack of an answer
            self._engine.log.warning("flatten_waits_for_budget", venue=self.venue, retry_after_s=error.retry_after_s)
            self._answered_ns = self._engine.clock.mono_ns()
            self._limited_s = min(error.retry_after_s, LIMITED_S)
            return False
        except VenueError as error:
            self._engine.log.warning("flatten_read_failed", venue=self.venue, detail=str(error))
            return False
        self._orders = [order for order in orders if self._cancels(order)]
        self._desk.note_positions(positions, asked_ns)
        self._read_ns = asked_ns
        self._positions = {each.symbol: each for each in positions if self._symbol in (None, each.symbol)}
        return True

    def _held(self) -> set[Key]:
        """Instruments in scope on which our books hold something."""
        state = self._engine.state
        keys = {key for key, position in state.positions.items() if position.book.lots}
        keys |= {(leg.venue, pair.symbol) for pair in state.live_pairs() for leg in pair.all_legs}
        return {key for key in keys if key[0] == self.venue and self._symbol in (None, key[1])}

    def _claim(self, keys: set[Key]) -> None:
        """Pairs keep their hands off these until flatten has ended."""
        self.keys |= keys
        self._engine.flattening |= keys

    def _nothing_can_land(self, began_wire_ns: int) -> bool:
        """Whether the reading that began then shows the end: no order of ours in scope can still execute after it."""
        grace_ns = int(self._engine.config.execution.unknown_grace_s * NS_PER_S)
        return all(
            began_wire_ns > bound_ns(self._desk, order) + grace_ns
            for order in self._engine.state.open_orders()
            if order.prepared.venue == self.venue and self._symbol in (None, order.prepared.symbol)
        )

    def _all_booked(self) -> bool:
        """Whether every fill that an order of ours in scope told of has been booked: pairs live on booked fills, and a pair
        that has not heard of its end would close what flatten has closed already."""
        return not any(
            order.missing_lots and order.prepared.venue == self.venue and self._symbol in (None, order.prepared.symbol)
            for order in self._engine.state.orders.values()
        )

    def _differs(self, positions: list[Position]) -> bool:
        stated = {position.symbol: position.lots for position in positions}
        if self._is_wallet:  # more than ours is nobody's business
            return any(stated.get(key[1], 0) < self._engine.state.lots(key) for key in self.keys)
        return any(self._engine.state.lots(key) != stated.get(key[1], 0) for key in self.keys)

    async def _book_fills(self) -> None:
        """The private stream may be away just now: read what it has not told."""
        state = self._engine.state
        since = [o.prepared.wire_ns for o in state.orders.values() if o.missing_lots and o.prepared.venue == self.venue]
        newest = state.newest_fill_ns.get(self.venue) or self._engine.clock.wire_ns()
        for fill in await self._desk.gateway.fills_since(min([newest, *since]) - FILLS_OVERLAP_NS):
            self._engine.on_fill(fill)

    def _take_word(self) -> None:
        """The venue has said flat twice with nothing in flight: where our books still hold something, its word replaces ours
        before pairs may look at their legs again."""
        doubtful = {order.key for order in self._engine.state.open_orders()}
        for key in self.keys - doubtful:
            stated = self._positions.get(key[1])
            if self._has_books(key) and (stated is None or not stated.lots):
                self._engine.adopt(key, 0, foreign=False, why="flattened: the venue says flat", cleared=True)

    def _has_books(self, key: Key) -> bool:
        """Whether our books hold anything there: also legs that stand against each other, whose sum is nothing."""
        state = self._engine.state
        legs = (pair.leg(key[0]) for pair in state.live_pairs() if pair.symbol == key[1])
        return bool(state.sub_ledgers(key)) or any(leg is not None and leg.lots for leg in legs)

    # ---- orders -----------------------------------------------------------------------------------------------------

    def _cancels(self, order: VenueOrder) -> bool:
        """Ours always. Foreign ones too, unless they stand beside a foreign position that is to stay (its stop, perhaps), or in
        a wallet, whose other coins are the owner's."""
        if self._symbol not in (None, order.symbol):
            return False
        if self._include_foreign or self._engine.is_ours(self.venue, order.client_order_id):
            return True
        known = self._engine.state.positions.get((self.venue, order.symbol))
        return not self._is_wallet and (known is None or not known.foreign)

    async def _cancel(self) -> None:
        requests = []
        for order in self._orders:
            instrument = self._engine.instrument((self.venue, order.symbol))
            if instrument is not None:
                requests.append(
                    CancelRequest(
                        instrument=instrument,
                        client_order_id=order.client_order_id or "",
                        venue_order_id=order.venue_order_id,
                    )
                )
        await asyncio.gather(*(self._engine.cancel(self.venue, request) for request in requests))

    # ---- positions --------------------------------------------------------------------------------------------------

    def _our_lots(self, position: Position) -> int:
        """Signed lots of the position that flatten may close."""
        return flatten_lots.closable(self._engine, position, self._read_ns, include_foreign=self._include_foreign)

    def _undecided(self) -> bool:
        return any(
            flatten_lots.undecided(self._engine, position, self._read_ns, include_foreign=self._include_foreign)
            for position in self._positions.values()
        )

    def _work(self) -> list[Position]:
        """Positions that still can and may be closed."""
        return [
            position
            for position in self._positions.values()
            if self._our_lots(position) and not self._closing.setdefault(position.symbol, _Closing()).why
        ]

    async def _close(self, position: Position) -> None:
        """One attempt, when its step is due."""
        closing, now = self._closing[position.symbol], self._engine.clock.mono_ns()
        instrument = self._engine.instrument((self.venue, position.symbol))
        if instrument is None:
            closing.why = "the venue lists no such contract"
            return
        if now < closing.next_mono_ns:
            return
        quote = self._engine.quote((self.venue, position.symbol))
        closing.reference = await best_reference(quote, self._desk.gateway, instrument, position.mark_px)
        if closing.reference is None:
            return
        step = min(closing.step, len(self._ladder) - 1)
        orders = []
        for draft in self._drafts(instrument, self._our_lots(position), closing.reference, self._ladder[step]):
            order = await self._engine.place(draft)
            if order is None:
                return
            orders.append(order)
        closing.next_mono_ns = self._engine.clock.mono_ns() + self._step_ns
        self._advance(closing, orders)

    def _drafts(self, instrument: Instrument, lots: int, reference: Reference, beyond_bps: float) -> list[Draft]:
        """Reduce-only IOC orders for `lots` (signed), split where the venue bounds an order's size."""
        side = Side.SELL if lots > 0 else Side.BUY
        ticks = closing_ticks(instrument, side, reference.touch(side), beyond_bps)
        most = int(instrument.max_qty / instrument.lot_size) if instrument.max_qty else abs(lots)
        drafts: list[Draft] = []
        left = abs(lots)
        while left and len(drafts) < ORDERS_PER_CLOSE:
            part = min(left, max(1, most))
            left -= part
            drafts.append(
                Draft(
                    instrument=instrument,
                    side=side,
                    lots=part,
                    limit_ticks=ticks,
                    time_in_force=TimeInForce.IOC,
                    reduce_only=True,
                    purpose="flatten",
                    strategy="",
                )
            )
        return drafts

    def _advance(self, closing: _Closing, orders: list[OrderState]) -> None:
        """Next step of the ladder, or the reason why there is none."""
        filled = sum(order.filled_lots for order in orders)
        if not filled and any(o.code in _PASSING or o.status is OrderStatus.NOT_SENT for o in orders):
            return  # the price was not the reason: the same step again
        if any(order.code in _DUST for order in orders) and not filled:
            closing.why = "dust: below the venue's smallest order"
            return
        if all(order.status is OrderStatus.FILLED for order in orders):
            closing.next_mono_ns = 0
            return
        if closing.step + 1 < len(self._ladder):
            closing.step += 1
        elif not filled and not any(order.status is OrderStatus.UNKNOWN for order in orders):
            closing.why = "not filled within the price ladder"

    # ---- what is left -----------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        for closing in self._closing.values():
            closing.why = closing.why or f"not closed within {TOTAL_S:.0f} s"

    def _stated(self, position: Position) -> ResidualPosition:
        closing = self._closing.get(position.symbol)
        if closing is not None and closing.why:
            why = closing.why
        else:
            why = "open" if self._our_lots(position) else "foreign"
        instrument = self._engine.instrument((self.venue, position.symbol))
        if self._is_wallet:
            position = msgspec.structs.replace(position, lots=flatten_lots.in_wallet(self._engine, position))
        return residual.stated(position, instrument, closing.reference if closing else None, why)
