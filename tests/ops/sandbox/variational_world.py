"""The simulated Variational in this process, on a clock that only tests move. Logins are signed with the usual library."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
import msgspec
from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_defunct

from core.clock import NS_PER_S, SimClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues import _variational_listing as listing
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.variational import SandboxVenue

SYMBOLS = ("BTC", "HYPE")
PX = {"BTC": 80_000.0, "HYPE": 60.0}
USER, STRANGER = (Account.from_key(bytes([number]) * 32) for number in (1, 2))


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class World:
    """`async with World() as world:`. Prices stand still unless `quote` moves them."""

    def __init__(
        self, order_delay_s: float = 0.0, tier: str = "wide", rate: float = 0.0000125,
        history: list[Transaction] | None = None,
    ) -> None:  # fmt: skip
        self.clock = SimClock()
        self.transactions: list[Transaction] = []
        clock = VenueClock(self.clock)
        self.exchange = Exchange(
            "variational", SandboxVenue.terms(SYMBOLS), clock, lambda symbol, hour: rate, self.transactions.append
        )
        self.exchange.restore(msgspec.json.decode(msgspec.json.encode(history or []), type=list[Transaction]))
        log = Log("test", self.clock, "error")
        self.venue = SandboxVenue(
            Host(exchange=self.exchange, clock=clock, log=log, order_delay_s=order_delay_s, tier=tier)
        )
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol, px in PX.items():
            self.quote(symbol, px)
        self.exchange.open_account(USER.address.lower(), Decimal(10_000))
        self.exchange.housekeep()
        self.token = ""

    async def __aenter__(self) -> World:
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()
        self.venue.drop_connections()
        await self._runner.cleanup()

    def quote(self, symbol: str, mid: float) -> None:
        self.exchange.apply(symbol, Sample(mid, mid, mid, 0.5, 5_000.0, 5_000.0, 0.0, 11))

    def pass_s(self, seconds: float) -> None:
        self.clock.advance_ns(int(seconds * NS_PER_S))

    # -- requests ---------------------------------------------------------------------------------------------------

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._request("GET", path, None, headers)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self._request("POST", path, json.dumps(body), headers)

    async def log_in(self, who: Any = USER) -> Answer:
        """Keeps the token for what follows."""
        text = (await self.post("/api/auth/generate_signing_data", {"address": who.address})).body
        signed = who.sign_message(encode_defunct(text=text)).signature.hex().removeprefix("0x")
        answer = await self.post("/api/auth/login", {"address": who.address, "signed_message": signed})
        if answer.status == 200:
            self.token = answer.body["token"]
        return answer

    async def live_quote(self, symbol: str = "HYPE", qty: str = "2") -> Answer:
        body = {"instrument": listing.instrument(symbol), "qty": qty}
        return await self.post("/api/quotes/indicative", body)

    async def take(self, side: str = "buy", qty: str = "2", **changes: Any) -> Answer:
        quote_id = (await self.live_quote(qty=qty)).body["quote_id"]
        body = {"quote_id": quote_id, "side": side, "max_slippage": 0.001, "is_reduce_only": False} | changes
        return await self.post("/api/orders/new/market", body)

    async def order(self, rfq_id: str) -> dict[str, Any]:
        (row,) = [row for row in (await self.get("/api/orders/v2")).body["result"] if row["rfq_id"] == rfq_id]
        return dict(row)

    async def ended(self, rfq_id: str) -> dict[str, Any]:
        async with asyncio.timeout(5.0):
            while (row := await self.order(rfq_id))["status"] == "pending":
                await asyncio.sleep(0.01)
        return row

    async def _request(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answer:
        session = {"Cookie": f"vr-token={self.token}", "vr-connected-address": USER.address} if self.token else {}
        sent = {**session, **headers}
        async with self.session.request(method, self.url + path, data=body, headers=sent) as answer:
            text = await answer.text()
            told = json.loads(text) if answer.content_type == "application/json" else text
            return Answer(answer.status, told, dict(answer.headers))
