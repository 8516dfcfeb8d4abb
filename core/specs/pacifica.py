"""Pacifica's `info` -> Instrument rows of its perpetuals (docs/venues/pacifica.md 2).

`min_order_size` is USD notional despite its name (TRAPS T7). Spot markets share the list and are left out; older rows say
nothing of their type and are perpetuals. There is no rule of significant figures.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.specs._naming import KILO, canonical, one_per_symbol
from core.types import Instrument, Venue

VENUE = Venue("pacifica")
QUOTE_CCY = "USDC"
PERPETUAL = "perpetual"
NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")  # what may stand in a signed message as it is
SMALLEST, LARGEST = Decimal("1e-12"), Decimal("1e15")  # of any figure but 0; their ratio is within Decimal's precision


class _Row(msgspec.Struct):
    symbol: str
    tick_size: Decimal
    lot_size: Decimal
    min_order_size: Decimal
    max_leverage: int
    isolated_only: bool = False
    instrument_type: str | None = None


class _Answer(msgspec.Struct):
    success: bool
    data: list[msgspec.Raw] | None = None
    error: str | None = None


def instruments(info: bytes | str) -> list[Instrument]:
    """Rows of `GET /info`, one per canonical symbol. Rows that lack a field or hold an impossible figure are left out.

    What can only be held in isolated margin is flagged delisted: our margin figures are those of cross margin. Raises
    Malformed when the answer as a whole does not decode, is a refusal, or holds no usable row.
    """
    try:
        answer = msgspec.json.decode(info, type=_Answer)
    except UNDECODABLE as error:
        raise Malformed(f"pacifica info: {error}") from error
    if not answer.success or answer.data is None:
        raise Malformed(f"pacifica info: refused: {(answer.error or '')[:200]}")
    rows = [row for raw in answer.data if (row := _instrument(raw)) is not None]
    if not rows:
        raise Malformed(f"pacifica info: none of its {len(answer.data)} rows is usable")
    return one_per_symbol(rows)


def _instrument(raw: msgspec.Raw) -> Instrument | None:
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except UNDECODABLE:
        return None
    if (row.instrument_type or PERPETUAL) != PERPETUAL or not NAME.fullmatch(row.symbol):
        return None
    if row.max_leverage < 1:
        return None
    if not all(_is_step(each) for each in (row.tick_size, row.lot_size)):
        return None
    if row.min_order_size != 0 and not _is_step(row.min_order_size):
        return None
    symbol, multiplier = canonical(row.symbol, KILO)
    return Instrument(
        venue=VENUE,
        symbol=symbol,
        venue_symbol=row.symbol,
        multiplier=multiplier,
        tick_size=row.tick_size,
        lot_size=row.lot_size,
        min_qty=row.lot_size,
        min_notional_usd=row.min_order_size,
        max_leverage=row.max_leverage,
        maintenance_margin_ratio=1 / (2 * row.max_leverage),  # half of the initial margin at the highest leverage
        quote_ccy=QUOTE_CCY,
        delisted=row.isolated_only,
    )


def _is_step(value: Decimal) -> bool:
    return value.is_finite() and SMALLEST <= value <= LARGEST
