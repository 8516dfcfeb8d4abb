"""The transport of Variational's web interface. UNOFFICIAL: the interface of the venue's own web application, as third parties
have observed it. Nobody promises that it stays, or that an address is let through (a front judges clients by their TLS).

This is the only class that knows of sessions, cookies and that front; everything above it speaks of paths and bodies. When the
venue opens its announced API, this class is what is replaced. An address that the front refuses needs another transport here
too, for example one that goes through a browser; this one opens plain connections and pretends to be nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.errors import RateLimited, VenueError
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Unknown, Unsent
from executor.venues._variational_answers import LIMITED, UNAUTHORIZED, is_stamped, wait_s
from executor.venues._variational_session import JSON, Session

LaneResult = HttpReply | Unsent | Unknown


class WebTransport:
    """Requests in a session. `orders` is a lane of its own, so that no read stands before an order."""

    def __init__(self, orders: HttpLane, reads: HttpLane, session: Session) -> None:
        self._orders = orders
        self._reads = reads
        self.session = session

    @property
    def warm(self) -> bool:
        """Whether an order could leave now."""
        return self._orders.warm and self.session.is_open

    async def start(self) -> None:
        """Connections and a session. Raises VenueError."""
        await self._reads.start()
        await self._orders.start()
        await self.session.ensure()

    async def close(self) -> None:
        await self._orders.close()
        await self._reads.close()

    def wake(self) -> None:
        self._orders.wake()
        self._reads.wake()

    def send(self, target: str, body: bytes) -> asyncio.Future[LaneResult]:
        """Write what changes something, once; the future always completes. Never sent again, whatever the answer."""
        if not self.session.is_open:
            refused: asyncio.Future[LaneResult] = asyncio.get_running_loop().create_future()
            refused.set_result(Unsent(detail="no open session"))
            return refused
        token = self.session.token
        sent = self._orders.send(HttpRequest("POST", target, body, JSON, self.session.headers()))
        sent.add_done_callback(lambda future: self._judge(token, future.result()))
        return sent

    async def get(self, target: str) -> bytes:
        """The body of a 200. Raises VenueError."""
        return await self._read(lambda: HttpRequest("GET", target, headers=self.session.headers()), target)

    async def ask(self, target: str, body: bytes) -> bytes:
        """A POST that changes nothing (quotes, settings that are read): the body of a 200. Raises VenueError."""
        return await self._read(lambda: HttpRequest("POST", target, body, JSON, self.session.headers()), target)

    async def _read(self, request: Callable[[], HttpRequest], target: str) -> bytes:
        """Asked again once, in a new session, where the venue does not know ours any more."""
        reply = await self._in_session(self._reads.fetch, request)
        if reply.status == UNAUTHORIZED and is_stamped(reply):
            reply = await self._in_session(self._reads.fetch, request)
        if reply.status in LIMITED:
            raise RateLimited(f"variational {_path(target)}: HTTP {reply.status}", wait_s(reply))
        if reply.status != 200:
            shown = reply.body[:200].decode("utf-8", "replace")
            raise VenueError(f"variational {_path(target)}: HTTP {reply.status}: {shown}")
        return reply.body

    async def _in_session(
        self, fetch: Callable[[HttpRequest], Awaitable[HttpReply]], request: Callable[[], HttpRequest]
    ) -> HttpReply:
        await self.session.ensure()
        token = self.session.token
        reply = await fetch(request())
        self._judge(token, reply)
        return reply

    def _judge(self, token: str, result: LaneResult) -> None:
        if isinstance(result, HttpReply) and result.status == UNAUTHORIZED and is_stamped(result):
            self.session.refused(token)


def _path(target: str) -> str:
    return target.partition("?")[0].lstrip("/")
