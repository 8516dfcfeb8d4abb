"""The real feed processes against the real sandbox process: live quotes, death and return, a venue that goes and comes."""

from __future__ import annotations

import http.server
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bookshm.book import BookReader
from bookshm.counters import list_counters
from core.clock import SystemClock
from core.errors import EXIT_BUSY, EXIT_CONFIG, EXIT_OK
from core.types import Down, FundingKind, Liquidity, MarkPrice, Quote, QuoteFlag, Stale, Venue
from tests.configuration import sandbox_port, whole_text

ROOT = Path(__file__).resolve().parents[2]
VENUES = (Venue("hyperliquid"), Venue("aster"), Venue("lighter"))
SYMBOLS = ("BTC", "ETH", "SOL", "HYPE", "PAXG", "PEPE")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(holds: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)


class World:
    """A run of its own: configuration, shared memory and state below one directory; processes by name."""

    def __init__(self, directory: Path, venues: tuple[Venue, ...] = VENUES) -> None:
        self.directory = directory
        self.control_port, *venue_ports = free_ports(1 + len(venues))
        text = whole_text(venues=venues).replace("18100", str(self.control_port))
        for venue, port in zip(venues, venue_ports, strict=True):
            text = text.replace(str(sandbox_port(venue)), str(port))
        self.run_name = f"t{os.getpid()}-{secrets.token_hex(4)}"
        shm = directory / "shm"
        shm.mkdir()
        text = text.replace('name = "sandbox"', f'name = "{self.run_name}"\nshm_dir = "{shm}"')
        text = text.replace("[feeds]\n", "[feeds]\nbackoff_max_s = 1.0\nspecs_refresh_s = 5.0\n")
        self.venue_ports = dict(zip(venues, venue_ports, strict=True))
        self.config = directory / "config" / "run.toml"
        self.config.parent.mkdir()
        self.config.write_text(text)
        self.run_dir = shm / f"tandem-{self.run_name}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command, "--config", str(self.config)], cwd=ROOT, stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def start_feed(self, venue: Venue) -> subprocess.Popen[bytes]:
        return self.start(f"feed-{venue}", "feeds.main", "--venue", venue)

    def start_sandbox(self) -> None:
        self.start("sandbox", "ops.sandbox.main")

    def stop(self, name: str) -> int:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=15)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def reader(self, venue: Venue) -> BookReader:
        return BookReader(self.run_dir, venue, SystemClock(), 500_000_000, 3_000_000_000)

    def quote(self, reader: BookReader, symbol: str) -> object:
        slot = reader.slot(symbol)
        return None if slot is None else reader.quote(slot)

    def is_live(self, reader: BookReader, symbol: str = "BTC") -> bool:
        quote = self.quote(reader, symbol)
        return isinstance(quote, Quote) and quote.is_sound and quote.flags == QuoteFlag.EXECUTABLE

    def live_quote(self, reader: BookReader, symbol: str) -> Quote:
        until(lambda: self.is_live(reader, symbol), f"{symbol} live")
        quote = reader.peek(reader.slot(symbol) or 0)
        assert isinstance(quote, Quote)
        return quote

    def serve(self, venue: Venue, serving: bool) -> None:
        body = json.dumps({"venue": venue, "serving": serving}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.control_port}/control/venue", body)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(timeout=15)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Feeds first, venues later: any start order will do."""
    world = World(tmp_path_factory.mktemp("feeds"))
    for venue in VENUES:
        world.start_feed(venue)
    yield world
    world.close()


def test_without_its_venue_a_feed_lives_and_says_down(world: World) -> None:
    for venue in VENUES:
        reader = world.reader(venue)
        until(lambda reader=reader: "no catalogue yet" in reader.status()[1], f"{venue} says why it is down")
        until(lambda reader=reader: 0 <= reader.status()[2] < 300_000_000, f"{venue} beats")
        assert not reader.status()[0]
        assert world.processes[f"feed-{venue}"].poll() is None


def test_all_feeds_publish_every_symbol(world: World) -> None:
    world.start_sandbox()
    readers = {venue: world.reader(venue) for venue in VENUES}
    for venue, reader in readers.items():
        for symbol in SYMBOLS:
            until(
                lambda r=reader, s=symbol: world.is_live(r, s),
                f"{venue} {symbol} live\n{world.log(f'feed-{venue}')[-3000:]}",
            )
    for venue, reader in readers.items():
        for symbol in SYMBOLS:
            slot = reader.slot(symbol)
            assert slot is not None
            until(lambda r=reader, n=slot: isinstance(r.liquidity(n), Liquidity), f"{venue} {symbol} liquidity")
            until(lambda r=reader, n=slot: r.funding(n, FundingKind.ESTIMATE), f"{venue} {symbol} funding estimate")
            mark = reader.mark(slot)
            assert isinstance(mark, MarkPrice)
            assert mark.mark_px == pytest.approx(mark.index_px, rel=0.05)
        until(lambda r=reader: r.funding(0, FundingKind.SETTLED), f"{venue} settled funding")
    for symbol in SYMBOLS:  # the proof of the multipliers: the same token costs the same on both venues (TRAPS T6)
        first, *others = (world.live_quote(readers[venue], symbol) for venue in VENUES)
        assert all(first.mid == pytest.approx(other.mid, rel=0.05) for other in others)


def test_quotes_stay_usable_and_counted(world: World) -> None:
    """Over two seconds of an ordinary market nearly every read of every symbol is a usable quote."""
    readers = {venue: world.reader(venue) for venue in VENUES}
    good = total = 0
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        for reader in readers.values():
            for symbol in SYMBOLS:
                total += 1
                good += isinstance(world.quote(reader, symbol), Quote)
        time.sleep(0.02)
    assert good / total > 0.95
    until(
        lambda: {f"feed-{venue}" for venue in VENUES} <= {page.process for page in list_counters(world.run_dir)},
        "pages",
    )
    for page in list_counters(world.run_dir):
        if page.process.startswith("feed-"):
            values = {sample.name: sample for sample in page.samples()}
            assert values["feed_frames_total"].value > 0
            assert values["feed_malformed_total"].value == 0
            assert values["feed_out_of_order_total"].value == 0
            assert values["feed_decode_to_publish_seconds"].count > 0
            assert abs(values["feed_last_message_timestamp_seconds"].value - time.time()) < 5


@pytest.mark.parametrize("venue", VENUES)
def test_a_killed_feed_is_down_and_its_successor_bumps_the_epoch(world: World, venue: Venue) -> None:
    reader = world.reader(venue)
    before = world.live_quote(reader, "BTC")
    _, _, _, epoch, pid = reader.status()
    process = world.processes[f"feed-{venue}"]
    assert pid == process.pid
    process.kill()
    process.wait(timeout=10)
    until(lambda: isinstance(world.quote(reader, "BTC"), (Down, Stale)), "the dead feed's quote is not usable", 5.0)
    until(lambda: not reader.status()[0], "the venue reads as down", 5.0)
    world.start_feed(venue)
    until(lambda: world.is_live(reader), f"the same reader goes on\n{world.log(f'feed-{venue}')[-3000:]}")
    after = world.live_quote(reader, "BTC")
    assert reader.status()[3] == epoch + 1
    assert after.sequence > before.sequence
    assert reader.slot("BTC") is not None


@pytest.mark.parametrize("venue", VENUES)
def test_a_venue_that_goes_away_is_down_and_returns(world: World, venue: Venue) -> None:
    reader = world.reader(venue)
    other = world.reader(next(each for each in VENUES if each != venue))
    until(lambda: world.is_live(reader), "live before")
    epoch = reader.status()[3]
    world.serve(venue, False)
    try:
        until(lambda: isinstance(world.quote(reader, "BTC"), Down), "down while the venue is away")
        until(lambda: 0 <= reader.status()[2] < 300_000_000, "the feed goes on beating")
        assert world.processes[f"feed-{venue}"].poll() is None
        until(lambda: world.is_live(other), "the other venue goes on")
    finally:
        world.serve(venue, True)
    until(lambda: all(world.is_live(reader, symbol) for symbol in SYMBOLS), "back with the venue")
    assert reader.status()[3] == epoch


@pytest.mark.parametrize("venue", VENUES)
def test_a_feed_is_small_and_carries_no_numpy(world: World, venue: Venue) -> None:
    pid = world.processes[f"feed-{venue}"].pid
    assert "numpy" not in Path(f"/proc/{pid}/maps").read_text()
    sizes = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    assert int(sizes["Pss"].split()[0]) < 60 * 1024


def test_a_second_feed_of_the_same_venue_is_refused(world: World) -> None:
    second = world.start("second", "feeds.main", "--venue", "aster")
    assert second.wait(timeout=20) == EXIT_BUSY
    assert "feed-aster" in world.log("second")
    assert world.is_live(world.reader(Venue("aster")))


@pytest.mark.parametrize("venue", ["nowhere", "kraken"])
def test_a_venue_that_is_not_enabled_is_a_configuration_error(world: World, venue: str) -> None:
    process = world.start("wrong", "feeds.main", "--venue", venue)
    assert process.wait(timeout=20) == EXIT_CONFIG
    assert "not an enabled venue" in world.log("wrong")


def test_a_reload_checks_the_file_and_a_dump_tells_the_state(world: World) -> None:
    process = world.processes["feed-aster"]
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR1)
    until(
        lambda: "config_checked" in world.log("feed-aster") and '"event": "state"' in world.log("feed-aster"),
        "both said",
    )
    assert process.poll() is None


def test_asked_to_stop_a_feed_says_so_and_leaves_nothing(world: World) -> None:
    reader = world.reader(Venue("aster"))
    until(lambda: world.is_live(reader), "live before")
    assert world.stop("feed-aster") == EXIT_OK
    assert isinstance(world.quote(reader, "BTC"), Down)
    assert {world.stop(name) for name in list(world.processes) if name.startswith("feed-")} == {EXIT_OK}
    world.stop("sandbox")
    assert not world.run_dir.exists()


class Garbage(http.server.BaseHTTPRequestHandler):
    """Says 200 and talks nonsense."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>maintenance</html>")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Quiet."""


def test_garbage_for_a_catalogue_is_said_and_outlived(tmp_path: Path) -> None:
    world = World(tmp_path)
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Garbage) for port in world.venue_ports.values()]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for venue in VENUES:
            process = world.start_feed(venue)
            reader = world.reader(venue)
            until(lambda r=reader: "no catalogue yet" in r.status()[1], f"{venue} says why")
            assert venue in reader.status()[1]
            assert process.poll() is None
            assert world.stop(f"feed-{venue}") == EXIT_OK
    finally:
        world.close()
        for server in servers:
            server.shutdown()
            server.server_close()
