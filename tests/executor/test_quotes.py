"""Orders by live quote outside of pairs: flatten and single closes on a venue that quotes before it trades."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from core.clock import NS_PER_S
from core.types import Position, Side, TimeInForce
from executor.flatten import flatten
from executor.orders import Draft
from executor.venues.base import Traits
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG, SHORT, Rig, settle
from tests.executor.stubborn import SimSleep, Stubborn

KEY = (SHORT, "BTC")


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr("tests.executor.rig.FakeGateway", Stubborn)
    rig = Rig(tmp_path)
    for gateway in rig.gateways.values():
        gateway.harden()  # type: ignore[attr-defined]
    quoting = rig.gateways[SHORT]
    quoting.traits = Traits(
        quotes_first=True, reduce_only=False, client_ids=False, post_only=False, partial_fills=False
    )
    quoting.quote_px = Decimal("100600.0")
    return rig


def closing(rig: Rig, lots: int = 5, limit_ticks: int = 1_006_100) -> Draft:
    return Draft(
        instrument=rig.gateways[SHORT].instruments()["BTC"], side=Side.BUY, lots=lots, limit_ticks=limit_ticks,
        time_in_force=TimeInForce.IOC, reduce_only=True, purpose="flatten", strategy="",
    )  # fmt: skip


async def test_an_order_is_placed_as_the_acceptance_of_a_quote_within_its_limit(rig: Rig) -> None:
    order = await rig.engine.place(closing(rig))
    assert order is not None
    assert (order.prepared.quote_id, order.prepared.reduce_only) == ("q1", False)
    assert rig.gateways[SHORT].quotes_asked == [(Side.BUY, 5)]


@pytest.mark.parametrize("limit_ticks", [1_005_999, 1_000_000])
async def test_a_quote_beyond_the_limit_is_left(rig: Rig, limit_ticks: int) -> None:
    assert await rig.engine.place(closing(rig, limit_ticks=limit_ticks)) is None
    assert rig.gateways[SHORT].wire == []
    assert any(json.loads(line)["event"] == "quote_not_accepted" for line in rig.lines)


async def test_no_quote_no_order(rig: Rig) -> None:
    rig.gateways[SHORT].quote_px = None
    assert await rig.engine.place(closing(rig)) is None
    rig.gateways[SHORT].quote_px, rig.gateways[SHORT].quote_life_ns = Decimal("100600.0"), 0
    assert await rig.engine.place(closing(rig)) is None
    assert rig.gateways[SHORT].wire == []


async def test_no_quote_is_even_asked_for_while_another_order_is_on_its_way(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.engine.send([closing(rig)])
    assert await rig.engine.place(closing(rig)) is None
    assert rig.gateways[SHORT].quotes_asked == []
    rig.gateways[SHORT].release()
    await settle()


async def test_flatten_closes_by_quote_and_says_flat_only_when_it_is(rig: Rig) -> None:
    pair = await rig.open("0.01")
    assert rig.truth(KEY) == -5
    rig.gateways[SHORT].quote_px = Decimal("100610.0")
    report = await flatten(rig.engine, None, None, False, sleep=SimSleep(rig))
    await settle()
    assert report.flat
    assert rig.truth(KEY) == rig.truth((LONG, "BTC")) == 0
    assert pair.is_final
    closes = [o.prepared for o in rig.state.orders.values() if o.prepared.purpose == "flatten"]
    assert all(bool(close.quote_id) is (close.venue == SHORT) for close in closes)
    rig.check()


async def test_flatten_without_any_quote_says_what_is_left(rig: Rig) -> None:
    await rig.open("0.01")
    rig.gateways[SHORT].quote_px = None
    report = await flatten(rig.engine, None, None, False, sleep=SimSleep(rig))
    assert not report.flat
    assert [(each.venue, each.qty) for each in report.residual] == [(SHORT, Decimal("-0.010"))]


async def test_a_reading_older_than_our_own_close_is_not_closed_again(rig: Rig) -> None:
    """Foreign lots are to go too, and nothing here is reduce-only: a late reading still shows what has just been closed."""
    pair = await rig.open("0.01")
    rig.gateways[SHORT].quote_px = Decimal("100610.0")
    await rig.close(pair)
    await rig.until_final(pair)
    assert rig.truth(KEY) == 0
    truthfully, until_ns = rig.gateways[SHORT].positions, rig.clock.mono_ns() + 3 * NS_PER_S

    async def lagging() -> list[Position]:
        old = Position(venue=SHORT, symbol="BTC", lots=-5, avg_entry_px=Decimal(1), mark_px=Decimal(100_600))
        return [old] if rig.clock.mono_ns() < until_ns else await truthfully()

    rig.gateways[SHORT].positions = lagging  # type: ignore[method-assign]
    report = await flatten(rig.engine, None, None, True, sleep=SimSleep(rig))
    assert [o for o in rig.state.orders.values() if o.prepared.purpose == "flatten"] == []
    assert report.flat, report
    assert rig.truth(KEY) == 0


async def test_foreign_lots_beside_our_own_close_go_once_that_is_settled(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.gateways[SHORT].quote_px = Decimal("100610.0")
    rig.gateways[SHORT].foreign_fill("BTC", Side.SELL, 3, Decimal(100_600))
    await rig.close(pair)
    await rig.until_final(pair)
    assert rig.truth(KEY) == -3
    report = await flatten(rig.engine, None, None, True, sleep=SimSleep(rig))
    assert report.flat, report
    assert rig.truth(KEY) == 0


async def test_where_no_ids_travel_a_second_fill_of_an_order_is_an_alarm_and_no_freeze(rig: Rig) -> None:
    """A stranger's fill of its size came first and passed for its own; venues with ids: test_engine."""
    order = await rig.engine.place(closing(rig))
    assert order is not None
    rig.gateways[SHORT].late_fill(order.client_order_id, 5)
    assert rig.state.frozen == {}
    assert any(json.loads(line)["event"] == "order_overfilled" for line in rig.lines)
    assert rig.state.lots(KEY) == 10
    rig.check()
