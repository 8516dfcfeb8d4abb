"""EdgeX's envelope and its words for refusals (docs/venues/edgex.md 1, 3, 10).

Every REST answer is `{"code", "data", "msg", "errorParam", ...}`; a refusal may come on HTTP 200 as well. Words that the page
does not have are this sandbox's own choice and marked so: nobody should rely on them elsewhere.
"""

from __future__ import annotations

import enum

from core.clock import NS_PER_MS

SUCCESS = "SUCCESS"


class Word(enum.Enum):
    INVALID_API_KEY = "INVALID_API_KEY"
    HEADER_REQUIRED = "GATEWAY_HEADER_REQUIRED"
    PARAM_INVALID = "GATEWAY_PARAM_INVALID"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    SIGNATURE_ERROR = "SIGNATURE_ERROR"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    LEVERAGE_FAILED_ORDER = "ACCOUNT_UPDATE_LEVERAGE_FAILED_ORDER"
    INVALID_GET_PAGE_SIZE = "INVALID_GET_PAGE_SIZE"
    INVALID_DEPTH_LEVEL = "INVALID_DEPTH_LEVEL"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    DUPLICATE_CLIENT_ORDER_ID = "DUPLICATE_CLIENT_ORDER_ID"  # own choice: the venue's is not recorded
    INVALID_L2_NONCE = "INVALID_L2_NONCE"  # own choice
    SYSTEM_ERROR = "SYSTEM_ERROR"  # own choice


STATUS = {
    Word.INVALID_API_KEY: 401,
    Word.HEADER_REQUIRED: 400,
    Word.PARAM_INVALID: 400,
    Word.RATE_LIMIT_EXCEEDED: 429,
    Word.SYSTEM_ERROR: 500,
}
"""HTTP statuses other than 200."""


class ApiError(Exception):
    """A refusal. `param` is echoed in `msg` and `errorParam`, as the venue does even with keys."""

    def __init__(self, word: Word, **param: str) -> None:
        super().__init__(word.value)
        self.word = word
        self.param = param

    @property
    def status(self) -> int:
        return STATUS.get(self.word, 200)

    @property
    def text(self) -> str:
        return "; ".join(f"invalid {name} : {value}" for name, value in self.param.items()) or self.word.value


def envelope(data: object, asked_ns: int, now_ns: int, trace: int) -> dict[str, object]:
    """A successful answer. Times are ms as texts."""
    return _envelope(SUCCESS, data, None, None, asked_ns, now_ns, trace)


def refusal(error: ApiError, asked_ns: int, now_ns: int, trace: int) -> dict[str, object]:
    return _envelope(error.word.value, None, error.text, error.param or None, asked_ns, now_ns, trace)


def _envelope(
    code: str, data: object, msg: str | None, param: object, asked_ns: int, now_ns: int, trace: int
) -> dict[str, object]:
    return {
        "code": code,
        "data": data,
        "msg": msg,
        "errorParam": param,
        "requestTime": str(asked_ns // NS_PER_MS),
        "responseTime": str(now_ns // NS_PER_MS),
        "traceId": f"{trace:032x}",
    }
