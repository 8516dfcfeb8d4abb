"""Ticks and lots: exact conversion between decimals on the wire and integers on the order path.

Prices and sizes on the order path are integers (ticks of `tick_size`, lots of `lot_size`, both in the venue's own
units). Rounding is always directed: a buy limit is rounded down, a sell limit up, a size down. Nothing rounds to nearest.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

BPS = 1e-4


def floor_to(value: Decimal, step: Decimal) -> int:
    """The largest integer n with n * step <= value."""
    return int((value / step).to_integral_value(rounding=ROUND_FLOOR))


def ceil_to(value: Decimal, step: Decimal) -> int:
    """The smallest integer n with n * step >= value."""
    return int((value / step).to_integral_value(rounding=ROUND_CEILING))


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether `value` is a whole number of steps."""
    return value % step == 0


def least_common_lot(first: Decimal, second: Decimal) -> Decimal:
    """The smallest size that is a whole number of both lots (both > 0)."""
    exponent = min(_exponent(first), _exponent(second))
    scale = Decimal(1).scaleb(-exponent)
    a, b = int(first * scale), int(second * scale)
    return Decimal(a * b // math.gcd(a, b)) / scale


def plain(value: Decimal) -> str:
    """A decimal as plain digits without exponent or trailing zeros ("95000", "0.001")."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def from_float(value: float) -> Decimal:
    """The decimal a float prints as: 0.1 becomes Decimal("0.1"), never its binary expansion."""
    return Decimal(repr(value))


def bps(part: float, whole: float) -> float:
    """part / whole in basis points; whole must not be 0."""
    return part / whole / BPS


def _exponent(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return min(int(exponent), 0)
