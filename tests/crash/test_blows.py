"""Blows come out of their seed alone, know every fault that the sandbox has, and ask for nothing that it refuses."""

from __future__ import annotations

import random
from typing import Any

import pytest

from core.clock import SystemClock
from ops.sandbox.fault_kinds import RULES, Kind, Traffic
from tests.crash.blows import FAULT_S, KINDS, Away, Blow, Fault, Kill, Stop, any_blow, described, fault
from tests.crash.rough import Round, summary

PROGRAMS = ("executor", "sandbox", "feed-aster")
VENUES = ("aster", "lighter")


def sequence(seed: int, count: int = 400) -> list[Blow]:
    rng = random.Random(seed)
    return [any_blow(rng, PROGRAMS, VENUES) for _ in range(count)]


def test_a_seed_names_its_blows() -> None:
    assert sequence(5) == sequence(5)
    assert sequence(5) != sequence(6)


def test_every_kind_of_blow_and_every_fault_comes_up() -> None:
    blows = sequence(1, 2000)
    assert {type(blow).__name__ for blow in blows} == {"Kill", "Stop", "Away", "Fault"}
    assert {blow.kind for blow in blows if isinstance(blow, Fault)} == {kind.value for kind in Kind} == set(KINDS)
    assert {blow.target for blow in blows if isinstance(blow, Kill | Stop)} == set(PROGRAMS)


@pytest.mark.parametrize("kind", list(Kind))
def test_faults_are_asked_within_their_rules(kind: Kind) -> None:
    rule = RULES[kind]
    for seed in range(50):
        asked = fault(random.Random(seed), "aster", kind.value).asked
        assert {Traffic(word) for word in asked.get("traffic", ())} <= set(rule.allowed)
        assert asked.get("way", "") in ("", *rule.ways)
        if "value" in asked:
            assert rule.value is not None
            assert rule.value.low <= asked["value"] <= rule.value.high
        assert asked.keys() <= {"traffic", "way", "value", "times"}


class Told:
    """A system that is only told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any] | None]] = []
        self.clock = SystemClock()

    def pid(self, program: str) -> int:
        return 0  # not running: nobody is signalled

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        self.asked.append((path, body))


def test_what_strikes_is_ended() -> None:
    told = Told()
    for blow in (Kill(target="executor"), Stop(target="executor", lasts_s=1.0)):
        blow.strike(told)
        blow.end(told)
    assert told.asked == []
    away = Away(target="aster", lasts_s=1.0)
    away.strike(told)
    away.end(told)
    assert told.asked == [
        ("venue", {"venue": "aster", "serving": False}),
        ("venue", {"venue": "aster", "serving": True}),
    ]
    told.asked.clear()
    struck = fault(random.Random(3), "lighter", "slow")
    struck.strike(told)
    struck.end(told)
    assert [path for path, _ in told.asked] == ["fault", "clear"]
    assert FAULT_S[0] <= struck.lasts_s <= FAULT_S[1]
    assert described(struck).startswith("slow ")


def test_the_summary_counts() -> None:
    def one(blow: str, naked_s: float, repairs: int) -> Round:
        return Round(
            target="executor",
            blow=blow,
            moment="any",
            pairs=1,
            return_s=2.0,
            settle_s=1.0,
            doubts=1,
            repairs=repairs,
            waited_for="",
            naked_s=naked_s,
            naked_usd=100.0 * naked_s,
        )

    text = summary([one("kill", 0.5, 1), one("kill", 2.5, 3), one("slow orders 150 2.0 s", 1.0, 0)])
    assert "3 rounds: 2 kill, 1 slow" in text
    assert "longest 2.500 s" in text
    assert "largest 250 USD" in text
    assert "4 repairs, 3 instruments in doubt" in text
