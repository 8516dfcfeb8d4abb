"""Average-cost accounting of one position, one formula for account positions and pair legs alike. Exact decimals.

A book counts twice: `lots` is what we believe we hold, from fills or from an answer that shows a fill before the fill
itself has arrived; `booked_lots` is what recorded fills account for. Hedging decides on `lots`, money on the booked part,
so a number shown as PnL never contains a guess, and a leg is never unhedged because its fill message is late.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

ZERO = Decimal(0)


class Book(msgspec.Struct, kw_only=True):
    """One signed position in lots of one contract; prices in venue units, money in USD."""

    lots: int = 0  # believed, signed (+ long)
    booked_lots: int = 0  # accounted for by recorded fills and adoptions, signed
    avg_px: Decimal = ZERO  # average entry of the booked part; kept after it went flat, until the next entry
    realized_usd: Decimal = ZERO  # before fees
    fees_usd: Decimal = ZERO  # positive = paid
    funding_usd: Decimal = ZERO  # signed to us

    @property
    def net_usd(self) -> Decimal:
        """Realised PnL plus funding less fees."""
        return self.realized_usd + self.funding_usd - self.fees_usd

    @property
    def unbooked_lots(self) -> int:
        """Lots that an answer showed and no fill has accounted for yet, signed."""
        return self.lots - self.booked_lots

    def book(self, signed_lots: int, px: Decimal, fee_usd: Decimal, lot_size: Decimal) -> Decimal:
        """Account for one fill; returns the change of `net_usd`."""
        before = self.net_usd
        self.fees_usd += fee_usd
        held = self.booked_lots
        if held == 0 or (held > 0) == (signed_lots > 0):
            total = held + signed_lots
            self.avg_px = (abs(held) * self.avg_px + abs(signed_lots) * px) / abs(total)
        else:
            closed = min(abs(held), abs(signed_lots))
            direction = 1 if held > 0 else -1
            self.realized_usd += (px - self.avg_px) * closed * direction * lot_size
            if abs(signed_lots) > abs(held):
                self.avg_px = px
        self.booked_lots = held + signed_lots
        return self.net_usd - before

    def unrealized_usd(self, mark_px: Decimal, lot_size: Decimal) -> Decimal:
        """PnL of the booked part at `mark_px` (venue units), before fees."""
        return (mark_px - self.avg_px) * self.booked_lots * lot_size
