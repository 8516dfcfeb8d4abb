"""Structured logs: one JSON object per line on stdout, UTC RFC 3339, stable snake_case events, secrets masked.

A `Log` is handed down from main, bound to its process. Repeats of one (level, event) are limited to REPEATS_PER_S a
second; what was left out is counted in the next line of that event as `suppressed`.
"""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from typing import Any

from core.clock import NS_PER_S, Clock

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
REPEATS_PER_S = 20
MASK = "***"


class Log:
    """Writes lines; thread-safe as far as a single write of a line to stdout is."""

    def __init__(
        self, process: str, clock: Clock, level: str = "info", write: Callable[[str], object] | None = None
    ) -> None:
        self._process = process
        self._clock = clock
        self._threshold = LEVELS[level]
        self._write = write or _write_stdout
        self._secrets: list[str] = []
        self._repeats: dict[tuple[str, str], tuple[int, int]] = {}

    def mask(self, secret: str) -> None:
        """From now on `secret` never appears in a line; shorter than 8 characters is refused as unmaskable."""
        if len(secret) < 8:
            raise ValueError("a secret shorter than 8 characters cannot be masked")
        self._secrets.append(secret)
        if secret.startswith("0x"):
            self._secrets.append(secret[2:])

    def debug(self, event: str, **fields: Any) -> None:
        self._emit("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._emit("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._emit("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._emit("error", event, fields)

    def _emit(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] < self._threshold:
            return
        wire_ns = self._clock.wire_ns()
        suppressed = self._admit(level, event, wire_ns // NS_PER_S)
        if suppressed < 0:
            return
        stamp = datetime.datetime.fromtimestamp(wire_ns / NS_PER_S, tz=datetime.UTC)
        line: dict[str, Any] = {
            "ts": stamp.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": level,
            "process": self._process,
            "event": event,
            **fields,
        }
        if suppressed:
            line["suppressed"] = suppressed
        text = json.dumps(line, default=str, ensure_ascii=False)
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        self._write(text + "\n")

    def _admit(self, level: str, event: str, second: int) -> int:
        """-1 = hold back; otherwise how many were held back since the last line of this event."""
        key = (level, event)
        last, count = self._repeats.get(key, (second, 0))
        if last != second:
            self._repeats[key] = (second, 1)
            return max(0, count - REPEATS_PER_S)
        self._repeats[key] = (second, count + 1)
        return 0 if count < REPEATS_PER_S else -1


def _write_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
