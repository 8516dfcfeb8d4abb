"""Sessions of the simulated Variational: a text to sign, a login, and a token that says who is calling (docs/venues/
variational.md 6b). Tokens outlive a restart of the sandbox, as those of the real venue do."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import orjson

from core.clock import NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues._variational_errors import UNAUTHORIZED, ApiError, malformed, no_session
from ops.sandbox.verify import keccak, recover_address

LIFE_S = 7 * 86_400
TEXT_LIFE_S = 60
MAX_TEXTS = 100
TOKEN_KEY = b"the simulated venue's own"
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
COOKIE, WHO = "vr-token", "vr-connected-address"
HEADER = {"alg": "HS256", "typ": "JWT"}


class Sessions:
    """`expire` ends every token given out so far."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._texts: dict[str, tuple[str, int]] = {}  # address -> text to sign, wire ns of its end
        self._since_ns = 0  # tokens of before are void
        self._count = 0

    def expire(self) -> None:
        self._since_ns = self._clock.wire_ns()

    def text_for(self, address: Any) -> str:
        """What the wallet must sign."""
        if not isinstance(address, str) or not ADDRESS.fullmatch(address):
            raise malformed("Invalid address")
        now_ns = self._clock.wire_ns()
        self._count += 1
        nonce = hashlib.sha256(f"{self._count} {now_ns}".encode()).hexdigest()[:16]
        text = (
            f"omni.variational.io wants you to sign in with your Ethereum account:\n{address}\n\n"
            "I accept Variational's Terms of Service: https://docs.variational.io/legal/terms-of-service.\n\n"
            "URI: https://omni.variational.io/api/auth/login\nVersion: 1\nChain ID: 42161\n"
            f"Nonce: {nonce}\nIssued At: {now_ns // NS_PER_S}\nExpiration Time: {now_ns // NS_PER_S + TEXT_LIFE_S}"
        )
        self._texts[address.lower()] = (text, now_ns + TEXT_LIFE_S * NS_PER_S)
        while len(self._texts) > MAX_TEXTS:
            del self._texts[next(iter(self._texts))]
        return text

    def login(self, address: Any, signed: Any) -> str:
        """A token. Each text is good once."""
        text, ends_ns = self._texts.pop(str(address).lower(), ("", 0))
        if not text or self._clock.wire_ns() > ends_ns:
            raise ApiError(UNAUTHORIZED, {"message": "signing data expired"})
        if not isinstance(signed, str) or len(signed) != 130 or not _signs(text, signed, str(address)):
            raise ApiError(UNAUTHORIZED, {"message": "invalid signature"})
        if self._exchange.account(str(address).lower()) is None:
            raise ApiError(UNAUTHORIZED, {"message": "unknown account: code required"})
        return token_of(str(address).lower(), self._clock.wire_ns())

    def account_of(self, token: str) -> str | None:
        """The account that a token stands for; None when it is no good."""
        head, _, signature = token.rpartition(".")
        if not hmac.compare_digest(_signature(head), signature):
            return None
        try:
            told = orjson.loads(_from_base64(head.rpartition(".")[2]))
            address, issued_ns, ends_s = str(told["address"]), int(told["iat_ns"]), int(told["exp"])
        except (ValueError, KeyError, binascii.Error):
            return None
        if issued_ns <= self._since_ns or self._clock.wire_ns() > ends_s * NS_PER_S:
            return None
        return address if self._exchange.account(address) is not None else None

    def caller(self, cookies: Mapping[str, str], headers: Mapping[str, str]) -> str:
        """The account of a request. Raises ApiError 401."""
        token = cookies.get(COOKIE, "")
        account = self.account_of(token) if token else None
        if account is None:
            raise no_session("No token" if not token else "Invalid token")
        if headers.get(WHO, "").lower() != account:
            raise no_session("connected address does not match the token")
        return account


def token_of(address: str, now_ns: int) -> str:
    """A JWT for an account, good for LIFE_S."""
    payload = {"address": address, "iat": now_ns // NS_PER_S, "iat_ns": now_ns, "exp": now_ns // NS_PER_S + LIFE_S}
    head = f"{_to_base64(orjson.dumps(HEADER))}.{_to_base64(orjson.dumps(payload))}"
    return f"{head}.{_signature(head)}"


def _signs(text: str, signed: str, address: str) -> bool:
    data = text.encode()
    digest = keccak(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)
    try:
        raw = bytes.fromhex(signed)
        found = recover_address(digest, int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64])
    except ValueError:
        return False
    return found == address.lower()


def _signature(head: str) -> str:
    return _to_base64(hmac.digest(TOKEN_KEY, head.encode(), "sha256"))


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
