"""Variational's account and catalogue by REST, within the budget of reads (docs/venues/variational.md 2, 8 and 9).

Lists come newest first by the time at which an order was made, which is all that is recorded of their order; a page is asked
for until it reaches far enough back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from urllib.parse import urlencode

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.specs import variational as specs
from core.types import Balance, Fill, Instrument, Position, Side
from executor.http_lane import HttpLane, HttpRequest
from executor.signing import variational as signing
from executor.throttle import Throttle
from executor.venues import _variational_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues._variational_answers import LIMITED, wait_s
from executor.venues._variational_flights import Flights, Owner
from executor.venues._variational_web import WebTransport
from executor.venues.base import FundingPayment, LiveQuote, NotFound, TopOfBook, VenueOrder

PAGE_ROWS = 50
MAX_PAGES = 20
OVERLAP_NS = 60 * NS_PER_S
"""An order that was made before a gap may have cleared in it, and rows tell only when they were made."""
QUOTE_NS = 900 * NS_PER_MS
"""From the request on; how long the venue honours a quote is not published (page 3b)."""
OLD_NS = 5 * NS_PER_S
STATS = "/metadata/stats"
ASSETS = "/metadata/supported_assets"


class Reads:
    """`marks`: what the statistics last said, by canonical symbol."""

    def __init__(
        self,
        web: WebTransport,
        stats: HttpLane,
        throttle: Throttle,
        quotes: Throttle,
        memory: OrderMemory,
        flights: Flights,
        symbols: Callable[[], rows.Symbols],
        unlisted: Callable[[Mapping[str, Decimal]], None],
        offset_ns: Callable[[], int],
        clock: Clock,
    ) -> None:
        self._web = web
        self._stats = stats
        self._throttle = throttle
        self._quotes = quotes
        self._memory = memory
        self._flights = flights
        self._symbols = symbols
        self._unlisted = unlisted
        self._offset_ns = offset_ns
        self._clock = clock
        self._marks: dict[str, Decimal] = {}

    # ---- catalogue ------------------------------------------------------------------------------------------------

    async def instruments(self) -> list[Instrument]:
        """What the statistics list and the web interface calls a perpetual of this kind; real-world assets close at times,
        and are left out."""
        reply = await self._stats.fetch(HttpRequest("GET", STATS))
        if reply.status in LIMITED:
            raise RateLimited(f"variational stats: HTTP {reply.status}", wait_s(reply))
        if reply.status != 200:
            raise VenueError(f"variational stats: HTTP {reply.status}")
        assets = rows.decode(await self._get(ASSETS, {}, priority=True), dict[str, list[rows.AssetRow]], ASSETS)
        perpetual = {
            name
            for name, kinds in assets.items()
            if any(kind.has_perp and kind.instrument_type == rows.PERPETUAL for kind in kinds)
        }
        self._marks = {specs.canonical(row.ticker): row.mark_price for row in specs.listings(reply.body)}
        return [row for row in specs.instruments(reply.body) if row.venue_symbol in perpetual]

    # ---- prices ---------------------------------------------------------------------------------------------------

    async def quote(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        """A price for exactly `lots`, good from now on for less than QUOTE_NS."""
        asked_ns = self._clock.mono_ns()
        qty = lots * instrument.lot_size
        row = await self._quote(instrument, qty)
        px = row.ask if side is Side.BUY else row.bid
        if px is None or not specs.is_figure(px):
            raise VenueError(f"variational: no {side.value} price for {qty} {instrument.venue_symbol} now")
        refusal = row.refuses(qty)
        if refusal:
            raise VenueError(f"variational: {qty} {instrument.venue_symbol} cannot be traded: {refusal}")
        return LiveQuote(quote_id=row.quote_id, side=side, lots=lots, px=px, valid_until_mono_ns=asked_ns + QUOTE_NS)

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        """Of a live quote for the least that can be traded: there is no book."""
        mark = self._marks.get(instrument.symbol)
        lots = 1 if mark is None else instrument.min_lots(mark)
        row = await self._quote(instrument, lots * instrument.lot_size)
        rows.require_finite(row.bid, row.ask, row.mark_price)
        return TopOfBook(bid_px=row.bid or Decimal(0), ask_px=row.ask or Decimal(0), mark_px=row.mark_price)

    async def _quote(self, instrument: Instrument, qty: Decimal) -> rows.QuoteRow:
        self._quotes.require(1.0, priority=True)
        body = signing.quote_body(instrument.venue_symbol, qty)
        try:
            answer = await self._web.ask("/quotes/indicative", body)
        except RateLimited as error:
            self._quotes.pause(error.retry_after_s, everything=True)
            raise
        row = rows.decode(answer, rows.QuoteRow, "quotes/indicative")
        age_ns = self._clock.wire_ns() + self._offset_ns() - specs.ns_of(row.timestamp)
        if rows.instrument_of(row.instrument, self._symbols()) != instrument or row.qty != qty or not row.quote_id:
            raise Malformed(f"variational quotes/indicative: not the quote for {qty} {instrument.venue_symbol}")
        if age_ns > OLD_NS:
            raise Malformed(f"variational quotes/indicative: a quote that is {age_ns / NS_PER_S:.1f} s old")
        return row

    # ---- account --------------------------------------------------------------------------------------------------

    async def open_orders(self) -> list[VenueOrder]:
        found = await self._orders({"status": "pending"}, 0, priority=True)
        return [each for row in found if (each := self.order(row)) is not None]

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        """By its rfq, or, where the answer that named it was lost, by what it must look like. The venue proves nothing by not
        knowing an order: the answer is never definitive."""
        sent = self._memory.sent(client_order_id)
        if sent is None:
            return NotFound(definitive=False)
        since_ns = sent.prepared_wire_ns + self._offset_ns() - OVERLAP_NS
        name = f"P-{instrument.venue_symbol}-USDC-3600"
        for row in await self._orders({"instrument": name}, since_ns, priority=True):
            found = self.order(row)
            if found is not None and found.client_order_id == client_order_id:
                return found
        return NotFound(definitive=False)

    async def positions(self) -> list[Position]:
        """What is less than a lot, or in a contract that is not in the catalogue, is told apart."""
        found, strange = [], {}
        held = rows.decode(await self._get("/positions", {}, priority=True), list[rows.PositionRow], "positions")
        for row in held:
            info = row.position_info
            rows.require_finite(info.qty)
            instrument = rows.instrument_of(info.instrument, self._symbols())
            lots, rest = (0, info.qty) if instrument is None else rows.cut(info.qty, instrument)
            if rest:
                strange[info.instrument.underlying] = rest
            if instrument is not None and lots:
                found.append(rows.position(row, instrument, lots))
        self._unlisted(strange)
        return found

    async def balance(self) -> Balance:
        body = await self._get("/portfolio", {"compute_margin": "true"}, priority=True)
        return rows.balance(rows.decode(body, rows.Portfolio, "portfolio"), self._clock.wire_ns())

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        """Oldest first."""
        found = await self._orders({"status": "cleared"}, since_wire_ns - OVERLAP_NS, priority=True)
        fills = [self.fill(row) for row in found]
        return [each for each in reversed(fills) if each is not None]

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        found: dict[str, FundingPayment] = {}
        for page in range(MAX_PAGES):
            told = await self.transfers(page)
            for row in told:
                payment = rows.funding(row, self._symbols())
                if payment is not None and payment.ts_ns >= since_wire_ns:
                    found[payment.payment_id] = payment
            if len(told) < PAGE_ROWS or specs.ns_of(told[-1].created_at) < since_wire_ns:
                return list(found.values())[::-1]
        raise Malformed("variational transfers: more than can be paged through")

    async def transfers(self, page: int = 0) -> list[rows.TransferRow]:
        """Newest first."""
        body = await self._get("/transfers", _page(page), priority=False)
        return rows.decode(body, rows.Transfers, "transfers").result

    async def newest_orders(self) -> list[rows.OrderRow]:
        """One page."""
        return await self._order_page({}, 0, priority=True)

    async def leverage(self, instrument: Instrument) -> int:
        name = instrument.venue_symbol
        self._throttle.require(1.0, priority=True)
        answer = await self._web.ask("/settlement_pools/leverage", msgspec.json.encode({"assets": [name]}))
        told = rows.decode(answer, dict[str, rows.LeverageRow], "settlement_pools/leverage").get(name)
        if told is None or not told.current.is_finite():
            raise Malformed(f"variational settlement_pools/leverage says nothing of {name}")
        return int(told.current)

    # ---- rows -----------------------------------------------------------------------------------------------------

    def order(self, row: rows.OrderRow) -> VenueOrder | None:
        self.owner(row)
        return rows.order(row, self._symbols(), self._memory.client_of(row.rfq_id))

    def fill(self, row: rows.OrderRow) -> Fill | None:
        self.owner(row)
        return rows.fill(row, self._symbols(), self._memory.client_of(row.rfq_id))

    def owner(self, row: rows.OrderRow) -> Owner:
        """Whose order a row is of. What cannot be read as an order is nobody's yet."""
        told = rows.order(row, self._symbols(), None)
        if told is None:
            return Owner.FOREIGN
        return self._flights.owner(row.rfq_id, told.symbol, told.side, told.lots, row.created_ns)

    # ---- private --------------------------------------------------------------------------------------------------

    async def _orders(self, query: dict[str, str], since_ns: int, *, priority: bool) -> list[rows.OrderRow]:
        """Newest first, made at `since_ns` (venue clock) or later."""
        found: dict[str, rows.OrderRow] = {}
        for page in range(MAX_PAGES):
            told = await self._order_page(query, page, priority=priority)
            found |= {row.rfq_id: row for row in told if row.created_ns >= since_ns}
            if len(told) < PAGE_ROWS or told[-1].created_ns < since_ns:
                return list(found.values())
        raise Malformed("variational orders/v2: more orders than can be paged through")

    async def _order_page(self, query: dict[str, str], page: int, *, priority: bool) -> list[rows.OrderRow]:
        body = await self._get("/orders/v2", query | _page(page), priority=priority)
        return rows.decode(body, rows.Orders, "orders/v2").result

    async def _get(self, path: str, query: dict[str, str], *, priority: bool) -> bytes:
        self._throttle.require(1.0, priority=priority)
        try:
            return await self._web.get(f"{path}?{urlencode(query)}" if query else path)
        except RateLimited as error:
            self._throttle.pause(error.retry_after_s, everything=True)
            raise


def _page(page: int) -> dict[str, str]:
    return {"limit": str(PAGE_ROWS), "offset": str(page * PAGE_ROWS), "order_by": "created_at", "order": "desc"}
