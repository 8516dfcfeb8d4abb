"""One sandbox and one gateway per venue and session: venue is the outermost parameter, so each is started once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from core.roster import VENUES
from tests.conformance.bench import ORDER_DELAY_MS, TIMEOUT_MS, Bench
from tests.conformance.dialect import Dialect, dialect_of
from tests.executor.sandbox_process import Station, sandbox

NAMES = [str(spec.name) for spec in VENUES]
BUDGET_LEFT = 0.5  # of the gateway's request budget, for one test


@pytest.fixture(scope="session", params=NAMES)
def venue(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def dialect(venue: str) -> Dialect:
    return dialect_of(venue)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stand(
    venue: str, dialect: Dialect, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[], Awaitable[Bench]]]:
    """Gives the bench of this venue: the same one as long as its request budget lasts, then one with a new sandbox. All
    tests are one address and one account, and venues count by the minute."""
    kept: list[Bench] = []
    async with contextlib.AsyncExitStack() as closing:

        async def give() -> Bench:
            if not kept or kept[0].gateway.rate_budget_ratio < BUDGET_LEFT:
                await closing.aclose()
                kept[:] = [await _started(venue, dialect, tmp_path_factory.mktemp(venue), closing)]
            return kept[0]

        yield give


@pytest_asyncio.fixture(loop_scope="session")
async def bench(stand: Callable[[], Awaitable[Bench]]) -> AsyncIterator[Bench]:
    """Flat, without faults, and with no events yet."""
    ready = await stand()
    await ready.flat()
    ready.forget()
    yield ready
    ready.box.control("clear", {})


async def _started(venue: str, dialect: Dialect, directory: Path, closing: contextlib.AsyncExitStack) -> Bench:
    box = closing.enter_context(sandbox(directory, venues=(venue,), order_delay_ms=ORDER_DELAY_MS))
    station = await closing.enter_async_context(Station(venue, box, request_timeout_ms=TIMEOUT_MS))
    return Bench(venue, box, station, dialect)
