"""A second judge: ccxt, unchanged, over REST and WebSocket. It logs in by wallet and signs by its own means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import ccxt.pro
import pytest

from core.clock import SystemClock
from tests.ops.sandbox.grvt_world import KEY, World, until

BTC, PEPE = "BTC/USDT:USDT", "KPEPE/USDT:USDT"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(clock=SystemClock()) as world:
        yield world


@pytest.fixture
async def client(world: World) -> AsyncIterator[Any]:
    client = ccxt.pro.grvt({"privateKey": KEY, "enableRateLimit": False, "options": {"builderFee": False}})
    client.isSandboxModeEnabled = True  # decides the chain id; its list of test hosts knows no WebSocket
    for name in ("privateEdge", "privateTrading", "publicMarket"):
        client.urls["api"][name] = world.url + "/"
    stream = world.url.replace("http", "ws") + "/ws/full"
    client.urls["api"]["ws"] |= {"publicMarket": stream, "privateTrading": stream + "?trades"}  # two hosts, two sockets
    await client.load_markets()
    # This release hands the session's headers to a place where its own socket does not look: they are put where it does.
    headers = {"Cookie": client.options["AuthCookieValue"], "X-Grvt-Account-Id": client.options["AuthAccountId"]}
    client.options["ws"] = {"headers": headers}
    client.client(stream + "?trades")
    yield client
    await client.close()


async def test_markets_and_their_figures(client: Any) -> None:
    assert {BTC, PEPE, "ETH/USDT:USDT"} <= set(client.markets)
    assert (client.markets[BTC]["precision"]["price"], client.markets[BTC]["precision"]["amount"]) == (0.1, 0.001)
    book = await client.fetch_order_book(BTC)
    assert book["bids"][0][0] < 80_000 < book["asks"][0][0]
    assert 0.003 < (await client.fetch_ticker(PEPE))["last"] < 0.005
    rates = await client.fetch_funding_rate_history(BTC, limit=3)
    assert len(rates) == 3


async def test_orders(client: Any) -> None:
    assert (await client.fetch_balance())["USDT"]["total"] == 10_000
    order = await client.create_order(BTC, "limit", "buy", 0.013, 80_100, {"timeInForce": "IOC"})
    assert order["status"] in ("open", "pending", None)

    async def held() -> Any:
        return [row for row in await client.fetch_positions() if row["contracts"]]

    (position,) = await until(held)
    assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 0.013)
    assert [row["amount"] for row in await client.fetch_my_trades(BTC)] == [0.013]
    await client.create_order(BTC, "limit", "buy", 0.01, 79_000, {"postOnly": True})
    (resting,) = await until(lambda: client.fetch_open_orders(BTC))
    await client.cancel_order(resting["id"], BTC)
    assert await client.fetch_open_orders(BTC) == []
    await client.set_leverage(5, BTC)
    with pytest.raises(ccxt.InsufficientFunds):
        await client.create_order(BTC, "limit", "buy", 50, 80_100)
    with pytest.raises(ccxt.ExchangeError, match='"code":2066'):
        await client.create_order(BTC, "limit", "buy", 0.001, 79_000)


async def test_its_streams_follow(client: Any) -> None:
    async with asyncio.timeout(10):
        await watch(client)


async def watch(client: Any) -> None:
    assert (await client.watch_ticker(BTC))["bid"] < 80_000
    # At another rate than the ticker's: by the same rate it would take the one subscription for the other.
    book = await client.watch_order_book(BTC, params={"interval": 100})
    assert book["asks"][0][0] > 80_000
    await client.create_order(BTC, "limit", "buy", 0.01, 79_000, {"postOnly": True})
    (order,) = await client.watch_orders(BTC)
    assert (order["symbol"], order["amount"]) == (BTC, 0.01)
