"""Lighter's stream kept alive: gaps healed by leave and enter, refusals asked again, pings answered, planned closes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from math import isnan

import pytest

from core.clock import SystemClock
from core.types import Liquidity, Quote, Venue
from feeds import session as session_module
from feeds.pace import Pace
from feeds.session import Session, Wiring
from feeds.venues.lighter import Decoder
from feeds.wire import PublicReads, client
from tests.core.test_specs_lighter import answer, row
from tests.feeds.conftest import MakeRig
from tests.feeds.double import until
from tests.feeds.lighter_double import LighterDouble, Line
from tests.feeds.rig import SETTINGS, Rig

CATALOGUE = answer(row(), row(symbol="BTC", market_id=1))


class Stage:
    def __init__(self, rig: Rig, double: LighterDouble, decoder: Decoder, session: Session) -> None:
        self.rig = rig
        self.double = double
        self.decoder = decoder
        self.session = session

    def is_quoted(self, symbol: str) -> bool:
        self.rig.book.heartbeat(self.rig.clock.mono_ns())
        quote = self.rig.quote(symbol)
        return isinstance(quote, Quote) and quote.is_sound

    def is_followed(self, symbol: str) -> bool:
        """The quote is that of the venue, now."""
        quote = self.rig.quote(symbol)
        return isinstance(quote, Quote) and quote.is_sound and self.double.bid - quote.bid_px < 30e-6

    def said(self, event: str) -> int:
        return sum(f'"event": "{event}"' in line for line in self.rig.lines)

    @property
    def first(self) -> Line:
        return self.double.lines[0]


@pytest.fixture
async def double() -> AsyncIterator[LighterDouble]:
    double = LighterDouble()
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
async def stage(make_rig: MakeRig, double: LighterDouble) -> AsyncIterator[Stage]:
    rig = make_rig(SystemClock(), ("BTC", "ETH"), venue=Venue("lighter"))
    decoder = Decoder()
    decoder.load_catalogue([CATALOGUE], ())
    async with client() as http:
        wiring = Wiring(
            decoder=decoder, publisher=rig.publisher, http=http,
            reads=PublicReads(http, "http://127.0.0.1:9", Pace(10, 10, rig.clock)), url=double.url, settings=SETTINGS,
            pace=Pace(100, 1000, rig.clock), meters=rig.meters, recorder=rig.recorder,
            clock=rig.clock, rng=random.Random(7), log=rig.log,
        )  # fmt: skip
        session = Session(0, decoder.sockets()[0], wiring)
        task = asyncio.create_task(session.run())
        yield Stage(rig, double, decoder, session)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def both_live(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))


async def test_subscribes_and_publishes(stage: Stage) -> None:
    await both_live(stage)
    assert stage.first.asked("subscribe") == [
        "ticker/0",
        "ticker/1",
        "market_stats/all",
        "order_book/0",
        "order_book/1",
    ]
    await until(lambda: stage.is_followed("BTC"))
    slot = stage.rig.slot("BTC")
    await until(lambda: isinstance(stage.rig.reader.liquidity(slot), Liquidity))
    liquidity = stage.rig.reader.liquidity(slot)
    assert isinstance(liquidity, Liquidity)
    assert isnan(liquidity.buy_px)  # 200 USD are all there is
    assert stage.rig.count("malformed_total") == 0
    assert stage.rig.count("gaps_total") == 0


async def test_a_lost_difference_is_a_gap_healed_on_the_same_connection(stage: Stage) -> None:
    await both_live(stage)
    await until(lambda: len(stage.first.asked("subscribe")) == 5)
    stage.double.lose.add(1)
    await until(lambda: stage.rig.count("gaps_total") == 1)
    await until(lambda: stage.first.asked("unsubscribe") == ["order_book/1"])
    await until(lambda: stage.first.asked("subscribe")[5:] == ["order_book/1"])
    healed = len(stage.first.sent)
    await until(lambda: stage.is_followed("BTC") and stage.is_followed("ETH"))
    assert len(stage.first.sent) == healed
    assert stage.rig.count("gaps_total") == 1
    assert len(stage.double.lines) == 1
    assert not any("30003" in line for line in stage.rig.lines)


async def test_at_a_gap_the_quote_is_void_until_a_newer_frame(stage: Stage) -> None:
    await both_live(stage)
    stage.double.is_lively = False
    nonce = stage.double.nonce
    torn = stage.double._book(1, "update", nonce + 50)
    torn["order_book"]["nonce"] = nonce + 60
    await stage.double.say(torn)
    await until(lambda: not stage.is_quoted("BTC"))
    assert stage.is_quoted("ETH")
    older = stage.double._ticker(1, "update")
    older["nonce"] = nonce - 10
    await stage.double.say(older)  # reordered: it must not become the truth
    await until(lambda: stage.rig.count("out_of_order_total") >= 1)
    assert not stage.is_quoted("BTC")
    await until(lambda: stage.is_quoted("BTC"))  # by the fresh snapshot
    assert stage.first.asked("unsubscribe") == ["order_book/1"]


async def test_an_unanswered_subscription_is_asked_for_again(
    stage: Stage, double: LighterDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "ANSWER_S", 0.3)
    double.deaf_to |= {"ticker/1", "order_book/1", "market_stats/all"}
    await until(lambda: stage.is_quoted("ETH"))
    assert not stage.is_quoted("BTC")
    await until(lambda: stage.is_followed("BTC"))
    assert stage.said("subscriptions_unanswered") >= 2  # one round to leave, one to enter
    assert len(double.lines) == 1


async def test_answered_subscriptions_are_not_asked_for_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await both_live(stage)
    stats = {"1": {"market_id": 1, "index_price": "100", "mark_price": "100"}}
    await stage.double.say({"channel": "market_stats:all", "type": "subscribed/market_stats", "market_stats": stats})
    await until(lambda: len(stage.first.asked("subscribe")) == 5)
    frames = stage.rig.count("frames_total")
    await until(lambda: stage.rig.count("frames_total") > frames)
    monkeypatch.setattr(session_module, "ANSWER_S", 0.05)
    await asyncio.sleep(0.8)  # several looks
    assert stage.said("subscriptions_unanswered") == 0
    assert len(stage.first.sent) == 5


async def test_pings_go_both_ways(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.decoder, "ping_interval_s", 0.1)
    await both_live(stage)
    await stage.double.say({"type": "ping"})
    await until(lambda: {"type": "pong"} in stage.first.sent)
    await until(lambda: stage.first.sent.count({"type": "ping"}) >= 3)
    assert len(stage.double.lines) == 1


async def test_pongs_do_not_hide_a_stall(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.decoder, "ping_interval_s", 0.1)
    await both_live(stage)
    stage.double.is_lively = False
    await until(lambda: any("silent: no market data" in line for line in stage.rig.lines))
    stage.double.is_lively = True
    await until(lambda: len(stage.double.lines) >= 2 and stage.is_followed("BTC"))


async def test_an_announced_close_is_left_before_it_comes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ROTATE_OVERLAP_S", 0.2)
    await both_live(stage)
    await stage.double.say({"type": "shutdown", "close_in_ms": 5000})
    holes: list[int] = []

    def is_rotated() -> bool:
        if not stage.is_quoted("BTC"):
            holes.append(len(stage.double.lines))
        return stage.rig.count("rotations_total") == 1

    await until(is_rotated)
    assert not holes
    await until(lambda: stage.first.ws.closed)
    await until(lambda: stage.is_followed("BTC") and stage.is_followed("ETH"))
    assert len(stage.double.lines) == 2
    assert stage.rig.count("reconnects_total") == 0


async def test_two_connections_at_once_have_a_chain_each(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stream rotates, both speak of the same books with other numbers in between."""
    monkeypatch.setattr(session_module, "ROTATE_OVERLAP_S", 0.5)
    await both_live(stage)
    monkeypatch.setattr(stage.decoder, "max_connection_s", 0.1)
    await until(lambda: stage.rig.count("rotations_total") == 1)
    monkeypatch.setattr(stage.decoder, "max_connection_s", 0.0)
    await until(lambda: stage.is_followed("BTC") and stage.is_followed("ETH"))
    assert stage.rig.count("gaps_total") == 0
    assert stage.rig.count("malformed_total") == 0
    assert stage.rig.count("reconnects_total") == 0


async def test_the_venues_refusals_are_shown_and_break_nothing(stage: Stage) -> None:
    await both_live(stage)
    await stage.double.say({"error": {"code": 30005, "message": "Invalid Channel:  (marketId)"}})
    await until(lambda: stage.rig.count("venue_errors_total") == 1)
    assert any("Invalid Channel" in line for line in stage.rig.lines)
    assert stage.is_quoted("BTC")
    assert len(stage.double.lines) == 1
