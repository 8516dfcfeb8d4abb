"""The market that all venues share (RULES 14): one fair price per symbol, and on each venue a basis of its own around it.

Exaggerated on purpose. The fair price is a driftless walk. A venue's basis in a symbol reverts to zero (standard
deviation `basis_sd_bps`, half-life `basis_half_life_s`) and jumps by +-`jump_bps` once every `jump_every_s` on average:
each jump is an edge against the other venues that decays within seconds. Only the basis makes edges; it is what the
strategies live on here.

The sequence of prices is a pure function of seed and step number: the generator is seeded anew every BLOCK steps and
nothing else enters, neither clocks nor users' orders. A restarted sandbox goes on from its recorded state.

The stablecoins stand beside the walk: each keeps its price in USD, one dollar at first, until somebody shifts it (`shift`),
and shows it with a size that changes. They touch no other price: a venue that quotes in them takes them for dollars.

One step moves one symbol on every venue; symbols take turns. With V venues and a quote rate of R per second there are
R / V steps a second.
"""

from __future__ import annotations

import functools
import math
import random

import msgspec

from ops.sandbox.model import MarketState, Sample

BLOCK = 4096
START_USD = {"BTC": 84_000.0, "ETH": 2_120.0, "SOL": 86.0, "HYPE": 62.6, "PAXG": 4_560.0, "PEPE": 0.0000036}
OTHER_START_USD = 10.0
PEGGED = ("USDC", "USDT")
PEG_HALF_SPREAD_BPS = 0.5
FAIR_SD_BPS = 1.0  # per square root of a second: about 56 % a year
SMOOTH_S = 20.0  # a mark is the oracle plus the basis averaged over about this long
PRINTS_PER_S = 0.5  # public trades per symbol and venue
TOUCH_MEDIAN_USD, TOUCH_LOG_SD = 3_000.0, 0.6
FLOOR_RATE = 0.0000125  # per hour, what most quiet perps show


class MarketTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the walk; see the module."""

    seed: int
    symbols: tuple[str, ...]
    venues: tuple[str, ...]
    quotes_per_s: float
    basis_sd_bps: float
    basis_half_life_s: float
    jump_bps: float
    jump_every_s: float


class Market:
    """`step` moves the next symbol. Floats throughout: these are the world's prices, not anybody's money."""

    def __init__(self, terms: MarketTerms, state: MarketState | None = None) -> None:
        self.terms = terms
        self._step = state.step if state is not None else 0
        known = state.fair if state is not None else {}
        self._fair = {symbol: known.get(symbol, START_USD.get(symbol, OTHER_START_USD)) for symbol in terms.symbols}
        self._fair |= {symbol: known.get(symbol, 1.0) for symbol in PEGGED}
        self._pegs_shown = 0
        self._basis = _table(terms, state.basis_bps if state is not None else {})
        self._smooth = _table(terms, state.smooth_bps if state is not None else {})
        self._rng = random.Random(f"{terms.seed}:{self._step}")
        self._dt_s = len(terms.symbols) * len(terms.venues) / terms.quotes_per_s
        self._revert = math.exp(-math.log(2.0) / terms.basis_half_life_s * self._dt_s)
        self._shock_bps = terms.basis_sd_bps * math.sqrt(1.0 - self._revert**2)
        self._jump_chance = min(1.0, self._dt_s / terms.jump_every_s)
        self._print_chance = min(1.0, self._dt_s * PRINTS_PER_S)
        self._smooth_weight = 1.0 - math.exp(-self._dt_s / SMOOTH_S)
        self._fair_sd = FAIR_SD_BPS * 1e-4 * math.sqrt(self._dt_s)

    @property
    def steps_per_s(self) -> float:
        return self.terms.quotes_per_s / len(self.terms.venues)

    def step(self) -> tuple[str, list[Sample]]:
        """Move the next symbol; one sample per venue, in the order of `terms.venues`."""
        if self._step % BLOCK == 0:
            self._rng = random.Random(f"{self.terms.seed}:{self._step}")
        symbol = self.terms.symbols[self._step % len(self.terms.symbols)]
        self._step += 1
        rng = self._rng
        fair = self._fair[symbol] = self._fair[symbol] * math.exp(rng.gauss(0.0, self._fair_sd))
        return symbol, [self._sample(rng, venue, symbol, fair) for venue in self.terms.venues]

    def nudge(self, venue: str, symbol: str, bps: float) -> None:
        """Shift one venue's basis from the next step on (it decays as any other). For tests."""
        self._basis[venue][symbol] += bps

    def shift(self, symbol: str, bps: float) -> None:
        """Move the fair price of a symbol, or the worth of a stablecoin, on every venue. For tests."""
        self._fair[symbol] *= 1.0 + bps * 1e-4

    def still(self, symbol: str, px: float | None = None) -> Sample:
        """The symbol without any basis, at its fair price or moved to `px`: what stands while a recording is played."""
        if px is not None:
            self._fair[symbol] = px
        for venue in self.terms.venues:
            self._basis[venue][symbol] = self._smooth[venue][symbol] = 0.0
        fair = self._fair[symbol]
        return Sample(
            mid=fair, oracle=fair, mark=fair, half_spread_bps=0.5, bid_usd=TOUCH_MEDIAN_USD, ask_usd=TOUCH_MEDIAN_USD,
            print_usd=0.0, seed=0,
        )  # fmt: skip

    def peg(self, symbol: str) -> Sample:
        """A stablecoin as it stands."""
        self._pegs_shown += 1
        px, usd = self._fair[symbol], TOUCH_MEDIAN_USD * (1 + self._pegs_shown % 7)
        return Sample(
            mid=px, oracle=px, mark=px, half_spread_bps=PEG_HALF_SPREAD_BPS, bid_usd=usd, ask_usd=usd, print_usd=0.0,
            seed=self._pegs_shown,
        )  # fmt: skip

    def state(self) -> MarketState:
        return MarketState(
            step=self._step,
            fair=dict(self._fair),
            basis_bps={venue: dict(row) for venue, row in self._basis.items()},
            smooth_bps={venue: dict(row) for venue, row in self._smooth.items()},
        )

    def _sample(self, rng: random.Random, venue: str, symbol: str, fair: float) -> Sample:
        terms = self.terms
        basis = self._basis[venue][symbol] * self._revert + rng.gauss(0.0, 1.0) * self._shock_bps
        if rng.random() < self._jump_chance:
            basis += terms.jump_bps if rng.random() < 0.5 else -terms.jump_bps
        self._basis[venue][symbol] = basis
        smooth = self._smooth[venue][symbol]
        smooth = self._smooth[venue][symbol] = smooth + (basis - smooth) * self._smooth_weight
        print_usd = 0.0
        if rng.random() < self._print_chance:
            print_usd = 20.0 + rng.expovariate(1.0 / 800.0)
            print_usd = print_usd if rng.random() < 0.5 else -print_usd
        return Sample(
            mid=fair * (1.0 + basis * 1e-4),
            oracle=fair,
            mark=fair * (1.0 + smooth * 1e-4),
            half_spread_bps=0.3 + 0.5 * rng.random(),
            bid_usd=TOUCH_MEDIAN_USD * math.exp(rng.gauss(0.0, TOUCH_LOG_SD)),
            ask_usd=TOUCH_MEDIAN_USD * math.exp(rng.gauss(0.0, TOUCH_LOG_SD)),
            print_usd=print_usd,
            seed=rng.getrandbits(63),
        )


class FundingCurve:
    """Hourly rates by venue, symbol and hour: a pure function of the seed.

    Every venue sits near the usual floor, except one symbol on one venue whose longs pay 60 to 120 bps per 8 h more.
    """

    def __init__(self, seed: int, symbols: tuple[str, ...], venues: tuple[str, ...]) -> None:
        self._seed = seed
        choice = random.Random(f"{seed}:funding")
        self.rich_symbol = choice.choice(symbols)
        self.rich_venue = choice.choice(venues) if venues else ""  # none pays funding
        self._rate = functools.lru_cache(maxsize=1 << 15)(self._draw)

    def hourly(self, venue: str, symbol: str, hour: int) -> float:
        """Fraction per hour that settles at `hour` (hours since 1970)."""
        return self._rate(venue, symbol, hour)

    def _draw(self, venue: str, symbol: str, hour: int) -> float:
        if symbol == self.rich_symbol:
            extra = random.Random(f"{self._seed}:rich:{hour}").uniform(60e-4, 120e-4) / 8.0
            return FLOOR_RATE + (extra if venue == self.rich_venue else 0.0)
        rng = random.Random(f"{self._seed}:{venue}:{symbol}:{hour}")
        return FLOOR_RATE if rng.random() < 0.6 else FLOOR_RATE + rng.gauss(0.0, 0.00001)


def _table(terms: MarketTerms, known: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        venue: {symbol: known.get(venue, {}).get(symbol, 0.0) for symbol in terms.symbols} for venue in terms.venues
    }
