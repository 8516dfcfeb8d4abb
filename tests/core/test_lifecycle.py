"""Exit codes that supervisord and people rely on, from real processes."""

from __future__ import annotations

import os
import platform
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.lifecycle import require_platform

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from core.clock import SystemClock
from core.errors import BusyError, ConfigError, InvariantError, OutcomeUnknown
from core.lifecycle import guard, run_async, run_sync
from core.log import Log
import asyncio

class Quiet:
    role_name = "quiet"
    def on_start(self): print("up", flush=True)
    def do_work(self):
        import select; select.select([], [], [], 0.02); return 0
    def on_reload(self): print("reload", flush=True)
    def on_dump(self): print("dump", flush=True)
    def on_close(self): print("closed", flush=True)

class AsyncQuiet:
    role_name = "quiet"
    async def run(self, stop):
        print("up", flush=True); await stop.wait(); print("closed", flush=True)
    def on_reload(self): print("reload", flush=True)
    def on_dump(self): print("dump", flush=True)

def raising(error):
    def body(): raise error
    return body

log = Log("t", SystemClock())
what = sys.argv[1]
if what == "sync": sys.exit(run_sync(Quiet, log))
if what == "async": sys.exit(run_async(AsyncQuiet, log))
errors = {"config": ConfigError, "busy": BusyError, "invariant": InvariantError, "venue": OutcomeUnknown, "bug": KeyError}
sys.exit(guard(raising(errors[what]("x")), log))
"""


def start(what: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, what], stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize(("what", "code"), [("config", 78), ("busy", 75), ("invariant", 70), ("venue", 69), ("bug", 1)])
def test_what_escapes_becomes_its_exit_code(what: str, code: int) -> None:
    process = start(what)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == code, out
    assert '"event"' in out


@pytest.mark.parametrize("what", ["sync", "async"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_means_closed_and_zero(what: str, number: signal.Signals) -> None:
    process = start(what)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    for extra in (signal.SIGHUP, signal.SIGUSR1):
        process.send_signal(extra)
        assert process.stdout.readline().strip() in ("reload", "dump")
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert out.endswith("closed\n")
    assert process.returncode == 0


def test_a_program_ends_with_its_parent() -> None:
    """Else a restarted supervisord would start a second copy of everything."""
    code = (
        "import subprocess, sys\n"
        f"p = subprocess.Popen([sys.executable, '-c', {PROGRAM!r}, 'sync'], stdout=subprocess.PIPE, text=True)\n"
        "p.stdout.readline(); print(p.pid, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    descriptor = os.pidfd_open(child)
    parent.kill()
    parent.communicate()
    assert select.select([descriptor], [], [], 20)[0], "the child outlived its parent"
    os.close(descriptor)


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("win32", "AMD64"), ("linux", "aarch64")])
def test_another_platform_is_refused_with_a_way_out(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require_platform()
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(ConfigError, match=f"{system}/{machine}.*WSL2"):
        require_platform()
