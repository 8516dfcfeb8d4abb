"""A feed without a socket: it is up while answers come, void when none do, and goes on by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from core.clock import SystemClock
from core.specs import variational as specs
from core.types import Quote, QuoteFlag
from feeds.pace import Pace
from feeds.polling import Polling
from feeds.session import Wiring
from feeds.venues.variational import Decoder
from feeds.wire import PublicReads, client
from tests.executor.sandbox_process import eventually
from tests.feeds.conftest import MakeRig
from tests.feeds.rig import SETTINGS, Rig, instrument
from tests.feeds.test_decode_variational import BTC, edited, stats


class Venue:
    """Statistics over HTTP; `status` and `body` are what it says next."""

    def __init__(self) -> None:
        self.status = 200
        self.body = stats(BTC)
        self.asked = 0
        self.headers: dict[str, str] = {}

    async def serve(self, request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, body=self.body, headers=self.headers)


class Bed:
    def __init__(self, rig: Rig, venue: Venue, polling: Polling, task: asyncio.Task[Any]) -> None:
        self.rig = rig
        self.venue = venue
        self.polling = polling
        self.task = task

    @property
    def is_up(self) -> bool:
        self.rig.book.heartbeat(self.rig.clock.mono_ns())
        return self.rig.reader.status()[0]

    def shown(self) -> Quote | None:
        quote = self.rig.reader.peek(self.rig.slot("BTC"))
        return quote if isinstance(quote, Quote) and quote.bid_px else None

    async def until(self, condition: Any) -> None:
        await eventually(condition, 10.0)


@pytest.fixture
async def bed(make_rig: MakeRig) -> AsyncIterator[Bed]:
    clock, venue = SystemClock(), Venue()
    rig = make_rig(clock, ("BTC",), venue=specs.VENUE)
    application = web.Application()
    application.router.add_get("/metadata/stats", venue.serve)
    runner = web.AppRunner(application, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    decoder = Decoder()
    decoder.load_catalogue([venue.body], ())
    (plan,) = decoder.sockets()
    async with client() as http:
        wiring = Wiring(
            decoder=decoder, publisher=rig.publisher, http=http, reads=PublicReads(http, url, Pace(1000, 1000, clock)),
            url="", settings=msgspec.structs.replace(SETTINGS, silence_reconnect_s=0.2), pace=Pace(10, 10, clock),
            meters=rig.meters, recorder=rig.recorder, clock=clock, rng=random.Random(3), log=rig.log,
        )  # fmt: skip
        polling = Polling(0, plan._replace(every_s=0.02), wiring)
        task = asyncio.create_task(polling.run())
        yield Bed(rig, venue, polling, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()


async def test_answers_become_indicative_quotes_again_and_again(bed: Bed) -> None:
    await bed.until(lambda: bed.is_up and bed.shown())
    quote = bed.shown()
    assert quote is not None
    assert quote.flags == QuoteFlag.INDICATIVE
    assert (quote.bid_px, quote.ask_px) == (63344.45, 63349.06)
    newer = {"updated_at": "2026-08-13T16:02:05Z", "size_1k": {"bid": "63350", "ask": "63351"}}
    bed.venue.body = stats(edited(quotes=newer))
    await bed.until(lambda: (now := bed.shown()) and now.bid_px == 63350)
    assert bed.polling.state == "live"
    asked = bed.venue.asked
    await bed.until(lambda: bed.venue.asked > asked + 2)


@pytest.mark.parametrize("trouble", ["status", "body", "other"])
async def test_silence_voids_everything_and_the_next_answer_heals(bed: Bed, trouble: str) -> None:
    await bed.until(lambda: bed.is_up and bed.shown())
    good = bed.venue.body
    if trouble == "status":
        bed.venue.status = 503
    else:
        bed.venue.body = b"{" if trouble == "body" else stats(edited(ticker="ELSE"))
    await bed.until(lambda: not bed.is_up)
    assert bed.shown() is None
    assert bed.polling.state.startswith("waiting")
    bed.venue.status, bed.venue.body = 200, good
    await bed.until(lambda: bed.is_up and bed.shown())
    assert bed.rig.count("reconnects_total") == 1
    assert not bed.task.done()


async def test_one_bad_answer_is_no_silence(bed: Bed) -> None:
    await bed.until(lambda: bed.is_up and bed.shown())
    good, bed.venue.body = bed.venue.body, b"<html>"
    before = bed.venue.asked
    await bed.until(lambda: bed.venue.asked > before)
    bed.venue.body = good
    await bed.until(lambda: bed.rig.count("malformed_total") > 0)
    assert bed.is_up
    assert bed.shown() is not None


async def test_a_ban_is_waited_out(bed: Bed) -> None:
    bed.venue.status, bed.venue.headers = 429, {"Retry-After": "30"}
    await bed.until(lambda: bed.polling.state.startswith("waiting 30"))
    asked = bed.venue.asked
    await asyncio.sleep(0.1)
    assert bed.venue.asked == asked


async def test_a_new_plan_is_read_from_then_on(bed: Bed) -> None:
    bed.rig.publisher.install([instrument("BTC"), instrument("ETH")])
    decoder = Decoder()
    bed.venue.body = stats(BTC, edited(ticker="ETH", mark_price="1885"))
    decoder.load_catalogue([bed.venue.body], ())
    bed.polling._wiring.decoder.load_catalogue([bed.venue.body], ())
    bed.polling.replan(decoder.sockets()[0]._replace(every_s=0.02))
    await bed.until(lambda: isinstance(bed.rig.reader.peek(bed.rig.slot("ETH")), Quote))
    assert bed.polling.plan.symbols == ("BTC", "ETH")
