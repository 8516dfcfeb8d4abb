"""Kraken's refusals: texts of the form ECategory:Message, the same by REST and by socket (docs/venues/kraken.md 10)."""

from __future__ import annotations

from ops.sandbox.model import Order, Reject

INVALID_NONCE = "EAPI:Invalid nonce"
INVALID_KEY = "EAPI:Invalid key"
INVALID_SIGNATURE = "EAPI:Invalid signature"
INVALID_TOKEN = "EAPI:Invalid token"
INVALID_SESSION = "ESession:Invalid session"
API_RATE = "EAPI:Rate limit exceeded"
ORDER_RATE = "EOrder:Rate limit exceeded"
INTERNAL = "EGeneral:Internal error"
UNAVAILABLE = "EService:Unavailable"
DEADLINE = "EService:Deadline elapsed"
UNKNOWN_PAIR = "EQuery:Unknown asset pair"
UNKNOWN_ORDER = "EOrder:Unknown order"
DUPLICATE_ID = "EOrder:Duplicate client order id"
FUNDS = "EOrder:Insufficient funds"
POST_ONLY = "EOrder:Post only order"

_REJECTS = {
    Reject.UNKNOWN_SYMBOL: UNKNOWN_PAIR,
    Reject.TICK: "EOrder:Tick size check failed",
    Reject.LOT: "EGeneral:Invalid arguments:volume",
    Reject.ZERO_SIZE: "EGeneral:Invalid arguments:volume",
    Reject.MIN_QTY: "EOrder:Order minimum not met",
    Reject.MIN_NOTIONAL: "EOrder:Cost minimum not met",
    Reject.MARGIN: FUNDS,
    Reject.POST_ONLY_WOULD_CROSS: POST_ONLY,
    Reject.PRICE_BAND: "EOrder:Invalid price",
    Reject.TOO_MANY_ORDERS: "EOrder:Orders limit exceeded",
    Reject.UNKNOWN_ORDER: UNKNOWN_ORDER,
}


class ApiError(Exception):
    """A refusal; `text` is what the client reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def invalid(argument: str) -> ApiError:
    return ApiError(f"EGeneral:Invalid arguments:{argument}")


def of_reject(reason: Reject | None) -> ApiError:
    return ApiError(_REJECTS.get(reason, INTERNAL) if reason is not None else INTERNAL)


def refusal_of(order: Order) -> ApiError:
    """Why an order that was placed is not one."""
    return of_reject(order.reject)
