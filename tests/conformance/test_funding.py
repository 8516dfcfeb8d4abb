"""What every venue paid is read back as its own books have it: amounts, signs, one payment per settlement.

The calendar of these sandboxes runs 7200 times as fast: an hour is half a second, eight hours are four.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio

from core.roster import SPEC
from core.types import Venue
from core.venue_spec import VenueKind
from tests.conformance.bench import ORDER_DELAY_MS, TIMEOUT_MS, Bench
from tests.conformance.dialect import Dialect
from tests.executor.sandbox_process import Station, sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")
TIME_SCALE = 7200.0
PAID = 2  # settlements to wait for
WAIT_S = 20.0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def quick(venue: str, dialect: Dialect, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    if SPEC[Venue(venue)].kind is VenueKind.SPOT:
        pytest.skip(f"{venue} is a spot venue: nothing is paid")
    directory = tmp_path_factory.mktemp(f"{venue}-quick")
    with sandbox(directory, venues=(venue,), order_delay_ms=ORDER_DELAY_MS, time_scale=TIME_SCALE) as box:
        async with Station(venue, box, request_timeout_ms=TIMEOUT_MS) as station:
            yield Bench(venue, box, station, dialect)


async def test_payments_equal_the_venues_own_books(quick: Bench) -> None:
    await quick.buy()
    paid: list[Decimal] = []

    def changed() -> bool:
        now = Decimal(quick.truth()["funding_usd"])
        if not paid or now != paid[-1]:
            paid.append(now)
        return len(paid) > PAID

    await quick.until(changed, WAIT_S)
    await quick.flat()
    truth = Decimal(quick.truth()["funding_usd"])
    payments = await quick.gateway.funding_since(0)
    ours = [payment for payment in payments if payment.symbol == quick.dialect.symbol]
    assert len({payment.payment_id for payment in ours}) == len(ours) >= PAID
    assert len({payment.ts_ns for payment in ours}) == len(ours), "one per settlement"
    assert sum(payment.amount_usd for payment in ours) == pytest.approx(truth, rel=Decimal("1e-3"), abs=Decimal("1e-5"))
    told = {event.payment.payment_id: event.payment.amount_usd for event in quick.station.fundings}
    for payment in ours:
        assert payment.venue == quick.venue
        assert told.get(payment.payment_id, payment.amount_usd) == payment.amount_usd
