"""`tandem record start|stop|status`: one switch file that every feed and the recorder look at once a second.

The switch stands until it is taken away, over restarts of any program. What is written is bounded per writer
([recorder] max_total_mib); status says how much is there and how much was lost on the way.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from bookshm.counters import CountersReader, list_counters
from core.clock import NS_PER_S
from core.errors import EXIT_OK, ConfigError
from ops.context import Context
from ops.recorder import SWITCH, switch_on

_NAME = re.compile(r"^(?P<stem>(frames|books|decisions)-.+)-(?P<at>\d{8}T\d{6})-\d{6}\.gz$")
STALE_NS = 2 * NS_PER_S
_LOST = ("feed_recorder_dropped_total", "recorder_missed_total")
_ON = ("feed_recording", "recorder_recording")


def add_arguments(made: argparse.ArgumentParser) -> None:
    made.add_argument("what", choices=["start", "stop", "status"])


def run(context: Context, args: argparse.Namespace) -> int:
    directory = context.loaded.recordings_dir
    try:
        if args.what == "start":
            switch_on(directory)
        elif args.what == "stop":
            (directory / SWITCH).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written ({error.strerror}); see recorder.directory") from error
    return _status(context, directory)


def _status(context: Context, directory: Path) -> int:
    is_on = (directory / SWITCH).exists()
    stems = _stems(directory)
    writing, lost = _counted(context)
    if context.as_json:
        rows = [{"stem": stem, "files": count, "bytes": size, "since": since} for stem, count, size, since in stems]
        context.answer({"on": is_on, "directory": str(directory), "writing": writing, "lost": lost, "stems": rows})
        return EXIT_OK
    context.say(f"recording is {'on' if is_on else 'off'}; {directory}")
    context.table(
        "Recorded", ("what", "files", "MiB", "since (UTC)"),
        [(stem, count, f"{size / (1 << 20):.2f}", since) for stem, count, size, since in stems],
    )  # fmt: skip
    if is_on and not writing:
        context.say("nobody writes yet: programs look at the switch once a second; is the system up? tandem status")
    if writing:
        context.say(f"written by {', '.join(writing)}; lost on the way: {lost:g} records")
    return EXIT_OK


def _stems(directory: Path) -> list[tuple[str, int, int, str]]:
    """(stem, files, bytes, start of the oldest) in the order of names."""
    found: dict[str, list[tuple[str, int]]] = {}
    for path in sorted(directory.glob("*.gz")):
        name = _NAME.match(path.name)
        if name is not None:
            found.setdefault(name["stem"], []).append((name["at"], path.stat().st_size))
    return [(stem, len(rows), sum(size for _, size in rows), rows[0][0]) for stem, rows in found.items()]


def _counted(context: Context) -> tuple[list[str], float]:
    """Who says that it records, and how much they lost together; nobody where the run is not up."""
    try:
        run = context.observe()
    except ConfigError:
        return [], 0.0
    writing, lost = [], 0.0
    for reader in list_counters(run, context.clock):
        for sample in reader.samples():
            if sample.name in _LOST:
                lost += sample.value
            elif sample.name in _ON and sample.value and _lives(reader):
                writing.append(reader.process)
    return writing, lost


def _lives(reader: CountersReader) -> bool:
    return not (reader.is_stopped or reader.is_replaced) and reader.heartbeat_age_ns < STALE_NS
