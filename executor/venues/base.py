"""What the engine asks of a venue: the OrderGateway protocol and the private events that gateways deliver.

One gateway per venue, `executor/venues/<venue>.py`, class `Gateway`. A gateway knows the wire; it knows no pairs, limits
or journal. Sizes and prices cross this line as integer lots and ticks of the given Instrument; the decimal strings are
made here, once. Reads raise core.errors.VenueError subclasses (mapped from library exceptions in the lanes only); sends
never raise: they end in an Outcome.

`prepare` is pure (sign, build bytes). `submit` writes the bytes to a warm connection before it returns, so that both legs
of a pair are on the wire before either answer is awaited; the future it returns always completes, at the latest
`request_timeout_ms` later, with Unknown.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import msgspec

from core.clock import Clock
from core.log import Log
from core.settings import VenueConfig
from core.types import Balance, Fill, Instrument, OrderStatus, Position, Side, TimeInForce, Venue
from executor.keyring import Keyring
from executor.nonces import NonceSource
from executor.outcome import Outcome
from executor.signing.signed import Signed


class Equipment(msgspec.Struct, frozen=True, kw_only=True):
    """What `Gateway(equipment)` is built from. `symbols`: canonical ones of this run, empty = all.

    `nonces` gives the one source of a signer: (signer_id, nanoseconds per nonce step) -> NonceSource. `epoch`: this start of
    the executor, 0 = not told. `recorded`: client order ids of this venue that the journal knows, and when each was prepared
    (UTC ns), for venues on whose wire our ids do not fit. `state_dir`: where a request budget may be remembered, None =
    nowhere.
    """

    venue: Venue
    settings: VenueConfig
    symbols: tuple[str, ...]
    keyring: Keyring
    clock: Clock
    log: Log
    rng: random.Random
    nonces: Callable[[str, int], NonceSource]
    epoch: int = 0
    recorded: Callable[[], Mapping[str, int]] = dict
    state_dir: Path | None = None


class OrderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One order as the engine wants it. `expires_wire_ns`: after this UTC time it can no longer reach matching, as far as
    the venue has such a bound."""

    client_order_id: str  # 32 hex digits, core.ids
    instrument: Instrument
    side: Side
    lots: int
    limit_ticks: int
    time_in_force: TimeInForce
    reduce_only: bool
    expires_wire_ns: int
    quote_id: str = ""  # of the LiveQuote to accept, where `Traits.quotes_first`


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    instrument: Instrument
    client_order_id: str
    venue_order_id: str  # "" = not known


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Signed and ready: `payload` is what goes on the wire; `handle` correlates the answer.

    Where signing happens in another thread (Lighter), `payload` is empty and `signature` ends in what goes on the wire, or in
    a VenueError. The engine waits for the signatures of all legs before it submits any.
    """

    client_order_id: str
    nonce: int
    payload: bytes
    handle: str = ""
    signature: asyncio.Future[Signed] | None = None


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What orders of a venue can and cannot do, as far as pairs, repair, flatten and reconciliation must know it. The defaults
    are those of a perpetuals venue with an order book."""

    client_ids: bool = True  # our id travels with the order and finds it again
    reduce_only: bool = True  # False: a close is a plain order, bounded by what our ledger holds
    post_only: bool = True
    partial_fills: bool = True
    late_refusals: bool = False  # an accepted answer is not yet an accepted order: a refusal may follow as a cancel
    quotes_first: bool = False  # no order book: `request_quote`, then an order that accepts it; at most one in flight
    wallet: bool = False  # spot: `positions` states wallet balances, which may be more than we bought, never less


class DeadManScope(enum.Enum):
    ACCOUNT = "account"  # one switch cancels everything of the account
    SYMBOL = "symbol"  # one switch per instrument
    CONNECTION = "connection"  # the venue cancels when our order connection drops; nothing to refresh


class DeadMan(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's switch that cancels our resting orders once we fall silent: armed with `countdown_s`, pushed out again every
    `refresh_s`."""

    scope: DeadManScope
    countdown_s: float
    refresh_s: float


class LiveQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A price that the venue would give us now for exactly `lots` (venue units); accepting it is the order."""

    quote_id: str
    side: Side  # ours
    lots: int
    px: Decimal
    valid_until_mono_ns: int


class VenueOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the venue states it. `client_order_id` is ours in 32-hex form, or None for a foreign one."""

    symbol: str
    venue_order_id: str
    client_order_id: str | None
    side: Side
    lots: int
    filled_lots: int
    status: OrderStatus
    avg_px: Decimal | None
    reduce_only: bool = False


class NotFound(msgspec.Struct, frozen=True, kw_only=True):
    """The venue does not know the order. `definitive` only when its rules prove that it can never have executed."""

    definitive: bool


class FundingPayment(msgspec.Struct, frozen=True, kw_only=True):
    """Cash signed to us: positive = received."""

    venue: Venue
    symbol: str
    amount_usd: Decimal
    rate: float | None
    ts_ns: int
    payment_id: str  # unique per venue


class FeeRates(msgspec.Struct, frozen=True):
    """Fractions of notional; negative = rebate."""

    maker: float
    taker: float


class TopOfBook(msgspec.Struct, frozen=True):
    """By REST, venue units; 0 = side empty. For flatten when shared memory is of no use."""

    bid_px: Decimal
    ask_px: Decimal
    mark_px: Decimal


# ---- events of the private stream ---------------------------------------------------------------------------------


class StreamUp(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribed again: what happened since `since_wire_ns` must be read by REST (fills during the gap)."""

    venue: Venue
    since_wire_ns: int  # 0 = first connection


class StreamDown(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    reason: str


class FillSeen(msgspec.Struct, frozen=True, kw_only=True):
    fill: Fill


class OrderSeen(msgspec.Struct, frozen=True, kw_only=True):
    venue: Venue
    order: VenueOrder


class PositionSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A hint that reconciliation is worth doing now; never the truth about fills."""

    position: Position


class FundingSeen(msgspec.Struct, frozen=True, kw_only=True):
    payment: FundingPayment


PrivateEvent = StreamUp | StreamDown | FillSeen | OrderSeen | PositionSeen | FundingSeen
EventSink = Callable[[PrivateEvent], None]


class OrderGateway(Protocol):
    """See the module text. Everything async may raise VenueError; nothing here sleeps longer than its timeout."""

    venue: Venue
    signer_id: str
    """Whose nonces these are (the signer's address): one NonceSource per signer."""

    account_id: str
    """The account traded (public address): names the lock and tags client order ids."""

    nonces: NonceSource
    """The source of `signer_id`: the engine takes order nonces from it, the gateway those of its own signed reads."""

    traits: Traits
    """Constant for the life of the gateway."""

    dead_man: DeadMan | None
    """None = the venue has no such switch, or it refuses it to this account."""

    unlisted: Mapping[str, Decimal]
    """Positions that the newest `positions` found in contracts which the catalogue lacks: venue symbol -> signed size, venue
    units. They can be told of, not traded; nobody may call the account flat over them."""

    signs_apart: bool
    """Whether `prepare` only begins the signature (see Prepared): the engine begins with this leg."""

    async def start(self, sink: EventSink) -> None:
        """Load instruments, open warm connections and the private stream. Returns when order entry is ready; keeps
        reconnecting in the background. Raises VenueError when the venue cannot be reached now (the engine tries again)."""

    async def close(self) -> None: ...

    def wake(self) -> None:
        """Somebody urgently needs this venue: end reconnect pauses early (bounded to about one attempt a second)."""

    def instruments(self) -> dict[str, Instrument]:
        """Canonical symbol -> Instrument, as loaded by `start` and refreshed by `refresh`."""

    async def refresh(self) -> None:
        """Read the instrument catalogue and own fee rates again."""

    @property
    def fees(self) -> FeeRates: ...

    @property
    def clock_offset_ns(self) -> int:
        """Venue clock minus ours, as last measured; 0 = unknown."""

    @property
    def rate_budget_ratio(self) -> float:
        """What is left of the request budget, 0 to 1."""

    @property
    def nonce_resyncs(self) -> int:
        """How often the count of nonces was read from the venue again, since the start; 0 where nonces are our own."""

    @property
    def entry_ready(self) -> bool:
        """Whether order entry has a warm connection now."""

    def may_send(self, priority: bool) -> bool:
        """Whether the throttle admits one more order; `priority` (cancel, repair, flatten) may use the reserve."""

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared: ...
    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared: ...
    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]: ...

    def rehearse(self) -> None:
        """Walk the signing path hot on dummy input: no nonce, no journal, nothing sent."""

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool] | None:
        """Invalidate an in-flight request by a no-op with its nonce. The future says whether the venue took the no-op
        (then the request can never execute). None where the venue has no such thing."""

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        """An order out of the journal that is in doubt: if an earlier process signed it, it is from here on looked up, burned
        and bounded like one of this process."""

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        """UTC after which a request whose answer was lost can no longer execute by the venue's own rules."""

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        """Arm or push out the switch for these instruments (all of them at once where the scope is wider). Raises VenueError;
        never called where `dead_man` is None."""

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        """Switch it off for these instruments. Raises VenueError."""

    async def request_quote(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        """A live quote for exactly `lots`; only where `traits.quotes_first`. Raises VenueError."""

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound: ...
    async def open_orders(self) -> list[VenueOrder]: ...
    async def positions(self) -> list[Position]: ...
    async def balance(self) -> Balance: ...
    async def fills_since(self, since_wire_ns: int) -> list[Fill]: ...
    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]: ...
    async def top_of_book(self, instrument: Instrument) -> TopOfBook: ...
    async def leverage(self, instrument: Instrument) -> int: ...
    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        """Set and raise VenueError unless the venue confirms. The engine reads it back."""
