"""How Kraken writes orders, trades and wallets: by REST with text figures and seconds, by socket with JSON numbers and
RFC 3339 times (docs/venues/kraken.md 7, 8)."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from core.clock import NS_PER_US
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.model import CancelReason, Fill, Order, OrderState
from ops.sandbox.venues._kraken_listing import QUOTE, Pair

Row = dict[str, Any]

_DIGITS = string.digits + string.ascii_uppercase
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAIL = 16
_REASONS = {
    CancelReason.USER: "User requested",
    CancelReason.IOC_REMAINDER: "Immediate or cancel",
    CancelReason.SELF_TRADE: "Self trade prevention",
    CancelReason.SCHEDULED: "Cancel all orders after",
    CancelReason.EXPIRED: "Order expired",
}
TIF_WIRE = {TimeInForce.GTC: "GTC", TimeInForce.POST_ONLY: "GTC", TimeInForce.IOC: "IOC"}
REST_STATES = {OrderState.OPEN: "open", OrderState.FILLED: "closed", OrderState.CANCELED: "canceled"}
STATES = {OrderState.OPEN: "new", OrderState.FILLED: "filled", OrderState.CANCELED: "canceled"}


def dumps(row: Row) -> bytes:
    """Decimals become JSON numbers, small ones with an exponent."""
    return orjson.dumps(row, default=_number)


def order_txid(order_id: int) -> str:
    return _txid("O", order_id)


def trade_txid(trade_id: int) -> str:
    return _txid("T", trade_id)


def number_of(txid: str, letter: str = "O") -> int | None:
    """The number behind a txid; None when it is none of ours."""
    plain = txid.replace("-", "")
    if len(plain) != _TAIL + 1 or plain[0] != letter or not set(plain) <= set(_DIGITS):
        return None
    return int(plain[1:], 36)


def stamp(wire_ns: int) -> str:
    """RFC 3339 with microseconds."""
    told = _EPOCH + timedelta(microseconds=wire_ns // NS_PER_US)
    return told.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(wire_ns: int) -> float:
    return wire_ns // NS_PER_US / 1e6


# ---- REST ---------------------------------------------------------------------------------------------------------------


def rest_order(order: Order, pair: Pair, fee: Decimal, trades: list[str] | None = None) -> Row:
    """A row of OpenOrders, ClosedOrders and QueryOrders."""
    side, kind = order.side.value, "market" if order.is_market else "limit"
    limit = f"{order.px:.{pair.price_decimals}f}"
    size = f"{order.requested_qty:.{pair.lot_decimals}f}"
    row: Row = {
        "refid": None, "userref": int(order.memo or 0), "status": REST_STATES[order.state],
        "opentm": seconds(order.created_ns), "starttm": 0, "expiretm": 0,
        "descr": {
            "pair": pair.altname, "type": side, "ordertype": kind, "price": limit, "price2": "0", "leverage": "none",
            "order": f"{side} {size} {pair.altname} @ {kind} {limit}", "close": "",
        },
        "vol": size, "vol_exec": f"{order.filled:.{pair.lot_decimals}f}", "cost": f"{order.filled_notional:.5f}",
        "fee": f"{fee:.5f}", "price": f"{order.avg_px:.{pair.price_decimals + 3}f}", "stopprice": "0.00000",
        "limitprice": "0.00000", "misc": "",
        "oflags": "post,fciq" if order.tif is TimeInForce.POST_ONLY else "fciq",
    }  # fmt: skip
    if order.client_id:
        row["cl_ord_id"] = order.client_id
    if order.state is not OrderState.OPEN:
        reason = _REASONS.get(order.cancel_reason, "Canceled") if order.cancel_reason is not None else None
        row |= {"closetm": seconds(order.updated_ns), "reason": reason}
    if trades is not None:
        row["trades"] = trades
    return row


def rest_trade(fill: Fill, pair: Pair) -> Row:
    """A row of TradesHistory and QueryTrades."""
    return {
        "ordertxid": order_txid(fill.order_id), "postxid": "", "pair": pair.key, "time": seconds(fill.time_ns),
        "type": fill.side.value, "ordertype": "limit", "price": f"{fill.px:.{pair.price_decimals}f}",
        "cost": str(fill.qty * fill.px), "fee": str(fill.fee), "vol": f"{fill.qty:.{pair.lot_decimals}f}",
        "margin": "0.00000", "leverage": "0", "misc": "", "trade_id": fill.trade_id,
        "maker": fill.liquidity is LiquiditySide.MAKER,
    }  # fmt: skip


# ---- socket -------------------------------------------------------------------------------------------------------------


def opened(order: Order, exec_type: str, status: str, wire_ns: int) -> Row:
    """The first word about an order, or its row in a snapshot: every field."""
    row: Row = {
        "order_id": order_txid(order.order_id), "order_userref": int(order.memo or 0), "symbol": order.name,
        "order_qty": order.requested_qty, "cum_qty": order.filled, "cum_cost": order.filled_notional,
        "time_in_force": TIF_WIRE[order.tif], "exec_type": exec_type, "side": order.side.value,
        "order_type": "market" if order.is_market else "limit", "limit_price_type": "static", "limit_price": order.px,
        "stop_price": 0.0, "order_status": status, "fee_usd_equiv": 0.0, "fee_ccy_pref": "fciq",
        "timestamp": stamp(wire_ns),
    }  # fmt: skip
    if order.client_id:
        row["cl_ord_id"] = order.client_id
    if order.tif is TimeInForce.POST_ONLY:
        row["post_only"] = True
    return row


def changed(order: Order, exec_type: str, status: str) -> Row:
    """A later word: what it is about and little else."""
    row: Row = {
        "order_id": order_txid(order.order_id), "order_userref": int(order.memo or 0), "exec_type": exec_type,
        "order_status": status, "timestamp": stamp(order.updated_ns),
    }  # fmt: skip
    if exec_type in ("filled", "canceled"):
        row |= {"cum_qty": order.filled, "cum_cost": order.filled_notional, "avg_price": order.avg_px}
    if exec_type == "canceled" and order.cancel_reason is not None:
        row["reason"] = _REASONS.get(order.cancel_reason, "Canceled")
    if exec_type in ("amended", "restated"):
        row |= {"order_qty": order.requested_qty, "limit_price": order.px}
    return row


def traded(order: Order, fill: Fill, is_last: bool) -> Row:
    """One execution. It names the order by the venue's id alone."""
    return {
        "order_id": order_txid(order.order_id), "exec_id": trade_txid(fill.trade_id), "exec_type": "trade",
        "trade_id": fill.trade_id, "symbol": fill.name, "side": fill.side.value, "last_qty": fill.qty,
        "last_price": fill.px, "liquidity_ind": "m" if fill.liquidity is LiquiditySide.MAKER else "t",
        "cost": fill.qty * fill.px, "order_userref": int(order.memo or 0),
        "order_status": "filled" if is_last else "partially_filled",
        "order_type": "market" if order.is_market else "limit", "fee_usd_equiv": fill.fee,
        "fees": [{"asset": QUOTE, "qty": fill.fee}], "timestamp": stamp(fill.time_ns),
    }  # fmt: skip


def level_row(px: Decimal, qty: Decimal) -> Row:
    return {"price": px, "qty": qty}


def side_of(text: str) -> Side | None:
    return {"buy": Side.BUY, "sell": Side.SELL}.get(text)


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} has no place in a frame")


def _txid(letter: str, number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    text = letter + digits.rjust(_TAIL, "0")
    return f"{text[:6]}-{text[6:11]}-{text[11:]}"
