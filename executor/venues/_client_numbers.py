"""Our 128-bit client order ids as whole numbers of fewer bits, both ways, for venues whose client ids are numbers.

    mark | epoch | sequence | leg        mark = 1 and some bits of the account tag

The number is a function of the id alone, so an order can be looked up and cancelled after any restart; an epoch never
returns and a sequence never repeats within one, so neither does a number. What does not fit is refused, not wrapped: the
venue would take the second order for the first.

The way back needs the strategy's tag, which does not fit: it comes from what this process sent, or from the journal's
records. A number that only looks like ours (the mark, and an epoch that has begun) gets an id without strategy: that is an
order that the journal lost, and reconciliation adopts it. Everything else is foreign: the mark's leading one keeps the
small and time-like numbers of other clients away from ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from core.errors import NotSent
from core.ids import OrderTag, client_order_id, parse_client_order_id, tag16
from core.types import Venue

MAX_KNOWN = 40_000


class Layout(NamedTuple):
    """Bits of each part, the mark foremost. Without a leg (0), every order's sequence must be its own."""

    mark: int
    epoch: int
    sequence: int
    leg: int

    def number(self, tag: OrderTag) -> int:
        """The number of an id whose parts fit (see `fits`)."""
        number = self.mark_of(tag.account) << self.epoch | tag.epoch
        number = number << self.sequence | tag.sequence
        return number << self.leg | tag.leg if self.leg else number

    def fits(self, tag: OrderTag) -> bool:
        return tag.epoch < 1 << self.epoch and tag.sequence < 1 << self.sequence

    def mark_of(self, account: int) -> int:
        return 1 << (self.mark - 1) | account & ((1 << (self.mark - 1)) - 1)

    def parts(self, number: int) -> tuple[int, int, int, int]:
        """Mark, epoch, sequence and leg of a number."""
        rest, leg = divmod(number, 1 << self.leg)
        rest, sequence = divmod(rest, 1 << self.sequence)
        mark, epoch = divmod(rest, 1 << self.epoch)
        return mark, epoch, sequence, leg


class ClientNumbers:
    """`epoch`: the executor's present one, 0 = not told (then the newest id seen stands for it). `recorded`: ids that the
    journal knows, and when each was prepared (UTC ns)."""

    def __init__(self, venue: Venue, layout: Layout, account_id: str, epoch: int, recorded: Mapping[str, int]) -> None:
        self._venue = venue
        self._layout = layout
        self._account = tag16(account_id)
        self._epoch = epoch
        self._ids: dict[int, str] = {}
        self._prepared_ns = dict(recorded)
        for name in recorded:
            if parse_client_order_id(name) is not None:
                self.of(name)

    def of(self, name: str) -> int:
        """The number of an id of ours, remembered from now on. Raises NotSent for what has none."""
        tag = parse_client_order_id(name)
        if tag is None:
            raise NotSent(f"{self._venue}: {name!r} is not a client order id of ours and has no number")
        if not self._layout.fits(tag):
            raise NotSent(
                f"{self._venue}: order {tag.sequence} of start {tag.epoch} does not fit a client order number; restart the "
                "executor (or, if the starts are used up, use another account)"
            )
        number = self._layout.number(tag)
        self._epoch = max(self._epoch, tag.epoch)
        self._ids[number] = name
        while len(self._ids) > MAX_KNOWN:
            del self._ids[next(iter(self._ids))]
        return number

    def name(self, number: int) -> str | None:
        """Our id, or None for a foreign order."""
        known = self._ids.get(number)
        if known is not None:
            return known
        mark, epoch, sequence, leg = self._layout.parts(number)
        if mark != self._layout.mark_of(self._account) or not 1 <= epoch <= self._epoch or not sequence:
            return None
        return client_order_id(self._account, 0, epoch, sequence, leg)

    def prepared_wire_ns(self, name: str) -> int:
        """When the journal says that an order of an earlier start was prepared; 0 = it does not know it."""
        return self._prepared_ns.get(name, 0)
