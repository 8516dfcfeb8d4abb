"""Between a decision and its order: what has changed meanwhile counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.messages import CancelAll, DenyReason, LegOrder, PairStatus, Sending, SetLeverage, SubmitOrder
from core.types import Instrument, OrderStatus, Side, TimeInForce, TradingState, Venue
from executor import opening
from executor.netting import Netting, Wish
from executor.orders import Draft
from executor.outcome import Accepted, Outcome
from executor.quotes import Quotes
from executor.records import Netted
from executor.state import PairBook
from executor.venues.base import DeadMan, DeadManScope, Traits
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG, SHORT, Rig, instrument, settle

MAKER = Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=60.0)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, risk={"symbol_exclusive": False, "attempt_cooldown_s": 0.0, "max_open_pairs": 10})


async def waiting(rig: Rig) -> PairBook:
    """An opening that waits until an order of ours is gone, whose cancel the venue takes its time for."""
    first = await rig.open("0.01")
    rig.pairs.request_close(first, "event", sending=MAKER)
    await settle()
    rig.gateways[LONG].reserve_budget = False  # the cancel cannot be sent yet
    rig.read_accounts()
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    await settle()
    second = list(rig.state.pairs.values())[-1]
    assert second.orders == []
    return second


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.REDUCING])
async def test_an_opening_that_waited_is_not_sent_once_trading_is_not_active(rig: Rig, state: TradingState) -> None:
    second = await waiting(rig)
    rig.engine.set_trading_state(state, "test")
    rig.gateways[LONG].reserve_budget = True
    for _ in range(3):
        await rig.turn()
    assert second.orders == []
    assert second.is_flat
    assert second.status is PairStatus.ABORTED


async def test_an_opening_that_waited_is_sent_while_trading_is_active(rig: Rig) -> None:
    second = await waiting(rig)
    rig.gateways[LONG].reserve_budget = True
    for _ in range(3):
        await rig.turn()
    assert second.status is PairStatus.OPEN


def by_hand(rig: Rig, side: Side, px: str, tif: TimeInForce, *, reduce_only: bool = False) -> SubmitOrder:
    return SubmitOrder(
        command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, venue=LONG, symbol="BTC", side=side,
        qty=Decimal("0.003"), limit_px=Decimal(px), time_in_force=tif, reduce_only=reduce_only,
    )  # fmt: skip


async def rested(rig: Rig, *commands: SubmitOrder) -> list[str]:
    for command in commands:
        rig.commands.take(command, rig.operator)
        await settle()
    return rig.gateways[LONG].resting


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.REDUCING])
async def test_a_resting_order_by_hand_opens_nothing_once_trading_is_not_active(rig: Rig, state: TradingState) -> None:
    (name,) = await rested(rig, by_hand(rig, Side.BUY, "99990.0", TimeInForce.GTC))
    await rig.turn()
    assert rig.gateways[LONG].cancels == []
    rig.engine.set_trading_state(state, "test")
    await rig.turn()
    assert rig.gateways[LONG].cancels == [name]
    assert rig.gateways[LONG].resting == []


async def test_what_only_reduces_goes_on_resting(rig: Rig) -> None:
    """3 lots bought by hand: one plain sale of 3 and a reduce-only one stay, the second plain sale would open."""
    rig.commands.take(by_hand(rig, Side.BUY, "100010.0", TimeInForce.IOC), rig.operator)
    await settle()
    assert rig.truth((LONG, "BTC")) == 3
    sale = (Side.SELL, "100050.0", TimeInForce.GTC)
    _, _, second = await rested(rig, by_hand(rig, *sale), by_hand(rig, *sale, reduce_only=True), by_hand(rig, *sale))
    rig.engine.set_trading_state(TradingState.HALTED, "test")
    await rig.turn()
    assert rig.gateways[LONG].cancels == [second]


async def test_a_stand_in_leg_that_is_not_there_yet_is_not_netted_into(rig: Rig) -> None:
    """Its pair gets the leg with its first order; a record of lots on no leg could never be replayed."""
    first = await rig.open("0.01")
    rig.read_accounts()
    second = await rig.open("0.006")
    stand_in = opening.first(first, instrument(SHORT), Side.SELL, 3)
    first.short.venue = rig.state.pairs[first.pair_id].plan.long_venue  # so that SHORT is a venue of neither leg
    netting = Netting(rig.engine, lambda pair, key: Wish(side=Side.BUY, lots=3))
    cleared = netting.clear(first, [stand_in])
    assert (cleared.drafts, cleared.netted) == ([stand_in], [])
    assert not [record for record in rig.journal.records() if isinstance(record, Netted)]
    assert second.short.lots == -3


async def test_a_cancel_that_a_venue_has_taken_is_not_asked_for_again_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some venues only take a cancel: its effect is told by the stream, which may be away. Asking ten times a second until then
    would use up the budget that is kept for flatten."""
    gateway = rig.gateways[LONG]

    def only_taken(name: str, future: asyncio.Future[Outcome]) -> None:
        gateway.cancels.append(name)
        future.set_result(Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0))

    monkeypatch.setattr(gateway, "_cancel", only_taken)
    pair = await rig.open("0.01")
    rig.pairs.request_close(pair, "event", sending=MAKER)
    await settle()
    (lead,) = gateway.resting
    rig.pairs.end_leads("test")
    for _ in range(8):
        await rig.turn(100.0)
    assert gateway.cancels == [lead]
    for _ in range(8):
        await rig.turn(500.0)
    assert 1 < len(gateway.cancels) <= 4, "but not forgotten either: the first one may have been lost there"
    gateway.end_resting(lead)
    await rig.turn()
    assert pair.status is PairStatus.OPEN
    rig.check()


def blind(rig: Rig) -> None:
    rig.pass_ms(31_000.0)  # nobody has read the accounts since


def skewed(rig: Rig) -> None:
    rig.gateways[SHORT].clock_offset_ns = 2_000_000_000


def near_liquidation(rig: Rig) -> None:
    desk = rig.engine.desks[LONG]
    desk.note_balance(
        msgspec.structs.replace(rig.gateways[LONG].balance_now(), maintenance_margin_usd=Decimal(9_000)),
        rig.clock.mono_ns(),
    )


def leveraged(rig: Rig) -> None:
    rig.engine.desks[SHORT].leverage["BTC"] = 20


@pytest.mark.parametrize("meanwhile", [blind, skewed, near_liquidation, leveraged])
async def test_a_first_leg_rests_no_longer_than_a_pair_could_be_opened_there(
    rig: Rig, meanwhile: Callable[[Rig], None]
) -> None:
    pair = await rig.open("0.01", sending=MAKER)
    await rig.turn()
    assert len(rig.gateways[LONG].resting) == 1
    meanwhile(rig)
    for _ in range(3):
        await rig.turn()
    assert rig.gateways[LONG].resting == []
    assert pair.status is PairStatus.ABORTED
    rig.check()


async def test_leverage_stands_while_a_pair_is_being_opened_there(rig: Rig) -> None:
    pair = await rig.open("0.01", sending=MAKER)
    assert pair.is_flat
    for venue in (LONG, SHORT):
        rig.commands.take(
            SetLeverage(
                command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, venue=venue, symbol="BTC", leverage=5
            ),
            rig.operator,
        )
        assert rig.operator.denied is DenyReason.PAIR_BUSY
        assert rig.engine.desks[venue].leverage["BTC"] == 3


async def test_a_quote_is_not_accepted_beside_an_order_that_is_on_its_way_there(rig: Rig) -> None:
    """At venues that know our orders by nothing but the quote, two at once could not be told apart (RULES 5)."""
    gateway = rig.gateways[SHORT]
    gateway.traits = Traits(quotes_first=True, reduce_only=False, client_ids=False, partial_fills=False)
    gateway.quote_px = Decimal("100600.0")
    quotes, key = Quotes(rig.engine), (SHORT, "BTC")
    assert quotes.ask(key, Side.SELL, 3) is None
    await settle()
    assert quotes.ask(key, Side.SELL, 3) is not None
    gateway.plans.append(Plan(held=True))
    rig.engine.send(
        [
            Draft(
                instrument=gateway.instruments()["BTC"], side=Side.BUY, lots=2, limit_ticks=1_006_000,
                time_in_force=TimeInForce.IOC, reduce_only=False, purpose="flatten", strategy="",
            )
        ]
    )  # fmt: skip
    assert quotes.ask(key, Side.SELL, 3) is None
    gateway.release()
    await settle()
    assert quotes.ask(key, Side.SELL, 3) is not None, "it is still good"


# ---- what nobody but our ledger bounds --------------------------------------------------------------------------------


def without_reduce_only(rig: Rig, bought: int = 0) -> None:
    """Hyperliquid as a venue that takes an order marked reduce-only for a plain one; `bought` lots of ours are there."""
    if bought:
        rig.commands.take(by_hand(rig, Side.BUY, "100010.0", TimeInForce.IOC), rig.operator)
    rig.gateways[LONG].traits = Traits(reduce_only=False)


@pytest.mark.parametrize("state", list(TradingState))
@pytest.mark.parametrize(("side", "px", "bought"), [(Side.BUY, "100010.0", 3), (Side.SELL, "99990.0", 0)])
async def test_an_order_that_only_says_that_it_reduces_opens_nothing(
    rig: Rig, state: TradingState, side: Side, px: str, bought: int
) -> None:
    without_reduce_only(rig, bought)
    await settle()
    rig.engine.set_trading_state(state, "test")
    rig.commands.take(by_hand(rig, side, px, TimeInForce.IOC, reduce_only=True), rig.operator)
    await settle()
    assert rig.operator.denied is DenyReason.CAPACITY
    assert rig.truth((LONG, "BTC")) == bought


async def test_two_that_reduce_take_no_more_than_there_is(rig: Rig) -> None:
    without_reduce_only(rig, 3)
    await settle()
    rig.engine.set_trading_state(TradingState.HALTED, "test")
    rig.gateways[LONG].plans.append(Plan(held=True))
    rig.commands.take(by_hand(rig, Side.SELL, "99990.0", TimeInForce.IOC, reduce_only=True), rig.operator)
    rig.commands.take(by_hand(rig, Side.SELL, "99990.0", TimeInForce.IOC, reduce_only=True), rig.operator)
    rig.gateways[LONG].release()
    await settle()
    assert rig.truth((LONG, "BTC")) == 0
    rig.check()


@pytest.mark.parametrize("wallet", [True, False])
async def test_a_sale_that_rests_in_a_wallet_goes_when_our_coins_are_gone(rig: Rig, wallet: bool) -> None:
    without_reduce_only(rig, 3)
    await settle()
    (name,) = await rested(rig, by_hand(rig, Side.SELL, "100050.0", TimeInForce.GTC, reduce_only=True))
    rig.gateways[LONG].traits = Traits(reduce_only=False, wallet=wallet)
    await rig.turn()
    assert rig.gateways[LONG].cancels == []
    rig.engine.adopt((LONG, "BTC"), 0, foreign=False, why="test")
    await rig.turn()
    assert rig.gateways[LONG].cancels == ([name] if wallet else [])


async def test_a_lot_that_changes_under_legs_that_net_to_nothing_freezes_all_the_same(rig: Rig) -> None:
    await rig.open("0.006")
    rig.read_accounts()
    turned = {"long": rig.leg(SHORT, Side.BUY), "short": rig.leg(LONG, Side.SELL), "edge_bps": 0.0}
    rig.commands.take(rig.open_command("0.006", name="manual", **turned), rig.operator)  # type: ignore[arg-type]
    await settle()
    assert [rig.state.lots((LONG, "BTC")), len(rig.state.live_pairs())] == [0, 2]
    rig.gateways[LONG].instruments()["BTC"] = instrument(LONG, lot_size=Decimal("0.0001"))
    rig.engine.know((LONG, "BTC"))
    assert (LONG, "BTC") in rig.state.frozen
    assert rig.state.contracts[(LONG, "BTC")].lot_size == Decimal("0.001")


async def test_a_margin_guard_keeps_its_hands_off_what_flatten_is_closing(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.engine.flattening.add((SHORT, "BTC"))
    rig.pairs.halve(pair, "margin")
    await settle()
    assert (rig.truth((LONG, "BTC")), rig.truth((SHORT, "BTC"))) == (10, -5)
    rig.engine.flattening.clear()
    rig.pairs.halve(pair, "margin")
    await settle()
    assert (rig.truth((LONG, "BTC")), rig.truth((SHORT, "BTC"))) == (6, -3)


@pytest.mark.parametrize(
    ("name", "venue", "recalled"), [("manual", LONG, True), ("manual", SHORT, False), ("scalp", LONG, False)]
)
async def test_a_cancel_of_everything_also_means_what_still_waits_for_its_switch(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str, venue: Venue, recalled: bool
) -> None:
    gateway, armed = rig.gateways[LONG], asyncio.Event()
    gateway.dead_man = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=60.0, refresh_s=15.0)

    async def slowly(instruments: Sequence[Instrument]) -> None:
        await armed.wait()

    monkeypatch.setattr(gateway, "arm_dead_man", slowly)
    rig.commands.take(by_hand(rig, Side.BUY, "99990.0", TimeInForce.GTC), rig.operator)
    await settle()
    everything = CancelAll(command_id=rig.next_id(name), valid_until_mono_ns=1 << 62, venue=venue)
    rig.commands.take(everything, rig.operator)
    armed.set()
    await settle()
    assert gateway.resting == [] if recalled else len(gateway.resting) == 1
    assert rig.operator.denied is (DenyReason.EXPIRED if recalled else None)
