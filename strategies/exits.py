"""Exit rules, composable: each looks at the same figures of a pair and says whether it fires (RULES 7, 12; ruling R8).

Rules are asked in the order of their precedence: stop, (reversal), take-profit, (trailing), timeout. Stops lose real
money when they fire on one bad tick, so they fire only after two evaluations at least 1 s apart that both say so; any
evaluation in between that does not, starts the count again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from core.clock import NS_PER_S

CONFIRM_NS = NS_PER_S


class ExitFigures(NamedTuple):
    """One look at an open pair with fresh quotes on both legs."""

    basis_pnl_bps: float  # from mids, without fees: negative = the gap widened against us
    net_pnl_bps: float  # closing at the touches now, less all four fees
    worst_leg_pct: float  # loss of the worse leg in % of its entry notional, from mids; negative = it gains
    held_s: float  # calendar time since the pair was opened
    entry_dev_bps: float


class ExitRule(Protocol):
    name: str
    confirmed: bool  # needs two evaluations CONFIRM_NS apart

    def fires(self, figures: ExitFigures) -> bool: ...


class StopBasis:
    """The basis moved against the pair by the bound."""

    name = "stop_basis"
    confirmed = True

    def __init__(self, stop_basis_bps: float) -> None:
        self._bound = stop_basis_bps

    def fires(self, figures: ExitFigures) -> bool:
        return figures.basis_pnl_bps <= -self._bound


class StopLeg:
    """The worse leg lost the bound, in per cent of its notional: one-sided liquidation comes nearer."""

    name = "stop_leg"
    confirmed = True

    def __init__(self, stop_leg_pct: float) -> None:
        self._bound = stop_leg_pct

    def fires(self, figures: ExitFigures) -> bool:
        return figures.worst_leg_pct >= self._bound


class TakeProfit:
    """Enough of the deviation at entry has been captured, after all fees."""

    name = "take_profit"
    confirmed = False

    def __init__(self, take_profit_ratio: float, min_profit_bps: float) -> None:
        self._ratio = take_profit_ratio
        self._min_profit_bps = min_profit_bps

    def fires(self, figures: ExitFigures) -> bool:
        return figures.net_pnl_bps >= max(self._ratio * figures.entry_dev_bps, self._min_profit_bps)


class MaxHold:
    """The pair is older than it may become."""

    name = "timeout"
    confirmed = False

    def __init__(self, max_hold_s: float) -> None:
        self._bound = max_hold_s

    def fires(self, figures: ExitFigures) -> bool:
        return figures.held_s >= self._bound


class ExitWatch:
    """The rules of one pair with the memory that confirmation needs."""

    def __init__(self, rules: Sequence[ExitRule]) -> None:
        self._rules = rules
        self._since_ns: dict[str, int] = {}

    def evaluate(self, figures: ExitFigures, now_ns: int) -> str | None:
        """The name of the rule that fires now, in order of precedence, or None."""
        for rule in self._rules:
            if not rule.fires(figures):
                self._since_ns.pop(rule.name, None)
            elif not rule.confirmed or now_ns - self._since_ns.setdefault(rule.name, now_ns) >= CONFIRM_NS:
                return rule.name
        return None
