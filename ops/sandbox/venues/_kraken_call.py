"""What came with one request, by form, JSON or socket message, read as the venue reads it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

import orjson

from ops.sandbox.venues._kraken_errors import invalid

Row = dict[str, Any]

LARGEST = Decimal("1e15")
SMALLEST = 1e-15


class Call:
    """A proven request: whose, and its parameters. Getters raise ApiError for what cannot be."""

    def __init__(self, address: str, params: Row) -> None:
        self.address = address
        self._params = params

    def get(self, name: str) -> Any:
        return self._params.get(name)

    def text(self, name: str, default: str = "") -> str:
        value = self._params.get(name, default)
        return default if value is None else str(value)

    def number(self, name: str, wire_name: str = "") -> Decimal:
        """A decimal above zero."""
        return decimal(self._params.get(name), wire_name or name)

    def flag(self, name: str) -> bool:
        """Both spellings of Python's clients are taken: `False` and `false`."""
        return str(self._params.get(name, "false")).lower() in ("true", "1")

    def integer(self, name: str, default: int) -> int:
        text = str(self._params.get(name, default))
        if not text.removeprefix("-").isdecimal():
            raise invalid(name)
        return int(text)

    def names(self, name: str) -> list[str]:
        """A list, or text with commas."""
        value = self._params.get(name, [])
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list):
            value = [value]
        return [str(each) for each in value if str(each)]

    def rows(self, name: str) -> list[Row]:
        value = self._params.get(name)
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise invalid(name)
        return value


def read_body(content_type: str, body: bytes) -> Row:
    """Parameters of a form or JSON body. Raises ApiError."""
    try:
        if content_type.startswith("application/json"):
            params = orjson.loads(body)
            if not isinstance(params, dict):
                raise invalid("body")
            return params
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except (orjson.JSONDecodeError, UnicodeDecodeError, ValueError):
        raise invalid("body") from None


def decimal(value: object, name: str, least: float = SMALLEST) -> Decimal:
    """A number or its text, above zero unless `least` is 0. Raises ApiError."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise invalid(name) from None
    if not number.is_finite() or not least <= number <= LARGEST:
        raise invalid(name)
    return number
