"""The official SDK, unchanged, against the simulated venue, as far as it reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import variational
from variational.wrappers import ApiError

from ops.sandbox.venues._variational_official import api_key_of
from tests.ops.sandbox.variational_world import USER, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        await world.log_in()
        yield world


def sdk(world: World, monkeypatch: pytest.MonkeyPatch, secret: str | None = None) -> variational.Client:
    """On the world's own clock."""
    monkeypatch.setattr("variational.auth.time.time", lambda: world.clock.wire_ns() / 1e9)
    key, own = api_key_of(USER.address.lower())
    return variational.Client(key, secret or own, f"{world.url}/v1", request_timeout=5.0, retry_rate_limits=False)


async def test_it_reads_the_account(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = sdk(world, monkeypatch)
    await world.ended((await world.take("buy")).body["rfq_id"])
    status = await asyncio.to_thread(client.get_status)
    assert status.result["server_timestamp_ms"] == world.clock.wire_ns() // 1_000_000
    assert status.meta.request_received_at > 0
    me = await asyncio.to_thread(client.get_me)
    assert me.result["key_id"] == client.key
    positions = await asyncio.to_thread(client.get_portfolio_positions)
    (position,) = positions.result
    assert (position["instrument"]["underlying"], position["qty"]) == ("HYPE", "2")
    assert positions.pagination.next_page is None
    by_pool = await asyncio.to_thread(client.get_portfolio_positions, position["pool_location"])
    assert by_pool.result == positions.result
    summary = await asyncio.to_thread(client.get_portfolio_summary)
    assert Decimal(summary.result["sum_balance"]) == 10_000


async def test_it_reads_limits_and_assets(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = sdk(world, monkeypatch)
    limits = (await asyncio.to_thread(client.get_limits)).result
    assert limits["min_order_notional"] == "0.1"
    assets = (await asyncio.to_thread(client.get_supported_assets)).result
    assert assets["BTC"][0]["min_qty_tick"] == "0.000001"


async def test_a_wrong_secret_or_clock_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ApiError, match="invalid signature"):
        await asyncio.to_thread(sdk(world, monkeypatch, "00" * 32).get_me)
    client = sdk(world, monkeypatch)
    monkeypatch.setattr("variational.auth.time.time", lambda: world.clock.wire_ns() / 1e9 - 6)
    with pytest.raises(ApiError, match="invalid signature"):
        await asyncio.to_thread(client.get_me)
