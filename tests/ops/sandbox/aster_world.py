"""A small world for the Aster tests: one exchange, the venue on a free port, a client that signs with eth-account.

The market stands still unless a test moves it (`quote`), so that fills and refusals are exact. Signing goes through
eth-account on purpose: the sandbox must agree with somebody else's EIP-712.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import quote as percent
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from yarl import URL

from core.clock import NS_PER_US, Clock, SystemClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.aster import SandboxVenue
from ops.sandbox.venues.base import Host

SYMBOLS = ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")
PX = {"BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0, "HYPE": 40.0, "PAXG": 4_000.0, "PEPE": 0.00001}
BALANCE = Decimal(10_000)
MAIN_KEY = "0x" + "02" * 32
AGENT_KEY = "0x" + "01" * 32
OTHER_KEY = "0x" + "03" * 32
USER = EthAccount.from_key(MAIN_KEY).address
AGENT = EthAccount.from_key(AGENT_KEY).address
DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


class Answer:
    """Status, decoded JSON and headers of one call."""

    def __init__(self, status: int, body: Any, headers: dict[str, str]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    @property
    def code(self) -> Any:
        return self.body.get("code") if isinstance(self.body, dict) else None


def sign(text: str, key: str, chain_id: int = 714) -> str:
    """The EIP-712 signature of `text` as Message{string msg}, 0x-prefixed."""
    return typed_signature("Message", [("msg", "string", text)], key, chain_id)


def typed_signature(primary: str, fields: list[tuple[str, str, Any]], key: str, chain_id: int) -> str:
    full = {
        "types": {
            "EIP712Domain": DOMAIN_TYPE,
            primary: [{"name": name, "type": kind} for name, kind, _ in fields],
        },
        "primaryType": primary,
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": "0x" + "00" * 20,
        },
        "message": {name: value for name, _, value in fields},
    }
    signature: bytes = EthAccount.sign_message(encode_typed_data(full_message=full), key).signature
    return "0x" + bytes(signature).hex()


class World:
    """`async with World() as world:` serves until the block ends."""

    def __init__(self, clock: Clock | None = None, order_delay_s: float = 0.0, log: Iterable[Transaction] = ()) -> None:
        self.clock: Clock = clock or SystemClock()
        self.transactions: list[Transaction] = []
        clock = VenueClock(self.clock)
        rate = {"HYPE": 0.00002}
        self.exchange = Exchange(
            "aster",
            SandboxVenue.terms(SYMBOLS),
            clock,
            lambda symbol, hour: rate.get(symbol, 0.0000125),
            self.transactions.append,
        )
        self.exchange.restore(log)
        self.venue = SandboxVenue(
            Host(
                exchange=self.exchange,
                clock=clock,
                log=Log("test", SystemClock(), "error"),
                order_delay_s=order_delay_s,
            )
        )
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol in SYMBOLS:
            self.quote(symbol, PX[symbol])
        self.exchange.open_account(USER.lower(), BALANCE, [AGENT.lower()])
        self.port = 0
        self._nonce = 0

    async def __aenter__(self) -> World:
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def quote(self, symbol: str, mid: float, touch_usd: float = 5_000.0, print_usd: float = 0.0, seed: int = 7) -> None:
        """One market step: mid, a spread of 2 bps, `touch_usd` on either side, an optional public trade."""
        self.exchange.apply(symbol, Sample(mid, mid, mid, 1.0, touch_usd, touch_usd, print_usd, seed))

    def nonce(self) -> int:
        """Strictly increasing microseconds."""
        self._nonce = max(self._nonce + 1, self.clock.wire_ns() // NS_PER_US)
        return self._nonce

    async def get(self, path: str, **params: Any) -> Answer:
        """A public call."""
        async with self.session.get(f"{self.url}{path}", params={k: str(v) for k, v in params.items()}) as response:
            return Answer(response.status, await response.json(), dict(response.headers))

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str = AGENT_KEY,
        user: str = USER,
        signer: str | None = None,
        nonce: int | None = None,
        chain_id: int = 714,
        signature: str | None = None,
        in_query: bool = False,
        **params: Any,
    ) -> Answer:
        """A signed call; None-valued parameters are left out."""
        values = {k: v if isinstance(v, str) else str(v) for k, v in params.items() if v is not None}
        values |= {
            "nonce": str(self.nonce() if nonce is None else nonce),
            "user": user,
            "signer": signer or EthAccount.from_key(key).address,
        }
        text = urlencode(values, quote_via=percent)
        text += "&signature=" + (signature or sign(text, key, chain_id))
        return await self.send(method, path, text, in_query=in_query)

    async def send(self, method: str, path: str, text: str, in_query: bool = False) -> Answer:
        """Raw form text, byte for byte."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if method == "GET" or in_query:
            target, data = f"{self.url}/fapi/v3/{path}?{text}", None
        else:
            target, data = f"{self.url}/fapi/v3/{path}", text.encode()
        async with self.session.request(method, URL(target, encoded=True), data=data, headers=headers) as response:
            return Answer(response.status, json.loads(await response.read()), dict(response.headers))

    async def order(self, side: str = "BUY", qty: str = "0.01", px: str | None = None, **more: Any) -> Answer:
        """A BTC limit order by default: GTC with RESULT unless told otherwise."""
        params: dict[str, Any] = {"symbol": "BTCUSDT", "side": side, "quantity": qty, "newOrderRespType": "RESULT"}
        if px is None:
            params["type"] = "MARKET"
        else:
            params |= {"type": "LIMIT", "price": px, "timeInForce": "GTC"}
        params |= more
        return await self.call("POST", "order", **params)

    def best(self, name: str = "BTCUSDT") -> tuple[Decimal, Decimal]:
        """Best bid and ask."""
        top = self.exchange.top(name)
        assert top.bid is not None
        assert top.ask is not None
        return top.bid.px, top.ask.px
