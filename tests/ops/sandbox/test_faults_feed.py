"""What the real feed processes do with each fault of the real sandbox: void or stale while it lasts, back by themselves."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from bookshm.book import BookReader
from bookshm.counters import list_counters
from core.types import Quote, QuoteFlag, Venue
from tests.feeds.test_feed_process import SYMBOLS, VENUES, World, until


class Watched(World):
    """A world whose venues misbehave and whose feeds are looked at."""

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.control_port}/control/{path}", data)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def fault(self, venue: Venue, kind: str, **more: Any) -> int:
        number: int = self.control("fault", {"venue": venue, "kind": kind, **more})["fault"]["number"]
        return number

    def hits(self, venue: Venue, number: int) -> int:
        shown = self.control("faults")["venues"][venue]
        return int(next(row["hits"] for row in (*shown["active"], *shown["finished"]) if row["number"] == number))

    def count(self, venue: Venue, name: str) -> float:
        page = next(page for page in list_counters(self.run_dir) if page.process == f"feed-{venue}")
        return next(sample.value for sample in page.samples() if sample.name == name)

    def usable(self, reader: BookReader) -> list[str]:
        return [symbol for symbol in SYMBOLS if self.is_live(reader, symbol)]

    def back(self, reader: BookReader, within_s: float = 30.0) -> None:
        until(lambda: len(self.usable(reader)) == len(SYMBOLS), "every quote is usable again", within_s)

    def mids(self, venue: Venue) -> dict[str, float]:
        """The venue's own mids (Lighter: marks), canonical, by its public REST."""
        url = f"http://127.0.0.1:{self.venue_ports[venue]}"
        if venue == "aster":
            with urllib.request.urlopen(f"{url}/fapi/v3/ticker/bookTicker", timeout=10) as answer:
                rows = {row["symbol"].removesuffix("USDT"): row for row in json.loads(answer.read())}
            found = {name: (float(row["bidPrice"]) + float(row["askPrice"])) / 2 for name, row in rows.items()}
            return found | {"PEPE": found["1000PEPE"] / 1000}
        if venue == "lighter":
            with urllib.request.urlopen(f"{url}/api/v1/orderBookDetails", timeout=10) as answer:
                found = {
                    row["symbol"]: float(row["mark_price"]) for row in json.loads(answer.read())["order_book_details"]
                }
            return found | {"PEPE": found["1000PEPE"] / 1000}
        request = urllib.request.Request(
            f"{url}/info", b'{"type":"allMids"}', headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = {name: float(px) for name, px in json.loads(answer.read()).items()}
        return found | {"PEPE": found["kPEPE"] / 1000}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    world = Watched(tmp_path_factory.mktemp("faulty"))
    text = world.config.read_text().replace("[feeds]\n", "[feeds]\nsilence_reconnect_s = 2.0\n")
    world.config.write_text(text)
    world.start_sandbox()
    for venue in VENUES:
        world.start_feed(venue)
    yield world
    world.close()


@pytest.fixture
def world(running: Watched) -> Iterator[Watched]:
    for venue in VENUES:
        running.back(running.reader(venue))
    yield running
    running.control("clear", {})
    for venue in VENUES:
        assert running.processes[f"feed-{venue}"].poll() is None, running.log(f"feed-{venue}")[-3000:]


both = pytest.mark.parametrize("venue", VENUES)


@both
def test_a_broken_stream_voids_its_quotes_and_comes_back(world: Watched, venue: Venue) -> None:
    reader, reconnects = world.reader(venue), world.count(venue, "feed_reconnects_total")
    world.fault(venue, "disconnect", traffic=["market"], for_s=1.0)
    until(lambda: not reader.status()[0] and not world.usable(reader), "down, with no usable quote", 5.0)
    world.back(reader)
    until(lambda: world.count(venue, "feed_reconnects_total") > reconnects, "the reconnect is counted")


@both
def test_a_silent_stall_is_stale_at_once_and_given_up_after_its_bound(world: Watched, venue: Venue) -> None:
    reader, other = world.reader(venue), world.reader(next(each for each in VENUES if each != venue))
    world.fault(venue, "stall", traffic=["market"])
    until(lambda: not world.usable(reader), "no quote is usable", 2.0)
    assert world.usable(other), "the other venue goes on"
    until(lambda: "silent: no market data" in world.log(f"feed-{venue}"), "the feed gives the stream up", 10.0)
    world.control("clear", {"venue": venue})
    world.back(reader)


@both
def test_late_frames_are_indicative_only(world: Watched, venue: Venue) -> None:
    reader = world.reader(venue)
    world.fault(venue, "slow", traffic=["market"], value=1500)
    until(lambda: not world.usable(reader), "nothing is usable", 5.0)
    late = world.count(venue, "feed_late_quotes_total")
    until(lambda: world.count(venue, "feed_late_quotes_total") > late, "late quotes still come, and are counted", 5.0)
    assert not world.usable(reader)
    world.control("clear", {"venue": venue})
    world.back(reader)


@both
def test_a_late_clock_is_indicative_and_a_clock_set_back_freezes_nothing(world: Watched, venue: Venue) -> None:
    """After a step back of the venue's clock its frames look older than what was published. A quote that stands still
    while other frames prove it would be a stale price that trades."""
    reader = world.reader(venue)
    world.fault(venue, "clock_skew", value=-5)
    until(lambda: not world.usable(reader), "behind by 5 s: nothing is usable", 5.0)
    world.control("clear", {"venue": venue})
    world.back(reader)
    world.fault(venue, "clock_skew", value=30)
    time.sleep(1.0)
    world.control("clear", {"venue": venue})
    world.control("price", {"symbol": "BTC", "bps": 300})
    time.sleep(1.0)
    until(lambda: world.usable(reader), "usable quotes", 10.0)
    wrong = []
    mids = world.mids(venue)
    for symbol in world.usable(reader):
        quote = world.quote(reader, symbol)
        if isinstance(quote, Quote) and abs(quote.mid / mids[symbol] - 1) > 0.01:
            wrong.append((symbol, quote.mid, mids[symbol]))
    assert wrong == []
    world.back(reader, 5.0)


@both
@pytest.mark.parametrize("status", [503, 429])  # after a 429 that names no time the feed reads nothing for a minute
def test_refused_reads_leave_the_stream_alone(world: Watched, venue: Venue, status: int) -> None:
    reader = world.reader(venue)
    fault = world.fault(venue, "http_error", traffic=["market", "reads"], value=status)
    until(lambda: world.hits(venue, fault) >= 1, "a public read was refused", 15.0)
    assert world.usable(reader)
    world.control("clear", {"venue": venue})


@both
def test_duplicates_and_disorder_never_take_a_quote_back(world: Watched, venue: Venue) -> None:
    reader = world.reader(venue)
    world.fault(venue, "duplicate", traffic=["market"])
    world.fault(venue, "reorder", traffic=["market"], value=5)
    last: dict[str, int] = {}
    end = time.monotonic() + 2.0
    seen = 0
    while time.monotonic() < end:
        for symbol in SYMBOLS:
            quote = world.quote(reader, symbol)
            if isinstance(quote, Quote) and quote.flags == QuoteFlag.EXECUTABLE:
                assert quote.exch_ts_ns >= last.get(symbol, 0), f"{symbol} went back in time"
                last[symbol] = quote.exch_ts_ns
                seen += 1
        time.sleep(0.002)
    assert seen > 1000
    assert set(last) == set(SYMBOLS)


@both
def test_a_gap_heals_with_the_next_book(world: Watched, venue: Venue) -> None:
    """Two streams are stateless: a missing frame is no break of a sequence, and the next book is the truth. Lighter's
    books chain: the torn one is left and entered again, on the same connection."""
    reader = world.reader(venue)
    gaps, reconnects = world.count(venue, "feed_gaps_total"), world.count(venue, "feed_reconnects_total")
    fault = world.fault(venue, "gap", times=50)
    until(lambda: world.hits(venue, fault) == 50, "fifty book frames were left out", 10.0)
    time.sleep(1.0)
    world.back(reader, 5.0)
    mids = world.mids(venue)
    for symbol in world.usable(reader):
        quote = world.quote(reader, symbol)
        if isinstance(quote, Quote):
            assert quote.mid == pytest.approx(mids[symbol], rel=0.01)
    assert (world.count(venue, "feed_gaps_total") > gaps) == (venue == "lighter")
    assert world.count(venue, "feed_reconnects_total") == reconnects


@both
@pytest.mark.parametrize("way", ["binary", "truncated", "types", "hostile", "times", "utf8", "deep", "text"])
def test_garbage_is_dropped_and_counted(world: Watched, venue: Venue, way: str) -> None:
    reader, pid = world.reader(venue), world.processes[f"feed-{venue}"].pid
    before = world.count(venue, "feed_malformed_total")
    fault = world.fault(venue, "garbage", traffic=["market"], way=way, times=40)  # a few of them may be public reads
    until(lambda: world.hits(venue, fault) == 40, "forty answers were rubbish", 10.0)
    until(lambda: world.count(venue, "feed_malformed_total") >= before + 15, "they are counted", 5.0)
    world.back(reader, 10.0)
    assert reader.status()[4] == pid, "the same process goes on"


@both
def test_nothing_but_garbage_is_stale(world: Watched, venue: Venue) -> None:
    reader = world.reader(venue)
    world.fault(venue, "garbage", traffic=["market"], way="hostile")
    until(lambda: not world.usable(reader), "no quote is usable", 5.0)
    world.control("clear", {"venue": venue})
    world.back(reader)
