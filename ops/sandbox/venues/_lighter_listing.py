"""What the simulated Lighter lists, its wire numbers, and the catalogue answers (docs/venues/lighter.md 2).

Market indices have gaps and follow no order, one perp is inactive, one is hidden and one market is spot: whoever counts
rows, or takes every row for a perp that trades, is caught here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from core.errors import ConfigError
from ops.sandbox.model import Contract, DayStats, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms

QUOTE_DECIMALS = 6
MIN_QUOTE_USD = Decimal(10)
QUOTE_LIMIT_USD = Decimal("281474976.710655")
USDC_STEP = Decimal("0.000001")
RATE_STEP = Decimal("0.000001")  # per hour: rates are shown in 1e-4 percent
PRICE_BAND = Decimal("0.1")  # [unsure] how far through the mark the venue lets an order reach
MAX_ORDERS = 1500
INSURANCE_FUND = 281474976710655
CREATED_MS = "1737000000000"


class Market(msgspec.Struct, frozen=True):
    """One row of the listing. Fractions are of 1e-4."""

    symbol: str  # canonical; empty for what the sandbox does not trade
    name: str
    index: int
    size_decimals: int
    price_decimals: int
    min_base: str
    min_imf: int
    default_imf: int
    maintenance: int
    multiplier: int = 1
    status: str = "active"
    hidden: bool = False

    @property
    def tick(self) -> Decimal:
        return Decimal(1).scaleb(-self.price_decimals)

    @property
    def lot(self) -> Decimal:
        return Decimal(1).scaleb(-self.size_decimals)

    def px(self, value: Decimal) -> str:
        """A price, zero-padded: the SDK reads it by dropping the dot."""
        return f"{value:.{self.price_decimals}f}"

    def size(self, value: Decimal) -> str:
        return f"{value:.{self.size_decimals}f}"


_MARKETS = (
    Market("ETH", "ETH", 0, 4, 2, "0.0050", 200, 500, 120),
    Market("BTC", "BTC", 1, 5, 1, "0.00020", 200, 500, 120),
    Market("SOL", "SOL", 2, 3, 3, "0.050", 400, 500, 240),
    Market("", "DOGE", 3, 0, 6, "10", 1000, 2000, 600, status="inactive"),
    Market("PEPE", "1000PEPE", 4, 0, 6, "500", 1000, 2000, 600, multiplier=1000),
    Market("HYPE", "HYPE", 24, 2, 4, "0.15", 500, 1000, 300),
    Market("", "CRV", 36, 1, 5, "10.0", 1000, 2000, 600, hidden=True),
    Market("PAXG", "PAXG", 48, 4, 2, "0.0025", 1000, 2000, 600),
)
_SPOT = ("ETH/USDC", 2048, 4, 2, "0.0050")


class Listing:
    """The rows that trade, by wire index and by name, and the answers about all of them."""

    def __init__(self, names: set[str]) -> None:
        self.rows = tuple(row for row in _MARKETS if not row.symbol or row.name in names)
        self.traded = tuple(row for row in self.rows if row.symbol)
        self.by_index = {row.index: row for row in self.traded}
        self.by_name = {row.name: row for row in self.traded}


def terms(symbols: tuple[str, ...]) -> Terms:
    """Contracts for the canonical symbols asked. Raises ConfigError for an unknown symbol."""
    known = {row.symbol for row in _MARKETS if row.symbol}
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise ConfigError(
            f"sandbox.symbols: {', '.join(unknown)}: the simulated Lighter lists {', '.join(sorted(known))}"
        )
    return Terms(
        contracts=tuple(_contract(row) for row in _MARKETS if row.symbol in symbols and row.symbol),
        maker_fee=Decimal(0),
        taker_fee=Decimal(0),
        funding_basis=FundingBasis.MARK,
        money_step=USDC_STEP,
        min_notional_exempt=MinNotionalExempt.REDUCE_ONLY,
        max_open_orders=MAX_ORDERS,
    )


def light_row(row: Market) -> dict[str, Any]:
    """A market as `orderBooks` shows it."""
    return {
        "symbol": row.name, "market_id": row.index, "market_type": "perp", "base_asset_id": 0, "quote_asset_id": 0,
        "status": row.status, "taker_fee": "0.0000", "is_taker_fee_enabled": True, "maker_fee": "0.0000",
        "is_maker_fee_enabled": True, "liquidation_fee": "1.0000", "min_base_amount": row.min_base,
        "min_quote_amount": f"{MIN_QUOTE_USD:.6f}", "order_quote_limit": str(QUOTE_LIMIT_USD),
        "supported_size_decimals": row.size_decimals, "supported_price_decimals": row.price_decimals,
        "supported_quote_decimals": QUOTE_DECIMALS, "created_at": CREATED_MS, "multiplier": "1.000000000000000000",
        "is_frozen": False,
    }  # fmt: skip


def detail_row(row: Market, stats: DayStats | None, mark: Decimal, index: Decimal) -> dict[str, Any]:
    """A perp as `orderBookDetails` shows it; open interest is in base units here. `stats` None = never traded."""
    return light_row(row) | {
        "size_decimals": row.size_decimals, "price_decimals": row.price_decimals, "quote_multiplier": 1,
        "default_initial_margin_fraction": row.default_imf, "min_initial_margin_fraction": row.min_imf,
        "maintenance_margin_fraction": row.maintenance, "closeout_margin_fraction": row.maintenance * 2 // 3,
        **daily(stats),
        "open_interest": float(stats.open_interest) if stats is not None else 0.0,
        "daily_chart": {},
        "market_config": {
            "market_margin_mode": 0, "insurance_fund_account_index": INSURANCE_FUND, "liquidation_mode": 0,
            "force_reduce_only": False, "trading_hours": "", "funding_fee_discounts_enabled": False,
            "hidden": row.hidden, "rfq_enabled": True,
        },
        "strategy_index": 2, "mark_price": row.px(mark), "index_price": row.px(index),
        "funding_clamp_small": "0.0500", "funding_clamp_big": "4.0000", "base_interest_rate": "0.0100",
    }  # fmt: skip


def daily(stats: DayStats | None) -> dict[str, Any]:
    """The last 24 h, in JSON numbers as the venue sends them."""
    if stats is None:
        return {
            "last_trade_price": 0, "daily_trades_count": 0, "daily_base_token_volume": 0, "daily_quote_token_volume": 0,
            "daily_price_low": 0, "daily_price_high": 0, "daily_price_change": 0,
        }  # fmt: skip
    return {
        "last_trade_price": float(stats.last_px), "daily_trades_count": stats.trades,
        "daily_base_token_volume": float(stats.volume_base), "daily_quote_token_volume": float(round(stats.volume_usd, 6)),
        "daily_price_low": float(stats.low_px), "daily_price_high": float(stats.high_px),
        "daily_price_change": float((stats.last_px / stats.open_px - 1) * 100),
    }  # fmt: skip


def spot_row(detailed: bool) -> dict[str, Any]:
    """The one spot market: listed, without a book."""
    name, index, size_decimals, price_decimals, min_base = _SPOT
    light = light_row(Market("", name, index, size_decimals, price_decimals, min_base, 0, 0, 0))
    light |= {"market_type": "spot", "base_asset_id": 1, "quote_asset_id": 3}
    if not detailed:
        return light
    return light | daily(None) | {"size_decimals": size_decimals, "price_decimals": price_decimals, "daily_chart": {}}


def assets() -> list[dict[str, Any]]:
    """What `assetDetails` lists: the collateral, and the base of the spot market."""
    return [
        {"asset_id": 3, "symbol": "USDC", "l1_decimals": 6, "decimals": 6, "min_transfer_amount": "1.000000",
         "min_withdrawal_amount": "1.000000", "margin_mode": "enabled", "index_price": "1.000000",
         "l1_address": "0x0000000000000000000000000000000000000000"},
        {"asset_id": 1, "symbol": "ETH", "l1_decimals": 18, "decimals": 8, "min_transfer_amount": "0.00100000",
         "min_withdrawal_amount": "0.00100000", "margin_mode": "disabled", "index_price": "0.000000",
         "l1_address": "0x0000000000000000000000000000000000000000"},
    ]  # fmt: skip


def _contract(row: Market) -> Contract:
    return Contract(
        symbol=row.symbol,
        name=row.name,
        tick=row.tick,
        lot=row.lot,
        min_notional=Decimal(0),  # of resting orders only, and judged when they are sent: see _lighter_orders.py
        max_leverage=10_000 // row.min_imf,
        multiplier=row.multiplier,
        maintenance_ratio=Decimal(row.maintenance) / 10_000,
        default_leverage=10_000 // row.default_imf,
        price_band=PRICE_BAND,
        band_both_sides=False,
        funding_interval_h=1,
        funding_step=RATE_STEP,
    )
