"""An aligned view of one symbol over all venues: every quote with its age, or the reason why there is none.

The view reads books only through `MarketReader`, so that decisions run unchanged on live books, on recordings and in
tests. Nothing is cached between looks: a price never comes without the age it has at this moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from core.types import Instrument, ReadResult, Venue


class MarketReader(Protocol):
    """What a strategy needs of one venue's book; bookshm.book_reader.BookReader is the live one."""

    def instruments(self) -> dict[str, tuple[int, Instrument]]: ...
    def quote(self, slot: int) -> ReadResult: ...
    def changed(self) -> Iterable[int]: ...


class Listing(NamedTuple):
    """One symbol at one venue."""

    venue: Venue
    slot: int
    instrument: Instrument


class MarketView:
    """All venues of a strategy. `listings` is refreshed on demand, since feeds add instruments while we run."""

    def __init__(self, readers: dict[Venue, MarketReader], symbols: tuple[str, ...] = ()) -> None:
        self._readers = readers
        self._wanted = frozenset(symbols)
        self._by_symbol: dict[str, tuple[Listing, ...]] = {}
        self._symbol_of: dict[tuple[Venue, int], str] = {}

    def refresh_listings(self) -> None:
        """Read every venue's instrument rows again; symbols listed on fewer than two venues are left out."""
        found: dict[str, list[Listing]] = {}
        for venue, reader in self._readers.items():
            for symbol, (slot, instrument) in reader.instruments().items():
                if not instrument.delisted and (not self._wanted or symbol in self._wanted):
                    found.setdefault(symbol, []).append(Listing(venue, slot, instrument))
        self._by_symbol = {s: tuple(rows) for s, rows in found.items() if len(rows) > 1}
        self._symbol_of = {(r.venue, r.slot): s for s, rows in self._by_symbol.items() for r in rows}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._by_symbol)

    def listings(self, symbol: str) -> tuple[Listing, ...]:
        """The venues that list `symbol`; empty when fewer than two do."""
        return self._by_symbol.get(symbol, ())

    def quotes(self, symbol: str) -> list[tuple[Listing, ReadResult]]:
        """Every listing of `symbol` with what its book says right now."""
        return [(row, self._readers[row.venue].quote(row.slot)) for row in self.listings(symbol)]

    def quote(self, venue: Venue, symbol: str) -> ReadResult | None:
        """One venue's quote, or None where it does not list the symbol."""
        for row in self.listings(symbol):
            if row.venue == venue:
                return self._readers[venue].quote(row.slot)
        return None

    def changed_symbols(self) -> set[str]:
        """Symbols with a new quote on any venue since the last call."""
        changed: set[str] = set()
        for venue, reader in self._readers.items():
            for slot in reader.changed():
                symbol = self._symbol_of.get((venue, int(slot)))
                if symbol is not None:
                    changed.add(symbol)
        return changed
