"""One stream of a venue, kept alive: connect, subscribe, ping, watch, rotate, reconnect.

    connect -> subscribe (paced) -> pump frames until: closed | error | silent | pong missing -> void, back off, again
                                 -> rotation due: a second connection overlaps the first, so that no quote is voided

Silence is counted in market frames only: pongs and acknowledgements would keep a stalled stream looking alive (TRAPS
T13). The back-off doubles from `backoff_initial_s` to `backoff_max_s` with jitter, and starts over only after a connection
that lived longer than `backoff_max_s`: a venue that accepts and drops at once is not hammered.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import aiohttp

from core.clock import NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.log import Log
from core.settings import FeedsConfig
from feeds.meters import Meters
from feeds.pace import Pace
from feeds.publisher import Publisher
from feeds.recorder import Recorder
from feeds.venues.base import ControlEvent, ControlKind, FeedDecoder, FeedEvent, GapEvent, SocketPlan, Stream
from feeds.wire import PublicReads, Socket

WATCH_S = 0.25
PONG_S = 10.0
ANSWER_S = 10.0  # a subscription that is not answered by then is asked for again
ROTATE_OVERLAP_S = 5.0
ROTATE_RETRY_S = 60.0
MAX_DOUBLINGS = 16
SHOWN_BYTES = 200
SHOWN_FRAMES = 4
MAX_REPLIES = 64  # frames owed to the venue; the oldest are forgotten beyond


class Wiring(NamedTuple):
    """What every session of a feed shares."""

    decoder: FeedDecoder
    publisher: Publisher
    http: aiohttp.ClientSession
    reads: PublicReads
    url: str
    settings: FeedsConfig
    pace: Pace
    meters: Meters
    recorder: Recorder
    clock: Clock
    rng: random.Random
    log: Log


class _Connection:
    """One open socket with its pump, and what the watch needs to know of it."""

    def __init__(
        self, socket: Socket, stream: Stream, now_ns: int, on_frame: Callable[[_Connection, bytes], None]
    ) -> None:
        self.socket = socket
        self.number = 0  # by which a recording knows its frames
        self.stream = stream
        self.opened_ns = now_ns
        self.is_fed = False  # has brought market data
        self.market_ns = now_ns  # last market frame, or when the last subscription was sent
        self.pinged_ns = now_ns
        self.pong_due_ns = 0  # 0 = none outstanding
        self.asked_ns = now_ns  # when what is unanswered was last asked for
        self.is_leaving = False  # the venue has announced that it will drop this connection
        self.replies: deque[bytes] = deque(maxlen=MAX_REPLIES)
        self.void: set[str] = set()  # symbols to subscribe again after a gap; bounded by the catalogue
        self.sent: deque[bytes] = deque(maxlen=SHOWN_FRAMES)
        self.pump = asyncio.create_task(socket.pump(functools.partial(on_frame, self)))
        self.seed: asyncio.Task[None] | None = None

    async def close(self) -> None:
        tasks: list[asyncio.Task[Any]] = [self.pump] if self.seed is None else [self.pump, self.seed]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.socket.close()


class Session:
    """Socket number `index` of a feed. `plan` may be replaced at any time; the stream then rotates to it."""

    def __init__(self, index: int, plan: SocketPlan, wiring: Wiring) -> None:
        self.index = index
        self._plan = plan
        self._is_due = False  # the plan changed under an open connection
        self._wiring = wiring
        self._take = wiring.publisher.take
        self._recorder = wiring.recorder
        self._mono_ns = wiring.clock.mono_ns
        self._retry_rotation_ns = 0
        self.state = "new"

    @property
    def plan(self) -> SocketPlan:
        return self._plan

    def replan(self, plan: SocketPlan) -> None:
        """Carry `plan` from now on."""
        if plan != self._plan:
            self._plan = plan
            self._is_due = True
            self._assign(plan)

    async def run(self) -> NoReturn:
        """Until cancelled. Everything a venue can do wrong ends in another attempt; ConfigError goes up."""
        wiring = self._wiring
        self._assign(self._plan)
        failures = 0
        while True:
            started_ns = self._mono_ns()
            wait_s = 0.0
            try:
                await self._live()
            except VenueError as error:
                reason = str(error)
                wait_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
            wiring.publisher.socket_down(self.index, reason)
            wiring.recorder.down(self.index, reason)
            if self._mono_ns() - started_ns > wiring.settings.backoff_max_s * NS_PER_S:
                failures = 0
            delay_s = max(wait_s, self._backoff_s(failures))
            failures = min(failures + 1, MAX_DOUBLINGS)
            self.state = f"waiting {delay_s:.2f} s after: {reason}"
            wiring.log.warning("stream_lost", socket=self.index, reason=reason, retry_in_s=round(delay_s, 3))
            await asyncio.sleep(delay_s)
            wiring.meters.reconnects.add()

    def _assign(self, plan: SocketPlan) -> None:
        self._wiring.publisher.assign(self.index, plan.symbols)
        self._wiring.recorder.assign(self.index, plan)

    async def _close(self, connection: _Connection) -> None:
        await connection.close()
        self._wiring.recorder.closed(self.index, connection.number)

    def _backoff_s(self, failures: int) -> float:
        settings = self._wiring.settings
        ceiling = min(settings.backoff_max_s, settings.backoff_initial_s * 2.0**failures)
        return ceiling * self._wiring.rng.uniform(0.5, 1.0)

    async def _live(self) -> NoReturn:
        """One stream, through all its rotations, until it ends with VenueError."""
        connection = await self._open()
        try:
            while True:
                await self._watch(connection)
                if self._must_rotate(connection):
                    connection = await self._rotate(connection)
        finally:
            await self._close(connection)

    async def _open(self) -> _Connection:
        """A connection that pumps, with every subscription of the plan sent."""
        wiring = self._wiring
        self.state = "connecting"
        self._is_due = False
        plan = self._plan
        socket = await Socket.open(wiring.http, wiring.url)
        connection = _Connection(socket, wiring.decoder.stream(plan), self._mono_ns(), self._on_frame)
        connection.number = wiring.recorder.opened(self.index, plan)
        wiring.meters.connects.add()
        wiring.log.info("stream_open", socket=self.index, symbols=len(plan.symbols), frames=len(plan.frames))
        is_subscribed = False
        try:
            for frame in plan.frames:
                await self._send(connection, frame)
            is_subscribed = True
        finally:
            if not is_subscribed:
                self._show_sent(connection)
                await self._close(connection)
        connection.market_ns = connection.asked_ns = self._mono_ns()  # silence counts from the last request
        connection.seed = asyncio.create_task(self._seed())
        self.state = "live"
        return connection

    async def _send(self, connection: _Connection, frame: bytes) -> None:
        await self._wiring.pace.take(1)
        connection.sent.append(frame)
        await connection.socket.send(frame)

    async def _seed(self) -> None:
        """Quotes by REST, once, where the venue sends none on subscribing; without them the first changes will do."""
        wiring = self._wiring
        for request in wiring.decoder.seed_requests():
            try:
                answer = await wiring.reads.read(request)
                quotes = wiring.decoder.load_seed(answer)
            except VenueError as error:
                wiring.meters.rest_errors.add()
                wiring.log.warning("seed_failed", socket=self.index, detail=str(error))
            else:
                now_ns = self._mono_ns()
                wiring.publisher.seed(quotes, now_ns)
                wiring.recorder.seed(self.index, answer, now_ns)

    def _on_frame(self, connection: _Connection, frame: bytes) -> None:
        now_ns = self._mono_ns()
        meters = self._wiring.meters
        meters.frames.add()
        if self._recorder.is_on:
            self._recorder.frame(self.index, connection.number, now_ns, frame)
        try:
            events = connection.stream.decode(frame)
        except Malformed as error:
            meters.malformed.add()
            shown = frame[:SHOWN_BYTES].decode(errors="replace")
            self._wiring.log.warning("malformed_frame", socket=self.index, detail=str(error), frame=shown)
            return
        if self._take(events, self.index, now_ns):
            connection.is_fed = True
            connection.market_ns = now_ns
            meters.decode_to_publish.observe((self._mono_ns() - now_ns) / NS_PER_S)
        else:
            for event in events:
                self._on_other(connection, event)

    def _on_other(self, connection: _Connection, event: FeedEvent) -> None:
        wiring = self._wiring
        if isinstance(event, GapEvent):
            wiring.meters.gaps.add()
            wiring.log.warning("gap", socket=self.index, symbol=event.symbol, detail=event.detail)
            connection.void.add(event.symbol)
        elif isinstance(event, ControlEvent):
            connection.replies.extend(event.reply)
            if event.kind is ControlKind.PONG:
                connection.pong_due_ns = 0
            elif event.kind is ControlKind.ERROR or event.kind is ControlKind.CLOSING:
                connection.is_leaving |= event.kind is ControlKind.CLOSING
                wiring.meters.venue_errors.add()
                wiring.log.warning("venue_says", socket=self.index, kind=event.kind.value, detail=event.detail)
            else:
                wiring.log.debug("control_frame", socket=self.index, kind=event.kind.value, detail=event.detail)

    async def _watch(self, connection: _Connection) -> None:
        """One look at the connection, after at most WATCH_S. Raises VenueError when it must be given up."""
        decoder, silence_s = self._wiring.decoder, self._wiring.settings.silence_reconnect_s
        await asyncio.wait({connection.pump}, timeout=min(WATCH_S, silence_s / 4))
        if connection.pump.done():
            self._show_sent(connection)
            await connection.pump
        if connection.seed is not None and connection.seed.done():
            connection.seed.result()
        now_ns = self._mono_ns()
        if now_ns - connection.market_ns > silence_s * NS_PER_S:
            raise VenueError(f"silent: no market data for {silence_s:g} s")
        if connection.pong_due_ns and now_ns > connection.pong_due_ns:
            raise VenueError(f"no pong within {PONG_S:g} s")
        if decoder.ping_interval_s and now_ns - connection.pinged_ns > decoder.ping_interval_s * NS_PER_S:
            connection.pinged_ns = now_ns
            connection.pong_due_ns = connection.pong_due_ns or now_ns + int(PONG_S * NS_PER_S)
            await self._send(connection, decoder.ping())
        if now_ns - connection.asked_ns > ANSWER_S * NS_PER_S:
            connection.asked_ns = now_ns
            await self._ask_again(connection)
        while connection.replies:
            await self._send(connection, connection.replies.popleft())
        while connection.void:
            for frame in decoder.resubscribe(connection.void.pop()):
                await self._send(connection, frame)

    async def _ask_again(self, connection: _Connection) -> None:
        """A refused or lost subscription is a silent symbol on a healthy socket: nothing else would tell."""
        frames = connection.stream.overdue()
        if frames:
            shown = [frame.decode(errors="replace") for frame in frames[:SHOWN_FRAMES]]
            self._wiring.log.warning("subscriptions_unanswered", socket=self.index, count=len(frames), again=shown)
        for frame in frames:
            await self._send(connection, frame)

    def _show_sent(self, connection: _Connection) -> None:
        """Some venues drop a socket without a word for a name they do not know: the last requests tell which."""
        sent = [frame[:SHOWN_BYTES].decode(errors="replace") for frame in connection.sent]
        self._wiring.log.info("last_frames_sent", socket=self.index, frames=sent)

    def _must_rotate(self, connection: _Connection) -> bool:
        now_ns = self._mono_ns()
        if now_ns < self._retry_rotation_ns:
            return False
        limit_s = self._wiring.decoder.max_connection_s
        return (
            self._is_due
            or connection.is_leaving
            or (limit_s > 0 and now_ns - connection.opened_ns > limit_s * NS_PER_S)
        )

    async def _rotate(self, old: _Connection) -> _Connection:
        """The connection to go on with: a new one once it has brought market data beside the old one, else the old."""
        wiring = self._wiring
        self._retry_rotation_ns = self._mono_ns() + int(ROTATE_RETRY_S * NS_PER_S)
        try:
            new = await self._open()
        except VenueError as error:
            self._is_due = True
            wiring.log.warning("rotation_failed", socket=self.index, detail=str(error))
            return old
        await asyncio.wait({new.pump}, timeout=ROTATE_OVERLAP_S)
        if new.pump.done() or not new.is_fed:
            self._is_due = True
            wiring.log.warning("rotation_failed", socket=self.index, detail="the new connection brought no market data")
            await self._close(new)
            return old
        if old.pump.done():  # lost before the overlap was over: nobody saw what changed between the two
            wiring.publisher.socket_down(self.index, "lost while rotating")
            wiring.recorder.down(self.index, "lost while rotating")
        wiring.meters.rotations.add()
        wiring.log.info("stream_rotated", socket=self.index)
        await self._close(old)
        return new
