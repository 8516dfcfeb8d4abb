"""The serial path: write-ahead, exactly one send, outcomes in any order, freezing and thawing, cancels, adoption."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.errors import InvariantError, NotSent
from core.ids import parse_client_order_id
from core.types import OrderStatus, Position, Side, TimeInForce
from executor.orders import Draft, Verdict
from executor.outcome import RejectCode, Unsent
from executor.records import AnyRecord, OrderPrepared
from executor.signing.signed import Signed
from executor.venues.base import CancelRequest, OrderRequest, PositionSeen, Prepared, StreamDown, StreamUp
from tests.executor.fake_gateway import Answer, FakeGateway, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def draft(rig: Rig, **changes: object) -> Draft:
    fields: dict[str, object] = {
        "instrument": rig.gateways[LONG].instruments()["BTC"],
        "side": Side.BUY,
        "lots": 10,
        "limit_ticks": 1_000_010,
        "time_in_force": TimeInForce.IOC,
        "reduce_only": False,
        "purpose": "manual",
        "strategy": "manual",
    }
    return Draft(**(fields | changes))  # type: ignore[arg-type]


class FullDisk(Exception):
    pass


async def test_nothing_leaves_when_the_journal_cannot_take_it(rig: Rig) -> None:
    append = rig.journal.append

    def full(record: AnyRecord) -> int:
        if isinstance(record, OrderPrepared):
            raise FullDisk
        return append(record)

    rig.journal.append = full  # type: ignore[method-assign]
    before = len(rig.state.orders)
    with pytest.raises(FullDisk):
        rig.engine.send([draft(rig)])
    assert rig.gateways[LONG].wire == []
    assert len(rig.state.orders) == before


async def test_a_second_leg_that_cannot_be_journaled_keeps_the_first_from_the_wire(rig: Rig) -> None:
    append, seen = rig.journal.append, []

    def full(record: AnyRecord) -> int:
        if isinstance(record, OrderPrepared):
            seen.append(record)
            if len(seen) == 2:
                raise FullDisk
        return append(record)

    rig.journal.append = full  # type: ignore[method-assign]
    other = rig.gateways[SHORT].instruments()["BTC"]
    with pytest.raises(FullDisk):
        rig.engine.send([draft(rig), draft(rig, instrument=other)])
    assert rig.gateways[LONG].wire == rig.gateways[SHORT].wire == []


async def test_ids_carry_account_strategy_epoch_and_leg_and_nonces_are_durable_first(rig: Rig) -> None:
    other = rig.gateways[SHORT].instruments()["BTC"]
    first, second = rig.engine.send([draft(rig), draft(rig, instrument=other)])
    tags = [parse_client_order_id(order.client_order_id) for order in (first, second)]
    assert all(tag is not None and tag.epoch == rig.state.epoch for tag in tags)
    assert [tag.leg for tag in tags if tag] == [0, 1]
    assert rig.engine.is_ours(LONG, first.client_order_id)
    assert not rig.engine.is_ours(SHORT, first.client_order_id)
    assert not rig.engine.is_ours(LONG, None)
    kinds = [type(record).__name__ for record in rig.journal.records()]
    assert kinds.index("NonceBlock") < kinds.index("OrderPrepared")
    assert kinds.index("InstrumentSeen") < kinds.index("OrderPrepared")
    assert rig.state.nonce_high[rig.gateways[LONG].signer_id] > first.prepared.nonce


class SignsApart(FakeGateway):
    """Signatures come from elsewhere, when the test says so."""

    signs_apart = True
    signatures: list[asyncio.Future[Signed]]

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        signature: asyncio.Future[Signed] = asyncio.get_running_loop().create_future()
        self.signatures = [*getattr(self, "signatures", []), signature]
        return msgspec.structs.replace(super().prepare(request, nonce), signature=signature)


def apart(rig: Rig) -> SignsApart:
    """The short side signs elsewhere from now on."""
    gateway = rig.gateways[SHORT]
    gateway.__class__ = SignsApart
    assert isinstance(gateway, SignsApart)
    return gateway


async def test_no_leg_is_written_before_the_last_signature_and_the_slow_one_begins(rig: Rig) -> None:
    slow, other = apart(rig), rig.gateways[SHORT].instruments()["BTC"]
    legs = rig.engine.send([draft(rig), draft(rig, instrument=other, side=Side.SELL, limit_ticks=999_990)])
    await settle()
    assert [line for line in slow.trace if line.startswith("sign")][-2:] == [f"sign {SHORT}", f"sign {LONG}"]
    assert rig.gateways[LONG].wire == slow.wire == []
    assert [order.status for order in legs] == [OrderStatus.PREPARED] * 2
    slow.signatures[0].set_result(Signed(14, b"{}", "hash"))
    await settle()
    assert len(rig.gateways[LONG].wire) == len(slow.wire) == 1
    assert [order.status for order in legs] == [OrderStatus.FILLED] * 2
    assert [order.prepared.venue for order in legs] == [LONG, SHORT]


async def test_a_leg_that_cannot_be_signed_elsewhere_keeps_the_other_from_the_wire(rig: Rig) -> None:
    slow, other = apart(rig), rig.gateways[SHORT].instruments()["BTC"]
    legs = rig.engine.send([draft(rig), draft(rig, instrument=other)])
    slow.signatures[0].set_exception(NotSent("the signer did not answer"))
    await settle()
    assert rig.gateways[LONG].wire == slow.wire == []
    assert [order.status for order in legs] == [OrderStatus.NOT_SENT] * 2


async def test_a_signature_given_up_leaves_the_orders_to_recovery(rig: Rig) -> None:
    slow, other = apart(rig), rig.gateways[SHORT].instruments()["BTC"]
    legs = rig.engine.send([draft(rig), draft(rig, instrument=other)])
    slow.signatures[0].cancel()
    await settle()
    assert rig.gateways[LONG].wire == slow.wire == []
    assert [order.status for order in legs] == [OrderStatus.PREPARED] * 2


async def test_an_order_of_nothing_is_our_own_fault(rig: Rig) -> None:
    with pytest.raises(InvariantError):
        rig.engine.send([draft(rig, lots=0)])


@pytest.mark.parametrize("told", [Told.BEFORE, Told.AFTER, Told.TWICE])
async def test_answer_and_fills_in_any_order_end_filled_once(rig: Rig, told: Told) -> None:
    rig.gateways[LONG].plans.append(Plan(told=told))
    (order,) = rig.engine.send([draft(rig)])
    await settle()
    assert order.status is OrderStatus.FILLED
    assert order.filled_lots == order.fill_lots == 10
    assert rig.state.lots((LONG, "BTC")) == 10
    assert rig.meter.count("duplicate_fill") == (1 if told is Told.TWICE else 0)
    rig.check()


async def test_an_unknown_freezes_and_thaws_with_its_last_doubt(rig: Rig) -> None:
    rig.gateways[LONG].default = Plan(answer=Answer.LOST, told=Told.NEVER)
    (first,) = rig.engine.send([draft(rig)])
    (second,) = rig.engine.send([draft(rig)])
    await settle()
    key = (LONG, "BTC")
    assert rig.state.frozen == {key: "unknown_outcome"}
    assert rig.doubts == [first.client_order_id, second.client_order_id]
    rig.engine.settle(first.client_order_id, Verdict(OrderStatus.FILLED), "lookup")
    assert rig.state.frozen == {key: "unknown_outcome"}
    assert first.filled_lots == 10
    rig.engine.settle(second.client_order_id, Verdict(OrderStatus.EXPIRED, filled_lots=4), "position")
    assert rig.state.frozen == {}
    assert rig.state.lots(key) == 14
    assert len(rig.gateways[LONG].wire) == 2


async def test_a_duplicate_id_refusal_is_doubt_not_a_refusal(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(answer=Answer.REJECT, code=RejectCode.DUPLICATE_ID))
    (order,) = rig.engine.send([draft(rig)])
    await settle()
    assert order.status is OrderStatus.UNKNOWN


async def test_other_freezes_do_not_thaw_by_themselves(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    (order,) = rig.engine.send([draft(rig)])
    await settle()
    rig.engine.freeze((LONG, "BTC"), "foreign_position")
    rig.engine.freeze((LONG, "BTC"), "unknown_outcome")
    rig.engine.settle(order.client_order_id, Verdict(OrderStatus.FILLED), "lookup")
    assert rig.state.frozen == {(LONG, "BTC"): "foreign_position"}
    rig.engine.unfreeze((LONG, "BTC"), "seen to")
    assert rig.state.frozen == {}


async def test_an_order_whose_end_never_comes_becomes_unknown_after_its_bound(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(answer=Answer.NEVER, told=Told.NEVER))
    (order,) = rig.engine.send([draft(rig)])
    await settle()
    rig.pass_ms(6_900)
    rig.engine.watch_orders()
    assert order.status is OrderStatus.SUBMITTED
    rig.pass_ms(200)
    rig.engine.watch_orders()
    assert order.status is OrderStatus.UNKNOWN


async def test_a_resting_order_may_wait_for_ever(rig: Rig) -> None:
    (order,) = rig.engine.send([draft(rig, time_in_force=TimeInForce.GTC)])
    await settle()
    rig.pass_ms(3_600_000)
    rig.engine.watch_orders()
    assert order.status is OrderStatus.ACCEPTED


async def test_a_cancel_ends_a_resting_order_and_a_refused_one_raises_doubt(rig: Rig) -> None:
    (order,) = rig.engine.send([draft(rig, time_in_force=TimeInForce.GTC)])
    await settle()
    rig.gateways[LONG].reserve_budget = False
    assert rig.engine.cancel_order(order) is None
    rig.gateways[LONG].reserve_budget = True
    assert rig.engine.cancel_order(order) is not None
    await settle()
    assert order.status is OrderStatus.CANCELED
    assert rig.engine.cancel_order(order) is None
    (gone,) = rig.engine.send([draft(rig, time_in_force=TimeInForce.GTC)])
    await settle()
    rig.gateways[LONG].placed[gone.client_order_id].status = OrderStatus.FILLED
    rig.engine.cancel_order(gone)
    await settle()
    assert gone.status is OrderStatus.UNKNOWN  # gone, but how: only the venue's record says


async def test_cancels_of_foreign_orders_need_budget(rig: Rig) -> None:
    request = CancelRequest(
        instrument=rig.gateways[LONG].instruments()["BTC"], client_order_id="x", venue_order_id="77"
    )
    assert not isinstance(await rig.engine.cancel(LONG, request), Unsent)
    rig.gateways[LONG].reserve_budget = False
    assert isinstance(await rig.engine.cancel(LONG, request), Unsent)


async def test_place_waits_for_the_answer_and_refuses_without_a_connection(rig: Rig) -> None:
    order = await rig.engine.place(draft(rig))
    assert order is not None
    assert order.status is OrderStatus.FILLED
    rig.gateways[LONG].entry_ready = False
    assert await rig.engine.place(draft(rig)) is None


async def test_settled_waits_for_final_and_gives_up_in_time(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(held=True))
    (order,) = rig.engine.send([draft(rig)])
    assert not await rig.engine.settled([order], 0.06)
    asyncio.get_running_loop().call_later(0.05, rig.gateways[LONG].release)
    assert await rig.engine.settled([order], 5.0)


async def test_an_adopted_position_replaces_ours_and_shrinks_the_pair_it_hedged(rig: Rig) -> None:
    pair = await rig.open("0.01")
    rig.gateways[SHORT].position_lots["BTC"] = -3
    rig.engine.adopt((SHORT, "BTC"), -3, foreign=False, why="fills were missed")
    await settle()
    assert (pair.long.qty, pair.short.qty) == (Decimal("0.006"), Decimal("-0.006"))
    rig.check()
    rig.engine.adopt((LONG, "ETH"), 4, foreign=True, why="unknown at start")
    assert rig.state.frozen == {(LONG, "ETH"): "foreign_position"}


async def test_a_contract_that_changes_under_a_position_freezes_it(rig: Rig) -> None:
    await rig.engine.place(draft(rig))
    listed = rig.gateways[LONG].instruments()
    listed["BTC"] = type(listed["BTC"])(
        **{f: getattr(listed["BTC"], f) for f in listed["BTC"].__struct_fields__} | {"lot_size": Decimal("0.01")}
    )
    rig.engine.know((LONG, "BTC"))
    assert (LONG, "BTC") in rig.state.frozen


async def test_streams_and_pushed_positions_are_only_hints(rig: Rig) -> None:
    rig.engine.on_event(StreamDown(venue=LONG, reason="closed"))
    assert not rig.engine.desks[LONG].stream_up
    rig.engine.on_event(StreamUp(venue=LONG, since_wire_ns=1))
    assert rig.engine.desks[LONG].stream_up
    assert (LONG, "private stream up") in rig.hints
    rig.engine.on_event(PositionSeen(position=Position(venue=LONG, symbol="BTC", lots=5, avg_entry_px=Decimal(1))))
    assert rig.hints[-1] == (LONG, "position of BTC differs")
    assert rig.state.lots((LONG, "BTC")) == 0


async def test_an_overfilled_order_freezes_its_instrument(rig: Rig) -> None:
    (order,) = rig.engine.send([draft(rig)])
    await settle()
    rig.gateways[LONG].late_fill(order.client_order_id, 1)
    assert rig.state.frozen == {(LONG, "BTC"): "overfilled"}
    rig.check()


async def test_a_restart_never_reuses_ids_or_nonces(rig: Rig) -> None:
    (first,) = rig.engine.send([draft(rig)])
    await settle()
    rig.boot(rig.journal.replayed())
    (second,) = rig.engine.send([draft(rig)])
    await settle()
    assert first.client_order_id != second.client_order_id
    tag = parse_client_order_id(second.client_order_id)
    assert tag is not None
    assert tag.epoch == 2
    assert first.prepared.nonce < second.prepared.nonce < rig.state.nonce_high[rig.gateways[LONG].signer_id]


async def test_an_order_in_doubt_freezes_its_instrument_again_after_a_crash_between_the_two_records(rig: Rig) -> None:
    rig.gateways[LONG].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    await rig.open()
    entries = rig.journal.records()
    frozen = next(n for n, record in enumerate(entries) if type(record).__name__ == "Frozen")
    del rig.journal.entries[frozen:]
    rig.boot(rig.journal.replayed())
    assert rig.state.unknown_orders()
    assert rig.state.frozen == {order.key: "unknown_outcome" for order in rig.state.unknown_orders()}
