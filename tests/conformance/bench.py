"""A gateway of one venue against its sandbox for the whole suite: short words for orders, and what came of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from core.errors import NotSent
from core.types import Instrument, Side
from executor.outcome import Outcome, Rejected
from executor.venues.base import NotFound, OrderGateway, OrderRequest, StreamUp, VenueOrder
from tests.conformance.dialect import Dialect
from tests.executor.sandbox_process import SandboxProcess, Station, eventually

ORDER_DELAY_MS = 5.0  # of the sandbox
TIMEOUT_MS = 1500.0  # of a request
ENDED_S = 10.0
TOLD_S = 1.0  # within which a stream tells, mostly
USD = 120.0


class Bench:
    """`station` may be replaced by a test that needs another; positions are flat between tests."""

    def __init__(self, venue: str, box: SandboxProcess, station: Station, dialect: Dialect) -> None:
        self.venue = venue
        self.box = box
        self.station = station
        self.dialect = dialect

    def forget(self) -> None:
        """The events so far; how often the stream was up stays known."""
        self.station.events[:] = [e for e in self.station.events if isinstance(e, StreamUp)]

    @property
    def gateway(self) -> OrderGateway:
        return self.station.gateway

    @property
    def instrument(self) -> Instrument:
        return self.station.instrument(self.dialect.symbol)

    async def request(self, side: Side, usd: float = USD, **options: Any) -> OrderRequest:
        return await self.station.request(self.dialect.symbol, side, usd, **options)

    async def quoted(self, request: OrderRequest) -> OrderRequest:
        """On a live quote, where the venue asks for one."""
        if not self.gateway.traits.quotes_first:
            return request
        quote = await self.gateway.request_quote(request.instrument, request.side, request.lots)
        return msgspec.structs.replace(request, quote_id=quote.quote_id)

    async def send(self, request: OrderRequest) -> tuple[OrderRequest, Outcome]:
        """On a fresh nonce; the request as it was sent."""
        request = await self.quoted(request)
        return request, await self.station.send(request)

    async def place(self, side: Side, usd: float = USD, **options: Any) -> tuple[OrderRequest, Outcome]:
        return await self.send(await self.request(side, usd, **options))

    async def buy(self, usd: float = USD) -> OrderRequest:
        """A market-like purchase that fills whole; retried while the touch runs away."""
        for _ in range(5):
            request, outcome = await self.place(Side.BUY, usd, cross_bps=200.0)
            ended = await self.ended(request, outcome)
            if isinstance(ended, VenueOrder) and ended.filled_lots == request.lots:
                return request
            await self.flat()
        raise AssertionError(f"nothing could be bought: {outcome}")

    async def ended(self, request: OrderRequest, outcome: Outcome) -> VenueOrder | Rejected | NotFound:
        """What became of an order: its refusal, the proof that it never got in, or the order as the venue states it once it
        has ended. The stream is asked first: look-ups are dear."""
        if isinstance(outcome, Rejected):
            return outcome
        found: VenueOrder | NotFound | None = None
        with contextlib.suppress(TimeoutError):
            await self.until(lambda: self._has_ended(request), TOLD_S)
        try:
            async with asyncio.timeout(ENDED_S):
                while True:
                    found = await self.gateway.lookup(request.instrument, request.client_order_id)
                    if isinstance(found, VenueOrder) and found.status.is_final:
                        return found
                    if found == NotFound(definitive=True):
                        return found
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise AssertionError(f"{request.client_order_id} has not ended: {outcome}, then {found}") from None

    def _has_ended(self, request: OrderRequest) -> bool:
        return any(order.status.is_final for order in self.station.orders(request.client_order_id))

    async def lots(self) -> int:
        """Signed position in the suite's instrument, as the gateway reads it."""
        return sum(p.lots for p in await self.gateway.positions() if p.symbol == self.dialect.symbol)

    def truth(self) -> dict[str, Any]:
        """Our account as the venue's own books have it."""
        return self.box.account(self.venue, self.gateway.account_id)

    def true_orders(self, client_id: str = "") -> list[dict[str, Any]]:
        return [row for row in self.truth()["orders"] if not client_id or client_id in str(row["client_id"])]

    def fault(self, kind: str, **more: Any) -> None:
        self.box.control("fault", {"venue": self.venue, "kind": kind, **more})

    def told_lots(self, request: OrderRequest) -> int:
        """What the private stream told of an order, each trade counted once."""
        return sum({f.trade_id: f.lots for f in self.station.fills(request.client_order_id)}.values())

    async def flat(self) -> None:
        self.box.control("clear", {})
        await self.until(lambda: self.gateway.entry_ready)
        await self.reachable()
        for order in await self.gateway.open_orders():
            if order.client_order_id is not None:
                await self.cancel_id(order)
        reduces = self.gateway.traits.reduce_only
        for _ in range(10):
            held = await self.gateway.positions()
            if not held:
                return
            for position in held:
                side = Side.SELL if position.lots > 0 else Side.BUY
                request = await self.station.request(
                    position.symbol, side, lots=abs(position.lots), reduce_only=reduces, cross_bps=100.0
                )
                await self.ended(*await self.send(request))

    async def reachable(self) -> None:
        """Wait until the venue can be read again: lanes come back one by one."""
        async with asyncio.timeout(ENDED_S):
            while True:
                self.gateway.wake()
                try:
                    await self.gateway.positions()
                except NotSent:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def cancel_id(self, order: VenueOrder) -> Outcome:
        request = await self.request(order.side)
        named = msgspec.structs.replace(request, client_order_id=order.client_order_id or "")
        outcome: Outcome = await self.station.cancel(named, order.venue_order_id)
        return outcome

    async def until(self, condition: Callable[[], object], timeout_s: float = ENDED_S) -> None:
        await eventually(condition, timeout_s)
