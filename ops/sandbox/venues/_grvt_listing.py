"""What the simulated GRVT lists, and the catalogue answers (docs/venues/grvt.md 2, 4, 5).

Scale of the signed size, step, minimum notional and funding interval differ from row to row on purpose, because clients
get them wrong; one row is a spot pair, one perpetual trades by request for quote only, and one is no longer active.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.errors import ConfigError
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt
from ops.sandbox.terms import Terms
from ops.sandbox.venues._grvt_errors import Row

TAKER_FEE, MAKER_FEE = Decimal("0.00045"), Decimal("-0.000001")
TAKER_CENTIBEEPS, MAKER_CENTIBEEPS = 450, -1
MONEY_STEP = Decimal("0.000001")
RATE_STEP = Decimal("0.000001")  # rates are told in 1e-4 percent
RATE_CAP_PERCENT = "3.0"  # of the exaggerated market here; 0.3 for BTC on the real one
PRICE_BAND = Decimal("0.1")  # [unsure] how far through the mark the venue lets an order reach
MAX_OPEN_ORDERS = 200
CREATED_NS = "1770020259016365490"
MIN_LEVERAGE = 1
QUOTE = "USDT"


class Market(msgspec.Struct, frozen=True):
    """One row of the listing."""

    symbol: str  # canonical; empty for what the sandbox does not trade
    base: str
    asset_id: int
    base_decimals: int
    tick: str
    step: str
    min_notional: str
    max_leverage: int
    interval_h: int
    multiplier: int = 1
    kind: str = "PERPETUAL"
    quote: str = QUOTE
    suffix: str = "Perp"
    on_book: bool = True
    active: bool = True
    default_leverage: int = 10

    @property
    def name(self) -> str:
        return f"{self.base}_{self.quote}_{self.suffix}"

    @property
    def hash_text(self) -> str:
        return f"0x{self.asset_id:06x}"

    @property
    def maintenance(self) -> Decimal:
        """Half of the initial margin at the highest leverage."""
        return Decimal(1) / (2 * self.max_leverage)

    def row(self) -> Row:
        """As the catalogue shows it."""
        return {
            "instrument": self.name, "instrument_hash": self.hash_text, "base": self.base, "quote": self.quote,
            "kind": self.kind, "venues": ["ORDERBOOK", "RFQ"] if self.on_book else ["RFQ"],
            "settlement_period": "PERPETUAL", "base_decimals": self.base_decimals, "quote_decimals": 6,
            "tick_size": self.tick, "min_size": self.step, "create_time": CREATED_NS, "max_position_size": MAX_POSITION,
            "funding_interval_hours": self.interval_h, "adjusted_funding_rate_cap": RATE_CAP_PERCENT,
            "adjusted_funding_rate_floor": f"-{RATE_CAP_PERCENT}", "min_notional": self.min_notional,
        }  # fmt: skip

    def margin_rules(self) -> Row:
        """One bracket for everybody: the sandbox's margin has one maintenance ratio."""
        bracket = {
            "tier": 1, "notional_floor": "0.0", "notional_cap": "100000000.0",
            "maintenance_margin_rate": str(self.maintenance), "initial_margin_rate": str(2 * self.maintenance),
            "max_leverage": f"{self.max_leverage}.0", "cumulative_maintenance_amount": "0.0",
        }  # fmt: skip
        return {"result": {"instrument": self.name, "risk_brackets": [bracket]}}


MAX_POSITION = "100000000.0"
_MARKETS = (
    Market("BTC", "BTC", 0x030501, 9, "0.1", "0.001", "100.0", 50, 8),
    Market("ETH", "ETH", 0x030401, 9, "0.01", "0.01", "20.0", 50, 8),
    Market("SOL", "SOL", 0x030601, 9, "0.01", "0.1", "5.0", 50, 8),
    Market("PEPE", "KPEPE", 0x030D01, 6, "0.0000001", "100", "5.0", 20, 1, multiplier=1000),
    Market("HYPE", "HYPE", 0x032B01, 6, "0.001", "0.1", "5.0", 20, 4),
    Market("PAXG", "PAXG", 0x032D01, 3, "0.1", "0.001", "5.0", 20, 8),
    Market("", "ADA", 0x032101, 6, "0.0001", "100", "5.0", 20, 8, on_book=False),
    Market("", "DOGE", 0x031B01, 6, "0.00001", "1", "5.0", 20, 8, active=False),
    Market("", "USDC", 0x030203, 6, "0.0001", "1", "5.0", 1, 0, kind="SPOT", suffix="SpotSwap"),
)


class Listing:
    """All rows, and those that trade, by name."""

    def __init__(self, names: set[str]) -> None:
        self.rows = tuple(row for row in _MARKETS if not row.symbol or row.name in names)
        self.by_name = {row.name: row for row in self.rows if row.symbol}


def terms(symbols: tuple[str, ...]) -> Terms:
    """Contracts for the canonical symbols asked. Raises ConfigError for an unknown symbol."""
    known = {row.symbol for row in _MARKETS if row.symbol}
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise ConfigError(f"sandbox.symbols: {', '.join(unknown)}: the simulated GRVT lists {', '.join(sorted(known))}")
    return Terms(
        contracts=tuple(_contract(row) for row in _MARKETS if row.symbol in symbols and row.symbol),
        maker_fee=MAKER_FEE,
        taker_fee=TAKER_FEE,
        funding_basis=FundingBasis.MARK,
        money_step=MONEY_STEP,
        min_notional_exempt=MinNotionalExempt.WHOLE_CLOSE,
        max_open_orders=MAX_OPEN_ORDERS,
    )


def _contract(row: Market) -> Contract:
    return Contract(
        symbol=row.symbol,
        name=row.name,
        tick=Decimal(row.tick),
        lot=Decimal(row.step),
        min_notional=Decimal(row.min_notional),
        max_leverage=row.max_leverage,
        multiplier=row.multiplier,
        maintenance_ratio=row.maintenance,
        default_leverage=row.default_leverage,
        price_band=PRICE_BAND,
        band_both_sides=False,
        funding_interval_h=row.interval_h,
        funding_step=RATE_STEP,
    )
