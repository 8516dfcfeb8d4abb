"""Hyperliquid's traffic told apart, and its words for what faults do to it (docs/venues/hyperliquid.md 3, 7, 9, 10)."""

from __future__ import annotations

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic

_CHANNEL = b'{"channel":"'
_BOOKS = (b"bbo", b"l2Book")
_MARKET = frozenset({b"bbo", b"l2Book", b"trades", b"activeAssetCtx", b"allMids"})
_PRIVATE = frozenset(
    {b"orderUpdates", b"userFills", b"user", b"userFundings", b"clearinghouseState", b"openOrders", b"activeAssetData",
     b"spotState"}
)  # fmt: skip


class Dialect:
    """See ops.sandbox.fault_kinds.Dialect. Only the agent can run out here: reads and streams are not authenticated."""

    auth = frozenset({Traffic.ORDERS})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        if path == "/exchange":
            return Traffic.ORDERS
        return Traffic.READS if b'"user"' in body else Traffic.MARKET

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.MARKET, Traffic.PRIVATE})

    def of_frame(self, frame: bytes) -> Traffic | None:
        channel = _channel(frame)
        if channel in _MARKET:
            return Traffic.MARKET
        return Traffic.PRIVATE if channel in _PRIVATE else None

    def is_book(self, frame: bytes) -> bool:
        return _channel(frame) in _BOOKS

    def http_error(self, status: int) -> Reply:
        return Reply(status, b"Too many requests" if status == 429 else b"error code: %d" % status, "text/plain")

    def refused_nonce(self) -> Reply:
        return _refusal("Invalid nonce: nonce too low 0 < 1")

    def expired_auth(self) -> Reply:
        return _refusal("User or API Wallet 0x0000000000000000000000000000000000000000 does not exist.")


def _channel(frame: bytes) -> bytes:
    """Every frame of this venue but the greeting begins with its channel."""
    if not frame.startswith(_CHANNEL):
        return b""
    return frame[len(_CHANNEL) : frame.find(b'"', len(_CHANNEL))]


def _refusal(text: str) -> Reply:
    return Reply(200, orjson.dumps({"status": "err", "response": text}))
