"""Prices of the simulated world: one mean-reverting mid per symbol, a basis and a spread per venue, jumps, and feeds that
fail. The venues match on the truth; the executor sees what a feed would have published, or that it has nothing.
"""

from __future__ import annotations

import random
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.types import Busy, Down, Instrument, Liquidity, MarkPrice, Quote, QuoteFlag, ReadResult, Stale, Venue
from executor.venues.base import TopOfBook
from tests.simulation.world import World

STEP_NS = 500 * NS_PER_MS
FEED_DELAY_NS = 15 * NS_PER_MS
MIDS = {"BTC": 100_000.0, "SOL": 150.0, "PEPE": 0.00001}
STEP_SD_BPS = 1.0
BASIS_SD_BPS = 8.0
HALF_SPREAD_BPS = 0.5
BPS = 1e-4


class Market:
    """Mids by symbol, in steps of half a second, made as far as they are asked for."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self.symbols = tuple(MIDS)
        self._began_ns = world.now_ns
        self._rng = {symbol: random.Random(f"mid-{seed}-{symbol}") for symbol in MIDS}
        self._mids = {symbol: [mid] for symbol, mid in MIDS.items()}
        self._gaps: dict[str, float] = dict.fromkeys(MIDS, 1.0)
        self._basis = random.Random(f"basis-{seed}")
        self._known_basis: dict[tuple[Venue, str, int], float] = {}

    def top_usd(self, venue: Venue, symbol: str) -> float:
        """What stands at the touch: plenty, or in one book of four little."""
        drawn = random.Random(f"depth-{venue}-{symbol}-{self._world.seed}")
        return drawn.uniform(60.0, 2500.0) if drawn.random() < 0.25 else 1e6

    def gap(self, symbol: str, factor: float) -> None:
        """The price jumps, everywhere at once, and stays there."""
        self._gaps[symbol] *= factor

    def mid(self, symbol: str) -> float:
        """Canonical, before any venue's basis."""
        step = (self._world.now_ns - self._began_ns) // STEP_NS
        path, rng = self._mids[symbol], self._rng[symbol]
        while len(path) <= step:
            path.append(path[-1] * (1 + rng.gauss(0.0, STEP_SD_BPS) * BPS))
        return path[step] * self._gaps[symbol]

    def touch(self, venue: Venue, symbol: str) -> tuple[float, float]:
        """Bid and ask of one venue now, canonical."""
        era = (self._world.now_ns - self._began_ns) // (8 * NS_PER_S)
        key = (venue, symbol, era)
        basis = self._known_basis.get(key)
        if basis is None:
            basis = random.Random(f"{venue}-{symbol}-{era}-{self._world.seed}").gauss(0.0, BASIS_SD_BPS) * BPS
            self._known_basis[key] = basis
        mid = self.mid(symbol) * (1 + basis)
        return mid * (1 - HALF_SPREAD_BPS * BPS), mid * (1 + HALF_SPREAD_BPS * BPS)


class SimBook:
    """One venue's shared-memory book, as executor.peers.Books. `trouble` per symbol or for all: what a reader gets instead."""

    def __init__(
        self, world: World, market: Market, venue: Venue, instruments: dict[str, Instrument], *, indicative: bool
    ) -> None:
        self._world = world
        self._market = market
        self._venue = venue
        self._symbols = list(instruments)
        self._top_qty = [market.top_usd(venue, symbol) / MIDS[symbol] for symbol in instruments]
        self._flags = int(QuoteFlag.INDICATIVE if indicative else QuoteFlag.EXECUTABLE)
        self._trouble: ReadResult | None = None
        self._trouble_until_ns = 0
        self._crossed_until_ns = 0

    def fail(self, trouble: ReadResult, seconds: float) -> None:
        """The feed is stale or down for a while."""
        self._trouble, self._trouble_until_ns = trouble, self._world.now_ns + int(seconds * NS_PER_S)

    def cross(self, seconds: float) -> None:
        self._crossed_until_ns = self._world.now_ns + int(seconds * NS_PER_S)

    @property
    def is_usable(self) -> bool:
        return self._world.now_ns >= max(self._trouble_until_ns, self._crossed_until_ns)

    def heal(self) -> None:
        self._trouble_until_ns = self._crossed_until_ns = 0

    def slot(self, symbol: str) -> int | None:
        return self._symbols.index(symbol) if symbol in self._symbols else None

    def quote(self, slot: int) -> ReadResult:
        now_ns = self._world.now_ns
        if self._trouble is not None and now_ns < self._trouble_until_ns:
            return self._trouble
        bid, ask = self._market.touch(self._venue, self._symbols[slot])
        if now_ns < self._crossed_until_ns:
            bid, ask = ask, bid
        size = self._top_qty[slot]
        return Quote(bid, size, ask, size, 0, now_ns - FEED_DELAY_NS, 1, self._flags, FEED_DELAY_NS)

    def mark(self, slot: int) -> MarkPrice | Down | Busy:
        if self._world.now_ns < self._trouble_until_ns:
            return Down("the feed is away")
        bid, ask = self._market.touch(self._venue, self._symbols[slot])
        mid = (bid + ask) / 2
        return MarkPrice(mid, mid, 0.0, 0.0, 0, self._world.now_ns)

    def liquidity(self, slot: int) -> Liquidity | Down | Busy:
        return Down("not measured in this market")


def top_of_book(market: Market, instrument: Instrument) -> TopOfBook:
    """What the venue's REST book says now, in venue units."""
    bid, ask = market.touch(instrument.venue, instrument.symbol)
    tick = instrument.tick_size
    bid_px = Decimal(int(Decimal(bid * instrument.multiplier) / tick)) * tick
    ask_px = Decimal(int(Decimal(ask * instrument.multiplier) / tick) + 1) * tick
    return TopOfBook(bid_px, ask_px, (bid_px + ask_px) / 2)


def stale(seconds: float) -> Stale:
    return Stale(int(seconds * NS_PER_S))
