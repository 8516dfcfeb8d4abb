"""Orders on the simulated Kraken, as both transports ask for them (docs/venues/kraken.md 7, 9, 10).

REST and socket name the same things differently; each makes an `Ask` of what came, and everything from there on is one
code. An answer never says whether an order filled: that is the executions channel's. An IOC order that finds nothing was
accepted, and then canceled.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from decimal import Decimal

import msgspec

from core.clock import NS_PER_S, NS_PER_US, Clock
from core.types import Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import CancelReason, Order, OrderState, Refused, SelfTrade
from ops.sandbox.venues import _kraken_errors as errors
from ops.sandbox.venues._kraken_errors import ApiError, invalid, of_reject, refusal_of
from ops.sandbox.venues._kraken_limits import Limits, amend_cost, cancel_cost
from ops.sandbox.venues._kraken_listing import Pair
from ops.sandbox.venues._kraken_rows import number_of

MARKET_BAND = Decimal("0.05")  # a market order reaches at most so far through the touch; the rest is canceled
DEADLINE_MOST_NS = 60 * NS_PER_S
DEFAULT_DEADLINE_NS = 5 * NS_PER_S
SWITCH_MAX_S = 86_400
SWITCH = "cancel_all_after_ns"  # of an account's extras: when its switch strikes, wire
TIFS = {"gtc": TimeInForce.GTC, "ioc": TimeInForce.IOC}
SELF_TRADES = {
    "": SelfTrade.EXPIRE_TAKER, "cancel_newest": SelfTrade.EXPIRE_TAKER, "cancel_oldest": SelfTrade.EXPIRE_MAKER,
    "cancel_both": SelfTrade.EXPIRE_BOTH,
}  # fmt: skip
_CLIENT_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}|[A-Za-z0-9_-]{1,18}")


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """An order as somebody wants it. `px` None = market."""

    pair: Pair
    side: Side
    qty: Decimal
    px: Decimal | None
    tif: str
    post_only: bool = False
    client_id: str = ""
    userref: str = ""
    self_trade: str = ""
    deadline: str = ""
    validate: bool = False
    fee_in_base: bool = False


class Orders:
    """One per venue."""

    def __init__(self, exchange: Exchange, clock: Clock, limits: Limits, order_delay_s: float) -> None:
        self._exchange = exchange
        self._clock = clock
        self._limits = limits
        self._delay_s = order_delay_s
        self._switches: dict[str, int] = {}  # account -> when everything is canceled, mono
        for account in exchange.ledger.accounts.values():  # set before a restart
            if SWITCH in account.extras:
                left_ns = max(0, int(account.extras[SWITCH]) - clock.wire_ns())
                self._switches[account.address] = clock.mono_ns() + left_ns

    # -- what is asked ----------------------------------------------------------------------------------------------

    async def place(self, address: str, ask: Ask) -> Order | None:
        """The accepted order; None where it was only to be checked. Raises ApiError."""
        due_ns = self._due_ns(ask.deadline)
        if not self._limits.charge_order(address, ask.pair.name, 1, self._clock.mono_ns()):
            raise ApiError(errors.ORDER_RATE)
        tif = self._check(address, ask)
        if ask.validate:
            return None
        await self._wait()
        if self._clock.wire_ns() > due_ns:
            raise ApiError(errors.DEADLINE)
        self._check_id(address, ask.client_id)  # once more: another may have come meanwhile
        placed = self._exchange.place(
            address, ask.pair.name, ask.side, ask.qty, self._reach(ask), tif, client_id=ask.client_id or None,
            self_trade=SELF_TRADES[ask.self_trade.replace("-", "_")], memo=ask.userref,
        )  # fmt: skip
        if placed.order.state is OrderState.REJECTED:
            raise refusal_of(placed.order)
        return placed.order

    async def cancel(self, address: str, order_id: str = "", client_id: str = "") -> Order:
        """Raises ApiError."""
        await self._wait()
        order = self.find(address, order_id, client_id)
        if order is None or not order.is_open:
            raise ApiError(errors.UNKNOWN_ORDER)
        age_ns = self._clock.wire_ns() - order.created_ns
        if not self._limits.charge_order(address, order.name, cancel_cost(age_ns), self._clock.mono_ns()):
            raise ApiError(errors.ORDER_RATE)
        canceled = self._exchange.cancel(address, order.order_id)
        if isinstance(canceled, Refused):
            raise of_reject(canceled.reason)
        return canceled

    async def cancel_userref(self, address: str, userref: str) -> list[Order]:
        """Every open order of the group."""
        await self._wait()
        found = [order for order in self._exchange.open_orders(address) if order.memo == userref]
        return [order for order in found if isinstance(self._exchange.cancel(address, order.order_id), Order)]

    async def cancel_all(self, address: str) -> int:
        await self._wait()
        return len(self._exchange.cancel_all(address))

    async def amend(
        self, address: str, order_id: str, client_id: str, qty: Decimal | None, px: Decimal | None
    ) -> Order:
        """Raises ApiError."""
        await self._wait()
        order = self.find(address, order_id, client_id)
        if order is None or not order.is_open:
            raise ApiError(errors.UNKNOWN_ORDER)
        age_ns = self._clock.wire_ns() - order.created_ns
        if not self._limits.charge_order(address, order.name, amend_cost(age_ns), self._clock.mono_ns()):
            raise ApiError(errors.ORDER_RATE)
        amended = self._exchange.amend(address, order.order_id, qty or order.requested_qty, px or order.px)
        if isinstance(amended, Refused):
            raise of_reject(amended.reason)
        return amended

    def set_switch(self, address: str, timeout_s: int) -> int:
        """Cancel everything of the account in so many seconds, unless asked again; 0 = never. The trigger time, UTC ns."""
        if not 0 <= timeout_s <= SWITCH_MAX_S:
            raise invalid("timeout")
        if not timeout_s:
            self._switches.pop(address, None)
            self._exchange.set_extra(address, SWITCH, None)
            return 0
        trigger_ns = self._clock.wire_ns() + timeout_s * NS_PER_S
        self._switches[address] = self._clock.mono_ns() + timeout_s * NS_PER_S
        self._exchange.set_extra(address, SWITCH, str(trigger_ns))
        return trigger_ns

    def run_switches(self) -> None:
        """Called ten times a second."""
        now_ns = self._clock.mono_ns()
        for address in [address for address, at_ns in self._switches.items() if now_ns >= at_ns]:
            del self._switches[address]
            self._exchange.set_extra(address, SWITCH, None)
            self._exchange.cancel_all(address, reason=CancelReason.SCHEDULED)

    def find(self, address: str, order_id: str, client_id: str) -> Order | None:
        """By the venue's id, or by the client's; None for what is not the account's."""
        if client_id:
            return self._exchange.order(address, client_id=client_id)
        number = number_of(order_id)
        return None if number is None else self._exchange.order(address, order_id=number)

    # -- rules ------------------------------------------------------------------------------------------------------

    def _check(self, address: str, ask: Ask) -> TimeInForce:
        """What can be said before the book is asked."""
        tif = TIFS.get(ask.tif.lower() or "gtc")
        if tif is None:
            raise invalid("timeinforce")
        if ask.self_trade.replace("-", "_") not in SELF_TRADES:
            raise invalid("stptype")
        if ask.client_id and ask.userref:
            raise invalid("cl_ord_id and userref are mutually exclusive")
        if ask.client_id and not _CLIENT_ID.fullmatch(ask.client_id):
            raise invalid("cl_ord_id")
        if ask.fee_in_base:
            raise invalid("oflags")  # not simulated: fees are quote here
        if ask.post_only and (tif is TimeInForce.IOC or ask.px is None):
            raise invalid("oflags")
        self._check_id(address, ask.client_id)
        return TimeInForce.POST_ONLY if ask.post_only else TimeInForce.IOC if ask.px is None else tif

    def _check_id(self, address: str, client_id: str) -> None:
        known = self._exchange.order(address, client_id=client_id) if client_id else None
        if known is not None and known.is_open:
            raise ApiError(errors.DUPLICATE_ID)

    def _reach(self, ask: Ask) -> Decimal | None:
        """A market order becomes a limit at the edge of its protection."""
        if ask.px is not None:
            return ask.px
        top = self._exchange.top(ask.pair.name)
        touch = top.ask if ask.side is Side.BUY else top.bid
        if touch is None:
            return None
        edge = touch.px * (1 + ask.side.sign * MARKET_BAND)
        return edge // ask.pair.tick * ask.pair.tick

    def _due_ns(self, deadline: str) -> int:
        """UTC after which the order is not taken any more. Raises ApiError for a time out of bounds."""
        now_ns = self._clock.wire_ns()
        if not deadline:
            return now_ns + DEFAULT_DEADLINE_NS
        try:
            told = datetime.fromisoformat(deadline)
        except ValueError:
            raise invalid("deadline") from None
        if told.tzinfo is None:
            raise invalid("deadline")
        due_ns = round(told.timestamp() * 1e6) * NS_PER_US
        if due_ns < now_ns:
            raise ApiError(errors.DEADLINE)
        if due_ns - now_ns > DEADLINE_MOST_NS + NS_PER_S:
            raise invalid("deadline")
        return due_ns

    async def _wait(self) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
