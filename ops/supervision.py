"""`tandem up` and `down`: supervisord with a short allow-list of environment variables, and a wait until it is all fit.

Whatever stands in supervisord's environment stands in every child's, so nothing but these names is passed on; secrets
live in a file that only the executor's keyring reads.

Nothing is left half-started. What would keep the box from trading is looked for before anything starts (ops.doctor). A
program that cannot start (FATAL, EXITED, or a configuration error while supervisord still retries) ends the wait at once,
and a supervisord that this very call started is stopped again. One that was up before is left alone: it may be guarding
positions. So is a system that merely is not ready in time (a slow venue): its executor guards what is open.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bookshm.run import RunDir
from core.clock import NS_PER_S
from core.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNAVAILABLE, BusyError, ConfigError
from core.settings import Environment
from ops import doctor, feed_stanzas, screens, views
from ops.context import Context, escape
from ops.sandbox import keys

READY_S = 90.0
POLL_S = 0.25
LOOK_S = 1.0  # between two looks at supervisord's own states
STOP_S = 60.0
FORMER_S = 25.0  # for the programs of a supervisord that was killed to end: the executor takes up to 20 s
LOG_TAIL_BYTES = 64 * 1024
PASSED_ON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/nonexistent",
}


class Program(msgspec.Struct, frozen=True):
    """One line of `supervisorctl status`: "feeds:feed-aster", "RUNNING"."""

    name: str
    state: str


class LogLine(msgspec.Struct, frozen=True):
    """What we read of a program's own log lines (core.log)."""

    level: str = ""
    event: str = ""
    detail: str = ""


def up(context: Context) -> int:
    """Start supervisord and every program, wait until ready, show the status and where to look."""
    root = project_root(context)
    _require_own_file(context, root)
    was_up = is_up(root)
    log_dir = log_directory(context, root)
    if was_up:
        context.say("supervisord is up already; starting what is not running")
        if _prepare(context, root):
            context.say("the enabled venues have changed: feeds restart")
            control(root, "update", feed_stanzas.GROUP)
        control(root, "start", "all")
    else:
        _wait_for_former(context)
        doctor.require_fit(context.loaded)
        _start(context, root)
    context.say("waiting until feeds are live and the executor has recovered ...")
    missing, broken = wait_ready(context, root)
    if broken:
        if not was_up:
            _shut_down(context, root)
        left = "what was running before goes on" if was_up else "supervisord was stopped again, nothing is left running"
        return _failed(context, EXIT_CONFIG, f"{'; '.join(broken)}\nlogs: {log_dir}/*.log; {left}")
    if missing:
        look = f"{root}/.venv/bin/supervisorctl status   and   {log_dir}/*.log"
        text = f"not ready after {READY_S:.0f} s: {missing}\nit goes on trying (make stop ends it); look at: {look}"
        return _failed(context, EXIT_UNAVAILABLE, text)
    code = screens.status(context)
    _where_to_look(context, root)
    return code


def down(context: Context) -> int:
    """Stop every program and supervisord itself. Hedged positions stay at the venues; nothing is closed."""
    root = project_root(context)
    if not is_up(root):
        return _done(context, "nothing is running here")
    if not _shut_down(context, root):
        text = f"supervisord has not ended after {STOP_S:.0f} s; see {log_directory(context, root)}/supervisord.log"
        return _failed(context, EXIT_UNAVAILABLE, text)
    return _done(context, "stopped; hedged positions stay open at the venues (make flatten closes them)")


def prepare(context: Context) -> int:
    """What a bare supervisord needs before it starts: directories, throw-away keys, the feeds' stanzas."""
    root = project_root(context)
    _prepare(context, root)
    environment = context.loaded.config.run.environment
    return _done(
        context, f"prepared; TANDEM_ENV={environment.value} supervisord -c {root}/supervisord.conf may start now"
    )


def project_root(context: Context) -> Path:
    """The directory above the configuration's own: where supervisord.conf stands."""
    root = context.loaded.path.parent.parent
    if not (root / "supervisord.conf").exists():
        raise ConfigError(
            f"{root}/supervisord.conf: missing; run from a checkout, or give --config CHECKOUT/config/X.toml"
        )
    return root


def log_directory(context: Context, root: Path) -> Path:
    """Where supervisord.conf puts every program's log."""
    return root / "var" / context.loaded.config.run.environment.value / "log"


def control(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run supervisorctl against this checkout's supervisord. Raises BusyError when that does not answer."""
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(root / "supervisord.conf"), *words]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=STOP_S, env=PASSED_ON, cwd=root
        )
    except subprocess.TimeoutExpired as error:
        raise BusyError(
            f"supervisord of {root} has not answered `{' '.join(words)}` for {STOP_S:.0f} s; its pid is in "
            f"{root}/var/supervisord.pid"
        ) from error


def is_up(root: Path) -> bool:
    """Whether this checkout's supervisord answers; a socket left by a killed one does not count."""
    return (root / "var" / "supervisor.sock").is_socket() and control(root, "pid").stdout.strip().isdigit()


def programs(root: Path) -> list[Program]:
    """Every program with supervisord's word for its state."""
    lines = (line.split() for line in control(root, "status").stdout.splitlines())
    return [Program(words[0], words[1]) for words in lines if len(words) > 1 and words[1].isupper()]


def broken_programs(root: Path, log_dir: Path) -> list[str]:
    """Programs that will not come up by waiting, each with the last error of its log."""
    found = []
    for program in programs(root):
        if program.state not in ("FATAL", "EXITED", "BACKOFF"):
            continue
        last = last_error(log_dir / f"{program.name.rpartition(':')[2]}.log")
        if program.state != "BACKOFF" or last.event == "config_error":
            said = f"{last.event}: {last.detail}" if last.detail else last.event or "its log says nothing"
            found.append(f"{program.name} cannot start ({program.state}): {said}")
    return found


def last_error(path: Path) -> LogLine:
    """The last line that tells of an error, or the last line at all (as its event); empty without a log."""
    if not path.exists():
        return LogLine()
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        lines = [line for line in file.read().splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            found = msgspec.json.decode(line, type=LogLine)
        except msgspec.DecodeError:
            continue
        if found.level == "error":
            return found
    return LogLine(event=lines[-1].decode(errors="replace") if lines else "")


def wait_ready(context: Context, root: Path) -> tuple[str, list[str]]:
    """Wait until every feed has fresh quotes and the executor accepts commands: (what is missing, who cannot start)."""
    deadline_ns = context.clock.mono_ns() + int(READY_S * NS_PER_S)
    look_ns = 0
    while True:
        missing = readiness(context)
        now_ns = context.clock.mono_ns()
        if not missing or now_ns > deadline_ns:
            return missing, []
        if now_ns >= look_ns:
            look_ns = now_ns + int(LOOK_S * NS_PER_S)
            broken = broken_programs(root, log_directory(context, root))
            if broken:
                return missing, broken
        time.sleep(POLL_S)


def readiness(context: Context) -> str:
    """What keeps the system from being fit to trade, or "" """
    try:
        run = context.observe()
    except ConfigError as error:
        return str(error)
    trouble = views.executor_trouble(views.account(run), context.clock)
    missing = [f"executor: {trouble}"] if trouble else []
    for row in views.Books(context.loaded, run, context.clock).feeds():
        if not row.is_ready:
            missing.append(f"feed {row.venue}: {row.reason or 'no fresh quote yet'}")
    return "; ".join(missing)


def _require_own_file(context: Context, root: Path) -> None:
    """supervisord.conf names the file its programs read; starting them from another one would run what was not asked for."""
    name = context.loaded.config.run.environment.value
    runs = root / "config" / f"{name}.toml"
    if context.loaded.path != runs:
        raise ConfigError(
            f"{context.loaded.path}: run.environment is {name!r}, and for that supervisord runs {runs}; edit that file, "
            "or start the programs by hand with --config"
        )


def _wait_for_former(context: Context) -> None:
    """A run that is up without our supervisord is a former one just ending, or somebody else's. Raises BusyError."""
    deadline_ns = context.clock.mono_ns() + int(FORMER_S * NS_PER_S)
    told = False
    while doctor.is_live(context.loaded):
        if context.clock.mono_ns() > deadline_ns:
            first = RunDir.observe(context.loaded.run_dir).manifest.first_pid
            raise BusyError(
                f"run {context.loaded.config.run.name!r} ({context.loaded.run_dir}) is up, but not by this checkout's "
                f"supervisord (its first process was {first}); stop it where it was started, or choose another run.name"
            )
        if not told:
            context.say("programs of this run are still up; waiting for them to end ...")
            told = True
        time.sleep(POLL_S)


def _prepare(context: Context, root: Path) -> bool:
    """Logs, state, in the sandbox the throw-away identities (an existing secrets file is never overwritten), and the feeds
    that supervisord runs; whether those have changed."""
    loaded = context.loaded
    environment = loaded.config.run.environment
    try:
        log_directory(context, root).mkdir(parents=True, exist_ok=True, mode=0o750)
        loaded.state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        if environment is Environment.SANDBOX:
            keys.ensure(loaded.state_dir, loaded.secrets_file, loaded.enabled_venues, random.SystemRandom())
        return feed_stanzas.write(root, environment, loaded.enabled_venues)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}; check its owner and mode, and those above it"
        ) from error


def _start(context: Context, root: Path) -> None:
    """Prepare, and start supervisord. Raises ConfigError with its own last word."""
    _prepare(context, root)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(root / "supervisord.conf")]
    allowed = {**PASSED_ON, "TANDEM_ENV": context.loaded.config.run.environment.value}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STOP_S, env=allowed, cwd=root)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConfigError(f"supervisord did not start: {said[-1] if said else f'exit code {done.returncode}'}")


def _shut_down(context: Context, root: Path) -> bool:
    """Stop everything; whether supervisord has ended. Its own end is awaited: its socket goes long before its children."""
    supervisor = control(root, "pid").stdout.strip()
    if not supervisor.isdigit():
        return True
    try:
        descriptor = os.pidfd_open(int(supervisor))
    except ProcessLookupError:
        return True
    try:
        control(root, "shutdown")
        ended = bool(select.select([descriptor], [], [], STOP_S)[0])
    finally:
        os.close(descriptor)
    if ended and context.loaded.run_dir.exists():  # a program that was ended while it started has left it behind
        RunDir.join(context.loaded.run_dir, context.loaded.config.run.time_scale, context.clock).leave()
    return ended


def _done(context: Context, text: str) -> int:
    if context.as_json:
        context.answer({"ok": True, "detail": text})
    context.say(text)
    return EXIT_OK


def _failed(context: Context, code: int, text: str) -> int:
    if context.as_json:
        context.answer({"ok": False, "exit_code": code, "error": text})
    context.say(f"[red]{escape(text)}[/red]")
    return code


def _where_to_look(context: Context, root: Path) -> None:
    exporter = context.loaded.config.exporter
    context.say(
        "\n[bold]running.[/bold] Pairs open by themselves within a minute. Look:\n"
        "  .venv/bin/tandem status        all at a glance          .venv/bin/tandem why BTC    what decided, with numbers\n"
        "  .venv/bin/tandem pairs         open and finished pairs  .venv/bin/supervisorctl status\n"
        f"  curl -s http://{exporter.host}:{exporter.port}/metrics   and /healthz, /readyz\n"
        f"  logs: {(root / 'var').name}/{context.loaded.config.run.environment.value}/log/*.log\n"
        "  make flatten                   close everything         make stop                   stop, positions stay hedged"
    )
