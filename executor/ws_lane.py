"""A WebSocket that is always being kept open: order posts and private streams.

The protocol (framing, masking, handshake, pongs) is the `websockets` library's sans-I/O machine; the socket is our own
`Wire`, so that a frame is with the kernel before `send` returns and a frame that is not is known as such. One task opens
the connection, hands every text frame to `on_frame`, and after a loss waits with jittered backoff and opens it again;
the owner learns of both by `on_up` (subscribe here) and `on_down` (whatever is in flight is now unknown).

Silence is death: a ping goes out every PING_S, and a connection that brought nothing for SILENCE_S is closed. Both
venues also cut connections by themselves (Hyperliquid after 60 s without traffic, Aster after 24 h): `max_age_s`
renews before that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidURI, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from core.clock import NS_PER_S, Clock
from core.errors import Malformed, NotSent, VenueError
from core.log import Log
from executor.background import Background
from executor.backoff import Backoff
from executor.wire import Endpoint, Wire

PING_S = 15.0
SILENCE_S = 25.0
CHECK_S = 1.0
STABLE_S = 10.0
MAX_FRAME_BYTES = 16 * 1024 * 1024
WAKE_S = 2.5  # between attempts, however urgent: Hyperliquid allows 30 new connections a minute

Headers = Sequence[tuple[str, str]]


class WsLane:
    """`url` is asked before every connection (a listen key may be part of it), and after it `headers`, which the handshake
    then carries (a session's cookie). `ping`: the venue's own ping text, or None for protocol pings. Callbacks run on the
    loop; `on_up` may write."""

    def __init__(
        self,
        url: Callable[[], Awaitable[str]],
        *,
        timeout_s: float,
        clock: Clock,
        rng: random.Random,
        log: Log,
        on_up: Callable[[], None],
        on_frame: Callable[[bytes], None],
        on_down: Callable[[str], None],
        ping: bytes | None = None,
        max_age_s: float = 0.0,
        headers: Callable[[], Headers] = tuple,
    ) -> None:
        self._url = url
        self._headers = headers
        self._timeout_s = timeout_s
        self._clock = clock
        self._backoff = Backoff(rng, WAKE_S)
        self._log = log
        self._on_up = on_up
        self._on_frame = on_frame
        self._on_down = on_down
        self._ping = ping
        self._max_age_s = max_age_s
        self._socket: _Socket | None = None
        self._heard_wire_ns = 0
        self._background = Background()

    async def start(self) -> None:
        """Open the first connection. Raises VenueError when that fails; then nothing is left running."""
        socket = await self._open()
        self._background.spawn(self._run(socket))

    async def close(self) -> None:
        await self._background.close()
        self.reset("the lane is closing")

    @property
    def warm(self) -> bool:
        return self._socket is not None and self._socket.is_open

    @property
    def heard_wire_ns(self) -> int:
        """When the present connection, or else the last one, brought anything (UTC); 0 = there was none yet."""
        return self._heard_wire_ns if self._socket is None else self._socket.heard_wire_ns

    def wake(self) -> None:
        """Somebody needs the connection: try again now instead of waiting out the pause, at most once in WAKE_S."""
        self._backoff.wake()

    def send(self, text: bytes) -> None:
        """Write one text frame now. Raises NotSent when no byte of it left."""
        if self._socket is None:
            self.wake()
            raise NotSent("the WebSocket is down")
        self._socket.send(text)

    def reset(self, reason: str) -> None:
        """Drop the present connection; the task opens a fresh one."""
        if self._socket is not None:
            self._socket.drop(reason)

    async def _open(self) -> _Socket:
        url = await self._url()
        socket = await _Socket.open(url, self._headers(), self._timeout_s, self._clock, self._on_frame)
        self._socket = socket
        try:
            self._on_up()
        except NotSent as error:
            socket.drop(str(error))
            self._socket = None
            raise
        return socket

    async def _run(self, socket: _Socket) -> None:
        while True:
            opened_ns = self._clock.mono_ns()
            reason = await self._watch(socket, opened_ns)
            self._heard_wire_ns, self._socket = socket.heard_wire_ns, None
            self._on_down(reason)
            self._log.warning("ws_down", detail=reason)
            if self._clock.mono_ns() - opened_ns > STABLE_S * NS_PER_S:
                self._backoff.reset()
            else:
                await self._backoff.pause()
            socket = await self._reopen()

    async def _reopen(self) -> _Socket:
        while True:
            try:
                return await self._open()
            except VenueError as error:
                self._log.warning("ws_connect_failed", detail=str(error), failures=self._backoff.failures)
            await self._backoff.pause()

    async def _watch(self, socket: _Socket, opened_ns: int) -> str:
        """Ping, and judge silence and age, until the connection is gone; the reason why."""
        pinged_ns = opened_ns
        while socket.is_open:
            await socket.wait_lost(CHECK_S)
            now_ns = self._clock.mono_ns()
            if now_ns - socket.heard_mono_ns > SILENCE_S * NS_PER_S:
                socket.drop(f"silent for {SILENCE_S:g} s")
            elif self._max_age_s and now_ns - opened_ns > self._max_age_s * NS_PER_S:
                socket.drop("renewed before the venue's own time limit")
            elif now_ns - pinged_ns > PING_S * NS_PER_S:
                pinged_ns = now_ns
                socket.ping(self._ping)
        return socket.lost_reason


class _Socket:
    """One connection: the protocol machine over a wire."""

    def __init__(self, wire: Wire, protocol: ClientProtocol, clock: Clock, on_frame: Callable[[bytes], None]) -> None:
        self._wire = wire
        self._protocol = protocol
        self._clock = clock
        self._on_frame = on_frame
        self._fragments: list[bytes] = []
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self.lost_reason = ""
        self._heard()

    @classmethod
    async def open(
        cls, url: str, headers: Headers, timeout_s: float, clock: Clock, on_frame: Callable[[bytes], None]
    ) -> _Socket:
        """Connect and upgrade. Raises NotSent (no connection) or Malformed (the peer speaks no WebSocket)."""
        try:
            protocol = ClientProtocol(parse_uri(url), max_size=MAX_FRAME_BYTES)
        except InvalidURI:
            raise NotSent("the WebSocket URL is not valid") from None
        wire = await Wire.connect(Endpoint.parse(url), timeout_s)
        socket = cls(wire, protocol, clock, on_frame)
        wire.begin(socket._received, socket.drop)
        request = protocol.connect()
        request.headers.update(headers)
        protocol.send_request(request)
        with contextlib.ExitStack() as undo:
            undo.callback(socket.drop, "not opened")
            socket._flush()
            try:
                async with asyncio.timeout(timeout_s):
                    await socket._ready.wait()
            except TimeoutError:
                socket.drop("no WebSocket handshake in time")
            undo.pop_all()
        if not socket.is_open:
            raise Malformed(f"WebSocket handshake failed: {socket.lost_reason}")
        return socket

    @property
    def is_open(self) -> bool:
        return self._wire.is_open and self._protocol.state is State.OPEN

    def send(self, text: bytes) -> None:
        if not self.is_open:
            raise NotSent("the WebSocket is closed")
        self._protocol.send_text(text)
        self._flush()

    def ping(self, text: bytes | None) -> None:
        """A ping that cannot be written is no matter: silence will tell."""
        try:
            if text is not None:
                self.send(text)
            else:
                self._protocol.send_ping(b"")
                self._flush()
        except NotSent as error:
            self.lost_reason = self.lost_reason or str(error)

    def drop(self, reason: str) -> None:
        """Close at once, without a closing handshake: nothing here is worth waiting for."""
        self._wire.close()
        self.lost_reason = self.lost_reason or reason
        self._ready.set()
        self._lost.set()

    async def wait_lost(self, timeout_s: float) -> None:
        """Until the connection is lost, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):  # not wait_for, which may swallow a cancellation (Python 3.11)
                await self._lost.wait()
        except TimeoutError:
            return

    def _received(self, data: bytes) -> None:
        self._heard()
        self._protocol.receive_data(data)
        try:
            self._flush()
        except NotSent as error:
            self.drop(f"cannot answer: {error}")
            return
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._handshaken()
            elif isinstance(event, Frame):
                self._frame(event)
        if self._protocol.state in (State.CLOSING, State.CLOSED) and self._wire.is_open:
            self.drop(self._closing_words())

    def _handshaken(self) -> None:
        problem = self._protocol.handshake_exc
        if problem is not None:
            known = isinstance(problem, InvalidHandshake | ProtocolError)
            self.drop(str(problem) if known else type(problem).__name__)
        self._ready.set()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.fin and not self._fragments:
                self._on_frame(bytes(frame.data))
                return
            self._fragments.append(bytes(frame.data))  # the library bounds the total by max_size
            if frame.fin:
                whole, self._fragments = b"".join(self._fragments), []
                self._on_frame(whole)

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if data:
            self._wire.write(data)

    def _heard(self) -> None:
        self.heard_mono_ns = self._clock.mono_ns()
        self.heard_wire_ns = self._clock.wire_ns()

    def _closing_words(self) -> str:
        problem = self._protocol.handshake_exc
        if problem is not None:
            return f"handshake refused: {problem}"
        code = self._protocol.close_code
        return f"closed by the peer with code {code}: {self._protocol.close_reason or ''}".rstrip(": ")
