"""What the simulated Variational lists (docs/venues/variational.md 2): contracts, and the object that names one on the wire."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from core.errors import ConfigError
from core.venue_spec import VenueKind
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms
from ops.sandbox.venues._variational_errors import ApiError, malformed

MIN_NOTIONAL = Decimal("0.1")
TYPE, SETTLEMENT, NAME_INTERVAL_S = "perpetual_future", "USDC", 3600
LEVERAGES = (1, 2, 3, 5, 10, 20, 50)


class _Row(NamedTuple):
    symbol: str
    title: str
    tick: str
    lot: str
    max_leverage: int
    interval_h: int


_ROWS = (
    _Row("BTC", "Bitcoin", "0.01", "0.000001", 50, 8),
    _Row("ETH", "Ethereum", "0.01", "0.00001", 50, 8),
    _Row("SOL", "Solana", "0.0001", "0.001", 20, 8),
    _Row("HYPE", "Hyperliquid", "0.0001", "0.001", 20, 1),
    _Row("PAXG", "PAX Gold", "0.01", "0.00001", 10, 4),
    _Row("PEPE", "Pepe", "0.000000001", "1", 10, 4),
)
TITLES = {row.symbol: row.title for row in _ROWS}


def terms(symbols: tuple[str, ...]) -> Terms:
    """Contracts for the canonical symbols asked. Raises ConfigError for an unknown symbol."""
    known = [row.symbol for row in _ROWS]
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise ConfigError(
            f"sandbox.symbols: {', '.join(unknown)}: the simulated Variational lists {', '.join(sorted(known))}"
        )
    return Terms(
        contracts=tuple(_contract(row) for row in _ROWS if row.symbol in symbols),
        maker_fee=Decimal(0),
        taker_fee=Decimal(0),
        funding_basis=FundingBasis.MARK,
        money_step=Decimal("0.000001"),
        min_notional_exempt=MinNotionalExempt.NONE,
        kind=VenueKind.RFQ,
    )


def instrument(name: str) -> dict[str, Any]:
    """The object that most bodies carry; its interval is a part of the name."""
    return {
        "instrument_type": TYPE,
        "underlying": name,
        "funding_interval_s": NAME_INTERVAL_S,
        "settlement_asset": SETTLEMENT,
    }


def named(contracts: dict[str, Contract], given: Any) -> Contract:
    """The contract that an instrument object names. Raises ApiError."""
    if not isinstance(given, dict) or given != instrument(str(given.get("underlying"))):
        raise malformed("Failed to deserialize the JSON body: instrument")
    contract = contracts.get(given["underlying"])
    if contract is None:
        raise ApiError(404, {"message": "unknown instrument"})
    return contract


def _contract(row: _Row) -> Contract:
    return Contract(
        symbol=row.symbol,
        name=row.symbol,
        tick=Decimal(row.tick),
        lot=Decimal(row.lot),
        min_notional=MIN_NOTIONAL,
        max_leverage=row.max_leverage,
        maintenance_ratio=Decimal(1) / (2 * row.max_leverage),
        default_leverage=min(10, row.max_leverage),
        funding_interval_h=row.interval_h,
    )
