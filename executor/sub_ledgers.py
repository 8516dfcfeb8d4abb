"""Who owns what of a position: the legs of pairs as sub-ledgers of each account's position on each instrument.

A venue nets everything on one account; we do not. Each leg of a pair is a ledger of its own, orders by hand have one, and
what nobody owns is left over. At any time, on any instrument:

    position = sum of the legs of live pairs + by hand + the rest

where the rest is foreign, dust of finished pairs, or nobody's (executor.naked). Legs of different strategies may stand on
opposite sides: the position is then smaller than either, and closing a leg may have to enlarge it (RULES 3).

Base of executor.state.State, changed by applying records alone; nothing here reads a clock or a venue.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from core.errors import invariant
from core.types import Fill, Side, Venue
from executor.holdings import Key, OrderState, PairBook, PairLeg, PositionState
from executor.pnl import ZERO
from executor.records import InstrumentSeen, Netted, PositionAdopted

BY_HAND = "by hand"
REST = ""


class SubLedgers(msgspec.Struct, kw_only=True):
    """See the module text."""

    contracts: dict[Key, InstrumentSeen] = msgspec.field(default_factory=dict)
    pairs: dict[str, PairBook] = msgspec.field(default_factory=dict)
    live: dict[str, None] = msgspec.field(default_factory=dict)  # pairs that are not final, oldest first
    positions: dict[Key, PositionState] = msgspec.field(default_factory=dict)
    net_usd: Decimal = ZERO  # realised + funding - fees over all pairs of the journal

    # ---- reading ----------------------------------------------------------------------------------------------------

    def live_pairs(self) -> list[PairBook]:
        """Pairs that are not CLOSED or ABORTED, in the order in which they became so."""
        return [self.pairs[name] for name in self.live]

    def lots(self, key: Key) -> int:
        """Our believed position, signed lots; compare the venue's own statement with this."""
        position = self.positions.get(key)
        return position.book.lots if position else 0

    def holds(self, key: Key) -> bool:
        """Whether anything of anybody stands there, also legs that stand against each other."""
        return bool(self.lots(key)) or any(leg.lots for leg in self._legs(key))

    def qty(self, key: Key) -> Decimal:
        """The same in canonical base units."""
        return self.lots(key) * self.lot_qty(key) if key in self.contracts else ZERO

    def overclaimed(self, key: Key) -> int:
        """Signed lots by which the legs of live pairs claim more than our position there holds without what is by hand.

        So it is between the answer and the fills of an order outside any pair, and after a foreign fill that met a leg whose
        own order was still unknown. A partly foreign position proves nothing; 0 then."""
        position = self.positions.get(key)
        if position is not None and position.foreign:
            return 0
        own = position.book.lots - position.by_hand_lots if position is not None else 0
        legs = [leg.lots for leg in self._legs(key)]
        excess = sum(legs) - own
        sign = 1 if excess > 0 else -1
        return sign * min(abs(excess), sum(abs(lots) for lots in legs if lots * sign > 0))

    def lot_qty(self, key: Key) -> Decimal:
        contract = self.contracts[key]
        return contract.lot_size * contract.multiplier

    def sub_ledgers(self, key: Key) -> dict[str, int]:
        """Signed lots by owner: strategies, BY_HAND, and REST for what none of them owns. They sum to the position."""
        owners: dict[str, int] = {}
        for pair in self.live_pairs():
            leg = pair.leg(key[0])
            if leg is not None and pair.symbol == key[1]:
                owners[pair.plan.strategy] = owners.get(pair.plan.strategy, 0) + leg.lots
        position = self.positions.get(key)
        if position is not None and position.by_hand_lots:
            owners[BY_HAND] = position.by_hand_lots
        rest = self.lots(key) - sum(owners.values())
        if rest:
            owners[REST] = rest
        return {owner: lots for owner, lots in owners.items() if lots}

    # ---- changing ---------------------------------------------------------------------------------------------------

    def _leg(self, venue: Venue, symbol: str, side: Side) -> PairLeg:
        invariant((venue, symbol) in self.contracts, f"pair on {venue}:{symbol} before its contract was recorded")
        contract = self.contracts[(venue, symbol)]
        return PairLeg(
            venue=venue, side=side, lot_size=contract.lot_size, lot_qty=contract.lot_size * contract.multiplier
        )

    def _believe(self, order: OrderState, more_lots: int, wire_ns: int) -> None:
        """Carry an increase of an order's believed fill into the position and the pair's leg."""
        if not more_lots:
            return
        signed = more_lots * order.prepared.side.sign
        position = self._position(order.key)
        position.book.lots += signed
        position.by_hand_lots += signed if order.prepared.purpose == "manual" else 0
        pair = self.pairs.get(order.prepared.pair_id or "")
        leg = pair.leg(order.prepared.venue) if pair else None
        if pair is not None and leg is not None:
            leg.book.lots += signed
            pair.track(wire_ns)
        self._settle_foreign(order.key)

    def _attribute(self, fill: Fill, wire_ns: int) -> int:
        """A fill outside any pair that reduces a live pair's leg belongs to that leg (liquidation, flatten, by hand), as far as
        the position no longer covers the legs: a part that is foreign or by hand goes first. Returns the unsigned lots of it
        that were some leg's."""
        claimed = sum(leg.lots for leg in self._legs((fill.venue, fill.symbol))) * -fill.side.sign
        covered = max(0, self._position((fill.venue, fill.symbol)).book.lots * -fill.side.sign)
        left, taken = min(fill.lots, max(0, claimed - covered)), 0
        for pair in self.live_pairs():
            leg = pair.leg(fill.venue)
            if pair.symbol != fill.symbol or leg is None or leg.lots * fill.side.sign >= 0 or not left:
                continue
            part = min(left, abs(leg.lots))
            left -= part
            taken += part
            pair.shrunk = True
            leg.book.lots += part * fill.side.sign
            self.net_usd += leg.book.book(part * fill.side.sign, fill.px, fill.fee_usd * part / fill.lots, leg.lot_size)
            pair.track(wire_ns)
        return taken

    def _adopt(self, record: PositionAdopted) -> None:
        """The venue's word replaces ours; what live legs claim beyond it is taken from them, at their entry price."""
        key = (record.venue, record.symbol)
        position = self._position(key)
        position.book.booked_lots += record.lots - position.book.lots
        position.book.lots = record.lots
        position.foreign = False
        excess = self.overclaimed(key)
        if record.foreign and excess * record.lots < 0:
            excess = 0  # somebody's lots on top of ours take nothing from a leg on the other side
        if record.cleared:
            position.by_hand_lots = 0
        position.foreign = record.foreign and record.lots != 0
        position.why = record.why
        for pair in self.live_pairs():
            leg = pair.leg(record.venue)
            if pair.symbol != record.symbol or leg is None or (leg.lots * excess <= 0 and not record.cleared):
                continue
            part = min(abs(excess), abs(leg.lots)) * (1 if excess > 0 else -1)
            part = leg.lots if record.cleared else part
            excess -= part
            pair.shrunk = pair.shrunk or bool(part)
            leg.book.lots -= part
            leg.book.booked_lots -= part
            pair.track(record.wire_ns)

    def _netted(self, record: Netted) -> None:
        """Lots between two pairs: each books its side, the position keeps its lots."""
        lot_size = self.contracts[(record.venue, record.symbol)].lot_size
        for pair_id, side in ((record.buyer, Side.BUY), (record.seller, Side.SELL)):
            pair = self.pairs[pair_id]
            leg = pair.leg(record.venue)
            invariant(leg is not None and pair.symbol == record.symbol, f"netting on a leg that {pair_id} lacks")
            if leg is not None:
                leg.book.lots += record.lots * side.sign
                self.net_usd += leg.book.book(record.lots * side.sign, record.px, ZERO, lot_size)
                pair.track(record.wire_ns)

    def _legs(self, key: Key) -> Iterator[PairLeg]:
        for pair in self.live_pairs():
            leg = pair.leg(key[0])
            if leg is not None and pair.symbol == key[1]:
                yield leg

    def _position(self, key: Key) -> PositionState:
        position = self.positions.get(key)
        if position is None:
            position = self.positions[key] = PositionState()
        return position

    def _settle_by_hand(self, key: Key) -> None:
        """Lots moved that are no pair's and not by hand (a stranger's, flatten's, nobody's): what is by hand is at most what the
        legs leave of the position, on its own side. Lots by hand that stood against nobody's are settled with them."""
        position = self._position(key)
        left = position.book.lots - sum(leg.lots for leg in self._legs(key))
        held = position.by_hand_lots
        position.by_hand_lots = 0 if left * held <= 0 else min(abs(left), abs(held)) * (1 if held > 0 else -1)

    def _settle_foreign(self, key: Key) -> None:
        """An empty position holds nothing foreign, and nothing by hand unless a leg on the other side makes up for it."""
        position = self._position(key)
        if position.book.lots == 0:
            position.foreign = False
            if not any(leg.lots for leg in self._legs(key)):
                position.by_hand_lots = 0
