"""GRVT's session against a scripted server: begun, renewed in time, renewed when refused, and never shown."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from core.clock import NS_PER_S, SystemClock
from core.errors import Malformed, RateLimited, VenueError
from executor.background import Background
from executor.http_lane import HttpLane
from executor.venues import _grvt_session
from executor.venues._grvt_session import Sessions
from tests.executor.local_servers import LogLines, http_reply, read_request, serve, until

API_KEY = "the-secret-api-key"
CLOCK = SystemClock()


class Venue:
    """Answers logins: a new token each time, good for `life_s`; or with `status` and `code`."""

    def __init__(self) -> None:
        self.life_s = 86_400.0
        self.status, self.code = 200, 0
        self.asked: list[str] = []
        self.with_cookie = True

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            assert head.startswith("POST /auth/api_key/login HTTP/1.1")
            assert "\r\nCookie: rm=true;\r\n" in head
            self.asked.append(json.loads(body)["api_key"])
            if self.status != 200:
                writer.write(http_reply(json.dumps({"code": self.code, "message": "no"}).encode(), self.status))
                continue
            expires = email.utils.formatdate(CLOCK.wire_ns() / NS_PER_S + self.life_s, usegmt=True)
            cookie = (
                f"Set-Cookie: gravity=token-{len(self.asked)}; Path=/; Expires={expires}\r\n"
                if self.with_cookie
                else ""
            )
            extra = f"Set-Cookie: AWSALB=x; Path=/\r\n{cookie}X-Grvt-Account-Id: ACC:1\r\n"
            writer.write(http_reply(b'{"location":"","status":"success"}', 200, extra))


@asynccontextmanager
async def sessions(venue: Venue, renewals: list[int]) -> AsyncIterator[tuple[Sessions, LogLines]]:
    out = LogLines()
    async with serve(venue) as port:
        lane = HttpLane(
            f"http://127.0.0.1:{port}", size=1, timeout_s=2.0, clock=CLOCK, rng=random.Random(1), log=out.log
        )
        await lane.start()
        yield Sessions(lane, lambda: API_KEY, lambda: renewals.append(1), CLOCK, out.log), out
        await lane.close()
    assert not out.has(API_KEY)
    assert not out.has("token-")


async def test_a_login_gives_the_headers_and_calls_nobody() -> None:
    venue, renewals = Venue(), []  # type: ignore[var-annotated]
    async with sessions(venue, renewals) as (held, _):
        assert held.headers == ()
        await held.login()
        assert held.headers == (("Cookie", "gravity=token-1"), ("X-Grvt-Account-Id", "ACC:1"))
        assert (venue.asked, renewals) == ([API_KEY], [])


async def test_it_is_renewed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of three seconds is renewed after half of them; one of a day waits."""
    monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 0.0)
    venue, renewals, background = Venue(), [], Background()  # type: ignore[var-annotated]
    venue.life_s = 3.0
    async with sessions(venue, renewals) as (held, _):
        await held.login()
        ends_ns = CLOCK.wire_ns() + int(venue.life_s * NS_PER_S)
        venue.life_s = 86_400.0
        background.spawn(held.keep())
        await until(lambda: renewals)
        assert CLOCK.wire_ns() < ends_ns
        assert held.headers[0] == ("Cookie", "gravity=token-2")
        assert 86_400 - 700 < held._left_s() < 86_400 - 500  # ten minutes ahead of its end
        await background.close()


async def test_a_refused_session_is_renewed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 0.0)
    venue, renewals, background = Venue(), [], Background()  # type: ignore[var-annotated]
    async with sessions(venue, renewals) as (held, _):
        await held.login()
        background.spawn(held.keep())
        stale = held.headers
        held.refused(stale)
        assert await asyncio.gather(*(held.renewed(stale) for _ in range(5))) == [True] * 5
        await until(lambda: len(renewals) == 1)
        held.refused(stale)  # of a request that was on its way: the session is another by now
        assert await held.renewed(stale)
        assert len(venue.asked) == 2
        await background.close()


async def test_logins_are_not_made_one_after_the_other() -> None:
    venue = Venue()
    async with sessions(venue, []) as (held, _):
        await held.login()
        assert not await held.renewed(held.headers)  # it has just been made
        assert len(venue.asked) == 1


async def test_logins_that_fail_say_so_and_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_grvt_session, "LOGIN_EVERY_S", 0.0)
    monkeypatch.setattr(_grvt_session, "AGAIN_S", 0.02)
    venue, renewals, background = Venue(), [], Background()  # type: ignore[var-annotated]
    async with sessions(venue, renewals) as (held, out):
        for status, code, kind in ((401, 1000, VenueError), (401, 1008, VenueError), (429, 1006, RateLimited)):
            venue.status, venue.code = status, code
            with pytest.raises(kind, match=str(code)):
                await held.login()
        venue.status, venue.with_cookie = 200, False
        with pytest.raises(Malformed, match="without a session"):
            await held.login()
        venue.with_cookie = True
        await held.login()
        venue.status, venue.code = 503, 1009
        background.spawn(held.keep())
        held.refused(held.headers)
        await until(lambda: out.has("session_not_renewed"))
        venue.status = 200
        await until(lambda: renewals)
        await background.close()
