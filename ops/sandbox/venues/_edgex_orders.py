"""Order entry and order queries (docs/venues/edgex.md 7, 8, 10).

A new order is judged in two places. The gateway answers at once for what it can see by itself: form, grid, size, band, the
signature, a client id seen before. Margin, reduce-only and post-only are judged where the order meets the book, after the
venue's delay, and the answer then is an order id all the same: the refusal is the order's end.

Not simulated: conditional orders, FILL_OR_KILL, attached take-profit and stop-loss.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS
from core.types import Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import CancelReason, Order, Refused
from ops.sandbox.venues import _edgex_rows as rows
from ops.sandbox.venues._edgex_auth import Keys, nonce_of, order_signer
from ops.sandbox.venues._edgex_call import Call, paged, within
from ops.sandbox.venues._edgex_errors import SUCCESS, ApiError, Word
from ops.sandbox.venues._edgex_listing import BAND, TAKER_FEE, Listing
from ops.sandbox.venues._edgex_rows import Row
from ops.sandbox.venues.base import Host

L2_DISTANCE_MS = 8 * 24 * 3600 * 1000
MAX_EXPIRY_MS = 366 * 24 * 3600 * 1000
ACTIVE_MAX, HISTORY_MAX = 200, 100

_CLIENT_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIFS = {
    "GOOD_TIL_CANCEL": TimeInForce.GTC,
    "IMMEDIATE_OR_CANCEL": TimeInForce.IOC,
    "POST_ONLY": TimeInForce.POST_ONLY,
}
_SIGNED = ("size", "l2LimitFee", "l2Nonce", "expireTime", "l2Signature")


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order whose form is right. `px` None = market."""

    listing: Listing
    side: Side
    tif: TimeInForce
    qty: Decimal
    px: Decimal | None
    reduce_only: bool
    client_id: str
    expire_ms: int


class Desk:
    """Handlers of /private/order."""

    def __init__(self, host: Host, listed: dict[str, Listing], keys: Keys) -> None:
        self._host = host
        self._exchange: Exchange = host.exchange
        self._listed = listed  # by contract id
        self._by_name = {listing.name: listing for listing in listed.values()}
        self._keys = keys
        self._taken: set[tuple[str, str]] = set()  # client ids on their way to the book

    # -- entry ------------------------------------------------------------------------------------------------------

    async def create(self, call: Call) -> Row:
        ticket = self._read(call)
        taken = (call.account, ticket.client_id)
        if taken in self._taken or self._exchange.order(call.account, client_id=ticket.client_id) is not None:
            raise ApiError(Word.DUPLICATE_CLIENT_ORDER_ID)
        self._taken.add(taken)
        try:
            await self._travel()
            placed = self._exchange.place(
                call.account, ticket.listing.name, ticket.side, ticket.qty, ticket.px, ticket.tif,
                reduce_only=ticket.reduce_only, client_id=ticket.client_id, memo=str(ticket.expire_ms),
            )  # fmt: skip
        finally:
            self._taken.discard(taken)
        return {"orderId": str(placed.order.order_id)}

    async def cancel_by_id(self, call: Call) -> Row:
        return await self._cancel(call, call.texts("orderIdList"), by_client=False)

    async def cancel_by_client_id(self, call: Call) -> Row:
        return await self._cancel(call, call.texts("clientOrderIdList"), by_client=True)

    async def cancel_all(self, call: Call) -> Row:
        contracts = call.texts("filterContractIdList")
        unknown = [each for each in contracts if each not in self._listed]
        if unknown:
            raise ApiError(Word.PARAM_INVALID, contractId=unknown[0])
        await self._travel()
        names: list[str | None] = [self._listed[each].name for each in contracts]
        ended = [order for name in names or [None] for order in self._exchange.cancel_all(call.account, name)]
        return {"cancelResultMap": {str(order.order_id): SUCCESS for order in ended}}

    def expire_due(self) -> None:
        """End resting orders whose own time is up. Called with the venue's tick."""
        now_ms = self._now_ms()
        for account in list(self._exchange.ledger.accounts):
            for order in self._exchange.open_orders(account):
                if order.memo and int(order.memo) <= now_ms:
                    self._exchange.cancel(account, order_id=order.order_id, reason=CancelReason.EXPIRED)

    async def _cancel(self, call: Call, ids: list[str], by_client: bool) -> Row:
        if not ids:
            raise ApiError(Word.PARAM_INVALID, name="clientOrderIdList" if by_client else "orderIdList")
        await self._travel()
        results = {}
        for each in ids:
            order_id = None if by_client else int(each) if each.isdecimal() else -1
            ended = self._exchange.cancel(call.account, order_id, each if by_client else None)
            results[each] = Word.ORDER_NOT_FOUND.value if isinstance(ended, Refused) else SUCCESS
        return {"cancelResultMap": results}

    async def _travel(self) -> None:
        if self._host.order_delay_s:
            await asyncio.sleep(self._host.order_delay_s)

    # -- judging a new order ------------------------------------------------------------------------------------------

    def _read(self, call: Call) -> Ticket:
        listing = self.listing(call)
        side, tif = _SIDES.get(call.text("side")), _TIFS.get(call.text("timeInForce"))
        kind, client_id = call.text("type"), call.text("clientOrderId")
        if side is None or tif is None or kind not in ("LIMIT", "MARKET") or not _CLIENT_ID.match(client_id):
            raise ApiError(Word.INVALID_PARAMETER)
        if call.flag("isPositionTpsl") or call.flag("isSetOpenTp") or call.flag("isSetOpenSl"):
            raise ApiError(Word.INVALID_PARAMETER)
        is_market = kind == "MARKET"
        if is_market and tif is not TimeInForce.IOC:
            raise ApiError(Word.INVALID_PARAMETER)
        qty, px, value = call.number("size"), call.number("price"), call.number("l2Value")
        self._check_grid(listing, side, qty, None if is_market else px)
        self._check_signature(call, listing, side, px * qty if not is_market else value)
        return Ticket(
            listing=listing,
            side=side,
            tif=tif,
            qty=qty,
            px=None if is_market else px,
            reduce_only=call.flag("reduceOnly"),
            client_id=client_id,
            expire_ms=call.whole("expireTime"),
        )

    def _check_grid(self, listing: Listing, side: Side, qty: Decimal, px: Decimal | None) -> None:
        contract = listing.contract
        if qty % contract.lot or not listing.min_qty <= qty <= listing.max_qty:
            raise ApiError(Word.INVALID_PARAMETER, size=str(qty))
        if px is None:
            return
        limit = self._exchange.mark(listing.name) * (1 + side.sign * BAND)
        if px <= 0 or px % contract.tick or (px - limit) * side.sign > 0:
            raise ApiError(Word.INVALID_PARAMETER, price=str(px))

    def _check_signature(self, call: Call, listing: Listing, side: Side, value: Decimal) -> None:
        """Times, the fee cap, what the L2 fields repeat, and the signature itself."""
        expire_ms, l2_expire_ms = call.whole("expireTime"), call.whole("l2ExpireTime")
        now_ms = self._now_ms()
        if not now_ms < expire_ms <= now_ms + MAX_EXPIRY_MS or l2_expire_ms < expire_ms + L2_DISTANCE_MS:
            raise ApiError(Word.INVALID_PARAMETER, expireTime=str(expire_ms))
        if call.number("l2Value") != value or call.number("l2Size") != call.number("size"):
            raise ApiError(Word.INVALID_PARAMETER)
        if call.number("l2LimitFee") < value * TAKER_FEE:
            raise ApiError(Word.INVALID_PARAMETER, l2LimitFee=call.text("l2LimitFee"))
        if call.whole("l2Nonce") != nonce_of(call.text("clientOrderId")):
            raise ApiError(Word.INVALID_L2_NONCE)
        body = {name: call.text(name) for name in _SIGNED}
        for signer in self._keys.signer_of(call.account):
            if order_signer(listing, call.account, signer, body, side is Side.BUY, value) == signer:
                return
        raise ApiError(Word.SIGNATURE_ERROR)

    def listing(self, call: Call) -> Listing:
        listing = self._listed.get(call.text("contractId"))
        if listing is None:
            raise ApiError(Word.PARAM_INVALID, contractId=call.text("contractId"))
        return listing

    # -- queries ------------------------------------------------------------------------------------------------------

    def active_page(self, call: Call) -> Row:
        return self._page(call, self._exchange.open_orders(call.account), ACTIVE_MAX)

    def history_page(self, call: Call) -> Row:
        return self._page(call, [each for each in self._exchange.orders(call.account) if not each.is_open], HISTORY_MAX)

    def by_id(self, call: Call) -> list[Row]:
        ids = [int(each) if each.isdecimal() else -1 for each in call.texts("orderIdList")]
        return self._rows(self._exchange.order(call.account, order_id=each) for each in ids)

    def by_client_id(self, call: Call) -> list[Row]:
        ids = call.texts("clientOrderIdList")
        return self._rows(self._exchange.order(call.account, client_id=each) for each in ids)

    def fills_page(self, call: Call) -> Row:
        contracts, orders = call.texts("filterContractIdList"), call.texts("filterOrderIdList")
        found = [
            fill
            for fill in reversed(self._exchange.fills(call.account))
            if within(call, fill.time_ns // NS_PER_MS)
            and (not contracts or self._by_name[fill.name].contract_id in contracts)
            and (not orders or str(fill.order_id) in orders)
        ]
        given, offset = paged(call, found, lambda fill: fill.trade_id, HISTORY_MAX)
        return {
            "dataList": [rows.fill_row(fill, self._by_name[fill.name]) for fill in given],
            "nextPageOffsetData": offset,
        }

    def max_size(self, call: Call) -> Row:
        listing, px = self.listing(call), call.number("price")
        if px <= 0:
            raise ApiError(Word.INVALID_PARAMETER, price=str(px))
        free = self._exchange.margin(call.account).free
        leverage = self._exchange.position(call.account, listing.name).leverage
        most = free * leverage / px // listing.contract.lot * listing.contract.lot
        top = self._exchange.top(listing.name)
        return {
            "maxBuySize": str(most),
            "maxSellSize": str(most),
            "ask1Price": str(top.ask.px) if top.ask else "0",
            "bid1Price": str(top.bid.px) if top.bid else "0",
        }

    def row(self, order: Order, *, pending: bool = False) -> Row:
        """An order as every query and the stream show it."""
        fees = (fill.fee for fill in self._exchange.fills(order.account) if fill.order_id == order.order_id)
        nonce = nonce_of(order.client_id) if order.client_id else 0
        return rows.order_row(order, self._by_name[order.name], nonce, sum(fees, Decimal(0)), pending)

    def _page(self, call: Call, orders: list[Order], most: int) -> Row:
        contracts = call.texts("filterContractIdList")
        found = [
            order
            for order in sorted(orders, key=lambda order: -order.order_id)
            if within(call, order.created_ns // NS_PER_MS)
            and (not contracts or self._by_name[order.name].contract_id in contracts)
        ]
        given, offset = paged(call, found, lambda order: order.order_id, most)
        return {"dataList": [self.row(order) for order in given], "nextPageOffsetData": offset}

    def _rows(self, found: Iterable[Order | None]) -> list[Row]:
        return [self.row(order) for order in found if order is not None]

    def _now_ms(self) -> int:
        return self._host.clock.wire_ns() // NS_PER_MS
