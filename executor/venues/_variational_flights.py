"""Which rfq is which order of ours: no id of ours travels, so this is the only place that knows (docs/venues/variational.md 7
and 10).

    WAITING  the acceptance has left; its answer, which names the rfq, has not come
    LOST     no answer will come, or none came for OVERDUE_NS: the order is found by instrument, side and size among the rfqs
             made since, or not at all
    BOUND    its rfq id is known

A row of the venue that no order is bound to belongs to a LOST order if exactly one fits it; while a WAITING one fits, nobody
can say yet; else it is somebody else's. One order per instrument may be under way: only that keeps "exactly one" true, and an
order that is neither answered nor ended blocks its instrument until its bound has passed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_S, Clock
from core.types import Side
from executor.venues._memory import OrderMemory

CLOCKS_APART_NS = 2 * NS_PER_S
"""By how much the venue's clock may say earlier than ours that an rfq was made."""
OVERDUE_NS = NS_PER_S
"""A filled leg must not stay unknown for as long as a request is given: what fits after this is taken for ours, and an answer
that then names another rfq takes it back."""
MAX_FLIGHTS = 500


class Owner(enum.Enum):
    OURS = "ours"
    UNDECIDED = "undecided"
    FOREIGN = "foreign"


class _Stage(enum.Enum):
    WAITING = "waiting"
    LOST = "lost"
    BOUND = "bound"
    ENDED = "ended"


class _Flight(msgspec.Struct, kw_only=True):
    client_order_id: str
    symbol: str
    side: Side
    lots: int
    left_wire_ns: int
    bound_wire_ns: int  # after this it can no longer clear
    stage: _Stage


class Flights:
    """Bounded: the oldest of MAX_FLIGHTS give way. `offset_ns`: the venue's clock less ours."""

    def __init__(self, memory: OrderMemory, clock: Clock, offset_ns: Callable[[], int]) -> None:
        self._memory = memory
        self._clock = clock
        self._offset_ns = offset_ns
        self._flights: dict[str, _Flight] = {}

    def blocked(self, symbol: str) -> str:
        """Why no order may leave for `symbol` now; "" = one may."""
        now_ns = self._clock.wire_ns()
        for each in self._flights.values():
            if each.symbol == symbol and each.stage is not _Stage.ENDED and now_ns <= each.bound_wire_ns:
                return "another order of this instrument is under way"
        return ""

    @property
    def is_busy(self) -> bool:
        """Whether some order's end is worth asking for."""
        now_ns = self._clock.wire_ns()
        return any(
            each.stage is not _Stage.ENDED and now_ns <= each.bound_wire_ns + CLOCKS_APART_NS
            for each in self._flights.values()
        )

    def begin(self, client_order_id: str, bound_wire_ns: int, *, lost: bool = False) -> None:
        """Its bytes leave now; `lost`: an earlier process sent it, and its answer is not known."""
        sent = self._memory.sent(client_order_id)
        if sent is None or client_order_id in self._flights:
            return
        self._flights[client_order_id] = _Flight(
            client_order_id=client_order_id,
            symbol=sent.instrument.symbol,
            side=sent.side,
            lots=sent.lots,
            left_wire_ns=sent.prepared_wire_ns,
            bound_wire_ns=bound_wire_ns,
            stage=_Stage.LOST if lost else _Stage.WAITING,
        )
        while len(self._flights) > MAX_FLIGHTS:
            del self._flights[next(iter(self._flights))]

    def named(self, client_order_id: str, rfq_id: str) -> None:
        """The answer came."""
        guessed = self._memory.order_of(client_order_id)
        if guessed is not None and guessed != rfq_id:
            self._memory.bind(guessed, None)
        self._memory.bind(rfq_id, client_order_id)
        flight = self._flights.get(client_order_id)
        if flight is not None and flight.stage is not _Stage.ENDED:
            flight.stage = _Stage.BOUND

    def lost(self, client_order_id: str) -> None:
        """No answer will come."""
        flight = self._flights.get(client_order_id)
        if flight is not None and flight.stage is _Stage.WAITING:
            flight.stage = _Stage.LOST

    def ended(self, client_order_id: str) -> None:
        """It was refused, never left, or has an end that the venue told."""
        flight = self._flights.get(client_order_id)
        if flight is not None:
            flight.stage = _Stage.ENDED

    def owner(self, rfq_id: str, symbol: str, side: Side, lots: int, created_ns: int) -> Owner:
        """Whose rfq this is; a LOST order that alone fits it is bound to it here."""
        if self._memory.client_of(rfq_id) is not None:
            return Owner.OURS
        made_ns = created_ns - self._offset_ns()
        fitting = [
            each
            for each in self._flights.values()
            if (each.symbol, each.side, each.lots) == (symbol, side, lots)
            and self._memory.order_of(each.client_order_id) is None
            and each.left_wire_ns - CLOCKS_APART_NS <= made_ns <= each.bound_wire_ns + CLOCKS_APART_NS
        ]
        overdue_ns = self._clock.wire_ns() - OVERDUE_NS
        waiting = [each for each in fitting if each.stage is _Stage.WAITING and each.left_wire_ns > overdue_ns]
        if waiting:
            return Owner.UNDECIDED
        lost = [each for each in fitting if each.stage in (_Stage.WAITING, _Stage.LOST)]
        if len(lost) != 1:
            return Owner.FOREIGN
        self.named(lost[0].client_order_id, rfq_id)
        return Owner.OURS
