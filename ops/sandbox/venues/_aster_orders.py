"""Order entry: place, batch, cancel, cancel all, dead-man switch, and looking orders up (docs/venues/aster.md 7, 8).

Whatever changes the book waits the venue's order delay first; a request that a noop killed in that time answers -4225 and
touches nothing. After the delay the filters are judged against the mark of that moment, then the exchange decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.types import Side
from ops.sandbox.model import CancelReason, Order, OrderState, Refused, Reject, SelfTrade
from ops.sandbox.venues._aster_call import Call
from ops.sandbox.venues._aster_errors import ApiError, Code, missing
from ops.sandbox.venues._aster_listing import Listing
from ops.sandbox.venues._aster_request import Params
from ops.sandbox.venues._aster_settings import Settings
from ops.sandbox.venues._aster_shapes import client_id, is_liquidation, order_row
from ops.sandbox.venues._aster_tickets import Ticket, check_filters, client_order_id, listed, read_ticket
from ops.sandbox.venues.base import Host

Row = dict[str, object]
Item = TypeVar("Item")

BATCH_MAX = 5
BATCH_CANCEL_MAX = 10
FORGOTTEN_NS = 7 * 86_400 * NS_PER_S
SEVEN_DAYS_MS = 7 * 86_400_000
CANCEL_ALL_DONE = {"code": "200", "msg": "The operation of cancel all open order is done."}

REFUSAL: dict[Reject, Code] = {
    Reject.UNKNOWN_SYMBOL: Code.BAD_SYMBOL,
    Reject.TICK: Code.PRICE_NOT_ON_TICK,
    Reject.LOT: Code.QTY_NOT_ON_STEP,
    Reject.ZERO_SIZE: Code.QTY_LESS_THAN_ZERO,
    Reject.MIN_NOTIONAL: Code.MIN_NOTIONAL,
    Reject.MARGIN: Code.MARGIN_NOT_SUFFICIENT,
    Reject.REDUCE_ONLY: Code.REDUCE_ONLY_REJECT,
    Reject.POST_ONLY_WOULD_CROSS: Code.POST_ONLY_REJECT,
    Reject.LEVERAGE: Code.INVALID_LEVERAGE,
    Reject.UNKNOWN_ORDER: Code.CANCEL_REJECTED,
    Reject.DUPLICATE_CLIENT_ID: Code.DUPLICATE_CLIENT_ID,
    Reject.TOO_MANY_ORDERS: Code.MAX_OPEN_ORDERS,
    Reject.POSITION_MARGIN: Code.ISOLATED_BALANCE_INSUFFICIENT,
}


class Desk:
    """Handlers of the order endpoints. `charge` counts new orders against the account's limit and may raise."""

    def __init__(
        self, host: Host, listings: dict[str, Listing], settings: Settings, charge: Callable[[str, int], None]
    ) -> None:
        self._host = host
        self._exchange = host.exchange
        self._listings = listings
        self._settings = settings
        self._charge = charge

    # -- placing ----------------------------------------------------------------------------------------------------

    async def place(self, call: Call) -> Row:
        self._charge(call.user, 1)
        ticket = self._read(call, call.params, 0)
        await self._travel(call)
        return self._execute(call.user, ticket)

    async def place_batch(self, call: Call) -> list[Row]:
        """At most five; each element answers by itself, in the order asked."""
        elements = _json_list(call.params, "batchOrders", dict)
        if not 1 <= len(elements) <= BATCH_MAX:
            raise ApiError(Code.INVALID_BATCH_SIZE)
        self._charge(call.user, len(elements))
        tickets: list[Ticket | ApiError] = []
        for index, element in enumerate(elements):
            try:
                tickets.append(self._read(call, Params({str(k): _as_text(v) for k, v in element.items()}), index))
            except ApiError as error:
                tickets.append(error)
        await self._travel(call)
        return [self._execute_or_error(call.user, ticket) for ticket in tickets]

    def _read(self, call: Call, params: Params, index: int) -> Ticket:
        generated = f"web_{call.nonce:x}{index}"
        return read_ticket(params, self._listings, self._settings.hedge_mode(call.user), generated)

    def _execute_or_error(self, user: str, ticket: Ticket | ApiError) -> Row:
        if isinstance(ticket, ApiError):
            return ticket.body()
        try:
            return self._execute(user, ticket)
        except ApiError as error:
            return error.body()

    def _execute(self, user: str, ticket: Ticket) -> Row:
        """Filters, client id, leverage bracket, then the exchange. Raises ApiError for a refusal."""
        exchange, name = self._exchange, ticket.listing.name
        mark, top = exchange.mark(name), exchange.top(name)
        opposite = top.ask if ticket.side is Side.BUY else top.bid
        check_filters(ticket, mark, opposite.px if opposite is not None else None)
        if any(order.client_id == ticket.client_id for order in exchange.open_orders(user)):
            raise ApiError(Code.DUPLICATE_CLIENT_ID)
        self._check_bracket(user, ticket, mark)
        if ticket.builder and not self._settings.builder_allows(user, ticket.builder, ticket.fee_rate):
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'builder' is not valid.")
        placed = exchange.place(
            user,
            name,
            ticket.side,
            ticket.qty,
            ticket.px,
            ticket.tif,
            reduce_only=ticket.reduce_only,
            client_id=ticket.client_id,
            self_trade=ticket.self_trade or SelfTrade(self._settings.stp_mode(user).lower()),
            extra_fee=ticket.fee_rate,
        )
        order = placed.order
        if order.state is OrderState.REJECTED:
            raise ApiError(REFUSAL.get(order.reject or Reject.UNKNOWN_ORDER, Code.NEW_ORDER_REJECTED))
        return order_row(order, acknowledged=not ticket.full_answer)

    def _check_bracket(self, user: str, ticket: Ticket, mark: Decimal) -> None:
        """-2027 when the order would carry the position over what its leverage allows."""
        position = self._exchange.position(user, ticket.listing.name)
        after = abs(position.qty + ticket.side.sign * ticket.qty)
        if after > abs(position.qty) and after * mark > ticket.listing.max_notional(position.leverage):
            raise ApiError(Code.MAX_LEVERAGE_RATIO)

    # -- changing and cancelling ------------------------------------------------------------------------------------

    async def modify(self, call: Call) -> Row:
        """New quantity and price for a resting limit order, under the same ids; a refusal leaves the order as it was."""
        listing = listed(call.params, self._listings)
        qty, px = call.params.decimal("quantity"), call.params.decimal("price")
        order_id, client = _which(call.params)
        await self._travel(call)
        order = self._find(call.user, listing, order_id, client)
        if order is None or not order.is_open:
            raise ApiError(Code.NO_SUCH_ORDER)
        ticket = Ticket(
            listing=listing,
            side=order.side,
            tif=order.tif,
            qty=qty,
            px=px,
            reduce_only=order.reduce_only,
            client_id=client_id(order),
            full_answer=True,
            self_trade=None,
        )
        check_filters(ticket, self._exchange.mark(listing.name), None)
        amended = self._exchange.amend(call.user, order.order_id, qty, px)
        if isinstance(amended, Refused):
            raise ApiError(REFUSAL.get(amended.reason, Code.NEW_ORDER_REJECTED))
        return order_row(amended)

    async def cancel(self, call: Call) -> Row:
        listing = listed(call.params, self._listings)
        order_id, client = _which(call.params)
        await self._travel(call)
        return self._cancel_one(call.user, listing, order_id, client)

    async def cancel_batch(self, call: Call) -> list[Row]:
        listing = listed(call.params, self._listings)
        targets: list[tuple[int | None, str | None]]
        if "orderIdList" in call.params:
            targets = [(number, None) for number in _json_list(call.params, "orderIdList", int)]
        elif "origClientOrderIdList" in call.params:
            targets = [(None, text) for text in _json_list(call.params, "origClientOrderIdList", str)]
        else:
            raise _either("orderIdList", "origClientOrderIdList")
        if not 1 <= len(targets) <= BATCH_CANCEL_MAX:
            raise ApiError(Code.INVALID_BATCH_SIZE)
        await self._travel(call)
        rows: list[Row] = []
        for order_id, client in targets:
            try:
                rows.append(self._cancel_one(call.user, listing, order_id, client))
            except ApiError as error:
                rows.append(error.body())
        return rows

    async def cancel_all(self, call: Call) -> Row:
        listing = listed(call.params, self._listings)
        await self._travel(call)
        self._exchange.cancel_all(call.user, listing.name)
        return dict(CANCEL_ALL_DONE)

    def countdown(self, call: Call) -> Row:
        """Arm (or disarm with 0) the dead-man switch of one symbol."""
        listing = listed(call.params, self._listings)
        delay_ms = call.params.integer("countdownTime")
        deadline_ms = self._host.clock.wire_ns() // NS_PER_MS + delay_ms if delay_ms else None
        self._settings.set_countdown(call.user, listing.name, deadline_ms)
        return {"symbol": listing.name, "countdownTime": str(delay_ms)}

    def fire_countdowns(self) -> None:
        """Cancel what is due. Called with the venue's tick."""
        now_ms = self._host.clock.wire_ns() // NS_PER_MS
        for user, name in self._settings.due_countdowns(now_ms):
            self._settings.set_countdown(user, name, None)
            self._exchange.cancel_all(user, name, CancelReason.SCHEDULED)

    def _cancel_one(self, user: str, listing: Listing, order_id: int | None, client: str | None) -> Row:
        order = self._find(user, listing, order_id, client)
        if order is None:
            raise ApiError(Code.CANCEL_REJECTED)
        outcome = self._exchange.cancel(user, order.order_id)
        if isinstance(outcome, Refused):
            raise ApiError(Code.CANCEL_REJECTED)
        return order_row(outcome)

    # -- looking up -------------------------------------------------------------------------------------------------

    def query(self, call: Call) -> Row:
        return order_row(self._known(call), with_time=True)

    def query_open(self, call: Call) -> Row:
        order = self._known(call)
        if not order.is_open:
            raise ApiError(Code.NO_SUCH_ORDER)
        return order_row(order, with_time=True)

    def open_orders(self, call: Call) -> list[Row]:
        name = listed(call.params, self._listings).name if "symbol" in call.params else None
        return [order_row(order, with_time=True) for order in self._exchange.open_orders(call.user, name)]

    def all_orders(self, call: Call) -> list[Row]:
        """From `orderId` on, or the most recent ones; oldest first."""
        listing = listed(call.params, self._listings)
        limit, first_id = call.params.limit(500, 1000), call.params.optional_integer("orderId")
        start_ms, end_ms = time_range(call.params, SEVEN_DAYS_MS)
        rows = [
            order
            for order in self._exchange.orders(call.user)
            if order.name == listing.name
            and self._remembered(order)
            and (first_id is None or order.order_id >= first_id)
            and start_ms <= order.created_ns // NS_PER_MS <= end_ms
        ]
        chosen = rows[:limit] if first_id is not None or "startTime" in call.params else rows[-limit:]
        return [order_row(order, with_time=True) for order in chosen]

    def force_orders(self, call: Call) -> list[Row]:
        """Orders by which the venue closed positions. There is no ADL here, only liquidation."""
        name = listed(call.params, self._listings).name if "symbol" in call.params else None
        kind = call.params.text_or("autoCloseType", "LIQUIDATION")
        if kind not in ("LIQUIDATION", "ADL"):
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'autoCloseType' is not valid.")
        start_ms, end_ms = time_range(call.params, SEVEN_DAYS_MS)
        rows = [
            order_row(order, with_time=True) | {"type": "LIMIT", "origType": "LIMIT", "timeInForce": "IOC"}
            for order in self._exchange.orders(call.user)
            if kind == "LIQUIDATION"
            and is_liquidation(order)
            and name in (None, order.name)
            and start_ms <= order.created_ns // NS_PER_MS <= end_ms
        ]
        return rows[-call.params.limit(50, 100) :]

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    async def _travel(self, call: Call) -> None:
        """The way to the matching engine."""
        await asyncio.sleep(self._host.order_delay_s)
        call.require_alive()

    def _known(self, call: Call) -> Order:
        order_id, client = _which(call.params)
        order = self._find(call.user, listed(call.params, self._listings), order_id, client)
        if order is None:
            raise ApiError(Code.NO_SUCH_ORDER)
        return order

    def _find(self, user: str, listing: Listing, order_id: int | None, client: str | None) -> Order | None:
        """By order id if given, else by client id; open orders first, since client ids are unique only among them."""
        order: Order | None = None
        if order_id is not None:
            order = self._exchange.order(user, order_id=order_id)
        else:
            still_open = (o for o in self._exchange.open_orders(user, listing.name) if o.client_id == client)
            order = next(still_open, None) or self._latest(user, listing.name, client)
        return order if order is not None and order.name == listing.name and self._remembered(order) else None

    def _latest(self, user: str, name: str, client: str | None) -> Order | None:
        """The newest order of that client id that the venue took (a refused resend must not hide the original)."""
        order = self._exchange.order(user, client_id=client)
        if order is None or (order.name == name and order.state is not OrderState.REJECTED):
            return order
        rows = (
            row
            for row in reversed(self._exchange.orders(user))
            if row.client_id == client and row.name == name and row.state is not OrderState.REJECTED
        )
        return next(rows, None)

    def _remembered(self, order: Order) -> bool:
        """Refused orders never existed; ended ones without a fill are forgotten after seven days."""
        if order.state is OrderState.REJECTED:
            return False
        if order.is_open or order.filled:
            return True
        return order.created_ns + FORGOTTEN_NS >= self._host.clock.wire_ns()


def time_range(params: Params, span_ms: int) -> tuple[int, int]:
    """(startTime, endTime) in ms, inclusive, unbounded where absent. -1023 if reversed, -1127 if wider than `span_ms`."""
    start, end = params.optional_integer("startTime"), params.optional_integer("endTime")
    if start is not None and end is not None:
        if start > end:
            raise ApiError(Code.START_AFTER_END)
        if end - start > span_ms:
            raise ApiError(Code.LOOKUP_TOO_BIG)
    if start is None and end is not None:
        start = end - span_ms
    return start or 0, end if end is not None else 1 << 62


def _which(params: Params) -> tuple[int | None, str | None]:
    if "orderId" in params:
        return params.integer("orderId"), None
    if "origClientOrderId" in params:
        return None, client_order_id(params, "origClientOrderId")
    raise _either("orderId", "origClientOrderId")


def _either(first: str, second: str) -> ApiError:
    return ApiError(Code.MANDATORY_MISSING, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def _json_list(params: Params, name: str, item: type[Item]) -> list[Item]:
    """A JSON list parameter whose elements are all `item`."""
    try:
        return msgspec.json.decode(params.text(name), type=list[item])  # type: ignore[valid-type]
    except (msgspec.DecodeError, msgspec.ValidationError):
        raise missing(name) from None


def _as_text(value: object) -> str:
    """A JSON scalar as the text the same value would be in a form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
