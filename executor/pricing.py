"""Limit prices of IOC orders: how far past the touch an order of ours may reach (RULES 5). Pure.

limit = touch +/- (clamp(cross_ticks x tick, min_cross_bps, max_cross_bps) + extra_cross_bps), or further when a repair or a
close has to (`reach_bps`), then rounded onto the venue's grid towards the touch, so that it stays within the bound.
"""

from __future__ import annotations

from core.costs import cross_px
from core.numeric import BPS, from_float
from core.settings import ExecutionConfig
from core.types import Instrument, Quote, Side


def touch_px(quote: Quote, side: Side) -> float:
    """The price (canonical) at which an order of `side` trades now."""
    return quote.ask_px if side is Side.BUY else quote.bid_px


def adverse_bps(side: Side, px: float, ref_px: float) -> float:
    """How much worse than `ref_px` trading `side` at `px` is; negative = better."""
    return side.sign * (px - ref_px) / ref_px / BPS


def ioc_limit_ticks(
    instrument: Instrument,
    side: Side,
    touch: float,
    execution: ExecutionConfig,
    extra_cross_bps: float,
    reach_bps: float = 0.0,
) -> int:
    """Ticks of the limit for a `touch` in canonical units; at least 1."""
    tick = float(instrument.tick_at(from_float(touch) * instrument.multiplier)) / instrument.multiplier
    cross = cross_px(touch, tick, execution.cross_ticks, execution.min_cross_bps, execution.max_cross_bps)
    cross = max(cross + touch * extra_cross_bps * BPS, touch * reach_bps * BPS)
    limit = from_float(touch + side.sign * cross) * instrument.multiplier
    return max(1, instrument.px_to_ticks(limit, side))


def reach_bps(attempt: int, execution: ExecutionConfig) -> float:
    """How far the n-th attempt at a repair or close may reach: the usual cross first (0), then twice as far each time, up
    to `unwind_slippage_bps`."""
    if attempt <= 0:
        return 0.0
    return min(execution.max_cross_bps * 2.0 ** min(attempt, 16), execution.unwind_slippage_bps)
