"""What each transaction asks for: judged when it arrives, done when the sequencer takes it up (docs/venues/lighter.md 7).

The two halves refuse different things, as on the venue. On arrival: what the text alone shows, duplicate client indices,
minimum sizes and margin of resting orders. Later, with the answer long given: margin of takers, crossing post-only orders,
reduce-only orders in the wrong direction, IOC orders that find nothing; these end as canceled orders. And two refusals
leave no order at all, only a failed transaction: a price far through the mark, and a reduce-only order without a position.

Trigger orders, TWAP, grouped orders, spot and integrator fees are not simulated.
"""

from __future__ import annotations

from collections.abc import Container
from decimal import Decimal

from core.clock import NS_PER_MS, Clock
from core.types import Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import CancelReason, Order, Refused, Reject, SelfTrade
from ops.sandbox.venues._lighter_errors import ApiError, Code, invalid_param
from ops.sandbox.venues._lighter_limits import Limits
from ops.sandbox.venues._lighter_listing import (
    MIN_QUOTE_USD,
    PRICE_BAND,
    QUOTE_LIMIT_USD,
    USDC_STEP,
    Listing,
    Market,
)
from ops.sandbox.venues._lighter_rows import CLIENT_LIMIT, ORDER_BASE, SWITCH_KEY, Memo, fraction_key, order_index
from ops.sandbox.venues._lighter_signing import Attribute, Tx, TxType

LIMIT, MARKET = 0, 1
IOC, GOOD_TILL_TIME, POST_ONLY = 0, 1, 2
NOW, SCHEDULED, ABORT = 0, 1, 2  # of a cancel-all
NIL_MARKET = 255
EXPIRY_AHEAD_MS = (5 * 60_000, 30 * 86_400_000)
SWITCH_AHEAD_MS = (5 * 60_000, 15 * 86_400_000)
_TIFS = {IOC: TimeInForce.IOC, GOOD_TILL_TIME: TimeInForce.GTC, POST_ONLY: TimeInForce.POST_ONLY}
_SELF_TRADES = {0: SelfTrade.EXPIRE_MAKER, 1: SelfTrade.EXPIRE_TAKER, 2: SelfTrade.EXPIRE_BOTH}
_REFUSALS = {
    Reject.MARGIN: Code.BELOW_INITIAL_MARGIN,
    Reject.POSITION_MARGIN: Code.MARGIN_MODE_BUSY,
    Reject.LEVERAGE: Code.INVALID_MARGIN_FRACTION,
    Reject.UNKNOWN_ORDER: Code.INACTIVE_ORDER,
    Reject.PRICE_BAND: Code.ACCIDENTAL_PRICE,
    Reject.REDUCE_ONLY: Code.REDUCE_ONLY_DIRECTION,
}
Event = dict[str, int]


class Orders:
    """Refusals on either side are ApiError."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing, limits: Limits) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._limits = limits

    # -- on arrival -------------------------------------------------------------------------------------------------

    def admit(self, tx: Tx, on_their_way: Container[int]) -> None:
        """Refuse what the venue refuses before it queues a transaction. `on_their_way` = client indices not yet matched."""
        match tx.kind:
            case TxType.CREATE_ORDER:
                self._admit_order(tx, on_their_way)
            case TxType.CANCEL_ORDER:
                self._market(tx)
                self._admit_target(tx, on_their_way)
            case TxType.MODIFY_ORDER:
                self._admit_price(tx, self._market(tx))
                self._admit_target(tx, on_their_way)
            case TxType.CANCEL_ALL_ORDERS:
                self._admit_cancel_all(tx)
            case TxType.UPDATE_LEVERAGE:
                self._admit_leverage(tx)
            case TxType.UPDATE_MARGIN:
                self._market(tx)
                if tx.body["Direction"] not in (0, 1):
                    raise invalid_param("Direction")
            case TxType.APPROVE_INTEGRATOR:
                raise ApiError(Code.INTEGRATOR_NOT_APPROVED)

    def takes(self, tx: Tx) -> bool:
        """Whether the longer delay of takers applies: IOC, or a limit that would trade at once."""
        if tx.kind is not TxType.CREATE_ORDER or tx.body["TimeInForce"] == POST_ONLY:
            return False
        return tx.body["TimeInForce"] == IOC or self._crosses(tx, self._listing.by_index[tx.body["MarketIndex"]])

    def _admit_order(self, tx: Tx, on_their_way: Container[int]) -> None:
        body, market = tx.body, self._market(tx)
        if Attribute.INTEGRATOR_ACCOUNT in tx.attributes:
            raise ApiError(Code.INTEGRATOR_NOT_APPROVED)
        if tx.attributes.get(Attribute.SELF_TRADE_BEHAVIOR, 0) not in _SELF_TRADES:
            raise invalid_param("L2TxAttributes")
        if body["Type"] not in (LIMIT, MARKET) or body["TriggerPrice"]:
            raise ApiError(Code.INVALID_ORDER_TYPE)
        tif = body["TimeInForce"]
        if tif not in _TIFS or (body["Type"] == MARKET and tif != IOC):
            raise ApiError(Code.INVALID_TIME_IN_FORCE)
        now_ms = self._now_ms()
        earliest, latest = (now_ms + ahead for ahead in EXPIRY_AHEAD_MS)
        if (body["OrderExpiry"] != 0) if tif == IOC else not earliest <= body["OrderExpiry"] <= latest:
            raise ApiError(Code.INVALID_EXPIRY)
        self._admit_price(tx, market)
        client = body["ClientOrderIndex"]
        if client and (client in on_their_way or self._order(tx.account, client) is not None):
            raise ApiError(Code.DUPLICATE_CLIENT_ID)
        if tif != IOC:
            self._admit_resting(tx, market)

    def _admit_price(self, tx: Tx, market: Market) -> None:
        body = tx.body
        if body["Price"] < 1:
            raise ApiError(Code.INVALID_PRICE)
        if body["BaseAmount"] < 1 or body["BaseAmount"] * market.lot * body["Price"] * market.tick > QUOTE_LIMIT_USD:
            raise ApiError(Code.INVALID_AMOUNT)

    def _admit_resting(self, tx: Tx, market: Market) -> None:
        """Minimum size and margin of an order that would rest."""
        body, address = tx.body, str(tx.account)
        qty, px = body["BaseAmount"] * market.lot, body["Price"] * market.tick
        if len(self._exchange.open_orders(address)) >= self._exchange.terms.max_open_orders:
            raise ApiError(Code.TOO_MANY_ORDERS)
        if body["ReduceOnly"]:
            return
        if qty < Decimal(market.min_base) or qty * px < MIN_QUOTE_USD:
            raise ApiError(Code.INVALID_AMOUNT)
        position = self._exchange.position(address, market.name)
        opens = position.qty * _side(tx).sign >= 0
        if (
            opens
            and not self._crosses(tx, market)
            and qty * px / position.leverage > self._exchange.margin(address).free
        ):
            raise ApiError(Code.NOT_ENOUGH_MARGIN)

    def _admit_target(self, tx: Tx, on_their_way: Container[int]) -> None:
        """The order that a cancel or a modification names must be open, or on its way."""
        index = tx.body["Index"]
        if index < CLIENT_LIMIT and index in on_their_way:
            return
        order = self._order(tx.account, index)
        if order is None or order.name != self._market(tx).name:
            raise ApiError(Code.ORDER_NOT_FOUND)
        if not order.is_open:
            raise ApiError(Code.INACTIVE_ORDER)

    def _admit_cancel_all(self, tx: Tx) -> None:
        when, time_ms, now_ms = tx.body["TimeInForce"], tx.body["Time"], self._now_ms()
        market = tx.attributes.get(Attribute.CANCEL_ALL_MARKET, NIL_MARKET)
        if when not in (NOW, SCHEDULED, ABORT):
            raise ApiError(Code.INVALID_TIME_IN_FORCE)
        if market != NIL_MARKET and (when != NOW or market not in self._listing.by_index):
            raise ApiError(Code.INVALID_MARKET)
        earliest, latest = (now_ms + ahead for ahead in SWITCH_AHEAD_MS)
        if not earliest <= time_ms <= latest if when == SCHEDULED else time_ms != 0:
            raise ApiError(Code.INVALID_CANCEL_ALL_TIME)

    def _admit_leverage(self, tx: Tx) -> None:
        market, address = self._market(tx), str(tx.account)
        self._limits.charge_leverage(address, self._clock.mono_ns())
        if not market.min_imf <= tx.body["InitialMarginFraction"] <= 10_000:
            raise ApiError(Code.INVALID_MARGIN_FRACTION)
        if tx.body["MarginMode"] not in (0, 1):
            raise invalid_param("MarginMode")
        position = self._exchange.position(address, market.name)
        changes = position.cross != (tx.body["MarginMode"] == 0)
        if changes and (position.qty or self._exchange.open_orders(address, market.name)):
            raise ApiError(Code.MARGIN_MODE_BUSY)

    # -- when its turn has come -------------------------------------------------------------------------------------

    def execute(self, tx: Tx, tx_hash: str) -> Event:
        """Do it; what there is to tell of it."""
        match tx.kind:
            case TxType.CREATE_ORDER:
                return self._create(tx, tx_hash)
            case TxType.CANCEL_ORDER:
                order = self._target(tx)
                _raise(self._exchange.cancel(order.account, order.order_id))
                return {"i": order_index(order.order_id)}
            case TxType.MODIFY_ORDER:
                return self._modify(tx)
            case TxType.CANCEL_ALL_ORDERS:
                return self._cancel_all(tx)
            case TxType.UPDATE_LEVERAGE:
                return self._update_leverage(tx)
            case TxType.UPDATE_MARGIN:
                amount = tx.body["USDCAmount"] * USDC_STEP * (1 if tx.body["Direction"] else -1)
                _raise(self._exchange.change_isolated_margin(str(tx.account), self._market(tx).name, amount))
        return {}

    def run_switches(self) -> None:
        """Dead-man switches that are due, and orders whose time is over. Called from `tick`."""
        now_ms = self._now_ms()
        for account in list(self._exchange.ledger.accounts.values()):
            due_ms = int(account.extras.get(SWITCH_KEY, "0"))
            if due_ms and due_ms <= now_ms:
                self._exchange.set_extra(account.address, SWITCH_KEY, None)
                self._exchange.cancel_all(account.address, reason=CancelReason.SCHEDULED)
            for order in self._exchange.open_orders(account.address):
                if Memo.of(order).expiry_ms <= now_ms:
                    self._exchange.cancel(account.address, order.order_id, reason=CancelReason.EXPIRED)

    def _create(self, tx: Tx, tx_hash: str) -> Event:
        body, market, address = tx.body, self._market(tx), str(tx.account)
        side, px = _side(tx), body["Price"] * market.tick
        mark = self._exchange.mark(market.name)
        if (px - mark) * side.sign > mark * PRICE_BAND:
            raise ApiError(Code.ACCIDENTAL_PRICE)
        if body["ReduceOnly"] and not self._exchange.position(address, market.name).qty:
            raise ApiError(Code.REDUCE_ONLY_INCREASES)
        client = body["ClientOrderIndex"]
        placed = self._exchange.place(
            address,
            market.name,
            side,
            body["BaseAmount"] * market.lot,
            px,
            _TIFS[body["TimeInForce"]],
            reduce_only=bool(body["ReduceOnly"]),
            client_id=str(client) if client else None,
            self_trade=_SELF_TRADES[tx.attributes.get(Attribute.SELF_TRADE_BEHAVIOR, 0)],
            memo=Memo(body["Type"], body["TimeInForce"], body["OrderExpiry"], tx_hash).text(),
        )
        return {"m": market.index, "i": order_index(placed.order.order_id), "u": client}

    def _modify(self, tx: Tx) -> Event:
        order, market = self._target(tx), self._market(tx)
        qty, px = tx.body["BaseAmount"] * market.lot, tx.body["Price"] * market.tick
        if qty <= order.filled:
            raise ApiError(Code.INVALID_AMOUNT)
        _raise(self._exchange.amend(order.account, order.order_id, qty, px))
        return {"m": market.index, "i": order_index(order.order_id)}

    def _cancel_all(self, tx: Tx) -> Event:
        address, when = str(tx.account), tx.body["TimeInForce"]
        if when == NOW:
            index = tx.attributes.get(Attribute.CANCEL_ALL_MARKET, NIL_MARKET)
            name = None if index == NIL_MARKET else self._listing.by_index[index].name
            return {"n": len(self._exchange.cancel_all(address, name))}
        self._exchange.set_extra(address, SWITCH_KEY, str(tx.body["Time"]) if when == SCHEDULED else None)
        return {}

    def _update_leverage(self, tx: Tx) -> Event:
        address, market = str(tx.account), self._market(tx)
        fraction = tx.body["InitialMarginFraction"]
        _raise(self._exchange.set_leverage(address, market.name, 10_000 // fraction, tx.body["MarginMode"] == 0))
        self._exchange.set_extra(address, fraction_key(market.name), str(fraction))
        return {"m": market.index}

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _market(self, tx: Tx) -> Market:
        market = self._listing.by_index.get(tx.body["MarketIndex"])
        if market is None:
            raise ApiError(Code.INVALID_MARKET)
        return market

    def _target(self, tx: Tx) -> Order:
        order = self._order(tx.account, tx.body["Index"])
        if order is None:
            raise ApiError(Code.ORDER_NOT_FOUND)
        return order

    def _order(self, account: int, index: int) -> Order | None:
        """By client index or by the venue's: their ranges are apart."""
        if index < CLIENT_LIMIT:
            return self._exchange.order(str(account), client_id=str(index))
        return self._exchange.order(str(account), order_id=index - ORDER_BASE)

    def _crosses(self, tx: Tx, market: Market) -> bool:
        top, px = self._exchange.top(market.name), tx.body["Price"] * market.tick
        level = top.ask if _side(tx) is Side.BUY else top.bid
        return level is not None and (px - level.px) * _side(tx).sign >= 0

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


def _side(tx: Tx) -> Side:
    return Side.SELL if tx.body["IsAsk"] else Side.BUY


def _raise(result: object) -> None:
    if isinstance(result, Refused):
        raise ApiError(_REFUSALS.get(result.reason, Code.NOT_ENOUGH_MARGIN))
