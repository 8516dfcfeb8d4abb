"""Quotes and orders of the simulated Variational (docs/venues/variational.md 3b and 7a).

A quote is a price for exactly one size, good for QUOTE_LIFE_S and for one acceptance. An accepted order is pending until the
order delay has passed; then the venue looks once more and takes the whole order at the quoted price, or refuses it. What is
pending or was refused stands in the account's own settings, so that it survives a restart; what cleared is an order of the
exchange, whose client id is the rfq id.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import msgspec

from core.clock import NS_PER_S, Clock
from core.numeric import plain
from core.types import Side, TimeInForce
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import ZERO, Contract, Level, OrderState, Reject
from ops.sandbox.venues import _variational_listing as listing
from ops.sandbox.venues._variational_errors import ApiError, malformed, off_step, refused

QUOTE_LIFE_S = 2.5
LAST_LOOK = Decimal("0.001")  # beyond the client's own slippage: how far the price may run before the venue backs out
STRANDED_S = 5.0  # a pending order of an earlier process is refused after this
MAX_QUOTES, MAX_KEPT = 500, 20
MAX_TEXT = 40
PENDING, CLEARED, REJECTED, CANCELED = "pending", "cleared", "rejected", "canceled"
QUOTE_EXPIRED = "rejected_failed_taker_accept_quote_expired"
LAST_LOOK_REJECTED = "rejected_maker_last_look_rejected"
REDUCE_ONLY = "rejected_failed_reduce_only_check"
NO_FUNDING = "rejected_failed_taker_funding"
RISK = "rejected_failed_risk_checks"
_KEY = "rfq:"


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """Prices for buying and selling `qty`."""

    quote_id: str
    account: str
    name: str
    qty: Decimal
    bid: Decimal
    ask: Decimal
    made_ns: int  # wire


class Rfq(msgspec.Struct, kw_only=True):
    """An order that is pending or was refused."""

    rfq_id: str
    name: str
    side: Side
    qty: Decimal
    px: Decimal
    slippage: Decimal
    reduce_only: bool
    created_ns: int  # wire
    status: str = PENDING
    clearing_status: str | None = None


class Desk:
    """`changed(account, rfq_id)` hears of every order that was taken or has ended."""

    def __init__(
        self, exchange: Exchange, clock: Clock, order_delay_s: float, changed: Callable[[str, str], None]
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._order_delay_s = order_delay_s
        self._changed = changed
        self._quotes: dict[str, Quote] = {}
        self._clearing: dict[str, asyncio.Task[None]] = {}

    # -- quotes -----------------------------------------------------------------------------------------------------

    def quote(self, account: str, body: Any) -> dict[str, Any]:
        """A live quote for the qty asked. Raises ApiError."""
        if not isinstance(body, dict):
            raise malformed("Failed to deserialize the JSON body")
        contract = listing.named(self._exchange.contracts, body.get("instrument"))
        qty = decimal_of(body.get("qty"))
        if qty <= 0 or qty % contract.lot:
            raise off_step(plain(contract.lot))
        mark = self._exchange.mark(contract.name)
        if qty * mark < contract.min_notional:
            raise refused("min_order_notional", f"qty below the minimum notional of {contract.min_notional}")
        prices = self.prices(contract, qty)
        if prices is None:
            raise refused("olp_risk_checks", "no quote for this size")
        made = Quote(
            quote_id=str(uuid.uuid4()), account=account, name=contract.name, qty=qty, bid=prices[0], ask=prices[1],
            made_ns=self._clock.wire_ns(),
        )  # fmt: skip
        self._quotes[made.quote_id] = made
        while len(self._quotes) > MAX_QUOTES:
            del self._quotes[next(iter(self._quotes))]
        limits = {
            "min_qty_tick": plain(contract.lot),
            "min_qty": plain(_up(contract.min_notional / mark, contract.lot)),
            "max_qty": plain(_down(Decimal(1_000_000) / mark, contract.lot)),
        }
        return {
            "instrument": listing.instrument(contract.name), "qty": plain(qty), "bid": plain(made.bid),
            "ask": plain(made.ask), "mark_price": plain(mark), "index_price": plain(self._exchange.oracle(contract.name)),
            "timestamp": stamp(made.made_ns), "quote_id": made.quote_id,
            "qty_limits": {"bid": limits, "ask": limits},
        }  # fmt: skip

    def prices(self, contract: Contract, qty: Decimal) -> tuple[Decimal, Decimal] | None:
        """(bid, ask) for `qty`, rounded against the client; None where the market is too thin."""
        bids, asks = self._exchange.levels(contract.name, 25)
        bid, ask = _average(bids, qty), _average(asks, qty)
        if bid is None or ask is None:
            return None
        return _down(bid, contract.tick), _up(ask, contract.tick)

    # -- orders -----------------------------------------------------------------------------------------------------

    def accept(self, account: str, body: Any) -> dict[str, Any]:
        """Take a quote. The answer says that the order is pending. Raises ApiError."""
        if not isinstance(body, dict):
            raise malformed("Failed to deserialize the JSON body")
        side = {each.value: each for each in Side}.get(str(body.get("side")))
        slippage, reduces = _fraction_of(body.get("max_slippage")), body.get("is_reduce_only")
        if side is None or slippage is None:
            raise malformed("Failed to deserialize the JSON body: side or max_slippage")
        if not isinstance(reduces, bool):
            raise malformed("Failed to deserialize the JSON body: is_reduce_only")
        quote = self._quotes.get(str(body.get("quote_id")))
        if quote is None or quote.account != account:
            raise ApiError(400, {"error_code": "quote_not_found", "message": "quote not found or already used"})
        del self._quotes[quote.quote_id]
        now_ns = self._clock.wire_ns()
        if now_ns - quote.made_ns > QUOTE_LIFE_S * NS_PER_S:
            raise ApiError(400, {"error_code": "quote_expired", "message": "quote expired"})
        rfq = Rfq(
            rfq_id=str(uuid.uuid4()), name=quote.name, side=side, qty=quote.qty,
            px=quote.ask if side is Side.BUY else quote.bid, slippage=slippage, reduce_only=reduces,
            created_ns=now_ns,
        )  # fmt: skip
        self._keep(account, rfq)
        self._clearing[rfq.rfq_id] = asyncio.get_running_loop().create_task(self._clear(account, rfq))
        self._changed(account, rfq.rfq_id)
        return {"rfq_id": rfq.rfq_id, "take_profit_rfq_id": None, "stop_loss_rfq_id": None}

    def cancel(self, account: str, rfq_id: Any) -> dict[str, Any]:
        """While it is pending. Raises ApiError."""
        rfq = next((each for each in self.kept(account) if each.rfq_id == rfq_id), None)
        if rfq is None or rfq.status != PENDING:
            raise ApiError(404, {"error_code": "order_not_found", "message": "no pending order of that id"})
        task = self._clearing.pop(rfq.rfq_id, None)
        if task is not None:
            task.cancel()
        self._end(account, rfq, CANCELED, None)
        return {"rfq_id": rfq_id}

    def kept(self, account: str) -> list[Rfq]:
        """Pending and refused orders, oldest first."""
        state = self._exchange.account(account)
        extras = {} if state is None else state.extras
        return [msgspec.json.decode(text, type=Rfq) for key, text in extras.items() if key.startswith(_KEY)]

    def tick(self) -> None:
        """Orders whose clearing ended with an earlier process are refused."""
        now_ns = self._clock.wire_ns()
        for account in list(self._exchange.ledger.accounts):
            for rfq in self.kept(account):
                stranded = rfq.status == PENDING and rfq.rfq_id not in self._clearing
                if stranded and now_ns - rfq.created_ns > STRANDED_S * NS_PER_S:
                    self._end(account, rfq, REJECTED, QUOTE_EXPIRED)

    async def _clear(self, account: str, rfq: Rfq) -> None:
        await asyncio.sleep(self._order_delay_s)
        self._clearing.pop(rfq.rfq_id, None)
        refusal = self._refusal(account, rfq)
        if refusal is not None:
            self._end(account, rfq, REJECTED, refusal)
            return
        self._exchange.set_extra(account, _KEY + rfq.rfq_id, None)
        placed = self._exchange.place(
            account, rfq.name, rfq.side, rfq.qty, rfq.px, TimeInForce.IOC, reduce_only=rfq.reduce_only,
            client_id=rfq.rfq_id,
        )  # fmt: skip
        if placed.order.state is OrderState.FILLED:
            self._changed(account, rfq.rfq_id)
        else:
            funded = placed.order.reject is not Reject.MARGIN
            self._end(account, rfq, REJECTED, RISK if funded else NO_FUNDING)

    def _refusal(self, account: str, rfq: Rfq) -> str | None:
        """The venue's last look."""
        contract = self._exchange.contracts[rfq.name]
        held = self._exchange.position(account, rfq.name).qty * rfq.side.sign
        if rfq.reduce_only and (held >= 0 or -held < rfq.qty):
            return REDUCE_ONLY
        prices = self.prices(contract, rfq.qty)
        if prices is None:
            return RISK
        now = prices[1] if rfq.side is Side.BUY else prices[0]
        ran = (now - rfq.px) / rfq.px * rfq.side.sign
        return LAST_LOOK_REJECTED if ran > rfq.slippage + LAST_LOOK else None

    def _end(self, account: str, rfq: Rfq, status: str, clearing_status: str | None) -> None:
        rfq.status, rfq.clearing_status = status, clearing_status
        self._keep(account, rfq)
        self._changed(account, rfq.rfq_id)

    def _keep(self, account: str, rfq: Rfq) -> None:
        self._exchange.set_extra(account, _KEY + rfq.rfq_id, msgspec.json.encode(rfq).decode())
        ended = [each for each in self.kept(account) if each.status != PENDING]
        for each in ended[: max(0, len(ended) - MAX_KEPT)]:
            self._exchange.set_extra(account, _KEY + each.rfq_id, None)


def decimal_of(text: Any) -> Decimal:
    """A plain decimal string; a number is not one. Raises ApiError."""
    try:
        value = Decimal(text) if isinstance(text, str) and len(text) <= MAX_TEXT else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite():
        raise malformed("Failed to deserialize the JSON body: a decimal string was expected")
    return value


def _fraction_of(number: Any) -> Decimal | None:
    """A JSON number from 0 to 1; a string is none."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        return None
    return Decimal(repr(number)) if 0 <= number <= 1 else None


def stamp(wire_ns: int) -> str:
    """RFC 3339 with microseconds."""
    seconds, rest = divmod(wire_ns // 1000, 1_000_000)
    days, second = divmod(seconds, 86_400)
    return f"{_date(days)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{rest:06d}Z"


def _date(days: int) -> str:
    """Days since 1970 as year-month-day (the proleptic calendar, by eras of 400 years)."""
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    left = day - (365 * year + year // 4 - year // 100)
    month = (5 * left + 2) // 153
    of_month = left - (153 * month + 2) // 5 + 1
    number = month + 3 if month < 10 else month - 9
    return f"{year + era * 400 + (number <= 2):04d}-{number:02d}-{of_month:02d}"


def _average(levels: list[Level], qty: Decimal) -> Decimal | None:
    left, paid = qty, ZERO
    for level in levels:
        taken = min(left, level.qty)
        paid += taken * level.px
        left -= taken
        if not left:
            return paid / qty
    return None


def _up(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(rounding=ROUND_CEILING) * step


def _down(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(rounding=ROUND_FLOOR) * step
