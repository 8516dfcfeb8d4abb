"""Reconciliation: what the venues say against what the journal believes, at start and for ever after.

One loop per venue, at the pace that its request budget allows (`reconcile_interval_s`; while something is in doubt, faster).
A light reading is positions and balance. A full reading adds fills since the newest known (with OVERLAP_NS, de-duplicated by
trade id), open orders and funding; it runs every FULL_EVERY readings, at start, after the private stream was away, whenever
a difference or a doubt needs it. Order inside one reading: positions first, fills after, so a fill that the position
contains is booked before anybody calls the difference unexplained.

What follows from a reading:
  fills            booked once, from whatever source came first
  open orders      ours by prefix but unknown to the journal: adopted, then cancelled; ours from a dead epoch, or ours that
                   the journal holds for finished: cancelled; foreign: counted and reported, left alone
  orders in doubt  ruled on by executor.resolver and executor.doubt (nobody else resolves an UNKNOWN)
  nobody's lots    ours, but of no live pair: alarmed and closed by executor.naked
  positions        the venue has the last word once executor.differences believes the difference: smaller than ours (closed
                   by liquidation, ADL, by hand) is adopted and the pair's other leg shrinks; larger, or the other way
                   round, is FOREIGN: adopted as such, frozen, alarmed, and closed only where the configuration says so
  wallets          of a spot venue may hold more than we bought (executor.wallets): never foreign; less is a difference
  fills not told   by a private stream that is said to be up: it is called silent after a bound (executor.desk)
  balance          stored with the time its request was sent; blind legs are counted from there (RULES 5)

Start-up is the same reading, repeated until no difference waits for its second sighting; orders that were on their way when
the last process ended are UNKNOWN by then (Engine.recover). A venue that cannot be read stays unreconciled, its opens
denied, and is tried again for ever.

What breaks it: judging a position while an order is in flight, adopting on one sighting, or sending anything twice because
an answer was lost. Refused: trusting the private stream's positions (they come without the time of their reading).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import RateLimited, VenueError
from core.types import OrderStatus, Position, TimeInForce, Venue
from executor.blind import BlindLegs
from executor.differences import CONFIRM_NS, SETTLED_NS, Differences, GivenUp, Judgement, behind
from executor.doubt import CLOCKS_APART_NS
from executor.engine import Engine
from executor.foreign import ForeignPositions
from executor.journal import JournalError
from executor.leverage import LeverageKeeper
from executor.naked import NakedPositions
from executor.registrar import FOREIGN_POSITION
from executor.resolver import Resolved, Resolver
from executor.resting import RestingOrders
from executor.state import Key
from executor.venues.base import VenueOrder

FULL_EVERY = 6
OVERLAP_NS = 60 * NS_PER_S
FIRST_MARGIN_NS = 250 * NS_PER_MS  # before our first order, by the venue's clock as it was measured
FUNDING_EVERY_NS = 60 * NS_PER_S
DOUBT_PAUSE_S = 0.1
IDLE_PAUSE_S = 0.5
START_READINGS = 12
HINT_GAP_NS = 2 * NS_PER_S
LEVERAGE_AT_START = 32
LEVERAGE_PER_READING = 2
COMPLAIN_EVERY_NS = 60 * NS_PER_S
"""A reading that keeps failing is told when it begins to, and then this often with how many failed meanwhile."""


Sleep = Callable[[float], Awaitable[None]]


class _Before(NamedTuple):
    """What we believed when a reading began."""

    mono_ns: int
    wire_ns: int
    lots: dict[Key, int]


class _Watch:
    """One venue's running state."""

    def __init__(self, engine: Engine, venue: Venue, resolver: Resolver) -> None:
        self.resolver = resolver
        self.resting = RestingOrders(engine, venue, resolver)
        self.leverage = LeverageKeeper(engine, venue)
        self.differences = Differences()
        self.given_up = GivenUp()
        self.behind: set[Key] = set()  # instruments that the newest reading shows as they were
        self.unsettled = False  # some difference was too young to be judged
        self.naked = NakedPositions(engine, venue)
        self.foreign = ForeignPositions(engine, venue)
        self.blind = BlindLegs(engine, venue)
        self.wake = asyncio.Event()
        self.full_due = True
        self.readings = 0
        self.next_reading_ns = 0
        self.read_mono_ns = 0  # when the newest reading began
        self.answered_mono_ns = engine.clock.mono_ns()  # when the venue last answered a reading
        self.funding_mono_ns = 0
        self.warned_blind = False
        self.paged_blind = False
        self.warned_clock = False
        self.complained_mono_ns = 0  # when a failed reading was last told; 0 = the last one succeeded
        self.failed = 0  # readings since then


class Reconciler:
    """See the module text. `resolved` hears of every order that left doubt; `sleep` is asyncio's, or a simulation's."""

    def __init__(self, engine: Engine, resolved: Resolved, sleep: Sleep = asyncio.sleep) -> None:
        self._engine = engine
        self._sleep = sleep
        self._began_ns = engine.clock.mono_ns()
        self._watches = {venue: _Watch(engine, venue, Resolver(engine, venue, resolved)) for venue in engine.desks}

    async def recover(self, venue: Venue) -> bool:
        """Start-up reconciliation; True = this venue is reconciled. Orders still in doubt stay frozen and are worked on by
        `run`; everything else agrees with the venue, or was adopted."""
        watch, desk = self._watches[venue], self._engine.desks[venue]
        for _ in range(START_READINGS):
            if not await self.read(venue, full=True):
                return False
            await watch.resolver.turn(0)
            if not watch.differences.pending and not watch.unsettled:
                break
            await self._sleep(1.0 if watch.unsettled else CONFIRM_NS / NS_PER_S)
        await watch.leverage.turn(LEVERAGE_AT_START)
        desk.reconciled = not watch.differences.pending and not watch.unsettled
        self._engine.log.info(
            "venue_reconciled" if desk.reconciled else "venue_unreconciled",
            venue=venue,
            in_doubt=len(watch.resolver.in_doubt()),
            foreign_orders=watch.resting.foreign,
        )
        return desk.reconciled

    def wake(self, venue: Venue) -> None:
        """Something suggests that the venue should be read now: an order in doubt, the stream back, a position pushed. At
        most one reading per HINT_GAP_NS comes of it; orders in doubt are asked about at once."""
        watch = self._watches[venue]
        watch.full_due = True
        watch.next_reading_ns = min(watch.next_reading_ns, watch.read_mono_ns + HINT_GAP_NS)
        watch.wake.set()

    def foreign_orders(self, venue: Venue) -> int:
        """Open orders that are not ours, as last listed."""
        return self._watches[venue].resting.foreign

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile every venue until `stop`; one venue's silence never delays another."""
        async with asyncio.TaskGroup() as group:
            for venue in self._watches:
                group.create_task(self._watch_venue(venue, stop))

    async def turn(self, venue: Venue) -> None:
        """One turn of a venue's loop: doubts, then a reading when one is due, then the health checks."""
        watch, desk = self._watches[venue], self._engine.desks[venue]
        now = self._engine.clock.mono_ns()
        if desk.started:
            try:
                if not desk.reconciled and now >= watch.next_reading_ns:
                    await self.recover(venue)
                elif desk.reconciled:
                    await watch.resolver.turn(now - watch.answered_mono_ns)
                    if self._reading_due(venue):
                        await self.read(venue, full=self._full_due(venue))
                        await watch.leverage.turn(LEVERAGE_PER_READING)
                        await watch.resolver.turn(self._engine.clock.mono_ns() - watch.answered_mono_ns)
            except JournalError as error:
                self._engine.log.error("reconcile_not_journaled", venue=venue, detail=str(error))
        self._health(venue)

    async def read(self, venue: Venue, *, full: bool) -> bool:
        """One reading of a venue and everything that follows from it; False when the venue did not answer."""
        watch, desk = self._watches[venue], self._engine.desks[venue]
        interval_ns = int(desk.settings.reconcile_interval_s * NS_PER_S)
        before = self._before(venue)
        watch.next_reading_ns = before.mono_ns + interval_ns
        watch.read_mono_ns = before.mono_ns
        try:
            positions = await desk.gateway.positions()
            balance = await desk.gateway.balance()
            watch.behind = set()
            orders = await self._read_rest(venue, before) if full else None
        except RateLimited as error:
            watch.next_reading_ns = before.mono_ns + max(interval_ns, int(error.retry_after_s * NS_PER_S))
            self._complain(venue, "reconcile_postponed", retry_after_s=error.retry_after_s)
            return False
        except VenueError as error:
            self._complain(venue, "reconcile_failed", kind=type(error).__name__, detail=str(error))
            return False
        watch.readings += 1
        watch.complained_mono_ns = watch.failed = 0
        watch.answered_mono_ns = self._engine.clock.mono_ns()
        watch.full_due = watch.full_due and not full
        desk.note_positions(positions, before.mono_ns)
        desk.note_balance(balance, before.mono_ns)
        for position in positions:
            if position.leverage:
                desk.leverage[position.symbol] = position.leverage
        self._compare(venue, positions, before)
        if orders is not None:
            watch.full_due = await watch.resting.judge(orders, before.wire_ns)
        if watch.differences.pending or watch.naked.suspects() or watch.foreign.wants_reading():
            watch.full_due = True
            watch.next_reading_ns = min(watch.next_reading_ns, before.mono_ns + CONFIRM_NS)
        return True

    def _complain(self, venue: Venue, event: str, **fields: object) -> None:
        watch, now = self._watches[venue], self._engine.clock.mono_ns()
        watch.failed += 1
        if watch.complained_mono_ns and now - watch.complained_mono_ns < COMPLAIN_EVERY_NS:
            return
        self._engine.log.warning(event, venue=venue, failed=watch.failed, **fields)
        watch.complained_mono_ns, watch.failed = now, 0

    # ---- when -------------------------------------------------------------------------------------------------------

    async def _watch_venue(self, venue: Venue, stop: asyncio.Event) -> None:
        watch = self._watches[venue]
        while not stop.is_set():
            watch.wake.clear()
            await self.turn(venue)
            pause = DOUBT_PAUSE_S if watch.resolver.in_doubt() or watch.differences.pending else IDLE_PAUSE_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await watch.wake.wait()

    def _reading_due(self, venue: Venue) -> bool:
        watch = self._watches[venue]
        now = self._engine.clock.mono_ns()
        if watch.naked.suspects() or watch.foreign.wants_reading():
            watch.next_reading_ns = min(watch.next_reading_ns, watch.read_mono_ns + HINT_GAP_NS)
        answered_for_doubt = now - watch.answered_mono_ns >= CONFIRM_NS and watch.resolver.wants_reading()
        return now >= watch.next_reading_ns or answered_for_doubt

    def _full_due(self, venue: Venue) -> bool:
        watch = self._watches[venue]
        missing = any(
            order.missing_lots for order in self._engine.state.orders.values() if order.prepared.venue == venue
        )
        desk = self._engine.desks[venue]
        stream_away = not desk.stream_up or desk.stream_silent
        regular = watch.readings % FULL_EVERY == 0
        return watch.full_due or regular or missing or stream_away or bool(watch.resolver.in_doubt())

    # ---- reading ----------------------------------------------------------------------------------------------------

    def _before(self, venue: Venue) -> _Before:
        state, clock = self._engine.state, self._engine.clock
        lots = {key: position.book.lots for key, position in state.positions.items() if key[0] == venue}
        return _Before(clock.mono_ns(), clock.wire_ns(), lots)

    async def _read_rest(self, venue: Venue, before: _Before) -> list[VenueOrder]:
        """Fills, funding and open orders; fills and payments are booked as they come."""
        watch, gateway = self._watches[venue], self._engine.desks[venue].gateway
        began = self._engine.clock.wire_ns()
        from_ns, known = self._fills_from_ns(venue), tuple(self._engine.recent_fills)
        fills = await gateway.fills_since(min(from_ns - CLOCKS_APART_NS, self._lost_from_ns(began)))
        fills = [fill for fill in fills if fill.ts_ns >= from_ns or self._engine.is_ours(venue, fill.client_order_id)]
        ours = (fill for fill in known if fill.venue == venue)
        watch.behind = behind(ours, fills, from_ns + FIRST_MARGIN_NS, began + gateway.clock_offset_ns)
        for fill in sorted(fills, key=lambda fill: fill.ts_ns):
            if self._engine.on_fill(fill):
                self._engine.desks[venue].note_fill_read(fill.ts_ns, self._engine.clock.mono_ns())
        watch.resolver.note_fills_read(began)
        if not watch.funding_mono_ns or before.mono_ns - watch.funding_mono_ns >= FUNDING_EVERY_NS:
            newest = self._engine.state.newest_funding_ns.get(venue, 0)
            for payment in await gateway.funding_since(newest - OVERLAP_NS if newest else self._fills_from_ns(venue)):
                self._engine.on_funding(payment)
            watch.funding_mono_ns = before.mono_ns
        return await gateway.open_orders()

    def _lost_from_ns(self, began_wire_ns: int) -> int:
        """From when to read fills of orders that a power loss may have taken out of the journal, the first one perhaps: of those
        only the id tells that they are ours."""
        young = self._engine.clock.mono_ns() - self._began_ns < OVERLAP_NS
        return began_wire_ns - OVERLAP_NS if young and self._engine.state.epoch > 1 else began_wire_ns

    def _fills_from_ns(self, venue: Venue) -> int:
        """From the newest fill we know, with an overlap, but not from before our oldest order there; without a fill from that
        order; without that from now. An account's earlier life is not ours: what it left is in the positions already, and a fill
        of it would be counted twice."""
        state = self._engine.state
        newest = state.newest_fill_ns.get(venue, 0)
        ours = [order.prepared.wire_ns for order in state.orders.values() if order.prepared.venue == venue]
        if not ours:
            return newest - OVERLAP_NS if newest else self._engine.clock.wire_ns()
        began = min(ours) + min(0, self._engine.desks[venue].gateway.clock_offset_ns) - FIRST_MARGIN_NS
        return max(newest - OVERLAP_NS, began)

    # ---- positions --------------------------------------------------------------------------------------------------

    def _compare(self, venue: Venue, positions: list[Position], before: _Before) -> None:
        """Judge every instrument that the venue or we hold."""
        watch, state, wallet = self._watches[venue], self._engine.state, self._engine.desks[venue].wallet
        stated = {(venue, position.symbol): position.lots for position in positions}
        held = {key for key, position in state.positions.items() if key[0] == venue and position.book.lots}
        doubtful = {order.key for order in watch.resolver.in_doubt()}
        agreed: set[Key] = set()
        watch.unsettled = False
        frozen = {key for key, why in state.frozen.items() if key[0] == venue and why == FOREIGN_POSITION}
        for key in sorted(set(stated) | held | doubtful | frozen):
            venue_lots, ours = stated.get(key, 0), state.lots(key)
            after = watch.resolver.judged_after_wire_ns(key)
            if wallet is not None:
                venue_lots = wallet.lots(key, venue_lots, ours, in_doubt=after is not None)
            quiet = (
                before.lots.get(key, 0) == ours
                and not self._in_flight(key)
                and (key not in self._engine.flattening if after is None else before.wire_ns > after)
            )
            if quiet and venue_lots != ours and (key in watch.behind or not self._is_settled(key, before)):
                quiet, watch.unsettled = False, True
            judgement = watch.differences.judge(key, venue_lots, ours, before.mono_ns, quiet=quiet)
            if judgement is Judgement.PENDING:
                continue
            if after is not None:
                watch.resolver.note_excess(key, venue_lots - ours)
            elif judgement is Judgement.DIFFERS:
                self._adopt(key, venue_lots, ours)
            else:
                self._release(key, venue_lots)
                agreed.add(key)
                # A reading that lacks our newest sale agrees too (more than ours is fine), yet shows our coins as the owner's.
                if wallet is not None and key not in watch.behind and self._is_settled(key, before):
                    wallet.note_agreed(key, stated.get(key, 0), ours)
        watch.naked.judge(positions, before.mono_ns, agreed)
        watch.foreign.judge(positions, agreed)

    def _is_settled(self, key: Key, before: _Before) -> bool:
        """Whether the newest fill that we know there is old enough for readings to contain it. Of fills that an earlier process
        learnt of only their time is known, and that for the whole venue."""
        known_ns = self._engine.filled_mono_ns.get(key)
        if known_ns is not None:
            return before.mono_ns - known_ns >= SETTLED_NS
        young = before.mono_ns - self._began_ns < 2 * SETTLED_NS
        return not young or before.wire_ns - self._engine.state.newest_fill_ns.get(key[0], 0) >= SETTLED_NS

    def _release(self, key: Key, venue_lots: int) -> None:
        """Venue and journal agree: what was frozen as foreign is free again once pairs explain all of it."""
        engine = self._engine
        held = engine.state.positions.get(key)
        legs = [pair.leg(key[0]) for pair in engine.state.live_pairs() if pair.symbol == key[1]]
        if venue_lots != sum(leg.lots for leg in legs if leg is not None):
            return
        if held is not None and held.foreign:
            engine.adopt(key, venue_lots, foreign=False, why="the foreign part is gone")
        if engine.state.frozen.get(key) == FOREIGN_POSITION:
            engine.unfreeze(key, "the foreign position is gone")

    def _in_flight(self, key: Key) -> bool:
        """Whether an order of ours may be changing this position right now; one in doubt has its own rules."""
        doubtful = {order.client_order_id for order in self._watches[key[0]].resolver.in_doubt()}
        return any(
            order.key == key
            and order.client_order_id not in doubtful
            and (order.status is not OrderStatus.ACCEPTED or order.prepared.time_in_force is TimeInForce.IOC)
            for order in self._engine.state.open_orders()
        )

    def _adopt(self, key: Key, venue_lots: int, ours: int) -> None:
        engine = self._engine
        if engine.instrument(key) is None and key not in engine.state.contracts:
            engine.log.error("position_without_contract", venue=key[0], symbol=key[1], venue_lots=venue_lots)
            return
        known = engine.state.positions.get(key)
        was_foreign = known is not None and known.foreign
        grew = abs(venue_lots) > abs(ours) or venue_lots * ours < 0
        given_up, now = self._watches[key[0]].given_up, engine.clock.mono_ns()
        if grew and given_up.is_back(key, venue_lots, now):
            engine.adopt(key, venue_lots, foreign=was_foreign, why="back at the venue: it had been given up too soon")
            engine.log.error("position_back", venue=key[0], symbol=key[1], venue_lots=venue_lots, our_lots=ours)
            return
        foreign = venue_lots != 0 and (grew or was_foreign)
        why = "larger at the venue than our records explain" if grew else "smaller at the venue than our records say"
        engine.adopt(key, venue_lots, foreign=foreign, why=why)
        fields = {"venue": key[0], "symbol": key[1], "venue_lots": venue_lots, "our_lots": ours, "detail": why}
        if not grew:
            given_up.note(key, ours, now)
            engine.log.error("position_smaller", **fields)
            return
        engine.log.error("foreign_position", **fields, policy=engine.config.execution.foreign_positions)

    # ---- health -----------------------------------------------------------------------------------------------------

    def _health(self, venue: Venue) -> None:
        """Blind legs, clocks and silent streams: one line when a bound is crossed, one when it is well again. Opens
        are denied by the limits, which read the same figures; a page is an error line and its metric."""
        engine, watch, desk = self._engine, self._watches[venue], self._engine.desks[venue]
        execution = engine.config.execution
        now = engine.clock.mono_ns()
        blind_s = min(desk.blind_ns(now), now - self._began_ns) / NS_PER_S
        if blind_s > execution.blind_page_s and not watch.paged_blind:
            watch.paged_blind = True
            engine.log.error("venue_blind_page", venue=venue, blind_s=round(blind_s, 1), reason=desk.down_reason)
        if blind_s > execution.blind_page_s:
            watch.blind.turn()
        if blind_s > execution.blind_stop_s and not watch.warned_blind:
            watch.warned_blind = True
            engine.log.warning("venue_blind", venue=venue, blind_s=round(blind_s, 1), reason=desk.down_reason)
        if blind_s <= execution.blind_stop_s and (watch.warned_blind or watch.paged_blind):
            watch.warned_blind = watch.paged_blind = False
            engine.log.info("venue_readable", venue=venue)
        offset_ms = desk.gateway.clock_offset_ns / 1e6 if desk.started else 0.0
        skewed = abs(offset_ms) > execution.max_clock_offset_ms
        if skewed and not watch.warned_clock:
            engine.log.error("clock_skew", venue=venue, clock_offset_ms=round(offset_ms, 1))
        watch.warned_clock = skewed
        if desk.is_stream_overdue(now) and not desk.stream_silent:
            desk.stream_silent = True
            engine.log.error("private_stream_silent", venue=venue, detail="fills were read that it never told")
