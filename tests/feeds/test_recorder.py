"""Recording and replay: what a feed published comes out again from its frames, and recording never costs the feed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bookshm.book import BookReader
from bookshm.follower import Follower
from core.clock import SimClock, SystemClock
from core.config import load
from core.errors import EXIT_OK, ConfigError
from core.log import Log
from core.rotation import RotatingFiles, recorded
from core.settings import RecorderConfig
from core.types import Lapped, Venue
from feeds.recorder import SWITCH, Kind, Record, Recorder, pack
from feeds.replay import Published, Summary, records, replay
from feeds.venues.base import SocketPlan
from tests.feeds.conftest import MakeRig
from tests.feeds.rig import VENUE, Rig
from tests.feeds.test_feed_process import ROOT, VENUES, World, until

PLAN = SocketPlan(("BTC", "ETH"), (b"one", b"two"))
SILENT = Log("test", SystemClock(), write=lambda text: None)


def files_of(directory: Path, venue: str = VENUE) -> list[Path]:
    return recorded(directory, f"frames-{venue}")


def read(directory: Path, venue: str = VENUE) -> list[Record]:
    return list(records(files_of(directory, venue)))


# ---- live and back --------------------------------------------------------------------------------------------------


class Watch:
    """Every quote of one book in order, as a reader in another process sees it."""

    def __init__(self, world: World, venue: Venue) -> None:
        clock = SystemClock()
        self.reader = BookReader(world.run_dir, venue, clock, 500_000_000, 3_000_000_000)
        self.follower: Follower = self.reader.follow()
        self.quotes: list[tuple[int, tuple[object, ...]]] = []

    def poll(self) -> int:
        while got := self.follower.poll(1000):
            assert not isinstance(got, Lapped), "the test was too slow to see every quote"
            self.quotes += [
                (slot, (q.bid_px, q.bid_qty, q.ask_px, q.ask_qty, q.exch_ts_ns, q.local_mono_ns, q.flags))
                for slot, q in got
            ]
        return len(self.quotes)

    def named(self) -> list[tuple[object, ...]]:
        names = {slot: symbol for symbol, (slot, _) in self.reader.instruments().items()}
        return [(names[slot], *rest) for slot, rest in self.quotes]


def comparable(quotes: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """A void's receive time is when it was voided, a few microseconds before its record was made."""
    return [quote if quote[1] or quote[3] else (*quote[:6], 0, quote[7]) for quote in quotes]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[Venue, Watch]]]:
    """Three real feeds, recorded from their first frame on, through a lost venue; then stopped."""
    directory = tmp_path_factory.mktemp("recorded")
    world = World(directory)
    world.config.write_text(world.config.read_text() + "\n[recorder]\nmax_file_mib = 0.01\n")
    recordings = load(world.config).recordings_dir
    recordings.mkdir(parents=True)
    (recordings / SWITCH).touch()
    try:
        world.start_sandbox()
        feeds = [world.start_feed(venue) for venue in VENUES]
        until(lambda: all((world.run_dir / "books" / venue).exists() for venue in VENUES), "every feed has its book")
        watches = {venue: Watch(world, venue) for venue in VENUES}

        def seen(count: int) -> bool:
            counts = [watch.poll() for watch in watches.values()]
            return min(counts) >= count

        until(lambda: seen(150), "a hundred and fifty quotes of each")
        world.serve(VENUE, False)
        until(lambda: seen(0) and "stream_lost" in world.log(f"feed-{VENUE}"), "one venue is lost")
        world.serve(VENUE, True)
        until(lambda: seen(300), "three hundred quotes of each")
        for feed in feeds:
            feed.send_signal(signal.SIGTERM)
        for feed in feeds:
            assert feed.wait(timeout=20) == EXIT_OK
        seen(0)
        yield world, watches
    finally:
        world.close()


@pytest.mark.parametrize("venue", VENUES)
def test_a_recorded_run_gives_the_same_quotes(live: tuple[World, dict[Venue, Watch]], venue: Venue) -> None:
    world, watches = live
    quotes: list[Published] = []
    settings = load(world.config).config.feeds
    files = files_of(load(world.config).recordings_dir, venue)
    assert len(files) > 1, "the size of a file is small enough to see rotation"
    summary = replay(venue, records(files), quotes.append, SILENT, settings)
    assert (summary.malformed, summary.unknown_connection, summary.dropped) == (0, 0, 0)
    expected = comparable(watches[venue].named())
    assert len(expected) >= 300
    assert any(quote[1] == quote[3] == 0 for quote in expected) or venue != VENUE, "the loss is among them"
    replayed = comparable([tuple(quote) for quote in quotes])
    first = replayed.index(expected[0])  # the watch may have come a moment after the feed's first quote
    assert first < 20
    assert replayed[first : first + len(expected)] == expected


@pytest.mark.parametrize("venue", VENUES)
def test_a_later_file_alone_still_decodes(live: tuple[World, dict[Venue, Watch]], venue: Venue) -> None:
    world, _ = live
    files = files_of(load(world.config).recordings_dir, venue)
    quotes: list[Published] = []
    summary = replay(venue, records(files[-2:]), quotes.append, SILENT)
    assert summary.frames > 0
    assert summary.unknown_connection == 0, "every file begins with what is in force"
    assert quotes


def test_the_command_counts_and_refuses_another_venue(live: tuple[World, dict[Venue, Watch]]) -> None:
    world, watches = live
    files = [str(file) for file in files_of(load(world.config).recordings_dir)]
    command = [sys.executable, "-m", "feeds.replay", "--venue"]
    done = subprocess.run([*command, VENUE, "--quotes", *files], capture_output=True, text=True, check=True, cwd=ROOT)
    *quotes, summary = map(json.loads, done.stdout.splitlines())
    assert summary["quotes"] == len(quotes) >= len(watches[VENUE].quotes)
    wrong = subprocess.run([*command, "aster", *files], capture_output=True, text=True, check=False, cwd=ROOT)
    assert wrong.returncode == 78
    assert "a recording of hyperliquid, not of aster" in wrong.stderr


# ---- the recorder alone ---------------------------------------------------------------------------------------------


def switch(rig: Rig, on: bool) -> None:
    rig.recordings.mkdir(exist_ok=True)
    (rig.recordings / SWITCH).touch() if on else (rig.recordings / SWITCH).unlink()
    rig.recorder.look()


def build(rig: Rig, **config: float) -> Recorder:
    rig.recorder = Recorder(
        rig.recordings, VENUE, 1, msgspec.convert(config, RecorderConfig), SystemClock(), rig.meters, rig.log
    )
    return rig.recorder


def test_nothing_is_written_until_the_switch_is_thrown(make_rig: MakeRig) -> None:
    rig = make_rig(SystemClock())
    recorder = build(rig)
    recorder.look()
    recorder.catalogue([b"{}"], ())
    assert not recorder.is_on
    assert not rig.recordings.exists()
    switch(rig, True)
    assert recorder.is_on
    number = recorder.opened(0, PLAN)
    recorder.frame(0, number, 5, b"frame")
    switch(rig, False)
    assert not recorder.is_on
    recorder.down(0, "afterwards")
    kinds = [record.kind for record in read(rig.recordings)]
    assert kinds == [Kind.HEAD, Kind.CATALOGUE, Kind.OPEN, Kind.FRAME]
    assert rig.count("recorded_total") == 2
    assert rig.count("recording") == 0


def test_a_recording_begun_in_the_middle_starts_with_what_is_in_force(make_rig: MakeRig) -> None:
    rig = make_rig(SystemClock())
    recorder = build(rig)
    recorder.catalogue([b"[1]"], ("BTC",))
    recorder.assign(0, PLAN)
    gone = recorder.opened(0, PLAN)
    recorder.closed(0, gone)
    stays = recorder.opened(0, PLAN)
    switch(rig, True)
    recorder.stop()
    first = read(rig.recordings)
    assert [record.kind for record in first] == [Kind.HEAD, Kind.CATALOGUE, Kind.ASSIGN, Kind.OPEN]
    assert first[-1].number == stays
    assert first[1].words == ("BTC",)


def test_what_the_queue_cannot_hold_is_dropped_counted_and_marked(make_rig: MakeRig) -> None:
    rig = make_rig(SystemClock())
    recorder = build(rig, queue_records=16)
    switch(rig, True)
    recorder.stop()
    recorder.is_on = True  # the writer's thread is gone: a disk that takes nothing
    for index in range(50):
        recorder.frame(0, 1, index, b"x")
    assert rig.count("recorder_dropped_total") == 34
    recorder.is_on = False
    switch(rig, True)
    assert rig.recorder.is_on
    recorder.stop()


def test_a_hole_is_marked_at_its_place(make_rig: MakeRig) -> None:
    rig = make_rig(SystemClock())
    recorder = build(rig, queue_mib=0.001)
    switch(rig, True)
    until(lambda: not recorder._queue, "the writer is idle", 5.0)
    big = b"x" * 2000
    for _ in range(3):
        recorder.frame(0, 1, 1, big)  # the second is over the bound of bytes, or the third
    until(lambda: not recorder._queue, "the writer caught up", 5.0)
    recorder.frame(0, 1, 2, b"after")
    recorder.stop()
    found = read(rig.recordings)
    dropped = rig.count("recorder_dropped_total")
    holes = [record for record in found if record.kind is Kind.HOLE]
    assert dropped >= 1
    assert sum(record.number for record in holes) == dropped
    assert [record.kind for record in found[-2:]] == [Kind.HOLE, Kind.FRAME]


def test_a_disk_that_refuses_ends_the_recording_not_the_feed(make_rig: MakeRig) -> None:
    rig = make_rig(SystemClock())
    rig.recordings.mkdir()
    recorder = Recorder(
        rig.recordings / "file", VENUE, 1, RecorderConfig(), SystemClock(), rig.meters, rig.log
    )  # fmt: skip
    (rig.recordings / "file").mkdir()
    (rig.recordings / "file" / SWITCH).touch()
    recorder.look()
    for old in (rig.recordings / "file").iterdir():
        old.rename(rig.recordings / old.name)
    (rig.recordings / "file").rmdir()
    (rig.recordings / "file").write_text("in the way")
    recorder.catalogue([b"{}"], ())
    until(lambda: recorder._failed, "the writer gave up", 5.0)
    (rig.recordings / "file").unlink()
    (rig.recordings / "file").mkdir()
    (rig.recordings / "file" / SWITCH).touch()
    recorder.look()
    assert not recorder.is_on
    assert any("recording_failed" in line for line in rig.lines)
    recorder.look()
    assert not recorder.is_on, "not again and again: the operator stops and starts"


def test_files_rotate_and_the_oldest_go(tmp_path: Path) -> None:
    files = RotatingFiles(tmp_path, "frames-x", 2_000, 8_000, SimClock())
    noise = bytes(range(256)) * 4
    for index in range(64):
        if files.is_full:
            files.open()
        files.write(index.to_bytes(4, "big") + bytes((byte * (index + 3)) % 251 for byte in noise))
        files.flush()
    files.close()
    kept = recorded(tmp_path, "frames-x")
    assert 2 <= len(kept) <= 5
    assert sum(path.stat().st_size for path in kept) <= 8_000 + 2_000
    assert "-000001" not in kept[0].name
    assert (tmp_path / "frames-other-20260101T000000-000001.gz") not in kept


def test_a_torn_file_ends_with_its_last_whole_record_and_noise_is_refused(tmp_path: Path) -> None:
    files = RotatingFiles(tmp_path, "frames-x", 10_000, 100_000, SimClock())
    one = pack(Record(Kind.FRAME, 1, 2, 0, 1, b"whole"))
    files.write(one + one)
    files.flush()
    files.write(one[: len(one) // 2])
    files.flush()
    (path,) = recorded(tmp_path, "frames-x")
    assert [record.body for record in records([path])] == [b"whole", b"whole"]
    files.close()
    (tmp_path / "noise").write_bytes(b"not gzip")
    with pytest.raises(ConfigError, match="not a readable recording"):
        list(records([tmp_path / "noise"]))


def test_an_empty_replay_is_an_empty_summary() -> None:
    assert replay(VENUE, [], lambda quote: None, SILENT) == Summary()
