"""The simulated Variational, written from docs/venues/variational.md: the public statistics, the web application's interface
under `/api`, its `/events` socket, and what the official SDK can read under `/v1`. One port serves them all.

Not simulated: limit, take-profit and stop orders, close_all, isolated margin, sub-accounts, deposits, real-world assets, the
`/prices` and `/portfolio` sockets, the RFQ flow between companies, and the front that keeps unknown clients out.

Where the page is unsure, this venue decides, and nobody should rely on it elsewhere: a quote is good for 2.5 s and for one
acceptance; the venue clears at the quoted price unless its own has run away by 0.1 % more than the client allows; a
reduce-only order larger than the position is refused whole; `limit` of a list is at most 100; `wait_until_seconds` is a
duration; a new session does not end older ones; events carry their kind and an rfq id only.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from ops.sandbox.model import AccountState, Contract, Fill, FundingPayment, Listener, Order, Trade
from ops.sandbox.venues import _agent_wallets as wallets
from ops.sandbox.venues import _variational_listing as listing
from ops.sandbox.venues._variational_desk import Desk
from ops.sandbox.venues._variational_errors import STAMP, ApiError, malformed
from ops.sandbox.venues._variational_events import Events
from ops.sandbox.venues._variational_faults import Dialect
from ops.sandbox.venues._variational_limits import Limits
from ops.sandbox.venues._variational_official import Official
from ops.sandbox.venues._variational_rows import Rows
from ops.sandbox.venues._variational_sessions import COOKIE, Sessions
from ops.sandbox.venues.base import Host, Identity

MAX_BODY_BYTES = 1 << 20
KEY, ADDRESS = "VARIATIONAL_PRIVATE_KEY", "VARIATIONAL_WALLET_ADDRESS"
TRADES, QUOTES = "orders", "quotes"
READS, AUTH, STATS = "reads", "auth", "stats"


class SandboxVenue:
    """See `ops.sandbox.venues.base.SandboxVenue`."""

    terms = staticmethod(listing.terms)
    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        self._exchange, self._clock = host.exchange, host.clock
        self._limits = Limits(host.tier)
        self._sessions = Sessions(host.exchange, host.clock)
        self._events = Events(self._sessions, host.clock)
        self._desk = Desk(host.exchange, host.clock, host.order_delay_s, self._order_changed)
        self._rows = Rows(host.exchange, host.clock, self._desk)
        self._official = Official(host.exchange, host.clock, self._rows)

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        """The wallet's own key; sessions are opened with it, so no token is handed out."""
        key = rng.randbytes(wallets.KEY_BYTES)
        return {KEY: "0x" + key.hex(), ADDRESS: wallets.address_of(key)}

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        address = values[ADDRESS].lower()
        if wallets.address_of(bytes.fromhex(values[KEY].removeprefix("0x"))) != address:
            raise ValueError(f"{KEY} is not the key of {ADDRESS}")
        return Identity(address)

    @property
    def listener(self) -> Listener:
        return self

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        router, rows, desk = application.router, self._rows, self._desk
        router.add_get("/metadata/stats", self._public(STATS, lambda request: rows.stats()))
        router.add_get("/api/metadata/supported_assets", self._public(AUTH, lambda request: rows.supported_assets()))
        router.add_get("/api/funding/v2", self._public(READS, lambda request: rows.funding(_underlying(request))))
        router.add_post("/api/auth/generate_signing_data", self._signing_data)
        router.add_post("/api/auth/login", self._login)
        router.add_get("/api/me", self._me)
        for path, read in (
            ("positions", lambda account, query: rows.positions(account)),
            ("portfolio", lambda account, query: rows.portfolio(account)),
            ("orders/v2", rows.orders),
            ("transfers", rows.transfers),
        ):
            router.add_get(f"/api/{path}", self._read(read))
        for path, kind, act in (
            ("quotes/indicative", QUOTES, desk.quote),
            ("orders/new/market", TRADES, desk.accept),
            ("orders/cancel", TRADES, lambda account, body: desk.cancel(account, _field(body, "rfq_id"))),
            ("settlement_pools/leverage", READS, lambda account, body: rows.leverage(account, _field(body, "assets"))),
            ("settlement_pools/set_leverage", TRADES, self._set_leverage),
        ):
            router.add_post(f"/api/{path}", self._act(kind, act))
        for path, handler in self._official.handlers.items():
            router.add_get(path, handler)
        router.add_get("/events", self._events.serve)
        return application

    def drop_connections(self) -> None:
        self._events.drop_all()

    def expire_auth(self) -> None:
        """An open socket outlives its token; so that anybody notices, it is broken too."""
        self._sessions.expire()
        self._events.drop_all()

    def tick(self) -> None:
        self._desk.tick()
        self._events.tick()

    # -- listener ---------------------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        """Nobody hears of the market here; statistics are asked for."""

    def traded(self, trade: Trade) -> None:
        """As above."""

    def order_changed(self, order: Order) -> None:
        """The desk tells, with the rfq's id."""

    def filled(self, order: Order, fill: Fill) -> None:
        self._events.tell(fill.account, "trade", order.client_id or "")

    def funding_paid(self, payment: FundingPayment) -> None:
        self._events.tell(payment.account, "transfer", "")

    def account_changed(self, account: AccountState) -> None:
        """The `/portfolio` socket is not simulated."""

    def _order_changed(self, account: str, rfq_id: str) -> None:
        self._events.tell(account, "clearing_event", rfq_id)

    # -- requests ---------------------------------------------------------------------------------------------------

    def _public(
        self, kind: str, read: Callable[[web.Request], Any]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            try:
                self._limits.charge(kind, request.remote or "", self._clock.mono_ns())
                return _json(read(request))
            except ApiError as error:
                return error.answer()

        return endpoint

    def _read(self, read: Callable[[str, Mapping[str, str]], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            try:
                account = self._sessions.caller(request.cookies, request.headers)
                self._limits.charge(READS, account, self._clock.mono_ns())
                return _json(read(account, request.query))
            except ApiError as error:
                return error.answer()

        return endpoint

    def _act(self, kind: str, act: Callable[[str, Any], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            try:
                account = self._sessions.caller(request.cookies, request.headers)
                self._limits.charge(kind, account, self._clock.mono_ns())
                return _json(act(account, _parsed(await request.read())))
            except ApiError as error:
                return error.answer()

        return endpoint

    async def _signing_data(self, request: web.Request) -> web.Response:
        try:
            self._limits.charge(AUTH, request.remote or "", self._clock.mono_ns())
            text = self._sessions.text_for(_field(_parsed(await request.read()), "address"))
            return web.Response(text=text, headers=STAMP)
        except ApiError as error:
            return error.answer()

    async def _login(self, request: web.Request) -> web.Response:
        try:
            self._limits.charge(AUTH, request.remote or "", self._clock.mono_ns())
            body = _parsed(await request.read())
            token = self._sessions.login(_field(body, "address"), _field(body, "signed_message"))
            answer = _json({"token": token})
            answer.set_cookie(COOKIE, token)
            return answer
        except ApiError as error:
            return error.answer()

    async def _me(self, request: web.Request) -> web.Response:
        """Says who is logged in; nobody is no error here."""
        account = self._sessions.account_of(request.cookies.get(COOKIE, ""))
        return _json({"token": "" if account is None else request.cookies[COOKIE], "address": account})

    def _set_leverage(self, account: str, body: Any) -> dict[str, Any]:
        name, wanted = _field(body, "asset"), _field(body, "leverage")
        contract = self._exchange.contracts.get(str(name))
        allowed = contract is not None and isinstance(wanted, int) and not isinstance(wanted, bool)
        if contract is None or not allowed or wanted not in self._rows.leverage(account, [name])[name]["limits"]:
            raise malformed("leverage is not one of the limits")
        refused = self._exchange.set_leverage(account, contract.name, wanted, cross=True)
        if refused is not None:
            raise malformed(f"leverage refused: {refused.reason.value}")
        return self._rows.leverage(account, [name])


def _underlying(request: web.Request) -> str:
    return request.query.get("underlying", "")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise malformed("Failed to parse the request body as JSON") from None


def _field(body: Any, name: str) -> Any:
    if not isinstance(body, dict) or name not in body:
        raise malformed(f"Failed to deserialize the JSON body: missing field `{name}`")
    return body[name]


def _json(body: Any) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers=STAMP)
