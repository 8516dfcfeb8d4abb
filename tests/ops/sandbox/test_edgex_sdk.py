"""The official edgex-python-sdk, unchanged, against the sandbox: what it can do, and that both agree on the numbers."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from edgex_sdk import Client
from edgex_sdk.account.client import GetPositionTransactionPageParams
from edgex_sdk.order.types import (
    CancelOrderParams,
    CreateOrderParams,
    GetActiveOrderParams,
    GetHistoryOrderPageParams,
    OrderFillTransactionParams,
    OrderSide,
    OrderType,
    TimeInForce,
)
from edgex_sdk.quote.client import GetMarketStatusParams, GetOrderBookDepthParams
from edgex_sdk.ws.manager import Manager

from core.types import Side
from core.types import TimeInForce as Tif
from tests.ops.sandbox.edgex_world import ACCOUNT, BTC, KEY, VALUES, AheadClock, World

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def data(answer: dict[str, Any]) -> Any:
    assert answer["code"] == "SUCCESS", answer
    return answer["data"]


async def row(world: World, order_id: str) -> dict[str, Any]:
    (found,) = data(await world.sdk.order.get_orders_by_id([order_id]))
    return dict(found)


async def limit(world: World, side: OrderSide, px: str, size: str = "0.01", **more: Any) -> str:
    tif = more.pop("tif", TimeInForce.IMMEDIATE_OR_CANCEL)
    answer = await world.sdk.create_limit_order(BTC, size, px, side, time_in_force=tif, **more)
    return str(data(answer)["orderId"])


async def test_a_limit_order_fills_and_every_read_agrees(world: World) -> None:
    order_id = await limit(world, OrderSide.BUY, "60100", client_order_id="bot-a-0001")
    order = await row(world, order_id)
    assert (order["status"], order["cumFillSize"], order["clientOrderId"]) == ("FILLED", "0.01", "bot-a-0001")
    (same,) = data(await world.sdk.order.get_orders_by_client_order_id(["bot-a-0001"]))
    assert same == order
    page = data(
        await world.sdk.get_order_fill_transactions(OrderFillTransactionParams(filter_order_id_list=[order_id]))
    )
    (fill,) = page["dataList"]
    assert page["nextPageOffsetData"] == ""
    assert (fill["fillPrice"], fill["fillSize"], fill["direction"], fill["orderSide"]) == (
        "60006",
        "0.01",
        "TAKER",
        "BUY",
    )
    assert Decimal(fill["fillFee"]) == Decimal("600.06") * Decimal("0.00045")
    assert Decimal(fill["realizePnl"]) == -Decimal(fill["fillFee"])
    asset = data(await world.sdk.get_account_asset())
    (position,) = asset["positionList"]
    assert (position["contractId"], position["openSize"]) == (BTC, "0.01")
    (model,) = asset["collateralAssetModelList"]
    margin = world.exchange.margin(ACCOUNT)
    assert Decimal(model["totalEquity"]) == margin.equity
    assert Decimal(model["starkExRiskValue"]) == margin.maintenance
    assert Decimal(asset["collateralList"][0]["amount"]) == Decimal("10000") - Decimal("600.06") - Decimal(
        fill["fillFee"]
    )
    assert data(await world.sdk.account.get_position_by_contract_id([BTC])) == asset["positionList"]


async def test_market_orders_are_signed_for_their_worst_price(world: World) -> None:
    bought = data(await world.sdk.create_market_order(BTC, "0.02", OrderSide.BUY))["orderId"]
    assert (await row(world, bought))["status"] == "FILLED"
    sold = data(await world.sdk.create_market_order(BTC, "0.02", OrderSide.SELL, reduce_only=True))["orderId"]
    assert (await row(world, sold))["status"] == "FILLED"
    assert not data(await world.sdk.get_account_asset())["positionList"]


async def test_resting_orders_are_listed_paged_and_cancelled(world: World) -> None:
    ids = [
        await limit(world, OrderSide.BUY, f"5990{n}", tif="GOOD_TIL_CANCEL", client_order_id=f"c{n}") for n in range(3)
    ]
    page = data(await world.sdk.get_active_orders(GetActiveOrderParams(size="2")))
    assert [each["id"] for each in page["dataList"]] == [ids[2], ids[1]]
    rest = data(
        await world.sdk.get_active_orders(GetActiveOrderParams(size="2", offset_data=page["nextPageOffsetData"]))
    )
    assert ([each["id"] for each in rest["dataList"]], rest["nextPageOffsetData"]) == ([ids[0]], "")
    ended = data(await world.sdk.cancel_order(CancelOrderParams(order_id=ids[0])))
    assert ended == {"cancelResultMap": {ids[0]: "SUCCESS"}}
    again = data(await world.sdk.order.cancel_order_by_client_order_id(["c0", "c1"]))
    assert again == {"cancelResultMap": {"c0": "ORDER_NOT_FOUND", "c1": "SUCCESS"}}
    assert data(await world.sdk.cancel_order(CancelOrderParams(contract_id=BTC)))["cancelResultMap"] == {
        ids[2]: "SUCCESS"
    }
    history = data(await world.sdk.order.get_history_order_page(GetHistoryOrderPageParams(size=100)))
    assert {each["cancelReason"] for each in history["dataList"]} == {"USER_CANCELED"}
    assert len(history["dataList"]) == 3


async def test_a_refusal_of_the_book_is_an_accepted_order_that_ends_canceled(world: World) -> None:
    cases = {
        "COULD_NOT_FILL": limit(world, OrderSide.BUY, "59000"),
        "MARGIN_NOT_ENOUGH": limit(world, OrderSide.BUY, "60100", size="50"),
        "REDUCE_ONLY_CANCELED": limit(world, OrderSide.SELL, "59000", reduce_only=True),
    }
    for reason, placing in cases.items():
        order = await row(world, await placing)
        assert (order["status"], order["cancelReason"], order["cumFillSize"]) == ("CANCELED", reason, "0")
    crossing = await row(world, await limit(world, OrderSide.BUY, "60100", tif="POST_ONLY"))
    assert (crossing["status"], crossing["cancelReason"]) == ("CANCELED", "COULD_NOT_FILL")
    partial = await row(world, await limit(world, OrderSide.BUY, "60007", size="1"))
    assert (partial["status"], partial["cancelReason"]) == ("CANCELED", "COULD_NOT_FILL")
    assert 0 < Decimal(partial["cumFillSize"]) < 1


async def test_leverage_is_set_read_back_and_blocked_by_orders(world: World) -> None:
    assert data(await world.sdk.account.update_leverage_setting(BTC, "5")) is None
    settings = data(await world.sdk.account.get_account_by_id())["contractIdToTradeSetting"]
    assert (settings[BTC]["isSetMaxLeverage"], settings[BTC]["maxLeverage"]) == (True, "5")
    await limit(world, OrderSide.BUY, "59000", tif="GOOD_TIL_CANCEL")
    assert (await world.sdk.account.update_leverage_setting(BTC, "7"))["code"] == "ACCOUNT_UPDATE_LEVERAGE_FAILED_ORDER"
    assert (await world.sdk.account.update_leverage_setting("30000002", "500"))["code"] == "INVALID_PARAMETER"


async def test_public_reads(world: World) -> None:
    metadata = data(await world.sdk.get_metadata())
    assert {each["contractName"] for each in metadata["contractList"]} >= {"BTCUSDC", "1000PEPEUSDC"}
    assert data(await world.sdk.get_server_time())["timeMillis"].isdecimal()
    (ticker,) = data(await world.sdk.get_24_hour_quote(BTC))
    assert (ticker["contractName"], Decimal(ticker["markPrice"])) == ("BTCUSDC", 60000)
    assert "bestAskPrice" not in ticker
    (depth,) = data(await world.sdk.quote.get_order_book_depth(GetOrderBookDepthParams(BTC, 15)))
    assert (depth["asks"][0]["price"], depth["bids"][0]["price"]) == ("60006", "59994")
    wrong = await world.sdk.quote.get_order_book_depth(GetOrderBookDepthParams(BTC))  # its default of 50 is invalid
    assert wrong["code"] == "INVALID_DEPTH_LEVEL"
    (status,) = data(await world.sdk.quote.get_market_status(GetMarketStatusParams(BTC)))
    assert (status["limitLowPrice"], status["limitHighPrice"]) == ("48000", "72000")
    size = data(await world.sdk.get_max_order_size(BTC, Decimal(60000)))
    assert Decimal(size["maxBuySize"]) == Decimal("1.666")


async def test_funding_is_announced_settled_and_paid() -> None:
    clock = AheadClock(1)
    async with World(clock) as world:
        world.exchange.housekeep()
        placed = world.exchange.place(ACCOUNT, "BTCUSDC", Side.BUY, Decimal("0.1"), Decimal(60100), Tif.IOC)
        assert placed.order.filled == Decimal("0.1")
        (now,) = data(await world.sdk.funding.get_latest_funding_rate([BTC]))
        assert (now["isSettlement"], now["fundingRateIntervalMin"]) == (False, "240")
        page = data(
            await world.sdk.funding.get_funding_rate_page("100", contract_id=BTC, filter_settlement_funding_rate=True)
        )
        times = [int(each["fundingTime"]) for each in page["dataList"]]
        assert times == sorted(times, reverse=True)
        assert {later - earlier for later, earlier in itertools.pairwise(times)} == {4 * 3_600_000}
        assert times[0] == int(now["fundingTime"])
        clock.at_ns += 4 * 3600 * 10**9
        world.exchange.housekeep()
        params = GetPositionTransactionPageParams(size="100", filter_type_list=["SETTLE_FUNDING_FEE"])
        answer = await world.sdk.account.get_position_transaction_page(params)
        (paid,) = data(answer)["dataList"]
        assert (paid["fundingTime"], paid["fundingPositionSize"]) == (str(times[0] + 4 * 3_600_000), "0.1")
        assert Decimal(paid["deltaFundingFee"]) == Decimal("-0.3")  # 0.1 x 60000 x 0.00005
        assert Decimal(paid["fundingRate"]) == Decimal("0.00005")


async def test_wrong_keys_are_refused(world: World) -> None:
    wrong = Client(
        base_url=world.url, account_id=int(ACCOUNT), api_key=VALUES["EDGEX_API_KEY"], api_secret=VALUES["EDGEX_API_SECRET"],
        api_passphrase=VALUES["EDGEX_API_PASSPHRASE"], trading_private_key="0x" + "07" * 32,
    )  # fmt: skip
    params = CreateOrderParams(BTC, "60100", "0.01", OrderType.LIMIT, OrderSide.BUY)
    try:
        assert (await wrong.create_order(params))["code"] == "SIGNATURE_ERROR"
        wrong.async_client.trading_private_key = KEY
        wrong.async_client.api_secret = "another"
        assert (await wrong.create_order(params))["code"] == "SIGNATURE_ERROR"
        wrong.async_client.api_key = "nobody"
        with pytest.raises(ValueError, match="INVALID_API_KEY"):
            await wrong.create_order(params)
    finally:
        await wrong.close()
    assert not world.exchange.orders(ACCOUNT)


class Heard:
    """What the SDK's WebSocket threads delivered."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def __call__(self, message: str) -> None:
        with self._lock:
            self.messages.append(json.loads(message))

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        async with asyncio.timeout(5.0):
            while True:
                with self._lock:
                    found = [message for message in self.messages if wanted(message)]
                if found:
                    return found[0]
                await asyncio.sleep(0.01)


async def test_its_sockets_hear_books_tickers_and_the_account(world: World) -> None:
    heard = Heard()
    manager = Manager(
        f"ws://127.0.0.1:{world.port}", int(ACCOUNT), api_key=VALUES["EDGEX_API_KEY"],
        api_passphrase=VALUES["EDGEX_API_PASSPHRASE"], api_secret=VALUES["EDGEX_API_SECRET"],
    )  # fmt: skip
    try:
        await asyncio.to_thread(manager.connect_public)
        await asyncio.to_thread(manager.subscribe_depth, BTC, heard)
        await heard.until(lambda m: m["content"]["data"][0]["depthType"] == "SNAPSHOT")
        world.quote("BTC", 60_100.0)
        await heard.until(lambda m: m["content"]["data"][0]["depthType"] == "CHANGED")
        await asyncio.to_thread(manager.subscribe_ticker_all_1s, heard)
        first = await heard.until(lambda m: m["channel"] == "ticker.all.1s")
        assert len(first["content"]["data"]) == 6
        manager.subscribe_order_update(heard)
        await asyncio.to_thread(manager.connect_private)
        order_id = await limit(world, OrderSide.BUY, "60200")
        event = await heard.until(
            lambda m: m["type"] == "trade-event" and [o["status"] for o in m["content"]["data"]["order"]] == ["FILLED"]
        )
        assert event["content"]["data"]["orderFillTransaction"][0]["orderId"] == order_id
    finally:
        await asyncio.to_thread(manager.disconnect_all)
