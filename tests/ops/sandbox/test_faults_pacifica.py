"""What the real Pacifica gateway and the real feed make of each fault of the real sandbox.

An accepted order has no end yet here: the private channels tell it, or the look-ups that follow when they do not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from core.clock import NS_PER_S
from core.types import Side, TimeInForce, Venue
from executor.outcome import Accepted, RejectCode, Rejected, Unknown, Unsent
from executor.venues import _pacifica_reads
from executor.venues._pacifica_rows import client_id
from executor.venues.base import NotFound
from tests.executor.sandbox_process import SandboxProcess, Station, sandbox

VENUE = Venue("pacifica")
QUICK: dict[str, Any] = {"request_timeout_ms": 300.0, "verify_delay_s": 0.1}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with sandbox(tmp_path_factory.mktemp("faulty"), venues=(VENUE,)) as running:
        yield running


@pytest.fixture
async def station(box: SandboxProcess) -> AsyncIterator[Station]:
    async with Station(VENUE, box, **QUICK) as ready:
        yield ready
        box.control("clear", {})
        assert [name for name, count in taken(box, ready).items() if count > 1] == []


def fault(box: SandboxProcess, kind: str, **more: Any) -> int:
    number: int = box.control("fault", {"venue": VENUE, "kind": kind, **more})["fault"]["number"]
    return number


def taken(box: SandboxProcess, station: Station) -> Counter[str | None]:
    """How often the venue took each client id, over everything it ever saw of this account."""
    rows = box.account(VENUE, station.gateway.account_id)["orders"]
    return Counter(client_id(row["client_id"]) for row in rows)


async def test_a_server_error_instead_of_the_work_is_unknown_until_the_message_has_expired(
    station: Station, box: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no no-op: the message's own time is what ends the doubt."""
    monkeypatch.setattr(_pacifica_reads, "SETTLE_NS", NS_PER_S // 2)
    request = await station.request("ETH", Side.BUY, 60.0, cross_bps=100.0, ttl_ns=NS_PER_S // 5)
    prepared = station.gateway.prepare(request, station.gateway.nonces.next())
    fault(box, "http_error", traffic=["orders"], value=502, times=1)
    assert isinstance(await station.gateway.submit(prepared), Unknown)
    nothing = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert nothing == NotFound(definitive=False)
    async with asyncio.timeout(8.0):
        while nothing == NotFound(definitive=False):
            await asyncio.sleep(0.2)
            nothing = await station.gateway.lookup(request.instrument, request.client_order_id)
    assert nothing == NotFound(definitive=True)
    assert station.clock.wire_ns() <= station.gateway.unknown_bound_ns(request) + NS_PER_S
    again = await station.gateway.submit(prepared)
    assert (type(again), again.code) == (Rejected, RejectCode.EXPIRED), "the same bytes can no longer execute"
    assert taken(box, station)[request.client_order_id] == 0


async def test_refusals_say_why(station: Station, box: SandboxProcess) -> None:
    fault(box, "rejected_nonce")
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.EXPIRED)
    fault(box, "expired_auth", traffic=["orders"])
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.AUTH)
    box.control("clear", {})
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome


async def test_over_the_limit_it_backs_off_and_cancels_keep_their_part(station: Station, box: SandboxProcess) -> None:
    resting, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=-200.0, tif=TimeInForce.GTC)
    assert isinstance(outcome, Accepted), outcome
    fault(box, "http_error", traffic=["orders"], value=429, times=1)
    _, outcome = await station.place("ETH", Side.BUY, 60.0)
    assert (type(outcome), outcome.code) == (Rejected, RejectCode.RATE)
    assert not station.gateway.may_send(priority=False)
    assert station.gateway.may_send(priority=True)
    assert isinstance(await station.cancel(resting), Accepted)


@pytest.mark.parametrize("skew_s", [6, -6])
async def test_a_clock_that_is_off_is_refused_to_sign_for(station: Station, box: SandboxProcess, skew_s: int) -> None:
    request = await station.request("ETH", Side.BUY, 60.0)
    fault(box, "clock_skew", value=skew_s)
    await station.gateway.positions()
    assert abs(station.gateway.clock_offset_ns - skew_s * NS_PER_S) < NS_PER_S
    outcome = await station.send(request)
    assert isinstance(outcome, Unsent), outcome
    assert "clock" in outcome.detail
    box.control("clear", {})
    await station.gateway.positions()  # every answer brings the venue's Date
    assert abs(station.gateway.clock_offset_ns) < NS_PER_S
    _, outcome = await station.place("ETH", Side.BUY, 60.0, cross_bps=100.0)
    assert isinstance(outcome, Accepted), outcome
