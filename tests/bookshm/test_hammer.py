"""Two and more processes at one line: no torn record gets past validation, and without validation some do."""

from __future__ import annotations

import select

from bookshm.account_page import AccountPageReader
from bookshm.book import BookReader
from bookshm.run import RunDir
from core.account import AccountSnapshot
from core.clock import NS_PER_S, SystemClock
from core.types import Lapped
from tests.bookshm.actors import check_reads
from tests.bookshm.conftest import Spawn, line, tell
from tests.bookshm.samples import VENUE, is_whole

READS_EACH = 5_200_000
TEARING_BOUND = 12_000_000
POLLS_BOUND = 20_000_000


class Unvalidated:
    """The quote stamps as a reader without validation uses them: the second look returns what the first one saw."""

    def __init__(self, stamps: memoryview) -> None:
        self._stamps = stamps
        self._first: int | None = None

    def __getitem__(self, slot: int) -> int:
        if self._first is None:
            self._first = self._stamps[slot]
            return self._first
        stamp, self._first = self._first, None
        return stamp


def test_ten_million_validated_reads_none_torn(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    writer = spawn("hammer")
    assert line(writer) == "hammering"
    other = spawn("check", READS_EACH)
    good, torn, changes = check_reads(BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S).read_raw, READS_EACH)
    other_good, other_torn, other_changes = map(int, line(other).split())
    tell(writer, "stop")
    published = int(line(writer))
    assert (torn, other_torn) == (0, 0)
    assert good + other_good >= 10_000_000
    assert changes > 10_000
    assert other_changes > 10_000
    assert published > 100_000
    assert writer.wait(10) == 0


def test_the_same_hammer_tears_without_validation(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    writer = spawn("hammer")
    assert line(writer) == "hammering"
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    reader._quote_stamps = Unvalidated(reader._quote_stamps)  # type: ignore[assignment]
    torn = reads = 0
    while not torn and reads < TEARING_BOUND:
        good, bad, _ = check_reads(reader.read_raw, 100_000)
        torn, reads = torn + bad, reads + good + bad
    tell(writer, "stop")
    line(writer)
    assert torn > 0, f"{reads} reads without validation and none torn: this hammer proves nothing"
    assert writer.wait(10) == 0


def test_follower_of_a_racing_writer_gets_all_or_exact_counts(run: RunDir, spawn: Spawn, clock: SystemClock) -> None:
    reader = BookReader(run, VENUE, clock, NS_PER_S, NS_PER_S)
    follower = reader.follow()
    writer = spawn("hammer")
    assert line(writer) == "hammering"
    received = missed = torn = 0
    previous = 0
    for turn in range(POLLS_BOUND):
        if received >= 20_000 and missed:
            break
        if turn % 2_000 == 1_999:
            select.select([], [], [], 0.01)  # time enough for the writer to go round the ring of 1,024
        got = follower.poll(64)
        if isinstance(got, Lapped):
            missed += got.missed
            previous = 0
            continue
        for _, quote in got:
            sequence = quote.sequence
            torn += not quote.bid_px == quote.ask_qty == quote.local_mono_ns == quote.exch_ts_ns
            if previous:
                assert sequence == previous + 1
            previous = sequence
            received += 1
    tell(writer, "stop")
    published = int(line(writer))
    assert writer.wait(10) == 0
    while got := follower.poll(4096):
        if isinstance(got, Lapped):
            missed += got.missed
        else:
            received += len(got)
    assert torn == 0
    assert received + missed == published
    assert received >= 20_000
    assert missed > 0


def test_account_page_is_never_half(run: RunDir, spawn: Spawn) -> None:
    writer = spawn("account_hammer")
    assert line(writer) == "writing"
    reader = AccountPageReader(run)
    seen = 0
    last = -1
    for _ in range(POLLS_BOUND):
        if seen >= 300:
            break
        account = reader.read()
        if isinstance(account, AccountSnapshot):
            assert is_whole(account), account.journal_sequence
            assert account.journal_sequence >= last
            seen += account.journal_sequence != last
            last = account.journal_sequence
    assert seen >= 300
    tell(writer, "stop")
    line(writer)
    assert writer.wait(10) == 0
