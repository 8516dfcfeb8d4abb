"""Catalogue of Lighter: the recorded answer and rows as the page describes them, against values read off by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.errors import Malformed
from core.specs import lighter
from core.types import Instrument, Side

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ETH: dict[str, Any] = {
    "symbol": "ETH", "market_id": 0, "market_type": "perp", "base_asset_id": 0, "quote_asset_id": 0, "status": "active",
    "taker_fee": "0.0000", "min_base_amount": "0.0050", "min_quote_amount": "10.000000",
    "order_quote_limit": "281474976.710655", "supported_size_decimals": 4, "supported_price_decimals": 2,
    "supported_quote_decimals": 6, "size_decimals": 4, "price_decimals": 2, "quote_multiplier": 1,
    "default_initial_margin_fraction": 500, "min_initial_margin_fraction": 200, "maintenance_margin_fraction": 120,
    "closeout_margin_fraction": 80, "open_interest": 27350.8981,
    "market_config": {"market_margin_mode": 0, "force_reduce_only": False, "hidden": False},
}  # fmt: skip


def row(**changes: Any) -> dict[str, Any]:
    return {**ETH, **changes}


def answer(*rows: dict[str, Any], key: str = "order_book_details") -> bytes:
    return json.dumps({"code": 200, key: rows, "spot_order_book_details": []}).encode()


def symbols(*rows: dict[str, Any]) -> list[str]:
    return [each.symbol for each in lighter.instruments(answer(*rows))]


def check_eth(eth: Instrument) -> None:
    assert (eth.venue, eth.symbol, eth.venue_symbol, eth.venue_index, eth.multiplier) == ("lighter", "ETH", "ETH", 0, 1)
    assert (eth.tick_size, eth.lot_size, eth.price_sigfigs) == (Decimal("0.01"), Decimal("0.0001"), 0)
    assert (eth.min_qty, eth.min_notional_usd, eth.quote_ccy) == (Decimal("0.0050"), Decimal(10), "USDC")
    assert (eth.max_leverage, eth.maintenance_margin_ratio) == (50, 0.012)  # 200 and 120 in 1e-4
    assert not eth.delisted


def test_recorded_answer() -> None:
    file = SHARED / "payloads" / "lighter" / "http_order_book_details.json"
    if not file.exists():
        pytest.skip(f"no recordings: {file} is missing")
    (eth,) = lighter.instruments(file.read_bytes())
    check_eth(eth)


def test_page_sample() -> None:
    (eth,) = lighter.instruments(answer(ETH))
    check_eth(eth)


def test_ticks_and_lots_are_the_integers_of_the_wire() -> None:
    eth = lighter.instruments(answer(ETH))[0]
    assert eth.px_to_ticks(Decimal("2361.319"), Side.BUY) == 236131
    assert eth.px_to_ticks(Decimal("2361.311"), Side.SELL) == 236132
    assert eth.ticks_to_px(236131) == Decimal("2361.31")
    assert eth.qty_to_lots(Decimal("0.00509")) == 50
    assert eth.min_lots(Decimal("2361.31")) == 50  # by size; by notional 42.35 -> 43
    assert eth.min_lots(Decimal("1500")) == 67  # 10 USDC


@pytest.mark.parametrize(
    ("name", "price_decimals", "size_decimals", "tick", "lot"),
    [
        ("BTC", 1, 5, "0.1", "0.00001"),
        ("HYPE", 4, 2, "0.0001", "0.01"),
        ("PAXG", 2, 4, "0.01", "0.0001"),
        ("LTC", 3, 3, "0.001", "0.001"),
        ("CRV", 5, 1, "0.00001", "0.1"),
        ("X", 6, 0, "0.000001", "1"),
    ],
)
def test_decimals_of_the_page(name: str, price_decimals: int, size_decimals: int, tick: str, lot: str) -> None:
    raw = row(symbol=name, supported_price_decimals=price_decimals, supported_size_decimals=size_decimals)
    (each,) = lighter.instruments(answer(raw))
    assert (each.tick_size, each.lot_size) == (Decimal(tick), Decimal(lot))
    assert each.tick_size * each.lot_size == Decimal("0.000001")  # on every perp that was seen


def test_a_thousand_pepe() -> None:
    raw = row(symbol="1000PEPE", market_id=4, supported_price_decimals=6, supported_size_decimals=0)
    (pepe,) = lighter.instruments(answer(raw))
    assert (pepe.symbol, pepe.venue_symbol, pepe.venue_index, pepe.multiplier) == ("PEPE", "1000PEPE", 4, 1000)
    assert pepe.canonical_lot == 1000


def test_the_id_is_read_never_inferred() -> None:
    """Testnet perps stand at 4095 and beyond, where mainnet has its spot markets."""
    (btc,) = lighter.instruments(answer(row(symbol="BTC", market_id=4096)))
    assert btc.venue_index == 4096
    assert symbols(row(market_id=7, market_type="spot", symbol="ETH/USDC"), row(market_id=4095)) == ["ETH"]


def test_what_cannot_be_traded_is_flagged_not_forgotten() -> None:
    for raw in (row(status="inactive"), row(market_config={"hidden": True})):
        assert [each.delisted for each in lighter.instruments(answer(raw))] == [True]
    for raw in (row(market_config=None), {k: v for k, v in ETH.items() if k != "market_config"}):
        assert [each.delisted for each in lighter.instruments(answer(raw))] == [False]


def test_the_light_answer_tells_no_margins() -> None:
    light = {key: value for key, value in ETH.items() if not key.endswith("_fraction") and key != "market_config"}
    (eth,) = lighter.instruments(answer(light, key="order_books"))
    assert (eth.tick_size, eth.max_leverage, eth.maintenance_margin_ratio) == (Decimal("0.01"), 1, 0.0)


def test_no_published_leverage_is_no_leverage() -> None:
    (eth,) = lighter.instruments(answer(row(min_initial_margin_fraction=0)))
    assert eth.max_leverage == 1


@pytest.mark.parametrize(
    "left_out",
    [
        row(market_type="spot"),
        row(market_id=-1),
        row(market_id=255),
        row(symbol=""),
        row(supported_price_decimals=13),
        row(min_base_amount="1e999999"),
        row(min_quote_amount="1e-13"),
        row(min_initial_margin_fraction="much"),
        row(supported_size_decimals=-1),
        row(min_base_amount="-1"),
        row(min_quote_amount="NaN"),
        row(min_base_amount="much"),
        {key: value for key, value in ETH.items() if key != "status"},
        {},
    ],
)
def test_rows_left_out(left_out: dict[str, Any]) -> None:
    assert symbols(left_out, row(symbol="BTC", market_id=1)) == ["BTC"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"code":200}',
        b'{"code":200,"order_book_details":[]}',
        b'{"code":23000,"message":"Too Many Requests!"}',
        answer(ETH).replace(b"200", b"20001", 1),
        b'{"code":200,"message":"\xff"}',
        b'{"code":200,"order_book_details":[' + b"[" * 200_000,
    ],
)
def test_garbage_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        lighter.instruments(payload)
