"""Lighter's reads over REST (docs/venues/lighter.md 2, 5, 6, 8, 9).

Every request carries the auth token, public ones too: then only the account's own budget counts it, not the address's,
which the feed shares. On the Standard tier that budget is 60 a minute, transactions included, whatever is asked; hence one
account answer serves positions and balance, and looking for an order waits between its questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.log import Log
from core.specs import lighter as specs
from core.types import Balance, Fill, Instrument, Position
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.venues import _lighter_answers as answers
from executor.venues import _lighter_rows as rows
from executor.venues._lighter_budget import Budget
from executor.venues._lighter_index import ClientIndex
from executor.venues._lighter_nonces import TxNonces
from executor.venues._lighter_tokens import Tokens
from executor.venues._memory import OrderMemory
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

PREFIX = "/api/v1/"
PAGE_ROWS = 100
MAX_PAGES = 20
ACCOUNT_SHARED_NS = 500 * NS_PER_MS
ACCOUNT_SETTINGS_NS = 2 * NS_PER_S
ORDERS_KEPT_NS = 23 * 3600 * NS_PER_S  # `accountOrders` knows active orders and those of the last day
RATE_PAUSE_S = 5.0
FIREWALL_PAUSE_S = 60.0
FIREWALL_STATUS = 405


class Reads:
    """All reads of one account. `listed` gives the present catalogue by market id."""

    def __init__(
        self,
        lane: HttpLane,
        budget: Budget,
        tokens: Tokens,
        account: int,
        key_index: int,
        memory: OrderMemory,
        index: ClientIndex,
        nonces: TxNonces,
        listed: Callable[[], rows.Listed],
        note_unlisted: Callable[[Mapping[str, Decimal]], None],
        verify_delay_s: float,
        clock: Clock,
        log: Log,
    ) -> None:
        self._lane = lane
        self._budget = budget
        self._tokens = tokens
        self._account = account
        self._key_index = key_index
        self._memory = memory
        self._index = index
        self._nonces = nonces
        self._listed = listed
        self._note_unlisted = note_unlisted
        self._verify_delay_s = verify_delay_s
        self._clock = clock
        self._log = log
        self._defaults: dict[int, int] = {}
        self._shared: tuple[int, rows.AccountRow] | None = None  # asked at (mono)
        self._balance_told = False  # whether it has served a balance already

    # ---- catalogue, account settings ------------------------------------------------------------------------------

    async def instruments(self) -> list[Instrument]:
        data = await self._get("orderBookDetails", "filter=perp", priority=True)
        self._defaults = rows.default_leverages(data)
        return specs.instruments(data)

    async def fees(self) -> FeeRates:
        """Also proves token, key and account at once."""
        data = await self._get("accountLimits", f"account_index={self._account}", priority=True)
        return rows.fee_rates(rows.decode(data, rows.LimitsAnswer, "accountLimits"))

    async def next_nonce(self) -> int:
        """The nonce to use next, as far as the sequencer has come; it lags behind accepted transactions."""
        query = f"account_index={self._account}&api_key_index={self._key_index}"
        data = await self._get("nextNonce", query, priority=True)
        return rows.decode(data, rows.NonceAnswer, "nextNonce").nonce

    async def leverage(self, instrument: Instrument) -> tuple[int, bool]:
        """Leverage of a market, and whether its margin is cross."""
        for row in (await self._account_row(ACCOUNT_SETTINGS_NS)).positions:
            if row.market_id == instrument.venue_index:
                return rows.leverage_of(row.initial_margin_fraction), row.margin_mode == 0
        default = self._defaults.get(instrument.venue_index, 0)
        if not default:
            raise Malformed(f"lighter {instrument.venue_symbol}: leverage was never set and no default is published")
        return default, True

    async def switch_time_ms(self) -> int:
        """When the scheduled cancel-all strikes (UTC), 0 = none is scheduled."""
        return (await self._account_row(0)).cancel_all_time

    def forget_account(self) -> None:
        """What was read is no longer the present: something was changed."""
        self._shared = None

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        found, strange = rows.positions((await self._account_row(0)).positions, self._listed())
        self._note_unlisted(strange)
        return found

    async def balance(self) -> Balance:
        """From the answer that `positions` has just read, once, or from a new one."""
        asked_ns = self._clock.wire_ns()
        row = await self._account_row(0 if self._balance_told else ACCOUNT_SHARED_NS)
        self._balance_told = True
        return rows.balance(row, asked_ns)

    async def open_orders(self) -> list[VenueOrder]:
        data = await self._get("accountActiveOrders", f"account_index={self._account}", priority=True)
        found = []
        for row in rows.decode(data, rows.OrdersAnswer, "accountActiveOrders").orders:
            order = rows.order(row, self._listed(), self._index.name)
            if order is None:
                self._log.error("order_of_unknown_market", venue="lighter", market=row.market_index)
                continue
            self._memory.bind(order.venue_order_id, order.client_order_id)
            found.append(order)
        return found

    async def lookup(self, client_order_id: str) -> VenueOrder | NotFound:
        """By client index. NotFound is definitive when the venue's next nonce had passed the order's own before the order
        was looked for, twice with a pause between: then its transaction was executed already or never will be, and an
        executed one would be listed. Not for orders older than what the venue lists."""
        sent = self._memory.sent(client_order_id)
        prepared_ns = sent.prepared_wire_ns if sent is not None else self._index.prepared_wire_ns(client_order_id)
        listed = self._clock.wire_ns() - prepared_ns < ORDERS_KEPT_NS
        spent = self._nonces.is_spent(None if sent is None else sent.nonce, await self.next_nonce())
        found = await self.order(client_order_id)
        if found is not None or not spent or not listed:
            return NotFound(definitive=False) if found is None else found
        await asyncio.sleep(self._verify_delay_s)
        return await self.order(client_order_id) or NotFound(definitive=True)

    async def order(self, client_order_id: str) -> VenueOrder | None:
        """None when the venue does not list it (or its market is not in the catalogue)."""
        query = f"account_index={self._account}&client_order_indexes={self._index.of(client_order_id)}"
        data = await self._get("accountOrders", query, priority=True)
        for row in rows.decode(data, rows.OrdersAnswer, "accountOrders").orders:
            order = rows.order(row, self._listed(), self._index.name)
            if order is not None and order.client_order_id == client_order_id:
                self._memory.bind(order.venue_order_id, client_order_id)
                return order
        return None

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        """Newest first at the venue, a page at a time, until older ones come."""
        found: list[Fill] = []
        cursor = ""
        for _ in range(MAX_PAGES):
            query = f"sort_by=timestamp&limit={PAGE_ROWS}&account_index={self._account}{cursor}"
            answer = rows.decode(await self._get("trades", query, priority=True), rows.TradesAnswer, "trades")
            for row in answer.trades:
                if row.timestamp * NS_PER_MS >= since_wire_ns:
                    found += rows.fills(row, self._listed(), self._account, self._index.name)
            older = any(row.timestamp * NS_PER_MS < since_wire_ns for row in answer.trades)
            if older or not answer.next_cursor or not answer.trades:
                return sorted(found, key=lambda fill: fill.ts_ns)
            cursor = f"&cursor={answer.next_cursor}"
        raise Malformed("lighter trades: more fills than can be paged through")

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        found: list[FundingPayment] = []
        cursor = ""
        for _ in range(MAX_PAGES):
            query = f"account_index={self._account}&limit={PAGE_ROWS}{cursor}"
            answer = rows.decode(
                await self._get("positionFunding", query, priority=True), rows.FundingAnswer, "positionFunding"
            )
            recent = [row for row in answer.position_fundings if row.timestamp * NS_PER_S >= since_wire_ns]
            found += [each for row in recent if (each := rows.funding(row, self._listed())) is not None]
            if len(recent) < len(answer.position_fundings) or not answer.next_cursor or not recent:
                return found
            cursor = f"&cursor={answer.next_cursor}"
        raise Malformed("lighter positionFunding: more payments than can be paged through")

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        market = f"market_id={instrument.venue_index}"
        book = await self._get("orderBookOrders", f"{market}&limit=1", priority=True)
        return rows.top(book, await self._get("orderBookDetails", market, priority=True))

    # ---- private --------------------------------------------------------------------------------------------------

    async def _account_row(self, max_age_ns: int) -> rows.AccountRow:
        """The account, at most `max_age_ns` old."""
        now_ns = self._clock.mono_ns()
        if self._shared is not None and now_ns - self._shared[0] < max_age_ns:
            return self._shared[1]
        data = await self._get("account", f"by=index&value={self._account}", priority=True)
        accounts = rows.decode(data, rows.AccountAnswer, "account").accounts
        if len(accounts) != 1:
            raise Malformed(f"lighter account: {len(accounts)} rows for one index")
        self._shared = now_ns, accounts[0]
        self._balance_told = False
        return accounts[0]

    async def _get(self, name: str, query: str, *, priority: bool = False) -> bytes:
        """One refused token is renewed, once."""
        reply = await self._ask(name, query, priority)
        if reply.status == 401 or (reply.status != 200 and answers.error_code(reply) == answers.AUTH_CODE):
            self._tokens.drop(f"{name}: HTTP {reply.status}")
            reply = await self._ask(name, query, priority)
        if reply.status == 200:
            return reply.body
        if reply.status in answers.RATE_STATUSES:
            pause_s = pause_of(reply)
            self._budget.pause(pause_s, everything=reply.status == FIREWALL_STATUS)
            raise RateLimited(f"lighter {name}: HTTP {reply.status}", pause_s)
        raise VenueError(f"lighter {name}: HTTP {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}")

    async def _ask(self, name: str, query: str, priority: bool) -> HttpReply:
        self._budget.require_read(name, priority=priority)
        token = await self._tokens.token()
        return await self._lane.fetch(HttpRequest("GET", f"{PREFIX}{name}?{query}&auth={token}"))


def pause_of(reply: HttpReply) -> float:
    """Seconds to keep quiet: the firewall's are fixed, the API's short."""
    return FIREWALL_PAUSE_S if reply.status == FIREWALL_STATUS else RATE_PAUSE_S
