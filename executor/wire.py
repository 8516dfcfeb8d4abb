"""A TCP or TLS connection whose writes reach the kernel before `write` returns, and which knows whether they did.

Order entry must know one thing for certain: did any byte leave? Event-loop transports cannot say: they queue, flush
later, and swallow what happens in between. So this file owns the socket: a non-blocking fd, the loop's readiness
callbacks for reading, and `send` called directly for writing.

    write returns            at least the first byte is with the kernel: from here on only the venue's answer counts
    write raises NotSent     not one byte of this call left; another connection may be used for the same bytes

What makes NotSent true: the socket is already known dead; the peer's FIN lies unread in the receive queue (looked for
before each write); the kernel took nothing (buffer full) or refused the call. A rest that the kernel did not take at
once is flushed when writable; until then the connection refuses further writes rather than queue an order behind it.
TLS works the same way over memory BIOs; a record that the kernel did not take ends the connection, because the cipher
state has moved on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from core.errors import ConfigError, NotSent

READ_BYTES = 256 * 1024
MAX_ADDRESSES = 4
_TLS_SCHEMES = {"https": True, "wss": True, "http": False, "ws": False}


class Endpoint(msgspec.Struct, frozen=True):
    """Where to connect: parsed once from a configured URL. `path` has no trailing slash."""

    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Raises ConfigError for anything but http(s) and ws(s) URLs."""
        parts = urlsplit(url)
        tls = _TLS_SCHEMES.get(parts.scheme)
        try:
            port = parts.port
        except ValueError:
            raise ConfigError(f"{url!r}: has no valid port") from None
        if tls is None or not parts.hostname:
            raise ConfigError(f"{url!r}: is not an http(s) or ws(s) URL")
        return cls(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def host_header(self) -> str:
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"


class Wire:
    """One open connection. `on_data(bytes)` per received chunk; `on_lost(reason)` once, not after our own `close`."""

    def __init__(self, sock: socket.socket, tls: _Tls | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._tls = tls
        self._rest = b""
        self._open = True
        self._on_data: Callable[[bytes], None] = _ignore_data
        self._on_lost: Callable[[str], None] = _ignore_loss

    @classmethod
    async def connect(cls, endpoint: Endpoint, timeout_s: float) -> Wire:
        """Resolve, connect and shake hands within `timeout_s`. Raises NotSent saying what failed."""
        where = f"{endpoint.host}:{endpoint.port}"
        try:
            async with asyncio.timeout(timeout_s):
                sock = await _dial(endpoint)
                with contextlib.ExitStack() as undo:
                    undo.callback(sock.close)
                    tls = await _Tls.handshake(sock, endpoint.host) if endpoint.tls else None
                    undo.pop_all()
        except TimeoutError:
            raise NotSent(f"no connection to {where} within {timeout_s:g} s") from None
        except (OSError, ssl.SSLError, ssl.CertificateError, EOFError) as error:
            raise NotSent(f"cannot connect to {where}: {error}") from error
        return cls(sock, tls)

    def begin(self, on_data: Callable[[bytes], None], on_lost: Callable[[str], None]) -> None:
        """Start delivering; a callback may close or write."""
        self._on_data = on_data
        self._on_lost = on_lost
        self._loop.add_reader(self._sock, self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    def write(self, data: bytes) -> None:
        """Hand `data` to the kernel. Raises NotSent when not a single byte of it left."""
        if not self._open:
            raise NotSent("the connection is closed")
        if self._rest:
            raise NotSent("the connection is congested")
        self._refuse_if_ended()
        payload = data if self._tls is None else self._tls.seal(data)
        try:
            taken = self._sock.send(payload)
        except BlockingIOError:
            if self._tls is not None:
                self._lose("congested in the middle of a TLS session")
            raise NotSent("the kernel took no byte: send buffer full") from None
        except OSError as error:
            self._lose(f"send failed: {error.strerror}")
            raise NotSent(f"the kernel refused to send: {error.strerror}") from error
        if taken < len(payload):
            self._rest = payload[taken:]
            self._loop.add_writer(self._sock, self._writable)

    def close(self) -> None:
        """Close at once; `on_lost` is not called."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _refuse_if_ended(self) -> None:
        try:
            if self._sock.recv(1, socket.MSG_PEEK):
                return
            reason = "closed by the peer"
        except BlockingIOError:
            return
        except OSError as error:
            reason = f"receive failed: {error.strerror}"
        self._lose(reason)
        raise NotSent(f"the connection was {reason} before the write")

    def _readable(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(f"receive failed: {error.strerror}")
            return
        if not data:
            self._lose("closed by the peer")
            return
        if self._tls is not None:
            try:
                data = self._tls.open(data)
            except (ssl.SSLError, EOFError) as error:
                self._lose(f"TLS failed: {error}")
                return
            if not data:
                return
        self._on_data(data)

    def _writable(self) -> None:
        try:
            taken = self._sock.send(self._rest)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(f"send failed: {error.strerror}")
            return
        self._rest = self._rest[taken:]
        if not self._rest:
            self._loop.remove_writer(self._sock)

    def _lose(self, reason: str) -> None:
        if self._open:
            self.close()
            self._on_lost(reason)


class _Tls:
    """A TLS client session over memory BIOs, verified against the system's certificates."""

    def __init__(self, session: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._session = session
        self._incoming = incoming
        self._outgoing = outgoing

    @classmethod
    async def handshake(cls, sock: socket.socket, host: str) -> _Tls:
        loop = asyncio.get_running_loop()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = _tls_context().wrap_bio(incoming, outgoing, server_hostname=host)
        while True:  # bounded by the caller's timeout
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, outgoing.read())
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise EOFError("closed during the TLS handshake") from None
                incoming.write(data)
                continue
            await loop.sock_sendall(sock, outgoing.read())
            return cls(session, incoming, outgoing)

    def seal(self, data: bytes) -> bytes:
        self._session.write(data)
        return self._outgoing.read()

    def open(self, data: bytes) -> bytes:
        """Plain text of what arrived, possibly none yet. Raises ssl.SSLError or EOFError at the session's end."""
        self._incoming.write(data)
        parts: list[bytes] = []
        while True:  # ends when the session wants more bytes than arrived
            try:
                part = self._session.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                if parts:
                    break  # deliver first; the end is found again with the peer's FIN
                raise EOFError("the peer ended the TLS session")
            parts.append(part)
        return b"".join(parts)


_tls_context = functools.cache(ssl.create_default_context)  # reading the certificate store takes milliseconds


async def _dial(endpoint: Endpoint) -> socket.socket:
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in infos[:MAX_ADDRESSES]:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(sock, address)
            except OSError as error:
                failure = error
            else:
                undo.pop_all()
                return sock
    raise failure


def _ignore_data(data: bytes) -> None:
    """Before `begin` nothing is read."""


def _ignore_loss(reason: str) -> None:
    """Before `begin` nobody waits."""
