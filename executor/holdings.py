"""The values that State is made of: orders, positions, pairs with their legs, commands. Mutable, changed by State alone.

Prices in venue units, sizes in lots with the leg's own contract; canonical quantities are derived. Compared as values.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

import msgspec

from core.messages import AT_ONCE, FINAL_PAIR, LegOrder, PairStatus, Sending
from core.types import OrderStatus, Side, Venue
from executor.pnl import ZERO, Book
from executor.records import OrderPrepared, PairPlanned

Key: TypeAlias = tuple[Venue, str]
"""(venue, canonical symbol)."""


class OrderState(msgspec.Struct, kw_only=True):
    """One order of ours, from its write-ahead record on."""

    prepared: OrderPrepared
    status: OrderStatus = OrderStatus.PREPARED
    venue_order_id: str = ""
    told_lots: int = 0
    told_px: Decimal | None = None  # average, venue units, as last told
    fill_lots: int = 0
    fill_px_lots: Decimal = ZERO  # sum of lots x price of the recorded fills
    fee_usd: Decimal = ZERO
    code: str = ""
    detail: str = ""
    moved_wire_ns: int = 0

    @property
    def client_order_id(self) -> str:
        return self.prepared.client_order_id

    @property
    def key(self) -> Key:
        return (self.prepared.venue, self.prepared.symbol)

    @property
    def filled_lots(self) -> int:
        """Believed fill, unsigned."""
        return max(self.told_lots, self.fill_lots)

    @property
    def leaves_lots(self) -> int:
        return self.prepared.lots - self.filled_lots

    @property
    def missing_lots(self) -> int:
        """Told as filled, but no fill recorded yet."""
        return max(0, self.told_lots - self.fill_lots)

    @property
    def avg_px(self) -> Decimal | None:
        """Average of the recorded fills, else as told (venue units)."""
        return self.fill_px_lots / self.fill_lots if self.fill_lots else self.told_px


class PositionState(msgspec.Struct, kw_only=True):
    """Our account of one venue position. `foreign`: (part of) it is not ours by any record. `by_hand_lots`: what orders by
    hand have put there, signed; they belong to no pair and are nobody's mistake."""

    book: Book = msgspec.field(default_factory=Book)
    foreign: bool = False
    by_hand_lots: int = 0
    why: str = ""


class PairLeg(msgspec.Struct, kw_only=True):
    """One leg's sub-ledger. `side` is the opening side."""

    venue: Venue
    side: Side
    lot_size: Decimal  # venue units
    lot_qty: Decimal  # canonical units in one lot
    book: Book = msgspec.field(default_factory=Book)

    @property
    def lots(self) -> int:
        return self.book.lots

    @property
    def qty(self) -> Decimal:
        """Canonical, signed."""
        return self.book.lots * self.lot_qty

    @property
    def is_flipped(self) -> bool:
        """Whether it stands on the other side than it was opened on: a liquidation met a close of ours on its way."""
        return self.book.lots * self.side.sign < 0

    @property
    def way_out(self) -> Side:
        """The side that reduces it."""
        return self.side if self.is_flipped else self.side.opposite


class PairBook(msgspec.Struct, kw_only=True):
    """One pair's life. `closing`: somebody asked for it to be closed, and it stays so until both legs are flat or dust.
    `diverged_wire_ns` is when its legs began to differ by more than `tolerated_qty` (0 = they do not), `matched_wire_ns` when
    they agreed again (0 = not yet); UnhedgedMeasured closes the episode.

    `sending`: how its orders leave now; AT_ONCE once a first leg and its hedge are through. `hedge`: a third leg that stands in
    for one whose outcome is not known; it is made by the first order of the pair on a venue of neither leg."""

    plan: PairPlanned
    status: PairStatus = PairStatus.OPENING
    reason: str = ""
    long: PairLeg
    short: PairLeg
    hedge: PairLeg | None = None
    closing: bool = False
    sending: Sending = AT_ONCE
    sending_wire_ns: int = 0  # since when
    epoch: int = 0  # of the executor that planned it
    shrunk: bool = False  # somebody outside has reduced a leg: nothing of it is bought again
    opened_calendar_ns: int = 0
    moved_calendar_ns: int = 0
    ended_calendar_ns: int = 0
    orders: list[str] = msgspec.field(default_factory=list)  # client order ids, in order
    diverged_wire_ns: int = 0
    matched_wire_ns: int = 0
    diverged_qty: Decimal = ZERO  # largest of the running episode, canonical, unsigned
    tolerated_qty: Decimal = ZERO  # signed; dust that was measured and accepted

    @property
    def pair_id(self) -> str:
        return self.plan.pair_id

    @property
    def symbol(self) -> str:
        return self.plan.symbol

    @property
    def legs(self) -> tuple[PairLeg, PairLeg]:
        return (self.long, self.short)

    @property
    def imbalance_qty(self) -> Decimal:
        """Sum of the signed legs, canonical: positive = too long."""
        return self.long.qty + self.short.qty + (self.hedge.qty if self.hedge is not None else ZERO)

    @property
    def off_qty(self) -> Decimal:
        """The imbalance beyond the dust that was measured and accepted; 0 = hedged."""
        return self.imbalance_qty - self.tolerated_qty

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_PAIR

    @property
    def is_flat(self) -> bool:
        return not any(leg.lots for leg in self.all_legs)

    @property
    def is_led(self) -> bool:
        """Whether a first leg is being worked and the other one follows its fills."""
        return self.sending.order is not LegOrder.BOTH

    @property
    def all_legs(self) -> tuple[PairLeg, ...]:
        return self.legs if self.hedge is None else (*self.legs, self.hedge)

    @property
    def net_usd(self) -> Decimal:
        """Realised + funding - fees over all legs."""
        return sum((leg.book.net_usd for leg in self.all_legs), ZERO)

    @property
    def unbooked(self) -> bool:
        """Whether answers told of fills that have not arrived yet: money figures are incomplete."""
        return any(leg.book.unbooked_lots for leg in self.all_legs)

    @property
    def is_flipped(self) -> bool:
        return any(leg.is_flipped for leg in self.all_legs)

    def larger(self) -> tuple[PairLeg, PairLeg]:
        """The leg that goes too far in the direction of the imbalance, and the other one."""
        long_first = self.long.qty * self.imbalance_qty >= self.short.qty * self.imbalance_qty
        return (self.long, self.short) if long_first else (self.short, self.long)

    def leg(self, venue: Venue) -> PairLeg | None:
        if self.long.venue == venue:
            return self.long
        if self.short.venue == venue:
            return self.short
        return self.hedge if self.hedge is not None and self.hedge.venue == venue else None

    def track(self, wire_ns: int) -> None:
        """Start, widen or end the episode of differing legs."""
        if self.imbalance_qty == 0:
            self.tolerated_qty = ZERO
        off = abs(self.off_qty)
        if off == 0:
            if self.diverged_wire_ns and not self.matched_wire_ns:
                self.matched_wire_ns = wire_ns
            return
        self.matched_wire_ns = 0
        self.diverged_wire_ns = self.diverged_wire_ns or wire_ns
        self.diverged_qty = max(self.diverged_qty, off)


class CommandState(msgspec.Struct, kw_only=True):
    """A command that got through, or was answered. `answers` are the recorded reports, encoded."""

    kind: str = ""
    body: bytes = b""  # the command, encoded
    taken_wire_ns: int = 0
    answers: list[bytes] = msgspec.field(default_factory=list)
