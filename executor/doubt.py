"""What became of an order whose outcome nobody told us: evidence in, a verdict or "not yet" out. Pure.

An order is in doubt when bytes may have left and no verdict came back (UNKNOWN), or when the venue took it and then fell
silent about its end. Nothing here resends. The evidence, strongest first:

    fills      recorded fills that add up to the whole order settle it, whatever else is said
    lookup     the venue states the order by client id: a final status is the verdict
    burn       a no-op took the order's nonce: the order itself can never execute any more
    bound      past the order's expiry bound plus grace it can no longer reach matching; then a lookup and a reading of
               fills that both began after the bound, and the position, decide
    position   the last word: what the venue holds beyond our books, in the order's direction and at most what the order
               still leaves, is what it filled

"Not found" before the bound proves nothing: the order may still be on its way (docs/venues/hyperliquid.md 10: unknownOid
before expiry proves nothing; docs/venues/aster.md 10: ask again once the nonce window is over). After the bound it proves
nothing alone either, since venues forget orders sooner than fills: hence fills and position.

Where our ids do not travel (quotes that are accepted by their own id), look-ups go by the id that the venue gave, if its
answer arrived; without it a fill is matched to the one order that it fits (`claimant`), and the position decides as ever.

A position difference counts only from a reading that began after bound plus grace, while no other order of ours on that
instrument was in flight, and seen twice; `excess_lots` is handed in only then. Refused: deciding by silence ("no fill came,
so it did not fill"), which is how a second leg is sent on top of a filled one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from core.clock import NS_PER_S
from core.types import Fill, OrderStatus, TimeInForce
from executor.orders import Verdict
from executor.state import OrderState
from executor.venues.base import NotFound, VenueOrder

CLOCKS_APART_NS = 2 * NS_PER_S
"""A venue's clock may say that a fill was this much earlier than our order was prepared."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known about one order in doubt. Times are UTC nanoseconds of our clock."""

    found: VenueOrder | NotFound | None = None  # None = not asked yet, or the lookup failed
    asked_wire_ns: int = 0  # when that lookup began
    burned: bool = False
    fills_read_wire_ns: int = 0  # when the newest complete reading of fills began
    excess_lots: int | None = None  # venue's signed position less our believed one; None = not judged (see above)


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    verdict: Verdict
    source: str  # OrderMoved.source


def judge(order: OrderState, evidence: Evidence, now_wire_ns: int, bound_wire_ns: int, grace_ns: int) -> Ruling | None:
    """The verdict that the evidence allows, or None while it allows none."""
    if order.fill_lots >= order.prepared.lots:
        return _ruling(order, OrderStatus.FILLED, order.prepared.lots, "fills", "its fills add up to the whole order")
    stated = _stated(order, evidence.found)
    if stated is not None:
        return stated
    if evidence.burned:
        return _ruling(order, _ended(order, order.filled_lots), order.filled_lots, "burn", "its nonce was burned")
    if now_wire_ns <= bound_wire_ns + grace_ns:
        return None
    if isinstance(evidence.found, VenueOrder):
        return None  # the venue says it is still being worked on
    if evidence.found is not None and evidence.asked_wire_ns <= bound_wire_ns:
        return None
    if evidence.fills_read_wire_ns <= bound_wire_ns or evidence.excess_lots is None:
        return None
    extra = min(max(evidence.excess_lots * order.prepared.side.sign, 0), order.leaves_lots)
    filled = order.filled_lots + extra
    source = "position" if extra else "bound"
    return _ruling(order, _ended(order, filled), filled, source, "past its expiry bound; the position decided")


def claimant(orders: Iterable[OrderState], fill: Fill, *, partial_fills: bool) -> OrderState | None:
    """Whose a fill is at a venue on whose wire our ids do not travel, when its own order id is of no order that we know.

    The one order there that is on its way, or whose fills are still missing under that very id; on that side, large enough (and,
    where nothing fills in parts, of exactly that size), and not known by another id. None when no order or more than one could
    be it: then it is foreign, which alarms."""
    fitting = [
        order
        for order in orders
        if order.key == (fill.venue, fill.symbol)
        and (not order.status.is_final or (order.missing_lots and order.venue_order_id))
        and order.prepared.side is fill.side
        and fill.lots <= order.prepared.lots - order.fill_lots
        and (partial_fills or fill.lots == order.prepared.lots)
        and fill.ts_ns >= order.prepared.wire_ns - CLOCKS_APART_NS
        and order.venue_order_id in ("", fill.venue_order_id)
    ]
    named = [order for order in fitting if order.venue_order_id and order.venue_order_id == fill.venue_order_id]
    found = named or fitting
    return found[0] if len(found) == 1 else None


def _stated(order: OrderState, found: VenueOrder | NotFound | None) -> Ruling | None:
    if isinstance(found, NotFound):
        if not found.definitive:
            return None
        return _ruling(
            order,
            _ended(order, order.filled_lots),
            order.filled_lots,
            "lookup",
            "the venue's rules prove it never executed",
        )
    if found is None:
        return None
    resting = found.status is OrderStatus.ACCEPTED and order.prepared.time_in_force is not TimeInForce.IOC
    if not found.status.is_final and not resting:
        return None
    filled = max(found.filled_lots, order.filled_lots)
    return Ruling(
        verdict=Verdict(found.status, found.venue_order_id, filled, found.avg_px, detail="as the venue states it"),
        source="lookup",
    )


def _ended(order: OrderState, filled_lots: int) -> OrderStatus:
    return OrderStatus.FILLED if filled_lots >= order.prepared.lots else OrderStatus.EXPIRED


def _ruling(order: OrderState, status: OrderStatus, filled_lots: int, source: str, detail: str) -> Ruling:
    return Ruling(
        verdict=Verdict(status, order.venue_order_id, filled_lots, order.told_px, detail=detail), source=source
    )
