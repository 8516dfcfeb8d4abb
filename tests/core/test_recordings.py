"""Recorded markets as files: the format, the manifest, and every way in which they can be wrong."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from core.edges import EdgeMeter
from core.errors import ConfigError
from core.recordings import COLUMNS, MANIFEST, load_manifest, read_rows
from tests.fixtures.recordings import generate

ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = ROOT / "tests" / "fixtures" / "recordings" / "synthetic-two-venue"
MANIFESTS = ROOT / "config" / "recordings"
GOOD = "2026-01-01 00:00:17,15.79266,87629.0,87628.0,0.03165"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "quotes.csv.gz"
    path.write_bytes(gzip.compress("\n".join([",".join(COLUMNS), *lines, ""]).encode()))
    return path


def test_a_row_is_exact_and_ask_first(tmp_path: Path) -> None:
    (row,) = read_rows(written(tmp_path, GOOD))
    assert row.time_ns == 1_767_225_617_000_000_000
    assert row[1:] == (Decimal("87628.0"), Decimal("0.03165"), Decimal("87629.0"), Decimal("15.79266"))


def test_a_window_cuts_both_ends(tmp_path: Path) -> None:
    lines = [f"2026-01-01 00:00:0{s},1,2,1,1" for s in range(6)]
    base = 1_767_225_600_000_000_000
    cut = list(read_rows(written(tmp_path, *lines), base + 2 * 10**9, base + 4 * 10**9))
    assert [row.time_ns - base for row in cut] == [2 * 10**9, 3 * 10**9]


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-01 00:00:18,1,100,100,1",  # locked
        "2026-01-01 00:00:18,1,99,100,1",  # crossed
        "2026-01-01 00:00:18,-1,101,100,1",
        "2026-01-01 00:00:18,1,nan,100,1",
        "2026-01-01 00:00:18,1,101,100",
        "yesterday,1,101,100,1",
        "2026-01-01 00:00:17,1,101,100,1",  # not later than the row before
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, GOOD, line)
    with pytest.raises(ConfigError, match=r"quotes\.csv\.gz: line 3"):
        list(read_rows(path))


def test_other_columns_or_a_torn_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "quotes.csv.gz"
    path.write_bytes(gzip.compress(b"timestamp,bid,ask\n"))
    with pytest.raises(ConfigError, match="header"):
        list(read_rows(path))
    whole = written(tmp_path, GOOD).read_bytes()
    path.write_bytes(whole[:-12])
    with pytest.raises(ConfigError, match="cannot be read"):
        list(read_rows(path))


def test_a_manifest_stands_in_the_folder_or_is_the_path_itself() -> None:
    tracks = load_manifest(SYNTHETIC, MANIFESTS)
    assert [(track.venue, track.symbol) for track in tracks] == [("hyperliquid", "BTC"), ("aster", "BTC")]
    assert tracks == load_manifest(SYNTHETIC / MANIFEST, MANIFESTS)


def test_a_folder_without_a_manifest_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write .*recording\.toml"):
        load_manifest(tmp_path, MANIFESTS)
    with pytest.raises(ConfigError, match="no such recording"):
        load_manifest(tmp_path / "away", MANIFESTS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ('venue = "hyperliquid"', "named twice"),
        ('tick = "0"', "must be positive"),
        ('file = "away.csv.gz"', "does not exist"),
        ('pace = "2"', "pace"),
    ],
)
def test_a_wrong_manifest_names_file_and_track(tmp_path: Path, change: str, complaint: str) -> None:
    written(tmp_path, GOOD)
    track = '[[track]]\nvenue = "{}"\nsymbol = "BTC"\nfile = "quotes.csv.gz"\ntick = "1"\nlot = "1"\nmin_notional_usd = "1"\n'
    second = track.format("aster")
    key = change.split(" =")[0]
    lines = [change if line.startswith(f"{key} =") else line for line in second.splitlines()]
    (tmp_path / MANIFEST).write_text(
        track.format("hyperliquid") + "\n".join(lines if change in lines else [*lines, change]) + "\n"
    )
    with pytest.raises(ConfigError, match=complaint):
        load_manifest(tmp_path, MANIFESTS)


def test_the_synthetic_recording_is_what_its_generator_makes() -> None:
    for name, text in zip(generate.FILES, generate.rows(), strict=True):
        assert gzip.decompress((SYNTHETIC / name).read_bytes()).decode() == text


def test_an_edge_is_measured_against_the_standing_offset() -> None:
    meter = EdgeMeter("BTC", "a", "b", 100.0, 3)
    for second in range(5):
        meter.sample(second * 10**9, (10_010.0, 10_012.0), (9_999.0, 10_001.0))  # 11 apart all the time
    meter.sample(6 * 10**9, (10_016.0, 10_018.0), (9_999.0, 10_001.0))
    ab, ba = meter.seen()
    assert (ab.short_venue, ab.long_venue, ab.samples) == ("a", "b", 6)
    assert ab.offset_bps == pytest.approx(11.0, abs=0.02)
    assert ab.max_edge_bps == pytest.approx(15.0, abs=0.02)
    assert ab.max_dev_bps == pytest.approx(4.0, abs=0.02), "six more than usual, less two half-spreads"
    assert ab.max_dev_at_ns == 6 * 10**9
    assert ba.max_dev_bps is not None
    assert ba.max_dev_bps < 0
