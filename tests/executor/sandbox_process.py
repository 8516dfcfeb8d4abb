"""The real sandbox as a child process on free ports, and gateways against it, for the tests of the executor."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from core.clock import NS_PER_S, Clock, SystemClock
from core.config import load
from core.ids import client_order_id, tag16
from core.settings import VenueConfig
from core.types import Instrument, Side, TimeInForce, Venue
from executor.keyring import Keyring
from executor.nonces import NonceSource
from executor.venues.base import (
    CancelRequest,
    Equipment,
    FillSeen,
    FundingSeen,
    OrderGateway,
    OrderRequest,
    OrderSeen,
    PrivateEvent,
    StreamDown,
    StreamUp,
)
from tests.configuration import THREE, sandbox_port, whole_text
from tests.executor.local_servers import LogLines

ROOT = Path(__file__).parents[2]
START_S = 30.0
ORDER_DELAY_MS = 20.0


class SandboxProcess:
    """A running sandbox: its configuration, ports and control endpoint."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.config_file = directory / "config" / "sandbox.toml"
        self.loaded = load(self.config_file)
        self.process = process
        ports = json.loads((self.loaded.state_dir / "sandbox_ports.json").read_text())
        self.ports: dict[str, int] = ports

    def url(self, venue: str) -> str:
        return f"127.0.0.1:{self.ports[venue]}"

    def settings(self, venue: str) -> VenueConfig:
        """The venue's configuration with the port that the sandbox took, wherever an address stands in it."""

        def there(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: there(each) for key, each in value.items()}
            return value.replace(shipped, self.url(venue)) if isinstance(value, str) else value

        shipped = f"127.0.0.1:{sandbox_port(venue)}"
        return msgspec.convert(there(msgspec.to_builtins(self.loaded.config.venues[venue])), VenueConfig)

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET or POST of the control endpoint, blocking (call it by `asyncio.to_thread` from a test that serves)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['control']}/control/{path}", data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def account(self, venue: str, address: str) -> dict[str, Any]:
        accounts: dict[str, dict[str, Any]] = self.control("state")["venues"][venue]["accounts"]
        return accounts[address if address in accounts else address.lower()]


@contextmanager
def sandbox(
    directory: Path,
    tier: str = "premium",
    venues: tuple[str, ...] = THREE,
    order_delay_ms: float = ORDER_DELAY_MS,
    time_scale: float = 1.0,
) -> Iterator[SandboxProcess]:
    """Start in `directory` (config/ and var/ below it), wait until it is ready, end it afterwards. `tier` is Lighter's;
    `time_scale` that of the calendar."""
    text = whole_text(venues=venues)
    head, mark, tail = text.partition("[sandbox]")
    tail = re.sub(r"(?m)^(control_port|port)\s*=.*$", r"\1 = 0", tail)
    tail = re.sub(r"(?m)^order_delay_ms\s*=.*$", f"order_delay_ms = {order_delay_ms}", tail)
    tail = re.sub(r'(\[sandbox\.venues\.lighter\]\n[^\[]*?tier\s*=\s*)"\w+"', rf'\1"{tier}"', tail)
    config_file = directory / "config" / "sandbox.toml"
    config_file.parent.mkdir(parents=True)
    run = f'name = "t{os.getpid()}"\ntime_scale = {time_scale}'
    config_file.write_text(head.replace('name = "sandbox"', run) + mark + tail)
    output = (directory / "sandbox.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.sandbox.main", "--config", str(config_file)], cwd=ROOT, stdout=output, stderr=output
    )
    try:
        ports = directory / "var" / "sandbox" / "sandbox_ports.json"
        deadline = time.monotonic() + START_S
        while not ports.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the sandbox did not start:\n{(directory / 'sandbox.log').read_text()[-3000:]}")
            time.sleep(0.05)
        yield SandboxProcess(directory, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        output.close()


class Station:
    """One gateway with everything it needs, its events written down, and short words for orders."""

    def __init__(
        self,
        venue: str,
        box: SandboxProcess,
        *,
        clock: Clock | None = None,
        secrets: Path | None = None,
        **changes: Any,
    ) -> None:
        self.out = LogLines()
        self.events: list[PrivateEvent] = []
        self.blocks: list[int] = []
        self.clock = clock or SystemClock()
        self.equipment = Equipment(
            venue=Venue(venue),
            settings=msgspec.structs.replace(box.settings(venue), **changes),
            symbols=("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE"),
            keyring=Keyring.open(secrets or box.loaded.secrets_file, [Venue(venue)], self.out.log),
            clock=self.clock,
            log=self.out.log,
            rng=random.Random(3),
            nonces=self.nonce_source,
        )
        self.gateway: OrderGateway = importlib.import_module(f"executor.venues.{venue}").Gateway(self.equipment)
        self._account = tag16(self.gateway.account_id)
        self._serial = random.Random().getrandbits(23)

    def nonce_source(self, signer_id: str, unit_ns: int) -> NonceSource:
        """By the true clock, so that stations with a wrong one do not repeat the nonces of earlier stations."""
        return NonceSource(
            signer_id,
            unit_ns=unit_ns,
            clock=SystemClock(),
            high_water=0,
            reserve=lambda signer, high: self.blocks.append(high),
        )

    async def __aenter__(self) -> Station:
        await self.gateway.start(self.events.append)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.gateway.close()

    def instrument(self, symbol: str) -> Instrument:
        return self.gateway.instruments()[symbol]

    def listed(self) -> list[str]:
        """Canonical symbols of this run that can be traded."""
        return [
            symbol
            for symbol, instrument in sorted(self.gateway.instruments().items())
            if symbol in self.equipment.symbols and not instrument.delisted
        ]

    def client_order_id(self) -> str:
        self._serial += 1
        return client_order_id(self._account, 2, 1, self._serial, 0)

    async def request(
        self,
        symbol: str,
        side: Side,
        usd: float = 50.0,
        *,
        cross_bps: float = 100.0,
        tif: TimeInForce = TimeInForce.IOC,
        reduce_only: bool = False,
        lots: int = 0,
        ttl_ns: int = 3 * NS_PER_S,
    ) -> OrderRequest:
        """A limit `cross_bps` through the touch (negative = behind it)."""
        instrument = self.instrument(symbol)
        top = await self.gateway.top_of_book(instrument)
        touch = top.ask_px if side is Side.BUY else top.bid_px
        limit = touch * (1 + Decimal(side.sign) * Decimal(str(cross_bps)) / 10_000)
        return OrderRequest(
            client_order_id=self.client_order_id(),
            instrument=instrument,
            side=side,
            lots=lots or max(instrument.min_lots(limit), int(Decimal(usd) / (touch * instrument.lot_size))),
            limit_ticks=instrument.px_to_ticks(limit, side),
            time_in_force=tif,
            reduce_only=reduce_only,
            expires_wire_ns=self.clock.wire_ns() + ttl_ns,
        )

    async def send(self, request: OrderRequest) -> Any:
        return await self.gateway.submit(self.gateway.prepare(request, self.gateway.nonces.next()))

    async def place(self, symbol: str, side: Side, usd: float = 50.0, **options: Any) -> tuple[OrderRequest, Any]:
        request = await self.request(symbol, side, usd, **options)
        return request, await self.send(request)

    async def cancel(self, request: OrderRequest, venue_order_id: str = "") -> Any:
        cancel = CancelRequest(
            instrument=request.instrument,
            client_order_id=request.client_order_id,
            venue_order_id=venue_order_id,
        )
        return await self.gateway.submit(self.gateway.prepare_cancel(cancel, self.gateway.nonces.next()))

    async def flat(self) -> None:
        """Close every position, so that tests do not see each other's."""
        reduces = self.gateway.traits.reduce_only
        for position in await self.gateway.positions():
            side = Side.SELL if position.lots > 0 else Side.BUY
            for _ in range(10):
                await self.place(position.symbol, side, lots=abs(position.lots), reduce_only=reduces, cross_bps=100.0)
                if not [p for p in await self.gateway.positions() if p.symbol == position.symbol]:
                    break

    def fills(self, client_order_id: str | None) -> list[Any]:
        return [e.fill for e in self.events if isinstance(e, FillSeen) and e.fill.client_order_id == client_order_id]

    def orders(self, client_order_id: str) -> list[Any]:
        return [e.order for e in self.events if isinstance(e, OrderSeen) and e.order.client_order_id == client_order_id]

    @property
    def ups(self) -> list[StreamUp]:
        return [e for e in self.events if isinstance(e, StreamUp)]

    @property
    def downs(self) -> list[StreamDown]:
        return [e for e in self.events if isinstance(e, StreamDown)]

    @property
    def fundings(self) -> list[FundingSeen]:
        return [e for e in self.events if isinstance(e, FundingSeen)]


async def eventually(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Poll until `condition()` is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)
