"""Aster V3 authentication as the venue does it: EIP-712 over the exact bytes that arrived (docs/venues/aster.md 6).

What is signed is the form-urlencoded text of all parameters except `signature`, byte for byte as sent, wrapped in the
typed data `Message{string msg}`. The venue recovers the signer from the 65 bytes r || s || v and compares addresses; so
does this file, with keccak and secp256k1 public-key recovery and no knowledge of any private key.

Nonces are microseconds within 60 s of the server's clock and never reused; the exchange remembers the last 100 per agent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sha3
from coincurve import PublicKey

Address = str  # "0x" and 40 lower-case hex digits
Encode = Callable[[str], bytes]

TESTNET_CHAIN_ID = 714
MAINNET_CHAIN_ID = 1666
NONCE_WINDOW_US = 60_000_000
NONCES_KEPT = 100  # per agent; a smaller one than all of them is expired


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """An API wallet of one main wallet. `expired_ms` is its validity deadline (UTC, ms)."""

    name: str
    address: Address
    expired_ms: int
    can_perp_trade: bool = True
    can_spot_trade: bool = False
    can_withdraw: bool = False
    ip_whitelist: str = ""

    def may_trade(self, now_ms: int) -> bool:
        return self.can_perp_trade and now_ms < self.expired_ms


def keccak(data: bytes) -> bytes:
    """Keccak-256 (the Ethereum one, not SHA3-256): 32 bytes."""
    return bytes(sha3.keccak_256(data).digest())


def message_digest(msg: str, chain_id: int) -> bytes:
    """The 32 bytes that an agent signs for the request text `msg`."""
    return _typed_digest(keccak(_MESSAGE_TYPE + keccak(msg.encode())), chain_id)


def struct_digest(primary: str, fields: list[tuple[str, str, str]], chain_id: int) -> bytes:
    """The digest of a flat typed struct: `fields` are (name, type, text value) of string, bool or uint256.

    Wallet-signed calls (ApproveAgent, ApproveBuilder) use one whose members are the request's parameters with a capital
    first letter, in the order sent. Raises ValueError for a value that is not of its type."""
    encoded_type = primary + "(" + ",".join(f"{kind} {name}" for name, kind, _ in fields) + ")"
    body = b"".join(_ENCODERS[kind](value) for _, kind, value in fields)
    return _typed_digest(keccak(keccak(encoded_type.encode()) + body), chain_id)


def recover(digest: bytes, signature: str) -> Address | None:
    """The address that made `signature` (130 hex digits, with or without 0x, any case), or None if it is no signature.

    v is 27/28 (0/1 is taken too); a high s is refused as wallets never make one."""
    text = signature[2:] if signature[:2] in ("0x", "0X") else signature
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    if len(raw) != 65:
        return None
    parity = raw[64] - 27 if raw[64] >= 27 else raw[64]
    if parity not in (0, 1) or int.from_bytes(raw[32:64], "big") > _HALF_ORDER:
        return None
    try:
        key = PublicKey.from_signature_and_message(raw[:64] + bytes([parity]), digest, hasher=None)
    except ValueError:  # r or s outside the field, or no such point
        return None
    return "0x" + keccak(key.format(compressed=False)[1:])[12:].hex()


def _typed_digest(struct_hash: bytes, chain_id: int) -> bytes:
    separator = _SEPARATORS.get(chain_id) or _domain_separator(chain_id)
    return keccak(b"\x19\x01" + separator + struct_hash)


def _domain_separator(chain_id: int) -> bytes:
    return keccak(
        keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
        + keccak(b"AsterSignTransaction")
        + keccak(b"1")
        + chain_id.to_bytes(32, "big")
        + bytes(32)
    )


def _encode_string(value: str) -> bytes:
    return keccak(value.encode())


def _encode_bool(value: str) -> bytes:
    if value not in ("true", "false"):
        raise ValueError(f"{value!r} is not true or false")
    return int(value == "true").to_bytes(32, "big")


def _encode_uint256(value: str) -> bytes:
    number = int(value)
    if not 0 <= number < 1 << 256:
        raise ValueError(f"{value!r} is not a uint256")
    return number.to_bytes(32, "big")


_MESSAGE_TYPE = keccak(b"Message(string msg)")
_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
_ENCODERS: dict[str, Encode] = {"string": _encode_string, "bool": _encode_bool, "uint256": _encode_uint256}
_SEPARATORS: dict[int, bytes] = {
    chain_id: _domain_separator(chain_id) for chain_id in (TESTNET_CHAIN_ID, MAINNET_CHAIN_ID, 56)
}
