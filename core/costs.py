"""What a round trip costs and what an edge is worth (RULES 6 and 7). Pure; everything in bps of mid or as named.

S is the venue sold (short leg), L the venue bought (long leg). Quotes are canonical.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from core.numeric import BPS, from_float
from core.types import Instrument, Quote, Side


class EdgeNumbers(NamedTuple):
    """Every figure of one look at one direction of one pair, in bps."""

    edge_bps: float  # bid_S - ask_L: what crossing both touches now captures
    offset_bps: float  # standing offset of the mids, from history
    dev_bps: float  # edge less offset: what may revert
    half_spreads_bps: float  # sum of both half-spreads
    cost_bps: float  # four taker fees and the slippage buffer
    net_bps: float  # dev - half spreads - cost


def mid_gap_bps(short: Quote, long: Quote) -> float:
    """mid_S - mid_L in bps of their mean."""
    mid_s, mid_l = short.mid, long.mid
    return (mid_s - mid_l) / ((mid_s + mid_l) / 2) / BPS


def round_trip_cost_bps(taker_fee_short: float, taker_fee_long: float, slippage_buffer_bps: float) -> float:
    """Four fees (open and close, both legs; fractions) plus the buffer."""
    return 2 * (taker_fee_short + taker_fee_long) / BPS + slippage_buffer_bps


def edge_numbers(short: Quote, long: Quote, offset_bps: float, cost_bps: float) -> EdgeNumbers:
    """The numbers of selling `short` and buying `long` now, measured against the standing offset."""
    mid = (short.mid + long.mid) / 2
    edge = (short.bid_px - long.ask_px) / mid / BPS
    half_spreads = ((short.ask_px - short.bid_px) + (long.ask_px - long.bid_px)) / 2 / mid / BPS
    dev = edge - offset_bps
    return EdgeNumbers(edge, offset_bps, dev, half_spreads, cost_bps, dev - half_spreads - cost_bps)


def edge_at_limits_bps(short_limit_px: float, long_limit_px: float, mid_px: float, offset_bps: float) -> float:
    """The deviation still captured if both legs fill at their limits (canonical prices)."""
    return (short_limit_px - long_limit_px) / mid_px / BPS - offset_bps


def executable_pnl_bps(entry_short_px: float, entry_long_px: float, short: Quote, long: Quote) -> float:
    """PnL of closing at the touches now, in bps of the mean entry price, before fees: entry basis less exit basis."""
    mean_entry = (entry_short_px + entry_long_px) / 2
    return ((entry_short_px - entry_long_px) - (short.ask_px - long.bid_px)) / mean_entry / BPS


def basis_pnl_bps(entry_basis_bps: float, short: Quote, long: Quote) -> float:
    """Basis at entry less basis now, from mids, without fees (RULES 8): negative = the gap widened against us."""
    return entry_basis_bps - mid_gap_bps(short, long)


def cross_px(touch_px: float, tick: float, cross_ticks: int, min_cross_bps: float, max_cross_bps: float) -> float:
    """How far past the touch an IOC limit may reach, as a price distance (RULES 5): clamp(cross_ticks x tick, min, max)."""
    return min(max(cross_ticks * tick, touch_px * min_cross_bps * BPS), touch_px * max_cross_bps * BPS)


def crossing_limit(
    instrument: Instrument,
    touch_px: float,
    side: Side,
    *,
    cross_ticks: int,
    min_cross_bps: float,
    max_cross_bps: float,
    extra_cross_bps: float = 0.0,
) -> Decimal:
    """The IOC limit of an order on `side`: the canonical touch with the clamped cross beyond it, in venue units, on the
    price grid's safe side."""
    touch = from_float(touch_px) * instrument.multiplier
    cross = cross_px(float(touch), float(instrument.tick_at(touch)), cross_ticks, min_cross_bps, max_cross_bps)
    cross += float(touch) * extra_cross_bps * BPS
    return instrument.ticks_to_px(instrument.px_to_ticks(touch + side.sign * from_float(cross), side))
