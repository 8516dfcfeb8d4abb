"""GRVT's request bodies, in the long field names of `full/v1` (docs/venues/grvt.md 7). The same text goes by REST and, as
`params`, by WebSocket. Whole numbers beyond 2^53 and all decimals travel as strings."""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

import msgspec

from core.clock import NS_PER_S
from core.numeric import plain
from core.types import Side, TimeInForce
from executor.signing._secp256k1 import Signature
from executor.signing.grvt import MAINNET_CHAIN_ID, PRICE_DECIMALS, MarginType, SignedTimeInForce, Signer

CREATE, CANCEL = "create_order", "cancel_order"
TIF_WIRE = {
    TimeInForce.GTC: SignedTimeInForce.GOOD_TILL_TIME,
    TimeInForce.POST_ONLY: SignedTimeInForce.GOOD_TILL_TIME,
    TimeInForce.IOC: SignedTimeInForce.IMMEDIATE_OR_CANCEL,
}
RESTING_NS = 56 * NS_PER_S
"""Longer than an IOC order is a resting one good for: with the 4 s of those (core.specs.grvt) it rests for a minute."""
CANCEL_TTL_MS = 5000
"""For so long a cancel by client id waits for its order, the most that the venue allows. A signed IOC order lives 4 s, and
clocks may differ by one: such a cancel outlives every order that it waits for."""
_BOOL = ("false", "true")


class Lasting(Protocol):
    """An order, wanted or sent: how long it may take to arrive, and whether it then rests."""

    @property
    def expires_wire_ns(self) -> int: ...
    @property
    def time_in_force(self) -> TimeInForce: ...


def expiration_ns(order: Lasting) -> int:
    """When the signature ends (UTC): until then an order may arrive, and a resting one rests."""
    rests = order.time_in_force is not TimeInForce.IOC
    return order.expires_wire_ns + RESTING_NS if rests else order.expires_wire_ns


class OrderTerms(msgspec.Struct, frozen=True, kw_only=True):
    """An order in the venue's own words and units. `contract_size` is `size` as it is signed."""

    instrument: str
    asset_id: int
    size: Decimal
    contract_size: int
    limit_price: Decimal
    side: Side
    time_in_force: SignedTimeInForce
    post_only: bool
    reduce_only: bool
    client_order_id: int


def order_body(signer: Signer, terms: OrderTerms, nonce: int, expiration_ns: int) -> bytes:
    """A signed create_order."""
    buying = terms.side is Side.BUY
    signature = signer.order(
        asset_id=terms.asset_id,
        contract_size=terms.contract_size,
        limit_price=int(terms.limit_price.scaleb(PRICE_DECIMALS)),
        is_buying=buying,
        time_in_force=terms.time_in_force,
        post_only=terms.post_only,
        reduce_only=terms.reduce_only,
        nonce=nonce,
        expiration_ns=expiration_ns,
    )
    return (
        f'{{"order":{{"sub_account_id":"{signer.sub_account_id}","is_market":false,'
        f'"time_in_force":"{terms.time_in_force.name}","post_only":{_BOOL[terms.post_only]},'
        f'"reduce_only":{_BOOL[terms.reduce_only]},"legs":[{{"instrument":"{terms.instrument}",'
        f'"size":"{plain(terms.size)}","limit_price":"{plain(terms.limit_price)}","is_buying_asset":{_BOOL[buying]}}}],'
        f'"signature":{_signature(signer, signature, nonce, expiration_ns)},'
        f'"metadata":{{"client_order_id":"{terms.client_order_id}"}}}}}}'
    ).encode()


def cancel_body(
    sub_account_id: int, *, order_id: str = "", client_order_id: int = 0, time_to_live_ms: int = 0
) -> bytes:
    """By the venue's id, else by ours; nobody signs a cancel. `time_to_live_ms`: a create with that client id which arrives
    within it is killed too (by client id only; 0 = the venue's own 100 ms)."""
    by = f'"order_id":"{order_id}"' if order_id else f'"client_order_id":"{client_order_id}"'
    life = f',"time_to_live_ms":"{time_to_live_ms}"' if time_to_live_ms and not order_id else ""
    return f'{{"sub_account_id":"{sub_account_id}",{by}{life}}}'.encode()


def position_config_body(
    signer: Signer,
    *,
    instrument: str,
    asset_id: int,
    margin_type: MarginType,
    leverage: int,
    nonce: int,
    expiration_ns: int,
) -> bytes:
    """A signed set_position_config."""
    signature = signer.position_config(
        asset_id=asset_id, margin_type=margin_type, leverage=leverage, nonce=nonce, expiration_ns=expiration_ns
    )
    return (
        f'{{"sub_account_id":"{signer.sub_account_id}","instrument":"{instrument}","margin_type":"{margin_type.name}",'
        f'"leverage":"{leverage}","signature":{_signature(signer, signature, nonce, expiration_ns)}}}'
    ).encode()


def frame(method: str, params: bytes, number: int) -> bytes:
    """A request over the WebSocket, answered under `number`."""
    return b'{"jsonrpc":"2.0","method":"v1/%b","params":%b,"id":%d}' % (method.encode(), params, number)


def _signature(signer: Signer, signature: Signature, nonce: int, expiration_ns: int) -> str:
    """r and s are always 64 digits: without the leading zeros one order in a few would be refused (2006). The chain is named
    where it is not the usual one, so that a wrong one is refused as such (1012)."""
    chain = "" if signer.chain_id == MAINNET_CHAIN_ID else f',"chain_id":"{signer.chain_id}"'
    return (
        f'{{"signer":"{signer.address}","r":"0x{signature.r:064x}","s":"0x{signature.s:064x}","v":{signature.v},'
        f'"expiration":"{expiration_ns}","nonce":{nonce}{chain}}}'
    )
