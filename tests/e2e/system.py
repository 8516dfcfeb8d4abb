"""A whole Tandem of a test's own: real supervisord, own root, run name, ports and locks; nothing left behind.

The root is a scratch directory with this checkout's supervisord.conf and config/ (ports and names changed) and links to
its .venv and its rooms, so that what runs is what ships.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from bookshm.account_page import AccountPageReader
from core.account import AccountSnapshot, PairView
from core.clock import SystemClock
from core.config import Loaded, load
from core.messages import PairStatus
from core.types import TradingState
from ops import supervision
from ops.context import Context
from ops.feed_stanzas import stanzas

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "bookshm", "risk", "feeds", "strategies", "executor", "ops")


SHIPPED = load(ROOT / "config" / "sandbox.toml")


def supervised() -> dict[str, str]:
    """Program -> what supervisorctl calls it, in the order in which they start: what the shipped files say."""
    read = configparser.RawConfigParser(strict=True)
    read.read([ROOT / "supervisord.conf", *(ROOT / "config" / "supervisor.d" / "sandbox").glob("*.conf")])
    read.read_string(stanzas(SHIPPED.config.run.environment, SHIPPED.enabled_venues))
    grouped = {
        program: f"{section.partition(':')[2]}:{program}"
        for section in read.sections()
        if section.startswith("group:")
        for program in read[section]["programs"].split(",")
    }
    programs = [section for section in read.sections() if section.startswith("program:")]
    programs.sort(key=lambda section: int(read[section]["priority"]))
    names = [section.partition(":")[2] for section in programs]
    return {name: grouped.get(name, name) for name in names}


def shipped_ports() -> dict[str, str]:
    """Who listens where in the shipped sandbox environment."""
    sandbox = SHIPPED.config.sandbox
    assert sandbox is not None
    venues = {name: str(server.port) for name, server in sandbox.venues.items()}
    return {"control": str(sandbox.control_port), **venues, "exporter": str(SHIPPED.config.exporter.port)}


PROGRAMS = supervised()
PORTS = shipped_ports()
HELD = frozenset({PairStatus.OPEN})


class System:
    """Use as a context manager. Every wait has a bound and says what it was waiting for.

    `changes` maps a table of config/sandbox.toml to keys and TOML values: {"strategies.scalp": {"cooldown_s": "1.0"}}.
    `venues` are those that take part, all when left out.
    """

    def __init__(self, changes: dict[str, dict[str, str]] | None = None, venues: tuple[str, ...] | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tandem-e2e-"))
        self.name = f"t{os.getpid()}-{secrets.token_hex(3)}"
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._lay_out(changes or {}, venues)
        self.loaded: Loaded = load(self.root / "config" / "sandbox.toml")
        self.clock = SystemClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is not None:
            self.print_logs()
        self.resume_all()
        self.cli("down", check=False, timeout_s=90)
        run_dir = self.loaded.run_dir
        left = run_dir.exists()
        shutil.rmtree(self.root, ignore_errors=True)
        if failure[0] is None:
            assert not left, f"{run_dir} was left behind"
        elif left:
            shutil.rmtree(run_dir, ignore_errors=True)

    # ---- commands -----------------------------------------------------------------------------------------------------

    def cli(self, *words: str, check: bool = True, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
        """`tandem ...` on this system."""
        command = [sys.executable, "-m", "ops.cli", "--config", str(self.loaded.path), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT, stdin=subprocess.DEVNULL
        )
        if check and done.returncode:
            raise AssertionError(f"tandem {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.cli(*words, "--json").stdout)

    def ctl(self, *words: str) -> str:
        """`supervisorctl ...` on this system."""
        return supervision.control(self.root, *words).stdout

    def up(self) -> None:
        self.cli("up")

    def pid(self, program: str) -> int:
        text = self.ctl("pid", PROGRAMS[program]).strip()
        return int(text) if text.isdigit() else 0

    def signal(self, program: str, number: signal.Signals) -> int:
        """Send `number` to exactly the process that supervisord started; its pid."""
        pid = self.pid(program)
        assert pid > 1, f"{program} is not running"
        descriptor = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
        return pid

    def resume_all(self) -> None:
        """A stopped process would not hear that it should end."""
        for program in PROGRAMS:
            pid = self.pid(program)
            if pid > 1:
                os.kill(pid, signal.SIGCONT)

    # ---- truth --------------------------------------------------------------------------------------------------------

    def page(self) -> AccountSnapshot | None:
        page = AccountPageReader(self.loaded.run_dir).read() if self.loaded.run_dir.exists() else None
        return page if isinstance(page, AccountSnapshot) else None

    def pairs(self, statuses: frozenset[PairStatus] = HELD) -> list[PairView]:
        page = self.page()
        return [pair for pair in page.pairs if pair.status in statuses] if page else []

    def ready(self) -> bool:
        """Fresh page, recovery finished, every feed live."""
        page = self.page()
        fresh = page is not None and self.clock.mono_ns() - page.written_mono_ns < 2_000_000_000
        return fresh and not supervision.readiness(Context(self.loaded, self.clock, True))

    def ready_halted(self) -> bool:
        """Ready, with the halt still holding."""
        page = self.page()
        return self.ready() and page is not None and page.trading_state is TradingState.HALTED

    def sandbox(self, what: str = "state", *words: str) -> Any:
        return json.loads(self.cli("sandbox", what, *words).stdout)

    def venue_positions(self) -> dict[tuple[str, str], Decimal]:
        """Signed canonical positions as the venues themselves keep them, without flat ones."""
        found: dict[tuple[str, str], Decimal] = {}
        for venue, symbol, qty in sandbox_positions(self.sandbox()):
            if qty:
                found[venue, symbol] = found.get((venue, symbol), Decimal(0)) + qty
        return found

    def journal_positions(self) -> dict[tuple[str, str], Decimal]:
        page = self.page()
        assert page is not None
        return {(str(p.venue), p.symbol): p.qty for p in page.positions if p.qty}

    def client_ids(self) -> list[str]:
        """Every client order id that any venue ever took from us, as often as it took it."""
        return [
            order["client_id"]
            for body in self.sandbox()["venues"].values()
            for account in body["accounts"].values()
            for order in account["orders"]
        ]

    def books_equal(self) -> bool:
        """Whether the journal's positions equal the venues' own; call when no pair is in motion."""
        return self.journal_positions() == self.venue_positions()

    def until(self, what: str, done: Callable[[], object], seconds: float = 60.0) -> float:
        """Poll until `done()`; the seconds it took."""
        began_ns = self.clock.mono_ns()
        while not done():
            waited = (self.clock.mono_ns() - began_ns) / 1e9
            assert waited < seconds, f"waited {seconds:.0f} s for: {what}\n{self.ctl('status')}\n{self.page()}"
            time.sleep(0.1)
        return (self.clock.mono_ns() - began_ns) / 1e9

    def log(self, program: str) -> str:
        path = self.root / "var" / "sandbox" / "log" / f"{program}.log"
        return path.read_text() if path.exists() else ""

    def print_logs(self) -> None:
        for program in ("supervisord", *PROGRAMS):
            print(f"---- {program}\n" + "\n".join(self.log(program).splitlines()[-25:]))

    # ---- layout -------------------------------------------------------------------------------------------------------

    def _lay_out(self, changes: dict[str, dict[str, str]], venues: tuple[str, ...] | None) -> None:
        shutil.copy(ROOT / "supervisord.conf", self.root)
        shutil.copytree(ROOT / "config", self.root / "config")
        (self.root / ".venv").symlink_to(Path(sys.prefix))
        for room in ROOMS:  # this checkout, whichever one the environment was installed from
            (self.root / room).symlink_to(ROOT / room)
        path = self.root / "config" / "sandbox.toml"
        for file in (path, *(path.parent / "venues").glob("*.toml")):
            if venues is not None and file != path and file.stem not in venues:
                file.unlink()
                continue
            text = file.read_text()
            for name, shipped in PORTS.items():
                text = re.sub(rf"\b{shipped}\b", str(self.ports[name]), text)
            file.write_text(text)
        text = path.read_text()
        text = text.replace('name = "sandbox"', f'name = "{self.name}"')
        for table, keys in changes.items():
            text = set_keys(text, table, keys)
        path.write_text(text)


def sandbox_positions(state: Any) -> list[tuple[str, str, Decimal]]:
    """(venue, canonical symbol, signed canonical size) out of the control endpoint's state."""
    return [
        (venue, position["symbol"], Decimal(position["canonical_qty"]))
        for venue, body in state["venues"].items()
        for account in body["accounts"].values()
        for position in account["positions"].values()
    ]


def set_keys(text: str, table: str, keys: dict[str, str]) -> str:
    """`text` with the keys of one table set; the table is made where there is none."""
    head = f"[{table}]\n"
    before, found, after = text.partition(head)
    if not found:
        before, after = text + "\n", ""
    body, bracket, rest = after.partition("\n[")
    for key, value in keys.items():
        body = re.sub(rf"(?m)^{key} = .*\n?", "", body)
        body = f"{key} = {value}\n{body}"
    return before + head + body + bracket + rest


def free_ports(count: int) -> list[int]:
    """Ports free now; all are held until the last is found, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
