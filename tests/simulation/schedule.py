"""One schedule: a seed in, a verdict out.

    a drawn set of venues, limits, clients and faults      12 to 32 simulated seconds, with as many lives as crashes make
    faults cease, nobody opens any more                    everything must converge: books equal, nothing in doubt, no
                                                           naked leg, every pair open or ended
    then close everything, or flatten                      flat, or the report says exactly what is left
    at last the journal is read once more                  what a next start would believe is what the last one believed

`run(seed)` never raises for a failure of the system under test: it is in the Result.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from core.clock import NS_PER_S
from core.errors import BusyError
from core.messages import FlattenReport, PairStatus
from core.types import OrderStatus, TimeInForce, TradingState, Venue
from executor.image import encode_state, rebuild
from executor.journal import JournalError
from executor.nonces import NonceSource
from executor.process import Options
from executor.state import State
from tests.simulation.checks import Checks
from tests.simulation.clients import Clients
from tests.simulation.director import Director
from tests.simulation.disk import Disk
from tests.simulation.faults import Fault, Faults
from tests.simulation.gateway import SimGateway
from tests.simulation.life import Life, enrolled
from tests.simulation.market import Market, SimBook
from tests.simulation.semantics import ALL
from tests.simulation.setting import DeadJournal, configuration, difference
from tests.simulation.venue import VenueModel
from tests.simulation.world import Broken, Crash, World

MEMORY = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())
CALM_S = 170.0  # a flatten program that began just before may take 150
LOOK_S = 1.0
FLATTEN_S = 200.0
CLOSE_S = 60.0
LIVES_MAX = 40
_ADDRESS = re.compile(r"0?x[0-9a-f]{8,}")  # of an object, in what some error says


class Result(msgspec.Struct, kw_only=True):
    """What one schedule came to. `broken`: what failed, "" = nothing."""

    seed: int
    broken: str = ""
    at_s: float = 0.0
    venues: tuple[str, ...] = ()
    lives: int = 0
    events: int = 0
    orders: int = 0
    fills: int = 0
    pairs: int = 0
    faults: dict[str, int] = {}
    episodes: list[tuple[float, float]] = []
    repairs: dict[str, int] = {}
    resolved: list[tuple[str, float]] = []
    repair_cost_bps: list[float] = []
    converged_s: float = 0.0
    ending: str = ""
    trace: list[str] = []


def run(seed: int, *, keep_trace: bool = False) -> Result:
    """One schedule from beginning to end."""
    directory = Path(tempfile.mkdtemp(prefix="tandem-sim-", dir=MEMORY))
    schedule = Schedule(seed, directory)
    result = schedule.result
    try:
        with enrolled(ALL):
            schedule.run()
    except Broken as error:
        result.broken = str(error)
        result.at_s = schedule.world.now_s
    except Exception as error:
        result.broken = f"{type(error).__name__}: {error}"
        result.at_s = schedule.world.now_s
        schedule.world.note("traceback", traceback.format_exc())
    finally:
        shutil.rmtree(directory)
    schedule.conclude()
    if keep_trace or result.broken:
        lines = (line.replace(str(directory), "<state>") for line in _lines(schedule.world))
        result.trace = [_ADDRESS.sub("0x", line) for line in lines]
    return result


def _lines(world: World) -> list[str]:
    return [
        f"{(at_ns - 10**9) / 1e9:9.4f}  {what:<9} {' '.join(map(_text, details))}"
        for at_ns, what, details in world.trace
    ]


def _text(detail: Any) -> str:
    if isinstance(detail, dict):
        return " ".join(f"{name}={value}" for name, value in detail.items())
    return str(detail)


class Schedule:
    """See the module text."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.world = World(seed)
        self.result = Result(seed=seed)
        rng = random.Random(f"schedule-{seed}")
        self._rng = rng
        self._directory = directory
        semantics = rng.sample(ALL, rng.choice([2, 2, 3, 3, 4]))
        self.faults = Faults(self.world, seed)
        self.market = Market(self.world, seed)
        self.models = {each.name: VenueModel(self.world, each, self.market, self.faults) for each in semantics}
        self.books = {
            name: SimBook(
                self.world, self.market, name, model.instruments, indicative=model.semantics.traits.quotes_first
            )
            for name, model in self.models.items()
        }
        for model in self.models.values():
            self._fill_wallet(model)
            model.equity_usd = Decimal(rng.choice([500, 2000, 10_000, 10_000]))
        self._segment_bytes = rng.choice([16, 256]) * 1024
        self._length_s = rng.uniform(12.0, 32.0)
        self._loaded = configuration(semantics, directory, rng)
        self.clients = Clients(
            self.world, self.models, self.books, self.faults, rng, pause_s=rng.choice([0.5, 1.0, 2.0])
        )
        self.director = Director(
            self.world, self.models, self.books, self.market, self.faults, self.clients, rng, self._length_s
        )
        self.checks = Checks(self.world, self.models, self.books, self.market, self.faults)
        self.checks.hold_back = self.director.before_send
        self.checks.let_go = self.director.after_send
        self._life: Life | None = None
        self._over = False
        self._calm_since_s = 0.0
        self._ending = rng.choice(["close", "close", "flatten", "flatten", "program", "halted"])
        self._goal: Callable[[], str] = self._unsettled
        self._deadline_s = 0.0
        self._flattened_in_calm = False
        self.world.after_each = self.checks.look
        self.world.after(self._length_s, self._calm)

    def _fill_wallet(self, model: VenueModel) -> None:
        """The owner of a wallet may hold coins of his own in it."""
        if model.semantics.traits.wallet:
            for symbol, inst in model.instruments.items():
                usd = self._rng.choice([0.0, 50.0, 3000.0])
                model.excess_lots[symbol] = int(usd / (self.market.mid(symbol) * float(inst.canonical_lot)))

    # ---- lives ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        while not self._over:
            self.result.lives += 1
            if self.result.lives > LIVES_MAX:
                raise Broken(f"more than {LIVES_MAX} lives: the executor does not stay up")
            self._live()
            if not self._over:
                self._be_away()

    def _be_away(self) -> None:
        """Until the next start; sometimes the clock comes back earlier than it went."""
        if self._rng.random() < 0.15 and not self.director.calm:
            self.world.clock.step_wire_ns(-int(self._rng.uniform(0.5, 4.0) * NS_PER_S))
            self.faults.note(Fault.CLOCK_STEP)
            self.world.after(self._rng.uniform(1.0, 10.0), self.world.set_clock_right)
        self.world.run_for(self._rng.uniform(0.1, 2.0))

    def _live(self) -> None:
        disk = Disk(self.world)
        disk.on_record = self.checks.on_record
        life = Life(self.world, self._loaded, disk, self._gateway, self._segment_bytes)
        program = self.director.program_next
        self.director.program_next = False
        life.on_flattened = self._judge
        self.director.attach(life, disk)
        self._attach(life)
        power_lost = False
        self.world.note("start", "flatten" if program else "executor", self.result.lives)
        try:
            life.run(Options(config="", flatten=program), self.books)
            self.world.note("ended")
        except (JournalError, BusyError) as error:  # the disk is full or failing: it leaves, and starts again
            if not self.faults.occurred[Fault.WRITE_FAILED] and not self.faults.occurred[Fault.DISK_FULL]:
                raise Broken(f"the journal failed without a fault: {error}") from error
            self.world.note("left", type(error).__name__)
        except Crash:
            self.world.note("crash")
            power_lost = self._lose_power(disk)
        finally:
            self._attach(None)
            life.bury()
        if not power_lost:
            self._compare_with_journal(life)
        self._note_life(life)

    def _lose_power(self, disk: Disk) -> bool:
        if not self.director.lose_power:
            return False
        self.director.lose_power = False
        lost = disk.lose_power(self.director.torn_bytes)
        self.checks.lost_records = self.checks.lost_records or lost > 0
        self.world.note("power", lost)
        return True

    def _attach(self, life: Life | None) -> None:
        self._life = life
        self.checks.life = life
        self.clients.attach(life)
        if life is None:
            self.director.life = None

    def _gateway(self, venue: Venue, source: Callable[[str, int], NonceSource]) -> SimGateway:
        settings = self._loaded.config.venues[venue]
        return SimGateway(self.world, self.models[venue], self.market, self.faults, settings, source, self.checks)

    def _compare_with_journal(self, life: Life) -> None:
        """What the next life will believe is what this one believed at its last record."""
        state = life.state
        if state is None:
            return
        replayed = rebuild(DeadJournal(self._directory / "state" / "journal"))
        if replayed.sequence == state.sequence + 1:
            return  # died between the file and the state
        if encode_state(replayed) != encode_state(state):
            raise Broken(f"the journal rebuilds another state: {difference(state, replayed)}")

    def _note_life(self, life: Life) -> None:
        result = self.result
        for name, count in life.meter.repairs.items():
            result.repairs[name] = result.repairs.get(name, 0) + count
        result.resolved = result.resolved + life.meter.resolved

    # ---- the end ----------------------------------------------------------------------------------------------------

    def _calm(self) -> None:
        """Faults cease."""
        self.world.note("calm")
        self.director.end()
        self.clients.opens = False
        self._calm_since_s = self.world.now_s
        self._await(self._unsettled, CALM_S, self._begin_ending)
        self.clients.cancel_all()

    def _await(self, goal: Callable[[], str], bound_s: float, then: Callable[[], None]) -> None:
        self._deadline_s = self.world.now_s + bound_s
        self._goal = goal
        self.world.after(LOOK_S, self._look, then)

    def _look(self, then: Callable[[], None]) -> None:
        missing = self._goal()
        if not missing:
            then()
        elif self.world.now_s > self._deadline_s:
            self.world.note("broken", missing)
            raise Broken(missing)
        else:
            self.world.after(LOOK_S, self._look, then)

    def _unsettled(self) -> str:
        """What has not converged yet; "" = everything has."""
        life = self._life
        if life is None or not life.is_ready:
            return "the executor is not ready"
        state = life.state
        for order in state.open_orders():
            rests = order.status is OrderStatus.ACCEPTED and order.prepared.time_in_force is not TimeInForce.IOC
            if rests and int(self.world.now_s) % 5 == 0:
                self.clients.cancel_all()
            return f"order {order.client_order_id} is {order.status.value}"
        for venue, model in self.models.items():
            for symbol in model.instruments:
                lots = model.counted(symbol)
                lost = self.checks.lost_records and model.semantics.traits.wallet
                if state.lots((venue, symbol)) != lots and not lost:
                    return f"{venue} holds {lots} of {symbol}, believed {state.lots((venue, symbol))}"
        for pair in state.live_pairs():
            if pair.status is not PairStatus.OPEN or pair.off_qty:
                return f"pair {pair.pair_id} is {pair.status.value}, off by {pair.off_qty} of {pair.symbol}"
        for (venue, symbol), why in state.frozen.items():
            if (venue, symbol) not in self.checks.adopted_foreign:
                return f"{venue}:{symbol} is frozen: {why}"
        return self._naked(state) or self.checks.books_differ()

    def _naked(self, state: State) -> str:
        for symbol in self.market.symbols:
            foreign = any(p.foreign for key, p in state.positions.items() if key[1] == symbol)
            usd, room = self.checks.exposure_usd(symbol), self.checks.tolerance_usd(symbol)
            if usd > room and not foreign:
                return f"{usd:.2f} USD of {symbol} naked, {room:.2f} explained"
            if usd > room and not self.foreign_is_explained:
                return f"{usd:.2f} USD of {symbol} naked beside a position that nobody but us can have made"
        return ""

    @property
    def foreign_is_explained(self) -> bool:
        """Whether this schedule did anything by which lots of ours may come to look foreign."""
        occurred = self.faults.occurred
        causes = (Fault.MANUAL_TRADE, Fault.DELEVERAGED, Fault.LIQUIDATED)
        return self.checks.lost_records or any(occurred[each] for each in causes)

    def _begin_ending(self) -> None:
        self.result.converged_s = self.world.now_s - self._calm_since_s
        self.world.note("ending", self._ending)
        self.result.ending = self._ending
        match self._ending:
            case "flatten":
                self.clients.flatten(include_foreign=True)
                self._await(self._not_flattened, FLATTEN_S, self._finish)
            case "program":
                self.director.program_next = True
                self.world.after(0.0, self._kill)
            case "halted":
                self.clients.set_state(TradingState.HALTED)
                self.world.after(0.5, self._close_round)
                self._await(self._not_closed, CLOSE_S, self._finish)
            case _:
                self.clients.set_state(TradingState.ACTIVE)
                self.world.after(0.5, self._close_round)
                self._await(self._not_closed, CLOSE_S, self._finish)

    def _close_round(self) -> None:
        self.clients.close_all()
        self.world.after(5.0, self._close_round)

    def _kill(self) -> None:
        self._await(self._not_flattened, FLATTEN_S, self._finish)
        if self._life is not None:
            raise Crash

    def _not_closed(self) -> str:
        unsettled = self._unsettled()
        if unsettled or self._life is None:
            return unsettled
        for pair in self._life.state.live_pairs():
            return f"pair {pair.pair_id} is {pair.status.value}, asked to close"
        return ""

    def _not_flattened(self) -> str:
        return "" if self._flattened_in_calm else "no flatten report"

    def _judge(self, report: FlattenReport) -> None:
        """At the moment it is given: flat is flat; otherwise it names exactly what the venues hold and who did not answer."""
        self.world.note("flattened", report.flat, *report.residual, *report.unreachable)
        held = {}
        for venue, model in self.models.items():
            for symbol in model.instruments:
                lots = model.counted(symbol)
                if lots and venue not in report.unreachable:
                    held[(venue, symbol)] = model.instruments[symbol].lots_to_qty(lots)
        said = {(each.venue, each.symbol): each.qty for each in report.residual if each.venue not in report.unreachable}
        just_now = any(
            fill.client_order_id is None and self.world.now_ns - at_ns < 2 * NS_PER_S
            for model in self.models.values()
            for at_ns, fill in model.fills[-3:]
        )
        if just_now and not self.director.calm:
            return  # a stranger traded while the last reading was on its way
        if report.flat and (held or report.unreachable):
            raise Broken(f"flatten says flat, the venues hold {held}")
        if not self.director.calm:
            return
        if report.unreachable and not self.result.ending:
            return  # it began before the faults ceased
        self._flattened_in_calm = True
        if report.unreachable:
            raise Broken(f"flatten calls {report.unreachable} unreachable in calm weather")
        if said != held:
            raise Broken(f"flatten says {said}, the venues hold {held}")

    def _finish(self) -> None:
        self.world.note("end")
        self._over = True
        if self._life is not None:
            self._life.loop.stop()

    def conclude(self) -> None:
        """Figures of the whole schedule."""
        result = self.result
        result.venues = tuple(sorted(self.models))
        result.events = self.world.events
        result.orders = len(self.checks.journaled)
        result.fills = sum(len(model.fills) for model in self.models.values())
        result.pairs = self.clients.opened
        result.faults = {fault.value: count for fault, count in Counter(self.faults.occurred).items()}
        result.episodes = self.checks.episodes
        result.repair_cost_bps = self.checks.repair_cost_bps
