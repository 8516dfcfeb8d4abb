"""How large a pair may be (RULES 4): the same size on both legs, floored to their least common lot. Exact decimals."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.numeric import floor_to, least_common_lot
from core.types import Instrument

MARGIN_RATIO = Decimal("0.99")
FEE_BUFFER = Decimal("0.001")
EXIT_ROOM = 2


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """`qty` canonical, 0 when nothing fits; `bound_by` names the bound that set it, for the record."""

    qty: Decimal
    bound_by: str


def perp_capacity_usd(free_margin_usd: Decimal, leverage: int, taker_fee: float) -> Decimal:
    """One-leg notional that `free_margin_usd` carries: 0.99 x free / (1/leverage + fee + 0.001)."""
    if free_margin_usd <= 0:
        return Decimal(0)
    return MARGIN_RATIO * free_margin_usd / (Decimal(1) / leverage + Decimal(repr(taker_fee)) + FEE_BUFFER)


def spot_capacity_usd(free_quote_usd: Decimal, taker_fee: float) -> Decimal:
    """0.99 x free / (1 + fee + 0.001)."""
    if free_quote_usd <= 0:
        return Decimal(0)
    return MARGIN_RATIO * free_quote_usd / (1 + Decimal(repr(taker_fee)) + FEE_BUFFER)


def common_size(bounds: dict[str, Decimal], first: Instrument, second: Instrument) -> Size:
    """The largest common size within every bound. `bounds` maps a bound's name to a canonical size; must not be empty."""
    name = min(bounds, key=lambda key: bounds[key])
    lot = least_common_lot(first.canonical_lot, second.canonical_lot)
    return Size(qty=max(Decimal(0), floor_to(bounds[name], lot) * lot), bound_by=name)


def minimum_pair_qty(first: Instrument, first_px: Decimal, second: Instrument, second_px: Decimal) -> Decimal:
    """The smallest canonical size at which both legs can still be closed in two parts: 2x the larger minimum.

    Prices are canonical. A pair below this could leave a residual that no venue accepts as an order."""
    lots_first = first.min_lots(first_px * first.multiplier)
    lots_second = second.min_lots(second_px * second.multiplier)
    return EXIT_ROOM * max(first.lots_to_qty(lots_first), second.lots_to_qty(lots_second))
