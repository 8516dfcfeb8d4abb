"""What a quote currency is worth in dollars, and whether a pair may stand on two of them (RULES 12, TRAPS T16).

A pair whose legs are quoted in different currencies holds one against the other as long as it is open. So each currency's
worth must be known, and near enough to a dollar, before a new one is opened. A dollar is a dollar; what a spot venue tells of
a stablecoin is its worth; without such a venue it is the constant that the configuration assumes, under its own name, so
that nobody takes it for a figure.

Pure, but for what was last told: a book that says nothing for a moment does not make a currency unknown at once.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from core.clock import NS_PER_S
from core.settings import RiskConfig
from core.types import Quote, QuoteFlag, ReadResult

DOLLAR = "USD"
ITSELF, ASSUMED = "itself", "assumed"

_JUDGED = int(QuoteFlag.EXECUTABLE | QuoteFlag.DELISTED)
_EXECUTABLE = int(QuoteFlag.EXECUTABLE)


class Parity(msgspec.Struct, frozen=True):
    """`usd`: what one unit is worth. `source`: the venue that told it, ASSUMED, or ITSELF for the dollar."""

    usd: float
    source: str

    @property
    def off_pct(self) -> float:
        """Distance from one dollar, per cent."""
        return abs(self.usd - 1.0) * 100


class Depeg(enum.IntEnum):
    NONE = 0
    WARN = 1
    STOP = 2  # no new pair across it


class Parities:
    """The worth of currencies. `teller`: the venue whose books tell it, "" = none is enabled, then `risk.parity` stands."""

    def __init__(self, risk: RiskConfig, teller: str) -> None:
        self._risk = risk
        self._assumed: Mapping[str, float] = risk.parity
        self._max_age_ns = int(risk.parity_max_age_s * NS_PER_S)
        self._told: dict[str, tuple[float, int]] = {}  # worth, and when it was last true (mono)
        self.teller = teller

    def note(self, currency: str, quote: ReadResult, now_ns: int) -> None:
        """A look at the teller's book of `currency`; what cannot be traded on is no worth."""
        if isinstance(quote, Quote) and quote.is_sound and quote.flags & _JUDGED == _EXECUTABLE:
            self._told[currency] = (quote.mid, now_ns - quote.age_ns)

    def of(self, currency: str, now_ns: int) -> Parity | None:
        """None = unknown: not told, or too long ago. Never the assumed one where a teller is enabled."""
        if currency == DOLLAR:
            return Parity(1.0, ITSELF)
        if not self.teller:
            usd = self._assumed.get(currency)
            return None if usd is None else Parity(usd, ASSUMED)
        told = self._told.get(currency)
        if told is None or now_ns - told[1] > self._max_age_ns:
            return None
        return Parity(told[0], self.teller)


def depeg_of(parity: Parity, risk: RiskConfig) -> Depeg:
    if parity.off_pct >= risk.depeg_stop_pct:
        return Depeg.STOP
    return Depeg.WARN if parity.off_pct >= risk.depeg_warn_pct else Depeg.NONE
