"""Hyperliquid's actions and who signed them (docs/venues/hyperliquid.md 6 and 7).

The venue does not hash the bytes it was sent: it decodes the action, rebuilds its own normal form (field order, plain
decimals, lower-case hex, no nulls, no unknown fields) and hashes that. A client that hashed anything else is recovered
as a stranger. The structs below are that normal form: their field order is the order of the msgpack map.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from core.numeric import plain
from ops.sandbox.verify import domain, eip712, keccak, recover_address, word

AGENT_DOMAIN = domain("Exchange", "1", 1337)
_AGENT_TYPE = keccak(b"Agent(string source,bytes32 connectionId)")
_ADDRESS_DIGITS, _CLOID_DIGITS = 40, 32


class _Wire(msgspec.Struct, omit_defaults=True):
    """A part of an action; unknown fields are ignored, so they are not part of what was signed."""


class Limit(_Wire):
    tif: str


class Trigger(_Wire):
    isMarket: bool
    triggerPx: str
    tpsl: str


class OrderKind(_Wire):
    limit: Limit | None = None
    trigger: Trigger | None = None


class OrderWire(_Wire):
    a: int
    b: bool
    p: str
    s: str
    r: bool
    t: OrderKind
    c: str | None = None


class Builder(_Wire):
    b: str
    f: int


class Priority(_Wire):
    p: int


class CancelWire(_Wire):
    a: int
    o: int


class CancelByCloidWire(_Wire):
    asset: int
    cloid: str


class ModifyWire(_Wire):
    oid: int | str
    order: OrderWire


class PlaceOrders(_Wire, tag="order"):
    orders: list[OrderWire]
    grouping: str | Priority
    builder: Builder | None = None


class CancelOrders(_Wire, tag="cancel"):
    cancels: list[CancelWire]
    f: bool | None = None


class CancelByCloid(_Wire, tag="cancelByCloid"):
    cancels: list[CancelByCloidWire]
    f: bool | None = None


class ModifyOrder(_Wire, tag="modify"):
    oid: int | str
    order: OrderWire


class ModifyOrders(_Wire, tag="batchModify"):
    modifies: list[ModifyWire]


class UpdateLeverage(_Wire, tag="updateLeverage"):
    asset: int
    isCross: bool
    leverage: int


class UpdateIsolatedMargin(_Wire, tag="updateIsolatedMargin"):
    asset: int
    isBuy: bool
    ntli: int


class ScheduleCancel(_Wire, tag="scheduleCancel"):
    time: int | None = None


class Noop(_Wire, tag="noop"):
    pass


class ApproveAgent(_Wire, tag="approveAgent"):
    hyperliquidChain: str
    signatureChainId: str
    agentAddress: str
    nonce: int
    agentName: str = ""


class UsdClassTransfer(_Wire, tag="usdClassTransfer"):
    hyperliquidChain: str
    signatureChainId: str
    amount: str
    toPerp: bool
    nonce: int


L1Action = (
    PlaceOrders | CancelOrders | CancelByCloid | ModifyOrder | ModifyOrders | UpdateLeverage | UpdateIsolatedMargin
    | ScheduleCancel | Noop
)  # fmt: skip
UserAction = ApproveAgent | UsdClassTransfer
Action = L1Action | UserAction


class Signature(msgspec.Struct):
    r: str
    s: str
    v: int


class Envelope(msgspec.Struct):
    """The body of POST /exchange."""

    action: Action
    nonce: int
    signature: Signature
    vaultAddress: str | None = None
    expiresAfter: int | None = None


def normalize(action: Action) -> Action:
    """The venue's own form of what was sent: plain decimals, lower-case hex. Raises ValueError for what is neither."""
    if isinstance(action, PlaceOrders):
        return PlaceOrders([_order(o) for o in action.orders], action.grouping, _builder(action.builder))
    if isinstance(action, CancelByCloid):
        return CancelByCloid([CancelByCloidWire(c.asset, hex_id(c.cloid)) for c in action.cancels], action.f)
    if isinstance(action, ModifyOrder):
        return ModifyOrder(_oid(action.oid), _order(action.order))
    if isinstance(action, ModifyOrders):
        return ModifyOrders([ModifyWire(_oid(m.oid), _order(m.order)) for m in action.modifies])
    return action


def connection_id(action: L1Action, nonce: int, vault: str | None, expires_after_ms: int | None) -> bytes:
    """keccak of msgpack, nonce, vault and expiry: what an L1 signature commits to."""
    data = msgspec.msgpack.encode(action) + nonce.to_bytes(8, "big")
    data += b"\x00" if vault is None else b"\x01" + bytes.fromhex(address(vault)[2:])
    if expires_after_ms is not None:
        data += b"\x00" + expires_after_ms.to_bytes(8, "big")
    return keccak(data)


def l1_digest(connection: bytes, mainnet: bool) -> bytes:
    """The EIP-712 digest over the phantom agent; the sandbox is a testnet (source "b")."""
    source = keccak(b"a" if mainnet else b"b")
    return eip712(AGENT_DOMAIN, keccak(_AGENT_TYPE + source + connection))


def user_digest(action: UserAction) -> bytes:
    """The EIP-712 digest over the plain fields of a user-signed action. Raises ValueError for a bad chain id."""
    separator = domain("HyperliquidSignTransaction", "1", int(action.signatureChainId, 16))
    if isinstance(action, ApproveAgent):
        kind = b"ApproveAgent(string hyperliquidChain,address agentAddress,string agentName,uint64 nonce)"
        fields = _text(action.hyperliquidChain) + bytes(12) + bytes.fromhex(address(action.agentAddress)[2:])
        fields += _text(action.agentName) + word(action.nonce)
    else:
        kind = b"UsdClassTransfer(string hyperliquidChain,string amount,bool toPerp,uint64 nonce)"
        fields = _text(action.hyperliquidChain) + _text(action.amount) + word(int(action.toPerp)) + word(action.nonce)
    return eip712(separator, keccak(keccak(b"HyperliquidTransaction:" + kind) + fields))


def signer_of(envelope: Envelope, mainnet: bool = False) -> str | None:
    """The address whose key signed the envelope, None when the signature is malformed. Raises ValueError as `normalize`."""
    action = normalize(envelope.action)
    if isinstance(action, ApproveAgent | UsdClassTransfer):
        digest = user_digest(action)
    else:
        connection = connection_id(action, envelope.nonce, envelope.vaultAddress, envelope.expiresAfter)
        digest = l1_digest(connection, mainnet)
    signature = envelope.signature
    try:
        return recover_address(digest, int(signature.r, 16), int(signature.s, 16), signature.v)
    except ValueError:
        return None


def address(text: str) -> str:
    """A lower-case 0x address. Raises ValueError for anything else."""
    return _hex(text, _ADDRESS_DIGITS)


def hex_id(text: str) -> str:
    """A lower-case cloid: 0x and 32 hex digits. Raises ValueError for anything else."""
    return _hex(text, _CLOID_DIGITS)


def decimal(text: str) -> Decimal:
    """A finite decimal. Raises ValueError for anything else."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"not a number: {text[:40]!r}") from error
    if not value.is_finite():
        raise ValueError(f"not a number: {text[:40]!r}")
    return value


def decode_envelope(body: bytes) -> Envelope:
    """Raises msgspec.DecodeError (bad JSON) or its subclass ValidationError (not an envelope)."""
    return _ENVELOPE.decode(body)


def convert_envelope(value: Any) -> Envelope:
    """The same from decoded JSON. Raises msgspec.ValidationError."""
    return msgspec.convert(value, Envelope)


_ENVELOPE = msgspec.json.Decoder(Envelope)


def _order(order: OrderWire) -> OrderWire:
    kind = order.t
    if kind.trigger is not None:
        trigger = kind.trigger
        kind = OrderKind(trigger=Trigger(trigger.isMarket, plain(decimal(trigger.triggerPx)), trigger.tpsl))
    return OrderWire(
        order.a, order.b, plain(decimal(order.p)), plain(decimal(order.s)), order.r, kind,
        None if order.c is None else hex_id(order.c),
    )  # fmt: skip


def _builder(builder: Builder | None) -> Builder | None:
    return None if builder is None else Builder(address(builder.b), builder.f)


def _oid(oid: int | str) -> int | str:
    return oid if isinstance(oid, int) else hex_id(oid)


def _text(value: str) -> bytes:
    return keccak(value.encode())


def _hex(text: str, digits: int) -> str:
    lower = text.lower()
    if len(lower) != digits + 2 or not lower.startswith("0x"):
        raise ValueError(f"not 0x and {digits} hex digits: {text[:60]!r}")
    bytes.fromhex(lower[2:])
    return lower
