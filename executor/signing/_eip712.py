"""EIP-712: the digest that a wallet signs for typed data, for the flat structs that venues use.

digest = keccak(0x1901 || domainSeparator || hashStruct(message))
hashStruct = keccak(typeHash || one 32-byte word per field);  strings enter as their keccak
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from core.errors import invariant
from executor.signing._secp256k1 import keccak

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_WORD = 32
ZERO_ADDRESS = bytes(20)


class Field(NamedTuple):
    """One field of a flat struct: `kind` is string, bool, address or uintN."""

    name: str
    kind: str
    value: str | int | bool


def domain_separator(name: str, version: str, chain_id: int) -> bytes:
    """For a domain whose verifying contract is the zero address, as all of ours are."""
    return keccak(
        keccak(_DOMAIN_TYPE)
        + keccak(name.encode())
        + keccak(version.encode())
        + chain_id.to_bytes(_WORD, "big")
        + ZERO_ADDRESS.rjust(_WORD, b"\0")
    )


def type_hash(primary_type: str, fields: Sequence[Field]) -> bytes:
    """Hash of `Primary(kind name,kind name,...)`."""
    members = ",".join(f"{field.kind} {field.name}" for field in fields)
    return keccak(f"{primary_type}({members})".encode())


def hash_struct(primary_type: str, fields: Sequence[Field]) -> bytes:
    return keccak(type_hash(primary_type, fields) + b"".join(_word(field) for field in fields))


def digest(separator: bytes, struct_hash: bytes) -> bytes:
    """The 32 bytes to sign."""
    return keccak(b"\x19\x01" + separator + struct_hash)


def _word(field: Field) -> bytes:
    kind, value = field.kind, field.value
    if kind == "string":
        invariant(isinstance(value, str), f"EIP-712 field {field.name} must be text")
        return keccak(str(value).encode())
    if kind == "address":
        return bytes.fromhex(str(value).removeprefix("0x")).rjust(_WORD, b"\0")
    invariant(kind == "bool" or kind.startswith("uint"), f"EIP-712 kind {kind} is not one that venues use")
    return int(value).to_bytes(_WORD, "big")
