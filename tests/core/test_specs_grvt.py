"""GRVT's catalogue: recorded rows to instruments, values read by hand, and rows that must be left out."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest

from core.errors import Malformed
from core.specs import grvt
from core.types import Side

BTC: dict[str, Any] = {
    "instrument": "BTC_USDT_Perp", "instrument_hash": "0x030501", "base": "BTC", "quote": "USDT", "kind": "PERPETUAL",
    "venues": ["ORDERBOOK", "RFQ"], "settlement_period": "PERPETUAL", "base_decimals": 9, "quote_decimals": 6,
    "tick_size": "0.1", "min_size": "0.001", "create_time": "1770020259016365490", "max_position_size": "1000.0",
    "funding_interval_hours": 8, "adjusted_funding_rate_cap": "0.3", "adjusted_funding_rate_floor": "-0.3",
    "min_notional": "100.0",
}  # fmt: skip
"""Recorded (docs/venues/grvt.md 2)."""


def row(base: str, asset_id: str, decimals: int, tick: str, step: str, **more: Any) -> dict[str, Any]:
    return BTC | {
        "instrument": f"{base}_USDT_Perp", "instrument_hash": asset_id, "base": base, "base_decimals": decimals,
        "tick_size": tick, "min_size": step,
    } | more  # fmt: skip


def answer(*rows: Any) -> bytes:
    return json.dumps({"result": list(rows)}).encode()


def test_a_recorded_row() -> None:
    (listing,) = grvt.listings(answer(BTC))
    btc = listing.instrument
    assert (btc.symbol, btc.venue_symbol, btc.multiplier, btc.venue_index) == ("BTC", "BTC_USDT_Perp", 1, 0x030501)
    assert (btc.tick_size, btc.lot_size, btc.min_qty, btc.max_qty) == (
        Decimal("0.1"), Decimal("0.001"), Decimal("0.001"), Decimal("1000.0"),
    )  # fmt: skip
    assert (btc.min_notional_usd, btc.max_leverage, btc.maintenance_margin_ratio) == (Decimal("100.0"), 1, 0.0)
    assert (btc.quote_ccy, btc.price_sigfigs, btc.delisted) == ("USDT", 0, False)
    assert listing.signed_lot == 1_000_000  # 0.001 in units of 10^-9
    assert btc.min_lots(Decimal("87800")) == 2  # 100 USD at 87.8 a lot


def test_the_scale_of_sizes_is_the_assets_own() -> None:
    """ADA has six decimals and a step of 100, SUI six and 0.1: "everything is 1e9" would be a thousandfold."""
    rows = answer(row("ADA", "0x032101", 6, "0.0001", "100"), row("SUI", "0x031501", 6, "0.0001", "0.1"))
    assert [(each.instrument.symbol, each.signed_lot) for each in grvt.listings(rows)] == [
        ("ADA", 100_000_000),
        ("SUI", 100_000),
    ]


def test_thousands_are_named_one_by_one() -> None:
    rows = answer(*(row(base, f"0x03{n:02x}01", 9, "0.0000001", "1") for n, base in enumerate(
        ("KPEPE", "KBONK", "KSHIB", "KAITO", "KDOGS", "KPEPEX"), 1
    )))  # fmt: skip
    assert {each.venue_symbol: (each.symbol, each.multiplier) for each in grvt.instruments(rows)} == {
        "KPEPE_USDT_Perp": ("PEPE", 1000),
        "KBONK_USDT_Perp": ("BONK", 1000),
        "KSHIB_USDT_Perp": ("SHIB", 1000),
        "KAITO_USDT_Perp": ("KAITO", 1),
        "KDOGS_USDT_Perp": ("KDOGS", 1),
        "KPEPEX_USDT_Perp": ("KPEPEX", 1),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "FUTURE"},
        {"quote": "USDC"},
        {"venues": ["RFQ"]},
        {"tick_size": "0"},
        {"tick_size": "NaN"},
        {"tick_size": "0.00000000001"},  # finer than a signed price
        {"min_size": "-1"},
        {"base_decimals": 2},  # the step is finer than the signed scale
        {"base_decimals": 99},
        {"instrument_hash": "BTC"},
        {"instrument_hash": "0x0"},
        {"min_notional": "Infinity"},
        {"base": ""},
    ],
)
def test_what_is_left_out(change: dict[str, Any]) -> None:
    assert [
        each.symbol for each in grvt.instruments(answer(BTC | change, row("ETH", "0x030401", 9, "0.01", "0.01")))
    ] == ["ETH"]


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"result":[]}', b'{"result":[{}]}', b'{"code":1002}', b"[" * 3000])
def test_no_catalogue(payload: bytes) -> None:
    with pytest.raises(Malformed, match="grvt all_instruments"):
        grvt.listings(payload)


def test_leverage_and_maintenance_are_read_elsewhere() -> None:
    leverages = grvt.leverages_of(
        b'{"results":[{"instrument":"BTC_USDT_Perp","leverage":"10.0","min_leverage":"1.0","max_leverage":"50.0",'
        b'"margin_type":"CROSS"},{"instrument":"ETH_USDT_Perp","leverage":"2.5","max_leverage":"20.0",'
        b'"margin_type":"ISOLATED"}]}'
    )
    assert leverages == {"BTC_USDT_Perp": grvt.Leverage(10, 50, True), "ETH_USDT_Perp": grvt.Leverage(0, 20, False)}
    ratio = grvt.maintenance_of(
        b'{"result":{"risk_brackets":[{"tier":2,"notional_floor":"600000","maintenance_margin_rate":"0.02"},'
        b'{"tier":1,"notional_floor":"0","maintenance_margin_rate":"0.01"}]}}'
    )
    assert ratio == 0.01
    (listing,) = grvt.listings(answer(BTC), leverages, {"BTC_USDT_Perp": ratio})
    assert (listing.instrument.max_leverage, listing.instrument.maintenance_margin_ratio) == (50, 0.01)


@pytest.mark.parametrize("payload", [b"{", b'{"result":{"risk_brackets":[]}}'])
def test_no_maintenance(payload: bytes) -> None:
    with pytest.raises(Malformed, match="margin_rules"):
        grvt.maintenance_of(payload)


def test_random_prices_and_sizes_stay_on_the_grid() -> None:
    rng = random.Random(7)
    for _ in range(300):
        tick, step = Decimal(1).scaleb(-rng.randrange(0, 9)), Decimal(rng.choice([1, 5])).scaleb(-rng.randrange(0, 4))
        (listing,) = grvt.listings(answer(row("X", "0x030901", 9, str(tick), str(step))))
        instrument = listing.instrument
        px = Decimal(rng.randrange(1, 10**12)).scaleb(-6)
        for side in Side:
            ticks = instrument.px_to_ticks(px, side)
            rounded = instrument.ticks_to_px(ticks)
            assert not rounded % tick
            assert (rounded <= px) if side is Side.BUY else (rounded >= px)
        lots = instrument.qty_to_lots(px)
        assert instrument.lots_to_qty(lots) <= px < instrument.lots_to_qty(lots + 1)
        assert lots * listing.signed_lot == (lots * step).scaleb(9)
