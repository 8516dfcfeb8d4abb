"""GRVT's EIP-712 signatures: orders, position settings, wallet login (docs/venues/grvt.md 6).

The domain has a name, a version and a chain id, and no verifying contract. An order is one struct with an array of legs,
of which we send one: the array's hash is the keccak of the leg's hash. Every field but the sub account and the type hash
is one 32-byte word, so an order is packed by hand: two constants and eleven words, no type is looked up. What is not signed
(client order id, trigger, broker) can be changed by whoever carries the order.

Sizes are scaled by the asset's own decimals and prices by 10^9, from integers: a float anywhere here signs another order
than the one that is sent (error 2002).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from executor.signing._secp256k1 import Signature, SigningKey, keccak

MAINNET_CHAIN_ID = 325
TESTNET_CHAIN_ID = 326
PRICE_DECIMALS = 9
LEVERAGE_SCALE = 1_000_000

_WORD = 32
_DOMAIN = b"EIP712Domain(string name,string version,uint256 chainId)"
_LEG = b"OrderLeg(uint256 assetID,uint64 contractSize,uint64 limitPrice,bool isBuyingContract)"
_ORDER_MEMBERS = b"(uint64 subAccountID,bool isMarket,uint8 timeInForce,bool postOnly,bool reduceOnly,OrderLeg[] legs,"
_ORDER = b"Order" + _ORDER_MEMBERS + b"uint32 nonce,int64 expiration)" + _LEG
_ORDER_WITH_BUILDER = (
    b"OrderWithBuilderFee" + _ORDER_MEMBERS + b"address builder,uint32 builderFee,uint32 nonce,int64 expiration)" + _LEG
)
_POSITION_CONFIG = (
    b"SetSubAccountPositionMarginConfig(uint64 subAccountID,uint256 asset,uint8 marginType,int32 leverage,"
    b"uint32 nonce,int64 expiration)"
)
_WALLET_LOGIN = b"WalletLogin(address signer,uint32 nonce,int64 expiration)"

_LEG_HASH, _ORDER_HASH, _ORDER_WITH_BUILDER_HASH = keccak(_LEG), keccak(_ORDER), keccak(_ORDER_WITH_BUILDER)
_POSITION_CONFIG_HASH, _WALLET_LOGIN_HASH = keccak(_POSITION_CONFIG), keccak(_WALLET_LOGIN)
_NO, _YES = bytes(_WORD), bytes(_WORD - 1) + b"\x01"
_BOOL = (_NO, _YES)


class SignedTimeInForce(enum.IntEnum):
    """The numbers that stand for the wire's words in a signature. (ALL_OR_NONE, 2, is not taken by the book.)"""

    GOOD_TILL_TIME = 1
    IMMEDIATE_OR_CANCEL = 3
    FILL_OR_KILL = 4


class MarginType(enum.IntEnum):
    ISOLATED = 1
    CROSS = 2


_TIME_IN_FORCE = {each: int(each).to_bytes(_WORD, "big") for each in SignedTimeInForce}


class Builder(NamedTuple):
    """Who is paid a part of the order: an address, and the fee as percent * 10^4."""

    address: str
    fee: int


class Signer:
    """Signs for one sub account with the key that belongs to the API key. `address` is that key's."""

    __slots__ = ("_head", "_key", "_prefix", "_sub_account", "address", "chain_id", "sub_account_id")

    def __init__(self, private_key: str, *, sub_account_id: int, mainnet: bool) -> None:
        self._key = SigningKey(private_key)
        self.address = self._key.address
        self.sub_account_id = sub_account_id
        self.chain_id = MAINNET_CHAIN_ID if mainnet else TESTNET_CHAIN_ID
        self._prefix = b"\x19\x01" + domain_separator(self.chain_id)
        self._sub_account = sub_account_id.to_bytes(_WORD, "big")
        self._head = _ORDER_HASH + self._sub_account

    def order(
        self,
        *,
        asset_id: int,
        contract_size: int,
        limit_price: int,
        is_buying: bool,
        time_in_force: SignedTimeInForce,
        post_only: bool,
        reduce_only: bool,
        nonce: int,
        expiration_ns: int,
        is_market: bool = False,
        builder: Builder | None = None,
    ) -> Signature:
        """One order of one leg. `contract_size` is size * 10^base_decimals, `limit_price` price * 10^PRICE_DECIMALS (0 for a
        market order), `nonce` 32 bits; `expiration_ns` is also the life of a resting order. With a builder it is another
        struct: ours have none."""
        legs = keccak(
            keccak(
                _LEG_HASH
                + asset_id.to_bytes(_WORD, "big")
                + contract_size.to_bytes(_WORD, "big")
                + limit_price.to_bytes(_WORD, "big")
                + _BOOL[is_buying]
            )
        )
        head, share = self._head, b""
        if builder is not None:
            head = _ORDER_WITH_BUILDER_HASH + self._sub_account
            share = bytes.fromhex(builder.address[2:]).rjust(_WORD, b"\0") + builder.fee.to_bytes(_WORD, "big")
        return self._sign(
            head
            + _BOOL[is_market]
            + _TIME_IN_FORCE[time_in_force]
            + _BOOL[post_only]
            + _BOOL[reduce_only]
            + legs
            + share
            + nonce.to_bytes(_WORD, "big")
            + expiration_ns.to_bytes(_WORD, "big")
        )

    def position_config(
        self, *, asset_id: int, margin_type: MarginType, leverage: int, nonce: int, expiration_ns: int
    ) -> Signature:
        """Margin type and whole-number leverage of one instrument."""
        return self._sign(
            _POSITION_CONFIG_HASH
            + self._sub_account
            + asset_id.to_bytes(_WORD, "big")
            + int(margin_type).to_bytes(_WORD, "big")
            + (leverage * LEVERAGE_SCALE).to_bytes(_WORD, "big")
            + nonce.to_bytes(_WORD, "big")
            + expiration_ns.to_bytes(_WORD, "big")
        )

    def wallet_login(self, *, nonce: int, expiration_ns: int) -> Signature:
        """A session without an API key, for the wallet itself."""
        return self._sign(
            _WALLET_LOGIN_HASH
            + bytes.fromhex(self.address[2:]).rjust(_WORD, b"\0")
            + nonce.to_bytes(_WORD, "big")
            + expiration_ns.to_bytes(_WORD, "big")
        )

    def _sign(self, packed: bytes) -> Signature:
        return self._key.sign(keccak(self._prefix + keccak(packed)))

    def __repr__(self) -> str:
        return f"Signer(grvt, {self.address})"


def domain_separator(chain_id: int) -> bytes:
    """Of the exchange's domain on one of its chains."""
    return keccak(keccak(_DOMAIN) + keccak(b"GRVT Exchange") + keccak(b"0") + chain_id.to_bytes(_WORD, "big"))
