"""Orders by hand that rest at a venue, once trading is not ACTIVE any more: what could open something there is withdrawn.

The limits deny such an order in REDUCING and HALTED; one that was allowed before would otherwise go on resting, and its fill
would open what nothing may open now (RULES 3). What only reduces stays: reduce-only orders, and plain ones as far as our
position covers them together, oldest first. In a wallet that holds at all times: a sale that our ledger does not cover any more
would sell the owner's coins.
"""

from __future__ import annotations

from core.types import OrderStatus, Side, TimeInForce, TradingState
from executor.engine import Engine
from executor.netting import withdraw
from executor.state import Key, OrderState


def withdraw_openings(engine: Engine) -> None:
    """Called with every tick."""
    active = engine.state.trading_state is TradingState.ACTIVE
    going: list[OrderState] = []
    reducing: dict[tuple[Key, Side], int] = {}  # lots of the orders that stay
    for order in engine.state.open_orders():
        prepared = order.prepared
        rests = order.status is OrderStatus.ACCEPTED and prepared.time_in_force is not TimeInForce.IOC
        if not rests or prepared.pair_id is not None or prepared.reduce_only:
            continue
        desk = engine.desks.get(prepared.venue)
        sells_coins = desk is not None and desk.gateway.traits.wallet and prepared.side is Side.SELL
        if active and not sells_coins:
            continue
        lots = reducing.get((order.key, prepared.side), 0) + order.leaves_lots
        if -engine.state.lots(order.key) * prepared.side.sign >= lots:
            reducing[(order.key, prepared.side)] = lots
        else:
            going.append(order)
    withdraw(engine, going)
