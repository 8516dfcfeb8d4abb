"""Orders of the simulated GRVT: acknowledged first, matched later (docs/venues/grvt.md 7).

The acknowledgement is PENDING and proves nothing. Whatever is not post-only then waits for the speed bump; only when that is
over does the order meet the book, or the cancel that was waiting for it. Orders still in the bump when the process is killed
are lost without a trace, as if they had never arrived.

An order that ended before it reached the book (killed by a cancel that was waiting, or a fill-or-kill that found too little)
is no order of the exchange: it is remembered here, bounded, so that it can be asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.types import Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import CancelReason, Order, Refused
from ops.sandbox.venues import _grvt_signing as signing
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_listing import MIN_LEVERAGE, Listing, Market
from ops.sandbox.venues._grvt_rows import Memo, order_number, order_row, unplaced_row
from ops.sandbox.venues._grvt_tickets import Ticket, Tickets

ACK: Row = {"result": {"ack": True}}
TTL_DEFAULT_MS, TTL_STEP_MS, TTL_MAX_MS = 100, 100, 5000
COUNTDOWN_OFF_MS, COUNTDOWN_MAX_MS = 1000, 300_000
COUNTDOWN_KEY = "cancel_on_disconnect_ns"
MAX_UNPLACED = 2000
MAX_DIGESTS = 20_000


class Ears(Protocol):
    """Who is told of what the exchange does not tell."""

    def unplaced(self, row: Row) -> None: ...
    def cancel_status(self, address: str, client_id: str, status: str) -> None: ...


class _Kill(msgspec.Struct):
    """A cancel that waits for its order."""

    address: str
    client_id: str
    until_ns: int  # mono


class Orders:
    """Handlers take the request's body and the session's account."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing, delay_s: float) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._delay_s = delay_s
        self._tickets = Tickets(exchange, clock, listing)
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_their_way: dict[tuple[str, str], Ticket] = {}
        self._unplaced: dict[tuple[str, str], Row] = {}
        self._digests: dict[bytes, Row] = {}
        self._kills: dict[tuple[str, str], _Kill] = {}
        self.ears: Ears | None = None

    # -- orders -----------------------------------------------------------------------------------------------------

    def create(self, body: Row, address: str) -> Row:
        ticket = self._tickets.read(body, address)
        key = (address, ticket.client_id)
        if ticket.digest in self._digests:
            return {"result": self._digests[ticket.digest]}  # the same signed order: ignored
        if key in self._on_their_way or self._open(key) is not None:
            raise ApiError(Code.DUPLICATE_CLIENT_ID)
        row = unplaced_row(ticket.row, "PENDING", "UNSPECIFIED", self._clock.wire_ns())
        self._digests[ticket.digest] = row
        while len(self._digests) > MAX_DIGESTS:
            del self._digests[next(iter(self._digests))]
        self._on_their_way[key] = ticket
        task = asyncio.create_task(self._arrive(ticket, 0.0 if ticket.post_only else self._delay_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {"result": row}

    def cancel(self, body: Row, address: str) -> Row:
        """Received, no more: an unknown id is acknowledged too. By client id it also waits for an order on its way."""
        own(body, address)
        number = order_number(str(body.get("order_id") or ""))
        client = body.get("client_order_id")
        if number is None and not client:
            raise ApiError(Code.ID_REQUIRED)
        if number is not None:
            self._exchange.cancel(address, order_id=number)
            return ACK
        client_id = str(signing.whole(client))
        ttl_ms = signing.whole(body.get("time_to_live_ms") or TTL_DEFAULT_MS)
        if ttl_ms > TTL_MAX_MS or ttl_ms % TTL_STEP_MS:
            raise ApiError(Code.TTL)
        key = (address, client_id)
        order = self._open(key)
        if order is not None:
            self._exchange.cancel(address, order_id=order.order_id)
        elif key in self._kills:
            self._tell_cancel(key, "DROPPED_DUPLICATE")
        else:
            self._kills[key] = _Kill(address, client_id, self._clock.mono_ns() + ttl_ms * NS_PER_MS)
        return ACK

    def cancel_all(self, body: Row, address: str) -> Row:
        """All of the account, or those of the named bases."""
        own(body, address)
        bases = body.get("base") or []
        for order in self._exchange.open_orders(address):
            market = self._listing.by_name[order.name]
            if not bases or market.base in bases:
                self._exchange.cancel(address, order_id=order.order_id)
        return ACK

    def countdown(self, body: Row, address: str) -> Row:
        """Arm, push out or switch off; kept with the account, so that a restart does not forget it."""
        own(body, address)
        time_ms = signing.whole(body.get("countdown_time"))
        if time_ms > COUNTDOWN_MAX_MS:
            raise ApiError(Code.COUNTDOWN)
        due_ns = self._clock.wire_ns() + time_ms // 1000 * NS_PER_S
        self._exchange.set_extra(address, COUNTDOWN_KEY, str(due_ns) if time_ms > COUNTDOWN_OFF_MS else None)
        return ACK

    def tick(self) -> None:
        """About ten times a second: countdowns, orders whose time is over, cancels that waited in vain."""
        now_ns = self._clock.wire_ns()
        for address, account in list(self._exchange.ledger.accounts.items()):
            due_ns = int(account.extras.get(COUNTDOWN_KEY, "0"))
            if due_ns and now_ns >= due_ns:
                self._exchange.set_extra(address, COUNTDOWN_KEY, None)
                self._exchange.cancel_all(address, reason=CancelReason.SCHEDULED)
            for order in self._exchange.open_orders(address):
                if 0 < Memo.of(order).expiration_ns <= now_ns:
                    self._exchange.cancel(address, order_id=order.order_id, reason=CancelReason.EXPIRED)
        for key, kill in list(self._kills.items()):
            if self._clock.mono_ns() >= kill.until_ns:
                del self._kills[key]
                self._tell_cancel(key, "EXPIRED")

    # -- settings ---------------------------------------------------------------------------------------------------

    def set_initial_leverage(self, body: Row, address: str) -> Row:
        """The older way, unsigned: keeps the margin type."""
        own(body, address)
        market = self._market(body)
        self._set(address, market, body, self._exchange.position(address, market.name).cross)
        return {"success": True}

    def set_position_config(self, body: Row, address: str) -> Row:
        own(body, address)
        market, signature = self._market(body), body.get("signature")
        if not isinstance(signature, dict) or body.get("margin_type") not in signing.MARGIN_TYPES:
            raise ApiError(Code.MALFORMED)
        signer = signing.check(signature, signing.config_hash(body, market.asset_id), self._clock.wire_ns())
        if self._exchange.master_of(signer) != address:
            raise ApiError(Code.UNAUTHORISED_SIGNER)
        self._set(address, market, body, body["margin_type"] == "CROSS")
        return {"ack": True}

    # -- reads ------------------------------------------------------------------------------------------------------

    def find(self, body: Row, address: str) -> Row:
        """`order`: one by the venue's id or by ours."""
        own(body, address)
        number = order_number(str(body.get("order_id") or ""))
        client = body.get("client_order_id")
        if number is None and not client:
            raise ApiError(Code.ID_REQUIRED)
        client_id = str(signing.whole(client)) if number is None else None
        order = self._exchange.order(address, order_id=number, client_id=client_id)
        if order is not None and order.name in self._listing.by_name:
            return {"result": order_row(order, self._listing.by_name[order.name])}
        row = self._unplaced.get((address, client_id or ""))
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        return {"result": row}

    def unplaced_of(self, address: str) -> list[Row]:
        """Those that never reached the book, oldest first."""
        return [row for (owner, _), row in self._unplaced.items() if owner == address]

    # -- private ----------------------------------------------------------------------------------------------------

    async def _arrive(self, ticket: Ticket, delay_s: float) -> None:
        await asyncio.sleep(delay_s)  # even 0 lets the acknowledgement go first
        key = (ticket.address, ticket.client_id)
        self._on_their_way.pop(key, None)
        if self._kills.pop(key, None) is not None:
            self._end_unplaced(ticket, "CANCELLED", "CLIENT_CANCEL")
        elif ticket.all_or_nothing and self._on_offer(ticket) < ticket.qty:
            self._end_unplaced(ticket, "CANCELLED", "FOK_CANCEL")
        else:
            self._exchange.place(
                ticket.address,
                ticket.market.name,
                ticket.side,
                ticket.qty,
                ticket.px,
                ticket.time_in_force,
                ticket.reduce_only,
                ticket.client_id,
                memo=ticket.memo.text(),
            )

    def _on_offer(self, ticket: Ticket) -> Decimal:
        """What the book holds for the order within its limit."""
        bids, asks = self._exchange.levels(ticket.market.name, 25)
        fits: Callable[[Decimal], bool] = lambda px: ticket.px is None or (ticket.px - px) * ticket.side.sign >= 0  # noqa: E731
        levels = asks if ticket.side is Side.BUY else bids
        return sum((level.qty for level in levels if fits(level.px)), Decimal(0))

    def _end_unplaced(self, ticket: Ticket, status: str, reason: str) -> None:
        row = unplaced_row(ticket.row, status, reason, self._clock.wire_ns())
        self._unplaced[ticket.address, ticket.client_id] = row
        while len(self._unplaced) > MAX_UNPLACED:
            del self._unplaced[next(iter(self._unplaced))]
        if self.ears is not None:
            self.ears.unplaced(row)

    def _tell_cancel(self, key: tuple[str, str], status: str) -> None:
        if self.ears is not None:
            self.ears.cancel_status(*key, status)

    def _open(self, key: tuple[str, str]) -> Order | None:
        order = self._exchange.order(key[0], client_id=key[1])
        return order if order is not None and order.is_open else None

    def _market(self, body: Row) -> Market:
        market = self._listing.by_name.get(str(body.get("instrument")))
        if market is None:
            raise ApiError(Code.INVALID_INSTRUMENT)
        return market

    def _set(self, address: str, market: Market, body: Row, cross: bool) -> None:
        times = signing.number(body.get("leverage"))
        if times != int(times) or not MIN_LEVERAGE <= times <= market.max_leverage:
            raise ApiError(Code.LEVERAGE_RANGE)
        if isinstance(self._exchange.set_leverage(address, market.name, int(times), cross), Refused):
            raise ApiError(Code.POSITION_OPEN)


def own(body: Row, address: str) -> None:
    """The request must be about the session's own account. Raises ApiError."""
    if str(body.get("sub_account_id", "")) != address:
        raise ApiError(Code.FORBIDDEN)
