"""The feed of one venue: catalogue, streams, figures and heartbeat as tasks of one loop, all on one thread.

    beat       every 100 ms, whatever the venue does: the book's heartbeat is what readers take for life
    catalogue  instruments and funding intervals at start (retried for ever: a venue that is down leaves the feed alive and
               its book DOWN) and every `specs_refresh_s`; a changed list of symbols makes the streams rotate to it
    sessions   one per connection (feeds.session), or per read that is repeated in its place (feeds.polling)
    figures    settled funding and volumes by REST: at start, after each whole hour of the calendar, and with the catalogue

A task that ends is a fault: its error leaves `run` and with it the process, whose supervisor starts another.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from typing import NoReturn

from bookshm.book import BookWriter
from bookshm.counters import CountersWriter
from core.clock import NS_PER_S, Clock
from core.config import Loaded, load
from core.errors import ConfigError, RateLimited, VenueError
from core.lifecycle import HEARTBEAT_NS
from core.log import Log
from core.settings import FeedsConfig, VenueConfig
from core.types import Venue
from feeds.meters import Meters
from feeds.pace import Pace
from feeds.polling import Polling
from feeds.publisher import Publisher
from feeds.recorder import Recorder
from feeds.session import Session, Wiring
from feeds.venues.base import FeedDecoder
from feeds.wire import PublicReads, client

READ_SHARE = 0.25  # of the venue's request budget, which the executor lives from
CATALOGUE_RETRY_S = (0.5, 15.0)  # doubles from the first to the second
SETTLED_AFTER_S = 20  # calendar; a venue may settle up to 15 s late
FIGURES_CHECK_S = 1.0
FIGURES_GAP_S = 10.0  # real time between two rounds, however fast the calendar runs
MEASURE_EVERY_BEATS = 10
SILENT_SYMBOL_S = 10.0
HOUR_NS = 3600 * NS_PER_S


class Feed:
    """AsyncAgent of core.lifecycle. Writes one book and one counters page; closes both at the end."""

    def __init__(
        self, loaded: Loaded, venue: Venue, decoder: FeedDecoder, book: BookWriter, page: CountersWriter, clock: Clock,
        rng: random.Random, log: Log,
    ) -> None:  # fmt: skip
        self.role_name = f"feed-{venue}"
        self._loaded = loaded
        self._settings: FeedsConfig = loaded.config.feeds
        self._venue: VenueConfig = loaded.config.venues[venue]
        self._decoder = decoder
        self._book = book
        self._page = page
        self._clock = clock
        self._rng = rng
        self._log = log
        self._meters = Meters(page, venue)
        self._publisher = Publisher(
            book, self._settings, clock, self._meters, log, _call_soon, decoder.funding_on_whole_intervals
        )
        self._recorder = Recorder(
            loaded.recordings_dir, venue, book.epoch, loaded.config.recorder, clock, self._meters, log
        )
        self._sessions: list[Session | Polling] = []
        self._session_tasks: list[asyncio.Task[NoReturn]] = []
        self._silent: frozenset[str] = frozenset()
        self._has_catalogue = False

    async def run(self, stop: asyncio.Event) -> None:
        self._recorder.look()
        async with client() as http:
            budget = self._venue.requests_per_min * READ_SHARE
            reads = PublicReads(http, self._venue.rest_url, Pace(budget, budget / 60.0, self._clock))
            decoder = self._decoder
            wiring = Wiring(
                decoder=decoder,
                publisher=self._publisher,
                http=http,
                reads=reads,
                url=self._venue.ws_url.rstrip("/") + decoder.ws_path(),
                settings=self._settings,
                pace=Pace(decoder.client_burst, decoder.client_frames_per_s, self._clock),
                meters=self._meters,
                recorder=self._recorder,
                clock=self._clock,
                rng=self._rng,
                log=self._log,
            )
            steady = [
                asyncio.create_task(self._beat()),
                asyncio.create_task(self._catalogue(wiring)),
                asyncio.create_task(self._figures(reads)),
            ]
            try:
                await self._until(stop, steady)
            finally:
                tasks = [*steady, *self._session_tasks]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._publisher.down("feed stopped")
                self._recorder.stop()
                self._book.close()
                self._page.close()
                self._log.info("feed_stopped")

    def on_reload(self) -> None:
        """A feed applies its configuration at start only: say whether the file is sound and whether it differs."""
        try:
            fresh = load(self._loaded.path)
        except ConfigError as error:
            self._log.error("config_refused", detail=str(error), kept=self._loaded.fingerprint)
            return
        differs = fresh.fingerprint != self._loaded.fingerprint
        self._log.info(
            "config_checked", fingerprint=fresh.fingerprint, advice="restart to apply" if differs else "unchanged"
        )

    def on_dump(self) -> None:
        states = {session.index: session.state for session in self._sessions}
        self._log.info("state", sockets=states, slots=len(self._book.slots), silent=sorted(self._silent))

    async def _until(self, stop: asyncio.Event, steady: list[asyncio.Task[NoReturn]]) -> None:
        """Until asked to stop; the error of any task that ended by itself goes up."""
        asked = asyncio.create_task(stop.wait())
        try:
            while not asked.done():
                watched = [*steady, *self._session_tasks]
                await asyncio.wait([asked, *watched], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                for task in watched:
                    if task.done() and not task.cancelled():
                        task.result()
        finally:
            asked.cancel()

    async def _beat(self) -> NoReturn:
        beats = 0
        while True:
            now_ns = self._clock.mono_ns()
            self._book.heartbeat(now_ns)
            self._page.heartbeat()
            beats += 1
            if beats % MEASURE_EVERY_BEATS == 0:
                self._measure(now_ns)
            await asyncio.sleep(HEARTBEAT_NS / NS_PER_S)

    def _measure(self, now_ns: int) -> None:
        publisher = self._publisher
        publisher.measure()
        if publisher.last_market_ns:
            wire_ns = self._clock.wire_ns() - (now_ns - publisher.last_market_ns)
            self._meters.last_message_s.set(wire_ns / NS_PER_S)
        self._recorder.look()
        silent = frozenset(publisher.silent_symbols(now_ns, int(SILENT_SYMBOL_S * NS_PER_S)))
        if silent - self._silent:  # a venue may acknowledge a stream that never ticks
            self._log.warning("symbols_silent", symbols=sorted(silent), for_s=SILENT_SYMBOL_S)
        self._silent = silent

    async def _catalogue(self, wiring: Wiring) -> NoReturn:
        failures = 0
        while True:
            try:
                await self._load_catalogue(wiring)
            except VenueError as error:
                wait_s = min(CATALOGUE_RETRY_S[1], CATALOGUE_RETRY_S[0] * 2.0**failures) * self._rng.uniform(0.5, 1.0)
                failures = min(failures + 1, 16)
                if isinstance(error, RateLimited):
                    wait_s = max(wait_s, error.retry_after_s)
                self._meters.rest_errors.add()
                self._log.warning(
                    "no_catalogue", detail=str(error), retry_in_s=round(wait_s, 3), kept=bool(self._sessions)
                )
                if not self._sessions:
                    self._publisher.down(f"no catalogue yet: {error}")
            else:
                failures = 0
                wait_s = self._settings.specs_refresh_s
            await asyncio.sleep(wait_s)

    async def _load_catalogue(self, wiring: Wiring) -> None:
        decoder = self._decoder
        answers = []
        for request in decoder.catalogue_requests():
            answers.append(await wiring.reads.read(request))
            self._meters.rest_reads.add()
        wanted = self._settings.symbols
        rows = decoder.load_catalogue(answers, wanted)
        self._recorder.catalogue(answers, wanted)
        left_out = self._publisher.install(rows)
        listed = {row.symbol for row in rows if not row.delisted}
        if left_out:
            self._log.error("book_full", left_out=left_out, advice="raise books.capacity_slots or name feeds.symbols")
        missing = sorted(set(wanted) - listed)
        if missing:
            self._log.warning("symbols_not_listed", symbols=missing)
        self._replan(wiring)
        if not listed:
            raise VenueError(f"none of the wanted symbols is listed: {', '.join(wanted) or 'the catalogue is empty'}")
        if not self._has_catalogue:
            self._has_catalogue = True
            self._log.info("catalogue_loaded", symbols=sorted(listed))
            gc.collect()
            gc.freeze()  # what lives from here on lives to the end: no collection need ever look at it again

    def _replan(self, wiring: Wiring) -> None:
        """Sessions for the sockets the decoder asks for: kept where they are, added or ended at the end of the list."""
        plans = self._decoder.sockets()
        for session, plan in zip(self._sessions, plans, strict=False):
            session.replan(plan)
        for index in range(len(self._sessions), len(plans)):
            kind = Session if plans[index].poll is None else Polling
            session = kind(index, plans[index], wiring)
            self._sessions.append(session)
            self._session_tasks.append(asyncio.create_task(session.run()))
        while len(self._sessions) > len(plans):
            session = self._sessions.pop()
            self._session_tasks.pop().cancel()
            self._publisher.assign(session.index, ())
            self._recorder.dropped_socket(session.index)
            self._publisher.socket_down(session.index, "no longer needed")

    async def _figures(self, reads: PublicReads) -> NoReturn:
        last_ns, last_hour = 0, -1
        while True:
            await asyncio.sleep(FIGURES_CHECK_S)
            now_ns = self._clock.mono_ns()
            hour = (self._clock.calendar_ns() - SETTLED_AFTER_S * NS_PER_S) // HOUR_NS
            since_s = (now_ns - last_ns) / NS_PER_S
            due = (hour != last_hour and since_s > FIGURES_GAP_S) or since_s > self._settings.specs_refresh_s
            if self._has_catalogue and (due or not last_ns):
                last_ns, last_hour = now_ns, hour
                await self._read_figures(reads)

    async def _read_figures(self, reads: PublicReads) -> None:
        """One round; an answer that fails leaves the figure it had, a refusal for the rate ends the round."""
        for request in self._decoder.figures_requests(self._clock.calendar_ns()):
            try:
                answer = await reads.read(request)
                events = self._decoder.load_figures(answer, request.about)
            except RateLimited as error:
                self._meters.rest_errors.add()
                self._log.warning("figures_rate_limited", detail=str(error), wait_s=error.retry_after_s)
                await asyncio.sleep(error.retry_after_s)
                return
            except VenueError as error:
                self._meters.rest_errors.add()
                self._log.warning("figure_failed", detail=str(error))
            else:
                self._meters.rest_reads.add()
                self._publisher.figures(events, self._clock.mono_ns())
                self._recorder.figures(answer, request.about)


def _call_soon(ring: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(ring)
