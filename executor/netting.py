"""Two of our orders never trade with each other: what rests is withdrawn first, and what we want both ways moves inside.

Before an order of a pair leaves:
  1. orders of ours that rest on the other side of that book, at a price it would reach, are cancelled; until each of them has
     a known end the new order waits. Its end may be a fill: then there is less to do, and it is looked at again. One that is
     still on its way there is waited for first: a cancel that overtakes its order only makes its outcome unknown
  2. another pair that wants the opposite on the same instrument now, and has nothing under way there, is its counterparty: the
     overlapping lots move between the two sub-ledgers by one journaled record, at the mid of a usable quote, without fees and
     without any change of the account's position
  3. the rest goes out

What a pair wants is derived from State (`Wish`), never remembered, so a crash between any two steps costs a saving, no lots.
Venues have self-trade prevention of their own; that is their second line, not our first (TRAPS T21).

Refused: netting at either side's limit (one strategy would pay the other's spread), and netting with orders by hand (a person
named a price; such an order is withdrawn when it stands in the way of a pair, and told so by its report).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from core.numeric import from_float
from core.types import OrderStatus, Side, TimeInForce
from executor.engine import Engine
from executor.orders import Draft
from executor.records import Netted
from executor.state import Key, OrderState, PairBook


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a pair would trade on an instrument now. `limit_px` venue units, 0 = any."""

    side: Side
    lots: int
    limit_px: Decimal = Decimal(0)


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """What may leave of the drafts, and the other pairs that were netted with: they are to be looked at."""

    drafts: list[Draft]
    netted: list[PairBook]


class Netting:
    """See the module text. `wish(pair, key)`: None = nothing, or it must not be touched now."""

    def __init__(self, engine: Engine, wish: Callable[[PairBook, Key], Wish | None]) -> None:
        self._engine = engine
        self._wish = wish

    def is_blocked(self, drafts: list[Draft]) -> bool:
        """Whether an order of ours stands in the way; it is asked to go."""
        if not self._engine.state.unsettled:
            return False
        in_the_way = [order for draft in drafts for order in crossed(self._engine, draft)]
        withdraw(self._engine, in_the_way)
        return bool(in_the_way)

    def clear(self, pair: PairBook, drafts: list[Draft]) -> Cleared:
        """Net what can be: from here on those lots have changed hands, and the rest of `drafts` must go. Nothing blocks it."""
        if len(self._engine.state.live) < 2:
            return Cleared(drafts=drafts, netted=[])
        left: list[Draft] = []
        netted: list[PairBook] = []
        for draft in drafts:
            lots = draft.lots - self._net(pair, draft, netted)
            if lots:
                left.append(draft if lots == draft.lots else msgspec.structs.replace(draft, lots=lots))
        return Cleared(drafts=left, netted=netted)

    def _net(self, pair: PairBook, draft: Draft, netted: list[PairBook]) -> int:
        """Lots of `draft` that changed hands inside."""
        instrument = draft.instrument
        key = (instrument.venue, instrument.symbol)
        others = [
            other
            for other in self._engine.state.live_pairs()
            if other is not pair and other.symbol == key[1] and other.leg(key[0]) is not None
        ]
        quote = self._engine.usable_quote(key) if others else None
        if draft.quote_id or quote is None or pair.leg(key[0]) is None:
            return 0  # a stand-in leg is made by its first order: before that there is nothing to book on
        px = from_float(quote.mid) * instrument.multiplier
        least = instrument.min_lots(px)
        done = 0
        for other in others:
            wish = self._wish(other, key)
            if wish is None or wish.side is draft.side or not _agreeable(draft, wish, px):
                continue
            left = draft.lots - done
            part = min(left, wish.lots)
            if 0 < left - part < least:
                part = left - least  # what goes out must be an order
            if part <= 0:
                continue
            self._record(pair, other, draft, part, px)
            netted.append(other)
            done += part
        return done

    def _record(self, pair: PairBook, other: PairBook, draft: Draft, lots: int, px: Decimal) -> None:
        engine, instrument = self._engine, draft.instrument
        buyer, seller = (pair, other) if draft.side is Side.BUY else (other, pair)
        engine.log.info(
            "netted",
            venue=instrument.venue,
            symbol=instrument.symbol,
            lots=lots,
            buyer=buyer.pair_id,
            seller=seller.pair_id,
        )
        engine.record(
            Netted(
                wire_ns=engine.clock.wire_ns(),
                venue=instrument.venue,
                symbol=instrument.symbol,
                lots=lots,
                px=px,
                buyer=buyer.pair_id,
                seller=seller.pair_id,
            )
        )


def crossed(engine: Engine, draft: Draft) -> list[OrderState]:
    """Orders of ours that rest, may rest or are about to, where `draft` would meet them. An adopted order has no known price: it
    is met by everything of the other side."""
    key = (draft.instrument.venue, draft.instrument.symbol)
    return [
        order
        for order in engine.state.open_orders()
        if order.key == key
        and order.prepared.time_in_force is not TimeInForce.IOC
        and order.prepared.side is not draft.side
        and (not order.prepared.limit_ticks or draft.side.sign * (draft.limit_ticks - order.prepared.limit_ticks) >= 0)
    ]


def withdraw(engine: Engine, orders: Sequence[OrderState]) -> None:
    """Cancel those of them that the venue has in its book."""
    for order in orders:
        if order.status is OrderStatus.ACCEPTED:
            engine.cancel_order(order)


def _agreeable(draft: Draft, wish: Wish, px: Decimal) -> bool:
    """Whether `px` is within both limits."""
    own_px = draft.instrument.ticks_to_px(draft.limit_ticks)
    within = draft.side.sign * (px - own_px) <= 0
    return within and (not wish.limit_px or wish.side.sign * (px - wish.limit_px) <= 0)
