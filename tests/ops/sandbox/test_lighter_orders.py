"""Transactions: signatures, nonces, what is refused on arrival and what later, delays, cancels, leverage, budgets."""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp
import orjson
import pytest

from core.clock import NS_PER_MS
from ops.sandbox.ecgfp5 import public_key
from ops.sandbox.venues import _lighter_signing as signing
from tests.ops.sandbox.lighter_world import (
    ACCOUNT,
    BTC,
    DAY_MS,
    ETH,
    GTT,
    IOC,
    KEY,
    KPEPE,
    POST_ONLY,
    STRANGER,
    World,
    until,
)


async def test_a_hash_is_known_before_it_is_sent_and_the_order_is_filled() -> None:
    async with World() as world:
        info = world.order(BTC, True, 801_000, 100, client=7)
        known = signing.hash_of(signing.digest(signing.parse(14, info), 300))
        status, body = await world.send(14, info)
        assert (status, body["code"], body["tx_hash"]) == (200, 200, known)
        assert body["predicted_execution_time_ms"] == world.now_ms
        row = await world.outcome(known)
        assert (row["status"], row["nonce"], row["account_index"], row["type"]) == (2, 0, ACCOUNT, 14)
        (order,) = (await world.own("accountInactiveOrders", limit=10))["orders"]
        assert (order["status"], order["filled_base_amount"], order["remaining_base_amount"]) == (
            "filled",
            "0.00100",
            "0.00000",
        )
        assert order["order_index"] > 1 << 53
        assert order["order_id"] == str(order["order_index"])
        assert (order["side"], order["is_ask"], order["type"]) == ("", False, "limit")
        assert order["time_in_force"] == "immediate-or-cancel"
        (trade,) = (await world.own("trades", sort_by="timestamp", limit=10))["trades"]
        assert (trade["bid_account_id"], trade["bid_client_id"], trade["is_maker_ask"]) == (ACCOUNT, 7, True)
        assert (trade["size"], order["price"]) == ("0.00100", "80100.0")
        assert float(trade["price"]) < 80_100
        assert "taker_fee" not in trade


async def test_both_form_encodings_are_taken() -> None:
    async with World() as world:
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("tx_type", "14")
        form.add_field("tx_info", orjson.dumps(world.order(BTC, True, 801_000, 100)).decode())
        assert (await world.post("sendTx", form))[0] == 200


async def test_who_may_sign() -> None:
    async with World() as world:
        order = (BTC, True, 801_000, 100)
        assert await world.refuse(14, world.order(*order, secret=STRANGER)) == 21120
        assert await world.refuse(14, world.order(*order, chain_id=304)) == 21120
        assert await world.refuse(14, world.order(*order, key=6)) == 21109
        assert await world.refuse(14, world.order(*order, account=5)) == 21100
        assert await world.refuse(14, {**world.order(*order), "Price": 801_001}) == 21120
        assert await world.refuse(14, {**world.order(*order), "Sig": "rubbish"}) == 21120
        assert await world.refuse(14, world.order(*order, expires_ms=world.now_ms)) == 21711
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 0
        await world.do(14, world.order(*order))


async def test_an_unverified_share_still_has_its_digest() -> None:
    async with World(verify_ratio=0.0) as world:
        info = world.order(BTC, True, 801_000, 100, secret=STRANGER)
        assert await world.accept(14, info) == signing.hash_of(signing.digest(signing.parse(14, info), 300))


async def test_nonces_are_strictly_in_order() -> None:
    async with World() as world:
        order = (BTC, True, 801_000, 100)
        assert await world.refuse(14, world.order(*order, nonce=1)) == 21104
        await world.do(14, world.order(*order, nonce=0))
        assert await world.refuse(14, world.order(*order, nonce=0)) == 21104
        assert await world.refuse(14, world.order(*order, nonce=2)) == 21104
        await world.do(14, world.order(*order, nonce=1))
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 2
        assert (await world.get("apikeys", account_index=ACCOUNT, api_key_index=255))["api_keys"][0]["nonce"] == 2
        assert (await world.get("nextNonce", account_index=99, api_key_index=KEY))["nonce"] == 0


async def test_a_skipped_nonce_may_leave_gaps_and_never_goes_back() -> None:
    async with World() as world:
        order = (BTC, True, 801_000, 100)
        await world.do(14, world.order(*order, nonce=world.now_ms, skip=True))
        assert await world.refuse(14, world.order(*order, nonce=world.now_ms - 1, skip=True)) == 21104
        assert await world.refuse(14, world.order(*order, nonce=world.now_ms, skip=True)) == 21104
        await world.do(14, world.order(*order, nonce=world.now_ms + 1))
        await world.do(14, world.order(*order, nonce=world.now_ms + 500, skip=True))


async def test_nonces_on_their_way_count_for_the_next_but_not_for_next_nonce() -> None:
    async with World(order_delay_s=0.3) as world:
        hashes = [await world.accept(14, world.order(BTC, True, 801_000, 100)) for _ in range(3)]
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 0
        assert (await world.get("tx", by="hash", value=hashes[0]))["status"] == 1
        rows = [await world.outcome(tx_hash) for tx_hash in hashes]
        assert [row["status"] for row in rows] == [2, 2, 2]
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 3


async def test_what_was_refused_costs_no_nonce_and_what_failed_later_does() -> None:
    async with World() as world:
        assert await world.refuse(14, world.order(BTC, True, 0, 100)) == 21702
        row = await world.do(14, world.order(BTC, True, 800_000, 100, reduce_only=True))
        assert row["status"] == 0
        assert json.loads(json.loads(row["event_info"])["ae"])["code"] == 21732
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 1


async def test_a_transaction_that_waited_too_long_is_not_executed_and_breaks_the_chain() -> None:
    async with World(order_delay_s=0.2) as world:
        first = await world.accept(14, world.order(BTC, True, 801_000, 100, expires_ms=world.now_ms + 50))
        second = await world.accept(14, world.order(BTC, True, 801_000, 100))
        world.clock.advance_ns(60 * NS_PER_MS)
        rows = [await world.outcome(tx_hash) for tx_hash in (first, second)]
        assert [json.loads(json.loads(row["event_info"])["ae"])["code"] for row in rows] == [21711, 21104]
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 0
        assert not (await world.own("accountInactiveOrders", limit=10))["orders"]


@pytest.mark.parametrize(
    ("order", "more", "code"),
    [
        ((9, True, 1000, 100), {}, 21602),
        ((3, True, 1000, 100), {}, 21602),  # inactive
        ((2048, True, 1000, 100), {}, 21602),  # spot
        ((BTC, True, 800_000, 100, IOC), {"expiry_ms": 1_790_086_400_000}, 21711),
        ((BTC, True, 800_000, 100, GTT), {"expiry_ms": 0}, 21711),
        ((BTC, True, 800_000, 100, GTT), {"expiry_ms": 1_790_000_060_000}, 21711),
        ((BTC, True, 800_000, 100, GTT), {"expiry_ms": 1_790_000_000_000 + 31 * DAY_MS}, 21711),
        ((BTC, True, 800_000, 100, GTT), {"kind": 1}, 21731),
        ((BTC, True, 800_000, 100, 3), {}, 21731),
        ((BTC, True, 800_000, 100, IOC), {"kind": 2, "trigger": 790_000}, 21730),
        ((BTC, True, 800_000, 0), {}, 21706),
        ((BTC, True, 790_000, 12, GTT), {}, 21706),  # below 10 USD
        ((ETH, True, 300_000, 49, GTT), {}, 21706),  # above 10 USD, below the smallest base amount
        ((BTC, True, 400_000, 10_000_000, GTT), {}, 21739),
        ((BTC, True, 4_000_000_000, 1 << 47, IOC), {}, 21706),
        ((BTC, True, 800_000, 100, IOC), {"attributes": {"1": 77}}, 21149),
    ],
)
async def test_refused_on_arrival(order: tuple[Any, ...], more: dict[str, Any], code: int) -> None:
    async with World() as world:
        assert await world.refuse(14, world.order(*order, **more)) == code
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 0


async def test_small_orders_may_take_but_not_rest() -> None:
    async with World() as world:
        assert (await world.placed(BTC, True, 801_000, 1, client=1))["status"] == "filled"


@pytest.mark.parametrize(
    ("order", "more", "status"),
    [
        ((BTC, True, 790_000, 100), {}, "canceled-not-enough-liquidity"),
        ((BTC, True, 790_000, 100), {"kind": 1}, "canceled-too-much-slippage"),
        ((BTC, True, 801_000, 100, POST_ONLY), {}, "canceled-post-only"),
        ((BTC, True, 801_000, 10_000_000), {}, "canceled-margin-not-allowed"),
        ((BTC, True, 801_000, 100), {"reduce_only": True}, "canceled-reduce-only"),
        ((BTC, False, 799_000, 100), {"reduce_only": True}, "filled"),
        ((BTC, True, 790_000, 100, GTT), {}, "open"),
        ((BTC, True, 801_000, 100, GTT), {}, "filled"),
    ],
)
async def test_verdicts_that_come_later(order: tuple[Any, ...], more: dict[str, Any], status: str) -> None:
    async with World() as world:
        await world.do(14, world.order(BTC, True, 801_000, 200))  # a long position, for reduce-only
        row = await world.placed(*order, client=42, **more)
        assert row["status"] == status
        assert (row["filled_base_amount"] != "0.00000") == (status == "filled")


async def test_a_partial_fill_says_canceled_and_what_was_filled() -> None:
    async with World() as world:
        world.quote("ETH", 2_000.0, touch_usd=500.0)
        best = (await world.get("orderBookOrders", market_id=ETH, limit=1))["asks"][0]
        row = await world.placed(ETH, True, int(best["price"].replace(".", "")), 10_000, client=3)
        assert row["status"] == "canceled-not-enough-liquidity"
        assert row["filled_base_amount"] == best["remaining_base_amount"]
        assert float(row["filled_quote_amount"]) == pytest.approx(500, rel=0.01)


async def test_a_price_far_through_the_mark_fails_without_an_order() -> None:
    async with World() as world:
        row = await world.do(14, world.order(BTC, True, 900_000, 100, client=3))
        assert (row["status"], json.loads(json.loads(row["event_info"])["ae"])["code"]) == (0, 21733)
        assert not (await world.own("accountOrders", client_order_indexes="3"))["orders"]
        assert (await world.placed(BTC, True, 870_000, 100, client=4))["status"] == "filled"


async def test_a_client_index_serves_once() -> None:
    async with World(order_delay_s=0.2) as world:
        first = await world.accept(14, world.order(BTC, True, 801_000, 100, client=9))
        assert await world.refuse(14, world.order(ETH, True, 200_100, 100, client=9)) == 21728  # still on its way
        await world.outcome(first)
        assert await world.refuse(14, world.order(ETH, True, 200_100, 100, client=9)) == 21728


async def test_takers_wait_longer_than_makers_and_a_lane_keeps_its_order() -> None:
    async with World(order_delay_s=0.3, tier="standard") as world:
        started = time.monotonic()
        _, resting = await world.send(14, world.order(BTC, True, 790_000, 100, GTT, 1))
        _, taking = await world.send(14, world.order(BTC, True, 801_000, 100, client=2))
        _, cancel = await world.send(15, world.cancel(BTC, 1))
        now = world.now_ms
        assert [answer["predicted_execution_time_ms"] - now for answer in (resting, taking, cancel)] == [200, 300, 200]
        await world.outcome(cancel["tx_hash"])
        assert time.monotonic() - started >= 0.3
        rows = (await world.own("accountOrders", client_order_indexes="1,2"))["orders"]
        assert [row["status"] for row in rows] == ["canceled", "filled"]


async def test_cancel_by_either_index_and_what_is_gone() -> None:
    async with World() as world:
        row = await world.placed(BTC, True, 790_000, 100, GTT, 1)
        assert await world.refuse(15, world.cancel(ETH, 1)) == 21700
        assert await world.refuse(15, world.cancel(BTC, 2)) == 21700
        await world.do(15, world.cancel(BTC, row["order_index"]))
        assert await world.refuse(15, world.cancel(BTC, 1)) == 21600
        await world.placed(BTC, True, 790_000, 100, GTT, 2)
        assert (await world.do(15, world.cancel(BTC, 2)))["status"] == 2
        assert not (await world.own("accountActiveOrders"))["orders"]


async def test_a_cancel_that_comes_too_late_costs_its_nonce() -> None:
    async with World(order_delay_s=0.3, tier="standard") as world:
        await world.accept(14, world.order(BTC, True, 790_000, 100, GTT, 1))
        first = await world.accept(15, world.cancel(BTC, 1))
        second = await world.accept(15, world.cancel(BTC, 1))
        assert (await world.outcome(first))["status"] == 2
        assert (await world.outcome(second))["status"] == 0
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 3


async def test_cancel_all_of_one_market_of_all_and_on_a_timer() -> None:
    async with World() as world:
        for client, (market, px) in enumerate([(ETH, 190_000), (BTC, 790_000), (BTC, 789_000)], 1):
            await world.placed(market, True, px, 1000 if market == ETH else 100, GTT, client)

        def cancel_all(when: int, at_ms: int = 0, **how: Any) -> dict[str, Any]:
            return world.tx(16, {"TimeInForce": when, "Time": at_ms}, **how)

        await world.do(16, cancel_all(0, attributes={"5": 0}))
        assert [row["market_index"] for row in (await world.own("accountActiveOrders"))["orders"]] == [BTC, BTC]
        assert await world.refuse(16, cancel_all(0, 5)) == 21713
        assert await world.refuse(16, cancel_all(1, world.now_ms + 60_000)) == 21713
        assert await world.refuse(16, cancel_all(2, 5)) == 21713
        assert await world.refuse(16, cancel_all(1, world.now_ms + 400_000, attributes={"5": 1})) == 21602
        due_ms = world.now_ms + 301_000
        await world.do(16, cancel_all(1, due_ms))
        account = (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]
        assert account["cancel_all_time"] == due_ms
        world.pass_s(300)
        world.venue.tick()
        assert len((await world.own("accountActiveOrders"))["orders"]) == 2
        world.pass_s(2)
        world.venue.tick()
        assert not (await world.own("accountActiveOrders"))["orders"]
        assert (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]["cancel_all_time"] == 0
        await world.placed(BTC, True, 790_000, 100, GTT, 9)
        await world.do(16, cancel_all(1, world.now_ms + 301_000))
        await world.do(16, cancel_all(2))
        world.pass_s(400)
        world.venue.tick()
        assert len((await world.own("accountActiveOrders"))["orders"]) == 1
        await world.do(16, cancel_all(0))
        assert not (await world.own("accountActiveOrders"))["orders"]


async def test_a_resting_order_ends_with_its_time() -> None:
    async with World() as world:
        await world.placed(BTC, True, 790_000, 100, GTT, 1, expiry_ms=world.now_ms + 301_000)
        world.pass_s(302)
        world.venue.tick()
        (row,) = (await world.own("accountInactiveOrders", limit=5))["orders"]
        assert row["status"] == "canceled-expired"


async def test_modify_keeps_both_indices() -> None:
    async with World() as world:
        before = await world.placed(BTC, True, 790_000, 100, GTT, 1)
        body = {"MarketIndex": BTC, "Index": 1, "BaseAmount": 200, "Price": 791_000, "TriggerPrice": 0}
        await world.do(17, world.tx(17, body))
        (row,) = (await world.own("accountActiveOrders", market_id=BTC))["orders"]
        assert (row["price"], row["initial_base_amount"]) == ("79100.0", "0.00200")
        assert row["order_index"] == before["order_index"]


async def test_leverage_in_fractions() -> None:
    async with World() as world:
        await world.do(20, world.leverage(BTC, 3333))
        (row,) = (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]["positions"]
        assert (row["initial_margin_fraction"], row["position"], row["sign"]) == ("33.33", "0.00000", 1)
        assert await world.refuse(20, world.leverage(BTC, 199)) == 21613
        assert await world.refuse(20, world.leverage(BTC, 10_001)) == 21613
        await world.do(14, world.order(BTC, True, 801_000, 100))
        assert await world.refuse(20, world.leverage(BTC, 3333, mode=1)) == 21132
        await world.do(20, world.leverage(ETH, 1000, mode=1))
        for _ in range(35):
            await world.accept(20, world.leverage(BTC, 2000))
        status, body = 200, {"code": 200}
        for _ in range(6):
            status, body = await world.send(20, world.leverage(BTC, 2000))
            if status != 200:
                break
        assert (status, body["code"]) == (429, 23000)


async def test_isolated_margin_moves() -> None:
    async with World() as world:
        await world.do(20, world.leverage(BTC, 1000, mode=1))
        await world.do(14, world.order(BTC, True, 801_000, 1000))

        def move(usdc: int, adds: bool) -> dict[str, Any]:
            return world.tx(29, {"MarketIndex": BTC, "USDCAmount": usdc, "Direction": int(adds)})

        before = (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]["positions"][0]
        assert (await world.do(29, move(50_000_000, True)))["status"] == 2
        after = (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]["positions"][0]
        assert float(after["allocated_margin"]) == pytest.approx(float(before["allocated_margin"]) + 50)
        assert after["margin_mode"] == 1
        assert (await world.do(29, move(5_000_000_000, False)))["status"] == 0


async def test_batches_are_taken_whole_or_not_at_all() -> None:
    async with World() as world:

        def form(*infos: Any) -> dict[str, str]:
            kinds = [14] * len(infos)
            return {"tx_types": json.dumps(kinds), "tx_infos": json.dumps([json.dumps(info) for info in infos])}

        good = [world.order(BTC, True, 801_000, 100, client=n) for n in (1, 2)]
        status, body = await world.post("sendTxBatch", form(*good))
        assert (status, len(body["tx_hash"])) == (200, 2)
        for tx_hash in body["tx_hash"]:
            assert (await world.outcome(tx_hash))["status"] == 2
        world.nonce = 2
        gap = [world.order(BTC, True, 801_000, 100, nonce=nonce) for nonce in (2, 4)]
        assert (await world.post("sendTxBatch", form(*gap)))[1]["code"] == 21104
        twins = [world.order(BTC, True, 801_000, 100, client=5, nonce=nonce) for nonce in (2, 3)]
        assert (await world.post("sendTxBatch", form(*twins)))[1]["code"] == 21728
        many = [world.order(BTC, True, 801_000, 100, nonce=2 + n) for n in range(51)]
        assert (await world.post("sendTxBatch", form(*many)))[1]["code"] == 21514
        assert (await world.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 2


@pytest.mark.parametrize(
    "form",
    [{}, {"tx_type": "14"}, {"tx_type": "x", "tx_info": "{}"}, {"tx_type": "14", "tx_info": "{"},
     {"tx_type": "14", "tx_info": "[]"}, {"tx_type": "99", "tx_info": "{}"}, {"tx_type": "14", "tx_info": "{}"}],
)  # fmt: skip
async def test_nonsense_is_a_bad_request(form: dict[str, str]) -> None:
    async with World() as world:
        status, body = await world.post("sendTx", form)
        assert (status, body["code"]) == (400, 20001)


async def test_the_standard_tier_has_sixty_requests_a_minute_of_any_kind() -> None:
    async with World(tier="standard") as world:
        token = world.token()
        for _ in range(59):
            await world.get("accountActiveOrders", token=token, account_index=ACCOUNT)
        await world.accept(14, world.order(BTC, True, 801_000, 100))
        status, body = await world.send(14, world.order(BTC, True, 801_000, 100))
        assert (status, body) == (429, {"code": 23000, "message": "Too Many Requests!"})
        assert (await world.ask("accountActiveOrders", token=token, account_index=ACCOUNT))[0] == 429
        assert (await world.ask("orderBooks"))[0] == 200  # nobody's account: charged to the address
        world.pass_s(61)
        token = world.token()
        assert (await world.ask("accountActiveOrders", token=token, account_index=ACCOUNT))[0] == 200
        world.nonce = 1
        await world.accept(14, world.order(BTC, True, 801_000, 100))


async def test_nonces_orders_and_hashes_survive_a_restart() -> None:
    async with World() as world:
        tx_hash = await world.accept(14, world.order(BTC, True, 790_000, 100, GTT, 1))
        await world.outcome(tx_hash)
        await world.do(20, world.leverage(ETH, 3333))
        history = list(world.transactions)
    async with World(history=history) as again:
        assert (await again.get("nextNonce", account_index=ACCOUNT, api_key_index=KEY))["nonce"] == 2
        assert (await again.get("tx", by="hash", value=tx_hash))["status"] == 2
        (row,) = (await again.own("accountActiveOrders"))["orders"]
        assert (row["client_order_index"], row["status"], row["time_in_force"]) == (1, "open", "good-till-time")
        again.nonce = 2
        assert await again.refuse(14, again.order(BTC, True, 790_000, 100, GTT, 1)) == 21728
        positions = (await again.get("account", by="index", value=ACCOUNT))["accounts"][0]["positions"]
        assert {row["symbol"]: row["initial_margin_fraction"] for row in positions}["ETH"] == "33.33"


async def test_thousands_stand_for_one_contract() -> None:
    async with World() as world:
        row = await world.placed(KPEPE, True, 4_010, 5_000, client=1)
        assert (row["status"], row["filled_base_amount"]) == ("filled", "5000")
        assert float(row["filled_quote_amount"]) == pytest.approx(20, rel=0.01)


async def test_two_keys_of_an_account_have_two_streams_of_nonces() -> None:
    async with World() as world:
        world.exchange.open_account(str(ACCOUNT), world.exchange.margin(str(ACCOUNT)).equity, [f"6:{public(STRANGER)}"])
        await world.do(14, world.order(BTC, True, 801_000, 100, nonce=0))
        await world.do(14, world.order(BTC, True, 801_000, 100, nonce=0, key=6, secret=STRANGER))
        world.exchange.open_account(
            str(ACCOUNT), world.exchange.margin(str(ACCOUNT)).equity, [f"{KEY}:{public(STRANGER)}"]
        )
        assert await world.refuse(14, world.order(BTC, True, 801_000, 100, nonce=1)) == 21120  # the key was replaced
        await world.do(14, world.order(BTC, True, 801_000, 100, nonce=1, secret=STRANGER))


async def test_a_lane_has_an_end() -> None:
    async with World(order_delay_s=5.0, verify_ratio=0.0) as world:
        for _ in range(100):
            await world.accept(14, world.order(BTC, True, 801_000, 100))
        assert await world.refuse(14, world.order(BTC, True, 801_000, 100)) == 21506


async def test_hourly_funding_is_paid_and_told() -> None:
    async with World(rate=0.000123) as world:
        await world.do(14, world.order(BTC, True, 801_000, 1000))
        world.pass_s(3600)
        world.exchange.housekeep()

        async def paid() -> Any:
            return (await world.own("positionFunding", limit=10))["position_fundings"]

        (row,) = await until(paid)
        assert (row["rate"], row["position_side"], row["position_size"]) == ("0.0123", "long", "0.01000")
        assert float(row["change"]) == pytest.approx(-800 * 0.000123, rel=1e-6)
        assert row["timestamp"] % 3600 == 0


def public(secret: int) -> str:
    return public_key(secret).hex()
