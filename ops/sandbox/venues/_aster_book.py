"""Update ids of the books, and the differences between two looks at one (docs/venues/aster.md 3).

Every change of a book takes the next id. Ids start at the microseconds of the process's start, so that a restarted sandbox
never goes back: clients drop what is not newer than what they have.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.clock import NS_PER_US
from core.numeric import plain
from ops.sandbox.model import Level

Pair = list[str]


class BookIds:
    """The last update id of each book. One writer: the venue's listener."""

    __slots__ = ("_ids",)

    def __init__(self, names: list[str], start_ns: int) -> None:
        self._ids = dict.fromkeys(names, start_ns // NS_PER_US)

    def current(self, name: str) -> int:
        return self._ids[name]

    def advance(self, name: str) -> int:
        self._ids[name] += 1
        return self._ids[name]


class Look(msgspec.Struct):
    """A book as one diff stream last told it, and the prices that stood in it at any time since."""

    update_id: int
    bids: dict[Decimal, Decimal]  # quantity by price
    asks: dict[Decimal, Decimal]
    touched_bids: set[Decimal]
    touched_asks: set[Decimal]

    def note(self, bids: list[Level], asks: list[Level]) -> None:
        self.touched_bids.update(level.px for level in bids)
        self.touched_asks.update(level.px for level in asks)


def look(update_id: int, levels: tuple[list[Level], list[Level]]) -> Look:
    bids, asks = levels
    return Look(
        update_id, {level.px: level.qty for level in bids}, {level.px: level.qty for level in asks}, set(), set()
    )


def difference(before: dict[Decimal, Decimal], touched: set[Decimal], after: dict[Decimal, Decimal]) -> list[Pair]:
    """Absolute quantities of every price that differs or was touched meanwhile; "0" where nothing stands any more."""
    changed = [[plain(px), plain(qty)] for px, qty in after.items() if before.get(px) != qty]
    return changed + [[plain(px), "0"] for px in touched.union(before) if px not in after]


def pairs(levels: list[Level]) -> list[Pair]:
    return [[plain(level.px), plain(level.qty)] for level in levels]
