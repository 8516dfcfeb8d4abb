"""A small world for the EdgeX tests: one exchange, the venue on a free port, and the official SDK as its client.

The market stands still unless a test moves it (`quote`), so that fills and refusals are exact.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import aiohttp
from aiohttp import web
from edgex_sdk import Client
from edgex_sdk.internal.auth import get_value
from edgex_sdk.order.types import CreateOrderParams

from core.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.edgex import SandboxVenue

SYMBOLS = ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")
PX = {"BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0, "HYPE": 40.0, "PAXG": 4_000.0, "PEPE": 0.00001}
BALANCE = Decimal(10_000)
BTC, ETH, PEPE = "30000001", "30000002", "30000030"
KEY = "0x" + "01" * 32
VALUES = {
    "EDGEX_ACCOUNT_ID": "548231234567890123",
    "EDGEX_PRIVATE_KEY": KEY,
    "EDGEX_API_KEY": "11111111-2222-3333-4444-555555555555",
    "EDGEX_API_SECRET": "dummy-secret-A",
    "EDGEX_API_PASSPHRASE": "dummy-passphrase-A",
}
OTHER = VALUES | {
    "EDGEX_ACCOUNT_ID": "548231234567890999",
    "EDGEX_PRIVATE_KEY": "0x" + "03" * 32,
    "EDGEX_API_KEY": "other",
}
ACCOUNT = VALUES["EDGEX_ACCOUNT_ID"]


class Answer:
    """Status and decoded JSON of one call."""

    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body

    @property
    def code(self) -> str:
        return str(self.body["code"])

    @property
    def data(self) -> Any:
        assert self.code == "SUCCESS", self.body
        return self.body["data"]


class World:
    """`async with World() as world:` serves until the block ends."""

    def __init__(self, clock: Clock | None = None, order_delay_s: float = 0.0, log: Iterable[Transaction] = ()) -> None:
        self.clock: Clock = clock or SystemClock()
        self.transactions: list[Transaction] = []
        venue_clock = VenueClock(self.clock)
        rate = {"HYPE": 0.00002}
        self.exchange = Exchange(
            "edgex",
            SandboxVenue.terms(SYMBOLS),
            venue_clock,
            lambda symbol, hour: rate.get(symbol, 0.0000125),
            self.transactions.append,
        )
        self.exchange.restore(log)
        self.venue = SandboxVenue(
            Host(
                exchange=self.exchange,
                clock=venue_clock,
                log=Log("test", SystemClock(), "error"),
                order_delay_s=order_delay_s,
            )
        )
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, venue_clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol in SYMBOLS:
            self.quote(symbol, PX[symbol])
        for values in (VALUES, OTHER):
            identity = SandboxVenue.identity(values)
            self.exchange.open_account(identity.address, BALANCE, identity.agents)
        self.sockets: list[Socket] = []

    async def __aenter__(self) -> World:
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self.session = aiohttp.ClientSession()
        self.sdk = Client(
            base_url=self.url, account_id=int(ACCOUNT), api_key=VALUES["EDGEX_API_KEY"],
            api_passphrase=VALUES["EDGEX_API_PASSPHRASE"], api_secret=VALUES["EDGEX_API_SECRET"], trading_private_key=KEY,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self.sockets:
            await socket.socket.close()
        await self.sdk.close()
        await self.session.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def quote(self, symbol: str, mid: float, touch_usd: float = 5_000.0, print_usd: float = 0.0, seed: int = 7) -> None:
        """One market step: mid, a spread of 2 bps, `touch_usd` on either side, an optional public trade."""
        self.exchange.apply(symbol, Sample(mid, mid, mid, 1.0, touch_usd, touch_usd, print_usd, seed))

    async def get(self, path: str, **params: str) -> Answer:
        """A public call."""
        async with self.session.get(f"{self.url}/api/v2/public/{path}", params=params) as response:
            return Answer(response.status, await response.json())

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None, **changes: Any) -> Answer:
        """A private call, signed by hand; `changes` go into the headers, None leaves one out."""
        values = {"accountId": ACCOUNT} | (body or {})
        full = f"/api/v2/private/{path}"
        headers = signed(method, full, get_value(values), self.clock) | changes
        headers = {name: value for name, value in headers.items() if value is not None}
        given = {"params": values} if method == "GET" else {"data": json.dumps(values)}
        async with self.session.request(method, self.url + full, headers=headers, **given) as response:
            return Answer(response.status, await response.json())

    async def order(self, tampered: dict[str, Any] | None = None, **more: Any) -> Answer:
        """createOrder as the SDK signs it; what is `tampered` goes into the body after the order's own signature."""
        return await self.call("POST", "order/createOrder", await self.signed_body(**more) | (tampered or {}))

    async def signed_body(
        self, side: str = "BUY", size: str = "0.01", price: str = "60100", **more: Any
    ) -> dict[str, Any]:
        """The SDK's body of an IOC in BTC, unsent."""
        sent: dict[str, Any] = {}

        async def keep(method: str, path: str, data: Any = None, **_: Any) -> Any:
            sent.update(data)
            return {}

        client = self.sdk.async_client
        original, client.make_authenticated_request = client.make_authenticated_request, keep
        try:
            fields = {"contract_id": BTC, "time_in_force": "IMMEDIATE_OR_CANCEL"} | more
            params = CreateOrderParams(price=price, size=size, type="LIMIT", side=side, **fields)
            metadata = (await self.get("meta/getMetaData")).data
            await self.sdk.order.create_order(params, metadata, Decimal(price))
        finally:
            client.make_authenticated_request = original
        return sent

    async def find(self, order_id: str) -> dict[str, Any]:
        (row,) = (await self.call("GET", "order/getOrderById", {"orderIdList": order_id})).data
        return dict(row)

    async def public(self, *channels: str) -> Socket:
        socket = Socket(await self.session.ws_connect(f"{self.url}/api/v1/public/ws"))
        self.sockets.append(socket)
        assert (await socket.next())["type"] == "connected"
        for channel in channels:
            await socket.socket.send_json({"type": "subscribe", "channel": channel})
        return socket

    async def private(self, values: dict[str, str] = VALUES) -> Socket:
        now_ms = self.clock.wire_ns() // NS_PER_MS
        query = f"accountId={values['EDGEX_ACCOUNT_ID']}&timestamp={now_ms}"
        headers = signed("GET", "/api/v1/private/ws", query, self.clock, values)
        socket = Socket(await self.session.ws_connect(f"{self.url}/api/v1/private/ws?{query}", headers=headers))
        self.sockets.append(socket)
        assert (await socket.next())["type"] == "connected"
        return socket

    def best(self, name: str = "BTCUSDC") -> tuple[Decimal, Decimal]:
        """Best bid and ask."""
        top = self.exchange.top(name)
        assert top.bid is not None
        assert top.ask is not None
        return top.bid.px, top.ask.px


class Socket:
    """A connection of the tests, frame by frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def next(self) -> dict[str, Any]:
        frame = await self.socket.receive_json(timeout=5.0)
        assert isinstance(frame, dict)
        return frame

    async def until(self, event: str) -> dict[str, Any]:
        """The next private event of that name, or public frame of that channel or type."""
        while True:
            frame = await self.next()
            if event in (frame.get("channel"), frame["type"], frame.get("content", {}).get("event")):
                return frame

    async def rows(self, channel: str) -> list[dict[str, Any]]:
        """Of the next quote-event of a channel."""
        while True:
            frame = await self.next()
            if frame["type"] == "quote-event" and frame["channel"] == channel:
                return list(frame["content"]["data"])


def signed(method: str, path: str, content: str, clock: Clock, values: dict[str, str] = VALUES) -> dict[str, Any]:
    """The four headers, by the page's words."""
    timestamp = str(clock.wire_ns() // NS_PER_MS)
    key = base64.b64encode(values["EDGEX_API_SECRET"].encode())
    signature = hmac.new(key, f"{timestamp}{method}{path}{content}".encode(), hashlib.sha256).hexdigest()
    return {
        "X-edgeX-Api-Key": values["EDGEX_API_KEY"],
        "X-edgeX-Passphrase": values["EDGEX_API_PASSPHRASE"],
        "X-edgeX-Timestamp": timestamp,
        "X-edgeX-Signature": signature,
    }


class AheadClock(SystemClock):
    """Real time, with a calendar of its own: `hours` after a settlement, moved by tests."""

    def __init__(self, hours: int) -> None:
        super().__init__()
        self.at_ns = (1_795_132_800 // 14_400 * 14_400 + hours * 3600) * NS_PER_S

    def calendar_ns(self) -> int:
        return self.at_ns
