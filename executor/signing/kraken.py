"""Kraken's request signature and its WebSocket v2 order messages (docs/venues/kraken.md 6, 7).

    REST   API-Sign = base64( HMAC-SHA512( key = base64decode(secret), path || SHA256( nonce || body ) ) )
    socket no signature at all: every message carries a token that was fetched by a signed REST call

What is signed is what is sent: this file returns ready bytes, and nothing may encode them again. The HMAC is two hashes that
begin with the padded key (RFC 2104); both are begun once and copied per request. Messages are put together as bytes: prices
and sizes come as the digits that shall stand on the wire, so that no binary fraction is ever between an order and its text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import quote_plus

import msgspec

Params = Sequence[tuple[str, str]]

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/json"
BLOCK = 128  # of SHA-512
_INNER, _OUTER = (bytes(byte ^ mask for byte in range(256)) for mask in (0x36, 0x5C))
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~")
_ESCAPES = {ord(each): quote_plus(each) for each in map(chr, range(128)) if each not in _UNRESERVED}


class Signer:
    """Signs REST requests with one key pair. `api_key` is public; the secret (base64) is not kept as text."""

    __slots__ = ("_inner", "_outer", "api_key")

    def __init__(self, api_key: str, secret_base64: str) -> None:
        """Raises ValueError when the secret is not base64."""
        self.api_key = api_key
        key = decoded_secret(secret_base64)
        padded = (key if len(key) <= BLOCK else hashlib.sha512(key).digest()).ljust(BLOCK, b"\0")
        self._inner = hashlib.sha512(padded.translate(_INNER))
        self._outer = hashlib.sha512(padded.translate(_OUTER))

    def signature(self, path: str, nonce: int, body: bytes) -> str:
        """API-Sign of `body`, the exact bytes to send, which hold `nonce` once more; `path` without host and query."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(path.encode() + hashlib.sha256(b"%d" % nonce + body).digest())
        outer.update(inner.digest())
        return binascii.b2a_base64(outer.digest(), newline=False).decode()

    def headers(self, path: str, nonce: int, body: bytes) -> tuple[tuple[str, str], ...]:
        return (("API-Key", self.api_key), ("API-Sign", self.signature(path, nonce, body)))

    def __repr__(self) -> str:
        return f"Signer(kraken, {self.api_key})"


def decoded_secret(secret_base64: str) -> bytes:
    """Raises ValueError when the text is not base64."""
    return base64.b64decode(secret_base64, validate=True)


def form(nonce: int, params: Params) -> bytes:
    """A form body, the nonce first."""
    return (f"nonce={nonce}" + "".join(f"&{name}={_quoted(value)}" for name, value in params)).encode()


def json_body(nonce: int, params: Mapping[str, object]) -> bytes:
    """A JSON body for the batch calls, the nonce first and as text, which both encodings allow."""
    return msgspec.json.encode({"nonce": str(nonce), **params})


# ---- messages of the WebSocket v2 ---------------------------------------------------------------------------------------


def add_order(
    *,
    symbol: str,
    is_buy: bool,
    qty: str,
    px: str,
    time_in_force: str,
    client_id: str,
    token: str,
    req_id: int,
    post_only: bool = False,
    fee_in_quote: bool = False,
    deadline: str = "",
) -> bytes:
    """A limit order. `qty` and `px` are decimal digits, which go out as JSON numbers; `deadline` is RFC 3339 UTC, "" = the
    venue's own; symbol, client id and token hold nothing that JSON would escape."""
    side = "buy" if is_buy else "sell"
    options = ',"post_only":true' if post_only else ""
    if fee_in_quote:
        options += ',"fee_preference":"quote"'
    if deadline:
        options += f',"deadline":"{deadline}"'
    return (
        f'{{"method":"add_order","params":{{"order_type":"limit","side":"{side}","symbol":"{symbol}","order_qty":{qty},'
        f'"limit_price":{px},"time_in_force":"{time_in_force}"{options},"cl_ord_id":"{client_id}","token":"{token}"}},'
        f'"req_id":{req_id}}}'
    ).encode()


def cancel_order(*, token: str, req_id: int, client_id: str = "", order_id: str = "") -> bytes:
    """By our id, or by the venue's; exactly one of them."""
    field, value = ("cl_ord_id", client_id) if client_id else ("order_id", order_id)
    return (
        f'{{"method":"cancel_order","params":{{"{field}":["{value}"],"token":"{token}"}},"req_id":{req_id}}}'.encode()
    )


def cancel_all_after(*, timeout_s: int, token: str, req_id: int) -> bytes:
    """The dead-man switch of the whole account; 0 disarms."""
    return (
        f'{{"method":"cancel_all_orders_after","params":{{"timeout":{timeout_s},"token":"{token}"}},"req_id":{req_id}}}'
    ).encode()


def _quoted(value: str) -> str:
    """Form-urlencoded; order parameters are nearly always plain already."""
    if _UNRESERVED.issuperset(value):
        return value
    return value.translate(_ESCAPES) if value.isascii() else quote_plus(value)
