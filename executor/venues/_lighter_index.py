"""Our 128-bit client order ids as Lighter's 48-bit client order indices, both ways (docs/venues/lighter.md 7).

    mark 6 | epoch 18 | sequence 24        mark = 1 and five bits of the account tag

The index is a function of the id alone, so an order can be looked up and cancelled after any restart; an epoch never
returns and a sequence never repeats within one, so neither does an index. (The leg is not in it: the engine counts every
order, legs too. 262 143 starts and 16.7 million orders per start fit; beyond that an order is refused, not wrapped: the
venue would take the second one for the first.)

The way back needs the strategy's tag, which does not fit: it comes from what this process sent, or from the journal's
records. An index that only looks like ours (the mark, and an epoch that has begun) gets an id without strategy: that is an
order that the journal lost, and reconciliation adopts it. Everything else is foreign: the mark's leading one keeps the
small and time-like numbers of other clients away from ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import NotSent
from core.ids import client_order_id, parse_client_order_id, tag16

MARK_BITS, EPOCH_BITS, SEQUENCE_BITS = 6, 18, 24
MAX_KNOWN = 40_000


class ClientIndex:
    """`epoch`: the executor's present one, 0 = not told (then the newest id seen stands for it)."""

    def __init__(self, account_id: str, epoch: int, recorded: Mapping[str, int]) -> None:
        self._account = tag16(account_id)
        self._epoch = epoch
        self._ids: dict[int, str] = {}
        self._prepared_ns = dict(recorded)
        for name in recorded:
            if parse_client_order_id(name) is not None:
                self.of(name)

    def of(self, name: str) -> int:
        """The index of an id of ours, remembered from now on. Raises NotSent for what has none."""
        tag = parse_client_order_id(name)
        if tag is None:
            raise NotSent(f"lighter: {name!r} is not a client order id of ours and has no index")
        if tag.epoch >= 1 << EPOCH_BITS or tag.sequence >= 1 << SEQUENCE_BITS:
            raise NotSent(
                f"lighter: order {tag.sequence} of start {tag.epoch} does not fit a client order index; restart the executor "
                "(or, if the starts are used up, use another account)"
            )
        index = _mark(tag.account) << (EPOCH_BITS + SEQUENCE_BITS) | tag.epoch << SEQUENCE_BITS | tag.sequence
        self._epoch = max(self._epoch, tag.epoch)
        self._ids[index] = name
        while len(self._ids) > MAX_KNOWN:
            del self._ids[next(iter(self._ids))]
        return index

    def name(self, index: int) -> str | None:
        """Our id, or None for a foreign order."""
        known = self._ids.get(index)
        if known is not None:
            return known
        mark, rest = divmod(index, 1 << (EPOCH_BITS + SEQUENCE_BITS))
        epoch, sequence = divmod(rest, 1 << SEQUENCE_BITS)
        if mark != _mark(self._account) or not 1 <= epoch <= self._epoch or not sequence:
            return None
        return client_order_id(self._account, 0, epoch, sequence, 0)

    def prepared_wire_ns(self, name: str) -> int:
        """When the journal says that an order of an earlier start was prepared; 0 = it does not know it."""
        return self._prepared_ns.get(name, 0)


def _mark(account: int) -> int:
    return 1 << (MARK_BITS - 1) | account & ((1 << (MARK_BITS - 1)) - 1)
