"""Scalp: sell where a perp is dear, buy where it is cheap, when the gap deviates from its standing offset (RULES 7).

Pure decisions: quotes, offsets and the account page in, intents out. For every ordered pair of venues of a symbol:

    edge = bid_S - ask_L      off = median of mid_S - mid_L      dev = edge - off
    enter when dev >= spread_entry and dev - half spreads - (four fees + slippage) >= min_profit

The slippage counted is the larger of the configured buffer and of what both limits cross beyond their touches, so that
the edge still pays when both legs fill at their limits. One pair per symbol; nothing is added to a pair; the cooldown
runs from any attempt.

Two speeds. `enter` runs at every change and does float arithmetic only, until a deviation is large enough to be worth
exact numbers; it returns near misses as refusals. `explain` looks at every direction once a second with all its numbers,
so that `tandem why` can say at any time what each pair of venues is waiting for.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from core.account import AccountSnapshot, PairView, VenueAccount
from core.clock import NS_PER_MS, NS_PER_S
from core.costs import basis_pnl_bps, crossing_limit, edge_numbers, executable_pnl_bps, mid_gap_bps, round_trip_cost_bps
from core.messages import FINAL_PAIR, ExitGuard, Leg, PairStatus
from core.numeric import BPS, from_float
from core.settings import ExecutionConfig, RiskConfig, ScalpConfig
from core.sizing import Size, common_size, minimum_pair_qty, perp_capacity_usd
from core.types import Quote, QuoteFlag, ReadResult, Side, Stale, TradingState, Venue
from strategies.exits import ExitFigures, ExitWatch, MaxHold, StopBasis, StopLeg, TakeProfit
from strategies.intents import Close, Intent, Open, Refusal
from strategies.offsets import OffsetBoard
from strategies.snapshot import Listing, MarketView

NAME = "scalp"
CLOSE_RETRY_NS = 5 * NS_PER_S


class VenueTerms(NamedTuple):
    """What scalp must know of a venue besides its book."""

    taker_fee: float  # fraction; until the account page tells the account's own
    leverage: dict[str, int]  # per symbol, with "default"
    extra_cross_bps: float

    def leverage_of(self, symbol: str) -> int:
        return self.leverage.get(symbol, self.leverage["default"])


class Candidate(NamedTuple):
    """One direction of one symbol with both quotes usable."""

    symbol: str
    short_row: Listing
    short: Quote
    long_row: Listing
    long: Quote
    offset_bps: float


class Scalp:
    """Decisions of one strategy process, without I/O; the memory is offsets, cooldowns and exit confirmations."""

    name = NAME

    def __init__(
        self, config: ScalpConfig, risk: RiskConfig, execution: ExecutionConfig, terms: dict[Venue, VenueTerms]
    ) -> None:
        self._config = config
        self._risk = risk
        self._execution = execution
        self._terms = terms
        self._offsets = OffsetBoard(config.offset_window_s, config.offset_min_samples)
        self._cooldown_until_ns: dict[str, int] = {}
        self._watches: dict[str, ExitWatch] = {}
        self._close_sent_ns: dict[str, int] = {}
        self._fees = {venue: term.taker_fee for venue, term in terms.items()}
        self._guard = ExitGuard(
            stop_basis_bps=config.stop_basis_bps, stop_leg_pct=config.stop_leg_pct, max_hold_s=config.max_hold_s
        )

    def sample(self, view: MarketView, now_ns: int) -> None:
        """Once a second: feed the offset medians from every usable pair of quotes."""
        for symbol in view.symbols:
            usable = [(row.venue, q) for row, q in view.quotes(symbol) if isinstance(q, Quote) and problem(q) is None]
            for i, (venue_a, quote_a) in enumerate(usable):
                for venue_b, quote_b in usable[i + 1 :]:
                    self._offsets.add(symbol, venue_a, venue_b, now_ns, mid_gap_bps(quote_a, quote_b))
        self._offsets.settle(now_ns)

    def learn_fees(self, account: AccountSnapshot) -> None:
        """Take the account's own taker fees where the venue told them."""
        for venue in account.venues:
            if venue.taker_fee is not None and venue.venue in self._fees:
                self._fees[venue.venue] = venue.taker_fee

    def attempted(self, symbol: str, now_ns: int) -> None:
        """An open was sent or denied: the cooldown of the symbol starts now."""
        self._cooldown_until_ns[symbol] = now_ns + int(self._config.cooldown_s * NS_PER_S)

    def enter(self, symbol: str, view: MarketView, account: AccountSnapshot | None, now_ns: int) -> list[Intent]:
        """At most one Open for `symbol`; or a Refusal for each direction whose deviation was large enough to enter."""
        usable = [(row, q, q.mid) for row, q in view.quotes(symbol) if isinstance(q, Quote) and problem(q) is None]
        entry = self._config.spread_entry_bps
        wide: list[Candidate] = []
        for short_row, short, short_mid in usable:
            for long_row, long, long_mid in usable:
                if short_row is long_row:
                    continue
                edge = (short.bid_px - long.ask_px) * 2 / (short_mid + long_mid) / BPS
                offset = self._offsets.settled_bps(symbol, short_row.venue, long_row.venue)
                if offset is not None and edge - offset >= entry:
                    wide.append(Candidate(symbol, short_row, short, long_row, long, offset))
        if not wide:
            return []
        judged = [self._judge(candidate, account, now_ns) for candidate in wide]
        opens = [found for found in judged if isinstance(found, Open)]
        if opens:
            return [max(opens, key=lambda found: found.numbers["net_bps"])]
        return list(judged)

    def rehearse(self, symbol: str, view: MarketView, account: AccountSnapshot | None, now_ns: int) -> None:
        """Walk the whole decision on whatever quotes there are and drop it: cold code makes the first edge late (DESIGN 7)."""
        usable = [(row, q) for row, q in view.quotes(symbol) if isinstance(q, Quote) and problem(q) is None]
        if len(usable) > 1:
            (short_row, short), (long_row, long) = usable[0], usable[1]
            self._judge(Candidate(symbol, short_row, short, long_row, long, 0.0), account, now_ns)

    def explain(self, symbol: str, view: MarketView, account: AccountSnapshot | None, now_ns: int) -> list[Refusal]:
        """For every direction of `symbol`: what it is waiting for, with all the numbers there are."""
        reasons: list[Refusal] = []
        rows = view.quotes(symbol)
        for short_row, short in rows:
            for long_row, long in rows:
                if short_row is long_row:
                    continue
                found = self._explain_direction(symbol, (short_row, short), (long_row, long), account, now_ns)
                if found is not None:
                    reasons.append(found)
        return reasons

    def leave(self, view: MarketView, account: AccountSnapshot, now_ns: int, calendar_ns: int) -> list[Close]:
        """Closes for our open pairs whose exit rules fire on fresh quotes; each is sent again only after a pause."""
        ours = [pair for pair in account.pairs if pair.strategy == NAME]
        self._forget({pair.pair_id for pair in ours if pair.status not in FINAL_PAIR})
        closes: list[Close] = []
        for pair in ours:
            sent_ns = self._close_sent_ns.get(pair.pair_id)
            if pair.status is not PairStatus.OPEN or (sent_ns is not None and now_ns - sent_ns < CLOSE_RETRY_NS):
                continue
            figures = self._figures(pair, view, calendar_ns)
            if figures is None:
                continue
            if pair.pair_id not in self._watches:
                self._watches[pair.pair_id] = self._new_watch()
            reason = self._watches[pair.pair_id].evaluate(figures, now_ns)
            if reason is not None:
                self._close_sent_ns[pair.pair_id] = now_ns
                closes.append(
                    Close(
                        pair_id=pair.pair_id,
                        symbol=pair.symbol,
                        long_venue=pair.long_venue,
                        short_venue=pair.short_venue,
                        reason=reason,
                        numbers=figures._asdict(),
                    )
                )
        return closes

    # ---- entering ---------------------------------------------------------------------------------------------------

    def _explain_direction(
        self,
        symbol: str,
        short_side: tuple[Listing, ReadResult],
        long_side: tuple[Listing, ReadResult],
        account: AccountSnapshot | None,
        now_ns: int,
    ) -> Refusal | None:
        (short_row, short), (long_row, long) = short_side, long_side
        for row, quote in (short_side, long_side):
            what = problem(quote)
            if what is not None:
                return _refusal(symbol, short_row, long_row, f"{what}:{row.venue}", _age_numbers(quote))
        if not isinstance(short, Quote) or not isinstance(long, Quote):
            return None
        offset = self._offsets.settled_bps(symbol, short_row.venue, long_row.venue)
        if offset is None:
            numbers = {
                "samples": float(self._offsets.samples(symbol, short_row.venue, long_row.venue)),
                "needed": float(self._config.offset_min_samples),
            }
            return _refusal(symbol, short_row, long_row, "offset_warming", numbers)
        found = self._judge(Candidate(symbol, short_row, short, long_row, long, offset), account, now_ns)
        return found if isinstance(found, Refusal) else None

    def _judge(self, candidate: Candidate, account: AccountSnapshot | None, now_ns: int) -> Open | Refusal:
        """The whole test of one direction, with exact limits and size."""
        c = candidate
        sell = self._limit(c.short_row, c.short.bid_px, Side.SELL)
        buy = self._limit(c.long_row, c.long.ask_px, Side.BUY)
        numbers = self._numbers(c, sell, buy)
        reason = self._entry_refusal(c, numbers) or self._general_refusal(c.symbol, account, now_ns)
        if reason is None and account is not None:
            size = self._size(c, account)
            numbers["qty"] = float(size.qty)
            if size.qty > 0:
                return Open(
                    symbol=c.symbol,
                    short=_leg(c.short_row, c.short, sell),
                    long=_leg(c.long_row, c.long, buy),
                    qty=size.qty,
                    edge_bps=numbers["dev_bps"],
                    offset_bps=c.offset_bps,
                    exit_guard=self._guard,
                    numbers=numbers,
                )
            reason = f"too_small:{size.bound_by}"
        return _refusal(c.symbol, c.short_row, c.long_row, reason or "executor_not_ready", numbers)

    def _entry_refusal(self, candidate: Candidate, numbers: dict[str, float]) -> str | None:
        if not candidate.short_row.instrument.can_short:
            return f"cannot_short:{candidate.short_row.venue}"
        if numbers["dev_bps"] < self._config.spread_entry_bps:
            return "dev_below_entry"
        if numbers["net_bps"] < self._config.min_profit_bps:
            return "net_below_min_profit"
        return None

    def _general_refusal(self, symbol: str, account: AccountSnapshot | None, now_ns: int) -> str | None:
        """What forbids opening in `symbol` whatever the prices are."""
        if account is None or not account.ready:
            return "executor_not_ready"
        if account.trading_state is not TradingState.ACTIVE:
            return f"trading_state_{account.trading_state.value}"
        if symbol in self._risk.blocklist:
            return "blocklisted"
        open_pairs = [pair for pair in account.pairs if pair.status not in FINAL_PAIR]
        if any(pair.symbol == symbol for pair in open_pairs):
            return "pair_open"
        if len(open_pairs) >= self._risk.max_open_pairs:
            return "max_open_pairs"
        if now_ns < self._cooldown_until_ns.get(symbol, 0):
            return "cooldown"
        return None

    def _limit(self, row: Listing, touch_px: float, side: Side) -> Decimal:
        """The IOC limit: canonical touch -/+ the clamped cross, in venue units on the grid's safe side."""
        e = self._execution
        return crossing_limit(
            row.instrument,
            touch_px,
            side,
            cross_ticks=e.cross_ticks,
            min_cross_bps=e.min_cross_bps,
            max_cross_bps=e.max_cross_bps,
            extra_cross_bps=self._terms[row.venue].extra_cross_bps,
        )

    def _numbers(self, candidate: Candidate, sell: Decimal, buy: Decimal) -> dict[str, float]:
        c = candidate
        sell_px = float(sell) / c.short_row.instrument.multiplier
        buy_px = float(buy) / c.long_row.instrument.multiplier
        crossed_bps = (max(0.0, 1 - sell_px / c.short.bid_px) + max(0.0, buy_px / c.long.ask_px - 1)) / BPS
        slippage_bps = max(self._config.slippage_buffer_bps, crossed_bps)
        fee_short, fee_long = self._fees[c.short_row.venue], self._fees[c.long_row.venue]
        cost_bps = round_trip_cost_bps(fee_short, fee_long, slippage_bps)
        return {
            **edge_numbers(c.short, c.long, c.offset_bps, cost_bps)._asdict(),
            "age_short_ms": c.short.age_ns / NS_PER_MS,
            "age_long_ms": c.long.age_ns / NS_PER_MS,
        }

    def _size(self, candidate: Candidate, account: AccountSnapshot) -> Size:
        """RULES 4, as far as a strategy can know; the executor caps again with its own reservations."""
        c = candidate
        mid = Decimal(repr((c.short.mid + c.long.mid) / 2))
        balances = {v.venue: v for v in account.venues}
        short_account, long_account = balances.get(c.short_row.venue), balances.get(c.long_row.venue)
        if short_account is None or long_account is None:
            return Size(qty=Decimal(0), bound_by="no_balance")
        equity = sum((v.equity_usd for v in account.venues), Decimal(0))
        used = {pair.pair_id: pair.long_qty * mid_of(pair) for pair in account.pairs if pair.status not in FINAL_PAIR}
        ours = sum((used[p.pair_id] for p in account.pairs if p.strategy == NAME and p.pair_id in used), Decimal(0))
        total = sum(used.values(), Decimal(0))
        r, s = self._risk, self._config
        usd = {
            "per_trade": equity * from_float(s.alloc_per_trade),
            "order_limit": from_float(r.max_order_usd),
            "strategy_alloc": min(equity * from_float(s.max_alloc), from_float(r.max_strategy_usd[NAME])) - ours,
            "symbol_alloc": min(equity * from_float(r.max_symbol_alloc), from_float(r.max_symbol_usd)),
            "total_alloc": min(equity * from_float(r.max_total_alloc), from_float(r.max_total_usd)) - total,
            f"capacity:{c.short_row.venue}": self._capacity(c.short_row, c.symbol, short_account),
            f"capacity:{c.long_row.venue}": self._capacity(c.long_row, c.symbol, long_account),
        }
        bounds = {name: value / mid for name, value in usd.items()}
        top = min(c.short.bid_qty, c.long.ask_qty) * s.top_qty_ratio
        bounds["top_of_book"] = from_float(top)
        size = common_size(bounds, c.short_row.instrument, c.long_row.instrument)
        minimum = minimum_pair_qty(c.short_row.instrument, mid, c.long_row.instrument, mid)
        return size if size.qty >= minimum else Size(qty=Decimal(0), bound_by=size.bound_by)

    def _capacity(self, row: Listing, symbol: str, account: VenueAccount) -> Decimal:
        leverage = self._terms[row.venue].leverage_of(symbol)
        return perp_capacity_usd(account.free_margin_usd, leverage, self._fees[row.venue])

    # ---- leaving ----------------------------------------------------------------------------------------------------

    def _new_watch(self) -> ExitWatch:
        c = self._config
        return ExitWatch(
            (
                StopBasis(c.stop_basis_bps),
                StopLeg(c.stop_leg_pct),
                TakeProfit(c.take_profit_ratio, c.min_profit_bps),
                MaxHold(c.max_hold_s),
            )
        )

    def _figures(self, pair: PairView, view: MarketView, calendar_ns: int) -> ExitFigures | None:
        """None while either quote is unusable: with such quotes only margin and the operator's exits act (RULES 12)."""
        short = view.quote(pair.short_venue, pair.symbol)
        long = view.quote(pair.long_venue, pair.symbol)
        if not isinstance(short, Quote) or not isinstance(long, Quote):
            return None
        if problem(short) is not None or problem(long) is not None:
            return None
        fee_short, fee_long = self._fees[pair.short_venue], self._fees[pair.long_venue]
        entry_short, entry_long = float(pair.entry_short_px), float(pair.entry_long_px)
        if entry_short <= 0 or entry_long <= 0:
            return None
        gross = executable_pnl_bps(entry_short, entry_long, short, long)
        worst = max((short.mid - entry_short) / entry_short, (entry_long - long.mid) / entry_long)
        return ExitFigures(
            basis_pnl_bps=basis_pnl_bps(pair.entry_basis_bps, short, long),
            net_pnl_bps=gross - round_trip_cost_bps(fee_short, fee_long, 0.0),
            worst_leg_pct=100 * worst,
            held_s=(calendar_ns - pair.opened_calendar_ns) / NS_PER_S,
            entry_dev_bps=pair.entry_edge_bps,
        )

    def _forget(self, alive: set[str]) -> None:
        for memory in (self._watches, self._close_sent_ns):
            for pair_id in [key for key in memory if key not in alive]:
                del memory[pair_id]


def problem(result: ReadResult) -> str | None:
    """Why a read cannot be traded on, or None."""
    if isinstance(result, Quote):
        if not result.flags & QuoteFlag.EXECUTABLE or result.flags & QuoteFlag.DELISTED:
            return "not_executable"
        return None if result.is_sound else "unsound"
    return type(result).__name__.lower()


def mid_of(pair: PairView) -> Decimal:
    """The mean entry price of a pair, canonical."""
    return (pair.entry_long_px + pair.entry_short_px) / 2


def _leg(row: Listing, quote: Quote, limit_px: Decimal) -> Leg:
    return Leg(venue=row.venue, limit_px=limit_px, quote_sequence=quote.sequence, quote_age_ns=quote.age_ns)


def _refusal(symbol: str, short_row: Listing, long_row: Listing, reason: str, numbers: dict[str, float]) -> Refusal:
    return Refusal(
        symbol=symbol, long_venue=long_row.venue, short_venue=short_row.venue, reason=reason, numbers=numbers
    )


def _age_numbers(result: ReadResult) -> dict[str, float]:
    return {"age_ms": result.age_ns / NS_PER_MS} if isinstance(result, Quote | Stale) else {}
