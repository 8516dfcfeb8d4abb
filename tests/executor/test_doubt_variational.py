"""Variational without a venue: whose an rfq is when no id of ours travels, and sessions that are renewed in time."""

from __future__ import annotations

import base64
import json
from decimal import Decimal

import pytest

from core.clock import NS_PER_S, SimClock
from core.errors import VenueError
from core.specs.variational import VENUE
from core.types import Instrument, Side, TimeInForce
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.signing.variational import Signer
from executor.venues._memory import OrderMemory
from executor.venues._variational_flights import Flights, Owner
from executor.venues._variational_session import GREETING, Session, end_of
from executor.venues.base import OrderRequest
from tests.executor.local_servers import LogLines

SYMBOL = "HYPE"
HYPE = Instrument(
    venue=VENUE, symbol=SYMBOL, venue_symbol=SYMBOL, tick_size=Decimal("0.0001"), lot_size=Decimal("0.01")
)

# ---- whose an rfq is ------------------------------------------------------------------------------------------------------


class Sky:
    """Flights on a clock of the test's own; `made_ns` is the venue's time, which is ours."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.memory = OrderMemory()
        self.flights = Flights(self.memory, self.clock, lambda: 0)
        self._count = 0

    def leave(self, lots: int = 10, side: Side = Side.BUY) -> str:
        self._count += 1
        name = f"{self._count:032x}"
        now_ns = self.clock.wire_ns()
        request = OrderRequest(
            client_order_id=name, instrument=HYPE, side=side, lots=lots, limit_ticks=1,
            time_in_force=TimeInForce.IOC, reduce_only=False, expires_wire_ns=now_ns + NS_PER_S,
        )  # fmt: skip
        self.memory.note(request, 1, now_ns)
        self.flights.begin(name, now_ns + 5 * NS_PER_S)
        return name

    def owner(self, rfq_id: str, lots: int = 10, side: Side = Side.BUY, ago_s: float = 0.0) -> Owner:
        return self.flights.owner(rfq_id, SYMBOL, side, lots, self.clock.wire_ns() - int(ago_s * NS_PER_S))


@pytest.fixture
def sky() -> Sky:
    return Sky()


def test_a_row_is_nobodys_while_an_answer_may_still_name_it(sky: Sky) -> None:
    name = sky.leave()
    assert sky.owner("a") is Owner.UNDECIDED
    assert sky.owner("b", lots=11) is Owner.FOREIGN
    assert sky.owner("c", side=Side.SELL) is Owner.FOREIGN
    sky.flights.named(name, "d")
    assert sky.owner("d") is Owner.OURS
    assert sky.owner("a") is Owner.FOREIGN


def test_a_lost_order_is_the_one_row_that_fits(sky: Sky) -> None:
    name = sky.leave()
    sky.flights.lost(name)
    assert sky.owner("old", ago_s=30) is Owner.FOREIGN
    assert sky.owner("a") is Owner.OURS
    assert sky.memory.client_of("a") == name
    assert sky.owner("twin") is Owner.FOREIGN  # one order is one row


def test_an_overdue_answer_is_not_waited_for_and_may_still_say_otherwise(sky: Sky) -> None:
    name = sky.leave()
    assert sky.owner("a") is Owner.UNDECIDED
    sky.clock.advance_ns(NS_PER_S)
    assert sky.owner("a", ago_s=0.5) is Owner.OURS
    assert sky.memory.client_of("a") == name
    sky.flights.named(name, "b")
    assert sky.owner("b") is Owner.OURS
    assert sky.memory.client_of("a") is None
    assert sky.owner("a", ago_s=0.5) is Owner.FOREIGN


def test_two_lost_orders_that_fit_one_row_prove_nothing(sky: Sky) -> None:
    for _ in range(2):
        sky.flights.lost(sky.leave())
    assert sky.owner("a") is Owner.FOREIGN
    assert sky.memory.client_of("a") is None


def test_an_order_without_an_end_blocks_its_instrument_until_its_bound(sky: Sky) -> None:
    name = sky.leave()
    sky.flights.lost(name)
    assert sky.flights.blocked(SYMBOL)
    assert not sky.flights.blocked("BTC")
    assert sky.flights.is_busy
    sky.clock.advance_ns(5 * NS_PER_S + 1)
    assert not sky.flights.blocked(SYMBOL)
    sky.clock.advance_ns(3 * NS_PER_S)
    assert not sky.flights.is_busy


# ---- sessions -------------------------------------------------------------------------------------------------------------

KEY = "0x" + "11" * 32
AUTH_PER_MIN = 6
WALLET = Signer(KEY)


def token(ends_s: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends_s}).encode()).rstrip(b"=").decode()
    return f"head.{claims}.signature"


class Lane:
    """Answers logins; `text` is what it asks to be signed, `status` how the login itself ends."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.text = f"{GREETING}\n{WALLET.address}\n\nNonce: 1"
        self.status = 200
        self.logins: list[dict[str, str]] = []

    async def fetch(self, request: HttpRequest) -> HttpReply:
        if request.target == "/auth/generate_signing_data":
            return HttpReply(200, {}, self.text.encode())
        self.logins.append(json.loads(request.body))
        ends_s = self.clock.wire_ns() // NS_PER_S + 7 * 86_400
        return HttpReply(self.status, {}, json.dumps({"token": token(ends_s)}).encode())


def session(lane: Lane, signer: Signer | None = WALLET, pasted: str = "") -> Session:
    return Session(lane, WALLET.address, signer, pasted, AUTH_PER_MIN, lane.clock, LogLines().log)  # type: ignore[arg-type]


async def test_a_session_is_renewed_before_it_ends() -> None:
    lane = Lane(SimClock())
    held = session(lane)
    assert not held.is_open
    await held.ensure()
    first = held.token
    assert held.is_open
    assert lane.logins == [{"address": WALLET.address, "signed_message": WALLET.login(lane.text)}]
    lane.clock.advance_ns(5 * 86_400 * NS_PER_S)
    await held.ensure()
    assert held.token == first
    lane.clock.advance_ns(86_400 * NS_PER_S + NS_PER_S)
    await held.ensure()
    assert held.token != first
    assert dict(held.headers()) == {"Cookie": f"vr-token={held.token}", "vr-connected-address": WALLET.address}


async def test_a_renewal_that_fails_leaves_the_session_it_had_and_is_not_hammered() -> None:
    lane = Lane(SimClock())
    held = session(lane)
    await held.ensure()
    lane.clock.advance_ns(6 * 86_400 * NS_PER_S + NS_PER_S)
    lane.status = 500
    for _ in range(5):
        await held.ensure()
    assert held.is_open
    assert len(lane.logins) == 2
    lane.clock.advance_ns(86_400 * NS_PER_S)
    with pytest.raises(VenueError):
        await held.ensure()
    assert not held.is_open


async def test_only_a_login_of_this_wallet_is_signed() -> None:
    lane = Lane(SimClock())
    for text in ("Transfer everything", f"{GREETING}\n{'0x' + '22' * 20}", f"x {lane.text}"):
        lane.text = text
        with pytest.raises(VenueError, match="nothing was signed"):
            await session(lane).ensure()
    assert lane.logins == []


async def test_a_pasted_token_is_used_to_its_end_and_then_missed() -> None:
    lane = Lane(SimClock())
    held = session(lane, None, token(lane.clock.wire_ns() // NS_PER_S + 100))
    await held.ensure()
    assert held.is_open
    lane.clock.advance_ns(101 * NS_PER_S)
    with pytest.raises(VenueError, match="paste a new one"):
        await held.ensure()
    assert lane.logins == []


async def test_a_refused_token_is_not_used_again() -> None:
    lane = Lane(SimClock())
    held = session(lane)
    await held.ensure()
    held.refused("another")
    assert held.is_open
    held.refused(held.token)
    assert not held.is_open
    lane.clock.advance_ns(NS_PER_S)
    await held.ensure()
    assert held.is_open


async def test_logins_are_few() -> None:
    lane = Lane(SimClock())
    held = session(lane)
    for _ in range(3):
        held.refused(held.token)
        await held.ensure()
    held.refused(held.token)
    with pytest.raises(VenueError, match="request budget"):
        await held.ensure()
    assert len(lane.logins) == AUTH_PER_MIN // 2


@pytest.mark.parametrize("text", ["", "a.b", "a.!.c", "a.e30.c", token(0), token(10**11), "a.bnVsbA.c"])
def test_an_end_that_cannot_be_read_is_none(text: str) -> None:
    assert end_of(text) == 0
