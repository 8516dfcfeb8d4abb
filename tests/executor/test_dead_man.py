"""Dead-man switches: armed before anything rests, pushed out, switched off; never where arming failed; right after a crash."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from core.messages import DenyReason, LegOrder, OrderAccepted, OrderDenied, Sending, SubmitOrder
from core.types import OrderStatus, Side, TimeInForce
from executor.dead_man import IDLE_NS
from executor.venues.base import DeadMan, DeadManScope
from tests.executor.rig import LONG, SHORT, Rig, settle

ACCOUNT = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=60.0, refresh_s=15.0)
SYMBOL = DeadMan(scope=DeadManScope.SYMBOL, countdown_s=60.0, refresh_s=15.0)
CONNECTION = DeadMan(scope=DeadManScope.CONNECTION, countdown_s=1.0, refresh_s=1.0)
MAKER = Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=300.0)


@pytest.fixture(params=[ACCOUNT, SYMBOL], ids=["account", "symbol"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    rig = Rig(tmp_path)
    rig.gateways[LONG].dead_man = request.param
    return rig


def by_hand(rig: Rig, tif: TimeInForce = TimeInForce.GTC, symbol: str = "BTC") -> SubmitOrder:
    return SubmitOrder(
        command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, venue=LONG, symbol=symbol, side=Side.BUY,
        qty=Decimal("0.01"), limit_px=Decimal("99900.0"), time_in_force=tif, reduce_only=False,
    )  # fmt: skip


async def seconds(rig: Rig, count: int) -> None:
    for _ in range(count):
        rig.read_accounts()
        await rig.turn(1000.0)


async def test_a_resting_order_leaves_only_after_its_switch_is_armed(rig: Rig) -> None:
    rig.commands.take(by_hand(rig), rig.operator)
    assert rig.gateways[LONG].wire == [], "not in the call that armed"
    await settle()
    assert len(rig.gateways[LONG].armed) == 1
    assert len(rig.gateways[LONG].resting) == 1
    assert rig.operator.of(OrderAccepted)
    await seconds(rig, 1)
    assert rig.engine.desks[LONG].switches_armed == 1
    assert any('"event": "dead_man_armed"' in line for line in rig.lines)
    rig.check()


async def test_a_resting_order_whose_switch_does_not_take_is_denied(rig: Rig) -> None:
    rig.gateways[LONG].switch_fails = True
    command = by_hand(rig)
    rig.commands.take(command, rig.operator)
    await settle()
    assert rig.gateways[LONG].wire == []
    (report,) = rig.operator.of(OrderDenied)
    assert isinstance(report, OrderDenied)
    assert report.reason is DenyReason.DEAD_MAN
    rig.commands.take(command, rig.operator)
    assert len(rig.operator.of(OrderDenied)) == 2, "the same id has the same answer"
    assert rig.engine.desks[LONG].switch_failures == 1
    assert rig.journal.replayed() == rig.state


async def test_an_order_that_does_not_rest_needs_no_switch(rig: Rig) -> None:
    rig.commands.take(by_hand(rig, TimeInForce.IOC), rig.operator)
    assert len(rig.gateways[LONG].wire) == 1
    await seconds(rig, 3)
    assert rig.gateways[LONG].armed == []


async def test_a_venue_without_a_switch_rests_as_ever(rig: Rig) -> None:
    rig.gateways[LONG].dead_man = None
    rig.commands.take(by_hand(rig), rig.operator)
    assert len(rig.gateways[LONG].wire) == 1
    await settle()
    await seconds(rig, 3)
    assert rig.gateways[LONG].armed == rig.gateways[LONG].disarmed == []


async def test_the_switch_is_pushed_out_while_something_rests_and_switched_off_after(rig: Rig) -> None:
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    await seconds(rig, 61)
    assert 4 <= len(rig.gateways[LONG].armed) <= 6
    assert rig.gateways[LONG].disarmed == []
    rig.gateways[LONG].end_resting(rig.gateways[LONG].resting[0])
    armed = len(rig.gateways[LONG].armed)
    await seconds(rig, 3 + IDLE_NS // 10**9)
    assert len(rig.gateways[LONG].armed) == armed
    assert len(rig.gateways[LONG].disarmed) == 1
    assert rig.engine.desks[LONG].switches_armed == 0
    await seconds(rig, 30)
    assert len(rig.gateways[LONG].disarmed) == 1


async def test_a_first_leg_waits_for_its_switch_and_moves_without_switching_on_and_off(rig: Rig) -> None:
    rig.gateways[LONG].switch_fails = True
    pair = await rig.open("0.01", sending=MAKER)
    await seconds(rig, 3)
    assert rig.gateways[LONG].wire == []
    rig.gateways[LONG].switch_fails = False
    await seconds(rig, 12)
    assert len(rig.gateways[LONG].resting) == 1
    for step in range(6):
        rig.market(100_000.0 + 4 * (step % 2), 60.0)
        await seconds(rig, 2)
    assert len(rig.orders(pair)) > 4
    assert len(rig.gateways[LONG].armed) <= 3
    assert rig.gateways[LONG].disarmed == []


async def test_a_switch_that_cannot_be_pushed_out_takes_the_first_leg_off_the_book(rig: Rig) -> None:
    await rig.open("0.01", sending=MAKER)
    await seconds(rig, 2)
    assert len(rig.gateways[LONG].resting) == 1
    rig.gateways[LONG].switch_fails = True
    await seconds(rig, 50)
    assert rig.gateways[LONG].resting == [], "before it strikes"
    assert any('"event": "dead_man_failed"' in line for line in rig.lines)


async def test_a_lapsed_switch_is_told_once(rig: Rig) -> None:
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    rig.gateways[LONG].switch_fails = True
    await seconds(rig, 90)
    assert sum('"event": "dead_man_lapsed"' in line for line in rig.lines) == 1


async def test_after_a_crash_it_is_armed_again_where_something_rests(rig: Rig) -> None:
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    rig.boot(rig.journal.replayed())
    before = len(rig.gateways[LONG].armed)
    await seconds(rig, 2)
    assert len(rig.gateways[LONG].armed) == before + 1
    assert rig.gateways[LONG].disarmed == []


async def test_after_a_crash_it_is_switched_off_where_nothing_rests_any_more(rig: Rig) -> None:
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    rig.gateways[LONG].end_resting(rig.gateways[LONG].resting[0])
    await settle()
    rig.boot(rig.journal.replayed())
    await seconds(rig, 3)
    assert len(rig.gateways[LONG].disarmed) == 1
    assert rig.gateways[SHORT].disarmed == []
    await seconds(rig, 5)
    assert len(rig.gateways[LONG].disarmed) == 1


async def test_an_orderly_end_switches_off_only_where_nothing_rests(rig: Rig) -> None:
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    await rig.pairs.switches.close(1.0)
    assert rig.gateways[LONG].disarmed == []
    rig.gateways[LONG].end_resting(rig.gateways[LONG].resting[0])
    await rig.pairs.switches.close(1.0)
    assert len(rig.gateways[LONG].disarmed) == 1


async def test_scopes(tmp_path: Path) -> None:
    for dead_man, armed in ((ACCOUNT, 1), (SYMBOL, 2)):
        rig = Rig(tmp_path)
        rig.market(100_000.0, 60.0, "ETH")
        rig.gateways[LONG].dead_man = dead_man
        for symbol in ("BTC", "ETH"):
            rig.commands.take(by_hand(rig, symbol=symbol), rig.operator)
            await settle()
        assert len(rig.gateways[LONG].armed) == armed
        await seconds(rig, 2)
        assert rig.engine.desks[LONG].switches_armed == armed


async def test_a_switch_of_the_connection_is_armed_anew_after_it_was_away(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gateways[LONG].dead_man = CONNECTION
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    await seconds(rig, 20)
    assert len(rig.gateways[LONG].armed) == 1, "nothing to push out"
    rig.gateways[LONG].entry_ready = False
    await seconds(rig, 1)
    rig.gateways[LONG].entry_ready = True
    await seconds(rig, 2)
    assert len(rig.gateways[LONG].armed) == 2


async def test_a_venue_that_refuses_its_switch_for_good_has_none(rig: Rig) -> None:
    gateway = rig.gateways[LONG]
    gateway.switch_fails = True
    gateway.switch_refused_for_good = True
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    assert gateway.dead_man is None
    (order,) = rig.state.orders.values()
    assert order.status is OrderStatus.ACCEPTED


async def test_a_switch_that_is_being_switched_off_covers_nothing(rig: Rig) -> None:
    """The venue hears to switch off, then the order: without a new arming in between it would rest uncovered."""
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    gateway = rig.gateways[LONG]
    gateway.end_resting(gateway.resting[0])
    gateway.slow_disarm = asyncio.Event()
    await seconds(rig, 3 + IDLE_NS // 10**9)
    assert gateway.disarmed == []
    rig.commands.take(by_hand(rig), rig.operator)
    await settle()
    assert gateway.resting == [], "waits for what is under way"
    gateway.slow_disarm.set()
    await settle()
    assert len(gateway.disarmed) == 1
    assert len(gateway.armed) >= 2
    assert len(gateway.resting) == 1
    await seconds(rig, 2)
    assert rig.engine.desks[LONG].switches_armed == 1
