"""Tables of the ledger and how each journal record becomes rows. Pure: records and a connection in, statements out.

Exact numbers are kept as decimal text, times as integer nanoseconds UTC. What is not known is NULL, never zero: a fill
whose instrument was never seen has lots but no quantity in base units and no notional.
Prices and sizes in `qty`, `px`, `notional_usd` are canonical (one BTC, one PEPE); `lots` and `limit_ticks` are the venue's.
"""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from functools import singledispatch

from executor import records as r
from executor.records import AnyRecord, Record

VERSION = 2

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE gaps (first_sequence INTEGER PRIMARY KEY, last_sequence INTEGER NOT NULL);
CREATE TABLE epochs (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, epoch INTEGER, config_fingerprint TEXT);
CREATE TABLE stops (sequence INTEGER PRIMARY KEY, wire_ns INTEGER);
CREATE TABLE commands (command_id TEXT PRIMARY KEY, sequence INTEGER, wire_ns INTEGER, strategy TEXT, kind TEXT,
    answered_wire_ns INTEGER);
CREATE TABLE instruments (venue TEXT, symbol TEXT, sequence INTEGER, venue_symbol TEXT, lot_size TEXT, tick_size TEXT,
    multiplier INTEGER, PRIMARY KEY (venue, symbol));
CREATE TABLE orders (client_order_id TEXT PRIMARY KEY, sequence INTEGER, wire_ns INTEGER, command_id TEXT, pair_id TEXT,
    strategy TEXT, venue TEXT, symbol TEXT, side TEXT, lots INTEGER, qty TEXT, limit_ticks INTEGER, limit_px TEXT,
    time_in_force TEXT, reduce_only INTEGER, purpose TEXT, status TEXT, venue_order_id TEXT, filled_lots INTEGER,
    code TEXT, detail TEXT, moved_wire_ns INTEGER);
CREATE INDEX orders_of_pair ON orders (pair_id);
CREATE TABLE order_events (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, client_order_id TEXT, status TEXT,
    filled_lots INTEGER, avg_px TEXT, code TEXT, detail TEXT, source TEXT);
CREATE INDEX events_of_order ON order_events (client_order_id);
CREATE TABLE fills (sequence INTEGER PRIMARY KEY, venue TEXT, trade_id TEXT, client_order_id TEXT, venue_order_id TEXT,
    symbol TEXT, side TEXT, lots INTEGER, qty TEXT, px TEXT, notional_usd TEXT, fee_usd TEXT, liquidity TEXT,
    ts_ns INTEGER, UNIQUE (venue, trade_id));
CREATE INDEX fills_of_order ON fills (client_order_id);
CREATE TABLE pairs (pair_id TEXT PRIMARY KEY, sequence INTEGER, opened_wire_ns INTEGER, opened_calendar_ns INTEGER,
    strategy TEXT, symbol TEXT, long_venue TEXT, short_venue TEXT, qty TEXT, long_ref_px TEXT, short_ref_px TEXT,
    edge_bps REAL, offset_bps REAL, basis_bps REAL, status TEXT, reason TEXT, moved_wire_ns INTEGER,
    moved_calendar_ns INTEGER);
CREATE TABLE pair_events (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, calendar_ns INTEGER, pair_id TEXT, status TEXT,
    reason TEXT);
CREATE TABLE funding (sequence INTEGER PRIMARY KEY, venue TEXT, symbol TEXT, payment_id TEXT, amount_usd TEXT,
    ts_ns INTEGER, UNIQUE (venue, payment_id));
CREATE TABLE unhedged (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, pair_id TEXT, duration_ns INTEGER,
    notional_usd TEXT);
CREATE TABLE adopted (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, venue TEXT, symbol TEXT, lots INTEGER,
    is_foreign INTEGER, why TEXT);
CREATE TABLE frozen (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, venue TEXT, symbol TEXT, is_frozen INTEGER,
    reason TEXT);
CREATE TABLE trading_state (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, state TEXT, reason TEXT);
"""

UPGRADES = {
    1: """
CREATE TABLE nettings (sequence INTEGER PRIMARY KEY, wire_ns INTEGER, venue TEXT, symbol TEXT, lots INTEGER, qty TEXT,
    px TEXT, notional_usd TEXT, buyer TEXT, seller TEXT);
DROP VIEW IF EXISTS pair_cash;
CREATE VIEW pair_cash AS
    SELECT pair_id, count(*) AS fills, sum(abs(cash_usd)) AS turnover_usd, sum(cash_usd) AS price_usd,
        sum(fee_usd) AS fees_usd
    FROM (
        SELECT orders.pair_id AS pair_id, CAST(fills.fee_usd AS REAL) AS fee_usd,
            CASE fills.side WHEN 'sell' THEN 1 ELSE -1 END * CAST(fills.notional_usd AS REAL) AS cash_usd
        FROM fills JOIN orders USING (client_order_id) WHERE orders.pair_id IS NOT NULL
        UNION ALL SELECT buyer, 0.0, -CAST(notional_usd AS REAL) FROM nettings
        UNION ALL SELECT seller, 0.0, CAST(notional_usd AS REAL) FROM nettings
    ) GROUP BY pair_id;
CREATE VIEW sub_ledgers AS
    SELECT owner, venue, symbol, sum(lots) AS lots, sum(CAST(qty AS REAL)) AS qty
    FROM (
        SELECT coalesce(pairs.strategy, CASE orders.purpose WHEN 'manual' THEN 'by hand' END, '') AS owner,
            fills.venue AS venue, fills.symbol AS symbol,
            CASE fills.side WHEN 'buy' THEN 1 ELSE -1 END * fills.lots AS lots,
            CASE fills.side WHEN 'buy' THEN 1 ELSE -1 END * CAST(fills.qty AS REAL) AS qty
        FROM fills LEFT JOIN orders USING (client_order_id) LEFT JOIN pairs USING (pair_id)
        UNION ALL SELECT pairs.strategy, venue, nettings.symbol, lots, CAST(nettings.qty AS REAL)
            FROM nettings JOIN pairs ON pair_id = buyer
        UNION ALL SELECT pairs.strategy, venue, nettings.symbol, -lots, -CAST(nettings.qty AS REAL)
            FROM nettings JOIN pairs ON pair_id = seller
    ) GROUP BY owner, venue, symbol;
""",
}
"""What leads from a version to the next one; a new ledger takes all of them. `sub_ledgers` goes by whose orders filled: what a
flatten or the venue itself took from a pair stands at the owner '' there, while the account page takes it from the pair."""


def store(db: sqlite3.Connection, sequence: int, record: AnyRecord) -> None:
    """Write one record's rows inside the caller's transaction. Raises sqlite3.Error."""
    _store(record, db, sequence)


@singledispatch
def _store(record: Record, db: sqlite3.Connection, sequence: int) -> None:
    """What has no table (nonce blocks) leaves no row."""


@_store.register
def _(record: r.EpochStarted, db: sqlite3.Connection, sequence: int) -> None:
    _insert(db, "epochs", sequence, record.wire_ns, record.epoch, record.config_fingerprint)


@_store.register
def _(record: r.CleanStop, db: sqlite3.Connection, sequence: int) -> None:
    _insert(db, "stops", sequence, record.wire_ns)


@_store.register
def _(record: r.CommandTaken, db: sqlite3.Connection, sequence: int) -> None:
    command = record.command_id
    _insert(db, "commands", str(command), sequence, record.wire_ns, command.strategy, record.kind, None)


@_store.register
def _(record: r.CommandAnswered, db: sqlite3.Connection, sequence: int) -> None:
    db.execute(
        "UPDATE commands SET answered_wire_ns = ? WHERE command_id = ?", (record.wire_ns, str(record.command_id))
    )


@_store.register
def _(record: r.InstrumentSeen, db: sqlite3.Connection, sequence: int) -> None:
    db.execute(
        "INSERT OR REPLACE INTO instruments VALUES (?,?,?,?,?,?,?)",
        (
            record.venue,
            record.symbol,
            sequence,
            record.venue_symbol,
            str(record.lot_size),
            str(record.tick_size),
            record.multiplier,
        ),
    )


@_store.register
def _(record: r.OrderPrepared, db: sqlite3.Connection, sequence: int) -> None:
    contract = _contract(db, record.venue, record.symbol)
    _insert(
        db,
        "orders",
        record.client_order_id,
        sequence,
        record.wire_ns,
        str(record.command_id) if record.command_id is not None else None,
        record.pair_id,
        record.strategy,
        record.venue,
        record.symbol,
        record.side.value,
        record.lots,
        contract and _plain(record.lots * contract[0] * contract[2]),
        record.limit_ticks,
        contract and _plain(record.limit_ticks * contract[1] / contract[2]),
        record.time_in_force.value,
        record.reduce_only,
        record.purpose,
        "prepared",
        "",
        0,
        "",
        "",
        record.wire_ns,
    )


@_store.register
def _(record: r.OrderMoved, db: sqlite3.Connection, sequence: int) -> None:
    avg_px = str(record.avg_px) if record.avg_px is not None else None
    _insert(
        db,
        "order_events",
        sequence,
        record.wire_ns,
        record.client_order_id,
        record.status.value,
        record.filled_lots,
        avg_px,
        record.code,
        record.detail,
        record.source,
    )
    db.execute(
        "UPDATE orders SET status = ?, code = ?, detail = ?, moved_wire_ns = ?, filled_lots = max(filled_lots, ?),"
        " venue_order_id = CASE ? WHEN '' THEN venue_order_id ELSE ? END WHERE client_order_id = ?",
        (
            record.status.value,
            record.code,
            record.detail,
            record.wire_ns,
            record.filled_lots,
            record.venue_order_id,
            record.venue_order_id,
            record.client_order_id,
        ),
    )


@_store.register
def _(record: r.FillRecorded, db: sqlite3.Connection, sequence: int) -> None:
    fill = record.fill
    contract = _contract(db, fill.venue, fill.symbol)
    _insert(
        db,
        "fills",
        sequence,
        fill.venue,
        fill.trade_id,
        fill.client_order_id,
        fill.venue_order_id,
        fill.symbol,
        fill.side.value,
        fill.lots,
        contract and _plain(fill.lots * contract[0] * contract[2]),
        contract and _plain(fill.px / contract[2]),
        contract and _plain(fill.lots * contract[0] * fill.px),
        str(fill.fee_usd),
        fill.liquidity.value,
        fill.ts_ns,
    )


@_store.register
def _(record: r.PairPlanned, db: sqlite3.Connection, sequence: int) -> None:
    _insert(
        db,
        "pairs",
        record.pair_id,
        sequence,
        record.wire_ns,
        record.calendar_ns,
        record.strategy,
        record.symbol,
        record.long_venue,
        record.short_venue,
        str(record.qty),
        str(record.long_ref_px),
        str(record.short_ref_px),
        record.edge_bps,
        record.offset_bps,
        record.basis_bps,
        "opening",
        "",
        record.wire_ns,
        record.calendar_ns,
    )


@_store.register
def _(record: r.PairMoved, db: sqlite3.Connection, sequence: int) -> None:
    status = record.status.value
    _insert(db, "pair_events", sequence, record.wire_ns, record.calendar_ns, record.pair_id, status, record.reason)
    db.execute(
        "UPDATE pairs SET status = ?, reason = ?, moved_wire_ns = ?, moved_calendar_ns = ? WHERE pair_id = ?",
        (status, record.reason, record.wire_ns, record.calendar_ns, record.pair_id),
    )


@_store.register
def _(record: r.FundingRecorded, db: sqlite3.Connection, sequence: int) -> None:
    amount = str(record.amount_usd)
    _insert(db, "funding", sequence, record.venue, record.symbol, record.payment_id, amount, record.ts_ns)


@_store.register
def _(record: r.UnhedgedMeasured, db: sqlite3.Connection, sequence: int) -> None:
    notional = str(record.notional_usd)
    _insert(db, "unhedged", sequence, record.wire_ns, record.pair_id, record.duration_ns, notional)


@_store.register
def _(record: r.Netted, db: sqlite3.Connection, sequence: int) -> None:
    contract = _contract(db, record.venue, record.symbol)
    _insert(
        db,
        "nettings",
        sequence,
        record.wire_ns,
        record.venue,
        record.symbol,
        record.lots,
        contract and _plain(record.lots * contract[0] * contract[2]),
        contract and _plain(record.px / contract[2]),
        contract and _plain(record.lots * contract[0] * record.px),
        record.buyer,
        record.seller,
    )


@_store.register
def _(record: r.PositionAdopted, db: sqlite3.Connection, sequence: int) -> None:
    row = (record.venue, record.symbol, record.lots, record.foreign, record.why)
    _insert(db, "adopted", sequence, record.wire_ns, *row)


@_store.register
def _(record: r.Frozen, db: sqlite3.Connection, sequence: int) -> None:
    _insert(db, "frozen", sequence, record.wire_ns, record.venue, record.symbol, True, record.reason)


@_store.register
def _(record: r.Unfrozen, db: sqlite3.Connection, sequence: int) -> None:
    _insert(db, "frozen", sequence, record.wire_ns, record.venue, record.symbol, False, record.reason)


@_store.register
def _(record: r.TradingStateSet, db: sqlite3.Connection, sequence: int) -> None:
    _insert(db, "trading_state", sequence, record.wire_ns, record.state.value, record.reason)


def _insert(db: sqlite3.Connection, table: str, *values: object) -> None:
    """One row; a key that is there already (a fill or payment told twice) keeps its first row."""
    marks = ",".join("?" * len(values))
    db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", values)


def _contract(db: sqlite3.Connection, venue: str, symbol: str) -> tuple[Decimal, Decimal, int] | None:
    """(lot size, tick size, multiplier) as last seen, or None."""
    row = db.execute(
        "SELECT lot_size, tick_size, multiplier FROM instruments WHERE venue = ? AND symbol = ?", (venue, symbol)
    ).fetchone()
    return (Decimal(row[0]), Decimal(row[1]), int(row[2])) if row is not None else None


def _plain(value: Decimal) -> str:
    """Without exponent, so that text sorts and reads as people write it."""
    return f"{value.normalize():f}"
