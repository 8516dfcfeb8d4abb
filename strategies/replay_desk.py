"""The desk of a replay: pairs that a strategy opens and closes on recorded prices, with every cent they make and cost.

It stands where the executor stands in a live run, and is told only what the recording can answer: two IOC legs at once;
if they come back with different sizes the pair is broken and unwound at the following quotes, which is the dearer half of
what an executor may do. A close takes what the recorded sizes give, row after row. Nothing here favours the strategy.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.account import AccountSnapshot, PairView, VenueAccount
from core.clock import Clock
from core.messages import Leg, PairStatus
from core.numeric import BPS
from core.types import Side, TradingState, Venue
from strategies.intents import Open
from strategies.replay_market import ZERO, Got, RecordedVenue


class PairTotals(msgspec.Struct, kw_only=True):
    """Every attempt of one direction: sell at `short_venue`, buy at `long_venue`."""

    symbol: str
    short_venue: str
    long_venue: str
    attempts: int = 0
    missed: int = 0  # neither leg survived delay and next quote
    broken: int = 0  # the legs got different sizes and were unwound at once
    opened: int = 0  # both legs alike
    closed: int = 0  # flat again, broken ones too
    still_open: int = 0
    volume_usd: Decimal = ZERO
    price_usd: Decimal = ZERO  # what the prices made
    fees_usd: Decimal = ZERO

    @property
    def net_usd(self) -> Decimal:
        return self.price_usd - self.fees_usd


class _Pair:
    """One pair's life."""

    def __init__(self, pair_id: str, intent: Open, totals: PairTotals, opened_ns: int) -> None:
        self.pair_id = pair_id
        self.intent = intent
        self.totals = totals
        self.opened_ns = opened_ns
        self.qty = {Side.BUY: ZERO, Side.SELL: ZERO}  # what each leg still holds
        self.entry = {Side.BUY: ZERO, Side.SELL: ZERO}
        self.is_closing = False

    def leg(self, side: Side) -> Leg:
        return self.intent.long if side is Side.BUY else self.intent.short

    @property
    def is_flat(self) -> bool:
        return not any(self.qty.values())


class Desk:
    """`take_fee` is a fraction per venue; `balance_usd` stands on each venue and does not move (sizes stay comparable)."""

    def __init__(
        self, venues: dict[Venue, RecordedVenue], fees: dict[Venue, Decimal], balance_usd: Decimal, clock: Clock
    ) -> None:
        self._venues = venues
        self._fees = fees
        self._balance = balance_usd
        self._clock = clock
        self._pairs: dict[str, _Pair] = {}
        self._totals: dict[tuple[str, Venue, Venue], PairTotals] = {}
        self._count = 0

    def open(self, intent: Open) -> None:
        """Send both legs now."""
        key = (intent.symbol, intent.short.venue, intent.long.venue)
        totals = self._totals.setdefault(key, PairTotals(symbol=key[0], short_venue=key[1], long_venue=key[2]))
        totals.attempts += 1
        self._count += 1
        pair = _Pair(f"r{self._count}", intent, totals, self._clock.calendar_ns())
        for side in (Side.SELL, Side.BUY):
            got = self._take(pair, side, side, intent.qty, pair.leg(side).limit_px)
            pair.qty[side], pair.entry[side] = got.qty, got.px
        if pair.is_flat:
            totals.missed += 1
            return
        pair.is_closing = pair.qty[Side.BUY] != pair.qty[Side.SELL]
        totals.broken += pair.is_closing
        totals.opened += not pair.is_closing
        self._pairs[pair.pair_id] = pair

    def close(self, pair_id: str) -> None:
        self._pairs[pair_id].is_closing = True

    def work(self) -> None:
        """Once per second: what is being closed, as far as recorded sizes go."""
        for pair in list(self._pairs.values()):
            if pair.is_closing:
                for held in (Side.SELL, Side.BUY):
                    if pair.qty[held]:
                        pair.qty[held] -= self._take(pair, held, held.opposite, pair.qty[held], None).qty
            if pair.is_flat:
                pair.totals.closed += 1
                del self._pairs[pair.pair_id]

    def account(self) -> AccountSnapshot:
        """What the strategy is told of itself."""
        accounts = tuple(
            VenueAccount(
                venue=venue, status="ok", equity_usd=self._balance, free_margin_usd=self._balance,
                maintenance_margin_usd=ZERO, read_mono_ns=self._clock.mono_ns(), private_stream_up=True,
                rate_budget_ratio=1.0, clock_offset_ns=0, taker_fee=float(self._fees[venue]),
            )
            for venue in self._venues
        )  # fmt: skip
        return AccountSnapshot(
            executor_epoch=1, journal_sequence=1, written_mono_ns=self._clock.mono_ns(), ready=True,
            trading_state=TradingState.ACTIVE, state_reason="", mode="replay", config_fingerprint="", venues=accounts,
            positions=(), pairs=tuple(map(self._view, self._pairs.values())), orders=(), frozen=(), unhedged_usd=ZERO,
            unhedged_age_ns=0, unhedged_max_ns=0, pairs_opened=0, pairs_closed=0, net_usd=ZERO,
        )  # fmt: skip

    def totals(self) -> list[PairTotals]:
        """Everything so far; what is still open is valued as if closed at the last touches, fees paid. Ask once, at the end."""
        for pair in self._pairs.values():
            pair.totals.still_open += 1
            for side, qty in pair.qty.items():
                venue = pair.leg(side).venue
                usd = qty * (self._venues[venue].touch(pair.intent.symbol, side.opposite) or pair.entry[side])
                pair.totals.price_usd += side.sign * usd
                pair.totals.fees_usd += usd * self._fees[venue]
        return list(self._totals.values())

    def _take(self, pair: _Pair, leg: Side, side: Side, qty: Decimal, limit: Decimal | None) -> Got:
        """One order of one leg, booked."""
        venue = pair.leg(leg).venue
        got = self._venues[venue].take(pair.intent.symbol, side, qty, limit)
        usd = got.px * got.qty
        pair.totals.volume_usd += usd
        pair.totals.price_usd -= side.sign * usd
        pair.totals.fees_usd += usd * self._fees[venue]
        return got

    def _view(self, pair: _Pair) -> PairView:
        long_px, short_px = pair.entry[Side.BUY], pair.entry[Side.SELL]
        basis = float((short_px - long_px) / (short_px + long_px) * 2) / BPS if short_px and long_px else 0.0
        return PairView(
            pair_id=pair.pair_id, strategy="scalp", symbol=pair.intent.symbol,
            status=PairStatus.CLOSING if pair.is_closing else PairStatus.OPEN, long_venue=pair.intent.long.venue,
            short_venue=pair.intent.short.venue, long_qty=pair.qty[Side.BUY], short_qty=-pair.qty[Side.SELL],
            entry_long_px=long_px, entry_short_px=short_px, entry_basis_bps=basis, entry_edge_bps=pair.intent.edge_bps,
            entry_offset_bps=pair.intent.offset_bps, opened_calendar_ns=pair.opened_ns, opened_mono_ns=0,
            realized_usd=ZERO, fees_usd=ZERO, funding_usd=ZERO, unrealized_usd=ZERO, hedge_quality=1.0, net_usd=None, reason="",
        )  # fmt: skip
