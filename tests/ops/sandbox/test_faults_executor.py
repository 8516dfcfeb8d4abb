"""What the real gateways make of each fault of the real sandbox: which outcome, what they tell, and when they are well."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.types import OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues.base import NotFound, VenueOrder
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox

VENUES = ("hyperliquid", "aster")
TIMEOUT_MS = 700.0
both = pytest.mark.parametrize("venue", VENUES)


@pytest.fixture(scope="module")
def shared_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("faulty")) as running:
        yield running


@pytest.fixture
def fresh_box(tmp_path: Path) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path) as running:
        yield running


@pytest.fixture
def venue() -> str:
    return "aster"


@pytest.fixture
def box(venue: str, request: pytest.FixtureRequest) -> SandboxProcess:
    """Aster counts request weight per IP and minute, and all tests are one IP: a sandbox of its own for each."""
    running: SandboxProcess = request.getfixturevalue("fresh_box" if venue == "aster" else "shared_box")
    return running


@pytest.fixture
async def station(box: SandboxProcess, venue: str) -> AsyncIterator[Station]:
    async with Station(venue, box, request_timeout_ms=TIMEOUT_MS) as ready:
        yield ready
        box.control("clear", {})


def fault(box: SandboxProcess, venue: str, kind: str, **more: Any) -> int:
    number: int = box.control("fault", {"venue": venue, "kind": kind, **more})["fault"]["number"]
    return number


def venue_orders(box: SandboxProcess, station: Station) -> Counter[str]:
    """How often the venue took each client id (digits only), over everything it ever saw of this account."""
    rows = box.account(str(station.gateway.venue), station.gateway.account_id)["orders"]
    return Counter(str(row["client_id"]).removeprefix("0x") for row in rows)


async def found(station: Station, request: Any) -> VenueOrder:
    order = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert isinstance(order, VenueOrder), order
    return order


# ---- answers that do not come, or prove nothing -------------------------------------------------------------------------


@both
async def test_a_server_error_instead_of_the_work_is_unknown_until_its_nonce_is_burned(
    station: Station, box: SandboxProcess, venue: str
) -> None:
    request = await station.request("ETH", Side.BUY, 60.0, cross_bps=100.0)
    prepared = station.gateway.prepare(request, station.gateway.nonces.next())
    fault(box, venue, "http_error", traffic=["orders"], value=502, times=1)
    assert isinstance(await station.gateway.submit(prepared), Unknown)
    nothing = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert nothing == NotFound(definitive=False)
    burning = station.gateway.burn_nonce(prepared.nonce)
    assert burning is not None
    assert await burning is True
    assert isinstance(await station.gateway.submit(prepared), Rejected), "the same bytes can no longer execute"
    assert venue_orders(box, station)[request.client_order_id] == 0


@both
async def test_a_disconnect_in_flight_is_unknown_not_refused(station: Station, box: SandboxProcess, venue: str) -> None:
    request = await station.request("ETH", Side.BUY, 60.0, cross_bps=100.0)
    fault(box, venue, "slow", traffic=["orders"], value=400, times=1)
    sending = asyncio.ensure_future(station.send(request))
    await asyncio.sleep(0.15)
    fault(box, venue, "disconnect")
    outcome = await sending
    if venue == "hyperliquid":
        assert isinstance(outcome, Unknown), outcome  # posts and private channels share the socket
    order = await found(station, request)
    assert order.filled_lots == request.lots
    await eventually(lambda: len(station.ups) == 2)
    assert station.downs
    assert 0 < station.ups[1].since_wire_ns < station.clock.wire_ns() - 4 * NS_PER_S, "the gap is to be read"


# ---- refusals -----------------------------------------------------------------------------------------------------------


@both
async def test_refusals_say_why(station: Station, box: SandboxProcess, venue: str) -> None:
    fault(box, venue, "rejected_nonce")
    request, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is RejectCode.NONCE
    fault(box, venue, "expired_auth", traffic=["orders"])
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is RejectCode.AUTH
    box.control("clear", {})
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome
    assert venue_orders(box, station)[request.client_order_id] == 0


@both
async def test_over_the_limit_it_backs_off_and_cancels_keep_their_part(
    station: Station, box: SandboxProcess, venue: str
) -> None:
    """Hyperliquid limits actions per address, and cancels have a budget of their own there; Aster limits the whole IP
    and bans whoever goes on, so that nothing at all is sent for as long as it says (2 s here)."""
    resting, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=-200.0, tif=TimeInForce.GTC)
    assert isinstance(outcome, Accepted), outcome
    request = await station.request("ETH", Side.BUY, 60.0)
    number = fault(box, venue, "http_error", traffic=["orders"], value=429, times=3)
    outcome = await station.send(request)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is RejectCode.RATE
    assert not station.gateway.may_send(priority=False)
    if venue == "aster":
        assert isinstance(await station.send(request), Unsent), "it does not go on asking"
        assert station.gateway.rate_budget_ratio == 0.0
    shown = box.control("faults")["venues"][venue]["active"]
    assert [row["hits"] for row in shown if row["number"] == number] == [1]
    box.control("clear", {})
    await eventually(lambda: station.gateway.may_send(priority=True), 5.0)
    canceled = await station.cancel(resting)
    assert isinstance(canceled, Accepted), canceled
    assert canceled.status is OrderStatus.CANCELED
    assert venue_orders(box, station)[request.client_order_id] == 0


# ---- the private stream -------------------------------------------------------------------------------------------------


# ---- clocks -------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("skew_s", [6, -6])
async def test_a_clock_that_is_off_is_refused_to_sign_for(
    station: Station, box: SandboxProcess, venue: str, skew_s: int
) -> None:
    """The gateway is told by the next answer, whatever it was asked for, and looks at once."""
    request = await station.request("ETH", Side.BUY, 60.0)
    fault(box, venue, "clock_skew", value=skew_s)
    await station.gateway.positions()
    await eventually(lambda: abs(station.gateway.clock_offset_ns - skew_s * NS_PER_S) < NS_PER_S, 5.0)
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent), outcome
    assert "clock" in outcome.detail
    assert venue_orders(box, station)[request.client_order_id] == 0
    box.control("clear", {})
    await eventually(lambda: abs(station.gateway.clock_offset_ns) < NS_PER_S, 8.0)
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome
