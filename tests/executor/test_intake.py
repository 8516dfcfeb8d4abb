"""The executor's door and its clients, over a real socket: who gets in, what ends a connection, what never waits."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.client import ExecutorClient
from core.clock import SystemClock
from core.errors import BusyError, ConfigError
from core.ids import CommandId
from core.log import Log
from core.messages import MAX_MESSAGE_BYTES, AnyCommand, AnyReport, CommandDone, Probe, encode
from core.types import TradingState
from executor import intake as intake_module
from executor.intake import Intake, Session

CLOCK = SystemClock()


class Door:
    """An intake that remembers and answers probes."""

    def __init__(self, path: Path, uids: frozenset[int] = frozenset({os.getuid()})) -> None:
        self.lines: list[str] = []
        self.commands: list[AnyCommand] = []
        self.left: list[str] = []
        self.intake = Intake(
            path,
            uids,
            self.take,
            Log("test", CLOCK, write=self.lines.append),
            lambda session: self.left.append(session.strategy),
        )
        self.intake.start(asyncio.get_running_loop())

    def take(self, command: AnyCommand, session: Session) -> None:
        self.commands.append(command)
        session.send(done(command.command_id))


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    made = Door(tmp_path / "executor.sock")
    yield made
    made.intake.close()


def done(command_id: CommandId | None, detail: str = "") -> CommandDone:
    return CommandDone(command_id=command_id, ok=True, detail=detail, trading_state=TradingState.ACTIVE)


def probe(client: ExecutorClient) -> Probe:
    return Probe(command_id=client.next_id(), valid_until_mono_ns=client.valid_until_ns(5))


async def until(condition: Callable[[], bool], bound_s: float = 10.0) -> None:
    async with asyncio.timeout(bound_s):
        while not condition():
            await asyncio.sleep(0.005)


def raw(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    return connection


def client_of(door: Door, name: str = "scalp") -> ExecutorClient:
    client = ExecutorClient(door.intake.path, name, CLOCK)
    assert client.try_connect(), client.last_failure
    return client


async def reports_of(client: ExecutorClient, count: int) -> list[AnyReport]:
    got: list[AnyReport] = []

    def enough() -> bool:
        got.extend(client.poll())
        return len(got) >= count

    await until(enough)
    return got


async def test_a_command_reaches_the_engine_and_its_report_comes_back(door: Door) -> None:
    client = client_of(door)
    first, second = probe(client), probe(client)
    assert client.send(first)
    assert client.send(second)
    got = await reports_of(client, 2)
    assert door.commands == [first, second]
    assert [report.command_id for report in got] == [first.command_id, second.command_id]
    assert first.command_id != second.command_id
    (session,) = door.intake.sessions
    assert (session.strategy, session.peer_uid, session.peer_pid) == ("scalp", os.getuid(), os.getpid())
    client.close()
    await until(lambda: door.left == ["scalp"])
    assert not door.intake.sessions
    assert not session.send(done(None)), "a session that has ended takes no reports"


async def test_a_foreign_uid_is_refused_and_ours_is_not(tmp_path: Path) -> None:
    door = Door(tmp_path / "s", frozenset({os.getuid() + 1}))
    connection = raw(door.intake.path)
    connection.setblocking(False)
    await until(lambda: door.intake.refused == 1)
    assert connection.recv(10) == b""
    assert not door.intake.sessions
    assert any("may not command" in line for line in door.lines)
    connection.close()
    door.intake.close()


async def test_a_truncated_message_ends_the_connection(door: Door) -> None:
    connection = raw(door.intake.path)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
    connection.send(bytes(MAX_MESSAGE_BYTES + 1))
    await until(lambda: door.intake.protocol_errors == 1)
    assert not door.intake.sessions
    assert not door.commands
    assert any("longer than" in line for line in door.lines)
    connection.close()


async def test_a_message_of_exactly_the_bound_is_read_whole(door: Door) -> None:
    """It does not decode, but it is not called truncated."""
    connection = raw(door.intake.path)
    connection.send(bytes(MAX_MESSAGE_BYTES))
    await until(lambda: door.intake.protocol_errors == 1)
    assert not any("longer than" in line for line in door.lines)
    assert any("does not decode" in line for line in door.lines)
    connection.close()


@pytest.mark.parametrize("data", [b"garbage", b"\x81\xa4type\xa5probe", encode(done(None))])
async def test_a_message_that_is_no_command_ends_the_connection(door: Door, data: bytes) -> None:
    connection = raw(door.intake.path)
    connection.send(data)
    await until(lambda: door.intake.protocol_errors == 1)
    assert not door.commands
    connection.close()


async def test_a_client_may_not_change_its_name(door: Door) -> None:
    client = client_of(door)
    client.send(probe(client))
    await reports_of(client, 1)
    client.name = "carry"
    client.send(probe(client))
    await until(lambda: door.intake.protocol_errors == 1)
    assert len(door.commands) == 1
    client.close()


async def test_a_client_that_does_not_read_is_dropped_not_waited_for(door: Door) -> None:
    slow, quick = client_of(door, "slow"), client_of(door, "quick")
    for client in (slow, quick):
        client.send(probe(client))
    await until(lambda: len(door.commands) == 2)
    (session,) = (session for session in door.intake.sessions if session.strategy == "slow")
    sent = 0
    while session.send(done(None, "x" * 1000)):
        sent += 1
        assert sent < 10_000, "a full buffer was never met"
    assert not session.is_open
    assert door.left == ["slow"]
    assert [session.strategy for session in door.intake.sessions] == ["quick"]
    got: list[AnyReport] = []
    while slow.connected:
        got.extend(slow.poll())
    assert len(got) == sent + 1, "what the kernel took before is still delivered"
    assert "closed" in slow.last_failure
    slow.close()
    quick.close()


async def test_the_number_of_clients_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_CLIENTS", 2)
    clients = [client_of(door, f"c{number}") for number in range(3)]
    await until(lambda: door.intake.refused == 1)
    assert len(door.intake.sessions) == 2
    clients[0].close()
    await until(lambda: len(door.intake.sessions) == 1)
    clients.append(client_of(door, "late"))
    await until(lambda: len(door.intake.sessions) == 2)
    for client in clients:
        client.close()


async def test_a_broadcast_reaches_everyone(door: Door) -> None:
    clients = [client_of(door, f"c{number}") for number in range(3)]
    await until(lambda: len(door.intake.sessions) == 3)
    door.intake.broadcast(done(None, "halted"))
    for client in clients:
        assert await reports_of(client, 1) == [done(None, "halted")]
        client.close()


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(door: Door, tmp_path: Path) -> None:
    with pytest.raises(BusyError, match="another executor listens here"):
        Door(door.intake.path)
    client_of(door).close()  # the live one still serves
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(stale))
        dead.listen()
    second = Door(stale)
    client_of(second).close()
    second.intake.close()
    assert not stale.exists()


async def test_a_path_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("precious")
    with pytest.raises(ConfigError, match="is not a socket"):
        Door(plain)
    assert plain.read_text() == "precious"
    with pytest.raises(ConfigError, match=r"run\.shm_dir"):
        Door(tmp_path / "missing" / "executor.sock")
    with pytest.raises(ConfigError, match="too long"):
        Door(tmp_path / ("x" * 120))


async def test_many_commands_of_one_client_are_all_served(door: Door) -> None:
    client = client_of(door)
    sent = 0
    got: list[AnyReport] = []
    while len(got) < 500:
        if sent < 500 and client.send(probe(client)):
            sent += 1
        await asyncio.sleep(0)
        got.extend(client.poll())
    assert [report.command_id for report in got] == [command.command_id for command in door.commands]
    client.close()
