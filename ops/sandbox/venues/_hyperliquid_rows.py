"""How the simulated Hyperliquid writes things down: numbers, order and fill rows, account states, refusals.

Shapes and texts: docs/venues/hyperliquid.md 3, 7, 8 and 10. Every function is pure over the Exchange's present state.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.clock import NS_PER_MS
from core.numeric import plain
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.account import unrealized
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import (
    CancelReason,
    Fill,
    FundingPayment,
    Level,
    Margin,
    Order,
    OrderState,
    Position,
    Reject,
    Top,
)

Row = dict[str, Any]
ZERO_HASH = "0x" + "0" * 64
TIF_WORD = {TimeInForce.GTC: "Gtc", TimeInForce.IOC: "Ioc", TimeInForce.POST_ONLY: "Alo"}
TIF_OF = {word: tif for tif, word in TIF_WORD.items()}
_MONEY = Decimal("0.000001")

_REFUSAL = {
    Reject.UNKNOWN_SYMBOL: "Order has invalid asset.",
    Reject.TICK: "Price must be divisible by tick size.",
    Reject.LOT: "Order has invalid size.",
    Reject.ZERO_SIZE: "Order has zero size.",
    Reject.MIN_NOTIONAL: "Order must have minimum value of $10.",
    Reject.MARGIN: "Insufficient margin to place order.",
    Reject.REDUCE_ONLY: "Reduce only order would increase position.",
    Reject.IOC_NO_MATCH: "Order could not immediately match against any resting orders.",
    Reject.PRICE_BAND: "Order price cannot be more than 80% away from the reference price",
    Reject.TOO_MANY_ORDERS: "Too many open orders.",
    Reject.UNKNOWN_ORDER: "Order was never placed, already canceled, or filled.",
}
_REJECTED_WORD = {
    Reject.TICK: "tickRejected",
    Reject.MIN_NOTIONAL: "minTradeNtlRejected",
    Reject.MARGIN: "perpMarginRejected",
    Reject.REDUCE_ONLY: "reduceOnlyRejected",
    Reject.POST_ONLY_WOULD_CROSS: "badAloPxRejected",
    Reject.IOC_NO_MATCH: "iocCancelRejected",
    Reject.PRICE_BAND: "oracleRejected",
    Reject.TOO_MANY_ORDERS: "tooManyOpenOrdersRejected",
}
_CANCELED_WORD = {
    CancelReason.USER: "canceled",
    CancelReason.IOC_REMAINDER: "canceled",
    CancelReason.REDUCE_ONLY: "reduceOnlyCanceled",
    CancelReason.SELF_TRADE: "selfTradeCanceled",
    CancelReason.LIQUIDATED: "liquidatedCanceled",
    CancelReason.SCHEDULED: "scheduledCancel",
    CancelReason.MARGIN: "marginCanceled",
    CancelReason.EXPIRED: "canceled",
}


def num(value: Decimal) -> str:
    """A decimal as the venue prints it: plain, at least one place ("84143.0")."""
    text = plain(value)
    return text if "." in text else text + ".0"


def money(value: Decimal) -> str:
    """USD at the venue's six places."""
    return num(value.quantize(_MONEY))


def ms(time_ns: int) -> int:
    return time_ns // NS_PER_MS


def side_word(side: Side) -> str:
    return "B" if side is Side.BUY else "A"


def refusal(reason: Reject, asset: int, top: Top | None) -> str:
    """The text of a per-order error; live ones end in the asset id."""
    if reason is Reject.POST_ONLY_WOULD_CROSS:
        bid = num(top.bid.px) if top is not None and top.bid is not None else "0.0"
        ask = num(top.ask.px) if top is not None and top.ask is not None else "0.0"
        text = f"Post only order would have immediately matched, bbo was {bid}@{ask}."
    else:
        text = _REFUSAL[reason]
    return f"{text} asset={asset}"


def status_word(order: Order) -> str:
    """The order's status in the venue's vocabulary."""
    if order.state is OrderState.REJECTED:
        return _REJECTED_WORD.get(order.reject or Reject.UNKNOWN_ORDER, "rejected")
    if order.state is OrderState.CANCELED:
        if order.reject is Reject.IOC_NO_MATCH:
            return _REJECTED_WORD[Reject.IOC_NO_MATCH]
        return _CANCELED_WORD[order.cancel_reason or CancelReason.USER]
    return "filled" if order.state is OrderState.FILLED else "open"


def order_row(order: Order) -> Row:
    """The short form, as in openOrders and orderUpdates."""
    row: Row = {
        "coin": order.name,
        "side": side_word(order.side),
        "limitPx": num(order.px),
        "sz": num(order.remaining),
        "oid": order.order_id,
        "timestamp": ms(order.created_ns),
        "origSz": num(order.requested_qty),
    }
    if order.reduce_only:
        row["reduceOnly"] = True
    if order.client_id is not None:
        row["cloid"] = order.client_id
    return row


def long_order_row(order: Order) -> Row:
    """The form of frontendOpenOrders, orderStatus and historicalOrders."""
    return {
        **order_row(order),
        "triggerCondition": "N/A",
        "isTrigger": False,
        "triggerPx": "0.0",
        "children": [],
        "isPositionTpsl": False,
        "reduceOnly": order.reduce_only,
        "orderType": "Market" if order.is_market else "Limit",
        "tif": TIF_WORD[order.tif],
        "cloid": order.client_id,
    }


def status_row(order: Order) -> Row:
    """An order with its status, as in historicalOrders; orderUpdates carry the short form instead."""
    return {"order": long_order_row(order), "status": status_word(order), "statusTimestamp": ms(order.updated_ns)}


def update_row(order: Order) -> Row:
    return {"order": order_row(order), "status": status_word(order), "statusTimestamp": ms(order.updated_ns)}


def fill_row(fill: Fill) -> Row:
    row: Row = {
        "coin": fill.name,
        "px": num(fill.px),
        "sz": num(fill.qty),
        "side": side_word(fill.side),
        "time": ms(fill.time_ns),
        "startPosition": num(fill.start_qty),
        "dir": _direction(fill),
        "closedPnl": money(fill.realized),
        "hash": "0x" + f"{fill.trade_id:064x}",
        "oid": fill.order_id,
        "crossed": fill.liquidity is LiquiditySide.TAKER,
        "fee": money(fill.fee),
        "tid": fill.trade_id,
        "feeToken": "USDC",
        "twapId": None,
    }
    if fill.client_id is not None:
        row["cloid"] = fill.client_id
    if fill.liquidation:
        row["liquidation"] = {"liquidatedUser": fill.account, "markPx": num(fill.mark_px), "method": "market"}
    return row


def payment_row(payment: FundingPayment) -> Row:
    """A row of userFunding."""
    delta = {"type": "funding", **payment_delta(payment)}
    return {"time": ms(payment.time_ns), "hash": ZERO_HASH, "delta": delta}


def payment_delta(payment: FundingPayment) -> Row:
    return {
        "coin": payment.name,
        "usdc": money(payment.cash),
        "szi": num(payment.qty),
        "fundingRate": plain(payment.rate),
        "nSamples": None,
    }


def levels_rows(levels: list[Level]) -> list[Row]:
    return [{"px": num(level.px), "sz": num(level.qty), "n": level.orders} for level in levels]


def clearinghouse_state(exchange: Exchange, user: str, now_ns: int) -> Row:
    """The account's margin figures and positions; empty for a stranger, as on the venue."""
    margin = exchange.margin(user)
    account = exchange.account(user)
    held = [p for p in account.positions.values() if p.qty and p.name in exchange.contracts] if account else []
    signed = sum((p.qty * exchange.mark(p.name) for p in held), Decimal(0))
    signed_cross = sum((p.qty * exchange.mark(p.name) for p in held if p.cross), Decimal(0))
    used = margin.initial + sum((_margin_used(exchange, p) for p in held if not p.cross), Decimal(0))
    return {
        "marginSummary": _summary(margin.equity, margin.notional, margin.equity - signed, used),
        "crossMarginSummary": _summary(
            margin.cross_equity, margin.cross_notional, margin.cross_equity - signed_cross, margin.initial
        ),
        "crossMaintenanceMarginUsed": money(margin.maintenance),
        "withdrawable": money(_withdrawable(margin)),
        "assetPositions": [{"type": "oneWay", "position": _position_row(exchange, user, p)} for p in held],
        "time": ms(now_ns),
    }


def asset_context(exchange: Exchange, name: str) -> Row:
    """One contract's context; nulls on a dead market."""
    contract = exchange.contracts[name]
    if not contract.listed or not exchange.pricing.known(name):
        return {"funding": "0.0", "openInterest": "0.0", "prevDayPx": "0.0", "dayNtlVlm": "0.0", "premium": None,
                "oraclePx": "0.0", "markPx": "0.0", "midPx": None, "impactPxs": None, "dayBaseVlm": "0.0"}  # fmt: skip
    top, stats, oracle = exchange.top(name), exchange.stats(name), exchange.oracle(name)
    mid = _mid(top)
    impact = [num(top.bid.px), num(top.ask.px)] if top.bid is not None and top.ask is not None else None
    premium = None if mid is None else num(((mid - oracle) / oracle).quantize(Decimal("0.0000000001")))
    return {
        "funding": plain(exchange.funding_estimate(name).rate),
        "openInterest": num(stats.open_interest),
        "prevDayPx": num(stats.open_px),
        "dayNtlVlm": num(stats.volume_usd),
        "premium": premium,
        "oraclePx": num(oracle),
        "markPx": num(exchange.mark(name)),
        "midPx": None if mid is None else num(mid),
        "impactPxs": impact,
        "dayBaseVlm": num(stats.volume_base),
    }


def all_mids(exchange: Exchange) -> Row:
    mids = {name: _mid(exchange.top(name)) for name, contract in exchange.contracts.items() if contract.listed}
    return {name: num(mid) for name, mid in mids.items() if mid is not None}


def leverage_row(position: Position, equity: Decimal | None = None) -> Row:
    row: Row = {"type": "cross" if position.cross else "isolated", "value": position.leverage}
    if not position.cross and equity is not None:
        row["rawUsd"] = money(equity)
    return row


def _position_row(exchange: Exchange, user: str, position: Position) -> Row:
    contract, mark = exchange.contracts[position.name], exchange.mark(position.name)
    value, pnl = abs(position.qty) * mark, unrealized(position, mark)
    used = _margin_used(exchange, position)
    entry_value = abs(position.qty) * position.entry_px / position.leverage
    liquidation = exchange.liquidation_px(user, position.name)
    raw = position.isolated_margin - position.qty * position.entry_px
    return {
        "coin": position.name,
        "szi": num(position.qty),
        "leverage": leverage_row(position, raw),
        "entryPx": num(position.entry_px.quantize(Decimal("1e-10"))),
        "positionValue": money(value),
        "unrealizedPnl": money(pnl),
        "returnOnEquity": num((pnl / entry_value).quantize(Decimal("1e-10"))) if entry_value else "0.0",
        "liquidationPx": None if liquidation is None else num(liquidation.quantize(Decimal("1e-10"))),
        "marginUsed": money(used),
        "maxLeverage": contract.max_leverage,
        "cumFunding": {
            "allTime": money(position.funding_all),
            "sinceOpen": money(position.funding_open),
            "sinceChange": money(position.funding_open),
        },
    }


def _margin_used(exchange: Exchange, position: Position) -> Decimal:
    mark = exchange.mark(position.name)
    if position.cross:
        return abs(position.qty) * mark / position.leverage
    return position.isolated_margin + unrealized(position, mark)


def _summary(value: Decimal, notional: Decimal, raw: Decimal, used: Decimal) -> Row:
    return {
        "accountValue": money(value),
        "totalNtlPos": money(notional),
        "totalRawUsd": money(raw),
        "totalMarginUsed": money(used),
    }


def _withdrawable(margin: Margin) -> Decimal:
    """accountValue less the larger of initial margin and a tenth of the notional."""
    kept = max(margin.initial + margin.orders, margin.cross_notional / 10)
    return max(Decimal(0), margin.cross_equity - kept)


def _mid(top: Top) -> Decimal | None:
    return None if top.bid is None or top.ask is None else (top.bid.px + top.ask.px) / 2


def _direction(fill: Fill) -> str:
    """Display text only."""
    after = fill.start_qty + fill.side.sign * fill.qty
    if fill.start_qty and fill.start_qty * after < 0:
        return "Long > Short" if fill.start_qty > 0 else "Short > Long"
    opens = fill.start_qty * fill.side.sign >= 0
    long = fill.side is Side.BUY if opens else fill.side is Side.SELL
    return f"{'Open' if opens else 'Close'} {'Long' if long else 'Short'}"
