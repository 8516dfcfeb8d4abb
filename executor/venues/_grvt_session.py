"""GRVT's session: a cookie by API key, renewed before it ends, and again when the venue no longer takes it (grvt.md 6).

    login -> cookie, account id, expiry -> ... AHEAD_S before the expiry -> login -> `on_renewed`
                                           a request answered 1000       -> login at once, `on_renewed`

Requests and handshakes carry the present session's headers. The API key and the cookie stand nowhere but here: no detail,
log line or repr shows them. A venue that refuses the login is asked again with pauses; reads then fail with its words.
"""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Callable

import msgspec

from core.clock import NS_PER_S, Clock
from core.errors import Malformed, RateLimited, VenueError
from core.log import Log
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.venues import _grvt_answers as answers
from executor.ws_lane import Headers

PATH = "/auth/api_key/login"
JSON = "application/json"
COOKIE = "gravity"
ACCOUNT_HEADER = "X-Grvt-Account-Id"
AHEAD_S = 10 * 60.0
ASSUMED_LIFE_S = 3600.0
"""Of a cookie that names no expiry. Every one that was seen names one, a day ahead; an hour costs a login too many at worst."""
LOGIN_EVERY_S = 5.0  # between logins, however often a session is refused
AGAIN_S = 10.0  # after a login that failed


class Session(msgspec.Struct, frozen=True):
    """`headers` go with every request; `expires_ns` is the venue's word (UTC)."""

    headers: tuple[tuple[str, str], ...]
    expires_ns: int

    def __repr__(self) -> str:
        return f"Session(until {self.expires_ns})"


class Sessions:
    """The one session of an API key. `on_renewed` is called after every login but the first."""

    def __init__(
        self, lane: HttpLane, api_key: Callable[[], str], on_renewed: Callable[[], None], clock: Clock, log: Log
    ) -> None:
        self._lane = lane
        self._api_key = api_key
        self._on_renewed = on_renewed
        self._clock = clock
        self._log = log
        self._session: Session | None = None
        self._asked = asyncio.Event()
        self._stale: Headers = ()  # of the session that was refused last
        self._login_lock = asyncio.Lock()
        self._login_ns = 0

    @property
    def headers(self) -> Headers:
        """Of the present session, empty before the first login."""
        return () if self._session is None else self._session.headers

    async def login(self) -> None:
        """The first session, or a new one unless another task has just got it. Raises VenueError in the venue's words,
        RateLimited where it says so."""
        stale = self.headers
        async with self._login_lock:
            if self.headers != stale:
                return
            body = msgspec.json.encode({"api_key": self._api_key()})
            reply = await self._lane.fetch(HttpRequest("POST", PATH, body, JSON, (("Cookie", "rm=true;"),)))
            if reply.status != 200:
                code = answers.error_of(reply)
                detail = f"grvt login: HTTP {reply.status}, code {code}"
                if code == answers.RATE_CODE or reply.status == answers.RATE_STATUS:
                    raise RateLimited(detail, AGAIN_S)
                raise VenueError(detail)
            renewed, self._session = self._session is not None, session_of(reply, self._clock.wire_ns())
            self._login_ns = self._clock.mono_ns()
        self._log.info("session_begun", venue="grvt", until_ns=self._session.expires_ns)
        if renewed:
            self._on_renewed()

    def refused(self, headers: Headers) -> None:
        """The venue no longer takes the session that `headers` belong to: a new one is asked for."""
        if headers == self.headers:
            self._stale = headers
            self._asked.set()

    async def renewed(self, headers: Headers) -> bool:
        """For a request that was refused: wait for another session than that of `headers`, by a login now unless one has
        just been made. False = there is none. Raises VenueError."""
        if headers != self.headers:
            return True
        if self._clock.mono_ns() - self._login_ns < LOGIN_EVERY_S * NS_PER_S:
            return False
        await self.login()
        return True

    async def keep(self) -> None:
        """Renew in time, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._left_s()):
                    await self._asked.wait()
            except TimeoutError:
                self._stale = self.headers
            self._asked.clear()
            if self._stale != self.headers:
                continue  # a request has logged in meanwhile
            pause_s = LOGIN_EVERY_S - (self._clock.mono_ns() - self._login_ns) / NS_PER_S
            await asyncio.sleep(max(0.0, pause_s))
            try:
                await self.login()
            except VenueError as error:
                self._log.error("session_not_renewed", venue="grvt", detail=str(error))
                self._asked.set()
                await asyncio.sleep(AGAIN_S)

    def _left_s(self) -> float:
        """Until it should be renewed: AHEAD_S before its end, or at half of a shorter life."""
        if self._session is None:
            return 0.0
        life_s = (self._session.expires_ns - self._clock.wire_ns()) / NS_PER_S
        return max(0.0, life_s - AHEAD_S, life_s / 2 if life_s < 2 * AHEAD_S else 0.0)


def session_of(reply: HttpReply, now_ns: int) -> Session:
    """The session that a login's answer brings. Raises Malformed when it brings none, whatever its body says."""
    account = reply.headers.get(ACCOUNT_HEADER.lower(), "")
    for line in reply.headers.get("set-cookie", "").split("\n"):
        pair, *attributes = line.split(";")
        name, _, token = pair.strip().partition("=")
        if name == COOKIE and token and account:
            headers = (("Cookie", f"{COOKIE}={token}"), (ACCOUNT_HEADER, account))
            return Session(headers, _expiry_ns(attributes) or now_ns + int(ASSUMED_LIFE_S * NS_PER_S))
    raise Malformed("grvt login: answered 200 without a session's cookie and account id")


def _expiry_ns(attributes: list[str]) -> int:
    """`Expires` as UTC ns; 0 = not told. The text is GMT, whatever this machine's zone."""
    for attribute in attributes:
        name, _, value = attribute.strip().partition("=")
        if name.lower() == "expires":
            try:
                return int(email.utils.parsedate_to_datetime(value).timestamp()) * NS_PER_S
            except (ValueError, TypeError):
                return 0
    return 0
