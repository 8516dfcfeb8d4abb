"""What a venue knows of prices and funding: marks, oracle, rates by settlement, and the day's figures."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal

from core.clock import NS_PER_S
from ops.sandbox.model import ZERO, Contract, DayStats, FundingPoint, Sample

NS_PER_H = 3600 * NS_PER_S
HISTORY_H = 30 * 24
PREMIUM_STEP = Decimal("0.0000000001")
HourlyRate = Callable[[str, int], float]
"""(canonical symbol, hours since 1970 at which it settles) -> fraction per hour; longs pay shorts when positive."""

_TURNOVER_USD = 250_000_000.0  # a quiet day of a listed coin; above every volume filter
_INTEREST_USD = 60_000_000.0
_ESTIMATE_BUCKET_NS = 5 * NS_PER_S
_ESTIMATE_WOBBLE = 0.06  # of the rate, one hour before it settles


class Pricing:
    """Prices of one venue's contracts. Decimals are made on first reading after a step, since most steps go unread."""

    def __init__(self, contracts: dict[str, Contract], hourly_rate: HourlyRate) -> None:
        self._contracts = contracts
        self._hourly_rate = hourly_rate
        self._samples: dict[str, Sample] = {}
        self._marks: dict[str, Decimal] = {}
        self._oracles: dict[str, Decimal] = {}
        self._opened: dict[str, Decimal] = {}
        self._extremes: dict[str, tuple[Decimal, Decimal]] = {}
        self._last: dict[str, Decimal] = {}
        self._volume: dict[str, tuple[Decimal, Decimal, int]] = {}

    def follow(self, name: str, sample: Sample) -> None:
        self._samples[name] = sample
        self._marks.pop(name, None)
        self._oracles.pop(name, None)

    def traded(self, name: str, px: Decimal, qty: Decimal) -> None:
        """Count a trade into the day's figures."""
        base, usd, count = self._volume.get(name, (ZERO, ZERO, 0))
        self._volume[name] = (base + qty, usd + qty * px, count + 1)
        low, high = self._extremes.get(name, (px, px))
        self._extremes[name] = (min(low, px), max(high, px))
        self._last[name] = px

    def known(self, name: str) -> bool:
        return name in self._samples

    def mark(self, name: str) -> Decimal:
        """The mark in venue units; 0 before the first step."""
        px = self._marks.get(name)
        if px is None:
            px = self._marks[name] = self._px(name, mark=True)
        return px

    def oracle(self, name: str) -> Decimal:
        """The index in venue units; 0 before the first step."""
        px = self._oracles.get(name)
        if px is None:
            px = self._oracles[name] = self._px(name, mark=False)
        return px

    def stats(self, name: str) -> DayStats:
        mark = self.mark(name) or Decimal(1)
        opened = self._opened.setdefault(name, mark)
        base, usd, count = self._volume.get(name, (ZERO, ZERO, 0))
        lot = self._contracts[name].lot
        low, high = self._extremes.get(name, (mark, mark))
        return DayStats(
            open_interest=_whole(Decimal(_INTEREST_USD) / opened, lot),
            volume_base=_whole(Decimal(_TURNOVER_USD) / opened, lot) + base,
            volume_usd=Decimal(_TURNOVER_USD) + usd,
            trades=100_000 + count,
            open_px=opened,
            high_px=max(high, opened),
            low_px=min(low, opened),
            last_px=self._last.get(name, mark),
        )

    def next_settlement_ns(self, name: str, now_ns: int) -> int:
        """The first settlement after `now_ns` (calendar)."""
        interval_ns = self._contracts[name].funding_interval_h * NS_PER_H
        return (now_ns // interval_ns + 1) * interval_ns

    def settled(self, name: str, at_ns: int) -> FundingPoint:
        """The rate that settles at `at_ns`, a whole multiple of the contract's interval: a pure function of both."""
        contract = self._contracts[name]
        hour = at_ns // NS_PER_H
        hours = range(hour - contract.funding_interval_h + 1, hour + 1)
        rate = sum(self._hourly_rate(contract.symbol, h) for h in hours)
        return _point(rate, contract, at_ns)

    def estimate(self, name: str, now_ns: int) -> FundingPoint:
        """The running estimate; it wanders around the coming rate and reaches it at the settlement."""
        at_ns = self.next_settlement_ns(name, now_ns)
        contract = self._contracts[name]
        final = float(self.settled(name, at_ns).rate)
        bucket = now_ns // _ESTIMATE_BUCKET_NS
        noise = ((bucket * 2654435761 + len(name)) % 2001) / 1000.0 - 1.0
        left = min(1.0, (at_ns - now_ns) / (contract.funding_interval_h * NS_PER_H))
        return _point(final * (1.0 + _ESTIMATE_WOBBLE * left * noise), contract, at_ns)

    def history(self, name: str, start_ns: int, end_ns: int, now_ns: int) -> list[FundingPoint]:
        """Settled rates within [start, end], oldest first, at most 30 days back from now."""
        interval_ns = self._contracts[name].funding_interval_h * NS_PER_H
        first = max(start_ns, now_ns - HISTORY_H * NS_PER_H)
        at_ns = -(-first // interval_ns) * interval_ns
        points = []
        while at_ns <= min(end_ns, now_ns):
            points.append(self.settled(name, at_ns))
            at_ns += interval_ns
        return points

    def _px(self, name: str, mark: bool) -> Decimal:
        sample = self._samples.get(name)
        if sample is None:
            return ZERO
        contract = self._contracts[name]
        px = Decimal(repr((sample.mark if mark else sample.oracle) * contract.multiplier))
        return px.quantize((contract.tick_at(px) / 10).normalize(), rounding=ROUND_HALF_EVEN)


def _point(rate: float, contract: Contract, at_ns: int) -> FundingPoint:
    per_8h = rate * 8 / contract.funding_interval_h
    premium = Decimal(repr(per_8h - 0.0001)).quantize(PREMIUM_STEP, rounding=ROUND_HALF_EVEN)
    return FundingPoint(Decimal(repr(rate)).quantize(contract.funding_step, rounding=ROUND_HALF_EVEN), premium, at_ns)


def _whole(qty: Decimal, lot: Decimal) -> Decimal:
    return qty // lot * lot
