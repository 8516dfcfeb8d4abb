"""The simulated Hyperliquid below the SDK: refusals, nonces, posts over the socket, drops.

Facts: docs/venues/hyperliquid.md 3, 6, 7 and 10.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hyperliquid.utils.signing import sign_l1_action

from core.clock import NS_PER_S
from tests.ops.sandbox.hyperliquid_world import (
    AGENT,
    BTC,
    DEAD,
    ETH,
    KPEPE,
    MASTER,
    STRANGER,
    USER,
    World,
    order,
    orders,
)

CLOID = "0x7a6d" + "0" * 27 + "1"
HOUR_NS = 3600 * NS_PER_S


def only(answer: Any) -> Any:
    assert answer["status"] == "ok", answer
    (status,) = answer["response"]["data"]["statuses"]
    return status


def refused(answer: Any) -> str:
    assert answer["status"] == "err", answer
    text: str = answer["response"]
    return text


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "text"),
    [
        ("/info", b'{"type":"meta"}', "text/plain", 415, b""),
        ("/info", b"{", "application/json", 400, b""),
        (
            "/info",
            b'{"type":"what"}',
            "application/json",
            422,
            b"Failed to deserialize the JSON body into the target type",
        ),
        ("/info", b'{"type":"clearinghouseState"}', "application/json", 422, b"Failed to deserialize"),
        ("/info", b'{"type":"clearinghouseState","user":"0x1"}', "application/json", 422, b"Failed to deserialize"),
        ("/info", b'{"type":"fundingHistory","coin":"btc","startTime":0}', "application/json", 500, b"null"),
        ("/info", b'{"type":"meta","dex":"nope"}', "application/json", 500, b"null"),
        ("/info", b'{"type":"l2Book","coin":"btc"}', "application/json", 200, b"null"),
        ("/exchange", b"{", "application/json", 422, b"Failed to deserialize"),
        ("/exchange", b'{"action":{"type":"fly"},"nonce":1}', "application/json", 422, b"Failed to deserialize"),
        ("/exchange", b"{}", "text/plain", 415, b""),
    ],
)
async def test_http_layer(path: str, body: bytes, kind: str, status: int, text: bytes) -> None:
    async with World() as world:
        got, answer = await world.post(path, body, kind)
        assert got == status
        assert answer.startswith(text)


async def test_get_is_not_allowed() -> None:
    async with World() as world, world.session.get(world.url + "/info") as response:
        assert response.status == 405


async def test_agent_and_master_may_sign_a_stranger_may_not() -> None:
    async with World() as world:
        for wallet in (AGENT, MASTER):
            assert "filled" in only(await world.act(orders(order(BTC, True, "80100", "0.01")), wallet=wallet))
        text = refused(await world.act(orders(order(BTC, True, "80100", "0.01")), wallet=STRANGER))
        assert text == f"User or API Wallet {STRANGER.address.lower()} does not exist."


async def test_a_body_changed_after_signing_names_a_random_wallet() -> None:
    async with World() as world:
        body = world.body(orders(order(BTC, True, "80100", "0.01")))
        body["action"]["orders"][0]["s"] = "0.02"
        text = refused(await world.send(body))
        assert text.startswith("User or API Wallet 0x")
        assert AGENT.address.lower() not in text
        body["signature"]["v"] = 99
        assert refused(await world.send(body)) == "Unable to recover signer."
        assert world.exchange.fills(USER) == []


async def test_mainnet_signatures_are_strangers_here() -> None:
    async with World() as world:
        body = world.body({"type": "noop"})
        body["signature"] = sign_l1_action(AGENT, body["action"], None, body["nonce"], None, True)
        assert "does not exist" in refused(await world.send(body))


async def test_nonces_unused_within_the_window_and_above_the_hundred_kept() -> None:
    async with World() as world:
        now = world.now_ms
        noop = {"type": "noop"}
        assert (await world.act(noop, nonce=now))["status"] == "ok"
        assert refused(await world.act(noop, nonce=now)) == f"Invalid nonce: duplicate nonce {now}"
        assert (await world.act(noop, nonce=now - 7))["status"] == "ok"  # out of order is fine
        assert (await world.act(noop, nonce=now, wallet=MASTER))["status"] == "ok"  # per signer
        assert "nonce too low" in refused(await world.act(noop, nonce=now - 2 * 86_400_000 - 1))
        assert "nonce too high" in refused(await world.act(noop, nonce=now + 86_400_000 + 1))
        for step in range(1, 100):
            assert (await world.act(noop, nonce=now + step))["status"] == "ok"
        assert refused(await world.act(noop, nonce=now - 8)) == f"Invalid nonce: nonce too low {now - 8} < {now}"


async def test_the_same_bytes_twice_trade_once() -> None:
    async with World() as world:
        body = world.body(orders(order(BTC, True, "80100", "0.01", cloid=CLOID)))
        assert "filled" in only(await world.send(body))
        assert "duplicate nonce" in refused(await world.send(body))
        assert len(world.exchange.fills(USER)) == 1


async def test_a_noop_with_the_same_nonce_kills_an_order_in_flight() -> None:
    async with World(order_delay_s=0.3) as world:
        nonce = world.nonce()
        flying = asyncio.create_task(world.act(orders(order(BTC, True, "80100", "0.01")), nonce=nonce))
        await asyncio.sleep(0.05)
        assert (await world.act({"type": "noop"}, nonce=nonce))["status"] == "ok"
        assert "duplicate nonce" in refused(await flying)
        assert world.exchange.fills(USER) == []


async def test_expiry_is_judged_when_the_action_arrives() -> None:
    async with World() as world:
        late = await world.act({"type": "noop"}, expires=world.now_ms - 1)
        assert refused(late) == "Action already expired"
        assert (await world.act({"type": "noop"}, expires=world.now_ms + 1))["status"] == "ok"
        limit = await world.info("userRateLimit", user=USER)
        assert limit["nRequestsUsed"] == 6  # an expired one costs five


async def test_vault_addresses_are_signed_and_must_be_the_account() -> None:
    async with World() as world:
        assert (await world.act({"type": "noop"}, vault=USER))["status"] == "ok"
        other = "0x" + "44" * 20
        assert refused(await world.act({"type": "noop"}, vault=other)) == f"Vault not registered: {other}"


async def test_weight_and_address_limits() -> None:
    async with World() as world:
        cancels = [{"a": BTC, "o": n} for n in range(201)]
        assert (
            refused(await world.act({"type": "cancel", "cancels": cancels}))
            == "Signed action over weight limit of 200."
        )
        world.exchange.count_request(USER, 10_000)
        text = refused(await world.act(orders(order(BTC, True, "80100", "0.01"))))
        assert text.startswith("Too many cumulative requests sent (10001 > 10000) for cumulative volume traded $0.00.")
        assert (await world.act({"type": "cancel", "cancels": cancels[:1]}))["status"] == "ok"  # cancels have more room


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (order(BTC, True, "80000.5", "0.01"), "Price must be divisible by tick size. asset=0"),
        (order(BTC, True, "80000", "0.000001"), "Order has invalid size. asset=0"),
        (order(BTC, True, "80000", "0"), "Order has zero size. asset=0"),
        (order(BTC, True, "80000", "0.0001"), "Order must have minimum value of $10. asset=0"),
        (order(BTC, True, "80000", "9"), "Insufficient margin to place order. asset=0"),
        (order(BTC, False, "80000", "0.01", reduce_only=True), "Reduce only order would increase position. asset=0"),
        (
            order(ETH, True, "2001", "1", "Alo"),
            "Post only order would have immediately matched, bbo was 1999.9@2000.1. asset=1",
        ),
        (order(ETH, True, "1990", "1"), "Order could not immediately match against any resting orders. asset=1"),
        (order(ETH, True, "3900", "1"), "Order price cannot be more than 80% away from the reference price asset=1"),
        (order(DEAD, True, "1", "100"), "Order has invalid asset. asset=2"),
        (order(99, True, "1", "100"), "Order has invalid asset. asset=99"),
    ],
)
async def test_order_refusals(row: Any, text: str) -> None:
    async with World() as world:
        assert only(await world.act(orders(row)))["error"] == text


async def test_rejected_orders_are_found_by_cloid_with_their_status() -> None:
    async with World() as world:
        only(await world.act(orders(order(ETH, True, "1990", "1", cloid=CLOID))))
        found = await world.info("orderStatus", user=USER, oid=CLOID)
        assert (found["order"]["status"], found["order"]["order"]["cloid"]) == ("iocCancelRejected", CLOID)
        only(await world.act(orders(order(ETH, True, "2001", "1", "Alo", cloid=CLOID))))
        found = await world.info("orderStatus", user=USER, oid=CLOID.upper().replace("0X", "0x"))
        assert found["order"]["status"] == "badAloPxRejected"


async def test_a_partial_ioc_answers_filled_with_less() -> None:
    async with World() as world:
        filled = only(await world.act(orders(order(ETH, True, "2000.1", "4"))))["filled"]
        assert (filled["totalSz"], filled["avgPx"]) == ("2.5", "2000.1")  # 5,000 USD at the touch
        (position,) = (await world.info("clearinghouseState", user=USER))["assetPositions"]
        assert position["position"]["szi"] == "2.5"


async def test_thousands_are_thousands() -> None:
    async with World() as world:
        filled = only(await world.act(orders(order(KPEPE, True, "0.0041", "10000"))))["filled"]
        assert filled["totalSz"] == "10000.0"
        assert float(filled["avgPx"]) == pytest.approx(0.004, rel=0.001)


async def test_funding_is_paid_on_the_oracle_and_told() -> None:
    async with World() as world:
        only(await world.act(orders(order(ETH, True, "2001", "1"))))
        socket = await world.socket()
        await socket.subscribe("userFundings", user=USER)
        assert (await socket.until("userFundings"))["isSnapshot"] is True
        await socket.subscribe("userEvents", user=USER)
        world.clock.advance_ns(HOUR_NS)
        world.exchange.housekeep()
        (told,) = (await socket.until("userFundings"))["fundings"]
        assert (told["coin"], told["usdc"], told["szi"], told["fundingRate"]) == ("ETH", "-0.025", "1.0", "0.0000125")
        event = await socket.until("user")
        assert event["funding"]["usdc"] == "-0.025"
        (row,) = await world.info("userFunding", user=USER, startTime=0)
        assert row["delta"] == {"type": "funding", "coin": "ETH", "usdc": "-0.025", "szi": "1.0",
                                "fundingRate": "0.0000125", "nSamples": None}  # fmt: skip
        assert row["time"] % 3_600_000 == 0


async def test_the_dead_man_switch_fires_once_and_counts() -> None:
    async with World() as world:
        world.exchange.ledger.accounts[USER].volume = Decimal(2_000_000)
        only(await world.act(orders(order(ETH, True, "1900", "1", "Gtc", cloid=CLOID))))
        soon = world.now_ms + 4_000
        assert "at least 5 seconds" in refused(await world.act({"type": "scheduleCancel", "time": soon}))
        assert (await world.act({"type": "scheduleCancel", "time": soon + 2_000}))["status"] == "ok"
        world.venue.tick()
        assert len(world.exchange.open_orders(USER)) == 1
        world.clock.advance_ns(7 * NS_PER_S)
        world.venue.tick()
        assert world.exchange.open_orders(USER) == []
        found = await world.info("orderStatus", user=USER, oid=CLOID)
        assert found["order"]["status"] == "scheduledCancel"
        assert (await world.act({"type": "scheduleCancel", "time": world.now_ms + 6_000}))["status"] == "ok"
        assert (await world.act({"type": "scheduleCancel"}))["status"] == "ok"
        only(await world.act(orders(order(ETH, True, "1900", "1", "Gtc"))))
        world.clock.advance_ns(7 * NS_PER_S)
        world.venue.tick()
        assert len(world.exchange.open_orders(USER)) == 1  # cleared


async def test_orders_and_reads_over_the_socket() -> None:
    async with World() as world:
        socket = await world.socket()
        payload = world.body(orders(order(ETH, True, "2001", "1")))
        await socket.send({"method": "post", "id": 256, "request": {"type": "action", "payload": payload}})
        data = await socket.until("post")
        assert data["id"] == 256
        assert data["response"]["type"] == "action"
        assert data["response"]["payload"]["response"]["data"]["statuses"][0]["filled"]["totalSz"] == "1.0"
        read = {"type": "info", "payload": {"type": "openOrders", "user": USER}}
        await socket.send({"method": "post", "id": 7, "request": read})
        data = await socket.until("post")
        assert data == {"id": 7, "response": {"type": "info", "payload": {"type": "openOrders", "data": []}}}
        await socket.send({"method": "post", "id": 8, "request": {"type": "action", "payload": {"action": 1}}})
        data = await socket.until("post")
        assert data["response"]["type"] == "error"
        assert data["response"]["payload"].startswith("422 Failed to deserialize")


async def test_at_most_a_hundred_posts_in_flight() -> None:
    async with World(order_delay_s=0.5) as world:
        socket = await world.socket()
        noop = world.body({"type": "noop"})
        for number in range(101):
            await socket.send({"method": "post", "id": number, "request": {"type": "action", "payload": noop}})
        assert await socket.until("error") == "too many pending post requests id=100"


async def test_subscription_acks_snapshots_and_errors_keep_the_socket() -> None:
    async with World() as world:
        socket = await world.socket()
        assert await socket.subscribe("l2Book", coin="BTC", fast=True) == {
            "method": "subscribe",
            "subscription": {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None, "fast": True},
        }
        book = await socket.until("l2Book")
        assert [len(side) for side in book["levels"]] == [5, 5]
        await socket.subscribe("bbo", coin="ETH")
        first = await socket.until("bbo")
        assert [level["px"] for level in first["bbo"]] == ["1999.9", "2000.1"]
        assert first["time"] == world.now_ms
        await socket.send({"method": "subscribe", "subscription": {"type": "bbo", "coin": "ETH"}})
        assert (await socket.until("error")).startswith("Already subscribed: ")
        await socket.send({"method": "subscribe", "subscription": {"type": "weather"}})
        assert (await socket.until("error")).startswith("Invalid subscription ")
        await socket.send("{")
        assert (await socket.until("error")) == "Error parsing JSON into valid websocket request: {"
        await socket.send([])
        assert (await socket.until("error")).startswith("Error parsing JSON")
        await socket.send({"method": "ping"})
        assert (await socket.next()) == {"channel": "pong"}
        await socket.send({"method": "unsubscribe", "subscription": {"type": "bbo", "coin": "ETH"}})
        await socket.until("subscriptionResponse")
        world.quote("ETH", 2_010.0)
        await socket.send({"method": "ping"})
        assert (await socket.next()) == {"channel": "pong"}  # no bbo between
        await socket.send({"method": "unsubscribe", "subscription": {"type": "bbo", "coin": "ETH"}})
        assert (await socket.until("error")).startswith("Already unsubscribed: ")


async def test_bbo_speaks_only_on_change() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe("bbo", coin="ETH")
        await socket.until("bbo")
        world.quote("ETH", 2_010.0)
        world.quote("ETH", 2_010.0)
        world.quote("BTC", 81_000.0)
        assert (await socket.until("bbo"))["bbo"][0]["px"] == "2009.8"
        await socket.send({"method": "ping"})
        assert (await socket.next()) == {"channel": "pong"}


@pytest.mark.parametrize(
    "subscription",
    [
        {"type": "bbo", "coin": "btc"},
        {"type": "bbo", "coin": "NOPE"},
        {"type": "trades"},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 6},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 4, "mantissa": 2},
    ],
)
async def test_an_unknown_coin_drops_the_whole_socket_without_a_word(subscription: dict[str, Any]) -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe("bbo", coin="ETH")
        await socket.send({"method": "subscribe", "subscription": subscription})
        assert await socket.closed() == 1006


async def test_a_connection_to_which_nothing_was_sent_for_60_s_is_dropped() -> None:
    async with World() as world:
        silent, pinging = await world.socket(), await world.socket()
        world.clock.advance_ns(59 * NS_PER_S)
        await pinging.send({"method": "ping"})
        assert (await pinging.next()) == {"channel": "pong"}
        world.clock.advance_ns(2 * NS_PER_S)
        world.venue.tick()
        assert await silent.closed() == 1006
        await pinging.send({"method": "ping"})
        assert (await pinging.next()) == {"channel": "pong"}


async def test_user_channels_tell_orders_fills_and_states() -> None:
    async with World() as world:
        socket = await world.socket()
        for kind in ("orderUpdates", "userFills", "userEvents", "clearinghouseState", "openOrders"):
            await socket.subscribe(kind, user=USER.upper().replace("0X", "0x"))
        oid = only(await world.act(orders(order(ETH, True, "1990", "1", "Gtc", cloid=CLOID))))["resting"]["oid"]
        (update,) = await socket.until("orderUpdates")
        assert (update["status"], update["order"]["oid"], update["order"]["cloid"]) == ("open", oid, CLOID)
        opened = await socket.until("openOrders")
        assert [row["oid"] for row in opened["orders"]] == [oid]
        world.quote("ETH", 1_980.0)
        (update,) = await socket.until("orderUpdates")
        assert (update["status"], update["order"]["sz"]) == ("filled", "0.0")
        fills = await socket.until("userFills")
        assert (fills["fills"][0]["crossed"], fills["fills"][0]["px"]) == (False, "1990.0")
        assert (await socket.until("user"))["fills"][0]["tid"] == fills["fills"][0]["tid"]
        state = await socket.until("clearinghouseState")
        assert state["user"] == USER
        assert state["clearinghouseState"]["assetPositions"][0]["position"]["szi"] == "1.0"


async def test_a_reduce_only_order_ends_with_the_position_and_says_so() -> None:
    async with World() as world:
        only(await world.act(orders(order(ETH, True, "2001", "1"))))
        only(await world.act(orders(order(ETH, False, "2100", "1", "Gtc", reduce_only=True, cloid=CLOID))))
        only(await world.act(orders(order(ETH, False, "1990", "1", reduce_only=True))))
        found = await world.info("orderStatus", user=USER, oid=CLOID)
        assert found["order"]["status"] == "reduceOnlyCanceled"


async def test_liquidation_marks_the_fill_and_the_cancelled_orders() -> None:
    async with World() as world:
        assert (await world.act({"type": "updateLeverage", "asset": ETH, "isCross": True, "leverage": 25}))[
            "status"
        ] == "ok"
        for _ in range(8):
            only(await world.act(orders(order(ETH, True, "2002", "12"))))
            world.quote("ETH", 2_000.0, touch_usd=30_000.0)
        only(await world.act(orders(order(ETH, True, "1000", "0.1", "Gtc", cloid=CLOID))))
        world.quote("ETH", 1_850.0)
        world.exchange.housekeep()
        rows = await world.info("userFills", user=USER)
        assert rows[0]["liquidation"]["liquidatedUser"] == USER
        assert "cloid" not in rows[0]
        found = await world.info("orderStatus", user=USER, oid=CLOID)
        assert found["order"]["status"] == "liquidatedCanceled"
        assert (await world.info("clearinghouseState", user=USER))["assetPositions"] == []


async def test_modify_replaces_under_a_new_oid() -> None:
    async with World() as world:
        old = only(await world.act(orders(order(ETH, True, "1990", "1", "Gtc", cloid=CLOID))))["resting"]["oid"]
        action = {"type": "modify", "oid": old, "order": order(ETH, True, "1980", "1", "Gtc", cloid=CLOID)}
        assert await world.act(action) == {"status": "ok", "response": {"type": "default"}}
        found = await world.info("orderStatus", user=USER, oid=CLOID)
        assert found["order"]["order"]["oid"] > old
        assert found["order"]["order"]["limitPx"] == "1980.0"
        assert "Cannot modify canceled or filled order" in refused(await world.act(action))


async def test_cash_moves_between_the_sides_of_the_account() -> None:
    async with World() as world:
        world.exchange.move_cash(USER, Decimal(-100))
        world.exchange.set_extra(USER, "spot_usdc", "100")
        balances = (await world.info("spotClearinghouseState", user=USER))["balances"]
        assert balances == [{"coin": "USDC", "token": 0, "total": "100.0", "hold": "0.0", "entryNtl": "0.0"}]


async def test_stopping_breaks_connections_as_a_bad_path_would() -> None:
    async with World() as world:
        socket = await world.socket()
        world.venue.drop_connections()
        assert await socket.closed() == 1006
