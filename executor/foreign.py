"""A position that is not ours: frozen and alarmed by reconciliation; closed only where `foreign_positions = close` says so."""

from __future__ import annotations

from core.types import Side, TimeInForce
from executor.engine import Engine
from executor.exit_price import closing_ticks, price_from_book
from executor.orders import Draft
from executor.state import Key


def close_excess(engine: Engine, key: Key, venue_lots: int, our_lots: int) -> bool:
    """One reduce-only order for what exceeds our own position; False when it cannot be priced or sent now (the position
    stays frozen and shown; the operator's flatten closes it)."""
    instrument = engine.instrument(key)
    reference = price_from_book(engine.quote(key))
    if instrument is None or reference is None:
        engine.log.error("foreign_not_closed", venue=key[0], symbol=key[1], detail="no usable book to price it")
        return False
    excess = venue_lots - (our_lots if venue_lots * our_lots > 0 else 0)
    side = Side.SELL if excess > 0 else Side.BUY
    ladder_bps = engine.config.execution.flatten_ladder_bps[0]
    draft = Draft(
        instrument=instrument,
        side=side,
        lots=abs(excess),
        limit_ticks=closing_ticks(instrument, side, reference.touch(side), ladder_bps),
        time_in_force=TimeInForce.IOC,
        reduce_only=True,
        purpose="foreign",
        strategy="",
    )
    return bool(engine.send([draft]))
