"""The simulated Variational's web interface: sessions, quotes that are good once, orders that clear whole or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import WSMsgType

from ops.sandbox.fault_kinds import Kind, Traffic
from tests.ops.sandbox.variational_world import STRANGER, USER, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        await world.log_in()
        yield world


async def test_a_session_is_needed_for_everything_of_the_account() -> None:
    async with World() as world:
        for path in ("positions", "portfolio", "orders/v2", "transfers"):
            answer = await world.get(f"/api/{path}")
            assert (answer.status, answer.body) == (401, {"message": "No token"})
            assert answer.headers["x-omni-auth"] == "r"
        assert (await world.live_quote()).status == 401
        assert (await world.get("/metadata/stats")).status == 200
        bearer = await world.get("/api/positions", Authorization="Bearer x")
        assert bearer.status == 401
        await world.log_in()
        assert (await world.get("/api/positions")).body == []
        assert (await world.get("/api/me")).body["token"] == world.token


async def test_a_login_is_the_wallets_own_and_each_text_is_good_once(world: World) -> None:
    text = (await world.post("/api/auth/generate_signing_data", {"address": USER.address})).body
    assert text.startswith("omni.variational.io wants you to sign in")
    wrong = {"address": USER.address, "signed_message": "11" * 65}
    assert (await world.post("/api/auth/login", wrong)).status == 401
    assert (await world.post("/api/auth/login", wrong)).body == {"message": "signing data expired"}
    assert (await world.log_in(STRANGER)).status == 401  # no account: a browser's business
    text = (await world.post("/api/auth/generate_signing_data", {"address": USER.address})).body
    world.pass_s(61)
    assert (await world.log_in()).status == 200  # asks for a text of its own
    assert text


async def test_tokens_end_and_are_forged_by_nobody(world: World) -> None:
    head, payload, signature = world.token.split(".")
    good = world.token
    world.token = f"{head}.{payload}.{'A' * len(signature)}"
    assert (await world.get("/api/positions")).status == 401
    world.token = good
    assert (await world.get("/api/positions", **{"vr-connected-address": STRANGER.address})).status == 401
    assert (await world.get("/api/positions")).status == 200
    world.pass_s(7 * 86_400 + 1)
    assert (await world.get("/api/positions")).status == 401


async def test_a_quote_is_for_its_size_and_on_its_step(world: World) -> None:
    answer = await world.live_quote("HYPE", "2")
    body = answer.body
    assert Decimal(body["bid"]) < 60 < Decimal(body["ask"])
    assert body["qty"] == "2"
    large = (await world.live_quote("HYPE", "400")).body
    assert Decimal(large["ask"]) > Decimal(body["ask"])
    off = await world.live_quote("HYPE", "0.0001")
    assert (off.status, off.body["error_code"]) == (422, "min_qty_tick")
    assert "(0.001)" in off.body["message"]
    assert (await world.live_quote("HYPE", "0.001")).body["error_code"] == "min_order_notional"
    assert (await world.live_quote("HYPE", "9000000")).body["error_code"] == "olp_risk_checks"
    assert (await world.live_quote("NOPE", "1")).status == 404
    for qty in (2, None, "x", "NaN", "-1"):
        assert (await world.live_quote("HYPE", qty)).status in (400, 422)  # type: ignore[arg-type]


async def test_an_accepted_order_is_pending_then_cleared_whole_at_the_quoted_price() -> None:
    async with World(order_delay_s=0.15) as world:
        await world.log_in()
        quote = (await world.live_quote()).body
        body = {"quote_id": quote["quote_id"], "side": "buy", "max_slippage": 0, "is_reduce_only": False}
        taken = await world.post("/api/orders/new/market", body)
        assert taken.body["take_profit_rfq_id"] is None
        assert (await world.order(taken.body["rfq_id"]))["status"] == "pending"
        assert (await world.get("/api/orders/v2?status=pending")).body["pagination"] == {"object_count": 1}
        assert (await world.get("/api/positions")).body == []
        row = await world.ended(taken.body["rfq_id"])
        assert (row["status"], row["price"], row["qty"]) == ("cleared", quote["ask"], "2")
        (position,) = (await world.get("/api/positions")).body
        assert position["position_info"]["qty"] == "2"
        assert position["position_info"]["avg_entry_price"] == quote["ask"]
        portfolio = (await world.get("/api/portfolio?compute_margin=true")).body
        assert Decimal(portfolio["balance"]) == 10_000  # no fee
        assert Decimal(portfolio["upnl"]) < 0


async def test_a_quote_is_good_once_and_not_for_long(world: World) -> None:
    quote_id = (await world.live_quote()).body["quote_id"]
    body = {"quote_id": quote_id, "side": "sell", "max_slippage": 0.001, "is_reduce_only": False}
    assert (await world.post("/api/orders/new/market", body)).status == 200
    again = await world.post("/api/orders/new/market", body)
    assert (again.status, again.body["error_code"]) == (400, "quote_not_found")
    body["quote_id"] = (await world.live_quote()).body["quote_id"]
    world.pass_s(2.6)
    late = await world.post("/api/orders/new/market", body)
    assert (late.status, late.body["error_code"]) == (400, "quote_expired")


@pytest.mark.parametrize(
    "changes",
    [{"side": "long"}, {"max_slippage": "0.1"}, {"max_slippage": -1}, {"max_slippage": True}, {"is_reduce_only": "no"}],
)
async def test_a_malformed_acceptance_is_refused(world: World, changes: dict[str, Any]) -> None:
    assert (await world.take(**changes)).status == 400
    assert (await world.get("/api/orders/v2")).body["result"] == []


async def test_reduce_only_and_the_last_look(world: World) -> None:
    alone = await world.take("sell", is_reduce_only=True)
    row = await world.ended(alone.body["rfq_id"])
    assert (row["status"], row["clearing_status"]) == ("rejected", "rejected_failed_reduce_only_check")
    await world.ended((await world.take("buy")).body["rfq_id"])
    more = await world.take("sell", qty="3", is_reduce_only=True)
    assert (await world.ended(more.body["rfq_id"]))["status"] == "rejected"
    same = await world.take("sell", is_reduce_only=True)
    assert (await world.ended(same.body["rfq_id"]))["status"] == "cleared"
    assert (await world.get("/api/positions")).body == []


async def test_a_price_that_ran_away_is_refused() -> None:
    async with World(order_delay_s=0.1) as world:
        await world.log_in()
        taken = await world.take("buy")
        world.quote("HYPE", 61.0)
        row = await world.ended(taken.body["rfq_id"])
        assert (row["status"], row["clearing_status"]) == ("rejected", "rejected_maker_last_look_rejected")
        assert (await world.get("/api/positions")).body == []


async def test_more_than_the_margin_is_refused(world: World) -> None:
    for _ in range(12):
        row = await world.ended((await world.take("buy", qty="300")).body["rfq_id"])
        if row["status"] == "rejected":
            break
    assert row["clearing_status"] == "rejected_failed_taker_funding"


async def test_nothing_fills_in_parts(world: World) -> None:
    world.faults.add(Kind.PARTIAL_FILL, (Traffic.ORDERS,), value=0.4, times=1)
    row = await world.ended((await world.take("buy")).body["rfq_id"])
    assert row["status"] == "rejected"
    assert (await world.get("/api/positions")).body == []


async def test_a_pending_order_can_be_cancelled_once() -> None:
    async with World(order_delay_s=5.0) as world:
        await world.log_in()
        rfq_id = (await world.take()).body["rfq_id"]
        assert (await world.post("/api/orders/cancel", {"rfq_id": rfq_id})).status == 200
        assert (await world.order(rfq_id))["status"] == "canceled"
        gone = await world.post("/api/orders/cancel", {"rfq_id": rfq_id})
        assert (gone.status, gone.body["error_code"]) == (404, "order_not_found")


async def test_leverage_is_one_of_the_limits(world: World) -> None:
    assert (await world.post("/api/settlement_pools/set_leverage", {"asset": "HYPE", "leverage": 3})).status == 200
    told = (await world.post("/api/settlement_pools/leverage", {"assets": ["HYPE", "BTC"]})).body
    assert told["HYPE"] == {"current": "3", "limits": [1, 2, 3, 5, 10, 20]}
    for wrong in (4, 0, "3", True, 9999):
        assert (
            await world.post("/api/settlement_pools/set_leverage", {"asset": "HYPE", "leverage": wrong})
        ).status == 400


async def test_funding_is_a_years_in_the_statistics_and_an_intervals_in_the_transfers(world: World) -> None:
    listed = {row["ticker"]: row for row in (await world.get("/metadata/stats")).body["listings"]}
    assert (listed["BTC"]["funding_interval_s"], listed["HYPE"]["funding_interval_s"]) == (28800, 3600)
    assert float(listed["HYPE"]["funding_rate"]) == pytest.approx(0.1095, rel=0.07)
    predicted = (await world.get("/api/funding/v2?underlying=BTC")).body
    assert float(predicted["predicted_funding_rate"]) == pytest.approx(0.1095, rel=0.07)
    assert predicted["funding_interval_s"] == 28800
    await world.ended((await world.take("buy")).body["rfq_id"])
    world.pass_s(3600)
    world.exchange.housekeep()
    (row,) = (await world.get("/api/transfers")).body["result"]
    assert row["transfer_type"] == "funding"
    assert Decimal(row["funding_rate"]) == Decimal("0.0000125")
    assert Decimal(row["qty"]) < 0
    assert row["created_at"].endswith(":00:00.000000Z")


async def test_indications_are_kept_with_their_time(world: World) -> None:
    def of(stats: Any) -> Any:
        return next(row for row in stats["listings"] if row["ticker"] == "HYPE")

    first = of((await world.get("/metadata/stats")).body)
    world.pass_s(30)
    world.quote("HYPE", 63.0)
    second = of((await world.get("/metadata/stats")).body)
    assert second["quotes"] == first["quotes"]
    assert Decimal(second["mark_price"]) == 63
    world.pass_s(31)
    assert of((await world.get("/metadata/stats")).body)["quotes"] != first["quotes"]


async def test_the_base_tier_counts_as_third_parties_do() -> None:
    async with World(tier="") as world:
        await world.log_in()
        answers = [await world.take() for _ in range(8)]
        assert [answer.status for answer in answers].count(200) == 6
        assert answers[-1].status == 429
        assert 0 < answers[-1].body["wait_until_seconds"] <= 10
        assert int(answers[-1].headers["x-rate-limit-resets-in-ms"]) <= 10_000
        world.pass_s(10.1)
        assert (await world.take()).status == 200


async def test_events_want_claims_and_are_hints(world: World) -> None:
    url = world.url.replace("http", "ws") + "/events"
    async with world.session.ws_connect(url) as socket:
        await socket.send_str('{"claims":"nonsense"}')
        assert (await socket.receive(5)).data == "Token format incorrect: Unauthorized"
        assert (await socket.receive(5)).type is not WSMsgType.TEXT
    async with world.session.ws_connect(url) as socket:
        await socket.send_str(json.dumps({"claims": world.token}))
        assert json.loads((await socket.receive(5)).data)["type"] == "heartbeat"
        await world.ended((await world.take()).body["rfq_id"])
        kinds = [json.loads((await socket.receive(5)).data)["type"] for _ in range(3)]
        assert sorted(kinds) == ["clearing_event", "clearing_event", "trade"]
        world.venue.expire_auth()
        assert (await socket.receive(5)).type is not WSMsgType.TEXT
    assert (await world.get("/api/positions")).status == 401


async def test_everything_outlives_a_restart() -> None:
    async with World(order_delay_s=0.02) as world:
        await world.log_in()
        cleared = await world.ended((await world.take("buy")).body["rfq_id"])
        refused = await world.ended((await world.take("buy", is_reduce_only=True)).body["rfq_id"])
        before = (await world.get("/api/positions")).body
        token = world.token
    async with World(order_delay_s=60.0, history=world.transactions) as second:
        second.token = token
        assert (await second.get("/api/positions")).body == before
        assert await second.order(cleared["rfq_id"]) == cleared
        assert await second.order(refused["rfq_id"]) == refused
        pending = (await second.take("buy")).body["rfq_id"]
    async with World(history=[*world.transactions, *second.transactions]) as third:
        third.token = token
        assert (await third.order(pending))["status"] == "pending"
        third.pass_s(6)
        third.venue.tick()
        row = await third.order(pending)
        assert (row["status"], row["clearing_status"]) == ("rejected", "rejected_failed_taker_accept_quote_expired")
        assert (await third.get("/api/positions")).body == before


async def test_faults_speak_the_venues_words(world: World) -> None:
    world.faults.add(Kind.EXPIRED_AUTH, (Traffic.READS,), times=1)
    answer = await world.get("/api/positions")
    assert (answer.status, answer.headers["x-omni-auth"]) == (401, "r")
    world.faults.add(Kind.HTTP_ERROR, (Traffic.ORDERS,), value=418, times=1)
    assert (await world.take()).body["wait_until_seconds"] == 2
    world.faults.add(Kind.REJECTED_NONCE, (Traffic.ORDERS,), times=1)
    assert (await world.take()).body["error_code"] == "quote_expired"
    assert (await world.get("/api/orders/v2")).body["result"] == []
