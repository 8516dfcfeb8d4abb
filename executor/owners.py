"""When a strategy was last heard of: a command of its, or the heartbeat of its counters page (RULES 3, exit guards).

A connected socket proves nothing: a stopped process keeps it. The heartbeat is stamped by the strategy's own loop.
"""

from __future__ import annotations

from bookshm.counters import CountersReader
from bookshm.run import RunDir
from core.clock import NS_PER_S, Clock
from core.errors import ConfigError

ATTACH_NS = NS_PER_S


class Owners:
    """Bounded by the strategies that ever owned a pair or sent a command."""

    def __init__(self, run: RunDir, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._commanded: dict[str, int] = {}  # mono ns of the last command
        self._pages: dict[str, CountersReader] = {}
        self._next_attach: dict[str, int] = {}

    def note(self, strategy: str) -> None:
        """A command of `strategy` arrived."""
        self._commanded[strategy] = self._clock.mono_ns()

    def heard(self, strategy: str) -> int:
        """Mono ns when it last gave a sign of life; 0 = never."""
        page = self._page(strategy)
        beat_ns = self._clock.mono_ns() - page.heartbeat_age_ns if page is not None else 0
        return max(self._commanded.get(strategy, 0), beat_ns)

    def _page(self, strategy: str) -> CountersReader | None:
        page = self._pages.get(strategy)
        if page is not None and not page.is_replaced:
            return page
        now_ns = self._clock.mono_ns()
        if now_ns < self._next_attach.get(strategy, 0):
            return page
        self._next_attach[strategy] = now_ns + ATTACH_NS
        try:
            self._pages[strategy] = CountersReader(self._run.counters / f"strategy-{strategy}", self._clock)
        except (FileNotFoundError, ConfigError):
            return page
        return self._pages[strategy]
