"""How far a leg is from liquidation, and what must be done about it (RULES 12). Pure.

`move_to_liq_pct` per leg is the primary guard; `margin_used_ratio` of the account is the last resort: at 3x leverage 0.80
lies within 0.8% of liquidation. Figures that a venue does not state are None and act on nothing here: a blind venue has
its own guard.
"""

from __future__ import annotations

import enum
from decimal import Decimal

from core.settings import RiskConfig
from core.types import Position


class MarginAction(enum.IntEnum):
    """What a margin figure asks for, in rising order of urgency."""

    NONE = 0
    WARN = 1
    STOP_OPENING = 2
    REDUCE = 3  # both legs of the pair, by half
    CLOSE = 4


def move_to_liq_pct(mark_px: Decimal, liquidation_px: Decimal | None, lots: int) -> float | None:
    """How far the mark may still move against the position, in percent of the mark; below 0 = beyond liquidation.

    None when the venue states no liquidation price or no mark, or when there is no position."""
    if liquidation_px is None or liquidation_px <= 0 or mark_px <= 0 or lots == 0:
        return None
    room = mark_px - liquidation_px if lots > 0 else liquidation_px - mark_px
    return float(100 * room / mark_px)


def position_move_to_liq_pct(position: Position) -> float | None:
    """`move_to_liq_pct` of a venue's own statement."""
    return move_to_liq_pct(position.mark_px, position.liquidation_px, position.lots)


def leg_action(move_pct: float | None, risk: RiskConfig) -> MarginAction:
    """What the distance of one leg asks for. An unknown distance asks for nothing."""
    if move_pct is None:
        return MarginAction.NONE
    if move_pct <= risk.move_to_liq_close_pct:
        return MarginAction.CLOSE
    if move_pct <= risk.move_to_liq_reduce_pct:
        return MarginAction.REDUCE
    if move_pct <= risk.move_to_liq_stop_pct:
        return MarginAction.STOP_OPENING
    if move_pct <= risk.move_to_liq_warn_pct:
        return MarginAction.WARN
    return MarginAction.NONE


def account_action(margin_used_ratio: float, risk: RiskConfig) -> MarginAction:
    """What maintenance margin over equity asks for: a warning, and at the last resort closing."""
    if margin_used_ratio >= risk.margin_used_last:
        return MarginAction.CLOSE
    if margin_used_ratio >= risk.margin_used_warn:
        return MarginAction.WARN
    return MarginAction.NONE


def leg_loss_pct(entry_px: Decimal, mark_px: Decimal, lots: int) -> float | None:
    """Loss of one leg on the venue's mark, in percent of its entry notional (RULES 9); negative = profit.

    None when entry or mark is unknown or there is no position."""
    if entry_px <= 0 or mark_px <= 0 or lots == 0:
        return None
    loss = entry_px - mark_px if lots > 0 else mark_px - entry_px
    return float(100 * loss / entry_px)
