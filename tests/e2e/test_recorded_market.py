"""A recorded market through the whole system: real protocols, real feeds, the real strategy and executor.

At the recorded pace, so that a second is a second for everybody: quotes are fresh by the live rule, offsets sample once a
second, and the venues' order delays are what they are. The whole recorded day is judged by tests/strategies/test_replay.py.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.configuration import THREE
from tests.e2e.system import ROOT, System

SYNTHETIC = ROOT / "tests" / "fixtures" / "recordings" / "synthetic-two-venue"
REAL = ROOT.parent / "shared" / "data" / "quotes" / "three-venue-1s-bbo"
STUDY = {
    "strategies.scalp": {
        "spread_entry_bps": "3.0",
        "min_profit_bps": "-20.0",
        "max_hold_s": "12.0",
        "cooldown_s": "2.0",
    },
    "risk": {"min_edge_bps": "-20.0"},
}


class Recorded(System):
    """A system that starts on a recording; `study` lowers scalp's thresholds until it loses."""

    def __init__(self, recording: Path, *, study: bool, venues: tuple[str, ...]) -> None:
        """With the `venues` that the recording has."""
        self._recording = recording
        super().__init__(STUDY if study else {}, venues)

    def play(self) -> None:
        """From the first moment on, as `make run MARKET=PATH` does it, without waiting for the end."""
        self.loaded.state_dir.mkdir(parents=True, exist_ok=True)
        order = {"path": str(self._recording), "offset_window_s": 15.0, "offset_min_samples": 10}
        (self.loaded.state_dir / "market_at_start.json").write_text(json.dumps(order))
        self.up()

    def report(self) -> Any:
        return self.json("sandbox", "market", "report")


def net(report: Any) -> Decimal:
    return sum((Decimal(row["price_usd"]) - Decimal(row["fees_usd"]) for row in report["market"]["venues"]), Decimal(0))


def test_three_bps_trade_the_synthetic_recording_at_a_loss() -> None:
    with Recorded(SYNTHETIC, study=True, venues=("hyperliquid", "aster")) as system:
        system.play()

        def closed() -> bool:
            page = system.page()
            return page is not None and page.pairs_closed >= 2

        system.until("two pairs opened and closed", closed, 120.0)
        print(system.cli("sandbox", "market", "report").stdout)
        report = system.report()
        assert report["market"]["state"] == "playing"
        assert {row["symbol"] for row in report["pairs"]} == {"BTC"}, "nothing else moves"
        done = [row for row in report["pairs"] if row["status"] == "closed"]
        assert done
        assert all(Decimal(row["net_usd"]) < 0 for row in done)
        for row in done:
            price, funding, fees, total = (Decimal(row[f"{key}_usd"]) for key in ("price", "funding", "fees", "net"))
            assert abs(price + funding - fees - total) <= Decimal("0.02"), "rounded to cents, each for itself"
        assert net(report) < 0
        assert system.cli("flatten", "--force", check=False).returncode == 0, "a recorded market can be left"
        assert system.venue_positions() == {}


def test_up_with_a_market_plays_it_to_its_end_and_prints_the_report() -> None:
    """What `make run MARKET=PATH SPEED=N` does. At default thresholds the report says that nothing traded."""
    with Recorded(SYNTHETIC, study=False, venues=("hyperliquid", "aster")) as system:
        shown = system.cli("up", "--market", str(SYNTHETIC), "--speed", "25").stdout
        print(shown)
        assert "Edges of the recorded quotes" in shown
        assert "ended at 2026-01-02 00:09:59" in shown
        assert "at 25x a venue's order delay" in shown, "what a faster pace bends is said"
        assert "no trade" in shown
        assert not system.pairs()
        rows = system.json("why", "BTC", "-n", "500")
        assert any(row["reason"] == "dev_below_entry" for row in rows), "quotes and offset were good enough to decide"
        assert not [row for row in rows if row["action"] == "open"]
        record(system, {"hyperliquid", "aster"})
        assert system.json("sandbox", "market", "stop")["market"]["state"] == "ended"
        assert system.json("sandbox", "market", "status") is None


def record(system: System, venues: set[str]) -> None:
    """`tandem record` on a system that is up: everybody writes, nothing is lost, everybody stops."""
    everybody = {"recorder", *(f"feed-{venue}" for venue in venues)}
    wanted = {"decisions-scalp", *(f"{kind}-{venue}" for kind in ("frames", "books") for venue in venues)}
    system.cli("record", "start")

    def written() -> bool:
        status = system.json("record", "status")
        found = {row["stem"] for row in status["stems"] if row["bytes"] > 0}
        return status["on"] and status["lost"] == 0 and set(status["writing"]) == everybody and found >= wanted

    system.until("everybody writes", written, 20.0)
    system.cli("record", "stop")
    system.until("nobody writes", lambda: not system.json("record", "status")["writing"], 10.0)


def test_default_thresholds_do_not_trade_the_recorded_day() -> None:
    if not REAL.exists():
        pytest.skip(f"no recording at {REAL}: the recorded day was NOT played")
    with Recorded(REAL, study=False, venues=THREE) as system:
        system.play()
        played = lambda: system.report()["market"]["played_s"] >= 30  # noqa: E731
        system.until("thirty recorded seconds", played, 90.0)
        fresh = {
            row["venue"] for row in system.json("status")["quotes"] if row["symbol"] == "BTC" and row["state"] == "ok"
        }
        report = system.report()
        print(system.cli("sandbox", "market", "report").stdout)
        assert fresh == {track.split()[0] for track in report["market"]["tracks"]}
        assert report["market"]["left_out"] == []
        assert any(row["reason"] == "dev_below_entry" for row in system.json("why", "BTC", "-n", "500"))
        assert sum(row["fills"] for row in report["market"]["venues"]) == 0
        assert report["pairs"] == []
