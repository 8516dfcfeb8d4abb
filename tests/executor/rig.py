"""An executor without processes: real state, engine, pairs, admission and commands over fake venues, books and journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from core.clock import NS_PER_MS, SimClock
from core.config import Loaded, load
from core.ids import CommandId
from core.latch import HaltLatch
from core.log import Log
from core.messages import (
    AnyReport,
    ClosePair,
    DenyReason,
    ExitGuard,
    FlattenReport,
    Leg,
    OpenPair,
    OrderDenied,
    PairState,
)
from core.numeric import from_float
from core.types import (
    Busy,
    Down,
    Instrument,
    Liquidity,
    MarkPrice,
    OrderStatus,
    Quote,
    QuoteFlag,
    ReadResult,
    Side,
    Venue,
)
from executor.admission import Admission
from executor.commands import Commands
from executor.desk import Desk
from executor.engine import Engine
from executor.orders import Verdict
from executor.pairs import Pairs
from executor.pricing import ioc_limit_ticks
from executor.records import AnyRecord, EpochStarted, NonceBlock
from executor.state import Key, OrderState, PairBook, State
from executor.venues.base import TopOfBook
from tests.executor.fake_gateway import FakeGateway

ROOT = Path(__file__).resolve().parents[2]
LONG = Venue("hyperliquid")
SHORT = Venue("aster")
GUARD = ExitGuard(stop_basis_bps=100.0, stop_leg_pct=25.0, max_hold_s=600.0)


def instrument(venue: Venue, symbol: str = "BTC", **changes: object) -> Instrument:
    first = Instrument(
        venue=venue,
        symbol=symbol,
        venue_symbol=symbol,
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001") if venue == LONG else Decimal("0.002"),
        min_notional_usd=Decimal(10),
        max_leverage=20,
    )
    return msgspec.structs.replace(first, **changes)


def quote(bid: float, ask: float, **changes: object) -> Quote:
    first = Quote(bid, 10.0, ask, 10.0, 0, 0, 1, int(QuoteFlag.EXECUTABLE), 0)
    return first._replace(**changes)


class MemoryJournal:
    """Encodes as the file does, keeps the bytes; can be made to fail."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes]] = []
        self.trouble: str | None = None
        self.syncs = 0
        self._encoder = msgspec.msgpack.Encoder(decimal_format="string")

    def append(self, record: AnyRecord) -> int:
        self.entries.append((len(self.entries) + 1, self._encoder.encode(record)))
        return len(self.entries)

    def sync(self) -> None:
        self.syncs += 1

    def records(self) -> list[AnyRecord]:
        decoder = msgspec.msgpack.Decoder(AnyRecord)
        return [decoder.decode(body) for _, body in self.entries]

    def replayed(self, upto: int | None = None) -> State:
        """A fresh state out of the first `upto` entries."""
        state = State()
        decoder = msgspec.msgpack.Decoder(AnyRecord)
        for sequence, body in self.entries[:upto]:
            state.apply(sequence, decoder.decode(body))
        return state


class FakeBook:
    def __init__(self) -> None:
        self.quotes: dict[str, ReadResult] = {}
        self.marks: dict[str, MarkPrice] = {}
        self.depths: dict[str, Liquidity] = {}
        self._names: list[str] = []

    def slot(self, symbol: str) -> int | None:
        if symbol not in self.quotes:
            return None
        if symbol not in self._names:
            self._names.append(symbol)
        return self._names.index(symbol)

    def quote(self, slot: int) -> ReadResult:
        return self.quotes[self._names[slot]]

    def mark(self, slot: int) -> MarkPrice | Down | Busy:
        return self.marks.get(self._names[slot], Down("no mark yet"))

    def liquidity(self, slot: int) -> Liquidity | Down | Busy:
        return self.depths.get(self._names[slot], Down("not measured yet"))


class CountingMeter:
    """Remembers every call as (name, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, arguments))

    def count(self, name: str) -> int:
        return sum(call[0] == name for call in self.calls)


class Client:
    """A session that remembers its reports."""

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self.reports: list[AnyReport] = []

    def send(self, report: AnyReport) -> bool:
        self.reports.append(report)
        return True

    def of(self, kind: type) -> list[AnyReport]:
        return [report for report in self.reports if isinstance(report, kind)]

    @property
    def denied(self) -> DenyReason | None:
        refusals = [report for report in self.reports if isinstance(report, OrderDenied)]
        return refusals[-1].reason if refusals else None


class Rig:
    """BTC on both venues, HL 100 000.0/100 001.0 and Aster 60 bps above it: an open pays its costs many times."""

    def __init__(self, tmp_path: Path, config: str = "sandbox.toml", **sections: dict[str, object]) -> None:
        self.clock = SimClock()
        self.loaded = _changed(load(ROOT / "config" / config), sections)
        self.lines: list[str] = []
        self.log = Log("executor", self.clock, "debug", self.lines.append)
        self.trace: list[str] = []
        self.journal = MemoryJournal()
        self.gateways = {
            venue: FakeGateway(venue, [instrument(venue), instrument(venue, "ETH")], self.clock, self.trace)
            for venue in (LONG, SHORT)
        }
        self.books = {venue: FakeBook() for venue in self.gateways}
        self.meter = CountingMeter()
        self.latch = HaltLatch(tmp_path)
        self.doubts: list[str] = []
        self.hints: list[tuple[Venue, str]] = []
        self.flatten_calls: list[tuple[Venue | None, str | None, bool]] = []
        self.boot(State())
        self.market(100_000.0, 60.0)
        self.sequence = 0
        self.client = Client("scalp")
        self.operator = Client("manual")
        self.engine.sessions = {self.client, self.operator}

    def boot(self, state: State) -> None:
        """Wire an executor around `state`, as main does, and make it ready."""
        self.state = state
        desks = {v: Desk(v, g, self.loaded.config.venues[v]) for v, g in self.gateways.items()}
        self.engine = Engine(
            self.loaded, self.clock, self.log, state, self.journal, self.latch, desks, self.books, self.meter
        )
        self.engine.on_doubt = lambda order: self.doubts.append(order.client_order_id)
        self.engine.on_hint = lambda venue, why: self.hints.append((venue, why))
        self.pairs = Pairs(self.engine)
        self.admission = Admission(self.engine)
        self.commands = Commands(self.engine, self.pairs, self.admission, self._flatten)
        self.engine.record(EpochStarted(wire_ns=self.clock.wire_ns(), epoch=state.epoch + 1, config_fingerprint="test"))
        for venue, gateway in self.gateways.items():
            desk = desks[venue]
            gateway.attach(self.engine.on_event)
            gateway.on_reserve = self._reserve
            desk.started = desk.reconciled = desk.stream_up = True
            desk.leverage = {"BTC": 3, "ETH": 3}
        self.read_accounts()
        self.engine.recover()
        self.engine.ready = True

    def _reserve(self, signer_id: str, high: int) -> None:
        self.engine.record(NonceBlock(wire_ns=self.clock.wire_ns(), signer_id=signer_id, high=high))
        self.journal.sync()

    async def _flatten(
        self, engine: Engine, venue: Venue | None, symbol: str | None, include_foreign: bool
    ) -> FlattenReport:
        self.flatten_calls.append((venue, symbol, include_foreign))
        return FlattenReport(command_id=None, flat=True, residual=(), unreachable=())

    # ---- the world --------------------------------------------------------------------------------------------------

    def market(self, mid: float, gap_bps: float, symbol: str = "BTC") -> None:
        """Aster quotes `gap_bps` above Hyperliquid; each spread is 1.0."""
        upper = mid * (1 + gap_bps * 1e-4)
        self.books[LONG].quotes[symbol] = quote(mid - 0.5, mid + 0.5)
        self.books[SHORT].quotes[symbol] = quote(round(upper, 1) - 0.5, round(upper, 1) + 0.5)
        for venue, gateway in self.gateways.items():
            top = self.books[venue].quotes[symbol]
            assert isinstance(top, Quote)
            bid, ask = from_float(top.bid_px), from_float(top.ask_px)
            gateway.tops[symbol] = TopOfBook(bid, ask, (bid + ask) / 2)

    def read_accounts(self) -> None:
        for venue, desk in self.engine.desks.items():
            desk.note_balance(self.gateways[venue].balance_now(), self.clock.mono_ns())

    def pass_ms(self, ms: float) -> None:
        self.clock.advance_ns(int(ms * NS_PER_MS))

    def resolve(self) -> None:
        """What reconciliation would do: ask the venue for the truth of every UNKNOWN order."""
        for order in self.state.unknown_orders():
            placed = self.gateways[order.prepared.venue].placed.get(order.client_order_id)
            if placed is None or placed.status is OrderStatus.NOT_SENT or placed.status is OrderStatus.REJECTED:
                self.engine.settle(order.client_order_id, Verdict(OrderStatus.EXPIRED), "lookup")
            else:
                stated = self.gateways[order.prepared.venue].stated(placed)
                verdict = Verdict(stated.status, stated.venue_order_id, stated.filled_lots, stated.avg_px)
                self.engine.settle(order.client_order_id, verdict, "lookup")

    # ---- commands ---------------------------------------------------------------------------------------------------

    def next_id(self, name: str = "scalp") -> CommandId:
        self.sequence += 1
        return CommandId(name, 7, self.sequence)

    def open_command(self, qty: str = "0.01", symbol: str = "BTC", name: str = "scalp", **changes: object) -> OpenPair:
        now = self.clock.mono_ns()
        command = OpenPair(
            command_id=self.next_id(name),
            valid_until_mono_ns=now + 250 * NS_PER_MS,
            symbol=symbol,
            long=self.leg(LONG, Side.BUY, symbol),
            short=self.leg(SHORT, Side.SELL, symbol),
            qty=Decimal(qty),
            decided_mono_ns=now,
            edge_bps=60.0,
            offset_bps=0.0,
            exit_guard=GUARD,
        )
        return msgspec.structs.replace(command, **changes)

    def leg(self, venue: Venue, side: Side, symbol: str = "BTC", reach_bps: float = 0.0) -> Leg:
        """A leg as a strategy decides it: touch plus the usual cross, on the grid."""
        contract = self.gateways[venue].instruments()[symbol]
        at = self.books[venue].quotes[symbol]
        touch = (at.ask_px if side is Side.BUY else at.bid_px) if isinstance(at, Quote) else 100_000.0
        ticks = ioc_limit_ticks(contract, side, touch, self.loaded.config.execution, 0.0, reach_bps)
        return Leg(venue=venue, limit_px=contract.ticks_to_px(ticks), quote_sequence=1, quote_age_ns=0)

    async def open(self, qty: str = "0.01", **changes: object) -> PairBook:
        """Open a pair and let everything that follows at once happen."""
        command = self.open_command(qty, **changes)
        self.commands.take(command, self.client)
        await settle()
        pairs = [pair for pair in self.state.pairs.values() if pair.plan.command_id == command.command_id]
        assert pairs, self.client.reports[-1]
        return pairs[0]

    async def close(self, pair: PairBook, name: str = "scalp") -> None:
        command = ClosePair(
            command_id=self.next_id(name), valid_until_mono_ns=0, pair_id=pair.pair_id, reason="take_profit"
        )
        self.commands.take(command, self.client if name == "scalp" else self.operator)
        await settle()

    async def turn(self, ms: float = 120.0) -> None:
        """Time passes, pairs tick, callbacks run."""
        self.pass_ms(ms)
        self.pairs.tick()
        await settle()

    async def until_final(self, pair: PairBook, turns: int = 200) -> None:
        for _ in range(turns):
            if pair.is_final:
                return
            await self.turn(400.0)

    # ---- checks -----------------------------------------------------------------------------------------------------

    def truth(self, key: Key) -> int:
        return self.gateways[key[0]].position_lots.get(key[1], 0)

    def check(self) -> None:
        """What must hold at all times once everything is told: positions, ids, nonces, replay."""
        for venue, gateway in self.gateways.items():
            for symbol in gateway.instruments():
                assert self.state.lots((venue, symbol)) == self.truth((venue, symbol)), (venue, symbol)
            assert len(gateway.wire) == len(set(gateway.wire)), "a client order id went out twice"
        assert self.journal.replayed() == self.state

    def pair_states(self) -> list[str]:
        return [report.status.value for report in self.client.of(PairState) if isinstance(report, PairState)]

    def orders(self, pair: PairBook) -> list[OrderState]:
        return list(self.state.pair_orders(pair))


def _changed(loaded: Loaded, sections: dict[str, dict[str, object]]) -> Loaded:
    config = loaded.config
    for name, values in sections.items():
        section = msgspec.structs.replace(getattr(config, name), **values)
        config = msgspec.structs.replace(config, **{name: section})
    return msgspec.structs.replace(loaded, config=config)


async def settle(turns: int = 12) -> None:
    """Let every callback that is due run."""
    for _ in range(turns):
        await asyncio.sleep(0)
