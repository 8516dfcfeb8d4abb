"""One HTTP request as Aster reads it: raw form text, its parameters, and the checks on them (docs/venues/aster.md 6, 7, 10).

The raw text matters because the signature covers it byte for byte; the decoded values are what endpoints read. GET
carries the text in the query string, everything else in the body; the official samples also put it all in the query
string, so both places are read (query first).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from urllib.parse import unquote_plus

import msgspec

from ops.sandbox.venues._aster_errors import ApiError, Code, missing, not_required

AUTH_NAMES = frozenset(("nonce", "user", "signer", "signature"))
MAX_INT = 1 << 63
_INTEGER = re.compile(r"^[0-9]{1,20}$")
_DECIMAL = re.compile(r"^[0-9]{1,20}(\.[0-9]{1,20})?$")
_SIGNED_DECIMAL = re.compile(r"^-?[0-9]{1,20}(\.[0-9]{1,20})?$")


class Form(msgspec.Struct, frozen=True):
    """`signed_text` is the raw text without its signature pair; `values` are decoded, in the order sent."""

    signed_text: str
    values: dict[str, str]


def parse_form(query: str, body: str) -> Form:
    """Read the raw query string and body. Raises ApiError -1101 for a name sent twice, -1100 for undecodable text."""
    raw = query + "&" + body if query and body else query or body
    kept: list[str] = []
    values: dict[str, str] = {}
    for pair in raw.split("&") if raw else ():
        name, _, encoded = pair.partition("=")
        if name != "signature":
            kept.append(pair)
        try:
            value = unquote_plus(encoded, errors="strict")
        except UnicodeDecodeError:
            raise ApiError(Code.ILLEGAL_CHARS, f"Illegal characters found in parameter '{name}'.") from None
        if name in values:
            raise ApiError(Code.TOO_MANY_PARAMETERS)
        values[name] = value
    return Form("&".join(kept), values)


class Params:
    """The decoded parameters of one call. Readers raise the venue's own error for what is absent or malformed."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def check_names(self, mandatory: Iterable[str], optional: Iterable[str]) -> None:
        """Every mandatory name is there and not empty; nothing beyond the two lists and the signing fields was sent."""
        for name in mandatory:
            if not self.values.get(name):
                raise missing(name)
        known = {*mandatory, *optional}
        for name in self.values:
            if name not in known and name not in AUTH_NAMES:
                raise not_required(name)

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not value:
            raise missing(name)
        return value

    def text_or(self, name: str, default: str) -> str:
        return self.text(name) if name in self.values else default

    def integer(self, name: str) -> int:
        value = self.text(name)
        if not _INTEGER.match(value):
            raise _illegal(name, r"^[0-9]{1,20}$")
        number = int(value)
        if number >= MAX_INT:
            raise missing(name)
        return number

    def integer_or(self, name: str, default: int) -> int:
        return self.integer(name) if name in self.values else default

    def optional_integer(self, name: str) -> int | None:
        return self.integer(name) if name in self.values else None

    def limit(self, default: int, maximum: int) -> int:
        """`limit` clipped to 1..maximum as the venue does."""
        return max(1, min(maximum, self.integer_or("limit", default)))

    def decimal(self, name: str) -> Decimal:
        """A plain decimal without exponent; a negative one is let through for the sign checks of the caller."""
        value = self.text(name)
        if not _SIGNED_DECIMAL.match(value):
            raise _illegal(name, _DECIMAL.pattern)
        return Decimal(value)

    def boolean(self, name: str) -> bool:
        """Exactly "true" or "false": capital letters (ccxt's True) are malformed."""
        value = self.text(name)
        if value not in ("true", "false"):
            raise missing(name)
        return value == "true"

    def boolean_or(self, name: str, default: bool) -> bool:
        return self.boolean(name) if name in self.values else default


def _illegal(name: str, legal: str) -> ApiError:
    return ApiError(Code.ILLEGAL_CHARS, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
