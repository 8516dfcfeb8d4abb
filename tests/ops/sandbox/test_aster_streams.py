"""WebSocket of the sandbox's Aster: subscriptions, public streams, depth recipe, keep-alive, user stream."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from core.clock import NS_PER_S, SimClock
from ops.sandbox.venues._aster_hub import KEEPALIVE
from tests.ops.sandbox.aster_world import USER, World

USER_KEY = USER.lower()
Socket = aiohttp.ClientWebSocketResponse


@contextlib.asynccontextmanager
async def socket(world: World, path: str, **options: Any) -> AsyncIterator[Socket]:
    async with world.session.ws_connect(f"{world.url}{path}", **options) as connection:
        yield connection


async def frame(connection: Socket) -> Any:
    """The next JSON frame."""
    message = await asyncio.wait_for(connection.receive(), 10)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def ask(connection: Socket, method: str, params: Any = None, number: Any = 1) -> Any:
    request: dict[str, Any] = {"method": method, "id": number}
    if params is not None:
        request["params"] = params
    await connection.send_json(request)
    return await frame(connection)


async def is_cut(connection: Socket) -> bool:
    while True:
        message = await asyncio.wait_for(connection.receive(), 10)
        if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR):
            return True


async def until(condition: Callable[[], object]) -> None:
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


# -- subscriptions ------------------------------------------------------------------------------------------------------


async def test_subscribe_list_unsubscribe_and_properties() -> None:
    async with World() as world, socket(world, "/ws") as ws:
        assert await ask(ws, "SUBSCRIBE", ["btcusdt@bookTicker", "nonsense@bookTicker", "BTCUSDT@bookTicker"]) == {
            "result": None,
            "id": 1,
        }
        assert (await ask(ws, "LIST_SUBSCRIPTIONS", number=7)) == {
            "result": ["btcusdt@bookTicker", "nonsense@bookTicker", "BTCUSDT@bookTicker"],
            "id": 7,
        }
        world.quote("BTC", 60_100.0)
        assert (await frame(ws))["e"] == "bookTicker"
        assert await ask(ws, "GET_PROPERTY", ["combined"], 3) == {"result": False, "id": 3}
        assert await ask(ws, "SET_PROPERTY", ["combined", True], 4) == {"result": None, "id": 4}
        world.quote("BTC", 60_200.0)
        assert (await frame(ws))["stream"] == "btcusdt@bookTicker"
        await ask(ws, "UNSUBSCRIBE", ["btcusdt@bookTicker"])
        world.quote("BTC", 60_300.0)
        assert (await ask(ws, "LIST_SUBSCRIPTIONS"))["result"] == ["nonsense@bookTicker", "BTCUSDT@bookTicker"]


async def test_malformed_requests_are_answered_and_missing_ids_tolerated() -> None:
    async with World() as world, socket(world, "/stream") as ws:
        await ws.send_str("{")
        assert (await frame(ws))["code"] == 3
        assert (await ask(ws, "SUBSCRIBE", ["btcusdt@depth5"], "one"))["code"] == 2
        assert (await ask(ws, "SUBSCRIBE", ["btcusdt@depth5"], -1))["code"] == 2
        assert (await ask(ws, "SUBSCRIB", ["btcusdt@depth5"]))["code"] == 2
        assert (await ask(ws, "SET_PROPERTY", ["combined", "yes"])) == {
            "code": 1,
            "msg": "Invalid value type: expected Boolean",
        }
        assert (await ask(ws, "GET_PROPERTY", ["color"])) == {"code": 0, "msg": "Unknown property"}
        await ws.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"]})
        assert await frame(ws) == {"result": None, "id": None}


async def test_eleven_messages_in_a_second_cut_the_connection_and_ten_do_not() -> None:
    clock = SimClock()
    async with World(clock=clock) as world, socket(world, "/ws") as ws:
        for number in range(10):
            assert (await ask(ws, "LIST_SUBSCRIPTIONS", number=number))["id"] == number
        clock.advance_ns(NS_PER_S)
        assert (await ask(ws, "LIST_SUBSCRIPTIONS"))["id"] == 1
        for _ in range(10):
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        assert await is_cut(ws)


async def test_two_hundred_streams_are_the_most() -> None:
    async with World() as world, socket(world, "/ws") as ws:
        assert "result" in await ask(ws, "SUBSCRIBE", [f"s{n}@bookTicker" for n in range(200)])
        await ws.send_json({"method": "SUBSCRIBE", "params": ["one@more"], "id": 2})
        assert await is_cut(ws)
        await until(lambda: not world.venue.hub._listeners)


# -- public streams -----------------------------------------------------------------------------------------------------


async def test_book_ticker_tells_changes_of_the_touch_only() -> None:
    async with World() as world, socket(world, "/ws/btcusdt@bookTicker") as ws:
        await until(lambda: world.venue.hub.wanted("btcusdt@bookTicker"))
        for mid in (60_001.0, 60_001.0, 60_002.0):
            world.quote("BTC", mid)
        first, second = await frame(ws), await frame(ws)
        assert set(first) == {"e", "u", "E", "T", "s", "b", "B", "a", "A"}
        assert (first["s"], first["b"], first["a"]) == ("BTCUSDT", "59994.9", "60007.1")
        assert second["u"] == first["u"] + 2
        assert second["b"] == "59995.9"
        await world.order("BUY", "0.001")
        third = await frame(ws)
        assert Decimal(third["A"]) == Decimal(second["A"]) - Decimal("0.001")


async def test_all_book_tickers_and_combined_form() -> None:
    async with World() as world, socket(world, "/fstream/stream?streams=!bookTicker/ethusdt@bookTicker") as ws:
        await until(lambda: world.venue.hub.wanted("ethusdt@bookTicker"))
        world.quote("ETH", 3_001.0)
        world.quote("PEPE", 0.0000101)
        frames = [await frame(ws) for _ in range(3)]
        assert [(f["stream"], f["data"]["s"]) for f in frames] == [
            ("ethusdt@bookTicker", "ETHUSDT"),
            ("!bookTicker", "ETHUSDT"),
            ("!bookTicker", "1000PEPEUSDT"),
        ]
        assert frames[2]["data"]["b"] == "0.0100989"


async def test_mark_price_and_all_marks() -> None:
    clock = SimClock()
    async with World(clock=clock) as world, socket(world, "/stream?streams=hypeusdt@markPrice@1s/!markPrice@arr") as ws:
        await until(lambda: world.venue.hub.wanted("!markPrice@arr"))
        clock.advance_ns(NS_PER_S)
        world.venue.tick()
        one = await frame(ws)
        assert one["stream"] == "hypeusdt@markPrice@1s"
        assert set(one["data"]) == {"e", "E", "s", "p", "i", "P", "r", "T"}
        assert float(one["data"]["r"]) == pytest.approx(4 * 0.00002, rel=0.07)
        assert one["data"]["T"] % (4 * 3_600_000) == 0
        clock.advance_ns(2 * NS_PER_S)
        world.venue.tick()
        assert (await frame(ws))["stream"] == "hypeusdt@markPrice@1s"
        everything = await frame(ws)
        assert [row["s"] for row in everything["data"]] == [
            "BTCUSDT", "ETHUSDT", "SOLUSDT", "HYPEUSDT", "PAXGUSDT", "1000PEPEUSDT",
        ]  # fmt: skip


async def test_partial_depth_ticker_and_trades() -> None:
    clock = SimClock()
    path = "/stream?streams=btcusdt@depth5@100ms/btcusdt@ticker/btcusdt@aggTrade/!miniTicker@arr"
    async with World(clock=clock) as world, socket(world, path) as ws:
        await until(lambda: world.venue.hub.wanted("!miniTicker@arr"))
        world.quote("BTC", 60_010.0, print_usd=-600.0)
        clock.advance_ns(NS_PER_S)
        world.venue.tick()
        frames = {f["stream"]: f["data"] for f in [await frame(ws) for _ in range(4)]}
        depth = frames["btcusdt@depth5@100ms"]
        assert (depth["e"], len(depth["b"]), len(depth["a"])) == ("depthUpdate", 5, 5)
        assert depth["b"][0][0] == "60003.9"
        trade = frames["btcusdt@aggTrade"]
        assert (trade["p"], trade["q"], trade["m"]) == ("60003.9", "0.009", True)
        assert frames["btcusdt@ticker"]["c"] == "60003.9"
        assert {row["s"] for row in frames["!miniTicker@arr"]} >= {"BTCUSDT", "1000PEPEUSDT"}
        clock.advance_ns(NS_PER_S // 10)
        world.venue.tick()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.receive(), 0.1)  # nothing changed, so the depth stream says nothing


async def test_diff_depth_follows_the_documented_recipe_to_the_same_book() -> None:
    clock = SimClock()
    async with World(clock=clock) as world, socket(world, "/ws/btcusdt@depth@100ms") as ws:
        await until(lambda: world.venue.hub.wanted("btcusdt@depth@100ms"))
        events: list[Any] = []

        async def step(mid: float, seed: int) -> None:
            world.quote("BTC", mid, seed=seed)
            clock.advance_ns(NS_PER_S // 10)
            world.venue.tick()
            events.append(await frame(ws))

        await step(60_001.0, 1)
        world.quote("BTC", 60_002.0, seed=2)
        snapshot = (await world.get("/fapi/v3/depth", symbol="BTCUSDT", limit=1000)).body
        for number in range(3, 8):
            await step(60_000.0 + number, number)
        book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
        applied = [event for event in events if event["u"] >= snapshot["lastUpdateId"]]
        assert applied[0]["U"] <= snapshot["lastUpdateId"] <= applied[0]["u"]
        for before, after in itertools.pairwise(applied):
            assert after["pu"] == before["u"]
        for event in applied:
            for side, key in (("bids", "b"), ("asks", "a")):
                for px, qty in event[key]:
                    if qty == "0":
                        book[side].pop(px, None)
                    else:
                        book[side][px] = qty
        final = (await world.get("/fapi/v3/depth", symbol="BTCUSDT", limit=1000)).body
        assert final["lastUpdateId"] == applied[-1]["u"]
        assert book == {side: dict(final[side]) for side in ("bids", "asks")}


async def test_update_ids_never_go_back_after_a_restart() -> None:
    async with World() as before:
        first = (await before.get("/fapi/v3/depth", symbol="BTCUSDT", limit=5)).body["lastUpdateId"]
    async with World(log=before.transactions) as after:
        assert (await after.get("/fapi/v3/depth", symbol="BTCUSDT", limit=5)).body["lastUpdateId"] > first


# -- keep-alive and breaks ----------------------------------------------------------------------------------------------


async def test_server_pings_and_cuts_who_does_not_answer_and_who_is_too_old() -> None:
    clock = SimClock()
    async with (
        World(clock=clock) as world,
        socket(world, "/ws", autoping=False) as mute,
        socket(world, "/ws", autoping=False) as polite,
    ):
        hub = world.venue.hub
        await until(lambda: len(hub._clients) == 2)
        clock.advance_ns(301 * NS_PER_S)
        await hub.keep_alive()
        for ws in (mute, polite):
            assert (await ws.receive()).type is aiohttp.WSMsgType.PING
        await polite.pong(b"1")
        spoken = clock.mono_ns()
        await until(lambda: any(client.heard_ns == spoken for client in hub._clients.values()))
        clock.advance_ns(601 * NS_PER_S)
        await hub.keep_alive()
        assert await is_cut(mute)
        await until(lambda: len(hub._clients) == 1)
        assert (await polite.receive()).type is aiohttp.WSMsgType.PING
        for _ in range(120):
            clock.advance_ns(800 * NS_PER_S)
            await polite.pong(b"2")
            now = clock.mono_ns()
            await until(lambda now=now: not hub._clients or next(iter(hub._clients.values())).heard_ns == now)
            await hub.keep_alive()
            if not hub._clients or clock.mono_ns() > 87_500 * NS_PER_S:
                break
        assert await is_cut(polite)
        assert clock.mono_ns() > 86_400 * NS_PER_S


async def test_client_pings_are_answered_and_drop_breaks_everybody() -> None:
    async with World() as world, socket(world, "/ws", autoping=False) as ws:
        await ws.ping(b"here")
        assert (await ws.receive()).type is aiohttp.WSMsgType.PONG
        world.venue.drop_connections()
        assert await is_cut(ws)
        await until(lambda: not world.venue.hub._clients)


# -- user stream --------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def user_stream(world: World) -> AsyncIterator[Socket]:
    key = (await world.call("POST", "listenKey")).body["listenKey"]
    async with socket(world, f"/ws/{key}") as ws:
        await until(lambda: world.venue.hub.wanted(key))
        yield ws


def told(event: Any) -> tuple[str, str, str, str]:
    order = event["o"]
    return order["x"], order["X"], order["l"], order["z"]


async def test_listen_key_is_one_per_account_extends_and_expires() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        assert (await world.call("PUT", "listenKey")).code == -1125
        key = (await world.call("POST", "listenKey")).body["listenKey"]
        assert len(key) == 64
        clock.advance_ns(3_000 * NS_PER_S)
        assert (await world.call("POST", "listenKey")).body["listenKey"] == key
        clock.advance_ns(3_000 * NS_PER_S)
        assert (await world.call("PUT", "listenKey")).body == {}
        async with user_stream(world) as ws:
            clock.advance_ns(3_599 * NS_PER_S)
            world.venue.tick()
            clock.advance_ns(2 * NS_PER_S)
            world.venue.tick()
            assert (await frame(ws))["e"] == "listenKeyExpired"
            await world.order("BUY", "0.01", "59000")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.receive(), 0.1)
        assert (await world.call("PUT", "listenKey")).code == -1125
        assert (await world.call("POST", "listenKey")).body["listenKey"] != key
        assert (await world.call("DELETE", "listenKey")).body == {}
        assert (await world.call("PUT", "listenKey")).code == -1125


async def test_resting_order_life() -> None:
    async with World() as world, user_stream(world) as ws:
        placed = (await world.order("BUY", "0.02", "59500", newClientOrderId="r")).body
        new = await frame(ws)
        assert new["e"] == "ORDER_TRADE_UPDATE"
        assert told(new) == ("NEW", "NEW", "0", "0")
        assert (new["o"]["i"], new["o"]["c"], new["o"]["b"]) == (placed["orderId"], "r", "1190")
        assert "n" not in new["o"]
        await world.call("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])
        assert told(await frame(ws)) == ("CANCELED", "CANCELED", "0", "0")


async def test_taken_order_tells_new_every_trade_and_its_end_before_the_account() -> None:
    async with World() as world, user_stream(world) as ws:
        answer = (await world.order("BUY", "0.6", "60020", timeInForce="IOC", newClientOrderId="t")).body
        events = [await frame(ws)]
        while events[-1]["e"] == "ORDER_TRADE_UPDATE":
            events.append(await frame(ws))
        orders, account = events[:-1], events[-1]
        assert told(orders[0]) == ("NEW", "NEW", "0", "0")
        trades = [event["o"] for event in orders if event["o"]["x"] == "TRADE"]
        done = Decimal(0)
        for trade in trades:
            done += Decimal(trade["l"])
            assert Decimal(trade["z"]) == done
            fee = Decimal(trade["l"]) * Decimal(trade["L"]) * Decimal("0.00035")
            assert Decimal(trade["n"]) == fee.quantize(Decimal("1e-8"))
            assert (trade["N"], trade["m"]) == ("USDT", False)
        assert len(trades) > 1
        assert done == Decimal(answer["executedQty"])
        last = orders[-1]["o"]
        assert answer["status"] == last["X"] == "EXPIRED"
        assert (last["x"], last["z"], last["l"]) == ("EXPIRED", answer["executedQty"], "0")
        assert len({trade["t"] for trade in trades}) == len(trades)
        assert account["e"] == "ACCOUNT_UPDATE"
        assert account["a"]["m"] == "ORDER"
        assert [(p["s"], p["pa"], p["ma"]) for p in account["a"]["P"]] == [("BTCUSDT", answer["executedQty"], "USDT")]
        fee = sum((Decimal(trade["n"]) for trade in trades), Decimal(0))
        assert Decimal(account["a"]["B"][0]["wb"]) == 10_000 - fee


async def test_filled_order_ends_with_a_trade_and_a_miss_with_expired() -> None:
    async with World() as world, user_stream(world) as ws:
        await world.order("BUY", "0.01", "61000", timeInForce="IOC")
        assert told(await frame(ws)) == ("NEW", "NEW", "0", "0")
        assert told(await frame(ws)) == ("TRADE", "FILLED", "0.01", "0.01")
        assert (await frame(ws))["e"] == "ACCOUNT_UPDATE"
        await world.order("BUY", "0.01", "59000", timeInForce="IOC")
        assert told(await frame(ws)) == ("NEW", "NEW", "0", "0")
        assert told(await frame(ws)) == ("EXPIRED", "EXPIRED", "0", "0")
        await world.order("BUY", "0.01", "61000", timeInForce="GTX")  # refused: nothing is told
        await world.order("SELL", "0.01", reduceOnly="true")
        assert told(await frame(ws)) == ("NEW", "NEW", "0", "0")
        closing = await frame(ws)
        assert told(closing) == ("TRADE", "FILLED", "0.01", "0.01")
        assert (closing["o"]["R"], closing["o"]["rp"]) == (True, "-0.12000000")
        account = await frame(ws)
        assert account["a"]["P"][0]["pa"] == "0"


async def test_maker_fill_in_parts_and_cancel_of_the_rest() -> None:
    async with World() as world, user_stream(world) as ws:
        placed = (await world.order("BUY", "0.05", "59800")).body
        assert told(await frame(ws)) == ("NEW", "NEW", "0", "0")
        world.quote("BTC", 59_700.0, touch_usd=1_200.0)
        first = await frame(ws)
        assert told(first) == ("TRADE", "PARTIALLY_FILLED", "0.02", "0.02")
        assert (first["o"]["m"], first["o"]["L"]) == (True, "59800")
        assert (await frame(ws))["e"] == "ACCOUNT_UPDATE"
        await world.call("DELETE", "order", symbol="BTCUSDT", orderId=placed["orderId"])
        assert told(await frame(ws)) == ("CANCELED", "CANCELED", "0", "0.02")


async def test_orders_open_before_a_restart_are_not_announced_again() -> None:
    async with World() as before:
        key = (await before.call("POST", "listenKey")).body["listenKey"]
        placed = (await before.order("BUY", "0.01", "59000")).body["orderId"]
    async with World(log=before.transactions) as after, socket(after, f"/ws/{key}") as ws:
        await until(lambda: after.venue.hub.wanted(key))
        after.quote("BTC", 58_000.0)
        filled = await frame(ws)
        assert told(filled) == ("TRADE", "FILLED", "0.01", "0.01")
        assert filled["o"]["i"] == placed


async def test_cross_funding_names_no_symbol_and_isolated_does() -> None:
    clock = SimClock()
    async with World(clock=clock) as world:
        await world.call("POST", "marginType", symbol="HYPEUSDT", marginType="ISOLATED")
        for symbol, qty in (("BTCUSDT", "0.01"), ("HYPEUSDT", "10")):
            params = {"symbol": symbol, "side": "BUY", "type": "MARKET", "quantity": qty}
            assert (await world.call("POST", "order", **params)).status == 200
        world.exchange.housekeep()
        async with user_stream(world) as ws:
            for _ in range(8):  # an hour at a time, until BTC's eight-hour settlement is past
                clock.advance_ns(3600 * NS_PER_S)
                world.exchange.housekeep()
            payments = world.exchange.payments(USER_KEY)
            events = [await frame(ws) for _ in payments]
        for event in events:
            assert (event["e"], event["a"]["m"]) == ("ACCOUNT_UPDATE", "FUNDING_FEE")
        assert {payment.name for payment in payments} == {"BTCUSDT", "HYPEUSDT"}
        cross = [event["a"] for event in events if "P" not in event["a"]]
        isolated = [event["a"] for event in events if "P" in event["a"]]
        assert {p["s"] for account in isolated for p in account["P"]} == {"HYPEUSDT"}
        for accounts, name in ((cross, "BTCUSDT"), (isolated, "HYPEUSDT")):
            paid = sum((Decimal(account["B"][0]["bc"]) for account in accounts), Decimal(0))
            assert paid == sum((payment.cash for payment in payments if payment.name == name), Decimal(0)) < 0


async def test_leverage_and_mode_changes_are_told() -> None:
    async with World() as world, user_stream(world) as ws:
        await world.call("POST", "leverage", symbol="BTCUSDT", leverage=7)
        assert (await frame(ws))["ac"] == {"s": "BTCUSDT", "l": 7}
        await world.call("POST", "positionSide/dual", dualSidePosition="true")
        assert (await frame(ws))["ai"] == {"j": False, "f": False, "d": True}


async def test_liquidation_is_told_as_an_autoclose_order() -> None:
    async with World() as world:
        await world.call("POST", "leverage", symbol="BTCUSDT", leverage=100)
        await world.order("BUY", "0.5", "61000", timeInForce="IOC")
        await world.order("BUY", "0.5", "61000", timeInForce="IOC")
        async with user_stream(world) as ws:
            world.quote("BTC", 45_000.0)
            world.exchange.housekeep()
            event = await frame(ws)
            assert told(event)[0] == "NEW"
            assert event["o"]["c"].startswith("autoclose-")
            assert event["o"]["o"] == "LIQUIDATION"
            assert told(await frame(ws))[0] == "TRADE"
        forced = (await world.call("GET", "forceOrders")).body
        assert forced[0]["clientOrderId"].startswith("autoclose-")
        assert forced[0]["status"] == "FILLED"
        assert (await world.call("GET", "forceOrders", autoCloseType="ADL")).body == []


def test_default_keepalive_is_the_documented_one() -> None:
    assert KEEPALIVE.ping_ns == 300 * NS_PER_S
    assert KEEPALIVE.pong_timeout_ns == 900 * NS_PER_S
    assert KEEPALIVE.lifetime_ns == 86_400 * NS_PER_S
