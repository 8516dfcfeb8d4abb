"""One accepted WebSocket of a venue: frames out through a bounded queue, a way to drop it as a broken path would.

It is also where faults (see faults.py) meet what a venue sends: `send` for frames, `act` for requests made over a socket.

Venues push prebuilt bytes from synchronous code (a market step serves many subscribers); a task per connection writes
them. A client that does not read is dropped at MAX_QUEUED frames rather than let memory grow or others wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from aiohttp import WSMsgType, web

from core.clock import NS_PER_S
from ops.sandbox.fault_kinds import Traffic
from ops.sandbox.faults import Faults

MAX_QUEUED = 20_000
MAX_FRAME_BYTES = 1 << 20
FRAMES_JUDGED = 64  # a connection's first frames tell what it carries
HOLD_S = 1.0  # a frame held back for others comes by itself after this

FAULTS: web.AppKey[Faults] = web.AppKey("faults", Faults)


class _Queued(NamedTuple):
    frame: bytes
    kind: WSMsgType
    due_mono_ns: int  # 0 = at once


class Connection:
    """Built by `open_connection`. `last_sent_ns` is the venue's to keep (mono)."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self._request = request
        self.socket = socket
        self.last_sent_ns = 0
        self._queue: deque[_Queued] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._faults = request.app.get(FAULTS)
        self._held: tuple[bytes, bool, int] | None = None  # frame, binary, frames still to pass it
        self._unjudged = FRAMES_JUDGED if self._faults is not None else 0
        self.carried: set[Traffic] = set()
        self.may_carry: frozenset[Traffic] = frozenset()
        if self._faults is not None:
            self.may_carry = self._faults.of_upgrade(request.path_qs)
            self._faults.joined(self)
        self._writer = asyncio.create_task(self._write())

    def send(self, frame: bytes) -> None:
        """Queue one text frame; nothing happens on a connection that is closing."""
        faults = self._faults
        if faults is None:
            self.push(frame)
            return
        if self._unjudged:
            self._unjudged -= 1
            traffic = faults.of_frame(frame)
            if traffic is not None:
                self.carried.add(traffic)
        if faults.in_force:
            faults.pass_frame(self, frame)
        else:
            self.push(frame)
            self.release()

    async def act(
        self, traffic: Traffic, perform: Callable[[], Awaitable[tuple[int, bytes]]]
    ) -> tuple[int, bytes] | None:
        """(status, body) of a request made over this socket; None when its answer must not come."""
        faults = self._faults
        if faults is None or not faults.in_force:
            return await perform()
        if faults.breaks(traffic):
            self.drop()
            return None
        refused = faults.refusal(traffic)
        if refused is not None:
            return refused.status, refused.body
        status, body = await perform()
        after = faults.after(traffic)
        if after.delay_s:
            await asyncio.sleep(after.delay_s)
        if after.loss:
            if after.loss == "broken":
                self.drop()
            return None
        if after.reply is not None:
            return after.reply.status, after.reply.body
        return status, faults.spoil(body, after.garbage) if after.garbage else body

    def push(self, frame: bytes, binary: bool = False, due_mono_ns: int = 0) -> None:
        """Queue one frame as it is, to be written no earlier than `due_mono_ns` and after those before it."""
        if self._closing:
            return
        if len(self._queue) >= MAX_QUEUED:
            self.drop()
            return
        self._queue.append(_Queued(frame, WSMsgType.BINARY if binary else WSMsgType.TEXT, due_mono_ns))
        self._wake.set()

    @property
    def is_holding(self) -> bool:
        return self._held is not None

    def hold(self, frame: bytes, binary: bool, frames: int) -> None:
        """Keep a frame back until `frames` others have passed, at most HOLD_S. One at a time."""
        self._held = (frame, binary, frames)
        asyncio.get_running_loop().call_later(HOLD_S, self._let_go, frame)

    def release(self) -> None:
        """One frame has passed."""
        if self._held is not None:
            frame, binary, frames = self._held
            self._held = (frame, binary, frames - 1)
            if frames <= 1:
                self._let_go(frame)

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
        if self._faults is not None:
            self._faults.left(self)
        self._closing = True
        self._wake.set()
        await self._writer

    def _let_go(self, frame: bytes) -> None:
        if self._held is not None and self._held[0] is frame:
            _, binary, _ = self._held
            self._held = None
            self.push(frame, binary)

    async def _write(self) -> None:
        while not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                queued = self._queue.popleft()
                if queued.due_mono_ns:
                    await self._wait_until(queued.due_mono_ns)
                    if self._closing:
                        return
                try:
                    await self.socket.send_frame(queued.frame, queued.kind)
                except (ConnectionError, RuntimeError):
                    self._closing = True
                    self._queue.clear()

    async def _wait_until(self, due_mono_ns: int) -> None:
        """Short sleeps, so that a connection that ends meanwhile is not waited for."""
        while self._faults is not None and not self._closing:
            wait_ns = due_mono_ns - self._faults.mono_ns()
            if wait_ns <= 0:
                return
            await asyncio.sleep(min(wait_ns / NS_PER_S, 0.05))


async def open_connection(request: web.Request, *, autoping: bool = True, protocols: Iterable[str] = ()) -> Connection:
    """Accept the upgrade, without compression (no venue of ours negotiates it). `protocols`: those that are spoken here."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=MAX_FRAME_BYTES, autoping=autoping, protocols=protocols)
    await socket.prepare(request)
    return Connection(request, socket)
