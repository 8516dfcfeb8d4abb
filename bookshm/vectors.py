"""What is done to many stamps at once. The one place of the room that needs numpy; loaded when first asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.errors import invariant

STAMP = np.dtype("u8")
invariant(STAMP.itemsize == 8, "a numpy stamp is not one word")


class ChangeFinder:
    """Which of `count` stamps, beginning at byte `first` of `view`, moved since the last call."""

    __slots__ = ("_differs", "_find", "_flags", "_seen", "_seen_words", "_stamps", "_words")

    def __init__(self, view: memoryview, first: int, count: int) -> None:
        self._words = view[first : first + count * STAMP.itemsize].cast("Q")
        self._seen_words = memoryview(bytearray(count * STAMP.itemsize)).cast("Q")
        self._stamps = np.frombuffer(self._words, STAMP)
        self._seen = np.frombuffer(self._seen_words, STAMP)
        self._flags = bytearray(count)
        self._differs = np.frombuffer(self._flags, np.bool_)
        self._find = self._flags.find

    def changed(self) -> Sequence[int]:
        """Indices in order. A stamp is taken as seen with the value read after the comparison: whoever then reads the line
        gets that record or a later one, and what moves later still differs at the next call."""
        np.not_equal(self._stamps, self._seen, self._differs)
        find = self._find
        slot = find(1)
        if slot < 0:
            return ()
        found: list[int] = []
        while slot >= 0:  # one to five changes are the rule: plain words beat fancy indexing up to about ten
            self._seen_words[slot] = self._words[slot]
            found.append(slot)
            slot = find(1, slot + 1)
        return found
