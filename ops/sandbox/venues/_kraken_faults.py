"""Kraken's traffic told apart, and its words for what faults do to it (docs/venues/kraken.md 3, 6, 8, 10)."""

from __future__ import annotations

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues import _kraken_errors as errors

PRIVATE_SOCKET = "/private/v2"
_ORDERS = ("AddOrder", "Amend", "EditOrder", "Cancel")
_MARKET = (b'{"channel":"ticker"', b'{"channel":"book"', b'{"channel":"trade"', b'{"channel":"instrument"')
_PRIVATE = (b'{"channel":"executions"', b'{"channel":"balances"')


class Dialect:
    """See ops.sandbox.fault_kinds.Dialect."""

    auth = frozenset({Traffic.ORDERS, Traffic.READS, Traffic.PRIVATE})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        name = path.partition("?")[0].rpartition("/")[2]
        if "/private/" not in path:
            return Traffic.MARKET
        if name == "GetWebSocketsToken":
            return Traffic.PRIVATE
        return Traffic.ORDERS if name.startswith(_ORDERS) else Traffic.READS

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.PRIVATE if path.startswith(PRIVATE_SOCKET) else Traffic.MARKET})

    def of_frame(self, frame: bytes) -> Traffic | None:
        if frame.startswith(_MARKET):
            return Traffic.MARKET
        return Traffic.PRIVATE if frame.startswith(_PRIVATE) else None

    def is_book(self, frame: bytes) -> bool:
        return frame.startswith(b'{"channel":"book"')

    def http_error(self, status: int) -> Reply:
        return Reply(status, b"<html><body>error code: %d</body></html>" % status, "text/html")

    def refused_nonce(self) -> Reply:
        return _refusal(errors.INVALID_NONCE)

    def expired_auth(self) -> Reply:
        return _refusal(errors.INVALID_KEY)


def _refusal(text: str) -> Reply:
    """Refusals come with status 200."""
    return Reply(200, orjson.dumps({"error": [text]}))
