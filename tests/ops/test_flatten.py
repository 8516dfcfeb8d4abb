"""`flatten` against executors in every state: living, dead, stopped, mute, refusing, recovering, respawned. Real processes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path

import pytest

from core import holder as holders
from core.clock import SystemClock
from core.config import Loaded, load
from core.errors import EXIT_BUSY, EXIT_CONFIG, EXIT_CRASH, EXIT_OK, EXIT_RESIDUAL, EXIT_UNAVAILABLE, ConfigError
from core.latch import HaltLatch
from core.log import Log
from core.types import Venue
from ops import flatten as flatten_module
from ops.context import Context
from ops.flatten import Bounds, Result, flatten, tell
from tests.configuration import whole_text

FAKE = Path(__file__).parent / "fake_executor.py"
ROOT = Path(__file__).parent.parent.parent
CLOCK = SystemClock()
QUICK = Bounds(connect_s=0.3, respawn_s=5.0, silent_s=2.5, ready_s=0.6, asked_s=20.0, child_s=15.0, term_s=2.0)


class Run:
    """One configuration with its own directories, and the processes that a test starts under it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = whole_text()
        text = text.replace('name = "sandbox"', f'name = "t{os.getpid()}"\nshm_dir = "{directory}"', 1)
        for key in ("state_dir", "lock_dir"):
            text = "\n".join(
                f'{key} = "{directory / key}"' if line.startswith(f"{key} =") else line for line in text.split("\n")
            )
        path = directory / "config" / "run.toml"
        path.parent.mkdir()
        path.write_text(text)
        self.loaded: Loaded = load(path)
        self.loaded.run_dir.mkdir()
        self.lines: list[str] = []
        self.running: list[subprocess.Popen[str]] = []
        self._monkeypatch = monkeypatch
        self.child("crash")

    def start(self, manner: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(FAKE), manner, "--config", str(self.loaded.path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PATH": os.defpath},
        )
        self.running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line == "up\n":
                return process
        raise AssertionError(f"the fake executor did not come up: {process.wait()}")

    def child(self, manner: str) -> None:
        """What stands in for `python -m executor.main`."""
        self._monkeypatch.setenv("PYTHONPATH", str(ROOT))
        self._monkeypatch.setattr(flatten_module, "CHILD", (sys.executable, str(FAKE), manner))

    def flatten(
        self, venue: str | None = None, symbol: str | None = None, *, everything: bool = False, bounds: Bounds = QUICK
    ) -> Result:
        log = Log("flatten", CLOCK, write=self.lines.append)
        return flatten(self.loaded, Venue(venue) if venue else None, symbol, everything, log, CLOCK, bounds)

    def said(self, event: str) -> bool:
        return any(json.loads(line)["event"] == event for line in self.lines)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    made = Run(tmp_path, monkeypatch)
    yield made
    for process in made.running:
        with process:
            process.kill()


@pytest.mark.parametrize("manner", ["live", "slow"])
def test_a_living_executor_is_asked_and_left_alone(run: Run, manner: str) -> None:
    executor = run.start(manner)
    result = run.flatten()
    assert (result.exit_code, result.flat, result.done_by) == (EXIT_OK, True, "executor")
    assert executor.poll() is None
    halt = HaltLatch(run.loaded.state_dir).read()
    assert halt is not None
    assert halt.reason == "flatten by the operator"


def test_a_residual_is_told_exactly_and_is_not_success(run: Run) -> None:
    run.start("residual")
    result = run.flatten()
    assert (result.exit_code, result.flat) == (EXIT_RESIDUAL, False)
    (left,) = result.residual
    assert (left.venue, left.symbol, left.qty, left.notional_usd) == (
        "aster",
        "BTC",
        Decimal("-0.013"),
        Decimal("812.5"),
    )


def test_an_unreachable_venue_is_not_success(run: Run) -> None:
    run.start("unreachable")
    result = run.flatten()
    assert (result.exit_code, result.flat, result.unreachable) == (EXIT_RESIDUAL, False, ("hyperliquid",))


def test_with_no_executor_the_work_is_done_all_the_same(run: Run) -> None:
    run.child("flat")
    result = run.flatten("aster", "BTC", everything=True)
    assert (result.exit_code, result.flat, result.done_by) == (EXIT_OK, True, "flatten-and-exit")
    (started,) = (json.loads(line) for line in run.lines if "flatten_child_started" in line)
    assert started["command"][3:] == [
        "--config", str(run.loaded.path), "--flatten-and-exit", "--venue", "aster", "--symbol", "BTC", "--all",
    ]  # fmt: skip


def test_a_killed_executor_leaves_a_stale_lock_text_and_socket(run: Run) -> None:
    executor = run.start("live")
    executor.kill()
    executor.wait()
    assert run.loaded.executor_socket.exists()
    run.child("flat")
    result = run.flatten()
    assert (result.exit_code, result.done_by) == (EXIT_OK, "flatten-and-exit")
    assert not run.said("holder_killed")


def test_a_stopped_executor_is_killed_and_replaced(run: Run) -> None:
    executor = run.start("live")
    executor.send_signal(signal.SIGSTOP)
    run.child("flat")
    result = run.flatten()
    assert (result.exit_code, result.done_by) == (EXIT_OK, "flatten-and-exit")
    assert executor.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("manner", "ending", "why"),
    [
        ("mute", 0, "has not answered for"),
        ("refusing", 0, "refuses (rate_budget"),
        ("recovering", 0, "refuses (not_ready"),
        ("deaf", 0, "does not listen"),
        ("stubborn", -signal.SIGKILL, "has not answered for"),
        ("dying", -signal.SIGKILL, "the connection ended"),
    ],
)
def test_an_executor_that_does_not_help_is_ended_and_replaced(run: Run, manner: str, ending: int, why: str) -> None:
    executor = run.start(manner)
    run.child("flat")
    result = run.flatten()
    assert (result.exit_code, result.done_by) == (EXIT_OK, "flatten-and-exit"), run.lines
    assert executor.wait(10) == ending
    (told,) = (json.loads(line) for line in run.lines if "executor_no_help" in line)
    assert why in told["detail"]


def test_an_executor_of_another_run_is_never_ended(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same account from another checkout: named, not touched, and not success."""
    (tmp_path / "other").mkdir()
    other = Run(tmp_path / "other", monkeypatch)
    text = other.loaded.path.read_text().replace(str(other.loaded.lock_dir), str(run.loaded.lock_dir))
    other.loaded.path.write_text(text)
    other.loaded = load(other.loaded.path)
    stranger = other.start("live")
    run.child("flat")
    result = run.flatten()
    assert (result.exit_code, result.flat) == (EXIT_BUSY, False)
    assert str(stranger.pid) in result.detail
    assert str(other.loaded.path) in result.detail
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    assert stranger.stdout is not None
    stranger.stdout.close()


def test_a_respawned_executor_is_asked_instead_of_waited_for(run: Run) -> None:
    """supervisord is quicker than we are: the child finds the lock taken by the next executor, HALTED by the latch."""
    first = run.start("mute")

    def respawn() -> None:
        first.wait()
        run.start("live")

    supervisor = threading.Thread(target=respawn)
    supervisor.start()
    run.child("late")
    result = run.flatten()
    supervisor.join()
    assert (result.exit_code, result.flat, result.done_by) == (EXIT_OK, True, "executor"), run.lines
    assert run.running[1].poll() is None
    assert holders.holders(run.loaded.lock_dir, run.loaded.state_dir)[0][1].pid == run.running[1].pid


@pytest.mark.parametrize(
    ("manner", "code", "words"),
    [
        ("left", EXIT_RESIDUAL, "1 positions left"),
        ("crash", EXIT_UNAVAILABLE, "the venue hung up"),
        ("silent", EXIT_CRASH, "ended with 0"),
        ("liar", EXIT_RESIDUAL, "though it reported flat=True"),
    ],
)
def test_only_a_flat_report_with_exit_0_is_success(run: Run, manner: str, code: int, words: str) -> None:
    run.child(manner)
    result = run.flatten()
    assert (result.exit_code, result.flat) == (code, False)
    assert words in result.detail


def test_a_child_that_hangs_is_ended_within_its_bound(run: Run) -> None:
    run.child("hanging")
    result = run.flatten(bounds=Bounds(connect_s=0.1, child_s=1.5, term_s=1.0))
    assert (result.exit_code, result.flat) == (EXIT_UNAVAILABLE, False)
    assert "not done after 1.5 s" in result.detail
    assert holders.holders(run.loaded.lock_dir, run.loaded.state_dir) == []


def test_an_unwritable_state_dir_does_not_keep_positions_open(run: Run) -> None:
    run.loaded.state_dir.write_text("in the way")
    run.start("live")
    result = run.flatten()
    assert (result.exit_code, result.flat) == (EXIT_CONFIG, True)
    assert "not halted" in result.detail


def test_a_venue_of_no_configuration_is_a_clear_error_and_changes_nothing(run: Run) -> None:
    with pytest.raises(ConfigError, match="no such venue"):
        run.flatten("binance")
    assert HaltLatch(run.loaded.state_dir).read() is None


def test_the_answer_is_told_to_people_and_machines(run: Run) -> None:
    run.start("residual")
    result = run.flatten()
    out = io.StringIO()
    with redirect_stdout(out):
        assert tell(Context(run.loaded, CLOCK, True), result) == EXIT_RESIDUAL
    told = json.loads(out.getvalue())
    assert told["residual"][0]["qty"] == "-0.013"
    out = io.StringIO()
    with redirect_stdout(out):
        assert tell(Context(run.loaded, CLOCK, False), result) == EXIT_RESIDUAL
    assert "NOT FLAT" in out.getvalue()
    assert "-0.013" in out.getvalue()
    assert "812.50" in out.getvalue()
