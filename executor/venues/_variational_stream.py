"""Variational's `/events` socket and what follows it: the orders and payments that are new (docs/venues/variational.md 3c, 8).

The socket numbers nothing and repeats nothing, so a frame is a hint that something is worth reading, and never the fact. The
Follower reads: at each hint, every POLL_S while an order of ours has no end, and not at all in between. It tells each fact
once: what had ended before it began is history, which the engine reads by itself.

A connection that has not said who it is within seconds is dropped by the venue: claims go out at once, and the stream is up
with the first heartbeat after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_S
from core.errors import Malformed, VenueError
from core.log import Log
from core.specs.variational import VENUE
from executor.venues import _variational_rows as rows
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._variational_flights import Flights, Owner
from executor.venues._variational_reads import Reads
from executor.venues.base import EventSink, FillSeen, FundingSeen, OrderSeen, StreamDown, StreamUp

HEARTBEAT, TRANSFER = "heartbeat", "transfer"
HINTS = frozenset(
    {"trade", "clearing_event", "canceled_order", "slippage_limit_warning", "allocation_change", TRANSFER}
)
POLL_S = 0.5

UNDECIDED_S = 0.2
PAUSE_S = 1.0  # after a read that failed
GAP_MARGIN_NS = 5 * NS_PER_S
MAX_TOLD = 5_000


class _Event(msgspec.Struct):
    type: str = ""


_event = msgspec.json.Decoder(_Event)


class EventStream:
    """Frames of the socket. `hint` hears what kind of thing happened; `refused` that the venue takes our claims no more."""

    def __init__(
        self, token: Callable[[], str], hint: Callable[[str], None], refused: Callable[[str], None], sink: EventSink
    ) -> None:
        self._token = token
        self._hint = hint
        self._refused = refused
        self._sink = sink
        self._claimed = ""  # the token that this connection stands on
        self._down_since_ns = 0
        self.round = 0  # counts claims(), so that a late check knows whether it is still meant
        self.up = asyncio.Event()

    def claims(self) -> bytes:
        """The first frame of a connection."""
        self._claimed = self._token()
        self.round += 1
        return msgspec.json.encode({"claims": self._claimed})

    def on_frame(self, data: bytes) -> None:
        try:
            kind = _event.decode(data).type
        except DECODE_ERRORS:
            if data.startswith(b"Token "):  # the venue's only words that are no JSON
                self._refused(self._claimed)
            return
        if kind == HEARTBEAT and not self.up.is_set():
            self.up.set()
            self._sink(StreamUp(venue=VENUE, since_wire_ns=self._down_since_ns))
            self._hint("")
        elif kind in HINTS:
            self._hint(kind)

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        """The connection is gone; what happens from now on must be read."""
        if self.up.is_set():
            self.up.clear()
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=VENUE, reason=reason))


class Follower:
    """Reads what is new and tells it, each thing once. Bounded: the oldest of MAX_TOLD are forgotten, long after they have
    left the newest page."""

    def __init__(
        self, reads: Reads, flights: Flights, symbols: Callable[[], rows.Symbols], sink: EventSink, log: Log
    ) -> None:
        self._reads = reads
        self._flights = flights
        self._symbols = symbols
        self._sink = sink
        self._log = log
        self._told: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._look_orders = False
        self._look_transfers = False

    def hint(self, kind: str) -> None:
        """Something happened; "" = anything may have."""
        self._look_orders |= kind != TRANSFER
        self._look_transfers |= kind in ("", TRANSFER)
        self._wake.set()

    async def begin(self) -> None:
        """What has ended by now is history. Raises VenueError."""
        for row in await self._reads.newest_orders():
            if row.status != "pending":
                self._note(row.rfq_id)
        for transfer in await self._reads.transfers():
            payment = rows.funding(transfer, self._symbols())
            if payment is not None:
                self._note(payment.payment_id)

    async def run(self) -> None:
        """Until cancelled."""
        wait_s: float | None = None
        while True:
            if self._flights.is_busy:
                wait_s = min(POLL_S, wait_s or POLL_S)
                self._look_orders = True
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                self._look_orders = True
            self._wake.clear()
            try:
                wait_s = await self._look()
            except VenueError as error:
                self._log.info("not_followed", venue=VENUE, detail=str(error))
                wait_s = PAUSE_S

    async def _look(self) -> float | None:
        """What is new; seconds after which to look again, None = when there is a reason to."""
        undecided = False
        if self._look_orders:
            self._look_orders = False
            for row in reversed(await self._reads.newest_orders()):
                undecided |= self._on_order(row)
        if self._look_transfers:
            self._look_transfers = False
            for transfer in reversed(await self._reads.transfers()):
                payment = rows.funding(transfer, self._symbols())
                if payment is not None and self._note(payment.payment_id):
                    self._sink(FundingSeen(payment=payment))
        return UNDECIDED_S if undecided else None

    def _on_order(self, row: rows.OrderRow) -> bool:
        """Tell an order that has ended; whether it is too early to say whose it is. A row that cannot be read must not keep
        those behind it from being told: it is noted and left to the engine's own readings."""
        if row.status == "pending" or row.rfq_id in self._told:
            return False
        try:
            if self._reads.owner(row) is Owner.UNDECIDED:
                return True
            order, fill = self._reads.order(row), self._reads.fill(row)
        except Malformed as error:
            self._note(row.rfq_id)
            self._log.error("order_row_malformed", venue=VENUE, detail=str(error))
            return False
        self._note(row.rfq_id)
        if order is None:
            self._log.warning("order_of_unknown_contract", venue=VENUE, rfq=row.rfq_id)
            return False
        if order.client_order_id is not None:
            self._flights.ended(order.client_order_id)
        if fill is not None:
            self._sink(FillSeen(fill=fill))
        if order.filled_lots or order.client_order_id is not None:
            self._log.info(
                "order_ended", venue=VENUE, rfq=row.rfq_id, status=row.status, clearing_status=row.clearing_status
            )
        self._sink(OrderSeen(venue=VENUE, order=order))
        return False

    def _note(self, name: str) -> bool:
        """Whether it is new."""
        if name in self._told:
            return False
        self._told[name] = None
        while len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return True
