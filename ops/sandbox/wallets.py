"""A spot account: one wallet per asset, nothing borrowed, nothing owed.

A wallet is the account's row of the contract (Position.qty, never below zero, entry_px = what it cost on average, as people
ask for it); `cash` is the wallet of the quote currency. Buying takes the whole price out of it at once. A resting order
holds what it would pay: a buy its worst price and fee in quote, a sell its size in base, so the sum of all open sells of an
asset never exceeds its wallet. There is no leverage, no funding and no liquidation. Fees are paid in quote: a wallet holds
exactly what was bought.

Refused: booking spot as perpetuals at leverage one. The figures would come out alike while prices stand, and an account
whose coins fell below their cost would be liquidated.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from core.errors import invariant
from core.types import Side
from ops.sandbox.account import Marks, unrealized
from ops.sandbox.model import ZERO, AccountState, Margin, Order, Position
from ops.sandbox.terms import Terms


def exchange_assets(
    account: AccountState, position: Position, side: Side, qty: Decimal, px: Decimal, fee: Decimal
) -> Decimal:
    """Change both wallets by one execution; returns what was earned over the average cost (fees apart)."""
    before = position.qty
    after = before + side.sign * qty
    invariant(after >= 0, f"the wallet of {position.name} would fall to {after}")
    realized = ZERO
    if side is Side.BUY:
        position.entry_px = (position.entry_px * before + px * qty) / after
    else:
        realized = (px - position.entry_px) * qty
        position.entry_px = position.entry_px if after else ZERO
    position.qty = after
    account.cash -= side.sign * qty * px + fee
    account.volume += qty * px
    return realized


def wallet_margin(account: AccountState, mark: Marks, orders: Iterable[Order], taker_fee: Decimal) -> Margin:
    """The account's figures at the current marks; `free` is the quote currency that no order holds."""
    values = [(position, mark(position.name)) for position in account.positions.values() if position.qty]
    notional = sum((position.qty * px for position, px in values), ZERO)
    held = sum((quote_needed(order.remaining, order.px, taker_fee) for order in orders if order.side is Side.BUY), ZERO)
    return Margin(
        equity=account.cash + notional,
        cross_equity=account.cash + notional,
        initial=ZERO,
        isolated=ZERO,
        orders=held,
        maintenance=ZERO,
        unrealized=sum((unrealized(position, px) for position, px in values), ZERO),
        notional=notional,
        cross_notional=notional,
        free=max(ZERO, account.cash - held),
    )


def quote_needed(qty: Decimal, px: Decimal, taker_fee: Decimal) -> Decimal:
    """What buying may cost at most, in quote."""
    return qty * px * (1 + taker_fee)


def base_held(orders: Iterable[Order], name: str) -> Decimal:
    """What open sells hold of one wallet."""
    return sum((order.remaining for order in orders if order.name == name and order.side is Side.SELL), ZERO)


def lacks_funds(terms: Terms, account: AccountState, order: Order, open_orders: list[Order], worst_px: Decimal) -> bool:
    """Whether a wallet, less what open orders hold, cannot pay for the order."""
    if order.side is Side.SELL:
        position = account.positions.get(order.name)
        wallet = position.qty if position is not None else ZERO
        return order.qty > wallet - base_held(open_orders, order.name)
    held = sum(
        (quote_needed(each.remaining, each.px, terms.taker_fee) for each in open_orders if each.side is Side.BUY), ZERO
    )
    return quote_needed(order.qty, worst_px, terms.taker_fee) > account.cash - held
