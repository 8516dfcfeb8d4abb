"""The strategy process over real shared memory and a real socket: what it sends, records, and survives."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookshm.account_page import AccountPageReader, AccountPageWriter
from bookshm.bell import Bell
from bookshm.book import BookWriter
from bookshm.book_reader import BookReader
from bookshm.counters import CountersWriter
from bookshm.decisions import DecisionReader, DecisionWriter
from bookshm.run import RunDir
from core.client import ExecutorClient
from core.clock import NS_PER_S, SystemClock
from core.decisions import Action, Decision
from core.log import Log
from core.messages import ClosePair, DenyReason, OpenPair, OrderDenied, decode_command, encode
from strategies.runtime import StrategyAgent
from strategies.scalp import Scalp, VenueTerms
from strategies.snapshot import MarketView
from tests.strategies.market import AS, EXECUTION, FEES, HL, account, instrument, pair, risk_config, scalp_config

CLOCK = SystemClock()


class Rig:
    """One agent in this process, its books, and a server where the executor would be."""

    def __init__(self, run: RunDir, sends: bool) -> None:
        self.run = run
        self.books = {venue: BookWriter(run, venue, CLOCK, 8, 64) for venue in (HL, AS)}
        self.slots = {venue: book.add(instrument(venue)) for venue, book in self.books.items()}
        self.page = AccountPageWriter(run, 64)
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.server.bind(str(run.executor_socket))
        self.server.listen(1)
        self.server.settimeout(5.0)
        self.peer: socket.socket | None = None
        terms = {venue: VenueTerms(FEES[venue], {"default": 3}, 0.0) for venue in (HL, AS)}
        readers = {venue: BookReader(run, venue, CLOCK, 500_000_000, 3 * NS_PER_S) for venue in (HL, AS)}
        self.agent = StrategyAgent(
            strategy=Scalp(scalp_config(offset_min_samples=2), risk_config(), EXECUTION, terms),
            view=MarketView(readers),
            account_page=AccountPageReader(run),
            client=ExecutorClient(run.executor_socket, "scalp", CLOCK),
            bell=Bell(run, "strategy-scalp"),
            decisions=DecisionWriter(run, "scalp", 128),
            counters=CountersWriter(run, "strategy-scalp", CLOCK, 64),
            clock=CLOCK,
            log=Log("test", CLOCK, write=lambda text: None),
            ttl_ms=250.0,
            sends=sends,
        )
        self.decisions = DecisionReader(run, "scalp")

    def accept(self) -> socket.socket:
        self.peer, _ = self.server.accept()
        self.peer.settimeout(5.0)
        return self.peer

    def quote(self, hl_mid: float, aster_mid: float) -> None:
        for venue, mid in ((HL, hl_mid), (AS, aster_mid)):
            book, now_ns = self.books[venue], CLOCK.mono_ns()
            book.heartbeat(now_ns)
            book.set_status(True, "")
            book.prove_socket(0, now_ns)
            book.prove_symbol(self.slots[venue], now_ns)
            book.publish_quote(self.slots[venue], mid - 0.1, 5.0, mid + 0.1, 5.0, 0, now_ns)
            book.ring_bells()

    def turn_until(self, done: object, hl_mid: float, aster_mid: float, seconds: float = 20.0) -> None:
        deadline_ns = CLOCK.mono_ns() + int(seconds * NS_PER_S)
        while not done():  # type: ignore[operator]
            assert CLOCK.mono_ns() < deadline_ns, self.actions()
            self.quote(hl_mid, aster_mid)
            self.agent.do_work()

    def warm_up(self) -> None:
        """Three seconds of turns at an offset of 2, and the executor connected."""
        self.page.write(account())
        self.turn_until(lambda: self.count(Action.SUMMARY) >= 3, 1002.0, 1000.0)
        self.accept()

    def actions(self) -> list[tuple[Action, str]]:
        return [(d.action, d.reason) for d in self.found()]

    def found(self) -> list[Decision]:
        return self.decisions.latest(128)

    def count(self, action: Action) -> int:
        return sum(d.action is action for d in self.found())

    def close(self) -> None:
        self.agent.on_close()
        for book in self.books.values():
            book.close()
        self.page.close()
        for each in (self.peer, self.server):
            if each is not None:
                each.close()


@pytest.fixture
def run() -> Iterator[RunDir]:
    path = Path("/dev/shm") / f"tandem-t{os.getpid()}-{secrets.token_hex(4)}"
    run = RunDir.join(path, 1.0, CLOCK)
    yield run
    run.leave()
    assert not path.exists()


@pytest.fixture
def rig(run: RunDir, request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig = Rig(run, sends=getattr(request, "param", True))
    rig.agent.on_start()
    yield rig
    rig.close()


def test_an_edge_becomes_one_command_with_its_numbers_recorded(rig: Rig) -> None:
    rig.warm_up()
    rig.turn_until(lambda: rig.count(Action.OPEN), 1010.0, 1000.0)
    assert rig.peer is not None
    command = decode_command(rig.peer.recv(65536))
    assert isinstance(command, OpenPair)
    assert (command.short.venue, command.long.venue, command.symbol) == (HL, AS, "BTC")
    assert command.valid_until_mono_ns - command.decided_mono_ns == 250_000_000
    assert 0 <= command.short.quote_age_ns < 500_000_000
    opened = next(d for d in rig.found() if d.action is Action.OPEN)
    assert opened.numbers["dev_bps"] == pytest.approx(command.edge_bps)
    assert opened.reason == "edge"
    rig.turn_until(lambda: rig.count(Action.SUMMARY) >= 5, 1010.0, 1000.0)
    assert rig.count(Action.OPEN) == 1, "the cooldown holds from the attempt"
    assert ("refuse", "cooldown") in [(a.value, r) for a, r in rig.actions()]


def test_a_denial_is_recorded_with_the_executors_reason(rig: Rig) -> None:
    rig.warm_up()
    rig.turn_until(lambda: rig.count(Action.OPEN), 1010.0, 1000.0)
    assert rig.peer is not None
    command = decode_command(rig.peer.recv(65536))
    denial = OrderDenied(
        command_id=command.command_id, reason=DenyReason.LIMIT_SYMBOL, detail="x", numbers={"limit_usd": 1.0}
    )
    rig.peer.send(encode(denial))
    rig.turn_until(lambda: rig.count(Action.DENIED), 1010.0, 1000.0)
    denied = next(d for d in rig.found() if d.action is Action.DENIED)
    assert denied.reason == "limit_symbol"
    assert denied.numbers["limit_usd"] == 1.0


def test_an_open_pair_is_closed_and_a_lost_executor_is_asked_again(rig: Rig) -> None:
    rig.warm_up()
    assert rig.peer is not None
    rig.peer.close()
    rig.page.write(account(pair(opened_calendar_ns=CLOCK.calendar_ns())))
    rig.turn_until(
        lambda: ("close", "take_profit:executor_away") in [(a.value, r) for a, r in rig.actions()], 1004.0, 1000.0
    )
    rig.turn_until(lambda: rig.agent.executor_connected, 1004.0, 1000.0)
    peer = rig.accept()
    rig.turn_until(lambda: ("close", "take_profit") in [(a.value, r) for a, r in rig.actions()], 1004.0, 1000.0)
    command = decode_command(peer.recv(65536))
    assert isinstance(command, ClosePair)
    assert (command.pair_id, command.reason) == ("p1-1", "take_profit")


@pytest.mark.parametrize("rig", [False], indirect=True)
def test_shadow_mode_decides_and_records_but_sends_nothing(rig: Rig) -> None:
    rig.warm_up()
    rig.turn_until(lambda: rig.count(Action.OPEN), 1010.0, 1000.0)
    assert rig.peer is not None
    rig.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        rig.peer.recv(65536)
    assert [d.reason for d in rig.found() if d.action is Action.OPEN] == ["shadow"]


def test_refusals_are_recorded_when_the_reason_changes_only(rig: Rig) -> None:
    rig.warm_up()
    reasons = [d.reason for d in rig.found() if d.action is Action.REFUSE and d.short_venue == HL]
    assert reasons.count("dev_below_entry") == 1
    summary = [d for d in rig.found() if d.action is Action.SUMMARY][-1]
    assert summary.numbers["refused_dev_below_entry"] >= 2
