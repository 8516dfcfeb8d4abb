"""Live quotes of venues that have no order book (`Traits.quotes_first`): asked for in the background, used once, soon, or not.

Whoever wants to trade there asks again and again (`ask`): the first call sends the request, later ones find its answer while
it is good for at least ROOM_NS. The pairs of the symbol are looked at as soon as it comes. A quote that was handed out is
gone: nothing is accepted twice. One request per instrument at a time, and none while an order of ours there has no known end
(RULES 5: one in flight per symbol).
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import RateLimited, VenueError
from core.types import Side
from executor.engine import Engine
from executor.state import Key
from executor.venues.base import LiveQuote

ACCEPT_NS = 900 * NS_PER_MS  # after its arrival, whatever longer life the venue gives it (RULES 5)
ROOM_NS = 100 * NS_PER_MS
AGAIN_NS = NS_PER_S
AGAIN_MAX_NS = 30 * NS_PER_S


class _Held(NamedTuple):
    quote: LiveQuote
    until_mono_ns: int


class Quotes:
    """Bounded by one request and one quote per instrument."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._held: dict[Key, _Held] = {}
        self._not_before: dict[Key, int] = {}  # mono ns, after a refusal

    def ask(self, key: Key, side: Side, lots: int) -> LiveQuote | None:
        """A quote for exactly this, good now; None = not yet. It stays until `take`n or too old."""
        now = self._engine.clock.mono_ns()
        held = self._held.get(key)
        if held is not None and now > held.until_mono_ns - ROOM_NS:
            held = None
            del self._held[key]
        if held is not None and (held.quote.side, held.quote.lots) == (side, lots):
            return None if self._in_flight(key) else held.quote
        running = self._asking.get(key)
        idle = running is None or running.done()
        if idle and lots > 0 and now >= self._not_before.get(key, 0) and not self._in_flight(key):
            task = asyncio.get_running_loop().create_task(self._request(key, side, lots))
            task.add_done_callback(_surface)
            self._asking[key] = task
        return None

    def take(self, key: Key) -> None:
        """The quote of `key` is being accepted: nobody else gets it."""
        self._held.pop(key, None)

    def _in_flight(self, key: Key) -> bool:
        return any(order.key == key for order in self._engine.state.open_orders())

    async def _request(self, key: Key, side: Side, lots: int) -> None:
        engine = self._engine
        instrument = engine.instrument(key)
        if instrument is None:
            return
        try:
            quote = await engine.desks[key[0]].gateway.request_quote(instrument, side, lots)
        except VenueError as error:
            pause_ns = AGAIN_NS
            if isinstance(error, RateLimited):
                pause_ns = max(AGAIN_NS, min(AGAIN_MAX_NS, int(error.retry_after_s * NS_PER_S)))
            self._not_before[key] = engine.clock.mono_ns() + pause_ns
            engine.log.warning("quote_refused", venue=key[0], symbol=key[1], lots=lots, detail=str(error))
            return
        if (quote.side, quote.lots) != (side, lots) or quote.px <= 0:
            engine.log.error("quote_not_as_asked", venue=key[0], symbol=key[1], lots=lots, quoted=quote.lots)
            self._not_before[key] = engine.clock.mono_ns() + AGAIN_NS
            return
        now = engine.clock.mono_ns()
        self._held[key] = _Held(quote, min(quote.valid_until_mono_ns, now + ACCEPT_NS))
        for pair in engine.state.live_pairs():
            if pair.symbol == key[1] and pair.leg(key[0]) is not None:
                engine.on_pair(pair, "quoted")


def _surface(task: asyncio.Task[None]) -> None:
    """An error of ours must reach the loop's exception handler, which ends the process."""
    if not task.cancelled():
        task.result()
