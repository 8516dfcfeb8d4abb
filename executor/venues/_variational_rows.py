"""Rows of Variational's web interface as ours (docs/venues/variational.md 3b and 8).

An order that cleared is one fill: there are no partial fills and no fees, so its rfq id names both. What `/api/trades` holds is
not recorded [unsure], and nothing here needs it; a liquidation that no order stands for shows as a position that we cannot
explain.

The venue's steps are finer than our lots (core.specs.variational). What somebody else traded there may be no whole number of
them: the part below a lot is cut off here and told apart.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.errors import Malformed
from core.specs import variational as specs
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side
from executor.venues._decoding import DECODE_ERRORS, is_price
from executor.venues.base import FundingPayment, VenueOrder

PERPETUAL = "perpetual_future"
SIDE = {"buy": Side.BUY, "sell": Side.SELL}
STATUS = {
    "pending": OrderStatus.ACCEPTED,
    "cleared": OrderStatus.FILLED,
    "rejected": OrderStatus.REJECTED,
    "canceled": OrderStatus.CANCELED,
}
FUNDING = "funding"
Symbols = Mapping[str, Instrument]
"""By ticker."""


class InstrumentRow(msgspec.Struct):
    underlying: str
    instrument_type: str


class OrderRow(msgspec.Struct):
    rfq_id: str
    instrument: InstrumentRow
    side: str
    status: str
    created_at: datetime.datetime
    qty: Decimal | None = None
    price: Decimal | None = None
    clearing_status: str | None = None
    is_reduce_only: bool = False
    tif: str = ""

    @property
    def created_ns(self) -> int:
        return specs.ns_of(self.created_at)


class Orders(msgspec.Struct):
    result: list[OrderRow]


class TransferRow(msgspec.Struct):
    created_at: datetime.datetime
    qty: Decimal
    id: str = ""
    transfer_type: str = ""
    funding_rate: Decimal | None = None  # of one interval, unlike everywhere else
    reference_instrument: InstrumentRow | None = None


class Transfers(msgspec.Struct):
    result: list[TransferRow]


class _Info(msgspec.Struct):
    instrument: InstrumentRow
    qty: Decimal
    avg_entry_price: Decimal


class _Price(msgspec.Struct):
    price: Decimal


class PositionRow(msgspec.Struct):
    position_info: _Info
    price_info: _Price
    upnl: Decimal = Decimal(0)
    estimated_liquidation_price: Decimal | None = None


class _Usage(msgspec.Struct):
    initial_margin: Decimal
    maintenance_margin: Decimal


class Portfolio(msgspec.Struct):
    balance: Decimal
    upnl: Decimal
    margin_usage: _Usage


class _Limits(msgspec.Struct):
    min_qty_tick: Decimal
    min_qty: Decimal
    max_qty: Decimal


class _BothLimits(msgspec.Struct):
    bid: _Limits
    ask: _Limits


class QuoteRow(msgspec.Struct):
    instrument: InstrumentRow
    qty: Decimal
    quote_id: str
    timestamp: datetime.datetime
    mark_price: Decimal
    qty_limits: _BothLimits
    bid: Decimal | None = None
    ask: Decimal | None = None

    def refuses(self, qty: Decimal) -> str:
        """Why `qty` cannot be taken; "" when it can. Which side's limits bind a purchase is disputed [unsure]: both do."""
        for limits in (self.qty_limits.bid, self.qty_limits.ask):
            require_finite(limits.min_qty_tick, limits.min_qty, limits.max_qty)
            if limits.min_qty_tick <= 0 or qty % limits.min_qty_tick:
                return f"the size step is {limits.min_qty_tick}"
            if not limits.min_qty <= qty <= limits.max_qty:
                return f"sizes are {limits.min_qty} to {limits.max_qty} now"
        return ""


class AssetRow(msgspec.Struct):
    instrument_type: str = ""
    has_perp: bool = False
    is_close_only_mode: bool = False


class LeverageRow(msgspec.Struct):
    current: Decimal


T = TypeVar("T")


def decode(body: bytes, kind: type[T], path: str) -> T:
    """Raises Malformed."""
    try:
        return msgspec.json.decode(body, type=kind)
    except DECODE_ERRORS as error:
        raise Malformed(f"variational {path}: {error}") from error


def require_finite(*values: Decimal | None) -> None:
    """Raises Malformed where one is no number: arithmetic on it would stop the process."""
    for value in values:
        if value is not None and not value.is_finite():
            raise Malformed(f"variational: {value} where a number should be")


def cut(size: Decimal, instrument: Instrument) -> tuple[int, Decimal]:
    """`size` as signed whole lots, and what is left below one. Raises Malformed where it is no size."""
    try:
        lots, rest = divmod(size, instrument.lot_size)
    except decimal.InvalidOperation as error:
        raise Malformed(f"variational: {size} is no size of {instrument.symbol}") from error
    return int(lots), rest


def instrument_of(row: InstrumentRow | None, symbols: Symbols) -> Instrument | None:
    if row is None or row.instrument_type != PERPETUAL:
        return None
    return symbols.get(row.underlying)


def order(row: OrderRow, symbols: Symbols, client_order_id: str | None) -> VenueOrder | None:
    """None for what is not in the catalogue, or has no size."""
    instrument, side, status = instrument_of(row.instrument, symbols), SIDE.get(row.side), STATUS.get(row.status)
    if instrument is None or side is None or status is None or row.qty is None:
        return None
    require_finite(row.qty, row.price)
    lots, _ = cut(abs(row.qty), instrument)
    filled = lots if status is OrderStatus.FILLED else 0
    px = row.price if filled and row.price is not None and is_price(row.price) else None
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=row.rfq_id,
        client_order_id=client_order_id,
        side=side,
        lots=lots,
        filled_lots=filled,
        status=status,
        avg_px=px,
        reduce_only=row.is_reduce_only,
    )


def fill(row: OrderRow, symbols: Symbols, client_order_id: str | None) -> Fill | None:
    """Of an order that cleared; None for any other. Raises Malformed for one without a price."""
    told = order(row, symbols, client_order_id)
    if told is None or not told.filled_lots:
        return None
    if told.avg_px is None:
        raise Malformed(f"variational: order {row.rfq_id} cleared at no price")
    return Fill(
        venue=specs.VENUE,
        symbol=told.symbol,
        side=told.side,
        lots=told.filled_lots,
        px=told.avg_px,
        fee_usd=Decimal(0),
        trade_id=row.rfq_id,
        venue_order_id=row.rfq_id,
        client_order_id=client_order_id,
        liquidity=LiquiditySide.TAKER,
        ts_ns=row.created_ns,
    )


def position(row: PositionRow, instrument: Instrument, lots: int) -> Position:
    liquidation, info = row.estimated_liquidation_price, row.position_info
    require_finite(info.avg_entry_price, row.price_info.price, row.upnl, liquidation)
    return Position(
        venue=specs.VENUE,
        symbol=instrument.symbol,
        lots=lots,
        avg_entry_px=info.avg_entry_price,
        mark_px=row.price_info.price,
        unrealized_usd=row.upnl,
        liquidation_px=liquidation if liquidation is not None and is_price(liquidation) else None,
    )


def balance(row: Portfolio, wire_ns: int) -> Balance:
    """Equity is balance plus unrealised result; what initial margin does not hold is free."""
    require_finite(row.balance, row.upnl, row.margin_usage.initial_margin, row.margin_usage.maintenance_margin)
    equity = row.balance + row.upnl
    return Balance(
        venue=specs.VENUE,
        equity_usd=equity,
        free_margin_usd=max(Decimal(0), equity - row.margin_usage.initial_margin),
        maintenance_margin_usd=row.margin_usage.maintenance_margin,
        ts_ns=wire_ns,
    )


def funding(row: TransferRow, symbols: Symbols) -> FundingPayment | None:
    """None for every other transfer. `qty` is cash, signed to us."""
    instrument = instrument_of(row.reference_instrument, symbols)
    if instrument is None or row.funding_rate is None or row.transfer_type not in ("", FUNDING):
        return None
    require_finite(row.qty, row.funding_rate)
    created_ns = specs.ns_of(row.created_at)
    return FundingPayment(
        venue=specs.VENUE,
        symbol=instrument.symbol,
        amount_usd=row.qty,
        rate=float(row.funding_rate),
        ts_ns=created_ns,
        payment_id=row.id or f"{instrument.venue_symbol}:{created_ns}",
    )
