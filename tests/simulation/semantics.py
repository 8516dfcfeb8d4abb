"""The kinds of venue that the simulation knows: what differs between the eight real ones, as data.

windowed     nonces unique within a window, answers show fills, a no-op burns a nonce, short expiry (Hyperliquid)
lasting      the same with an expiry of many seconds and a no-op that proves nothing by itself (Aster)
sequential   strictly sequential nonces, answers say "queued" and no more, order ids only after the fact, signatures
             made elsewhere (Lighter)
retracting   an accepted answer is not yet an accepted order: refusals follow as cancels with a reason (EdgeX)
unspoken     answers never show fills, cancels when our connection drops (GRVT, Pacifica)
wallet       spot: increasing nonces, no reduce-only, balances instead of positions (Kraken)
quoting      no book: a live quote, then its acceptance; no client ids, no partial fills (Variational)
"""

from __future__ import annotations

import enum
from decimal import Decimal

import msgspec

from core.types import Instrument, Venue
from executor.venues.base import DeadMan, DeadManScope, Traits
from tests.simulation.market import MIDS


class Counting(enum.Enum):
    """Which nonces the venue takes."""

    WINDOWED = "windowed"  # each once, near its clock
    SEQUENTIAL = "sequential"  # exactly the next
    INCREASING = "increasing"  # above the last
    NONE = "none"


class Answers(enum.Enum):
    """What the answer to an order says."""

    RESULT = "result"  # the end of an IOC, with its fill
    TAKEN = "taken"  # an order id; the rest comes by the stream
    QUEUED = "queued"  # not even an order id


class Burn(enum.Enum):
    PROVES = "proves"
    HINTS = "hints"  # the no-op is taken, but only a later lookup says what it proves
    NONE = "none"


class Semantics(msgspec.Struct, frozen=True, kw_only=True):
    name: Venue
    counting: Counting = Counting.WINDOWED
    answers: Answers = Answers.RESULT
    burn: Burn = Burn.NONE
    traits: Traits = Traits()
    dead_man: DeadMan | None = None
    ttl_ms: int = 3000
    latency_s: tuple[float, float] = (0.02, 0.08)  # one way
    match_s: tuple[float, float] = (0.0, 0.0)
    listed_after_s: float = 0.0  # until a lookup finds a new order
    signs_apart: bool = False
    lot: dict[str, str]
    multiplier: dict[str, int] = {}
    min_notional_usd: str = "10"
    taker_fee: float = 0.0004

    def instruments(self) -> dict[str, Instrument]:
        return {symbol: self._instrument(symbol) for symbol in self.lot}

    def _instrument(self, symbol: str) -> Instrument:
        multiplier = self.multiplier.get(symbol, 1)
        px = Decimal(str(MIDS[symbol])) * multiplier
        return Instrument(
            venue=self.name,
            symbol=symbol,
            venue_symbol=symbol if multiplier == 1 else f"{multiplier}{symbol}",
            multiplier=multiplier,
            tick_size=Decimal(1).scaleb(px.adjusted() - 5),
            lot_size=Decimal(self.lot[symbol]),
            min_notional_usd=Decimal(self.min_notional_usd),
            max_leverage=1 if self.traits.wallet else 20,
            maintenance_margin_ratio=0.02,
            can_short=not self.traits.wallet,
        )


WINDOWED = Semantics(
    name=Venue("windowed"),
    burn=Burn.PROVES,
    dead_man=DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=30.0, refresh_s=10.0),
    match_s=(0.0, 0.07),
    lot={"BTC": "0.00001", "SOL": "0.01", "PEPE": "1"},
    multiplier={"PEPE": 1000},
)
LASTING = Semantics(
    name=Venue("lasting"),
    burn=Burn.HINTS,
    dead_man=DeadMan(scope=DeadManScope.SYMBOL, countdown_s=30.0, refresh_s=10.0),
    ttl_ms=15_000,
    lot={"BTC": "0.001", "SOL": "0.01", "PEPE": "1"},
    multiplier={"PEPE": 1000},
    min_notional_usd="5",
)
SEQUENTIAL = Semantics(
    name=Venue("sequential"),
    counting=Counting.SEQUENTIAL,
    answers=Answers.QUEUED,
    traits=Traits(late_refusals=True),
    ttl_ms=20_000,
    latency_s=(0.03, 0.1),
    match_s=(0.2, 0.3),
    listed_after_s=0.1,
    signs_apart=True,
    lot={"BTC": "0.00001", "SOL": "0.001", "PEPE": "1"},
    multiplier={"PEPE": 1000},
)
RETRACTING = Semantics(
    name=Venue("retracting"),
    answers=Answers.TAKEN,
    traits=Traits(late_refusals=True),
    ttl_ms=12_000,
    match_s=(0.02, 0.3),
    lot={"BTC": "0.001", "SOL": "0.3", "PEPE": "100000"},
)
UNSPOKEN = Semantics(
    name=Venue("unspoken"),
    answers=Answers.TAKEN,
    dead_man=DeadMan(scope=DeadManScope.CONNECTION, countdown_s=0.0, refresh_s=0.0),
    ttl_ms=5_000,
    latency_s=(0.05, 0.2),
    listed_after_s=0.3,
    lot={"BTC": "0.0001", "SOL": "0.01", "PEPE": "1"},
    multiplier={"PEPE": 1000},
)
WALLET = Semantics(
    name=Venue("wallet"),
    counting=Counting.INCREASING,
    answers=Answers.TAKEN,
    traits=Traits(wallet=True, reduce_only=False),
    dead_man=DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=60.0, refresh_s=15.0),
    ttl_ms=5_000,
    lot={"BTC": "0.0001", "SOL": "0.02", "PEPE": "1"},
    min_notional_usd="5",
    taker_fee=0.0026,
)
QUOTING = Semantics(
    name=Venue("quoting"),
    counting=Counting.NONE,
    answers=Answers.TAKEN,
    traits=Traits(
        client_ids=False, reduce_only=False, post_only=False, partial_fills=False, late_refusals=True, quotes_first=True
    ),
    ttl_ms=5_000,
    latency_s=(0.05, 0.15),
    listed_after_s=0.2,
    lot={"BTC": "0.00001", "SOL": "0.001"},
    taker_fee=0.0,
)
ALL = (WINDOWED, LASTING, SEQUENTIAL, RETRACTING, UNSPOKEN, WALLET, QUOTING)
