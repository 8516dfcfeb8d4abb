"""What every gateway is made of: who trades, the clock's distance, what was sent, the lanes, and the reads.

A gateway of a venue adds the wire: signing, order entry, the private stream, the order of its start. Nothing here knows a
venue, and nothing here sends an order. What a venue does not have (a switch, a no-op, live quotes) is answered here.

Refused: a base class that starts and closes the venue's parts in an order of its own. Which connection must stand before
which is the heart of a gateway and differs from venue to venue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Generic, Protocol, TypeVar

from core.errors import VenueError
from core.types import Balance, Fill, Instrument, Position, Side, Venue
from executor.background import Background
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.venues._memory import OrderMemory
from executor.venues._skew import ClockSkew
from executor.venues.base import (
    DeadMan,
    Equipment,
    FeeRates,
    FundingPayment,
    LiveQuote,
    OrderRequest,
    TopOfBook,
    Traits,
    VenueOrder,
)
from executor.ws_lane import Headers, WsLane

MEASURE_S = 30.0


class Reads(Protocol):
    """The reads that mean the same everywhere. See `executor.venues.base.OrderGateway`."""

    async def open_orders(self) -> list[VenueOrder]: ...
    async def positions(self) -> list[Position]: ...
    async def balance(self) -> Balance: ...
    async def fills_since(self, since_wire_ns: int) -> list[Fill]: ...
    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]: ...
    async def top_of_book(self, instrument: Instrument) -> TopOfBook: ...


R = TypeVar("R", bound=Reads)


class VenueGateway(Generic[R]):
    """See the module text. `account_id` and `signer_id` as `executor.venues.base.OrderGateway` says; a nonce of the signer
    counts `nonce_unit_ns`; nothing is signed while the venue's clock is more than `max_skew_ns` from ours.

    A subclass builds `_reads` in its own `__init__` and keeps `_by_symbol` and `_fees` current in `refresh`.
    """

    traits = Traits()
    dead_man: DeadMan | None = None
    signs_apart = False

    _reads: R

    def __init__(
        self, equipment: Equipment, *, account_id: str, signer_id: str, nonce_unit_ns: int, max_skew_ns: int
    ) -> None:
        self.venue: Venue = equipment.venue
        self.account_id = account_id
        self.signer_id = signer_id
        self.nonces = equipment.nonces(signer_id, nonce_unit_ns)
        self._settings = equipment.settings
        self._symbols = equipment.symbols
        self._clock = equipment.clock
        self._rng = equipment.rng
        self._log = equipment.log
        self._timeout_s = equipment.settings.request_timeout_ms / 1000
        self._skew = ClockSkew(max_skew_ns)
        self._memory = OrderMemory()
        self._background = Background()
        self._by_symbol: dict[str, Instrument] = {}
        self.unlisted: Mapping[str, Decimal] = {}
        self._fees = FeeRates(0.0, 0.0)

    # ---- state ----------------------------------------------------------------------------------------------------

    def instruments(self) -> dict[str, Instrument]:
        return self._by_symbol

    @property
    def fees(self) -> FeeRates:
        return self._fees

    @property
    def clock_offset_ns(self) -> int:
        return self._skew.offset_ns

    @property
    def nonce_resyncs(self) -> int:
        return 0

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def open_orders(self) -> list[VenueOrder]:
        return await self._reads.open_orders()

    async def positions(self) -> list[Position]:
        return await self._reads.positions()

    async def balance(self) -> Balance:
        return await self._reads.balance()

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        return await self._reads.fills_since(since_wire_ns)

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        return await self._reads.funding_since(since_wire_ns)

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        return await self._reads.top_of_book(instrument)

    def _note_unlisted(self, found: Mapping[str, Decimal]) -> None:
        """For `positions`: what the account holds in contracts that the catalogue lacks. Said when it changes."""
        if found != self.unlisted:
            event = "position_without_contract" if found else "position_without_contract_gone"
            self._log.error(event, venue=self.venue, contracts={name: str(size) for name, size in found.items()})
        self.unlisted = found

    # ---- orders of earlier processes ------------------------------------------------------------------------------

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        if self._memory.sent(request.client_order_id) is None:
            self._memory.note(request, nonce, prepared_wire_ns)

    # ---- what not every venue has -----------------------------------------------------------------------------------

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool] | None:
        return None

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        raise VenueError(f"{self.venue}: has no dead-man switch")

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        raise VenueError(f"{self.venue}: has no dead-man switch")

    async def request_quote(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        raise VenueError(f"{self.venue}: has an order book, and gives no quotes")

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _http(
        self,
        size: int,
        *,
        on_reply: Callable[[HttpReply], None],
        keep_alive: HttpRequest | None = None,
        on_open: Callable[[], None] | None = None,
        url: str = "",
    ) -> HttpLane:
        """`size` warm connections to the venue's REST address, or to `url` where it has several."""
        return HttpLane(
            url or self._settings.rest_url,
            size=size,
            timeout_s=self._timeout_s,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
            keep_alive=keep_alive,
            on_reply=on_reply,
            on_open=on_open,
        )

    def _ws(
        self,
        *,
        on_up: Callable[[], None],
        on_frame: Callable[[bytes], None],
        on_down: Callable[[str], None],
        url: Callable[[], Awaitable[str]] | None = None,
        ping: bytes | None = None,
        max_age_s: float = 0.0,
        headers: Callable[[], Headers] = tuple,
    ) -> WsLane:
        """A warm socket; `url` where it must be made anew for each connection, else the configured one."""
        return WsLane(
            url or self._ws_url,
            timeout_s=self._timeout_s,
            clock=self._clock,
            rng=self._rng,
            log=self._log,
            on_up=on_up,
            on_frame=on_frame,
            on_down=on_down,
            ping=ping,
            max_age_s=max_age_s,
            headers=headers,
        )

    async def _ws_url(self) -> str:
        return self._settings.ws_url

    async def _watch_clock(self, measure: Callable[[], Awaitable[None]]) -> None:
        """Keep the clock offset current; a venue that does not answer is reconciliation's to report."""
        while True:
            await self._skew.look_due(MEASURE_S)
            try:
                await measure()
            except VenueError as error:
                self._log.warning("clock_not_measured", venue=self.venue, detail=str(error))
