"""The executor's life: locks, replay, recovery, serving, and an orderly end. Starting IS recovering; there is no other start.

    account locks -> journal -> replay -> epoch synced -> halt latch -> gateways and reconciliation -> commands -> rehearsal

A venue that cannot be reached is tried again for ever, with backoff; the others do not wait for it: after READY_WITHOUT_S
commands are accepted, and the limits refuse what needs the missing venue (opens need both).

Any exception that nobody expected, in a task or in a callback of the loop, ends the process: half an executor is worse
than none. A broken invariant sets the halt latch first, so that the next start comes up HALTED (exit 70); SIGKILL does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec

from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_S
from core.config import Loaded, load
from core.errors import EXIT_OK, EXIT_PERMISSION, EXIT_RESIDUAL, ConfigError, InvariantError, VenueError
from core.latch import HaltLatch
from core.log import Log
from core.messages import AnyCommand, FlattenReport, PairStatus
from core.settings import Environment
from core.types import OrderStatus, TradingState, Venue
from executor import residual
from executor.assembly import Parts, assemble, unlock
from executor.engine import Engine
from executor.flatten import flatten
from executor.image import encode_state
from executor.intake import Intake, Session
from executor.page import Finished, snapshot
from executor.records import CleanStop
from executor.state import State

READY_WITHOUT_S = 8.0
FLATTEN_START_S = 10.0
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 15.0
TICK_S = 0.05
GUARD_TICKS = 8
KEEP_TICKS = 20
PAGE_S = 0.01
PAGE_AT_LEAST_NS = 250 * NS_PER_MS
STOP_WAIT_S = 8.0
SWITCH_WAIT_S = 2.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line. `config`: a path."""

    config: str
    takeover: bool = False
    flatten: bool = False
    venue: Venue | None = None
    symbol: str | None = None
    include_foreign: bool = False


class Executor:
    """core.lifecycle.AsyncAgent. `exit_code` counts when `run` returned without an error."""

    role_name = "executor"

    def __init__(self, loaded: Loaded, run: RunDir, log: Log, options: Options) -> None:
        self.exit_code = EXIT_OK
        self._loaded = loaded
        self._config = loaded.config
        self._run = run
        self._log = log
        self._options = options
        self._clock = run.calendar_clock()
        live = self._config.run.environment is Environment.LIVE
        self._venues = () if live else loaded.enabled_venues
        self._latch = HaltLatch(loaded.state_dir)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stop = asyncio.Event()
        self._is_assembled = False
        self._report: FlattenReport | None = None
        self._finished: Finished = {}
        self._parts: Parts
        self._engine: Engine
        self._state: State

    async def run(self, stop: asyncio.Event) -> None:
        """Everything from the locks to the last byte of the journal."""
        self._stop = stop
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        try:
            async with contextlib.AsyncExitStack() as closing:
                await self._live(closing)
        except InvariantError as error:
            self._failure = error
        if isinstance(self._failure, InvariantError):
            self._latch.set(f"invariant: {self._failure}", self._clock.wire_ns())
        if self._failure is not None:
            raise self._failure
        if self._report is not None:
            self._tell(self._report)  # after everything has closed: the last line of stdout, whatever closing logged

    async def _live(self, closing: contextlib.AsyncExitStack) -> None:
        loaded, log, clock = self._loaded, self._log, self._clock
        if self._options.flatten and not self._venues:
            log.error("live_blocked", detail="Live mode blocked: no permit; flatten by hand on the venues' pages")
            self.exit_code = EXIT_PERMISSION
            return
        keyring = await unlock(loaded, self._venues, self._options.takeover, self._stop, closing, log, clock)
        if keyring is None:
            return
        parts = assemble(loaded, self._run, self._venues, keyring, self._latch, closing, log, clock)
        self._parts, self._engine, self._state = parts, parts.engine, parts.state
        self._is_assembled = True
        self._obey_latch()
        self._engine.recover()
        if self._options.flatten:
            await self._flatten_and_exit()
        else:
            self._require_venues()
            await self._serve(closing)

    def _require_venues(self) -> None:
        """A venue that was disabled while something of ours stands there leaves it to nobody."""
        lost = residual.out_of_reach(self._state, self._venues)
        if lost:
            names = ", ".join(f"{venue}:{symbol}" for venue, symbol in lost)
            raise ConfigError(
                f"{self._loaded.path}: venues.{lost[0][0]}.enabled: the journal holds a position or an open order at {names}; "
                "enable the venue again, and flatten there before it is disabled"
            )

    def on_reload(self) -> None:
        """HUP: the file is validated whole; what it changes takes a restart, since keys, venues and limits hang on it."""
        try:
            fresh = load(self._loaded.path)
        except ConfigError as error:
            self._log.error("config_rejected", detail=str(error), fingerprint=self._loaded.fingerprint)
            return
        changed = fresh.fingerprint != self._loaded.fingerprint
        self._log.info("config_valid", fingerprint=fresh.fingerprint, restart_needed=changed)

    def on_dump(self) -> None:
        """USR1: where everything stands, in one line."""
        if not self._is_assembled:
            return
        state = self._state
        self._log.info(
            "dump",
            ready=self._engine.ready,
            trading_state=state.trading_state.value,
            sequence=state.sequence,
            epoch=state.epoch,
            pairs={pair.pair_id: pair.status.value for pair in state.live_pairs()},
            orders={order.client_order_id: order.status.value for order in state.open_orders()},
            frozen=[f"{venue}:{symbol}" for venue, symbol in state.frozen],
            positions={f"{v}:{s}": p.book.lots for (v, s), p in state.positions.items() if p.book.lots},
        )

    # ---- serving ----------------------------------------------------------------------------------------------------

    async def _serve(self, closing: contextlib.AsyncExitStack) -> None:
        intake = Intake(
            self._run.executor_socket,
            frozenset({os.getuid(), 0}),
            self._take,
            self._log,
            lambda session: self._parts.commands.client_left(session.strategy),
        )
        self._engine.sessions = intake.sessions
        intake.start(asyncio.get_running_loop())
        closing.callback(intake.close)
        self._spawn(self._write_pages())
        self._start_venues()
        self._spawn(self._turns())
        await self._until_fit(READY_WITHOUT_S)
        if not self._stop.is_set():
            self._become_ready()
            await self._stop.wait()
        self._engine.ready = False
        intake.close()
        if self._failure is None:
            await self._end_orderly()
        await self._end_tasks()

    def _take(self, command: AnyCommand, session: Session) -> None:
        self._parts.owners.note(command.command_id.strategy)
        self._parts.commands.take(command, session)

    def _become_ready(self) -> None:
        self._engine.ready = True
        gc.collect()
        gc.freeze()
        self._log.info("ready", venues={v: d.reconciled for v, d in self._engine.desks.items()})
        if self._config.execution.rehearse_ms:
            self._spawn(self._rehearse())

    def _start_venues(self) -> None:
        for venue in self._venues:
            self._spawn(self._bring_up(venue))
        if self._venues:
            self._spawn(self._parts.reconciler.run(self._stop))

    async def _bring_up(self, venue: Venue) -> None:
        """Until the gateway has started; reconciliation goes on from there by itself."""
        desk, delay_s = self._engine.desks[venue], BACKOFF_FIRST_S
        rng = random.Random(f"backoff-{venue}-{self._state.epoch}")
        while not self._stop.is_set():
            try:
                await desk.gateway.start(self._engine.on_event)
            except VenueError as error:
                desk.down_reason = f"{type(error).__name__}: {error}"
                self._log.warning("venue_not_started", venue=venue, detail=str(error), retry_s=delay_s)
                await self._pause(delay_s * rng.uniform(0.75, 1.25))
                delay_s = min(delay_s * 2, BACKOFF_LAST_S)
                continue
            desk.started, desk.down_reason = True, ""
            self._log.info("venue_started", venue=venue, instruments=len(desk.gateway.instruments()))
            self._parts.reconciler.wake(venue)
            return

    async def _until_fit(self, bound_s: float) -> None:
        """Until every venue is reconciled, at most `bound_s`, or until asked to stop."""
        deadline_ns = self._clock.mono_ns() + int(bound_s * NS_PER_S)
        while not self._stop.is_set() and self._clock.mono_ns() < deadline_ns:
            if all(desk.reconciled for desk in self._engine.desks.values()):
                return
            await self._pause(TICK_S)

    async def _turns(self) -> None:
        """The slow clockwork: pairs, overdue orders, guards, nonce blocks, the latch, metrics."""
        turn = 0
        while self._failure is None:
            turn += 1
            self._parts.pairs.tick()
            self._engine.watch_orders()
            if turn % GUARD_TICKS == 0 and self._engine.ready:
                self._parts.guards.turn()
            if turn % KEEP_TICKS == 0:
                self._keep()
            await asyncio.sleep(TICK_S)

    def _keep(self) -> None:
        for desk in self._engine.desks.values():
            if desk.started:
                desk.gateway.nonces.renew()
        self._obey_latch()
        self._parts.currencies.turn()
        self._parts.meter.parities(self._parts.currencies.of)
        self._parts.meter.sample(
            self._engine, {venue: self._parts.reconciler.foreign_orders(venue) for venue in self._venues}
        )

    def _obey_latch(self) -> None:
        """The latch halts whoever sees it, however it came to be there."""
        halt = self._latch.read()
        if halt is not None and self._state.trading_state is not TradingState.HALTED:
            self._engine.set_trading_state(TradingState.HALTED, halt.reason)

    async def _rehearse(self) -> None:
        pause_s = self._config.execution.rehearse_ms / 1000
        while True:
            self._parts.rehearsal.turn()
            await asyncio.sleep(pause_s)

    async def _write_pages(self) -> None:
        """The account page after every change, at most every PAGE_S, and every 250 ms in any case."""
        written, written_ns = -1, 0
        while True:
            now_ns = self._clock.mono_ns()
            if self._engine.changes != written or now_ns - written_ns >= PAGE_AT_LEAST_NS:
                written, written_ns = self._engine.changes, now_ns
                self._publish()
            await asyncio.sleep(PAGE_S)

    def _publish(self) -> None:
        try:
            self._parts.page.write(snapshot(self._engine, self._finished))
        except ConfigError as error:  # too many rows for the page: the former page stands, trading goes on
            self._log.error("account_page_full", detail=str(error))

    # ---- ends -------------------------------------------------------------------------------------------------------

    async def _end_orderly(self) -> None:
        """Cancel what rests, let what is in flight end and be repaired, keep hedged pairs, and say that it was on purpose."""
        for order in self._parts.commands.resting(None, None, None):
            self._engine.cancel_order(order)
        deadline_ns = self._clock.mono_ns() + int(STOP_WAIT_S * NS_PER_S)
        while self._clock.mono_ns() < deadline_ns and self._is_moving():
            await asyncio.sleep(TICK_S)
        await self._parts.commands.drain(1.0)
        await self._parts.pairs.switches.close(SWITCH_WAIT_S)
        self._engine.record(CleanStop(wire_ns=self._clock.wire_ns()))
        self._parts.journal.checkpoint(encode_state(self._state), keep_after=self._parts.ledger.stored)
        self._publish()
        self._log.info("stopped", pairs_kept=len(self._state.live_pairs()), unfinished=self._is_moving())

    def _is_moving(self) -> bool:
        orders = any(order.status is not OrderStatus.UNKNOWN for order in self._state.open_orders())
        pairs = any(p.status in (PairStatus.OPENING, PairStatus.REPAIRING) for p in self._state.live_pairs())
        return orders or pairs

    async def _flatten_and_exit(self) -> None:
        """What a running executor does on Flatten, without one: HALTED, venues up as far as they come, flatten, report."""
        options = self._options
        self._latch.set("flatten", self._clock.wire_ns())
        self._obey_latch()
        self._start_venues()
        self._spawn(self._turns())
        await self._until_fit(FLATTEN_START_S)
        report = await flatten(self._engine, options.venue, options.symbol, options.include_foreign)
        self._stop.set()
        await self._end_tasks()
        self._engine.record(CleanStop(wire_ns=self._clock.wire_ns()))
        self._parts.journal.sync()
        self._report = report
        self.exit_code = EXIT_OK if report.flat else EXIT_RESIDUAL

    @staticmethod
    def _tell(report: FlattenReport) -> None:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        sys.stdout.flush()

    # ---- tasks ------------------------------------------------------------------------------------------------------

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._log.error("loop_error", detail=str(context.get("message")), error=repr(error))
        if isinstance(error, BaseException):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Keep the first cause and stop; groups are opened, since what decides the exit code is inside."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if self._failure is None:
            self._failure = error
        if self._is_assembled:
            self._engine.ready = False
        self._stop.set()

    async def _end_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WAIT_S)
