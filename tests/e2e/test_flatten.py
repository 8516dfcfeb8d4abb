"""`make flatten` when the executor is dead, stopped, or a venue is away: flat and 0, or not 0 and the exact residual."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.system import PROGRAMS, System


@pytest.fixture
def system() -> Iterator[System]:
    scalp = {"take_profit_ratio": "1.0", "venues": '["hyperliquid", "aster"]'}
    with System({"strategies.scalp": scalp}) as system:
        system.up()
        system.until("a pair is open", system.pairs, 120.0)
        yield system


def test_with_the_executor_dead(system: System) -> None:
    """Killed for good: supervisord is told not to bring it back, so flatten has to do it itself."""
    system.signal("executor", signal.SIGKILL)
    system.ctl("stop", PROGRAMS["executor"])
    done = system.cli("flatten", "--force", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.venue_positions() == {}


def test_with_the_executor_killed_and_respawning(system: System) -> None:
    system.signal("executor", signal.SIGKILL)
    done = system.cli("flatten", "--force", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.venue_positions() == {}
    system.until("the executor is back, halted by the latch", system.ready_halted, 60.0)


def test_with_the_executor_stopped(system: System) -> None:
    """SIGSTOP: it holds its locks and answers nothing; it is ended after its identity is checked."""
    stopped = system.signal("executor", signal.SIGSTOP)
    done = system.cli("flatten", "--force", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.venue_positions() == {}
    assert system.pid("executor") != stopped


def test_with_one_venue_unreachable(system: System) -> None:
    system.cli("halt")  # nothing opens between the look and the outage
    system.until("no order is under way", lambda: (page := system.page()) is not None and not page.orders, 30.0)
    before = system.venue_positions()
    system.sandbox("serving", "aster", "off")
    done = system.cli("flatten", "--force", check=False, timeout_s=240)
    assert done.returncode != 0, done.stdout
    left = {key: qty for key, qty in system.venue_positions().items() if key[0] == "aster"}
    assert left == {key: qty for key, qty in before.items() if key[0] == "aster"}
    assert not [key for key in system.venue_positions() if key[0] == "hyperliquid"]
    for (_, symbol), qty in left.items():
        assert symbol in done.stdout
        assert f"{abs(qty):f}".rstrip("0").rstrip(".") in done.stdout, done.stdout
    assert "unreachable" in done.stdout
    system.sandbox("serving", "aster", "on")
    done = system.cli("flatten", "--force", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.venue_positions() == {}
