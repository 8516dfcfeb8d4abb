"""Looking up orders that nobody reported (settings `verify_retries`, `verify_delay_s`).

"Accepted" is the API's word; an order may also end without any report, and the answer itself may be lost
(docs/venues/lighter.md 7). So the watch begins when the bytes leave, not when the answer comes: a lost answer beside a silent
stream would else hide a filled leg for the whole time that a request is given. Each order is given `delay_s` to be heard of
and is then asked for, at most `retries` times; what is found goes the way of the stream. What is still not known then is left
to the executor's own rules for orders in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.errors import VenueError
from core.log import Log
from core.types import OrderStatus, TimeInForce, Venue
from executor.venues._memory import SentOrder
from executor.venues.base import EventSink, NotFound, OrderSeen, VenueOrder

MAX_CASES = 200

Lookup = Callable[[str], Awaitable[VenueOrder | NotFound]]
"""By client order id."""


class Verifier:
    """One waiting task per order that left, at most MAX_CASES."""

    def __init__(self, lookup: Lookup, retries: int, delay_s: float, venue: Venue, sink: EventSink, log: Log) -> None:
        self._lookup = lookup
        self._retries = retries
        self._delay_s = delay_s
        self._venue = venue
        self._sink = sink
        self._log = log
        self._cases: dict[str, asyncio.Task[None]] = {}

    def watch(self, sent: SentOrder) -> None:
        """It has left; its end (or, for one that rests, its beginning) should be told soon."""
        if self._retries and len(self._cases) < MAX_CASES and sent.client_order_id not in self._cases:
            task = asyncio.create_task(self._verify(sent))
            self._cases[sent.client_order_id] = task
            task.add_done_callback(lambda _: self._cases.pop(sent.client_order_id, None))

    def heard(self, order: VenueOrder) -> None:
        """The stream told of an order."""
        task = self._cases.get(order.client_order_id or "")
        if task is not None and order.status.is_final:
            task.cancel()

    def refused(self, client_order_id: str) -> None:
        """The API said no, or it never left: there is nothing to look for."""
        task = self._cases.get(client_order_id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._cases.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _verify(self, sent: SentOrder) -> None:
        for _ in range(self._retries):
            await asyncio.sleep(self._delay_s)
            try:
                found = await self._lookup(sent.client_order_id)
            except VenueError as error:
                self._log.info(
                    "order_not_verified", venue=self._venue, client_id=sent.client_order_id, detail=str(error)
                )
                continue
            if isinstance(found, NotFound) and found.definitive:
                self._sink(OrderSeen(venue=self._venue, order=_never(sent)))
                return
            if isinstance(found, VenueOrder):
                self._sink(OrderSeen(venue=self._venue, order=found))
                if found.status.is_final or sent.time_in_force is not TimeInForce.IOC:
                    return


def _never(sent: SentOrder) -> VenueOrder:
    """Its nonce is spent, and there is no such order: it failed in the sequencer, or something later overtook it."""
    return VenueOrder(
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
