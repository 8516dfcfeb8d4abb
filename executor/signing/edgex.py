"""EdgeX V2: the HMAC of every private request and the EIP-712 signature of an order (docs/venues/edgex.md 6).

HMAC-SHA256 over `timestamp + METHOD + path + content`. Its key is the base64 TEXT of the secret (encoded, not decoded). The
content is the canonical string of query or body: keys sorted, `k=value` joined by `&`, lists joined by `&`, null empty.
An order's body always has the same keys, so its canonical string is one template, written beside the body's.

An order is signed as LimitOrderParams, whose first member is a struct itself: three keccaks beside the domain's, which is
hashed once. Amounts are truncated, the fee cap is rounded up to whole USDC; all of it in a context of our own that cannot
round by accident. The expiry that is signed is the order's own in seconds, not `l2ExpireTime`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, Context, Decimal
from typing import NamedTuple

from core.errors import invariant
from core.specs.edgex import SigningTerms
from executor.signing._secp256k1 import SigningKey, keccak

L2_EXPIRY_AFTER_MS = 8 * 24 * 3600 * 1000  # the least distance that the venue documents

_DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_BASE_TYPE = b"OrderBase(uint256 nonce,address signer,uint64 accountId,uint256 expirationTimestamp)"
_ORDER_TYPE = (
    b"LimitOrderParams(OrderBase base,int256 amountSynthetic,int256 amountCollateral,uint256 amountFee,"
    b"uint64 assetIdSynthetic,uint64 assetIdCollateral,bool isBuyingSynthetic,bytes32 parentOrderHash,"
    b"uint256 subOrderIndex)" + _BASE_TYPE
)
_BASE_HASH, _ORDER_HASH = keccak(_BASE_TYPE), keccak(_ORDER_TYPE)
_NO_PARENT = bytes(64)  # parentOrderHash and subOrderIndex
_EXACT = Context(prec=80, rounding=ROUND_DOWN)

Content = Mapping[str, object] | Sequence[object] | str | bool | int | None


class OrderTicket(NamedTuple):
    """An order in the venue's words; numbers as the plain digits that are sent."""

    price: str
    size: str
    is_buy: bool
    time_in_force: str
    reduce_only: bool
    client_order_id: str
    expire_ms: int


class SignedOrder(NamedTuple):
    body: bytes
    content: str  # what the HMAC covers


class Signer:
    """Signs for `account_id` with the trading key, once `use_domain` said for which chain. `address` is the key's."""

    __slots__ = ("_account", "_account_word", "_api", "_hmac_key", "_key", "_prefix", "account_id", "address")

    def __init__(self, trading_key: str, *, account_id: str, api_key: str, passphrase: str, secret: str) -> None:
        self._key = SigningKey(trading_key)
        self.address = self._key.address
        self.account_id = account_id
        self._account_word = _word(int(account_id))
        self._account = bytes(12) + bytes.fromhex(self.address[2:])
        self._api = (("X-edgeX-Api-Key", api_key), ("X-edgeX-Passphrase", passphrase))
        self._hmac_key = base64.b64encode(secret.encode())
        self._prefix = b""

    def use_domain(self, chain_id: int, contract_address: str) -> None:
        """The domain of the venue's metadata. Raises ValueError when the address is none."""
        contract = bytes.fromhex(contract_address.removeprefix("0x"))
        if len(contract) != 20 or chain_id <= 0:
            raise ValueError(f"chain id {chain_id}, verifying contract {contract_address!r}")
        words = keccak(_DOMAIN_TYPE) + keccak(b"EdgeX") + keccak(b"1") + _word(chain_id) + contract.rjust(32, b"\0")
        self._prefix = b"\x19\x01" + keccak(words)

    def order(self, ticket: OrderTicket, terms: SigningTerms) -> SignedOrder:
        """The body of createOrder and its canonical string."""
        size = Decimal(ticket.size)
        value = _EXACT.multiply(Decimal(ticket.price), size)
        fee_cap = int(_EXACT.multiply(value, terms.fee_rate).to_integral_value(rounding=ROUND_CEILING))
        nonce = l2_nonce(ticket.client_order_id)
        signature = self._key.sign_hex(self.order_digest(ticket, terms, value, fee_cap, nonce))[2:]
        worth = format(value, "f")
        side = "BUY" if ticket.is_buy else "SELL"
        reduce_only = "true" if ticket.reduce_only else "false"
        l2_expire_ms = ticket.expire_ms + L2_EXPIRY_AFTER_MS
        body = (
            f'{{"accountId":"{self.account_id}","contractId":"{terms.contract_id}","price":"{ticket.price}",'
            f'"size":"{ticket.size}","type":"LIMIT","side":"{side}","timeInForce":"{ticket.time_in_force}",'
            f'"clientOrderId":"{ticket.client_order_id}","expireTime":"{ticket.expire_ms}","l2Nonce":"{nonce}",'
            f'"l2Signature":"{signature}","l2ExpireTime":"{l2_expire_ms}","l2Value":"{worth}",'
            f'"l2Size":"{ticket.size}","l2LimitFee":"{fee_cap}","reduceOnly":{reduce_only},"triggerPrice":"",'
            '"triggerPriceType":"","sourceKey":"","isPositionTpsl":false,"openTpslParentOrderId":"",'
            '"isSetOpenTp":false,"openTp":null,"isSetOpenSl":false,"openSl":null,"extraType":"","extraDataJson":""}'
        )
        content = (
            f"accountId={self.account_id}&clientOrderId={ticket.client_order_id}&contractId={terms.contract_id}"
            f"&expireTime={ticket.expire_ms}&extraDataJson=&extraType=&isPositionTpsl=false&isSetOpenSl=false"
            f"&isSetOpenTp=false&l2ExpireTime={l2_expire_ms}&l2LimitFee={fee_cap}&l2Nonce={nonce}"
            f"&l2Signature={signature}&l2Size={ticket.size}&l2Value={worth}&openSl=&openTp=&openTpslParentOrderId="
            f"&price={ticket.price}&reduceOnly={reduce_only}&side={side}&size={ticket.size}&sourceKey="
            f"&timeInForce={ticket.time_in_force}&triggerPrice=&triggerPriceType=&type=LIMIT"
        )
        return SignedOrder(body.encode(), content)

    def order_digest(self, ticket: OrderTicket, terms: SigningTerms, value: Decimal, fee_cap: int, nonce: int) -> bytes:
        """The 32 bytes that are signed for an order worth `value` with a fee of at most `fee_cap` whole USDC."""
        invariant(bool(self._prefix), "an EdgeX order is signed before the signing domain is known")
        base = keccak(_BASE_HASH + _word(nonce) + self._account + self._account_word + _word(ticket.expire_ms // 1000))
        synthetic = int(_EXACT.multiply(Decimal(ticket.size), Decimal(terms.resolution)))
        collateral = int(_EXACT.multiply(value, Decimal(terms.coin_resolution)))
        order = keccak(
            _ORDER_HASH
            + base
            + _word(synthetic)
            + _word(collateral)
            + _word(fee_cap * terms.coin_resolution)
            + _word(terms.contract_id)
            + _word(terms.coin_id)
            + _word(int(ticket.is_buy))
            + _NO_PARENT
        )
        return keccak(self._prefix + order)

    def hmac_hex(self, method: str, path: str, content: str, timestamp_ms: int) -> str:
        """The signature of one private request; `path` without host and query."""
        message = f"{timestamp_ms}{method}{path}{content}".encode()
        return hmac.digest(self._hmac_key, message, "sha256").hex()

    def headers(self, signature: str, timestamp_ms: int) -> tuple[tuple[str, str], ...]:
        """The four headers that carry `signature`."""
        return (*self._api, ("X-edgeX-Signature", signature), ("X-edgeX-Timestamp", str(timestamp_ms)))

    def __repr__(self) -> str:
        return f"Signer(edgex, {self.address})"


def l2_nonce(client_order_id: str) -> int:
    """The nonce that the venue derives from a client order id: the first 32 bits of its sha256."""
    return int.from_bytes(hashlib.sha256(client_order_id.encode()).digest()[:4], "big")


def canonical(content: Content) -> str:
    """The canonical string of a query or body."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int):
        return str(content)
    if isinstance(content, Mapping):
        return "&".join(f"{key}={canonical(_content(content[key]))}" for key in sorted(content))
    return "&".join(canonical(_content(each)) for each in content)


def _content(value: object) -> Content:
    invariant(
        value is None or isinstance(value, str | bool | int | Mapping | Sequence),
        f"{type(value).__name__} cannot stand in a signed request",
    )
    return value  # type: ignore[return-value]


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")
