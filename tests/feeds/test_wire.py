"""What the network library can raise, listed whole, and what each of it means; public reads against a local server."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions, http_websocket, web

from core.clock import SystemClock
from core.errors import ConfigError, Malformed, NotSent, RateLimited, VenueError
from feeds import wire
from feeds.pace import Pace
from feeds.venues.base import RestRequest
from feeds.wire import LIBRARY_ERRORS, PublicReads, Socket, client, venue_error

MEANING: dict[str, type[Exception]] = {
    "ClientConnectionError": VenueError,
    "ClientConnectionResetError": VenueError,
    "ClientConnectorCertificateError": NotSent,
    "ClientConnectorDNSError": NotSent,
    "ClientConnectorError": NotSent,
    "ClientConnectorSSLError": NotSent,
    "ClientError": VenueError,
    "ClientHttpProxyError": NotSent,
    "ClientOSError": VenueError,
    "ClientPayloadError": Malformed,
    "ClientProxyConnectionError": NotSent,
    "ClientResponseError": VenueError,
    "ClientSSLError": NotSent,
    "ConnectionTimeoutError": NotSent,
    "ContentTypeError": Malformed,
    "EofStream": VenueError,
    "InvalidURL": ConfigError,
    "InvalidUrlClientError": ConfigError,
    "InvalidUrlRedirectClientError": VenueError,  # the venue's redirect, not our address
    "NonHttpUrlClientError": ConfigError,
    "NonHttpUrlRedirectClientError": VenueError,
    "RedirectClientError": VenueError,
    "ServerConnectionError": VenueError,
    "ServerDisconnectedError": VenueError,
    "ServerFingerprintMismatch": NotSent,
    "ServerTimeoutError": VenueError,
    "SocketTimeoutError": VenueError,
    "TooManyRedirects": VenueError,
    "UnixClientConnectorError": NotSent,
    "UploadAbortedError": VenueError,
    "WSMessageTypeError": Malformed,
    "WSServerHandshakeError": VenueError,
    "WebSocketError": Malformed,
    "BadHttpMessage": Malformed,
    "BadHttpMethod": Malformed,
    "BadStatusLine": Malformed,
    "ContentEncodingError": Malformed,
    "ContentLengthError": Malformed,
    "DecompressSizeError": Malformed,
    "HttpBadRequest": Malformed,
    "HttpProcessingError": Malformed,
    "InvalidHeader": Malformed,
    "InvalidURLError": Malformed,
    "LineTooLong": Malformed,
    "PayloadEncodingError": Malformed,
    "TransferEncodingError": Malformed,
}
NEVER_LEAVES = {"WSHandshakeError"}  # the client turns it into WSServerHandshakeError


def library_exceptions() -> dict[str, type[Exception]]:
    found = {}
    for module in (aiohttp, client_exceptions, http_exceptions, http_websocket):
        for name, each in inspect.getmembers(module, inspect.isclass):
            if issubclass(each, Exception) and not issubclass(each, Warning) and each.__module__.startswith("aiohttp"):
                found[name] = each
    return found


def made(kind: type[Exception], status: int = 500) -> Exception:
    """An instance without the library's constructors, whose signatures are its own business."""
    bare = type(kind.__name__, (kind,), {"__init__": lambda self: None, "__str__": lambda self: "as raised"})
    error: Exception = bare()
    error.status = status  # type: ignore[attr-defined]
    error.headers = None  # type: ignore[attr-defined]
    return error


def test_every_exception_of_the_library_is_listed() -> None:
    assert set(library_exceptions()) - NEVER_LEAVES == set(MEANING)


@pytest.mark.parametrize("name", sorted(MEANING))
def test_every_exception_of_the_library_is_caught_and_mapped(name: str) -> None:
    kind = library_exceptions()[name]
    assert issubclass(kind, LIBRARY_ERRORS)
    error = venue_error(made(kind), "read")
    assert type(error) is MEANING[name]
    assert str(error).startswith(f"read: {name}")


@pytest.mark.parametrize("kind", [TimeoutError, ConnectionResetError, BrokenPipeError, OSError])
def test_errors_of_the_system_are_the_venues(kind: type[Exception]) -> None:
    assert issubclass(kind, LIBRARY_ERRORS)
    assert type(venue_error(kind("x"), "read")) is VenueError


@pytest.mark.parametrize("status", [418, 429])
def test_a_refused_handshake_for_the_rate_says_how_long(status: int) -> None:
    error = made(aiohttp.WSServerHandshakeError, status)
    mapped = venue_error(error, "connect")
    assert isinstance(mapped, RateLimited)
    assert mapped.retry_after_s == 60.0
    error.headers = {"Retry-After": "7"}  # type: ignore[attr-defined]
    mapped = venue_error(error, "connect")
    assert isinstance(mapped, RateLimited)
    assert mapped.retry_after_s == 7.0
    error.headers = {"Retry-After": "Fri, 20 Nov 2026 07:00:00 GMT"}  # type: ignore[attr-defined]
    mapped = venue_error(error, "connect")
    assert isinstance(mapped, RateLimited)
    assert mapped.retry_after_s == 60.0


# -- public reads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/ok":
                return web.Response(body=request.method.encode() + await request.read())
            case "/limited":
                return web.Response(status=429, headers={"Retry-After": "9"})
            case "/banned":
                return web.Response(status=418)
            case "/null":
                return web.Response(status=500, body=b"null")
            case "/slow":
                await asyncio.sleep(5)
                return web.Response()
            case "/cut":
                response = web.StreamResponse(headers={"Content-Length": "1000"})
                await response.prepare(request)
                await response.write(b"half")
                assert request.transport is not None
                request.transport.abort()
                return response
            case "/huge":
                return web.Response(body=b"x" * 2000)
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def read(base_url: str, path: str, body: bytes | None = None) -> bytes:
    async with client() as http:
        return await PublicReads(http, base_url, Pace(100, 100, SystemClock())).read(RestRequest(path, body))


async def test_reads_and_posts(base_url: str) -> None:
    assert await read(base_url, "/ok") == b"GET"
    assert await read(base_url + "/", "/ok", b"{}") == b"POST{}"


async def test_refusals_for_the_rate(base_url: str) -> None:
    with pytest.raises(RateLimited) as limited:
        await read(base_url, "/limited")
    assert limited.value.retry_after_s == 9.0
    with pytest.raises(RateLimited) as banned:
        await read(base_url, "/banned")
    assert banned.value.retry_after_s == 60.0


@pytest.mark.parametrize("path", ["/null", "/nowhere"])
async def test_other_statuses_are_no_answers(base_url: str, path: str) -> None:
    with pytest.raises(VenueError, match="HTTP"):
        await read(base_url, path)


async def test_broken_answers(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VenueError):
        await read(base_url, "/cut")
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1000)
    with pytest.raises(Malformed, match="exceeds 1000 bytes"):
        await read(base_url, "/huge")
    monkeypatch.setattr(wire, "READ_S", 0.2)
    with pytest.raises(VenueError, match="TimeoutError"):
        await read(base_url, "/slow")


async def test_nobody_there() -> None:
    with pytest.raises(NotSent):
        await read("http://127.0.0.1:9", "/ok")
    async with client() as http:
        with pytest.raises(NotSent):
            await Socket.open(http, "ws://127.0.0.1:9/ws")


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "127.0.0.1", "http://:0"])
async def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises((ConfigError, NotSent)):
        await read(address, "/ok")


async def test_no_websocket_there(base_url: str) -> None:
    async with client() as http:
        with pytest.raises(VenueError, match="connect ws://"):
            await Socket.open(http, base_url.replace("http", "ws") + "/ok")


async def test_pace_lets_a_burst_through_and_then_slows_down() -> None:
    pace = Pace(5, 20, SystemClock())
    start = time.monotonic()
    for _ in range(5):
        await pace.take(1)
    burst_s = time.monotonic() - start
    await asyncio.gather(*(pace.take(1) for _ in range(4)))
    assert time.monotonic() - start >= 4 / 20 - 0.01
    assert burst_s < 4 / 20
    await pace.take(100)  # more than the bucket holds: a full bucket will do
