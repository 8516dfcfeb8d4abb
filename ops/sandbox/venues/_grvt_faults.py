"""GRVT's traffic and refusals, as faults need to know them (docs/venues/grvt.md 1, 3, 6, 10)."""

from __future__ import annotations

import http

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues._grvt_errors import ApiError, Code

PUBLIC = frozenset(
    {"all_instruments", "instruments", "instrument", "currency", "margin_rules", "mini", "ticker", "book", "trade",
     "trade_history", "funding", "time"}
)  # fmt: skip
SENDS = frozenset(
    {"create_order", "cancel_order", "cancel_all_orders", "cancel_on_disconnect", "set_initial_leverage",
     "set_position_config"}
)  # fmt: skip
MARKET = (b'{"stream":"v1.mini', b'{"stream":"v1.ticker', b'{"stream":"v1.book', b'{"stream":"v1.trade')
PRIVATE = (
    b'{"stream":"v1.order', b'{"stream":"v1.state', b'{"stream":"v1.fill', b'{"stream":"v1.position',
    b'{"stream":"v1.cancel',
)  # fmt: skip
CHAINED = b'{"stream":"v1.mini.d'


class Dialect:
    """See `ops.sandbox.fault_kinds.Dialect`. One path serves both kinds of sockets here."""

    auth = frozenset({Traffic.READS, Traffic.PRIVATE, Traffic.ORDERS})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        """A login opens the way for the private stream."""
        name = path.partition("?")[0].rpartition("/")[2]
        if name == "login":
            return Traffic.PRIVATE
        if name in SENDS:
            return Traffic.ORDERS
        return Traffic.MARKET if name in PUBLIC else Traffic.READS

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.MARKET, Traffic.PRIVATE})

    def of_frame(self, frame: bytes) -> Traffic | None:
        if frame.startswith(MARKET):
            return Traffic.MARKET
        return Traffic.PRIVATE if frame.startswith(PRIVATE) else None

    def is_book(self, frame: bytes) -> bool:
        """The one stream whose loss can be seen."""
        return frame.startswith(CHAINED)

    def http_error(self, status: int) -> Reply:
        known = {401: Code.UNAUTHENTICATED, 403: Code.FORBIDDEN, 404: Code.NOT_FOUND, 429: Code.RATE_LIMIT,
                 500: Code.INTERNAL, 503: Code.ENDPOINT_OFF}  # fmt: skip
        if status in known:
            return _reply(ApiError(known[status]))
        if status >= 500:
            return Reply(status, b"<html><body>upstream error</body></html>", "text/html")
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "error"
        body = {"code": int(Code.MALFORMED), "message": phrase, "status": status}
        return Reply(status, orjson.dumps(body))

    def refused_nonce(self) -> Reply:
        """Nonces have no order here: the nearest refusal is a signature whose time is over."""
        return _reply(ApiError(Code.SIGNATURE_EXPIRED))

    def expired_auth(self) -> Reply:
        return _reply(ApiError(Code.UNAUTHENTICATED))


def _reply(error: ApiError) -> Reply:
    return Reply(error.status, orjson.dumps(error.body()))
