"""ccxt, unchanged, against the sandbox's Kraken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import ccxt.pro
import pytest

from tests.ops.sandbox.kraken_world import ETH, KEY, SECRET, World

SYMBOL = ETH


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as ready:
        yield ready


@pytest.fixture
async def exchange(world: World) -> AsyncIterator[Any]:
    client = ccxt.pro.kraken({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False, "newUpdates": True})
    client.urls["api"]["public"] = client.urls["api"]["private"] = world.url
    client.urls["api"]["ws"]["publicV2"] = client.urls["api"]["ws"]["public"] = f"{world.ws_url}/v2"
    client.urls["api"]["ws"]["privateV2"] = client.urls["api"]["ws"]["private"] = f"{world.ws_url}/private/v2"
    await client.load_markets()
    yield client
    await client.close()


async def test_markets_and_books(world: World, exchange: Any) -> None:
    assert exchange.market("BTC/USD")["precision"]["price"] == 0.1
    assert (await exchange.fetch_ticker(SYMBOL))["bid"] == 1999.9
    book = await exchange.fetch_order_book(SYMBOL, 5)
    assert (len(book["bids"]), book["asks"][0][0]) == (5, 2000.1)


async def test_orders_by_rest(world: World, exchange: Any) -> None:
    order = await exchange.create_order(SYMBOL, "limit", "buy", 0.5, 2100, {"timeInForce": "IOC"})
    found = await exchange.fetch_order(order["id"], SYMBOL)
    assert (found["status"], found["filled"]) == ("closed", 0.5)
    assert (await exchange.fetch_balance())["ETH"]["total"] == 0.5
    assert (await exchange.fetch_my_trades(SYMBOL))[0]["order"] == order["id"]
    resting = await exchange.create_order(SYMBOL, "limit", "sell", 0.3, 2500)
    assert (await exchange.fetch_balance())["ETH"]["used"] == 0.3
    assert [row["id"] for row in await exchange.fetch_open_orders(SYMBOL)] == [resting["id"]]
    await exchange.cancel_order(resting["id"], SYMBOL)
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.cancel_order(resting["id"], SYMBOL)
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order(SYMBOL, "limit", "sell", 5, 1900)
    await exchange.cancel_all_orders_after(60_000)


async def test_sockets(world: World, exchange: Any) -> None:
    ticker = (await exchange.watch_bids_asks([SYMBOL]))[SYMBOL]
    assert (ticker["bid"], ticker["ask"]) == (1999.9, 2000.1)
    book = await exchange.watch_order_book(SYMBOL, 10)
    assert book["asks"][0][0] == 2000.1
    order = await exchange.create_order_ws(SYMBOL, "limit", "buy", 0.5, 2100, {"timeInForce": "ioc"})
    assert order["id"]
    assert world.exchange.position(KEY, ETH).qty == Decimal("0.5")
    resting = await exchange.create_order_ws(SYMBOL, "limit", "buy", 0.1, 1900)
    await exchange.cancel_order_ws(resting["id"])
    assert world.exchange.open_orders(KEY) == []
