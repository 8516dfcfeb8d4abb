"""Second executor, canary secrets, and bad input met by the real programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.roster import SPEC
from tests.e2e.system import PROGRAMS, ROOT, System


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System({"execution": {"lock_wait_s": "1.0"}}) as system:
        system.up()
        yield system


def run_executor(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "executor.main", "--config", str(config), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=config.parent.parent)


def test_a_second_executor_of_this_checkout_is_refused(system: System) -> None:
    done = run_executor(system.loaded.path)
    assert done.returncode == 75, done.stdout
    assert str(system.pid("executor")) in done.stdout
    assert system.ready()


def test_a_second_executor_of_another_checkout_with_the_same_account_is_refused(system: System, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(system.root / "config", other / "config")
    text = (other / "config" / "sandbox.toml").read_text()
    text = text.replace(f'name = "{system.name}"', f'name = "{system.name}b"')
    text = re.sub(r"(?m)^lock_dir = .*$", f'lock_dir = "{system.loaded.lock_dir}"', text)
    (other / "config" / "sandbox.toml").write_text(text)
    (other / "var" / "sandbox").mkdir(parents=True)
    shutil.copy(system.loaded.secrets_file, other / "var" / "sandbox" / "secrets.env")
    done = run_executor(other / "config" / "sandbox.toml")
    assert done.returncode == 75, done.stdout
    assert str(system.pid("executor")) in done.stdout
    assert str(system.root) in done.stdout, "the holder's checkout is named"
    assert not Path(f"/dev/shm/tandem-{system.name}b").exists()


def test_secrets_stand_nowhere_but_in_their_file(system: System) -> None:
    """Every value of the secrets file is a canary: searched in environments, logs, metrics and shared memory."""
    lines = (line.partition("=") for line in system.loaded.secrets_file.read_text().splitlines())
    values = {name: value.removeprefix("0x") for name, _, value in lines}
    named = [c for venue in system.loaded.enabled_venues for c in SPEC[venue].credentials if c.secret]
    secrets = [values[each.name] for each in named if values.get(each.name)]
    assert all(each.optional or values.get(each.name) for each in named)
    keys = [values[each.name] for each in named if each.name.endswith("_PRIVATE_KEY") and values.get(each.name)]
    in_keys = [form for s in keys for form in (s.encode(), s.upper().encode())]
    in_keys += [bytes.fromhex(each) for each in keys if set(each.lower()) <= set("0123456789abcdef")]
    needles = in_keys + [form for s in secrets for form in (s.encode(), s.upper().encode())]

    def clean(where: str, data: bytes, banned: list[bytes] = needles) -> None:
        for needle in banned:
            assert needle not in data, f"a secret stands in {where}"

    for program in PROGRAMS:
        pid = system.pid(program)
        clean(f"environment of {program}", Path(f"/proc/{pid}/environ").read_bytes())
        clean(f"command line of {program}", Path(f"/proc/{pid}/cmdline").read_bytes())
        system.signal(program, signal.SIGUSR1)
    system.until("the executor's dump is in its log", lambda: "dump" in system.log("executor"))
    for path in (system.root / "var").rglob("*"):
        if path.is_file() and path != system.loaded.secrets_file:
            shared = path.name.startswith(
                "sandbox_"
            )  # what the venues know: public halves, and HMAC secrets, which are shared
            clean(str(path), path.read_bytes(), in_keys if shared else needles)
    for path in system.loaded.run_dir.rglob("*"):
        if path.is_file():
            clean(str(path), path.read_bytes())
    clean("metrics", subprocess.run(["curl", "-s", f"http://127.0.0.1:{system.ports['exporter']}/metrics"],
                                    capture_output=True, check=True, timeout=20).stdout)  # fmt: skip
    for words in (("status",), ("config", "show"), ("doctor",), ("why",)):
        done = system.cli(*words, "--json", check=False)
        clean(" ".join(words), (done.stdout + done.stderr).encode())
    assert os.stat(system.loaded.secrets_file).st_mode & 0o077 == 0


def test_a_port_in_use_is_named(system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        config = system.root / "config" / "sandbox_port.toml"
        text = system.loaded.path.read_text().replace(f"port = {system.ports['exporter']}", f"port = {port}")
        config.write_text(text.replace(f'name = "{system.name}"', f'name = "{system.name}c"'))
        command = [sys.executable, "-m", "ops.exporter", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 75
    assert "exporter.port" in done.stdout
    assert str(port) in done.stdout


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("feeds.main", ("--venue", "hyperliquid")),
        ("executor.main", ()),
        ("strategies.main", ("--name", "scalp")),
        ("ops.exporter", ()),
        ("ops.sandbox.main", ()),
    ],
)
def test_a_wrong_configuration_ends_every_program_with_78_and_the_key(
    system: System, program: str, words: tuple[str, ...]
) -> None:
    config = system.root / "config" / "sandbox_wrong.toml"
    config.write_text(system.loaded.path.read_text().replace("max_order_usd", "max_order_bps"))
    command = [sys.executable, "-m", program, *words, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 78, done.stdout + done.stderr
    assert "risk.max_order_bps" in done.stdout
    assert str(config) in done.stdout


@pytest.mark.parametrize("what", ["missing key", "open mode", "absent"])
def test_a_wrong_secrets_file_is_named(system: System, what: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.env"
    lines = system.loaded.secrets_file.read_text().splitlines()
    if what != "absent":
        kept = [line for line in lines if what != "missing key" or not line.startswith("ASTER_PRIVATE_KEY")]
        secrets.write_text("\n".join(kept) + "\n")
        secrets.chmod(0o644 if what == "open mode" else 0o600)
    config = system.root / "config" / "sandbox_keys.toml"
    config.write_text(re.sub(r"(?m)^secrets_file = .*$", f'secrets_file = "{secrets}"', system.loaded.path.read_text()))
    done = run_executor(config)
    assert done.returncode == 78, done.stdout
    assert str(secrets) in done.stdout
    assert {"missing key": "ASTER_PRIVATE_KEY", "open mode": "600", "absent": "secrets"}[what] in done.stdout
