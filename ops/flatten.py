"""`tandem flatten`: end flat whatever state the executor is in, or say exactly what is left.

1  The halt latch is made durable first: from here on no executor of this run, living, waking or respawned, opens.
2  The executor is asked over its socket. A flatten may take its time, so silence is measured by probes, which a living
   serial path answers within a second: SILENT_S without a word means hung. Not ready (recovering) is waited for.
3  Dead, hung or refusing: the process that holds this run's account locks is verified and ended by pidfd (core.holder),
   and `executor.main --flatten-and-exit` takes the same locks and does the work. Here is no second way to trade.
4  supervisord may be quicker and start another executor, which then holds the locks, HALTED by the latch: the child is
   ended and that one is asked.

Exit code 0 only when the executor or the child says flat on every venue in scope; 2 with the residual; 75 when somebody
else's executor holds the account; otherwise the code of what failed. ROUNDS and the bounds below end it in any case.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import msgspec

from core import holder as holders
from core.client import ExecutorClient
from core.clock import NS_PER_S, Clock
from core.config import Loaded
from core.errors import (
    EXIT_BUSY,
    EXIT_CONFIG,
    EXIT_CRASH,
    EXIT_OK,
    EXIT_RESIDUAL,
    EXIT_UNAVAILABLE,
    BusyError,
    ConfigError,
    Malformed,
)
from core.latch import HaltLatch
from core.log import Log
from core.messages import (
    OPERATOR,
    CommandDone,
    DenyReason,
    Flatten,
    FlattenReport,
    OrderDenied,
    Probe,
    ResidualPosition,
)
from core.types import Venue
from ops.context import Context

ROOT = Path(__file__).resolve().parent.parent
CHILD = (sys.executable, "-m", "executor.main")
ROUNDS = 3
TURN_S = 0.25
SAY_S = 5.0  # between two lines of progress
KEPT_LINES = 50  # of the child's output

_report_decoder = msgspec.json.Decoder(FlattenReport)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How long each step may take; the figures of the command, smaller in tests."""

    connect_s: float = 2.0
    respawn_s: float = 10.0  # for a respawned executor to listen
    silent_s: float = 6.0
    ready_s: float = 20.0
    asked_s: float = 180.0
    child_s: float = 240.0
    term_s: float = 5.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What is left and who says so. `done_by` is "executor", "flatten-and-exit" or "" when nobody could do it."""

    exit_code: int
    flat: bool
    residual: tuple[ResidualPosition, ...]
    unreachable: tuple[Venue, ...]
    done_by: str
    detail: str


def flatten(
    loaded: Loaded,
    venue: Venue | None,
    symbol: str | None,
    include_foreign: bool,
    log: Log,
    clock: Clock,
    bounds: Bounds = Bounds(),  # noqa: B008 - frozen
) -> Result:
    """Halt, then flatten `venue`/`symbol` (None = all). Raises ConfigError for a venue that the configuration lacks."""
    if venue is not None and venue not in loaded.config.venues:
        raise ConfigError(
            f"{loaded.path}: venues.{venue}: no such venue here; choose {', '.join(loaded.config.venues)}"
        )
    latch = HaltLatch(loaded.state_dir)
    not_latched = ""
    try:
        latch.set("flatten by the operator", clock.wire_ns())
        log.info("halt_latch_set", path=str(latch.path))
    except ConfigError as error:  # closing matters more than the latch; the exit code tells
        not_latched = str(error)
        log.error("halt_latch_failed", detail=not_latched)
    result = _Flattening(loaded, venue, symbol, include_foreign, log, clock, bounds).run()
    if not_latched and result.exit_code == EXIT_OK:
        return msgspec.structs.replace(result, exit_code=EXIT_CONFIG, detail=f"flat, but not halted: {not_latched}")
    return result


def tell(context: Context, result: Result) -> int:
    """Answer the caller; the exit code."""
    if context.as_json:
        context.answer(msgspec.to_builtins(result))
        return result.exit_code
    rows = [(p.venue, p.symbol, p.qty, f"{p.notional_usd:.2f}", p.why) for p in result.residual]
    if rows:
        context.table("residual", ("venue", "symbol", "qty", "notional_usd", "why"), rows)
    for name in result.unreachable:
        context.say(f"[red]{name} could not be reached: what is open there is not known[/red]")
    if result.flat:
        context.say(f"[green]flat[/green] ({result.done_by}); trading stays HALTED until `tandem resume`")
        if result.exit_code != EXIT_OK:
            context.say(f"[bold red]{result.detail}[/bold red]")
    else:
        context.say(f"[bold red]NOT FLAT[/bold red] ({result.detail}); trading is HALTED; run flatten again")
    return result.exit_code


class _Flattening:
    def __init__(
        self,
        loaded: Loaded,
        venue: Venue | None,
        symbol: str | None,
        include_foreign: bool,
        log: Log,
        clock: Clock,
        bounds: Bounds,
    ) -> None:
        self._loaded = loaded
        self._venue = venue
        self._symbol = symbol
        self._include_foreign = include_foreign
        self._log = log
        self._clock = clock
        self._bounds = bounds
        self._said_ns = 0

    def run(self) -> Result:
        asked = self._ask(self._bounds.connect_s)
        for _ in range(ROUNDS):
            if isinstance(asked, FlattenReport):
                return _result(asked, "executor")
            self._log.warning("executor_no_help", detail=asked)
            self._end_holders()
            result = self._by_child()
            if result.exit_code != EXIT_BUSY or not self._holders():
                return result
            asked = self._ask(self._bounds.respawn_s)
        if isinstance(asked, FlattenReport):
            return _result(asked, "executor")
        return _failure(EXIT_BUSY, f"a respawned executor holds the locks and does not flatten: {asked}")

    # ---- asking -----------------------------------------------------------------------------------------------------

    def _ask(self, connect_s: float) -> FlattenReport | str:
        """The executor's report, or why there is none."""
        stopped = [claim.pid for _, claim in self._holders() if holders.is_stopped(claim.pid)]
        if stopped:
            return f"the executor is stopped (pid {stopped[0]})"
        client = ExecutorClient(self._loaded.executor_socket, OPERATOR, self._clock)
        try:
            if not client.connect(connect_s):
                return f"the executor does not listen ({client.last_failure})"
            return self._converse(client)
        except (Malformed, ConfigError) as error:
            return f"the executor cannot be talked to ({error})"
        finally:
            client.close()

    def _converse(self, client: ExecutorClient) -> FlattenReport | str:
        began_ns = heard_ns = self._clock.mono_ns()
        command: Flatten | None = None
        while client.connected:
            now_ns = self._clock.mono_ns()
            if now_ns - heard_ns > self._bounds.silent_s * NS_PER_S:
                return f"the executor has not answered for {self._bounds.silent_s:g} s"
            if now_ns - began_ns > self._bounds.asked_s * NS_PER_S:
                return f"the executor is not done after {self._bounds.asked_s:g} s"
            if command is None:
                command = self._command(client)
                client.send(command)
            client.send(Probe(command_id=client.next_id(), valid_until_mono_ns=client.valid_until_ns(60.0)))
            self._progress("waiting for the executor", began_ns)
            for report in client.poll(TURN_S):
                heard_ns = self._clock.mono_ns()
                if report.command_id != command.command_id:
                    continue
                if isinstance(report, FlattenReport):
                    return report
                if isinstance(report, OrderDenied):
                    recovering = report.reason is DenyReason.NOT_READY
                    if not recovering or heard_ns - began_ns > self._bounds.ready_s * NS_PER_S:
                        return f"the executor refuses ({report.reason.value}: {report.detail})"
                    command = None
                    break
                if isinstance(report, CommandDone) and not report.ok:
                    return f"the executor cannot ({report.detail})"
            self._pause(TURN_S)
        return f"the connection ended ({client.last_failure})"

    def _command(self, client: ExecutorClient) -> Flatten:
        return Flatten(
            command_id=client.next_id(),
            valid_until_mono_ns=client.valid_until_ns(self._bounds.silent_s),
            venue=self._venue,
            symbol=self._symbol,
            include_foreign=self._include_foreign,
        )

    # ---- doing it ourselves -----------------------------------------------------------------------------------------

    def _holders(self) -> list[tuple[Path, holders.Holder]]:
        return holders.holders(self._loaded.lock_dir, self._loaded.state_dir)

    def _end_holders(self) -> None:
        """End this run's executor, once however many locks it holds; whoever cannot be verified is left alone."""
        for path, claim in self._holders():
            if claim.pid not in holders.flock_pids(path):
                continue  # ended with the lock before
            try:
                holders.end(path, claim, self._log, term_wait_s=self._bounds.term_s)
            except BusyError as error:
                self._log.error("holder_not_ended", detail=str(error))

    def _by_child(self) -> Result:
        """Run `--flatten-and-exit`; a result of EXIT_BUSY means that somebody else has the locks."""
        command = [*CHILD, "--config", str(self._loaded.path), "--flatten-and-exit"]
        command += ["--venue", self._venue] if self._venue is not None else []
        command += ["--symbol", self._symbol] if self._symbol is not None else []
        command += ["--all"] if self._include_foreign else []
        self._log.info("flatten_child_started", command=command)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT) as child:
            try:
                lines, why_ended = self._follow(child)
            finally:
                self._stop(child)
        return self._child_result(child.returncode, lines, why_ended)

    def _follow(self, child: subprocess.Popen[bytes]) -> tuple[list[str], Result | None]:
        """The child's last lines; a result when it was given up, None when it ended by itself."""
        lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        began_ns = self._clock.mono_ns()
        rest = b""
        stream = child.stdout.fileno() if child.stdout is not None else -1
        poller = select.poll()
        poller.register(stream, select.POLLIN)
        while True:
            if poller.poll(TURN_S * 1000):
                data = os.read(stream, 1 << 16)
                if not data:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        child.wait(self._bounds.term_s)
                    return list(lines), None
                *whole, rest = (rest + data).split(b"\n")
                lines.extend(line.decode(errors="replace") for line in whole)
            if self._clock.mono_ns() - began_ns > self._bounds.child_s * NS_PER_S:
                text = f"flatten-and-exit is not done after {self._bounds.child_s:g} s"
                return list(lines), _failure(EXIT_UNAVAILABLE, text)
            others = [claim for _, claim in self._holders() if claim.pid != child.pid]
            if others:
                return list(lines), _failure(EXIT_BUSY, f"another executor of this run has started: {others[0]}")
            self._progress("flattening without the executor", began_ns)

    def _stop(self, child: subprocess.Popen[bytes]) -> None:
        """It is our own child and not reaped yet, so its pid is nobody else's."""
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(self._bounds.term_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _child_result(self, code: int, lines: list[str], given_up: Result | None) -> Result:
        report = _report_in(lines)
        if report is not None and code in (EXIT_OK, EXIT_RESIDUAL):
            result = _result(report, "flatten-and-exit")
            if result.exit_code == code:
                return result
            return _failure(EXIT_RESIDUAL, f"flatten-and-exit ended with {code} though it reported flat={report.flat}")
        if given_up is not None:
            return given_up
        detail = f"flatten-and-exit ended with {code}: {_reason_in(lines)}"
        return _failure(code if code > EXIT_RESIDUAL else EXIT_CRASH, detail)

    # ---- waiting ----------------------------------------------------------------------------------------------------

    def _progress(self, what: str, began_ns: int) -> None:
        now_ns = self._clock.mono_ns()
        if now_ns - self._said_ns > SAY_S * NS_PER_S:
            self._said_ns = now_ns
            self._log.info("flatten_progress", doing=what, elapsed_s=round((now_ns - began_ns) / NS_PER_S, 1))

    def _pause(self, wait_s: float) -> None:
        select.select((), (), (), wait_s)


def _result(report: FlattenReport, done_by: str) -> Result:
    flat = report.flat and not report.unreachable
    return Result(
        exit_code=EXIT_OK if flat else EXIT_RESIDUAL,
        flat=flat,
        residual=report.residual,
        unreachable=report.unreachable,
        done_by=done_by,
        detail="" if flat else f"{len(report.residual)} positions left, {len(report.unreachable)} venues unreachable",
    )


def _failure(exit_code: int, detail: str) -> Result:
    return Result(exit_code=exit_code, flat=False, residual=(), unreachable=(), done_by="", detail=detail)


def _report_in(lines: list[str]) -> FlattenReport | None:
    """The child's result: the last line that is a FlattenReport."""
    for line in reversed(lines):
        try:
            return _report_decoder.decode(line)
        except msgspec.DecodeError:
            continue
    return None


def _reason_in(lines: list[str]) -> str:
    """The detail of the child's last logged error, else its last line."""
    for line in reversed(lines):
        try:
            logged = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(logged, dict) and logged.get("level") == "error":
            return str(logged.get("detail", logged.get("event")))
    return lines[-1] if lines else "it said nothing"
