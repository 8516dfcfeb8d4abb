"""User streams: listen keys, and the account's events as the venue words them (docs/venues/aster.md 8).

The exchange tells an order's final state of a step first and its fills after; the venue tells a life: NEW, then one TRADE
per fill with the cumulative quantity of that moment, then the end. This file turns the one into the other:
- an order heard of for the first time is announced as NEW with nothing filled, unless it was open before this process
  started (then everybody heard of it long ago);
- the cumulative quantity of a fill is the order's total less its later fills, so that nothing has to be remembered;
- an end that is no fill (CANCELED, EXPIRED) waits until the step's fills are told: for the account or book change after.
ACCOUNT_UPDATE follows once per step: ORDER with the positions that changed, or FUNDING_FEE with the balance only (a
cross position's funding names no symbol, which is why clients must attribute funding by income).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
import orjson

from core.clock import NS_PER_MS, Clock
from core.numeric import plain
from core.types import LiquiditySide, Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import ZERO, AccountState, Fill, FundingPayment, Order, OrderState
from ops.sandbox.venues._aster_auth import Address
from ops.sandbox.venues._aster_call import Call
from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_hub import Hub
from ops.sandbox.venues._aster_settings import ListenKey, Settings
from ops.sandbox.venues._aster_shapes import (
    SIDE,
    TIME_IN_FORCE,
    average,
    client_id,
    is_liquidation,
    kind,
    money,
    status,
)
from ops.sandbox.verify import keccak

LISTEN_KEY_MS = 3_600_000
Event = dict[str, object]


class _Step(msgspec.Struct):
    """What one account's step has brought so far."""

    touched: dict[str, None] = {}  # contract names with a fill
    realized: dict[str, Decimal] = {}
    funding: Decimal = ZERO  # of all cross positions together
    funding_isolated: dict[str, Decimal] = {}
    ended: list[Order] = []


class UserStreams:
    """Listen keys and private events of one exchange."""

    def __init__(self, exchange: Exchange, clock: Clock, settings: Settings, hub: Hub) -> None:
        self._exchange = exchange
        self._clock = clock
        self._settings = settings
        self._hub = hub
        self._started_ns = clock.wire_ns()
        self._announced: set[int] = set()  # open orders that were told as NEW; leaves with the order's end
        self._steps: dict[Address, _Step] = {}

    # -- listen keys ------------------------------------------------------------------------------------------------

    def start(self, call: Call) -> Event:
        """A new key, or the live one with its time extended."""
        now_ms = self._now_ms()
        held = self._settings.listen_key(call.user)
        if held is None or held.expires_ms <= now_ms:
            held = ListenKey(keccak(f"{call.user}:{call.nonce}".encode()).hex(), 0)
        self._settings.set_listen_key(call.user, ListenKey(held.key, now_ms + LISTEN_KEY_MS))
        return {"listenKey": held.key}

    def extend(self, call: Call) -> Event:
        held = self._settings.listen_key(call.user)
        if held is None or held.expires_ms <= self._now_ms():
            raise ApiError(Code.INVALID_LISTEN_KEY)
        self._settings.set_listen_key(call.user, ListenKey(held.key, self._now_ms() + LISTEN_KEY_MS))
        return {}

    def close(self, call: Call) -> Event:
        held = self._settings.listen_key(call.user)
        if held is not None:
            self._expire(call.user, held.key)
        return {}

    def expire_due(self) -> None:
        """Tell the holders of keys that have run out. Called with the venue's tick."""
        now_ms = self._now_ms()
        for user in list(self._exchange.ledger.accounts):
            held = self._settings.listen_key(user)
            if held is not None and held.expires_ms <= now_ms:
                self._expire(user, held.key)

    def expire_all(self) -> None:
        """Every key runs out now."""
        for user in list(self._exchange.ledger.accounts):
            held = self._settings.listen_key(user)
            if held is not None:
                self._expire(user, held.key)

    def _expire(self, user: Address, key: str) -> None:
        self._settings.set_listen_key(user, None)
        self._hub.publish(key, orjson.dumps({"e": "listenKeyExpired", "E": self._now_ms(), "listenKey": key}))

    # -- what the exchange tells ------------------------------------------------------------------------------------

    def order_changed(self, order: Order) -> None:
        if order.state is OrderState.REJECTED:
            return
        if order.order_id not in self._announced:
            self._announced.add(order.order_id)
            if order.created_ns >= self._started_ns:
                self._send_order(order, "NEW", "NEW", None, ZERO, ZERO)
        if order.state is OrderState.CANCELED:
            self._step(order.account).ended.append(order)
        if not order.is_open:
            self._announced.discard(order.order_id)

    def filled(self, order: Order, fill: Fill) -> None:
        later = ZERO
        later_notional = ZERO
        for other in reversed(self._exchange.fills(order.account)):
            if other.trade_id <= fill.trade_id:
                break
            if other.order_id == order.order_id:
                later += other.qty
                later_notional += other.qty * other.px
        done, notional = order.filled - later, order.filled_notional - later_notional
        state = "FILLED" if done == order.qty else "PARTIALLY_FILLED"
        self._send_order(order, "TRADE", state, fill, done, notional)
        step = self._step(order.account)
        step.touched[fill.name] = None
        step.realized[fill.name] = step.realized.get(fill.name, ZERO) + fill.realized

    def funding_paid(self, payment: FundingPayment) -> None:
        step = self._step(payment.account)
        if self._exchange.position(payment.account, payment.name).cross:
            step.funding += payment.cash
        else:
            step.funding_isolated[payment.name] = step.funding_isolated.get(payment.name, ZERO) + payment.cash

    def account_changed(self, account: AccountState) -> None:
        """The end of a step: ends of orders, then what it did to balance and positions."""
        self._tell_ends(account.address)
        step = self._steps.pop(account.address, None)
        if step is None:
            return
        if step.touched:
            self._send_account(account, "ORDER", ZERO, list(step.touched), step.realized)
        if step.funding:
            self._send_account(account, "FUNDING_FEE", step.funding, [], {})
        for name, cash in step.funding_isolated.items():
            self._send_account(account, "FUNDING_FEE", cash, [name], {})

    def step_ended(self) -> None:
        """The book was told of: nothing more comes of this step."""
        if not self._steps:
            return
        for user in list(self._steps):
            self._tell_ends(user)
            step = self._steps[user]
            if not (step.touched or step.funding or step.funding_isolated):
                del self._steps[user]

    def leverage_changed(self, user: Address, name: str, leverage: int) -> None:
        self._send(user, {"e": "ACCOUNT_CONFIG_UPDATE", **self._times(), "ac": {"s": name, "l": leverage}})

    def modes_changed(self, user: Address) -> None:
        modes = {"j": self._settings.multi_assets(user), "f": False, "d": self._settings.hedge_mode(user)}
        self._send(user, {"e": "ACCOUNT_CONFIG_UPDATE", **self._times(), "ai": modes})

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _step(self, user: Address) -> _Step:
        return self._steps.setdefault(user, _Step())

    def _tell_ends(self, user: Address) -> None:
        step = self._steps.get(user)
        if step is None:
            return
        for order in step.ended:
            word = status(order)
            self._send_order(order, word, word, None, order.filled, order.filled_notional)
        step.ended.clear()

    def _send_order(
        self, order: Order, execution: str, state: str, fill: Fill | None, done: Decimal, notional: Decimal
    ) -> None:
        liquidation = is_liquidation(order)
        wanted = kind(order)
        detail: Event = {
            "s": order.name,
            "c": client_id(order),
            "S": SIDE[order.side],
            "o": "LIQUIDATION" if liquidation else wanted,
            "f": "GTC" if order.is_market and not liquidation else TIME_IN_FORCE[order.tif],
            "q": plain(order.qty),
            "p": "0" if order.is_market else plain(order.px),
            "ap": average(notional / done) if done else "0",
            "sp": "0",
            "x": execution,
            "X": state,
            "i": order.order_id,
            "l": plain(fill.qty) if fill is not None else "0",
            "z": plain(done),
            "L": plain(fill.px) if fill is not None else "0",
            "T": (fill.time_ns if fill is not None else order.updated_ns) // NS_PER_MS,
            "t": fill.trade_id if fill is not None else 0,
            "b": "0",
            "a": "0",
            "m": fill is not None and fill.liquidity is LiquiditySide.MAKER,
            "R": order.reduce_only,
            "wt": "CONTRACT_PRICE",
            "ot": wanted,
            "ps": "BOTH",
            "cp": False,
            "rp": money(fill.realized) if fill is not None else "0",
        }
        if order.is_open:
            resting = plain((order.qty - done) * order.px)
            detail["b" if order.side is Side.BUY else "a"] = resting
        if fill is not None and fill.fee:
            detail["N"], detail["n"] = "USDT", money(fill.fee)
        self._send(order.account, {"e": "ORDER_TRADE_UPDATE", **self._times(order.updated_ns), "o": detail})

    def _send_account(
        self, account: AccountState, reason: str, change: Decimal, names: list[str], realized: dict[str, Decimal]
    ) -> None:
        isolated = sum((position.isolated_margin for position in account.positions.values()), ZERO)
        balance = {"a": "USDT", "wb": money(account.cash + isolated), "cw": money(account.cash), "bc": money(change)}
        body: Event = {"m": reason, "B": [balance]}
        if names:
            body["P"] = [self._position(account.address, name, realized.get(name, ZERO)) for name in names]
        self._send(account.address, {"e": "ACCOUNT_UPDATE", **self._times(), "a": body})

    def _position(self, user: Address, name: str, realized: Decimal) -> Event:
        position = self._exchange.position(user, name)
        pnl = (self._exchange.mark(name) - position.entry_px) * position.qty
        return {
            "s": name,
            "pa": plain(position.qty),
            "ep": average(position.entry_px),
            "cr": money(realized),
            "up": money(pnl),
            "mt": "cross" if position.cross else "isolated",
            "iw": money(position.isolated_margin),
            "ps": "BOTH",
            "ma": "USDT",
        }

    def _send(self, user: Address, event: Event) -> None:
        held = self._settings.listen_key(user)
        if held is not None and self._hub.wanted(held.key):
            self._hub.publish(held.key, orjson.dumps(event))

    def _times(self, transaction_ns: int | None = None) -> Event:
        now = self._clock.wire_ns()
        return {"E": now // NS_PER_MS, "T": (transaction_ns or now) // NS_PER_MS}

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS
