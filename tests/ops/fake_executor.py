"""A process that stands where the executor stands for `flatten`: it holds the account lock and listens on the socket.

    python fake_executor.py MANNER --config FILE [--flatten-and-exit ...]

Manners of a running one: live, residual, unreachable, slow, refusing, recovering, mute, deaf (no socket), dying (ends
when asked), stubborn (mute, and ignores SIGTERM). Manners of the child: flat, left, crash, silent, liar, hanging, late
(tries for the lock only when somebody else has it). Says "up" when it holds the lock.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from decimal import Decimal

import msgspec

from core import holder as holders
from core.clock import SystemClock
from core.config import load
from core.errors import BusyError
from core.latch import HaltLatch
from core.log import Log
from core.messages import (
    AnyCommand,
    CommandDone,
    DenyReason,
    Flatten,
    FlattenReport,
    OrderDenied,
    Probe,
    ResidualPosition,
)
from core.types import TradingState, Venue
from executor.intake import Intake, Session
from executor.lock import acquire

LEFT = ResidualPosition(
    venue=Venue("aster"), symbol="BTC", qty=Decimal("-0.013"), notional_usd=Decimal("812.5"), why="no match"
)
REFUSALS = {"refusing": DenyReason.RATE_BUDGET, "recovering": DenyReason.NOT_READY}


async def main(manner: str, config: str, options: list[str]) -> int:
    loaded = load(config)
    clock = SystemClock()
    log = Log("fake", clock)
    if manner == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if manner == "late":
        while not holders.holders(loaded.lock_dir, loaded.state_dir):
            await asyncio.sleep(0.01)
    identity = holders.myself(loaded.path, loaded.state_dir, clock)
    wait_s = 30.0 if manner == "late" else 0.5
    try:
        lock = await acquire(
            loaded.lock_dir, Venue("aster"), "0xa", identity, wait_s=wait_s, takeover=False, log=log, clock=clock
        )
    except BusyError as error:
        log.error("busy", detail=str(error))
        return 75
    if HaltLatch(loaded.state_dir).read() is None and options:
        log.error("no_latch", detail="flatten-and-exit was started before the latch was set")
        return 70
    try:
        if "--flatten-and-exit" in options:
            return await flatten_and_exit(manner, options, log)
        await serve(manner, loaded.executor_socket, log)
        return 0
    finally:
        lock.release()


async def flatten_and_exit(manner: str, options: list[str], log: Log) -> int:
    log.info("flattening", options=options)
    if manner == "crash":
        log.error("venue_unavailable", detail="the venue hung up")
        return 69
    if manner == "silent":
        return 0
    if manner == "hanging":
        await asyncio.sleep(600)
    flat = manner in ("flat", "liar", "late")
    print(msgspec.json.encode(report(None, flat)).decode(), flush=True)
    return 0 if manner in ("flat", "late") else 2


async def serve(manner: str, path: os.PathLike[str], log: Log) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if manner != "stubborn":
        loop.add_signal_handler(signal.SIGTERM, stop.set)

    def on_command(command: AnyCommand, session: Session) -> None:
        if manner in ("mute", "stubborn"):
            return
        if isinstance(command, Probe):
            session.send(done(command))
        elif isinstance(command, Flatten):
            if manner in REFUSALS:
                session.send(
                    OrderDenied(command_id=command.command_id, reason=REFUSALS[manner], detail="as the test wants it")
                )
            elif manner == "dying":
                os.kill(os.getpid(), signal.SIGKILL)
            elif manner == "slow":
                loop.call_later(1.5, lambda: session.send(report(command, True)))
            else:
                session.send(report(command, manner in ("live", "unreachable"), manner == "unreachable"))

    intake = Intake(path, frozenset({os.getuid()}), on_command, log)  # type: ignore[arg-type]
    if manner != "deaf":
        intake.start(loop)
    print("up", flush=True)
    await stop.wait()
    intake.close()


def done(command: AnyCommand) -> CommandDone:
    return CommandDone(command_id=command.command_id, ok=True, detail="", trading_state=TradingState.HALTED)


def report(command: Flatten | None, flat: bool, unreachable: bool = False) -> FlattenReport:
    return FlattenReport(
        command_id=command.command_id if command is not None else None,
        flat=flat,
        residual=() if flat or unreachable else (LEFT,),
        unreachable=(Venue("hyperliquid"),) if unreachable else (),
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[3], sys.argv[4:])))
