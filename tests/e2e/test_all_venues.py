"""Every venue of the roster at once: live feeds, pairs between them, each venue on both sides where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from core.roster import SPEC, VENUES
from core.venue_spec import VenueKind
from tests.e2e.system import System

QUIET = {
    "strategies.scalp": {"spread_entry_bps": "4000.0"},
    "risk": {"attempt_cooldown_s": "0.5", "symbol_exclusive": "false"},
    "sandbox": {"basis_sd_bps": "0.5", "jump_bps": "0.0"},
    "execution": {"min_cross_bps": "30.0", "max_cross_bps": "30.0"},  # a limit of a moment ago still fills
}
NAMES = tuple(spec.name for spec in VENUES)
PERPS = tuple(name for name in NAMES if SPEC[name].kind is VenueKind.PERP)
LONG_ONLY = tuple(name for name in NAMES if SPEC[name].kind is VenueKind.SPOT)
BY_QUOTE = tuple(name for name in NAMES if SPEC[name].kind is VenueKind.RFQ)
RING = [
    *zip(PERPS, (*PERPS[1:], PERPS[0]), strict=True),
    *((name, PERPS[0]) for name in (*LONG_ONLY, *BY_QUOTE)),
    *((PERPS[1], name) for name in BY_QUOTE),
]
"""(bought at, sold at): every perp venue on both sides, spot bought, and the one that quotes first on both."""


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(QUIET) as system:
        system.up()
        yield system


def test_status_shows_a_live_feed_of_every_venue(system: System) -> None:
    shown = system.json("status")
    assert {row["venue"] for row in shown["feeds"]} == set(NAMES)
    assert all(row["up"] for row in shown["feeds"]), shown["feeds"]
    assert {venue["venue"]: venue["status"] for venue in shown["account"]["venues"]} == dict.fromkeys(NAMES, "ok")


@pytest.mark.parametrize(("long", "short"), RING)
def test_a_pair_between_two_venues_opens_hedged_and_closes_flat(system: System, long: str, short: str) -> None:
    symbol = "ETH"
    opened = system.json("open", symbol, "--long", long, "--short", short, "--size-quote", "400", "--force")
    assert opened["ok"], opened
    held = {venue: qty for (venue, name), qty in system.venue_positions().items() if name == symbol}
    assert set(held) == {long, short}
    assert held[long] > 0 > held[short]
    assert abs(sum(held.values(), Decimal(0))) < Decimal("0.002")
    closed = system.json("close", symbol, "--force")
    assert closed["ok"], closed
    system.until("the venues are flat", lambda: system.venue_positions() == {}, 20)


@pytest.mark.parametrize("short", LONG_ONLY)
def test_a_spot_venue_is_never_sold_short(system: System, short: str) -> None:
    done = system.cli(
        "open", "ETH", "--long", PERPS[0], "--short", short, "--size-quote", "400", "--force", check=False
    )
    assert done.returncode == 64
    assert "can only be the long leg" in done.stdout


def test_the_books_are_equal_afterwards_and_nothing_was_sent_twice(system: System) -> None:
    system.until("journal and venues agree", system.books_equal, 20)
    ids = system.client_ids()
    assert len(ids) == len(set(ids))
