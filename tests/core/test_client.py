"""The executor's client against a bare socket: connecting, losing, coming back, waiting within bounds."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.client import RETRY_NS, ExecutorClient
from core.clock import NS_PER_S, SimClock, SystemClock
from core.errors import ConfigError, InvariantError, Malformed
from core.messages import ClosePair, CommandDone, Probe, decode_command, encode
from core.types import TradingState


class Server:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen(4)
        self.listener.settimeout(10)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(10)
        return connection

    def close(self) -> None:
        self.listener.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "executor.sock")
    yield made
    made.close()


def done(detail: str) -> CommandDone:
    return CommandDone(command_id=None, ok=True, detail=detail, trading_state=TradingState.ACTIVE)


def probe(client: ExecutorClient) -> Probe:
    return Probe(command_id=client.next_id(), valid_until_mono_ns=client.valid_until_ns(1))


def test_nobody_there_is_a_state_not_an_error(tmp_path: Path) -> None:
    client = ExecutorClient(tmp_path / "none", "scalp", SystemClock())
    assert not client.connect(0.25)
    assert (client.connected, client.fileno(), client.poll(), client.send(probe(client))) == (False, -1, [], False)
    assert "No such file" in client.last_failure


def test_tries_are_spaced_by_the_clock(tmp_path: Path) -> None:
    clock = SimClock()
    path = tmp_path / "executor.sock"
    client = ExecutorClient(path, "scalp", clock)
    assert not client.try_connect()
    server = Server(path)
    assert not client.try_connect(), "within RETRY_NS nothing is tried"
    clock.advance_ns(RETRY_NS)
    assert client.try_connect()
    assert client.try_connect()
    assert client.generation == 1
    client.close()
    server.close()


def test_connect_waits_for_a_late_executor(tmp_path: Path) -> None:
    path = tmp_path / "executor.sock"
    client = ExecutorClient(path, "scalp", SystemClock())
    made: list[Server] = []
    timer = threading.Timer(0.3, lambda: made.append(Server(path)))
    timer.start()
    assert client.connect(10)
    timer.join()
    client.close()
    made[0].close()


def test_ids_never_repeat_over_two_lives() -> None:
    clock = SimClock()
    first = ExecutorClient(Path("none"), "scalp", clock)
    ids = [first.next_id(), first.next_id()]
    clock.advance_ns(1)
    ids.append(ExecutorClient(Path("none"), "scalp", clock).next_id())
    assert len(set(ids)) == 3


def test_send_poll_lose_and_reconnect(server: Server) -> None:
    client = ExecutorClient(server.path, "scalp", SystemClock())
    assert client.connect(5)
    connection = server.accept()
    command = probe(client)
    assert client.send(command)
    assert decode_command(connection.recv(65536)) == command
    assert client.poll() == []
    connection.send(encode(done("a")))
    connection.send(encode(done("b")))
    assert client.poll(5) == [done("a"), done("b")]
    old = client.fileno()
    connection.send(encode(done("last words")))
    connection.close()
    assert client.poll(5) == [done("last words")], "what came before the end is delivered"
    assert not client.connected
    assert not client.send(probe(client))
    assert client.connect(5)
    assert client.generation == 2
    assert old >= 0
    server.accept().close()
    client.close()
    client.close()


def test_wait_picks_its_report_and_is_bounded(server: Server) -> None:
    client = ExecutorClient(server.path, "manual", SystemClock())
    assert client.connect(5)
    connection = server.accept()
    connection.send(encode(done("other")))
    connection.send(encode(done("mine")))
    assert client.wait(lambda report: report == done("mine"), 5) == done("mine")
    assert client.wait(lambda report: True, 0.1) is None
    assert client.connected
    connection.close()
    assert client.wait(lambda report: True, 5) is None
    assert not client.connected
    client.close()


def test_an_executor_that_does_not_read_is_told_apart_from_one_that_is_gone(server: Server) -> None:
    client = ExecutorClient(server.path, "scalp", SystemClock())
    assert client.connect(5)
    connection = server.accept()
    sent = 0
    while client.send(probe(client)):
        sent += 1
        assert sent < 100_000, "a full buffer was never met"
    assert client.connected
    assert "does not read" in client.last_failure
    connection.close()
    assert not client.send(probe(client))
    assert not client.connected
    client.close()


def test_a_report_of_another_version_drops_the_connection(server: Server) -> None:
    client = ExecutorClient(server.path, "scalp", SystemClock())
    assert client.connect(5)
    connection = server.accept()
    connection.send(b"not a report")
    with pytest.raises(Malformed):
        client.poll(5)
    assert not client.connected
    connection.close()


def test_a_truncated_report_drops_the_connection(server: Server) -> None:
    client = ExecutorClient(server.path, "scalp", SystemClock())
    assert client.connect(5)
    connection = server.accept()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    connection.send(bytes(70_000))
    assert client.poll(5) == []
    assert not client.connected
    assert "truncated" in client.last_failure
    connection.close()


def test_a_command_over_the_bound_is_our_fault(server: Server) -> None:
    client = ExecutorClient(server.path, "scalp", SystemClock())
    assert client.connect(5)
    with pytest.raises(InvariantError):
        client.send(ClosePair(command_id=client.next_id(), valid_until_mono_ns=0, pair_id="p", reason="x" * 70_000))
    client.close()


def test_a_socket_of_another_user_is_a_clear_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Locked(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    if os.getuid():
        server.path.chmod(0)
    else:  # root passes any mode, so the kernel's answer is played
        monkeypatch.setattr("core.client.socket.socket", Locked)
    with pytest.raises(ConfigError, match="may not talk to the executor"):
        ExecutorClient(server.path, "scalp", SystemClock()).try_connect()


def test_valid_until_is_monotonic_time_ahead() -> None:
    clock = SimClock(mono_ns=10 * NS_PER_S)
    assert ExecutorClient(Path("none"), "scalp", clock).valid_until_ns(0.5) == int(10.5 * NS_PER_S)
