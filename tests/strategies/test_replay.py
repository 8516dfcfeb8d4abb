"""Recordings through the live decisions: what fills, what does not, and what a real day comes to (RULES 7, TRAPS T28)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.clock import NS_PER_S, SimClock
from core.config import Loaded, load
from core.recordings import Row, Track
from core.settings import ScalpConfig
from core.types import Quote, Side, Stale, Venue
from strategies.replay import ReplayReport, render, replay
from strategies.replay_market import RecordedVenue

ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = ROOT / "tests" / "fixtures" / "recordings" / "synthetic-two-venue"
REAL = ROOT.parent / "shared" / "data" / "quotes" / "three-venue-1s-bbo"
T0 = 1_767_225_600 * NS_PER_S
NEVER = -20.0  # a least profit that holds nothing back


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(ROOT / "config" / "sandbox.toml")


def scalp(loaded: Loaded, **changes: float) -> ScalpConfig:
    return msgspec.structs.replace(loaded.config.strategies.scalp, **changes)


def track(venue: str = "aster", lot: str = "0.001") -> Track:
    return Track(
        venue=Venue(venue), symbol="BTC", file="", tick=Decimal("0.1"), lot=Decimal(lot), min_notional_usd=Decimal(5)
    )


def row(second: float, bid: str, ask: str, bid_qty: str = "1", ask_qty: str = "1") -> Row:
    return Row(T0 + int(second * NS_PER_S), Decimal(bid), Decimal(bid_qty), Decimal(ask), Decimal(ask_qty))


def venue_at(second: float, *rows: Row, delay_ms: float = 70.0) -> tuple[RecordedVenue, SimClock]:
    clock = SimClock(wire_ns=T0 + int(second * NS_PER_S))
    recorded: Iterator[Row] = iter(rows)
    venue = RecordedVenue([(track(), recorded)], delay_ms, 3 * NS_PER_S, clock)
    venue.advance()
    return venue, clock


BUY, SELL, ONE = Side.BUY, Side.SELL, Decimal(1)


def test_a_price_that_the_next_quote_takes_away_does_not_fill() -> None:
    venue, _ = venue_at(0, row(0, "99", "100"), row(1, "104", "105"), row(2, "99", "100"))
    assert venue.take("BTC", BUY, ONE, Decimal("101")).qty == 0
    assert venue.take("BTC", SELL, ONE, Decimal("98")).px == 99, "the other side survived, at the worse of both bids"


def test_a_fill_has_the_worse_price_and_the_smaller_size_of_both_quotes() -> None:
    venue, _ = venue_at(0, row(0, "99", "100", ask_qty="0.5"), row(1, "99", "100.4", ask_qty="0.3"), row(2, "9", "10"))
    got = venue.take("BTC", BUY, ONE, Decimal("101"))
    assert (got.px, got.qty) == (Decimal("100.4"), Decimal("0.300"))


def test_the_same_recorded_size_is_not_taken_twice() -> None:
    venue, clock = venue_at(
        0, row(0, "99", "100", ask_qty="0.5"), row(1, "99", "100", ask_qty="0.5"), row(2, "99", "100")
    )
    first, second = (venue.take("BTC", BUY, Decimal("0.4"), None).qty for _ in range(2))
    assert (first, second) == (Decimal("0.4"), Decimal("0.1"))
    assert venue.take("BTC", SELL, Decimal("0.4"), None).qty == Decimal("0.4"), "the other side is another size"
    clock.advance_ns(NS_PER_S)
    venue.advance()
    assert venue.take("BTC", BUY, Decimal("0.4"), None).qty == Decimal("0.4"), "the next row is a new size"


def test_an_order_meets_the_row_in_force_when_it_arrives() -> None:
    rows = (row(0, "99", "100"), row(1, "119", "120"), row(2, "119", "120"))
    assert venue_at(0.95, *rows)[0].take("BTC", BUY, ONE, Decimal("101")).qty == 0
    assert venue_at(0.95, *rows)[0].take("BTC", BUY, ONE, Decimal("120")).px == 120


def test_the_last_row_fills_nothing_since_nothing_says_it_stood() -> None:
    assert venue_at(0, row(0, "99", "100"))[0].take("BTC", BUY, ONE, None).qty == 0


def test_a_quote_is_as_old_as_its_row_and_stale_after_its_proof() -> None:
    venue, clock = venue_at(0, row(0, "99", "100"), row(10, "99", "100"))
    clock.advance_ns(2 * NS_PER_S)
    now = venue.quote(0)
    assert isinstance(now, Quote)
    assert now.age_ns == 2 * NS_PER_S
    clock.advance_ns(2 * NS_PER_S)
    assert venue.quote(0) == Stale(4 * NS_PER_S)


def test_default_thresholds_do_not_trade_the_synthetic_recording(loaded: Loaded) -> None:
    report = replay(loaded, scalp(loaded), SYNTHETIC)
    assert report.opened == 0
    assert not report.pairs
    assert report.seconds == 600
    assert max(edge.max_dev_bps for edge in report.edges if edge.max_dev_bps is not None) > 3.0
    assert "no trade" in render(report)


def test_three_bps_trade_the_synthetic_recording_at_a_loss(loaded: Loaded) -> None:
    strategy = scalp(loaded, spread_entry_bps=3.0, min_profit_bps=NEVER, max_hold_s=15.0)
    report = replay(loaded, strategy, SYNTHETIC)
    assert report.opened >= 3
    assert report.net_usd < 0
    for pair in report.pairs:
        assert pair.net_usd == pair.price_usd - pair.fees_usd
        assert pair.fees_usd > 0
        assert pair.attempts == pair.missed + pair.broken + pair.opened
        assert pair.closed + pair.still_open == pair.broken + pair.opened
    assert report == replay(loaded, strategy, SYNTHETIC), "one recording, one report"


def test_three_bps_alone_are_held_back_by_the_least_profit(loaded: Loaded) -> None:
    report = replay(loaded, scalp(loaded, spread_entry_bps=3.0), SYNTHETIC)
    assert report.opened == 0
    assert report.refused["net_below_min_profit"] > 0


def test_the_command_prints_the_report(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "strategies.replay",
        "--config",
        str(ROOT / "config" / "sandbox.toml"),
        str(SYNTHETIC),
    ]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert json.loads(done.stdout)["seconds"] == 600
    bad = subprocess.run(
        [*command[:-1], str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert bad.returncode == 78
    assert "has no manifest" in bad.stderr


# ---- the recorded day -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"no recorded day at {REAL}: the whole-day judgement was NOT made")
    return REAL


def whole_day(loaded: Loaded, real: Path, **changes: float) -> ReplayReport:
    half_hour = scalp(loaded, **{"offset_window_s": 1800.0, "offset_min_samples": 600, **changes})
    report = replay(loaded, half_hour, real)
    print("\n" + render(report))
    return report


def test_a_real_day_at_default_thresholds_has_no_trade(loaded: Loaded, real: Path) -> None:
    report = whole_day(loaded, real)
    assert report.seconds == 86_400
    assert not report.pairs
    largest = max(edge.max_dev_bps for edge in report.edges if edge.max_dev_bps is not None)
    assert largest == pytest.approx(8.5, abs=0.1), "RULES 7: the largest deviation of the day is 8.5 bps"


def test_a_real_day_at_three_bps_trades_at_a_loss(loaded: Loaded, real: Path) -> None:
    report = whole_day(loaded, real, spread_entry_bps=3.0, min_profit_bps=NEVER)
    assert report.opened >= 1
    assert sum(pair.attempts for pair in report.pairs) >= 20
    assert report.net_usd < 0
    assert all(pair.net_usd < 0 for pair in report.pairs)
