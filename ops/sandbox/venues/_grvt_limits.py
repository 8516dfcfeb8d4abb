"""GRVT's request budgets. The venue's numbers are not public [unsure]: here 3000 units of 50 ms a minute, by account for
private requests and by address for public ones, with weights that ccxt paces itself by (docs/venues/grvt.md 9)."""

from __future__ import annotations

from collections import deque

from core.clock import NS_PER_S
from ops.sandbox.venues._grvt_errors import ApiError, Code

WINDOW_NS = 60 * NS_PER_S
PRIVATE_PER_MIN = 3000
PUBLIC_PER_MIN = 2400
WEIGHTS = {"create_order": 1, "cancel_order": 1, "cancel_all_orders": 10, "cancel_on_disconnect": 20, "login": 20}
READ_WEIGHT, PUBLIC_WEIGHT = 4, 1


class Limits:
    """Raises ApiError RATE_LIMIT; what is refused is not counted."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[tuple[int, int]]] = {}

    def charge_private(self, address: str, name: str, now_ns: int) -> None:
        self._take(f"account {address}", WEIGHTS.get(name, READ_WEIGHT), PRIVATE_PER_MIN, now_ns)

    def charge_public(self, ip: str, now_ns: int) -> None:
        self._take(f"ip {ip}", PUBLIC_WEIGHT, PUBLIC_PER_MIN, now_ns)

    def _take(self, who: str, weight: int, most: int, now_ns: int) -> None:
        taken = self._taken.setdefault(who, deque())
        while taken and taken[0][0] <= now_ns - WINDOW_NS:
            taken.popleft()
        if sum(each for _, each in taken) + weight > most:
            raise ApiError(Code.RATE_LIMIT)
        taken.append((now_ns, weight))
