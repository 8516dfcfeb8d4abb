"""Catalogue of Aster: the page's sample and a recorded Binance USD-M catalogue (the wire Aster copied), checked by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.errors import Malformed
from core.specs import aster
from core.types import Instrument, Side

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DOGE: dict[str, Any] = json.loads(
    """{"symbol":"DOGEUSDT","pair":"DOGEUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,"onboardDate":1598252400000,
   "status":"TRADING","maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000","baseAsset":"DOGE","quoteAsset":"USDT",
   "marginAsset":"USDT","pricePrecision":5,"quantityPrecision":0,"baseAssetPrecision":8,"quotePrecision":8,"underlyingType":"COIN",
   "triggerProtect":"0.15",
   "filters":[{"filterType":"PRICE_FILTER","minPrice":"0.0001","maxPrice":"300","tickSize":"0.0001"},
     {"filterType":"LOT_SIZE","minQty":"1","maxQty":"10000000","stepSize":"1"},
     {"filterType":"MARKET_LOT_SIZE","minQty":"1","maxQty":"590119","stepSize":"1"},
     {"filterType":"MAX_NUM_ORDERS","limit":200},{"filterType":"MAX_NUM_ALGO_ORDERS","limit":100},
     {"filterType":"MIN_NOTIONAL","notional":"5"},
     {"filterType":"PERCENT_PRICE","multiplierUp":"1.1500","multiplierDown":"0.8500","multiplierDecimal":4}],
   "orderTypes":["LIMIT","MARKET","STOP"],"timeInForce":["GTC","IOC","GTX","HIDDEN"],"liquidationFee":"0.010000","marketTakeBound":"0.30"}"""
)
BRACKETS = (
    '[{"symbol":"DOGEUSDT","brackets":[{"bracket":2,"initialLeverage":50,"notionalCap":50000,"notionalFloor":10000,'
    '"maintMarginRatio":0.01,"cum":35},{"bracket":1,"initialLeverage":75,"notionalCap":10000,"notionalFloor":0,'
    '"maintMarginRatio":0.0065,"cum":0}]}]'
)


def row(**changes: Any) -> dict[str, Any]:
    return {**DOGE, **changes}


def filters(**by_type: dict[str, Any]) -> list[dict[str, Any]]:
    return [each | by_type.get(each["filterType"], {}) for each in DOGE["filters"]]


def info(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"timezone": "UTC", "symbols": rows}).encode()


def symbols(*rows: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each.symbol, each.venue_symbol) for each in aster.instruments(info(*rows))]


def test_page_sample() -> None:
    doge = aster.instruments(info(DOGE))[0]
    assert (doge.venue, doge.symbol, doge.venue_symbol, doge.venue_index, doge.multiplier) == (
        "aster",
        "DOGE",
        "DOGEUSDT",
        -1,
        1,
    )
    assert (doge.tick_size, doge.lot_size, doge.min_qty) == (Decimal("0.0001"), Decimal(1), Decimal(1))
    assert (doge.max_qty, doge.min_notional_usd, doge.quote_ccy) == (Decimal(10_000_000), Decimal(5), "USDT")
    assert not doge.delisted
    assert (doge.max_leverage, doge.maintenance_margin_ratio) == (1, 0.0)  # not told without the signed brackets
    assert doge.tick_at(Decimal("12345.6789")) == Decimal("0.0001")  # no rule of significant figures


def test_brackets_tell_leverage_and_maintenance_of_the_lowest_tier() -> None:
    one = json.dumps(json.loads(BRACKETS)[0])
    for payload in (BRACKETS, one):  # with symbol= the venue answers one object
        doge = aster.instruments(info(DOGE), payload)[0]
        assert (doge.max_leverage, doge.maintenance_margin_ratio) == (75, 0.0065)


def test_multiplier_prefixes() -> None:
    assert symbols(
        row(symbol="1000PEPEUSDT", baseAsset="1000PEPE"),
        row(symbol="1INCHUSDT", baseAsset="1INCH"),
        row(symbol="1000000MOGUSDT", baseAsset="1000000MOG"),
        row(symbol="1MBABYDOGEUSDT", baseAsset="1MBABYDOGE"),
    ) == [("PEPE", "1000PEPEUSDT"), ("1INCH", "1INCHUSDT"), ("MOG", "1000000MOGUSDT"), ("BABYDOGE", "1MBABYDOGEUSDT")]
    pepe, inch, mog, baby = aster.instruments(
        info(*(row(symbol=f"{base}USDT", baseAsset=base) for base in ("1000PEPE", "1INCH", "1000000MOG", "1MBABYDOGE")))
    )
    assert [each.multiplier for each in (pepe, inch, mog, baby)] == [1000, 1, 1_000_000, 1_000_000]
    assert pepe.canonical_lot == 1000


@pytest.mark.parametrize(
    "left_out",
    [
        row(quoteAsset="USD1"),
        row(marginAsset="USDC"),
        row(contractType="CURRENT_QUARTER"),
        row(status="PENDING_TRADING"),
        row(symbol="TESTDOGEUSDT"),
        {key: value for key, value in DOGE.items() if key != "baseAsset"},
        row(filters=[]),
        row(filters=filters(PRICE_FILTER={"tickSize": "0"})),
        row(filters=filters(PRICE_FILTER={"tickSize": "fine"})),
        row(filters=filters(PRICE_FILTER={"minPrice": "0.00015"})),
        row(filters=filters(LOT_SIZE={"stepSize": "NaN"})),
        row(filters=filters(LOT_SIZE={"stepSize": "-1"})),
    ],
)
def test_rows_left_out(left_out: dict[str, Any]) -> None:
    assert symbols(left_out, row(symbol="BTCUSDT", baseAsset="BTC")) == [("BTC", "BTCUSDT")]


EXTREME = ["1e-30", "1e30", "1e400", "1e999999", "-1e400", "NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "9" * 400]


@pytest.mark.parametrize("figure", EXTREME)
@pytest.mark.parametrize(
    ("filter_type", "key"),
    [
        ("PRICE_FILTER", "tickSize"),
        ("PRICE_FILTER", "minPrice"),
        ("LOT_SIZE", "stepSize"),
        ("LOT_SIZE", "minQty"),
        ("MIN_NOTIONAL", "notional"),
    ],
)
def test_a_figure_beyond_any_market_costs_its_row_only(filter_type: str, key: str, figure: str) -> None:
    """Decimal takes all of these; dividing by them, or comparing with them, is what raises."""
    strange = row(filters=filters(**{filter_type: {key: figure}}))
    assert symbols(strange, row(symbol="BTCUSDT", baseAsset="BTC")) == [("BTC", "BTCUSDT")]
    with pytest.raises(Malformed):
        aster.instruments(info(strange))


@pytest.mark.parametrize("figure", EXTREME)
def test_a_largest_size_beyond_any_market_is_not_told(figure: str) -> None:
    assert [each.max_qty for each in aster.instruments(info(row(filters=filters(LOT_SIZE={"maxQty": figure}))))] == [0]


@pytest.mark.parametrize("figure", [1e-30, 1e300, 10**400])
def test_a_bare_extreme_number_costs_its_row_only(figure: float) -> None:
    strange = row(filters=filters(PRICE_FILTER={"tickSize": figure}))
    assert symbols(strange, row(symbol="BTCUSDT", baseAsset="BTC")) == [("BTC", "BTCUSDT")]


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_bare_nan_is_no_json(figure: float) -> None:
    with pytest.raises(Malformed, match="exchangeInfo"):
        aster.instruments(info(row(filters=filters(PRICE_FILTER={"tickSize": figure})), row(symbol="BTCUSDT")))


@pytest.mark.parametrize(("smallest", "largest"), [("1e-12", "1e15")])
def test_the_widest_figures_still_divide(smallest: str, largest: str) -> None:
    wide = row(
        filters=filters(
            PRICE_FILTER={"tickSize": smallest, "minPrice": largest}, LOT_SIZE={"stepSize": smallest, "minQty": largest}
        )
    )
    assert [each.tick_size for each in aster.instruments(info(wide))] == [Decimal(smallest)]


def test_a_halted_symbol_is_flagged_not_forgotten() -> None:
    assert [each.delisted for each in aster.instruments(info(row(status="SETTLING")))] == [True]


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b'{"code":-1003,"msg":"Too many requests"}', b'{"symbols":[]}']
)
def test_garbage_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        aster.instruments(payload)


@pytest.mark.parametrize("payload", [b"", b"null", b"{}", b'{"code":-2015,"msg":"Invalid key"}', b'[{"symbol":"A"}]'])
def test_garbage_for_brackets_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        aster.instruments(info(DOGE), payload)


def recorded() -> dict[str, Instrument]:
    file = SHARED / "frames" / "binance-futures-2021" / "BINANCE_FUTURES.0"
    if not file.exists():
        pytest.skip(f"no recordings: {file} is missing")
    payload = file.read_text().split("\n")[0].split(": ", 1)[1]
    return {each.symbol: each for each in aster.instruments(payload)}


def test_recorded_catalogue() -> None:
    rows = recorded()
    assert len(rows) == 117  # of 122: two margined in BUSD, two quarterly, one not trading yet
    shib, inch, ctk, btc = rows["SHIB"], rows["1INCH"], rows["CTK"], rows["BTC"]
    assert (shib.venue_symbol, shib.multiplier, shib.tick_size) == ("1000SHIBUSDT", 1000, Decimal("0.000001"))
    assert (inch.venue_symbol, inch.multiplier) == ("1INCHUSDT", 1)
    assert (ctk.tick_size, ctk.lot_size) == (Decimal("0.001"), Decimal(1))
    assert (btc.tick_size, btc.lot_size, btc.max_qty) == (Decimal("0.01"), Decimal("0.001"), Decimal(1000))
    assert btc.ticks_to_px(btc.px_to_ticks(Decimal("32301.987"), Side.BUY)) == Decimal("32301.98")
    assert all(each.min_notional_usd == 5 for each in rows.values())
