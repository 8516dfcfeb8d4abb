"""Lighter's account rows and private frames as domain values. Pure. Shapes: docs/venues/lighter.md 2, 3, 4, 7, 8.

What is easily got wrong: `side` of an order is always empty (`is_ask` counts), sizes of positions carry no sign, initial
margin is percent here and 1e-4 elsewhere, fees of trades are rates in 1e-6 and absent when zero, order indices exceed
2^53, and the filled amount of an order tells the truth whatever its status. A row that does not decode raises Malformed; a
market that the catalogue lacks yields None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import Malformed
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, Venue
from executor.venues._decoding import DECODE_ERRORS, Millis, is_price, whole_lots
from executor.venues._lighter_answers import PostRow
from executor.venues.base import FeeRates, FundingPayment, TopOfBook, VenueOrder

VENUE = Venue("lighter")
MILLIONTH = Decimal("1e-6")
MAX_NUMBER = Decimal("1e18")
Listed = Mapping[int, Instrument]
NameOf = Callable[[int], str | None]
T = TypeVar("T")

STATUSES: dict[str, OrderStatus] = {
    "in-progress": OrderStatus.ACCEPTED,
    "pending": OrderStatus.ACCEPTED,
    "open": OrderStatus.ACCEPTED,
    "filled": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "canceled-post-only": OrderStatus.CANCELED,
    "canceled-reduce-only": OrderStatus.CANCELED,
    "canceled-position-not-allowed": OrderStatus.CANCELED,
    "canceled-margin-not-allowed": OrderStatus.CANCELED,
    "canceled-too-much-slippage": OrderStatus.EXPIRED,
    "canceled-not-enough-liquidity": OrderStatus.EXPIRED,
    "canceled-self-trade": OrderStatus.CANCELED,
    "canceled-expired": OrderStatus.EXPIRED,
    "canceled-oco": OrderStatus.CANCELED,
    "canceled-child": OrderStatus.CANCELED,
    "canceled-liquidation": OrderStatus.CANCELED,
    "canceled-invalid-balance": OrderStatus.CANCELED,
}


class OrderRow(msgspec.Struct):
    order_index: int
    client_order_index: int
    market_index: int
    initial_base_amount: Decimal
    filled_base_amount: Decimal
    filled_quote_amount: Decimal
    is_ask: bool
    status: str
    reduce_only: bool = False


class OrdersAnswer(msgspec.Struct):
    code: int
    orders: list[OrderRow] = []


class TradeRow(msgspec.Struct):
    trade_id: int
    market_id: int
    size: Decimal
    price: Decimal
    usd_amount: Decimal
    ask_id: int
    bid_id: int
    ask_account_id: int
    bid_account_id: int
    is_maker_ask: bool
    timestamp: Millis
    ask_client_id: int = 0
    bid_client_id: int = 0
    maker_fee: int = 0
    taker_fee: int = 0


class TradesAnswer(msgspec.Struct):
    code: int
    trades: list[TradeRow] = []
    next_cursor: str = ""


class PositionRow(msgspec.Struct):
    market_id: int
    sign: int
    position: Decimal
    avg_entry_price: Decimal
    initial_margin_fraction: Decimal
    position_value: Decimal = Decimal(0)
    unrealized_pnl: Decimal = Decimal(0)
    liquidation_price: Decimal = Decimal(0)
    margin_mode: int = 0


class AccountRow(msgspec.Struct):
    available_balance: Decimal
    total_asset_value: Decimal
    cross_maintenance_margin_requirement: Decimal
    positions: list[PositionRow] = []
    cancel_all_time: Annotated[int, msgspec.Meta(ge=0)] = 0  # when the switch strikes (UTC ms), 0 = off


class AccountAnswer(msgspec.Struct):
    code: int
    accounts: list[AccountRow] = []


class NonceAnswer(msgspec.Struct):
    code: int
    nonce: int


class LimitsAnswer(msgspec.Struct):
    code: int
    current_maker_fee_tick: int = 0
    current_taker_fee_tick: int = 0
    user_tier: str = ""


class FundingRow(msgspec.Struct):
    timestamp: Annotated[int, msgspec.Meta(ge=0, lt=1 << 33)]  # seconds
    market_id: int
    funding_id: int
    change: Decimal


class FundingAnswer(msgspec.Struct):
    code: int
    position_fundings: list[FundingRow] = []
    next_cursor: str = ""


class _Level(msgspec.Struct):
    price: Decimal


class BookAnswer(msgspec.Struct):
    code: int
    asks: list[_Level] = []
    bids: list[_Level] = []


class _Details(msgspec.Struct):
    market_id: int
    last_trade_price: Decimal = Decimal(0)
    mark_price: Decimal | None = None
    default_initial_margin_fraction: int = 0


class DetailsAnswer(msgspec.Struct):
    code: int
    order_book_details: list[_Details] = []


class TxRow(msgspec.Struct):
    """One of `account_tx`: `status` 0 failed, 1 pending, 2 executed, 3 final."""

    hash: str
    type: int
    status: int
    event_info: str = ""


class Frame(PostRow):
    """What every frame of the socket may carry; the rest is decoded by its type."""

    type: str = ""
    channel: str = ""
    timestamp: Millis = 0
    close_in_ms: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] = 0


class OrdersFrame(msgspec.Struct):
    orders: dict[str, list[OrderRow]]


class TradesFrame(msgspec.Struct):
    trades: dict[str, list[TradeRow]]


class PositionsFrame(msgspec.Struct):
    positions: dict[str, PositionRow]


class TxsFrame(msgspec.Struct):
    txs: list[TxRow]


_frame = msgspec.json.Decoder(Frame, strict=False)


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Numbers may be spelt as strings. Raises Malformed naming `what`."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except DECODE_ERRORS as error:
        raise Malformed(f"lighter {what}: {error}") from error


def decode_frame(data: bytes) -> Frame | None:
    """None for what is no frame."""
    try:
        return _frame.decode(data)
    except DECODE_ERRORS:
        return None


def order(row: OrderRow, listed: Listed, name_of: NameOf) -> VenueOrder | None:
    instrument = listed.get(row.market_index)
    if instrument is None:
        return None
    status = STATUSES.get(row.status)
    if status is None:
        raise Malformed(f"lighter order status {row.status!r} is not one that we know")
    _require_finite("order", row.filled_base_amount, row.filled_quote_amount)
    filled = lots_of(row.filled_base_amount, instrument)
    average = row.filled_quote_amount / row.filled_base_amount if filled else None
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=str(row.order_index),
        client_order_id=name_of(row.client_order_index) if row.client_order_index else None,
        side=Side.SELL if row.is_ask else Side.BUY,
        lots=lots_of(row.initial_base_amount, instrument),
        filled_lots=filled,
        status=status,
        avg_px=average if average is not None and is_price(average) else None,
        reduce_only=row.reduce_only,
    )


def fills(row: TradeRow, listed: Listed, account: int, name_of: NameOf) -> list[Fill]:
    """Our side of a trade; both sides of one with ourselves. A trade id is one side's unless it is both."""
    instrument = listed.get(row.market_id)
    if instrument is None:
        return []
    _require_finite("trade", row.price, row.usd_amount)
    if not is_price(row.price):
        raise Malformed(f"lighter trade {row.trade_id}: price {row.price}")
    found = []
    if row.ask_account_id == account:
        found.append((Side.SELL, row.ask_id, row.ask_client_id, row.is_maker_ask))
    if row.bid_account_id == account:
        found.append((Side.BUY, row.bid_id, row.bid_client_id, not row.is_maker_ask))
    return [
        Fill(
            venue=VENUE,
            symbol=instrument.symbol,
            side=side,
            lots=lots_of(row.size, instrument),
            px=row.price,
            fee_usd=row.usd_amount * (row.maker_fee if maker else row.taker_fee) * MILLIONTH,
            trade_id=str(row.trade_id) if len(found) == 1 else f"{row.trade_id}:{side.value}",
            venue_order_id=str(order_index),
            client_order_id=name_of(client_index) if client_index else None,
            liquidity=LiquiditySide.MAKER if maker else LiquiditySide.TAKER,
            ts_ns=row.timestamp * NS_PER_MS,
        )
        for side, order_index, client_index, maker in found
    ]


def position(row: PositionRow, listed: Listed) -> Position | None:
    """Flat ones too: rows stay for every market whose leverage was ever set."""
    instrument = listed.get(row.market_id)
    if instrument is None:
        return None
    limits = (row.liquidation_price, row.initial_margin_fraction)
    _require_finite("position", row.position, row.avg_entry_price, row.position_value, row.unrealized_pnl, *limits)
    size = abs(row.position) * (-1 if row.sign < 0 else 1)
    mark = (row.position_value / abs(size)).quantize(instrument.tick_size) if size else Decimal(0)
    return Position(
        venue=VENUE,
        symbol=instrument.symbol,
        lots=lots_of(size, instrument),
        avg_entry_px=row.avg_entry_price,
        mark_px=mark,
        unrealized_usd=row.unrealized_pnl,
        liquidation_px=row.liquidation_price if row.liquidation_price > 0 else None,
        leverage=leverage_of(row.initial_margin_fraction),
    )


def positions(rows: list[PositionRow], listed: Listed) -> tuple[list[Position], dict[str, Decimal]]:
    """Positions that are not flat, and the sizes of those whose market the catalogue lacks, by market id."""
    held = [row for row in rows if row.position]
    found = [each for row in held if (each := position(row, listed)) is not None]
    strange = [row for row in held if row.market_id not in listed]
    return found, {str(row.market_id): abs(row.position) * (-1 if row.sign < 0 else 1) for row in strange}


def leverage_of(percent: Decimal) -> int:
    """`5.00` percent of initial margin is 20x; 0 = not stated."""
    return int(100 / percent) if percent > 0 else 0


def balance(row: AccountRow, read_wire_ns: int) -> Balance:
    """The answer carries no time: `read_wire_ns` is when we asked."""
    maintenance = row.cross_maintenance_margin_requirement
    _require_finite("account", row.total_asset_value, row.available_balance, maintenance)
    return Balance(
        venue=VENUE,
        equity_usd=row.total_asset_value,
        free_margin_usd=max(Decimal(0), row.available_balance),
        maintenance_margin_usd=maintenance,
        ts_ns=read_wire_ns,
    )


def funding(row: FundingRow, listed: Listed) -> FundingPayment | None:
    """`change` is taken as what it did to the collateral (its sign is not settled on the venue's page)."""
    instrument = listed.get(row.market_id)
    if instrument is None:
        return None
    _require_finite("positionFunding", row.change)
    return FundingPayment(
        venue=VENUE,
        symbol=instrument.symbol,
        amount_usd=row.change,
        rate=None,
        ts_ns=row.timestamp * NS_PER_S,
        payment_id=f"{row.market_id}:{row.funding_id}",
    )


def fee_rates(row: LimitsAnswer) -> FeeRates:
    """Ticks of 1e-6."""
    return FeeRates(maker=row.current_maker_fee_tick / 1_000_000, taker=row.current_taker_fee_tick / 1_000_000)


def default_leverages(order_book_details: bytes) -> dict[int, int]:
    """What a market has whose leverage was never set, by market id."""
    rows = decode(order_book_details, DetailsAnswer, "orderBookDetails").order_book_details
    return {
        row.market_id: 10_000 // row.default_initial_margin_fraction
        for row in rows
        if row.default_initial_margin_fraction > 0
    }


def top(book: bytes, details: bytes) -> TopOfBook:
    """The mark is the row's own, else (older servers) its last trade."""
    levels = decode(book, BookAnswer, "orderBookOrders")
    rows = decode(details, DetailsAnswer, "orderBookDetails").order_book_details
    if len(rows) != 1:
        raise Malformed(f"lighter orderBookDetails: {len(rows)} rows for one market")
    mark = rows[0].mark_price if rows[0].mark_price is not None else rows[0].last_trade_price
    _require_finite("orderBookOrders", mark, *(level.price for level in (*levels.bids, *levels.asks)))
    return TopOfBook(
        bid_px=max((level.price for level in levels.bids), default=Decimal(0)),
        ask_px=min((level.price for level in levels.asks), default=Decimal(0)),
        mark_px=mark,
    )


def lots_of(size: Decimal, instrument: Instrument) -> int:
    """Signed whole lots; Malformed when the size is not a whole number of them."""
    lots = whole_lots(size, instrument)
    if lots is None:
        raise Malformed(f"lighter {instrument.venue_symbol}: size {size} is not in lots of {instrument.lot_size}")
    return lots


def _require_finite(what: str, *numbers: Decimal) -> None:
    """NaN, infinity and absurd magnitudes decode, and would break or pass every later comparison."""
    if not all(number.is_finite() and abs(number) < MAX_NUMBER for number in numbers):
        raise Malformed(f"lighter {what}: a number is not one to reckon with")
