"""The limits every order passes inside the executor, where no strategy can go round them (DESIGN 4, RULES 3 and 4).

Pure: a frozen context in, `Allowed | Denied` out; no clock, no socket, no log. The engine builds the context from its
state and from both books as they stand just before signing, and sends nothing that did not come back Allowed.

    check_open   a pair: may cap the size that was asked, and says by what
    check_order  one order by hand; a reduce-only one skips everything that only bounds new exposure
    check_close  a close: it must always be possible, so only what makes it meaningless denies it

The cheap and absolute refusals stand first (state, ownership, venue health), then the books, then the sizes: the first
reason found is the one reported, so `tandem why` names the strongest. A bound that is not known (an account never read,
a leverage never verified) denies: unknown is not zero.

Refused: risk numbers as a class with methods and state (two callers would see two states); denying an oversized request
instead of capping it (strategies would have to guess the remainders, and race each other).
"""

from __future__ import annotations

from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.costs import edge_at_limits_bps
from core.messages import DenyReason
from core.numeric import BPS, is_multiple
from core.settings import ExecutionConfig, RiskConfig
from core.sizing import common_size, minimum_pair_qty, perp_capacity_usd, spot_capacity_usd
from core.types import Quote, QuoteFlag, Side, Stale, TradingState
from risk.closable import check_exit
from risk.context import Allowed, CloseContext, Denied, LegContext, OpenContext, OrderContext, Verdict
from risk.currencies import check_currencies
from risk.margin import MarginAction, account_action, leg_action

_EXECUTABLE = int(QuoteFlag.EXECUTABLE)
_JUDGED_FLAGS = int(QuoteFlag.EXECUTABLE | QuoteFlag.DELISTED)

MULTIPLIER_TOLERANCE = 0.05
"""Two venues' canonical prices of one coin must agree within this before a pair of them is traded (TRAPS T6)."""


def check_open(ctx: OpenContext, risk: RiskConfig, execution: ExecutionConfig) -> Verdict:
    """Whether a pair may be opened now, and how large."""
    return (
        _gate(ctx.now_mono_ns, ctx.valid_until_mono_ns, ctx.ready, ctx.live_blocked)
        or _decision_age(ctx)
        or _increase_allowed(ctx.trading_state, ctx.symbol, risk)
        or _ownership(ctx, risk)
        or _leg_fit(ctx.long, risk, execution)
        or _leg_fit(ctx.short, risk, execution)
        or check_currencies(ctx, risk)
        or _books(ctx, risk)
        or _sized_to_close(ctx, risk, execution)
    )


def _sized_to_close(ctx: OpenContext, risk: RiskConfig, execution: ExecutionConfig) -> Verdict:
    """The size, if both legs of it could be closed again."""
    verdict = _size_pair(ctx, risk)
    if isinstance(verdict, Denied):
        return verdict
    refusals = [check_exit(leg, verdict.qty, ctx.now_mono_ns, execution) for leg in (ctx.long, ctx.short)]
    return refusals[0] or refusals[1] or verdict


def check_order(ctx: OrderContext, risk: RiskConfig, execution: ExecutionConfig) -> Verdict:
    """Whether one order by hand may go, and how large. Reduce-only needs a live venue, a sane price and request budget."""
    gate = _gate(ctx.now_mono_ns, ctx.valid_until_mono_ns, ctx.ready, ctx.live_blocked)
    if gate:
        return gate
    if ctx.reduce_only:
        refusal = _reducing_leg(ctx.leg, risk, execution)
        return refusal or _size_reduce_only(ctx)
    return (
        _increase_allowed(ctx.trading_state, ctx.symbol, risk)
        or _leg_fit(ctx.leg, risk, execution)
        or _quote_usable(ctx.leg)
        or _price_sane(ctx.leg, risk)
        or _size_order(ctx, risk)
    )


def check_close(ctx: CloseContext) -> Denied | None:
    """Whether a pair may be closed now. Trading state, age of decision and exposure never stand in the way of a close."""
    gate = _gate(ctx.now_mono_ns, ctx.valid_until_mono_ns, ctx.ready, ctx.live_blocked)
    if gate:
        return gate
    if not ctx.known:
        return Denied(reason=DenyReason.NO_SUCH_PAIR, detail="no open pair of that id")
    if ctx.busy:
        return Denied(reason=DenyReason.PAIR_BUSY, detail="orders of this pair are in flight or not yet resolved")
    return None


def _gate(now_ns: int, valid_until_ns: int, ready: bool, live_blocked: bool) -> Denied | None:
    if not ready:
        return Denied(reason=DenyReason.NOT_READY, detail="recovery has not finished")
    if live_blocked:
        return Denied(reason=DenyReason.LIVE_BLOCKED, detail="Live mode blocked: no permit")
    if now_ns > valid_until_ns:
        late = (now_ns - valid_until_ns) / NS_PER_MS
        return Denied(reason=DenyReason.EXPIRED, detail="the command's validity has passed", numbers={"late_ms": late})
    return None


def _decision_age(ctx: OpenContext) -> Denied | None:
    age = ctx.now_mono_ns - ctx.decided_mono_ns
    if 0 <= age <= ctx.ttl_ns:
        return None
    return Denied(
        reason=DenyReason.DECISION_TOO_OLD,
        detail="decided too long ago" if age > 0 else "decided in the future: not this machine's clock",
        numbers={"age_ms": age / NS_PER_MS, "ttl_ms": ctx.ttl_ns / NS_PER_MS},
    )


def _increase_allowed(state: TradingState, symbol: str, risk: RiskConfig) -> Denied | None:
    if state is not TradingState.ACTIVE:
        return Denied(reason=DenyReason.TRADING_STATE, detail=f"trading state is {state.value}")
    if symbol in risk.blocklist:
        return Denied(reason=DenyReason.BLOCKLISTED, detail=f"{symbol} is on risk.blocklist")
    return None


def _ownership(ctx: OpenContext, risk: RiskConfig) -> Denied | None:
    if ctx.unhedged:
        return Denied(reason=DenyReason.UNHEDGED, detail="an unhedged leg is being repaired")
    if risk.symbol_exclusive and ctx.symbol_owner is not None:
        return Denied(reason=DenyReason.SYMBOL_OWNED, detail=f"{ctx.symbol} is held by {ctx.symbol_owner}")
    if ctx.open_pairs >= risk.max_open_pairs:
        return Denied(
            reason=DenyReason.LIMIT_TOTAL,
            detail="risk.max_open_pairs reached",
            numbers={"open_pairs": ctx.open_pairs, "max_open_pairs": risk.max_open_pairs},
        )
    waited_s = (ctx.now_mono_ns - ctx.last_attempt_mono_ns) / NS_PER_S
    if ctx.last_attempt_mono_ns and waited_s < risk.attempt_cooldown_s:
        return Denied(
            reason=DenyReason.COOLDOWN,
            detail="this symbol was attempted a moment ago",
            numbers={"waited_s": waited_s, "cooldown_s": risk.attempt_cooldown_s},
        )
    return None


def _leg_fit(leg: LegContext, risk: RiskConfig, execution: ExecutionConfig) -> Denied | None:
    """Everything about one leg's venue, account and instrument that forbids new exposure."""
    inst = leg.instrument
    name = f"{inst.venue}:{inst.symbol}"
    if inst.delisted or (leg.side is Side.SELL and not inst.can_short):
        return Denied(reason=DenyReason.INSTRUMENT_UNKNOWN, detail=f"{name} is delisted or cannot be {leg.side.value}")
    if leg.foreign:
        return Denied(reason=DenyReason.FOREIGN_POSITION, detail=f"{name} carries a position that is not ours")
    if leg.frozen_reason:
        return Denied(reason=DenyReason.INSTRUMENT_FROZEN, detail=f"{name} is frozen: {leg.frozen_reason}")
    if not leg.entry_ready:
        return Denied(reason=DenyReason.VENUE_BLIND, detail=f"{inst.venue} has no warm order connection")
    return check_account(leg, risk, execution) or _budget_left(leg)


def check_account(leg: LegContext, risk: RiskConfig, execution: ExecutionConfig) -> Denied | None:
    """What forbids new exposure at a leg's venue for longer than a moment: judged again before each order of a first leg."""
    blind_s = leg.blind_ns / NS_PER_S
    if leg.free_margin_usd is None or blind_s > execution.blind_stop_s:
        detail = f"the account at {leg.instrument.venue} is not readable"
        return Denied(reason=DenyReason.VENUE_BLIND, detail=detail, numbers={"blind_s": blind_s})
    return _clock_sane(leg, execution) or _margin_sane(leg, risk) or _leverage_verified(leg)


def _clock_sane(leg: LegContext, execution: ExecutionConfig) -> Denied | None:
    offset_ms = leg.clock_offset_ns / NS_PER_MS
    if abs(offset_ms) <= execution.max_clock_offset_ms:
        return None
    return Denied(
        reason=DenyReason.CLOCK_SKEW,
        detail=f"the clock of {leg.instrument.venue} and ours differ; check NTP",
        numbers={"clock_offset_ms": offset_ms, "max_clock_offset_ms": execution.max_clock_offset_ms},
    )


def _margin_sane(leg: LegContext, risk: RiskConfig) -> Denied | None:
    by_leg = leg_action(leg.move_to_liq_pct, risk)
    by_account = account_action(leg.margin_used_ratio, risk)
    if by_leg < MarginAction.STOP_OPENING and by_account < MarginAction.STOP_OPENING:
        return None
    numbers = {"margin_used_ratio": leg.margin_used_ratio, "move_to_liq_stop_pct": risk.move_to_liq_stop_pct}
    if leg.move_to_liq_pct is not None:
        numbers["move_to_liq_pct"] = leg.move_to_liq_pct
    return Denied(
        reason=DenyReason.MARGIN_GUARD, detail=f"{leg.instrument.venue} is too near to liquidation", numbers=numbers
    )


def _leverage_verified(leg: LegContext) -> Denied | None:
    if leg.wallet or leg.leverage_read == leg.leverage_wanted:
        return None
    return Denied(
        reason=DenyReason.LEVERAGE_UNVERIFIED,
        detail=f"{leg.instrument.venue}:{leg.instrument.symbol} reads {leg.leverage_read}x, configured {leg.leverage_wanted}x",
        numbers={"leverage_wanted": leg.leverage_wanted, "leverage_read": leg.leverage_read or 0},
    )


def _budget_left(leg: LegContext) -> Denied | None:
    if leg.may_send:
        return None
    return Denied(reason=DenyReason.RATE_BUDGET, detail=f"the request budget of {leg.instrument.venue} is used up")


def _quote_usable(leg: LegContext) -> Denied | None:
    name = f"{leg.instrument.venue}:{leg.instrument.symbol}"
    quote = leg.quote
    if leg.quotes_first:
        return None
    if isinstance(quote, Stale):
        return Denied(
            reason=DenyReason.QUOTE_STALE, detail=f"{name}: stale quote", numbers={"age_ms": quote.age_ns / NS_PER_MS}
        )
    if not isinstance(quote, Quote):
        return Denied(reason=DenyReason.QUOTE_UNUSABLE, detail=f"{name}: {type(quote).__name__.lower()}")
    if not quote.is_sound or quote.flags & _JUDGED_FLAGS != _EXECUTABLE:
        return Denied(
            reason=DenyReason.QUOTE_UNUSABLE,
            detail=f"{name}: crossed, one-sided or indicative",
            numbers={"bid_px": quote.bid_px, "ask_px": quote.ask_px, "flags": quote.flags},
        )
    return None


def _price_sane(leg: LegContext, risk: RiskConfig) -> Denied | None:
    """The limit stands on the venue's grid and at most the collar beyond the opposite touch."""
    inst, quote = leg.instrument, leg.quote
    name = f"{inst.venue}:{inst.symbol}"
    if leg.limit_px <= 0 or not is_multiple(leg.limit_px, inst.tick_at(leg.limit_px)):
        return Denied(
            reason=DenyReason.PRICE_OFF_GRID,
            detail=f"{name}: the limit is not on the price grid",
            numbers={"limit_px": float(leg.limit_px), "tick": float(inst.tick_at(abs(leg.limit_px)))},
        )
    if not isinstance(quote, Quote) or leg.quotes_first:
        return None
    touch = quote.ask_px if leg.side is Side.BUY else quote.bid_px
    beyond_bps = leg.side.sign * (_canonical_limit(leg) - touch) / touch / BPS
    if beyond_bps > risk.price_collar_bps:
        return Denied(
            reason=DenyReason.PRICE_COLLAR,
            detail=f"{name}: the limit lies too far through the book",
            numbers={"beyond_touch_bps": beyond_bps, "price_collar_bps": risk.price_collar_bps, "touch_px": touch},
        )
    return None


def _books(ctx: OpenContext, risk: RiskConfig) -> Denied | None:
    """Both books as they stand now: usable, of the same coin, in reach of the limits, and still paying the costs."""
    refusal = (
        _quote_usable(ctx.long)
        or _quote_usable(ctx.short)
        or _price_sane(ctx.long, risk)
        or _price_sane(ctx.short, risk)
    )
    if refusal:
        return refusal
    long, short = _book(ctx.long), _book(ctx.short)
    if long is None or short is None:
        return Denied(reason=DenyReason.QUOTE_UNUSABLE, detail="no quote")
    ratio = short.mid / long.mid
    if abs(ratio - 1.0) > MULTIPLIER_TOLERANCE:
        return Denied(
            reason=DenyReason.MULTIPLIER_UNPROVEN,
            detail=f"{ctx.symbol}: canonical prices of both venues disagree; check the multipliers",
            numbers={"price_ratio": ratio, "tolerance_ratio": MULTIPLIER_TOLERANCE},
        )
    return _edge_stands(ctx, long, short, risk.min_edge_bps)


def _edge_stands(ctx: OpenContext, long: Quote, short: Quote, min_edge_bps: float) -> Denied | None:
    """At the limit prices the pair must still pay four fees and the spreads of its exit; both limits must be in reach.
    `min_edge_bps` is what must remain, 0 everywhere but where a losing market is studied in the sandbox.

    The spreads of the entry are inside the limits already, and so is the slippage: a limit is the worst price there is."""
    long_px, short_px = _canonical_limit(ctx.long), _canonical_limit(ctx.short)
    if (long_px < long.ask_px and not ctx.long.rests) or (short_px > short.bid_px and not ctx.short.rests):
        return Denied(
            reason=DenyReason.EDGE_GONE,
            detail="a touch has moved beyond its limit: that leg would not fill",
            numbers={
                "long_limit_px": long_px,
                "ask_px": long.ask_px,
                "short_limit_px": short_px,
                "bid_px": short.bid_px,
            },
        )
    if not ctx.edge_required:
        return None
    mid = (long.mid + short.mid) / 2
    dev = edge_at_limits_bps(short_px, long_px, mid, ctx.offset_bps)
    fees = 2 * (ctx.long.taker_fee + ctx.short.taker_fee) / BPS
    exit_spreads = ((long.ask_px - long.bid_px) + (short.ask_px - short.bid_px)) / 2 / mid / BPS
    if dev - fees - exit_spreads > min_edge_bps:
        return None
    return Denied(
        reason=DenyReason.EDGE_GONE,
        detail="at the limit prices the pair no longer pays its costs",
        numbers={"dev_at_limits_bps": dev, "fees_bps": fees, "exit_spreads_bps": exit_spreads},
    )


def _book(leg: LegContext) -> Quote | None:
    """A leg's book; for one that is quoted only now, its limit stands in for both sides: that is the worst it may be."""
    if not leg.quotes_first:
        return leg.quote if isinstance(leg.quote, Quote) else None
    px = _canonical_limit(leg)
    return Quote(px, 0.0, px, 0.0, 0, 0, 0, 0, 0)


_BOUND_REASON = {
    "asked": DenyReason.BELOW_MINIMUM,
    "max_order_usd": DenyReason.LIMIT_ORDER,
    "max_symbol_usd": DenyReason.LIMIT_SYMBOL,
    "max_symbol_alloc": DenyReason.LIMIT_SYMBOL,
    "max_strategy_usd": DenyReason.LIMIT_STRATEGY,
    "max_total_usd": DenyReason.LIMIT_TOTAL,
    "max_total_alloc": DenyReason.LIMIT_TOTAL,
    "max_notional_usd": DenyReason.LIMIT_VENUE,
    "capacity": DenyReason.CAPACITY,
    "max_qty": DenyReason.LIMIT_ORDER,
}


def _size_pair(ctx: OpenContext, risk: RiskConfig) -> Verdict:
    long_px = ctx.long.limit_px / ctx.long.instrument.multiplier
    short_px = ctx.short.limit_px / ctx.short.instrument.multiplier
    bounds = _usd_bounds(ctx, risk)
    for leg in (ctx.long, ctx.short):
        _tighten(bounds, "max_notional_usd", _usd(leg.venue_max_usd) - leg.venue_notional_usd)
        _tighten(bounds, "capacity", _capacity_usd(leg))
        if leg.instrument.max_qty:
            _tighten(bounds, "max_qty", leg.instrument.max_qty * leg.limit_px)
    dearer = max(long_px, short_px)
    sizes = {name: usd / dearer for name, usd in bounds.items()}
    sizes["asked"] = ctx.qty
    size = common_size(sizes, ctx.long.instrument, ctx.short.instrument)
    minimum = minimum_pair_qty(ctx.long.instrument, long_px, ctx.short.instrument, short_px)
    return _sized(size.qty, size.bound_by, minimum, bounds, dearer)


def _size_order(ctx: OrderContext, risk: RiskConfig) -> Verdict:
    leg = ctx.leg
    px = leg.limit_px / leg.instrument.multiplier
    bounds = _usd_bounds(ctx, risk)
    _tighten(bounds, "max_notional_usd", _usd(leg.venue_max_usd) - leg.venue_notional_usd)
    _tighten(bounds, "capacity", _capacity_usd(leg))
    sizes = {name: usd / px for name, usd in bounds.items()}
    sizes["asked"] = ctx.qty
    name = min(sizes, key=lambda key: sizes[key])
    qty = leg.instrument.lots_to_qty(max(0, leg.instrument.qty_to_lots(sizes[name])))
    minimum = leg.instrument.lots_to_qty(leg.instrument.min_lots(leg.limit_px))
    return _sized(qty, name, minimum, bounds, px)


def _size_reduce_only(ctx: OrderContext) -> Verdict:
    lots = ctx.leg.instrument.qty_to_lots(ctx.qty)
    if lots <= 0:
        return Denied(
            reason=DenyReason.BELOW_MINIMUM, detail="rounds down to zero lots", numbers={"qty": float(ctx.qty)}
        )
    return Allowed(qty=ctx.leg.instrument.lots_to_qty(lots), bound_by="asked")


def _sized(qty: Decimal, bound_by: str, minimum: Decimal, bounds: dict[str, Decimal], px: Decimal) -> Verdict:
    if qty >= minimum and qty > 0:
        return Allowed(qty=qty, bound_by=bound_by, numbers={"notional_usd": float(qty * px)})
    numbers = {name if name.endswith("usd") else f"{name}_usd": float(usd) for name, usd in bounds.items()}
    numbers["qty"], numbers["minimum_qty"] = float(qty), float(minimum)
    return Denied(
        reason=_BOUND_REASON[bound_by],
        detail=f"{bound_by} leaves less than the smallest size that can also be closed",
        numbers=numbers,
    )


def _usd_bounds(ctx: OpenContext | OrderContext, risk: RiskConfig) -> dict[str, Decimal]:
    """What each limit still leaves, in one-leg USD; may be negative."""
    equity = ctx.total_equity_usd
    return {
        "max_order_usd": _usd(risk.max_order_usd),
        "max_symbol_usd": _usd(risk.max_symbol_usd) - ctx.symbol_notional_usd,
        "max_symbol_alloc": _usd(risk.max_symbol_alloc) * equity - ctx.symbol_notional_usd,
        "max_strategy_usd": _usd(risk.max_strategy_usd.get(ctx.strategy, 0.0)) - ctx.strategy_notional_usd,
        "max_total_usd": _usd(risk.max_total_usd) - ctx.total_notional_usd,
        "max_total_alloc": _usd(risk.max_total_alloc) * equity - ctx.total_notional_usd,
    }


def _capacity_usd(leg: LegContext) -> Decimal:
    free_usd = leg.free_margin_usd or Decimal(0)
    if leg.wallet:
        return spot_capacity_usd(free_usd, leg.taker_fee)
    return perp_capacity_usd(free_usd, leg.leverage_wanted, leg.taker_fee)


def _tighten(bounds: dict[str, Decimal], name: str, usd: Decimal) -> None:
    bounds[name] = min(usd, bounds.get(name, usd))


def _usd(value: float) -> Decimal:
    return Decimal(repr(value))


def _canonical_limit(leg: LegContext) -> float:
    return float(leg.limit_px) / leg.instrument.multiplier


def _reducing_leg(leg: LegContext, risk: RiskConfig, execution: ExecutionConfig) -> Denied | None:
    """A frozen instrument refuses even a reduction: its last order may still be closing the same position."""
    name = f"{leg.instrument.venue}:{leg.instrument.symbol}"
    if leg.frozen_reason and not leg.foreign:
        return Denied(reason=DenyReason.INSTRUMENT_FROZEN, detail=f"{name} is frozen: {leg.frozen_reason}")
    return _clock_sane(leg, execution) or _price_sane(leg, risk) or _budget_left(leg)
