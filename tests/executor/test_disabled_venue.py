"""A venue that was disabled while something of ours stands there: nobody dies of it, and nobody says it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.messages import AT_ONCE, LegOrder, Sending
from core.types import Venue
from executor import residual
from executor.flatten import flatten
from executor.page import snapshot
from tests.executor.rig import LONG, SHORT, Rig, settle
from tests.executor.stubborn import SimSleep

MAKER = Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=60.0)
WAYS = [MAKER, AT_ONCE]


async def without(tmp_path: Path, gone: Venue, sending: Sending, *, resting: bool = False) -> Rig:
    """A pair that is being closed; the next executor is started without one of its venues."""
    rig = Rig(tmp_path)
    pair = await rig.open("0.01")
    rig.gateways[LONG].entry_ready = resting
    rig.pairs.request_close(pair, "test", sending=sending)
    await settle()
    rig.gateways[LONG].entry_ready = True
    state = rig.journal.replayed()
    del rig.gateways[gone], rig.books[gone]
    rig.boot(state)
    return rig


@pytest.mark.parametrize("gone", [LONG, SHORT])
@pytest.mark.parametrize("sending", WAYS)
async def test_its_pair_waits_and_the_page_shows_it(tmp_path: Path, gone: Venue, sending: Sending) -> None:
    rig = await without(tmp_path, gone, sending)
    for _ in range(3):
        await rig.turn(500.0)
    (pair,) = snapshot(rig.engine).pairs
    assert (rig.state.pairs[pair.pair_id].long.lots, rig.state.pairs[pair.pair_id].short.lots) == (10, -5)


async def test_its_resting_order_is_nobodys_to_cancel(tmp_path: Path) -> None:
    rig = await without(tmp_path, LONG, MAKER, resting=True)
    rig.pairs.end_leads("test")
    await rig.turn(500.0)
    (order,) = rig.state.open_orders()
    assert rig.engine.cancel_order(order) is None


async def test_flatten_names_what_it_cannot_reach(tmp_path: Path) -> None:
    rig = await without(tmp_path, LONG, AT_ONCE)
    report = await flatten(rig.engine, None, None, False, sleep=SimSleep(rig))
    assert not report.flat
    assert [(left.venue, left.symbol) for left in report.residual] == [(LONG, "BTC")]
    assert report.residual[0].why == "venue not enabled: by our own books"
    assert report.unreachable == (LONG,)


async def test_only_what_holds_something_on_a_venue_that_is_not_there_is_out_of_reach(tmp_path: Path) -> None:
    rig = await without(tmp_path, LONG, MAKER, resting=True)
    assert residual.out_of_reach(rig.state, {LONG, SHORT}) == []
    assert residual.out_of_reach(rig.state, {SHORT}) == [(LONG, "BTC")]
    assert residual.out_of_reach(rig.state, {SHORT}, symbol="ETH") == []
    assert residual.out_of_reach(rig.state, {SHORT}, venue=SHORT) == []
