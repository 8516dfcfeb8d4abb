"""Putting an executor together: account locks, journal and state, then every object around the state. Nothing is read from
a venue here. What is opened is closed by the exit stack that is handed in, in the opposite order.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
from collections.abc import Sequence
from typing import NamedTuple

from bookshm.account_page import AccountPageWriter
from bookshm.book_reader import BookReader
from bookshm.counters import CountersWriter
from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.config import Loaded
from core.holder import myself
from core.latch import HaltLatch
from core.log import Log
from core.roster import SPEC
from core.types import Venue
from executor.admission import Admission
from executor.commands import Commands
from executor.desk import Desk
from executor.engine import Engine
from executor.flatten import flatten
from executor.guard_runner import GuardRunner
from executor.image import encode_state, rebuild
from executor.journal import Journal
from executor.keyring import Keyring
from executor.ledger import Ledger
from executor.lock import acquire
from executor.metrics import Metrics
from executor.nonces import NonceSource
from executor.owners import Owners
from executor.pairs import Pairs
from executor.parity import CurrencyWatch
from executor.reconcile import Reconciler
from executor.records import EpochStarted, NonceBlock
from executor.rehearsal import Rehearsal
from executor.state import State
from executor.venues.base import Equipment, OrderGateway

METRICS_CAPACITY = 1024


class Parts(NamedTuple):
    """One executor, wired."""

    state: State
    journal: Journal
    ledger: Ledger
    meter: Metrics
    page: AccountPageWriter
    engine: Engine
    reconciler: Reconciler
    owners: Owners
    pairs: Pairs
    commands: Commands
    guards: GuardRunner
    rehearsal: Rehearsal
    currencies: CurrencyWatch


async def unlock(
    loaded: Loaded,
    venues: Sequence[Venue],
    takeover: bool,
    stop: asyncio.Event,
    closing: contextlib.AsyncExitStack,
    log: Log,
    clock: Clock,
) -> Keyring | None:
    """The keys, with one lock per venue account held, always in the same order; None when asked to stop while waiting."""
    if not venues:
        return Keyring(loaded.secrets_file, {}, {})
    keyring = Keyring.open(loaded.secrets_file, venues, log)
    identity = myself(loaded.path, loaded.state_dir, clock)
    for venue in sorted(venues):
        taking = asyncio.ensure_future(
            acquire(
                loaded.lock_dir,
                venue,
                keyring.address(SPEC[venue].account.name),
                identity,
                wait_s=loaded.config.execution.lock_wait_s,
                takeover=takeover,
                log=log,
                clock=clock,
            )
        )
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not taking.done():
            taking.cancel()
            return None
        closing.callback(taking.result().release)
    return keyring


def assemble(
    loaded: Loaded,
    run: RunDir,
    venues: Sequence[Venue],
    keyring: Keyring,
    latch: HaltLatch,
    closing: contextlib.AsyncExitStack,
    log: Log,
    clock: Clock,
) -> Parts:
    """Journal, replay, epoch; then everything else, leaves first."""
    journal = Journal.open(loaded.state_dir, log)
    closing.callback(journal.close)
    state = rebuild(journal)
    ledger = Ledger(loaded.state_dir / "ledger.sqlite", journal, log)
    ledger.start()
    closing.callback(ledger.close)
    _begin_epoch(state, journal, ledger, loaded.fingerprint, log, clock)
    counters = CountersWriter(run, "executor", clock, METRICS_CAPACITY)
    closing.callback(counters.close)
    meter = Metrics(counters, venues)
    page = AccountPageWriter(run, loaded.config.books.account_page_kib)
    closing.callback(page.close)
    nonces = _NonceShelf(state, journal, clock)
    gateways = {venue: _gateway(loaded, venue, keyring, nonces, log, clock) for venue in venues}
    for gateway in gateways.values():
        closing.push_async_callback(gateway.close)
    desks = {venue: Desk(venue, gateway, loaded.config.venues[venue]) for venue, gateway in gateways.items()}
    max_age_ns = int(loaded.config.feeds.max_quote_age_ms * NS_PER_MS)
    proof_ns = int(loaded.config.feeds.proof_max_age_s * NS_PER_S)
    books = {venue: BookReader(run, venue, clock, max_age_ns, proof_ns) for venue in venues}
    engine = Engine(loaded, clock, log, state, journal, latch, desks, books, meter)
    reconciler = Reconciler(engine, meter.order_resolved)
    engine.on_doubt = lambda order: reconciler.wake(order.prepared.venue)
    engine.on_hint = lambda venue, why: reconciler.wake(venue)
    owners = Owners(run, clock)
    pairs = Pairs(engine)
    admission = Admission(engine)
    return Parts(
        state=state,
        journal=journal,
        ledger=ledger,
        meter=meter,
        page=page,
        engine=engine,
        reconciler=reconciler,
        owners=owners,
        pairs=pairs,
        commands=Commands(engine, pairs, admission, flatten),
        guards=GuardRunner(engine, pairs, owners.heard, meter),
        rehearsal=Rehearsal(engine, admission),
        currencies=admission.currencies,
    )


def _begin_epoch(state: State, journal: Journal, ledger: Ledger, fingerprint: str, log: Log, clock: Clock) -> None:
    """On the disk before anything of this epoch exists: client order ids carry it."""
    started = EpochStarted(wire_ns=clock.wire_ns(), epoch=state.epoch + 1, config_fingerprint=fingerprint)
    log.info("replayed", sequence=state.sequence, clean_stop=state.clean_stop, epoch=started.epoch)
    state.apply(journal.append(started), started)
    journal.checkpoint(encode_state(state), keep_after=ledger.stored)  # syncs first


def _gateway(
    loaded: Loaded, venue: Venue, keyring: Keyring, nonces: _NonceShelf, log: Log, clock: Clock
) -> OrderGateway:
    equipment = Equipment(
        venue=venue,
        settings=loaded.config.venues[venue],
        symbols=loaded.config.feeds.symbols,
        keyring=keyring,
        clock=clock,
        log=log,
        rng=random.Random(f"{venue}-{nonces.state.epoch}"),
        nonces=nonces.source,
        epoch=nonces.state.epoch,
        recorded=lambda: _recorded(nonces.state, venue),
        state_dir=loaded.state_dir,
    )
    gateway: OrderGateway = importlib.import_module(f"executor.venues.{venue}").Gateway(equipment)
    return gateway


def _recorded(state: State, venue: Venue) -> dict[str, int]:
    """Client order ids of a venue, and when each was prepared."""
    return {name: order.prepared.wire_ns for name, order in state.orders.items() if order.prepared.venue == venue}


class _NonceShelf:
    """The one source per signer, on top of the journal's high-water marks."""

    def __init__(self, state: State, journal: Journal, clock: Clock) -> None:
        self.state = state
        self._journal = journal
        self._clock = clock
        self._sources: dict[str, NonceSource] = {}

    def source(self, signer_id: str, unit_ns: int) -> NonceSource:
        if signer_id not in self._sources:
            self._sources[signer_id] = NonceSource(
                signer_id,
                unit_ns=unit_ns,
                clock=self._clock,
                high_water=self.state.nonce_high.get(signer_id, 0),
                reserve=self._reserve,
            )
        return self._sources[signer_id]

    def _reserve(self, signer_id: str, high: int) -> None:
        """Durable before the first nonce of the block is used."""
        block = NonceBlock(wire_ns=self._clock.wire_ns(), signer_id=signer_id, high=high)
        self.state.apply(self._journal.append(block), block)
        self._journal.sync()
