"""Distances, margin actions and exposure sums, on figures worked out by hand."""

from decimal import Decimal

import pytest

from core.settings import RiskConfig
from core.types import Position, Venue
from risk.exposure import Holding, exposure_of, hedge_quality, unhedged_qty
from risk.margin import (
    MarginAction,
    account_action,
    leg_action,
    leg_loss_pct,
    move_to_liq_pct,
    position_move_to_liq_pct,
)

RISK = RiskConfig(
    max_order_usd=1.0,
    max_symbol_usd=1.0,
    max_strategy_usd={},
    max_total_usd=1.0,
    max_symbol_alloc=0.2,
    max_total_alloc=1.0,
    max_open_pairs=1,
    price_collar_bps=50.0,
)
D = Decimal


def test_move_to_liq_is_signed_for_both_sides() -> None:
    assert move_to_liq_pct(D(100), D(80), 5) == pytest.approx(20.0)
    assert move_to_liq_pct(D(100), D(120), -5) == pytest.approx(20.0)
    assert move_to_liq_pct(D(100), D(103), 5) == pytest.approx(-3.0)


def test_an_unstated_liquidation_price_is_unknown_not_zero() -> None:
    assert move_to_liq_pct(D(100), None, 5) is None
    assert move_to_liq_pct(D(100), D(0), 5) is None
    assert move_to_liq_pct(D(0), D(80), 5) is None
    assert move_to_liq_pct(D(100), D(80), 0) is None
    position = Position(
        venue=Venue("alpha"), symbol="BTC", lots=-1, avg_entry_px=D(90), mark_px=D(100), liquidation_px=D(107)
    )
    assert position_move_to_liq_pct(position) == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("move", "action"),
    [
        (None, MarginAction.NONE),
        (15.01, MarginAction.NONE),
        (15.0, MarginAction.WARN),
        (10.01, MarginAction.WARN),
        (10.0, MarginAction.STOP_OPENING),
        (7.01, MarginAction.STOP_OPENING),
        (7.0, MarginAction.REDUCE),
        (4.01, MarginAction.REDUCE),
        (4.0, MarginAction.CLOSE),
        (-1.0, MarginAction.CLOSE),
    ],
)
def test_leg_action_at_each_edge(move: float | None, action: MarginAction) -> None:
    assert leg_action(move, RISK) is action


def test_account_action_at_each_edge() -> None:
    assert account_action(0.39, RISK) is MarginAction.NONE
    assert account_action(0.40, RISK) is MarginAction.WARN
    assert account_action(0.79, RISK) is MarginAction.WARN
    assert account_action(0.80, RISK) is MarginAction.CLOSE


def test_leg_loss_is_of_the_entry_notional() -> None:
    assert leg_loss_pct(D(100), D(75), 3) == pytest.approx(25.0)
    assert leg_loss_pct(D(100), D(75), -3) == pytest.approx(-25.0)
    assert leg_loss_pct(D(0), D(75), 3) is None
    assert leg_loss_pct(D(100), D(0), 3) is None
    assert leg_loss_pct(D(100), D(75), 0) is None


def test_exposure_counts_a_pair_once_and_on_both_venues() -> None:
    a, b = Venue("alpha"), Venue("beta")
    exposure = exposure_of(
        [
            Holding(strategy="scalp", symbol="BTC", venues=(a, b), notional_usd=D(100)),
            Holding(strategy="scalp", symbol="ETH", venues=(a, b), notional_usd=D(50)),
            Holding(strategy="manual", symbol="BTC", venues=(a,), notional_usd=D(-7), is_pair=False),
            Holding(strategy="", symbol="SOL", venues=(b,), notional_usd=D(9), is_pair=False),
        ]
    )
    assert exposure.by_symbol == {"BTC": D(107), "ETH": D(50), "SOL": D(9)}
    assert exposure.by_strategy == {"scalp": D(150), "manual": D(7)}
    assert exposure.by_venue == {a: D(157), b: D(159)}
    assert exposure.total_usd == D(166)
    assert exposure.open_pairs == 2


def test_hedge_quality_sees_a_naked_leg() -> None:
    """The classic defect takes the difference of magnitudes of signed legs and is 1 for ever; here a lone leg is 0."""
    assert hedge_quality(D(5), D(-5)) == 1.0
    assert hedge_quality(D(5), D(0)) == 0.0
    assert hedge_quality(D(0), D(-5)) == 0.0
    assert hedge_quality(D(5), D(-4)) == pytest.approx(0.8)
    assert hedge_quality(D(5), D(5)) == -1.0
    assert hedge_quality(D(0), D(0)) == 1.0
    assert unhedged_qty(D(5), D(-4)) == D(1)
