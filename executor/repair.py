"""Legs that differ: complete the short one, unwind the long one, call it dust, or wait. Pure.

Both cures cost: completing pays how far the missing leg's touch has run from the price the pair was decided on, unwinding
pays the way from the entry price back through the spread; each pays one taker fee, and what a venue of its latency class is
expected to slip (`extra_cross_bps`). The cheaper is taken, completing only
within `complete_slippage_bps`, and only for a pair that is still being opened: later the target is the smaller leg (a
foreign fill says that the venue, or a person, wanted it smaller). A residual that no venue accepts as an order is dust:
shown, never rounded up.
"""

from __future__ import annotations

import enum

import msgspec

from core.numeric import BPS, from_float
from core.types import Instrument, Side
from executor.pricing import adverse_bps
from executor.venues.base import LiveQuote


class Cure(enum.Enum):
    COMPLETE = "complete"
    UNWIND = "unwind"
    DUST = "dust"
    WAIT = "wait"


class CureLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One way to cure: `lots` on this instrument. Prices canonical; `touch` None = no price to trade on now."""

    instrument: Instrument
    side: Side
    lots: int
    touch: float | None
    ref_px: float  # what trading at `touch` is measured against
    taker_fee: float
    extra_bps: float = 0.0  # of the venue's latency class
    reducing: bool  # towards flat, or away from it
    quote: LiveQuote | None = None  # behind `touch`, on venues that quote first
    sendable: bool  # connection warm, budget left, no order of unknown outcome on it

    @property
    def is_orderable(self) -> bool:
        """Whether the venue takes an order of this size at all."""
        px = from_float(self.touch if self.touch is not None else self.ref_px) * self.instrument.multiplier
        return self.lots > 0 and self.lots >= self.instrument.min_lots(px)

    @property
    def adverse_bps(self) -> float:
        return adverse_bps(self.side, self.touch or 0.0, self.ref_px)

    @property
    def cost_bps(self) -> float:
        return self.adverse_bps + self.extra_bps + self.taker_fee / BPS

    @property
    def is_open(self) -> bool:
        return self.is_orderable and self.sendable and self.touch is not None


def choose(
    complete: CureLeg, unwind: CureLeg, *, may_complete: bool, overdue: bool, slippage_bps: float, planned: bool = False
) -> Cure:
    """`may_complete`: the pair is still being opened and nothing forbids more exposure. `overdue`: unhedged for longer than
    the bound: no more completing, unless unwinding is impossible for its size. `planned`: the missing leg is not late, it is
    the second one of a pair that is led, and its cost was part of the decision: it is sent whenever it is within the bound,
    and waited for while it cannot be."""
    if not unwind.is_orderable and not (may_complete and complete.is_orderable):
        return Cure.DUST
    can_complete = may_complete and not overdue and complete.is_open and complete.adverse_bps <= slippage_bps
    if can_complete and (planned or not unwind.is_open or complete.cost_bps <= unwind.cost_bps):
        return Cure.COMPLETE
    if planned and may_complete and not overdue and complete.is_orderable and not complete.is_open:
        return Cure.WAIT
    if unwind.is_open:
        return Cure.UNWIND
    if may_complete and overdue and not unwind.is_orderable and complete.is_open:
        return Cure.COMPLETE
    return Cure.WAIT
