"""One accepted WebSocket of a venue: frames out through a bounded queue, a way to drop it as a broken path would.

Venues push prebuilt bytes from synchronous code (a market step serves many subscribers); a task per connection writes
them. A client that does not read is dropped at MAX_QUEUED frames rather than let memory grow or others wait.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import WSMsgType, web

MAX_QUEUED = 20_000
MAX_FRAME_BYTES = 1 << 20


class Connection:
    """Built by `open_connection`. `last_sent_ns` is the venue's to keep (mono)."""

    __slots__ = ("_closing", "_queue", "_request", "_wake", "_writer", "last_sent_ns", "socket")

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self.socket = socket
        self.last_sent_ns = 0
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._writer = asyncio.create_task(self._write())

    def send(self, frame: bytes) -> None:
        """Queue one text frame; nothing happens on a connection that is closing."""
        if self._closing:
            return
        if len(self._queue) >= MAX_QUEUED:
            self.drop()
            return
        self._queue.append(frame)
        self._wake.set()

    def drop(self) -> None:
        """Abort the transport: the client sees the connection break without a close frame (1006)."""
        self._closing = True
        self._queue.clear()
        self._wake.set()
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def finish(self) -> None:
        """Stop the writing task; to be awaited when the reading side has ended."""
        self._closing = True
        self._wake.set()
        await self._writer

    async def _write(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                try:
                    await self.socket.send_frame(self._queue.popleft(), WSMsgType.TEXT)
                except (ConnectionError, RuntimeError):
                    self._closing = True
                    self._queue.clear()


async def open_connection(request: web.Request, *, autoping: bool = True) -> Connection:
    """Accept the upgrade, without compression (no venue of ours negotiates it)."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=MAX_FRAME_BYTES, autoping=autoping)
    await socket.prepare(request)
    return Connection(request, socket)
