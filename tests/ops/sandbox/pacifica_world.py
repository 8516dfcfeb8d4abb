"""The simulated Pacifica in this process, on a clock that only tests move. Requests are signed by the recipe of the venue's
own examples (sorted compact JSON, a Solana key pair, base58), with their libraries."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from decimal import Decimal
from types import TracebackType
from typing import Any

import aiohttp
import base58
import msgspec
import orjson
from aiohttp import web
from solders.keypair import Keypair

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.pacifica import SandboxVenue

SYMBOLS = ("BTC", "ETH", "PEPE")
PX = {"BTC": 80_000.0, "ETH": 2_000.0, "PEPE": 0.000004}
MAIN, AGENT, STRANGER = (Keypair.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
ACCOUNT = str(MAIN.pubkey())
KEY = {"PF-API-KEY": "AbCd1234_2mt97y1z4BsTgv7bmGxjuu"}
PATHS = {
    "create_order": "orders/create", "create_market_order": "orders/create_market", "cancel_order": "orders/cancel",
    "cancel_all_orders": "orders/cancel_all", "edit_order": "orders/edit", "update_leverage": "account/leverage",
    "update_margin_mode": "account/margin", "add_isolated_margin": "positions/add_isolated_margin",
}  # fmt: skip


class World:
    """`async with World() as world:`. Prices stand still unless `quote` moves them; order delay is zero unless asked."""

    def __init__(
        self, order_delay_s: float = 0.0, tier: str = "vip", rate: float = 0.0000125,
        history: list[Transaction] | None = None,
    ) -> None:  # fmt: skip
        self.clock = SimClock()
        self.transactions: list[Transaction] = []
        clock = VenueClock(self.clock)
        self.exchange = Exchange(
            "pacifica", SandboxVenue.terms(SYMBOLS), clock, lambda symbol, hour: rate, self.transactions.append
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
        self.exchange.open_account(ACCOUNT, Decimal(10_000), [str(AGENT.pubkey())])
        self.exchange.housekeep()
        self._rng = random.Random(3)

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

    def pass_s(self, seconds: float) -> None:
        self.clock.advance_ns(int(seconds * NS_PER_S))

    @property
    def now_ms(self) -> int:
        return self.clock.wire_ns() // NS_PER_MS

    def new_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    # -- signing ----------------------------------------------------------------------------------------------------

    def signed(
        self, kind: str, payload: dict[str, Any], *, key: Keypair = AGENT, account: str = ACCOUNT,
        timestamp_ms: int | None = None, window_ms: int = 5_000,
    ) -> dict[str, Any]:  # fmt: skip
        header = {
            "timestamp": self.now_ms if timestamp_ms is None else timestamp_ms,
            "expiry_window": window_ms,
        }
        text = json.dumps({**header, "type": kind, "data": payload}, sort_keys=True, separators=(",", ":"))
        signature = base58.b58encode(bytes(key.sign_message(text.encode()))).decode()
        agent = {} if str(key.pubkey()) == account else {"agent_wallet": str(key.pubkey())}
        return {"account": account, **agent, "signature": signature, **header, **payload}

    def order(
        self, symbol: str, side: str, price: str, amount: str, tif: str = "IOC", *, reduce_only: bool = False,
        client: str | None = None, **how: Any,
    ) -> dict[str, Any]:  # fmt: skip
        payload: dict[str, Any] = {
            "symbol": symbol, "price": price, "amount": amount, "side": side, "tif": tif, "reduce_only": reduce_only,
        }  # fmt: skip
        if client != "":
            payload["client_order_id"] = client or self.new_id()
        return self.signed("create_order", payload, **how)

    # -- REST -------------------------------------------------------------------------------------------------------

    async def ask(self, path: str, headers: dict[str, str] = KEY, **query: Any) -> tuple[int, Any]:
        async with self.session.get(f"{self.url}/api/v1/{path}", params=query, headers=headers) as response:
            return response.status, _told(await response.read())

    async def get(self, path: str, **query: Any) -> Any:
        """`data` of a success."""
        status, body = await self.ask(path, **query)
        assert (status, body["success"]) == (200, True), body
        return body["data"]

    async def own(self, path: str, **query: Any) -> Any:
        return await self.get(path, account=ACCOUNT, **query)

    async def post(self, kind: str, body: Any, headers: dict[str, str] = KEY) -> tuple[int, Any]:
        path = PATHS.get(kind, kind)
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        url = f"{self.url}/api/v1/{path}"
        async with self.session.post(
            url, data=data, headers={"Content-Type": "application/json", **headers}
        ) as response:
            return response.status, _told(await response.read())

    async def do(self, kind: str, payload: dict[str, Any], **how: Any) -> tuple[int, Any]:
        return await self.post(kind, self.signed(kind, payload, **how))

    async def accept(self, kind: str, body: dict[str, Any]) -> Any:
        status, answer = await self.post(kind, body)
        assert (status, answer["success"]) == (200, True), answer
        return answer["data"]

    async def place(self, *order: Any, **how: Any) -> int:
        """The id of an order that was taken."""
        return int((await self.accept("create_order", self.order(*order, **how)))["order_id"])

    async def past(self, order_id: int) -> Any:
        """The row of one order in the history."""
        return next(row for row in await self.own("orders/history") if row["order_id"] == order_id)

    async def socket(self, headers: dict[str, str] = KEY) -> Socket:
        return Socket(self, await self.session.ws_connect(self.url.replace("http", "ws") + "/ws", headers=headers))


class Socket:
    """One WebSocket client."""

    def __init__(self, world: World, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.world = world
        self.socket = socket

    async def send(self, frame: Any) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def next(self) -> Any:
        return orjson.loads(await self.socket.receive_str(timeout=5))

    async def until(self, channel: str) -> Any:
        """The next frame of a channel; others are skipped."""
        while (frame := await self.next()).get("channel") != channel:
            pass
        return frame["data"]

    async def subscribe(self, **params: Any) -> None:
        await self.send({"method": "subscribe", "params": params})
        assert await self.until("subscribe") == params

    async def operate(self, kind: str, body: Any) -> Any:
        """The answer to one operation; frames of channels are skipped."""
        number = self.world.new_id()
        await self.send({"id": number, "params": {kind: body}})
        while (frame := await self.next()).get("id") != number:
            pass
        return frame

    async def answers(self) -> bool:
        """Whether the socket still answers a ping; what came before is skipped."""
        await self.send({"method": "ping"})
        async with asyncio.timeout(5):
            while (await self.next()).get("channel") != "pong":
                pass
        return True


def _told(body: bytes) -> Any:
    """Refusals are partly bare text."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode()
