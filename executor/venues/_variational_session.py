"""A session of Variational's web interface: opened by the wallet's signature, renewed before it ends (docs/venues/variational.md
6b). Or the token of a browser's session, pasted by the operator, which nobody can renew.

A token that the venue refused is not used again. Logins are few: two requests each out of `auth_per_min`, and a pause that
doubles while they fail. Nothing here logs out, whatever the venue says.
"""

from __future__ import annotations

import asyncio
import base64
import binascii

import msgspec

from core.clock import NS_PER_S, Clock
from core.errors import RateLimited, VenueError
from core.log import Log
from executor.http_lane import HttpLane, HttpRequest
from executor.signing.variational import Signer, session_headers
from executor.throttle import Throttle
from executor.venues._decoding import DECODE_ERRORS

RENEW_LEFT_S = 86_400  # of seven days
ASSUMED_LIFE_S = 3_600  # of a token that does not tell its end
LOOK_S = 30.0
PAUSE_S, PAUSE_MAX_S = 1.0, 300.0
GREETING = "omni.variational.io wants you to sign in with your Ethereum account:"
JSON = "application/json"


class _Claims(msgspec.Struct):
    exp: int


class _Login(msgspec.Struct):
    token: str


class Session:
    """`token` is "" while there is none that may be used."""

    def __init__(
        self,
        lane: HttpLane,
        address: str,
        signer: Signer | None,
        pasted: str,
        auth_per_min: int,
        clock: Clock,
        log: Log,
    ) -> None:
        self._lane = lane
        self._address = address
        self._signer = signer
        self._clock = clock
        self._log = log
        self._throttle = Throttle(auth_per_min, 0.0, clock)
        self._lock = asyncio.Lock()
        self._not_before_ns = 0  # mono
        self._failures = 0
        self.token = ""
        self._ends_ns = 0  # wire
        if signer is None:
            self._keep(pasted)

    @property
    def is_open(self) -> bool:
        return bool(self.token) and self._clock.wire_ns() < self._ends_ns

    def headers(self) -> tuple[tuple[str, str], ...]:
        return session_headers(self.token, self._address)

    def refused(self, token: str) -> None:
        """The venue does not take `token` any more."""
        if token and token == self.token:
            self._log.warning("session_refused", venue="variational", renewable=self._signer is not None)
            self.token = ""

    async def ensure(self) -> None:
        """A token that may be used. Raises VenueError when there is none and none can be had now."""
        async with self._lock:
            if self.is_open and not self._is_due():
                return
            if self._signer is None:
                if not self.is_open:
                    raise VenueError(
                        "variational: the pasted vr-token has ended; paste a new one, or give the wallet's key"
                    )
                return
            try:
                await self._login(self._signer)
            except VenueError as error:
                self._pause()
                if not self.is_open:
                    raise
                self._log.warning("session_not_renewed", venue="variational", detail=str(error))

    async def keep_open(self) -> None:
        """For ever: renew in time."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.ensure()
            except VenueError as error:
                self._log.warning("no_session", venue="variational", detail=str(error))

    def _is_due(self) -> bool:
        if self._signer is None:
            return False
        return self._ends_ns - self._clock.wire_ns() < RENEW_LEFT_S * NS_PER_S

    async def _login(self, signer: Signer) -> None:
        wait_ns = self._not_before_ns - self._clock.mono_ns()
        if wait_ns > 0:
            raise RateLimited("variational: the last login failed a moment ago", wait_ns / NS_PER_S)
        self._throttle.require(2.0, priority=True)
        address = msgspec.json.encode({"address": self._address})
        text = (await self._post("/auth/generate_signing_data", address)).decode("utf-8", "replace")
        if not text.startswith(GREETING) or self._address.lower() not in text.lower():
            raise VenueError("variational: what is to be signed is not a login of this wallet; nothing was signed")
        body = msgspec.json.encode({"address": self._address, "signed_message": signer.login(text)})
        try:
            token = msgspec.json.decode(await self._post("/auth/login", body), type=_Login).token
        except DECODE_ERRORS as error:
            raise VenueError(f"variational auth/login: {error}") from error
        self._failures = 0
        self._keep(token)
        self._log.info(
            "session_open", venue="variational", ends_in_s=(self._ends_ns - self._clock.wire_ns()) // NS_PER_S
        )

    async def _post(self, target: str, body: bytes) -> bytes:
        reply = await self._lane.fetch(HttpRequest("POST", target, body, JSON))
        if reply.status != 200:
            shown = reply.body[:200].decode("utf-8", "replace")
            raise VenueError(f"variational {target[1:]}: HTTP {reply.status}: {shown}")
        return reply.body

    def _keep(self, token: str) -> None:
        self.token = token
        self._ends_ns = end_of(token) or self._clock.wire_ns() + ASSUMED_LIFE_S * NS_PER_S

    def _pause(self) -> None:
        pause_s = min(PAUSE_MAX_S, PAUSE_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._not_before_ns = self._clock.mono_ns() + int(pause_s * NS_PER_S)


def end_of(token: str) -> int:
    """UTC ns of the end that a JWT tells; 0 when it tells none that can be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return 0
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
    except (*DECODE_ERRORS, binascii.Error, ValueError):
        return 0
    return claims.exp * NS_PER_S if 0 < claims.exp < 4_102_444_800 else 0
