"""EdgeX's account rows and private events as domain values. Pure. Shapes: docs/venues/edgex.md 2, 5, 8.

What is easily got wrong: `collateralList.amount` is no balance (equity is `totalEquity`); a size that was matched
(`cumMatchSize`) is told before the chain has taken it (`cumFillSize`), and both may be of interest; the same figure is spelled
in two ways by two of the venue's own clients. A row that does not decode raises Malformed; a contract that the catalogue
lacks yields None.
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

VENUE = Venue("edgex")
Listed = Mapping[str, Instrument]
"""The catalogue by contract id."""

STATUSES: dict[str, OrderStatus] = {
    "PENDING": OrderStatus.ACCEPTED,
    "OPEN": OrderStatus.ACCEPTED,
    "UNTRIGGERED": OrderStatus.ACCEPTED,
    "CANCELING": OrderStatus.ACCEPTED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
}
ITS_OWN_END = frozenset({"COULD_NOT_FILL", "EXPIRE_CANCELED"})
FUNDING = "SETTLE_FUNDING_FEE"

T = TypeVar("T")
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_LIQUIDITY = {"MAKER": LiquiditySide.MAKER, "TAKER": LiquiditySide.TAKER}


class OrderRow(msgspec.Struct):
    id: str
    contractId: str
    side: str
    size: Decimal
    status: str
    clientOrderId: str = ""
    timeInForce: str = ""
    cancelReason: str = ""
    reduceOnly: bool = False
    cumMatchSize: Decimal = Decimal(0)
    cumMatchValue: Decimal = Decimal(0)
    cumFillSize: Decimal = Decimal(0)
    cumFillValue: Decimal = Decimal(0)


class FillRow(msgspec.Struct):
    id: str
    contractId: str
    orderId: str
    orderSide: str
    fillSize: Decimal
    fillPrice: Decimal
    fillFee: Decimal
    matchTime: Millis
    direction: str = ""


class PositionRow(msgspec.Struct):
    contractId: str
    openSize: Decimal


class PositionFigures(msgspec.Struct):
    """A row of positionAssetList."""

    contractId: str
    avgEntryPrice: Decimal
    positionValue: Decimal = Decimal(0)
    maxLeverage: Decimal = Decimal(0)
    liquidatePrice: Decimal | None = None
    liquidationPrice: Decimal | None = None
    unrealizePnl: Decimal | None = None
    unrealizedPnl: Decimal | None = None


class CollateralFigures(msgspec.Struct):
    """A row of collateralAssetModelList."""

    coinId: str
    totalEquity: Decimal
    starkExRiskValue: Decimal
    availableAmount: Decimal | None = None
    availableBalance: Decimal | None = None


class TradeSetting(msgspec.Struct):
    """Figures count only where the flag beside them says that they are set."""

    isSetFeeRate: bool = False
    takerFeeRate: str = ""
    makerFeeRate: str = ""
    isSetMaxLeverage: bool = False
    maxLeverage: str = ""


class AccountRow(msgspec.Struct):
    defaultTradeSetting: TradeSetting = msgspec.field(default_factory=TradeSetting)
    contractIdToTradeSetting: dict[str, TradeSetting] = {}
    status: str = "NORMAL"


class AssetRow(msgspec.Struct):
    account: AccountRow
    positionList: list[PositionRow]
    positionAssetList: list[PositionFigures]
    collateralAssetModelList: list[CollateralFigures]


class TransactionRow(msgspec.Struct):
    """A positionTransaction; the funding fields stand in those of type SETTLE_FUNDING_FEE."""

    id: str
    contractId: str
    type: str
    deltaFundingFee: Decimal = Decimal(0)
    fundingTime: Millis = 0
    fundingRate: Decimal = Decimal(0)
    fundingPositionSize: Decimal = Decimal(0)


class OrderPage(msgspec.Struct):
    dataList: list[OrderRow]
    nextPageOffsetData: str = ""


class FillPage(msgspec.Struct):
    dataList: list[FillRow]
    nextPageOffsetData: str = ""


class TransactionPage(msgspec.Struct):
    dataList: list[TransactionRow]
    nextPageOffsetData: str = ""


class TimeRow(msgspec.Struct):
    timeMillis: Millis


class _Level(msgspec.Struct):
    price: Decimal


class _Depth(msgspec.Struct):
    bids: list[_Level]
    asks: list[_Level]


class _Ticker(msgspec.Struct):
    markPrice: Decimal


class EventData(msgspec.Struct):
    """Lists that an event does not concern are absent, null or empty."""

    order: list[OrderRow] | None = None
    orderFillTransaction: list[FillRow] | None = None
    position: list[PositionRow] | None = None
    positionTransaction: list[TransactionRow] | None = None


class Content(msgspec.Struct):
    event: str
    version: int = 0
    data: EventData = msgspec.field(default_factory=EventData)


def decode(data: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """Texts are taken for numbers, as the venue writes them. Raises Malformed naming `what`."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except DECODE_ERRORS as error:
        raise Malformed(f"edgex {what}: {error}") from error


def client_id(text: str) -> str | None:
    """Our id, or None for a foreign one (made by hand, or the venue's own liquidation)."""
    return text if parse_client_order_id(text) is not None else None


def order(row: OrderRow, listed: Listed) -> VenueOrder | None:
    instrument = listed.get(row.contractId)
    if instrument is None:
        return None
    matched, taken = _lots(row.cumMatchSize, instrument), _lots(row.cumFillSize, instrument)
    lots, filled = _lots(row.size, instrument), max(matched, taken)
    if min(matched, taken) < 0 or filled > lots:
        raise Malformed(f"edgex order {row.id}: {filled} of {lots} lots filled")
    value = row.cumMatchValue if matched >= taken else row.cumFillValue
    avg_px = value / (filled * instrument.lot_size) if filled else Decimal(0)
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=row.id,
        client_order_id=client_id(row.clientOrderId),
        side=_side(row.side),
        lots=lots,
        filled_lots=filled,
        status=status_of(row),
        avg_px=avg_px if is_price(avg_px) else None,
        reduce_only=row.reduceOnly,
    )


def status_of(row: OrderRow) -> OrderStatus:
    """An IOC that found no more ended by itself. Raises Malformed for an unknown word; an unknown reason is only described."""
    status = STATUSES.get(row.status)
    if status is None:
        raise Malformed(f"edgex order status {row.status[:40]!r} is not one that we know")
    by_itself = row.cancelReason in ITS_OWN_END and row.timeInForce != "POST_ONLY"
    return OrderStatus.EXPIRED if status is OrderStatus.CANCELED and by_itself else status


def fill(row: FillRow, listed: Listed, client_order_id: str | None) -> Fill | None:
    """`fillFee` positive = paid."""
    instrument = listed.get(row.contractId)
    if instrument is None:
        return None
    lots = _lots(row.fillSize, instrument)
    if not is_price(row.fillPrice) or not row.fillFee.is_finite() or lots <= 0:
        raise Malformed(f"edgex fill {row.id}: {row.fillSize} at {row.fillPrice}, fee {row.fillFee}")
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=_side(row.orderSide),
        lots=lots,
        px=row.fillPrice,
        fee_usd=row.fillFee,
        trade_id=f"{row.contractId}:{row.id}",
        venue_order_id=row.orderId,
        client_order_id=client_order_id,
        liquidity=_LIQUIDITY.get(row.direction, LiquiditySide.UNKNOWN),
        ts_ns=row.matchTime * NS_PER_MS,
    )


def stream_position(row: PositionRow, listed: Listed) -> Position | None:
    instrument = listed.get(row.contractId)
    if instrument is None:
        return None
    return Position(
        venue=VENUE, symbol=instrument.symbol, lots=_lots(row.openSize, instrument), avg_entry_px=Decimal(0)
    )


def positions(asset: AssetRow, listed: Listed) -> tuple[list[Position], dict[str, Decimal]]:
    """Positions that are not flat, and the signed sizes of those whose contract the catalogue lacks."""
    figures = {row.contractId: row for row in asset.positionAssetList}
    found: list[Position] = []
    strange: dict[str, Decimal] = {}
    for row in asset.positionList:
        if not row.openSize:
            continue
        instrument, known = listed.get(row.contractId), figures.get(row.contractId)
        if instrument is None:
            strange[row.contractId] = row.openSize
            continue
        if known is None:
            raise Malformed(f"edgex getAccountAsset: no figures of the position in {instrument.venue_symbol}")
        liquidation = known.liquidatePrice if known.liquidatePrice is not None else known.liquidationPrice
        profit = known.unrealizePnl if known.unrealizePnl is not None else known.unrealizedPnl
        found.append(
            Position(
                venue=VENUE,
                symbol=instrument.symbol,
                lots=_lots(row.openSize, instrument),
                avg_entry_px=known.avgEntryPrice,
                mark_px=abs(known.positionValue / row.openSize),
                unrealized_usd=profit or Decimal(0),
                liquidation_px=liquidation if liquidation is not None and is_price(liquidation) else None,
                leverage=int(known.maxLeverage),
            )
        )
    return found, strange


def balance(asset: AssetRow, coin_id: str, read_wire_ns: int) -> Balance:
    """Of the coin that everything is margined in. The answer's own time is not the figures': `read_wire_ns` is our asking."""
    row = next((each for each in asset.collateralAssetModelList if each.coinId == coin_id), None)
    if row is None:
        raise Malformed(f"edgex getAccountAsset: no figures of coin {coin_id}")
    free = row.availableAmount if row.availableAmount is not None else row.availableBalance
    if free is None:
        raise Malformed("edgex getAccountAsset: neither availableAmount nor availableBalance")
    return Balance(
        venue=VENUE,
        equity_usd=row.totalEquity,
        free_margin_usd=max(Decimal(0), free),
        maintenance_margin_usd=row.starkExRiskValue,
        ts_ns=read_wire_ns,
    )


def leverage(account: AccountRow, contract_id: str, default: int) -> int:
    """The account's setting of this contract, else of all, else the contract's own default. Raises Malformed."""
    for setting in (account.contractIdToTradeSetting.get(contract_id), account.defaultTradeSetting):
        if setting is not None and setting.isSetMaxLeverage:
            return int(_number(setting.maxLeverage, "maxLeverage"))
    return default


def fee_rates(account: AccountRow, contract_id: str, default: FeeRates) -> FeeRates:
    """As `leverage`. Discounts are left out: their unit is not documented, and without them a cost is at most overstated."""
    for setting in (account.contractIdToTradeSetting.get(contract_id), account.defaultTradeSetting):
        if setting is not None and setting.isSetFeeRate:
            return FeeRates(
                maker=float(_number(setting.makerFeeRate, "makerFeeRate")),
                taker=float(_number(setting.takerFeeRate, "takerFeeRate")),
            )
    return default


def fundings(rows: Iterable[TransactionRow], listed: Listed) -> list[FundingPayment]:
    """Of the settlements among `rows`. What was paid has the sign that position and rate give it (positive: longs pay): that of
    `deltaFundingFee` is not documented [unsure], and counts only where one of them is 0."""
    found = []
    for row in rows:
        instrument = listed.get(row.contractId)
        if row.type != FUNDING or instrument is None:
            continue
        direction = row.fundingPositionSize * row.fundingRate
        if not direction.is_finite() or not row.deltaFundingFee.is_finite() or not row.fundingTime:
            raise Malformed(f"edgex funding {row.id}: {row.deltaFundingFee} at {row.fundingTime}")
        amount = row.deltaFundingFee
        if direction:
            amount = -abs(amount) if direction > 0 else abs(amount)
        found.append(
            FundingPayment(
                venue=VENUE,
                symbol=instrument.symbol,
                amount_usd=amount,
                rate=float(row.fundingRate),
                ts_ns=row.fundingTime * NS_PER_MS,
                payment_id=f"{row.contractId}:{row.id}",
            )
        )
    return found


def top(depth: bytes, ticker: bytes) -> TopOfBook:
    """Of getDepth and getTicker, each an array of one."""
    books = decode(depth, list[_Depth], "getDepth")
    tickers = decode(ticker, list[_Ticker], "getTicker")
    if len(books) != 1 or len(tickers) != 1:
        raise Malformed(f"edgex: {len(books)} books and {len(tickers)} tickers of one contract")
    bids, asks = books[0].bids, books[0].asks
    return TopOfBook(
        bid_px=max((level.price for level in bids), default=Decimal(0)),
        ask_px=min((level.price for level in asks), default=Decimal(0)),
        mark_px=tickers[0].markPrice,
    )


def _lots(size: Decimal, instrument: Instrument) -> int:
    """Signed whole lots; Malformed when the size is not a whole number of them."""
    lots = whole_lots(size, instrument)
    if lots is None:
        raise Malformed(f"edgex {instrument.venue_symbol}: size {size} is not in lots of {instrument.lot_size}")
    return lots


def _side(word: str) -> Side:
    side = _SIDES.get(word)
    if side is None:
        raise Malformed(f"edgex side {word[:40]!r}")
    return side


def _number(text: str, what: str) -> Decimal:
    return decode(text.encode() or b"null", Decimal, what)
