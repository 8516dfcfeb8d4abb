"""Lighter's account reads (docs/venues/lighter.md 6, 8): what is public by index, and what needs an auth token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from core.clock import NS_PER_MS
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import AccountState
from ops.sandbox.venues._lighter_call import Call, Row, whole
from ops.sandbox.venues._lighter_desk import Desk
from ops.sandbox.venues._lighter_errors import ApiError, Code, invalid_param
from ops.sandbox.venues._lighter_keys import ALL_KEYS, Keys
from ops.sandbox.venues._lighter_limits import Limits
from ops.sandbox.venues._lighter_listing import Listing, Market
from ops.sandbox.venues._lighter_rows import CLIENT_LIMIT, account_row, fill_row, order_row, payment_row

PAGE_MAX = 100
CLIENTS_MAX = 20
ORDERS_KEPT_MS = 86_400_000
T = TypeVar("T")


class Account:
    """Handlers; `own_account` of the call guards what is private."""

    def __init__(
        self, exchange: Exchange, keys: Keys, desk: Desk, listing: Listing, limits: Limits, now_ns: Callable[[], int]
    ) -> None:
        self._exchange = exchange
        self._keys = keys
        self._desk = desk
        self._listing = listing
        self._limits = limits
        self._now_ns = now_ns

    # -- public -----------------------------------------------------------------------------------------------------

    def account(self, call: Call) -> Row:
        by, value = call.text("by"), call.text("value")
        if by not in ("index", "l1_address"):
            raise invalid_param("by")
        account = self._keys.account(call.integer("value")) if by == "index" else self._keys.by_l1(value)
        if account is None:
            raise ApiError(Code.ACCOUNT_NOT_FOUND)
        return {"code": 200, "total": 1, "accounts": [account_row(self._exchange, account, self._listing)]}

    def accounts_by_l1(self, call: Call) -> Row:
        address = call.text("l1_address")
        account = self._keys.by_l1(address)
        if account is None:
            raise ApiError(Code.ACCOUNT_NOT_FOUND)
        row = account_row(self._exchange, account, self._listing)
        names = ("code", "account_type", "index", "l1_address", "cancel_all_time", "total_order_count", "status",
                 "total_isolated_order_count", "pending_order_count", "available_balance", "collateral",
                 "account_trading_mode", "transaction_time")  # fmt: skip
        return {"code": 200, "l1_address": row["l1_address"], "sub_accounts": [{name: row[name] for name in names}]}

    def api_keys(self, call: Call) -> Row:
        account = self._known(call.integer("account_index"))
        wanted = call.integer("api_key_index", default=ALL_KEYS, most=ALL_KEYS)
        rows = [
            {"account_index": int(account.address), "api_key_index": index, "public_key": key, "transaction_time": 0,
             "nonce": self._desk.next_nonce(int(account.address), index)}
            for index, key in self._keys.keys_of(account).items()
            if wanted in (ALL_KEYS, index)
        ]  # fmt: skip
        if not rows:
            raise ApiError(Code.API_KEY_NOT_FOUND)
        return {"code": 200, "api_keys": rows}

    def next_nonce(self, call: Call) -> Row:
        """An account or key that nobody knows has nonce 0, and is no error."""
        account, key = call.integer("account_index"), call.integer("api_key_index", most=ALL_KEYS)
        return {"code": 200, "nonce": self._desk.next_nonce(account, key)}

    def tx(self, call: Call) -> Row:
        if call.text("by") != "hash":
            raise invalid_param("by")
        row = self._desk.find(call.text("value"))
        if row is None:
            raise ApiError(Code.TX_NOT_FOUND)
        return {"code": 200, **row}

    # -- with a token -----------------------------------------------------------------------------------------------

    def limits(self, call: Call) -> Row:
        call.own_account()
        return {
            "code": 200, "max_llp_percentage": 25, "max_llp_amount": "0.000000", "user_tier": self._limits.tier,
            "user_tier_name": self._limits.tier, "can_create_public_pool": False, "current_maker_fee_tick": 0,
            "current_taker_fee_tick": 0, "effective_lit_stakes": "0", "leased_lit": "0", "user_tier_last_update": 0,
        }  # fmt: skip

    def active_orders(self, call: Call) -> Row:
        address = call.own_account()
        market = self._market(call)
        orders = self._exchange.open_orders(address, market.name if market is not None else None)
        return {"code": 200, "orders": [order_row(order, self._listing.by_name[order.name]) for order in orders[::-1]]}

    def inactive_orders(self, call: Call) -> Row:
        """Newest first; `cursor` goes on behind the last row."""
        address, market = call.own_account(), self._market(call)
        orders = [order for order in self._exchange.orders(address)[::-1] if not order.is_open]
        orders = [order for order in orders if market is None or order.name == market.name]
        page, cursor = _page(call, orders)
        rows = [order_row(order, self._listing.by_name[order.name]) for order in page]
        return {"code": 200, "orders": rows} | cursor

    def orders_by_client(self, call: Call) -> Row:
        """Open ones and those of the last day, by client index: how an unknown outcome is settled."""
        address = call.own_account()
        numbers = [whole(text) for text in call.text("client_order_indexes").split(",")]
        wanted = [number for number in numbers if number is not None and number < CLIENT_LIMIT]
        if len(wanted) != len(numbers) or len(wanted) > CLIENTS_MAX:
            raise invalid_param("client_order_indexes")
        oldest_ns = self._now_ns() - ORDERS_KEPT_MS * NS_PER_MS
        found = [self._exchange.order(address, client_id=str(number)) for number in wanted]
        recent = [order for order in found if order is not None and (order.is_open or order.updated_ns >= oldest_ns)]
        return {"code": 200, "orders": [order_row(order, self._listing.by_name[order.name]) for order in recent]}

    def trades(self, call: Call) -> Row:
        """An account's own executions, newest first."""
        address, market = call.own_account(), self._market(call)
        if call.text("sort_by") not in ("timestamp", "trade_id", "block_height"):
            raise invalid_param("sort_by")
        fills = [fill for fill in self._exchange.fills(address)[::-1] if market is None or fill.name == market.name]
        page, cursor = _page(call, fills)
        rows = [
            fill_row(fill, self._listing.by_name[fill.name], self._exchange.order(address, fill.order_id))
            for fill in page
        ]
        return {"code": 200, "trades": rows} | cursor

    def position_funding(self, call: Call) -> Row:
        address, market = call.own_account(), self._market(call)
        payments = [row for row in self._exchange.payments(address)[::-1] if market is None or row.name == market.name]
        page, cursor = _page(call, payments)
        return {
            "code": 200,
            "position_fundings": [payment_row(row, self._listing.by_name[row.name]) for row in page],
        } | cursor

    def account_txs(self, call: Call) -> Row:
        """Those of one's own that this process remembers, newest first."""
        address = call.own_account()
        page, cursor = _page(call, self._desk.txs_of(int(address)))
        return {"code": 200, "txs": page} | cursor

    def _known(self, index: int) -> AccountState:
        account = self._keys.account(index)
        if account is None:
            raise ApiError(Code.ACCOUNT_NOT_FOUND)
        return account

    def _market(self, call: Call) -> Market | None:
        """The market asked for; 255 or nothing = all."""
        index = call.integer("market_id", default=ALL_KEYS)
        if index == ALL_KEYS:
            return None
        if index not in self._listing.by_index:
            raise ApiError(Code.INVALID_MARKET)
        return self._listing.by_index[index]


def _page(call: Call, rows: list[T]) -> tuple[list[T], dict[str, str]]:
    """One page and, if there are more rows, the cursor of the next."""
    limit, start = call.integer("limit", least=1, most=PAGE_MAX), int(call.integer("cursor", default=0))
    end = start + limit
    return rows[start:end], {"next_cursor": str(end)} if end < len(rows) else {}
