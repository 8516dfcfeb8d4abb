"""Kraken's private REST calls (docs/venues/kraken.md 5 to 9): each a handler of a proven Call, which answers the result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from core.clock import NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import ZERO, Fill, Order, OrderState
from ops.sandbox.venues import _kraken_errors as errors
from ops.sandbox.venues._kraken_call import Call, Row, decimal
from ops.sandbox.venues._kraken_errors import ApiError, invalid
from ops.sandbox.venues._kraken_keys import TOKEN_S, Keys
from ops.sandbox.venues._kraken_limits import HISTORY_COST, Limits
from ops.sandbox.venues._kraken_listing import CLASSIC_QUOTE, MAKER_FEE, TAKER_FEE, Listing, Pair
from ops.sandbox.venues._kraken_orders import Ask, Orders
from ops.sandbox.venues._kraken_rows import number_of, order_txid, rest_order, rest_trade, side_of, stamp, trade_txid
from ops.sandbox.wallets import base_held

PAGE = 50
BATCH = range(2, 16)
CANCEL_BATCH_MAX = 50
LIMIT, MARKET = "limit", "market"
NOT_COUNTED = frozenset({"AddOrder", "AddOrderBatch", "AmendOrder", "CancelOrder", "CancelOrderBatch"})
HISTORIES = frozenset({"ClosedOrders", "TradesHistory", "Ledgers", "QueryTrades"})
Handler = Callable[[Call], Awaitable[Any]]


class Private:
    """`handlers` by the last part of the path."""

    def __init__(
        self, exchange: Exchange, clock: Clock, listing: Listing, keys: Keys, orders: Orders, limits: Limits
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._keys = keys
        self._orders = orders
        self._limits = limits
        self.handlers: dict[str, Handler] = {
            "Balance": self.balance, "BalanceEx": self.balance_ex, "TradeBalance": self.trade_balance,
            "OpenOrders": self.open_orders, "ClosedOrders": self.closed_orders, "QueryOrders": self.query_orders,
            "TradesHistory": self.trades_history, "QueryTrades": self.query_trades,
            "OpenPositions": self.open_positions, "TradeVolume": self.trade_volume, "Ledgers": self.ledgers,
            "GetWebSocketsToken": self.token, "AddOrder": self.add_order, "AddOrderBatch": self.add_batch,
            "AmendOrder": self.amend_order, "CancelOrder": self.cancel_order,
            "CancelOrderBatch": self.cancel_batch, "CancelAll": self.cancel_all,
            "CancelAllOrdersAfter": self.cancel_all_after,
        }  # fmt: skip

    def charge(self, name: str, call: Call) -> None:
        """Raises ApiError when the key has asked too much."""
        cost = 0 if name in NOT_COUNTED else HISTORY_COST if name in HISTORIES else 1
        if cost and not self._limits.charge_rest(call.address, cost, self._clock.mono_ns()):
            raise ApiError(errors.API_RATE)

    # -- account ----------------------------------------------------------------------------------------------------

    async def balance(self, call: Call) -> Row:
        return {name: f"{total:.10f}" for name, (total, _) in self._wallets(call.address).items()}

    async def balance_ex(self, call: Call) -> Row:
        return {
            name: {"balance": f"{total:.10f}", "hold_trade": f"{held:.10f}"}
            for name, (total, held) in self._wallets(call.address).items()
        }

    async def trade_balance(self, call: Call) -> Row:
        margin = self._exchange.margin(call.address)
        cash = self._account_cash(call.address)
        names = {"eb": margin.equity, "tb": cash, "m": ZERO, "n": ZERO, "c": ZERO, "v": ZERO, "e": cash, "mf": cash}
        return {name: f"{value:.4f}" for name, value in names.items()}

    async def open_orders(self, call: Call) -> Row:
        return {"open": self._rows(call, [o for o in self._exchange.orders(call.address) if o.is_open])}

    async def closed_orders(self, call: Call) -> Row:
        past = [
            o for o in self._exchange.orders(call.address)[::-1] if not o.is_open and o.state is not OrderState.REJECTED
        ]
        return self._page(call, "closed", past, lambda orders: self._rows(call, orders))

    async def query_orders(self, call: Call) -> Row:
        """Those of the named ones that are the account's; what is not is left out."""
        numbers = [number_of(name) for name in call.names("txid")]
        if not numbers:
            raise invalid("txid")
        found = [self._exchange.order(call.address, order_id=number) for number in numbers if number is not None]
        return self._rows(
            call, [order for order in found if order is not None and order.state is not OrderState.REJECTED]
        )

    async def trades_history(self, call: Call) -> Row:
        """Newest first, `start` and `end` are UTC seconds or a trade's txid (exclusive)."""
        since, until = call.text("start"), call.text("end")
        fills = [
            fill
            for fill in self._exchange.fills(call.address)[::-1]
            if self._is_after(fill, since) and not (until and self._is_after(fill, until))
        ]
        return self._page(call, "trades", fills, self._trades)

    async def query_trades(self, call: Call) -> Row:
        wanted = {number_of(name, "T") for name in call.names("txid")}
        return self._trades([fill for fill in self._exchange.fills(call.address) if fill.trade_id in wanted])

    async def open_positions(self, call: Call) -> list[Row]:
        return []

    async def ledgers(self, call: Call) -> Row:
        rows: Row = {}
        for fill in self._exchange.fills(call.address)[::-1][:PAGE]:
            pair = self._listing.by_name[fill.name]
            rows["L" + trade_txid(fill.trade_id)[1:]] = {
                "refid": trade_txid(fill.trade_id), "time": fill.time_ns / NS_PER_S, "type": "trade", "subtype": "",
                "aclass": "currency", "asset": pair.base, "amount": str(fill.side.sign * fill.qty), "fee": "0",
                "balance": "0",
            }  # fmt: skip
        return {"ledger": rows, "count": len(rows)}

    async def trade_volume(self, call: Call) -> Row:
        account = self._exchange.account(call.address)
        pairs = [self._pair(name) for name in call.names("pair")]

        def rate(fee: Decimal) -> Row:
            percent = f"{fee * 100:.4f}"
            return {"fee": percent, "minfee": percent, "maxfee": percent, "nextfee": None, "tiervolume": "0.0000"}

        return {
            "currency": CLASSIC_QUOTE, "volume": f"{account.volume if account is not None else ZERO:.4f}",
            "fees": {pair.key: rate(TAKER_FEE) for pair in pairs},
            "fees_maker": {pair.key: rate(MAKER_FEE) for pair in pairs},
        }  # fmt: skip

    async def token(self, call: Call) -> Row:
        return {"token": self._keys.new_token(call.address), "expires": TOKEN_S}

    # -- orders -----------------------------------------------------------------------------------------------------

    async def add_order(self, call: Call) -> Row:
        ask = self._ask(call, self._pair(call.text("pair")), validate=call.flag("validate"))
        order = await self._orders.place(call.address, ask)
        price = f"{LIMIT} {ask.px:f}" if ask.px is not None else MARKET
        told = {"order": f"{ask.side.value} {ask.qty:.8f} {ask.pair.altname} @ {price}"}
        return {"descr": told} if order is None else {"descr": told, "txid": [order_txid(order.order_id)]}

    async def add_batch(self, call: Call) -> Row:
        """All are checked first; each then stands or falls by itself."""
        pair, rows = self._pair(call.text("pair")), call.rows("orders")
        if len(rows) not in BATCH:
            raise invalid("orders")
        asks = [self._ask(Call(call.address, row), pair, validate=call.flag("validate")) for row in rows]
        answers: list[Row] = []
        for ask in asks:
            try:
                order = await self._orders.place(call.address, ask)
            except ApiError as error:
                answers.append({"error": error.text})
                continue
            answers.append({"txid": order_txid(order.order_id)} if order is not None else {"descr": {}})
        return {"orders": answers}

    async def amend_order(self, call: Call) -> Row:
        qty = call.number("order_qty") if call.get("order_qty") else None
        px = call.number("limit_price") if call.get("limit_price") else None
        order = await self._orders.amend(call.address, call.text("txid"), call.text("cl_ord_id"), qty, px)
        return {"amend_id": "A" + order_txid(order.order_id)[1:]}

    async def cancel_order(self, call: Call) -> Row:
        txid = call.text("txid")
        if txid.removeprefix("-").isdecimal():
            return {"count": len(await self._orders.cancel_userref(call.address, txid))}
        await self._orders.cancel(call.address, txid, call.text("cl_ord_id"))
        return {"count": 1}

    async def cancel_batch(self, call: Call) -> Row:
        count = 0
        wanted = [(txid, "") for txid in call.names("orders")] + [("", name) for name in call.names("cl_ord_ids")]
        if not 1 <= len(wanted) <= CANCEL_BATCH_MAX:
            raise invalid("orders")
        for txid, client_id in wanted:
            try:
                await self._orders.cancel(call.address, txid, client_id)
            except ApiError:
                continue
            count += 1
        return {"count": count}

    async def cancel_all(self, call: Call) -> Row:
        return {"count": await self._orders.cancel_all(call.address)}

    async def cancel_all_after(self, call: Call) -> Row:
        trigger_ns = self._orders.set_switch(call.address, call.integer("timeout", -1))
        return {
            "currentTime": stamp(self._clock.wire_ns()),
            "triggerTime": stamp(trigger_ns) if trigger_ns else "0",
        }

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _ask(self, call: Call, pair: Pair, *, validate: bool) -> Ask:
        side, kind = side_of(call.text("type")), call.text("ordertype")
        if side is None or kind not in (LIMIT, MARKET):
            raise invalid("type" if side is None else "ordertype")
        if call.flag("reduce_only") or call.text("leverage") not in ("", "none"):
            raise invalid("leverage")
        flags = set(call.names("oflags"))
        return Ask(
            pair=pair, side=side, qty=call.number("volume"), px=call.number("price") if kind == LIMIT else None,
            tif=call.text("timeinforce"), post_only="post" in flags, client_id=call.text("cl_ord_id"),
            userref="" if call.text("userref") in ("", "0") else str(call.integer("userref", 0)),
            self_trade=call.text("stptype"), deadline=call.text("deadline"), validate=validate,
            fee_in_base="fcib" in flags,
        )  # fmt: skip

    def _pair(self, name: str) -> Pair:
        pair = self._listing.find(name)
        if pair is None:
            raise ApiError(errors.UNKNOWN_PAIR)
        return pair

    def _wallets(self, address: str) -> dict[str, tuple[Decimal, Decimal]]:
        """By classic name: what there is, and what open orders hold of it."""
        orders = self._exchange.open_orders(address)
        margin = self._exchange.margin(address)
        found = {CLASSIC_QUOTE: (self._account_cash(address), margin.orders)}
        for pair in self._listing.pairs:
            qty = self._exchange.position(address, pair.name).qty
            if qty:
                found[pair.base] = (qty, base_held(orders, pair.name))
        return found

    def _account_cash(self, address: str) -> Decimal:
        account = self._exchange.account(address)
        return account.cash if account is not None else ZERO

    def _rows(self, call: Call, orders: list[Order]) -> Row:
        client_id, userref = call.text("cl_ord_id"), call.text("userref")
        fills = self._exchange.fills(call.address)
        rows: Row = {}
        for order in orders:
            if (client_id and order.client_id != client_id) or (userref and order.memo != userref):
                continue
            own = [fill for fill in fills if fill.order_id == order.order_id]
            fee = sum((fill.fee for fill in own), ZERO)
            trades = [trade_txid(fill.trade_id) for fill in own] if call.flag("trades") else None
            rows[order_txid(order.order_id)] = rest_order(order, self._listing.by_name[order.name], fee, trades)
        return rows

    def _trades(self, fills: list[Fill]) -> Row:
        return {trade_txid(fill.trade_id): rest_trade(fill, self._listing.by_name[fill.name]) for fill in fills}

    def _is_after(self, fill: Fill, mark: str) -> bool:
        if not mark:
            return True
        number = number_of(mark, "T")
        return (
            fill.trade_id > number
            if number is not None
            else fill.time_ns > float(decimal(mark, "start", least=0)) * 1e9
        )

    def _page(self, call: Call, name: str, rows: list[Any], written: Callable[[list[Any]], Row]) -> Row:
        """Fifty from `ofs` on; `count` is how many there are."""
        client_id = call.text("cl_ord_id")
        rows = [row for row in rows if not client_id or row.client_id == client_id]
        start = call.integer("ofs", 0)
        return {name: written(rows[start : start + PAGE]), "count": len(rows)}
