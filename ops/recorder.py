"""`python -m ops.recorder --config FILE`: follows the books' rings and the strategies' decisions to disk.

    books-<venue>-...gz         {"slot","symbol","bid_px",...,"local_mono_ns","flags"} by quote, in the order of publishing
    decisions-<strategy>-...gz  every decision as the strategy recorded it, with its numbers

Lines of JSON, gzipped, rotated and bounded (core/rotation.py). A line {"missed": n} says where the ring overtook this
process and by how much; {"wire_minus_mono_ns": n} at the head of a file turns receive times into UTC. Raw frames are the
feeds' (feeds/recorder.py), which look at the same switch file: `tandem record start|stop|status`.

Reads shared memory only; nobody waits for it. A disk that refuses ends the recording with an error in the log: the switch
is taken away, so that the feeds stop as well and `record status` tells the truth.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from bookshm.book_reader import BookReader
from bookshm.counters import CONFIG_SERIES, CountersWriter
from bookshm.decisions import DecisionReader, strategies
from bookshm.follower import Follower
from bookshm.run import RunDir
from core.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from core.config import Loaded, load
from core.errors import ConfigError
from core.lifecycle import guard, run_sync
from core.log import Log
from core.rotation import RotatingFiles
from core.types import Lapped, Venue

TURN_S = 0.05
BATCH = 4096
FLUSH_NS = LOOK_NS = NS_PER_S
MIB = 1 << 20
SWITCH = "recording.on"
MAX_STRATEGIES = 32


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="ops.recorder", description="Record quotes and decisions.")
    parser.add_argument("--config", required=True)
    args = parser.parse_args(argv)
    log = Log("recorder", SystemClock())

    def body() -> int:
        loaded = load(args.config)
        log.info("configuration", path=str(loaded.path), fingerprint=loaded.fingerprint)
        run = RunDir.join(loaded.run_dir, loaded.config.run.time_scale, SystemClock())
        try:
            return run_sync(lambda: Recorder(loaded, run, run.calendar_clock(), log), log)
        finally:
            run.leave()

    return guard(body, log)


class Sink:
    """The files of one stem, as lines of JSON."""

    def __init__(self, directory: Path, stem: str, max_file: int, max_total: int, clock: Clock) -> None:
        self._files = RotatingFiles(directory, stem, max_file, max_total, clock)
        self._clock = clock

    def write(self, rows: Iterable[Any]) -> None:
        if self._files.is_full:
            self._files.open()
            self._files.write(_line({"wire_minus_mono_ns": self._clock.wire_ns() - self._clock.mono_ns()}))
        self._files.write(b"".join(map(_line, rows)))

    def flush(self) -> None:
        self._files.flush()

    def close(self) -> None:
        self._files.close()


class _Book:
    """One venue's ring with the names of its slots."""

    def __init__(self, loaded: Loaded, run: RunDir, venue: Venue, clock: Clock) -> None:
        feeds = loaded.config.feeds
        self._reader = BookReader(
            run, venue, clock, int(feeds.max_quote_age_ms * NS_PER_MS), int(feeds.proof_max_age_s * NS_PER_S)
        )
        self._follower: Follower = self._reader.follow()
        self._names: dict[int, str] = {}

    def rows(self) -> tuple[list[dict[str, Any]], int]:
        """What came since the last call, and how many of it were overwritten before they could be read."""
        got = self._follower.poll(BATCH)
        if isinstance(got, Lapped):
            return [{"missed": got.missed}], got.missed
        if any(slot not in self._names for slot, _ in got):
            self._names = {slot: symbol for symbol, (slot, _) in self._reader.instruments().items()}
        rows = []
        for slot, quote in got:
            row = quote._asdict()
            del row["age_ns"]  # of this look, not of the quote
            rows.append({"slot": slot, "symbol": self._names.get(slot, ""), **row})
        return rows, 0


class Recorder:
    """The sync agent."""

    role_name = "recorder"

    def __init__(self, loaded: Loaded, run: RunDir, clock: Clock, log: Log) -> None:
        self._loaded = loaded
        self._run = run
        self._clock = clock
        self._log = log
        self._directory = loaded.recordings_dir
        self._books: dict[str, _Book] = {}
        self._decisions: dict[str, DecisionReader] = {}
        self._sinks: dict[str, Sink] = {}
        self._look_ns = self._flush_ns = 0
        self._is_on = False
        self._counters = counters = CountersWriter(run, "recorder", clock, 16)
        counters.gauge(CONFIG_SERIES, {"fingerprint": loaded.fingerprint}).set(1)
        self._written = counters.counter("recorder_rows_total", {})
        self._missed = counters.counter("recorder_missed_total", {})
        self._shown = counters.gauge("recorder_recording", {})

    def on_start(self) -> None:
        if self._loaded.config.recorder.autostart:
            try:
                switch_on(self._directory)
            except OSError as error:
                raise ConfigError(
                    f"{self._directory}: cannot record there ({error.strerror}); see recorder.directory"
                ) from error
        self._log.info("started", directory=str(self._directory))

    def do_work(self) -> int:
        self._counters.heartbeat()
        now_ns = self._clock.mono_ns()
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + LOOK_NS
            self._look()
        done = self._follow_to_disk(now_ns) if self._is_on else 0
        if done < BATCH:
            time.sleep(TURN_S)
        return done

    def on_reload(self) -> None:
        self._log.warning("reload_refused", detail="the recorder takes a new configuration at restart only")

    def on_dump(self) -> None:
        self._log.info("dump", recording=self._is_on, following=sorted([*self._books, *self._decisions]))

    def on_close(self) -> None:
        if self._is_on:
            self._follow_to_disk(self._clock.mono_ns())
        if self._is_on:
            self._stop()
        self._counters.close()
        self._log.info("stopped")

    def _look(self) -> None:
        """Follow the switch; find strategies that came since."""
        wanted = (self._directory / SWITCH).exists()
        if wanted and not self._is_on:
            self._is_on = True
            self._books = {
                name: _Book(self._loaded, self._run, name, self._clock) for name in self._loaded.enabled_venues
            }
            self._log.info("recording_started", directory=str(self._directory))
        elif self._is_on and not wanted:
            self._stop()
        if self._is_on:
            for name in strategies(self._run)[:MAX_STRATEGIES]:
                if name not in self._decisions:
                    self._decisions[name] = DecisionReader(self._run, name)
        self._shown.set(float(self._is_on))

    def _follow_to_disk(self, now_ns: int) -> int:
        try:
            return self._follow(now_ns)
        except (OSError, ConfigError) as error:
            self._log.error("recording_failed", detail=str(error), advice="free the disk, then tandem record start")
            with contextlib.suppress(OSError):  # where even that is refused, the next look fails and says so again
                (self._directory / SWITCH).unlink(missing_ok=True)
            self._sinks.clear()  # what they hold cannot be written
            self._stop()
            return 0

    def _follow(self, now_ns: int) -> int:
        done = 0
        for venue, book in self._books.items():
            rows, missed = book.rows()
            self._missed.add(missed)
            done += self._write(f"books-{venue}", rows)
        for name, reader in self._decisions.items():
            got = reader.poll(BATCH)
            if isinstance(got, Lapped):
                self._missed.add(got.missed)
                done += self._write(f"decisions-{name}", [{"missed": got.missed}])
            else:
                done += self._write(f"decisions-{name}", got)
        if now_ns >= self._flush_ns:
            self._flush_ns = now_ns + FLUSH_NS
            for sink in self._sinks.values():
                sink.flush()
        return done

    def _write(self, stem: str, rows: list[Any]) -> int:
        if not rows:
            return 0
        if stem not in self._sinks:
            config = self._loaded.config.recorder
            self._sinks[stem] = Sink(
                self._directory, stem, int(config.max_file_mib * MIB), int(config.max_total_mib * MIB), self._clock
            )
        self._sinks[stem].write(rows)
        self._written.add(len(rows))
        return len(rows)

    def _stop(self) -> None:
        self._is_on = False
        self._books.clear()
        self._decisions.clear()
        for sink in self._sinks.values():
            sink.close()
        self._sinks.clear()
        self._shown.set(0.0)
        self._log.info("recording_stopped")


def switch_on(directory: Path) -> None:
    """Throw the switch that feeds and recorder look at. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o750)
    (directory / SWITCH).touch(mode=0o640)


def _line(row: Any) -> bytes:
    return msgspec.json.encode(row) + b"\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
