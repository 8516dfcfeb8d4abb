"""The private WebSocket: a snapshot, then what happens to the account (docs/venues/edgex.md 6, 8).

The exchange tells the parts of one step (orders as they ended, fills, balances); the venue tells an event that carries all of
them. So a step is gathered per account and told when the exchange is through with it: for a new order first that it is
PENDING, then one ORDER_UPDATE with order, fills, position and collateral. Settlements of funding come as FUNDING_SETTLEMENT.
Nothing needs subscribing, and what is sent to this socket but heartbeats is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import orjson
from aiohttp import WSMsgType, web

from core.clock import NS_PER_MS, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Fill, FundingPayment, Order
from ops.sandbox.sockets import open_connection
from ops.sandbox.venues import _edgex_rows as rows
from ops.sandbox.venues._edgex_account import Account
from ops.sandbox.venues._edgex_errors import ApiError
from ops.sandbox.venues._edgex_hub import Client, Refused, decoded, hello, refusal
from ops.sandbox.venues._edgex_listing import Listing
from ops.sandbox.venues._edgex_orders import Desk
from ops.sandbox.venues._edgex_rows import Row

_LISTS = (
    "account",
    "collateral",
    "collateralTransaction",
    "position",
    "positionTransaction",
    "order",
    "orderFillTransaction",
)


class _Step(msgspec.Struct):
    """What one account's step has brought so far."""

    orders: dict[int, Order] = {}
    fills: list[Fill] = []
    payments: list[FundingPayment] = []


class UserStreams:
    """Private connections of one exchange. `prove(request)` gives the account, or raises ApiError."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        listed: dict[str, Listing],
        prove: Callable[[web.Request], str],
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._by_name = {listing.name: listing for listing in listed.values()}
        self._prove = prove
        self._desk: Desk | None = None
        self._account: Account | None = None
        self._clients: dict[int, tuple[str, Client]] = {}
        self._steps: dict[str, _Step] = {}
        self._announced: set[int] = set()  # open orders that were told as PENDING; leaves with the order's end
        self._started_ns = clock.wire_ns()
        self._versions: dict[str, int] = {}

    def use(self, desk: Desk, account: Account) -> None:
        """Who builds the rows; they in turn ask this for versions."""
        self._desk, self._account = desk, account

    def version(self, account: str) -> int:
        """Grows with every event of the account, across restarts too."""
        return self._versions.setdefault(account, self._clock.wire_ns() // NS_PER_MS)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        account = self._prove(request)
        offered = request.headers.get("Sec-WebSocket-Protocol", "")  # browsers repeat their headers in it
        connection = await open_connection(request, protocols=[offered] if offered else ())
        client = Client(connection, self._clock.mono_ns())
        self._clients[id(client)] = (account, client)
        connection.send(hello(id(client)))
        connection.send(self._snapshot(account))
        try:
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    _hear(client, message.data)
        finally:
            self._clients.pop(id(client), None)
            await connection.finish()
        return connection.socket

    def drop_all(self) -> None:
        for _, client in list(self._clients.values()):
            client.connection.drop()

    def tick(self) -> None:
        for _, client in list(self._clients.values()):
            client.beat(self._clock.mono_ns(), self._clock.wire_ns())

    # -- what the exchange tells ------------------------------------------------------------------------------------

    def order_changed(self, order: Order) -> None:
        if order.order_id not in self._announced and order.created_ns >= self._started_ns:
            self._announced.add(order.order_id)
            self._send(order.account, "ORDER_UPDATE", {"order": [self._rows(order, pending=True)]})
        if not order.is_open:
            self._announced.discard(order.order_id)
        self._step(order.account).orders[order.order_id] = order

    def filled(self, order: Order, fill: Fill) -> None:
        self._step(order.account).fills.append(fill)

    def funding_paid(self, payment: FundingPayment) -> None:
        self._step(payment.account).payments.append(payment)

    def step_ended(self) -> None:
        """Nothing more comes of what was gathered: tell it."""
        for account in list(self._steps):
            self._tell(account, self._steps.pop(account))

    def account_updated(self, account: str) -> None:
        """A setting has changed."""
        if self._account is not None:
            self._send(account, "ACCOUNT_UPDATE", {"account": [self._account.account_row(account)]})

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _step(self, account: str) -> _Step:
        return self._steps.setdefault(account, _Step())

    def _tell(self, account: str, step: _Step) -> None:
        if self._account is None:
            return
        money = [self._account.collateral_row(account)]
        if step.orders:
            data: dict[str, list[Row]] = {"order": [self._rows(order) for order in step.orders.values()]}
            if step.fills:
                names = dict.fromkeys(fill.name for fill in step.fills)
                data["orderFillTransaction"] = [rows.fill_row(fill, self._by_name[fill.name]) for fill in step.fills]
                data["position"] = [self._account.position_row(account, name) for name in names]
                data["collateral"] = money
            self._send(account, "ORDER_UPDATE", data)
        if step.payments:
            pairs = [self._account.funding(payment) for payment in step.payments]
            names = dict.fromkeys(payment.name for payment in step.payments)
            data = {
                "collateral": money,
                "position": [self._account.position_row(account, name) for name in names],
                "positionTransaction": [position for position, _ in pairs],
                "collateralTransaction": [collateral for _, collateral in pairs],
            }
            self._send(account, "FUNDING_SETTLEMENT", data)

    def _snapshot(self, account: str) -> bytes:
        data: dict[str, list[Row]] = {name: [] for name in _LISTS}
        if self._account is not None:
            data["account"] = [self._account.account_row(account)]
            data["collateral"] = [self._account.collateral_row(account)]
            data["position"] = self._account.position_rows(account)
            data["order"] = [self._rows(order) for order in self._exchange.open_orders(account)]
        return self._frame("Snapshot", self.version(account), data)

    def _rows(self, order: Order, pending: bool = False) -> Row:
        return self._desk.row(order, pending=pending) if self._desk is not None else {}

    def _send(self, account: str, event: str, data: dict[str, list[Row]]) -> None:
        version = self._versions[account] = self.version(account) + 1
        listening = [client for owner, client in self._clients.values() if owner == account]
        if listening:
            frame = self._frame(event, version, {name: data.get(name, []) for name in _LISTS})
            for client in listening:
                client.connection.send(frame)

    def _frame(self, event: str, version: int, data: dict[str, list[Row]]) -> bytes:
        time_ms = self._clock.wire_ns() // NS_PER_MS
        content = {"event": event, "version": version, "time": time_ms, "accountId": 0, "data": data}
        return orjson.dumps({"type": "trade-event", "content": content})


def refused(error: ApiError) -> bytes:
    """The body of an upgrade that is not let in."""
    return orjson.dumps({"code": error.word.value, "data": None, "msg": error.text})


def _hear(client: Client, text: str) -> None:
    try:
        message = decoded(text)
        if not client.hear(message):
            raise Refused("GATEWAY_INVALID_MESSAGE_TYPE", f"invalid type : {message.get('type')}")
    except Refused as error:
        client.connection.send(refusal(error, text))
