"""Every kind of fault the simulated world knows, when it strikes, and how often it did.

Two sorts. Message faults strike single messages with a probability drawn per schedule and kind; most schedules have few
kinds, some have many. Window faults begin at a drawn time and last for a while. After `calm` nothing of either strikes.
"""

from __future__ import annotations

import enum
import random
from collections import Counter

from core.clock import NS_PER_S
from core.types import Venue
from tests.simulation.world import World


class Fault(enum.Enum):
    # messages to the venue and its answers
    REQUEST_LOST = "request_lost"
    REQUEST_LATE = "request_late"
    REQUEST_DUPLICATED = "request_duplicated"
    REQUEST_UNSENT = "request_unsent"
    ANSWER_LOST = "answer_lost"
    ANSWER_LATE = "answer_late"
    ANSWER_GARBLED = "answer_garbled"
    ANSWER_DUPLICATED = "answer_duplicated"
    ANSWER_FALSE = "answer_false"  # an acceptance of what was never taken
    # the private stream
    EVENT_LOST = "event_lost"
    EVENT_LATE = "event_late"
    EVENT_DUPLICATED = "event_duplicated"
    STREAM_GAP = "stream_gap"
    STREAM_SILENT = "stream_silent"
    FILL_BEFORE_ACK = "fill_before_ack"
    # matching
    PARTIAL_FILL = "partial_fill"
    ZERO_FILL = "zero_fill"
    REFUSED = "refused"
    REFUSED_LATE = "refused_late"
    DEAD_MAN = "dead_man"  # the venue cancels what rests because we fell silent
    CANCEL_RACES_FILL = "cancel_races_fill"
    SLOW_MATCH = "slow_match"
    # reads
    READ_FAILED = "read_failed"
    REST_BEHIND = "rest_behind"
    FILLS_BEHIND = "fills_behind"  # the list of fills lags behind the positions
    RATE_LIMITED = "rate_limited"
    AUTH_EXPIRED = "auth_expired"
    # the venue
    DARK = "dark"
    HALT = "halt"
    POST_ONLY = "post_only"
    REDUCE_ONLY = "reduce_only"
    LEVERAGE_REFUSED = "leverage_refused"
    LEVERAGE_CHANGED = "leverage_changed"
    NO_CONNECTION = "no_connection"
    # our account
    DELEVERAGED = "deleveraged"
    LIQUIDATED = "liquidated"
    MANUAL_TRADE = "manual_trade"
    FOREIGN_ORDER = "foreign_order"
    NEAR_LIQUIDATION = "near_liquidation"
    # prices and time
    PRICE_GAP = "price_gap"
    FEED_STALE = "feed_stale"
    FEED_DOWN = "feed_down"
    BOOK_CROSSED = "book_crossed"
    CLOCK_STEP = "clock_step"
    # the executor and its disk
    CRASH_BEFORE_RECORD = "crash_before_record"
    CRASH_AFTER_RECORD = "crash_after_record"
    CRASH_BEFORE_SEND = "crash_before_send"
    CRASH_AFTER_SEND = "crash_after_send"
    KILL = "kill"
    POWER_LOSS = "power_loss"
    TORN_RECORD = "torn_record"
    CLEAN_STOP = "clean_stop"
    HANG = "hang"
    DISK_FULL = "disk_full"
    WRITE_FAILED = "write_failed"
    # people
    OPERATOR_HALT = "operator_halt"
    OPERATOR_REDUCING = "operator_reducing"
    OPERATOR_FLATTEN = "operator_flatten"
    FLATTEN_PROGRAM = "flatten_program"
    STRATEGY_LEFT = "strategy_left"
    COMMAND_REPEATED = "command_repeated"


LAGS_S = {Fault.REST_BEHIND: (0.2, 2.5), Fault.FILLS_BEHIND: (2.0, 12.0)}


class Faults:
    """What may strike in this schedule, and what has. Rates are per venue and kind."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = random.Random(f"faults-{seed}")
        self._rates: dict[tuple[Venue, Fault], float] = {}
        self._windows: dict[tuple[Venue, Fault], int] = {}
        self._held: set[tuple[Venue, Fault]] = set()
        self._lags_ns: dict[tuple[Venue, Fault], int] = {}
        self.occurred: Counter[Fault] = Counter()
        self.calm = False

    def set_rate(self, venue: Venue, fault: Fault, rate: float) -> None:
        self._rates[(venue, fault)] = rate

    def strikes(self, venue: Venue, fault: Fault) -> bool:
        """Whether this message is hit."""
        rate = self._rates.get((venue, fault), 0.0)
        if not rate or self.calm or self._rng.random() >= rate:
            return False
        self.note(fault, venue)
        return True

    def begin(self, venue: Venue, fault: Fault, seconds: float) -> None:
        """Open a window."""
        until_ns = self._world.now_ns + int(seconds * NS_PER_S)
        self._windows[(venue, fault)] = max(until_ns, self._windows.get((venue, fault), 0))
        self._world.note("fault", fault.value, venue, round(seconds, 2))

    def lasts(self, venue: Venue, fault: Fault) -> bool:
        """Whether a window is open; counted once it has been felt."""
        until_ns = self._windows.get((venue, fault), 0)
        if self.calm or self._world.now_ns >= until_ns:
            self._held.discard((venue, fault))
            return False
        if (venue, fault) not in self._held:
            self._held.add((venue, fault))
            self.occurred[fault] += 1
        return True

    def is_open(self, venue: Venue, fault: Fault) -> bool:
        """The same for onlookers, who do not feel it."""
        return not self.calm and self._world.now_ns < self._windows.get((venue, fault), 0)

    def note(self, fault: Fault, *where: object) -> None:
        self.occurred[fault] += 1
        self._world.note("fault", fault.value, *where)

    def lag_ns(self, venue: Venue, fault: Fault) -> int:
        """How far the venue's REST, or its list of fills alone, lags behind in this schedule, while it does."""
        if (venue, fault) not in self._lags_ns:
            self._lags_ns[(venue, fault)] = int(self._rng.uniform(*LAGS_S[fault]) * NS_PER_S)
        return self._lags_ns[(venue, fault)]

    def chance(self, rate: float) -> bool:
        return self._rng.random() < rate

    def between(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def some(self, most: int) -> int:
        """1 to `most`."""
        return self._rng.randint(1, max(1, most))
