"""Kraken's reads: public ones plain, account ones signed, one at a time (docs/venues/kraken.md 2, 5, 6, 8, 9).

Nonces of a key must arrive in their order, so signed reads take turns on one connection, and a nonce is taken only when its
turn has come. Orders by REST go past them on a connection of their own: where they overtake, the read is refused for its
nonce and asked once more with a new one; the order never is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from core.clock import NS_PER_S, Clock
from core.errors import Malformed, NotSent, RateLimited, VenueError
from core.log import Log
from core.specs import kraken as specs
from core.types import Balance, Fill, Instrument, Position
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.nonces import NonceSource
from executor.outcome import RejectCode, Rejected
from executor.signing.kraken import FORM, Params, Signer, form
from executor.venues import _kraken_answers as answers
from executor.venues import _kraken_rows as rows
from executor.venues._kraken_budget import HISTORY_COST, LOCKOUT_S, RATE_PAUSE_S, Counter
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import FeeRates, FundingPayment, NotFound, TopOfBook, VenueOrder

PRIVATE = "/0/private/"
TIME_REQUEST = HttpRequest("GET", "/0/public/Time")
HISTORIES = frozenset({"ClosedOrders", "TradesHistory", "QueryTrades"})
PAGE_ROWS = 50
MAX_PAGES = 40
QUERY_ROWS = 20  # txids in one QueryOrders
MAX_SKEW_NS = 2 * NS_PER_S
DEADLINE_NS = 60 * NS_PER_S  # the latest that an order of ours can name
SETTLE_NS = 2 * NS_PER_S
T = TypeVar("T")


class Reads:
    """All reads of one account. `listed` gives the present catalogue by every name."""

    def __init__(
        self,
        signed: HttpLane,
        public: HttpLane,
        budget: Counter,
        signer: Signer,
        nonces: NonceSource,
        memory: OrderMemory,
        skew: ClockSkew,
        listed: Callable[[], rows.Listed],
        by_symbol: Callable[[], Mapping[str, Instrument]],
        clock: Clock,
        log: Log,
    ) -> None:
        self._signed = signed
        self._public = public
        self._budget = budget
        self._signer = signer
        self._nonces = nonces
        self._memory = memory
        self._skew = skew
        self._listed = listed
        self._by_symbol = by_symbol
        self._clock = clock
        self._log = log
        self._turn = asyncio.Lock()

    # ---- catalogue, clock, token ----------------------------------------------------------------------------------

    async def listings(self) -> list[specs.Listing]:
        return specs.listings(await self._plain("/0/public/AssetPairs"))

    async def fees(self, venue_symbols: list[str]) -> FeeRates:
        """`fee_schedule` stays away: its answer differs, and the pair's own rates are what is charged."""
        return rows.fee_rates(await self._call("TradeVolume", rows.VolumeRow, [("pair", ",".join(venue_symbols))]))

    async def measure_clock(self) -> None:
        """The venue tells whole seconds here; what its socket says is finer."""
        told = _result(await self._plain(TIME_REQUEST.target), rows.TimeRow, "Time")
        self._skew.note_date(told.unixtime * NS_PER_S, self._clock.wire_ns())

    async def token(self) -> str:
        """A new token for the private socket."""
        return (await self._call("GetWebSocketsToken", rows.TokenRow, priority=True)).token

    # ---- account --------------------------------------------------------------------------------------------------

    async def positions(self) -> list[Position]:
        """Wallets of listed bases. What the owner holds of others is no position in a contract, and nobody's risk here."""
        return rows.positions(await self._read_wallets(), self._by_symbol())

    async def balance(self) -> Balance:
        asked_ns = self._clock.wire_ns()
        wallets = await self._read_wallets()
        worth = await self._call("TradeBalance", rows.WorthRow, [("asset", rows.CLASSIC_QUOTE)], priority=True)
        return rows.balance(worth, wallets, asked_ns)

    async def open_orders(self) -> list[VenueOrder]:
        found = (await self._call("OpenOrders", rows.OpenRows, priority=True)).open
        return [order for txid, row in found.items() if (order := self._order(txid, row)) is not None]

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        """Among the open ones first, then among the closed: an order only ever goes that way. Not found is definitive once
        the order's deadline has passed at the venue, after which it takes it no more."""
        venue_ns = self._clock.wire_ns() + self._skew.offset_ns
        by = [("cl_ord_id", client_order_id)]
        for txid, row in (await self._call("OpenOrders", rows.OpenRows, by, priority=True)).open.items():
            if row.cl_ord_id == client_order_id and (order := self._order(txid, row)) is not None:
                return order
        for txid, row in (await self._call("ClosedOrders", rows.ClosedRows, by, priority=True)).closed.items():
            if row.cl_ord_id == client_order_id and (order := self._order(txid, row)) is not None:
                return order
        sent = self._memory.sent(client_order_id)
        closed = sent is not None and venue_ns > deadline_ns(sent.prepared_wire_ns, sent.expires_wire_ns) + SETTLE_NS
        return NotFound(definitive=closed)

    async def order_of(self, txid: str) -> VenueOrder | None:
        """By the venue's id; None when it is none of the account's, or of a pair that is not listed."""
        return (await self._query([txid])).get(txid)

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        """Trades carry no client id: it is what this process saw for their order, else it is asked for, QUERY_ROWS orders at
        a time."""
        start_s = max(0, since_wire_ns) // NS_PER_S
        found: dict[str, rows.TradeRow] = {}
        for page in range(MAX_PAGES):
            params = [("start", str(start_s)), ("ofs", str(page * PAGE_ROWS))]
            answer = await self._call("TradesHistory", rows.TradeRows, params, priority=True)
            known = len(found)
            found |= answer.trades
            if len(answer.trades) < PAGE_ROWS or len(found) == known:
                break
        else:
            raise Malformed("kraken TradesHistory: more trades than can be paged through")
        strange = list(dict.fromkeys(row.ordertxid for row in found.values() if not self._memory.knows(row.ordertxid)))
        for at in range(0, len(strange), QUERY_ROWS):
            await self._query(strange[at : at + QUERY_ROWS])
        listed = self._listed()
        fills = [
            fill
            for txid, row in found.items()
            if (fill := rows.trade(txid, row, listed, self._memory.client_of(row.ordertxid))) is not None
        ]
        return sorted((fill for fill in fills if fill.ts_ns >= since_wire_ns), key=lambda fill: fill.ts_ns)

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        return []  # spot pays and receives none

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        data = await self._plain(f"/0/public/Ticker?pair={instrument.venue_symbol}")
        return rows.top(_result(data, dict[str, rows.TickerRow], "Ticker"))

    async def act(self, name: str, params: Params) -> None:
        """A signed call that changes a setting, never an order. Raises VenueError unless it is done."""
        await self._call(name, dict[str, object], params, priority=True, cost=0)

    # ---- private --------------------------------------------------------------------------------------------------

    async def _read_wallets(self) -> dict[str, rows.WalletRow]:
        return await self._call("BalanceEx", dict[str, rows.WalletRow], priority=True)

    async def _query(self, txids: list[str]) -> dict[str, VenueOrder]:
        """The orders of these ids; whose each one is is remembered, also of those that are not the account's."""
        answer = await self._call("QueryOrders", dict[str, rows.OrderRow], [("txid", ",".join(txids))], priority=True)
        found = {txid: order for txid, row in answer.items() if (order := self._order(txid, row)) is not None}
        for txid in txids:
            if txid not in answer:
                self._memory.bind(txid, None)
        return found

    def _order(self, txid: str, row: rows.OrderRow) -> VenueOrder | None:
        owner = rows.client_id(row.cl_ord_id)
        self._memory.bind(txid, owner)
        return rows.order(txid, row, self._listed(), self._memory.sent(owner or ""))

    async def _plain(self, target: str) -> bytes:
        reply = await self._public.fetch(HttpRequest("GET", target))
        return self._checked(target.partition("?")[0].rpartition("/")[2], reply)

    async def _call(
        self, name: str, kind: type[T], params: Params = (), *, priority: bool = False, cost: int | None = None
    ) -> T:
        """A nonce that was overtaken is refused before anything is done: asked once more, with a new one."""
        usual = HISTORY_COST if name in HISTORIES else 1
        self._budget.require(usual if cost is None else cost, priority=priority)
        for last in (False, True):
            async with self._turn:
                if self._skew.refusal:
                    raise NotSent(self._skew.refusal)
                nonce = self._nonces.next()
                body = form(nonce, params)
                headers = self._signer.headers(PRIVATE + name, nonce, body)
                reply = await self._signed.fetch(HttpRequest("POST", PRIVATE + name, body, FORM, headers))
            if last or not _is_overtaken(reply):
                break
        return _result(self._checked(name, reply), kind, name)

    def _checked(self, name: str, reply: HttpReply) -> bytes:
        if reply.status in answers.RATE_STATUSES:
            self._budget.refused(RATE_PAUSE_S)
            raise RateLimited(f"kraken {name}: HTTP {reply.status}", RATE_PAUSE_S)
        if reply.status != 200:
            raise VenueError(f"kraken {name}: HTTP {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}")
        told = _errors(reply, name)
        if told:
            refusal = answers.refusal(told)
            if isinstance(refusal, Rejected) and refusal.code is RejectCode.RATE:
                pause_s = LOCKOUT_S if told[0].startswith(answers.LOCKOUT_TEXT) else RATE_PAUSE_S
                self._budget.refused(pause_s)
                raise RateLimited(f"kraken {name}: {told[0]}", pause_s)
            raise VenueError(f"kraken {name}: {', '.join(told)[:200]}")
        return reply.body


def deadline_ns(prepared_wire_ns: int, expires_wire_ns: int) -> int:
    """When the venue no longer takes an order of ours (UTC, by its clock, which may be off ours by so much)."""
    return min(expires_wire_ns, prepared_wire_ns + DEADLINE_NS) + MAX_SKEW_NS


def _is_overtaken(reply: HttpReply) -> bool:
    return reply.status == 200 and _errors(reply, "") == [answers.NONCE_TEXT]


def _errors(reply: HttpReply, name: str) -> list[str]:
    """Warnings begin with W and are none."""
    return [text for text in rows.decode(reply.body, rows.Errors, name).error if not text.startswith("W")]


def _result(body: bytes, kind: type[T], name: str) -> T:
    return rows.decode(rows.decode(body, rows.Errors, name).result or b"null", kind, name)
