"""What each piece of evidence proves about an order in doubt, and what it does not."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.types import Fill, LiquiditySide, OrderStatus, Side, TimeInForce, Venue
from executor.doubt import Evidence, Ruling, claimant, judge
from executor.records import OrderPrepared
from executor.state import OrderState
from executor.venues.base import NotFound, VenueOrder

BOUND = 1_000
GRACE = 200
BEFORE = 900
AFTER = 1_201
S = OrderStatus


def order(**changes: Any) -> OrderState:
    prepared = OrderPrepared(
        wire_ns=1,
        client_order_id="7a6d" + "0" * 28,
        command_id=None,
        pair_id="p1-1",
        strategy="scalp",
        venue=Venue("alpha"),
        symbol="BTC",
        side=changes.pop("side", Side.BUY),
        lots=10,
        limit_ticks=100,
        time_in_force=changes.pop("tif", TimeInForce.IOC),
        reduce_only=False,
        nonce=5,
        expires_wire_ns=BOUND,
        purpose="open",
    )
    state = OrderState(prepared=prepared, status=S.UNKNOWN)
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def stated(status: OrderStatus, filled: int) -> VenueOrder:
    return VenueOrder(
        symbol="BTC",
        venue_order_id="77",
        client_order_id="7a6d" + "0" * 28,
        side=Side.BUY,
        lots=10,
        filled_lots=filled,
        status=status,
        avg_px=Decimal(100),
    )


def rule(what: OrderState, now: int = AFTER, **evidence: Any) -> tuple[OrderStatus, int, str] | None:
    ruling: Ruling | None = judge(what, Evidence(**evidence), now, BOUND, GRACE)
    return (ruling.verdict.status, ruling.verdict.filled_lots, ruling.source) if ruling else None


LATE: dict[str, Any] = {
    "found": NotFound(definitive=False),
    "asked_wire_ns": BOUND + 1,
    "fills_read_wire_ns": BOUND + 1,
}


def test_no_evidence_proves_nothing_however_late() -> None:
    assert rule(order(), now=BEFORE) is None
    assert rule(order(), now=10**18) is None


def test_fills_that_add_up_settle_it_at_once() -> None:
    assert rule(order(fill_lots=10), now=BEFORE) == (S.FILLED, 10, "fills")
    assert rule(order(fill_lots=9), now=BEFORE) is None


@pytest.mark.parametrize("status", [S.FILLED, S.EXPIRED, S.CANCELED, S.REJECTED])
def test_a_stated_end_is_the_verdict(status: OrderStatus) -> None:
    assert rule(order(), now=BEFORE, found=stated(status, 4)) == (status, 4, "lookup")


def test_a_stated_end_never_lowers_what_fills_have_shown() -> None:
    assert rule(order(fill_lots=6), now=BEFORE, found=stated(S.EXPIRED, 4)) == (S.EXPIRED, 6, "lookup")


def test_being_worked_on_is_no_end_for_an_ioc_but_resting_for_others() -> None:
    working = stated(S.ACCEPTED, 0)
    assert rule(order(), found=working, asked_wire_ns=AFTER, fills_read_wire_ns=AFTER, excess_lots=0) is None
    assert rule(order(tif=TimeInForce.GTC), found=stated(S.ACCEPTED, 0)) == (S.ACCEPTED, 0, "lookup")


def test_not_found_counts_only_when_definitive_or_late() -> None:
    assert rule(order(), now=BEFORE, found=NotFound(definitive=True)) == (S.EXPIRED, 0, "lookup")
    assert rule(order(), now=BEFORE, found=NotFound(definitive=False), excess_lots=0) is None
    assert rule(order(), now=BOUND + GRACE, **LATE, excess_lots=0) is None
    assert rule(order(), **LATE, excess_lots=0) == (S.EXPIRED, 0, "bound")


def test_each_reading_must_have_begun_after_the_bound() -> None:
    assert rule(order(), **{**LATE, "asked_wire_ns": BOUND}, excess_lots=0) is None
    assert rule(order(), **{**LATE, "fills_read_wire_ns": BOUND}, excess_lots=0) is None
    assert rule(order(), **LATE, excess_lots=None) is None


def test_a_burned_nonce_ends_it() -> None:
    assert rule(order(), now=BEFORE, burned=True) == (S.EXPIRED, 0, "burn")
    assert rule(order(), now=BEFORE, burned=False) is None


def test_the_position_has_the_last_word() -> None:
    assert rule(order(), **LATE, excess_lots=10) == (S.FILLED, 10, "position")
    assert rule(order(), **LATE, excess_lots=4) == (S.EXPIRED, 4, "position")
    assert rule(order(fill_lots=3), **LATE, excess_lots=4) == (S.EXPIRED, 7, "position")
    assert rule(order(fill_lots=3), **LATE, excess_lots=10) == (S.FILLED, 10, "position")
    assert rule(order(side=Side.SELL), **LATE, excess_lots=-10) == (S.FILLED, 10, "position")


def test_a_difference_that_is_not_this_orders_is_left_to_others() -> None:
    assert rule(order(), **LATE, excess_lots=-4) == (S.EXPIRED, 0, "bound")
    assert rule(order(), **LATE, excess_lots=50) == (S.FILLED, 10, "position")


def test_a_failing_lookup_does_not_block_the_position() -> None:
    assert rule(order(), fills_read_wire_ns=AFTER, excess_lots=10) == (S.FILLED, 10, "position")


def fill(lots: int = 10, side: Side = Side.BUY, venue_order_id: str = "", ts_ns: int = 1, symbol: str = "BTC") -> Fill:
    return Fill(
        venue=Venue("alpha"),
        symbol=symbol,
        side=side,
        lots=lots,
        px=Decimal(100),
        fee_usd=Decimal(0),
        trade_id="t1",
        venue_order_id=venue_order_id,
        client_order_id=None,
        liquidity=LiquiditySide.TAKER,
        ts_ns=ts_ns,
    )


def test_a_fill_without_a_name_belongs_to_the_one_order_it_fits() -> None:
    waiting = order()
    assert claimant([waiting], fill(), partial_fills=False) is waiting
    assert claimant([waiting], fill(4), partial_fills=True) is waiting
    assert claimant([waiting], fill(4), partial_fills=False) is None
    assert claimant([waiting], fill(11), partial_fills=True) is None
    assert claimant([order(fill_lots=7)], fill(4), partial_fills=True) is None
    assert claimant([waiting], fill(side=Side.SELL), partial_fills=False) is None
    assert claimant([waiting], fill(symbol="ETH"), partial_fills=False) is None
    assert claimant([waiting, order()], fill(), partial_fills=False) is None, "two could be it: nobody guesses"
    assert claimant([order(status=S.FILLED)], fill(), partial_fills=False) is None
    ended = order(status=S.FILLED, told_lots=10, venue_order_id="q7")
    assert claimant([ended], fill(venue_order_id="q7"), partial_fills=False) is ended, (
        "told as filled, its fill comes now"
    )
    assert claimant([ended], fill(venue_order_id="q8"), partial_fills=False) is None
    assert claimant([order(status=S.FILLED, told_lots=10)], fill(), partial_fills=False) is None
    assert claimant([waiting], fill(ts_ns=1 - 3 * 10**9), partial_fills=False) is None, "older than the order"


def test_a_fill_with_the_venues_id_goes_by_that() -> None:
    known, other = order(venue_order_id="q7"), order(venue_order_id="q8")
    assert claimant([known, other], fill(venue_order_id="q7"), partial_fills=False) is known
    assert claimant([other], fill(venue_order_id="q7"), partial_fills=False) is None
    assert claimant([known, order()], fill(venue_order_id="q7"), partial_fills=False) is known


def test_a_ruling_names_the_evidence() -> None:
    ruling = judge(order(), Evidence(found=stated(S.FILLED, 10)), BEFORE, BOUND, GRACE)
    assert ruling is not None
    assert ruling.verdict.venue_order_id == "77"
    assert msgspec.structs.asdict(ruling.verdict)["avg_px"] == Decimal(100)
