"""What a command is judged by: the engine's state, the accounts and both books, gathered into the contexts of risk.limits.

The books are read here, in the same call that signs and sends afterwards, so that nothing awaits between the last look and
the first byte. Reads only; the verdict is risk's, the deed the caller's.
"""

from __future__ import annotations

from decimal import Decimal

from core.clock import NS_PER_MS
from core.messages import (
    AT_ONCE,
    MANUAL,
    ClosePair,
    DenyReason,
    LegOrder,
    OpenPair,
    PairStatus,
    Sending,
    SubmitOrder,
)
from core.settings import Environment
from core.types import Instrument, Quote, ReadResult, Side, Venue
from executor.desk import NEVER_NS, Desk
from executor.engine import Engine
from executor.leading import rests
from executor.leg_order import LegView, depth_at_touch, in_order
from executor.opening import Ticket
from executor.parity import CurrencyWatch
from executor.pnl import ZERO
from executor.state import Key, PairBook
from risk.context import Allowed, CloseContext, Denied, LegContext, OpenContext, OrderContext
from risk.exposure import Exposure, Holding, exposure_of
from risk.limits import check_account, check_close, check_open, check_order
from risk.margin import position_move_to_liq_pct

LIMIT_ROOM = 1.005
"""Reference prices of a plan stand still while the limits were judged at limit prices."""
TTL_MS = 250.0
"""How old a decision may be when its client has no configured ttl."""


class Admission:
    """Stateless but for the engine it reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        engine.may_lead = self.led_beyond
        self._risk = engine.config.risk
        self._execution = engine.config.execution
        self.currencies = CurrencyWatch(engine)

    def open(self, command: OpenPair) -> Ticket | Denied:
        """Both books re-read, every limit applied, the size capped."""
        unfit = self._journal_fit()
        if unfit is not None:
            return unfit
        long = self._engine.instrument((command.long.venue, command.symbol))
        short = self._engine.instrument((command.short.venue, command.symbol))
        if long is None or short is None or command.long.venue == command.short.venue:
            return Denied(
                reason=DenyReason.INSTRUMENT_UNKNOWN,
                detail=f"{command.symbol} is not listed on both of {command.long.venue} and {command.short.venue}",
            )
        context = self._open_context(command, long, short, self.exposure())
        views = self._view(long, Side.BUY, context.long.quote), self._view(short, Side.SELL, context.short.quote)
        if (
            command.sending.order is not LegOrder.AUTO
        ):  # what was asked for must make sense before anything is judged by it
            refused = in_order(command.sending, ZERO, *views, self._execution)
            if isinstance(refused, Denied):
                return refused
        verdict = check_open(context, self._risk, self._execution)
        if isinstance(verdict, Denied):
            return verdict
        sending = in_order(command.sending, verdict.qty, *views, self._execution)
        return sending if isinstance(sending, Denied) else self._ticket(verdict, context, sending)

    def order(self, command: SubmitOrder) -> tuple[Instrument, Decimal] | Denied:
        """The instrument and the size that may go."""
        unfit = None if command.reduce_only else self._journal_fit()
        if unfit is not None:
            return unfit
        instrument = self._engine.instrument((command.venue, command.symbol))
        if instrument is None:
            return Denied(
                reason=DenyReason.INSTRUMENT_UNKNOWN, detail=f"{command.venue} lists no {command.symbol}, or is not up"
            )
        qty = self._reducible_qty(command, instrument) if command.reduce_only else command.qty
        if isinstance(qty, Denied):
            return qty
        exposure = self.exposure()
        strategy = command.command_id.strategy
        verdict = check_order(
            OrderContext(
                now_mono_ns=self._engine.clock.mono_ns(),
                valid_until_mono_ns=command.valid_until_mono_ns,
                ready=self._engine.ready,
                trading_state=self._engine.state.trading_state,
                live_blocked=self.live_blocked,
                strategy=strategy,
                symbol=command.symbol,
                qty=qty,
                reduce_only=command.reduce_only,
                leg=self._leg(instrument, command.side, command.limit_px, exposure),
                symbol_notional_usd=exposure.by_symbol.get(command.symbol, ZERO),
                strategy_notional_usd=exposure.by_strategy.get(strategy, ZERO),
                total_notional_usd=exposure.total_usd,
                total_equity_usd=self.total_equity_usd(),
            ),
            self._risk,
            self._execution,
        )
        return verdict if isinstance(verdict, Denied) else (instrument, verdict.qty)

    def _reducible_qty(self, command: SubmitOrder, instrument: Instrument) -> Decimal | Denied:
        """How much of a reduce-only order may go where the venue itself keeps no order from opening: what our ledger holds on the
        other side, less what other orders of ours are taking from it already."""
        engine, key = self._engine, (command.venue, command.symbol)
        if engine.desks[command.venue].gateway.traits.reduce_only:
            return command.qty
        going = [o for o in engine.state.open_orders() if o.key == key and o.prepared.side is command.side]
        lots = -engine.state.lots(key) * command.side.sign - sum(order.leaves_lots for order in going)
        if lots > 0:
            return min(command.qty, instrument.lots_to_qty(lots))
        return Denied(
            reason=DenyReason.CAPACITY,
            detail=f"{command.venue} knows no reduce-only orders, and our ledger holds nothing there that this one could reduce",
            numbers={"ledger_lots": engine.state.lots(key)},
        )

    def close(self, pair: PairBook | None, command: ClosePair) -> Sending | Denied:
        """How to close it. A close has no ttl, and no limit stands in its way; only a pair that is being worked on refuses a
        second one, and one whose close rests at a venue takes another way of closing."""
        state, now_ns = self._engine.state, self._engine.clock.mono_ns()
        orders = list(state.pair_orders(pair)) if pair is not None else []
        resting = pair is not None and pair.sending.order is LegOrder.MAKER_FIRST
        asked_to_rest = command.sending.order is LegOrder.MAKER_FIRST
        closing = pair is not None and pair.closing and (asked_to_rest or not resting)
        busy = closing or any(not order.status.is_final and not rests(order) for order in orders)
        in_flatten = pair is not None and any((leg.venue, pair.symbol) in self._engine.flattening for leg in pair.legs)
        denied = check_close(
            CloseContext(
                now_mono_ns=now_ns,
                valid_until_mono_ns=NEVER_NS,
                ready=self._engine.ready,
                live_blocked=self.live_blocked,
                known=pair is not None and not pair.is_final,
                busy=busy or in_flatten,
            )
        )
        return denied or self.way_out(pair, command.sending)

    def way_out(self, pair: PairBook | None, asked: Sending) -> Sending | Denied:
        """In which order the legs of `pair` are closed."""
        if pair is None:
            return AT_ONCE
        long, short = (self._engine.instrument((leg.venue, pair.symbol)) for leg in pair.legs)
        if long is None or short is None:
            return AT_ONCE  # a close waits for its venues, it is not refused
        quotes = [self._engine.quote((leg.venue, pair.symbol)) for leg in pair.legs]
        views = self._view(long, Side.SELL, quotes[0]), self._view(short, Side.BUY, quotes[1])
        if asked.order is LegOrder.AUTO and not any(view.traits.quotes_first for view in views):
            asked = AT_ONCE  # a close is not slowed down by a thin side: it goes on until both legs are flat
        return in_order(asked, max(abs(leg.qty) for leg in pair.legs), *views, self._execution)

    def _view(self, instrument: Instrument, side: Side, quote: ReadResult) -> LegView:
        """A leg that is about to trade `side`, by the book as it was read for the decision."""
        traits = self._engine.desks[instrument.venue].gateway.traits
        return LegView(venue=instrument.venue, traits=traits, depth_qty=depth_at_touch(quote, side))

    def led_beyond(self, pair: PairBook) -> str:
        """Which limit a pair that is being led open has come to exceed since it was allowed (somebody else's lots, a price that
        ran): its planned size is counted already. "" = none."""
        exposure, risk = self.exposure(), self._risk
        bounds = {
            "max_symbol_usd": (exposure.by_symbol.get(pair.symbol, ZERO), risk.max_symbol_usd),
            "max_total_usd": (exposure.total_usd, risk.max_total_usd),
        }
        for leg in pair.legs:
            most_usd = self._engine.desks[leg.venue].settings.max_notional_usd
            bounds[f"max_notional_usd of {leg.venue}"] = (exposure.by_venue.get(leg.venue, ZERO), most_usd)
        beyond = [name for name, (usd, most) in bounds.items() if float(usd) > most * LIMIT_ROOM]
        return f"{beyond[0]} is exceeded" if beyond else self._unfit(pair, exposure)

    def _unfit(self, pair: PairBook, exposure: Exposure) -> str:
        """Why a venue that the pair is being opened at takes nothing new: its account, its clock, its margin, its leverage."""
        for leg in pair.legs:
            instrument = self._engine.instrument((leg.venue, pair.symbol))
            if instrument is None:
                return f"{leg.venue} lists no {pair.symbol}, or is not up"
            denied = check_account(self._leg(instrument, leg.side, ZERO, exposure), self._risk, self._execution)
            if denied is not None:
                return denied.detail
        return ""

    @property
    def live_blocked(self) -> bool:
        return self._engine.config.run.environment is Environment.LIVE

    def exposure(self) -> Exposure:
        """Everything that binds allocation now: live pairs, orders by hand, and positions outside any pair."""
        state = self._engine.state
        holdings = [_pair_holding(pair) for pair in state.live_pairs()]
        in_pairs: dict[Key, int] = {}
        for pair in state.live_pairs():
            for leg in pair.legs:
                in_pairs[(leg.venue, pair.symbol)] = in_pairs.get((leg.venue, pair.symbol), 0) + leg.lots
        for key, position in state.positions.items():
            rest = position.book.lots - in_pairs.get(key, 0)
            if rest:
                usd = abs(rest) * position.book.avg_px * state.contracts[key].lot_size
                holdings.append(
                    Holding(
                        strategy="" if position.foreign else MANUAL,
                        symbol=key[1],
                        venues=(key[0],),
                        notional_usd=usd,
                        is_pair=False,
                    )
                )
        for order in state.open_orders():
            prepared = order.prepared
            if prepared.pair_id is None and not prepared.reduce_only:
                contract = state.contracts[order.key]
                usd = order.leaves_lots * contract.lot_size * prepared.limit_ticks * contract.tick_size
                holdings.append(
                    Holding(
                        strategy=prepared.strategy,
                        symbol=prepared.symbol,
                        venues=(prepared.venue,),
                        notional_usd=usd,
                        is_pair=False,
                    )
                )
        return exposure_of(holdings)

    def total_equity_usd(self) -> Decimal:
        """Over all venues that were ever read; an unread venue's equity is not counted as anything."""
        return sum((d.balance.equity_usd for d in self._engine.desks.values() if d.balance is not None), ZERO)

    def _journal_fit(self) -> Denied | None:
        trouble = self._engine.journal.trouble
        return Denied(reason=DenyReason.NOT_READY, detail=f"journal: {trouble}") if trouble else None

    def _open_context(self, command: OpenPair, long: Instrument, short: Instrument, exposure: Exposure) -> OpenContext:
        engine, state = self._engine, self._engine.state
        strategy = command.command_id.strategy
        settings = getattr(engine.config.strategies, strategy, None)
        ttl_ms: float = settings.ttl_ms if settings is not None else TTL_MS
        live = state.live_pairs()
        now_ns = engine.clock.mono_ns()
        attempted_ns = state.attempted_calendar_ns.get(command.symbol)
        waited_ns = engine.clock.calendar_ns() - attempted_ns if attempted_ns is not None else 0
        across = long.quote_ccy != short.quote_ccy  # else nobody asks what the currency is worth
        return OpenContext(
            now_mono_ns=now_ns,
            valid_until_mono_ns=command.valid_until_mono_ns,
            decided_mono_ns=command.decided_mono_ns,
            ttl_ns=int(ttl_ms * NS_PER_MS),
            ready=engine.ready,
            trading_state=state.trading_state,
            live_blocked=self.live_blocked,
            strategy=strategy,
            symbol=command.symbol,
            symbol_owner=next((pair.plan.strategy for pair in live if pair.symbol == command.symbol), None),
            last_attempt_mono_ns=0 if attempted_ns is None else max(1, now_ns - max(0, waited_ns)),
            unhedged=any(pair.status in (PairStatus.REPAIRING, PairStatus.UNKNOWN) for pair in live),
            open_pairs=len(live),
            qty=command.qty,
            edge_required=strategy != MANUAL,
            offset_bps=command.offset_bps,
            long=self._leg(long, Side.BUY, command.long.limit_px, exposure, command.sending, across),
            short=self._leg(short, Side.SELL, command.short.limit_px, exposure, command.sending, across),
            symbol_notional_usd=exposure.by_symbol.get(command.symbol, ZERO),
            strategy_notional_usd=exposure.by_strategy.get(strategy, ZERO),
            total_notional_usd=exposure.total_usd,
            total_equity_usd=self.total_equity_usd(),
        )

    def _leg(
        self,
        instrument: Instrument,
        side: Side,
        limit_px: Decimal,
        exposure: Exposure,
        sending: Sending = AT_ONCE,
        across: bool = False,
    ) -> LegContext:
        engine, venue = self._engine, instrument.venue
        desk = engine.desks[venue]
        gateway, traits = desk.gateway, desk.gateway.traits
        key = (venue, instrument.symbol)
        position = engine.state.positions.get(key)
        return LegContext(
            instrument=instrument,
            side=side,
            limit_px=limit_px,
            quote=engine.quote(key),
            taker_fee=desk.taker_fee,
            leverage_read=desk.leverage.get(instrument.symbol),
            leverage_wanted=desk.wanted_leverage(instrument.symbol),
            free_margin_usd=desk.free_margin_usd,
            venue_notional_usd=exposure.by_venue.get(venue, ZERO),
            venue_max_usd=desk.settings.max_notional_usd,
            blind_ns=desk.blind_ns(engine.clock.mono_ns()),
            clock_offset_ns=gateway.clock_offset_ns,
            frozen_reason=engine.state.frozen.get(key, ""),
            foreign=position is not None and position.foreign,
            move_to_liq_pct=_nearest_liquidation(desk),
            margin_used_ratio=desk.balance.margin_used_ratio if desk.balance is not None else 0.0,
            may_send=gateway.may_send(False),
            entry_ready=gateway.entry_ready and desk.reconciled and desk.stream_up,
            parity=self.currencies.of(instrument.quote_ccy) if across else None,
            quotes_first=traits.quotes_first,
            rests=sending.order is LegOrder.MAKER_FIRST and sending.first == venue,
            wallet=traits.wallet,
            depth=engine.depth(key),
        )

    @staticmethod
    def _ticket(verdict: Allowed, context: OpenContext, sending: Sending) -> Ticket:
        long, short = context.long, context.short
        return Ticket(
            long=long.instrument,
            short=short.instrument,
            long_quote=long.quote if isinstance(long.quote, Quote) and not long.quotes_first else None,
            short_quote=short.quote if isinstance(short.quote, Quote) and not short.quotes_first else None,
            qty=verdict.qty,
            bound_by=verdict.bound_by,
            sending=sending,
        )


def _nearest_liquidation(desk: Desk) -> float | None:
    """The venue's worst leg; None = none stated."""
    moves = [position_move_to_liq_pct(position) for position in desk.positions.values()]
    return min((move for move in moves if move is not None), default=None)


def _pair_holding(pair: PairBook) -> Holding:
    """One-leg notional: what is held, or what is planned while both legs are on their way."""
    held = max(abs(pair.long.qty), abs(pair.short.qty))
    qty = max(held, pair.plan.qty) if pair.status in (PairStatus.OPENING, PairStatus.UNKNOWN) else held
    venues: tuple[Venue, ...] = (pair.long.venue, pair.short.venue)
    return Holding(
        strategy=pair.plan.strategy,
        symbol=pair.symbol,
        venues=venues,
        notional_usd=qty * max(pair.plan.long_ref_px, pair.plan.short_ref_px),
    )
