"""Variational's two ways to say who asks, and the bodies of its web interface (docs/venues/variational.md 6, 7 and 12).

    web session   the venue writes a text; the wallet signs it as it is (EIP-191 personal_sign), once per session
    official API  HMAC-SHA256 over key|timestamp|METHOD|path[|body], the exact bytes; no keys are issued at present

A session's requests carry no signature, so what is "signed" there is the body alone: written by hand, numbers as the venue
wants them (`max_slippage` is a JSON number, sizes are strings).
"""

from __future__ import annotations

import hmac
from decimal import Decimal

from core.errors import ConfigError
from core.numeric import plain
from core.types import Side
from executor.signing._secp256k1 import SigningKey, keccak

PERSONAL = b"\x19Ethereum Signed Message:\n"
SIDE_WIRE = {Side.BUY: "buy", Side.SELL: "sell"}
INSTRUMENT_TEXT = (
    '{"underlying":"%s","instrument_type":"perpetual_future","settlement_asset":"USDC","funding_interval_s":3600}'
)
"""The 3600 is a part of every crypto perpetual's name, whatever its funding interval is."""


class Signer:
    """Signs the text that opens a session. `address` is the EIP-55 text of the wallet."""

    __slots__ = ("_key", "address")

    def __init__(self, private_key: str) -> None:
        """Raises ConfigError, never showing the key."""
        self._key = SigningKey(private_key)
        self.address = self._key.address

    def login(self, text: str) -> str:
        """130 hex digits, without 0x."""
        return self._key.sign_hex(personal_digest(text))[2:]


class HmacSigner:
    """Headers of one request to the official API."""

    __slots__ = ("_key", "_prefix", "_state")

    def __init__(self, key: str, secret_hex: str) -> None:
        """Raises ConfigError, never showing the secret."""
        try:
            secret = bytes.fromhex(secret_hex)
        except ValueError:
            raise ConfigError("an API secret of Variational is not hex; check the value (not shown here)") from None
        self._key = key
        self._prefix = key.encode() + b"|"
        self._state = hmac.new(secret, self._prefix, "sha256")

    def preimage(self, method: str, path: str, body: bytes, now_ms: int) -> bytes:
        """What is signed. `path` is absolute and with its query; `body` is what goes out, byte for byte."""
        return self._prefix + _rest(method, path, body, now_ms)

    def headers(self, method: str, path: str, body: bytes, now_ms: int) -> tuple[tuple[str, str], ...]:
        """Ready to be sent beside Content-Type."""
        state = self._state.copy()
        state.update(_rest(method, path, body, now_ms))
        return (
            ("X-Request-Timestamp-Ms", str(now_ms)),
            ("X-Variational-Key", self._key),
            ("X-Variational-Signature", state.hexdigest()),
        )


def personal_digest(text: str) -> bytes:
    """What personal_sign signs: 32 bytes."""
    data = text.encode()
    return keccak(PERSONAL + str(len(data)).encode() + data)


def quote_body(ticker: str, qty: Decimal) -> bytes:
    """Of a request for a live quote."""
    return f'{{"instrument":{INSTRUMENT_TEXT % ticker},"qty":"{plain(qty)}"}}'.encode()


def take_body(quote_id: str, side: Side, max_slippage: Decimal, reduce_only: bool) -> bytes:
    """Of the order that accepts a quote; `max_slippage` is a fraction."""
    reduce = "true" if reduce_only else "false"
    return (
        f'{{"quote_id":"{quote_id}","side":"{SIDE_WIRE[side]}","max_slippage":{plain(max_slippage)},'
        f'"is_reduce_only":{reduce}}}'
    ).encode()


def cancel_body(rfq_id: str) -> bytes:
    return f'{{"rfq_id":"{rfq_id}"}}'.encode()


def session_headers(token: str, address: str) -> tuple[tuple[str, str], ...]:
    """What makes a request one of a session."""
    return (("Cookie", f"vr-token={token}"), ("vr-connected-address", address))


def _rest(method: str, path: str, body: bytes, now_ms: int) -> bytes:
    head = f"{now_ms}|{method}|{path}".encode()
    return head + b"|" + body if body else head
