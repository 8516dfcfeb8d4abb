"""Catalogue of Pacifica: the page's recorded answer, against values read off it by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from core.errors import Malformed
from core.specs import pacifica
from core.types import Instrument, Side

SAMPLE = (
    '{"success":true,"data":[{"symbol":"BTC","tick_size":"1","min_tick":"0","max_tick":"1000000","lot_size":"0.00001",'
    '"max_leverage":50,"isolated_only":false,"min_order_size":"10","max_order_size":"5000000","funding_rate":"0.0000125",'
    '"next_funding_rate":"0.0000125","created_at":1748881333944,"instrument_type":"perpetual","base_asset":"BTC"},'
    '{"symbol":"SOL-USDC","tick_size":"0.01","lot_size":"0.001","max_leverage":1,"min_order_size":"10",'
    '"max_order_size":"1000000","created_at":1776615970246,"instrument_type":"spot","base_asset":"SOL"}],"error":null,'
    '"code":null}'
)
ROW: dict[str, Any] = json.loads(SAMPLE)["data"][0]


def catalogue(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"success": True, "data": rows, "error": None, "code": None}).encode()


def by_name(*changes: dict[str, Any]) -> dict[str, Instrument]:
    return {row.venue_symbol: row for row in pacifica.instruments(catalogue(*({**ROW, **each} for each in changes)))}


def test_page_sample() -> None:
    (btc,) = pacifica.instruments(SAMPLE)  # the spot market is none of ours
    assert (btc.venue, btc.symbol, btc.venue_symbol, btc.multiplier) == ("pacifica", "BTC", "BTC", 1)
    assert (btc.tick_size, btc.lot_size, btc.min_qty) == (Decimal(1), Decimal("0.00001"), Decimal("0.00001"))
    assert (btc.min_notional_usd, btc.max_qty) == (Decimal(10), 0)  # the sizes of the row are notionals
    assert (btc.max_leverage, btc.maintenance_margin_ratio, btc.quote_ccy) == (50, 0.01, "USDC")
    assert not btc.delisted


def test_sizes_and_prices_are_rounded_to_the_safe_side() -> None:
    (btc,) = pacifica.instruments(SAMPLE)
    assert btc.px_to_ticks(Decimal("87768.9"), Side.BUY) == 87768
    assert btc.px_to_ticks(Decimal("87768.1"), Side.SELL) == 87769
    assert btc.qty_to_lots(Decimal("0.002159")) == 215
    assert btc.min_lots(Decimal(80_000)) == 13  # 10 USD are 12.5 lots


def test_a_lower_case_k_is_a_thousand() -> None:
    rows = by_name({"symbol": "kPEPE", "tick_size": "0.000001", "lot_size": "1"}, {"symbol": "KAITO"}, {"symbol": "2Z"})
    assert (rows["kPEPE"].symbol, rows["kPEPE"].multiplier) == ("PEPE", 1000)
    assert rows["kPEPE"].canonical_lot == 1000
    assert (rows["KAITO"].symbol, rows["KAITO"].multiplier) == ("KAITO", 1)
    assert rows["2Z"].multiplier == 1


def test_rows_without_a_type_are_perpetuals_and_isolated_ones_are_not_traded() -> None:
    old = {key: value for key, value in ROW.items() if key != "instrument_type"}
    assert len(pacifica.instruments(catalogue(old))) == 1
    rows = by_name({"symbol": "NEW", "isolated_only": True}, {"instrument_type": None})
    assert rows["NEW"].delisted
    assert not rows["BTC"].delisted


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": ""}, {"symbol": 'B"TC'}, {"symbol": None}, {"tick_size": "0"}, {"tick_size": "-1"}, {"tick_size": "NaN"},
        {"tick_size": "1e-30"}, {"lot_size": "x"}, {"lot_size": "1e40"}, {"min_order_size": "-10"}, {"max_leverage": 0},
        {"max_leverage": "many"}, {"instrument_type": "future"},
    ],
)  # fmt: skip
def test_an_impossible_row_is_left_out_and_the_others_stay(change: dict[str, Any]) -> None:
    assert list(by_name(change, {"symbol": "ETH"})) == ["ETH"]


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"nonsense", b"[]", b"\xff", b'{"success":true,"data":[]}', b'{"success":true,"data":null}',
        b'{"success":false,"data":null,"error":"Internal server error","code":500}', b"[" * 100_000,
        catalogue({**ROW, "instrument_type": "spot"}),
    ],
)  # fmt: skip
def test_an_answer_without_a_usable_row_is_malformed(answer: bytes) -> None:
    with pytest.raises(Malformed):
        pacifica.instruments(answer)
