"""Dead-man switches: where a venue can cancel our resting orders once we fall silent, none rests without it.

    want(key)     somebody is about to rest an order there: True = covered now; else the switch is being armed, ask again
    cover(key)    the same, awaited
    turn          about once a second: push out what is needed, switch off what is not, tell what has lapsed

A resting order is sent only while its switch has at least ROOM left; where arming fails, the order is not sent. A switch is
pushed out every `refresh_s` while an order of ours rests (or somebody wanted to rest one a moment ago: a first leg that moves
with its touch does not arm and disarm every second), and switched off IDLE_NS after the last one has ended. A crash leaves it
armed: that is what it is for. The next start cannot know, so on every venue where an order of ours has ever rested by the
journal it arms what is needed and switches off the rest, once.

A switch cancels everything of its scope, also orders that are not ours: that is the venue's rule, said in its log line.
Scopes differ (executor.venues.base.DeadManScope); a switch of scope CONNECTION has nothing to push out, and is armed anew when
the order connection was away. A venue that refuses its switch to this account for good sets `dead_man` to None itself.

Refused: a switch that is armed always (it would cancel protective orders of a person after each quiet hour, and some venues
count how often it strikes), and trusting a lapsed one (its orders are gone by then; reconciliation finds out).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeAlias

import msgspec

from core.clock import NS_PER_S
from core.errors import VenueError
from core.types import Instrument, TimeInForce, Venue
from executor.engine import Engine
from executor.state import Key
from executor.venues.base import DeadMan, DeadManScope

TURN_NS = NS_PER_S
IDLE_NS = 5 * NS_PER_S
ROOM_RATIO = 0.3
"""Of the countdown: a resting order is placed only while at least this much of it is left."""
COVER_TRIES = 2
RETRY_NS = NS_PER_S
RETRY_MAX_NS = 30 * NS_PER_S

Scope: TypeAlias = tuple[Venue, str]
"""(venue, symbol), or (venue, "") where one switch covers the account."""


class _Switch(msgspec.Struct, kw_only=True):
    until_mono_ns: int = 0  # 0 = off, as far as we know
    armed_mono_ns: int = 0
    wanted_mono_ns: int = 0
    next_try_mono_ns: int = 0
    failures: int = 0
    told_lapsed: bool = False
    doubtful: bool = False  # a former process may have left it armed
    disarming: bool = False  # asked to go off: from then on nothing is covered, whatever comes of it


class Switches:
    """Bounded by the instruments on which an order of ours rested or was to rest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._switches: dict[Scope, _Switch] = {}
        self._acting: dict[Scope, asyncio.Task[bool]] = {}
        self._looked_back: set[Venue] = set()
        self._last_ns = 0

    # ---- before an order rests --------------------------------------------------------------------------------------

    def want(self, key: Key) -> bool:
        """Whether an order may rest on `key` now; begins to arm the switch if not."""
        switch = self._wanted(key)
        if switch is None or self._is_covered(key, switch):
            return True
        self._arm(key)
        return False

    async def cover(self, key: Key) -> bool:
        """Arm the switch if need be; False when that failed."""
        switch = self._wanted(key)
        if switch is None or self._is_covered(key, switch):
            return True
        for _ in range(COVER_TRIES):  # the first one may have waited for what was under way: to switch it off, perhaps
            switch = self._switches[self._scope(key)]
            switch.next_try_mono_ns = 0
            task = self._arm(key)
            if task is None or not await asyncio.shield(task):
                return False
            if self.is_covered(key):
                return True
        return False

    def is_covered(self, key: Key) -> bool:
        """Whether what rests on `key` has its switch, or needs none."""
        if key[0] not in self._engine.desks or self._engine.desks[key[0]].gateway.dead_man is None:
            return True
        switch = self._switches.get(self._scope(key))
        return switch is not None and self._is_covered(key, switch)

    # ---- the clockwork ----------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Does something at most once a second."""
        now = self._engine.clock.mono_ns()
        if self._last_ns and now - self._last_ns < TURN_NS:
            return
        self._last_ns = now
        resting = self._resting()
        for venue, desk in self._engine.desks.items():
            if desk.gateway.dead_man is not None and desk.started:
                self._look_back(venue)
                for scope in [scope for scope in {**self._switches, **resting} if scope[0] == venue]:
                    self._tend(scope, desk.gateway.dead_man, resting.get(scope, []), now)
            desk.switches_armed = sum(
                1 for scope, each in self._switches.items() if scope[0] == venue and each.until_mono_ns
            )

    async def close(self, timeout_s: float) -> None:
        """Before an orderly end: switch off where nothing rests any more; what is left armed strikes, as it should."""
        resting = self._resting()
        tasks = [
            self._act(scope, self._disarm(scope))
            for scope, switch in self._switches.items()
            if switch.until_mono_ns and scope not in resting
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def _tend(self, scope: Scope, dead_man: DeadMan, keys: list[Key], now_ns: int) -> None:
        """One switch: push out, tell, or switch off."""
        switch = self._switches.setdefault(scope, _Switch())
        needed = bool(keys) or (switch.wanted_mono_ns and now_ns - switch.wanted_mono_ns < IDLE_NS)
        if not needed:
            if switch.until_mono_ns or switch.doubtful:
                self._try(scope, switch, now_ns, arming=False)
            return
        if keys and not self._is_live(scope, switch, now_ns) and switch.armed_mono_ns and not switch.told_lapsed:
            switch.told_lapsed = True
            self._engine.log.error("dead_man_lapsed", venue=scope[0], symbol=scope[1], resting=len(keys))
        due_ns = switch.armed_mono_ns + int(dead_man.refresh_s * NS_PER_S)
        stands = dead_man.scope is DeadManScope.CONNECTION and self._is_live(scope, switch, now_ns)
        if (not switch.until_mono_ns or now_ns >= due_ns or switch.disarming) and not stands:
            self._try(scope, switch, now_ns, arming=True)

    def _try(self, scope: Scope, switch: _Switch, now_ns: int, *, arming: bool) -> None:
        if now_ns >= switch.next_try_mono_ns and not self._is_acting(scope):
            self._act(scope, self._armed(scope) if arming else self._disarm(scope))

    def _look_back(self, venue: Venue) -> None:
        """Once after the start: a former process may have left switches armed wherever an order of ours has rested."""
        if venue in self._looked_back:
            return
        self._looked_back.add(venue)
        for order in self._engine.state.orders.values():
            if order.prepared.venue == venue and order.prepared.time_in_force is not TimeInForce.IOC:
                self._switches.setdefault(self._scope(order.key), _Switch()).doubtful = True

    # ---- acting -----------------------------------------------------------------------------------------------------

    def _arm(self, key: Key) -> asyncio.Task[bool] | None:
        """Begin, or what has begun; None while the venue cannot be asked or has just refused."""
        scope = self._scope(key)
        if self._is_acting(scope):
            return self._acting[scope]
        if (
            self._engine.clock.mono_ns() < self._switches[scope].next_try_mono_ns
            or not self._engine.desks[key[0]].started
        ):
            return None
        return self._act(scope, self._armed(scope))

    def _act(self, scope: Scope, work: Coroutine[None, None, bool]) -> asyncio.Task[bool]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_surface)
        self._acting[scope] = task
        return task

    def _is_acting(self, scope: Scope) -> bool:
        task = self._acting.get(scope)
        return task is not None and not task.done()

    async def _armed(self, scope: Scope) -> bool:
        """Arm or push out; the countdown is counted from before it was asked for."""
        engine, switch = self._engine, self._switches[scope]
        gateway = engine.desks[scope[0]].gateway
        dead_man, asked_ns = gateway.dead_man, engine.clock.mono_ns()
        if dead_man is None:
            return True
        try:
            await gateway.arm_dead_man(self._instruments(scope))
        except VenueError as error:
            self._failed(scope, switch, "arm", error)
            return gateway.dead_man is None  # refused for good: the venue has none for this account
        is_new = not switch.until_mono_ns
        switch.armed_mono_ns = asked_ns
        switch.until_mono_ns = asked_ns + int(dead_man.countdown_s * NS_PER_S)
        switch.failures = switch.next_try_mono_ns = 0
        switch.told_lapsed = switch.doubtful = switch.disarming = False
        if is_new:
            engine.log.info(
                "dead_man_armed",
                venue=scope[0],
                symbol=scope[1],
                scope=dead_man.scope.value,
                countdown_s=dead_man.countdown_s,
                detail="strikes whatever rests in its scope, ours or not",
            )
        return True

    async def _disarm(self, scope: Scope) -> bool:
        engine, switch = self._engine, self._switches[scope]
        switch.disarming = True
        try:
            await engine.desks[scope[0]].gateway.disarm_dead_man(self._instruments(scope))
        except VenueError as error:
            self._failed(scope, switch, "disarm", error)
            return False
        engine.log.info("dead_man_disarmed", venue=scope[0], symbol=scope[1])
        self._switches[scope] = _Switch(wanted_mono_ns=switch.wanted_mono_ns)
        return True

    def _failed(self, scope: Scope, switch: _Switch, what: str, error: VenueError) -> None:
        now = self._engine.clock.mono_ns()
        if switch.until_mono_ns and not self._is_live(scope, switch, now):
            switch.until_mono_ns = 0  # it has struck by now, or never was
        switch.next_try_mono_ns = now + min(RETRY_NS << min(switch.failures, 8), RETRY_MAX_NS)
        switch.failures += 1
        self._engine.desks[scope[0]].switch_failures += 1
        self._engine.log.warning(
            "dead_man_failed", venue=scope[0], symbol=scope[1], action=what, failures=switch.failures, detail=str(error)
        )

    # ---- small things -----------------------------------------------------------------------------------------------

    def _wanted(self, key: Key) -> _Switch | None:
        """None where there is no switch."""
        if self._engine.desks[key[0]].gateway.dead_man is None:
            return None
        switch = self._switches.setdefault(self._scope(key), _Switch())
        switch.wanted_mono_ns = self._engine.clock.mono_ns()
        return switch

    def _scope(self, key: Key) -> Scope:
        dead_man = self._engine.desks[key[0]].gateway.dead_man
        by_symbol = dead_man is not None and dead_man.scope is DeadManScope.SYMBOL
        return key if by_symbol else (key[0], "")

    def _is_covered(self, key: Key, switch: _Switch) -> bool:
        """Armed with room: for as long as an order may be on its way, and then some."""
        dead_man = self._engine.desks[key[0]].gateway.dead_man
        if dead_man is None:
            return True
        if switch.disarming:
            return False
        now = self._engine.clock.mono_ns()
        if dead_man.scope is DeadManScope.CONNECTION:
            return self._is_live(self._scope(key), switch, now)
        return switch.until_mono_ns - now >= int(dead_man.countdown_s * ROOM_RATIO * NS_PER_S)

    def _is_live(self, scope: Scope, switch: _Switch, now_ns: int) -> bool:
        """Whether it is armed as far as we know. One of scope CONNECTION ends with the connection."""
        gateway = self._engine.desks[scope[0]].gateway
        if gateway.dead_man is not None and gateway.dead_man.scope is DeadManScope.CONNECTION:
            if not gateway.entry_ready:
                switch.until_mono_ns = 0
            return bool(switch.until_mono_ns)
        return now_ns < switch.until_mono_ns

    def _resting(self) -> dict[Scope, list[Key]]:
        """Where orders of ours rest, or may."""
        found: dict[Scope, list[Key]] = {}
        for order in self._engine.state.open_orders():
            if order.prepared.time_in_force is not TimeInForce.IOC and order.prepared.venue in self._engine.desks:
                found.setdefault(self._scope(order.key), []).append(order.key)
        return found

    def _instruments(self, scope: Scope) -> list[Instrument]:
        """Those of a scope: its symbol, or every one on which something rests or is wanted (all, where none is named)."""
        listed = self._engine.desks[scope[0]].gateway.instruments()
        if scope[1]:
            return [listed[scope[1]]] if scope[1] in listed else []
        symbols = {key[1] for key in self._resting().get(scope, [])}
        return [listed[symbol] for symbol in sorted(symbols) if symbol in listed]


def _surface(task: asyncio.Task[bool]) -> None:
    """An error of ours must reach the loop's exception handler, which ends the process."""
    if not task.cancelled():
        task.result()
