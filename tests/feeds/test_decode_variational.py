"""Variational's statistics: the page's sample and the recorded figures against values read off them by hand, and how old what is
published from them is allowed to look."""

from __future__ import annotations

import json
from decimal import Decimal
from math import isnan
from typing import Any

import pytest

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.errors import Malformed
from core.specs import variational as specs
from core.types import FundingKind, MarkPrice, Quote, QuoteFlag, Stale
from executor.signing import variational as signing
from executor.venues import _variational_rows as rows
from feeds.venues.base import FundingEvent, IndicationEvent, MarkEvent
from feeds.venues.variational import Decoder, funding_of
from tests.feeds.conftest import MakeRig
from tests.feeds.recordings import recording
from tests.feeds.rig import Rig

AS_OF_NS = 1_786_636_915_905 * NS_PER_MS  # 2026-08-13T16:01:55.905Z
BTC: dict[str, Any] = {
    "ticker": "BTC", "name": "Bitcoin", "mark_price": "63346.75", "volume_24h": "358883721.879084",
    "open_interest": {"long_open_interest": "101298449.752", "short_open_interest": "92382797.447"},
    "funding_rate": "0.031605", "funding_interval_s": 28800, "base_spread_bps": "0.5",
    "quotes": {"updated_at": "2026-08-13T16:01:55.905Z", "size_1k": {"bid": "63344.45", "ask": "63349.06"},
               "size_100k": {"bid": "63340.1", "ask": "63353.2"}},
}  # fmt: skip


def stats(*listings: dict[str, Any]) -> bytes:
    return json.dumps({"tvl": "1", "num_markets": len(listings), "listings": listings}).encode()


def edited(**changes: Any) -> dict[str, Any]:
    return {**BTC, **changes}


@pytest.fixture
def rig(make_rig: MakeRig, clock: SimClock) -> Rig:
    return make_rig(clock, venue=specs.VENUE)


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    decoder.load_catalogue([stats(BTC, edited(ticker="LIGHTER", mark_price="1.25"))], ())
    return decoder


def test_the_sample_by_hand(decoder: Decoder) -> None:
    mark, indication, funding = decoder.decode(stats(BTC))
    assert isinstance(mark, MarkEvent)
    assert (mark.symbol, mark.mark_px, mark.volume_24h_usd, mark.exch_ts_ns) == ("BTC", 63346.75, 358883721.879084, 0)
    assert mark.open_interest == pytest.approx(1599.111, rel=1e-5)  # the long side's USD in coins
    assert indication == IndicationEvent("BTC", 63344.45, 1000 / 63344.45, 63349.06, 1000 / 63349.06, AS_OF_NS)
    assert isinstance(funding, FundingEvent)
    assert funding.rate.rate == pytest.approx(0.031605 * 28800 / 31_536_000)
    assert (funding.rate.interval_s, funding.rate.kind, funding.rate.source) == (
        28800, FundingKind.ESTIMATE, "metadata/stats",
    )  # fmt: skip
    assert funding.rate.apr == pytest.approx(0.031605)


def test_the_calm_ceiling_comes_to_eleven_percent_a_year() -> None:
    for interval_s in (3600, 4 * 3600, 8 * 3600):
        rate = funding_of(Decimal("0.1095"), interval_s)
        assert rate is not None
        assert 0.105 <= rate.apr <= 0.114
        assert rate.rate == pytest.approx(0.1095 / (31_536_000 / interval_s))
    eight = funding_of(Decimal("0.1095"), 8 * 3600)
    assert eight is not None
    assert eight.rate == pytest.approx(0.0001)


def test_recorded_funding_is_annualised() -> None:
    """The same asset by two endpoints within minutes, and a settled payment that gives back a clean yearly figure."""
    told = json.loads(recording("frames/variational-rest/funding-btc.json").read_text())
    rate = funding_of(Decimal(told["predicted_funding_rate"]), told["funding_interval_s"])
    assert rate is not None
    assert rate.apr == pytest.approx(-0.007383)
    assert rate.rate == pytest.approx(-0.0000067424657, rel=1e-6)
    assets = json.loads(recording("frames/variational-rest/supported-assets.json").read_text())
    yearly = {name: kinds[0]["funding_rate"] for name, kinds in assets.items()}
    assert yearly == {"BTC": "-0.007384", "ETH": "-0.160440", "SHAZ": "0.144184"}
    settled = funding_of(Decimal("0.075082"), 28800)
    assert settled is not None
    assert settled.rate == pytest.approx(0.0000685680365296804, rel=1e-5)


@pytest.mark.parametrize(
    ("yearly", "interval_s"),
    [(None, 28800), ("0.1", None), ("0.1", 0), ("0.1", 1800), ("NaN", 28800), ("Infinity", 3600), ("351", 3600)],
)
def test_what_is_no_rate_is_left_out(yearly: str | None, interval_s: int | None) -> None:
    assert funding_of(None if yearly is None else Decimal(yearly), interval_s) is None


def test_a_recorded_live_quote_by_hand() -> None:
    body = recording("frames/variational-rest/quote-simple-btc.json").read_bytes()
    row = rows.decode(body, rows.QuoteRow, "quote")
    assert (row.bid, row.ask, row.qty) == (Decimal("63344.45"), Decimal("63349.06"), Decimal("0.001"))
    assert row.mark_price == Decimal("63346.7543455801")
    assert specs.ns_of(row.timestamp) == AS_OF_NS
    assert row.quote_id == "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
    assert row.instrument == rows.InstrumentRow("BTC", "perpetual_future")
    assert row.refuses(Decimal("0.001")) == ""
    assert row.refuses(Decimal("0.0000015")) == "the size step is 0.000001"
    assert row.refuses(Decimal("0.000001")) == "sizes are 0.000002 to 15786702.702446 now"
    assert row.refuses(Decimal("15786000")).startswith("sizes are 0.000002 to 15785553.881936")  # the stricter side
    asked = json.loads(signing.quote_body("BTC", Decimal("0.001")))
    assert asked["instrument"] == json.loads(body)["instrument"]


def test_recorded_assets_say_what_is_a_perpetual() -> None:
    body = recording("frames/variational-rest/supported-assets.json").read_bytes()
    assets = rows.decode(body, dict[str, list[rows.AssetRow]], "assets")
    assert {name: kinds[0].instrument_type for name, kinds in assets.items()} == {
        "BTC": "perpetual_future", "ETH": "perpetual_future", "SHAZ": "perpetual_rwa_future",
    }  # fmt: skip
    assert all(kinds[0].has_perp and not kinds[0].is_close_only_mode for kinds in assets.values())


def test_the_recorded_price_frame_holds_no_bid_or_ask_and_is_not_asked_for(decoder: Decoder) -> None:
    frame = recording("frames/variational-rest/price-frame-btc.json").read_bytes()
    with pytest.raises(Malformed):
        decoder.decode(frame)
    (plan,) = decoder.sockets()
    assert plan.frames == ()
    assert plan.poll is not None
    assert plan.poll.path == "/metadata/stats"


def test_the_catalogue(decoder: Decoder) -> None:
    made = specs.instruments(
        stats(BTC, edited(ticker="LIGHTER", mark_price="1.25"), edited(ticker="LIT"), edited(ticker="1000PEPE"),
              edited(ticker="kBONK"), edited(ticker="PEPE", mark_price="0.0000036"), edited(ticker="KAITO"))
    )  # fmt: skip
    assert [row.symbol for row in made] == ["BTC", "LIT", "PEPE", "KAITO"]
    btc, lit, pepe, _ = made
    assert (btc.tick_size, btc.lot_size, btc.min_notional_usd) == (Decimal("0.01"), Decimal("0.00001"), Decimal("0.1"))
    assert lit.venue_symbol == "LIGHTER"
    assert (lit.tick_size, lit.lot_size) == (Decimal("0.00001"), Decimal("0.1"))
    assert (pepe.tick_size, pepe.lot_size) == (Decimal("0.000000001"), Decimal(1))
    with pytest.raises(Malformed):
        specs.instruments(stats(edited(mark_price="0")))


@pytest.mark.parametrize(
    "quotes",
    [
        None, {}, [], {"updated_at": "soon", "size_1k": {"bid": "1", "ask": "2"}},
        {"updated_at": "2026-08-13T16:01:55", "size_1k": {"bid": "1", "ask": "2"}},  # of no zone
        {"size_1k": {"bid": "1", "ask": "2"}},  # of no time
        {"updated_at": "2026-08-13T16:01:55Z", "size_1k": {"bid": "2", "ask": "1"}},  # crossed
        {"updated_at": "2026-08-13T16:01:55Z", "size_1k": {"bid": "NaN", "ask": "1"}},
        {"updated_at": "2026-08-13T16:01:55Z", "size_1k": {"bid": "0", "ask": "1"}},
        {"updated_at": "2026-08-13T16:01:55Z", "size_1k": {"bid": None, "ask": None}},
        {"updated_at": "2026-08-13T16:01:55Z", "base": {"bid": "1", "ask": "2"}},  # of no known size
    ],
)  # fmt: skip
def test_what_is_no_indication_is_left_out(decoder: Decoder, quotes: Any) -> None:
    kinds = [type(event) for event in decoder.decode(stats(edited(quotes=quotes)))]
    assert kinds == [MarkEvent, FundingEvent]


def test_a_larger_size_stands_in(decoder: Decoder) -> None:
    quotes = {"updated_at": BTC["quotes"]["updated_at"], "size_100k": {"bid": "63340", "ask": "63353"}}
    _, indication, _ = decoder.decode(stats(edited(quotes=quotes)))
    assert isinstance(indication, IndicationEvent)
    assert indication.bid_qty == pytest.approx(100_000 / 63340)


def test_bad_figures_are_unknown_not_wrong(decoder: Decoder) -> None:
    mark, *_ = decoder.decode(stats(edited(volume_24h="-1", open_interest=None)))
    assert isinstance(mark, MarkEvent)
    assert isnan(mark.volume_24h_usd)
    assert isnan(mark.open_interest)


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"{}", b'{"listings":[]}', b'{"listings":[7]}', stats(edited(ticker="OTHER")), b"[" * 9000]
)
def test_nothing_usable_is_malformed(decoder: Decoder, frame: bytes) -> None:
    with pytest.raises(Malformed):
        decoder.decode(frame)


def test_no_seeds_and_no_figures(decoder: Decoder) -> None:
    assert (decoder.seed_requests(), decoder.figures_requests(0), decoder.resubscribe("BTC")) == ([], [], [])
    for load in (decoder.load_seed, decoder.load_figures):
        with pytest.raises(Malformed):
            load(b"{}")


# ---- how old it looks -------------------------------------------------------------------------------------------------------


def told(rig: Rig, clock: SimClock, age_s: float, bid: float = 100.0) -> None:
    events = [IndicationEvent("BTC", bid, 1.0, bid + 1, 1.0, clock.wire_ns() - int(age_s * NS_PER_S))]
    rig.publisher.take([*events, MarkEvent("BTC", 100.5, 100.5, 1.0, 1.0, 0)], 0, clock.mono_ns())
    rig.book.heartbeat(clock.mono_ns())


def shown(rig: Rig) -> Quote:
    quote = rig.reader.peek(rig.slot("BTC"))
    assert isinstance(quote, Quote)
    return quote


def test_an_indication_is_as_old_as_it_says_and_never_executable(rig: Rig, clock: SimClock) -> None:
    clock.advance_ns(3600 * NS_PER_S)
    told(rig, clock, age_s=300)
    assert rig.reader.status()[0], "the venue is up"
    assert isinstance(rig.quote("BTC"), Stale)
    assert shown(rig).flags == QuoteFlag.INDICATIVE
    assert shown(rig).age_ns >= 300 * NS_PER_S
    assert shown(rig).local_mono_ns == clock.mono_ns() - 300 * NS_PER_S
    mark = rig.reader.mark(rig.slot("BTC"))
    assert isinstance(mark, MarkPrice)


def test_reading_it_again_does_not_make_it_younger(rig: Rig, clock: SimClock) -> None:
    clock.advance_ns(3600 * NS_PER_S)
    as_of_ns = clock.wire_ns() - NS_PER_S
    for _ in range(20):
        events = [IndicationEvent("BTC", 100.0, 1.0, 101.0, 1.0, as_of_ns), MarkEvent("BTC", 1.0, 1.0, 1.0, 1.0, 0)]
        rig.publisher.take(events, 0, clock.mono_ns())
        clock.advance_ns(3 * NS_PER_S)
        rig.book.heartbeat(clock.mono_ns())
    assert shown(rig).age_ns == 61 * NS_PER_S
    assert rig.count("quotes_total") == 1


def test_even_a_new_one_is_indicative(rig: Rig, clock: SimClock) -> None:
    clock.advance_ns(3600 * NS_PER_S)
    told(rig, clock, age_s=0.1)
    assert shown(rig).flags == QuoteFlag.INDICATIVE
    told(rig, clock, age_s=-0.2, bid=102.0)  # a venue's clock that is a little ahead
    assert shown(rig).bid_px == 102.0
    assert shown(rig).age_ns == 0


def test_an_older_one_and_one_from_the_future_change_nothing(rig: Rig, clock: SimClock) -> None:
    clock.advance_ns(3600 * NS_PER_S)
    told(rig, clock, age_s=10)
    told(rig, clock, age_s=20, bid=50.0)
    told(rig, clock, age_s=-3600, bid=60.0)
    assert shown(rig).bid_px == 100.0
    assert rig.count("out_of_order_total") == 1


def test_it_leaves_the_lag_of_other_frames_alone(rig: Rig, clock: SimClock) -> None:
    clock.advance_ns(3600 * NS_PER_S)
    for _ in range(5):
        told(rig, clock, age_s=500)
        clock.advance_ns(NS_PER_S)
    rig.publisher.measure()
    assert rig.count("median_lag_seconds") == 0
