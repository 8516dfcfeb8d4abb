"""Request budgets of the simulated Variational (docs/venues/variational.md 9): rolling windows per account and class of call.

The venue publishes none for its web interface: the base tier is what third parties live with, and "wide" is twenty times that,
for tests and for a sandbox that many people use at once.
"""

from __future__ import annotations

from collections import deque

from core.clock import NS_PER_S
from core.errors import ConfigError
from ops.sandbox.venues._variational_errors import too_many

TIERS = {"": 1, "wide": 20}
BUDGETS = {"orders": (6, 10), "reads": (20, 10), "quotes": (30, 10), "auth": (6, 60), "stats": (10, 10)}
"""Class of call -> requests in so many seconds."""


class Limits:
    """What is refused is not counted."""

    def __init__(self, tier: str) -> None:
        if tier not in TIERS:
            raise ConfigError(
                f"sandbox venue variational: tier: {tier!r} is not one of {', '.join(filter(None, TIERS))}"
            )
        self._times = TIERS[tier]
        self._taken: dict[tuple[str, str], deque[int]] = {}

    def charge(self, kind: str, who: str, now_ns: int) -> None:
        """Raises ApiError 429."""
        count, window_s = BUDGETS[kind]
        taken = self._taken.setdefault((kind, who), deque())
        while taken and taken[0] <= now_ns - window_s * NS_PER_S:
            taken.popleft()
        if len(taken) >= count * self._times:
            raise too_many((taken[0] + window_s * NS_PER_S - now_ns) / NS_PER_S)
        taken.append(now_ns)
