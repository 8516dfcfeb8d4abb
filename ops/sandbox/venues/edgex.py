"""The sandbox's EdgeX (V2): REST at /api/v2, WebSocket at /api/v1/{public,private}/ws, written from docs/venues/edgex.md.

The life of a private call: its query or body becomes the canonical string, the HMAC over it names the account, the call is
charged to the account's budget, and its handler answers in the venue's envelope. Every refusal is an ApiError. Orders prove
themselves once more, by the EIP-712 signature of the account's trading key.

Where the page is unsure this venue decides, and nobody should rely on it elsewhere: the word for a client id seen before, for
a wrong nonce, and for a price out of its band; request budgets; self-trades, where the resting order gives way; that an order
may expire within seconds. Not simulated: sessions of stock markets, margin modes, V1, spot, transfers, candles, and the pages
of collateral transactions, terms and snapshots.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from core.clock import NS_PER_MS
from ops.sandbox.model import AccountState, Contract, Fill, FundingPayment, Listener, Order, Trade
from ops.sandbox.terms import Terms
from ops.sandbox.venues import _edgex_listing as listing
from ops.sandbox.venues._agent_wallets import KEY_BYTES, address_of
from ops.sandbox.venues._edgex_account import Account
from ops.sandbox.venues._edgex_auth import ApiKey, Keys, canonical
from ops.sandbox.venues._edgex_call import Call
from ops.sandbox.venues._edgex_errors import ApiError, Word, envelope, refusal
from ops.sandbox.venues._edgex_faults import Dialect
from ops.sandbox.venues._edgex_hub import Hub
from ops.sandbox.venues._edgex_limits import Limits
from ops.sandbox.venues._edgex_orders import Desk
from ops.sandbox.venues._edgex_public import Public
from ops.sandbox.venues._edgex_streams_market import MarketStreams
from ops.sandbox.venues._edgex_streams_user import UserStreams, refused
from ops.sandbox.venues.base import Host, Identity

API = "/api/v2/"
PUBLIC_WS, PRIVATE_WS = "/api/v1/public/ws", "/api/v1/private/ws"
CREATE = "private/order/createOrder"
MAX_BODY_BYTES = 1 << 20

Handler = Callable[[Call], object]


class SandboxVenue:
    """See ops.sandbox.venues.base.SandboxVenue."""

    dialect = Dialect()
    terms: Callable[[tuple[str, ...]], Terms] = staticmethod(listing.terms)

    def __init__(self, host: Host) -> None:
        exchange, clock = host.exchange, host.clock
        symbols = tuple(contract.symbol for contract in exchange.contracts.values())
        listed = {each.contract_id: each for each in listing.listings(symbols)}
        self._clock = clock
        self._trace = 0
        self.limits = Limits()
        self._keys = Keys(exchange)
        self._users = UserStreams(exchange, clock, listed, self._prove_socket)
        self._desk = Desk(host, listed, self._keys)
        self._public = Public(exchange, clock, listed)
        account = Account(exchange, listed, self._users.version, self._users.account_updated)
        self._users.use(self._desk, account)
        self.hub = Hub(clock, lambda channel: self._market.welcome(channel))
        self._market = MarketStreams(exchange, clock, listed, self._public, self.hub)
        self._reads: dict[str, Handler] = {
            "public/meta/getMetaData": self._public.metadata,
            "public/meta/getServerTime": self._public.server_time,
            "public/quote/getTicker": self._public.ticker,
            "public/quote/getDepth": self._public.depth,
            "public/quote/getMarketStatus": self._public.market_status,
            "public/funding/getLatestFundingRate": self._public.latest_rate,
            "public/funding/getFundingRatePage": self._public.rate_page,
            "private/account/getAccountAsset": account.asset,
            "private/account/getAccountById": account.account,
            "private/account/getPositionByContractId": account.positions,
            "private/account/getCollateralByCoinId": account.collateral,
            "private/account/getPositionTransactionPage": account.transactions,
            "private/order/getActiveOrderPage": self._desk.active_page,
            "private/order/getHistoryOrderPage": self._desk.history_page,
            "private/order/getOrderById": self._desk.by_id,
            "private/order/getOrderByClientOrderId": self._desk.by_client_id,
            "private/order/getHistoryOrderFillTransactionPage": self._desk.fills_page,
        }
        self._posts: dict[str, Handler] = {
            CREATE: self._desk.create,
            "private/order/cancelOrderById": self._desk.cancel_by_id,
            "private/order/cancelOrderByClientOrderId": self._desk.cancel_by_client_id,
            "private/order/cancelAllOrder": self._desk.cancel_all,
            "private/order/getMaxCreateOrderSize": self._desk.max_size,
            "private/account/updateLeverageSetting": account.set_leverage,
        }

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        return {
            "EDGEX_ACCOUNT_ID": str(rng.randrange(10**17, 10**18)),
            "EDGEX_PRIVATE_KEY": "0x" + rng.randbytes(KEY_BYTES).hex(),
            "EDGEX_API_KEY": rng.randbytes(16).hex(),
            "EDGEX_API_SECRET": rng.randbytes(32).hex(),
            "EDGEX_API_PASSPHRASE": rng.randbytes(12).hex(),
        }

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        key = ApiKey(
            signer=address_of(bytes.fromhex(values["EDGEX_PRIVATE_KEY"].removeprefix("0x"))),
            key=values["EDGEX_API_KEY"],
            passphrase=values["EDGEX_API_PASSPHRASE"],
            secret=values["EDGEX_API_SECRET"],
        )
        return Identity(str(int(values["EDGEX_ACCOUNT_ID"])), (key.agent,))

    @property
    def listener(self) -> Listener:
        return _Ears(self._market, self._users)

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        for name, handler in self._reads.items():
            application.router.add_get(API + name, self._endpoint(name, handler))
        for name, handler in self._posts.items():
            application.router.add_post(API + name, self._endpoint(name, handler))
        application.router.add_get(PUBLIC_WS, self.hub.serve)
        application.router.add_get(PRIVATE_WS, self._private_socket)
        application.on_shutdown.append(self._shut_down)
        return application

    def drop_connections(self) -> None:
        self.hub.drop_all()
        self._users.drop_all()

    def expire_auth(self) -> None:
        """Keys have no end, and streams stand on nothing else."""

    def tick(self) -> None:
        self._market.tick()
        self.hub.tick()
        self._users.tick()
        self._desk.expire_due()

    # -- requests ---------------------------------------------------------------------------------------------------

    def _endpoint(self, name: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            asked_ns = self._clock.wire_ns()
            self._trace += 1
            try:
                result = handler(await self._call(request, name))
                data = await result if inspect.isawaitable(result) else result
                status, body = 200, envelope(data, asked_ns, self._clock.wire_ns(), self._trace)
            except ApiError as error:
                status, body = error.status, refusal(error, asked_ns, self._clock.wire_ns(), self._trace)
            return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

        return endpoint

    async def _call(self, request: web.Request, name: str) -> Call:
        """Who asks for what. Raises ApiError."""
        params = dict(request.query) if request.method == "GET" else await _body(request)
        if not name.startswith("private/"):
            return Call("", params)
        account = self._keys.prove(
            request.headers, request.method, request.path, canonical(params), self._clock.wire_ns()
        )
        self.limits.charge(account, name == CREATE, self._clock.wire_ns() // NS_PER_MS)
        if params.get("accountId") != account:
            raise ApiError(Word.PARAM_INVALID, accountId=str(params.get("accountId", "")))
        return Call(account, params)

    # -- sockets ----------------------------------------------------------------------------------------------------

    async def _private_socket(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._users.serve(request)
        except ApiError as error:
            return web.Response(status=401, body=refused(error), content_type="application/json")

    def _prove_socket(self, request: web.Request) -> str:
        account, timestamp = request.query.get("accountId", ""), request.query.get("timestamp", "")
        content = f"accountId={account}&timestamp={timestamp}"
        found = self._keys.prove(request.headers, "GET", PRIVATE_WS, content, self._clock.wire_ns())
        if found != account or timestamp != request.headers["X-edgeX-Timestamp"]:
            raise ApiError(Word.SIGNATURE_ERROR)
        return found

    async def _shut_down(self, application: web.Application) -> None:
        self.drop_connections()


class _Ears:
    """What the exchange tells, handed to those it concerns."""

    def __init__(self, market: MarketStreams, users: UserStreams) -> None:
        self._market = market
        self._users = users

    def book_changed(self, contract: Contract) -> None:
        self._users.step_ended()
        self._market.book_changed(contract.name)

    def traded(self, trade: Trade) -> None:
        self._market.traded(trade)

    def order_changed(self, order: Order) -> None:
        self._users.order_changed(order)

    def filled(self, order: Order, fill: Fill) -> None:
        self._users.filled(order, fill)

    def funding_paid(self, payment: FundingPayment) -> None:
        self._users.funding_paid(payment)

    def account_changed(self, account: AccountState) -> None:
        self._users.step_ended()


async def _body(request: web.Request) -> dict[str, object]:
    """The JSON object of a POST. Raises ApiError."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(Word.PARAM_INVALID, name="body")
    return body
