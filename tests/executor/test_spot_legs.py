"""Spot legs: a wallet instead of a position, long only, no leverage, no reduce-only; what is sold is what our ledger bought."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.messages import DenyReason, LegOrder, PairStatus, Sending
from core.types import Position, Side, TimeInForce
from executor.venues.base import Traits
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG, SHORT, Rig, settle

KEY = (LONG, "BTC")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Hyperliquid is a spot venue with an empty wallet here."""
    rig = Rig(tmp_path)
    gateway = rig.gateways[LONG]
    gateway.traits = Traits(wallet=True, reduce_only=False)
    for symbol, contract in gateway.instruments().items():
        gateway.instruments()[symbol] = msgspec.structs.replace(contract, can_short=False, max_leverage=1)
    rig.engine.desks[LONG].leverage = {}
    return rig


def wallet(rig: Rig, lots: int, later_ms: float = 10.0) -> None:
    """The venue is read: so many lots are in the wallet."""
    rig.pass_ms(later_ms)
    held = Position(venue=LONG, symbol="BTC", lots=lots, avg_entry_px=Decimal(1))
    rig.engine.desks[LONG].note_positions([held] if lots else [], rig.clock.mono_ns())
    rig.pass_ms(later_ms)


async def test_a_spot_leg_opens_without_leverage_and_is_closed_by_plain_orders(rig: Rig) -> None:
    pair = await rig.open("0.01")
    assert pair.status is PairStatus.OPEN
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSED
    closing = [order.prepared for order in rig.orders(pair) if order.prepared.purpose == "close"]
    assert {order.venue: order.reduce_only for order in closing} == {LONG: False, SHORT: True}
    assert rig.truth(KEY) == 0
    rig.check()


async def test_a_spot_leg_cannot_be_the_short_one(rig: Rig) -> None:
    rig.market(100_000.0, -80.0)
    command = rig.open_command("0.01", long=rig.leg(SHORT, Side.BUY), short=rig.leg(LONG, Side.SELL))
    rig.commands.take(command, rig.client)
    assert rig.client.denied is DenyReason.INSTRUMENT_UNKNOWN
    assert rig.state.pairs == {}


async def test_what_the_wallet_held_before_is_never_sold(rig: Rig) -> None:
    rig.gateways[LONG].position_lots["BTC"] = 500  # the owner's coins
    pair = await rig.open("0.01")
    wallet(rig, 510)
    rig.gateways[LONG].plans.append(Plan(fill_lots=4))
    await rig.close(pair)
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    assert rig.truth(KEY) == 500
    sold = [o.prepared.lots for o in rig.orders(pair) if o.prepared.venue == LONG and o.prepared.side is Side.SELL]
    assert sold == [10, 6]


async def test_no_more_is_sold_than_the_wallet_holds(rig: Rig) -> None:
    """Somebody has moved coins away: the rest of the leg goes, in whole lots, and nothing is borrowed."""
    pair = await rig.open("0.01")
    wallet(rig, 7)
    rig.pairs.request_close(pair, "test")
    order = next(o.prepared for o in rig.orders(pair) if o.prepared.purpose == "close" and o.prepared.venue == LONG)
    assert order.lots == 7
    await settle()
    assert any(why == "the wallet holds less than a leg" for _, why in rig.hints)


async def test_a_wallet_that_shows_nothing_of_a_leg_is_asked_again_not_written_off(rig: Rig) -> None:
    pair = await rig.open("0.01")
    wallet(rig, 0)
    rig.pairs.request_close(pair, "test")
    for _ in range(5):
        await rig.turn(400.0)
    assert pair.status is PairStatus.CLOSING
    assert [o.prepared.purpose for o in rig.orders(pair)] == ["open", "open"], "neither leg alone"
    wallet(rig, 10)
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    rig.check()


async def test_a_reading_from_before_our_own_order_proves_nothing(rig: Rig) -> None:
    wallet(rig, 0)
    pair = await rig.open("0.01")
    await rig.close(pair)
    assert pair.status is PairStatus.CLOSED
    rig.check()


async def test_what_no_order_takes_any_more_is_dust(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        contract = gateway.instruments()["BTC"]
        gateway.instruments()["BTC"] = msgspec.structs.replace(contract, min_notional_usd=Decimal(250))
    pair = await rig.open("0.01")
    rig.gateways[LONG].plans.append(Plan(fill_lots=8))
    await rig.close(pair)
    await rig.until_final(pair)
    assert pair.status is PairStatus.CLOSED
    assert pair.tolerated_qty == Decimal("0.002")
    assert rig.truth(KEY) == 2


async def test_a_spot_entry_rests_post_only_and_is_hedged_fill_by_fill(rig: Rig) -> None:
    pair = await rig.open("0.01", sending=Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=120.0))
    (name,) = rig.gateways[LONG].resting
    assert rig.state.orders[name].prepared.time_in_force is TimeInForce.POST_ONLY
    rig.gateways[LONG].match(name, 6)
    await settle()
    assert pair.short.qty == Decimal("-0.006")
    for _ in range(122):
        rig.read_accounts()
        await rig.turn(1000.0)
    assert pair.status is PairStatus.OPEN
    assert rig.gateways[LONG].resting == []
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    rig.check()


async def test_a_spot_leg_is_bought_with_free_quote_only(rig: Rig) -> None:
    rig.gateways[LONG].balance_usd = Decimal(700)
    rig.gateways[SHORT].balance_usd = Decimal(100_000)
    rig.read_accounts()
    pair = await rig.open("0.01")
    assert pair.plan.qty == Decimal("0.006"), "1000 USD asked, 700 there; a perpetual at 3x would have carried it"


async def test_what_is_bought_is_reserved_in_full(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(held=True))
    rig.commands.take(rig.open_command("0.004"), rig.client)
    assert rig.engine.desks[LONG].reserved_usd > Decimal(400)
    assert rig.engine.desks[SHORT].reserved_usd < Decimal(150)
    rig.gateways[LONG].release()
    await settle()
