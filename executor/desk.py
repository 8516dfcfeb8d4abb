"""One venue as the engine sees it: its gateway, and what the venue last said about the account.

Reconciliation writes what it read (`note_*`); the engine reserves margin here when it accepts, so two commands never
spend one balance. A reservation ends only when a balance is read that was *asked for* after its order had ended: an
answer that left the venue earlier may not contain the order yet.

A private stream is believed to be up as long as it delivers. It may be subscribed, answer pings and bring nothing; what shows
that is a fill of its time that a reading finds and the stream has still not told STREAM_OWES_NS later: the stream is silent
then, until it tells a fill or is opened anew. A silent stream denies nothing (answers, look-ups and readings tell the same, and
only new fills could show that it is well again), but it is not called up.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from core.clock import NS_PER_S
from core.roster import SPEC
from core.settings import VenueConfig
from core.types import Balance, Instrument, Position, Venue
from executor.pnl import ZERO
from executor.venues.base import OrderGateway
from executor.wallets import Wallet

NEVER_NS = 1 << 62
STREAM_OWES_NS = 10 * NS_PER_S  # between a reading that finds a fill and the end of patience with the stream
STREAM_BEGAN_MARGIN_NS = 5 * NS_PER_S  # fills say when they were by the venue's clock, which may be off by 2 s


class Reservation(NamedTuple):
    usd: Decimal
    ended_mono_ns: int  # when its order became final; 0 = still open


class Desk:
    """Fields are written by the engine (`started`, `down_reason`, `leverage`, the stream through `note_stream*`) and by
    reconciliation (`stream_silent`; balance and positions through `note_*`); everybody in the executor reads them."""

    def __init__(self, venue: Venue, gateway: OrderGateway, settings: VenueConfig) -> None:
        self.venue = venue
        self.gateway = gateway
        self.settings = settings
        self.started = False  # gateway.start has returned
        self.reconciled = False  # start-up reconciliation of this venue has passed
        self.stream_up = False
        self.stream_silent = False
        self.down_reason = "not started"
        self.wallet = Wallet() if gateway.traits.wallet else None
        self.balance: Balance | None = None
        self.balance_mono_ns = 0  # when the request of the last good read was sent; 0 = never
        self.positions: dict[str, Position] = {}  # by canonical symbol, as the venue last said
        self.positions_mono_ns = 0
        self.leverage: dict[str, int] = {}  # read back from the venue
        self.naked: dict[str, tuple[int, int]] = {}  # symbol -> lots of ours that no pair owns, mono time since when
        self.switches_armed = 0  # dead-man switches, as far as we know (executor.dead_man)
        self.switch_failures = 0  # since the start
        self._reserved: dict[str, Reservation] = {}  # by client order id
        self._stream_began_wire_ns = 0
        self._stream_owes_since_ns = 0  # mono; 0 = the stream owes nothing

    def instrument(self, symbol: str) -> Instrument | None:
        return self.gateway.instruments().get(symbol) if self.started else None

    def wanted_leverage(self, symbol: str) -> int:
        """As configured for this account and symbol; a wallet buys with what it holds."""
        if self.gateway.traits.wallet:
            return 1
        return self.settings.leverage.get(symbol, self.settings.leverage["default"])

    @property
    def taker_fee(self) -> float:
        """Fraction: configured, else as the account says, else the roster's base tier."""
        if self.settings.taker_fee_bps is not None:
            return self.settings.taker_fee_bps * 1e-4
        return self.gateway.fees.taker if self.started else SPEC[self.venue].taker_fee

    def note_balance(self, balance: Balance, asked_mono_ns: int) -> None:
        """A balance read whose request was sent at `asked_mono_ns`."""
        self.balance = balance
        self.balance_mono_ns = asked_mono_ns
        done = [n for n, r in self._reserved.items() if r.ended_mono_ns and r.ended_mono_ns < asked_mono_ns]
        for name in done:
            del self._reserved[name]

    def note_positions(self, positions: list[Position], asked_mono_ns: int) -> None:
        """All positions of the account, as read by a request sent at `asked_mono_ns`."""
        self.positions = {position.symbol: position for position in positions}
        self.positions_mono_ns = asked_mono_ns

    def note_stream(self, up: bool, wire_ns: int) -> None:
        """It was opened, or broke, at `wire_ns`; what happened before is for readings to find."""
        self.stream_up = up
        self._stream_began_wire_ns = wire_ns
        self.note_stream_told()

    def note_stream_told(self) -> None:
        """A fill came by the stream, new or known: it delivers."""
        self._stream_owes_since_ns = 0
        self.stream_silent = False

    def note_fill_read(self, fill_wire_ns: int, now_mono_ns: int) -> None:
        """A reading found a fill that the stream had not told yet."""
        owed = self.stream_up and fill_wire_ns > self._stream_began_wire_ns + STREAM_BEGAN_MARGIN_NS
        if owed and not self._stream_owes_since_ns:
            self._stream_owes_since_ns = now_mono_ns

    def is_stream_overdue(self, now_mono_ns: int) -> bool:
        """Whether the stream has owed a fill for too long."""
        return bool(self._stream_owes_since_ns) and now_mono_ns - self._stream_owes_since_ns > STREAM_OWES_NS

    def blind_ns(self, now_mono_ns: int) -> int:
        """Since the account was last read."""
        return now_mono_ns - self.balance_mono_ns if self.balance_mono_ns else NEVER_NS

    @property
    def free_margin_usd(self) -> Decimal | None:
        """Free margin less reservations; None = never read."""
        if self.balance is None:
            return None
        return self.balance.free_margin_usd - self.reserved_usd

    @property
    def reserved_usd(self) -> Decimal:
        return sum((r.usd for r in self._reserved.values()), ZERO)

    def reserve(self, client_order_id: str, usd: Decimal) -> None:
        """Set margin and fees aside for an order about to be sent."""
        self._reserved[client_order_id] = Reservation(usd, 0)

    def end_reservation(self, client_order_id: str, now_mono_ns: int, filled: bool) -> None:
        """The order is final. Unfilled: free at once. Filled: kept until a balance asked for later shows it."""
        reservation = self._reserved.pop(client_order_id, None)
        if reservation is not None and filled:
            self._reserved[client_order_id] = Reservation(reservation.usd, now_mono_ns)
