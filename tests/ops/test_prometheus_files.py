"""The shipped Prometheus example is valid, scrapes where the exporter listens, and each alert fires when it should and is
silent when it should be, judged by Prometheus's own promtool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.config import load

CONFIG = Path(__file__).resolve().parents[2] / "config"
RULES = CONFIG / "alerts.yml"
LINE = re.compile(r"(?m)^\s*- alert: (\w+)$")

CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    # alert -> series that fire it after 40 steps of 5 s, series that must not; promtool's "1x40" is 41 times a 1
    "TandemAway": ({'up{job="tandem"}': "0x40"}, {'up{job="tandem"}': "1x40"}),
    "TandemProcessDown": (
        {'tandem_process_up{process="executor"}': "0x40"},
        {'tandem_process_up{process="executor"}': "1x36 0 0 1 1"},
    ),
    "TandemPageStale": (
        {"tandem_account_page_age_seconds": "1+5x40"},
        {"tandem_account_page_age_seconds": "0.3x40", "tandem_account_page_up": "1x40"},
    ),
    "TandemUnhedged": ({"tandem_unhedged_age_seconds": "0x38 1 6"}, {"tandem_unhedged_age_seconds": "0x38 3 4.9"}),
    "TandemUnhedgedLong": (
        {
            "tandem_executor_unhedged_seconds_count": "4x20 5x19",
            'tandem_executor_unhedged_seconds_bucket{le="2.0"}': "4x40",
        },
        {
            "tandem_executor_unhedged_seconds_count": "4x20 5x19",
            'tandem_executor_unhedged_seconds_bucket{le="2.0"}': "4x20 5x19",
        },
    ),
    "TandemInDoubt": (
        {'tandem_executor_orders_in_doubt{venue="aster"}': "1x40"},
        {'tandem_executor_orders_in_doubt{venue="aster"}': "0x36 1 1 0 1"},
    ),
    "TandemForeignPosition": ({"tandem_positions_foreign": "1x40"}, {"tandem_positions_foreign": "0x40"}),
    "TandemFeedDown": (
        {'tandem_feed_ready{venue="aster"}': "0x40"},
        {'tandem_feed_ready{venue="aster"}': "1x37 0 0 1", 'tandem_feed_usable_quotes{venue="aster"}': "0x40"},
    ),
    "TandemHalted": (
        {'tandem_trading_state{state="halted"}': "0x39 1", 'tandem_trading_state{state="active"}': "1x39 0"},
        {'tandem_trading_state{state="halted"}': "0x40", "tandem_halt_latch_set": "0x40"},
    ),
    "TandemVenueBlind": (
        {'tandem_venue_ok{venue="aster"}': "0x40"},
        {'tandem_venue_ok{venue="aster"}': "1x36 0 0 0 1"},
    ),
    "TandemNearLiquidation": (
        {'tandem_move_to_liquidation_ratio{venue="aster",symbol="BTC"}': "0.3x39 0.14"},
        {'tandem_move_to_liquidation_ratio{venue="aster",symbol="BTC"}': "0.15x40"},
    ),
    "TandemMarginUsed": (
        {'tandem_venue_margin_used_ratio{venue="aster"}': "0.41x40"},
        {
            'tandem_venue_margin_used_ratio{venue="aster"}': "0.40x40",
        },
    ),
    "TandemDepeg": (
        {'tandem_executor_parity_usd{currency="USDT"}': "0.985x40"},
        {'tandem_executor_parity_usd{currency="USDT"}': "0.992x40"},
    ),
    "TandemDepegNear": (
        {'tandem_executor_parity_usd{currency="USDT"}': "1.004x40"},
        {'tandem_executor_parity_usd{currency="USDT"}': "0.998x40"},
    ),
    "TandemClockOffset": (
        {'tandem_venue_clock_offset_seconds{venue="aster"}': "-0.8x40"},
        {'tandem_venue_clock_offset_seconds{venue="aster"}': "0.2x38 0.8 0.8"},
    ),
    "TandemRateBudget": (
        {'tandem_venue_rate_budget_ratio{venue="aster"}': "0.2x40"},
        {'tandem_venue_rate_budget_ratio{venue="aster"}': "0.9x30 0.2x9"},
    ),
    "TandemNonceResyncs": (
        {'tandem_executor_nonce_resyncs_total{venue="lighter"}': "0+1x40"},
        {'tandem_executor_nonce_resyncs_total{venue="lighter"}': "0x20 2x19"},
    ),
    "TandemJournal": ({"tandem_executor_journal_ok": "1x39 0"}, {"tandem_executor_journal_ok": "1x40"}),
    "TandemConfiguration": (
        {'tandem_process_config_matches{process="executor"}': "0x80"},
        {
            'tandem_process_config_matches{process="executor"}': "1x30 0x9",
            "tandem_config_last_reload_successful": "1x40",
        },
    ),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.skip("no promtool here (Debian's package `prometheus`): the shipped alerts were NOT checked")
    return found


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_the_shipped_files_are_valid(promtool: str) -> None:
    done = run(promtool, "check", "config", str(CONFIG / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_scrapes_where_the_exporter_listens() -> None:
    text = (CONFIG / "prometheus.yml").read_text()
    for name in ("sandbox", "live"):
        where = load(CONFIG / f"{name}.toml").config.exporter
        assert f'"{where.host}:{where.port}"' in text


def test_every_alert_has_a_case() -> None:
    assert LINE.findall(RULES.read_text()) == list(CASES)


@pytest.mark.parametrize("alert", list(CASES))
def test_it_fires_and_is_silent(promtool: str, alert: str, tmp_path: Path) -> None:
    firing, quiet = CASES[alert]
    assert count(promtool, alert, firing, tmp_path) == 1
    assert count(promtool, alert, quiet, tmp_path) == 0


def count(promtool: str, alert: str, series: dict[str, str], directory: Path) -> int:
    """How many alerts of that name fire at the end of the series."""
    series = {'up{job="tandem"}': "1x200", **series}
    steps = 80 if alert == "TandemConfiguration" and any("0x80" in values for values in series.values()) else 40
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    found = []
    for expected in (0, 1):
        test: dict[str, Any] = {
            "interval": "5s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {"expr": expression, "eval_time": f"{steps * 5}s", "exp_samples": [{"labels": "{}", "value": expected}]}
            ],
        }
        path = directory / f"{alert}.yml"
        path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "5s", "tests": [test]}))
        done = run(promtool, "test", "rules", str(path))
        found.append(done.returncode == 0)
    assert found.count(True) == 1, f"neither 0 nor 1 fire, or promtool refuses the case: {done.stdout} {done.stderr}"
    return found.index(True)
