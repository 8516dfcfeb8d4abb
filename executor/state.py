"""What the executor believes: one value, changed only by applying journal records.

The live path appends a record to the journal and applies it here; recovery applies the same records read back. There is
no second way to arrive at a state, so "replay equals live" is a property that tests check at every record. Nothing here
reads a clock, a socket or a venue; every figure comes out of a record, also the times (`wire_ns`).

Two counts of what an order has filled: `told_lots` (cumulative, from answers and lookups) and `fill_lots` (sum of recorded
fills). The larger one is believed, so a fill that overtakes its answer, or an answer that overtakes its fill, counts once.

Bounds: the *_KEPT figures (trades and payments per venue); the oldest go first. A command older than what is kept is
recognised by `forgotten` and never executed again.

Only writer: Engine.record (live) and recovery (replay).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from core.errors import invariant
from core.ids import CommandId
from core.messages import AT_ONCE, PairStatus
from core.types import OrderStatus, Side, TradingState, Venue
from executor.holdings import CommandState, Key, OrderState, PairBook, PairLeg, PositionState
from executor.orders import may_move
from executor.pnl import ZERO
from executor.records import (
    AnyRecord,
    CleanStop,
    CommandAnswered,
    CommandTaken,
    EpochStarted,
    FillRecorded,
    Frozen,
    FundingRecorded,
    InstrumentSeen,
    Netted,
    NonceBlock,
    OrderMoved,
    OrderPrepared,
    PairMoved,
    PairPlanned,
    PositionAdopted,
    TradingStateSet,
    Unfrozen,
    UnhedgedMeasured,
)
from executor.sub_ledgers import REST, SubLedgers

__all__ = ["CommandState", "Key", "OrderState", "PairBook", "PairLeg", "PositionState", "State"]

FINAL_ORDERS_KEPT = 4096
FINAL_PAIRS_KEPT = 256
COMMANDS_KEPT = 4096
ANSWERS_KEPT = 4
TRADES_KEPT = 50_000
PAYMENTS_KEPT = 10_000


class State(SubLedgers, kw_only=True):
    """See the module text. Compared as a value by the replay tests."""

    sequence: int = 0
    epoch: int = 0
    config_fingerprint: str = ""
    clean_stop: bool = True  # the last record was CleanStop (or there is none)
    trading_state: TradingState = TradingState.ACTIVE
    state_reason: str = ""
    nonce_high: dict[str, int] = msgspec.field(default_factory=dict)  # signer -> nonces below it may have been used
    orders: dict[str, OrderState] = msgspec.field(default_factory=dict)
    unsettled: dict[str, None] = msgspec.field(default_factory=dict)  # orders that are not final, oldest first
    frozen: dict[Key, str] = msgspec.field(default_factory=dict)  # reason
    commands: dict[CommandId, CommandState] = msgspec.field(default_factory=dict)
    forgotten: dict[str, tuple[int, int]] = msgspec.field(
        default_factory=dict
    )  # client -> newest (epoch, sequence) dropped
    trades: dict[Venue, dict[str, None]] = msgspec.field(default_factory=dict)  # trade ids seen, oldest first
    payments: dict[Venue, dict[str, None]] = msgspec.field(default_factory=dict)
    attempted_calendar_ns: dict[str, int] = msgspec.field(default_factory=dict)  # symbol -> last attempt to open
    newest_fill_ns: dict[Venue, int] = msgspec.field(default_factory=dict)  # exchange time: where to read fills from
    newest_funding_ns: dict[Venue, int] = msgspec.field(default_factory=dict)
    pairs_opened: int = 0
    pairs_closed: int = 0
    unhedged_max_ns: int = 0
    unhedged_episodes: int = 0

    # ---- reading ----------------------------------------------------------------------------------------------------

    def open_orders(self) -> list[OrderState]:
        """Orders whose status is not final (PREPARED, SUBMITTED, ACCEPTED, UNKNOWN), oldest first."""
        return [self.orders[name] for name in self.unsettled]

    def unknown_orders(self) -> list[OrderState]:
        return [order for order in self.open_orders() if order.status is OrderStatus.UNKNOWN]

    def pair_orders(self, pair: PairBook) -> Iterator[OrderState]:
        return (self.orders[name] for name in pair.orders if name in self.orders)

    def has_trade(self, venue: Venue, trade_id: str) -> bool:
        return trade_id in self.trades.get(venue, ())

    def has_payment(self, venue: Venue, payment_id: str) -> bool:
        return payment_id in self.payments.get(venue, ())

    def is_forgotten(self, command_id: CommandId) -> bool:
        """Whether the command is older than the ones kept: it was answered, but its reports are gone."""
        return (command_id.epoch, command_id.sequence) <= self.forgotten.get(command_id.strategy, (-1, -1))

    # ---- changing ---------------------------------------------------------------------------------------------------

    def apply(self, sequence: int, record: AnyRecord) -> None:
        """Apply one record. Raises InvariantError for a record that cannot follow the ones before."""
        invariant(sequence > self.sequence, f"journal sequence {sequence} after {self.sequence}")
        self.sequence = sequence
        self.clean_stop = isinstance(record, CleanStop)
        if type(record) in _HANDLERS:
            _HANDLERS[type(record)](self, record)

    def _epoch(self, record: EpochStarted) -> None:
        invariant(record.epoch > self.epoch, f"epoch {record.epoch} after {self.epoch}")
        self.epoch = record.epoch
        self.config_fingerprint = record.config_fingerprint

    def _nonces(self, record: NonceBlock) -> None:
        self.nonce_high[record.signer_id] = max(record.high, self.nonce_high.get(record.signer_id, 0))

    def _instrument(self, record: InstrumentSeen) -> None:
        self.contracts[(record.venue, record.symbol)] = record

    def _command(self, record: CommandTaken) -> None:
        command = self._command_state(record.command_id)
        command.kind, command.body = record.kind, record.body
        command.taken_wire_ns = record.wire_ns

    def _answer(self, record: CommandAnswered) -> None:
        command = self._command_state(record.command_id)
        command.answers.append(record.body)
        del command.answers[:-ANSWERS_KEPT]

    def _command_state(self, command_id: CommandId) -> CommandState:
        command = self.commands.get(command_id)
        if command is None:
            command = self.commands[command_id] = CommandState()
            if len(self.commands) > COMMANDS_KEPT:
                oldest = next(iter(self.commands))
                del self.commands[oldest]
                known = self.forgotten.get(oldest.strategy, (-1, -1))
                self.forgotten[oldest.strategy] = max(known, (oldest.epoch, oldest.sequence))
        return command

    def _pair_planned(self, record: PairPlanned) -> None:
        invariant(record.pair_id not in self.pairs, f"pair {record.pair_id} planned twice")
        self.pairs[record.pair_id] = PairBook(
            plan=record,
            long=self._leg(record.long_venue, record.symbol, Side.BUY),
            short=self._leg(record.short_venue, record.symbol, Side.SELL),
            moved_calendar_ns=record.calendar_ns,
            sending=record.sending,
            sending_wire_ns=record.wire_ns,
            epoch=self.epoch,
        )
        self.live[record.pair_id] = None
        self.attempted_calendar_ns[record.symbol] = record.calendar_ns
        if len(self.pairs) > FINAL_PAIRS_KEPT:
            oldest = next((name for name, pair in self.pairs.items() if pair.is_final), None)
            if oldest is not None:
                del self.pairs[oldest]

    def _pair_moved(self, record: PairMoved) -> None:
        pair = self.pairs[record.pair_id]
        if record.status is PairStatus.OPEN and not pair.opened_calendar_ns:
            pair.opened_calendar_ns = record.calendar_ns
            self.pairs_opened += 1
        if pair.opened_calendar_ns:  # a late fill may open a closed pair again
            self.pairs_closed += (record.status is PairStatus.CLOSED) - (pair.status is PairStatus.CLOSED)
        if record.status is PairStatus.CLOSING:
            pair.closing = True
        elif record.status is PairStatus.OPEN or (record.status is PairStatus.REPAIRING and record.sending is not None):
            pair.closing = False  # a close whose rest was to stay
        pair.status = record.status
        pair.reason = record.reason
        pair.moved_calendar_ns = record.calendar_ns
        pair.ended_calendar_ns = record.calendar_ns if pair.is_final else 0
        if record.sending is not None:
            pair.sending, pair.sending_wire_ns = record.sending, record.wire_ns
        elif pair.is_final or record.status is PairStatus.OPEN:
            pair.sending = AT_ONCE
        if pair.is_final:
            self.live.pop(record.pair_id, None)
        else:
            self.live.setdefault(record.pair_id)

    def _order_prepared(self, record: OrderPrepared) -> None:
        name = record.client_order_id
        invariant(name not in self.orders, f"client order id {name} used twice")
        self.orders[name] = OrderState(prepared=record, moved_wire_ns=record.wire_ns)
        self.unsettled[name] = None
        if record.pair_id is not None:
            pair = self.pairs[record.pair_id]
            pair.orders.append(name)
            if pair.leg(record.venue) is None:
                invariant(pair.hedge is None or not pair.hedge.lots, f"pair {pair.pair_id} with two stand-in legs")
                pair.hedge = self._leg(record.venue, record.symbol, record.side)
        if len(self.orders) > FINAL_ORDERS_KEPT:
            self._drop_oldest_order()

    def _drop_oldest_order(self) -> None:
        for name, order in self.orders.items():
            pair = self.pairs.get(order.prepared.pair_id or "")
            if order.status.is_final and (pair is None or pair.is_final):
                del self.orders[name]
                return

    def _order_moved(self, record: OrderMoved) -> None:
        order = self.orders[record.client_order_id]
        believed = order.filled_lots
        if may_move(order.status, record.status):
            order.status = record.status
            order.code = record.code
            order.detail = record.detail
            order.moved_wire_ns = record.wire_ns
            if order.status.is_final:
                self.unsettled.pop(record.client_order_id, None)
        order.venue_order_id = record.venue_order_id or order.venue_order_id
        if record.filled_lots > order.told_lots:
            order.told_lots = record.filled_lots
            order.told_px = record.avg_px or order.told_px
        self._believe(order, order.filled_lots - believed, record.wire_ns)

    def _fill(self, record: FillRecorded) -> None:
        fill = record.fill
        if self.has_trade(fill.venue, fill.trade_id):
            return
        _remember(self.trades.setdefault(fill.venue, {}), fill.trade_id, TRADES_KEPT)
        self.newest_fill_ns[fill.venue] = max(fill.ts_ns, self.newest_fill_ns.get(fill.venue, 0))
        key = (fill.venue, fill.symbol)
        position = self._position(key)
        lot_size = self.contracts[key].lot_size
        signed = fill.lots * fill.side.sign
        position.book.book(signed, fill.px, fill.fee_usd, lot_size)
        order = self.orders.get(fill.client_order_id) if fill.client_order_id else None
        if order is None:
            position.book.lots += signed
            self._attribute(fill, record.wire_ns)
            self._settle_by_hand(key)
            self._settle_foreign(key)
            beyond = self.sub_ledgers(key).get(REST, 0)
            if position.book.lots * signed > 0 and beyond * signed > 0:
                position.foreign = True  # at once: a crash before it is adopted must not make it look like ours
            return
        believed = order.filled_lots
        order.fill_lots += fill.lots
        order.fill_px_lots += fill.lots * fill.px
        order.fee_usd += fill.fee_usd
        pair = self.pairs.get(order.prepared.pair_id or "")
        leg = pair.leg(fill.venue) if pair else None
        self._believe(order, order.filled_lots - believed, record.wire_ns)
        if pair is None or leg is None:
            taken = self._attribute(fill, record.wire_ns)
            if order.prepared.purpose == "manual":
                position.by_hand_lots -= taken * fill.side.sign  # it was the leg's
            else:
                self._settle_by_hand(key)
            self._settle_foreign(key)
        else:
            self.net_usd += leg.book.book(signed, fill.px, fill.fee_usd, lot_size)

    def _freeze(self, record: Frozen) -> None:
        self.frozen[(record.venue, record.symbol)] = record.reason

    def _unfreeze(self, record: Unfrozen) -> None:
        self.frozen.pop((record.venue, record.symbol), None)

    def _trading(self, record: TradingStateSet) -> None:
        self.trading_state = record.state
        self.state_reason = record.reason

    def _funding(self, record: FundingRecorded) -> None:
        if self.has_payment(record.venue, record.payment_id):
            return
        _remember(self.payments.setdefault(record.venue, {}), record.payment_id, PAYMENTS_KEPT)
        self.newest_funding_ns[record.venue] = max(record.ts_ns, self.newest_funding_ns.get(record.venue, 0))
        self._position((record.venue, record.symbol)).book.funding_usd += record.amount_usd
        for pair in self.pairs.values():
            leg = pair.leg(record.venue)
            held = pair.plan.calendar_ns <= record.ts_ns and record.ts_ns <= (pair.ended_calendar_ns or record.ts_ns)
            if pair.symbol == record.symbol and leg is not None and held and pair.opened_calendar_ns:
                leg.book.funding_usd += record.amount_usd
                self.net_usd += record.amount_usd
                return

    def _unhedged(self, record: UnhedgedMeasured) -> None:
        pair = self.pairs[record.pair_id]
        pair.tolerated_qty = pair.imbalance_qty
        pair.diverged_wire_ns = pair.matched_wire_ns = 0
        pair.diverged_qty = ZERO
        self.unhedged_max_ns = max(self.unhedged_max_ns, record.duration_ns)
        self.unhedged_episodes += 1


def _remember(seen: dict[str, None], name: str, bound: int) -> None:
    seen[name] = None
    if len(seen) > bound:
        del seen[next(iter(seen))]


_HANDLERS: dict[type, Callable[[State, Any], None]] = {
    EpochStarted: State._epoch,
    NonceBlock: State._nonces,
    InstrumentSeen: State._instrument,
    CommandTaken: State._command,
    CommandAnswered: State._answer,
    PairPlanned: State._pair_planned,
    PairMoved: State._pair_moved,
    OrderPrepared: State._order_prepared,
    OrderMoved: State._order_moved,
    FillRecorded: State._fill,
    PositionAdopted: State._adopt,
    Netted: State._netted,
    Frozen: State._freeze,
    Unfrozen: State._unfreeze,
    TradingStateSet: State._trading,
    FundingRecorded: State._funding,
    UnhedgedMeasured: State._unhedged,
}
