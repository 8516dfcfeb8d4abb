"""One small exchange on a clock that only tests move: exact prices, a listener that remembers, a log that is a list."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from core.clock import SimClock
from core.types import Side, TimeInForce
from core.venue_spec import VenueKind
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import (
    AccountState,
    Contract,
    Fill,
    FundingBasis,
    FundingPayment,
    MinNotionalExempt,
    Order,
    Placed,
    Sample,
    Trade,
    Transaction,
)
from ops.sandbox.terms import Terms

D = Decimal
ALICE, BOB, AGENT = "0x" + "a1" * 20, "0x" + "b0" * 20, "0x" + "a9" * 20
RATE = 0.0001
HOUR_NS = 3600 * 10**9

ABC = Contract(
    symbol="ABC", name="ABC", tick=D("0.01"), lot=D("0.01"), min_notional=D(10), max_leverage=20, sigfigs=5,
    maintenance_ratio=D("0.025"), default_leverage=10,
)  # fmt: skip
KDEF = Contract(
    symbol="DEF", name="kDEF", tick=D("0.000001"), lot=D(1), min_notional=D(10), max_leverage=10, multiplier=1000,
    maintenance_ratio=D("0.05"), default_leverage=10, funding_interval_h=8,
)  # fmt: skip
DEAD = Contract(
    symbol="OLD", name="OLD", tick=D(1), lot=D(1), min_notional=D(10), max_leverage=3, maintenance_ratio=D("0.1"),
    listed=False,
)  # fmt: skip


class Memory:
    """A Listener that keeps what it heard, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def book_changed(self, contract: Contract) -> None:
        self.heard.append(("book", contract.name))

    def traded(self, trade: Trade) -> None:
        self.heard.append(("trade", trade))

    def order_changed(self, order: Order) -> None:
        self.heard.append(("order", (order.order_id, order.state)))

    def filled(self, order: Order, fill: Fill) -> None:
        self.heard.append(("fill", fill))

    def funding_paid(self, payment: FundingPayment) -> None:
        self.heard.append(("funding", payment))

    def account_changed(self, account: AccountState) -> None:
        self.heard.append(("account", account.address))

    def of(self, kind: str) -> list[Any]:
        return [value for name, value in self.heard if name == kind]


class Small:
    """The exchange, its clock, listener and log. Prices stand still unless `quote` moves them."""

    def __init__(
        self,
        basis: FundingBasis = FundingBasis.ORACLE,
        exempt: MinNotionalExempt = MinNotionalExempt.WHOLE_CLOSE,
        log: tuple[Transaction, ...] = (),
        clock: SimClock | None = None,
        mid: float | None = 100.0,  # None = no market step yet: a restored world as it was left
        kind: VenueKind = VenueKind.PERP,
    ) -> None:
        self.clock = clock or SimClock(wire_ns=497_223 * HOUR_NS + 60 * 10**9)
        self.transactions: list[Transaction] = []
        self.memory = Memory()
        terms = Terms(
            contracts=(ABC, DEAD, KDEF), maker_fee=D("0.0001"), taker_fee=D("0.0005"), funding_basis=basis,
            money_step=D("0.000001"), min_notional_exempt=exempt, max_open_orders=20, kind=kind,
        )  # fmt: skip
        self.exchange = Exchange("test", terms, self.clock, lambda symbol, hour: RATE, self._store)
        self.exchange.restore(log)
        self.exchange.attach(self.memory)
        if mid is not None:
            self.quote(mid)
        self.quote(0.001, symbol="DEF")
        for address in (ALICE, BOB):
            self.exchange.open_account(address, D(10_000), [AGENT] if address == ALICE else [])

    def _store(self, transaction: Transaction) -> None:
        """As the log would: through the wire form, so that nothing is shared with the living state."""
        self.transactions.append(msgspec.json.decode(msgspec.json.encode(transaction), type=Transaction))

    def quote(
        self, mid: float, *, symbol: str = "ABC", touch_usd: float = 1000.0, oracle: float | None = None,
        mark: float | None = None, half_bps: float = 1.0, print_usd: float = 0.0,
    ) -> None:  # fmt: skip
        """A step of the market for one contract: the touch is mid -+ half_bps, with about `touch_usd` a side."""
        self.exchange.apply(
            symbol,
            Sample(mid, oracle or mid, mark or mid, half_bps, touch_usd, touch_usd, print_usd, 7),
        )

    def place(self, side: Side, qty: str, px: str | None, tif: TimeInForce = TimeInForce.GTC, *, who: str = ALICE,
              name: str = "ABC", **more: Any) -> Placed:  # fmt: skip
        return self.exchange.place(who, name, side, D(qty), None if px is None else D(px), tif, **more)

    def buy(self, qty: str, px: str | None = "101", tif: TimeInForce = TimeInForce.IOC, **more: Any) -> Placed:
        return self.place(Side.BUY, qty, px, tif, **more)

    def sell(self, qty: str, px: str | None = "99", tif: TimeInForce = TimeInForce.IOC, **more: Any) -> Placed:
        return self.place(Side.SELL, qty, px, tif, **more)

    def held(self, who: str = ALICE, name: str = "ABC") -> Decimal:
        return self.exchange.position(who, name).qty

    def cash(self, who: str = ALICE) -> Decimal:
        account = self.exchange.account(who)
        assert account is not None
        return account.cash
