"""The transition table and what outcomes mean."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

import pytest

from core.numeric import BPS
from core.settings import ExecutionConfig
from core.types import OrderStatus, Side
from executor.orders import TRANSITIONS, may_move, verdict_of
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.pricing import ioc_limit_ticks, reach_bps
from executor.repair import Cure, CureLeg, choose
from tests.executor.rig import LONG, SHORT, instrument

S = OrderStatus


def test_the_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(OrderStatus)


@pytest.mark.parametrize(("before", "after"), list(product(OrderStatus, OrderStatus)))
def test_nothing_goes_back_and_final_ones_only_towards_more_filled(before: OrderStatus, after: OrderStatus) -> None:
    rank = {S.PREPARED: 0, S.SUBMITTED: 1, S.ACCEPTED: 2}
    if not may_move(before, after):
        return
    assert before is not after
    assert after not in (S.PREPARED, S.DENIED)
    assert before not in (S.FILLED, S.DENIED)
    if before in rank and after in rank:
        assert rank[before] < rank[after]
    if before.is_final:
        assert after in (S.FILLED, S.CANCELED, S.EXPIRED)
    if after is S.UNKNOWN:
        assert not before.is_final


def test_what_answers_mean() -> None:
    assert verdict_of(Accepted(venue_order_id="1", status=S.EXPIRED, filled_lots=3)).filled_lots == 3
    assert verdict_of(Rejected(code=RejectCode.NO_MATCH, detail="")).status is S.REJECTED
    assert verdict_of(Rejected(code=RejectCode.DUPLICATE_ID, detail="")).status is S.UNKNOWN
    assert verdict_of(Unsent(detail="")).status is S.NOT_SENT
    assert verdict_of(Unknown(detail="")).status is S.UNKNOWN


# ---- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("touch", [0.5, 3.2, 99.9, 1234.5, 100_000.5])
@pytest.mark.parametrize(("extra", "reach"), [(0.0, 0.0), (2.0, 0.0), (0.0, 40.0)])
def test_an_ioc_limit_crosses_within_its_bound_and_stands_on_the_grid(
    side: Side, touch: float, extra: float, reach: float
) -> None:
    execution = ExecutionConfig()
    contract = instrument(LONG, price_sigfigs=5, tick_size=Decimal("0.01"))
    px = contract.ticks_to_px(ioc_limit_ticks(contract, side, touch, execution, extra, reach))
    beyond_bps = side.sign * (float(px) - touch) / touch / BPS
    step_bps = float(contract.tick_at(px)) / touch / BPS
    assert beyond_bps <= max(execution.max_cross_bps + extra, reach) + 1e-6
    assert beyond_bps > max(execution.min_cross_bps + extra, reach) - step_bps - 1e-6
    assert px % contract.tick_at(px) == 0


def test_attempts_reach_further_up_to_the_bound() -> None:
    execution = ExecutionConfig()
    reaches = [reach_bps(n, execution) for n in range(40)]
    assert reaches[0] == 0.0
    assert reaches == sorted(reaches)
    assert reaches[-1] == execution.unwind_slippage_bps


# ---- repair -----------------------------------------------------------------------------------------------------------


def _leg(
    touch: float | None, ref: float, side: Side, lots: int = 10, sendable: bool = True, extra_bps: float = 0.0
) -> CureLeg:
    return CureLeg(
        instrument=instrument(SHORT),
        side=side,
        lots=lots,
        touch=touch,
        ref_px=ref,
        taker_fee=0.0004,
        extra_bps=extra_bps,
        reducing=False,
        sendable=sendable,
    )


def _choose(
    complete: CureLeg, unwind: CureLeg, may_complete: bool = True, overdue: bool = False, slippage_bps: float = 20.0
) -> Cure:
    return choose(complete, unwind, may_complete=may_complete, overdue=overdue, slippage_bps=slippage_bps)


NEAR = _leg(99_990.0, 100_000.0, Side.SELL)  # 1 bp worse than decided
FAR = _leg(99_700.0, 100_000.0, Side.SELL)  # 30 bps worse
BACK = _leg(99_950.0, 100_000.0, Side.SELL)  # unwinding costs 5 bps


def test_the_cheaper_cure_wins_within_the_bound() -> None:
    assert _choose(NEAR, BACK) is Cure.COMPLETE
    assert _choose(_leg(99_900.0, 100_000.0, Side.SELL), BACK) is Cure.UNWIND
    assert _choose(FAR, _leg(99_000.0, 100_000.0, Side.SELL)) is Cure.UNWIND  # cheaper, but beyond the bound


def test_what_a_slow_venue_is_expected_to_slip_is_part_of_the_cost() -> None:
    assert _choose(_leg(99_990.0, 100_000.0, Side.SELL, extra_bps=3.0), BACK) is Cure.COMPLETE
    assert _choose(_leg(99_990.0, 100_000.0, Side.SELL, extra_bps=5.0), BACK) is Cure.UNWIND


def test_completing_needs_permission_and_time() -> None:
    assert _choose(NEAR, BACK, may_complete=False) is Cure.UNWIND
    assert _choose(NEAR, BACK, overdue=True) is Cure.UNWIND


def test_an_impossible_cure_leaves_the_other_or_waits() -> None:
    assert _choose(NEAR, _leg(None, 100_000.0, Side.SELL)) is Cure.COMPLETE
    assert _choose(_leg(None, 1.0, Side.SELL), BACK) is Cure.UNWIND
    assert _choose(FAR, _leg(None, 100_000.0, Side.SELL)) is Cure.WAIT
    assert _choose(NEAR, _leg(99_950.0, 1e5, Side.SELL, sendable=False), may_complete=False) is Cure.WAIT


def test_dust_is_what_no_venue_takes() -> None:
    tiny = _leg(99_950.0, 100_000.0, Side.SELL, lots=0)
    assert _choose(tiny, tiny) is Cure.DUST
    assert _choose(NEAR, tiny, may_complete=False) is Cure.DUST
    assert _choose(NEAR, tiny) is Cure.COMPLETE
    assert _choose(FAR, tiny) is Cure.WAIT
    assert _choose(FAR, tiny, overdue=True) is Cure.COMPLETE  # the only way out left
