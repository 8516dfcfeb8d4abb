"""Catalogue of Kraken: the recorded answer and rows as the page describes them, against values read off by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.errors import Malformed
from core.specs import kraken
from core.types import Side
from core.venue_spec import VenueKind

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BTC: dict[str, Any] = {
    "altname": "XBTUSD", "wsname": "XBT/USD", "aclass_base": "currency", "base": "XXBT", "aclass_quote": "currency",
    "quote": "ZUSD", "lot": "unit", "cost_decimals": 5, "pair_decimals": 1, "lot_decimals": 8, "lot_multiplier": 1,
    "leverage_buy": [2, 3], "leverage_sell": [2, 3], "fees": [], "fees_maker": [], "fee_volume_currency": "ZUSD",
    "margin_call": 80, "margin_stop": 40, "ordermin": "0.00005", "costmin": "0.5", "tick_size": "0.1", "status": "online",
}  # fmt: skip


def answer(*rows: dict[str, Any], error: tuple[str, ...] = ()) -> bytes:
    return json.dumps({"error": list(error), "result": {f"K{i}": BTC | row for i, row in enumerate(rows)}}).encode()


def test_recorded_answer() -> None:
    file = SHARED / "payloads" / "kraken" / "http_asset_pairs.json"
    if not file.exists():
        pytest.skip(f"no recordings: {file} is missing")
    ((btc, price_decimals, qty_decimals, names),) = kraken.listings(file.read_bytes(), "USDT")
    assert (btc.symbol, btc.venue_symbol, btc.quote_ccy, btc.multiplier) == ("BTC", "BTC/USDT", "USDT", 1)
    assert (btc.tick_size, btc.lot_size) == (Decimal("0.1"), Decimal("0.00000001"))
    assert (btc.min_qty, btc.min_notional_usd) == (Decimal("0.00005"), Decimal("0.5"))
    assert (price_decimals, qty_decimals) == (1, 8)
    assert names == ("BTC/USDT", "XBTUSDT", "XBT/USDT")
    assert not btc.delisted
    with pytest.raises(Malformed, match="usable against USD"):
        kraken.instruments(file.read_bytes())  # a pair in tether is not one in dollars


def test_recorded_answer_of_2021_states_no_tick_and_gives_nothing() -> None:
    file = SHARED / "frames" / "kraken-spot-2021" / "KRAKEN.0"
    if not file.exists():
        pytest.skip(f"no recordings: {file} is missing")
    line = next(line for line in file.read_bytes().splitlines() if b'"AAVEUSD"' in line)
    with pytest.raises(Malformed, match="usable"):
        kraken.instruments(line[line.index(b'{"error"') :].partition(b"https://")[0])


def test_a_spot_instrument() -> None:
    (btc,) = kraken.instruments(answer({}))
    assert (btc.venue, btc.symbol, btc.venue_symbol, btc.quote_ccy) == ("kraken", "BTC", "BTC/USD", "USD")
    assert not btc.can_short
    assert (btc.max_leverage, btc.maintenance_margin_ratio, btc.price_sigfigs) == (1, 0.0, 0)
    assert btc.px_to_ticks(Decimal("60000.17"), Side.BUY) == 600_001
    assert btc.px_to_ticks(Decimal("60000.17"), Side.SELL) == 600_002
    assert btc.min_lots(Decimal(60_000)) == 5_000  # 0.00005; 0.5 USD are fewer
    assert btc.min_lots(Decimal(1_000)) == 50_000  # 0.0005 x 1000 = 0.5 USD
    assert kraken.SPEC.kind is VenueKind.SPOT


@pytest.mark.parametrize(
    ("wsname", "symbol"),
    [("XBT/USD", "BTC"), ("XDG/USD", "DOGE"), ("ETH/USD", "ETH"), ("XRP/USD", "XRP"), ("XTZ/USD", "XTZ"), ("ZRX/USD", "ZRX"),
     ("ZEC/USD", "ZEC"), ("PEPE/USD", "PEPE"), ("XXLM/USD", "XLM"), ("PEPE/ZUSD", "PEPE"), ("USDT/USD", "USDT")],
)  # fmt: skip
def test_names_are_translated_by_table_only(wsname: str, symbol: str) -> None:
    (row,) = kraken.instruments(answer({"wsname": wsname}))
    assert (row.symbol, row.venue_symbol, row.multiplier) == (symbol, f"{symbol}/USD", 1)


@pytest.mark.parametrize(
    ("name", "asset"),
    [("XXBT", "BTC"), ("XBT", "BTC"), ("XXDG", "DOGE"), ("ZUSD", "USD"), ("USDT", "USDT"), ("XETH", "ETH"), ("ETH", "ETH"),
     ("XTZ", "XTZ"), ("ZRX", "ZRX"), ("XBT.F", None), ("SOL.S", None), ("USD.M", None), ("ETH.B", None)],
)  # fmt: skip
def test_wallet_names(name: str, asset: str | None) -> None:
    assert kraken.spot_asset(name) == asset


@pytest.mark.parametrize(
    ("status", "delisted"),
    [("online", False), ("limit_only", False), ("cancel_only", True), ("post_only", True), ("reduce_only", True),
     ("maintenance", True), ("delisted", True), ("work_in_progress", True), ("something new", True)],
)  # fmt: skip
def test_only_pairs_that_take_limit_orders_are_live(status: str, delisted: bool) -> None:
    assert kraken.instruments(answer({"status": status}))[0].delisted is delisted


def test_no_status_means_online() -> None:
    row = {name: value for name, value in BTC.items() if name != "status"}
    (btc,) = kraken.instruments(json.dumps({"error": [], "result": {"XXBTZUSD": row}}))
    assert not btc.delisted


def test_the_tick_is_what_is_stated_and_not_made_of_the_decimals() -> None:
    (row,) = kraken.listings(answer({"pair_decimals": 4, "tick_size": "0.0005"}))
    assert (row.instrument.tick_size, row.price_decimals) == (Decimal("0.0005"), 4)


@pytest.mark.parametrize(
    "bad",
    [{"wsname": "XBTUSD"}, {"wsname": "/USD"}, {"wsname": "XBT/EUR"}, {"aclass_base": "tokenized_asset"}, {"tick_size": "0"},
     {"tick_size": "-0.1"}, {"tick_size": "0.01"}, {"tick_size": "NaN"}, {"ordermin": "Infinity"}, {"costmin": "-1"},
     {"pair_decimals": 99}, {"lot_decimals": -1}, {"lot_multiplier": 10}, {"pair_decimals": "one"}, {"ordermin": "1e-40"}],
)  # fmt: skip
def test_rows_that_cannot_be_used_are_left_out(bad: dict[str, Any]) -> None:
    assert [row.symbol for row in kraken.instruments(answer({"wsname": "ETH/USD"}, bad))] == ["ETH"]


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_rows_of_one_base_the_live_one_is_taken(order: int) -> None:
    rows = [{"status": "delisted"}, {"pair_decimals": 2, "tick_size": "0.01"}][::order]
    ((btc, price_decimals, _, _),) = kraken.listings(answer(*rows))
    assert (btc.delisted, btc.tick_size, price_decimals) == (False, Decimal("0.01"), 2)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"error":[],"result":{}}', answer({}, error=("EGeneral:Temporary lockout",))]
)
def test_answers_that_are_no_catalogue(data: bytes) -> None:
    with pytest.raises(Malformed, match="kraken AssetPairs"):
        kraken.instruments(data)


def test_a_warning_is_no_error() -> None:
    assert kraken.instruments(answer({}, error=("WGeneral:Danger",)))
