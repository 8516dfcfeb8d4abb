"""The whole system under the real supervisord: starts, trades by itself, is seen, and ends flat with nothing left."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.system import PROGRAMS, System


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System() as system:
        system.up()
        yield system


def fetch(system: System, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{system.ports['exporter']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_pairs_open_and_close_by_themselves_within_a_minute(system: System) -> None:
    def traded() -> bool:
        page = system.page()
        return page is not None and page.pairs_opened >= 1 and page.pairs_closed >= 1

    took_s = system.until("a pair opened and one closed", traded, 60.0)
    print(f"first pair opened and closed after {took_s:.1f} s")


def test_status_shows_quotes_with_ages_positions_and_pnl(system: System) -> None:
    shown = system.json("status")
    assert {row["venue"] for row in shown["feeds"]} == set(system.loaded.enabled_venues)
    assert all(row["up"] for row in shown["feeds"])
    fresh = [row for row in shown["quotes"] if row["state"] == "ok"]
    assert {row["symbol"] for row in fresh} >= {"BTC", "ETH", "PEPE"}
    assert all(0 <= row["age_ms"] <= 500 for row in fresh)
    by_venue = {row["venue"]: row for row in fresh if row["symbol"] == "PEPE"}
    ratio = by_venue["hyperliquid"]["bid_px"] / by_venue["aster"]["bid_px"]
    assert 0.9 < ratio < 1.1, "kPEPE and 1000PEPE are one canonical unit"
    assert shown["account"]["trading_state"] == "active"
    text = system.cli("status").stdout
    for word in ("Venues", "Quotes", "Positions", "Pairs open", "net exposure", "hyperliquid", "aster"):
        assert word in text, word


def test_why_shows_decisions_with_their_numbers(system: System) -> None:
    rows = system.json("why", "-n", "500")
    opened = [row for row in rows if row["action"] == "open"]
    assert opened
    assert opened[0]["numbers"]["dev_bps"] >= 40.0
    assert {"edge_bps", "offset_bps", "cost_bps", "net_bps", "age_short_ms", "age_long_ms"} <= set(opened[0]["numbers"])


def test_one_scrape_tells_about_every_process(system: System) -> None:
    status, text = fetch(system, "/metrics")
    assert status == 200
    for line in (
        'tandem_feed_up{venue="aster"} 1.0',
        'tandem_trading_state{state="active"} 1.0',
        'tandem_process_up{process="executor"} 1.0',
        'tandem_process_up{process="strategy-scalp"} 1.0',
        "tandem_pairs_opened_total",
        "tandem_quote_age_seconds",
        "tandem_unhedged_usd",
    ):
        assert line in text, line
    assert fetch(system, "/healthz")[0] == 200
    code, body = fetch(system, "/readyz")
    assert (code == 200) is json.loads(body)["ready"]


def test_halt_denies_opens_until_resume(system: System) -> None:
    system.cli("halt", "drill")
    page = system.page()
    assert page is not None
    assert (page.trading_state.value, page.state_reason) == ("halted", "drill")
    assert fetch(system, "/readyz")[0] == 503
    before = page.pairs_opened
    system.sandbox("basis", "hyperliquid", "ETH", "150")
    system.until(
        "a refusal because of the halt", lambda: "trading_state_halted" in json.dumps(system.json("why", "-n", "500"))
    )
    after = system.page()
    assert after is not None
    assert after.pairs_opened == before
    system.cli("resume")
    system.until("active again", lambda: system.page().trading_state.value == "active")  # type: ignore[union-attr]


def test_one_feed_restarts_while_the_rest_runs_on(system: System) -> None:
    others = {name: system.pid(name) for name in PROGRAMS if name != "feed-aster"}
    said = system.log("feed-aster")
    assert said
    system.ctl("restart", PROGRAMS["feed-aster"])
    system.until("the restarted feed is live again", system.ready, 20.0)
    assert {name: system.pid(name) for name in others} == others
    (row,) = [row for row in system.json("status")["feeds"] if row["venue"] == "aster"]
    assert row["epoch"] >= 2
    log = system.log("feed-aster")
    assert log.startswith(said), "a start never shortens a log"
    assert len(log) > len(said)


def test_flatten_with_the_executor_up_ends_flat(system: System) -> None:
    system.until("a pair is open", system.pairs, 90.0)
    done = system.cli("flatten", "--force", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.venue_positions() == {}
    page = system.page()
    assert page is not None
    assert page.trading_state.value == "halted"
    assert not [pair for pair in system.pairs() if pair.long_qty or pair.short_qty]


def test_nothing_was_ever_sent_twice_and_books_are_equal(system: System) -> None:
    ids = Counter(system.client_ids())
    assert ids
    assert {i: n for i, n in ids.items() if n > 1 or not i} == {}
    system.until("journal equals venues", system.books_equal, 20.0)
