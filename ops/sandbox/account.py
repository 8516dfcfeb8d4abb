"""Accounts: what a fill does to a position, what an account is worth, and where it would be liquidated.

Cross positions share the account's cash. An isolated position holds its own cash (`isolated_margin`), moved there when
it opens and back when it shrinks. `cash` therefore never contains isolated margin or unrealised PnL.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from core.types import Side
from ops.sandbox.model import ZERO, AccountState, Contract, Margin, Order, Position

Marks = Callable[[str], Decimal]


def apply_fill(
    account: AccountState, position: Position, side: Side, qty: Decimal, px: Decimal, fee: Decimal
) -> Decimal:
    """Change position and cash by one execution; returns the realised PnL (fees apart)."""
    before = position.qty
    after = before + side.sign * qty
    closed = min(abs(before), qty) if before * side.sign < 0 else ZERO
    opened = qty - closed
    realized = (px - position.entry_px) * closed * (1 if before > 0 else -1)
    if not position.cross:
        _move_isolated(account, position, closed, opened, px)
    if before == 0 or before * after < 0:
        position.entry_px = px if after else ZERO
        position.funding_open = ZERO
    elif after == 0:
        position.entry_px = ZERO
        position.funding_open = ZERO
    elif opened:
        position.entry_px = (position.entry_px * abs(before) + px * opened) / abs(after)
    position.qty = after
    account.cash += realized - fee
    account.volume += qty * px
    return realized


def _move_isolated(account: AccountState, position: Position, closed: Decimal, opened: Decimal, px: Decimal) -> None:
    if closed:
        released = position.isolated_margin * closed / abs(position.qty)
        position.isolated_margin -= released
        account.cash += released
    if opened:
        needed = opened * px / position.leverage
        position.isolated_margin += needed
        account.cash -= needed


def unrealized(position: Position, mark: Decimal) -> Decimal:
    """PnL of an open position at `mark`; positive is profit."""
    return (mark - position.entry_px) * position.qty


def margin_of(account: AccountState, contracts: dict[str, Contract], mark: Marks, orders: list[Order]) -> Margin:
    """The account's figures at the current marks; `orders` are its open ones."""
    total = ZERO
    cross_pnl = initial = maintenance = isolated = notional = cross_notional = ZERO
    isolated_pnl = ZERO
    for position in account.positions.values():
        if not position.qty:
            continue
        px = mark(position.name)
        value = abs(position.qty) * px
        pnl = unrealized(position, px)
        total += pnl
        notional += value
        if position.cross:
            cross_pnl += pnl
            cross_notional += value
            initial += value / position.leverage
            maintenance += value * contracts[position.name].maintenance_ratio
        else:
            isolated += position.isolated_margin + pnl
            isolated_pnl += pnl
    cross_equity = account.cash + cross_pnl
    reserved = sum((reserved_for(account, order) for order in orders), ZERO)
    return Margin(
        equity=cross_equity + isolated,
        cross_equity=cross_equity,
        initial=initial,
        isolated=isolated,
        orders=reserved,
        maintenance=maintenance,
        unrealized=total,
        notional=notional,
        cross_notional=cross_notional,
        free=max(ZERO, cross_equity - initial - reserved),
    )


def opening_qty(position: Position | None, side: Side, qty: Decimal) -> Decimal:
    """The part of an order that would increase or flip the position rather than reduce it."""
    held = position.qty if position is not None else ZERO
    if held * side.sign >= 0:
        return qty
    return max(ZERO, qty - abs(held))


def reserved_for(account: AccountState, order: Order) -> Decimal:
    """Initial margin kept for a resting order, for the part of it that would open."""
    if order.reduce_only:
        return ZERO
    position = account.positions.get(order.name)
    leverage = position.leverage if position is not None else 1
    return opening_qty(position, order.side, order.remaining) * order.px / leverage


def liquidation_px(
    account: AccountState, position: Position, contract: Contract, margin: Margin, mark: Decimal
) -> Decimal | None:
    """The mark at which the position's backing falls to its maintenance margin, others unchanged; None = never."""
    if not position.qty:
        return None
    sign = 1 if position.qty > 0 else -1
    size = abs(position.qty)
    if position.cross:
        cushion = margin.cross_equity - margin.maintenance
    else:
        held = position.isolated_margin + unrealized(position, mark)
        cushion = held - size * mark * contract.maintenance_ratio
    px = mark - sign * cushion / size / (1 - sign * contract.maintenance_ratio)
    return px if px > 0 else None


def must_liquidate(account: AccountState, contracts: dict[str, Contract], mark: Marks) -> list[Position]:
    """Open positions whose backing is below maintenance: every cross one together, isolated ones each by itself."""
    doomed: list[Position] = []
    cross: list[Position] = []
    equity, needed = account.cash, ZERO
    for position in account.positions.values():
        if not position.qty:
            continue
        px = mark(position.name)
        required = abs(position.qty) * px * contracts[position.name].maintenance_ratio
        pnl = unrealized(position, px)
        if position.cross:
            cross.append(position)
            equity += pnl
            needed += required
        elif position.isolated_margin + pnl < required:
            doomed.append(position)
    if cross and equity < needed:
        doomed.extend(cross)
    return doomed
