"""Aster's error answers: `{"code": <int>, "msg": "..."}` with an HTTP status (docs/venues/aster.md 10)."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """The codes this sandbox answers with. Codes are stable on the venue, messages are not."""

    TOO_MANY_REQUESTS = -1003
    TOO_MANY_ORDERS = -1015
    UNSUPPORTED_OPERATION = -1020
    INVALID_SIGNATURE = -1022
    START_AFTER_END = -1023
    ILLEGAL_CHARS = -1100
    TOO_MANY_PARAMETERS = -1101
    MANDATORY_MISSING = -1102
    PARAM_NOT_REQUIRED = -1106
    BAD_PRECISION = -1111
    INVALID_TIF = -1115
    INVALID_ORDER_TYPE = -1116
    INVALID_SIDE = -1117
    BAD_SYMBOL = -1121
    INVALID_LISTEN_KEY = -1125
    LOOKUP_TOO_BIG = -1127
    BAD_COMBINATION = -1128
    INVALID_PARAMETER = -1130
    INVALID_RESP_TYPE = -1136
    NEW_ORDER_REJECTED = -2010
    CANCEL_REJECTED = -2011
    NO_SUCH_ORDER = -2013
    REJECTED_KEY = -2015
    MARGIN_NOT_SUFFICIENT = -2019
    REDUCE_ONLY_REJECT = -2022
    MAX_OPEN_ORDERS = -2025
    MAX_LEVERAGE_RATIO = -2027
    MIN_LEVERAGE_RATIO = -2028
    PRICE_LESS_THAN_ZERO = -4001
    PRICE_ABOVE_MAX = -4002
    QTY_LESS_THAN_ZERO = -4003
    QTY_BELOW_MIN = -4004
    QTY_ABOVE_MAX = -4005
    PRICE_BELOW_MIN = -4013
    PRICE_NOT_ON_TICK = -4014
    INVALID_CLIENT_ID = -4015
    PRICE_ABOVE_BAND = -4016
    INVALID_DEPTH_LIMIT = -4021
    QTY_NOT_ON_STEP = -4023
    PRICE_BELOW_BAND = -4024
    INVALID_LEVERAGE = -4028
    SAME_MARGIN_TYPE = -4046
    MARGIN_TYPE_OPEN_ORDERS = -4047
    MARGIN_TYPE_POSITION = -4048
    ADD_MARGIN_CROSSED = -4049
    CROSS_BALANCE_INSUFFICIENT = -4050
    ISOLATED_BALANCE_INSUFFICIENT = -4051
    ADD_MARGIN_NO_POSITION = -4054
    AMOUNT_NOT_POSITIVE = -4055
    SAME_POSITION_SIDE = -4059
    INVALID_POSITION_SIDE = -4060
    POSITION_SIDE_MISMATCH = -4061
    REDUCE_ONLY_CONFLICT = -4062
    POSITION_SIDE_OPEN_ORDERS = -4067
    POSITION_SIDE_POSITION = -4068
    INVALID_BATCH_SIZE = -4082
    NO_PLACE_PERMISSION = -4088
    DUPLICATE_CLIENT_ID = -4116
    MARKET_BEYOND_BAND = -4131
    MIN_NOTIONAL = -4164
    MULTI_ASSETS_ISOLATED = -4168
    NEED_DEPOSIT = -5050
    POST_ONLY_REJECT = -5022
    NONCE_EXPIRED = -4225


class ApiError(Exception):
    """An answer of the venue that is an error. `status` is the HTTP status."""

    def __init__(self, code: Code, message: str | None = None, status: int = 400) -> None:
        super().__init__(message or MESSAGE[code])
        self.code = code
        self.message = message or MESSAGE[code]
        self.status = status

    def body(self) -> dict[str, object]:
        return {"code": int(self.code), "msg": self.message}


def missing(name: str) -> ApiError:
    """-1102: absent, empty or not of its type."""
    return ApiError(Code.MANDATORY_MISSING, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def not_required(name: str) -> ApiError:
    return ApiError(Code.PARAM_NOT_REQUIRED, f"Parameter '{name}' sent when not required.")


MESSAGE: dict[Code, str] = {
    Code.TOO_MANY_REQUESTS: "Too many requests; current limit is %s requests per minute.",
    Code.TOO_MANY_ORDERS: "Too many new orders; current limit is %s orders per MINUTE.",
    Code.UNSUPPORTED_OPERATION: "This operation is not supported.",
    Code.INVALID_SIGNATURE: "Signature for this request is not valid.",
    Code.START_AFTER_END: "Start time is greater than end time.",
    Code.ILLEGAL_CHARS: "Illegal characters found in a parameter.",
    Code.TOO_MANY_PARAMETERS: "Duplicate values for a parameter detected.",
    Code.MANDATORY_MISSING: "A mandatory parameter was not sent, was empty/null, or malformed.",
    Code.PARAM_NOT_REQUIRED: "A parameter was sent when not required.",
    Code.BAD_PRECISION: "Precision is over the maximum defined for this asset.",
    Code.INVALID_TIF: "Invalid timeInForce.",
    Code.INVALID_ORDER_TYPE: "Invalid orderType.",
    Code.INVALID_SIDE: "Invalid side.",
    Code.BAD_SYMBOL: "Invalid symbol.",
    Code.INVALID_LISTEN_KEY: "This listenKey does not exist.",
    Code.LOOKUP_TOO_BIG: "Lookup interval is too big.",
    Code.BAD_COMBINATION: "Combination of optional parameters invalid.",
    Code.INVALID_PARAMETER: "Invalid data sent for a parameter.",
    Code.INVALID_RESP_TYPE: "Invalid newOrderRespType.",
    Code.NEW_ORDER_REJECTED: "Order rejected.",
    Code.CANCEL_REJECTED: "Unknown order sent.",
    Code.NO_SUCH_ORDER: "Order does not exist.",
    Code.REJECTED_KEY: "Invalid API-key, IP, or permissions for action.",
    Code.MARGIN_NOT_SUFFICIENT: "Margin is insufficient.",
    Code.REDUCE_ONLY_REJECT: "ReduceOnly Order is rejected.",
    Code.MAX_OPEN_ORDERS: "Reach max open order limit.",
    Code.MAX_LEVERAGE_RATIO: "Exceeded the maximum allowable position at current leverage.",
    Code.MIN_LEVERAGE_RATIO: "Leverage is smaller than permitted: insufficient margin balance.",
    Code.PRICE_LESS_THAN_ZERO: "Price less than 0.",
    Code.PRICE_ABOVE_MAX: "Price greater than max price.",
    Code.QTY_LESS_THAN_ZERO: "Quantity less than or equal to zero.",
    Code.QTY_BELOW_MIN: "Quantity less than min quantity.",
    Code.QTY_ABOVE_MAX: "Quantity greater than max quantity.",
    Code.PRICE_BELOW_MIN: "Price less than min price.",
    Code.PRICE_NOT_ON_TICK: "Price not increased by tick size.",
    Code.INVALID_CLIENT_ID: "Client order id is not valid.",
    Code.PRICE_ABOVE_BAND: "Price is higher than mark price multiplier cap.",
    Code.INVALID_DEPTH_LIMIT: "Invalid depth limit.",
    Code.QTY_NOT_ON_STEP: "Qty not increased by step size.",
    Code.PRICE_BELOW_BAND: "Price is lower than mark price multiplier floor.",
    Code.INVALID_LEVERAGE: "Invalid leverage",
    Code.SAME_MARGIN_TYPE: "No need to change margin type.",
    Code.MARGIN_TYPE_OPEN_ORDERS: "Margin type cannot be changed if there exists open orders.",
    Code.MARGIN_TYPE_POSITION: "Margin type cannot be changed if there exists position.",
    Code.ADD_MARGIN_CROSSED: "Add margin only support for isolated position.",
    Code.CROSS_BALANCE_INSUFFICIENT: "Cross balance insufficient.",
    Code.ISOLATED_BALANCE_INSUFFICIENT: "Isolated balance insufficient.",
    Code.ADD_MARGIN_NO_POSITION: "Cannot add position margin: position is 0.",
    Code.AMOUNT_NOT_POSITIVE: "Amount must be positive.",
    Code.SAME_POSITION_SIDE: "No need to change position side.",
    Code.INVALID_POSITION_SIDE: "Invalid position side.",
    Code.POSITION_SIDE_MISMATCH: "Order's position side does not match user's setting.",
    Code.REDUCE_ONLY_CONFLICT: "Invalid or improper reduceOnly value.",
    Code.POSITION_SIDE_OPEN_ORDERS: "Position side cannot be changed if there exists open orders.",
    Code.POSITION_SIDE_POSITION: "Position side cannot be changed if there exists position.",
    Code.INVALID_BATCH_SIZE: "Invalid number of batch place orders.",
    Code.NO_PLACE_PERMISSION: "User can not place order currently",
    Code.DUPLICATE_CLIENT_ID: "ClientOrderId is duplicated.",
    Code.MARKET_BEYOND_BAND: "The counterparty's best price does not meet the PERCENT_PRICE filter limit",
    Code.MIN_NOTIONAL: "Order's notional must be no smaller than 5.0 (unless you choose reduce only)",
    Code.MULTI_ASSETS_ISOLATED: "Unable to adjust to isolated-margin mode under the Multi-Assets mode.",
    Code.NEED_DEPOSIT: "This function can only be used after deposit",
    Code.POST_ONLY_REJECT: "Due to the order could not be executed as maker, the Post Only order will be rejected.",
    Code.NONCE_EXPIRED: "Nonce Expired",
}
