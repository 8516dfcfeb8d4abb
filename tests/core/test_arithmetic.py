"""Costs, sizes, ids and logs against numbers worked out by hand."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from core.clock import NS_PER_S, SimClock, SystemClock
from core.costs import basis_pnl_bps, cross_px, edge_numbers, executable_pnl_bps, mid_gap_bps, round_trip_cost_bps
from core.ids import OrderTag, client_order_id, parse_client_order_id, tag16
from core.log import Log
from core.numeric import floor_to, from_float, is_multiple, least_common_lot, plain
from core.sizing import common_size, minimum_pair_qty, perp_capacity_usd, spot_capacity_usd
from core.types import Instrument, Quote, Venue


def quote(bid: float, ask: float) -> Quote:
    return Quote(bid, 1.0, ask, 1.0, 0, 0, 1, 1, 0)


def test_edge_and_costs_of_one_look() -> None:
    short, long = quote(100.50, 100.52), quote(99.99, 100.01)
    numbers = edge_numbers(short, long, offset_bps=5.0, cost_bps=18.0)
    mid = (100.51 + 100.00) / 2
    assert numbers.edge_bps == pytest.approx((100.50 - 100.01) / mid * 1e4)
    assert numbers.dev_bps == pytest.approx(numbers.edge_bps - 5.0)
    assert numbers.half_spreads_bps == pytest.approx((0.02 + 0.02) / 2 / mid * 1e4)
    assert numbers.net_bps == pytest.approx(numbers.dev_bps - numbers.half_spreads_bps - 18.0)
    assert round_trip_cost_bps(0.00045, 0.00035, 2.0) == pytest.approx(18.0)


def test_what_closing_pays() -> None:
    """Sold at 101, bought at 100; closing at 100.50 (buy back) and 100.40 (sell) keeps 0.90 of the 1.00."""
    assert executable_pnl_bps(101.0, 100.0, quote(100.49, 100.50), quote(100.40, 100.41)) == pytest.approx(
        0.90 / 100.5 * 1e4
    )
    assert mid_gap_bps(quote(100.9, 101.1), quote(99.9, 100.1)) == pytest.approx(1 / 100.5 * 1e4)
    assert basis_pnl_bps(100.0, quote(100.0, 100.2), quote(100.0, 100.2)) == pytest.approx(100.0)


def test_the_cross_is_clamped_from_both_sides() -> None:
    assert cross_px(100.0, 0.001, 10, 1.0, 5.0) == pytest.approx(0.01)  # 10 ticks = 1 bps: the least allowed
    assert cross_px(100.0, 0.003, 10, 1.0, 5.0) == pytest.approx(0.03)  # between
    assert cross_px(100.0, 1.0, 10, 1.0, 5.0) == pytest.approx(0.05)  # coarse ticks: at most 5 bps


def test_capacity_keeps_room_for_fees_and_error() -> None:
    assert perp_capacity_usd(Decimal(1000), 3, 0.00045) == pytest.approx(
        Decimal("0.99") * 1000 / (Decimal(1) / 3 + Decimal("0.00145"))
    )
    assert spot_capacity_usd(Decimal(1000), 0.004) == pytest.approx(Decimal(990) / Decimal("1.005"))
    assert perp_capacity_usd(Decimal(-5), 3, 0.001) == 0


def instrument(lot: str, multiplier: int = 1, notional: str = "10") -> Instrument:
    return Instrument(
        venue=Venue("hyperliquid"), symbol="X", venue_symbol="X", tick_size=Decimal("0.1"), lot_size=Decimal(lot),
        multiplier=multiplier, min_notional_usd=Decimal(notional),
    )  # fmt: skip


def test_sizes_fit_both_legs_exactly() -> None:
    """No 0.059000000000000004: lots of 0.002 and 0.005 meet at 0.010."""
    assert least_common_lot(Decimal("0.002"), Decimal("0.005")) == Decimal("0.010")
    assert least_common_lot(Decimal("1000"), Decimal("1")) == 1000
    size = common_size({"a": Decimal("0.0599"), "b": Decimal(1)}, instrument("0.002"), instrument("0.005"))
    assert (size.qty, size.bound_by) == (Decimal("0.050"), "a")
    assert common_size({"a": Decimal(-1)}, instrument("1"), instrument("1")).qty == 0


def test_the_smallest_pair_can_still_be_closed_in_two_parts() -> None:
    first, second = instrument("0.001", notional="10"), instrument("0.01", notional="5")
    assert minimum_pair_qty(first, Decimal(100), second, Decimal(100)) == Decimal("0.2")


def test_decimals_stay_plain_and_exact() -> None:
    assert [plain(Decimal(t)) for t in ("95000.0", "1E+3", "0.0010", "-0", "1e-7")] == [
        "95000",
        "1000",
        "0.001",
        "0",
        "0.0000001",
    ]
    assert from_float(0.1) == Decimal("0.1")
    assert floor_to(Decimal("0.3"), Decimal("0.1")) == 3
    assert is_multiple(Decimal("0.30"), Decimal("0.1"))
    assert not is_multiple(Decimal("0.35"), Decimal("0.1"))


def test_client_order_ids_read_back_and_foreign_ones_do_not() -> None:
    made = client_order_id(tag16("acct"), tag16("scalp"), 7, 12345, 2)
    assert len(made) == 32
    assert parse_client_order_id("0x" + made) == OrderTag(tag16("acct"), tag16("scalp"), 7, 12345, 2)
    for foreign in ("", "autoclose-1", "0x" + "0" * 32, made[:-1], made.replace("7a6d", "7a6e"), made.upper()):
        assert parse_client_order_id(foreign) is None
    with pytest.raises(ValueError, match="epoch"):
        client_order_id(0, 0, 1 << 32, 0, 0)


def test_logs_are_one_json_line_with_secrets_masked_and_repeats_counted() -> None:
    lines: list[str] = []
    clock = SimClock()
    log = Log("t", clock, write=lines.append)
    log.mask("0xdeadbeefcafebabe")
    log.info("sent", body="key=0xdeadbeefcafebabe and deadbeefcafebabe", n=1)
    row = json.loads(lines[0])
    assert "deadbeef" not in lines[0]
    assert row["event"] == "sent"
    assert row["ts"].endswith("Z")
    for _ in range(50):
        log.warning("again")
    assert len(lines) == 21
    clock.advance_ns(NS_PER_S)
    log.warning("again")
    assert json.loads(lines[-1])["suppressed"] == 30
    log.debug("quiet")
    assert len(lines) == 22


def test_the_calendar_runs_from_one_origin() -> None:
    fast = SystemClock(100.0, origin_ns=SystemClock().wire_ns())
    slow = SystemClock()
    ahead = fast.calendar_ns() - slow.wire_ns()
    assert ahead >= 0
    assert slow.calendar_ns() <= slow.wire_ns()
