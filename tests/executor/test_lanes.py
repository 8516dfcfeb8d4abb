"""What the lanes know for certain: Unsent only when not a byte left, Unknown for everything after the first byte."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import random
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as ws_serve

from core.clock import SystemClock
from core.errors import ConfigError, Malformed, NotSent, OutcomeUnknown, VenueError
from executor import backoff, http_lane, wire, ws_lane
from executor.background import Background
from executor.backoff import Backoff
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply, ReplyParser
from executor.outcome import Unknown, Unsent
from executor.wire import Endpoint, Wire
from executor.ws_lane import WsLane
from tests.executor.local_servers import LogLines, free_port, http_reply, read_request, serve, until

GET = HttpRequest("GET", "/time")


def lane(port: int, *, size: int = 1, timeout_s: float = 2.0, **options: Any) -> HttpLane:
    return HttpLane(
        f"http://127.0.0.1:{port}",
        size=size,
        timeout_s=timeout_s,
        clock=SystemClock(),
        rng=random.Random(1),
        log=LogLines().log,
        **options,
    )


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head, body = await read_request(reader)
        writer.write(http_reply(head.split(" ")[1].encode() + b"|" + body))


# ---- replies ------------------------------------------------------------------------------------------------------


REPLIES = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello", 200, b"hello"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n", 200, b"abcde"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nTrailer: x\r\n\r\n", 200, b"ab"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\ncontent-length:0\r\n\r\n", 429, b""),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
]


@given(st.integers(0, len(REPLIES) - 1), st.lists(st.integers(1, 60), max_size=20))
def test_a_reply_is_the_same_however_it_is_cut(which: int, cuts: list[int]) -> None:
    data, status, body = REPLIES[which]
    parser = ReplyParser()
    pieces, position = [], 0
    for cut in cuts:
        pieces.append(data[position : position + cut])
        position += cut
    pieces.append(data[position:])
    got = [reply for piece in pieces if (reply := parser.feed(piece)) is not None]
    assert [(r.status, r.body) for r in got] == [(status, body)]
    assert parser.is_empty


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"x" * 70_000,
    ],
)
def test_garbage_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        ReplyParser().feed(data)


def test_date_header() -> None:
    assert HttpReply(200, {"date": "Fri, 20 Nov 2026 06:00:00 GMT"}, b"").date_ns == 1_795_154_400 * 10**9
    assert HttpReply(200, {"date": "yesterday"}, b"").date_ns == 0
    assert HttpReply(200, {}, b"").date_ns == 0


def test_every_cookie_counts() -> None:
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nX: 1\r\nset-cookie: b=2\r\nX: 2\r\nContent-Length: 0\r\n\r\n"
    reply = ReplyParser().feed(head)
    assert reply is not None
    assert (reply.headers["set-cookie"], reply.headers["x"]) == ("a=1; Path=/\nb=2", "2")


def test_endpoints() -> None:
    assert Endpoint.parse("https://api.hyperliquid.xyz") == Endpoint("api.hyperliquid.xyz", 443, True, "")
    assert Endpoint.parse("ws://127.0.0.1:18101/ws/") == Endpoint("127.0.0.1", 18101, False, "/ws")
    for bad in ("ftp://x", "nothing", "http://", "http://x:notaport"):
        with pytest.raises(ConfigError):
            Endpoint.parse(bad)


# ---- HTTP lane ----------------------------------------------------------------------------------------------------


async def test_bytes_are_on_the_wire_before_send_returns() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = lane(listener.getsockname()[1])
        await http.start()
        peer, _ = listener.accept()
        peer.settimeout(2.0)
        future = http.send(HttpRequest("POST", "/exchange", b'{"a":1}', "application/json"))
        assert peer.recv(65536).endswith(b'\r\n\r\n{"a":1}')  # read by the peer while our loop has not turned
        peer.sendall(http_reply(b"{}"))
        reply = await future
        assert isinstance(reply, HttpReply)
        assert reply.body == b"{}"
        await http.close()
        peer.close()


async def test_requests_in_a_row_reuse_the_connection() -> None:
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answer(reader, writer)

    async with serve(script) as port:
        http = lane(port)
        await http.start()
        for number in range(5):
            reply = await http.fetch(HttpRequest("POST", f"/p{number}", b"x"))
            assert reply.body == f"/p{number}|x".encode()
        assert connections == 1
        await http.close()


async def test_refused_connection_is_not_sent() -> None:
    http = lane(free_port())
    with pytest.raises(NotSent, match="cannot connect"):
        await http.start()
    result = await http.send(GET)
    assert isinstance(result, Unsent)
    await http.close()


async def test_no_free_connection_is_unsent_not_queued() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serve(silent) as port:
        http = lane(port, timeout_s=0.3)
        await http.start()
        first = http.send(GET)
        assert isinstance(await http.send(GET), Unsent)
        assert isinstance(await first, Unknown)
        await http.close()


@pytest.mark.parametrize("half", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"garbage\r\n\r\n"])
async def test_whatever_fails_after_the_first_byte_is_unknown(half: bytes) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(half)
        await writer.drain()

    async with serve(cut) as port:
        http = lane(port)
        await http.start()
        result = await http.send(HttpRequest("POST", "/order", b"x"))
        assert isinstance(result, Unknown), result
        await until(lambda: http.warm)  # a fresh connection is made by itself
        with pytest.raises(OutcomeUnknown):
            await http.fetch(HttpRequest("GET", "/again?signature=secret"))
        await http.close()


async def test_timeout_is_unknown_and_the_late_answer_goes_to_nobody() -> None:
    late = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        if "/slow" in head:
            await late.wait()
            writer.write(http_reply(b"late"))
            return
        writer.write(http_reply(b"prompt"))
        await reader.read()

    async with serve(slow) as port:
        http = lane(port, timeout_s=0.2)
        await http.start()
        result = await http.send(HttpRequest("POST", "/slow", b"x"))
        assert isinstance(result, Unknown)
        late.set()
        await until(lambda: http.warm)
        assert (await http.fetch(GET)).body == b"prompt"
        await http.close()


async def test_a_connection_that_the_peer_closed_is_noticed_before_the_write() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = lane(listener.getsockname()[1])
        await http.start()
        peer, _ = listener.accept()
        peer.close()  # its FIN is in our receive queue; the loop has not dispatched it
        assert http.warm
        result = await http.send(GET)
        assert isinstance(result, Unsent)
        assert "closed by the peer" in result.detail
        await until(lambda: http.warm)
        await http.close()


async def test_second_connection_takes_over_from_a_dead_one() -> None:
    async with serve(answer) as port:
        http = lane(port, size=2)
        await http.start()
        await until(lambda: len(http._connections) == 2)
        http._connections[0]._wire.close()
        assert (await http.fetch(GET)).body == b"/time|"
        await http.close()


async def test_fetch_fails_at_once_when_the_host_is_known_to_be_down() -> None:
    async with serve(answer) as port:
        http = lane(port, timeout_s=30.0)
        await http.start()
        await http.fetch(GET)
    await until(lambda: http._backoff.failures)
    with pytest.raises(NotSent, match="not reachable"):
        await http.fetch(GET)
    await http.close()


async def test_keep_alive_probe_goes_out_on_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_lane, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(http_lane, "CHECK_S", 0.05)
    seen: list[HttpReply] = []
    async with serve(answer) as port:
        http = lane(port, keep_alive=GET, on_reply=seen.append)
        await http.start()
        await until(lambda: len(seen) >= 2)
        await http.close()


async def test_unasked_bytes_end_the_connection() -> None:
    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http_reply(b"", 408))
        await reader.read()

    async with serve(chatty) as port:
        http = lane(port)
        await http.start()
        await until(lambda: not http.warm)
        await http.close()


async def test_a_full_send_buffer_proves_that_nothing_left() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with serve(deaf) as port:
        link = await Wire.connect(Endpoint.parse(f"http://127.0.0.1:{port}"), 2.0)
        link.begin(lambda data: None, lambda reason: None)
        link.write(b"x" * 64_000_000)  # the kernel takes a part: that did leave
        with pytest.raises(NotSent, match="congested"):
            link.write(b"order")
        link.close()
        with pytest.raises(NotSent, match="closed"):
            link.write(b"order")


async def test_tls_round_trip_and_refusal_of_an_unknown_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file, cert_file = self_signed(tmp_path)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(cert_file, key_file)

    server = await asyncio.start_server(answer_until_closed, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    http = HttpLane(
        f"https://localhost:{port}",
        size=1,
        timeout_s=3.0,
        clock=SystemClock(),
        rng=random.Random(1),
        log=LogLines().log,
    )
    with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
        await http.start()
    trusting = ssl.create_default_context(cafile=str(cert_file))
    monkeypatch.setattr(wire, "_tls_context", lambda: trusting)
    await http.start()
    for size in (1, 100_000):
        reply = await http.fetch(HttpRequest("POST", "/order", b"x" * size))
        assert reply.body == b"/order|" + b"x" * size
    await http.close()
    server.close()
    await asyncio.sleep(0.05)


# ---- WebSocket lane -----------------------------------------------------------------------------------------------


class Client:
    """A WsLane with its events written down."""

    def __init__(self, port: int, *, timeout_s: float = 2.0, **options: Any) -> None:
        self.frames: list[bytes] = []
        self.ups = 0
        self.downs: list[str] = []
        self.lane = WsLane(
            self.url,
            timeout_s=timeout_s,
            clock=SystemClock(),
            rng=random.Random(1),
            log=LogLines().log,
            on_up=self.on_up,
            on_frame=self.frames.append,
            on_down=self.downs.append,
            **options,
        )
        self.port = port

    async def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def on_up(self) -> None:
        self.ups += 1


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def test_headers_of_the_venue_travel_with_requests_and_with_every_handshake() -> None:
    async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            writer.write(http_reply(head.encode()))

    async with serve(show) as port:
        entry = lane(port)
        await entry.start()
        request = HttpRequest("POST", "/order", b"{}", "application/json", (("Cookie", "gravity=a"), ("X-Id", "7")))
        head = (await entry.fetch(request)).body.decode()
        assert "\r\nCookie: gravity=a\r\nX-Id: 7\r\nContent-Type: application/json\r\n" in head
        await entry.close()

    seen: list[str] = []

    async def note(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers["Cookie"])
        await connection.wait_closed()

    async with ws_serve(note, "127.0.0.1", 0) as server:
        cookies = iter(["gravity=a", "gravity=b"])
        client = Client(server.sockets[0].getsockname()[1], headers=lambda: [("Cookie", next(cookies))])
        await client.lane.start()
        client.lane.reset("renewed")
        await until(lambda: len(seen) == 2)
        assert seen == ["gravity=a", "gravity=b"]
        await client.lane.close()


async def test_ws_frames_go_and_come() -> None:
    async with ws_serve(echo, "127.0.0.1", 0) as server:
        client = Client(server.sockets[0].getsockname()[1])
        await client.lane.start()
        assert client.lane.warm
        assert client.ups == 1
        for text in (b"a", b"b" * 70_000):
            client.lane.send(text)
        await until(lambda: client.frames == [b"a", b"b" * 70_000])
        await client.lane.close()
        assert not client.lane.warm
        with pytest.raises(NotSent):
            client.lane.send(b"late")


async def test_ws_fragments_are_joined() -> None:
    async def fragmented(connection: ServerConnection) -> None:
        await connection.send(["ab", "cd", "ef"])
        await connection.wait_closed()

    async with ws_serve(fragmented, "127.0.0.1", 0) as server:
        client = Client(server.sockets[0].getsockname()[1])
        await client.lane.start()
        await until(lambda: client.frames == [b"abcdef"])
        await client.lane.close()


async def test_ws_reconnects_and_tells_both_times() -> None:
    async def once(connection: ServerConnection) -> None:
        await connection.recv()

    async with ws_serve(once, "127.0.0.1", 0) as server:
        client = Client(server.sockets[0].getsockname()[1])
        await client.lane.start()
        client.lane.send(b"go away")
        await until(lambda: client.ups == 2)
        assert len(client.downs) == 1
        client.lane.reset("asked to")
        await until(lambda: client.ups == 3)
        assert client.downs[1] == "asked to"
        await client.lane.close()


async def test_ws_silence_is_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws_lane, "SILENCE_S", 0.3)
    monkeypatch.setattr(ws_lane, "CHECK_S", 0.05)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        await reader.read()

    async with serve(mute) as port:
        client = Client(port)
        await client.lane.start()
        await until(lambda: client.downs)
        assert "silent" in client.downs[0]
        await client.lane.close()


async def test_ws_pings_keep_a_quiet_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws_lane, "SILENCE_S", 0.6)
    monkeypatch.setattr(ws_lane, "PING_S", 0.1)
    monkeypatch.setattr(ws_lane, "CHECK_S", 0.05)
    async with ws_serve(echo, "127.0.0.1", 0) as server:
        client = Client(server.sockets[0].getsockname()[1], max_age_s=1.5)
        await client.lane.start()
        await until(lambda: client.downs)
        assert "time limit" in client.downs[0]  # lived on pongs until its age ended it
        await client.lane.close()


@pytest.mark.parametrize("reply", [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b""])
async def test_ws_handshake_that_fails_raises(reply: bytes) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)

    async with serve(refuse) as port:
        client = Client(port, timeout_s=0.5)
        with pytest.raises(VenueError):
            await client.lane.start()
        await client.lane.close()


async def test_ws_refused_connection_raises() -> None:
    with pytest.raises(NotSent, match="cannot connect"):
        await Client(free_port()).lane.start()


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(
        line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    writer.write(
        f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


def self_signed(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file, cert_file = tmp_path / "key.pem", tmp_path / "cert.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return key_file, cert_file


async def test_a_background_task_that_fails_is_reported_to_the_loop() -> None:
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    tasks = Background()

    async def fails() -> None:
        raise ValueError("broken")

    async def lasts() -> None:
        await asyncio.sleep(60)

    tasks.spawn(fails())
    tasks.spawn(lasts())
    await until(lambda: seen)
    assert isinstance(seen[0]["exception"], ValueError)
    assert len(tasks) == 1
    await tasks.close()
    assert len(tasks) == 0
    assert len(seen) == 1


async def test_an_urgent_need_cuts_the_pause_short_but_not_below_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "STEPS_S", (60.0,))
    pauses = Backoff(random.Random(1), 0.2)
    pauses.wake()  # before a pause: nothing to cut
    started = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(pauses.pause())
    await asyncio.sleep(0.01)
    pauses.wake()
    await waiting
    assert 0.15 < asyncio.get_running_loop().time() - started < 30.0
    assert pauses.failures == 1
    monkeypatch.setattr(backoff, "STEPS_S", (0.01,))
    await pauses.pause()
    assert pauses.failures == 2
    pauses.reset()
    assert pauses.failures == 0


async def test_a_request_on_a_dead_lane_brings_it_back_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "STEPS_S", (60.0,))
    opened: list[None] = []
    async with serve(answer) as port:
        http = lane(port, on_open=lambda: opened.append(None))
        await http.start()
        await http.fetch(GET)
    await until(lambda: http._backoff.failures)
    server = await asyncio.start_server(answer_until_closed, "127.0.0.1", port)
    assert isinstance(await http.send(GET), Unsent)
    await until(lambda: http.warm)  # within about a second instead of a minute
    assert opened
    assert (await http.fetch(GET)).body == b"/time|"
    await http.close()
    server.close()
    await asyncio.sleep(0.05)


async def answer_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await answer(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
