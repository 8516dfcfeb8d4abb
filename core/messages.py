"""Commands to the executor and its reports: one frozen struct per message, msgpack with a type tag, one per datagram.

Transport: SOCK_SEQPACKET, at most MAX_MESSAGE_BYTES a message (DESIGN 3). Every command carries a CommandId and
`valid_until_mono_ns`; a repeated id gets its recorded reports again, never a second order. Prices are decimals in the
venue's own units, sizes decimals in canonical base units; the executor turns both into ticks and lots and denies what
does not fit exactly (prices) or rounds down (sizes).
"""

from __future__ import annotations

import enum
from decimal import Decimal

import msgspec

from core.errors import UNDECODABLE, Malformed
from core.ids import CommandId
from core.types import Side, TimeInForce, TradingState, Venue

MAX_MESSAGE_BYTES = 64 * 1024

OPERATOR = "ops"  # people's commands: everything
MANUAL = "manual"  # pairs and orders by hand; watched by the executor's own exit guards
RISK = "risk"  # the watchdog: may tighten, never resume
OPERATORS = frozenset({OPERATOR, MANUAL, RISK})
"""Client names that are not strategies; a strategy is named after its table in the configuration."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Common root; subclasses are tagged with their class name."""


class ExitGuard(msgspec.Struct, frozen=True, kw_only=True):
    """What the executor watches by itself when the owner is silent. Each bound is positive; 0 = not watched."""

    stop_basis_bps: float
    stop_leg_pct: float
    max_hold_s: float


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a pair as decided: the limit and the quote it was decided on."""

    venue: Venue
    limit_px: Decimal  # venue units, on the venue's price grid
    quote_sequence: int
    quote_age_ns: int


class LegOrder(enum.Enum):
    """In which order the two legs of a pair are sent."""

    AUTO = "auto"  # the executor chooses: QUOTE_FIRST where a venue needs it, THIN_FIRST where depths differ much, else BOTH
    BOTH = "both"  # two IOC orders at once
    THIN_FIRST = "thin_first"  # one IOC order first; the other leg is sized to what it filled
    MAKER_FIRST = (
        "maker_first"  # one leg rests post-only at its own touch; each of its fills is hedged by IOC on the other
    )
    QUOTE_FIRST = "quote_first"  # a live quote for the exact size is accepted first, then hedged on the book venue


class Fallback(enum.Enum):
    """What becomes of a MAKER_FIRST pair whose deadline has passed. What is filled is hedged in any case."""

    STAY = "stay"  # the rest is left as it is: not opened, or not closed
    TAKER = "taker"  # the rest is sent by IOC


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """How the legs of a pair are sent (RULES 5). `first`: the leg that goes first; None = the executor chooses, which
    MAKER_FIRST does not allow. `deadline_s` and `fallback` are for MAKER_FIRST."""

    order: LegOrder = LegOrder.AUTO
    first: Venue | None = None
    deadline_s: float = 120.0
    fallback: Fallback = Fallback.STAY


AT_ONCE = Sending(order=LegOrder.BOTH)


# ---- commands -------------------------------------------------------------------------------------------------------


class Command(Message, frozen=True, kw_only=True):
    command_id: CommandId
    valid_until_mono_ns: int


class OpenPair(Command, frozen=True, kw_only=True, tag="open_pair"):
    """Buy `qty` on the long venue and sell it on the short one, in the order of `sending` (RULES 3 and 5)."""

    symbol: str
    long: Leg
    short: Leg
    qty: Decimal  # canonical base units, asked; the executor may cap it and says so
    decided_mono_ns: int
    edge_bps: float  # the deviation that made the decision, for the record
    offset_bps: float  # standing offset mid_S - mid_L it was measured from
    exit_guard: ExitGuard
    sending: Sending = Sending()


class ClosePair(Command, frozen=True, kw_only=True, tag="close_pair"):
    pair_id: str
    reason: str
    sending: Sending = Sending()


class SubmitOrder(Command, frozen=True, kw_only=True, tag="submit_order"):
    """One order by hand; strategies open pairs."""

    venue: Venue
    symbol: str
    side: Side
    qty: Decimal
    limit_px: Decimal
    time_in_force: TimeInForce
    reduce_only: bool


class CancelOrder(Command, frozen=True, kw_only=True, tag="cancel_order"):
    client_order_id: str


class CancelAll(Command, frozen=True, kw_only=True, tag="cancel_all"):
    venue: Venue | None = None
    symbol: str | None = None


class SetLeverage(Command, frozen=True, kw_only=True, tag="set_leverage"):
    venue: Venue
    symbol: str
    leverage: int


class SetTradingState(Command, frozen=True, kw_only=True, tag="set_trading_state"):
    state: TradingState
    reason: str


class Flatten(Command, frozen=True, kw_only=True, tag="flatten"):
    """Cancel everything and close reduce-only until the venues say flat. `include_foreign` closes unknown positions."""

    venue: Venue | None = None
    symbol: str | None = None
    include_foreign: bool = False


class Probe(Command, frozen=True, kw_only=True, tag="probe"):
    """Ask whether the serial path is alive and fit; nothing is journaled."""


AnyCommand = (
    OpenPair | ClosePair | SubmitOrder | CancelOrder | CancelAll | SetLeverage | SetTradingState | Flatten | Probe
)


# ---- reports --------------------------------------------------------------------------------------------------------


class DenyReason(enum.Enum):
    """Why our own executor refused. Closed set: label values of metrics and the words of `tandem why`."""

    NOT_READY = "not_ready"  # recovery has not finished
    EXPIRED = "expired"  # valid_until passed
    DECISION_TOO_OLD = "decision_too_old"  # ttl passed since decided_mono_ns
    QUOTE_STALE = "quote_stale"
    QUOTE_UNUSABLE = "quote_unusable"  # crossed, one-sided, indicative, down
    EDGE_GONE = "edge_gone"  # at the limit prices and present books it no longer pays
    PRICE_COLLAR = "price_collar"
    PRICE_OFF_GRID = "price_off_grid"
    TRADING_STATE = "trading_state"
    LIVE_BLOCKED = "live_blocked"
    BLOCKLISTED = "blocklisted"
    SYMBOL_OWNED = "symbol_owned"
    COOLDOWN = "cooldown"
    INSTRUMENT_FROZEN = "instrument_frozen"
    INSTRUMENT_UNKNOWN = "instrument_unknown"
    MULTIPLIER_UNPROVEN = "multiplier_unproven"
    PARITY_UNKNOWN = "parity_unknown"  # what a leg's quote currency is worth is not known
    DEPEG = "depeg"  # a leg's quote currency is too far from a dollar
    FOREIGN_POSITION = "foreign_position"
    VENUE_BLIND = "venue_blind"
    CLOCK_SKEW = "clock_skew"  # ours and the venue's differ by more than is safe to sign with
    BELOW_MINIMUM = "below_minimum"
    LIMIT_ORDER = "limit_order"
    LIMIT_SYMBOL = "limit_symbol"
    LIMIT_STRATEGY = "limit_strategy"
    LIMIT_VENUE = "limit_venue"
    LIMIT_TOTAL = "limit_total"
    CAPACITY = "capacity"
    LEVERAGE_UNVERIFIED = "leverage_unverified"
    MARGIN_GUARD = "margin_guard"
    RATE_BUDGET = "rate_budget"
    NO_SUCH_PAIR = "no_such_pair"
    NO_SUCH_ORDER = "no_such_order"
    PAIR_BUSY = "pair_busy"
    UNHEDGED = "unhedged"  # an unhedged leg elsewhere is being repaired
    NOT_AUTHORIZED = "not_authorized"
    LEG_ORDER = "leg_order"  # the legs cannot be sent in the order that was asked
    THIN_BOOK = "thin_book"  # a leg of this size could not be closed at its venue now
    OWN_ORDER = "own_order"  # it would trade against a resting order of ours
    DEAD_MAN = "dead_man"  # the venue's switch for resting orders could not be armed


class Report(Message, frozen=True, kw_only=True):
    command_id: CommandId | None  # None = not asked for (foreign fill, guard, reconciliation)


class OrderReport(Report, frozen=True, kw_only=True):
    client_order_id: str
    venue: Venue
    symbol: str
    side: Side
    pair_id: str | None


class OrderDenied(Report, frozen=True, kw_only=True, tag="order_denied"):
    """Our limits refused the command; nothing was signed. `numbers` are the figures that decided it."""

    reason: DenyReason
    detail: str
    numbers: dict[str, float] = {}


class OrderSubmitted(OrderReport, frozen=True, kw_only=True, tag="order_submitted"):
    qty: Decimal
    limit_px: Decimal


class OrderAccepted(OrderReport, frozen=True, kw_only=True, tag="order_accepted"):
    venue_order_id: str


class OrderRejected(OrderReport, frozen=True, kw_only=True, tag="order_rejected"):
    """The venue refused, with positive evidence. `code` is from the gateway's closed set."""

    code: str
    detail: str


class OrderFilled(OrderReport, frozen=True, kw_only=True, tag="order_filled"):
    fill_qty: Decimal
    fill_px: Decimal
    fee_usd: Decimal
    filled_qty: Decimal  # cumulative
    leaves_qty: Decimal


class OrderCanceled(OrderReport, frozen=True, kw_only=True, tag="order_canceled"):
    filled_qty: Decimal


class OrderExpired(OrderReport, frozen=True, kw_only=True, tag="order_expired"):
    filled_qty: Decimal


class OrderUnknown(OrderReport, frozen=True, kw_only=True, tag="order_unknown"):
    detail: str


class PairStatus(enum.Enum):
    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    REPAIRING = "repairing"  # legs differ; completing or unwinding
    UNKNOWN = "unknown"  # a leg's outcome is not known; frozen until resolved
    ABORTED = "aborted"  # nothing filled on either leg


FINAL_PAIR = frozenset({PairStatus.CLOSED, PairStatus.ABORTED})


class PairState(Report, frozen=True, kw_only=True, tag="pair_state"):
    pair_id: str
    symbol: str
    strategy: str
    status: PairStatus
    long_venue: Venue
    short_venue: Venue
    long_qty: Decimal  # canonical, signed (+)
    short_qty: Decimal  # canonical, signed (-)
    reason: str
    net_usd: Decimal | None = None  # after all fees, once CLOSED


class CommandDone(Report, frozen=True, kw_only=True, tag="command_done"):
    """A command without orders of its own has ended (state set, leverage set, cancelled, probe answered)."""

    ok: bool
    detail: str
    trading_state: TradingState


class ResidualPosition(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    symbol: str
    qty: Decimal  # canonical, signed
    notional_usd: Decimal
    why: str  # "dust", "foreign", "venue unreachable", ...


class FlattenReport(Report, frozen=True, kw_only=True, tag="flatten_report"):
    flat: bool
    residual: tuple[ResidualPosition, ...]
    unreachable: tuple[Venue, ...]


AnyReport = (
    OrderDenied
    | OrderSubmitted
    | OrderAccepted
    | OrderRejected
    | OrderFilled
    | OrderCanceled
    | OrderExpired
    | OrderUnknown
    | PairState
    | CommandDone
    | FlattenReport
)

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_command_decoder = msgspec.msgpack.Decoder(AnyCommand)
_report_decoder = msgspec.msgpack.Decoder(AnyReport)


def encode(message: Message) -> bytes:
    """A command or report as one datagram."""
    return _encoder.encode(message)


def decode_command(data: bytes) -> AnyCommand:
    """Raises Malformed with the path of the offending field."""
    try:
        command: AnyCommand = _command_decoder.decode(data)
    except UNDECODABLE as error:
        raise Malformed(f"command does not decode: {error}") from error
    return command


def decode_report(data: bytes) -> AnyReport:
    """Raises Malformed with the path of the offending field."""
    try:
        report: AnyReport = _report_decoder.decode(data)
    except UNDECODABLE as error:
        raise Malformed(f"report does not decode: {error}") from error
    return report
