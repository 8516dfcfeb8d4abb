"""GRVT's account reads (docs/venues/grvt.md 2, 5, 8). Histories come newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from core.clock import Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Fill, Order
from ops.sandbox.venues import _grvt_signing as signing
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_listing import MIN_LEVERAGE, QUOTE, Listing, Market
from ops.sandbox.venues._grvt_orders import Orders, own
from ops.sandbox.venues._grvt_rows import (
    NO_ID,
    SETTLE_INDEX,
    Memo,
    account_row,
    fill_row,
    order_row,
    payment_row,
    position_row,
    tier_row,
)
from ops.sandbox.venues._grvt_sessions import main_address

PAGE, PAGE_MAX = 500, 1000
T = TypeVar("T")


class Account:
    """Handlers take the request's body and the session's account."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing, orders: Orders) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._orders = orders

    def sub_accounts(self, body: Row, address: str) -> Row:
        return {"sub_account_ids": [address]}

    def summary(self, body: Row, address: str) -> Row:
        own(body, address)
        return {"result": account_row(self._exchange, address, self._markets(body), self._clock.wire_ns())}

    def aggregated(self, body: Row, address: str) -> Row:
        """The main account with its trading account."""
        equity = account_row(self._exchange, address, [], self._clock.wire_ns())["total_equity"]
        return {"result": _funding_account(address, equity)}

    def funding_account(self, body: Row, address: str) -> Row:
        return {"result": _funding_account(address, "0.0"), "tier": tier_row()}

    def positions(self, body: Row, address: str) -> Row:
        """Flat ones are absent."""
        own(body, address)
        now_ns = self._clock.wire_ns()
        held = [market for market in self._markets(body) if self._exchange.position(address, market.name).qty]
        return {"result": [position_row(self._exchange, address, market, now_ns) for market in held]}

    def leverages(self, body: Row, address: str) -> Row:
        own(body, address)
        rows = []
        for market in self._listing.by_name.values():
            position = self._exchange.position(address, market.name)
            rows.append({
                "instrument": market.name, "leverage": f"{position.leverage}.0", "min_leverage": f"{MIN_LEVERAGE}.0",
                "max_leverage": f"{market.max_leverage}.0", "margin_type": "CROSS" if position.cross else "ISOLATED",
            })  # fmt: skip
        return {"results": rows}

    def open_orders(self, body: Row, address: str) -> Row:
        own(body, address)
        names = {market.name for market in self._markets(body)}
        orders = [order for order in self._exchange.open_orders(address) if order.name in names]
        return {"result": [self._order(order) for order in orders]}

    def order_history(self, body: Row, address: str) -> Row:
        """Finished ones, by the time of their end."""
        own(body, address)
        rows = [self._order(order) for order in self._exchange.orders(address) if not order.is_open]
        rows += self._orders.unplaced_of(address)
        rows.sort(key=lambda row: int(row["state"]["update_time"]))
        return _page(body, rows, lambda row: int(row["state"]["update_time"]), lambda row: row)

    def fill_history(self, body: Row, address: str) -> Row:
        own(body, address)
        names = {market.name for market in self._markets(body)}
        fills = [fill for fill in self._exchange.fills(address) if fill.name in names]
        return _page(body, fills, lambda fill: fill.time_ns, self.fill)

    def fill(self, fill: Fill) -> Row:
        """One execution; the signer is its order's."""
        order = self._exchange.order(fill.account, order_id=fill.order_id)
        signer = Memo.of(order).signer if order is not None else NO_ID
        return fill_row(fill, self._listing.by_name[fill.name], signer)

    def payments(self, body: Row, address: str) -> Row:
        own(body, address)
        wanted = body.get("instrument")
        payments = [each for each in self._exchange.payments(address) if not wanted or each.name == wanted]
        return _page(body, payments, lambda each: each.time_ns, payment_row)

    def _order(self, order: Order) -> Row:
        return order_row(order, self._listing.by_name[order.name])

    def _markets(self, body: Row) -> list[Market]:
        """Those that the request's filters leave."""
        bases, quotes, kinds = (body.get(name) or [] for name in ("base", "quote", "kind"))
        return [
            market
            for market in self._listing.by_name.values()
            if (not bases or market.base in bases)
            and (not quotes or QUOTE in quotes)
            and (not kinds or market.kind in kinds)
        ]


def _funding_account(address: str, equity: str) -> Row:
    balance = {"currency": QUOTE, "balance": equity, "index_price": SETTLE_INDEX}
    return {"main_account_id": main_address(address), "total_equity": equity, "spot_balances": [balance]}


def _page(body: Row, rows: list[T], time_ns: Callable[[T], int], shown: Callable[[T], Row]) -> Row:
    """Of rows oldest first: those within the times asked for, newest first; `next` is where the following page begins."""
    start_ns, end_ns = (signing.whole(body.get(name) or fallback) for name, fallback in (
        ("start_time", 0), ("end_time", (1 << 63) - 1)
    ))  # fmt: skip
    limit = signing.whole(body.get("limit") or PAGE)
    if not 1 <= limit <= PAGE_MAX:
        raise ApiError(Code.MALFORMED)
    fits = [row for row in rows[::-1] if start_ns <= time_ns(row) <= end_ns]
    first = signing.whole(body.get("cursor") or 0)
    last = first + limit
    return {"result": [shown(row) for row in fits[first:last]], "next": str(last) if last < len(fits) else ""}
