"""`python -m ops.sandbox.main --config FILE`: the simulated venues of the sandbox environment, in one process.

One loop steps the market, at the configured rate, and the exchanges with it; ten times a second it settles funding,
liquidates and lets venues do their periodic work. Every venue serves its own loopback port, REST and WebSocket alike;
a control endpoint (see control.py) has another. Nothing here can reach a real venue: it binds 127.0.0.1 and connects
to nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Iterator
from decimal import Decimal

import msgspec
import uvloop
from aiohttp import web

from core import config as configuration
from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.config import Loaded
from core.errors import EXIT_CONFIG, BusyError, ConfigError
from core.lifecycle import run_async
from core.log import Log
from core.roster import SPEC
from core.settings import SandboxConfig
from core.types import Venue
from core.venue_spec import VenueKind
from ops.sandbox import keys
from ops.sandbox.appendlog import AppendLog, Record
from ops.sandbox.control import Control
from ops.sandbox.exchange import Exchange
from ops.sandbox.faults import Faults, VenueClock
from ops.sandbox.market import PEGGED, FundingCurve, Market, MarketTerms
from ops.sandbox.model import MarketState, Transaction
from ops.sandbox.player import Player
from ops.sandbox.sockets import FAULTS
from ops.sandbox.venues.base import Host, SandboxVenue

HOST = "127.0.0.1"
LOG_FILE = "sandbox_books.log"
PORTS_FILE = "sandbox_ports.json"
HOUSEKEEPING_NS = 100 * NS_PER_MS
MARKET_STATE_NS = 2 * NS_PER_S  # a restart goes on from at most this long ago
MAX_STEPS_PER_TURN = 400  # after a stall the market goes on from where it stood instead of racing to catch up


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.sandbox.main", description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="the environment's TOML file, e.g. config/sandbox.toml")
    arguments = parser.parse_args(argv)
    clock = SystemClock()
    log = Log("sandbox", clock)
    try:
        loaded = configuration.load(arguments.config)
        sandbox = loaded.config.sandbox
        if sandbox is None:
            raise ConfigError(
                f"{loaded.path}: sandbox: this environment has no [sandbox] table; the sandbox serves config/sandbox.toml"
            )
    except ConfigError as error:
        log.error("config_error", detail=str(error))
        return EXIT_CONFIG
    clock = SystemClock(loaded.config.run.time_scale, clock.wire_ns())
    log = Log("sandbox", clock, loaded.config.run.log_level)
    yield_to_traders()
    return run_async(lambda: Sandbox(loaded, sandbox, clock, log), log, uvloop.new_event_loop)


def yield_to_traders() -> None:
    """Real venues do not share our processor: as a batch process the sandbox never preempts whoever just sent to it, which
    on two cores would be charged to the executor's own latency (measured: an order's hand-over 57 us instead of 265)."""
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class VenueServer:
    """One venue and its listening socket, which can be closed and opened again."""

    def __init__(self, venue: SandboxVenue, exchange: Exchange, faults: Faults, port: int) -> None:
        self.venue = venue
        self.exchange = exchange
        self.faults = faults
        self.port = port
        self._runner: web.AppRunner | None = None

    @property
    def is_serving(self) -> bool:
        return self._runner is not None

    async def start(self) -> None:
        """Listen. Raises BusyError naming the port when somebody else does."""
        if self._runner is not None:
            return
        application = self.venue.application()
        application[FAULTS] = self.faults
        application.middlewares.append(self.faults.middleware)
        self._runner, self.port = await serve(application, self.port, self.exchange.name)

    async def stop(self) -> None:
        """Refuse connections and break those that exist; the exchange behind goes on."""
        runner, self._runner = self._runner, None
        if runner is not None:
            self.venue.drop_connections()
            await runner.cleanup()


class Sandbox:
    """The agent: builds everything, steps the market, stops."""

    role_name = "sandbox"

    def __init__(self, loaded: Loaded, config: SandboxConfig, clock: SystemClock, log: Log) -> None:
        config = msgspec.structs.replace(
            config, venues={name: each for name, each in config.venues.items() if name in loaded.enabled_venues}
        )
        self._loaded = loaded
        self._config = config
        self._clock = clock
        self._log = log
        self._state_dir = loaded.state_dir
        identities = keys.ensure(self._state_dir, loaded.secrets_file, tuple(config.venues), random.SystemRandom())
        self._book_log = AppendLog(self._state_dir / LOG_FILE)
        market_state, history = self._read_log()
        names = tuple(config.venues)
        self.market = Market(_market_terms(config), market_state)
        self.curve = FundingCurve(config.seed, config.symbols, tuple(name for name in names if _pays_funding(name)))
        self.servers = {name: self._build(name, history[name]) for name in names}
        for name, identity in identities.items():
            if name in self.servers:
                balance = Decimal(repr(config.balance_usd))
                self.servers[name].exchange.open_account(identity.address, balance, identity.agents)
        self.control = Control(self.market, self.servers, Decimal(repr(config.balance_usd)), config.control_port)
        exchanges = {name: server.exchange for name, server in self.servers.items()}
        self.player = Player(loaded.path.parent / "recordings", exchanges, self.market, clock, log)
        self._compact()

    async def run(self, stop: asyncio.Event) -> None:
        self._show_pegs()
        self._step(len(self._config.symbols))  # a book on every contract before the first client comes
        self.player.play_at_start(self._state_dir)
        try:
            for server in self.servers.values():
                await server.start()
            control, self.control.port = await serve(self._control_application(), self._config.control_port, "control")
            self._write_ports()
            self._log.info("sandbox_ready", **self._ports())
            await self._drive(stop)
            await control.cleanup()
        finally:
            for server in self.servers.values():
                await server.stop()
            self._book_log.append(self.market.state())
            self._book_log.close()

    def on_reload(self) -> None:
        self._log.info("reload_ignored", detail="the sandbox reads its configuration at start only; restart it")

    def on_dump(self) -> None:
        for name, server in self.servers.items():
            self._log.info(
                "venue_state", venue=name, serving=server.is_serving, accounts=len(server.exchange.ledger.accounts)
            )

    async def _drive(self, stop: asyncio.Event) -> None:
        """Steps are due by elapsed time, housekeeping every 100 ms, until asked to stop."""
        per_ns = self.market.steps_per_s / NS_PER_S
        pause_s = min(0.05, max(0.001, 1.0 / self.market.steps_per_s))
        last_ns = self._clock.mono_ns()
        housekeep_ns = record_ns = last_ns
        owed = 0.0
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            now_ns = self._clock.mono_ns()
            owed = min(owed + (now_ns - last_ns) * per_ns, float(MAX_STEPS_PER_TURN))
            last_ns = now_ns
            if self.player.is_playing:
                self.player.advance()
            else:
                self._step(int(owed))
            owed -= int(owed)
            if now_ns >= housekeep_ns:
                housekeep_ns = now_ns + HOUSEKEEPING_NS
                self._housekeep()
            if now_ns >= record_ns:
                record_ns = now_ns + MARKET_STATE_NS
                self._book_log.append(self.market.state())
                self._compact()

    def _control_application(self) -> web.Application:
        application = self.control.application()
        self.player.add_routes(application)
        return application

    def _step(self, count: int) -> None:
        servers = list(self.servers.values())
        for _ in range(count):
            symbol, samples = self.market.step()
            for server, sample in zip(servers, samples, strict=True):
                server.exchange.apply(symbol, sample)

    def _show_pegs(self) -> None:
        for symbol in PEGGED:
            sample = self.market.peg(symbol)
            for server in self.servers.values():
                server.exchange.apply(symbol, sample)

    def _housekeep(self) -> None:
        self._follow_calendar()
        self._show_pegs()
        for server in self.servers.values():
            server.exchange.housekeep()
            server.venue.tick()
            server.faults.prune()

    def _follow_calendar(self) -> None:
        """A scaled calendar has one origin per run, fixed by the run's first process in its manifest."""
        if self._clock.time_scale == 1.0:
            return
        with contextlib.suppress(FileNotFoundError):
            manifest = msgspec.json.decode((self._loaded.run_dir / "run.json").read_bytes())
            self._clock.origin_ns = int(manifest["origin_ns"])

    def _build(self, name: str, history: list[Transaction]) -> VenueServer:
        kind = keys.venue_kind(name)
        terms = kind.terms(self._config.symbols)
        curve = self.curve
        clock = VenueClock(self._clock)
        exchange = Exchange(
            name, terms, clock, lambda symbol, hour: curve.hourly(name, symbol, hour), self._book_log.append
        )
        exchange.restore(history)
        settings = self._config.venues[name]
        venue = kind(
            Host(
                exchange=exchange,
                clock=clock,
                log=self._log,
                order_delay_s=settings.order_delay_ms / 1000,
                tier=settings.tier,
                verify_ratio=settings.verify_ratio,
            )
        )
        exchange.attach(venue.listener)
        faults = Faults(venue.dialect, clock, random.Random(f"{self._config.seed} {name}"), venue.expire_auth)
        exchange.ration(faults.fill_share)
        return VenueServer(venue, exchange, faults, settings.port)

    def _read_log(self) -> tuple[MarketState | None, dict[str, list[Transaction]]]:
        market: MarketState | None = None
        history: dict[str, list[Transaction]] = {name: [] for name in self._config.venues}
        for record in self._book_log.read():
            if isinstance(record, MarketState):
                market = record
            elif record.venue in history:
                history[record.venue].append(record)
        return market, history

    def _compact(self) -> None:
        if self._book_log.is_long:
            self._book_log.rewrite(self._records())

    def _records(self) -> Iterator[Record]:
        yield self.market.state()
        for server in self.servers.values():
            yield from server.exchange.ledger.snapshot()

    def _ports(self) -> dict[str, int]:
        return {"control": self.control.port, **{name: server.port for name, server in self.servers.items()}}

    def _write_ports(self) -> None:
        """Where port 0 in the configuration led to; read by tools and tests."""
        file = self._state_dir / PORTS_FILE
        temporary = file.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(self._ports()))
        temporary.replace(file)


async def serve(application: web.Application, port: int, name: str) -> tuple[web.AppRunner, int]:
    """Serve on loopback; the runner and the port taken. Raises BusyError naming the port."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, HOST, port, reuse_address=True)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise BusyError(
            f"port {port} of {HOST} ({name}) is taken: {error.strerror}; stop the other sandbox or change the port in "
            "[sandbox]"
        ) from error
    return runner, int(runner.addresses[0][1])


def _pays_funding(venue: str) -> bool:
    return SPEC[Venue(venue)].kind is not VenueKind.SPOT


def _market_terms(config: SandboxConfig) -> MarketTerms:
    return MarketTerms(
        seed=config.seed,
        symbols=config.symbols,
        venues=tuple(config.venues),
        quotes_per_s=config.quotes_per_s,
        basis_sd_bps=config.basis_sd_bps,
        basis_half_life_s=config.basis_half_life_s,
        jump_bps=config.jump_bps,
        jump_every_s=config.jump_every_s,
    )


if __name__ == "__main__":
    sys.exit(main())
