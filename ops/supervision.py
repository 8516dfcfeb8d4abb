"""`tandem up` and `down`: supervisord with a short allow-list of environment variables, and a wait until it is all fit.

Whatever stands in supervisord's environment stands in every child's, so nothing but these names is passed on; secrets
live in a file that only the executor's keyring reads.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

from core.account import AccountSnapshot
from core.clock import NS_PER_S
from core.errors import EXIT_OK, EXIT_UNAVAILABLE, ConfigError
from core.settings import Environment
from ops import screens, views
from ops.context import Context, console
from ops.sandbox import keys

READY_S = 90.0
POLL_S = 0.25
STOP_S = 60.0
PASSED_ON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/nonexistent",
}


def up(context: Context) -> int:
    """Start supervisord and every program, wait until ready, show the status and where to look."""
    root = project_root(context)
    environment = context.loaded.config.run.environment
    log_dir = root / "var" / environment.value / "log"
    log_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    context.loaded.state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    if environment is Environment.SANDBOX:
        _ensure_keys(context)
    if is_up(root):
        control(root, "start", "all")
    else:
        _start(root, environment)
    context.say("starting; waiting until feeds are live and the executor has recovered ...")
    waiting = wait_ready(context)
    if waiting:
        console().print(f"[red]not ready after {READY_S:.0f} s[/red]: {waiting}")
        console().print(f"look at: {root}/.venv/bin/supervisorctl status   and   {log_dir}/*.log")
        return EXIT_UNAVAILABLE
    screens.status(context)
    if not context.as_json:
        _where_to_look(context, root)
    return EXIT_OK


def down(context: Context) -> int:
    """Stop every program and supervisord itself. Hedged positions stay at the venues; nothing is closed."""
    root = project_root(context)
    if not is_up(root):
        context.say("nothing is running here")
        return EXIT_OK
    supervisor = os.pidfd_open(int(control(root, "pid").stdout))
    control(root, "shutdown")
    ended = select.select([supervisor], [], [], STOP_S)[0]  # its socket goes long before its children have
    os.close(supervisor)
    if not ended:
        console().print(f"[red]supervisord has not ended after {STOP_S:.0f} s[/red]; see var/*/log/supervisord.log")
        return EXIT_UNAVAILABLE
    context.say("stopped; hedged positions stay open at the venues (make flatten closes them)")
    return EXIT_OK


def project_root(context: Context) -> Path:
    """The directory above the configuration's own: where supervisord.conf stands."""
    root = context.loaded.path.parent.parent
    if not (root / "supervisord.conf").exists():
        raise ConfigError(
            f"{root}/supervisord.conf: missing; run from a checkout, or give --config CHECKOUT/config/X.toml"
        )
    return root


def control(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run supervisorctl against this checkout's supervisord."""
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(root / "supervisord.conf"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=STOP_S, env=PASSED_ON, cwd=root)


def is_up(root: Path) -> bool:
    """Whether this checkout's supervisord answers."""
    return (root / "var" / "supervisor.sock").exists() and control(root, "pid").stdout.strip().isdigit()


def wait_ready(context: Context) -> str:
    """Wait until every feed has fresh quotes and the executor accepts commands; "" or what is still missing."""
    deadline_ns = context.clock.mono_ns() + int(READY_S * NS_PER_S)
    missing = "no run directory yet"
    while context.clock.mono_ns() < deadline_ns:
        missing = readiness(context)
        if not missing:
            return ""
        time.sleep(POLL_S)
    return missing


def readiness(context: Context) -> str:
    """What keeps the system from being fit to trade, or "" """
    try:
        run = context.observe()
    except ConfigError as error:
        return str(error)
    page = views.account(run)
    if not isinstance(page, AccountSnapshot):
        return f"executor: {page}"
    missing = [] if page.ready else ["executor: recovering"]
    for row in views.Books(context.loaded, run, context.clock).feeds():
        if not row.up or not row.fresh:
            missing.append(f"feed {row.venue}: {row.reason or 'no fresh quote yet'}")
    return "; ".join(missing)


def _ensure_keys(context: Context) -> None:
    """Throw-away identities, made once; an existing secrets file is never overwritten."""
    loaded = context.loaded
    keys.ensure(loaded.state_dir, loaded.secrets_file, tuple(loaded.config.venues), random.SystemRandom())


def _start(root: Path, environment: Environment) -> None:
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(root / "supervisord.conf")]
    allowed = {**PASSED_ON, "TANDEM_ENV": environment.value}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STOP_S, env=allowed, cwd=root)
    if done.returncode:
        raise ConfigError(f"supervisord did not start: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")


def _where_to_look(context: Context, root: Path) -> None:
    exporter = context.loaded.config.exporter
    console().print(
        "\n[bold]running.[/bold] Pairs open by themselves within a minute. Look:\n"
        "  .venv/bin/tandem status        all at a glance          .venv/bin/tandem why BTC    what decided, with numbers\n"
        "  .venv/bin/tandem pairs         open and finished pairs  .venv/bin/supervisorctl status\n"
        f"  curl -s http://{exporter.host}:{exporter.port}/metrics   and /healthz, /readyz\n"
        f"  logs: {(root / 'var').name}/{context.loaded.config.run.environment.value}/log/*.log\n"
        "  make flatten                   close everything         make stop                   stop, positions stay hedged",
        highlight=False,
    )
