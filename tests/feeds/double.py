"""A venue's stand-in on a loopback port that does what a test tells it: serve, stall, talk garbage, drop, refuse."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web


class Mood(enum.Enum):
    SERVE = "serve"  # a bbo per subscribed coin every 20 ms, pongs
    STALL = "stall"  # answers pings, sends no data
    MUTE = "mute"  # says nothing at all
    GARBAGE = "garbage"  # bytes that are no message of any venue
    DROP = "drop"  # accepts and drops at once
    REFUSE = "refuse"  # 429 on the handshake


class Double:
    """`mood` may change at any time; `received` holds the frames of each connection in order."""

    def __init__(self) -> None:
        self.mood = Mood.SERVE
        self.received: list[list[dict[str, Any]]] = []
        self.sockets: set[web.WebSocketResponse] = set()
        self.bid = 100.0
        self.meta = b"<html>not yet</html>"
        self.history_status = 200
        self.reads: list[str] = []
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws", self._serve)
        app.router.add_post("/info", self._info)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            for ws in list(self.sockets):
                if ws._req is not None and ws._req.transport is not None:
                    ws._req.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    def coins(self, connection: int, channel: str = "bbo") -> list[str]:
        """Coins subscribed on that connection so far."""
        sent = [each["subscription"] for each in self.received[connection] if each.get("method") == "subscribe"]
        return [each["coin"] for each in sent if each["type"] == channel]

    async def say(self, text: str) -> None:
        for ws in list(self.sockets):
            await ws.send_str(text)

    async def _info(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.reads.append(asked["type"])
        if asked["type"] == "meta":
            return web.Response(body=self.meta)
        rows = [
            {"coin": asked["coin"], "fundingRate": rate, "time": 1_790_352_000_015 + 3_600_000 * hour}
            for hour, rate in enumerate(("0.0000125", "0.00002"))
        ]
        return web.json_response(rows, status=self.history_status, headers={"Retry-After": "1"})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.mood is Mood.REFUSE:
            return web.Response(status=429, headers={"Retry-After": "1"})
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        frames: list[dict[str, Any]] = []
        self.received.append(frames)
        if self.mood is Mood.DROP:
            return ws
        await ws.send_str("Websocket connection established.")
        self.sockets.add(ws)
        speaker = asyncio.create_task(self._speak(ws, frames))
        try:
            async for message in ws:
                if message.type is not WSMsgType.TEXT:
                    break
                frame = json.loads(message.data)
                frames.append(frame)
                if frame["method"] == "ping" and self.mood is not Mood.MUTE:
                    await ws.send_str('{"channel":"pong"}')
        finally:
            self.sockets.discard(ws)
            speaker.cancel()
        return ws

    async def _speak(self, ws: web.WebSocketResponse, frames: list[dict[str, Any]]) -> None:
        time_ms = 1_790_000_000_000
        while not ws.closed:
            await asyncio.sleep(0.02)
            time_ms += 20
            if self.mood is Mood.GARBAGE:
                await ws.send_str("<html>502</html>")
                await ws.send_bytes(b"\x00\xff\xfe")
            if self.mood is not Mood.SERVE:
                continue
            for each in list(frames):
                subscription = each.get("subscription", {})
                if each["method"] == "subscribe" and subscription["type"] == "bbo":
                    await ws.send_str(self.bbo(subscription["coin"], time_ms))

    def bbo(self, coin: str, time_ms: int) -> str:
        sides = [{"px": str(self.bid), "sz": "1", "n": 1}, {"px": str(self.bid + 1), "sz": "1", "n": 1}]
        return json.dumps({"channel": "bbo", "data": {"coin": coin, "time": time_ms, "bbo": sides}})


async def until(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for a state, not for a time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "not within the time given"
        await asyncio.sleep(0.01)
