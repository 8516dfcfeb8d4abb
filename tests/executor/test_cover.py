"""A leg is reduced only while our position still holds it: the second line of defence against closing a thing twice."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from core.types import Side, TimeInForce
from executor.orders import Draft
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def outside(rig: Rig, lots: int) -> Draft:
    """A reduction of the long leg by an order that belongs to no pair, as flatten sends it."""
    contract = rig.gateways[LONG].instruments()["BTC"]
    return Draft(
        instrument=contract, side=Side.SELL, lots=lots, limit_ticks=990_000, time_in_force=TimeInForce.IOC,
        reduce_only=True, purpose="flatten", strategy="ops", pair_id=None,
    )  # fmt: skip


async def test_a_leg_that_an_unbooked_order_already_closed_is_not_closed_again(rig: Rig) -> None:
    """The answer said FILLED, the private stream is away and no fill has come: the pair still shows its leg."""
    pair = await rig.open("0.01")
    rig.gateways[LONG].plans.append(Plan(answer=Answer.RESULT, told=Told.NEVER))
    rig.engine.send([outside(rig, 10)])
    await settle()
    assert rig.truth((LONG, "BTC")) == 0
    assert pair.long.lots == 10, "attributed by fills only"
    await rig.close(pair)
    for _ in range(20):
        await rig.turn()
    assert rig.truth((LONG, "BTC")) == 0, "no second close"
    assert any(why == "position does not cover a leg" for _, why in rig.hints)


async def test_once_the_fill_is_booked_the_pair_goes_on(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.gateways[LONG].plans.append(Plan(answer=Answer.RESULT, told=Told.NEVER))
    rig.engine.send([outside(rig, 10)])
    await settle()
    await rig.turn()
    for fill in await rig.gateways[LONG].fills_since(0):
        rig.engine.on_fill(fill)
    assert pair.long.lots == 0
    await rig.until_final(pair)
    assert pair.is_final
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    rig.check()


async def test_a_covered_leg_is_reduced_as_ever(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await rig.close(pair)
    await rig.until_final(pair)
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    assert not any(why == "position does not cover a leg" for _, why in rig.hints)


async def test_a_foreign_fill_that_met_an_unknown_order_shrinks_the_pair_once_that_is_resolved(rig: Rig) -> None:
    """The short leg's answer is lost though it filled; meanwhile somebody buys it back by hand. Resolved, the ledger would
    claim five lots that the position no longer holds: the position is right, and the long leg must go too."""
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    pair = await rig.open("0.01")
    rig.gateways[SHORT].foreign_fill("BTC", Side.BUY, 5, Decimal(100_000))
    await settle()
    rig.resolve()
    for order in list(rig.state.orders.values()):
        rig.gateways[order.prepared.venue].tell_missing(order.client_order_id)
    await settle()
    for _ in range(30):
        await rig.turn(400.0)
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    assert pair.long.lots == pair.short.lots == 0
    rig.check()
