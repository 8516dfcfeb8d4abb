"""What thousands of schedules came to, in one page: coverage, how long and how much was unhedged, what repairs cost."""

from __future__ import annotations

from collections import Counter

from tests.simulation.faults import Fault
from tests.simulation.schedule import Result

QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)


class Figures:
    """Sums over results."""

    def __init__(self) -> None:
        self.schedules = 0
        self.totals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.venues: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.unhedged_s: list[float] = []
        self.unhedged_usd: list[float] = []
        self.repair_cost_bps: list[float] = []
        self.doubt_s: dict[str, list[float]] = {}
        self.converged_s: list[float] = []

    def add(self, result: Result) -> None:
        self.schedules += 1
        for name in ("lives", "events", "orders", "fills", "pairs"):
            self.totals[name] += getattr(result, name)
        self.faults.update(result.faults)
        self.venues.update(result.venues)
        self.repairs.update(result.repairs)
        self.endings[result.ending] += 1
        self.unhedged_s += [seconds for seconds, _ in result.episodes]
        self.unhedged_usd += [usd for _, usd in result.episodes]
        self.repair_cost_bps += result.repair_cost_bps
        self.converged_s.append(result.converged_s)
        for source, seconds in result.resolved:
            self.doubt_s.setdefault(source, []).append(seconds)

    @property
    def missing(self) -> list[str]:
        """Kinds of fault that never occurred."""
        return [fault.value for fault in Fault if not self.faults[fault.value]]

    def text(self) -> str:
        lines = ["", "what happened    " + "  ".join(f"{name} {count}" for name, count in self.totals.items())]
        lines.append("venues           " + "  ".join(f"{name} {count}" for name, count in sorted(self.venues.items())))
        lines.append("repairs          " + "  ".join(f"{name} {count}" for name, count in sorted(self.repairs.items())))
        lines.append("endings          " + "  ".join(f"{name} {count}" for name, count in sorted(self.endings.items())))
        lines += ["", "faults that struck:"]
        shown = [f"{fault.value} {self.faults[fault.value]}" for fault in Fault]
        lines += ["  " + "".join(f"{each:<28}" for each in shown[at : at + 4]) for at in range(0, len(shown), 4)]
        if self.missing:
            lines.append(f"  NEVER: {', '.join(self.missing)}")
        head = "".join(f"{_percent(each):>10}" for each in QUANTILES)
        lines += ["", f"{'':<34}{'count':>8}{head}"]
        lines.append(_row("unhedged by the truth, s", self.unhedged_s))
        lines.append(_row("unhedged by the truth, USD", self.unhedged_usd))
        lines.append(_row("cost of repairs, bps of notional", self.repair_cost_bps))
        lines += [_row(f"in doubt, settled by {name}, s", each) for name, each in sorted(self.doubt_s.items())]
        lines.append(_row("converged after faults ceased, s", self.converged_s))
        return "\n".join(lines)


def _row(name: str, values: list[float]) -> str:
    ordered = sorted(values)
    figures = [ordered[min(len(ordered) - 1, int(each * len(ordered)))] for each in QUANTILES] if ordered else []
    return f"{name:<34}{len(ordered):>8}" + "".join(f"{each:>10.2f}" for each in figures)


def _percent(quantile: float) -> str:
    return "most" if quantile == 1.0 else f"{quantile * 100:g} %"
