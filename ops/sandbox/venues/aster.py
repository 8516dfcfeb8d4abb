"""The sandbox's Aster: REST at /fapi/v3, WebSocket at /ws and /stream, written from docs/venues/aster.md.

The life of a request: its weight is charged to the IP, the raw text is parsed, the signature recovered from exactly that
text, the signer checked against the wallet, the nonce against the clock and the last hundred, the parameters against the
endpoint's list; then the handler answers. Every refusal is an ApiError and becomes the venue's JSON with its status.

The sandbox signs as the testnet does (EIP-712 chain id 714). Legacy V1 (HMAC) paths do not exist here: no such key can be
made any more. Position mode can be switched, but orders are only taken in one-way mode, since the exchange nets. The
WebSocket paths also exist below /fstream, because ccxt tells perpetual streams by that word in the URL.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from core.clock import NS_PER_MS, NS_PER_US
from core.specs.aster import SPEC
from ops.sandbox.model import (
    AccountState,
    Contract,
    Fill,
    FundingBasis,
    FundingPayment,
    Listener,
    MinNotionalExempt,
    NonceVerdict,
    Order,
    Trade,
)
from ops.sandbox.terms import Terms
from ops.sandbox.venues._agent_wallets import identity, new_credentials
from ops.sandbox.venues._aster_account import Account
from ops.sandbox.venues._aster_auth import NONCE_WINDOW_US, NONCES_KEPT, TESTNET_CHAIN_ID, message_digest, recover
from ops.sandbox.venues._aster_book import BookIds
from ops.sandbox.venues._aster_call import Call, Flights
from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_faults import Dialect
from ops.sandbox.venues._aster_hub import Hub
from ops.sandbox.venues._aster_limits import Limits
from ops.sandbox.venues._aster_listing import MAKER_FEE, MAX_NUM_ORDERS, TAKER_FEE, listings
from ops.sandbox.venues._aster_orders import Desk
from ops.sandbox.venues._aster_public import Public
from ops.sandbox.venues._aster_request import Form, Params, parse_form
from ops.sandbox.venues._aster_routes import (
    Route,
    Security,
    account_routes,
    order_routes,
    public_routes,
    stream_routes,
    wallet_routes,
)
from ops.sandbox.venues._aster_settings import Settings
from ops.sandbox.venues._aster_shapes import EIGHT
from ops.sandbox.venues._aster_streams_market import MarketStreams
from ops.sandbox.venues._aster_streams_user import UserStreams
from ops.sandbox.venues._aster_wallet import Wallet
from ops.sandbox.venues.base import Host, Identity

KEEPALIVE_S = 1.0
SOCKET_PREFIXES = ("", "/fstream")
_SUCCESS = {"code": 200, "msg": "success"}


class SandboxVenue:
    """See ops.sandbox.venues.base.SandboxVenue."""

    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        exchange, clock = host.exchange, host.clock
        listed = {listing.name: listing for listing in listings(tuple(c.symbol for c in exchange.contracts.values()))}
        self._clock = clock
        self._exchange = exchange
        self._settings = Settings(exchange)
        self._flights = Flights()
        self.limits = Limits()
        ids = BookIds(list(listed), clock.wire_ns())
        self.hub = Hub(clock, self._subscribed)
        self._public = Public(host, listed, ids, self.limits)
        self._market = MarketStreams(exchange, clock, listed, ids, self._public, self.hub)
        self._users = UserStreams(exchange, clock, self._settings, self.hub)
        self._desk = Desk(host, listed, self._settings, self._charge_orders)
        self._wallet = Wallet(host, self._settings)
        account = Account(host, listed, self._settings, self._users)
        noop = Route(method="POST", path="/fapi/v3/noop", handler=self._noop, security=Security.NOOP)
        self._routes = [
            *public_routes(self._public),
            *order_routes(self._desk),
            *account_routes(account),
            *stream_routes(self._users),
            *wallet_routes(self._wallet),
            noop,
        ]
        self._listener = _Ears(self._market, self._users, self._public)

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        return new_credentials(SPEC, rng)

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        return identity(SPEC, values)

    @staticmethod
    def terms(symbols: tuple[str, ...]) -> Terms:
        return Terms(
            contracts=tuple(listing.contract for listing in listings(symbols)),
            maker_fee=MAKER_FEE,
            taker_fee=TAKER_FEE,
            funding_basis=FundingBasis.MARK,
            money_step=EIGHT,
            min_notional_exempt=MinNotionalExempt.REDUCE_ONLY,
            max_open_orders=MAX_NUM_ORDERS,
        )

    @property
    def listener(self) -> Listener:
        return self._listener

    def application(self) -> web.Application:
        app = web.Application()
        for route in self._routes:
            app.router.add_route(route.method, route.path, self._endpoint(route))
        for prefix in SOCKET_PREFIXES:
            app.router.add_get(prefix + "/ws", self._raw_socket)
            app.router.add_get(prefix + "/ws/{streams:.*}", self._raw_socket)
            app.router.add_get(prefix + "/stream", self._combined_socket)
        app.cleanup_ctx.append(self._keepalive)
        app.on_shutdown.append(self._shut_down)
        return app

    def drop_connections(self) -> None:
        self.hub.drop_all()

    def expire_auth(self) -> None:
        self._users.expire_all()

    def tick(self) -> None:
        self._market.tick()
        self._desk.fire_countdowns()
        self._users.expire_due()

    # -- requests ---------------------------------------------------------------------------------------------------

    def _endpoint(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            return await self._answer(request, route)

        return endpoint

    async def _answer(self, request: web.Request, route: Route) -> web.Response:
        """One request to one endpoint, from raw text to JSON."""
        ip = request.remote or ""
        call = Call(params=Params({}), ip=ip)
        status = 200
        try:
            form = parse_form(request.raw_path.partition("?")[2], await _body(request))
            call.params = Params(form.values)
            self.limits.charge(ip, route.weight_of(call.params), self._now_ms())
            body = await self._dispatch(call, form, route)
        except ApiError as error:
            status, body = error.status, error.body()
        headers = self.limits.headers(ip, call.user or None)
        if status == 429:
            headers["Retry-After"] = str(self.limits.retry_after_s(self._now_ms()))
        return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")

    async def _dispatch(self, call: Call, form: Form, route: Route) -> object:
        if route.security is Security.NONE:
            call.params.check_names(route.mandatory, route.optional)
            return await _result(route, call)
        self._identify(call, form, route.security)
        if route.security is Security.NOOP and self._flights.kill(call.signer, call.nonce):
            return _SUCCESS
        self._use_nonce(call)
        call.params.check_names(route.mandatory, route.optional)
        self._flights.enter(call)
        try:
            return await _result(route, call)
        finally:
            self._flights.leave(call)

    def _identify(self, call: Call, form: Form, security: Security) -> None:
        """Who signed, and whether it may act for the wallet it names. Raises ApiError."""
        call.nonce = call.params.integer("nonce")
        user = call.params.text("user").lower()
        if security is Security.WALLET:
            call.user = call.signer = user
            call.params.text("signature")
            return
        signer = call.params.text("signer").lower()
        digest = message_digest(form.signed_text, TESTNET_CHAIN_ID)
        if recover(digest, call.params.text("signature")) != signer:
            raise ApiError(Code.INVALID_SIGNATURE)
        if not self._wallet.may_sign(user, signer):
            raise ApiError(Code.REJECTED_KEY, status=401)
        call.user, call.signer = user, signer
        if security is not Security.MANAGEMENT and not self._settings.deposited(user):
            raise ApiError(Code.NEED_DEPOSIT)

    def _use_nonce(self, call: Call) -> None:
        now_us = self._clock.wire_ns() // NS_PER_US
        if abs(call.nonce - now_us) > NONCE_WINDOW_US:
            raise ApiError(Code.NONCE_EXPIRED)
        if self._exchange.use_nonce(call.signer, call.nonce, NONCES_KEPT) is not NonceVerdict.OK:
            raise ApiError(Code.NONCE_EXPIRED)

    def _noop(self, call: Call) -> object:
        """The nonce was free: it is spent now, so the request it was meant for can no longer land."""
        return _SUCCESS

    def _charge_orders(self, user: str, count: int) -> None:
        self.limits.charge_orders(user, count, self._now_ms())

    # -- sockets ----------------------------------------------------------------------------------------------------

    async def _raw_socket(self, request: web.Request) -> web.StreamResponse:
        streams = request.match_info.get("streams", "").split("/")
        return await self.hub.serve(request, filter(None, streams), combined=False)

    async def _combined_socket(self, request: web.Request) -> web.StreamResponse:
        streams = request.query.get("streams", "").split("/")
        return await self.hub.serve(request, filter(None, streams), combined=True)

    def _subscribed(self, stream: str) -> None:
        self._market.subscribed(stream)

    async def _keepalive(self, app: web.Application) -> AsyncIterator[None]:
        async def run() -> None:
            while True:
                await asyncio.sleep(KEEPALIVE_S)
                await self.hub.keep_alive()

        task = asyncio.create_task(run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _shut_down(self, app: web.Application) -> None:
        self.hub.drop_all()

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


class _Ears:
    """What the exchange tells, handed to those it concerns."""

    def __init__(self, market: MarketStreams, users: UserStreams, public: Public) -> None:
        self._market = market
        self._users = users
        self._public = public

    def book_changed(self, contract: Contract) -> None:
        self._users.step_ended()
        self._market.book_changed(contract.name)

    def traded(self, trade: Trade) -> None:
        self._public.traded(trade)
        self._market.traded(trade)

    def order_changed(self, order: Order) -> None:
        self._users.order_changed(order)

    def filled(self, order: Order, fill: Fill) -> None:
        self._users.filled(order, fill)

    def funding_paid(self, payment: FundingPayment) -> None:
        self._users.funding_paid(payment)

    def account_changed(self, account: AccountState) -> None:
        self._users.account_changed(account)


async def _result(route: Route, call: Call) -> object:
    result = route.handler(call)
    return await result if inspect.isawaitable(result) else result


async def _body(request: web.Request) -> str:
    """The form text of a request that has one; GET has none."""
    if request.method == "GET":
        return ""
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError:
        raise ApiError(Code.ILLEGAL_CHARS) from None
