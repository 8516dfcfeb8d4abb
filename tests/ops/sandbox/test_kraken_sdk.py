"""python-kraken-sdk, unchanged, against the sandbox's Kraken: REST by its sync clients, sockets by SpotWSClient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from kraken.exceptions import (
    KrakenInsufficientFundsError,
    KrakenInvalidAPIKeyError,
    KrakenInvalidNonceError,
    KrakenUnknownOrderError,
)
from kraken.spot import Market, SpotWSClient, Trade, User

from ops.sandbox.venues._kraken_rows import number_of
from tests.ops.sandbox.kraken_world import ETH, KEY, OTHER_SECRET, SECRET, World

CLIENT = "7a6d" + "0" * 28


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as ready:
        yield ready


async def rest(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A blocking call of the SDK, beside the server's loop."""
    return await asyncio.to_thread(call, *args, **kwargs)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_public_reads(world: World) -> None:
    market = Market(url=world.url)
    pairs = await rest(market.get_asset_pairs, pair=["XBTUSD", "PEPEUSD"])
    assert {row["wsname"] for row in pairs.values()} == {"XBT/USD", "PEPE/USD"}
    assert (await rest(market.get_ticker, pair="ETHUSD"))["XETHZUSD"]["a"][0] == "2000.10"
    assert len((await rest(market.get_order_book, pair="ETHUSD", count=5))["XETHZUSD"]["asks"]) == 5
    assert (await rest(market.get_system_status))["status"] == "online"
    assert "XXBT" in await rest(market.get_assets)
    assert "XETHZUSD" in await rest(market.get_recent_trades, pair="ETHUSD")


async def test_orders_and_what_becomes_of_them(world: World) -> None:
    trade, user = Trade(key=KEY, secret=SECRET, url=world.url), User(key=KEY, secret=SECRET, url=world.url)
    placed = await rest(
        trade.create_order, ordertype="limit", side="buy", pair="ETH/USD", volume="0.5", price="2100", timeinforce="IOC",
        cl_ord_id=CLIENT, oflags=["fciq"],
    )  # fmt: skip
    (txid,) = placed["txid"]
    order = world.exchange.order(KEY, client_id=CLIENT)
    assert order is not None
    assert (order.order_id, order.filled) == (number_of(txid), Decimal("0.5"))
    assert (await rest(user.get_orders_info, txid=txid))[txid]["vol_exec"] == "0.50000000"
    assert txid in (await rest(user.get_closed_orders, cl_ord_id=CLIENT))["closed"]
    trades = (await rest(user.get_trades_history))["trades"]
    assert {row["ordertxid"] for row in trades.values()} == {txid}
    assert Decimal((await rest(user.get_account_balance))["XETH"]) == Decimal("0.5")
    balances = await rest(user.get_balances)
    assert Decimal(balances["ZUSD"]["hold_trade"]) == 0
    assert Decimal((await rest(user.get_trade_balance))["eb"]) > 9_900
    assert (await rest(user.get_trade_volume, pair=["XBTUSD", "ETHUSD"]))["fees"]["XXBTZUSD"]["fee"] == "0.4000"
    assert await rest(user.get_open_positions) == []


async def test_resting_orders(world: World) -> None:
    trade, user = Trade(key=KEY, secret=SECRET, url=world.url), User(key=KEY, secret=SECRET, url=world.url)
    order = {"ordertype": "limit", "side": "buy", "pair": "ETHUSD", "volume": "0.5", "price": "1900"}
    first = (await rest(trade.create_order, **order, oflags=["post"]))["txid"][0]
    assert list((await rest(user.get_open_orders))["open"]) == [first]
    await rest(trade.amend_order, txid=first, limit_price="1910")
    assert (await rest(user.get_open_orders))["open"][first]["descr"]["price"] == "1910.00"
    assert (await rest(trade.cancel_order, txid=first))["count"] == 1
    with pytest.raises(KrakenUnknownOrderError):
        await rest(trade.cancel_order, txid=first)
    rows = [{"ordertype": "limit", "type": "buy", "volume": "0.1", "price": "1900"} for _ in range(2)]
    batch = await rest(trade.create_order_batch, orders=rows, pair="ETHUSD")
    assert len(batch["orders"]) == 2
    assert (await rest(trade.cancel_order_batch, orders=[row["txid"] for row in batch["orders"]]))["count"] == 2
    await rest(trade.create_order, **order)
    assert "triggerTime" in await rest(trade.cancel_all_orders_after_x, timeout=60)
    assert (await rest(trade.cancel_all_orders))["count"] == 1


async def test_refusals_are_the_errors_that_the_sdk_knows(world: World) -> None:
    order = {"ordertype": "limit", "side": "buy", "pair": "ETHUSD", "volume": "50", "price": "2100"}
    trade = Trade(key=KEY, secret=SECRET, url=world.url)
    with pytest.raises(KrakenInsufficientFundsError):
        await rest(trade.create_order, **order)
    with pytest.raises(KrakenInvalidAPIKeyError):
        await rest(User(key="stranger", secret=SECRET, url=world.url).get_account_balance)
    with pytest.raises(Exception, match="signature"):
        await rest(User(key=KEY, secret=OTHER_SECRET, url=world.url).get_account_balance)
    await world.call("Balance", nonce=1 << 63)
    with pytest.raises(KrakenInvalidNonceError):
        await rest(trade.cancel_all_orders)


async def test_sockets(world: World) -> None:
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message)

    def rows(channel: str) -> list[Any]:
        return [row for message in heard if message.get("channel") == channel for row in message["data"]]

    client = SpotWSClient(
        key=KEY,
        secret=SECRET,
        callback=hear,
        rest_url=world.url,
        ws_url=world.ws_url,
        auth_ws_url=f"{world.ws_url}/private",
    )
    await client.start()
    try:
        await client.subscribe(params={"channel": "ticker", "symbol": [ETH], "event_trigger": "bbo"})
        await client.subscribe(params={"channel": "book", "symbol": [ETH], "depth": 10})
        await client.subscribe(params={"channel": "executions", "snap_orders": True, "snap_trades": True})
        await client.subscribe(params={"channel": "balances"})
        await eventually(lambda: rows("ticker") and rows("book") and rows("balances"))
        assert rows("ticker")[0]["ask"] == 2000.1
        params = {
            "order_type": "limit", "side": "buy", "symbol": ETH, "order_qty": 0.5, "limit_price": 2100, "cl_ord_id": CLIENT,
            "time_in_force": "ioc",
        }  # fmt: skip
        await client.send_message({"method": "add_order", "params": params, "req_id": 7})
        await eventually(lambda: [row for row in rows("executions") if row["exec_type"] == "filled"])
        (answer,) = [message for message in heard if message.get("req_id") == 7]
        assert answer["success"] is True
        assert world.exchange.position(KEY, ETH).qty == Decimal("0.5")
    finally:
        closing = asyncio.create_task(client.close())
        while not closing.done():  # it waits for a frame on each connection; a broken one is as good
            await asyncio.sleep(0.1)
            world.venue.drop_connections()
        await closing
