"""The Variational gateway against the real sandbox process: quoted, accepted, cleared; and every way to be left in doubt."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from core.clock import NS_PER_MS, NS_PER_S, SimClock
from core.errors import ConfigError, VenueError
from core.types import OrderStatus, Side, TimeInForce
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.signing.variational import Signer
from executor.venues._memory import OrderMemory
from executor.venues._variational_flights import Flights, Owner
from executor.venues._variational_session import GREETING, Session, end_of
from executor.venues.base import FillSeen, NotFound, OrderRequest, VenueOrder
from tests.executor.local_servers import LogLines
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUE, SYMBOL = "variational", "HYPE"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp(VENUE), venues=(VENUE,), order_delay_ms=30.0) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box) as ready:
        await flat(ready)
        ready.events.clear()
        yield ready
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})
        await flat(ready)


async def flat(station: Station) -> None:
    for position in await station.gateway.positions():
        side = Side.SELL if position.lots > 0 else Side.BUY
        await trade(station, side, lots=abs(position.lots), reduce_only=True)


async def quoted(station: Station, side: Side = Side.BUY, **options: Any) -> OrderRequest:
    request = await station.request(SYMBOL, side, 120.0, **options)
    quote = await station.gateway.request_quote(request.instrument, request.side, request.lots)
    return msgspec.structs.replace(request, quote_id=quote.quote_id)


async def trade(station: Station, side: Side = Side.BUY, **options: Any) -> OrderRequest:
    """Taken, and ended by what the gateway tells."""
    request = await quoted(station, side, **options)
    assert isinstance(await station.send(request), Accepted)
    await ended(station, request)
    return request


async def ended(station: Station, request: OrderRequest) -> VenueOrder:
    await eventually(lambda: [o for o in station.orders(request.client_order_id) if o.status.is_final])
    order: VenueOrder = station.orders(request.client_order_id)[-1]
    return order


def true_orders(box: SandboxProcess, station: Station) -> list[dict[str, Any]]:
    orders: list[dict[str, Any]] = box.account(VENUE, station.gateway.account_id)["orders"]
    return orders


# ---- orders -------------------------------------------------------------------------------------------------------------


async def test_a_quote_is_taken_whole_at_its_price(station: Station) -> None:
    gateway = station.gateway
    instrument = station.instrument(SYMBOL)
    quote = await gateway.request_quote(instrument, Side.BUY, 200)
    assert (quote.side, quote.lots) == (Side.BUY, 200)
    assert 0 < quote.valid_until_mono_ns - station.clock.mono_ns() <= 900 * NS_PER_MS
    request = await station.request(SYMBOL, Side.BUY, lots=200, cross_bps=50.0)
    request = msgspec.structs.replace(request, quote_id=quote.quote_id)
    taken = await station.send(request)
    assert isinstance(taken, Accepted)
    assert (taken.status, taken.filled_lots) == (OrderStatus.ACCEPTED, 0)  # accepted is not filled
    order = await ended(station, request)
    assert (order.status, order.filled_lots, order.avg_px) == (OrderStatus.FILLED, 200, quote.px)
    assert order.venue_order_id == taken.venue_order_id
    (fill,) = station.fills(request.client_order_id)
    assert (fill.lots, fill.px, fill.fee_usd, fill.venue_order_id) == (200, quote.px, 0, taken.venue_order_id)
    assert await gateway.lookup(instrument, request.client_order_id) == order


async def test_nothing_leaves_without_a_quote_of_ours_for_exactly_it(box: SandboxProcess, station: Station) -> None:
    before = len(true_orders(box, station))
    good = await quoted(station)
    for wrong in (
        msgspec.structs.replace(good, quote_id=""),
        msgspec.structs.replace(good, quote_id="12121212-1212-4212-8212-121212121212"),
        msgspec.structs.replace(good, lots=good.lots + 1),
        msgspec.structs.replace(good, side=Side.SELL),
        msgspec.structs.replace(good, instrument=station.instrument("BTC")),
        msgspec.structs.replace(good, limit_ticks=good.limit_ticks // 2),  # the quote lies beyond the limit
    ):
        outcome = await station.send(msgspec.structs.replace(wrong, client_order_id=station.client_order_id()))
        assert outcome == Unsent(detail="no live quote of ours for exactly this order")
    assert len(true_orders(box, station)) == before
    assert isinstance(await station.send(good), Accepted)
    await ended(station, good)


async def test_a_quote_is_accepted_once_whatever_came_of_it(box: SandboxProcess, station: Station) -> None:
    request = await quoted(station)
    prepared = [station.gateway.prepare(request, 1) for _ in range(2)]
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "lost_answer", "way": "broken"})
    before = len(true_orders(box, station))
    assert isinstance(await station.gateway.submit(prepared[0]), Unknown)
    again = await station.gateway.submit(prepared[1])
    assert isinstance(again, Unsent)
    await ended(station, request)
    later = await station.gateway.submit(prepared[1])
    assert later == Unsent(detail="its quote was accepted before")
    assert len(true_orders(box, station)) == before + 1


async def test_one_order_per_instrument_is_under_way(box: SandboxProcess, station: Station) -> None:
    first, second = await quoted(station), await quoted(station)
    futures = [station.gateway.submit(station.gateway.prepare(each, 1)) for each in (first, second)]
    assert await futures[1] == Unsent(detail="another order of this instrument is under way")
    assert isinstance(await futures[0], Accepted)
    await ended(station, first)
    assert isinstance(await station.send(msgspec.structs.replace(await quoted(station))), Accepted)
    await eventually(lambda: sum(isinstance(e, FillSeen) for e in station.events) == 2)


async def test_the_slippage_never_reaches_beyond_the_limit(station: Station) -> None:
    request = await quoted(station)
    quote_px = station.gateway._quotes[request.quote_id].quote.px  # type: ignore[attr-defined]
    body = json.loads(station.gateway.prepare(request, 1).payload)
    worst = quote_px * (1 + Decimal(repr(body["max_slippage"])))
    limit = request.instrument.ticks_to_px(request.limit_ticks)
    assert limit * (1 - Decimal("0.000002")) < worst <= limit
    assert isinstance(body["max_slippage"], float)
    assert (body["side"], body["is_reduce_only"]) == ("buy", False)


async def test_a_late_refusal_ends_the_order_and_frees_its_instrument(station: Station) -> None:
    request = await quoted(station, Side.SELL, reduce_only=True)
    assert isinstance(await station.send(request), Accepted)
    order = await ended(station, request)
    assert (order.status, order.filled_lots) == (OrderStatus.REJECTED, 0)
    assert not station.fills(request.client_order_id)
    await trade(station)


async def test_a_refused_acceptance_frees_the_instrument_at_once(box: SandboxProcess, station: Station) -> None:
    request = await quoted(station)
    await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "rejected_nonce"})
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.EXPIRED
    await trade(station)


async def test_quotes_that_cannot_be_had_raise(box: SandboxProcess, station: Station) -> None:
    instrument = station.instrument(SYMBOL)
    with pytest.raises(VenueError, match="olp_risk_checks"):
        await station.gateway.request_quote(instrument, Side.BUY, 10**9)
    fault = {"venue": VENUE, "kind": "garbage", "traffic": ["reads"], "way": "truncated", "times": 1}
    await asyncio.to_thread(box.control, "fault", fault)
    with pytest.raises(VenueError):
        await station.gateway.request_quote(instrument, Side.BUY, 10)


# ---- doubt --------------------------------------------------------------------------------------------------------------


async def test_an_order_of_an_earlier_process_is_found_by_what_it_looks_like(
    box: SandboxProcess, station: Station
) -> None:
    request = await quoted(station)
    assert isinstance(await station.send(request), Accepted)
    prepared_ns = station.clock.wire_ns()
    await ended(station, request)
    async with Station(VENUE, box) as later:
        gateway = later.gateway
        assert await gateway.lookup(request.instrument, request.client_order_id) == NotFound(definitive=False)
        gateway.recall(request, 1, prepared_ns)
        found = await gateway.lookup(request.instrument, request.client_order_id)
        assert isinstance(found, VenueOrder)
        assert (found.status, found.filled_lots) == (OrderStatus.FILLED, request.lots)


async def test_a_silent_answer_is_not_waited_for(box: SandboxProcess) -> None:
    """The fill is told long before the request is given up."""
    async with Station(VENUE, box, request_timeout_ms=2500.0) as station:
        await flat(station)
        request = await quoted(station)
        await asyncio.to_thread(box.control, "fault", {"venue": VENUE, "kind": "lost_answer", "way": "silent"})
        answer = station.gateway.submit(station.gateway.prepare(request, 1))
        await eventually(lambda: station.fills(request.client_order_id))
        assert not answer.done()
        assert station.fills(None) == []
        assert isinstance(await answer, Unknown)
        assert sum(fill.lots for fill in station.fills(request.client_order_id)) == request.lots
        await asyncio.to_thread(box.control, "clear", {"venue": VENUE})


async def test_a_session_that_ended_is_opened_again(box: SandboxProcess, station: Station) -> None:
    """A stamped 401: reads go on in a new session, orders are refused and not sent again."""
    before = len(true_orders(box, station))
    request = await quoted(station)
    fault = {"venue": VENUE, "kind": "expired_auth", "traffic": ["orders"], "times": 1}
    await asyncio.to_thread(box.control, "fault", fault)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected)
    assert outcome.code is RejectCode.AUTH
    assert await station.gateway.positions() == []
    await eventually(lambda: station.gateway.entry_ready)
    await trade(station)
    assert len(true_orders(box, station)) == before + 1
    for _ in range(2):
        fault = {"venue": VENUE, "kind": "expired_auth", "traffic": ["reads"], "times": 1}
        await asyncio.to_thread(box.control, "fault", fault)
        assert len(await station.gateway.positions()) == 1
        assert len(await station.gateway.fills_since(0)) >= 1


async def test_it_is_off_until_somebody_says_otherwise(box: SandboxProcess) -> None:
    extra = {**box.settings(VENUE).extra, "unofficial_interface": False}
    with pytest.raises(ConfigError, match=r"extra\.unofficial_interface"):
        Station(VENUE, box, extra=extra)


# ---- whose an rfq is ------------------------------------------------------------------------------------------------------


class Sky:
    """Flights on a clock of the test's own; `made_ns` is the venue's time, which is ours."""

    def __init__(self, station: Station) -> None:
        self.clock = SimClock()
        self.memory = OrderMemory()
        self.flights = Flights(self.memory, self.clock, lambda: 0)
        self._instrument = station.instrument(SYMBOL)
        self._count = 0

    def leave(self, lots: int = 10, side: Side = Side.BUY) -> str:
        self._count += 1
        name = f"{self._count:032x}"
        now_ns = self.clock.wire_ns()
        request = OrderRequest(
            client_order_id=name, instrument=self._instrument, side=side, lots=lots, limit_ticks=1,
            time_in_force=TimeInForce.IOC, reduce_only=False, expires_wire_ns=now_ns + NS_PER_S,
        )  # fmt: skip
        self.memory.note(request, 1, now_ns)
        self.flights.begin(name, now_ns + 5 * NS_PER_S)
        return name

    def owner(self, rfq_id: str, lots: int = 10, side: Side = Side.BUY, ago_s: float = 0.0) -> Owner:
        return self.flights.owner(rfq_id, SYMBOL, side, lots, self.clock.wire_ns() - int(ago_s * NS_PER_S))


@pytest.fixture
def sky(station: Station) -> Sky:
    return Sky(station)


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
