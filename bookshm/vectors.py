"""What is done to many stamps at once. The one place of the room that needs numpy; loaded when first asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.errors import invariant

STAMP = np.dtype("u8")
invariant(STAMP.itemsize == 8, "a numpy stamp is not one word")


class ChangeFinder:
    """Which of `count` stamps, beginning at byte `first` of `view`, moved since the last call."""

    __slots__ = ("_differs", "_find", "_flags", "_seen", "_stamps")

    def __init__(self, view: memoryview, first: int, count: int) -> None:
        self._stamps = np.frombuffer(view, STAMP, count, first)
        self._seen = np.zeros(count, STAMP)
        self._flags = bytearray(count)
        self._differs = np.frombuffer(self._flags, np.bool_)
        self._find = self._flags.find

    def changed(self) -> Sequence[int]:
        """Indices in order. A stamp is taken as seen with the value read after the comparison: whoever then reads the line
        gets that record or a later one, and what moves later still differs at the next call."""
        np.not_equal(self._stamps, self._seen, self._differs)
        if self._find(1) < 0:
            return ()
        slots = self._differs.nonzero()[0]
        self._seen[slots] = self._stamps[slots]
        found: list[int] = slots.tolist()
        return found
