"""What a reader is told about a quote, in every state a book can be in."""

from __future__ import annotations

import pytest

from bookshm import layout as at
from bookshm.book import BookReader, BookWriter
from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.errors import ConfigError, InvariantError
from core.types import (
    Busy,
    Down,
    FundingKind,
    FundingRate,
    Lapped,
    Quote,
    QuoteFlag,
    Stale,
    Venue,
)
from tests.bookshm.desk import MAX_AGE_NS, PROOF_AGE_NS, Desk
from tests.bookshm.samples import VENUE, instrument


def test_a_quote_comes_back_as_published_with_its_age(desk: Desk, btc: int) -> None:
    desk.writer.publish_quote(btc, 99.5, 1.5, 100.25, 2.5, 1_790_000_000_123, desk.clock.mono_ns(), 1)
    received_ns = desk.clock.mono_ns()
    desk.pass_ms(40)
    quote = desk.reader.quote(btc)
    assert quote == Quote(99.5, 1.5, 100.25, 2.5, 1_790_000_000_123, received_ns, 1, 1, 40 * NS_PER_MS)
    assert isinstance(quote, Quote)
    assert quote.is_sound


def test_each_publish_moves_the_sequence(desk: Desk, btc: int) -> None:
    for n in range(1, 6):
        desk.publish(btc, px=float(n))
        quote = desk.reader.quote(btc)
        assert isinstance(quote, Quote)
        assert (quote.sequence, quote.bid_px) == (n, float(n))


def test_slots_do_not_disturb_each_other(desk: Desk) -> None:
    slots = [desk.writer.add(instrument(f"C{i}")) for i in range(8)]
    for slot in slots:
        desk.publish(slot, px=1000.0 + slot)
    for slot in slots:
        desk.publish(slot, px=2000.0 + slot)
        assert [q.bid_px for q in map(desk.reader.quote, slots) if isinstance(q, Quote)] == [
            (2000.0 if other <= slot else 1000.0) + other for other in slots
        ]


def test_crossed_and_one_sided_quotes_are_answered_and_unsound(desk: Desk, btc: int) -> None:
    desk.writer.publish_quote(btc, 101.0, 1.0, 100.0, 1.0, 0, desk.clock.mono_ns())
    crossed = desk.reader.quote(btc)
    desk.writer.publish_quote(btc, 0.0, 0.0, 100.0, 1.0, 0, desk.clock.mono_ns())
    one_sided = desk.reader.quote(btc)
    assert isinstance(crossed, Quote)
    assert isinstance(one_sided, Quote)
    assert not crossed.is_sound
    assert not one_sided.is_sound


def test_flags_travel(desk: Desk, btc: int) -> None:
    desk.publish(btc, flags=QuoteFlag.INDICATIVE | QuoteFlag.REST_SEED)
    quote = desk.reader.quote(btc)
    assert isinstance(quote, Quote)
    assert quote.flags == QuoteFlag.INDICATIVE | QuoteFlag.REST_SEED


def test_a_quote_that_cannot_be_packed_is_our_fault_and_harms_nothing(desk: Desk, btc: int) -> None:
    desk.publish(btc)
    with pytest.raises(InvariantError, match="unfit for a quote line"):
        desk.writer.publish_quote(btc, 1.0, 1.0, 2.0, 1.0, 0, desk.clock.mono_ns(), flags=1 << 20)
    quote = desk.reader.quote(btc)
    assert isinstance(quote, Quote)
    assert quote.bid_px == 100.0


def test_a_receive_time_long_ago_is_published_with_the_longest_delta(desk: Desk, btc: int) -> None:
    desk.writer.publish_quote(btc, 1.0, 1.0, 2.0, 1.0, 0, desk.clock.mono_ns() - 10 * NS_PER_S)
    raw = desk.reader.read_raw(btc)
    assert raw is not None
    assert raw[7] == at.MAX_DELTA_NS
    assert desk.reader.quote(btc) == Stale(10 * NS_PER_S)


# Age (RULES 2)


def test_old_quotes_are_stale_with_their_age(desk: Desk, btc: int) -> None:
    desk.publish(btc)
    desk.pass_ms(500)
    assert isinstance(desk.reader.quote(btc), Quote)
    desk.pass_ms(1)
    assert desk.reader.quote(btc) == Stale(501 * NS_PER_MS)


def test_a_frame_of_its_socket_proves_a_quiet_quote(desk: Desk, btc: int) -> None:
    desk.writer.assign_socket(btc, 3)
    desk.publish(btc)
    desk.pass_ms(1200)
    assert desk.reader.quote(btc) == Stale(1200 * NS_PER_MS)
    desk.writer.prove_socket(3, desk.clock.mono_ns())
    desk.pass_ms(100)
    quote = desk.reader.quote(btc)
    assert isinstance(quote, Quote)
    assert quote.age_ns == 100 * NS_PER_MS


def test_another_sockets_frames_prove_nothing(desk: Desk, btc: int) -> None:
    desk.writer.assign_socket(btc, 3)
    desk.publish(btc)
    desk.pass_ms(1200)
    desk.writer.prove_socket(2, desk.clock.mono_ns())
    assert desk.reader.quote(btc) == Stale(1200 * NS_PER_MS)


def test_socket_frames_prove_only_while_the_symbol_itself_is_heard_of(desk: Desk, btc: int) -> None:
    desk.writer.assign_socket(btc, 0)
    desk.publish(btc)
    for _ in range(30):
        desk.pass_ms(100)
        desk.writer.prove_socket(0, desk.clock.mono_ns())
    assert isinstance(desk.reader.quote(btc), Quote)
    desk.pass_ms(1)
    desk.writer.prove_socket(0, desk.clock.mono_ns())
    assert desk.reader.quote(btc) == Stale(3001 * NS_PER_MS)
    desk.writer.prove_symbol(btc, desk.clock.mono_ns())
    quote = desk.reader.quote(btc)
    assert isinstance(quote, Quote)
    assert quote.age_ns == 0


def test_the_symbols_own_proof_alone_does_not_renew_the_quote(desk: Desk, btc: int) -> None:
    desk.writer.assign_socket(btc, 0)
    desk.publish(btc)
    desk.pass_ms(600)
    desk.writer.prove_symbol(btc, desk.clock.mono_ns())
    assert desk.reader.quote(btc) == Stale(600 * NS_PER_MS)


def test_without_a_socket_only_own_frames_count(desk: Desk, btc: int) -> None:
    desk.publish(btc)
    desk.pass_ms(600)
    desk.writer.prove_socket(0, desk.clock.mono_ns())
    assert desk.reader.quote(btc) == Stale(600 * NS_PER_MS)
    desk.writer.assign_socket(btc, 0)
    assert isinstance(desk.reader.quote(btc), Quote)
    desk.writer.unassign_socket(btc)
    assert desk.reader.quote(btc) == Stale(600 * NS_PER_MS)


def test_on_sampled_channels_only_own_frames_count(run: RunDir) -> None:
    desk = Desk(run, Venue("sampled"))  # not in the roster: the strict rule applies
    desk.writer.set_status(True, "connected")
    slot = desk.writer.add(instrument("BTC"))
    desk.writer.assign_socket(slot, 0)
    desk.publish(slot)
    desk.pass_ms(600)
    desk.writer.prove_socket(0, desk.clock.mono_ns())
    assert desk.reader.quote(slot) == Stale(600 * NS_PER_MS)
    desk.writer.close()


def test_a_receive_time_in_the_future_proves_nothing(desk: Desk, btc: int) -> None:
    desk.writer.publish_quote(btc, 1.0, 1.0, 2.0, 1.0, 0, desk.clock.mono_ns() + NS_PER_S)
    assert desk.reader.quote(btc) == Stale(-1)


def test_sockets_and_proofs_of_a_former_writer_are_forgotten(desk: Desk, btc: int) -> None:
    desk.writer.assign_socket(btc, 0)
    desk.writer.prove_socket(1, desk.clock.mono_ns() + 600 * NS_PER_MS)
    desk.publish(btc)
    desk.restart_writer()
    desk.publish(btc)
    desk.pass_ms(600)
    desk.writer.prove_socket(0, desk.clock.mono_ns())
    assert desk.reader.quote(btc) == Stale(600 * NS_PER_MS), "the new writer has not assigned a socket yet"
    desk.writer.assign_socket(btc, 1)
    assert desk.reader.quote(btc) == Stale(600 * NS_PER_MS), "socket 1 has not spoken to this writer yet"
    desk.writer.assign_socket(btc, 0)
    assert isinstance(desk.reader.quote(btc), Quote)


# Liveness and restarts


def test_a_reader_before_the_writer_waits_and_then_reads(run: RunDir) -> None:
    clock = SimClock()
    reader = BookReader(run.path, VENUE, clock, MAX_AGE_NS, PROOF_AGE_NS)
    assert reader.quote(0) == Down("no writer yet")
    assert reader.peek(0) == Down("no writer yet")
    assert reader.mark(0) == Down("no writer yet")
    assert reader.liquidity(0) == Down("no writer yet")
    assert reader.funding(0, FundingKind.SETTLED) is None
    assert reader.status() == (False, "no writer yet", -1, 0, 0)
    assert (reader.instruments(), reader.slot("BTC"), list(reader.changed())) == ({}, None, [])
    follower = reader.follow()
    assert follower.poll(8) == []
    writer = BookWriter(run, VENUE, clock, 8, 64)
    slot = writer.add(instrument("BTC"))
    assert reader.quote(slot) == Down("starting")
    writer.set_status(True, "connected")
    assert reader.quote(slot) == Stale(-1)
    writer.publish_quote(slot, 1.0, 1.0, 2.0, 1.0, 0, clock.mono_ns())
    assert isinstance(reader.quote(slot), Quote)
    assert len(follower.poll(8)) == 1
    writer.close()


def test_a_venue_that_is_down_says_why(desk: Desk, btc: int) -> None:
    desk.publish(btc)
    desk.writer.publish_mark(btc, 1.0, 1.0, 1.0, 1.0, 0, desk.clock.mono_ns())
    desk.writer.set_status(False, "connection refused")
    assert desk.reader.quote(btc) == Down("connection refused")
    assert desk.reader.mark(btc) == Down("connection refused")
    assert desk.reader.status()[:2] == (False, "connection refused")
    assert isinstance(desk.reader.peek(btc), Quote)
    desk.writer.set_status(True, "connected again")
    assert isinstance(desk.reader.quote(btc), Quote)
    assert desk.reader.status()[:2] == (True, "connected again")


def test_a_silent_heartbeat_is_down_whatever_the_lines_say(desk: Desk, btc: int) -> None:
    desk.publish(btc)
    desk.clock.advance_ns(1000 * NS_PER_MS)
    assert desk.reader.quote(btc) == Stale(1000 * NS_PER_MS)
    desk.clock.advance_ns(100 * NS_PER_MS)
    assert desk.reader.quote(btc) == Down("writer silent for 1.1 s")
    assert desk.reader.status()[0] is False
    desk.writer.heartbeat(desk.clock.mono_ns())
    assert isinstance(desk.reader.quote(btc), Stale)


def test_publishing_is_a_heartbeat(desk: Desk, btc: int) -> None:
    desk.clock.advance_ns(5 * NS_PER_S)
    desk.publish(btc)
    assert isinstance(desk.reader.quote(btc), Quote)


def test_a_restarted_writer_makes_old_lines_stale_and_keeps_counting(desk: Desk, btc: int) -> None:
    desk.publish(btc)
    desk.writer.publish_mark(btc, 1.0, 1.0, 1.0, 1.0, 0, desk.clock.mono_ns())
    desk.writer.publish_funding(btc, FundingRate(0.1, 3600, 0, FundingKind.SETTLED, "x"), 5)
    inode = (desk.run.books / VENUE).stat().st_ino
    desk.writer.close()
    assert desk.reader.quote(btc) == Down("writer stopped")
    desk.writer = desk.new_writer()
    assert desk.reader.quote(btc) == Down("starting")
    desk.writer.set_status(True, "connected")
    assert (desk.run.books / VENUE).stat().st_ino == inode
    assert desk.reader.quote(btc) == Stale(-1)
    assert desk.reader.mark(btc) == Down("nothing published by this writer yet")
    assert desk.reader.funding(btc, FundingKind.SETTLED) is None
    peeked = desk.reader.peek(btc)
    assert isinstance(peeked, Quote)
    assert desk.reader.status()[3] == 2
    assert desk.writer.slots == {"BTC": btc}
    desk.publish(btc, px=101.0)
    quote = desk.reader.quote(btc)
    assert isinstance(quote, Quote)
    assert (quote.bid_px, quote.sequence) == (101.0, peeked.sequence + 1)


def test_a_line_of_the_former_epoch_is_never_proven_by_todays_socket(desk: Desk, btc: int) -> None:
    desk.writer.assign_socket(btc, 0)
    desk.publish(btc)
    desk.restart_writer()
    desk.writer.assign_socket(btc, 0)
    desk.pass_ms(200)
    desk.writer.prove_socket(0, desk.clock.mono_ns())
    assert desk.reader.quote(btc) == Stale(-1)
    peeked = desk.reader.peek(btc)
    assert isinstance(peeked, Quote)
    assert peeked.age_ns == 200 * NS_PER_MS


def test_more_capacity_retires_the_segment_and_keeps_every_slot(desk: Desk, btc: int) -> None:
    eth = desk.writer.add(instrument("ETH"))
    follower = desk.reader.follow()
    desk.publish(btc)
    desk.publish(eth)
    assert list(desk.reader.changed()) == [btc, eth]
    desk.writer.close()
    desk.writer = desk.new_writer(slots=16, records=128)
    desk.writer.set_status(True, "connected")
    assert desk.writer.slots == {"BTC": btc, "ETH": eth}
    assert desk.reader.quote(eth) == Down("starting") or desk.reader.quote(eth) == Stale(-1)
    desk.publish(eth, px=7.0)
    quote = desk.reader.quote(eth)
    assert isinstance(quote, Quote)
    assert quote.bid_px == 7.0
    assert desk.reader.status()[3] == 2
    assert list(desk.reader.changed()) == [eth]
    got = [follower.poll(8), follower.poll(8), follower.poll(8)]
    assert [len(g) for g in got if not isinstance(g, Lapped)] == [2, 0, 1]


def test_fewer_slots_than_rows_is_refused(desk: Desk) -> None:
    for i in range(8):
        desk.writer.add(instrument(f"C{i}"))
    desk.writer.close()
    with pytest.raises(ConfigError, match=r"books\.capacity_slots: all 4 slots of aster are taken"):
        desk.new_writer(slots=4)
    desk.writer = desk.new_writer()


def test_a_reader_that_outlived_its_run_is_told_when_slots_changed_meaning(run: RunDir) -> None:
    desk = Desk(run)
    desk.writer.add(instrument("BTC"))
    assert desk.reader.slot("BTC") == 0
    desk.writer.close()
    (run.books / VENUE).unlink()
    desk.writer = desk.new_writer()
    desk.writer.add(instrument("ETH"))
    with pytest.raises(InvariantError, match="slot 0 was BTCUSDT and is now ETHUSDT"):
        desk.reader.instruments()
    desk.writer.close()


def test_a_writer_that_wins_every_race_makes_the_reader_busy(desk: Desk, btc: int) -> None:
    class Restless:
        """Stamps that have moved at every look."""

        def __init__(self) -> None:
            self.looks = 0

        def __getitem__(self, slot: int) -> int:
            self.looks += 1
            return self.looks

    desk.publish(btc)
    assert isinstance(desk.reader.quote(btc), Quote)
    stamps = Restless()
    desk.reader._quote_stamps = stamps  # type: ignore[assignment]
    assert desk.reader.quote(btc) == Busy(64)
    assert stamps.looks == 2 * 64 + 1
