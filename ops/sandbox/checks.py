"""The rules an order must pass before it may trade, in the order a venue applies them; the first broken one refuses it."""

from __future__ import annotations

from decimal import Decimal

from core.types import TimeInForce
from ops.sandbox.account import margin_of, opening_qty
from ops.sandbox.ledger import Ledger
from ops.sandbox.matching import Book
from ops.sandbox.model import AccountState, Contract, Margin, MinNotionalExempt, Order, Position, Reject
from ops.sandbox.pricing import Pricing
from ops.sandbox.terms import Terms
from ops.sandbox.wallets import lacks_funds, wallet_margin

MARKET_COVER = Decimal("1.1")  # of the mark: what a spot market order must be able to pay; deeper than any book here


class Checks:
    """Reads the venue's state, changes nothing but the size of a reduce-only order."""

    def __init__(self, terms: Terms, books: dict[str, Book], ledger: Ledger, pricing: Pricing) -> None:
        self._terms = terms
        self._contracts = {contract.name: contract for contract in terms.contracts}
        self._books = books
        self._ledger = ledger
        self._pricing = pricing
        self._mark = pricing.mark

    def refusal(self, account: AccountState, order: Order) -> Reject | None:
        """The first rule an order breaks. A reduce-only order is shrunk to the position on the way."""
        contract = self._contracts.get(order.name)
        if contract is None or not self._pricing.known(order.name):
            return Reject.UNKNOWN_SYMBOL
        if order.qty <= 0:
            return Reject.ZERO_SIZE
        if order.qty % contract.lot:
            return Reject.LOT
        mark = self._mark(order.name)
        if not order.is_market:
            if order.px <= 0 or order.px % contract.tick_at(order.px):
                return Reject.TICK
            if self._outside_band(contract, order, mark):
                return Reject.PRICE_BAND
        position = self._ledger.position(account, order.name, contract.default_leverage)
        if order.reduce_only:
            if position.qty * order.side.sign >= 0:
                return Reject.REDUCE_ONLY
            order.qty = min(order.qty, abs(position.qty))
        if order.qty < contract.min_qty:
            return Reject.MIN_QTY
        if self._too_small(contract, order, position, mark):
            return Reject.MIN_NOTIONAL
        if self._lacks_margin(account, order, position, mark):
            return Reject.MARGIN
        if order.tif is TimeInForce.POST_ONLY and self._books[order.name].crosses(order.side, order.px):
            return Reject.POST_ONLY_WOULD_CROSS
        if len(self._ledger.open_orders(account.address)) >= self._terms.max_open_orders:
            return Reject.TOO_MANY_ORDERS
        return None

    def _outside_band(self, contract: Contract, order: Order, mark: Decimal) -> bool:
        away = (order.px - mark) / mark * order.side.sign
        return away > contract.price_band or (contract.band_both_sides and -away > contract.price_band)

    def _too_small(self, contract: Contract, order: Order, position: Position, mark: Decimal) -> bool:
        if order.qty * (mark if order.is_market else order.px) >= contract.min_notional:
            return False
        if self._terms.min_notional_exempt is MinNotionalExempt.NONE:
            return True
        if self._terms.min_notional_exempt is MinNotionalExempt.REDUCE_ONLY:
            return not order.reduce_only
        return position.qty * order.side.sign >= 0 or order.qty != abs(position.qty)

    def _lacks_margin(self, account: AccountState, order: Order, position: Position, mark: Decimal) -> bool:
        if self._terms.is_spot:
            worst_px = mark * MARKET_COVER if order.is_market else order.px
            return lacks_funds(self._terms, account, order, self._ledger.open_orders(account.address), worst_px)
        opening = opening_qty(position, order.side, order.qty)
        if not opening:
            return False
        px = mark if order.is_market or order.tif is TimeInForce.IOC else order.px
        cost = opening * px * (Decimal(1) / position.leverage + self._terms.taker_fee)
        released = (order.qty - opening) * mark / position.leverage
        return cost > self.margin(account).free + released

    def short_of_margin(self, account: AccountState) -> bool:
        """Whether positions and orders need more initial margin than there is."""
        figures = self.margin(account)
        return figures.initial + figures.orders > figures.cross_equity

    def margin(self, account: AccountState) -> Margin:
        """The account's figures at the current marks."""
        orders = self._ledger.open_orders(account.address)
        if self._terms.is_spot:
            return wallet_margin(account, self._mark, orders, self._terms.taker_fee)
        return margin_of(account, self._contracts, self._mark, orders)
