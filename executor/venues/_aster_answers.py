"""What Aster's answers to signed requests mean: by HTTP status and code, never by message (docs/venues/aster.md 7, 10).

Codes are stable, messages are not. A refusal is a 4xx that carries a code outside UNKNOWN_CODES, or one of the two
statuses that the venue documents as rate limits. 5xx (503 above all), undecodable answers and the UNKNOWN_CODES leave
the request in doubt. An IOC without match is no error here: it is an accepted order that ended EXPIRED.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.types import OrderStatus
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues._decoding import DECODE_ERRORS, is_price, whole_lots
from executor.venues._memory import SentOrder

LaneResult = HttpReply | Unsent | Unknown

RATE_STATUSES = frozenset({429, 418})
UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007})
NO_SUCH_ORDER = -2013
NONCE_EXPIRED = -4225

CODES: dict[int, RejectCode] = {
    -1002: RejectCode.AUTH,
    -1003: RejectCode.RATE,
    -1015: RejectCode.RATE,
    -1016: RejectCode.VENUE_MODE,
    -1021: RejectCode.NONCE,
    -1022: RejectCode.AUTH,
    -1111: RejectCode.TICK,
    -1121: RejectCode.INSTRUMENT,
    -2010: RejectCode.DUPLICATE_ID,  # Binance's catch-all; a duplicate id may hide in it, so it proves nothing
    -2011: RejectCode.UNKNOWN_ORDER,
    -2013: RejectCode.UNKNOWN_ORDER,
    -2014: RejectCode.AUTH,
    -2015: RejectCode.AUTH,
    -2018: RejectCode.MARGIN,
    -2019: RejectCode.MARGIN,
    -2022: RejectCode.REDUCE_ONLY,
    -2023: RejectCode.VENUE_MODE,
    -2024: RejectCode.REDUCE_ONLY,
    -2025: RejectCode.RATE,
    -2027: RejectCode.LEVERAGE,
    -2028: RejectCode.LEVERAGE,
    -4003: RejectCode.SIZE,
    -4004: RejectCode.SIZE,
    -4005: RejectCode.SIZE,
    -4013: RejectCode.TICK,
    -4014: RejectCode.TICK,
    -4016: RejectCode.PRICE_BAND,
    -4023: RejectCode.SIZE,
    -4024: RejectCode.PRICE_BAND,
    -4045: RejectCode.RATE,
    -4087: RejectCode.VENUE_MODE,
    -4088: RejectCode.VENUE_MODE,
    -4116: RejectCode.DUPLICATE_ID,
    -4118: RejectCode.REDUCE_ONLY,
    -4131: RejectCode.PRICE_BAND,
    -4140: RejectCode.INSTRUMENT,
    -4141: RejectCode.INSTRUMENT,
    -4164: RejectCode.MIN_NOTIONAL,
    NONCE_EXPIRED: RejectCode.NONCE,
    -5022: RejectCode.POST_ONLY,
    -5050: RejectCode.AUTH,
    -5060: RejectCode.PRICE_BAND,
    -5076: RejectCode.MIN_NOTIONAL,
}

STATUSES: dict[str, OrderStatus] = {
    "NEW": OrderStatus.ACCEPTED,
    "PARTIALLY_FILLED": OrderStatus.ACCEPTED,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELED,
    "EXPIRED": OrderStatus.EXPIRED,
    "REJECTED": OrderStatus.REJECTED,
    "NEW_INSURANCE": OrderStatus.ACCEPTED,  # liquidation by the insurance fund
    "NEW_ADL": OrderStatus.ACCEPTED,
}


class OrderRow(msgspec.Struct):
    """One order as place, cancel and query answer it."""

    symbol: str
    orderId: int
    clientOrderId: str
    status: str
    side: str
    origQty: Decimal
    executedQty: Decimal
    avgPrice: Decimal = Decimal(0)
    reduceOnly: bool = False


class ErrorRow(msgspec.Struct):
    code: int
    msg: str = ""


_order = msgspec.json.Decoder(OrderRow)
_error = msgspec.json.Decoder(ErrorRow)


def order_outcome(result: LaneResult, order: SentOrder) -> Outcome:
    """The outcome of POST /fapi/v3/order."""
    row = answered_order(result)
    if not isinstance(row, OrderRow):
        return row
    if row.clientOrderId != order.client_order_id:
        return Unknown(detail=f"the answer is about the order {row.clientOrderId!r}")
    return _accepted(row, order)


def cancel_outcome(result: LaneResult, order: SentOrder | None) -> Outcome:
    """The outcome of DELETE /fapi/v3/order: the order in its final state, or Rejected(UNKNOWN_ORDER)."""
    row = answered_order(result)
    if not isinstance(row, OrderRow):
        return row
    if order is not None:
        return _accepted(row, order)
    if STATUSES.get(row.status) is not OrderStatus.CANCELED:
        return Unknown(detail=f"a cancelled order in state {row.status!r}")
    return Accepted(venue_order_id=str(row.orderId), status=OrderStatus.CANCELED, filled_lots=0)


def answered_order(result: LaneResult) -> OrderRow | Rejected | Unsent | Unknown:
    if not isinstance(result, HttpReply):
        return result
    if result.status != 200:
        return refusal(result)
    try:
        return _order.decode(result.body)
    except DECODE_ERRORS as error:
        return Unknown(detail=f"the answer does not decode: {error}")


def refusal(reply: HttpReply) -> Rejected | Unknown:
    """What an answer other than 200 proves."""
    detail = f"HTTP {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}"
    if reply.status in RATE_STATUSES:
        return Rejected(code=RejectCode.RATE, detail=detail)
    code = error_code(reply)
    if not 400 <= reply.status < 500 or code is None or code in UNKNOWN_CODES:
        return Unknown(detail=detail)
    return Rejected(code=CODES.get(code, RejectCode.OTHER), detail=detail)


def error_code(reply: HttpReply) -> int | None:
    """The integer code of an error body; None when there is none."""
    try:
        return _error.decode(reply.body).code
    except DECODE_ERRORS:
        return None


def _accepted(row: OrderRow, order: SentOrder) -> Outcome:
    status = STATUSES.get(row.status)
    if status is None:
        return Unknown(detail=f"order status {row.status!r} is not one that we know")
    lots = whole_lots(row.executedQty, order.instrument)
    if lots is None or not 0 <= lots <= order.lots:
        return Unknown(detail=f"executed size {row.executedQty} does not fit the order of {order.lots} lots")
    if status is OrderStatus.REJECTED:
        return Rejected(code=RejectCode.OTHER, detail="the order ended REJECTED")
    return Accepted(
        venue_order_id=str(row.orderId),
        status=status,
        filled_lots=lots,
        avg_px=row.avgPrice if is_price(row.avgPrice) else None,
    )
