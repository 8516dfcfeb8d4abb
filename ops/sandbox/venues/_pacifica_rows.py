"""How the simulated Pacifica writes things down (docs/venues/pacifica.md 3, 4, 7 and 8). Pure over the Exchange's state."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.clock import NS_PER_MS, NS_PER_S
from core.numeric import plain
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import (
    CancelReason,
    Fill,
    FundingPayment,
    FundingPoint,
    Level,
    Order,
    OrderState,
    Position,
    Reject,
    Trade,
)

Row = dict[str, Any]
TIF_OF = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "ALO": TimeInForce.POST_ONLY,
    "TOB": TimeInForce.POST_ONLY,
}
SIDE_OF = {"bid": Side.BUY, "ask": Side.SELL}
BOOK_LEVELS = 10
HOUR_NS = 3600 * NS_PER_S
_MONEY = Decimal("0.000001")
_REASONS = {
    CancelReason.SELF_TRADE: "self_trade_prevented",
    CancelReason.EXPIRED: "expired",
    CancelReason.REDUCE_ONLY: "force_cancel",
    CancelReason.LIQUIDATED: "force_cancel",
    CancelReason.MARGIN: "force_cancel",
}


def ms(time_ns: int) -> int:
    return time_ns // NS_PER_MS


def money(value: Decimal) -> str:
    return f"{value.quantize(_MONEY):f}"


def side_word(side: Side) -> str:
    return "bid" if side is Side.BUY else "ask"


def is_visible(order: Order) -> bool:
    """Whether the venue ever speaks of the order: what its engine refused at once never became one."""
    if order.reject is None or order.reject is Reject.POST_ONLY_WOULD_CROSS:
        return True
    return order.state is not OrderState.REJECTED and not (order.is_market and order.reject is Reject.IOC_NO_MATCH)


def status_word(order: Order) -> str:
    if order.state is OrderState.OPEN:
        return "partially_filled" if order.filled else "open"
    if order.state is OrderState.REJECTED:
        return "rejected"
    return "filled" if order.filled == order.requested_qty else "cancelled"


def reason_word(order: Order) -> str | None:
    """Why it ended, for orders that were not filled."""
    word = status_word(order)
    if word == "rejected":
        return "post_only_rejected"
    return _REASONS.get(order.cancel_reason or CancelReason.USER, "cancel") if word == "cancelled" else None


def event_word(order: Order) -> str:
    """What happened last."""
    if (reason := reason_word(order)) is not None:
        return reason
    if not order.filled:
        return "make"
    return "fulfill_market" if order.is_market else "fulfill_limit"


def open_order_row(order: Order) -> Row:
    """As in `orders`."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_id,
        "symbol": order.name,
        "side": side_word(order.side),
        "price": plain(order.px),
        "initial_amount": plain(order.requested_qty),
        "filled_amount": plain(order.filled),
        "cancelled_amount": "0",
        "stop_price": None,
        "order_type": _type(order),
        "stop_parent_order_id": None,
        "reduce_only": order.reduce_only,
        "created_at": ms(order.created_ns),
        "updated_at": ms(order.updated_ns),
    }


def past_order_row(order: Order) -> Row:
    """As in `orders/history`."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_id,
        "symbol": order.name,
        "side": side_word(order.side),
        "initial_price": plain(order.px),
        "average_filled_price": _average(order),
        "amount": plain(order.requested_qty),
        "filled_amount": plain(order.filled),
        "order_status": status_word(order),
        "order_type": _type(order),
        "stop_price": None,
        "stop_parent_order_id": None,
        "reduce_only": order.reduce_only,
        "reason": reason_word(order),
        "created_at": ms(order.created_ns),
        "updated_at": ms(order.updated_ns),
    }


def order_events(order: Order) -> list[Row]:
    """As in `orders/history_by_id`, newest first: the present state, and the beginning of what came to rest."""
    cancelled = order.requested_qty - order.filled if status_word(order) == "cancelled" else Decimal(0)
    row: Row = {
        "history_id": order.order_id * 10 + 1,
        "order_id": order.order_id,
        "client_order_id": order.client_id,
        "symbol": order.name,
        "side": side_word(order.side),
        "price": plain(order.px) if not order.filled else _average(order),
        "initial_amount": plain(order.requested_qty),
        "filled_amount": plain(order.filled),
        "cancelled_amount": plain(cancelled),
        "event_type": event_word(order),
        "order_type": _type(order),
        "order_status": status_word(order),
        "stop_price": None,
        "stop_parent_order_id": None,
        "reduce_only": order.reduce_only,
        "created_at": ms(order.updated_ns),
    }
    if order.tif is TimeInForce.IOC or (order.is_open and not order.filled):
        return [row]
    first = row | {"history_id": order.order_id * 10, "price": plain(order.px), "filled_amount": "0", "event_type": "make",
                   "cancelled_amount": "0", "order_status": "open", "created_at": ms(order.created_ns)}  # fmt: skip
    return [row, first]


def update_row(order: Order, li: int) -> Row:
    """As in account_order_updates."""
    last = order.px if not order.filled else order.avg_px
    return {
        "i": order.order_id,
        "I": order.client_id,
        "u": order.account,
        "s": order.name,
        "d": side_word(order.side),
        "p": _average(order),
        "ip": plain(order.px),
        "lp": plain(last.quantize(_MONEY)),
        "a": plain(order.requested_qty),
        "f": plain(order.filled),
        "oe": event_word(order),
        "os": status_word(order),
        "ot": _type(order),
        "sp": None,
        "si": None,
        "r": order.reduce_only,
        "ct": ms(order.created_ns),
        "ut": ms(order.updated_ns),
        "li": li,
    }


def fill_row(fill: Fill) -> Row:
    """As in trades/history."""
    return {
        "history_id": fill.trade_id,
        "order_id": fill.order_id,
        "client_order_id": fill.client_id,
        "symbol": fill.name,
        "amount": plain(fill.qty),
        "price": plain(fill.px),
        "entry_price": plain(_entry(fill)),
        "fee": plain(fill.fee),
        "pnl": plain(fill.realized.quantize(_MONEY)),
        "event_type": "fulfill_maker" if fill.liquidity is LiquiditySide.MAKER else "fulfill_taker",
        "side": _direction(fill),
        "cause": "market_liquidation" if fill.liquidation else "normal",
        "created_at": ms(fill.time_ns),
    }


def fill_update(fill: Fill, li: int) -> Row:
    """As in account_trades."""
    row = fill_row(fill)
    return {
        "h": fill.trade_id,
        "i": fill.order_id,
        "I": fill.client_id,
        "u": fill.account,
        "s": fill.name,
        "p": row["price"],
        "o": row["entry_price"],
        "a": row["amount"],
        "te": row["event_type"],
        "ts": row["side"],
        "tc": row["cause"],
        "f": row["fee"],
        "n": row["pnl"],
        "t": row["created_at"],
        "li": li,
    }


def payment_row(payment: FundingPayment) -> Row:
    return {
        "history_id": payment.payment_id,
        "symbol": payment.name,
        "side": "bid" if payment.qty > 0 else "ask",
        "amount": plain(abs(payment.qty)),
        "payout": plain(payment.cash),
        "rate": plain(payment.rate),
        "created_at": ms(payment.time_ns),
    }


def position_row(exchange: Exchange, account: str, position: Position) -> Row:
    liquidation = exchange.liquidation_px(account, position.name)
    return {
        "symbol": position.name,
        "side": "bid" if position.qty > 0 else "ask",
        "amount": plain(abs(position.qty)),
        "entry_price": plain(position.entry_px.quantize(_MONEY)),
        "margin": "0" if position.cross else money(position.isolated_margin),
        "funding": plain(position.funding_open),
        "isolated": not position.cross,
        "liquidation_price": None if liquidation is None else plain(liquidation.quantize(_MONEY)),
        "created_at": ms(position.updated_ns),
        "updated_at": ms(position.updated_ns),
    }


def position_update(exchange: Exchange, account: str, position: Position) -> Row:
    row = position_row(exchange, account, position)
    return {"s": row["symbol"], "d": row["side"], "a": row["amount"], "p": row["entry_price"], "m": row["margin"],
            "f": row["funding"], "i": row["isolated"], "l": row["liquidation_price"], "t": row["updated_at"]}  # fmt: skip


def held(exchange: Exchange, account: str) -> list[Position]:
    state = exchange.account(account)
    return [position for position in state.positions.values() if position.qty] if state is not None else []


def account_row(exchange: Exchange, account: str, now_ns: int) -> Row:
    """As in `account`."""
    state, margin = exchange.account(account), exchange.margin(account)
    cash = state.cash if state is not None else Decimal(0)
    isolated = sum((each.isolated_margin for each in held(exchange, account)), Decimal(0))
    return {
        "balance": money(cash + isolated),
        "fee_level": 0,
        "maker_fee": plain(exchange.terms.maker_fee),
        "taker_fee": plain(exchange.terms.taker_fee),
        "account_equity": money(margin.equity),
        "cross_account_equity": money(margin.cross_equity),
        "spot_collateral": "0.000000",
        "spot_market_value": "0.000000",
        "available_to_spend": money(margin.free),
        "available_to_withdraw": money(margin.free),
        "pending_balance": "0.000000",
        "pending_interest": "0.000000",
        "total_margin_used": money(margin.initial + isolated + margin.orders),
        "cross_mmr": money(margin.maintenance),
        "positions_count": len(held(exchange, account)),
        "orders_count": len(exchange.open_orders(account)),
        "stop_orders_count": 0,
        "updated_at": ms(now_ns),
        "spot_balances": [],
    }


def account_update(row: Row) -> Row:
    """As in account_info, from the row of `account`."""
    return {"ae": row["account_equity"], "as": row["available_to_spend"], "aw": row["available_to_withdraw"],
            "b": row["balance"], "f": row["fee_level"], "mu": row["total_margin_used"], "cm": row["cross_mmr"],
            "oc": row["orders_count"], "pb": row["pending_balance"], "pc": row["positions_count"], "sc": 0,
            "t": row["updated_at"]}  # fmt: skip


def price_row(exchange: Exchange, name: str, calendar_ns: int, now_ns: int) -> Row:
    """As in `info/prices` and the channel `prices`."""
    top, stats = exchange.top(name), exchange.stats(name)
    mid = (top.bid.px + top.ask.px) / 2 if top.bid is not None and top.ask is not None else exchange.mark(name)
    return {
        "symbol": name,
        "funding": plain(last_settled(exchange, name, calendar_ns)),
        "next_funding": plain(exchange.funding_estimate(name).rate),
        "mark": plain(exchange.mark(name)),
        "mid": plain(mid),
        "oracle": plain(exchange.oracle(name)),
        "open_interest": plain(stats.open_interest),
        "volume_24h": plain(stats.volume_usd),
        "yesterday_price": plain(stats.open_px),
        "timestamp": ms(now_ns),
    }


def last_settled(exchange: Exchange, name: str, calendar_ns: int) -> Decimal:
    points = exchange.funding_history(name, calendar_ns - 2 * HOUR_NS, calendar_ns)
    return points[-1].rate if points else Decimal(0)


def past_rate_row(exchange: Exchange, name: str, point: FundingPoint, following: Decimal) -> Row:
    """As in funding_rate/history; written some seconds after the hour."""
    oracle = exchange.oracle(name)
    return {
        "oracle_price": plain(oracle),
        "bid_impact_price": plain(oracle),
        "ask_impact_price": plain(oracle),
        "funding_rate": plain(point.rate),
        "next_funding_rate": plain(following),
        "created_at": ms(point.time_ns) + 4_249,
    }


def book_levels(exchange: Exchange, name: str, li: int, now_ns: int) -> Row:
    bids, asks = exchange.levels(name, BOOK_LEVELS)
    return {"s": name, "l": [_levels(bids), _levels(asks)], "t": ms(exchange.top(name).time_ns or now_ns), "li": li}


def trade_row(trade: Trade, li: int) -> Row:
    """The taker's side: nobody but the venue knows whether it opened or closed."""
    word = "open_long" if trade.side is Side.BUY else "open_short"
    return {"h": trade.trade_id, "s": trade.name, "a": plain(trade.qty), "p": plain(trade.px), "d": word, "tc": "normal",
            "t": ms(trade.time_ns), "li": li}  # fmt: skip


def _levels(levels: list[Level]) -> list[Row]:
    return [{"p": plain(level.px), "a": plain(level.qty), "n": level.orders} for level in levels]


def _type(order: Order) -> str:
    return "market" if order.is_market else "limit"


def _average(order: Order) -> str:
    return plain(order.avg_px.quantize(_MONEY)) if order.filled else "0"


def _direction(fill: Fill) -> str:
    opens = fill.start_qty * fill.side.sign >= 0
    long = (fill.side is Side.BUY) is opens
    return f"{'open' if opens else 'close'}_{'long' if long else 'short'}"


def _entry(fill: Fill) -> Decimal:
    """Of the position it reduced, from what it realized; an opening fill is its own entry."""
    if fill.start_qty * fill.side.sign >= 0:
        return fill.px
    return (fill.px + fill.side.sign * fill.realized / min(fill.qty, abs(fill.start_qty))).quantize(_MONEY)
