"""Funding: which settlements are due, and what each account pays or receives at one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

from ops.sandbox.ledger import Change, Ledger
from ops.sandbox.model import Contract, FundingBasis, FundingPayment
from ops.sandbox.pricing import NS_PER_H, Pricing
from ops.sandbox.terms import Terms

MAX_CATCH_UP_H = 24 * 7


class Settlements:
    """Pays on the whole hours (calendar) at which each contract settles, each exactly once, across restarts too."""

    def __init__(self, terms: Terms, ledger: Ledger, pricing: Pricing, money: Callable[[Decimal], Decimal]) -> None:
        self._terms = terms
        self._ledger = ledger
        self._pricing = pricing
        self._money = money

    def due(self, now_ns: int) -> Iterator[Change]:
        """One change per settlement since the last one paid, oldest first; what is older than a week is let go.

        Each must be published before the next is asked for. A new exchange starts with the coming settlement, and so
        does one whose calendar was set back: a scaled run that is started again begins at real time.
        """
        latest = now_ns // NS_PER_H * NS_PER_H
        if not self._ledger.settled_ns or self._ledger.settled_ns > latest:
            change = Change()
            change.settled_ns = latest
            yield change
        first = max(self._ledger.settled_ns + NS_PER_H, latest - MAX_CATCH_UP_H * NS_PER_H)
        for at_ns in range(first, latest + 1, NS_PER_H):
            change = Change()
            change.settled_ns = at_ns
            for contract in () if self._terms.is_spot else self._terms.contracts:
                if contract.listed and at_ns // NS_PER_H % contract.funding_interval_h == 0:
                    self._settle(change, contract, at_ns)
            yield change

    def _settle(self, change: Change, contract: Contract, at_ns: int) -> None:
        """Every open position pays size * price * rate (longs pay a positive rate), out of the cash that backs it."""
        name = contract.name
        rate = self._pricing.settled(name, at_ns).rate
        on_oracle = self._terms.funding_basis is FundingBasis.ORACLE
        px = self._pricing.oracle(name) if on_oracle else self._pricing.mark(name)
        for account in self._ledger.accounts.values():
            position = account.positions.get(name)
            if position is None or not position.qty:
                continue
            cash = -self._money(position.qty * px * rate)
            if position.cross:
                account.cash += cash
            else:
                position.isolated_margin += cash
            position.funding_all -= cash
            position.funding_open -= cash
            change.accounts[account.address] = account
            change.payments.append(
                FundingPayment(
                    payment_id=self._ledger.next_trade_id(), account=account.address, name=name, rate=rate,
                    qty=position.qty, px=px, cash=cash, time_ns=at_ns,
                )
            )  # fmt: skip
