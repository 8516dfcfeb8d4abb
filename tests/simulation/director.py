"""Who decides which faults strike a schedule, and when: everything is drawn from the seed before the first event.

Most schedules meet a handful of kinds; one in eight meets none at all (what fails there is not a matter of faults), one in
eight meets many. Rates of message faults are drawn between rare and often.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

from core.types import Down, Side, TradingState, Venue
from executor.records import AnyRecord
from executor.venues.base import OrderRequest
from tests.simulation.clients import Clients
from tests.simulation.disk import Disk
from tests.simulation.faults import Fault, Faults
from tests.simulation.gateway import SimGateway
from tests.simulation.life import Life
from tests.simulation.market import Market, SimBook, stale
from tests.simulation.venue import VenueModel
from tests.simulation.world import Crash, World

MESSAGES = (
    Fault.REQUEST_LOST, Fault.REQUEST_LATE, Fault.REQUEST_DUPLICATED, Fault.REQUEST_UNSENT, Fault.ANSWER_LOST,
    Fault.ANSWER_LATE, Fault.ANSWER_GARBLED, Fault.ANSWER_DUPLICATED, Fault.ANSWER_FALSE, Fault.EVENT_LOST,
    Fault.EVENT_LATE, Fault.EVENT_DUPLICATED, Fault.FILL_BEFORE_ACK, Fault.PARTIAL_FILL, Fault.ZERO_FILL, Fault.REFUSED,
    Fault.REFUSED_LATE, Fault.CANCEL_RACES_FILL, Fault.SLOW_MATCH, Fault.READ_FAILED,
)  # fmt: skip
WINDOWS = {
    Fault.STREAM_GAP: (0.5, 8.0),
    Fault.STREAM_SILENT: (2.0, 20.0),
    Fault.REST_BEHIND: (0.5, 6.0),
    Fault.FILLS_BEHIND: (3.0, 20.0),
    Fault.RATE_LIMITED: (1.0, 10.0),
    Fault.AUTH_EXPIRED: (1.0, 8.0),
    Fault.DARK: (0.5, 12.0),
    Fault.HALT: (1.0, 10.0),
    Fault.POST_ONLY: (1.0, 8.0),
    Fault.REDUCE_ONLY: (1.0, 8.0),
    Fault.LEVERAGE_REFUSED: (2.0, 20.0),
    Fault.NO_CONNECTION: (0.3, 6.0),
}
PROCESS = (
    Fault.CRASH_BEFORE_RECORD, Fault.CRASH_AFTER_RECORD, Fault.CRASH_BEFORE_SEND, Fault.CRASH_AFTER_SEND, Fault.KILL,
    Fault.POWER_LOSS, Fault.TORN_RECORD, Fault.CLEAN_STOP, Fault.HANG, Fault.DISK_FULL, Fault.WRITE_FAILED,
)  # fmt: skip
OTHERS = (
    Fault.LEVERAGE_CHANGED, Fault.DELEVERAGED, Fault.LIQUIDATED, Fault.MANUAL_TRADE, Fault.FOREIGN_ORDER,
    Fault.NEAR_LIQUIDATION, Fault.PRICE_GAP, Fault.FEED_STALE, Fault.FEED_DOWN, Fault.BOOK_CROSSED, Fault.CLOCK_STEP,
    Fault.OPERATOR_HALT, Fault.OPERATOR_REDUCING, Fault.OPERATOR_FLATTEN, Fault.FLATTEN_PROGRAM, Fault.STRATEGY_LEFT,
    Fault.CANCEL_RACES_FILL,
)  # fmt: skip
RATES = (0.03, 0.1, 0.3)


class Director:
    """One schedule's plan. `life` and `disk` are those of the living executor."""

    def __init__(
        self,
        world: World,
        models: dict[Venue, VenueModel],
        books: dict[Venue, SimBook],
        market: Market,
        faults: Faults,
        clients: Clients,
        rng: random.Random,
        length_s: float,
    ) -> None:
        self.life: Life | None = None
        self.lose_power = False
        self.torn_bytes = 0
        self.program_next = False  # the next start is `--flatten-and-exit`
        self.calm = False
        self._world = world
        self._models = models
        self._books = books
        self._market = market
        self._faults = faults
        self._clients = clients
        self._rng = rng
        self._crash_at: tuple[Fault, int] | None = None
        self._plan(length_s)

    # ---- planning ---------------------------------------------------------------------------------------------------

    def _plan(self, length_s: float) -> None:
        rng, venues = self._rng, sorted(self._models)
        amount = rng.choice([0, 1, 1, 2, 2, 3, 4, 8])
        for _ in range(amount):
            for fault in rng.sample(MESSAGES, rng.randint(0, 2)):
                for venue in rng.sample(venues, rng.randint(1, len(venues))):
                    self._faults.set_rate(venue, fault, rng.choice(RATES))
            for _ in range(rng.randint(0, 1)):
                fault = rng.choice(sorted(WINDOWS, key=lambda each: each.value))
                self._at(
                    rng.uniform(0, length_s), self._window, rng.choice(venues), fault, rng.uniform(*WINDOWS[fault])
                )
            if rng.random() < 0.5:
                self._at(rng.uniform(2.0, length_s), self._fate, rng.choice(OTHERS))
            if rng.random() < 0.35:
                self._at(rng.uniform(2.0, length_s), self._process, rng.choice(PROCESS))

    def _at(self, seconds: float, action: Callable[..., None], *arguments: object) -> None:
        self._world.after(seconds, self._unless_calm, action, *arguments)

    def _unless_calm(self, action: Callable[..., None], *arguments: object) -> None:
        if not self.calm:
            action(*arguments)

    def end(self) -> None:
        """Faults cease."""
        self.calm = True
        self._crash_at = None
        self._faults.calm = True
        for book in self._books.values():
            book.heal()
        for model in self._models.values():
            model.near_liquidation_until_ns = 0
        if self.life is not None:
            self.life.disk.write_error = 0
        self._world.disk_is_full = False
        self._world.hung_until_ns = 0
        self._world.set_clock_right()

    # ---- venues, prices, people -------------------------------------------------------------------------------------

    def _window(self, venue: Venue, fault: Fault, seconds: float) -> None:
        self._faults.begin(venue, fault, seconds)
        gateway = self._gateway(venue)
        if gateway is not None:
            self._world.after(0.3, gateway.watch_stream)

    def _gateway(self, venue: Venue) -> SimGateway | None:
        return self.life.gateways.get(venue) if self.life is not None else None

    def _fate(self, fault: Fault) -> None:
        rng, faults = self._rng, self._faults
        venue = rng.choice(sorted(self._models))
        model, book = self._models[venue], self._books[venue]
        held = [symbol for symbol in model.instruments if model.held(symbol)]
        match fault:
            case Fault.LEVERAGE_CHANGED:
                model.leverages[rng.choice(sorted(model.leverages))] = rng.choice([1, 5, 20])
            case Fault.DELEVERAGED | Fault.LIQUIDATED | Fault.MANUAL_TRADE:
                if not self._foreign_trade(model, held, fault):
                    self._at(1.0, self._fate, fault)
                    return
            case Fault.FOREIGN_ORDER:
                model.foreign_order(rng.choice(sorted(model.instruments)))
            case Fault.NEAR_LIQUIDATION:
                model.near_liquidation_until_ns = self._world.now_ns + int(rng.uniform(3, 12) * 1e9)
            case Fault.PRICE_GAP:
                self._market.gap(rng.choice(self._market.symbols), 1 + rng.choice([-1, 1]) * rng.uniform(0.002, 0.04))
            case Fault.FEED_STALE:
                book.fail(stale(2.0), rng.uniform(1.0, 10.0))
            case Fault.FEED_DOWN:
                book.fail(Down("feed is away"), rng.uniform(1.0, 10.0))
            case Fault.BOOK_CROSSED:
                book.cross(rng.uniform(1.0, 5.0))
            case Fault.CLOCK_STEP:
                self._world.clock.step_wire_ns(int(rng.choice([-1, 1]) * rng.uniform(0.05, 4.0) * 1e9))
                self._at(rng.uniform(1.0, 15.0), self._world.set_clock_right)
            case Fault.OPERATOR_HALT:
                self._clients.set_state(TradingState.HALTED)
                self._at(rng.uniform(2.0, 10.0), self._clients.set_state, TradingState.ACTIVE)
            case Fault.OPERATOR_REDUCING:
                self._clients.set_state(TradingState.REDUCING)
                self._at(rng.uniform(2.0, 10.0), self._clients.set_state, TradingState.ACTIVE)
            case Fault.OPERATOR_FLATTEN:
                self._clients.flatten(include_foreign=rng.random() < 0.5)
                self._at(rng.uniform(10.0, 20.0), self._clients.set_state, TradingState.ACTIVE)
            case Fault.FLATTEN_PROGRAM:
                self.program_next = True
                self._kill()
            case Fault.STRATEGY_LEFT:
                self._clients.leave()
            case Fault.CANCEL_RACES_FILL:
                faults.set_rate(venue, Fault.CANCEL_RACES_FILL, 0.6)
                for wait_s in (0.0, 4.0, 8.0):
                    self._at(wait_s, self._clients.rest, venue, rng.choice(sorted(model.instruments)))
                return
        faults.note(fault, venue)

    def _foreign_trade(self, model: VenueModel, held: list[str], fault: Fault) -> bool:
        """Against what we hold, or, by hand, anything at all."""
        rng = self._rng
        wallet = model.semantics.traits.wallet
        if wallet and fault is not Fault.MANUAL_TRADE:
            return False
        if fault is Fault.MANUAL_TRADE and rng.random() < 0.5 and not wallet:
            symbol = rng.choice(sorted(model.instruments))
            lots = int(
                rng.uniform(30, 300) / (self._market.mid(symbol) * float(model.instruments[symbol].canonical_lot))
            )
            model.foreign_trade(symbol, rng.choice([Side.BUY, Side.SELL]), max(1, lots))
            return True
        if not held:
            return False
        symbol = rng.choice(held)
        lots = model.held(symbol)
        part = abs(lots) if fault is Fault.LIQUIDATED else rng.randint(1, abs(lots))
        model.foreign_trade(symbol, Side.SELL if lots > 0 else Side.BUY, part)
        return True

    # ---- the process ------------------------------------------------------------------------------------------------

    def attach(self, life: Life, disk: Disk) -> None:
        """A new executor is about to start."""
        self.life = life
        disk.before_record = lambda record: self._count(Fault.CRASH_BEFORE_RECORD, record)
        disk.after_record = self._after_record

    def before_send(self, request: OrderRequest) -> None:
        self._count(Fault.CRASH_BEFORE_SEND, request)

    def after_send(self, request: OrderRequest) -> None:
        self._count(Fault.CRASH_AFTER_SEND, request)

    def _after_record(self, record: AnyRecord) -> None:
        for fault in (Fault.CRASH_AFTER_RECORD, Fault.TORN_RECORD, Fault.POWER_LOSS):
            self._count(fault, record)

    def _count(self, fault: Fault, what: object) -> None:
        if self._crash_at is None or self._crash_at[0] is not fault:
            return
        left = self._crash_at[1] - 1
        self._crash_at = (fault, left)
        if left > 0:
            return
        self._crash_at = None
        if fault in (Fault.TORN_RECORD, Fault.POWER_LOSS):
            self.lose_power = True
            self.torn_bytes = self._rng.randint(1, 60) if fault is Fault.TORN_RECORD else 0
        self._faults.note(fault, type(what).__name__)
        raise Crash

    def _process(self, fault: Fault) -> None:
        life = self.life
        if life is None:
            self._at(1.0, self._process, fault)
            return
        match fault:
            case Fault.KILL:
                self._faults.note(fault)
                self._kill()
            case Fault.CLEAN_STOP:
                self._faults.note(fault)
                life.stop()
            case Fault.HANG:
                self._faults.note(fault)
                self._world.hung_until_ns = self._world.now_ns + int(self._rng.uniform(0.5, 8.0) * 1e9)
            case Fault.DISK_FULL:
                self._faults.note(fault)
                self._world.disk_is_full = True
                self._at(self._rng.uniform(2.0, 10.0), self._free_disk)
            case Fault.WRITE_FAILED:
                self._faults.note(fault)
                life.disk.write_error = self._rng.choice([errno.ENOSPC, errno.EIO])
            case _:
                self._crash_at = (fault, self._rng.choice([1, 1, 2, 3, 5, 8, 13, 21, 34]))

    def _free_disk(self) -> None:
        self._world.disk_is_full = False

    def _kill(self) -> None:
        """SIGKILL, now."""
        if self.life is not None:
            raise Crash
