"""Pairs: two legs as one, from both IOC orders at once to both legs flat.

`look(pair)` is the whole protocol. It is called whenever something that concerns a pair has happened (an order moved, a fill
came, a leg was changed from outside) and by `tick`; it derives what to do from the state alone, so a restart, a repeated
event or an event out of order ends in the same place:

    an order in flight            wait: nothing is decided on half an answer
    an order UNKNOWN              pair UNKNOWN: neither complete nor unwind until reconciliation has resolved it
    asked to close                send what is left of both legs, again and again, until flat or dust
    both legs empty               ABORTED (nothing ever filled) or CLOSED
    legs agree                    OPEN
    legs differ                   complete or unwind (executor.repair), one new order at a time

Every repair is a new order with a new client id, sent only after all earlier orders of the pair are final. Attempts are
paced (PACE_NS, doubling to PACE_MAX_NS) and counted (ATTEMPTS_MAX, then a page and the operator; a close request counts
afresh). The unhedged clock is wire time out of the journal, not mono: it goes on over a restart.

Refused: a task per pair that awaits its answers (a fill before the answer, a late fill after the end, or a restart would each
need a second way), and hedging on the first answer (the second is milliseconds away; acting on it doubles the leg).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.costs import mid_gap_bps
from core.ids import CommandId
from core.messages import FINAL_PAIR, OpenPair, PairStatus
from core.numeric import floor_to, from_float, least_common_lot
from core.types import Instrument, OrderStatus, Quote, Side, TimeInForce, TradingState
from executor.cures import Cures
from executor.engine import Engine
from executor.orders import Draft
from executor.records import PairMoved, PairPlanned, UnhedgedMeasured
from executor.repair import Cure, CureLeg, choose
from executor.reports import pair_now
from executor.state import OrderState, PairBook, PairLeg

PACE_NS = 100 * NS_PER_MS
PACE_MAX_NS = 5 * NS_PER_S
ATTEMPTS_MAX = 100
COMPLETES_MAX = 2
FILLS_WAIT_NS = 10 * NS_PER_S
"""How long a flat pair waits for the fills behind its answers before it is closed with its result unknown."""

_IN_FLIGHT = (OrderStatus.PREPARED, OrderStatus.SUBMITTED, OrderStatus.ACCEPTED)


class Runtime(msgspec.Struct, kw_only=True):
    """What a pair needs between two looks and may lose in a restart."""

    attempts: int = 0
    completes: int = 0
    next_mono_ns: int = 0
    warned: bool = False
    overdue: bool = False
    exhausted: bool = False
    flat_mono_ns: int = 0
    close_command: CommandId | None = None


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What admission allowed: both instruments, both quotes as re-read just before signing, and the size."""

    long: Instrument
    short: Instrument
    long_quote: Quote
    short_quote: Quote
    qty: Decimal  # canonical
    bound_by: str


class Pairs:
    """Only writer of pair moves. `tick` is called every PACE_NS or so."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._execution = engine.config.execution
        self._runtime: dict[str, Runtime] = {}
        self._cures = Cures(engine)
        engine.on_pair = self.look

    # ---- wishes -----------------------------------------------------------------------------------------------------

    def open(self, command: OpenPair, ticket: Ticket) -> PairBook:
        """Plan the pair and put both legs on the wire. The command has passed every limit."""
        engine = self._engine
        pair_id = engine.next_pair_id()
        engine.know((ticket.long.venue, command.symbol))
        engine.know((ticket.short.venue, command.symbol))
        engine.record(
            PairPlanned(
                wire_ns=engine.clock.wire_ns(),
                pair_id=pair_id,
                command_id=command.command_id,
                strategy=command.command_id.strategy,
                symbol=command.symbol,
                long_venue=ticket.long.venue,
                short_venue=ticket.short.venue,
                qty=ticket.qty,
                long_ref_px=from_float(ticket.long_quote.ask_px),
                short_ref_px=from_float(ticket.short_quote.bid_px),
                edge_bps=command.edge_bps,
                offset_bps=command.offset_bps,
                basis_bps=mid_gap_bps(ticket.short_quote, ticket.long_quote),
                exit_guard=command.exit_guard,
                calendar_ns=engine.clock.calendar_ns(),
            )
        )
        pair = engine.state.pairs[pair_id]
        orders = engine.send(
            [
                self._opening(command, ticket.long, Side.BUY, command.long.limit_px, ticket.qty, pair_id),
                self._opening(command, ticket.short, Side.SELL, command.short.limit_px, ticket.qty, pair_id),
            ]
        )
        newest_ns = max(ticket.long_quote.local_mono_ns, ticket.short_quote.local_mono_ns)
        engine.meter.tick_to_wire(engine.clock.mono_ns() - newest_ns)
        for order, instrument in zip(orders, (ticket.long, ticket.short), strict=True):
            self._engine.reserve(order, instrument)
        if ticket.bound_by != "asked" and pair.status is PairStatus.OPENING:
            self._move(pair, PairStatus.OPENING, f"capped by {ticket.bound_by}: {ticket.qty} of {command.qty}")
        else:
            engine.report(pair_now(pair, command.command_id), pair.plan.strategy)
        return pair

    def request_close(self, pair: PairBook, reason: str, command_id: CommandId | None = None) -> None:
        """Close both legs; from now on the pair is closing until it is flat or dust, over restarts too."""
        runtime = self._of(pair)
        runtime.attempts = runtime.next_mono_ns = 0
        runtime.exhausted = False
        runtime.close_command = command_id or runtime.close_command
        if not pair.is_final and not pair.closing:
            self._move(pair, PairStatus.CLOSING, reason)
        self.look(pair, reason)

    def halve(self, pair: PairBook, reason: str) -> None:
        """Reduce both legs of an open pair by half (margin guard); a pair too small for that is closed."""
        lot = least_common_lot(pair.long.lot_qty, pair.short.lot_qty)
        size = floor_to(min(abs(pair.long.qty), abs(pair.short.qty)) / 2, lot) * lot
        halves = [self._cure(pair, leg, size, reducing=True, overdue=False) for leg in pair.legs]
        if pair.status is not PairStatus.OPEN or pair.closing:
            return
        if not all(half is not None and half.is_orderable for half in halves):
            self.request_close(pair, reason)
            return
        if all(half is not None and half.is_open for half in halves):
            self._move(pair, PairStatus.REPAIRING, reason)
            self._engine.send([self._cures.draft(pair, half, "close", 0) for half in halves if half is not None])

    # ---- the protocol -----------------------------------------------------------------------------------------------

    def look(self, pair: PairBook, why: str) -> None:
        """Derive what this pair needs now, and do it. See the module text."""
        if pair.is_final:
            if not pair.diverged_wire_ns or pair.matched_wire_ns:
                return
            self._engine.log.error("pair_reopened", pair_id=pair.pair_id, symbol=pair.symbol, reason=why)
            self._move(pair, PairStatus.REPAIRING, f"late fill: {why}")
        if any((leg.venue, pair.symbol) in self._engine.flattening for leg in pair.legs):
            return
        orders = list(self._engine.state.pair_orders(pair))
        if any(order.status in _IN_FLIGHT for order in orders):
            return
        unknown = [order for order in orders if order.status is OrderStatus.UNKNOWN]
        if unknown:
            self._wait_unknown(pair, unknown)
            return
        if self._gave_up(pair):
            return
        self._measure(pair)
        if pair.long.lots == 0 and pair.short.lots == 0:
            self._finish(pair, why)
        elif pair.closing:
            self._close_round(pair)
        elif pair.off_qty == 0:
            self._agreed(pair, why)
        else:
            self._repair(pair, why)

    def tick(self) -> None:
        """Go on with every live pair; warn and page by the unhedged bounds."""
        wire_ns = self._engine.clock.wire_ns()
        for pair in self._engine.state.live_pairs():
            if pair.diverged_wire_ns and not pair.matched_wire_ns:
                self._watch_unhedged(pair, wire_ns - pair.diverged_wire_ns)
            self.look(pair, "tick")
        for name in [n for n in self._runtime if n not in self._engine.state.pairs]:
            del self._runtime[name]

    def _watch_unhedged(self, pair: PairBook, age_ns: int) -> None:
        runtime, log = self._of(pair), self._engine.log
        fields = {"pair_id": pair.pair_id, "symbol": pair.symbol, "unhedged_s": age_ns / NS_PER_S}
        if age_ns > self._execution.unhedged_unwind_s * NS_PER_S and not runtime.overdue:
            runtime.overdue = True
            log.error("unhedged_overdue", status=pair.status.value, **fields)
        elif age_ns > self._execution.unhedged_warn_s * NS_PER_S and not runtime.warned:
            runtime.warned = True
            log.warning("unhedged", status=pair.status.value, **fields)

    def _wait_unknown(self, pair: PairBook, unknown: list[OrderState]) -> None:
        """Neither complete nor unwind. Only `unknown_policy = unwind_filled_leg` acts, and only once the venue that owes the
        answer has been unreachable for `unreachable_s`: then the known leg goes, and the answer is repaired when it comes."""
        if pair.status is not PairStatus.UNKNOWN:
            self._move(pair, PairStatus.UNKNOWN, unknown[0].detail or "outcome unknown")
        if self._execution.unknown_policy != "unwind_filled_leg":
            return
        dark = {order.prepared.venue for order in unknown}
        bound_ns = int(self._execution.unreachable_s * NS_PER_S)
        mono_ns, wire_ns = self._engine.clock.mono_ns(), self._engine.clock.wire_ns()
        if any(self._engine.desks[venue].blind_ns(mono_ns) < bound_ns for venue in dark):
            return
        if any(wire_ns - order.moved_wire_ns < bound_ns for order in unknown):
            return
        for leg in pair.legs:
            if leg.lots and leg.venue not in dark and self._may_try(pair):
                cure = self._cure(pair, leg, abs(leg.qty), reducing=True, overdue=True)
                if cure is not None and cure.is_open:
                    self._engine.log.error("unwinding_filled_leg", pair_id=pair.pair_id, venue=leg.venue)
                    self._attempt(pair, [cure], "unwind")

    def _gave_up(self, pair: PairBook) -> bool:
        """A leg that claims more than our position holds, with nothing under way that could explain it (a foreign fill came
        while the leg's own order was unknown): the position is right. Adopting it looks at the pair again."""
        state = self._engine.state
        for leg in pair.legs:
            key = (leg.venue, pair.symbol)
            position = state.positions.get(key)
            if position is None or position.book.unbooked_lots or state.overclaimed(key) * leg.side.sign <= 0:
                continue
            if not any(order.key == key for order in state.open_orders()):
                self._engine.adopt(key, position.book.lots, foreign=False, why="a leg claims more than there is")
                return True
        return False

    def _agreed(self, pair: PairBook, why: str) -> None:
        if not pair.long.lots or not pair.short.lots:  # only dust is left, on one side
            self._finish(pair, "dust")
        elif pair.status is not PairStatus.OPEN:
            partial = "" if pair.imbalance_qty == 0 else " with dust"
            self._move(pair, PairStatus.OPEN, f"legs agree{partial} ({why})")
            self._runtime.pop(pair.pair_id, None)

    def _repair(self, pair: PairBook, why: str) -> None:
        if pair.status is not PairStatus.REPAIRING:
            self._move(pair, PairStatus.REPAIRING, why)
        runtime = self._of(pair)
        off = pair.off_qty
        big, small = (pair.long, pair.short) if off > 0 else (pair.short, pair.long)
        overdue = self._is_overdue(pair)
        unwind = self._cure(pair, big, abs(off), reducing=True, overdue=overdue)
        complete = self._cure(pair, small, abs(off), reducing=False, overdue=overdue)
        if unwind is None or complete is None or not self._may_try(pair):
            return
        opening = not pair.opened_calendar_ns and runtime.completes < COMPLETES_MAX
        active = self._engine.state.trading_state is TradingState.ACTIVE
        cure = choose(
            complete,
            unwind,
            may_complete=opening and active,
            overdue=overdue,
            slippage_bps=self._execution.complete_slippage_bps,
        )
        if cure is Cure.DUST:
            self._tolerate(pair)
            self.look(pair, "dust")
        elif cure is Cure.COMPLETE:
            runtime.completes += 1
            self._attempt(pair, [complete], "complete")
        elif cure is Cure.UNWIND:
            self._attempt(pair, [unwind], "foreign" if pair.opened_calendar_ns else "unwind")

    def _close_round(self, pair: PairBook) -> None:
        """Send what is left of both legs. Both at once or not at all, except the part by which one is larger."""
        if pair.status is not PairStatus.CLOSING:
            self._move(pair, PairStatus.CLOSING, pair.reason)
        overdue = self._is_overdue(pair)
        cures = [self._cure(pair, leg, abs(leg.qty), reducing=True, overdue=overdue) for leg in pair.legs if leg.lots]
        if any(cure is None for cure in cures):
            return
        wanted = [cure for cure in cures if cure is not None and cure.is_orderable]
        if not wanted:
            self._tolerate(pair)
            self._finish(pair, "dust")
            return
        if not self._may_try(pair):
            return
        if all(cure.is_open for cure in wanted):
            self._attempt(pair, wanted, "close")
            return
        off = pair.off_qty
        big = pair.long if off > 0 else pair.short
        excess = self._cure(pair, big, abs(off), reducing=True, overdue=True) if off else None
        if excess is not None and excess.is_open:
            self._attempt(pair, [excess], "close")

    def _finish(self, pair: PairBook, why: str) -> None:
        """CLOSED or ABORTED; a result waits a moment for the fills behind the answers."""
        runtime, now_ns = self._of(pair), self._engine.clock.mono_ns()
        if pair.unbooked:
            runtime.flat_mono_ns = runtime.flat_mono_ns or now_ns
            if now_ns - runtime.flat_mono_ns < FILLS_WAIT_NS:
                for leg in pair.legs:
                    if leg.book.unbooked_lots:
                        self._engine.on_hint(leg.venue, "fills missing")
                return
            self._engine.log.error("pair_result_unknown", pair_id=pair.pair_id, symbol=pair.symbol)
        filled = any(order.filled_lots for order in self._engine.state.pair_orders(pair))
        reason = why if not pair.closing or why == "dust" else pair.reason
        self._move(pair, PairStatus.CLOSED if filled or pair.opened_calendar_ns else PairStatus.ABORTED, reason)
        self._runtime.pop(pair.pair_id, None)

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _of(self, pair: PairBook) -> Runtime:
        return self._runtime.setdefault(pair.pair_id, Runtime())

    def _is_overdue(self, pair: PairBook) -> bool:
        if not pair.diverged_wire_ns or pair.matched_wire_ns:
            return False
        age_ns = self._engine.clock.wire_ns() - pair.diverged_wire_ns
        return age_ns > self._execution.unhedged_unwind_s * NS_PER_S

    def _may_try(self, pair: PairBook) -> bool:
        runtime = self._of(pair)
        if runtime.attempts >= ATTEMPTS_MAX:
            if not runtime.exhausted:
                runtime.exhausted = True
                self._engine.log.error("pair_attempts_exhausted", pair_id=pair.pair_id, symbol=pair.symbol)
            return False
        return self._engine.clock.mono_ns() >= runtime.next_mono_ns

    def _attempt(self, pair: PairBook, cures: list[CureLeg], purpose: str) -> None:
        runtime = self._of(pair)
        pace_ns = min(PACE_NS << min(runtime.attempts, 16), PACE_MAX_NS)
        runtime.next_mono_ns = self._engine.clock.mono_ns() + pace_ns
        drafts = [self._cures.draft(pair, cure, purpose, runtime.attempts) for cure in cures]
        runtime.attempts += 1
        if purpose != "close":
            self._engine.meter.repair(purpose)
        self._engine.send(drafts)

    def _cure(self, pair: PairBook, leg: PairLeg, qty: Decimal, *, reducing: bool, overdue: bool) -> CureLeg | None:
        return self._cures.leg(pair, leg, qty, reducing=reducing, overdue=overdue)

    def _tolerate(self, pair: PairBook) -> None:
        """What is left is dust: the episode ends here, measured, and the difference is accepted."""
        since_ns = pair.diverged_wire_ns or self._engine.clock.wire_ns()
        self._record_unhedged(pair, self._engine.clock.wire_ns() - since_ns)

    def _measure(self, pair: PairBook) -> None:
        """Record a finished episode of differing legs."""
        if pair.diverged_wire_ns and pair.matched_wire_ns:
            self._record_unhedged(pair, pair.matched_wire_ns - pair.diverged_wire_ns)

    def _record_unhedged(self, pair: PairBook, duration_ns: int) -> None:
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
        runtime = self._of(pair)
        runtime.warned = runtime.overdue = False

    def _opening(
        self, command: OpenPair, instrument: Instrument, side: Side, limit_px: Decimal, qty: Decimal, pair_id: str
    ) -> Draft:
        return Draft(
            instrument=instrument,
            side=side,
            lots=instrument.qty_to_lots(qty),
            limit_ticks=instrument.px_to_ticks(limit_px, side),
            time_in_force=TimeInForce.IOC,
            reduce_only=False,
            purpose="open",
            strategy=command.command_id.strategy,
            pair_id=pair_id,
            command_id=command.command_id,
        )

    def _move(self, pair: PairBook, status: PairStatus, reason: str) -> None:
        """Journal, report, and answer the commands that waited for this."""
        engine = self._engine
        engine.record(
            PairMoved(
                wire_ns=engine.clock.wire_ns(),
                pair_id=pair.pair_id,
                status=status,
                reason=reason,
                calendar_ns=engine.clock.calendar_ns(),
            )
        )
        engine.log.info("pair", pair_id=pair.pair_id, symbol=pair.symbol, status=status.value, reason=reason)
        waiting = []
        if status in FINAL_PAIR or status is PairStatus.OPEN:
            opened = engine.state.commands.get(pair.plan.command_id)
            if opened is not None and not opened.answers:
                waiting.append(pair.plan.command_id)
        runtime = self._runtime.get(pair.pair_id)
        if status in FINAL_PAIR and runtime is not None and runtime.close_command is not None:
            waiting.append(runtime.close_command)
        for command_id in waiting:
            engine.answer(command_id, pair_now(pair, command_id))
        if not any(command_id.strategy == pair.plan.strategy for command_id in waiting):
            engine.report(pair_now(pair), pair.plan.strategy)
