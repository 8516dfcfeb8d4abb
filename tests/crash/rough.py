"""A system that is treated roughly: blows (tests.crash.blows) at rest or with orders on their way, and what became of it, by the
venues' own books.

Nothing here knows the programs: they are what supervisord.conf lists. A blow "in flight" follows the decision ring and
strikes within milliseconds after a command of the strategy left, so that it hits what no restart is prepared for: an order
in the journal and not on the wire, on the wire and not answered, answered and not journaled.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from bookshm.book_reader import BookReader
from bookshm.counters import CountersReader
from bookshm.decisions import DecisionReader
from bookshm.run import RunDir
from core.decisions import Action
from core.errors import ConfigError
from core.log import Log
from core.messages import PairStatus
from core.types import OrderStatus, TradingState, Venue
from executor.image import rebuild
from executor.journal import Journal
from ops import supervision, views
from tests.crash.blows import Blow, Fault, Kill, any_blow, described
from tests.e2e.system import PROGRAMS, System

SHOVE_BPS = 150.0
SHOVE_EVERY_S = 1.5
RETURN_S = 60.0
SETTLE_S = 150.0  # a venue with a small request budget is read once a minute
DUST_USD = 5  # below what any venue lets us trade
AT_REST = frozenset({PairStatus.OPEN, PairStatus.CLOSED, PairStatus.ABORTED})
CHANGES = {"strategies.scalp": {"cooldown_s": "0.5", "max_hold_s": "25.0"}}
"""Pairs end by themselves after 25 s, so that there is always room for the next edge and closes are hit too."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One blow. `doubts`: instruments that were frozen by an order of unknown outcome and thawed when it was known. `repairs`:
    how often a pair's legs were made to match again. `naked_s` and `naked_usd`: the longest time and the largest notional that
    one symbol's fills, taken over all venues, did not add up to nothing."""

    target: str
    blow: str
    moment: str
    pairs: int
    return_s: float
    settle_s: float
    doubts: int
    repairs: int
    waited_for: str
    naked_s: float
    naked_usd: float


class Rough(System):
    """Use as System; `seed` decides the sandbox's market and every blow. `venues`: those that take part, all when left out."""

    def __init__(self, seed: int, venues: tuple[str, ...] | None = None) -> None:
        super().__init__({**CHANGES, "sandbox": {"seed": str(seed)}}, venues)
        self._rng = random.Random(seed)
        self._symbols = list(self.loaded.config.feeds.symbols)
        self._venues = list(self.loaded.enabled_venues)
        self._waits_for: set[str] = set()
        self.programs = [name for name in PROGRAMS if not name.startswith("feed-") or name[5:] in self._venues]

    # ---- blows --------------------------------------------------------------------------------------------------------

    def random_round(self) -> Round:
        """Anything, at any moment; every second one with a command on its way."""
        blow = any_blow(self._rng, self.programs, self._venues)
        in_flight = self._rng.random() < 0.5
        delay_ms = self._rng.uniform(0, 120) if in_flight else self._rng.uniform(0, 3000)
        return self.round(blow, delay_ms, in_flight=in_flight)

    def round(self, blow: Blow, delay_ms: float, *, in_flight: bool) -> Round:
        """Strike while pairs are open, `delay_ms` from now or after the next command; trade on while it lasts, end it, and wait
        until all is back and no outcome is unknown."""
        before = self._executor_epoch()
        killed = self.pid(blow.target) if isinstance(blow, Kill) else 0
        began_wire_ns, doubts, repairs = self.clock.wire_ns(), self._doubts_ended(), self._repairs()
        pairs = self._moment(delay_ms, in_flight)
        blow.strike(self)
        try:
            self._trade_on(blow)
        finally:
            blow.end(self)
        self._clear_by_itself(blow)
        what = f"{described(blow)} of {blow.target} is over and all is fit"
        return_s = self.until(what, self._is_over(blow, killed, before), RETURN_S)
        self._waits_for.clear()
        settle_s = self.until("no outcome unknown, nothing naked", self._is_sound, SETTLE_S)
        page = self.page()
        assert page is not None
        assert page.trading_state is TradingState.ACTIVE, f"{described(blow)} of {blow.target} alone does not halt"
        naked_s, naked_usd = self.naked_since(began_wire_ns)
        return Round(
            target=blow.target,
            blow=described(blow),
            moment=f"{delay_ms:.0f} ms after a command" if in_flight else "any",
            pairs=pairs,
            return_s=return_s,
            settle_s=settle_s,
            doubts=self._doubts_ended() - doubts,
            repairs=self._repairs() - repairs,
            waited_for="; ".join(sorted(self._waits_for)),
            naked_s=naked_s,
            naked_usd=naked_usd,
        )

    def _trade_on(self, blow: Blow) -> None:
        """Prices go on moving while it lasts; the sandbox itself may be what stands still."""
        end_ns = self.clock.mono_ns() + int(blow.lasts_s * 1e9)
        while self.clock.mono_ns() < end_ns:
            if blow.target != "sandbox":
                self.shove()
            time.sleep(min(SHOVE_EVERY_S / 3, max(0.0, (end_ns - self.clock.mono_ns()) / 1e9)))

    def _clear_by_itself(self, blow: Blow) -> None:
        """Faults that strike a number of times may be left over: they end with their round."""
        if isinstance(blow, Fault):
            self.control("clear", {})

    def _is_over(self, blow: Blow, killed: int, epoch: int) -> Callable[[], bool]:
        if isinstance(blow, Kill):
            return lambda: self._is_back(blow.target, killed, epoch)
        return self._all_runs

    def _all_runs(self) -> bool:
        try:
            states = supervision.programs(self.root)
            served = all(self.control("healthz")["serving"].values())
        except (urllib.error.URLError, ConnectionError):
            return False
        return bool(states) and all(each.state == "RUNNING" for each in states) and served and self.ready()

    def _repairs(self) -> int:
        return self.log("executor").count('"status": "repairing"')

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['control']}/control/{path}", data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def shove(self) -> None:
        """An edge on some symbol of some venue, one way or the other."""
        bps = self._rng.choice((SHOVE_BPS, -SHOVE_BPS))
        body = {"venue": self._rng.choice(self._venues), "symbol": self._rng.choice(self._symbols), "bps": bps}
        self.control("basis", body)

    def _provoked(self, done: Any) -> Any:
        """`done`, with a shove now and then until it holds."""
        next_ns = 0

        def turn() -> object:
            nonlocal next_ns
            found = done()
            if not found and self.clock.mono_ns() > next_ns:
                next_ns = self.clock.mono_ns() + int(SHOVE_EVERY_S * 1e9)
                self.shove()
            return found

        return turn

    def _moment(self, delay_ms: float, in_flight: bool) -> int:
        """Wait for the moment to strike: the number of pairs open then, at least one."""
        for _ in range(20):
            self.until("a pair is open", self._provoked(self.pairs), 120.0)
            if in_flight:
                self._command_leaves()
            time.sleep(delay_ms / 1000)
            pairs = len(self.pairs())
            if pairs:
                return pairs
        raise AssertionError("no pair stays open for long enough")

    def _command_leaves(self) -> None:
        """Returns within about a millisecond of the strategy's next command; its record is written as it is sent."""
        reader = DecisionReader(self.loaded.run_dir, "scalp")
        began_ns = self.clock.mono_ns()
        next_ns = 0
        while True:
            if any(
                row.mono_ns > began_ns and row.reason != "executor_away" and row.action in (Action.OPEN, Action.CLOSE)
                for row in reader.latest(16)
            ):
                return
            now_ns = self.clock.mono_ns()
            assert now_ns - began_ns < 90e9, f"no command for 90 s\n{self.page()}"
            if now_ns > next_ns:
                next_ns = now_ns + int(SHOVE_EVERY_S * 1e9)
                self.shove()
            time.sleep(0.001)

    # ---- what became of it --------------------------------------------------------------------------------------------

    def _executor_epoch(self) -> int:
        page = self.page()
        assert page is not None
        return page.executor_epoch

    def _is_back(self, program: str, killed: int, epoch: int) -> bool:
        """Whether what answers is the new process, not what the killed one left, and everything is fit to trade."""
        states = supervision.programs(self.root)
        if not states or any(each.state != "RUNNING" for each in states):
            return False
        pid = self.pid(program)
        if pid in (0, killed):
            return False
        try:
            if program == "executor":
                renewed = self._executor_epoch() > epoch
            elif program == "sandbox":
                renewed = all(self.control("healthz")["serving"].values())
            elif program.startswith("feed-"):
                rows = views.Books(self.loaded, RunDir.observe(self.loaded.run_dir), self.clock).feeds()
                renewed = any(row.pid == pid for row in rows)
            else:
                renewed = CountersReader(self.loaded.run_dir / "counters" / program, self.clock).pid == pid
        except (urllib.error.URLError, ConfigError, FileNotFoundError, ConnectionError):
            return False
        return renewed and self.ready()

    def _doubts_ended(self) -> int:
        return self.log("executor").count('"event": "instrument_thawed"')

    def _is_sound(self) -> bool:
        """No outcome unknown, nothing frozen, nothing unhedged by the executor's own word. Keeps what was not so yet."""
        page = self.page()
        if page is None:
            return False
        unknown = [f"{o.venue}:{o.symbol}" for o in page.orders if o.status is OrderStatus.UNKNOWN]
        if unknown or page.frozen or page.unhedged_usd:
            self._waits_for.update(f"unknown {name}" for name in unknown)
            self._waits_for.update(f"frozen {name}" for name in page.frozen)
            if page.unhedged_usd:
                self._waits_for.add("hedge")
            return False
        return True

    def naked_since(self, wire_ns: int) -> tuple[float, float]:
        """(longest time in seconds, largest notional in USD) without a hedge since then, by the venues' own fills."""
        now_ns = self.clock.wire_ns()
        contracts = self._contracts()
        fills = sorted(
            (row["time_ns"], venue, row)
            for venue, body in self.control("state")["venues"].items()
            for account in body["accounts"].values()
            for row in map(_Fill, account["fill_rows"])
        )
        net: Counter[str] = Counter()
        naked: dict[str, tuple[int, float]] = {}  # symbol -> since when, and the most it was
        ended: list[tuple[int, float]] = []
        for time_ns, venue, row in fills:
            symbol, multiplier = contracts[venue, row["name"]]
            signed = Decimal(row["qty"]) * multiplier * (1 if row["side"] == "buy" else -1)
            net[symbol] += signed  # type: ignore[assignment]
            usd = abs(float(net[symbol])) * float(row["px"]) / multiplier
            began_ns, most_usd = naked.get(symbol, (time_ns, 0.0))
            if usd > DUST_USD:
                naked[symbol] = began_ns, max(most_usd, usd)
            elif naked.pop(symbol, None) and time_ns > wire_ns:
                ended.append((time_ns - began_ns, most_usd))
        ended += [(now_ns - began_ns, most_usd) for began_ns, most_usd in naked.values()]
        return max((ns for ns, _ in ended), default=0) / 1e9, max((usd for _, usd in ended), default=0.0)

    def _contracts(self) -> dict[tuple[str, str], tuple[str, int]]:
        run = RunDir.observe(self.loaded.run_dir)
        return {
            (str(venue), row.venue_symbol): (row.symbol, row.multiplier)
            for venue in map(Venue, self._venues)
            for row in BookReader(run, venue, self.clock, 1, 1).rows()
        }

    def verify(self) -> None:
        """Stop opening, let it come to rest, and hold the books against each other. Raises AssertionError."""
        self.cli("reduce-only", "let it settle")
        left = [""]

        def is_sound() -> bool:
            left[0] = self.complaint()
            return not left[0]

        try:
            self.until("nothing to complain about", is_sound, SETTLE_S)
        except AssertionError:
            raise AssertionError(left[0]) from None

    def complaint(self) -> str:
        """What is not as it should be once nothing moves; "" = nothing. An exit may still move something: ask again."""
        ids = Counter(self.client_ids())
        twice = {name: count for name, count in ids.items() if count > 1 or not name}
        page = self.page()
        if not ids or twice or page is None:
            return f"sent twice: {twice}" if twice else "nothing was ever sent" if page else "no account page"
        if page.orders or page.frozen or any(pair.status not in AT_REST for pair in page.pairs):
            return f"no pair in motion and books equal: orders {page.orders}, frozen {page.frozen}, pairs {page.pairs}"
        positions = self.venue_positions()
        if self.journal_positions() != positions:
            return f"books equal: the page says {self.journal_positions()}, the venues {positions}"
        if page.unhedged_usd > DUST_USD or any("FOREIGN" in position.flags for position in page.positions):
            return f"unhedged {page.unhedged_usd}, positions {page.positions}"
        orphans = [
            (venue, order)
            for venue, body in self.control("state")["venues"].items()
            for account in body["accounts"].values()
            for order in account["open_orders"]
        ]
        if orphans:
            return f"orders without a pair: {orphans}"
        net: Counter[str] = Counter()
        for (_, symbol), qty in positions.items():
            net[symbol] += qty  # type: ignore[assignment]
        px = {position.symbol: position.mark_px for position in page.positions}
        naked = {symbol: qty for symbol, qty in net.items() if abs(qty) * px.get(symbol, Decimal(10**9)) > DUST_USD}
        if naked:
            return f"naked: {naked}"
        records = self.journaled()
        return (
            "" if records == positions else f"the journal's records do not add up to the venues' positions: {records}"
        )

    def journaled(self) -> dict[tuple[str, str], Decimal]:
        """Positions as the journal's own records add up, replayed from a copy of it; without flat ones."""
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(self.loaded.state_dir / "journal", Path(scratch) / "journal")
            journal = Journal.open(Path(scratch), Log("chaos", self.clock, "error"))
            try:
                state = rebuild(journal)
            finally:
                journal.close()
            return {
                (str(v), symbol): state.qty((v, symbol)) for v, symbol in state.positions if state.lots((v, symbol))
            }


class _Fill(dict[str, Any]):
    """A fill row that sorts behind its time and venue."""

    def __lt__(self, other: dict[str, Any]) -> bool:
        return bool(self["trade_id"] < other["trade_id"])


def table(rounds: list[Round]) -> str:
    """What is printed: one line per blow."""
    head = (
        f"{'against':<15} {'blow':<34} {'moment':<23} {'pairs':>5} {'back s':>7} {'sound s':>8} {'doubts':>6} {'repairs':>7} "
        f"{'naked s':>8} {'USD':>6}"
    )
    lines = [
        f"{r.target:<15} {r.blow:<34} {r.moment:<23} {r.pairs:>5} {r.return_s:>7.1f} {r.settle_s:>8.1f} {r.doubts:>6} "
        f"{r.repairs:>7} {r.naked_s:>8.3f} {r.naked_usd:>6.0f} {r.waited_for}".rstrip()
        for r in rounds
    ]
    return "\n".join([head, *lines])


def summary(rounds: list[Round]) -> str:
    """Rounds, blows by kind, the longest time unhedged, what was repaired and what was in doubt."""
    kinds = Counter(each.blow.split(" ", 1)[0] for each in rounds)
    naked = sorted(each.naked_s for each in rounds)
    most = naked[max(0, len(naked) * 9 // 10 - 1)]
    usd, doubts = max(each.naked_usd for each in rounds), sum(each.doubts for each in rounds)
    return_s, settle_s = max(each.return_s for each in rounds), max(each.settle_s for each in rounds)
    return "\n".join(
        [
            f"{len(rounds)} rounds: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
            f"unhedged: longest {naked[-1]:.3f} s, in nine rounds of ten at most {most:.3f} s, largest {usd:.0f} USD",
            f"{sum(each.repairs for each in rounds)} repairs, {doubts} instruments in doubt, slowest return {return_s:.1f} s, "
            f"slowest to be sound {settle_s:.1f} s",
        ]
    )
