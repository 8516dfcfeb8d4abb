"""Aster's private stream as events: ORDER_TRADE_UPDATE, ACCOUNT_UPDATE, listenKeyExpired (docs/venues/aster.md 8).

Every fill carries its order's client id, so whose it is needs no guessing; what is not ours (`autoclose-`,
`adl_autoclose`, orders made by hand) is delivered without one. There is no snapshot and no sequence number: `StreamUp`
names the time from which the engine reads fills by REST. Funding is told without symbol on cross margin, so a
FUNDING_FEE notice only makes us read the income rows, which may follow it late: twice, FUNDING_READS_S after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import Malformed, VenueError
from core.log import Log
from executor.background import Background
from executor.venues import _aster_rows as rows
from executor.venues._memory import OrderMemory
from executor.venues.base import (
    EventSink,
    FeeRates,
    FillSeen,
    FundingPayment,
    FundingSeen,
    OrderSeen,
    PositionSeen,
    StreamDown,
    StreamUp,
)

GAP_MARGIN_NS = 5 * NS_PER_S
FUNDING_READS_S = (1.0, 20.0)
FUNDING_LOOKBACK_NS = 120 * NS_PER_S
MAX_FUNDING_TASKS = 8


class PrivateStream:
    """Turns frames into events for `sink`. `read_funding` reads payments since a UTC time; `calendar_ns` is their clock."""

    def __init__(
        self,
        memory: OrderMemory,
        listed: Callable[[], rows.Listed],
        fees: Callable[[], FeeRates],
        read_funding: Callable[[int], Awaitable[list[FundingPayment]]],
        calendar_ns: Callable[[], int],
        sink: EventSink,
        log: Log,
    ) -> None:
        self._memory = memory
        self._listed = listed
        self._fees = fees
        self._read_funding = read_funding
        self._calendar_ns = calendar_ns
        self._sink = sink
        self._log = log
        self._up = False
        self._down_since_ns = 0
        self._background = Background()

    def on_up(self) -> None:
        self._up = True
        self._sink(StreamUp(venue=rows.VENUE, since_wire_ns=self._down_since_ns))

    def on_down(self, reason: str, heard_wire_ns: int) -> None:
        if self._up:
            self._up = False
            self._down_since_ns = heard_wire_ns - GAP_MARGIN_NS
            self._sink(StreamDown(venue=rows.VENUE, reason=reason))

    def on_frame(self, data: bytes) -> bool:
        """False when the listen key has expired: no more events come on this connection.

        What does not decode is logged and dropped; reconciliation and the next gap read find what it said.
        """
        try:
            event = rows.decode(data, rows.StreamEvent, "private event")
            if event.e == "ORDER_TRADE_UPDATE" and event.o is not None:
                self._on_order(event.o)
            elif event.e == "ACCOUNT_UPDATE" and event.a is not None:
                self._on_account(event.a)
            elif event.e == "MARGIN_CALL":
                self._log.error("margin_call", venue="aster")
        except Malformed as error:
            self._log.error("private_frame_malformed", venue="aster", detail=str(error))
            return True
        return event.e != "listenKeyExpired"

    async def close(self) -> None:
        await self._background.close()

    def _on_order(self, row: rows.StreamOrder) -> None:
        listed = self._listed()
        self._memory.bind(str(row.i), rows.client_id(row.c))
        if row.s not in listed:
            self._log.warning("order_of_unknown_symbol", venue="aster", symbol=row.s)
            return
        fill = rows.stream_fill(row, listed, self._fees())
        if fill is not None:
            self._sink(FillSeen(fill=fill))
        order = rows.stream_order(row, listed)
        if order is not None:
            self._sink(OrderSeen(venue=rows.VENUE, order=order))

    def _on_account(self, account: rows.StreamAccount) -> None:
        for row in account.P:
            position = rows.stream_position(row, self._listed())
            if position is not None:
                self._sink(PositionSeen(position=position))
        if account.m == "FUNDING_FEE" and len(self._background) < MAX_FUNDING_TASKS:
            self._background.spawn(self._tell_funding())

    async def _tell_funding(self) -> None:
        since_ns = self._calendar_ns() - FUNDING_LOOKBACK_NS
        for pause_s in FUNDING_READS_S:
            await asyncio.sleep(pause_s)
            try:
                payments = await self._read_funding(since_ns // NS_PER_MS * NS_PER_MS)
            except VenueError as error:
                self._log.warning("funding_not_read", venue="aster", detail=str(error))
                continue
            for payment in payments:
                self._sink(FundingSeen(payment=payment))
