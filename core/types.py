"""The value types of the domain, in the field's words. Frozen; decimals are exact, floats are signals only.

Canonical units: one BTC, one PEPE. A venue that quotes kPEPE or 1000PEPE has `multiplier` 1000:
canonical price = venue price / multiplier, canonical size = venue size * multiplier, notional unchanged.
Books and strategies speak canonical units; the order path speaks the venue's ticks and lots.
"""

from __future__ import annotations

import enum
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple, NewType

import msgspec

from core.numeric import ceil_to, floor_to

Venue = NewType("Venue", str)
"""A venue's name as the roster spells it: lower case, no blanks."""


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class TimeInForce(enum.Enum):
    GTC = "gtc"
    IOC = "ioc"
    POST_ONLY = "post_only"


class LiquiditySide(enum.Enum):
    MAKER = "maker"
    TAKER = "taker"
    UNKNOWN = "unknown"


class OrderStatus(enum.Enum):
    """Where an order stands. The comment says who caused it."""

    PREPARED = "prepared"  # us: journaled, no byte has left
    SUBMITTED = "submitted"  # us: bytes are leaving or have left
    ACCEPTED = "accepted"  # the venue: it rests or is being matched
    FILLED = "filled"  # the venue: complete
    CANCELED = "canceled"  # the venue, for us or by its own rule; may be partly filled
    EXPIRED = "expired"  # the venue: IOC remainder or time limit; may be partly filled
    REJECTED = "rejected"  # the venue refused it, with positive evidence
    DENIED = "denied"  # our limits refused it; it was never signed
    NOT_SENT = "not_sent"  # us: proven not on the wire
    UNKNOWN = "unknown"  # nobody knows yet; the instrument is frozen until the venue says

    @property
    def is_final(self) -> bool:
        return self not in _OPEN_STATUSES


_OPEN_STATUSES = frozenset({OrderStatus.PREPARED, OrderStatus.SUBMITTED, OrderStatus.ACCEPTED, OrderStatus.UNKNOWN})


class TradingState(enum.Enum):
    ACTIVE = "active"
    REDUCING = "reducing"  # exits run, nothing increases exposure
    HALTED = "halted"  # strategy commands denied except ClosePair; repair, guards, flatten still run


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One tradable contract of one venue. Sizes and prices in the venue's own units; `multiplier` leads to canonical."""

    venue: Venue
    symbol: str  # canonical base: "BTC", "PEPE"
    venue_symbol: str  # as the wire spells it: "kPEPE", "1000PEPEUSDT"
    venue_index: int = -1  # numeric id where the wire wants one (Hyperliquid asset id), else -1
    multiplier: int = 1  # canonical units in one venue unit
    tick_size: Decimal  # smallest price step in venue units
    price_sigfigs: int = 0  # 0 = no rule; else at most so many significant figures, whole numbers always allowed
    lot_size: Decimal  # smallest size step in venue units
    min_qty: Decimal = Decimal(0)  # venue units
    max_qty: Decimal = Decimal(0)  # venue units, 0 = none stated
    min_notional_usd: Decimal = Decimal(0)
    max_leverage: int = 1
    maintenance_margin_ratio: float = 0.0  # of notional, at the lowest tier
    quote_ccy: str = "USD"
    can_short: bool = True
    delisted: bool = False

    @property
    def canonical_lot(self) -> Decimal:
        """The lot in canonical base units."""
        return self.lot_size * self.multiplier

    def tick_at(self, px: Decimal) -> Decimal:
        """The price step that applies at `px` (venue units): coarser than tick_size where significant figures bind."""
        if not self.price_sigfigs or px <= 0:
            return self.tick_size
        step = Decimal(1).scaleb(px.adjusted() - self.price_sigfigs + 1)
        return max(self.tick_size, min(Decimal(1), step))

    def px_to_ticks(self, px: Decimal, side: Side) -> int:
        """`px` (venue units) as ticks of `tick_size` on an allowed price, rounded to the safe side (buy down, sell up)."""
        step = self.tick_at(px)
        n = floor_to(px, step) if side is Side.BUY else ceil_to(px, step)
        return int(n * step / self.tick_size)

    def ticks_to_px(self, ticks: int) -> Decimal:
        """Ticks as a price in venue units."""
        return ticks * self.tick_size

    def qty_to_lots(self, qty: Decimal) -> int:
        """Canonical size as whole lots, rounded down (toward zero for both signs)."""
        lots = abs(qty) / self.canonical_lot
        whole = int(lots.to_integral_value(rounding=ROUND_FLOOR))
        return whole if qty >= 0 else -whole

    def lots_to_qty(self, lots: int) -> Decimal:
        """Lots as canonical base units."""
        return lots * self.canonical_lot

    def min_lots(self, px: Decimal) -> int:
        """The fewest lots that satisfy the minimum size and notional at venue price `px`."""
        by_qty = ceil_to(self.min_qty, self.lot_size) if self.min_qty else 1
        by_notional = int((self.min_notional_usd / (px * self.lot_size)).to_integral_value(rounding=ROUND_CEILING))
        return max(1, by_qty, by_notional)


class QuoteFlag(enum.IntFlag):
    """Flags of a quote line."""

    EXECUTABLE = 1
    INDICATIVE = 2
    DELISTED = 4
    REST_SEED = 8  # read by REST, not yet confirmed by the stream


class Quote(NamedTuple):
    """Top of book, canonical units, with the age that RULES 2 defines. `sequence` is the count of the line's stamp."""

    bid_px: float
    bid_qty: float
    ask_px: float
    ask_qty: float
    exch_ts_ns: int
    local_mono_ns: int
    sequence: int
    flags: int
    age_ns: int

    @property
    def mid(self) -> float:
        return (self.bid_px + self.ask_px) / 2

    @property
    def is_sound(self) -> bool:
        """Two-sided, uncrossed, unlocked, with size on both sides."""
        return 0.0 < self.bid_px < self.ask_px and self.bid_qty > 0.0 and self.ask_qty > 0.0


class Stale(NamedTuple):
    """There is a record, but it proves nothing about now. `age_ns` as RULES 2 defines it; -1 = from a previous writer."""

    age_ns: int


class Down(NamedTuple):
    """The writer is not alive, or says that its venue is down."""

    reason: str


class Lapped(NamedTuple):
    """The follower was overtaken and missed exactly `missed` records."""

    missed: int


class Busy(NamedTuple):
    """No consistent record within the bound of tries; try again later."""

    tries: int


ReadResult = Quote | Stale | Down | Busy


class MarkPrice(NamedTuple):
    """Mark and index of one instrument (canonical), with open interest (canonical base) and 24 h volume (USD).
    NaN means unknown."""

    mark_px: float
    index_px: float
    open_interest: float
    volume_24h_usd: float
    exch_ts_ns: int
    local_mono_ns: int


class FundingKind(enum.Enum):
    ESTIMATE = "estimate"
    SETTLED = "settled"


class FundingRate(msgspec.Struct, frozen=True):
    """`rate` is a fraction per `interval_s`; positive means longs pay shorts. Made only by per-endpoint parsers."""

    rate: float
    interval_s: int
    next_funding_ts_ns: int  # UTC; 0 = unknown
    kind: FundingKind
    source: str  # endpoint that said so, e.g. "ws.activeAssetCtx"

    @property
    def rate_per_hour(self) -> float:
        return self.rate * 3600 / self.interval_s

    @property
    def apr(self) -> float:
        """Fraction per year of 365 days."""
        return self.rate_per_hour * 24 * 365


class Liquidity(NamedTuple):
    """Executable average price (canonical) per side for `size_usd`; NaN where the book is too thin."""

    size_usd: float
    buy_px: float
    sell_px: float
    local_mono_ns: int


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution on our account. `fee_usd` positive = paid. `client_order_id` None = not ours (liquidation, manual)."""

    venue: Venue
    symbol: str
    side: Side
    lots: int
    px: Decimal  # venue units
    fee_usd: Decimal
    trade_id: str
    venue_order_id: str
    client_order_id: str | None
    liquidity: LiquiditySide
    ts_ns: int  # exchange time, UTC


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's own statement of one position; `lots` is signed (+ long)."""

    venue: Venue
    symbol: str
    lots: int
    avg_entry_px: Decimal  # venue units
    mark_px: Decimal = Decimal(0)  # venue units, 0 = not stated
    unrealized_usd: Decimal = Decimal(0)
    liquidation_px: Decimal | None = None  # venue units
    leverage: int = 0  # 0 = not stated


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's own statement of the account, in USD."""

    venue: Venue
    equity_usd: Decimal
    free_margin_usd: Decimal
    maintenance_margin_usd: Decimal
    ts_ns: int

    @property
    def margin_used_ratio(self) -> float:
        """Maintenance margin over equity; 1.0 is liquidation."""
        if self.equity_usd <= 0:
            return 1.0 if self.maintenance_margin_usd > 0 else 0.0
        return float(self.maintenance_margin_usd / self.equity_usd)
