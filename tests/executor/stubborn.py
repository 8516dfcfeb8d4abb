"""A fake venue that is hard to ask: lookups that fail or know nothing yet, positions beside the truth, lists of one's own."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal

import msgspec

from core.errors import RateLimited, VenueError
from core.types import Instrument, Position
from executor.venues.base import CancelRequest, FundingPayment, NotFound, OrderRequest, Prepared, VenueOrder
from tests.executor.fake_gateway import FakeGateway
from tests.executor.rig import Rig, settle


class Stubborn(FakeGateway):
    """`lookups`: next answers (None = the truth, an error = raised); `burns`: what a burned nonce answers, None = no such
    thing; `silent_fills`: fills_since shows nothing; `positions_said`: lots told instead of the truth."""

    lookups: deque[VenueOrder | NotFound | VenueError | None]
    burns: bool | None = None
    burned: list[int]
    looked_up: int = 0
    readings: int = 0
    full_readings: int = 0
    silent_fills: bool = False
    positions_said: dict[str, int] | None = None
    stated_extra: dict[str, Decimal]
    extra_orders: list[VenueOrder]
    payments: list[FundingPayment]
    fail_with: VenueError | None = None

    def harden(self) -> None:
        self.lookups = deque()
        self.burned = []
        self.extra_orders = []
        self.payments = []
        self.stated_extra = {}

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool] | None:
        if self.burns is None:
            return None
        self.burned.append(nonce)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        future.set_result(self.burns)
        return future

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        name = request.client_order_id or request.venue_order_id
        return Prepared(client_order_id=name, nonce=nonce, payload=b"cancel")

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        self.looked_up += 1
        self._require_reachable()
        said = self.lookups.popleft() if self.lookups else None
        if isinstance(said, VenueError):
            raise said
        return said if said is not None else await super().lookup(instrument, client_order_id)

    async def positions(self) -> list[Position]:
        self.readings += 1
        if self.fail_with is not None:
            raise self.fail_with
        self._require_reachable()
        said = self.positions_said if self.positions_said is not None else self.position_lots
        return [
            msgspec.structs.replace(
                Position(venue=self.venue, symbol=symbol, lots=lots, avg_entry_px=Decimal(100_000)), **self.stated_extra
            )
            for symbol, lots in said.items()
            if lots
        ]

    async def fills_since(self, since_wire_ns: int) -> list:  # type: ignore[type-arg]
        self.full_readings += 1
        return [] if self.silent_fills else await super().fills_since(since_wire_ns)

    async def open_orders(self) -> list[VenueOrder]:
        gone = set(self.cancels)
        extra = [order for order in self.extra_orders if (order.client_order_id or order.venue_order_id) not in gone]
        return await super().open_orders() + extra

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        return list(self.payments)


class SimSleep:
    """Sleeping moves the rig's clock, and lets everything due run."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def __call__(self, seconds: float) -> None:
        self._rig.pass_ms(seconds * 1000)
        await settle()


def rate_limited(retry_after_s: float) -> RateLimited:
    return RateLimited("slow down", retry_after_s)
