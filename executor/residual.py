"""What flatten leaves, exactly: as the venue states it, or by our own books where the venue does not answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
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


def by_books(state: State, key: Key) -> ResidualPosition:
    """What our journal holds there, at its entry price."""
    qty = state.qty(key)
    entry = state.positions[key].book.avg_px if key in state.positions else Decimal(0)
    multiplier = state.contracts[key].multiplier if key in state.contracts else 1
    return ResidualPosition(
        venue=key[0],
        symbol=key[1],
        qty=qty,
        notional_usd=abs(qty * entry / multiplier).quantize(CENT),
        why="venue unreachable: by our own books",
    )


def unlisted(venue: Venue, sizes: Mapping[str, Decimal], symbol: str | None) -> list[ResidualPosition]:
    """Positions in contracts that the venue's catalogue lacks: named as the venue names them, in its own units, of unknown
    worth. Nobody but the venue's own page can close them."""
    return [
        ResidualPosition(venue=venue, symbol=name, qty=size, notional_usd=Decimal(0), why="unlisted contract")
        for name, size in sorted(sizes.items())
        if symbol in (None, name)
    ]
