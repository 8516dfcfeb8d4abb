"""Whether a pair of this size could be closed again, now, at the venues it would stand on (DESIGN 4: a pair opens only if it can
also be closed). Pure.

Lots and minimum notionals are judged with the size (risk.limits, 2x room). Here it is the books on the way out: the side that
a close would trade on must show the size at its touch, or, where the venue's book is measured deeper, a price for the
measured size within `exit_depth_bps`; where it is not measured, at least the smallest order must stand there. A leg that is
quoted before it is traded has no book: it is asked for a price when it is closed.
"""

from __future__ import annotations

import math
from decimal import Decimal

from core.clock import NS_PER_S
from core.messages import DenyReason
from core.numeric import BPS, from_float
from core.settings import ExecutionConfig
from core.types import Quote, Side
from risk.context import Denied, LegContext

DEPTH_FRESH_NS = 60 * NS_PER_S


def check_exit(leg: LegContext, qty: Decimal, now_mono_ns: int, execution: ExecutionConfig) -> Denied | None:
    """Whether `qty` (canonical) of `leg`, once held, could be traded back at its venue as it stands now."""
    if leg.quotes_first or not isinstance(leg.quote, Quote):
        return None
    out = leg.side.opposite
    touch, at_touch = _touch(leg.quote, out)
    if at_touch >= float(qty):
        return None
    numbers = {"qty": float(qty), "at_touch_qty": at_touch}
    depth = leg.depth
    if depth is None or now_mono_ns - depth.local_mono_ns > DEPTH_FRESH_NS:
        least = leg.instrument.min_lots(from_float(touch) * leg.instrument.multiplier)
        least_qty = float(leg.instrument.lots_to_qty(least))
        return None if at_touch >= least_qty else _thin(leg, numbers | {"least_qty": least_qty})
    px = depth.buy_px if out is Side.BUY else depth.sell_px
    numbers["depth_usd"] = depth.size_usd
    if math.isnan(px):
        return _thin(leg, numbers)
    away_bps = out.sign * (px - touch) / touch / BPS
    if away_bps <= execution.exit_depth_bps:
        return None
    return _thin(leg, numbers | {"away_bps": away_bps, "exit_depth_bps": execution.exit_depth_bps})


def _touch(quote: Quote, side: Side) -> tuple[float, float]:
    return (quote.ask_px, quote.ask_qty) if side is Side.BUY else (quote.bid_px, quote.bid_qty)


def _thin(leg: LegContext, numbers: dict[str, float]) -> Denied:
    name = f"{leg.instrument.venue}:{leg.instrument.symbol}"
    return Denied(
        reason=DenyReason.THIN_BOOK, detail=f"{name}: this size could not be closed again now", numbers=numbers
    )
