"""Pacifica's reads: by public address, unsigned (docs/venues/pacifica.md 2, 4, 5, 8 and 9).

Every read costs credits of the one budget that orders live on too; histories cost several. What repair and flatten need may
use the reserve, the rest may not. Lists are newest first, in pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from urllib.parse import urlencode

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.specs import pacifica as specs
from core.types import Balance, Fill, Instrument, OrderStatus, Position, TimeInForce
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.throttle import Throttle
from executor.venues import _pacifica_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

HEAVY, HEAVY_KEYLESS = 4.0, 12.0  # of a history, with and without an API config key: the dearest that is told
RATE_PAUSE_S = 10.0
PAGE_ROWS = 200
MAX_PAGES = 25
FILLS_BACK_NS = (30 * 24 * 3600 - 600) * NS_PER_S  # the venue's own bound, less a margin for the clocks
AHEAD_NS = 60 * NS_PER_S
SETTLE_NS = 3 * NS_PER_S
"""After an order's expiry: by then it is in the venue's histories or never will be. The speed bump is a fifth of a second;
the rest is for histories that lag, as its streams do."""
NO_ROWS_STATUS = 504
"""What histories of an account without rows may answer [SDK]. It counts as "no rows" only while the account states no
position and no order and this process has prepared none: later it could as well hide a fill."""
MISSING_STATUS = 404


class Reads:
    """All reads of one account. `symbols` gives the present catalogue by venue symbol; `headers` go with every request."""

    def __init__(
        self,
        lane: HttpLane,
        throttle: Throttle,
        account: str,
        headers: tuple[tuple[str, str], ...],
        memory: OrderMemory,
        skew: ClockSkew,
        symbols: Callable[[], rows.Symbols],
        note_unlisted: Callable[[Mapping[str, Decimal]], None],
        clock: Clock,
    ) -> None:
        self._lane = lane
        self._throttle = throttle
        self._account = account
        self._headers = headers
        self._heavy = HEAVY if headers else HEAVY_KEYLESS
        self._memory = memory
        self._skew = skew
        self._symbols = symbols
        self._note_unlisted = note_unlisted
        self._clock = clock
        self.has_prepared = False  # whether this process has signed an order

    # ---- catalogue, clock, account settings -----------------------------------------------------------------------

    async def instruments(self) -> list[Instrument]:
        return specs.instruments((await self._reply("info", {}, 1.0, priority=False)).body)

    async def measure_clock(self) -> None:
        """Any answer brings the venue's Date, which the lane's owner notes. Raises VenueError."""
        await self._reply("info/fees", {}, 1.0, priority=True)

    async def fees(self) -> FeeRates:
        return rows.fee_rates(await self._read_account(priority=False))

    async def settings(self, instrument: Instrument) -> tuple[int, bool]:
        """(leverage, isolated) of one symbol; what is not listed stands at its defaults: the maximum, cross."""
        envelope = await self._own("account/settings", {}, 1.0, priority=True)
        for row in rows.decode(envelope.data, list[rows.SettingsRow], "account/settings"):
            if row.symbol == instrument.venue_symbol:
                return row.leverage, row.isolated
        return instrument.max_leverage, False

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        envelope = await self._own("positions", {}, 1.0, priority=True)
        listed = rows.decode(envelope.data, list[rows.PositionRow], "positions")
        marks = await self._marks() if listed else {}
        found, strange = rows.positions(listed, marks, self._symbols())
        self._note_unlisted(strange)
        return found

    async def balance(self) -> Balance:
        return rows.balance(await self._read_account(priority=True))

    async def open_orders(self) -> list[VenueOrder]:
        found = [self._known(row) for row in await self._open_rows()]
        return [each for each in found if each is not None]

    async def lookup(self, client_order_id: str) -> VenueOrder | NotFound:
        """By order id where an answer or update named it, else among the open orders and the newest of the history.

        NotFound is definitive when this process knows the expiry, the venue's clock is beyond it, and neither the order
        nor a fill of it exists: an expired message can no longer get in (docs/venues/pacifica.md 6).
        """
        settled = self._is_settled(client_order_id)
        sent = self._memory.sent(client_order_id)
        order_id = self._memory.order_of(client_order_id)
        if order_id is not None and (order := await self._by_order_id(order_id)) is not None:
            return order
        for row in await self._open_rows():
            if rows.client_id(row.client_order_id) == client_order_id and (order := self._known(row)) is not None:
                return order
        since_ns = 0 if sent is None else sent.prepared_wire_ns - SETTLE_NS
        past = await self._past_order(client_order_id, since_ns)
        if past is not None:
            return past
        if not settled:
            return NotFound(definitive=False)
        seen = [
            row for row in await self._fill_rows(since_ns) if rows.client_id(row.client_order_id) == client_order_id
        ]
        return NotFound(definitive=not seen)

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        found = [rows.fill(row, self._symbols()) for row in await self._fill_rows(since_wire_ns)]
        return [each for each in reversed(found) if each is not None]

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        found: list[FundingPayment] = []
        cursor = ""
        for _ in range(MAX_PAGES):
            envelope = await self._page("funding/history", {}, cursor, 1.0, priority=False)
            page = rows.decode(envelope.data, list[rows.PaymentRow], "funding/history")
            fresh = [row for row in page if row.created_at * NS_PER_MS >= since_wire_ns]
            found += [each for row in fresh if (each := rows.funding(row, self._symbols())) is not None]
            cursor = envelope.next_cursor or ""
            if len(fresh) < len(page) or not envelope.has_more or not cursor:
                return found[::-1]
        raise Malformed("pacifica funding/history: more payments than can be paged through")

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        query = {"symbol": instrument.venue_symbol, "agg_level": "1"}
        envelope = await self._get("book", query, 1.0, priority=True)
        marks = await self._marks()
        if instrument.venue_symbol not in marks:
            raise Malformed(f"pacifica info/prices has no {instrument.venue_symbol}")
        return rows.top(rows.decode(envelope.data, rows.Book, "book"), marks[instrument.venue_symbol])

    # ---- private --------------------------------------------------------------------------------------------------

    async def _read_account(self, *, priority: bool) -> rows.AccountRow:
        envelope = await self._own("account", {}, 1.0, priority=priority)
        return rows.decode(envelope.data, rows.AccountRow, "account")

    async def _marks(self) -> dict[str, Decimal]:
        envelope = await self._get("info/prices", {}, 1.0, priority=True)
        return rows.marks(rows.decode(envelope.data, list[rows.PriceRow], "info/prices"))

    async def _open_rows(self) -> list[rows.OrderRow]:
        envelope = await self._own("orders", {}, 1.0, priority=True)
        return rows.decode(envelope.data, list[rows.OrderRow], "orders")

    async def _by_order_id(self, order_id: str) -> VenueOrder | None:
        """The newest event of one order; None while the venue's history does not know it."""
        reply = await self._reply("orders/history_by_id", {"order_id": order_id}, 1.0, priority=True)
        if reply.status == MISSING_STATUS:
            return None
        events = rows.decode(_success(reply, "orders/history_by_id").data, list[rows.OrderRow], "orders/history_by_id")
        return self._known(max(events, key=lambda row: row.history_id)) if events else None

    async def _past_order(self, client_order_id: str, since_ns: int) -> VenueOrder | None:
        """Through the history down to `since_ns`; where that is not known, its newest page only."""
        cursor = ""
        for _ in range(MAX_PAGES):
            envelope = await self._page("orders/history", {}, cursor, self._heavy, priority=True)
            page = rows.decode(envelope.data, list[rows.OrderRow], "orders/history")
            for row in page:
                if rows.client_id(row.client_order_id) == client_order_id:
                    return self._known(row)
            cursor = envelope.next_cursor or ""
            oldest_ns = page[-1].created_at * NS_PER_MS if page else 0
            if not since_ns or not envelope.has_more or not cursor or oldest_ns < since_ns:
                return None
        raise Malformed("pacifica orders/history: more orders than can be paged through")

    async def _fill_rows(self, since_wire_ns: int) -> list[rows.FillRow]:
        """Newest first."""
        now_ns = self._clock.wire_ns()
        start_ns = max(since_wire_ns, now_ns - FILLS_BACK_NS, 0)
        window = {"start_time": str(start_ns // NS_PER_MS), "end_time": str((now_ns + AHEAD_NS) // NS_PER_MS)}
        found: dict[int, rows.FillRow] = {}
        cursor = ""
        for _ in range(MAX_PAGES):
            envelope = await self._page("trades/history", window, cursor, self._heavy, priority=True)
            page = rows.decode(envelope.data, list[rows.FillRow], "trades/history")
            found |= {row.history_id: row for row in page}
            cursor = envelope.next_cursor or ""
            if not envelope.has_more or not cursor:
                return list(found.values())
        raise Malformed("pacifica trades/history: more fills than can be paged through")

    def _known(self, row: rows.OrderRow) -> VenueOrder | None:
        """As an order of the venue; what it tells of our ids is remembered. An IOC whose rest was dropped has expired."""
        order = rows.order(row, self._symbols())
        if order is None:
            return None
        self._memory.bind(order.venue_order_id, order.client_order_id)
        return ended(order, self._memory)

    def _is_settled(self, client_order_id: str) -> bool:
        sent = self._memory.sent(client_order_id)
        venue_ns = self._clock.wire_ns() + self._skew.offset_ns
        return sent is not None and venue_ns > sent.expires_wire_ns + SETTLE_NS

    async def _page(
        self, path: str, query: dict[str, str], cursor: str, weight: float, *, priority: bool
    ) -> rows.Envelope:
        """One page of a history of the account."""
        more = {"account": self._account, "limit": str(PAGE_ROWS)} | ({"cursor": cursor} if cursor else {})
        reply = await self._reply(path, query | more, weight, priority=priority)
        if reply.status == NO_ROWS_STATUS and not self.has_prepared and await self._is_untouched():
            return rows.Envelope(success=True, data=msgspec.Raw(b"[]"))
        return _success(reply, path)

    async def _is_untouched(self) -> bool:
        account = await self._read_account(priority=True)
        return not account.positions_count and not account.orders_count

    async def _own(self, path: str, query: dict[str, str], weight: float, *, priority: bool) -> rows.Envelope:
        return await self._get(path, {"account": self._account, **query}, weight, priority=priority)

    async def _get(self, path: str, query: dict[str, str], weight: float, *, priority: bool) -> rows.Envelope:
        return _success(await self._reply(path, query, weight, priority=priority), path)

    async def _reply(self, path: str, query: dict[str, str], weight: float, *, priority: bool) -> HttpReply:
        self._throttle.require(weight, priority=priority)
        target = f"/{path}?{urlencode(query)}" if query else f"/{path}"
        reply = await self._lane.fetch(HttpRequest("GET", target, headers=self._headers))
        if reply.status == 429:
            self._throttle.pause(RATE_PAUSE_S, everything=True)
            raise RateLimited(f"pacifica {path}: HTTP 429", RATE_PAUSE_S)
        return reply


def ended(order: VenueOrder, memory: OrderMemory) -> VenueOrder:
    """Cancelled is the venue's word for an IOC remainder too; ours is expired."""
    sent = None if order.client_order_id is None else memory.sent(order.client_order_id)
    if order.status is OrderStatus.CANCELED and sent is not None and sent.time_in_force is TimeInForce.IOC:
        return msgspec.structs.replace(order, status=OrderStatus.EXPIRED)
    return order


def _success(reply: HttpReply, path: str) -> rows.Envelope:
    if reply.status != 200:
        raise VenueError(f"pacifica {path}: HTTP {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}")
    envelope = rows.decode(reply.body, rows.Envelope, path)
    if not envelope.success:
        raise VenueError(f"pacifica {path}: refused: {(envelope.error or '')[:200]}")
    return envelope
