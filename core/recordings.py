"""Recorded markets: best bid and offer by second, one gzipped CSV per venue and symbol, and the manifest that maps them.

    timestamp,ask_amount,ask_price,bid_price,bid_amount      the header, in this order (ask first)
    2026-01-01 00:00:17,15.79266,87629.0,87628.0,0.03165     UTC; canonical units; a second without a row = no update

A manifest is a TOML file with one [[track]] per file: venue and symbol on which it is played, the file's name, and the
venue's grid (tick, lot, smallest notional) for readers that have no exchange to ask. It stands in the recording's folder
as `recording.toml`, or in `config/recordings/<name of the folder>.toml` for a folder that is not ours to write in.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.clock import NS_PER_S
from core.errors import ConfigError
from core.types import Venue

MANIFEST = "recording.toml"
COLUMNS = ["timestamp", "ask_amount", "ask_price", "bid_price", "bid_amount"]
MAX_ROWS = 1_000_000  # a week and a half of seconds; a longer recording is played in parts


class Track(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file, played on one venue as one symbol. `path` is filled in by `load_manifest`."""

    venue: Venue
    symbol: str
    file: str
    tick: Decimal
    lot: Decimal
    min_notional_usd: Decimal
    path: str = ""


class _Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    track: tuple[Track, ...]
    note: str = ""


class Row(NamedTuple):
    """Best bid and offer from `time_ns` (UTC) on. Exact, canonical."""

    time_ns: int
    bid_px: Decimal
    bid_qty: Decimal
    ask_px: Decimal
    ask_qty: Decimal


def load_manifest(recording: Path, manifests: Path) -> tuple[Track, ...]:
    """The tracks of `recording`: a folder, or a manifest file beside its data. `manifests` = config/recordings.

    Raises ConfigError naming what is missing and where it was looked for.
    """
    folder = recording if recording.is_dir() else recording.parent
    candidates = [folder / MANIFEST, manifests / f"{folder.name}.toml"] if recording.is_dir() else [recording]
    for file in candidates:
        if file.is_file():
            return _tracks(file, folder)
    if not recording.exists():
        raise ConfigError(f"{recording}: no such recording; give a folder of CSV.gz files or its manifest")
    raise ConfigError(
        f"{recording}: has no manifest; write {candidates[0]} or {candidates[-1]} (docs: README, Recordings)"
    )


def read_rows(path: str | Path, start_ns: int = 0, end_ns: int = 0) -> Iterator[Row]:
    """The rows of one file, strictly increasing in time, cut to [start, end) where given (0 = open).

    Raises ConfigError with file and line for a row that is crossed, not positive, out of order or not in the format.
    """
    try:
        with gzip.open(path, "rt", encoding="ascii", newline="") as text:
            rows = csv.reader(text)
            if next(rows, None) != COLUMNS:
                raise ConfigError(f"{path}: line 1: the header must be {','.join(COLUMNS)}")
            yield from _checked(path, rows, start_ns, end_ns)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as gzipped text: {error}") from error


def _checked(path: str | Path, rows: Iterable[list[str]], start_ns: int, end_ns: int) -> Iterator[Row]:
    last_ns = -1
    for line, fields in enumerate(rows, start=2):
        if line > MAX_ROWS:
            raise ConfigError(f"{path}: more than {MAX_ROWS} rows; cut the recording into parts")
        row = _row(path, line, fields)
        if row.time_ns <= last_ns:
            raise ConfigError(f"{path}: line {line}: {fields[0]} is not later than the row before it")
        last_ns = row.time_ns
        if end_ns and row.time_ns >= end_ns:
            return
        if row.time_ns >= start_ns:
            yield row


def _row(path: str | Path, line: int, fields: list[str]) -> Row:
    try:
        stamp, ask_qty, ask_px, bid_px, bid_qty = fields
        row = Row(_utc_ns(stamp), Decimal(bid_px), Decimal(bid_qty), Decimal(ask_px), Decimal(ask_qty))
    except (ValueError, InvalidOperation) as error:
        raise ConfigError(f"{path}: line {line}: {','.join(fields)!r} is not a row of {','.join(COLUMNS)}") from error
    if not all(number.is_finite() for number in row[1:]) or not 0 < row.bid_px < row.ask_px or min(row[2], row[4]) < 0:
        raise ConfigError(f"{path}: line {line}: crossed, locked or not positive: {','.join(fields)!r}")
    return row


def _utc_ns(text: str) -> int:
    """Whole microseconds, so that no float rounds a second."""
    at = datetime.fromisoformat(text)
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000


def _tracks(file: Path, folder: Path) -> tuple[Track, ...]:
    try:
        manifest = msgspec.toml.decode(file.read_bytes(), type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: {error}; each [[track]] needs venue, symbol, file, tick, lot, min_notional_usd"
        ) from error
    if not manifest.track:
        raise ConfigError(f"{file}: has no [[track]]")
    found = tuple(msgspec.structs.replace(track, path=str(folder / track.file)) for track in manifest.track)
    seen: set[tuple[str, str]] = set()
    for track in found:
        if not Path(track.path).is_file():
            raise ConfigError(f"{file}: track {track.venue} {track.symbol}: {track.path} does not exist")
        if min(track.tick, track.lot, track.min_notional_usd) <= 0:
            raise ConfigError(
                f"{file}: track {track.venue} {track.symbol}: tick, lot and min_notional_usd must be positive"
            )
        if (track.venue, track.symbol) in seen:
            raise ConfigError(f"{file}: track {track.venue} {track.symbol}: named twice")
        seen.add((track.venue, track.symbol))
    return found
