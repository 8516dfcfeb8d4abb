"""The judge of the simulated Pacifica: ccxt, unchanged, by REST and over its socket.

ccxt's base58 drops leading zero bytes, so one of 256 of its signatures is refused here as on the venue; such a call is made
again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import ccxt
import ccxt.pro
import pytest

from tests.ops.sandbox.process import SandboxProcess

BTC, PEPE = "BTC/USDC:USDC", "KPEPE/USDC:USDC"
WAIT_S = 10.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("ccxt"), venues=("pacifica",)) as running:
        yield running


def credentials(sandbox: SandboxProcess) -> dict[str, Any]:
    secrets = sandbox.secrets()
    agent = sandbox.control("state")["venues"]["pacifica"]["accounts"][secrets["PACIFICA_ACCOUNT"]]["agents"][0]
    options = {"builderFee": False, "agentAddress": agent, "apiKey": secrets["PACIFICA_API_CONFIG_KEY"]}
    return {
        "walletAddress": secrets["PACIFICA_ACCOUNT"], "privateKey": secrets["PACIFICA_AGENT_KEY"], "options": options,
        "enableRateLimit": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def client(sandbox: SandboxProcess) -> Any:
    client = ccxt.pacifica(credentials(sandbox))
    for name in ("public", "private"):
        client.urls["api"][name] = f"http://127.0.0.1:{sandbox.ports['pacifica']}"
    client.load_markets()
    return Persistent(client)


class Persistent:
    """A client whose calls are made again when the venue finds the signature ill-formed; it then did nothing."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        target = getattr(self._client, name)
        return self._again(target) if callable(target) else target

    def _again(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **more: Any) -> Any:
            for _ in range(5):
                try:
                    return call(*arguments, **more)
                except ccxt.BaseError as error:
                    if "Invalid signature" not in str(error):
                        raise
            raise AssertionError("five ill-formed signatures in a row")

        return made


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)
    return value


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    """See Persistent."""
    for _ in range(5):
        try:
            return await call()
        except ccxt.BaseError as error:
            if "Invalid signature" not in str(error):
                raise
    raise AssertionError("five ill-formed signatures in a row")


def test_markets_and_their_figures(client: Any) -> None:
    markets = client.markets
    assert {BTC, PEPE, "SOL/USDC:USDC", "HYPE/USDC:USDC", "PAXG/USDC:USDC"} <= set(markets)
    assert (markets[BTC]["precision"]["price"], markets[BTC]["precision"]["amount"]) == (1.0, 1e-05)
    assert (markets[PEPE]["id"], markets[BTC]["taker"]) == ("kPEPE", 0.0004)
    book = client.fetch_order_book(BTC)
    assert book["bids"][0][0] < book["asks"][0][0]
    rates = client.fetch_funding_rates()
    assert set(rates) >= {BTC, PEPE}
    assert abs(rates[BTC]["fundingRate"]) < 0.04
    history = client.fetch_funding_rate_history(BTC, limit=5)
    assert len(history) == 5
    assert 0.001 < client.fetch_tickers()[PEPE]["last"] < 0.1
    assert client.fetch_trading_fee(BTC)["taker"] == 0.0004


def test_orders(client: Any) -> None:
    assert client.fetch_balance()["USDC"]["total"] == 10_000
    ask = client.fetch_order_book(BTC)["asks"][0][0]
    client.set_leverage(5, BTC)
    assert client.fetch_leverage(BTC)["longLeverage"] == 5
    market = client.create_order(BTC, "market", "buy", 0.001)
    (position,) = until(lambda: client.fetch_positions())
    assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 0.001)
    (trade,) = client.fetch_my_trades(BTC)
    assert (trade["amount"], trade["side"], trade["takerOrMaker"]) == (0.001, "buy", "taker")
    assert client.fetch_order(market["id"], BTC)["status"] == "closed"
    resting = client.create_order(BTC, "limit", "buy", 0.001, round(ask * 0.97), {"timeInForce": "PO"})
    (order,) = client.fetch_open_orders(BTC)
    assert (order["id"], order["remaining"]) == (resting["id"], 0.001)
    client.cancel_order(order["id"], BTC)
    assert client.fetch_open_orders(BTC) == []
    assert client.fetch_order(resting["id"], BTC)["status"] == "canceled"
    client.create_order(BTC, "limit", "sell", 0.001, round(ask * 0.99), {"timeInForce": "IOC", "reduceOnly": True})
    assert until(lambda: not client.fetch_positions())


def test_batches_edits_and_cancel_all(client: Any) -> None:
    bid = client.fetch_order_book(BTC)["bids"][0][0]
    orders = [
        {"symbol": BTC, "type": "limit", "side": "buy", "amount": 0.001, "price": round(bid * part), "params": {}}
        for part in (0.96, 0.95)
    ]
    made = client.create_orders(orders)
    assert len({each["id"] for each in made}) == 2
    edited = client.edit_order(made[0]["id"], BTC, "limit", "buy", 0.002, round(bid * 0.94))
    assert edited["id"] not in {each["id"] for each in made}
    assert {each["amount"] for each in client.fetch_open_orders(BTC)} == {0.001, 0.002}
    client.cancel_orders([made[1]["id"]], BTC)
    client.cancel_all_orders(BTC)
    assert client.fetch_open_orders(BTC) == []


def test_refusals_are_the_kinds_that_ccxt_knows(client: Any) -> None:
    ask = client.fetch_order_book(BTC)["asks"][0][0]
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(BTC, "limit", "buy", 9.0, round(ask * 1.01))
    with pytest.raises(ccxt.InvalidOrder):
        client.create_order(BTC, "limit", "buy", 0.0001, round(ask * 1.01))
    with pytest.raises(ccxt.ExchangeError):
        client.cancel_order("1", BTC)


async def test_over_the_socket(sandbox: SandboxProcess) -> None:
    client = ccxt.pro.pacifica(credentials(sandbox))
    port = sandbox.ports["pacifica"]
    for name in ("public", "private"):
        client.urls["api"][name] = f"http://127.0.0.1:{port}"
    client.urls["api"]["ws"]["public"] = f"ws://127.0.0.1:{port}/ws"
    try:
        async with asyncio.timeout(WAIT_S):
            await client.load_markets()
            book = await client.watch_order_book(BTC)
            assert book["bids"][0][0] < book["asks"][0][0]
            assert (await client.watch_tickers([BTC]))[BTC]["symbol"] == BTC
            seen = asyncio.create_task(client.watch_my_trades(BTC))
            await asyncio.sleep(0.2)  # its subscription has no acknowledgement that a caller could wait for
            at = round(book["asks"][0][0] * 1.01)
            order = await again(lambda: client.create_order_ws(BTC, "limit", "buy", 0.001, at, {"timeInForce": "IOC"}))
            (trade,) = await seen
            assert (trade["order"], trade["amount"]) == (order["id"], 0.001)
            low = round(book["bids"][0][0] * 0.95)
            resting = await again(lambda: client.create_order_ws(BTC, "limit", "buy", 0.001, low))
            assert [each["id"] for each in await client.fetch_open_orders(BTC)] == [resting["id"]]
            await again(lambda: client.cancel_order_ws(resting["id"], BTC))
            assert await client.fetch_open_orders(BTC) == []
    finally:
        await client.close()
