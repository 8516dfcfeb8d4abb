"""The network between one executor and one simulated venue: requests, answers, reads and the private stream, each of which may
be lost, late, repeated or overtaken. What a dead life sent is still on its way; what comes back reaches nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from core.errors import RateLimited, VenueError
from core.settings import VenueConfig
from core.types import OrderStatus
from executor.outcome import Accepted, Outcome, Unknown
from executor.throttle import Throttle
from executor.venues.base import DeadManScope, EventSink, PrivateEvent, StreamDown, StreamUp
from tests.simulation.faults import Fault, Faults
from tests.simulation.venue import VenueModel
from tests.simulation.world import World

T = TypeVar("T")
CLOSED_S = 0.5  # until a broken stream is noticed
RECONNECT_S = 1.0
LATE_S = (0.5, 9.0)
EVENT_LATE_S = (0.2, 4.0)
QUICK_S = 0.005
BREAKS_STREAM = (Fault.STREAM_GAP, Fault.DARK, Fault.AUTH_EXPIRED)

Answer = Callable[[Outcome], None]


class Lane:
    """See the module text. `dead`: the executor that held this end is gone."""

    def __init__(self, world: World, model: VenueModel, faults: Faults, settings: VenueConfig) -> None:
        self.venue = model.name
        self.model = model
        self.dead = False
        self.clock_offset_ns = 0  # as measured with every answer
        self._world = world
        self._faults = faults
        self._settings = settings
        self._timeout_s = settings.request_timeout_ms / 1000
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, world.clock)
        self._sink: EventSink | None = None
        self._streaming = False
        self._stream_lost_ns = 0
        self._connected = True

    def watch_stream(self) -> None:
        """A window that broke the connection is noticed even when nothing is said."""
        if self._streaming and not self.dead:
            self._stream_broken()

    # ---- requests and their answers ---------------------------------------------------------------------------------

    def _carry(self, deliver: Callable[[Answer], None], finish: Answer) -> None:
        """A request to the venue; `finish` hears its answer, or that none came in time. It may be called more than once."""
        strikes = self._faults.strikes

        def answer(outcome: Outcome) -> None:
            self._answer(finish, outcome)

        self._later(self._timeout_s, finish, Unknown(detail="timeout"))
        if self._faults.lasts(self.venue, Fault.DARK) or strikes(self.venue, Fault.REQUEST_LOST):
            return
        if strikes(self.venue, Fault.ANSWER_FALSE):
            self._world.after(self._latency(), answer, self._falsely_taken())
            return
        delay_s = self._latency()
        if strikes(self.venue, Fault.REQUEST_LATE):
            delay_s += self._faults.between(*LATE_S)
        if strikes(self.venue, Fault.REQUEST_DUPLICATED):  # by something between that missed the first answer, perhaps
            self._world.after(delay_s, deliver, _unheard if self._faults.chance(0.5) else answer)
            delay_s += self._latency()
        self._world.after(delay_s, deliver, answer)

    def _falsely_taken(self) -> Outcome:
        """Where our ids do not travel an acceptance is the venue's id and nothing else (docs/venues/variational.md: rfq_id is the
        only handle): even a false one has one, which is of no order."""
        named = not self.model.semantics.traits.client_ids
        void = f"{self.venue}-void-{self._world.now_ns}" if named else ""
        return Accepted(venue_order_id=void, status=OrderStatus.ACCEPTED, filled_lots=0)

    def _answer(self, finish: Answer, outcome: Outcome) -> None:
        """What the venue said, on its way back."""
        strikes = self._faults.strikes
        if self._faults.lasts(self.venue, Fault.DARK) or strikes(self.venue, Fault.ANSWER_LOST):
            return
        delay_s = self._latency()
        if strikes(self.venue, Fault.ANSWER_LATE):
            delay_s += self._faults.between(*LATE_S)
        if strikes(self.venue, Fault.ANSWER_GARBLED):
            outcome = Unknown(detail="the answer does not parse")
        self._later(delay_s, finish, outcome)
        if strikes(self.venue, Fault.ANSWER_DUPLICATED):
            self._later(delay_s + self._latency(), finish, outcome)

    # ---- reads ------------------------------------------------------------------------------------------------------

    async def _ask(self, read: Callable[[int], T]) -> T:
        """One REST request; `read(as of mono ns)` is what the venue does with it."""
        if not self._throttle.take(priority=True):
            raise RateLimited("our own budget", 1.0)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        faults, venue = self._faults, self.venue

        def fail(error: VenueError) -> None:
            if not future.done():
                future.set_exception(error)

        def finish(value: T) -> None:
            self.clock_offset_ns = self._world.venue_wire_ns - self._world.clock.wire_ns()
            if not future.done():
                future.set_result(value)

        def arrive() -> None:
            if faults.lasts(venue, Fault.RATE_LIMITED):
                self._later(self._latency(), fail, RateLimited("429", faults.between(0.5, 4.0)))
            elif faults.lasts(venue, Fault.AUTH_EXPIRED) or faults.strikes(venue, Fault.READ_FAILED):
                self._later(self._latency(), fail, VenueError("503"))
            else:
                self._later(self._latency(), finish, read(self._as_of_ns()))

        if faults.lasts(venue, Fault.DARK):
            self._later(self._timeout_s, fail, VenueError("timed out"))
        else:
            self._world.after(self._latency(), arrive)
        return await future

    def _is_behind(self) -> bool:
        return self._faults.lasts(self.venue, Fault.REST_BEHIND)

    def _as_of_ns(self) -> int:
        """REST answers out of a replica that may lag behind."""
        lag_ns = self._faults.lag_ns(self.venue, Fault.REST_BEHIND) if self._is_behind() else 0
        return self._world.now_ns - lag_ns

    def _fills_as_of_ns(self, as_of_ns: int) -> int:
        """The list of fills may lag further behind than the rest."""
        if not self._faults.lasts(self.venue, Fault.FILLS_BEHIND):
            return as_of_ns
        return min(as_of_ns, self._world.now_ns - self._faults.lag_ns(self.venue, Fault.FILLS_BEHIND))

    # ---- the private stream -----------------------------------------------------------------------------------------

    def _pushed(self, event: PrivateEvent) -> None:
        """The venue says something on the stream."""
        faults, venue = self._faults, self.venue
        if self.dead or not self._streaming or self._stream_broken() or faults.lasts(venue, Fault.STREAM_SILENT):
            return
        if faults.strikes(venue, Fault.EVENT_LOST):
            return
        delay_s = self._latency()
        if faults.strikes(venue, Fault.EVENT_LATE):
            delay_s += faults.between(*EVENT_LATE_S)
        elif faults.strikes(venue, Fault.FILL_BEFORE_ACK):
            delay_s = QUICK_S
        self._later(delay_s, self._told, event)
        if faults.strikes(venue, Fault.EVENT_DUPLICATED):
            self._later(delay_s + faults.between(0.0, 2.0), self._told, event)

    def _told(self, event: PrivateEvent) -> None:
        if self._sink is not None:
            asyncio.get_running_loop().call_soon(self._sink, event)

    def _stream_broken(self) -> bool:
        broken = any(self._faults.lasts(self.venue, each) for each in BREAKS_STREAM)
        if broken and self._streaming:
            self._streaming = False
            self._stream_lost_ns = self._world.clock.wire_ns()
            self._later(CLOSED_S, self._told, StreamDown(venue=self.venue, reason="closed"))
            self._later(CLOSED_S + RECONNECT_S, self._open_stream)
        return broken

    def _open_stream(self) -> None:
        if self._streaming:
            return
        if any(self._faults.lasts(self.venue, each) for each in BREAKS_STREAM):
            self._later(RECONNECT_S, self._open_stream)
            return
        self._streaming = True
        self._told(StreamUp(venue=self.venue, since_wire_ns=self._stream_lost_ns))

    # ---- the connection ---------------------------------------------------------------------------------------------

    def _is_connected(self) -> bool:
        connected = not self._faults.lasts(self.venue, Fault.NO_CONNECTION)
        if self._connected and not connected:
            self._dropped()
        self._connected = connected
        return connected

    def _dropped(self) -> None:
        """The venue sees our order connection go."""
        switch = self.model.semantics.dead_man
        if switch is not None and switch.scope is DeadManScope.CONNECTION:
            self.model.cancel_resting()

    def _latency(self) -> float:
        return self._faults.between(*self.model.semantics.latency_s)

    def _later(self, seconds: float, what: Callable[..., None], *arguments: Any) -> None:
        """Something reaches the executor's machine in so many seconds, if it still runs then."""
        self._world.after(seconds, self._arrive, what, *arguments)

    def _arrive(self, what: Callable[..., None], *arguments: Any) -> None:
        if not self.dead:
            what(*arguments)


def _unheard(outcome: Outcome) -> None:
    """The answer is lost on the way."""
