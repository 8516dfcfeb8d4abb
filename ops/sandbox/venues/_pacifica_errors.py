"""How the simulated Pacifica refuses (docs/venues/pacifica.md 6, 7 and 10).

HTTP 400 is what never reached the engine, and partly bare text; 422 is the engine's, an envelope with a number and a text.
Where no live text is recorded, the text is the documented name. Over a WebSocket there is one number per kind of refusal
and a text.
"""

from __future__ import annotations

import enum
from typing import Any

import orjson

from core.numeric import plain
from ops.sandbox.model import Contract, Order, Reject

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, BUSINESS, TOO_MANY = 200, 400, 403, 404, 422, 429
INVALID_MESSAGE = "Invalid message"
VERIFICATION_FAILED = "Verification failed: signature does not match signer and canonical payload."
NOT_AUTHORIZED = "Agent not authorized for account"
CANCEL_FAILED = "Failed to cancel order"
NO_PRICE = "No reasonable price found"
RATE_EXCEEDED = "Rate limit exceeded"
WS_SIGNATURE, WS_SIGNER, WS_UNAUTHORIZED, WS_ENGINE, WS_UNKNOWN = 401, 402, 403, 420, 500


class Business(enum.Enum):
    """The engine's refusals by documented name and present number."""

    ACCOUNT_NOT_FOUND = 1
    BOOK_NOT_FOUND = 3
    INVALID_TICK_LEVEL = 4
    INSUFFICIENT_BALANCE = 5
    ORDER_NOT_FOUND = 6
    ORDER_AMOUNT_TOO_HIGH = 8
    OPEN_ORDER_LIMIT_REACHED = 10
    INVALID_LEVERAGE = 11
    CANNOT_UPDATE_MARGIN = 12
    INVALID_REDUCE_ONLY_ORDER_SIDE = 21
    NO_POSITION_FOR_REDUCE_ONLY_ORDER = 23
    PRICE_TOO_FAR_FROM_MARK = 30
    DUPLICATE_CLIENT_ORDER_ID = 36
    UNSUPPORTED_OPERATION = 51
    INVALID_AMOUNT = 59


class ApiError(Exception):
    """A refusal of a whole request. `bare`: the body is the text alone."""

    def __init__(
        self, status: int, text: str, code: int | None = None, *, error_id: str = "", bare: bool = False
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = status if code is None else code
        self.error_id = error_id
        self.bare = bare

    def body(self) -> bytes:
        if self.bare:
            return self.text.encode()
        envelope: dict[str, Any] = {"success": False, "data": None, "error": self.text, "code": self.code}
        return orjson.dumps(envelope | ({"error_id": self.error_id} if self.error_id else {}))


def business(name: Business) -> ApiError:
    return ApiError(BUSINESS, name.name, name.value)


def malformed(text: str = "Invalid request") -> ApiError:
    """The body's shape."""
    return ApiError(BAD_REQUEST, text, bare=True)


_ENGINE = {
    Reject.UNKNOWN_SYMBOL: Business.BOOK_NOT_FOUND,
    Reject.ZERO_SIZE: Business.INVALID_AMOUNT,
    Reject.MARGIN: Business.INSUFFICIENT_BALANCE,
    Reject.REDUCE_ONLY: Business.INVALID_REDUCE_ONLY_ORDER_SIDE,
    Reject.PRICE_BAND: Business.PRICE_TOO_FAR_FROM_MARK,
    Reject.TOO_MANY_ORDERS: Business.OPEN_ORDER_LIMIT_REACHED,
    Reject.LEVERAGE: Business.INVALID_LEVERAGE,
    Reject.POSITION_MARGIN: Business.CANNOT_UPDATE_MARGIN,
    Reject.UNKNOWN_ORDER: Business.ORDER_NOT_FOUND,
    Reject.DUPLICATE_CLIENT_ID: Business.DUPLICATE_CLIENT_ORDER_ID,
}


def of_order(order: Order, contract: Contract | None, has_position: bool) -> ApiError:
    """The refusal of an order that the exchange rejected."""
    reason = order.reject or Reject.UNKNOWN_ORDER
    if contract is not None and reason is Reject.TICK:
        return malformed(f"Price {plain(order.px)} is not a multiple of tick size {plain(contract.tick)}")
    if contract is not None and reason is Reject.LOT:
        return malformed(f"Amount {plain(order.requested_qty)} is not a multiple of lot size {plain(contract.lot)}")
    if contract is not None and reason is Reject.MIN_NOTIONAL:
        worth = order.qty * order.px
        text = f"Order amount too low for {order.account}: {worth:.5f} < {plain(contract.min_notional)}"
        return ApiError(BUSINESS, text, 0, error_id="invalid_amount")
    if reason is Reject.IOC_NO_MATCH:
        return ApiError(BUSINESS, NO_PRICE, 25)
    if reason is Reject.REDUCE_ONLY and not has_position:
        return business(Business.NO_POSITION_FOR_REDUCE_ONLY_ORDER)
    return of_reject(reason)


def of_reject(reason: Reject) -> ApiError:
    return business(_ENGINE[reason])


def over_socket(status: int, body: bytes) -> tuple[int, str] | None:
    """(code, text) of a refusal as a WebSocket tells it; None when `body` is no refusal in the venue's words."""
    try:
        envelope = orjson.loads(body)
        text = str(envelope["error"]) if isinstance(envelope, dict) else ""
    except (orjson.JSONDecodeError, KeyError):
        text = body.decode(errors="replace")
    if status == BUSINESS:
        return WS_ENGINE, text
    if text in (VERIFICATION_FAILED, "Invalid signature"):
        return WS_SIGNATURE, text
    if text == "Invalid public key":
        return WS_SIGNER, text
    if text == NOT_AUTHORIZED or status == FORBIDDEN:
        return WS_UNAUTHORIZED, text
    if status in (BAD_REQUEST, TOO_MANY):
        return status, text
    return None if status == OK else (WS_UNKNOWN, text)
