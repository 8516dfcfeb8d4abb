"""Lighter's catalogue, books, funding, accounts and auth tokens over REST."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ops.sandbox.lighter_world import ACCOUNT, BTC, ETH, GTT, KEY, KPEPE, STRANGER, World


async def test_root_and_catalogue() -> None:
    async with World() as world:
        async with world.session.get(world.url + "/") as response:
            assert (await response.json())["status"] == 200
        body = await world.get("orderBookDetails")
        rows = {row["symbol"]: row for row in body["order_book_details"]}
        assert {name: row["market_id"] for name, row in rows.items()} == {
            "ETH": 0, "BTC": 1, "DOGE": 3, "1000PEPE": 4, "CRV": 36,
        }  # fmt: skip
        assert all(row["size_decimals"] + row["price_decimals"] == 6 for row in rows.values())
        assert (rows["DOGE"]["status"], rows["CRV"]["market_config"]["hidden"]) == ("inactive", True)
        assert (rows["BTC"]["min_base_amount"], rows["BTC"]["min_quote_amount"]) == ("0.00020", "10.000000")
        assert (rows["BTC"]["min_initial_margin_fraction"], rows["BTC"]["maintenance_margin_fraction"]) == (200, 120)
        assert float(rows["BTC"]["mark_price"]) == 80_000
        assert [row["market_type"] for row in body["spot_order_book_details"]] == ["spot"]
        light = (await world.get("orderBooks"))["order_books"]
        assert {row["market_type"] for row in light} == {"perp", "spot"}
        assert all("mark_price" not in row for row in light)
        only = await world.get("orderBookDetails", market_id=1)
        assert [row["symbol"] for row in only["order_book_details"]] == ["BTC"]
        assert (await world.get("orderBookDetails", filter="spot"))["order_book_details"] == []
        assert (await world.ask("orderBookDetails", market_id=99))[1]["code"] == 21602


async def test_books_and_trades_are_zero_padded() -> None:
    async with World() as world:
        book = await world.get("orderBookOrders", market_id=KPEPE, limit=250)
        assert book["bids"][0]["price"] == "0.003999"
        assert len(book["asks"]) == book["total_asks"] == 25
        assert float(book["asks"][0]["price"]) > float(book["bids"][0]["price"])
        assert (await world.ask("orderBookOrders", market_id=KPEPE))[1]["code"] == 20001
        assert (await world.ask("orderBookOrders", market_id=KPEPE, limit=251))[1]["code"] == 20001
        world.quote("BTC", 80_000.0, print_usd=-500.0)
        (row,) = (await world.get("recentTrades", market_id=BTC, limit=5))["trades"]
        assert (row["is_maker_ask"], row["type"]) == (False, "trade")
        stats = await world.get("exchangeStats")
        assert {row["symbol"] for row in stats["order_book_stats"]} == {"BTC", "ETH", "1000PEPE"}


@pytest.mark.parametrize("rate", [0.0000125, -0.00034])
async def test_funding_in_all_its_units(rate: float) -> None:
    async with World(rate=rate) as world:
        world.pass_s(3600 * 5)
        now_s = world.clock.wire_ns() // 1_000_000_000
        body = await world.get(
            "fundings",
            market_id=BTC,
            resolution="1h",
            start_timestamp=now_s - 4 * 3600,
            end_timestamp=now_s,
            count_back=3,
        )
        shown = "0.0012" if rate > 0 else "0.0340"
        assert [(row["rate"], row["direction"]) for row in body["fundings"]] == [
            (shown, "long" if rate > 0 else "short")
        ] * 3
        assert all(row["timestamp"] % 3600 == 0 for row in body["fundings"])
        rows = (await world.get("funding-rates"))["funding_rates"]
        assert {row["exchange"] for row in rows} == {"binance", "bybit", "hyperliquid", "lighter"}
        own = next(row["rate"] for row in rows if row["exchange"] == "lighter" and row["market_id"] == BTC)
        assert own / 8 == pytest.approx(rate, rel=0.15)
        status, body = await world.ask("fundings", market_id=BTC, resolution="1h")
        assert (status, body["code"]) == (400, 20001)


async def test_accounts_are_public_and_found_by_either_name() -> None:
    async with World() as world:
        account = (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]
        assert (account["collateral"], account["available_balance"]) == ("10000.000000", "10000.000000")
        found = await world.get("accountsByL1Address", l1_address=account["l1_address"].upper().replace("0X", "0x"))
        assert [row["index"] for row in found["sub_accounts"]] == [ACCOUNT]
        again = await world.get("account", by="l1_address", value=account["l1_address"])
        assert again["accounts"][0]["index"] == ACCOUNT
        assert (await world.ask("accountsByL1Address", l1_address="0x" + "00" * 20))[1]["code"] == 21100
        assert (await world.ask("account", by="index", value=1))[1]["code"] == 21100
        assert (await world.ask("account", by="name", value=1))[1]["code"] == 20001
        (key,) = (await world.get("apikeys", account_index=ACCOUNT, api_key_index=255))["api_keys"]
        assert (key["api_key_index"], len(key["public_key"])) == (KEY, 80)
        assert (await world.ask("apikeys", account_index=ACCOUNT, api_key_index=9))[1]["code"] == 21109


async def test_money_adds_up_and_the_sign_stands_apart() -> None:
    async with World() as world:
        await world.do(14, world.order(BTC, False, 799_000, 10_000))
        await world.placed(ETH, True, 190_000, 1_000, GTT, 1)
        world.quote("BTC", 81_000.0)
        account = (await world.get("account", by="index", value=ACCOUNT))["accounts"][0]
        row = {row["symbol"]: row for row in account["positions"]}["BTC"]
        assert (row["position"], row["sign"]) == ("0.10000", -1)
        assert float(row["unrealized_pnl"]) == pytest.approx(-100, rel=0.01)
        equity = float(account["collateral"]) + float(row["unrealized_pnl"])
        assert float(account["total_asset_value"]) == pytest.approx(equity, abs=1e-5)
        assert float(account["cross_maintenance_margin_requirement"]) == pytest.approx(8_100 * 0.012)
        assert account["total_order_count"] == 1
        assert {row["symbol"]: row["open_order_count"] for row in account["positions"]} == {"BTC": 0, "ETH": 1}
        limits = await world.own("accountLimits")
        assert (limits["user_tier"], limits["current_taker_fee_tick"]) == ("premium", 0)


async def test_pages_follow_each_other() -> None:
    async with World() as world:
        for client in range(1, 6):
            await world.do(14, world.order(BTC, True, 801_000, 100, client=client))
        seen: list[int] = []
        cursor: dict[str, Any] = {}
        while True:
            page = await world.own("accountInactiveOrders", limit=2, **cursor)
            seen += [row["client_order_index"] for row in page["orders"]]
            if "next_cursor" not in page:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == [5, 4, 3, 2, 1]
        assert len((await world.own("trades", sort_by="timestamp", limit=3))["trades"]) == 3
        assert len((await world.own("accountTxs", limit=100))["txs"]) == 5


async def test_tokens_and_the_four_ways_they_fail() -> None:
    async with World() as world:

        async def ask(token: str, account: int = ACCOUNT) -> tuple[int, int, str]:
            status, body = await world.ask("accountActiveOrders", token=token, account_index=account)
            return status, body["code"], body.get("message", "")

        assert (await ask(world.token()))[0] == 200
        assert await ask("") == (400, 20001, "invalid param : auth query param and Authorization header are empty")
        assert await ask(world.token(ahead_s=8 * 3600 + 5)) == (401, 20013, "invalid auth: invalid deadline")
        assert await ask(world.token(ahead_s=0)) == (401, 20013, "invalid auth: expired token")
        assert await ask("rubbish") == (401, 20013, "invalid auth")
        lost = (401, 20013, "invalid auth: couldnt find account")
        assert await ask(world.token(account=7)) == lost
        assert await ask(world.token(key=9)) == lost
        assert await ask(world.token(secret=STRANGER)) == lost
        assert await ask(world.token(), account=7) == lost
        token = world.token(ahead_s=60)
        world.pass_s(61)
        assert (await ask(token))[2] == "invalid auth: expired token"
        status, body = await world.ask("accountActiveOrders", auth=world.token(), account_index=ACCOUNT)
        assert (status, body["orders"]) == (200, [])


async def test_unknown_outcomes_are_settled_by_client_index() -> None:
    async with World() as world:
        await world.do(14, world.order(BTC, True, 801_000, 100, client=11))
        rows = (await world.own("accountOrders", client_order_indexes="11,12"))["orders"]
        assert [(row["client_order_index"], row["status"]) for row in rows] == [(11, "filled")]
        world.pass_s(86_401)
        assert not (await world.own("accountOrders", client_order_indexes="11"))["orders"]
        many = ",".join(str(n) for n in range(1, 22))
        assert (
            await world.ask("accountOrders", token=world.token(), account_index=ACCOUNT, client_order_indexes=many)
        )[0] == 400
        assert (await world.ask("tx", by="hash", value="00" * 40))[1]["code"] == 21500
