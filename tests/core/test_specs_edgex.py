"""Catalogue of EdgeX: the page's recorded contract and rows around it, against values read off by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from core.errors import Malformed
from core.specs import edgex
from core.types import Side

NVDA: dict[str, Any] = {
    "contractId": "30000020", "contractName": "NVDAUSDC", "baseCoinId": "1020", "quoteCoinId": "1000", "tickSize": "0.01",
    "stepSize": "0.01", "minOrderSize": "0.2", "maxOrderSize": "300", "maxOrderBuyPriceRatio": "0.2",
    "minOrderSellPriceRatio": "0.2", "maxPositionSize": "900", "maxMarketPositionSize": "65",
    "riskTierList": [{"tier": 1, "positionValueUpperBound": "200000", "maxLeverage": "20", "maintenanceMarginRate": "0.025"}],
    "defaultTakerFeeRate": "0.00045", "defaultMakerFeeRate": "0.0004", "defaultLeverage": "10", "liquidateFeeRate": "0.01",
    "enableTrade": True, "enableDisplay": True, "enableOpenPosition": True, "fundingInterestRate": "0.0003",
    "fundingMaxRate": "0.004", "fundingMinRate": "-0.004", "fundingRateIntervalMin": "240", "displayMaxLeverage": "20",
    "resolution": "1000000000", "openSizeReduceRatio": "0.99", "isStock": True, "isFx": False,
}  # fmt: skip
USDC = {"coinId": "1000", "coinName": "USDC", "resolution": "0xf4240"}
GLOBAL = {"appName": "edgeX", "chainId": "3343", "contractAddress": "0xeeb3fb05cca17745cbdf193a9b16537efb68fac8"}


def row(**changes: Any) -> dict[str, Any]:
    return {**NVDA, **changes}


def answer(
    *rows: Any, coins: Any = (USDC, {"coinId": "1020", "coinName": "NVDA", "resolution": None}), **more: Any
) -> bytes:
    data = {"global": GLOBAL, "coinList": list(coins), "contractList": list(rows), "multiChain": {}}
    return json.dumps({"code": "SUCCESS", "data": data, "msg": None, **more}).encode()


def symbols(*rows: Any) -> list[str]:
    return [each.symbol for each in edgex.instruments(answer(NVDA, *rows))][1:]


def test_recorded_contract() -> None:
    found = edgex.catalogue(answer(NVDA))
    (nvda,) = found.instruments
    assert (nvda.venue, nvda.symbol, nvda.venue_symbol, nvda.venue_index) == ("edgex", "NVDA", "NVDAUSDC", 30000020)
    assert (nvda.tick_size, nvda.lot_size, nvda.price_sigfigs) == (Decimal("0.01"), Decimal("0.01"), 0)
    assert (nvda.min_qty, nvda.max_qty, nvda.min_notional_usd) == (Decimal("0.2"), Decimal(300), 0)
    assert (nvda.max_leverage, nvda.maintenance_margin_ratio, nvda.quote_ccy) == (20, 0.025, "USDC")
    assert (nvda.multiplier, nvda.delisted, nvda.can_short) == (1, False, True)
    assert found.funding_interval_s == {30000020: 4 * 3600}
    assert found.default_leverage == {30000020: 10}
    assert (found.chain_id, found.contract_address) == (3343, GLOBAL["contractAddress"])
    terms = found.terms[30000020]
    assert (terms.resolution, terms.coin_id, terms.coin_resolution) == (10**9, 1000, 10**6)
    assert terms.fee_rate == Decimal("0.00045")
    assert nvda.min_lots(Decimal(180)) == 20


def test_thousands_are_one_token_and_a_live_listing_wins() -> None:
    pepe = row(
        contractId="30000099", contractName="1000PEPEUSDC", tickSize="0.0000001", stepSize="10", minOrderSize="100"
    )
    (_, found) = edgex.instruments(answer(NVDA, pepe))
    assert (found.symbol, found.venue_symbol, found.multiplier) == ("PEPE", "1000PEPEUSDC", 1000)
    assert found.canonical_lot == 10_000
    closed = row(contractId="30000098", contractName="PEPEUSDC", enableOpenPosition=False)
    both = edgex.catalogue(answer(NVDA, closed, pepe))
    assert [each.venue_symbol for each in both.instruments] == ["NVDAUSDC", "1000PEPEUSDC"]
    assert set(both.terms) == {30000020, 30000099}


@pytest.mark.parametrize("key", ["enableTrade", "enableOpenPosition"])
def test_what_cannot_be_opened_is_delisted(key: str) -> None:
    (found,) = edgex.instruments(answer(row(**{key: False})))
    assert found.delisted


@pytest.mark.parametrize(
    "bad",
    [
        {"contractName": "NVDAUSDT"}, {"contractName": "USDC"}, {"quoteCoinId": "7"}, {"contractId": "x"},
        {"contractId": "0"}, {"tickSize": "0"}, {"tickSize": "nan"}, {"tickSize": "1e-30"}, {"stepSize": "-1"},
        {"stepSize": "Infinity"}, {"minOrderSize": "0.015"}, {"minOrderSize": None}, {"tickSize": 0.01},
        {"riskTierList": None}, {"enableTrade": "yes"},
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_are_no_market_are_left_out(bad: dict[str, Any]) -> None:
    named = {"contractId": "30000021", "contractName": "TSLAUSDC"}
    assert symbols(row(**{**named, **bad})) == []
    assert symbols(row(**named)) == ["TSLA"]


def test_what_is_not_told_is_not_guessed() -> None:
    found = edgex.catalogue(
        answer(row(fundingRateIntervalMin="", resolution=None, riskTierList=[], defaultLeverage=None))
    )
    assert (found.funding_interval_s, found.terms, found.default_leverage) == ({}, {}, {30000020: 1})
    assert (found.instruments[0].max_leverage, found.instruments[0].maintenance_margin_ratio) == (1, 0.0)
    assert edgex.catalogue(answer(row(fundingRateIntervalMin="270"))).funding_interval_s == {}
    assert edgex.catalogue(answer(NVDA, coins=[{**USDC, "resolution": None}])).terms == {}
    free = edgex.catalogue(answer(row(defaultTakerFeeRate="", defaultMakerFeeRate=None, resolution="0x2540be400")))
    assert free.terms[30000020].fee_rate == Decimal("0.001")
    assert free.terms[30000020].resolution == 10**10


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"null", b"\xff", b'{"code":"SUCCESS"}', b'{"code":"SUCCESS","data":{"coinList":[],"contractList":[]}}',
        b'{"code":"GATEWAY_PARAM_INVALID","data":null}', answer(), answer({"contractId": 5}, "x", None), answer(NVDA, coins=[]),
    ],
)  # fmt: skip
def test_an_answer_without_a_market_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        edgex.catalogue(payload)


def test_prices_and_sizes_land_on_the_grid() -> None:
    (nvda,) = edgex.instruments(answer(NVDA))
    assert nvda.px_to_ticks(Decimal("180.129"), Side.BUY) == 18012
    assert nvda.px_to_ticks(Decimal("180.121"), Side.SELL) == 18013
    assert nvda.qty_to_lots(Decimal("1.239")) == 123
