"""The real process: ports, control endpoint, stopping one venue, identities, clear ends on bad conditions."""

from __future__ import annotations

import itertools
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info

from core.errors import EXIT_BUSY, EXIT_CONFIG, ConfigError
from ops.sandbox import keys
from ops.sandbox.venues._agent_wallets import address_of
from tests.ops.sandbox.process import ROOT, SandboxProcess

ADDRESS = "0x" + "Ab" * 20
VENUES = ("hyperliquid", "aster", "lighter")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("process")) as process:
        yield process


def test_it_serves_its_venues_with_funded_throw_away_accounts(sandbox: SandboxProcess) -> None:
    assert sandbox.control("healthz") == {"serving": dict.fromkeys(VENUES, True)}
    accounts = keys.load_accounts(sandbox.state_dir)
    for venue in VENUES:
        account = sandbox.account(venue, accounts[venue].address)
        assert float(account["equity_usd"]) == 10_000
        assert account["agents"] == list(accounts[venue].agents)
    secrets = sandbox.state_dir / "secrets.env"
    assert secrets.stat().st_mode & 0o777 == 0o600
    key = bytes.fromhex(sandbox.secrets()["HL_PRIVATE_KEY"][2:])
    assert address_of(key) in accounts["hyperliquid"].agents
    assert sandbox.secrets()["HL_PRIVATE_KEY"] not in sandbox.output()


def test_control_opens_accounts_and_refuses_nonsense(sandbox: SandboxProcess) -> None:
    sandbox.control("account", {"venue": "aster", "address": ADDRESS, "balance_usd": 12})
    assert float(sandbox.account("aster", ADDRESS.lower())["cash_usd"]) == 12
    for path, body in (
        ("account", {"venue": "nowhere", "address": ADDRESS}),
        ("basis", {"venue": "aster", "symbol": "NOPE", "bps": 1}),
        ("price", {"symbol": "BTC", "percent": 1}),
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            sandbox.control(path, body)
        assert error.value.code == 400
        error.value.close()


def test_a_forced_basis_opens_an_edge_at_once(sandbox: SandboxProcess) -> None:
    info = Info(sandbox.url, skip_ws=True)
    before = float(info.all_mids()["SOL"])
    sandbox.control("basis", {"venue": "hyperliquid", "symbol": "SOL", "bps": 300})
    deadline = time.monotonic() + 10
    while float(info.all_mids()["SOL"]) / before < 1.02:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    info.session.close()


def test_one_venue_can_be_stopped_and_started_on_its_port(sandbox: SandboxProcess) -> None:
    port = sandbox.ports["aster"]
    assert sandbox.control("venue", {"venue": "aster", "serving": False}) == {"serving": False}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    socket.create_connection(("127.0.0.1", sandbox.ports["hyperliquid"]), timeout=5).close()
    assert sandbox.control("venue", {"venue": "aster", "serving": True}) == {"serving": True}
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_it_listens_on_loopback_only(sandbox: SandboxProcess) -> None:
    listening = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(":")
        if fields[3] == "0A" and int(port, 16) in sandbox.ports.values():
            listening.add(address)
    assert listening == {"0100007F"}


def test_term_ends_it_cleanly(tmp_path: Path) -> None:
    process = SandboxProcess(tmp_path)
    process.start()
    assert process.stop(signal.SIGTERM) == 0
    assert '"level": "error"' not in process.output()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = SandboxProcess(tmp_path)
        text = process.config.read_text().replace("control_port = 0", f"control_port = {port}")
        process.config.write_text(text)
        done = run(process.config)
    assert done.returncode == EXIT_BUSY
    assert f"port {port} of 127.0.0.1 (control) is taken" in done.stdout


def test_bad_configuration_ends_with_78_naming_the_key(tmp_path: Path) -> None:
    process = SandboxProcess(tmp_path, extra='symbols = ["BTC", "DOGE"]')
    done = run(process.config)
    assert done.returncode == EXIT_CONFIG
    assert "sandbox.symbols: DOGE" in done.stdout


def test_a_scaled_calendar_settles_funding_from_the_runs_own_origin(tmp_path: Path) -> None:
    process = SandboxProcess(tmp_path)
    text = process.config.read_text().replace("[run]\n", f'[run]\ntime_scale = 7200.0\nshm_dir = "{tmp_path}"\n')
    process.config.write_text(text)
    run_dir = next(line.split('"')[1] for line in text.splitlines() if line.startswith("name = "))
    origin_ns = time.time_ns() - 60 * 10**9
    (tmp_path / f"tandem-{run_dir}").mkdir()
    (tmp_path / f"tandem-{run_dir}" / "run.json").write_text(f'{{"origin_ns": {origin_ns}}}')
    with process:
        client = Exchange(process.agent, process.url, account_address=process.master)
        client.market_open("ETH", True, 0.1)
        deadline = time.monotonic() + 20
        while len(rows := client.info.user_funding_history(process.master, 0)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        times = [row["time"] for row in rows]
        assert all(after - before == 3_600_000 for before, after in itertools.pairwise(times))
        expected_ms = (origin_ns + (time.time_ns() - origin_ns) * 7200) // 1_000_000
        assert abs(times[-1] - expected_ms) < 24 * 3_600_000
        for one in (client, client.info):
            one.session.close()


def test_identities_are_made_once_and_read_back(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    made = keys.ensure(tmp_path, secrets, VENUES, random.Random(1))
    text = secrets.read_text()
    assert keys.ensure(tmp_path, secrets, VENUES, random.Random(2)) == made
    assert secrets.read_text() == text
    (tmp_path / keys.ACCOUNTS_FILE).unlink()
    assert keys.ensure(tmp_path, secrets, VENUES, random.Random(3)) == made  # from the secrets
    assert secrets.read_text() == text
    assert made["lighter"].address.isdecimal()
    index, _, key = made["lighter"].agents[0].partition(":")
    assert f"LIGHTER_API_KEY_INDEX={index}\n" in text
    assert len(bytes.fromhex(key)) == 40


def test_a_venue_that_joins_gets_keys_and_the_others_keep_theirs(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    before = keys.ensure(tmp_path, secrets, VENUES[:2], random.Random(1))
    text = secrets.read_text()
    after = keys.ensure(tmp_path, secrets, VENUES, random.Random(2))
    assert {venue: after[venue] for venue in VENUES[:2]} == before
    assert secrets.read_text().startswith(text)
    assert secrets.read_text().count("LIGHTER_PRIVATE_KEY=") == 1


def test_other_names_of_a_credential_count_as_given(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    text = f"API_KEY_PRIVATE_KEY={'01' * 40}\nACCOUNT_INDEX=77\nAPI_KEY_INDEX=5\n"
    secrets.write_text(text)
    made = keys.ensure(tmp_path, secrets, ("lighter",), random.Random(1))
    assert (made["lighter"].address, secrets.read_text()) == ("77", text)
    assert made["lighter"].agents[0].startswith("5:027f6a92cd1f3b85")


def test_identities_that_cannot_be_read_are_explained(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    secrets.write_text("HL_PRIVATE_KEY=banana\n")
    with pytest.raises(ConfigError, match=r"secrets\.env: HL_PRIVATE_KEY and HL_USER_ADDRESS must hold"):
        keys.ensure(tmp_path, secrets, ("hyperliquid",), random.Random(1))
    (tmp_path / keys.ACCOUNTS_FILE).write_text("{")
    with pytest.raises(ConfigError, match=r"sandbox_accounts\.json: .*remove the file"):
        keys.load_accounts(tmp_path)


def run(config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.sandbox.main", "--config", str(config)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
