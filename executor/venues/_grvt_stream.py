"""GRVT's private streams as events (docs/venues/grvt.md 3, 7, 8).

    v1.order      whole orders at every change: the only word about what became of an acknowledged order
    v1.fill       executions with our client number; its fee is the venue's own
    v1.position   hints
    v1.cancel     cancels that found nothing; only logged

Each stream is a chain per connection: the acknowledgement names the first number, every message the one it follows. Messages
under number 0 are the snapshot. A break means that something was missed: the connection is given up, and `StreamUp` names
the time from which the engine reads by REST. The same number twice is a duplicate and passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from core.clock import NS_PER_S
from core.errors import Malformed
from core.log import Log
from executor.venues import _grvt_rows as rows
from executor.venues._grvt_answers import ErrorRow
from executor.venues._memory import OrderMemory
from executor.venues.base import EventSink, FillSeen, OrderSeen, PositionSeen, StreamDown, StreamUp, VenueOrder

STREAMS = ("v1.order", "v1.fill", "v1.position", "v1.cancel")
GAP_MARGIN_NS = 5 * NS_PER_S
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Subscribed(msgspec.Struct):
    stream: str = ""
    subs: list[str] = []
    first_sequence_number: list[Count] = []


class Frame(msgspec.Struct):
    """Whatever comes on the socket: a message of a stream (`stream`), or an answer (`jsonrpc`)."""

    stream: str = ""
    sequence_number: Count = 0
    prev_sequence_number: Count = 0
    feed: msgspec.Raw = msgspec.Raw(b"")
    jsonrpc: str = ""
    id: int = 0
    method: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorRow | None = None


def decode_frame(data: bytes) -> Frame:
    """Raises Malformed."""
    return rows.decode(data, Frame, "frame")


class PrivateStream:
    """Turns frames into events for `sink`. `heard` is told of every order before the sink is; `broken` that the connection
    must be given up."""

    def __init__(
        self,
        sub_account: str,
        memory: OrderMemory,
        listed: Callable[[], rows.Listed],
        names: rows.Names,
        heard: Callable[[VenueOrder], None],
        broken: Callable[[str], None],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._sub_account = sub_account
        self._memory = memory
        self._listed = listed
        self._names = names
        self._heard = heard
        self._broken = broken
        self._sink = sink
        self._log = log
        self._chains: dict[str, int] = {}  # by stream, the number that comes next; 0 = not told
        self._down_since_ns = 0
        self.up = asyncio.Event()

    def subscriptions(self) -> list[bytes]:
        """The frames to send on a fresh connection."""
        self._chains.clear()
        return [
            msgspec.json.encode(
                {
                    "jsonrpc": "2.0",
                    "method": "subscribe",
                    "params": {"stream": stream, "selectors": [self._sub_account]},
                    "id": number,
                }
            )
            for number, stream in enumerate(STREAMS, 1)
        ]

    def on_answer(self, frame: Frame) -> None:
        """An answer to a subscription. A refused one leaves us deaf: the connection is given up."""
        if frame.error is not None:
            self._broken(f"a private stream was refused, code {frame.error.code}")
            return
        try:
            said = rows.decode(bytes(frame.result), Subscribed, "subscription")
        except Malformed as error:
            self._broken(str(error))
            return
        self._chains[said.stream] = said.first_sequence_number[0] if said.first_sequence_number else 0
        if not self.up.is_set() and self._chains.keys() >= set(STREAMS):
            self.up.set()
            self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))

    def on_frame(self, frame: Frame) -> None:
        """A message of a stream. One that does not decode is logged, and the connection given up: its place in the chain is
        known, what it said is not."""
        if not self._follows(frame):
            return
        try:
            self._tell(frame)
        except Malformed as error:
            self._log.error("private_frame_malformed", venue="grvt", stream=frame.stream, detail=str(error))
            self._broken("a private message does not decode")

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        """The connection is gone; what happens from now on must be read."""
        if self.up.is_set():
            self.up.clear()
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    def _follows(self, frame: Frame) -> bool:
        number = frame.sequence_number
        if not number:
            return True
        due = self._chains.get(frame.stream, 0)
        if due and number == due - 1:
            return False  # a duplicate of the last one
        if due and number != due:
            self._broken(f"{frame.stream}: {number} came where {due} was due")
            return False
        self._chains[frame.stream] = number + 1
        return True

    def _tell(self, frame: Frame) -> None:
        data = bytes(frame.feed)
        match frame.stream:
            case "v1.order":
                self._on_order(rows.decode(data, rows.OrderRow, frame.stream))
            case "v1.fill":
                self._on_fill(rows.decode(data, rows.FillRow, frame.stream))
            case "v1.position":
                position = rows.position(rows.decode(data, rows.PositionRow, frame.stream), self._listed())
                if position is not None:
                    self._sink(PositionSeen(position=position))
            case _:
                self._log.debug("private_message", venue="grvt", stream=frame.stream)

    def _on_order(self, row: rows.OrderRow) -> None:
        order = rows.order(row, self._listed(), self._names)
        if order is None:
            self._log.warning("order_of_unknown_instrument", venue="grvt", instrument=row.legs[0].instrument)
            return
        self._memory.bind(order.venue_order_id, order.client_order_id)
        self._heard(order)
        self._sink(OrderSeen(venue=rows.VENUE, order=order))

    def _on_fill(self, row: rows.FillRow) -> None:
        fill = rows.fill(row, self._listed(), self._names)
        if fill is None:
            self._log.warning("fill_of_unknown_instrument", venue="grvt", instrument=row.instrument)
            return
        self._memory.bind(fill.venue_order_id, fill.client_order_id)
        self._sink(FillSeen(fill=fill))
