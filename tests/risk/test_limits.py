"""Every limit seen to fire and seen not to fire: one context that passes, and for each reason the nearest two neighbours."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S
from core.messages import DenyReason
from core.settings import ExecutionConfig, RiskConfig
from core.types import Busy, Down, Instrument, Quote, QuoteFlag, Side, Stale, TradingState, Venue
from risk.context import Allowed, CloseContext, Denied, LegContext, OpenContext, OrderContext, Verdict
from risk.limits import check_close, check_open, check_order

NOW = 100 * NS_PER_S
RISK = RiskConfig(
    max_order_usd=2000.0,
    max_symbol_usd=2000.0,
    max_strategy_usd={"scalp": 4000.0, "manual": 2000.0},
    max_total_usd=6000.0,
    max_symbol_alloc=0.2,
    max_total_alloc=1.0,
    max_open_pairs=6,
    price_collar_bps=50.0,
    blocklist=("DOGE",),
)
EXECUTION = ExecutionConfig()


def instrument(venue: str, **changes: Any) -> Instrument:
    base = Instrument(
        venue=Venue(venue),
        symbol="BTC",
        venue_symbol="BTC",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        min_notional_usd=Decimal(10),
    )
    return msgspec.structs.replace(base, **changes)


def quote(bid: float, ask: float, flags: int = QuoteFlag.EXECUTABLE, qty: float = 1.0) -> Quote:
    return Quote(bid, qty, ask, qty, 0, NOW, 7, flags, NS_PER_MS)


def leg(venue: str, side: Side, limit: str, book: Any, **changes: Any) -> LegContext:
    base = LegContext(
        instrument=instrument(venue),
        side=side,
        limit_px=Decimal(limit),
        quote=book,
        taker_fee=0.0004,
        leverage_read=3,
        leverage_wanted=3,
        free_margin_usd=Decimal(10_000),
        venue_notional_usd=Decimal(0),
        venue_max_usd=8000.0,
        blind_ns=0,
        clock_offset_ns=0,
        frozen_reason="",
        foreign=False,
        move_to_liq_pct=None,
        margin_used_ratio=0.0,
        may_send=True,
        entry_ready=True,
    )
    return msgspec.structs.replace(base, **changes)


def opening(**changes: Any) -> OpenContext:
    """Buys at 10001, sells at 10099: an edge of 98 bps that pays 16 bps of fees and 2 of exit spreads."""
    base = OpenContext(
        now_mono_ns=NOW,
        valid_until_mono_ns=NOW + NS_PER_S,
        decided_mono_ns=NOW - 100 * NS_PER_MS,
        ttl_ns=250 * NS_PER_MS,
        ready=True,
        trading_state=TradingState.ACTIVE,
        live_blocked=False,
        strategy="scalp",
        symbol="BTC",
        symbol_owner=None,
        last_attempt_mono_ns=0,
        unhedged=False,
        open_pairs=0,
        qty=Decimal("0.05"),
        edge_required=True,
        offset_bps=0.0,
        long=leg("alpha", Side.BUY, "10001", quote(9999.0, 10000.0)),
        short=leg("beta", Side.SELL, "10099", quote(10100.0, 10101.0)),
        symbol_notional_usd=Decimal(0),
        strategy_notional_usd=Decimal(0),
        total_notional_usd=Decimal(0),
        total_equity_usd=Decimal(20_000),
    )
    return msgspec.structs.replace(base, **changes)


def long_leg(**changes: Any) -> OpenContext:
    ctx = opening()
    return msgspec.structs.replace(ctx, long=msgspec.structs.replace(ctx.long, **changes))


def short_leg(**changes: Any) -> OpenContext:
    ctx = opening()
    return msgspec.structs.replace(ctx, short=msgspec.structs.replace(ctx.short, **changes))


def run(ctx: OpenContext, **risk: Any) -> Verdict:
    return check_open(ctx, msgspec.structs.replace(RISK, **risk), EXECUTION)


def allowed(verdict: Verdict) -> Allowed:
    assert isinstance(verdict, Allowed), verdict
    return verdict


def denied(verdict: Verdict | None) -> DenyReason:
    assert isinstance(verdict, Denied), verdict
    assert all(isinstance(value, int | float) for value in verdict.numbers.values())
    return verdict.reason


def test_the_plain_context_passes_whole() -> None:
    verdict = allowed(run(opening()))
    assert verdict.qty == Decimal("0.050")
    assert verdict.bound_by == "asked"


FIRES: list[tuple[str, OpenContext, OpenContext, DenyReason]] = [
    ("not ready", opening(ready=False), opening(), DenyReason.NOT_READY),
    ("live", opening(live_blocked=True), opening(), DenyReason.LIVE_BLOCKED),
    ("expired", opening(valid_until_mono_ns=NOW - 1), opening(valid_until_mono_ns=NOW), DenyReason.EXPIRED),
    (
        "ttl",
        opening(decided_mono_ns=NOW - 251 * NS_PER_MS),
        opening(decided_mono_ns=NOW - 250 * NS_PER_MS),
        DenyReason.DECISION_TOO_OLD,
    ),
    ("from the future", opening(decided_mono_ns=NOW + 1), opening(decided_mono_ns=NOW), DenyReason.DECISION_TOO_OLD),
    ("reducing", opening(trading_state=TradingState.REDUCING), opening(), DenyReason.TRADING_STATE),
    ("halted", opening(trading_state=TradingState.HALTED), opening(), DenyReason.TRADING_STATE),
    ("blocklist", opening(symbol="DOGE"), opening(symbol="BTC"), DenyReason.BLOCKLISTED),
    ("unhedged", opening(unhedged=True), opening(), DenyReason.UNHEDGED),
    ("owned", opening(symbol_owner="carry"), opening(), DenyReason.SYMBOL_OWNED),
    ("pairs", opening(open_pairs=6), opening(open_pairs=5), DenyReason.LIMIT_TOTAL),
    (
        "cooldown",
        opening(last_attempt_mono_ns=NOW - 10 * NS_PER_S + 1),
        opening(last_attempt_mono_ns=NOW - 10 * NS_PER_S),
        DenyReason.COOLDOWN,
    ),
    ("foreign", long_leg(foreign=True), long_leg(), DenyReason.FOREIGN_POSITION),
    ("frozen", short_leg(frozen_reason="order unknown"), short_leg(), DenyReason.INSTRUMENT_FROZEN),
    ("delisted", long_leg(instrument=instrument("alpha", delisted=True)), opening(), DenyReason.INSTRUMENT_UNKNOWN),
    (
        "cannot short",
        short_leg(instrument=instrument("beta", can_short=False)),
        long_leg(instrument=instrument("alpha", can_short=False)),
        DenyReason.INSTRUMENT_UNKNOWN,
    ),
    ("no connection", long_leg(entry_ready=False), long_leg(), DenyReason.VENUE_BLIND),
    ("never read", long_leg(free_margin_usd=None), long_leg(), DenyReason.VENUE_BLIND),
    ("blind", short_leg(blind_ns=30 * NS_PER_S + 1), short_leg(blind_ns=30 * NS_PER_S), DenyReason.VENUE_BLIND),
    (
        "skew",
        long_leg(clock_offset_ns=-1001 * NS_PER_MS),
        long_leg(clock_offset_ns=-1000 * NS_PER_MS),
        DenyReason.CLOCK_SKEW,
    ),
    ("liquidation near", long_leg(move_to_liq_pct=10.0), long_leg(move_to_liq_pct=10.01), DenyReason.MARGIN_GUARD),
    ("margin used", short_leg(margin_used_ratio=0.8), short_leg(margin_used_ratio=0.79), DenyReason.MARGIN_GUARD),
    ("leverage unread", long_leg(leverage_read=None), long_leg(), DenyReason.LEVERAGE_UNVERIFIED),
    ("leverage other", short_leg(leverage_read=5), short_leg(leverage_read=3), DenyReason.LEVERAGE_UNVERIFIED),
    ("budget", short_leg(may_send=False), short_leg(), DenyReason.RATE_BUDGET),
    ("stale", long_leg(quote=Stale(10**9)), long_leg(), DenyReason.QUOTE_STALE),
    ("down", long_leg(quote=Down("no writer")), long_leg(), DenyReason.QUOTE_UNUSABLE),
    ("busy", short_leg(quote=Busy(64)), short_leg(), DenyReason.QUOTE_UNUSABLE),
    ("crossed", long_leg(quote=quote(10000.5, 10000.0)), long_leg(), DenyReason.QUOTE_UNUSABLE),
    ("one-sided", long_leg(quote=quote(9999.0, 10000.0, qty=0.0)), long_leg(), DenyReason.QUOTE_UNUSABLE),
    (
        "indicative",
        long_leg(quote=quote(9999.0, 10000.0, QuoteFlag.INDICATIVE)),
        long_leg(),
        DenyReason.QUOTE_UNUSABLE,
    ),
    (
        "delisted flag",
        long_leg(quote=quote(9999.0, 10000.0, QuoteFlag.EXECUTABLE | QuoteFlag.DELISTED)),
        long_leg(),
        DenyReason.QUOTE_UNUSABLE,
    ),
    (
        "off grid",
        long_leg(limit_px=Decimal("10001.05")),
        long_leg(limit_px=Decimal("10001.1")),
        DenyReason.PRICE_OFF_GRID,
    ),
    ("zero price", long_leg(limit_px=Decimal(0)), long_leg(), DenyReason.PRICE_OFF_GRID),
    ("collar buy", long_leg(limit_px=Decimal("10050.1")), long_leg(limit_px=Decimal(10050)), DenyReason.PRICE_COLLAR),
    (
        "collar sell",
        short_leg(limit_px=Decimal(10049)),
        short_leg(limit_px=Decimal("10049.5")),
        DenyReason.PRICE_COLLAR,
    ),
    (
        "multiplier",
        short_leg(quote=quote(10_100_000.0, 10_101_000.0), limit_px=Decimal(10_099_000)),
        opening(),
        DenyReason.MULTIPLIER_UNPROVEN,
    ),
    ("ask moved away", long_leg(limit_px=Decimal("9999.9")), long_leg(limit_px=Decimal(10000)), DenyReason.EDGE_GONE),
    (
        "bid moved away",
        short_leg(limit_px=Decimal("10100.1")),
        short_leg(limit_px=Decimal(10100)),
        DenyReason.EDGE_GONE,
    ),
    ("edge gone", opening(offset_bps=81.0), opening(offset_bps=79.0), DenyReason.EDGE_GONE),
    (
        "symbol",
        opening(symbol_notional_usd=Decimal(1990)),
        opening(symbol_notional_usd=Decimal(1900)),
        DenyReason.LIMIT_SYMBOL,
    ),
    (
        "strategy",
        opening(strategy_notional_usd=Decimal(3990)),
        opening(strategy_notional_usd=Decimal(3900)),
        DenyReason.LIMIT_STRATEGY,
    ),
    (
        "total",
        opening(total_notional_usd=Decimal(5990)),
        opening(total_notional_usd=Decimal(5900)),
        DenyReason.LIMIT_TOTAL,
    ),
    (
        "venue",
        long_leg(venue_notional_usd=Decimal(7990)),
        long_leg(venue_notional_usd=Decimal(7900)),
        DenyReason.LIMIT_VENUE,
    ),
    (
        "venue of the short leg",
        short_leg(venue_notional_usd=Decimal(7990)),
        short_leg(venue_notional_usd=Decimal(7900)),
        DenyReason.LIMIT_VENUE,
    ),
    ("capacity", long_leg(free_margin_usd=Decimal(5)), long_leg(free_margin_usd=Decimal(50)), DenyReason.CAPACITY),
    (
        "symbol allocation",
        opening(total_equity_usd=Decimal(50)),
        opening(total_equity_usd=Decimal(400)),
        DenyReason.LIMIT_SYMBOL,
    ),
    (
        "total allocation",
        opening(total_equity_usd=Decimal(5000), total_notional_usd=Decimal(4990)),
        opening(total_equity_usd=Decimal(5000), total_notional_usd=Decimal(4900)),
        DenyReason.LIMIT_TOTAL,
    ),
    ("asked too little", opening(qty=Decimal("0.0019")), opening(qty=Decimal("0.004")), DenyReason.BELOW_MINIMUM),
]


@pytest.mark.parametrize(("name", "fires", "passes", "reason"), FIRES, ids=[row[0] for row in FIRES])
def test_each_limit_fires_and_its_neighbour_does_not(
    name: str, fires: OpenContext, passes: OpenContext, reason: DenyReason
) -> None:
    assert denied(run(fires)) is reason
    allowed(run(passes))


def test_each_cap_shrinks_the_pair_and_says_by_what() -> None:
    caps = {
        "max_order_usd": run(opening(), max_order_usd=101.0),
        "max_symbol_usd": run(opening(symbol_notional_usd=Decimal(1899))),
        "max_symbol_alloc": run(opening(total_equity_usd=Decimal(505))),
        "max_strategy_usd": run(opening(strategy_notional_usd=Decimal(3899))),
        "max_total_usd": run(opening(total_notional_usd=Decimal(5899))),
        "max_total_alloc": run(opening(total_notional_usd=Decimal(4899), total_equity_usd=Decimal(5000))),
        "max_notional_usd": run(long_leg(venue_notional_usd=Decimal(7899))),
        "capacity": run(short_leg(free_margin_usd=Decimal("34.2"))),
    }
    for name, verdict in caps.items():
        result = allowed(verdict)
        assert result.bound_by == name
        assert result.qty == Decimal("0.010"), name


def test_usd_bounds_are_measured_at_the_dearer_leg() -> None:
    assert allowed(run(opening(), max_order_usd=100.5)).qty == Decimal("0.009")


def test_a_strategy_without_a_bound_of_its_own_gets_nothing() -> None:
    assert denied(run(opening(strategy="stranger"))) is DenyReason.LIMIT_STRATEGY


def test_the_size_is_a_multiple_of_both_lots() -> None:
    ctx = opening(qty=Decimal("0.0507"))
    ctx = msgspec.structs.replace(
        ctx, long=msgspec.structs.replace(ctx.long, instrument=instrument("alpha", lot_size=Decimal("0.004")))
    )
    assert allowed(run(ctx)).qty == Decimal("0.048")


def test_what_must_remain_after_all_costs_is_configured() -> None:
    beside = opening(offset_bps=79.0)  # 98 - 79 - 18: one basis point remains
    allowed(run(beside, min_edge_bps=0.5))
    assert denied(run(beside, min_edge_bps=3.0)) is DenyReason.EDGE_GONE
    losing = opening(offset_bps=85.0)
    assert denied(run(losing)) is DenyReason.EDGE_GONE
    assert denied(run(losing, min_edge_bps=-3.0)) is DenyReason.EDGE_GONE
    allowed(run(losing, min_edge_bps=-20.0))


def test_a_pair_by_hand_needs_no_edge_but_its_limits_must_be_in_reach() -> None:
    by_hand = {"strategy": "manual", "edge_required": False, "offset_bps": 500.0}
    allowed(run(opening(**by_hand)))
    out_of_reach = msgspec.structs.replace(long_leg(limit_px=Decimal("9999.9")), **by_hand)
    assert denied(run(out_of_reach)) is DenyReason.EDGE_GONE


def test_symbol_may_be_shared_when_configured() -> None:
    allowed(run(opening(symbol_owner="carry"), symbol_exclusive=False))


def ordering(**changes: Any) -> OrderContext:
    base = OrderContext(
        now_mono_ns=NOW,
        valid_until_mono_ns=NOW + NS_PER_S,
        ready=True,
        trading_state=TradingState.ACTIVE,
        live_blocked=False,
        strategy="manual",
        symbol="BTC",
        qty=Decimal("0.05"),
        reduce_only=False,
        leg=leg("alpha", Side.BUY, "10001", quote(9999.0, 10000.0)),
        symbol_notional_usd=Decimal(0),
        strategy_notional_usd=Decimal(0),
        total_notional_usd=Decimal(0),
        total_equity_usd=Decimal(20_000),
    )
    return msgspec.structs.replace(base, **changes)


def order(ctx: OrderContext) -> Verdict:
    return check_order(ctx, RISK, EXECUTION)


def test_an_order_by_hand_is_bound_like_a_pair() -> None:
    assert allowed(order(ordering())).qty == Decimal("0.050")
    assert allowed(order(ordering(qty=Decimal(1)))).bound_by == "max_order_usd"
    assert denied(order(ordering(trading_state=TradingState.REDUCING))) is DenyReason.TRADING_STATE
    assert denied(order(ordering(strategy_notional_usd=Decimal(1999)))) is DenyReason.LIMIT_STRATEGY
    assert denied(order(ordering(qty=Decimal("0.0009")))) is DenyReason.BELOW_MINIMUM
    stale = ordering(leg=leg("alpha", Side.BUY, "10001", Stale(1)))
    assert denied(order(stale)) is DenyReason.QUOTE_STALE


def test_reducing_by_hand_works_when_opening_does_not() -> None:
    hard = {"blind_ns": 10**12, "leverage_read": None, "free_margin_usd": None, "move_to_liq_pct": 1.0}
    ctx = ordering(
        reduce_only=True,
        trading_state=TradingState.HALTED,
        symbol_notional_usd=Decimal(10**6),
        leg=leg("alpha", Side.SELL, "9999", Stale(1), **hard),
    )
    assert allowed(order(ctx)).qty == Decimal("0.050")
    frozen = msgspec.structs.replace(ctx, leg=leg("alpha", Side.SELL, "9999", Stale(1), frozen_reason="unknown order"))
    assert denied(order(frozen)) is DenyReason.INSTRUMENT_FROZEN
    far = msgspec.structs.replace(ctx, leg=leg("alpha", Side.SELL, "9000", quote(9999.0, 10000.0)))
    assert denied(order(far)) is DenyReason.PRICE_COLLAR
    assert denied(order(msgspec.structs.replace(ctx, qty=Decimal("0.0004")))) is DenyReason.BELOW_MINIMUM


def test_a_close_is_denied_only_when_it_means_nothing() -> None:
    base = CloseContext(
        now_mono_ns=NOW, valid_until_mono_ns=NOW, ready=True, live_blocked=False, known=True, busy=False
    )
    assert check_close(base) is None
    for change, reason in (
        ({"ready": False}, DenyReason.NOT_READY),
        ({"valid_until_mono_ns": NOW - 1}, DenyReason.EXPIRED),
        ({"known": False}, DenyReason.NO_SUCH_PAIR),
        ({"busy": True}, DenyReason.PAIR_BUSY),
    ):
        assert denied(check_close(msgspec.structs.replace(base, **change))) is reason
