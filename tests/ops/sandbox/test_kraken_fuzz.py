"""Nothing that a client may send brings the simulated Kraken down or moves what is not the client's."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.ops.sandbox.kraken_world import ETH, KEY, OTHER, Refused, World

ROUNDS = 300
METHODS = (
    "add_order", "amend_order", "cancel_order", "cancel_all", "cancel_all_orders_after", "batch_add", "batch_cancel", "subscribe",
    "unsubscribe", "ping", "edit_order", "", 5, None,
)  # fmt: skip
CALLS = (
    "AddOrder", "AddOrderBatch", "AmendOrder", "CancelOrder", "CancelOrderBatch", "CancelAll", "CancelAllOrdersAfter",
    "OpenOrders", "ClosedOrders", "QueryOrders", "TradesHistory", "QueryTrades", "TradeVolume", "Balance", "BalanceEx",
    "TradeBalance", "Ledgers", "OpenPositions", "GetWebSocketsToken",
)  # fmt: skip
FIELDS = (
    "order_type", "side", "symbol", "order_qty", "limit_price", "time_in_force", "post_only", "cl_ord_id", "order_userref",
    "deadline", "validate", "stp_type", "channel", "depth", "event_trigger", "snapshot", "orders", "order_id", "timeout",
    "pair", "type", "ordertype", "volume", "price", "timeinforce", "oflags", "userref", "txid", "start", "end", "ofs", "asset",
    "stptype", "trades",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    "", "limit", "market", "buy", "sell", ETH, "XBTUSD", "NOPE/USD", "ioc", "gtc", "post", "fcib,post", "ticker", "book",
    "executions", "balances", "bbo", 0, 1, 10, -1, 1e308, 1e-308, 0.5, 2000, 2000.015, 2**62, "1e999999999", "-1e-999999999",
    "NaN", "Infinity", "0x10", "\u0660", "\x00", "\ud7ff", True, False, None, [], [None], [[]], {}, [{}], {"a": 1}, [ETH],
    ["x"] * 60,
    "O00000-00000-000001", "T00000-00000-000001", "99999999999999999999", "2026-11-20T09:00:05Z", "9999-99-99", "a" * 5000,
)  # fmt: skip


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(tier="agreed") as ready:
        yield ready


def picked(rng: random.Random) -> dict[str, Any]:
    return {name: rng.choice(VALUES) for name in rng.sample(FIELDS, rng.randrange(len(FIELDS)))}


def stands(world: World) -> None:
    """Nothing of the other account moved, and nobody owes anything."""
    other, mine = world.exchange.account(OTHER), world.exchange.account(KEY)
    assert other is not None
    assert mine is not None
    assert other.cash == 10_000
    assert world.exchange.orders(OTHER) == []
    assert mine.cash >= 0
    assert all(wallet.qty >= 0 for wallet in mine.positions.values())


@pytest.mark.parametrize("seed", range(2))
async def test_sockets_survive_every_message(world: World, seed: int) -> None:
    rng = random.Random(seed)
    private, market = await world.private("executions"), await world.socket()
    for _ in range(ROUNDS):
        socket = rng.choice((private, market))
        message: Any = {
            "method": rng.choice(METHODS),
            "params": picked(rng),
            "req_id": rng.choice((1, "x", None, 2**60, -1)),
        }
        if socket is private and rng.random() < 0.9:
            message["params"]["token"] = private.token
        if rng.random() < 0.1:
            message["params"] = rng.choice(VALUES)
        text = orjson.dumps(message, option=orjson.OPT_PASSTHROUGH_SUBCLASS) if rng.random() < 0.95 else b"{" * 50
        await socket.socket.send_str(text.decode())
    for socket in (private, market):
        assert (await socket.ask("ping", req_id=12345))["method"] == "pong"
    stands(world)


@pytest.mark.parametrize("seed", range(2))
async def test_calls_are_answered_with_a_result_or_with_words(world: World, seed: int) -> None:
    rng = random.Random(100 + seed)
    refused: list[str] = []
    for _ in range(ROUNDS):
        name, as_json = rng.choice(CALLS), rng.random() < 0.5
        fields = picked(rng)
        if not as_json:
            fields = {key: value if isinstance(value, str) else str(value) for key, value in fields.items()}
            fields = {key: value.encode("utf-8", "replace").decode() for key, value in fields.items()}
        try:
            await world.call(name, fields, as_json=as_json)
        except Refused as error:
            refused.append(str(error))
        world.pass_s(0.5)
    assert refused
    assert [text for text in refused if not text.startswith("E") or "Internal" in text] == []
    stands(world)


async def test_public_reads_take_any_query(world: World) -> None:
    rng, refused = random.Random(7), []
    for _ in range(200):
        name = rng.choice(("AssetPairs", "Ticker", "Depth", "Trades", "Spread", "Assets", "Time", "SystemStatus"))
        query = {key: str(rng.choice(VALUES))[:100] for key in rng.sample(("pair", "count", "since", "asset"), 2)}
        try:
            await world.read(name, **query)
        except Refused as error:
            refused.append(str(error))
    assert all(text.startswith("E") for text in refused)
