"""The real sandbox process as an Aster client meets it: throw-away agent key, live quotes, SIGKILL, a stopped venue."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from eth_account import Account
from yarl import URL

from tests.ops.sandbox.aster_world import sign
from tests.ops.sandbox.process import SandboxProcess


class Caller:
    """Signed and public calls to the Aster port of a running sandbox."""

    def __init__(self, sandbox: SandboxProcess, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self._session = session
        self._nonce = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._sandbox.ports['aster']}"

    async def get(self, path: str) -> Any:
        async with self._session.get(f"{self.url}/fapi/v3/{path}") as response:
            return await response.json()

    async def call(self, method: str, path: str, nonce: int = 0, **params: Any) -> Any:
        secrets = self._sandbox.secrets()
        key = secrets["ASTER_PRIVATE_KEY"]
        self._nonce = max(self._nonce + 1, time.time_ns() // 1_000)
        values = {name: str(value) for name, value in params.items()}
        values |= {"nonce": str(nonce or self._nonce), "user": secrets["ASTER_USER_ADDRESS"]}
        values |= {"signer": Account.from_key(key).address}
        text = urlencode(values)
        text += "&signature=" + sign(text, key)
        url = URL(f"{self.url}/fapi/v3/{path}" + ("?" + text if method == "GET" else ""), encoded=True)
        data = None if method == "GET" else text.encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        async with self._session.request(method, url, data=data, headers=headers) as response:
            return json.loads(await response.read())


async def test_sigkill_loses_neither_orders_nor_positions_nor_nonces_nor_the_user_stream(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path, extra="quotes_per_s = 100.0") as sandbox:
        async with aiohttp.ClientSession() as session:
            caller = Caller(sandbox, session)
            bid = float((await caller.get("ticker/bookTicker?symbol=ETHUSDT"))["bidPrice"])
            spent = time.time_ns() // 1_000 - 1_000_000
            order = {"symbol": "ETHUSDT", "side": "BUY", "newOrderRespType": "RESULT"}
            resting = await caller.call("POST", "order", nonce=spent, type="LIMIT", timeInForce="GTC", quantity="0.01",
                                        price=f"{bid * 0.9:.2f}", newClientOrderId="resting", **order)  # fmt: skip
            assert resting["status"] == "NEW"
            taken = await caller.call("POST", "order", type="MARKET", quantity="0.05", **order)
            assert taken["status"] == "FILLED"
            key = (await caller.call("POST", "listenKey"))["listenKey"]
            wallet = (await caller.call("GET", "balance"))[0]["balance"]
            trades = await caller.call("GET", "userTrades", symbol="ETHUSDT")
        assert sandbox.stop(signal.SIGKILL) == -signal.SIGKILL

        sandbox.start()
        async with aiohttp.ClientSession() as session:
            caller = Caller(sandbox, session)
            assert (await caller.call("GET", "openOrders", symbol="ETHUSDT"))[0]["orderId"] == resting["orderId"]
            position = (await caller.call("GET", "positionRisk", symbol="ETHUSDT"))[0]
            assert position["positionAmt"] == "0.05"
            assert (await caller.call("GET", "balance"))[0]["balance"] == wallet
            assert await caller.call("GET", "userTrades", symbol="ETHUSDT") == trades
            assert (await caller.call("GET", "balance", nonce=spent))["code"] == -4225
            async with session.ws_connect(f"{caller.url}/ws/{key}") as stream:
                canceling = caller.call("DELETE", "order", symbol="ETHUSDT", origClientOrderId="resting")
                assert (await canceling)["status"] == "CANCELED"
                event = json.loads((await asyncio.wait_for(stream.receive(), 10)).data)
                assert (event["o"]["c"], event["o"]["x"]) == ("resting", "CANCELED")


async def test_live_quotes_break_with_the_venue_and_come_back_with_newer_ids(tmp_path: Path) -> None:
    path = "/stream?streams=btcusdt@bookTicker/1000pepeusdt@bookTicker/btcusdt@markPrice@1s"
    with SandboxProcess(tmp_path, extra="quotes_per_s = 500.0") as sandbox:
        async with aiohttp.ClientSession() as session:
            caller = Caller(sandbox, session)
            last: dict[str, int] = {}
            async with session.ws_connect(caller.url + path) as stream:
                seen = set()
                while len(seen) < 3:
                    frame = json.loads((await asyncio.wait_for(stream.receive(), 10)).data)
                    seen.add(frame["stream"])
                    if frame["data"]["e"] == "bookTicker":
                        data = frame["data"]
                        assert data["u"] > last.get(data["s"], 0)
                        assert float(data["b"]) < float(data["a"])
                        assert abs(data["E"] - time.time_ns() // 1_000_000) < 5_000
                        last[data["s"]] = data["u"]
                await asyncio.to_thread(sandbox.control, "venue", {"venue": "aster", "serving": False})
                while (await asyncio.wait_for(stream.receive(), 10)).type is aiohttp.WSMsgType.TEXT:
                    pass
            await asyncio.to_thread(sandbox.control, "venue", {"venue": "aster", "serving": True})
            async with session.ws_connect(caller.url + "/ws/btcusdt@bookTicker") as stream:
                again = json.loads((await asyncio.wait_for(stream.receive(), 10)).data)
                assert again["u"] > last["BTCUSDT"]
