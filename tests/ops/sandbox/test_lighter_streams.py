"""`/stream`: chains of nonces, snapshots, private channels, transactions over the socket, keep-alives, refusals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ops.sandbox.fault_kinds import Kind, Traffic
from tests.ops.sandbox.lighter_world import ACCOUNT, BTC, ETH, GTT, IOC, Socket, World


def applied(book: dict[str, dict[str, str]], frame: Any) -> None:
    for side in ("asks", "bids"):
        for level in frame["order_book"][side]:
            if float(level["size"]) == 0:
                del book[side][level["price"]]
            else:
                book[side][level["price"]] = level["size"]


async def test_the_book_is_a_chain_that_ends_where_a_snapshot_begins() -> None:
    async with World() as world:
        socket = await world.socket()
        frame = await socket.subscribe("order_book/1")
        assert (frame["channel"], frame["order_book"]["begin_nonce"]) == ("order_book:1", 0)
        book: dict[str, dict[str, str]] = {"asks": {}, "bids": {}}
        applied(book, frame)
        assert len(book["asks"]) == len(book["bids"]) == 25
        nonce = frame["order_book"]["nonce"]
        for step in range(6):
            world.quote("BTC", 80_000.0 + 7 * step)
            world.quote("BTC", 80_001.0 + 7 * step)
            frame = await socket.until("update/order_book")
            assert frame["order_book"]["begin_nonce"] == nonce
            assert frame["order_book"]["nonce"] == nonce + 2
            nonce = frame["order_book"]["nonce"]
            applied(book, frame)
        second = await world.socket()
        world.quote("BTC", 80_050.0)
        fresh = await second.subscribe("order_book/1")
        applied(book, await socket.until("update/order_book"))  # the first listener hears of it before
        whole: dict[str, dict[str, str]] = {"asks": {}, "bids": {}}
        applied(whole, fresh)
        assert book == whole


async def test_a_gap_is_repaired_by_leaving_and_coming_back() -> None:
    async with World() as world:
        socket = await world.socket()
        first = await socket.subscribe("order_book/0")
        error = await socket.refused({"type": "subscribe", "channel": "order_book/0"})
        assert error == {"code": 30003, "message": "Already Subscribed to : order_book:0"}
        world.faults.add(Kind.GAP, times=1)
        world.quote("ETH", 2_001.0)
        await asyncio.sleep(0.15)
        world.quote("ETH", 2_002.0)
        frame = await socket.until("update/order_book")
        assert frame["order_book"]["begin_nonce"] > first["order_book"]["nonce"]
        await socket.send({"type": "unsubscribe", "channel": "order_book/0"})
        assert (await socket.until("unsubscribed"))["channel"] == "order_book:0"
        again = await socket.subscribe("order_book/0")
        assert (again["order_book"]["begin_nonce"], len(again["order_book"]["asks"])) == (0, 25)


async def test_the_ticker_follows_every_change_and_empty_sides_are_empty_strings() -> None:
    async with World() as world:
        socket = await world.socket()
        frame = await socket.subscribe("ticker/1")
        assert (frame["ticker"]["s"], frame["channel"]) == ("BTC", "ticker:1")
        nonce = frame["nonce"]
        world.quote("BTC", 80_000.0)  # the same prices again: a change of the book all the same
        frame = await socket.until("update/ticker")
        assert frame["nonce"] == nonce + 1
        assert (frame["ticker"]["b"]["price"], frame["ticker"]["a"]["price"]) == ("79996.0", "80004.0")
        assert frame["last_updated_at"] // 1000 == frame["timestamp"]
        row = world.venue._streams._books["BTC"]._best(None)  # the sandbox's ladder never runs dry
        assert row == {"price": "", "size": ""}


async def test_statistics_of_one_and_all_markets() -> None:
    async with World(rate=-0.0000281) as world:
        world.pass_s(3600)
        socket = await world.socket()
        one = (await socket.subscribe("market_stats/1"))["market_stats"]
        assert (one["symbol"], one["market_id"]) == ("BTC", 1)
        assert (one["funding_rate"], one["funding_timestamp"] % 3_600_000) == ("-0.0028", 1)
        assert abs(float(one["current_funding_rate"]) + 0.0028) <= 0.0003
        assert float(one["open_interest"]) > 1e6  # USD here
        every = await socket.subscribe("market_stats/all")
        assert (every["channel"], set(every["market_stats"])) == ("market_stats:all", {"0", "1", "4"})
        world.venue.tick()
        world.pass_s(1.1)
        world.venue.tick()
        labels = {(await socket.until("update/market_stats"))["channel"] for _ in range(2)}
        assert labels == {"market_stats:1", "market_stats:all"}


async def test_trades_are_replayed_and_then_told() -> None:
    async with World() as world:
        world.quote("BTC", 80_000.0, print_usd=400.0)
        socket = await world.socket()
        frame = await socket.subscribe("trade/1")
        assert len(frame["trades"]) == 1
        world.quote("BTC", 80_000.0, print_usd=-400.0)
        assert (await socket.until("update/trade"))["trades"][0]["is_maker_ask"] is False


async def test_private_channels_need_a_token_and_tell_what_happened() -> None:
    async with World() as world:
        socket = await world.socket()
        missing = await socket.refused({"type": "subscribe", "channel": f"account_all_orders/{ACCOUNT}"})
        assert missing == {
            "code": 20001,
            "message": f"invalid param : auth field is required: account_all_orders:{ACCOUNT}",
        }
        stale = {"type": "subscribe", "channel": f"account_all_orders/{ACCOUNT}", "auth": world.token(ahead_s=0)}
        assert (await socket.refused(stale))["code"] == 20013
        for name in (
            "account_all_orders",
            "account_all_trades",
            "account_all_positions",
            "account_all_assets",
            "account_tx",
        ):
            frame = await socket.subscribe(f"{name}/{ACCOUNT}", auth=world.token())
            assert frame["channel"] == f"{name}:{ACCOUNT}"
        for name in ("account_all", "user_stats"):
            await socket.subscribe(f"{name}/{ACCOUNT}")
        label = (await socket.subscribe(f"account_orders/1/{ACCOUNT}", auth=world.token()))["channel"]
        assert label == "account_orders:1"
        await world.accept(14, world.order(BTC, True, 801_000, 100, client=5))
        seen: dict[str, Any] = {}
        while "update/account_tx" not in seen:
            frame = await socket.next()
            seen[frame["type"]] = frame
        (order,) = seen["update/account_all_orders"]["orders"]["1"]
        assert (order["status"], order["client_order_index"]) == ("filled", 5)
        assert seen["update/account_orders"]["orders"]["1"] == [order]
        (trade,) = seen["update/account_all_trades"]["trades"]["1"]
        assert (trade["bid_account_id"], trade["size"]) == (ACCOUNT, "0.00100")
        assert seen["update/account_all_positions"]["positions"]["1"]["position"] == "0.00100"
        assert seen["update/user_stats"]["stats"]["collateral"] == "10000.000000"
        assert seen["update/account_tx"]["txs"][0]["status"] == 2


async def test_position_frames_carry_only_what_changed() -> None:
    async with World() as world:
        await world.do(14, world.order(BTC, True, 801_000, 100))
        socket = await world.socket()
        whole = await socket.subscribe(f"account_all_positions/{ACCOUNT}", auth=world.token())
        assert set(whole["positions"]) == {"1"}
        await world.do(14, world.order(ETH, True, 200_100, 100))
        frames = [await socket.until("update/account_all_positions")]
        while "0" not in frames[-1]["positions"]:
            frames.append(await socket.until("update/account_all_positions"))
        await world.do(14, world.order(ETH, False, 199_000, 100))
        frame = await socket.until("update/account_all_positions")
        assert set(frame["positions"]) == {"0"}
        assert frame["positions"]["0"]["position"] == "0.0000"


async def test_later_refusals_come_on_the_private_channel() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.subscribe(f"account_all_orders/{ACCOUNT}", auth=world.token())
        await world.accept(14, world.order(BTC, True, 790_000, 100, IOC, 5))
        (row,) = (await socket.until("update/account_all_orders"))["orders"]["1"]
        assert (row["status"], row["client_order_index"]) == ("canceled-not-enough-liquidity", 5)


async def test_transactions_over_the_socket_are_answered_in_order() -> None:
    async with World() as world:
        socket = await world.socket()

        def message(info: dict[str, Any], number: str) -> dict[str, Any]:
            return {"type": "jsonapi/sendtx", "data": {"id": number, "tx_type": 14, "tx_info": info}}

        for number in range(5):
            await socket.send(message(world.order(BTC, True, 801_000, 100, client=number + 1), f"n{number}"))
        answers = [await socket.next() for _ in range(5)]
        assert [answer["id"] for answer in answers] == [f"n{number}" for number in range(5)]
        assert {(answer["code"], answer["type"]) for answer in answers} == {(200, "jsonapi/sendtx")}
        assert (await world.outcome(answers[4]["tx_hash"]))["status"] == 2
        await socket.send(message(world.order(BTC, True, 801_000, 100, key=9), "probe-1"))
        assert await socket.next() == {"error": {"code": 21109, "message": "api key not found"}, "id": "probe-1"}
        world.nonce = 5
        infos = [json.dumps(world.order(BTC, True, 801_000, 100)) for _ in range(2)]
        batch = {"id": "b", "tx_types": "[14, 14]", "tx_infos": json.dumps(infos)}
        await socket.send({"type": "jsonapi/sendtxbatch", "data": batch})
        assert len((await socket.next())["tx_hash"]) == 2
        await socket.send({"type": "jsonapi/sendtx", "data": {"id": "x", "tx_type": "14", "tx_info": 5}})
        assert (await socket.next())["error"]["code"] == 20001


async def test_pings_both_ways_and_silence_ends_it() -> None:
    async with World() as world:
        socket = await world.socket()
        await socket.send({"type": "ping"})
        assert (await socket.next())["type"] == "pong"
        world.pass_s(61)
        world.venue.tick()
        assert (await socket.next())["type"] == "ping"
        await socket.send({"type": "pong"})
        await socket.send({"type": "ping"})
        await socket.next()
        world.pass_s(100)
        await socket.socket.ping(b"x")  # a control frame is a frame
        await socket.send({"type": "ping"})
        await socket.next()
        world.pass_s(119)
        world.venue.tick()
        assert (await socket.next())["type"] == "ping"
        world.pass_s(2)
        world.venue.tick()
        assert await socket.closed() == 1006


async def test_refusals_have_neither_type_nor_channel() -> None:
    async with World() as world:
        socket = await world.socket()

        async def code(frame: Any) -> int:
            return int((await socket.refused(frame))["code"])

        assert await socket.refused({"type": "subscribe", "channel": "ticker/"}) == {
            "code": 30005, "message": "Invalid Channel:  (marketId)",
        }  # fmt: skip
        for channel in ("ticker/99", "candle/1/1m", "", None, "account_orders/1", "market_stats/all/1", "trade/x"):
            assert await code({"type": "subscribe", "channel": channel}) == 30005, channel
        assert await code({"type": "subscribe", "channel": "user_stats/5"}) == 30005
        assert await code("rubbish") == 30007
        assert await code({"type": "dance"}) == 30007
        assert await code([1]) == 30007


async def test_too_many_messages_are_refused_but_transactions_do_not_count() -> None:
    async with World() as world:
        socket = await world.socket()
        for _ in range(200):
            await socket.send({"type": "pong"})
        assert (await socket.refused({"type": "ping"}))["code"] == 30009
        info = world.order(BTC, True, 801_000, 100)
        await socket.send({"type": "jsonapi/sendtx", "data": {"id": "1", "tx_type": 14, "tx_info": info}})
        assert (await socket.next())["code"] == 200


async def test_expired_auth_breaks_private_streams_and_voids_their_tokens() -> None:
    async with World() as world:
        private, market = await world.socket(), await world.socket()
        token = world.token()
        await private.subscribe(f"account_all_orders/{ACCOUNT}", auth=token)
        await market.subscribe("ticker/1")
        world.faults.add(Kind.EXPIRED_AUTH, (Traffic.PRIVATE,))
        assert await private.closed() == 1006
        world.quote("BTC", 80_000.0)
        await market.until("update/ticker")
        again = await world.socket()
        frame = {"type": "subscribe", "channel": f"account_all_orders/{ACCOUNT}", "auth": token}
        assert (await again.refused(frame))["message"] == "invalid auth: expired token"
        world.pass_s(1)
        await again.subscribe(f"account_all_orders/{ACCOUNT}", auth=world.token())


async def test_faults_reach_transactions_over_the_socket() -> None:
    async with World() as world:
        socket = await world.socket()

        async def send(socket: Socket, number: str) -> None:
            info = world.order(BTC, True, 801_000, 100, nonce=world.nonce)
            await socket.send({"type": "jsonapi/sendtx", "data": {"id": number, "tx_type": 14, "tx_info": info}})

        world.faults.add(Kind.REJECTED_NONCE)
        await send(socket, "1")
        assert (await socket.next())["error"]["code"] == 21104
        world.faults.add(Kind.LOST_ANSWER)
        await send(socket, "2")
        world.nonce = 1
        await send(socket, "3")
        assert (await socket.next())["id"] == "3"  # the second was done, and never answered
        world.faults.add(Kind.HTTP_ERROR, (Traffic.ORDERS,), 503, times=1)
        world.nonce = 2
        await send(socket, "4")
        assert (await socket.next())["error"]["code"] == 29500
        await socket.subscribe("trade/1")
        await world.placed(BTC, True, 790_000, 100, GTT, 7, nonce=2)
