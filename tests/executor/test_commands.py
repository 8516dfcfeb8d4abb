"""Commands: repetition, trading states, orders by hand, ownership, leverage, flatten."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.clock import NS_PER_S
from core.messages import (
    AnyCommand,
    CancelAll,
    CancelOrder,
    ClosePair,
    CommandDone,
    DenyReason,
    Flatten,
    FlattenReport,
    OrderCanceled,
    OrderDenied,
    OrderFilled,
    PairState,
    PairStatus,
    Probe,
    SetLeverage,
    SetTradingState,
    SubmitOrder,
)
from core.types import Side, TimeInForce, TradingState
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG, SHORT, Client, Rig, settle
from tests.executor.test_admission import edge_gone, stale

Spoil = Callable[[Rig], AnyCommand]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# ---- repetition -------------------------------------------------------------------------------------------------------


async def test_a_repeated_open_gets_its_reports_and_no_second_order(rig: Rig) -> None:
    command = rig.open_command("0.01")
    rig.commands.take(command, rig.client)
    await settle()
    wire = [list(gateway.wire) for gateway in rig.gateways.values()]
    again = Client("scalp")
    rig.pass_ms(60_000)
    rig.commands.take(command, again)
    await settle()
    assert [list(gateway.wire) for gateway in rig.gateways.values()] == wire
    states = again.of(PairState)
    assert [report.status for report in states] == [PairStatus.OPEN]  # type: ignore[union-attr]
    assert len(rig.state.pairs) == 1


async def test_a_repeated_denial_is_the_recorded_one_after_a_restart_too(rig: Rig) -> None:
    command = stale(rig)
    rig.commands.take(command, rig.client)
    rig.market(100_000.0, 60.0)  # it would be let through now
    rig.boot(rig.journal.replayed())
    again = Client("scalp")
    rig.commands.take(command, again)
    assert again.denied is DenyReason.QUOTE_STALE
    assert not rig.state.pairs


async def test_a_repeated_close_in_flight_tells_where_the_pair_stands(rig: Rig) -> None:
    pair = await rig.open()
    for gateway in rig.gateways.values():
        gateway.default = Plan(held=True)
    command = ClosePair(command_id=rig.next_id(), valid_until_mono_ns=0, pair_id=pair.pair_id, reason="x")
    rig.commands.take(command, rig.client)
    again = Client("scalp")
    rig.commands.take(command, again)
    assert [report.status for report in again.of(PairState)] == [PairStatus.CLOSING]  # type: ignore[union-attr]
    assert all(len(gateway.wire) == 2 for gateway in rig.gateways.values())


# ---- states -----------------------------------------------------------------------------------------------------------


def _state(rig: Rig, state: TradingState, name: str = "manual") -> SetTradingState:
    return SetTradingState(command_id=rig.next_id(name), valid_until_mono_ns=1 << 62, state=state, reason="test")


async def test_halted_denies_strategies_everything_but_closing(rig: Rig) -> None:
    pair = await rig.open()
    syncs = rig.journal.syncs
    rig.commands.take(_state(rig, TradingState.HALTED), rig.operator)
    assert rig.latch.read() is not None
    assert rig.journal.syncs == syncs + 1  # acknowledged is durable
    cancel = CancelAll(command_id=rig.next_id(), valid_until_mono_ns=1 << 62)
    rig.commands.take(cancel, rig.client)
    assert rig.client.denied is DenyReason.TRADING_STATE
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSED


async def test_only_resume_leaves_halted_and_a_restart_never_does(rig: Rig) -> None:
    rig.commands.take(_state(rig, TradingState.HALTED), rig.operator)
    rig.boot(rig.journal.replayed())
    assert rig.state.trading_state is TradingState.HALTED
    rig.engine.sessions = {rig.client, rig.operator}
    rig.commands.take(_state(rig, TradingState.REDUCING), rig.operator)
    assert rig.operator.denied is DenyReason.TRADING_STATE
    watchdog = Client("risk")
    rig.commands.take(_state(rig, TradingState.ACTIVE, "risk"), watchdog)
    assert watchdog.denied is DenyReason.NOT_AUTHORIZED
    assert rig.state.trading_state is TradingState.HALTED
    rig.commands.take(_state(rig, TradingState.ACTIVE), rig.operator)
    assert rig.state.trading_state is TradingState.ACTIVE
    assert rig.latch.read() is None


async def test_reducing_lets_exits_run_and_repairs_only_by_unwinding(rig: Rig) -> None:
    rig.gateways[SHORT].plans.append(Plan(fill_lots=3, held=True))
    rig.commands.take(rig.open_command("0.01"), rig.client)
    rig.commands.take(_state(rig, TradingState.REDUCING), rig.operator)
    rig.gateways[SHORT].release()
    await settle()
    (pair,) = rig.state.pairs.values()
    assert [order.prepared.purpose for order in rig.orders(pair)][2:] == ["unwind"]
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSED


async def test_probe_answers_while_recovering_and_leaves_no_trace(rig: Rig) -> None:
    before = len(rig.journal.entries)
    rig.engine.ready = False
    rig.commands.take(Probe(command_id=rig.next_id("ops"), valid_until_mono_ns=0), rig.operator)
    (done,) = rig.operator.of(CommandDone)
    assert isinstance(done, CommandDone)
    assert not done.ok
    assert len(rig.journal.entries) == before


# ---- by hand ----------------------------------------------------------------------------------------------------------


def _order(rig: Rig, **changes: object) -> SubmitOrder:
    order = SubmitOrder(
        command_id=rig.next_id("manual"),
        valid_until_mono_ns=rig.clock.mono_ns() + NS_PER_S,
        venue=LONG,
        symbol="BTC",
        side=Side.BUY,
        qty=Decimal("0.01"),
        limit_px=Decimal("100010"),
        time_in_force=TimeInForce.IOC,
        reduce_only=False,
    )
    return msgspec.structs.replace(order, **changes)


async def test_an_order_by_hand_is_filled_reported_and_answered(rig: Rig) -> None:
    command = _order(rig)
    rig.commands.take(command, rig.operator)
    await settle()
    assert rig.truth((LONG, "BTC")) == 10
    assert rig.operator.of(OrderFilled)
    assert rig.state.commands[command.command_id].answers
    rig.check()


async def test_halted_still_lets_an_operator_reduce_by_hand_but_not_add(rig: Rig) -> None:
    rig.commands.take(_order(rig), rig.operator)
    await settle()
    rig.commands.take(_state(rig, TradingState.HALTED), rig.operator)
    rig.commands.take(_order(rig), rig.operator)
    assert rig.operator.denied is DenyReason.TRADING_STATE
    rig.commands.take(_order(rig, side=Side.SELL, limit_px=Decimal("99990"), reduce_only=True), rig.operator)
    await settle()
    assert rig.truth((LONG, "BTC")) == 0


async def test_resting_orders_are_cancelled_on_command_and_when_their_client_leaves(rig: Rig) -> None:
    rig.commands.take(_order(rig, time_in_force=TimeInForce.GTC, limit_px=Decimal("99000")), rig.operator)
    await settle()
    (order,) = rig.state.open_orders()
    rig.commands.take(
        CancelOrder(
            command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, client_order_id=order.client_order_id
        ),
        rig.operator,
    )
    await settle()
    assert rig.operator.of(OrderCanceled)
    assert any(isinstance(report, CommandDone) and report.ok for report in rig.operator.reports)
    rig.commands.take(_order(rig, time_in_force=TimeInForce.GTC, limit_px=Decimal("99000")), rig.operator)
    await settle()
    rig.commands.client_left("manual")  # another session of that name is still there
    await settle()
    assert len(rig.state.open_orders()) == 1
    rig.engine.sessions = {rig.client}
    rig.commands.client_left("manual")
    await settle()
    assert rig.state.open_orders() == []


async def test_a_strategy_that_leaves_keeps_its_hedged_pairs(rig: Rig) -> None:
    pair = await rig.open()
    rig.engine.sessions = set()
    rig.commands.client_left("scalp")
    await rig.turn(500.0)
    assert pair.status is PairStatus.OPEN


async def test_strategies_touch_only_what_is_theirs(rig: Rig) -> None:
    pair = await rig.open()
    stranger = Client("nobody")
    rig.commands.take(
        ClosePair(command_id=rig.next_id("nobody"), valid_until_mono_ns=0, pair_id=pair.pair_id, reason="x"), stranger
    )
    assert stranger.denied is DenyReason.NOT_AUTHORIZED
    pair.plan = msgspec.structs.replace(pair.plan, strategy="carry")
    await rig.close(pair)
    assert rig.client.denied is DenyReason.NOT_AUTHORIZED
    await rig.close(pair, "manual")
    assert pair.status is PairStatus.CLOSED


async def test_leverage_is_set_before_a_position_and_read_back(rig: Rig) -> None:
    def ask(leverage: int) -> SetLeverage:
        return SetLeverage(
            command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, venue=LONG, symbol="BTC", leverage=leverage
        )

    rig.commands.take(ask(5), rig.operator)
    await settle()
    assert rig.engine.desks[LONG].leverage["BTC"] == 5
    rig.gateways[LONG].leverage_sticks = False
    rig.commands.take(ask(7), rig.operator)
    await settle()
    done = rig.operator.of(CommandDone)[-1]
    assert isinstance(done, CommandDone)
    assert not done.ok
    rig.gateways[LONG].reachable = False
    rig.commands.take(ask(3), rig.operator)
    await settle()
    assert "BTC" not in rig.engine.desks[LONG].leverage  # unverified: opens are blocked
    rig.engine.desks[LONG].leverage["BTC"] = 3
    await rig.open()
    rig.commands.take(ask(4), rig.operator)
    assert rig.operator.denied is DenyReason.PAIR_BUSY


async def test_flatten_runs_once_obeys_the_latch_and_answers(rig: Rig) -> None:
    rig.latch.set("flatten", 1)
    command = Flatten(command_id=rig.next_id("manual"), valid_until_mono_ns=0, venue=LONG)
    rig.commands.take(command, rig.operator)
    rig.commands.take(Flatten(command_id=rig.next_id("manual"), valid_until_mono_ns=0), rig.operator)
    assert rig.operator.denied is DenyReason.PAIR_BUSY
    assert rig.state.trading_state is TradingState.HALTED
    await settle()
    assert rig.flatten_calls == [(LONG, None, False)]
    (report,) = rig.operator.of(FlattenReport)
    assert report.command_id == command.command_id


async def test_refusals_carry_the_numbers_that_decided(rig: Rig) -> None:
    rig.commands.take(edge_gone(rig), rig.client)
    (denied,) = rig.client.of(OrderDenied)
    assert isinstance(denied, OrderDenied)
    assert denied.numbers["dev_at_limits_bps"] < denied.numbers["fees_bps"] + denied.numbers["exit_spreads_bps"]


async def test_nobody_resumes_while_a_flatten_is_under_way(rig: Rig) -> None:
    """A venue that is flat already would not be looked at again: what opened there would be missing in the report."""
    rig.commands.take(_state(rig, TradingState.HALTED), rig.operator)
    rig.commands.take(Flatten(command_id=rig.next_id("manual"), valid_until_mono_ns=0), rig.operator)
    rig.commands.take(_state(rig, TradingState.ACTIVE), rig.operator)  # the flatten has not had its first turn yet
    assert rig.operator.denied is DenyReason.PAIR_BUSY
    assert rig.state.trading_state is TradingState.HALTED
    await settle()
    rig.commands.take(_state(rig, TradingState.ACTIVE), rig.operator)
    assert rig.state.trading_state is TradingState.ACTIVE
