"""Trading by hand against the running system: every order of legs, the trials, and tables that agree with the venues."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.e2e.system import System

VENUES = ("hyperliquid", "aster", "lighter")
QUIET = {
    "strategies.scalp": {"spread_entry_bps": "4000.0"},
    "risk": {"attempt_cooldown_s": "0.5"},
    "sandbox": {"basis_sd_bps": "0.5", "jump_bps": "0.0"},
    "execution": {"min_cross_bps": "30.0", "max_cross_bps": "30.0"},  # a limit of a moment ago still fills
}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(QUIET, venues=VENUES) as system:
        system.up()
        yield system


def test_a_trial_runs_unattended_and_leaves_nothing(system: System) -> None:
    told = system.json("test-auto", "--notional", "20", "--hold-s", "1")
    assert told["ok"], told
    assert [step["name"] for step in told["steps"]] == ["preflight", "executor", "open", "hold", "close"]
    assert system.venue_positions() == {}


def test_leverage_is_set_and_read_back_on_every_venue(system: System) -> None:
    told = system.json("test-leverage", "ETH", "--leverage", "2", "--force")
    assert [step["ok"] for step in told["steps"]] == [True] * len(VENUES), told
    system.json("test-leverage", "ETH", "--force")
    system.until("the tables show it", lambda: {row["verdict"] for row in system.json("leverage", "ETH")} == {"ok"}, 20)


@pytest.mark.parametrize(
    ("symbol", "long", "short", "legs"),
    [
        ("ETH", "aster", "hyperliquid", ("both",)),
        ("SOL", "lighter", "aster", ("thin_first",)),
        ("HYPE", "aster", "lighter", ("maker_first", "--first", "aster", "--deadline-s", "20", "--fallback", "taker")),
    ],
)
def test_a_pair_by_hand_opens_hedged_and_closes_flat(
    system: System, symbol: str, long: str, short: str, legs: tuple[str, ...]
) -> None:
    words = ("open", symbol, "--long", long, "--short", short, "--size-quote", "300", "--legs", *legs, "--force")
    opened = system.json(*words)
    assert opened["ok"], opened
    held = system.venue_positions()
    assert {venue for venue, name in held if name == symbol} == {long, short}
    assert sum((qty for (_, name), qty in held.items() if name == symbol), Decimal(0)) == 0
    closed = system.json("close", symbol, "--force")
    assert closed["ok"], closed
    assert Decimal(closed["pair"]["net_usd"]) > -5
    assert system.venue_positions() == {}


def test_the_books_are_equal_afterwards_and_nothing_was_sent_twice(system: System) -> None:
    system.until("journal and venues agree", system.books_equal, 20)
    ids = system.client_ids()
    assert len(ids) == len(set(ids))


def test_what_is_asked_wrongly_says_so(system: System) -> None:
    done = system.cli(
        "open", "ETH", "--long", "aster", "--short", "hyperliquid", "--size-quote", "3", "--force", check=False
    )
    assert done.returncode == 64
    assert "too small" in done.stdout
    done = system.cli("close", "ETH", "--force", check=False)
    assert done.returncode == 64
    assert "0 open pairs of that name" in done.stdout
