"""The order methods of the private socket: messages in, answers out (docs/venues/kraken.md 7).

One answer per request, but a cancel is answered once per id. Every method does its work when it is awaited, so that what
the socket's faults do to orders can be done around it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from core.clock import Clock
from ops.sandbox.model import Order
from ops.sandbox.venues import _kraken_errors as errors
from ops.sandbox.venues._kraken_call import Call
from ops.sandbox.venues._kraken_errors import ApiError, invalid
from ops.sandbox.venues._kraken_listing import Listing
from ops.sandbox.venues._kraken_orders import Ask, Orders
from ops.sandbox.venues._kraken_private import BATCH, CANCEL_BATCH_MAX
from ops.sandbox.venues._kraken_rows import order_txid, side_of, stamp
from ops.sandbox.venues._kraken_streams import Answer

Row = dict[str, Any]
Work = Callable[[], Awaitable[list[bytes]]]
Method = Callable[[str, Row, Answer], Work]

ORDER_FIELDS = frozenset(
    {"order_type", "side", "symbol", "order_qty", "limit_price", "time_in_force", "post_only", "cl_ord_id", "order_userref",
     "fee_preference", "stp_type", "deadline", "validate", "margin", "reduce_only", "no_mpp", "token"}
)  # fmt: skip


class Trading:
    """`methods` by name. `amended` is told of every amendment that was made."""

    def __init__(self, orders: Orders, listing: Listing, clock: Clock) -> None:
        self._orders = orders
        self._listing = listing
        self._clock = clock
        self.amended: Callable[[Order], None] = lambda order: None
        self.methods: dict[str, Method] = {
            name: functools.partial(_method, handler)
            for name, handler in (
                ("add_order", self._add),
                ("amend_order", self._amend),
                ("cancel_order", self._cancel),
                ("cancel_all", self._cancel_all),
                ("cancel_all_orders_after", self._cancel_all_after),
                ("batch_add", self._add_batch),
                ("batch_cancel", self._cancel_batch),
            )
        }

    async def _add(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        order = await self._orders.place(call.address, self._ask(call, params))
        result: Row = {"order_id": order_txid(order.order_id) if order is not None else ""}
        if order is not None and order.client_id:
            result["cl_ord_id"] = order.client_id
        return [answer.done(result | {"order_userref": int(order.memo or 0) if order is not None else 0})]

    async def _add_batch(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        asked = call.rows("orders")
        if len(asked) not in BATCH:
            raise invalid("orders")
        told: list[Row] = []
        for row in asked:
            merged = row | {"symbol": call.text("symbol")}
            base = {"cl_ord_id": row["cl_ord_id"]} if row.get("cl_ord_id") else {}
            try:
                order = await self._orders.place(call.address, self._ask(Call(call.address, merged), merged))
            except ApiError as error:
                told.append(base | {"success": False, "error": error.text})
                continue
            name = order_txid(order.order_id) if order is not None else ""
            told.append(base | {"order_id": name, "success": True})
        return [answer.done({"orders": told})]

    async def _amend(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        qty = call.number("order_qty") if "order_qty" in params else None
        px = call.number("limit_price") if "limit_price" in params else None
        order_id, client_id = call.text("order_id"), call.text("cl_ord_id")
        order = await self._orders.amend(call.address, order_id, client_id, qty, px)
        self.amended(order)
        return [answer.done({"amend_id": "A" + order_txid(order.order_id)[1:], "order_id": order_txid(order.order_id)})]

    async def _cancel(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        names = [("order_id", name) for name in call.names("order_id")]
        names += [("cl_ord_id", name) for name in call.names("cl_ord_id")]
        groups = call.names("order_userref")
        if not names and not groups:
            raise invalid("order_id")
        answers: list[bytes] = []
        for field, name in names:
            wanted = {"order_id": "", "client_id": ""} | {"order_id" if field == "order_id" else "client_id": name}
            try:
                order = await self._orders.cancel(call.address, **wanted)
            except ApiError as error:
                answers.append(answer.failed(error.text))
                continue
            answers.append(answer.done({"order_id": order_txid(order.order_id)} | {field: name}))
        for group in groups:
            found = await self._orders.cancel_userref(call.address, group)
            answers += [answer.done({"order_id": order_txid(order.order_id)}) for order in found] or [
                answer.failed(errors.UNKNOWN_ORDER)
            ]
        return answers

    async def _cancel_batch(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        wanted = [(name, "") for name in call.names("orders")] + [("", name) for name in call.names("cl_ord_id")]
        if not 1 <= len(wanted) <= CANCEL_BATCH_MAX:
            raise invalid("orders")
        count = 0
        for order_id, client_id in wanted:
            try:
                await self._orders.cancel(call.address, order_id, client_id)
            except ApiError:
                continue
            count += 1
        return [answer.done({"count": count})]

    async def _cancel_all(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        return [answer.done({"count": await self._orders.cancel_all(call.address)})]

    async def _cancel_all_after(self, call: Call, params: Row, answer: Answer) -> list[bytes]:
        timeout = params.get("timeout")
        if not isinstance(timeout, int) or isinstance(timeout, bool):
            raise invalid("timeout")
        trigger_ns = self._orders.set_switch(call.address, timeout)
        told = stamp(trigger_ns) if trigger_ns else "0"
        return [answer.done({"currentTime": stamp(self._clock.wire_ns()), "triggerTime": told})]

    def _ask(self, call: Call, params: Row) -> Ask:
        unknown = params.keys() - ORDER_FIELDS
        if unknown:
            raise ApiError(f"Unsupported field: '{min(unknown)}'")
        side, kind = side_of(call.text("side")), call.text("order_type")
        if side is None or kind not in ("limit", "market"):
            raise invalid("side" if side is None else "order_type")
        pair = self._listing.by_name.get(call.text("symbol"))
        if pair is None:
            raise ApiError(f"Currency pair not supported {call.text('symbol')[:40]}")
        if call.flag("margin") or call.flag("reduce_only"):
            raise invalid("margin")
        return Ask(
            pair=pair, side=side, qty=call.number("order_qty"), px=call.number("limit_price") if kind == "limit" else None,
            tif=call.text("time_in_force"), post_only=call.flag("post_only"), client_id=call.text("cl_ord_id"),
            userref=call.text("order_userref"), self_trade=call.text("stp_type"), deadline=call.text("deadline"),
            validate=call.flag("validate"), fee_in_base=call.text("fee_preference") == "base",
        )  # fmt: skip


def _method(
    handler: Callable[[Call, Row, Answer], Awaitable[list[bytes]]], address: str, params: Row, answer: Answer
) -> Work:
    async def work() -> list[bytes]:
        try:
            return await handler(Call(address, params), params, answer)
        except ApiError as error:
            return [answer.failed(error.text)]

    return work
