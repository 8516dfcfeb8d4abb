"""Two of our orders never trade with each other: what rests goes first, what we want both ways moves inside, the rest leaves."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.messages import LegOrder, OpenPair, OrderCanceled, PairStatus, Sending, SubmitOrder
from core.types import OrderStatus, Quote, Side, Stale, TimeInForce
from executor.outcome import RejectCode
from executor.records import Netted
from executor.state import PairBook
from tests.executor.fake_gateway import Answer, Plan
from tests.executor.rig import LONG, SHORT, Rig, settle

KEY = (LONG, "BTC")
MAKER = Sending(order=LegOrder.MAKER_FIRST, first=LONG, deadline_s=60.0)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, risk={"symbol_exclusive": False, "attempt_cooldown_s": 0.0, "max_open_pairs": 10})


def turned(rig: Rig, qty: str, **changes: object) -> OpenPair:
    """By hand, the other way round: long on Aster, short on Hyperliquid."""
    changes = {"long": rig.leg(SHORT, Side.BUY), "short": rig.leg(LONG, Side.SELL), "edge_bps": 0.0} | changes
    return rig.open_command(qty, name="manual", **changes)


async def opened(rig: Rig, command: OpenPair) -> PairBook:
    rig.read_accounts()
    before = set(rig.state.pairs)
    rig.commands.take(command, rig.operator if command.command_id.strategy == "manual" else rig.client)
    await settle()
    (new,) = set(rig.state.pairs) - before
    return rig.state.pairs[new]


def netted(rig: Rig) -> list[Netted]:
    return [record for record in rig.journal.records() if isinstance(record, Netted)]


def by_hand(rig: Rig, side: Side, px: str, tif: TimeInForce = TimeInForce.GTC) -> SubmitOrder:
    return SubmitOrder(
        command_id=rig.next_id("manual"), valid_until_mono_ns=1 << 62, venue=LONG, symbol="BTC", side=side,
        qty=Decimal("0.01"), limit_px=Decimal(px), time_in_force=tif, reduce_only=False,
    )  # fmt: skip


async def closed_together(rig: Rig, *pairs: PairBook) -> None:
    """Both are asked to close while the venues cannot take orders; then they can, in one turn."""
    for gateway in rig.gateways.values():
        gateway.entry_ready = False
    for pair in pairs:
        rig.pairs.request_close(pair, "test")
    for gateway in rig.gateways.values():
        gateway.entry_ready = True
    await rig.turn()
    for pair in pairs:
        await rig.until_final(pair)


async def test_two_pairs_that_close_against_each_other_meet_inside(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    second = await opened(rig, turned(rig, "0.006"))
    sent = {venue: len(gateway.wire) for venue, gateway in rig.gateways.items()}
    await closed_together(rig, first, second)
    assert {pair.status for pair in (first, second)} == {PairStatus.CLOSED}
    records = netted(rig)
    assert {(record.venue, record.lots) for record in records} == {(LONG, 6), (SHORT, 3)}
    quote = rig.books[LONG].quotes["BTC"]
    assert isinstance(quote, Quote)
    assert next(record for record in records if record.venue == LONG).px == Decimal(str(quote.mid))
    assert all(record.seller == first.pair_id for record in records if record.venue == LONG)
    out = {venue: len(gateway.wire) - sent[venue] for venue, gateway in rig.gateways.items()}
    assert out == {LONG: 1, SHORT: 1}, "only what is left of the larger pair"
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    rig.check()


async def test_without_a_usable_quote_there_is_no_fair_price_and_both_go_out(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    second = await opened(rig, turned(rig, "0.006"))
    for book in rig.books.values():
        book.quotes["BTC"] = Stale(10**10)
    rig.pairs.request_close(first, "test")
    rig.pairs.request_close(second, "test")
    for _ in range(20):
        await rig.turn(500.0)
    assert netted(rig) == []
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    rig.check()


async def test_what_goes_out_besides_is_still_an_order_the_venue_takes(rig: Rig) -> None:
    for gateway in rig.gateways.values():
        contract = gateway.instruments()["BTC"]
        gateway.instruments()["BTC"] = msgspec.structs.replace(contract, min_notional_usd=Decimal(350))
    first = await opened(rig, rig.open_command("0.01"))
    second = await opened(rig, turned(rig, "0.008"))
    await closed_together(rig, first, second)
    assert next(record for record in netted(rig) if record.venue == LONG).lots == 6, (
        "10 - 8 would leave 2 of at least 4"
    )
    rig.check()


async def test_pairs_of_the_same_direction_do_not_meet(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.006"))
    second = await opened(rig, rig.open_command("0.006", name="manual"))
    await closed_together(rig, first, second)
    assert netted(rig) == []
    assert rig.truth((LONG, "BTC")) == 0
    rig.check()


async def test_a_close_is_reduce_only_only_where_the_net_position_covers_it(rig: Rig) -> None:
    """scalp +10, by hand -6: the account holds 4. Closing 10 must pass zero, closing -6 must enlarge."""
    first = await opened(rig, rig.open_command("0.01"))
    second = await opened(rig, turned(rig, "0.006"))
    await rig.close(first)
    order = next(o for o in reversed(rig.orders(first)) if o.prepared.venue == LONG)
    assert (order.prepared.lots, order.prepared.reduce_only) == (10, False)
    assert rig.truth(KEY) == -6
    await rig.close(second, "manual")
    order = next(o for o in reversed(rig.orders(second)) if o.prepared.venue == LONG)
    assert (order.prepared.lots, order.prepared.reduce_only) == (6, True)
    assert rig.truth(KEY) == 0
    rig.check()


async def test_an_opening_waits_until_our_resting_order_is_gone_and_takes_its_lots_inside(rig: Rig) -> None:
    """A maker exit of scalp rests at Hyperliquid's ask; a pair by hand wants to buy there."""
    first = await opened(rig, rig.open_command("0.01"))
    rig.pairs.request_close(first, "event", sending=MAKER)
    await settle()
    (lead,) = rig.gateways[LONG].resting
    wire = len(rig.gateways[LONG].wire)
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    assert rig.gateways[LONG].cancels == [lead], "in the same turn"
    assert len(rig.gateways[LONG].wire) == wire, "nothing went out against it"
    await settle()
    await rig.turn()
    second = list(rig.state.pairs.values())[-1]
    assert rig.state.orders[lead].status is OrderStatus.CANCELED
    one, other = netted(rig)
    assert (one.venue, one.lots, one.buyer, one.seller) == (LONG, 6, second.pair_id, first.pair_id)
    assert (other.venue, other.lots, other.buyer, other.seller) == (SHORT, 3, first.pair_id, second.pair_id)
    await rig.turn(1100.0)
    await rig.turn(1100.0)
    assert second.status is PairStatus.OPEN
    assert (second.long.lots, second.short.lots) == (6, -3)
    assert first.long.lots == 4
    assert first.imbalance_qty == 0, "what moved inside was hedged like a fill"
    rig.check()


async def test_an_opening_that_our_own_order_blocks_too_long_is_given_up(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    rig.pairs.request_close(first, "event", sending=MAKER)
    await settle()
    rig.gateways[LONG].reserve_budget = False  # no cancel can be sent either
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    await settle()
    second = list(rig.state.pairs.values())[-1]
    for _ in range(4):
        await rig.turn(500.0)
    assert second.status is PairStatus.ABORTED
    assert rig.orders(second) == []


async def test_an_opening_that_waited_is_sent_only_while_its_limits_are_in_reach(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    rig.pairs.request_close(first, "event", sending=MAKER)
    await settle()
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    rig.market(100_000.0, 20.0)
    await settle()
    await rig.turn()
    second = list(rig.state.pairs.values())[-1]
    assert second.status is PairStatus.ABORTED
    assert rig.orders(second) == []
    assert netted(rig) == [], "nothing has changed hands for a pair that is not opened"
    assert second.is_flat
    assert first.long.lots == 10


async def test_a_resting_order_by_hand_in_the_way_is_withdrawn_and_said_so(rig: Rig) -> None:
    rig.commands.take(by_hand(rig, Side.SELL, "100001.0"), rig.operator)
    await settle()
    (name,) = rig.gateways[LONG].resting
    rig.commands.take(rig.open_command("0.006"), rig.client)
    await settle()
    await rig.turn()
    assert rig.gateways[LONG].cancels == [name]
    assert rig.operator.of(OrderCanceled)
    assert netted(rig) == [], "a person named a price: nothing is moved at another one"
    pair = next(iter(rig.state.pairs.values()))
    assert pair.status is PairStatus.OPEN
    rig.check()


async def test_a_resting_order_out_of_reach_stays(rig: Rig) -> None:
    rig.commands.take(by_hand(rig, Side.SELL, "100900.0"), rig.operator)
    await settle()
    await opened(rig, rig.open_command("0.006"))
    assert rig.gateways[LONG].cancels == []
    assert len(rig.gateways[LONG].resting) == 1


async def test_a_fill_that_wins_against_the_cancel_is_taken_as_it_is(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    rig.pairs.request_close(first, "event", sending=MAKER)
    await settle()
    (lead,) = rig.gateways[LONG].resting
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    rig.gateways[LONG].match(lead, 10)
    await settle()
    for _ in range(3):
        await rig.turn(500.0)
    assert netted(rig) == []
    second = list(rig.state.pairs.values())[-1]
    assert first.status is PairStatus.CLOSED
    assert second.status is PairStatus.OPEN
    rig.check()


async def test_a_pair_with_an_order_under_way_is_nobodys_counterparty(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    second = await opened(rig, turned(rig, "0.006"))
    rig.gateways[LONG].plans.append(Plan(held=True))
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.pairs.request_close(first, "test")
    rig.pairs.request_close(second, "test")
    assert netted(rig) == [], "what is on the wire may fill: it is not wanted twice"
    for gateway in rig.gateways.values():
        gateway.release()
    await settle()
    for pair in (first, second):
        await rig.until_final(pair)
    assert rig.truth((LONG, "BTC")) == rig.truth((SHORT, "BTC")) == 0
    rig.check()


async def test_a_pair_whose_other_leg_cannot_go_gives_nothing_away_inside(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    rig.gateways[SHORT].plans.append(Plan(answer=Answer.REJECT, code=RejectCode.MARGIN, held=True))
    second = await opened(rig, turned(rig, "0.006"))
    rig.gateways[SHORT].entry_ready = False
    rig.pairs.request_close(first, "test")
    rig.gateways[SHORT].release()
    await settle()
    await rig.turn()
    assert netted(rig) == [], "it would stand with one leg"
    assert (first.long.lots, first.short.lots) == (10, -5)
    assert second.status is PairStatus.CLOSED, "unwound at the venue"
    rig.check()


async def test_an_order_that_is_still_on_its_way_there_is_waited_for_not_overtaken_by_its_cancel(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    rig.gateways[LONG].plans.append(Plan(held=True))
    rig.pairs.request_close(first, "event", sending=MAKER)
    wire = len(rig.gateways[LONG].wire)
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    await settle()
    assert rig.gateways[LONG].cancels == []
    assert len(rig.gateways[LONG].wire) == wire
    rig.gateways[LONG].release()
    await settle()
    for _ in range(3):
        await rig.turn(100.0)
    assert len(rig.gateways[LONG].cancels) == 1
    second = list(rig.state.pairs.values())[-1]
    assert second.status is PairStatus.OPEN
    rig.check()


async def test_an_opening_is_given_up_when_what_is_in_its_way_becomes_unknown(rig: Rig) -> None:
    first = await opened(rig, rig.open_command("0.01"))
    rig.pairs.request_close(first, "event", sending=MAKER)
    await settle()
    (lead,) = rig.gateways[LONG].resting
    rig.gateways[LONG].placed[lead].status = OrderStatus.FILLED  # the cancel will be refused: gone, but nobody told how
    wire = len(rig.gateways[LONG].wire)
    rig.commands.take(rig.open_command("0.006", name="manual"), rig.operator)
    await settle()
    assert rig.state.orders[lead].status is OrderStatus.UNKNOWN
    for _ in range(8):
        await rig.turn(200.0)
    second = list(rig.state.pairs.values())[-1]
    assert second.status is PairStatus.ABORTED
    assert len(rig.gateways[LONG].wire) == wire
