"""The words of a sandbox venue: contracts, orders, fills, positions, and what may go wrong with an order.

All prices and sizes are Decimals in the venue's own units (per 1000 tokens where `Contract.multiplier` is 1000).
State objects (Order, Position, AccountState) are mutable and owned by one Exchange; everything else is a frozen value.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Protocol

import msgspec

from core.types import LiquiditySide, Side, TimeInForce

ZERO = Decimal(0)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """One perpetual or spot pair of one venue. `symbol` is canonical ("PEPE"), `name` the venue's ("kPEPE", "1000PEPEUSDT")."""

    symbol: str
    name: str
    tick: Decimal
    lot: Decimal
    min_notional: Decimal
    min_qty: Decimal = ZERO
    max_leverage: int
    multiplier: int = 1  # canonical units in one venue unit
    sigfigs: int = 0  # 0 = no rule; else at most so many significant figures, whole numbers always allowed
    maintenance_ratio: Decimal  # of notional
    default_leverage: int = 20
    price_band: Decimal = Decimal("0.8")  # a limit price further from the mark than this fraction is refused...
    band_both_sides: bool = True  # ...on both sides, or only where it is too aggressive
    funding_interval_h: int = 1
    funding_step: Decimal = Decimal("0.0000000001")  # settled and shown rates are multiples of this fraction
    listed: bool = True  # False: kept in the listing for its index only, never traded

    def tick_at(self, px: Decimal) -> Decimal:
        """The price step that applies at `px`."""
        if not self.sigfigs or px <= 0:
            return self.tick
        return max(self.tick, min(Decimal(1), Decimal(1).scaleb(px.adjusted() - self.sigfigs + 1)))


class Reject(enum.Enum):
    """Why an order, cancel or setting was refused. Each venue words them as its real venue does."""

    UNKNOWN_SYMBOL = "unknown_symbol"
    TICK = "tick"
    LOT = "lot"
    ZERO_SIZE = "zero_size"
    MIN_NOTIONAL = "min_notional"
    MIN_QTY = "min_qty"
    MARGIN = "margin"
    REDUCE_ONLY = "reduce_only"
    POST_ONLY_WOULD_CROSS = "post_only_would_cross"
    IOC_NO_MATCH = "ioc_no_match"
    PRICE_BAND = "price_band"
    LEVERAGE = "leverage"
    UNKNOWN_ORDER = "unknown_order"
    DUPLICATE_CLIENT_ID = "duplicate_client_id"
    TOO_MANY_ORDERS = "too_many_orders"
    POSITION_MARGIN = "position_margin"  # isolated margin change refused, or a margin mode change with a position


class OrderState(enum.Enum):
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"  # see Order.cancel_reason
    REJECTED = "rejected"  # see Order.reject


class CancelReason(enum.Enum):
    USER = "user"
    IOC_REMAINDER = "ioc_remainder"
    REDUCE_ONLY = "reduce_only"  # nothing left to reduce
    SELF_TRADE = "self_trade"
    LIQUIDATED = "liquidated"
    SCHEDULED = "scheduled"  # the venue's dead-man switch
    MARGIN = "margin"
    EXPIRED = "expired"  # the order's own time limit


class SelfTrade(enum.Enum):
    EXPIRE_MAKER = "expire_maker"
    EXPIRE_TAKER = "expire_taker"
    EXPIRE_BOTH = "expire_both"


class FundingBasis(enum.Enum):
    """Which price turns a funding rate into money (TRAPS T5)."""

    ORACLE = "oracle"
    MARK = "mark"


class Order(msgspec.Struct, kw_only=True):
    """One order, live or past. `remaining` = qty - filled; `avg_px` is 0 until something filled."""

    order_id: int
    account: str
    name: str  # contract name
    side: Side
    px: Decimal  # a market order carries the worst price it may reach
    qty: Decimal  # after a reduce-only shrink
    requested_qty: Decimal
    tif: TimeInForce
    reduce_only: bool
    is_market: bool = False
    client_id: str | None = None
    state: OrderState = OrderState.OPEN
    reject: Reject | None = None
    cancel_reason: CancelReason | None = None
    filled: Decimal = ZERO
    filled_notional: Decimal = ZERO
    created_ns: int  # wire
    updated_ns: int  # wire
    extra_fee: Decimal = ZERO  # fraction of notional on top of the venue's own (a builder's)
    memo: str = ""  # what the venue's file wants to find again with the order, durable with it

    @property
    def remaining(self) -> Decimal:
        return self.qty - self.filled

    @property
    def avg_px(self) -> Decimal:
        return self.filled_notional / self.filled if self.filled else ZERO

    @property
    def is_open(self) -> bool:
        return self.state is OrderState.OPEN


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of one account's order. `fee` > 0 is paid. `realized` excludes fees."""

    trade_id: int
    order_id: int
    account: str
    name: str
    side: Side
    px: Decimal
    qty: Decimal
    fee: Decimal
    liquidity: LiquiditySide
    realized: Decimal
    start_qty: Decimal  # signed position before
    client_id: str | None
    time_ns: int  # wire
    liquidation: bool = False
    mark_px: Decimal = ZERO


class FundingPayment(msgspec.Struct, frozen=True, kw_only=True):
    """Cash moved at a settlement: `cash` < 0 was paid. `rate` is the fraction for the contract's whole interval."""

    payment_id: int
    account: str
    name: str
    rate: Decimal
    qty: Decimal  # signed
    px: Decimal
    cash: Decimal
    time_ns: int  # calendar, the settlement's own instant


class FundingPoint(msgspec.Struct, frozen=True):
    """One settled rate: fraction per the contract's interval; longs pay shorts when positive."""

    rate: Decimal
    premium: Decimal
    time_ns: int  # calendar


class Level(msgspec.Struct, frozen=True, array_like=True):
    px: Decimal
    qty: Decimal
    orders: int = 1


class Top(msgspec.Struct, frozen=True, array_like=True):
    """Best bid and ask. A side that is empty is None."""

    bid: Level | None
    ask: Level | None
    time_ns: int  # wire


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """A public print. `side` is the taker's."""

    trade_id: int
    name: str
    side: Side
    px: Decimal
    qty: Decimal
    time_ns: int
    buyer: str
    seller: str


class Position(msgspec.Struct, kw_only=True):
    """Net position of one account in one contract; kept (flat) for its settings. `qty` is signed. On a spot venue the
    wallet of the base asset, where `qty` is what it holds, held by orders or not, and the settings mean nothing."""

    name: str
    qty: Decimal = ZERO
    entry_px: Decimal = ZERO
    leverage: int = 20
    cross: bool = True
    isolated_margin: Decimal = ZERO  # cash set aside while isolated and not flat
    funding_all: Decimal = ZERO  # cash paid since ever (positive = paid)
    funding_open: Decimal = ZERO  # since the position was opened
    updated_ns: int = 0


class AccountState(msgspec.Struct, kw_only=True):
    """What is durable of an account. `cash` excludes isolated margin and unrealised PnL; on a spot venue it is the wallet of
    the quote currency."""

    address: str
    cash: Decimal
    agents: list[str] = []
    positions: dict[str, Position] = {}
    volume: Decimal = ZERO  # traded, USD
    requests: int = 0  # signed actions so far
    extras: dict[str, str] = {}  # venue-specific durable settings


class Margin(msgspec.Struct, frozen=True, kw_only=True):
    """An account's figures in USD at the current marks. Cross figures leave isolated positions out."""

    equity: Decimal  # cash + isolated margin + unrealised PnL of everything
    cross_equity: Decimal
    initial: Decimal  # cross positions at their leverage
    isolated: Decimal  # isolated margin + unrealised PnL of isolated positions
    orders: Decimal  # reserved by resting orders that would open
    maintenance: Decimal  # cross
    unrealized: Decimal
    notional: Decimal  # sum of absolute notionals
    cross_notional: Decimal
    free: Decimal  # cross_equity - initial - orders, at least 0


class Refused(msgspec.Struct, frozen=True):
    """A setting, cancel or amendment that the venue refuses."""

    reason: Reject


class Placed(msgspec.Struct, frozen=True):
    """The answer to an order. `order.state` REJECTED carries `order.reject`; fills are in match order."""

    order: Order
    fills: tuple[Fill, ...] = ()
    top: Top | None = None  # the book the order met


class MinNotionalExempt(enum.Enum):
    """Which orders may be smaller than the minimum notional."""

    WHOLE_CLOSE = "whole_close"  # those that close the whole position, reduce-only or not
    REDUCE_ONLY = "reduce_only"
    NONE = "none"


class NonceVerdict(enum.Enum):
    OK = "ok"
    DUPLICATE = "duplicate"
    TOO_LOW = "too_low"  # not above the smallest of the nonces that the venue keeps


class DayStats(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the last 24 h, in venue units and USD."""

    open_interest: Decimal
    volume_base: Decimal
    volume_usd: Decimal
    trades: int
    open_px: Decimal
    high_px: Decimal
    low_px: Decimal
    last_px: Decimal


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One step of the market for one contract, in canonical units and USD; floats, as the walk makes them.

    `seed` decides the shape of the deeper book; `print_usd` is the size of a public trade at the touch, 0 = none,
    negative = a seller hits the bid.
    """

    mid: float
    oracle: float
    mark: float
    half_spread_bps: float
    bid_usd: float
    ask_usd: float
    print_usd: float
    seed: int


class MarketState(msgspec.Struct, frozen=True, kw_only=True, tag="market"):
    """Where the walk stands: enough to go on after a restart. Basis in bps by venue and symbol; fair in USD."""

    step: int
    fair: dict[str, float]
    basis_bps: dict[str, dict[str, float]]
    smooth_bps: dict[str, dict[str, float]]


class Transaction(msgspec.Struct, kw_only=True, omit_defaults=True, tag="books"):
    """Everything that one step changed, as resulting states: applying it twice changes nothing. One line of the log."""

    venue: str
    accounts: dict[str, AccountState] = {}
    orders: list[Order] = []
    fills: list[Fill] = []
    payments: list[FundingPayment] = []
    nonces: list[tuple[str, int]] = []
    settled_ns: int = 0  # calendar, the last settlement paid; 0 = unchanged


class Listener(Protocol):
    """What a venue hears from its Exchange, after the change is durable and in the order it happened."""

    def book_changed(self, contract: Contract) -> None: ...
    def traded(self, trade: Trade) -> None: ...
    def order_changed(self, order: Order) -> None:
        """Accepted and resting, (partly) filled, canceled or rejected. Called once per change, before its fills."""

    def filled(self, order: Order, fill: Fill) -> None: ...
    def funding_paid(self, payment: FundingPayment) -> None: ...
    def account_changed(self, account: AccountState) -> None:
        """Cash, positions or settings differ; called once per transaction, after orders and fills."""
