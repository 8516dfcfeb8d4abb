"""What the simulated Pacifica lists (docs/venues/pacifica.md 2 and 5)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from core.errors import ConfigError
from core.numeric import plain
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms

MIN_ORDER_USD = Decimal(10)
MAX_ORDER_USD = Decimal(5_000_000)
BUY_BAND = Decimal("0.3")  # a buy at most so far above the mark; far below it rests
CREATED_MS = 1_748_881_333_944
MAKER_FEE, TAKER_FEE = Decimal("0.00015"), Decimal("0.0004")


class _Row(NamedTuple):
    symbol: str
    name: str
    tick: str
    lot: str
    max_leverage: int
    multiplier: int = 1


_ROWS = (
    _Row("BTC", "BTC", "1", "0.00001", 50),
    _Row("ETH", "ETH", "0.1", "0.0001", 50),
    _Row("SOL", "SOL", "0.01", "0.01", 20),
    _Row("HYPE", "HYPE", "0.001", "0.01", 20),
    _Row("PAXG", "PAXG", "0.1", "0.001", 10),
    _Row("PEPE", "kPEPE", "0.000001", "1", 10, multiplier=1000),
)


def terms(symbols: tuple[str, ...]) -> Terms:
    """Contracts for the canonical symbols asked. Raises ConfigError for an unknown symbol."""
    known = [row.symbol for row in _ROWS]
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise ConfigError(
            f"sandbox.symbols: {', '.join(unknown)}: the simulated Pacifica lists {', '.join(sorted(known))}"
        )
    return Terms(
        contracts=tuple(_contract(row) for row in _ROWS if row.symbol in symbols),
        maker_fee=MAKER_FEE,
        taker_fee=TAKER_FEE,
        funding_basis=FundingBasis.ORACLE,
        money_step=Decimal("0.000001"),
        min_notional_exempt=MinNotionalExempt.WHOLE_CLOSE,
    )


def perpetual_row(contract: Contract, rate: Decimal, estimate: Decimal) -> dict[str, Any]:
    """A row of `info`."""
    return {
        "symbol": contract.name,
        "tick_size": plain(contract.tick),
        "min_tick": "0",
        "max_tick": "1000000",
        "lot_size": plain(contract.lot),
        "max_leverage": contract.max_leverage,
        "isolated_only": False,
        "min_order_size": plain(MIN_ORDER_USD),
        "max_order_size": plain(MAX_ORDER_USD),
        "funding_rate": plain(rate),
        "next_funding_rate": plain(estimate),
        "created_at": CREATED_MS,
        "instrument_type": "perpetual",
        "base_asset": contract.name,
    }


def spot_row() -> dict[str, Any]:
    """A market that a perpetuals client must pass over."""
    return {
        "symbol": "SOL-USDC", "tick_size": "0.01", "min_tick": "0", "max_tick": "1000000", "lot_size": "0.001",
        "max_leverage": 1, "isolated_only": False, "min_order_size": "10", "max_order_size": "1000000",
        "funding_rate": "0", "next_funding_rate": "0", "created_at": 1_776_615_970_246, "instrument_type": "spot",
        "base_asset": "SOL",
    }  # fmt: skip


def _contract(row: _Row) -> Contract:
    return Contract(
        symbol=row.symbol,
        name=row.name,
        tick=Decimal(row.tick),
        lot=Decimal(row.lot),
        min_notional=MIN_ORDER_USD,
        max_leverage=row.max_leverage,
        multiplier=row.multiplier,
        maintenance_ratio=Decimal(1) / (2 * row.max_leverage),
        default_leverage=row.max_leverage,
        price_band=BUY_BAND,
        band_both_sides=False,
        funding_interval_h=1,
    )
