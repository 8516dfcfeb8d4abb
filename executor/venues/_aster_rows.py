"""Aster's account rows and private events as domain values. Pure. Shapes: docs/venues/aster.md 8.

One-way mode only: `positionSide` is BOTH everywhere. A row that does not decode raises Malformed; a symbol that the
catalogue lacks yields None.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.ids import parse_client_order_id
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, Venue
from executor.venues._aster_answers import STATUSES, OrderRow
from executor.venues._decoding import DECODE_ERRORS, Millis, is_price, whole_lots
from executor.venues.base import FeeRates, FundingPayment, TopOfBook, VenueOrder

VENUE = Venue("aster")
MONEY = frozenset({"USDT", "USDC", "USD1", "USDF"})
Listed = Mapping[str, Instrument]
T = TypeVar("T")

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_FILL_TYPES = frozenset({"TRADE", "CALCULATED"})


class TradeRow(msgspec.Struct):
    symbol: str
    id: int
    orderId: int
    side: str
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str
    maker: bool
    time: Millis


class PositionRow(msgspec.Struct):
    symbol: str
    positionAmt: Decimal
    entryPrice: Decimal
    markPrice: Decimal
    unRealizedProfit: Decimal
    liquidationPrice: Decimal
    leverage: int
    positionSide: str = "BOTH"
    marginType: str = "cross"


class AccountRow(msgspec.Struct):
    totalMarginBalance: Decimal
    availableBalance: Decimal
    totalMaintMargin: Decimal


class IncomeRow(msgspec.Struct):
    income: Decimal
    time: Millis
    tranId: str | int
    symbol: str = ""


class CommissionRow(msgspec.Struct):
    makerCommissionRate: Decimal
    takerCommissionRate: Decimal


class LeverageRow(msgspec.Struct):
    leverage: int


class CountdownRow(msgspec.Struct):
    symbol: str
    countdownTime: Millis


class TimeRow(msgspec.Struct):
    serverTime: Millis


class PositionModeRow(msgspec.Struct):
    dualSidePosition: bool


class MultiAssetsRow(msgspec.Struct):
    multiAssetsMargin: bool


class ListenKeyRow(msgspec.Struct):
    listenKey: str


class _BookTicker(msgspec.Struct):
    bidPrice: Decimal
    askPrice: Decimal


class _PremiumIndex(msgspec.Struct):
    markPrice: Decimal


class StreamOrder(msgspec.Struct):
    """`o` of ORDER_TRADE_UPDATE."""

    s: str
    c: str
    S: str
    q: Decimal
    x: str
    X: str
    i: int
    z: Decimal
    T: Millis
    ap: Decimal = Decimal(0)
    last_qty: Decimal = msgspec.field(name="l", default=Decimal(0))
    L: Decimal = Decimal(0)
    n: Decimal | None = None
    N: str | None = None
    t: int = 0
    m: bool = False
    R: bool = False


class StreamPosition(msgspec.Struct):
    s: str
    pa: Decimal
    ep: Decimal = Decimal(0)
    up: Decimal = Decimal(0)


class StreamAccount(msgspec.Struct):
    """`a` of ACCOUNT_UPDATE."""

    m: str
    P: list[StreamPosition] = []


class StreamEvent(msgspec.Struct):
    e: str
    E: int = 0
    o: StreamOrder | None = None
    a: StreamAccount | None = None


def decode(data: bytes, kind: type[T], what: str) -> T:
    """Strings are taken for numbers where the venue spells a count so. Raises Malformed naming `what`."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except DECODE_ERRORS as error:
        raise Malformed(f"aster {what}: {error}") from error


def client_id(text: str) -> str | None:
    """Our id, or None for a foreign one (`autoclose-` liquidation, `adl_autoclose`, made by hand)."""
    return text if parse_client_order_id(text) is not None else None


def order(row: OrderRow, listed: Listed) -> VenueOrder | None:
    instrument = listed.get(row.symbol)
    if instrument is None:
        return None
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=str(row.orderId),
        client_order_id=client_id(row.clientOrderId),
        side=_side(row.side),
        lots=lots_of(row.origQty, instrument),
        filled_lots=lots_of(row.executedQty, instrument),
        status=status_of(row.status),
        avg_px=row.avgPrice if is_price(row.avgPrice) else None,
        reduce_only=row.reduceOnly,
    )


def status_of(word: str) -> OrderStatus:
    """Raises Malformed for an unknown word."""
    status = STATUSES.get(word)
    if status is None:
        raise Malformed(f"aster order status {word!r} is not one that we know")
    return status


def trade(row: TradeRow, listed: Listed, client_order_id: str | None, fees: FeeRates) -> Fill | None:
    """A row of userTrades. The commission's sign is not settled on the venue's page: it is taken as paid."""
    instrument = listed.get(row.symbol)
    if instrument is None:
        return None
    if not is_price(row.price) or not row.commission.is_finite():
        raise Malformed(f"aster trade {row.id}: price {row.price}, commission {row.commission}")
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=_side(row.side),
        lots=lots_of(row.qty, instrument),
        px=row.price,
        fee_usd=_fee_usd(abs(row.commission), row.commissionAsset, row.price * row.qty, row.maker, fees),
        trade_id=f"{row.symbol}:{row.id}",
        venue_order_id=str(row.orderId),
        client_order_id=client_order_id,
        liquidity=LiquiditySide.MAKER if row.maker else LiquiditySide.TAKER,
        ts_ns=row.time * NS_PER_MS,
    )


def stream_fill(row: StreamOrder, listed: Listed, fees: FeeRates) -> Fill | None:
    """The execution that an ORDER_TRADE_UPDATE reports, None when it reports none."""
    instrument = listed.get(row.s)
    if instrument is None or row.x not in _FILL_TYPES or not row.last_qty:
        return None
    if not is_price(row.L) or (row.n is not None and not row.n.is_finite()):
        raise Malformed(f"aster trade {row.t}: price {row.L}, commission {row.n}")
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=_side(row.S),
        lots=lots_of(row.last_qty, instrument),
        px=row.L,
        fee_usd=_fee_usd(abs(row.n or Decimal(0)), row.N or "USDT", row.L * row.last_qty, row.m, fees),
        trade_id=f"{row.s}:{row.t}",
        venue_order_id=str(row.i),
        client_order_id=client_id(row.c),
        liquidity=LiquiditySide.MAKER if row.m else LiquiditySide.TAKER,
        ts_ns=row.T * NS_PER_MS,
    )


def stream_order(row: StreamOrder, listed: Listed) -> VenueOrder | None:
    instrument = listed.get(row.s)
    if instrument is None:
        return None
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=str(row.i),
        client_order_id=client_id(row.c),
        side=_side(row.S),
        lots=lots_of(row.q, instrument),
        filled_lots=lots_of(row.z, instrument),
        status=status_of(row.X),
        avg_px=row.ap if is_price(row.ap) else None,
        reduce_only=row.R,
    )


def stream_position(row: StreamPosition, listed: Listed) -> Position | None:
    instrument = listed.get(row.s)
    if instrument is None:
        return None
    return Position(
        venue=VENUE,
        symbol=instrument.symbol,
        lots=lots_of(row.pa, instrument),
        avg_entry_px=row.ep,
        unrealized_usd=row.up,
    )


def positions(rows: list[PositionRow], listed: Listed) -> tuple[list[Position], dict[str, Decimal]]:
    """Positions that are not flat, and the sizes of those that the catalogue lacks. Malformed in hedge mode."""
    found: list[Position] = []
    strange: dict[str, Decimal] = {}
    for row in rows:
        if not row.positionAmt:
            continue
        if row.positionSide != "BOTH":
            raise Malformed(f"aster positionRisk: {row.symbol} is held in hedge mode; switch the account to one-way")
        instrument = listed.get(row.symbol)
        if instrument is None:
            strange[row.symbol] = row.positionAmt
            continue
        found.append(
            Position(
                venue=VENUE,
                symbol=instrument.symbol,
                lots=lots_of(row.positionAmt, instrument),
                avg_entry_px=row.entryPrice,
                mark_px=row.markPrice,
                unrealized_usd=row.unRealizedProfit,
                liquidation_px=row.liquidationPrice if row.liquidationPrice > 0 else None,
                leverage=row.leverage,
            )
        )
    return found, strange


def balance(row: AccountRow, read_wire_ns: int) -> Balance:
    """The answer carries no time: `read_wire_ns` is when we asked."""
    return Balance(
        venue=VENUE,
        equity_usd=row.totalMarginBalance,
        free_margin_usd=max(Decimal(0), row.availableBalance),
        maintenance_margin_usd=row.totalMaintMargin,
        ts_ns=read_wire_ns,
    )


def funding(row: IncomeRow, listed: Listed) -> FundingPayment | None:
    """A FUNDING_FEE row: negative = paid, which is our sign too."""
    instrument = listed.get(row.symbol)
    if instrument is None:
        return None
    return FundingPayment(
        venue=VENUE,
        symbol=instrument.symbol,
        amount_usd=row.income,
        rate=None,
        ts_ns=row.time * NS_PER_MS,
        payment_id=f"{row.symbol}:{row.tranId}",
    )


def fee_rates(row: CommissionRow) -> FeeRates:
    return FeeRates(maker=float(row.makerCommissionRate), taker=float(row.takerCommissionRate))


def top(book_ticker: bytes, premium_index: bytes) -> TopOfBook:
    book = decode(book_ticker, _BookTicker, "bookTicker")
    return TopOfBook(
        bid_px=book.bidPrice,
        ask_px=book.askPrice,
        mark_px=decode(premium_index, _PremiumIndex, "premiumIndex").markPrice,
    )


def lots_of(size: Decimal, instrument: Instrument) -> int:
    """Signed whole lots; Malformed when the size is not a whole number of them."""
    lots = whole_lots(size, instrument)
    if lots is None:
        raise Malformed(f"aster {instrument.venue_symbol}: size {size} is not in lots of {instrument.lot_size}")
    return lots


def _fee_usd(amount: Decimal, asset: str, notional: Decimal, maker: bool, fees: FeeRates) -> Decimal:
    """Paid in a dollar: as stated. Paid in a discount token: what our own rate would have cost, at most a little high."""
    if asset in MONEY:
        return amount
    return notional * Decimal(repr(fees.maker if maker else fees.taker))


def _side(word: str) -> Side:
    side = _SIDES.get(word)
    if side is None:
        raise Malformed(f"aster side {word!r}")
    return side
