"""A small Lighter on a loopback port: snapshots, numbered differences, 30003, and what a test tells it to do wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import WSMsgType, web

NAMES = {0: "ETH", 1: "BTC"}


class Line:
    """One client: what it is subscribed to, and what it has sent."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws
        self.channels: set[str] = set()
        self.sent: list[dict[str, Any]] = []
        self.begin: dict[int, int] = {}  # by market, the number its next difference continues

    def asked(self, verb: str) -> list[str]:
        return [each["channel"] for each in self.sent if each["type"] == verb]


class LighterDouble:
    """Best bid 100 + number / 1e6 on every market, one change each every 20 ms while `is_lively`."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.is_lively = True
        self.lose: set[int] = set()  # markets whose next difference is lost on the way
        self.deaf_to: set[str] = set()  # channels whose next subscription is passed over
        self.nonce = 1000
        self._runner: web.AppRunner | None = None
        self._mover: asyncio.Task[None] | None = None
        self.url = ""

    @property
    def bid(self) -> float:
        return 100 + self.nonce / 1e6

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/stream", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}/stream"
        self._mover = asyncio.create_task(self._move())

    async def stop(self) -> None:
        assert self._mover is not None
        assert self._runner is not None
        self._mover.cancel()
        for line in self.lines:
            if line.ws._req is not None and line.ws._req.transport is not None:
                line.ws._req.transport.abort()
        await self._runner.cleanup()

    async def say(self, message: dict[str, Any]) -> None:
        for line in self.lines:
            if not line.ws.closed:
                await line.ws.send_str(json.dumps(message, separators=(",", ":")))

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        line = Line(ws)
        self.lines.append(line)
        await ws.send_str('{"session_id":"b23c70b2","type":"connected"}')
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                break
            frame = json.loads(message.data)
            line.sent.append(frame)
            for answer in self._answers(line, frame):
                await ws.send_str(json.dumps(answer, separators=(",", ":")))
        return ws

    def _answers(self, line: Line, frame: dict[str, Any]) -> list[dict[str, Any]]:
        kind, name = frame["type"], frame.get("channel", "")
        if kind == "ping":
            return [{"type": "pong"}]
        if kind == "unsubscribe":
            if name not in line.channels:
                return [{"error": {"code": 30004, "message": f"Not Subscribed to : {name}"}}]
            line.channels.discard(name)
            return [{"type": "unsubscribed", "channel": name.replace("/", ":")}]
        if kind != "subscribe":
            return []
        if name in self.deaf_to:
            self.deaf_to.discard(name)
            return []
        if name in line.channels:
            return [{"error": {"code": 30003, "message": f"Already Subscribed to : {name}"}}]
        line.channels.add(name)
        topic, _, number = name.partition("/")
        if topic == "ticker":
            return [self._ticker(int(number), "subscribed")]
        if topic == "order_book":
            line.begin[int(number)] = self.nonce
            return [self._book(int(number), "subscribed", 0)]
        return []

    async def _move(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            if not self.is_lively:
                continue
            for number in NAMES:
                self.nonce += 3
                for line in self.lines:
                    if not line.ws.closed:
                        await self._tell(line, number)
            self.lose.clear()

    async def _tell(self, line: Line, number: int) -> None:
        frames = []
        if f"ticker/{number}" in line.channels:
            frames.append(self._ticker(number, "update"))
        if f"order_book/{number}" in line.channels:
            frame = self._book(number, "update", line.begin[number])
            line.begin[number] = self.nonce
            if number not in self.lose:
                frames.append(frame)
        for frame in frames:
            await line.ws.send_str(json.dumps(frame, separators=(",", ":")))

    def _ticker(self, number: int, verb: str) -> dict[str, Any]:
        sides = {"a": {"price": "200.00", "size": "1"}, "b": {"price": f"{self.bid:.6f}", "size": "2"}}
        return {
            "channel": f"ticker:{number}", "nonce": self.nonce, "ticker": {"s": NAMES[number], **sides},
            "timestamp": 1_790_000_000_000 + self.nonce, "type": f"{verb}/ticker",
        }  # fmt: skip

    def _book(self, number: int, verb: str, begin: int) -> dict[str, Any]:
        bids = [{"price": f"{self.bid:.6f}", "size": "2"}]
        if verb == "update":
            bids.append({"price": f"{100 + begin / 1e6:.6f}", "size": "0.0"})
        asks = [{"price": "200.00", "size": "1"}]
        time_ms = 1_790_000_000_000 + self.nonce
        book = {
            "asks": asks, "bids": bids, "nonce": self.nonce, "begin_nonce": begin, "last_updated_at": time_ms * 1000,
        }  # fmt: skip
        return {
            "channel": f"order_book:{number}", "order_book": book, "timestamp": time_ms, "type": f"{verb}/order_book",
        }  # fmt: skip
