"""What the executor tells everybody about the account: the content of the account page in shared memory.

One snapshot is consistent in itself: it belongs to one journal position, so no reader sees half of a pair.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.messages import PairStatus
from core.types import OrderStatus, Side, TradingState, Venue


class VenueAccount(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    status: str  # "ok" | "blind" | "down" | "disabled" (closed set; shown and exported)
    equity_usd: Decimal  # this and the next two mean nothing while read_mono_ns is 0
    free_margin_usd: Decimal
    maintenance_margin_usd: Decimal
    read_mono_ns: int  # when the venue last answered; 0 = never
    private_stream_up: bool
    rate_budget_ratio: float  # left of the request budget, 0 to 1
    clock_offset_ns: int  # venue clock minus ours, as last measured; 0 = unknown
    taker_fee: float | None = None  # fraction, as the account's tier says; None = not read yet
    maker_fee: float | None = None
    leverage: dict[str, int] = {}  # by canonical symbol, as read back from the venue; absent = not read


class PositionView(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    symbol: str
    qty: Decimal  # canonical, signed; by the journal's fills
    venue_qty: Decimal | None  # canonical, signed; as the venue last said; None = not read yet
    avg_entry_px: Decimal  # canonical
    mark_px: Decimal  # canonical, 0 = unknown
    notional_usd: Decimal
    unrealized_usd: Decimal
    realized_usd: Decimal
    fees_usd: Decimal
    funding_usd: Decimal
    move_to_liq_pct: float | None
    flags: tuple[str, ...]  # FOREIGN, FROZEN, PARTIAL_HEDGE, DUST, UNLISTED (no contract of the catalogue: venue units)


class SubLedgerView(msgspec.Struct, frozen=True, kw_only=True):
    """What one owner holds of a position; the owners of an instrument sum to the executor's position there."""

    venue: Venue
    symbol: str
    owner: str  # a strategy, "by hand", or "" for what none of them owns (foreign, dust of finished pairs)
    qty: Decimal  # canonical, signed


class PairView(msgspec.Struct, frozen=True, kw_only=True):
    pair_id: str
    strategy: str
    symbol: str
    status: PairStatus
    long_venue: Venue
    short_venue: Venue
    long_qty: Decimal
    short_qty: Decimal
    entry_long_px: Decimal  # canonical averages
    entry_short_px: Decimal
    entry_basis_bps: float  # mid_S - mid_L in bps at entry
    entry_edge_bps: float  # dev at entry
    entry_offset_bps: float
    opened_calendar_ns: int
    opened_mono_ns: int
    realized_usd: Decimal
    fees_usd: Decimal
    funding_usd: Decimal
    unrealized_usd: Decimal
    hedge_quality: float
    net_usd: Decimal | None  # once closed
    reason: str
    dust_qty: Decimal = Decimal(0)  # canonical, signed: by what its legs differ and no venue takes an order for
    leg_order: str = "both"  # how its orders leave now: "both", or which leg is led (core.messages.LegOrder)


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    client_order_id: str
    venue: Venue
    symbol: str
    side: Side
    qty: Decimal
    filled_qty: Decimal
    limit_px: Decimal
    status: OrderStatus
    pair_id: str | None
    submitted_wire_ns: int


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    executor_epoch: int
    journal_sequence: int
    written_mono_ns: int
    ready: bool  # recovery finished, commands accepted
    trading_state: TradingState
    state_reason: str
    mode: str  # "sandbox", "live blocked", ...
    config_fingerprint: str
    venues: tuple[VenueAccount, ...]
    positions: tuple[PositionView, ...]
    pairs: tuple[PairView, ...]  # not final ones, and the latest final ones (bounded)
    orders: tuple[OrderView, ...]  # not final ones
    frozen: tuple[str, ...]  # "venue:symbol"
    unhedged_usd: Decimal
    unhedged_age_ns: int
    unhedged_max_ns: int  # longest since the ledger began
    pairs_opened: int
    pairs_closed: int
    net_usd: Decimal  # realised + funding - fees over all pairs of this ledger
    sub_ledgers: tuple[SubLedgerView, ...] = ()


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(AccountSnapshot)


def encode_snapshot(snapshot: AccountSnapshot) -> bytes:
    return _encoder.encode(snapshot)


def decode_snapshot(data: bytes) -> AccountSnapshot:
    """Raises msgspec.DecodeError for a page of another layout version."""
    return _decoder.decode(data)
