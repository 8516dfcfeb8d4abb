"""Public connections and who listens to which channel; the heartbeat of all sockets (docs/venues/edgex.md 3).

The server pings every 10 s as a JSON frame and cuts a connection that left five pings unanswered. A client's ping of the
same shape gets a pong. A refused message leaves the socket open.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, NS_PER_S, Clock
from ops.sandbox.sockets import Connection, open_connection

PING_NS = 10 * NS_PER_S
UNANSWERED_MAX = 5
MAX_SUBSCRIPTIONS = 1000

Welcome = Callable[[str], Callable[[], bytes]]
"""Judges a channel (raises Refused) and gives what builds its first frame for a new listener."""


class Refused(Exception):
    """What is wrong with a client's message, in the venue's words."""

    def __init__(self, code: str, msg: str) -> None:
        super().__init__(code)
        self.code = code
        self.msg = msg


class Client:
    """One connection, public or private, and its heartbeat (mono ns)."""

    __slots__ = ("channels", "connection", "pinged_ns", "unanswered")

    def __init__(self, connection: Connection, now_ns: int) -> None:
        self.connection = connection
        self.channels: dict[str, None] = {}
        self.pinged_ns = now_ns
        self.unanswered = 0

    def beat(self, now_ns: int, wire_ns: int) -> None:
        """Ping when it is time; cut the silent."""
        if now_ns - self.pinged_ns < PING_NS:
            return
        if self.unanswered >= UNANSWERED_MAX:
            self.connection.drop()
            return
        self.pinged_ns = now_ns
        self.unanswered += 1
        self.connection.send(_timed("ping", str(wire_ns // NS_PER_MS)))

    def hear(self, message: dict[str, object]) -> bool:
        """Whether it was a heartbeat, and is dealt with."""
        kind, time = message.get("type"), message.get("time")
        if kind == "pong":
            self.unanswered = 0
        elif kind == "ping":
            self.connection.send(_timed("pong", time if isinstance(time, str) else ""))
        return kind in ("ping", "pong")


class Hub:
    """Serves public sockets and publishes frames. See Welcome."""

    def __init__(self, clock: Clock, welcome: Welcome) -> None:
        self._clock = clock
        self._welcome = welcome
        self._clients: dict[int, Client] = {}
        self._listeners: dict[str, dict[int, Client]] = {}

    def wanted(self, channel: str) -> bool:
        return channel in self._listeners

    def publish(self, channel: str, frame: bytes) -> None:
        for client in self._listeners.get(channel, {}).values():
            client.connection.send(frame)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One connection from upgrade to end."""
        connection = await open_connection(request)
        client = Client(connection, self._clock.mono_ns())
        self._clients[id(client)] = client
        connection.send(hello(id(client)))
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    self._answer(client, message.data)
        finally:
            self._leave(client, list(client.channels))
            self._clients.pop(id(client), None)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for client in list(self._clients.values()):
            client.connection.drop()

    def tick(self) -> None:
        for client in list(self._clients.values()):
            client.beat(self._clock.mono_ns(), self._clock.wire_ns())

    def _answer(self, client: Client, text: str) -> None:
        try:
            message = decoded(text)
            if client.hear(message):
                return
            kind, channel = message.get("type"), message.get("channel")
            if kind not in ("subscribe", "unsubscribe"):
                raise Refused("GATEWAY_INVALID_MESSAGE_TYPE", f"invalid type : {kind}")
            if not isinstance(channel, str):
                raise Refused("GATEWAY_INVALID_CHANNEL", f"invalid channel : {channel}")
            if kind == "subscribe":
                self._subscribe(client, channel, text)
            else:
                self._leave(client, [channel])
                client.connection.send(acknowledgement("unsubscribed", channel, text))
        except Refused as refused:
            client.connection.send(refusal(refused, text))

    def _subscribe(self, client: Client, channel: str, text: str) -> None:
        """A second subscription of the same channel is acknowledged and brings no second snapshot."""
        first = self._welcome(channel)
        client.connection.send(acknowledgement("subscribed", channel, text))
        if channel in client.channels:
            return
        if len(client.channels) >= MAX_SUBSCRIPTIONS:
            client.connection.drop()
            return
        frame = first()  # what it brings others up to date with must not reach the new one before its snapshot
        client.channels[channel] = None
        self._listeners.setdefault(channel, {})[id(client)] = client
        client.connection.send(frame)

    def _leave(self, client: Client, channels: list[str]) -> None:
        for channel in channels:
            if channel not in client.channels:
                continue
            del client.channels[channel]
            listeners = self._listeners[channel]
            del listeners[id(client)]
            if not listeners:
                del self._listeners[channel]


def hello(number: int) -> bytes:
    return orjson.dumps({"sid": f"{number:x}", "type": "connected"})


def decoded(text: str) -> dict[str, object]:
    """Raises Refused."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise Refused("GATEWAY_UNRECOGNIZED_MESSAGE", "unrecognized message")
    return message


def acknowledgement(kind: str, channel: str, request: str) -> bytes:
    return orjson.dumps({"type": kind, "channel": channel, "request": request})


def refusal(refused: Refused, request: str) -> bytes:
    content = {"code": refused.code, "msg": refused.msg}
    return orjson.dumps({"type": "error", "request": request, "content": content})


def _timed(kind: str, time: str) -> bytes:
    return orjson.dumps({"type": kind, "time": time})
