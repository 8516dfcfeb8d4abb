"""EdgeX's traffic told apart, and its words for what faults do to it (docs/venues/edgex.md 1, 3, 8, 10)."""

from __future__ import annotations

import orjson

from ops.sandbox.fault_kinds import Reply, Traffic
from ops.sandbox.venues._edgex_errors import ApiError, Word

PRIVATE_WS = "/private/ws"
_EDITS = ("order/createOrder", "order/cancel", "account/updateLeverageSetting", "account/setMarginMode")
_QUOTE = b'{"type":"quote-event"'
_BOOK = b'{"type":"quote-event","channel":"depth.'
_TRADE = b'{"type":"trade-event"'


class Dialect:
    """See ops.sandbox.fault_kinds.Dialect. Nothing of this venue runs out by itself; a key that is revoked comes nearest."""

    auth = frozenset({Traffic.ORDERS, Traffic.READS})

    def of_request(self, method: str, path: str, body: bytes) -> Traffic:
        _, private, rest = path.partition("/private/")
        if not private:
            return Traffic.MARKET
        return Traffic.ORDERS if rest.startswith(_EDITS) else Traffic.READS

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return frozenset({Traffic.PRIVATE if PRIVATE_WS in path else Traffic.MARKET})

    def of_frame(self, frame: bytes) -> Traffic | None:
        if frame.startswith(_QUOTE):
            return Traffic.MARKET
        return Traffic.PRIVATE if frame.startswith(_TRADE) else None

    def is_book(self, frame: bytes) -> bool:
        return frame.startswith(_BOOK)

    def http_error(self, status: int) -> Reply:
        if status == 429:
            return _refusal(ApiError(Word.RATE_LIMIT_EXCEEDED))
        if status >= 500:
            return Reply(status, b"<html><body>%d</body></html>" % status, "text/html")
        return Reply(status, orjson.dumps({"code": Word.PARAM_INVALID.value, "data": None, "msg": None}))

    def refused_nonce(self) -> Reply:
        return _refusal(ApiError(Word.INVALID_L2_NONCE))

    def expired_auth(self) -> Reply:
        return _refusal(ApiError(Word.INVALID_API_KEY))


def _refusal(error: ApiError) -> Reply:
    return Reply(error.status, orjson.dumps({"code": error.word.value, "data": None, "msg": error.text}))
