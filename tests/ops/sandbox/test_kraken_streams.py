"""Kraken's sockets in the sandbox: what is pushed, in which order, with which sums, and on what tokens stand."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import orjson
import pytest

from ops.sandbox.fault_kinds import Kind, Traffic
from ops.sandbox.venues._kraken_faults import Dialect
from ops.sandbox.venues._kraken_rows import number_of
from tests.ops.sandbox.kraken_world import ETH, KEY, OTHER, OTHER_SECRET, Socket, World

CLIENT = "7a6d" + "0" * 28
EXECUTIONS, BALANCES = "executions", "balances"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as ready:
        yield ready


def told(socket: Socket) -> list[tuple[str, str]]:
    return [(row["exec_type"], row["order_status"]) for row in socket.rows(EXECUTIONS)]


# ---- market -----------------------------------------------------------------------------------------------------------


async def test_greeting_ping_and_what_is_no_request(world: World) -> None:
    socket = await world.socket()
    greeting = await socket.frame()
    assert greeting["data"][0]["system"] == "online"
    assert greeting["data"][0]["connection_id"] > 1 << 62
    assert (await socket.ask("ping"))["method"] == "pong"
    await socket.socket.send_str("rubbish")
    assert (await socket.frame())["error"]
    assert (await socket.ask("dance"))["success"] is False


async def test_a_ticker_moves_with_the_best_prices_only_when_bbo_is_asked_for(world: World) -> None:
    bbo, trades = await world.socket(), await world.socket()
    ack = await bbo.ask("subscribe", channel="ticker", symbol=[ETH, "NO/USD"], event_trigger="bbo")
    assert ack["result"] == {"channel": "ticker", "symbol": ETH, "snapshot": True}
    row = (await bbo.until("ticker"))["data"][0]
    assert (row["symbol"], row["bid"], row["ask"]) == (ETH, 1999.9, 2000.1)
    assert (await bbo.frame())["error"] == "Currency pair not supported NO/USD"
    await trades.ask("subscribe", channel="ticker", symbol=[ETH])
    await trades.until("ticker")
    world.quote("ETH", 2_010.0)
    assert (await bbo.until("ticker"))["data"][0]["bid"] == 2009.89
    world.quote("ETH", 2_010.0, touch_usd=9_000.0)  # another size at the same price
    assert await bbo.quiet() == []
    assert await trades.quiet() == []
    world.quote("ETH", 2_010.0, print_usd=500.0)
    assert (await trades.until("ticker"))["type"] == "update"


class Mirror:
    """A client's book, kept and summed by the page's rules."""

    def __init__(self, depth: int, decimals: tuple[int, int]) -> None:
        self.depth, self.decimals = depth, decimals
        self.sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}

    def take(self, row: Any, is_snapshot: bool) -> None:
        for name, side in self.sides.items():
            if is_snapshot:
                side.clear()
            for level in row[name]:
                px, qty = Decimal(repr(level["price"])), Decimal(repr(level["qty"]))
                side.pop(px, None)
                if qty:
                    side[px] = qty
            best = sorted(side, reverse=name == "bids")[: self.depth]
            self.sides[name] = {px: side[px] for px in best}
        assert self.checksum() == row["checksum"]

    def checksum(self) -> int:
        text = ""
        for name in ("asks", "bids"):
            for px, qty in list(self.sides[name].items())[:10]:
                for value, decimals in zip((px, qty), self.decimals, strict=True):
                    text += f"{value:.{decimals}f}".replace(".", "").lstrip("0")
        return zlib.crc32(text.encode())


@pytest.mark.parametrize(
    ("symbol", "depth", "decimals"), [("ETH", 10, (2, 8)), ("PEPE", 25, (10, 5)), ("USDT", 10, (5, 8))]
)
async def test_a_book_kept_by_the_rules_always_has_the_venues_sum(
    world: World, symbol: str, depth: int, decimals: tuple[int, int]
) -> None:
    socket, mirror = await world.socket(), Mirror(depth, decimals)
    await socket.ask("subscribe", channel="book", symbol=[f"{symbol}/USD"], depth=depth)
    mirror.take((await socket.until("book"))["data"][0], True)
    px = {"ETH": 2_000.0, "PEPE": 0.000004, "USDT": 1.0}[symbol]
    for step in range(12):
        world.quote(symbol, px * (1 + 0.0003 * (step % 5)), touch_usd=3_000.0 + 100 * step)
        frame = await socket.until("book")
        assert frame["type"] == "update"
        mirror.take(frame["data"][0], False)
    if symbol == "ETH":
        await world.order("buy", "2000.33", "0.5", timeinforce="GTC")
        mirror.take((await socket.until("book"))["data"][0], False)
        assert Decimal("2000.33") in mirror.sides["bids"]


async def test_who_comes_later_gets_the_present_book_and_all_go_on_together(world: World) -> None:
    first, second = await world.socket(), await world.socket()
    mirrors = Mirror(10, (2, 8)), Mirror(10, (2, 8))
    await first.ask("subscribe", channel="book", symbol=[ETH], depth=10)
    mirrors[0].take((await first.until("book"))["data"][0], True)
    world.quote("ETH", 2_001.0)
    mirrors[0].take((await first.until("book"))["data"][0], False)
    await second.ask("subscribe", channel="book", symbol=[ETH], depth=10)
    mirrors[1].take((await second.until("book"))["data"][0], True)
    world.quote("ETH", 2_002.0)
    for socket, mirror in zip((first, second), mirrors, strict=True):
        mirror.take((await socket.until("book"))["data"][0], False)
    assert mirrors[0].sides == mirrors[1].sides


async def test_entering_twice_and_leaving_twice_are_refused(world: World) -> None:
    socket = await world.socket()
    for method, good in (("unsubscribe", False), ("subscribe", True), ("subscribe", False), ("unsubscribe", True)):
        assert (await socket.ask(method, channel="book", symbol=[ETH], depth=10))["success"] is good
    assert (await socket.ask("subscribe", channel="book", symbol=[ETH], depth=11))["success"] is False
    assert (await socket.ask("subscribe", channel="candles", symbol=[ETH]))["success"] is False
    assert (await socket.ask("subscribe", channel="ticker", symbol="ETH/USD"))["success"] is False


async def test_heartbeats_come_with_a_subscription_and_idle_connections_end(world: World) -> None:
    idle, used = await world.socket(), await world.socket()
    await used.ask("subscribe", channel="ticker", symbol=[ETH], event_trigger="bbo")
    await used.until("ticker")
    world.pass_s(1.5)
    world.venue.tick()
    assert await used.frame() == {"channel": "heartbeat"}
    world.pass_s(60)
    world.venue.tick()
    await idle.closed()
    assert (await used.ask("ping"))["method"] == "pong"


async def test_instruments_and_trades(world: World) -> None:
    socket = await world.socket()
    await socket.ask("subscribe", channel="instrument", snapshot=True)
    rows = (await socket.until("instrument"))["data"]["pairs"]
    eth = next(row for row in rows if row["symbol"] == ETH)
    assert (eth["price_precision"], eth["qty_precision"], eth["price_increment"], eth["status"]) == (
        2,
        8,
        0.01,
        "online",
    )
    await socket.ask("subscribe", channel="trade", symbol=[ETH])
    world.quote("ETH", 2_000.0, print_usd=700.0)
    assert (await socket.until("trade"))["data"][0]["side"] == "buy"


# ---- account ----------------------------------------------------------------------------------------------------------


async def test_a_filled_order_is_told_from_pending_to_filled(world: World) -> None:
    socket = await world.private(EXECUTIONS, BALANCES)
    answer = await socket.add(cl_ord_id=CLIENT, fee_preference="quote")
    assert answer["success"] is True
    assert answer["result"]["cl_ord_id"] == CLIENT
    await socket.quiet()
    assert told(socket) == [("pending_new", "pending_new"), ("new", "new"), ("trade", "filled"), ("filled", "filled")]
    rows = socket.rows(EXECUTIONS)
    assert {row["order_id"] for row in rows} == {answer["result"]["order_id"]}
    assert rows[0]["cl_ord_id"] == CLIENT
    assert "cl_ord_id" not in rows[2]
    assert (rows[2]["last_qty"], rows[2]["last_price"], rows[2]["liquidity_ind"]) == (0.5, 2000.1, "t")
    assert rows[2]["fees"] == [{"asset": "USD", "qty": 4.0002}]
    assert (rows[3]["cum_qty"], rows[3]["avg_price"]) == (0.5, 2000.1)
    sequences = [frame["sequence"] for frame in socket.seen if frame.get("channel") == EXECUTIONS]
    assert sequences == [1, 2, 3, 4, 5]
    balances = {row["asset"]: row["balance"] for row in socket.rows(BALANCES)}
    assert balances["ETH"] == 0.5
    assert balances["USD"] == pytest.approx(10_000 - 1000.05 - 4.0002)


async def test_ends_of_ioc_orders(world: World) -> None:
    socket = await world.private(EXECUTIONS)
    await socket.add(px=1900.0)
    await socket.quiet()
    assert told(socket) == [("pending_new", "pending_new"), ("new", "new"), ("canceled", "canceled")]
    assert socket.rows(EXECUTIONS)[-1]["cum_qty"] == 0
    socket.seen.clear()
    world.faults.add(Kind.PARTIAL_FILL, value=0.5)
    await socket.add()
    await socket.quiet()
    assert [kind for kind, _ in told(socket)] == ["pending_new", "new", "trade", "canceled"]
    assert socket.rows(EXECUTIONS)[-1]["cum_qty"] == 0.25


async def test_a_resting_order_is_hit_amended_and_canceled(world: World) -> None:
    socket = await world.private(EXECUTIONS)
    answer = await socket.add(px=1990.0, qty=1.0, tif="gtc", post_only=True, cl_ord_id=CLIENT)
    txid = answer["result"]["order_id"]
    await socket.ask("amend_order", token=socket.token, order_id=txid, limit_price=1995.0)
    world.quote("ETH", 1_994.0, touch_usd=600.0)
    await socket.quiet()
    assert [kind for kind, _ in told(socket)] == ["pending_new", "new", "amended", "trade"]
    trade = socket.rows(EXECUTIONS, exec_type="trade")[0]
    assert (trade["liquidity_ind"], trade["order_status"], trade["last_price"]) == ("m", "partially_filled", 1995.0)
    canceled = await socket.ask("cancel_order", token=socket.token, cl_ord_id=[CLIENT])
    assert canceled["result"]["cl_ord_id"] == CLIENT
    again = await socket.ask("cancel_order", token=socket.token, order_id=[txid])
    assert (again["success"], again["error"]) == (False, "EOrder:Unknown order")
    await socket.quiet()
    assert told(socket)[-1] == ("canceled", "canceled")
    assert socket.rows(EXECUTIONS)[-1]["reason"] == "User requested"


async def test_snapshots_hold_open_orders_and_trades(world: World) -> None:
    await world.order(qty="0.5", cl_ord_id="done")
    resting = await world.order(px="1900", timeinforce="GTC", cl_ord_id="rests")
    socket = await world.private(EXECUTIONS, snap_orders=True, snap_trades=True)
    rows = socket.rows(EXECUTIONS)
    assert [(row["exec_type"], row["cl_ord_id"]) for row in rows] == [("new", "rests"), ("trade", "done")]
    await world.call("CancelOrder", {"txid": resting})
    await socket.quiet()
    assert told(socket)[-1] == ("canceled", "canceled")  # and no second pending_new


async def test_refusals_have_the_words_of_rest(world: World) -> None:
    socket = await world.private()
    for changes, text in (
        ({"qty": 99.0}, "EOrder:Insufficient funds"),
        ({"side": "sell"}, "EOrder:Insufficient funds"),
        ({"px": 2100.001}, "EOrder:Tick size check failed"),
        ({"tif": "gtc", "post_only": True}, "EOrder:Post only order"),
        ({"colour": "red"}, "Unsupported field: 'colour'"),
        ({"reduce_only": True}, "EGeneral:Invalid arguments:margin"),
        ({"deadline": "2001-01-01T00:00:00Z"}, "EService:Deadline elapsed"),
    ):
        answer = await socket.add(**changes)  # type: ignore[arg-type]
        assert (answer["success"], answer["error"]) == (False, text)
    assert (await socket.ask("cancel_all", token="nobody"))["error"] == "EAPI:Invalid token"


async def test_batches_and_cancel_all(world: World) -> None:
    socket = await world.private()
    row = {"order_type": "limit", "side": "buy", "order_qty": 0.01, "limit_price": 1900.0, "cl_ord_id": "b-1"}
    answer = await socket.ask("batch_add", token=socket.token, symbol=ETH, orders=[row, row])
    assert [each["success"] for each in answer["result"]["orders"]] == [True, False]
    assert (await socket.ask("batch_cancel", token=socket.token, orders=["x"], cl_ord_id=["b-1"]))["result"][
        "count"
    ] == 1
    await socket.add(px=1900.0, tif="gtc")
    assert (await socket.ask("cancel_all", token=socket.token))["result"]["count"] == 1


async def test_the_switch_by_socket(world: World) -> None:
    socket = await world.private(EXECUTIONS)
    await socket.add(px=1900.0, tif="gtc")
    answer = await socket.ask("cancel_all_orders_after", token=socket.token, timeout=60)
    assert set(answer["result"]) == {"currentTime", "triggerTime"}
    world.pass_s(61)
    world.venue.tick()
    await socket.quiet()
    assert told(socket)[-1] == ("canceled", "canceled")


async def test_a_token_dies_unless_a_subscription_stands_on_it(world: World) -> None:
    bare, subscribed = await world.private(), await world.private(EXECUTIONS)
    world.pass_s(901)
    assert (await bare.add())["error"] == "ESession:Invalid session"
    assert (await subscribed.add())["success"] is True
    await subscribed.ask("unsubscribe", channel=EXECUTIONS, token=subscribed.token)
    assert (await subscribed.add())["error"] == "ESession:Invalid session"


async def test_accounts_hear_of_themselves_only(world: World) -> None:
    mine, theirs = await world.private(EXECUTIONS), await world.private(EXECUTIONS, key=OTHER, secret=OTHER_SECRET)
    await mine.add()
    await mine.quiet()
    assert await theirs.quiet() == []


# ---- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "placed"),
    [
        ((Kind.REJECTED_NONCE, {}), "EAPI:Invalid nonce", 0),
        ((Kind.EXPIRED_AUTH, {"traffic": (Traffic.ORDERS,)}), "EAPI:Invalid token", 0),
        ((Kind.HTTP_ERROR, {"traffic": (Traffic.ORDERS,)}), "EGeneral:Internal error", 0),
        ((Kind.HTTP_ERROR, {"traffic": (Traffic.ORDERS,), "way": "executed"}), "EGeneral:Internal error", 1),
        ((Kind.HTTP_ERROR, {"traffic": (Traffic.ORDERS,), "value": 429}), "EOrder:Rate limit exceeded", 0),
    ],
)  # fmt: skip
async def test_faults_speak_the_venues_words_on_the_socket(world: World, kind: Any, text: str, placed: int) -> None:
    socket = await world.private()
    world.faults.add(kind[0], times=1, **kind[1])
    assert (await socket.add())["error"] == text
    assert len(world.exchange.orders(KEY)) == placed


async def test_an_answer_may_be_lost_though_the_order_was_done(world: World) -> None:
    socket = await world.private(EXECUTIONS)
    world.faults.add(Kind.LOST_ANSWER)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await socket.add()
    assert len(world.exchange.orders(KEY)) == 1
    world.faults.add(Kind.LOST_ANSWER, way="broken")
    with pytest.raises(ConnectionError):
        await socket.add()
    assert len(world.exchange.orders(KEY)) == 2


async def test_auth_that_runs_out_ends_private_sockets_and_their_tokens(world: World) -> None:
    private, market = await world.private(EXECUTIONS), await world.socket()
    await market.ask("subscribe", channel="ticker", symbol=[ETH], event_trigger="bbo")
    world.faults.add(Kind.EXPIRED_AUTH, (Traffic.PRIVATE,))
    await private.closed()
    again = await world.socket("/private/v2")
    assert (await again.ask("cancel_all", token=private.token))["error"] == "EAPI:Invalid token"
    assert (await market.ask("ping"))["method"] == "pong"


async def test_a_gap_is_seen_by_the_next_sum(world: World) -> None:
    socket, mirror = await world.socket(), Mirror(10, (2, 8))
    await socket.ask("subscribe", channel="book", symbol=[ETH], depth=10)
    mirror.take((await socket.until("book"))["data"][0], True)
    world.faults.add(Kind.GAP)
    world.quote("ETH", 2_001.0)
    world.quote("ETH", 2_001.0, touch_usd=7_000.0)
    with pytest.raises(AssertionError):
        mirror.take((await socket.until("book"))["data"][0], False)


def test_traffic_is_told_apart() -> None:
    dialect = Dialect()
    assert dialect.of_request("GET", "/0/public/Ticker", b"") is Traffic.MARKET
    assert dialect.of_request("POST", "/0/private/GetWebSocketsToken", b"") is Traffic.PRIVATE
    assert dialect.of_request("POST", "/0/private/CancelAllOrdersAfter", b"") is Traffic.ORDERS
    assert dialect.of_request("POST", "/0/private/AddOrder", b"") is Traffic.ORDERS
    assert dialect.of_request("POST", "/0/private/Balance", b"") is Traffic.READS
    assert dialect.of_upgrade("/v2") == {Traffic.MARKET}
    assert dialect.of_upgrade("/private/v2") == {Traffic.PRIVATE}
    assert dialect.of_frame(b'{"channel":"heartbeat"}') is None
    assert dialect.of_frame(b'{"method":"add_order","success":true}') is None
    assert orjson.loads(dialect.refused_nonce().body) == {"error": ["EAPI:Invalid nonce"]}
    assert number_of("nonsense") is None
