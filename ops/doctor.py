"""`tandem doctor`: what would keep this box from trading, checked one by one before it matters. Changes nothing.

The same checks stand before `tandem up`: what fails here never gets half-started.
"""

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
from rich.text import Text

from bookshm.run import RunDir
from core.config import Loaded
from core.errors import EXIT_CONFIG, EXIT_OK, ConfigError
from core.roster import SPEC
from core.settings import Environment
from ops.context import Context

SHM_FREE_MIN_MIB = 16  # a run of two venues takes 5; a container has 64 in all by default
DISK_FREE_MIN_MIB = 512
SECRET_MODE_MAX = 0o600


class Finding(msgspec.Struct, frozen=True):
    """`level` is ok, warn or fail; `advice` says what to do about the latter two."""

    check: str
    level: str
    detail: str
    advice: str = ""


def doctor(context: Context) -> int:
    findings = [finding for check in (*BEFORE_START, *OF_THE_WORLD) for finding in check(context.loaded)]
    if context.as_json:
        context.answer(findings)
    else:
        colour = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        rows = [(f.check, Text(f.level, style=colour[f.level]), f.detail, f.advice) for f in findings]
        columns = ("check", "result", "found", "what to do")
        context.table(f"Preflight of {context.loaded.path}", columns, rows, fold="found")
    return EXIT_CONFIG if any(f.level == "fail" for f in findings) else EXIT_OK


def require_fit(loaded: Loaded) -> None:
    """Raises ConfigError with every failure that would keep the system from starting, and what to do about each."""
    failed = [finding for check in BEFORE_START for finding in check(loaded) if finding.level == "fail"]
    if failed:
        raise ConfigError("nothing was started:\n" + "\n".join(f"  {f.check}: {f.detail}; {f.advice}" for f in failed))


def is_live(loaded: Loaded) -> bool:
    """Whether any process of this run is up."""
    return (loaded.run_dir / "run.json").exists() and RunDir.observe(loaded.run_dir).is_live()


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
    if not path.is_file():
        made = loaded.config.run.environment is Environment.SANDBOX and not path.exists()
        advice = "make run makes throw-away ones" if made else "copy .env.example there, fill it in, chmod 600"
        yield Finding("secrets", "warn" if made else "fail", f"{path}: missing, or not a file", advice)
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~SECRET_MODE_MAX:
        yield Finding("secrets", "fail", f"{path}: mode {mode:04o}, others may read it", f"chmod 600 {path}")
        return
    try:
        names = _names(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        yield Finding(
            "secrets", "fail", f"{path}: cannot be read ({error})", f"make it UTF-8 text of uid {os.getuid()}"
        )
        return
    missing = [
        (venue, credential.name)
        for venue in loaded.enabled_venues
        for credential in SPEC[venue].credentials
        if not credential.optional and not names & {credential.name, *credential.aliases}
    ]
    for venue, name in missing:
        yield Finding(f"secrets {venue}", "fail", f"{path}: {name} is missing or empty", f"add {name}=value")
    if not missing:
        yield Finding("secrets", "ok", f"{path}: mode {mode:04o}, {len(names)} names")


def _names(text: str) -> set[str]:
    """Names that have a value; values are looked at no further."""
    pairs = (line.removeprefix("export ").partition("=") for line in text.splitlines() if line[:1] != "#")
    return {name.strip() for name, _, value in pairs if value.strip()}


def _directories(loaded: Loaded) -> Iterator[Finding]:
    logs = loaded.path.parent.parent / "var"
    for name, path in (("state", loaded.state_dir), ("locks", loaded.lock_dir), ("logs", logs)):
        existing = _existing(path)
        if not existing.is_dir():
            yield Finding(
                f"{name} directory", "fail", f"{path}: {existing} is not a directory", f"move {existing} away"
            )
            continue
        free_mib = shutil.disk_usage(existing).free >> 20
        if not os.access(existing, os.W_OK | os.X_OK):
            yield Finding(
                f"{name} directory", "fail", f"{path}: {existing} is not writable by uid {os.getuid()}",
                f"chown {os.getuid()} {existing}",
            )  # fmt: skip
        elif free_mib < DISK_FREE_MIN_MIB:
            yield Finding(
                f"{name} directory", "fail", f"{path}: {free_mib} MiB free", f"free {DISK_FREE_MIN_MIB} MiB there"
            )
        else:
            yield Finding(f"{name} directory", "ok", f"{path}: {free_mib} MiB free")
    shm = Path(loaded.config.run.shm_dir)
    if not shm.is_dir():
        yield Finding("shared memory", "fail", f"{shm}: no such directory", "correct run.shm_dir")
        return
    free_mib = shutil.disk_usage(shm).free >> 20
    low = free_mib < SHM_FREE_MIN_MIB
    advice = f"free {SHM_FREE_MIN_MIB} MiB there, or mount a larger tmpfs" if low else ""
    yield Finding("shared memory", "fail" if low else "ok", f"{shm}: {free_mib} MiB free", advice)


def _ports(loaded: Loaded) -> Iterator[Finding]:
    live = is_live(loaded)
    exporter = loaded.config.exporter
    wanted = [("exporter.port", exporter.host, exporter.port)]
    if loaded.config.sandbox is not None:
        wanted.append(("sandbox.control_port", "127.0.0.1", loaded.config.sandbox.control_port))
        for name, venue in loaded.config.sandbox.venues.items():
            wanted.append((f"sandbox.venues.{name}.port", "127.0.0.1", venue.port))
    for key, host, port in wanted:
        if live:
            answers = _answers(host, port)
            detail = f"{host}:{port} {'answers' if answers else 'does not answer, though the run is up'}"
            yield Finding(key, "ok" if answers else "warn", detail, "" if answers else "supervisorctl status")
            continue
        trouble = _cannot_open(host, port)
        if trouble:
            yield Finding(
                key,
                "fail",
                f"{host}:{port}: {trouble}",
                f"see who has it: ss -ltnp sport = :{port}; or set another {key}",
            )
        else:
            yield Finding(key, "ok", f"{host}:{port} free")


def _venues(loaded: Loaded) -> Iterator[Finding]:
    for name in loaded.enabled_venues:
        url = urlsplit(loaded.config.venues[name].rest_url)
        port = url.port or (443 if url.scheme == "https" else 80)
        reachable = _answers(url.hostname or "", port)
        level = "ok" if reachable else "warn"
        yield Finding(f"reach {name}", level, f"{url.hostname}:{port}", "" if reachable else "not up yet, or no route")


def _run(loaded: Loaded) -> Iterator[Finding]:
    live = is_live(loaded)
    yield Finding("run", "ok", f"{loaded.run_dir}: {'up' if live else 'not running'}")


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _cannot_open(host: str, port: int) -> str:
    """Why a server could not listen there, or "": tried, as a port may be taken without anybody answering."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _existing(path: Path) -> Path:
    """The nearest ancestor that exists: what would have to be writable to make `path`."""
    while not path.exists():
        path = path.parent
    return path


BEFORE_START: tuple[Callable[[Loaded], Iterator[Finding]], ...] = (
    _machine, _configuration, _secrets, _directories, _ports,
)  # fmt: skip
OF_THE_WORLD: tuple[Callable[[Loaded], Iterator[Finding]], ...] = (_venues, _run)
