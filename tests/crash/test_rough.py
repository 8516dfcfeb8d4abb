"""The judge of the kills is judged: naked time by the venues' fills, and each complaint of `verify` seen to come."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from core.account import AccountSnapshot
from core.clock import NS_PER_S, SystemClock
from tests.crash.rough import Rough
from tests.ops.desk import position
from tests.strategies.market import AS, account

CONTRACTS = {
    ("hyperliquid", "kPEPE"): ("PEPE", 1000),
    ("aster", "BTCUSDT"): ("BTC", 1),
    ("hyperliquid", "BTC"): ("BTC", 1),
}


class Told(Rough):
    """A system that is only told: no process, the venues' books written by hand."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.books: dict[str, dict[str, Any]] = {v: body() for v in ("hyperliquid", "aster")}
        self.snapshot = account(unhedged_usd=Decimal(0))
        self.records: dict[tuple[str, str], Decimal] | None = None  # None = they agree

    def fill(self, venue: str, name: str, side: str, qty: str, px: str, at_s: float) -> None:
        rows = self.books[venue]["accounts"]["a"]["fill_rows"]
        rows.append(
            {"time_ns": int(at_s * NS_PER_S), "trade_id": len(rows), "name": name, "side": side, "qty": qty, "px": px}
        )

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return {"venues": self.books}

    def sandbox(self, what: str = "state", *words: str) -> Any:
        return {"venues": self.books}

    def page(self) -> AccountSnapshot | None:
        return self.snapshot

    def cli(self, *words: str, check: bool = True, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 0, "", "")

    def journaled(self) -> dict[tuple[str, str], Decimal]:
        return self.venue_positions() if self.records is None else self.records

    def until(self, what: str, done: Callable[[], object], seconds: float = 60.0) -> float:
        assert done(), what
        return 0.0

    def _contracts(self) -> dict[tuple[str, str], tuple[str, int]]:
        return CONTRACTS


def body() -> dict[str, Any]:
    return {"accounts": {"a": {"fill_rows": [], "open_orders": [], "orders": [], "positions": {}}}}


@pytest.fixture
def told() -> Told:
    told = Told()
    told.books["aster"]["accounts"]["a"]["orders"] += [{"client_id": "one"}, {"client_id": "two"}]
    return told


def test_naked_time_runs_from_the_first_leg_to_the_second(told: Told) -> None:
    told.fill("aster", "BTCUSDT", "buy", "0.01", "100000", 10.0)
    told.fill("hyperliquid", "BTC", "sell", "0.004", "100000", 10.2)
    told.fill("hyperliquid", "BTC", "sell", "0.006", "100000", 11.5)
    assert told.naked_since(0) == (1.5, 1000.0)
    assert told.naked_since(int(11 * NS_PER_S)) == (1.5, 1000.0), "it was naked then"
    assert told.naked_since(int(12 * NS_PER_S)) == (0.0, 0.0), "it was over"


def test_a_leg_that_is_naked_still_counts_until_now(told: Told) -> None:
    now_s = told.clock.wire_ns() / NS_PER_S
    told.fill("hyperliquid", "kPEPE", "sell", "100", "10", now_s - 7.0)
    seconds, usd = told.naked_since(0)
    assert 7.0 <= seconds < 12.0
    assert usd == pytest.approx(1000.0)


def test_dust_is_not_naked(told: Told) -> None:
    told.fill("aster", "BTCUSDT", "buy", "0.00004", "100000", 10.0)
    assert told.naked_since(0) == (0.0, 0.0)


def test_books_that_agree_are_not_complained_about(told: Told) -> None:
    told.verify()


def test_records_that_do_not_add_up_are_told(told: Told) -> None:
    told.records = {("aster", "BTC"): Decimal("0.1")}
    with pytest.raises(AssertionError, match="do not add up"):
        told.verify()


def test_an_order_that_was_sent_twice_is_told(told: Told) -> None:
    told.books["hyperliquid"]["accounts"]["a"]["orders"].append({"client_id": "one"})
    with pytest.raises(AssertionError, match="sent twice"):
        told.verify()


def test_an_order_that_rests_without_a_pair_is_told(told: Told) -> None:
    told.books["aster"]["accounts"]["a"]["open_orders"].append({"client_id": "one"})
    with pytest.raises(AssertionError, match="one"):
        told.verify()


def test_books_that_differ_and_a_naked_leg_are_told(told: Told) -> None:
    held = {"BTCUSDT": {"symbol": "BTC", "canonical_qty": "0.015"}}
    told.books["aster"]["accounts"]["a"]["positions"] = held
    with pytest.raises(AssertionError, match="books equal"):
        told.verify()
    told.snapshot = account(positions=(position(AS, "0.015"),), unhedged_usd=Decimal(0))
    with pytest.raises(AssertionError, match="naked"):
        told.verify()


def test_what_is_frozen_never_settles(told: Told) -> None:
    told.snapshot = account(frozen=("aster:BTC",), unhedged_usd=Decimal(0))
    with pytest.raises(AssertionError, match="no pair in motion"):
        told.verify()
