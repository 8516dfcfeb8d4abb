"""GRVT's account rows and private feeds as domain values. Pure. Shapes: docs/venues/grvt.md 7, 8. Times are ns as strings.

A row that does not decode raises Malformed; an instrument that the catalogue lacks yields None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from core.errors import Malformed
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, Venue
from executor.venues._decoding import DECODE_ERRORS, is_price, whole_lots
from executor.venues.base import FeeRates, FundingPayment, TopOfBook, VenueOrder

VENUE = Venue("grvt")
SETTLE_CCY = "USDT"
CENTIBEEPS = 1_000_000  # in one
Nanos = Annotated[int, Meta(ge=0, le=4_102_444_800_000_000_000)]
Listed = Mapping[str, Instrument]
Names = Callable[[int], str | None]
"""Client order number -> our id, None for a foreign one."""
T = TypeVar("T")

_ENDED_BY_ITSELF = frozenset({"IOC_CANCEL", "MARKET_CANCEL", "FOK_CANCEL", "EXPIRED"})
_STATUSES = {
    "PENDING": OrderStatus.ACCEPTED,
    "OPEN": OrderStatus.ACCEPTED,
    "FILLED": OrderStatus.FILLED,
    "REJECTED": OrderStatus.CANCELED,  # in matching, after the acknowledgement: an end without a fill
    "CANCELLED": OrderStatus.CANCELED,
}


class Leg(msgspec.Struct):
    instrument: str
    size: Decimal
    is_buying_asset: bool


class OrderState(msgspec.Struct):
    status: str
    reject_reason: str = ""
    traded_size: list[Decimal] = []
    avg_fill_price: list[Decimal] = []


class Metadata(msgspec.Struct):
    client_order_id: int


class OrderRow(msgspec.Struct):
    order_id: str
    legs: list[Leg]
    metadata: Metadata
    state: OrderState
    reduce_only: bool = False


class FillRow(msgspec.Struct):
    event_time: Nanos
    instrument: str
    is_buyer: bool
    is_taker: bool
    size: Decimal
    price: Decimal
    fee: Decimal
    trade_id: str
    order_id: str
    client_order_id: int = 0


class PositionRow(msgspec.Struct):
    instrument: str
    size: Decimal
    entry_price: Decimal = Decimal(0)
    mark_price: Decimal = Decimal(0)
    unrealized_pnl: Decimal = Decimal(0)
    est_liquidation_price: Decimal = Decimal(0)
    leverage: Decimal = Decimal(0)


class SummaryRow(msgspec.Struct):
    total_equity: Decimal
    maintenance_margin: Decimal
    available_balance: Decimal
    settle_index_price: Decimal = Decimal(1)
    settle_currency: str = SETTLE_CCY


class PaymentRow(msgspec.Struct):
    event_time: Nanos
    instrument: str
    amount: Decimal
    tx_id: str
    currency: str = SETTLE_CCY


class TierRow(msgspec.Struct):
    futures_taker_fee: int
    futures_maker_fee: int


class TierAnswer(msgspec.Struct):
    tier: TierRow


class AccountsAnswer(msgspec.Struct):
    sub_account_ids: list[str]


class OrderAnswer(msgspec.Struct):
    result: OrderRow


class Page(msgspec.Struct, Generic[T]):
    """Newest first; `next` is the cursor of the following page, empty at the end."""

    result: list[T]
    next: str = ""


class PositionsAnswer(msgspec.Struct):
    result: list[PositionRow]


class SummaryAnswer(msgspec.Struct):
    result: SummaryRow


class Confirmed(msgspec.Struct):
    """Of set_initial_leverage and set_position_config."""

    success: bool = False
    ack: bool = False


class _Level(msgspec.Struct):
    price: Decimal


class _Book(msgspec.Struct):
    bids: list[_Level] = []
    asks: list[_Level] = []


class _BookAnswer(msgspec.Struct):
    result: _Book


class _Mini(msgspec.Struct):
    mark_price: Decimal


class _MiniAnswer(msgspec.Struct):
    result: _Mini


class TimeAnswer(msgspec.Struct):
    server_time: Annotated[int, Meta(ge=0, le=4_102_444_800_000)]  # ms


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Strings are taken for numbers, as the venue spells them. Raises Malformed naming `what`."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except DECODE_ERRORS as error:
        raise Malformed(f"grvt {what}: {error}") from error


def order(row: OrderRow, listed: Listed, names: Names) -> VenueOrder | None:
    """Ended by its own rule (IOC remainder, the signature's time) = EXPIRED; whatever it says, `filled_lots` counts."""
    if len(row.legs) != 1:
        raise Malformed(f"grvt order {row.order_id}: {len(row.legs)} legs")
    leg = row.legs[0]
    instrument = listed.get(leg.instrument)
    if instrument is None:
        return None
    status = _STATUSES.get(row.state.status)
    if status is None:
        raise Malformed(f"grvt order status {row.state.status!r} is not one that we know")
    if row.state.status == "CANCELLED" and row.state.reject_reason in _ENDED_BY_ITSELF:
        status = OrderStatus.EXPIRED
    average = row.state.avg_fill_price[0] if row.state.avg_fill_price else Decimal(0)
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id="" if set(row.order_id) <= set("0x") else row.order_id,
        client_order_id=names(row.metadata.client_order_id),
        side=Side.BUY if leg.is_buying_asset else Side.SELL,
        lots=lots_of(leg.size, instrument),
        filled_lots=lots_of(row.state.traded_size[0], instrument) if row.state.traded_size else 0,
        status=status,
        avg_px=average if is_price(average) else None,
        reduce_only=row.reduce_only,
    )


def fill(row: FillRow, listed: Listed, names: Names) -> Fill | None:
    """`fee` > 0 is paid, in USDT."""
    instrument = listed.get(row.instrument)
    if instrument is None:
        return None
    if not is_price(row.price) or not row.fee.is_finite():
        raise Malformed(f"grvt fill {row.trade_id}: price {row.price}, fee {row.fee}")
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=Side.BUY if row.is_buyer else Side.SELL,
        lots=lots_of(row.size, instrument),
        px=row.price,
        fee_usd=row.fee,
        trade_id=row.trade_id,
        venue_order_id=row.order_id,
        client_order_id=names(row.client_order_id),
        liquidity=LiquiditySide.TAKER if row.is_taker else LiquiditySide.MAKER,
        ts_ns=row.event_time,
    )


def position(row: PositionRow, listed: Listed) -> Position | None:
    """`size` is signed."""
    instrument = listed.get(row.instrument)
    if instrument is None:
        return None
    return Position(
        venue=VENUE,
        symbol=instrument.symbol,
        lots=lots_of(row.size, instrument),
        avg_entry_px=row.entry_price,
        mark_px=row.mark_price,
        unrealized_usd=row.unrealized_pnl,
        liquidation_px=row.est_liquidation_price if is_price(row.est_liquidation_price) else None,
        leverage=int(row.leverage) if row.leverage.is_finite() else 0,
    )


def positions(rows: list[PositionRow], listed: Listed) -> tuple[list[Position], dict[str, Decimal]]:
    """Those that are not flat, and the sizes of those that the catalogue lacks."""
    found: list[Position] = []
    strange: dict[str, Decimal] = {}
    for row in rows:
        if not row.size:
            continue
        told = position(row, listed)
        if told is None:
            strange[row.instrument] = row.size
        else:
            found.append(told)
    return found, strange


def balance(row: SummaryRow, read_wire_ns: int) -> Balance:
    """Amounts are in USDT: the settle index makes them dollars."""
    usd = row.settle_index_price
    if row.settle_currency != SETTLE_CCY or not is_price(usd):
        raise Malformed(
            f"grvt account_summary: settles in {row.settle_currency} at {usd}; this account is not understood"
        )
    return Balance(
        venue=VENUE,
        equity_usd=row.total_equity * usd,
        free_margin_usd=max(Decimal(0), row.available_balance * usd),
        maintenance_margin_usd=row.maintenance_margin * usd,
        ts_ns=read_wire_ns,
    )


def payment(row: PaymentRow, listed: Listed) -> FundingPayment | None:
    """The venue's amount is positive when paid: ours is negative then."""
    instrument = listed.get(row.instrument)
    if instrument is None:
        return None
    return FundingPayment(
        venue=VENUE,
        symbol=instrument.symbol,
        amount_usd=-row.amount,
        rate=None,
        ts_ns=row.event_time,
        payment_id=f"{row.instrument}:{row.tx_id}:{row.event_time}",
    )


def fee_rates(row: TierRow) -> FeeRates:
    """Hundredths of a basis point."""
    return FeeRates(maker=row.futures_maker_fee / CENTIBEEPS, taker=row.futures_taker_fee / CENTIBEEPS)


def top(book: bytes, mini: bytes) -> TopOfBook:
    levels = decode(book, _BookAnswer, "book").result
    return TopOfBook(
        bid_px=levels.bids[0].price if levels.bids else Decimal(0),
        ask_px=levels.asks[0].price if levels.asks else Decimal(0),
        mark_px=decode(mini, _MiniAnswer, "mini").result.mark_price,
    )


def lots_of(size: Decimal, instrument: Instrument) -> int:
    """Signed whole lots; Malformed when the size is not a whole number of them."""
    lots = whole_lots(size, instrument)
    if lots is None:
        raise Malformed(f"grvt {instrument.venue_symbol}: size {size} is not in lots of {instrument.lot_size}")
    return lots
