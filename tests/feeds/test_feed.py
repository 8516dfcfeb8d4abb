"""The whole feed of one venue in this process, against a double: catalogue, plans, figures, faults."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bookshm.book import BookReader, BookWriter
from bookshm.counters import CountersReader, CountersWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from core.config import Loaded, load
from core.errors import InvariantError
from core.log import Log
from core.types import Down, FundingKind, Quote, QuoteFlag, Venue
from feeds import session as session_module
from feeds.feed import Feed
from feeds.meters import SERIES
from feeds.venues.base import FeedEvent
from feeds.venues.hyperliquid import Decoder
from tests.configuration import whole_text
from tests.feeds.double import Double, Mood, until

ROOT = Path(__file__).resolve().parents[2]
VENUE = Venue("hyperliquid")


def meta(*names: str, delisted: tuple[str, ...] = ()) -> bytes:
    rows = [{"name": name, "szDecimals": 2, "maxLeverage": 5, "isDelisted": name in delisted} for name in names]
    return json.dumps({"universe": rows}).encode()


class Stage:
    def __init__(self, directory: Path, double: Double, symbols: str, slots: int) -> None:
        self.double = double
        self.lines: list[str] = []
        self.clock = SystemClock()
        self.loaded = self._load(directory, symbols, slots)
        self.run = RunDir.join(directory / "tandem-t", 1.0, self.clock)
        self.page = CountersWriter(self.run, f"feed-{VENUE}", self.clock, SERIES + slots)
        self.book = BookWriter(self.run, VENUE, self.clock, slots, 64)
        self.reader = BookReader(self.run, VENUE, self.clock, 500_000_000, 3_000_000_000)
        self.counters = CountersReader(self.run.counters / f"feed-{VENUE}", self.clock)
        self.decoder = Decoder()
        log = Log("test", self.clock, "debug", self.lines.append)
        self.feed = Feed(self.loaded, VENUE, self.decoder, self.book, self.page, self.clock, random.Random(3), log)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.feed.run(self.stop))

    def _load(self, directory: Path, symbols: str, slots: int) -> Loaded:
        text = whole_text()
        text = text.replace("http://127.0.0.1:18101", f"http://127.0.0.1:{self.double.port}")
        text = text.replace("ws://127.0.0.1:18101", f"ws://127.0.0.1:{self.double.port}")
        wanted = text[text.index("symbols = [") :].split("\n")[0]
        text = text.replace(wanted, f"symbols = {symbols}\nspecs_refresh_s = 0.3\nbackoff_max_s = 0.3")
        text += f"\n[books]\ncapacity_slots = {slots}\n"
        file = directory / "config" / "run.toml"
        file.parent.mkdir()
        file.write_text(text)
        return load(file)

    def quote(self, symbol: str) -> object:
        slot = self.reader.slot(symbol)
        return None if slot is None else self.reader.quote(slot)

    def is_quoted(self, symbol: str) -> bool:
        quote = self.quote(symbol)
        return isinstance(quote, Quote) and quote.is_sound

    def count(self, name: str) -> float:
        return sum(sample.value for sample in self.counters.samples() if sample.name == f"feed_{name}")

    def said(self, event: str) -> bool:
        return any(f'"event": "{event}"' in line for line in self.lines)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.gather(self.task, return_exceptions=True)
        self.run.leave()


@pytest.fixture
async def double(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Double]:
    monkeypatch.setattr(session_module, "ROTATE_OVERLAP_S", 0.1)
    monkeypatch.setattr(session_module, "ROTATE_RETRY_S", 0.1)
    double = Double()
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
async def stage(tmp_path: Path, double: Double) -> AsyncIterator[Stage]:
    double.meta = meta("BTC", "ETH")
    stage = Stage(tmp_path, double, "[]", 8)
    yield stage
    await stage.end()


async def test_a_new_listing_is_carried_without_a_hole_in_the_others(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    stage.double.meta = meta("BTC", "ETH", "kPEPE")
    holes = 0
    while not stage.is_quoted("PEPE"):
        holes += not stage.is_quoted("BTC")
        await asyncio.sleep(0.01)
    assert holes == 0
    await until(lambda: stage.count("rotations_total") == 1)
    assert stage.count("reconnects_total") == 0
    assert stage.reader.slot("BTC") == 0
    pepe = stage.quote("PEPE")
    assert isinstance(pepe, Quote)
    assert pepe.bid_px == pytest.approx(0.1)


async def test_the_same_catalogue_leaves_the_stream_alone(stage: Stage) -> None:
    await until(lambda: stage.double.reads.count("meta") >= 4)
    assert len(stage.double.received) == 1


async def test_a_delisted_symbol_is_left_and_flagged(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    slot = stage.reader.slot("ETH")
    assert slot is not None
    stage.double.meta = meta("BTC", "ETH", delisted=("ETH",))
    await until(lambda: stage.reader.instruments()["ETH"][1].delisted)
    while stage.count("rotations_total") < 1:  # the old connection still brings its quotes
        assert not stage.is_quoted("ETH")
        await asyncio.sleep(0.01)
    quote = stage.reader.peek(slot)
    assert isinstance(quote, Quote)
    assert (quote.flags, quote.is_sound) == (QuoteFlag.DELISTED, False)
    assert stage.double.coins(1) == ["BTC"]
    assert stage.is_quoted("BTC")


async def test_when_everything_is_delisted_the_venue_is_down(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC"))
    stage.double.meta = meta("BTC", "ETH", delisted=("BTC", "ETH"))
    await until(lambda: "none of the wanted symbols is listed" in stage.reader.status()[1])
    await until(lambda: not stage.double.sockets)
    stage.double.meta = meta("BTC", "ETH")
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    assert stage.reader.status()[0]


async def test_a_catalogue_gone_bad_keeps_the_old_one(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC"))
    stage.double.meta = b"<html>502</html>"
    await until(lambda: stage.said("no_catalogue"))
    assert stage.is_quoted("BTC")
    assert stage.count("rest_errors_total") >= 1
    assert not stage.task.done()


async def test_a_venue_that_answers_nonsense_first_is_asked_again(tmp_path: Path, double: Double) -> None:
    stage = Stage(tmp_path, double, "[]", 8)
    try:
        await until(lambda: "no catalogue yet" in stage.reader.status()[1])
        assert stage.reader.status()[2] < 1_000_000_000
        double.meta = meta("BTC")
        await until(lambda: stage.is_quoted("BTC"))
    finally:
        await stage.end()


async def test_wanted_symbols_that_are_not_listed_are_said(tmp_path: Path, double: Double) -> None:
    double.meta = meta("ETH")
    stage = Stage(tmp_path, double, '["BTC", "XRP"]', 8)
    try:
        await until(lambda: "none of the wanted symbols is listed: BTC, XRP" in stage.reader.status()[1])
        double.meta = meta("ETH", "BTC")
        await until(lambda: stage.is_quoted("BTC"))
        assert stage.reader.slot("ETH") is None
        assert any('"symbols": ["XRP"]' in line for line in stage.lines)
    finally:
        await stage.end()


async def test_a_full_book_says_so_and_carries_the_rest(tmp_path: Path, double: Double) -> None:
    double.meta = meta(*(f"C{number}" for number in range(10)))
    stage = Stage(tmp_path, double, "[]", 8)
    try:
        await until(lambda: stage.is_quoted("C7"))
        assert stage.said("book_full")
        assert stage.reader.slot("C8") is None
    finally:
        await stage.end()


async def test_settled_funding_is_read(stage: Stage) -> None:
    await until(lambda: stage.reader.funding(1, FundingKind.SETTLED) is not None)
    entry = stage.reader.funding(0, FundingKind.SETTLED)
    assert entry is not None
    assert (entry[0].rate, entry[0].interval_s) == (0.00002, 3600)


async def test_a_refusal_for_the_rate_ends_the_round_of_figures(tmp_path: Path, double: Double) -> None:
    double.meta = meta("BTC", "ETH")
    double.history_status = 429
    stage = Stage(tmp_path, double, "[]", 8)
    try:
        await until(lambda: stage.said("figures_rate_limited"))
        assert stage.double.reads.count("fundingHistory") == 1
        double.history_status = 200
        await until(lambda: stage.reader.funding(0, FundingKind.SETTLED) is not None)
        assert stage.is_quoted("BTC")
    finally:
        await stage.end()


async def test_a_failing_figure_costs_only_itself(tmp_path: Path, double: Double) -> None:
    double.meta = meta("BTC", "ETH")
    double.history_status = 500
    stage = Stage(tmp_path, double, "[]", 8)
    try:
        await until(lambda: double.reads.count("fundingHistory") >= 2)
        assert stage.reader.funding(0, FundingKind.SETTLED) is None
        assert stage.is_quoted("BTC")
    finally:
        await stage.end()


async def test_a_symbol_that_never_ticks_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeds.feed.SILENT_SYMBOL_S", 0.5)
    await until(lambda: stage.said("symbols_silent"))  # the double sends neither contexts nor books


async def test_a_broken_invariant_ends_the_feed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await until(lambda: stage.is_quoted("BTC"))

    def broken(frame: bytes) -> list[FeedEvent]:
        raise InvariantError("test")

    monkeypatch.setattr(stage.decoder, "decode", broken)
    with pytest.raises(InvariantError):
        await stage.task
    assert isinstance(stage.quote("BTC"), Down)


async def test_asked_to_stop_it_stops(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC"))
    stage.double.mood = Mood.MUTE
    stage.stop.set()
    await asyncio.wait_for(stage.task, 5)
    assert stage.quote("BTC") == Down("writer stopped")
    assert stage.counters.is_stopped
