"""Who speaks: REST signatures and nonces, and the tokens that the private socket stands on (docs/venues/kraken.md 6).

An account's address is its API key, its one agent is the secret that both ends share. A nonce must be above every nonce of
its key, whatever the scale they are counted in. A token is good for 15 minutes from its making, and for as long as a
private subscription that was made with it stays open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import random
from collections import Counter
from collections.abc import Mapping

import orjson

from core.clock import NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues import _kraken_errors as errors
from ops.sandbox.venues._kraken_call import Call, read_body
from ops.sandbox.venues._kraken_errors import ApiError
from ops.sandbox.venues.base import Identity

TOKEN_S = 900
NONCE_LIMIT = 1 << 64
MAX_TOKENS = 1000


def new_credentials(rng: random.Random) -> dict[str, str]:
    """Key and secret as the secrets file spells them; the key has small letters only, as addresses do here."""
    return {
        "KRAKEN_API_KEY": rng.randbytes(28).hex(),
        "KRAKEN_API_SECRET": base64.b64encode(rng.randbytes(64)).decode(),
    }


def identity(values: Mapping[str, str]) -> Identity:
    """See SandboxVenue.identity."""
    secret = values["KRAKEN_API_SECRET"]
    try:
        base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise ValueError("KRAKEN_API_SECRET is not base64") from None
    return Identity(values["KRAKEN_API_KEY"], (secret,))


class Keys:
    """One per venue; not thread-safe."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._tokens: dict[str, tuple[str, int]] = {}  # token -> (account, good until, mono)
        self._held: Counter[str] = Counter()  # tokens that open subscriptions stand on
        self._made = 0

    def call_of(self, path: str, headers: Mapping[str, str], body: bytes) -> Call:
        """The signed request, its nonce used up. Raises ApiError."""
        account = self._exchange.account(headers.get("API-Key", ""))
        if account is None or not account.agents:
            raise ApiError(errors.INVALID_KEY)
        params = read_body(headers.get("Content-Type", ""), body)
        nonce = str(params.get("nonce", ""))
        if not nonce.isdecimal() or int(nonce) >= NONCE_LIMIT:
            raise ApiError(errors.INVALID_NONCE)
        secret = base64.b64decode(account.agents[0])
        digest = hashlib.sha256(nonce.encode() + body).digest()
        wanted = base64.b64encode(hmac.digest(secret, path.encode() + digest, "sha512")).decode()
        if not hmac.compare_digest(wanted, headers.get("API-Sign", "")):
            raise ApiError(errors.INVALID_SIGNATURE)
        last = self._exchange.ledger.last_nonce(account.address)
        if last is not None and int(nonce) <= last:
            raise ApiError(errors.INVALID_NONCE)
        self._exchange.use_nonce(account.address, int(nonce), keep=1)
        return Call(account.address, params)

    def new_token(self, address: str) -> str:
        self._made += 1
        digest = hashlib.sha256(orjson.dumps([address, self._made, self._clock.mono_ns()])).digest()
        token = base64.b64encode(digest).decode().replace("/", "x").replace("+", "y").rstrip("=")
        self._tokens[token] = (address, self._clock.mono_ns() + TOKEN_S * NS_PER_S)
        while len(self._tokens) > MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token

    def token_account(self, token: object) -> str:
        """Whose token it is. Raises ApiError."""
        known = self._tokens.get(token) if isinstance(token, str) else None
        if known is None:
            raise ApiError(errors.INVALID_TOKEN)
        address, until_ns = known
        if self._clock.mono_ns() > until_ns and not self._held[str(token)]:
            raise ApiError(errors.INVALID_SESSION)
        return address

    def hold(self, token: str) -> None:
        """A private subscription stands on it."""
        self._held[token] += 1

    def let_go(self, token: str) -> None:
        self._held[token] -= 1
        if self._held[token] <= 0:
            del self._held[token]

    def expire_tokens(self) -> None:
        self._tokens.clear()
