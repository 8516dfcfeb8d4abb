"""`/events` of the simulated Variational (docs/venues/variational.md 3c and 8): claims first, then heartbeats and hints.

A hint names what happened and is to be read again by REST; the frames carry no more than their kind and the order's id."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_S, Clock
from ops.sandbox.sockets import Connection, open_connection
from ops.sandbox.venues._variational_sessions import Sessions

CLAIMS_S = 2.5
HEARTBEAT_NS = 5 * NS_PER_S


class Events:
    """The connections of everybody, by account; "" = has not said who it is."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._clients: dict[Connection, str] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        connection = await open_connection(request)
        self._clients[connection] = ""
        late = asyncio.get_running_loop().call_later(CLAIMS_S, self._require_claims, connection)
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT and not self._clients[connection]:
                    self._on_claims(connection, message.data)
        finally:
            late.cancel()
            del self._clients[connection]
            await connection.finish()
        return connection.socket

    def tell(self, account: str, kind: str, about: str) -> None:
        frame = orjson.dumps({"type": kind, "rfq_id": about})
        for connection, owner in list(self._clients.items()):
            if owner == account:
                connection.send(frame)

    def drop_all(self) -> None:
        for connection in list(self._clients):
            connection.drop()

    def tick(self) -> None:
        now_ns = self._clock.mono_ns()
        for connection, owner in list(self._clients.items()):
            if owner and now_ns - connection.last_sent_ns >= HEARTBEAT_NS:
                self._heartbeat(connection)

    def _on_claims(self, connection: Connection, text: str) -> None:
        try:
            token = orjson.loads(text)["claims"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            token = None
        account = self._sessions.account_of(token) if isinstance(token, str) else None
        if account is None:
            connection.push(b"Token format incorrect: Unauthorized")
            asyncio.get_running_loop().call_later(0.05, connection.drop)
            return
        self._clients[connection] = account
        self._heartbeat(connection)

    def _require_claims(self, connection: Connection) -> None:
        if not self._clients.get(connection, "gone"):
            connection.push(b"Token timeout: Unauthorized")
            asyncio.get_running_loop().call_later(0.05, connection.drop)

    def _heartbeat(self, connection: Connection) -> None:
        connection.last_sent_ns = self._clock.mono_ns()
        connection.push(orjson.dumps({"type": "heartbeat", "timestamp": self._clock.wire_ns() // 1_000_000}))
