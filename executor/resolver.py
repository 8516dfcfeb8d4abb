"""The questioner of orders in doubt: asks the venue, burns nonces, lets executor.doubt rule, and says so once.

For every order that is UNKNOWN, every IOC that nobody answered within UNANSWERED_NS and every IOC that was taken but whose
end nobody told within SILENT_NS, one case is kept: when it was last asked for, what was found, whether its nonce is burned,
and what the position says. Nothing here sends an order; the only thing it may put on the wire is the venue's own no-op with
the lost order's nonce.

Asking starts at once and backs off by ASK_AFTER_NS: a leg in doubt means a pair that may be naked, and the unhedged clock
runs. An answer that is a second late is asked for, not waited for: the request's own timeout is as long as the bound for
unwinding. A no-op that failed (the venue was just away) is sent again, BURNS_MAX times in all. Bounded by the orders in
doubt; a frozen instrument gets no new orders, so these are few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import RateLimited, VenueError
from core.types import Instrument, OrderStatus, TimeInForce, Venue
from executor.desk import Desk
from executor.doubt import Evidence, Ruling, judge
from executor.engine import Engine
from executor.state import Key, OrderState
from executor.venues.base import NotFound, OrderRequest, VenueOrder

UNANSWERED_NS = 1 * NS_PER_S
SILENT_NS = 2 * NS_PER_S
ASK_AFTER_NS = tuple(ms * NS_PER_MS for ms in (100, 250, 500, 1000, 2000, 2000, 2000, 2000, 5000))
ASKED_ENOUGH_NS = 30 * NS_PER_S
"""After a lookup beyond the order's bound that found nothing: asking again would only take the budget that readings need."""
RATE_PAUSE_MAX_S = 15.0
PAGE_EVERY_NS = 60 * NS_PER_S
BURN_PROOF_S = 5.0
"""Beyond the request's own time: Aster's no-op proves something only together with lookups seconds later."""
BURNS_MAX = 3
BURN_AGAIN_NS = 2 * NS_PER_S

ELSEWHERE = "stream"

_PATIENCE_NS = {OrderStatus.SUBMITTED: UNANSWERED_NS, OrderStatus.ACCEPTED: SILENT_NS}
"""Until an IOC order that is neither answered nor ended counts as in doubt."""

Resolved = Callable[[Venue, str, float], None]
"""(venue, source of the ruling or ELSEWHERE, seconds in doubt)."""


class _Case(msgspec.Struct, kw_only=True):
    since_wire_ns: int
    next_ask_mono_ns: int = 0
    asks: int = 0
    found: VenueOrder | NotFound | None = None
    asked_wire_ns: int = 0
    enough_for_wire_ns: int = 0  # the bound beyond which the last lookup found nothing; 0 = none did
    burn: asyncio.Future[bool] | None = None  # under way
    burn_ends_mono_ns: int = 0  # when it is given up, or may be tried again
    burns: int = 0
    burned: bool = False
    excess_lots: int | None = None
    paged_mono_ns: int = 0


class Resolver:
    """One venue's cases."""

    def __init__(self, engine: Engine, venue: Venue, resolved: Resolved) -> None:
        self._engine = engine
        self._desk = engine.desks[venue]
        self._venue = venue
        self._resolved = resolved
        self._cases: dict[str, _Case] = {}
        self._vanished: set[str] = set()  # resting orders of ours that the venue no longer lists
        self._fills_read_wire_ns = 0
        self._grace_ns = int(engine.config.execution.unknown_grace_s * NS_PER_S)

    # ---- what reconciliation asks and tells -------------------------------------------------------------------------

    def in_doubt(self) -> list[OrderState]:
        """Orders that need a verdict now."""
        now = self._engine.clock.wire_ns()
        return [order for order in self._engine.state.open_orders() if self._doubtful(order, now)]

    def judged_after_wire_ns(self, key: Key) -> int | None:
        """A reading of this position must begin after this to count for the orders in doubt; None = none on `key`."""
        bounds = [self._bound_ns(order) for order in self.in_doubt() if order.key == key]
        return max(bounds) + self._grace_ns if bounds else None

    def wants_reading(self) -> bool:
        """Whether some case waits for fills and positions read after its bound."""
        now = self._engine.clock.wire_ns()
        return any(now > self._bound_ns(order) + self._grace_ns for order in self.in_doubt())

    def note_fills_read(self, began_wire_ns: int) -> None:
        self._fills_read_wire_ns = began_wire_ns

    def note_excess(self, key: Key, lots: int) -> None:
        """The venue holds `lots` (signed) more than we believe, judged by the rules of executor.doubt."""
        for order in self.in_doubt():
            if order.key == key:
                self._case(order).excess_lots = lots

    def note_vanished(self, client_order_id: str) -> None:
        """A resting order of ours is not among the venue's open orders: ask how it ended."""
        self._vanished.add(client_order_id)

    async def turn(self, unreachable_ns: int) -> None:
        """Ask and rule once for every order in doubt. `unreachable_ns`: since the venue last answered a reading."""
        doubts = self.in_doubt()
        names = {order.client_order_id for order in doubts}
        for name in [name for name in self._cases if name not in names]:
            self._settled_elsewhere(name, self._cases.pop(name))
        self._vanished &= names
        await asyncio.gather(*(self._work(order) for order in doubts))
        for order in doubts:
            if order.status is OrderStatus.UNKNOWN:
                self._escalate(order, unreachable_ns)

    # ---- one case ---------------------------------------------------------------------------------------------------

    async def _work(self, order: OrderState) -> None:
        case = self._case(order)
        if self._rule(order, case):
            return
        if case.enough_for_wire_ns and self._bound_ns(order) > case.enough_for_wire_ns:
            case.enough_for_wire_ns = case.next_ask_mono_ns = (
                0  # it has moved since: what was asked then proves nothing now
            )
        if self._engine.clock.mono_ns() >= case.next_ask_mono_ns:
            await self._ask(order, case)
            if self._rule(order, case):
                return
        if self._burn(order, case):
            self._rule(order, case)

    async def _ask(self, order: OrderState, case: _Case) -> None:
        now_ns = self._engine.clock.mono_ns()
        case.next_ask_mono_ns = now_ns + ASK_AFTER_NS[min(case.asks, len(ASK_AFTER_NS) - 1)]
        case.asks += 1
        instrument = self._desk.instrument(order.prepared.symbol)
        if instrument is None:
            return
        asked = self._engine.clock.wire_ns()
        try:
            case.found = await self._desk.gateway.lookup(instrument, order.client_order_id)
        except RateLimited as error:
            pause_ns = int(min(error.retry_after_s, RATE_PAUSE_MAX_S) * NS_PER_S)
            case.next_ask_mono_ns = max(case.next_ask_mono_ns, now_ns + pause_ns)
            return
        except VenueError as error:
            self._engine.log.info(
                "lookup_failed", venue=self._venue, client_id=order.client_order_id, detail=str(error)
            )
            return
        case.asked_wire_ns = asked
        bound_ns = self._bound_ns(order)
        if isinstance(case.found, NotFound) and asked > bound_ns + self._grace_ns:
            case.next_ask_mono_ns, case.enough_for_wire_ns = now_ns + ASKED_ENOUGH_NS, bound_ns

    def _burn(self, order: OrderState, case: _Case) -> bool:
        """Begin, await or end a burn; True when the nonce is burned. Other orders are worked on meanwhile."""
        now_ns = self._engine.clock.mono_ns()
        if case.burn is None:
            if not self._may_burn(order, case, now_ns):
                return False
            case.burn = self._desk.gateway.burn_nonce(order.prepared.nonce)
            if case.burn is None:
                case.burns = BURNS_MAX
                return False
            case.burns += 1
            case.burn_ends_mono_ns = now_ns + int(
                (self._desk.settings.request_timeout_ms / 1000 + BURN_PROOF_S) * NS_PER_S
            )
        if not case.burn.done() and now_ns < case.burn_ends_mono_ns:
            return False
        case.burned = case.burn.done() and not case.burn.cancelled() and case.burn.result()
        case.burn, case.burn_ends_mono_ns, case.next_ask_mono_ns = None, now_ns + BURN_AGAIN_NS, 0
        self._engine.log.info("nonce_burned", venue=self._venue, client_id=order.client_order_id, taken=case.burned)
        return case.burned

    def _may_burn(self, order: OrderState, case: _Case, now_ns: int) -> bool:
        """Only what the venue has not acknowledged (where that means something), and only while it could still arrive."""
        queued = order.status is OrderStatus.ACCEPTED and self._desk.gateway.traits.late_refusals
        return (
            (queued or order.status in (OrderStatus.UNKNOWN, OrderStatus.SUBMITTED))
            and not case.burned
            and case.burns < BURNS_MAX
            and now_ns >= case.burn_ends_mono_ns
            and isinstance(case.found, NotFound)
            and self._engine.clock.wire_ns() <= self._bound_ns(order)
        )

    def _rule(self, order: OrderState, case: _Case) -> bool:
        """Settle the order if the evidence allows it; True when it needs no more work."""
        if not self._doubtful(order, self._engine.clock.wire_ns()):
            return True
        evidence = Evidence(
            found=case.found,
            asked_wire_ns=case.asked_wire_ns,
            burned=case.burned,
            fills_read_wire_ns=self._fills_read_wire_ns,
            excess_lots=case.excess_lots,
        )
        ruling = judge(order, evidence, self._engine.clock.wire_ns(), self._bound_ns(order), self._grace_ns)
        if ruling is None:
            return False
        self._settle(order, case, ruling)
        return True

    def _settle(self, order: OrderState, case: _Case, ruling: Ruling) -> None:
        seconds = (self._engine.clock.wire_ns() - case.since_wire_ns) / NS_PER_S
        verdict = ruling.verdict
        self._vanished.discard(order.client_order_id)
        self._cases.pop(order.client_order_id, None)
        for other in self._cases.values():
            other.excess_lots = None  # our belief has moved: the difference must be read again
        self._engine.settle(order.client_order_id, verdict, ruling.source)
        self._tell(order, ruling.source, seconds)
        self._resolved(self._venue, ruling.source, seconds)

    def _tell(self, order: OrderState, source: str, seconds: float) -> None:
        self._engine.log.info(
            "order_resolved",
            venue=self._venue,
            symbol=order.prepared.symbol,
            client_id=order.client_order_id,
            pair_id=order.prepared.pair_id,
            status=order.status.value,
            filled_lots=order.filled_lots,
            source=source,
            doubt_s=round(seconds, 3),
        )

    def _settled_elsewhere(self, name: str, case: _Case) -> None:
        """A late answer, the stream or booked fills told before anybody had to rule."""
        order = self._engine.state.orders.get(name)
        if order is not None:
            seconds = (order.moved_wire_ns - case.since_wire_ns) / NS_PER_S
            self._tell(order, ELSEWHERE, seconds)
            self._resolved(self._venue, ELSEWHERE, seconds)

    def _escalate(self, order: OrderState, unreachable_ns: int) -> None:
        """The venue has been unreadable for too long: page. (`unknown_policy` itself is applied by executor.pairs.)"""
        execution = self._engine.config.execution
        bound_ns = int(execution.unreachable_s * NS_PER_S)
        case = self._case(order)
        now = self._engine.clock.mono_ns()
        in_doubt_ns = self._engine.clock.wire_ns() - case.since_wire_ns
        if unreachable_ns <= bound_ns or in_doubt_ns <= bound_ns:
            return
        if case.paged_mono_ns and now - case.paged_mono_ns < PAGE_EVERY_NS:
            return
        case.paged_mono_ns = now
        self._engine.log.error(
            "order_unresolved",
            venue=self._venue,
            symbol=order.prepared.symbol,
            client_id=order.client_order_id,
            pair_id=order.prepared.pair_id,
            unreachable_s=round(unreachable_ns / NS_PER_S, 1),
            policy=execution.unknown_policy,
            detail="the venue does not answer and this order's outcome is unknown; look at it by hand",
        )

    # ---- small things -----------------------------------------------------------------------------------------------

    def _case(self, order: OrderState) -> _Case:
        case = self._cases.get(order.client_order_id)
        if case is None:
            case = self._cases[order.client_order_id] = _Case(since_wire_ns=order.moved_wire_ns)
            instrument = self._desk.instrument(order.prepared.symbol)
            if instrument is not None:
                prepared = order.prepared
                self._desk.gateway.recall(_request(order, instrument), prepared.nonce, prepared.wire_ns)
        return case

    def _doubtful(self, order: OrderState, now_wire_ns: int) -> bool:
        if order.prepared.venue != self._venue or order.status.is_final:
            return False
        if order.status is OrderStatus.UNKNOWN or order.client_order_id in self._vanished:
            return True
        patience_ns = _PATIENCE_NS.get(order.status)
        is_ioc = order.prepared.time_in_force is TimeInForce.IOC
        return is_ioc and patience_ns is not None and now_wire_ns - order.moved_wire_ns > patience_ns

    def _bound_ns(self, order: OrderState) -> int:
        return bound_ns(self._desk, order)


def bound_ns(desk: Desk, order: OrderState) -> int:
    """After this UTC time the order can no longer execute; one that the venue took as IOC ended at once, unless being taken
    means no more than being queued."""
    prepared = order.prepared
    taken = order.status is OrderStatus.ACCEPTED and not desk.gateway.traits.late_refusals
    if taken and prepared.time_in_force is TimeInForce.IOC:
        return order.moved_wire_ns
    instrument = desk.instrument(prepared.symbol)
    if instrument is None:
        return prepared.expires_wire_ns
    return desk.gateway.unknown_bound_ns(_request(order, instrument))


def _request(order: OrderState, instrument: Instrument) -> OrderRequest:
    """The order as it was asked of the gateway."""
    prepared = order.prepared
    return OrderRequest(
        client_order_id=prepared.client_order_id,
        instrument=instrument,
        side=prepared.side,
        lots=prepared.lots,
        limit_ticks=prepared.limit_ticks,
        time_in_force=prepared.time_in_force,
        reduce_only=prepared.reduce_only,
        expires_wire_ns=prepared.expires_wire_ns,
    )
