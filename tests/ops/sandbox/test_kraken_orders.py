"""Kraken's orders in the sandbox: signatures, nonces, every refusal in its words, what rests, what the switch cancels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.types import TimeInForce
from ops.sandbox.model import OrderState
from ops.sandbox.venues._kraken_rows import number_of, stamp
from tests.ops.sandbox.kraken_world import ETH, KEY, OTHER, OTHER_SECRET, SECRET, Refused, World

D = Decimal
CLIENT = "7a6d" + "0" * 28


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as ready:
        yield ready


def order_of(world: World, txid: str) -> Any:
    order = world.exchange.order(KEY, order_id=number_of(txid))
    assert order is not None
    return order


# ---- who speaks -------------------------------------------------------------------------------------------------------


async def test_form_and_json_are_both_taken(world: World) -> None:
    assert (await world.call("Balance"))["ZUSD"].startswith("10000.")
    assert (await world.call("Balance", as_json=True))["ZUSD"].startswith("10000.")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"key": "stranger"}, "EAPI:Invalid key"),
        ({"secret": OTHER_SECRET}, "EAPI:Invalid signature"),
        ({"spoil": lambda body: body.replace(b"asset=1", b"asset=2")}, "EAPI:Invalid signature"),
        ({"nonce": -5}, "EAPI:Invalid nonce"),
        ({"nonce": 1 << 64}, "EAPI:Invalid nonce"),
    ],
)  # fmt: skip
async def test_who_is_not_let_in(world: World, how: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        await world.call("Balance", {"asset": "1"}, **how)


async def test_nonces_rise_for_each_key_by_itself(world: World) -> None:
    await world.call("Balance", nonce=100)
    for stale in (100, 99, 1):
        with pytest.raises(Refused, match="EAPI:Invalid nonce"):
            await world.call("Balance", nonce=stale)
    await world.call("Balance", nonce=1, key=OTHER, secret=OTHER_SECRET)
    await world.call("Balance", nonce=1_795_000_000_000_000_000)
    with pytest.raises(Refused, match="EAPI:Invalid nonce"):
        await world.call("Balance", nonce=1_795_000_000_000)  # another scale


async def test_a_wrong_signature_uses_no_nonce_up(world: World) -> None:
    with pytest.raises(Refused, match="signature"):
        await world.call("Balance", nonce=50, secret=OTHER_SECRET)
    await world.call("Balance", nonce=50)


async def test_nonces_survive_a_restart(world: World) -> None:
    for nonce in (5, 700, 800):
        await world.call("Balance", nonce=nonce)
    async with World(history=world.transactions) as again:
        for stale in (6, 701, 800):
            with pytest.raises(Refused, match="EAPI:Invalid nonce"):
                await again.call("Balance", nonce=stale)
        await again.call("Balance", nonce=801)


# ---- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ["ETH/USD", "ETHUSD", "XETHZUSD", "ethusd"])
async def test_a_pair_has_many_names(world: World, pair: str) -> None:
    order = order_of(world, await world.order(pair=pair))
    assert (order.name, order.state, order.filled) == (ETH, OrderState.FILLED, D("0.5"))


async def test_the_answer_tells_an_id_and_nothing_of_fills(world: World) -> None:
    answer = await world.call(
        "AddOrder",
        {
            "pair": "XBTUSD",
            "type": "buy",
            "ordertype": "limit",
            "price": "80100",
            "volume": "0.01",
            "timeinforce": "IOC",
        },
    )
    assert set(answer) == {"descr", "txid"}
    assert len(answer["txid"][0]) == 19
    assert number_of(answer["txid"][0]) is not None


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"pair": "FOOUSD"}, "EQuery:Unknown asset pair"),
    ({"price": "2100.001"}, "EOrder:Tick size check failed"),
    ({"volume": "0.0001"}, "EOrder:Order minimum not met"),
    ({"volume": "0"}, "EGeneral:Invalid arguments:volume"),
    ({"volume": "NaN"}, "EGeneral:Invalid arguments:volume"),
    ({"volume": "0.123456789"}, "EGeneral:Invalid arguments:volume"),
    ({"price": "-1"}, "EGeneral:Invalid arguments:price"),
    ({"volume": "50"}, "EOrder:Insufficient funds"),
    ({"type": "sell"}, "EOrder:Insufficient funds"),
    ({"oflags": "post"}, "EGeneral:Invalid arguments:oflags"),
    ({"oflags": "fcib"}, "EGeneral:Invalid arguments:oflags"),
    ({"oflags": "post", "timeinforce": "GTC"}, "EOrder:Post only order"),
    ({"timeinforce": "FOK"}, "EGeneral:Invalid arguments:timeinforce"),
    ({"ordertype": "stop-loss"}, "EGeneral:Invalid arguments:ordertype"),
    ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
    ({"leverage": "2"}, "EGeneral:Invalid arguments:leverage"),
    ({"cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
    ({"cl_ord_id": CLIENT, "userref": "7"}, "mutually exclusive"),
    ({"deadline": "2001-01-01T00:00:00Z"}, "EService:Deadline elapsed"),
    ({"deadline": "2099-01-01T00:00:00Z"}, "EGeneral:Invalid arguments:deadline"),
    ({"deadline": "soon"}, "EGeneral:Invalid arguments:deadline"),
    ({"pair": "PEPEUSD", "price": "0.000004", "volume": "400000", "timeinforce": "GTC"}, ""),
    ({"pair": "PEPEUSD", "price": "0.000001", "volume": "400000", "timeinforce": "GTC"}, "EOrder:Cost minimum not met"),
]


@pytest.mark.parametrize(("changes", "text"), REFUSALS, ids=[str(index) for index in range(len(REFUSALS))])
async def test_every_refusal_has_its_words(world: World, changes: dict[str, Any], text: str) -> None:
    if not text:
        await world.order(**changes)
        return
    with pytest.raises(Refused) as told:
        await world.order(**changes)
    assert text in str(told.value)
    socket = await world.private()
    assert not [order for order in world.exchange.orders(KEY) if order.is_open or order.filled]
    await socket.socket.close()


async def test_validate_only_checks(world: World) -> None:
    answer = await world.call(
        "AddOrder",
        {"pair": ETH, "type": "buy", "ordertype": "limit", "price": "2100", "volume": "1", "validate": "true"},
    )
    assert "txid" not in answer
    assert world.exchange.orders(KEY) == []


async def test_an_ioc_that_finds_nothing_was_accepted_and_then_canceled(world: World) -> None:
    txid = await world.order(px="1900", cl_ord_id=CLIENT)
    closed = (await world.call("ClosedOrders", {"cl_ord_id": CLIENT}))["closed"]
    assert list(closed) == [txid]
    assert (closed[txid]["status"], closed[txid]["vol_exec"], closed[txid]["cl_ord_id"]) == (
        "canceled",
        "0.00000000",
        CLIENT,
    )


async def test_an_id_is_unique_among_open_orders(world: World) -> None:
    await world.order(px="1900", timeinforce="GTC", cl_ord_id=CLIENT)
    with pytest.raises(Refused, match="EOrder:Duplicate"):
        await world.order(cl_ord_id=CLIENT)
    await world.call("CancelOrder", {"cl_ord_id": CLIENT})
    await world.order(cl_ord_id=CLIENT)


async def test_cancel_by_either_id_once(world: World) -> None:
    first = await world.order(px="1900", timeinforce="GTC")
    assert (await world.call("CancelOrder", {"txid": first}))["count"] == 1
    with pytest.raises(Refused, match="EOrder:Unknown order"):
        await world.call("CancelOrder", {"txid": first})
    with pytest.raises(Refused, match="EOrder:Unknown order"):
        await world.call("CancelOrder", {"cl_ord_id": "nobody"})
    await world.order(px="1900", timeinforce="GTC", cl_ord_id="mine")
    with pytest.raises(Refused, match="EOrder:Unknown order"):
        await world.call("CancelOrder", {"cl_ord_id": "mine"}, key=OTHER, secret=OTHER_SECRET)
    assert (await world.call("CancelOrder", {"cl_ord_id": "mine"}))["count"] == 1


async def test_a_group_is_canceled_by_its_number(world: World) -> None:
    for _ in range(2):
        await world.order(px="1900", timeinforce="GTC", userref="77")
    kept = await world.order(px="1900", timeinforce="GTC", userref="78")
    assert (await world.call("CancelOrder", {"txid": "77"}))["count"] == 2
    assert [order.order_id for order in world.exchange.open_orders(KEY)] == [number_of(kept)]
    assert (await world.call("CancelAll"))["count"] == 1


async def test_amend_keeps_the_ids(world: World) -> None:
    txid = await world.order(px="1900", timeinforce="GTC", cl_ord_id=CLIENT)
    await world.call("AmendOrder", {"cl_ord_id": CLIENT, "limit_price": "1910", "order_qty": "0.7"})
    order = order_of(world, txid)
    assert (order.px, order.qty, order.client_id) == (D(1910), D("0.7"), CLIENT)
    with pytest.raises(Refused, match="EOrder:Insufficient funds"):
        await world.call("AmendOrder", {"txid": txid, "order_qty": "70"})
    assert order_of(world, txid).qty == D("0.7")


async def test_batches(world: World) -> None:
    rows = [
        {"ordertype": "limit", "type": "buy", "volume": "0.01", "price": "1900.0", "cl_ord_id": "b-1"},
        {"ordertype": "limit", "type": "buy", "volume": "99", "price": "1900.0", "cl_ord_id": "b-2"},
    ]
    answer = await world.call("AddOrderBatch", {"pair": ETH, "orders": rows}, as_json=True)
    assert [set(row) for row in answer["orders"]] == [{"txid"}, {"error"}]
    assert answer["orders"][1]["error"] == "EOrder:Insufficient funds"
    cancel = {"orders": [answer["orders"][0]["txid"], "OAAAAA-AAAAA-AAAAAA"]}
    assert (await world.call("CancelOrderBatch", cancel, as_json=True))["count"] == 1
    with pytest.raises(Refused, match="Invalid arguments:orders"):
        await world.call("AddOrderBatch", {"pair": ETH, "orders": rows[:1]}, as_json=True)


async def test_the_switch_cancels_everything_of_the_account_when_its_time_is_up(world: World) -> None:
    await world.order(px="1900", timeinforce="GTC")
    await world.order(px="70000", pair="XBTUSD", qty="0.001", timeinforce="GTC")
    await world.call("CancelAllOrdersAfter", {"timeout": "60"})
    world.pass_s(59)
    world.venue.tick()
    assert len(world.exchange.open_orders(KEY)) == 2
    await world.call("CancelAllOrdersAfter", {"timeout": "60"})  # pushed out
    world.pass_s(59)
    world.venue.tick()
    assert len(world.exchange.open_orders(KEY)) == 2
    world.pass_s(2)
    world.venue.tick()
    assert world.exchange.open_orders(KEY) == []
    await world.order(px="1900", timeinforce="GTC")
    await world.call("CancelAllOrdersAfter", {"timeout": "60"})
    assert (await world.call("CancelAllOrdersAfter", {"timeout": "0"}))["triggerTime"] == "0"
    world.pass_s(600)
    world.venue.tick()
    assert len(world.exchange.open_orders(KEY)) == 1


async def test_the_switch_strikes_after_a_restart_too(world: World) -> None:
    await world.order(px="1900", timeinforce="GTC")
    await world.call("CancelAllOrdersAfter", {"timeout": "60"})
    async with World(history=world.transactions) as again:
        again.venue.tick()
        assert len(again.exchange.open_orders(KEY)) == 1
        again.pass_s(61)
        again.venue.tick()
        assert again.exchange.open_orders(KEY) == []
    async with World(history=[*world.transactions, *again.transactions]) as third:
        third.nonce = 100
        await third.order(px="1900", timeinforce="GTC")
        third.pass_s(600)
        third.venue.tick()
        assert len(third.exchange.open_orders(KEY)) == 1  # it struck once and is off


async def test_a_deadline_that_passes_while_the_order_waits_keeps_it_out() -> None:
    async with World(order_delay_s=0.05) as world:
        deadline = stamp(world.clock.wire_ns() + 2 * NS_PER_S)
        await world.order(deadline=deadline)
        world.pass_s(3)
        with pytest.raises(Refused, match="Deadline elapsed"):
            await world.order(deadline=deadline)
        assert len(world.exchange.orders(KEY)) == 1


async def test_a_market_order_reaches_five_percent_and_no_further(world: World) -> None:
    txid = await world.order(px=None, ordertype="market", qty="1")
    order = order_of(world, txid)
    assert (order.state, order.tif) == (OrderState.FILLED, TimeInForce.IOC)
    assert order.px == D("2100.10")  # the touch at 2000.10, and 5 % of it, on the grid


async def test_sells_hold_the_coins_and_fees_are_in_dollars(world: World) -> None:
    await world.order(qty="1")
    assert world.exchange.position(KEY, ETH).qty == 1
    await world.order("sell", "2500", "0.6", timeinforce="GTC")
    wallets = await world.call("BalanceEx")
    assert (D(wallets["XETH"]["balance"]), D(wallets["XETH"]["hold_trade"])) == (1, D("0.6"))
    with pytest.raises(Refused, match="EOrder:Insufficient funds"):
        await world.order("sell", "1900", "0.5")
    await world.order("sell", "1900", "0.4")
    assert D((await world.call("Balance"))["XETH"]) == D("0.6")
    trades = (await world.call("TradesHistory"))["trades"]
    assert all(D(row["fee"]) == D(row["cost"]) * D("0.004") for row in trades.values())


async def test_nothing_is_lost_over_a_restart(world: World) -> None:
    await world.order(qty="1", cl_ord_id="done")
    resting = await world.order("sell", "2500", "0.6", timeinforce="GTC", cl_ord_id="rests")
    before = [await world.call(name) for name in ("BalanceEx", "OpenOrders", "ClosedOrders", "TradesHistory")]
    async with World(history=world.transactions) as again:
        again.nonce = world.nonce
        after = [await again.call(name) for name in ("BalanceEx", "OpenOrders", "ClosedOrders", "TradesHistory")]
        assert after == before
        assert (await again.call("CancelOrder", {"txid": resting}))["count"] == 1


# ---- reads ------------------------------------------------------------------------------------------------------------


async def test_account_reads(world: World) -> None:
    txid = await world.order(qty="1", cl_ord_id=CLIENT)
    queried = await world.call("QueryOrders", {"txid": txid, "trades": "true"})
    trades = (await world.call("TradesHistory"))["trades"]
    assert queried[txid]["trades"] == list(trades)[::-1]
    assert queried[txid]["status"] == "closed"
    assert {row["ordertxid"] for row in trades.values()} == {txid}
    assert sum(D(row["vol"]) for row in trades.values()) == 1
    assert await world.call("QueryTrades", {"txid": ",".join(trades)}) == trades
    assert await world.call("OpenPositions") == []
    assert (await world.call("QueryOrders", {"txid": txid}, key=OTHER, secret=OTHER_SECRET)) == {}
    worth = await world.call("TradeBalance", {"asset": "ZUSD"})
    assert D(worth["eb"]) == round(world.exchange.margin(KEY).equity, 4)
    fees = await world.call("TradeVolume", {"pair": "XBTUSD,ETHUSD", "fee_schedule": "true"})
    assert fees["fees"]["XXBTZUSD"]["fee"] == "0.4000"
    assert fees["fees_maker"]["XETHZUSD"]["fee"] == "0.2500"


async def test_trades_since_a_time_or_a_trade(world: World) -> None:
    await world.order(qty="0.1")
    between_s = world.clock.wire_ns() / NS_PER_S + 0.5
    world.pass_s(1)
    await world.order(qty="0.2")
    recent = (await world.call("TradesHistory", {"start": str(between_s)}))["trades"]
    assert [row["vol"] for row in recent.values()] == ["0.20000000"]
    whole = (await world.call("TradesHistory"))["trades"]
    oldest = list(whole)[-1]
    assert (await world.call("TradesHistory", {"start": oldest}))["trades"] == recent
    assert (await world.call("TradesHistory", {"ofs": "1"}))["count"] == 2


async def test_reads_are_counted_and_orders_are_not() -> None:
    async with World(tier="starter") as world:
        for _ in range(15):
            await world.call("Balance")
        with pytest.raises(Refused, match="EAPI:Rate limit exceeded"):
            await world.call("Balance")
        await world.order()
        world.pass_s(10)
        await world.call("Balance")


async def test_young_cancels_are_dear() -> None:
    """Seven cycles of an order and its cancel within five seconds are all that Starter has."""
    async with World(tier="starter") as world:
        for _ in range(6):
            await world.call("CancelOrder", {"txid": await world.order(px="1900", timeinforce="GTC")})
        txid = await world.order(px="1900", timeinforce="GTC")
        with pytest.raises(Refused, match="EOrder:Rate limit exceeded"):
            await world.call("CancelOrder", {"txid": txid})
        await world.order(pair="XBTUSD", px="70000", qty="0.001")  # another pair has a counter of its own
        world.pass_s(301)
        await world.call("CancelOrder", {"txid": txid})


async def test_public_reads(world: World) -> None:
    pairs = await world.read("AssetPairs", pair="XBTUSD,USDTUSD")
    assert set(pairs) == {"XXBTZUSD", "USDTZUSD"}
    assert (pairs["XXBTZUSD"]["wsname"], pairs["XXBTZUSD"]["base"]) == ("XBT/USD", "XXBT")
    assert set(await world.read("AssetPairs")) == {"XXBTZUSD", "XETHZUSD", "PEPEUSD", "USDTZUSD", "USDCUSD"}
    tick = (await world.read("Ticker", pair="ETHUSD"))["XETHZUSD"]
    assert (tick["b"][0], tick["a"][0]) == ("1999.90", "2000.10")
    depth = (await world.read("Depth", pair="ETHUSD", count="5"))["XETHZUSD"]
    assert len(depth["bids"]) == len(depth["asks"]) == 5
    assert (await world.read("SystemStatus"))["status"] == "online"
    assert set(await world.read("Time")) == {"unixtime", "rfc1123"}
    assert (await world.read("Assets"))["XXBT"]["altname"] == "XBT"
    with pytest.raises(Refused, match="Unknown asset pair"):
        await world.read("Ticker", pair="NOPE")
    assert SECRET not in str(pairs)
