"""One canonical symbol per token: multiplier prefixes and the choice between two listings of one token (TRAPS T6)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from core.types import Instrument

THOUSANDS = re.compile(r"^(?P<prefix>1000000|1000|1M)(?=[A-Z])")
"""Binance-style names: "1000PEPE" is 1000 PEPE, "1INCH" is a token of its own (docs/venues/aster.md 2)."""

KILO = re.compile(r"^(?P<prefix>k)(?=[A-Z])")
"""Hyperliquid names: "kPEPE" is 1000 PEPE (docs/venues/hyperliquid.md 2)."""

_UNITS = {"k": 1000, "K": 1000, "1000": 1000, "1000000": 1_000_000, "1M": 1_000_000}


def canonical(name: str, prefix: re.Pattern[str]) -> tuple[str, int]:
    """The canonical symbol and how many canonical units one unit of `name` is."""
    match = prefix.match(name)
    if match is None:
        return name, 1
    return name[match.end() :], _UNITS[match["prefix"]]


def one_per_symbol(rows: Iterable[Instrument]) -> list[Instrument]:
    """At most one row per canonical symbol, in the given order: a live listing beats a delisted one, then the first wins.

    A venue may list a token again under another multiplier; two rows of one symbol would give it two books.
    """
    chosen: dict[str, Instrument] = {}
    for row in rows:
        held = chosen.get(row.symbol)
        if held is None or (held.delisted and not row.delisted):
            chosen[row.symbol] = row
    return list(chosen.values())
