"""What a schedule is set in: the configuration that its executor reads, and the journal that its lives leave behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec

from core.config import Loaded, load
from executor import segments
from executor.records import AnyRecord
from executor.state import State
from tests.simulation.semantics import Semantics

ROOT = Path(__file__).resolve().parents[2]
_BASE: list[Loaded] = []


def configuration(semantics: list[Semantics], directory: Path, rng: random.Random) -> Loaded:
    """The sandbox's configuration with the simulated venues, on a directory in memory."""
    if not _BASE:
        _BASE.append(load(ROOT / "config" / "sandbox.toml"))
    base = _BASE[0]
    replace = msgspec.structs.replace
    pattern = base.config.venues["hyperliquid"]
    venues = {
        each.name: replace(
            pattern,
            request_timeout_ms=rng.choice([1500.0, 3000.0]),
            reconcile_interval_s=rng.choice([2.0, 5.0]),
            requests_per_min=rng.choice([1200, 6000]),
            max_notional_usd=rng.choice([700.0, 8000.0, 8000.0]),
            leverage={"default": 1 if each.traits.wallet else 3},
        )
        for each in semantics
    }
    config = replace(
        base.config,
        run=replace(base.config.run, state_dir=str(directory / "state"), lock_dir=str(directory / "locks")),
        feeds=replace(base.config.feeds, symbols=()),
        venues=venues,
        execution=replace(
            base.config.execution,
            rehearse_ms=0.0,
            foreign_positions=rng.choice(["ignore", "ignore", "close"]),
            complete_slippage_bps=rng.choice([5.0, 20.0]),
        ),
        risk=replace(
            base.config.risk,
            min_edge_bps=-100.0,
            attempt_cooldown_s=rng.choice([0.5, 2.0]),
            symbol_exclusive=rng.random() < 0.6,
            max_order_usd=rng.choice([300.0, 2000.0, 2000.0]),
            max_symbol_usd=rng.choice([500.0, 2000.0, 2000.0]),
        ),
    )
    return msgspec.structs.replace(base, config=config)


class DeadJournal:
    """The journal of a dead life, read without being opened (executor.image.Recorded)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.image: tuple[int, bytes] | None = None
        for sequence, path in reversed(segments.images(directory)):
            body = segments.read_image(path, sequence)
            if body is not None:
                self.image = (sequence, body)
                return

    def replay(self) -> Iterator[tuple[int, AnyRecord]]:
        after = self.image[0] if self.image is not None else 0
        found = segments.segments(self._directory)
        for index, (first, path) in enumerate(found):
            if index + 1 < len(found) and found[index + 1][0] <= after + 1:
                continue
            for sequence, body, _ in segments.scan(path, first):
                if sequence > after:
                    record: AnyRecord = segments.decode(body, path, sequence)
                    yield sequence, record


def difference(live: State, replayed: State) -> str:
    for name in State.__struct_fields__:
        one, other = getattr(live, name), getattr(replayed, name)
        if one != other:
            return f"{name}: lived {one!r:.300}, replayed {other!r:.300}"
    return "only in its bytes"
