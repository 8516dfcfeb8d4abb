"""What is on, counted the way RULES 4 and 13 count it: one-leg notionals, hedge quality, distance of signed legs.

Pure. A pair counts once with the notional of its larger leg: in the symbol, in its strategy, in the total and on each of
its two venues. A single order that may still open exposure counts the same, with one venue.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from core.types import Venue

ZERO = Decimal(0)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that binds allocation: a pair that is not closed, an order by hand in flight, a foreign position."""

    strategy: str  # "" for a foreign position: it binds its venue, its symbol and the total, but no strategy
    symbol: str
    venues: tuple[Venue, ...]  # one or two
    notional_usd: Decimal  # one leg
    is_pair: bool = True


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """One-leg notionals in USD by every bound that limits them."""

    by_symbol: dict[str, Decimal]
    by_strategy: dict[str, Decimal]
    by_venue: dict[Venue, Decimal]
    total_usd: Decimal
    open_pairs: int


def exposure_of(holdings: Iterable[Holding]) -> Exposure:
    """Sum `holdings` once for every limit."""
    by_symbol: dict[str, Decimal] = {}
    by_strategy: dict[str, Decimal] = {}
    by_venue: dict[Venue, Decimal] = {}
    total, pairs = ZERO, 0
    for holding in holdings:
        notional = abs(holding.notional_usd)
        by_symbol[holding.symbol] = by_symbol.get(holding.symbol, ZERO) + notional
        if holding.strategy:
            by_strategy[holding.strategy] = by_strategy.get(holding.strategy, ZERO) + notional
        for venue in holding.venues:
            by_venue[venue] = by_venue.get(venue, ZERO) + notional
        total += notional
        pairs += holding.is_pair
    return Exposure(by_symbol=by_symbol, by_strategy=by_strategy, by_venue=by_venue, total_usd=total, open_pairs=pairs)


def hedge_quality(long_qty: Decimal, short_qty: Decimal) -> float:
    """1 - |sum of signed base| / largest leg (RULES 13), both in canonical units with their sign; 1.0 when both are 0."""
    largest = max(abs(long_qty), abs(short_qty))
    if largest == 0:
        return 1.0
    return float(1 - abs(long_qty + short_qty) / largest)


def unhedged_qty(long_qty: Decimal, short_qty: Decimal) -> Decimal:
    """The signed base by which two legs differ: 0 = hedged, positive = too long."""
    return long_qty + short_qty
