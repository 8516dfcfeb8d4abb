"""How one venue trades: what a venue file tells the shared exchange."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.venue_spec import VenueKind
from ops.sandbox.model import Contract, FundingBasis, MinNotionalExempt


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Its contracts in the order of its own listing, and its money rules."""

    contracts: tuple[Contract, ...]
    maker_fee: Decimal  # fraction of notional
    taker_fee: Decimal
    funding_basis: FundingBasis
    money_step: Decimal  # cash amounts (fees, funding) are rounded to this
    min_notional_exempt: MinNotionalExempt
    max_open_orders: int = 1000
    kind: VenueKind = VenueKind.PERP  # SPOT: wallets instead of positions, see wallets.py. RFQ: no book, see Execution

    @property
    def is_spot(self) -> bool:
        return self.kind is VenueKind.SPOT

    @property
    def is_quoted(self) -> bool:
        return self.kind is VenueKind.RFQ
