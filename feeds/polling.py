"""A "stream" that is read again and again, for a venue whose market data has no socket (SocketPlan.poll).

What a read brings goes the way of a frame: recorded, decoded, published. A read that fails is told; once nothing has come for
the bound of silence, everything that came this way is void, like after a lost connection, and the venue is down until the
next answer. Pauses after a failure double from `backoff_initial_s` to `backoff_max_s` with jitter, and are never shorter than
what a venue asks for after too many requests.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from core.clock import NS_PER_S
from core.errors import Malformed, RateLimited, VenueError
from feeds.session import MAX_DOUBLINGS, SHOWN_BYTES, Wiring
from feeds.venues.base import ControlEvent, SocketPlan, Stream


class Polling:
    """Number `index` of a feed, in the place of a Session. `plan` may be replaced at any time."""

    def __init__(self, index: int, plan: SocketPlan, wiring: Wiring) -> None:
        self.index = index
        self._plan = plan
        self._wiring = wiring
        self._stream: Stream = wiring.decoder.stream(plan)
        self._is_up = False
        self._number = 0  # by which a recording knows its answers
        self.state = "new"

    @property
    def plan(self) -> SocketPlan:
        return self._plan

    def replan(self, plan: SocketPlan) -> None:
        """Carry `plan` from now on."""
        if plan != self._plan:
            self._plan = plan
            self._stream = self._wiring.decoder.stream(plan)
            self._wiring.recorder.closed(self.index, self._number)
            self._assign()

    async def run(self) -> NoReturn:
        """Until cancelled. Everything a venue can do wrong ends in another attempt; ConfigError goes up."""
        wiring = self._wiring
        self._assign()
        wiring.meters.connects.add()
        failures = 0
        heard_ns = wiring.clock.mono_ns()
        while True:
            try:
                await self._read()
            except VenueError as error:
                wait_s = self._pause_s(error, failures)
                failures = min(failures + 1, MAX_DOUBLINGS)
                self._failed(str(error), heard_ns, wait_s)
            else:
                failures, wait_s, heard_ns = 0, self._plan.every_s, wiring.clock.mono_ns()
            await asyncio.sleep(wait_s)

    def _assign(self) -> None:
        wiring = self._wiring
        wiring.publisher.assign(self.index, self._plan.symbols)
        wiring.recorder.assign(self.index, self._plan)
        self._number = wiring.recorder.opened(self.index, self._plan)

    async def _read(self) -> None:
        """One answer, published. Raises VenueError."""
        wiring, request = self._wiring, self._plan.poll
        if request is None:
            raise VenueError("this plan has nothing to read")
        body = await wiring.reads.read(request)
        now_ns = wiring.clock.mono_ns()
        wiring.meters.frames.add()
        wiring.meters.rest_reads.add()
        if wiring.recorder.is_on:
            wiring.recorder.frame(self.index, self._number, now_ns, body)
        try:
            events = self._stream.decode(body)
        except Malformed:
            wiring.meters.malformed.add()
            wiring.log.warning("malformed_frame", socket=self.index, frame=body[:SHOWN_BYTES].decode(errors="replace"))
            raise
        if not wiring.publisher.take(events, self.index, now_ns):
            told = [event.detail for event in events if isinstance(event, ControlEvent)]
            raise VenueError(f"an answer without market data: {' '.join(told)[:SHOWN_BYTES]}")
        if not self._is_up:
            self._is_up = True
            wiring.log.info("stream_open", socket=self.index, symbols=len(self._plan.symbols), frames=0)
        self.state = "live"
        wiring.meters.decode_to_publish.observe((wiring.clock.mono_ns() - now_ns) / NS_PER_S)

    def _failed(self, reason: str, heard_ns: int, wait_s: float) -> None:
        wiring = self._wiring
        self.state = f"waiting {wait_s:.2f} s after: {reason}"
        wiring.meters.rest_errors.add()
        wiring.log.warning("stream_lost", socket=self.index, reason=reason, retry_in_s=round(wait_s, 3))
        silent_ns = wiring.clock.mono_ns() - heard_ns
        if silent_ns > wiring.settings.silence_reconnect_s * NS_PER_S:
            if self._is_up:
                wiring.meters.reconnects.add()
            self._is_up = False
            wiring.publisher.socket_down(self.index, reason)
            wiring.recorder.down(self.index, reason)

    def _pause_s(self, error: VenueError, failures: int) -> float:
        settings = self._wiring.settings
        ceiling_s = min(settings.backoff_max_s, settings.backoff_initial_s * 2.0**failures)
        asked_s = error.retry_after_s if isinstance(error, RateLimited) else 0.0
        return max(asked_s, ceiling_s * self._wiring.rng.uniform(0.5, 1.0))
