"""`POST /exchange` of the simulated Hyperliquid: who signed, is the nonce good, then the action.

Sources: docs/venues/hyperliquid.md 6, 7 and 10.

Three layers of refusal, as on the venue: a body that does not decode is HTTP 422; a whole action is refused with
`status: "err"`; an order or cancel within a batch by an `error` string of its own, while the others go on.

The nonce is burned when the action reaches matching, after the order delay: that is what lets a `noop` with the same
nonce, which skips half of the way as every action without GTC or IOC orders does, kill an order in flight.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import orjson

from core.clock import NS_PER_MS, Clock
from core.types import Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import AccountState, CancelReason, Contract, NonceVerdict, Order, OrderState, Refused, Reject
from ops.sandbox.venues import _hyperliquid_rows as rows
from ops.sandbox.venues import _hyperliquid_signing as wire
from ops.sandbox.venues._hyperliquid_info import BASE_REQUESTS, UNREADABLE

DAY_MS = 24 * 3600 * 1000
MAX_ITEMS = 200
NONCES_KEPT = 100
SCHEDULE_VOLUME_USD = 1_000_000
SCHEDULE_AHEAD_MS = 5_000
SCHEDULE_TRIGGERS_PER_DAY = 10
SCHEDULE_KEY, TRIGGERED_KEY, SPOT_KEY = "schedule_cancel_ms", "schedule_triggers", "spot_usdc"
EXPIRED_WEIGHT = 5
Row = dict[str, Any]
_NTLI = Decimal("0.000001")
_PX_STEP = Decimal("1e-8")


class _Refusal(Exception):
    """The whole action is refused; the text is the answer."""


class Actions:
    """`answer` takes raw bytes of a body and returns (HTTP status, bytes)."""

    def __init__(self, exchange: Exchange, clock: Clock, order_delay_s: float) -> None:
        self._exchange = exchange
        self._clock = clock
        self._order_delay_s = order_delay_s
        self._contracts = list(exchange.contracts.values())

    async def answer(self, body: bytes) -> tuple[int, bytes]:
        try:
            envelope = wire.decode_envelope(body)
            action = wire.normalize(envelope.action)
            signer = wire.signer_of(envelope)
        except (msgspec.DecodeError, ValueError, OverflowError):
            return 422, UNREADABLE.encode()
        try:
            account = self._account_of(action, envelope, signer)
            await asyncio.sleep(self._order_delay_s if _takes(action) else self._order_delay_s / 2)
            self._admit(action, envelope, signer or "", account)
            response = self._execute(action, account)
        except _Refusal as refusal:
            return 200, orjson.dumps({"status": "err", "response": str(refusal)})
        return 200, orjson.dumps({"status": "ok", "response": response})

    def run_schedules(self) -> None:
        """Fire the dead-man switches that are due."""
        now_ms = self._now_ms()
        for account in list(self._exchange.ledger.accounts.values()):
            due = account.extras.get(SCHEDULE_KEY)
            if due is None or int(due) > now_ms:
                continue
            day, count = _triggers(account, now_ms)
            self._exchange.set_extra(account.address, SCHEDULE_KEY, None)
            self._exchange.set_extra(account.address, TRIGGERED_KEY, f"{day}:{count + 1}")
            self._exchange.cancel_all(account.address, reason=CancelReason.SCHEDULED)

    # -- admission --------------------------------------------------------------------------------------------------

    def _account_of(self, action: wire.Action, envelope: wire.Envelope, signer: str | None) -> AccountState:
        """The account the action is for. Raises _Refusal for a bad signature or a stranger's."""
        if signer is None:
            raise _Refusal("Unable to recover signer.")
        if isinstance(action, wire.ApproveAgent | wire.UsdClassTransfer):
            account = self._exchange.account(signer)
            if account is None:
                raise _Refusal(f"Must deposit before performing actions. User: {signer}")
            return account
        master = self._exchange.master_of(signer)
        account = self._exchange.account(master) if master is not None else None
        if account is None:
            raise _Refusal(f"User or API Wallet {signer} does not exist.")
        if envelope.vaultAddress is not None and envelope.vaultAddress.lower() != account.address:
            raise _Refusal(f"Vault not registered: {envelope.vaultAddress.lower()}")
        return account

    def _admit(self, action: wire.Action, envelope: wire.Envelope, signer: str, account: AccountState) -> None:
        """Nonce, expiry, address budget, weight. Raises _Refusal."""
        self._use_nonce(signer, envelope.nonce)
        weight = _items(action)
        if envelope.expiresAfter is not None and self._now_ms() > envelope.expiresAfter:
            self._exchange.count_request(account.address, EXPIRED_WEIGHT)
            raise _Refusal("Action already expired")
        cap = BASE_REQUESTS + int(account.volume)
        bound = min(cap + 100_000, 2 * cap) if isinstance(action, wire.CancelOrders | wire.CancelByCloid) else cap
        if account.requests + weight > bound:
            raise _Refusal(
                f"Too many cumulative requests sent ({account.requests + weight} > {bound}) for cumulative volume traded "
                f"${account.volume:.2f}. Place taker orders to free up 1 request per USDC traded."
            )
        if weight > MAX_ITEMS:
            raise _Refusal("Signed action over weight limit of 200.")
        self._exchange.count_request(account.address, weight)

    def _use_nonce(self, signer: str, nonce: int) -> None:
        """Within (T - 2 days, T + 1 day), unused, above the smallest of the 100 kept."""
        now_ms = self._now_ms()
        if nonce < now_ms - 2 * DAY_MS:
            raise _Refusal(f"Invalid nonce: nonce too low {nonce} < {now_ms - 2 * DAY_MS}")
        if nonce > now_ms + DAY_MS:
            raise _Refusal(f"Invalid nonce: nonce too high {nonce} > {now_ms + DAY_MS}")
        verdict = self._exchange.use_nonce(signer, nonce, NONCES_KEPT)
        if verdict is NonceVerdict.DUPLICATE:
            raise _Refusal(f"Invalid nonce: duplicate nonce {nonce}")
        if verdict is NonceVerdict.TOO_LOW:
            raise _Refusal(f"Invalid nonce: nonce too low {nonce} < {self._exchange.ledger.lowest_nonce(signer)}")

    # -- actions ----------------------------------------------------------------------------------------------------

    def _execute(self, action: wire.Action, account: AccountState) -> Row:
        user = account.address
        match action:
            case wire.PlaceOrders():
                if action.builder is not None:
                    raise _Refusal("Builder fee has not been approved.")
                if not action.orders:
                    raise _Refusal("Batch must contain at least one order.")
                return _statuses("order", [self._place(user, order) for order in action.orders])
            case wire.CancelOrders():
                return _statuses("cancel", [self._cancel(user, c.a, order_id=c.o) for c in action.cancels])
            case wire.CancelByCloid():
                return _statuses("cancel", [self._cancel(user, c.asset, cloid=c.cloid) for c in action.cancels])
            case wire.ModifyOrders():
                return _statuses("order", [self._modify(user, m.oid, m.order) for m in action.modifies])
            case wire.ModifyOrder():
                status = self._modify(user, action.oid, action.order)
                if isinstance(status, dict) and "error" in status:
                    raise _Refusal(str(status["error"]))
            case wire.UpdateLeverage():
                self._update_leverage(user, action)
            case wire.UpdateIsolatedMargin():
                self._update_isolated_margin(user, action)
            case wire.ScheduleCancel():
                self._schedule_cancel(account, action.time)
            case wire.ApproveAgent():
                self._exchange.open_account(user, Decimal(0), [wire.address(action.agentAddress)])
            case wire.UsdClassTransfer():
                self._transfer(account, action)
            case wire.Noop():
                pass
        return {"type": "default"}

    def _place(self, user: str, order: wire.OrderWire) -> Row | str:
        contract = self._contract(order.a)
        if contract is None:
            return {"error": rows.refusal(Reject.UNKNOWN_SYMBOL, order.a, None)}
        tif = rows.TIF_OF.get(order.t.limit.tif) if order.t.limit is not None else None
        if tif is None:
            return {"error": f"Trigger orders are not simulated. asset={order.a}"}
        placed = self._exchange.place(
            user, contract.name, Side.BUY if order.b else Side.SELL, wire.decimal(order.s), wire.decimal(order.p), tif,
            reduce_only=order.r, client_id=order.c,
        )  # fmt: skip
        done = placed.order
        if done.reject is not None:
            return {"error": rows.refusal(done.reject, order.a, placed.top)}
        return _status_of(done)

    def _cancel(self, user: str, asset: int, order_id: int | None = None, cloid: str | None = None) -> Row | str:
        contract = self._contract(asset)
        order = self._exchange.order(user, order_id, cloid)
        known = contract is not None and order is not None and order.name == contract.name
        if known and not isinstance(self._exchange.cancel(user, order_id, cloid), Refused):
            return "success"
        return {"error": rows.refusal(Reject.UNKNOWN_ORDER, asset, None)}

    def _modify(self, user: str, oid: int | str, new: wire.OrderWire) -> Row | str:
        """Cancel and replace: a new oid; the old order is gone even if the new one is refused."""
        old = (
            self._exchange.order(user, order_id=oid)
            if isinstance(oid, int)
            else self._exchange.order(user, client_id=oid)
        )
        if old is None or isinstance(self._exchange.cancel(user, old.order_id), Refused):
            return {"error": f"Cannot modify canceled or filled order. asset={new.a}"}
        return self._place(user, new)

    def _update_leverage(self, user: str, action: wire.UpdateLeverage) -> None:
        contract = self._contract(action.asset)
        if contract is None:
            raise _Refusal(f"Invalid asset {action.asset}")
        refused = self._exchange.set_leverage(user, contract.name, action.leverage, action.isCross)
        if refused is not None:
            raise _Refusal(_LEVERAGE_REFUSAL[refused.reason])

    def _update_isolated_margin(self, user: str, action: wire.UpdateIsolatedMargin) -> None:
        contract = self._contract(action.asset)
        if contract is None:
            raise _Refusal(f"Invalid asset {action.asset}")
        refused = self._exchange.change_isolated_margin(user, contract.name, action.ntli * _NTLI)
        if refused is not None:
            raise _Refusal(_LEVERAGE_REFUSAL[refused.reason])

    def _schedule_cancel(self, account: AccountState, time_ms: int | None) -> None:
        if account.volume < SCHEDULE_VOLUME_USD:
            raise _Refusal(
                "Cannot set scheduled cancel time until enough volume traded. "
                f"Required: ${SCHEDULE_VOLUME_USD}. Traded: ${account.volume:.2f}."
            )
        now_ms = self._now_ms()
        if time_ms is not None:
            if time_ms < now_ms + SCHEDULE_AHEAD_MS:
                raise _Refusal("Scheduled cancel time too early, must be at least 5 seconds from now.")
            if _triggers(account, now_ms)[1] >= SCHEDULE_TRIGGERS_PER_DAY:
                raise _Refusal("Scheduled cancel triggered too many times today.")
        self._exchange.set_extra(account.address, SCHEDULE_KEY, None if time_ms is None else str(time_ms))

    def _transfer(self, account: AccountState, action: wire.UsdClassTransfer) -> None:
        """Between the spot and the perp side of the account."""
        try:
            amount = wire.decimal(action.amount)
        except ValueError as error:
            raise _Refusal("Invalid amount.") from error
        spot = Decimal(account.extras.get(SPOT_KEY, "0"))
        available = spot if action.toPerp else self._exchange.margin(account.address).free
        if amount <= 0 or amount > available:
            raise _Refusal("Insufficient balance for withdrawal.")
        self._exchange.move_cash(account.address, amount if action.toPerp else -amount)
        self._exchange.set_extra(account.address, SPOT_KEY, str(spot - amount if action.toPerp else spot + amount))

    def _contract(self, asset: int) -> Contract | None:
        """By position in the universe; delisted ones cannot be traded."""
        contract = self._contracts[asset] if 0 <= asset < len(self._contracts) else None
        return contract if contract is not None and contract.listed else None

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


_LEVERAGE_REFUSAL = {
    Reject.UNKNOWN_SYMBOL: "Invalid asset",
    Reject.LEVERAGE: "Invalid leverage value",
    Reject.POSITION_MARGIN: "Cannot switch leverage type with open position.",
    Reject.MARGIN: "Insufficient margin to change leverage.",
}


def _takes(action: wire.Action) -> bool:
    """Whether any part may take liquidity: such actions come last in a block."""
    if isinstance(action, wire.PlaceOrders):
        orders = action.orders
    elif isinstance(action, wire.ModifyOrders):
        orders = [modify.order for modify in action.modifies]
    else:
        return isinstance(action, wire.ModifyOrder)
    return any(order.t.limit is None or order.t.limit.tif != "Alo" for order in orders)


def _items(action: wire.Action) -> int:
    if isinstance(action, wire.PlaceOrders):
        return len(action.orders)
    if isinstance(action, wire.CancelOrders | wire.CancelByCloid):
        return len(action.cancels)
    return len(action.modifies) if isinstance(action, wire.ModifyOrders) else 1


def _statuses(kind: str, statuses: list[Row | str]) -> Row:
    return {"type": kind, "data": {"statuses": statuses}}


def _status_of(order: Order) -> Row:
    """`resting` while it is open, else `filled` with what was filled."""
    answer: Row = {"oid": order.order_id}
    if order.client_id is not None:
        answer["cloid"] = order.client_id
    if order.state is OrderState.OPEN:
        return {"resting": answer}
    return {"filled": {"totalSz": rows.num(order.filled), "avgPx": rows.num(order.avg_px.quantize(_PX_STEP)), **answer}}


def _triggers(account: AccountState, now_ms: int) -> tuple[int, int]:
    """The UTC day and how often the dead-man switch fired on it."""
    today = now_ms // DAY_MS
    day, _, count = account.extras.get(TRIGGERED_KEY, "").partition(":")
    return today, int(count) if day == str(today) else 0
