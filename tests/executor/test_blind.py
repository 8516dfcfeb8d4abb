"""A leg on a venue that cannot be read: openings stop, somebody is called, and the other leg is closed only where the
configuration asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.messages import DenyReason, PairStatus
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG, SHORT
from tests.executor.test_reconcile import Bench, status

HL = (LONG, "BTC")
AS = (SHORT, "BTC")


def bench_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **execution: Any) -> Bench:
    return Bench(tmp_path, monkeypatch, execution=execution)


def go_dark(bench: Bench) -> None:
    bench.long.reachable = bench.long.entry_ready = False


async def turns(bench: Bench, seconds: int) -> None:
    """Both venues' loops and the pairs, once a second."""
    for _ in range(seconds):
        await bench.turns(1, 1000.0)
        await bench.reconciler.turn(SHORT)
        await bench.rig.turn(0.0)


async def test_the_other_leg_is_never_closed_blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_with(tmp_path, monkeypatch)
    pair = await bench.rig.open("0.01")
    go_dark(bench)
    await turns(bench, 200)
    assert bench.events("venue_blind_page")
    await bench.rig.close(pair)  # not even when it is asked for: half a close is a naked leg
    await turns(bench, 30)
    assert status(pair) is PairStatus.CLOSING
    assert bench.rig.truth(AS) == -5
    assert len(bench.short.wire) == 1
    bench.long.reachable = bench.long.entry_ready = True
    await turns(bench, 10)
    assert status(pair) is PairStatus.CLOSED
    bench.rig.check()


async def test_openings_stop_once_it_is_blind_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_with(tmp_path, monkeypatch)
    await turns(bench, 5)
    bench.long.reachable = False
    await turns(bench, 26)
    bench.rig.market(100_000.0, 60.0)
    bench.rig.commands.take(bench.rig.open_command("0.01"), bench.rig.client)
    assert bench.rig.client.denied is None
    bench = bench_with(tmp_path, monkeypatch)
    await turns(bench, 5)
    bench.long.reachable = False
    await turns(bench, 40)
    bench.rig.commands.take(bench.rig.open_command("0.01"), bench.rig.client)
    assert bench.rig.client.denied is DenyReason.VENUE_BLIND


async def test_whoever_asks_for_it_gets_the_readable_leg_closed_from_the_page_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_with(tmp_path, monkeypatch, flatten_when_blind=True)
    pair = await bench.rig.open("0.01")
    go_dark(bench)
    await turns(bench, 110)
    assert len(bench.short.wire) == 1, "before the page nothing is closed"
    bench.short.plans.append(Plan(fill_lots=2))
    await turns(bench, 30)
    assert bench.rig.truth(AS) == 0
    assert [o.prepared.reduce_only for o in bench.rig.orders(pair)][2:] == [True, True]
    assert status(pair) is PairStatus.REPAIRING, "the blind leg is still believed to be there"
    assert bench.rig.truth(HL) == 10
    bench.long.reachable = bench.long.entry_ready = True
    await turns(bench, 10)
    assert status(pair) is PairStatus.CLOSED
    assert bench.rig.truth(HL) == 0
    bench.rig.check()


async def test_two_blind_legs_and_a_pair_elsewhere_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_with(tmp_path, monkeypatch, flatten_when_blind=True)
    pair = await bench.rig.open("0.01")
    bench.long.reachable = bench.short.reachable = False
    await turns(bench, 200)
    assert (len(bench.long.wire), len(bench.short.wire)) == (1, 1)
    assert status(pair) is PairStatus.OPEN
