"""Aster V3 authentication as the venue does it: EIP-712 over the exact bytes that arrived (docs/venues/aster.md 6).

What is signed is the form-urlencoded text of all parameters except `signature`, byte for byte as sent, wrapped in the
typed data `Message{string msg}`. The venue recovers the signer from the 65 bytes r || s || v and compares addresses.
Wallet-signed calls (ApproveAgent, ApproveBuilder) use a flat struct instead, whose members are the request's parameters
with a capital first letter, in the order sent.

Nonces are microseconds within 60 s of the server's clock and never reused; the exchange remembers the last 100 per agent.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ops.sandbox.verify import domain, eip712, keccak, recover_address, word

Address = str  # "0x" and 40 lower-case hex digits

TESTNET_CHAIN_ID = 714
MAINNET_CHAIN_ID = 1666
WALLET_CHAIN_ID = 56  # of wallet-signed calls, whatever the network
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


def message_digest(msg: str, chain_id: int) -> bytes:
    """The 32 bytes that an agent signs for the request text `msg`."""
    return eip712(_separator(chain_id), keccak(_MESSAGE_TYPE + keccak(msg.encode())))


def struct_digest(primary: str, fields: list[tuple[str, str, str]], chain_id: int) -> bytes:
    """The digest of a flat typed struct: `fields` are (name, type, text value), type string, bool or uint256.

    Raises ValueError for a value that is not of its type."""
    encoded_type = primary + "(" + ",".join(f"{kind} {name}" for name, kind, _ in fields) + ")"
    body = b"".join(_ENCODERS[kind](value) for _, kind, value in fields)
    return eip712(_separator(chain_id), keccak(keccak(encoded_type.encode()) + body))


def recover(digest: bytes, signature: str) -> Address | None:
    """The address that made `signature` (130 hex digits, with or without 0x, any case), or None if it is no signature.

    A high s is refused: wallets never make one."""
    text = signature[2:] if signature[:2] in ("0x", "0X") else signature
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    s = int.from_bytes(raw[32:64], "big")
    if len(raw) != 65 or s > _HALF_ORDER:
        return None
    return recover_address(digest, int.from_bytes(raw[:32], "big"), s, raw[64])


def _separator(chain_id: int) -> bytes:
    return _SEPARATORS.get(chain_id) or domain("AsterSignTransaction", "1", chain_id)


def _encode_string(value: str) -> bytes:
    return keccak(value.encode())


def _encode_bool(value: str) -> bytes:
    if value not in ("true", "false"):
        raise ValueError(f"{value!r} is not true or false")
    return word(value == "true")


def _encode_uint256(value: str) -> bytes:
    number = int(value)
    if not 0 <= number < 1 << 256:
        raise ValueError(f"{value!r} is not a uint256")
    return word(number)


_MESSAGE_TYPE = keccak(b"Message(string msg)")
_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
_ENCODERS: dict[str, Callable[[str], bytes]] = {
    "string": _encode_string,
    "bool": _encode_bool,
    "uint256": _encode_uint256,
}
_SEPARATORS: dict[int, bytes] = {
    chain_id: domain("AsterSignTransaction", "1", chain_id)
    for chain_id in (TESTNET_CHAIN_ID, MAINNET_CHAIN_ID, WALLET_CHAIN_ID)
}
