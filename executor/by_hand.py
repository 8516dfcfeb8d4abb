"""Orders by hand that rest at a venue, once trading is not ACTIVE any more: what could open something there is withdrawn.

The limits deny such an order in REDUCING and HALTED; one that was allowed before would otherwise go on resting, and its fill
would open what nothing may open now (RULES 3). What only reduces stays: reduce-only orders, and plain ones as far as our
position covers them together, oldest first.
"""

from __future__ import annotations

from core.types import OrderStatus, Side, TimeInForce, TradingState
from executor.engine import Engine
from executor.netting import withdraw
from executor.state import Key, OrderState


def withdraw_openings(engine: Engine) -> None:
    """Called with every tick; asks for nothing while trading is ACTIVE."""
    if engine.state.trading_state is TradingState.ACTIVE:
        return
    going: list[OrderState] = []
    reducing: dict[tuple[Key, Side], int] = {}  # lots of the orders that stay
    for order in engine.state.open_orders():
        prepared = order.prepared
        rests = order.status is OrderStatus.ACCEPTED and prepared.time_in_force is not TimeInForce.IOC
        if not rests or prepared.pair_id is not None or prepared.reduce_only:
            continue
        lots = reducing.get((order.key, prepared.side), 0) + order.leaves_lots
        if -engine.state.lots(order.key) * prepared.side.sign >= lots:
            reducing[(order.key, prepared.side)] = lots
        else:
            going.append(order)
    withdraw(engine, going)
