"""The account page over real pairs: figures worked out by hand, unknown stays unknown, one journal position."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.account import AccountSnapshot, PairView, PositionView, decode_snapshot, encode_snapshot
from core.clock import NS_PER_S
from core.messages import PairStatus
from core.types import Down, OrderStatus, Position, Side, TradingState
from executor.page import Finished, snapshot, unhedged, venue_status
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle

D = Decimal


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def position(page: AccountSnapshot, venue: str, symbol: str = "BTC") -> PositionView:
    (found,) = [each for each in page.positions if (each.venue, each.symbol) == (venue, symbol)]
    return found


def only_pair(page: AccountSnapshot) -> PairView:
    (pair,) = page.pairs
    return pair


def test_an_empty_account_is_shown_as_such(rig: Rig) -> None:
    page = snapshot(rig.engine)
    assert not any((page.positions, page.pairs, page.orders, page.frozen))
    assert (page.unhedged_usd, page.unhedged_age_ns, page.net_usd) == (D(0), 0, D(0))
    assert page.ready
    assert page.mode == "sandbox"
    assert page.trading_state is TradingState.ACTIVE
    assert page.journal_sequence == rig.state.sequence
    assert [(v.venue, v.status, v.equity_usd) for v in page.venues] == [
        (LONG, "ok", D(10_000)),
        (SHORT, "ok", D(10_000)),
    ]
    assert page.venues[0].taker_fee == 0.0004
    assert decode_snapshot(encode_snapshot(page)) == page


async def test_an_open_pair_with_its_legs_and_money(rig: Rig) -> None:
    await rig.open("0.01")
    page = snapshot(rig.engine)
    pair = only_pair(page)
    assert (pair.status, pair.long_qty, pair.short_qty) == (PairStatus.OPEN, D("0.010"), D("-0.010"))
    assert pair.hedge_quality == 1.0
    assert pair.net_usd is None
    assert pair.entry_basis_bps == pytest.approx(60, abs=1)
    long, short = position(page, LONG), position(page, SHORT)
    assert (long.qty, short.qty) == (D("0.010"), D("-0.010"))
    assert long.mark_px == D(100_000)
    assert long.unrealized_usd == (D(100_000) - long.avg_entry_px) * D("0.010")
    assert short.unrealized_usd == (short.avg_entry_px - short.mark_px) * D("0.010")
    assert pair.unrealized_usd == long.unrealized_usd + short.unrealized_usd
    assert long.notional_usd == D(1000)
    assert pair.fees_usd == long.fees_usd + short.fees_usd > 0
    assert long.flags == short.flags == ()
    assert long.venue_qty is None, "not read yet is not zero"
    rig.engine.desks[LONG].note_positions(
        [Position(venue=LONG, symbol="BTC", lots=9, avg_entry_px=D(1), mark_px=D(100_000), liquidation_px=D(80_000))],
        rig.clock.mono_ns() + 1,
    )
    long = position(snapshot(rig.engine), LONG)
    assert long.venue_qty == D("0.009")
    assert long.move_to_liq_pct == pytest.approx(20.0)


async def test_what_the_venue_said_before_our_last_move_is_not_shown(rig: Rig) -> None:
    desk = rig.engine.desks[LONG]
    pair = await rig.open("0.01")
    rig.pass_ms(1)
    stated = Position(venue=LONG, symbol="BTC", lots=10, avg_entry_px=D(1))
    desk.note_positions([stated], rig.clock.mono_ns())
    assert position(snapshot(rig.engine), LONG).venue_qty == D("0.010")
    rig.pass_ms(1)
    await rig.close(pair)
    assert position(snapshot(rig.engine), LONG).venue_qty is None
    rig.pass_ms(1)
    desk.note_positions([], rig.clock.mono_ns())
    assert position(snapshot(rig.engine), LONG).venue_qty == D(0)


async def test_a_position_of_a_venue_that_was_never_read_is_not_confirmed_by_it(rig: Rig) -> None:
    rig.engine.adopt((LONG, "ETH"), 3, foreign=False, why="out of the journal")
    assert position(snapshot(rig.engine), LONG, "ETH").venue_qty is None


async def test_remembered_views_are_the_same_as_fresh_ones(rig: Rig) -> None:
    memory: Finished = {}
    pair = await rig.open("0.01")
    assert snapshot(rig.engine, memory).pairs == snapshot(rig.engine).pairs
    assert memory == {}
    await rig.close(pair)
    assert snapshot(rig.engine, memory).pairs == snapshot(rig.engine).pairs
    assert list(memory) == [pair.pair_id]
    late = rig.orders(pair)[0].client_order_id
    rig.gateways[LONG].late_fill(late, 2)
    await settle()
    assert snapshot(rig.engine, memory).pairs == snapshot(rig.engine).pairs
    await rig.until_final(pair)
    assert snapshot(rig.engine, memory).pairs == snapshot(rig.engine).pairs


async def test_a_naked_leg_is_seen_with_its_notional_and_age(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    await rig.open("0.01")
    rig.pass_ms(1500)
    page = snapshot(rig.engine)
    assert only_pair(page).hedge_quality == 0.0
    assert page.unhedged_usd == D(1000)
    assert page.unhedged_age_ns >= 1.5 * NS_PER_S
    assert page.unhedged_max_ns >= page.unhedged_age_ns
    assert f"{SHORT}:BTC" in page.frozen
    assert "PARTIAL_HEDGE" in position(page, LONG).flags
    assert [order.status for order in page.orders] == [OrderStatus.UNKNOWN]
    rig.resolve()
    await settle()
    await rig.turn()
    page = snapshot(rig.engine)
    assert (page.unhedged_usd, page.unhedged_age_ns) == (D(0), 0)
    assert page.unhedged_max_ns >= 1.5 * NS_PER_S
    assert page.orders == ()


async def test_a_hedged_pair_is_not_unhedged(rig: Rig) -> None:
    await rig.open("0.01")
    assert unhedged(rig.engine) == (D(0), 0)


async def test_a_closed_pair_keeps_its_result_and_counts(rig: Rig) -> None:
    pair = await rig.open("0.01")
    await rig.close(pair)
    page = snapshot(rig.engine)
    shown = only_pair(page)
    assert shown.status is PairStatus.CLOSED
    assert shown.net_usd == page.net_usd == shown.realized_usd - shown.fees_usd
    assert (page.pairs_opened, page.pairs_closed) == (1, 1)
    assert (position(page, LONG).qty, position(page, LONG).notional_usd) == (D(0), D(0))


async def test_finished_pairs_are_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "sandbox.toml", execution={"finished_pairs_kept": 2}, risk={"attempt_cooldown_s": 0.0})
    names = []
    for _ in range(4):
        rig.pass_ms(20_000)
        rig.read_accounts()
        pair = await rig.open("0.01")
        names.append(pair.pair_id)
        await rig.close(pair)
        rig.pass_ms(100)
    assert [pair.pair_id for pair in snapshot(rig.engine).pairs] == names[-2:]


async def test_marks_fall_back_to_the_venues_word_and_then_to_unknown(rig: Rig) -> None:
    await rig.open("0.01")
    rig.books[LONG].quotes["BTC"] = Down("feed dead")
    long = position(snapshot(rig.engine), LONG)
    assert (long.mark_px, long.unrealized_usd) == (D(0), D(0))
    stated = Position(venue=LONG, symbol="BTC", lots=10, avg_entry_px=D(1), mark_px=D(101_000))
    rig.engine.desks[LONG].note_positions([stated], 1)
    assert position(snapshot(rig.engine), LONG).mark_px == D(101_000)


async def test_flags_of_a_foreign_position(rig: Rig) -> None:
    rig.gateways[LONG].foreign_fill("ETH", Side.BUY, 1, D(2000))
    await settle()
    rig.market(2000.0, 60.0, "ETH")
    view = position(snapshot(rig.engine), LONG, "ETH")
    assert {"FOREIGN", "FROZEN", "DUST"} <= set(view.flags)


def test_a_position_in_an_unlisted_contract_is_shown_in_the_venues_own_words(rig: Rig) -> None:
    rig.gateways[SHORT].unlisted = {"OLDUSDT": D("-3.5")}
    page = snapshot(rig.engine)
    shown = position(page, SHORT, "OLDUSDT")
    assert (shown.qty, shown.venue_qty, shown.flags) == (D(0), D("-3.5"), ("FOREIGN", "UNLISTED"))
    assert decode_snapshot(encode_snapshot(page)) == page


def test_venue_status_tells_ok_blind_and_down(rig: Rig) -> None:
    desk = rig.engine.desks[LONG]
    assert venue_status(rig.engine, LONG) == "ok"
    rig.pass_ms(30_000)
    assert venue_status(rig.engine, LONG) == "ok"
    rig.pass_ms(1)
    assert venue_status(rig.engine, LONG) == "blind"
    rig.read_accounts()
    desk.reconciled = False
    assert venue_status(rig.engine, LONG) == "blind"
    desk.started = False
    assert venue_status(rig.engine, LONG) == "down"
    page = snapshot(rig.engine)
    assert page.venues[0].taker_fee is None
    assert msgspec.structs.asdict(page.venues[0])["clock_offset_ns"] == 0


async def test_every_owners_share_of_a_position_is_shown_and_they_sum_to_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, risk={"symbol_exclusive": False, "attempt_cooldown_s": 0.0})
    await rig.open("0.01")
    rig.read_accounts()
    turned = rig.open_command(
        "0.006", name="manual", long=rig.leg(SHORT, Side.BUY), short=rig.leg(LONG, Side.SELL), edge_bps=0.0
    )
    rig.commands.take(turned, rig.operator)
    await settle()
    page = snapshot(rig.engine)
    shares = {(each.venue, each.owner): each.qty for each in page.sub_ledgers}
    assert shares == {
        (LONG, "scalp"): D("0.010"),
        (LONG, "manual"): D("-0.006"),
        (SHORT, "scalp"): D("-0.010"),
        (SHORT, "manual"): D("0.006"),
    }
    for venue in (LONG, SHORT):
        assert sum(qty for (at, _), qty in shares.items() if at == venue) == position(page, venue).qty
    assert decode_snapshot(encode_snapshot(page)) == page


async def test_dust_of_a_pair_is_shown_as_dust(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        contract = gateway.instruments()["BTC"]
        gateway.instruments()["BTC"] = msgspec.structs.replace(contract, min_notional_usd=D(250))
    pair = await rig.open("0.01")
    rig.gateways[LONG].plans.append(Plan(fill_lots=8))  # 0.002 BTC = 200 USD stay: less than 250
    await rig.close(pair)
    await rig.until_final(pair)
    page = snapshot(rig.engine)
    assert only_pair(page).dust_qty == D("0.002")
    assert "DUST" in position(page, LONG).flags
    assert [(each.owner, each.qty) for each in page.sub_ledgers] == [("", D("0.002"))]
    assert page.unhedged_usd == 0
