"""Kraken's account rows and private frames as domain values. Pure. Shapes: docs/venues/kraken.md 5, 7, 8.

Figures come as text by REST and as JSON numbers by socket; both are read as decimals. A row that does not decode raises
Malformed; a pair that the catalogue lacks yields None. Fills count from `trade` rows alone: "filled" repeats their sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from core.clock import NS_PER_US
from core.errors import Malformed
from core.ids import parse_client_order_id
from core.specs import kraken as specs
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, TimeInForce
from executor.venues._decoding import DECODE_ERRORS, is_price, whole_lots
from executor.venues._memory import SentOrder
from executor.venues.base import FeeRates, TopOfBook, VenueOrder

VENUE = specs.VENUE
Listed = Mapping[str, Instrument]
"""By every name that the venue has for the pair."""
T = TypeVar("T")

CLASSIC_QUOTE = "ZUSD"
PERCENT = Decimal(100)
QUOTES = frozenset({specs.QUOTE_CCY, CLASSIC_QUOTE})
_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MICROSECONDS = 1_000_000  # in a second; finer than that a float of today does not tell
_REST_STATES = {
    "pending": OrderStatus.ACCEPTED, "open": OrderStatus.ACCEPTED, "closed": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED, "expired": OrderStatus.EXPIRED,
}  # fmt: skip
_STATES = {
    "pending_new": OrderStatus.ACCEPTED, "new": OrderStatus.ACCEPTED, "partially_filled": OrderStatus.ACCEPTED,
    "filled": OrderStatus.FILLED, "canceled": OrderStatus.CANCELED, "expired": OrderStatus.EXPIRED,
}  # fmt: skip
_ENDS = {"filled": OrderStatus.FILLED, "canceled": OrderStatus.CANCELED, "expired": OrderStatus.EXPIRED}
_STEPS = frozenset({"pending_new", "new", "amended", "restated", "iceberg_refill", "status"})
_LIQUIDITY = {"m": LiquiditySide.MAKER, "t": LiquiditySide.TAKER}

Seconds = Annotated[float, msgspec.Meta(ge=0, le=4_102_444_800)]
"""UTC with a fraction, before 2100: a fill of the year 5000 would be the last that is ever read."""


class Errors(msgspec.Struct):
    error: list[str] = []
    result: msgspec.Raw = msgspec.Raw(b"")


class WalletRow(msgspec.Struct):
    balance: Decimal
    hold_trade: Decimal = Decimal(0)


class WorthRow(msgspec.Struct):
    eb: Decimal


class _Described(msgspec.Struct):
    pair: str
    type: str


class OrderRow(msgspec.Struct):
    """Of OpenOrders, ClosedOrders and QueryOrders."""

    status: str
    descr: _Described
    vol: Decimal
    vol_exec: Decimal
    price: Decimal = Decimal(0)
    cl_ord_id: str | None = None


class OpenRows(msgspec.Struct):
    open: dict[str, OrderRow]


class ClosedRows(msgspec.Struct):
    closed: dict[str, OrderRow]


class TradeRow(msgspec.Struct):
    ordertxid: str
    pair: str
    time: Seconds
    type: str
    price: Decimal
    fee: Decimal
    vol: Decimal
    maker: bool | None = None


class TradeRows(msgspec.Struct):
    trades: dict[str, TradeRow]
    count: int


class _Rate(msgspec.Struct):
    fee: Decimal


class VolumeRow(msgspec.Struct):
    fees: dict[str, _Rate]
    fees_maker: dict[str, _Rate]


class TokenRow(msgspec.Struct):
    token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/=_-]{16,512}$")]
    expires: float


class TimeRow(msgspec.Struct):
    unixtime: Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800)]


class TickerRow(msgspec.Struct):
    a: tuple[Decimal, Decimal, Decimal]
    b: tuple[Decimal, Decimal, Decimal]


# ---- private frames -----------------------------------------------------------------------------------------------------


class FeeRow(msgspec.Struct):
    asset: str
    qty: Decimal


class ExecutionRow(msgspec.Struct):
    """Sparse: only exec_type and order_id are sure."""

    exec_type: str
    order_id: str
    order_status: str = ""
    cl_ord_id: str | None = None
    symbol: str = ""
    side: str = ""
    order_qty: Decimal | None = None
    cum_qty: Decimal | None = None
    avg_price: Decimal | None = None
    exec_id: str = ""
    last_qty: Decimal | None = None
    last_price: Decimal | None = None
    liquidity_ind: str = ""
    fees: list[FeeRow] = []
    fee_usd_equiv: Decimal | None = None
    timestamp: datetime | None = None


class ExecutionsFrame(msgspec.Struct):
    type: str
    sequence: int
    data: list[ExecutionRow]


class BalanceRow(msgspec.Struct):
    asset: str
    balance: Decimal
    wallet_type: str = "spot"


class BalancesFrame(msgspec.Struct):
    type: str
    sequence: int
    data: list[BalanceRow]


class _System(msgspec.Struct):
    system: str


class StatusFrame(msgspec.Struct):
    data: list[_System]


class Frame(msgspec.Struct):
    """Any frame by its outside."""

    channel: str = ""
    method: str = ""
    req_id: int | None = None
    success: bool | None = None
    error: str = ""
    time_out: datetime | None = None


def decode(data: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """Raises Malformed naming `what`. Text counts as a number where one is wanted."""
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except DECODE_ERRORS as error:
        raise Malformed(f"kraken {what}: {error}") from error


def time_ns(told: datetime | None) -> int:
    """UTC; 0 for none and for what is no time."""
    if told is None or told.tzinfo is None or not _EPOCH <= told < _LATEST:
        return 0
    return (told - _EPOCH) // _MICROSECOND * NS_PER_US


def stamp(wire_ns: int) -> str:
    """RFC 3339, in milliseconds."""
    return (_EPOCH + timedelta(microseconds=wire_ns // NS_PER_US)).isoformat(timespec="milliseconds")[:23] + "Z"


def client_id(text: str | None) -> str | None:
    """Ours, or None."""
    return text if text and parse_client_order_id(text) is not None else None


# ---- REST ---------------------------------------------------------------------------------------------------------------


def order(txid: str, row: OrderRow, listed: Listed, sent: SentOrder | None) -> VenueOrder | None:
    """`sent`: ours of that id, if this process knows it."""
    instrument, side = listed.get(row.descr.pair), _SIDES.get(row.descr.type)
    if instrument is None:
        return None
    lots, filled = whole_lots(row.vol, instrument), whole_lots(row.vol_exec, instrument)
    status = _REST_STATES.get(row.status)
    if side is None or status is None or lots is None or filled is None or not 0 <= filled <= lots:
        raise Malformed(f"kraken order {txid}: {row.status} {row.descr.type} {row.vol_exec} of {row.vol}")
    return VenueOrder(
        symbol=instrument.symbol,
        venue_order_id=txid,
        client_order_id=client_id(row.cl_ord_id),
        side=side,
        lots=lots,
        filled_lots=filled,
        status=ended(status, filled, lots, sent),
        avg_px=row.price if filled and is_price(row.price) else None,
    )


def ended(status: OrderStatus, filled: int, lots: int, sent: SentOrder | None) -> OrderStatus:
    """The venue cancels what an IOC order leaves over: that is its time limit, nobody's cancel. An order that was closed
    without being filled whole was ended by the venue."""
    if status is OrderStatus.FILLED and filled < lots:
        return OrderStatus.CANCELED
    if status is OrderStatus.CANCELED and sent is not None and sent.time_in_force is TimeInForce.IOC:
        return OrderStatus.EXPIRED
    return status


def trade(txid: str, row: TradeRow, listed: Listed, owner: str | None) -> Fill | None:
    """`owner`: the client id of its order, None = not ours. Fees are in the quote currency, as we ask for them."""
    instrument = listed.get(row.pair)
    if instrument is None:
        return None
    lots, side = whole_lots(row.vol, instrument), _SIDES.get(row.type)
    if lots is None or lots <= 0 or side is None or not is_price(row.price) or not row.fee.is_finite():
        raise Malformed(f"kraken trade {txid}: {row.type} {row.vol} at {row.price}, fee {row.fee}")
    liquidity = LiquiditySide.UNKNOWN
    if row.maker is not None:
        liquidity = LiquiditySide.MAKER if row.maker else LiquiditySide.TAKER
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=side,
        lots=lots,
        px=row.price,
        fee_usd=row.fee,
        trade_id=txid,
        venue_order_id=row.ordertxid,
        client_order_id=owner,
        liquidity=liquidity,
        ts_ns=round(row.time * MICROSECONDS) * NS_PER_US,
    )


def positions(wallets: Mapping[str, WalletRow], by_symbol: Mapping[str, Instrument]) -> list[Position]:
    """What the wallets hold of listed bases, held by orders or not, in whole lots; the stablecoins are money here."""
    totals: dict[str, Decimal] = {}
    for name, row in wallets.items():
        asset = specs.spot_asset(name)
        if asset is not None and row.balance.is_finite():
            totals[asset] = totals.get(asset, Decimal(0)) + row.balance
    found = []
    for asset, total in totals.items():
        instrument = by_symbol.get(asset)
        if instrument is None or asset in specs.STABLECOINS:
            continue
        lots = instrument.qty_to_lots(total)
        if lots:
            found.append(wallet(instrument, lots))
    return found


def wallet(instrument: Instrument, lots: int) -> Position:
    """A wallet has no entry price: the venue keeps none."""
    return Position(venue=VENUE, symbol=instrument.symbol, lots=lots, avg_entry_px=Decimal(0), leverage=1)


def free_quote(wallets: Mapping[str, WalletRow]) -> Decimal:
    """Quote currency that no order holds."""
    rows = [row for name, row in wallets.items() if specs.spot_asset(name) == specs.QUOTE_CCY]
    free = sum((row.balance - row.hold_trade for row in rows), Decimal(0))
    if not free.is_finite():
        raise Malformed(f"kraken BalanceEx: {free} USD")
    return max(Decimal(0), free)


def balance(worth: WorthRow, wallets: Mapping[str, WalletRow], asked_ns: int) -> Balance:
    """Equity is what all wallets together are worth; nothing is borrowed, so nothing needs maintaining."""
    if not worth.eb.is_finite():
        raise Malformed(f"kraken TradeBalance: equivalent balance {worth.eb}")
    return Balance(
        venue=VENUE,
        equity_usd=worth.eb,
        free_margin_usd=free_quote(wallets),
        maintenance_margin_usd=Decimal(0),
        ts_ns=asked_ns,
    )


def fee_rates(row: VolumeRow) -> FeeRates:
    """Percent on the wire: 0.4000 is 0.4 %. The dearest of the pairs that were asked for."""
    taker = max((rate.fee for rate in row.fees.values()), default=None)
    maker = max((rate.fee for rate in row.fees_maker.values()), default=None)
    if taker is None or maker is None or not all(each.is_finite() and abs(each) < PERCENT for each in (taker, maker)):
        raise Malformed(f"kraken TradeVolume: fees {taker} and {maker}")
    return FeeRates(maker=float(maker / PERCENT), taker=float(taker / PERCENT))


def top(tickers: Mapping[str, TickerRow]) -> TopOfBook:
    """Spot has no mark: the middle stands for it."""
    if len(tickers) != 1:
        raise Malformed(f"kraken Ticker: {len(tickers)} pairs in the answer about one")
    (row,) = tickers.values()
    bid, ask = row.b[0], row.a[0]
    if not all(each.is_finite() and each >= 0 for each in (bid, ask)):
        raise Malformed(f"kraken Ticker: {bid} / {ask}")
    return TopOfBook(bid_px=bid, ask_px=ask, mark_px=(bid + ask) / 2)


# ---- executions ---------------------------------------------------------------------------------------------------------


def status_of(row: ExecutionRow) -> OrderStatus | None:
    """By exec_type where that is an end, else by order_status, which need not be there; None for words that are not known,
    which then say nothing."""
    if row.exec_type in _ENDS:
        return _ENDS[row.exec_type]
    if not row.order_status:
        return OrderStatus.ACCEPTED if row.exec_type in _STEPS else None
    return _STATES.get(row.order_status)


def side_of(row: ExecutionRow) -> Side | None:
    return _SIDES.get(row.side)


def stream_fill(row: ExecutionRow, listed: Listed, owner: str | None) -> Fill | None:
    """A `trade` row. Raises Malformed when it lacks what makes a fill."""
    instrument = listed.get(row.symbol)
    if instrument is None:
        return None
    lots = whole_lots(row.last_qty, instrument) if row.last_qty is not None else None
    side, px, ts_ns = side_of(row), row.last_price, time_ns(row.timestamp)
    if not row.exec_id or lots is None or lots <= 0 or side is None or px is None or not is_price(px) or not ts_ns:
        raise Malformed(f"kraken trade {row.exec_id or 'without id'}: {row.side} {row.last_qty} at {row.last_price}")
    return Fill(
        venue=VENUE,
        symbol=instrument.symbol,
        side=side,
        lots=lots,
        px=px,
        fee_usd=_fee_usd(row),
        trade_id=row.exec_id,
        venue_order_id=row.order_id,
        client_order_id=owner,
        liquidity=_LIQUIDITY.get(row.liquidity_ind, LiquiditySide.UNKNOWN),
        ts_ns=ts_ns,
    )


def _fee_usd(row: ExecutionRow) -> Decimal:
    """What was paid in dollars; in any other asset, what the venue says it is worth. Raises Malformed for neither."""
    if all(fee.asset in QUOTES for fee in row.fees):
        fee = sum((fee.qty for fee in row.fees), Decimal(0))
    elif row.fee_usd_equiv is not None:
        fee = row.fee_usd_equiv
    else:
        raise Malformed(f"kraken trade {row.exec_id}: a fee in {row.fees[0].asset} and no word of its worth")
    if not fee.is_finite():
        raise Malformed(f"kraken trade {row.exec_id}: fee {fee}")
    return fee
