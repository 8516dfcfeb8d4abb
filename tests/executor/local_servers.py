"""Small servers for faults that a well-behaved sandbox does not show: scripted bytes on a loopback port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from core.clock import SystemClock
from core.log import Log

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

POLL_S = 0.01


class LogLines:
    """A Log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = Log("test", SystemClock(), "debug", self.lines.append)

    def has(self, word: str) -> bool:
        return any(word in line for line in self.lines)


@asynccontextmanager
async def serve(script: Script) -> AsyncIterator[int]:
    """Run `script` for each connection; yields the port. Connections are cut at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await server.wait_closed()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """One HTTP request: (head, body)."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = 0
    for line in head.split("\r\n"):
        if line.lower().startswith("content-length:"):
            length = int(line.partition(":")[2])
    return head, await reader.readexactly(length)


def http_reply(body: bytes, status: int = 200, extra: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def free_port() -> int:
    """A port on which nobody listens (for now)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    """Poll until `condition()` is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(POLL_S)
