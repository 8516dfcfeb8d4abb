"""What every command of `tandem` is handed: configuration, clock, and how to answer (table or JSON).

Answers go to stdout: tables for people, or with --json exactly one JSON document (decimals as strings, what is not known
as null). Questions and errors go to stderr. A table that does not fit the terminal leaves out the columns its caller
named as the least important and says which; in a pipe or a file nothing is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bookshm.run import RunDir
from core.clock import Clock, SystemClock
from core.config import Loaded

ROOT = Path(__file__).resolve().parent.parent
PIPE_WIDTH = 1000
GAP = 2  # blanks between two columns
FOLDED_MIN = 20  # narrowest a folding column may get

__all__ = ["ROOT", "Context", "clock", "console", "escape"]


class Context(msgspec.Struct, frozen=True):
    """One invocation."""

    loaded: Loaded
    clock: Clock
    as_json: bool

    def observe(self) -> RunDir:
        """The run's directory, read-only. Raises ConfigError with what to do when the run is not up."""
        return RunDir.observe(self.loaded.run_dir)

    def answer(self, data: Any) -> None:
        """Machine-readable answer: one JSON document. NaN and infinities, which JSON lacks, become null."""
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode() + "\n")

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        drop: Sequence[str] = (),
        fold: str = "",
    ) -> None:
        """Human-readable answer; None shows as a dash, columns of numbers are right-aligned.

        On a narrow terminal the column `fold` wraps, then the columns of `drop` go one by one, the first one first.
        """
        out = console()
        kept, left_out, needed = _fitting(columns, rows, drop, fold, out.width)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="underline")
        for index in kept:
            numeric = bool(rows) and all(_is_number(row[index]) for row in rows if row[index] not in (None, "-", ""))
            folds = columns[index] == fold
            table.add_column(
                columns[index],
                justify="right" if numeric else "left",
                no_wrap=not folds,
                overflow="fold",
                min_width=_width(columns, rows, index, fold),
            )
        for row in rows:
            table.add_row(*(_cell(row[index]) for index in kept))
        out.print(Text(title, style="bold"))
        out.print(table if rows else Text("(none)", style="dim"), width=max(needed, out.width), crop=False)
        if left_out:
            out.print(Text(f"left out for width: {', '.join(left_out)}", style="dim"))
        out.print()

    def say(self, text: str) -> None:
        """A line for people, left out of JSON answers. Text is markup: `escape` what others wrote."""
        if not self.as_json:
            console().print(text, highlight=False, soft_wrap=True)


class Terminal(Console):
    """A console whose reader may go away, as `head` does: that is for `cli.entry` to end, not an exit code of 1."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console() -> Console:
    """As wide as the terminal; wide enough for anything in pipes and files."""
    return Terminal(width=None if sys.stdout.isatty() else PIPE_WIDTH)


def clock() -> Clock:
    return SystemClock()


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[object]], drop: Sequence[str], fold: str, width: int
) -> tuple[list[int], list[str], int]:
    """Indices of the columns that fit into `width`, the names of those that do not, and the width it takes. That may
    exceed what there is: a line that the terminal wraps is ugly, a number cut short is a lie."""
    kept, left_out = list(range(len(columns))), []

    def needed() -> int:
        return sum(_width(columns, rows, index, fold) + GAP for index in kept) - GAP

    for name in drop:
        if needed() <= width:
            break
        kept.remove(columns.index(name))
        left_out.append(name)
    return kept, left_out, needed()


def _width(columns: Sequence[str], rows: Sequence[Sequence[object]], index: int, fold: str) -> int:
    widest = max([cell_len(columns[index]), *(cell_len(_plain(row[index])) for row in rows)])
    return min(widest, FOLDED_MIN) if columns[index] == fold else widest


def _is_number(value: object) -> bool:
    text = _plain(value).rstrip("%").replace(",", "")
    try:
        Decimal(text)
    except ArithmeticError:
        return False
    return True


def _cell(value: object) -> Text:
    """Text as it is: what a venue or an operator wrote is never markup."""
    return value if isinstance(value, Text) else Text(_plain(value))


def _plain(value: object) -> str:
    return "-" if value is None else str(value)
