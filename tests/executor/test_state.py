"""State is what its records make it: replay of every prefix, checkpoint, bounds, duplicates, attribution."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from core.errors import ConfigError, InvariantError
from core.ids import CommandId
from core.messages import PairStatus
from core.types import OrderStatus, Side, Stale
from executor.image import decode_state, encode_state
from executor.orders import Verdict
from executor.outcome import RejectCode
from executor.records import (
    AnyRecord,
    CleanStop,
    CommandAnswered,
    CommandTaken,
    EpochStarted,
    FillRecorded,
    FundingRecorded,
)
from executor.state import COMMANDS_KEPT, State
from executor.venues.base import VenueOrder
from tests.executor.fake_gateway import Answer, Plan, Told
from tests.executor.rig import LONG, SHORT, Rig, settle

SEEDS = range(40)


async def wander(rig: Rig, rng: random.Random, steps: int) -> None:
    """A seeded life: opens, closes, every outcome a venue can give, foreign fills, restarts, and time."""
    for _ in range(steps):
        for gateway in rig.gateways.values():
            gateway.default = _plan(rng)
        choice = rng.random()
        live = rig.state.live_pairs()
        if choice < 0.35:
            rig.pass_ms(11_000)
            rig.read_accounts()
            symbol = rng.choice(["BTC", "ETH"])
            rig.market(100_000.0, rng.choice([60.0, 80.0]), symbol)
            rig.commands.take(rig.open_command(rng.choice(["0.004", "0.01"]), symbol), rig.client)
        elif choice < 0.55 and live:
            await rig.close(rng.choice(live))
        elif choice < 0.65 and live:
            leg = rng.choice(rng.choice(live).legs)
            symbol = next(p.symbol for p in live if leg in p.legs)
            held = rig.truth((leg.venue, symbol))
            if held:
                side = Side.SELL if held > 0 else Side.BUY
                rig.gateways[leg.venue].foreign_fill(symbol, side, min(abs(held), rng.randint(1, 3)), Decimal(100_000))
        elif choice < 0.75:
            rig.resolve()
        elif choice < 0.80:
            rig.boot(rig.journal.replayed())
        elif choice < 0.90:
            rig.market(rng.uniform(95_000, 105_000), rng.choice([-40.0, 0.0, 20.0, 60.0]), rng.choice(["BTC", "ETH"]))
        elif choice < 0.95:
            rig.books[rng.choice([LONG, SHORT])].quotes["BTC"] = Stale(10**9)
        for _ in range(rng.randint(1, 4)):
            await rig.turn(rng.choice([60.0, 300.0, 1500.0]))
        await settle()


async def calm(rig: Rig) -> None:
    """The venues behave again, everything is told and resolved, and time passes."""
    for gateway in rig.gateways.values():
        gateway.default = Plan()
    for symbol in ("BTC", "ETH"):
        rig.market(100_000.0, 0.0, symbol)
    for _ in range(60):
        rig.resolve()
        for order in list(rig.state.orders.values()):
            gateway = rig.gateways[order.prepared.venue]
            if order.client_order_id in gateway.placed:
                gateway.tell_missing(order.client_order_id)
        await rig.turn(700.0)


def _plan(rng: random.Random) -> Plan:
    return Plan(
        answer=rng.choices(list(Answer), [10, 3, 2, 1, 2, 0])[0],
        fill_lots=rng.choice([None, None, None, 0, 1, 2, 3]),
        told=rng.choice(list(Told)),
        code=rng.choice([RejectCode.NO_MATCH, RejectCode.MARGIN, RejectCode.TICK]),
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_any_life_ends_hedged_and_equals_its_journal(seed: int, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rng = random.Random(seed)
    await wander(rig, rng, 30)
    await calm(rig)
    rig.check()
    for pair in rig.state.pairs.values():
        assert pair.off_qty == 0, (seed, pair.pair_id)
        assert pair.status in (PairStatus.OPEN, PairStatus.CLOSED, PairStatus.ABORTED), (seed, pair)
    for key, position in rig.state.positions.items():
        legs = [(pair, pair.leg(key[0])) for pair in rig.state.pairs.values() if pair.symbol == key[1]]
        live = sum(leg.lots for pair, leg in legs if leg is not None and not pair.is_final)
        dust = sum(abs(leg.lots) for pair, leg in legs if leg is not None and pair.is_final)
        assert position.foreign or abs(live - rig.truth(key)) <= dust, (seed, key)
    ids = [record.client_order_id for record in rig.journal.records() if type(record).__name__ == "OrderPrepared"]
    assert len(ids) == len(set(ids))


async def test_replay_of_every_prefix_equals_the_live_state_at_that_record(tmp_path: Path) -> None:
    """Killed at every append: what the next life believes is what this one believed then."""
    rig = Rig(tmp_path)
    lived: dict[int, bytes] = {}
    original = rig.engine.record

    def recorded(record: AnyRecord) -> int:
        sequence = original(record)
        lived[sequence] = encode_state(rig.state)
        return sequence

    rig.engine.record = recorded  # type: ignore[method-assign]
    rng = random.Random(4)
    for _ in range(20):
        rig.pass_ms(11_000)
        rig.read_accounts()
        for gateway in rig.gateways.values():
            gateway.default = _plan(rng)
        rig.commands.take(rig.open_command(), rig.client)
        await settle()
        for pair in rig.state.live_pairs():
            await rig.close(pair)
        rig.resolve()
        for _ in range(5):
            await rig.turn(500.0)
    assert len(lived) > 200
    assert {type(record).__name__ for record in rig.journal.records()} >= {
        "PairPlanned", "PairMoved", "OrderPrepared", "OrderMoved", "FillRecorded", "Frozen", "Unfrozen",
        "UnhedgedMeasured", "CommandTaken", "CommandAnswered", "NonceBlock", "InstrumentSeen",
    }  # fmt: skip
    state = State()
    for (sequence, _), record in zip(rig.journal.entries, rig.journal.records(), strict=True):
        state.apply(sequence, record)
        if sequence in lived:
            assert encode_state(state) == lived[sequence], (sequence, record)


async def test_a_checkpoint_carries_the_whole_state(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await wander(rig, random.Random(1), 20)
    image = encode_state(rig.state)
    assert decode_state(image) == rig.state
    with pytest.raises(ConfigError, match="another version"):
        decode_state(image[: len(image) // 2])


async def test_a_killed_executor_finds_every_cut_of_its_journal_bootable(tmp_path: Path) -> None:
    """At every record: boot from the truncated journal, resolve against the venue's truth, end hedged, resend nothing."""
    lengths = len((await _life(tmp_path)).journal.entries)
    for cut in range(2, lengths):
        rig = await _life(tmp_path)
        wire = {venue: list(gateway.wire) for venue, gateway in rig.gateways.items()}
        del rig.journal.entries[cut:]
        rig.boot(rig.journal.replayed())
        for venue, gateway in rig.gateways.items():
            for fill in gateway.fills:
                rig.engine.on_fill(fill)
            for name, placed in gateway.placed.items():
                if name in rig.state.orders:
                    rig.engine.settle(name, _verdict(gateway.stated(placed)), "lookup")
            assert gateway.wire[: len(wire[venue])] == wire[venue]
        await calm(rig)
        rig.check()


def _verdict(stated: VenueOrder) -> Verdict:
    return Verdict(stated.status, stated.venue_order_id, stated.filled_lots, stated.avg_px)


async def _life(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.gateways[SHORT].plans.append(Plan(fill_lots=3))
    pair = await rig.open("0.01")
    await rig.close(pair)
    return rig


# ---- single facts -----------------------------------------------------------------------------------------------------


async def test_forgotten_commands_are_recognised(tmp_path: Path) -> None:
    state = State()
    for n in range(COMMANDS_KEPT + 5):
        state.apply(n + 1, CommandAnswered(wire_ns=0, command_id=CommandId("scalp", 1, n), body=b""))
    assert len(state.commands) == COMMANDS_KEPT
    assert state.is_forgotten(CommandId("scalp", 1, 4))
    assert not state.is_forgotten(CommandId("scalp", 1, 5))
    assert not state.is_forgotten(CommandId("manual", 1, 1))


def test_records_must_follow_each_other() -> None:
    state = State()
    state.apply(1, EpochStarted(wire_ns=0, epoch=1, config_fingerprint=""))
    with pytest.raises(InvariantError):
        state.apply(1, CleanStop(wire_ns=0))
    with pytest.raises(InvariantError):
        state.apply(2, EpochStarted(wire_ns=0, epoch=1, config_fingerprint=""))


def test_only_a_clean_stop_is_clean() -> None:
    state = State()
    assert state.clean_stop
    state.apply(1, EpochStarted(wire_ns=0, epoch=1, config_fingerprint=""))
    assert not state.clean_stop
    state.apply(2, CleanStop(wire_ns=0))
    assert state.clean_stop


async def test_a_client_order_id_cannot_be_used_twice(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.open()
    again = next(record for record in rig.journal.records() if type(record).__name__ == "OrderPrepared")
    with pytest.raises(InvariantError, match="used twice"):
        rig.state.apply(10_000, again)


async def test_a_fill_journaled_twice_counts_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.open()
    again = next(record for record in rig.journal.records() if isinstance(record, FillRecorded))
    before = encode_state(rig.state)
    sequence = rig.state.sequence
    rig.state.apply(10_000, again)
    rig.state.sequence = sequence
    assert encode_state(rig.state) == before


async def test_funding_belongs_to_the_pair_that_held_the_leg(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    pair = await rig.open()
    now = rig.clock.calendar_ns()
    for n, (payment, ts_ns) in enumerate([("a", now + 1), ("a", now + 1), ("b", now - 10**9)]):
        rig.state.apply(
            10_000 + n,
            FundingRecorded(
                wire_ns=now, venue=SHORT, symbol="BTC", payment_id=payment, amount_usd=Decimal("0.5"), ts_ns=ts_ns
            ),
        )
    assert pair.short.book.funding_usd == Decimal("0.5")  # once, and not for the time before it was opened
    assert rig.state.positions[(SHORT, "BTC")].book.funding_usd == Decimal("1.0")


async def test_commands_keep_what_was_asked(tmp_path: Path) -> None:
    state = State()
    taken = CommandTaken(wire_ns=5, command_id=CommandId("scalp", 1, 1), kind="open_pair", body=b"x")
    state.apply(1, taken)
    assert msgspec.structs.asdict(state.commands[taken.command_id])["body"] == b"x"


async def test_no_order_of_a_lost_answer_counts_twice_when_fills_follow_the_lookup(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gateways[LONG].plans.append(Plan(answer=Answer.LOST, told=Told.NEVER))
    pair = await rig.open("0.01")
    rig.resolve()
    await settle()
    assert pair.long.lots == 10
    assert pair.long.book.unbooked_lots == 10
    rig.gateways[LONG].tell_missing(pair.orders[0])
    assert pair.long.lots == 10
    assert pair.long.book.unbooked_lots == 0
    assert rig.state.orders[pair.orders[0]].status is OrderStatus.FILLED
    rig.check()


async def test_an_image_without_its_indexes_finds_them_again(tmp_path: Path) -> None:
    """What is live and what is unsettled follows from the pairs and orders; an older image must not lose them."""
    rig = Rig(tmp_path)
    rig.gateways[SHORT].plans.append(Plan(held=True))
    rig.commands.take(rig.open_command(), rig.client)
    assert len(rig.state.live_pairs()) == 1
    assert len(rig.state.open_orders()) == 2
    full = decode_state(encode_state(rig.state))
    full.live, full.unsettled = {}, {}
    assert decode_state(encode_state(full)) == rig.state
