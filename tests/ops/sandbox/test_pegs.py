"""The stablecoins of the sandbox: a dollar each until somebody shifts them, kept over a restart, served by the spot venue."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from ops.sandbox.control import Control
from ops.sandbox.market import PEGGED, FundingCurve, Market, MarketTerms
from tests.ops.sandbox.kraken_world import World

TERMS = MarketTerms(
    seed=5, symbols=("BTC", "ETH"), venues=("alpha", "kraken"), quotes_per_s=100.0, basis_sd_bps=18.0, basis_half_life_s=15.0,
    jump_bps=60.0, jump_every_s=30.0,
)  # fmt: skip


def test_a_dollar_each_until_somebody_shifts_one() -> None:
    market = Market(TERMS)
    assert {symbol: market.peg(symbol).mid for symbol in PEGGED} == {"USDC": 1.0, "USDT": 1.0}
    market.shift("USDT", -150.0)
    assert round(market.peg("USDT").mid, 6) == 0.985
    assert market.peg("USDC").mid == 1.0
    again = Market(TERMS, market.state())
    assert again.peg("USDT").mid == market.peg("USDT").mid


def test_each_showing_differs_in_size_so_that_books_say_something() -> None:
    market = Market(TERMS)
    assert len({market.peg("USDC").bid_usd for _ in range(7)}) == 7


def test_the_walk_is_the_same_with_and_without_looking_at_the_pegs() -> None:
    one, other = Market(TERMS), Market(TERMS)
    for step in range(50):
        if step % 3:
            one.peg("USDC")
        assert one.step() == other.step()


def test_where_nobody_pays_funding_nobody_is_rich() -> None:
    curve = FundingCurve(5, ("BTC", "ETH"), ())
    assert curve.rich_venue == ""
    assert FundingCurve(5, ("BTC", "ETH"), ("alpha",)).rich_venue == "alpha"


async def test_the_control_endpoint_shifts_a_peg_and_knows_nothing_else_new() -> None:
    market = Market(TERMS)
    servers: Mapping[str, Any] = {}
    async with TestClient(TestServer(Control(market, servers, Decimal(1), 0).application())) as client:
        answer = await client.post("/control/price", json={"symbol": "USDC", "bps": 100.0})
        assert answer.status == 200
        assert round(market.peg("USDC").mid, 6) == 1.01
        assert (await client.post("/control/price", json={"symbol": "DAI", "bps": 1.0})).status == 400
        assert (
            await client.post("/control/basis", json={"venue": "kraken", "symbol": "USDC", "bps": 1.0})
        ).status == 400


async def test_the_spot_venue_lists_them_whatever_it_is_told_to_list() -> None:
    async with World() as world:
        market = Market(TERMS)
        market.shift("USDT", -150.0)
        for symbol in PEGGED:
            world.exchange.apply(symbol, market.peg(symbol))
        ticker = await world.read("Ticker", pair="USDTUSD,USDCUSD")
        assert float(ticker["USDTZUSD"]["b"][0]) < 0.985 < float(ticker["USDTZUSD"]["a"][0])
        assert float(ticker["USDCUSD"]["b"][0]) < 1.0 < float(ticker["USDCUSD"]["a"][0])
