"""The simulated Lighter: REST under `/api/v1/` and one WebSocket at `/stream`, written from docs/venues/lighter.md.

Transactions are signed for the testnet (chain id 300). What happens to one after its acceptance is told by the private
channels only; see _lighter_desk.py. Not simulated: spot trading, trigger, TWAP and grouped orders, sub-accounts, pools,
transfers, integrators, read-only tokens, volume quota, and candles.

Where the page is unsure, this venue decides, and nobody should rely on it elsewhere: an unmatched limit IOC ends as
canceled-not-enough-liquidity and a market order as canceled-too-much-slippage, partly filled or not; a client index is
never free again; a batch is taken whole or not at all; position frames carry only what changed; a limit price more than
a tenth through the mark fails without an order, as does a reduce-only order without a position; a transaction past its
`ExpiredAt` is refused with 21711; `change` of positionFunding is signed as the collateral moves, `rate` is percent.
Fees are those of the Standard tier whatever the tier; the tier rules request budgets and the makers' delay.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ops.sandbox.ecgfp5 import KEY_BYTES, ORDER, public_key
from ops.sandbox.model import Listener
from ops.sandbox.venues import _lighter_listing as listing
from ops.sandbox.venues._lighter_account import Account
from ops.sandbox.venues._lighter_call import Call, Row, whole
from ops.sandbox.venues._lighter_desk import BATCH_MAX_REST, Desk, Known
from ops.sandbox.venues._lighter_errors import ApiError, invalid_param
from ops.sandbox.venues._lighter_faults import Dialect
from ops.sandbox.venues._lighter_keys import Keys
from ops.sandbox.venues._lighter_limits import Limits
from ops.sandbox.venues._lighter_orders import Orders
from ops.sandbox.venues._lighter_public import Public
from ops.sandbox.venues._lighter_streams import Streams
from ops.sandbox.venues.base import Host, Identity

PREFIX = "/api/v1/"
MAX_BODY_BYTES = 1 << 20
BOOK_INTERVAL_S = 0.05
NO_QUOTA = '{"ratelimit": "didn\'t use volume quota"}'


class SandboxVenue:
    """See `ops.sandbox.venues.base.SandboxVenue`."""

    terms = staticmethod(listing.terms)
    dialect = Dialect()

    def __init__(self, host: Host) -> None:
        exchange, clock = host.exchange, host.clock
        self._clock = clock
        markets = listing.Listing(set(exchange.contracts))
        self._limits = Limits(host.tier)
        self._keys = Keys(exchange, clock, host.verify_ratio)
        self._orders = Orders(exchange, clock, markets, self._limits)
        self._desk = Desk(exchange, clock, self._keys, self._orders, self._limits, host.order_delay_s)
        public = Public(exchange, clock, markets)
        account = Account(exchange, self._keys, self._desk, markets, self._limits, clock.wire_ns)
        self._streams = Streams(exchange, clock, markets, self._keys, self._desk, public, host.log)
        self._desk.heard = self._streams.transaction
        self._status = public.status
        self._reads: dict[str, Callable[[Call], Row]] = {
            "orderBooks": public.order_books,
            "orderBookDetails": public.order_book_details,
            "assetDetails": public.asset_details,
            "orderBookOrders": public.order_book_orders,
            "recentTrades": public.recent_trades,
            "exchangeStats": public.exchange_stats,
            "funding-rates": public.funding_rates,
            "fundings": public.fundings,
            "account": account.account,
            "accountsByL1Address": account.accounts_by_l1,
            "apikeys": account.api_keys,
            "nextNonce": account.next_nonce,
            "tx": account.tx,
            "accountLimits": account.limits,
            "accountActiveOrders": account.active_orders,
            "accountInactiveOrders": account.inactive_orders,
            "accountOrders": account.orders_by_client,
            "accountTxs": account.account_txs,
            "trades": account.trades,
            "positionFunding": account.position_funding,
        }

    @staticmethod
    def new_credentials(rng: random.Random) -> dict[str, str]:
        return {
            "LIGHTER_PRIVATE_KEY": rng.randrange(1, ORDER).to_bytes(KEY_BYTES, "little").hex(),
            "LIGHTER_ACCOUNT_INDEX": str(rng.randrange(100_000, 1_000_000)),
            "LIGHTER_API_KEY_INDEX": str(rng.randrange(4, 255)),
        }

    @staticmethod
    def identity(values: Mapping[str, str]) -> Identity:
        secret = int.from_bytes(bytes.fromhex(values["LIGHTER_PRIVATE_KEY"].removeprefix("0x")), "little")
        agent = f"{int(values['LIGHTER_API_KEY_INDEX'])}:{public_key(secret).hex()}"
        return Identity(str(int(values["LIGHTER_ACCOUNT_INDEX"])), (agent,))

    @property
    def listener(self) -> Listener:
        return self._streams

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/", self._read("", self._status))
        for name, handler in self._reads.items():
            application.router.add_get(PREFIX + name, self._read(name, handler))
        application.router.add_post(PREFIX + "sendTx", self._on_send)
        application.router.add_post(PREFIX + "sendTxBatch", self._on_send_batch)
        application.router.add_get("/stream", self._streams.serve)
        application.cleanup_ctx.append(self._publish_books)
        return application

    def drop_connections(self) -> None:
        self._streams.drop_all()

    def expire_auth(self) -> None:
        """Tokens are checked when used, so streams that stand on them are broken too: else nobody would notice."""
        self._keys.expire_tokens()
        self._streams.drop_private()

    def tick(self) -> None:
        self._keys.warm()
        self._orders.run_switches()
        self._streams.tick()

    def _read(self, name: str, handler: Callable[[Call], Row]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            call = Call(request.query, _token(request), self._keys)
            try:
                proven = call.proven_account()
                who = request.remote or "" if proven is None else str(proven)
                self._limits.charge(who, name, self._clock.mono_ns())
                return _json(200, handler(call))
            except ApiError as error:
                return _json(error.status, error.body())

        return endpoint

    async def _on_send(self, request: web.Request) -> web.Response:
        return await self._send(request, "tx_type", "tx_info", _single)

    async def _on_send_batch(self, request: web.Request) -> web.Response:
        return await self._send(request, "tx_types", "tx_infos", _batch)

    async def _send(
        self, request: web.Request, kinds: str, infos: str, read: Callable[[str, str], list[tuple[int, str]]]
    ) -> web.Response:
        """Both form encodings are taken."""
        try:
            form = await request.post()
        except (ValueError, LookupError, HttpProcessingError):  # no such encoding, or not what it says
            error = invalid_param(infos)
            return _json(error.status, error.body())
        texts = [str(form.get(name, "")) for name in (kinds, infos)]
        try:
            if not all(texts):
                raise invalid_param(kinds if not texts[0] else infos)
            accepted = self._desk.submit(list(read(texts[0], texts[1])), BATCH_MAX_REST)
        except ApiError as error:
            return _json(error.status, error.body())
        hashes = [known.tx_hash for known in accepted]
        last = accepted[-1]
        answer = {
            "code": 200,
            "message": NO_QUOTA,
            "tx_hash": hashes[0] if read is _single else hashes,
            "predicted_execution_time_ms": _predicted_ms(last),
            "volume_quota_remaining": 0,
        }
        return _json(200, answer)

    async def _publish_books(self, application: web.Application) -> AsyncIterator[None]:
        async def run() -> None:
            while True:
                await asyncio.sleep(BOOK_INTERVAL_S)
                self._streams.publish_books()

        task = asyncio.create_task(run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _single(kind: str, info: str) -> list[tuple[int, str]]:
    number = whole(kind)
    if number is None:
        raise invalid_param("tx_type")
    return [(number, info)]


def _batch(kinds: str, infos: str) -> list[tuple[int, str]]:
    """`[14,15]` and a JSON array of strings."""
    try:
        numbers, texts = orjson.loads(kinds), orjson.loads(infos)
    except orjson.JSONDecodeError:
        raise invalid_param("tx_infos") from None
    if not isinstance(numbers, list) or not isinstance(texts, list) or len(numbers) != len(texts):
        raise invalid_param("tx_infos")
    if not all(isinstance(n, int) for n in numbers) or not all(isinstance(text, str) for text in texts):
        raise invalid_param("tx_infos")
    return list(zip(numbers, texts, strict=True))


def _predicted_ms(known: Known) -> int:
    return known.queued_ms + round(known.wait_s * 1000)


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "") or request.query.get("auth", "")


def _json(status: int, body: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
