"""What funding rates are not believed. The market of the judgements is recorded: seven hours of ninety symbols on six venues."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from core.clock import NS_PER_S
from core.funding import CAP_PER_HOUR, MAX_SCALE, Doubt, Guard, judge_board, scale
from core.types import FundingKind, FundingRate, Venue

HOUR_NS = 3600 * NS_PER_S
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "funding"
HOURS = {"hyperliquid": 1, "lighter": 1, "pacifica": 1, "edgex": 4, "extended": 1}
ROW = re.compile(r'VALUES \("(\w+)", "[^"]*", "([^"]*)", ([^)]*)\)')
RATE, HOUR = 10, 14  # columns after the names
Board = dict[Venue, dict[str, FundingRate]]


def rate(value: float, hours: float, next_ns: int = 0, kind: FundingKind = FundingKind.ESTIMATE) -> FundingRate:
    return FundingRate(value, int(hours * 3600), next_ns, kind, "test")


@pytest.fixture(scope="module")
def recorded() -> list[Board]:
    """One board per recorded hour, of the hours that at least four venues cover."""
    if not DATA.exists():
        pytest.skip(f"{DATA} is missing: the recorded funding rates are not part of the project")
    hours: dict[int, Board] = defaultdict(lambda: defaultdict(dict))
    for file in sorted((DATA / "hourly-aggregates-10-venues").glob("*.sql.gz")):
        for found in ROW.finditer(gzip.decompress(file.read_bytes()).decode()):
            venue, symbol, columns = found[1], found[2], found[3].split(", ")
            interval = (
                8
                if venue == "aster" and symbol in ("BTC", "ETH", "SOL")
                else 4
                if venue == "aster"
                else HOURS.get(venue)
            )
            if interval is not None and columns[RATE] != "NULL":
                hours[int(columns[HOUR])][Venue(venue)][symbol] = rate(float(columns[RATE]), interval)
    return [
        board for _, board in sorted(hours.items()) if len(board) >= 4 and len(board.get(Venue("hyperliquid"), {})) > 50
    ]


def changed(board: Board, venue: str, change: Callable[[FundingRate], FundingRate]) -> Board:
    """The board as it would be if the parser of one venue were wrong."""
    return {
        name: {s: change(r) for s, r in rows.items()} if name == venue else dict(rows) for name, rows in board.items()
    }


def times(factor: float) -> Callable[[FundingRate], FundingRate]:
    return lambda it: msgspec.structs.replace(it, rate=it.rate * factor)


# ---- the recorded market is believed --------------------------------------------------------------------------------


def test_recorded_hours_are_believed(recorded: list[Board]) -> None:
    assert len(recorded) >= 10
    rates = doubts = 0
    for board in recorded:
        found = judge_board(board)
        assert Doubt.SCALE not in found.values()
        rates += sum(map(len, board.values()))
        doubts += len(found)
    assert rates > 3000
    assert doubts < rates / 100  # single symbols far beyond all others do exist


def test_scales_of_recorded_venues_lie_well_inside_the_bound(recorded: list[Board]) -> None:
    for board in recorded:
        per_hour = {venue: {s: r.rate_per_hour for s, r in rows.items()} for venue, rows in board.items()}
        for venue in per_hour:
            found = scale(venue, per_hour)
            assert found is None or 1.5 / MAX_SCALE < found < MAX_SCALE / 1.5


# ---- five bugs of other systems -------------------------------------------------------------------------------------


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter", "edgex", "aster"])
def test_open_interest_read_as_the_rate(recorded: list[Board], venue: str) -> None:
    """In coins, as a venue's next field has it: 25,000 BTC, or 0.02 of something small."""
    guard = Guard()
    assert guard.doubt("BTC", rate(25_000.0, 1), 0) is Doubt.BEYOND_CAP
    for board in recorded:
        wrong = changed(board, venue, lambda it: msgspec.structs.replace(it, rate=0.02 * it.interval_s / 3600))
        found = judge_board(wrong)
        assert all((Venue(venue), symbol) in found for symbol in ("BTC", "ETH", "SOL") if symbol in wrong[Venue(venue)])


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter", "edgex", "aster"])
def test_percent_read_as_fraction(recorded: list[Board], venue: str) -> None:
    for board in recorded:
        found = judge_board(changed(board, venue, times(100.0)))
        assert {v for (v, _), doubt in found.items() if doubt is Doubt.SCALE} == {venue}
        assert {s for (v, s) in found if v == venue} == set(board[Venue(venue)])


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter", "edgex", "aster"])
def test_a_rate_of_eight_hours_read_as_hourly(recorded: list[Board], venue: str) -> None:
    for board in recorded:
        found = judge_board(changed(board, venue, times(8.0)))
        assert {v for (v, _), doubt in found.items() if doubt is Doubt.SCALE} == {venue}
        found = judge_board(changed(board, venue, times(1 / 8)))
        assert {v for (v, _), doubt in found.items() if doubt is Doubt.SCALE} == {venue}


def test_a_four_hour_symbol_taken_for_eight() -> None:
    guard, eight = Guard(), 8 * HOUR_NS
    assert guard.doubt("HYPE", rate(0.0001, 8, eight), eight - HOUR_NS) is None  # 08:00 fits both
    assert guard.doubt("HYPE", rate(0.0001, 8, 12 * HOUR_NS), eight + HOUR_NS) is Doubt.OFF_GRID
    assert guard.doubt("HYPE", rate(0.0001, 8, 16 * HOUR_NS), 13 * HOUR_NS) is Doubt.OFF_GRID  # remembered
    assert guard.doubt("HYPE", rate(0.00005, 4, 16 * HOUR_NS), 13 * HOUR_NS) is None  # the catalogue told better
    assert guard.doubt("BTC", rate(0.0001, 8, 16 * HOUR_NS), 13 * HOUR_NS) is None  # another symbol


def test_a_symbol_that_did_change_to_eight_hours_is_believed_again() -> None:
    guard = Guard()
    assert guard.doubt("HYPE", rate(0.0001, 8, 12 * HOUR_NS), 9 * HOUR_NS) is Doubt.OFF_GRID
    assert guard.doubt("HYPE", rate(0.0001, 8, 16 * HOUR_NS), 13 * HOUR_NS) is Doubt.OFF_GRID
    assert guard.doubt("HYPE", rate(0.0001, 8, 24 * HOUR_NS), 17 * HOUR_NS) is None


@pytest.mark.parametrize("seconds", [1, 60, 1800])
def test_observations_are_no_payments(seconds: int) -> None:
    """Rows of a second or a minute taken for settlements: EdgeX's history repeats one payment 240 times."""
    observed = FundingRate(0.00005, seconds, 0, FundingKind.SETTLED, "history")
    assert Guard().doubt("BTC", observed, 0) is Doubt.NOT_AN_INTERVAL
    assert Guard().doubt("BTC", rate(0.00005, 4, 0, FundingKind.SETTLED), 0) is None


# ---- edges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), CAP_PER_HOUR * 1.01, -CAP_PER_HOUR * 1.01])
def test_numbers_that_are_no_rates(value: float) -> None:
    assert Guard().doubt("BTC", rate(value, 1), 0) is Doubt.BEYOND_CAP


def test_an_extreme_hour_of_the_record_is_believed() -> None:
    assert Guard().doubt("XPL", rate(-0.03, 1), 0) is None


def test_a_settlement_further_away_than_its_interval() -> None:
    assert Guard().doubt("BTC", rate(0.0001, 4, 8 * HOUR_NS), 0) is Doubt.TOO_FAR_AHEAD
    assert Guard().doubt("BTC", rate(0.0001, 8, 8 * HOUR_NS), 0) is None


def test_of_two_venues_the_one_without_the_calm_value_is_doubted() -> None:
    calm = {symbol: rate(0.0000125, 1) for symbol in ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")}
    both = {Venue("a"): calm, Venue("b"): {s: times(8.0)(r) for s, r in calm.items()}}
    assert {venue for venue, _ in judge_board(both)} == {"b"}
    assert judge_board({Venue("a"): calm, Venue("b"): calm}) == {}


def test_few_symbols_say_nothing_about_a_venue() -> None:
    few = {symbol: rate(0.0000125, 1) for symbol in ("BTC", "ETH", "SOL", "HYPE")}
    assert judge_board({Venue("a"): few, Venue("b"): {s: times(8.0)(r) for s, r in few.items()}, Venue("c"): few}) == {}


def test_one_symbol_far_beyond_all_others_is_doubted_alone() -> None:
    calm = {symbol: rate(0.0000125, 1) for symbol in ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")}
    odd = {**calm, "HYPE": rate(0.01, 1)}
    board = {Venue("a"): calm, Venue("b"): odd, Venue("c"): calm}
    assert judge_board(board) == {(Venue("b"), "HYPE"): Doubt.OUTLIER}
