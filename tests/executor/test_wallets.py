"""Spot venues: the wallet may hold more than we bought and never less; flatten sells what our ledger holds and no coin more."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.ids import client_order_id, tag16
from core.messages import ClosePair, PairStatus
from core.types import Fill, LiquiditySide, Position, Side
from executor.flatten import flatten
from executor.state import PairBook
from executor.venues.base import FillSeen, NotFound, PositionSeen, Traits, VenueOrder
from executor.wallets import Wallet
from tests.executor.fake_gateway import Answer, FakeGateway, Plan, Told
from tests.executor.rig import LONG, SHORT, settle
from tests.executor.stubborn import SimSleep
from tests.executor.test_reconcile import BTC, Bench, listed, status

OWNERS = 70  # lots of the owner's coins beside ours
SPOT = Traits(reduce_only=False, wallet=True)
NOT_YET = NotFound(definitive=False)


def close_of(bench: Bench, pair: PairBook) -> ClosePair:
    return ClosePair(command_id=bench.rig.next_id(), valid_until_mono_ns=0, pair_id=pair.pair_id, reason="take_profit")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The long leg's venue is a spot venue whose wallet already holds coins."""
    monkeypatch.setattr(FakeGateway, "traits", SPOT)
    made = Bench(tmp_path, monkeypatch)
    made.short.traits = Traits()
    made.build()
    made.long.position_lots["BTC"] = OWNERS
    return made


async def test_a_wallet_with_more_than_ours_is_no_foreign_position(bench: Bench) -> None:
    assert await bench.reconciler.recover(LONG)
    pair = await bench.rig.open("0.01")
    await bench.turns(30)
    assert bench.rig.state.lots(BTC) == 10
    assert bench.rig.state.frozen == {}
    for event in ("foreign_position", "position_smaller", "naked_position", "position_adopted"):
        assert bench.events(event) == []
    await bench.rig.close(pair)
    await bench.turns(10)
    assert status(pair) is PairStatus.CLOSED
    assert bench.rig.truth(BTC) == OWNERS
    assert bench.rig.journal.replayed() == bench.rig.state


async def test_less_than_ours_is_adopted_when_seen_twice_and_the_other_leg_follows(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.turns(3, 6000.0)
    bench.long.position_lots["BTC"] = 4
    await bench.turns(1, 6000.0)
    assert bench.rig.state.lots(BTC) == 10, "one sighting is no proof"
    await bench.turns(2, 500.0)
    assert bench.rig.state.lots(BTC) == 4
    assert len(bench.events("position_smaller")) == 1
    assert bench.rig.state.frozen == {}
    await bench.rig.turn()
    assert bench.rig.truth((SHORT, "BTC")) == -2
    assert pair.long.qty == -pair.short.qty == Decimal("0.004")


async def test_the_owners_trades_are_not_ours_whichever_way_they_are_told(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    bench.long.foreign_fill("BTC", Side.BUY, 20, Decimal(100_000))
    bench.long.foreign_fill("BTC", Side.SELL, 5, Decimal(100_000))
    await bench.turns(30)
    assert bench.rig.state.lots(BTC) == 10
    assert status(pair) is PairStatus.OPEN
    assert len(bench.short.wire) == 1
    assert len(bench.events("wallet_traded_by_owner")) == 2, "told once each, however often they are read"
    bench.long.foreign_fill("BTC", Side.SELL, OWNERS + 15 + 6, Decimal(100_000))  # six of ours are gone with them
    await bench.turns(6)
    await bench.rig.turn()
    assert bench.rig.state.lots(BTC) == 4
    assert bench.rig.truth((SHORT, "BTC")) == -2


async def test_what_the_owner_sells_of_ours_shrinks_the_other_leg_in_the_same_turn(bench: Bench) -> None:
    pair = await bench.rig.open("0.01")
    await bench.turns(20)
    bench.long.foreign_fill("BTC", Side.SELL, OWNERS - 1, Decimal(100_000))
    assert len(bench.short.wire) == 1, "theirs"
    bench.long.foreign_fill("BTC", Side.SELL, 7, Decimal(100_000))
    assert len(bench.short.wire) == 2, "on the wire before the event returned"
    await bench.turns(20)
    await bench.rig.turn()
    assert (pair.long.lots, pair.short.lots) == (4, -2)
    assert bench.rig.truth(BTC) == 4
    assert len(bench.events("wallet_sold_ours")) == 1


@pytest.mark.parametrize("include_foreign", [False, True])
async def test_flatten_sells_our_ledger_and_leaves_the_owners_coins_and_orders(
    bench: Bench, include_foreign: bool
) -> None:
    pair = await bench.rig.open("0.01")
    bench.long.position_lots["ETH"] = 12
    bench.long.extra_orders.append(listed(None, "9"))
    report = await flatten(bench.rig.engine, None, None, include_foreign, sleep=SimSleep(bench.rig))
    await settle()
    assert bench.rig.truth(BTC) == OWNERS
    assert bench.rig.truth((LONG, "ETH")) == 12
    assert bench.rig.state.lots(BTC) == 0
    assert status(pair) is PairStatus.CLOSED
    if include_foreign:
        assert "9" in bench.long.cancels
    else:
        assert bench.long.cancels == []
    assert report.flat, report


async def test_flatten_sells_no_more_than_the_wallet_holds(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.position_lots["BTC"] = 6
    report = await flatten(bench.rig.engine, None, None, False, sleep=SimSleep(bench.rig))
    sold = [o.prepared.lots for o in bench.rig.state.orders.values() if o.prepared.purpose == "flatten"]
    assert sold[0] == 6
    assert bench.rig.truth(BTC) == 0
    assert report.flat, report


@pytest.mark.parametrize("filled", [0, 4, 10])
async def test_the_balance_is_the_last_word_about_a_lost_order(bench: Bench, filled: int) -> None:
    """Neither look-ups nor fills help: what the wallet holds more than before is what the order bought."""
    assert await bench.reconciler.recover(LONG)
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=filled))
    await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    bench.long.silent_fills = True
    await bench.until_resolved()
    assert [source for _, source, _ in bench.resolved] == ["position" if filled else "bound"]
    assert bench.rig.state.lots(BTC) == filled


async def test_without_a_memory_of_the_balance_nothing_is_derived_from_it(bench: Bench) -> None:
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    await bench.until_resolved()
    assert bench.rig.state.lots(BTC) == 0, "the owner's coins were not taken for a fill"


async def test_the_owners_trades_while_a_doubt_lasts_are_not_taken_for_it(bench: Bench) -> None:
    assert await bench.reconciler.recover(LONG)
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    await bench.rig.open("0.01")
    bench.long.lookups.extend([NOT_YET] * 1000)
    bench.long.foreign_fill("BTC", Side.BUY, 6, Decimal(100_000))
    await bench.until_resolved()
    assert [source for _, source, _ in bench.resolved] == ["bound"]
    assert bench.rig.state.lots(BTC) == 0


async def test_a_reading_that_lacks_our_newest_sale_is_no_memory_of_the_balance(bench: Bench) -> None:
    """It shows as the owner's what we have just sold: by that, a lost sale would seem to have filled."""
    assert await bench.reconciler.recover(LONG)
    pair = await bench.rig.open("0.01")
    await bench.rig.close(pair)
    await bench.rig.until_final(pair)
    bench.long.position_lots["BTC"] = OWNERS + 10  # a replica that is seconds behind
    bench.rig.pass_ms(600.0)
    assert await bench.reconciler.read(LONG, full=False)
    bench.long.position_lots["BTC"] = OWNERS
    bench.rig.pass_ms(10_000.0)
    bench.rig.market(100_000.0, 60.0)
    bench.rig.read_accounts()
    held = await bench.rig.open("0.01")
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    await bench.rig.close(held)
    bench.long.lookups.extend([NOT_YET] * 1000)
    await bench.until_resolved()
    assert [source for _, source, _ in bench.resolved] == ["bound"]
    assert bench.rig.state.lots(BTC) == bench.rig.truth(BTC) - OWNERS


async def test_the_very_first_order_may_be_what_a_power_loss_took(bench: Bench) -> None:
    """Bought, and nothing in the journal says so: only the id does, in fills from before this start."""
    bench.rig.boot(bench.rig.journal.replayed())
    bench.build()
    name = client_order_id(tag16(bench.long.account_id), tag16("scalp"), bench.rig.state.epoch - 1, 7, 0)
    bench.long._sink = None
    bench.long.foreign_fill("BTC", Side.BUY, 3, Decimal(100_000))
    bench.long._trade("BTC", Side.BUY, 4, Decimal(100_000), name)
    bench.rig.pass_ms(3000)
    assert await bench.reconciler.recover(LONG)
    assert bench.rig.state.lots(BTC) == 4, "the owner's are the owner's"
    bench.long.attach(bench.rig.engine.on_event)
    bench.rig.market(100_000.0, 60.0)
    await bench.turns(40)
    assert bench.rig.truth(BTC) == OWNERS + 3


async def test_flatten_counts_what_is_already_being_sold(bench: Bench) -> None:
    """No reduce-only protects the owner's coins: the pair's own sale is on its way when flatten begins."""
    pair = await bench.rig.open("0.01")

    async def nothing() -> list[VenueOrder]:
        return []

    bench.long.open_orders = nothing  # type: ignore[method-assign]
    bench.long.plans.append(Plan(held=True))
    bench.rig.commands.take(close_of(bench, pair), bench.rig.client)
    await settle()
    flattening = asyncio.create_task(flatten(bench.rig.engine, None, None, False, sleep=SimSleep(bench.rig)))
    await settle(200)
    assert bench.rig.truth(BTC) == OWNERS + 10, "nothing is sold twice"
    bench.long.release()
    report = await flattening
    assert bench.rig.truth(BTC) == OWNERS
    assert report.flat, report


@pytest.mark.parametrize("known_after_s", [20.0, 1000.0])
async def test_flat_waits_for_a_sale_whose_end_is_not_known(bench: Bench, known_after_s: float) -> None:
    """What it may be selling is not sold twice, and not called gone either."""
    await bench.rig.open("0.01")
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    sleeping, began_ns = SimSleep(bench.rig), bench.rig.clock.mono_ns()

    async def sleep(seconds: float) -> None:
        await sleeping(seconds)
        if bench.rig.clock.mono_ns() - began_ns > known_after_s * NS_PER_S:
            bench.rig.resolve()

    report = await flatten(bench.rig.engine, LONG, None, False, sleep=sleep)
    if known_after_s < 100:
        assert report.flat, "once its end was known, the rest was sold"
        assert bench.rig.truth(BTC) == OWNERS
    else:
        assert [(left.symbol, left.qty) for left in report.residual] == [("BTC", Decimal("0.010"))]
        assert len(bench.long.wire) == 2, "one open, one sale"


async def test_a_doubt_ends_by_its_bound_while_flatten_waits_for_it(bench: Bench) -> None:
    """Flatten holds the instrument; what it waits for must be resolved all the same."""
    await bench.rig.open("0.01")
    bench.long.plans.append(Plan(answer=Answer.LOST, told=Told.NEVER, fill_lots=0))
    bench.long.lookups.extend([NOT_YET] * 1000)
    sleeping = SimSleep(bench.rig)

    async def sleep(seconds: float) -> None:
        await sleeping(seconds)
        await bench.reconciler.turn(LONG)

    report = await flatten(bench.rig.engine, LONG, None, False, sleep=sleep)
    assert report.flat, report
    assert bench.rig.truth(BTC) == OWNERS


async def test_the_residual_of_a_wallet_is_ours_alone(bench: Bench) -> None:
    await bench.rig.open("0.01")
    bench.long.default = Plan(fill_lots=0)
    report = await flatten(bench.rig.engine, LONG, None, False, sleep=SimSleep(bench.rig))
    assert [(left.symbol, left.qty) for left in report.residual] == [("BTC", Decimal("0.010"))]


def test_a_pushed_balance_is_a_hint_only_when_ours_is_missing(bench: Bench) -> None:
    def hints(lots: int) -> int:
        before = len(bench.rig.hints)
        bench.rig.engine.on_hint = lambda venue, why: bench.rig.hints.append((venue, why))
        pushed = Position(venue=LONG, symbol="BTC", lots=lots, avg_entry_px=Decimal(0))
        bench.rig.engine.on_event(PositionSeen(position=pushed))
        return len(bench.rig.hints) - before

    assert hints(OWNERS) == 0
    bench.rig.engine.adopt(BTC, 5, foreign=False, why="test")
    assert hints(5) == hints(500) == 0
    assert hints(4) == 1


def test_what_counts_of_a_balance() -> None:
    wallet = Wallet()
    assert wallet.lots(BTC, 80, 10, in_doubt=False) == 10
    assert wallet.lots(BTC, 6, 10, in_doubt=False) == 6
    assert wallet.lots(BTC, 80, 0, in_doubt=False) == 0
    assert wallet.lots(BTC, 80, 10, in_doubt=True) == 10
    wallet.note_agreed(BTC, 80, 10)
    assert wallet.lots(BTC, 73, 10, in_doubt=True) == 3
    assert wallet.lots(BTC, 85, 10, in_doubt=True) == 15
    assert wallet.note_owner(BTC, -60, busy=False) == 0
    assert wallet.note_owner(BTC, -15, busy=True) == 0
    assert wallet.note_owner(BTC, -1, busy=False) == 6
    assert wallet.note_owner(BTC, 3, busy=False) == 0
    assert Wallet().note_owner(BTC, -3, busy=False) == 0, "what lay beside was never read"


async def test_our_own_fills_are_ours(bench: Bench) -> None:
    """Told by the stream before the answer, and read again by REST."""
    bench.long.plans.append(Plan(told=Told.BEFORE))
    await bench.rig.open("0.01")
    told: list[Any] = [json.loads(line) for line in bench.rig.lines]
    assert not [line for line in told if line["event"] == "wallet_traded_by_owner"]
    assert bench.rig.state.lots(BTC) == 10
    stranger = Fill(
        venue=LONG,
        symbol="BTC",
        side=Side.BUY,
        lots=1,
        px=Decimal(1),
        fee_usd=Decimal(0),
        trade_id="w1",
        venue_order_id="",
        client_order_id=None,
        liquidity=LiquiditySide.TAKER,
        ts_ns=0,
    )
    bench.rig.engine.on_event(FillSeen(fill=stranger))
    assert bench.rig.state.lots(BTC) == 10
