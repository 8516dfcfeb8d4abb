"""Accounts, API keys, nonces and auth tokens (docs/venues/lighter.md 6).

An account of the exchange is named by its decimal index; each of its agents is `<api key index>:<80 hex digits of the
public key>`, and the latest one given for an index is the key: the one before and its tokens die with it. The layer-1
address of an account is a function of its index here.

A nonce is judged twice: when a transaction is accepted, against those already on their way, and spent (durably) when the
sequencer takes it up. In between `nextNonce` still answers the old value, as the venue's does.
"""

from __future__ import annotations

import re

from core.clock import NS_PER_S, Clock
from ops.sandbox.ecgfp5 import KEY_BYTES, PublicKey
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import AccountState
from ops.sandbox.venues._lighter_errors import ApiError, Code
from ops.sandbox.venues._lighter_signing import TESTNET_CHAIN_ID, Tx, digest, hash_of, token_digest
from ops.sandbox.verify import keccak

TOKEN_AHEAD_MAX_S = 8 * 3600
ALL_KEYS = 255
_NUMBER = re.compile(r"[0-9]{1,19}")
_SHARES = 1 << 16
_HEX = frozenset("0123456789abcdef")


class Keys:
    """Who may sign what."""

    def __init__(self, exchange: Exchange, clock: Clock, verify_ratio: float) -> None:
        self._exchange = exchange
        self._clock = clock
        self._checked_shares = round(verify_ratio * _SHARES)
        self._points: dict[str, PublicKey | None] = {}
        self._void_until_s = self._latest_s = 0  # deadlines: void up to, latest seen

    def account(self, index: int) -> AccountState | None:
        return self._exchange.account(str(index))

    def by_l1(self, address: str) -> AccountState | None:
        wanted = address.lower()
        accounts = [row for row in self._exchange.ledger.accounts.values() if row.address.isdecimal()]
        return next((account for account in accounts if l1_address(int(account.address)) == wanted), None)

    def keys_of(self, account: AccountState) -> dict[int, str]:
        """API key index -> public key in hex."""
        pairs = (agent.partition(":") for agent in account.agents if is_agent(agent))
        return {int(index): key for index, _, key in pairs}

    def check(self, tx: Tx) -> str:
        """The transaction's hash, once its account, key and signature are proven. Raises ApiError.

        The digest is always computed; the dear half of the check is made on the configured share of transactions,
        chosen by the digest itself.
        """
        account = self.account(tx.account)
        if account is None:
            raise ApiError(Code.ACCOUNT_NOT_FOUND)
        key = self.keys_of(account).get(tx.key)
        if key is None:
            raise ApiError(Code.API_KEY_NOT_FOUND)
        digested = digest(tx, TESTNET_CHAIN_ID)
        if digested[0] % _SHARES < self._checked_shares and not self._point(key).verifies(digested, tx.signature):
            raise ApiError(Code.INVALID_SIGNATURE)
        return hash_of(digested)

    def token_account(self, token: str) -> int:
        """The account an auth token speaks for. Raises ApiError (401)."""
        parts = token.split(":")
        if len(parts) != 4 or not all(_NUMBER.fullmatch(part) for part in parts[:3]):
            raise ApiError(Code.AUTH)
        deadline_s, index, key_index = (int(part) for part in parts[:3])
        now_s = self._clock.wire_ns() // NS_PER_S
        if deadline_s > now_s + TOKEN_AHEAD_MAX_S:
            raise ApiError(Code.AUTH, ": invalid deadline")
        if deadline_s <= max(now_s, self._void_until_s):
            raise ApiError(Code.AUTH, ": expired token")
        account = self.account(index)
        key = self.keys_of(account).get(key_index) if account is not None else None
        if key is None:
            raise ApiError(Code.AUTH, ": couldnt find account")
        try:
            signature = bytes.fromhex(parts[3])
        except ValueError:
            raise ApiError(Code.AUTH) from None
        if not self._point(key).verifies(token_digest(":".join(parts[:3])), signature):
            raise ApiError(Code.AUTH, ": couldnt find account")
        self._latest_s = max(self._latest_s, deadline_s)
        return index

    def expire_tokens(self) -> None:
        """Every token made so far has run out. Those made with the same life from the next second on are good."""
        self._void_until_s = self._latest_s

    def last_nonce(self, account: int, key: int) -> int:
        """The last nonce spent, -1 if none."""
        last = self._exchange.ledger.last_nonce(signer(account, key))
        return -1 if last is None else last

    def spend(self, tx: Tx) -> None:
        self._exchange.use_nonce(signer(tx.account, tx.key), tx.nonce, keep=1)

    def warm(self) -> None:
        """Prepare the tables of one key that has none yet, so that no order waits for them. Called from `tick`."""
        for account in self._exchange.ledger.accounts.values():
            for key in self.keys_of(account).values():
                if key not in self._points:
                    self._load(key)
                    return

    def _point(self, key: str) -> PublicKey:
        point = self._load(key)
        if point is None:
            raise ApiError(Code.API_KEY_NOT_FOUND)
        return point

    def _load(self, key: str) -> PublicKey | None:
        """The key with its tables; None for 40 bytes that are no point."""
        if key not in self._points:
            try:
                self._points[key] = PublicKey(bytes.fromhex(key))
            except ValueError:
                self._points[key] = None
        return self._points[key]


def signer(account: int, key: int) -> str:
    """The name of one nonce stream."""
    return f"{account}:{key}"


def l1_address(index: int) -> str:
    """The layer-1 address that owns an account of the sandbox."""
    return "0x" + keccak(b"sandbox lighter account" + index.to_bytes(8, "big"))[-20:].hex()


def is_agent(text: str) -> bool:
    """Whether a text is an API key as the accounts file writes it."""
    index, _, key = text.partition(":")
    return index.isdecimal() and int(index) < ALL_KEYS and len(key) == 2 * KEY_BYTES and not set(key) - _HEX
