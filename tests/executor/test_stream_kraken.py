"""Kraken's private frames as events, without a venue: the page's samples, sparse rows, numbers that are missing, doubt."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import NS_PER_S, SimClock
from core.errors import Malformed, RateLimited, VenueError
from core.specs.kraken import Tier
from core.types import Instrument, LiquiditySide, OrderStatus, Side, TimeInForce, Venue
from executor.venues import _kraken_rows as rows
from executor.venues._kraken_budget import Budget, cancel_cost
from executor.venues._kraken_stream import PrivateStream
from executor.venues._memory import OrderMemory
from executor.venues.base import FillSeen, OrderRequest, OrderSeen, PositionSeen, StreamDown, StreamUp, VenueOrder
from tests.executor.local_servers import LogLines
from tests.executor.sandbox_process import eventually

BTC = Instrument(
    venue=Venue("kraken"),
    symbol="BTC",
    venue_symbol="BTC/USD",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.00000001"),
)
USDC = Instrument(
    venue=Venue("kraken"),
    symbol="USDC",
    venue_symbol="USDC/USD",
    tick_size=Decimal("0.0001"),
    lot_size=Decimal("0.00000001"),
)
CLIENT = "7a6d" + "0" * 28
TXID = "OK4GJX-KSTLS-7DZZO5"
STAMP = "2026-11-20T10:33:05.709950Z"
TRADE: dict[str, Any] = {
    "order_id": "O6NTZC-K6FRH-ATWBCK", "exec_id": "T5DIUI-5N4KO-Z5BPXK", "exec_type": "trade", "trade_id": 8253473,
    "symbol": "USDC/USD", "side": "sell", "last_qty": 15.44, "last_price": 1.0002, "liquidity_ind": "t", "cost": 15.443088,
    "order_userref": 0, "order_status": "filled", "order_type": "market", "fee_usd_equiv": 0.03088618,
    "fees": [{"asset": "USD", "qty": 0.3458}], "timestamp": STAMP,
}  # fmt: skip
PENDING: dict[str, Any] = {
    "order_id": TXID, "order_userref": 3, "symbol": "BTC/USD", "order_qty": 0.005, "cum_cost": 0.0, "time_in_force": "GTC",
    "exec_type": "pending_new", "side": "sell", "order_type": "limit", "limit_price_type": "static", "limit_price": 26500.0,
    "stop_price": 0.0, "order_status": "pending_new", "fee_usd_equiv": 0.0, "fee_ccy_pref": "fciq", "timestamp": STAMP,
}  # fmt: skip


class Desk:
    """A stream, what it told, and a venue that answers questions about orders."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.lost: list[str] = []
        self.asked: list[str] = []
        self.known: dict[str, VenueOrder] = {}
        self.away = False
        self.memory = OrderMemory()
        names = {each.venue_symbol: each for each in (BTC, USDC)}
        self.stream = PrivateStream(
            self.memory, lambda: names, lambda: {each.symbol: each for each in names.values()}, self.order_of,
            self.lost.append, self.events.append, LogLines().log,
        )  # fmt: skip
        self.sequence = {"executions": 0, "balances": 0}

    async def order_of(self, txid: str) -> VenueOrder | None:
        self.asked.append(txid)
        if self.away:
            raise VenueError("away")
        order = self.known.get(txid)
        self.memory.bind(txid, order.client_order_id if order is not None else None)
        return order

    def push(self, *data: dict[str, Any], channel: str = "executions", kind: str = "update", skip: int = 0) -> None:
        self.sequence[channel] += 1 + skip
        frame = {"channel": channel, "type": kind, "data": data, "sequence": self.sequence[channel]}
        self.stream.on_frame(channel, json.dumps(frame).encode())

    def up(self, *orders: dict[str, Any]) -> None:
        self.push(channel="balances", kind="snapshot")
        self.push(*orders, kind="snapshot")

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    ready = Desk()
    yield ready
    await ready.stream.close()


def ours(request_tif: TimeInForce = TimeInForce.IOC) -> OrderRequest:
    return OrderRequest(
        client_order_id=CLIENT, instrument=BTC, side=Side.SELL, lots=500_000, limit_ticks=265_000, time_in_force=request_tif,
        reduce_only=False, expires_wire_ns=5 * NS_PER_S,
    )  # fmt: skip


async def test_up_when_both_snapshots_have_come(desk: Desk) -> None:
    desk.push(channel="balances", kind="snapshot")
    assert desk.events == []
    desk.push(kind="snapshot")
    assert desk.of(StreamUp) == [StreamUp(venue=Venue("kraken"), since_wire_ns=0)]
    desk.stream.on_down("broken", 100 * NS_PER_S)
    desk.stream.on_down("broken", 100 * NS_PER_S)
    assert len(desk.of(StreamDown)) == 1
    desk.up()
    assert desk.of(StreamUp)[-1].since_wire_ns == 95 * NS_PER_S


async def test_the_pages_trade(desk: Desk) -> None:
    desk.memory.bind(TRADE["order_id"], CLIENT)
    desk.up()
    desk.push(TRADE)
    (seen,) = desk.of(FillSeen)
    fill = seen.fill
    assert (fill.symbol, fill.side, fill.lots, fill.px) == ("USDC", Side.SELL, 1_544_000_000, Decimal("1.0002"))
    assert (fill.fee_usd, fill.trade_id, fill.liquidity) == (
        Decimal("0.3458"),
        "T5DIUI-5N4KO-Z5BPXK",
        LiquiditySide.TAKER,
    )
    assert (fill.client_order_id, fill.venue_order_id) == (CLIENT, TRADE["order_id"])
    assert fill.ts_ns == 1_795_170_785_709_950_000


async def test_an_order_from_its_first_row_to_its_end(desk: Desk) -> None:
    desk.memory.note(ours(), 1, 0)
    desk.up()
    desk.push(PENDING | {"cl_ord_id": CLIENT})
    desk.push({"order_id": TXID, "exec_type": "new", "order_status": "new"})
    desk.push(TRADE | {"order_id": TXID, "symbol": "BTC/USD", "last_qty": 0.002, "order_status": "partially_filled"})
    desk.push(
        {"order_id": TXID, "exec_type": "canceled", "order_status": "canceled", "cum_qty": 0.002, "avg_price": 26500.5}
    )
    orders = [seen.order for seen in desk.of(OrderSeen)]
    assert [order.status for order in orders] == [OrderStatus.ACCEPTED, OrderStatus.ACCEPTED, OrderStatus.EXPIRED]
    last = orders[-1]
    assert (last.client_order_id, last.side, last.lots, last.filled_lots) == (CLIENT, Side.SELL, 500_000, 200_000)
    assert last.avg_px == Decimal("26500.5")
    assert [seen.fill.lots for seen in desk.of(FillSeen)] == [200_000]
    assert desk.asked == []


@pytest.mark.parametrize(
    ("row", "status", "filled"),
    [
        (
            {"exec_type": "filled", "order_status": "filled"},
            OrderStatus.FILLED,
            500_000,
        ),  # even when it does not say how much
        ({"exec_type": "expired", "order_status": "expired", "cum_qty": 0}, OrderStatus.EXPIRED, 0),
        ({"exec_type": "canceled", "order_status": "canceled"}, OrderStatus.CANCELED, 0),
        ({"exec_type": "canceled"}, OrderStatus.CANCELED, 0),  # only exec_type and order_id are sure
        ({"exec_type": "filled", "cl_ord_id": None}, OrderStatus.FILLED, 500_000),
        ({"exec_type": "restated"}, OrderStatus.ACCEPTED, 0),
    ],
)
async def test_ends_of_a_resting_order(desk: Desk, row: dict[str, Any], status: OrderStatus, filled: int) -> None:
    desk.memory.note(ours(TimeInForce.GTC), 1, 0)
    desk.up(PENDING | {"cl_ord_id": CLIENT, "exec_type": "new", "order_status": "new"})
    desk.push({"order_id": TXID} | row)
    last = desk.of(OrderSeen)[-1].order
    assert (last.status, last.filled_lots) == (status, filled)


async def test_a_word_that_is_not_known_says_nothing(desk: Desk) -> None:
    desk.up(PENDING | {"cl_ord_id": CLIENT})
    before = len(desk.events)
    desk.push({"order_id": TXID, "exec_type": "something_new"})
    desk.push({"order_id": TXID, "exec_type": "status", "order_status": "something_new"})
    assert len(desk.events) == before
    assert desk.lost == []


async def test_an_amended_order_has_its_new_size(desk: Desk) -> None:
    desk.up(PENDING | {"cl_ord_id": CLIENT})
    desk.push({"order_id": TXID, "exec_type": "amended", "order_status": "new", "order_qty": 0.003})
    assert desk.of(OrderSeen)[-1].order.lots == 300_000


async def test_whose_a_trade_is_is_asked_before_it_is_told(desk: Desk) -> None:
    desk.known[TXID] = VenueOrder(
        symbol="BTC", venue_order_id=TXID, client_order_id=CLIENT, side=Side.SELL, lots=500_000, filled_lots=0,
        status=OrderStatus.FILLED, avg_px=None,
    )  # fmt: skip
    desk.up()
    desk.push(TRADE | {"order_id": TXID})
    assert desk.of(FillSeen) == []
    await eventually(lambda: desk.of(FillSeen))
    assert desk.of(FillSeen)[0].fill.client_order_id == CLIENT
    desk.push(TRADE | {"order_id": "OTHERS"})
    await eventually(lambda: len(desk.of(FillSeen)) == 2)
    assert desk.of(FillSeen)[1].fill.client_order_id is None
    assert desk.asked == [TXID, "OTHERS"]
    desk.push({"order_id": TXID, "exec_type": "filled", "order_status": "filled"})  # never introduced here
    await eventually(lambda: desk.of(OrderSeen))
    assert desk.of(OrderSeen)[0].order.status is OrderStatus.FILLED


async def test_a_trade_that_cannot_be_asked_about_costs_the_connection(desk: Desk, monkeypatch: Any) -> None:
    monkeypatch.setattr("executor.venues._kraken_stream.ASKED_AGAIN_S", (0.0, 0.0))
    desk.away = True
    desk.up()
    desk.push(TRADE)
    await eventually(lambda: desk.lost)
    assert desk.of(FillSeen) == []
    assert desk.asked == [TRADE["order_id"]] * 2


async def test_numbers_that_are_missing_and_numbers_that_come_again(desk: Desk) -> None:
    desk.memory.bind(TRADE["order_id"], CLIENT)
    desk.push(TRADE)  # before any snapshot
    desk.up()
    assert desk.of(FillSeen) == []
    desk.push(TRADE)
    desk.sequence["executions"] -= 1
    desk.push(TRADE)
    assert len(desk.of(FillSeen)) == 1
    assert desk.lost == []
    desk.push(TRADE, skip=1)
    assert desk.lost == ["private frames were lost"]
    assert len(desk.of(FillSeen)) == 2


@pytest.mark.parametrize(
    "changes",
    [{"last_qty": None}, {"last_qty": -1}, {"last_qty": 1e-12}, {"last_price": 0}, {"last_price": "NaN"}, {"exec_id": ""},
     {"side": "hold"}, {"timestamp": None}, {"fees": [{"asset": "USD", "qty": "NaN"}]},
     {"fees": [{"asset": "USDC", "qty": 1}], "fee_usd_equiv": None}],
)  # fmt: skip
async def test_a_trade_that_cannot_be_is_not_told_and_costs_the_connection(desk: Desk, changes: dict[str, Any]) -> None:
    desk.memory.bind(TRADE["order_id"], CLIENT)
    desk.up()
    desk.push(TRADE | changes)
    assert desk.of(FillSeen) == []
    assert desk.lost == ["a private row cannot be used"]


async def test_a_frame_that_does_not_decode_is_missed_by_the_next(desk: Desk) -> None:
    desk.memory.bind(TRADE["order_id"], CLIENT)
    desk.up()
    desk.push(TRADE | {"last_qty": "many"})
    assert desk.lost == []
    desk.push(TRADE)
    assert desk.lost == ["private frames were lost"]


async def test_a_fee_in_another_asset_is_what_the_venue_says_it_is_worth(desk: Desk) -> None:
    desk.memory.bind(TRADE["order_id"], CLIENT)
    desk.up()
    desk.push(TRADE | {"fees": [{"asset": "USDC", "qty": 1}]})
    assert desk.of(FillSeen)[0].fill.fee_usd == Decimal("0.03088618")


async def test_wallets_are_hints_in_either_spelling(desk: Desk) -> None:
    desk.up()
    for asset in ("BTC", "XXBT", "USD", "USDC", "XBT.F"):
        desk.push({"asset": asset, "balance": 0.51, "amount": 0.01}, channel="balances")
    desk.push({"asset": "BTC", "balance": 9.9, "wallet_type": "earn"}, channel="balances")
    assert [(seen.position.symbol, seen.position.lots) for seen in desk.of(PositionSeen)] == [("BTC", 51_000_000)] * 2


# ---- rows of REST -------------------------------------------------------------------------------------------------------


def test_wallets_as_positions_and_money() -> None:
    wallets = {
        name: rows.WalletRow(balance=Decimal(balance), hold_trade=Decimal(held))
        for name, balance, held in (
            ("XXBT", "0.50000000019", "0.1"), ("XBT.F", "7", "0"), ("ZUSD", "200.5", "50.25"), ("USD.M", "9", "0"),
            ("USDC", "33", "0"), ("NOPE", "1", "0"), ("ETH", "0", "0"),
        )
    }  # fmt: skip
    (position,) = rows.positions(wallets, {"BTC": BTC, "USDC": USDC})
    assert (position.symbol, position.lots, position.leverage) == ("BTC", 50_000_000, 1)  # held or not, whole lots only
    assert rows.free_quote(wallets) == Decimal("150.25")
    balance = rows.balance(rows.WorthRow(eb=Decimal("198750.42")), wallets, 7)
    assert (balance.equity_usd, balance.free_margin_usd, balance.maintenance_margin_usd) == (
        Decimal("198750.42"), Decimal("150.25"), 0,
    )  # fmt: skip


def test_fees_are_percent() -> None:
    volume = {
        "fees": {"XXBTZUSD": {"fee": "0.4000"}, "XETHZUSD": {"fee": "0.3500"}},
        "fees_maker": {"XXBTZUSD": {"fee": "0.2500"}},
    }
    fees = rows.fee_rates(rows.decode(json.dumps(volume).encode(), rows.VolumeRow, "TradeVolume"))
    assert (fees.taker, fees.maker) == (0.004, 0.0025)
    for bad in ({"fees": {}, "fees_maker": {}}, {"fees": {"A": {"fee": "NaN"}}, "fees_maker": {"A": {"fee": "0"}}}):
        with pytest.raises(Malformed):
            rows.fee_rates(rows.decode(json.dumps(bad).encode(), rows.VolumeRow, "TradeVolume"))


def test_recorded_open_orders_and_balances() -> None:
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "payloads" / "kraken"
    if not folder.exists():
        pytest.skip(f"no recordings: {folder} is missing")
    answer = rows.decode((folder / "http_open_orders.json").read_bytes(), rows.Errors, "OpenOrders")
    found = rows.decode(answer.result, rows.OpenRows, "OpenOrders").open
    listed = {"XBTUSDT": BTC}
    order = rows.order("O26VBY-ISGAE-JP5TLU", found["O26VBY-ISGAE-JP5TLU"], listed, None)
    assert order is not None
    assert (order.side, order.lots, order.filled_lots, order.status) == (Side.BUY, 50_000_000, 0, OrderStatus.ACCEPTED)
    assert (order.client_order_id, order.avg_px) == (None, None)
    assert rows.order("OYEQF4-FDE4C-NMUYUI", found["OYEQF4-FDE4C-NMUYUI"], listed, None) is None
    answer = rows.decode((folder / "http_spot_balance.json").read_bytes(), rows.Errors, "Balance")
    plain = rows.decode(answer.result, dict[str, Decimal], "Balance")
    assert plain == {"ZUSD": Decimal("200000.00"), "XXBT": Decimal("0.5"), "ETH": Decimal("2.0")}
    wallets = {name: rows.WalletRow(balance=each) for name, each in plain.items()}
    assert [(p.symbol, p.lots) for p in rows.positions(wallets, {"BTC": BTC})] == [("BTC", 50_000_000)]


def test_the_pages_trade_of_the_history() -> None:
    row = {
        "ordertxid": "O26VBY-ISGAE-JP5TLU", "pair": "XBTUSDT", "time": 1688585840.8921, "type": "buy", "ordertype": "limit",
        "price": "29500.50", "cost": "14750.25", "fee": "23.60", "vol": "0.50000000", "trade_id": 1001, "maker": True,
    }  # fmt: skip
    decoded = rows.decode(json.dumps(row).encode(), rows.TradeRow, "trade")
    fill = rows.trade("TCCCTY-WJ6EO-4FP4VZ", decoded, {"XBTUSDT": BTC}, None)
    assert fill is not None
    assert (fill.lots, fill.px, fill.fee_usd) == (50_000_000, Decimal("29500.50"), Decimal("23.60"))
    assert (fill.liquidity, fill.ts_ns, fill.client_order_id) == (LiquiditySide.MAKER, 1_688_585_840_892_100_000, None)


# ---- budgets ------------------------------------------------------------------------------------------------------------


def test_counters_rise_and_decay_and_keep_a_reserve() -> None:
    clock = SimClock()
    budget = Budget(Tier.STARTER, 0.2, clock)
    assert sum(budget.reads.take(1, priority=False) for _ in range(20)) == 12  # 15, less a fifth
    assert sum(budget.reads.take(1, priority=True) for _ in range(20)) == 3
    with pytest.raises(RateLimited) as told:
        budget.reads.require(1, priority=True)
    assert told.value.retry_after_s == pytest.approx(1 / 0.33)
    assert budget.ratio == 0.0
    clock.advance_ns(10 * NS_PER_S)
    assert sum(budget.reads.take(1, priority=True) for _ in range(20)) == 3


def test_pairs_are_counted_apart_and_young_cancels_are_dear() -> None:
    clock = SimClock()
    budget = Budget(Tier.STARTER, 0.0, clock)
    cycles = 0
    while budget.orders("BTC/USD").take(1, priority=True) and budget.orders("BTC/USD").take(
        cancel_cost(0), priority=True
    ):
        cycles += 1
    assert cycles == 6
    assert budget.orders("ETH/USD").take(1, priority=True)
    assert [cancel_cost(int(age * NS_PER_S)) for age in (0, 4.9, 5, 10, 15, 45, 90, 300)] == [8, 8, 6, 5, 4, 2, 1, 0]


def test_a_refusal_of_the_venue_fills_the_counter() -> None:
    clock = SimClock()
    budget = Budget(Tier.PRO, 0.0, clock)
    budget.orders("BTC/USD").refused(5.0)
    assert not budget.may_send(priority=True)
    clock.advance_ns(6 * NS_PER_S)
    assert budget.may_send(priority=True)
    rng = random.Random(1)
    for _ in range(500):
        clock.advance_ns(rng.randrange(NS_PER_S))
        budget.orders("BTC/USD").take(rng.choice((1, 8)), priority=rng.random() < 0.5)
        assert 0.0 <= budget.ratio <= 1.0
