"""Catalogue of Hyperliquid: the recorded answers and the page's own sample, against values read off them by hand."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from core.errors import Malformed
from core.specs import hyperliquid
from core.types import Instrument, Side

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SAMPLE = (
    '{"universe":[{"szDecimals":5,"name":"BTC","maxLeverage":40,"marginTableId":56},'
    '{"szDecimals":4,"name":"ETH","maxLeverage":25,"marginTableId":55},'
    '{"szDecimals":2,"name":"ATOM","maxLeverage":5,"marginTableId":5},'
    '{"szDecimals":1,"name":"MATIC","maxLeverage":20,"marginTableId":20,"isDelisted":true},'
    '{"szDecimals":1,"name":"DYDX","maxLeverage":5,"marginTableId":5},'
    '{"szDecimals":2,"name":"SOL","maxLeverage":20,"marginTableId":54}],'
    '"marginTables":[[54,{"description":"tiered 20x (2)","marginTiers":[{"lowerBound":"0.0","maxLeverage":20},'
    '{"lowerBound":"70000000.0","maxLeverage":10}]}],[55,{"description":"tiered 25x","marginTiers":[{"lowerBound":"0.0",'
    '"maxLeverage":25},{"lowerBound":"100000000.0","maxLeverage":15}]}],[56,{"description":"tiered 40x","marginTiers":'
    '[{"lowerBound":"0.0","maxLeverage":40},{"lowerBound":"150000000.0","maxLeverage":20}]}]],"collateralToken":0}'
)


def by_symbol(rows: list[Instrument]) -> dict[str, Instrument]:
    return {row.symbol: row for row in rows}


def universe(*rows: dict[str, object]) -> bytes:
    return json.dumps({"universe": rows}).encode()


def test_page_sample() -> None:
    rows = by_symbol(hyperliquid.instruments(SAMPLE))
    btc = rows["BTC"]
    assert (btc.venue, btc.venue_symbol, btc.venue_index, btc.multiplier) == ("hyperliquid", "BTC", 0, 1)
    assert (btc.tick_size, btc.lot_size, btc.min_qty) == (Decimal("0.1"), Decimal("0.00001"), Decimal("0.00001"))
    assert (btc.min_notional_usd, btc.max_leverage, btc.quote_ccy) == (Decimal(10), 40, "USDC")
    assert btc.maintenance_margin_ratio == 0.0125  # 377667 / (2 * 40) = 4720.8375 in the page's account sample
    assert rows["MATIC"].delisted
    assert rows["SOL"].venue_index == 5  # delisted rows keep their number
    assert not rows["SOL"].delisted


@pytest.mark.parametrize(
    ("px", "size_decimals", "step"),
    [
        ("84143", 5, "1"),
        ("2124.6", 4, "0.1"),
        ("86.14", 2, "0.001"),
        ("62.673", 2, "0.001"),
        ("4561.9", 3, "0.1"),
        ("0.003633", 0, "0.000001"),
        ("123456", 5, "1"),
    ],
)
def test_price_step_moves_with_the_price(px: str, size_decimals: int, step: str) -> None:
    row = hyperliquid.instruments(universe({"name": "X", "szDecimals": size_decimals, "maxLeverage": 5}))[0]
    assert row.tick_at(Decimal(px)) == Decimal(step)


def test_limit_prices_round_to_the_safe_side() -> None:
    row = hyperliquid.instruments(universe({"name": "ETH", "szDecimals": 4, "maxLeverage": 25}))[0]
    assert row.ticks_to_px(row.px_to_ticks(Decimal("2124.68"), Side.BUY)) == Decimal("2124.6")
    assert row.ticks_to_px(row.px_to_ticks(Decimal("2124.61"), Side.SELL)) == Decimal("2124.7")


def test_k_prefix_is_a_thousand_tokens() -> None:
    row = hyperliquid.instruments(universe({"name": "kPEPE", "szDecimals": 0, "maxLeverage": 10}))[0]
    assert (row.symbol, row.venue_symbol, row.multiplier) == ("PEPE", "kPEPE", 1000)
    assert row.canonical_lot == 1000
    assert hyperliquid.instruments(universe({"name": "KAVA", "szDecimals": 1, "maxLeverage": 3}))[0].multiplier == 1


def test_live_listing_beats_a_delisted_one_of_the_same_token() -> None:
    rows = hyperliquid.instruments(
        universe(
            {"name": "DOGS", "szDecimals": 0, "maxLeverage": 3, "isDelisted": True},
            {"name": "kDOGS", "szDecimals": 0, "maxLeverage": 3},
        )
    )
    assert [(row.venue_symbol, row.venue_index) for row in rows] == [("kDOGS", 1)]


def test_a_bad_row_keeps_its_number_and_is_left_out() -> None:
    rows = hyperliquid.instruments(
        universe(
            {"name": "A"},
            {"name": "B", "szDecimals": 9, "maxLeverage": 3},
            {"name": "C", "szDecimals": 1, "maxLeverage": 3},
        )
    )
    assert [(row.symbol, row.venue_index) for row in rows] == [("C", 2)]


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b"{}", b'{"universe":[]}', b'{"universe":[{"name":"A"}]}', b"{"]
)
def test_garbage_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        hyperliquid.instruments(payload)


def test_recorded_sample_of_2026() -> None:
    file = SHARED / "payloads" / "hyperliquid" / "http_meta_perp_sample.json"
    if not file.exists():
        pytest.skip(f"no recordings: {file} is missing")
    rows = by_symbol(hyperliquid.instruments(file.read_bytes()))
    assert list(rows) == ["BTC", "ETH", "ATOM"]
    assert rows["ATOM"].lot_size == Decimal("0.01")
    assert rows["ATOM"].tick_size == Decimal("0.0001")
    assert rows["ETH"].max_leverage == 25
    assert not rows["BTC"].delisted  # "isDelisted": null


@pytest.mark.parametrize(
    "name",
    [
        "get_info.yaml",
        "get_candles_snapshot.yaml",
        "get_funding_history-1684811870000.yaml",
        "get_funding_history-None.yaml",
        "get_l2_snapshot.yaml",
    ],
)
def test_recorded_catalogues_of_2023(name: str) -> None:
    file = SHARED / "frames" / "hyperliquid-rest" / name
    if not file.exists():
        pytest.skip(f"no recordings: {file} is missing")
    recorded = re.search(r"string: '(.*?)'\n", file.read_text(), re.DOTALL)
    assert recorded is not None
    rows = by_symbol(hyperliquid.instruments(" ".join(recorded[1].split())))
    assert len(rows) == 28
    assert (rows["SOL"].venue_index, rows["SOL"].lot_size, rows["SOL"].max_leverage) == (5, Decimal("0.01"), 50)
    pepe = rows["PEPE"]
    assert (pepe.venue_symbol, pepe.venue_index, pepe.multiplier) == ("kPEPE", 15, 1000)
    assert (pepe.lot_size, pepe.tick_size) == (Decimal(1), Decimal("0.000001"))
