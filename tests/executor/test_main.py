"""The executor's life in one process: journal, ledger, locks, socket and pages are the real ones, only the venues are fake."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from bookshm.account_page import AccountPageReader
from bookshm.book import BookWriter
from bookshm.run import RunDir
from core.account import AccountSnapshot
from core.client import ExecutorClient
from core.clock import NS_PER_S, SystemClock
from core.config import Loaded, load
from core.errors import BusyError, ConfigError, InvariantError, VenueError
from core.latch import HaltLatch
from core.log import Log
from core.messages import (
    AnyReport,
    ClosePair,
    CommandDone,
    DenyReason,
    ExitGuard,
    FlattenReport,
    Leg,
    OpenPair,
    OrderAccepted,
    OrderDenied,
    PairState,
    PairStatus,
    Probe,
    SetTradingState,
    SubmitOrder,
)
from core.types import Side, TimeInForce, TradingState, Venue
from executor import process
from executor.commands import Commands
from executor.process import Executor, Options
from executor.venues.base import Equipment, EventSink, StreamUp, TopOfBook
from tests.configuration import whole_text
from tests.executor.fake_gateway import FakeGateway
from tests.executor.rig import LONG, ROOT, SHORT, instrument

SETTLE_S = 10.0


class World:
    """Fake venues that outlive executors, a book writer per venue, and the configuration of one test."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, environment: str = "sandbox") -> None:
        self.clock = SystemClock()
        self.lines: list[str] = []
        self.loaded = _config(directory, environment)
        self.gateways: dict[Venue, FakeGateway] = {}
        self.down: set[Venue] = set()
        self.built = 0
        for venue in (LONG, SHORT):
            module = types.ModuleType(f"executor.venues.{venue}")
            module.Gateway = self._build  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, f"executor.venues.{venue}", module)

    def _build(self, equipment: Equipment) -> FakeGateway:
        self.built += 1
        world = self

        class Gateway(FakeGateway):
            async def start(self, sink: EventSink) -> None:
                if self.venue in world.down:
                    raise VenueError("connection refused")
                await super().start(sink)
                sink(StreamUp(venue=self.venue, since_wire_ns=0))

        venue = equipment.venue
        gateway = Gateway(venue, [instrument(venue)], self.clock)
        gateway.nonces = equipment.nonces(gateway.signer_id, 1_000_000)
        former = self.gateways.get(venue)
        if former is not None:
            gateway.position_lots, gateway.fills, gateway.placed = former.position_lots, former.fills, former.placed
            gateway._trades = former._trades
        gateway.leverages = {"BTC": 3}
        gateway.tops["BTC"] = TopOfBook(Decimal("99999.5"), Decimal("100000.5"), Decimal("100000"))
        self.gateways[venue] = gateway
        return gateway

    def log(self) -> Log:
        return Log("executor", self.clock, "debug", self.lines.append)


def _config(directory: Path, environment: str) -> Loaded:
    text = whole_text(environment)
    (directory / "config").mkdir(parents=True)
    file = directory / "config" / f"{environment}.toml"
    name = f"t{os.getpid()}-{directory.name.lower().replace('_', '')[-8:]}"
    text = text.replace(f'name = "{environment}"', f'name = "{name}"\nshm_dir = "{directory}"')
    text = text.replace("[venues.lighter]\n", "[venues.lighter]\nenabled = false\n")
    text += "\n[execution]\nlock_wait_s = 0.3\nrehearse_ms = 5.0\n"
    file.write_text(text)
    loaded = load(file)
    loaded.secrets_file.parent.mkdir(parents=True, exist_ok=True)
    loaded.secrets_file.touch(mode=0o600)
    loaded.secrets_file.write_text(
        f"HL_PRIVATE_KEY={'1' * 64}\nHL_USER_ADDRESS=0x{'a' * 40}\n"
        f"ASTER_PRIVATE_KEY={'2' * 64}\nASTER_USER_ADDRESS=0x{'b' * 40}\n"
    )
    return loaded


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short: a unix socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="te"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def world(directory: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(directory, monkeypatch)


class Running:
    """An executor under test, with a strategy, an operator and live books."""

    def __init__(self, world: World, executor: Executor, run: RunDir, stop: asyncio.Event) -> None:
        self.executor = executor
        self.world = world
        self.stop = stop
        self.ended = asyncio.ensure_future(executor.run(stop))
        self.scalp = ExecutorClient(run.executor_socket, "scalp", world.clock)
        self.operator = ExecutorClient(run.executor_socket, "manual", world.clock)
        self.page = AccountPageReader(run.path)

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(SETTLE_S):
                while not reached():
                    if self.ended.done():
                        self.ended.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"never: {what}\n" + "".join(self.world.lines[-30:])) from None

    async def ask(self, client: ExecutorClient, command: object, kind: type) -> AnyReport:
        """Send and wait for the first report of `kind`, without blocking the loop."""
        await self.until(client.try_connect, "connected")
        assert client.send(command)  # type: ignore[arg-type]
        found: list[AnyReport] = []

        def heard() -> bool:
            found.extend(report for report in client.poll() if isinstance(report, kind))
            return bool(found)

        await self.until(heard, f"a {kind.__name__}")
        return found[0]

    async def ready(self) -> None:
        while True:
            probe = Probe(command_id=self.operator.next_id(), valid_until_mono_ns=0)
            done = await self.ask(self.operator, probe, CommandDone)
            if isinstance(done, CommandDone) and done.ok:
                return
            await asyncio.sleep(0.02)

    def snapshot(self) -> AccountSnapshot:
        snapshot = self.page.read()
        assert isinstance(snapshot, AccountSnapshot), snapshot
        return snapshot

    def open_command(self) -> OpenPair:
        now = self.world.clock.mono_ns()
        return OpenPair(
            command_id=self.scalp.next_id(),
            valid_until_mono_ns=now + NS_PER_S,
            symbol="BTC",
            long=Leg(venue=LONG, limit_px=Decimal("100010"), quote_sequence=1, quote_age_ns=0),
            short=Leg(venue=SHORT, limit_px=Decimal("100590"), quote_sequence=1, quote_age_ns=0),
            qty=Decimal("0.01"),
            decided_mono_ns=now,
            edge_bps=60.0,
            offset_bps=0.0,
            exit_guard=ExitGuard(stop_basis_bps=0.0, stop_leg_pct=0.0, max_hold_s=0.0),
        )

    async def open_pair(self) -> PairState:
        found: list[PairState] = []
        await self.until(self.scalp.try_connect, "connected")
        assert self.scalp.send(self.open_command())

        def opened() -> bool:
            for report in self.scalp.poll():
                assert not isinstance(report, OrderDenied), report
                if isinstance(report, PairState) and report.status is PairStatus.OPEN:
                    found.append(report)
            return bool(found)

        await self.until(opened, "an open pair")
        return found[0]


@contextlib.asynccontextmanager
async def executor_of(world: World, **options: object) -> AsyncIterator[Running]:
    """Run one life; the books are fed meanwhile. Ends it by TERM unless the test has done so."""
    run = RunDir.join(world.loaded.run_dir, 1.0, world.clock)
    books = {venue: BookWriter(run, venue, world.clock, 16, 64) for venue in (LONG, SHORT)}
    feeding = asyncio.ensure_future(_feed(world, books))
    executor = Executor(world.loaded, run, world.log(), Options(config=str(world.loaded.path), **options))  # type: ignore[arg-type]
    running = Running(world, executor, run, asyncio.Event())
    try:
        yield running
    finally:
        running.stop.set()
        if not running.ended.done():
            await running.ended
        feeding.cancel()
        running.scalp.close()
        running.operator.close()
        for book in books.values():
            book.close()
        run.leave()


async def _feed(world: World, books: dict[Venue, BookWriter]) -> None:
    for venue, book in books.items():
        book.add(instrument(venue))
        book.set_status(True, "")
    while True:
        now = world.clock.mono_ns()
        for venue, book in books.items():
            mid = 100_000.0 if venue == LONG else 100_600.0
            book.publish_quote(0, mid - 0.5, 10.0, mid + 0.5, 10.0, 0, now)
            book.prove_symbol(0, now)
            book.heartbeat(now)
        await asyncio.sleep(0.05)


async def test_a_pair_lives_through_a_stop_and_a_start(world: World) -> None:
    async with executor_of(world) as first:
        await first.ready()
        opened = await first.open_pair()
        await first.until(lambda: first.snapshot().pairs_opened == 1, "the page shows the pair")
        assert first.snapshot().ready
        first.stop.set()
        await first.ended
    async with executor_of(world) as second:
        await second.ready()
        snapshot = second.snapshot()
        assert snapshot.executor_epoch == 2
        assert [pair.status for pair in snapshot.pairs] == [PairStatus.OPEN]
        close = ClosePair(
            command_id=second.scalp.next_id(), valid_until_mono_ns=0, pair_id=opened.pair_id, reason="take_profit"
        )
        await second.ask(second.scalp, close, PairState)
        await second.until(lambda: second.snapshot().pairs_closed == 1, "closed")
    assert all(not any(gateway.position_lots.values()) for gateway in world.gateways.values())
    assert any('"clean_stop": true' in line for line in world.lines)


async def test_a_venue_that_was_disabled_while_a_pair_stands_there_is_asked_for(world: World) -> None:
    whole = world.loaded
    async with executor_of(world) as first:
        await first.ready()
        await first.open_pair()
    aster = msgspec.structs.replace(whole.config.venues[SHORT], enabled=False)
    config = msgspec.structs.replace(whole.config, venues={**whole.config.venues, SHORT: aster})
    world.loaded = msgspec.structs.replace(whole, config=config)
    with pytest.raises(ConfigError, match=rf"venues\.{SHORT}\.enabled: .* at {SHORT}:BTC; enable the venue again"):
        async with executor_of(world) as second:
            await second.ended
    world.loaded = whole
    async with executor_of(world) as third:
        await third.ready()
        assert [pair.status for pair in third.snapshot().pairs] == [PairStatus.OPEN]


async def test_rehearsing_signs_and_leaves_no_trace(world: World) -> None:
    async with executor_of(world) as running:
        await running.ready()
        journal = running.executor._parts.journal
        await asyncio.sleep(0.3)
        before, walked = journal.position, world.gateways[LONG].rehearsals
        await running.until(lambda: world.gateways[LONG].rehearsals > walked + 20, "rehearsed")
        assert not running.executor._state.orders
        assert journal.position - before <= 2  # nonce blocks are renewed once in four seconds
        assert all(not gateway.wire for gateway in world.gateways.values())


async def test_a_broken_invariant_ends_the_process_and_the_next_one_is_halted_until_resume(world: World) -> None:
    async with executor_of(world) as running:
        await running.ready()

        def broken() -> None:
            raise InvariantError("one and one is three")

        asyncio.get_running_loop().call_soon(broken)
        with pytest.raises(InvariantError):
            await running.ended
    halt = HaltLatch(world.loaded.state_dir).read()
    assert halt is not None
    assert "one and one is three" in halt.reason
    async with executor_of(world) as running:
        await running.ready()
        denied = await running.ask(running.scalp, running.open_command(), OrderDenied)
        assert isinstance(denied, OrderDenied)
        assert denied.reason is DenyReason.TRADING_STATE
        resume = SetTradingState(
            command_id=running.operator.next_id(),
            valid_until_mono_ns=1 << 62,
            state=TradingState.ACTIVE,
            reason="seen to",
        )
        done = await running.ask(running.operator, resume, CommandDone)
        assert isinstance(done, CommandDone)
        assert done.trading_state is TradingState.ACTIVE
        await running.open_pair()
    assert HaltLatch(world.loaded.state_dir).read() is None


async def test_a_task_that_dies_ends_the_process(world: World) -> None:
    async with executor_of(world) as running:
        await running.ready()

        async def dies() -> None:
            raise ZeroDivisionError

        running.executor._spawn(dies())
        with pytest.raises(ZeroDivisionError):
            await running.ended
    assert HaltLatch(world.loaded.state_dir).read() is None  # a crash restarts; only a broken invariant halts


async def test_a_latch_set_by_somebody_else_halts_within_a_second_or_two(world: World) -> None:
    async with executor_of(world) as running:
        await running.ready()
        HaltLatch(world.loaded.state_dir).set("operator", 1)
        await running.until(lambda: running.snapshot().trading_state is TradingState.HALTED, "halted")


async def test_an_unreachable_venue_delays_nobody_and_joins_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "READY_WITHOUT_S", 0.2)
    monkeypatch.setattr(process, "BACKOFF_LAST_S", 0.3)
    world.down.add(SHORT)
    async with executor_of(world) as running:
        await running.ready()
        denied = await running.ask(running.scalp, running.open_command(), OrderDenied)
        assert isinstance(denied, OrderDenied)
        assert denied.reason in (DenyReason.INSTRUMENT_UNKNOWN, DenyReason.VENUE_BLIND)
        world.down.clear()
        await running.until(lambda: running.executor._engine.desks[SHORT].reconciled, "the venue is reconciled")
        await running.open_pair()


async def test_flatten_and_exit_closes_everything_and_says_so_in_its_last_line(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with executor_of(world) as running:
        await running.ready()
        await running.open_pair()
    capsys.readouterr()
    async with executor_of(world, flatten=True) as flattening:
        await asyncio.wait_for(asyncio.shield(flattening.ended), 30)
        assert flattening.executor.exit_code == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('{"type":"flatten_report"')
    report = msgspec.json.decode(last, type=FlattenReport)
    assert report.flat
    assert all(not any(gateway.position_lots.values()) for gateway in world.gateways.values())
    async with executor_of(world) as after:
        await after.ready()
        assert after.snapshot().trading_state is TradingState.HALTED


async def test_a_residual_is_not_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with executor_of(world) as running:
        await running.ready()
        await running.open_pair()
    monkeypatch.setattr(process, "FLATTEN_START_S", 0.5)
    monkeypatch.setattr("executor.flatten.PATIENCE_S", 1.0)
    world.down.add(SHORT)
    async with executor_of(world, flatten=True) as flattening:
        await asyncio.wait_for(asyncio.shield(flattening.ended), 60)
        assert flattening.executor.exit_code == 2
    assert world.gateways[SHORT].position_lots["BTC"] == -5
    assert world.gateways[LONG].position_lots["BTC"] == 0


async def test_a_second_executor_names_the_holder_and_leaves(world: World) -> None:
    async with executor_of(world) as first:
        await first.ready()
        run = RunDir.join(world.loaded.run_dir, 1.0, world.clock)
        second = Executor(world.loaded, run, world.log(), Options(config=str(world.loaded.path)))
        with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
            await second.run(asyncio.Event())
        run.leave()
        asyncio.get_running_loop().set_exception_handler(first.executor._on_loop_error)
        await first.open_pair()


async def test_live_is_denied_outright_and_no_gateway_is_even_built(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(directory, monkeypatch, "live")
    async with executor_of(world) as running:
        await running.until(running.operator.try_connect, "connected")
        denied = await running.ask(running.scalp, running.open_command(), OrderDenied)
        assert isinstance(denied, OrderDenied)
        assert denied.reason is DenyReason.LIVE_BLOCKED
        assert denied.detail.startswith("Live mode blocked")
        await running.ready()
        assert running.snapshot().mode == "live blocked"
    assert world.built == 0


async def test_stop_cancels_what_rests_and_records_that_it_was_on_purpose(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Commands, "client_left", lambda self, client: None)  # an order whose client is long gone
    async with executor_of(world) as running:
        await running.ready()
        gateway = world.gateways[LONG]
        order = SubmitOrder(
            command_id=running.operator.next_id(),
            valid_until_mono_ns=1 << 62,
            venue=LONG,
            symbol="BTC",
            side=Side.BUY,
            qty=Decimal("0.01"),
            limit_px=Decimal("99000"),
            time_in_force=TimeInForce.GTC,
            reduce_only=False,
        )
        await running.ask(running.operator, order, OrderAccepted)
        running.stop.set()
        await running.ended
        assert len(gateway.cancels) == 1
        assert gateway.closed


# ---- as a program -----------------------------------------------------------------------------------------------------


def test_bad_configuration_exits_78_and_bad_usage_64(directory: Path) -> None:
    assert _run("--config", str(directory / "none.toml")).returncode == 78
    wrong = _run("--config", str(directory / "none.toml"), "--venue", "aster")
    assert wrong.returncode == 64
    assert "flatten-and-exit" in wrong.stderr


def test_the_process_hides_its_memory() -> None:
    code = (
        "import ctypes, resource, executor.main as m; m.harden();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["0", "0"]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "executor.main", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
