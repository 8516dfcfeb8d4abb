"""A private stream that is subscribed and brings nothing is not called up; one that is slow, new or away is not accused."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.clock import NS_PER_S
from core.types import Venue
from executor import page
from executor.desk import STREAM_OWES_NS
from executor.venues.base import FillSeen, StreamDown, StreamUp
from tests.executor.fake_gateway import Plan, Told
from tests.executor.rig import LONG, SHORT
from tests.executor.test_reconcile import Bench

MUTE = Plan(told=Told.NEVER)
PATIENCE_TURNS = STREAM_OWES_NS // NS_PER_S + 6  # of a second: a reading is due every 5


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Both streams were opened a minute ago."""
    ready = Bench(tmp_path, monkeypatch)
    for venue in (LONG, SHORT):
        ready.rig.engine.on_event(StreamUp(venue=venue, since_wire_ns=0))
        await ready.reconciler.recover(venue)
    ready.rig.pass_ms(60_000)
    ready.rig.market(100_000.0, 60.0)
    ready.rig.read_accounts()
    return ready


def shown(bench: Bench, venue: Venue = LONG) -> bool:
    """What the account page says of the stream."""
    stated: bool = page._venue(bench.rig.engine, venue).private_stream_up
    return stated


async def test_a_silent_stream_is_told_once_and_until_it_brings_a_fill(bench: Bench) -> None:
    bench.long.plans.append(MUTE)
    await bench.rig.open("0.01")
    assert shown(bench)
    await bench.turns(PATIENCE_TURNS, 1000.0)
    assert len(bench.events("private_stream_silent")) == 1
    assert not shown(bench)
    assert shown(bench, SHORT)
    await bench.turns(60, 1000.0)
    assert len(bench.events("private_stream_silent")) == 1
    bench.rig.engine.on_event(FillSeen(fill=bench.long.fills[0]))
    assert shown(bench)
    assert len(bench.events("private_stream_heard")) == 1
    await bench.turns(60, 1000.0)
    assert len(bench.events("private_stream_silent")) == 1
    bench.rig.check()


async def test_while_it_is_silent_every_reading_reads_fills(bench: Bench) -> None:
    bench.long.plans.append(MUTE)
    await bench.rig.open("0.01")
    await bench.turns(PATIENCE_TURNS, 1000.0)
    before, full = bench.long.readings, bench.long.full_readings
    await bench.turns(30, 1000.0)
    assert bench.long.full_readings - full == bench.long.readings - before > 3


async def test_a_stream_that_is_only_slower_than_a_reading_is_not_accused(bench: Bench) -> None:
    bench.long.plans.append(MUTE)
    await bench.rig.open("0.01")
    await bench.turns(8, 1000.0)
    assert bench.rig.state.has_trade(LONG, bench.long.fills[0].trade_id), "a reading was first"
    bench.rig.engine.on_event(FillSeen(fill=bench.long.fills[0]))
    await bench.turns(60, 1000.0)
    assert bench.events("private_stream_silent") == []
    assert shown(bench)


async def test_fills_that_the_stream_tells_and_quiet_hours_accuse_nobody(bench: Bench) -> None:
    await bench.rig.open("0.01")
    await bench.turns(200, 1000.0)
    assert bench.events("private_stream_silent") == []
    assert shown(bench)


async def test_what_happened_in_a_gap_is_not_the_streams_to_tell(bench: Bench) -> None:
    bench.rig.engine.on_event(StreamDown(venue=LONG, reason="cut"))
    assert not shown(bench)
    bench.long.plans.append(MUTE)
    bench.rig.engine.desks[LONG].stream_up = True  # opens are denied while it is away: this order was on its way
    await bench.rig.open("0.01")
    bench.rig.engine.desks[LONG].stream_up = False
    bench.rig.engine.on_event(StreamUp(venue=LONG, since_wire_ns=1))
    await bench.turns(60, 1000.0)
    assert bench.rig.state.has_trade(LONG, bench.long.fills[0].trade_id)
    assert bench.events("private_stream_silent") == []
    assert shown(bench)


async def test_a_fresh_connection_owes_nothing(bench: Bench) -> None:
    bench.long.plans.append(MUTE)
    await bench.rig.open("0.01")
    await bench.turns(PATIENCE_TURNS, 1000.0)
    assert not shown(bench)
    bench.rig.engine.on_event(StreamDown(venue=LONG, reason="cut"))
    assert not shown(bench)
    bench.rig.engine.on_event(StreamUp(venue=LONG, since_wire_ns=1))
    assert shown(bench)
    await bench.turns(60, 1000.0)
    assert len(bench.events("private_stream_silent")) == 1
