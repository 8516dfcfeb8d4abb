"""The real sandbox process, on free ports and a directory of its own, started and ended by its pid."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.configuration import THREE, whole_text

ROOT = Path(__file__).resolve().parents[3]
START_S = 30.0


class SandboxProcess:
    """`with SandboxProcess(tmp_path) as sandbox:`; `quiet` = prices walk but have no basis, so nothing jumps."""

    def __init__(
        self,
        directory: Path,
        *,
        quiet: bool = True,
        extra: str = "",
        order_delay_ms: float = 5.0,
        venues: tuple[str, ...] = THREE,
    ) -> None:
        self.directory = directory
        self.config = directory / "config" / "sandbox.toml"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        head, _, tail = whole_text(venues=venues).partition("[sandbox]\n")
        head = head.replace('name = "sandbox"', f'name = "t{os.getpid()}-{directory.name.lower()[:20]}"')
        servers = tail[tail.index("[sandbox.venues.") :]
        servers = re.sub(r"(?m)^port\s*=.*$", "port = 0", servers)
        servers = re.sub(r"(?m)^order_delay_ms\s*=.*$", f"order_delay_ms = {order_delay_ms}", servers)
        calm = "basis_sd_bps = 0.0\njump_bps = 0.0\n" if quiet else ""
        self.config.write_text(f"{head}[sandbox]\nseed = 7\ncontrol_port = 0\n{calm}{extra}\n\n{servers}")
        self.state_dir = directory / "var" / "sandbox"
        self.process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}

    def __enter__(self) -> SandboxProcess:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it listens."""
        ports = self.state_dir / "sandbox_ports.json"
        ports.unlink(missing_ok=True)
        with (self.directory / "sandbox.out").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops.sandbox.main", "--config", str(self.config)],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_S
        while not ports.exists():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)
        self.ports = json.loads(ports.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by signal; the exit code (negative = killed)."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def output(self) -> str:
        return (self.directory / "sandbox.out").read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['hyperliquid']}"

    def secrets(self) -> dict[str, str]:
        lines = (self.state_dir / "secrets.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def agent(self) -> LocalAccount:
        return Account.from_key(self.secrets()["HL_PRIVATE_KEY"])  # type: ignore[no-any-return]

    @property
    def master(self) -> str:
        return self.secrets()["HL_USER_ADDRESS"]

    def control(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['control']}/control/{path}", data)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read())

    def account(self, venue: str = "hyperliquid", address: str | None = None) -> Any:
        return self.control("state")["venues"][venue]["accounts"][address or self.master]
