"""The simulated Pacifica: REST under `/api/v1/` and one WebSocket at `/ws`, written from docs/venues/pacifica.md.

Not simulated: spot markets, stop, TP/SL and TWAP orders, sub-accounts, binding of agents, withdrawals, lending, vaults,
builder codes, candles, aggregated books.

Where the page is unsure, this venue decides, and nobody should rely on it elsewhere: a timestamp more than a second ahead
is refused like an expired one; an identical message is taken twice (only its client id keeps it from being an order
again); an engine's refusal whose live text is not recorded is worded by its documented name; an order refused by the
engine leaves its client id free; a reduce-only order is shrunk to the position, and what is left of it ends cancelled; an
order below the minimum is taken only if it closes the whole position; books go out three times a second and prices once,
changed or not; funding is paid on the oracle price; any text is taken for an API config key.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from nacl.signing import SigningKey

from core.clock import NS_PER_MS
from ops.sandbox.model import Listener
from ops.sandbox.venues import _pacifica_listing as listing
from ops.sandbox.venues._pacifica_actions import BATCH, CANCELS, OPERATIONS, Actions, Done
from ops.sandbox.venues._pacifica_errors import ApiError
from ops.sandbox.venues._pacifica_faults import Dialect
from ops.sandbox.venues._pacifica_limits import CANCEL, REQUEST, Limits
from ops.sandbox.venues._pacifica_reads import Reads
from ops.sandbox.venues._pacifica_signing import decode58, encode58
from ops.sandbox.venues._pacifica_streams import KEY_HEADER, Streams
from ops.sandbox.venues.base import Host, Identity

PREFIX = "/api/v1/"
MAX_BODY_BYTES = 1 << 20
SECRET, ACCOUNT, CONFIG_KEY = "PACIFICA_AGENT_KEY", "PACIFICA_ACCOUNT", "PACIFICA_API_CONFIG_KEY"


class SandboxVenue:
    """See `ops.sandbox.venues.base.SandboxVenue`."""

    terms = staticmethod(listing.terms)
    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        exchange, clock = host.exchange, host.clock
        self._clock = clock
        self._last_order_number = clock.wire_ns() // NS_PER_MS  # grows over restarts too
        self._limits = Limits(host.tier)
        self._reads = Reads(exchange, clock, self._li)
        self._streams = Streams(exchange, self._reads, self._limits, self._li, self._next_li, clock, host.log)
        self._actions = Actions(exchange, clock, host.order_delay_s, self._streams.settings_changed)
        self._streams.actions = self._actions

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        agent = SigningKey(rng.randbytes(32))
        return {
            SECRET: encode58(bytes(agent) + bytes(agent.verify_key)),
            ACCOUNT: encode58(bytes(SigningKey(rng.randbytes(32)).verify_key)),
            CONFIG_KEY: f"{encode58(rng.randbytes(12))[:8]}_{encode58(rng.randbytes(16))}",
        }

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        secret = decode58(values[SECRET], 64)
        public = bytes(SigningKey(secret[:32]).verify_key)
        if public != secret[32:]:
            raise ValueError(f"{SECRET}: its second half is not the public key of its first")
        return Identity(encode58(decode58(values[ACCOUNT], 32)), (encode58(public),))

    @property
    def listener(self) -> Listener:
        return self._streams

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        for path in self._reads.paths:
            application.router.add_get(PREFIX + path, self._read(path))
        for path, kind in OPERATIONS.items():
            application.router.add_post(PREFIX + path, self._operation(kind))
        application.router.add_post(PREFIX + BATCH, self._batch)
        application.router.add_get("/ws", self._streams.serve)
        return application

    def drop_connections(self) -> None:
        self._streams.drop_all()

    def expire_auth(self) -> None:
        """Streams of this venue stand on nothing that could run out."""

    def tick(self) -> None:
        self._streams.tick()

    def _li(self) -> int:
        return self._last_order_number

    def _next_li(self) -> int:
        self._last_order_number += 1
        return self._last_order_number

    def _read(self, path: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            if request.can_read_body:
                return web.Response(status=403, text="<html>403 ERROR</html>", content_type="text/html")
            try:
                who, key = _caller(request)
                self._limits.charge(who, key, self._limits.read_cost(path, key), self._clock.mono_ns())
                return _json(self._reads.answer(path, request.query))
            except ApiError as error:
                return _refusal(error)

        return endpoint

    def _operation(self, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            cost = CANCEL if kind in CANCELS else REQUEST
            return await self._answer(request, cost, lambda body: self._actions.perform(kind, body))

        return endpoint

    async def _batch(self, request: web.Request) -> web.Response:
        return await self._answer(request, REQUEST, self._actions.batch)

    async def _answer(
        self, request: web.Request, cost: int, perform: Callable[[bytes], Awaitable[Done]]
    ) -> web.Response:
        try:
            self._limits.charge(*_caller(request), cost, self._clock.mono_ns())
            done = await perform(await request.read())
        except ApiError as error:
            return _refusal(error)
        return _json(orjson.dumps({"success": True, "data": done.data, "error": None, "code": None}))


def _caller(request: web.Request) -> tuple[str, str]:
    """(address, API config key or nothing)."""
    return request.remote or "", request.headers.get(KEY_HEADER, "")


def _refusal(error: ApiError) -> web.Response:
    if error.bare:
        return web.Response(status=error.status, text=error.text)
    return web.Response(status=error.status, body=error.body(), content_type="application/json")


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
