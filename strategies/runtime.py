"""How every strategy runs: one thread, one epoll, no asyncio, no network beyond the executor's local socket.

A turn waits for the first of: the bell of a book, a report of the executor, a signal, 50 ms. Then it looks at what
changed, asks the strategy, sends commands and records decisions. The strategy itself is pure (strategies/scalp.py).

What must never happen here: a wait that blocks the exits of open pairs. The socket is non-blocking, an executor that is
away is asked again once a second, and the account page (not the reports) is the truth about pairs and trading state.
"""

from __future__ import annotations

import gc
import os
import select
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from bookshm.account_page import AccountPageReader
from bookshm.bell import Bell
from bookshm.counters import CountersWriter
from bookshm.decisions import DecisionWriter
from core.account import AccountSnapshot
from core.client import ExecutorClient
from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.decisions import Action, Decision
from core.log import Log
from core.messages import AnyReport, ClosePair, OpenPair, OrderDenied, PairState
from strategies.intents import Close, Intent, Open, Refusal
from strategies.snapshot import MarketView

WAIT_S = 0.05
SECOND_NS = NS_PER_S
EXITS_EVERY_NS = 100 * NS_PER_MS
REHEARSE_EVERY_NS = 2 * NS_PER_MS
CLOSE_VALID_NS = 3600 * NS_PER_S
IN_FLIGHT_MAX = 256


class Strategy(Protocol):
    """What the runtime asks of a strategy; all of it pure of I/O and of clocks."""

    name: str

    def sample(self, view: MarketView, now_ns: int) -> None: ...
    def learn_fees(self, account: AccountSnapshot) -> None: ...
    def enter(self, symbol: str, view: MarketView, account: AccountSnapshot | None, now_ns: int) -> list[Intent]: ...
    def explain(self, symbol: str, view: MarketView, account: AccountSnapshot | None, now_ns: int) -> list[Refusal]: ...
    def leave(self, view: MarketView, account: AccountSnapshot, now_ns: int, calendar_ns: int) -> Sequence[Close]: ...
    def attempted(self, symbol: str, now_ns: int) -> None: ...
    def rehearse(self, symbol: str, view: MarketView, account: AccountSnapshot | None, now_ns: int) -> None: ...


class StrategyAgent:
    """The sync agent that core.lifecycle runs."""

    def __init__(
        self,
        strategy: Strategy,
        view: MarketView,
        account_page: AccountPageReader,
        client: ExecutorClient,
        bell: Bell,
        decisions: DecisionWriter,
        counters: CountersWriter,
        clock: Clock,
        log: Log,
        ttl_ms: float,
        sends: bool,
    ) -> None:
        self.role_name = f"strategy-{strategy.name}"
        self._strategy = strategy
        self._view = view
        self._page = account_page
        self._client = client
        self._bell = bell
        self._decisions = decisions
        self._clock = clock
        self._log = log
        self._ttl_ns = int(ttl_ms * NS_PER_MS)
        self._sends = sends
        self._account: AccountSnapshot | None = None
        self._page_stamp = 0
        self._rehearsed = 0
        self._next_second_ns = 0
        self._next_exits_ns = 0
        self._next_rehearsal_ns = 0
        self._reasons: dict[tuple[str, str, str], str] = {}
        self._refused: Counter[str] = Counter()
        self._in_flight: dict[int, Intent] = {}
        self._best_dev_bps = -1e9
        self._counters = counters
        self._turns = counters.counter("strategy_turns_total", {"strategy": strategy.name})
        self._opens = counters.counter("strategy_opens_sent_total", {"strategy": strategy.name})
        self._closes = counters.counter("strategy_closes_sent_total", {"strategy": strategy.name})
        self._denied = counters.counter("strategy_commands_denied_total", {"strategy": strategy.name})
        self._connected = counters.gauge("strategy_executor_connected", {"strategy": strategy.name})
        self._decide = counters.histogram("strategy_decide_seconds", {"strategy": strategy.name}, _HOP_BUCKETS)
        self._sent = counters.histogram("strategy_decide_to_sent_seconds", {"strategy": strategy.name}, _HOP_BUCKETS)
        self._epoll = select.epoll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._registered_fd = -1

    @property
    def executor_connected(self) -> bool:
        return self._client.connected

    def on_start(self) -> None:
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._epoll.register(self._wake_read, select.EPOLLIN)
        self._epoll.register(self._bell.fileno(), select.EPOLLIN)
        gc.freeze()  # what stands now stands for life: no collection walks it while an edge waits
        self._log.info("started", symbols=list(self._view.symbols), sends=self._sends)

    def do_work(self) -> int:
        self._epoll.poll(WAIT_S)
        self._bell.drain()
        self._drain_wakeups()
        worked = self._enter()  # first: the account page may be a turn old, since the executor judges every open again
        now_ns = self._clock.mono_ns()
        self._turns.add()
        worked += self._take_reports(now_ns)
        self._read_account()
        if now_ns >= self._next_exits_ns:
            self._next_exits_ns = now_ns + EXITS_EVERY_NS
            worked += self._leave(now_ns)
        if now_ns >= self._next_second_ns:
            self._next_second_ns = now_ns + SECOND_NS
            self._every_second(now_ns)
        if now_ns >= self._next_rehearsal_ns:
            self._next_rehearsal_ns = now_ns + REHEARSE_EVERY_NS
            self._rehearse(now_ns)
        return worked

    def on_reload(self) -> None:
        self._log.warning("reload_refused", detail="a strategy takes a new configuration at restart only")

    def on_dump(self) -> None:
        self._log.info(
            "dump", refused=dict(self._refused), in_flight=len(self._in_flight), connected=self._client.connected
        )

    def on_close(self) -> None:
        """Stop deciding; open pairs stay hedged and under the executor's exit guards."""
        signal.set_wakeup_fd(-1)
        self._unregister_client()
        self._client.close()
        self._bell.close()
        self._decisions.close()
        self._counters.close()
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._log.info("stopped")

    # ---- one turn ---------------------------------------------------------------------------------------------------

    def _enter(self) -> int:
        changed = self._view.changed_symbols()
        for symbol in changed:
            began_ns = self._clock.mono_ns()
            intents = self._strategy.enter(symbol, self._view, self._account, began_ns)
            self._decide.observe((self._clock.mono_ns() - began_ns) / NS_PER_S)
            for intent in intents:
                self._act(intent, began_ns)
        return len(changed)

    def _leave(self, now_ns: int) -> int:
        if self._account is None:
            return 0
        closes = self._strategy.leave(self._view, self._account, now_ns, self._clock.calendar_ns())
        for close in closes:
            self._act(close, now_ns)
        return len(closes)

    def _rehearse(self, now_ns: int) -> None:
        """After the real work of a turn, on one symbol after the other; nothing of it is sent, counted or recorded."""
        symbols = self._view.symbols
        if symbols:
            self._rehearsed = (self._rehearsed + 1) % len(symbols)
            self._strategy.rehearse(symbols[self._rehearsed], self._view, self._account, now_ns)

    def _every_second(self, now_ns: int) -> None:
        self._counters.heartbeat()
        self._view.refresh_listings()
        self._strategy.sample(self._view, now_ns)
        if self._account is not None:
            self._strategy.learn_fees(self._account)
        for symbol in self._view.symbols:
            for refusal in self._strategy.explain(symbol, self._view, self._account, now_ns):
                self._act(refusal, now_ns)
        self._connect()
        self._connected.set(1.0 if self._client.connected else 0.0)
        self._record_summary()

    def _act(self, intent: Intent, now_ns: int) -> None:
        if isinstance(intent, Refusal):
            self._refuse(intent)
        elif isinstance(intent, Open):
            self._open(intent, now_ns)
        else:
            self._close(intent)

    def _open(self, intent: Open, now_ns: int) -> None:
        self._strategy.attempted(intent.symbol, now_ns)
        sent = self._sends and len(self._in_flight) < IN_FLIGHT_MAX
        if sent:
            command = OpenPair(
                command_id=self._client.next_id(),
                valid_until_mono_ns=now_ns + self._ttl_ns,
                symbol=intent.symbol,
                long=intent.long,
                short=intent.short,
                qty=intent.qty,
                decided_mono_ns=now_ns,
                edge_bps=intent.edge_bps,
                offset_bps=intent.offset_bps,
                exit_guard=intent.exit_guard,
            )
            sent = self._client.send(command)
            if sent:
                self._sent.observe((self._clock.mono_ns() - now_ns) / NS_PER_S)
                self._in_flight[command.command_id.sequence] = intent
                self._opens.add()
        reason = "edge" if sent else "shadow" if not self._sends else "executor_away"
        self._record(Action.OPEN, intent.symbol, intent.long.venue, intent.short.venue, reason, intent.numbers)

    def _close(self, intent: Close) -> None:
        now_ns = self._clock.mono_ns()
        command = ClosePair(
            command_id=self._client.next_id(),
            valid_until_mono_ns=now_ns + CLOSE_VALID_NS,
            pair_id=intent.pair_id,
            reason=intent.reason,
        )
        sent = self._client.send(command)
        if sent:
            self._in_flight[command.command_id.sequence] = intent
            self._closes.add()
        reason = intent.reason if sent else f"{intent.reason}:executor_away"
        self._record(
            Action.CLOSE, intent.symbol, intent.long_venue, intent.short_venue, reason, intent.numbers, intent.pair_id
        )

    def _refuse(self, refusal: Refusal) -> None:
        key = (refusal.symbol, refusal.long_venue, refusal.short_venue)
        self._refused[refusal.reason] += 1
        self._best_dev_bps = max(self._best_dev_bps, refusal.numbers.get("dev_bps", self._best_dev_bps))
        if self._reasons.get(key) != refusal.reason:
            self._reasons[key] = refusal.reason
            self._record(Action.REFUSE, *key, refusal.reason, refusal.numbers)

    # ---- executor ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._client.connected:
            return
        self._unregister_client()
        self._in_flight.clear()
        if self._client.try_connect():
            self._registered_fd = self._client.fileno()
            self._epoll.register(self._registered_fd, select.EPOLLIN)
            self._log.info("executor_connected")

    def _take_reports(self, now_ns: int) -> int:
        if not self._client.connected:
            return 0
        reports = self._client.poll()
        for report in reports:
            self._take(report, now_ns)
        if not self._client.connected:
            self._log.warning("executor_lost")
            self._unregister_client()
        return len(reports)

    def _take(self, report: AnyReport, now_ns: int) -> None:
        intent = self._in_flight.get(report.command_id.sequence) if report.command_id else None
        if isinstance(report, OrderDenied):
            self._denied.add()
            self._in_flight.pop(report.command_id.sequence if report.command_id else -1, None)
            if isinstance(intent, Open):
                self._strategy.attempted(intent.symbol, now_ns)
                numbers = {**intent.numbers, **report.numbers}
                self._record(
                    Action.DENIED, intent.symbol, intent.long.venue, intent.short.venue, report.reason.value, numbers
                )
            elif isinstance(intent, Close):
                self._record(
                    Action.DENIED,
                    intent.symbol,
                    intent.long_venue,
                    intent.short_venue,
                    report.reason.value,
                    report.numbers,
                    intent.pair_id,
                )
        elif isinstance(report, PairState):
            numbers = {"long_qty": float(report.long_qty), "short_qty": float(report.short_qty)}
            if report.net_usd is not None:
                numbers["net_usd"] = float(report.net_usd)
            self._record(
                Action.STATE,
                report.symbol,
                report.long_venue,
                report.short_venue,
                f"{report.status.value}:{report.reason}",
                numbers,
                report.pair_id,
            )
            if report.command_id:
                self._in_flight.pop(report.command_id.sequence, None)

    def _read_account(self) -> None:
        stamp = self._page.stamp()
        if stamp == self._page_stamp:
            return
        page = self._page.read()
        if isinstance(page, AccountSnapshot):
            self._account = page
            self._page_stamp = stamp

    def _unregister_client(self) -> None:
        if self._registered_fd >= 0:
            try:
                self._epoll.unregister(self._registered_fd)
            except (OSError, ValueError):
                self._log.debug("client_already_gone")
            self._registered_fd = -1

    # ---- records ----------------------------------------------------------------------------------------------------

    def _record(
        self,
        action: Action,
        symbol: str,
        long: str,
        short: str,
        reason: str,
        numbers: dict[str, float],
        pair_id: str = "",
    ) -> None:
        self._decisions.write(
            Decision(
                wire_ns=self._clock.wire_ns(),
                mono_ns=self._clock.mono_ns(),
                strategy=self._strategy.name,
                action=action,
                symbol=symbol,
                long_venue=long,
                short_venue=short,
                reason=reason,
                numbers=numbers,
                pair_id=pair_id,
            )
        )

    def _record_summary(self) -> None:
        numbers = {f"refused_{reason}": float(count) for reason, count in self._refused.most_common(12)}
        if self._best_dev_bps > -1e9:
            numbers["best_dev_bps"] = self._best_dev_bps
        self._record(Action.SUMMARY, "*", "", "", "second", numbers)
        self._refused.clear()
        self._best_dev_bps = -1e9

    def _drain_wakeups(self) -> None:
        try:
            os.read(self._wake_read, 512)
        except BlockingIOError:
            return


_HOP_BUCKETS = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2)
