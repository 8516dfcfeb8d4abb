"""Misbehaviour on command: what a simulated venue does wrong while somebody asks for it, one `Faults` per venue.

    REST     a middleware around the venue's application: refuse before the handler, spoil or lose its answer after it
    sockets  `Connection.send` hands every frame to `pass_frame` while a fault is in force; posts over a socket go through
             `Connection.act`, which is to them what the middleware is to REST
    clock    the venue and its exchange read a `VenueClock`, so a skew shows in everything they say and judge by
    fills    the exchange asks `fill_share` before an order is matched

The venue files know nothing of this but their `Dialect`: how its own traffic is told apart and how it words a refusal.
While no fault is in force the cost is one test per frame and request. Faults are kept in memory only: a sandbox that is
started again behaves. What was refused: faults inside the venue files, where each would be written once per venue and
would stay a part of the code that official SDKs are judged against.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple, Protocol

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from core.clock import NS_PER_MS, NS_PER_S, Clock
from ops.sandbox.fault_kinds import RULES, Dialect, Kind, Reply, Traffic
from ops.sandbox.garbage import garble

MAX_FAULTS = 64  # in force at once, per venue
MAX_FINISHED = 32  # remembered for `list`
SILENCE_S = 60.0  # a lost answer holds its connection at most this long
SILENCE_LOOK_S = 0.05


class Fault(msgspec.Struct, kw_only=True):
    """One fault in force, or finished. `left` 0 = no limit; `ends_mono_ns` 0 = none."""

    number: int
    kind: Kind
    traffic: tuple[Traffic, ...]
    value: float
    way: str
    left: int
    ends_mono_ns: int
    hits: int = 0


class FaultRefused(Exception):
    """What was asked for does not exist; the text says what does."""


class After(NamedTuple):
    """What becomes of an answer. At most one of `loss`, `reply` and `garbage` is set."""

    delay_s: float = 0.0
    loss: str = ""  # a way of LOST_ANSWER
    reply: Reply | None = None
    garbage: str = ""


class Link(Protocol):
    """What `pass_frame` needs of a connection."""

    @property
    def may_carry(self) -> frozenset[Traffic]: ...
    @property
    def carried(self) -> set[Traffic]: ...
    def drop(self) -> None: ...
    @property
    def is_holding(self) -> bool: ...
    def hold(self, frame: bytes, binary: bool, frames: int) -> None:
        """Keep a frame back until so many others have passed; one at a time."""

    def push(self, frame: bytes, binary: bool = False, due_mono_ns: int = 0) -> None:
        """Queue one frame, to be written no earlier than `due_mono_ns` and after what was queued before it."""

    def release(self) -> None:
        """One frame has passed: held ones come nearer."""


class VenueClock:
    """A venue's own clock: the machine's, off by `offset_ns` where it says what time it is (not in its calendar)."""

    __slots__ = ("_base", "offset_ns")

    def __init__(self, base: Clock) -> None:
        self._base = base
        self.offset_ns = 0

    def mono_ns(self) -> int:
        return self._base.mono_ns()

    def wire_ns(self) -> int:
        return self._base.wire_ns() + self.offset_ns

    def calendar_ns(self) -> int:
        return self._base.calendar_ns()


class Faults:
    """The faults of one venue. `expire_auth` ends what its open streams stand on, for EXPIRED_AUTH of private traffic."""

    def __init__(
        self, dialect: Dialect, clock: VenueClock, rng: random.Random, expire_auth: Callable[[], None]
    ) -> None:
        self._dialect = dialect
        self._clock = clock
        self._rng = rng
        self._expire_auth = expire_auth
        self._active: list[Fault] = []
        self._finished: deque[Fault] = deque(maxlen=MAX_FINISHED)
        self._links: set[Link] = set()
        self._last_number = 0

    # -- asking -----------------------------------------------------------------------------------------------------

    @property
    def in_force(self) -> bool:
        return bool(self._active)

    def add(
        self, kind: Kind, traffic: tuple[Traffic, ...] = (), value: float | None = None, way: str = "", times: int = 0,
        for_s: float = 0.0,
    ) -> Fault:  # fmt: skip
        """Put a fault in force; it ends after `times` strikes or `for_s` seconds, whichever comes first (0 = neither).
        Raises FaultRefused."""
        fault = self._read(kind, traffic, value, way, times, for_s)
        if kind is Kind.DISCONNECT:
            self._drop_present(fault)
            if not times and not for_s:
                self._finished.append(fault)
                return fault
        if kind is Kind.EXPIRED_AUTH and Traffic.PRIVATE in fault.traffic:
            self._expire_auth()
            fault.hits += 1
            fault.traffic = tuple(each for each in fault.traffic if each is not Traffic.PRIVATE)
            if not fault.traffic:
                self._finished.append(fault)
                return fault
        self._active.append(fault)
        self._set_clock()
        return fault

    def clear(self, number: int = 0) -> int:
        """End one fault, or all (0); how many there were."""
        ending = [fault for fault in self._active if number in (0, fault.number)]
        for fault in ending:
            self._finish(fault)
        return len(ending)

    def listed(self) -> tuple[list[Fault], list[Fault]]:
        """In force, and the last that ended."""
        self.prune()
        return list(self._active), list(self._finished)

    def prune(self) -> None:
        """End what has had its time. Called by the sandbox's housekeeping."""
        now_ns = self._clock.mono_ns()
        for fault in [each for each in self._active if each.ends_mono_ns and now_ns >= each.ends_mono_ns]:
            self._finish(fault)

    # -- sockets ----------------------------------------------------------------------------------------------------

    def of_upgrade(self, path: str) -> frozenset[Traffic]:
        return self._dialect.of_upgrade(path)

    def of_frame(self, frame: bytes) -> Traffic | None:
        return self._dialect.of_frame(frame)

    def joined(self, link: Link) -> None:
        self._links.add(link)

    def left(self, link: Link) -> None:
        self._links.discard(link)

    def mono_ns(self) -> int:
        return self._clock.mono_ns()

    def pass_frame(self, link: Link, frame: bytes) -> None:
        """Send `frame` on `link`, or do to it what is in force."""
        traffic = self._dialect.of_frame(frame)
        if traffic is None:
            link.push(frame)
            return
        if self._strike(Kind.DISCONNECT, traffic):
            link.drop()
            return
        if self._strike(Kind.STALL, traffic):
            return
        if self._dialect.is_book(frame) and self._strike(Kind.GAP, traffic):
            return
        binary = False
        if rubbish := self._strike(Kind.GARBAGE, traffic):
            frame, binary = garble(frame, rubbish.way, self._rng)
        late = self._strike(Kind.SLOW, traffic)
        due_ns = self._clock.mono_ns() + int(late.value * NS_PER_MS) if late else 0
        reorder = None if link.is_holding else self._strike(Kind.REORDER, traffic)
        if reorder:
            link.hold(frame, binary, int(reorder.value))
            return
        again = self._strike(Kind.DUPLICATE, traffic)
        for _ in range(1 + (int(again.value) if again else 0)):
            link.push(frame, binary, due_ns)
        link.release()

    # -- requests ---------------------------------------------------------------------------------------------------

    def breaks(self, traffic: Traffic) -> bool:
        """Whether the connection ends before the request is read."""
        return self._strike(Kind.DISCONNECT, traffic) is not None

    def refusal(self, traffic: Traffic) -> Reply | None:
        """The answer to give instead of doing what was asked."""
        if fault := self._strike(Kind.HTTP_ERROR, traffic, "refused"):
            return self._dialect.http_error(int(fault.value))
        if self._strike(Kind.REJECTED_NONCE, traffic):
            return self._dialect.refused_nonce()
        if self._strike(Kind.EXPIRED_AUTH, traffic):
            return self._dialect.expired_auth()
        return None

    def after(self, traffic: Traffic) -> After:
        """What becomes of the answer to something that was done."""
        late = self._strike(Kind.SLOW, traffic)
        delay_s = late.value / 1000 if late else 0.0
        if lost := self._strike(Kind.LOST_ANSWER, traffic):
            return After(delay_s, loss=lost.way)
        if fault := self._strike(Kind.HTTP_ERROR, traffic, "executed"):
            return After(delay_s, reply=self._dialect.http_error(int(fault.value)))
        if rubbish := self._strike(Kind.GARBAGE, traffic):
            return After(delay_s, garbage=rubbish.way)
        return After(delay_s)

    def spoil(self, body: bytes, way: str) -> bytes:
        return garble(body, way, self._rng)[0]

    def fill_share(self) -> Decimal | None:
        """The part of its size that the order at hand may find; None = all that there is."""
        if not self._active:
            return None
        fault = self._strike(Kind.PARTIAL_FILL, Traffic.ORDERS)
        return Decimal(repr(fault.value)) if fault else None

    @property
    def middleware(self) -> Middleware:
        """For the venue's application."""

        @web.middleware
        async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not self._active:
                return await handler(request)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return _broken(request) if self._refuses_socket(request) else await handler(request)
            response = await self._answer(request, handler)
            if self._clock.offset_ns:
                response.headers["Date"] = email.utils.formatdate(self._clock.wire_ns() / NS_PER_S, usegmt=True)
            return response

        return misbehave

    def _refuses_socket(self, request: web.Request) -> bool:
        """While a disconnect lasts, no stream opens that could carry nothing but what it strikes."""
        carries = self.of_upgrade(request.path_qs)
        return any(fault.kind is Kind.DISCONNECT and carries <= {*fault.traffic} for fault in self._active)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        traffic = self._dialect.of_request(request.method, request.path_qs, await request.read())
        if self.breaks(traffic):
            return _broken(request)
        refused = self.refusal(traffic)
        if refused is not None:
            return _response(refused)
        response = await handler(request)
        after = self.after(traffic)
        if after.delay_s:
            await asyncio.sleep(after.delay_s)
        if after.loss:
            if after.loss == "silent":
                await _silence(request)
            return _broken(request)
        if after.reply is not None:
            return _response(after.reply)
        if after.garbage and isinstance(response, web.Response) and isinstance(response.body, bytes):
            return web.Response(status=response.status, body=self.spoil(response.body, after.garbage))
        return response

    # -- leaf helpers -----------------------------------------------------------------------------------------------

    def _read(
        self, kind: Kind, traffic: tuple[Traffic, ...], value: float | None, way: str, times: int, for_s: float
    ) -> Fault:
        """Check what was asked against its rule and fill in what was not said."""
        rule = RULES[kind]
        allowed = [t for t in rule.allowed if kind is not Kind.EXPIRED_AUTH or t in self._dialect.auth]
        wrong = [each.value for each in traffic if each not in allowed]
        if wrong:
            raise FaultRefused(f"{kind.value} on {', '.join(wrong)}: here it can strike {_words(allowed)}")
        if value is not None and rule.value is None:
            raise FaultRefused(f"{kind.value} takes no value")
        if rule.value is not None:
            value = rule.value.default if value is None else value
            if not rule.value.low <= value <= rule.value.high:
                raise FaultRefused(f"{kind.value}: {rule.value.unit} must be {rule.value.low:g} to {rule.value.high:g}")
        if way and way not in rule.ways:
            raise FaultRefused(f"{kind.value} has no way {way!r}; there are {', '.join(rule.ways).strip() or 'none'}")
        if times < 0 or not 0 <= for_s <= 86_400:
            raise FaultRefused(f"{kind.value}: times must be at least 0, seconds 0 to 86400")
        if len(self._active) >= MAX_FAULTS:
            raise FaultRefused(f"{MAX_FAULTS} faults are in force; clear some first")
        self._last_number += 1
        usual = tuple(each for each in rule.usual if each in allowed)
        return Fault(
            number=self._last_number,
            kind=kind,
            traffic=traffic or usual,
            value=value or 0.0,
            way=way or rule.ways[0],
            left=times or (0 if for_s else rule.times),
            ends_mono_ns=self._clock.mono_ns() + int(for_s * NS_PER_S) if for_s else 0,
        )

    def _strike(self, kind: Kind, traffic: Traffic, way: str = "") -> Fault | None:
        """The oldest fault in force that fits, which has now struck once more."""
        for fault in self._active:
            if fault.kind is kind and traffic in fault.traffic and way in ("", fault.way):
                if fault.ends_mono_ns and self._clock.mono_ns() >= fault.ends_mono_ns:
                    continue  # over, and about to be pruned
                fault.hits += 1
                if fault.left:
                    fault.left -= 1
                    if not fault.left:
                        self._finish(fault)
                return fault
        return None

    def _drop_present(self, fault: Fault) -> None:
        """A socket that has said nothing yet is known by what it may carry, if that is one thing."""
        wanted = set(fault.traffic)
        for link in list(self._links):
            carried = link.carried or (link.may_carry if len(link.may_carry) == 1 else frozenset())
            if carried & wanted and (not fault.left or fault.hits < fault.left):
                fault.hits += 1
                link.drop()

    def _finish(self, fault: Fault) -> None:
        self._active.remove(fault)
        self._finished.append(fault)
        self._set_clock()

    def _set_clock(self) -> None:
        """The skew asked for last is the one in force."""
        skews = [fault.value for fault in self._active if fault.kind is Kind.CLOCK_SKEW]
        self._clock.offset_ns = int(skews[-1] * NS_PER_S) if skews else 0


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, content_type=reply.content_type, headers=dict(reply.headers)
    )


def _broken(request: web.Request) -> web.Response:
    """The connection ends without an answer; what is returned cannot be written any more."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _silence(request: web.Request) -> None:
    """Until the client gives up, at most SILENCE_S."""
    for _ in range(int(SILENCE_S / SILENCE_LOOK_S)):
        if request.transport is None or request.transport.is_closing():
            return
        await asyncio.sleep(SILENCE_LOOK_S)


def _words(traffic: list[Traffic]) -> str:
    return ", ".join(each.value for each in traffic) or "nothing"
