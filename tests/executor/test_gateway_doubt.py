"""Every way out of doubt against the real sandbox, with the real engine, resolver and gateways: what settles a lost order, and
after how long (`pytest -s` prints the table). Bounds are short here (TTL_MS, GRACE_S), so that the last lines do not take the
five seconds more that they take in production; docs/executor.md has those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.errors import VenueError
from core.latch import HaltLatch
from core.roster import SPEC
from core.settings import Config
from core.types import OrderStatus, Side, TimeInForce, Venue
from executor.desk import Desk
from executor.engine import Engine
from executor.orders import Draft
from executor.reconcile import FIRST_MARGIN_NS, Reconciler
from executor.records import EpochStarted
from executor.state import OrderState, State
from tests.executor.rig import CountingMeter, MemoryJournal
from tests.executor.sandbox_process import SandboxProcess, Station, eventually

FIGURES: list[tuple[str, str, str, float]] = []
TTL_MS = 500  # of orders at Hyperliquid, instead of 3 s
GRACE_S = 0.2  # unknown_grace_s, instead of 2 s
VENUES = ("hyperliquid", "aster", "lighter")
BUDGETS: dict[str, dict[str, Any]] = {"lighter": {"requests_per_min": 4000, "verify_retries": 0}}
"""Lighter's gateway would look by itself; here the resolver is on trial."""


class Trader:
    """One venue's real gateway under a real engine and its reconciliation; `resolved` is what the resolver said."""

    def __init__(self, venue: str, box: SandboxProcess, directory: Path, epoch: int) -> None:
        self.box = box
        self.venue = Venue(venue)
        self.station = Station(venue, box, **BUDGETS.get(venue, {}))
        self.gateway: Any = self.station.gateway
        self.state = State()
        self.desk = Desk(self.venue, self.gateway, self.station.equipment.settings)
        self.engine = Engine(
            msgspec.structs.replace(box.loaded, config=short_grace(box.loaded.config)),
            self.station.clock,
            self.station.out.log,
            self.state,
            MemoryJournal(),
            HaltLatch(directory),
            {self.venue: self.desk},
            {},
            CountingMeter(),
        )
        self.engine.record(EpochStarted(wire_ns=self.station.clock.wire_ns(), epoch=epoch, config_fingerprint="test"))
        self.resolved: list[tuple[str, float]] = []
        self.reconciler = Reconciler(self.engine, lambda _, source, seconds: self.resolved.append((source, seconds)))
        self.engine.on_doubt = lambda order: self.reconciler.wake(order.prepared.venue)
        self.engine.on_hint = lambda where, why: self.reconciler.wake(where)
        self.engine.on_pair = lambda pair, why: None

    async def fault(self, kind: str, **values: Any) -> None:
        await asyncio.to_thread(self.box.control, "fault", {"venue": self.venue, "kind": kind, **values})

    async def send(self, symbol: str = "ETH", side: Side = Side.BUY, usd: float = 100.0) -> OrderState:
        instrument = self.gateway.instruments()[symbol]
        top = await self.gateway.top_of_book(instrument)
        touch = top.ask_px if side is Side.BUY else top.bid_px
        draft = Draft(
            instrument=instrument,
            side=side,
            lots=int(Decimal(usd) / (touch * instrument.lot_size)),
            limit_ticks=instrument.px_to_ticks(touch * (1 + Decimal(side.sign) / 50), side),
            time_in_force=TimeInForce.IOC,
            reduce_only=False,
            purpose="manual",
            strategy="manual",
        )
        (order,) = self.engine.send([draft])
        return order

    async def settled(self, order: OrderState, path: str, timeout_s: float = 30.0) -> str:
        """Wait until the order is final and told as resolved; returns the source."""
        try:
            await eventually(lambda: order.status.is_final and self.resolved, timeout_s)
        except TimeoutError:
            raise AssertionError(f"{path}: still {order}; {self.station.out.lines[-5:]}") from None
        source, seconds = self.resolved[-1]
        FIGURES.append((str(self.venue), path, source, seconds))
        assert self.state.frozen == {}
        return source

    async def truth_is(self, order: OrderState) -> None:
        """Our books and the venue's agree about what it filled."""
        await eventually(lambda: self.state.lots(order.key) == self.at_venue(order))

    def at_venue(self, order: OrderState) -> int:
        account = self.box.account(str(self.venue), self.gateway.account_id)
        instrument = self.gateway.instruments()[order.prepared.symbol]
        held = account["positions"].get(instrument.venue_symbol, {"qty": "0"})
        return int(Decimal(held["qty"]) / instrument.lot_size)


def short_grace(config: Config) -> Config:
    execution = msgspec.structs.replace(config.execution, unknown_grace_s=GRACE_S)
    return msgspec.structs.replace(config, execution=execution)


@pytest.fixture
def short_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders at Hyperliquid expire soon."""
    venue = Venue("hyperliquid")
    monkeypatch.setitem(SPEC, venue, msgspec.structs.replace(SPEC[venue], order_ttl_ms=TTL_MS))


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    print(f"\n{table(FIGURES)}")


def table(rows: list[tuple[str, str, str, float]]) -> str:
    """One line per way out: who said so, and how long the order was in doubt."""
    head = f"{'venue':<13} {'lost':<44} {'settled by':<10} {'in doubt s':>10}"
    return "\n".join([head, *(f"{venue:<13} {path:<44} {by:<10} {s:>10.2f}" for venue, path, by, s in rows)])


@pytest.fixture
def trader(box: SandboxProcess, tmp_path: Path) -> Callable[[str], Any]:
    epoch = 100 + len(FIGURES)

    @asynccontextmanager
    async def begin(venue: str) -> AsyncIterator[Trader]:
        async with Station(venue, box, **BUDGETS.get(venue, {})) as former:
            if await former.gateway.positions():
                await former.flat()
                await asyncio.sleep(2 * FIRST_MARGIN_NS / NS_PER_S)  # what was before our first order is not ours
        made = Trader(venue, box, tmp_path, epoch)
        await made.gateway.start(made.engine.on_event)
        made.desk.started = True
        assert await made.reconciler.recover(made.venue)
        stop = asyncio.Event()
        running = asyncio.create_task(made.reconciler.run(stop))
        try:
            yield made
        finally:
            await asyncio.to_thread(box.control, "clear", {})
            stop.set()
            made.reconciler.wake(made.venue)
            await running
            await made.gateway.close()

    return begin


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_whose_answer_is_lost_is_found_by_its_client_id(
    trader: Callable[[str], Any], venue: str
) -> None:
    async with trader(venue) as desk:
        await desk.fault("stall", traffic=["private"])
        await desk.fault("lost_answer", traffic=["orders"], way="silent", times=1)
        order = await desk.send()
        assert await desk.settled(order, "answer and stream, filled") == "lookup"
        assert order.status is OrderStatus.FILLED
        await desk.truth_is(order)


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_that_never_arrived_is_ruled_out_by_its_nonce(trader: Callable[[str], Any], venue: str) -> None:
    async with trader(venue) as desk:
        await desk.fault("disconnect", traffic=["orders"], times=1)
        order = await desk.send()
        source = await desk.settled(order, "request, never arrived")
        assert source in ("burn", "lookup")
        assert source == "burn" or venue == "lighter", "there the no-op moves the next nonce past the order's own"
        assert order.filled_lots == 0
        await desk.truth_is(order)


async def test_the_next_nonce_alone_rules_an_order_out(trader: Callable[[str], Any]) -> None:
    """Lighter: a later transaction of ours has moved the venue's count past the lost one's; nothing need be burned."""
    async with trader("lighter") as desk:
        desk.gateway.burn_nonce = lambda nonce: None
        await desk.fault("disconnect", traffic=["orders"], times=1)
        lost = await desk.send("ETH")
        await eventually(lambda: lost.status is OrderStatus.UNKNOWN and desk.gateway.entry_ready)
        later = await desk.send("SOL")
        assert await desk.settled(lost, "request; a later one got in") == "lookup"
        assert lost.filled_lots == 0
        await eventually(lambda: later.status.is_final)


@pytest.mark.usefixtures("short_lived")
async def test_past_its_expiry_an_unknown_order_never_was(trader: Callable[[str], Any]) -> None:
    """Hyperliquid, with no-ops out of reach: its own expiry bounds how late the action can still get in."""
    async with trader("hyperliquid") as desk:
        desk.gateway.burn_nonce = lambda nonce: None
        await desk.fault("disconnect", traffic=["orders"], times=1)
        order = await desk.send()
        assert await desk.settled(order, "request; no no-op, past its expiry") == "lookup"
        assert order.moved_wire_ns > order.prepared.expires_wire_ns
        await desk.truth_is(order)


@pytest.mark.usefixtures("short_lived")
@pytest.mark.parametrize("filled", [True, False])
async def test_the_position_has_the_last_word(trader: Callable[[str], Any], filled: bool) -> None:
    """Neither look-ups nor fills nor no-ops help: past the bound, the difference of positions decides."""
    async with trader("hyperliquid") as desk:

        async def fails(*_: object) -> Any:
            raise VenueError("out of order")

        async def nothing(_: int) -> list[Any]:
            return []

        desk.gateway.burn_nonce = lambda nonce: None
        desk.gateway.lookup, desk.gateway.fills_since = fails, nothing
        await desk.fault("stall", traffic=["private"])
        lost = {"kind": "lost_answer", "way": "silent"} if filled else {"kind": "disconnect"}
        await desk.fault(**lost, traffic=["orders"], times=1)
        order = await desk.send()
        path = f"all but the position, {'filled' if filled else 'not filled'}"
        assert await desk.settled(order, path) == ("position" if filled else "bound")
        assert (order.filled_lots == order.prepared.lots) is filled
        await desk.truth_is(order)


async def test_a_reading_of_fills_settles_it_when_lookups_fail(trader: Callable[[str], Any]) -> None:
    async with trader("aster") as desk:

        async def fails(*_: object) -> Any:
            raise VenueError("out of order")

        desk.gateway.lookup = fails
        await desk.fault("stall", traffic=["private"])
        await desk.fault("lost_answer", traffic=["orders"], way="broken", times=1)
        order = await desk.send()
        assert await desk.settled(order, "answer and stream; look-ups fail") == "stream", "booked fills told"
        assert order.status is OrderStatus.FILLED
        assert order.fill_lots == order.prepared.lots
        assert order.moved_wire_ns - order.prepared.wire_ns < 10 * NS_PER_S
