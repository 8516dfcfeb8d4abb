"""The endpoints of Aster's V3 API that the sandbox serves: parameters, weights, security (docs/venues/aster.md 2 to 9)."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

import msgspec

from ops.sandbox.venues import _aster_tickets
from ops.sandbox.venues._aster_account import Account
from ops.sandbox.venues._aster_call import Call
from ops.sandbox.venues._aster_orders import Desk
from ops.sandbox.venues._aster_public import Public
from ops.sandbox.venues._aster_request import Params
from ops.sandbox.venues._aster_streams_user import UserStreams
from ops.sandbox.venues._aster_wallet import AGENT_MANDATORY, BUILDER_MANDATORY, Wallet

Handler = Callable[[Call], object | Awaitable[object]]
Names = tuple[str, ...]

ID = ("orderId", "origClientOrderId")
WINDOW = ("startTime", "endTime", "limit")
_DEPTH_WEIGHT = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}


class Security(enum.Enum):
    NONE = "none"
    SIGNED = "signed"  # by an agent or the wallet itself, after a deposit
    MANAGEMENT = "management"  # the same, without the deposit
    WALLET = "wallet"  # a typed struct of its own, signed by the wallet; the handler verifies it
    NOOP = "noop"  # signed, but with the nonce of another request


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`weight` counts per IP; `bare_weight` replaces it where `symbol` was not sent."""

    method: str
    path: str
    handler: Handler
    weight: int = 1
    bare_weight: int | None = None
    mandatory: Names = ()
    optional: Names = ()
    security: Security = Security.SIGNED

    def weight_of(self, params: Params) -> int:
        if self.path == DEPTH_PATH:
            text = params.values.get("limit", "500")
            return _DEPTH_WEIGHT.get(int(text) if text.isdecimal() else 0, 1)
        return self.weight if self.bare_weight is None or "symbol" in params else self.bare_weight


DEPTH_PATH = "/fapi/v3/depth"


def public_routes(public: Public) -> list[Route]:
    def get(path: str, handler: Handler, weight: int = 1, bare_weight: int | None = None,
            mandatory: Names = (), optional: Names = ()) -> Route:  # fmt: skip
        return Route(method="GET", path=path, handler=handler, weight=weight, bare_weight=bare_weight,
                     mandatory=mandatory, optional=optional, security=Security.NONE)  # fmt: skip

    one, maybe = ("symbol",), ("symbol",)
    return [
        get("/fapi/v3/ping", public.ping),
        get("/fapi/v3/time", public.time),
        get("/fapi/v3/exchangeInfo", public.exchange_info),
        get("/api/v3/exchangeInfo", public.spot_exchange_info),
        get(DEPTH_PATH, public.depth, mandatory=one, optional=("limit",)),
        get("/fapi/v3/trades", public.trades, mandatory=one, optional=("limit",)),
        get("/fapi/v3/aggTrades", public.agg_trades, 20, mandatory=one, optional=("fromId", *WINDOW)),
        get("/fapi/v3/ticker/bookTicker", public.book_ticker, 1, 2, optional=maybe),
        get("/fapi/v3/ticker/price", public.price, 1, 2, optional=maybe),
        get("/fapi/v3/ticker/24hr", public.day, 1, 40, optional=maybe),
        get("/fapi/v3/premiumIndex", public.premium_index, optional=maybe),
        get("/fapi/v3/fundingInfo", public.funding_info, optional=maybe),
        get("/fapi/v3/fundingRate", public.funding_rate, optional=("symbol", *WINDOW)),
    ]


def order_routes(desk: Desk) -> list[Route]:
    def route(method: str, path: str, handler: Handler, weight: int = 1, mandatory: Names = ("symbol",),
              optional: Names = (), bare_weight: int | None = None) -> Route:  # fmt: skip
        return Route(method=method, path="/fapi/v3/" + path, handler=handler, weight=weight, mandatory=mandatory,
                     optional=optional, bare_weight=bare_weight)  # fmt: skip

    lists = ("orderIdList", "origClientOrderIdList")
    return [
        route("POST", "order", desk.place, 0, _aster_tickets.MANDATORY, _aster_tickets.NAMES),
        route("PUT", "order", desk.modify, 1, ("symbol", "quantity", "price"), ID),
        route("DELETE", "order", desk.cancel, 1, optional=ID),
        route("GET", "order", desk.query, 1, optional=ID),
        route("GET", "openOrder", desk.query_open, 1, optional=ID),
        route("GET", "openOrders", desk.open_orders, 1, (), ("symbol",), bare_weight=40),
        route("GET", "allOrders", desk.all_orders, 5, optional=("orderId", *WINDOW)),
        route("POST", "batchOrders", desk.place_batch, 5, ("batchOrders",)),
        route("DELETE", "batchOrders", desk.cancel_batch, 1, optional=lists),
        route("DELETE", "allOpenOrders", desk.cancel_all, 1),
        route("POST", "countdownCancelAll", desk.countdown, 10, ("symbol", "countdownTime")),
        route("GET", "forceOrders", desk.force_orders, 20, (), ("symbol", "autoCloseType", *WINDOW), bare_weight=50),
    ]


def account_routes(account: Account) -> list[Route]:
    def route(method: str, path: str, handler: Handler, weight: int = 1, mandatory: Names = (),
              optional: Names = ()) -> Route:  # fmt: skip
        return Route(method=method, path="/fapi/v3/" + path, handler=handler, weight=weight, mandatory=mandatory,
                     optional=optional)  # fmt: skip

    one, maybe = ("symbol",), ("symbol",)
    return [
        route("GET", "balance", account.balance, 5),
        route("GET", "account", account.account, 5),
        route("GET", "accountWithJoinMargin", account.account, 5),
        route("GET", "positionRisk", account.position_risk, 5, optional=maybe),
        route("GET", "userTrades", account.user_trades, 5, one, ("fromId", *WINDOW)),
        route("GET", "income", account.income, 30, optional=("symbol", "incomeType", *WINDOW)),
        route("POST", "leverage", account.set_leverage, 1, ("symbol", "leverage")),
        route("POST", "marginType", account.set_margin_type, 1, ("symbol", "marginType")),
        route(
            "POST", "positionMargin", account.change_position_margin, 1, ("symbol", "amount", "type"), ("positionSide",)
        ),
        route("GET", "positionSide/dual", account.position_mode, 30),
        route("POST", "positionSide/dual", account.set_position_mode, 1, ("dualSidePosition",)),
        route("GET", "multiAssetsMargin", account.multi_assets, 30),
        route("POST", "multiAssetsMargin", account.set_multi_assets, 1, ("multiAssetsMargin",)),
        route("GET", "stpMode", account.stp, 30),
        route("POST", "stpMode", account.set_stp, 1, ("stpMode",)),
        route("GET", "leverageBrackets", account.brackets, 1, optional=maybe),
        route("GET", "leverageBracket", account.brackets, 1, optional=maybe),
        route("GET", "commissionRate", account.commission_rate, 20, one),
        route("GET", "adlQuantile", account.adl_quantile, 5, optional=maybe),
        route("GET", "remainingOpenableNotionalValue", account.openable_notional, 50, one, ("leverage",)),
    ]


def stream_routes(streams: UserStreams) -> list[Route]:
    path = "/fapi/v3/listenKey"
    return [
        Route(method="POST", path=path, handler=streams.start),
        Route(method="PUT", path=path, handler=streams.extend, optional=("listenKey",)),
        Route(method="DELETE", path=path, handler=streams.close, optional=("listenKey",)),
    ]


def wallet_routes(wallet: Wallet) -> list[Route]:
    def route(method: str, path: str, handler: Handler, security: Security, mandatory: Names = (),
              optional: Names = ()) -> Route:  # fmt: skip
        return Route(method=method, path="/fapi/v3/" + path, handler=handler, security=security, mandatory=mandatory,
                     optional=optional)  # fmt: skip

    return [
        route("GET", "agent", wallet.agents, Security.MANAGEMENT),
        route("POST", "approveAgent", wallet.approve_agent, Security.WALLET, AGENT_MANDATORY, ("ipWhitelist",)),
        route("DELETE", "agent", wallet.remove_agent, Security.MANAGEMENT, ("agentAddress",)),
        route("GET", "builder", wallet.builders, Security.MANAGEMENT),
        route("POST", "approveBuilder", wallet.approve_builder, Security.WALLET, BUILDER_MANDATORY),
        route("DELETE", "builder", wallet.remove_builder, Security.MANAGEMENT, ("builder",)),
    ]
