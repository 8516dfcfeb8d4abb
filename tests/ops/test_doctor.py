"""Each check of the doctor fires on what it is for, and stays silent beside it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from core.config import Loaded
from core.errors import ConfigError
from core.roster import SPEC
from ops import doctor
from ops.context import Context
from tests.ops.desk import CLOCK, Desk, lay_out, parsed

Out = pytest.CaptureFixture[str]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """A laid-out root with a sound secrets file."""
    made = lay_out(tmp_path)
    made.secrets_file.parent.mkdir(parents=True)
    names = [credential.name for venue in made.enabled_venues for credential in SPEC[venue].credentials]
    made.secrets_file.write_text("# keys\n" + "".join(f"{name}=x\n" for name in names))
    made.secrets_file.chmod(0o600)
    return made


def findings(loaded: Loaded, *levels: str) -> dict[str, str]:
    """check -> what was found and what to do, of those levels."""
    every = [f for check in (*doctor.BEFORE_START, *doctor.OF_THE_WORLD) for f in check(loaded)]
    return {f.check: f"{f.detail}; {f.advice}" for f in every if f.level in levels}


def test_a_sound_box_has_nothing_to_complain_about(loaded: Loaded) -> None:
    assert findings(loaded, "fail") == {}
    assert set(findings(loaded, "warn")) == {"reach hyperliquid", "reach aster"}  # their sandbox is not up
    doctor.require_fit(loaded)
    assert not loaded.run_dir.exists(), "the doctor changed something"


@pytest.mark.parametrize(
    ("mode", "level"), [(0o600, "ok"), (0o400, "ok"), (0o640, "fail"), (0o604, "fail"), (0o700, "fail")]
)
def test_a_secrets_file_that_others_may_read(loaded: Loaded, mode: int, level: str) -> None:
    loaded.secrets_file.chmod(mode)
    said = findings(loaded, level)["secrets"]
    assert f"mode {mode:04o}" in said
    if level == "fail":
        assert f"chmod 600 {loaded.secrets_file}" in said
        with pytest.raises(ConfigError, match=r"nothing was started:\n  secrets: .*mode"):
            doctor.require_fit(loaded)


def test_a_missing_secrets_file_is_made_in_the_sandbox_only(loaded: Loaded) -> None:
    loaded.secrets_file.unlink()
    assert "make run makes throw-away ones" in findings(loaded, "warn")["secrets"]
    doctor.require_fit(loaded)
    loaded.secrets_file.mkdir()
    assert "copy .env.example" in findings(loaded, "fail")["secrets"]


@pytest.mark.parametrize("change", ["missing", "empty", "commented"])
def test_a_name_without_value(loaded: Loaded, change: str) -> None:
    name = SPEC[loaded.enabled_venues[0]].credentials[0].name
    put = {"missing": "", "empty": f"{name}=  \n", "commented": f"# {name}=x\n"}[change]
    loaded.secrets_file.write_text(loaded.secrets_file.read_text().replace(f"{name}=x\n", put))
    (said,) = findings(loaded, "fail").values()
    assert f"{name} is missing or empty" in said


def test_a_secrets_file_that_is_no_text(loaded: Loaded) -> None:
    loaded.secrets_file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in findings(loaded, "fail")["secrets"]


def test_no_value_of_a_secret_is_ever_shown(loaded: Loaded, capsys: Out) -> None:
    loaded.secrets_file.write_text("HYPERLIQUID_AGENT_KEY=0xcanary\n")
    for as_json in (False, True):
        doctor.doctor(Context(loaded, CLOCK, as_json))
    assert "canary" not in capsys.readouterr().out


def test_a_directory_that_is_a_file(loaded: Loaded) -> None:
    loaded.lock_dir.write_text("")
    said = findings(loaded, "fail")
    assert f"{loaded.lock_dir} is not a directory" in said["locks directory"]
    assert set(said) == {"locks directory"}


def test_a_directory_that_may_not_be_written(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != loaded.state_dir and may(path, mode))
    said = findings(loaded, "fail")
    assert f"{loaded.state_dir} is not writable by uid {os.getuid()}" in said["state directory"]
    assert set(said) == {"state directory"}


def test_low_shared_memory_and_low_disk(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(shm_mib: int, disk_mib: int) -> dict[str, str]:
        shm = Path(loaded.config.run.shm_dir)
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path: Usage(0, 0, (shm_mib if path == shm else disk_mib) << 20)
        )
        return findings(loaded, "fail")

    assert free(doctor.SHM_FREE_MIN_MIB, doctor.DISK_FREE_MIN_MIB) == {}
    low = free(doctor.SHM_FREE_MIN_MIB - 1, doctor.DISK_FREE_MIN_MIB)
    assert set(low) == {"shared memory"}
    assert "15 MiB free" in low["shared memory"]
    assert set(free(doctor.SHM_FREE_MIN_MIB, 1)) == {"state directory", "locks directory", "logs directory"}


@pytest.fixture
def taken(loaded: Loaded) -> Iterator[int]:
    """Somebody has the exporter's port, without listening there."""
    port = loaded.config.exporter.port
    with socket.socket() as held:
        held.bind(("127.0.0.1", port))
        yield port


def test_a_port_in_use_names_key_and_command(loaded: Loaded, taken: int) -> None:
    said = findings(loaded, "fail")
    assert set(said) == {"exporter.port"}
    assert (
        f"127.0.0.1:{taken}: Address already in use; see who has it: ss -ltnp sport = :{taken}" in said["exporter.port"]
    )


def test_a_venue_that_answers_is_not_complained_about(loaded: Loaded) -> None:
    sandbox = loaded.config.sandbox
    assert sandbox is not None
    with socket.create_server(("127.0.0.1", sandbox.venues["aster"].port)):
        assert set(findings(loaded, "warn")) == {"reach hyperliquid"}


def test_of_a_run_that_is_up_the_ports_must_answer(desk: Desk) -> None:
    said = findings(desk.loaded, "warn")
    assert "does not answer, though the run is up" in said["exporter.port"]
    with socket.create_server(("127.0.0.1", desk.loaded.config.exporter.port)):
        assert "exporter.port" not in findings(desk.loaded, "warn", "fail")
    assert findings(desk.loaded, "ok")["run"].startswith(f"{desk.loaded.run_dir}: up")


def test_the_command_shows_every_check_and_fails_when_one_does(loaded: Loaded, capsys: Out) -> None:
    assert doctor.doctor(Context(loaded, CLOCK, True)) == 0
    shown = parsed(capsys.readouterr().out)
    assert {"machine", "configuration", "secrets", "shared memory", "exporter.port", "run"} <= {
        f["check"] for f in shown
    }
    loaded.secrets_file.chmod(0o644)
    assert doctor.doctor(Context(loaded, CLOCK, False)) == 78
    assert f"chmod 600 {loaded.secrets_file}" in capsys.readouterr().out
