"""Recordings of Lighter replayed whole: 29 s of BTC and ETH books and of all statistics, and a day of all markets' funding.

The books were recorded before the venue numbered its differences; `offset` rose by exactly 1 then, so the chain of today
is written into the frames from it. Nothing else is touched.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from core.clock import NS_PER_MS, SimClock
from core.types import FundingKind, FundingRate, Quote, Venue
from feeds.venues.base import DepthEvent, FeedEvent, FundingEvent, GapEvent, MarkEvent, Stream
from feeds.venues.lighter import Decoder
from tests.core.test_specs_lighter import answer, row
from tests.feeds.conftest import MakeRig
from tests.feeds.recordings import recording

CATALOGUE = answer(row(), row(symbol="BTC", market_id=1, supported_price_decimals=1, supported_size_decimals=5))


def load(name: str) -> list[dict[str, Any]]:
    path = recording(f"frames/lighter-websocket/{name}_samples.json.gz")
    messages: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return messages


def numbered(message: dict[str, Any]) -> bytes:
    data = message["data"]
    book = data.get("order_book")
    if book is not None:
        book["nonce"] = book["offset"]
        book["begin_nonce"] = book["offset"] - 1 if data["type"] == "update/order_book" else 0
    return json.dumps(data, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Books and statistics in the order they were received."""
    messages = sorted(load("orderbook") + load("market_stats"), key=lambda message: message["message_number"])
    return [numbered(message) for message in messages]


def fresh(catalogue: bytes = CATALOGUE) -> Stream:
    decoder = Decoder()
    decoder.load_catalogue([catalogue], ())
    return decoder.stream(decoder.sockets()[0])


def replay(frames: list[bytes]) -> list[FeedEvent]:
    stream = fresh()
    return [event for frame in frames for event in stream.decode(frame)]


def depths(events: list[FeedEvent], symbol: str) -> list[DepthEvent]:
    return [event for event in events if isinstance(event, DepthEvent) and event.symbol == symbol]


def test_no_update_is_lost_and_no_book_crosses(frames: list[bytes]) -> None:
    events = replay(frames)
    assert not [event for event in events if isinstance(event, GapEvent)]
    for symbol, count in (("ETH", 1501), ("BTC", 2258)):
        books = depths(events, symbol)
        assert len(books) == count
        assert all(0 < book.bids[0][0] < book.asks[0][0] for book in books)
        assert all(later.sequence == earlier.sequence + 1 for earlier, later in pairwise(books))
        for book in books:
            assert len(book.bids) == len(book.asks) == 20
            assert list(book.bids) == sorted(book.bids, reverse=True)
            assert list(book.asks) == sorted(book.asks)
            assert all(qty > 0 for _, qty in (*book.bids, *book.asks))


def test_first_and_last_books(frames: list[bytes]) -> None:
    events = replay(frames)
    eth, btc = depths(events, "ETH"), depths(events, "BTC")
    assert eth[0].bids[:2] == ((4332.51, 4.1698), (4332.5, 0.3462))
    assert eth[0].asks[:2] == ((4332.75, 0.6998), (4332.78, 34.3559))
    assert (eth[0].sequence, eth[0].exch_ts_ns) == (995816, 1760041996025 * NS_PER_MS)
    assert (eth[-1].bids[0], eth[-1].asks[0]) == ((4331.46, 34.6253), (4331.77, 0.8018))
    assert btc[0].bids[0] == (121044.3, 0.00256)
    assert btc[0].asks[:2] == ((121044.4, 0.09959), (121044.6, 0.00742))
    assert btc[-1].bids[:2] == ((121027.9, 0.10977), (121026.4, 0.00066))
    assert (btc[-1].sequence, btc[-1].exch_ts_ns) == (1349621, 1760042025776 * NS_PER_MS)
    mids = [(book.bids[0][0] + book.asks[0][0]) / 2 for book in (eth[0], eth[-1], btc[0], btc[-1])]
    assert mids == pytest.approx([4332.63, 4331.615, 121044.35, 121028.7])


def test_the_books_agree_with_a_dict_of_levels(frames: list[bytes]) -> None:
    """Built a second time without any of our code but the JSON of the frames."""
    plain: dict[str, dict[str, dict[float, float]]] = {}
    for frame in frames:
        message = json.loads(frame)
        if message["channel"].startswith("order_book"):
            sides = plain.setdefault(message["channel"], {"bids": {}, "asks": {}})
            for side in ("bids", "asks"):
                for level in message["order_book"][side]:
                    sides[side][float(level["price"])] = float(level["size"])
    events = replay(frames)
    for symbol, channel in (("ETH", "order_book:0"), ("BTC", "order_book:1")):
        last = depths(events, symbol)[-1]
        left = {side: sorted((px, qty) for px, qty in levels.items() if qty) for side, levels in plain[channel].items()}
        assert list(last.bids) == left["bids"][::-1][:20]
        assert list(last.asks) == left["asks"][:20]


def test_marks_stay_by_the_book_of_their_moment(frames: list[bytes]) -> None:
    """The recording holds no tickers; the mark, made from book and index, is the other witness of the top."""
    mids: dict[str, float] = {}
    seen = Counter[str]()
    for event in replay(frames):
        if isinstance(event, DepthEvent):
            mids[event.symbol] = (event.bids[0][0] + event.asks[0][0]) / 2
        elif isinstance(event, MarkEvent) and event.symbol in mids:
            seen[event.symbol] += 1
            assert abs(event.mark_px / mids[event.symbol] - 1) < 2e-4
    assert seen == {"ETH": 88, "BTC": 198}


def test_open_interest_and_volume_of_the_first_map(frames: list[bytes]) -> None:
    marks = [event for event in replay(frames) if isinstance(event, MarkEvent)]
    assert marks[0][:3] == ("ETH", 4332.63, 4333.85)
    assert marks[0].open_interest == pytest.approx(40882.8193)  # 177 130 129 USDC: whole lots of 0.0001 at the mark
    assert marks[0].volume_24h_usd == 1973584228.481635
    assert marks[1][:3] == ("BTC", 121043.7, 121010.8)
    assert marks[1].open_interest == pytest.approx(3227.24529)
    assert marks[0].exch_ts_ns == 0  # the map carried no time in 2025


def test_one_lost_difference_costs_its_book_only(frames: list[bytes]) -> None:
    lost = next(n for n, frame in enumerate(frames) if b'"offset":1347500' in frame)
    events = replay(frames[:lost] + frames[lost + 1 :])
    assert [event for event in events if isinstance(event, GapEvent)] == [
        GapEvent("BTC", "begin_nonce 1347500 after nonce 1347499")
    ]
    assert len(depths(events, "ETH")) == 1501
    assert depths(events, "BTC")[-1].sequence == 1347499  # nothing of the torn book is ever shown


@pytest.mark.parametrize("kind", ["twice", "swapped"])
def test_differences_twice_or_in_another_order_are_gaps(frames: list[bytes], kind: str) -> None:
    books = [frame for frame in frames if frame.startswith(b'{"channel":"order_book:1"')]
    torn = books[:11] + ([books[10], books[11]] if kind == "twice" else [books[12], books[11]]) + books[13:]
    events = replay(torn)
    (gap,) = [event for event in events if isinstance(event, GapEvent)]
    assert gap.symbol == "BTC"
    assert len(depths(events, "BTC")) == 11


def test_a_new_snapshot_after_a_gap_leads_to_the_same_book(frames: list[bytes]) -> None:
    books = [frame for frame in frames if frame.startswith(b'{"channel":"order_book:0"')]
    whole = replay(books)
    kept: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
    for frame in books[:700]:
        for side, levels in kept.items():
            levels.update((level["price"], level["size"]) for level in json.loads(frame)["order_book"][side])
    snapshot = json.loads(books[699])
    snapshot["type"] = "subscribed/order_book"
    snapshot["order_book"] |= {side: [{"price": px, "size": qty} for px, qty in kept[side].items()] for side in kept}
    snapshot["order_book"]["begin_nonce"] = 0
    stream = fresh()
    events = [event for frame in books[:300] + books[301:650] for event in stream.decode(frame)]
    assert isinstance(events[-1], GapEvent)  # and silence after it
    events = [event for frame in [json.dumps(snapshot).encode(), *books[700:]] for event in stream.decode(frame)]
    assert events == whole[699:]


def test_the_whole_recording_through_a_book_in_shared_memory(make_rig: MakeRig, frames: list[bytes]) -> None:
    """At the recorded pace of the server's clock: every quote usable, none late, none out of order."""
    clock = SimClock(wire_ns=1760041996025 * NS_PER_MS)
    rig = make_rig(clock, ("BTC", "ETH"), venue=Venue("lighter"))
    stream = fresh()
    for frame in frames:
        events = stream.decode(frame)
        for event in events:
            if isinstance(event, DepthEvent) and event.exch_ts_ns > clock.wire_ns():
                clock.advance_ns(event.exch_ts_ns - clock.wire_ns())
        rig.publisher.take(events, 0, clock.mono_ns())
    rig.book.heartbeat(clock.mono_ns())
    quote = rig.quote("BTC")
    assert isinstance(quote, Quote)
    assert quote[:4] == (121027.9, 0.10977, 121029.5, 0.0004)
    assert rig.live_quote("ETH")[:4] == (4331.46, 34.6253, 4331.77, 0.8018)
    assert rig.count("quotes_total") == 3759
    assert rig.count("out_of_order_total") == 0
    assert rig.count("late_quotes_total") == 0
    entry = rig.reader.funding(rig.slot("BTC"), FundingKind.ESTIMATE)
    assert entry is not None
    assert entry[0].rate == 0.000012
    assert entry[0].next_funding_ts_ns == 1760043600000 * NS_PER_MS  # 20:33 -> 21:00


# -- funding of all markets -------------------------------------------------------------------------------------------------


def estimates(frame: bytes) -> list[FundingRate]:
    stream = fresh(answer(*(row(symbol=f"M{number}", market_id=number) for number in range(92))))
    events = stream.decode(frame)
    return [event.rate for event in events if isinstance(event, FundingEvent)]


def test_ninety_two_markets_in_percent_per_hour() -> None:
    """Market 28 is dead: mark and index 0. It has no figures and costs the others none."""
    whole = load("market_stats")[0]
    assert len(whole["data"]["market_stats"]) == 92
    rates = estimates(json.dumps(whole["data"]).encode())
    assert len(rates) == 91
    calm = [rate for rate in rates if rate.rate == 0.000012]
    assert len(calm) == 57
    assert all(0.105 <= rate.apr <= 0.114 for rate in calm)
    assert sum(rate.rate < 0 for rate in rates) == 26
    assert all(abs(rate.rate) <= 0.005 for rate in rates)  # the venue's clamp: 4 % over 8 hours


def test_a_day_of_history_of_all_markets_is_mostly_calm() -> None:
    """Its sign was lost by whoever imported it: what a reader that ignores `direction` gets."""
    path = recording("funding/lighter-129-markets-24h/lighter_history_20260204_113742.sql.gz")
    text = gzip.decompress(path.read_bytes()).decode()
    decoder = Decoder()
    decoder.load_catalogue([CATALOGUE], ())
    aprs = Counter[float]()
    for percent in re.findall(r"VALUES \(\s*\"lighter\",\s*\"[^\"]*\",\s*\"[^\"]*\",\s*([-0-9.e]+),", text):
        rate = float(percent)
        payment = {"timestamp": 1770120000, "rate": rate, "direction": "long"}
        history = {"code": 200, "resolution": "1h", "fundings": [payment]}
        (event,) = decoder.load_figures(json.dumps(history).encode(), "ETH")
        assert isinstance(event, FundingEvent)
        aprs[round(event.rate.apr, 5)] += 1
    assert sum(aprs.values()) == 3096
    assert aprs[0.10512] == 2116
    assert aprs[0.0] == 176
