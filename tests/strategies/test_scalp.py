"""Scalp's entry and exit rules: each seen to fire and seen not to fire, on prices worked out by hand (RULES 7)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.messages import PairStatus
from core.types import Busy, Down, QuoteFlag, Stale, TradingState
from strategies.intents import Open, Refusal
from strategies.scalp import Scalp, VenueTerms
from strategies.snapshot import MarketView
from tests.strategies.market import (
    AS,
    EXECUTION,
    FEES,
    HL,
    Reader,
    account,
    instrument,
    pair,
    risk_config,
    scalp_config,
    venue_account,
)

NOW = 1000 * NS_PER_S


class Desk:
    """A scalp with five seconds of history at an offset of 20 bps (Hyperliquid stands 2 USD above Aster at 1000)."""

    def __init__(self, **config: Any) -> None:
        self.hl, self.aster = Reader(HL, instrument(HL)), Reader(AS, instrument(AS))
        self.view = MarketView({HL: self.hl, AS: self.aster})
        self.view.refresh_listings()
        terms = {venue: VenueTerms(FEES[venue], {"default": 3}, 0.0) for venue in (HL, AS)}
        self.scalp = Scalp(scalp_config(**config), risk_config(), EXECUTION, terms)
        self.hl.set(1002.0)
        self.aster.set(1000.0)
        for second in range(6):
            self.scalp.sample(self.view, NOW - (6 - second) * NS_PER_S)

    def enter(self, **changes: Any) -> list[Open | Refusal]:
        return self.scalp.enter("BTC", self.view, account(**changes), NOW)  # type: ignore[return-value]

    def reason(self, **changes: Any) -> str:
        """Why the direction sell Hyperliquid, buy Aster is not opened."""
        found = self.scalp.explain("BTC", self.view, account(**changes), NOW)
        return next((r.reason for r in found if r.short_venue == HL), "")


def test_opens_what_deviates_enough_from_the_standing_offset() -> None:
    desk = Desk()
    desk.hl.set(1008.0)
    (found,) = desk.enter()
    assert isinstance(found, Open)
    assert (found.short.venue, found.long.venue) == (HL, AS)
    mid = 1004.0
    edge = (1007.9 - 1000.1) / mid * 1e4
    offset = 2.0 / 1001.0 * 1e4
    assert found.edge_bps == pytest.approx(edge - offset)
    assert found.offset_bps == pytest.approx(offset)
    # Ten ticks of 0.1 are 10 bps at this price: clamped to 5 bps of the touch, on the grid.
    assert found.short.limit_px == Decimal("1007.4")
    assert found.long.limit_px == Decimal("1000.6")
    assert found.numbers["cost_bps"] == pytest.approx(16.0 + (1 - 1007.4 / 1007.9 + 1000.6 / 1000.1 - 1) * 1e4)
    # 5% of 20,000 USD over a mid of 1004, floored to 0.001.
    assert found.qty == Decimal("0.996")


def test_a_standing_offset_is_not_an_edge() -> None:
    """+20 bps that has stood for the whole window does not trade, however long it stands."""
    desk = Desk()
    assert desk.enter() == []
    assert desk.reason() == "dev_below_entry"


def test_the_other_direction_opens_when_the_gap_turns() -> None:
    desk = Desk()
    desk.hl.set(996.0)
    (found,) = desk.enter()
    assert isinstance(found, Open)
    assert (found.short.venue, found.long.venue) == (AS, HL)


def test_costs_must_be_paid_even_when_the_deviation_is_large_enough() -> None:
    desk = Desk(spread_entry_bps=10.0)
    desk.hl.set(1004.2)
    assert desk.reason() == "net_below_min_profit"
    assert not any(isinstance(found, Open) for found in desk.enter())


def test_too_little_history_opens_nothing() -> None:
    desk = Desk(offset_min_samples=7)
    desk.hl.set(1008.0)
    assert desk.enter() == []
    assert desk.reason() == "offset_warming"


@pytest.mark.parametrize(
    ("result", "reason"),
    [(Stale(700_000_000), "stale"), (Down("no heartbeat"), "down"), (Busy(64), "busy")],
)
def test_no_price_without_a_fresh_quote(result: Any, reason: str) -> None:
    desk = Desk()
    desk.hl.put(result)
    assert desk.enter() == []
    assert desk.reason() == f"{reason}:{HL}"


def test_indicative_crossed_or_thin_quotes_never_trade() -> None:
    desk = Desk()
    desk.hl.set(1008.0, flags=QuoteFlag.INDICATIVE)
    assert desk.enter() == []
    assert desk.reason() == f"not_executable:{HL}"
    desk.hl.set(1008.0, spread=-0.2)
    assert desk.reason() == f"unsound:{HL}"
    desk.hl.set(1008.0, qty=0.0)
    assert desk.reason() == f"unsound:{HL}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ready": False}, "executor_not_ready"),
        ({"trading_state": TradingState.HALTED}, "trading_state_halted"),
        ({"trading_state": TradingState.REDUCING}, "trading_state_reducing"),
        ({"venues": (venue_account(HL),)}, "too_small:no_balance"),
        ({"venues": (venue_account(HL), venue_account(AS, free_margin_usd=Decimal(1)))}, f"too_small:capacity:{AS}"),
    ],
)
def test_the_account_must_allow_it(changes: dict[str, Any], reason: str) -> None:
    desk = Desk()
    desk.hl.set(1008.0)
    assert isinstance(desk.enter()[0], Open)
    found = desk.enter(**changes)
    assert isinstance(found[0], Refusal)
    assert found[0].reason == reason


def test_without_an_account_page_nothing_opens() -> None:
    desk = Desk()
    desk.hl.set(1008.0)
    (found,) = desk.scalp.enter("BTC", desk.view, None, NOW)
    assert isinstance(found, Refusal)
    assert found.reason == "executor_not_ready"


def test_one_pair_per_symbol_and_nothing_is_added_to_it() -> None:
    desk = Desk()
    desk.hl.set(1008.0)
    for status in (PairStatus.OPEN, PairStatus.OPENING, PairStatus.UNKNOWN, PairStatus.REPAIRING):
        assert desk.scalp.enter("BTC", desk.view, account(pair(status=status)), NOW)[0].reason == "pair_open"  # type: ignore[union-attr]
    assert isinstance(desk.scalp.enter("BTC", desk.view, account(pair(status=PairStatus.CLOSED)), NOW)[0], Open)


def test_the_cooldown_runs_from_any_attempt() -> None:
    desk = Desk()
    desk.hl.set(1008.0)
    desk.scalp.attempted("BTC", NOW - 9 * NS_PER_S)
    assert desk.enter()[0].reason == "cooldown"  # type: ignore[union-attr]
    desk.scalp.attempted("BTC", NOW - 10 * NS_PER_S)
    assert isinstance(desk.enter()[0], Open)


def test_size_takes_at_most_half_of_the_top_of_book() -> None:
    desk = Desk()
    desk.hl.set(1008.0, qty=0.3)
    (found,) = desk.enter()
    assert isinstance(found, Open)
    assert found.qty == Decimal("0.150")
    desk.hl.set(1008.0, qty=0.03)
    (small,) = desk.enter()
    assert isinstance(small, Refusal)
    assert small.reason == "too_small:top_of_book"


def closes(desk: Desk, now_ns: int = NOW, calendar_s: float = 1.0, **changes: Any) -> list[str]:
    found = desk.scalp.leave(desk.view, account(pair(**changes)), now_ns, int(calendar_s * NS_PER_S))
    return [close.reason for close in found]


def test_take_profit_after_all_fees() -> None:
    """99.5 bps at entry; 15% of 60 is 9 bps after 16 bps of fees: 25 bps gross must be there at the touches."""
    desk = Desk()
    desk.aster.set(1000.0)
    desk.hl.set(1007.6)  # buys back at 1007.7, sells at 999.9: keeps 2.2 of 10 = 21.9 bps gross
    assert closes(desk) == []
    desk.hl.set(1007.2)  # keeps 2.6 = 25.9 bps gross, 9.9 net
    assert closes(desk) == ["take_profit"]


def test_a_close_is_not_repeated_at_every_tick() -> None:
    desk = Desk()
    desk.hl.set(1005.0)
    assert closes(desk) == ["take_profit"]
    assert closes(desk, NOW + NS_PER_S) == []
    assert closes(desk, NOW + 6 * NS_PER_S) == ["take_profit"]


def test_the_stop_needs_two_looks_a_second_apart() -> None:
    desk = Desk()
    desk.hl.set(1025.0)  # basis 247 bps: 147 against us
    assert closes(desk, NOW) == []
    assert closes(desk, NOW + NS_PER_S // 2) == []
    assert closes(desk, NOW + NS_PER_S) == ["stop_basis"]


def test_one_bad_tick_does_not_stop() -> None:
    desk = Desk()
    desk.hl.set(1025.0)
    assert closes(desk, NOW) == []
    desk.hl.set(1010.0)
    assert closes(desk, NOW + NS_PER_S // 2) == []
    desk.hl.set(1025.0)
    assert closes(desk, NOW + NS_PER_S) == []


def test_the_worse_leg_stops_even_when_the_basis_holds() -> None:
    desk = Desk()
    desk.hl.set(1270.0)
    desk.aster.set(1258.0)
    assert closes(desk, NOW) == []
    assert closes(desk, NOW + NS_PER_S) == ["stop_leg"]


def test_timeout_and_the_quiet_before_it() -> None:
    desk = Desk()
    desk.hl.set(1010.0)
    assert closes(desk, calendar_s=599.0) == []
    assert closes(desk, calendar_s=600.0) == ["timeout"]


def test_no_exit_on_stale_quotes_and_none_for_others_pairs() -> None:
    desk = Desk()
    desk.hl.put(Stale(600_000_000))
    assert closes(desk, calendar_s=700.0) == []
    desk.hl.set(1005.0)
    assert closes(desk, strategy="manual") == []
    assert closes(desk, status=PairStatus.CLOSING) == []


def test_the_accounts_own_fees_replace_the_roster() -> None:
    desk = Desk()
    desk.hl.set(1008.0)
    before = desk.enter()[0].numbers["cost_bps"]
    desk.scalp.learn_fees(account(venues=(venue_account(HL, taker_fee=0.0), venue_account(AS))))
    assert desk.enter()[0].numbers["cost_bps"] == pytest.approx(before - 9.0)
