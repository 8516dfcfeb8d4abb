"""Hyperliquid's private channels as events: orderUpdates, userFills, userFundings (docs/venues/hyperliquid.md 8).

Whose fill is it? The venue puts the cloid on a fill only sometimes. So, in order: the row's own cloid; the order id as
an answer, an order update or an earlier read named it; else the fill waits OWNER_WAIT_S for one of those (all of them
travel at the same moment) and then orderStatus is asked by order id. Only what the venue says is not ours, and
liquidations of this account, are delivered without client id: a fill of ours taken for a foreign one would make the
executor shrink a healthy hedge. If the venue cannot be asked either (OWNER_TRIES), the fill is delivered as foreign
with an error in the log: a position nobody counts is worse.

Snapshots are ignored: after each subscription `StreamUp` names the time from which the engine reads fills by REST, so
that a gap is read once and in order. No channel carries a sequence number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed, VenueError
from core.log import Log
from core.types import OrderStatus
from executor.background import Background
from executor.venues import _hyperliquid_rows as rows
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._memory import OrderMemory
from executor.venues.base import EventSink, FillSeen, FundingSeen, OrderSeen, StreamDown, StreamUp, VenueOrder

CHANNELS = ("orderUpdates", "userFills", "userFundings")
GAP_MARGIN_NS = 5 * NS_PER_S
OWNER_WAIT_S = 0.25
OWNER_TRIES = 4
OWNER_PAUSE_S = 0.5
MAX_PARKED = 2000
FIRST_TEXT = b"Websocket connection established."


class Frame(msgspec.Struct):
    channel: str
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Subscribed(msgspec.Struct):
    method: str


_frame = msgspec.json.Decoder(Frame)


def decode_frame(data: bytes) -> Frame | None:
    """None for what is no frame (the greeting, garbage)."""
    try:
        return _frame.decode(data)
    except DECODE_ERRORS:
        return None


class PrivateStream:
    """Turns frames of the private channels into events for `sink`. `owner` asks the venue whose an order id is."""

    def __init__(
        self,
        user: str,
        memory: OrderMemory,
        coins: Callable[[], rows.Coins],
        owner: Callable[[str], Awaitable[str | None]],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._user = user
        self._memory = memory
        self._coins = coins
        self._owner = owner
        self._sink = sink
        self._log = log
        self._acks = 0
        self.round = 0  # counts subscriptions(), so that a late check knows whether it is still meant
        self._down_since_ns = 0
        self._parked: dict[str, list[rows.FillRow]] = {}
        self._background = Background()
        self.up = asyncio.Event()

    def subscriptions(self) -> list[bytes]:
        """The frames to send on a fresh connection, each once."""
        self._acks = 0
        self.round += 1
        wanted = [{"type": channel, "user": self._user} for channel in CHANNELS]
        return [msgspec.json.encode({"method": "subscribe", "subscription": each}) for each in wanted]

    def on_frame(self, frame: Frame) -> bool:
        """Whether the channel is one of ours. Rows that do not decode are logged and dropped; the gap is read later."""
        try:
            match frame.channel:
                case "orderUpdates":
                    for update in rows.decode(frame.data, list[rows.OrderState], frame.channel):
                        self._on_order(update)
                case "userFills":
                    fills = rows.decode(frame.data, rows.FillsMessage, frame.channel)
                    for row in [] if fills.isSnapshot else fills.fills:
                        self._on_fill(row)
                case "userFundings":
                    fundings = rows.decode(frame.data, rows.FundingsMessage, frame.channel)
                    for delta in [] if fundings.isSnapshot else fundings.fundings:
                        self._on_funding(delta)
                case "subscriptionResponse":
                    if rows.decode(frame.data, _Subscribed, frame.channel).method == "subscribe":
                        self._on_ack()
                case _:
                    return False
        except Malformed as error:
            self._log.error("private_frame_malformed", venue="hyperliquid", channel=frame.channel, detail=str(error))
        return True

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        """The connection is gone; what happens from now on must be read."""
        if self.up.is_set():
            self.up.clear()
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    async def close(self) -> None:
        await self._background.close()

    def owner_known(self, venue_order_id: str) -> None:
        """An answer, update or lookup named the order: its waiting fills go out."""
        for row in self._parked.pop(venue_order_id, []):
            self._emit_fill(row, self._memory.client_of(venue_order_id))

    def _on_ack(self) -> None:
        self._acks += 1
        if self._acks == len(CHANNELS):
            self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))
            self.up.set()

    def _on_order(self, update: rows.OrderState) -> None:
        order = rows.order(update.order, rows.status_of(update.status), self._coins())
        if order is None:
            return
        self._memory.bind(order.venue_order_id, order.client_order_id)
        if self._is_measurable(order):
            self._sink(OrderSeen(venue=rows.VENUE, order=order))
        self.owner_known(order.venue_order_id)

    def _is_measurable(self, order: VenueOrder) -> bool:
        """Whether the update's filled size can be believed: a reduce-only order may have been shrunk, and then original
        less remaining overstates. Such an end is left to its answer, its fills or a lookup unless the fills agree."""
        sent = None if order.client_order_id is None else self._memory.sent(order.client_order_id)
        reduce_only = order.reduce_only or (sent is not None and sent.reduce_only)
        if not reduce_only or order.status is OrderStatus.ACCEPTED:
            return True
        return order.filled_lots == self._memory.filled(order.venue_order_id)

    def _on_fill(self, row: rows.FillRow) -> None:
        order_id, client_order_id = str(row.oid), rows.client_id(row.cloid)
        if client_order_id is not None:
            self._memory.bind(order_id, client_order_id)
            self._emit_fill(row, client_order_id)
        elif row.cloid is not None or rows.is_foreign(row, self._user):
            self._emit_fill(row, None)
        elif self._memory.knows(order_id):
            self._emit_fill(row, self._memory.client_of(order_id))
        else:
            self._park(order_id, row)

    def _park(self, order_id: str, row: rows.FillRow) -> None:
        if sum(len(each) for each in self._parked.values()) >= MAX_PARKED:
            self._log.error("too_many_fills_without_owner", venue="hyperliquid", oid=order_id)
            self._emit_fill(row, None)
            return
        self._parked.setdefault(order_id, []).append(row)
        if len(self._parked[order_id]) == 1:
            self._background.spawn(self._ask_owner(order_id))

    async def _ask_owner(self, order_id: str) -> None:
        await asyncio.sleep(OWNER_WAIT_S)
        for attempt in range(OWNER_TRIES):
            if order_id not in self._parked:
                return
            try:
                await self._owner(order_id)
            except VenueError as error:
                self._log.warning("fill_owner_unknown", venue="hyperliquid", oid=order_id, detail=str(error))
                await asyncio.sleep(OWNER_PAUSE_S * (attempt + 1))
            else:
                self.owner_known(order_id)
                return
        self._log.error("fill_taken_for_foreign", venue="hyperliquid", oid=order_id)
        self.owner_known(order_id)

    def _emit_fill(self, row: rows.FillRow, client_order_id: str | None) -> None:
        fill = rows.fill(row, self._coins(), client_order_id)
        if fill is None:
            self._log.warning("fill_of_unknown_coin", venue="hyperliquid", coin=row.coin)
            return
        self._memory.add_fill(fill.venue_order_id, fill.lots)
        self._sink(FillSeen(fill=fill))

    def _on_funding(self, delta: rows.FundingDelta) -> None:
        payment = rows.funding(delta, delta.time, self._coins())
        if payment is not None:
            self._sink(FundingSeen(payment=payment))
