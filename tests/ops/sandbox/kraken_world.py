"""The simulated Kraken in this process, on a clock that only tests move, with a signer written from the page."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
import orjson
from aiohttp import web

from core.clock import NS_PER_S, SimClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.kraken import SandboxVenue

SYMBOLS = ("BTC", "ETH", "PEPE")
PX = {"BTC": 80_000.0, "ETH": 2_000.0, "PEPE": 0.000004, "USDT": 1.0, "USDC": 1.0}
KEY, SECRET = "a1" * 28, base64.b64encode(bytes(range(64))).decode()
OTHER, OTHER_SECRET = "b2" * 28, base64.b64encode(bytes(range(1, 65))).decode()
ETH = "ETH/USD"


class Refused(Exception):
    """The venue's error texts."""


class World:
    """`async with World() as world:`. Prices stand still unless `quote` moves them; order delay is zero unless asked."""

    def __init__(self, order_delay_s: float = 0.0, tier: str = "pro", history: list[Transaction] | None = None) -> None:
        self.clock = SimClock()
        self.transactions: list[Transaction] = []
        clock = VenueClock(self.clock)
        self.exchange = Exchange(
            "kraken", SandboxVenue.terms(SYMBOLS), clock, lambda symbol, hour: 0.0, self.transactions.append
        )
        copy = msgspec.json.decode(msgspec.json.encode(history or []), type=list[Transaction])
        self.exchange.restore(copy)
        log = Log("test", self.clock, "error")
        self.venue = SandboxVenue(
            Host(exchange=self.exchange, clock=clock, log=log, order_delay_s=order_delay_s, tier=tier)
        )
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol, px in PX.items():
            self.quote(symbol, px)
        for key, secret in ((KEY, SECRET), (OTHER, OTHER_SECRET)):
            self.exchange.open_account(key, Decimal(10_000), [secret])
        self.exchange.housekeep()
        self.nonce = 0

    async def __aenter__(self) -> World:
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.ws_url = self.url.replace("http", "ws")
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()
        self.venue.drop_connections()
        await self._runner.cleanup()

    def quote(self, symbol: str, mid: float, touch_usd: float = 5_000.0, print_usd: float = 0.0) -> None:
        self.exchange.apply(symbol, Sample(mid, mid, mid, 0.5, touch_usd, touch_usd, print_usd, 11))

    def pass_s(self, seconds: float) -> None:
        self.clock.advance_ns(int(seconds * NS_PER_S))

    # -- REST -------------------------------------------------------------------------------------------------------

    async def read(self, name: str, **query: str) -> Any:
        async with self.session.get(f"{self.url}/0/public/{name}", params=query) as answer:
            return result(orjson.loads(await answer.read()))

    async def call(
        self, name: str, params: dict[str, Any] | None = None, *, nonce: int | None = None, key: str = KEY,
        secret: str = SECRET, as_json: bool = False, spoil: Callable[[bytes], bytes] = lambda body: body,
    ) -> Any:  # fmt: skip
        """The result. Raises Refused. Without `nonce` the next one; `spoil` changes the body after it was signed."""
        if nonce is None:
            self.nonce += 1
            nonce = self.nonce
        fields = {"nonce": str(nonce), **(params or {})}
        body = orjson.dumps(fields) if as_json else urlencode(fields).encode()
        path = f"/0/private/{name}"
        digest = hashlib.sha256(str(nonce).encode() + body).digest()
        sign = base64.b64encode(hmac.digest(base64.b64decode(secret), path.encode() + digest, "sha512")).decode()
        kind = "application/json" if as_json else "application/x-www-form-urlencoded"
        headers = {"API-Key": key, "API-Sign": sign, "Content-Type": kind}
        async with self.session.post(self.url + path, data=spoil(body), headers=headers) as answer:
            return result(orjson.loads(await answer.read()))

    async def order(self, side: str = "buy", px: str | None = "2100", qty: str = "0.5", **more: Any) -> str:
        """An AddOrder of ETH; its txid."""
        params = {"pair": ETH, "type": side, "ordertype": "limit", "volume": qty, "timeinforce": "IOC"}
        if px is not None:
            params["price"] = px
        answer = await self.call("AddOrder", params | more)
        return str(answer["txid"][0])

    # -- sockets ----------------------------------------------------------------------------------------------------

    async def socket(self, path: str = "/v2") -> Socket:
        return Socket(await self.session.ws_connect(self.ws_url + path))

    async def private(self, *channels: str, key: str = KEY, secret: str = SECRET, **options: Any) -> Socket:
        """A private socket with its token, and the snapshots of these channels behind it."""
        socket = await self.socket("/private/v2")
        socket.token = (await self.call("GetWebSocketsToken", key=key, secret=secret))["token"]
        for channel in channels:
            await socket.ask("subscribe", channel=channel, token=socket.token, **options)
            await socket.until(channel)
        return socket


class Socket:
    """One client. `seen` are the frames read so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen: list[Any] = []
        self.token = ""
        self._last_id = 0

    async def frame(self, timeout_s: float = 5.0) -> Any:
        message = await self.socket.receive(timeout=timeout_s)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError(str(message.type))
        row = orjson.loads(message.data)
        self.seen.append(row)
        return row

    async def until(self, channel: str) -> Any:
        """The next frame of a channel."""
        while (row := await self.frame()).get("channel") != channel:
            pass
        return row

    async def ask(self, method: str, req_id: int | None = None, **params: Any) -> Any:
        """Send and wait for the answer with its id."""
        if req_id is None:
            self._last_id += 1
            req_id = self._last_id
        await self.socket.send_str(orjson.dumps({"method": method, "params": params, "req_id": req_id}).decode())
        while (row := await self.frame()).get("req_id") != req_id:
            pass
        return row

    async def add(self, side: str = "buy", px: float = 2100.0, qty: float = 0.5, tif: str = "ioc", **more: Any) -> Any:
        return await self.ask(
            "add_order", order_type="limit", side=side, symbol=ETH, order_qty=qty, limit_price=px, time_in_force=tif,
            token=self.token, **more,
        )  # fmt: skip

    async def quiet(self, seconds: float = 0.05) -> list[Any]:
        """Everything that comes until it has been quiet for so long."""
        found = []
        try:
            while True:
                found.append(await self.frame(seconds))
        except TimeoutError:
            return found

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        try:
            async with asyncio.timeout(5):
                while True:
                    await self.frame()
        except ConnectionError:
            return

    def rows(self, channel: str, **wanted: Any) -> list[Any]:
        """Data rows of a channel that have these values."""
        found = [row for frame in self.seen if frame.get("channel") == channel for row in frame["data"]]
        return [row for row in found if all(row.get(name) == value for name, value in wanted.items())]


def result(answer: Any) -> Any:
    if answer["error"]:
        raise Refused(", ".join(answer["error"]))
    return answer["result"]
