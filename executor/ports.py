"""The narrow side of the engine that reconciliation, flatten and guards see: the one serial path, asked for facts and deeds.

They never journal, sign or send by themselves: whatever changes the state goes through these methods, so that every order
is written ahead and every fact is applied in one place, whoever asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from core.types import Fill, Instrument, Venue
from executor.orders import Draft, Verdict
from executor.outcome import Outcome
from executor.records import AnyRecord
from executor.state import Key, OrderState, State
from executor.venues.base import CancelRequest, FundingPayment, OrderGateway


class OrderDesk(Protocol):
    """Implemented by executor.engine.Engine."""

    state: State

    @property
    def gateways(self) -> Mapping[Venue, OrderGateway]: ...

    def instrument(self, key: Key) -> Instrument | None:
        """The contract as the gateway lists it now; None when it does not."""

    def record(self, record: AnyRecord) -> int:
        """Journal and apply one record; returns its sequence."""

    def on_fill(self, fill: Fill) -> None:
        """A fill from any source: recorded once (venue and trade id), reported, hedged against when it is foreign."""

    def on_funding(self, payment: FundingPayment) -> None:
        """A payment from any source: recorded once (venue and payment id)."""

    def settle(self, client_order_id: str, verdict: Verdict, source: str) -> None:
        """The outcome of an order became known other than by its answer: journal, report, let its pair go on, and lift the
        freeze that this order caused."""

    def freeze(self, key: Key, reason: str) -> None: ...
    def unfreeze(self, key: Key, reason: str) -> None: ...

    async def place(self, draft: Draft) -> OrderState | None:
        """Write ahead, sign, send with priority (the reserve of the request budget), wait for the answer. The order as it
        then stands (final, ACCEPTED or UNKNOWN); None when it could not be sent (no connection, no budget)."""

    async def cancel(self, venue: Venue, request: CancelRequest) -> Outcome:
        """Ask the venue to cancel, with priority."""
