"""Signed operations of the simulated Pacifica, by REST and over the socket alike (docs/venues/pacifica.md 6, 7 and 10).

The checks come in the venue's order: shape, signature and time, price and lot, then the engine. Orders that may take
liquidity are held back before they reach it (the speed bump); post-only orders and cancels are not, and a batch that holds
one such order waits as a whole. An answer says that an order was taken, never what became of it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from core.clock import NS_PER_MS, Clock
from core.types import TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Contract, Placed, Refused, Reject
from ops.sandbox.venues import _pacifica_rows as rows
from ops.sandbox.venues._pacifica_errors import (
    BAD_REQUEST,
    BUSINESS,
    CANCEL_FAILED,
    NOT_AUTHORIZED,
    ApiError,
    Business,
    business,
    malformed,
    of_order,
    of_reject,
)
from ops.sandbox.venues._pacifica_signing import Request

MAX_ACTIONS = 10
MAX_TEXT = 40
OPERATIONS = {
    "orders/create": "create_order",
    "orders/create_market": "create_market_order",
    "orders/cancel": "cancel_order",
    "orders/cancel_all": "cancel_all_orders",
    "orders/edit": "edit_order",
    "account/leverage": "update_leverage",
    "account/margin": "update_margin_mode",
    "positions/add_isolated_margin": "add_isolated_margin",
}
BATCH = "orders/batch"
_BATCHED = {
    "Create": "create_order",
    "CreateMarket": "create_market_order",
    "Cancel": "cancel_order",
    "Edit": "edit_order",
}
CANCELS = frozenset({"cancel_order", "cancel_all_orders"})
Row = dict[str, Any]


class Done(NamedTuple):
    """What an operation answers: by REST `data`, over the socket `frame`."""

    data: Row | None
    frame: Row


class Actions:
    """One operation or a batch of them, from the bytes of a signed body. `changed` hears of new margin
    settings: (account, contract name)."""

    def __init__(
        self, exchange: Exchange, clock: Clock, order_delay_s: float, changed: Callable[[str, str], None]
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._order_delay_s = order_delay_s
        self._changed = changed
        self._kinds: dict[str, Callable[[str, Row], Done]] = {
            "create_order": self._create,
            "create_market_order": self._create_market,
            "cancel_order": self._cancel,
            "cancel_all_orders": self._cancel_all,
            "edit_order": self._edit,
            "update_leverage": self._leverage,
            "update_margin_mode": self._margin_mode,
            "add_isolated_margin": self._add_margin,
        }

    async def perform(self, kind: str, body: bytes) -> Done:
        """One operation. Raises ApiError."""
        request = self._authorized(kind, _parsed(body))
        if _takes(kind, request.payload):
            await asyncio.sleep(self._order_delay_s)
        return self._kinds[kind](request.account, request.payload)

    async def batch(self, body: bytes) -> Done:
        """Each action signed by itself; one bad signature refuses them all, other failures are their own."""
        parsed = _parsed(body)
        actions = parsed.get("actions") if isinstance(parsed, dict) else None
        if not isinstance(actions, list) or not 0 < len(actions) <= MAX_ACTIONS:
            raise malformed(f"Invalid request: a batch holds 1 to {MAX_ACTIONS} actions")
        requests: list[tuple[str, Request]] = []
        for action in actions:
            kind = _BATCHED.get(str(action.get("type"))) if isinstance(action, dict) else None
            if kind is None:
                raise malformed("Invalid request: unknown action type")
            requests.append((kind, self._authorized(kind, action.get("data"))))
        if any(_takes(kind, request.payload) for kind, request in requests):
            await asyncio.sleep(self._order_delay_s)
        results = [self._one(kind, request) for kind, request in requests]
        return Done({"results": results}, {"results": results})

    def _one(self, kind: str, request: Request) -> Row:
        try:
            done = self._kinds[kind](request.account, request.payload)
        except ApiError as error:
            return {"success": False, "order_id": None, "error": error.text}
        return {"success": True, "order_id": (done.data or {}).get("order_id"), "error": None}

    def _authorized(self, kind: str, body: Any) -> Request:
        request = Request(body)
        request.verify(kind, self._clock.wire_ns() // NS_PER_MS)
        if self._exchange.account(request.account) is None:
            raise business(Business.ACCOUNT_NOT_FOUND)
        if self._exchange.master_of(request.signer) != request.account:
            raise ApiError(BAD_REQUEST, NOT_AUTHORIZED)
        return request

    # -- orders -----------------------------------------------------------------------------------------------------

    def _create(self, account: str, payload: Row) -> Done:
        _only(payload, {"symbol", "price", "amount", "side", "tif", "reduce_only"},
              {"client_order_id", "take_profit", "stop_loss", "builder_code"})  # fmt: skip
        tif = rows.TIF_OF.get(str(payload["tif"]))
        if tif is None:
            raise malformed("Invalid request: unknown tif")
        px = _decimal(payload["price"])
        return self._place(account, payload, px, tif)

    def _create_market(self, account: str, payload: Row) -> Done:
        """Takes what the book has; the bound that `slippage_percent` sets is checked for its form only."""
        _only(payload, {"symbol", "amount", "side", "slippage_percent", "reduce_only"},
              {"client_order_id", "take_profit", "stop_loss", "builder_code"})  # fmt: skip
        _decimal(payload["slippage_percent"])
        return self._place(account, payload, None, TimeInForce.IOC)

    def _place(self, account: str, payload: Row, px: Decimal | None, tif: TimeInForce) -> Done:
        contract, side = self._contract(payload), rows.SIDE_OF.get(str(payload["side"]))
        if side is None or not isinstance(payload["reduce_only"], bool):
            raise malformed("Invalid request: side or reduce_only")
        if any(payload.get(name) is not None for name in ("take_profit", "stop_loss", "builder_code")):
            raise business(Business.UNSUPPORTED_OPERATION)
        client_id = _uuid(payload.get("client_order_id"))
        if client_id is not None and self._is_used(account, client_id):
            raise of_reject(Reject.DUPLICATE_CLIENT_ID)
        before = self._exchange.position(account, contract.name).qty
        placed = self._exchange.place(
            account, contract.name, side, _decimal(payload["amount"]), px, tif,
            reduce_only=payload["reduce_only"], client_id=client_id,
        )  # fmt: skip
        return self._taken(placed, contract, bool(before))

    def _is_used(self, account: str, client_id: str) -> bool:
        """An order that the engine refused leaves its id free."""
        known = self._exchange.order(account, client_id=client_id)
        return known is not None and rows.is_visible(known)

    def _taken(self, placed: Placed, contract: Contract, has_position: bool) -> Done:
        order = placed.order
        if not rows.is_visible(order):
            raise of_order(order, contract, has_position)
        frame = {"I": order.client_id, "i": order.order_id, "s": order.name}
        return Done({"order_id": order.order_id}, frame)

    def _cancel(self, account: str, payload: Row) -> Done:
        _only(payload, {"symbol"}, {"order_id", "client_order_id"})
        contract = self._contract(payload)
        order_id, client_id = _which(payload)
        order = self._exchange.order(account, order_id, client_id)
        known = order is not None and order.name == contract.name
        if not known or isinstance(self._exchange.cancel(account, order_id, client_id), Refused):
            raise ApiError(BUSINESS, CANCEL_FAILED, Business.ORDER_NOT_FOUND.value)
        return Done(None, {"I": client_id, "i": order_id, "s": contract.name})

    def _cancel_all(self, account: str, payload: Row) -> Done:
        _only(payload, {"all_symbols", "exclude_reduce_only"}, {"symbol"})
        every, spare = payload["all_symbols"], payload["exclude_reduce_only"]
        if not isinstance(every, bool) or not isinstance(spare, bool) or every == ("symbol" in payload):
            raise malformed("Invalid request: symbol goes with all_symbols false, and only with it")
        name = None if every else self._contract(payload).name
        found = [order for order in self._exchange.open_orders(account, name) if not (spare and order.reduce_only)]
        for order in found:
            self._exchange.cancel(account, order.order_id)
        data = {"cancelled_count": len(found)}
        return Done(data, data)

    def _edit(self, account: str, payload: Row) -> Done:
        """Cancels and creates anew, post-only, under a new order id."""
        _only(payload, {"symbol", "price"}, {"amount", "order_id", "client_order_id"})
        contract, px = self._contract(payload), _decimal(payload["price"])
        order = self._exchange.order(account, *_which(payload))
        if order is None or not order.is_open or order.name != contract.name:
            raise of_reject(Reject.UNKNOWN_ORDER)
        amount = _decimal(payload["amount"]) if "amount" in payload else order.remaining
        self._exchange.cancel(account, order.order_id)
        placed = self._exchange.place(
            account, contract.name, order.side, amount, px, TimeInForce.POST_ONLY,
            reduce_only=order.reduce_only, client_id=order.client_id,
        )  # fmt: skip
        return self._taken(placed, contract, bool(self._exchange.position(account, contract.name).qty))

    # -- settings ---------------------------------------------------------------------------------------------------

    def _leverage(self, account: str, payload: Row) -> Done:
        _only(payload, {"symbol", "leverage"}, set())
        contract, leverage = self._contract(payload), payload["leverage"]
        if isinstance(leverage, bool) or not isinstance(leverage, int):
            raise malformed("Invalid request: leverage is a whole number")
        cross = self._exchange.position(account, contract.name).cross
        return self._set(account, contract.name, leverage, cross)

    def _margin_mode(self, account: str, payload: Row) -> Done:
        _only(payload, {"symbol", "is_isolated"}, set())
        contract = self._contract(payload)
        if not isinstance(payload["is_isolated"], bool):
            raise malformed("Invalid request: is_isolated is a boolean")
        leverage = self._exchange.position(account, contract.name).leverage
        return self._set(account, contract.name, leverage, not payload["is_isolated"])

    def _set(self, account: str, name: str, leverage: int, cross: bool) -> Done:
        refused = self._exchange.set_leverage(account, name, leverage, cross)
        if refused is not None:
            raise of_reject(refused.reason)
        self._changed(account, name)
        return Done(None, {})

    def _add_margin(self, account: str, payload: Row) -> Done:
        _only(payload, {"symbol", "amount"}, set())
        contract = self._contract(payload)
        refused = self._exchange.change_isolated_margin(account, contract.name, _decimal(payload["amount"]))
        if refused is not None:
            raise of_reject(refused.reason)
        return Done(None, {})

    def _contract(self, payload: Row) -> Contract:
        contract = self._exchange.contracts.get(str(payload["symbol"]))
        if contract is None:
            raise business(Business.BOOK_NOT_FOUND)
        return contract


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise malformed("Failed to parse the request body as JSON") from None


def _takes(kind: str, payload: Row) -> bool:
    """Whether the operation may take liquidity."""
    return kind == "create_market_order" or (kind == "create_order" and payload.get("tif") not in ("ALO", "TOB"))


def _only(payload: Row, required: set[str], optional: set[str]) -> None:
    missing, strange = required - payload.keys(), payload.keys() - required - optional
    if missing:
        raise malformed(f"Invalid request: missing field `{sorted(missing)[0]}`")
    if strange:
        raise malformed(f"Invalid request: unknown field `{sorted(strange)[0]}`")


def _which(payload: Row) -> tuple[int | None, str | None]:
    """Of (order_id, client_order_id), the one that is given."""
    order_id, client_id = payload.get("order_id"), _uuid(payload.get("client_order_id"))
    if (order_id is None) == (client_id is None) or isinstance(order_id, bool) or not isinstance(order_id, int | None):
        raise malformed("Invalid request: either order_id or client_order_id")
    return order_id, client_id


def _uuid(text: Any) -> str | None:
    """A full UUID as text, or nothing."""
    if text is None:
        return None
    try:
        return str(uuid.UUID(text)) if isinstance(text, str) and len(text) == 36 else _no_uuid()
    except ValueError:
        return _no_uuid()


def _no_uuid() -> str:
    raise malformed("Invalid request: client_order_id: UUID parsing failed")


def _decimal(text: Any) -> Decimal:
    """A plain decimal string; a number is not one."""
    digits = text.replace(".", "", 1) if isinstance(text, str) and len(text) <= MAX_TEXT else ""
    if not digits.isascii() or not digits.isdecimal():
        raise malformed("Invalid request: a decimal string was expected")
    return Decimal(text)
