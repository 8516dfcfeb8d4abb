"""Who asks, and whether an order is signed by the account's trading key (docs/venues/edgex.md 6).

HMAC: key = base64 text of the secret, message = timestamp + METHOD + path + canonical content, timestamp within 60 s. Order:
EIP-712 over LimitOrderParams; the signature is taken with and without 0x. Written from the page, not from our signer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues._edgex_errors import ApiError, Word
from ops.sandbox.venues._edgex_listing import CHAIN_ID, COIN_ID, COIN_RESOLUTION, CONTRACT_ADDRESS, Listing
from ops.sandbox.verify import address_word, domain, eip712, keccak, recover_address, word

TIMESTAMP_WINDOW_NS = 60 * NS_PER_S
HEADERS = ("X-edgeX-Api-Key", "X-edgeX-Passphrase", "X-edgeX-Signature", "X-edgeX-Timestamp")
HEADER_NAMES = frozenset(name.lower() for name in HEADERS)

_DOMAIN = domain("EdgeX", "1", CHAIN_ID, CONTRACT_ADDRESS)
_BASE = b"OrderBase(uint256 nonce,address signer,uint64 accountId,uint256 expirationTimestamp)"
_ORDER = (
    b"LimitOrderParams(OrderBase base,int256 amountSynthetic,int256 amountCollateral,uint256 amountFee,uint64 "
    b"assetIdSynthetic,uint64 assetIdCollateral,bool isBuyingSynthetic,bytes32 parentOrderHash,uint256 subOrderIndex)"
)


class ApiKey(msgspec.Struct, frozen=True):
    """One API key of an account and the trading key that signs with it; the sandbox keeps it as the account's agent."""

    signer: str  # lower-case address
    key: str
    passphrase: str
    secret: str

    @property
    def agent(self) -> str:
        return msgspec.json.encode(self).decode()


class Keys:
    """The API keys of one exchange's accounts; `account` of a request that proves itself."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._known: dict[str, tuple[str, ApiKey]] = {}  # by API key: account, key

    def prove(self, headers: Mapping[str, str], method: str, path: str, content: str, now_ns: int) -> str:
        """The account that a request speaks for. Raises ApiError."""
        given = [headers.get(name, "") for name in HEADERS]
        if not all(given):
            raise ApiError(Word.HEADER_REQUIRED, header=HEADERS[given.index("")])
        key, passphrase, signature, timestamp = given
        found = self._find(key)
        if found is None:
            raise ApiError(Word.INVALID_API_KEY, apiKey=key)
        account, known = found
        if not timestamp.isdecimal() or abs(int(timestamp) * 1_000_000 - now_ns) > TIMESTAMP_WINDOW_NS:
            raise ApiError(Word.SIGNATURE_ERROR)
        message = f"{timestamp}{method}{path}{content}".encode()
        wanted = hmac.new(base64.b64encode(known.secret.encode()), message, hashlib.sha256).hexdigest()
        if passphrase != known.passphrase or not hmac.compare_digest(wanted, signature):
            raise ApiError(Word.SIGNATURE_ERROR)
        return account

    def signer_of(self, account: str) -> frozenset[str]:
        """Addresses of the trading keys of `account`."""
        self._index()
        return frozenset(known.signer for owner, known in self._known.values() if owner == account)

    def _find(self, key: str) -> tuple[str, ApiKey] | None:
        if key not in self._known:
            self._index()
        return self._known.get(key)

    def _index(self) -> None:
        for account in self._exchange.ledger.accounts.values():
            for agent in account.agents:
                known = msgspec.json.decode(agent, type=ApiKey)
                self._known[known.key] = (account.address, known)


def canonical(value: object) -> str:
    """The canonical string of a query or of a decoded JSON body."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict():
            return "&".join(f"{key}={canonical(value[key])}" for key in sorted(value))
        case list():
            return "&".join(map(canonical, value))
        case _:
            return str(value)


def order_signer(
    listing: Listing, account: str, signer: str, body: Mapping[str, str], is_buy: bool, value: Decimal
) -> str | None:
    """The address that signed an order of `account` worth `value`, when `signer` is the one that the struct names."""
    size, fee = Decimal(body["size"]), Decimal(body["l2LimitFee"])
    base = keccak(
        keccak(_BASE)
        + word(int(body["l2Nonce"]))
        + address_word(signer)
        + word(int(account))
        + word(int(body["expireTime"]) // 1000)
    )
    struct_hash = keccak(
        keccak(_ORDER + _BASE)
        + base
        + word(int(size * listing.scale))
        + word(int(value * COIN_RESOLUTION))
        + word(int(fee * COIN_RESOLUTION))
        + word(int(listing.contract_id))
        + word(int(COIN_ID))
        + word(int(is_buy))
        + bytes(64)
    )
    try:
        raw = bytes.fromhex(body["l2Signature"].removeprefix("0x"))
    except ValueError:
        return None
    if len(raw) != 65:
        return None
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big")
    return recover_address(eip712(_DOMAIN, struct_hash), r, s, raw[64])


def nonce_of(client_order_id: str) -> int:
    """The only l2Nonce that an order with this client id may carry."""
    return int(hashlib.sha256(client_order_id.encode()).hexdigest()[:8], 16)
