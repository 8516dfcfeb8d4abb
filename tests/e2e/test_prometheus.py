"""A real Prometheus against a running system: targets up, values as they are, no scrape error, names that its linter takes;
and every metric that operators were promised is in a scrape."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.system import PROGRAMS, ROOT, System, free_ports

PROMISED = {
    # what operators were promised -> the series that tells it (family names as parsed: counters without _total)
    "quote age": "tandem_quote_age_seconds",
    "frames": "tandem_feed_frames",
    "last message": "tandem_feed_last_message_timestamp_seconds",
    "gaps": "tandem_feed_gaps",
    "reconnects": "tandem_feed_reconnects",
    "decode to publish": "tandem_feed_decode_to_publish_seconds",
    "decision": "tandem_strategy_decide_seconds",
    "tick to wire": "tandem_executor_tick_to_wire_seconds",
    "command to wire": "tandem_executor_command_to_wire_seconds",
    "order round trip": "tandem_executor_order_round_trip_seconds",
    "order outcomes by kind": "tandem_executor_order_outcomes",
    "orders refused by code": "tandem_executor_order_rejects",
    "orders in doubt": "tandem_executor_orders_in_doubt",
    "unhedged notional": "tandem_unhedged_usd",
    "unhedged age": "tandem_unhedged_age_seconds",
    "unhedged episodes": "tandem_executor_unhedged_seconds",
    "nonce resyncs": "tandem_executor_nonce_resyncs",
    "nonce high water": "tandem_executor_nonce_high_water",
    "rate-limit budget": "tandem_venue_rate_budget_ratio",
    "equity": "tandem_equity_usd",
    "equity by venue": "tandem_venue_equity_usd",
    "pairs by status": "tandem_pairs",
    "pairs opened": "tandem_pairs_opened",
    "pairs closed": "tandem_pairs_closed",
    "trading state": "tandem_trading_state",
    "kill switch": "tandem_halt_latch_set",
    "mode": "tandem_mode_info",
    "processes": "tandem_process_up",
    "build": "tandem_build_info",
    "configuration": "tandem_config_info",
    "last reload": "tandem_config_last_reload_successful",
    "clock offset": "tandem_venue_clock_offset_seconds",
    "orphans": "tandem_positions_foreign",
    "orphan orders": "tandem_executor_foreign_orders",
    "margin used": "tandem_venue_margin_used_ratio",
    "move to liquidation": "tandem_move_to_liquidation_ratio",
    "funding paid": "tandem_executor_funding_paid_usd",
    "account age": "tandem_venue_account_age_seconds",
    "page age": "tandem_account_page_age_seconds",
    "journal": "tandem_executor_journal_ok",
}
BY_VENUE = (
    "tandem_feed_up", "tandem_feed_frames", "tandem_feed_gaps", "tandem_feed_reconnects",
    "tandem_feed_decode_to_publish_seconds", "tandem_quote_age_seconds", "tandem_executor_order_outcomes",
    "tandem_executor_orders_in_doubt", "tandem_executor_nonce_resyncs", "tandem_venue_rate_budget_ratio",
    "tandem_venue_equity_usd", "tandem_venue_clock_offset_seconds",
)  # fmt: skip


class Prometheus:
    """The real one, on the shipped configuration with this system's port and a quicker pace."""

    def __init__(self, program: str, system: System, directory: Path) -> None:
        text = (ROOT / "config" / "prometheus.yml").read_text().replace("9108", str(system.ports["exporter"]))
        text = text.replace("interval: 5s", "interval: 1s").replace("timeout: 4s", "timeout: 1s")
        (directory / "prometheus.yml").write_text(text)
        shutil.copy(ROOT / "config" / "alerts.yml", directory)
        (port,) = free_ports(1)
        self._base = f"http://127.0.0.1:{port}/api/v1/"
        self._log = (directory / "log").open("w+")
        self._process = subprocess.Popen(
            [program, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, cwd=directory,
        )  # fmt: skip

    def ask(self, what: str, **parameters: str) -> Any:
        """The API's data, or None while it does not listen yet."""
        try:
            with urllib.request.urlopen(
                f"{self._base}{what}?{urllib.parse.urlencode(parameters)}", timeout=10
            ) as answer:
                body = json.loads(answer.read())
        except urllib.error.URLError:
            assert self._process.poll() is None, self.said()
            return None
        assert body["status"] == "success", body
        return body["data"]

    def value(self, expression: str) -> float:
        """The one value of an instant query; NaN while there is none."""
        found = (self.ask("query", query=expression) or {}).get("result", [])
        return float(found[0]["value"][1]) if len(found) == 1 else float("nan")

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System({"strategies.scalp": {"take_profit_ratio": "1.0"}}) as system:  # out of reach: pairs stay open
        system.up()
        system.until("a pair is open", system.pairs, 90.0)
        yield system


@pytest.fixture(scope="module")
def prometheus(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("no prometheus here (Debian's package `prometheus`): NOT scraped by a real one")
    prometheus = Prometheus(program, system, tmp_path_factory.mktemp("prometheus"))
    yield prometheus
    prometheus.end()


def scrape(system: System) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{system.ports['exporter']}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_every_promised_metric_is_there(system: System) -> None:
    moves = "tandem_move_to_liquidation_ratio{"
    system.until("the account was read with the pair in it", lambda: moves in scrape(system), 90.0)
    families = {family.name: family for family in text_string_to_metric_families(scrape(system))}
    assert {what: name for what, name in PROMISED.items() if name not in families or not families[name].samples} == {}
    venues = set(system.loaded.enabled_venues)
    for name in BY_VENUE:
        assert {sample.labels["venue"] for sample in families[name].samples} == venues, name
    processes = {s.labels["process"]: s.value for s in families["tandem_process_up"].samples}
    assert processes == dict.fromkeys(PROGRAMS, 1.0)
    for name in ("decode_to_publish", "tick_to_wire", "order_round_trip"):
        (full,) = [f for f in families if f.endswith(f"{name}_seconds")]
        assert sum(s.value for s in families[full].samples if s.name.endswith("_count")) > 0, full
    outcomes = {s.labels["outcome"] for s in families["tandem_executor_order_outcomes"].samples}
    assert outcomes >= {"filled", "rejected", "unknown"}


def test_names_follow_the_linter(system: System) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here (Debian's package `prometheus`): names were NOT linted")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=scrape(system), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_target_is_up_and_values_arrive(system: System, prometheus: Prometheus) -> None:
    def target() -> Any:
        targets = (prometheus.ask("targets") or {}).get("activeTargets", [])
        return targets[0] if targets and targets[0]["health"] != "unknown" else None

    system.until("the target was scraped", target, 30.0)
    found = target()
    assert (found["health"], found["lastError"]) == ("up", "")
    system.until("two scrapes", lambda: prometheus.value('count_over_time(up{job="tandem"}[1m])') >= 3, 30.0)
    assert prometheus.value('min_over_time(up{job="tandem"}[1m])') == 1
    assert prometheus.value("sum(tandem_feed_up)") == len(system.loaded.enabled_venues)
    assert prometheus.value('tandem_trading_state{state="active"}') == 1
    assert prometheus.value("sum(tandem_process_up)") == len(PROGRAMS)
    system.until("frames are counted", lambda: prometheus.value("min(rate(tandem_feed_frames_total[10s]))") > 0, 30.0)
    page = system.page()
    assert page is not None
    assert 1 <= prometheus.value("tandem_pairs_opened_total") <= page.pairs_opened
    assert prometheus.value("tandem_equity_usd") == pytest.approx(
        float(sum(venue.equity_usd for venue in page.venues)), rel=0.05
    )
    tick = "histogram_quantile(0.5, sum by (le) (tandem_executor_tick_to_wire_seconds_bucket))"
    assert 0 < prometheus.value(tick) <= 0.01
    assert prometheus.value("max(tandem_quote_age_seconds)") >= 0


def test_alerts_are_loaded_and_one_fires(system: System, prometheus: Prometheus) -> None:
    def rules() -> list[Any]:
        groups = (prometheus.ask("rules") or {}).get("groups", [])
        return [rule for group in groups for rule in group["rules"]]

    system.until("every rule was evaluated", lambda: rules() and all(r["health"] == "ok" for r in rules()), 30.0)
    halted = 'ALERTS{alertname="TandemHalted",alertstate="firing",state="halted"}'
    assert prometheus.value(f"count({halted}) or vector(0)") == 0
    system.cli("halt", "drill")
    system.until("the alert fires", lambda: prometheus.value(f"count({halted})") == 1, 30.0)
    system.cli("resume")
    system.until("the alert ends", lambda: prometheus.value(f"count({halted}) or vector(0)") == 0, 30.0)


def test_it_has_nothing_to_complain_about(prometheus: Prometheus) -> None:
    """At its level of warnings: duplicate series, bad samples and failed rules would be told here."""
    assert prometheus.said() == ""
