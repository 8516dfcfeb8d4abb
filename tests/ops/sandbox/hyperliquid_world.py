"""The simulated Hyperliquid in this process, on a clock that only tests move, with a client that signs through eth-account."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from types import TracebackType
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action

from core.clock import NS_PER_MS, SimClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.hyperliquid import SandboxVenue

SYMBOLS = ("BTC", "ETH", "PEPE")
PX = {"BTC": 80_000.0, "ETH": 2_000.0, "PEPE": 0.000004}
MASTER, AGENT, STRANGER = (Account.from_key("0x" + f"{n:02x}" * 32) for n in (1, 2, 3))
USER = MASTER.address.lower()
BTC, ETH, DEAD, KPEPE = 0, 1, 2, 4


class World:
    """`async with World() as world:`. Prices stand still unless `quote` moves them; order delay is zero unless asked."""

    def __init__(self, order_delay_s: float = 0.0) -> None:
        self.clock = SimClock()
        self.transactions: list[Transaction] = []
        clock = VenueClock(self.clock)
        self.exchange = Exchange(
            "hyperliquid", SandboxVenue.terms(SYMBOLS), clock, lambda symbol, hour: 0.0000125, self.transactions.append
        )
        log = Log("test", self.clock, "error")
        self.venue = SandboxVenue(Host(exchange=self.exchange, clock=clock, log=log, order_delay_s=order_delay_s))
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol, px in PX.items():
            self.quote(symbol, px)
        self.exchange.open_account(USER, Decimal(10_000), [AGENT.address.lower()])
        self.exchange.housekeep()
        self._nonce = self.clock.wire_ns() // NS_PER_MS

    async def __aenter__(self) -> World:
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
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

    @property
    def now_ms(self) -> int:
        return self.clock.wire_ns() // NS_PER_MS

    def nonce(self) -> int:
        self._nonce += 1
        return self._nonce

    def body(
        self, action: dict[str, Any], *, wallet: Any = AGENT, nonce: int | None = None, vault: str | None = None,
        expires: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A signed body, by the SDK's own signer."""
        nonce = self.nonce() if nonce is None else nonce
        signature = sign_l1_action(wallet, action, vault, nonce, expires, False)
        return {
            "action": action,
            "nonce": nonce,
            "signature": signature,
            "vaultAddress": vault,
            "expiresAfter": expires,
        }

    async def act(self, action: dict[str, Any], **signing: Any) -> Any:
        return await self.send(self.body(action, **signing))

    async def send(self, body: Any) -> Any:
        status, answer = await self.post("/exchange", orjson.dumps(body))
        assert status == 200, answer
        return orjson.loads(answer)

    async def info(self, kind: str, **fields: Any) -> Any:
        status, answer = await self.post("/info", orjson.dumps({"type": kind, **fields}))
        assert status == 200, answer
        return orjson.loads(answer)

    async def post(self, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
        async with self.session.post(self.url + path, data=body, headers={"Content-Type": content_type}) as response:
            return response.status, await response.read()

    async def socket(self) -> Socket:
        socket = await self.session.ws_connect(self.url.replace("http", "ws") + "/ws")
        assert await socket.receive_str(timeout=5) == "Websocket connection established."
        return Socket(socket)


class Socket:
    """One WebSocket client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, frame: Any) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def next(self) -> Any:
        return orjson.loads(await self.socket.receive_str(timeout=5))

    async def until(self, channel: str) -> Any:
        """The data of the next frame of a channel; others are skipped."""
        while (frame := await self.next())["channel"] != channel:
            pass
        return frame.get("data")

    async def subscribe(self, kind: str, **fields: Any) -> Any:
        await self.send({"method": "subscribe", "subscription": {"type": kind, **fields}})
        return await self.until("subscriptionResponse")

    async def closed(self) -> int | None:
        """Read until the server has closed; the close code as the client saw it."""
        async with asyncio.timeout(5):
            async for _ in self.socket:
                pass
        return self.socket.close_code


def order(
    asset: int, buys: bool, px: str, size: str, tif: str = "Ioc", reduce_only: bool = False, cloid: str | None = None
) -> Any:
    row: dict[str, Any] = {"a": asset, "b": buys, "p": px, "s": size, "r": reduce_only, "t": {"limit": {"tif": tif}}}
    if cloid is not None:
        row["c"] = cloid
    return row


def orders(*rows: Any) -> dict[str, Any]:
    return {"type": "order", "orders": list(rows), "grouping": "na"}
