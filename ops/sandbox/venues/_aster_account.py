"""Account, position, income and setting endpoints (docs/venues/aster.md 7, 8). All signed; shapes as documented."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from core.clock import NS_PER_MS
from core.numeric import plain
from ops.sandbox.model import ZERO, Margin, Position, Refused, Reject
from ops.sandbox.venues._aster_call import Call
from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_listing import MAKER_FEE, QUOTE, TAKER_FEE, Listing
from ops.sandbox.venues._aster_orders import SEVEN_DAYS_MS, Row, time_range
from ops.sandbox.venues._aster_settings import Settings
from ops.sandbox.venues._aster_shapes import average, money, trade_row
from ops.sandbox.venues._aster_streams_user import UserStreams
from ops.sandbox.venues._aster_tickets import listed, stp_mode
from ops.sandbox.venues.base import Host

SUCCESS: Row = {"code": 200, "msg": "success"}
INCOME_TYPES = ("TRANSFER", "WELCOME_BONUS", "REALIZED_PNL", "FUNDING_FEE", "COMMISSION", "INSURANCE_CLEAR")


class Account:
    """Handlers of everything about an account that is not an order."""

    def __init__(self, host: Host, listings: dict[str, Listing], settings: Settings, streams: UserStreams) -> None:
        self._clock = host.clock
        self._exchange = host.exchange
        self._listings = listings
        self._settings = settings
        self._streams = streams

    # -- figures ----------------------------------------------------------------------------------------------------

    def balance(self, call: Call) -> list[Row]:
        figures, wallet, cash = self._wallet(call.user)
        return [
            {
                "accountAlias": _alias(call.user),
                "asset": QUOTE,
                "balance": money(wallet),
                "crossWalletBalance": money(cash),
                "crossUnPnl": money(figures.cross_equity - cash),
                "availableBalance": money(figures.free),
                "maxWithdrawAmount": money(min(figures.free, max(cash, ZERO))),
                "marginAvailable": True,
                "updateTime": 0,
            }
        ]

    def account(self, call: Call) -> Row:
        """accountWithJoinMargin: totals, the one asset, and a row for every symbol."""
        figures, wallet, cash = self._wallet(call.user)
        rows = [self._account_position(call.user, listing) for listing in self._listings.values()]
        maintenance = sum((self._maintenance(call.user, listing) for listing in self._listings.values()), ZERO)
        positions_initial = figures.initial + figures.isolated
        common: Row = {
            "maintMargin": money(maintenance),
            "initialMargin": money(positions_initial + figures.orders),
            "positionInitialMargin": money(positions_initial),
            "openOrderInitialMargin": money(figures.orders),
            "crossWalletBalance": money(cash),
            "crossUnPnl": money(figures.cross_equity - cash),
        }
        tail: Row = {
            "availableBalance": money(figures.free),
            "maxWithdrawAmount": money(min(figures.free, max(cash, ZERO))),
        }
        asset: Row = {
            "asset": QUOTE,
            "walletBalance": money(wallet),
            "unrealizedProfit": money(figures.unrealized),
            "marginBalance": money(figures.equity),
            **common,
            **tail,
            "marginAvailable": True,
            "updateTime": 0,
        }
        totals = {f"total{key[0].upper()}{key[1:]}": value for key, value in common.items()}
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "updateTime": 0,
            "totalWalletBalance": money(wallet),
            "totalUnrealizedProfit": money(figures.unrealized),
            "totalMarginBalance": money(figures.equity),
            **totals,
            **tail,
            "assets": [asset],
            "positions": rows,
        }

    def position_risk(self, call: Call) -> list[Row]:
        return [self._risk_row(call.user, listing) for listing in self._asked(call)]

    def _risk_row(self, user: str, listing: Listing) -> Row:
        name = listing.name
        position, mark = self._exchange.position(user, name), self._exchange.mark(name)
        liquidation = self._exchange.liquidation_px(user, name) if position.qty else None
        pnl = _pnl(position, mark)
        return {
            "symbol": name,
            "positionAmt": plain(position.qty),
            "entryPrice": average(position.entry_px),
            "markPrice": money(mark),
            "unRealizedProfit": money(pnl),
            "liquidationPrice": plain(_to_tick(liquidation, listing)) if liquidation is not None else "0",
            "leverage": str(position.leverage),
            "maxNotionalValue": str(listing.max_notional(position.leverage)),
            "marginType": "cross" if position.cross else "isolated",
            "isolatedMargin": money(ZERO if position.cross else position.isolated_margin + pnl),
            "isAutoAddMargin": "false",
            "positionSide": "BOTH",
            "notional": money(position.qty * mark),
            "isolatedWallet": money(position.isolated_margin),
            "updateTime": position.updated_ns // NS_PER_MS,
        }

    def _account_position(self, user: str, listing: Listing) -> Row:
        position, mark = self._exchange.position(user, listing.name), self._exchange.mark(listing.name)
        initial = abs(position.qty) * mark / position.leverage
        orders = self._exchange.open_orders(user, listing.name)
        reserved = sum((o.remaining * o.px / position.leverage for o in orders if not o.reduce_only), ZERO)
        return {
            "symbol": listing.name,
            "initialMargin": money(initial + reserved),
            "maintMargin": money(self._maintenance(user, listing)),
            "unrealizedProfit": money(_pnl(position, mark)),
            "positionInitialMargin": money(initial),
            "openOrderInitialMargin": money(reserved),
            "leverage": str(position.leverage),
            "isolated": not position.cross,
            "entryPrice": average(position.entry_px),
            "maxNotional": str(listing.max_notional(position.leverage)),
            "positionSide": "BOTH",
            "positionAmt": plain(position.qty),
            "updateTime": position.updated_ns // NS_PER_MS,
        }

    def _maintenance(self, user: str, listing: Listing) -> Decimal:
        qty = self._exchange.position(user, listing.name).qty
        return abs(qty) * self._exchange.mark(listing.name) * listing.contract.maintenance_ratio

    def _wallet(self, user: str) -> tuple[Margin, Decimal, Decimal]:
        """Figures, wallet balance (cash and isolated margin) and cross wallet balance."""
        state = self._exchange.account(user)
        cash = state.cash if state is not None else ZERO
        isolated = sum((p.isolated_margin for p in state.positions.values()), ZERO) if state is not None else ZERO
        return self._exchange.margin(user), cash + isolated, cash

    # -- history ----------------------------------------------------------------------------------------------------

    def user_trades(self, call: Call) -> list[Row]:
        """One symbol's fills: from `fromId` on, or within the window, or the most recent of seven days; oldest first."""
        listing, params = listed(call.params, self._listings), call.params
        limit, first_id = params.limit(500, 1000), params.optional_integer("fromId")
        bounded = "startTime" in params or "endTime" in params
        if first_id is not None and bounded:
            raise ApiError(Code.BAD_COMBINATION)
        start_ms, end_ms = time_range(params, SEVEN_DAYS_MS)
        if first_id is None and not bounded:
            start_ms = self._clock.wire_ns() // NS_PER_MS - SEVEN_DAYS_MS
        rows = [
            fill
            for fill in self._exchange.fills(call.user)
            if fill.name == listing.name
            and (first_id is None or fill.trade_id >= first_id)
            and start_ms <= fill.time_ns // NS_PER_MS <= end_ms
        ]
        forwards = first_id is not None or "startTime" in params
        return [trade_row(fill) for fill in (rows[:limit] if forwards else rows[-limit:])]

    def income(self, call: Call) -> list[Row]:
        """Funding, commission and realised PnL, oldest first; negative = paid."""
        params = call.params
        name = listed(params, self._listings).name if "symbol" in params else None
        kind = params.text_or("incomeType", "")
        if kind and kind not in INCOME_TYPES:
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'incomeType' is not valid.")
        start_ms, end_ms = time_range(params, 1 << 62)
        if "startTime" not in params and "endTime" not in params:
            start_ms = min(self._clock.wire_ns(), self._clock.calendar_ns()) // NS_PER_MS - SEVEN_DAYS_MS
        rows = [
            row
            for row in self._income_rows(call.user)
            if name in (None, row["symbol"])
            and kind in ("", row["incomeType"])
            and start_ms <= int(str(row["time"])) <= end_ms
        ]
        rows.sort(key=lambda row: int(str(row["time"])))
        limit = params.limit(100, 1000)
        return rows[:limit] if "startTime" in params else rows[-limit:]

    def _income_rows(self, user: str) -> list[Row]:
        rows = [
            _income(p.name, "FUNDING_FEE", p.cash, p.time_ns, p.payment_id, "") for p in self._exchange.payments(user)
        ]
        for fill in self._exchange.fills(user):
            trade = str(fill.trade_id)
            if fill.fee:
                rows.append(_income(fill.name, "COMMISSION", -fill.fee, fill.time_ns, fill.trade_id, trade))
            if fill.realized:
                rows.append(_income(fill.name, "REALIZED_PNL", fill.realized, fill.time_ns, fill.trade_id, trade))
        return rows

    # -- settings ---------------------------------------------------------------------------------------------------

    def set_leverage(self, call: Call) -> Row:
        listing = listed(call.params, self._listings)
        leverage = call.params.integer("leverage")
        position = self._exchange.position(call.user, listing.name)
        if abs(position.qty) * self._exchange.mark(listing.name) > listing.max_notional(leverage):
            raise ApiError(Code.MAX_LEVERAGE_RATIO)
        refused = self._exchange.set_leverage(call.user, listing.name, leverage, position.cross)
        if isinstance(refused, Refused):
            raise ApiError(Code.MIN_LEVERAGE_RATIO if refused.reason is Reject.MARGIN else Code.INVALID_LEVERAGE)
        self._streams.leverage_changed(call.user, listing.name, leverage)
        return {
            "leverage": leverage,
            "maxNotionalValue": str(listing.max_notional(leverage)),
            "symbol": listing.name,
        }

    def set_margin_type(self, call: Call) -> Row:
        listing, kind = listed(call.params, self._listings), call.params.text("marginType")
        if kind not in ("ISOLATED", "CROSSED"):
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'marginType' is not valid.")
        cross = kind == "CROSSED"
        position = self._exchange.position(call.user, listing.name)
        if position.cross == cross:
            raise ApiError(Code.SAME_MARGIN_TYPE)
        if not cross and self._settings.multi_assets(call.user):
            raise ApiError(Code.MULTI_ASSETS_ISOLATED)
        if self._exchange.open_orders(call.user, listing.name):
            raise ApiError(Code.MARGIN_TYPE_OPEN_ORDERS)
        if position.qty:
            raise ApiError(Code.MARGIN_TYPE_POSITION)
        self._exchange.set_leverage(call.user, listing.name, position.leverage, cross)
        return dict(SUCCESS)

    def change_position_margin(self, call: Call) -> Row:
        listing, amount = listed(call.params, self._listings), call.params.decimal("amount")
        kind = call.params.integer("type")
        if kind not in (1, 2):
            raise ApiError(Code.INVALID_PARAMETER, "Data sent for parameter 'type' is not valid.")
        if call.params.text_or("positionSide", "BOTH") != "BOTH":
            raise ApiError(Code.POSITION_SIDE_MISMATCH)
        if amount <= 0:
            raise ApiError(Code.AMOUNT_NOT_POSITIVE)
        position = self._exchange.position(call.user, listing.name)
        if position.cross:
            raise ApiError(Code.ADD_MARGIN_CROSSED)
        if not position.qty:
            raise ApiError(Code.ADD_MARGIN_NO_POSITION)
        delta = amount if kind == 1 else -amount
        if isinstance(self._exchange.change_isolated_margin(call.user, listing.name, delta), Refused):
            raise ApiError(Code.CROSS_BALANCE_INSUFFICIENT if kind == 1 else Code.ISOLATED_BALANCE_INSUFFICIENT)
        return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": kind}

    def position_mode(self, call: Call) -> Row:
        return {"dualSidePosition": self._settings.hedge_mode(call.user)}

    def set_position_mode(self, call: Call) -> Row:
        hedge = call.params.boolean("dualSidePosition")
        if hedge == self._settings.hedge_mode(call.user):
            raise ApiError(Code.SAME_POSITION_SIDE)
        if self._exchange.open_orders(call.user):
            raise ApiError(Code.POSITION_SIDE_OPEN_ORDERS)
        if any(self._exchange.position(call.user, name).qty for name in self._listings):
            raise ApiError(Code.POSITION_SIDE_POSITION)
        self._settings.set_hedge_mode(call.user, hedge)
        self._streams.modes_changed(call.user)
        return dict(SUCCESS)

    def multi_assets(self, call: Call) -> Row:
        return {"multiAssetsMargin": self._settings.multi_assets(call.user)}

    def set_multi_assets(self, call: Call) -> Row:
        wanted = call.params.boolean("multiAssetsMargin")
        isolated = any(not self._exchange.position(call.user, name).cross for name in self._listings)
        if wanted and isolated:
            raise ApiError(Code.MULTI_ASSETS_ISOLATED)
        self._settings.set_multi_assets(call.user, wanted)
        self._streams.modes_changed(call.user)
        return dict(SUCCESS)

    def stp(self, call: Call) -> Row:
        return {"stpMode": self._settings.stp_mode(call.user)}

    def set_stp(self, call: Call) -> Row:
        self._settings.set_stp_mode(call.user, stp_mode(call.params).name)
        return dict(SUCCESS)

    # -- terms ------------------------------------------------------------------------------------------------------

    def brackets(self, call: Call) -> Row | list[Row]:
        """A list, or a single object when `symbol` is sent."""
        rows = [listing.bracket_row() for listing in self._asked(call)]
        return rows[0] if "symbol" in call.params else rows

    def commission_rate(self, call: Call) -> Row:
        name = listed(call.params, self._listings).name
        return {"symbol": name, "makerCommissionRate": str(MAKER_FEE), "takerCommissionRate": str(TAKER_FEE)}

    def adl_quantile(self, call: Call) -> list[Row]:
        """Nobody is deleveraged here: every quantile is 0."""
        return [
            {"symbol": listing.name, "adlQuantile": {"LONG": 0, "SHORT": 0, "BOTH": 0}} for listing in self._asked(call)
        ]

    def openable_notional(self, call: Call) -> Row:
        """No open-interest cap is set."""
        name = listed(call.params, self._listings).name
        return {"symbol": name, "remainingOpenableNotionalValue": "-1"}

    def _asked(self, call: Call) -> list[Listing]:
        """The listing asked for, or all of them."""
        if "symbol" in call.params:
            return [listed(call.params, self._listings)]
        return list(self._listings.values())


def _income(name: str, kind: str, amount: Decimal, time_ns: int, tran_id: int, trade_id: str) -> Row:
    return {
        "symbol": name,
        "incomeType": kind,
        "income": money(amount),
        "asset": QUOTE,
        "info": kind if kind != "FUNDING_FEE" else "",
        "time": time_ns // NS_PER_MS,
        "tranId": str(tran_id),
        "tradeId": trade_id,
    }


def _pnl(position: Position, mark: Decimal) -> Decimal:
    return (mark - position.entry_px) * position.qty if position.qty else ZERO


def _alias(user: str) -> str:
    """A short stable name that is not the address."""
    return "".join(chr(ord("A") + int(digit, 16)) for digit in user[2:18])


def _to_tick(px: Decimal, listing: Listing) -> Decimal:
    tick = listing.contract.tick
    return (px / tick).to_integral_value(rounding=ROUND_FLOOR) * tick
