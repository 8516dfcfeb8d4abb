"""Pacifica's account rows as domain values: fills, orders, positions, balance, funding. Pure.

Shapes: docs/venues/pacifica.md 4, 7 and 8. Numbers come as decimal strings, sizes are positive and become whole lots of the
given instrument, a side says which way. A row that does not decode raises Malformed; a symbol that the catalogue lacks
(spot) yields None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.ids import parse_client_order_id
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, Venue
from executor.venues._decoding import DECODE_ERRORS, Millis, is_price, whole_lots
from executor.venues.base import FeeRates, FundingPayment, TopOfBook, VenueOrder

VENUE = Venue("pacifica")
Symbols = Mapping[str, Instrument]
"""By venue symbol."""
T = TypeVar("T")

_SIDES = {"bid": Side.BUY, "ask": Side.SELL}
_STATUSES = {
    "open": OrderStatus.ACCEPTED,
    "partially_filled": OrderStatus.ACCEPTED,
    "filled": OrderStatus.FILLED,
    "cancelled": OrderStatus.CANCELED,
    "rejected": OrderStatus.REJECTED,
}
_LIQUIDITY = {"fulfill_taker": LiquiditySide.TAKER, "fulfill_maker": LiquiditySide.MAKER}
_FILL_SIDES = {"open_long": Side.BUY, "close_short": Side.BUY, "open_short": Side.SELL, "close_long": Side.SELL}
NORMAL = "normal"


class FillRow(msgspec.Struct):
    """A row of trades/history. `cause` other than "normal": the venue itself closed us."""

    history_id: int
    order_id: int
    symbol: str
    amount: Decimal
    price: Decimal
    fee: Decimal
    event_type: str
    side: str
    created_at: Millis
    client_order_id: str | None = None
    cause: str = NORMAL


class FillUpdate(msgspec.Struct):
    """A row of account_trades: the same under short names."""

    h: int
    i: int
    s: str
    a: Decimal
    p: Decimal
    f: Decimal
    te: str
    ts: str
    t: Millis
    I: str | None = None  # noqa: E741 - the venue's name
    tc: str = NORMAL

    def row(self) -> FillRow:
        return FillRow(self.h, self.i, self.s, self.a, self.p, self.f, self.te, self.ts, self.t, self.I, self.tc)


class OrderRow(msgspec.Struct):
    """A row of `orders`, `orders/history` or `orders/history_by_id`; they name the size and the status differently, and
    open orders have no status at all."""

    order_id: int
    symbol: str
    side: str
    filled_amount: Decimal
    client_order_id: str | None = None
    initial_amount: Decimal | None = None
    amount: Decimal | None = None
    order_status: str = "open"
    average_filled_price: Decimal | None = None
    reduce_only: bool = False
    created_at: Millis = 0
    history_id: int = 0  # of an event of history_by_id


class OrderUpdate(msgspec.Struct):
    """A row of account_order_updates."""

    i: int
    s: str
    d: str
    a: Decimal
    f: Decimal
    os: str
    I: str | None = None  # noqa: E741 - the venue's name
    p: Decimal | None = None
    r: bool = False
    li: int = 0

    def row(self) -> OrderRow:
        return OrderRow(
            self.i, self.s, self.d, self.f, self.I, self.a, None, self.os, self.p if self.f else None, self.r
        )


class PositionRow(msgspec.Struct):
    symbol: str
    side: str
    amount: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None


class AccountRow(msgspec.Struct):
    account_equity: Decimal
    available_to_spend: Decimal
    cross_mmr: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    positions_count: int
    orders_count: int
    updated_at: Millis


class SettingsRow(msgspec.Struct):
    symbol: str
    leverage: int
    isolated: bool = False


class PaymentRow(msgspec.Struct):
    history_id: int
    symbol: str
    payout: Decimal
    rate: Decimal
    created_at: Millis


class PriceRow(msgspec.Struct):
    symbol: str
    mark: Decimal | None = None


class _Level(msgspec.Struct):
    p: Decimal


class Book(msgspec.Struct):
    l: tuple[list[_Level], list[_Level]]  # noqa: E741 - the venue's name


class Envelope(msgspec.Struct):
    """Around every REST answer."""

    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    code: int | None = None
    error_id: str | None = None
    next_cursor: str | None = None
    has_more: bool = False


def decode(data: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """Raises Malformed naming `what`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except DECODE_ERRORS as error:
        raise Malformed(f"pacifica {what}: {error}") from error


def wire_id(client_order_id: str) -> str:
    """Our 32 hex digits as the full UUID text that the venue wants."""
    text = client_order_id
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def client_id(text: str | None) -> str | None:
    """Our id in 32 hex digits, or None for none or a foreign one."""
    digits = (text or "").replace("-", "").lower()
    return digits if parse_client_order_id(digits) is not None else None


def fill(row: FillRow, symbols: Symbols) -> Fill | None:
    instrument = symbols.get(row.symbol)
    if instrument is None:
        return None
    side = _FILL_SIDES.get(row.side)
    if side is None or not is_price(row.price) or not row.fee.is_finite():
        raise Malformed(f"pacifica fill {row.history_id}: side {row.side!r}, price {row.price}, fee {row.fee}")
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=side,
        lots=lots_of(row.amount, instrument),
        px=row.price,
        fee_usd=row.fee,
        trade_id=str(row.history_id),
        venue_order_id=str(row.order_id),
        client_order_id=client_id(row.client_order_id) if row.cause == NORMAL else None,
        liquidity=_LIQUIDITY.get(row.event_type, LiquiditySide.UNKNOWN),
        ts_ns=row.created_at * NS_PER_MS,
    )


def order(row: OrderRow, symbols: Symbols) -> VenueOrder | None:
    """Raises Malformed for a status of no known word: guessing would be trading on it."""
    instrument = symbols.get(row.symbol)
    if instrument is None:
        return None
    status, size = _STATUSES.get(row.order_status), row.initial_amount if row.amount is None else row.amount
    if status is None or size is None:
        raise Malformed(f"pacifica order {row.order_id}: status {row.order_status!r}, size {size}")
    lots, filled = lots_of(size, instrument), lots_of(row.filled_amount, instrument)
    if filled > lots or (status is OrderStatus.FILLED and filled < lots and not row.reduce_only):
        raise Malformed(f"pacifica order {row.order_id}: {row.order_status} with {filled} of {lots} lots")
    average = row.average_filled_price
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=str(row.order_id),
        client_order_id=client_id(row.client_order_id),
        side=_side(row.side),
        lots=lots,
        filled_lots=filled,
        status=status,
        avg_px=average if filled and average is not None and is_price(average) else None,
        reduce_only=row.reduce_only,
    )


def positions(
    rows: Iterable[PositionRow], marks: Mapping[str, Decimal], symbols: Symbols
) -> tuple[list[Position], dict[str, Decimal]]:
    """Positions, and signed sizes by venue symbol where the catalogue lacks the symbol. The venue states neither mark nor
    profit: both come from its prices."""
    found: list[Position] = []
    strange: dict[str, Decimal] = {}
    for row in rows:
        sign = _side(row.side).sign
        instrument = symbols.get(row.symbol)
        if instrument is None:
            strange[row.symbol] = row.amount * sign
            continue
        lots = lots_of(row.amount, instrument) * sign
        if not lots:
            continue
        mark = marks.get(row.symbol, Decimal(0))
        found.append(
            Position(
                venue=VENUE,
                symbol=instrument.symbol,
                lots=lots,
                avg_entry_px=row.entry_price,
                mark_px=mark,
                unrealized_usd=(mark - row.entry_price) * row.amount * sign if mark else Decimal(0),
                liquidation_px=row.liquidation_price,
            )
        )
    return found, strange


def balance(row: AccountRow) -> Balance:
    """`cross_mmr` is the maintenance requirement in USDC, not a ratio."""
    figures = (row.account_equity, row.available_to_spend, row.cross_mmr)
    if not all(each.is_finite() for each in figures):
        raise Malformed(f"pacifica account: {figures}")
    return Balance(
        venue=VENUE,
        equity_usd=row.account_equity,
        free_margin_usd=max(Decimal(0), row.available_to_spend),
        maintenance_margin_usd=row.cross_mmr,
        ts_ns=row.updated_at * NS_PER_MS,
    )


def funding(row: PaymentRow, symbols: Symbols) -> FundingPayment | None:
    """`payout` positive = received, which is our sign too."""
    instrument = symbols.get(row.symbol)
    if instrument is None:
        return None
    if not row.payout.is_finite():
        raise Malformed(f"pacifica funding {row.history_id}: payout {row.payout}")
    return FundingPayment(
        venue=VENUE,
        symbol=instrument.symbol,
        amount_usd=row.payout,
        rate=float(row.rate),
        ts_ns=row.created_at * NS_PER_MS,
        payment_id=str(row.history_id),
    )


def fee_rates(row: AccountRow) -> FeeRates:
    return FeeRates(maker=float(row.maker_fee), taker=float(row.taker_fee))


def marks(rows: Iterable[PriceRow]) -> dict[str, Decimal]:
    return {row.symbol: row.mark for row in rows if row.mark is not None and is_price(row.mark)}


def top(book: Book, mark_px: Decimal) -> TopOfBook:
    bids, asks = book.l
    return TopOfBook(
        bid_px=bids[0].p if bids else Decimal(0), ask_px=asks[0].p if asks else Decimal(0), mark_px=mark_px
    )


def lots_of(size: Decimal, instrument: Instrument) -> int:
    """Whole lots; Malformed when the size is negative or not a whole number of them."""
    lots = whole_lots(size, instrument)
    if lots is None or lots < 0:
        raise Malformed(f"pacifica {instrument.venue_symbol}: size {size} is not in lots of {instrument.lot_size}")
    return lots


def _side(word: str) -> Side:
    side = _SIDES.get(word)
    if side is None:
        raise Malformed(f"pacifica side {word!r}")
    return side
