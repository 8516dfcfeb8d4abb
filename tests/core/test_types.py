"""Ticks, lots and canonical units, with values worked out by hand from docs/venues/hyperliquid.md 2."""

from __future__ import annotations

from decimal import Decimal

import pytest

from core.types import Instrument, OrderStatus, Quote, Side, Venue


def instrument(sz_decimals: int, **changes: object) -> Instrument:
    fields: dict[str, object] = {
        "venue": Venue("hyperliquid"),
        "symbol": "X",
        "venue_symbol": "X",
        "tick_size": Decimal(1).scaleb(-(6 - sz_decimals)),
        "price_sigfigs": 5,
        "lot_size": Decimal(1).scaleb(-sz_decimals),
        "min_notional_usd": Decimal(10),
    }
    return Instrument(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sz_decimals", "px", "tick"),
    [
        (5, "84143", "1"),
        (4, "2124.6", "0.1"),
        (2, "86.14", "0.001"),
        (2, "62.673", "0.001"),
        (3, "4561.9", "0.1"),
        (0, "0.003633", "0.000001"),
    ],
)
def test_the_tick_moves_with_the_price(sz_decimals: int, px: str, tick: str) -> None:
    assert instrument(sz_decimals).tick_at(Decimal(px)) == Decimal(tick)


def test_limits_round_to_the_safe_side_on_the_grid() -> None:
    btc = instrument(5)
    assert btc.ticks_to_px(btc.px_to_ticks(Decimal("84143.7"), Side.BUY)) == 84143
    assert btc.ticks_to_px(btc.px_to_ticks(Decimal("84143.2"), Side.SELL)) == 84144
    assert btc.ticks_to_px(btc.px_to_ticks(Decimal("84143"), Side.SELL)) == 84143


def test_sizes_round_down_for_both_signs() -> None:
    pepe = instrument(0, multiplier=1000)
    assert pepe.canonical_lot == 1000
    assert pepe.qty_to_lots(Decimal("2999.9")) == 2
    assert pepe.qty_to_lots(Decimal("-2999.9")) == -2
    assert pepe.lots_to_qty(2) == 2000


def test_fewest_lots_satisfy_size_and_notional() -> None:
    btc = instrument(5)
    assert btc.min_lots(Decimal(84143)) == 12  # 0.00012 x 84143 = 10.097; 0.00011 would be 9.26
    assert instrument(5, min_qty=Decimal("0.001")).min_lots(Decimal(84143)) == 100


@pytest.mark.parametrize(
    ("bid", "bid_qty", "ask", "ask_qty", "sound"),
    [
        (99.0, 1.0, 100.0, 1.0, True),
        (100.0, 1.0, 100.0, 1.0, False),  # locked
        (101.0, 1.0, 100.0, 1.0, False),  # crossed
        (0.0, 0.0, 100.0, 1.0, False),  # one-sided
        (99.0, 0.0, 100.0, 1.0, False),  # no size
    ],
)
def test_only_two_sided_uncrossed_quotes_are_sound(
    bid: float, bid_qty: float, ask: float, ask_qty: float, sound: bool
) -> None:
    assert Quote(bid, bid_qty, ask, ask_qty, 0, 0, 1, 1, 0).is_sound is sound


def test_unknown_is_not_final() -> None:
    """An order whose outcome is unknown may still fill: it stays open until the venue says."""
    assert not OrderStatus.UNKNOWN.is_final
    assert OrderStatus.REJECTED.is_final
