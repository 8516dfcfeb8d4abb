"""The instrument table, what changed, the slower lines, and following the ring."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

import pytest

from bookshm.book import BookWriter
from bookshm.run import RunDir
from core.clock import NS_PER_S, SimClock
from core.errors import ConfigError, InvariantError
from core.types import (
    FundingKind,
    FundingRate,
    Lapped,
    Liquidity,
    MarkPrice,
    Stale,
)
from tests.bookshm.desk import Desk
from tests.bookshm.samples import VENUE, instrument

# Changes, table, other lines


def test_changed_names_each_slot_once(desk: Desk) -> None:
    slots = [desk.writer.add(instrument(f"C{i}")) for i in range(6)]
    assert list(desk.reader.changed()) == []
    for slot in (slots[4], slots[1], slots[4]):
        desk.publish(slot)
    assert list(desk.reader.changed()) == [1, 4]
    assert list(desk.reader.changed()) == []
    desk.publish(slots[5])
    assert list(desk.reader.changed()) == [5]
    late = desk.new_reader()
    assert list(late.changed()) == [1, 4, 5]


def test_the_table_is_idempotent_updates_in_place_and_appends(desk: Desk) -> None:
    btc = desk.writer.add(instrument("BTC"))
    pepe = desk.writer.add(instrument("PEPE", "1000PEPEUSDT", multiplier=1000))
    assert (btc, pepe) == (0, 1)
    assert desk.writer.add(instrument("BTC")) == btc
    assert desk.reader.instruments()["PEPE"] == (pepe, instrument("PEPE", "1000PEPEUSDT", multiplier=1000))
    finer = instrument("BTC", tick_size=Decimal("0.01"))
    assert desk.writer.add(finer) == btc
    assert desk.reader.instruments()["BTC"] == (btc, finer)
    assert desk.reader.slot("PEPE") == pepe
    assert desk.reader.slot("DOGE") is None
    assert desk.reader.rows() == [finer, instrument("PEPE", "1000PEPEUSDT", multiplier=1000)]


def test_a_delisted_contract_keeps_its_slot_and_yields_its_symbol(desk: Desk) -> None:
    old = desk.writer.add(instrument("LUNA", "LUNAUSDT"))
    desk.writer.add(instrument("LUNA", "LUNAUSDT", delisted=True))
    assert desk.reader.instruments()["LUNA"][0] == old
    new = desk.writer.add(instrument("LUNA", "LUNA2USDT"))
    assert new != old
    assert desk.writer.slots == {"LUNA": new}
    assert desk.reader.slot("LUNA") == new
    assert [row.venue_symbol for row in desk.reader.rows()] == ["LUNAUSDT", "LUNA2USDT"]


def test_a_full_table_is_a_clear_error(desk: Desk) -> None:
    for i in range(8):
        desk.writer.add(instrument(f"C{i}"))
    with pytest.raises(ConfigError, match=r"books\.capacity_slots: all 8 slots of aster are taken.*C8USDT; raise"):
        desk.writer.add(instrument("C8"))
    assert desk.writer.add(instrument("C3")) == 3


def test_marks_funding_and_liquidity_are_lines_of_their_own(desk: Desk, btc: int) -> None:
    mono_ns = desk.clock.mono_ns()
    desk.writer.publish_mark(btc, 100.5, 100.25, math.nan, 5e6, 11, mono_ns)
    estimate = FundingRate(0.0001, 28_800, 1_790_000_000 * NS_PER_S, FundingKind.ESTIMATE, "ws.markPrice")
    settled = FundingRate(-0.0002, 28_800, 0, FundingKind.SETTLED, "rest.fundingRate")
    desk.writer.publish_funding(btc, estimate, mono_ns)
    desk.writer.publish_funding(btc, settled, mono_ns - 5)
    desk.writer.publish_liquidity(btc, 1000.0, 100.75, math.nan, mono_ns)
    mark = desk.reader.mark(btc)
    assert isinstance(mark, MarkPrice)
    assert (mark.mark_px, mark.index_px, mark.volume_24h_usd, mark.exch_ts_ns) == (100.5, 100.25, 5e6, 11)
    assert math.isnan(mark.open_interest)
    assert desk.reader.funding(btc, FundingKind.ESTIMATE) == (estimate, mono_ns)
    assert desk.reader.funding(btc, FundingKind.SETTLED) == (settled, mono_ns - 5)
    liquidity = desk.reader.liquidity(btc)
    assert isinstance(liquidity, Liquidity)
    assert (liquidity.size_usd, liquidity.buy_px, liquidity.local_mono_ns) == (1000.0, 100.75, mono_ns)
    assert math.isnan(liquidity.sell_px)
    assert desk.reader.quote(btc) == Stale(-1)


def test_slots_and_sockets_that_do_not_exist_are_our_fault(desk: Desk, btc: int) -> None:
    attempts: tuple[Callable[[], None], ...] = (
        lambda: desk.writer.publish_mark(7, 1.0, 1.0, 1.0, 1.0, 0, 0),
        lambda: desk.writer.prove_symbol(-1, 0),
        lambda: desk.writer.assign_socket(btc, 64),
        lambda: desk.writer.prove_socket(-1, 0),
        lambda: desk.writer.publish_funding(btc, FundingRate(0.0, 1, 0, FundingKind.SETTLED, "x" * 87), 0),
    )
    for wrong in attempts:
        with pytest.raises(InvariantError):
            wrong()
    with pytest.raises(IndexError):
        desk.publish(7)


# Followers


def test_a_follower_sees_every_quote_in_order(desk: Desk) -> None:
    slots = [desk.writer.add(instrument(f"C{i}")) for i in range(3)]
    desk.publish(slots[0], px=1.0)
    follower = desk.reader.follow()
    assert follower.poll(10) == []
    for n in range(2, 12):
        desk.publish(slots[n % 3], px=float(n))
    got = follower.poll(4)
    assert not isinstance(got, Lapped)
    got = [*got, *follower.poll(100)]
    assert [(slot, quote.bid_px) for slot, quote in got] == [(slots[n % 3], float(n)) for n in range(2, 12)]
    assert follower.poll(100) == []


def test_a_lapped_follower_is_told_exactly_how_many_it_missed(desk: Desk, btc: int) -> None:
    follower = desk.reader.follow()
    for n in range(64 + 37):
        desk.publish(btc, px=float(n))
    assert follower.poll(1000) == Lapped(37)
    got = follower.poll(1000)
    assert not isinstance(got, Lapped)
    assert [quote.bid_px for _, quote in got] == [float(n) for n in range(37, 64 + 37)]


def test_a_follower_just_in_time_misses_nothing(desk: Desk, btc: int) -> None:
    follower = desk.reader.follow()
    for n in range(64):
        desk.publish(btc, px=float(n))
    got = follower.poll(1000)
    assert not isinstance(got, Lapped)
    assert len(got) == 64


def test_a_follower_goes_on_over_a_restart(desk: Desk, btc: int) -> None:
    follower = desk.reader.follow()
    desk.publish(btc, px=1.0)
    desk.restart_writer()
    desk.publish(btc, px=2.0)
    got = follower.poll(10)
    assert not isinstance(got, Lapped)
    assert [quote.bid_px for _, quote in got] == [1.0, 2.0]


def test_a_ring_must_be_a_power_of_two(run: RunDir) -> None:
    with pytest.raises(ConfigError, match=r"books\.ring_records: 100 is not a power of two; use 128"):
        BookWriter(run, VENUE, SimClock(), 8, 100)
