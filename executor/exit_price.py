"""Where a close is priced when nothing but getting out matters: a reference of bounded age and a step beyond the touch.

References in order (RULES 5): the shared-memory quote if fresh, else the venue's own REST book, else its mark. Pure, but for
that one read.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from core.errors import VenueError
from core.numeric import from_float
from core.types import Instrument, Quote, QuoteFlag, ReadResult, Side
from executor.venues.base import OrderGateway, TopOfBook

ONE_BPS = Decimal("0.0001")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """Canonical prices; `source` is "quote" | "rest" | "mark", for the record."""

    bid_px: Decimal
    ask_px: Decimal
    source: str

    def touch(self, side: Side) -> Decimal:
        """The opposite touch: what a marketable order of `side` meets first."""
        return self.ask_px if side is Side.BUY else self.bid_px


def price_from_book(quote: ReadResult) -> Reference | None:
    """From a fresh, sound, executable shared-memory quote; None otherwise."""
    if not isinstance(quote, Quote) or not quote.is_sound or not quote.flags & QuoteFlag.EXECUTABLE:
        return None
    return Reference(bid_px=from_float(quote.bid_px), ask_px=from_float(quote.ask_px), source="quote")


def price_from_rest(top: TopOfBook, instrument: Instrument) -> Reference | None:
    """From the venue's REST book, or its mark where a side is empty or the book is crossed; None when it states neither."""
    if 0 < top.bid_px < top.ask_px:
        bid, ask, source = top.bid_px, top.ask_px, "rest"
    elif top.mark_px > 0:
        bid, ask, source = top.mark_px, top.mark_px, "mark"
    else:
        return None
    return Reference(bid_px=bid / instrument.multiplier, ask_px=ask / instrument.multiplier, source=source)


async def best_reference(
    quote: ReadResult, gateway: OrderGateway, instrument: Instrument, mark_px: Decimal
) -> Reference | None:
    """The best there is, in the order of the module text; `mark_px` (venue units, 0 = unknown) came with the position."""
    fresh = price_from_book(quote)
    if fresh is not None:
        return fresh
    try:
        return price_from_rest(await gateway.top_of_book(instrument), instrument)
    except VenueError:
        return price_from_rest(TopOfBook(Decimal(0), Decimal(0), mark_px), instrument)


def closing_ticks(instrument: Instrument, side: Side, touch_px: Decimal, beyond_bps: float) -> int:
    """A limit `beyond_bps` past the canonical touch, in ticks on the venue's grid, rounded away from us (a buy up, a sell
    down): the bound is the slippage that is accepted, and a close that stops a tick short of it may not fill."""
    offset = 1 + side.sign * from_float(beyond_bps) * ONE_BPS
    px = touch_px * instrument.multiplier * offset
    step = instrument.tick_at(px)
    rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
    steps = max(1, int((px / step).to_integral_value(rounding=rounding)))
    return int(steps * step / instrument.tick_size)
