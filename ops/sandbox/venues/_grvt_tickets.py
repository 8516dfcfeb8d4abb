"""An order of the simulated GRVT as it comes in: its shape, and everything that is refused at once (docs/venues/grvt.md 7, 10).

The order of the checks is ours: form, whose order it is, its words, its signature, then size, price and margin.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.clock import Clock
from core.types import Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Contract
from ops.sandbox.venues import _grvt_signing as signing
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_listing import MAX_OPEN_ORDERS, Listing, Market
from ops.sandbox.venues._grvt_rows import NO_ID, Memo

TAKEN = {"GOOD_TILL_TIME": TimeInForce.GTC, "IMMEDIATE_OR_CANCEL": TimeInForce.IOC, "FILL_OR_KILL": TimeInForce.IOC}


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order that was accepted for matching. `px` None = market."""

    row: Row
    market: Market
    address: str
    client_id: str
    side: Side
    qty: Decimal
    px: Decimal | None
    time_in_force: TimeInForce
    all_or_nothing: bool
    reduce_only: bool
    expiration_ns: int
    digest: bytes
    memo: Memo

    @property
    def post_only(self) -> bool:
        return self.time_in_force is TimeInForce.POST_ONLY


class Tickets:
    """Reads orders of one exchange."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing

    def read(self, body: Row, address: str) -> Ticket:
        """The order that the session's account sends. Raises ApiError."""
        order = body.get("order")
        if not isinstance(order, dict):
            raise ApiError(Code.MALFORMED)
        market, client_id = self._words(order, address)
        leg, signature = order["legs"][0], order["signature"]
        digest = signing.order_hash(order, market.asset_id, market.base_decimals)
        signer = signing.check(signature, digest, self._clock.wire_ns())
        if self._exchange.master_of(signer) != address:
            raise ApiError(Code.UNAUTHORISED_SIGNER)
        limit = signing.number(leg.get("limit_price") or "0")
        post_only = bool(order.get("post_only"))
        ticket = Ticket(
            row=order,
            market=market,
            address=address,
            client_id=client_id,
            side=Side.BUY if leg["is_buying_asset"] else Side.SELL,
            qty=signing.number(leg["size"]),
            px=None if order.get("is_market") else limit,
            time_in_force=TimeInForce.POST_ONLY if post_only else TAKEN[order["time_in_force"]],
            all_or_nothing=order["time_in_force"] == "FILL_OR_KILL",
            reduce_only=bool(order.get("reduce_only")),
            expiration_ns=signing.whole(signature["expiration"]),
            digest=digest,
            memo=Memo(
                order["time_in_force"],
                post_only,
                signer,
                str(signature["r"]),
                str(signature["s"]),
                int(signature["v"]),
                signing.whole(signature["expiration"]),
                signing.whole(signature["nonce"]),
            ),
        )
        self._figures(ticket)
        return ticket

    def _words(self, order: Row, address: str) -> tuple[Market, str]:
        """What does not need arithmetic: the market and the client id."""
        legs, signature, metadata = order.get("legs"), order.get("signature"), order.get("metadata")
        if not isinstance(legs, list) or not isinstance(signature, dict):
            raise ApiError(Code.MALFORMED)
        if str(signing.whole(order.get("sub_account_id"))) != address:
            raise ApiError(Code.WRONG_SUB_ACCOUNT)
        if order.get("order_id") not in (None, "", NO_ID):
            raise ApiError(Code.ORDER_ID_GIVEN)
        if not isinstance(metadata, dict) or not metadata.get("client_order_id"):
            raise ApiError(Code.NO_CLIENT_ID)
        client_id = str(signing.whole(metadata["client_order_id"]))
        if len(legs) != 1:
            raise ApiError(Code.MANY_LEGS if legs else Code.NO_LEG)
        leg = legs[0]
        if not isinstance(leg, dict) or not isinstance(leg.get("is_buying_asset"), bool):
            raise ApiError(Code.MALFORMED)
        market = self._listing.by_name.get(str(leg.get("instrument")))
        if market is None:
            raise ApiError(Code.UNSUPPORTED_INSTRUMENT)
        if order.get("time_in_force") not in TAKEN:
            raise ApiError(Code.TIME_IN_FORCE)
        if order.get("post_only") and order["time_in_force"] != "GOOD_TILL_TIME":
            raise ApiError(Code.POST_ONLY_KIND)
        priced = signing.number(leg.get("limit_price") or "0") != 0
        if bool(order.get("is_market")) == priced:
            raise ApiError(Code.MARKET_WITH_PRICE if priced else Code.LIMIT_WITHOUT_PRICE)
        return market, client_id

    def _figures(self, ticket: Ticket) -> None:
        """Size, price, notional, direction and margin against the present market. Raises ApiError."""
        contract, qty = self._exchange.contracts[ticket.market.name], ticket.qty
        mark = self._exchange.mark(contract.name)
        if qty < contract.lot:
            raise ApiError(Code.MIN_SIZE)
        if qty % contract.lot:
            raise ApiError(Code.GRANULARITY)
        if ticket.px is not None:
            if ticket.px % contract.tick:
                raise ApiError(Code.TICK)
            if (ticket.px - mark) / mark * ticket.side.sign > contract.price_band:
                raise ApiError(Code.PRICE_BAND)
        position = self._exchange.position(ticket.address, contract.name)
        if ticket.reduce_only and not position.qty:
            raise ApiError(Code.NO_POSITION)
        if ticket.reduce_only and position.qty * ticket.side.sign > 0:
            raise ApiError(Code.WOULD_INCREASE)
        closes_all = position.qty * ticket.side.sign < 0 and qty >= abs(position.qty)
        if qty * (ticket.px or mark) < contract.min_notional and not closes_all:
            raise ApiError(Code.MIN_NOTIONAL_REDUCING if ticket.reduce_only else Code.MIN_NOTIONAL)
        if len(self._exchange.open_orders(ticket.address)) >= MAX_OPEN_ORDERS:
            raise ApiError(Code.OPEN_ORDERS)
        self._margin(ticket, contract, mark)

    def _margin(self, ticket: Ticket, contract: Contract, mark: Decimal) -> None:
        position = self._exchange.position(ticket.address, contract.name)
        closing = min(ticket.qty, abs(position.qty)) if position.qty * ticket.side.sign < 0 else Decimal(0)
        opening = Decimal(0) if ticket.reduce_only else ticket.qty - closing
        rests = ticket.px is not None and ticket.time_in_force is not TimeInForce.IOC
        px = ticket.px if ticket.px is not None and rests else mark
        cost = opening * px * (Decimal(1) / position.leverage + self._exchange.terms.taker_fee)
        released = closing * mark / position.leverage
        if opening and cost > self._exchange.margin(ticket.address).free + released:
            raise ApiError(Code.MARGIN)
