"""Who signed a request (docs/venues/pacifica.md 6): the venue rebuilds the message from the body that it parsed.

Whatever is not header is payload; `account`, `agent_wallet` and `signature` are not signed. Numbers and strings of the body
keep their JSON types, so a price that was signed as text and sent as a number is somebody else's message.
"""

from __future__ import annotations

from typing import Any

import orjson
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from ops.sandbox.venues._pacifica_errors import BAD_REQUEST, INVALID_MESSAGE, VERIFICATION_FAILED, ApiError, malformed

DEFAULT_WINDOW_MS = 30_000
AHEAD_MS = 1_000  # how far a timestamp may lie in our future [unsure: the page does not say]
MAX_TIME_MS = 4_102_444_800_000
_HEADER = frozenset({"account", "agent_wallet", "signature", "timestamp", "expiry_window"})
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
MAX_TEXT = 100


class Request:
    """A signed body, taken apart: who acts (`account`), who signed (`signer`), and the payload."""

    def __init__(self, body: Any) -> None:
        """Raises ApiError when the header is not there or not of its types."""
        if not isinstance(body, dict):
            raise malformed()
        account, agent, signature = body.get("account"), body.get("agent_wallet"), body.get("signature")
        if not isinstance(account, str) or not isinstance(signature, str) or not isinstance(agent, str | None):
            raise malformed("Invalid request: account and signature are required")
        self.account = account
        self.signer = account if agent is None else agent
        self.payload: dict[str, Any] = {key: value for key, value in body.items() if key not in _HEADER}
        self._signature = signature
        self._timestamp_ms = _whole(body.get("timestamp"))
        self._window_ms = _whole(body.get("expiry_window", DEFAULT_WINDOW_MS))

    def verify(self, kind: str, now_ms: int) -> None:
        """Raises ApiError unless `signer` signed this as an operation `kind` and it is in its time."""
        message = {
            "timestamp": self._timestamp_ms,
            "expiry_window": self._window_ms,
            "type": kind,
            "data": self.payload,
        }
        try:
            key, signature = decode58(self.signer, 32), decode58(self._signature, 64)
        except ValueError:
            raise ApiError(BAD_REQUEST, "Invalid signature", bare=True) from None
        try:
            VerifyKey(key).verify(orjson.dumps(message, option=orjson.OPT_SORT_KEYS), signature)
        except (CryptoError, TypeError, ValueError):
            raise ApiError(BAD_REQUEST, VERIFICATION_FAILED, bare=True) from None
        if self._timestamp_ms + self._window_ms < now_ms or self._timestamp_ms > now_ms + AHEAD_MS:
            raise ApiError(BAD_REQUEST, INVALID_MESSAGE, bare=True)


def encode58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def decode58(text: str, size: int) -> bytes:
    """Exactly `size` bytes. Raises ValueError."""
    number = 0
    if len(text) > MAX_TEXT:
        raise ValueError("too long")
    for letter in text:
        if letter not in _VALUES:
            raise ValueError("not base58")
        number = number * 58 + _VALUES[letter]
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    data = b"\0" * (len(text) - len(text.lstrip("1"))) + data
    if len(data) != size:
        raise ValueError(f"not {size} bytes")
    return data


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TIME_MS:
        raise malformed("Invalid request: timestamp and expiry_window are whole milliseconds")
    return value
