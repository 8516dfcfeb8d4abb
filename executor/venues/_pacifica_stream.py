"""Pacifica's private channels as events: account_order_updates and account_trades (docs/venues/pacifica.md 8).

Neither has a snapshot: after each subscription `StreamUp` names the time from which the engine reads by REST, so that a gap
is read once and in order. Every order of ours carries its client id and the venue puts it on every fill, so a fill without
one, or of another cause than trading, is not ours. Channels of positions and orders are left out: the venue says that they
may lag behind these two.

An update whose order number (`li`) lies below the one last seen for its order is old and dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed
from core.log import Log
from executor.venues import _pacifica_rows as rows
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._memory import OrderMemory
from executor.venues._pacifica_answers import SocketAnswer
from executor.venues._pacifica_reads import ended
from executor.venues.base import EventSink, FillSeen, OrderSeen, StreamDown, StreamUp, VenueOrder

CHANNELS = ("account_order_updates", "account_trades")
GAP_MARGIN_NS = 5 * NS_PER_S
MAX_NUMBERS = 2_000  # orders whose last number is remembered


class Budget(msgspec.Struct):
    """Credits left, and per minute, both times ten."""

    r: int
    q: int


class Frame(msgspec.Struct):
    """Any frame: channels have data, answers to operations a code."""

    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    code: int | None = None
    id: str = ""
    err: str = ""
    rl: Budget | None = None

    def answer(self) -> SocketAnswer | None:
        return None if self.code is None else SocketAnswer(self.code, self.id, self.data, self.err)


class _Subscribed(msgspec.Struct):
    source: str


_frame = msgspec.json.Decoder(Frame)


def decode_frame(data: bytes) -> Frame | None:
    """None for what is no frame."""
    try:
        return _frame.decode(data)
    except DECODE_ERRORS:
        return None


class PrivateStream:
    """Turns frames of the private channels into events for `sink`; `heard` is told of every order update of ours."""

    def __init__(
        self,
        account: str,
        memory: OrderMemory,
        symbols: Callable[[], rows.Symbols],
        heard: Callable[[VenueOrder], None],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._account = account
        self._memory = memory
        self._symbols = symbols
        self._heard = heard
        self._sink = sink
        self._log = log
        self._unacknowledged: set[str] = set()
        self._numbers: dict[int, int] = {}
        self.round = 0  # counts subscriptions(), so that a late check knows whether it is still meant
        self._down_since_ns = 0
        self.up = asyncio.Event()

    def subscriptions(self) -> list[bytes]:
        """The frames to send on a fresh connection, each once."""
        self._unacknowledged = set(CHANNELS)
        self.round += 1
        wanted = [{"source": source, "account": self._account} for source in CHANNELS]
        return [msgspec.json.encode({"method": "subscribe", "params": each}) for each in wanted]

    def on_frame(self, frame: Frame) -> None:
        """Rows that do not decode are logged and dropped; what they told is read later."""
        try:
            match frame.channel:
                case "account_order_updates":
                    for update in rows.decode(frame.data, list[rows.OrderUpdate], frame.channel):
                        self._on_order(update)
                case "account_trades":
                    for trade in rows.decode(frame.data, list[rows.FillUpdate], frame.channel):
                        self._on_fill(trade.row())
                case "subscribe":
                    self._on_ack(rows.decode(frame.data, _Subscribed, frame.channel).source)
        except Malformed as error:
            self._log.error("private_frame_malformed", venue=rows.VENUE, channel=frame.channel, detail=str(error))

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        """The connection is gone; what happens from now on must be read."""
        if self.up.is_set():
            self.up.clear()
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    def _on_ack(self, source: str) -> None:
        self._unacknowledged.discard(source)
        if not self._unacknowledged and not self.up.is_set():
            self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))
            self.up.set()

    def _on_order(self, update: rows.OrderUpdate) -> None:
        order = rows.order(update.row(), self._symbols())
        if order is None or update.li < self._numbers.get(update.i, 0):
            return
        self._numbers[update.i] = update.li
        while len(self._numbers) > MAX_NUMBERS:
            del self._numbers[next(iter(self._numbers))]
        self._memory.bind(order.venue_order_id, order.client_order_id)
        order = ended(order, self._memory)
        self._heard(order)
        self._sink(OrderSeen(venue=rows.VENUE, order=order))

    def _on_fill(self, row: rows.FillRow) -> None:
        fill = rows.fill(row, self._symbols())
        if fill is None:
            self._log.warning("fill_of_unknown_symbol", venue=rows.VENUE, symbol=row.symbol)
            return
        self._memory.bind(fill.venue_order_id, fill.client_order_id)
        self._memory.add_fill(fill.venue_order_id, fill.lots)
        self._sink(FillSeen(fill=fill))
