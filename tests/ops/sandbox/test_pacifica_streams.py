"""The simulated Pacifica's socket: market data, account channels and operations, against the page."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from core.clock import NS_PER_S
from ops.sandbox.fault_kinds import Kind, Traffic
from tests.ops.sandbox.pacifica_world import ACCOUNT, STRANGER, World

ORDER = ("BTC", "bid", "80100", "0.01")


async def test_best_prices_come_at_once_and_on_every_change() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe(source="bbo", symbol="BTC")
        first = await socket.until("bbo")
        assert first["s"] == "BTC"
        assert Decimal(first["b"]) < Decimal(first["a"])
        world.quote("BTC", 80_500.0)
        second = await socket.until("bbo")
        assert Decimal(second["b"]) > Decimal(first["b"])
        assert second["li"] > first["li"]
        world.exchange.stand()  # nothing changed, and nothing is told
        await socket.send({"method": "ping"})
        assert await socket.next() == {"channel": "pong"}


async def test_books_and_prices_are_sampled() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe(source="book", symbol="ETH", agg_level=1)
        await socket.subscribe(source="prices")
        assert {row["symbol"] for row in await socket.until("prices")} == {"BTC", "ETH", "kPEPE"}
        world.venue.tick()
        book = await socket.until("book")
        assert (book["s"], len(book["l"][0]), len(book["l"][1])) == ("ETH", 10, 10)
        world.venue.tick()  # not due yet
        world.pass_s(1.0)
        world.venue.tick()
        assert (await socket.until("book"))["li"] >= book["li"]
        assert await socket.until("prices")


async def test_a_wrong_subscription_gets_no_answer() -> None:
    async with World() as world:
        socket = await world.socket()
        for wrong in (
            {"source": "bbo", "symbol": "XRP"}, {"source": "bbo"}, {"source": "candle", "symbol": "BTC"},
            {"source": "book", "symbol": "BTC", "agg_level": 3}, {"source": "account_trades"}, {},
        ):  # fmt: skip
            await socket.send({"method": "subscribe", "params": wrong})
        await socket.send({"method": "ping"})
        assert await socket.next() == {"channel": "pong"}  # nothing came before it
        for number in range(20):
            await socket.subscribe(source="account_trades", account=f"A{number}")
        await socket.send({"method": "subscribe", "params": {"source": "account_trades", "account": "A20"}})
        await socket.send({"method": "ping"})
        assert await socket.next() == {"channel": "pong"}


async def test_after_unsubscribing_nothing_comes() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe(source="bbo", symbol="BTC")
        await socket.until("bbo")
        await socket.send({"method": "unsubscribe", "params": {"source": "bbo", "symbol": "BTC"}})
        assert await socket.until("unsubscribe") == {"source": "bbo", "symbol": "BTC"}
        world.quote("BTC", 80_500.0)
        await socket.send({"method": "ping"})
        assert await socket.next() == {"channel": "pong"}


async def test_frames_that_say_nothing_are_refused() -> None:
    async with World() as world:
        socket = await world.socket()
        for frame in (
            "nonsense",
            "[]",
            '{"op":"ping"}',
            '{"id":7,"params":{"create_order":{}}}',
            '{"id":"x","params":{}}',
        ):
            await socket.send(frame)
            assert (await socket.next())["code"] == 400
        assert await socket.answers()


async def test_an_order_over_the_socket_is_acknowledged_and_told_on_the_channels() -> None:
    async with World() as world:
        socket = await world.socket()
        for source in ("account_order_updates", "account_trades", "account_positions", "account_info"):
            await socket.subscribe(source=source, account=ACCOUNT)
        client = world.new_id()
        number = world.new_id()
        await socket.send({"id": number, "params": {"create_order": world.order(*ORDER, client=client)}})
        seen: dict[str, object] = {}
        while number not in seen or "account_trades" not in seen or "account_positions" not in seen:
            frame = await socket.next()
            seen[frame.get("channel") or frame["id"]] = frame
        answer = seen[number]
        assert isinstance(answer, dict)
        assert (answer["code"], answer["type"], answer["data"]["I"], answer["data"]["s"]) == (
            200,
            "create_order",
            client,
            "BTC",
        )
        assert answer["rl"]["q"] == 300_000
        (trade,) = seen["account_trades"]["data"]  # type: ignore[index]
        assert (trade["i"], trade["I"], trade["a"], trade["te"], trade["ts"]) == (
            answer["data"]["i"], client, "0.01", "fulfill_taker", "open_long",
        )  # fmt: skip
        (update,) = seen["account_order_updates"]["data"]  # type: ignore[index]
        assert (update["os"], update["oe"], update["f"], update["a"], update["u"]) == (
            "filled", "fulfill_limit", "0.01", "0.01", ACCOUNT,
        )  # fmt: skip


async def test_how_orders_end_is_told_by_updates() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe(source="account_order_updates", account=ACCOUNT)

        async def told(*order: str, tif: str) -> tuple[str, str, str]:
            await world.accept("create_order", world.order(*order, tif))
            (row,) = await socket.until("account_order_updates")
            return row["oe"], row["os"], row["f"]

        assert await told("BTC", "bid", "79000", "0.01", tif="IOC") == ("cancel", "cancelled", "0")
        assert await told("BTC", "bid", "80100", "0.01", tif="ALO") == ("post_only_rejected", "rejected", "0")
        assert await told("BTC", "bid", "79000", "0.01", tif="TOB") == ("make", "open", "0")
        (row,) = await world.own("orders")
        await world.do("cancel_order", {"symbol": "BTC", "order_id": row["order_id"]})
        (row,) = await socket.until("account_order_updates")
        assert (row["oe"], row["os"]) == ("cancel", "cancelled")
        status, _ = await world.post("create_order", world.order("BTC", "bid", "80100", "9"))
        assert status == 422
        assert await socket.answers()


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"amount": "0.02"}, 401, "Verification failed: signature does not match signer and canonical payload."),
        ({"signature": "!"}, 401, "Invalid signature"),
        ({"timestamp": "1"}, 400, "Invalid request: timestamp and expiry_window are whole milliseconds"),
    ],
)
async def test_refusals_over_the_socket(change: dict[str, str], code: int, text: str) -> None:
    async with World() as world:
        socket = await world.socket()
        answer = await socket.operate("create_order", {**world.order(*ORDER), **change})
        assert (answer["code"], answer["err"], answer["type"]) == (code, text, "create_order")


async def test_the_engines_refusals_have_one_number_and_a_text() -> None:
    async with World() as world:
        socket = await world.socket()
        answer = await socket.operate("create_order", world.order("BTC", "bid", "80100", "9"))
        assert (answer["code"], answer["err"]) == (420, "INSUFFICIENT_BALANCE")
        answer = await socket.operate("cancel_order", world.signed("cancel_order", {"symbol": "BTC", "order_id": 1}))
        assert (answer["code"], answer["err"]) == (420, "Failed to cancel order")
        answer = await socket.operate("create_order", world.order(*ORDER, key=STRANGER))
        assert answer["code"] == 403
        answer = await socket.operate("create_order", world.order(*ORDER, timestamp_ms=world.now_ms - 6_000))
        assert (answer["code"], answer["err"]) == (400, "Invalid message")
        answer = await socket.operate("withdraw", {})
        assert answer["code"] == 400
        answer = await socket.operate("cancel_all_orders", world.signed(
            "cancel_all_orders", {"all_symbols": True, "exclude_reduce_only": False}))  # fmt: skip
        assert answer["data"] == {"cancelled_count": 0}


async def test_only_what_may_take_liquidity_is_held_back() -> None:
    async with World(order_delay_s=0.3) as world:
        socket = await world.socket()
        taker, maker, cancel, batch = (world.new_id() for _ in range(4))
        make = world.order("ETH", "bid", "1990", "0.1", "ALO")
        take_all = {"actions": [{"type": "Create", "data": world.order(*ORDER)}]}
        await socket.send({"id": taker, "params": {"create_order": world.order(*ORDER)}})
        await socket.send({"id": batch, "params": {"batch_orders": take_all}})
        await socket.send({"id": maker, "params": {"create_order": make}})
        gone = world.signed("cancel_order", {"symbol": "ETH", "order_id": 1})
        await socket.send({"id": cancel, "params": {"cancel_order": gone}})
        order = [(await socket.next())["id"] for _ in range(4)]
        assert set(order[:2]) == {maker, cancel}
        assert set(order[2:]) == {taker, batch}


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with World() as world:
        silent, talking = await world.socket(), await world.socket()
        assert await silent.answers()
        for _ in range(3):
            world.pass_s(25)
            assert await talking.answers()
            world.venue.tick()
        with pytest.raises((TypeError, ConnectionError)):  # closed, so no text comes
            await silent.next()
        assert await talking.answers()
        for _ in range(24 * 60 * 2):
            world.clock.advance_ns(30 * NS_PER_S)
            world.venue._streams._heard_ns.update(dict.fromkeys(world.venue._streams._heard_ns, world.clock.mono_ns()))
        world.venue.tick()
        with pytest.raises((TypeError, ConnectionError)):  # a day old
            await talking.next()


async def test_faults_on_the_socket() -> None:
    async with World() as world:
        socket = await world.socket()
        world.faults.add(Kind.REJECTED_NONCE)
        answer = await socket.operate("create_order", world.order(*ORDER))
        assert (answer["code"], answer["err"]) == (400, "Invalid message")
        world.faults.add(Kind.EXPIRED_AUTH, (Traffic.ORDERS,), times=1)
        assert (await socket.operate("create_order", world.order(*ORDER)))["code"] == 403
        world.faults.add(Kind.HTTP_ERROR, (Traffic.ORDERS,), 503, "executed", times=1)
        client = world.new_id()
        answer = await socket.operate("create_order", world.order(*ORDER, client=client))
        assert answer["code"] == 500
        (row,) = await world.own("orders/history")
        assert row["client_order_id"] == client  # it was done
        world.faults.add(Kind.HTTP_ERROR, (Traffic.ORDERS,), 429, times=1)
        assert (await socket.operate("create_order", world.order(*ORDER)))["code"] == 429
        world.faults.add(Kind.LOST_ANSWER, way="silent")
        lost = world.new_id()
        await socket.send({"id": lost, "params": {"create_order": world.order(*ORDER)}})
        await asyncio.sleep(0.05)
        assert await socket.answers()
        assert len(await world.own("orders/history")) == 2
        world.faults.add(Kind.PARTIAL_FILL, value=0.5)
        order_id = (await socket.operate("create_order", world.order(*ORDER)))["data"]["i"]
        assert (await world.past(order_id))["filled_amount"] == "0.005"


async def test_private_frames_can_be_lost_and_sockets_broken() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe(source="account_trades", account=ACCOUNT)
        await socket.subscribe(source="bbo", symbol="BTC")
        await socket.until("bbo")
        world.faults.add(Kind.STALL, (Traffic.PRIVATE,), times=1)
        await world.place(*ORDER)
        await world.place(*ORDER)
        (trade,) = await socket.until("account_trades")
        assert trade["h"] == (await world.own("trades/history"))[0]["history_id"]  # the second; the first never came
        world.faults.add(Kind.DISCONNECT, (Traffic.MARKET,))
        with pytest.raises((TypeError, ConnectionError)):
            await socket.until("never")
