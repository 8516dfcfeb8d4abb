"""Loading one environment: TOML over preset over default, validated whole, with the origin of every value.

`load` either returns a complete frozen tree or raises ConfigError that names file and key and says what to do; nothing
is half-applied. Values come from, in order: the file; the venue's own file (core.venue_files); the strategy's preset; the
default in core.settings or in the venue's own struct.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from core.config_errors import convert, read
from core.errors import ConfigError
from core.presets import PRESETS
from core.roster import SPEC
from core.settings import Config, Environment, SandboxVenueConfig, Section, VenueConfig
from core.types import Venue
from core.venue_files import VenueFiles, own_settings
from core.venue_spec import VenueKind

Place = Callable[[str], str]
"""A key of the whole -> "FILE: KEY" where it is said."""
UNKNOWN_POLICIES = ("wait_and_page", "unwind_filled_leg", "hedge_third_venue")


class Loaded(msgspec.Struct, frozen=True):
    """A configuration with where it came from. `origin` maps "table.key" to "file", "venue file", "preset NAME" or
    "default"."""

    config: Config
    path: Path
    fingerprint: str
    origin: dict[str, str]

    def resolve(self, relative: str) -> Path:
        """A path of the configuration: absolute, or relative to the directory above the file's own (the project root)."""
        path = Path(relative).expanduser()
        return path if path.is_absolute() else (self.path.parent.parent / path).resolve()

    @property
    def state_dir(self) -> Path:
        return self.resolve(self.config.run.state_dir)

    @property
    def lock_dir(self) -> Path:
        return self.resolve(self.config.run.lock_dir)

    @property
    def secrets_file(self) -> Path:
        return self.resolve(self.config.run.secrets_file)

    @property
    def run_dir(self) -> Path:
        """The run's directory in shared memory."""
        return Path(self.config.run.shm_dir) / f"tandem-{self.config.run.name}"

    @property
    def recordings_dir(self) -> Path:
        """Where feeds and the recorder write."""
        named = self.config.recorder.directory
        return self.resolve(named) if named else self.state_dir / "recordings"

    @property
    def executor_socket(self) -> Path:
        return self.run_dir / "executor.sock"

    @property
    def enabled_venues(self) -> tuple[Venue, ...]:
        return tuple(Venue(name) for name, venue in self.config.venues.items() if venue.enabled)


def load(path: str | Path) -> Loaded:
    """Read and validate one environment file. Raises ConfigError."""
    file = Path(path).resolve()
    raw = read(file)
    origin: dict[str, str] = {key: "file" for key, _ in _leaves(raw)}
    venue_files = VenueFiles(file)
    environment = _environment(raw)
    if environment is not None:
        venue_files.lay_under(raw, environment)
        origin.update(venue_files.origins())
    _apply_presets(file, raw, origin)
    _check_venues(file, raw)
    config = _with_own_settings(file, convert(file, raw, Config))
    for key, _ in _leaves(msgspec.to_builtins(config)):
        origin.setdefault(key, "default")
    _check(file, config, venue_files.place)
    text = msgspec.json.encode(config, order="deterministic")
    return Loaded(config, file, hashlib.sha256(text).hexdigest()[:12], origin)


def flat(config: Config) -> dict[str, Any]:
    """Every value as "table.key": value, for `config show`."""
    return dict(_leaves(msgspec.to_builtins(config)))


def _environment(raw: dict[str, Any]) -> Environment | None:
    """None where the file does not say it right; the conversion tells."""
    run = raw.get("run")
    word = run.get("environment") if isinstance(run, dict) else None
    return next((each for each in Environment if each.value == word), None)


def _check_venues(file: Path, raw: dict[str, Any]) -> None:
    """Each venue's tables by themselves: in the whole, the venue's name would be missing from what is told."""
    sandbox = raw.get("sandbox")
    servers = sandbox.get("venues") if isinstance(sandbox, dict) else None
    kinds: tuple[tuple[str, Any, type[Section]], ...] = (
        ("venues", raw.get("venues"), VenueConfig),
        ("sandbox.venues", servers, SandboxVenueConfig),
    )
    for prefix, tables, kind in kinds:
        for name, table in tables.items() if isinstance(tables, dict) else ():
            if name not in SPEC:
                raise ConfigError(f"{file}: {prefix}.{name}: no such venue; the roster has {', '.join(SPEC)}")
            convert(file, table, kind, f"{prefix}.{name}")


def _with_own_settings(file: Path, config: Config) -> Config:
    """Every venue's `extra` checked against its SPEC and completed."""
    venues = {
        name: msgspec.structs.replace(venue, extra=own_settings(file, f"venues.{name}.extra", name, venue.extra))
        for name, venue in config.venues.items()
    }
    return msgspec.structs.replace(config, venues=venues)


def _apply_presets(file: Path, raw: dict[str, Any], origin: dict[str, str]) -> None:
    strategies = raw.get("strategies")
    if not isinstance(strategies, dict):
        return
    for name, table in strategies.items():
        known = PRESETS.get(name)
        if known is None or not isinstance(table, dict):
            continue
        preset = table.get("preset", "default")
        if preset not in known:
            choices = ", ".join(known)
            raise ConfigError(f"{file}: strategies.{name}.preset: no preset {preset!r}; choose one of {choices}")
        for key, value in known[preset].items():
            if key not in table:
                table[key] = value
                origin[f"strategies.{name}.{key}"] = f"preset {preset}"


def _check(file: Path, config: Config, place: Place) -> None:
    """What one field alone cannot say."""
    run = config.run
    if run.environment is not Environment.SANDBOX and run.time_scale != 1.0:
        raise ConfigError(f"{file}: run.time_scale: only the sandbox environment may scale its calendar; set 1.0")
    if run.environment is Environment.SANDBOX:
        _check_sandbox(file, config, place)
    else:
        for key, value in (
            ("strategies.scalp.min_profit_bps", config.strategies.scalp.min_profit_bps),
            ("risk.min_edge_bps", config.risk.min_edge_bps),
        ):
            if value < 0:
                raise ConfigError(f"{file}: {key}: below 0 loses by intent; only the sandbox may; set 0 or more")
    for name in config.strategies.scalp.venues:
        if name not in config.venues or not config.venues[name].enabled:
            raise ConfigError(f"{file}: strategies.scalp.venues: {name!r} is not an enabled venue of this environment")
        if SPEC[Venue(name)].kind is not VenueKind.PERP:
            raise ConfigError(f"{file}: strategies.scalp.venues: {name!r} is no perp venue; scalp trades perps only")
    if "scalp" not in config.risk.max_strategy_usd and config.strategies.scalp.enabled:
        raise ConfigError(
            f"{file}: risk.max_strategy_usd: has no bound for the enabled strategy 'scalp'; add scalp = USD"
        )
    for name, venue in config.venues.items():
        _check_venue(name, venue.leverage, config, place)
    _check_bounds(config, place)
    if config.run.log_level not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"{file}: run.log_level: {config.run.log_level!r} is not debug, info, warning or error")
    _check_words(config, place)


_NOT_ABOVE = (
    ("execution.min_cross_bps", "execution.max_cross_bps"),
    ("execution.unhedged_warn_s", "execution.unhedged_unwind_s"),
    ("execution.unhedged_warn_s", "execution.unhedged_unwind_quoted_s"),
    ("execution.blind_stop_s", "execution.blind_page_s"),
    ("risk.depeg_warn_pct", "risk.depeg_stop_pct"),
    ("risk.move_to_liq_close_pct", "risk.move_to_liq_reduce_pct"),
    ("risk.move_to_liq_reduce_pct", "risk.move_to_liq_stop_pct"),
    ("risk.move_to_liq_stop_pct", "risk.move_to_liq_warn_pct"),
    ("risk.margin_used_warn", "risk.margin_used_last"),
)
"""Of each two the first is at most the second: else the milder step would be left out, or come after the harder one."""


def _check_bounds(config: Config, place: Place) -> None:
    """Figures that bound nothing: infinite ones, and those that overtake each other."""
    values = flat(config)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{place(key)}: {value} bounds nothing; give a finite number")
    for lower, upper in _NOT_ABOVE:
        if values[lower] > values[upper]:
            raise ConfigError(f"{place(lower)}: is above {upper}; lower it")
    ladder = config.execution.flatten_ladder_bps
    if sorted(set(ladder)) != list(ladder):
        raise ConfigError(f"{place('execution.flatten_ladder_bps')}: each step lies beyond the one before; sort it")


def _check_words(config: Config, place: Place) -> None:
    words = (
        ("execution.unknown_policy", config.execution.unknown_policy, UNKNOWN_POLICIES),
        ("execution.foreign_positions", config.execution.foreign_positions, ("ignore", "close")),
        *((f"venues.{n}.order_entry", v.order_entry, ("ws", "rest")) for n, v in config.venues.items()),
    )
    for key, value, allowed in words:
        if value not in allowed:
            raise ConfigError(f"{place(key)}: {value!r} is not one of {', '.join(allowed)}")
    enabled = sum(venue.enabled for venue in config.venues.values())
    if config.execution.unknown_policy == UNKNOWN_POLICIES[-1] and enabled < 3:
        raise ConfigError(
            f"{place('execution.unknown_policy')}: {config.execution.unknown_policy} needs a third venue, and only {enabled} "
            "are enabled; enable one more, or choose another policy"
        )


def _check_sandbox(file: Path, config: Config, place: Place) -> None:
    if config.sandbox is None:
        raise ConfigError(f"{file}: sandbox: the sandbox environment needs a [sandbox] table; see config/sandbox.toml")
    for name, venue in config.venues.items():
        for key, url in (("rest_url", venue.rest_url), ("ws_url", venue.ws_url)):
            if not re.match(r"^(http|ws)://(127\.0\.0\.1|localhost)(:\d+)?(/|$)", url):
                raise ConfigError(
                    f"{place(f'venues.{name}.{key}')}: {url!r} leaves this machine; "
                    "the sandbox environment talks to 127.0.0.1 only"
                )
        if venue.enabled and name not in config.sandbox.venues:
            raise ConfigError(f"{file}: sandbox.venues.{name}: missing, though venues.{name} is enabled; add its port")
    _check_ports(config, place)


def _check_ports(config: Config, place: Place) -> None:
    """Two servers of one environment never share a port; 0 takes any free one."""
    taken: dict[int, str] = {config.exporter.port: "exporter.port"}
    if config.sandbox is None:
        return
    wanted = ((f"sandbox.venues.{name}.port", server.port) for name, server in config.sandbox.venues.items())
    for key, port in itertools.chain((("sandbox.control_port", config.sandbox.control_port),), wanted):
        if port and port in taken:
            raise ConfigError(f"{place(key)}: {port} is taken by {place(taken[port])}; choose another")
        taken[port] = key


def _check_venue(name: str, leverage: dict[str, int], config: Config, place: Place) -> None:
    if "default" not in leverage:
        raise ConfigError(f"{place(f'venues.{name}.leverage')}: needs a key 'default'")
    stop = config.strategies.scalp.stop_leg_pct
    for symbol, times in leverage.items():
        bound = 0.8 * (100.0 / times - 1.25)
        if stop > bound:
            raise ConfigError(
                f"{place('strategies.scalp.stop_leg_pct')}: {stop:g} lies beyond liquidation at {times}x "
                f"({place(f'venues.{name}.leverage.{symbol}')}); at most {bound:.1f}, or lower the leverage"
            )


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
