"""`tandem up` and `down` over a real supervisord: what it passes on, what it says when something cannot start, and that
nothing is left half-started."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.config import Loaded, load
from core.errors import BusyError, ConfigError
from core.roster import SPEC
from core.venue_spec import VenueKind
from ops import supervision, views
from ops.context import Context
from ops.sandbox import keys
from tests.e2e.system import PROGRAMS, System
from tests.ops.desk import AS, CLOCK, HL, Desk, lay_out, parsed

Out = pytest.CaptureFixture[str]


# ---- what is missing ------------------------------------------------------------------------------------------------


def test_readiness_names_what_is_missing_and_nothing_else(desk: Desk) -> None:
    context = Context(desk.loaded, CLOCK, False)
    assert supervision.readiness(context) == (
        "executor: executor: starting; feed aster: no fresh quote yet; feed hyperliquid: no fresh quote yet"
    )
    desk.account(ready=False)
    desk.quote(HL, "BTC", 100.0, 101.0)
    assert supervision.readiness(context) == "executor: recovering; feed aster: no fresh quote yet"
    desk.account()
    desk.quote(HL, "BTC", 100.0, 101.0)
    desk.quote(AS, "BTC", 100.0, 101.0)
    assert supervision.readiness(context) == ""
    desk.account(silent_s=4.0)
    desk.books[AS].set_status(False, "no route")
    assert re.fullmatch(r"executor: silent for 4\.\d s; feed aster: no route", supervision.readiness(context))


def test_a_venue_that_only_indicates_prices_is_ready_with_an_old_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(desk.loaded, CLOCK, False)

    def missing() -> str:
        desk.account()
        desk.beat()
        desk.quote(HL, "BTC", 100.0, 101.0)
        return supervision.readiness(context)

    desk.quote(AS, "BTC", 100.0, 101.0, age_s=60.0)
    assert missing() == "feed aster: no fresh quote yet"
    monkeypatch.setattr(views, "SPEC", {**SPEC, AS: msgspec.structs.replace(SPEC[AS], kind=VenueKind.RFQ)})
    assert missing() == ""
    monkeypatch.setattr(views, "SPEC", {**SPEC, HL: msgspec.structs.replace(SPEC[HL], kind=VenueKind.RFQ)})
    assert missing() == "feed aster: no fresh quote yet"


def test_a_venue_that_indicates_prices_is_not_ready_before_the_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SPEC", {**SPEC, AS: msgspec.structs.replace(SPEC[AS], kind=VenueKind.RFQ)})
    desk.account()
    desk.beat()
    desk.quote(HL, "BTC", 100.0, 101.0)
    assert supervision.readiness(Context(desk.loaded, CLOCK, False)) == "feed aster: no fresh quote yet"


def test_readiness_before_there_is_a_run(tmp_path: Path) -> None:
    loaded = lay_out(tmp_path)
    assert "no such run" in supervision.readiness(Context(loaded, CLOCK, False))


def test_the_last_error_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "p.log"
    assert supervision.last_error(path) == supervision.LogLine()
    path.write_text("")
    assert supervision.last_error(path) == supervision.LogLine()
    path.write_text("Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n")
    assert supervision.last_error(path).event == "ModuleNotFoundError: No module named 'x'"
    path.write_text(
        '{"level":"error","event":"config_error","detail":"key: missing"}\n{"level":"info","event":"stopped"}\n{"lev\n'
    )
    assert supervision.last_error(path) == supervision.LogLine("error", "config_error", "key: missing")


# ---- refused before anything starts ---------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Loaded:
    """A root that is never started: it has a supervisord.conf, and that is all `up` looks for before its checks."""
    (tmp_path / "supervisord.conf").write_text("[supervisord]\n")
    return lay_out(tmp_path)


def nothing_started(loaded: Loaded) -> bool:
    var = loaded.path.parent.parent / "var"
    return not loaded.run_dir.exists() and not (var.is_dir() and list(var.iterdir()))


def test_a_taken_port_is_told_before_anything_starts(root: Loaded) -> None:
    with (
        socket.create_server(("127.0.0.1", root.config.exporter.port)),
        pytest.raises(ConfigError, match=r"nothing was started:\n  exporter\.port: .*already in use.*ss -ltnp"),
    ):
        supervision.up(Context(root, CLOCK, False))
    assert nothing_started(root)


def test_a_var_that_cannot_be_written_is_told(root: Loaded) -> None:
    var = root.path.parent.parent / "var"
    var.write_text("")
    with pytest.raises(ConfigError, match=rf"logs directory: .*{re.escape(str(var))} is not a directory"):
        supervision.up(Context(root, CLOCK, False))
    var.unlink()
    assert nothing_started(root)


def test_a_file_that_supervisord_would_not_run_is_refused(root: Loaded) -> None:
    other = root.path.rename(root.path.with_name("mine.toml"))
    context = Context(load(other), CLOCK, False)
    with pytest.raises(ConfigError, match=r"mine\.toml: run\.environment is 'sandbox', .* runs .*config/sandbox\.toml"):
        supervision.up(context)


def test_without_a_checkout_there_is_nothing_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"supervisord\.conf: missing; run from a checkout"):
        supervision.up(Context(lay_out(tmp_path), CLOCK, False))


def test_a_run_that_somebody_else_started_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    (desk.directory / "supervisord.conf").write_text("[supervisord]\n")
    monkeypatch.setattr(supervision, "FORMER_S", 0.3)
    with pytest.raises(BusyError, match=rf"run '{desk.loaded.config.run.name}' .* first process was {os.getpid()}\)"):
        supervision.up(Context(desk.loaded, CLOCK, False))
    assert "still up; waiting for them to end" in capsys.readouterr().out


def test_down_with_nothing_running_and_a_socket_left_behind(root: Loaded, capsys: Out) -> None:
    context = Context(root, CLOCK, False)
    assert supervision.down(context) == 0
    assert capsys.readouterr().out == "nothing is running here\n"
    left = root.path.parent.parent / "var" / "supervisor.sock"
    left.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(left))
    assert supervision.down(Context(root, CLOCK, True)) == 0
    assert parsed(capsys.readouterr().out) == {"ok": True, "detail": "nothing is running here"}


# ---- the wait -------------------------------------------------------------------------------------------------------


@pytest.fixture
def supervised(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The desk as if supervisord were up and its programs fine; what supervisorctl was asked for."""
    asked: list[tuple[str, ...]] = []
    (desk.directory / "supervisord.conf").write_text("[supervisord]\n")
    monkeypatch.setattr(supervision, "is_up", lambda root: True)
    monkeypatch.setattr(supervision, "control", lambda root, *words: asked.append(words))
    monkeypatch.setattr(supervision, "programs", lambda root: [supervision.Program("executor", "RUNNING")])
    monkeypatch.setattr(supervision, "READY_S", 0.4)
    return asked


def test_up_when_it_is_up_starts_what_is_not_and_shows_the_status(
    desk: Desk, supervised: list[tuple[str, ...]], capsys: Out
) -> None:
    desk.account()
    desk.quote(HL, "BTC", 100.0, 101.0)
    desk.quote(AS, "BTC", 100.0, 101.0)
    assert desk.tandem("up") == 0
    text = capsys.readouterr().out
    assert text.startswith("supervisord is up already; starting what is not running\n")
    assert "trading active" in text
    assert f"http://127.0.0.1:{desk.loaded.config.exporter.port}/metrics" in text
    assert supervised == [("update", "feeds"), ("start", "all")]


def test_a_system_that_is_merely_slow_is_left_to_go_on(
    desk: Desk, supervised: list[tuple[str, ...]], capsys: Out
) -> None:
    desk.account(ready=False)
    desk.quote(HL, "BTC", 100.0, 101.0)
    assert desk.tandem("up", "--json") == 69
    error = parsed(capsys.readouterr().out)["error"]
    assert "executor: recovering" in error
    assert "feed aster: no fresh quote yet" in error
    assert "it goes on trying (make stop ends it)" in error
    assert supervised == [("update", "feeds"), ("start", "all")]


# ---- a real supervisord ---------------------------------------------------------------------------------------------


@pytest.fixture
def system() -> Iterator[System]:
    """A root whose supervisord gives up on the executor after one retry, so that FATAL is reached in seconds. What ends
    within 20 s has not started there: on a busy box a second (as shipped) may be over before a wrong key is found, and
    supervisord then says EXITED."""
    made = System()
    conf = made.root / "supervisord.conf"
    before, executor, after = re.split(r"(?s)(\[program:executor\].*?)(?=\n\[)", conf.read_text(), maxsplit=1)
    for key, value in (("startretries", 1), ("startsecs", 20)):
        executor, count = re.subn(rf"(?m)^{key}=.*$", f"{key}={value}", executor)
        assert count == 1
    conf.write_text(before + executor + after)
    with made:
        yield made


def break_the_executors_key(system: System) -> str:
    """Throw-away keys, then one of them spoiled: every name is there, so only the executor can find out. Its name."""
    loaded = system.loaded
    keys.ensure(loaded.state_dir, loaded.secrets_file, tuple(loaded.config.venues), random.Random(7))
    text = loaded.secrets_file.read_text()
    name = next(line for line in text.splitlines() if "KEY" in line and line[:1] != "#").partition("=")[0]
    loaded.secrets_file.write_text(re.sub(rf"(?m)^{name}=.*$", f"{name}=spoiled", text))
    return name


def test_a_program_that_ends_in_fatal_is_named_with_its_reason(system: System) -> None:
    name = break_the_executors_key(system)
    (system.root / "var" / "sandbox" / "log").mkdir(parents=True)
    stale = system.root / "var" / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
    supervision._start(Context(system.loaded, CLOCK, True), system.root)

    def states() -> dict[str, str]:
        return {program.name: program.state for program in supervision.programs(system.root)}

    system.until("the executor to be FATAL", lambda: states()["executor"] == "FATAL", 30)
    done = system.cli("up", check=False)
    assert done.returncode == 78, done.stdout + done.stderr
    assert re.search(r"executor cannot start \((FATAL|BACKOFF|EXITED)\): config_error: ", done.stdout)
    assert f"{system.loaded.secrets_file}: {name}" in done.stdout
    assert f"{system.root}/var/sandbox/log/*.log" in done.stdout
    assert "what was running before goes on" in done.stdout
    assert "spoiled" not in done.stdout
    assert states()["feeds:feed-aster"] == "RUNNING"

    environment = Path(f"/proc/{system.pid('exporter')}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0].decode() for entry in environment if entry}
    assert names <= {*supervision.PASSED_ON, "TANDEM_ENV", "SUPERVISOR_ENABLED", "SUPERVISOR_PROCESS_NAME",
                     "SUPERVISOR_GROUP_NAME", "SUPERVISOR_SERVER_URL"}  # fmt: skip

    assert system.cli("down").returncode == 0
    done = system.cli("up", "--json", check=False)
    assert done.returncode == 78
    assert "supervisord was stopped again, nothing is left running" in parsed(done.stdout)["error"]
    assert not supervision.is_up(system.root)
    assert not system.loaded.run_dir.exists()


def test_killed_supervisord_leaves_nothing_that_a_new_one_would_double(system: System) -> None:
    break_the_executors_key(system)  # a quick system: everything but the executor
    (system.root / "var" / "sandbox" / "log").mkdir(parents=True)
    supervision._start(Context(system.loaded, CLOCK, True), system.root)
    system.until("a feed", lambda: system.pid("feed-aster"), 20)
    pids = [pid for program in PROGRAMS if (pid := system.pid(program)) > 1]
    os.kill(int(system.ctl("pid")), signal.SIGKILL)
    system.until("its programs to end", lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), 30)
    assert (system.root / "var" / "supervisor.sock").exists()
    assert not supervision.is_up(system.root)
