"""Lighter's traffic and refusals, as faults need to know them (docs/venues/lighter.md 3, 6, 8, 10)."""

from __future__ import annotations

import http

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues._lighter_errors import ApiError, Code

_PUBLIC = frozenset(
    {"", "assetDetails", "orderBooks", "orderBookDetails", "orderBookOrders", "recentTrades", "exchangeStats",
     "funding-rates", "fundings"}
)  # fmt: skip
_SENDS = frozenset({"sendTx", "sendTxBatch"})
_MARKET = (b'{"channel":"ticker', b'{"channel":"order_book', b'{"channel":"trade', b'{"channel":"market_stats')
_PRIVATE = (b'{"channel":"account_', b'{"channel":"user_stats')
_UPDATE = b'"type":"update/'


class Dialect:
    """See `ops.sandbox.fault_kinds.Dialect`. One socket carries everything here."""

    auth = frozenset({Traffic.READS, Traffic.PRIVATE, Traffic.ORDERS})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        name = path.partition("?")[0].rpartition("/")[2]
        if name in _SENDS:
            return Traffic.ORDERS
        return Traffic.MARKET if name in _PUBLIC else Traffic.READS

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.MARKET, Traffic.PRIVATE})

    def of_frame(self, frame: bytes) -> Traffic | None:
        """Acknowledgements of subscriptions pass: a snapshot that never comes is another fault."""
        if _UPDATE not in frame[-60:]:
            return None
        if frame.startswith(_MARKET):
            return Traffic.MARKET
        return Traffic.PRIVATE if frame.startswith(_PRIVATE) else None

    def is_book(self, frame: bytes) -> bool:
        return frame.startswith(b'{"channel":"order_book')

    def http_error(self, status: int) -> Reply:
        if status == 429:
            return _reply(ApiError(Code.TOO_MANY_REQUESTS))
        if status == 405:
            return Reply(405, b"<html><body>Not Allowed</body></html>", "text/html")
        if status >= 500:
            return Reply(status, orjson.dumps({"code": 29500, "message": "internal server error"}))
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "error"
        return Reply(status, orjson.dumps({"code": int(Code.INVALID_PARAM), "message": phrase}))

    def refused_nonce(self) -> Reply:
        return _reply(ApiError(Code.INVALID_NONCE))

    def expired_auth(self) -> Reply:
        return _reply(ApiError(Code.AUTH, ": expired token"))


def _reply(error: ApiError) -> Reply:
    return Reply(error.status, orjson.dumps(error.body()))
