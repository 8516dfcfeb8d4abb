"""One stream against a small local server: lost, stalled, mute, garbled, refused, rotated; and what readers see of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from core.clock import SystemClock
from core.errors import ConfigError
from core.types import Down, Quote
from feeds import session as session_module
from feeds.pace import Pace
from feeds.session import Session, Wiring
from feeds.venues.base import FeedEvent, GapEvent
from feeds.venues.hyperliquid import Decoder
from feeds.wire import PublicReads, client
from tests.feeds.conftest import MakeRig
from tests.feeds.double import Double, Mood, until
from tests.feeds.rig import SETTINGS, Rig

META = json.dumps({"universe": [{"name": n, "szDecimals": 2, "maxLeverage": 5} for n in ("BTC", "ETH")]}).encode()


class GapDecoder(Decoder):
    """A venue with numbered frames: anything that calls itself a gap breaks BTC's sequence."""

    def decode(self, frame: bytes) -> list[FeedEvent]:
        return [GapEvent("BTC", "test")] if frame == b"gap" else super().decode(frame)


class Stage:
    """A session over a rig, talking to a double."""

    def __init__(
        self, rig: Rig, double: Double, wiring: Wiring, session: Session, task: asyncio.Task[NoReturn]
    ) -> None:
        self.rig = rig
        self.double = double
        self.wiring = wiring
        self.session = session
        self.task = task

    def is_quoted(self, symbol: str = "BTC") -> bool:
        self.rig.book.heartbeat(self.rig.clock.mono_ns())
        quote = self.rig.quote(symbol)
        return isinstance(quote, Quote) and quote.is_sound

    def is_down(self) -> bool:
        self.rig.book.heartbeat(self.rig.clock.mono_ns())
        return isinstance(self.rig.quote("BTC"), Down)

    @property
    def connects(self) -> int:
        return len(self.double.received)


def make_session(rig: Rig, url: str, http: object, decoder: Decoder) -> tuple[Wiring, Session]:
    decoder.load_catalogue([META], ())
    wiring = Wiring(
        decoder=decoder,
        publisher=rig.publisher,
        http=http,  # type: ignore[arg-type]
        reads=PublicReads(http, "http://127.0.0.1:9", Pace(10, 10, rig.clock)),  # type: ignore[arg-type]
        url=url,
        settings=SETTINGS,
        pace=Pace(100, 1000, rig.clock),
        meters=rig.meters,
        recorder=rig.recorder,
        clock=rig.clock,
        rng=random.Random(7),
        log=rig.log,
    )
    return wiring, Session(0, decoder.sockets()[0], wiring)


@pytest.fixture
async def stage(make_rig: MakeRig) -> AsyncIterator[Stage]:
    double = Double()
    await double.start()
    rig = make_rig(SystemClock())
    async with client() as http:
        wiring, session = make_session(rig, double.url, http, GapDecoder())
        task = asyncio.create_task(session.run())
        yield Stage(rig, double, wiring, session, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await double.stop()


async def test_connects_subscribes_and_publishes(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    assert stage.double.coins(0) == ["BTC", "ETH"]
    assert stage.double.coins(0, "activeAssetCtx") == ["BTC", "ETH"]
    assert stage.double.coins(0, "l2Book") == ["BTC", "ETH"]
    assert stage.rig.count("frames_total") > 0
    assert stage.rig.count("malformed_total") == 0  # the greeting is none
    assert stage.rig.count("decode_to_publish_seconds") > 0


async def test_a_disconnect_voids_and_everything_is_subscribed_again(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC"))
    await stage.double.stop()
    await until(stage.is_down)
    stage.double.received.clear()
    await stage.double.start()
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    assert stage.double.coins(0) == ["BTC", "ETH"]
    assert stage.rig.count("reconnects_total") >= 1
    assert not stage.task.done()


@pytest.mark.parametrize("mood", [Mood.STALL, Mood.MUTE])
async def test_a_silent_stall_is_left(stage: Stage, mood: Mood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pongs keep coming in the first case: they must not keep the watch quiet."""
    monkeypatch.setattr(stage.wiring.decoder, "ping_interval_s", 0.1)
    await until(lambda: stage.is_quoted("BTC"))
    stage.double.mood = mood
    await until(stage.is_down)
    await until(lambda: stage.connects >= 2)
    assert any("silent" in line for line in stage.rig.lines)
    stage.double.mood = Mood.SERVE
    await until(lambda: stage.is_quoted("BTC"))


async def test_a_missing_pong_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.wiring.decoder, "ping_interval_s", 0.1)
    monkeypatch.setattr(stage.wiring.decoder, "ping", lambda: b'{"method":"shrug"}')
    monkeypatch.setattr(session_module, "PONG_S", 0.3)
    await until(lambda: any("no pong" in line for line in stage.rig.lines))
    await until(lambda: stage.connects >= 2)


async def test_pongs_keep_a_lively_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.wiring.decoder, "ping_interval_s", 0.1)
    monkeypatch.setattr(session_module, "PONG_S", 0.3)
    await until(lambda: sum(frame["method"] == "ping" for frame in (stage.double.received or [[]])[0]) >= 8)
    assert stage.connects == 1


async def test_garbage_is_counted_dropped_and_no_life_sign(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC"))
    await stage.double.say("not json")
    await until(lambda: stage.rig.count("malformed_total") == 1)
    assert stage.connects == 1
    assert stage.is_quoted("BTC")
    stage.double.mood = Mood.GARBAGE
    await until(lambda: stage.connects >= 2)
    assert stage.rig.count("malformed_total") > 10
    stage.double.mood = Mood.SERVE
    await until(lambda: stage.is_quoted("BTC"))
    assert not stage.task.done()


async def test_drops_are_answered_with_growing_patience(stage: Stage) -> None:
    stage.double.mood = Mood.DROP
    await stage.double.stop()
    await stage.double.start()
    await until(lambda: stage.rig.count("reconnects_total") >= 6)
    waits = [json.loads(line)["retry_in_s"] for line in stage.rig.lines if '"stream_lost"' in line]
    assert all(wait <= SETTINGS.backoff_max_s for wait in waits)
    assert waits[0] <= SETTINGS.backoff_initial_s
    assert max(waits) >= SETTINGS.backoff_max_s / 2  # connections that die at once do not reset it
    stage.double.mood = Mood.SERVE
    await until(lambda: stage.is_quoted("BTC"))


async def test_a_refusal_for_the_rate_is_waited_out(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC"))
    stage.double.mood = Mood.REFUSE
    await stage.double.stop()
    await stage.double.start()
    refused = '"retry_in_s": 1.0'  # as Retry-After says, beyond our own back-off
    await until(lambda: any("stream_lost" in line and refused in line for line in stage.rig.lines))
    stage.double.mood = Mood.SERVE
    await until(lambda: stage.is_quoted("BTC"))


async def test_a_gap_is_voided_and_subscribed_again(stage: Stage) -> None:
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    await stage.double.say("gap")
    await until(lambda: len(stage.double.coins(0)) > 2)
    assert stage.double.coins(0) == ["BTC", "ETH", "BTC"]
    assert stage.rig.count("gaps_total") == 1
    await until(lambda: stage.is_quoted("BTC"))
    assert stage.connects == 1


async def test_rotation_overlaps_and_voids_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ROTATE_OVERLAP_S", 0.2)
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    monkeypatch.setattr(stage.wiring.decoder, "max_connection_s", 0.1)
    holes = 0
    while stage.rig.count("rotations_total") < 1:
        holes += not stage.is_quoted("BTC")
        await asyncio.sleep(0.01)
    assert holes == 0
    assert stage.connects == 2
    assert stage.double.coins(1) == ["BTC", "ETH"]
    await until(lambda: len(stage.double.sockets) == 1)
    assert stage.is_quoted("BTC")
    assert stage.rig.count("reconnects_total") == 0


async def test_a_failed_rotation_keeps_the_old_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ROTATE_OVERLAP_S", 0.2)
    await until(lambda: stage.is_quoted("BTC"))
    stage.double.mood = Mood.REFUSE
    keep_talking = asyncio.create_task(_talk(stage))
    monkeypatch.setattr(stage.wiring.decoder, "max_connection_s", 0.1)
    await until(lambda: any("rotation_failed" in line for line in stage.rig.lines))
    assert stage.is_quoted("BTC")
    assert stage.rig.count("reconnects_total") == 0
    keep_talking.cancel()


async def _talk(stage: Stage) -> None:
    for time_ms in range(1_790_100_000_000, 1_790_100_100_000, 20):
        await stage.double.say(stage.double.bbo("BTC", time_ms))
        await asyncio.sleep(0.02)


async def test_a_new_plan_rotates_to_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ROTATE_OVERLAP_S", 0.2)
    await until(lambda: stage.is_quoted("BTC") and stage.is_quoted("ETH"))
    stage.wiring.decoder.load_catalogue([META], ("ETH",))
    stage.session.replan(stage.wiring.decoder.sockets()[0])
    assert not stage.is_quoted("BTC")
    await until(lambda: stage.rig.count("rotations_total") == 1)
    assert stage.double.coins(1) == ["ETH"]
    assert stage.is_quoted("ETH")


async def test_an_impossible_address_is_the_operators_fault(make_rig: MakeRig) -> None:
    rig = make_rig(SystemClock())
    async with client() as http:
        _, session = make_session(rig, "nonsense://127.0.0.1", http, Decoder())
        with pytest.raises(ConfigError, match="rest_url and ws_url"):
            await session.run()


async def test_a_bug_in_a_decoder_is_not_hidden(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await until(lambda: stage.is_quoted("BTC"))

    def broken(frame: bytes) -> list[FeedEvent]:
        raise ZeroDivisionError

    monkeypatch.setattr(stage.wiring.decoder, "decode", broken)
    with pytest.raises(ZeroDivisionError):
        await stage.task
