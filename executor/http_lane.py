"""Order entry and account reads over HTTP/1.1: warm keep-alive connections, one request at a time on each.

A general client is the wrong tool here: it may retry, queue, follow redirects or pool a connection that is already dead,
and it cannot tell whether bytes left. This lane does nothing by itself. `send` writes ready bytes before it returns and
its future always completes: with the reply, with Unsent (proven), or with Unknown (anything after the first byte).
A connection whose request timed out is closed, so that a late answer cannot be taken for the next one's.

Bounds: `size` connections, one request each, MAX_REPLY_BYTES a reply, `timeout_s` a request, jittered backoff between
attempts to reconnect.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_S, Clock
from core.errors import Malformed, NotSent, OutcomeUnknown, VenueError
from core.log import Log
from executor.background import Background
from executor.backoff import Backoff
from executor.http_reply import HttpReply, ReplyParser
from executor.outcome import Unknown, Unsent
from executor.wire import Endpoint, Wire

CHECK_S = 1.0
KEEP_ALIVE_S = 20.0
WAKE_S = 1.0  # between attempts, however urgent

LaneResult = HttpReply | Unsent | Unknown


class HttpRequest(msgspec.Struct, frozen=True):
    """Ready to be written. `body` is sent as it is, never re-encoded; `headers` are the venue's own (keys, cookies)."""

    method: str
    target: str  # path with query
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class HttpLane:
    """Connections to one host. `keep_alive`: a cheap request sent on connections idle for KEEP_ALIVE_S, or None;
    `on_reply` sees every reply (clock offset, request budget headers); `on_open` hears of every connection reopened."""

    def __init__(
        self,
        url: str,
        *,
        size: int,
        timeout_s: float,
        clock: Clock,
        rng: random.Random,
        log: Log,
        keep_alive: HttpRequest | None = None,
        on_reply: Callable[[HttpReply], None] | None = None,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self._endpoint = Endpoint.parse(url)
        self._size = size
        self._timeout_s = timeout_s
        self._clock = clock
        self._backoff = Backoff(rng, WAKE_S)
        self._log = log
        self._keep_alive = keep_alive
        self._on_reply = on_reply
        self._connections: list[_Connection] = []
        self._freed = asyncio.Event()
        self._missing = asyncio.Event()
        self._background = Background()
        self._opened = on_open

    async def start(self) -> None:
        """Open all connections. Raises NotSent when not even one opens; then nothing is left running."""
        self._connections.append(await self._connect())
        self._backoff.reset()
        self._background.spawn(self._maintain())

    async def close(self) -> None:
        await self._background.close()
        for connection in list(self._connections):
            connection.end("the lane is closing")
        self._connections.clear()

    @property
    def warm(self) -> bool:
        """Whether a connection is open and free for a request now."""
        return any(connection.is_free for connection in self._connections)

    def wake(self) -> None:
        """Somebody needs a connection: try again now instead of waiting out the pause, at most once in WAKE_S."""
        self._backoff.wake()

    def send(self, request: HttpRequest) -> asyncio.Future[LaneResult]:
        """Write `request` now on a free connection. Never raises; the future never fails."""
        data = self.render(request)
        detail = "no warm connection"
        if not self._connections:
            self.wake()
        for connection in [each for each in self._connections if each.is_free]:
            try:
                return connection.send(data, self._timeout_s)
            except NotSent as error:
                detail = str(error)
        future: asyncio.Future[LaneResult] = asyncio.get_running_loop().create_future()
        future.set_result(Unsent(detail=detail))
        return future

    async def fetch(self, request: HttpRequest) -> HttpReply:
        """For reads: waits for a free connection up to the timeout. Raises NotSent or OutcomeUnknown.

        A host that is known to be down is not waited for, but tried again soon.
        """
        deadline_ns = self._clock.mono_ns() + int(self._timeout_s * NS_PER_S)
        while not self.warm:
            if not self._connections and self._backoff.failures:
                self.wake()
                raise NotSent(f"{self._endpoint.host}: not reachable, {self._backoff.failures} attempts failed")
            self._freed.clear()
            left_s = (deadline_ns - self._clock.mono_ns()) / NS_PER_S
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._freed.wait()
            except TimeoutError:
                raise NotSent(f"{self._endpoint.host}: no free connection within {self._timeout_s:g} s") from None
        result = await self.send(request)
        if isinstance(result, Unsent):
            raise NotSent(f"{request.method} {_path(request)}: {result.detail}")
        if isinstance(result, Unknown):
            raise OutcomeUnknown(f"{request.method} {_path(request)}: {result.detail}")
        return result

    def render(self, request: HttpRequest) -> bytes:
        """The bytes of a request."""
        head = (
            f"{request.method} {self._endpoint.path}{request.target} HTTP/1.1\r\nHost: {self._endpoint.host_header}\r\n"
        )
        for name, value in request.headers:
            head += f"{name}: {value}\r\n"
        if request.content_type:
            head += f"Content-Type: {request.content_type}\r\n"
        if request.body or request.method != "GET":
            head += f"Content-Length: {len(request.body)}\r\n"
        return f"{head}\r\n".encode() + request.body

    async def _connect(self) -> _Connection:
        wire = await Wire.connect(self._endpoint, self._timeout_s)
        return _Connection(wire, self._clock, self._replied, self._gone)

    def _replied(self, reply: HttpReply | None) -> None:
        if reply is not None and self._on_reply is not None:
            self._on_reply(reply)
        self._freed.set()

    def _gone(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._missing.set()

    async def _maintain(self) -> None:
        while True:
            if len(self._connections) < self._size:
                try:
                    self._connections.append(await self._connect())
                except VenueError as error:
                    self._log.warning("http_connect_failed", host=self._endpoint.host, detail=str(error))
                    await self._backoff.pause()
                else:
                    self._backoff.reset()
                    self._freed.set()
                    if self._opened is not None:
                        self._opened()
                continue
            self._missing.clear()
            try:
                async with asyncio.timeout(CHECK_S):  # not wait_for, which may swallow a cancellation (Python 3.11)
                    await self._missing.wait()
            except TimeoutError:
                self._keep_warm()

    def _keep_warm(self) -> None:
        if self._keep_alive is None:
            return
        idle_since_ns = self._clock.mono_ns() - int(KEEP_ALIVE_S * NS_PER_S)
        for connection in list(self._connections):
            if connection.is_free and connection.used_mono_ns < idle_since_ns:
                try:
                    connection.send(self.render(self._keep_alive), self._timeout_s)
                except NotSent as error:
                    self._log.debug("http_keep_alive_failed", host=self._endpoint.host, detail=str(error))


class _Connection:
    """One keep-alive connection with at most one request in flight."""

    def __init__(
        self,
        wire: Wire,
        clock: Clock,
        replied: Callable[[HttpReply | None], None],
        gone: Callable[[_Connection], None],
    ) -> None:
        self._wire = wire
        self._clock = clock
        self._replied = replied
        self._gone = gone
        self._parser = ReplyParser()
        self._waiting: asyncio.Future[LaneResult] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.used_mono_ns = clock.mono_ns()
        wire.begin(self._received, self._lost)

    @property
    def is_free(self) -> bool:
        return self._waiting is None and self._wire.is_open

    def send(self, data: bytes, timeout_s: float) -> asyncio.Future[LaneResult]:
        """Raises NotSent when no byte left; the connection is then of no more use."""
        try:
            self._wire.write(data)
        except NotSent:
            self.end("unusable")
            raise
        loop = asyncio.get_running_loop()
        self.used_mono_ns = self._clock.mono_ns()
        self._waiting = loop.create_future()
        self._timer = loop.call_later(timeout_s, self._timed_out, timeout_s)
        return self._waiting

    def end(self, reason: str) -> None:
        """Close; a request in flight is Unknown."""
        self._wire.close()
        self._gone(self)
        self._settle(Unknown(detail=f"no answer: {reason}"))
        self._replied(None)

    def _received(self, data: bytes) -> None:
        if self._waiting is None:
            self.end("the peer spoke without being asked")
            return
        try:
            reply = self._parser.feed(data)
        except Malformed as error:
            self.end(str(error))
            return
        if reply is None:
            return
        keep = reply.keep_alive and self._parser.is_empty
        if not keep:
            self._wire.close()
            self._gone(self)
        self._settle(reply)
        self._replied(reply)

    def _lost(self, reason: str) -> None:
        reply = self._parser.finish() if self._waiting is not None else None
        if reply is None:
            self.end(reason)
            return
        self._gone(self)
        self._settle(reply)
        self._replied(reply)

    def _timed_out(self, timeout_s: float) -> None:
        self.end(f"nothing within {timeout_s:g} s")

    def _settle(self, result: LaneResult) -> None:
        waiting, self._waiting = self._waiting, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waiting is not None and not waiting.done():
            waiting.set_result(result)


def _path(request: HttpRequest) -> str:
    """Without the query, which carries a signature."""
    return request.target.partition("?")[0]
