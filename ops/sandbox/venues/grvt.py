"""The simulated GRVT: login, trading and market data at one address, written from docs/venues/grvt.md.

Every endpoint is a POST with a JSON body, in the long field names only (`full/v1`). The real venue has three hosts; their
paths do not overlap, so one port serves them all. Orders are signed for the testnet (chain id 326).

Not simulated: the short field names (`lite/v1`), candles, transfers, trigger orders, bulk requests, request-for-quote, spot,
portfolio margin, vaults, and the fee of a builder (its signature is checked).

Where the page is unsure, this venue decides, and nobody should rely on it elsewhere: a limit price more than a tenth through
the mark is refused with 7201; a reduce-only order below the minimum notional is refused with 2067 unless it closes the whole
position; request budgets are 3000 units of 50 ms a minute; an ended session drops its sockets; the wallet that signs orders
may also log in by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from ops.sandbox.model import Listener
from ops.sandbox.venues import _grvt_listing as listing
from ops.sandbox.venues._agent_wallets import address_of
from ops.sandbox.venues._grvt_account import Account
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_faults import Dialect
from ops.sandbox.venues._grvt_limits import Limits
from ops.sandbox.venues._grvt_orders import Orders
from ops.sandbox.venues._grvt_public import Public
from ops.sandbox.venues._grvt_sessions import Sessions, agent_of
from ops.sandbox.venues._grvt_streams import Streams
from ops.sandbox.venues.base import Host, Identity

PREFIX = "/full/v1/"
MAX_BODY_BYTES = 1 << 20
PUBLISH_S = 0.025
RPC = frozenset({"create_order", "cancel_order", "cancel_all_orders", "open_orders", "order"})
Private = Callable[[Row, str], Row]


class SandboxVenue:
    """See `ops.sandbox.venues.base.SandboxVenue`."""

    terms = staticmethod(listing.terms)
    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        exchange, clock = host.exchange, host.clock
        self._clock = clock
        markets = listing.Listing(set(exchange.contracts))
        self._limits = Limits()
        self._sessions = Sessions(exchange, clock)
        self._orders = Orders(exchange, clock, markets, host.order_delay_s)
        account = Account(exchange, clock, markets, self._orders)
        public = Public(exchange, clock, markets)
        self._streams = Streams(exchange, clock, markets, self._sessions, public, account.fill)
        self._streams.rpc = self._on_rpc
        self._orders.ears = self._streams
        self._server_time = public.server_time
        self._public = public.handlers()
        self._private: dict[str, Private] = {
            "create_order": self._orders.create,
            "cancel_order": self._orders.cancel,
            "cancel_all_orders": self._orders.cancel_all,
            "cancel_on_disconnect": self._orders.countdown,
            "set_initial_leverage": self._orders.set_initial_leverage,
            "set_position_config": self._orders.set_position_config,
            "order": self._orders.find,
            "open_orders": account.open_orders,
            "order_history": account.order_history,
            "fill_history": account.fill_history,
            "funding_payment_history": account.payments,
            "positions": account.positions,
            "account_summary": account.summary,
            "aggregated_account_summary": account.aggregated,
            "funding_account_summary": account.funding_account,
            "get_sub_accounts": account.sub_accounts,
            "get_all_initial_leverage": account.leverages,
        }

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        return {
            "GRVT_API_KEY": rng.randbytes(16).hex(),
            "GRVT_PRIVATE_KEY": "0x" + rng.randbytes(32).hex(),
            "GRVT_SUB_ACCOUNT_ID": str(rng.randrange(10**15, 10**16)),
        }

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        signer = address_of(bytes.fromhex(values["GRVT_PRIVATE_KEY"].removeprefix("0x")))
        return Identity(str(int(values["GRVT_SUB_ACCOUNT_ID"])), (signer, agent_of(values["GRVT_API_KEY"])))

    @property
    def listener(self) -> Listener:
        return self._streams

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        router = application.router
        router.add_post("/auth/api_key/login", self._on_login)
        router.add_post("/auth/wallet/login", self._on_login)
        router.add_get("/time", self._on_time)
        for name in self._public:
            router.add_post(PREFIX + name, self._endpoint(name, self._answer_public))
        for name in self._private:
            router.add_post(PREFIX + name, self._endpoint(name, self._answer_private))
        for path in ("/ws", "/ws/full"):
            router.add_get(path, self._streams.serve)
        application.cleanup_ctx.append(self._publish)
        application.on_shutdown.append(self._shut_down)
        return application

    def drop_connections(self) -> None:
        self._streams.drop_all()

    def expire_auth(self) -> None:
        """Sockets that stand on a session are dropped with it at the next publishing."""
        self._sessions.expire_all()

    def tick(self) -> None:
        self._orders.tick()

    # -- requests ---------------------------------------------------------------------------------------------------

    def _endpoint(
        self, name: str, answer: Callable[[web.Request, str, Row], Row]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            try:
                return _json(200, answer(request, name, await _body(request)))
            except ApiError as error:
                return _json(error.status, error.body())

        return endpoint

    def _answer_public(self, request: web.Request, name: str, body: Row) -> Row:
        self._limits.charge_public(request.remote or "", self._clock.mono_ns())
        return self._public[name](body)

    def _answer_private(self, request: web.Request, name: str, body: Row) -> Row:
        return self._perform(name, body, self._sessions.of(request.headers).address)

    def _perform(self, name: str, body: Row, address: str) -> Row:
        self._limits.charge_private(address, name, self._clock.mono_ns())
        return self._private[name](body, address)

    def _on_rpc(self, name: str, body: Row, address: str) -> tuple[int, Row]:
        try:
            if name not in RPC:
                raise ApiError(Code.NO_SUCH_METHOD)
            return 200, self._perform(name, body, address)
        except ApiError as error:
            return error.status, error.body()

    async def _on_login(self, request: web.Request) -> web.Response:
        try:
            body = await _body(request)
            self._limits.charge_private(f"login {request.remote}", "login", self._clock.mono_ns())
            if request.path.startswith("/auth/wallet"):
                session = self._sessions.by_wallet(body)
            else:
                session = self._sessions.by_api_key(str(body.get("api_key", "")))
        except ApiError as error:
            return _json(error.status, error.body())
        response = _json(200, {"location": "", "status": "success"})
        response.headers.update(session.headers())
        return response

    async def _on_time(self, request: web.Request) -> web.Response:
        return _json(200, self._server_time())

    async def _publish(self, application: web.Application) -> AsyncIterator[None]:
        async def run() -> None:
            while True:
                await asyncio.sleep(PUBLISH_S)
                self._streams.publish()

        task = asyncio.create_task(run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _shut_down(self, application: web.Application) -> None:
        self._streams.drop_all()


async def _body(request: web.Request) -> Row:
    """A JSON object; an empty body is no object. Raises ApiError."""
    if request.content_type != "application/json":
        raise ApiError(Code.MALFORMED)
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise ApiError(Code.MALFORMED) from None
    if not isinstance(body, dict):
        raise ApiError(Code.MALFORMED)
    return body


def _json(status: int, body: Row) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
