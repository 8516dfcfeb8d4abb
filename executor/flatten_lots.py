"""How much of a position flatten may close, now. Reads the engine's state; changes nothing.

Where orders can be reduce-only, a close that is too large is shrunk or refused by the venue, so what it says it holds may be
sent as it stands. Where they cannot be, a close of what is no longer there opens the other side: there only our ledger counts
while something of ours moves or has moved within SETTLED_NS of the reading, which may be older than that (a replica, and a
reading that was under way). Strangers' lots wait until it is settled, and flatten is not over before.
"""

from __future__ import annotations

from core.types import Position, Side
from executor.differences import SETTLED_NS
from executor.engine import Engine
from executor.state import Key


def closable(engine: Engine, position: Position, read_mono_ns: int, *, include_foreign: bool) -> int:
    """Signed lots of `position` (the request for it was sent at `read_mono_ns`) that flatten may close. What an order without
    a known end may have added is ours; of a wallet never more than our ledger holds, and less what orders on their way may be
    selling: nothing there keeps a sale from taking the owner's coins."""
    state, key = engine.state, (position.venue, position.symbol)
    is_wallet = engine.desks[position.venue].gateway.traits.wallet
    if include_foreign and not is_wallet and not _in_motion(engine, key, read_mono_ns):
        return position.lots
    known = state.positions.get(key)
    ours = known.book.lots if known else 0
    if known is not None and known.foreign:
        legs = [pair.leg(position.venue) for pair in state.live_pairs() if pair.symbol == position.symbol]
        ours = sum(leg.lots for leg in legs if leg is not None)
    under_way = [order for order in state.open_orders() if order.key == key]
    if is_wallet:
        ours -= sum(order.leaves_lots for order in under_way if order.prepared.side is Side.SELL)
    else:
        adding = [order for order in under_way if order.prepared.side.sign * position.lots > 0]
        ours += sum(order.leaves_lots * order.prepared.side.sign for order in adding)
    if ours * position.lots <= 0:
        return 0
    return min(abs(ours), abs(position.lots)) * (1 if position.lots > 0 else -1)


def in_wallet(engine: Engine, position: Position) -> int:
    """Lots of ours in a wallet, whatever is on its way."""
    return max(0, min(position.lots, engine.state.lots((position.venue, position.symbol))))


def undecided(engine: Engine, position: Position, read_mono_ns: int, *, include_foreign: bool) -> bool:
    """Whether something is left of it only for now: coins of ours that an order may be selling, or a stranger's lots that
    cannot be told yet from what has just been closed."""
    key = (position.venue, position.symbol)
    if engine.desks[position.venue].gateway.traits.wallet:
        return in_wallet(engine, position) > 0 and any(order.key == key for order in engine.state.open_orders())
    return include_foreign and position.lots != 0 and _in_motion(engine, key, read_mono_ns)


def _in_motion(engine: Engine, key: Key, read_mono_ns: int) -> bool:
    """Whether a reading may lack what our own orders did, where nothing but its figure bounds a close."""
    if engine.desks[key[0]].gateway.traits.reduce_only:
        return False
    filled_ns = engine.filled_mono_ns.get(key)
    lately = filled_ns is not None and read_mono_ns - filled_ns < SETTLED_NS
    return lately or any(order.key == key for order in engine.state.open_orders())
