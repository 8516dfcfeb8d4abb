"""The account page: what the executor tells everybody, assembled from one state at one journal position.

Pure reading: no venue is asked, nothing is changed. Figures that nobody knows stay None or 0 as core.account says; nothing
unknown is shown as a number of its own. Unrealized PnL is taken at the mid of a usable shared-memory quote, else at the mark
that the venue last stated.
"""

from __future__ import annotations

import itertools
from decimal import Decimal

from core.account import AccountSnapshot, OrderView, PairView, PositionView, SubLedgerView, VenueAccount
from core.clock import NS_PER_S
from core.numeric import from_float
from core.settings import Environment
from core.types import Venue
from executor.engine import Engine
from executor.pnl import ZERO
from executor.state import Key, OrderState, PairBook, PairLeg
from risk.exposure import hedge_quality
from risk.margin import position_move_to_liq_pct

RECENT_ORDERS = 256
"""Orders that may have moved since the last reading: far more than limits and pace allow in that time."""

Finished = dict[str, tuple[Decimal, PairView]]
"""Views of finished pairs by id, with the result they were made from: most of a page, and they hardly ever change."""


def snapshot(engine: Engine, finished: Finished | None = None) -> AccountSnapshot:
    """Everything as of now; finished pairs up to `execution.finished_pairs_kept`. `finished` is the caller's memory of views
    between calls; it is pruned to what the page shows."""
    state, clock = engine.state, engine.clock
    known: Finished = {} if finished is None else finished
    marks = _Marks(engine)
    usd, age_ns = unhedged(engine, marks)
    return AccountSnapshot(
        executor_epoch=state.epoch,
        journal_sequence=state.sequence,
        written_mono_ns=clock.mono_ns(),
        ready=engine.ready,
        trading_state=state.trading_state,
        state_reason=state.state_reason,
        mode=engine.config.run.environment.value
        if engine.config.run.environment is Environment.SANDBOX
        else "live blocked",
        config_fingerprint=engine.loaded.fingerprint,
        venues=tuple(_venue(engine, venue) for venue in engine.desks),
        positions=_positions(engine, marks),
        pairs=_pairs(engine, marks, known),
        orders=tuple(_order(engine, order) for order in state.open_orders()),
        frozen=tuple(f"{venue}:{symbol}" for venue, symbol in sorted(state.frozen)),
        unhedged_usd=usd,
        unhedged_age_ns=age_ns,
        unhedged_max_ns=max(state.unhedged_max_ns, age_ns),
        pairs_opened=state.pairs_opened,
        pairs_closed=state.pairs_closed,
        net_usd=state.net_usd,
        sub_ledgers=_sub_ledgers(engine),
    )


class _Marks:
    """Canonical prices to value positions at, read once per snapshot and instrument; 0 = unknown."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[Key, Decimal] = {}

    def px(self, key: Key) -> Decimal:
        px = self._known.get(key)
        if px is None:
            px = self._known[key] = self._read(key)
        return px

    def _read(self, key: Key) -> Decimal:
        quote = self._engine.usable_quote(key)
        if quote is not None:
            return from_float(quote.mid)
        stated = self._engine.desks[key[0]].positions.get(key[1]) if key[0] in self._engine.desks else None
        contract = self._engine.state.contracts.get(key)
        if stated is None or contract is None:
            return ZERO
        return stated.mark_px / contract.multiplier


def unhedged(engine: Engine, marks: _Marks | None = None) -> tuple[Decimal, int]:
    """Notional by which the legs of live pairs differ now (accepted dust left out) plus what no pair owns at all, and the age
    of the oldest of them."""
    marks = marks or _Marks(engine)
    usd, age_ns, now = ZERO, 0, engine.clock.wire_ns()
    for pair in engine.state.live_pairs():
        off = abs(pair.imbalance_qty - pair.tolerated_qty)
        if not off:
            continue
        px = marks.px((pair.long.venue, pair.symbol)) or marks.px((pair.short.venue, pair.symbol))
        usd += off * (px or pair.plan.long_ref_px)
        if pair.diverged_wire_ns and not pair.matched_wire_ns:
            age_ns = max(age_ns, now - pair.diverged_wire_ns)
    for venue, desk in engine.desks.items():
        for symbol, (lots, since_mono_ns) in desk.naked.items():
            key = (venue, symbol)
            usd += abs(lots) * engine.state.lot_qty(key) * (marks.px(key) or _entry_of(engine, key))
            age_ns = max(age_ns, engine.clock.mono_ns() - since_mono_ns)
    return usd, age_ns


def _entry_of(engine: Engine, key: Key) -> Decimal:
    """Average entry, canonical, where nothing better is known."""
    return engine.state.positions[key].book.avg_px / engine.state.contracts[key].multiplier


def venue_status(engine: Engine, venue: Venue) -> str:
    """ "ok" | "blind" | "down", as the limits see it."""
    desk = engine.desks[venue]
    if not desk.started:
        return "down"
    blind_s = desk.blind_ns(engine.clock.mono_ns()) / NS_PER_S
    return "ok" if desk.reconciled and blind_s <= engine.config.execution.blind_stop_s else "blind"


def _venue(engine: Engine, venue: Venue) -> VenueAccount:
    desk = engine.desks[venue]
    balance, gateway = desk.balance, desk.gateway
    return VenueAccount(
        venue=venue,
        status=venue_status(engine, venue),
        equity_usd=balance.equity_usd if balance else ZERO,
        free_margin_usd=balance.free_margin_usd if balance else ZERO,
        maintenance_margin_usd=balance.maintenance_margin_usd if balance else ZERO,
        read_mono_ns=desk.balance_mono_ns,
        private_stream_up=desk.stream_up and not desk.stream_silent,
        rate_budget_ratio=gateway.rate_budget_ratio if desk.started else 0.0,
        clock_offset_ns=gateway.clock_offset_ns if desk.started else 0,
        taker_fee=gateway.fees.taker if desk.started else None,
        maker_fee=gateway.fees.maker if desk.started else None,
        leverage=dict(desk.leverage),
    )


def _shown(engine: Engine) -> set[Key]:
    """Instruments with a position by our books or by the venue, or with money booked on them."""
    keys = {key for key, position in engine.state.positions.items() if position.book.lots or position.book.net_usd}
    for venue, desk in engine.desks.items():
        keys |= {(venue, stated.symbol) for stated in desk.positions.values() if stated.lots}
    return {key for key in keys if key in engine.state.contracts or engine.instrument(key) is not None}


def _positions(engine: Engine, marks: _Marks) -> tuple[PositionView, ...]:
    moved = _moved_since_read(engine)
    listed = tuple(_position(engine, key, marks, is_read=key not in moved) for key in sorted(_shown(engine)))
    return listed + tuple(
        _unlisted(venue, name, size)
        for venue, desk in engine.desks.items()
        for name, size in sorted(desk.gateway.unlisted.items())
    )


def _unlisted(venue: Venue, venue_symbol: str, size: Decimal) -> PositionView:
    """A position in a contract that the venue's catalogue lacks: its own name and units; its worth is not known."""
    return PositionView(
        venue=venue,
        symbol=venue_symbol,
        qty=ZERO,
        venue_qty=size,
        avg_entry_px=ZERO,
        mark_px=ZERO,
        notional_usd=ZERO,
        unrealized_usd=ZERO,
        realized_usd=ZERO,
        fees_usd=ZERO,
        funding_usd=ZERO,
        move_to_liq_pct=None,
        flags=("FOREIGN", "UNLISTED"),
    )


def _moved_since_read(engine: Engine) -> set[Key]:
    """Instruments on which an order of ours moved after the venue's positions were last asked for: what was read then says
    nothing about now."""
    since_ns = engine.clock.wire_ns() - engine.clock.mono_ns()
    read_wire_ns = {venue: desk.positions_mono_ns + since_ns for venue, desk in engine.desks.items()}
    newest = itertools.islice(reversed(engine.state.orders.values()), RECENT_ORDERS)
    return {order.key for order in newest if order.moved_wire_ns >= read_wire_ns.get(order.prepared.venue, 0)}


def _position(engine: Engine, key: Key, marks: _Marks, *, is_read: bool) -> PositionView:
    state, desk = engine.state, engine.desks.get(key[0])
    contract = state.contracts.get(key) or engine.instrument(key)
    lot = contract.lot_size * contract.multiplier if contract else ZERO
    multiplier = contract.multiplier if contract else 1
    held = state.positions.get(key)
    book = held.book if held else None
    stated = desk.positions.get(key[1]) if desk else None
    lots = book.lots if book else 0
    mark = marks.px(key)
    unrealized = book.unrealized_usd(mark * multiplier, contract.lot_size) if book and contract and mark else ZERO
    return PositionView(
        venue=key[0],
        symbol=key[1],
        qty=lots * lot,
        venue_qty=(stated.lots if stated else 0) * lot if desk and desk.positions_mono_ns and is_read else None,
        avg_entry_px=book.avg_px / multiplier if book else ZERO,
        mark_px=mark,
        notional_usd=abs(lots * lot * mark),
        unrealized_usd=unrealized,
        realized_usd=book.realized_usd if book else ZERO,
        fees_usd=book.fees_usd if book else ZERO,
        funding_usd=book.funding_usd if book else ZERO,
        move_to_liq_pct=position_move_to_liq_pct(stated) if stated else None,
        flags=_flags(engine, key, lots, mark * multiplier),
    )


def _flags(engine: Engine, key: Key, lots: int, venue_px: Decimal) -> tuple[str, ...]:
    state = engine.state
    held, instrument = state.positions.get(key), engine.instrument(key)
    pairs = [pair for pair in state.live_pairs() if pair.symbol == key[1] and pair.leg(key[0]) is not None]
    found = []
    if held is not None and held.foreign:
        found.append("FOREIGN")
    if key in state.frozen:
        found.append("FROZEN")
    is_naked = key[0] in engine.desks and key[1] in engine.desks[key[0]].naked
    if is_naked or any(pair.imbalance_qty != pair.tolerated_qty for pair in pairs):
        found.append("PARTIAL_HEDGE")
    if instrument is not None and venue_px > 0 and 0 < abs(lots) < instrument.min_lots(venue_px):
        found.append("DUST")
    return tuple(found)


def _sub_ledgers(engine: Engine) -> tuple[SubLedgerView, ...]:
    """Bounded by the positions and, on each, by the strategies with a live pair."""
    state = engine.state
    return tuple(
        SubLedgerView(venue=key[0], symbol=key[1], owner=owner, qty=lots * state.lot_qty(key))
        for key in sorted(state.positions)
        if key in state.contracts
        for owner, lots in sorted(state.sub_ledgers(key).items())
    )


def _kept(engine: Engine) -> list[PairBook]:
    """Every live pair, and the newest finished ones, oldest first."""
    pairs = engine.state.pairs.values()
    ended = sorted((pair for pair in pairs if pair.is_final), key=lambda pair: pair.ended_calendar_ns)
    return ended[-engine.config.execution.finished_pairs_kept :] + engine.state.live_pairs()


def _pairs(engine: Engine, marks: _Marks, finished: Finished) -> tuple[PairView, ...]:
    views: list[PairView] = []
    fresh: Finished = {}
    for pair in _kept(engine):
        known = finished.get(pair.pair_id) if pair.is_final and not pair.unbooked else None
        if known is None or known[0] != pair.net_usd or known[1].status is not pair.status or known[1].net_usd is None:
            known = (pair.net_usd, _pair(engine, pair, marks))
        if pair.is_final:
            fresh[pair.pair_id] = known
        views.append(known[1])
    finished.clear()
    finished.update(fresh)
    return tuple(views)


def _pair(engine: Engine, pair: PairBook, marks: _Marks) -> PairView:
    plan = pair.plan
    unrealized = sum((_leg_unrealized(pair, leg, marks) for leg in pair.legs), ZERO)
    books = (pair.long.book, pair.short.book)
    since_ns = engine.clock.wire_ns() - plan.wire_ns
    return PairView(
        pair_id=pair.pair_id,
        strategy=plan.strategy,
        symbol=pair.symbol,
        status=pair.status,
        long_venue=pair.long.venue,
        short_venue=pair.short.venue,
        long_qty=pair.long.qty,
        short_qty=pair.short.qty,
        entry_long_px=_entry_px(pair.long),
        entry_short_px=_entry_px(pair.short),
        entry_basis_bps=plan.basis_bps,
        entry_edge_bps=plan.edge_bps,
        entry_offset_bps=plan.offset_bps,
        opened_calendar_ns=pair.opened_calendar_ns,
        opened_mono_ns=engine.clock.mono_ns() - since_ns,
        realized_usd=sum((book.realized_usd for book in books), ZERO),
        fees_usd=sum((book.fees_usd for book in books), ZERO),
        funding_usd=sum((book.funding_usd for book in books), ZERO),
        unrealized_usd=unrealized,
        hedge_quality=hedge_quality(pair.long.qty, pair.short.qty),
        net_usd=pair.net_usd if pair.is_final and not pair.unbooked else None,
        reason=pair.reason,
        dust_qty=pair.tolerated_qty,
        leg_order=pair.sending.order.value,
    )


def _multiplier(leg: PairLeg) -> Decimal:
    return leg.lot_qty / leg.lot_size


def _entry_px(leg: PairLeg) -> Decimal:
    """Average entry, canonical; 0 before the first fill."""
    return leg.book.avg_px / _multiplier(leg)


def _leg_unrealized(pair: PairBook, leg: PairLeg, marks: _Marks) -> Decimal:
    mark = marks.px((leg.venue, pair.symbol))
    return leg.book.unrealized_usd(mark * _multiplier(leg), leg.lot_size) if mark else ZERO


def _order(engine: Engine, order: OrderState) -> OrderView:
    prepared = order.prepared
    lot, contract = engine.state.lot_qty(order.key), engine.state.contracts[order.key]
    return OrderView(
        client_order_id=order.client_order_id,
        venue=prepared.venue,
        symbol=prepared.symbol,
        side=prepared.side,
        qty=prepared.lots * lot,
        filled_qty=order.filled_lots * lot,
        limit_px=prepared.limit_ticks * contract.tick_size,
        status=order.status,
        pair_id=prepared.pair_id,
        submitted_wire_ns=prepared.wire_ns,
    )
