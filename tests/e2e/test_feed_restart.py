"""`supervisorctl restart` of one feed while scalp trades the two other venues: their decisions never pause, pairs with the
restarted venue are refused as stale or down meanwhile, and resume by themselves. Over the roster: whichever is last."""

from __future__ import annotations

import itertools
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bookshm.counters import CountersReader
from bookshm.decisions import DecisionReader
from bookshm.run import RunDir
from core.decisions import Action, Decision
from core.errors import ConfigError
from core.types import Lapped
from ops import views
from tests.e2e.system import PROGRAMS, System

IDLE_S = 10.0
RESTARTS = 3
SHOVE_BPS = 150.0
PAUSE_S = 0.5  # a pause that a trader would notice; idle turns come every 50 ms at most
SUMMARY_S = 1.0  # the ring gets a record at least once a second


class Seen(msgspec.Struct):
    """What a watch saw: every decision, the longest gap between turns, and from when to when the venue was surely away."""

    rows: list[Decision]
    turn_gap_ns: int
    away: list[tuple[int, int]]

    @property
    def decision_gap_s(self) -> float:
        at = [row.mono_ns for row in self.rows]
        return max((b - a for a, b in itertools.pairwise(at)), default=0) / 1e9

    def during(self, absence: tuple[int, int]) -> list[Decision]:
        return [row for row in self.rows if absence[0] <= row.mono_ns <= absence[1]]


class Watch(threading.Thread):
    """Follows the strategy's ring and turns, and one venue's feed, about once a millisecond, until told to stop."""

    def __init__(self, system: System, venue: str) -> None:
        super().__init__(daemon=True)  # a test that fails half-way must not keep the run from ending
        self.venue_away = threading.Event()
        self.seen = Seen([], 0, [])
        self._system = system
        self._venue = venue
        self._end = threading.Event()

    def run(self) -> None:
        run, clock = RunDir.observe(self._system.loaded.run_dir), self._system.clock
        ring = DecisionReader(run, "scalp")
        ring.poll(1 << 16)  # what was before
        books = views.Books(self._system.loaded, run, clock)
        page = CountersReader(Path(run.counters) / "strategy-scalp", clock)
        turns, turned_ns, away_ns, last_ns, look_ns = -1.0, clock.mono_ns(), 0, 0, 0
        while not self._end.is_set():
            now_ns = clock.mono_ns()
            (at,) = [sample.value for sample in page.samples() if sample.name == "strategy_turns_total"]
            if at != turns:
                self.seen.turn_gap_ns = max(self.seen.turn_gap_ns, now_ns - turned_ns)
                turns, turned_ns = at, now_ns
            got = ring.poll(1 << 16)
            assert not isinstance(got, Lapped)
            self.seen.rows += got
            if now_ns >= look_ns:
                look_ns = now_ns + 10_000_000
                if not self._usable(books):
                    away_ns, last_ns = away_ns or now_ns, now_ns
                    self.venue_away.set()
                elif away_ns:
                    self.seen.away.append((away_ns, last_ns))
                    away_ns = 0
                    self.venue_away.clear()
            time.sleep(0.001)

    def stop(self) -> Seen:
        self._end.set()
        self.join(10)
        return self.seen

    def _usable(self, books: views.Books) -> bool:
        try:
            return any(row.up and row.fresh for row in books.feeds() if row.venue == self._venue)
        except ConfigError:
            return False


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    changes = {
        "risk": {"max_order_usd": "300.0"},  # small, so that no limit keeps the next pair from opening
        "strategies.scalp": {"cooldown_s": "0.5", "max_hold_s": "8.0"},
    }
    with System(changes, venues=("aster", "hyperliquid", "lighter")) as system:
        system.up()
        yield system


def shove(system: System, venue: str) -> None:
    """An edge between `venue` and the others, on a symbol without an open pair if there is one."""
    busy = {pair.symbol for pair in system.pairs()}
    symbols = [s for s in system.loaded.config.feeds.symbols if s not in busy] or list(
        system.loaded.config.feeds.symbols
    )
    for symbol in symbols[:2]:
        body = json.dumps({"venue": venue, "symbol": symbol, "bps": SHOVE_BPS}).encode()
        url = f"http://127.0.0.1:{system.ports['control']}/control/basis"
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=10).close()


def reasons(rows: list[Decision], venues: set[str]) -> set[str]:
    """Why directions between exactly these venues, or with one of them, were refused."""
    return {
        row.reason
        for row in rows
        if row.action is Action.REFUSE and (venues == {row.long_venue, row.short_venue} if len(venues) == 2
                                            else venues <= {row.long_venue, row.short_venue})
    }  # fmt: skip


def test_the_others_trade_on_and_the_restarted_one_resumes(system: System) -> None:
    first, second, *_, third = system.loaded.enabled_venues
    others = {str(first), str(second)}
    pids = {program: system.pid(program) for program in PROGRAMS if program != f"feed-{third}"}
    system.until("offsets are settled", lambda: settled(system), 60.0)

    idle = Watch(system, third)
    idle.start()
    time.sleep(IDLE_S)
    quiet = idle.stop()

    watch = Watch(system, third)
    watch.start()
    for _ in range(RESTARTS):
        restart = threading.Thread(target=system.ctl, args=("restart", PROGRAMS[f"feed-{third}"]))
        restart.start()
        assert watch.venue_away.wait(10), "the feed did not go away"
        shove(system, first)
        restart.join(30)
        system.until(f"{third} is live again", lambda: not watch.venue_away.is_set(), 30.0)
        time.sleep(2.0)  # two of the strategy's seconds, in which it says what it refuses
    system.until("refusals of another kind", lambda: resumed(watch.seen.rows, third, first), 60.0)
    busy = watch.stop()

    away_s = [(end - began) / 1e9 for began, end in busy.away]
    print(f"\n{third} away for {', '.join(f'{s:.2f}' for s in away_s)} s")
    print(f"longest gap between turns: {busy.turn_gap_ns / 1e6:.1f} ms, idle {quiet.turn_gap_ns / 1e6:.1f} ms")
    print(f"longest gap between decisions: {busy.decision_gap_s:.3f} s, idle {quiet.decision_gap_s:.3f} s")
    assert len(busy.away) == RESTARTS
    assert busy.turn_gap_ns / 1e9 < max(PAUSE_S, 2 * quiet.turn_gap_ns / 1e9)
    assert busy.decision_gap_s < max(SUMMARY_S + PAUSE_S, 2 * quiet.decision_gap_s)
    meanwhile = [row for absence in busy.away for row in busy.during(absence)]
    opened = [row for row in meanwhile if row.action is Action.OPEN]
    assert opened, "the two others opened nothing meanwhile"
    wrong = [row for row in opened if {row.long_venue, row.short_venue} != others]
    assert not wrong, (wrong, busy.away)
    print(f"{len(opened)} pairs of {first} and {second} decided meanwhile")
    # A restart may be over between two of the strategy's seconds; a longer absence is always told.
    wanted = {f"stale:{third}", f"down:{third}"}
    system.ctl("stop", PROGRAMS[f"feed-{third}"])
    system.until(
        "its pairs are refused", lambda: {row["reason"] for row in system.json("why", "-n", "300")} & wanted, 20.0
    )
    system.ctl("start", PROGRAMS[f"feed-{third}"])
    system.until(f"{third} is live again", system.ready, 30.0)
    assert not {r for r in reasons(meanwhile, others) if r.startswith(("stale:", "down:"))}, "the others never were"
    assert {program: system.pid(program) for program in pids} == pids


def settled(system: System) -> bool:
    rows = DecisionReader(system.loaded.run_dir, "scalp").latest(2048)
    return bool(rows) and "dev_below_entry" in {row.reason for row in rows}


def resumed(rows: list[Decision], third: str, first: str) -> bool:
    """Whether, after its last refusal for want of a quote, every direction with `third` was judged by its price again."""
    last: dict[tuple[str, str, str], str] = {}
    for row in list(rows):
        if third in (row.long_venue, row.short_venue) and row.action in (Action.REFUSE, Action.OPEN):
            last[row.symbol, row.long_venue, row.short_venue] = row.reason
    return bool(last) and not any(reason.startswith(("stale:", "down:")) for reason in last.values())
