"""SIGKILL of every program once, with pairs open, and of those that hold orders in flight within milliseconds of a command; a
few programs stopped, and venues that misbehave: all returns by itself, nothing is sent twice, books stay equal. `make chaos`
does it at random, two hundred times and with every venue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.configuration import THREE
from tests.crash.blows import Away, Blow, Fault, Kill, Stop
from tests.crash.rough import Rough, Round, table
from tests.e2e.system import PROGRAMS

ROUNDS: list[Round] = []
PRESENT = [name for name in PROGRAMS if not name.startswith("feed-") or name[5:] in THREE]
BLOWS: list[Blow] = [
    Stop(target="executor", lasts_s=3.0),
    Stop(target="sandbox", lasts_s=3.0),
    Away(target="hyperliquid", lasts_s=3.0),
    Fault(target="aster", kind="lost_answer", asked={"traffic": ["orders"], "way": "silent", "times": 2}, lasts_s=3.0),
    Fault(target="lighter", kind="disconnect", asked={"traffic": ["orders"]}, lasts_s=2.0),
    Fault(target="hyperliquid", kind="garbage", asked={"traffic": ["private"]}, lasts_s=2.0),
]


@pytest.fixture(scope="module")
def system() -> Iterator[Rough]:
    with Rough(20260101, THREE) as system:
        system.up()
        yield system
        print(f"\n{table(ROUNDS)}")


@pytest.mark.parametrize("program", PRESENT)
def test_kill_returns_by_itself(system: Rough, program: str) -> None:
    ROUNDS.append(system.round(Kill(target=program), 0.0, in_flight=False))


@pytest.mark.parametrize("delay_ms", [0, 2, 15, 45, 90])
def test_executor_killed_with_orders_on_their_way(system: Rough, delay_ms: float) -> None:
    """Before the journal, between journal and wire, between wire and answer, between the two answers."""
    ROUNDS.append(system.round(Kill(target="executor"), delay_ms, in_flight=True))


@pytest.mark.parametrize("program", ["sandbox", "strategy-scalp"])
def test_the_other_ends_killed_with_orders_on_their_way(system: Rough, program: str) -> None:
    ROUNDS.append(system.round(Kill(target=program), 20.0, in_flight=True))


@pytest.mark.parametrize("blow", BLOWS, ids=lambda blow: f"{blow.kind}-{blow.target}")
def test_other_blows_with_orders_on_their_way(system: Rough, blow: Blow) -> None:
    ROUNDS.append(system.round(blow, 5.0, in_flight=True))


def test_some_kill_met_an_order_without_an_outcome(system: Rough) -> None:
    """Whether one does is up to the machine: a command may be denied, and an order takes a tenth of a second. So a few more."""
    for delay_ms in (70.0, 10.0, 40.0, 100.0, 5.0, 60.0, 25.0, 80.0):
        if any(each.doubts for each in ROUNDS if each.target == "executor" and each.moment != "any"):
            return
        ROUNDS.append(system.round(Kill(target="executor"), delay_ms, in_flight=True))
    assert any(each.doubts for each in ROUNDS), "no kill met an order without an outcome"


def test_afterwards_nothing_was_doubled_and_nothing_is_naked(system: Rough) -> None:
    system.verify()
