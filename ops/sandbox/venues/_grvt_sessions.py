"""Sessions of the simulated GRVT: who is behind a cookie, and until when (docs/venues/grvt.md 6).

A login by API key, or by the wallet of the signer, gives a cookie and names the account; requests and handshakes carry both.
Sessions are not durable: after a restart everybody logs in again.
"""

from __future__ import annotations

import email.utils
from http.cookies import CookieError, SimpleCookie

import msgspec
from multidict import CIMultiDictProxy

from core.clock import NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues import _grvt_signing as signing
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.verify import keccak

COOKIE = "gravity"
ACCOUNT_HEADER = "X-Grvt-Account-Id"
ACCOUNT_QUERY = "x_grvt_account_id"
LIFE_NS = 24 * 3600 * NS_PER_S
MAX_SESSIONS = 1000


class Session(msgspec.Struct, frozen=True):
    """`token` is what the cookie holds, `address` the exchange's name of the account: the sub account's number."""

    token: str
    address: str
    expires_ns: int  # wire

    @property
    def account_id(self) -> str:
        return account_id(self.address)

    def headers(self) -> dict[str, str]:
        """Of the answer to a login."""
        expires = email.utils.formatdate(self.expires_ns // NS_PER_S, usegmt=True)
        cookie = f"{COOKIE}={self.token}; Path=/; Expires={expires}; HttpOnly; SameSite=None"
        return {"Set-Cookie": cookie, ACCOUNT_HEADER: self.account_id}


class Sessions:
    """Logins and what they opened."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._open: dict[str, Session] = {}
        self._count = 0

    def by_api_key(self, api_key: str) -> Session:
        """Raises ApiError."""
        address = self._exchange.master_of(agent_of(api_key)) if api_key else None
        if address is None:
            raise ApiError(Code.UNAUTHENTICATED)
        return self._begin(address)

    def by_wallet(self, body: Row) -> Session:
        """By a signature of the wallet that may trade for the account. Raises ApiError."""
        signature = body.get("signature")
        if not isinstance(signature, dict):
            raise ApiError(Code.MALFORMED)
        address = str(body.get("address", ""))
        signer = signing.check(signature, signing.login_hash(address, signature), self._clock.wire_ns())
        master = self._exchange.master_of(signer)
        if master is None or signer != address.lower():
            raise ApiError(Code.UNAUTHENTICATED)
        return self._begin(master)

    def of(self, headers: CIMultiDictProxy[str], query_account: str = "") -> Session:
        """Whose request this is. Raises ApiError."""
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(headers.get("Cookie", ""))
        except CookieError:
            raise ApiError(Code.UNAUTHENTICATED) from None
        session = self._open.get(cookie[COOKIE].value) if COOKIE in cookie else None
        if session is None or not self.is_live(session):
            raise ApiError(Code.UNAUTHENTICATED)
        if (headers.get(ACCOUNT_HEADER) or query_account) != session.account_id:
            raise ApiError(Code.UNAUTHENTICATED)
        return session

    def is_live(self, session: Session) -> bool:
        return session.token in self._open and self._clock.wire_ns() < session.expires_ns

    def expire_all(self) -> None:
        self._open.clear()

    def _begin(self, address: str) -> Session:
        now_ns, self._count = self._clock.wire_ns(), self._count + 1
        token = keccak(f"{address}:{now_ns}:{self._count}".encode()).hex()
        session = Session(token, address, now_ns + LIFE_NS)
        self._open[session.token] = session
        while len(self._open) > MAX_SESSIONS:
            del self._open[next(iter(self._open))]
        return session


def agent_of(api_key: str) -> str:
    """How an API key stands among an account's agents: the sandbox keeps no secret of it."""
    return f"api-key:{keccak(api_key.encode()).hex()}"


def account_id(address: str) -> str:
    """The main account that a trading account belongs to."""
    return f"ACC:{keccak(address.encode()).hex()[:27]}"


def main_address(address: str) -> str:
    """The same as an address on the venue's chain."""
    return "0x" + keccak(address.encode())[-20:].hex()
