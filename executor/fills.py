"""Fills and payments: whose they are, and what follows from those that are nobody's here.

Of every fill the first telling counts, by whatever way it came (executor.registrar). Whose it is, in this order: the order of
its client id; at venues without our ids, the one order that it fits; an order of ours that a power loss took out of the
journal; in a wallet, its owner. What is left is foreign: a liquidation, an auto-deleveraging, somebody's hand (RULES 3).
"""

from __future__ import annotations

import msgspec

from core.ids import parse_client_order_id
from core.types import Fill, OrderStatus
from executor import doubt
from executor.orders import may_move
from executor.records import FillRecorded, FundingRecorded
from executor.registrar import ADOPTED, Registrar
from executor.reports import order_filled
from executor.state import Key, OrderState
from executor.sub_ledgers import REST
from executor.venues.base import FundingPayment

STRANGERS_KEPT = 1000
LOST_EPOCHS = 2
LOST_MAX = 8
"""Orders per start that the journal lacks and the venue shows filled: how many, and of how many starts before."""


class Fills(Registrar):
    """See the module text. Base of executor.engine.Engine."""

    def on_fill(self, fill: Fill) -> bool:
        """Record a fill seen on the stream or read by REST; False when it was known. Foreign ones raise the alarm."""
        if self.state.has_trade(fill.venue, fill.trade_id):
            self.meter.duplicate_fill(fill.venue)
            return False
        key, traits = (fill.venue, fill.symbol), self.desks[fill.venue].gateway.traits
        if not traits.client_ids and fill.client_order_id is None:
            claimant = doubt.claimant(self.state.orders.values(), fill, partial_fills=traits.partial_fills)
            if claimant is not None:
                fill = msgspec.structs.replace(fill, client_order_id=claimant.client_order_id)
        self._find_lost(fill)
        if traits.wallet and (fill.client_order_id or "") not in self.state.orders:
            self._owner_traded(fill)
            return False
        self.know(key)
        order = self.state.orders.get(fill.client_order_id) if fill.client_order_id else None
        believed = order.filled_lots if order else 0
        late = order is not None and order.status.is_final
        self.record(FillRecorded(wire_ns=self.clock.wire_ns(), fill=fill))
        self.recent_fills.append(fill)
        self.filled_mono_ns[key] = self.clock.mono_ns()
        self.meter.fill(fill.venue, order is None)
        if order is None:
            self._foreign_fill(fill, key)
            return True
        if late and order.filled_lots > believed:
            self.meter.late_fill(fill.venue)
            self.log.warning(
                "late_fill", venue=fill.venue, symbol=fill.symbol, client_id=order.client_order_id, lots=fill.lots
            )
        self.report(order_filled(self.state, order, fill), order.prepared.strategy)
        self._after_fill(order)
        return True

    def _after_fill(self, order: OrderState) -> None:
        """A fill is evidence: complete orders are FILLED, refused ones were not refused after all."""
        if order.filled_lots > order.prepared.lots and order.prepared.purpose != ADOPTED:
            self.log.error("order_overfilled", client_id=order.client_order_id, filled_lots=order.filled_lots)
            if self.desks[order.prepared.venue].gateway.traits.client_ids:  # else a stranger's fill passed for its own
                self.freeze(order.key, "overfilled")
        if order.filled_lots >= order.prepared.lots and may_move(order.status, OrderStatus.FILLED):
            self.move_order(order.client_order_id, OrderStatus.FILLED, source="fills", filled_lots=order.fill_lots)
        elif order.status in (OrderStatus.REJECTED, OrderStatus.NOT_SENT):
            self.move_order(order.client_order_id, OrderStatus.EXPIRED, source="fills", detail="filled after all")
        else:
            self._wake(order)

    def _foreign_fill(self, fill: Fill, key: Key) -> None:
        """A liquidation, an auto-deleveraging, somebody's hand: alarm; the other legs shrink at once (DESIGN 4). What it put
        there beyond our own is foreign, beside a live pair too: nobody here may close it."""
        self.log.error(
            "foreign_fill",
            venue=fill.venue,
            symbol=fill.symbol,
            side=fill.side.value,
            lots=fill.lots,
            trade_id=fill.trade_id,
            ours_by_prefix=self.is_ours(fill.venue, fill.client_order_id),
        )
        self.on_hint(fill.venue, "foreign fill")
        lots, beyond = self.state.lots(key), self.state.sub_ledgers(key).get(REST, 0)
        if lots * fill.side.sign > 0 and beyond * fill.side.sign > 0:
            self.adopt(key, lots, foreign=True, why="fill without an order of ours")
        self._touch_pairs(key, "foreign fill")

    def _owner_traded(self, fill: Fill) -> None:
        """A trade in a wallet that no order of ours made: the owner's coins, not our ledger's. Should it have taken ours too, the
        other leg shrinks now if that is known, and else when the balance shows it: it is read soon."""
        if fill.trade_id in self._strangers:
            return
        self._strangers[fill.trade_id] = None
        if len(self._strangers) > STRANGERS_KEPT:
            del self._strangers[next(iter(self._strangers))]
        self.meter.fill(fill.venue, True)
        self.log.warning(
            "wallet_traded_by_owner", venue=fill.venue, symbol=fill.symbol, side=fill.side.value, lots=fill.lots
        )
        key, wallet = (fill.venue, fill.symbol), self.desks[fill.venue].wallet
        busy = any(order.key == key for order in self.state.open_orders())
        taken = 0 if wallet is None else wallet.note_owner(key, fill.lots * fill.side.sign, busy=busy)
        if taken and self.state.lots(key):
            self.log.error("wallet_sold_ours", venue=fill.venue, symbol=fill.symbol, lots=taken)
            self.adopt(key, max(0, self.state.lots(key) - taken), foreign=False, why="the wallet's owner sold it")
        self.on_hint(fill.venue, "a trade in the wallet that is not ours")

    def _find_lost(self, fill: Fill) -> None:
        """A power loss costs the last 10 ms of intents: a fill whose id carries our prefix, this account and an epoch just before
        ours is of such an order. Few can be; more would be another executor on this account, and is left foreign."""
        name = fill.client_order_id or ""
        tag = parse_client_order_id(name) if name not in self.state.orders and self.is_ours(fill.venue, name) else None
        former = tag is not None and self.state.epoch - LOST_EPOCHS <= tag.epoch < self.state.epoch
        if former and self._found_lost < LOST_MAX:
            self._found_lost += 1
            self.adopt_order(fill.venue, fill.symbol, name, fill.side, fill.lots)

    def on_funding(self, payment: FundingPayment) -> bool:
        """Record a funding payment; False when it was known."""
        if self.state.has_payment(payment.venue, payment.payment_id):
            return False
        self.record(
            FundingRecorded(
                wire_ns=self.clock.wire_ns(),
                venue=payment.venue,
                symbol=payment.symbol,
                payment_id=payment.payment_id,
                amount_usd=payment.amount_usd,
                ts_ns=payment.ts_ns,
            )
        )
        return True
