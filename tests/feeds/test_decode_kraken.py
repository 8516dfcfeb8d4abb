"""Kraken's wire: the page's samples, the recorded payloads and the checksum vectors, against values read by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from math import isnan
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from core.clock import NS_PER_US
from core.errors import Malformed
from feeds.venues import kraken
from feeds.venues._kraken_book import ChecksummedBook, units
from feeds.venues.base import ControlEvent, ControlKind, DepthEvent, GapEvent, MarkEvent, QuoteEvent, Stream
from feeds.venues.kraken import Decoder
from tests.feeds.recordings import recording

VECTORS = Path(__file__).parents[1] / "fixtures" / "kraken" / "signing_vectors.json"
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in json.loads(VECTORS.read_text())["cases"]}
BOOKS = CASES["book-updates"]
SNAPSHOT: str = BOOKS["inputs"]["frames"][0]
UPDATES: list[str] = BOOKS["inputs"]["frames"][1:]
SENT_NS = 1_795_165_200_000_001 * NS_PER_US  # 2026-11-20T09:00:00.000001Z
TICKER: dict[str, Any] = {
    "symbol": "BTC/USD", "bid": 105944.20, "bid_qty": 2.5, "ask": 105944.30, "ask_qty": 3.2, "last": 105899.40,
    "volume": 163.28908096, "vwap": 105904.39279, "low": 104711.00, "high": 106613.10, "change": 250.00,
    "change_pct": 0.24, "timestamp": "2026-11-20T09:30:59.123456Z",
}  # fmt: skip


def pair(wsname: str, price_decimals: int = 1, qty_decimals: int = 8, **changes: Any) -> dict[str, Any]:
    return {
        "wsname": wsname, "altname": wsname.replace("/", ""), "aclass_base": "currency",
        "pair_decimals": price_decimals, "lot_decimals": qty_decimals,
        "ordermin": "0.00005", "costmin": "0.5", "tick_size": f"{10.0**-price_decimals:.{price_decimals}f}", **changes,
    }  # fmt: skip


def catalogue(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"error": [], "result": {f"K{number}": row for number, row in enumerate(rows)}}).encode()


PAIRS = (
    pair("XBT/USD"),
    pair("ETH/USD", 2),
    pair("XDG/USD", 7),
    pair("USDT/USD", 5),
    pair("USDC/USD", 4),
    pair("XBT/EUR"),
)


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([catalogue(*PAIRS)], ())
    return decoder


@pytest.fixture
def stream(decoder: Decoder) -> Stream:
    return decoder.stream(decoder.sockets()[0])


def ticker(kind: str = "update", **changes: Any) -> bytes:
    return json.dumps({"channel": "ticker", "type": kind, "data": [TICKER | changes]}, separators=(",", ":")).encode()


def book(frame: str, **changes: Any) -> bytes:
    message = json.loads(frame, parse_float=Decimal)
    message["data"][0] |= changes
    return json.dumps(message, separators=(",", ":"), default=float).encode()


def only(events: list[Any]) -> Any:
    (event,) = events
    return event


# ---- recorded payloads and the page's samples -------------------------------------------------------------------------


def test_recorded_ticker(stream: Stream) -> None:
    quote, mark = stream.decode(recording("payloads/kraken/ws_ticker_snapshot.json").read_bytes())
    assert quote == QuoteEvent("BTC", 105944.2, 2.5, 105944.3, 3.2, 1_671_960_659_123_456 * NS_PER_US)
    assert isinstance(mark, MarkEvent)
    assert mark.volume_24h_usd == pytest.approx(163.28908096 * 105904.39279)
    assert isnan(mark.mark_px)
    assert isnan(mark.index_px)
    assert isnan(mark.open_interest)


def test_recorded_acknowledgement_and_order_answers_are_no_market_data(stream: Stream) -> None:
    for name, kind in (
        ("ws_subscribe_response", ControlKind.ACK),
        ("ws_add_order_response_success", ControlKind.ACK),
        ("ws_add_order_response_failure", ControlKind.ERROR),
    ):
        event = only(stream.decode(recording(f"payloads/kraken/{name}.json").read_bytes()))
        assert isinstance(event, ControlEvent)
        assert event.kind is kind


def test_recorded_books_were_edited_and_are_caught_by_their_checksum(stream: Stream) -> None:
    """The README says so of them: their levels do not give the sum that they carry."""
    event = only(stream.decode(recording("payloads/kraken/ws_book_snapshot.json").read_bytes()))
    assert isinstance(event, GapEvent)
    assert event.symbol == "BTC"
    assert "2439117997" in event.detail
    assert stream.decode(recording("payloads/kraken/ws_book_update.json").read_bytes()) == []  # no book to change


def test_recorded_catalogue_lists_tether_pairs_only() -> None:
    with pytest.raises(Malformed):
        Decoder().load_catalogue([recording("payloads/kraken/http_asset_pairs.json").read_bytes()], ())


V1_LINE = re.compile(rb"^[0-9.]+: (\[.*\])\s*$")


def v1_frames(name: str) -> Iterator[list[Any]]:
    for line in recording(f"frames/kraken-spot-2021/{name}").read_bytes().splitlines():
        if match := V1_LINE.match(line):
            yield json.loads(match[1])


def test_the_checksum_holds_on_recorded_books() -> None:
    """31 s of ten books on the old protocol: another wire, the same rule, and every sum as the venue told it."""
    books: dict[str, ChecksummedBook] = {}
    decimals: dict[str, tuple[int, int]] = {}
    checked = 0
    for _, *parts, _, name in v1_frames("KRAKEN.ws.50.0"):
        if "as" in parts[0]:
            first = parts[0]["as"][0]
            decimals[name] = (len(first[0].partition(".")[2]), len(first[1].partition(".")[2]))
            books[name] = ChecksummedBook(1000, *decimals[name])
        held, (px, qty) = books[name], decimals[name]
        told = ""
        for part in parts:
            for side, keys in ((held.asks, ("as", "a")), (held.bids, ("bs", "b"))):
                levels = [level for key in keys for level in part.get(key, [])]
                side.apply([(units(Decimal(level[0]), px), units(Decimal(level[1]), qty)) for level in levels])
            told = part.get("c", told)
        if told:
            assert held.checksum == int(told), name
            checked += 1
    assert checked > 4000


def test_the_old_protocol_is_not_taken_for_ours(stream: Stream) -> None:
    for name in ("KRAKEN.ws.48.0", "KRAKEN.ws.49.0"):
        for frame in list(v1_frames(name))[:20]:
            with pytest.raises(Malformed):
                stream.decode(json.dumps(frame).encode())


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b'{"channel":"status","type":"update","data":[{"system":"online","version":"2.0.10","api_version":"v2",'
         b'"connection_id":12393906104898154338}]}', ControlKind.OTHER),
        (b'{"channel":"heartbeat"}', ControlKind.OTHER),
        (b'{"method":"pong","req_id":101,"time_in":"2023-09-24T14:10:23.799685Z","time_out":"2023-09-24T14:10:23.799703Z"}',
         ControlKind.PONG),
        (b'{"method":"subscribe","success":false,"error":"Currency pair not supported XYZ/USD","symbol":"XYZ/USD","req_id":6}',
         ControlKind.ERROR),
        (b'{"error":"Exceeded msg rate"}', ControlKind.ERROR),
        (b'{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}', ControlKind.OTHER),
    ],
)  # fmt: skip
def test_control_frames_prove_no_quote(stream: Stream, frame: bytes, kind: ControlKind) -> None:
    event = only(stream.decode(frame))
    assert isinstance(event, ControlEvent)
    assert event.kind is kind


# ---- ticker -----------------------------------------------------------------------------------------------------------


def test_ticker(stream: Stream) -> None:
    quote, _ = stream.decode(ticker())
    assert quote[:5] == ("BTC", 105944.2, 2.5, 105944.3, 3.2)
    assert quote.exch_ts_ns == 1_795_167_059_123_456 * NS_PER_US


def test_ticker_without_a_time_or_with_numbers_as_text_or_in_another_order(stream: Stream) -> None:
    bare = {name: value for name, value in TICKER.items() if name != "timestamp"}
    quote, _ = stream.decode(json.dumps({"data": [bare], "type": "update", "channel": "ticker"}).encode())
    assert quote == QuoteEvent("BTC", 105944.2, 2.5, 105944.3, 3.2, 0)
    quote, _ = stream.decode(ticker(bid="105944.2", ask_qty="3.20000000"))
    assert quote[:5] == ("BTC", 105944.2, 2.5, 105944.3, 3.2)


def test_names_of_today(stream: Stream) -> None:
    quote, _ = stream.decode(ticker(symbol="DOGE/USD", bid=0.1, ask=0.2))
    assert quote.symbol == "DOGE"


@pytest.mark.parametrize(
    "changes",
    [{"symbol": "XBT/USD"}, {"symbol": "BTC/EUR"}, {"bid": -1}, {"ask": "NaN"}, {"bid": "inf"}, {"ask_qty": -0.1},
     {"bid": None}, {"bid": "many"}, {"bid": [1]}, {"timestamp": "yesterday"}, {"timestamp": "2026-11-20T09:30:59"},
     {"timestamp": "1969-11-20T09:30:59Z"}, {"timestamp": "9999-11-20T09:30:59Z"}, {"symbol": 5}],
)  # fmt: skip
def test_bad_tickers_are_malformed(stream: Stream, changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        stream.decode(ticker(**changes))


@pytest.mark.parametrize(
    "frame",
    [b"", b"{", b"[]", b"{}", b"null", b"\xff\xfe", b'{"channel":"ticker"}', b'{"channel":"book","type":"update"}',
     b'{"channel":"ticker","type":"hello","data":[]}', b'{"channel":"book","type":"hello","data":[]}',
     b'{"channel":' + b"[" * 5000 + b"]" * 5000 + b"}", b"<html>502</html>"],
)  # fmt: skip
def test_rubbish_is_malformed(stream: Stream, frame: bytes) -> None:
    with pytest.raises(Malformed):
        stream.decode(frame)


def test_an_unusable_volume_leaves_the_quote(stream: Stream) -> None:
    assert [type(event) for event in stream.decode(ticker(vwap="inf"))] == [QuoteEvent]
    assert [type(event) for event in stream.decode(ticker(volume=-5))] == [QuoteEvent]


# ---- book -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["book-doc-example", "book-updates"])
def test_checksum_vectors(stream: Stream, name: str) -> None:
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]["after_each_frame"]
    assert inputs["depth"] == kraken.DEPTH
    for frame, after in zip(inputs["frames"], expected, strict=True):
        event = only(stream.decode(frame.encode()))
        assert isinstance(event, DepthEvent)
        assert event.symbol == "BTC"
        assert event.exch_ts_ns == SENT_NS
        assert (len(event.bids), len(event.asks)) == (after["n_bids"], after["n_asks"])
        assert event.bids[0] == tuple(map(float, after["best_bid"]))
        assert event.asks[0] == tuple(map(float, after["best_ask"]))
        assert list(event.bids) == sorted(event.bids, reverse=True)
        assert list(event.asks) == sorted(event.asks)


def test_an_exponent_is_a_number(stream: Stream) -> None:
    stream.decode(SNAPSHOT.encode())
    stream.decode(UPDATES[0].encode())
    event = only(stream.decode(UPDATES[1].replace("0.00005100", "5.1e-05").encode()))
    assert isinstance(event, DepthEvent)
    assert event.asks[0] == (45285.1, 0.000051)


def test_a_lost_frame_is_found_by_the_next_sum_and_the_pair_subscribed_again(decoder: Decoder, stream: Stream) -> None:
    stream.decode(SNAPSHOT.encode())
    event = only(stream.decode(UPDATES[1].encode()))  # UPDATES[0] never came
    assert isinstance(event, GapEvent)
    assert event.symbol == "BTC"
    assert stream.decode(UPDATES[2].encode()) == []  # nothing is told until the snapshot
    frames = [json.loads(frame) for frame in decoder.resubscribe("BTC")]
    assert [frame["method"] for frame in frames] == ["unsubscribe", "unsubscribe", "subscribe", "subscribe"]
    assert all(frame["params"]["symbol"] == ["BTC/USD"] for frame in frames)
    assert [frame["params"].get("depth") for frame in frames] == [None, 10, None, 10]
    assert isinstance(only(stream.decode(SNAPSHOT.encode())), DepthEvent)


@pytest.mark.parametrize("swapped", [(1, 0), (0, 0, 0)])
def test_changes_out_of_order_are_found_and_repeated_ones_change_nothing(
    stream: Stream, swapped: tuple[int, ...]
) -> None:
    stream.decode(SNAPSHOT.encode())
    kinds = [type(only(found)) for at in swapped if (found := stream.decode(UPDATES[at].encode()))]
    assert kinds == ([GapEvent] if swapped == (1, 0) else [DepthEvent] * 3)


def test_a_wrong_digit_anywhere_is_found(stream: Stream) -> None:
    for old, new in (("1.54582015", "1.54582016"), ("45297.5", "45297.6"), ("0.00100000", "0.01000000")):
        assert isinstance(only(stream.decode(SNAPSHOT.replace(old, new).encode())), GapEvent)


def test_a_crossed_book_is_no_book_even_with_its_sum(stream: Stream) -> None:
    sides = {"asks": [{"price": 100.0, "qty": 1.0}], "bids": [{"price": 101.0, "qty": 1.0}]}
    told = crc32(b"1000100000000" + b"1010100000000")
    data = [{"symbol": "BTC/USD", **sides, "checksum": told}]
    event = only(stream.decode(json.dumps({"channel": "book", "type": "snapshot", "data": data}).encode()))
    assert isinstance(event, GapEvent)
    sides["bids"][0]["price"] = 99.0
    data = [{"symbol": "BTC/USD", **sides, "checksum": crc32(b"1000100000000" + b"990100000000")}]
    event = only(stream.decode(json.dumps({"channel": "book", "type": "snapshot", "data": data}).encode()))
    assert isinstance(event, DepthEvent)


@pytest.mark.parametrize(
    "level",
    [{"price": 45283.55, "qty": 1}, {"price": 45283.5, "qty": 0.000000001}, {"price": -1, "qty": 1}, {"price": 1},
     {"price": "1e999999999", "qty": 1}, {"price": 1, "qty": "1e-999999999"}, {"price": "NaN", "qty": 1},
     {"price": 1, "qty": "Infinity"}, {"price": None, "qty": 1}],
)  # fmt: skip
def test_a_level_that_cannot_be_is_malformed_and_changes_nothing(stream: Stream, level: dict[str, Any]) -> None:
    stream.decode(SNAPSHOT.encode())
    with pytest.raises(Malformed):
        stream.decode(book(UPDATES[0], asks=[{"price": 45285.2, "qty": 0}, level]))
    assert isinstance(only(stream.decode(UPDATES[0].encode())), DepthEvent)


def test_books_of_two_connections_are_apart(decoder: Decoder) -> None:
    old, new = (decoder.stream(decoder.sockets()[0]) for _ in range(2))
    old.decode(SNAPSHOT.encode())
    assert new.decode(UPDATES[0].encode()) == []
    assert isinstance(only(old.decode(UPDATES[0].encode())), DepthEvent)


# ---- subscriptions ----------------------------------------------------------------------------------------------------


def test_the_subscription_is_that_of_the_vector() -> None:
    case = CASES["ws-subscribe-ticker-bbo"]
    made = kraken.ticker_request("subscribe", case["inputs"]["symbols"], case["inputs"]["req_id"])
    assert json.loads(made) == case["expected"]["message"]


def test_every_live_pair_is_subscribed_in_few_frames(decoder: Decoder) -> None:
    plan = only(decoder.sockets())
    assert plan.symbols == ("BTC", "ETH", "DOGE", "USDT", "USDC")
    first, second = (json.loads(frame) for frame in plan.frames)
    assert first["params"] == {
        "channel": "ticker", "symbol": ["BTC/USD", "ETH/USD", "DOGE/USD", "USDT/USD", "USDC/USD"], "event_trigger": "bbo",
        "snapshot": True,
    }  # fmt: skip
    assert (second["params"]["channel"], second["params"]["depth"]) == ("book", 10)
    assert decoder.sockets() == decoder.sockets()


def test_many_pairs_are_spread_over_connections() -> None:
    decoder = Decoder()
    decoder.load_catalogue([catalogue(*(pair(f"T{number}/USD") for number in range(250)))], ())
    assert [len(plan.symbols) for plan in decoder.sockets()] == [100, 100, 50]


def test_the_stablecoins_are_read_whether_asked_for_or_not() -> None:
    decoder = Decoder()
    rows = decoder.load_catalogue([catalogue(*PAIRS)], ["BTC"])
    assert {row.symbol for row in rows} == {"BTC", "USDT", "USDC"}
    assert only(decoder.sockets()).symbols == ("BTC", "USDT", "USDC")


def test_delisted_pairs_are_known_and_not_subscribed() -> None:
    decoder = Decoder()
    rows = decoder.load_catalogue([catalogue(pair("XBT/USD"), pair("ETH/USD", status="delisted"))], ())
    assert [(row.symbol, row.delisted) for row in rows] == [("BTC", False), ("ETH", True)]
    assert only(decoder.sockets()).symbols == ("BTC",)
    assert decoder.resubscribe("ETH") == []


def test_a_bad_catalogue_leaves_the_old_one(decoder: Decoder) -> None:
    with pytest.raises(Malformed):
        decoder.load_catalogue([b'{"error":["EGeneral:Internal error"]}'], ())
    assert only(decoder.sockets()).symbols[0] == "BTC"


def test_books_that_never_came_are_asked_for_again_in_turns(stream: Stream) -> None:
    stream.decode(SNAPSHOT.encode())
    frames = [json.loads(frame) for frame in stream.overdue()]
    assert frames[3]["params"]["symbol"] == ["ETH/USD", "DOGE/USD", "USDT/USD", "USDC/USD"]
    assert [frame["method"] for frame in frames] == ["unsubscribe"] * 2 + ["subscribe"] * 2


def test_nothing_is_overdue_once_every_book_has_come(decoder: Decoder) -> None:
    decoder.load_catalogue([catalogue(pair("XBT/USD"))], ())
    stream = decoder.stream(only(decoder.sockets()))
    assert stream.overdue()
    stream.decode(SNAPSHOT.encode())
    assert stream.overdue() == []
    stream.decode(UPDATES[1].encode())  # a gap
    assert stream.overdue()


def test_a_spot_venue_tells_no_funding(decoder: Decoder) -> None:
    assert decoder.figures_requests(0) == []
    assert decoder.seed_requests() == []
    with pytest.raises(Malformed):
        decoder.load_figures(b"{}")
    with pytest.raises(Malformed):
        decoder.load_seed(b"{}")


def test_units_are_exact_whatever_a_float_would_make_of_them() -> None:
    assert units(Decimal("0.10000000"), 8) == 10_000_000
    assert units(Decimal("420690000000.00000001"), 8) == 42_069_000_000_000_000_001  # more than a float holds
    with pytest.raises(Malformed):
        units(Decimal("0.123456789"), 8)
