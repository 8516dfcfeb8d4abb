"""Planted faults: every text still stands where it is planted, and two of them are found here (all: make mutants)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.mutants import hunt
from tests.simulation.planted import PLANTED, ROOT, Planted


def test_there_are_enough_and_each_has_a_name_of_its_own() -> None:
    assert len(PLANTED) >= 20
    assert len({planted.name for planted in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_each_still_has_its_text_in_the_source(planted: Planted) -> None:
    assert (ROOT / planted.file).read_text().count(planted.old) == 1
    assert planted.new != planted.old


def test_a_text_that_has_moved_on_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("one\n")
    with pytest.raises(LookupError, match="0 times"):
        Planted("gone", "file.py", "two", "three").plant(tmp_path)
    (tmp_path / "file.py").write_text("one one\n")
    with pytest.raises(LookupError, match="2 times"):
        Planted("twice", "file.py", "one", "three").plant(tmp_path)


@pytest.mark.parametrize("name", ["client ids do not advance", "a nonce is used again"])
def test_planted_faults_are_found(name: str) -> None:
    planted = next(each for each in PLANTED if each.name == name)
    seed, what = hunt(planted, schedules=40)
    assert seed is not None, what
