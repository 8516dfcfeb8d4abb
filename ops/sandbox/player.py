"""Who plays recorded markets in the sandbox, and the part of the control endpoint that asks for it.

    GET  /control/market        what the recording that is played offered, and what was traded on it; or null
    POST /control/market        {"path","speed"?,"start_ns"?,"end_ns"?,...} (playback.Order); the path is absolute
    POST /control/market/stop   back to the walk; answers the last report

An order left in the state directory as AT_START is played from the first moment on, once.
A restarted sandbox does not go on with a recording: it walks from the last recorded prices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from core.clock import Clock
from core.errors import ConfigError
from core.log import Log
from core.recordings import load_manifest
from ops.sandbox.exchange import Exchange
from ops.sandbox.market import Market
from ops.sandbox.playback import MarketReport, Order, Playback, State

SPEEDS = (0.1, 1000.0)
AT_START = "market_at_start.json"


class Player:
    """At most one recording at a time. Runs on the sandbox's one thread."""

    def __init__(self, manifests: Path, exchanges: dict[str, Exchange], market: Market, clock: Clock, log: Log) -> None:
        self._manifests = manifests
        self._exchanges = exchanges
        self._market = market
        self._clock = clock
        self._log = log
        self._playback: Playback | None = None
        self._is_told = False

    @property
    def is_playing(self) -> bool:
        """Whether the books belong to a recording (also one that is over) and not to the walk."""
        return self._playback is not None

    def play(self, order: Order) -> MarketReport:
        """Put a recorded market in the place of the walk, or of another recording. Raises ConfigError; then all stays."""
        if not SPEEDS[0] <= order.speed <= SPEEDS[1]:
            raise ConfigError(f"speed {order.speed:g} is not within {SPEEDS[0]:g} to {SPEEDS[1]:g}")
        tracks = load_manifest(Path(order.path), self._manifests)
        playback = Playback(order, tracks, self._exchanges, self._market, self._clock)
        self.stop()
        playback.begin()
        self._playback = playback
        self._is_told = False
        report = playback.report()
        self._log.info(
            "market_played", path=order.path, speed=order.speed, tracks=report.tracks, left_out=report.left_out
        )
        return report

    def play_at_start(self, state_dir: Path) -> None:
        """Play what was ordered before this process began, once. Raises ConfigError."""
        file = state_dir / AT_START
        if not file.exists():
            return
        data = file.read_bytes()
        file.unlink()
        try:
            order = msgspec.json.decode(data, type=Order)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{file}: {error}") from error
        self.play(order)

    def stop(self) -> MarketReport | None:
        """Back to the walk; the last report, or None if nothing was played."""
        playback, self._playback = self._playback, None
        if playback is None:
            return None
        report = playback.report()
        playback.stop()
        self._log.info("market_stopped", path=report.path, rows=report.rows)
        return report

    def report(self) -> MarketReport | None:
        return None if self._playback is None else self._playback.report()

    def advance(self) -> None:
        """Show what is due. A recording that turns out broken half-way is ended, with its reason in the log."""
        playback = self._playback
        if playback is None:
            return
        try:
            playback.advance()
        except ConfigError as error:
            self._log.error("market_broken", detail=str(error))
            self.stop()
            return
        if playback.state is State.ENDED and not self._is_told:
            self._is_told = True
            self._log.info("market_ended", report=msgspec.to_builtins(playback.report()))

    def add_routes(self, application: web.Application) -> None:
        application.router.add_get("/control/market", self._report)
        application.router.add_post("/control/market", self._play)
        application.router.add_post("/control/market/stop", self._stop)

    async def _report(self, request: web.Request) -> web.Response:
        return _json(self.report())

    async def _play(self, request: web.Request) -> web.Response:
        try:
            return _json(self.play(msgspec.json.decode(await request.read(), type=Order)))
        except (msgspec.DecodeError, ConfigError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error

    async def _stop(self, request: web.Request) -> web.Response:
        return _json(self.stop())


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
