"""EdgeX's private stream as events (docs/venues/edgex.md 8).

Nothing is subscribed: after `connected` comes a snapshot, then one frame per event with whatever lists it changed. The
snapshot is the moment from which nothing is missed, so it is `StreamUp`; what lies before it is read by REST.

`version` orders the events of an account, with gaps of its own. A frame that is not newer than the newest seen says nothing
about how an order or a position stands now; its fills are delivered all the same, since a fill is true whenever it comes and
the engine knows it by its id. Fills name no client id: it is that of their order, which mostly stands in the same frame. If
not, the venue is asked whose it is (OWNER_TRIES); a fill of ours taken for a foreign one would make the executor shrink a
healthy hedge, and one that nobody counts is worse still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed, VenueError
from core.log import Log
from executor.background import Background
from executor.venues import _edgex_rows as rows
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._memory import OrderMemory
from executor.venues.base import (
    EventSink,
    FillSeen,
    FundingSeen,
    OrderSeen,
    PositionSeen,
    StreamDown,
    StreamUp,
    VenueOrder,
)

GAP_MARGIN_NS = 5 * NS_PER_S
OWNER_WAIT_S = 0.25
OWNER_TRIES = 4
OWNER_PAUSE_S = 0.5
MAX_PARKED = 2000
ALARMS = frozenset({"START_LIQUIDATING", "FORCE_TRADE_UPDATE", "FORCE_WITHDRAW_UPDATE"})


class _Frame(msgspec.Struct):
    type: str
    time: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


_frames = msgspec.json.Decoder(_Frame)


class PrivateStream:
    """Turns frames into events for `sink`. `learn` asks the venue whose orders are; `reply` writes a frame back; `ordered`
    hears of every order that was told."""

    def __init__(
        self,
        memory: OrderMemory,
        listed: Callable[[], rows.Listed],
        learn: Callable[[Iterable[str]], Awaitable[None]],
        reply: Callable[[bytes], None],
        ordered: Callable[[VenueOrder], None],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._memory = memory
        self._listed = listed
        self._learn = learn
        self._reply = reply
        self._ordered = ordered
        self._sink = sink
        self._log = log
        self._up = False
        self._down_since_ns = 0
        self._version = -1
        self._parked: dict[str, list[rows.FillRow]] = {}
        self._background = Background()

    def on_frame(self, data: bytes) -> None:
        """What does not decode is logged and dropped; reconciliation and the next gap read find what it said."""
        try:
            frame = _frames.decode(data)
        except DECODE_ERRORS as error:
            self._log.error("private_frame_malformed", venue="edgex", detail=str(error))
            return
        if frame.type == "ping":
            self._reply(msgspec.json.encode({"type": "pong", "time": frame.time}))
        elif frame.type == "trade-event":
            try:
                self._on_event(rows.decode(frame.content, rows.Content, "trade-event"))
            except Malformed as error:
                self._log.error("private_frame_malformed", venue="edgex", detail=str(error))
        elif frame.type == "error":
            self._log.warning("private_stream_error", venue="edgex")

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        if self._up:
            self._up = False
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    async def close(self) -> None:
        await self._background.close()

    def _on_event(self, content: rows.Content) -> None:
        data = content.data
        for row in data.order or ():
            self._memory.bind(row.id, rows.client_id(row.clientOrderId))
        if content.event == "Snapshot":
            self._version = content.version
            if not self._up:
                self._up = True
                self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))
            return
        if content.event in ALARMS:
            self._log.error("account_event", venue="edgex", event_name=content.event)
        for fill in data.orderFillTransaction or ():
            self._on_fill(fill)
        for payment in rows.fundings(data.positionTransaction or (), self._listed()):
            self._sink(FundingSeen(payment=payment))
        if content.version <= self._version:
            return
        self._version = content.version
        for row in data.order or ():
            self._on_order(row)
        for held in data.position or ():
            position = rows.stream_position(held, self._listed())
            if position is not None:
                self._sink(PositionSeen(position=position))

    def _on_order(self, row: rows.OrderRow) -> None:
        order = rows.order(row, self._listed())
        if order is None:
            self._log.warning("order_of_unknown_contract", venue="edgex", contract=row.contractId)
            return
        self._ordered(order)
        self._sink(OrderSeen(venue=rows.VENUE, order=order))
        self._let_go(row.id)

    def _on_fill(self, row: rows.FillRow) -> None:
        if self._memory.knows(row.orderId):
            self._emit(row, self._memory.client_of(row.orderId))
        elif sum(map(len, self._parked.values())) >= MAX_PARKED:
            self._log.error("too_many_fills_without_owner", venue="edgex", order_id=row.orderId)
            self._emit(row, None)
        else:
            self._parked.setdefault(row.orderId, []).append(row)
            if len(self._parked[row.orderId]) == 1:
                self._background.spawn(self._ask_owner(row.orderId))

    async def _ask_owner(self, order_id: str) -> None:
        await asyncio.sleep(OWNER_WAIT_S)
        for attempt in range(OWNER_TRIES):
            if order_id not in self._parked:
                return
            try:
                await self._learn([order_id])
            except VenueError as error:
                self._log.warning("fill_owner_unknown", venue="edgex", order_id=order_id, detail=str(error))
                await asyncio.sleep(OWNER_PAUSE_S * (attempt + 1))
            else:
                self._let_go(order_id)
                return
        self._log.error("fill_taken_for_foreign", venue="edgex", order_id=order_id)
        self._let_go(order_id)

    def _let_go(self, order_id: str) -> None:
        """It is known whose the order is, or it never will be: its waiting fills go out."""
        for row in self._parked.pop(order_id, []):
            self._emit(row, self._memory.client_of(order_id))

    def _emit(self, row: rows.FillRow, client_order_id: str | None) -> None:
        fill = rows.fill(row, self._listed(), client_order_id)
        if fill is None:
            self._log.warning("fill_of_unknown_contract", venue="edgex", contract=row.contractId)
            return
        self._sink(FillSeen(fill=fill))
