"""What a gateway remembers of orders: enough to read answers, and to tell whose a fill is when the venue does not say.

Bounded: the oldest MAX_ORDERS give way. Not durable and never the truth: the engine's journal is.
"""

from __future__ import annotations

import msgspec

from core.types import Instrument, Side, TimeInForce
from executor.venues.base import OrderRequest

MAX_ORDERS = 20_000


class SentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that this process signed."""

    client_order_id: str
    instrument: Instrument
    side: Side
    lots: int
    time_in_force: TimeInForce
    reduce_only: bool
    nonce: int
    prepared_wire_ns: int
    expires_wire_ns: int


class OrderMemory:
    """Sent orders by client id and nonce, client ids by venue order id and back, and how much of an order the stream showed
    filled."""

    def __init__(self) -> None:
        self._sent: dict[str, SentOrder] = {}
        self._by_nonce: dict[int, str] = {}
        self._clients: dict[str, str | None] = {}
        self._orders: dict[str, str] = {}
        self._filled: dict[str, int] = {}

    def note(self, request: OrderRequest, nonce: int, wire_ns: int) -> None:
        """Before the bytes leave."""
        self._sent[request.client_order_id] = SentOrder(
            client_order_id=request.client_order_id,
            instrument=request.instrument,
            side=request.side,
            lots=request.lots,
            time_in_force=request.time_in_force,
            reduce_only=request.reduce_only,
            nonce=nonce,
            prepared_wire_ns=wire_ns,
            expires_wire_ns=request.expires_wire_ns,
        )
        self._by_nonce[nonce] = request.client_order_id
        _bound(self._sent)
        _bound(self._by_nonce)

    def sent(self, client_order_id: str) -> SentOrder | None:
        return self._sent.get(client_order_id)

    def sent_with(self, nonce: int) -> SentOrder | None:
        return self._sent.get(self._by_nonce.get(nonce, ""))

    def bind(self, venue_order_id: str, client_order_id: str | None) -> None:
        """The venue named both ids of one order; None = it said that the order is not ours."""
        if venue_order_id:
            self._clients[venue_order_id] = client_order_id
            _bound(self._clients)
            if client_order_id is not None:
                self._orders[client_order_id] = venue_order_id
                _bound(self._orders)

    def knows(self, venue_order_id: str) -> bool:
        """Whether it is known whose this order is, ours or not."""
        return venue_order_id in self._clients

    def client_of(self, venue_order_id: str) -> str | None:
        return self._clients.get(venue_order_id)

    def order_of(self, client_order_id: str) -> str | None:
        """The venue's id of an order of ours, once the venue named it."""
        return self._orders.get(client_order_id)

    def add_fill(self, venue_order_id: str, lots: int) -> None:
        self._filled[venue_order_id] = self._filled.get(venue_order_id, 0) + lots
        _bound(self._filled)

    def filled(self, venue_order_id: str) -> int:
        """Lots of this order that the stream has shown as filled."""
        return self._filled.get(venue_order_id, 0)


def _bound(
    table: dict[str, SentOrder] | dict[int, str] | dict[str, str] | dict[str, str | None] | dict[str, int],
) -> None:
    while len(table) > MAX_ORDERS:
        del table[next(iter(table))]  # type: ignore[arg-type]
