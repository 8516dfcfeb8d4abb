"""How EdgeX spells orders, fills, positions and payments (docs/venues/edgex.md 7, 8). Pure: from the model to wire shapes.

Whatever the matching engine refuses after the gateway took the order is no refusal on this venue's wire: the order exists,
and is CANCELED with a reason. An order that was shrunk to the position it may reduce ends CANCELED too, partly filled.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.numeric import plain
from core.types import LiquiditySide, Side, TimeInForce
from ops.sandbox.model import CancelReason, Fill, FundingPayment, Order, OrderState, Position, Reject
from ops.sandbox.venues._edgex_listing import COIN_ID, INTERVAL_H, MAKER_FEE, MONEY_STEP, TAKER_FEE, Listing

Row = dict[str, object]

TIME_IN_FORCE = {
    TimeInForce.GTC: "GOOD_TIL_CANCEL",
    TimeInForce.IOC: "IMMEDIATE_OR_CANCEL",
    TimeInForce.POST_ONLY: "POST_ONLY",
}
SIDE = {Side.BUY: "BUY", Side.SELL: "SELL"}
NO_REASON = "UNKNOWN_ORDER_CANCEL_REASON"

_ENDED = {
    CancelReason.USER: "USER_CANCELED",
    CancelReason.IOC_REMAINDER: "COULD_NOT_FILL",
    CancelReason.REDUCE_ONLY: "REDUCE_ONLY_CANCELED",
    CancelReason.SELF_TRADE: "SYSTEM_LIMIT_EVICTED",
    CancelReason.LIQUIDATED: "LIQUIDATE_CANCELED",
    CancelReason.SCHEDULED: "ADMIN_CANCELED",
    CancelReason.MARGIN: "MARGIN_NOT_ENOUGH",
    CancelReason.EXPIRED: "EXPIRE_CANCELED",
}
_REFUSED = {
    Reject.MARGIN: "MARGIN_NOT_ENOUGH",
    Reject.REDUCE_ONLY: "REDUCE_ONLY_CANCELED",
    Reject.POST_ONLY_WOULD_CROSS: "COULD_NOT_FILL",
    Reject.TOO_MANY_ORDERS: "SYSTEM_LIMIT_EVICTED",
}


def status_of(order: Order) -> tuple[str, str]:
    """(status, cancelReason)."""
    if order.state is OrderState.OPEN:
        return "OPEN", NO_REASON
    if order.state is OrderState.REJECTED:
        return "CANCELED", _REFUSED.get(order.reject or Reject.UNKNOWN_ORDER, "INTERNAL_FAILED")
    if order.state is OrderState.FILLED:
        whole = order.filled == order.requested_qty
        return ("FILLED", NO_REASON) if whole else ("CANCELED", "REDUCE_ONLY_CANCELED")
    return "CANCELED", _ENDED[order.cancel_reason or CancelReason.USER]


def order_row(order: Order, listing: Listing, nonce: int, fee: Decimal, pending: bool = False) -> Row:
    """An order as queries and the private stream show it. `fee`: paid so far. `pending`: as it stood before matching."""
    status, reason = ("PENDING", NO_REASON) if pending else status_of(order)
    filled, value = (Decimal(0), Decimal(0)) if pending else (order.filled, order.filled_notional)
    paid = Decimal(0) if pending else fee
    return {
        "id": str(order.order_id),
        "userId": order.account,
        "accountId": order.account,
        "coinId": COIN_ID,
        "contractId": listing.contract_id,
        "side": SIDE[order.side],
        "price": "0" if order.is_market else plain(order.px),
        "size": plain(order.requested_qty),
        "clientOrderId": order.client_id or "",
        "type": "MARKET" if order.is_market else "LIMIT",
        "timeInForce": TIME_IN_FORCE[order.tif],
        "reduceOnly": order.reduce_only,
        "triggerPrice": "0",
        "triggerPriceType": "UNKNOWN_PRICE_TYPE",
        "expireTime": order.memo or "0",
        "isPositionTpsl": False,
        "isLiquidate": order.client_id is None,
        "isDeleverage": False,
        "takerFeeRate": f"{TAKER_FEE:.6f}",
        "makerFeeRate": f"{MAKER_FEE:.6f}",
        "l2Nonce": str(nonce),
        "status": status,
        "cancelReason": reason,
        "cumFillSize": plain(filled),
        "cumFillValue": plain(value),
        "cumFillFee": money(paid),
        "cumMatchSize": plain(filled),
        "cumMatchValue": plain(value),
        "cumMatchFee": money(paid),
        "createdTime": _ms(order.created_ns),
        "updatedTime": _ms(order.updated_ns),
    }


def fill_row(fill: Fill, listing: Listing) -> Row:
    """A row of getHistoryOrderFillTransactionPage; `realizePnl` contains the fee."""
    return {
        "id": str(fill.trade_id),
        "userId": fill.account,
        "accountId": fill.account,
        "coinId": COIN_ID,
        "contractId": listing.contract_id,
        "orderId": str(fill.order_id),
        "orderSide": SIDE[fill.side],
        "fillSize": plain(fill.qty),
        "fillValue": plain(fill.qty * fill.px),
        "fillFee": money(fill.fee),
        "fillPrice": plain(fill.px),
        "liquidateFee": "0",
        "realizePnl": money(fill.realized - fill.fee),
        "direction": "MAKER" if fill.liquidity is LiquiditySide.MAKER else "TAKER",
        "isLiquidate": fill.liquidation,
        "isDeleverage": False,
        "matchTime": _ms(fill.time_ns),
        "createdTime": _ms(fill.time_ns),
        "updatedTime": _ms(fill.time_ns),
    }


def position_row(position: Position, account: str, listing: Listing) -> Row:
    """A row of positionList: size and value with the sign of the side held."""
    return {
        "userId": account,
        "accountId": account,
        "coinId": COIN_ID,
        "contractId": listing.contract_id,
        "openSize": plain(position.qty),
        "openValue": money(position.qty * position.entry_px),
        "openFee": "0.000000",
        "fundingFee": money(-position.funding_open),
        "createdTime": "0",
        "updatedTime": _ms(position.updated_ns),
    }


def funding_rows(payment: FundingPayment, listing: Listing) -> tuple[Row, Row]:
    """The positionTransaction and the collateralTransaction of one settlement; amounts are cash signed to the account."""
    shared: Row = {
        "userId": payment.account,
        "accountId": payment.account,
        "coinId": COIN_ID,
        "fundingTime": _ms(payment.time_ns),
        "fundingRate": f"{payment.rate:.8f}",
        "fundingIndexPrice": plain(payment.px),
        "fundingOraclePrice": plain(payment.px),
        "fundingPositionSize": plain(payment.qty),
        "createdTime": _ms(payment.time_ns),
        "updatedTime": _ms(payment.time_ns),
    }
    position: Row = {
        "id": str(payment.payment_id),
        "contractId": listing.contract_id,
        "type": "SETTLE_FUNDING_FEE",
        "deltaOpenSize": "0",
        "deltaOpenValue": "0",
        "deltaOpenFee": "0",
        "deltaFundingFee": money(payment.cash),
        "collateralTransactionId": f"{payment.payment_id}1",
    }
    collateral: Row = {
        "id": f"{payment.payment_id}1",
        "type": "POSITION_FUNDING",
        "deltaAmount": money(payment.cash),
        "positionContractId": listing.contract_id,
        "positionTransactionId": str(payment.payment_id),
    }
    return position | shared, collateral | shared


def rate_row(listing: Listing, rate: Decimal, settles_ns: int, px: Decimal, at_ns: int) -> Row:
    """A funding record: the rate fixed an interval before it settles. A settlement row where it was just fixed."""
    fixed_ns = settles_ns - INTERVAL_H * 3600 * NS_PER_S
    settled = at_ns == fixed_ns
    return {
        "contractId": listing.contract_id,
        "fundingTime": _ms(fixed_ns),
        "fundingTimestamp": _ms(at_ns),
        "oraclePrice": plain(px),
        "indexPrice": plain(px),
        "markPrice": plain(px),
        "fundingRate": f"{rate:.8f}",
        "isSettlement": settled,
        "forecastFundingRate": "" if settled else f"{rate:.8f}",
        "previousFundingRate": f"{rate:.8f}",
        "previousFundingTimestamp": _ms(fixed_ns - 60 * NS_PER_S),
        "premiumIndex": "0",
        "avgPremiumIndex": "0",
        "premiumIndexTimestamp": _ms(at_ns),
        "impactMarginNotional": "100",
        "impactAskPrice": plain(px),
        "impactBidPrice": plain(px),
        "interestRate": "0.0003",
        "predictedFundingRate": "0.00005000",
        "fundingRateIntervalMin": str(INTERVAL_H * 60),
        "fundingIndex": plain(px),
    }


def money(value: Decimal) -> str:
    """A USDC amount with six decimals."""
    return format(value.quantize(MONEY_STEP, ROUND_HALF_EVEN) + 0, "f")


def _ms(at_ns: int) -> str:
    return str(at_ns // NS_PER_MS)
