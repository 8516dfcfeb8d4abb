"""Aster's traffic told apart, and its words for what faults do to it (docs/venues/aster.md 3, 6, 8, 9, 10)."""

from __future__ import annotations

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues._aster_errors import ApiError, Code

LISTEN_KEY_PATH = "/fapi/v3/listenKey"
RETRY_AFTER_S = "2"
_KEY_DIGITS = 64
_EVENT = b'"e":"'
_BOOKS = (b"bookTicker", b"depthUpdate")
_PRIVATE = frozenset({b"ORDER_TRADE_UPDATE", b"ACCOUNT_UPDATE", b"ACCOUNT_CONFIG_UPDATE", b"MARGIN_CALL"})


class Dialect:
    """See ops.sandbox.fault_kinds.Dialect."""

    auth = frozenset({Traffic.ORDERS, Traffic.READS, Traffic.PRIVATE})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        if path.startswith(LISTEN_KEY_PATH):
            return Traffic.PRIVATE
        if method != "GET":
            return Traffic.ORDERS
        return Traffic.READS if "signature=" in path else Traffic.MARKET

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        name = path.rpartition("/")[2]
        is_key = len(name) == _KEY_DIGITS and "@" not in name
        return frozenset({Traffic.PRIVATE if is_key else Traffic.MARKET})

    def of_frame(self, frame: bytes) -> Traffic | None:
        event = _event(frame)
        if not event or event == b"listenKeyExpired":
            return None
        return Traffic.PRIVATE if event in _PRIVATE else Traffic.MARKET

    def is_book(self, frame: bytes) -> bool:
        return _event(frame) in _BOOKS

    def http_error(self, status: int) -> Reply:
        if status in (418, 429):
            body = orjson.dumps({"code": int(Code.TOO_MANY_REQUESTS), "msg": "Too many requests."})
            return Reply(status, body, headers=(("Retry-After", RETRY_AFTER_S),))
        return Reply(status, b"<html><body>%d</body></html>" % status, "text/html")

    def refused_nonce(self) -> Reply:
        return _refusal(ApiError(Code.NONCE_EXPIRED))

    def expired_auth(self) -> Reply:
        return _refusal(ApiError(Code.REJECTED_KEY, status=401))


def _event(frame: bytes) -> bytes:
    """The event type of a raw, wrapped or array frame; empty for answers to requests."""
    start = frame.find(_EVENT, 0, 120)
    if start < 0:
        return b""
    start += len(_EVENT)
    return frame[start : frame.find(b'"', start)]


def _refusal(error: ApiError) -> Reply:
    return Reply(error.status, orjson.dumps(error.body()))
