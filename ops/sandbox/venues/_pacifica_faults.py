"""Pacifica's traffic told apart, and its words for what faults do to it (docs/venues/pacifica.md 3, 6, 8 and 10)."""

from __future__ import annotations

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues._pacifica_errors import BAD_REQUEST, INVALID_MESSAGE, NOT_AUTHORIZED, RATE_EXCEEDED, TOO_MANY

_CHANNEL = b'{"channel":"'
_BOOKS = (b"bbo", b"book")
_MARKET = frozenset({b"bbo", b"book", b"prices", b"trades"})


class Dialect:
    """See ops.sandbox.fault_kinds.Dialect. Only the agent can run out: reads and streams are not authenticated. Messages
    have no nonce; one that is refused for its time is the nearest there is."""

    auth = frozenset({Traffic.ORDERS})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        if method == "POST":
            return Traffic.ORDERS
        return Traffic.READS if "account=" in path or "order_id=" in path else Traffic.MARKET

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.MARKET, Traffic.PRIVATE})

    def of_frame(self, frame: bytes) -> Traffic | None:
        channel = _channel(frame)
        if channel in _MARKET:
            return Traffic.MARKET
        return Traffic.PRIVATE if channel.startswith(b"account_") else None

    def is_book(self, frame: bytes) -> bool:
        return _channel(frame) in _BOOKS

    def http_error(self, status: int) -> Reply:
        text = RATE_EXCEEDED if status == TOO_MANY else f"error code: {status}"
        return Reply(status, orjson.dumps({"success": False, "data": None, "error": text, "code": status}))

    def refused_nonce(self) -> Reply:
        return Reply(BAD_REQUEST, INVALID_MESSAGE.encode(), "text/plain")

    def expired_auth(self) -> Reply:
        body = {"success": False, "data": None, "error": NOT_AUTHORIZED, "code": BAD_REQUEST}
        return Reply(BAD_REQUEST, orjson.dumps(body))


def _channel(frame: bytes) -> bytes:
    """Every frame but the answers to operations begins with its channel."""
    if not frame.startswith(_CHANNEL):
        return b""
    return frame[len(_CHANNEL) : frame.find(b'"', len(_CHANNEL))]
