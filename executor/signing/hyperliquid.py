"""Hyperliquid's two signing schemes (docs/venues/hyperliquid.md 6), byte-equal to the official SDK.

L1 actions (orders, cancels, leverage, noop): the action's msgpack, the nonce, the sub-account and the expiry are hashed
into a `connectionId`, which a phantom `Agent` struct carries into EIP-712. The server rebuilds the msgpack from our JSON
in its own normal form and recovers the signer from it: a price with a trailing zero, an upper-case address or another
field order silently becomes somebody else's signature. So actions are built here and nowhere else, in normative order,
from strings that core.numeric.plain made.

User-signed actions (approveAgent, transfers): EIP-712 over the plain fields, by the master key only.

The order path is hand-assembled: one msgpack, three keccaks, one curve operation, and the JSON body written around the
encoded action; no general-purpose typed-data encoder runs (it alone costs more than everything here).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from core.types import TimeInForce
from executor.signing._eip712 import Field, digest, domain_separator, hash_struct
from executor.signing._secp256k1 import Signature, SigningKey, keccak

Action = dict[str, Any]

TIF_WIRE = {TimeInForce.GTC: "Gtc", TimeInForce.IOC: "Ioc", TimeInForce.POST_ONLY: "Alo"}
USER_SIGNED_CHAIN_ID = "0x66eee"

_L1_PREFIX = b"\x19\x01" + domain_separator("Exchange", "1", 1337)
_AGENT_TYPE_HASH = keccak(b"Agent(string source,bytes32 connectionId)")
_USER_SEPARATOR = domain_separator("HyperliquidSignTransaction", "1", int(USER_SIGNED_CHAIN_ID, 16))
_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


class Signer:
    """Signs for one agent (or master) key on one network. `vault`: the sub-account traded for, lower-case address."""

    __slots__ = ("_agent_head", "_key", "_mainnet", "_vault_hash", "_vault_json", "address")

    def __init__(self, private_key: str, *, mainnet: bool, vault: str | None = None) -> None:
        self._key = SigningKey(private_key)
        self._mainnet = mainnet
        self._agent_head = _AGENT_TYPE_HASH + keccak(b"a" if mainnet else b"b")
        self._vault_hash = b"\0" if vault is None else b"\1" + bytes.fromhex(vault.removeprefix("0x"))
        self._vault_json = b"null" if vault is None else _json(vault.lower())
        self.address = self._key.address

    def body(self, action: Action, nonce: int, expires_ms: int | None = None) -> bytes:
        """The signed JSON body of an L1 action, ready for POST /exchange or a WebSocket post."""
        r, s, v = self._key.sign(self.l1_digest(action, nonce, expires_ms))
        return (
            b'{"action":%b,"nonce":%d,"signature":{"r":"0x%x","s":"0x%x","v":%d},"vaultAddress":%b,"expiresAfter":%b}'
            % (
                _json(action),
                nonce,
                r,
                s,
                v,
                self._vault_json,
                b"null" if expires_ms is None else b"%d" % expires_ms,
            )
        )

    def l1_digest(self, action: Action, nonce: int, expires_ms: int | None) -> bytes:
        """The 32 bytes signed for an L1 action."""
        connection_id = keccak(self.preimage(action, nonce, expires_ms))
        return keccak(_L1_PREFIX + keccak(self._agent_head + connection_id))

    def preimage(self, action: Action, nonce: int, expires_ms: int | None) -> bytes:
        """What is hashed into the connection id: msgpack, nonce, sub-account mark, expiry mark."""
        raw = _pack(action) + nonce.to_bytes(8, "big") + self._vault_hash
        return raw if expires_ms is None else raw + b"\0" + expires_ms.to_bytes(8, "big")

    def user_body(self, action: Action, primary_type: str, fields: Sequence[tuple[str, str]], nonce: int) -> bytes:
        """The signed JSON body of a user-signed action. `fields` are (name, kind) after `hyperliquidChain`, in order.

        A field that the action leaves out is hashed as the empty string (an unnamed agent), as the SDK does.
        """
        full = action | {
            "signatureChainId": USER_SIGNED_CHAIN_ID,
            "hyperliquidChain": "Mainnet" if self._mainnet else "Testnet",
        }
        typed = [Field(name, kind, full.get(name, "")) for name, kind in (("hyperliquidChain", "string"), *fields)]
        signed = self._key.sign(user_signed_digest(primary_type, typed))
        return _json(
            {
                "action": full,
                "nonce": nonce,
                "signature": signature_json(signed),
                "vaultAddress": None,
                "expiresAfter": None,
            }
        )

    def approve_agent_body(self, agent_address: str, agent_name: str | None, nonce: int) -> bytes:
        """approveAgent: the master lets `agent_address` sign for it; a named agent replaces the one of that name."""
        action: Action = {"type": "approveAgent", "agentAddress": agent_address}
        if agent_name is not None:
            action["agentName"] = agent_name
        action["nonce"] = nonce
        fields = (("agentAddress", "address"), ("agentName", "string"), ("nonce", "uint64"))
        return self.user_body(action, "HyperliquidTransaction:ApproveAgent", fields, nonce)

    def usd_class_transfer_body(self, amount: str, to_perp: bool, nonce: int) -> bytes:
        """usdClassTransfer: move `amount` USDC between the spot and perp wallets of one account."""
        action: Action = {"type": "usdClassTransfer", "amount": amount, "toPerp": to_perp, "nonce": nonce}
        fields = (("amount", "string"), ("toPerp", "bool"), ("nonce", "uint64"))
        return self.user_body(action, "HyperliquidTransaction:UsdClassTransfer", fields, nonce)

    def __repr__(self) -> str:
        return f"Signer(hyperliquid, {self.address})"


def order_wire(
    asset: int, is_buy: bool, px: str, sz: str, reduce_only: bool, tif: TimeInForce, cloid: str | None
) -> Action:
    """One limit order in normative field order; `cloid` is 0x and 32 lower-case hex digits."""
    wire: Action = {"a": asset, "b": is_buy, "p": px, "s": sz, "r": reduce_only, "t": {"limit": {"tif": TIF_WIRE[tif]}}}
    if cloid is not None:
        wire["c"] = cloid
    return wire


def order_action(orders: list[Action]) -> Action:
    return {"type": "order", "orders": orders, "grouping": "na"}


def cancel_action(cancels: list[tuple[int, int]]) -> Action:
    """`cancels`: (asset, venue order id)."""
    return {"type": "cancel", "cancels": [{"a": asset, "o": oid} for asset, oid in cancels]}


def cancel_by_cloid_action(cancels: list[tuple[int, str]]) -> Action:
    """`cancels`: (asset, cloid)."""
    return {"type": "cancelByCloid", "cancels": [{"asset": asset, "cloid": cloid} for asset, cloid in cancels]}


def update_leverage_action(asset: int, is_cross: bool, leverage: int) -> Action:
    return {"type": "updateLeverage", "asset": asset, "isCross": is_cross, "leverage": leverage}


def schedule_cancel_action(time_ms: int | None) -> Action:
    """The dead-man switch; None clears it."""
    return {"type": "scheduleCancel"} if time_ms is None else {"type": "scheduleCancel", "time": time_ms}


def noop_action() -> Action:
    """Signed with the nonce of an action in flight, it makes that action invalid."""
    return {"type": "noop"}


def user_signed_digest(primary_type: str, fields: Sequence[Field]) -> bytes:
    return digest(_USER_SEPARATOR, hash_struct(primary_type, fields))


def signature_json(signature: Signature) -> dict[str, str | int]:
    """As the venue wants it: r and s without leading zeros."""
    return {"r": f"0x{signature.r:x}", "s": f"0x{signature.s:x}", "v": signature.v}
