"""ccxt's aster client, unchanged, against the sandbox: somebody else's reading of the same API.

`builderFee` is off, as docs/venues/aster.md 11 demands; one test leaves it on to see what it costs. ccxt's nonces have
millisecond grain, so calls are kept two milliseconds apart. Its watch_orders, watch_my_trades and watch_balance refuse
every call in 4.5.90 (they test a market type that they have just set to None); watch_positions opens the same user stream
and fills the same caches, so those are read instead.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import ccxt
import ccxt.pro
import pytest

from tests.ops.sandbox.aster_world import AGENT, AGENT_KEY, MAIN_KEY, USER, World

BTC = "BTC/USDT:USDT"
PEPE = "1000PEPE/USDT:USDT"


class Client:
    """ccxt with its calls kept apart."""

    def __init__(self, world: World, key: str = MAIN_KEY, **options: Any) -> None:
        defaults = {"builderFee": False, "v3ChainId": 714, "defaultType": "swap"}
        self.ccxt: Any = ccxt.pro.aster({"privateKey": key, "enableRateLimit": False, "options": defaults | options})
        socket = f"ws://127.0.0.1:{world.port}/fstream"
        self.ccxt.urls["api"] = {
            "fapiPublic": world.url + "/fapi",
            "fapiPrivate": world.url + "/fapi",
            "sapiPublic": world.url + "/api",
            "sapiPrivate": world.url + "/api",
            "ws": {
                "public": {"swap": socket + "/stream", "spot": socket + "/stream"},
                "private": {"swap": socket + "/ws", "spot": socket + "/ws"},
            },
        }

    async def __call__(self, method: str, *arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(0.002)
        return await asyncio.wait_for(getattr(self.ccxt, method)(*arguments, **named), 10)


@contextlib.asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[World, Client]]:
    async with World() as world:
        client = Client(world, **options)
        try:
            yield world, client
        finally:
            await client.ccxt.close()


async def eventually(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def moving(world: World) -> None:
    """A market that steps, and the venue's periodic work."""
    mid = 60_000.0
    while True:
        mid += 3.0
        world.quote("BTC", mid, print_usd=500.0)
        world.venue.tick()
        await asyncio.sleep(0.02)


async def test_market_data() -> None:
    async with connected() as (_, client):
        markets = await client("load_markets")
        assert list(markets) == [BTC, "ETH/USDT:USDT", "SOL/USDT:USDT", "HYPE/USDT:USDT", "PAXG/USDT:USDT", PEPE]
        assert markets[BTC]["precision"]["price"] == 0.1
        assert markets[BTC]["precision"]["amount"] == 0.001
        assert markets[BTC]["limits"]["cost"]["min"] == 5
        assert markets[PEPE]["id"] == "1000PEPEUSDT"
        assert markets[PEPE]["active"]
        ticker = await client("fetch_ticker", BTC)
        assert ticker["last"] == 60_000.0
        assert (await client("fetch_tickers"))[PEPE]["last"] == 0.01
        book = await client("fetch_order_book", BTC, 5)
        assert (len(book["bids"]), len(book["asks"])) == (5, 5)
        assert book["bids"][0][0] == 59_994.0
        assert book["asks"][0][0] == 60_006.0
        assert (await client("fetch_bids_asks"))[BTC]["ask"] == 60_006.0
        rate = await client("fetch_funding_rate", "HYPE/USDT:USDT")
        assert rate["fundingRate"] == pytest.approx(0.00008, rel=0.07)
        assert rate["nextFundingTimestamp"] % 14_400_000 == 0
        intervals = await client("fetch_funding_intervals")
        assert intervals[BTC]["interval"] == "8h"
        assert intervals["HYPE/USDT:USDT"]["interval"] == "4h"
        history = await client("fetch_funding_rate_history", BTC, limit=3)
        assert [row["fundingRate"] for row in history] == [0.0001, 0.0001, 0.0001]
        assert history[1]["timestamp"] - history[0]["timestamp"] == 8 * 3_600_000


async def test_account_and_settings() -> None:
    async with connected() as (_, client):
        balance = await client("fetch_balance")
        assert balance["USDT"] == {"free": 10_000.0, "used": 0.0, "total": 10_000.0}
        assert await client("fetch_positions") == []
        assert (await client("set_leverage", 5, BTC))["leverage"] == 5
        assert (await client("fetch_leverages"))[BTC]["longLeverage"] == 5
        fee = await client("fetch_trading_fee", BTC)
        assert (fee["maker"], fee["taker"]) == (0.0001, 0.00035)
        assert (await client("set_margin_mode", "isolated", BTC))["msg"] == "success"
        with pytest.raises(ccxt.NoChange):
            await client("set_margin_mode", "isolated", BTC)
        assert (await client("fetch_position_mode"))["hedged"] is False


async def test_orders_through_their_lives() -> None:
    async with connected() as (_, client):
        resting = await client("create_order", BTC, "limit", "buy", 0.01, 59_000.0, {"clientOrderId": "mine-1"})
        assert (resting["status"], resting["clientOrderId"]) == ("open", "mine-1")
        assert (await client("fetch_order", resting["id"], BTC))["remaining"] == 0.01
        assert [row["id"] for row in await client("fetch_open_orders", BTC)] == [resting["id"]]
        assert (await client("cancel_order", resting["id"], BTC))["status"] == "canceled"
        with pytest.raises(ccxt.ExchangeError, match="-2011"):
            await client("cancel_order", resting["id"], BTC)

        result = {"newOrderRespType": "RESULT"}
        taken = await client("create_order", BTC, "limit", "buy", 0.02, 60_100.0, {"timeInForce": "IOC", **result})
        assert (taken["status"], taken["filled"], taken["average"]) == ("closed", 0.02, 60_006.0)
        missed = await client("create_order", BTC, "limit", "buy", 0.02, 59_000.0, {"timeInForce": "IOC", **result})
        assert (missed["info"]["status"], missed["filled"]) == ("EXPIRED", 0.0)
        partial = await client("create_order", BTC, "limit", "buy", 0.2, 60_006.0, {"timeInForce": "IOC", **result})
        assert partial["info"]["status"] == "EXPIRED"
        assert 0 < partial["filled"] < 0.2
        acknowledged = await client("create_order", BTC, "market", "buy", 0.01)
        assert (acknowledged["info"]["status"], acknowledged["filled"]) == ("NEW", 0.0)

        maker = await client("create_order", BTC, "limit", "buy", 0.01, 59_000.0, {"timeInForce": "GTX"})
        assert maker["status"] == "open"
        with pytest.raises(ccxt.ExchangeError, match="-5022"):
            await client("create_order", BTC, "limit", "buy", 0.01, 61_000.0, {"timeInForce": "GTX"})

        position = (await client("fetch_positions", [BTC]))[0]
        assert position["side"] == "long"
        held = position["contracts"]
        assert held == pytest.approx(0.03 + partial["filled"])
        closing = await client(
            "create_order", BTC, "limit", "sell", 1.0, 59_900.0, {"timeInForce": "IOC", "reduceOnly": "true", **result}
        )
        assert closing["reduceOnly"] is True
        assert closing["filled"] == pytest.approx(held)
        assert await client("fetch_positions", [BTC]) == []
        with pytest.raises(ccxt.ExchangeError, match="-2022"):
            await client("create_order", BTC, "market", "sell", 0.01, None, {"reduceOnly": "true"})

        assert (await client("cancel_all_orders", BTC))[0]["info"]["code"] == "200"
        assert await client("fetch_open_orders", BTC) == []
        trades = await client("fetch_my_trades", BTC)
        assert sum(row["amount"] * (1 if row["side"] == "buy" else -1) for row in trades) == pytest.approx(0)
        assert {row["takerOrMaker"] for row in trades} == {"taker"}
        kinds = {row["type"] for row in await client("fetch_ledger")}
        assert kinds >= {"commission"}


async def test_batch_and_thousands() -> None:
    async with connected() as (_, client):
        orders = await client(
            "create_orders",
            [
                {"symbol": PEPE, "type": "limit", "side": "buy", "amount": 10_000, "price": 0.0099},
                {"symbol": PEPE, "type": "limit", "side": "buy", "amount": 100, "price": 0.0099},
            ],
        )
        assert orders[0]["status"] == "open"
        assert orders[1]["info"]["code"] == -4164
        listed = await client("fetch_open_orders", PEPE)
        assert [(row["symbol"], row["amount"], row["price"]) for row in listed] == [(PEPE, 10_000.0, 0.0099)]


async def test_agent_key_with_signer_option() -> None:
    async with connected(key=AGENT_KEY, signerAddress=AGENT) as (_, client):
        balance = await client("fetch_balance", params={"user": USER})
        assert balance["USDT"]["total"] == 10_000.0
        with pytest.raises(ccxt.ExchangeError, match="-5050"):  # the agent's own wallet holds no money
            await client("fetch_balance")


async def test_builder_fee_left_on_costs_ten_basis_points() -> None:
    async with connected(builderFee=True) as (_, client):
        await client("create_order", BTC, "market", "buy", 0.01)
        trade = (await client("fetch_my_trades", BTC))[0]
        assert float(trade["info"]["commission"]) == pytest.approx(-trade["cost"] * 0.00135)


async def test_watch_public() -> None:
    async with connected() as (world, client):
        mover = asyncio.create_task(moving(world))
        try:
            quote = (await client("watch_bids_asks", [BTC]))[BTC]
            assert quote["bid"] < quote["ask"]
            book = await client("watch_order_book", BTC, 10)
            assert (len(book["bids"]), len(book["asks"])) == (10, 10)
            assert book["bids"][0][0] < book["asks"][0][0]
            assert (await client("watch_trades", BTC))[0]["symbol"] == BTC
            assert (await client("watch_mark_price", BTC))["symbol"] == BTC
            assert (await client("watch_ticker", BTC))["symbol"] == BTC
        finally:
            mover.cancel()


async def test_watch_private() -> None:
    async with connected(watchPositions={"fetchPositionsSnapshot": False}) as (world, client):
        await client("load_markets")
        client.ccxt.balance["swap"] = {}  # what its broken watch_balance would have prepared
        watching = asyncio.create_task(client("watch_positions", [BTC]))
        await eventually(lambda: world.venue.hub._listeners)
        await client("create_order", BTC, "limit", "buy", 0.01, 59_000.0, {"clientOrderId": "resting"})
        await client(
            "create_order", BTC, "limit", "buy", 0.2, 60_006.0, {"timeInForce": "IOC", "clientOrderId": "taken"}
        )
        position = await watching
        await eventually(lambda: client.ccxt.orders is not None and len(client.ccxt.orders) == 2)
        orders = {row["clientOrderId"]: row for row in client.ccxt.orders}
        assert orders["resting"]["status"] == "open"
        assert orders["taken"]["info"]["X"] == "EXPIRED"
        trades = list(client.ccxt.myTrades)
        filled = sum(row["amount"] for row in trades)
        assert 0 < filled < 0.2
        assert orders["taken"]["filled"] == pytest.approx(filled)
        assert (position["symbol"], position["side"]) == (BTC, "long")
        assert position["contracts"] == pytest.approx(filled)
        assert client.ccxt.balance["swap"]["USDT"]["total"] < 10_000.0
