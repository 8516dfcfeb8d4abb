"""The sandbox's EdgeX by hand: what the SDK cannot ask wrongly, sockets frame by frame, restarts, and faults."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
import pytest

from core.clock import NS_PER_S, SimClock
from core.types import Side, TimeInForce
from ops.sandbox.fault_kinds import Kind, Traffic
from ops.sandbox.model import Transaction
from ops.sandbox.venues._edgex_hub import PING_NS, UNANSWERED_MAX
from ops.sandbox.venues.edgex import SandboxVenue
from tests.ops.sandbox.edgex_world import ACCOUNT, BTC, ETH, OTHER, VALUES, World, signed

NOON_NS = 1_795_132_800 * NS_PER_S


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world


def book(rows: list[dict[str, Any]]) -> tuple[dict[str, str], dict[str, str]]:
    (row,) = rows
    return tuple({level["price"]: level["size"] for level in row[side]} for side in ("bids", "asks"))  # type: ignore[return-value]


# -- who asks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-edgeX-Api-Key", "X-edgeX-Passphrase", "X-edgeX-Signature", "X-edgeX-Timestamp"])
async def test_every_header_is_needed_and_judged(world: World, header: str) -> None:
    missing = await world.call("GET", "account/getAccountAsset", **{header: None})
    assert (missing.status, missing.code) == (400, "GATEWAY_HEADER_REQUIRED")
    wrong = await world.call("GET", "account/getAccountAsset", **{header: "1"})
    if header == "X-edgeX-Api-Key":
        assert (wrong.status, wrong.code) == (401, "INVALID_API_KEY")
        assert wrong.body["errorParam"] == {"apiKey": "1"}  # the venue echoes it
    else:
        assert (wrong.status, wrong.code) == (200, "SIGNATURE_ERROR")


@pytest.mark.parametrize(
    ("off_s", "code"), [(-59, "SUCCESS"), (59, "SUCCESS"), (-61, "SIGNATURE_ERROR"), (61, "SIGNATURE_ERROR")]
)
async def test_the_timestamp_has_a_window(world: World, off_s: int, code: str) -> None:
    clock = SimClock(wire_ns=world.clock.wire_ns() + off_s * NS_PER_S)
    headers = signed("GET", "/api/v2/private/account/getAccountById", f"accountId={ACCOUNT}", clock)
    assert (await world.call("GET", "account/getAccountById", **headers)).code == code


async def test_a_key_speaks_for_its_own_account_only(world: World) -> None:
    answer = await world.call("GET", "account/getAccountAsset", {"accountId": OTHER["EDGEX_ACCOUNT_ID"]})
    assert (answer.status, answer.code) == (400, "GATEWAY_PARAM_INVALID")


# -- orders ---------------------------------------------------------------------------------------------------------------


TAMPERED: dict[str, list[dict[str, Any]]] = {
    "SIGNATURE_ERROR": [
        {"l2Signature": "00" * 65}, {"l2Signature": "zz"}, {"l2Signature": "00"}, {"side": "SELL"}, {"l2LimitFee": "2"},
        {"price": "60050", "l2Value": "600.5"}, {"size": "0.02", "l2Size": "0.02", "l2Value": "1202"},
    ],
    "INVALID_PARAMETER": [
        {"expireTime": "1999999999000", "l2ExpireTime": "2999999999000"}, {"expireTime": "1000", "l2ExpireTime": "999999999"},
        {"l2ExpireTime": "1"}, {"l2LimitFee": "0"}, {"l2Value": "1"}, {"l2Size": "1"}, {"price": "60101"},
        {"price": "60000.05"}, {"price": "90000", "l2Value": "900"}, {"size": "0.0005"}, {"size": "0"}, {"size": "101"},
        {"contractId": ETH}, {"type": "STOP_LIMIT"}, {"timeInForce": "FILL_OR_KILL"}, {"clientOrderId": "with blank"},
        {"isSetOpenTp": True}, {"side": "HOLD"}, {"type": "MARKET", "timeInForce": "POST_ONLY"},
    ],
    "INVALID_L2_NONCE": [{"l2Nonce": "5"}, {"clientOrderId": "another"}],
    "GATEWAY_PARAM_INVALID": [
        {"size": "-1"}, {"size": "NaN"}, {"size": 1}, {"contractId": "5"}, {"reduceOnly": "yes"}, {"clientOrderId": ""},
        {"accountId": OTHER["EDGEX_ACCOUNT_ID"]}, {"expireTime": "soon"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "tampered"), [(code, each) for code, found in TAMPERED.items() for each in found], ids=str
)
async def test_what_the_gateway_sees_it_refuses_at_once(world: World, code: str, tampered: dict[str, Any]) -> None:
    answer = await world.order(tampered=tampered)
    assert answer.code == code
    assert not world.exchange.orders(ACCOUNT)


async def test_a_signature_is_taken_with_and_without_0x(world: World) -> None:
    for prefix in ("", "0x"):
        body = await world.signed_body(client_order_id=f"id{prefix}")
        body["l2Signature"] = prefix + body["l2Signature"]
        placed = await world.call("POST", "order/createOrder", body)
        assert (await world.find(placed.data["orderId"]))["status"] == "FILLED"


async def test_a_client_id_is_good_once_even_while_the_first_is_on_its_way() -> None:
    async with World(order_delay_s=0.05) as world:
        body = await world.signed_body(client_order_id="once")
        both = await asyncio.gather(*(world.call("POST", "order/createOrder", body) for _ in range(2)))
        assert sorted(answer.code for answer in both) == ["DUPLICATE_CLIENT_ORDER_ID", "SUCCESS"]
        assert (await world.order(client_order_id="once")).code == "DUPLICATE_CLIENT_ORDER_ID"
        assert len(world.exchange.orders(ACCOUNT)) == 1


async def test_an_order_ends_at_its_own_time() -> None:
    clock = SimClock(wire_ns=NOON_NS)
    async with World(clock) as world:
        order = world.exchange.place(
            ACCOUNT, "BTCUSDC", Side.BUY, Decimal("0.01"), Decimal(59_000), TimeInForce.GTC,
            client_id="c", memo=str((NOON_NS + 10 * NS_PER_S) // 10**6),
        ).order  # fmt: skip
        world.venue.tick()
        assert order.is_open
        clock.advance_ns(11 * NS_PER_S)
        world.venue.tick()
        assert (await world.find(str(order.order_id)))["cancelReason"] == "EXPIRE_CANCELED"


async def test_a_budget_that_is_used_up_is_429(world: World) -> None:
    world.venue.limits.creates_max = 2
    for number in range(2):
        assert (await world.order(client_order_id=f"n{number}")).code == "SUCCESS"
    over = await world.order(client_order_id="n3")
    assert (over.status, over.code) == (429, "RATE_LIMIT_EXCEEDED")
    world.venue.limits.private_max = 0
    assert (await world.call("GET", "account/getAccountById")).status == 429


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("order/getActiveOrderPage", "201"),
        ("order/getHistoryOrderPage", "101"),
        ("order/getHistoryOrderFillTransactionPage", "0"),
    ],
)
async def test_pages_have_a_size(world: World, path: str, size: str) -> None:
    assert (await world.call("GET", path, {"size": size})).code == "INVALID_GET_PAGE_SIZE"


# -- public sockets -------------------------------------------------------------------------------------------------------


async def test_a_book_is_its_snapshot_and_a_chain_of_differences(world: World) -> None:
    channel = f"depth.{BTC}.15"
    socket = await world.public(channel)
    rows = await socket.rows(channel)
    bids, asks = book(rows)
    version = int(rows[0]["endVersion"])
    assert (rows[0]["depthType"], len(bids), len(asks)) == ("SNAPSHOT", 15, 15)
    for step in range(20):
        world.quote("BTC", 60_000.0 + 7 * step, seed=step)
        late = await world.public(channel)
        (row,) = await socket.rows(channel)
        assert (row["depthType"], int(row["startVersion"])) == ("CHANGED", version)
        version = int(row["endVersion"])
        for side, held in (("bids", bids), ("asks", asks)):
            for level in row[side]:
                held.pop(level["price"], None)
                if Decimal(level["size"]):
                    held[level["price"]] = level["size"]
        top_bids, top_asks = world.exchange.levels("BTCUSDC", 15)
        assert {Decimal(px): Decimal(qty) for px, qty in bids.items()} == {level.px: level.qty for level in top_bids}
        assert {Decimal(px): Decimal(qty) for px, qty in asks.items()} == {level.px: level.qty for level in top_asks}
        joined = await late.rows(channel)
        assert int(joined[0]["endVersion"]) == version  # who comes later hangs on the same chain


async def test_subscriptions_that_do_not_exist_are_refused_and_the_socket_stays(world: World) -> None:
    socket = await world.public()
    for message, code in (
        ({"type": "subscribe", "channel": "depth.99999999.15"}, "GATEWAY_INVALID_CONTRACT_ID"),
        ({"type": "subscribe", "channel": f"depth.{BTC}.50"}, "GATEWAY_INVALID_BOOK_DEPTH"),
        ({"type": "subscribe", "channel": "nonsense"}, "GATEWAY_INVALID_CHANNEL"),
        ({"type": "subscribe"}, "GATEWAY_INVALID_CHANNEL"),
        ({"type": "dance", "channel": "x"}, "GATEWAY_INVALID_MESSAGE_TYPE"),
        (["x"], "GATEWAY_UNRECOGNIZED_MESSAGE"),
    ):
        await socket.socket.send_json(message)
        frame = await socket.next()
        assert (frame["type"], frame["content"]["code"]) == ("error", code)
    await socket.socket.send_json({"type": "ping", "time": "77"})
    assert await socket.next() == {"type": "pong", "time": "77"}
    await socket.socket.send_json({"type": "subscribe", "channel": "ticker.all.1s"})
    assert (await socket.next())["type"] == "subscribed"
    assert len(await socket.rows("ticker.all.1s")) == 6
    await socket.socket.send_json({"type": "unsubscribe", "channel": "ticker.all.1s"})
    assert (await socket.until("unsubscribed"))["channel"] == "ticker.all.1s"


async def test_samples_come_once_a_second_and_a_single_book_ticker_only_once() -> None:
    clock = SimClock(wire_ns=NOON_NS)
    async with World(clock) as world:
        socket = await world.public(
            "bookTicker.all.1s", f"bookTicker.{BTC}", f"ticker.{BTC}", "fundingRate.all", f"trades.{BTC}"
        )
        for channel in ("bookTicker.all.1s", f"bookTicker.{BTC}", f"ticker.{BTC}", "fundingRate.all", f"trades.{BTC}"):
            await socket.rows(channel)
        world.quote("BTC", 60_500.0)
        clock.advance_ns(NS_PER_S)
        world.venue.tick()
        rows = await socket.rows("bookTicker.all.1s")
        bid, ask = world.best()
        (btc,) = [row for row in rows if row["contractId"] == BTC]
        assert (Decimal(btc["bestBidPrice"]), Decimal(btc["bestAskPrice"])) == (bid, ask)
        assert int(btc["time"]) == (NOON_NS + NS_PER_S) // 10**6
        (ticker,) = await socket.rows(f"ticker.{BTC}")
        assert int(ticker["nextFundingTime"]) - int(ticker["fundingTime"]) == 4 * 3_600_000
        assert Decimal(ticker["markPrice"]) == 60_500
        world.quote("BTC", 60_500.0, print_usd=900.0)
        (trade,) = await socket.rows(f"trades.{BTC}")
        assert trade["isBuyerMaker"] is False


async def test_a_quiet_book_says_so_and_a_silent_client_is_cut() -> None:
    clock = SimClock(wire_ns=NOON_NS)
    async with World(clock) as world:
        channel = f"depth.{BTC}.15"
        socket = await world.public(channel)
        (whole,) = await socket.rows(channel)
        clock.advance_ns(NS_PER_S)
        world.venue.tick()
        (row,) = await socket.rows(channel)
        assert (row["startVersion"], row["endVersion"], row["bids"], row["asks"]) == (
            whole["endVersion"],
            whole["endVersion"],
            [],
            [],
        )
        for _ in range(UNANSWERED_MAX + 1):
            clock.advance_ns(PING_NS)
            world.venue.tick()
        message = await socket.socket.receive(timeout=5.0)
        while message.type is aiohttp.WSMsgType.TEXT:
            message = await socket.socket.receive(timeout=5.0)
        assert socket.socket.close_code == 1006


# -- the private socket ---------------------------------------------------------------------------------------------------


async def test_the_private_socket_needs_the_headers(world: World) -> None:
    query = f"accountId={ACCOUNT}&timestamp=1"
    for headers in ({}, signed("GET", "/api/v1/private/ws", query, world.clock)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.session.ws_connect(f"{world.url}/api/v1/private/ws?{query}", headers=headers)
        assert refused.value.status == 401


async def test_a_life_of_an_order_is_told_in_versions_to_its_owner_only(world: World) -> None:
    socket, other = await world.private(), await world.private(OTHER)
    snapshot = (await socket.next())["content"]
    assert (snapshot["event"], snapshot["accountId"]) == ("Snapshot", 0)
    assert snapshot["data"]["order"] == []
    order_id = (await world.order(side="SELL", price="59900")).data["orderId"]
    pending = (await socket.until("ORDER_UPDATE"))["content"]
    assert [(o["id"], o["status"]) for o in pending["data"]["order"]] == [(order_id, "PENDING")]
    done = (await socket.until("ORDER_UPDATE"))["content"]
    assert snapshot["version"] < pending["version"] < done["version"]
    (order,), (fill,) = done["data"]["order"], done["data"]["orderFillTransaction"]
    assert (order["status"], order["cumMatchSize"], fill["orderId"]) == ("FILLED", "0.01", order_id)
    assert [(p["contractId"], p["openSize"]) for p in done["data"]["position"]] == [(BTC, "-0.01")]
    refused = (await world.order(side="BUY", size="50")).data["orderId"]
    await socket.until("ORDER_UPDATE")
    ended = (await socket.until("ORDER_UPDATE"))["content"]["data"]["order"][0]
    assert (ended["id"], ended["status"], ended["cancelReason"]) == (refused, "CANCELED", "MARGIN_NOT_ENOUGH")
    await world.call("POST", "account/updateLeverageSetting", {"contractId": BTC, "leverage": "4"})
    changed = (await socket.until("ACCOUNT_UPDATE"))["content"]["data"]["account"][0]
    assert changed["contractIdToTradeSetting"][BTC]["maxLeverage"] == "4"
    assert (await other.next())["content"]["event"] == "Snapshot"
    await other.socket.send_json({"type": "ping", "time": "1"})
    assert (await other.next())["type"] == "pong"  # and nothing in between


async def test_a_liquidation_is_an_order_without_client_id(world: World) -> None:
    socket = await world.private()
    world.exchange.set_leverage(ACCOUNT, "BTCUSDC", 100, cross=True)
    world.exchange.place(ACCOUNT, "BTCUSDC", Side.BUY, Decimal("5"), Decimal(61_000), TimeInForce.IOC)
    await socket.until("ORDER_UPDATE")
    for step in range(1, 40):
        world.quote("BTC", 60_000.0 - 600 * step)
        world.exchange.housekeep()
        if not world.exchange.position(ACCOUNT, "BTCUSDC").qty:
            break
    while True:
        data = (await socket.until("ORDER_UPDATE"))["content"]["data"]
        if data["orderFillTransaction"] and data["orderFillTransaction"][0]["isLiquidate"]:
            break
    assert data["order"][0]["clientOrderId"] == ""
    assert data["order"][0]["isLiquidate"] is True


# -- restarts -------------------------------------------------------------------------------------------------------------


async def test_a_restart_changes_nothing_that_a_client_can_ask() -> None:
    paths = ("order/getActiveOrderPage", "order/getHistoryOrderPage", "order/getHistoryOrderFillTransactionPage",
             "account/getPositionByContractId", "account/getCollateralByCoinId", "account/getAccountById",
             "account/getPositionTransactionPage")  # fmt: skip
    async with World() as before:
        await before.order(client_order_id="a")
        await before.order(client_order_id="b", price="59000", time_in_force="GOOD_TIL_CANCEL")
        await before.order(client_order_id="c", size="50")
        await before.call("POST", "account/updateLeverageSetting", {"contractId": ETH, "leverage": "7"})
        told = [(await before.call("GET", path)).data for path in paths]
        socket = await before.private()
        version = (await socket.next())["content"]["version"]
        log = [msgspec.json.decode(msgspec.json.encode(each), type=Transaction) for each in before.transactions]
    async with World(log=log) as after:
        assert [(await after.call("GET", path)).data for path in paths] == told
        assert (await after.order(client_order_id="c")).code == "DUPLICATE_CLIENT_ORDER_ID"
        socket = await after.private()
        assert (await socket.next())["content"]["version"] > version - 10_000  # by the clock, so it goes on


def test_credentials_and_identity_belong_together() -> None:
    values = SandboxVenue.new_credentials(random.Random(5))
    identity = SandboxVenue.identity(values)
    assert identity.address == values["EDGEX_ACCOUNT_ID"]
    assert values["EDGEX_PRIVATE_KEY"] not in identity.agents[0]
    assert values["EDGEX_API_KEY"] in identity.agents[0]
    with pytest.raises(KeyError):
        SandboxVenue.identity({"EDGEX_ACCOUNT_ID": "5"})
    with pytest.raises(ValueError):
        SandboxVenue.identity(VALUES | {"EDGEX_PRIVATE_KEY": "zz"})


# -- faults ---------------------------------------------------------------------------------------------------------------


async def test_traffic_is_told_apart(world: World) -> None:
    dialect = world.venue.dialect
    assert dialect.of_request("POST", "/api/v2/private/order/createOrder", b"") is Traffic.ORDERS
    assert dialect.of_request("POST", "/api/v2/private/order/cancelAllOrder", b"") is Traffic.ORDERS
    assert dialect.of_request("POST", "/api/v2/private/account/updateLeverageSetting", b"") is Traffic.ORDERS
    assert dialect.of_request("POST", "/api/v2/private/order/getMaxCreateOrderSize", b"") is Traffic.READS
    assert dialect.of_request("GET", "/api/v2/private/order/getOrderById?orderIdList=1", b"") is Traffic.READS
    assert dialect.of_request("GET", "/api/v2/public/meta/getMetaData", b"") is Traffic.MARKET
    assert dialect.of_upgrade("/api/v1/private/ws?accountId=1") == {Traffic.PRIVATE}
    assert dialect.of_upgrade("/api/v1/public/ws?timestamp=1") == {Traffic.MARKET}


async def test_faults_strike_what_they_name(world: World) -> None:
    socket, private = await world.public(f"depth.{BTC}.15"), await world.private()
    await socket.rows(f"depth.{BTC}.15")
    await private.next()
    world.faults.add(Kind.HTTP_ERROR, (Traffic.ORDERS,), value=429, times=1)
    refused = await world.order(client_order_id="f1")
    assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
    world.faults.add(Kind.REJECTED_NONCE)
    assert (await world.order(client_order_id="f2")).code == "INVALID_L2_NONCE"
    world.faults.add(Kind.EXPIRED_AUTH, (Traffic.READS,), times=1)
    assert (await world.call("GET", "account/getAccountById")).code == "INVALID_API_KEY"
    world.faults.add(Kind.PARTIAL_FILL, value=0.5)
    half = (await world.order(client_order_id="f3", size="0.02")).data["orderId"]
    assert (await world.find(half))["cumFillSize"] == "0.01"
    world.faults.add(Kind.GAP)
    for step in (1, 2):
        world.quote("BTC", 60_000.0 + 50 * step)
    (row,) = await socket.rows(f"depth.{BTC}.15")  # of the fill
    (next_row,) = await socket.rows(f"depth.{BTC}.15")
    assert int(next_row["startVersion"]) > int(row["endVersion"])
    world.faults.add(Kind.DISCONNECT, (Traffic.PRIVATE,))
    while (message := await private.socket.receive(timeout=5.0)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
