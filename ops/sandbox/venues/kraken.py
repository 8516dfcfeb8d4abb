"""The simulated Kraken spot: REST under `/0/`, the public WebSocket v2 at `/v2` and the private one at `/private/v2`.

Written from docs/venues/kraken.md alone. The real sockets have hosts of their own; here a path tells them apart. Not
simulated: margin, stops and icebergs, fill-or-kill and good-till-date, earn and staking, transfers, order amend history,
level 3 and candles, and fees in base.

Where the page is unsure, this venue decides, and nobody should rely on it elsewhere: a partly filled IOC order ends
`canceled`; a post-only order that would cross is refused at entry; a client id is free again once its order is closed; a
second order with the id of an open one is refused with a text of its own; a market order is a limit 5 % through the touch;
fees are those of the old base tier; the switch stands with the account, whichever key set it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from ops.sandbox.model import AccountState, Contract, Fill, FundingPayment, Listener, Order, Trade
from ops.sandbox.venues import _kraken_keys as credentials
from ops.sandbox.venues import _kraken_listing as listing
from ops.sandbox.venues._kraken_errors import ApiError
from ops.sandbox.venues._kraken_faults import PRIVATE_SOCKET, Dialect
from ops.sandbox.venues._kraken_keys import Keys
from ops.sandbox.venues._kraken_limits import Limits
from ops.sandbox.venues._kraken_orders import Orders
from ops.sandbox.venues._kraken_private import Handler, Private
from ops.sandbox.venues._kraken_public import Public
from ops.sandbox.venues._kraken_rows import dumps
from ops.sandbox.venues._kraken_streams import PublicStreams
from ops.sandbox.venues._kraken_streams_user import UserStreams
from ops.sandbox.venues._kraken_trading import Trading
from ops.sandbox.venues.base import Host, Identity

MAX_BODY_BYTES = 1 << 20
PUBLIC_SOCKET = "/v2"


class SandboxVenue:
    """See `ops.sandbox.venues.base.SandboxVenue`. Is the Listener of the exchange."""

    terms = staticmethod(listing.terms)
    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        exchange, clock = host.exchange, host.clock
        pairs = listing.Listing(set(exchange.contracts))
        limits = Limits(host.tier)
        self._keys = Keys(exchange, clock)
        self._orders = Orders(exchange, clock, limits, host.order_delay_s)
        self._public = Public(exchange, clock, pairs)
        self._private = Private(exchange, clock, pairs, self._keys, self._orders, limits)
        trading = Trading(self._orders, pairs, clock)
        self._market = PublicStreams(exchange, clock, pairs, self._public, host.log)
        self._user = UserStreams(exchange, clock, pairs, self._keys, trading)
        trading.amended = self._user.amended

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        return credentials.new_credentials(rng)

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        return credentials.identity(values)

    @property
    def listener(self) -> Listener:
        return self

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        for name, read in self._public.handlers.items():
            application.router.add_get(f"/0/public/{name}", self._read(read))
        for name, handler in self._private.handlers.items():
            application.router.add_post(f"/0/private/{name}", self._call(name, handler))
        application.router.add_get(PUBLIC_SOCKET, self._market.serve)
        application.router.add_get(PRIVATE_SOCKET, self._user.serve)
        return application

    def drop_connections(self) -> None:
        self._market.drop_all()
        self._user.drop_all()

    def expire_auth(self) -> None:
        """An open subscription outlives its token; so that anybody notices, the private connections are broken too."""
        self._keys.expire_tokens()
        self._user.drop_all()

    def tick(self) -> None:
        self._orders.run_switches()
        self._market.tick()
        self._user.tick()

    # -- listener ---------------------------------------------------------------------------------------------------

    def book_changed(self, contract: Contract) -> None:
        """Comes last of every change, whatever it was."""
        self._user.settle()
        self._market.book_changed(contract)

    def traded(self, trade: Trade) -> None:
        self._public.traded(trade)
        self._market.traded(trade)

    def order_changed(self, order: Order) -> None:
        self._user.order_changed(order)

    def filled(self, order: Order, fill: Fill) -> None:
        self._user.filled(order, fill)

    def funding_paid(self, payment: FundingPayment) -> None:
        """Spot pays none."""

    def account_changed(self, account: AccountState) -> None:
        """The wallets are told with the fills that changed them."""

    # -- requests ---------------------------------------------------------------------------------------------------

    def _read(self, read: Callable[[Mapping[str, str]], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            try:
                return _answer(read(request.query))
            except ApiError as error:
                return _refusal(error.text)

        return endpoint

    def _call(self, name: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            try:
                call = self._keys.call_of(request.path, request.headers, await request.read())
                self._private.charge(name, call)
                return _answer(await handler(call))
            except ApiError as error:
                return _refusal(error.text)

        return endpoint


def _answer(result: Any) -> web.Response:
    return web.Response(body=dumps({"error": [], "result": result}), content_type="application/json")


def _refusal(text: str) -> web.Response:
    """With status 200, as everything that reached the API; no result."""
    return web.Response(body=dumps({"error": [text]}), content_type="application/json")
