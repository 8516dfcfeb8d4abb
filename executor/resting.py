"""What rests at a venue, against what the journal says should: adopted, cancelled, asked about, or left alone.

    ours by prefix, unknown to the journal   adopted (a power loss can cost the last 10 ms of intents), then cancelled
    ours, finished by the journal            cancelled: the venue is right that it rests
    ours, from a dead epoch                  cancelled: its owner is gone
    ours, resting by the journal, not listed asked about: it ended without telling
    without our prefix                       counted and reported, left alone (flatten takes it)

Lists are compared only with what the journal held before the list was asked for.
"""

from __future__ import annotations

from core.clock import NS_PER_S
from core.ids import parse_client_order_id
from core.types import OrderStatus, Venue
from executor.engine import Engine
from executor.resolver import Resolver
from executor.venues.base import CancelRequest, VenueOrder

CANCEL_AGAIN_NS = 5 * NS_PER_S


class RestingOrders:
    """One venue. `foreign`: open orders without our prefix, as last listed."""

    def __init__(self, engine: Engine, venue: Venue, resolver: Resolver) -> None:
        self.foreign = 0
        self._engine = engine
        self._venue = venue
        self._resolver = resolver
        self._cancelled_ns: dict[str, int] = {}

    async def judge(self, orders: list[VenueOrder], began_wire_ns: int) -> bool:
        """Act on one complete list whose request was sent at `began_wire_ns`; True = list again soon to see the effect."""
        engine = self._engine
        listed: set[str] = set()
        foreign = unwanted = 0
        for order in orders:
            name = order.client_order_id
            if name is None or not engine.is_ours(self._venue, name):
                foreign += 1
                continue
            listed.add(name)
            why = self._unwanted(order, name, began_wire_ns)
            if why:
                unwanted += 1
                await self._cancel(order, why)
        if foreign != self.foreign:
            engine.log.warning("foreign_orders", venue=self._venue, count=foreign)
        self.foreign = foreign
        for mine in engine.state.open_orders():
            rests = mine.status is OrderStatus.ACCEPTED and mine.prepared.venue == self._venue
            if rests and mine.client_order_id not in listed and mine.moved_wire_ns < began_wire_ns:
                self._resolver.note_vanished(mine.client_order_id)
        return unwanted > 0

    def _unwanted(self, order: VenueOrder, name: str, began_wire_ns: int) -> str:
        """Why a listed order of ours must go; "" = it may stay."""
        known = self._engine.state.orders.get(name)
        if known is None:
            self._adopt(order, name)
            return "the journal lacked it"
        if known.status.is_final:
            return "the journal holds it for finished" if known.moved_wire_ns < began_wire_ns else ""
        tag = parse_client_order_id(name)
        if tag is not None and tag.epoch != self._engine.state.epoch:
            return "left by a former run of the executor"
        return ""

    def _adopt(self, order: VenueOrder, name: str) -> None:
        engine = self._engine
        engine.adopt_order(self._venue, order.symbol, name, order.side, order.lots, order.reduce_only)
        engine.move_order(
            name,
            order.status,
            source="recovery",
            filled_lots=order.filled_lots,
            avg_px=order.avg_px,
            venue_order_id=order.venue_order_id,
            detail="adopted by its prefix",
        )

    async def _cancel(self, order: VenueOrder, why: str) -> None:
        """Ask once per CANCEL_AGAIN_NS; the next list says whether it worked."""
        engine, now = self._engine, self._engine.clock.mono_ns()
        instrument = engine.instrument((self._venue, order.symbol))
        self._cancelled_ns = {name: ns for name, ns in self._cancelled_ns.items() if now - ns < CANCEL_AGAIN_NS}
        if instrument is None or order.venue_order_id in self._cancelled_ns:
            return
        self._cancelled_ns[order.venue_order_id] = now
        request = CancelRequest(
            instrument=instrument,
            client_order_id=order.client_order_id or "",
            venue_order_id=order.venue_order_id,
        )
        outcome = await engine.cancel(self._venue, request)
        engine.log.warning(
            "order_cancelled_by_reconcile",
            venue=self._venue,
            symbol=order.symbol,
            client_id=order.client_order_id,
            reason=why,
            outcome=type(outcome).__name__,
        )
