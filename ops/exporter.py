"""`python -m ops.exporter --config FILE`: one Prometheus endpoint out of shared memory, for every process of the run.

    /metrics   Prometheus text: books, account page, and every process's counters page
    /healthz   200 while this process turns
    /readyz    200 when the system is fit to trade, else 503 with the reasons as JSON

Reads only; binds to loopback unless configured otherwise; a run that is not up is a scrape that says so (tandem_up 0),
never an error, since an exporter that vanishes with what it watches cannot raise the alarm.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import orjson
import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from bookshm.counters import CONFIG_SERIES, CountersWriter
from bookshm.run import RunDir
from core.account import AccountSnapshot
from core.clock import Clock, SystemClock
from core.config import Loaded, load
from core.errors import BusyError
from core.lifecycle import guard, run_async
from core.log import Log
from core.types import TradingState
from ops import views
from ops.series import RunCollector

HEARTBEAT_S = 0.1


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="ops.exporter", description="Serve metrics and health.")
    parser.add_argument("--config", required=True)
    args = parser.parse_args(argv)
    log = Log("exporter", SystemClock())

    def body() -> int:
        loaded = load(args.config)
        log.info("configuration", path=str(loaded.path), fingerprint=loaded.fingerprint)
        run = RunDir.join(loaded.run_dir, loaded.config.run.time_scale, SystemClock())
        try:
            return run_async(lambda: Exporter(loaded, run, run.calendar_clock(), log), log, uvloop.new_event_loop)
        finally:
            run.leave()

    return guard(body, log)


class Exporter:
    """The async agent."""

    role_name = "exporter"

    def __init__(self, loaded: Loaded, run: RunDir, clock: Clock, log: Log) -> None:
        self._loaded = loaded
        self._run = run
        self._log = log
        self._books = views.Books(loaded, run, clock)
        self._clock = clock
        self._counters = CountersWriter(run, "exporter", clock, 8)
        self._scrapes = self._counters.counter("exporter_scrapes_total", {})
        self._counters.gauge(CONFIG_SERIES, {"fingerprint": loaded.fingerprint}).set(1)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(RunCollector(loaded, run, self._books, clock))

    async def run(self, stop: asyncio.Event) -> None:
        app = web.Application()
        app.add_routes(
            [web.get("/metrics", self._metrics), web.get("/healthz", self._healthz), web.get("/readyz", self._readyz)]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        where = self._loaded.config.exporter
        try:
            await web.TCPSite(runner, where.host, where.port).start()
        except OSError as error:
            await runner.cleanup()
            raise BusyError(
                f"exporter.port: {where.host}:{where.port} cannot be opened ({error.strerror or error}); "
                f"see who has it with: ss -ltnp sport = :{where.port}; or set another exporter.port"
            ) from error
        self._log.info("serving", host=where.host, port=where.port)
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                self._counters.heartbeat()
                await asyncio.wait([stopping], timeout=HEARTBEAT_S)
        finally:
            stopping.cancel()
            await runner.cleanup()
            self._counters.close()
            self._log.info("stopped")

    def on_reload(self) -> None:
        self._log.warning("reload_refused", detail="the exporter takes a new configuration at restart only")

    def on_dump(self) -> None:
        self._log.info("dump", **self._readiness())

    async def _metrics(self, request: web.Request) -> web.Response:
        self._scrapes.add()
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        verdict = self._readiness()
        status = 200 if verdict["ready"] else 503
        return web.Response(body=orjson.dumps(verdict), status=status, content_type="application/json")

    def _readiness(self) -> dict[str, object]:
        reasons = [
            f"feed {row.venue}: {row.reason or 'no fresh quote'}" for row in self._books.feeds() if not row.is_ready
        ]
        page = views.account(self._run)
        trouble = views.executor_trouble(page, self._clock)
        if trouble:
            reasons.append(f"executor: {trouble}")
        if isinstance(page, AccountSnapshot):
            if page.trading_state is not TradingState.ACTIVE:
                reasons.append(f"trading {page.trading_state.value}: {page.state_reason}")
            reasons.extend(f"venue {venue.venue}: {venue.status}" for venue in page.venues if venue.status != "ok")
        return {"ready": not reasons, "reasons": reasons}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
