"""What Lighter's API keys sign: transactions and auth tokens (docs/venues/lighter.md 6).

A transaction's digest is a Poseidon2 hash of its fields in a fixed order, so it can be checked only against the fields
themselves: the JSON around them proves nothing. The digest in hex is also the transaction's hash.
"""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from ops.sandbox.ecgfp5 import Field, to_bytes
from ops.sandbox.poseidon2 import P, hash5

TESTNET_CHAIN_ID = 300
MAX_NONCE = (1 << 47) - 1
MAX_ATTRIBUTES = 4
_U32, _U48, _I64 = (1 << 32) - 1, (1 << 48) - 1, (1 << 63) - 1


class TxType(enum.IntEnum):
    """The ones that the sandbox executes, by their wire number."""

    CREATE_ORDER = 14
    CANCEL_ORDER = 15
    CANCEL_ALL_ORDERS = 16
    MODIFY_ORDER = 17
    UPDATE_LEVERAGE = 20
    UPDATE_MARGIN = 29
    APPROVE_INTEGRATOR = 45  # hashed and refused: the sandbox knows no integrators


class Attribute(enum.IntEnum):
    INTEGRATOR_ACCOUNT = 1
    INTEGRATOR_TAKER_FEE = 2
    INTEGRATOR_MAKER_FEE = 3
    SKIP_NONCE = 4
    CANCEL_ALL_MARKET = 5
    SELF_TRADE_BEHAVIOR = 6
    SELF_TRADE_EQUALITY = 7
    ORDER_VERSION = 8


_ATTRIBUTES = {str(int(attribute)): attribute for attribute in Attribute}


class Malformed(Exception):
    """The text is not such a transaction; the message names the field."""


_BODIES: dict[TxType, tuple[tuple[str, int], ...]] = {
    TxType.CREATE_ORDER: (
        ("MarketIndex", _U32), ("ClientOrderIndex", _U48), ("BaseAmount", _U48), ("Price", _U32), ("IsAsk", 1),
        ("Type", 255), ("TimeInForce", 255), ("ReduceOnly", 1), ("TriggerPrice", _U32), ("OrderExpiry", _I64),
    ),
    TxType.CANCEL_ORDER: (("MarketIndex", _U32), ("Index", _I64)),
    TxType.CANCEL_ALL_ORDERS: (("TimeInForce", 255), ("Time", _I64)),
    TxType.MODIFY_ORDER: (
        ("MarketIndex", _U32), ("Index", _I64), ("BaseAmount", _U48), ("Price", _U32), ("TriggerPrice", _U32),
    ),
    TxType.UPDATE_LEVERAGE: (("MarketIndex", _U32), ("InitialMarginFraction", 65535), ("MarginMode", 255)),
    TxType.UPDATE_MARGIN: (("MarketIndex", _U32), ("USDCAmount", _I64), ("Direction", 255)),
    TxType.APPROVE_INTEGRATOR: (
        ("IntegratorAccountIndex", _I64), ("MaxPerpsTakerFee", _U32), ("MaxPerpsMakerFee", _U32),
        ("MaxSpotTakerFee", _U32), ("MaxSpotMakerFee", _U32), ("ApprovalExpiry", _I64),
    ),
}  # fmt: skip
"""Field and largest value, in the order of the preimage."""

_LIMBS: dict[str, Callable[[int], list[int]]] = {"USDCAmount": lambda amount: [amount & _U32, amount >> 32]}


class Tx(msgspec.Struct, frozen=True, kw_only=True):
    """One signed transaction: its common fields, its body by JSON name, its attributes."""

    kind: TxType
    account: int
    key: int
    nonce: int
    expired_at_ms: int
    body: dict[str, int]
    attributes: dict[int, int]  # those that are hashed
    signature: bytes
    info: str  # as it came

    @property
    def skips_nonce(self) -> bool:
        return self.attributes.get(Attribute.SKIP_NONCE, 0) == 1


def parse(number: int, info: str | Mapping[str, Any]) -> Tx:
    """The transaction of a wire type and its JSON, text (REST) or object (WebSocket). Raises Malformed."""
    try:
        kind = TxType(number)
    except ValueError:
        raise Malformed(f"tx_type {number}") from None
    try:
        fields = orjson.loads(info) if isinstance(info, str) else info
    except orjson.JSONDecodeError:
        raise Malformed("tx_info") from None
    if not isinstance(fields, Mapping):
        raise Malformed("tx_info")
    return Tx(
        kind=kind,
        account=_integer(fields, "AccountIndex", _U48),
        key=_integer(fields, "ApiKeyIndex", 254),
        nonce=_integer(fields, "Nonce", MAX_NONCE),
        expired_at_ms=_integer(fields, "ExpiredAt", _I64),
        body={name: _integer(fields, name, most) for name, most in _BODIES[kind]},
        attributes=_attributes(fields.get("L2TxAttributes")),
        signature=_signature(fields.get("Sig")),
        info=info if isinstance(info, str) else orjson.dumps(fields).decode(),
    )


def preimage(tx: Tx, chain_id: int) -> list[int]:
    """The limbs of the body hash."""
    limbs = [chain_id, int(tx.kind), tx.nonce, tx.expired_at_ms, tx.account, tx.key]
    for name, value in tx.body.items():
        limbs += _LIMBS.get(name, _single)(value)
    return limbs


def digest(tx: Tx, chain_id: int) -> Field:
    """What is signed. Attributes, if any, are hashed apart (ascending, zero-padded to four pairs) and hashed in."""
    body = hash5(preimage(tx, chain_id))
    if not tx.attributes:
        return body
    pairs = [limb for pair in sorted(tx.attributes.items()) for limb in pair]
    pairs += [0] * (2 * MAX_ATTRIBUTES - len(pairs))
    return hash5([*body, *hash5(pairs)])


def hash_of(digested: Field) -> str:
    """The hash a transaction goes by: 80 hex digits."""
    return to_bytes(digested).hex()


def token_digest(text: str) -> Field:
    """What an auth token's signature is over: the text in 8-byte little-endian limbs, zero-padded."""
    raw = text.encode()
    return hash5([int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)])


def _single(value: int) -> list[int]:
    return [value]


def _integer(fields: Mapping[str, Any], name: str, most: int) -> int:
    value = fields.get(name)
    if isinstance(value, bool):
        value = int(value)
    if not isinstance(value, int) or not 0 <= value <= most or value >= P:
        raise Malformed(name)
    return value


def _attributes(raw: object) -> dict[int, int]:
    """A zero means nothing and is not hashed, though some signers write it; only market 0 is a market."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise Malformed("L2TxAttributes")
    found = {}
    for name, value in raw.items():
        attribute = _ATTRIBUTES.get(str(name))
        if attribute is None or not isinstance(value, int) or not 0 <= value <= _U48:
            raise Malformed("L2TxAttributes")
        if value or attribute is Attribute.CANCEL_ALL_MARKET:
            found[int(attribute)] = value
    if len(found) > MAX_ATTRIBUTES:
        raise Malformed("L2TxAttributes")
    return found


def _signature(raw: object) -> bytes:
    try:
        return base64.b64decode(raw, validate=True) if isinstance(raw, str) else b""
    except (binascii.Error, ValueError):
        return b""
