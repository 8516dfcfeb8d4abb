"""Every simulated venue of the roster: its throw-away identities, whom it lets trade, and what it knows after a kill."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import ConfigError, VenueError
from core.log import Log
from core.roster import SPEC
from core.types import Side, Venue
from executor.keyring import Keyring
from executor.outcome import Accepted, Rejected, Unsent
from ops.sandbox.keys import venue_kind
from tests.configuration import ROOT
from tests.conformance.bench import ORDER_DELAY_MS, TIMEOUT_MS, Bench
from tests.conformance.dialect import Dialect
from tests.executor.sandbox_process import SandboxProcess, Station, eventually, sandbox


def secrets_file(path: Path, values: dict[str, str]) -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    path.chmod(0o600)
    return path


def read_secrets(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and line[:1] != "#")


@pytest.mark.parametrize("seed", range(5))
def test_throw_away_credentials_are_what_the_keyring_asks_for(tmp_path: Path, venue: str, seed: int) -> None:
    spec = SPEC[Venue(venue)]
    values = venue_kind(venue).new_credentials(random.Random(seed))
    assert {credential.name for credential in spec.credentials if not credential.optional} <= set(values)
    assert set(values) <= {credential.name for credential in spec.credentials}
    ring = Keyring.open(
        secrets_file(tmp_path / "s.env", values), [spec.name], Log("t", SystemClock(), write=lambda _: None)
    )
    for credential in spec.credentials:
        if not ring.has(credential.name):
            continue
        held = ring.secret(credential.name).reveal() if credential.secret else ring.address(credential.name)
        assert held == values[credential.name]


def test_identities_follow_from_credentials_and_no_two_are_the_same(venue: str) -> None:
    kind = venue_kind(venue)
    made = [kind.identity(kind.new_credentials(random.Random(seed))) for seed in range(20)]
    assert made[0] == kind.identity(kind.new_credentials(random.Random(0)))
    assert len({each.address for each in made}) == len(made)
    agents = [agent for each in made for agent in each.agents]
    assert len(set(agents)) == len(agents)


def test_credentials_that_are_not_all_there_are_told(venue: str) -> None:
    kind = venue_kind(venue)
    values = kind.new_credentials(random.Random(1))
    for name in (credential.name for credential in SPEC[Venue(venue)].credentials if not credential.optional):
        with pytest.raises(KeyError):
            kind.identity({key: value for key, value in values.items() if key != name})


@pytest.mark.asyncio(loop_scope="session")
async def test_somebody_elses_key_does_not_trade_on_this_account(tmp_path: Path, bench: Bench) -> None:
    """Our account under a stranger's keys: refused at the start or at the order, told as a refusal and never in doubt."""
    venue, box = bench.venue, bench.box
    own = read_secrets(box.loaded.secrets_file)
    stranger = venue_kind(venue).new_credentials(random.Random(99))
    named = {credential.name for credential in SPEC[Venue(venue)].credentials if not credential.secret}
    mixed = secrets_file(tmp_path / "mixed.env", {**stranger, **{name: own[name] for name in named}})
    request = await bench.request(Side.BUY, cross_bps=200.0)
    before = len(bench.true_orders())
    with contextlib.suppress(VenueError, ConfigError):
        station = Station(venue, box, secrets=mixed, request_timeout_ms=TIMEOUT_MS)
        try:
            await station.gateway.start(station.events.append)
            outcome = await station.send(request)
            assert isinstance(outcome, Rejected | Unsent), outcome
        finally:
            await station.gateway.close()
    assert len(bench.true_orders()) == before


async def test_a_killed_sandbox_comes_back_with_the_same_books(tmp_path: Path, venue: str, dialect: Dialect) -> None:
    with sandbox(tmp_path, venues=(venue,), order_delay_ms=ORDER_DELAY_MS) as box:
        async with Station(venue, box, request_timeout_ms=TIMEOUT_MS) as station:
            bench = Bench(venue, box, station, dialect)
            await bench.buy()
            before = bench.truth()
            account = station.gateway.account_id
        os.kill(box.process.pid, signal.SIGKILL)
        box.process.wait(10)
        again = await restarted(tmp_path)
        try:
            after = again.account(venue, account)
            for key in ("orders", "fill_rows", "cash_usd", "fees_usd"):
                assert after[key] == before[key], key
            assert {name: row["qty"] for name, row in after["positions"].items()} == {
                name: row["qty"] for name, row in before["positions"].items()
            }
            async with Station(venue, again, request_timeout_ms=TIMEOUT_MS) as station:
                held = await station.gateway.positions()
                assert [p.symbol for p in held] == [dialect.symbol]
                request, outcome = await Bench(venue, again, station, dialect).place(Side.BUY, cross_bps=200.0)
                assert isinstance(outcome, Accepted), (request, outcome)
        finally:
            again.process.send_signal(signal.SIGTERM)
            again.process.wait(10)


async def restarted(directory: Path) -> SandboxProcess:
    """The sandbox of `directory` once more."""
    ports = directory / "var" / "sandbox" / "sandbox_ports.json"
    ports.unlink()
    with (directory / "again.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.sandbox.main", "--config", str(directory / "config" / "sandbox.toml")],
            cwd=ROOT, stdout=output, stderr=output,
        )  # fmt: skip
    await eventually(lambda: ports.exists() or process.poll() is not None, 30.0)
    assert process.poll() is None, (directory / "again.log").read_text()[-2000:]
    return SandboxProcess(directory, process)
