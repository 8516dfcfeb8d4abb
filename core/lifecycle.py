"""How every process starts, runs and ends: signals, duty cycle, exit codes, death with the supervisor.

`main(argv)` of each room parses `--config`, builds its agent and returns `run(agent, ...)`. An agent is sync (strategies:
one thread, one epoll) or async (rooms with sockets). Handlers only set flags; nothing trades inside a signal handler.

    TERM, INT  graceful stop: `on_close` runs, exit 0        HUP   `on_reload` (validate whole, keep old on error)
    USR1       dump state to the log                         USR2  stack dump of all threads to stderr

If supervisord is SIGKILLed, its children would live on and be started a second time: every program therefore asks the
kernel for SIGTERM when its parent dies, then checks that the parent did not die in between.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Protocol

import core.errors as errors
from core.clock import NS_PER_MS
from core.errors import BusyError, ConfigError, InvariantError, VenueError
from core.log import Log

_PR_SET_PDEATHSIG = 1
HEARTBEAT_NS = 100 * NS_PER_MS


class StopFlag:
    """What signal handlers set and loops read. `reload` and `dump` are cleared by the loop that served them."""

    __slots__ = ("dump", "reload", "stop")

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self.dump = False


class SyncAgent(Protocol):
    role_name: str

    def on_start(self) -> None: ...
    def do_work(self) -> int:
        """One turn, at most about 50 ms of waiting inside; the number of things done."""

    def on_reload(self) -> None: ...
    def on_dump(self) -> None: ...
    def on_close(self) -> None: ...


class AsyncAgent(Protocol):
    role_name: str

    async def run(self, stop: asyncio.Event) -> None:
        """Everything from start to `stop`; returns after its own graceful close."""

    def on_reload(self) -> None: ...
    def on_dump(self) -> None: ...


def run_sync(build: Callable[[], SyncAgent], log: Log) -> int:
    """Build and run a sync agent until asked to stop; returns the exit code."""
    flags = StopFlag()

    def body() -> int:
        agent = build()
        _install(flags)
        agent.on_start()
        try:
            while not flags.stop:
                agent.do_work()
                if flags.reload:
                    flags.reload = False
                    agent.on_reload()
                if flags.dump:
                    flags.dump = False
                    agent.on_dump()
        finally:
            agent.on_close()
        return errors.EXIT_OK

    return guard(body, log)


def run_async(
    build: Callable[[], AsyncAgent], log: Log, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> int:
    """Build and run an async agent on its own event loop until asked to stop; returns the exit code."""

    async def main() -> None:
        agent = build()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, agent.on_reload)
        loop.add_signal_handler(signal.SIGUSR1, agent.on_dump)
        faulthandler.register(signal.SIGUSR2, all_threads=True)
        await agent.run(stop)

    def body() -> int:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())
        return errors.EXIT_OK

    return guard(body, log)


def guard(body: Callable[[], int], log: Log) -> int:
    """Map what escapes `body` to the exit code that supervisord and people rely on. The one broad except of the project."""
    try:
        die_with_parent()
        require_platform()
        return body()
    except ConfigError as error:
        log.error("config_error", detail=str(error))
        return errors.EXIT_CONFIG
    except BusyError as error:
        log.error("busy", detail=str(error))
        return errors.EXIT_BUSY
    except InvariantError as error:
        log.error("invariant_broken", detail=str(error), traceback=_trace(error))
        return errors.EXIT_INVARIANT
    except VenueError as error:
        log.error("venue_unavailable", detail=str(error), kind=type(error).__name__)
        return errors.EXIT_UNAVAILABLE
    except Exception as error:
        log.error("crashed", detail=f"{type(error).__name__}: {error}", traceback=_trace(error))
        return errors.EXIT_CRASH


def die_with_parent() -> None:
    """Ask for SIGTERM when the parent ends, unless the process was started by hand from a shell that may go away."""
    parent = os.getppid()
    if parent == 1:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def require_platform() -> None:
    """Shared-memory stamps rely on x86-64 total store order; anywhere else is refused."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise ConfigError(
            f"this machine is {sys.platform}/{platform.machine()}: shared-memory stamps rely on the store order of "
            "x86-64 Linux; run Tandem there (WSL2 works)"
        )


def _install(flags: StopFlag) -> None:
    def stop(number: int, frame: object) -> None:
        flags.stop = True

    def reload(number: int, frame: object) -> None:
        flags.reload = True

    def dump(number: int, frame: object) -> None:
        flags.dump = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
    signal.signal(signal.SIGUSR1, dump)
    faulthandler.register(signal.SIGUSR2, all_threads=True)


def _trace(error: BaseException) -> list[str]:
    return [line.strip() for line in traceback.format_exception(error)[-6:]]
