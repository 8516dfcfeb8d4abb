"""Account endpoints, settings, market data over REST and rate limits of the sandbox's Aster."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from ops.sandbox.venues._aster_errors import MESSAGE, ApiError, Code
from ops.sandbox.venues._aster_limits import BAN_MS, PATIENCE, Limits
from ops.sandbox.venues._aster_request import Params, parse_form
from tests.ops.sandbox.aster_world import SYMBOLS, USER, World

USER_KEY = USER.lower()
HOUR_MS = 3_600_000


# -- figures ------------------------------------------------------------------------------------------------------------


async def test_balance_account_and_positions_agree() -> None:
    async with World() as world:
        await world.call("POST", "leverage", symbol="BTCUSDT", leverage=10)
        await world.order("SELL", "0.05")
        await world.order("BUY", "0.01", "50000", reduceOnly="true")
        await world.call("POST", "order", symbol="ETHUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1",
                         price="2900")  # fmt: skip
        world.quote("BTC", 61_000.0)
        balance = (await world.call("GET", "balance")).body
        account = (await world.call("GET", "accountWithJoinMargin")).body
        rows = (await world.call("GET", "positionRisk")).body
        assert (await world.call("GET", "account")).body == account
        fee = Decimal("0.05") * 59_994 * Decimal("0.00035")
        wallet = 10_000 - fee
        pnl = Decimal("-0.05") * (61_000 - 59_994)
        assert [row["asset"] for row in balance] == ["USDT"]
        assert Decimal(balance[0]["balance"]) == Decimal(account["totalWalletBalance"]) == wallet
        assert Decimal(balance[0]["crossUnPnl"]) == Decimal(account["totalUnrealizedProfit"]) == pnl
        assert Decimal(account["totalMarginBalance"]) == wallet + pnl
        assert Decimal(account["totalMaintMargin"]) == Decimal("0.05") * 61_000 * Decimal("0.004")
        initial = Decimal("0.05") * 61_000 / 10
        assert Decimal(account["totalPositionInitialMargin"]) == initial
        assert Decimal(account["totalOpenOrderInitialMargin"]) == Decimal(2900) / 20
        assert Decimal(account["availableBalance"]) == wallet + pnl - initial - Decimal(2900) / 20
        assert Decimal(balance[0]["availableBalance"]) == Decimal(account["availableBalance"])
        assert [row["symbol"] for row in account["positions"]] == [row["symbol"] for row in rows]
        assert len(rows) == len(SYMBOLS)
        btc = rows[0]
        assert (btc["positionAmt"], btc["entryPrice"], btc["leverage"]) == ("-0.05", "59994.00000", "10")
        assert (btc["marginType"], btc["positionSide"], btc["notional"]) == ("cross", "BOTH", "-3050.00000000")
        assert Decimal(btc["unRealizedProfit"]) == pnl
        assert Decimal(btc["liquidationPrice"]) > 200_000
        assert rows[1]["positionAmt"] == "0"
        assert rows[1]["liquidationPrice"] == "0"
        one = (await world.call("GET", "positionRisk", symbol="BTCUSDT")).body
        assert one == [btc]


async def test_isolated_position_holds_its_own_margin() -> None:
    async with World() as world:
        assert (await world.call("POST", "marginType", symbol="BTCUSDT", marginType="CROSSED")).code == -4046
        assert (await world.call("POST", "marginType", symbol="BTCUSDT", marginType="isolated")).code == -1130
        assert (await world.call("POST", "positionMargin", symbol="BTCUSDT", amount="1", type=1)).code == -4049
        await world.order("BUY", "0.01", "59000")
        assert (await world.call("POST", "marginType", symbol="BTCUSDT", marginType="ISOLATED")).code == -4047
        await world.call("DELETE", "allOpenOrders", symbol="BTCUSDT")
        changed = await world.call("POST", "marginType", symbol="BTCUSDT", marginType="ISOLATED")
        assert changed.body == {"code": 200, "msg": "success"}
        assert (await world.call("POST", "positionMargin", symbol="BTCUSDT", amount="1", type=1)).code == -4054
        await world.call("POST", "leverage", symbol="BTCUSDT", leverage=10)
        await world.order("BUY", "0.01")
        assert (await world.call("POST", "marginType", symbol="BTCUSDT", marginType="CROSSED")).code == -4048
        row = (await world.call("GET", "positionRisk", symbol="BTCUSDT")).body[0]
        assert (row["marginType"], row["isolatedWallet"]) == ("isolated", "60.00600000")
        added = await world.call("POST", "positionMargin", symbol="BTCUSDT", amount="40", type=1)
        assert added.body == {"amount": 40.0, "code": 200, "msg": "Successfully modify position margin.", "type": 1}
        row = (await world.call("GET", "positionRisk", symbol="BTCUSDT")).body[0]
        assert row["isolatedWallet"] == "100.00600000"
        assert Decimal(row["liquidationPrice"]) > 50_000
        wallet = (await world.call("GET", "balance")).body[0]
        assert Decimal(wallet["balance"]) - Decimal(wallet["crossWalletBalance"]) == Decimal("100.006")
        for amount, kind, code in (
            ("99999", 1, -4050),
            ("90", 2, -4051),
            ("0", 1, -4055),
            ("-5", 1, -4055),
            ("1", 3, -1130),
        ):
            assert (await world.call("POST", "positionMargin", symbol="BTCUSDT", amount=amount, type=kind)).code == code


async def test_leverage_limits() -> None:
    async with World() as world:
        told = await world.call("POST", "leverage", symbol="BTCUSDT", leverage=100)
        assert told.body == {"leverage": 100, "maxNotionalValue": "500000", "symbol": "BTCUSDT"}
        for leverage, code in ((0, -4028), (126, -4028), ("5x", -1100)):
            assert (await world.call("POST", "leverage", symbol="BTCUSDT", leverage=leverage)).code == code
        assert (await world.call("POST", "leverage", symbol="1000PEPEUSDT", leverage=51)).code == -4028
        for _ in range(4):
            world.quote("BTC", 60_000.0, touch_usd=60_000.0)
            await world.order("BUY", "1")
        assert (await world.call("POST", "leverage", symbol="BTCUSDT", leverage=5)).code == -2028
        assert (await world.call("POST", "leverage", symbol="BTCUSDT", leverage=50)).status == 200


async def test_multi_assets_mode_excludes_isolated() -> None:
    async with World() as world:
        assert (await world.call("GET", "multiAssetsMargin")).body == {"multiAssetsMargin": False}
        await world.call("POST", "multiAssetsMargin", multiAssetsMargin="true")
        assert (await world.call("GET", "multiAssetsMargin")).body == {"multiAssetsMargin": True}
        assert (await world.call("POST", "marginType", symbol="BTCUSDT", marginType="ISOLATED")).code == -4168
        await world.call("POST", "multiAssetsMargin", multiAssetsMargin="false")
        await world.call("POST", "marginType", symbol="BTCUSDT", marginType="ISOLATED")
        assert (await world.call("POST", "multiAssetsMargin", multiAssetsMargin="true")).code == -4168


async def test_brackets_commission_and_the_rest_of_the_terms() -> None:
    async with World() as world:
        rows = (await world.call("GET", "leverageBrackets")).body
        assert len(rows) == len(SYMBOLS)
        one = (await world.call("GET", "leverageBracket", symbol="ETHUSDT")).body
        assert one["symbol"] == "ETHUSDT"
        assert one["brackets"][0] == {"bracket": 1, "initialLeverage": 100, "notionalCap": 500000, "notionalFloor": 0,
                                      "maintMarginRatio": 0.005, "cum": 0}  # fmt: skip
        rate = (await world.call("GET", "commissionRate", symbol="BTCUSDT")).body
        assert rate == {"symbol": "BTCUSDT", "makerCommissionRate": "0.0001", "takerCommissionRate": "0.00035"}
        assert (await world.call("GET", "adlQuantile", symbol="BTCUSDT")).body[0]["adlQuantile"]["BOTH"] == 0
        room = await world.call("GET", "remainingOpenableNotionalValue", symbol="BTCUSDT", leverage=10)
        assert room.body["remainingOpenableNotionalValue"] == "-1"


# -- history ------------------------------------------------------------------------------------------------------------


async def test_user_trades_paging_and_windows() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        start_ms = clock.wire_ns() // NS_PER_MS
        for _ in range(3):
            await world.order("BUY", "0.01")
            clock.advance_ns(NS_PER_S)
        trades = (await world.call("GET", "userTrades", symbol="BTCUSDT")).body
        assert set(trades[0]) == {"buyer", "commission", "commissionAsset", "id", "maker", "orderId", "price", "qty",
                                  "quoteQty", "realizedPnl", "side", "positionSide", "symbol", "time"}  # fmt: skip
        ids = [row["id"] for row in trades]

        async def ask(**params: Any) -> list[int]:
            rows = (await world.call("GET", "userTrades", symbol="BTCUSDT", **params)).body
            return [row["id"] for row in rows]

        assert await ask(limit=2) == ids[1:]
        assert await ask(fromId=ids[1]) == ids[1:]
        assert await ask(fromId=ids[0], limit=1) == ids[:1]
        assert await ask(startTime=start_ms + 500) == ids[1:]
        assert await ask(endTime=start_ms + 500) == ids[:1]
        bad = await world.call("GET", "userTrades", symbol="BTCUSDT", fromId=1, startTime=1)
        assert bad.code == -1128
        assert (await world.call("GET", "userTrades")).code == -1102
        clock.advance_ns(8 * 24 * 3600 * NS_PER_S)
        assert await ask() == []
        assert await ask(fromId=0) == ids


async def test_income_tells_funding_commission_and_profit_with_signs() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        world.exchange.housekeep()
        await world.call("POST", "order", symbol="HYPEUSDT", side="BUY", type="MARKET", quantity="10")
        for _ in range(5):
            clock.advance_ns(3600 * NS_PER_S)
            world.exchange.housekeep()
        await world.call("POST", "order", symbol="HYPEUSDT", side="SELL", type="MARKET", quantity="10")
        rows = (await world.call("GET", "income", symbol="HYPEUSDT")).body
        by_type: dict[str, list[Decimal]] = {}
        for row in rows:
            assert row["asset"] == "USDT"
            by_type.setdefault(row["incomeType"], []).append(Decimal(row["income"]))
        assert set(by_type) == {"COMMISSION", "FUNDING_FEE", "REALIZED_PNL"}
        assert sum(by_type["FUNDING_FEE"]) == sum(payment.cash for payment in world.exchange.payments(USER_KEY)) < 0
        assert sum(by_type["COMMISSION"]) < 0
        funding = (await world.call("GET", "income", incomeType="FUNDING_FEE")).body
        assert funding[0]["time"] % (4 * HOUR_MS) == 0
        assert sum(Decimal(row["income"]) for row in rows) == Decimal(
            (await world.call("GET", "balance")).body[0]["balance"]
        ) - Decimal(10_000)
        assert (await world.call("GET", "income", incomeType="GIFT")).code == -1130
        assert len((await world.call("GET", "income", limit=1)).body) == 1


async def test_account_survives_a_restart_whole() -> None:
    async with World() as before:
        await before.call("POST", "leverage", symbol="BTCUSDT", leverage=7)
        await before.order("BUY", "0.01")
        await before.order("BUY", "0.01", "59000", newClientOrderId="kept")
        await before.call("POST", "stpMode", stpMode="EXPIRE_BOTH")
        figures = (await before.call("GET", "accountWithJoinMargin")).body
    async with World(log=before.transactions) as after:
        assert (await after.call("GET", "accountWithJoinMargin")).body == figures
        assert (await after.call("GET", "openOrders", symbol="BTCUSDT")).body[0]["clientOrderId"] == "kept"
        assert (await after.call("GET", "stpMode")).body == {"stpMode": "EXPIRE_BOTH"}
        assert len((await after.call("GET", "userTrades", symbol="BTCUSDT")).body) == 1
        assert (await after.order("BUY", "0.01", "58000", newClientOrderId="kept")).code == -4116


# -- public REST --------------------------------------------------------------------------------------------------------


async def test_exchange_info_and_tickers() -> None:
    async with World() as world:
        info = (await world.get("/fapi/v3/exchangeInfo")).body
        assert [row["symbol"] for row in info["symbols"]] == [
            "BTCUSDT", "ETHUSDT", "SOLUSDT", "HYPEUSDT", "PAXGUSDT", "1000PEPEUSDT",
        ]  # fmt: skip
        filters = {row["filterType"]: row for row in info["symbols"][5]["filters"]}
        assert filters["PRICE_FILTER"]["tickSize"] == "0.0000001"
        assert filters["LOT_SIZE"]["stepSize"] == "1"
        assert filters["MIN_NOTIONAL"]["notional"] == "5"
        assert {row["rateLimitType"]: row["limit"] for row in info["rateLimits"]} == {
            "REQUEST_WEIGHT": 2400,
            "ORDERS": 1200,
        }
        assert abs((await world.get("/fapi/v3/time")).body["serverTime"] - world.clock.wire_ns() // NS_PER_MS) < 5_000
        assert (await world.get("/fapi/v3/ping")).body == {}
        one = (await world.get("/fapi/v3/ticker/bookTicker", symbol="1000PEPEUSDT")).body
        assert (one["bidPrice"], one["askPrice"]) == ("0.009999", "0.010001")
        assert len((await world.get("/fapi/v3/ticker/bookTicker")).body) == len(SYMBOLS)
        assert (await world.get("/fapi/v3/ticker/price", symbol="BTCUSDT")).body["price"] == "60000"
        day = (await world.get("/fapi/v3/ticker/24hr", symbol="BTCUSDT")).body
        assert float(day["quoteVolume"]) > 1_000_000
        depth = (await world.get("/fapi/v3/depth", symbol="BTCUSDT", limit=5)).body
        assert [len(depth["bids"]), len(depth["asks"])] == [5, 5]
        assert (await world.get("/fapi/v3/depth", symbol="BTCUSDT", limit=7)).code == -4021
        assert (await world.get("/fapi/v3/depth", symbol="NOPE")).code == -1121
        assert (await world.get("/fapi/v3/depth")).code == -1102
        world.quote("BTC", 60_000.0, print_usd=600.0)
        trade = (await world.get("/fapi/v3/trades", symbol="BTCUSDT")).body[-1]
        assert (trade["price"], trade["isBuyerMaker"]) == ("60006", False)
        aggregate = (await world.get("/fapi/v3/aggTrades", symbol="BTCUSDT")).body[-1]
        assert (aggregate["p"], aggregate["a"]) == ("60006", trade["id"])


async def test_users_orders_stand_in_the_public_book() -> None:
    async with World() as world:
        await world.order("BUY", "0.02", "60001")
        depth = (await world.get("/fapi/v3/depth", symbol="BTCUSDT", limit=5)).body
        assert depth["bids"][0] == ["60001", "0.02"]
        assert (await world.get("/fapi/v3/ticker/bookTicker", symbol="BTCUSDT")).body["bidPrice"] == "60001"


async def test_funding_endpoints() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        premium = (await world.get("/fapi/v3/premiumIndex", symbol="HYPEUSDT")).body
        assert premium["markPrice"] == "40.00000000"
        assert premium["nextFundingTime"] % (4 * HOUR_MS) == 0
        assert premium["nextFundingTime"] > clock.calendar_ns() // NS_PER_MS
        assert len((await world.get("/fapi/v3/premiumIndex")).body) == len(SYMBOLS)
        rows = {row["symbol"]: row for row in (await world.get("/fapi/v3/fundingInfo")).body}
        assert (rows["BTCUSDT"]["fundingIntervalHours"], rows["1000PEPEUSDT"]["fundingIntervalHours"]) == (8, 4)
        assert rows["BTCUSDT"]["fundingFeeCap"] == 0.03
        assert len((await world.get("/fapi/v3/fundingInfo", symbol="BTCUSDT")).body) == 1

        async def history(**params: Any) -> list[int]:
            found = (await world.get("/fapi/v3/fundingRate", symbol="HYPEUSDT", **params)).body
            return [row["fundingTime"] for row in found]

        everything = await history(limit=1000)
        assert len(everything) == 180  # 30 days of six settlements
        assert {b - a for a, b in itertools.pairwise(everything)} == {4 * HOUR_MS}
        assert await history() == everything[-100:]
        assert await history(startTime=everything[3], limit=2) == everything[3:5]
        assert await history(startTime=everything[3], endTime=everything[5]) == everything[3:6]


# -- limits and parameters ----------------------------------------------------------------------------------------------


async def test_weights_are_told_and_their_breach_is_429_then_418() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        first = await world.get("/fapi/v3/depth", symbol="BTCUSDT", limit=1000)
        assert first.headers["X-MBX-USED-WEIGHT-1M"] == "20"
        second = await world.get("/fapi/v3/ticker/24hr")
        assert second.headers["X-MBX-USED-WEIGHT-1M"] == "60"
        world.venue.limits.weight_max = 65
        signed = await world.call("GET", "balance")
        assert signed.headers["X-MBX-USED-WEIGHT-1M"] == "65"
        assert signed.headers["X-MBX-ORDER-COUNT-1M"] == "0"
        breach = await world.get("/fapi/v3/ping")
        assert (breach.status, breach.code) == (429, -1003)
        assert 1 <= int(breach.headers["Retry-After"]) <= 60
        for _ in range(PATIENCE):
            answer = await world.get("/fapi/v3/ping")
        assert (answer.status, answer.code) == (418, -1003)
        clock.advance_ns(60 * NS_PER_S)
        assert (await world.get("/fapi/v3/ping")).status == 418
        clock.advance_ns(60 * NS_PER_S)
        assert (await world.get("/fapi/v3/ping")).status == 200


async def test_order_count_is_per_account_and_batches_count_each() -> None:
    async with World(clock=SimClock()) as world:
        world.venue.limits.orders_max = 3
        assert (await world.order("BUY", "0.01", "59000")).headers["X-MBX-ORDER-COUNT-1M"] == "1"
        await world.call("POST", "batchOrders", batchOrders="[{},{}]")
        refused = await world.order("BUY", "0.01", "59000")
        assert (refused.status, refused.code) == (429, -1015)
        assert len(world.exchange.open_orders(USER_KEY)) == 1
        assert (await world.call("DELETE", "allOpenOrders", symbol="BTCUSDT")).status == 200


def test_limits_roll_with_the_minute_and_bans_grow() -> None:
    limits = Limits(weight_max=10, orders_max=2)
    limits.charge("a", 10, 0)
    limits.charge("b", 10, 0)
    with pytest.raises(ApiError) as caught:
        limits.charge("a", 1, 59_999)
    assert caught.value.status == 429
    limits.charge("a", 1, 60_000)
    now = 60_000
    for ban in (BAN_MS, 2 * BAN_MS):
        with pytest.raises(ApiError):
            limits.charge("a", 100, now)
        for _ in range(PATIENCE):
            with pytest.raises(ApiError) as caught:
                limits.charge("a", 1, now)
        assert caught.value.status == 418
        with pytest.raises(ApiError):
            limits.charge("a", 1, now + ban - 1)
        now += ban
        limits.charge("a", 1, now)
    assert limits.retry_after_s(59_001) == 1
    assert limits.retry_after_s(0) == 60


def test_forms_are_read_once_and_names_checked() -> None:
    form = parse_form("a=1&b=x%20y&signature=0x12&c=%5B%22q%22%5D", "")
    assert form.signed_text == "a=1&b=x%20y&c=%5B%22q%22%5D"
    assert form.values == {"a": "1", "b": "x y", "signature": "0x12", "c": '["q"]'}
    assert parse_form("a=1", "b=2").signed_text == "a=1&b=2"
    assert parse_form("", "").values == {}
    for text, code in (("a=1&a=2", -1101), ("a=%ff", -1100)):
        with pytest.raises(ApiError) as caught:
            parse_form(text, "")
        assert caught.value.code == code
    params = Params({"symbol": "X", "odd": "1", "nonce": "1"})
    with pytest.raises(ApiError) as caught:
        params.check_names(("symbol",), ())
    assert caught.value.body() == {"code": -1106, "msg": "Parameter 'odd' sent when not required."}
    params.check_names(("symbol",), ("odd",))


def test_every_code_has_its_words() -> None:
    assert set(MESSAGE) == set(Code)
    assert all(code < 0 for code in Code)
