"""Lighter's JSON of orders, trades, positions, accounts and funding (docs/venues/lighter.md 4, 7, 8).

Order indices lie above 2^53 on purpose, as real ones do: a client that passes them through floats loses them. `side` of an
order is always empty, seconds and microseconds stand side by side, and a position's size carries no sign.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US
from core.types import LiquiditySide, Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import (
    ZERO,
    AccountState,
    CancelReason,
    Fill,
    FundingPayment,
    FundingPoint,
    Order,
    OrderState,
    Position,
    Reject,
    Trade,
)
from ops.sandbox.venues._lighter_keys import l1_address
from ops.sandbox.venues._lighter_listing import Listing, Market, daily

ORDER_BASE = 10_414_574_000_000_000
TRADE_BASE = 26_400_000_000
CLIENT_LIMIT = 1 << 48  # indices below are client order indices
OTHERS = 281474976710654  # the account index that stands for everybody else
SWITCH_KEY = "cancel_all_ms"  # extras: when the dead-man switch cancels everything
Row = dict[str, Any]

_TYPES = {0: "limit", 1: "market"}
_TIFS = {0: "immediate-or-cancel", 1: "good-till-time", 2: "post-only"}
_CANCELED = {
    CancelReason.REDUCE_ONLY: "canceled-reduce-only",
    CancelReason.SELF_TRADE: "canceled-self-trade",
    CancelReason.LIQUIDATED: "canceled-liquidation",
    CancelReason.MARGIN: "canceled-margin-not-allowed",
    CancelReason.EXPIRED: "canceled-expired",
}
_REJECTED = {
    Reject.MARGIN: "canceled-margin-not-allowed",
    Reject.REDUCE_ONLY: "canceled-reduce-only",
    Reject.POST_ONLY_WOULD_CROSS: "canceled-post-only",
}


class Memo(NamedTuple):
    """What an order needs beyond the exchange's own fields; durable with it, in `Order.memo`."""

    kind: int
    tif: int
    expiry_ms: int
    tx_hash: str

    def text(self) -> str:
        return f"{self.kind}:{self.tif}:{self.expiry_ms}:{self.tx_hash}"

    @classmethod
    def of(cls, order: Order) -> Memo:
        """Orders that the venue made itself (liquidations) have none."""
        if not order.memo:
            return cls(1, 0, 0, "")
        kind, tif, expiry_ms, tx_hash = order.memo.split(":")
        return cls(int(kind), int(tif), int(expiry_ms), tx_hash)


def order_index(order_id: int) -> int:
    return ORDER_BASE + order_id


def client_index(client_id: str | None) -> int:
    return int(client_id) if client_id is not None else 0


def status_of(order: Order) -> str:
    """`filled_base_amount` tells the truth whatever stands here."""
    if order.state is OrderState.OPEN:
        return "open"
    if order.state is OrderState.FILLED:
        return "filled"
    if order.state is OrderState.REJECTED:
        return _REJECTED.get(order.reject or Reject.MARGIN, "canceled")
    if order.cancel_reason is CancelReason.IOC_REMAINDER:
        bounded = Memo.of(order).kind == 1
        return "canceled-too-much-slippage" if bounded else "canceled-not-enough-liquidity"
    return _CANCELED.get(order.cancel_reason or CancelReason.USER, "canceled")


def order_row(order: Order, market: Market) -> Row:
    memo = Memo.of(order)
    index, client = order_index(order.order_id), client_index(order.client_id)
    return {
        "order_index": index, "client_order_index": client, "order_id": str(index), "client_order_id": str(client),
        "market_index": market.index, "owner_account_index": int(order.account),
        "initial_base_amount": market.size(order.requested_qty), "price": market.px(order.px), "nonce": order.order_id,
        "remaining_base_amount": market.size(order.remaining), "is_ask": order.side is Side.SELL,
        "base_size": int(order.requested_qty / market.lot), "base_price": int(order.px / market.tick),
        "filled_base_amount": market.size(order.filled), "filled_quote_amount": usd(order.filled_notional), "side": "",
        "type": _TYPES[memo.kind], "time_in_force": _TIFS[memo.tif], "reduce_only": order.reduce_only,
        "trigger_price": market.px(ZERO), "order_expiry": memo.expiry_ms, "status": status_of(order),
        "trigger_status": "na", "trigger_time": 0, "parent_order_index": 0, "parent_order_id": "0",
        "to_trigger_order_id_0": "0", "to_trigger_order_id_1": "0", "to_cancel_order_id_0": "0",
        "integrator_fee_collector_index": "", "integrator_taker_fee": "", "integrator_maker_fee": "", "order_flags": 0,
        "block_height": order.updated_ns // NS_PER_S, "timestamp": order.updated_ns // NS_PER_S,
        "created_at": order.created_ns // NS_PER_S, "updated_at": order.updated_ns // NS_PER_S,
        "transaction_time": order.updated_ns // NS_PER_US,
    }  # fmt: skip


def fill_row(fill: Fill, market: Market, order: Order | None) -> Row:
    """An account's own execution: it stands on its side, everybody else on the other. Fees are rates; zero is left out."""
    index = order_index(fill.order_id)
    mine, client = int(fill.account), client_index(order.client_id if order is not None else fill.client_id)
    asks = fill.side is Side.SELL
    maker = fill.liquidity is LiquiditySide.MAKER
    row = _trade_row(fill.trade_id, market, fill.px, fill.qty, fill.time_ns, maker is asks)
    own, other = ("ask", "bid") if asks else ("bid", "ask")
    row |= {
        f"{own}_id": index, f"{own}_client_id": client, f"{own}_account_id": mine, f"{own}_id_str": str(index),
        f"{own}_client_id_str": str(client), f"{own}_account_pnl": usd(fill.realized),
        f"{other}_id": index + 1, f"{other}_client_id": 0, f"{other}_account_id": OTHERS, f"{other}_id_str": str(index + 1),
        f"{other}_client_id_str": "0", f"{other}_account_pnl": "0.000000",
        "type": "liquidation" if fill.liquidation else "trade",
    }  # fmt: skip
    role = "maker" if maker else "taker"
    row[f"{role}_position_size_before"] = market.size(abs(fill.start_qty))
    flipped = fill.start_qty * (fill.start_qty + fill.side.sign * fill.qty) < 0
    row[f"{role}_position_sign_changed"] = flipped or not fill.start_qty
    if fill.fee:
        row[f"{role}_fee"] = int(fill.fee / (fill.qty * fill.px) * 1_000_000)
    return row


def print_row(trade: Trade, market: Market) -> Row:
    """A public print."""
    row = _trade_row(trade.trade_id, market, trade.px, trade.qty, trade.time_ns, trade.side is Side.BUY)
    index = order_index(trade.trade_id)
    return row | {
        "ask_id": index, "bid_id": index + 1, "ask_client_id": 0, "bid_client_id": 0, "ask_account_id": OTHERS,
        "bid_account_id": OTHERS, "ask_id_str": str(index), "bid_id_str": str(index + 1), "ask_client_id_str": "0",
        "bid_client_id_str": "0", "type": "trade",
    }  # fmt: skip


def position_row(exchange: Exchange, account: AccountState, position: Position, market: Market) -> Row:
    """Initial margin fraction is percent here, and the size has no sign of its own."""
    mark = exchange.mark(position.name)
    qty = abs(position.qty)
    liquidation = exchange.liquidation_px(account.address, position.name)
    orders = len(exchange.open_orders(account.address, position.name))
    return {
        "market_id": market.index, "symbol": market.name,
        "initial_margin_fraction": f"{Decimal(margin_fraction(account, position)) / 100:.2f}",
        "open_order_count": orders, "pending_order_count": 0, "position_tied_order_count": 0,
        "sign": -1 if position.qty < 0 else 1, "position": market.size(qty),
        "avg_entry_price": market.px(position.entry_px) if qty else "0.0", "position_value": usd(qty * mark),
        "unrealized_pnl": usd((mark - position.entry_px) * position.qty), "realized_pnl": "0.000000",
        "liquidation_price": market.px(liquidation) if liquidation is not None else "0",
        "total_funding_paid_out": usd(position.funding_open), "margin_mode": 0 if position.cross else 1,
        "allocated_margin": usd(position.isolated_margin), "total_discount": "0.000000",
    }  # fmt: skip


def margin_fraction(account: AccountState, position: Position) -> int:
    """The initial margin fraction in 1e-4: what was set, or the default."""
    kept = account.extras.get(fraction_key(position.name))
    return int(kept) if kept is not None else 10_000 // position.leverage


def fraction_key(name: str) -> str:
    """Extras: the fraction as it was set, since leverage in whole numbers cannot say 33.33 %."""
    return f"imf:{name}"


def account_row(exchange: Exchange, account: AccountState, listing: Listing) -> Row:
    """An account as `account` shows it."""
    figures = exchange.margin(account.address)
    held = sum((position.isolated_margin for position in account.positions.values()), ZERO)
    orders = exchange.open_orders(account.address)
    index = int(account.address)
    return {
        "code": 0, "account_type": 0, "index": index, "l1_address": l1_address(index),
        "cancel_all_time": int(account.extras.get(SWITCH_KEY, "0")), "total_order_count": len(orders),
        "total_isolated_order_count": 0, "pending_order_count": 0, "available_balance": usd(figures.free), "status": 1,
        "collateral": usd(account.cash + held), "transaction_time": 0, "account_trading_mode": 0,
        "account_index": index, "name": "", "description": "", "can_invite": False, "referral_points_percentage": "",
        "can_rfq": False, "can_rfq_market_ids": None, "created_at": 0, "metadata": {"color": ""},
        "positions": positions(exchange, account, listing), "assets": [asset_row(account.cash + held)],
        "total_asset_value": usd(figures.equity), "cross_asset_value": usd(figures.cross_equity),
        "cross_initial_margin_requirement": usd(figures.initial + figures.orders),
        "cross_maintenance_margin_requirement": usd(figures.maintenance), "shares": [], "pending_unlocks": [],
        "approved_integrators": [],
    }  # fmt: skip


def positions(exchange: Exchange, account: AccountState, listing: Listing) -> list[Row]:
    """Every contract that the account ever set or held, flat ones too."""
    rows = [row for row in account.positions.values() if row.name in listing.by_name]
    return [position_row(exchange, account, row, listing.by_name[row.name]) for row in rows]


def asset_row(collateral: Decimal) -> Row:
    """USDC: the spot wallet is empty, the perp side holds the collateral."""
    return {
        "symbol": "USDC", "asset_id": 3, "balance": "0.000000", "locked_balance": "0.000000", "margin_mode": "disabled",
        "margin_balance": usd(collateral),
    }  # fmt: skip


def stats_row(exchange: Exchange, account: AccountState) -> Row:
    """`user_stats`: equity is `portfolio_value`, `margin_usage` is percent."""
    figures = exchange.margin(account.address)
    held = sum((position.isolated_margin for position in account.positions.values()), ZERO)
    equity = figures.equity
    used = figures.initial + figures.orders
    part = {
        "collateral": usd(account.cash + held), "portfolio_value": usd(equity),
        "leverage": f"{figures.notional / equity if equity > 0 else ZERO:.2f}",
        "available_balance": usd(figures.free), "margin_usage": f"{used / equity * 100 if equity > 0 else ZERO:.2f}",
        "buying_power": "0",
    }  # fmt: skip
    return part | {"cross_stats": part, "total_stats": part}


def payment_row(payment: FundingPayment, market: Market) -> Row:
    """A payment of one's own; `change` is what it did to the collateral."""
    return {
        "timestamp": payment.time_ns // NS_PER_S, "market_id": market.index, "funding_id": payment.payment_id,
        "change": usd(payment.cash), "discount": "0.000000", "rate": percent(payment.rate),
        "position_size": market.size(abs(payment.qty)), "position_side": "long" if payment.qty > 0 else "short",
    }  # fmt: skip


def funding_row(point: FundingPoint, px: Decimal) -> Row:
    """A settled hour: the rate is percent and unsigned, `direction` says who paid."""
    return {
        "timestamp": point.time_ns // NS_PER_S, "value": f"{abs(point.rate) * px:.8f}",
        "rate": percent(abs(point.rate)), "direction": "short" if point.rate < 0 else "long",
    }  # fmt: skip


def market_stats(exchange: Exchange, market: Market, now_ns: int) -> Row:
    """One market of the statistics channels. Rates are percent per hour; open interest is USD here."""
    name = market.name
    stats, mark, top = exchange.stats(name), exchange.mark(name), exchange.top(name)
    hour_ns = 3600 * NS_PER_S
    last = exchange.funding_history(name, now_ns - hour_ns, now_ns)
    bid, ask = top.bid, top.ask
    mid = (bid.px + ask.px) / 2 if bid is not None and ask is not None else mark
    return {
        "symbol": name, "market_id": market.index, "index_price": market.px(exchange.oracle(name)),
        "mark_price": market.px(mark), "mid_price": market.px(mid),
        "best_bid_price": market.px(bid.px) if bid is not None else "",
        "best_ask_price": market.px(ask.px) if ask is not None else "",
        "open_interest": usd(stats.open_interest * mark), "open_interest_limit": "72057594037927936.000000",
        "funding_clamp_small": "0.0500", "funding_clamp_big": "4.0000", "base_interest_rate": "0.0100",
        "last_trade_price": market.px(stats.last_px), "current_funding_rate": percent(exchange.funding_estimate(name).rate),
        "funding_rate": percent(last[-1].rate if last else ZERO), "funding_timestamp": now_ns // hour_ns * 3_600_000 + 1,
        **{key: value for key, value in daily(stats).items() if key not in ("last_trade_price", "daily_trades_count")},
    }  # fmt: skip


def usd(amount: Decimal) -> str:
    """Six decimals; a zero has no sign."""
    return f"{round(amount, 6) + 0:.6f}"


def percent(rate: Decimal) -> str:
    """A fraction per hour as percent with four decimals; a zero has no sign."""
    return f"{rate * 100 + 0:.4f}"


def ms(ns: int) -> int:
    return ns // NS_PER_MS


def _trade_row(trade_id: int, market: Market, px: Decimal, qty: Decimal, time_ns: int, maker_asks: bool) -> Row:
    number = TRADE_BASE + trade_id
    row: Row = {
        "trade_id": number, "trade_id_str": str(number), "tx_hash": f"{number:080x}", "market_id": market.index,
        "size": market.size(qty), "price": market.px(px), "usd_amount": usd(qty * px), "is_maker_ask": maker_asks,
        "block_height": time_ns // NS_PER_S, "timestamp": ms(time_ns), "transaction_time": time_ns // NS_PER_US,
        "bid_account_pnl": "0.000000", "ask_account_pnl": "0.000000",
    }  # fmt: skip
    for role in ("taker", "maker"):
        row |= {
            f"{role}_position_size_before": market.size(ZERO), f"{role}_entry_quote_before": "0.000000",
            f"{role}_initial_margin_fraction_before": 0, f"{role}_position_sign_changed": False,
        }  # fmt: skip
    return row
