"""SIGKILL of every program once, with pairs open: all returns by itself, nothing is sent twice, books stay equal."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.system import PROGRAMS, System


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    # Pairs are held for long (take-profit out of reach), so that every kill meets open ones.
    with System({"strategies.scalp": {"take_profit_ratio": "1.0"}}) as system:
        system.up()
        yield system


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_kill_returns_by_itself(system: System, program: str) -> None:
    system.until("a pair is open", system.pairs, 120.0)
    before = epochs(system)
    killed = system.signal(program, signal.SIGKILL)
    back_s = system.until(f"{program} runs again", lambda: system.pid(program) not in (0, killed), 30.0)
    fit_s = system.until(
        "everything fit to trade again", lambda: renewed(system, program, before) and system.ready(), 60.0
    )
    print(f"{program}: back after {back_s:.1f} s, everything fit to trade {fit_s:.1f} s later")
    page = system.page()
    assert page is not None
    assert page.trading_state.value == "active", "SIGKILL alone does not halt"


def test_afterwards_nothing_was_doubled_and_nothing_is_naked(system: System) -> None:
    system.cli("reduce-only", "let it settle")
    system.until("no pair in motion and books equal", lambda: settled(system), 60.0)
    ids = Counter(system.client_ids())
    assert {i: n for i, n in ids.items() if n > 1} == {}
    page = system.page()
    assert page is not None
    assert page.unhedged_usd == 0
    print(f"longest unhedged: {page.unhedged_max_ns / 1e9:.3f} s over {page.pairs_opened} pairs")
    net: Counter[str] = Counter()
    for (_, symbol), qty in system.venue_positions().items():
        net[symbol] += qty  # type: ignore[assignment]
    assert all(value == 0 for value in net.values()), net


def epochs(system: System) -> dict[str, int]:
    """How often the executor and each feed began, as their shared memory says."""
    page = system.page()
    feeds = {
        f"feed-{row['venue']}": int(row["epoch"])
        for row in json.loads(system.cli("status", "--json", check=False).stdout)["feeds"]
    }
    return {"executor": page.executor_epoch if page else 0, **feeds}


def renewed(system: System, program: str, before: dict[str, int]) -> bool:
    """Whether what is in shared memory is the new process's, not what the killed one left."""
    return program not in before or epochs(system)[program] > before[program]


def settled(system: System) -> bool:
    page = system.page()
    if page is None or page.orders or page.frozen:
        return False
    return all(pair.status.value in ("open", "closed", "aborted") for pair in page.pairs) and system.books_equal()
