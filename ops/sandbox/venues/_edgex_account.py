"""The account by REST: figures, positions, fees, leverage, and what was paid (docs/venues/edgex.md 5, 7, 8).

`collateralList.amount` is no balance: it has the cost of open positions in it, as on the venue. Margin modes cannot be set
here (the meaning of their numbers is not documented); everything is cross.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from core.numeric import plain
from core.types import Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import FundingPayment, Reject
from ops.sandbox.venues import _edgex_rows as rows
from ops.sandbox.venues._edgex_call import Call, paged, within
from ops.sandbox.venues._edgex_errors import ApiError, Word
from ops.sandbox.venues._edgex_listing import COIN_ID, MAKER_FEE, TAKER_FEE, Listing
from ops.sandbox.venues._edgex_rows import Row, money

HISTORY_MAX = 100


class Account:
    """Handlers of /private/account. `version` tells how often an account has changed; `changed` tells its stream."""

    def __init__(
        self,
        exchange: Exchange,
        listed: dict[str, Listing],
        version: Callable[[str], int],
        changed: Callable[[str], None],
    ) -> None:
        self._exchange = exchange
        self._listed = listed  # by contract id
        self._by_name = {listing.name: listing for listing in listed.values()}
        self._version = version
        self._changed = changed

    def asset(self, call: Call) -> Row:
        figures = self._exchange.margin(call.account)
        return {
            "account": self.account_row(call.account),
            "collateralList": [self.collateral_row(call.account)],
            "positionList": self.position_rows(call.account),
            "version": str(self._version(call.account)),
            "positionAssetList": [self._asset_row(call.account, listing) for listing in self._held(call.account)],
            "collateralAssetModelList": [
                {
                    "userId": call.account,
                    "accountId": call.account,
                    "coinId": COIN_ID,
                    "totalEquity": plain(figures.cross_equity),
                    "totalPositionValueAbs": plain(figures.cross_notional),
                    "initialMarginRequirement": plain(figures.initial),
                    "starkExRiskValue": plain(figures.maintenance),
                    "pendingWithdrawAmount": "0",
                    "pendingTransferOutAmount": "0",
                    "orderFrozenAmount": plain(figures.orders),
                    "availableAmount": money(figures.free),
                }
            ],
            "oraclePriceList": [],
        }

    def account(self, call: Call) -> Row:
        return self.account_row(call.account)

    def positions(self, call: Call) -> list[Row]:
        wanted = call.texts("contractIdList")
        return [row for row in self.position_rows(call.account) if not wanted or row["contractId"] in wanted]

    def collateral(self, call: Call) -> list[Row]:
        return [self.collateral_row(call.account)]

    def set_leverage(self, call: Call) -> None:
        listing = self._listed.get(call.text("contractId"))
        if listing is None:
            raise ApiError(Word.PARAM_INVALID, contractId=call.text("contractId"))
        leverage = call.whole("leverage")
        if self._exchange.open_orders(call.account, listing.name):
            raise ApiError(Word.LEVERAGE_FAILED_ORDER)
        refused = self._exchange.set_leverage(call.account, listing.name, leverage, cross=True)
        if refused is not None:
            margin = refused.reason is Reject.MARGIN
            raise ApiError(Word.INVALID_PARAMETER, **({} if margin else {"leverage": str(leverage)}))
        self._exchange.set_extra(call.account, _leverage_key(listing), str(leverage))
        self._changed(call.account)

    def transactions(self, call: Call) -> Row:
        """getPositionTransactionPage: settlements of funding and executions, newest first."""
        kinds, contracts = call.texts("filterTypeList"), call.texts("filterContractIdList")
        found: list[Row] = []
        if not kinds or "SETTLE_FUNDING_FEE" in kinds:
            found += [self.funding(each)[0] for each in self._exchange.payments(call.account)]
        for fill in self._exchange.fills(call.account):
            kind = "BUY_POSITION" if fill.side is Side.BUY else "SELL_POSITION"
            if not kinds or kind in kinds:
                row = rows.fill_row(fill, self._by_name[fill.name])
                found.append(row | {"type": kind, "deltaOpenSize": plain(fill.qty * fill.side.sign)})
        kept = [
            row
            for row in found
            if within(call, int(str(row["createdTime"]))) and (not contracts or row["contractId"] in contracts)
        ]
        kept.sort(key=_row_id, reverse=True)
        given, offset = paged(call, kept, _row_id, HISTORY_MAX)
        return {"dataList": given, "nextPageOffsetData": offset}

    # -- rows that the private stream shows too -------------------------------------------------------------------------

    def account_row(self, account: str) -> Row:
        state = self._exchange.account(account)
        extras = state.extras if state is not None else {}
        settings = {
            listing.contract_id: _trade_setting(extras[_leverage_key(listing)])
            for listing in self._listed.values()
            if _leverage_key(listing) in extras
        }
        return {
            "id": account,
            "userId": account,
            "ethAddress": "0x" + "00" * 20,
            "clientAccountId": "main",
            "isSystemAccount": False,
            "defaultTradeSetting": {
                "isSetFeeRate": True,
                "takerFeeRate": f"{TAKER_FEE:.6f}",
                "makerFeeRate": f"{MAKER_FEE:.6f}",
                "isSetFeeDiscount": False,
                "takerFeeDiscount": "0",
                "makerFeeDiscount": "0",
                "isSetMaxLeverage": False,
                "maxLeverage": "0",
            },
            "contractIdToTradeSetting": settings,
            "maxLeverageLimit": "0",
            "createOrderPerMinuteLimit": 0,
            "createOrderDelayMillis": 0,
            "status": "NORMAL",
            "isLiquidating": False,
            "createdTime": "1730204434094",
            "updatedTime": "1730204434094",
        }

    def collateral_row(self, account: str) -> Row:
        state = self._exchange.account(account)
        cash = state.cash if state is not None else Decimal(0)
        cost = sum((each.qty * each.entry_px for each in state.positions.values()), Decimal(0)) if state else Decimal(0)
        return {
            "userId": account,
            "accountId": account,
            "coinId": COIN_ID,
            "amount": money(cash - cost),
            "legacyAmount": money(cash),
        }

    def position_rows(self, account: str) -> list[Row]:
        held = self._held(account)
        return [rows.position_row(self._exchange.position(account, each.name), account, each) for each in held]

    def position_row(self, account: str, name: str) -> Row:
        """Flat ones too."""
        return rows.position_row(self._exchange.position(account, name), account, self._by_name[name])

    def funding(self, payment: FundingPayment) -> tuple[Row, Row]:
        """(positionTransaction, collateralTransaction)."""
        return rows.funding_rows(payment, self._by_name[payment.name])

    def _held(self, account: str) -> list[Listing]:
        return [each for each in self._listed.values() if self._exchange.position(account, each.name).qty]

    def _asset_row(self, account: str, listing: Listing) -> Row:
        position, mark = self._exchange.position(account, listing.name), self._exchange.mark(listing.name)
        liquidation = self._exchange.liquidation_px(account, listing.name)
        notional = abs(position.qty) * mark
        return {
            "userId": account,
            "accountId": account,
            "coinId": COIN_ID,
            "contractId": listing.contract_id,
            "positionValue": plain(position.qty * mark),
            "maxLeverage": str(position.leverage),
            "initialMarginRequirement": plain(notional / position.leverage),
            "starkExRiskRate": plain(listing.contract.maintenance_ratio),
            "starkExRiskValue": plain(notional * listing.contract.maintenance_ratio),
            "avgEntryPrice": plain(position.entry_px),
            "liquidatePrice": plain(liquidation) if liquidation is not None else "0",
            "bankruptPrice": "0",
            "worstClosePrice": "0",
            "unrealizePnl": plain((mark - position.entry_px) * position.qty),
            "termRealizePnl": "0.000000",
            "totalRealizePnl": "0.000000",
        }


def _row_id(row: Row) -> int:
    return int(str(row["id"]))


def _leverage_key(listing: Listing) -> str:
    return f"edgex.leverage.{listing.contract_id}"


def _trade_setting(leverage: str) -> Row:
    return {
        "isSetFeeRate": False,
        "takerFeeRate": "",
        "makerFeeRate": "",
        "isSetFeeDiscount": False,
        "takerFeeDiscount": "",
        "makerFeeDiscount": "",
        "isSetMaxLeverage": True,
        "maxLeverage": leverage,
    }
