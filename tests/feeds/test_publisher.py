"""What enters the book, and what an interruption, a lag or a wrong order keeps out. Seen through a real reader."""

from __future__ import annotations

from math import isnan, nan

import pytest

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.types import (
    Down,
    FundingKind,
    FundingRate,
    Liquidity,
    MarkPrice,
    Quote,
    QuoteFlag,
    Stale,
)
from feeds.publisher import executable_px
from feeds.venues.aster import Decoder
from feeds.venues.base import (
    ControlEvent,
    ControlKind,
    DepthEvent,
    FeedEvent,
    FundingEvent,
    GapEvent,
    MarkEvent,
    QuoteEvent,
)
from tests.feeds.conftest import MakeRig
from tests.feeds.recordings import received_frames
from tests.feeds.rig import Rig, instrument
from tests.feeds.test_decode_aster import FUNDING_INFO, catalogue

MS = NS_PER_MS


class Market:
    """Frames of a venue whose clock runs `skew_ns` ahead of ours, arriving `lag_ns` after it sent them."""

    def __init__(self, rig: Rig, clock: SimClock, skew_ns: int = 0) -> None:
        self.rig = rig
        self.clock = clock
        self.skew_ns = skew_ns

    def sent_ns(self, lag_ns: int) -> int:
        return self.clock.wire_ns() + self.skew_ns - lag_ns

    def take(self, *events: FeedEvent, socket: int = 0) -> bool:
        taken = self.rig.publisher.take(list(events), socket, self.clock.mono_ns())
        self.rig.book.heartbeat(self.clock.mono_ns())
        return taken

    def quote(
        self, symbol: str = "BTC", bid: float = 100.0, ask: float = 101.0, sequence: int = 0, lag_ns: int = 5 * MS
    ) -> bool:
        return self.take(QuoteEvent(symbol, bid, 1.0, ask, 2.0, self.sent_ns(lag_ns), sequence))

    def depth(
        self, symbol: str = "BTC", bid: float = 100.0, ask: float = 101.0, sequence: int = 0, lag_ns: int = 5 * MS
    ) -> bool:
        return self.take(DepthEvent(symbol, ((bid, 1.0),), ((ask, 2.0),), self.sent_ns(lag_ns), sequence))

    def context(self, symbol: str = "BTC") -> bool:
        return self.take(MarkEvent(symbol, 100.5, 100.6, 7.0, 8.0, 0))

    def pass_ms(self, ms: int) -> None:
        self.clock.advance_ns(ms * MS)
        self.rig.book.heartbeat(self.clock.mono_ns())


@pytest.fixture
def market(rig: Rig, clock: SimClock) -> Market:
    return Market(rig, clock)


def test_a_quote_is_published_with_its_times(rig: Rig, clock: SimClock, market: Market) -> None:
    assert isinstance(rig.quote("BTC"), Down)
    market.quote(bid=100.0, ask=101.0)
    quote = rig.live_quote("BTC")
    assert quote[:4] == (100.0, 1.0, 101.0, 2.0)
    assert quote.exch_ts_ns == clock.wire_ns() - 5 * MS
    assert quote.local_mono_ns == clock.mono_ns()
    assert quote.flags == QuoteFlag.EXECUTABLE
    assert quote.is_sound
    assert rig.reader.status()[0]


def test_older_quotes_are_dropped_by_time(rig: Rig, clock: SimClock, market: Market) -> None:
    market.quote(bid=100.0, lag_ns=5 * MS)
    market.quote(bid=99.0, lag_ns=6 * MS)
    assert rig.live_quote("BTC").bid_px == 100.0
    assert rig.count("out_of_order_total") == 1
    market.quote(bid=98.0, lag_ns=5 * MS)  # the same millisecond may hold two changes
    assert rig.live_quote("BTC").bid_px == 98.0


def test_a_venue_clock_that_is_set_back_leaves_no_quote_standing(rig: Rig, market: Market) -> None:
    """Frames stamped in the future, then the right time again: the quote of the future must not outlive them."""
    for _ in range(5):
        market.quote(bid=100.0)
        market.pass_ms(600)
    market.skew_ns = 30 * NS_PER_S
    market.quote(bid=101.0, ask=102.0)
    market.skew_ns = 0
    market.pass_ms(100)
    market.quote(bid=90.0, ask=91.0)
    assert rig.live_quote("BTC").bid_px == 90.0
    market.skew_ns = 30 * NS_PER_S
    market.quote(bid=101.0, ask=102.0)
    market.skew_ns = 0
    market.depth(bid=91.0, ask=92.0)
    assert rig.live_quote("BTC").bid_px == 91.0
    market.quote(bid=50.0, lag_ns=2 * NS_PER_S)  # a frame that is really that old is still overtaken
    assert rig.live_quote("BTC").bid_px == 91.0


def test_older_quotes_are_dropped_by_sequence(rig: Rig, market: Market) -> None:
    market.quote(bid=100.0, sequence=10)
    market.quote(bid=99.0, sequence=10, lag_ns=0)
    market.quote(bid=98.0, sequence=9, lag_ns=0)
    assert rig.live_quote("BTC").bid_px == 100.0
    assert rig.count("out_of_order_total") == 2
    market.quote(bid=97.0, sequence=11, lag_ns=50 * MS)  # newer by number, whatever its time says
    assert rig.live_quote("BTC").bid_px == 97.0


def test_a_quiet_symbol_lives_by_its_socket_and_its_own_context(rig: Rig, market: Market) -> None:
    market.quote("BTC")
    market.quote("ETH")
    for _ in range(20):  # ETH speaks by its context only
        market.pass_ms(250)
        market.quote("BTC")
        market.context("ETH")
        assert rig.live_quote("ETH").age_ns == 0
    for _ in range(13):  # no context of its own any more: after 3 s other symbols' frames prove nothing
        market.pass_ms(250)
        market.quote("BTC")
    assert isinstance(rig.quote("ETH"), Stale)
    market.depth("ETH")
    assert rig.live_quote("ETH").is_sound


def test_pongs_and_acknowledgements_prove_nothing(rig: Rig, market: Market) -> None:
    market.quote("BTC")
    market.pass_ms(600)
    assert not market.take(ControlEvent(ControlKind.PONG, "pong"))
    assert not market.take(ControlEvent(ControlKind.ACK, "ack"))
    assert isinstance(rig.quote("BTC"), Stale)


def test_frames_of_another_socket_prove_nothing(rig: Rig, market: Market) -> None:
    rig.publisher.install([instrument(symbol) for symbol in ("BTC", "ETH", "SOL")])
    rig.publisher.assign(1, ("SOL",))
    market.quote("BTC")
    market.pass_ms(600)
    market.take(QuoteEvent("SOL", 1.0, 1.0, 2.0, 1.0, market.sent_ns(MS)), socket=1)
    assert isinstance(rig.quote("BTC"), Stale)


def test_a_lost_socket_voids_its_quotes_at_once(rig: Rig, market: Market) -> None:
    """The trap: after a reconnect, frames of BTC would prove ETH's quote from before the interruption."""
    market.quote("BTC")
    market.quote("ETH")
    market.context("ETH")
    rig.publisher.socket_down(0, "closed")
    assert rig.quote("ETH") == Down("closed")
    market.quote("BTC", lag_ns=0)
    market.context("ETH")
    assert rig.live_quote("BTC").is_sound
    assert not rig.live_quote("ETH").is_sound
    market.quote("ETH", lag_ns=500 * MS)  # whatever comes first is the truth, even with an older time
    assert rig.live_quote("ETH").is_sound


def test_sequences_start_over_after_an_interruption(rig: Rig, market: Market) -> None:
    market.quote(sequence=1000)
    rig.publisher.socket_down(0, "closed")
    market.quote(bid=55.0, sequence=3)  # the venue may have restarted its count
    assert rig.live_quote("BTC").bid_px == 55.0


def test_the_venue_is_up_while_one_socket_is(rig: Rig, market: Market) -> None:
    rig.publisher.install([instrument(symbol) for symbol in ("BTC", "ETH", "SOL")])
    rig.publisher.assign(1, ("SOL",))
    market.quote("BTC")
    market.take(QuoteEvent("SOL", 1.0, 1.0, 2.0, 1.0, market.sent_ns(MS)), socket=1)
    assert rig.count("sockets_up") == 2
    rig.publisher.socket_down(0, "first lost")
    assert rig.reader.status()[:2] == (True, "")
    rig.publisher.socket_down(1, "second lost")
    assert rig.reader.status()[:2] == (False, "second lost")
    assert rig.count("up") == 0


def test_a_gap_voids_one_symbol(rig: Rig, market: Market) -> None:
    market.quote("BTC", sequence=10)
    market.quote("ETH", sequence=20)
    assert not market.take(GapEvent("BTC", "10 then 14"))
    assert not rig.live_quote("BTC").is_sound
    assert rig.live_quote("ETH").is_sound
    market.quote("BTC", sequence=9)  # a frame from before the gap, reordered, is not the truth
    assert not rig.live_quote("BTC").is_sound
    market.depth("BTC", sequence=10)  # the book as it was last published is
    assert rig.live_quote("BTC").is_sound
    market.take(GapEvent("BTC", "again"))
    market.quote("BTC", sequence=15)
    assert rig.live_quote("BTC").is_sound


def test_a_late_quote_is_indicative_and_proves_nothing(rig: Rig, market: Market) -> None:
    for _ in range(5):
        market.quote("BTC", lag_ns=200 * MS)
        market.quote("ETH", lag_ns=200 * MS)
        market.pass_ms(400)
    market.pass_ms(150)
    market.quote("BTC", bid=90.0, lag_ns=701 * MS)
    quote = rig.live_quote("BTC")
    assert (quote.bid_px, quote.flags) == (90.0, QuoteFlag.INDICATIVE)
    assert isinstance(rig.quote("ETH"), Stale)
    market.context("ETH")  # no time of its own: as late as the socket it came on
    assert isinstance(rig.quote("ETH"), Stale)
    assert rig.count("late_quotes_total") == 1
    market.quote("BTC", bid=91.0, lag_ns=699 * MS)
    assert rig.live_quote("BTC").flags == QuoteFlag.EXECUTABLE
    market.context("ETH")
    assert rig.live_quote("ETH").age_ns == 0


def test_a_late_context_does_not_prove_its_symbol(rig: Rig, market: Market) -> None:
    market.quote("ETH")
    for _ in range(13):
        market.pass_ms(250)
        market.quote("BTC")
    market.quote("BTC", lag_ns=800 * MS)
    market.context("ETH")
    market.quote("BTC")  # the socket is in time again, but ETH has said nothing in time for 3.25 s
    assert isinstance(rig.quote("ETH"), Stale)
    market.context("ETH")
    assert rig.live_quote("ETH").is_sound


def test_a_late_quote_of_a_quiet_symbol_is_confirmed_by_its_next_depth(rig: Rig, market: Market) -> None:
    market.quote(sequence=5, lag_ns=10 * MS)
    market.quote(bid=90.0, sequence=6, lag_ns=800 * MS)
    assert rig.live_quote("BTC").flags == QuoteFlag.INDICATIVE
    market.depth(bid=90.0, sequence=6, lag_ns=10 * MS)
    assert rig.live_quote("BTC").flags == QuoteFlag.EXECUTABLE


def test_depth_is_a_quote_only_where_it_is_newer(rig: Rig, market: Market) -> None:
    market.depth(bid=100.0, sequence=10)
    assert rig.live_quote("BTC").bid_px == 100.0
    market.quote(bid=99.0, sequence=12)
    market.depth(bid=100.0, sequence=11)
    assert rig.live_quote("BTC").bid_px == 99.0
    market.depth(bid=98.0, sequence=13)
    assert rig.live_quote("BTC").bid_px == 98.0
    market.take(DepthEvent("BTC", (), ((101.0, 1.0),), market.sent_ns(MS), 14))
    quote = rig.live_quote("BTC")
    assert (quote.bid_px, quote.is_sound) == (0.0, False)


def test_a_rest_seed_is_never_executable_and_never_replaces_the_stream(
    rig: Rig, clock: SimClock, market: Market
) -> None:
    market.quote("ETH", bid=50.0)
    rig.publisher.seed([QuoteEvent(s, 70.0, 1.0, 71.0, 1.0, 0) for s in ("BTC", "ETH", "NOPE")], clock.mono_ns())
    quote = rig.live_quote("BTC")
    assert (quote.bid_px, quote.flags) == (70.0, QuoteFlag.INDICATIVE | QuoteFlag.REST_SEED)
    assert rig.live_quote("ETH").bid_px == 50.0
    market.depth("BTC", bid=71.0, sequence=3)
    assert rig.live_quote("BTC").flags == QuoteFlag.EXECUTABLE


def test_delisted_and_vanished_symbols_lose_their_quote(rig: Rig, market: Market) -> None:
    market.quote("BTC")
    market.quote("ETH")
    rig.publisher.install([instrument("BTC", delisted=True)])  # and ETH is not in the catalogue any more
    for symbol in ("BTC", "ETH"):
        quote = rig.live_quote(symbol)
        assert (quote.flags, quote.is_sound) == (QuoteFlag.DELISTED, False)
        assert rig.reader.instruments()[symbol][1].delisted
    market.quote("BTC")  # a frame that was under way
    assert not rig.live_quote("BTC").is_sound


def test_a_symbol_that_leaves_the_plan_loses_its_quote(rig: Rig, market: Market) -> None:
    market.quote("BTC")
    market.quote("ETH")
    rig.publisher.assign(0, ("ETH",))
    assert not rig.live_quote("BTC").is_sound
    assert rig.live_quote("ETH").is_sound


def test_a_symbol_that_moves_to_another_socket_starts_without_a_quote(rig: Rig, market: Market) -> None:
    market.quote("BTC")
    market.quote("ETH")
    rig.publisher.assign(1, ("ETH",))
    assert not rig.live_quote("ETH").is_sound
    market.quote("ETH")  # from the socket it was taken from
    assert not rig.live_quote("ETH").is_sound
    market.take(QuoteEvent("ETH", 1.0, 1.0, 2.0, 1.0, market.sent_ns(MS)), socket=1)
    assert rig.live_quote("ETH").is_sound


def test_a_full_book_leaves_out_and_says_so(make_rig: MakeRig, clock: SimClock) -> None:
    symbols = tuple(f"S{number}" for number in range(10))
    rig = make_rig(clock, symbols)
    assert rig.left_out == ["S8", "S9"]
    assert not Market(rig, clock).quote("S9")
    assert Market(rig, clock).quote("S7")


def test_marks_keep_what_a_frame_does_not_carry(rig: Rig, clock: SimClock, market: Market) -> None:
    market.take(MarkEvent("BTC", 100.0, 101.0, nan, nan, 5))
    mark_ns = clock.mono_ns()
    market.pass_ms(100)
    rig.publisher.figures([MarkEvent("BTC", nan, nan, nan, 1e9, 0)], clock.mono_ns())
    mark = rig.reader.mark(rig.slot("BTC"))
    assert isinstance(mark, MarkPrice)
    assert (mark.mark_px, mark.index_px, mark.volume_24h_usd, mark.exch_ts_ns) == (100.0, 101.0, 1e9, 5)
    assert isnan(mark.open_interest)
    assert mark.local_mono_ns == mark_ns  # the volume's arrival does not make the mark younger


def rate(value: float, interval_s: int, next_ns: int, kind: FundingKind = FundingKind.ESTIMATE) -> FundingEvent:
    return FundingEvent("BTC", FundingRate(value, interval_s, next_ns, kind, "test"))


def test_estimated_and_settled_funding_are_lines_of_their_own(rig: Rig, clock: SimClock, market: Market) -> None:
    hour = 3600 * NS_PER_S
    market.take(rate(0.0000125, 3600, 0))
    rig.publisher.figures([rate(0.00002, 3600, 17 * hour, FundingKind.SETTLED)], clock.mono_ns())
    estimate = rig.reader.funding(rig.slot("BTC"), FundingKind.ESTIMATE)
    settled = rig.reader.funding(rig.slot("BTC"), FundingKind.SETTLED)
    assert estimate is not None
    assert settled is not None
    assert estimate[0].next_funding_ts_ns == (clock.calendar_ns() // hour + 1) * hour
    assert estimate[0].apr == pytest.approx(0.1095)
    assert (settled[0].rate, settled[0].next_funding_ts_ns) == (0.00002, 17 * hour)


def test_a_settlement_beyond_its_interval_is_refused(make_rig: MakeRig, clock: SimClock) -> None:
    rig = make_rig(clock, whole_intervals=False)
    market = Market(rig, clock)
    eight_ns = 8 * 3600 * NS_PER_S
    next_ns = (clock.calendar_ns() // eight_ns + 1) * eight_ns
    next_ns += eight_ns if next_ns - clock.calendar_ns() < eight_ns // 2 + NS_PER_S * 61 else 0
    clock.advance_ns(max(0, next_ns - eight_ns + NS_PER_S - clock.calendar_ns()))
    market.take(rate(0.0001, 4 * 3600, next_ns))
    assert rig.reader.funding(rig.slot("BTC"), FundingKind.ESTIMATE) is None
    assert rig.count("funding_refused_total") == 1
    market.take(rate(0.0001, 8 * 3600, next_ns))
    assert rig.reader.funding(rig.slot("BTC"), FundingKind.ESTIMATE) is not None
    market.take(rate(0.0002, 8 * 3600, 0))  # this venue tells its settlements: 0 stays unknown
    entry = rig.reader.funding(rig.slot("BTC"), FundingKind.ESTIMATE)
    assert entry is not None
    assert entry[0].next_funding_ts_ns == 0


def test_liquidity_is_published_at_its_pace(rig: Rig, clock: SimClock, market: Market) -> None:
    levels = ((100.0, 5.0), (99.0, 10.0))
    market.take(DepthEvent("BTC", levels, ((101.0, 1.0),), market.sent_ns(MS)))
    found = rig.reader.liquidity(rig.slot("BTC"))
    assert isinstance(found, Liquidity)
    assert (found.size_usd, found.local_mono_ns) == (1000.0, clock.mono_ns())
    assert found.sell_px == pytest.approx(1000.0 / (5.0 + 500.0 / 99.0))
    assert isnan(found.buy_px)
    first_ns = clock.mono_ns()
    market.pass_ms(9_900)
    market.depth()
    found = rig.reader.liquidity(rig.slot("BTC"))
    assert isinstance(found, Liquidity)
    assert found.local_mono_ns == first_ns
    market.pass_ms(200)
    market.depth()
    found = rig.reader.liquidity(rig.slot("BTC"))
    assert isinstance(found, Liquidity)
    assert found.local_mono_ns == clock.mono_ns()


def test_executable_price() -> None:
    levels = ((100.0, 1.0), (110.0, 10.0))
    assert executable_px(levels, 100.0) == 100.0
    assert executable_px(levels, 50.0) == 100.0
    assert executable_px(levels, 210.0) == pytest.approx(105.0)
    assert executable_px(levels, 1200.0) == pytest.approx(1200.0 / 11.0)
    assert isnan(executable_px(levels, 1200.01))
    assert isnan(executable_px((), 1.0))


def test_one_bell_per_batch(rig: Rig, market: Market) -> None:
    rig.bells.pop()()  # of the installation
    for _ in range(10):
        market.quote("BTC")
    assert len(rig.bells) == 1
    rig.bells.pop()()
    market.take(ControlEvent(ControlKind.PONG, "pong"))
    assert rig.bells == []
    market.quote("BTC")
    assert len(rig.bells) == 1


def test_symbols_that_never_tick_are_found(rig: Rig, market: Market) -> None:
    market.depth("BTC")
    assert rig.publisher.silent_symbols(rig.clock.mono_ns(), NS_PER_S) == []  # both within their first second
    market.pass_ms(1500)
    market.depth("BTC")
    assert rig.publisher.silent_symbols(rig.clock.mono_ns(), NS_PER_S) == ["ETH"]


def test_symbols_with_a_quote_are_counted(rig: Rig, market: Market) -> None:
    rig.publisher.measure()
    assert rig.count("symbols") == 0
    market.quote("BTC")
    market.quote("ETH")
    rig.publisher.measure()
    assert rig.count("symbols") == 2


def test_the_recorder_behind_the_exchange_does_not_make_quotes_unusable(make_rig: MakeRig) -> None:
    """The recorder's clock is 1.27 s behind Binance: every frame comes "from the future", by the same amount."""
    frames = list(received_frames("frames/binance-spot-usdm-coinm/usdm.btcusdt_20240808.gz"))[:20_000]
    clock = SimClock(mono_ns=NS_PER_S, wire_ns=frames[0][0])
    rig = make_rig(clock, ("BTC",), whole_intervals=False)
    decoder = Decoder()
    decoder.load_catalogue([catalogue("BTC"), FUNDING_INFO], ())
    usable = 0
    for received_ns, frame in frames:
        clock.advance_ns(received_ns - clock.wire_ns())
        if b"lastUpdateId" in frame:
            continue
        if rig.publisher.take(decoder.decode(frame), 0, clock.mono_ns()):
            quote = rig.reader.quote(0)
            assert isinstance(quote, Quote)
            assert quote.flags == QuoteFlag.EXECUTABLE
            usable += 1
    assert usable > 10_000
    assert rig.count("late_quotes_total") == 0
    rig.publisher.measure()
    assert -1.28 < rig.count("median_lag_seconds") < -1.2
    clock.advance_ns(600 * MS)  # and a real stall of 600 ms is still seen through the skew
    late = QuoteEvent("BTC", 1.0, 1.0, 2.0, 1.0, clock.wire_ns() + 1270 * MS - 600 * MS, 2**60)
    rig.publisher.take([late], 0, clock.mono_ns())
    assert rig.live_quote("BTC").flags == QuoteFlag.INDICATIVE
