"""Sub-ledgers: what each owner holds of a position, and what moves between them without an order."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.errors import InvariantError
from core.messages import OpenPair
from core.types import Side, TimeInForce
from executor.orders import Draft
from executor.records import Netted
from executor.sub_ledgers import BY_HAND, REST
from tests.executor.fake_gateway import Plan
from tests.executor.rig import LONG, SHORT, Rig, settle

KEY = (LONG, "BTC")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, risk={"symbol_exclusive": False, "attempt_cooldown_s": 0.0})


def turned(rig: Rig, qty: str, name: str = "manual") -> OpenPair:
    """The same two venues the other way round: long on Aster, short on Hyperliquid."""
    return rig.open_command(qty, name=name, long=rig.leg(SHORT, Side.BUY), short=rig.leg(LONG, Side.SELL), edge_bps=0.0)


async def opened_both_ways(rig: Rig) -> None:
    """scalp holds +10 lots on Hyperliquid, an operator's pair -6."""
    await rig.open("0.01")
    rig.read_accounts()
    rig.commands.take(turned(rig, "0.006"), rig.operator)
    await settle()


def by_hand(rig: Rig, side: Side, lots: int, reduce_only: bool = False) -> Draft:
    return Draft(
        instrument=rig.gateways[LONG].instruments()["BTC"], side=side, lots=lots, limit_ticks=1_000_000,
        time_in_force=TimeInForce.IOC, reduce_only=reduce_only, purpose="manual", strategy="manual",
    )  # fmt: skip


async def test_sub_ledgers_sum_to_the_position_of_the_venue(rig: Rig) -> None:
    await opened_both_ways(rig)
    rig.engine.send([by_hand(rig, Side.BUY, 3)])
    await settle()
    owners = rig.state.sub_ledgers(KEY)
    assert owners == {"scalp": 10, "manual": -6, BY_HAND: 3}
    assert sum(owners.values()) == rig.truth(KEY) == 7
    rig.gateways[LONG].foreign_fill("ETH", Side.BUY, 2, Decimal(100_000))
    assert rig.state.sub_ledgers((LONG, "ETH")) == {REST: 2}
    rig.check()


async def test_an_empty_position_keeps_what_stands_on_both_sides_of_it(rig: Rig) -> None:
    rig.engine.send([by_hand(rig, Side.BUY, 4)])
    await settle()
    rig.commands.take(turned(rig, "0.004"), rig.operator)
    await settle()
    assert rig.truth(KEY) == 0
    assert rig.state.sub_ledgers(KEY) == {"manual": -4, BY_HAND: 4}
    rig.check()


async def test_a_position_that_ends_takes_what_is_by_hand_along(rig: Rig) -> None:
    rig.engine.send([by_hand(rig, Side.BUY, 4)])
    await settle()
    rig.gateways[LONG].foreign_fill("BTC", Side.SELL, 4, Decimal(100_000))
    assert rig.state.sub_ledgers(KEY) == {}
    rig.check()


async def test_netting_moves_lots_between_pairs_and_leaves_the_position(rig: Rig) -> None:
    await opened_both_ways(rig)
    first, second = rig.state.pairs.values()
    before, held = rig.state.net_usd, rig.state.lots(KEY)
    entries = first.long.book.avg_px, second.short.book.avg_px
    rig.engine.record(
        Netted(
            wire_ns=rig.clock.wire_ns(), venue=LONG, symbol="BTC", lots=4, px=Decimal(100_100),
            buyer=second.pair_id, seller=first.pair_id,
        )
    )  # fmt: skip
    assert (first.long.lots, second.short.lots) == (6, -2)
    assert rig.state.lots(KEY) == held
    assert sum(rig.state.sub_ledgers(KEY).values()) == held
    gained = Decimal("0.004") * ((Decimal(100_100) - entries[0]) + (entries[1] - Decimal(100_100)))
    assert rig.state.net_usd - before == gained
    assert first.diverged_wire_ns
    assert second.diverged_wire_ns
    assert not first.unbooked
    assert rig.journal.replayed() == rig.state


async def test_netting_needs_a_leg_on_both_sides(rig: Rig) -> None:
    await opened_both_ways(rig)
    first, second = rig.state.pairs.values()
    rig.engine.know((LONG, "ETH"))
    with pytest.raises(InvariantError, match="lacks"):
        rig.state.apply(
            10_000,
            Netted(
                wire_ns=0, venue=LONG, symbol="ETH", lots=4, px=Decimal(1), buyer=second.pair_id, seller=first.pair_id
            ),
        )


async def test_an_order_of_a_pair_on_a_third_venue_makes_a_stand_in_leg(rig: Rig) -> None:
    """Booked like any leg: it counts in the imbalance, in the pair's money, and nobody calls it naked."""
    pair = await rig.open("0.01")
    rig.engine.on_pair = lambda pair, why: None  # only the books are looked at here
    pair.short.venue = LONG  # as if the pair stood on two other venues: Aster is the third
    contract = rig.gateways[SHORT].instruments()["BTC"]
    rig.engine.send([
        Draft(
            instrument=contract, side=Side.SELL, lots=2, limit_ticks=900_000, time_in_force=TimeInForce.IOC,
            reduce_only=False, purpose="hedge", strategy="scalp", pair_id=pair.pair_id,
        )
    ])  # fmt: skip
    await settle()
    assert pair.hedge is not None
    assert (pair.hedge.venue, pair.hedge.side, pair.hedge.lots) == (SHORT, Side.SELL, -2)
    assert pair.imbalance_qty == Decimal("-0.004")
    assert pair.leg(SHORT) is pair.hedge
    assert not pair.is_flat
    assert pair.net_usd == sum((leg.book.net_usd for leg in pair.all_legs), Decimal(0))


async def test_a_reduction_by_hand_is_the_legs_and_leaves_nothing_by_hand(rig: Rig) -> None:
    await rig.open("0.01")
    rig.engine.on_pair = lambda pair, why: None
    rig.engine.send([by_hand(rig, Side.SELL, 4, reduce_only=True)])
    await settle()
    assert rig.state.sub_ledgers(KEY) == {"scalp": 6}
    rig.engine.send([by_hand(rig, Side.SELL, 8)])
    await settle()
    assert rig.state.sub_ledgers(KEY) == {BY_HAND: -2}
    rig.check()


async def test_a_position_cleared_by_a_flatten_leaves_nobody_anything(rig: Rig) -> None:
    """Owners on both sides of an empty position: nothing to close at the venue, and nothing to unwind afterwards."""
    rig.engine.send([by_hand(rig, Side.BUY, 4)])
    await settle()
    rig.commands.take(turned(rig, "0.004"), rig.operator)
    await settle()
    (pair,) = rig.state.live_pairs()
    rig.engine.on_pair = lambda pair, why: None
    rig.engine.adopt(KEY, 0, foreign=False, why="agrees, but was not cleared")
    assert pair.short.lots == -4
    rig.engine.adopt(KEY, 0, foreign=False, why="flattened", cleared=True)
    assert rig.state.sub_ledgers(KEY) == {}
    assert pair.short.lots == 0
    assert rig.journal.replayed() == rig.state


async def test_what_was_taken_from_an_opening_pair_is_not_bought_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.commands.take(rig.open_command("0.01"), rig.client)
    await settle()
    rig.gateways[LONG].foreign_fill("BTC", Side.SELL, 4, Decimal(100_000))
    rig.gateways[SHORT].release()
    await settle()
    (pair,) = rig.state.pairs.values()
    for _ in range(3):
        await rig.turn(300.0)
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    assert [order.prepared.purpose for order in rig.orders(pair)] == ["open", "open", "unwind"]
    rig.check()


async def test_somebodys_lots_on_top_of_ours_take_nothing_from_a_leg_on_the_other_side(rig: Rig) -> None:
    """+4 and -8 of ours, so -4 at the venue; somebody sells 3 more: that is his, our long leg keeps what it has."""
    await rig.open("0.004")
    rig.read_accounts()
    rig.commands.take(turned(rig, "0.008"), rig.operator)
    await settle()
    rig.gateways[LONG].foreign_fill("BTC", Side.SELL, 3, Decimal(100_000))
    rig.engine.adopt(KEY, -7, foreign=True, why="larger than our records explain")
    owners = rig.state.sub_ledgers(KEY)
    assert owners == {"scalp": 4, "manual": -8, REST: -3}
    assert rig.journal.replayed() == rig.state


async def test_a_foreign_fill_takes_what_is_by_hand_before_it_takes_a_leg(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.engine.send([by_hand(rig, Side.BUY, 5)])
    await settle()
    rig.gateways[LONG].foreign_fill("BTC", Side.SELL, 3, Decimal(100_000))
    await settle()
    assert rig.state.sub_ledgers(KEY) == {"scalp": 10, BY_HAND: 2}
    rig.gateways[LONG].foreign_fill("BTC", Side.SELL, 6, Decimal(100_000))
    await settle()
    for _ in range(3):
        await rig.turn(300.0)
    assert rig.state.sub_ledgers(KEY) == {"scalp": 6}
    assert pair.imbalance_qty == 0
    rig.check()


async def test_what_a_flatten_takes_of_an_order_by_hand_is_gone(rig: Rig) -> None:
    rig.engine.send([by_hand(rig, Side.BUY, 4)])
    await settle()
    rig.engine.send([msgspec.structs.replace(by_hand(rig, Side.SELL, 4), purpose="flatten", strategy="")])
    await settle()
    assert rig.state.sub_ledgers(KEY) == {}
    assert rig.state.positions[KEY].by_hand_lots == 0


async def test_a_strangers_lots_are_foreign_even_if_we_end_before_we_could_say_so(rig: Rig) -> None:
    rig.gateways[LONG].foreign_fill("ETH", Side.SELL, 4, Decimal(3000))
    kinds = [type(record).__name__ for record in rig.journal.records()]
    state = rig.journal.replayed(kinds.index("FillRecorded") + 1)
    assert "PositionAdopted" in kinds
    assert state.positions[(LONG, "ETH")].foreign
    assert not state.frozen
