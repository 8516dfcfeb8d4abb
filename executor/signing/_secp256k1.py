"""One secp256k1 key: its address and its signatures, by libsecp256k1 and a C keccak.

Signatures are RFC 6979 deterministic with low s, so the same digest always yields the same 65 bytes. The private key
lives inside the C library's object only; nothing here prints, compares or pickles it.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import sha3
from coincurve import PrivateKey

from core.errors import ConfigError

KEY_BYTES = 32


class Signature(NamedTuple):
    """`r` and `s` as integers, `v` 27 or 28."""

    r: int
    s: int
    v: int

    @property
    def hex65(self) -> str:
        """0x and the 65 bytes r || s || v."""
        return f"0x{self.r:064x}{self.s:064x}{self.v:02x}"


def keccak(data: bytes) -> bytes:
    """Keccak-256 (Ethereum's padding, not SHA3's): 32 bytes."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def checksummed(address: bytes) -> str:
    """20 bytes as 0x text in the mixed case of EIP-55."""
    digits = address.hex()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(digits, marks, strict=False))


class SigningKey:
    """Signs 32-byte digests. `address` is the EIP-55 text of the key's account."""

    __slots__ = ("_key", "address")

    def __init__(self, private_key: str) -> None:
        """`private_key`: 64 hex digits, with or without 0x. Raises ConfigError, never showing the text."""
        try:
            raw = bytes.fromhex(private_key.removeprefix("0x"))
            self._key = PrivateKey(raw) if len(raw) == KEY_BYTES else _refuse()
        except ValueError:
            _refuse()
        self.address = checksummed(keccak(self._key.public_key.format(compressed=False)[1:])[-20:])

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest as it is."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return Signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64] + 27)

    def sign_hex(self, digest: bytes) -> str:
        """Sign a 32-byte digest: 0x and 130 hex digits r || s || v."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return f"0x{raw[:64].hex()}{raw[64] + 27:02x}"

    def __repr__(self) -> str:
        return f"SigningKey({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key does not leave its process")


def _refuse() -> NoReturn:
    raise ConfigError(
        "a private key is not 64 hex digits of a valid secp256k1 key; check the value (not shown here)"
    ) from None
