"""One conversation with the executor: send a command, hear what comes of it. For the verbs that trade by hand.

The client name is `manual`: its pairs are watched by the executor's own exit guards, since nobody else looks after them. A
conversation that breaks off changes nothing about what was asked; the same question to `tandem pairs` tells how it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from core.client import ExecutorClient
from core.clock import NS_PER_S
from core.errors import VenueError
from core.ids import CommandId
from core.messages import (
    FINAL_PAIR,
    MANUAL,
    AnyCommand,
    AnyReport,
    ClosePair,
    CommandDone,
    OpenPair,
    OrderDenied,
    PairState,
    PairStatus,
    SetLeverage,
)
from ops.context import Context

CONNECT_S = 2.0
TAKEN_UP_S = 5.0
"""Within which the executor must have taken a command up, or it is void."""


class Session:
    """Use as a context manager. Raises VenueError when the executor is away or ends in the middle."""

    def __init__(self, context: Context) -> None:
        self._client = ExecutorClient(context.loaded.executor_socket, MANUAL, context.clock)
        self._clock = context.clock
        self.heard: list[AnyReport] = []

    def __enter__(self) -> Session:
        if not self._client.connect(CONNECT_S):
            raise VenueError(
                f"the executor does not answer ({self._client.last_failure}): see supervisorctl status executor"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def stamp(self) -> tuple[CommandId, int]:
        """Id and `valid_until_mono_ns` of a new command."""
        return self._client.next_id(), self._client.valid_until_ns(TAKEN_UP_S)

    def open(self, command: OpenPair, timeout_s: float) -> PairState | OrderDenied | None:
        """The pair once it is open, or has failed to open; None when it was still on its way after `timeout_s`."""
        self._send(command)
        return self._pair_until(command, None, timeout_s, {PairStatus.OPEN, *FINAL_PAIR})

    def close(self, command: ClosePair, timeout_s: float) -> PairState | OrderDenied | None:
        """The pair once it is closed; None when it was still closing after `timeout_s`."""
        self._send(command)
        return self._pair_until(command, command.pair_id, timeout_s, set(FINAL_PAIR))

    def set_leverage(self, command: SetLeverage, timeout_s: float) -> CommandDone | OrderDenied | None:
        """What the venue reads afterwards; None when nobody said so within `timeout_s`."""
        self._send(command)
        for report in self._reports(timeout_s):
            if isinstance(report, CommandDone | OrderDenied) and report.command_id == command.command_id:
                return report
        return None

    def listen(self, duration_s: float) -> None:
        """Only hear what is said."""
        for _ in self._reports(duration_s):
            continue

    def _pair_until(
        self, command: AnyCommand, pair_id: str | None, timeout_s: float, ends: set[PairStatus]
    ) -> PairState | OrderDenied | None:
        for report in self._reports(timeout_s):
            if isinstance(report, OrderDenied) and report.command_id == command.command_id:
                return report
            if not isinstance(report, PairState):
                continue
            if report.command_id == command.command_id:
                pair_id = report.pair_id
            if report.pair_id == pair_id and report.status in ends:
                return report
        return None

    def _send(self, command: AnyCommand) -> None:
        self.heard.clear()
        if not self._client.send(command):
            raise VenueError(f"the executor was not told: {self._client.last_failure}; nothing was done")

    def _reports(self, timeout_s: float) -> Iterator[AnyReport]:
        deadline_ns = self._clock.mono_ns() + int(timeout_s * NS_PER_S)
        while (left_ns := deadline_ns - self._clock.mono_ns()) > 0:
            for report in self._client.poll(left_ns / NS_PER_S):
                self.heard.append(report)
                yield report
            if not self._client.connected:
                raise VenueError(
                    f"the executor hung up ({self._client.last_failure}); `tandem pairs` tells what became of it"
                )
