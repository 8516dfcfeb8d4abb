"""GRVT's rows: orders, fills, positions, balances, and the market's figures (docs/venues/grvt.md 3, 4, 7, 8)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from core.types import LiquiditySide, Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import CancelReason, Fill, FundingPayment, FundingPoint, Level, Order, OrderState, Reject, Trade
from ops.sandbox.venues._grvt_errors import Row
from ops.sandbox.venues._grvt_listing import MAKER_CENTIBEEPS, QUOTE, TAKER_CENTIBEEPS, Market

NO_ID = "0x00"
SETTLE_INDEX = "1.000000000"
SIX = Decimal("0.000001")
_CANCELS = {
    CancelReason.USER: "CLIENT_CANCEL",
    CancelReason.IOC_REMAINDER: "IOC_CANCEL",
    CancelReason.REDUCE_ONLY: "REDUCE_ONLY_LIMIT",
    CancelReason.SELF_TRADE: "SELF_TRADE_PROTECTION",
    CancelReason.LIQUIDATED: "LIQUIDATION",
    CancelReason.SCHEDULED: "CLIENT_CANCEL_ON_DISCONNECT_TRIGGERED",
    CancelReason.MARGIN: "BELOW_MARGIN",
    CancelReason.EXPIRED: "EXPIRED",
}
_REJECTS = {
    Reject.MARGIN: "BELOW_MARGIN",
    Reject.POST_ONLY_WOULD_CROSS: "FAIL_POST_ONLY",
    Reject.REDUCE_ONLY: "FAIL_REDUCE_ONLY",
    Reject.TOO_MANY_ORDERS: "TOO_MANY_MAKER_ORDERS",
}


class Memo(msgspec.Struct, frozen=True, array_like=True):
    """What is kept with an order: its words on the wire, and what its signature said."""

    time_in_force: str
    post_only: bool
    signer: str
    r: str
    s: str
    v: int
    expiration_ns: int
    nonce: int

    @classmethod
    def of(cls, order: Order) -> Memo:
        """Of an order of this venue; of one that the venue made itself (a liquidation) an empty one."""
        if not order.memo:
            return cls("IMMEDIATE_OR_CANCEL", False, NO_ID, NO_ID, NO_ID, 27, 0, 0)
        return msgspec.json.decode(order.memo, type=cls)

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


def order_id(order_number: int, market: Market) -> str:
    return f"0x0101{market.asset_id:06x}{order_number:022x}"


def order_number(text: str) -> int | None:
    """The exchange's number in an order id, None for anything else."""
    digits = text.removeprefix("0x")
    try:
        return int(digits[10:], 16) if len(digits) == 32 else None
    except ValueError:
        return None


def plain(value: Decimal) -> str:
    """At least one decimal, as the venue writes numbers."""
    text = format(value, "f")
    if "." not in text:
        return f"{text}.0"
    text = text.rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def order_row(order: Order, market: Market) -> Row:
    memo = Memo.of(order)
    return {
        "order_id": order_id(order.order_id, market), "sub_account_id": order.account, "is_market": order.is_market,
        "time_in_force": memo.time_in_force, "post_only": memo.post_only, "reduce_only": order.reduce_only,
        "legs": [{
            "instrument": order.name, "size": plain(order.requested_qty),
            "limit_price": plain(Decimal(0) if order.is_market else order.px), "is_buying_asset": order.side is Side.BUY,
        }],
        "signature": {
            "signer": memo.signer, "r": memo.r, "s": memo.s, "v": memo.v, "expiration": str(memo.expiration_ns),
            "nonce": memo.nonce, "chain_id": "0",
        },
        "metadata": _metadata(order.client_id or "0", order.created_ns),
        "state": order_state(order),
        "builder": NO_ID, "builder_fee": "0.0",
    }  # fmt: skip


def order_state(order: Order) -> Row:
    """Of an open order `book_size` is what rests; of a finished one it is nothing."""
    status = {
        OrderState.OPEN: "OPEN", OrderState.FILLED: "FILLED", OrderState.CANCELED: "CANCELLED",
        OrderState.REJECTED: "REJECTED",
    }[order.state]  # fmt: skip
    reason = "UNSPECIFIED"
    if order.state is OrderState.REJECTED and order.reject is not None:
        reason = _REJECTS.get(order.reject, "UNSPECIFIED")
    elif order.cancel_reason is not None:
        reason = _CANCELS[order.cancel_reason]
        if reason == "IOC_CANCEL" and order.is_market:
            reason = "MARKET_CANCEL"
    resting = order.remaining if order.is_open else Decimal(0)
    return state_row(status, reason, resting, order.filled, order.avg_px, order.updated_ns)


def state_row(status: str, reason: str, resting: Decimal, traded: Decimal, avg_px: Decimal, at_ns: int) -> Row:
    average = avg_px.quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN)
    return {
        "status": status, "reject_reason": reason, "book_size": [plain(resting)], "traded_size": [plain(traded)],
        "update_time": str(at_ns), "avg_fill_price": [plain(average)],
    }  # fmt: skip


def unplaced_row(order: Row, status: str, reason: str, at_ns: int) -> Row:
    """An order that never reached the book: acknowledged, or ended before it arrived."""
    size = Decimal(str(order["legs"][0]["size"])) if status == "PENDING" else Decimal(0)
    return {
        "order_id": NO_ID, "sub_account_id": str(order["sub_account_id"]), "is_market": bool(order.get("is_market")),
        "time_in_force": order["time_in_force"], "post_only": bool(order.get("post_only")),
        "reduce_only": bool(order.get("reduce_only")), "legs": order["legs"],
        "signature": order["signature"] | {"chain_id": "0"},
        "metadata": _metadata(str(order["metadata"]["client_order_id"]), at_ns),
        "state": state_row(status, reason, size, Decimal(0), Decimal(0), at_ns),
        "builder": NO_ID, "builder_fee": "0.0",
    }  # fmt: skip


def fill_row(fill: Fill, market: Market, signer: str) -> Row:
    taker = fill.liquidity is LiquiditySide.TAKER
    return {
        "event_time": str(fill.time_ns), "sub_account_id": fill.account, "instrument": fill.name,
        "is_buyer": fill.side is Side.BUY, "is_taker": taker, "size": plain(fill.qty), "price": plain(fill.px),
        "mark_price": plain(fill.mark_px), "index_price": plain(fill.mark_px), "interest_rate": "0.0",
        "forward_price": "0.0", "realized_pnl": plain(fill.realized.quantize(SIX, rounding=ROUND_HALF_EVEN)),
        "fee": plain(fill.fee), "fee_rate": "0.045" if taker else "0.0", "trade_id": f"{fill.trade_id}-1",
        "order_id": order_id(fill.order_id, market), "venue": "ORDERBOOK", "client_order_id": fill.client_id or "0",
        "signer": signer, "broker": "UNSPECIFIED", "is_rpi": False, "builder": NO_ID, "builder_fee": "0.0",
    }  # fmt: skip


def position_row(exchange: Exchange, address: str, market: Market, now_ns: int) -> Row:
    """Signed size; also of a flat position, as the stream shows it when it was closed."""
    position = exchange.position(address, market.name)
    mark = exchange.mark(market.name)
    unrealized = (mark - position.entry_px) * position.qty
    liquidation = exchange.liquidation_px(address, market.name)
    return {
        "event_time": str(now_ns), "sub_account_id": address, "instrument": market.name, "size": plain(position.qty),
        "notional": _six(position.qty * mark), "entry_price": _nine(position.entry_px), "exit_price": "0.0",
        "mark_price": _nine(mark), "unrealized_pnl": _six(unrealized), "realized_pnl": "0.0",
        "total_pnl": _six(unrealized), "roi": "0.0", "quote_index_price": SETTLE_INDEX,
        "est_liquidation_price": _nine(liquidation) if liquidation is not None else "0.0",
        "leverage": f"{position.leverage}.0", "cumulative_fee": "0.0",
        "cumulative_realized_funding_payment": _six(position.funding_all),
        "margin_type": "CROSS" if position.cross else "ISOLATED",
    }  # fmt: skip


def account_row(exchange: Exchange, address: str, markets: list[Market], now_ns: int) -> Row:
    """account_summary. What is free is what may still open; the venue also takes losses off what may be withdrawn."""
    margin = exchange.margin(address)
    held = [market for market in markets if exchange.position(address, market.name).qty]
    account = exchange.account(address)
    cash = account.cash if account is not None else Decimal(0)
    return {
        "event_time": str(now_ns), "sub_account_id": address, "margin_type": "SIMPLE_CROSS_MARGIN",
        "settle_currency": QUOTE, "unrealized_pnl": _six(margin.unrealized), "total_equity": _six(margin.equity),
        "initial_margin": _six(margin.initial + margin.orders), "maintenance_margin": _six(margin.maintenance),
        "available_balance": _six(margin.free),
        "spot_balances": [{"currency": QUOTE, "balance": _six(cash), "index_price": SETTLE_INDEX}],
        "positions": [position_row(exchange, address, market, now_ns) for market in held],
        "settle_index_price": SETTLE_INDEX, "derisk_margin": _six(margin.maintenance),
        "derisk_to_maintenance_margin_ratio": "1.0", "total_cross_equity": _six(margin.cross_equity),
        "cross_unrealized_pnl": _six(margin.unrealized),
    }  # fmt: skip


def tier_row() -> Row:
    return {
        "tier": 1, "futures_taker_fee": TAKER_CENTIBEEPS, "futures_maker_fee": MAKER_CENTIBEEPS,
        "options_taker_fee": 0, "options_maker_fee": 0,
    }  # fmt: skip


def payment_row(payment: FundingPayment) -> Row:
    """Positive = paid, the opposite of the exchange's cash."""
    return {
        "event_time": str(payment.time_ns), "sub_account_id": payment.account, "instrument": payment.name,
        "currency": QUOTE, "amount": plain(-payment.cash), "tx_id": str(payment.payment_id),
    }  # fmt: skip


def funding_row(market: Market, point: FundingPoint, mark: Decimal) -> Row:
    return {
        "instrument": market.name, "funding_rate": percent(point.rate), "funding_time": str(point.time_ns),
        "mark_price": _nine(mark), "funding_rate_8_h_avg": percent(point.rate * 8 / market.interval_h),
        "funding_interval_hours": market.interval_h,
    }  # fmt: skip


def mini_row(exchange: Exchange, market: Market, at_ns: int) -> Row:
    """A side that is empty has empty texts."""
    top = exchange.top(market.name)
    stats = exchange.stats(market.name)
    mid = (top.bid.px + top.ask.px) / 2 if top.bid is not None and top.ask is not None else None
    return {
        "event_time": str(at_ns), "instrument": market.name, "mark_price": _nine(exchange.mark(market.name)),
        "index_price": _nine(exchange.oracle(market.name)), "last_price": plain(stats.last_px), "last_size": market.step,
        "mid_price": "" if mid is None else plain(mid),
        "best_bid_price": _px(top.bid), "best_bid_size": _size(top.bid),
        "best_ask_price": _px(top.ask), "best_ask_size": _size(top.ask),
    }  # fmt: skip


def ticker_row(exchange: Exchange, market: Market, at_ns: int) -> Row:
    stats, estimate = exchange.stats(market.name), exchange.funding_estimate(market.name)
    half_base, half_usd = stats.volume_base / 2, stats.volume_usd / 2
    rate = percent(estimate.rate)
    return mini_row(exchange, market, at_ns) | {
        "funding_rate_8h_curr": rate, "funding_rate_8h_avg": rate, "interest_rate": "0.0", "forward_price": "0.0",
        "buy_volume_24h_b": plain(half_base), "sell_volume_24h_b": plain(half_base),
        "buy_volume_24h_q": _six(half_usd), "sell_volume_24h_q": _six(half_usd),
        "high_price": plain(stats.high_px), "low_price": plain(stats.low_px), "open_price": plain(stats.open_px),
        "open_interest": plain(stats.open_interest), "long_short_ratio": "1.0", "funding_rate": rate,
        "funding_interval_hours": market.interval_h, "next_funding_time": str(estimate.time_ns),
    }  # fmt: skip


def book_row(exchange: Exchange, market: Market, depth: int, at_ns: int) -> Row:
    bids, asks = exchange.levels(market.name, depth)
    return {
        "event_time": str(at_ns), "instrument": market.name,
        "bids": [_level(each) for each in bids], "asks": [_level(each) for each in asks],
    }  # fmt: skip


def trade_row(trade: Trade, mark: Decimal, index: Decimal) -> Row:
    return {
        "event_time": str(trade.time_ns), "instrument": trade.name, "is_taker_buyer": trade.side is Side.BUY,
        "size": plain(trade.qty), "price": plain(trade.px), "mark_price": _nine(mark), "index_price": _nine(index),
        "interest_rate": "0.0", "forward_price": "0.0", "trade_id": f"{trade.trade_id}-1", "venue": "ORDERBOOK",
        "is_rpi": False,
    }  # fmt: skip


def percent(rate: Decimal) -> str:
    """A fraction per interval as the venue tells it: percent per interval, four decimals."""
    return plain((rate * 100).quantize(Decimal("0.0001"), rounding=ROUND_HALF_EVEN))


def _metadata(client_id: str, at_ns: int) -> Row:
    trigger = {"trigger_by": "UNSPECIFIED", "trigger_price": "0.0", "close_position": False}
    return {
        "client_order_id": client_id, "create_time": str(at_ns),
        "trigger": {"trigger_type": "UNSPECIFIED", "tpsl": trigger}, "broker": "UNSPECIFIED",
        "is_position_transfer": False, "allow_crossing": False,
    }  # fmt: skip


def _level(level: Level) -> Row:
    return {"price": plain(level.px), "size": plain(level.qty), "num_orders": level.orders}


def _px(level: Level | None) -> str:
    return "" if level is None else plain(level.px)


def _size(level: Level | None) -> str:
    return "" if level is None else plain(level.qty)


def _six(value: Decimal) -> str:
    return plain(value.quantize(SIX, rounding=ROUND_HALF_EVEN))


def _nine(value: Decimal) -> str:
    return plain(value.quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN))
