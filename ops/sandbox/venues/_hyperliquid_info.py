"""`POST /info` of the simulated Hyperliquid: reads by address, no signature (docs/venues/hyperliquid.md 2, 4, 5, 8, 10)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

from core.clock import NS_PER_MS, Clock
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import FundingPayment
from ops.sandbox.pricing import NS_PER_H
from ops.sandbox.venues import _hyperliquid_listing as listing
from ops.sandbox.venues import _hyperliquid_rows as rows
from ops.sandbox.venues._hyperliquid_signing import address, hex_id

UNREADABLE = "Failed to deserialize the JSON body into the target type"
FUNDING_ROWS = 500
FILL_ROWS = 2000
BASE_REQUESTS = 10_000
Row = dict[str, Any]


class Unreadable(Exception):
    """Unknown type, missing field, wrong kind of value: HTTP 422."""


class Unknown(Exception):
    """An unknown coin or dex where the venue answers HTTP 500 with the body `null`."""


class Info:
    """`answer` takes the decoded body and returns (HTTP status, JSON bytes or text)."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._meta = listing.meta(list(exchange.contracts.values()))
        self._kinds: dict[str, Callable[[Row], Any]] = {
            "meta": self._meta_of,
            "metaAndAssetCtxs": self._meta_and_contexts,
            "spotMeta": lambda body: listing.spot_meta(),
            "spotMetaAndAssetCtxs": lambda body: [listing.spot_meta(), []],
            "perpDexs": lambda body: [None],
            "allPerpMetas": lambda body: [self._meta],
            "allMids": self._all_mids,
            "l2Book": self._book,
            "clearinghouseState": self._clearinghouse_state,
            "spotClearinghouseState": self._spot_state,
            "openOrders": lambda body: [rows.order_row(o) for o in self._open(body)],
            "frontendOpenOrders": lambda body: [rows.long_order_row(o) for o in self._open(body)],
            "orderStatus": self._order_status,
            "historicalOrders": lambda body: [rows.status_row(o) for o in self._newest_first(body)],
            "userFills": lambda body: [rows.fill_row(f) for f in reversed(self._exchange.fills(_user(body)))],
            "userFillsByTime": self._fills_by_time,
            "userFunding": self._user_funding,
            "fundingHistory": self._funding_history,
            "predictedFundings": self._predicted,
            "userFees": self._fees,
            "userRateLimit": self._rate_limit,
            "userRole": self._role,
            "extraAgents": self._agents,
            "userAbstraction": lambda body: _nothing_but(_user(body), "default"),
            "userDexAbstraction": lambda body: _nothing_but(_user(body), None),
            "subAccounts": lambda body: _nothing_but(_user(body), None),
            "activeAssetData": self._active_asset_data,
            "userNonFundingLedgerUpdates": lambda body: _nothing_but(_user(body), []),
            "userTwapSliceFills": lambda body: _nothing_but(_user(body), []),
            "exchangeStatus": lambda body: {"specialStatuses": None, "time": self._now_ms()},
        }

    def answer(self, body: Any) -> tuple[int, bytes]:
        """(200, JSON), (422, text) or (500, `null`)."""
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            return 422, UNREADABLE.encode()
        kind = self._kinds.get(body["type"])
        if kind is None:
            return 422, UNREADABLE.encode()
        try:
            return 200, orjson.dumps(kind(body))
        except Unreadable:
            return 422, UNREADABLE.encode()
        except Unknown:
            return 500, b"null"

    def active_asset_data(self, user: str, coin: str) -> Row:
        """What the user could trade of one coin now, at the chosen leverage."""
        position, mark = self._exchange.position(user, coin), self._exchange.mark(coin)
        free = self._exchange.margin(user).free
        lot = self._exchange.contracts[coin].lot
        size = rows.num(free * position.leverage / mark // lot * lot) if mark else "0.0"
        return {
            "user": user,
            "coin": coin,
            "leverage": rows.leverage_row(position),
            "maxTradeSzs": [size, size],
            "availableToTrade": [rows.money(free), rows.money(free)],
            "markPx": rows.num(mark),
        }

    def fundings_of(self, payments: list[FundingPayment]) -> list[Row]:
        """Rows of the userFundings channel."""
        return [{"time": rows.ms(payment.time_ns), **rows.payment_delta(payment)} for payment in payments]

    # -- catalogue and market ---------------------------------------------------------------------------------------

    def _meta_of(self, body: Row) -> Row:
        _core_dex(body)
        return self._meta

    def _meta_and_contexts(self, body: Row) -> list[Any]:
        _core_dex(body)
        return [self._meta, [rows.asset_context(self._exchange, name) for name in self._exchange.contracts]]

    def _all_mids(self, body: Row) -> Row:
        _core_dex(body)
        return rows.all_mids(self._exchange)

    def _book(self, body: Row) -> Row | None:
        """Unknown coin: 200 with null, unlike everywhere else."""
        coin = _text(body, "coin")
        contract = self._exchange.contracts.get(coin)
        if contract is None:
            return None
        bids, asks = self._exchange.levels(coin, 20) if contract.listed else ([], [])
        time_ms = rows.ms(self._exchange.top(coin).time_ns) or self._now_ms()
        return {"coin": coin, "time": time_ms, "levels": [rows.levels_rows(bids), rows.levels_rows(asks)]}

    def _funding_history(self, body: Row) -> list[Row]:
        coin = _text(body, "coin")
        if coin not in self._exchange.contracts:
            raise Unknown
        start, end = _window(body)
        if not self._exchange.contracts[coin].listed:
            return []
        points = self._exchange.funding_history(coin, start * NS_PER_MS, end * NS_PER_MS)
        return [
            {"coin": coin, "fundingRate": plain(p.rate), "premium": plain(p.premium), "time": rows.ms(p.time_ns) + 15}
            for p in points[:FUNDING_ROWS]
        ]

    def _predicted(self, body: Row) -> list[Any]:
        """The venue names the hour just settled as the next one, and other venues' rates are absent here."""
        settled_ms = rows.ms(self._clock.calendar_ns() // NS_PER_H * NS_PER_H)
        return [
            [name, [["BinPerp", None], ["HlPerp", {"fundingRate": plain(self._exchange.funding_estimate(name).rate),
             "nextFundingTime": settled_ms, "fundingIntervalHours": 1}], ["BybitPerp", None]]]
            for name, contract in self._exchange.contracts.items()
            if contract.listed
        ]  # fmt: skip

    # -- accounts ---------------------------------------------------------------------------------------------------

    def _clearinghouse_state(self, body: Row) -> Row:
        _core_dex(body)
        return rows.clearinghouse_state(self._exchange, _user(body), self._clock.wire_ns())

    def _spot_state(self, body: Row) -> Row:
        account = self._exchange.account(_user(body))
        usdc = Decimal(account.extras.get("spot_usdc", "0")) if account is not None else Decimal(0)
        balance = {"coin": "USDC", "token": 0, "total": rows.num(usdc), "hold": "0.0", "entryNtl": "0.0"}
        return {"balances": [balance] if account is not None else []}

    def _open(self, body: Row) -> list[Any]:
        _core_dex(body)
        return self._exchange.open_orders(_user(body))

    def _newest_first(self, body: Row) -> list[Any]:
        return list(reversed(self._exchange.orders(_user(body))))

    def _order_status(self, body: Row) -> Row:
        oid = body.get("oid")
        if isinstance(oid, bool) or not isinstance(oid, int | str):
            raise Unreadable
        user = _user(body)
        if isinstance(oid, int):
            order = self._exchange.order(user, order_id=oid)
        else:
            order = self._exchange.order(user, client_id=_checked(hex_id, oid))
        return {"status": "unknownOid"} if order is None else {"status": "order", "order": rows.status_row(order)}

    def _fills_by_time(self, body: Row) -> list[Row]:
        """Oldest first from startTime, at most a page."""
        start, end = _window(body)
        found = [f for f in self._exchange.fills(_user(body)) if start <= rows.ms(f.time_ns) <= end]
        return [rows.fill_row(fill) for fill in found[:FILL_ROWS]]

    def _user_funding(self, body: Row) -> list[Row]:
        start, end = _window(body)
        found = [p for p in self._exchange.payments(_user(body)) if start <= rows.ms(p.time_ns) <= end]
        return [rows.payment_row(payment) for payment in found[:FUNDING_ROWS]]

    def _fees(self, body: Row) -> Row:
        _user(body)
        terms = self._exchange.terms
        taker, maker = plain(terms.taker_fee), plain(terms.maker_fee)
        schedule = {"cross": taker, "add": maker, "spotCross": "0.0007", "spotAdd": "0.0004",
                    "tiers": {"vip": [], "mm": []}, "referralDiscount": "0.04", "stakingDiscountTiers": []}  # fmt: skip
        return {
            "dailyUserVlm": [],
            "feeSchedule": schedule,
            "userCrossRate": taker,
            "userAddRate": maker,
            "userSpotCrossRate": "0.0007",
            "userSpotAddRate": "0.0004",
            "activeReferralDiscount": "0.0",
            "trial": None,
            "feeTrialReward": "0.0",
            "nextTrialAvailableTimestamp": None,
            "stakingLink": None,
            "activeStakingDiscount": {"bpsOfMaxSupply": "0.0", "discount": "0.0"},
        }

    def _rate_limit(self, body: Row) -> Row:
        account = self._exchange.account(_user(body))
        volume = (account.volume if account is not None else Decimal(0)).quantize(Decimal("0.01"))
        used = account.requests if account is not None else 0
        return {"cumVlm": rows.num(volume), "nRequestsUsed": used,
                "nRequestsCap": BASE_REQUESTS + int(volume), "nRequestsSurplus": 0}  # fmt: skip

    def _role(self, body: Row) -> Row:
        user = _user(body)
        if self._exchange.account(user) is not None:
            return {"role": "user"}
        master = self._exchange.master_of(user)
        return {"role": "missing"} if master is None else {"role": "agent", "data": {"user": master}}

    def _agents(self, body: Row) -> list[Row]:
        """Sandbox agents are named and do not run out within 90 days."""
        account = self._exchange.account(_user(body))
        until = self._now_ms() + 90 * 24 * 3600 * 1000
        agents = account.agents if account is not None else []
        return [{"name": f"tandem{i or ''}", "address": a, "validUntil": until} for i, a in enumerate(agents)]

    def _active_asset_data(self, body: Row) -> Row:
        coin = _text(body, "coin")
        if coin not in self._exchange.contracts:
            raise Unknown
        return self.active_asset_data(_user(body), coin)

    def _now_ms(self) -> int:
        return rows.ms(self._clock.wire_ns())


def _nothing_but(user: str, value: Any) -> Any:
    """The same answer for every well-formed user."""
    return value


def _text(body: Row, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise Unreadable
    return value


def _user(body: Row) -> str:
    return _checked(address, _text(body, "user"))


def _checked(parse: Callable[[str], str], text: str) -> str:
    try:
        return parse(text)
    except ValueError as error:
        raise Unreadable from error


def _core_dex(body: Row) -> None:
    """Only the core dex exists here; an unknown one is the venue's 500."""
    if body.get("dex") not in (None, ""):
        raise Unknown


def _window(body: Row) -> tuple[int, int]:
    """startTime (required) and endTime (optional), ms."""
    start, end = body.get("startTime"), body.get("endTime")
    if not isinstance(start, int) or isinstance(start, bool) or (end is not None and not isinstance(end, int)):
        raise Unreadable
    return start, 1 << 62 if end is None else end
