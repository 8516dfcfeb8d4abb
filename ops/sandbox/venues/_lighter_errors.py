"""Lighter's refusals: numeric code and the venue's text, in an envelope of status 400, 401 or 429 (docs/venues/lighter.md 10)."""

from __future__ import annotations

import enum
from typing import Any


class Code(enum.IntEnum):
    INVALID_PARAM = 20001
    AUTH = 20013
    INVALID_NONCE = 21104
    BATCH_NONCES = 21105
    ACCOUNT_NOT_FOUND = 21100
    API_KEY_NOT_FOUND = 21109
    INVALID_SIGNATURE = 21120
    MARGIN_MODE_BUSY = 21132
    INTEGRATOR_NOT_APPROVED = 21149
    TX_NOT_FOUND = 21500
    TOO_MANY_PENDING = 21506
    BELOW_INITIAL_MARGIN = 21508
    BATCH_TOO_LONG = 21514
    INACTIVE_ORDER = 21600
    INVALID_MARKET = 21602
    INVALID_MARGIN_FRACTION = 21613
    ORDER_NOT_FOUND = 21700
    INVALID_PRICE = 21702
    INVALID_AMOUNT = 21706
    INVALID_EXPIRY = 21711
    INVALID_CANCEL_ALL_TIME = 21713
    TOO_MANY_ORDERS = 21717
    INVALID_CLIENT_ID = 21727
    DUPLICATE_CLIENT_ID = 21728
    INVALID_ORDER_TYPE = 21730
    INVALID_TIME_IN_FORCE = 21731
    REDUCE_ONLY_INCREASES = 21732
    ACCIDENTAL_PRICE = 21733
    REDUCE_ONLY_DIRECTION = 21738
    NOT_ENOUGH_MARGIN = 21739
    TOO_MANY_REQUESTS = 23000
    WS_ALREADY_SUBSCRIBED = 30003
    WS_INVALID_CHANNEL = 30005
    WS_INVALID_MESSAGE = 30007
    WS_TOO_MANY_MESSAGES = 30009
    WS_TOO_MANY_SUBSCRIPTIONS = 30010


TEXT: dict[Code, str] = {
    Code.INVALID_PARAM: "invalid param",
    Code.AUTH: "invalid auth",
    Code.INVALID_NONCE: "invalid nonce",
    Code.BATCH_NONCES: "invalid nonce: batch nonces must be increasing",
    Code.ACCOUNT_NOT_FOUND: "account not found",
    Code.API_KEY_NOT_FOUND: "api key not found",
    Code.INVALID_SIGNATURE: "invalid signature",
    Code.MARGIN_MODE_BUSY: "margin mode can not be changed with an open position or order",
    Code.INTEGRATOR_NOT_APPROVED: "integrator is not approved",
    Code.TX_NOT_FOUND: "transaction not found",
    Code.TOO_MANY_PENDING: "too many pending transactions",
    Code.BELOW_INITIAL_MARGIN: "account is below initial margin requirement",
    Code.BATCH_TOO_LONG: "too many transactions in batch",
    Code.INACTIVE_ORDER: "inactive order",
    Code.INVALID_MARKET: "invalid market index",
    Code.INVALID_MARGIN_FRACTION: "invalid initial margin fraction",
    Code.ORDER_NOT_FOUND: "invalid order index",
    Code.INVALID_PRICE: "invalid order price",
    Code.INVALID_AMOUNT: "invalid order base or quote amount",
    Code.INVALID_EXPIRY: "invalid order expiry",
    Code.INVALID_CANCEL_ALL_TIME: "invalid cancel all time",
    Code.TOO_MANY_ORDERS: "maximum active order count reached",
    Code.INVALID_CLIENT_ID: "invalid client order index",
    Code.DUPLICATE_CLIENT_ID: "client order index already exists",
    Code.INVALID_ORDER_TYPE: "invalid order type",
    Code.INVALID_TIME_IN_FORCE: "invalid order time in force",
    Code.REDUCE_ONLY_INCREASES: "reduce only increases position",
    Code.ACCIDENTAL_PRICE: "order price flagged as an accidental price",
    Code.REDUCE_ONLY_DIRECTION: "invalid reduce only direction",
    Code.NOT_ENOUGH_MARGIN: "not enough margin to create the order",
    Code.TOO_MANY_REQUESTS: "Too Many Requests!",
    Code.WS_ALREADY_SUBSCRIBED: "Already Subscribed to ",
    Code.WS_INVALID_CHANNEL: "Invalid Channel: ",
    Code.WS_INVALID_MESSAGE: "Invalid Message",
    Code.WS_TOO_MANY_MESSAGES: "Too Many Messages!",
    Code.WS_TOO_MANY_SUBSCRIPTIONS: "Too Many Subscriptions!",
}
_STATUS = {Code.AUTH: 401, Code.TOO_MANY_REQUESTS: 429}


class ApiError(Exception):
    """One refusal; `detail` follows the venue's text."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(code.name)
        self.code = code
        self.message = TEXT[code] + detail
        self.status = _STATUS.get(code, 400)

    def body(self) -> dict[str, Any]:
        return {"code": int(self.code), "message": self.message}


def invalid_param(detail: str) -> ApiError:
    return ApiError(Code.INVALID_PARAM, f" : {detail}")
