"""Rigs in run directories of their own, gone at the end of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.clock import SimClock
from tests.feeds.rig import Rig

MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[MakeRig]:
    made: list[Rig] = []

    def make(*arguments: Any, **options: Any) -> Rig:
        rig = Rig(tmp_path / f"tandem-t{len(made)}", *arguments, **options)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


@pytest.fixture
def rig(make_rig: MakeRig, clock: SimClock) -> Rig:
    return make_rig(clock)
