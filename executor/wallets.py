"""How much of a wallet's balance counts as our position, where a venue has balances and no positions (spot). Pure bookkeeping.

A wallet may hold more than we ever bought: the owner's coins, a deposit, dust. None of that is ours, none of it is foreign
either: it is simply not looked at. What our ledger says we hold must be there, though; less is a difference like any other.

    no order in doubt   ours, as far as the balance covers it
    an order in doubt   the balance less what lay beside our own when venue and journal last agreed: that difference is what
                        the order may have bought or sold. Without such a memory (a restart) nothing is derived from the
                        balance; look-ups and fills decide alone

Refused: adopting the whole balance (flatten would sell what is not ours), and a durable memory of what lies beside it (it
changes without telling; an old one is worse than none).
"""

from __future__ import annotations

from executor.holdings import Key


class Wallet:
    """One venue; bounded by its instruments."""

    def __init__(self) -> None:
        self._beside: dict[Key, int] = {}

    def lots(self, key: Key, stated: int, ours: int, *, in_doubt: bool) -> int:
        """What to compare our position of `ours` lots with, given a balance of `stated` lots."""
        if not in_doubt:
            return min(stated, max(0, ours))
        beside = self._beside.get(key)
        return ours if beside is None else stated - beside

    def note_agreed(self, key: Key, stated: int, ours: int) -> None:
        """Venue and journal agree, and nothing of ours is in flight or in doubt."""
        self._beside[key] = stated - ours

    def note_owner(self, key: Key, lots: int, *, busy: bool) -> int:
        """The owner traded signed `lots` there: what lies beside ours has changed, without us. Returns how many lots of ours went
        with it, for more than lay beside them was sold; 0 where that is not known, or while orders of ours are `busy` there."""
        if key not in self._beside:
            return 0
        self._beside[key] += lots
        if busy or self._beside[key] >= 0:
            return 0
        taken, self._beside[key] = -self._beside[key], 0
        return taken
