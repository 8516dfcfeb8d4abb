"""Pacifica's wire: the page's samples and the recorded figures, against values read off them by hand."""

from __future__ import annotations

import gzip
import json
import re
from math import isnan, nan
from typing import Any

import pytest

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.errors import Malformed
from core.types import FundingKind
from feeds.venues.base import ControlEvent, ControlKind, DepthEvent, FundingEvent, MarkEvent, QuoteEvent, Stream
from feeds.venues.pacifica import MAX_RATE, Decoder
from tests.feeds.conftest import MakeRig
from tests.feeds.recordings import recording

ROW = {
    "tick_size": "1", "lot_size": "0.00001", "max_leverage": 50, "min_order_size": "10", "instrument_type": "perpetual",
}  # fmt: skip
NAMES = ("BTC", "SOL", "kPEPE")
INFO = json.dumps({"success": True, "data": [{"symbol": name, **ROW} for name in NAMES]}).encode()
BBO = (
    b'{"channel":"bbo","data":{"s":"BTC","i":1234567890,"li":1325476098,"t":1764133203991,"b":"87185","B":"1.234",'
    b'"a":"87186","A":"0.567"}}'
)
BOOK = (
    b'{"channel":"book","data":{"l":[[{"a":"37.86","n":4,"p":"157.47"}],[{"a":"12.7","n":2,"p":"157.49"}]],"s":"SOL",'
    b'"t":1749051881187,"li":1559885104}}'
)
PRICES = (
    b'{"channel":"prices","data":[{"symbol":"BTC","funding":"0.0000125","next_funding":"0.0000125","mark":"105473",'
    b'"mid":"105476","oracle":"105472","open_interest":"0.00524","volume_24h":"63265.87522","yesterday_price":"955476",'
    b'"timestamp":1749051612681}]}'
)
TRADES = (
    b'{"channel":"trades","data":[{"h":80062522,"s":"BTC","a":"0.00001","p":"89471","d":"close_short","tc":"normal",'
    b'"t":1765018379085,"li":1559885104}]}'
)
HISTORY = (
    b'{"success":true,"data":[{"oracle_price":"117170.4","bid_impact_price":"117126","ask_impact_price":"117142",'
    b'"funding_rate":"0.0000125","next_funding_rate":"0.000009","created_at":1753806934249},{"oracle_price":"1",'
    b'"bid_impact_price":"1","ask_impact_price":"1","funding_rate":"0.00001","next_funding_rate":"0.0000125",'
    b'"created_at":1753803334249}],"next_cursor":"11","has_more":true}'
)


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([INFO], ())
    return decoder


@pytest.fixture
def stream(decoder: Decoder) -> Stream:
    return decoder.stream(decoder.sockets()[0])


def edited(frame: bytes, **changes: Any) -> bytes:
    message = json.loads(frame)
    data = message["data"][0] if isinstance(message["data"], list) else message["data"]
    data.update(changes)
    return json.dumps(message).encode()


def quote(stream: Stream, **changes: Any) -> QuoteEvent:
    (event,) = stream.decode(edited(BBO, **changes))
    assert isinstance(event, QuoteEvent)
    return event


def test_bbo_sample(stream: Stream) -> None:
    event = quote(stream)
    assert event[:6] == ("BTC", 87185.0, 1.234, 87186.0, 0.567, 1764133203991 * NS_PER_MS)
    assert event.sequence > 0


def test_key_order_does_not_matter(decoder: Decoder) -> None:
    message = json.loads(BBO)
    turned = json.dumps({"data": message["data"], "channel": message["channel"]}).encode()
    plan = decoder.sockets()[0]
    assert decoder.stream(plan).decode(turned) == decoder.stream(plan).decode(BBO)


def test_quotes_are_ordered_by_the_order_number_then_by_time_then_by_arrival(stream: Stream) -> None:
    first = quote(stream)
    same = quote(stream, B="9")  # a cancel within the millisecond: no new order, and yet another book
    later = quote(stream, t=1764133203992)
    ordered = quote(stream, li=1325476099, t=1764133203000)  # a newer order beats an older clock
    old = quote(stream, li=1325476097, t=1764133209999)
    assert old.sequence < first.sequence < same.sequence < later.sequence < ordered.sequence


def test_a_frame_that_comes_twice_keeps_its_number(stream: Stream) -> None:
    assert quote(stream) == quote(stream)
    numbers = [quote(stream, B=str(size)).sequence for size in range(2, 400)]
    assert numbers == sorted(numbers)  # 255 changes within one millisecond and order are told apart
    assert numbers[-1] < quote(stream, t=1764133203992).sequence


def test_a_book_takes_a_quotes_place_only_when_orders_have_moved_on(stream: Stream) -> None:
    (depth,) = stream.decode(edited(BOOK, s="BTC", li=1325476098, t=1764133209999))
    (newer,) = stream.decode(edited(BOOK, s="BTC", li=1325476099, t=1))
    assert isinstance(depth, DepthEvent)
    assert isinstance(newer, DepthEvent)
    assert depth.sequence < quote(stream).sequence < newer.sequence


def test_the_publisher_drops_what_is_old_and_takes_what_is_equal(make_rig: MakeRig, decoder: Decoder) -> None:
    clock = SimClock(wire_ns=1764133203991 * NS_PER_MS)
    rig = make_rig(clock)
    rig.publisher.install(decoder.load_catalogue([INFO], ()))
    rig.publisher.assign(0, ["BTC"])
    stream = decoder.stream(decoder.sockets()[0])
    for changes, shown in (
        ({}, 1.234),
        ({"B": "2"}, 2.0),
        ({"li": 1, "B": "3"}, 2.0),
        ({"li": 1325476099, "B": "4"}, 4.0),
    ):
        rig.publisher.take(stream.decode(edited(BBO, **changes)), 0, clock.mono_ns())
        assert rig.quote("BTC").bid_qty == shown


def test_a_missing_side_is_zero(stream: Stream) -> None:
    for absent in ({"b": None, "B": None}, {"b": "0", "B": "1"}):
        assert quote(stream, **absent)[1:5] == (0.0, 0.0, 87186.0, 0.567)
    assert quote(stream, b=None, B=None, a=None, A=None)[1:5] == (0.0, 0.0, 0.0, 0.0)


def test_a_thousand_tokens_are_one_unit_of_the_venue(stream: Stream) -> None:
    event = quote(stream, s="kPEPE", b="0.004", B="5", a="0.0041", A="7")
    assert event[:5] == ("PEPE", 0.004 / 1000, 5000.0, 0.0041 / 1000, 7000.0)
    mark, _ = stream.decode(edited(PRICES, symbol="kPEPE", mark="0.004", oracle="0.004", open_interest="3"))
    assert isinstance(mark, MarkEvent)
    assert (mark.mark_px, mark.open_interest) == (0.004 / 1000, 3000.0)


def test_book_sample(stream: Stream) -> None:
    (depth,) = stream.decode(BOOK)
    assert isinstance(depth, DepthEvent)
    assert depth[:4] == ("SOL", ((157.47, 37.86),), ((157.49, 12.7),), 1749051881187 * NS_PER_MS)
    (empty,) = stream.decode(edited(BOOK, l=[[], []]))
    assert (empty.bids, empty.asks) == ((), ())  # type: ignore[union-attr]


def test_prices_sample(stream: Stream) -> None:
    mark, funding = stream.decode(PRICES)
    assert mark == MarkEvent("BTC", 105473.0, 105472.0, 0.00524, 63265.87522, 0)
    assert isinstance(funding, FundingEvent)
    rate = funding.rate
    assert (rate.rate, rate.interval_s, rate.kind) == (0.0000125, 3600, FundingKind.ESTIMATE)
    assert (rate.source, rate.next_funding_ts_ns) == ("ws.prices.next_funding", 0)
    assert 0.105 <= rate.apr <= 0.114


def test_the_estimate_is_the_next_rate_not_the_last(stream: Stream) -> None:
    _, funding = stream.decode(edited(PRICES, funding="0.003", next_funding="-0.0002"))
    assert isinstance(funding, FundingEvent)
    assert funding.rate.rate == -0.0002


def test_markets_that_are_not_ours_are_passed_over(stream: Stream) -> None:
    assert stream.decode(edited(PRICES, symbol="SOL-USDC", mark=None, next_funding=None)) == []


def test_figures_that_are_not_told_are_nan(stream: Stream) -> None:
    mark, _ = stream.decode(edited(PRICES, open_interest=None, volume_24h="NaN"))
    assert isinstance(mark, MarkEvent)
    assert isnan(mark.open_interest)
    assert isnan(mark.volume_24h_usd)
    assert nan != mark.open_interest


def test_settled_rate_of_the_history(decoder: Decoder) -> None:
    (event,) = decoder.load_figures(HISTORY, "BTC")
    assert isinstance(event, FundingEvent)
    assert event.symbol == "BTC"
    assert (event.rate.rate, event.rate.kind, event.rate.interval_s) == (0.0000125, FundingKind.SETTLED, 3600)
    assert event.rate.next_funding_ts_ns == 1753808400 * NS_PER_S  # the row lies 35 minutes past its hour
    assert event.rate.source == "rest.funding_rate/history"
    assert 0.105 <= event.rate.apr <= 0.114
    assert decoder.load_figures(b'{"success":true,"data":[]}', "BTC") == []


@pytest.mark.parametrize("figure", ["0.041", "-0.05", "0.11", "5240.5", "NaN", "inf"])
def test_a_rate_beyond_the_venues_cap_is_no_rate(stream: Stream, decoder: Decoder, figure: str) -> None:
    """Open interest, an annual figure and most percentages lie beyond it."""
    with pytest.raises(Malformed):
        stream.decode(edited(PRICES, next_funding=figure))
    with pytest.raises(Malformed):
        decoder.load_figures(
            HISTORY.replace(b'"funding_rate":"0.0000125"', f'"funding_rate":"{figure}"'.encode()), "BTC"
        )


def test_recorded_rates_of_january_2026_are_fractions_per_hour(decoder: Decoder) -> None:
    """Means of what a collector saw on this venue; the calm ones come to 10.95 % a year."""
    stream = decoder.stream(decoder.sockets()[0])
    calm = seen = 0
    for file in ("early_65000", "jan1_30000"):
        path = recording(f"funding/hourly-aggregates-10-venues/{file}.sql.gz")
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if 'VALUES ("pacifica"' not in line:
                    continue
                mean = re.split(r",\s*", line.partition("VALUES (")[2])[13]
                _, funding = stream.decode(edited(PRICES, next_funding=mean))
                assert isinstance(funding, FundingEvent)
                assert funding.rate.rate == float(mean)
                assert abs(funding.rate.rate) < MAX_RATE
                seen += 1
                if mean == "0.0000125":
                    calm += 1
                    assert 0.105 <= funding.rate.apr <= 0.114
    assert seen > 200
    assert calm > seen / 4


def test_subscriptions_quotes_first_and_what_is_not_acknowledged_is_asked_again(decoder: Decoder) -> None:
    (plan,) = decoder.sockets()
    assert plan.symbols == ("BTC", "SOL", "PEPE")
    asked = [json.loads(frame) for frame in plan.frames]
    assert [each["method"] for each in asked] == ["subscribe"] * 7
    assert asked[2]["params"] == {"source": "bbo", "symbol": "kPEPE"}
    assert asked[3]["params"] == {"source": "prices"}
    assert asked[4]["params"] == {"source": "book", "symbol": "BTC", "agg_level": 1}
    stream = decoder.stream(plan)
    assert stream.overdue() == list(plan.frames)
    for each in asked[:-1]:
        (ack,) = stream.decode(json.dumps({"channel": "subscribe", "data": each["params"]}).encode())
        assert isinstance(ack, ControlEvent)
        assert ack.kind is ControlKind.ACK
    assert stream.overdue() == [plan.frames[-1]]
    assert [json.loads(f)["method"] for f in decoder.resubscribe("BTC")] == ["unsubscribe", "subscribe"] * 2
    assert decoder.resubscribe("XRP") == []


def test_more_than_twenty_symbols_take_another_connection() -> None:
    decoder = Decoder()
    rows = [{"symbol": f"C{number}", **ROW} for number in range(45)]
    decoder.load_catalogue([json.dumps({"success": True, "data": rows}).encode()], ())
    plans = decoder.sockets()
    assert [len(plan.symbols) for plan in plans] == [20, 20, 5]
    assert [sum(b'"bbo"' in frame for frame in plan.frames) for plan in plans] == [20, 20, 5]
    assert all(plan.frames.count(b'{"method":"subscribe","params":{"source":"prices"}}') == 1 for plan in plans)
    asked = {request.about for hour in range(3) for request in decoder.figures_requests(hour * 3600 * NS_PER_S)}
    assert len(asked) == 45  # over a few rounds, every history


def test_controls(stream: Stream) -> None:
    for frame, kind in (
        (b'{"channel":"pong"}', ControlKind.PONG),
        (b'{"code":400,"err":"Invalid request","t":1749223025962}', ControlKind.ERROR),
        (TRADES, ControlKind.OTHER),
        (b'{"channel":"unsubscribe","data":{"source":"bbo","symbol":"BTC"}}', ControlKind.ACK),
    ):
        (event,) = stream.decode(frame)
        assert isinstance(event, ControlEvent)
        assert event.kind is kind


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"nonsense", b"\xff\xfe", b"[]", b"{}", b'{"data":{}}', b"[" * 100_000, BBO[:-1],
        edited(BBO, s="XRP"), edited(BBO, b="NaN"), edited(BBO, b="-1"), edited(BBO, b="x"), edited(BBO, t=-1),
        edited(BBO, t=1 << 62), edited(BBO, li=-1), edited(BBO, li=1 << 63), edited(BBO, A="inf"), edited(BBO, A="-1"),
        edited(BOOK, l=[[]]), edited(BOOK, l=[[{"p": "0", "a": "1"}], []]), edited(BOOK, l=[[{"p": "1"}], []]),
        edited(BOOK, l=[[{"p": "1", "a": "-1"}], []]), edited(BOOK, s="XRP"), edited(BOOK, l=None),
        edited(PRICES, mark="0"), edited(PRICES, mark=None), edited(PRICES, oracle="inf"), edited(PRICES, next_funding=None),
        edited(PRICES, symbol=None), b'{"channel":"prices","data":{}}', b'{"channel":"subscribe","data":7}',
    ],
)  # fmt: skip
def test_malformed_frames_are_refused_whole(stream: Stream, frame: bytes) -> None:
    with pytest.raises(Malformed):
        stream.decode(frame)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b'{"success":false,"data":null,"error":"x"}', b'{"success":true,"data":[{"funding_rate":"1"}]}'],
)
def test_malformed_figures(decoder: Decoder, answer: bytes) -> None:
    with pytest.raises(Malformed):
        decoder.load_figures(answer, "BTC")
    with pytest.raises(Malformed):
        decoder.load_figures(HISTORY, "XRP")


def test_a_catalogue_that_does_not_decode_leaves_the_old_one(decoder: Decoder) -> None:
    with pytest.raises(Malformed):
        decoder.load_catalogue([b"{}"], ())
    assert decoder.sockets()[0].symbols == ("BTC", "SOL", "PEPE")
    decoder.load_catalogue([INFO], ["PEPE"])
    assert decoder.sockets()[0].symbols == ("PEPE",)
