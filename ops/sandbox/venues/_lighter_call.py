"""One REST request as a handler sees it: parameters, and the account that its auth token proved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.sandbox.venues._lighter_errors import ApiError, Code, invalid_param
from ops.sandbox.venues._lighter_keys import Keys

Row = dict[str, Any]
MAX_DIGITS = 19
TOKEN_MISSING = "auth query param and Authorization header are empty"


class Call:
    """`token` is the header's or the query's, empty if there is none."""

    def __init__(self, params: Mapping[str, str], token: str, keys: Keys) -> None:
        self._params = params
        self._token = token
        self._keys = keys

    def proven_account(self) -> int | None:
        """The account of a token that came along, None without one. Raises ApiError for a bad one."""
        return self._keys.token_account(self._token) if self._token else None

    def own_account(self) -> str:
        """The account asked for, which must be the token's. Raises ApiError."""
        proven = self.proven_account()
        if proven is None:
            raise invalid_param(TOKEN_MISSING)
        if self.integer("account_index") != proven:
            raise ApiError(Code.AUTH, ": couldnt find account")
        return str(proven)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._params.get(name, "")
        if value:
            return value
        if default is None:
            raise invalid_param(name)
        return default

    def integer(self, name: str, default: int | None = None, least: int = 0, most: int = (1 << 63) - 1) -> int:
        value = self._params.get(name, "")
        if not value and default is not None:
            return default
        number = whole(value)
        if number is None or not least <= number <= most:
            raise invalid_param(name)
        return number


def whole(text: str) -> int | None:
    """A whole number in plain digits, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else None
