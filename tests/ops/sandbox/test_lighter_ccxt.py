"""A second judge: ccxt, unchanged, which sends multipart forms and skips nonces. Its signer is the SDK's library."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ccxt
import pytest

from tests.ops.sandbox.process import SandboxProcess

BTC, PEPE = "BTC/USDC:USDC", "1000PEPE/USDC:USDC"
WAIT_S = 10.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with SandboxProcess(tmp_path_factory.mktemp("ccxt")) as sandbox:
        secrets = sandbox.secrets()
        account, key = secrets["LIGHTER_ACCOUNT_INDEX"], secrets["LIGHTER_API_KEY_INDEX"]
        package = importlib.util.find_spec("lighter")
        assert package is not None
        assert package.origin is not None
        library = Path(package.origin).parent / "signers" / "lighter-signer-linux-amd64.so"
        client = ccxt.lighter(
            {"options": {"accountIndex": int(account), "apiKeyIndex": int(key), "builderFee": False,
                         "libraryPath": str(library)}, "enableRateLimit": False}
        )  # fmt: skip
        for name in ("root", "public", "private"):
            client.urls["api"][name] = f"http://127.0.0.1:{sandbox.ports['lighter']}"
        client.options["chainId"] = 300
        client.options["auths"] = {account: {key: {"lighterPrivateKey": secrets["LIGHTER_PRIVATE_KEY"]}}}
        client.load_markets()
        yield client


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.1)
    return value


def test_markets_and_their_figures(client: Any) -> None:
    markets = client.markets
    assert {BTC, PEPE, "SOL/USDC:USDC", "HYPE/USDC:USDC", "PAXG/USDC:USDC"} <= set(markets)
    assert (markets[BTC]["precision"]["price"], markets[BTC]["precision"]["amount"]) == (0.1, 1e-05)
    assert not markets["DOGE/USDC:USDC"]["active"]
    book = client.fetch_order_book(BTC)
    assert book["bids"][0][0] < book["asks"][0][0]
    rates = client.fetch_funding_rates()
    assert set(rates) >= {BTC, PEPE}
    assert 0.001 < client.fetch_ticker(PEPE)["last"] < 0.1


def test_orders(client: Any) -> None:
    assert client.fetch_balance()["USDC"]["total"] == 10_000
    ask = client.fetch_order_book(BTC)["asks"][0][0]
    client.set_leverage(5, BTC, {"marginMode": "cross"})
    client.create_order(BTC, "market", "buy", 0.001, ask * 1.01)
    (position,) = until(lambda: [row for row in client.fetch_positions() if row["contracts"]])
    assert (position["symbol"], position["side"], position["contracts"]) == (BTC, "long", 0.001)
    assert [row["amount"] for row in client.fetch_my_trades(BTC)] == [0.001]
    client.create_order(BTC, "limit", "buy", 0.001, ask * 0.97, {"postOnly": True})
    (order,) = until(lambda: client.fetch_open_orders(BTC))
    client.cancel_order(order["id"], BTC)
    until(lambda: not client.fetch_open_orders(BTC))
    client.create_order(BTC, "market", "sell", 0.001, ask * 0.99, {"reduceOnly": True})
    until(lambda: not [row for row in client.fetch_positions() if row["contracts"]])
