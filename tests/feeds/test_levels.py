"""A book kept from differences against the plainest one imaginable: a dict, sorted when asked."""

from __future__ import annotations

import random

import pytest

from feeds import levels as levels_module
from feeds.levels import Level, LevelBook, Side


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_dict(sign: int, seed: int) -> None:
    rng = random.Random(seed)
    plain: dict[float, float] = {}
    side = Side(sign, [])
    for _ in range(300):
        changes = [(rng.randint(1, 60) / 10, rng.choice([0.0, 0.5, 2.0])) for _ in range(rng.randint(0, 6))]
        for px, qty in changes:
            plain[px] = qty
        side.apply(changes)
        expected = sorted(((px, qty) for px, qty in plain.items() if qty), reverse=sign > 0)
        assert list(side.top(7)) == expected[:7]
        assert len(side) == len(expected)
        assert side.best_px == (expected[0][0] if expected else 0.0)


def test_a_snapshot_is_sorted_and_freed_of_empty_levels() -> None:
    book = LevelBook([(99.0, 1.0), (100.0, 2.0), (98.0, 0.0)], [(102.0, 1.0), (101.0, 3.0)])
    assert book.bids.top(9) == ((100.0, 2.0), (99.0, 1.0))
    assert book.asks.top(1) == ((101.0, 3.0),)


def test_removing_what_is_not_there_changes_nothing() -> None:
    side = Side(1, [(100.0, 1.0)])
    side.apply([(99.0, 0.0), (101.0, 0.0)])
    assert side.top(5) == ((100.0, 1.0),)


@pytest.mark.parametrize(
    ("bids", "asks", "crossed"),
    [
        ([(100.0, 1.0)], [(101.0, 1.0)], False),
        ([(101.0, 1.0)], [(101.0, 1.0)], True),
        ([(102.0, 1.0)], [(101.0, 1.0)], True),
        ([(100.0, 1.0)], [], False),
        ([], [(101.0, 1.0)], False),
        ([], [], False),
    ],
)
def test_crossed(bids: list[Level], asks: list[Level], crossed: bool) -> None:
    assert LevelBook(bids, asks).is_crossed is crossed


@pytest.mark.parametrize("sign", [1, -1])
def test_the_deepest_are_forgotten_beyond_the_bound(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels_module, "MAX_LEVELS", 3)
    side = Side(sign, [(float(px), 1.0) for px in (1, 2, 3, 4, 5)])
    best = [px for px, _ in side.top(9)]
    assert best == ([5.0, 4.0, 3.0] if sign > 0 else [1.0, 2.0, 3.0])
    side.apply([(6.0, 1.0), (0.5, 1.0)])
    assert len(side) == 3
    assert side.best_px == (6.0 if sign > 0 else 0.5)
