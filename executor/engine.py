"""The one serial path: journal (write-ahead) -> nonce -> sign -> send -> outcome -> journal -> report (DESIGN 4).

One thread, one event loop. Everything that changes what the executor believes goes through `record`: append to the
journal, apply to the state, tell the listeners. Everything that leaves for a venue goes through `send` or `cancel`.

The protocol of `send`, for one order or for both legs of a pair:
  1. every order gets a client id that never returns (durable epoch, counter) and a nonce out of a durable block
  2. every order is journaled (OrderPrepared) before any of them is signed
  3. all are signed, then all are written to their warm connections, before any answer is awaited
  4. answers arrive as callbacks, in any order, possibly after the fills they speak of; `State` sorts that out
What breaks it: sending from anywhere else, awaiting between 2 and 3, or sending an UNKNOWN order's intent again. Whoever
wants a lost order once more makes a new Draft, after reconciliation has resolved the old one.

Refused: a task per order (two legs would be an await apart), and a retry inside the gateway (it cannot know).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from core.clock import Clock
from core.config import Loaded
from core.ids import CommandId
from core.latch import HaltLatch
from core.log import Log
from core.messages import AnyReport, DenyReason
from core.types import Fill, Instrument, OrderStatus, Quote, ReadResult, TradingState, Venue
from executor.desk import Desk
from executor.orders import Draft
from executor.outcome import Outcome
from executor.records import AnyRecord
from executor.state import Key, OrderState, PairBook, State
from executor.venues.base import FundingPayment, PrivateEvent


class Writer(Protocol):
    """The journal as the engine needs it."""

    def append(self, record: AnyRecord) -> int: ...
    def sync(self) -> None: ...
    @property
    def trouble(self) -> str | None: ...


class Books(Protocol):
    """One venue's shared-memory book (bookshm.book.BookReader)."""

    def slot(self, symbol: str) -> int | None: ...
    def quote(self, slot: int) -> ReadResult: ...


class Meter(Protocol):
    """Where the engine counts; executor.metrics implements it. Every call is cheap and never raises."""

    def command(self, kind: str) -> None: ...
    def denied(self, kind: str, reason: DenyReason) -> None: ...
    def order_sent(self, venue: Venue, purpose: str) -> None: ...
    def order_outcome(self, venue: Venue, status: OrderStatus, code: str, round_trip_ns: int) -> None: ...
    def fill(self, venue: Venue, foreign: bool) -> None: ...
    def duplicate_fill(self, venue: Venue) -> None: ...
    def late_fill(self, venue: Venue) -> None: ...
    def command_to_wire(self, duration_ns: int) -> None: ...
    def unhedged(self, duration_ns: int, notional_usd: Decimal) -> None: ...
    def repair(self, kind: str) -> None:
        """`kind`: "complete" | "unwind" | "shrink"."""


class Engine:
    """See the module text. `desks` and `books` have one entry per enabled venue.

    Listeners (set once by main; each is called synchronously after the state has changed):
      on_pair_order(pair, order)    an order of a live or finished pair moved, or filled late: executor.pairs
      on_pair_leg(pair, key)        a pair's leg changed without an order of the pair: foreign fill, flatten, adoption
      on_doubt(order)               an order became UNKNOWN: executor.reconcile resolves it
      on_hint(venue, why)           something suggests that `venue` should be read again now
    """

    def __init__(
        self,
        loaded: Loaded,
        clock: Clock,
        log: Log,
        state: State,
        journal: Writer,
        latch: HaltLatch,
        desks: Mapping[Venue, Desk],
        books: Mapping[Venue, Books],
        meter: Meter,
    ) -> None:
        self.loaded = loaded
        self.config = loaded.config
        self.clock = clock
        self.log = log
        self.state = state
        self.journal = journal
        self.latch = latch
        self.desks = desks
        self.books = books
        self.meter = meter
        self.ready = False  # recovery has finished: commands are accepted
        self.changes = 0  # grows with every record: the account page is due when it differs from what was written
        self.flattening: set[Key] = set()  # keys that executor.flatten works on: pairs keep their hands off
        self.on_pair_order: Callable[[PairBook, OrderState], None]
        self.on_pair_leg: Callable[[PairBook, Key], None]
        self.on_doubt: Callable[[OrderState], None]
        self.on_hint: Callable[[Venue, str], None]

    # ---- what is believed -------------------------------------------------------------------------------------------

    def record(self, record: AnyRecord) -> int:
        """Journal and apply one fact; returns its sequence. Raises JournalError (nothing applied) when it cannot."""
        raise NotImplementedError

    def freeze(self, key: Key, reason: str) -> None:
        """No new exposure on this instrument until `unfreeze`; idempotent."""
        raise NotImplementedError

    def unfreeze(self, key: Key, reason: str) -> None:
        raise NotImplementedError

    def set_trading_state(self, state: TradingState, reason: str) -> None:
        raise NotImplementedError

    def adopt(self, key: Key, lots: int, *, foreign: bool, why: str) -> None:
        """The venue's position replaces ours (signed lots)."""
        raise NotImplementedError

    def book_fill(self, fill: Fill) -> bool:
        """Record a fill seen on the stream or read by REST; False when it was known. Foreign ones raise the alarm."""
        raise NotImplementedError

    def book_funding(self, payment: FundingPayment) -> bool:
        raise NotImplementedError

    def move_order(
        self,
        client_order_id: str,
        status: OrderStatus,
        *,
        source: str,
        filled_lots: int = 0,
        avg_px: Decimal | None = None,
        venue_order_id: str = "",
        code: str = "",
        detail: str = "",
    ) -> None:
        """Journal what became of an order (see OrderMoved.source), report it, and let pairs go on. The way in which
        reconciliation resolves UNKNOWN orders; an instrument frozen for unknown outcomes thaws with its last one."""
        raise NotImplementedError

    # ---- what is sent -----------------------------------------------------------------------------------------------

    def send(self, drafts: Sequence[Draft]) -> list[OrderState]:
        """Journal, sign and write all `drafts` to their connections, in this call. Outcomes follow as order moves."""
        raise NotImplementedError

    def cancel(self, order: OrderState) -> asyncio.Future[Outcome] | None:
        """Ask for a cancel; None when the order is final or its venue cannot be asked now. The order's own end arrives
        as an order move (stream, or the cancel's positive answer)."""
        raise NotImplementedError

    async def settled(self, orders: Sequence[OrderState], timeout_s: float) -> bool:
        """Wait until all are final (True), or the timeout passes (False)."""
        raise NotImplementedError

    # ---- what is heard ----------------------------------------------------------------------------------------------

    def on_event(self, event: PrivateEvent) -> None:
        """The sink of every gateway."""
        raise NotImplementedError

    # ---- what others ask --------------------------------------------------------------------------------------------

    def quote(self, key: Key) -> ReadResult:
        """The shared-memory quote, canonical; Down when the book lacks the symbol."""
        raise NotImplementedError

    def usable_quote(self, key: Key) -> Quote | None:
        """A quote that may be traded on: fresh, sound, executable."""
        raise NotImplementedError

    def instrument(self, key: Key) -> Instrument | None:
        raise NotImplementedError

    def is_ours(self, venue: Venue, client_order_id: str | None) -> bool:
        """Whether an order carries our prefix and this account's tag (it may still be unknown to the journal)."""
        raise NotImplementedError

    def report(self, report: AnyReport, client: str) -> None:
        """Send a report to the sessions of `client` (a strategy's name)."""
        raise NotImplementedError

    def next_pair_id(self) -> str:
        raise NotImplementedError

    def answer(self, command_id: CommandId, report: AnyReport, client: str) -> None:
        """Journal the final report of a command and send it."""
        raise NotImplementedError
