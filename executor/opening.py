"""A pair from its ticket to its plan in the journal, and the orders that open it. Everything here happens in one call, before
the first byte leaves."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.costs import mid_gap_bps
from core.messages import OpenPair, Sending
from core.numeric import from_float
from core.types import Instrument, Quote, Side, TimeInForce
from executor.engine import Engine
from executor.orders import Draft
from executor.records import PairPlanned
from executor.state import PairBook


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What admission allowed: both instruments, both quotes as re-read just before signing, the size and the order of legs.
    A leg that is quoted only now has no quote here."""

    long: Instrument
    short: Instrument
    long_quote: Quote | None
    short_quote: Quote | None
    qty: Decimal  # canonical
    bound_by: str
    sending: Sending


def plan(engine: Engine, command: OpenPair, ticket: Ticket) -> PairBook:
    """Journal the pair: from here on it exists, with nothing on it."""
    pair_id = engine.next_pair_id()
    engine.know((ticket.long.venue, command.symbol))
    engine.know((ticket.short.venue, command.symbol))
    long, short = ticket.long_quote, ticket.short_quote
    long_px = command.long.limit_px / ticket.long.multiplier
    short_px = command.short.limit_px / ticket.short.multiplier
    engine.record(
        PairPlanned(
            wire_ns=engine.clock.wire_ns(),
            pair_id=pair_id,
            command_id=command.command_id,
            strategy=command.command_id.strategy,
            symbol=command.symbol,
            long_venue=ticket.long.venue,
            short_venue=ticket.short.venue,
            qty=ticket.qty,
            long_ref_px=from_float(long.ask_px) if long is not None else long_px,
            short_ref_px=from_float(short.bid_px) if short is not None else short_px,
            edge_bps=command.edge_bps,
            offset_bps=command.offset_bps,
            basis_bps=mid_gap_bps(short, long) if long is not None and short is not None else command.edge_bps,
            exit_guard=command.exit_guard,
            calendar_ns=engine.clock.calendar_ns(),
            sending=ticket.sending,
            long_limit_px=command.long.limit_px,
            short_limit_px=command.short.limit_px,
        )
    )
    return engine.state.pairs[pair_id]


def both(command: OpenPair, ticket: Ticket, pair: PairBook) -> list[Draft]:
    """The two orders of a pair whose legs are sent at once: long, short."""
    return [
        _opening(pair, ticket.long, Side.BUY, command.long.limit_px),
        _opening(pair, ticket.short, Side.SELL, command.short.limit_px),
    ]


def first(pair: PairBook, instrument: Instrument, side: Side, lots: int) -> Draft:
    """The first leg as one IOC order at the price that the pair was allowed at."""
    limit_px = pair.plan.long_limit_px if side is Side.BUY else pair.plan.short_limit_px
    return msgspec.structs.replace(_opening(pair, instrument, side, limit_px), lots=lots)


def reserve(engine: Engine, pair: PairBook, ticket: Ticket) -> None:
    """Margin and fees of both legs, until the first leg is through: other commands must not spend them meanwhile."""
    for instrument, limit_px in ((ticket.long, pair.plan.long_limit_px), (ticket.short, pair.plan.short_limit_px)):
        desk = engine.desks[instrument.venue]
        desk.reserve(pair.pair_id, limit_px / instrument.multiplier * pair.plan.qty * engine.margin_share(instrument))


def release(engine: Engine, pair: PairBook) -> None:
    """What is filled stays reserved until a balance shows it."""
    for leg in pair.legs:
        if leg.venue in engine.desks:
            engine.desks[leg.venue].end_reservation(pair.pair_id, engine.clock.mono_ns(), bool(leg.lots))


def _opening(pair: PairBook, instrument: Instrument, side: Side, limit_px: Decimal) -> Draft:
    return Draft(
        instrument=instrument,
        side=side,
        lots=instrument.qty_to_lots(pair.plan.qty),
        limit_ticks=instrument.px_to_ticks(limit_px, side),
        time_in_force=TimeInForce.IOC,
        reduce_only=False,
        purpose="open",
        strategy=pair.plan.strategy,
        pair_id=pair.pair_id,
        command_id=pair.plan.command_id,
    )
