"""`tandem doctor`: what would keep this box from trading, checked one by one before it matters. Changes nothing."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bookshm.run import RunDir
from core.config import Loaded
from core.errors import EXIT_CONFIG, EXIT_OK
from core.roster import SPEC
from ops.context import Context

SHM_FREE_MIN_MIB = 64
DISK_FREE_MIN_MIB = 512
SECRET_MODE_MAX = 0o600


class Finding(msgspec.Struct, frozen=True):
    """`level` is ok, warn or fail; `advice` says what to do about the latter two."""

    check: str
    level: str
    detail: str
    advice: str = ""


def doctor(context: Context) -> int:
    findings = [finding for check in CHECKS for finding in check(context.loaded)]
    if context.as_json:
        context.answer([msgspec.to_builtins(f) for f in findings])
    else:
        colour = {"ok": "green", "warn": "yellow", "fail": "red"}
        rows = [(f.check, f"[{colour[f.level]}]{f.level}[/{colour[f.level]}]", f.detail, f.advice) for f in findings]
        context.table("Preflight", ("check", "result", "found", "what to do"), rows)
    return EXIT_CONFIG if any(f.level == "fail" for f in findings) else EXIT_OK


def _machine(loaded: Loaded) -> Iterator[Finding]:
    found = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    fit = sys.platform == "linux" and platform.machine() == "x86_64"
    yield Finding("machine", "ok" if fit else "fail", found, "" if fit else "shared-memory stamps need x86-64 Linux")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding("open files", "ok" if soft >= 1024 else "warn", str(soft), "" if soft >= 1024 else "ulimit -n 4096")


def _configuration(loaded: Loaded) -> Iterator[Finding]:
    yield Finding("configuration", "ok", f"{loaded.path} ({loaded.fingerprint})")
    for name in loaded.enabled_venues:
        venue = loaded.config.venues[name]
        yield Finding(f"venue {name}", "ok", f"{venue.rest_url}, {'test' if venue.testnet else 'main'} network keys")


def _secrets(loaded: Loaded) -> Iterator[Finding]:
    path = loaded.secrets_file
    if not path.exists():
        yield Finding(
            "secrets", "warn", f"{path}: missing", "make run writes sandbox keys; else copy .env.example, chmod 600"
        )
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~SECRET_MODE_MAX:
        yield Finding("secrets", "fail", f"{path}: mode {mode:04o}", f"chmod 600 {path}")
        return
    if not os.access(path, os.R_OK):
        yield Finding("secrets", "fail", f"{path}: not readable by this user", f"chown it to {os.getuid()}")
        return
    names = {line.split("=", 1)[0].strip() for line in path.read_text().splitlines() if "=" in line and line[:1] != "#"}
    for venue in loaded.enabled_venues:
        for credential in SPEC[venue].credentials:
            if not names & {credential.name, *credential.aliases}:
                yield Finding(f"secrets {venue}", "fail", f"{credential.name} is not in {path}", "add NAME=value")
    yield Finding("secrets", "ok", f"{path}: mode {mode:04o}, {len(names)} names")


def _directories(loaded: Loaded) -> Iterator[Finding]:
    for name, path in (("state", loaded.state_dir), ("locks", loaded.lock_dir)):
        existing = _existing(path)
        writable = os.access(existing, os.W_OK | os.X_OK)
        free_mib = shutil.disk_usage(existing).free >> 20
        if not writable:
            yield Finding(f"{name} directory", "fail", f"{path}: not writable", f"chown {existing}")
        elif free_mib < DISK_FREE_MIN_MIB:
            yield Finding(f"{name} directory", "fail", f"{path}: {free_mib} MiB free", f"free {DISK_FREE_MIN_MIB} MiB")
        else:
            yield Finding(f"{name} directory", "ok", f"{path}: {free_mib} MiB free")
    shm = Path(loaded.config.run.shm_dir)
    free_mib = shutil.disk_usage(shm).free >> 20 if shm.is_dir() else 0
    low = free_mib < SHM_FREE_MIN_MIB
    yield Finding(
        "shared memory", "fail" if low else "ok", f"{shm}: {free_mib} MiB free", "mount a larger tmpfs" if low else ""
    )


def _ports(loaded: Loaded) -> Iterator[Finding]:
    live = _is_live(loaded)
    exporter = loaded.config.exporter
    wanted = [("exporter.port", exporter.host, exporter.port)]
    if loaded.config.sandbox is not None:
        wanted.append(("sandbox.control_port", "127.0.0.1", loaded.config.sandbox.control_port))
        for name, venue in loaded.config.sandbox.venues.items():
            wanted.append((f"sandbox.venues.{name}.port", "127.0.0.1", venue.port))
    for key, host, port in wanted:
        taken = port != 0 and _answers(host, port)
        if live or not taken:
            yield Finding(key, "ok", f"{host}:{port} {'in use by this run' if taken else 'free'}")
        else:
            yield Finding(key, "fail", f"{host}:{port} is in use", f"ss -ltnp sport = :{port}; or set another {key}")


def _venues(loaded: Loaded) -> Iterator[Finding]:
    for name in loaded.enabled_venues:
        url = urlsplit(loaded.config.venues[name].rest_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        reachable = _answers(url.hostname or "", port)
        level = "ok" if reachable else "warn"
        yield Finding(f"reach {name}", level, f"{url.hostname}:{port}", "" if reachable else "not up yet, or no route")


def _run(loaded: Loaded) -> Iterator[Finding]:
    live = _is_live(loaded)
    yield Finding("run", "ok", f"{loaded.run_dir}: {'up' if live else 'not running'}")


def _is_live(loaded: Loaded) -> bool:
    return loaded.run_dir.is_dir() and RunDir.observe(loaded.run_dir).is_live()


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _existing(path: Path) -> Path:
    """The nearest ancestor that exists: what would have to be writable to make `path`."""
    while not path.exists():
        path = path.parent
    return path


CHECKS: tuple[Callable[[Loaded], Iterator[Finding]], ...] = (
    _machine, _configuration, _secrets, _directories, _ports, _venues, _run,
)  # fmt: skip
