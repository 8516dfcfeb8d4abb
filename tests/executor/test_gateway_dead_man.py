"""The venues' own dead-man switches through the real gateways: armed, seen at the venue, pushed out, switched off, struck."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pathlib
from typing import Any

import pytest

from core.clock import NS_PER_MS
from core.errors import VenueError
from core.roster import VENUES
from core.types import OrderStatus, Side, TimeInForce
from core.venue_spec import VenueSpec
from executor.venues.base import DeadMan, DeadManScope, OrderRequest
from tests.executor.sandbox_process import SandboxProcess, Station, eventually

PREMIUM: dict[str, Any] = {"requests_per_min": 4000}


async def rested(station: Station, symbol: str = "BTC") -> OrderRequest:
    """An order of ours far from the touch."""
    request, _ = await station.place(symbol, Side.BUY, 300.0, cross_bps=-150.0, tif=TimeInForce.GTC)
    await eventually(lambda: station.orders(request.client_order_id))
    return request


def ended(station: Station, request: OrderRequest) -> bool:
    return any(order.status is OrderStatus.CANCELED for order in station.orders(request.client_order_id))


async def test_hyperliquid_refuses_its_switch_to_a_small_account_and_says_so_once(box: SandboxProcess) -> None:
    async with Station("hyperliquid", box) as station:
        assert station.gateway.dead_man is not None
        with pytest.raises(VenueError, match="enough volume"):
            await station.gateway.arm_dead_man([station.instrument("BTC")])
        assert station.gateway.dead_man is None
        await station.gateway.arm_dead_man([station.instrument("BTC")])  # nothing to arm any more


async def test_asters_switch_strikes_its_symbol_when_nobody_pushes_it_out(box: SandboxProcess) -> None:
    async with Station("aster", box) as station:
        station.gateway.dead_man = DeadMan(scope=DeadManScope.SYMBOL, countdown_s=1.0, refresh_s=0.3)
        await station.gateway.arm_dead_man([station.instrument("BTC")])
        btc, eth = await rested(station), await rested(station, "ETH")
        for _ in range(4):
            await asyncio.sleep(0.4)
            await station.gateway.arm_dead_man([station.instrument("BTC")])
            assert not ended(station, btc)
        await eventually(lambda: ended(station, btc))
        assert not ended(station, eth)
        await station.cancel(eth)


async def test_asters_switch_can_be_switched_off(box: SandboxProcess) -> None:
    async with Station("aster", box) as station:
        station.gateway.dead_man = DeadMan(scope=DeadManScope.SYMBOL, countdown_s=0.5, refresh_s=0.3)
        await station.gateway.arm_dead_man([station.instrument("BTC")])
        request = await rested(station)
        await station.gateway.disarm_dead_man([station.instrument("BTC")])
        await asyncio.sleep(1.0)
        assert not ended(station, request)
        await station.cancel(request)


async def test_lighters_switch_is_seen_in_the_account_and_survives_a_burn(box: SandboxProcess) -> None:
    async with Station("lighter", box, **PREMIUM) as station:
        gateway = station.gateway

        async def shown_ms() -> int:
            gateway._reads.forget_account()
            shown: int = await gateway._reads.switch_time_ms()
            return shown

        assert await shown_ms() == 0
        before_ms = station.clock.wire_ns() // NS_PER_MS
        await gateway.arm_dead_man([station.instrument("BTC")])
        first_ms = await shown_ms()
        assert first_ms >= before_ms + 300_000
        await asyncio.sleep(0.05)
        taken = gateway.burn_nonce(gateway.nonces.next())
        await taken
        assert await shown_ms() > first_ms, "the burn pushed it out instead of switching it off"
        await gateway.disarm_dead_man([station.instrument("BTC")])
        await eventually_zero(shown_ms)


async def eventually_zero(read: Any) -> None:
    for _ in range(100):
        if await read() == 0:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("still scheduled")


async def test_lighters_switch_needs_the_account_to_show_it(box: SandboxProcess, monkeypatch: Any) -> None:
    async with Station("lighter", box, **PREMIUM, verify_retries=1, verify_delay_s=0.01) as station:

        async def nothing() -> int:
            return 0

        monkeypatch.setattr(station.gateway._reads, "switch_time_ms", nothing)
        with pytest.raises(VenueError, match="the account shows 0"):
            await station.gateway.arm_dead_man([station.instrument("BTC")])
        await station.gateway.disarm_dead_man([station.instrument("BTC")])


def switches() -> dict[str, DeadMan]:
    """Every venue's, as its gateway has it."""
    modules = {
        spec.title: importlib.import_module(f"executor.venues.{spec.name}") for spec in VENUES if _is_built(spec)
    }
    return {title: module.Gateway.dead_man for title, module in modules.items() if module.Gateway.dead_man is not None}


def _is_built(spec: VenueSpec) -> bool:
    return importlib.util.find_spec(f"executor.venues.{spec.name}") is not None


def test_countdowns_leave_room_for_their_pushing_out() -> None:
    least_s = {"Hyperliquid": 5, "Lighter": 300}
    for title, switch in switches().items():
        if switch.scope is not DeadManScope.CONNECTION:
            assert switch.countdown_s > least_s.get(title, 0), "what the venue takes at least"
            assert switch.refresh_s * 2 <= switch.countdown_s


def test_the_page_tells_every_switch_as_it_is() -> None:
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "executor.md").read_text()
    rows = page.partition("## Dead-man switches")[2].partition("\n## ")[0].splitlines()
    for title, switch in switches().items():
        (row,) = [row for row in rows if row.startswith(f"| {title} |")]
        assert row.endswith(f"| {switch.countdown_s:g} s, {switch.refresh_s:g} s |"), title
