"""The currencies' worth as the executor sees it: the teller's books read, and a line in the log when a peg gives way.

The teller is the spot venue of this run, if it has one: its dollar pairs of the stablecoins are what the others' quote
currencies are worth (risk.parity judges).
"""

from __future__ import annotations

from core.roster import SPEC
from core.types import Venue
from core.venue_spec import VenueKind
from executor.engine import Engine
from risk.parity import DOLLAR, Depeg, Parities, Parity, depeg_of


class CurrencyWatch:
    """`turn` about once a second."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._risk = engine.config.risk
        tellers = [venue for venue in engine.books if SPEC[venue].kind is VenueKind.SPOT]
        self._parities = Parities(self._risk, tellers[0] if tellers else "")
        self._standing: dict[str, Depeg | None] = {}  # as last said; None = unknown
        self.currencies = sorted({SPEC[venue].quote_ccy for venue in engine.books} - {DOLLAR})

    def of(self, currency: str) -> Parity | None:
        """As its teller's book stands now, or stood a moment ago."""
        now_ns = self._engine.clock.mono_ns()
        if self._parities.teller and currency != DOLLAR:
            quote = self._engine.quote((Venue(self._parities.teller), currency))
            self._parities.note(currency, quote, now_ns)
        return self._parities.of(currency, now_ns)

    def turn(self) -> None:
        """Say once what changed."""
        for currency in self.currencies:
            parity = self.of(currency)
            standing = None if parity is None else depeg_of(parity, self._risk)
            if currency in self._standing and self._standing[currency] is standing:
                continue
            before = self._standing.get(currency)
            self._standing[currency] = standing
            if parity is None or standing is None:
                self._engine.log.warning("parity_unknown", currency=currency, detail="no new pairs across currencies")
                continue
            say = self._engine.log.info if standing is Depeg.NONE else self._engine.log.warning
            if standing is Depeg.STOP:
                say = self._engine.log.error
            say(
                "parity",
                currency=currency,
                usd=round(parity.usd, 6),
                source=parity.source,
                depeg=standing.name.lower(),
                before="unknown" if before is None else before.name.lower(),
            )
