"""The only file of this room that touches the network library: public reads, sockets, and what its exceptions mean.

Everything that aiohttp can raise leaves here as one of ours: ConfigError (an address that is no address), NotSent (no
connection came about), RateLimited (429, and 418 as Aster's ban), Malformed (bytes that are not HTTP or WebSocket), plain
VenueError (an answer we cannot use, a connection lost). `LIBRARY_ERRORS` is what has to be caught for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn, Self

import aiohttp
from aiohttp import http_exceptions

from core.errors import ConfigError, Malformed, NotSent, RateLimited, TandemError, VenueError
from feeds.pace import Pace
from feeds.venues.base import RestRequest

CONNECT_S = 10.0
READ_S = 10.0
CLOSE_S = 1.0
MAX_FRAME_BYTES = 4 << 20
MAX_BODY_BYTES = 32 << 20
BACK_OFF_S = 60.0  # after a 429 or 418 that does not say how long
LIMITED = frozenset({418, 429})

LIBRARY_ERRORS = (
    aiohttp.ClientError,
    aiohttp.WebSocketError,
    aiohttp.WSMessageTypeError,
    aiohttp.EofStream,
    http_exceptions.HttpProcessingError,
    OSError,  # TimeoutError is one
)

_ADDRESS = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)
_REDIRECT = (aiohttp.RedirectClientError, aiohttp.TooManyRedirects)
_NO_CONNECTION = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
)
_GARBAGE = (
    aiohttp.ClientPayloadError,
    aiohttp.ContentTypeError,
    aiohttp.WebSocketError,
    aiohttp.WSMessageTypeError,
    http_exceptions.HttpProcessingError,
)


def venue_error(error: BaseException, doing: str) -> TandemError:
    """What `error`, raised while `doing` something with a venue, means to us. The most telling class wins."""
    detail = f"{doing}: {type(error).__name__}: {error}"
    if isinstance(error, _REDIRECT):
        return VenueError(detail)
    if isinstance(error, _ADDRESS):
        return ConfigError(f"{detail}; check the venue's rest_url and ws_url")
    if isinstance(error, _NO_CONNECTION):
        return NotSent(detail)
    if isinstance(error, _GARBAGE):
        return Malformed(detail)
    if isinstance(error, aiohttp.ClientResponseError) and error.status in LIMITED:
        return RateLimited(detail, _retry_after_s(error.headers))
    return VenueError(detail)


class PublicReads:
    """Public REST reads of one venue within our share of its request budget."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, pace: Pace) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._pace = pace

    async def read(self, request: RestRequest) -> bytes:
        """The body of a 200 answer. Raises VenueError or one of its kinds, ConfigError for an impossible address."""
        await self._pace.take(request.weight)
        method = "GET" if request.body is None else "POST"
        headers = {} if request.body is None else {"Content-Type": "application/json"}
        doing = f"{method} {request.path}"
        try:
            async with asyncio.timeout(READ_S):
                url = self._base_url + request.path
                async with self._http.request(method, url, data=request.body, headers=headers) as answer:
                    if answer.status in LIMITED:
                        raise RateLimited(f"{doing}: HTTP {answer.status}", _retry_after_s(answer.headers))
                    if answer.status != 200:
                        raise VenueError(f"{doing}: HTTP {answer.status}")
                    body = bytearray()
                    async for chunk in answer.content.iter_any():
                        body += chunk
                        if len(body) > MAX_BODY_BYTES:
                            raise Malformed(f"{doing}: answer exceeds {MAX_BODY_BYTES} bytes")
                    return bytes(body)
        except LIBRARY_ERRORS as error:
            raise venue_error(error, doing) from error


class Socket:
    """An open WebSocket. Text and binary frames alike arrive as bytes."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._ws = ws

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str) -> Self:
        """Raises VenueError or one of its kinds, ConfigError for an impossible address."""
        try:
            async with asyncio.timeout(CONNECT_S):
                ws = await http.ws_connect(
                    url,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                    max_msg_size=MAX_FRAME_BYTES,
                    compress=0,
                    decode_text=False,
                )
                return cls(ws)
        except LIBRARY_ERRORS as error:
            raise venue_error(error, f"connect {url}") from error

    async def send(self, frame: bytes) -> None:
        """One text frame. Raises VenueError."""
        try:
            await self._ws.send_str(frame.decode())
        except LIBRARY_ERRORS as error:
            raise venue_error(error, "send") from error

    async def pump(self, on_frame: Callable[[bytes], None]) -> NoReturn:
        """Hand every frame to `on_frame` until the connection ends, which raises VenueError. Frames that are already
        here are handed over without giving way to the loop, so that one bell serves them all."""
        receive = self._ws.receive
        while True:
            try:
                message = await receive()
            except LIBRARY_ERRORS as error:
                raise venue_error(error, "receive") from error
            kind = message.type
            if kind is aiohttp.WSMsgType.TEXT or kind is aiohttp.WSMsgType.BINARY:
                on_frame(message.data)
            elif kind is aiohttp.WSMsgType.ERROR:
                raise venue_error(message.data, "receive") from message.data
            else:
                raise VenueError(f"closed by the venue, code {self._ws.close_code}: {str(message.extra or '')[:100]}")

    async def close(self) -> None:
        """At most CLOSE_S; a peer that does not answer is dropped."""
        try:
            await self._ws.close()
        except LIBRARY_ERRORS:
            return  # it is as closed as it can be


def client() -> aiohttp.ClientSession:
    """One per feed. Connections are bounded; environment proxies and cookies are not for a market feed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=16),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
    )


def _retry_after_s(headers: object) -> float:
    """Seconds a venue asks us to wait, from its Retry-After header if that holds a number."""
    value = headers.get("Retry-After", "") if hasattr(headers, "get") else ""
    return min(float(value), 3600.0) if str(value).isdigit() else BACK_OFF_S
