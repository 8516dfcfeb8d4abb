"""GRVT's reads: all are POSTs, public ones to the market-data host, account ones with the session's headers (grvt.md 2, 5, 8, 9).

The venue's budget is not public. What is assumed here: 1200 units of 50 ms a minute, with the weights that ccxt paces itself
by. A request that is refused for its session logs in once and is repeated; reads may be, whatever became of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.log import Log
from core.specs import grvt as specs
from core.types import Balance, Fill, Instrument, Position
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.throttle import Throttle
from executor.venues import _grvt_answers as answers
from executor.venues import _grvt_rows as rows
from executor.venues._client_numbers import ClientNumbers
from executor.venues._grvt_session import JSON, Sessions
from executor.venues._grvt_wire import expiration_ns
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

PREFIX = "/full/v1/"
TIME_REQUEST = HttpRequest("GET", "/time")
WEIGHTS = {"create_order": 1, "cancel_order": 1, "cancel_all_orders": 10, "cancel_on_disconnect": 20}
READ_WEIGHT, PUBLIC_WEIGHT = 4, 1
PAGE_ROWS = 1000
MAX_PAGES = 20
MAX_SKEW_NS = NS_PER_S
SETTLE_NS = 2 * NS_PER_S
"""After a signature's end, until an order that was taken just before it must show in the lists: the speed bump is 25 ms."""
HISTORY_SLACK_NS = 60 * NS_PER_S
RATE_PAUSE_S = 10.0
BOOK_DEPTH = 10
Row = TypeVar("Row")


class Reads:
    """All reads of one account. `listed` gives the present catalogue by venue symbol."""

    def __init__(
        self,
        market_lane: HttpLane,
        trade_lane: HttpLane,
        sessions: Sessions,
        throttle: Throttle,
        sub_account: str,
        memory: OrderMemory,
        numbers: ClientNumbers,
        skew: ClockSkew,
        listed: Callable[[], rows.Listed],
        unlisted: Callable[[Mapping[str, Decimal]], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._market_lane = market_lane
        self._trade_lane = trade_lane
        self._sessions = sessions
        self._throttle = throttle
        self._sub_account = sub_account
        self._memory = memory
        self._numbers = numbers
        self._skew = skew
        self._listed = listed
        self._unlisted = unlisted
        self._clock = clock
        self._log = log
        self._maintenance: dict[str, float] = {}

    # ---- catalogue, clock, account settings -----------------------------------------------------------------------

    async def require_account(self) -> None:
        """The configured trading account must be one of the API key's."""
        data = await self.private("get_sub_accounts", {}, priority=True)
        found = rows.decode(data, rows.AccountsAnswer, "get_sub_accounts").sub_account_ids
        if self._sub_account not in found:
            raise VenueError(
                f"grvt: trading account {self._sub_account} is not one of this API key's ({', '.join(found) or 'none'}); "
                "check GRVT_SUB_ACCOUNT_ID"
            )

    async def catalogue(self, symbols: tuple[str, ...]) -> list[specs.Listing]:
        """With the account's own leverage bounds, and the maintenance margins of `symbols`, read once each."""
        data = await self._public("all_instruments", {"is_active": True})
        leverages = specs.leverages_of(await self._own("get_all_initial_leverage"))
        for listing in specs.listings(data):
            name = listing.instrument.venue_symbol
            if listing.instrument.symbol in symbols and name not in self._maintenance:
                rules = await self._public("margin_rules", {"instrument": name})
                self._maintenance[name] = specs.maintenance_of(rules)
        return specs.listings(data, leverages, self._maintenance)

    async def fees(self) -> FeeRates:
        data = await self.private("funding_account_summary", {}, priority=True)
        return rows.fee_rates(rows.decode(data, rows.TierAnswer, "funding_account_summary").tier)

    async def leverage(self, instrument: Instrument) -> specs.Leverage:
        found = specs.leverages_of(await self._own("get_all_initial_leverage"))
        if instrument.venue_symbol not in found:
            raise Malformed(f"grvt get_all_initial_leverage: says nothing of {instrument.venue_symbol}")
        return found[instrument.venue_symbol]

    async def measure_clock(self) -> None:
        """One exact sample of the venue's clock. Raises VenueError."""
        self._throttle.require(PUBLIC_WEIGHT, priority=True)
        asked_ns = self._clock.wire_ns()
        reply = await self._market_lane.fetch(TIME_REQUEST)
        told = rows.decode(self._checked("time", reply), rows.TimeAnswer, "time")
        self._skew.note(told.server_time * NS_PER_MS, asked_ns, self._clock.wire_ns())

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        data = await self._own("positions")
        found, strange = rows.positions(rows.decode(data, rows.PositionsAnswer, "positions").result, self._listed())
        self._unlisted(strange)
        return found

    async def balance(self) -> Balance:
        asked_ns = self._clock.wire_ns()
        return rows.balance(
            rows.decode(await self._own("account_summary"), rows.SummaryAnswer, "account_summary").result, asked_ns
        )

    async def open_orders(self) -> list[VenueOrder]:
        data = await self._own("open_orders")
        return self._orders(rows.decode(data, rows.Page[rows.OrderRow], "open_orders").result)

    async def lookup(self, client_order_id: str) -> VenueOrder | NotFound:
        """By client number: among the orders that the venue holds, then in the history of ended ones. What neither knows
        never was, once its signature's time is over for certain; before that it may still be on its way."""
        number = self._numbers.of(client_order_id)
        sent = self._memory.sent(client_order_id)
        ends_ns = 0 if sent is None else expiration_ns(sent) + MAX_SKEW_NS + SETTLE_NS
        closed = sent is not None and self._clock.wire_ns() > ends_ns
        found = await self._order(number)
        if found is None and closed and sent is not None:
            found = await self._in_history(number, sent.prepared_wire_ns - HISTORY_SLACK_NS)
        return NotFound(definitive=closed) if found is None else found

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        listed, found = self._listed(), []
        for row in await self._pages("fill_history", rows.Page[rows.FillRow], since_wire_ns):
            fill = rows.fill(row, listed, self._numbers.name)
            if fill is None:
                self._log.warning("fill_of_unknown_instrument", venue="grvt", instrument=row.instrument)
                continue
            self._memory.bind(fill.venue_order_id, fill.client_order_id)
            found.append(fill)
        return sorted(found, key=lambda fill: fill.ts_ns)

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        listed = self._listed()
        found = await self._pages("funding_payment_history", rows.Page[rows.PaymentRow], since_wire_ns)
        payments = (rows.payment(row, listed) for row in found)
        return [payment for payment in payments if payment is not None]

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        name = {"instrument": instrument.venue_symbol}
        book = await self._public("book", {**name, "depth": BOOK_DEPTH})
        return rows.top(book, await self._public("mini", name))

    async def private(self, name: str, body: Mapping[str, object], *, priority: bool) -> bytes:
        """An account request that may be repeated; a refused session is renewed once. Raises VenueError."""
        return await self.send(name, msgspec.json.encode(body), priority=priority)

    async def send(self, name: str, body: bytes, *, priority: bool) -> bytes:
        """The same of ready bytes: reads, and settings whose repetition changes nothing."""
        for _ in range(2):
            self._throttle.require(WEIGHTS.get(name, READ_WEIGHT), priority=priority)
            headers = tuple(self._sessions.headers)
            reply = await self._trade_lane.fetch(HttpRequest("POST", PREFIX + name, body, JSON, headers))
            if reply.status == 200 or answers.error_of(reply) != answers.SESSION_CODE:
                break
            if not await self._sessions.renewed(headers):
                break
        return self._checked(name, reply)

    # ---- private --------------------------------------------------------------------------------------------------

    async def _order(self, number: int) -> VenueOrder | None:
        try:
            data = await self._own("order", client_order_id=str(number))
        except _Absent:
            return None
        found = self._orders([rows.decode(data, rows.OrderAnswer, "order").result])
        return found[0] if found else None

    async def _in_history(self, number: int, since_wire_ns: int) -> VenueOrder | None:
        for row in await self._pages("order_history", rows.Page[rows.OrderRow], since_wire_ns):
            if row.metadata.client_order_id == number:
                return next(iter(self._orders([row])), None)
        return None

    def _orders(self, told: list[rows.OrderRow]) -> list[VenueOrder]:
        found = []
        for row in told:
            order = rows.order(row, self._listed(), self._numbers.name)
            if order is None:
                self._log.warning("order_of_unknown_instrument", venue="grvt", instrument=row.legs[0].instrument)
                continue
            self._memory.bind(order.venue_order_id, order.client_order_id)
            found.append(order)
        return found

    async def _pages(self, name: str, kind: type[rows.Page[Row]], since_wire_ns: int) -> list[Row]:
        """All rows since; the venue gives the newest first, a page at a time."""
        found: list[Row] = []
        cursor = ""
        for _ in range(MAX_PAGES):
            start = str(max(0, since_wire_ns))
            page = rows.decode(await self._own(name, start_time=start, limit=PAGE_ROWS, cursor=cursor), kind, name)
            found += page.result
            cursor = page.next
            if not cursor or not page.result:
                return found
        raise Malformed(f"grvt {name}: more rows than can be paged through")

    async def _own(self, name: str, **body: object) -> bytes:
        told = {key: value for key, value in body.items() if value != ""}
        return await self.private(name, {"sub_account_id": self._sub_account, **told}, priority=True)

    async def _public(self, name: str, body: Mapping[str, object]) -> bytes:
        self._throttle.require(PUBLIC_WEIGHT, priority=True)
        request = HttpRequest("POST", PREFIX + name, msgspec.json.encode(body), JSON)
        return self._checked(name, await self._market_lane.fetch(request))

    def _checked(self, name: str, reply: HttpReply) -> bytes:
        if reply.status == 200:
            return reply.body
        code = answers.error_of(reply)
        detail = f"grvt {name}: HTTP {reply.status}, code {code}"
        if reply.status == answers.RATE_STATUS:
            self._throttle.pause(RATE_PAUSE_S, everything=False)
            raise RateLimited(detail, RATE_PAUSE_S)
        if reply.status == 404 and code == answers.NOT_FOUND:
            raise _Absent(detail)
        raise VenueError(detail)


class _Absent(VenueError):
    """The venue's own word that it does not know what was asked for."""
