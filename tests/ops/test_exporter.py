"""The exporter's text is what Prometheus reads: names, units, labels, each series once, and a scrape whatever is missing."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from bookshm.counters import CONFIG_SERIES
from bookshm.run import RunDir
from core.clock import NS_PER_S
from core.errors import BusyError
from core.latch import HaltLatch
from core.log import Log
from core.messages import PairStatus
from core.types import TradingState
from executor.metrics import Metrics
from feeds.meters import Meters
from ops.exporter import Exporter
from tests.ops.desk import AS, CLOCK, HL, Desk, pair, position, venue_account

CLOSED_LABELS = {
    "venue", "symbol", "strategy", "state", "status", "process", "kind", "reason", "purpose", "outcome", "code", "source",
    "origin", "guard", "le", "mode", "fingerprint", "environment", "run", "version", "python", "currency",
}  # fmt: skip
Fetch = Callable[[str], Awaitable[tuple[int, str]]]


@pytest.fixture
async def fetch(desk: Desk) -> AsyncIterator[Fetch]:
    """A running exporter of the desk's run."""
    exporter = Exporter(desk.loaded, desk.run, CLOCK, Log("exporter", CLOCK, write=lambda line: None))
    stop = asyncio.Event()
    serving = asyncio.create_task(exporter.run(stop))
    base = f"http://127.0.0.1:{desk.loaded.config.exporter.port}"
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            for _ in range(100):
                try:
                    async with session.get(base + path) as response:
                        return response.status, await response.text()
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.05)
            raise AssertionError("the exporter does not listen")

        yield get
    stop.set()
    await asyncio.wait_for(serving, 5)


def families(text: str) -> dict[str, Metric]:
    """What Prometheus would read; a family that appears twice is an error there, and here."""
    found: dict[str, Metric] = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in found, f"{family.name} twice"
        found[family.name] = family
    return found


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in families(text).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


async def scrape(fetch: Fetch) -> str:
    status, text = await fetch("/metrics")
    assert status == 200
    return text


def everything(desk: Desk) -> None:
    """Every process's page, as the processes themselves make them, and a full account."""
    desk.quote(HL, "BTC", 100000.0, 100010.0)
    desk.quote(AS, "BTC", 100.0, 101.0, age_s=2.0)
    desk.beat()
    for venue in (HL, AS):
        page = desk.count(f"feed-{venue}", 64)
        meters = Meters(page, venue)
        meters.frames.add(7)
        meters.decode_to_publish.observe(9e-6)
        page.gauge(CONFIG_SERIES, {"fingerprint": desk.loaded.fingerprint}).set(1)
    metrics = Metrics(desk.count("executor", 512), (HL, AS))
    metrics.order_sent(HL, "open")
    metrics.unhedged(2 * NS_PER_S, Decimal(100))
    desk.account(
        pair(), pair(pair_id="p2", status=PairStatus.REPAIRING), pair(pair_id="p0", status=PairStatus.CLOSED),
        positions=(position(AS, "0.015"), position(HL, "-0.015", flags=("FOREIGN",), move_to_liq_pct=None)),
        venues=(
            venue_account(HL, equity_usd=Decimal(8000), maintenance_margin_usd=Decimal(2000), clock_offset_ns=25_000_000),
            venue_account(AS, status="blind", read_mono_ns=0),
        ),
        unhedged_usd=Decimal("12.5"), unhedged_age_ns=1_500_000_000, net_usd=Decimal("-3.25"), pairs_opened=9,
    )  # fmt: skip


async def test_the_text_parses_and_every_name_follows_the_rules(desk: Desk, fetch: Fetch) -> None:
    everything(desk)
    text = await scrape(fetch)
    for name, family in families(text).items():
        assert name.startswith("tandem_"), name
        assert family.documentation, name
        assert not re.search(r"_(ms|us|ns|bps|pct|percent|minutes|hours)(_|$)", name), f"{name}: not a base unit"
        if family.type == "counter":
            assert all(s.name.endswith(("_total", "_created")) for s in family.samples), name
        if family.type == "histogram":
            assert name.endswith("_seconds"), name
        for sample in family.samples:
            assert set(sample.labels) <= CLOSED_LABELS, sample
            assert not any(re.search(r"0x|p1-1", label) for label in sample.labels.values()), sample


async def test_values_are_those_in_memory_in_base_units(desk: Desk, fetch: Fetch) -> None:
    everything(desk)
    text = await scrape(fetch)
    assert value(text, "tandem_feed_up", venue="hyperliquid") == 1
    assert value(text, "tandem_feed_usable_quotes", venue="hyperliquid") == 1
    assert value(text, "tandem_feed_ready", venue="hyperliquid") == 1
    assert value(text, "tandem_quote_usable", venue="hyperliquid", symbol="BTC") == 1
    assert value(text, "tandem_quote_spread_ratio", venue="hyperliquid", symbol="BTC") == pytest.approx(1e-4, rel=1e-3)
    assert value(text, "tandem_quote_usable", venue="aster", symbol="BTC") == 0
    assert 2.0 <= value(text, "tandem_quote_age_seconds", venue="aster", symbol="BTC") < 6.0
    assert math.isnan(value(text, "tandem_quote_spread_ratio", venue="aster", symbol="BTC"))
    assert math.isnan(value(text, "tandem_equity_usd")), "one venue was never read: no total"
    assert value(text, "tandem_venue_equity_usd", venue="hyperliquid") == 8_000
    assert math.isnan(value(text, "tandem_venue_equity_usd", venue="aster"))
    assert value(text, "tandem_net_pnl_usd") == -3.25
    assert value(text, "tandem_unhedged_usd") == 12.5
    assert value(text, "tandem_unhedged_age_seconds") == 1.5
    assert value(text, "tandem_venue_margin_used_ratio", venue="hyperliquid") == 0.25
    assert value(text, "tandem_venue_clock_offset_seconds", venue="hyperliquid") == 0.025
    assert value(text, "tandem_venue_ok", venue="aster") == 0
    assert math.isnan(value(text, "tandem_venue_account_age_seconds", venue="aster"))
    assert value(text, "tandem_position_base", venue="aster", symbol="BTC") == 0.015
    assert value(text, "tandem_move_to_liquidation_ratio", venue="aster", symbol="BTC") == 0.315
    assert value(text, "tandem_positions_foreign") == 1
    assert value(text, "tandem_pairs", status="open") == 1
    assert value(text, "tandem_pairs", status="repairing") == 1
    assert value(text, "tandem_pairs", status="unknown") == 0
    assert value(text, "tandem_pairs_opened_total") == 9
    assert value(text, "tandem_feed_frames_total", venue="aster") == 7
    assert value(text, "tandem_executor_orders_sent_total", venue="hyperliquid", purpose="open") == 1
    assert value(text, "tandem_mode_info", mode="sandbox") == 1
    assert value(text, "tandem_config_info", fingerprint=desk.loaded.fingerprint) == 1
    assert value(text, "tandem_build_info") == 1


async def test_histograms_are_cumulative_and_end_in_infinity(desk: Desk, fetch: Fetch) -> None:
    everything(desk)
    name = "tandem_feed_decode_to_publish_seconds"
    samples = [s for s in families(await scrape(fetch))[name].samples if s.labels.get("venue") == "aster"]
    buckets = {float(s.labels["le"]): s.value for s in samples if s.name.endswith("_bucket")}
    assert list(buckets) == sorted(buckets)
    assert buckets[8e-6] == 0
    assert buckets[12e-6] == 1
    assert buckets[math.inf] == 1
    assert {s.name: s.value for s in samples if not s.labels.get("le")} == {
        f"{name}_count": 1.0, f"{name}_sum": pytest.approx(9e-6),
    }  # fmt: skip


async def test_the_must_have_series_exist(desk: Desk, fetch: Fetch) -> None:
    """OPERATIONS: must-have series, as far as there is something to measure in this version."""
    everything(desk)
    found = families(await scrape(fetch))
    for name in (
        "process_up", "build_info", "config_info", "config_last_reload_successful", "feed_last_message_timestamp_seconds",
        "feed_gaps", "feed_reconnects", "venue_clock_offset_seconds", "executor_nonce_high_water",
        "executor_order_outcomes", "executor_orders_in_doubt", "unhedged_usd", "unhedged_age_seconds",
        "executor_foreign_orders", "positions_foreign", "venue_margin_used_ratio", "move_to_liquidation_ratio",
        "executor_funding_paid_usd", "venue_rate_budget_ratio", "equity_usd", "trading_state", "halt_latch_set", "mode_info",
    ):  # fmt: skip
        assert f"tandem_{name}" in found, name
        assert found[f"tandem_{name}"].samples, name


async def test_every_expected_process_has_a_zero_before_it_came(desk: Desk, fetch: Fetch) -> None:
    text = await scrape(fetch)
    for process in ("feed-hyperliquid", "feed-aster", "executor", "strategy-scalp", "sandbox"):
        assert value(text, "tandem_process_up", process=process) == 0
    assert value(text, "tandem_process_up", process="exporter") == 1
    desk.count("executor").heartbeat()
    assert value(await scrape(fetch), "tandem_process_up", process="executor") == 1
    desk.counters.pop("executor").close()
    assert value(await scrape(fetch), "tandem_process_up", process="executor") == 0


async def test_the_sandbox_is_up_when_its_port_answers(desk: Desk, fetch: Fetch) -> None:
    sandbox = desk.loaded.config.sandbox
    assert sandbox is not None
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", sandbox.control_port)
    async with server:
        assert value(await scrape(fetch), "tandem_process_up", process="sandbox") == 1
    assert value(await scrape(fetch), "tandem_process_up", process="sandbox") == 0


async def test_a_process_with_another_configuration_shows(desk: Desk, fetch: Fetch) -> None:
    everything(desk)
    desk.count("feed-old").gauge(CONFIG_SERIES, {"fingerprint": "other"}).set(1)
    text = await scrape(fetch)
    assert value(text, "tandem_process_config_matches", process="feed-old") == 0
    for process in ("feed-aster", "executor", "exporter"):
        assert value(text, "tandem_process_config_matches", process=process) == 1
    desk.account(config_fingerprint="older")
    assert value(await scrape(fetch), "tandem_process_config_matches", process="executor") == 0


async def test_an_edited_file_shows_before_anything_restarts(desk: Desk, fetch: Fetch) -> None:
    async def said() -> tuple[float, float]:
        text = await scrape(fetch)
        return value(text, "tandem_config_last_reload_successful"), value(text, "tandem_config_restart_pending")

    assert await said() == (1, 0)
    text = desk.loaded.path.read_text()
    desk.loaded.path.write_text(text.replace("max_open_pairs = 6", "max_open_pairs = 5"))
    assert await said() == (1, 1)
    desk.loaded.path.write_text("nonsense")
    assert await said() == (0, 0)


async def test_the_halt_latch_shows_even_without_an_executor(desk: Desk, fetch: Fetch) -> None:
    assert value(await scrape(fetch), "tandem_halt_latch_set") == 0
    HaltLatch(desk.loaded.state_dir).set("drill", CLOCK.wire_ns())
    assert value(await scrape(fetch), "tandem_halt_latch_set") == 1


async def test_a_page_of_another_version_hides_no_other(desk: Desk, fetch: Fetch) -> None:
    everything(desk)
    path = desk.run.counters / "feed-old"
    whole = bytearray((desk.run.counters / "feed-aster").read_bytes())
    whole[8:16] = bytes(8)
    path.write_bytes(whole)
    text = await scrape(fetch)
    assert value(text, "tandem_process_page_readable", process="feed-old") == 0
    assert value(text, "tandem_process_up", process="feed-old") == 0
    assert value(text, "tandem_process_page_readable", process="feed-aster") == 1
    assert value(text, "tandem_feed_frames_total", venue="aster") == 7


async def test_without_executor_and_feeds_there_is_still_a_scrape(desk: Desk, fetch: Fetch) -> None:
    desk.page.close()
    for book in desk.books.values():
        book.close()
    text = await scrape(fetch)
    assert value(text, "tandem_account_page_up") == 0
    assert value(text, "tandem_feed_up", venue="aster") == 0
    assert "tandem_equity_usd" not in text
    assert (await fetch("/healthz"))[0] == 200


async def test_readyz_tells_every_reason(desk: Desk, fetch: Fetch) -> None:
    async def ready() -> tuple[int, list[str]]:
        for venue in (HL, AS):
            desk.quote(venue, "BTC", 100.0, 101.0)
        status, text = await fetch("/readyz")
        return status, json.loads(text)["reasons"]

    assert await ready() == (503, ["executor: executor: starting"])
    desk.account()
    assert await ready() == (200, [])
    desk.account(ready=False, trading_state=TradingState.HALTED, state_reason="drill")
    assert await ready() == (503, ["executor: recovering", "trading halted: drill"])
    desk.account(venues=(venue_account(HL, status="blind"), venue_account(AS)))
    assert await ready() == (503, ["venue hyperliquid: blind"])
    desk.books[AS].set_status(False, "no route")
    desk.account(silent_s=5.0)
    status, (feed, executor) = await ready()
    assert (status, feed) == (503, "feed aster: no route")
    assert executor.startswith("executor: silent for 5.")


async def test_a_taken_port_is_named_with_its_key(desk: Desk, fetch: Fetch, tmp_path: Path) -> None:
    await fetch("/healthz")
    run = RunDir.join(desk.loaded.run_dir, 1.0, CLOCK)
    desk.run.counters.joinpath("exporter").rename(desk.run.counters / "first")  # its name is free for the second one
    (desk.run.counters / ".exporter.lock").rename(desk.run.counters / ".first.lock")
    second = Exporter(desk.loaded, run, CLOCK, Log("exporter", CLOCK, write=lambda line: None))
    with pytest.raises(BusyError, match=r"exporter\.port: 127\.0\.0\.1:\d+ cannot be opened .* ss -ltnp"):
        await second.run(asyncio.Event())
    run.leave()
