"""The exits that the executor runs by itself: stops of pairs whose owner is silent, and the margin guards of every pair.

A pair carries its `ExitGuard` from the moment it was opened (RULES 3). While its owner is alive the owner decides; when the
owner's connection or heartbeat has been silent for `owner_silent_s`, or the pair was opened by hand (strategy `manual`),
the executor watches the three bounds itself. Margin (RULES 12) is watched for every pair, always.

The protocol of firing: `evaluate` runs at least once a second. A condition must hold in two evaluations at least
CONFIRM_NS apart, without one between in which it did not hold. Stops and the time limit count only evaluations with
usable quotes on both legs; an evaluation without them neither counts nor resets ("with unusable quotes only margin and
the operator's exits act"). Margin uses what the venue says and needs no quote. Once fired, a guard and those below it
leave the pair alone for REPEAT_NS, so that a close in flight is not asked for at every turn; afterwards a condition that
still holds fires again: a guard that gave up after its first try would be no guard (TRAPS T24).

Precedence when several hold (FEATURES R8): margin, stops, time limit.

Pure: the caller hands in the clock's readings, the pairs and what the venues say; what comes back are wishes for the
engine. Refused: firing on the first evaluation (a single bad mark would close a hedged pair at a loss), and letting a
dead feed stop the margin guard (it would be blind exactly when the market runs away).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from core.costs import basis_pnl_bps
from core.messages import MANUAL, ExitGuard
from core.settings import ExecutionConfig, RiskConfig
from core.types import Quote, QuoteFlag, ReadResult, Venue
from risk.margin import MarginAction, account_action, leg_action, leg_loss_pct

CONFIRM_NS = NS_PER_S
REPEAT_NS = 15 * NS_PER_S


class GuardKind(enum.Enum):
    """Which guard; closed set, used as a metric label. In order of precedence."""

    MARGIN_CLOSE = "margin_close"
    MARGIN_REDUCE = "margin_reduce"
    STOP_BASIS = "stop_basis"
    STOP_LEG = "stop_leg"
    MAX_HOLD = "max_hold"


_STOPS = (GuardKind.STOP_BASIS, GuardKind.STOP_LEG, GuardKind.MAX_HOLD)


class GuardedLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg of an open pair. Prices canonical; `mark_px` 0 and None figures = not known."""

    venue: Venue
    quote: ReadResult
    entry_px: Decimal
    mark_px: Decimal
    lots: int  # signed
    move_to_liq_pct: float | None
    margin_used_ratio: float
    quotes_first: bool = False  # no executable book, ever: its indicative one is what there is to judge by


class GuardedPair(msgspec.Struct, frozen=True, kw_only=True):
    """An open pair that is not being worked on. `owner_silent_ns`: since the owner was last heard."""

    pair_id: str
    strategy: str
    guard: ExitGuard
    entry_basis_bps: float
    opened_calendar_ns: int
    owner_silent_ns: int
    long: GuardedLeg
    short: GuardedLeg


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine shall do: halve both legs for MARGIN_REDUCE, close the pair for all others."""

    pair_id: str
    kind: GuardKind
    detail: str
    numbers: dict[str, float]


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """A margin figure worth a log line and a metric, no action yet."""

    pair_id: str
    venue: Venue
    action: MarginAction
    numbers: dict[str, float]


class ExitGuards:
    """Keeps, per pair and guard, since when the condition has held, and when it last fired. Bounded by the open pairs."""

    def __init__(self, risk: RiskConfig, execution: ExecutionConfig) -> None:
        self._risk = risk
        self._silent_ns = int(execution.owner_silent_s * NS_PER_S)
        self._since: dict[tuple[str, GuardKind], int] = {}
        self._fired: dict[str, tuple[GuardKind, int]] = {}

    def evaluate(
        self, pairs: Iterable[GuardedPair], now_mono_ns: int, now_calendar_ns: int
    ) -> tuple[list[Fired], list[Warned]]:
        """One turn over every open pair; at most one `Fired` per pair."""
        fired: list[Fired] = []
        warned: list[Warned] = []
        present: set[str] = set()
        for pair in pairs:
            present.add(pair.pair_id)
            warned.extend(self._warnings(pair))
            wish = self._pair(pair, now_mono_ns, now_calendar_ns)
            if wish is not None:
                fired.append(wish)
        self._forget(present)
        return fired, warned

    def watches(self, pair: GuardedPair) -> bool:
        """Whether the executor stands in for the owner of this pair now."""
        return pair.strategy == MANUAL or pair.owner_silent_ns > self._silent_ns

    def _pair(self, pair: GuardedPair, now_ns: int, calendar_ns: int) -> Fired | None:
        holds = self._margin(pair)
        if not self.watches(pair):
            holds.update({kind: {} for kind in _STOPS})
        elif _judgeable(pair.long) and _judgeable(pair.short):
            holds.update(_stops(pair, calendar_ns))
        else:
            holds.update(dict.fromkeys(_STOPS))
        for kind in self._may_fire(pair.pair_id, now_ns):
            if self._confirm(pair.pair_id, kind, holds[kind], now_ns):
                self._fired[pair.pair_id] = (kind, now_ns)
                for each in GuardKind:
                    self._since.pop((pair.pair_id, each), None)
                return Fired(pair_id=pair.pair_id, kind=kind, detail=_DETAIL[kind], numbers=holds[kind] or {})
        return None

    def _may_fire(self, pair_id: str, now_ns: int) -> tuple[GuardKind, ...]:
        """All guards; for REPEAT_NS after one has fired only those above it. A halved pair may still have to be closed, for
        whatever reason."""
        kinds = tuple(GuardKind)
        last = self._fired.get(pair_id)
        if last is None or now_ns - last[1] >= REPEAT_NS:
            return kinds
        if last[0] is GuardKind.MARGIN_REDUCE:
            return tuple(kind for kind in kinds if kind is not GuardKind.MARGIN_REDUCE)
        return kinds[: kinds.index(last[0])]

    def _confirm(self, pair_id: str, kind: GuardKind, holds: dict[str, float] | None, now_ns: int) -> bool:
        """`holds`: figures = the condition holds, {} = it does not (reset), None = not judged (neither)."""
        key = (pair_id, kind)
        if holds is None:
            return False
        if not holds:
            self._since.pop(key, None)
            return False
        since = self._since.setdefault(key, now_ns)
        return now_ns - since >= CONFIRM_NS

    def _margin(self, pair: GuardedPair) -> dict[GuardKind, dict[str, float] | None]:
        worst, numbers = MarginAction.NONE, {}
        for leg in (pair.long, pair.short):
            action = max(leg_action(leg.move_to_liq_pct, self._risk), account_action(leg.margin_used_ratio, self._risk))
            if action > worst:
                worst, numbers = action, _margin_numbers(leg)
        return {
            GuardKind.MARGIN_CLOSE: numbers if worst is MarginAction.CLOSE else {},
            GuardKind.MARGIN_REDUCE: numbers if worst >= MarginAction.REDUCE else {},
        }

    def _warnings(self, pair: GuardedPair) -> list[Warned]:
        found = []
        for leg in (pair.long, pair.short):
            action = max(leg_action(leg.move_to_liq_pct, self._risk), account_action(leg.margin_used_ratio, self._risk))
            if action is not MarginAction.NONE:
                found.append(Warned(pair_id=pair.pair_id, venue=leg.venue, action=action, numbers=_margin_numbers(leg)))
        return found

    def _forget(self, present: set[str]) -> None:
        for key in [key for key in self._since if key[0] not in present]:
            del self._since[key]
        for pair_id in [pair_id for pair_id in self._fired if pair_id not in present]:
            del self._fired[pair_id]


_DETAIL = {
    GuardKind.MARGIN_CLOSE: "a leg is next to liquidation: close both",
    GuardKind.MARGIN_REDUCE: "a leg comes near to liquidation: halve both",
    GuardKind.STOP_BASIS: "the basis has moved beyond stop_basis_bps",
    GuardKind.STOP_LEG: "the worst leg has lost more than stop_leg_pct of its notional",
    GuardKind.MAX_HOLD: "held longer than max_hold_s",
}


def _stops(pair: GuardedPair, calendar_ns: int) -> dict[GuardKind, dict[str, float] | None]:
    """Which of the pair's own bounds hold now; a bound of 0 is not watched."""
    guard = pair.guard
    long, short = pair.long.quote, pair.short.quote
    result: dict[GuardKind, dict[str, float] | None] = {
        GuardKind.STOP_BASIS: {},
        GuardKind.STOP_LEG: {},
        GuardKind.MAX_HOLD: {},
    }
    if guard.stop_basis_bps > 0 and isinstance(long, Quote) and isinstance(short, Quote):
        pnl = basis_pnl_bps(pair.entry_basis_bps, short, long)
        if pnl <= -guard.stop_basis_bps:
            result[GuardKind.STOP_BASIS] = {"basis_pnl_bps": pnl, "stop_basis_bps": guard.stop_basis_bps}
    losses = [leg_loss_pct(leg.entry_px, leg.mark_px, leg.lots) for leg in (pair.long, pair.short)]
    worst = max((loss for loss in losses if loss is not None), default=None)
    if guard.stop_leg_pct > 0 and worst is not None and worst >= guard.stop_leg_pct:
        result[GuardKind.STOP_LEG] = {"leg_loss_pct": worst, "stop_leg_pct": guard.stop_leg_pct}
    held_s = (calendar_ns - pair.opened_calendar_ns) / NS_PER_S
    if 0 < guard.max_hold_s <= held_s:
        result[GuardKind.MAX_HOLD] = {"held_s": held_s, "max_hold_s": guard.max_hold_s}
    return result


def _judgeable(leg: GuardedLeg) -> bool:
    """A leg that is quoted before it is traded is judged without an executable quote; its time runs out all the same."""
    return leg.quotes_first or _usable(leg.quote)


def _usable(quote: ReadResult) -> bool:
    return isinstance(quote, Quote) and quote.is_sound and bool(quote.flags & QuoteFlag.EXECUTABLE)


def _margin_numbers(leg: GuardedLeg) -> dict[str, float]:
    numbers = {"margin_used_ratio": leg.margin_used_ratio}
    if leg.move_to_liq_pct is not None:
        numbers["move_to_liq_pct"] = leg.move_to_liq_pct
    return numbers
