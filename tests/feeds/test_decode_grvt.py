"""GRVT's wire: the page's recorded samples against values read by hand, the chain of differences, and what must not pass."""

from __future__ import annotations

import json
from math import isnan
from typing import Any

import pytest

from core.errors import Malformed
from core.types import FundingKind
from feeds.venues._grvt_stream import OLDEST, RATES
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FeedEvent,
    FundingEvent,
    GapEvent,
    MarkEvent,
    QuoteEvent,
    Stream,
)
from feeds.venues.grvt import Decoder
from tests.core.test_specs_grvt import BTC, answer, row

HOUR_NS = 3_600_000_000_000
TIME_NS = 1767198364309454192
MINI: dict[str, Any] = {
    "stream": "v1.mini.d", "selector": "BTC_USDT_Perp@50", "sequence_number": "0",
    "feed": {
        "event_time": "1767198364309454192", "instrument": "BTC_USDT_Perp", "mark_price": "87792.25830235",
        "index_price": "87806.705713684", "last_price": "87800.0", "last_size": "0.032", "mid_price": "87799.95",
        "best_bid_price": "87799.9", "best_bid_size": "0.151", "best_ask_price": "87800.0", "best_ask_size": "5.733",
    },
    "prev_sequence_number": "0",
}  # fmt: skip
"""The recorded v1.mini.s message, under the name of the stream that we take."""

BOOK = (
    b'{"stream":"v1.book.s","selector":"BTC_USDT_Perp@1000-10","sequence_number":"0","feed":{"event_time":"1767292408400000000",'
    b'"instrument":"BTC_USDT_Perp","bids":[{"price":"88107.3","size":"5.322","num_orders":11}],"asks":[{"price":"88107.4",'
    b'"size":"5.273","num_orders":37}]},"prev_sequence_number":"0"}'
)
TICKER: dict[str, Any] = {
    "stream": "v1.ticker.s", "selector": "BTC_USDT_Perp@1000", "sequence_number": "0",
    "feed": MINI["feed"] | {
        "funding_rate": "0.01", "funding_interval_hours": 8, "next_funding_time": "1767225600000000000",
        "buy_volume_24h_q": "275739265.1558", "sell_volume_24h_q": "282773286.2658", "open_interest": "1914.093886738",
        "funding_rate_8h_curr": "0.01", "funding_rate_8h_avg": "0.0042",
    },
    "prev_sequence_number": "0",
}  # fmt: skip
ACK = (
    b'{"jsonrpc":"2.0","result":{"stream":"v1.mini.d","subs":["BTC_USDT_Perp@50"],"unsubs":[],"num_snapshots":[1],'
    b'"first_sequence_number":["1061214"],"latest_sequence_number":["1061213"]},"id":1,"method":"subscribe"}'
)
CATALOGUE = answer(
    BTC, row("ETH", "0x030401", 9, "0.01", "0.01"), row("KPEPE", "0x030d01", 9, "0.0000001", "100"),
    row("SUI", "0x031501", 6, "0.0001", "0.1", funding_interval_hours=4),
)  # fmt: skip


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([CATALOGUE], ())
    return decoder


@pytest.fixture
def stream(decoder: Decoder) -> Stream:
    return decoder.stream(decoder.sockets()[0])


def mini(
    sequence: int = 0, previous: int = 0, time_ns: int = TIME_NS, name: str = "BTC_USDT_Perp", **fields: str
) -> bytes:
    """A difference with just these fields."""
    feed = {"event_time": str(time_ns), "instrument": name, **fields}
    return json.dumps(
        {"stream": "v1.mini.d", "selector": f"{name}@50", "sequence_number": str(sequence), "feed": feed,
         "prev_sequence_number": str(previous)}, separators=(",", ":"),
    ).encode()  # fmt: skip


def text(message: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(message | {"feed": message["feed"] | changes}, separators=(",", ":")).encode()


def only(events: list[FeedEvent]) -> FeedEvent:
    (event,) = events
    return event


# ---- values -----------------------------------------------------------------------------------------------------------


def test_the_recorded_mini(stream: Stream) -> None:
    assert stream.decode(text(MINI)) == [
        QuoteEvent("BTC", 87799.9, 0.151, 87800.0, 5.733, 0, OLDEST + 1),  # a snapshot says nothing about delay
        MarkEvent("BTC", 87792.25830235, 87806.705713684, pytest.approx(float("nan"), nan_ok=True),
                  pytest.approx(float("nan"), nan_ok=True), 0),
    ]  # fmt: skip


def test_the_recorded_book_is_no_quote(stream: Stream) -> None:
    assert stream.decode(BOOK) == [
        DepthEvent("BTC", ((88107.3, 5.322),), ((88107.4, 5.273),), 1767292408400000000, OLDEST)
    ]


def test_the_recorded_ticker(stream: Stream) -> None:
    mark, funding = stream.decode(text(TICKER))
    assert mark == MarkEvent("BTC", 87792.25830235, 87806.705713684, 1914.093886738, 275739265.1558 + 282773286.2658, 0)
    assert isinstance(funding, FundingEvent)
    rate = funding.rate
    assert (rate.rate, rate.interval_s, rate.kind, rate.source) == (0.0001, 8 * 3600, FundingKind.ESTIMATE, "ws.ticker")
    assert rate.next_funding_ts_ns == 1767225600000000000
    assert 0.105 <= rate.apr <= 0.114  # the calm rate, once unit and interval are right


def test_a_thousand_is_a_thousand(stream: Stream) -> None:
    fields = {"best_bid_price": "0.0041", "best_bid_size": "2", "best_ask_price": "0.0042", "best_ask_size": "3",
              "mark_price": "0.00415", "index_price": "0.00416"}  # fmt: skip
    quote, mark = stream.decode(mini(name="KPEPE_USDT_Perp", **fields))
    assert quote[:5] == ("PEPE", 0.0041 / 1000, 2000.0, 0.0042 / 1000, 3000.0)
    assert mark[:3] == ("PEPE", 0.00415 / 1000, 0.00416 / 1000)


# ---- funding ----------------------------------------------------------------------------------------------------------


def test_a_rate_is_of_its_own_interval(stream: Stream) -> None:
    """A 4 h market's calm rate is half of an 8 h one's, and both come to the same year."""
    change = {"instrument": "SUI_USDT_Perp", "funding_rate": "0.005", "funding_interval_hours": 4}
    funding = stream.decode(text(TICKER, **change))[1]
    assert isinstance(funding, FundingEvent)
    assert (funding.rate.rate, funding.rate.interval_s) == (0.00005, 4 * 3600)
    assert 0.105 <= funding.rate.apr <= 0.114


def test_a_rate_beyond_the_markets_cap_is_in_another_unit(stream: Stream) -> None:
    """The schema's text says centibeeps: then the calm rate would read 100, or 1 in basis points. The cap is 0.3 percent."""
    assert len(stream.decode(text(TICKER, funding_rate="-0.3"))) == 2
    for foreign in ("1", "100", "-100", "nan", "1e9"):
        with pytest.raises(Malformed, match="funding_rate"):
            stream.decode(text(TICKER, funding_rate=foreign))


@pytest.mark.parametrize(
    "change", [{"funding_rate": ""}, {"funding_interval_hours": 0}, {"next_funding_time": "0"}], ids=str
)
def test_what_is_not_told_is_not_published(stream: Stream, change: dict[str, Any]) -> None:
    assert [type(event) for event in stream.decode(text(TICKER, **change))] == [MarkEvent]


def history(*rows: tuple[str, int, int], name: str = "BTC_USDT_Perp") -> bytes:
    return json.dumps({"result": [
        {"instrument": name, "funding_rate": rate, "funding_time": str(time_ns), "mark_price": "1",
         "funding_rate_8_h_avg": "0.0", "funding_interval_hours": hours} for rate, time_ns, hours in rows
    ], "next": ""}).encode()  # fmt: skip


def test_the_recorded_settlement_and_when_it_is_asked_for_again(decoder: Decoder) -> None:
    at = 1770739200000000000
    assert [request.about for request in decoder.figures_requests(at)] == ["BTC", "ETH", "PEPE", "SUI"]
    answered = decoder.load_figures(history(("-0.008", at, 8), ("0.01", at - 8 * HOUR_NS, 8)), "BTC")
    assert [event.symbol for event in answered] == ["BTC"]
    rate = answered[0][1]
    assert (rate.rate, rate.interval_s, rate.next_funding_ts_ns) == (-0.00008, 8 * 3600, at + 8 * HOUR_NS)
    assert (rate.kind, rate.source) == (FundingKind.SETTLED, "rest.funding")
    assert "BTC" not in [request.about for request in decoder.figures_requests(at + 8 * HOUR_NS - 1)]
    assert "BTC" in [request.about for request in decoder.figures_requests(at + 8 * HOUR_NS)]


def test_old_rows_without_an_interval_say_nothing(decoder: Decoder) -> None:
    assert decoder.load_figures(history(("0.01", 1750000000000000000, 0)), "BTC") == []


@pytest.mark.parametrize(
    "payload", [b"", b"{}", history(("0.01", 1, 8), name="ETH_USDT_Perp"), history(("nan", 1, 8)), history(("3", 1, 8))]
)
def test_malformed_histories(decoder: Decoder, payload: bytes) -> None:
    with pytest.raises(Malformed):
        decoder.load_figures(payload, "BTC")


# ---- the chain --------------------------------------------------------------------------------------------------------


def test_differences_are_merged(stream: Stream) -> None:
    stream.decode(ACK)
    stream.decode(text(MINI))
    later = TIME_NS + 1
    event = only(stream.decode(mini(1061214, 0, later, best_bid_size="0.2")))
    assert event == QuoteEvent("BTC", 87799.9, 0.2, 87800.0, 5.733, later, OLDEST + 2)
    event = only(stream.decode(mini(1061215, 1061214, later + 1, index_price="87806")))
    assert event[:3] == ("BTC", 87792.25830235, 87806.0)  # no price was told: no quote, and none is lost
    event = only(stream.decode(mini(1061216, 1061215, later + 2, best_ask_price="87801", best_ask_size="1")))
    assert event[1:5] == (87799.9, 0.2, 87801.0, 1.0)


def test_an_empty_side_is_no_price(stream: Stream) -> None:
    stream.decode(text(MINI))
    event = only(stream.decode(mini(9, 8, best_bid_price="", best_bid_size="")))
    assert event[1:5] == (0.0, 0.0, 87800.0, 5.733)


def test_a_lost_difference_drops_the_state(decoder: Decoder, stream: Stream) -> None:
    stream.decode(ACK)
    stream.decode(text(MINI))
    stream.decode(mini(1061214, 0, best_bid_size="0.2"))
    gap = only(stream.decode(mini(1061216, 1061215, best_bid_size="0.3")))
    assert isinstance(gap, GapEvent)
    assert gap.symbol == "BTC"
    assert stream.decode(mini(1061217, 1061216, best_bid_size="0.4")) == []  # nothing until the new snapshot
    leave, join = decoder.resubscribe("BTC")
    assert json.loads(leave)["method"] == "unsubscribe"
    assert json.loads(join)["params"] == {"stream": "v1.mini.d", "selectors": ["BTC_USDT_Perp@50"]}
    stream.decode(ACK.replace(b"1061214", b"1061300"))
    assert len(stream.decode(text(MINI))) == 2
    assert only(stream.decode(mini(1061300, 0, best_bid_size="0.5")))[2] == 0.5


def test_the_first_difference_must_be_the_acknowledged_one(stream: Stream) -> None:
    stream.decode(ACK)
    stream.decode(text(MINI))
    assert isinstance(only(stream.decode(mini(1061215, 1061214, best_bid_size="1"))), GapEvent)


def test_a_number_that_goes_back_is_a_gap_and_one_that_stays_is_not(stream: Stream) -> None:
    stream.decode(text(MINI))
    stream.decode(mini(7, 6, best_bid_size="0.2"))
    assert stream.decode(mini(7, 6, best_bid_size="0.2")) == []
    assert isinstance(only(stream.decode(mini(6, 5, best_bid_size="0.1"))), GapEvent)


def test_connections_hold_their_own_state(decoder: Decoder) -> None:
    first, second = (decoder.stream(decoder.sockets()[0]) for _ in range(2))
    first.decode(text(MINI))
    assert second.decode(mini(7, 6, best_bid_size="0.2")) == []  # without a snapshot there is nothing to merge into


def number(events: list[FeedEvent]) -> int:
    (quote,) = (event for event in events if isinstance(event, QuoteEvent))
    return quote.sequence


def test_two_connections_of_one_rotation_do_not_take_a_quote_back(decoder: Decoder) -> None:
    old, new = (decoder.stream(decoder.sockets()[0]) for _ in range(2))
    start = number(old.decode(text(MINI)))
    assert number(old.decode(mini(7, 6, TIME_NS + 5, best_bid_size="1"))) == start + 1
    assert number(new.decode(text(MINI))) == start + 1  # older than what was told: no newer number
    assert number(new.decode(mini(7, 6, TIME_NS + 5, best_bid_size="1"))) == start + 1  # the same
    assert number(new.decode(mini(8, 7, TIME_NS + 9, best_bid_size="2"))) == start + 2
    assert number(old.decode(mini(8, 7, TIME_NS + 9, best_bid_size="2"))) == start + 2
    assert number(new.decode(mini(9, 8, TIME_NS + 9, best_bid_size="3"))) == start + 3  # its own next word, of one time


def test_a_clock_set_back_freezes_nothing(stream: Stream) -> None:
    start = number(stream.decode(text(MINI)))
    assert number(stream.decode(mini(7, 6, TIME_NS - 5_000_000_000, best_bid_size="1"))) == start + 1
    assert number(stream.decode(mini(8, 7, TIME_NS - 4_000_000_000, best_bid_size="2"))) == start + 2


def test_a_clock_set_back_behind_a_reconnect_freezes_nothing(decoder: Decoder) -> None:
    old, new = (decoder.stream(decoder.sockets()[0]) for _ in range(2))
    start = number(old.decode(text(MINI, event_time=str(TIME_NS + 60_000_000_000))))
    assert number(new.decode(text(MINI))) == start + 1
    assert number(new.decode(mini(7, 6, TIME_NS + 5, best_bid_size="1"))) == start + 2


def test_a_snapshot_after_a_gap_is_newer_though_nothing_changed(stream: Stream) -> None:
    start = number(stream.decode(text(MINI)))
    stream.decode(mini(9, 8, best_bid_size="1"))
    stream.decode(mini(11, 10, best_bid_size="1"))
    assert number(stream.decode(text(MINI))) > start + 1


# ---- subscriptions ----------------------------------------------------------------------------------------------------


def test_plans_name_every_stream_once(decoder: Decoder) -> None:
    (plan,) = decoder.sockets()
    assert plan.symbols == ("BTC", "ETH", "PEPE", "SUI")
    assert [json.loads(frame)["params"]["stream"] for frame in plan.frames] == list(RATES)
    assert json.loads(plan.frames[0]) == {
        "jsonrpc": "2.0", "method": "subscribe", "id": 1,
        "params": {"stream": "v1.mini.d", "selectors": [
            "BTC_USDT_Perp@50", "ETH_USDT_Perp@50", "KPEPE_USDT_Perp@50", "SUI_USDT_Perp@50"
        ]},
    }  # fmt: skip
    assert decoder.sockets() == [plan]


def test_many_symbols_go_over_many_sockets() -> None:
    decoder = Decoder()
    rows = [row(f"T{n}", f"0x{n + 1:04x}01", 9, "0.1", "0.1") for n in range(120)]
    decoder.load_catalogue([answer(*rows)], ())
    assert [len(plan.symbols) for plan in decoder.sockets()] == [50, 50, 20]


def test_unanswered_subscriptions_are_asked_for_again(stream: Stream) -> None:
    asked = [json.loads(frame)["params"] for frame in stream.overdue()]
    assert [params["stream"] for params in asked] == list(RATES)
    stream.decode(ACK)
    assert "BTC_USDT_Perp@50" not in json.loads(stream.overdue()[0])["params"]["selectors"]


# ---- what is no market data -------------------------------------------------------------------------------------------


def test_control_frames(stream: Stream) -> None:
    assert only(stream.decode(ACK)) == ControlEvent(ControlKind.ACK, "subscribe v1.mini.d")
    error = b'{"jsonrpc":"2.0","error":{"code":3000,"message":"Instrument is invalid"},"id":1,"method":"subscribe"}'
    assert only(stream.decode(error)) == ControlEvent(ControlKind.ERROR, "3000: Instrument is invalid")
    other = b'{"stream":"v1.trade","selector":"BTC_USDT_Perp@50","sequence_number":"1","feed":{}}'
    assert only(stream.decode(other)) == ControlEvent(ControlKind.OTHER, "v1.trade")


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"ping", b"{}", b"[]", b"\xff", b"[" * 5000, b'{"stream":"v1.mini.d"}',
        text(MINI, best_bid_price="x"), text(MINI, best_bid_price="nan"), text(MINI, best_ask_size="-1"),
        text(MINI, best_bid_price="inf"), text(MINI, instrument="NOPE_USDT_Perp"), text(MINI, event_time="-1"),
        text(MINI, event_time="99999999999999999999"),
        text(TICKER, mark_price="0"), text(TICKER, mark_price="x"), text(TICKER, open_interest="-1"),
        text(TICKER, funding_interval_hours=100),
        BOOK.replace(b'"5.322"', b'"0"'), BOOK.replace(b'"88107.3"', b'"nan"'),
        b'{"selector":"BTC_USDT_Perp@50","stream":"v1.mini.d","sequence_number":"0","feed":{}}',
    ],
)  # fmt: skip
def test_malformed(stream: Stream, frame: bytes) -> None:
    with pytest.raises(Malformed):
        stream.decode(frame)


@pytest.mark.parametrize(
    "lost",
    [
        mini(7, 6, best_bid_price="-1"), mini(7, 6, best_bid_price="x"), mini(7, 6, best_bid_price="nan"),
        mini(7, 6, best_bid_size="1")[:-30], mini(7, 6, best_bid_size="1").replace(b'"7"', b'{"not":1}'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_lost_and_renewed_by_the_next_book(stream: Stream, lost: bytes) -> None:
    """Without that, a quiet market's quote would stand on, proven by the socket's other messages."""
    stream.decode(text(MINI))
    with pytest.raises(Malformed):
        stream.decode(lost)
    assert stream.decode(mini(8, 7, best_bid_size="1")) == []
    gap = only(stream.decode(BOOK))
    assert isinstance(gap, GapEvent)
    assert isinstance(only(stream.decode(BOOK)), DepthEvent)
    assert len(stream.decode(text(MINI))) == 2
    assert only(stream.decode(mini(9, 8, best_bid_size="2")))[2] == 2.0


def test_a_snapshot_that_never_comes_is_asked_for_again(stream: Stream) -> None:
    stream.decode(ACK)
    events = [only(stream.decode(BOOK)) for _ in range(7)]
    assert [isinstance(event, GapEvent) for event in events] == [False, False, True, False, False, True, False]
    stream.decode(text(MINI))
    assert not any(isinstance(only(stream.decode(BOOK)), GapEvent) for _ in range(5))


def test_an_unreadable_book_costs_no_quote(stream: Stream) -> None:
    stream.decode(text(MINI))
    with pytest.raises(Malformed):
        stream.decode(BOOK.replace(b'"5.322"', b"[]"))
    assert only(stream.decode(mini(9, 8, best_bid_size="2")))[2] == 2.0


def test_rubbish_without_a_name_touches_nobody(stream: Stream) -> None:
    stream.decode(text(MINI))
    for frame in (b"\xff\x00rubbish", b'{"stream":"v1.mini.d","selector":"NOPE@50"}', b'{"selector":"BTC_USDT_Perp'):
        with pytest.raises(Malformed):
            stream.decode(frame)
    assert only(stream.decode(mini(9, 8, best_bid_size="2")))[2] == 2.0


def test_unknown_volume_is_unknown(stream: Stream) -> None:
    mark = stream.decode(text(TICKER, buy_volume_24h_q=""))[0]
    assert isinstance(mark, MarkEvent)
    assert isnan(mark.volume_24h_usd)
