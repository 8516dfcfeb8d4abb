"""Our client order ids as Lighter's 48-bit client order indices (docs/venues/lighter.md 7).

    mark 6 | epoch 18 | sequence 24

The leg is not in it: the engine counts every order, legs too. 262 143 starts and 16.7 million orders per start fit.
"""

from __future__ import annotations

from collections.abc import Mapping

from core.types import Venue
from executor.venues._client_numbers import ClientNumbers, Layout

VENUE = Venue("lighter")
LAYOUT = Layout(mark=6, epoch=18, sequence=24, leg=0)


class ClientIndex(ClientNumbers):
    """The indices of one account."""

    def __init__(self, account_id: str, epoch: int, recorded: Mapping[str, int]) -> None:
        super().__init__(VENUE, LAYOUT, account_id, epoch, recorded)
