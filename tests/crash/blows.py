"""What is done to a supervised system: a program killed or stopped, a venue away, or one of the sandbox's faults.

A blow strikes once, may last, and is ended. Which one, against whom and how hard comes out of one random source, so that a
seed names a sequence; what each of them meets is up to the machine.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

STOPPED_S = (0.3, 8.0)
AWAY_S = (1.0, 8.0)
FAULT_S = (1.0, 5.0)

ORDERS, READS, MARKET, PRIVATE = "orders", "reads", "market", "private"
STREAMS, REST, ALL = (MARKET, PRIVATE), (ORDERS, READS, MARKET), (ORDERS, READS, MARKET, PRIVATE)

KINDS: dict[str, tuple[str, ...]] = {
    "disconnect": ALL,
    "stall": STREAMS,
    "slow": (ORDERS, READS),
    "http_error": REST,
    "lost_answer": (ORDERS, READS),
    "rejected_nonce": (ORDERS,),
    "expired_auth": (),
    "partial_fill": (ORDERS,),
    "duplicate": STREAMS,
    "reorder": STREAMS,
    "gap": (MARKET,),
    "garbage": ALL,
    "clock_skew": (),
}
"""Every fault of the sandbox, and what it is let loose on here; () = what it usually strikes."""

WAYS = {"http_error": ("refused", "executed"), "lost_answer": ("silent", "broken")}
TIMES = {"lost_answer": 3, "rejected_nonce": 2, "expired_auth": 2, "partial_fill": 3, "gap": 4}
"""Kinds that strike up to so many times; the others last."""


class Struck(Protocol):
    """What a blow needs of a system (tests.crash.rough.Rough)."""

    def pid(self, program: str) -> int: ...
    def control(self, path: str, body: dict[str, Any] | None = None) -> Any: ...


class Blow(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def target(self) -> str:
        """A program, or a venue."""

    @property
    def lasts_s(self) -> float: ...

    def strike(self, system: Struck) -> None: ...
    def end(self, system: Struck) -> None: ...


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """SIGKILL; supervisord starts the program again."""

    target: str
    kind: str = "kill"
    lasts_s: float = 0.0

    def strike(self, system: Struck) -> None:
        _signal(system.pid(self.target), signal.SIGKILL)

    def end(self, system: Struck) -> None:
        """It is over when it strikes."""


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """SIGSTOP, and SIGCONT later: alive for everybody, and silent."""

    target: str
    lasts_s: float
    kind: str = "stop"

    def strike(self, system: Struck) -> None:
        _signal(system.pid(self.target), signal.SIGSTOP)

    def end(self, system: Struck) -> None:
        _signal(system.pid(self.target), signal.SIGCONT)


class Away(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's port is closed; its exchange goes on."""

    target: str
    lasts_s: float
    kind: str = "away"

    def strike(self, system: Struck) -> None:
        system.control("venue", {"venue": self.target, "serving": False})

    def end(self, system: Struck) -> None:
        system.control("venue", {"venue": self.target, "serving": True})


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One of the sandbox's own faults at one venue."""

    target: str
    kind: str
    asked: Mapping[str, Any]
    lasts_s: float

    def strike(self, system: Struck) -> None:
        system.control("fault", {"venue": self.target, "kind": self.kind, **self.asked})

    def end(self, system: Struck) -> None:
        system.control("clear", {"venue": self.target})


def any_blow(rng: random.Random, programs: Sequence[str], venues: Sequence[str]) -> Blow:
    """The next blow: a third kills, a sixth stops, the rest at a venue."""
    turn = rng.random()
    if turn < 0.33:
        return Kill(target=rng.choice(programs))
    if turn < 0.5:
        return Stop(target=rng.choice(programs), lasts_s=rng.uniform(*STOPPED_S))
    venue = rng.choice(venues)
    if turn < 0.58:
        return Away(target=venue, lasts_s=rng.uniform(*AWAY_S))
    return fault(rng, venue, rng.choice(list(KINDS)))


def fault(rng: random.Random, venue: str, kind: str) -> Fault:
    asked: dict[str, Any] = {}
    if KINDS[kind]:
        asked["traffic"] = [rng.choice(KINDS[kind])]
    if kind in WAYS:
        asked["way"] = rng.choice(WAYS[kind])
    if kind in TIMES:
        asked["times"] = rng.randint(1, TIMES[kind])
    match kind:
        case "slow":
            asked["value"] = rng.choice((150, 700, 2500))
        case "http_error":
            asked["value"] = rng.choice((500, 502, 503, 504, 429))
        case "partial_fill":
            asked["value"] = rng.choice((0.0, 0.3, 0.9))
        case "clock_skew":
            asked["value"] = rng.choice((-4.0, -0.6, 0.6, 4.0))
    return Fault(target=venue, kind=kind, asked=asked, lasts_s=rng.uniform(*FAULT_S))


def described(blow: Blow) -> str:
    """One line: what, and how hard."""
    words = [blow.kind]
    if isinstance(blow, Fault):
        words += [str(value) if not isinstance(value, list) else ",".join(value) for value in blow.asked.values()]
    if blow.lasts_s:
        words.append(f"{blow.lasts_s:.1f} s")
    return " ".join(words)


def _signal(pid: int, number: signal.Signals) -> None:
    """To exactly the process that supervisord names; one that has just ended is none to signal."""
    if pid <= 1:
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
