"""Signatures as a venue sees them: keccak, EIP-712 words, and the address that signed a digest."""

from __future__ import annotations

import sha3
from coincurve import PublicKey

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def keccak(data: bytes) -> bytes:
    """Keccak-256, 32 bytes."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def recover_address(digest: bytes, r: int, s: int, v: int) -> str | None:
    """The lower-case 0x address that signed a 32-byte digest, or None when the signature is malformed.

    `v` is 27 or 28 (0 and 1 are accepted, as venues do). A wrong signature recovers to some other address.
    """
    recovery = v - 27 if v >= 27 else v
    if recovery not in (0, 1) or not 0 < r < _ORDER or not 0 < s < _ORDER:
        return None
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([recovery])
    try:
        key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except ValueError:  # no point fits
        return None
    return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()


def word(value: int) -> bytes:
    """An unsigned integer as a 32-byte word."""
    return value.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """An 0x address as a 32-byte word. Raises ValueError when it is not 40 hex digits."""
    raw = bytes.fromhex(address.removeprefix("0x"))
    if len(raw) != 20:
        raise ValueError(f"not an address: {address}")
    return bytes(12) + raw


def eip712(domain_separator: bytes, struct_hash: bytes) -> bytes:
    """The digest of a typed message."""
    return keccak(b"\x19\x01" + domain_separator + struct_hash)


def domain(name: str, version: str, chain_id: int, contract: str = "0x" + "00" * 20) -> bytes:
    """The separator of the domain EIP712Domain(name, version, chainId, verifyingContract)."""
    kind = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    return keccak(
        keccak(kind) + keccak(name.encode()) + keccak(version.encode()) + word(chain_id) + address_word(contract)
    )
