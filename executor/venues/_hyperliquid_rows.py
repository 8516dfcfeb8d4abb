"""Hyperliquid's account rows as domain values: fills, orders, positions, balance, funding. Pure.

Shapes: docs/venues/hyperliquid.md 8. Numbers come as decimal strings; sizes become whole lots of the given instrument.
A row that does not decode raises Malformed; a coin that the catalogue lacks (spot, another dex) yields None.
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
from executor.venues._decoding import DECODE_ERRORS, Millis, is_price, whole_lots
from executor.venues.base import FeeRates, FundingPayment, TopOfBook, VenueOrder

VENUE = Venue("hyperliquid")
Coins = Mapping[str, Instrument]
T = TypeVar("T")

_SIDES = {"B": Side.BUY, "A": Side.SELL}
_LIVE_WORDS = frozenset({"open", "triggered"})
_CANCELED_WORDS = frozenset({"canceled", "scheduledCancel", "internalCancel"})


class Liquidation(msgspec.Struct):
    liquidatedUser: str | None = None


class FillRow(msgspec.Struct):
    coin: str
    px: Decimal
    sz: Decimal
    side: str
    time: Millis
    oid: int
    crossed: bool
    fee: Decimal
    tid: int
    cloid: str | None = None
    liquidation: Liquidation | None = None


class FillsMessage(msgspec.Struct):
    fills: list[FillRow]
    isSnapshot: bool = False


class OrderRow(msgspec.Struct):
    coin: str
    side: str
    sz: Decimal
    oid: int
    origSz: Decimal
    timestamp: Millis
    cloid: str | None = None
    reduceOnly: bool = False


class OrderState(msgspec.Struct):
    """A row of orderUpdates, and the inner object of orderStatus."""

    order: OrderRow
    status: str


class OrderStatusAnswer(msgspec.Struct):
    status: str
    order: OrderState | None = None


class FundingDelta(msgspec.Struct):
    """`time` only in rows of the stream; REST states it beside."""

    coin: str
    usdc: Decimal
    fundingRate: Decimal
    time: Millis = 0


class FundingRow(msgspec.Struct):
    time: Millis
    delta: FundingDelta


class FundingsMessage(msgspec.Struct):
    fundings: list[FundingDelta]
    isSnapshot: bool = False


class Leverage(msgspec.Struct):
    value: int


class PositionRow(msgspec.Struct):
    coin: str
    szi: Decimal
    leverage: Leverage
    positionValue: Decimal
    unrealizedPnl: Decimal
    entryPx: Decimal | None = None
    liquidationPx: Decimal | None = None


class AssetPosition(msgspec.Struct):
    position: PositionRow


class MarginSummary(msgspec.Struct):
    accountValue: Decimal
    totalMarginUsed: Decimal


class ClearinghouseState(msgspec.Struct):
    marginSummary: MarginSummary
    crossMarginSummary: MarginSummary
    crossMaintenanceMarginUsed: Decimal
    assetPositions: list[AssetPosition]
    time: Millis


class ActiveAssetData(msgspec.Struct):
    leverage: Leverage


class RoleData(msgspec.Struct):
    user: str = ""


class Role(msgspec.Struct):
    role: str
    data: RoleData | None = None


class UserFees(msgspec.Struct):
    userCrossRate: Decimal
    userAddRate: Decimal


class RateLimit(msgspec.Struct):
    nRequestsUsed: int
    nRequestsCap: int
    nRequestsSurplus: int = 0


class ExchangeStatus(msgspec.Struct):
    time: Millis
    specialStatuses: msgspec.Raw = msgspec.Raw(b"null")


class _Level(msgspec.Struct):
    px: Decimal


class _Book(msgspec.Struct):
    levels: tuple[list[_Level], list[_Level]]


class _UniverseRow(msgspec.Struct):
    name: str


class _Universe(msgspec.Struct):
    universe: list[_UniverseRow]


class _Context(msgspec.Struct):
    markPx: Decimal


def decode(data: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """Raises Malformed naming `what`."""
    try:
        return msgspec.json.decode(data, type=kind)
    except DECODE_ERRORS as error:
        raise Malformed(f"hyperliquid {what}: {error}") from error


def client_id(cloid: str | None) -> str | None:
    """Our id in 32 hex digits, or None for none or a foreign one."""
    return cloid.removeprefix("0x") if cloid is not None and parse_client_order_id(cloid) is not None else None


def is_foreign(row: FillRow, user: str) -> bool:
    """Whether the venue itself closed us: a liquidation of this very account. (Its other side carries the mark too.)"""
    return row.liquidation is not None and (row.liquidation.liquidatedUser or "").lower() == user


def fill(row: FillRow, coins: Coins, client_order_id: str | None) -> Fill | None:
    instrument = coins.get(row.coin)
    if instrument is None:
        return None
    if not is_price(row.px) or not row.fee.is_finite():
        raise Malformed(f"hyperliquid fill {row.tid}: price {row.px}, fee {row.fee}")
    identity = str(row.tid) if row.tid else f"0:{row.coin}:{row.oid}:{row.time}"  # system rows share tid 0
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=_side(row.side),
        lots=lots_of(row.sz, instrument),
        px=row.px,
        fee_usd=row.fee,
        trade_id=identity,
        venue_order_id=str(row.oid),
        client_order_id=client_order_id,
        liquidity=LiquiditySide.TAKER if row.crossed else LiquiditySide.MAKER,
        ts_ns=row.time * NS_PER_MS,
    )


def order(row: OrderRow, status: OrderStatus, coins: Coins) -> VenueOrder | None:
    """`filled_lots` = original less remaining size; a reduce-only order that was shrunk overstates it (see Reads.lookup)."""
    instrument = coins.get(row.coin)
    if instrument is None:
        return None
    lots, remaining = lots_of(row.origSz, instrument), lots_of(row.sz, instrument)
    filled = 0 if status is OrderStatus.REJECTED else lots - remaining
    if status is OrderStatus.FILLED and remaining:
        status = OrderStatus.EXPIRED  # an IOC whose rest was dropped: the page leaves open which word it ends with
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=str(row.oid),
        client_order_id=client_id(row.cloid),
        side=_side(row.side),
        lots=lots,
        filled_lots=filled,
        status=status,
        avg_px=None,
        reduce_only=row.reduceOnly,
    )


def status_of(word: str) -> OrderStatus:
    """Raises Malformed for a word of no known family: guessing would be trading on it."""
    if word in _LIVE_WORDS:
        return OrderStatus.ACCEPTED
    if word == "filled":
        return OrderStatus.FILLED
    if word in _CANCELED_WORDS or word.endswith("Canceled"):
        return OrderStatus.CANCELED
    if word == "rejected" or word.endswith("Rejected"):
        return OrderStatus.REJECTED
    raise Malformed(f"hyperliquid order status {word!r} is not one that we know")


def positions(state: ClearinghouseState, coins: Coins) -> tuple[list[Position], dict[str, Decimal]]:
    """Positions that are not flat, and the sizes of those that the catalogue lacks."""
    found: list[Position] = []
    strange: dict[str, Decimal] = {}
    for each in state.assetPositions:
        row = each.position
        instrument = coins.get(row.coin)
        if row.szi and instrument is None:
            strange[row.coin] = row.szi
        elif row.szi and instrument is not None:
            found.append(
                Position(
                    venue=VENUE,
                    symbol=instrument.symbol,
                    lots=lots_of(row.szi, instrument),
                    avg_entry_px=row.entryPx or Decimal(0),
                    mark_px=row.positionValue / abs(row.szi),
                    unrealized_usd=row.unrealizedPnl,
                    liquidation_px=row.liquidationPx,
                    leverage=row.leverage.value,
                )
            )
    return found, strange


def balance(state: ClearinghouseState) -> Balance:
    """Cross margin: free = cross value - margin used; the ratio that liquidates is maintenance over cross value."""
    cross = state.crossMarginSummary
    return Balance(
        venue=VENUE,
        equity_usd=state.marginSummary.accountValue,
        free_margin_usd=max(Decimal(0), cross.accountValue - cross.totalMarginUsed),
        maintenance_margin_usd=state.crossMaintenanceMarginUsed,
        ts_ns=state.time * NS_PER_MS,
    )


def funding(delta: FundingDelta, time_ms: int, coins: Coins) -> FundingPayment | None:
    """`usdc` negative = paid, which is our sign too."""
    instrument = coins.get(delta.coin)
    if instrument is None:
        return None
    return FundingPayment(
        venue=VENUE,
        symbol=instrument.symbol,
        amount_usd=delta.usdc,
        rate=float(delta.fundingRate),
        ts_ns=time_ms * NS_PER_MS,
        payment_id=f"{delta.coin}:{time_ms}",
    )


def fee_rates(fees: UserFees) -> FeeRates:
    return FeeRates(maker=float(fees.userAddRate), taker=float(fees.userCrossRate))


def top(book: bytes, contexts: bytes, coin: str) -> TopOfBook:
    """Of `l2Book` and `metaAndAssetCtxs`; contexts are positional."""
    bids, asks = decode(book, _Book, "l2Book").levels
    universe, rows = decode(contexts, tuple[_Universe, list[_Context]], "metaAndAssetCtxs")
    names = [row.name for row in universe.universe]
    if coin not in names or names.index(coin) >= len(rows):
        raise Malformed(f"hyperliquid metaAndAssetCtxs has no {coin}")
    return TopOfBook(
        bid_px=bids[0].px if bids else Decimal(0),
        ask_px=asks[0].px if asks else Decimal(0),
        mark_px=rows[names.index(coin)].markPx,
    )


def lots_of(size: Decimal, instrument: Instrument) -> int:
    """Signed whole lots; Malformed when the size is not a whole number of them."""
    lots = whole_lots(size, instrument)
    if lots is None:
        raise Malformed(f"hyperliquid {instrument.venue_symbol}: size {size} is not in lots of {instrument.lot_size}")
    return lots


def _side(word: str) -> Side:
    side = _SIDES.get(word)
    if side is None:
        raise Malformed(f"hyperliquid side {word!r}")
    return side
