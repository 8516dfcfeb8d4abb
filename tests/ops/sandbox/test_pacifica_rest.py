"""The simulated Pacifica by REST, against the page: who may sign, what is refused and how, what is told."""

from __future__ import annotations

import json
import pathlib
import random
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.errors import ConfigError
from ops.sandbox.venues import _pacifica_signing as signing
from ops.sandbox.venues._pacifica_errors import ApiError
from ops.sandbox.venues.pacifica import SandboxVenue
from tests.ops.sandbox.pacifica_world import ACCOUNT, AGENT, KEY, MAIN, STRANGER, World

VECTORS = pathlib.Path(__file__).parents[2] / "fixtures" / "pacifica" / "signing_vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in CASES if "operation_type" in c["inputs"]])
def test_the_recorded_bodies_verify_and_every_change_of_one_does_not(case: dict[str, Any]) -> None:
    inputs, body = case["inputs"], case["expected"]["rest"]["body"]
    if inputs["operation_type"] == "bind_agent_wallet":
        return  # not simulated: its payload carries what is a header everywhere else
    now_ms = inputs["timestamp"]
    signing.Request(body).verify(inputs["operation_type"], now_ms)
    changes = [{"timestamp": body["timestamp"] - 1}, {"expiry_window": body["expiry_window"] + 1}, {"extra": 1}]
    changes += [{name: str(value) + "0"} for name, value in inputs["payload"].items() if not isinstance(value, dict)]
    for change in changes:
        with pytest.raises(ApiError):
            signing.Request({**body, **change}).verify(inputs["operation_type"], now_ms)
    with pytest.raises(ApiError):
        signing.Request(body).verify("another_operation", now_ms)
    signing.Request(body).verify(inputs["operation_type"], now_ms + body["expiry_window"])
    for late in (now_ms + body["expiry_window"] + 1, now_ms - signing.AHEAD_MS - 1):
        with pytest.raises(ApiError, match="Invalid message"):
            signing.Request(body).verify(inputs["operation_type"], late)


async def test_catalogue_and_prices() -> None:
    async with World() as world:
        by_name = {row["symbol"]: row for row in await world.get("info")}
        assert set(by_name) == {"BTC", "ETH", "kPEPE", "SOL-USDC"}
        btc = by_name["BTC"]
        assert (btc["tick_size"], btc["lot_size"], btc["min_order_size"], btc["max_leverage"]) == (
            "1",
            "0.00001",
            "10",
            50,
        )
        assert by_name["SOL-USDC"]["instrument_type"] == "spot"
        (row,) = [each for each in await world.get("info/prices") if each["symbol"] == "BTC"]
        assert (row["mark"], row["oracle"], row["funding"]) == ("80000", "80000", "0.0000125")
        assert float(row["next_funding"]) == pytest.approx(0.0000125, rel=0.01)  # it runs until its hour
        book = await world.get("book", symbol="BTC", agg_level=1)
        assert len(book["l"][0]) == len(book["l"][1]) == 10
        assert Decimal(book["l"][0][0]["p"]) < Decimal(book["l"][1][0]["p"])
        fees = await world.get("info/fees")
        assert fees == [{"level": 0, "maker_fee_rate": "0.00015", "taker_fee_rate": "0.0004"}]
        status, body = await world.ask("book", symbol="XRP")
        assert (status, body["error"]) == (404, "BOOK_NOT_FOUND")


async def test_thirty_days_of_rates_in_pages() -> None:
    async with World() as world:
        first = (await world.ask("funding_rate/history", symbol="BTC", limit=2))[1]
        assert [row["funding_rate"] for row in first["data"]] == ["0.0000125", "0.0000125"]
        assert first["data"][0]["created_at"] - first["data"][1]["created_at"] == 3_600_000
        assert first["data"][0]["created_at"] % 3_600_000 > 0  # rows are written after their hour
        assert first["has_more"]
        second = (await world.ask("funding_rate/history", symbol="BTC", limit=2, cursor=first["next_cursor"]))[1]
        assert second["data"][0]["created_at"] < first["data"][1]["created_at"]
        whole = (await world.ask("funding_rate/history", symbol="BTC", limit=4000))[1]
        assert len(whole["data"]) >= 24 * 29
        assert not whole["has_more"]


async def test_an_order_is_acknowledged_and_its_fills_are_told_elsewhere() -> None:
    async with World() as world:
        client = world.new_id()
        order_id = await world.place("BTC", "bid", "80100", "0.01", client=client)
        (position,) = await world.own("positions")
        assert (position["symbol"], position["side"], position["amount"]) == ("BTC", "bid", "0.01")
        (fill,) = await world.own("trades/history")
        assert (fill["order_id"], fill["client_order_id"], fill["side"]) == (order_id, client, "open_long")
        assert (fill["event_type"], fill["cause"]) == ("fulfill_taker", "normal")
        assert Decimal(fill["fee"]) == (Decimal(fill["price"]) * Decimal("0.01") * Decimal("0.0004")).quantize(
            Decimal("1e-6")
        )
        row = await world.past(order_id)
        assert (row["order_status"], row["filled_amount"], row["reason"]) == ("filled", "0.01", None)
        (event,) = await world.get("orders/history_by_id", order_id=order_id)
        assert (event["order_status"], event["event_type"]) == ("filled", "fulfill_limit")
        account = await world.own("account")
        assert Decimal(account["balance"]) == Decimal(10_000) - Decimal(fill["fee"])
        assert (account["maker_fee"], account["taker_fee"], account["positions_count"]) == ("0.00015", "0.0004", 1)
        assert Decimal(account["cross_mmr"]) == Decimal(800) / 100


async def test_an_order_that_finds_nothing_is_taken_and_ends_cancelled() -> None:
    async with World() as world:
        order_id = await world.place("BTC", "bid", "79000", "0.01")
        row = await world.past(order_id)
        assert (row["order_status"], row["filled_amount"], row["reason"]) == ("cancelled", "0", "cancel")
        partial = await world.place("BTC", "bid", "80005", "1")
        row = await world.past(partial)
        assert row["order_status"] == "cancelled"
        assert 0 < Decimal(row["filled_amount"]) < 1


async def test_post_only_rests_or_is_rejected_without_an_error() -> None:
    async with World() as world:
        crossing = await world.place("ETH", "bid", "2010", "0.1", "ALO")
        row = await world.past(crossing)
        assert (row["order_status"], row["reason"]) == ("rejected", "post_only_rejected")
        resting = await world.place("ETH", "bid", "1990", "0.1", "ALO")
        (row,) = await world.own("orders")
        assert (row["order_id"], row["price"], row["initial_amount"], row["side"]) == (resting, "1990", "0.1", "bid")
        world.quote("ETH", 1985.0)
        assert await world.own("orders") == []
        (fill,) = await world.own("trades/history")
        assert (fill["order_id"], fill["event_type"]) == (resting, "fulfill_maker")
        newest, first = await world.get("orders/history_by_id", order_id=resting)
        assert (newest["order_status"], first["event_type"], first["order_status"]) == ("filled", "make", "open")


async def test_cancels() -> None:
    async with World() as world:
        client = world.new_id()
        one = await world.place("ETH", "bid", "1990", "0.1", "GTC")
        await world.place("ETH", "bid", "1980", "0.1", "GTC", client=client)
        await world.place("BTC", "bid", "79000", "0.01", "GTC")
        assert (
            await world.accept("cancel_order", world.signed("cancel_order", {"symbol": "ETH", "order_id": one})) is None
        )
        by_client = {"symbol": "ETH", "client_order_id": client}
        await world.accept("cancel_order", world.signed("cancel_order", by_client))
        for gone in ({"symbol": "ETH", "order_id": one}, by_client, {"symbol": "ETH", "order_id": 1}):
            status, body = await world.do("cancel_order", gone)
            assert (status, body["success"], body["error"]) == (422, False, "Failed to cancel order")
        some = {"all_symbols": False, "symbol": "ETH", "exclude_reduce_only": False}
        assert (await world.do("cancel_all_orders", some))[1]["data"] == {"cancelled_count": 0}
        every = {"all_symbols": True, "exclude_reduce_only": False}
        assert (await world.do("cancel_all_orders", every))[1]["data"] == {"cancelled_count": 1}
        assert await world.own("orders") == []
        for wrong in ({"all_symbols": False, "exclude_reduce_only": False}, {"all_symbols": True}):
            assert (await world.do("cancel_all_orders", wrong))[0] == 400


async def test_an_edit_is_a_new_post_only_order() -> None:
    async with World() as world:
        old = await world.place("ETH", "bid", "1990", "0.1", "GTC")
        status, body = await world.do(
            "edit_order", {"symbol": "ETH", "price": "1980", "amount": "0.2", "order_id": old}
        )
        assert (status, body["data"]["order_id"] != old) == (200, True)
        (row,) = await world.own("orders")
        assert (row["order_id"], row["price"], row["initial_amount"]) == (body["data"]["order_id"], "1980", "0.2")
        status, body = await world.do(
            "edit_order", {"symbol": "ETH", "price": "1980", "amount": "0.2", "order_id": old}
        )
        assert (status, body["error"]) == (422, "ORDER_NOT_FOUND")


@pytest.mark.parametrize(
    ("order", "status", "error"),
    [
        (("BTC", "bid", "80100.5", "0.01"), 400, "Price 80100.5 is not a multiple of tick size 1"),
        (("BTC", "bid", "80100", "0.000015"), 400, "Amount 0.000015 is not a multiple of lot size 0.00001"),
        (("BTC", "bid", "80100", "0.0001"), 422, f"Order amount too low for {ACCOUNT}: 8.01000 < 10"),
        (("BTC", "bid", "80100", "9"), 422, "INSUFFICIENT_BALANCE"),
        (("BTC", "bid", "110000", "0.01"), 422, "PRICE_TOO_FAR_FROM_MARK"),
        (("BTC", "bid", "80100", "0"), 422, "INVALID_AMOUNT"),
        (("XRP", "bid", "1", "20"), 422, "BOOK_NOT_FOUND"),
        (("BTC", "buy", "80100", "0.01"), 400, "Invalid request: side or reduce_only"),
        (("BTC", "bid", "80100", "0.01", "FOK"), 400, "Invalid request: unknown tif"),
        (("BTC", "bid", "-1", "0.01"), 400, "Invalid request: a decimal string was expected"),
        (("BTC", "bid", 80100, "0.01"), 400, "Invalid request: a decimal string was expected"),
    ],
)
async def test_refusals_of_an_order(order: tuple[Any, ...], status: int, error: str) -> None:
    async with World() as world:
        client = world.new_id()
        told = await world.post("create_order", world.order(*order, client=client))
        assert told[0] == status
        assert (told[1] if isinstance(told[1], str) else told[1]["error"]) == error
        assert await world.own("orders/history") == []  # it never became an order
        await world.place("BTC", "bid", "80100", "0.01", client=client)  # and left its id free


async def test_far_below_the_mark_a_bid_rests() -> None:
    async with World() as world:
        await world.place("BTC", "bid", "8001", "0.01", "GTC")
        assert len(await world.own("orders")) == 1


async def test_reduce_only() -> None:
    async with World() as world:
        sell = ("ETH", "ask", "1990", "0.3")
        status, body = await world.post("create_order", world.order(*sell, reduce_only=True))
        assert (status, body["error"]) == (422, "NO_POSITION_FOR_REDUCE_ONLY_ORDER")
        await world.place("ETH", "bid", "2010", "0.1")
        status, body = await world.post("create_order", world.order("ETH", "bid", "2010", "0.1", reduce_only=True))
        assert (status, body["error"]) == (422, "INVALID_REDUCE_ONLY_ORDER_SIDE")
        order_id = await world.place(*sell, reduce_only=True)
        row = await world.past(order_id)
        assert (row["amount"], row["filled_amount"], row["order_status"]) == ("0.3", "0.1", "cancelled")
        assert await world.own("positions") == []


async def test_a_client_id_is_taken_once() -> None:
    async with World() as world:
        client = world.new_id()
        await world.place("BTC", "bid", "80100", "0.01", client=client)
        status, body = await world.post("create_order", world.order("BTC", "bid", "80100", "0.01", client=client))
        assert (status, body["error"], body["code"]) == (422, "DUPLICATE_CLIENT_ORDER_ID", 36)
        for wrong in ("7", "z" * 36, client.replace("-", "")):
            assert (await world.post("create_order", world.order("BTC", "bid", "80100", "0.01", client=wrong)))[
                0
            ] == 400


async def test_who_may_sign() -> None:
    async with World() as world:
        order = ("BTC", "bid", "80100", "0.01")
        await world.accept("create_order", world.order(*order, key=MAIN))
        status, body = await world.post("create_order", world.order(*order, key=STRANGER))
        assert (status, body["error"]) == (400, "Agent not authorized for account")
        other = str(STRANGER.pubkey())
        status, body = await world.post("create_order", world.order(*order, key=STRANGER, account=other))
        assert (status, body["error"]) == (422, "ACCOUNT_NOT_FOUND")
        forged = {**world.order(*order), "agent_wallet": other}
        assert await world.post("create_order", forged) == (
            400, "Verification failed: signature does not match signer and canonical payload.",
        )  # fmt: skip
        lower = {**world.order(*order), "account": ACCOUNT.lower()}
        assert (await world.post("create_order", lower))[0] == 422  # addresses are case-sensitive
        for change in ({"signature": "zz"}, {"signature": "0"}, {"agent_wallet": "abc"}):
            assert (await world.post("create_order", {**world.order(*order), **change}))[0] == 400
        for change in ({"timestamp": None}, {"timestamp": "1"}, {"expiry_window": True}, {"signature": None}):
            assert (await world.post("create_order", {**world.order(*order), **change}))[0] == 400
        assert (await world.post("create_order", b"nonsense"))[0] == 400
        assert str(AGENT.pubkey()) in world.exchange.account(ACCOUNT).agents  # type: ignore[union-attr]


async def test_time() -> None:
    async with World() as world:
        order = ("BTC", "bid", "80100", "0.01")
        late = world.order(*order, timestamp_ms=world.now_ms - 5_001)
        assert await world.post("create_order", late) == (400, "Invalid message")
        early = world.order(*order, timestamp_ms=world.now_ms + 1_001)
        assert await world.post("create_order", early) == (400, "Invalid message")
        waits = world.order(*order)
        world.pass_s(5.0)
        await world.accept("create_order", waits)


async def test_a_batch_runs_in_order_and_fails_one_by_one() -> None:
    async with World() as world:
        client = world.new_id()
        actions = [
            {"type": "Create", "data": world.order("ETH", "bid", "1990", "0.1", "ALO", client=client)},
            {"type": "Cancel", "data": world.signed("cancel_order", {"symbol": "ETH", "client_order_id": client})},
            {"type": "Cancel", "data": world.signed("cancel_order", {"symbol": "ETH", "client_order_id": client})},
        ]
        results = (await world.accept("orders/batch", {"actions": actions}))["results"]
        assert [each["success"] for each in results] == [True, True, False]
        assert results[2]["error"] == "Failed to cancel order"
        actions[0]["data"] = {**world.order("ETH", "bid", "1990", "0.1", "ALO"), "price": "1991"}
        status, body = await world.post("orders/batch", {"actions": actions})
        assert (status, body.startswith("Verification failed")) == (400, True)
        assert await world.own("orders") == []
        for wrong in ({"actions": []}, {"actions": actions * 4}, {"actions": [{"type": "Noop", "data": {}}]}, {}):
            assert (await world.post("orders/batch", wrong))[0] == 400


async def test_leverage_and_margin_mode() -> None:
    async with World() as world:
        assert await world.own("account/settings") == []  # the default is the maximum, and defaults are not listed
        assert (await world.do("update_leverage", {"symbol": "ETH", "leverage": 5}))[0] == 200
        (row,) = await world.own("account/settings")
        assert (row["symbol"], row["leverage"], row["isolated"]) == ("ETH", 5, False)
        status, body = await world.do("update_leverage", {"symbol": "ETH", "leverage": 51})
        assert (status, body["error"]) == (422, "INVALID_LEVERAGE")
        assert (await world.do("update_margin_mode", {"symbol": "ETH", "is_isolated": True}))[0] == 200
        await world.place("ETH", "bid", "2010", "0.1")
        status, body = await world.do("update_margin_mode", {"symbol": "ETH", "is_isolated": False})
        assert (status, body["error"]) == (422, "CANNOT_UPDATE_MARGIN")
        assert (await world.do("add_isolated_margin", {"symbol": "ETH", "amount": "10"}))[0] == 200
        (position,) = await world.own("positions")
        assert (position["isolated"], Decimal(position["margin"]) > 40) == (True, True)


async def test_funding_is_paid_on_the_hour_and_told() -> None:
    async with World() as world:
        await world.place("BTC", "bid", "80100", "0.01")
        left_s = 3600 - world.clock.calendar_ns() // NS_PER_S % 3600
        world.pass_s(left_s + 1)
        world.exchange.housekeep()
        (row,) = await world.own("funding/history")
        assert (row["symbol"], row["side"], row["amount"], row["rate"]) == ("BTC", "bid", "0.01", "0.0000125")
        assert Decimal(row["payout"]) == Decimal("-0.01")  # 800 USD at 0.00125 %


async def test_credits() -> None:
    async with World(tier="") as world:
        for _ in range(100):
            assert (await world.ask("info/fees", headers={}))[0] == 200
        status, body = await world.ask("info/fees", headers={})
        assert (status, body["error"]) == (429, "Rate limit exceeded")
        assert (await world.ask("info/fees"))[0] == 200  # a key has credits of its own
        for _ in range(99):  # three each
            assert (await world.ask("trades/history", account=ACCOUNT))[0] == 200
        assert (await world.ask("trades/history", account=ACCOUNT))[0] == 429
        for _ in range(4):  # half a credit each
            assert (await world.do("cancel_order", {"symbol": "ETH", "order_id": 1}))[0] == 422
        assert (await world.do("cancel_order", {"symbol": "ETH", "order_id": 1}))[0] == 429
        world.pass_s(61)
        assert (await world.ask("info/fees", headers={}))[0] == 200
    with pytest.raises(ConfigError, match="tier"):
        World(tier="gold")


async def test_reads_that_are_refused() -> None:
    async with World() as world:
        assert (await world.ask("account", account=str(STRANGER.pubkey())))[0] == 404
        assert (await world.ask("positions"))[0] == 400
        assert await world.get("positions", account=str(STRANGER.pubkey())) == []
        status, body = await world.ask("orders/history_by_id", order_id=7)
        assert (status, body["error"]) == (404, "Order history not found for order ID: 7")
        assert (await world.ask("trades/history", account=ACCOUNT, limit="x"))[0] == 400
        month = {"start_time": 1, "end_time": 31 * 86_400_000}
        assert (await world.ask("trades/history", account=ACCOUNT, **month))[0] == 400
        async with world.session.get(f"{world.url}/api/v1/info", data=b"{}", headers=KEY) as response:
            assert (response.status, response.content_type) == (403, "text/html")


async def test_identities_are_told_from_credentials_that_belong_together() -> None:
    made = SandboxVenue.new_credentials(random.Random(1))
    identity = SandboxVenue.identity(made)
    assert (identity.address, len(identity.agents)) == (made["PACIFICA_ACCOUNT"], 1)
    assert SandboxVenue.identity(made) == identity
    with pytest.raises(KeyError):
        SandboxVenue.identity({})
    for change in ({"PACIFICA_ACCOUNT": "abc"}, {"PACIFICA_AGENT_KEY": made["PACIFICA_ACCOUNT"]}):
        with pytest.raises(ValueError) as caught:
            SandboxVenue.identity({**made, **change})
        assert made["PACIFICA_AGENT_KEY"] not in str(caught.value)


async def test_the_books_are_the_same_after_a_restart() -> None:
    async with World() as world:
        client = world.new_id()
        await world.place("BTC", "bid", "80100", "0.01", client=client)
        await world.place("ETH", "bid", "1990", "0.1", "GTC")
        await world.do("update_leverage", {"symbol": "ETH", "leverage": 5})
        paths = ("positions", "orders", "orders/history", "trades/history", "account/settings")
        before = [await world.own(path) for path in paths]
        history = world.transactions
    async with World(history=history) as again:
        assert [await again.own(path) for path in paths] == before
        _, body = await again.post("create_order", again.order("BTC", "bid", "80100", "0.01", client=client))
        assert body["error"] == "DUPLICATE_CLIENT_ORDER_ID"
