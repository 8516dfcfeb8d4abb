"""The sandbox's own endpoint on loopback: what tests and people may ask of the simulated world. No venue has this.

GET  /control/state                                      every venue's marks (canonical) and accounts: equity, positions,
                                                         orders, fills
POST /control/account  {"venue","address","agents"?,"balance_usd"?}
POST /control/basis    {"venue","symbol","bps"}          shift one venue's prices; decays like any other basis
POST /control/price    {"symbol","bps"}                  move the fair price, or a stablecoin's, on every venue
POST /control/venue    {"venue","serving": bool}         close or open a venue's port; its exchange goes on
POST /control/fault    {"venue","kind","traffic"?,"value"?,"way"?,"times"?,"for_s"?}   see faults.py; answers its number
POST /control/clear    {"venue"?,"number"?}              end one fault, or all of a venue, or all
GET  /control/faults                                     in force and lately ended, by venue
GET  /control/healthz
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import msgspec
from aiohttp import web

from ops.sandbox.exchange import Exchange
from ops.sandbox.fault_kinds import Kind, Traffic
from ops.sandbox.faults import Fault, FaultRefused, Faults
from ops.sandbox.market import PEGGED, Market


class Server(Protocol):
    """A venue behind its port."""

    @property
    def port(self) -> int: ...
    @property
    def exchange(self) -> Exchange: ...
    @property
    def faults(self) -> Faults: ...
    @property
    def is_serving(self) -> bool: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class _Account(msgspec.Struct, forbid_unknown_fields=True):
    venue: str
    address: str
    agents: list[str] = []
    balance_usd: Decimal | None = None


class _Basis(msgspec.Struct, forbid_unknown_fields=True):
    venue: str
    symbol: str
    bps: float


class _Price(msgspec.Struct, forbid_unknown_fields=True):
    symbol: str
    bps: float


class _Serving(msgspec.Struct, forbid_unknown_fields=True):
    venue: str
    serving: bool


class _Fault(msgspec.Struct, forbid_unknown_fields=True):
    venue: str
    kind: Kind
    traffic: list[Traffic] = []
    value: float | None = None
    way: str = ""
    times: int = 0
    for_s: float = 0.0


class _Clear(msgspec.Struct, forbid_unknown_fields=True):
    venue: str | None = None
    number: int = 0


Body = TypeVar("Body")


class Control:
    """Handlers only; the state belongs to market and exchanges."""

    def __init__(self, market: Market, servers: Mapping[str, Server], balance: Decimal, port: int) -> None:
        self.port = port
        self._market = market
        self._servers = servers
        self._balance = balance

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/control/healthz", self._healthz)
        application.router.add_get("/control/state", self._state)
        application.router.add_post("/control/account", self._account)
        application.router.add_post("/control/basis", self._basis)
        application.router.add_post("/control/price", self._price)
        application.router.add_post("/control/venue", self._venue)
        application.router.add_post("/control/fault", self._fault)
        application.router.add_post("/control/clear", self._clear)
        application.router.add_get("/control/faults", self._faults)
        return application

    async def _healthz(self, request: web.Request) -> web.Response:
        return _json({"serving": {name: server.is_serving for name, server in self._servers.items()}})

    async def _state(self, request: web.Request) -> web.Response:
        return _json({"venues": {name: _venue_state(server) for name, server in self._servers.items()}})

    async def _account(self, request: web.Request) -> web.Response:
        body = await _read(request, _Account)
        balance = self._balance if body.balance_usd is None else body.balance_usd
        agents = [_spelled(agent) for agent in body.agents]
        account = self._server(body.venue).exchange.open_account(_spelled(body.address), balance, agents)
        return _json({"address": account.address, "agents": account.agents})

    async def _basis(self, request: web.Request) -> web.Response:
        body = await _read(request, _Basis)
        self._server(body.venue)
        self._known_symbol(body.symbol)
        self._market.nudge(body.venue, body.symbol, body.bps)
        return _json({})

    async def _price(self, request: web.Request) -> web.Response:
        body = await _read(request, _Price)
        if body.symbol not in PEGGED:
            self._known_symbol(body.symbol)
        self._market.shift(body.symbol, body.bps)
        return _json({})

    async def _venue(self, request: web.Request) -> web.Response:
        body = await _read(request, _Serving)
        server = self._server(body.venue)
        await (server.start() if body.serving else server.stop())
        return _json({"serving": server.is_serving})

    async def _fault(self, request: web.Request) -> web.Response:
        body = await _read(request, _Fault)
        faults = self._server(body.venue).faults
        try:
            fault = faults.add(body.kind, tuple(body.traffic), body.value, body.way, body.times, body.for_s)
        except FaultRefused as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return _json({"venue": body.venue, "fault": _shown(fault)})

    async def _clear(self, request: web.Request) -> web.Response:
        body = await _read(request, _Clear)
        venues = list(self._servers) if body.venue is None else [body.venue]
        return _json({"cleared": sum(self._server(venue).faults.clear(body.number) for venue in venues)})

    async def _faults(self, request: web.Request) -> web.Response:
        shown = {}
        for name, server in self._servers.items():
            active, finished = server.faults.listed()
            shown[name] = {"active": list(map(_shown, active)), "finished": list(map(_shown, finished))}
        return _json({"venues": shown})

    def _server(self, venue: str) -> Server:
        if venue not in self._servers:
            raise web.HTTPBadRequest(text=f"no venue {venue!r}; there are {', '.join(self._servers)}")
        return self._servers[venue]

    def _known_symbol(self, symbol: str) -> None:
        if symbol not in self._market.terms.symbols:
            raise web.HTTPBadRequest(text=f"no symbol {symbol!r}; there are {', '.join(self._market.terms.symbols)}")


def _shown(fault: Fault) -> dict[str, Any]:
    return {
        "number": fault.number, "kind": fault.kind, "traffic": fault.traffic, "value": fault.value, "way": fault.way,
        "hits": fault.hits, "left": fault.left,
    }  # fmt: skip


def _venue_state(server: Server) -> dict[str, Any]:
    exchange = server.exchange
    return {
        "serving": server.is_serving,
        "port": server.port,
        "marks": {each.symbol: exchange.mark(each.name) / each.multiplier for each in exchange.contracts.values()},
        "accounts": {address: _account_state(exchange, address) for address in exchange.ledger.accounts},
    }


def _account_state(exchange: Exchange, address: str) -> dict[str, Any]:
    account = exchange.ledger.accounts[address]
    margin = exchange.margin(address)
    fills = exchange.fills(address)
    multiplier = {contract.name: contract.multiplier for contract in exchange.contracts.values()}
    return {
        "cash_usd": account.cash,
        "equity_usd": margin.equity,
        "maintenance_usd": margin.maintenance,
        "free_usd": margin.free,
        "agents": account.agents,
        "positions": {
            name: {
                "qty": position.qty,
                "canonical_qty": position.qty * multiplier[name],
                "symbol": exchange.contracts[name].symbol,
                "entry_px": position.entry_px,
                "mark_px": exchange.mark(name),
                "leverage": position.leverage,
            }
            for name, position in account.positions.items()
            if position.qty and name in exchange.contracts
        },
        "open_orders": [
            {"order_id": order.order_id, "client_id": order.client_id, "name": order.name, "side": order.side,
             "px": order.px, "remaining": order.remaining}
            for order in exchange.open_orders(address)
        ],
        "orders": [
            {"order_id": order.order_id, "client_id": order.client_id, "name": order.name, "side": order.side,
             "qty": order.qty, "filled": order.filled, "state": order.state, "reject": order.reject}
            for order in exchange.orders(address)
        ],
        "fills": len(fills),
        "fill_rows": [
            {"trade_id": fill.trade_id, "order_id": fill.order_id, "client_id": fill.client_id, "name": fill.name,
             "side": fill.side, "px": fill.px, "qty": fill.qty, "fee": fill.fee, "time_ns": fill.time_ns}
            for fill in fills
        ],
        "fees_usd": sum((fill.fee for fill in fills), Decimal(0)),
        "funding_usd": sum((payment.cash for payment in exchange.payments(address)), Decimal(0)),
    }  # fmt: skip


def _spelled(address: str) -> str:
    """As the exchanges know it: hex in lower case; other alphabets (base58) tell letters apart."""
    return address.lower() if address[:2].lower() == "0x" else address


def _json(value: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


async def _read(request: web.Request, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=f"{request.path}: {error}") from error
