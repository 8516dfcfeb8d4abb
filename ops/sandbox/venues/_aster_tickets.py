"""A new order from its parameters to a checked ticket (docs/venues/aster.md 2, 7, 10).

Two steps, as on the venue: the form of the parameters is judged at once (`read_ticket`), the trading filters only where
the order meets the market (`check_filters`), because band and minimum notional depend on the mark of that moment.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from core.types import Side, TimeInForce
from ops.sandbox.model import SelfTrade
from ops.sandbox.venues._aster_errors import ApiError, Code, missing, not_required
from ops.sandbox.venues._aster_listing import Listing, decimals
from ops.sandbox.venues._aster_request import Params

MANDATORY = ("symbol", "side", "type")
OPTIONAL = (
    "positionSide",
    "timeInForce",
    "quantity",
    "reduceOnly",
    "price",
    "newClientOrderId",
    "newOrderRespType",
    "stpMode",
    "builder",
    "feeRate",
)
CONDITIONAL = ("stopPrice", "closePosition", "activationPrice", "callbackRate", "workingType", "priceProtect")
PEGS = ("pegPriceType", "pegOffset")
NAMES = (*OPTIONAL, *CONDITIONAL, *PEGS)

_CLIENT_ID = re.compile(r"^[.A-Z:/a-z0-9_-]{1,36}$")
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIFS = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "GTX": TimeInForce.POST_ONLY}
_STP = {
    "EXPIRE_TAKER": SelfTrade.EXPIRE_TAKER,
    "EXPIRE_MAKER": SelfTrade.EXPIRE_MAKER,
    "EXPIRE_BOTH": SelfTrade.EXPIRE_BOTH,
}


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order whose form is right. `px` is None for a market order; `full_answer`: newOrderRespType RESULT."""

    listing: Listing
    side: Side
    tif: TimeInForce
    qty: Decimal
    px: Decimal | None
    reduce_only: bool
    client_id: str
    full_answer: bool
    self_trade: SelfTrade | None
    builder: str = ""
    fee_rate: Decimal = Decimal(0)


def read_ticket(params: Params, listings: dict[str, Listing], hedge_mode: bool, generated_id: str) -> Ticket:
    """Judge the form of a new order. Raises ApiError with the venue's code for the first thing that is wrong."""
    params.check_names(MANDATORY, NAMES)
    listing = listed(params, listings)
    side = _SIDES.get(params.text("side"))
    if side is None:
        raise ApiError(Code.INVALID_SIDE)
    is_market = _is_market(params)
    qty = params.decimal("quantity")
    if is_market:
        tif, px = TimeInForce.IOC, None
    else:
        tif, px = _time_in_force(params), params.decimal("price")
    _check_position_side(params, hedge_mode)
    builder, fee_rate = _builder(params)
    return Ticket(
        listing=listing,
        side=side,
        tif=tif,
        qty=qty,
        px=px,
        reduce_only=params.boolean_or("reduceOnly", False),
        client_id=client_order_id(params, "newClientOrderId") if "newClientOrderId" in params else generated_id,
        full_answer=_wants_result(params),
        self_trade=_self_trade(params),
        builder=builder,
        fee_rate=fee_rate,
    )


def check_filters(ticket: Ticket, mark: Decimal, best_opposite: Decimal | None) -> None:
    """The symbol's filters against the mark of this moment. Raises ApiError; nothing is rounded for the client.

    `best_opposite`: the best price a market order would meet, None for an empty side."""
    check_quantity(ticket.listing, ticket.qty, ticket.px is None)
    if ticket.px is not None:
        check_price(ticket.listing, ticket.side, ticket.px, mark)
    elif best_opposite is not None:
        band = ticket.listing.band_px(ticket.side, mark)
        if (best_opposite - band) * ticket.side.sign > 0:
            raise ApiError(Code.MARKET_BEYOND_BAND)
    if (
        not ticket.reduce_only
        and ticket.qty * (mark if ticket.px is None else ticket.px) < ticket.listing.contract.min_notional
    ):
        raise ApiError(Code.MIN_NOTIONAL)


def check_price(listing: Listing, side: Side, px: Decimal, mark: Decimal) -> None:
    """PRICE_FILTER, precision and PERCENT_PRICE."""
    if px <= 0:
        raise ApiError(Code.PRICE_LESS_THAN_ZERO)
    if decimals(px) > listing.price_precision:
        raise ApiError(Code.BAD_PRECISION)
    if px < listing.contract.tick:
        raise ApiError(Code.PRICE_BELOW_MIN)
    if px > listing.max_price:
        raise ApiError(Code.PRICE_ABOVE_MAX)
    if px % listing.contract.tick:
        raise ApiError(Code.PRICE_NOT_ON_TICK)
    if (px - listing.band_px(side, mark)) * side.sign > 0:
        raise ApiError(Code.PRICE_ABOVE_BAND if side is Side.BUY else Code.PRICE_BELOW_BAND)


def check_quantity(listing: Listing, qty: Decimal, is_market: bool) -> None:
    """LOT_SIZE or MARKET_LOT_SIZE, and precision."""
    if qty <= 0:
        raise ApiError(Code.QTY_LESS_THAN_ZERO)
    if decimals(qty) > listing.quantity_precision:
        raise ApiError(Code.BAD_PRECISION)
    if qty < listing.contract.lot:
        raise ApiError(Code.QTY_BELOW_MIN)
    if qty > (listing.max_market_qty if is_market else listing.max_qty):
        raise ApiError(Code.QTY_ABOVE_MAX)
    if qty % listing.contract.lot:
        raise ApiError(Code.QTY_NOT_ON_STEP)


def listed(params: Params, listings: dict[str, Listing]) -> Listing:
    """The listing named by `symbol`; -1121 if there is none."""
    listing = listings.get(params.text("symbol"))
    if listing is None:
        raise ApiError(Code.BAD_SYMBOL)
    return listing


def client_order_id(params: Params, name: str) -> str:
    """A client id of legal form; -4015 otherwise."""
    value = params.text(name)
    if not _CLIENT_ID.match(value):
        raise ApiError(Code.INVALID_CLIENT_ID)
    return value


def stp_mode(params: Params) -> SelfTrade:
    mode = _STP.get(params.text("stpMode"))
    if mode is None:
        raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'stpMode' is not valid.")
    return mode


def _is_market(params: Params) -> bool:
    kind = params.text("type")
    if kind not in ("LIMIT", "MARKET"):
        raise ApiError(Code.INVALID_ORDER_TYPE)
    refused = (*CONDITIONAL, "price", "timeInForce", *PEGS) if kind == "MARKET" else CONDITIONAL
    for name in refused:
        if name in params:
            raise not_required(name)
    for name in PEGS:
        if name in params:
            raise ApiError(Code.UNSUPPORTED_OPERATION)
    for name in ("quantity",) if kind == "MARKET" else ("timeInForce", "quantity", "price"):
        params.text(name)
    return kind == "MARKET"


def _time_in_force(params: Params) -> TimeInForce:
    tif = _TIFS.get(params.text("timeInForce"))
    if tif is None:
        raise ApiError(Code.INVALID_TIF)
    return tif


def _check_position_side(params: Params, hedge_mode: bool) -> None:
    """One-way: BOTH or nothing. Hedge: LONG or SHORT, and no reduceOnly; the sandbox nets, so it places none there."""
    side = params.text_or("positionSide", "BOTH")
    if side not in ("BOTH", "LONG", "SHORT"):
        raise ApiError(Code.INVALID_POSITION_SIDE)
    if (side == "BOTH") == hedge_mode:
        raise ApiError(Code.POSITION_SIDE_MISMATCH)
    if hedge_mode:
        raise ApiError(Code.REDUCE_ONLY_CONFLICT if "reduceOnly" in params else Code.NO_PLACE_PERMISSION)


def _wants_result(params: Params) -> bool:
    form = params.text_or("newOrderRespType", "ACK")
    if form not in ("ACK", "RESULT"):
        raise ApiError(Code.INVALID_RESP_TYPE)
    return form == "RESULT"


def _self_trade(params: Params) -> SelfTrade | None:
    return stp_mode(params) if "stpMode" in params else None


def _builder(params: Params) -> tuple[str, Decimal]:
    if "builder" not in params and "feeRate" not in params:
        return "", Decimal(0)
    if "builder" not in params or "feeRate" not in params:
        raise missing("feeRate" if "builder" in params else "builder")
    rate = params.decimal("feeRate")
    if not 0 <= rate <= 1:
        raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'feeRate' is not valid.")
    return params.text("builder").lower(), rate
