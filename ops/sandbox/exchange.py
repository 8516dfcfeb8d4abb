"""One venue's exchange: instruments, books, accounts, matching, margin, funding and liquidation. No sockets, no clock of its own.

A change is made in memory, collected in one transaction, handed to `store` (durable before anybody hears of it: a
SIGKILL between the two loses the answer, never the truth), and only then told to the listener, in order. Everything
runs on one thread; a listener must not call back into a mutating method.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from decimal import Decimal

from core.clock import Clock
from core.errors import invariant
from core.types import Side, TimeInForce
from ops.sandbox.model import (
    AccountState,
    CancelReason,
    Contract,
    Fill,
    FundingBasis,
    FundingPayment,
    FundingPoint,
    Level,
    Listener,
    Margin,
    Order,
    Placed,
    Position,
    Refused,
    SelfTrade,
    Top,
)


class Exchange:
    """See the module. Addresses are lower-case 0x strings; `name` is always the contract's wire name."""

    contracts: dict[str, Contract]  # by wire name, in the order given
    listener: Listener

    # -- accounts ---------------------------------------------------------------------------------------------------

    def open_account(self, address: str, balance: Decimal, agents: Iterable[str] = ()) -> AccountState:
        """The account of `address`, created with `balance` if new; `agents` are added to those it has."""

    def account(self, address: str) -> AccountState | None: ...
    def master_of(self, signer: str) -> str | None:
        """The account a signer acts for: itself, the master that approved it, or None for a stranger."""

    def use_nonce(self, signer: str, nonce: int, keep: int = 100) -> NonceVerdict:
        """Mark `nonce` used (durable). The venue checks its time bounds first. OK | DUPLICATE | TOO_LOW."""

    def set_leverage(self, address: str, name: str, leverage: int, cross: bool) -> Refused | None: ...
    def change_isolated_margin(self, address: str, name: str, delta: Decimal) -> Refused | None: ...
    def set_extra(self, address: str, key: str, value: str | None) -> None:
        """A durable venue-specific setting of an account (AccountState.extras)."""

    def position(self, address: str, name: str) -> Position: ...
    def margin(self, address: str) -> Margin: ...
    def liquidation_px(self, address: str, name: str) -> Decimal | None: ...

    # -- orders -----------------------------------------------------------------------------------------------------

    def place(
        self,
        address: str,
        name: str,
        side: Side,
        qty: Decimal,
        px: Decimal | None,  # None = market
        tif: TimeInForce,
        reduce_only: bool = False,
        client_id: str | None = None,
        self_trade: SelfTrade = SelfTrade.EXPIRE_MAKER,
    ) -> Placed:
        """Check, match, rest. A refusal is Placed with order.state REJECTED and order.reject (kept in history)."""

    def cancel(
        self, address: str, order_id: int | None = None, client_id: str | None = None,
        reason: CancelReason = CancelReason.USER,
    ) -> Order | Refused: ...
    def cancel_all(self, address: str, name: str | None = None, reason: CancelReason = CancelReason.USER) -> list[Order]: ...
    def open_orders(self, address: str, name: str | None = None) -> list[Order]: ...
    def order(self, address: str, order_id: int | None = None, client_id: str | None = None) -> Order | None:
        """Live or from history (the last HISTORY per account)."""

    def orders(self, address: str) -> list[Order]: ...
    def fills(self, address: str) -> list[Fill]: ...
    def payments(self, address: str) -> list[FundingPayment]: ...

    # -- market -----------------------------------------------------------------------------------------------------

    def top(self, name: str) -> Top: ...
    def levels(self, name: str, depth: int) -> tuple[list[Level], list[Level]]: ...
    def mark(self, name: str) -> Decimal: ...
    def oracle(self, name: str) -> Decimal: ...
    def stats(self, name: str) -> DayStats:
        """open_interest (venue units), volume_usd, volume_base, trades, open_px (24 h ago), last_px."""

    def funding_estimate(self, name: str) -> FundingPoint:
        """Running estimate for the coming settlement; time_ns = that settlement (calendar)."""

    def funding_history(self, name: str, start_ns: int, end_ns: int) -> list[FundingPoint]:
        """Settled rates in [start, end], oldest first, at most 30 days back."""

    # -- driven by main ---------------------------------------------------------------------------------------------

    def apply(self, symbol: str, sample: Sample) -> None:
        """A step of the market: new synthetic book and prices; resting orders that it reaches are filled."""

    def housekeep(self) -> None:
        """Settlements that are due, liquidations. Called about ten times a second."""
