"""Is a funding rate believable? Five ways in which other systems were wrong by a factor, and what catches each.

    open interest, or a price, read as the rate     BEYOND_CAP where it is large, OUTLIER against the other venues where not
    percent read as fraction                        SCALE: over all symbols the venue is 100 times the others
    a rate per 8 h read as per hour                 SCALE: 8 times the others
    a 4 h symbol taken for 8 h                      OFF_GRID: it settles at 04:00, where an 8 h rate never does
    observations summed as payments                 NOT_AN_INTERVAL: rows seconds or minutes apart are no settlements

`Guard` sits in the feed and needs one venue only: what it doubts is not published. `judge_board` needs several venues and
sits where rates are compared: what it doubts is shown and not traded. A doubt is never corrected by a factor that would make it
fit: the parser is wrong, and the next number may be wrong in another way.

The scale of a venue is the median over symbols of its rate per hour over the median of the other venues. In recorded hours of
seven venues and ninety symbols it stays between 0.5 and 1.8, since in calm markets most rates stand at the interest-only
value, which comes to 10.5 to 11.4 % a year on every venue. No single rate can show a factor of 8: real ones move by more.

Refused: judging a rate against its own past alone. A parser that is wrong has always been wrong.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Mapping

from core.clock import NS_PER_S
from core.types import FundingKind, FundingRate, Venue

CAP_PER_HOUR = 0.04
"""Fraction; the widest cap that a venue states (Hyperliquid: 4 % per hour). Beyond it a number is not a funding rate."""

HOUR_S, DAY_S = 3600, 86_400
SLACK_NS = 60 * NS_PER_S  # settlements are stamped up to some seconds beside their hour
MIN_SYMBOLS = 5
MIN_REFERENCE_PER_HOUR = 2e-6  # a sixth of the calm value: ratios of less mean nothing
MAX_SCALE = 3.0
OUTLIER_PER_HOUR = 0.003  # away from the other venues' median: a quarter of a percent and more every hour
OUTLIER_RATIO = 10.0

Rates = Mapping[Venue, Mapping[str, FundingRate]]
"""Estimates by venue and canonical symbol."""


class Doubt(enum.Enum):
    """Why a rate is not believed. Closed set: label values of metrics."""

    BEYOND_CAP = "beyond_cap"
    NOT_AN_INTERVAL = "not_an_interval"
    TOO_FAR_AHEAD = "too_far_ahead"  # the next settlement is further away than one interval
    OFF_GRID = "off_grid"  # it settles where a rate of this interval never does
    SCALE = "scale"
    OUTLIER = "outlier"


class Guard:
    """One venue's rates as they arrive, by canonical symbol. Bounded by its symbols."""

    def __init__(self) -> None:
        self._off_grid: dict[str, int] = {}  # symbol -> interval that its settlement times have contradicted
        self._next_ns: dict[str, int] = {}

    def doubt(self, symbol: str, rate: FundingRate, calendar_ns: int) -> Doubt | None:
        """Why `rate`, received now, is not to be published; None = it may be."""
        if rate.interval_s < HOUR_S or DAY_S % rate.interval_s:
            return Doubt.NOT_AN_INTERVAL
        if not math.isfinite(rate.rate) or abs(rate.rate_per_hour) > CAP_PER_HOUR:
            return Doubt.BEYOND_CAP
        if rate.kind is FundingKind.SETTLED or not rate.next_funding_ts_ns:
            return None
        if rate.next_funding_ts_ns - calendar_ns > rate.interval_s * NS_PER_S + SLACK_NS:
            return Doubt.TOO_FAR_AHEAD
        return Doubt.OFF_GRID if self._is_off_grid(symbol, rate) else None

    def _is_off_grid(self, symbol: str, rate: FundingRate) -> bool:
        """Half of the settlements of a 4 h symbol fit an 8 h grid: one that did not is remembered, until the interval that is
        told changes or two settlements in a row lie exactly that interval apart."""
        interval_ns, next_ns = rate.interval_s * NS_PER_S, rate.next_funding_ts_ns
        before_ns, self._next_ns[symbol] = self._next_ns.get(symbol, 0), next_ns
        offset_ns = (next_ns + SLACK_NS) % interval_ns
        if offset_ns > 2 * SLACK_NS:
            self._off_grid[symbol] = rate.interval_s
        elif abs(next_ns - before_ns - interval_ns) <= SLACK_NS:
            self._off_grid.pop(symbol, None)
        return self._off_grid.get(symbol) == rate.interval_s


def judge_board(rates: Rates) -> dict[tuple[Venue, str], Doubt]:
    """The rates among `rates` that the other venues contradict. Nothing is said of what fewer than three venues know, except
    where one of two venues is out of scale and also away from the calm value."""
    per_hour = {venue: {s: r.rate_per_hour for s, r in board.items()} for venue, board in rates.items()}
    wrong = {venue for venue in per_hour if _is_out_of_scale(venue, per_hour)}
    doubts = {(venue, symbol): Doubt.SCALE for venue in wrong for symbol in per_hour[venue]}
    believed = {venue: board for venue, board in per_hour.items() if venue not in wrong}
    for venue, board in believed.items():
        for symbol, rate in board.items():
            others = _others(venue, symbol, believed)
            if len(others) > 1 and _is_outlier(rate, statistics.median(others)):
                doubts[(venue, symbol)] = Doubt.OUTLIER
    return doubts


def scale(venue: Venue, per_hour: Mapping[Venue, Mapping[str, float]]) -> float | None:
    """By how much the venue's rates are larger than the others', over all symbols; None where too few can be compared."""
    ratios = []
    for symbol, rate in per_hour[venue].items():
        others = _others(venue, symbol, per_hour)
        reference = abs(statistics.median(others)) if others else 0.0
        if reference >= MIN_REFERENCE_PER_HOUR:
            ratios.append(abs(rate) / reference)
    return statistics.median(ratios) if len(ratios) >= MIN_SYMBOLS else None


def _is_out_of_scale(venue: Venue, per_hour: Mapping[Venue, Mapping[str, float]]) -> bool:
    found = scale(venue, per_hour)
    if found is None or 1 / MAX_SCALE < found < MAX_SCALE:
        return False
    if len(per_hour) > 2:
        return True
    return not _has_calm_rates(per_hour[venue])  # of two that disagree, the one without the value that all venues share


def _has_calm_rates(board: Mapping[str, float]) -> bool:
    calm = sum(0.105 <= abs(rate) * 8760 <= 0.114 for rate in board.values())
    return calm * 4 >= len(board)


def _is_outlier(rate: float, reference: float) -> bool:
    return abs(rate - reference) > OUTLIER_PER_HOUR and abs(rate) > OUTLIER_RATIO * abs(reference)


def _others(venue: Venue, symbol: str, per_hour: Mapping[Venue, Mapping[str, float]]) -> list[float]:
    return [board[symbol] for other, board in per_hour.items() if other != venue and symbol in board]
