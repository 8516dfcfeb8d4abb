"""GRVT's refusals: a stable code with its HTTP status and text (docs/venues/grvt.md 10)."""

from __future__ import annotations

import enum
from typing import Any

Row = dict[str, Any]


class Code(enum.IntEnum):
    UNAUTHENTICATED = 1000
    FORBIDDEN = 1001
    INTERNAL = 1002
    MALFORMED = 1003
    NOT_FOUND = 1004
    UNKNOWN = 1005
    RATE_LIMIT = 1006
    ENDPOINT_OFF = 1009
    CHAIN_ID = 1012
    WS_SELECTOR = 1101
    NO_SUCH_METHOD = 1200
    UNAUTHORISED_SIGNER = 2000
    SIGNATURE_EXPIRED = 2001
    SIGNATURE_MISMATCH = 2002
    WRONG_SUB_ACCOUNT = 2003
    SIGNATURE_V = 2005
    SIGNATURE_LENGTH = 2006
    SIGNATURE_HIGH_S = 2007
    SIGNATURE_TOO_FAR = 2008
    ORDER_ID_GIVEN = 2010
    NO_CLIENT_ID = 2011
    DUPLICATE_CLIENT_ID = 2012
    MARKET_WITH_PRICE = 2020
    LIMIT_WITHOUT_PRICE = 2021
    TIME_IN_FORCE = 2030
    POST_ONLY_KIND = 2032
    NO_LEG = 2040
    MANY_LEGS = 2042
    UNSUPPORTED_INSTRUMENT = 2061
    MIN_SIZE = 2062
    TICK = 2064
    GRANULARITY = 2065
    MIN_NOTIONAL = 2066
    MIN_NOTIONAL_REDUCING = 2067
    MARGIN = 2080
    MAX_POSITION = 2081
    OPEN_ORDERS = 2090
    LEVERAGE_RANGE = 2100
    POSITION_OPEN = 2104
    TTL = 2300
    NO_POSITION = 2400
    WOULD_INCREASE = 2401
    INVALID_INSTRUMENT = 3000
    ID_REQUIRED = 3021
    WS_DEPTH = 3031
    COUNTDOWN = 6000
    PRICE_BAND = 7201


_REFUSALS: dict[Code, tuple[int, str]] = {
    Code.UNAUTHENTICATED: (401, "You need to authenticate prior to using this functionality"),
    Code.FORBIDDEN: (403, "You are not authorized to access this functionality"),
    Code.INTERNAL: (500, "Internal Server Error"),
    Code.MALFORMED: (400, "Request could not be processed due to malformed syntax"),
    Code.NOT_FOUND: (404, "Data Not Found"),
    Code.UNKNOWN: (500, "Unknown Error"),
    Code.RATE_LIMIT: (429, "You have surpassed the allocated rate limit for your tier"),
    Code.ENDPOINT_OFF: (503, "We are temporarily deactivating this API endpoint, please try again later"),
    Code.CHAIN_ID: (400, "Invalid signature chain ID"),
    Code.WS_SELECTOR: (400, "Feed Format must be in the format of <primary>@<secondary>"),
    Code.NO_SUCH_METHOD: (404, "RPC method not found"),
    Code.UNAUTHORISED_SIGNER: (403, "Signature is from an unauthorized signer"),
    Code.SIGNATURE_EXPIRED: (403, "Signature has expired"),
    Code.SIGNATURE_MISMATCH: (403, "Signature does not match payload"),
    Code.WRONG_SUB_ACCOUNT: (403, "Order sub account does not match logged in user"),
    Code.SIGNATURE_V: (403, "Signature V must be 27/28"),
    Code.SIGNATURE_LENGTH: (403, "Signature R/S must have exactly 64 characters long without 0x prefix"),
    Code.SIGNATURE_HIGH_S: (403, "Signature S must be in the lower half of the curve"),
    Code.SIGNATURE_TOO_FAR: (403, "Signature expiration is too far in the future"),
    Code.ORDER_ID_GIVEN: (400, "Order ID should be empty when creating an order"),
    Code.NO_CLIENT_ID: (400, "Client Order ID should be supplied when creating an order"),
    Code.DUPLICATE_CLIENT_ID: (400, "Client Order ID overlaps with existing active order"),
    Code.MARKET_WITH_PRICE: (400, "Market Order must always be supplied without a limit price"),
    Code.LIMIT_WITHOUT_PRICE: (400, "Limit Order must always be supplied with a limit price"),
    Code.TIME_IN_FORCE: (400, "Orderbook Orders must have a TimeInForce of GTT/IOC/FOK"),
    Code.POST_ONLY_KIND: (400, "Post Only can only be set to true for GTT/AON orders"),
    Code.NO_LEG: (400, "Order must contain at least one leg"),
    Code.MANY_LEGS: (400, "Orderbook Orders must contain only one leg"),
    Code.UNSUPPORTED_INSTRUMENT: (400, "Unsupported Instrument Requested"),
    Code.MIN_SIZE: (400, "Order size smaller than min size"),
    Code.TICK: (400, "Invalid limit price tick"),
    Code.GRANULARITY: (400, "Order size too granular"),
    Code.MIN_NOTIONAL: (400, "Order below minimum notional. Please try again with a higher price or size."),
    Code.MIN_NOTIONAL_REDUCING: (
        400,
        "Order below minimum notional. Please try reducing your position again with a higher price or size.",
    ),
    Code.MARGIN: (400, "Insufficient margin to create order"),
    Code.MAX_POSITION: (400, "Order Fill would result in exceeding maximum position size"),
    Code.OPEN_ORDERS: (429, "Max open orders exceeded"),
    Code.LEVERAGE_RANGE: (400, "Invalid initial leverage"),
    Code.POSITION_OPEN: (400, "Margin type can not be changed with an open position"),
    Code.TTL: (400, "Order cancel time-to-live settings currently disabled or out of range"),
    Code.NO_POSITION: (400, "Reduce only order with no position"),
    Code.WOULD_INCREASE: (400, "Reduce only order must not increase position size"),
    Code.INVALID_INSTRUMENT: (400, "Instrument is invalid"),
    Code.ID_REQUIRED: (400, "Either order ID or client order ID must be supplied"),
    Code.WS_DEPTH: (400, "Depth is invalid"),
    Code.COUNTDOWN: (400, "Countdown time is too long"),
    Code.PRICE_BAND: (400, "Order price is out of the price protection band"),
}


class ApiError(Exception):
    """A request is refused."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code
        self.status, self.text = _REFUSALS[code]

    def body(self) -> Row:
        """As REST answers it."""
        return {"code": int(self.code), "message": self.text, "status": self.status}

    def brief(self) -> Row:
        """As it stands in an answer over the WebSocket."""
        return {"code": int(self.code), "message": self.text}
