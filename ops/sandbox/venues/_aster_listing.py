"""What the sandbox's Aster lists: contracts, filters, leverage brackets and funding terms (docs/venues/aster.md 2, 4, 5).

Two things differ from symbol to symbol on purpose, because clients get them wrong: the funding interval (8 h or 4 h, told
only by fundingInfo) and the quantity unit (1000PEPEUSDT trades thousands of PEPE). pricePrecision and quantityPrecision
are one digit finer than tick and step, as the venue warns: they must not be used for rounding.

The position brackets are two, with one maintenance ratio, since the sandbox's margin has one; triggers, trailing stops and
hidden orders are not simulated and therefore not listed among the order types.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.types import Side
from ops.sandbox.model import Contract

MAKER_FEE = Decimal("0.0001")
TAKER_FEE = Decimal("0.00035")
MULTIPLIER_UP = Decimal("1.1500")
MULTIPLIER_DOWN = Decimal("0.8500")
MARKET_TAKE_BOUND = Decimal("0.30")
MAX_NUM_ORDERS = 200
FIRST_BRACKET_USD = 500_000
LAST_BRACKET_USD = 5_000_000
MIN_NOTIONAL = Decimal(5)
QUOTE = "USDT"
BASE_PRECISION = 8
ONBOARD_MS = 1_711_929_600_000


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol. Sizes in venue units."""

    contract: Contract
    base_asset: str
    max_price: Decimal
    max_qty: Decimal
    max_market_qty: Decimal
    interest_rate: Decimal = Decimal("0.00010000")
    funding_cap: Decimal = Decimal("0.03")

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def book_stream(self) -> str:
        return f"{self.name.lower()}@bookTicker"

    @property
    def price_precision(self) -> int:
        return decimals(self.contract.tick) + 1

    @property
    def quantity_precision(self) -> int:
        return decimals(self.contract.lot) + 1

    def band_px(self, side: Side, mark: Decimal) -> Decimal:
        """The highest price a BUY, the lowest a SELL may carry."""
        return mark * (MULTIPLIER_UP if side is Side.BUY else MULTIPLIER_DOWN)

    def max_notional(self, leverage: int) -> int:
        """The largest position in USD that `leverage` allows."""
        return FIRST_BRACKET_USD if leverage > self.contract.max_leverage // 2 else LAST_BRACKET_USD

    def symbol_row(self) -> dict[str, object]:
        """Its row in exchangeInfo."""
        tick, lot = self.contract.tick, self.contract.lot
        return {
            "symbol": self.name,
            "pair": self.name,
            "contractType": "PERPETUAL",
            "deliveryDate": 4_133_404_800_000,
            "onboardDate": ONBOARD_MS,
            "status": "TRADING",
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": self.base_asset,
            "quoteAsset": QUOTE,
            "marginAsset": QUOTE,
            "pricePrecision": self.price_precision,
            "quantityPrecision": self.quantity_precision,
            "baseAssetPrecision": BASE_PRECISION,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "settlePlan": 0,
            "triggerProtect": "0.15",
            "liquidationFee": "0.010000",
            "marketTakeBound": str(MARKET_TAKE_BOUND),
            "symbolType": 0,
            "channel": "mkt",
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": _text(tick),
                    "maxPrice": _text(self.max_price),
                    "tickSize": _text(tick),
                },
                {"filterType": "LOT_SIZE", "minQty": _text(lot), "maxQty": _text(self.max_qty), "stepSize": _text(lot)},
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": _text(lot),
                    "maxQty": _text(self.max_market_qty),
                    "stepSize": _text(lot),
                },
                {"filterType": "MAX_NUM_ORDERS", "limit": MAX_NUM_ORDERS},
                {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
                {"filterType": "MIN_NOTIONAL", "notional": _text(self.contract.min_notional)},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": str(MULTIPLIER_UP),
                    "multiplierDown": str(MULTIPLIER_DOWN),
                    "multiplierDecimal": 4,
                },
            ],
            "orderTypes": ["LIMIT", "MARKET"],
            "timeInForce": ["GTC", "IOC", "GTX"],
        }

    def bracket_row(self) -> dict[str, object]:
        """Its row in leverageBrackets."""
        leverage, ratio = self.contract.max_leverage, float(self.contract.maintenance_ratio)
        steps = ((leverage, 0, FIRST_BRACKET_USD), (leverage // 2, FIRST_BRACKET_USD, LAST_BRACKET_USD))
        return {
            "symbol": self.name,
            "brackets": [
                {
                    "bracket": number,
                    "initialLeverage": most,
                    "notionalCap": cap,
                    "notionalFloor": floor,
                    "maintMarginRatio": ratio,
                    "cum": 0,
                }
                for number, (most, floor, cap) in enumerate(steps, start=1)
            ],
        }

    def funding_row(self, now_ms: int) -> dict[str, object]:
        """Its row in fundingInfo."""
        return {
            "symbol": self.name,
            "interestRate": f"{self.interest_rate:.8f}",
            "time": now_ms,
            "fundingIntervalHours": self.contract.funding_interval_h,
            "fundingFeeCap": float(self.funding_cap),
            "fundingFeeFloor": -float(self.funding_cap),
        }


def listings(symbols: tuple[str, ...]) -> tuple[Listing, ...]:
    """The listings of the canonical `symbols` that this venue knows, in its own order."""
    return tuple(listing for listing in _LISTED if listing.contract.symbol in symbols)


def decimals(step: Decimal) -> int:
    """How many digits `step` has after the point (0.001 -> 3)."""
    return max(0, -int(step.normalize().as_tuple().exponent))


def _text(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _listing(
    symbol: str,
    tick: str,
    lot: str,
    leverage: int,
    maintenance: str,
    interval_h: int,
    max_qty: int,
    multiplier: int = 1,
) -> Listing:
    base = symbol if multiplier == 1 else f"{multiplier}{symbol}"
    return Listing(
        contract=Contract(
            symbol=symbol,
            name=base + QUOTE,
            tick=Decimal(tick),
            lot=Decimal(lot),
            min_notional=MIN_NOTIONAL,
            max_leverage=leverage,
            multiplier=multiplier,
            maintenance_ratio=Decimal(maintenance),
            funding_interval_h=interval_h,
            price_band=Decimal(1_000_000),  # PERCENT_PRICE is one-sided and judged by the venue's own filters
        ),
        base_asset=base,
        max_price=Decimal(tick) * 100_000_000,
        max_qty=Decimal(max_qty),
        max_market_qty=Decimal(max_qty) / 4,
    )


_LISTED = (
    _listing("BTC", "0.1", "0.001", 125, "0.004", 8, 1_000),
    _listing("ETH", "0.01", "0.001", 100, "0.005", 8, 10_000),
    _listing("SOL", "0.001", "0.01", 75, "0.0065", 8, 100_000),
    _listing("HYPE", "0.001", "0.01", 50, "0.01", 4, 100_000),
    _listing("PAXG", "0.01", "0.001", 50, "0.01", 8, 1_000),
    _listing("PEPE", "0.0000001", "1", 50, "0.01", 4, 10_000_000_000, multiplier=1000),
)
