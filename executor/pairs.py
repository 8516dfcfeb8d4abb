"""Pairs: two legs as one, from the first order to both legs flat.

`look(pair)` is the whole protocol. It is called whenever something that concerns a pair has happened (an order moved, a fill
came, a leg was changed from outside) and by `tick`; it derives what to do from the state alone, so a restart, a repeated
event or an event out of order ends in the same place:

    an order in flight            wait: nothing is decided on half an answer
    an order UNKNOWN              pair UNKNOWN: neither complete nor unwind until reconciliation has resolved it
    led (executor.leading)        hedge what the first leg has filled, place, move or withdraw the first leg
    an order rests all the same   withdraw it
    asked to close                send what is left of both legs, again and again, until flat or dust
    both legs empty               ABORTED (nothing ever filled) or CLOSED
    legs agree                    OPEN
    legs differ                   complete or unwind (executor.repair), one new order at a time

Every repair is a new order with a new client id, sent only after all earlier orders of the pair are final; the one exception
is the hedge of a led pair, whose first leg may go on resting. Attempts are paced (PACE_NS, doubling to PACE_MAX_NS) and
counted (ATTEMPTS_MAX, then a page and the operator; a close request counts afresh). Before anything leaves, executor.netting
sees to it that orders of ours do not meet each other.

Refused: a task per pair that awaits its answers (a fill before the answer, a late fill after the end, or a restart would each
need a second way), and hedging on the first answer of two (the second is milliseconds away; acting on it doubles the leg).
"""

from __future__ import annotations

from core.clock import NS_PER_S
from core.ids import CommandId
from core.messages import AT_ONCE, Fallback, LegOrder, OpenPair, PairStatus, Sending
from core.numeric import floor_to, from_float, least_common_lot
from core.types import OrderStatus, TradingState
from executor import opening
from executor.by_hand import withdraw_openings
from executor.engine import Engine
from executor.leading import Dust, Hedge, Lead, Leading, Over, Withdraw, legs_in_order, rests
from executor.netting import Wish, withdraw
from executor.opening import Ticket
from executor.orders import Draft
from executor.pair_steps import PairSteps, Runtime
from executor.pricing import touch_px
from executor.repair import Cure, CureLeg, choose
from executor.reports import pair_now
from executor.state import Key, OrderState, PairBook
from executor.unknown_leg import UnknownLeg

__all__ = ["Pairs", "Ticket"]

COMPLETES_MAX = 2
CLEAR_WAIT_NS = 1 * NS_PER_S
"""How long an opening waits for orders of ours that rest in its way to end."""

_IN_FLIGHT = (OrderStatus.PREPARED, OrderStatus.SUBMITTED, OrderStatus.ACCEPTED)


class Pairs(PairSteps):
    """Only writer of pair moves. `tick` is called every PACE_NS or so."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._unknown_leg = UnknownLeg(engine, self._cures, self._attempt, self._may_try)
        self._leading = Leading(engine, self._cures, self._quotes, self.switches)
        engine.on_pair = self.look

    # ---- wishes -----------------------------------------------------------------------------------------------------

    def open(self, command: OpenPair, ticket: Ticket) -> PairBook:
        """Plan the pair and put its first order, or both, on the wire. The command has passed every limit."""
        engine = self._engine
        pair = opening.plan(engine, command, ticket)
        if pair.is_led:
            opening.reserve(engine, pair, ticket)
            self.look(pair, "planned")
        else:
            runtime = self._of(pair)
            runtime.opening, runtime.opening_mono_ns = opening.both(command, ticket, pair), engine.clock.mono_ns()
            self._open_both(pair, at_once=True)
        quotes = [quote for quote in (ticket.long_quote, ticket.short_quote) if quote is not None]
        if quotes:
            engine.meter.tick_to_wire(engine.clock.mono_ns() - max(quote.local_mono_ns for quote in quotes))
        if ticket.bound_by != "asked" and pair.status is PairStatus.OPENING:
            self._move(pair, PairStatus.OPENING, f"capped by {ticket.bound_by}: {ticket.qty} of {command.qty}")
        else:
            engine.report(pair_now(pair, command.command_id), pair.plan.strategy)
        return pair

    def _open_both(self, pair: PairBook, *, at_once: bool = False) -> None:
        """Both first orders, unless one of them would meet a resting order of ours: then as soon as that is gone, at most
        CLEAR_WAIT_NS later, and only while it would still be allowed and both touches are within the limits."""
        runtime = self._of(pair)
        drafts = runtime.opening
        if drafts is None:
            return
        refusal = "" if at_once else self._no_longer(pair)
        if refusal:
            runtime.opening = None
            self._finish(pair, refusal)
            return
        blocked = self._netting.is_blocked(drafts)
        if blocked and self._engine.clock.mono_ns() - runtime.opening_mono_ns <= CLEAR_WAIT_NS:
            return
        runtime.opening = None
        frozen = any((each.instrument.venue, pair.symbol) in self._engine.state.frozen for each in drafts)
        if blocked or frozen or not (at_once or self._within_limits(drafts)):
            self._finish(pair, "an order of ours stood in the way")
            return
        cleared = self._netting.clear(pair, drafts)
        orders = self._engine.send(cleared.drafts)
        for order, draft in zip(orders, cleared.drafts, strict=True):
            self._engine.reserve(order, draft.instrument)
        for other in cleared.netted:
            self.look(other, "netted")

    def _no_longer(self, pair: PairBook) -> str:
        """Why an opening that had to wait may not be sent any more; "" while it may."""
        state = self._engine.state.trading_state
        return f"trading state is {state.value}" if state is not TradingState.ACTIVE else self._engine.may_lead(pair)

    def _within_limits(self, drafts: list[Draft]) -> bool:
        for draft in drafts:
            instrument = draft.instrument
            quote = self._engine.usable_quote((instrument.venue, instrument.symbol))
            if quote is None:
                return False
            touch = from_float(touch_px(quote, draft.side)) * instrument.multiplier
            if draft.side.sign * (touch - instrument.ticks_to_px(draft.limit_ticks)) > 0:
                return False
        return True

    def request_close(
        self, pair: PairBook, reason: str, command_id: CommandId | None = None, sending: Sending = AT_ONCE
    ) -> None:
        """Close both legs; from now on the pair is closing until it is flat or dust (or, where a resting leg's rest was to
        stay, until its deadline), over restarts too. Asked again, it goes on in the newer way."""
        sending = self._sending_out(pair, sending)
        runtime = self._of(pair)
        runtime.attempts = runtime.next_mono_ns = 0
        runtime.exhausted = False
        runtime.opening = None
        runtime.close_command = command_id or runtime.close_command
        self._leading.ended.pop(pair.pair_id, None)
        if not pair.is_final and (not pair.closing or pair.sending != sending):
            self._move(pair, PairStatus.CLOSING, reason, sending=sending)
        self.look(pair, reason)

    def _sending_out(self, pair: PairBook, sending: Sending) -> Sending:
        """A leg on a venue that quotes first is never closed together with the other: a quote may be refused."""
        desks = self._engine.desks
        for leg in pair.legs:
            if not sending.first and leg.venue in desks and desks[leg.venue].gateway.traits.quotes_first:
                return Sending(order=LegOrder.QUOTE_FIRST, first=leg.venue)
        return sending

    def end_leads(self, why: str, strategy: str | None = None, pair_id: str | None = None) -> None:
        """No more orders of the first leg for these pairs: their owner is gone, or somebody cancelled what rested."""
        for pair in self._engine.state.live_pairs():
            resting = pair.is_led and pair.sending.order is LegOrder.MAKER_FIRST
            if resting and strategy in (None, pair.plan.strategy) and pair_id in (None, pair.pair_id):
                self._leading.ended[pair.pair_id] = why
                self.look(pair, why)

    def halve(self, pair: PairBook, reason: str) -> None:
        """Reduce both legs of an open pair by half (margin guard); a pair too small for that is closed."""
        lot = least_common_lot(pair.long.lot_qty, pair.short.lot_qty)
        size = floor_to(min(abs(pair.long.qty), abs(pair.short.qty)) / 2, lot) * lot
        halves = [self._cure(pair, leg, size, reducing=True, overdue=False) for leg in pair.legs]
        if pair.status is not PairStatus.OPEN or pair.closing or self._is_flattened(pair):
            return
        if not all(half is not None and half.is_orderable for half in halves):
            self.request_close(pair, reason)
            return
        if all(half is not None and half.is_open for half in halves):
            self._move(pair, PairStatus.REPAIRING, reason)
            self._send(pair, [self._cures.draft(pair, half, "close", 0) for half in halves if half is not None])

    def _is_flattened(self, pair: PairBook) -> bool:
        return any((leg.venue, pair.symbol) in self._engine.flattening for leg in pair.all_legs)

    # ---- the protocol -----------------------------------------------------------------------------------------------

    def look(self, pair: PairBook, why: str) -> None:
        """Derive what this pair needs now, and do it. See the module text."""
        if pair.is_final:
            if not pair.diverged_wire_ns or pair.matched_wire_ns:
                return
            self._engine.log.error("pair_reopened", pair_id=pair.pair_id, symbol=pair.symbol, reason=why)
            self._move(pair, PairStatus.REPAIRING, f"late fill: {why}")
        if self._is_flattened(pair):
            return
        orders = list(self._engine.state.pair_orders(pair))
        resting = [order for order in orders if rests(order)]
        if any(order.status in _IN_FLIGHT and not rests(order) for order in orders):
            if resting and not self._leading.is_wanted(pair):
                withdraw(self._engine, resting)  # a hedge is on its way: that is no reason to take more
            return
        unknown = [order for order in orders if order.status is OrderStatus.UNKNOWN]
        if unknown:
            withdraw(self._engine, resting)
            if not self._hedge_known(pair, unknown, why):
                self._wait_unknown(pair, unknown)
            return
        if self._gave_up(pair):
            return
        if self._stand_down(pair):
            return
        if self._unhedged.measure(pair) and pair.is_led:
            self._of(pair).attempts = self._of(pair).next_mono_ns = 0
        if self._of(pair).opening is not None:
            self._open_both(pair)
            return
        if pair.is_led and not (pair.closing and pair.is_flat and not resting) and self._lead(pair, resting, why):
            return
        if resting:
            withdraw(self._engine, resting)
        elif pair.is_flat:
            self._finish(pair, why)
        elif pair.closing:
            self._close_round(pair)
        elif pair.off_qty == 0:
            self._agreed(pair, why)
        else:
            self._repair(pair, why)

    def tick(self) -> None:
        """Go on with every live pair; warn and page by the unhedged bounds; tend the dead-man switches and what is by hand."""
        self.switches.turn()
        withdraw_openings(self._engine)
        for pair in self._engine.state.live_pairs():
            self._unhedged.watch(pair)
            self.look(pair, "tick")
        for name in [n for n in self._runtime if n not in self._engine.state.pairs]:
            del self._runtime[name]
        self._unhedged.forget()
        self._leading.forget()

    # ---- a first leg and its hedge ----------------------------------------------------------------------------------

    def _lead(self, pair: PairBook, resting: list[OrderState], why: str) -> bool:
        """Do what the leading needs; False = it is over, and the pair goes on without."""
        if pair.status is PairStatus.UNKNOWN:
            self._move(pair, PairStatus.CLOSING if pair.closing else PairStatus.OPENING, "outcome known")
        step = self._leading.next(pair, resting)
        match step:
            case Over():
                return self._lead_over(pair, step.why)
            case Hedge():
                withdraw(self._engine, step.withdraw)
                self._repair(pair, why)
            case Dust():
                self._unhedged.tolerate(pair)
                self.look(pair, "dust")
            case Withdraw():
                withdraw(self._engine, [step.order])
            case Lead():
                self._send(pair, [step.draft])
        return True

    def _lead_over(self, pair: PairBook, why: str) -> bool:
        """True = it goes on in another way of being led. What the first leg's deadline left is sent by IOC, or stays."""
        sending = pair.sending
        ended = self._leading.ended.get(pair.pair_id)  # it stays so, until the pair is asked to close in this way again
        maker = sending.order is LegOrder.MAKER_FIRST
        taker = sending.fallback is Fallback.TAKER or not maker
        ends = taker or self._leading.rest_is_dust(pair)  # dust is nothing that could stay open
        if pair.closing:
            opening.release(self._engine, pair)
            status = PairStatus.CLOSING if ends else PairStatus.REPAIRING  # which ends the closing
            self._move(pair, status, why, sending=AT_ONCE)
            return False
        if maker and taker and ended is None and pair.epoch == self._engine.state.epoch:
            thin = Sending(order=LegOrder.THIN_FIRST, first=sending.first)
            self._move(pair, PairStatus.OPENING, why, sending=thin)
            self.look(pair, why)
            return True
        opening.release(self._engine, pair)
        if pair.is_flat:
            self._finish(pair, why)
            return True
        self._move(pair, PairStatus.REPAIRING, why, sending=AT_ONCE)
        return False

    def _hedge_known(self, pair: PairBook, unknown: list[OrderState], why: str) -> bool:
        """A first leg of unknown outcome has filled at least what is known: that much is hedged (more only comes on top)."""
        if not pair.is_led or any(order.prepared.venue != pair.sending.first for order in unknown):
            return False
        if not self._leading.is_hedgeable(pair):
            return False
        self._repair(pair, why)
        return True

    def _wish(self, pair: PairBook, key: Key) -> Wish | None:
        """What this pair would trade on `key` now, for netting: None while anything of it is under way there."""
        leg = pair.leg(key[0])
        orders = self._engine.state.pair_orders(pair)
        if leg is None or key in self._engine.flattening or any(not order.status.is_final for order in orders):
            return None
        off = pair.off_qty
        leads = pair.is_led and leg is legs_in_order(pair)[0]
        if pair.closing and leg.lots and (leads or (not pair.is_led and self._can_close(pair))):
            return Wish(side=leg.way_out, lots=abs(leg.lots))
        if off * leg.lots > 0:
            lots = min(abs(leg.lots), int(abs(pair.imbalance_qty) / leg.lot_qty))
            return Wish(side=leg.way_out, lots=lots) if lots else None
        lots = self._leading.wish_lots(pair, leg) if pair.is_led and not pair.closing else 0
        limit_px = pair.plan.long_limit_px if leg is pair.long else pair.plan.short_limit_px
        return Wish(side=leg.side, lots=lots, limit_px=limit_px) if lots else None

    def _can_close(self, pair: PairBook) -> bool:
        """Whether both legs could go now: one alone is not given away inside either."""
        cures = [self._cure(pair, leg, abs(leg.qty), reducing=True, overdue=False, quoting=False) for leg in pair.legs]
        return all(cure is not None and (cure.is_open or not cure.lots) for cure in cures)

    # ---- unknown, agreed, differing, closing ------------------------------------------------------------------------

    def _wait_unknown(self, pair: PairBook, unknown: list[OrderState]) -> None:
        """Neither complete nor unwind. What may be done once a venue is gone says `unknown_policy` (executor.unknown_leg)."""
        if pair.status is not PairStatus.UNKNOWN:
            self._move(pair, PairStatus.UNKNOWN, unknown[0].detail or "outcome unknown")
        self._unknown_leg.act(pair, unknown)

    def _stand_down(self, pair: PairBook) -> bool:
        """Whether a stand-in on a third venue must go first, now that nothing of the pair is unknown."""
        if not self._unknown_leg.undo(pair):
            return False
        if pair.status is PairStatus.UNKNOWN:
            self._move(pair, PairStatus.CLOSING if pair.closing else PairStatus.REPAIRING, "outcome known")
        return True

    def _gave_up(self, pair: PairBook) -> bool:
        """A leg that claims more than our position holds, with nothing under way that could explain it (a foreign fill came
        while the leg's own order was unknown): the position is right. Adopting it looks at the pair again."""
        state = self._engine.state
        for leg in pair.all_legs:
            key = (leg.venue, pair.symbol)
            position = state.positions.get(key)
            if position is None or position.book.unbooked_lots or state.overclaimed(key) * leg.lots <= 0:
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
        if pair.status is not PairStatus.REPAIRING and not pair.is_led:
            self._move(pair, PairStatus.REPAIRING, why)
        runtime = self._of(pair)
        weighed = self._weigh(pair, runtime) if self._may_try(pair) else None
        if weighed is None:
            return
        cure, complete, unwind = weighed
        if cure is Cure.DUST:
            self._unhedged.tolerate(pair)
            self.look(pair, "dust")
        elif cure is Cure.COMPLETE:
            runtime.completes += 1
            self._attempt(pair, [complete], "hedge" if pair.is_led else "complete")
        elif cure is Cure.UNWIND and pair.is_led and not pair.closing:
            self._lead_over(pair, "the hedge is not to be had")
            runtime.attempts = runtime.next_mono_ns = 0
            self.look(pair, why)
        elif cure is Cure.UNWIND:
            purpose = "hedge" if pair.is_led else "foreign" if pair.opened_calendar_ns else "unwind"
            self._attempt(pair, [unwind], purpose)

    def _weigh(self, pair: PairBook, runtime: Runtime) -> tuple[Cure, CureLeg, CureLeg] | None:
        """What to do about legs that differ, with both cures as they stand; a live quote is asked for only where nothing else
        will do. None while a contract is not listed."""
        off, overdue = pair.imbalance_qty, self._unhedged.is_overdue(pair)
        big, small = pair.larger()
        being_opened = not (pair.opened_calendar_ns or pair.closing or pair.shrunk or pair.is_flipped)
        active = self._engine.state.trading_state is TradingState.ACTIVE
        may_complete = being_opened and active and (pair.is_led or runtime.completes < COMPLETES_MAX)
        bound_bps = self._execution.complete_slippage_bps
        for quoting in (False, True):
            unwind = self._cure(pair, big, abs(off), reducing=True, overdue=overdue, quoting=quoting)
            complete = self._cure(pair, small, abs(off), reducing=False, overdue=overdue, quoting=quoting)
            if unwind is None or complete is None:
                return None
            cure = choose(
                complete,
                unwind,
                may_complete=may_complete,
                overdue=overdue,
                slippage_bps=bound_bps,
                planned=pair.is_led and self._unhedged.is_young(pair),
            )
            if cure is not Cure.WAIT or quoting:
                return cure, complete, unwind
        return None

    def _close_round(self, pair: PairBook) -> None:
        """Send what is left of both legs. Both at once or not at all, except the part by which one is larger."""
        if pair.status is not PairStatus.CLOSING:
            self._move(pair, PairStatus.CLOSING, pair.reason)
        overdue = self._unhedged.is_overdue(pair)
        cures = [self._cure(pair, leg, abs(leg.qty), reducing=True, overdue=overdue) for leg in pair.legs if leg.lots]
        if any(cure is None for cure in cures):
            return
        wanted = [cure for cure in cures if cure is not None and cure.is_orderable]
        if not wanted:
            self._unhedged.tolerate(pair)
            self._finish(pair, "dust")
            return
        if not self._may_try(pair):
            return
        if all(cure.is_open for cure in wanted):
            self._attempt(pair, wanted, "close")
            return
        off = pair.off_qty
        big, _ = pair.larger()
        excess = self._cure(pair, big, abs(off), reducing=True, overdue=True) if off else None
        if excess is not None and excess.is_open:
            self._attempt(pair, [excess], "close")
