"""One private call: whose it is, and its parameters, whether they came in a query or a body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from ops.sandbox.venues._edgex_errors import ApiError, Word

T = TypeVar("T")
MAX_IDS = 100


class Call:
    """`account` is "" on a public endpoint."""

    __slots__ = ("account", "params")

    def __init__(self, account: str, params: Mapping[str, object]) -> None:
        self.account = account
        self.params = params

    def text(self, name: str) -> str:
        """A text that must be there."""
        value = self.params.get(name)
        if not isinstance(value, str) or not value:
            raise ApiError(Word.PARAM_INVALID, name=name)
        return value

    def optional(self, name: str) -> str:
        value = self.params.get(name, "")
        if not isinstance(value, str):
            raise ApiError(Word.PARAM_INVALID, name=name)
        return value

    def number(self, name: str) -> Decimal:
        """A plain, finite, never negative number in text."""
        return _number(name, self.text(name))

    def whole(self, name: str, default: int | None = None) -> int:
        text = self.optional(name)
        if not text and default is not None:
            return default
        if not text.isdecimal() or len(text) > 20:
            raise ApiError(Word.PARAM_INVALID, name=name)
        return int(text)

    def flag(self, name: str) -> bool:
        value = self.params.get(name, False)
        if not isinstance(value, bool):
            raise ApiError(Word.PARAM_INVALID, name=name)
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts in a body, or a comma list in a query; empty where it is absent."""
        value = self.params.get(name, [])
        if isinstance(value, str):
            value = [part for part in value.split(",") if part]
        if not isinstance(value, list) or len(value) > MAX_IDS or not all(isinstance(each, str) for each in value):
            raise ApiError(Word.PARAM_INVALID, name=name)
        return value


def paged(call: Call, rows: list[T], id_of: Callable[[T], int], most: int) -> tuple[list[T], str]:
    """One page of `rows` (newest first) as `size` and `offsetData` ask, and the offset of the next, "" at the end."""
    size, offset = call.whole("size", min(100, most)), call.optional("offsetData")
    if not 0 < size <= most:
        raise ApiError(Word.INVALID_GET_PAGE_SIZE, size=str(size))
    if offset and not offset.isdecimal():
        raise ApiError(Word.PARAM_INVALID, name="offsetData")
    left = [row for row in rows if not offset or id_of(row) < int(offset)]
    given = left[:size]
    return given, str(id_of(given[-1])) if len(left) > size else ""


def within(call: Call, created_ms: int) -> bool:
    """Whether a row falls in the asked time; the start counts, the end does not, 0 is open."""
    start = call.whole("filterStartCreatedTimeInclusive", 0)
    end = call.whole("filterEndCreatedTimeExclusive", 0)
    return created_ms >= start and (not end or created_ms < end)


def _number(name: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ApiError(Word.PARAM_INVALID, name=name) from None
    if not value.is_finite() or value < 0 or len(text) > 40:
        raise ApiError(Word.PARAM_INVALID, name=name)
    return value
