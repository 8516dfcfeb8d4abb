"""What clients are told: reports built out of the state, the same words live, on repetition and after a restart. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.ids import CommandId
from core.messages import (
    AnyReport,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderSubmitted,
    OrderUnknown,
    PairState,
    PairStatus,
)
from core.types import Fill, OrderStatus
from executor.state import OrderState, PairBook, State

NOT_SENT_CODE = "not_sent"


def order_submitted(state: State, order: OrderState) -> OrderSubmitted:
    return OrderSubmitted(
        **_head(order), qty=order.prepared.lots * state.lot_qty(order.key), limit_px=_limit_px(state, order)
    )


def order_filled(state: State, order: OrderState, fill: Fill) -> OrderFilled:
    """One execution, canonical size, price in venue units."""
    lot = state.lot_qty(order.key)
    return OrderFilled(
        **_head(order),
        fill_qty=fill.lots * lot,
        fill_px=fill.px,
        fee_usd=fill.fee_usd,
        filled_qty=order.filled_lots * lot,
        leaves_qty=order.leaves_lots * lot,
    )


def order_now(state: State, order: OrderState) -> AnyReport:
    """The report of the order's present status. A full fill without its fill record yet is told as Accepted."""
    head = _head(order)
    filled = order.filled_lots * state.lot_qty(order.key)
    match order.status:
        case OrderStatus.PREPARED | OrderStatus.SUBMITTED | OrderStatus.DENIED:
            return order_submitted(state, order)
        case OrderStatus.ACCEPTED | OrderStatus.FILLED:
            return OrderAccepted(**head, venue_order_id=order.venue_order_id)
        case OrderStatus.CANCELED:
            return OrderCanceled(**head, filled_qty=filled)
        case OrderStatus.EXPIRED:
            return OrderExpired(**head, filled_qty=filled)
        case OrderStatus.REJECTED:
            return OrderRejected(**head, code=order.code, detail=order.detail)
        case OrderStatus.NOT_SENT:
            return OrderRejected(**head, code=NOT_SENT_CODE, detail=order.detail)
        case OrderStatus.UNKNOWN:
            return OrderUnknown(**head, detail=order.detail)


def pair_now(pair: PairBook, command_id: CommandId | None = None) -> PairState:
    """The pair as it stands. `net_usd` only once closed and with every fill booked: unknown is not zero."""
    closed = pair.status is PairStatus.CLOSED and not pair.unbooked
    return PairState(
        command_id=command_id,
        pair_id=pair.pair_id,
        symbol=pair.symbol,
        strategy=pair.plan.strategy,
        status=pair.status,
        long_venue=pair.long.venue,
        short_venue=pair.short.venue,
        long_qty=pair.long.qty,
        short_qty=pair.short.qty,
        reason=pair.reason,
        net_usd=pair.net_usd if closed else None,
    )


def _head(order: OrderState) -> dict[str, Any]:
    prepared = order.prepared
    return {
        "command_id": prepared.command_id,
        "client_order_id": prepared.client_order_id,
        "venue": prepared.venue,
        "symbol": prepared.symbol,
        "side": prepared.side,
        "pair_id": prepared.pair_id,
    }


def _limit_px(state: State, order: OrderState) -> Decimal:
    return order.prepared.limit_ticks * state.contracts[order.key].tick_size
