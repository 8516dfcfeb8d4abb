"""Hyperliquid's `POST /info`: reads by the master's address, without signature (docs/venues/hyperliquid.md 8, 9).

Every read costs weight of the budget per IP. What repair and flatten need may use the reserve; the rest may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.log import Log
from core.specs import hyperliquid as specs
from core.types import Balance, Fill, Instrument, OrderStatus, Position
from executor.http_lane import HttpLane, HttpRequest
from executor.throttle import Throttle
from executor.venues import _hyperliquid_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

WEIGHTS = {"l2Book": 2, "clearinghouseState": 2, "orderStatus": 2, "exchangeStatus": 2, "userRole": 60}
OTHER_WEIGHT = 20
ROWS_PER_WEIGHT = 20  # history lists cost one more for so many rows
JSON = "application/json"
RATE_PAUSE_S = 10.0
MAX_PAGES = 20
FILL_PAGE_ROWS = 2000
MAX_OWNER_LOOKUPS = 50
SETTLE_NS = 2 * NS_PER_S
"""After an expiry: by then the action is in a block or never will be (docs/venues/hyperliquid.md 10)."""
KNOWN_MODES = frozenset({"default", "disabled"})
STATUS_REQUEST = HttpRequest("POST", "/info", b'{"type":"exchangeStatus"}', JSON)


class Reads:
    """All reads of one account. `coins` gives the present catalogue by venue symbol."""

    def __init__(
        self,
        lane: HttpLane,
        throttle: Throttle,
        user: str,
        memory: OrderMemory,
        skew: ClockSkew,
        coins: Callable[[], rows.Coins],
        note_unlisted: Callable[[Mapping[str, Decimal]], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._lane = lane
        self._throttle = throttle
        self._user = user
        self._memory = memory
        self._skew = skew
        self._coins = coins
        self._note_unlisted = note_unlisted
        self._clock = clock
        self._log = log

    # ---- catalogue, clock, account settings -----------------------------------------------------------------------

    async def instruments(self) -> list[Instrument]:
        return specs.instruments(await self._info("meta", priority=False))

    async def fees(self) -> FeeRates:
        return rows.fee_rates(await self._user_info("userFees", rows.UserFees, priority=False))

    async def address_budget(self) -> int:
        """Actions left to this address: the lifetime budget that grows with traded volume."""
        limit = await self._user_info("userRateLimit", rows.RateLimit, priority=False)
        return limit.nRequestsCap + limit.nRequestsSurplus - limit.nRequestsUsed

    async def measure_clock(self) -> None:
        """One exact sample of the venue's clock. Raises VenueError."""
        asked_ns = self._clock.wire_ns()
        data = await self._info("exchangeStatus", priority=True)
        answered_ns = self._clock.wire_ns()
        status = rows.decode(data, rows.ExchangeStatus, "exchangeStatus")
        self._skew.note(status.time * NS_PER_MS, asked_ns, answered_ns)
        if bytes(status.specialStatuses) != b"null":
            self._log.warning("venue_mode", venue="hyperliquid", detail=bytes(status.specialStatuses)[:200].decode())

    async def require_known_mode(self) -> None:
        """Refuse account modes whose equity figures mean something else (unified, portfolio margin)."""
        mode = await self._user_info("userAbstraction", str, priority=False)
        if mode not in KNOWN_MODES:
            raise VenueError(
                f"hyperliquid account {self._user} is in mode {mode!r}, whose margin figures are not understood here; "
                "switch it to the default mode"
            )

    async def require_agent(self, signer: str) -> None:
        """Refuse a key that the account has not approved: every order would be refused, and reads would not show it."""
        if signer == self._user:
            self._log.warning(
                "signing_with_master_key", venue="hyperliquid", advice="approve an agent key and use that"
            )
            return
        role = rows.decode(await self._info("userRole", priority=False, user=signer), rows.Role, "userRole")
        if role.role != "agent" or role.data is None or role.data.user.lower() != self._user:
            raise VenueError(
                f"hyperliquid: the key of HL_PRIVATE_KEY ({signer}) is not an approved agent of HL_USER_ADDRESS "
                f"({self._user}) but {role.role!r}; approve it, or correct the secrets file"
            )

    async def leverage(self, instrument: Instrument) -> int:
        data = await self._user_info(
            "activeAssetData", rows.ActiveAssetData, priority=True, coin=instrument.venue_symbol
        )
        return data.leverage.value

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        state = await self._user_info("clearinghouseState", rows.ClearinghouseState, priority=True)
        found, strange = rows.positions(state, self._coins())
        self._note_unlisted(strange)
        return found

    async def balance(self) -> Balance:
        return rows.balance(await self._user_info("clearinghouseState", rows.ClearinghouseState, priority=True))

    async def open_orders(self) -> list[VenueOrder]:
        listed = await self._user_info("openOrders", list[rows.OrderRow], priority=True)
        coins = self._coins()
        found = [rows.order(row, OrderStatus.ACCEPTED, coins) for row in listed]
        for each in found:
            self._remember(each)
        return [each for each in found if each is not None]

    async def lookup(self, client_order_id: str) -> VenueOrder | NotFound:
        """By client id. A finished reduce-only order is measured by its fills: the venue shrinks such orders.

        NotFound is definitive when this process knows the expiry, the venue's clock is beyond it, and neither the order
        nor a fill of it exists: an expired action can no longer get in (docs/venues/hyperliquid.md 10).
        """
        settled = self._is_settled(client_order_id)
        found = await self._order_status(f"0x{client_order_id}")
        if found is None:
            sent = self._memory.sent(client_order_id)
            if not settled or sent is None:
                return NotFound(definitive=False)
            since_ns = sent.prepared_wire_ns - SETTLE_NS
            seen = [row for row in await self._fill_rows(since_ns) if rows.client_id(row.cloid) == client_order_id]
            return NotFound(definitive=not seen)
        state, order = found
        if order.filled_lots and order.status.is_final and order.reduce_only:
            since_ns = state.order.timestamp * NS_PER_MS - SETTLE_NS
            filled = [row for row in await self._fill_rows(since_ns) if str(row.oid) == order.venue_order_id]
            instrument = self._coins()[state.order.coin]
            order = msgspec.structs.replace(order, filled_lots=sum(rows.lots_of(row.sz, instrument) for row in filled))
        return order

    async def owner(self, venue_order_id: str) -> str | None:
        """Our client id of an order known only by the venue's id; None when it is not ours."""
        found = await self._order_status(int(venue_order_id))
        client_order_id = None if found is None else found[1].client_order_id
        self._memory.bind(venue_order_id, client_order_id)
        return client_order_id

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        """Whose a row is: its own cloid; else what this process saw for that order id; else orderStatus by order id.

        At most MAX_OWNER_LOOKUPS orders are asked for in one call; with more it raises rather than call a fill of ours
        foreign, and the next call goes on from what is known then.
        """
        coins = self._coins()
        found: list[Fill] = []
        lookups = 0
        for row in await self._fill_rows(since_wire_ns):
            order_id, client_order_id = str(row.oid), rows.client_id(row.cloid)
            if client_order_id is None and not rows.is_foreign(row, self._user):
                if not self._memory.knows(order_id) and row.cloid is None:
                    lookups += 1
                    if lookups > MAX_OWNER_LOOKUPS:
                        raise VenueError(
                            f"hyperliquid: fills of over {MAX_OWNER_LOOKUPS} orders of unknown origin; ask again"
                        )
                    await self.owner(order_id)
                client_order_id = self._memory.client_of(order_id)
            fill = rows.fill(row, coins, client_order_id)
            if fill is not None:
                found.append(fill)
        return found

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        found: dict[str, FundingPayment] = {}
        start_ms = since_wire_ns // NS_PER_MS
        for _ in range(MAX_PAGES):
            page = await self._user_info("userFunding", list[rows.FundingRow], priority=False, startTime=start_ms)
            self._throttle.charge(len(page) / ROWS_PER_WEIGHT)
            payments = [rows.funding(row.delta, row.time, self._coins()) for row in page]
            fresh = {p.payment_id: p for p in payments if p is not None and p.payment_id not in found}
            found |= fresh
            if not fresh or page[-1].time <= start_ms:
                break
            start_ms = page[-1].time
        return list(found.values())

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        book = await self._info("l2Book", priority=True, coin=instrument.venue_symbol)
        contexts = await self._info("metaAndAssetCtxs", priority=True)
        return rows.top(book, contexts, instrument.venue_symbol)

    # ---- private --------------------------------------------------------------------------------------------------

    async def _fill_rows(self, since_wire_ns: int) -> list[rows.FillRow]:
        found: dict[tuple[int, int, int], rows.FillRow] = {}
        start_ms = max(0, since_wire_ns // NS_PER_MS)
        for _ in range(MAX_PAGES):
            page = await self._user_info("userFillsByTime", list[rows.FillRow], priority=True, startTime=start_ms)
            self._throttle.charge(len(page) / ROWS_PER_WEIGHT)
            found |= {(row.tid, row.oid, row.time): row for row in page}
            if len(page) < FILL_PAGE_ROWS:
                return list(found.values())
            if page[-1].time <= start_ms:
                break
            start_ms = page[-1].time
        raise Malformed("hyperliquid userFillsByTime: more fills than can be paged through")

    async def _order_status(self, oid: int | str) -> tuple[rows.OrderState, VenueOrder] | None:
        answer = await self._user_info("orderStatus", rows.OrderStatusAnswer, priority=True, oid=oid)
        if answer.order is None:
            if answer.status != "unknownOid":
                raise Malformed(f"hyperliquid orderStatus answers {answer.status!r} without an order")
            return None
        order = rows.order(answer.order.order, rows.status_of(answer.order.status), self._coins())
        if order is None:
            return None
        self._remember(order)
        return answer.order, order

    def _is_settled(self, client_order_id: str) -> bool:
        sent = self._memory.sent(client_order_id)
        venue_ns = self._clock.wire_ns() + self._skew.offset_ns
        return sent is not None and venue_ns > sent.expires_wire_ns + SETTLE_NS

    def _remember(self, order: VenueOrder | None) -> None:
        if order is not None:
            self._memory.bind(order.venue_order_id, order.client_order_id)

    async def _user_info(self, kind: str, result: type[rows.T], *, priority: bool, **fields: Any) -> rows.T:
        return rows.decode(await self._info(kind, priority=priority, user=self._user, **fields), result, kind)

    async def _info(self, kind: str, *, priority: bool, **fields: Any) -> bytes:
        self._throttle.require(WEIGHTS.get(kind, OTHER_WEIGHT), priority=priority)
        body = msgspec.json.encode({"type": kind, **fields})
        reply = await self._lane.fetch(HttpRequest("POST", "/info", body, JSON))
        if reply.status == 200:
            return reply.body
        if reply.status == 429:
            self._throttle.pause(RATE_PAUSE_S, everything=True)
            raise RateLimited(f"hyperliquid {kind}: HTTP 429", RATE_PAUSE_S)
        raise VenueError(f"hyperliquid {kind}: HTTP {reply.status}: {reply.body[:200].decode('latin-1')}")
