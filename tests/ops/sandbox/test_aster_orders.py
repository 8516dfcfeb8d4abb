"""Order entry against docs/venues/aster.md 2, 7 and 10: filters, times in force, answers, cancels, modes."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S, SimClock
from core.types import Side, TimeInForce
from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_listing import listings
from ops.sandbox.venues._aster_tickets import Ticket, check_filters
from tests.ops.sandbox.aster_world import MAIN_KEY, SYMBOLS, USER, World

USER_KEY = USER.lower()


# -- answers ------------------------------------------------------------------------------------------------------------


async def test_resting_order_answers_the_documented_shape() -> None:
    async with World() as world:
        placed = (await world.order("BUY", "0.010", "59000.0", newClientOrderId="a-000001")).body
        assert set(placed) == {
            "clientOrderId", "cumQty", "cumQuote", "executedQty", "orderId", "avgPrice", "origQty", "price",
            "reduceOnly", "side", "positionSide", "status", "stopPrice", "closePosition", "symbol", "timeInForce",
            "type", "origType", "updateTime", "workingType", "priceProtect",
        }  # fmt: skip
        assert placed["clientOrderId"] == "a-000001"
        assert (placed["status"], placed["executedQty"], placed["avgPrice"]) == ("NEW", "0", "0.00000")
        assert (placed["price"], placed["origQty"], placed["timeInForce"]) == ("59000", "0.01", "GTC")
        queried = (await world.call("GET", "order", symbol="BTCUSDT", origClientOrderId="a-000001")).body
        assert queried["time"] == queried["updateTime"]
        assert queried["orderId"] == placed["orderId"]


async def test_ack_never_tells_a_fill_and_result_does() -> None:
    async with World() as world:
        for more in ({"newOrderRespType": "ACK"}, {"newOrderRespType": None}):
            told = (await world.order("BUY", "0.01", "60100", timeInForce="IOC", **more)).body
            assert (told["status"], told["executedQty"], told["avgPrice"]) == ("NEW", "0", "0.00000")
            truth = (await world.call("GET", "order", symbol="BTCUSDT", orderId=told["orderId"])).body
            assert (truth["status"], truth["executedQty"]) == ("FILLED", "0.01")
        told = (await world.order("BUY", "0.01", "60100", timeInForce="IOC")).body
        assert (told["status"], told["executedQty"], told["avgPrice"]) == ("FILLED", "0.01", "60006.00000")
        assert Decimal(told["cumQuote"]) == Decimal("600.06")
        market = (await world.order("SELL", "0.01")).body
        assert (market["status"], market["type"], market["price"]) == ("FILLED", "MARKET", "0")


async def test_ioc_partial_and_unmatched_end_expired_without_an_error() -> None:
    async with World() as world:
        partial = (await world.order("BUY", "0.5", "60006", timeInForce="IOC")).body
        assert partial["status"] == "EXPIRED"
        assert Decimal(0) < Decimal(partial["executedQty"]) < Decimal("0.5")
        nothing = await world.order("BUY", "0.01", "59000", timeInForce="IOC", newClientOrderId="miss")
        assert (nothing.status, nothing.body["status"], nothing.body["executedQty"]) == (200, "EXPIRED", "0")
        again = (await world.call("GET", "order", symbol="BTCUSDT", origClientOrderId="miss")).body
        assert again["status"] == "EXPIRED"
        assert (await world.call("GET", "openOrders", symbol="BTCUSDT")).body == []


async def test_post_only_rests_or_is_refused() -> None:
    async with World() as world:
        bid, ask = world.best()
        assert (await world.order("BUY", "0.01", str(bid), timeInForce="GTX")).body["status"] == "NEW"
        assert (await world.order("BUY", "0.01", str(ask - Decimal("0.1")), timeInForce="GTX")).status == 200
        for side, px in (("BUY", ask), ("SELL", bid)):
            refused = await world.order(side, "0.01", str(px), timeInForce="GTX", newClientOrderId=f"x{side}")
            assert (refused.status, refused.code) == (400, -5022)
            assert (await world.call("GET", "order", symbol="BTCUSDT", origClientOrderId=f"x{side}")).code == -2013


async def test_resting_order_is_filled_by_the_market_at_its_price_as_maker() -> None:
    async with World() as world:
        placed = (await world.order("BUY", "0.01", "59500")).body
        world.quote("BTC", 59_000.0)
        filled = (await world.call("GET", "order", symbol="BTCUSDT", orderId=placed["orderId"])).body
        assert (filled["status"], filled["avgPrice"]) == ("FILLED", "59500.00000")
        trade = (await world.call("GET", "userTrades", symbol="BTCUSDT")).body[0]
        assert (trade["maker"], trade["commission"]) == (True, "-0.05950000")


# -- filters ------------------------------------------------------------------------------------------------------------

LIMIT_REFUSALS: list[tuple[dict[str, Any], int]] = [
    ({"price": "59000.05"}, -4014),
    ({"price": "59000.123"}, -1111),
    ({"price": "0"}, -4001),
    ({"price": "-1"}, -4001),
    ({"price": "0.01"}, -4013),
    ({"price": "999999999999"}, -4002),
    ({"price": "69001"}, -4016),
    ({"side": "SELL", "price": "50999.9"}, -4024),
    ({"quantity": "0"}, -4003),
    ({"quantity": "0.0015"}, -4023),
    ({"quantity": "0.0001"}, -4004),
    ({"quantity": "0.00001"}, -1111),
    ({"quantity": "1001"}, -4005),
    ({"symbol": "1000PEPEUSDT", "quantity": "100", "price": "0.01"}, -4164),
    ({"symbol": "NOPEUSDT"}, -1121),
    ({"symbol": "btcusdt"}, -1121),
    ({"side": "buy"}, -1117),
    ({"type": "STOP"}, -1116),
    ({"timeInForce": "FOK"}, -1115),
    ({"timeInForce": None}, -1102),
    ({"price": None}, -1102),
    ({"quantity": None}, -1102),
    ({"quantity": "1e-2"}, -1100),
    ({"price": "59000,0"}, -1100),
    ({"stopPrice": "59000"}, -1106),
    ({"closePosition": "true"}, -1106),
    ({"postOnly": "True"}, -1106),
    ({"pegPriceType": "QUEUE_1"}, -1020),
    ({"reduceOnly": "True"}, -1102),
    ({"newOrderRespType": "FULL"}, -1136),
    ({"newClientOrderId": "a b"}, -4015),
    ({"newClientOrderId": "a" * 37}, -4015),
    ({"newClientOrderId": "%"}, -4015),
    ({"stpMode": "NONE"}, -1130),
    ({"positionSide": "LONG"}, -4061),
    ({"positionSide": "UP"}, -4060),
    ({"builder": "0x1F5877C19e3777Cfd15F9d57253eA4aA5254Ec39"}, -1102),
]


@pytest.mark.parametrize(("change", "code"), LIMIT_REFUSALS, ids=[f"{c}{list(d.items())}" for d, c in LIMIT_REFUSALS])
async def test_limit_order_is_refused(change: dict[str, Any], code: int) -> None:
    async with World() as world:
        params = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
                  "price": "59000"} | change  # fmt: skip
        answer = await world.call("POST", "order", **params)
        assert (answer.status, answer.code) == (400, code)
        assert world.exchange.open_orders(USER_KEY) == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"price": "59000"}, -1106),
        ({"timeInForce": "GTC"}, -1106),
        ({"quantity": None}, -1102),
        ({"quantity": "300"}, -4005),
        ({"symbol": "1000PEPEUSDT", "quantity": "100"}, -4164),
    ],
)
async def test_market_order_is_refused(params: dict[str, Any], code: int) -> None:
    async with World() as world:
        base = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        assert (await world.call("POST", "order", **(base | params))).code == code


async def test_bands_are_inclusive_and_one_sided() -> None:
    async with World() as world:
        await world.call("POST", "leverage", symbol="BTCUSDT", leverage=100)
        assert (await world.order("BUY", "0.01", "69000", timeInForce="IOC")).body["status"] == "FILLED"
        assert (await world.order("SELL", "0.01", "51000", timeInForce="IOC")).body["status"] == "FILLED"
        assert (await world.order("BUY", "0.01", "600")).body["status"] == "NEW"
        assert (await world.order("SELL", "0.01", "900000")).body["status"] == "NEW"


async def test_minimum_notional_is_five_and_reduce_only_is_exempt() -> None:
    async with World() as world:
        assert (await world.call("POST", "order", symbol="1000PEPEUSDT", side="BUY", type="LIMIT", timeInForce="IOC",
                                 quantity="499", price="0.01001")).code == -4164  # fmt: skip
        bought = await world.call("POST", "order", symbol="1000PEPEUSDT", side="BUY", type="LIMIT", timeInForce="IOC",
                                  quantity="500", price="0.01001", newOrderRespType="RESULT")  # fmt: skip
        assert bought.body["status"] == "FILLED"
        sale = {"symbol": "1000PEPEUSDT", "side": "SELL", "type": "MARKET", "quantity": "10"}
        assert (await world.call("POST", "order", **sale)).code == -4164
        reduced = await world.call("POST", "order", **sale, reduceOnly="true", newOrderRespType="RESULT")
        assert reduced.body["status"] == "FILLED"


async def test_margin_and_leverage_bracket() -> None:
    async with World() as world:
        await world.call("POST", "leverage", symbol="BTCUSDT", leverage=1)
        assert (await world.order("BUY", "0.2", "59000")).code == -2019
        assert (await world.order("BUY", "0.1", "59000")).status == 200
        await world.call("POST", "leverage", symbol="ETHUSDT", leverage=100)
        big = await world.call("POST", "order", symbol="ETHUSDT", side="BUY", type="LIMIT", timeInForce="GTC",
                               quantity="170", price="2950")  # fmt: skip
        assert big.code == -2027


async def test_reduce_only() -> None:
    async with World() as world:
        assert (await world.order("SELL", "0.01", "59000", timeInForce="IOC", reduceOnly="true")).code == -2022
        assert (await world.order("BUY", "0.02")).body["status"] == "FILLED"
        assert (await world.order("BUY", "0.01", "61000", timeInForce="IOC", reduceOnly="true")).code == -2022
        closed = (await world.order("SELL", "0.05", "59000", timeInForce="IOC", reduceOnly="true")).body
        assert (closed["status"], closed["executedQty"], closed["reduceOnly"]) == ("FILLED", "0.02", True)
        assert world.exchange.position(USER_KEY, "BTCUSDT").qty == 0


# -- client ids, cancels, lookups ---------------------------------------------------------------------------------------


async def test_client_id_is_unique_among_open_orders_only() -> None:
    async with World() as world:
        first = (await world.order("BUY", "0.01", "59000", newClientOrderId="same")).body
        assert (await world.order("BUY", "0.01", "58000", newClientOrderId="same")).code == -4116
        queried = (await world.call("GET", "order", symbol="BTCUSDT", origClientOrderId="same")).body
        assert (queried["orderId"], queried["status"]) == (first["orderId"], "NEW")
        await world.call("DELETE", "order", symbol="BTCUSDT", origClientOrderId="same")
        assert (await world.order("BUY", "0.01", "58000", newClientOrderId="same")).status == 200
        queried = (await world.call("GET", "order", symbol="BTCUSDT", origClientOrderId="same")).body
        assert (queried["price"], queried["status"]) == ("58000", "NEW")


async def test_refused_resend_does_not_hide_the_filled_original() -> None:
    async with World() as world:
        original = (await world.order("BUY", "0.01", "61000", timeInForce="IOC", newClientOrderId="once")).body
        assert (await world.order("BUY", "0.01", "61000", timeInForce="GTX", newClientOrderId="once")).code == -5022
        queried = (await world.call("GET", "order", symbol="BTCUSDT", origClientOrderId="once")).body
        assert (queried["orderId"], queried["status"]) == (original["orderId"], "FILLED")
        assert len((await world.call("GET", "allOrders", symbol="BTCUSDT")).body) == 1


async def test_cancel_by_either_id_and_unknown_order() -> None:
    async with World() as world:
        first = (await world.order("BUY", "0.01", "59000")).body["orderId"]
        await world.order("BUY", "0.01", "58000", newClientOrderId="second")
        by_id = (await world.call("DELETE", "order", symbol="BTCUSDT", orderId=first)).body
        assert (by_id["status"], by_id["orderId"]) == ("CANCELED", first)
        by_client = await world.call("DELETE", "order", symbol="BTCUSDT", origClientOrderId="second")
        assert by_client.body["status"] == "CANCELED"
        for again in ({"orderId": first}, {"origClientOrderId": "second"}, {"orderId": 424242}):
            answer = await world.call("DELETE", "order", symbol="BTCUSDT", **again)
            assert answer.body == {"code": -2011, "msg": "Unknown order sent."}
        assert (await world.call("DELETE", "order", symbol="ETHUSDT", orderId=first)).code == -2011
        assert (await world.call("DELETE", "order", symbol="BTCUSDT")).code == -1102
        assert (await world.call("GET", "order", symbol="BTCUSDT", orderId=424242)).code == -2013
        assert (await world.call("GET", "order", symbol="BTCUSDT", orderId=first)).body["status"] == "CANCELED"
        assert (await world.call("GET", "openOrder", symbol="BTCUSDT", orderId=first)).code == -2013


async def test_cancel_all_is_per_symbol_and_answers_the_string_200() -> None:
    async with World() as world:
        await world.order("BUY", "0.01", "59000")
        await world.order("BUY", "0.01", "58000")
        await world.call("POST", "order", symbol="ETHUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.1",
                         price="2900")  # fmt: skip
        assert (await world.call("DELETE", "allOpenOrders")).code == -1102
        done = await world.call("DELETE", "allOpenOrders", symbol="BTCUSDT")
        assert done.body == {"code": "200", "msg": "The operation of cancel all open order is done."}
        left = (await world.call("GET", "openOrders")).body
        assert [row["symbol"] for row in left] == ["ETHUSDT"]


async def test_batch_answers_in_order_each_for_itself() -> None:
    async with World() as world:
        good = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
        orders = [good | {"price": "59000", "newClientOrderId": "b1"}, good | {"price": "59000.05"}, good | {"price": 58000},
                  {"side": "BUY"}]  # fmt: skip
        text = json.dumps(orders, separators=(",", ":"))
        rows = (await world.call("POST", "batchOrders", batchOrders=text)).body
        assert [row.get("code", row.get("status")) for row in rows] == ["NEW", -4014, "NEW", -1102]
        six = json.dumps([good | {"price": "59000"}] * 6)
        assert (await world.call("POST", "batchOrders", batchOrders=six)).code == -4082
        assert (await world.call("POST", "batchOrders", batchOrders="{}")).code == -1102
        ids = json.dumps([rows[0]["orderId"], 1])
        canceled = (await world.call("DELETE", "batchOrders", symbol="BTCUSDT", orderIdList=ids)).body
        assert [row.get("code", row.get("status")) for row in canceled] == ["CANCELED", -2011]
        named = (await world.call("DELETE", "batchOrders", symbol="BTCUSDT", origClientOrderIdList='["b1"]')).body
        assert named == [{"code": -2011, "msg": "Unknown order sent."}]
        assert (await world.call("DELETE", "batchOrders", symbol="BTCUSDT")).code == -1102


async def test_modify_keeps_the_ids_and_a_failed_one_keeps_the_order() -> None:
    async with World() as world:
        placed = (await world.order("BUY", "0.01", "59000", newClientOrderId="m")).body
        changed = await world.call(
            "PUT", "order", symbol="BTCUSDT", origClientOrderId="m", quantity="0.02", price="58000"
        )
        assert (changed.body["orderId"], changed.body["price"], changed.body["origQty"]) == (
            placed["orderId"],
            "58000",
            "0.02",
        )
        for bad, code in (({"price": "58000.05"}, -4014), ({"quantity": "0.00005"}, -1111), ({"price": None}, -1102)):
            params = {"quantity": "0.02", "price": "57000"} | bad
            refused = await world.call("PUT", "order", symbol="BTCUSDT", orderId=placed["orderId"], **params)
            assert refused.code == code
        assert (await world.call("GET", "openOrders", symbol="BTCUSDT")).body[0]["price"] == "58000"


async def test_all_orders_window_and_paging() -> None:
    async with World() as world:
        ids = [(await world.order("BUY", "0.01", str(50_000 + n))).body["orderId"] for n in range(4)]
        rows = (await world.call("GET", "allOrders", symbol="BTCUSDT", limit=2)).body
        assert [row["orderId"] for row in rows] == ids[2:]
        rows = (await world.call("GET", "allOrders", symbol="BTCUSDT", orderId=ids[1], limit=2)).body
        assert [row["orderId"] for row in rows] == ids[1:3]
        assert (await world.call("GET", "allOrders", symbol="BTCUSDT", startTime=2, endTime=1)).code == -1023
        assert (await world.call("GET", "allOrders", symbol="BTCUSDT", startTime=1, endTime=10**12)).code == -1127


async def test_unfilled_ended_orders_are_forgotten_after_seven_days() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        unfilled = (await world.order("BUY", "0.01", "59000")).body["orderId"]
        filled = (await world.order("BUY", "0.01")).body["orderId"]
        await world.call("DELETE", "order", symbol="BTCUSDT", orderId=unfilled)
        assert (await world.call("GET", "order", symbol="BTCUSDT", orderId=unfilled)).status == 200
        clock.advance_ns(8 * 86_400 * NS_PER_S)
        assert (await world.call("GET", "order", symbol="BTCUSDT", orderId=unfilled)).code == -2013
        assert (await world.call("GET", "order", symbol="BTCUSDT", orderId=filled)).body["status"] == "FILLED"


async def test_countdown_cancels_its_symbol_once_unless_disarmed_and_survives_a_restart() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        eth = {
            "symbol": "ETHUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.1",
            "price": "2900",
        }
        await world.order("BUY", "0.01", "59000")
        await world.call("POST", "order", **eth)
        armed = await world.call("POST", "countdownCancelAll", symbol="BTCUSDT", countdownTime=60000)
        assert armed.body == {"symbol": "BTCUSDT", "countdownTime": "60000"}
        await world.call("POST", "countdownCancelAll", symbol="ETHUSDT", countdownTime=60000)
        await world.call("POST", "countdownCancelAll", symbol="ETHUSDT", countdownTime=0)
        clock.advance_ns(59 * NS_PER_S)
        world.venue.tick()
        assert len(world.exchange.open_orders(USER_KEY)) == 2
    async with World(clock=clock, log=world.transactions) as again:
        clock.advance_ns(2 * NS_PER_S)
        again.venue.tick()
        assert [order.name for order in again.exchange.open_orders(USER_KEY)] == ["ETHUSDT"]
        gone = again.exchange.orders(USER_KEY)[0]
        row = (await again.call("GET", "order", symbol="BTCUSDT", orderId=gone.order_id)).body
        assert row["status"] == "CANCELED"


async def test_self_trade_prevention() -> None:
    async with World() as world:
        bid, _ = world.best()
        inside = str(bid + Decimal("1"))
        resting = (await world.order("BUY", "0.01", inside, timeInForce="GTX")).body["orderId"]
        taker = await world.order("SELL", "0.01", inside, timeInForce="IOC", stpMode="EXPIRE_TAKER")
        assert (taker.body["status"], taker.body["executedQty"]) == ("EXPIRED", "0")
        assert (await world.call("GET", "openOrder", symbol="BTCUSDT", orderId=resting)).status == 200
        assert (await world.call("GET", "stpMode")).body == {"stpMode": "EXPIRE_MAKER"}
        await world.order("SELL", "0.01", inside, timeInForce="IOC")
        row = (await world.call("GET", "order", symbol="BTCUSDT", orderId=resting)).body
        assert row["status"] == "EXPIRED"


# -- modes and delay ----------------------------------------------------------------------------------------------------


async def test_position_mode_switch_and_its_refusals() -> None:
    async with World() as world:
        assert (await world.call("GET", "positionSide/dual")).body == {"dualSidePosition": False}
        assert (await world.call("POST", "positionSide/dual", dualSidePosition="false")).code == -4059
        await world.order("BUY", "0.01", "59000")
        assert (await world.call("POST", "positionSide/dual", dualSidePosition="true")).code == -4067
        await world.call("DELETE", "allOpenOrders", symbol="BTCUSDT")
        await world.order("BUY", "0.01")
        assert (await world.call("POST", "positionSide/dual", dualSidePosition="true")).code == -4068
        await world.order("SELL", "0.01", reduceOnly="true")
        assert (await world.call("POST", "positionSide/dual", dualSidePosition="true")).body["code"] == 200
        assert (await world.order("BUY", "0.01", "59000")).code == -4061
        assert (await world.order("BUY", "0.01", "59000", positionSide="LONG", reduceOnly="true")).code == -4062
        assert (await world.order("BUY", "0.01", "59000", positionSide="LONG")).code == -4088
        assert (await world.call("POST", "positionSide/dual", dualSidePosition="false")).body["code"] == 200
        assert (await world.order("BUY", "0.01", "59000", positionSide="BOTH")).status == 200


async def test_orders_wait_the_venue_delay_and_meet_the_market_of_then() -> None:
    async with World(order_delay_s=0.3) as world:
        placing = asyncio.create_task(world.order("BUY", "0.01", "60100", timeInForce="IOC"))
        while not world.venue._flights._calls:
            await asyncio.sleep(0.005)
        assert world.exchange.orders(USER_KEY) == []
        world.quote("BTC", 60_050.0)
        assert (await placing).body["avgPrice"] == "60056.10000"


async def test_main_wallet_may_trade_for_itself() -> None:
    async with World() as world:
        assert (await world.order("BUY", "0.01", "59000", key=MAIN_KEY)).status == 200


def test_listings_differ_where_clients_go_wrong() -> None:
    by_symbol = {listing.contract.symbol: listing for listing in listings(SYMBOLS)}
    assert {s: by_symbol[s].contract.funding_interval_h for s in SYMBOLS} == {
        "BTC": 8, "ETH": 8, "SOL": 8, "HYPE": 4, "PAXG": 8, "PEPE": 4,
    }  # fmt: skip
    assert by_symbol["PEPE"].name == "1000PEPEUSDT"
    assert by_symbol["PEPE"].contract.multiplier == 1000
    assert by_symbol["PEPE"].base_asset == "1000PEPE"
    assert listings(("DOGE",)) == ()
    row = by_symbol["BTC"].symbol_row()
    assert row["pricePrecision"] == 2  # finer than the tick: not to be used for rounding
    assert json.dumps(row)


@pytest.mark.parametrize(
    ("px", "qty", "opposite", "code"),
    [
        ("59000.0", "0.01", "60006", None),
        ("59000.05", "0.01", "60006", Code.PRICE_NOT_ON_TICK),
        ("59000.0", "0.0105", "60006", Code.QTY_NOT_ON_STEP),
        (None, "0.01", "69000", None),
        (None, "0.01", "69000.1", Code.MARKET_BEYOND_BAND),
        (None, "0.01", None, None),
    ],
)
def test_filters_by_themselves(px: str | None, qty: str, opposite: str | None, code: Code | None) -> None:
    """Apart from the exchange, which would also refuse some of these."""
    ticket = Ticket(
        listing=listings(("BTC",))[0],
        side=Side.BUY,
        tif=TimeInForce.GTC,
        qty=Decimal(qty),
        px=Decimal(px) if px is not None else None,
        reduce_only=False,
        client_id="a",
        full_answer=False,
        self_trade=None,
    )
    best = Decimal(opposite) if opposite is not None else None
    if code is None:
        check_filters(ticket, Decimal(60_000), best)
        return
    with pytest.raises(ApiError) as caught:
        check_filters(ticket, Decimal(60_000), best)
    assert caught.value.code is code
