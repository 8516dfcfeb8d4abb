"""Aster's V3 agent signatures, its one-off approveAgent, and the legacy V1 HMAC (docs/venues/aster.md 6).

V3 signs the form-urlencoded text of all parameters exactly as it is then sent, wrapped in EIP-712 `Message{string msg}`.
The order of parameters is ours to choose: business parameters, nonce, user, signer, then the signature. Nothing may
re-encode the text between signing and sending, so this file returns ready bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote_plus, urlencode

from executor.signing._eip712 import Field, digest, domain_separator, hash_struct, type_hash
from executor.signing._hmac import hmac_sha256_hex
from executor.signing._secp256k1 import SigningKey, keccak

Params = Sequence[tuple[str, str]]

MAINNET_CHAIN_ID = 1666
TESTNET_CHAIN_ID = 714
APPROVAL_CHAIN_ID = 56  # agent management signs on another chain id than trading

_DOMAIN_NAME, _DOMAIN_VERSION = "AsterSignTransaction", "1"
_MESSAGE_TYPE_HASH = type_hash("Message", [Field("msg", "string", "")])
_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~")


class Signer:
    """Signs requests of `user` (main wallet address) with its agent's key. `address` is the agent's."""

    __slots__ = ("_key", "_prefix", "_tail", "address", "user")

    def __init__(self, agent_private_key: str, *, user: str, mainnet: bool) -> None:
        self._key = SigningKey(agent_private_key)
        self.address = self._key.address
        self.user = user
        self._tail = f"&user={user}&signer={self.address}"
        chain_id = MAINNET_CHAIN_ID if mainnet else TESTNET_CHAIN_ID
        self._prefix = b"\x19\x01" + domain_separator(_DOMAIN_NAME, _DOMAIN_VERSION, chain_id)

    def signed(self, params: Params, nonce: int) -> bytes:
        """The whole parameter text with its signature: a POST/PUT/DELETE body or a GET query string."""
        msg = self.message(params, nonce)
        return f"{msg}&signature={self._key.sign_hex(self.message_digest(msg))}".encode()

    def message(self, params: Params, nonce: int) -> str:
        """What is signed and sent: parameters, nonce, user, signer."""
        business = "".join(f"{name}={_quoted(value)}&" for name, value in params)
        return f"{business}nonce={nonce}{self._tail}"

    def message_digest(self, msg: str) -> bytes:
        return keccak(self._prefix + keccak(_MESSAGE_TYPE_HASH + keccak(msg.encode())))

    def __repr__(self) -> str:
        return f"Signer(aster, {self.address})"


class HmacSigner:
    """V1: a shared secret and a header. No new keys are issued; kept for accounts that still hold one."""

    __slots__ = ("_secret", "api_key")

    def __init__(self, api_key: str, api_secret: str) -> None:
        self.api_key = api_key
        self._secret = api_secret

    def signed(self, params: Params, timestamp_ms: int, recv_window_ms: int | None = None) -> bytes:
        """The parameter text with recvWindow (when given), timestamp and signature, in this order."""
        window = [] if recv_window_ms is None else [("recvWindow", str(recv_window_ms))]
        text = urlencode([*params, *window, ("timestamp", str(timestamp_ms))])
        return f"{text}&signature={hmac_sha256_hex(self._secret, text)}".encode()

    @property
    def headers(self) -> dict[str, str]:
        return {"X-MBX-APIKEY": self.api_key}

    def __repr__(self) -> str:
        return "HmacSigner(aster, ***)"


def approve_agent_signature(main_private_key: str, params: Sequence[tuple[str, str | int | bool]]) -> str:
    """The main wallet's signature of an agent approval: one typed field per parameter, name with a capital first."""
    return SigningKey(main_private_key).sign_hex(approve_agent_digest(params))


def approve_agent_digest(params: Sequence[tuple[str, str | int | bool]]) -> bytes:
    """The 32 bytes of an agent approval; kinds follow the Python types: bool, uint256, string."""
    fields = [Field(name[0].upper() + name[1:], _kind(value), value) for name, value in params]
    separator = domain_separator(_DOMAIN_NAME, _DOMAIN_VERSION, APPROVAL_CHAIN_ID)
    return digest(separator, hash_struct("ApproveAgent", fields))


def _kind(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "bool"
    return "uint256" if isinstance(value, int) else "string"


def _quoted(value: str) -> str:
    """Form-urlencoded; order parameters are nearly always plain already."""
    return value if _UNRESERVED.issuperset(value) else quote_plus(value)
