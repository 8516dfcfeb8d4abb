"""The executor's currency watch: the spot venue's books read, opens across currencies judged by them, changes said once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.messages import DenyReason, PairStatus
from core.types import Down, Venue
from executor.parity import CurrencyWatch
from tests.executor.rig import LONG, SHORT, FakeBook, Rig, quote, settle

KRAKEN = Venue("kraken")


def cross_currency(rig: Rig) -> None:
    """The legs as they really are: USDC here, USDT there."""
    for venue, currency in ((LONG, "USDC"), (SHORT, "USDT")):
        listed = rig.gateways[venue].instruments()
        listed["BTC"] = msgspec.structs.replace(listed["BTC"], quote_ccy=currency)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    ready = Rig(tmp_path)
    cross_currency(ready)
    return ready


def told(rig: Rig, **worth: float) -> FakeBook:
    """A spot venue whose books say so."""
    book = FakeBook()
    for currency, usd in worth.items():
        book.quotes[currency] = quote(usd - 0.00005, usd + 0.00005)
    rig.engine.books = {**rig.engine.books, KRAKEN: book}  # type: ignore[dict-item]
    rig.admission.currencies = CurrencyWatch(rig.engine)
    return book


async def refusal(rig: Rig) -> DenyReason | None:
    rig.commands.take(rig.open_command("0.01"), rig.client)
    await settle()
    return rig.client.denied


def lines(rig: Rig, *events: str) -> list[Any]:
    rows = [json.loads(line) for line in rig.lines]
    return [row for row in rows if row["event"] in events]


async def test_without_a_spot_venue_the_constants_let_it_through(rig: Rig) -> None:
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.OPEN


async def test_a_spot_venue_that_tells_a_dollar_lets_it_through(rig: Rig) -> None:
    told(rig, USDC=1.0001, USDT=0.9991)
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.OPEN


async def test_a_spot_venue_that_says_nothing_yet_denies(rig: Rig) -> None:
    told(rig)
    assert await refusal(rig) is DenyReason.PARITY_UNKNOWN
    assert [len(gateway.wire) for gateway in rig.gateways.values()] == [0, 0]


async def test_a_depeg_denies_and_its_end_lets_through(rig: Rig) -> None:
    book = told(rig, USDC=1.0, USDT=0.985)
    assert await refusal(rig) is DenyReason.DEPEG
    book.quotes["USDT"] = quote(0.9949, 0.9951)  # a warning, no stop
    rig.client.reports.clear()
    assert await refusal(rig) is None


async def test_a_worth_lives_as_long_as_it_may_and_no_longer(rig: Rig) -> None:
    book = told(rig, USDC=1.0, USDT=1.0)
    watch = rig.admission.currencies
    assert watch.of("USDT") is not None
    book.quotes["USDT"] = Down("the feed is gone")
    rig.clock.advance_ns(29 * NS_PER_S)
    assert watch.of("USDT") is not None
    rig.clock.advance_ns(2 * NS_PER_S)
    assert watch.of("USDT") is None


async def test_changes_are_said_once(rig: Rig) -> None:
    book = told(rig, USDC=1.0, USDT=1.0)
    watch = rig.admission.currencies
    for _ in range(3):
        watch.turn()
    assert [(row["currency"], row["depeg"]) for row in lines(rig, "parity")] == [("USDC", "none"), ("USDT", "none")]
    for usd, depeg in ((0.996, "warn"), (0.98, "stop"), (0.9999, "none")):
        rig.lines.clear()
        book.quotes["USDT"] = quote(usd - 0.00005, usd + 0.00005)
        for _ in range(3):
            watch.turn()
        (row,) = lines(rig, "parity")
        assert (row["currency"], row["depeg"], row["source"], row["usd"]) == ("USDT", depeg, "kraken", usd)
    rig.lines.clear()
    book.quotes["USDT"] = Down("gone")
    rig.clock.advance_ns(31 * NS_PER_S)
    book.quotes["USDC"] = quote(0.9999, 1.0001)
    watch.turn()
    (row,) = lines(rig, "parity_unknown")
    assert row["currency"] == "USDT"
