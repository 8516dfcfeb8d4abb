"""A pair opens only if it could be closed again: depth on the way out, at the touch or as measured; spot and quoted legs."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.messages import DenyReason
from core.types import Liquidity, Quote
from risk.context import OpenContext
from tests.risk.test_limits import NOW, allowed, denied, long_leg, opening, run, short_leg


def thin(ctx_leg: str, qty: float, **changes: Any) -> OpenContext:
    """The exit side of one leg shows `qty` at its touch."""
    ctx = opening()
    leg = getattr(ctx, ctx_leg)
    quote = leg.quote
    assert isinstance(quote, Quote)
    out = {"bid_qty": qty} if ctx_leg == "long" else {"ask_qty": qty}
    make = long_leg if ctx_leg == "long" else short_leg
    return make(quote=quote._replace(**out), **changes)


def depth(buy_px: float, sell_px: float, age_s: float = 1.0) -> Liquidity:
    return Liquidity(1000.0, buy_px, sell_px, NOW - int(age_s * NS_PER_S))


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_book_that_shows_the_size_on_the_way_out_is_enough(side: str) -> None:
    allowed(run(thin(side, 0.05)))
    allowed(run(thin(side, 0.05, depth=depth(math.nan, math.nan))))


@pytest.mark.parametrize("side", ["long", "short"])
def test_an_unmeasured_book_must_show_the_smallest_order(side: str) -> None:
    allowed(run(thin(side, 0.002)))
    assert denied(run(thin(side, 0.0002))) is DenyReason.THIN_BOOK


@pytest.mark.parametrize(
    ("side", "measured", "passes"),
    [
        ("long", depth(10_050.0, 9_950.0), True),
        ("long", depth(10_050.0, 9_890.0), False),
        ("long", depth(10_050.0, math.nan), False),
        ("long", depth(math.nan, 9_950.0), True),
        ("short", depth(10_150.0, 10_050.0), True),
        ("short", depth(10_250.0, 10_050.0), False),
        ("short", depth(math.nan, 10_050.0), False),
    ],
)
def test_a_measured_book_must_take_the_size_within_the_bound(side: str, measured: Liquidity, passes: bool) -> None:
    verdict = run(thin(side, 0.01, depth=measured))
    if passes:
        allowed(verdict)
    else:
        assert denied(verdict) is DenyReason.THIN_BOOK


def test_an_old_measurement_proves_nothing() -> None:
    allowed(run(thin("long", 0.01, depth=depth(math.nan, math.nan, age_s=61.0))))
    assert denied(run(thin("long", 0.01, depth=depth(math.nan, math.nan, age_s=59.0)))) is DenyReason.THIN_BOOK


def test_the_refusal_says_the_figures() -> None:
    verdict = run(thin("long", 0.01, depth=depth(10_050.0, 9_890.0)))
    assert denied(verdict) is DenyReason.THIN_BOOK
    assert verdict.numbers["at_touch_qty"] == 0.01
    assert verdict.numbers["away_bps"] == pytest.approx((9999.0 - 9890.0) / 9999.0 * 1e4)


def test_more_than_the_venues_largest_order_is_capped() -> None:
    ctx = opening()
    capped = msgspec.structs.replace(ctx.long.instrument, max_qty=ctx.qty / 2)
    verdict = allowed(run(long_leg(instrument=capped)))
    assert 0 < verdict.qty <= ctx.qty / 2
    assert verdict.bound_by == "max_qty"


def test_a_wallet_leg_needs_no_leverage_and_pays_in_full() -> None:
    allowed(run(long_leg(leverage_read=None, wallet=True)))
    assert denied(run(long_leg(leverage_read=None))) is DenyReason.LEVERAGE_UNVERIFIED
    margin = opening().long.free_margin_usd
    assert margin is not None
    ctx = long_leg(leverage_read=None, wallet=True, free_margin_usd=margin / margin * 300)
    verdict = allowed(run(ctx))
    assert verdict.bound_by == "capacity"
    assert verdict.qty * ctx.long.limit_px < 300


def test_a_leg_that_is_quoted_only_now_is_judged_by_its_limit() -> None:
    from_book = short_leg(quotes_first=True, quote=opening().short.quote)
    allowed(run(from_book))
    dear = msgspec.structs.replace(
        from_book, long=msgspec.structs.replace(from_book.long, limit_px=from_book.short.limit_px)
    )
    assert denied(run(dear)) in (DenyReason.EDGE_GONE, DenyReason.PRICE_COLLAR)


def test_a_resting_leg_need_not_reach_the_other_side() -> None:
    ctx = long_leg(limit_px=opening().long.limit_px - 5)
    assert denied(run(ctx)) is DenyReason.EDGE_GONE
    allowed(run(msgspec.structs.replace(ctx, long=msgspec.structs.replace(ctx.long, rests=True))))
