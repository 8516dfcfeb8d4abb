"""A client of the executor: sends commands, takes reports, never waits unless asked to. For strategies and ops.

The socket is non-blocking; a strategy puts `fileno()` into its epoll and calls `poll()` when it is readable. A lost
connection is a state, not an exception: `send` answers False and `connected` is False until `try_connect` succeeds (at
most one try every RETRY_NS, so it may be called every turn). What happened meanwhile is on the account page, and a
command may be sent again under its old id: the executor answers with the recorded reports, never with a second order.
The descriptor changes with every connection; `generation` counts them.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import ConfigError, Malformed, invariant
from core.ids import CommandId
from core.messages import MAX_MESSAGE_BYTES, AnyCommand, AnyReport, decode_report, encode

RETRY_NS = 100 * NS_PER_MS
POLL_BUDGET = 64  # reports taken by one poll


class ExecutorClient:
    """One connection under one name. Not for use from two threads."""

    def __init__(self, path: Path, name: str, clock: Clock) -> None:
        self.name = name
        self.generation = 0
        self.epoch = clock.wire_ns()  # command ids of two lives of one client never meet
        self.last_failure = "not tried yet"
        self._path = path
        self._clock = clock
        self._sequence = 0
        self._socket: socket.socket | None = None
        self._next_try_ns = 0

    @property
    def connected(self) -> bool:
        return self._socket is not None

    def fileno(self) -> int:
        """For epoll; -1 while not connected."""
        return self._socket.fileno() if self._socket is not None else -1

    def next_id(self) -> CommandId:
        """A command id that was never used."""
        self._sequence += 1
        return CommandId(self.name, self.epoch, self._sequence)

    def valid_until_ns(self, bound_s: float) -> int:
        """`valid_until_mono_ns` for a command that may take `bound_s` to be taken up."""
        return self._clock.mono_ns() + int(bound_s * NS_PER_S)

    def try_connect(self) -> bool:
        """Connect unless connected; does not wait. Raises ConfigError when this user may not use the socket."""
        if self._socket is not None:
            return True
        now_ns = self._clock.mono_ns()
        if now_ns < self._next_try_ns:
            return False
        self._next_try_ns = now_ns + RETRY_NS
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            opened.connect(os.fspath(self._path))
        except PermissionError as error:
            opened.close()
            raise ConfigError(
                f"{self._path}: this user may not talk to the executor ({error.strerror}); run as its user"
            ) from error
        except OSError as error:
            opened.close()
            self.last_failure = error.strerror or str(error)
            return False
        self._socket = opened
        self.generation += 1
        return True

    def connect(self, timeout_s: float) -> bool:
        """Try to connect for up to `timeout_s`."""
        deadline_ns = self._clock.mono_ns() + int(timeout_s * NS_PER_S)
        while not self.try_connect():
            if self._clock.mono_ns() >= deadline_ns:
                return False
            select.select((), (), (), RETRY_NS / NS_PER_S)
        return True

    def send(self, command: AnyCommand) -> bool:
        """Hand one command to the kernel. False: not connected, or the executor does not read; nothing was sent."""
        if self._socket is None:
            return False
        data = encode(command)
        invariant(len(data) <= MAX_MESSAGE_BYTES, f"a command has {len(data)} bytes, the bound is {MAX_MESSAGE_BYTES}")
        try:
            self._socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            self.last_failure = "the executor does not read its socket"
            return False
        except OSError as error:
            self._drop(error.strerror or str(error))
            return False
        return True

    def poll(self, timeout_s: float = 0.0) -> list[AnyReport]:
        """Reports that are there, waiting up to `timeout_s` for the first. Empty also when the connection was lost.

        Raises Malformed for a report of another version, after dropping the connection.
        """
        if self._socket is None:
            return []
        if timeout_s > 0.0:
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            if not poller.poll(timeout_s * 1000):
                return []
        reports: list[AnyReport] = []
        for _ in range(POLL_BUDGET):
            data = self._receive()
            if not data:
                break
            try:
                reports.append(decode_report(data))
            except Malformed:
                self._drop("a report did not decode")
                raise
        return reports

    def wait(self, is_it: Callable[[AnyReport], bool], timeout_s: float) -> AnyReport | None:
        """The first report that `is_it` accepts, or None by the bound or when the connection is lost. Others are dropped."""
        deadline_ns = self._clock.mono_ns() + int(timeout_s * NS_PER_S)
        while self._socket is not None:
            left_s = (deadline_ns - self._clock.mono_ns()) / NS_PER_S
            if left_s <= 0:
                return None
            for report in self.poll(left_s):
                if is_it(report):
                    return report
        return None

    def close(self) -> None:
        """Idempotent."""
        self._drop("closed by us")

    def _receive(self) -> bytes:
        """One datagram; empty when there is none, or the connection ended (it is dropped then)."""
        if self._socket is None:
            return b""
        try:
            data, _, flags, _ = self._socket.recvmsg(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            self._drop(error.strerror or str(error))
            return b""
        if not data:
            self._drop("the executor closed the connection")
            return b""
        if flags & socket.MSG_TRUNC:
            self._drop("a report was truncated")
            return b""
        return data

    def _drop(self, why: str) -> None:
        if self._socket is not None:
            self.last_failure = why
            self._socket.close()
            self._socket = None
