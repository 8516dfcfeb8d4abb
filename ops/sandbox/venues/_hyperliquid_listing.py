"""What the simulated Hyperliquid lists: its contracts, their wire numbers, and the catalogue answers.

Source: docs/venues/hyperliquid.md 2.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from core.errors import ConfigError
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms

PERP_DECIMALS = 6
MIN_NOTIONAL_USD = Decimal(10)


class _Row(NamedTuple):
    symbol: str
    name: str
    sz_decimals: int
    max_leverage: int
    margin_table: int
    multiplier: int = 1
    listed: bool = True


# Two dead entries stand in the middle, as on the venue: whoever filters before numbering trades the wrong coin.
_ROWS = (
    _Row("BTC", "BTC", 5, 40, 56),
    _Row("ETH", "ETH", 4, 25, 55),
    _Row("", "MATIC", 1, 20, 20, listed=False),
    _Row("SOL", "SOL", 2, 20, 54),
    _Row("", "kDOGS", 0, 3, 3, listed=False),
    _Row("HYPE", "HYPE", 2, 10, 52),
    _Row("PAXG", "PAXG", 3, 10, 10),
    _Row("PEPE", "kPEPE", 0, 10, 10, multiplier=1000),
)
_TIERED = {
    52: (10, 5, "20000000.0"),
    54: (20, 10, "70000000.0"),
    55: (25, 15, "100000000.0"),
    56: (40, 20, "150000000.0"),
}
_SPOT_TOKENS = (
    ("USDC", 8, 8, "0x6d1e7cde53ba9467b783cb7c530ce054"),
    ("PURR", 0, 5, "0xc1fb593aeffbeb02f85e0308e9956a90"),
)


def terms(symbols: tuple[str, ...]) -> Terms:
    """Contracts for the canonical symbols asked, dead entries among them. Raises ConfigError for an unknown symbol."""
    known = {row.symbol for row in _ROWS if row.listed}
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise ConfigError(
            f"sandbox.symbols: {', '.join(unknown)}: the simulated Hyperliquid lists {', '.join(sorted(known))}"
        )
    rows = [row for row in _ROWS if not row.listed or row.symbol in symbols]
    return Terms(
        contracts=tuple(_contract(row) for row in rows),
        maker_fee=Decimal("0.00015"),
        taker_fee=Decimal("0.00045"),
        funding_basis=FundingBasis.ORACLE,
        money_step=Decimal("0.000001"),
        min_notional_exempt=MinNotionalExempt.WHOLE_CLOSE,
    )


def meta(contracts: list[Contract]) -> dict[str, Any]:
    """The answer to `meta`: universe (its order is the asset id), margin tables, collateral token."""
    rows = {row.name: row for row in _ROWS}
    universe = []
    for contract in contracts:
        row = rows[contract.name]
        entry: dict[str, Any] = {
            "szDecimals": row.sz_decimals,
            "name": row.name,
            "maxLeverage": row.max_leverage,
            "marginTableId": row.margin_table,
        }
        if not row.listed:
            entry["isDelisted"] = True
        universe.append(entry)
    tables = [[number, _margin_table(*tiers)] for number, tiers in _TIERED.items()]
    return {"universe": universe, "marginTables": tables, "collateralToken": 0}


def spot_meta() -> dict[str, Any]:
    """The answer to `spotMeta`: USDC and one pair, so that clients that number assets find the shape they expect."""
    tokens = [
        {"name": name, "szDecimals": size, "weiDecimals": wei, "index": index, "tokenId": token_id, "isCanonical": True,
         "evmContract": None, "fullName": None}
        for index, (name, size, wei, token_id) in enumerate(_SPOT_TOKENS)
    ]  # fmt: skip
    return {"tokens": tokens, "universe": [{"name": "PURR/USDC", "tokens": [1, 0], "index": 0, "isCanonical": True}]}


def size_decimals(name: str) -> int:
    """szDecimals of a listed name."""
    return next(row.sz_decimals for row in _ROWS if row.name == name)


def _contract(row: _Row) -> Contract:
    return Contract(
        symbol=row.symbol or row.name,
        name=row.name,
        tick=Decimal(1).scaleb(row.sz_decimals - PERP_DECIMALS),
        lot=Decimal(1).scaleb(-row.sz_decimals),
        min_notional=MIN_NOTIONAL_USD,
        max_leverage=row.max_leverage,
        multiplier=row.multiplier,
        sigfigs=5,
        maintenance_ratio=Decimal(1) / (2 * row.max_leverage),
        default_leverage=min(20, row.max_leverage),
        price_band=Decimal("0.8"),
        funding_interval_h=1,
        listed=row.listed,
    )


def _margin_table(first: int, second: int, bound: str) -> dict[str, Any]:
    tiers = [{"lowerBound": "0.0", "maxLeverage": first}, {"lowerBound": bound, "maxLeverage": second}]
    return {"description": f"tiered {first}x", "marginTiers": tiers}
