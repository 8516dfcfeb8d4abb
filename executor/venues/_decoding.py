"""Bytes and numbers of a venue that may be anything: what a decoder can raise, and sizes as whole lots."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Annotated

import msgspec

from core.types import Instrument

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that msgspec raises on hostile input: not JSON or not the shape, not UTF-8, nested too deeply."""

Millis = Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800_000)]
"""A venue's UTC time in ms, before 2100: a fill of the year 5000 would be the last that is ever read."""


def whole_lots(size: Decimal, instrument: Instrument) -> int | None:
    """`size` as signed whole lots, None when it is not a whole number of them (or not a number at all)."""
    try:
        lots, rest = divmod(size, instrument.lot_size)
    except decimal.InvalidOperation:  # NaN, infinity, or more digits than arithmetic carries
        return None
    return None if rest else int(lots)


def is_price(value: Decimal) -> bool:
    """Whether `value` is a positive, finite number."""
    return value.is_finite() and value > 0
