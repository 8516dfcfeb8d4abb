"""A run as its processes would leave it in shared memory, written by hand: two books, the account page, decisions, counters.

No process runs: whatever a screen or the exporter shows must come from what a test put here.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from bookshm.account_page import AccountPageWriter
from bookshm.book import BookWriter
from bookshm.counters import CountersWriter
from bookshm.decisions import DecisionWriter
from bookshm.run import RunDir
from core.account import AccountSnapshot, OrderView, PositionView
from core.clock import NS_PER_S, SystemClock
from core.config import Loaded, load
from core.decisions import Action, Decision
from core.messages import AnyCommand, AnyReport, decode_command, encode
from core.types import FundingKind, FundingRate, OrderStatus, Side, Venue
from ops import cli
from tests.configuration import whole_text
from tests.strategies.market import AS, HL, account, instrument, pair, venue_account

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()


class Desk:
    """One run of two venues with BTC and ETH. Use `close` (the fixture does)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.loaded = lay_out(directory)
        self.run = RunDir.join(self.loaded.run_dir, 1.0, CLOCK)
        self.books = {venue: BookWriter(self.run, venue, CLOCK, 8, 64) for venue in (HL, AS)}
        self.page = AccountPageWriter(self.run, 64)
        self.decisions = DecisionWriter(self.run, "scalp", 64)
        self.counters: dict[str, CountersWriter] = {}
        for venue, book in self.books.items():
            for symbol in ("BTC", "ETH"):
                book.assign_socket(book.add(instrument(venue, symbol)), 0)
            book.set_status(True, "")

    def quote(self, venue: Venue, symbol: str, bid: float, ask: float, *, age_s: float = 0.0) -> None:
        """A quote received `age_s` ago, its socket silent since."""
        at_ns = CLOCK.mono_ns() - int(age_s * NS_PER_S)
        book = self.books[venue]
        book.publish_quote(book.slots[symbol], bid, 1.5, ask, 2.25, 0, at_ns)
        book.prove_symbol(book.slots[symbol], at_ns)
        book.prove_socket(0, at_ns)

    def funding(self, venue: Venue, symbol: str, rate: float) -> None:
        book = self.books[venue]
        quoted = FundingRate(rate, 3600, 0, FundingKind.ESTIMATE, "test")
        book.publish_funding(book.slots[symbol], quoted, CLOCK.mono_ns())

    def beat(self) -> None:
        """Both feeds are alive now."""
        for book in self.books.values():
            book.heartbeat(CLOCK.mono_ns())

    def account(self, *pairs: Any, silent_s: float = 0.0, **changes: Any) -> AccountSnapshot:
        """Write the account page as of `silent_s` ago."""
        fields = {
            "written_mono_ns": CLOCK.mono_ns() - int(silent_s * NS_PER_S),
            "config_fingerprint": self.loaded.fingerprint, **changes,
        }  # fmt: skip
        snapshot = account(*pairs, **fields)
        self.page.write(snapshot)
        return snapshot

    def decide(self, reason: str, *, symbol: str = "BTC", action: Action = Action.REFUSE, **numbers: float) -> Decision:
        made = Decision(
            wire_ns=CLOCK.wire_ns(), mono_ns=CLOCK.mono_ns(), strategy="scalp", action=action, symbol=symbol,
            long_venue="aster", short_venue="hyperliquid", reason=reason, numbers=numbers,
        )  # fmt: skip
        self.decisions.write(made)
        return made

    def count(self, process: str, capacity: int = 16) -> CountersWriter:
        """The counters page of `process`, made at the first call."""
        if process not in self.counters:
            self.counters[process] = CountersWriter(self.run, process, CLOCK, capacity)
        return self.counters[process]

    def tandem(self, *words: str) -> int:
        """`tandem --config THIS ...`; the exit code."""
        return cli.main(["--config", str(self.loaded.path), *words])

    def close(self) -> None:
        for page in self.counters.values():
            page.close()
        self.decisions.close()
        self.page.close()
        for book in self.books.values():
            book.close()
        self.run.leave()


def lay_out(directory: Path, **replace: str) -> Loaded:
    """A checkout's config/sandbox.toml in `directory`, with a run name, directories and free ports of its own."""
    ports = iter(free_ports(4))
    text = whole_text(venues=("hyperliquid", "aster"))  # two venues are what these tests count
    for old in ("18101", "18102", "18100", "9108"):
        text = text.replace(old, str(next(ports)))
    own = {"name": f'"t{os.getpid()}-{secrets.token_hex(3)}"', **replace}
    for key, value in own.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text, count=1)
        assert count, f"no key {key} in config/sandbox.toml"
    path = directory / "config" / "sandbox.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load(path)


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


class Answering:
    """Stands where the executor listens and answers each command with what `answer` makes of it; None = silence."""

    def __init__(self, path: Path, answer: Callable[[AnyCommand], AnyReport | None]) -> None:
        self.commands: list[AnyCommand] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        try:
            session, _ = self._socket.accept()
        except OSError:
            return
        with session:
            while data := session.recv(65536):
                command = decode_command(data)
                self.commands.append(command)
                report = self._answer(command)
                if report is not None:
                    session.send(encode(report))


def position(venue: Venue, qty: str, **changes: Any) -> PositionView:
    fields: dict[str, Any] = {
        "venue": venue, "symbol": "BTC", "qty": Decimal(qty), "venue_qty": Decimal(qty), "avg_entry_px": Decimal("100000.5"),
        "mark_px": Decimal("100100"), "notional_usd": Decimal("1501.5"), "unrealized_usd": Decimal("1.25"),
        "realized_usd": Decimal(0), "fees_usd": Decimal("0.7"), "funding_usd": Decimal("-0.1"), "move_to_liq_pct": 31.5,
        "flags": (),
    }  # fmt: skip
    return PositionView(**{**fields, **changes})


def order(**changes: Any) -> OrderView:
    fields: dict[str, Any] = {
        "client_order_id": "0x74616e64656d000000010000002a0100", "venue": AS, "symbol": "BTC", "side": Side.BUY,
        "qty": Decimal("0.015"), "filled_qty": Decimal("0.005"), "limit_px": Decimal("100150.1"),
        "status": OrderStatus.SUBMITTED, "pair_id": "p1-1", "submitted_wire_ns": 1_790_000_000_123_000_000,
    }  # fmt: skip
    return OrderView(**{**fields, **changes})


def parsed(text: str) -> Any:
    """One JSON document by the letter of the standard: NaN and infinities are refused."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


__all__ = ["AS", "CLOCK", "HL", "Answering", "Desk", "lay_out", "order", "pair", "parsed", "position", "venue_account"]
