"""Time and order of a simulated world: one clock, one heap of events, one seed, one event loop whose waiting is the clock.

Everything that happens is either an event of the world (a message arrives, a venue matches, a client decides) or a callback
of the executor's own asyncio loop. `SimLoop` never waits: when it has nothing ready it hands the time until its next timer to
the world, which moves the clock to whatever comes first. So one thread does everything, in an order that the seed alone
decides. What would break that: iterating over a set of tasks or futures, whose hashes are addresses; here they hash by the
order in which they were made.

A crash of the executor is `Crash`, a SystemExit: asyncio lets it pass through everything up to `run`, as SIGKILL would,
except that `finally` blocks run; disk and gateways of a dead life therefore refuse to do anything.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from core.clock import NS_PER_S, SimClock

CLOCK_BOUND_NS = 2 * NS_PER_S
Action = Callable[..., None]


class Crash(SystemExit):
    """The executor's process ends here and now."""


class Broken(SystemExit):
    """An invariant of the simulation does not hold. Nothing on its way up may swallow it."""


class WorldClock(SimClock):
    """A SimClock whose UTC may be stepped, as NTP or a person does."""

    def step_wire_ns(self, delta_ns: int) -> None:
        self._wire_ns += delta_ns


class World:
    """The heap of events. `trace` holds (mono ns, what, details) of everything worth reading in a replay."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.clock = WorldClock()
        self.rng = random.Random(f"world-{seed}")
        self.trace: list[tuple[int, str, tuple[Any, ...]]] = []
        self.events = 0
        self.hung_until_ns = 0
        self.disk_is_full = False
        self.after_each: Action = _nothing
        self._heap: list[tuple[int, int, Action, tuple[Any, ...]]] = []
        self._count = itertools.count()
        self._true_offset_ns = self.clock.wire_ns() - self.clock.mono_ns()

    @property
    def now_ns(self) -> int:
        return self.clock.mono_ns()

    @property
    def venue_wire_ns(self) -> int:
        """True UTC, which steps of our own clock do not move."""
        return self.clock.mono_ns() + self._true_offset_ns

    @property
    def is_clock_wrong(self) -> bool:
        """By more than orders can be signed with (TRAPS T20)."""
        return abs(self.venue_wire_ns - self.clock.wire_ns()) > CLOCK_BOUND_NS

    def set_clock_right(self) -> None:
        """NTP."""
        self.clock.step_wire_ns(self.venue_wire_ns - self.clock.wire_ns())

    @property
    def now_s(self) -> float:
        """Since the beginning."""
        return (self.clock.mono_ns() - NS_PER_S) / NS_PER_S

    def note(self, what: str, *details: Any) -> None:
        self.trace.append((self.clock.mono_ns(), what, details))

    def after(self, seconds: float, action: Action, *arguments: Any) -> None:
        """Run `action` in so many seconds; events of one instant run in the order in which they were asked for."""
        at_ns = self.clock.mono_ns() + max(0, int(seconds * NS_PER_S))
        heapq.heappush(self._heap, (at_ns, next(self._count), action, arguments))

    def next_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def advance_to(self, mono_ns: int) -> None:
        delta_ns = mono_ns - self.clock.mono_ns()
        if delta_ns > 0:
            self.clock.advance_ns(delta_ns)

    def run_next(self) -> None:
        """Move to the next instant and run what is due there."""
        at_ns = self._heap[0][0]
        self.advance_to(at_ns)
        now_ns = self.clock.mono_ns()
        while self._heap and self._heap[0][0] <= now_ns:
            _, _, action, arguments = heapq.heappop(self._heap)
            self.events += 1
            action(*arguments)
            self.after_each()

    def run_for(self, seconds: float) -> None:
        """Without an executor: only the world goes on."""
        until_ns = self.clock.mono_ns() + int(seconds * NS_PER_S)
        while self._heap and self._heap[0][0] <= until_ns:
            self.run_next()
        self.advance_to(until_ns)


class _Selector:
    """What BaseEventLoop waits on: the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def select(self, timeout: float | None) -> tuple[()]:
        world = self._world
        now_ns = world.clock.mono_ns()
        deadline_ns = None if timeout is None else now_ns + math.ceil(max(0.0, timeout) * NS_PER_S)
        while world.hung_until_ns > now_ns:  # the process is stopped: the world goes on without it
            following = world.next_ns()
            if following is None or following > world.hung_until_ns:
                world.advance_to(world.hung_until_ns)
            else:
                world.run_next()
            now_ns = world.clock.mono_ns()
        following = world.next_ns()
        if following is not None and (deadline_ns is None or following <= deadline_ns):
            world.run_next()
        elif deadline_ns is None:
            raise Broken("nothing is left to happen: the executor waits for ever")
        else:
            world.advance_to(deadline_ns)
        return ()

    def close(self) -> None:
        """Nothing is held."""


class SimFuture(asyncio.Future[Any]):
    """Hashes by age, so that sets of futures have one order."""

    _ages = itertools.count()

    def __init__(self, *, loop: SimLoop) -> None:
        super().__init__(loop=loop)
        self._age = next(loop.ages)

    def __hash__(self) -> int:
        return self._age


class SimTask(asyncio.Task[Any]):
    """The same for tasks."""

    def __init__(
        self, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], *, loop: SimLoop, **more: Any
    ) -> None:
        self._age = next(loop.ages)
        super().__init__(work, loop=loop, **more)

    def __hash__(self) -> int:
        return self._age


class SimLoop(asyncio.BaseEventLoop):
    """See the module text."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.ages = itertools.count(1)
        self._world = world
        self._selector = _Selector(world)
        self._clock_resolution = 1e-9
        self._made: list[SimTask] = []
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._world.clock.mono_ns() / NS_PER_S

    def create_future(self) -> SimFuture:
        return SimFuture(loop=self)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Until `work` has ended, or `stop` is called. Crash passes through."""
        task = self.create_task(work)
        task.add_done_callback(lambda _: self.stop())
        self.run_forever()
        if task.done() and not task.cancelled():
            task.result()

    def bury(self) -> None:
        """Give up every task as a killed process does: nothing of it runs on, nobody is told."""
        for task in self._made:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]
        for task in self._made:
            if task.done() and not task.cancelled():
                task.exception()  # seen
        self._made.clear()
        self.close()

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> SimTask:
        task = SimTask(work, loop=self, **more)
        self._made.append(task)
        if len(self._made) > 512:
            self._made = [each for each in self._made if not each.done()]
        return task

    def _process_events(self, event_list: Any) -> None:
        """There are none: the world calls directly."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


def _close(work: Any) -> None:
    try:
        work.close()
    except BaseException:  # a dead life's own clean-up: whatever it wanted, it is refused
        return


def _nothing() -> None:
    """Until somebody wants to look after each event."""
