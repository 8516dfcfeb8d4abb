"""One life of the executor: the real `Executor` with its real assembly, on simulated surroundings.

What is replaced, by name, in the modules that use it: the disk and the sync thread of the journal, the ledger (SQLite in a
thread; nothing decides by it), the pages in shared memory, the books, the client socket, the account locks and keys, the
gateways. Everything else is what runs in production: engine, pairs, commands, admission, guards, reconciliation, flatten,
the clockwork of the process, its start and its end. A name that no longer exists is an error (unittest.mock sees to that).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import msgspec

from core.config import Loaded
from core.log import LEVELS
from core.messages import AnyCommand, AnyReport, FlattenReport
from core.roster import SPEC
from core.types import Venue
from core.venue_spec import VenueKind
from executor import assembly, journal, process, segments
from executor.journal import Journal
from executor.nonces import NonceSource
from executor.process import Executor, Options
from tests.simulation.disk import Disk, SimThreads
from tests.simulation.gateway import SimGateway
from tests.simulation.semantics import Semantics
from tests.simulation.world import SimLoop, World, WorldClock

PAGE_S = 2.0
TICK_S = 0.1  # twice the real one: the clockwork is most of what a schedule costs
LOUD = LEVELS["warning"]


class Life:
    """What one start of the executor holds of the simulated machine."""

    def __init__(
        self, world: World, loaded: Loaded, disk: Disk, gateways: Callable[..., SimGateway], segment_bytes: int
    ) -> None:
        self.world = world
        self.loaded = loaded
        self.disk = disk
        self.loop = SimLoop(world)
        self.log = SimLog(world)
        self.meter = SimMeter()
        self.gateways: dict[Venue, SimGateway] = {}
        self.intake: SimIntake | None = None
        self.executor: SimExecutor | None = None
        self.on_flattened: Callable[[FlattenReport], None] = _unjudged
        self.beats: dict[str, int] = {}  # strategy -> mono ns of its last sign of life
        self._make_gateway = gateways
        self._segment_bytes = segment_bytes
        self._threads = SimThreads(disk)

    @property
    def engine(self) -> Any:
        """The executor's engine once it is assembled."""
        return getattr(self.executor, "_engine", None)

    @property
    def state(self) -> Any:
        return getattr(self.executor, "_state", None)

    @property
    def parts(self) -> Any:
        return getattr(self.executor, "_parts", None)

    @property
    def is_ready(self) -> bool:
        return self.engine is not None and bool(self.engine.ready)

    def run(self, options: Options, books: dict[Venue, Any]) -> None:
        """Until the process ends by itself or the world has seen enough. Crash passes through."""
        with substituted(self, books):
            self.loop.run(self._main(options))

    def stop(self) -> None:
        """SIGTERM."""
        if self.executor is not None:
            self.executor._stop.set()

    def bury(self) -> None:
        """After the process has ended, however."""
        self.disk.kill()
        for gateway in self.gateways.values():
            gateway.kill()
        self.loop.bury()

    async def _main(self, options: Options) -> None:
        self.executor = SimExecutor(self.loaded, SimRun(self.world.clock), self.log, options)  # type: ignore[arg-type]
        self.executor.on_flattened = self.on_flattened
        await self.executor.run(asyncio.Event())

    # ---- factories, called in place of the real ones ----------------------------------------------------------------

    def gateway(self, loaded: Loaded, venue: Venue, keyring: object, nonces: Any, log: object, clock: object) -> Any:
        source: Callable[[str, int], NonceSource] = nonces.source
        self.gateways[venue] = self._make_gateway(venue, source)
        return self.gateways[venue]

    def open_journal(self, state_dir: Path, log: Any) -> Journal:
        return Journal.open(state_dir, log, segment_bytes=self._segment_bytes)

    def open_intake(self, path: object, uids: object, on_command: Any, log: object, on_disconnect: Any) -> SimIntake:
        self.intake = SimIntake(on_command, on_disconnect)
        self.intake.on_flattened = self.on_flattened
        return self.intake


@contextlib.contextmanager
def substituted(life: Life, books: dict[Venue, Any]) -> Iterator[None]:
    """See the module text."""

    async def unlock(*arguments: object) -> object:
        return object()

    class Opened:
        open = staticmethod(life.open_journal)

    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (assembly, "Journal", Opened),
            (assembly, "Ledger", SimLedger),
            (assembly, "CountersWriter", SimPages),
            (assembly, "AccountPageWriter", SimPages),
            (assembly, "Metrics", lambda *arguments: life.meter),
            (assembly, "Owners", lambda *arguments: SimOwners(life)),
            (assembly, "BookReader", lambda run, venue, *arguments: books[venue]),
            (assembly, "_gateway", life.gateway),
            (process, "Intake", life.open_intake),
            (process, "unlock", unlock),
            (process, "gc", SimCollector),
            (process, "PAGE_S", PAGE_S),
            (process, "TICK_S", TICK_S),
            (journal, "os", life.disk),
            (journal, "threading", life._threads),
            (segments, "os", life.disk),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


@contextlib.contextmanager
def enrolled(all_semantics: tuple[Semantics, ...]) -> Iterator[None]:
    """The simulated venues on the roster."""
    pattern = SPEC[Venue("hyperliquid")]
    rows = {
        each.name: msgspec.structs.replace(
            pattern,
            name=each.name,
            title=each.name,
            taker_fee=each.taker_fee,
            order_ttl_ms=each.ttl_ms,
            kind=VenueKind.SPOT
            if each.traits.wallet
            else VenueKind.RFQ
            if each.traits.quotes_first
            else VenueKind.PERP,
        )
        for each in all_semantics
    }
    with mock.patch.dict(SPEC, rows):
        yield


class SimExecutor(Executor):
    """The real one; its last words go here instead of stdout."""

    last_words: FlattenReport | None = None
    on_flattened: Callable[[FlattenReport], None]

    def _tell(self, report: FlattenReport) -> None:  # type: ignore[override]
        self.last_words = report
        self.on_flattened(report)


class SimRun(NamedTuple):
    """The run directory, as far as the process asks."""

    clock: WorldClock
    executor_socket: Path = Path("executor.sock")

    def calendar_clock(self) -> WorldClock:
        return self.clock


class SimSession:
    """A connected client."""

    def __init__(self, intake: SimIntake, strategy: str, number: int) -> None:
        self.strategy = strategy
        self.reports: list[AnyReport] = []
        self._intake = intake
        self._number = number

    def __hash__(self) -> int:
        return self._number

    def send(self, report: AnyReport) -> bool:
        self.reports.append(report)
        if isinstance(report, FlattenReport):
            self._intake.on_flattened(report)
        return True

    def close(self) -> None:
        self._intake.sessions.discard(self)
        self._intake.on_disconnect(self)


class SimIntake:
    """The door without a socket: `connect` and `take` are called by the world."""

    def __init__(self, on_command: Any, on_disconnect: Any) -> None:
        self.sessions: set[SimSession] = set()
        self.on_disconnect = on_disconnect
        self._on_command = on_command
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.on_flattened: Callable[[FlattenReport], None] = _unjudged

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def close(self) -> None:
        self._loop = None

    def connect(self, strategy: str) -> SimSession:
        self._count += 1
        session = SimSession(self, strategy, self._count)
        self.sessions.add(session)
        return session

    def take(self, command: AnyCommand, session: SimSession) -> None:
        if self._loop is not None:
            self._loop.call_soon(self._on_command, command, session)


class SimLog:
    """Lines as events of the world, unformatted; quiet levels are dropped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.counts: dict[str, int] = {}

    def mask(self, secret: str) -> None:
        """There are none."""

    def debug(self, event: str, **fields: Any) -> None:
        """Too quiet."""

    def info(self, event: str, **fields: Any) -> None:
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._say("error", event, fields)

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1
        for name in ("path", "copy"):
            fields.pop(name, None)
        self._world.note("log", level, event, fields)


class SimMeter:
    """Counts what the engine says; unhedged episodes and repairs are kept."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.episodes: list[tuple[int, float]] = []
        self.repairs: dict[str, int] = {}
        self.resolved: list[tuple[str, float]] = []

    def unhedged(self, duration_ns: int, notional_usd: Any) -> None:
        self.episodes.append((duration_ns, float(notional_usd)))

    def repair(self, kind: str) -> None:
        self.repairs[kind] = self.repairs.get(kind, 0) + 1

    def order_resolved(self, venue: Venue, source: str, seconds: float) -> None:
        self.resolved.append((source, seconds))

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _count_nothing


class SimPages:
    """Counters and account page: the newest snapshot."""

    def __init__(self, *arguments: object) -> None:
        self.newest: Any = None

    def write(self, snapshot: object) -> None:
        self.newest = snapshot

    def close(self) -> None:
        """Nothing is held."""


class SimLedger:
    """Stands for the SQLite ledger: everything synced is stored at once."""

    def __init__(self, path: object, journal: Journal, log: object) -> None:
        self._journal = journal

    @property
    def stored(self) -> int:
        return self._journal.synced

    def start(self) -> None:
        """There is no thread."""

    def close(self) -> None:
        """There is no database."""


class SimOwners:
    """When a strategy was last heard: what the simulated clients say."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def note(self, strategy: str) -> None:
        self._life.beats[strategy] = self._life.world.now_ns

    def heard(self, strategy: str) -> int:
        return self._life.beats.get(strategy, 0)


class SimCollector:
    """The garbage collector is not part of the simulation."""

    @staticmethod
    def collect() -> None: ...

    @staticmethod
    def freeze() -> None: ...


def _count_nothing(*arguments: object) -> None:
    """Calls that the simulation does not judge."""


def _unjudged(report: FlattenReport) -> None:
    """Nobody compares it with anything."""
