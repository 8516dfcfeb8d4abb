"""The executor's counters page: every series exists from the start, counts what the engine tells, and fits its page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from bookshm.counters import CountersReader, CountersWriter, Kind, Sample
from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_US, SystemClock
from core.messages import DenyReason
from core.types import OrderStatus, Side
from executor.exit_guards import GuardKind
from executor.metrics import HOP_S, ROUND_TRIP_S, UNHEDGED_S, Metrics
from executor.outcome import RejectCode
from executor.peers import Meter
from tests.executor.fake_gateway import Answer, Plan
from tests.executor.rig import LONG, SHORT, Rig, settle


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.run = RunDir.join(tmp_path / "tandem-metrics", 1.0, SystemClock())
        self.page = CountersWriter(self.run, "executor", SystemClock(), 512)
        self.metrics = Metrics(self.page, (LONG, SHORT))
        self.reader = CountersReader(self.run.counters / "executor")

    def sample(self, name: str, **labels: str) -> Sample:
        (found,) = [s for s in self.reader.samples() if s.name == name and s.labels == labels]
        return found

    def value(self, name: str, **labels: str) -> float:
        return self.sample(name, **labels).value


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.page.close()
    bench.run.leave()


def test_every_label_set_is_there_before_anything_happens(bench: Bench) -> None:
    samples = bench.reader.samples()
    names = {sample.name for sample in samples}
    assert all(name.startswith("executor_") for name in names)
    assert all(s.name.endswith("_total") == (s.kind is Kind.COUNTER) for s in samples)
    for reason in DenyReason:
        assert bench.value("executor_denied_total", reason=reason.value) == 0
    for venue in (LONG, SHORT):
        for code in RejectCode:
            assert bench.value("executor_order_rejects_total", venue=venue, code=code.value) == 0
        assert bench.value("executor_order_outcomes_total", venue=venue, outcome="unknown") == 0
    assert {s.labels["kind"] for s in samples if s.name == "executor_commands_total"} >= {
        "open_pair",
        "flatten",
        "probe",
    }


def test_each_call_lands_in_its_series(bench: Bench) -> None:
    meter: Meter = bench.metrics
    meter.command("open_pair")
    meter.command("never heard of")
    meter.denied("open_pair", DenyReason.EDGE_GONE)
    meter.order_sent(LONG, "open")
    meter.order_outcome(LONG, OrderStatus.REJECTED, "margin", 30 * NS_PER_MS)
    meter.order_outcome(LONG, OrderStatus.NOT_SENT, "", 30 * NS_PER_MS)
    meter.fill(SHORT, False)
    meter.fill(SHORT, True)
    meter.duplicate_fill(SHORT)
    meter.late_fill(SHORT)
    meter.repair("unwind")
    meter.unhedged(1_500 * NS_PER_MS, Decimal(250))
    meter.command_to_wire(150 * NS_PER_US)
    bench.metrics.tick_to_wire(601 * NS_PER_US)
    bench.metrics.journal_append(4 * NS_PER_US)
    bench.metrics.order_resolved(LONG, "burn", 0.4)
    bench.metrics.guard_fired(GuardKind.STOP_LEG)
    bench.metrics.margin_warned(LONG)
    assert bench.value("executor_commands_total", kind="open_pair") == 1
    assert bench.value("executor_commands_total", kind="other") == 1
    assert bench.value("executor_denied_total", reason="edge_gone") == 1
    assert bench.value("executor_orders_sent_total", venue=LONG, purpose="open") == 1
    assert bench.value("executor_order_outcomes_total", venue=LONG, outcome="rejected") == 1
    assert bench.value("executor_order_rejects_total", venue=LONG, code="margin") == 1
    assert bench.sample("executor_order_round_trip_seconds", venue=LONG).count == 1, "what was not sent took no trip"
    for origin in ("own", "foreign", "duplicate", "late"):
        assert bench.value("executor_fills_total", venue=SHORT, origin=origin) == 1
    assert bench.value("executor_repairs_total", kind="unwind") == 1
    assert bench.value("executor_unhedged_seconds") == pytest.approx(1.5)
    assert bench.value("executor_orders_resolved_total", venue=LONG, source="burn") == 1
    assert bench.value("executor_guards_fired_total", guard="stop_leg") == 1
    assert bench.value("executor_margin_warnings_total", venue=LONG) == 1
    tick = dict(bench.sample("executor_tick_to_wire_seconds").buckets)
    assert (tick[6e-4], tick[1e-3]) == (0, 1)


def test_buckets_have_an_edge_at_each_limit() -> None:
    assert {2e-4, 3e-4, 6e-4, 1e-3} <= set(HOP_S)
    assert {2.0, 5.0, 8.0} <= set(UNHEDGED_S)
    assert ROUND_TRIP_S == (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


async def test_gauges_follow_state_and_desks(bench: Bench, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gateways[LONG].plans.append(Plan(answer=Answer.LOST))
    rig.engine.meter = bench.metrics
    rig.commands.take(rig.open_command("0.01"), rig.client)
    await settle(1)
    rig.gateways[SHORT].foreign_fill("ETH", Side.BUY, 1, Decimal(2000))
    bench.metrics.sample(rig.engine, {LONG: 3})
    assert bench.value("executor_foreign_orders", venue=LONG) == 3
    assert bench.value("executor_reconciled", venue=LONG) == 1
    assert bench.value("executor_reserved_margin_usd", venue=LONG) >= 0
    assert bench.value("executor_journal_ok") == 1
    assert bench.value("executor_nonce_high_water", venue=LONG) > 0
    assert math.isnan(bench.value("executor_reconcile_age_seconds", venue=SHORT))  # never read, so not known
    rig.engine.desks[SHORT].positions_mono_ns = rig.clock.mono_ns()
    rig.journal.trouble = "disk full"
    rig.pass_ms(5000)
    bench.metrics.sample(rig.engine, {})
    assert bench.value("executor_journal_ok") == 0
    assert bench.value("executor_reconcile_age_seconds", venue=SHORT) == pytest.approx(5.0)
    assert bench.value("executor_orders_sent_total", venue=LONG, purpose="open") == 1
    assert bench.value("executor_fills_total", venue=SHORT, origin="foreign") == 1


async def test_an_order_in_doubt_is_counted_while_it_is(bench: Bench, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gateways[LONG].plans.append(Plan(answer=Answer.LOST, fill_lots=0))
    await rig.open("0.01")
    bench.metrics.sample(rig.engine, {})
    assert bench.value("executor_orders_in_doubt", venue=LONG) == 1
    assert bench.value("executor_orders_in_doubt", venue=SHORT) == 0
    rig.resolve()
    bench.metrics.sample(rig.engine, {})
    assert bench.value("executor_orders_in_doubt", venue=LONG) == 0


async def test_nonce_resyncs_are_counted_once_each(bench: Bench, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.gateways[LONG].nonce_resyncs = 2
    bench.metrics.sample(rig.engine, {})
    bench.metrics.sample(rig.engine, {})
    assert bench.value("executor_nonce_resyncs_total", venue=LONG) == 2
    rig.gateways[LONG].nonce_resyncs = 3
    bench.metrics.sample(rig.engine, {})
    assert bench.value("executor_nonce_resyncs_total", venue=LONG) == 3
    assert bench.value("executor_nonce_resyncs_total", venue=SHORT) == 0
