"""EdgeX's wire: the page's recorded samples, and recordings of its books and rates, against values read by hand."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import re
from collections.abc import Iterator
from math import isnan
from typing import Any

import pytest

from core.clock import NS_PER_MS
from core.errors import Malformed
from core.types import FundingKind
from feeds.venues._edgex_stream import MAX_ORPHANS
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FundingEvent,
    GapEvent,
    MarkEvent,
    Stream,
)
from feeds.venues.edgex import HISTORIES_PER_ROUND, Decoder
from tests.feeds.recordings import recording

HOUR_MS = 3_600_000
BTC, ETH, PEPE = 30000001, 30000002, 30000099
SAMPLE_MS = 1790586196955
BOOK_TICKER = {
    "contractId": "30000001", "contractName": "BTCUSDC", "time": "1790586196955", "bestAskPrice": "82899.7",
    "bestAskSize": "0.763", "bestBidPrice": "82899.4", "bestBidSize": "1.135",
}  # fmt: skip
TICKER = {
    "contractId": "30000001", "contractName": "BTCUSDC", "priceChange": "2148.2", "priceChangePercent": "0.027941",
    "trades": "127641", "size": "8138.396", "value": "628869807.4804", "startTime": "1789049700000",
    "endTime": "1789136100000", "lastPrice": "79031.2", "indexPrice": "79076.6724223198", "oraclePrice": "79025.03",
    "markPrice": "79025.03", "openInterest": "3478.949", "fundingRate": "-0.00005754", "fundingTime": "1789128000000",
    "nextFundingTime": "1789142400000", "bestAskPrice": "79031.4", "bestBidPrice": "79031.1", "marketOpen": True,
}  # fmt: skip


def contract(number: int, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "contractId": str(number), "contractName": name, "quoteCoinId": "1000", "tickSize": "0.1", "stepSize": "0.001",
        "minOrderSize": "0.001", "maxOrderSize": "100",
        "riskTierList": [{"tier": 1, "maxLeverage": "100", "maintenanceMarginRate": "0.005"}],
        "enableTrade": True, "enableOpenPosition": True, "fundingRateIntervalMin": "240", "resolution": "0x2540be400",
        **changes,
    }  # fmt: skip


def metadata(*rows: dict[str, Any]) -> bytes:
    coins = [{"coinId": "1000", "coinName": "USDC", "resolution": "0xf4240"}]
    return json.dumps(
        {"code": "SUCCESS", "data": {"global": {}, "coinList": coins, "contractList": list(rows)}}
    ).encode()


CATALOGUE = metadata(
    contract(BTC, "BTCUSDC"), contract(ETH, "ETHUSDC", fundingRateIntervalMin=""),
    contract(PEPE, "1000PEPEUSDC", tickSize="0.0000001", stepSize="1", minOrderSize="1"),
)  # fmt: skip


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([CATALOGUE], ())
    return decoder


@pytest.fixture
def stream(decoder: Decoder) -> Stream:
    return decoder.stream(decoder.sockets()[0])


def quote_event(channel: str, rows: list[Any], kind: str = "changed", **changes: Any) -> bytes:
    content = {"channel": channel, "dataType": kind, "data": rows}
    frame = {"type": "quote-event", "channel": channel, "content": content, **changes}
    return json.dumps(frame, separators=(",", ":")).encode()


def depth(
    start: int, end: int, bids: Any = (), asks: Any = (), *, kind: str = "CHANGED", number: int = BTC, **more: Any
) -> bytes:
    sides = {
        side: [{"price": str(px), "size": str(qty)} for px, qty in levels]
        for side, levels in (("asks", asks), ("bids", bids))
    }
    row = {
        "startVersion": str(start), "endVersion": str(end), "level": 15, "contractId": str(number),
        "contractName": "BTCUSDC", **sides, "depthType": kind, **more,
    }  # fmt: skip
    return quote_event(f"depth.{number}.15", [row], "Snapshot" if kind == "SNAPSHOT" else "changed")


SNAPSHOT = depth(2070150099, 2070150189, [("82899.4", "1.135")], [("82899.7", "0.763")], kind="SNAPSHOT")


def one(stream: Stream, frame: bytes) -> Any:
    (event,) = stream.decode(frame)
    return event


def sample(**changes: Any) -> bytes:
    return quote_event("bookTicker.all.1s", [BOOK_TICKER | changes])


# -- books ----------------------------------------------------------------------------------------------------------------


def test_snapshot_sample(stream: Stream) -> None:
    expected = DepthEvent("BTC", ((82899.4, 1.135),), ((82899.7, 0.763),), 0, 2070150189)
    assert one(stream, SNAPSHOT) == expected
    assert one(stream, SNAPSHOT.replace(b"SNAPSHOT", b"Snapshot")) == expected  # the case of words is not settled
    given = json.loads(SNAPSHOT)
    turned = {key: given[key] for key in ("content", "channel", "type")}
    assert one(stream, json.dumps(turned).encode()) == expected  # nor that of keys


@pytest.mark.parametrize("gap", [0, 1])
def test_differences_continue_at_the_last_version_or_one_more(stream: Stream, gap: int) -> None:
    stream.decode(SNAPSHOT)
    start = 2070150189 + gap
    event = one(stream, depth(start, start + 5, [("82899.5", "2"), ("82899.4", "0.000")], [("82899.9", "1")]))
    assert event == DepthEvent("BTC", ((82899.5, 2.0),), ((82899.7, 0.763), (82899.9, 1.0)), 0, start + 5)
    assert stream.decode(depth(2070150189, start + 5, [("1", "1")])) == []  # seen
    assert one(stream, depth(start + 5, start + 5)) == event  # a heartbeat: the same book, proved anew


@pytest.mark.parametrize("start", [2070150188, 2070150191])
def test_a_hole_drops_the_book_until_its_next_snapshot(decoder: Decoder, stream: Stream, start: int) -> None:
    stream.decode(SNAPSHOT)
    gap = one(stream, depth(start, 2070150200, [("82899.5", "2")]))
    assert gap == GapEvent("BTC", f"startVersion {start} after endVersion 2070150189")
    assert stream.decode(depth(2070150200, 2070150201, [("82899.5", "2")])) == []
    sent = [json.loads(frame) for frame in decoder.resubscribe("BTC")]
    assert sent == [{"type": kind, "channel": "depth.30000001.15"} for kind in ("unsubscribe", "subscribe")]
    assert decoder.resubscribe("NOPE") == []
    assert isinstance(one(stream, SNAPSHOT), DepthEvent)


def test_a_snapshot_that_never_came_is_asked_for_again(decoder: Decoder) -> None:
    stream = decoder.stream(decoder.sockets()[0])
    for number in range(MAX_ORPHANS - 1):
        assert stream.decode(depth(number, number + 1, [("1", "1")])) == []
    assert one(stream, depth(50, 51)) == GapEvent("BTC", f"{MAX_ORPHANS} differences and no snapshot")
    assert stream.decode(depth(51, 52)) == []
    assert b'"channel":"depth.30000001.15"' in b"".join(stream.overdue())  # differences are no answer
    assert isinstance(one(stream, SNAPSHOT), DepthEvent)
    assert b'"channel":"depth.30000001.15"' not in b"".join(stream.overdue())


def test_a_book_that_crosses_itself_is_a_gap(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    assert one(stream, depth(2070150189, 2070150190, [("82899.7", "1")])) == GapEvent(
        "BTC", "crossed by version 2070150190"
    )
    assert stream.decode(depth(2070150190, 2070150191)) == []


def test_connections_have_books_of_their_own(decoder: Decoder, stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    other = decoder.stream(decoder.sockets()[0])
    assert other.decode(depth(2070150189, 2070150190)) == []


def test_multiplier_names_become_single_tokens(stream: Stream) -> None:
    event = one(stream, depth(1, 2, [("0.0036", "2000")], [("0.0037", "5")], kind="SNAPSHOT", number=PEPE))
    assert (event.symbol, event.sequence) == ("PEPE", 2)
    assert event.bids[0] == pytest.approx((3.6e-06, 2_000_000.0))
    assert event.asks[0] == pytest.approx((3.7e-06, 5000.0))
    row = {
        **TICKER,
        "contractId": str(PEPE),
        "contractName": "1000PEPEUSDC",
        "markPrice": "0.0036",
        "indexPrice": "0.0037",
    }
    mark, funding = stream.decode(quote_event("ticker.all.1s", [row]))
    assert mark[1:4] == pytest.approx((3.6e-06, 3.7e-06, 3478949.0))  # type: ignore[comparison-overlap]
    assert isinstance(funding, FundingEvent)
    assert funding.rate.rate == -0.00005754  # rates and notionals are not scaled


# -- the ticker that checks them -------------------------------------------------------------------------------------------


def proofs(events: list[Any]) -> list[tuple[str, int]]:
    assert all(isinstance(event, MarkEvent) and all(map(isnan, event[1:5])) for event in events), events
    return [(event.symbol, event.exch_ts_ns) for event in events]


def test_a_sample_proves_and_dates_a_book_and_is_no_quote(stream: Stream) -> None:
    assert stream.decode(sample()) == []  # there is no book yet
    stream.decode(SNAPSHOT)
    for _ in range(3):
        assert proofs(stream.decode(sample())) == [("BTC", SAMPLE_MS * NS_PER_MS)]
    quiet = {**BOOK_TICKER, "contractId": "30000158", "contractName": "ZROUSDC", "time": str(SAMPLE_MS + 700)}
    both = quote_event("bookTicker.all.1s", [BOOK_TICKER, quiet])
    assert proofs(stream.decode(both)) == [("BTC", (SAMPLE_MS + 700) * NS_PER_MS)]  # the newest of the frame


def test_a_book_that_stands_while_the_market_moves_is_a_gap(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    assert len(proofs(stream.decode(sample()))) == 1
    moved = sample(bestBidPrice="82890.1", bestAskPrice="82890.4")
    assert stream.decode(moved) == []  # it proves nothing, and may have overtaken the book by a moment
    assert one(stream, moved) == GapEvent("BTC", "the ticker says 82890.1 / 82890.4, and the book does not move")
    assert stream.decode(moved) == []


def test_a_book_that_moves_or_agrees_again_is_no_gap(stream: Stream) -> None:
    stream.decode(SNAPSHOT)
    moved = sample(bestBidPrice="82890.1")
    stream.decode(sample())
    version = 2070150189
    for step in range(5):  # the book moves between any two samples: they just do not meet
        assert stream.decode(moved) == [] if step % 2 else True
        stream.decode(depth(version, version + 1, [("82899.4", str(step + 1))]))
        version += 1
        assert len(proofs(stream.decode(moved))) == 1
    assert stream.decode(moved) == []
    assert len(proofs(stream.decode(sample()))) == 1
    assert stream.decode(moved) == []  # a first one again


# -- tickers --------------------------------------------------------------------------------------------------------------


def test_ticker_sample(stream: Stream) -> None:
    mark, funding = stream.decode(quote_event("ticker.all.1s", [TICKER]))
    assert mark == MarkEvent("BTC", 79025.03, 79076.6724223198, 3478.949, 628869807.4804, 0)  # endTime is no event's
    assert isinstance(funding, FundingEvent)
    rate = funding.rate
    assert (rate.rate, rate.interval_s, rate.kind, rate.source) == (
        -0.00005754,
        4 * 3600,
        FundingKind.ESTIMATE,
        "ws.ticker",
    )
    assert rate.next_funding_ts_ns == 1789142400000 * NS_PER_MS
    assert rate.apr == pytest.approx(-0.00005754 * 2190)


def test_the_calm_rate_comes_to_eleven_percent_a_year(stream: Stream) -> None:
    _, funding = stream.decode(quote_event("ticker.all.1s", [{**TICKER, "fundingRate": "0.00005000"}]))
    assert isinstance(funding, FundingEvent)
    assert 0.105 <= funding.rate.apr <= 0.114


def test_an_interval_that_is_unknown_or_contradicted_publishes_no_rate(decoder: Decoder, stream: Stream) -> None:
    eth = {**TICKER, "contractId": str(ETH), "contractName": "ETHUSDC"}
    hourly = {**TICKER, "nextFundingTime": str(1789128000000 + HOUR_MS)}
    late = {**TICKER, "nextFundingTime": str(1789128000000 + 8 * HOUR_MS)}
    for row in (eth, hourly, late):
        assert [type(event) for event in stream.decode(quote_event("ticker.all.1s", [row]))] == [MarkEvent]
    assert decoder.figures_requests(0) == []
    about = [request.about.split(" ")[0] for request in decoder.figures_requests(10**18)]
    assert about == ["BTC", "PEPE"]


def test_one_bad_row_does_not_spoil_its_frame(stream: Stream) -> None:
    bad = {**TICKER, "contractId": "30000158", "markPrice": ""}
    assert len(stream.decode(quote_event("ticker.all.1s", [bad, TICKER, {"contractId": "x"}]))) == 2
    stream.decode(SNAPSHOT)
    assert len(stream.decode(quote_event("bookTicker.all.1s", [{"time": 5}, BOOK_TICKER]))) == 1
    assert stream.decode(quote_event("ticker.all.1s", [])) == []


# -- control --------------------------------------------------------------------------------------------------------------


def test_control_frames(stream: Stream) -> None:
    kinds = {
        b'{"sid":"5","type":"connected"}': ControlKind.OTHER,
        b'{"type":"subscribed","channel":"bookTicker.all.1s","request":"{}"}': ControlKind.ACK,
        b'{"type":"unsubscribed","channel":"depth.30000001.15"}': ControlKind.ACK,
        b'{"type":"pong","time":"1790585480000"}': ControlKind.PONG,
        b'{"type":"error","request":"{}","content":{"code":"GATEWAY_INVALID_CONTRACT_ID","msg":"invalid"}}': ControlKind.ERROR,
        quote_event("trades.30000001", [{"price": "1"}]): ControlKind.OTHER,
        b'{"type":"trade-event","content":{"event":"Snapshot"}}': ControlKind.OTHER,
    }
    for frame, kind in kinds.items():
        event = one(stream, frame)
        assert isinstance(event, ControlEvent)
        assert event.kind is kind, frame
        assert event.reply == ()
    ping = one(stream, b'{"type":"ping","time":"1790585480000"}')
    assert [json.loads(frame) for frame in ping.reply] == [{"type": "pong", "time": "1790585480000"}]


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"hello", b"{", b"{}", b"[]", b"\xff", b'{"type":5}', b'{"type":""}', SNAPSHOT[:-1],
        SNAPSHOT.replace(b"82899.4", b"nan"), SNAPSHOT.replace(b"82899.4", b"-1"), SNAPSHOT.replace(b"82899.4", b"0"),
        SNAPSHOT.replace(b"0.763", b"inf"), SNAPSHOT.replace(b"0.763", b"-1"), SNAPSHOT.replace(b'"0.763"', b"null"),
        SNAPSHOT.replace(b'"contractId":"30000001"', b'"contractId":"30000002"'),
        SNAPSHOT.replace(b"30000001", b"30000777"), SNAPSHOT.replace(b"2070150189", b"-5"),
        SNAPSHOT.replace(b"SNAPSHOT", b"NEWS"), SNAPSHOT.replace(b'"endVersion":"2070150189",', b""),
        sample(bestBidPrice="nan"), sample(bestBidPrice="-1"), sample(time="9999999999999999"), sample(contractName="ETHUSDC"),
        quote_event("ticker.all.1s", [{**TICKER, "markPrice": "0"}]),
        quote_event("ticker.all.1s", [{**TICKER, "fundingRate": "inf"}]),
        quote_event("ticker.all.1s", [{**TICKER, "fundingRate": ""}]),
        quote_event("ticker.all.1s", [{**TICKER, "contractName": "ETHUSDC"}]),
        quote_event("ticker.all.1s", ["x"]), quote_event("ticker.all.1s", [], content=[]),
    ],
)  # fmt: skip
def test_what_does_not_decode_is_malformed(stream: Stream, frame: bytes) -> None:
    with pytest.raises(Malformed):
        stream.decode(frame)


# -- plans ----------------------------------------------------------------------------------------------------------------


def test_subscriptions(decoder: Decoder) -> None:
    (plan,) = decoder.sockets()
    assert plan.symbols == ("BTC", "ETH", "PEPE")
    assert [json.loads(frame)["channel"] for frame in plan.frames] == [
        "depth.30000001.15", "depth.30000002.15", "depth.30000099.15", "bookTicker.all.1s", "ticker.all.1s",
    ]  # fmt: skip
    assert decoder.sockets() == [plan]
    assert (decoder.ws_path(), decoder.seed_requests()) == ("/api/v1/public/ws", [])
    with pytest.raises(Malformed):
        decoder.load_seed(b"[]")
    assert Decoder().sockets() == []


def test_what_was_never_answered_is_asked_for_again(decoder: Decoder) -> None:
    stream = decoder.stream(decoder.sockets()[0])
    asked = [json.loads(frame) for frame in stream.overdue()]
    assert len(asked) == 10
    stream.decode(SNAPSHOT)
    stream.decode(b'{"type":"subscribed","channel":"ticker.all.1s","request":"{}"}')
    stream.decode(b'{"type":"subscribed","channel":"depth.30000002.15","request":"{}"}')  # its snapshot is what counts
    stream.decode(sample())
    channels = {json.loads(frame)["channel"] for frame in stream.overdue()}
    assert channels == {"depth.30000002.15", "depth.30000099.15"}


def test_wanted_symbols_limit_the_catalogue_and_a_bad_one_changes_nothing() -> None:
    decoder = Decoder()
    (request,) = decoder.catalogue_requests()
    assert request.path == "/api/v2/public/meta/getMetaData"
    assert [each.symbol for each in decoder.load_catalogue([CATALOGUE], ("PEPE", "XRP"))] == ["PEPE"]
    with pytest.raises(Malformed):
        decoder.load_catalogue([b'{"code":"FAILED"}'], ())
    (plan,) = decoder.sockets()
    assert plan.symbols == ("PEPE",)
    stream = decoder.stream(plan)
    with pytest.raises(Malformed):
        stream.decode(SNAPSHOT)
    assert stream.decode(quote_event("ticker.all.1s", [TICKER])) == []  # tickers come for all contracts


# -- settled rates --------------------------------------------------------------------------------------------------------


def page(*rows: dict[str, Any], code: str = "SUCCESS") -> bytes:
    return json.dumps({"code": code, "data": {"dataList": list(rows), "nextPageOffsetData": ""}, "msg": None}).encode()


def settlement(time_ms: int, rate: str, **changes: Any) -> dict[str, Any]:
    return {
        "contractId": "30000001", "fundingTime": str(time_ms), "fundingTimestamp": str(time_ms), "fundingRate": rate,
        "isSettlement": True, "forecastFundingRate": "", "predictedFundingRate": "0.00005000", "fundingRateIntervalMin": "240",
        **changes,
    }  # fmt: skip


def test_the_last_paid_rate_is_that_of_the_block_before(decoder: Decoder) -> None:
    """Fixed at 12:00, paid at 16:00: at 16:30 the row of 16:00 is an announcement yet."""
    noon = 1789128000000
    rows = [
        settlement(noon + 4 * HOUR_MS, "0.00009"),
        settlement(noon, "-0.00005754"),
        settlement(noon - 4 * HOUR_MS, "0.00005"),
    ]
    now_ms = noon + 4 * HOUR_MS + HOUR_MS // 2
    request = decoder.figures_requests(now_ms * NS_PER_MS)[0]
    assert request.path == (
        "/api/v2/public/funding/getFundingRatePage?contractId=30000001&size=3&filterSettlementFundingRate=true"
    )
    (event,) = decoder.load_figures(page(*rows), request.about)
    assert isinstance(event, FundingEvent)
    rate = event.rate
    assert (event.symbol, rate.rate, rate.interval_s, rate.kind) == ("BTC", -0.00005754, 4 * 3600, FundingKind.SETTLED)
    assert rate.next_funding_ts_ns == (noon + 8 * HOUR_MS) * NS_PER_MS
    assert [each.about.split()[0] for each in decoder.figures_requests(now_ms * NS_PER_MS)] == ["PEPE"]
    later = (now_ms + 4 * HOUR_MS) * NS_PER_MS
    assert [each.about.split()[0] for each in decoder.figures_requests(later)] == ["BTC", "PEPE"]


def test_figures_that_tell_nothing_and_figures_that_are_wrong(decoder: Decoder) -> None:
    about = "BTC 1789144200000"
    assert decoder.load_figures(page(), about) == []
    assert decoder.load_figures(page(settlement(1789142400000, "0.1")), about) == []  # not paid yet
    assert decoder.load_figures(page(settlement(1789128000000, "0.1", isSettlement=False)), about) == []
    good = settlement(1789128000000, "0.0001")
    for answer, of in (
        (b"", about), (b"null", about), (page(code="INVALID_GET_PAGE_SIZE"), about), (page(good), "NOPE 5"), (page(good), "BTC"),
        (page({**good, "contractId": "30000002"}), about), (page({**good, "fundingRateIntervalMin": "60"}), about),
        (page({**good, "fundingRate": "nan"}), about), (page({**good, "fundingRate": ""}), about),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            decoder.load_figures(answer, of)


def test_histories_are_read_a_part_at_a_time() -> None:
    decoder = Decoder()
    rows = [contract(30000001 + number, f"C{number}USDC") for number in range(HISTORIES_PER_ROUND + 5)]
    decoder.load_catalogue([metadata(*rows)], ())
    assert len(decoder.figures_requests(10**18)) == HISTORIES_PER_ROUND


# -- recordings -----------------------------------------------------------------------------------------------------------

Book = tuple[list[tuple[str, str]], list[tuple[str, str]]]


def recorded_books(symbol: str) -> Iterator[Book]:
    """Bids and asks, best first. The file's header is wrong: bid and ask alternate level by level."""
    lines = recording(f"quotes/edgex-l2-2025-09/depth_{symbol}.csv").read_text().splitlines()
    for row in csv.reader(lines[1:]):
        cells = row[1:]
        levels = list(zip(cells[0::2], cells[1::2], strict=True))
        yield levels[0::2], levels[1::2]


def difference(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> list[tuple[str, str]]:
    gone = [(px, "0") for px, _ in before if px not in dict(after)]
    return gone + [level for level in after if level not in before]


@pytest.mark.parametrize(
    ("symbol", "count", "first"),
    [
        ("BTC", 462, ((115798.8, 2.14), (115801.2, 11.265))),
        ("SOL", 227, ((239.77, 584.2), (239.82, 521.6))),
    ],
)
def test_recorded_books(symbol: str, count: int, first: Any) -> None:
    """As a snapshot and then as differences: every book comes out as it was recorded, and none is crossed."""
    decoder = Decoder()
    decoder.load_catalogue([metadata(contract(BTC, f"{symbol}USDC"))], ())
    stream = decoder.stream(decoder.sockets()[0])
    books = list(recorded_books(symbol))
    assert len(books) == count
    event = one(stream, depth(0, 1, *books[0], kind="SNAPSHOT"))
    assert (event.bids[0], event.asks[0]) == first
    for version, (before, after) in enumerate(itertools.pairwise(books), start=1):
        changes = [difference(old, new) for old, new in zip(before, after, strict=True)]
        event = one(stream, depth(version, version + 1, *changes))
        assert isinstance(event, DepthEvent)
        for told, recorded in zip((event.bids, event.asks), after, strict=True):
            assert told == tuple((float(px), float(qty)) for px, qty in recorded)
        assert event.bids[0][0] < event.asks[0][0]


def recorded_minutes() -> list[tuple[int, str]]:
    """(ms, rate), oldest first."""
    text = gzip.decompress(recording("funding/edgex-btc-minute/november_funding_10000001.csv.gz").read_bytes()).decode()
    return sorted((int(row[0]), row[1]) for row in csv.reader(text.splitlines()[1:]))


def test_recorded_minutes_change_at_the_start_of_a_block_and_are_settled_once(decoder: Decoder) -> None:
    minutes = recorded_minutes()
    assert (len(minutes), minutes[-1]) == (43574, (1738303980000, "0.00005000"))
    block_ms = 4 * HOUR_MS
    changed = [at for (_, before), (at, rate) in itertools.pairwise(minutes) if before != rate]
    assert len(changed) == 35
    assert all(at % block_ms == 0 for at in changed)
    rows = [settlement(at, rate) for at, rate in minutes if at % block_ms == 0][::-1]
    assert len(rows) == 182
    assert [row["fundingRate"] for row in rows[:3]] == ["0.00005000", "0.00000640", "0.00003632"]
    (event,) = decoder.load_figures(page(*rows[:3]), f"BTC {minutes[-1][0]}")
    assert isinstance(event, FundingEvent)
    assert event.rate.rate == 0.0000064  # fixed at 00:00, paid at 04:00; the 0.00005 of 04:00 is not paid yet at 06:13
    assert event.rate.next_funding_ts_ns == (1738296000000 + block_ms) * NS_PER_MS
    calm = [rate for _, rate in minutes if rate == "0.00005000"]
    assert len(calm) > 20_000


@pytest.mark.parametrize("file", ["jan1_30000", "early_65000"])
def test_recorded_hours_of_all_contracts_agree_with_our_year(file: str) -> None:
    """The collector's own figure is percent a year at 2190 intervals: the 4 h conversion, computed by somebody else."""
    text = gzip.decompress(recording(f"funding/hourly-aggregates-10-venues/{file}.sql.gz").read_bytes()).decode()
    decoder = Decoder()
    decoder.load_catalogue([metadata(contract(BTC, "BTCUSDC"))], ())
    stream = decoder.stream(decoder.sockets()[0])
    calm = checked = 0
    for line in text.splitlines():
        found = re.search(r'VALUES \("edgex", (.*)\);', line)
        if found is None:
            continue
        cells = next(csv.reader([found[1]], skipinitialspace=True))
        rate, per_year = cells[12], float(cells[13])
        events = stream.decode(quote_event("ticker.all.1s", [{**TICKER, "fundingRate": rate}]))
        funding = events[1]
        assert isinstance(funding, FundingEvent)
        assert funding.rate.apr * 100 == pytest.approx(per_year, rel=1e-6, abs=1e-9)
        checked += 1
        calm += 0.105 <= funding.rate.apr <= 0.114
    assert checked == 522
    assert calm > 50
