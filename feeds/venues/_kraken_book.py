"""Kraken's book of one pair, kept from a snapshot and absolute changes, and proven by its checksum after every frame
(docs/venues/kraken.md 3).

Prices and sizes are whole numbers of the pair's last written decimal: that is what the checksum is made of (the digits
without the point and without leading zeros), it compares exactly, and a float is made of it by one division. The text of a
level is made when the level changes, not when the book is summed, since twenty levels are summed for every one that
changes.

Kraken sends no removal for a level that falls off the end, so each side is cut to the subscribed depth after every frame.
A side keeps its best price last; asks are kept under negated prices, which makes both sides the same code.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal
from zlib import crc32

from core.errors import Malformed

SUMMED = 10  # levels a side in a checksum, whatever the depth
LARGEST_EXPONENT = 15  # of a price or size, either way: a hostile 1e999999 must not become a number of a million digits

Change = tuple[int, int]
"""(price, size) in units of the last decimals; size 0 = the level is gone."""


class Side:
    """One side: `sign` +1 for bids, -1 for asks. `px_unit` and `qty_unit` are powers of ten: units per one."""

    __slots__ = ("_depth", "_keys", "_levels", "_px_unit", "_qty_unit", "_sign", "_texts")

    def __init__(self, sign: int, depth: int, px_unit: int, qty_unit: int) -> None:
        self._sign = sign
        self._depth = depth
        self._px_unit = px_unit
        self._qty_unit = qty_unit
        self._keys: list[int] = []  # best last
        self._levels: dict[int, tuple[float, float]] = {}  # by key: canonical price and size
        self._texts: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def apply(self, changes: Iterable[Change]) -> None:
        keys, levels, texts = self._keys, self._levels, self._texts
        for px, qty in changes:
            key = px * self._sign
            if qty:
                if key not in levels:
                    insort(keys, key)
                levels[key] = (px / self._px_unit, qty / self._qty_unit)
                texts[key] = b"%d%d" % (px, qty)
            elif key in levels:
                del keys[bisect_left(keys, key)]
                del levels[key], texts[key]
        while len(keys) > self._depth:
            worst = keys.pop(0)
            del levels[worst], texts[worst]

    @property
    def best(self) -> int | None:
        """The best price in units, None when the side is empty."""
        return self._keys[-1] * self._sign if self._keys else None

    def top(self) -> tuple[tuple[float, float], ...]:
        """All levels, best first."""
        return tuple(map(self._levels.__getitem__, reversed(self._keys)))

    def digits(self) -> bytes:
        """What the checksum says of this side."""
        return b"".join(map(self._texts.__getitem__, self._keys[: -SUMMED - 1 : -1]))


class ChecksummedBook:
    """Both sides. Sound only while `checksum` is what the venue says."""

    __slots__ = ("asks", "bids")

    def __init__(self, depth: int, price_decimals: int, qty_decimals: int) -> None:
        self.bids = Side(1, depth, 10**price_decimals, 10**qty_decimals)
        self.asks = Side(-1, depth, 10**price_decimals, 10**qty_decimals)

    @property
    def checksum(self) -> int:
        """CRC-32 of the ten best asks, low to high, then the ten best bids, high to low."""
        return crc32(self.bids.digits(), crc32(self.asks.digits()))

    @property
    def is_crossed(self) -> bool:
        bid, ask = self.bids.best, self.asks.best
        return bid is not None and ask is not None and bid >= ask


def units(value: Decimal, decimals: int) -> int:
    """`value` as a whole number of its last decimal. Raises Malformed for what is negative, too large or finer."""
    if value.is_finite() and value >= 0 and abs(value.adjusted()) <= LARGEST_EXPONENT:
        scaled = value.scaleb(decimals)
        whole = int(scaled)
        if whole == scaled:
            return whole
    raise Malformed(f"kraken: {str(value)[:40]} is no number of {decimals} decimals")
