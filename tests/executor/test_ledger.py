"""The ledger: every record once, exact numbers, resumed from itself, never ahead of the journal, honest about holes."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.clock import SimClock
from core.errors import BusyError, ConfigError
from core.ids import CommandId
from core.log import Log
from core.messages import ExitGuard, PairStatus
from core.types import Fill, LiquiditySide, OrderStatus, Side, TimeInForce, TradingState, Venue
from executor import records as r
from executor import segments
from executor.journal import Journal
from executor.ledger import Ledger, _open
from executor.ledger_schema import SCHEMA, VERSION, _store
from ops.ledger_copy import copy_ledger

HL, ASTER = Venue("hyperliquid"), Venue("aster")
COMMAND = CommandId("scalp", 7, 1)


class Desk:
    def __init__(self, state: Path, segment_bytes: int = 16 * 1024) -> None:
        self.lines: list[str] = []
        self.log = Log("test", SimClock(), write=self.lines.append)
        self.path = state / "ledger.db"
        self.state = state
        self.segment_bytes = segment_bytes
        self.journal = Journal.open(state, self.log, segment_bytes=segment_bytes)
        self.ledger = Ledger(self.path, self.journal, self.log)
        self.ledger.start()

    def settle(self) -> None:
        self.journal.sync()
        until(lambda: self.ledger.stored == self.journal.position)

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        """Asked of a copy, as `ops` does it."""
        copy = self.state / f"copy-{time.monotonic_ns()}.db"
        copy_ledger(self.path, copy)
        with contextlib.closing(sqlite3.connect(copy)) as db:
            return db.execute(question).fetchall()

    def close(self) -> None:
        self.ledger.close()
        self.journal.close()

    def reopen(self) -> None:
        self.close()
        self.__init__(self.state, self.segment_bytes)  # type: ignore[misc]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def until(condition: Callable[[], bool], bound_s: float = 20.0) -> None:
    deadline = time.monotonic() + bound_s
    while not condition():
        assert time.monotonic() < deadline, "the state did not come within its bound"
        time.sleep(0.01)


def order(client_order_id: str, venue: Venue, side: Side, lots: int) -> r.OrderPrepared:
    return r.OrderPrepared(
        wire_ns=10,
        client_order_id=client_order_id,
        command_id=COMMAND,
        pair_id="p1-1",
        strategy="scalp",
        venue=venue,
        symbol="PEPE",
        side=side,
        lots=lots,
        limit_ticks=12_345,
        time_in_force=TimeInForce.IOC,
        reduce_only=False,
        nonce=1,
        expires_wire_ns=99,
        purpose="open",
    )


def filled(client_order_id: str | None, venue: Venue, side: Side, lots: int, px: str, trade: str) -> r.FillRecorded:
    return r.FillRecorded(
        wire_ns=12,
        fill=Fill(
            venue=venue,
            symbol="PEPE",
            side=side,
            lots=lots,
            px=Decimal(px),
            fee_usd=Decimal("0.0123"),
            trade_id=trade,
            venue_order_id="77",
            client_order_id=client_order_id,
            liquidity=LiquiditySide.TAKER,
            ts_ns=11,
        ),
    )


def a_pair() -> list[r.AnyRecord]:
    """PEPE: Hyperliquid counts kPEPE in lots of 1, Aster 1000PEPE in lots of 1; 2,000,000 PEPE a leg."""
    seen = [
        r.InstrumentSeen(
            wire_ns=1,
            venue=venue,
            symbol="PEPE",
            venue_symbol=name,
            lot_size=Decimal(1),
            tick_size=Decimal("0.0000001"),
            multiplier=1000,
        )
        for venue, name in ((HL, "kPEPE"), (ASTER, "1000PEPEUSDT"))
    ]
    guard = ExitGuard(stop_basis_bps=1, stop_leg_pct=1, max_hold_s=1)
    planned = r.PairPlanned(
        wire_ns=9,
        pair_id="p1-1",
        command_id=COMMAND,
        strategy="scalp",
        symbol="PEPE",
        long_venue=HL,
        short_venue=ASTER,
        qty=Decimal(2_000_000),
        long_ref_px=Decimal("0.00001"),
        short_ref_px=Decimal("0.0000101"),
        edge_bps=30.5,
        offset_bps=1.0,
        basis_bps=31.5,
        exit_guard=guard,
        calendar_ns=9,
    )
    moved = r.OrderMoved(
        wire_ns=13,
        client_order_id="aa",
        status=OrderStatus.FILLED,
        venue_order_id="77",
        filled_lots=2000,
        avg_px=Decimal("0.0100"),
        code="",
        detail="",
        source="answer",
    )
    return [
        r.EpochStarted(wire_ns=1, epoch=1, config_fingerprint="f"),
        r.NonceBlock(wire_ns=1, signer_id="s", high=5),
        *seen,
        r.CommandTaken(wire_ns=8, command_id=COMMAND, kind="open_pair", body=b"x"),
        planned,
        order("aa", HL, Side.BUY, 2000),
        order("bb", ASTER, Side.SELL, 2000),
        moved,
        filled("aa", HL, Side.BUY, 2000, "0.0100", "t1"),
        filled("bb", ASTER, Side.SELL, 2000, "0.0101", "t2"),
        filled("bb", ASTER, Side.SELL, 2000, "0.0101", "t2"),
        r.PairMoved(wire_ns=14, pair_id="p1-1", status=PairStatus.OPEN, reason="both legs", calendar_ns=14),
        r.CommandAnswered(wire_ns=14, command_id=COMMAND, body=b"y"),
        r.FundingRecorded(wire_ns=20, venue=HL, symbol="PEPE", payment_id="f1", amount_usd=Decimal("-0.003"), ts_ns=20),
        r.UnhedgedMeasured(wire_ns=21, pair_id="p1-1", duration_ns=5, notional_usd=Decimal("20.0")),
        r.PositionAdopted(wire_ns=22, venue=HL, symbol="PEPE", lots=-3, foreign=True, why="not ours"),
        r.Frozen(wire_ns=23, venue=HL, symbol="PEPE", reason="foreign"),
        r.Unfrozen(wire_ns=24, venue=HL, symbol="PEPE", reason="gone"),
        r.TradingStateSet(wire_ns=25, state=TradingState.HALTED, reason="by hand"),
        r.CleanStop(wire_ns=26),
    ]


def test_every_kind_of_record_becomes_exact_rows(desk: Desk) -> None:
    for record in a_pair():
        desk.journal.append(record)
    desk.settle()
    assert desk.ask("SELECT qty, limit_px, status, filled_lots, venue_order_id FROM orders ORDER BY sequence") == [
        ("2000000", "0.0000012345", "filled", 2000, "77"),
        ("2000000", "0.0000012345", "prepared", 0, ""),
    ]
    assert desk.ask("SELECT qty, px, notional_usd, fee_usd, ts_ns FROM fills ORDER BY sequence") == [
        ("2000000", "0.00001", "20", "0.0123", 11),
        ("2000000", "0.0000101", "20.2", "0.0123", 11),
    ], "a fill told twice is one row"
    assert desk.ask("SELECT status, reason, moved_calendar_ns, edge_bps FROM pairs") == [
        ("open", "both legs", 14, 30.5)
    ]
    ((pair, fills, turnover, price, fees),) = desk.ask("SELECT * FROM pair_cash")
    assert (pair, fills) == ("p1-1", 2)
    assert (turnover, price, fees) == pytest.approx((40.2, 0.2, 0.0246))
    assert desk.ask("SELECT venue, amount_usd, ts_ns FROM funding") == [("hyperliquid", "-0.003", 20)]
    assert desk.ask("SELECT command_id, kind, answered_wire_ns FROM commands") == [("scalp-7-1", "open_pair", 14)]
    assert desk.ask("SELECT duration_ns, notional_usd FROM unhedged") == [(5, "20.0")]
    assert desk.ask("SELECT lots, is_foreign FROM adopted") == [(-3, 1)]
    assert desk.ask("SELECT is_frozen FROM frozen ORDER BY sequence") == [(1,), (0,)]
    assert desk.ask("SELECT state FROM trading_state") == [("halted",)]
    assert desk.ask("SELECT epoch FROM epochs") == [(1,)]
    assert desk.ask("SELECT wire_ns FROM stops") == [(26,)]
    assert desk.ask("SELECT * FROM gaps") == []


def test_every_record_type_is_known_here() -> None:
    """A record added to the journal needs a table or a word here that it has none."""
    without = {r.NonceBlock}
    known = set(_store.registry) - {r.Record, object}
    assert known | without == set(r.AnyRecord.__args__)  # type: ignore[attr-defined]


def test_netted_lots_move_between_sub_ledgers_and_their_money_between_pairs(desk: Desk) -> None:
    for record in a_pair():
        desk.journal.append(record)
    other = msgspec.structs.replace(
        next(record for record in a_pair() if isinstance(record, r.PairPlanned)), pair_id="p1-2", strategy="carry"
    )
    desk.journal.append(other)
    desk.journal.append(
        r.Netted(wire_ns=30, venue=HL, symbol="PEPE", lots=500, px=Decimal("0.0102"), buyer="p1-2", seller="p1-1")
    )
    desk.settle()
    assert desk.ask("SELECT lots, qty, px, notional_usd, buyer, seller FROM nettings") == [
        (500, "500000", "0.0000102", "5.1", "p1-2", "p1-1")
    ]
    assert desk.ask("SELECT owner, venue, lots FROM sub_ledgers ORDER BY owner, venue") == [
        ("carry", "hyperliquid", 500),
        ("scalp", "aster", -2000),
        ("scalp", "hyperliquid", 1500),
    ]
    cash = {row[0]: row[1:] for row in desk.ask("SELECT pair_id, price_usd, fees_usd FROM pair_cash")}
    assert cash["p1-1"] == pytest.approx((5.3, 0.0246))
    assert cash["p1-2"] == pytest.approx((-5.1, 0.0))


def test_a_ledger_of_the_version_before_gets_what_it_lacks_and_keeps_what_it_has(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old.sqlite")) as db:
        db.executescript(f"{SCHEMA} INSERT INTO meta VALUES ('stored', 0); PRAGMA user_version = 1;")
        db.execute("INSERT INTO epochs VALUES (1, 1, 1, 'f')")
        db.commit()
    with contextlib.closing(_open(tmp_path / "old.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert db.execute("SELECT epoch FROM epochs").fetchall() == [(1,)]
        assert db.execute("SELECT * FROM nettings").fetchall() == []
    with contextlib.closing(_open(tmp_path / "old.sqlite")) as db:
        assert db.execute("SELECT epoch FROM epochs").fetchall() == [(1,)]


def test_an_unseen_instrument_leaves_unknowns_not_zeros(desk: Desk) -> None:
    desk.journal.append(order("cc", HL, Side.BUY, 5))
    desk.journal.append(filled("cc", HL, Side.BUY, 5, "1.5", "t9"))
    desk.settle()
    assert desk.ask("SELECT lots, qty, limit_px FROM orders") == [(5, None, None)]
    assert desk.ask("SELECT lots, qty, px, notional_usd FROM fills") == [(5, None, None, None)]


def test_it_resumes_from_its_own_last_record(desk: Desk) -> None:
    for number in range(700):
        desk.journal.append(filled(None, HL, Side.BUY, 1, "1", f"t{number}"))
    desk.settle()
    desk.reopen()
    assert desk.ledger.stored == 700
    for number in range(700, 1400):
        desk.journal.append(filled(None, HL, Side.BUY, 1, "1", f"t{number}"))
    desk.settle()
    assert len(segments.segments(desk.journal.directory)) > 5
    assert desk.ask("SELECT count(*), min(sequence), max(sequence), count(DISTINCT trade_id) FROM fills") == [
        (1400, 1, 1400, 1400)
    ]


def test_a_deleted_ledger_is_built_again(desk: Desk) -> None:
    for record in a_pair():
        desk.journal.append(record)
    desk.settle()
    before = desk.ask("SELECT * FROM orders") + desk.ask("SELECT * FROM fills")
    desk.close()
    for path in desk.state.glob("ledger.db*"):
        path.unlink()
    desk.reopen()
    desk.settle()
    assert desk.ask("SELECT * FROM orders") + desk.ask("SELECT * FROM fills") == before


def test_closing_stores_what_is_left(desk: Desk) -> None:
    for number in range(1200):
        desk.journal.append(filled(None, HL, Side.BUY, 1, "1", f"t{number}"))
    desk.journal.sync()
    desk.ledger.close()
    assert desk.ledger.stored == 1200


def test_only_what_the_journal_has_synced_is_stored(tmp_path: Path) -> None:
    """Else a power loss leaves rows of records that never were, and their sequences' successors get none."""
    desk = Desk.__new__(Desk)
    desk.lines, desk.state, desk.path = [], tmp_path, tmp_path / "ledger.db"
    log = Log("test", SimClock(), write=desk.lines.append)
    desk.journal = Journal.open(tmp_path, log, sync_period_s=3600)
    desk.ledger = Ledger(desk.path, desk.journal, log)
    desk.ledger.start()
    desk.journal.append(filled(None, HL, Side.BUY, 1, "1", "t1"))
    desk.journal.sync()
    desk.journal.append(filled(None, HL, Side.BUY, 1, "1", "t2"))
    until(lambda: desk.ledger.stored == 1)
    time.sleep(0.3)
    assert desk.ledger.stored == 1
    desk.journal.sync()
    until(lambda: desk.ledger.stored == 2)
    desk.close()


def test_a_ledger_ahead_of_its_journal_is_refused(desk: Desk) -> None:
    desk.journal.append(filled(None, HL, Side.BUY, 1, "1", "t1"))
    desk.settle()
    desk.close()
    for path in (desk.state / "journal").glob("*.seg"):
        path.unlink()
    journal = Journal.open(desk.state, desk.log)
    with pytest.raises(ConfigError, match="do not belong together"):
        Ledger(desk.path, journal, desk.log).start()
    journal.close()


def test_missing_segments_are_a_gap_on_record(desk: Desk) -> None:
    for number in range(700):
        desk.journal.append(filled(None, HL, Side.BUY, 1, "1", f"t{number}"))
    desk.journal.checkpoint(b"a", keep_after=0)
    desk.journal.append(filled(None, HL, Side.BUY, 1, "1", "last"))
    desk.journal.checkpoint(b"b", keep_after=desk.journal.position)
    desk.close()
    for path in desk.state.glob("ledger.db*"):
        path.unlink()
    first = segments.segments(desk.state / "journal")[0][0]
    assert first > 1
    desk.reopen()
    desk.settle()
    assert desk.ask("SELECT * FROM gaps") == [(1, first - 1)]
    assert any("ledger_gap" in line for line in desk.lines)
    assert desk.ask("SELECT min(sequence), max(sequence) FROM fills") == [(first, 701)]


@pytest.mark.parametrize(("content", "words"), [(b"not a database at all" * 100, "not a database")])
def test_a_file_that_is_no_ledger_is_a_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    log = Log("test", SimClock(), write=lambda _: None)
    journal = Journal.open(tmp_path, log)
    path = tmp_path / "ledger.db"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        Ledger(path, journal, log).start()
    with pytest.raises(ConfigError, match="is not a ledger"):
        copy_ledger(path, tmp_path / "copy")
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="version 99"):
        Ledger(path, journal, log).start()
    with pytest.raises(ConfigError, match="there is no ledger"):
        copy_ledger(tmp_path / "none.db", tmp_path / "copy")
    journal.close()


def test_a_locked_ledger_loses_nothing_and_catches_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.ledger.RETRY_S", 0.1)
    desk.ledger._db.execute("PRAGMA busy_timeout = 50")  # type: ignore[union-attr]
    with contextlib.closing(sqlite3.connect(desk.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        desk.journal.append(filled(None, HL, Side.BUY, 1, "1", "t1"))
        until(lambda: desk.ledger.failure is not None)
        assert desk.ledger.stored == 0
        other.execute("ROLLBACK")
    desk.settle()
    assert desk.ledger.failure is None
    assert desk.ask("SELECT count(*) FROM fills") == [(1,)]


def test_the_write_ahead_log_is_kept_short(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.ledger.CHECKPOINT_BYTES", 100_000)
    for turn in range(6):
        for number in range(500):
            desk.journal.append(filled(None, HL, Side.BUY, 1, "1", f"t{turn}-{number}"))
        desk.settle()
    until(lambda: desk.ledger.stored == 3000)
    assert desk.ledger.wal_bytes < 600_000


def test_a_full_disk_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log("test", SimClock(), write=lambda _: None)
    journal = Journal.open(tmp_path, log)

    def full(path: object, **options: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(BusyError, match="no space left"):
        Ledger(tmp_path / "ledger.db", journal, log).start()
    journal.close()
