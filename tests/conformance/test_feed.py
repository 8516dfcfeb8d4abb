"""Every feed of the roster against its own sandbox: quotes in canonical units, and what it makes of each kind of trouble."""

from __future__ import annotations

import asyncio
import importlib
import math
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from core.errors import Malformed
from core.roster import SPEC
from core.types import FundingKind, MarkPrice, Quote, QuoteFlag
from core.venue_spec import VenueKind
from feeds import session as session_module
from feeds.pace import Pace
from feeds.venues.base import ControlEvent, FeedDecoder, FeedEvent, GapEvent, SocketPlan
from feeds.wire import PublicReads, Socket, client
from ops.sandbox.garbage import SHAPES, garble
from tests.conformance.dialect import Dialect
from tests.conformance.stand import Stand
from tests.executor.sandbox_process import sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")
INTERVALS_S = {3600, 2 * 3600, 4 * 3600, 8 * 3600}
HOURLY_MAX = 0.005  # the sandbox's richest symbol pays 120 bps in 8 h


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def feed(venue: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    """Rubbish may hit the catalogue too, which is read every second here: a symbol that it leaves out comes back by two
    rotations, which must not wait for a minute."""
    with (
        pytest.MonkeyPatch.context() as patch,
        sandbox(tmp_path_factory.mktemp(f"{venue}-feed"), venues=(venue,)) as box,
    ):
        patch.setattr(session_module, "ROTATE_OVERLAP_S", 0.2)
        patch.setattr(session_module, "ROTATE_RETRY_S", 0.5)
        stand = Stand(venue, box, tmp_path_factory.mktemp(f"{venue}-run"))
        stand.start()
        yield stand
        await stand.end()


@pytest_asyncio.fixture(loop_scope="session")
async def stand(feed: Stand) -> AsyncIterator[Stand]:
    """Every quote is usable, and the feed still runs afterwards."""
    await feed.back()
    yield feed
    feed.box.control("clear", {})
    assert feed.is_running, feed.lines[-5:]


def streams(stand: Stand) -> None:
    if stand.quotes_first:
        pytest.skip(f"{stand.venue} has no stream of books (its SPEC)")


# ---- what is decoded ------------------------------------------------------------------------------------------------------


async def test_every_symbol_is_quoted_in_canonical_units(stand: Stand) -> None:
    marks = stand.marks()
    assert {"BTC", "ETH"} <= set(stand.symbols)
    for symbol in stand.symbols:
        quote = stand.shown(symbol)
        assert 0 < quote.bid_px < quote.ask_px, (symbol, quote)
        assert quote.mid == pytest.approx(marks[symbol], rel=0.03), symbol
        assert quote.bid_qty * quote.mid > 1.0 or stand.quotes_first, (symbol, quote)
        assert bool(quote.flags & QuoteFlag.INDICATIVE) is stand.quotes_first


async def test_marks_are_canonical_too(stand: Stand) -> None:
    marks = stand.marks()
    for symbol in stand.symbols:
        slot = stand.reader.slot(symbol) or 0
        if SPEC[stand.venue].kind is VenueKind.SPOT:
            continue
        await stand.until(lambda at=slot: told_mark(stand, at) > 0)  # type: ignore[misc]
        assert told_mark(stand, slot) == pytest.approx(marks[symbol], rel=0.03), symbol


def told_mark(stand: Stand, slot: int) -> float:
    """0 as long as none was told."""
    mark = stand.reader.mark(slot)
    return mark.mark_px if isinstance(mark, MarkPrice) and mark.mark_px > 0 else 0.0


async def test_funding_is_typed(stand: Stand) -> None:
    """A fraction per interval, the interval, when it settles next, and which kind it is."""
    if SPEC[stand.venue].kind is VenueKind.SPOT:
        pytest.skip(f"{stand.venue} is a spot venue: nothing is paid")
    for symbol in stand.symbols:
        slot = stand.reader.slot(symbol) or 0
        await stand.until(lambda at=slot: stand.reader.funding(at, FundingKind.ESTIMATE))  # type: ignore[misc]
        told = stand.reader.funding(slot, FundingKind.ESTIMATE)
        assert told is not None
        rate = told[0]
        assert rate.interval_s in INTERVALS_S, rate
        assert math.isfinite(rate.rate)
        assert abs(rate.rate) * 3600 / rate.interval_s < HOURLY_MAX, (symbol, rate)
        ahead_s = (rate.next_funding_ts_ns - stand.clock.wire_ns()) / 1e9
        assert -60 < ahead_s <= rate.interval_s + 60, (symbol, rate)
        assert rate.source
        assert rate.kind is FundingKind.ESTIMATE


# ---- trouble --------------------------------------------------------------------------------------------------------------


async def test_a_broken_stream_voids_its_quotes_and_everything_is_subscribed_again(stand: Stand) -> None:
    streams(stand)
    reconnects = stand.count("reconnects")
    stand.fault("disconnect", traffic=["market"], for_s=0.5)
    await stand.until(lambda: not stand.reader.status()[0] and not stand.usable())
    await stand.back()
    assert stand.count("reconnects") > reconnects


async def test_a_silent_stall_is_stale_at_once_and_given_up_after_its_bound(stand: Stand) -> None:
    streams(stand)
    stand.fault("stall", traffic=["market"])
    await stand.until(lambda: not stand.usable(), 5.0)
    await stand.until(lambda: stand.said("silent: no market data"))
    stand.box.control("clear", {})
    await stand.back()


async def test_late_frames_are_indicative_only(stand: Stand) -> None:
    streams(stand)
    late = stand.count("late_quotes")
    stand.fault("slow", traffic=["market"], value=1200)
    await stand.until(lambda: not stand.usable() and stand.count("late_quotes") > late)
    assert not stand.usable()
    stand.box.control("clear", {})
    await stand.back()


async def test_duplicates_and_disorder_never_take_a_quote_back(stand: Stand) -> None:
    streams(stand)
    stand.fault("duplicate", traffic=["market"])
    stand.fault("reorder", traffic=["market"], value=3)
    last: dict[str, tuple[int, float]] = {}
    for _ in range(400):
        for symbol in stand.usable():
            quote = stand.quote(symbol)
            gaps = stand.count("gaps")
            before_ns, gaps_then = last.get(symbol, (0, gaps))
            if isinstance(quote, Quote):  # a channel that was renewed after a gap may begin a moment earlier
                assert quote.exch_ts_ns >= before_ns or gaps > gaps_then, f"{symbol} went back in time"
                last[symbol] = (quote.exch_ts_ns, gaps)
        await asyncio.sleep(0.002)
    stand.box.control("clear", {})
    await stand.back()
    assert set(last) == set(stand.symbols)


async def test_a_small_gap_heals_on_the_same_connection(stand: Stand) -> None:
    """Where books hang on a chain, the torn one is entered again; the others, and with them the connection, go on."""
    streams(stand)
    reconnects = stand.count("reconnects")
    fault = stand.fault("gap", times=2)
    await stand.until(lambda: stand.hits(fault) == 2)
    await asyncio.sleep(0.3)
    await stand.back(8.0)
    assert stand.count("reconnects") == reconnects


async def test_a_gap_in_the_books_heals_and_the_truth_is_shown(stand: Stand) -> None:
    streams(stand)
    fault = stand.fault("gap", times=20)
    await stand.until(lambda: stand.hits(fault) == 20)
    stand.box.control("price", {"symbol": "BTC", "bps": 200})
    await asyncio.sleep(0.5)
    await stand.back()
    marks = stand.marks()
    for symbol in stand.symbols:
        assert stand.shown(symbol).mid == pytest.approx(marks[symbol], rel=0.015), symbol
    stand.box.control("price", {"symbol": "BTC", "bps": -200})


async def test_a_clock_set_back_freezes_nothing(stand: Stand) -> None:
    """After a step back of the venue's clock its frames look older than what was published. A quote that stands still
    while other frames prove it would be a stale price that trades."""
    streams(stand)
    stand.fault("clock_skew", value=30)
    await asyncio.sleep(0.5)
    stand.box.control("clear", {})
    stand.box.control("price", {"symbol": "BTC", "bps": 300})
    await asyncio.sleep(0.7)
    await stand.until(stand.usable)
    marks = stand.marks()
    for symbol in stand.usable():
        quote = stand.quote(symbol)
        assert not isinstance(quote, Quote) or quote.mid == pytest.approx(marks[symbol], rel=0.015), symbol
    stand.box.control("price", {"symbol": "BTC", "bps": -300})
    await stand.back()


@pytest.mark.parametrize("way", sorted(SHAPES))
async def test_garbage_is_dropped_counted_and_survived(stand: Stand, way: str) -> None:
    streams(stand)
    before = stand.count("malformed")
    fault = stand.fault("garbage", traffic=["market"], way=way, times=20)  # a few of them may be public reads
    await stand.until(lambda: stand.hits(fault) == 20)
    if way != "times":  # not every venue's frames carry a bare number of milliseconds
        await stand.until(lambda: stand.count("malformed") >= before + 5)
    await stand.back()


async def test_rubbish_where_channels_are_renewed_leaves_no_symbol_void(stand: Stand) -> None:
    """Gaps make the feed subscribe again; the snapshot it then needs may be among what is rubbish."""
    streams(stand)
    for way in ("truncated", "times", "types", "hostile"):
        stand.fault("gap", times=5)
        fault = stand.fault("garbage", traffic=["market"], way=way, times=25)
        await stand.until(lambda number=fault: stand.hits(number) == 25)  # type: ignore[misc]
        await stand.back()


async def test_rubbish_where_the_market_is_read_is_dropped_and_counted(stand: Stand) -> None:
    if not stand.quotes_first:
        pytest.skip(f"{stand.venue} is heard by streams, and not read")
    for way in ("hostile", "truncated"):
        before = stand.count("malformed")
        fault = stand.fault("garbage", traffic=["market"], way=way, times=4)  # some of them may be other reads
        await stand.until(lambda number=fault: stand.hits(number) == 4)  # type: ignore[misc]
        await stand.until(lambda count=before: stand.count("malformed") > count)  # type: ignore[misc]
        await stand.back()


async def test_nothing_but_garbage_is_stale(stand: Stand) -> None:
    streams(stand)
    stand.fault("garbage", traffic=["market"], way="hostile")
    await stand.until(lambda: not stand.usable())
    stand.box.control("clear", {})
    await stand.back()


async def test_a_venue_that_is_away_is_down_and_comes_back(stand: Stand) -> None:
    stand.box.control("venue", {"venue": stand.venue, "serving": False})
    try:
        await stand.until(lambda: not stand.reader.status()[0])
        assert not stand.usable()
    finally:
        stand.box.control("venue", {"venue": stand.venue, "serving": True})
    await stand.back()


# ---- the decoder alone ------------------------------------------------------------------------------------------------------


class Recorded:
    """A decoder with the sandbox's own catalogue, and frames as they came."""

    def __init__(self, decoder: FeedDecoder, plan: SocketPlan, frames: list[bytes]) -> None:
        self.decoder = decoder
        self.plan = plan
        self.frames = frames

    def decode(self, frame: bytes) -> list[FeedEvent]:
        """On a stream of its own, which has seen the real frames before."""
        stream = self.decoder.stream(self.plan)
        for real in self.frames[:40]:
            stream.decode(real)
        return stream.decode(frame)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def recorded(feed: Stand) -> Recorded:
    decoder: FeedDecoder = importlib.import_module(f"feeds.venues.{feed.venue}").Decoder()
    async with client() as http:
        reads = PublicReads(http, feed.settings.rest_url, Pace(1000, 1000, feed.clock))
        answers = [await reads.read(request) for request in decoder.catalogue_requests()]
        decoder.load_catalogue(answers, feed.box.loaded.config.feeds.symbols)
        plan = decoder.sockets()[0]
        frames = (
            [await reads.read(plan.poll) for _ in range(5)] if plan.poll else await heard(feed, http, decoder, plan)
        )
    return Recorded(decoder, plan, frames)


async def heard(stand: Stand, http: aiohttp.ClientSession, decoder: FeedDecoder, plan: SocketPlan) -> list[bytes]:
    """The first frames of a connection of its own."""
    frames: list[bytes] = []
    socket = await Socket.open(http, stand.settings.ws_url.rstrip("/") + decoder.ws_path())
    pump = asyncio.create_task(socket.pump(frames.append))
    for frame in plan.frames:
        await socket.send(frame)
    await stand.until(lambda: len(frames) >= 120)
    pump.cancel()
    await asyncio.gather(pump, return_exceptions=True)
    await socket.close()
    return frames


def is_believable(event: FeedEvent) -> bool:
    """Whether a number of the event could be shown to anybody."""
    if isinstance(event, ControlEvent | GapEvent):
        return True
    numbers = [value for value in event if isinstance(value, float)]
    return all(math.isnan(value) or (math.isfinite(value) and abs(value) < 1e18) for value in numbers) and not any(
        getattr(event, side, 0.0) < 0 for side in ("bid_px", "ask_px", "bid_qty", "ask_qty", "mark_px")
    )


async def test_real_frames_decode(recorded: Recorded) -> None:
    stream = recorded.decoder.stream(recorded.plan)
    events = [event for frame in recorded.frames for event in stream.decode(frame)]
    assert sum(not isinstance(event, ControlEvent | GapEvent) for event in events) > 20
    assert all(map(is_believable, events))


async def test_malformed_frames_of_this_venue_are_malformed(recorded: Recorded, dialect: Dialect) -> None:
    assert dialect.malformed
    for frame in dialect.malformed:
        with pytest.raises(Malformed):
            recorded.decode(frame)


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b'{"unheard":"of"}', b"[" * 5000, b"<html></html>"]
)
async def test_what_no_venue_says_is_never_market_data(recorded: Recorded, frame: bytes) -> None:
    try:
        events = recorded.decode(frame)
    except Malformed:
        return
    assert all(isinstance(event, ControlEvent) for event in events), events


async def test_spoiled_frames_are_malformed_or_believable(recorded: Recorded, venue: str) -> None:
    rng = random.Random(f"20261120 {venue}")
    refused = 0
    for _ in range(250):
        shape = rng.choice(sorted(SHAPES))
        frame, _ = garble(rng.choice(recorded.frames), shape, rng)
        try:
            events = recorded.decode(frame)
        except Malformed:
            refused += 1
        else:
            assert all(map(is_believable, events)), (shape, frame[:300], events)
    assert refused > 60, "most of it cannot be believed"


async def test_a_symbols_channels_can_be_renewed_alone(recorded: Recorded) -> None:
    if recorded.plan.poll is not None:
        pytest.skip("what is read again and again has no channels")
    for symbol in recorded.plan.symbols:
        frames = recorded.decoder.resubscribe(symbol)
        assert frames
        assert all(isinstance(frame, bytes) for frame in frames)


@pytest.mark.parametrize(
    "status", [503, 429]
)  # last: after a 429 that names no time the feed reads nothing for a minute
async def test_refused_reads_leave_the_stream_alone(stand: Stand, status: int) -> None:
    streams(stand)
    fault = stand.fault("http_error", traffic=["market", "reads"], value=status)
    await stand.until(lambda: stand.hits(fault) >= 1)
    assert stand.usable()
