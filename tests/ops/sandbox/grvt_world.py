"""The simulated GRVT in this process, on a clock that only tests move, with orders signed by the official SDK."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
import orjson
from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_typed_data
from pysdk.grvt_raw_signing import EIP712_ORDER_MESSAGE_TYPE

from core.clock import NS_PER_S, Clock, SimClock
from core.log import Log
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.model import Sample, Transaction
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.base import Host
from ops.sandbox.venues.grvt import SandboxVenue

SYMBOLS = ("BTC", "ETH", "PEPE")
PX = {"BTC": 80_000.0, "ETH": 2_000.0, "PEPE": 0.000004}
CREDENTIALS = SandboxVenue.new_credentials(random.Random(1))
KEY, SUB = CREDENTIALS["GRVT_PRIVATE_KEY"], CREDENTIALS["GRVT_SUB_ACCOUNT_ID"]
STRANGER = "0x" + "22" * 32
CHAIN_ID = 326
TIF_NUMBERS = {"GOOD_TILL_TIME": 1, "ALL_OR_NONE": 2, "IMMEDIATE_OR_CANCEL": 3, "FILL_OR_KILL": 4}
ASSETS = {"BTC_USDT_Perp": (0x030501, 9), "ETH_USDT_Perp": (0x030401, 9), "KPEPE_USDT_Perp": (0x030D01, 6)}
BTC, ETH = "BTC_USDT_Perp", "ETH_USDT_Perp"
IOC, GTT, FOK = "IMMEDIATE_OR_CANCEL", "GOOD_TILL_TIME", "FILL_OR_KILL"


class World:
    """`async with World() as world:`. Prices stand still unless `quote` moves them; order delay is zero unless asked."""

    def __init__(
        self, order_delay_s: float = 0.0, rate: float = 0.0000125, history: list[Transaction] | None = None,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        self.clock: Any = clock or SimClock()
        self.transactions: list[Transaction] = []
        venue_clock = VenueClock(self.clock)
        self.exchange = Exchange(
            "grvt", SandboxVenue.terms(SYMBOLS), venue_clock, lambda symbol, hour: rate, self.transactions.append
        )
        self.exchange.restore(msgspec.json.decode(msgspec.json.encode(history or []), type=list[Transaction]))
        log = Log("test", self.clock, "error")
        self.venue = SandboxVenue(Host(exchange=self.exchange, clock=venue_clock, log=log, order_delay_s=order_delay_s))
        self.exchange.attach(self.venue.listener)
        self.faults = Faults(self.venue.dialect, venue_clock, random.Random(5), self.venue.expire_auth)
        self.exchange.ration(self.faults.fill_share)
        for symbol, px in PX.items():
            self.quote(symbol, px)
        identity = SandboxVenue.identity(CREDENTIALS)
        self.exchange.open_account(identity.address, Decimal(10_000), identity.agents)
        self.exchange.housekeep()
        self.headers: dict[str, str] = {}
        self._clients = 1 << 63
        self._nonce = 0

    async def __aenter__(self) -> World:
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self.headers = await self.login()
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
        self.venue.tick()

    # -- requests ---------------------------------------------------------------------------------------------------

    async def login(self, api_key: str = CREDENTIALS["GRVT_API_KEY"]) -> dict[str, str]:
        async with self.session.post(self.url + "/auth/api_key/login", json={"api_key": api_key}) as answer:
            assert answer.status == 200, await answer.text()
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
            return {"Cookie": cookie, "X-Grvt-Account-Id": answer.headers["X-Grvt-Account-Id"]}

    async def ask(self, name: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        chosen = self.headers if headers is None else headers
        url = f"{self.url}/full/v1/{name}"
        async with self.session.post(url, json=body if body is not None else {}, headers=chosen) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def get(self, name: str, **body: Any) -> Any:
        """The body of a success, of a request about our account."""
        status, answer = await self.ask(name, {"sub_account_id": SUB, **body})
        assert status == 200, answer
        return answer

    async def code(self, name: str, body: Any) -> int:
        """What a request is refused with."""
        status, answer = await self.ask(name, body)
        assert status != 200, answer
        assert answer["status"] == status
        return int(answer["code"])

    # -- orders -----------------------------------------------------------------------------------------------------

    def order(
        self, instrument: str, buys: bool, px: str, size: str, tif: str = IOC, *, post_only: bool = False,
        reduce_only: bool = False, client: int | None = None, key: str = KEY, life_s: float = 60.0, sub: str = SUB,
        is_market: bool = False, chain_id: int = CHAIN_ID, nonce: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A create_order body, signed."""
        if client is None:
            client, self._clients = self._clients, self._clients + 1
        if nonce is None:
            nonce, self._nonce = self._nonce, self._nonce + 1
        asset, decimals = ASSETS.get(instrument, (0x030501, 9))
        expiration = self.clock.wire_ns() + int(life_s * NS_PER_S)
        message = {
            "subAccountID": sub, "isMarket": is_market, "timeInForce": TIF_NUMBERS[tif], "postOnly": post_only,
            "reduceOnly": reduce_only, "nonce": nonce, "expiration": expiration,
            "legs": [{"assetID": asset, "contractSize": int(Decimal(size).scaleb(decimals)),
                      "limitPrice": int(Decimal(px).scaleb(9)), "isBuyingContract": buys}],
        }  # fmt: skip
        domain = {"name": "GRVT Exchange", "version": "0", "chainId": chain_id}
        wallet = Account.from_key(key)
        signed = wallet.sign_message(encode_typed_data(domain, EIP712_ORDER_MESSAGE_TYPE, message))
        return {"order": {
            "sub_account_id": sub, "is_market": is_market, "time_in_force": tif, "post_only": post_only,
            "reduce_only": reduce_only,
            "legs": [{"instrument": instrument, "size": size, "limit_price": px, "is_buying_asset": buys}],
            "signature": {"signer": wallet.address, "r": f"0x{signed.r:064x}", "s": f"0x{signed.s:064x}", "v": signed.v,
                          "expiration": str(expiration), "nonce": nonce},
            "metadata": {"client_order_id": str(client)},
        }}  # fmt: skip

    async def place(self, *order: Any, **more: Any) -> Any:
        """Send an order and the row it ended (or rests) as."""
        body = self.order(*order, **more)
        answer = (await self.get("create_order", **body))["result"]
        assert (answer["order_id"], answer["state"]["status"]) == ("0x00", "PENDING")
        return await self.found(body["order"]["metadata"]["client_order_id"])

    async def found(self, client_id: str) -> Any:
        async def look() -> Any:
            status, answer = await self.ask("order", {"sub_account_id": SUB, "client_order_id": client_id})
            return answer["result"] if status == 200 else None

        return await until(look)

    async def refuse(self, *order: Any, **more: Any) -> int:
        return await self.code("create_order", self.order(*order, **more))

    async def socket(self, private: bool = False, path: str = "/ws/full") -> Socket:
        headers = self.headers if private else {}
        return Socket(await self.session.ws_connect(self.url.replace("http", "ws") + path, headers=headers))


class Socket:
    """One WebSocket client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._number = 0

    async def send(self, frame: Any) -> None:
        await self.socket.send_str(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def next(self) -> Any:
        return orjson.loads(await self.socket.receive_str(timeout=5))

    async def until(self, stream: str) -> Any:
        """The next frame of a stream; others are skipped."""
        while (frame := await self.next()).get("stream") != stream:
            pass
        return frame

    async def request(self, method: str, params: Any) -> Any:
        """The answer to a request, under its id; other frames are skipped."""
        self._number += 1
        await self.send({"jsonrpc": "2.0", "method": method, "params": params, "id": self._number})
        while (answer := await self.next()).get("id") != self._number:
            pass
        assert answer["method"] == method
        return answer

    async def subscribe(self, stream: str, *selectors: str) -> Any:
        answer = await self.request("subscribe", {"stream": stream, "selectors": list(selectors)})
        return answer["result"]

    async def closed(self) -> int | None:
        """Read until the server has closed; the close code as the client saw it."""
        async with asyncio.timeout(5):
            async for _ in self.socket:
                pass
        return self.socket.close_code


async def until(condition: Callable[[], Any]) -> Any:
    """The first true result of an async condition, asked every 10 ms for at most 5 s."""
    async with asyncio.timeout(5):
        while not (value := await condition()):
            await asyncio.sleep(0.01)
    return value
