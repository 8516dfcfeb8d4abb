"""The judge: the official hyperliquid-python-sdk, unchanged, as a client of the real sandbox process.

An agent key trades for its master (`account_address`), as our executor does. Prices walk but have no basis here.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.error import ClientError, ServerError
from hyperliquid.utils.types import Cloid

from tests.ops.sandbox.process import SandboxProcess

GTC, IOC, ALO = ({"limit": {"tif": tif}} for tif in ("Gtc", "Ioc", "Alo"))
WAIT_S = 20.0
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("sdk")) as process:
        yield process


@pytest.fixture(scope="module")
def info(sandbox: SandboxProcess) -> Iterator[Info]:
    client = Info(sandbox.url, skip_ws=True)
    yield client
    client.session.close()


class Trader:
    """One funded master with an agent of its own, so that tests do not meet."""

    def __init__(self, sandbox: SandboxProcess, info: Info, number: int) -> None:
        self.master = Account.from_key(f"0x{number:064x}")
        self.agent = Account.from_key(f"0x{number + 1:064x}")
        self.user = self.master.address.lower()
        sandbox.control(
            "account",
            {"venue": "hyperliquid", "address": self.user, "agents": [self.agent.address], "balance_usd": 10_000},
        )
        self.info = info
        self._clients: list[Exchange] = []
        self._url = sandbox.url
        self.exchange = self.client(self.agent)

    def client(self, wallet: Any, master: str | None = None) -> Exchange:
        """The SDK's Exchange for a wallet that trades for `master` (default: this trader's)."""
        exchange = Exchange(wallet, self._url, account_address=master or self.master.address)
        self._clients.append(exchange)
        return exchange

    def close(self) -> None:
        for client in self._clients:
            client.session.close()
            client.info.session.close()

    def mid(self, coin: str) -> float:
        return float(self.info.all_mids()[coin])

    def position(self, coin: str) -> float:
        rows = [row["position"] for row in self.info.user_state(self.user)["assetPositions"]]
        return next((float(row["szi"]) for row in rows if row["coin"] == coin), 0.0)


@pytest.fixture
def trader(sandbox: SandboxProcess, info: Info) -> Iterator[Trader]:
    trader = Trader(sandbox, info, 10_000 + 2 * next(NUMBERS))
    yield trader
    trader.close()


def statuses(answer: Any) -> list[Any]:
    assert answer["status"] == "ok", answer
    found: list[Any] = answer["response"]["data"]["statuses"]
    return found


def only(answer: Any) -> Any:
    (status,) = statuses(answer)
    return status


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.05)
    return value


def test_catalogue_keeps_dead_entries_in_place(info: Info) -> None:
    names = [row["name"] for row in info.meta()["universe"]]
    assert names == ["BTC", "ETH", "MATIC", "SOL", "kDOGS", "HYPE", "PAXG", "kPEPE"]
    assert [row["name"] for row in info.meta()["universe"] if row.get("isDelisted")] == ["MATIC", "kDOGS"]
    assert info.coin_to_asset["kPEPE"] == 7
    assert info.asset_to_sz_decimals[0] == 5
    assert info.coin_to_asset["PURR/USDC"] == 10000
    meta, contexts = info.meta_and_asset_ctxs()
    assert len(contexts) == len(meta["universe"])
    assert contexts[2]["midPx"] is None
    assert float(contexts[0]["markPx"]) > 1000
    assert info.perp_dexs() == [None]


def test_market_reads(info: Info) -> None:
    mids = info.all_mids()
    assert set(mids) == {"BTC", "ETH", "SOL", "HYPE", "PAXG", "kPEPE"}
    assert 0.001 < float(mids["kPEPE"]) < 0.1  # per 1000
    book = info.l2_snapshot("BTC")
    bids, asks = book["levels"]
    assert len(bids) == len(asks) == 20
    assert float(bids[0]["px"]) < float(asks[0]["px"])
    assert abs(book["time"] - time.time() * 1000) < 5_000
    now_ms = int(time.time() * 1000)
    history = info.funding_history("ETH", now_ms - 6 * 3600 * 1000, now_ms)
    assert len(history) == 6
    assert all(row["time"] % 3_600_000 < 1_000 for row in history)
    assert len(info.funding_history("ETH", now_ms - 40 * 24 * 3600 * 1000)) == 500  # a page


def test_a_stranger_reads_empty_state_and_so_does_an_agent(info: Info, trader: Trader) -> None:
    for address in ("0x" + "12" * 20, trader.agent.address):
        state = info.user_state(address)
        assert state["marginSummary"]["accountValue"] == "0.0"
        assert state["assetPositions"] == []
        assert info.open_orders(address) == []
        assert info.user_fills(address) == []
    assert info.user_role(trader.agent.address) == {"role": "agent", "data": {"user": trader.user}}
    assert info.user_role(trader.user) == {"role": "user"}
    assert info.user_role("0x" + "12" * 20) == {"role": "missing"}
    (agent,) = info.extra_agents(trader.user)
    assert agent["address"] == trader.agent.address.lower()
    assert agent["validUntil"] > time.time() * 1000


def test_gtc_rests_and_is_found_by_oid_and_cloid(trader: Trader) -> None:
    px = round(trader.mid("ETH") * 0.95, 1)
    cloid = Cloid.from_int(0xABC1)
    answer = only(trader.exchange.order("ETH", True, 0.01, px, GTC, cloid=cloid))
    oid = answer["resting"]["oid"]
    assert answer["resting"]["cloid"] == cloid.to_raw()
    (order,) = trader.info.open_orders(trader.user)
    assert (order["oid"], order["coin"], order["side"], order["cloid"]) == (oid, "ETH", "B", cloid.to_raw())
    assert float(order["limitPx"]) == px
    for found in (
        trader.info.query_order_by_oid(trader.user, oid),
        trader.info.query_order_by_cloid(trader.user, cloid),
    ):
        assert found["order"]["status"] == "open"
        assert found["order"]["order"]["tif"] == "Gtc"
    assert trader.info.query_order_by_oid(trader.user, 1) == {"status": "unknownOid"}
    assert only(trader.exchange.cancel("ETH", oid)) == "success"
    error = only(trader.exchange.cancel("ETH", oid))["error"]
    assert error == "Order was never placed, already canceled, or filled. asset=1"
    assert trader.info.query_order_by_cloid(trader.user, cloid)["order"]["status"] == "canceled"
    assert trader.info.frontend_open_orders(trader.user) == []
    assert trader.info.historical_orders(trader.user)[0]["status"] == "canceled"


def test_ioc_fills_with_fee_and_position(trader: Trader) -> None:
    px = round(trader.mid("ETH") * 1.01, 1)
    filled = only(trader.exchange.order("ETH", True, 0.05, px, IOC))["filled"]
    assert filled["totalSz"] == "0.05"
    (fill,) = trader.info.user_fills(trader.user)
    assert (fill["oid"], fill["coin"], fill["side"], fill["crossed"]) == (filled["oid"], "ETH", "B", True)
    assert float(fill["fee"]) == pytest.approx(0.05 * float(fill["px"]) * 0.00045, abs=1e-6)
    assert (fill["startPosition"], fill["closedPnl"], fill["dir"]) == ("0.0", "0.0", "Open Long")
    state = trader.info.user_state(trader.user)
    (row,) = state["assetPositions"]
    position = row["position"]
    assert (position["coin"], position["szi"], position["entryPx"]) == ("ETH", "0.05", fill["px"])
    equity = float(state["marginSummary"]["accountValue"])
    assert equity == pytest.approx(10_000 - float(fill["fee"]) + float(position["unrealizedPnl"]), abs=1e-3)
    since = trader.info.user_fills_by_time(trader.user, fill["time"])
    assert [row["tid"] for row in since] == [fill["tid"]]
    assert trader.info.user_fills_by_time(trader.user, fill["time"] + 1) == []


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (("BTC", True, 0.001, 0.8, IOC), "Order could not immediately match against any resting orders. asset=0"),
        (("BTC", True, 0.00005, 0.95, GTC), "Order must have minimum value of $10. asset=0"),
        (("BTC", True, 3.0, 0.95, GTC), "Insufficient margin to place order. asset=0"),
        (("BTC", True, 0.001, 3.0, GTC), "Order price cannot be more than 80% away from the reference price asset=0"),
    ],
)
def test_refusals_are_worded_as_the_venue_words_them(trader: Trader, order: tuple[Any, ...], text: str) -> None:
    coin, buys, size, factor, kind = order
    px = round(trader.mid(coin) * factor)
    assert only(trader.exchange.order(coin, buys, size, px, kind))["error"] == text


def test_rounding_and_reduce_only_and_post_only_refusals(trader: Trader) -> None:
    mid = trader.mid("BTC")
    error = only(trader.exchange.order("BTC", True, 0.001, round(mid * 0.9) + 0.5, GTC))["error"]
    assert error == "Price must be divisible by tick size. asset=0"
    error = only(trader.exchange.order("BTC", True, 0.0010005, round(mid * 0.9), GTC))["error"]
    assert error == "Order has invalid size. asset=0"
    error = only(trader.exchange.order("BTC", True, 0.0, round(mid * 0.9), GTC))["error"]
    assert error == "Order has zero size. asset=0"
    error = only(trader.exchange.order("BTC", False, 0.001, round(mid * 0.9), IOC, reduce_only=True))["error"]
    assert error == "Reduce only order would increase position. asset=0"
    error = only(trader.exchange.order("BTC", True, 0.001, round(mid * 1.05), ALO))["error"]
    assert error.startswith("Post only order would have immediately matched, bbo was ")
    assert "resting" in only(trader.exchange.order("BTC", True, 0.001, round(mid * 0.95), ALO))


def test_a_batch_answers_one_status_per_order(trader: Trader) -> None:
    mid = trader.mid("SOL")
    requests = [
        {
            "coin": "SOL",
            "is_buy": True,
            "sz": 1.0,
            "limit_px": round(mid * 0.9, 2),
            "order_type": GTC,
            "reduce_only": False,
        },
        {
            "coin": "SOL",
            "is_buy": True,
            "sz": 0.01,
            "limit_px": round(mid * 0.9, 2),
            "order_type": GTC,
            "reduce_only": False,
        },
        {
            "coin": "SOL",
            "is_buy": True,
            "sz": 1.0,
            "limit_px": round(mid * 1.05, 2),
            "order_type": IOC,
            "reduce_only": False,
        },
    ]
    first, second, third = statuses(trader.exchange.bulk_orders(requests))
    assert "resting" in first
    assert second == {"error": "Order must have minimum value of $10. asset=3"}
    assert third["filled"]["totalSz"] == "1.0"
    oid = first["resting"]["oid"]
    cancels = [{"coin": "SOL", "oid": oid}, {"coin": "SOL", "oid": 3}]
    done, missing = statuses(trader.exchange.bulk_cancel(cancels))
    assert done == "success"
    assert "never placed" in missing["error"]


def test_cancel_by_cloid_and_modify_gives_a_new_oid_under_the_same_cloid(trader: Trader) -> None:
    mid = trader.mid("ETH")
    cloid = Cloid.from_str("0x1234567890abcdef1234567890abcdef")
    old = only(trader.exchange.order("ETH", True, 0.01, round(mid * 0.95, 1), GTC, cloid=cloid))["resting"]["oid"]
    new = only(trader.exchange.modify_order(old, "ETH", True, 0.02, round(mid * 0.94, 1), GTC, cloid=cloid))["resting"][
        "oid"
    ]
    assert new != old
    (order,) = trader.info.open_orders(trader.user)
    assert (order["oid"], order["sz"], order["cloid"]) == (new, "0.02", cloid.to_raw())
    assert only(trader.exchange.cancel_by_cloid("ETH", cloid)) == "success"
    assert trader.info.open_orders(trader.user) == []
    assert "error" in only(trader.exchange.modify_order(new, "ETH", True, 0.02, round(mid * 0.94, 1), GTC))


def test_leverage_modes_and_isolated_margin(trader: Trader) -> None:
    assert trader.exchange.update_leverage(7, "ETH")["status"] == "ok"
    assert trader.exchange.update_leverage(26, "ETH") == {"status": "err", "response": "Invalid leverage value"}
    assert trader.exchange.update_leverage(5, "SOL", is_cross=False)["status"] == "ok"
    trader.exchange.market_open("ETH", True, 0.1)
    trader.exchange.market_open("SOL", False, 3.0)
    rows = {row["position"]["coin"]: row["position"] for row in trader.info.user_state(trader.user)["assetPositions"]}
    assert rows["ETH"]["leverage"] == {"type": "cross", "value": 7}
    assert rows["SOL"]["leverage"]["type"] == "isolated"
    assert rows["SOL"]["leverage"]["value"] == 5
    assert rows["SOL"]["szi"] == "-3.0"
    assert float(rows["SOL"]["liquidationPx"]) > trader.mid("SOL")
    assert trader.exchange.update_isolated_margin(20.0, "SOL")["status"] == "ok"
    after = {row["position"]["coin"]: row["position"] for row in trader.info.user_state(trader.user)["assetPositions"]}
    assert float(after["SOL"]["marginUsed"]) - float(rows["SOL"]["marginUsed"]) == pytest.approx(20.0, abs=2.0)
    assert trader.exchange.update_leverage(5, "SOL", is_cross=True)["status"] == "err"


def test_market_open_and_close_leave_nothing(trader: Trader) -> None:
    assert "filled" in only(trader.exchange.market_open("kPEPE", True, 50_000))
    assert trader.position("kPEPE") == 50_000
    assert "filled" in only(trader.exchange.market_close("kPEPE"))
    assert trader.position("kPEPE") == 0
    assert trader.exchange.market_close("kPEPE") is None
    fills = trader.info.user_fills(trader.user)
    assert fills[0]["dir"] == "Close Long"
    assert float(fills[0]["closedPnl"]) != 0 or fills[0]["px"] == fills[-1]["px"]


def test_dead_man_switch_needs_volume(trader: Trader) -> None:
    answer = trader.exchange.schedule_cancel(int(time.time() * 1000) + 10_000)
    assert answer["status"] == "err"
    assert answer["response"].startswith(
        "Cannot set scheduled cancel time until enough volume traded. Required: $1000000."
    )


def test_noop_burns_a_nonce(trader: Trader) -> None:
    nonce = int(time.time() * 1000)
    assert trader.exchange.noop(nonce)["status"] == "ok"
    assert trader.exchange.noop(nonce) == {"status": "err", "response": f"Invalid nonce: duplicate nonce {nonce}"}


def test_an_expired_action_is_refused(trader: Trader) -> None:
    trader.exchange.set_expires_after(int(time.time() * 1000) - 1_000)
    answer = trader.exchange.order("ETH", True, 0.01, round(trader.mid("ETH") * 0.95, 1), GTC)
    assert answer == {"status": "err", "response": "Action already expired"}
    trader.exchange.set_expires_after(int(time.time() * 1000) + 60_000)
    assert "resting" in only(trader.exchange.order("ETH", True, 0.01, round(trader.mid("ETH") * 0.95, 1), GTC))
    trader.exchange.set_expires_after(None)


def test_a_strangers_signature_is_named_and_refused(trader: Trader) -> None:
    stranger = Account.from_key("0x" + "77" * 32)
    answer = trader.client(stranger).order("ETH", True, 0.01, 1000.0, GTC)
    assert answer == {"status": "err", "response": f"User or API Wallet {stranger.address.lower()} does not exist."}


def test_the_master_may_approve_an_agent_which_then_trades(trader: Trader) -> None:
    answer, key = trader.client(trader.master).approve_agent("second")
    assert answer["status"] == "ok"
    agent = trader.client(Account.from_key(key))
    assert "filled" in only(agent.market_open("ETH", True, 0.01))
    assert trader.position("ETH") == 0.01
    assert len(trader.info.extra_agents(trader.user)) == 2


def test_account_figures(trader: Trader) -> None:
    trader.exchange.market_open("ETH", True, 0.05)
    fees = trader.info.user_fees(trader.user)
    assert (fees["userCrossRate"], fees["userAddRate"]) == ("0.00045", "0.00015")
    limit = trader.info.user_rate_limit(trader.user)
    assert limit["nRequestsUsed"] == 1
    assert limit["nRequestsCap"] == 10_000 + int(float(limit["cumVlm"]))
    assert trader.info.query_user_abstraction_state(trader.user) == "default"
    assert trader.info.post("/info", {"type": "exchangeStatus"})["specialStatuses"] is None
    predicted = dict(trader.info.post("/info", {"type": "predictedFundings"}))
    assert dict(predicted["BTC"])["HlPerp"]["fundingIntervalHours"] == 1
    (balance,) = trader.info.spot_user_state(trader.user)["balances"]
    assert balance["coin"] == "USDC"
    assert trader.info.user_funding_history(trader.user, 0) == []


def test_http_errors(info: Info) -> None:
    with pytest.raises(ClientError) as unknown:
        info.post("/info", {"type": "nonsense"})
    assert unknown.value.status_code == 422
    with pytest.raises(ServerError):
        info.post("/info", {"type": "fundingHistory", "coin": "NOPE", "startTime": 0})
    with pytest.raises(ServerError):
        info.meta(dex="nope")
    assert info.post("/info", {"type": "l2Book", "coin": "NOPE"}) is None
    with pytest.raises(ClientError) as malformed:
        info.post("/exchange", {"action": {"type": "order"}})
    assert malformed.value.status_code == 422


def test_streams_tell_what_happens(sandbox: SandboxProcess, trader: Trader) -> None:
    heard: dict[str, list[Any]] = {}
    lock = threading.Lock()

    def listen(name: str) -> Callable[[Any], None]:
        def callback(message: Any) -> None:
            with lock:
                heard.setdefault(name, []).append(message["data"])

        return callback

    info = Info(sandbox.url)
    try:
        for subscription in (
            {"type": "bbo", "coin": "ETH"},
            {"type": "l2Book", "coin": "kPEPE"},
            {"type": "trades", "coin": "ETH"},
            {"type": "activeAssetCtx", "coin": "BTC"},
            {"type": "allMids"},
            {"type": "userEvents", "user": trader.user},
            {"type": "userFills", "user": trader.user},
            {"type": "userFundings", "user": trader.user},
            {"type": "orderUpdates", "user": trader.user},
            {"type": "activeAssetData", "user": trader.user, "coin": "BTC"},
        ):
            info.subscribe(subscription, listen(subscription["type"]))
        until(lambda: {"bbo", "l2Book", "activeAssetCtx", "allMids", "userFills", "activeAssetData"} <= set(heard))
        cloid = Cloid.from_int(0x515)
        px = round(trader.mid("ETH") * 0.95, 1)
        oid = only(trader.exchange.order("ETH", True, 0.02, px, GTC, cloid=cloid))["resting"]["oid"]
        trader.exchange.cancel("ETH", oid)
        trader.exchange.market_open("ETH", True, 0.02)
        until(lambda: len(heard.get("orderUpdates", [])) >= 3 and len(heard["userFills"]) >= 2 and heard.get("trades"))
        updates = [update for batch in heard["orderUpdates"] for update in batch]
        assert [u["status"] for u in updates if u["order"]["oid"] == oid] == ["open", "canceled"]
        assert updates[0]["order"]["cloid"] == cloid.to_raw()
        assert updates[-1]["status"] == "filled"
        snapshot, later = heard["userFills"][0], heard["userFills"][1]
        assert snapshot["isSnapshot"] is True
        assert "isSnapshot" not in later
        assert later["fills"][0]["coin"] == "ETH"
        assert heard["userEvents"][0]["fills"] == later["fills"]
        quote = heard["bbo"][-1]
        assert float(quote["bbo"][0]["px"]) < float(quote["bbo"][1]["px"])
        assert len(heard["l2Book"][0]["levels"][0]) == 20
        assert set(heard["activeAssetCtx"][0]["ctx"]) >= {
            "funding",
            "markPx",
            "oraclePx",
            "midPx",
            "openInterest",
            "dayNtlVlm",
        }
        until(lambda: len(heard["bbo"]) >= 5 and len(heard["activeAssetCtx"]) >= 2)
    finally:
        info.disconnect_websocket()
        info.session.close()
