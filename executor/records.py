"""What the journal holds: one frozen struct per fact, tagged; replaying them rebuilds the executor's state exactly.

A record is a fact that has happened or an intent about to leave; never a wish. Live path and recovery apply the same
records to the same `State`, so there is no second way to arrive at a state. Tags and field names are part of the file
format: append fields with defaults, never rename.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.ids import CommandId
from core.messages import AT_ONCE, ExitGuard, PairStatus, Sending
from core.types import Fill, OrderStatus, Side, TimeInForce, TradingState, Venue


class Record(msgspec.Struct, frozen=True, kw_only=True):
    wire_ns: int


class EpochStarted(Record, frozen=True, kw_only=True, tag="epoch"):
    """Synced before anything else of this epoch."""

    epoch: int
    config_fingerprint: str


class NonceBlock(Record, frozen=True, kw_only=True, tag="nonce_block"):
    """Nonces of `signer_id` below `high` may have been used; synced before the first of them is."""

    signer_id: str
    high: int


class CommandTaken(Record, frozen=True, kw_only=True, tag="command"):
    """A client's command got through the limits (or was answered without orders). Repeats get the recorded reports."""

    command_id: CommandId
    kind: str
    body: bytes  # the datagram as received


class CommandAnswered(Record, frozen=True, kw_only=True, tag="answered"):
    """The final report of a command."""

    command_id: CommandId
    body: bytes


class InstrumentSeen(Record, frozen=True, kw_only=True, tag="instrument"):
    """The contract that lots and ticks of later records are counted in; written before the first of them and on change."""

    venue: Venue
    symbol: str
    venue_symbol: str
    lot_size: Decimal  # venue units
    tick_size: Decimal  # venue units
    multiplier: int


class PairPlanned(Record, frozen=True, kw_only=True, tag="pair_planned"):
    pair_id: str
    command_id: CommandId
    strategy: str
    symbol: str
    long_venue: Venue
    short_venue: Venue
    qty: Decimal  # canonical, both legs
    long_ref_px: Decimal  # canonical touch prices at decision
    short_ref_px: Decimal
    edge_bps: float
    offset_bps: float
    basis_bps: float
    exit_guard: ExitGuard
    calendar_ns: int
    sending: Sending = AT_ONCE  # as decided by the executor: never AUTO
    long_limit_px: Decimal = Decimal(
        0
    )  # venue units; the worst prices at which the pair was allowed to open, 0 = not told
    short_limit_px: Decimal = Decimal(0)


class PairMoved(Record, frozen=True, kw_only=True, tag="pair_moved"):
    pair_id: str
    status: PairStatus
    reason: str
    calendar_ns: int
    sending: Sending | None = None  # from now on; None = as before


class OrderPrepared(Record, frozen=True, kw_only=True, tag="order"):
    """Write-ahead: on disk before the first byte leaves."""

    client_order_id: str
    command_id: CommandId | None
    pair_id: str | None
    strategy: str
    venue: Venue
    symbol: str
    side: Side
    lots: int
    limit_ticks: int
    time_in_force: TimeInForce
    reduce_only: bool
    nonce: int
    expires_wire_ns: int
    purpose: str  # see executor.orders.Draft
    quote_id: str = ""  # of the live quote that it accepts


class OrderMoved(Record, frozen=True, kw_only=True, tag="order_moved"):
    """A status with its evidence. `filled_lots` is cumulative as the venue's answer shows, 0 where it shows none."""

    client_order_id: str
    status: OrderStatus
    venue_order_id: str
    filled_lots: int
    avg_px: Decimal | None
    code: str  # RejectCode value for REJECTED, else ""
    detail: str
    source: str  # "sent" | "answer" | "stream" | "lookup" | "fills" | "bound" | "burn" | "position" | "recovery"


class FillRecorded(Record, frozen=True, kw_only=True, tag="fill"):
    """De-duplicated by venue and trade_id."""

    fill: Fill


class PositionAdopted(Record, frozen=True, kw_only=True, tag="adopted"):
    """The venue's position differs from our fills and the venue has the last word; `lots` signed, `why` says what it was.
    `cleared`: after a flatten, and with no lots: nothing of any owner is left, also where owners stood on both sides."""

    venue: Venue
    symbol: str
    lots: int
    foreign: bool
    why: str
    cleared: bool = False


class Frozen(Record, frozen=True, kw_only=True, tag="frozen"):
    venue: Venue
    symbol: str
    reason: str


class Unfrozen(Record, frozen=True, kw_only=True, tag="unfrozen"):
    venue: Venue
    symbol: str
    reason: str


class TradingStateSet(Record, frozen=True, kw_only=True, tag="trading_state"):
    state: TradingState
    reason: str


class FundingRecorded(Record, frozen=True, kw_only=True, tag="funding"):
    venue: Venue
    symbol: str
    payment_id: str
    amount_usd: Decimal  # signed to us
    ts_ns: int


class UnhedgedMeasured(Record, frozen=True, kw_only=True, tag="unhedged"):
    """One episode of a pair whose legs differed, closed: how long and how much."""

    pair_id: str
    duration_ns: int
    notional_usd: Decimal


class Netted(Record, frozen=True, kw_only=True, tag="netted"):
    """Two pairs of ours wanted to trade against each other: `lots` (unsigned) change hands between their sub-ledgers at `px`
    (venue units), without an order and without a fee. The position of the account is unchanged."""

    venue: Venue
    symbol: str
    lots: int
    px: Decimal
    buyer: str  # pair ids
    seller: str


class CleanStop(Record, frozen=True, kw_only=True, tag="clean_stop"):
    """Written last on a graceful stop."""


AnyRecord = (
    EpochStarted
    | NonceBlock
    | CommandTaken
    | CommandAnswered
    | InstrumentSeen
    | PairPlanned
    | PairMoved
    | OrderPrepared
    | OrderMoved
    | FillRecorded
    | PositionAdopted
    | Frozen
    | Unfrozen
    | TradingStateSet
    | FundingRecorded
    | UnhedgedMeasured
    | Netted
    | CleanStop
)
