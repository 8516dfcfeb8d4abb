"""The shared market: a pure function of the seed, lively enough that pairs open and close by themselves, and rich in funding."""

from __future__ import annotations

import math
import statistics
from collections import deque

import pytest

from ops.sandbox.market import FundingCurve, Market, MarketTerms
from ops.sandbox.model import Sample

SYMBOLS = ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")
VENUES = ("hyperliquid", "aster")


def terms(seed: int = 20260101, quotes_per_s: float = 200.0, sd: float = 18.0, jump: float = 60.0) -> MarketTerms:
    return MarketTerms(
        seed=seed, symbols=SYMBOLS, venues=VENUES, quotes_per_s=quotes_per_s, basis_sd_bps=sd, basis_half_life_s=15.0,
        jump_bps=jump, jump_every_s=30.0,
    )  # fmt: skip


def walk(market: Market, steps: int) -> list[tuple[str, list[Sample]]]:
    return [market.step() for _ in range(steps)]


def test_the_same_seed_gives_the_same_prices_and_another_seed_others() -> None:
    first, again, other = (walk(Market(terms(seed)), 9_000) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_recorded_state_goes_on_from_its_prices() -> None:
    market = Market(terms())
    walk(market, 5_000)
    state = market.state()
    resumed, twin = Market(terms(), state), Market(terms(), state)
    assert resumed.state() == state
    assert walk(resumed, 500) == walk(twin, 500)
    symbol, (sample, _) = Market(terms(), state).step()
    assert sample.oracle == pytest.approx(state.fair[symbol], rel=0.001)


def test_symbols_take_turns_on_every_venue() -> None:
    steps = walk(Market(terms()), 12)
    assert [symbol for symbol, _ in steps] == [*SYMBOLS, *SYMBOLS]
    assert all(len(samples) == len(VENUES) for _, samples in steps)
    assert all(samples[0].oracle == samples[1].oracle for _, samples in steps)


def test_the_basis_without_jumps_has_the_spread_and_half_life_of_the_rules() -> None:
    market = Market(terms(seed=5, jump=0.0))
    rows: list[float] = []
    for symbol, samples in walk(market, int(market.steps_per_s * 3_000)):
        if symbol == "BTC":
            rows.append((samples[0].mid / samples[0].oracle - 1) * 1e4)
    assert statistics.pstdev(rows) == pytest.approx(18.0, rel=0.25)
    lag = round(15.0 * market.steps_per_s / len(SYMBOLS))
    mean = statistics.fmean(rows)
    covariance = statistics.fmean((a - mean) * (b - mean) for a, b in zip(rows, rows[lag:], strict=False))
    assert covariance / statistics.pvariance(rows) == pytest.approx(0.5, abs=0.17)


def test_edges_that_pay_at_seed_thresholds_come_within_seconds_and_revert() -> None:
    """RULES 7 at seed values, on mids against a 15 s median: pairs open within 20 s of a full window, and close again."""
    market = Market(terms())
    offsets: dict[str, deque[float]] = {symbol: deque(maxlen=15) for symbol in SYMBOLS}
    sampled: dict[str, float] = {}
    held: dict[str, tuple[int, float, float, float]] = {}
    opened, closed = [], []
    for step, (symbol, (ours, theirs)) in enumerate(walk(market, int(market.steps_per_s * 180))):
        now_s = step / market.steps_per_s
        gap = (ours.mid / theirs.mid - 1) * 1e4
        if now_s - sampled.get(symbol, -1.0) >= 1.0:
            offsets[symbol].append(gap)
            sampled[symbol] = now_s
        if len(offsets[symbol]) < 10:
            continue
        spreads = ours.half_spread_bps + theirs.half_spread_bps
        if symbol in held:
            sign, entry, entry_s, entry_dev = held[symbol]
            if sign * (entry - gap) - 2 * spreads - 16.0 >= max(0.15 * entry_dev, 2.0):
                closed.append(now_s - entry_s)
                del held[symbol]
            continue
        dev = gap - statistics.median(offsets[symbol])
        if abs(dev) - spreads >= 40.0 and abs(dev) - 2 * spreads - 18.0 >= 2.0:
            held[symbol] = (int(math.copysign(1, dev)), gap, now_s, abs(dev))
            opened.append(now_s)
    assert min(opened) < 30.0
    assert len(opened) >= 8
    assert len(closed) >= len(opened) - len(SYMBOLS)
    assert statistics.median(closed) < 60.0


def test_tests_can_force_an_edge_and_a_move() -> None:
    market = Market(terms(sd=0.0, jump=0.0))
    market.nudge("aster", "BTC", 80.0)
    market.shift("ETH", -500.0)
    before = Market(terms(sd=0.0, jump=0.0)).state().fair["ETH"]
    (_, (ours, theirs)), (_, (ether, _)) = market.step(), market.step()
    assert (theirs.mid / ours.mid - 1) * 1e4 == pytest.approx(80.0, abs=1.0)
    assert ether.oracle == pytest.approx(before * 0.95, rel=0.001)


def test_one_symbol_on_one_venue_pays_60_to_120_bps_per_8_h_more() -> None:
    curve = FundingCurve(20260101, SYMBOLS, VENUES)
    other = next(venue for venue in VENUES if venue != curve.rich_venue)
    for start in range(490_000, 490_000 + 720, 8):
        gaps = {
            symbol: sum(
                curve.hourly(curve.rich_venue, symbol, hour) - curve.hourly(other, symbol, hour)
                for hour in range(start, start + 8)
            )
            for symbol in SYMBOLS
        }
        assert 60e-4 <= gaps.pop(curve.rich_symbol) <= 120e-4
        assert all(abs(gap) < 5e-4 for gap in gaps.values())
    assert FundingCurve(20260101, SYMBOLS, VENUES).hourly("aster", "BTC", 490_000) == curve.hourly(
        "aster", "BTC", 490_000
    )
