"""WebSocket connections and who listens to which stream (docs/venues/aster.md 3).

A stream is a name ("btcusdt@bookTicker", "!bookTicker", a listen key) and a frame is built once per stream and form: raw
for connections opened at /ws, wrapped in {"stream", "data"} for those opened at /stream. Unknown names are acknowledged
and stay silent, as on the venue. A connection may send ten messages a second and hold 200 streams; beyond that it is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, NS_PER_S, Clock
from ops.sandbox.sockets import Connection, open_connection

MESSAGES_PER_S = 10
STREAMS_MAX = 200
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Keepalive(msgspec.Struct, frozen=True, kw_only=True):
    """Ping interval, patience without a pong, and the longest life of a connection, all in ns."""

    ping_ns: int = 300 * NS_PER_S
    pong_timeout_ns: int = 900 * NS_PER_S
    lifetime_ns: int = 24 * 3600 * NS_PER_S


KEEPALIVE = Keepalive()


class Client:
    """One connection: its streams in the order subscribed, its form, and its bookkeeping (mono ns)."""

    __slots__ = ("combined", "connection", "heard_ns", "opened_ns", "pinged_ns", "recent_ns", "streams")

    def __init__(self, connection: Connection, combined: bool, now_ns: int) -> None:
        self.connection = connection
        self.combined = combined
        self.streams: dict[str, None] = {}
        self.opened_ns = self.heard_ns = self.pinged_ns = now_ns
        self.recent_ns: deque[int] = deque(maxlen=MESSAGES_PER_S)


class Hub:
    """Serves sockets and publishes frames. `on_subscribed(stream)` runs before a new stream's acknowledgement."""

    def __init__(self, clock: Clock, on_subscribed: Callable[[str], None], keepalive: Keepalive = KEEPALIVE) -> None:
        self._clock = clock
        self._on_subscribed = on_subscribed
        self._keepalive = keepalive
        self._clients: dict[int, Client] = {}
        self._listeners: dict[str, dict[int, Client]] = {}

    def wanted(self, stream: str) -> bool:
        return stream in self._listeners

    def publish(self, stream: str, payload: bytes) -> None:
        """Send one JSON document to everybody on `stream`."""
        listeners = self._listeners.get(stream)
        if not listeners:
            return
        wrapped: bytes | None = None
        for client in listeners.values():
            if client.combined:
                if wrapped is None:
                    wrapped = b'{"stream":"' + stream.encode() + b'","data":' + payload + b"}"
                client.connection.send(wrapped)
            else:
                client.connection.send(payload)

    async def serve(self, request: web.Request, streams: Iterable[str], combined: bool) -> web.WebSocketResponse:
        """One connection from upgrade to end."""
        connection = await open_connection(request, autoping=False)
        client = Client(connection, combined, self._clock.mono_ns())
        self._clients[id(client)] = client
        try:
            if self._subscribe(client, streams):
                await self._read(client)
        finally:
            self._forget(client)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        """Abort every connection."""
        for client in list(self._clients.values()):
            client.connection.drop()

    async def keep_alive(self) -> None:
        """Ping whom it is time to ping; cut the silent and the old. Called about once a second."""
        now = self._clock.mono_ns()
        for client in list(self._clients.values()):
            old = now - client.opened_ns > self._keepalive.lifetime_ns
            if old or now - client.heard_ns > self._keepalive.pong_timeout_ns:
                client.connection.drop()
            elif now - client.pinged_ns >= self._keepalive.ping_ns:
                client.pinged_ns = now
                try:
                    await client.connection.socket.ping(str(self._clock.wire_ns() // NS_PER_MS).encode())
                except (ConnectionError, RuntimeError):
                    client.connection.drop()

    async def _read(self, client: Client) -> None:
        socket = client.connection.socket
        async for message in socket:
            now = self._clock.mono_ns()
            client.heard_ns = now
            if len(client.recent_ns) == MESSAGES_PER_S and now - client.recent_ns[0] < NS_PER_S:
                client.connection.drop()
                return
            client.recent_ns.append(now)
            if message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                answer = self._answer(client, message.data)
                if answer is None:
                    client.connection.drop()
                    return
                client.connection.send(orjson.dumps(answer))

    def _answer(self, client: Client, text: str) -> dict[str, object] | None:
        """The answer to one request; None if the connection must end."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}
        if not isinstance(request, dict):
            return _invalid("expected an object")
        number, method, params = request.get("id"), request.get("method"), request.get("params", [])
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
            return _invalid("request ID must be an unsigned integer")
        if method not in METHODS:
            return _invalid(f"unknown variant {method}, expected one of " + ", ".join(f"`{m}`" for m in METHODS))
        if not isinstance(params, list):
            return _invalid("params must be a list")
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            if not all(isinstance(name, str) for name in params):
                return _invalid("stream names must be strings")
            if method == "UNSUBSCRIBE":
                self._unsubscribe(client, params)
            elif not self._subscribe(client, params):
                return None
            return {"result": None, "id": number}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(client.streams), "id": number}
        return _property(client, method, params, number)

    def _subscribe(self, client: Client, streams: Iterable[str]) -> bool:
        """False if the connection would hold too many streams."""
        for stream in streams:
            if stream in client.streams:
                continue
            if len(client.streams) >= STREAMS_MAX:
                client.connection.drop()
                return False
            client.streams[stream] = None
            self._listeners.setdefault(stream, {})[id(client)] = client
            self._on_subscribed(stream)
        return True

    def _unsubscribe(self, client: Client, streams: Iterable[str]) -> None:
        for stream in streams:
            if stream not in client.streams:
                continue
            del client.streams[stream]
            listeners = self._listeners[stream]
            del listeners[id(client)]
            if not listeners:
                del self._listeners[stream]

    def _forget(self, client: Client) -> None:
        self._unsubscribe(client, list(client.streams))
        self._clients.pop(id(client), None)


def _property(client: Client, method: str, params: list[object], number: int | None) -> dict[str, object]:
    if not params or not isinstance(params[0], str):
        return _invalid("property name must be a string")
    if params[0] != "combined":
        return {"code": 0, "msg": "Unknown property"}
    if method == "GET_PROPERTY":
        return {"result": client.combined, "id": number}
    if len(params) != 2 or not isinstance(params[1], bool):
        return {"code": 1, "msg": "Invalid value type: expected Boolean"}
    client.combined = params[1]
    return {"result": None, "id": number}


def _invalid(reason: str) -> dict[str, object]:
    return {"code": 2, "msg": f"Invalid request: {reason}"}
