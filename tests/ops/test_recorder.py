"""Quotes and decisions to disk, and the switch that people throw."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bookshm.book import BookWriter
from bookshm.counters import CountersReader
from bookshm.decisions import DecisionWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from core.config import Loaded, load
from core.decisions import Action, Decision
from core.log import Log
from core.rotation import read_whole, recorded
from core.types import Venue
from ops import cli
from ops.recorder import SWITCH, Recorder
from tests.configuration import whole_text
from tests.feeds.rig import instrument
from tests.feeds.test_feed_process import until

ROOT = Path(__file__).resolve().parents[2]
VENUE = Venue("hyperliquid")


class Desk:
    """A run with one book and one strategy's ring, written by the test, and a recorder that the test turns."""

    def __init__(self, directory: Path, recorder_table: str = "") -> None:
        config = directory / "config" / "run.toml"
        config.parent.mkdir()
        text = whole_text()
        text = text.replace('name = "sandbox"', f'name = "rec"\nshm_dir = "{directory}"')
        config.write_text(text + "\n[recorder]\n" + recorder_table)
        self.config = config
        self.loaded: Loaded = load(config)
        self.clock = SystemClock()
        self.run = RunDir.join(self.loaded.run_dir, 1.0, self.clock)
        self.book = BookWriter(self.run, VENUE, self.clock, 8, 64)
        self.slot = self.book.add(instrument("BTC"))
        self.decisions = DecisionWriter(self.run, "scalp", 64)
        self.lines: list[str] = []
        self.recorder = Recorder(self.loaded, self.run, self.clock, Log("t", self.clock, write=self.lines.append))
        self.count = 0

    def quote(self) -> None:
        self.count += 1
        self.book.publish_quote(
            self.slot, 100.0 + self.count, 1.0, 101.0 + self.count, 2.0, self.count, self.clock.mono_ns()
        )

    def decide(self, reason: str) -> None:
        self.decisions.write(
            Decision(
                wire_ns=1, mono_ns=2, strategy="scalp", action=Action.REFUSE, symbol="BTC", long_venue="a", short_venue="b",
                reason=reason, numbers={"edge_bps": 1.5},
            )
        )  # fmt: skip

    def command(self, *words: str) -> int:
        return cli.main(["--config", str(self.config), *words])

    def rows(self, stem: str) -> list[Any]:
        files = recorded(self.loaded.recordings_dir, stem)
        return [json.loads(line) for file in files for line in b"".join(read_whole(file)).splitlines()]

    def close(self) -> None:
        self.book.close()
        self.decisions.close()
        self.run.leave()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    desk.recorder.on_start()
    yield desk
    desk.recorder.on_close()
    desk.close()


def look(desk: Desk) -> None:
    desk.recorder._look_ns = 0
    desk.recorder.do_work()


def turn(desk: Desk) -> None:
    """One turn after which everything is readable."""
    desk.recorder._flush_ns = 0
    desk.recorder.do_work()


def test_nothing_is_written_before_start_and_after_stop(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.quote()
    look(desk)
    assert not desk.loaded.recordings_dir.exists()
    assert desk.command("record", "start") == 0
    look(desk)
    desk.quote()
    desk.decide("dev_below_entry")
    desk.recorder.do_work()
    assert desk.command("record", "stop") == 0
    look(desk)
    desk.quote()
    desk.recorder.do_work()
    head, row = desk.rows(f"books-{VENUE}")
    assert abs(head["wire_minus_mono_ns"] - (desk.clock.wire_ns() - desk.clock.mono_ns())) < 10**9
    assert (row["symbol"], row["bid_px"], row["ask_qty"], row["exch_ts_ns"]) == ("BTC", 102.0, 2.0, 2)
    assert "age_ns" not in row
    _, decision = desk.rows("decisions-scalp")
    assert (decision["reason"], decision["numbers"]) == ("dev_below_entry", {"edge_bps": 1.5})
    assert "recording is off" in capsys.readouterr().out


def test_status_tells_who_writes_how_much_and_what_was_lost(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.command("record", "start")
    look(desk)
    for _ in range(80):  # more than the ring holds
        desk.quote()
    turn(desk)
    turn(desk)
    capsys.readouterr()
    assert desk.command("record", "status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["on"] is True
    assert status["writing"] == ["recorder"]
    rows = desk.rows(f"books-{VENUE}")
    missed = sum(row.get("missed", 0) for row in rows)
    assert missed == status["lost"] > 0
    assert missed + sum("bid_px" in row for row in rows) == 80, "every quote is written or counted as missed"
    (stem,) = [row for row in status["stems"] if row["stem"] == f"books-{VENUE}"]
    assert stem["files"] == 1
    assert stem["bytes"] > 0


def test_a_disk_that_refuses_takes_the_switch_away(desk: Desk) -> None:
    desk.command("record", "start")
    look(desk)
    directory = desk.loaded.recordings_dir
    (directory / SWITCH).unlink()
    directory.rmdir()
    directory.write_text("in the way")
    desk.quote()
    desk.recorder.do_work()
    assert any("recording_failed" in line for line in desk.lines)
    assert CountersReader(desk.run.counters / "recorder").samples()
    assert desk.command("record", "start") == 78
    directory.unlink()
    desk.command("record", "start")
    look(desk)
    desk.quote()
    turn(desk)
    assert len(desk.rows(f"books-{VENUE}")) == 2


def test_the_process_records_from_its_start_when_configured_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path, "autostart = true\n")
    desk.recorder.on_close()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.recorder", "--config", str(desk.config)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        until(lambda: (desk.loaded.recordings_dir / SWITCH).exists(), "the switch is thrown", 20.0)

        def written() -> bool:
            desk.quote()
            return len(desk.rows(f"books-{VENUE}")) > 2

        until(written, "quotes are on disk while it runs", 20.0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
        last = desk.rows(f"books-{VENUE}")[-1]
        assert last["symbol"] == "BTC"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=15)
        desk.close()
