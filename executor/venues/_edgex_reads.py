"""EdgeX's reads: public ones plain, account ones with an HMAC of their own (docs/venues/edgex.md 2, 5, 6, 8, 9).

The venue publishes no limits; the budget is the page's plan (5 private calls a second), public reads counted in it. One
account answer serves positions and balance when they are asked for together, as reconciliation does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.errors import Malformed, NotSent, RateLimited, VenueError
from core.log import Log
from core.specs import edgex as specs
from core.types import Balance, Fill, Instrument, Position
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Rejected
from executor.signing.edgex import Signer, canonical
from executor.throttle import Throttle
from executor.venues import _edgex_answers as answers
from executor.venues import _edgex_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

API = "/api/v2/"
JSON = "application/json"
TIME_REQUEST = HttpRequest("GET", f"{API}public/meta/getServerTime")
PAGE_ROWS, ACTIVE_ROWS = 100, 200
MAX_PAGES = 20
MAX_IDS = 50
MAX_OWNER_LOOKUPS = 500
ACCOUNT_SHARED_NS = 500 * NS_PER_MS
SETTLE_NS = 2 * NS_PER_S
TIMESTAMP_WINDOW_NS = 60 * NS_PER_S
"""A request whose timestamp is further than this from the venue's clock is refused: it can no longer bring an order about."""
RATE_PAUSE_S = 5.0
MAX_RATE_PAUSE_S = 600.0

Params = Mapping[str, str]
Page = TypeVar("Page", rows.OrderPage, rows.FillPage, rows.TransactionPage)


class Reads:
    """All reads of one account. `catalogue` gives the present one, `listed` its instruments by contract id."""

    def __init__(
        self,
        lane: HttpLane,
        throttle: Throttle,
        signer: Signer,
        memory: OrderMemory,
        skew: ClockSkew,
        catalogue: Callable[[], specs.Catalogue],
        listed: Callable[[], rows.Listed],
        note_unlisted: Callable[[Mapping[str, Decimal]], None],
        doubt_signature: Callable[[], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._lane = lane
        self._throttle = throttle
        self._signer = signer
        self._memory = memory
        self._skew = skew
        self._catalogue = catalogue
        self._listed = listed
        self._note_unlisted = note_unlisted
        self._doubt_signature = doubt_signature
        self._clock = clock
        self._log = log
        self._asset: tuple[int, int, rows.AssetRow] | None = None  # asked at (mono, wire)

    # ---- catalogue, clock, account settings -----------------------------------------------------------------------

    async def metadata(self) -> specs.Catalogue:
        return specs.catalogue((await self._public("meta/getMetaData")).body)

    async def measure_clock(self) -> None:
        """One exact sample of the venue's clock. Raises VenueError."""
        self._throttle.require(1, priority=True)
        asked_ns = self._clock.wire_ns()
        reply = await self._lane.fetch(TIME_REQUEST)
        answered_ns = self._clock.wire_ns()
        row = rows.decode(self._checked("getServerTime", reply), rows.TimeRow, "getServerTime")
        self._skew.note(row.timeMillis * NS_PER_MS, asked_ns, answered_ns)

    async def fees(self, instrument: Instrument, default: FeeRates) -> FeeRates:
        return rows.fee_rates((await self._read_asset()).account, str(instrument.venue_index), default)

    async def takes_aged(self, age_ns: int) -> bool:
        """Whether the venue takes a timestamp that is this old: asked by a read, where a refusal costs nothing."""
        timestamp_ms = self._timestamp_ms() - age_ns // NS_PER_MS
        self._throttle.require(1, priority=True)
        reply = await self._lane.fetch(self._signed_get("account/getAccountAsset", {}, timestamp_ms))
        envelope = answers.decoded(reply)
        return reply.status == 200 and envelope is not None and envelope.code == answers.SUCCESS

    async def leverage(self, instrument: Instrument) -> int:
        default = self._catalogue().default_leverage.get(instrument.venue_index, 1)
        return rows.leverage((await self._read_asset()).account, str(instrument.venue_index), default)

    async def set_leverage(self, instrument: Instrument, leverage: int) -> None:
        """Raises VenueError unless the venue confirms; resting orders of the contract forbid it."""
        body = {"contractId": str(instrument.venue_index), "leverage": str(leverage)}
        await self._post("account/updateLeverageSetting", body)

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        found, strange = rows.positions(await self._read_asset(), self._listed())
        self._note_unlisted(strange)
        return found

    async def balance(self) -> Balance:
        """Of the answer that `positions` has just had, if there is one."""
        shared, self._asset = self._asset, None
        if shared is None or self._clock.mono_ns() - shared[0] > ACCOUNT_SHARED_NS:
            await self._read_asset()
            shared, self._asset = self._asset, None
        if shared is None:
            raise Malformed("edgex getAccountAsset: not read")
        _, asked_wire_ns, asset = shared
        coins = {terms.coin_id for terms in self._catalogue().terms.values()}
        if len(coins) != 1:
            raise Malformed(f"edgex getMetaData: contracts are margined in {len(coins)} coins, one was expected")
        return rows.balance(asset, str(coins.pop()), asked_wire_ns)

    async def open_orders(self) -> list[VenueOrder]:
        params = {"size": str(ACTIVE_ROWS)}
        pages = await self._pages("order/getActiveOrderPage", params, rows.OrderPage)
        return self._orders(row for page in pages for row in page.dataList)

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        """By client id, ended orders too. NotFound is definitive when this order's request has left the venue's window of
        timestamps: then it can no longer be taken (docs/venues/edgex.md 6), and the venue says that it never was."""
        sent = self._memory.sent(client_order_id)
        venue_ns = self._clock.wire_ns() + self._skew.offset_ns
        closed = sent is not None and venue_ns > sent.prepared_wire_ns + TIMESTAMP_WINDOW_NS + SETTLE_NS
        data = await self._get("order/getOrderByClientOrderId", {"clientOrderIdList": client_order_id})
        found = self._orders(rows.decode(data, list[rows.OrderRow], "getOrderByClientOrderId"))
        ours = [order for order in found if order.client_order_id == client_order_id]
        return ours[0] if ours else NotFound(definitive=closed)

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        """Of all contracts, oldest first. Fills carry no client id: it is what this process saw for the order id, else
        getOrderById tells; more than MAX_OWNER_LOOKUPS of these raise rather than call a fill of ours foreign."""
        params = {"size": str(PAGE_ROWS), "filterStartCreatedTimeInclusive": str(max(1, since_wire_ns // NS_PER_MS))}
        pages = await self._pages("order/getHistoryOrderFillTransactionPage", params, rows.FillPage)
        found = [row for page in pages for row in page.dataList]
        await self.learn_owners(row.orderId for row in found)
        listed = self._listed()
        fills = [rows.fill(row, listed, self._memory.client_of(row.orderId)) for row in found]
        return sorted((fill for fill in fills if fill is not None), key=lambda fill: fill.ts_ns)

    async def learn_owners(self, order_ids: Iterable[str]) -> None:
        """Ask whose these orders are, as far as it is not known. What the venue does not know is not ours."""
        unknown = [order_id for order_id in dict.fromkeys(order_ids) if not self._memory.knows(order_id)]
        if len(unknown) > MAX_OWNER_LOOKUPS:
            raise VenueError(f"edgex: fills of over {MAX_OWNER_LOOKUPS} orders of unknown origin; ask again")
        for at in range(0, len(unknown), MAX_IDS):
            part = unknown[at : at + MAX_IDS]
            data = await self._get("order/getOrderById", {"orderIdList": ",".join(part)})
            self._orders(rows.decode(data, list[rows.OrderRow], "getOrderById"))
            for order_id in part:
                if not self._memory.knows(order_id):
                    self._memory.bind(order_id, None)

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        params = {
            "size": str(PAGE_ROWS),
            "filterTypeList": rows.FUNDING,
            "filterStartCreatedTimeInclusive": str(max(1, since_wire_ns // NS_PER_MS)),
        }
        pages = await self._pages("account/getPositionTransactionPage", params, rows.TransactionPage, priority=False)
        return rows.fundings((row for page in pages for row in page.dataList), self._listed())

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        query = f"?contractId={instrument.venue_index}"
        depth = await self._public(f"quote/getDepth{query}&level=15")
        ticker = await self._public(f"quote/getTicker{query}")
        return rows.top(self._checked("getDepth", depth), self._checked("getTicker", ticker))

    def post(self, path: str, body: Mapping[str, object], timestamp_ms: int) -> HttpRequest:
        """A signed POST of /private/`path`, ready to be written."""
        values = {"accountId": self._signer.account_id, **body}
        full = f"{API}private/{path}"
        signature = self._signer.hmac_hex("POST", full, canonical(values), timestamp_ms)
        return HttpRequest(
            "POST", full, msgspec.json.encode(values), JSON, self._signer.headers(signature, timestamp_ms)
        )

    # ---- private --------------------------------------------------------------------------------------------------

    async def _read_asset(self) -> rows.AssetRow:
        asked_mono_ns, asked_wire_ns = self._clock.mono_ns(), self._clock.wire_ns()
        asset = rows.decode(await self._get("account/getAccountAsset", {}), rows.AssetRow, "getAccountAsset")
        self._asset = asked_mono_ns, asked_wire_ns, asset
        return asset

    def _orders(self, found: Iterable[rows.OrderRow]) -> list[VenueOrder]:
        """What the catalogue knows of them; whose they are is remembered."""
        kept = []
        for row in found:
            self._memory.bind(row.id, rows.client_id(row.clientOrderId))
            order = rows.order(row, self._listed())
            if order is not None:
                kept.append(order)
        return kept

    async def _pages(self, path: str, params: Params, kind: type[Page], *, priority: bool = True) -> list[Page]:
        """All pages, newest first."""
        found: list[Page] = []
        offset: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = rows.decode(await self._get(path, {**params, **offset}, priority=priority), kind, path)
            found.append(page)
            if not page.nextPageOffsetData:
                return found
            offset = {"offsetData": page.nextPageOffsetData}
        raise Malformed(f"edgex {path}: more rows than can be paged through")

    async def _get(self, path: str, params: Params, *, priority: bool = True) -> bytes:
        timestamp_ms = self._timestamp_ms()
        self._throttle.require(1, priority=priority)
        return self._checked(path, await self._lane.fetch(self._signed_get(path, params, timestamp_ms)))

    def _signed_get(self, path: str, params: Params, timestamp_ms: int) -> HttpRequest:
        values, full = {"accountId": self._signer.account_id, **params}, f"{API}private/{path}"
        query = "&".join(f"{name}={quote(value, safe=',')}" for name, value in values.items())
        signature = self._signer.hmac_hex("GET", full, canonical(values), timestamp_ms)
        return HttpRequest("GET", f"{full}?{query}", headers=self._signer.headers(signature, timestamp_ms))

    async def _post(self, path: str, body: Params) -> bytes:
        timestamp_ms = self._timestamp_ms()
        self._throttle.require(1, priority=True)
        return self._checked(path, await self._lane.fetch(self.post(path, body, timestamp_ms)))

    async def _public(self, target: str) -> HttpReply:
        """A public answer that is a success."""
        self._throttle.require(1, priority=True)
        reply = await self._lane.fetch(HttpRequest("GET", f"{API}public/{target}"))
        self._checked(target.partition("?")[0], reply)
        return reply

    def _timestamp_ms(self) -> int:
        if self._skew.refusal:
            raise NotSent(self._skew.refusal)
        return self._clock.wire_ns() // NS_PER_MS

    def _checked(self, what: str, reply: HttpReply) -> bytes:
        """The data of a success. Raises VenueError; never with the venue's message, which echoes keys."""
        if reply.status == answers.RATE_STATUS:
            raise RateLimited(f"edgex {what}: HTTP {reply.status}", pause_of(reply))  # the lane's owner pauses
        envelope = answers.decoded(reply)
        if envelope is None:
            raise VenueError(f"edgex {what}: {answers.detail_of(reply, None)}")
        if envelope.code == answers.SIGNATURE_ERROR:
            self._doubt_signature()
        if reply.status != 200 or envelope.code != answers.SUCCESS:
            refusal = answers.answered(reply)
            code = f" ({refusal.code.value})" if isinstance(refusal, Rejected) else ""
            raise VenueError(f"edgex {what}: {answers.detail_of(reply, envelope)}{code}")
        return bytes(envelope.data)


def pause_of(reply: HttpReply) -> float:
    """Seconds to keep quiet after a 429, as the venue says, within bounds."""
    text = reply.headers.get("retry-after", "")
    return min(float(text), MAX_RATE_PAUSE_S) if text.isascii() and text.isdigit() else RATE_PAUSE_S
