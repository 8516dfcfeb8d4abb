"""Aster's reads: public ones plain, account ones signed with a nonce of their own (docs/venues/aster.md 2, 5, 8, 9).

Weights are those of the page, per IP. What repair and flatten need may use the reserve of the budget; the rest may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from core.errors import Malformed, NotSent, RateLimited, VenueError
from core.log import Log
from core.specs import aster as specs
from core.types import Balance, Fill, Instrument, Position
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.nonces import NonceSource
from executor.signing.aster import Params, Signer
from executor.throttle import Throttle
from executor.venues import _aster_answers as answers
from executor.venues import _aster_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

WEIGHTS = {
    "/fapi/v3/openOrders": 40,
    "/fapi/v3/income": 30,
    "/fapi/v3/positionSide/dual": 30,
    "/fapi/v3/multiAssetsMargin": 30,
    "/fapi/v3/commissionRate": 20,
    "/fapi/v3/positionRisk": 5,
    "/fapi/v3/accountWithJoinMargin": 5,
    "/fapi/v3/userTrades": 5,
}
FORM = "application/x-www-form-urlencoded"
TIME_REQUEST = HttpRequest("GET", "/fapi/v3/time")
PAGE_ROWS = 1000
MAX_PAGES = 20
MAX_OWNER_LOOKUPS = 50
HISTORY_NS = 7 * 24 * 3600 * NS_PER_S - 60 * NS_PER_S
NONCE_WINDOW_NS = 60 * NS_PER_S
NONCE_AGE_US = 45_000_000
"""How old the nonces are that we put on the wire, reads and orders alike. What bounds doubt is the nonce leaving the venue's
window, so an order is sent with most of it gone: one that never arrived is ruled out after 17 s instead of 62. The rest is room
for our clock (1 s), the request (5 s) and the way. All are, since the venue refuses what lies below an agent's last 100. The
window was 10 s until October 2026: a read at start asks whether such nonces are taken, and else they are fresh (`settle_age`)."""
SETTLE_NS = 2 * NS_PER_S
RATE_PAUSE_S = 30.0
MAX_RATE_PAUSE_S = 600.0


class Reads:
    """All reads of one account. `listed` gives the present catalogue by venue symbol, `fees` the present rates."""

    def __init__(
        self,
        lane: HttpLane,
        throttle: Throttle,
        signer: Signer,
        nonces: NonceSource,
        memory: OrderMemory,
        skew: ClockSkew,
        listed: Callable[[], rows.Listed],
        fees: Callable[[], FeeRates],
        note_unlisted: Callable[[Mapping[str, Decimal]], None],
        symbols: tuple[str, ...],
        clock: Clock,
        log: Log,
    ) -> None:
        self._lane = lane
        self._throttle = throttle
        self._signer = signer
        self._nonces = nonces
        self._memory = memory
        self._skew = skew
        self._listed = listed
        self._fees = fees
        self._note_unlisted = note_unlisted
        self._symbols = symbols
        self._age_us = NONCE_AGE_US
        self._clock = clock
        self._log = log

    # ---- catalogue, clock, account settings -----------------------------------------------------------------------

    async def instruments(self) -> list[Instrument]:
        info = await self._public("/fapi/v3/exchangeInfo")
        return specs.instruments(info, await self._signed("/fapi/v3/leverageBrackets"))

    async def fees(self, venue_symbol: str) -> FeeRates:
        data = await self._signed("/fapi/v3/commissionRate", [("symbol", venue_symbol)])
        return rows.fee_rates(rows.decode(data, rows.CommissionRow, "commissionRate"))

    async def measure_clock(self) -> None:
        """One exact sample of the venue's clock. Raises VenueError."""
        asked_ns = self._clock.wire_ns()
        data = await self._public("/fapi/v3/time")
        answered_ns = self._clock.wire_ns()
        self._skew.note(rows.decode(data, rows.TimeRow, "time").serverTime * NS_PER_MS, asked_ns, answered_ns)

    async def settle_age(self) -> None:
        """Ask by a read whether nonces may be as old as ours; for the life of this process. Raises VenueError."""
        self._age_us = NONCE_AGE_US
        reply = await self._get("/fapi/v3/accountWithJoinMargin", (), priority=True)
        if reply.status != 200 and answers.error_code(reply) == answers.NONCE_EXPIRED:
            self._age_us = 0
            self._log.warning("nonces_fresh", venue="aster", detail="old ones are refused: doubt takes a minute to end")

    @property
    def ages_nonces(self) -> bool:
        """Whether the nonces on the wire are older than ours."""
        return self._age_us > 0

    def on_the_wire(self, nonce: int) -> int:
        """The venue's nonce for one of ours (microseconds, both): as unique, and older."""
        return nonce - self._age_us

    def closes_ns(self, nonce: int) -> int:
        """When a request that carries this nonce of ours can no longer be taken, by the venue's clock (UTC ns)."""
        return self.on_the_wire(nonce) * NS_PER_US + NONCE_WINDOW_NS + SETTLE_NS

    async def require_known_mode(self) -> None:
        """Refuse accounts whose positions or margin figures mean something else than is modelled here."""
        dual = rows.decode(await self._signed("/fapi/v3/positionSide/dual"), rows.PositionModeRow, "positionSide/dual")
        if dual.dualSidePosition:
            raise VenueError("aster account is in hedge mode; switch it to one-way position mode, then start again")
        multi = rows.decode(await self._signed("/fapi/v3/multiAssetsMargin"), rows.MultiAssetsRow, "multiAssetsMargin")
        if multi.multiAssetsMargin:
            raise VenueError("aster account uses multi-assets margin; switch it to single-asset mode, then start again")

    async def leverage(self, instrument: Instrument) -> rows.PositionRow:
        """The symbol's row of positionRisk: leverage and margin type."""
        data = await self._signed("/fapi/v3/positionRisk", [("symbol", instrument.venue_symbol)], priority=True)
        found = rows.decode(data, list[rows.PositionRow], "positionRisk")
        if len(found) != 1:
            raise Malformed(
                f"aster positionRisk: {len(found)} rows for {instrument.venue_symbol}, one-way mode has one"
            )
        return found[0]

    async def listen_key(self) -> str:
        """A key for the private stream: new, or the live one with its time extended."""
        data = await self.act("POST", "/fapi/v3/listenKey")
        return rows.decode(data, rows.ListenKeyRow, "listenKey").listenKey

    async def extend_listen_key(self) -> None:
        await self.act("PUT", "/fapi/v3/listenKey")

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        data = await self._signed("/fapi/v3/positionRisk", priority=True)
        found, strange = rows.positions(rows.decode(data, list[rows.PositionRow], "positionRisk"), self._listed())
        self._note_unlisted(strange)
        return found

    async def balance(self) -> Balance:
        asked_ns = self._clock.wire_ns()
        data = await self._signed("/fapi/v3/accountWithJoinMargin", priority=True)
        return rows.balance(rows.decode(data, rows.AccountRow, "accountWithJoinMargin"), asked_ns)

    async def open_orders(self) -> list[VenueOrder]:
        data = await self._signed("/fapi/v3/openOrders", priority=True)
        found = []
        for row in rows.decode(data, list[answers.OrderRow], "openOrders"):
            order = rows.order(row, self._listed())
            if order is not None:
                self._memory.bind(order.venue_order_id, order.client_order_id)
                found.append(order)
        return found

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        """By client id. NotFound is definitive when this process signed the order and its nonce has left the window:
        then the request can no longer be accepted (docs/venues/aster.md 6), and the venue says it never was."""
        sent = self._memory.sent(client_order_id)
        venue_ns = self._clock.wire_ns() + self._skew.offset_ns
        closed = sent is not None and venue_ns > self.closes_ns(sent.nonce)
        found = await self._order(instrument.venue_symbol, ("origClientOrderId", client_order_id))
        return NotFound(definitive=closed) if found is None else found

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        """Per symbol of this run (or, without such a list, of every symbol that paid a commission since), at most the
        last seven days. userTrades carry no client id: it is what this process saw for the order id, else GET /order by
        order id; more than MAX_OWNER_LOOKUPS of these in one call raises rather than call a fill of ours foreign."""
        listed = self._listed()
        start_ms = max(since_wire_ns, self._clock.wire_ns() - HISTORY_NS) // NS_PER_MS
        found: list[Fill] = []
        lookups = 0
        for venue_symbol in await self._traded(start_ms):
            for row in await self._trades(venue_symbol, start_ms):
                order_id = str(row.orderId)
                if not self._memory.knows(order_id):
                    lookups += 1
                    if lookups > MAX_OWNER_LOOKUPS:
                        raise VenueError(
                            f"aster: fills of over {MAX_OWNER_LOOKUPS} orders of unknown origin; ask again"
                        )
                    if await self._order(venue_symbol, ("orderId", order_id)) is None:
                        self._memory.bind(order_id, None)
                fill = rows.trade(row, listed, self._memory.client_of(order_id), self._fees())
                if fill is not None:
                    found.append(fill)
        return sorted(found, key=lambda fill: fill.ts_ns)

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        listed = self._listed()
        payments = (rows.funding(row, listed) for row in await self._income("FUNDING_FEE", since_wire_ns // NS_PER_MS))
        return [payment for payment in payments if payment is not None]

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        query = f"?symbol={instrument.venue_symbol}"
        book = await self._public(f"/fapi/v3/ticker/bookTicker{query}")
        return rows.top(book, await self._public(f"/fapi/v3/premiumIndex{query}"))

    async def act(self, method: str, path: str, params: Params = (), nonce: int = 0) -> bytes:
        """A signed call that changes a setting, never an order; with `nonce` when the caller has one (0 = take the next).
        Raises VenueError unless it answers 200."""
        self._throttle.require(1, priority=True)
        body = self._sign(params, nonce)
        return self._checked(path, await self._lane.fetch(HttpRequest(method, path, body, FORM)))

    # ---- private --------------------------------------------------------------------------------------------------

    async def _order(self, venue_symbol: str, by: tuple[str, str]) -> VenueOrder | None:
        """None when the venue does not know it (or its symbol is not in the catalogue)."""
        reply = await self._get("/fapi/v3/order", [("symbol", venue_symbol), by], priority=True)
        if reply.status != 200 and answers.error_code(reply) == answers.NO_SUCH_ORDER:
            return None
        row = rows.decode(self._checked("/fapi/v3/order", reply), answers.OrderRow, "order")
        order = rows.order(row, self._listed())
        if order is not None:
            self._memory.bind(order.venue_order_id, order.client_order_id)
        return order

    async def _traded(self, start_ms: int) -> list[str]:
        listed = self._listed()
        if self._symbols:
            return [name for name, each in listed.items() if each.symbol in self._symbols]
        return sorted({row.symbol for row in await self._income("COMMISSION", start_ms) if row.symbol in listed})

    async def _trades(self, venue_symbol: str, start_ms: int) -> list[rows.TradeRow]:
        """All since `start_ms`: the first page by time, further ones by id."""
        found: list[rows.TradeRow] = []
        window = [("startTime", str(start_ms))]
        for _ in range(MAX_PAGES):
            params = [("symbol", venue_symbol), *window, ("limit", str(PAGE_ROWS))]
            data = await self._signed("/fapi/v3/userTrades", params, priority=True)
            page = rows.decode(data, list[rows.TradeRow], "userTrades")
            found += page
            if len(page) < PAGE_ROWS:
                return found
            window = [("fromId", str(page[-1].id + 1))]
        raise Malformed(f"aster userTrades: more fills of {venue_symbol} than can be paged through")

    async def _income(self, kind: str, start_ms: int) -> list[rows.IncomeRow]:
        """All rows since; the venue gives the oldest first, a page at a time."""
        found: dict[tuple[str, str, int], rows.IncomeRow] = {}
        for _ in range(MAX_PAGES):
            params = [("incomeType", kind), ("startTime", str(max(0, start_ms))), ("limit", str(PAGE_ROWS))]
            page = rows.decode(await self._signed("/fapi/v3/income", params), list[rows.IncomeRow], "income")
            known = len(found)
            found |= {(row.symbol, str(row.tranId), row.time): row for row in page}
            if len(page) < PAGE_ROWS or len(found) == known:
                break
            start_ms = page[-1].time
        return list(found.values())

    async def _public(self, target: str) -> bytes:
        self._throttle.require(1, priority=True)
        return self._checked(target.partition("?")[0], await self._lane.fetch(HttpRequest("GET", target)))

    async def _signed(self, path: str, params: Params = (), *, priority: bool = False) -> bytes:
        return self._checked(path, await self._get(path, params, priority=priority))

    async def _get(self, path: str, params: Params, *, priority: bool) -> HttpReply:
        self._throttle.require(WEIGHTS.get(path, 1), priority=priority)
        return await self._lane.fetch(HttpRequest("GET", f"{path}?{self._sign(params).decode()}"))

    def _sign(self, params: Params, nonce: int = 0) -> bytes:
        if self._skew.refusal:
            raise NotSent(self._skew.refusal)
        return self._signer.signed(params, self.on_the_wire(nonce or self._nonces.next()))

    def _checked(self, path: str, reply: HttpReply) -> bytes:
        if reply.status == 200:
            return reply.body
        if reply.status in answers.RATE_STATUSES:
            pause_s = pause_of(reply)
            self._throttle.pause(pause_s, everything=True)  # going on would get the IP banned
            raise RateLimited(f"aster {path}: HTTP {reply.status}", pause_s)
        raise VenueError(f"aster {path}: HTTP {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}")


def pause_of(reply: HttpReply) -> float:
    """Seconds to keep quiet after a 429 or 418, as the venue says, within bounds."""
    text = reply.headers.get("retry-after", "")
    return min(float(text), MAX_RATE_PAUSE_S) if text.isascii() and text.isdigit() else RATE_PAUSE_S
