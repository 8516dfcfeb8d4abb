"""What the limits are asked and what they answer: frozen contexts in, `Allowed | Denied` out.

The engine builds a context from its state and from both books just before signing. A figure it does not have is None, and
None denies: unknown is not zero.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.messages import DenyReason
from core.types import Instrument, Liquidity, ReadResult, Side, TradingState
from risk.parity import Parity

Numbers = dict[str, float]


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """`qty` canonical, at most what was asked; `bound_by` names the limit that set it ("asked" when nothing capped)."""

    qty: Decimal
    bound_by: str
    numbers: Numbers = {}


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """`numbers` are the figures that decided it, units in their names."""

    reason: DenyReason
    detail: str
    numbers: Numbers = {}


Verdict = Allowed | Denied


class LegContext(msgspec.Struct, frozen=True, kw_only=True):
    """One leg as it stands at the moment of the check."""

    instrument: Instrument
    side: Side
    limit_px: Decimal  # venue units
    quote: ReadResult  # canonical, read just now
    taker_fee: float  # fraction
    leverage_read: int | None  # as the venue said; None = not read back yet
    leverage_wanted: int
    free_margin_usd: Decimal | None  # less what accepted commands have reserved; None = account never read
    venue_notional_usd: Decimal  # one-leg notional on this venue now
    venue_max_usd: float
    blind_ns: int  # since the account was last read
    clock_offset_ns: int
    frozen_reason: str  # "" = not frozen
    foreign: bool  # a position that is not ours stands on this instrument
    move_to_liq_pct: float | None  # the venue's worst leg; None = nowhere near or not stated
    margin_used_ratio: float
    may_send: bool  # the throttle admits one more order
    entry_ready: bool
    parity: Parity | None = None  # of the instrument's quote currency; None = unknown
    quotes_first: bool = False  # no book: a live quote within the limit decides when it comes
    rests: bool = False  # it is placed post-only: its limit need not reach the other side
    wallet: bool = False  # spot: bought with free quote, without leverage
    depth: Liquidity | None = None  # measured deeper than the touch; None = it is not


class OpenContext(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenPair and everything it is judged by. Notionals are one-leg USD, accepted and reserved ones included."""

    now_mono_ns: int
    valid_until_mono_ns: int
    decided_mono_ns: int
    ttl_ns: int
    ready: bool
    trading_state: TradingState
    live_blocked: bool
    strategy: str
    symbol: str
    symbol_owner: str | None  # strategy that holds an open pair of this symbol
    last_attempt_mono_ns: int  # of this symbol; 0 = never
    unhedged: bool  # a pair elsewhere has legs that differ
    open_pairs: int
    qty: Decimal  # canonical, asked
    edge_required: bool  # False only for pairs opened by hand
    offset_bps: float
    long: LegContext
    short: LegContext
    symbol_notional_usd: Decimal
    strategy_notional_usd: Decimal
    total_notional_usd: Decimal
    total_equity_usd: Decimal


class OrderContext(msgspec.Struct, frozen=True, kw_only=True):
    """A SubmitOrder and everything it is judged by."""

    now_mono_ns: int
    valid_until_mono_ns: int
    ready: bool
    trading_state: TradingState
    live_blocked: bool
    strategy: str
    symbol: str
    qty: Decimal  # canonical, asked
    reduce_only: bool
    leg: LegContext
    symbol_notional_usd: Decimal
    strategy_notional_usd: Decimal
    total_notional_usd: Decimal
    total_equity_usd: Decimal


class CloseContext(msgspec.Struct, frozen=True, kw_only=True):
    """A ClosePair: `busy` = orders of the pair are in flight, or a leg's outcome is not known."""

    now_mono_ns: int
    valid_until_mono_ns: int
    ready: bool
    live_blocked: bool
    known: bool
    busy: bool
