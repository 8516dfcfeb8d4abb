"""Funding: which settlements are due, and what each account pays or receives at one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from ops.sandbox.ledger import Change
from ops.sandbox.model import AccountState, FundingPayment
from ops.sandbox.pricing import NS_PER_H

MAX_CATCH_UP_H = 24 * 7


def settlements_due(settled_ns: int, now_ns: int) -> range:
    """Whole hours (calendar ns) after the last one paid, up to now; what is older than a week is let go."""
    latest = now_ns // NS_PER_H * NS_PER_H
    first = max(settled_ns + NS_PER_H, latest - MAX_CATCH_UP_H * NS_PER_H)
    return range(first, latest + 1, NS_PER_H)


def pay_funding(
    change: Change,
    accounts: Iterable[AccountState],
    name: str,
    rate: Decimal,
    px: Decimal,
    at_ns: int,
    money: Callable[[Decimal], Decimal],
    next_id: Callable[[], int],
) -> None:
    """Every open position in `name` pays size * px * rate (longs pay a positive rate), out of the cash that backs it."""
    for account in accounts:
        position = account.positions.get(name)
        if position is None or not position.qty:
            continue
        cash = -money(position.qty * px * rate)
        if position.cross:
            account.cash += cash
        else:
            position.isolated_margin += cash
        position.funding_all -= cash
        position.funding_open -= cash
        change.accounts[account.address] = account
        change.payments.append(
            FundingPayment(
                payment_id=next_id(), account=account.address, name=name, rate=rate, qty=position.qty, px=px, cash=cash,
                time_ns=at_ns,
            )
        )  # fmt: skip
