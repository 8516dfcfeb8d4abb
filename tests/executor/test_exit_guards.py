"""Each exit guard seen to fire, and not to fire: before confirmation, on unusable quotes, with a living owner."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_S
from core.messages import ExitGuard
from core.settings import ExecutionConfig, RiskConfig
from core.types import Down, Quote, QuoteFlag, Stale, Venue
from executor.exit_guards import REPEAT_NS, ExitGuards, Fired, GuardedLeg, GuardedPair, GuardKind
from risk.margin import MarginAction

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
SECOND = NS_PER_S
SILENT = 11 * NS_PER_S


def quote(mid: float) -> Quote:
    return Quote(mid - 0.5, 1.0, mid + 0.5, 1.0, 0, 0, 1, QuoteFlag.EXECUTABLE, 0)


def pair(**changes: Any) -> GuardedPair:
    """Long at 10000, short at 10040 (a basis of 40 bps), quiet so far, owner silent for 11 s."""
    long = GuardedLeg(
        venue=Venue("alpha"),
        quote=quote(10000.0),
        entry_px=Decimal(10000),
        mark_px=Decimal(10000),
        lots=5,
        move_to_liq_pct=30.0,
        margin_used_ratio=0.1,
    )
    short = msgspec.structs.replace(
        long, venue=Venue("beta"), quote=quote(10040.0), entry_px=Decimal(10040), mark_px=Decimal(10040), lots=-5
    )
    base = GuardedPair(
        pair_id="p1-1",
        strategy="scalp",
        guard=ExitGuard(stop_basis_bps=100.0, stop_leg_pct=25.0, max_hold_s=600.0),
        entry_basis_bps=39.9,
        opened_calendar_ns=0,
        owner_silent_ns=SILENT,
        long=long,
        short=short,
    )
    legs = {name: changes.pop(name) for name in ("long", "short") if name in changes}
    base = msgspec.structs.replace(base, **changes)
    for name, change in legs.items():
        base = msgspec.structs.replace(base, **{name: msgspec.structs.replace(getattr(base, name), **change)})
    return base


def twice(first: GuardedPair, second: GuardedPair | None = None, calendar_ns: int = 0) -> Fired | None:
    """Two evaluations one second apart; the first must never fire."""
    guards = ExitGuards(RISK, ExecutionConfig())
    fired, _ = guards.evaluate([first], 100 * SECOND, calendar_ns)
    assert fired == []
    fired, _ = guards.evaluate([second or first], 101 * SECOND, calendar_ns)
    return fired[0] if fired else None


def test_a_leg_that_is_quoted_before_it_is_traded_runs_out_of_time_all_the_same() -> None:
    """Its book is never executable, often minutes old; its holding time needs no price."""
    for quote_now in (Stale(60 * SECOND), Quote(10039.5, 1.0, 10040.5, 1.0, 0, 0, 1, QuoteFlag.INDICATIVE, 0)):
        held = pair(short={"quote": quote_now, "quotes_first": True})
        fired = twice(held, calendar_ns=601 * SECOND)
        assert fired is not None
        assert fired.kind is GuardKind.MAX_HOLD
        assert twice(held, calendar_ns=599 * SECOND) is None
        with_a_book = pair(short={"quote": quote_now})
        assert twice(with_a_book, calendar_ns=601 * SECOND) is None


def test_of_two_guards_that_hold_the_first_in_rank_fires_and_a_halved_pair_may_still_be_stopped() -> None:
    guards = ExitGuards(RISK, ExecutionConfig())
    both = pair(short={"move_to_liq_pct": 6.0, "quote": quote(10145.0)})
    told = [[each.kind for each in guards.evaluate([both], s * SECOND, 0)[0]] for s in range(100, 104)]
    assert told == [[], [GuardKind.MARGIN_REDUCE], [], [GuardKind.STOP_BASIS]]


def test_a_pair_that_was_halved_is_still_closed_when_its_time_is_over() -> None:
    guards = ExitGuards(RISK, ExecutionConfig())
    near = pair(long={"move_to_liq_pct": 6.0})
    for now_s in (100, 101):
        fired, _ = guards.evaluate([near], now_s * SECOND, 0)
    assert [each.kind for each in fired] == [GuardKind.MARGIN_REDUCE]
    for now_s in (102, 103):
        fired, _ = guards.evaluate([near], now_s * SECOND, 601 * SECOND)
    assert [each.kind for each in fired] == [GuardKind.MAX_HOLD]


WIDE = {"short": {"quote": quote(10145.0)}}  # basis 144 bps: 104 against the entry
NARROWER = {"short": {"quote": quote(10138.0)}}  # basis 137 bps: 97 against the entry
LOSS = {"long": {"mark_px": Decimal(7500)}}
NO_LOSS = {"long": {"mark_px": Decimal(7501)}}


def test_stop_basis() -> None:
    fired = twice(pair(**WIDE))
    assert fired is not None
    assert fired.kind is GuardKind.STOP_BASIS
    assert fired.numbers["basis_pnl_bps"] == pytest.approx(-104, abs=1)
    assert twice(pair(**NARROWER)) is None


def test_stop_leg_looks_at_the_worst_leg_on_the_venues_mark() -> None:
    fired = twice(pair(**LOSS))
    assert fired is not None
    assert fired.kind is GuardKind.STOP_LEG
    assert twice(pair(**NO_LOSS)) is None
    fired = twice(pair(short={"mark_px": Decimal(12600)}))
    assert fired is not None
    assert fired.kind is GuardKind.STOP_LEG


def test_stop_leg_with_an_unknown_mark_does_not_fire() -> None:
    assert twice(pair(long={"mark_px": Decimal(0)})) is None


def test_max_hold_runs_on_the_calendar() -> None:
    fired = twice(pair(), calendar_ns=600 * SECOND)
    assert fired is not None
    assert fired.kind is GuardKind.MAX_HOLD
    assert twice(pair(), calendar_ns=600 * SECOND - 1) is None


def test_a_bound_of_zero_is_not_watched() -> None:
    off = ExitGuard(stop_basis_bps=0.0, stop_leg_pct=0.0, max_hold_s=0.0)
    assert twice(pair(guard=off, **WIDE, **LOSS), calendar_ns=10**18) is None


def test_a_living_owner_decides_for_himself() -> None:
    assert twice(pair(owner_silent_ns=10 * SECOND, **WIDE), calendar_ns=10**18) is None
    fired = twice(pair(owner_silent_ns=10 * SECOND + 1, **WIDE))
    assert fired is not None


def test_pairs_by_hand_are_always_watched() -> None:
    fired = twice(pair(strategy="manual", owner_silent_ns=0, **WIDE))
    assert fired is not None


def test_one_evaluation_in_between_that_does_not_hold_starts_over() -> None:
    guards = ExitGuards(RISK, ExecutionConfig())
    calm, wide = pair(), pair(**WIDE)
    turns = [(wide, 0), (calm, 500), (wide, 1000), (wide, 1999), (wide, 2000)]
    fired = [len(guards.evaluate([p], 10**12 + ms * 10**6, 0)[0]) for p, ms in turns]
    assert fired == [0, 0, 0, 0, 1]


def test_unusable_quotes_neither_count_nor_reset() -> None:
    for blind in (Stale(10**9), Down("x"), quote(10000.0)._replace(flags=int(QuoteFlag.INDICATIVE))):
        dark = pair(long={"quote": blind}, **WIDE)
        assert twice(dark, calendar_ns=10**18) is None
        guards = ExitGuards(RISK, ExecutionConfig())
        turns = [(pair(**WIDE), 0), (dark, 600), (pair(**WIDE), 1200)]
        fired = [len(guards.evaluate([p], 10**12 + ms * 10**6, 0)[0]) for p, ms in turns]
        assert fired == [0, 0, 1]


def test_margin_guard_needs_neither_quotes_nor_a_silent_owner() -> None:
    dark = {"quote": Down("feed dead")}
    fired = twice(pair(owner_silent_ns=0, long={"move_to_liq_pct": 4.0, **dark}, short=dark))
    assert fired is not None
    assert fired.kind is GuardKind.MARGIN_CLOSE
    fired = twice(pair(owner_silent_ns=0, short={"move_to_liq_pct": 7.0}))
    assert fired is not None
    assert fired.kind is GuardKind.MARGIN_REDUCE
    assert twice(pair(owner_silent_ns=0, short={"move_to_liq_pct": 7.01})) is None
    fired = twice(pair(owner_silent_ns=0, long={"margin_used_ratio": 0.8}))
    assert fired is not None
    assert fired.kind is GuardKind.MARGIN_CLOSE
    assert twice(pair(owner_silent_ns=0, long={"margin_used_ratio": 0.79})) is None


def test_margin_warnings_come_at_once_and_only_in_range() -> None:
    guards = ExitGuards(RISK, ExecutionConfig())
    for move, action in ((15.01, None), (15.0, MarginAction.WARN), (9.0, MarginAction.STOP_OPENING)):
        _, warned = guards.evaluate([pair(long={"move_to_liq_pct": move})], SECOND, 0)
        assert [w.action for w in warned] == ([action] if action else [])
    _, warned = guards.evaluate([pair(short={"margin_used_ratio": 0.4})], SECOND, 0)
    assert [w.venue for w in warned] == ["beta"]


def test_precedence_and_repetition() -> None:
    guards = ExitGuards(RISK, ExecutionConfig())
    reduce = pair(short={"move_to_liq_pct": 6.0})
    close = pair(short={"move_to_liq_pct": 3.0, "quote": quote(10145.0)})
    start = 10**12

    def turn(what: GuardedPair, s: float) -> list[GuardKind]:
        return [each.kind for each in guards.evaluate([what], start + int(s * SECOND), 0)[0]]

    assert turn(reduce, 0) == []
    assert turn(reduce, 1) == [GuardKind.MARGIN_REDUCE]
    assert turn(reduce, 2) == []
    assert turn(close, 3) == [], "not yet confirmed"
    assert turn(close, 4) == [GuardKind.MARGIN_CLOSE], "a worse guard fires while the lesser one rests"
    assert turn(close, 5) == []
    again = 4 + REPEAT_NS / SECOND
    assert turn(close, again) == []
    assert turn(close, again + 1) == [GuardKind.MARGIN_CLOSE], "what still holds is asked for again"


def test_what_is_closed_is_forgotten() -> None:
    guards = ExitGuards(RISK, ExecutionConfig())
    guards.evaluate([pair(**WIDE)], SECOND, 0)
    guards.evaluate([], 2 * SECOND, 0)
    fired, _ = guards.evaluate([pair(**WIDE)], 3 * SECOND, 0)
    assert fired == []
