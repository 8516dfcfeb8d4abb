"""What flatten leaves, exactly: as the venue states it, or by our own books where the venue does not answer. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal

from core.messages import ResidualPosition
from core.types import Instrument, Position, Venue
from executor.exit_price import Reference
from executor.state import Key, State

CENT = Decimal("0.01")


def stated(
    position: Position, instrument: Instrument | None, reference: Reference | None, why: str
) -> ResidualPosition:
    """A position as the venue says; `reference` prices it where the venue gives no mark. Without a contract in lots."""
    qty = instrument.lots_to_qty(position.lots) if instrument else Decimal(position.lots)
    px = position.mark_px / instrument.multiplier if instrument else position.mark_px
    if px <= 0 and reference is not None:
        px = (reference.bid_px + reference.ask_px) / 2
    return ResidualPosition(
        venue=position.venue, symbol=position.symbol, qty=qty, notional_usd=abs(qty * px).quantize(CENT), why=why
    )


def by_books(state: State, key: Key, why: str = "venue unreachable: by our own books") -> ResidualPosition:
    """What our journal holds there, at its entry price."""
    qty = state.qty(key)
    entry = state.positions[key].book.avg_px if key in state.positions else Decimal(0)
    multiplier = state.contracts[key].multiplier if key in state.contracts else 1
    return ResidualPosition(
        venue=key[0],
        symbol=key[1],
        qty=qty,
        notional_usd=abs(qty * entry / multiplier).quantize(CENT),
        why=why,
    )


def out_of_reach(
    state: State, venues: Collection[Venue], venue: Venue | None = None, symbol: str | None = None
) -> list[Key]:
    """Where our books hold something, or an order of ours has no known end, on a venue that this configuration does not enable:
    nobody here can read it, hedge it or close it. `venue` and `symbol`: None = any."""
    keys = {key for key, position in state.positions.items() if position.book.lots}
    keys |= {(leg.venue, pair.symbol) for pair in state.live_pairs() for leg in pair.all_legs if leg.lots}
    keys |= {order.key for order in state.open_orders()}
    keys = {key for key in keys if venue in (None, key[0]) and symbol in (None, key[1])}
    return sorted(key for key in keys if key[0] not in venues)


def unlisted(venue: Venue, sizes: Mapping[str, Decimal], symbol: str | None) -> list[ResidualPosition]:
    """Positions in contracts that the venue's catalogue lacks: named as the venue names them, in its own units, of unknown
    worth. Nobody but the venue's own page can close them."""
    return [
        ResidualPosition(venue=venue, symbol=name, qty=size, notional_usd=Decimal(0), why="unlisted contract")
        for name, size in sorted(sizes.items())
        if symbol in (None, name)
    ]
