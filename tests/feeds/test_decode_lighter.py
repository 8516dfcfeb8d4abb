"""Lighter's wire: the page's samples and every recorded payload, against values read off them by hand."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import pytest

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.types import FundingKind
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FundingEvent,
    GapEvent,
    MarkEvent,
    QuoteEvent,
    Stream,
)
from feeds.venues.lighter import Decoder
from tests.core.test_specs_lighter import answer, row
from tests.feeds.recordings import recording

CATALOGUE = answer(
    row(),
    row(symbol="BTC", market_id=1, supported_price_decimals=1, supported_size_decimals=5),
    row(symbol="1000PEPE", market_id=4, supported_price_decimals=6, supported_size_decimals=0),
    row(symbol="CRV", market_id=36, supported_price_decimals=5, supported_size_decimals=1),
    row(symbol="OLD", market_id=90, status="inactive"),
)
TICKER = (
    b'{"channel":"ticker:1","last_updated_at":1785252530834835,"nonce":17926043680,"ticker":{"s":"BTC","a":{"price":"63777.3",'
    b'"size":"0.00020"},"b":{"price":"63777.2","size":"2.49220"},"last_updated_at":1785252530834835},'
    b'"timestamp":1785252530836,"type":"update/ticker"}'
)
DIFF = (
    b'{"channel":"order_book:36","last_updated_at":1785358812048570,"offset":415806,"order_book":{"code":0,"asks":[{"price":'
    b'"0.20416","size":"25374.8"},{"price":"0.20421","size":"0.0"}],"bids":[{"price":"0.20351","size":"0.0"},{"price":"0.20302",'
    b'"size":"25775.2"}],"offset":415806,"nonce":18032384006,"last_updated_at":1785358812048570,"begin_nonce":18032383898},'
    b'"timestamp":1785358812058,"type":"update/order_book"}'
)
SNAPSHOT = (
    b'{"channel":"order_book:36","last_updated_at":1785358800000000,"offset":415805,"order_book":{"code":0,"asks":[{"price":'
    b'"0.20421","size":"7.5"},{"price":"0.20430","size":"11.0"}],"bids":[{"price":"0.20300","size":"5.0"},{"price":"0.20351",'
    b'"size":"2.0"}],"offset":415805,"nonce":18032383898,"last_updated_at":1785358800000000,"begin_nonce":0},'
    b'"timestamp":1785358812000,"type":"subscribed/order_book"}'
)
STATS = (
    b'{"channel":"market_stats:1","market_stats":{"base_interest_rate":"0.0100","current_funding_rate":"-0.0028",'
    b'"daily_base_token_volume":23621.29428,"daily_quote_token_volume":1531624159.687143,"funding_clamp_big":"4.0000",'
    b'"funding_clamp_small":"0.0500","funding_rate":"-0.0005","funding_timestamp":1780545600001,"index_price":"64400.1",'
    b'"last_trade_price":"64351.5","mark_price":"64356.3","market_id":1,"mid_price":"64349.7","open_interest":"102123609.308856",'
    b'"symbol":"BTC"},"timestamp":1780546209291,"type":"subscribed/market_stats"}'
)
FUNDINGS = (
    b'{"code":200,"resolution":"1h","fundings":[{"timestamp":1778702400,"value":"0.02707872","rate":"0.0012","direction":"long"},'
    b'{"timestamp":1778706000,"value":"0.00452778","rate":"0.0002","direction":"short"}]}'
)
RATES = (
    b'{"code":200,"funding_rates":[{"market_id":1,"exchange":"lighter","symbol":"BTC","rate":0.00009599999999999999},'
    b'{"market_id":1,"exchange":"binance","symbol":"BTC","rate":0.0001},'
    b'{"market_id":0,"exchange":"hyperliquid","symbol":"ETH","rate":0.0001},'
    b'{"market_id":777,"exchange":"lighter","symbol":"NOPE","rate":0.0001}]}'
)
HOUR_NS = 3_600_000 * NS_PER_MS


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([CATALOGUE], ())
    return decoder


@pytest.fixture
def stream(decoder: Decoder) -> Stream:
    return decoder.stream(decoder.sockets()[0])


def edited(frame: bytes, inner: str = "", **changes: Any) -> bytes:
    message = json.loads(frame)
    (message[inner] if inner else message).update(changes)
    return json.dumps(message, separators=(",", ":")).encode()


def chained(begin: int, nonce: int, **sides: Any) -> bytes:
    return edited(DIFF, "order_book", begin_nonce=begin, nonce=nonce, **({"asks": [], "bids": []} | sides))


def turned(frame: bytes) -> bytes:
    """The same frame with its keys the other way round."""
    message = json.loads(frame)
    return json.dumps({key: message[key] for key in reversed(message)}).encode()


# -- quotes -------------------------------------------------------------------------------------------------------------


def test_ticker_sample(stream: Stream) -> None:
    assert stream.decode(TICKER) == [
        QuoteEvent("BTC", 63777.2, 2.4922, 63777.3, 0.0002, 1785252530836 * NS_PER_MS, 17926043680)
    ]


@pytest.mark.parametrize("frame", [TICKER, SNAPSHOT, STATS])
def test_key_order_and_blanks_do_not_matter(decoder: Decoder, frame: bytes) -> None:
    plan = decoder.sockets()[0]
    assert decoder.stream(plan).decode(turned(frame)) == decoder.stream(plan).decode(frame)


def test_a_missing_side_is_zero(stream: Stream) -> None:
    nothing = {"price": "", "size": ""}
    for side, expected in (("a", (63777.2, 2.4922, 0.0, 0.0)), ("b", (0.0, 0.0, 63777.3, 0.0002))):
        message = json.loads(TICKER)
        message["ticker"][side] = nothing
        (quote,) = stream.decode(json.dumps(message).encode())
        assert isinstance(quote, QuoteEvent)
        assert quote[1:5] == expected
    (quote,) = stream.decode(edited(TICKER, "ticker", a=nothing, b=nothing))
    assert quote[1:5] == (0.0, 0.0, 0.0, 0.0)


def test_a_thousand_pepe_becomes_single_tokens(stream: Stream) -> None:
    side = {"a": {"price": "0.003634", "size": "7"}, "b": {"price": "0.003633", "size": "1500"}, "s": "1000PEPE"}
    (quote,) = stream.decode(edited(edited(TICKER, "ticker", **side), channel="ticker:4"))
    assert isinstance(quote, QuoteEvent)
    assert quote.symbol == "PEPE"
    assert quote[1:5] == pytest.approx((3.633e-06, 1_500_000.0, 3.634e-06, 7000.0))
    snapshot = edited(edited(SNAPSHOT, "order_book", bids=[{"price": "0.0036", "size": "2"}]), channel="order_book:4")
    (depth,) = stream.decode(snapshot)
    assert isinstance(depth, DepthEvent)
    assert depth.bids[0] == pytest.approx((3.6e-06, 2000.0))
    stat = {
        "market_id": 4,
        "symbol": "1000PEPE",
        "mark_price": "0.0036",
        "index_price": "0.0037",
        "open_interest": "36",
    }
    mark, *_ = stream.decode(edited(STATS, "market_stats", **stat))
    assert isinstance(mark, MarkEvent)
    assert mark[1:4] == pytest.approx((3.6e-06, 3.7e-06, 10_000_000.0))  # 36 USDC at 0.0000036 each
    assert mark.volume_24h_usd == 1531624159.687143  # notional stays


def test_a_market_that_is_another_one_by_now_is_not_believed(stream: Stream) -> None:
    with pytest.raises(Malformed, match="catalogue says 'BTC'"):
        stream.decode(edited(TICKER, "ticker", s="SOL"))
    with pytest.raises(Malformed):
        stream.decode(edited(STATS, "market_stats", symbol="SOL"))


# -- the book and its chain -----------------------------------------------------------------------------------------------


def test_snapshot_then_difference_of_the_page(stream: Stream) -> None:
    (first,) = stream.decode(SNAPSHOT)
    assert first == DepthEvent(
        "CRV",
        ((0.20351, 2.0), (0.203, 5.0)),
        ((0.20421, 7.5), (0.2043, 11.0)),
        1785358812000 * NS_PER_MS,
        18032383898,
    )
    (then,) = stream.decode(DIFF)  # 0.20351 and 0.20421 go, 0.20302 and 0.20416 come
    assert then == DepthEvent(
        "CRV",
        ((0.20302, 25775.2), (0.203, 5.0)),
        ((0.20416, 25374.8), (0.2043, 11.0)),
        1785358812048570 * 1000,  # the matching engine's own time
        18032384006,
    )


def test_differences_before_the_snapshot_are_passed_over(stream: Stream) -> None:
    assert stream.decode(DIFF) == []
    stream.decode(SNAPSHOT)
    assert isinstance(stream.decode(DIFF)[0], DepthEvent)


@pytest.mark.parametrize(
    ("begin", "nonce"),
    [
        (18032384100, 18032384200),  # one lost
        (18032384007, 18032384200),  # off by one
        (18032383898, 18032384006),  # the same again
        (18032383000, 18032383898),  # an older one, reordered
        (0, 18032384200),
    ],
)
def test_any_break_of_the_chain_drops_the_book(stream: Stream, begin: int, nonce: int) -> None:
    stream.decode(SNAPSHOT)
    stream.decode(DIFF)
    (gap,) = stream.decode(chained(begin, nonce))
    assert isinstance(gap, GapEvent)
    assert gap == GapEvent("CRV", f"begin_nonce {begin} after nonce 18032384006")
    assert stream.decode(chained(18032384006, 18032384300)) == []  # nothing hangs on a dropped book
    (fresh,) = stream.decode(edited(SNAPSHOT, "order_book", nonce=18032384300))
    assert isinstance(fresh, DepthEvent)
    assert isinstance(stream.decode(chained(18032384300, 18032384301))[0], DepthEvent)


def test_a_whole_chain_is_no_gap(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    nonce = 18032383898
    for step in (1, 5, 0, 1000):
        (depth,) = stream.decode(chained(nonce, nonce + step))
        nonce += step
        assert isinstance(depth, DepthEvent)
        assert depth.sequence == nonce


def test_a_book_that_crosses_is_dropped(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    (gap,) = stream.decode(chained(18032383898, 18032383899, bids=[{"price": "0.20421", "size": "1"}]))
    assert gap == GapEvent("CRV", "crossed by nonce 18032383899")


def test_repair_is_leave_wait_enter(decoder: Decoder, stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    stream.decode(chained(1, 2))
    assert [json.loads(frame) for frame in decoder.resubscribe("CRV")] == [
        {"type": "unsubscribe", "channel": "order_book/36"}
    ]
    (left,) = stream.decode(b'{"type": "unsubscribed", "channel": "order_book:36"}')
    assert isinstance(left, ControlEvent)
    assert left.kind is ControlKind.ACK
    assert [json.loads(frame) for frame in left.reply] == [{"type": "subscribe", "channel": "order_book/36"}]
    assert decoder.resubscribe("OLD") == []
    assert decoder.resubscribe("NOPE") == []
    (foreign,) = stream.decode(b'{"channel":"trade:0","type":"unsubscribed"}')
    assert isinstance(foreign, ControlEvent)
    assert foreign.reply == ()


def test_each_connection_has_its_own_chain(decoder: Decoder) -> None:
    """Two servers batch the same changes differently; while a stream rotates both speak."""
    first, second = (decoder.stream(decoder.sockets()[0]) for _ in range(2))
    first.decode(SNAPSHOT)
    second.decode(edited(SNAPSHOT, "order_book", nonce=18032384000))
    (one,) = first.decode(chained(18032383898, 18032384006))
    (two,) = second.decode(chained(18032384000, 18032384006))
    assert isinstance(one, DepthEvent)
    assert isinstance(two, DepthEvent)


def test_a_bad_level_spoils_its_frame_not_the_book(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    with pytest.raises(Malformed):
        stream.decode(DIFF.replace(b"25775.2", b"nan"))
    (depth,) = stream.decode(DIFF)  # nothing of the bad frame was applied
    assert isinstance(depth, DepthEvent)
    assert depth.asks[0] == (0.20416, 25374.8)


def test_only_unanswered_channels_are_asked_for_again_in_turns(decoder: Decoder) -> None:
    decoder.load_catalogue([CATALOGUE], ("BTC",))
    stream = decoder.stream(decoder.sockets()[0])

    def asked() -> list[tuple[str, str]]:
        return [(each["type"], each["channel"]) for each in map(json.loads, stream.overdue())]

    leave = [("unsubscribe", name) for name in ("ticker/1", "market_stats/all", "order_book/1")]
    assert asked() == leave
    assert asked() == [("subscribe", name) for _, name in leave]
    stream.decode(TICKER)
    stream.decode(STATS)
    assert asked() == [("unsubscribe", "order_book/1")]
    stream.decode(edited(SNAPSHOT, channel="order_book:1"))
    assert asked() == []
    stream.decode(edited(chained(5, 6), channel="order_book:1"))  # a gap
    assert asked() == [("unsubscribe", "order_book/1")]


def test_a_round_of_asking_again_is_bounded(decoder: Decoder) -> None:
    rows = [row(symbol=f"C{number}", market_id=number) for number in range(30)]
    decoder.load_catalogue([answer(*rows)], ())
    stream = decoder.stream(decoder.sockets()[0])
    seen = [json.loads(frame)["channel"] for _ in range(4) for frame in stream.overdue()]
    assert len(seen) == 80
    assert len(set(seen)) == 61  # everybody's turn comes


# -- how late a frame is --------------------------------------------------------------------------------------------------


def test_a_server_behind_its_engine_makes_every_frame_old(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    stream.decode(edited(DIFF, timestamp=1785358814048))  # 1999.43 ms after the engine's time
    (quote,) = stream.decode(TICKER)
    assert isinstance(quote, QuoteEvent)
    assert quote.exch_ts_ns == (1785252530836 * 1000 - 1_999_430) * 1000
    mark, *_ = stream.decode(STATS)
    assert isinstance(mark, MarkEvent)
    assert mark.exch_ts_ns == (1780546209291 * 1000 - 1_999_430) * 1000


def test_an_old_last_change_of_a_quiet_market_is_no_delay(stream: Stream) -> None:
    """The recorded snapshots carry last changes of minutes ago."""
    (quote,) = stream.decode(edited(TICKER, last_updated_at=1))
    (depth,) = stream.decode(SNAPSHOT)
    assert isinstance(quote, QuoteEvent)
    assert isinstance(depth, DepthEvent)
    assert quote.exch_ts_ns == 1785252530836 * NS_PER_MS
    assert depth.exch_ts_ns == 1785358812000 * NS_PER_MS


def test_an_engine_ahead_of_its_server_is_no_delay(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    (depth,) = stream.decode(edited(DIFF, timestamp=1785358812000))
    assert isinstance(depth, DepthEvent)
    assert depth.exch_ts_ns == 1785358812000 * NS_PER_MS


def test_absurd_times_are_no_times(stream: Stream) -> None:
    """A time beyond the book's nanoseconds would end the feed, one before 1970 would be no time at all."""
    stream.decode(SNAPSHOT)
    (depth,) = stream.decode(DIFF.replace(b"1785358812048570", b"1"))
    assert isinstance(depth, DepthEvent)
    assert depth.exch_ts_ns == (1785358812058 - 60_000) * NS_PER_MS  # as late as any
    (quote,) = stream.decode(edited(TICKER, timestamp=5))
    assert isinstance(quote, QuoteEvent)
    assert quote.exch_ts_ns == 0
    for frame in (TICKER, DIFF, SNAPSHOT, STATS):
        for time in (-1, 10**13, 10**18, 10**30, 1.5):
            with pytest.raises(Malformed):
                stream.decode(edited(frame, timestamp=time))
    for inner, key in (("order_book", "last_updated_at"), ("order_book", "nonce"), ("order_book", "begin_nonce")):
        with pytest.raises(Malformed):
            stream.decode(edited(DIFF, inner, **{key: 10**19}))
    with pytest.raises(Malformed):
        stream.decode(edited(STATS, "market_stats", funding_timestamp=10**19))


# -- statistics and funding -------------------------------------------------------------------------------------------------


def test_statistics_sample_in_percent_per_hour(decoder: Decoder, stream: Stream) -> None:
    mark, estimate, settled = stream.decode(STATS)
    assert isinstance(mark, MarkEvent)
    assert mark[:3] == ("BTC", 64356.3, 64400.1)
    assert mark.open_interest == pytest.approx(1586.8471)  # 102 123 609 USDC at 64 356.3
    assert (mark.volume_24h_usd, mark.exch_ts_ns) == (1531624159.687143, 1780546209291 * NS_PER_MS)
    assert isinstance(estimate, FundingEvent)
    assert (estimate.rate.rate, estimate.rate.interval_s, estimate.rate.kind) == (
        -0.000028,
        3600,
        FundingKind.ESTIMATE,
    )
    assert estimate.rate.next_funding_ts_ns == 0  # the next full hour, by the publisher's clock
    assert decoder.funding_on_whole_intervals
    assert estimate.rate.apr == pytest.approx(-0.24528)
    assert isinstance(settled, FundingEvent)
    assert (settled.rate.rate, settled.rate.interval_s, settled.rate.kind) == (-0.000005, 3600, FundingKind.SETTLED)
    assert settled.rate.next_funding_ts_ns == 1780549200000 * NS_PER_MS


def test_the_calm_rate_of_every_endpoint_is_the_same_per_year(decoder: Decoder, stream: Stream) -> None:
    """TRAPS T1: percent per hour, percent per hour without a sign, fraction per 8 h."""
    (by_rest,) = decoder.load_figures(RATES)
    rows = json.loads(FUNDINGS)
    rows["fundings"] = rows["fundings"][:1]
    (paid,) = decoder.load_figures(json.dumps(rows).encode(), "ETH")
    _, by_stream, _ = stream.decode(edited(STATS, "market_stats", current_funding_rate="0.0012"))
    for event in (by_stream, paid, by_rest):
        assert isinstance(event, FundingEvent)
        assert (event.rate.rate, event.rate.interval_s) == (0.000012, 3600)
        assert event.rate.apr == pytest.approx(0.10512)
        assert 0.105 <= event.rate.apr <= 0.114


def test_history_has_its_sign_in_the_direction(decoder: Decoder) -> None:
    (event,) = decoder.load_figures(FUNDINGS, "ETH")
    assert isinstance(event, FundingEvent)
    assert event.symbol == "ETH"
    assert (event.rate.rate, event.rate.kind, event.rate.source) == (-0.000002, FundingKind.SETTLED, "rest.fundings")
    assert event.rate.next_funding_ts_ns == 1778709600000 * NS_PER_MS
    shuffled = json.loads(FUNDINGS)
    shuffled["fundings"].reverse()
    assert decoder.load_figures(json.dumps(shuffled).encode(), "ETH") == [event]
    assert decoder.load_figures(b'{"code":200,"resolution":"1h","fundings":[]}', "ETH") == []


@pytest.mark.parametrize(
    ("answer", "about"),
    [
        (FUNDINGS, "NOPE"),
        (FUNDINGS, ""),
        (FUNDINGS.replace(b'"1h"', b'"1d"'), "ETH"),
        (FUNDINGS.replace(b'"short"', b'"sideways"'), "ETH"),
        (FUNDINGS.replace(b'"0.0002"', b'"-0.0002"'), "ETH"),
        (FUNDINGS.replace(b'"0.0002"', b'"nan"'), "ETH"),
        (FUNDINGS.replace(b'"0.0002"', b'""'), "ETH"),
        (RATES.replace(b"0.00009599999999999999", b'"inf"'), ""),
        (FUNDINGS.replace(b"1778706000", b"1778706000000"), "ETH"),  # ms where seconds belong
        (b'{"code":200}', "ETH"),
        (b'{"code":23000,"message":"Too Many Requests!"}', "ETH"),
        (b"", "ETH"),
        (b"null", "ETH"),
        (b"<html>", "ETH"),
    ],
)
def test_bad_figures_are_malformed(decoder: Decoder, answer: bytes, about: str) -> None:
    with pytest.raises(Malformed):
        decoder.load_figures(answer, about)


def test_only_what_the_stream_has_not_told_is_read(decoder: Decoder, stream: Stream) -> None:
    decoder.load_catalogue([CATALOGUE], ("BTC", "ETH"))
    in_the_hour_ns = 1780546209291 * NS_PER_MS
    paths = [request.path for request in decoder.figures_requests(in_the_hour_ns)]
    assert paths == [
        "/api/v1/funding-rates",
        "/api/v1/fundings?market_id=0&resolution=1h&start_timestamp=1780534800&end_timestamp=1780546209&count_back=3",
        "/api/v1/fundings?market_id=1&resolution=1h&start_timestamp=1780534800&end_timestamp=1780546209&count_back=3",
    ]
    stream.decode(STATS)
    assert [request.about for request in decoder.figures_requests(in_the_hour_ns)] == ["", "ETH"]
    assert decoder.load_figures(RATES) == []  # the stream has told BTC's
    stream.decode(edited(STATS.replace(b'"BTC"', b'"ETH"'), "market_stats", market_id=0))
    assert decoder.figures_requests(in_the_hour_ns) == []
    assert [request.about for request in decoder.figures_requests(in_the_hour_ns + HOUR_NS)] == ["ETH", "BTC"]
    late = json.loads(FUNDINGS)
    late["fundings"][1]["timestamp"] = 1780549200
    decoder.load_figures(json.dumps(late).encode(), "ETH")
    assert [request.about for request in decoder.figures_requests(in_the_hour_ns + HOUR_NS)] == ["BTC"]


def test_a_round_of_histories_is_bounded() -> None:
    decoder = Decoder()
    decoder.load_catalogue([answer(*(row(symbol=f"C{number}", market_id=number) for number in range(40)))], ())
    assert len(decoder.figures_requests(1780546209291 * NS_PER_MS)) == 13


def test_a_payment_to_come_is_not_settled(stream: Stream) -> None:
    events = stream.decode(edited(STATS, "market_stats", funding_timestamp=1780549200000))
    assert [type(event) for event in events] == [MarkEvent, FundingEvent]


def test_dead_figures_are_nan_not_zero(stream: Stream) -> None:
    mark, *funding = stream.decode(
        edited(STATS, "market_stats", open_interest="nan", current_funding_rate="nan", funding_rate="inf")
    )
    assert isinstance(mark, MarkEvent)
    assert isnan(mark.open_interest)
    assert funding == []


def test_all_statistics_one_map(stream: Stream) -> None:
    body = json.loads(STATS)["market_stats"]
    body.pop("symbol")  # as in recorded maps
    stats = {"1": body, "0": body | {"market_id": 0}, "777": {"whatever": 1}, "4": {"market_id": 4, "mark_price": ""}}
    frame = {"channel": "market_stats:all", "market_stats": stats, "type": "update/market_stats"}
    for text in (json.dumps(frame), json.dumps(frame, separators=(",", ":"))):
        events = stream.decode(text.encode())
        assert [(type(event), event.symbol) for event in events] == [  # type: ignore[union-attr]
            (MarkEvent, "BTC"),
            (FundingEvent, "BTC"),
            (MarkEvent, "ETH"),
            (FundingEvent, "ETH"),
        ]
    frame["market_stats"] = {"4": {"market_id": 4, "mark_price": ""}}
    with pytest.raises(Malformed):
        stream.decode(json.dumps(frame).encode())


# -- control, garbage, subscriptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "kind", "reply"),
    [
        (b'{"session_id":"b23c70b2","type":"connected"}', ControlKind.OTHER, ()),
        (b'{"type":"pong"}', ControlKind.PONG, ()),
        (b'{"type":"ping"}', ControlKind.OTHER, (b'{"type":"pong"}',)),
        (b'{"type":"shutdown","close_in_ms":5000}', ControlKind.CLOSING, ()),
        (b'{"error":{"code":30005,"message":"Invalid Channel:  (marketId)"}}', ControlKind.ERROR, ()),
        (b'{"error":{"code":30003,"message":"Already Subscribed to : order_book:0"}}', ControlKind.ERROR, ()),
        (b'{"error":{"code":21109,"message":"api key not found"},"id":"probe-1"}', ControlKind.ERROR, ()),
        (b'{"channel":"trade:0","trades":null,"type":"update/trade"}', ControlKind.OTHER, ()),
        (b'{"channel":"spot_market_stats:all","type":"update/spot_market_stats"}', ControlKind.OTHER, ()),
        (b'{"channel":"height","height":1,"type":"update/height"}', ControlKind.OTHER, ()),
    ],
)
def test_control_frames(stream: Stream, frame: bytes, kind: ControlKind, reply: tuple[bytes, ...]) -> None:
    (event,) = stream.decode(frame)
    assert isinstance(event, ControlEvent)
    assert (event.kind, event.reply) == (kind, reply)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"<html>502</html>",
        b'{"channel":"ticker:1"}',
        b'{"channel":"order_book:36","type":"update/order_book"}',
        b'{"channel":"market_stats:all","market_stats":[],"type":"update/market_stats"}',
        b'{"channel":"market_stats:1","market_stats":null,"type":"update/market_stats"}',
        TICKER[:-1],
        TICKER.replace(b"63777.3", b"NaN"),
        TICKER.replace(b"63777.3", b"inf"),
        TICKER.replace(b"63777.3", b"-1"),
        TICKER.replace(b"0.00020", b"nan"),
        TICKER.replace(b'"63777.3"', b'"many"'),
        TICKER.replace(b'"63777.3"', b"null"),
        TICKER.replace(b"17926043680", b"-5"),
        TICKER.replace(b"17926043680", b"1.5"),
        TICKER.replace(b"ticker:1", b"ticker:2"),
        TICKER.replace(b"ticker:1", b"ticker:"),
        SNAPSHOT.replace(b"0.20351", b"0"),
        SNAPSHOT.replace(b"0.20351", b"-1"),
        SNAPSHOT.replace(b"11.0", b"inf"),
        SNAPSHOT.replace(b"order_book:36", b"order_book:37"),
        SNAPSHOT.replace(b',"begin_nonce":0', b""),
        STATS.replace(b'"mark_price":"64356.3"', b'"mark_price":""'),
        STATS.replace(b'"mark_price":"64356.3"', b'"mark_price":"0"'),
        STATS.replace(b'"index_price":"64400.1"', b'"index_price":"nan"'),
        TICKER.replace(b'"BTC"', b'"B\xffC"'),
        STATS.replace(b'"BTC"', b'"B\xffC"'),
        b'{"channel":"ticker:1","x":' + b"[" * 200_000,
        b'{"channel":"market_stats:all","type":"update/market_stats","market_stats":{"1":' + b"[" * 200_000,
        b'{"type":"\xff"}',
    ],
)
def test_what_does_not_decode_is_malformed(stream: Stream, frame: bytes) -> None:
    with pytest.raises(Malformed):
        stream.decode(frame)


def test_no_frame_cut_short_does_more_than_malformed(decoder: Decoder) -> None:
    for frame in (TICKER, SNAPSHOT, STATS):
        for end in range(len(frame)):
            with pytest.raises(Malformed):
                decoder.stream(decoder.sockets()[0]).decode(frame[:end])


def test_null_sides_are_empty_sides(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    (depth,) = stream.decode(chained(18032383898, 18032383899, asks=None, bids=None))
    assert isinstance(depth, DepthEvent)
    assert depth.bids[0] == (0.20351, 2.0)


def test_subscriptions_quotes_first(decoder: Decoder) -> None:
    (plan,) = decoder.sockets()
    assert plan.symbols == ("ETH", "BTC", "PEPE", "CRV")  # OLD is inactive
    sent = [json.loads(frame) for frame in plan.frames]
    assert {each["type"] for each in sent} == {"subscribe"}
    assert [each["channel"] for each in sent] == [
        "ticker/0", "ticker/1", "ticker/4", "ticker/36", "market_stats/all",
        "order_book/0", "order_book/1", "order_book/4", "order_book/36",
    ]  # fmt: skip
    assert json.loads(decoder.ping()) == {"type": "ping"}
    assert decoder.ws_path() == ""
    assert decoder.seed_requests() == []
    with pytest.raises(Malformed):
        decoder.load_seed(b"[]")


def test_no_connection_exceeds_500_subscriptions(decoder: Decoder) -> None:
    rows = [row(symbol=f"C{number}", market_id=number) for number in range(600) if number != 255]
    decoder.load_catalogue([answer(*rows)], ())
    plans = decoder.sockets()
    assert [len(plan.frames) for plan in plans] == [481, 481, 239]
    assert sum(len(plan.symbols) for plan in plans) == 599


def test_wanted_symbols_limit_the_catalogue() -> None:
    decoder = Decoder()
    (request,) = decoder.catalogue_requests()
    assert request.path == "/api/v1/orderBookDetails?filter=perp"
    assert [each.symbol for each in decoder.load_catalogue([CATALOGUE], ("PEPE", "XRP"))] == ["PEPE"]
    stream = decoder.stream(decoder.sockets()[0])
    with pytest.raises(Malformed):
        stream.decode(TICKER)
    assert stream.decode(STATS) == []  # statistics come for all markets
    with pytest.raises(Malformed):
        decoder.load_catalogue([b"{}"], ())
    assert decoder.sockets()[0].symbols == ("PEPE",)  # a bad answer leaves the catalogue as it was


def test_the_pace_stays_below_the_venues_limits(decoder: Decoder) -> None:
    assert decoder.client_burst <= 50
    assert decoder.client_burst + decoder.client_frames_per_s * 60 <= 200
    assert 0 < decoder.ping_interval_s < 120
    assert 0 < decoder.max_connection_s < 24 * 3600


# -- recorded payloads ----------------------------------------------------------------------------------------------------


def payload(name: str) -> bytes:
    return recording(f"payloads/lighter/{name}").read_bytes()


def test_recorded_tickers(stream: Stream) -> None:
    (first,) = stream.decode(payload("ws_ticker_subscribed.json"))
    assert first == QuoteEvent("ETH", 2000.0, 0.02, 2325.0, 99.0, 1778138582640 * NS_PER_MS, 904895)
    (update,) = stream.decode(payload("ws_ticker_update.json"))
    assert update == QuoteEvent("ETH", 2064.30, 1.0392, 2064.48, 0.495, 1774883844933 * NS_PER_MS, 9182390020)


def test_recorded_snapshot_and_its_top_is_the_ticker_of_that_moment(stream: Stream) -> None:
    (depth,) = stream.decode(payload("ws_order_book_subscribed.json"))
    assert depth == DepthEvent(
        "ETH", ((2000.0, 0.02),), ((2325.0, 99.0), (2341.25, 340.1028)), 1778138582602 * NS_PER_MS, 904845
    )
    (quote,) = stream.decode(payload("ws_ticker_subscribed.json"))
    assert isinstance(depth, DepthEvent)
    assert isinstance(quote, QuoteEvent)
    assert (*depth.bids[0], *depth.asks[0]) == quote[1:5]
    assert abs(quote.exch_ts_ns - depth.exch_ts_ns) == 38 * NS_PER_MS


def test_recorded_difference(stream: Stream) -> None:
    frame = payload("ws_order_book_update.json")
    assert stream.decode(frame) == []
    stream.decode(payload("ws_order_book_subscribed.json"))
    assert stream.decode(frame) == [GapEvent("ETH", "begin_nonce 9182389998 after nonce 904845")]
    stream.decode(edited(payload("ws_order_book_subscribed.json"), "order_book", nonce=9182389998))
    (depth,) = stream.decode(frame)
    assert depth == DepthEvent(
        "ETH",
        ((2000.0, 0.02),),
        ((2064.54, 0.3285), (2325.0, 99.0), (2341.25, 340.1028)),
        1774884082309144 * 1000,
        9182390020,
    )


def test_recorded_statistics(stream: Stream) -> None:
    assert stream.decode(payload("ws_market_stats_subscribed_single.json")) == stream.decode(STATS)
    mark, estimate = stream.decode(payload("ws_market_stats_update_single.json"))
    assert isinstance(mark, MarkEvent)
    assert mark[:3] == ("ETH", 2064.47, 2064.48)
    assert (mark.volume_24h_usd, mark.exch_ts_ns) == (471193598.847246, 1774883844933 * NS_PER_MS)
    assert isinstance(estimate, FundingEvent)  # that sample's payment lies 42 min ahead of it: none was made
    assert estimate.rate.rate == 0.00000001


def test_recorded_history(decoder: Decoder) -> None:
    recorded = payload("http_fundings.json")
    (event,) = decoder.load_figures(recorded, "ETH")
    assert [event] == decoder.load_figures(FUNDINGS, "ETH")
    first = json.loads(recorded)["fundings"][0]
    assert float(first["value"]) / (float(first["rate"]) / 100) == pytest.approx(2256.56)  # ETH's price in that hour


def test_recorded_catalogue_answers_the_stream(decoder: Decoder) -> None:
    (eth,) = decoder.load_catalogue([payload("http_order_book_details.json")], ())
    assert (eth.symbol, eth.venue_index) == ("ETH", 0)
    (quote,) = decoder.stream(decoder.sockets()[0]).decode(payload("ws_ticker_update.json"))
    assert isinstance(quote, QuoteEvent)
    assert quote.symbol == "ETH"


@pytest.mark.parametrize("name", ["ws_account_all_positions_update.json", "ws_account_orders_update.json"])
def test_recorded_private_frames_are_no_market_data(stream: Stream, name: str) -> None:
    (event,) = stream.decode(payload(name))
    assert isinstance(event, ControlEvent)
    assert event.kind is ControlKind.OTHER


@pytest.mark.parametrize("name", ["http_account.json", "http_next_nonce.json"])
def test_recorded_private_answers_are_no_figures(decoder: Decoder, name: str) -> None:
    with pytest.raises(Malformed):
        decoder.load_figures(payload(name), "ETH")
