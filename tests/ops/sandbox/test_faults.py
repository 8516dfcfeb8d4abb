"""What each fault does on the wire, on both venues; that it ends; and that without faults nothing is different."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import orjson
import pytest

from core.clock import NS_PER_S
from ops.sandbox.fault_kinds import RULES, Kind, Reply, Traffic
from ops.sandbox.faults import MAX_FAULTS, MAX_FINISHED, FaultRefused
from ops.sandbox.garbage import SHAPES, garble
from ops.sandbox.venues import _aster_faults, _hyperliquid_faults
from tests.ops.sandbox import aster_world, hyperliquid_world
from tests.ops.sandbox.hyperliquid_world import ETH, USER, order, orders

ORDERS, READS, MARKET, PRIVATE = Traffic.ORDERS, Traffic.READS, Traffic.MARKET, Traffic.PRIVATE
CLOID = "0x" + "ab" * 16


@pytest.fixture
async def hl() -> AsyncIterator[hyperliquid_world.World]:
    async with hyperliquid_world.World() as world:
        yield world


@pytest.fixture
async def aster() -> AsyncIterator[aster_world.World]:
    async with aster_world.World() as world:
        yield world


async def hl_socket(world: hyperliquid_world.World, *channels: str) -> hyperliquid_world.Socket:
    """A socket that has its subscriptions and their first frames."""
    socket = await world.socket()
    for channel in channels:
        name = {"coin": "ETH"} if channel == "bbo" else {"user": USER}
        await socket.subscribe(channel, **name)
        if channel != "orderUpdates":
            await socket.until(channel)
    return socket


async def aster_socket(world: aster_world.World, path: str) -> aiohttp.ClientWebSocketResponse:
    return await world.session.ws_connect(world.url + path)


async def frames(socket: aiohttp.ClientWebSocketResponse, seconds: float = 0.15) -> list[aiohttp.WSMessage]:
    """Everything that comes until it has been quiet for `seconds`."""
    found = []
    try:
        while True:
            found.append(await socket.receive(timeout=seconds))
            if found[-1].type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return found
    except TimeoutError:
        return found


def bids(found: list[aiohttp.WSMessage]) -> list[float]:
    """Of Hyperliquid's bbo frames, in the order they came."""
    rows = [orjson.loads(message.data) for message in found]
    return [float(row["data"]["bbo"][0]["px"]) for row in rows if row["channel"] == "bbo"]


def is_quote(frame: Any) -> bool:
    try:
        data = orjson.loads(frame)["data"]
        return 0 < float(data["bbo"][0]["px"]) < 1e9 and data["time"] < 1e13
    except (ValueError, KeyError, TypeError):
        return False


def moved(world: Any, count: int, start: float = 2_100.0) -> None:
    for step in range(count):
        world.quote("ETH", start + 10.0 * step)


def ioc(size: str = "0.5", cloid: str | None = CLOID) -> Any:
    return orders(order(ETH, True, "2100", size, cloid=cloid))


# ---- connections ------------------------------------------------------------------------------------------------------


async def test_disconnect_breaks_the_streams_that_carry_the_traffic(hl: hyperliquid_world.World) -> None:
    market, private = await hl_socket(hl, "bbo"), await hl_socket(hl, "userFills")
    fault = hl.faults.add(Kind.DISCONNECT, (MARKET,))
    assert await market.closed() == 1006
    assert fault.hits == 1
    assert not hl.faults.in_force
    await private.send({"method": "ping"})
    await private.until("pong")
    again = await hl_socket(hl, "bbo")  # and who comes back is served
    hl.faults.add(Kind.DISCONNECT, (PRIVATE,))
    assert await private.closed() == 1006
    await again.send({"method": "ping"})
    await again.until("pong")


async def test_disconnect_for_a_time_lets_nobody_stay(hl: hyperliquid_world.World) -> None:
    hl.faults.add(Kind.DISCONNECT, for_s=5.0)
    with pytest.raises(aiohttp.ClientError):
        await hl.socket()
    hl.clock.advance_ns(6 * NS_PER_S)
    hl.faults.prune()
    await hl_socket(hl, "bbo")


async def test_disconnect_counts_connections_and_breaks_rest_unread(aster: aster_world.World) -> None:
    aster.faults.add(Kind.DISCONNECT, (ORDERS,), times=1)
    with pytest.raises(aiohttp.ClientError):
        await aster.order(newClientOrderId="lost")
    assert aster.exchange.orders(aster_world.USER.lower()) == []
    assert (await aster.order()).status == 200


async def test_disconnect_on_orders_breaks_the_socket_before_the_order_is_read(hl: hyperliquid_world.World) -> None:
    socket = await hl_socket(hl, "userFills")
    hl.faults.add(Kind.DISCONNECT, (ORDERS,), times=1)
    await socket.send({"method": "post", "id": 1, "request": {"type": "action", "payload": hl.body(ioc())}})
    assert await socket.closed() == 1006
    assert hl.exchange.orders(USER) == []


async def test_disconnect_finds_a_private_stream_that_has_said_nothing(aster: aster_world.World) -> None:
    key = (await aster.call("POST", "listenKey")).body["listenKey"]
    private = await aster_socket(aster, f"/ws/{key}")
    market = await aster_socket(aster, "/stream?streams=ethusdt@bookTicker")
    await asyncio.sleep(0.05)
    aster.faults.add(Kind.DISCONNECT, (PRIVATE,))
    assert (await private.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSED
    aster.quote("ETH", 3_100.0)
    assert (await market.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT


async def test_a_stall_brings_no_data_but_answers_pings(hl: hyperliquid_world.World, aster: aster_world.World) -> None:
    socket = await hl_socket(hl, "bbo", "userFills")
    hl.faults.add(Kind.STALL)
    moved(hl, 3)
    await hl.act(ioc())
    assert await frames(socket.socket) == []
    await socket.send({"method": "ping"})
    assert (await socket.next())["channel"] == "pong"
    await socket.socket.ping()
    hl.faults.clear()
    hl.quote("ETH", 2_500.0)
    assert float((await socket.until("bbo"))["bbo"][0]["px"]) > 2_499

    other = await aster_socket(aster, "/ws/ethusdt@bookTicker")
    await asyncio.sleep(0.05)
    aster.faults.add(Kind.STALL, (MARKET,))
    moved(aster, 3)
    assert await frames(other) == []
    aster.faults.clear()
    aster.quote("ETH", 3_300.0)
    assert orjson.loads((await other.receive(timeout=5)).data)["s"] == "ETHUSDT"


# ---- time -------------------------------------------------------------------------------------------------------------


async def test_slow_answers_and_slow_frames(aster: aster_world.World) -> None:
    socket = await aster_socket(aster, "/ws/ethusdt@bookTicker")
    await asyncio.sleep(0.05)
    aster.faults.add(Kind.SLOW, (MARKET, ORDERS), value=300)
    began = time.monotonic()
    aster.quote("ETH", 3_200.0)
    placed = await aster.order()
    assert placed.status == 200
    assert time.monotonic() - began >= 0.3
    frame = orjson.loads((await socket.receive(timeout=5)).data)
    aster.quote("ETH", 3_210.0)
    aster.faults.clear()
    aster.quote("ETH", 3_220.0)  # not delayed itself, and still not overtaking
    later = [orjson.loads((await socket.receive(timeout=5)).data) for _ in range(2)]
    assert [float(row["b"]) // 10 for row in (frame, *later)] == [319, 320, 321]
    began = time.monotonic()
    await aster.get("/fapi/v3/time")
    assert time.monotonic() - began < 0.3


async def test_a_skewed_clock_shows_everywhere(hl: hyperliquid_world.World, aster: aster_world.World) -> None:
    aster.faults.add(Kind.CLOCK_SKEW, value=120)
    answer = await aster.get("/fapi/v3/time")
    now = time.time()
    assert answer.body["serverTime"] / 1000 - now == pytest.approx(120, abs=2)
    date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
    assert date - now == pytest.approx(120, abs=2)
    refused = await aster.call("GET", "openOrders", symbol="BTCUSDT")
    assert refused.code == -4225  # a nonce of our time is out of its window
    socket = await aster_socket(aster, "/ws/ethusdt@bookTicker")
    await asyncio.sleep(0.05)
    aster.quote("ETH", 3_200.0)
    assert orjson.loads((await socket.receive(timeout=5)).data)["E"] / 1000 - now == pytest.approx(120, abs=2)
    aster.faults.clear()
    assert abs((await aster.get("/fapi/v3/time")).body["serverTime"] / 1000 - time.time()) < 2

    before_ms = (await hl.info("exchangeStatus"))["time"]
    hl.faults.add(Kind.CLOCK_SKEW, value=-7, for_s=5)
    assert (await hl.info("exchangeStatus"))["time"] == before_ms - 7_000
    hl.clock.advance_ns(6 * NS_PER_S)
    hl.faults.prune()
    assert (await hl.info("exchangeStatus"))["time"] == before_ms + 6_000


# ---- answers ----------------------------------------------------------------------------------------------------------


async def test_http_errors_refuse_or_come_after_the_work(aster: aster_world.World, hl: hyperliquid_world.World) -> None:
    aster.faults.add(Kind.HTTP_ERROR, (ORDERS,), value=429, times=2)
    for _ in range(2):
        answer = await aster.order()
        assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, -1003, "2")
    assert aster.exchange.orders(aster_world.USER.lower()) == []
    assert (await aster.get("/fapi/v3/time")).status == 200
    assert (await aster.order()).status == 200

    hl.faults.add(Kind.HTTP_ERROR, (ORDERS,), value=502, way="executed", times=1)
    status, _ = await hl.post("/exchange", orjson.dumps(hl.body(ioc())))
    assert status == 502
    assert hl.exchange.position(USER, "ETH").qty == Decimal("0.5")
    hl.faults.add(Kind.HTTP_ERROR, (READS,), value=500, times=1)
    assert (await hl.post("/info", orjson.dumps({"type": "openOrders", "user": USER})))[0] == 500
    assert (await hl.post("/info", orjson.dumps({"type": "openOrders", "user": USER})))[0] == 200


async def test_http_errors_reach_posts_over_the_socket(hl: hyperliquid_world.World) -> None:
    socket = await hl_socket(hl, "userFills")
    for status, way, held in ((429, "refused", 0), (503, "executed", Decimal("0.5"))):
        hl.faults.add(Kind.HTTP_ERROR, (ORDERS,), value=status, way=way, times=1)
        request = {"type": "action", "payload": hl.body(ioc())}
        await socket.send({"method": "post", "id": status, "request": request})
        response = (await socket.until("post"))["response"]
        assert response["type"] == "error"
        assert response["payload"].startswith(f"{status} ")
        assert hl.exchange.position(USER, "ETH").qty == held


@pytest.mark.parametrize("way", ["silent", "broken"])
async def test_a_lost_answer_leaves_the_order_done(
    hl: hyperliquid_world.World, aster: aster_world.World, way: str
) -> None:
    hl.faults.add(Kind.LOST_ANSWER, way=way)
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        async with asyncio.timeout(0.3):
            await hl.act(ioc())
    assert hl.exchange.position(USER, "ETH").qty == Decimal("0.5")
    assert (await hl.info("orderStatus", user=USER, oid=CLOID))["order"]["status"] == "filled"

    socket = await hl_socket(hl, "userFills")
    hl.faults.add(Kind.LOST_ANSWER, way=way)
    await socket.send({"method": "post", "id": 1, "request": {"type": "action", "payload": hl.body(ioc())}})
    heard = await frames(socket.socket, 0.3)
    words = [orjson.loads(message.data)["channel"] for message in heard if message.type is aiohttp.WSMsgType.TEXT]
    assert "post" not in words
    assert (heard[-1].type is aiohttp.WSMsgType.CLOSED) is (way == "broken")
    assert hl.exchange.position(USER, "ETH").qty == Decimal("1.0")

    aster.faults.add(Kind.LOST_ANSWER, way=way)
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        async with asyncio.timeout(0.3):
            await aster.order(newClientOrderId="lost")
    found = await aster.call("GET", "order", symbol="BTCUSDT", origClientOrderId="lost")
    assert found.body["status"] == "FILLED"
    assert (await aster.order()).status == 200


async def test_a_refused_nonce_and_an_agent_that_has_run_out(
    hl: hyperliquid_world.World, aster: aster_world.World
) -> None:
    hl.faults.add(Kind.REJECTED_NONCE)
    assert (await hl.act(ioc()))["response"].startswith("Invalid nonce: nonce too low")
    hl.faults.add(Kind.EXPIRED_AUTH)
    for _ in range(2):  # until cleared
        answer = await hl.act(ioc())
        assert answer["status"] == "err"
        assert answer["response"].startswith("User or API Wallet 0x")
    assert hl.exchange.orders(USER) == []
    hl.faults.clear()
    assert (await hl.act(ioc()))["status"] == "ok"

    aster.faults.add(Kind.REJECTED_NONCE, (ORDERS, READS), times=2)
    assert (await aster.order()).code == -4225
    assert (await aster.call("GET", "balance")).code == -4225
    aster.faults.add(Kind.EXPIRED_AUTH, (ORDERS, READS))
    answer = await aster.order()
    assert (answer.status, answer.code) == (401, -2015)
    assert (await aster.call("GET", "balance")).code == -2015
    assert (await aster.get("/fapi/v3/time")).status == 200
    assert aster.exchange.orders(aster_world.USER.lower()) == []


async def test_a_listen_key_that_has_run_out_says_so_and_falls_silent(aster: aster_world.World) -> None:
    key = (await aster.call("POST", "listenKey")).body["listenKey"]
    socket = await aster_socket(aster, f"/ws/{key}")
    await asyncio.sleep(0.05)
    fault = aster.faults.add(Kind.EXPIRED_AUTH, (PRIVATE,))
    assert (fault.hits, aster.faults.in_force) == (1, False)
    told = orjson.loads((await socket.receive(timeout=5)).data)
    assert (told["e"], told["listenKey"]) == ("listenKeyExpired", key)
    assert (await aster.call("PUT", "listenKey")).code == -1125
    await aster.order()
    assert await frames(socket) == []
    assert (await aster.call("POST", "listenKey")).body["listenKey"] != key
    with pytest.raises(FaultRefused, match="it can strike orders"):
        async with hyperliquid_world.World() as world:
            world.faults.add(Kind.EXPIRED_AUTH, (PRIVATE,))


async def test_partial_fills(hl: hyperliquid_world.World, aster: aster_world.World) -> None:
    hl.faults.add(Kind.PARTIAL_FILL, value=0.3)
    filled = (await hl.act(ioc("0.5")))["response"]["data"]["statuses"][0]["filled"]
    assert filled["totalSz"] == "0.15"
    assert hl.exchange.orders(USER)[-1].remaining == Decimal("0.35")
    filled = (await hl.act(ioc("0.5")))["response"]["data"]["statuses"][0]["filled"]
    assert filled["totalSz"] == "0.5"
    hl.faults.add(Kind.PARTIAL_FILL, value=0)
    assert "could not immediately match" in (await hl.act(ioc()))["response"]["data"]["statuses"][0]["error"]

    aster.faults.add(Kind.PARTIAL_FILL, times=1)
    far = await aster.order("BUY", "0.02", "50000")  # does not cross: it has no part to find
    assert (far.body["status"], aster.faults.in_force) == ("NEW", True)
    half = await aster.order("BUY", "0.011", "60500", timeInForce="IOC")
    assert (half.body["status"], half.body["executedQty"]) == ("EXPIRED", "0.005")
    whole = await aster.order("BUY", "0.01", "60500", timeInForce="IOC")
    assert whole.body["status"] == "FILLED"


# ---- frames -----------------------------------------------------------------------------------------------------------


async def test_duplicate_frames(hl: hyperliquid_world.World) -> None:
    socket = await hl_socket(hl, "bbo", "userFills")
    hl.faults.add(Kind.DUPLICATE, value=2)
    hl.quote("ETH", 2_100.0)
    seen = bids(await frames(socket.socket))
    assert len(seen) == 3
    assert len(set(seen)) == 1
    hl.faults.clear()
    hl.faults.add(Kind.DUPLICATE, (PRIVATE,), times=1)
    await hl.act(orders(order(ETH, True, "2200", "0.5")))
    rows = [orjson.loads(m.data) for m in await frames(socket.socket)]
    fills = [row["data"]["fills"][0]["tid"] for row in rows if row["channel"] == "userFills"]
    assert len(fills) == 2
    assert len(set(fills)) == 1


async def test_reordered_frames(hl: hyperliquid_world.World) -> None:
    socket = await hl_socket(hl, "bbo")
    hl.faults.add(Kind.REORDER, times=1, value=2)
    moved(hl, 4)
    assert [round(px, -1) for px in bids(await frames(socket.socket))] == [2110, 2120, 2100, 2130]
    hl.faults.add(Kind.REORDER)
    hl.quote("ETH", 2_300.0)
    assert await frames(socket.socket) == []  # nothing overtakes it
    assert [round(px, -1) for px in bids(await frames(socket.socket, 1.5))] == [2300]


async def test_a_gap_leaves_book_frames_out_and_nothing_else(aster: aster_world.World) -> None:
    socket = await aster_socket(aster, "/ws/ethusdt@bookTicker/ethusdt@aggTrade")
    await asyncio.sleep(0.05)
    aster.faults.add(Kind.GAP, times=2)
    for step in range(4):
        aster.quote("ETH", 3_100.0 + 10 * step, print_usd=100.0)
    await asyncio.sleep(0.15)
    aster.venue.tick()  # trades are told on a beat of their own
    rows = [orjson.loads(message.data) for message in await frames(socket)]
    updates = [row["u"] for row in rows if row["e"] == "bookTicker"]
    assert len(updates) == 2
    assert [row["e"] for row in rows].count("aggTrade") >= 1


@pytest.mark.parametrize("shape", [*SHAPES, "any"])
async def test_garbage_frames_and_answers(hl: hyperliquid_world.World, shape: str) -> None:
    socket = await hl.session.ws_connect(f"{hl.url}/ws", decode_text=False)  # or the library would refuse bad UTF-8
    await socket.send_str('{"method":"subscribe","subscription":{"type":"bbo","coin":"ETH"}}')
    await frames(socket)
    hl.faults.add(Kind.GARBAGE, (MARKET, ORDERS), way=shape)
    hl.quote("ETH", 2_050.0)
    (message,) = await frames(socket)
    assert (message.type is aiohttp.WSMsgType.BINARY) is (shape == "binary") or shape == "any"
    assert not is_quote(message.data)
    status, body = await hl.post("/exchange", orjson.dumps(hl.body(ioc())))
    assert status == 200
    assert hl.exchange.position(USER, "ETH").qty == Decimal("0.5")  # done, and answered with rubbish
    assert body != orjson.dumps({"status": "ok"})
    await frames(socket)
    hl.faults.clear()
    hl.quote("ETH", 2_200.0)
    assert bids(await frames(socket)) != []


def test_every_shape_of_garbage_differs_from_the_frame() -> None:
    frame = (
        b'{"channel":"bbo","data":{"coin":"ETH","time":1790000000000,"bbo":[{"px":"1999.9","sz":"2.5","n":1},null]}}'
    )
    rng = random.Random(1)
    for shape in SHAPES:
        for _ in range(50):
            assert garble(frame, shape, rng)[0] != frame
    assert garble(frame, "types", rng)[0].count(b'"number"') == 4


# ---- asking -----------------------------------------------------------------------------------------------------------


async def test_what_does_not_exist_is_explained(hl: hyperliquid_world.World) -> None:
    for arguments, text in (
        ((Kind.GAP, (PRIVATE,)), "gap on private: here it can strike market"),
        ((Kind.STALL, (ORDERS,)), "can strike market, private"),
        ((Kind.SLOW, (), 0.0), "ms must be 1 to 60000"),
        ((Kind.HTTP_ERROR, (), 200.0), "status must be 400 to 599"),
        ((Kind.STALL, (), 3.0), "takes no value"),
        ((Kind.LOST_ANSWER, (), None, "loudly"), "no way 'loudly'; there are silent, broken"),
        ((Kind.STALL, (), None, "loudly"), "there are none"),
        ((Kind.STALL, (), None, "", -1), "times must be at least 0"),
        ((Kind.STALL, (), None, "", 0, 1e9), "seconds 0 to 86400"),
    ):
        with pytest.raises(FaultRefused, match=text):
            hl.faults.add(*arguments)
    assert not hl.faults.in_force


async def test_faults_are_bounded_listed_and_cleared(hl: hyperliquid_world.World) -> None:
    numbers = [hl.faults.add(Kind.STALL, for_s=60).number for _ in range(MAX_FAULTS)]
    with pytest.raises(FaultRefused, match="clear some first"):
        hl.faults.add(Kind.STALL)
    assert hl.faults.clear(numbers[3]) == 1
    assert hl.faults.clear(numbers[3]) == 0
    assert hl.faults.clear() == MAX_FAULTS - 1
    active, finished = hl.faults.listed()
    assert active == []
    assert len(finished) == MAX_FINISHED


def test_every_kind_has_its_rule() -> None:
    assert set(RULES) == set(Kind)
    for rule in RULES.values():
        assert set(rule.usual) <= set(rule.allowed)


@pytest.mark.parametrize("dialect", [_hyperliquid_faults.Dialect(), _aster_faults.Dialect()])
def test_rubbish_has_a_traffic_too(dialect: Any) -> None:
    for frame in (b"", b"{", b"\xff\x00", b"[]", b"Websocket connection established.", b'{"channel":"', b'{"e":"'):
        assert dialect.of_frame(frame) in (None, MARKET)
        assert dialect.is_book(frame) is False
        assert isinstance(dialect.of_request("POST", "/nowhere", frame), Traffic)
    for reply in (dialect.http_error(429), dialect.http_error(599), dialect.refused_nonce(), dialect.expired_auth()):
        assert isinstance(reply, Reply)
