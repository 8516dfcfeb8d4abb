"""What every command of `tandem` is handed: configuration, clock, and how to answer (table or JSON)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bookshm.run import RunDir
from core.clock import Clock, SystemClock
from core.config import Loaded

ROOT = Path(__file__).resolve().parent.parent


class Context(msgspec.Struct, frozen=True):
    """One invocation. Answers go to stdout, everything else to stderr."""

    loaded: Loaded
    clock: Clock
    as_json: bool

    def observe(self) -> RunDir:
        """The run's directory, read-only. Raises ConfigError with what to do when the run is not up."""
        return RunDir.observe(self.loaded.run_dir)

    def answer(self, data: Any) -> None:
        """Machine-readable answer: one JSON document."""
        sys.stdout.write(json.dumps(data, default=_plain, indent=2) + "\n")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Human-readable answer. Numbers are right-aligned; cells of None show as a dash."""
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", expand=False)
        for index, column in enumerate(columns):
            numeric = bool(rows) and all(_is_number(row[index]) for row in rows if row[index] not in (None, "-"))
            table.add_column(column, justify="right" if numeric else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        console().print(table)
        if not rows:
            console().print("  (none)", style="dim")

    def say(self, text: str) -> None:
        """A line for people, left out of JSON answers."""
        if not self.as_json:
            console().print(text, highlight=False)


def console() -> Console:
    """Wide enough for pipes and files, as wide as the terminal otherwise."""
    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 200)


def clock() -> Clock:
    return SystemClock()


def _is_number(value: object) -> bool:
    text = str(value).rstrip("%").replace(",", "")
    try:
        Decimal(text)
    except ArithmeticError:
        return isinstance(value, int | float)
    return True


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    return msgspec.to_builtins(value)
