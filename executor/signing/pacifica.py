"""Pacifica's requests, signed (docs/venues/pacifica.md 6): ed25519 over the canonical JSON of operation and payload.

    message  {"data":{payload},"expiry_window":..,"timestamp":..,"type":".."}     keys sorted at every depth, no blanks
    body     {"account":..,"agent_wallet":..,"signature":..,"timestamp":..,"expiry_window":..,<payload>}

The server rebuilds the message from the body it parsed, so the payload's JSON types are part of what is signed: prices and
amounts are strings, ids and leverage numbers. Here one text of the payload goes into both, so they cannot differ. Orders
and cancels are written by hand in sorted order; everything rarer goes through `operation`, which sorts.

`account`, `agent_wallet` and the signature are not signed. There are no nonces: a message is good until `timestamp` plus
`expiry_window`, by the venue's clock.
"""

from __future__ import annotations

from typing import Any

import msgspec

from core.types import Side, TimeInForce
from executor.signing._ed25519 import SigningKey

Payload = dict[str, Any]

SIDE_WIRE = {Side.BUY: "bid", Side.SELL: "ask"}
TIF_WIRE = {TimeInForce.GTC: "GTC", TimeInForce.IOC: "IOC", TimeInForce.POST_ONLY: "ALO"}
CREATE_ORDER, CANCEL_ORDER, CANCEL_ALL = "create_order", "cancel_order", "cancel_all_orders"
UPDATE_LEVERAGE, UPDATE_MARGIN_MODE = "update_leverage", "update_margin_mode"

_sorted_json = msgspec.json.Encoder(order="sorted").encode


class Signer:
    """Signs for `account` (base58 address) with its agent's key, or with the account's own. `address` is the key's."""

    __slots__ = ("_head", "_key", "account", "address")

    def __init__(self, private_key: str, *, account: str) -> None:
        self._key = SigningKey(private_key)
        self.account = account
        self.address = self._key.public
        agent = "" if self.address == account else f'"agent_wallet":"{self.address}",'
        self._head = f'{{"account":"{account}",{agent}"signature":"'.encode()

    def order(
        self,
        symbol: str,
        side: Side,
        px: str,
        qty: str,
        time_in_force: TimeInForce,
        reduce_only: bool,
        client_order_id: str | None,
        timestamp_ms: int,
        window_ms: int,
    ) -> bytes:
        """The body of a limit order; `client_order_id` is a full UUID."""
        client = "" if client_order_id is None else f'"client_order_id":"{client_order_id}",'
        payload = (
            f'"amount":"{qty}",{client}"price":"{px}","reduce_only":{"true" if reduce_only else "false"},'
            f'"side":"{SIDE_WIRE[side]}","symbol":"{symbol}","tif":"{TIF_WIRE[time_in_force]}"'
        )
        return self._body(CREATE_ORDER, payload.encode(), timestamp_ms, window_ms)

    def cancel(self, symbol: str, order_id: int, timestamp_ms: int, window_ms: int) -> bytes:
        """The body of a cancel by the venue's order id."""
        return self._body(
            CANCEL_ORDER, b'"order_id":%d,"symbol":"%b"' % (order_id, symbol.encode()), timestamp_ms, window_ms
        )

    def cancel_by_client_id(self, symbol: str, client_order_id: str, timestamp_ms: int, window_ms: int) -> bytes:
        payload = f'"client_order_id":"{client_order_id}","symbol":"{symbol}"'
        return self._body(CANCEL_ORDER, payload.encode(), timestamp_ms, window_ms)

    def operation(self, kind: str, payload: Payload, timestamp_ms: int, window_ms: int) -> bytes:
        """The body of any operation; optional fields that are not meant must be left out, not null."""
        return self._body(kind, _sorted_json(payload)[1:-1], timestamp_ms, window_ms)

    def _body(self, kind: str, payload: bytes, timestamp_ms: int, window_ms: int) -> bytes:
        """`payload` is canonical JSON without its braces."""
        signature = self._key.sign(message(kind, payload, timestamp_ms, window_ms))
        comma = b"," if payload else b""
        return b'%b%b","timestamp":%d,"expiry_window":%d%b%b}' % (
            self._head,
            signature,
            timestamp_ms,
            window_ms,
            comma,
            payload,
        )

    def __repr__(self) -> str:
        return f"Signer(pacifica, {self.address})"


def message(kind: str, payload: bytes, timestamp_ms: int, window_ms: int) -> bytes:
    """The bytes signed; `payload` as canonical JSON without its braces."""
    return b'{"data":{%b},"expiry_window":%d,"timestamp":%d,"type":"%b"}' % (
        payload,
        window_ms,
        timestamp_ms,
        kind.encode(),
    )


def frame(request_id: str, kind: str, body: bytes) -> bytes:
    """A signed body as an operation over the WebSocket; `request_id` is a full UUID (docs/venues/pacifica.md 7)."""
    return b'{"id":"%b","params":{"%b":%b}}' % (request_id.encode(), kind.encode(), body)
