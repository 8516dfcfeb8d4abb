"""The registrar: every fact passes here once, into the journal, the state, and out to whoever is concerned.

Answers, the private stream, lookups and REST reads tell the same facts in any order and more than once. Each method here
takes one kind of fact, drops what is already known, journals the rest (the journal first: what cannot be written has not
happened), applies it, reports it, and wakes the pair it concerns. No method waits, sends or reads a venue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from core.clock import Clock
from core.config import Loaded
from core.errors import invariant
from core.ids import CommandId, pair_id, parse_client_order_id, tag16
from core.latch import HaltLatch
from core.log import Log
from core.messages import AnyReport, encode
from core.types import Fill, Instrument, OrderStatus, Side, TimeInForce, TradingState, Venue
from executor.desk import Desk
from executor.orders import Verdict, may_move
from executor.peers import Books, Listener, Meter, Writer
from executor.records import (
    AnyRecord,
    CommandAnswered,
    Frozen,
    InstrumentSeen,
    OrderMoved,
    OrderPrepared,
    PositionAdopted,
    TradingStateSet,
    Unfrozen,
)
from executor.reports import order_now
from executor.state import Key, OrderState, PairBook, State

UNKNOWN_OUTCOME = "unknown_outcome"
"""The reason of a freeze that thaws by itself once no order of the instrument is UNKNOWN any more."""

FOREIGN_POSITION = "foreign_position"
RECENT_FILLS = 512
ADOPTED = "adopted"


class Registrar:
    """See the module text. `desks` and `books` have one entry per enabled venue.

    Listeners (set once by main; each is called synchronously after the state has changed):
      on_pair(pair, why)            an order of the pair moved or filled, or a leg changed without one (foreign fill, flatten,
                                    adoption): executor.pairs looks at it again
      on_doubt(order)               an order became UNKNOWN: executor.reconcile resolves it
      may_lead(pair)                why the limits allow no more of an opening's first leg now; "" while they do
      on_hint(venue, why)           something suggests that `venue` should be read again now
    """

    def __init__(
        self,
        loaded: Loaded,
        clock: Clock,
        log: Log,
        state: State,
        journal: Writer,
        latch: HaltLatch,
        desks: Mapping[Venue, Desk],
        books: Mapping[Venue, Books],
        meter: Meter,
    ) -> None:
        self.loaded = loaded
        self.config = loaded.config
        self.clock = clock
        self.log = log
        self.state = state
        self.journal = journal
        self.latch = latch
        self.desks = desks
        self.books = books
        self.meter = meter
        self.ready = False  # recovery has finished: commands are accepted
        self.changes = 0  # grows with every record: the account page is due when it differs from what was written
        self.flattening: set[Key] = set()  # keys that executor.flatten works on: pairs keep their hands off
        self.sessions: Collection[Listener] = ()  # connected clients; main hands in the intake's own set
        self._pair_count = 0
        self.recent_fills: deque[Fill] = deque(maxlen=RECENT_FILLS)  # booked, newest last
        self.filled_mono_ns: dict[Key, int] = {}  # when we last learnt of a fill
        self._found_lost = 0
        self._strangers: dict[str, None] = {}  # trade ids in wallets that are not ours, oldest first
        self._account_tags = {venue: tag16(desk.gateway.account_id) for venue, desk in desks.items()}
        self._moved: asyncio.Future[None] | None = None  # completed at the next order move, for `settled`
        self.on_pair: Callable[[PairBook, str], None]
        self.on_doubt: Callable[[OrderState], None]
        self.on_hint: Callable[[Venue, str], None]
        self.may_lead: Callable[[PairBook], str] = lambda pair: ""

    # ---- what is believed -------------------------------------------------------------------------------------------

    def record(self, record: AnyRecord) -> int:
        """Journal and apply one fact; returns its sequence. Raises JournalError (nothing applied) when it cannot."""
        began_ns = self.clock.mono_ns()
        sequence = self.journal.append(record)
        self.meter.journal_append(self.clock.mono_ns() - began_ns)
        self.state.apply(sequence, record)
        self.changes += 1
        return sequence

    def freeze(self, key: Key, reason: str) -> None:
        """No new exposure on this instrument until `unfreeze`. A standing reason is replaced only when it would thaw by
        itself (UNKNOWN_OUTCOME)."""
        standing = self.state.frozen.get(key)
        if standing is not None and (standing == reason or standing != UNKNOWN_OUTCOME):
            return
        self.log.warning("instrument_frozen", venue=key[0], symbol=key[1], reason=reason)
        self.record(Frozen(wire_ns=self.clock.wire_ns(), venue=key[0], symbol=key[1], reason=reason))

    def unfreeze(self, key: Key, reason: str) -> None:
        if key in self.state.frozen:
            self.log.info("instrument_thawed", venue=key[0], symbol=key[1], reason=reason)
            self.record(Unfrozen(wire_ns=self.clock.wire_ns(), venue=key[0], symbol=key[1], reason=reason))

    def set_trading_state(self, state: TradingState, reason: str) -> None:
        """Journal and sync: a state that was acknowledged survives a power loss."""
        self.log.warning("trading_state", state=state.value, reason=reason, before=self.state.trading_state.value)
        self.record(TradingStateSet(wire_ns=self.clock.wire_ns(), state=state, reason=reason))
        self.journal.sync()

    def adopt(self, key: Key, lots: int, *, foreign: bool, why: str, cleared: bool = False) -> None:
        """The venue's position replaces ours (signed lots); legs of pairs that it reduces are looked at again. `cleared`: see
        PositionAdopted."""
        self.know(key)
        before = self.state.lots(key)
        self.log.warning(
            "position_adopted", venue=key[0], symbol=key[1], lots=lots, before=before, foreign=foreign, why=why
        )
        self.record(
            PositionAdopted(
                wire_ns=self.clock.wire_ns(),
                venue=key[0],
                symbol=key[1],
                lots=lots,
                foreign=foreign,
                why=why,
                cleared=cleared,
            )
        )
        if foreign and lots:
            self.freeze(key, FOREIGN_POSITION)
        self._touch_pairs(key, f"adopted: {why}")

    def adopt_order(
        self, venue: Venue, symbol: str, name: str, side: Side, lots: int, reduce_only: bool = False
    ) -> None:
        """An order of ours that the venue shows and the journal lacks: from here on it has a record. It belongs to no pair."""
        self.know((venue, symbol))
        self.record(
            OrderPrepared(
                wire_ns=self.clock.wire_ns(),
                client_order_id=name,
                command_id=None,
                pair_id=None,
                strategy="",
                venue=venue,
                symbol=symbol,
                side=side,
                lots=lots,
                limit_ticks=0,
                time_in_force=TimeInForce.GTC,
                reduce_only=reduce_only,
                nonce=0,
                expires_wire_ns=0,
                purpose=ADOPTED,
            )
        )
        self.log.error("order_adopted", venue=venue, symbol=symbol, client_id=name)

    def _touch_pairs(self, key: Key, why: str) -> None:
        for pair in self.state.live_pairs():
            if pair.symbol == key[1] and pair.leg(key[0]):
                self.on_pair(pair, why)

    def move_order(
        self,
        client_order_id: str,
        status: OrderStatus,
        *,
        source: str,
        filled_lots: int = 0,
        avg_px: Decimal | None = None,
        venue_order_id: str = "",
        code: str = "",
        detail: str = "",
    ) -> None:
        """Journal what became of an order (see OrderMoved.source), report it, and let pairs go on. The way in which
        reconciliation resolves UNKNOWN orders; an instrument frozen for unknown outcomes thaws with its last one.
        A move that tells nothing new is dropped."""
        order = self.state.orders[client_order_id]
        before = order.status
        if status is OrderStatus.FILLED and not filled_lots:
            filled_lots = order.prepared.lots  # the venue says complete and leaves out how much that is
        news = may_move(before, status) or filled_lots > order.told_lots
        if filled_lots > order.filled_lots:
            self.filled_mono_ns[order.key] = self.clock.mono_ns()
        if not news and not (venue_order_id and not order.venue_order_id):
            return
        self.record(
            OrderMoved(
                wire_ns=self.clock.wire_ns(),
                client_order_id=client_order_id,
                status=status,
                venue_order_id=venue_order_id,
                filled_lots=filled_lots,
                avg_px=avg_px,
                code=code,
                detail=detail,
                source=source,
            )
        )
        if order.status is not before:
            self._after_move(order, before)
        self._wake(order)

    def settle(self, client_order_id: str, verdict: Verdict, source: str) -> None:
        """`move_order` for whoever holds a Verdict (reconciliation)."""
        self.move_order(
            client_order_id,
            verdict.status,
            source=source,
            filled_lots=verdict.filled_lots,
            avg_px=verdict.avg_px,
            venue_order_id=verdict.venue_order_id,
            code=verdict.code,
            detail=verdict.detail,
        )

    def _after_move(self, order: OrderState, before: OrderStatus) -> None:
        prepared = order.prepared
        if order.status is OrderStatus.SUBMITTED:
            return
        if prepared.command_id is not None and prepared.pair_id is None:
            self.answer(prepared.command_id, order_now(self.state, order))  # an order by hand is its command's answer
        else:
            self.report(order_now(self.state, order), prepared.strategy)
        if order.status is OrderStatus.UNKNOWN:
            self.log.warning(
                "order_unknown",
                venue=prepared.venue,
                symbol=prepared.symbol,
                client_id=order.client_order_id,
                pair_id=prepared.pair_id,
                detail=order.detail,
            )
            self.freeze(order.key, UNKNOWN_OUTCOME)
            self.on_doubt(order)
        elif order.status.is_final:
            self.desks[prepared.venue].end_reservation(
                order.client_order_id, self.clock.mono_ns(), order.filled_lots > 0
            )
        if before is OrderStatus.UNKNOWN:
            self._thaw(order.key)

    def _thaw(self, key: Key) -> None:
        """Lift the freeze for unknown outcomes with the last of them."""
        waiting = any(order.key == key for order in self.state.unknown_orders())
        if self.state.frozen.get(key) == UNKNOWN_OUTCOME and not waiting:
            self.unfreeze(key, "outcome known")

    def _wake(self, order: OrderState) -> None:
        """Let whoever waits for this order go on."""
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)
        pair = self.state.pairs.get(order.prepared.pair_id or "")
        if pair is not None:
            self.on_pair(pair, order.prepared.purpose)
        elif order.filled_lots:
            self._touch_pairs(order.key, order.prepared.purpose)

    def report(self, report: AnyReport, client: str) -> None:
        """Send a report to the sessions of `client` (a strategy's name)."""
        for session in tuple(self.sessions):
            if session.strategy == client:
                session.send(report)

    def next_pair_id(self) -> str:
        self._pair_count += 1
        return pair_id(self.state.epoch, self._pair_count)

    def answer(self, command_id: CommandId, report: AnyReport) -> None:
        """Journal the final report of a command and send it to its client."""
        self.record(CommandAnswered(wire_ns=self.clock.wire_ns(), command_id=command_id, body=encode(report)))
        self.report(report, command_id.strategy)

    def know(self, key: Key) -> None:
        """Journal the contract before the first lots counted in it. One that changed under a position freezes it."""
        instrument = self.instrument(key)
        known = self.state.contracts.get(key)
        if instrument is None:
            invariant(known is not None, f"lots of {key[0]}:{key[1]} before its contract is known")
            return
        same = known is not None and (known.lot_size, known.multiplier, known.tick_size) == (
            instrument.lot_size,
            instrument.multiplier,
            instrument.tick_size,
        )
        if same:
            return
        if (
            known is not None
            and known.lot_size * known.multiplier != instrument.canonical_lot
            and self.state.holds(key)
        ):
            self.freeze(key, "contract changed under a position")
            return
        self.record(
            InstrumentSeen(
                wire_ns=self.clock.wire_ns(),
                venue=key[0],
                symbol=key[1],
                venue_symbol=instrument.venue_symbol,
                lot_size=instrument.lot_size,
                tick_size=instrument.tick_size,
                multiplier=instrument.multiplier,
            )
        )

    def instrument(self, key: Key) -> Instrument | None:
        desk = self.desks.get(key[0])
        return desk.instrument(key[1]) if desk else None

    def is_ours(self, venue: Venue, client_order_id: str | None) -> bool:
        """Whether an order carries our prefix and this account's tag (it may still be unknown to the journal)."""
        tag = parse_client_order_id(client_order_id) if client_order_id else None
        return tag is not None and tag.account == self._account_tags[venue]
