"""`foreign_positions = close`: what nobody here owns goes, step by step, and nothing else does."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from core.types import Down, Side
from executor.venues.base import Traits
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG
from tests.executor.test_reconcile import BTC, Bench

MISS = Plan(fill_lots=0)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch, execution={"foreign_positions": "close"})


def limits(bench: Bench) -> list[int]:
    return [order.prepared.limit_ticks for order in bench.rig.state.orders.values()]


async def test_it_walks_the_ladder_and_then_tries_once_a_minute(bench: Bench) -> None:
    bench.long.default = MISS
    bench.long.foreign_fill("BTC", Side.BUY, 7, Decimal(100_000))
    await bench.turns(16, 500.0)
    first, second, third = limits(bench)
    assert first > second > third
    await bench.turns(60, 500.0)
    assert len(limits(bench)) == 3
    bench.long.default = Plan()
    await bench.turns(80, 500.0)
    assert limits(bench)[3:] == [third]
    assert bench.rig.truth(BTC) == 0
    assert bench.rig.state.frozen == {}


async def test_what_venue_and_journal_disagree_about_is_not_closed(bench: Bench) -> None:
    bench.long.foreign_fill("BTC", Side.BUY, 7, Decimal(100_000))
    for said in (3, 4, 5, 6) * 4:
        bench.long.positions_said = {"BTC": said}
        await bench.turns(1, 500.0)
    assert bench.long.wire == []


async def test_without_a_price_it_waits_and_is_told(bench: Bench) -> None:
    bench.long.foreign_fill("BTC", Side.BUY, 7, Decimal(100_000))
    bench.rig.books[LONG].quotes["BTC"] = Down("gone")
    await bench.turns(40, 500.0)
    assert len(bench.events("foreign_not_closed")) == 1
    bench.rig.market(100_000.0, 60.0)
    await bench.turns(140, 500.0)
    assert bench.rig.truth(BTC) == 0


async def test_a_hedged_pair_is_left_alone(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.turns(30, 500.0)
    assert len(bench.long.wire) == 1
    assert pair.long.lots == 10


async def test_where_the_venue_quotes_first_it_goes_by_a_quote(bench: Bench) -> None:
    bench.long.traits = Traits(quotes_first=True, reduce_only=False)
    bench.long.quote_px = Decimal("100000.0")
    bench.long.stated_extra = {"mark_px": Decimal("100000.0")}
    bench.rig.books[LONG].quotes["BTC"] = Down("it has no book")
    bench.long.foreign_fill("BTC", Side.BUY, 7, Decimal(100_000))
    await bench.turns(12, 500.0)
    assert bench.rig.truth(BTC) == 0
    (order,) = [each.prepared for each in bench.rig.state.orders.values()]
    assert (order.purpose, bool(order.quote_id)) == ("foreign", True)
