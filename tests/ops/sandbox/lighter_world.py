"""The simulated Lighter in this process, on a clock that only tests move, with a signer of our own arithmetic.

That arithmetic is judged by the official signer's recorded answers in test_lighter_signing.py, the venue by the official
SDK in test_lighter_sdk.py.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
import orjson
from aiohttp import web

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.log import Log
from ops.sandbox import ecgfp5
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues import _lighter_signing as signing
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.lighter import SandboxVenue

SYMBOLS = ("BTC", "ETH", "PEPE")
PX = {"BTC": 80_000.0, "ETH": 2_000.0, "PEPE": 0.000004}
ETH, BTC, KPEPE = 0, 1, 4
SECRET, STRANGER = (int.from_bytes(bytes([n]) * 40, "little") % ecgfp5.ORDER for n in (1, 2))
ACCOUNT, KEY = 123456, 5
IOC, GTT, POST_ONLY = 0, 1, 2
DAY_MS = 86_400_000


class World:
    """`async with World() as world:`. Prices stand still unless `quote` moves them; order delay is zero unless asked."""

    def __init__(
        self, order_delay_s: float = 0.0, tier: str = "premium", verify_ratio: float = 1.0, rate: float = 0.0000125,
        history: list[Transaction] | None = None,
    ) -> None:  # fmt: skip
        self.clock = SimClock()
        self.transactions: list[Transaction] = []
        clock = VenueClock(self.clock)
        self.exchange = Exchange(
            "lighter", SandboxVenue.terms(SYMBOLS), clock, lambda symbol, hour: rate, self.transactions.append
        )
        copy = msgspec.json.decode(msgspec.json.encode(history or []), type=list[Transaction])
        self.exchange.restore(copy)
        log = Log("test", self.clock, "error")
        self.venue = SandboxVenue(
            Host(exchange=self.exchange, clock=clock, log=log, order_delay_s=order_delay_s, tier=tier,
                 verify_ratio=verify_ratio)
        )  # fmt: skip
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol, px in PX.items():
            self.quote(symbol, px)
        self.exchange.open_account(str(ACCOUNT), Decimal(10_000), [f"{KEY}:{ecgfp5.public_key(SECRET).hex()}"])
        self.exchange.housekeep()
        self.nonce = 0
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

    # -- signing ----------------------------------------------------------------------------------------------------

    def tx(
        self, kind: int, body: dict[str, int], *, nonce: int | None = None, skip: bool = False, secret: int = SECRET,
        key: int = KEY, account: int = ACCOUNT, expires_ms: int | None = None, attributes: dict[str, int] | None = None,
        chain_id: int = signing.TESTNET_CHAIN_ID,
    ) -> dict[str, Any]:  # fmt: skip
        """tx_info, signed. Without `nonce` the next one, which counts as used."""
        if nonce is None:
            nonce, self.nonce = self.nonce, self.nonce + 1
        extra = ({"4": 1} if skip else {}) | (attributes or {})
        info: dict[str, Any] = {
            "AccountIndex": account, "ApiKeyIndex": key, **body,
            "ExpiredAt": self.now_ms + 599_000 if expires_ms is None else expires_ms, "Nonce": nonce, "Sig": "",
            "L2TxAttributes": extra or None,
        }  # fmt: skip
        try:
            digest = signing.digest(signing.parse(kind, info), chain_id)
        except signing.Malformed:
            return info
        info["Sig"] = base64.b64encode(ecgfp5.sign(secret, self._rng.randrange(1, ecgfp5.ORDER), digest)).decode()
        return info

    def order(
        self, market: int, buys: bool, px: int, amount: int, tif: int = IOC, client: int = 0, *, kind: int = 0,
        reduce_only: bool = False, expiry_ms: int | None = None, trigger: int = 0, **how: Any,
    ) -> dict[str, Any]:  # fmt: skip
        if expiry_ms is None:
            expiry_ms = 0 if tif == IOC else self.now_ms + DAY_MS
        body = {
            "MarketIndex": market, "ClientOrderIndex": client, "BaseAmount": amount, "Price": px, "IsAsk": int(not buys),
            "Type": kind, "TimeInForce": tif, "ReduceOnly": int(reduce_only), "TriggerPrice": trigger, "OrderExpiry": expiry_ms,
        }  # fmt: skip
        return self.tx(14, body, **how)

    def cancel(self, market: int, index: int, **how: Any) -> dict[str, Any]:
        return self.tx(15, {"MarketIndex": market, "Index": index}, **how)

    def leverage(self, market: int, fraction: int, mode: int = 0, **how: Any) -> dict[str, Any]:
        return self.tx(20, {"MarketIndex": market, "InitialMarginFraction": fraction, "MarginMode": mode}, **how)

    def token(self, ahead_s: int = 600, *, secret: int = SECRET, account: int = ACCOUNT, key: int = KEY) -> str:
        text = f"{self.clock.wire_ns() // NS_PER_S + ahead_s}:{account}:{key}"
        k = self._rng.randrange(1, ecgfp5.ORDER)
        return f"{text}:{ecgfp5.sign(secret, k, signing.token_digest(text)).hex()}"

    # -- REST -------------------------------------------------------------------------------------------------------

    async def get(self, name: str, *, token: str = "", **params: Any) -> Any:
        """The body of a success."""
        status, body = await self.ask(name, token=token, **params)
        assert (status, body["code"]) == (200, 200), body
        return body

    async def ask(self, name: str, *, token: str = "", **params: Any) -> tuple[int, Any]:
        headers = {"Authorization": token} if token else {}
        async with self.session.get(f"{self.url}/api/v1/{name}", params=params, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    async def own(self, name: str, **params: Any) -> Any:
        return await self.get(name, token=self.token(), account_index=ACCOUNT, **params)

    async def post(self, name: str, form: Any) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}/api/v1/{name}", data=form) as response:
            return response.status, orjson.loads(await response.read())

    async def send(self, kind: int, info: dict[str, Any]) -> tuple[int, Any]:
        return await self.post("sendTx", {"tx_type": str(kind), "tx_info": orjson.dumps(info).decode()})

    async def accept(self, kind: int, info: dict[str, Any]) -> str:
        """Send, and the hash of what was accepted."""
        status, body = await self.send(kind, info)
        assert (status, body["code"]) == (200, 200), body
        return str(body["tx_hash"])

    async def refuse(self, kind: int, info: dict[str, Any]) -> int:
        """Send, and the code it was refused with; the nonce is free again."""
        status, body = await self.send(kind, info)
        assert status == 400, body
        self.nonce = info["Nonce"]
        return int(body["code"])

    async def outcome(self, tx_hash: str) -> Any:
        """The transaction once it was executed or failed."""

        async def done() -> Any:
            row = await self.get("tx", by="hash", value=tx_hash)
            return row if row["status"] != 1 else None

        return await until(done)

    async def do(self, kind: int, info: dict[str, Any]) -> Any:
        """Send, wait for the verdict, and what it tells."""
        return await self.outcome(await self.accept(kind, info))

    async def placed(self, *order: Any, **more: Any) -> Any:
        """Send an order and read the row it ended as; its client index names it."""
        info = self.order(*order, **more)
        row = await self.do(14, info)
        assert row["status"] == 2, row
        (found,) = (await self.own("accountOrders", client_order_indexes=str(info["ClientOrderIndex"])))["orders"]
        return found

    async def socket(self) -> Socket:
        socket = await self.session.ws_connect(self.url.replace("http", "ws") + "/stream")
        connected = Socket(socket)
        assert (await connected.next())["type"] == "connected"
        return connected


class Socket:
    """One WebSocket client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, frame: Any) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def next(self) -> Any:
        return orjson.loads(await self.socket.receive_str(timeout=5))

    async def until(self, kind: str) -> Any:
        """The next frame of a type; others are skipped. Error frames have none."""
        while (frame := await self.next()).get("type") != kind:
            pass
        return frame

    async def subscribe(self, channel: str, **more: Any) -> Any:
        await self.send({"type": "subscribe", "channel": channel, **more})
        return await self.until("subscribed/" + channel.partition("/")[0])

    async def refused(self, frame: Any) -> Any:
        await self.send(frame)
        while "error" not in (answer := await self.next()):
            pass
        return answer["error"]

    async def closed(self) -> int | None:
        """Read until the server has closed; the close code as the client saw it."""
        async with asyncio.timeout(5):
            async for _ in self.socket:
                pass
        return self.socket.close_code


async def until(condition: Callable[[], Any]) -> Any:
    """The first true result of an async condition, asked every 50 ms for at most 5 s."""
    async with asyncio.timeout(5):
        while not (value := await condition()):
            await asyncio.sleep(0.05)
    return value
