"""What GRVT checks of a signature: form, chain, time, and who signed (docs/venues/grvt.md 6). Independent of the executor's
signer, written from the type strings."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.clock import NS_PER_S
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.verify import address_word, eip712, keccak, recover_address, word

CHAIN_ID = 326  # the sandbox signs as the testnet does
PRICE_SCALE = 10**9
LEVERAGE_SCALE = 10**6
FEE_SCALE = 10**4
MAX_AHEAD_NS = 30 * 24 * 3600 * NS_PER_S
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
TIMES_IN_FORCE = {"GOOD_TILL_TIME": 1, "ALL_OR_NONE": 2, "IMMEDIATE_OR_CANCEL": 3, "FILL_OR_KILL": 4}
MARGIN_TYPES = {"ISOLATED": 1, "CROSS": 2}

_LEG = b"OrderLeg(uint256 assetID,uint64 contractSize,uint64 limitPrice,bool isBuyingContract)"
_HEAD = b"(uint64 subAccountID,bool isMarket,uint8 timeInForce,bool postOnly,bool reduceOnly,OrderLeg[] legs,"
_TAIL = b"uint32 nonce,int64 expiration)"
_TYPES = {
    "order": b"Order" + _HEAD + _TAIL + _LEG,
    "builder": b"OrderWithBuilderFee" + _HEAD + b"address builder,uint32 builderFee," + _TAIL + _LEG,
    "config": b"SetSubAccountPositionMarginConfig(uint64 subAccountID,uint256 asset,uint8 marginType,int32 leverage,"
    b"uint32 nonce,int64 expiration)",
    "login": b"WalletLogin(address signer,uint32 nonce,int64 expiration)",
}


def domain_separator(chain_id: int) -> bytes:
    kind = keccak(b"EIP712Domain(string name,string version,uint256 chainId)")
    return keccak(kind + keccak(b"GRVT Exchange") + keccak(b"0") + word(chain_id))


def order_hash(order: Row, asset_id: int, base_decimals: int) -> bytes:
    """Of an order as it is sent, with one leg. Raises ApiError MALFORMED."""
    leg, signature = order["legs"][0], order["signature"]
    legs = keccak(
        keccak(
            keccak(_LEG)
            + word(asset_id)
            + word(scaled(leg["size"], 10**base_decimals))
            + word(scaled(leg.get("limit_price") or "0", PRICE_SCALE))
            + word(bool(leg["is_buying_asset"]))
        )
    )
    words = [
        keccak(_TYPES["builder" if order.get("builder") else "order"]),
        word(whole(order["sub_account_id"])),
        word(bool(order.get("is_market"))),
        word(TIMES_IN_FORCE[order["time_in_force"]]),
        word(bool(order.get("post_only"))),
        word(bool(order.get("reduce_only"))),
        legs,
    ]
    if order.get("builder"):
        words += [_address(order["builder"]), word(scaled(order.get("builder_fee", "0"), FEE_SCALE))]
    return keccak(b"".join([*words, *_close(signature)]))


def config_hash(body: Row, asset_id: int) -> bytes:
    """Of set_position_config."""
    words = [
        keccak(_TYPES["config"]),
        word(whole(body["sub_account_id"])),
        word(asset_id),
        word(MARGIN_TYPES[body["margin_type"]]),
        word(scaled(body["leverage"], LEVERAGE_SCALE)),
    ]
    return keccak(b"".join([*words, *_close(body["signature"])]))


def login_hash(address: str, signature: Row) -> bytes:
    """Of a wallet's login."""
    return keccak(b"".join([keccak(_TYPES["login"]), _address(address), *_close(signature)]))


def check(signature: Row, struct_hash: bytes, now_ns: int) -> str:
    """The lower-case address that signed, which is the one that it names. Raises ApiError."""
    if str(signature.get("chain_id") or CHAIN_ID) != str(CHAIN_ID):
        raise ApiError(Code.CHAIN_ID)
    r, s = (_half(signature.get(name)) for name in ("r", "s"))
    v = signature.get("v")
    if v not in (27, 28):
        raise ApiError(Code.SIGNATURE_V)
    if s > HALF_ORDER:
        raise ApiError(Code.SIGNATURE_HIGH_S)
    expiration_ns = whole(signature.get("expiration"))
    if expiration_ns <= now_ns:
        raise ApiError(Code.SIGNATURE_EXPIRED)
    if expiration_ns > now_ns + MAX_AHEAD_NS:
        raise ApiError(Code.SIGNATURE_TOO_FAR)
    named = str(signature.get("signer", "")).lower()
    if recover_address(eip712(domain_separator(CHAIN_ID), struct_hash), r, s, v) != named:
        raise ApiError(Code.SIGNATURE_MISMATCH)
    return named


def scaled(text: Any, scale: int) -> int:
    """A decimal as an integer of `scale` parts; what is finer cannot be what was signed. Raises ApiError."""
    value = number(text) * scale
    if value != int(value) or value < 0:
        raise ApiError(Code.SIGNATURE_MISMATCH)
    return int(value)


def number(text: Any) -> Decimal:
    """A plain decimal, as a string or a JSON number. Raises ApiError MALFORMED."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ApiError(Code.MALFORMED)
    plain = str(text)
    body = plain.removeprefix("-").replace(".", "", 1)
    if not (body.isascii() and body.isdecimal() and len(body) <= 40) and plain != "0E-9":
        raise ApiError(Code.MALFORMED)
    return Decimal(plain)


def whole(text: Any) -> int:
    """A whole number of at most 64 bits, as a string or a JSON number. Raises ApiError MALFORMED."""
    plain = str(text) if isinstance(text, str | int) and not isinstance(text, bool) else ""
    if not (plain.isascii() and plain.isdecimal() and len(plain) <= 20 and int(plain) < 1 << 64):
        raise ApiError(Code.MALFORMED)
    return int(plain)


def _close(signature: Row) -> list[bytes]:
    nonce = whole(signature.get("nonce"))
    if nonce >= 1 << 32:
        raise ApiError(Code.MALFORMED)
    return [word(nonce), word(whole(signature.get("expiration")))]


def _half(text: Any) -> int:
    digits = str(text).removeprefix("0x")
    if len(digits) != 64:
        raise ApiError(Code.SIGNATURE_LENGTH)
    try:
        return int(digits, 16)
    except ValueError:
        raise ApiError(Code.SIGNATURE_LENGTH) from None


def _address(text: Any) -> bytes:
    try:
        return address_word(str(text))
    except ValueError:
        raise ApiError(Code.MALFORMED) from None
