"""Aster's wire: the page's samples, and recordings of Binance USD-M (whose wire it copied), against values read by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from math import isnan
from typing import Any

import pytest

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.types import FundingKind
from feeds.venues.aster import Decoder
from feeds.venues.base import ControlEvent, ControlKind, DepthEvent, FundingEvent, MarkEvent, QuoteEvent
from tests.feeds.recordings import received_frames, recording

TICKER = (
    b'{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000",'
    b'"a":"25.36520000","A":"40.66000000"}'
)
MARK = (
    b'{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091",'
    b'"P":"11784.25641265","r":"0.00038167","T":1562306400000}'
)
DEPTH = (
    b'{"e":"depthUpdate","E":1568014460895,"T":1568014460891,"s":"BNBUSDT","U":157,"u":160,"pu":149,'
    b'"b":[["25.3519","31.21"],["25.35","2"]],"a":[["25.3652","40.66"],["25.37","3"]]}'
)
FUNDING_INFO = (
    b'[{"symbol":"BTCUSDT","interestRate":"0.00010000","time":1756197479000,"fundingIntervalHours":8,"fundingFeeCap":0.03,'
    b'"fundingFeeFloor":-0.03},{"symbol":"1000PEPEUSDT","interestRate":"0.00005000","time":1756197479000,'
    b'"fundingIntervalHours":4,"fundingFeeCap":0.02,"fundingFeeFloor":-0.02},{"symbol":null,"fundingIntervalHours":8},'
    b'{"symbol":"SUSHIUSDT","fundingIntervalHours":5},{"symbol":"AKROUSDT"}]'
)
BASES = ("BTC", "ETH", "BNB", "1000PEPE", "SUSHI", "AKRO", "KEEP", "CTK")
HOUR_MS = 3_600_000


def row(base: str, **changes: Any) -> dict[str, Any]:
    return {
        "symbol": f"{base}USDT", "status": "TRADING", "contractType": "PERPETUAL", "baseAsset": base, "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        **changes,
    }  # fmt: skip


def catalogue(*bases: str) -> bytes:
    return json.dumps({"symbols": [row(base) for base in bases]}).encode()


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([catalogue(*BASES), FUNDING_INFO], ())
    return decoder


def wrapped(stream: str, frame: bytes) -> bytes:
    return b'{"stream":"' + stream.encode() + b'","data":' + frame + b"}"


def edited(frame: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(frame) | changes).encode()


def funding_of(decoder: Decoder, frame: bytes) -> FundingEvent | None:
    return next((event for event in decoder.decode(frame) if isinstance(event, FundingEvent)), None)


def test_ticker_sample(decoder: Decoder) -> None:
    expected = [QuoteEvent("BNB", 25.3519, 31.21, 25.3652, 40.66, 1568014460893 * NS_PER_MS, 400900217)]
    assert decoder.decode(TICKER) == expected
    assert decoder.decode(wrapped("bnbusdt@bookTicker", TICKER)) == expected


def test_mark_sample(decoder: Decoder) -> None:
    mark, funding = decoder.decode(MARK)
    assert isinstance(mark, MarkEvent)
    assert mark[:3] == ("BTC", 11794.15, 11784.62659091)
    assert isnan(mark.open_interest)  # the venue documents none
    assert isnan(mark.volume_24h_usd)
    assert mark.exch_ts_ns == 1562305380000 * NS_PER_MS
    assert isinstance(funding, FundingEvent)
    rate = funding.rate
    assert (rate.rate, rate.interval_s, rate.kind) == (0.00038167, 8 * 3600, FundingKind.ESTIMATE)
    assert rate.next_funding_ts_ns == 1562306400000 * NS_PER_MS


@pytest.mark.parametrize(("symbol", "calm"), [("BTCUSDT", "0.0001"), ("1000PEPEUSDT", "0.00005")])
def test_calm_rates_come_to_eleven_percent_a_year(decoder: Decoder, symbol: str, calm: str) -> None:
    event = funding_of(decoder, edited(MARK, s=symbol, r=calm))
    assert event is not None
    assert 0.105 <= event.rate.apr <= 0.114


def test_an_unknown_interval_publishes_no_funding(decoder: Decoder) -> None:
    """Not in fundingInfo, told as 5 h, or without the field: the mark is published, the rate is not. Never 8 h silently."""
    for symbol in ("ETHUSDT", "SUSHIUSDT", "AKROUSDT"):
        events = decoder.decode(edited(MARK, s=symbol))
        assert [type(event) for event in events] == [MarkEvent]


def test_settlement_times_that_contradict_the_interval_stop_the_rate(decoder: Decoder) -> None:
    first = 1562306400000
    assert funding_of(decoder, edited(MARK, T=first)) is not None
    assert funding_of(decoder, edited(MARK, T=first + 8 * HOUR_MS)) is not None  # as told
    assert funding_of(decoder, edited(MARK, T=first + 12 * HOUR_MS)) is None  # now every 4 h, and nobody told us
    assert funding_of(decoder, edited(MARK, T=first + 12 * HOUR_MS)) is None
    decoder.load_catalogue([catalogue(*BASES), FUNDING_INFO], ())  # the same old answer does not make it right
    assert funding_of(decoder, edited(MARK, T=first + 12 * HOUR_MS)) is None
    decoder.load_catalogue([catalogue(*BASES), b'[{"symbol":"BTCUSDT","fundingIntervalHours":4}]'], ())
    event = funding_of(decoder, edited(MARK, T=first + 12 * HOUR_MS))
    assert event is not None
    assert event.rate.interval_s == 4 * 3600


def test_missed_settlements_do_not_stop_the_rate(decoder: Decoder) -> None:
    assert funding_of(decoder, MARK) is not None
    assert funding_of(decoder, edited(MARK, T=1562306400000 + 24 * HOUR_MS)) is not None


def test_depth_sample(decoder: Decoder) -> None:
    expected = [
        DepthEvent(
            "BNB", ((25.3519, 31.21), (25.35, 2.0)), ((25.3652, 40.66), (25.37, 3.0)), 1568014460895 * NS_PER_MS, 160
        )
    ]
    assert decoder.decode(DEPTH) == expected
    assert decoder.decode(wrapped("bnbusdt@depth20@500ms", DEPTH)) == expected


def test_multiplier_names_become_single_tokens(decoder: Decoder) -> None:
    (quote,) = decoder.decode(edited(TICKER, s="1000PEPEUSDT", b="0.0036", B="15", a="0.0037", A="2"))
    assert isinstance(quote, QuoteEvent)
    assert quote.symbol == "PEPE"
    assert quote[1:5] == pytest.approx((3.6e-06, 15_000.0, 3.7e-06, 2000.0))
    mark, funding = decoder.decode(edited(MARK, s="1000PEPEUSDT", p="0.0036", i="0.0037"))
    assert isinstance(mark, MarkEvent)
    assert mark[1:3] == pytest.approx((3.6e-06, 3.7e-06))
    assert isinstance(funding, FundingEvent)
    assert funding.rate.rate == 0.00038167  # rates and notionals are not scaled
    (depth,) = decoder.decode(edited(DEPTH, s="1000PEPEUSDT", b=[["0.0036", "2"]], a=[]))
    assert isinstance(depth, DepthEvent)
    assert depth.bids == (pytest.approx((3.6e-06, 2000.0)),)
    assert depth.asks == ()


def test_control_frames(decoder: Decoder) -> None:
    kinds = {
        b'{"result":null,"id":1}': ControlKind.ACK,
        b'{"code":2,"msg":"Invalid request: unknown variant"}': ControlKind.ERROR,
        b'{"error":{"code":2,"msg":"Invalid"},"id":3}': ControlKind.ERROR,
        b'{"e":"aggTrade","E":1,"s":"BTCUSDT","p":"1","q":"1"}': ControlKind.OTHER,
        b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","s":"BTCUSDT"}}': ControlKind.OTHER,
        wrapped("bnbusdt@depth@100ms", DEPTH): ControlKind.OTHER,  # changes of a book, not a book
    }
    for frame, kind in kinds.items():
        (event,) = decoder.decode(frame)
        assert isinstance(event, ControlEvent)
        assert event.kind is kind, frame


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"hello",
        b"{",
        b"{}",
        b"[]",
        b"\xff",
        TICKER[:-1],
        TICKER.replace(b'"u":400900217,', b""),
        TICKER.replace(b"25.35190000", b"nan"),
        TICKER.replace(b"25.35190000", b"-1"),
        TICKER.replace(b"40.66000000", b"inf"),
        TICKER.replace(b"BNBUSDT", b"NOPEUSDT"),
        TICKER.replace(b"BNBUSDT", b"bnbusdt"),
        wrapped("bnbusdt@bookTicker", TICKER.replace(b'"b":"25.35190000",', b"")),
        DEPTH.replace(b'"25.35"', b'"0"'),
        DEPTH.replace(b'"2"', b'"0"'),
        DEPTH.replace(b'["25.37","3"]', b'["25.37"]'),
        MARK.replace(b"11794.15000000", b"0"),
        MARK.replace(b"0.00038167", b"nan"),
        MARK.replace(b'"r":"0.00038167"', b'"r":""'),
    ],
)
def test_what_does_not_decode_is_malformed(decoder: Decoder, frame: bytes) -> None:
    with pytest.raises(Malformed):
        decoder.decode(frame)


def test_subscriptions_come_in_batches_over_enough_sockets() -> None:
    decoder = Decoder()
    decoder.load_catalogue([catalogue(*(f"C{number}" for number in range(150))), b"[]"], ())
    plans = decoder.sockets()
    assert [len(plan.symbols) for plan in plans] == [66, 66, 18]
    for plan in plans:
        sent = [json.loads(frame) for frame in plan.frames]
        streams = [stream for each in sent for stream in each["params"]]
        assert len(streams) == 3 * len(plan.symbols) <= 200
        assert len(sent) <= 4
        assert {each["method"] for each in sent} == {"SUBSCRIBE"}
        assert all(stream == stream.split("@")[0].lower() + stream[stream.index("@") :] for stream in streams)
        ids = [each["id"] for each in sent]
        assert len(set(ids)) == len(ids)
    assert json.loads(plans[0].frames[0])["params"][0] == "c0usdt@bookTicker"
    assert decoder.sockets() == plans  # the same catalogue is the same plan: no reason to rotate


def test_resubscription_and_requests(decoder: Decoder) -> None:
    methods = [(json.loads(f)["method"], json.loads(f)["params"]) for f in decoder.resubscribe("PEPE")]
    streams = ["1000pepeusdt@bookTicker", "1000pepeusdt@markPrice@1s", "1000pepeusdt@depth20@500ms"]
    assert methods == [("UNSUBSCRIBE", streams), ("SUBSCRIBE", streams)]
    assert decoder.resubscribe("NOPE") == []
    paths = [request.path for request in decoder.figures_requests(1_700_000_000_000 * NS_PER_MS)]
    assert paths[0] == f"/fapi/v3/fundingRate?symbol=BTCUSDT&startTime={1_700_000_000_000 - 26 * HOUR_MS}&limit=100"
    assert paths[1] == "/fapi/v3/ticker/24hr?symbol=BTCUSDT"


def test_seed_answers(decoder: Decoder) -> None:
    seed = (
        b'[{"symbol":"BTCUSDT","bidPrice":"100.5","bidQty":"1","askPrice":"100.6","askQty":"2","time":1700000000000},'
        b'{"symbol":"OTHERUSDT","bidPrice":"1","bidQty":"1","askPrice":"2","askQty":"2"},'
        b'{"symbol":"1000PEPEUSDT","bidPrice":"0.5","bidQty":"3","askPrice":"0.6","askQty":"4"}]'
    )
    assert decoder.load_seed(seed) == [
        QuoteEvent("BTC", 100.5, 1.0, 100.6, 2.0, 1700000000000 * NS_PER_MS, 0),
        QuoteEvent("PEPE", 0.0005, 3000.0, 0.0006, 4000.0, 0, 0),
    ]
    for bad in (b'{"code":-1003}', b"[{}]", seed.replace(b'"100.5"', b'"nan"')):
        with pytest.raises(Malformed):
            decoder.load_seed(bad)


def test_figures(decoder: Decoder) -> None:
    history = (
        b'[{"symbol":"1000PEPEUSDT","fundingRate":"0.00010000","fundingTime":1700006400000},'
        b'{"symbol":"1000PEPEUSDT","fundingRate":"0.00005000","fundingTime":1700020803000}]'
    )
    (event,) = decoder.load_figures(history)
    assert isinstance(event, FundingEvent)
    assert (event.symbol, event.rate.rate, event.rate.interval_s) == ("PEPE", 0.00005, 4 * 3600)
    assert event.rate.kind is FundingKind.SETTLED
    assert event.rate.next_funding_ts_ns == 1700035200000 * NS_PER_MS
    assert 0.105 <= event.rate.apr <= 0.114
    (event,) = decoder.load_figures(b'{"symbol":"BTCUSDT","volume":"12.5","quoteVolume":"1250000.5"}')
    assert isinstance(event, MarkEvent)
    assert event.volume_24h_usd == 1250000.5
    assert isnan(event.mark_px)
    assert decoder.load_figures(b"[]") == []
    for bad in (
        b"null",
        b'{"code":-1121,"msg":"Invalid symbol."}',
        history.replace(b"1700020803000", b"1700006400001"),
    ):
        with pytest.raises(Malformed):
            decoder.load_figures(bad)


def test_a_bad_catalogue_leaves_the_one_it_had(decoder: Decoder) -> None:
    with pytest.raises(Malformed):
        decoder.load_catalogue([catalogue("BTC"), b'{"code":-1003}'], ())
    assert len(decoder.sockets()[0].symbols) == len(BASES)
    rows = decoder.load_catalogue([catalogue(*BASES), FUNDING_INFO], ("PEPE", "HYPE"))
    assert [(each.symbol, each.multiplier) for each in rows] == [("PEPE", 1000)]


# -- recordings -----------------------------------------------------------------------------------------------------------


def frames_of_2021() -> Iterator[bytes]:
    lines = recording("frames/binance-futures-2021/BINANCE_FUTURES.ws.1.0").read_bytes().split(b"\n")
    for line in lines[1:]:
        if line:
            yield line.split(b": ", 1)[1]


def test_recorded_stream_of_2021(decoder: Decoder) -> None:
    events = [event for frame in frames_of_2021() for event in decoder.decode(frame)]
    quotes = [event for event in events if isinstance(event, QuoteEvent)]
    others = [event for event in events if isinstance(event, ControlEvent)]
    assert len(events) == len(quotes) + len(others) == 1535
    assert all(event.kind is ControlKind.OTHER for event in others)  # diffs, trades and candles are not ours
    sushi = [quote for quote in quotes if quote.symbol == "SUSHI"]
    assert sushi[0] == QuoteEvent("SUSHI", 7.611, 2.0, 7.612, 297.0, 1626992741017 * NS_PER_MS, 600859600576)
    at = QuoteEvent("SUSHI", 7.614, 7.0, 7.615, 74.0, 1626992756426 * NS_PER_MS, 600859912492)
    assert at in sushi
    akro = [quote for quote in quotes if quote.symbol == "AKRO"]
    assert akro[0] == QuoteEvent("AKRO", 0.01731, 57306.0, 0.01732, 72524.0, 1626992742140 * NS_PER_MS, 600859621226)
    assert all(a.sequence < b.sequence for a, b in itertools.pairwise(sushi))


def test_recorded_tops_of_rest_depths_2021(decoder: Decoder) -> None:
    """A REST depth has the levels of a partial depth under other names; the top of SUSHI was read by hand."""
    line = recording("frames/binance-futures-2021/BINANCE_FUTURES.http.0.0").read_text().split("\n")[0]
    body = json.loads(line.split(": ", 1)[1])
    frame = {
        "e": "depthUpdate",
        "E": body["E"],
        "s": "SUSHIUSDT",
        "u": body["lastUpdateId"],
        "b": body["bids"],
        "a": body["asks"],
    }
    (depth,) = decoder.decode(json.dumps(frame).encode())
    assert isinstance(depth, DepthEvent)
    assert depth.bids[:2] == ((7.611, 6.0), (7.608, 161.0))
    assert depth.sequence == 600859605926


@pytest.mark.parametrize(
    ("file", "count", "first", "last"),
    [
        (
            "usdm.btcusdt_20240808.gz",
            66089,
            QuoteEvent("BTC", 61800.2, 2.507, 61800.3, 2.51, 1723161256313000000, 5123107839020),
            QuoteEvent("BTC", 61659.7, 1.486, 61659.8, 0.981, 1723161600709000000, 5123135221461),
        ),
        (
            "usdm.ethusdt_20240808.gz",
            53992,
            QuoteEvent("ETH", 2681.62, 1.165, 2681.63, 73.077, 1723161256311000000, 5123107838717),
            QuoteEvent("ETH", 2681.38, 8.486, 2681.39, 22.624, 1723161601056000000, 5123135475791),
        ),
    ],
)
def test_recorded_stream_of_2024(decoder: Decoder, file: str, count: int, first: QuoteEvent, last: QuoteEvent) -> None:
    quotes, malformed = [], 0
    for _, frame in received_frames(f"frames/binance-spot-usdm-coinm/{file}"):
        try:
            quotes += [event for event in decoder.decode(frame) if isinstance(event, QuoteEvent)]
        except Malformed:
            malformed += 1
    assert malformed == 1  # the REST snapshot that lies between the stream's lines
    assert len(quotes) == count
    assert (quotes[0], quotes[-1]) == (first, last)
    assert all(0 < quote.bid_px < quote.ask_px for quote in quotes)
