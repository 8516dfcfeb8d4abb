"""A pair with a leg on a venue without an order book, by hand: quoted, accepted, cleared, hedged, and closed the same way."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.e2e.system import System

VENUES = ("variational", "hyperliquid", "aster")  # the strategy wants two with books
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


@pytest.mark.parametrize(
    ("symbol", "long", "short"), [("SOL", "variational", "hyperliquid"), ("HYPE", "hyperliquid", "variational")]
)
def test_a_quoted_leg_goes_first_and_is_hedged(system: System, symbol: str, long: str, short: str) -> None:
    words = ("open", symbol, "--long", long, "--short", short, "--size-quote", "300", "--force")
    opened = system.json(*words)
    assert opened["ok"], opened
    held = system.venue_positions()
    assert {venue for venue, name in held if name == symbol} == {long, short}
    assert sum((qty for (_, name), qty in held.items() if name == symbol), Decimal(0)) == 0
    assert held[(long, symbol)] > 0
    closed = system.json("close", symbol, "--force")
    assert closed["ok"], closed
    assert Decimal(closed["pair"]["net_usd"]) > -5
    assert system.venue_positions() == {}


def test_a_trial_runs_where_the_venue_is_named(system: System) -> None:
    told = system.json("test-auto", "ETH", "--long", "variational", "--short", "hyperliquid", "--hold-s", "0.5")
    assert told["ok"], told
    assert [step["name"] for step in told["steps"]] == ["preflight", "executor", "open", "hold", "close"]
    assert system.venue_positions() == {}


def test_an_acceptance_without_an_answer_is_found_and_hedged(system: System) -> None:
    """No id of ours is on that wire: the order is known by what it looks like, and is not sent again."""
    system.sandbox("fault", "add", "variational", "lost_answer", "--way", "silent")
    opened = system.json(
        "open", "PAXG", "--long", "variational", "--short", "hyperliquid", "--size-quote", "300", "--force"
    )
    system.sandbox("fault", "clear", "variational")
    assert opened["ok"], opened
    held = system.venue_positions()
    assert held["variational", "PAXG"] == -held["hyperliquid", "PAXG"] > 0
    closed = system.json("close", "PAXG", "--force")
    assert closed["ok"], closed
    assert system.venue_positions() == {}


def test_the_books_are_equal_afterwards_and_each_order_was_sent_once(system: System) -> None:
    """No id of ours is on the venue's wire: its own books must hold exactly one order per leg."""
    system.until("journal and venues agree", system.books_equal, 20)
    accounts = system.sandbox()["venues"]["variational"]["accounts"].values()
    orders = [row for account in accounts for row in account["orders"]]
    assert len(orders) == 8
    assert {row["state"] for row in orders} == {"filled"}
