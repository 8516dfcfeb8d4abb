"""How Aster spells orders, fills and numbers (docs/venues/aster.md 7, 8). Pure functions from the model to wire shapes.

The matching engine knows more ways for an order to end than the venue has words: everything that ended without the user
asking (IOC remainder, IOC without a match, reduce-only with nothing left, self-trade) is EXPIRED, what somebody or the
dead-man switch asked for is CANCELED. An order the engine refused never existed for the venue.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from core.clock import NS_PER_MS
from core.numeric import plain
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.model import CancelReason, Fill, Order, OrderState

TIME_IN_FORCE = {TimeInForce.GTC: "GTC", TimeInForce.IOC: "IOC", TimeInForce.POST_ONLY: "GTX"}
SIDE = {Side.BUY: "BUY", Side.SELL: "SELL"}
LIQUIDATION_PREFIX = "autoclose-"
EIGHT = Decimal("0.00000001")
_ASKED_FOR = frozenset((CancelReason.USER, CancelReason.SCHEDULED))


def money(value: Decimal) -> str:
    """A USDT amount with eight decimals ("23.72469206")."""
    return format(value.quantize(EIGHT, ROUND_HALF_EVEN) + 0, "f")


def average(value: Decimal) -> str:
    """An average price: at least the venue's five decimals ("0.00000"), never rounded to fewer than eight."""
    text = plain(value.quantize(EIGHT, ROUND_HALF_EVEN))
    whole, _, digits = text.partition(".")
    return f"{whole}.{digits.ljust(5, '0')}"


def status(order: Order) -> str:
    """NEW, PARTIALLY_FILLED, FILLED, CANCELED or EXPIRED."""
    if order.state is OrderState.OPEN:
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    if order.state is OrderState.FILLED:
        return "FILLED"
    return "CANCELED" if order.cancel_reason in _ASKED_FOR else "EXPIRED"


def is_liquidation(order: Order) -> bool:
    """Whether the venue placed this order itself to close a position: every order of a client has an id."""
    return order.client_id is None


def client_id(order: Order) -> str:
    return order.client_id or f"{LIQUIDATION_PREFIX}{order.order_id}"


def order_row(order: Order, acknowledged: bool = False, with_time: bool = False) -> dict[str, object]:
    """An order as place, cancel and query answer it. `acknowledged`: the ACK form, which never tells a fill."""
    filled = Decimal(0) if acknowledged else order.filled
    notional = Decimal(0) if acknowledged else order.filled_notional
    row: dict[str, object] = {
        "orderId": order.order_id,
        "symbol": order.name,
        "status": "NEW" if acknowledged else status(order),
        "clientOrderId": client_id(order),
        "price": "0" if order.is_market else plain(order.px),
        "avgPrice": average(notional / filled if filled else Decimal(0)),
        "origQty": plain(order.qty),
        "executedQty": plain(filled),
        "cumQty": plain(filled),
        "cumQuote": plain(notional),
        "timeInForce": "GTC" if order.is_market else TIME_IN_FORCE[order.tif],
        "type": kind(order),
        "reduceOnly": order.reduce_only,
        "closePosition": False,
        "side": SIDE[order.side],
        "positionSide": "BOTH",
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": kind(order),
        "updateTime": order.updated_ns // NS_PER_MS,
    }
    if with_time:
        row["time"] = order.created_ns // NS_PER_MS
        del row["cumQty"]  # the query form has no such key
    return row


def kind(order: Order) -> str:
    return "MARKET" if order.is_market else "LIMIT"


def trade_row(fill: Fill) -> dict[str, object]:
    """A row of userTrades. The documented commission is negative when paid."""
    return {
        "buyer": fill.side is Side.BUY,
        "commission": money(-fill.fee),
        "commissionAsset": "USDT",
        "id": fill.trade_id,
        "maker": fill.liquidity is LiquiditySide.MAKER,
        "orderId": fill.order_id,
        "price": plain(fill.px),
        "qty": plain(fill.qty),
        "quoteQty": plain(fill.px * fill.qty),
        "realizedPnl": money(fill.realized),
        "side": SIDE[fill.side],
        "positionSide": "BOTH",
        "symbol": fill.name,
        "time": fill.time_ns // NS_PER_MS,
    }
