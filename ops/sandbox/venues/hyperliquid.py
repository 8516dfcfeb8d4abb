"""The simulated Hyperliquid: one port with `POST /info`, `POST /exchange` and `/ws`.

Written from docs/venues/hyperliquid.md alone. It is a testnet to its clients: L1 signatures carry source "b". Not
simulated: trigger orders, TWAPs, spot and HIP-3 markets, vaults, sub-accounts, staking, the request budget per IP.

Where the page is unsure, this venue decides, and nobody should rely on it elsewhere: a cloid may be used twice (the
latest order answers to it); orderUpdates has no initial snapshot; an expired action answers "Action already expired";
a partially filled IOC order ends `canceled` in orderUpdates and `filled` in the answer; a GTC order that was partly
filled at once answers `resting`; a modification whose new order is refused leaves the old one cancelled.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import orjson
from aiohttp import web

from core.specs.hyperliquid import SPEC
from ops.sandbox.model import Listener
from ops.sandbox.venues import _hyperliquid_listing as listing
from ops.sandbox.venues._agent_wallets import identity, new_credentials
from ops.sandbox.venues._hyperliquid_actions import Actions
from ops.sandbox.venues._hyperliquid_faults import Dialect
from ops.sandbox.venues._hyperliquid_info import Info
from ops.sandbox.venues._hyperliquid_streams import Streams
from ops.sandbox.venues.base import Host, Identity

MAX_BODY_BYTES = 1 << 20


class SandboxVenue:
    """See `ops.sandbox.venues.base.SandboxVenue`."""

    terms = staticmethod(listing.terms)
    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        self._info = Info(host.exchange, host.clock)
        self._actions = Actions(host.exchange, host.clock, host.order_delay_s)
        self._streams = Streams(host.exchange, self._info, self._actions.answer, host.clock, host.log)

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        return new_credentials(SPEC, rng)

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        return identity(SPEC, values)

    @property
    def listener(self) -> Listener:
        return self._streams

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_post("/info", self._on_info)
        application.router.add_post("/exchange", self._on_exchange)
        application.router.add_get("/ws", self._streams.serve)
        return application

    def drop_connections(self) -> None:
        self._streams.drop_all()

    def expire_auth(self) -> None:
        """Streams of this venue stand on nothing that could run out."""

    def tick(self) -> None:
        self._actions.run_schedules()
        self._streams.tick()

    async def _on_info(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _text(415, "Expected request with `Content-Type: application/json`")
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return _text(400, "Failed to parse the request body as JSON")
        return _answer(*self._info.answer(body))

    async def _on_exchange(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _text(415, "Expected request with `Content-Type: application/json`")
        return _answer(*await self._actions.answer(await request.read()))


def _answer(status: int, body: bytes) -> web.Response:
    if status == 422:
        return _text(422, body.decode())
    return web.Response(status=status, body=body, content_type="application/json")


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)
