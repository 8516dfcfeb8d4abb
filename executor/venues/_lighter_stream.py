"""Lighter's private channels as events (docs/venues/lighter.md 7, 8).

    account_all_orders      every change of an order: the only place where an accepted order's end is told
    account_all_trades      fills, with our client index; its snapshot is always empty
    account_all_positions   hints; whether a frame is whole or only what changed is not settled, so absence says nothing
    account_tx              transactions: the only word about an order that failed without ever becoming one
    user_stats              no events: its time stamps tell the venue's clock

The stream is up when all have acknowledged; what happened before is read by REST from the time that `StreamUp` names.
Funding is read by reconciliation: the notice names neither payment nor sign.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed
from core.log import Log
from core.types import OrderStatus
from executor.signing.lighter import CREATE_ORDER
from executor.venues import _lighter_rows as rows
from executor.venues._lighter_index import ClientIndex
from executor.venues._memory import OrderMemory
from executor.venues.base import EventSink, FillSeen, OrderSeen, PositionSeen, StreamDown, StreamUp, VenueOrder

CHANNELS = ("account_all_orders", "account_all_trades", "account_all_positions", "account_tx", "user_stats")
OPEN_CHANNELS = frozenset({"user_stats"})
GAP_MARGIN_NS = 5 * NS_PER_S
TX_FAILED = 0


class PrivateStream:
    """Turns frames into events for `sink`. `order_of` names the order whose creation a transaction hash was; `heard` is
    told of every order seen before the sink is."""

    def __init__(
        self,
        account: int,
        memory: OrderMemory,
        index: ClientIndex,
        listed: Callable[[], rows.Listed],
        order_of: Callable[[str], str],
        heard: Callable[[VenueOrder], None],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._account = account
        self._memory = memory
        self._index = index
        self._listed = listed
        self._order_of = order_of
        self._heard = heard
        self._sink = sink
        self._log = log
        self._acked: set[str] = set()
        self._down_since_ns = 0
        self.up = asyncio.Event()

    def subscriptions(self, token: str) -> list[bytes]:
        """The frames to send on a fresh connection, each once."""
        self._acked.clear()
        frames = []
        for name in CHANNELS:
            frame = {"type": "subscribe", "channel": f"{name}/{self._account}"}
            frames.append(msgspec.json.encode(frame if name in OPEN_CHANNELS else frame | {"auth": token}))
        return frames

    def on_frame(self, frame: rows.Frame, data: bytes) -> None:
        """Rows that do not decode are logged and dropped; lookups and the next gap read find what they said."""
        verb, _, name = frame.type.partition("/")
        try:
            if verb == "subscribed":
                self._on_ack(name, data)
            elif verb == "update":
                self._on_update(name, data)
        except Malformed as error:
            self._log.error("private_frame_malformed", venue="lighter", channel=name, detail=str(error))

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        """The connection is gone; what happens from now on must be read."""
        if self.up.is_set():
            self.up.clear()
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    def _on_ack(self, name: str, data: bytes) -> None:
        if name == "account_all_orders":
            self._on_orders(data)
        if name in CHANNELS:
            self._acked.add(name)
        if not self.up.is_set() and len(self._acked) == len(CHANNELS):
            self.up.set()
            self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))

    def _on_update(self, name: str, data: bytes) -> None:
        match name:
            case "account_all_orders":
                self._on_orders(data)
            case "account_all_trades":
                for trades in rows.decode(data, rows.TradesFrame, name).trades.values():
                    for trade in trades:
                        self._on_trade(trade)
            case "account_all_positions":
                for row in rows.decode(data, rows.PositionsFrame, name).positions.values():
                    position = rows.position(row, self._listed())
                    if position is not None:
                        # margin is percent by REST; here a fraction has been seen too: not told
                        self._sink(PositionSeen(position=msgspec.structs.replace(position, leverage=0)))
            case "account_tx":
                for tx in rows.decode(data, rows.TxsFrame, name).txs:
                    self._on_tx(tx)
            case _:
                return

    def _on_orders(self, data: bytes) -> None:
        for orders in rows.decode(data, rows.OrdersFrame, "account_all_orders").orders.values():
            for row in orders:
                order = rows.order(row, self._listed(), self._index.name)
                if order is None:
                    self._log.warning("order_of_unknown_market", venue="lighter", market=row.market_index)
                    continue
                self._memory.bind(order.venue_order_id, order.client_order_id)
                self._tell(order)

    def _on_trade(self, row: rows.TradeRow) -> None:
        found = rows.fills(row, self._listed(), self._account, self._index.name)
        if not found:
            self._log.warning("fill_of_unknown_market", venue="lighter", market=row.market_id)
        for fill in found:
            self._memory.bind(fill.venue_order_id, fill.client_order_id)
            self._sink(FillSeen(fill=fill))

    def _on_tx(self, tx: rows.TxRow) -> None:
        """A creation that failed in the sequencer: the nonce is spent, and there never was an order."""
        if tx.status != TX_FAILED:
            return
        self._log.warning("transaction_failed", venue="lighter", kind=tx.type, detail=tx.event_info[:200])
        sent = self._memory.sent(self._order_of(tx.hash.lower()))
        if sent is None or tx.type != CREATE_ORDER:
            return
        self._tell(
            VenueOrder(
                symbol=sent.instrument.symbol,
                venue_order_id="",
                client_order_id=sent.client_order_id,
                side=sent.side,
                lots=sent.lots,
                filled_lots=0,
                status=OrderStatus.CANCELED,
                avg_px=None,
                reduce_only=sent.reduce_only,
            )
        )

    def _tell(self, order: VenueOrder) -> None:
        self._heard(order)
        self._sink(OrderSeen(venue=rows.VENUE, order=order))
