"""Variational's traffic told apart, and its words for what faults do to it (docs/venues/variational.md 3, 6, 7 and 10)."""

from __future__ import annotations

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues._variational_errors import STAMP

_ORDERS = ("/api/orders/new", "/api/orders/cancel", "/api/settlement_pools/set_leverage")
_HEARTBEAT = b'{"type":"heartbeat"'
_STAMPED = tuple(STAMP.items())


class Dialect:
    """See ops.sandbox.fault_kinds.Dialect. Statistics are polled, so no socket carries market data."""

    auth = frozenset({Traffic.ORDERS, Traffic.READS, Traffic.PRIVATE})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        if path.startswith("/metadata/"):
            return Traffic.MARKET
        if path.startswith("/api/auth/"):
            return Traffic.PRIVATE
        return Traffic.ORDERS if path.startswith(_ORDERS) else Traffic.READS

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.PRIVATE})

    def of_frame(self, frame: bytes) -> Traffic | None:
        return Traffic.PRIVATE if frame.startswith(b'{"type"') and not frame.startswith(_HEARTBEAT) else None

    def is_book(self, frame: bytes) -> bool:
        return False

    def http_error(self, status: int) -> Reply:
        if status in (418, 429):
            return _reply(status, {"message": "Too many requests", "wait_until_seconds": 2})
        return Reply(status, b"<html><body>error code: %d</body></html>" % status, "text/html")

    def refused_nonce(self) -> Reply:
        """There are no nonces; what comes nearest is a quote that is not good any more."""
        return _reply(400, {"error_code": "quote_expired", "message": "quote expired"})

    def expired_auth(self) -> Reply:
        return _reply(401, {"message": "Invalid token"})


def _reply(status: int, body: dict[str, object]) -> Reply:
    return Reply(status, orjson.dumps(body), headers=_STAMPED)
