"""Leverage of account and symbol: set before any position exists, read back, and never assumed (RULES 4, FEATURES R6).

`desk.leverage` holds only what a venue has said; a symbol that is missing there, or differs from the configuration, blocks
its opens at the limits. Read again every RECHECK_NS, since people change it by hand on the venue's page.
"""

from __future__ import annotations

from core.clock import NS_PER_S
from core.errors import VenueError
from core.types import Instrument, Venue
from executor.engine import Engine

RECHECK_NS = 600 * NS_PER_S
RETRY_NS = 15 * NS_PER_S


class LeverageKeeper:
    """One venue. Bounded by its symbols; `per_turn` readings at a time, oldest first."""

    def __init__(self, engine: Engine, venue: Venue) -> None:
        self._engine = engine
        self._desk = engine.desks[venue]
        self._due_ns: dict[str, int] = {}

    async def turn(self, per_turn: int) -> None:
        """Verify the symbols that are due. Failures leave a symbol unverified and are tried again."""
        now = self._engine.clock.mono_ns()
        listed = self._desk.gateway.instruments()
        symbols = [symbol for symbol, instrument in listed.items() if not instrument.delisted]
        due = sorted((s for s in symbols if self._due_ns.get(s, 0) <= now), key=lambda s: self._due_ns.get(s, 0))
        for symbol in due[:per_turn]:
            instrument = self._desk.instrument(symbol)
            if instrument is None:
                continue
            try:
                verified = await self._verify(instrument)
            except VenueError as error:
                self._desk.leverage.pop(symbol, None)
                self._warn("leverage_unverified", symbol, detail=str(error), kind=type(error).__name__)
                verified = False
            self._due_ns[symbol] = self._engine.clock.mono_ns() + (RECHECK_NS if verified else RETRY_NS)

    async def _verify(self, instrument: Instrument) -> bool:
        desk, symbol = self._desk, instrument.symbol
        wanted = desk.wanted_leverage(symbol)
        desk.leverage[symbol] = read = await desk.gateway.leverage(instrument)
        if read == wanted:
            return True
        if wanted > instrument.max_leverage:
            self._warn("leverage_too_high", symbol, wanted=wanted, max_leverage=instrument.max_leverage)
            return False
        if not self._is_idle(symbol):
            self._warn(
                "leverage_differs", symbol, wanted=wanted, read=read, detail="not changed: a position or order stands"
            )
            return False
        await desk.gateway.set_leverage(instrument, wanted, desk.gateway.nonces.next())
        desk.leverage[symbol] = read = await desk.gateway.leverage(instrument)
        if read != wanted:
            self._warn("leverage_differs", symbol, wanted=wanted, read=read, detail="the venue did not take it")
        return read == wanted

    def _is_idle(self, symbol: str) -> bool:
        key = (self._desk.venue, symbol)
        stated = self._desk.positions.get(symbol)
        state = self._engine.state
        busy = any(order.key == key for order in state.open_orders())
        return not busy and state.lots(key) == 0 and (stated is None or stated.lots == 0)

    def _warn(self, event: str, symbol: str, **fields: object) -> None:
        self._engine.log.warning(event, venue=self._desk.venue, symbol=symbol, **fields)
