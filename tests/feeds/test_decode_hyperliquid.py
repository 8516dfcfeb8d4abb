"""Hyperliquid's wire: the page's samples and every recorded payload, against values read off them by hand."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import pytest

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.types import FundingKind
from feeds.venues.base import ControlEvent, ControlKind, DepthEvent, FundingEvent, MarkEvent, QuoteEvent
from feeds.venues.hyperliquid import Decoder
from tests.feeds.recordings import answers, received_frames, recording

META = json.dumps(
    {
        "universe": [
            {"szDecimals": 5, "name": "BTC", "maxLeverage": 40},
            {"szDecimals": 4, "name": "ETH", "maxLeverage": 25},
            {"szDecimals": 1, "name": "DYDX", "maxLeverage": 5},
            {"szDecimals": 0, "name": "kPEPE", "maxLeverage": 10},
            {"szDecimals": 1, "name": "MATIC", "maxLeverage": 20, "isDelisted": True},
        ]
    }
).encode()
BBO = (
    b'{"channel":"bbo","data":{"coin":"BTC","time":1790358617881,"bbo":[{"px":"83757.0","sz":"22.61305","n":81},'
    b'{"px":"83758.0","sz":"0.00016","n":1}]}}'
)
BOOK = (
    b'{"channel":"l2Book","data":{"coin":"BTC","time":1790232236546,"levels":[[{"px":"84143.0","sz":"10.25923","n":36},'
    b'{"px":"84142.0","sz":"1.65875","n":7}],[{"px":"84144.0","sz":"50.66449","n":18},{"px":"84150.0","sz":"0.00711","n":2}]]}}'
)
CTX = (
    b'{"channel":"activeAssetCtx","data":{"coin":"BTC","ctx":{"funding":"0.0000125","openInterest":"39338.76246",'
    b'"prevDayPx":"84086.0","dayNtlVlm":"3096053627.5618200302","premium":"-0.0001348801","oraclePx":"83778.1",'
    b'"markPx":"83757.0","midPx":"83757.5","impactPxs":["83757.0","83766.8"],"dayBaseVlm":"36757.56691"}}}'
)
TRADES = (
    b'{"channel":"trades","data":[{"coin":"BTC","side":"A","px":"83769.0","sz":"0.0048","time":1790358606027,'
    b'"hash":"0xa7c8","tid":784469253141982,"users":["0xbuyer","0xseller"]}]}'
)


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([META], ())
    return decoder


def edited(frame: bytes, **changes: Any) -> bytes:
    message = json.loads(frame)
    message["data"].update(changes)
    return json.dumps(message).encode()


def test_bbo_sample(decoder: Decoder) -> None:
    assert decoder.decode(BBO) == [QuoteEvent("BTC", 83757.0, 22.61305, 83758.0, 0.00016, 1790358617881 * NS_PER_MS)]


def test_key_order_does_not_matter(decoder: Decoder) -> None:
    message = json.loads(BBO)
    turned = json.dumps({"data": message["data"], "channel": message["channel"]}).encode()
    assert decoder.decode(turned) == decoder.decode(BBO)


def test_a_missing_side_is_zero(decoder: Decoder) -> None:
    (quote,) = decoder.decode(edited(BBO, bbo=[None, {"px": "83758.0", "sz": "0.5", "n": 1}]))
    assert isinstance(quote, QuoteEvent)
    assert quote[1:5] == (0.0, 0.0, 83758.0, 0.5)
    (quote,) = decoder.decode(edited(BBO, bbo=[None, None]))
    assert quote[1:5] == (0.0, 0.0, 0.0, 0.0)


def test_book_sample(decoder: Decoder) -> None:
    assert decoder.decode(BOOK) == [
        DepthEvent(
            "BTC",
            ((84143.0, 10.25923), (84142.0, 1.65875)),
            ((84144.0, 50.66449), (84150.0, 0.00711)),
            1790232236546 * NS_PER_MS,
        )
    ]
    assert decoder.decode(edited(BOOK, levels=[[], []]))[0][1:3] == ((), ())  # as delisted coins push it


def test_context_sample_and_the_calm_rate_per_year(decoder: Decoder) -> None:
    mark, funding = decoder.decode(CTX)
    assert mark == MarkEvent("BTC", 83757.0, 83778.1, 39338.76246, 3096053627.56182, 0)
    assert isinstance(funding, FundingEvent)
    assert (funding.rate.rate, funding.rate.interval_s, funding.rate.kind) == (0.0000125, 3600, FundingKind.ESTIMATE)
    assert funding.rate.next_funding_ts_ns == 0  # the stream does not say; the publisher computes the next hour
    assert funding.rate.apr == pytest.approx(0.1095)
    assert decoder.funding_on_whole_intervals


def test_k_prefixed_names_become_single_tokens(decoder: Decoder) -> None:
    (quote,) = decoder.decode(
        edited(BBO, coin="kPEPE", bbo=[{"px": "0.003633", "sz": "1500"}, {"px": "0.003634", "sz": "7"}])
    )
    assert isinstance(quote, QuoteEvent)
    assert quote.symbol == "PEPE"
    assert quote[1:5] == pytest.approx((3.633e-06, 1_500_000.0, 3.634e-06, 7000.0))
    (depth,) = decoder.decode(edited(BOOK, coin="kPEPE", levels=[[{"px": "0.0036", "sz": "2"}], []]))
    assert isinstance(depth, DepthEvent)
    assert depth.bids[0] == pytest.approx((3.6e-06, 2000.0))
    ctx = {"funding": "0.0000125", "openInterest": "10", "dayNtlVlm": "5000", "oraclePx": "0.0037", "markPx": "0.0036"}
    mark, _ = decoder.decode(edited(CTX, coin="kPEPE", ctx=ctx))
    assert isinstance(mark, MarkEvent)
    assert mark[1:5] == pytest.approx((3.6e-06, 3.7e-06, 10_000.0, 5000.0))  # notional figures stay


def test_control_frames(decoder: Decoder) -> None:
    kinds = {
        b"Websocket connection established.": ControlKind.OTHER,
        b'{"channel":"pong"}': ControlKind.PONG,
        b'{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"l2Book","coin":"BTC",'
        b'"nSigFigs":null,"mantissa":null,"fast":true}}}': ControlKind.ACK,
        b'{"channel":"error","data":"Already subscribed: {}"}': ControlKind.ERROR,
        TRADES: ControlKind.OTHER,
        b'{"channel":"activeSpotAssetCtx","data":{"coin":"@107"}}': ControlKind.OTHER,
    }
    for frame, kind in kinds.items():
        (event,) = decoder.decode(frame)
        assert isinstance(event, ControlEvent)
        assert event.kind is kind


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"Websocket connection established",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"data":{}}',
        b'{"channel":"bbo"}',
        b'{"channel":"bbo","data":{"coin":"BTC","time":1}}',
        BBO[:-1],
        BBO.replace(b"83757.0", b"NaN"),
        BBO.replace(b"83757.0", b"inf"),
        BBO.replace(b"83757.0", b"-1"),
        BBO.replace(b"83757.0", b"0"),
        BBO.replace(b"22.61305", b"nan"),
        BBO.replace(b'"83758.0"', b'"eighty"'),
        BBO.replace(b'"BTC"', b'"NOPE"'),
        BBO.replace(b'"BTC"', b'"btc"'),
        BOOK.replace(b"84142.0", b"-84142.0"),
        BOOK.replace(b"50.66449", b"inf"),
        CTX.replace(b'"funding":"0.0000125"', b'"funding":"nan"'),
        CTX.replace(b'"markPx":"83757.0"', b'"markPx":null'),
    ],
)
def test_what_does_not_decode_is_malformed(decoder: Decoder, frame: bytes) -> None:
    with pytest.raises(Malformed):
        decoder.decode(frame)


def test_only_live_names_of_the_catalogue_are_subscribed(decoder: Decoder) -> None:
    (plan,) = decoder.sockets()
    assert plan.symbols == ("BTC", "ETH", "DYDX", "PEPE")
    sent = [json.loads(frame) for frame in plan.frames]
    assert sent[0] == {"method": "subscribe", "subscription": {"type": "bbo", "coin": "BTC"}}
    assert sent[3]["subscription"] == {"type": "bbo", "coin": "kPEPE"}
    assert sent[4]["subscription"] == {"type": "activeAssetCtx", "coin": "BTC"}
    assert sent[8]["subscription"] == {"type": "l2Book", "fast": True, "coin": "BTC"}
    assert len(sent) == 12
    assert [json.loads(frame)["method"] for frame in decoder.resubscribe("BTC")] == ["unsubscribe", "subscribe"] * 3
    assert decoder.resubscribe("MATIC") == []
    assert json.loads(decoder.ping()) == {"method": "ping"}


def test_wanted_symbols_limit_the_catalogue() -> None:
    decoder = Decoder()
    assert [row.symbol for row in decoder.load_catalogue([META], ("PEPE", "XRP"))] == ["PEPE"]
    with pytest.raises(Malformed):
        decoder.decode(BBO)
    with pytest.raises(Malformed):
        decoder.load_catalogue([b"{}"], ())
    assert decoder.sockets()[0].symbols == ("PEPE",)  # a bad answer leaves the catalogue as it was


def test_subscriptions_stay_below_the_limit() -> None:
    rows = [{"szDecimals": 1, "name": f"C{number}", "maxLeverage": 3} for number in range(400)]
    decoder = Decoder()
    decoder.load_catalogue([json.dumps({"universe": rows}).encode()], ())
    (plan,) = decoder.sockets()
    assert len(plan.frames) == 960
    assert sum(b'"bbo"' in frame for frame in plan.frames) == 400  # what is cut is depth


def test_settled_funding_of_the_page(decoder: Decoder) -> None:
    page = (
        b'[{"coin":"BTC","fundingRate":"0.0000125","premium":"-0.0001875303","time":1790352000015},'
        b'{"coin":"BTC","fundingRate":"0.0000125","premium":"-0.0001547518","time":1790355600045}]'
    )
    (event,) = decoder.load_figures(page)
    assert isinstance(event, FundingEvent)
    assert (event.rate.rate, event.rate.interval_s, event.rate.kind) == (0.0000125, 3600, FundingKind.SETTLED)
    assert event.rate.next_funding_ts_ns == 1790359200000 * NS_PER_MS
    assert event.rate.apr == pytest.approx(0.1095)
    assert decoder.load_figures(b"[]") == []
    one = json.dumps(json.loads(page)[:1]).encode()
    assert decoder.load_figures(one) == []  # one row does not tell its interval
    for bad in (b"null", b"{", page.replace(b"1790355600045", b"1790352000016"), page.replace(b"BTC", b"NOPE")):
        with pytest.raises(Malformed):
            decoder.load_figures(bad)


def test_history_requests_reach_back_over_several_rows(decoder: Decoder) -> None:
    requests = decoder.figures_requests(1790355600045 * NS_PER_MS)
    assert [json.loads(request.body or b"")["coin"] for request in requests] == ["BTC", "ETH", "DYDX", "kPEPE"]
    first = json.loads(requests[0].body or b"")
    assert (first["type"], first["startTime"], requests[0].path) == ("fundingHistory", 1790341200045, "/info")
    assert requests[0].weight == 21


# -- recordings -----------------------------------------------------------------------------------------------------------


def test_recorded_stream_of_2025(decoder: Decoder) -> None:
    frames = list(received_frames("frames/hyperliquid-websocket-l2book/btcusd_20250126.gz"))
    events = [event for _, frame in frames for event in decoder.decode(frame)]
    assert len(frames) == len(events) == 55
    books = [event for event in events if isinstance(event, DepthEvent)]
    assert len(books) == 46
    first, last = books[0], books[-1]
    assert first.bids[:2] == ((105055.0, 3.03622), (105054.0, 0.1428))
    assert first.asks[:2] == ((105056.0, 6.34472), (105057.0, 0.0001))
    assert (first.exch_ts_ns, len(first.bids), len(first.asks)) == (1737918843542000000, 20, 20)
    assert (last.bids[1], last.asks[0], last.exch_ts_ns) == (
        (105049.0, 0.14281),
        (105051.0, 6.13423),
        1737918868877000000,
    )
    assert all(book.bids[0][0] < book.asks[0][0] for book in books)
    trades = [event for event in events if isinstance(event, ControlEvent)]
    assert len(trades) == 9
    assert all(event.kind is ControlKind.OTHER for event in trades)


@pytest.mark.parametrize(
    ("file", "coin", "bid", "ask", "time_ms"),
    [
        ("http_l2_book_btc.json", "BTC", (110427.0, 4.11882), (110428.0, 3.72573), 1761786491067),
        ("ws_book_data.json", "BTC", (98450.5, 2.5), (98451.0, 1.5), 1703875200000),
    ],
)
def test_recorded_books(
    decoder: Decoder, file: str, coin: str, bid: tuple[float, float], ask: tuple[float, float], time_ms: int
) -> None:
    body = recording(f"payloads/hyperliquid/{file}").read_bytes()
    (depth,) = decoder.decode(b'{"channel":"l2Book","data":' + body + b"}")
    assert isinstance(depth, DepthEvent)
    assert (depth.symbol, depth.bids[0], depth.asks[0]) == (coin, bid, ask)
    assert depth.exch_ts_ns == time_ms * NS_PER_MS
    assert len(depth.bids) == len(depth.asks) == 5


def test_recorded_book_of_2023(decoder: Decoder) -> None:
    body = answers("frames/hyperliquid-rest/get_l2_snapshot.yaml")[1]
    (depth,) = decoder.decode(b'{"channel":"l2Book","data":' + body + b"}")
    assert isinstance(depth, DepthEvent)
    assert (depth.symbol, depth.bids[0], depth.bids[3]) == ("DYDX", (2.111, 134.4), (2.1081, 1379.2))


def test_recorded_mids_are_no_quotes(decoder: Decoder) -> None:
    (event,) = decoder.decode(recording("payloads/hyperliquid/ws_allmids.json").read_bytes())
    assert isinstance(event, ControlEvent)
    mids = answers("frames/hyperliquid-rest/get_all_mids.yaml")[0]
    with pytest.raises(Malformed):
        decoder.decode(mids)


def test_recorded_funding_of_2026(decoder: Decoder) -> None:
    (event,) = decoder.load_figures(recording("payloads/hyperliquid/http_funding_history.json").read_bytes())
    assert isinstance(event, FundingEvent)
    assert (event.rate.rate, event.rate.interval_s) == (0.0000033, 3600)
    assert event.rate.next_funding_ts_ns == 1769918400000 * NS_PER_MS  # the sample's rows lie 20 min past the hour


def test_recorded_funding_of_2023_hourly(decoder: Decoder) -> None:
    history = answers("frames/hyperliquid-rest/get_funding_history-None.yaml")[1]
    (event,) = decoder.load_figures(history)
    assert isinstance(event, FundingEvent)
    assert (event.rate.rate, event.rate.interval_s) == (0.0000125, 3600)
    assert event.rate.next_funding_ts_ns == 1689631200000 * NS_PER_MS
    assert 0.105 <= event.rate.apr <= 0.114


def test_recorded_funding_of_2023_eight_hourly(decoder: Decoder) -> None:
    """Until 2023-06-08 rows are 8 h apart: the interval comes from their distance, never from the venue's name."""
    history = answers("frames/hyperliquid-rest/get_funding_history-1684811870000.yaml")[1]
    (event,) = decoder.load_figures(history)
    assert isinstance(event, FundingEvent)
    assert (event.rate.rate, event.rate.interval_s) == (-0.00018991, 28800)
    assert event.rate.next_funding_ts_ns == 1684828800000 * NS_PER_MS
    calm = json.loads(answers("frames/hyperliquid-rest/get_funding_history-None.yaml")[1])
    eight_hourly = [row for row in calm if row["time"] < 1686182400000 and row["fundingRate"] == "0.0001"]
    pair = [calm[calm.index(eight_hourly[0]) - 1], eight_hourly[0]]
    (event,) = decoder.load_figures(json.dumps(pair).encode())
    assert isinstance(event, FundingEvent)
    assert event.rate.interval_s == 28800
    assert 0.105 <= event.rate.apr <= 0.114


def test_dead_figures_are_nan_not_zero(decoder: Decoder) -> None:
    mark, _ = decoder.decode(CTX.replace(b"39338.76246", b"nan"))
    assert isinstance(mark, MarkEvent)
    assert isnan(mark.open_interest)
